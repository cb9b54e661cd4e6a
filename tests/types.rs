//! `check --online` says what the database will refuse of what waits, before the agent has been refused it.

use std::{fs, process::Output};

use redis::Commands as _;
use tempfile::TempDir;

use super::support::{
    agent::{Agent, cli},
    http_server::ask,
    influxd::{Influxd, Options},
    influxdb2::{self, Influxdb2},
    influxdb3::Influxdb3,
    pipeline::{DATABASE, Left, PATIENCE, Pipeline, config, config_of, numbered},
    process::{free_port, wait_for},
    redis_server::RedisServer,
};

const TOKEN: &str = "the-token-of-the-agent";

/// What `check --online` says of a configuration, which it calls usable.
fn check(config: &str) -> String {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("kadabra.toml");
    fs::write(&file, config).unwrap();
    let Output { status, stdout, stderr } = cli(["check".as_ref(), "--online".as_ref(), "--config".as_ref(), file.as_os_str()]);
    let said = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&stderr));
    assert!(!said.contains(TOKEN), "{said}");
    said
}

/// A configuration with more keys of InfluxDB.
fn with(config: &str, keys: &str) -> String {
    config.replace("[publisher.influxdb]", &format!("[publisher.influxdb]\n{keys}"))
}

fn push(redis: &RedisServer, messages: impl IntoIterator<Item = String>) {
    let messages: Vec<_> = messages.into_iter().collect();
    let _: usize = redis.connection().lpush("kadabra_queue", messages).unwrap();
}

/// Four messages, in three of which the path is a text, and in one a number.
fn mixed() -> [String; 4] {
    [numbered(1), numbered(2), numbered(3).replace("\"/index\"", "7"), numbered(4)]
}

const LOOKED_AT: &str = "4 waiting messages looked at";

#[test]
fn a_field_of_another_type_in_influxdb_1_is_said_before_it_is_refused_and_it_is_that_which_is_refused() {
    let pipeline = Pipeline::start();
    let config = config(&pipeline.redis.url(), &pipeline.influxd.url());
    let write = |to: &str, lines: &str| {
        let target = format!("/write?db={DATABASE}&{to}");
        assert_eq!(ask(&pipeline.influxd.url(), "POST", &target, &[], lines.as_bytes()).unwrap().status, 204);
    };
    // In the shard that the messages are in.
    write("", "numbered path=1i,value=2 1772366400000000000\ntook other=1i 1772366400000000000");
    let said = check(&config);
    assert!(!said.contains("type"), "nothing waits: {said}");

    pipeline.push_all(mixed().map(String::into_bytes));
    let said = check(&config);
    let conflict = format!(
        "warning: publisher: path of the metric numbered is an integer in influxdb at {}, and a string in 3 of the {LOOKED_AT}: it refuses those points where their time falls into a shard that has the other type\n  to mend it: ",
        pipeline.influxd.url()
    );
    assert!(said.contains(&conflict) && said.matches("warning: publisher").count() == 1, "{said}");
    assert_eq!(pipeline.left(), Left { queued: 4, ..Left::NOTHING }, "it changes nothing");

    // In another retention policy are other types.
    pipeline.influxd.execute(&format!("CREATE RETENTION POLICY two ON {DATABASE} DURATION INF REPLICATION 1"));
    let in_two = with(&config, "retention_policy = \"two\"");
    assert!(
        check(&in_two)
            .contains(&format!("ok: publisher: {LOOKED_AT}, and none conflicts with the types of the database's fields"))
    );
    write("rp=two", "numbered path=true,value=1i 1772366400000000000");
    let said = check(&in_two);
    assert!(
        said.contains("path of the metric numbered is a boolean in") && said.contains("and an integer in 1 of the 4"),
        "{said}"
    );
    assert!(said.contains("value of the metric numbered is an integer in") && said.contains("a float in 4 of the 4"), "{said}");
    // Of several types there may be a shard for any.
    write("", "numbered path=\"x\" 1400000000000000000");
    assert!(check(&config).contains("none conflicts"));

    let mut agent = pipeline.agent().start();
    pipeline.wait_left(&Left { dead: 3, ..Left::NOTHING });
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn an_influxdb_1_user_who_may_only_write_is_no_fault() {
    let influxd = Influxd::start_with(Options { admin: Some(("root", "secret")), ..Options::default() });
    influxd.create_database(DATABASE);
    influxd.execute("CREATE USER \"writer\" WITH PASSWORD 'also secret'");
    influxd.execute(&format!("GRANT WRITE ON {DATABASE} TO \"writer\""));
    let redis = RedisServer::start();
    push(&redis, mixed());
    let config = config(&redis.url(), &influxd.url());
    let said = check(&with(&config, "username = \"writer\"\npassword = \"also secret\""));
    assert!(said.contains("ok: publisher: what waits was not compared with the types of the database's fields: 403 "), "{said}");
    assert!(
        said.contains("for that, configure a user who may also read the database") && !said.contains("also secret"),
        "{said}"
    );
    assert!(check(&with(&config, "username = \"root\"\npassword = \"secret\"")).contains("none conflicts"));
}

#[test]
fn a_field_of_another_type_in_influxdb_2_is_said_and_a_token_that_may_only_write_is_no_fault() {
    let server = Influxdb2::start("o1", "kadabra", TOKEN);
    let redis = RedisServer::start();
    push(&redis, mixed());
    let authorization = format!("Token {TOKEN}");
    let write = |lines: &str| {
        let headers = [("Authorization", authorization.as_str())];
        ask(&server.url(), "POST", "/api/v2/write?org=o1&bucket=kadabra", &headers, lines.as_bytes()).unwrap().status
    };
    assert_eq!(write("numbered path=1.5 1772366400000000000\ntook,unit=x value=1 1772366400000000000"), 204);
    let keys = |token: &str| format!("api = \"v2\"\norg = \"o1\"\nbucket = \"kadabra\"\ntoken = \"{token}\"");
    let config = config(&redis.url(), &server.url());
    let said = check(&with(&config, &keys(TOKEN)));
    for kind in ["a string in 3", "an integer in 1"] {
        assert!(
            said.contains(&format!(
                "path of the metric numbered is a float in influxdb at {}, and {kind} of the {LOOKED_AT}",
                server.url()
            )),
            "{said}"
        );
    }
    assert_eq!(said.matches("warning: publisher").count(), 2, "a tag is no field here: {said}");
    server.token("write-only", influxdb2::Right::Write("kadabra"));
    let said = check(&with(&config, &keys("write-only")));
    assert!(said.contains("what waits was not compared with the types of the database's fields: 200 database not found: kadabra; for that, configure a token that may also read the bucket\n"), "{said}");
}

#[test]
fn a_column_of_another_type_in_influxdb_3_is_said_and_no_database_is_made_by_asking() {
    let server = Influxdb3::start(TOKEN);
    let redis = RedisServer::start();
    push(&redis, mixed());
    let config = with(&config(&redis.url(), &server.url()), &format!("api = \"v3\"\ntoken = \"{TOKEN}\""));
    assert!(check(&config).contains(&format!("ok: publisher: {LOOKED_AT}, and none conflicts")));
    assert_eq!(server.databases(), Vec::<String>::new());
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("Authorization", authorization.as_str())];
    let lines = b"numbered,path=x value=1 1\ntook host=\"web\",value=2 1";
    assert_eq!(ask(&server.url(), "POST", "/api/v3/write_lp?db=kadabra", &headers, lines).unwrap().status, 204);
    let said = check(&config);
    let place = format!("influxdb at {}", server.url());
    for conflict in [
        format!(
            "path of the metric numbered is a tag in {place}, and a string in 3 of the {LOOKED_AT}: it refuses those points\n"
        ),
        format!(
            "path of the metric numbered is a tag in {place}, and an integer in 1 of the {LOOKED_AT}: it refuses those points\n"
        ),
        format!("host of the metric took is a string in {place}, and a tag in 4 of the {LOOKED_AT}: it refuses those points\n"),
    ] {
        assert!(said.contains(&conflict), "{said}");
    }
    assert_eq!(said.matches("warning: publisher").count(), 3, "{said}");
}

#[test]
fn what_waits_in_the_agents_own_queue_is_looked_at_while_it_runs_and_while_it_does_not() {
    let influxd = Influxd::start();
    influxd.create_database(DATABASE);
    let line = b"numbered path=1i 1772366400000000000";
    assert_eq!(ask(&influxd.url(), "POST", &format!("/write?db={DATABASE}"), &[], line).unwrap().status, 204);
    let (folder, port) = (TempDir::new().unwrap(), free_port());
    let file = folder.path().join("queue.db");
    let channel = format!("[channel.embedded]\npath = {file:?}\nlisten = \"127.0.0.1:{port}\"");
    let of = |url: &str| config_of(&channel, url);
    // It cannot write.
    let mut agent = Agent::with(&of("http://127.0.0.1:9")).env("KADABRA_BATCH__MAX_MESSAGES", "100").start();
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
    let mut connection = wait_for("the agent to take clients", PATIENCE, || client.get_connection().ok());
    let _: usize = connection.lpush("kadabra_queue", numbered(0)).unwrap();
    agent.wait_condition("publisher");
    // What the agent has in hand is not shown, and it takes little while it cannot write.
    let _: usize = connection.lpush("kadabra_queue", (1..3000).map(numbered).collect::<Vec<_>>()).unwrap();
    let said = check(&of(&influxd.url()));
    assert!(said.contains("an agent is running on the queue") && said.contains("is an integer in influxdb at"), "{said}");
    assert!(said.contains("and a string in 1000 of the 1000 waiting messages looked at"), "{said}");
    // Of large messages it is asked for few at once, and for fewer in all.
    let large = |number| numbered(number).replace("/index", &"x".repeat(1 << 20));
    for number in 3000..3020 {
        let _: usize = connection.lpush("kadabra_queue", large(number)).unwrap();
    }
    let said = check(&of(&influxd.url()));
    assert!(said.contains("and a string in 16 of the 16 waiting messages looked at"), "{said}");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    for _ in 0..2 {
        let said = check(&of(&influxd.url()));
        assert!(said.contains("and a string in 3015 of the 3015 waiting messages looked at"), "{said}");
    }
}

#[test]
fn of_several_publishers_each_is_told_of_what_it_publishes_and_how_much_memory_its_copies_take() {
    let pipeline = Pipeline::start();
    let line = b"numbered path=1i 1772366400000000000";
    let url = pipeline.influxd.url();
    assert_eq!(ask(&url, "POST", &format!("/write?db={DATABASE}"), &[], line).unwrap().status, 204);
    let one = config(&pipeline.redis.url(), &url);
    let (before, rest) = one.split_once("[publisher]").unwrap();
    let (_, after) = rest.split_once("[nanny]").unwrap();
    let publisher = |name: &str, more: &str| {
        format!("[publishers.{name}]\ntype = \"influxdb\"\n{more}\n[publishers.{name}.influxdb]\nurl = {url:?}\n")
    };
    let config = format!("{before}{}{}[nanny]{after}", publisher("all", ""), publisher("timers", "only = [\"took\"]"));
    pipeline.push_all(mixed().map(String::into_bytes));
    let given: Vec<String> = (10..500).map(numbered).collect();
    let _: usize = pipeline.redis.connection().lpush("{kadabra_queue}:for:all", given).unwrap();
    let said = check(&config);
    assert!(said.contains("warning: publisher all: path of the metric numbered is an integer in"), "{said}");
    assert!(said.contains("a string in 493 of the 494 waiting messages looked at"), "{said}");
    assert!(said.contains(&format!("ok: publisher timers: {LOOKED_AT}, and none conflicts")), "{said}");
    let memory =
        |name: &str| said.lines().find(|line| line.starts_with(&format!("ok: channel: for publisher {name}: "))).unwrap();
    assert!(memory("all").contains(" KiB of Redis's memory are its own copies of messages"), "{said}");
    assert!(!memory("timers").contains("copies"), "{said}");
}
