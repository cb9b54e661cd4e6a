//! An agent between Redis and InfluxDB 2 and 3: stand-ins that answer as real ones did, see `tests/stand_ins.rs`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    corpus::{assert_same, comparable, data, sorted},
    support::{
        between::{Between, Server, TOKEN},
        influxdb3::Limits,
        pipeline::{DATABASE, Left, PATIENCE, numbered},
        process::wait_for,
        redis_server::RedisServer,
        stand_in::{Reply, StandIn, answer},
    },
};

const NAME: &str = DATABASE;

impl Between {
    fn writes(&self) -> usize {
        match &self.server {
            Server::V2(server) => server.writes(),
            Server::V3(server) => server.writes(),
            Server::V1(_) | Server::VictoriaMetrics(_) => unreachable!("it does not count them"),
        }
    }
}

/// A message whose counter has a dimension that no InfluxDB takes, and a timer that it takes.
fn with_tag_time(number: u64) -> Vec<u8> {
    numbered(number).replace("\"host\"", "\"time\"").into_bytes()
}

/// A message whose counter has an integer where others have a text.
fn with_conflict(number: u64) -> Vec<u8> {
    numbered(number).replace("\"/index\"", "7").into_bytes()
}

fn bad_points_are_dead_letters_and_the_rest_is_written(between: &Between, lines_take: usize) {
    between.push([numbered(0).into_bytes()]);
    let mut agent = between.agent().env("KADABRA_BATCH__MAX_MESSAGES", "1000").start();
    between.wait_left(&Left::NOTHING);
    let before = between.writes();
    let bad: BTreeSet<u64> = [101, 150, 151, 300].into();
    between
        .push((1..400).map(|number| if bad.contains(&number) { with_tag_time(number) } else { numbered(number).into_bytes() }));
    between.wait_left(&Left { dead: 4, ..Left::NOTHING });
    assert_eq!(between.written(), &BTreeSet::from_iter(0..400) - &bad);
    assert!(between.writes() - before <= lines_take, "{} writes", between.writes() - before);
    let letters = between.redis.dead_letters();
    let named: BTreeSet<Vec<u8>> = letters.iter().map(|letter| letter["payload"].clone()).collect();
    assert_eq!(named, bad.iter().map(|number| with_tag_time(*number)).collect());
    for letter in &letters {
        let refused: Vec<Value> = serde_json::from_slice(&letter["refused"]).unwrap();
        let reason = String::from_utf8_lossy(&letter["reason"]).into_owned();
        assert!(
            refused.len() == 2 && reason.contains("InfluxDB refused it: 400 ") && reason.contains("time"),
            "{reason} {refused:?}"
        );
    }
    // Of a message with one bad point the other is written.
    between.push([with_conflict(1000), numbered(1001).into_bytes()]);
    between.wait_left(&Left { dead: 5, ..Left::NOTHING });
    assert!(between.written().contains(&1001) && !between.written().contains(&1000));
    let letter = between.redis.dead_letters().pop().unwrap();
    let refused = String::from_utf8_lossy(&letter["refused"]).into_owned();
    assert!(refused.contains("numbered") && !refused.contains("took"), "{refused}");
    assert!(
        between.points().iter().any(|point| point["measurement"] == "took" && point["fields"]["value"].as_f64() == Some(1000.0))
    );
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn influxdb_2_quotes_bad_lines_and_they_alone_become_dead_letters() {
    // The first batches may be small ones.
    bad_points_are_dead_letters_and_the_rest_is_written(&Between::v2(), 40);
}

#[test]
fn influxdb_3_numbers_bad_lines_and_they_alone_become_dead_letters() {
    bad_points_are_dead_letters_and_the_rest_is_written(&Between::v3(), 40);
}

fn an_agent_that_is_killed_loses_and_doubles_nothing(between: &Between) {
    const MESSAGES: u64 = 6_000;
    let push = |numbers: std::ops::Range<u64>| {
        for from in numbers.step_by(1000) {
            between.push((from..from + 1000).map(|number| numbered(number).into_bytes()));
        }
    };
    for round in 0..2 {
        // The one before may have written all that there was before it was killed.
        push(round * MESSAGES / 2..(round + 1) * MESSAGES / 2);
        let goal = between.written().len() + 500;
        let mut agent = between.agent().env("KADABRA_BATCH__MAX_MESSAGES", "200").start();
        wait_for("the drain to be under way", PATIENCE, || (between.written().len() >= goal).then_some(()));
        agent.kill9();
    }
    let mut agent = between.agent().start();
    between.wait_left(&Left::NOTHING);
    let points = between.points();
    assert_eq!((points.len() as u64, between.written()), (2 * MESSAGES, (0..MESSAGES).collect()));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn an_agent_killed_while_it_writes_to_influxdb_2_loses_and_doubles_nothing() {
    an_agent_that_is_killed_loses_and_doubles_nothing(&Between::v2());
}

#[test]
fn an_agent_killed_while_it_writes_to_influxdb_3_loses_and_doubles_nothing() {
    an_agent_that_is_killed_loses_and_doubles_nothing(&Between::v3());
}

#[test]
fn a_bucket_that_is_missing_is_held_until_it_is_made() {
    let between = Between::v2();
    let Server::V2(server) = &between.server else { unreachable!() };
    server.delete_bucket(NAME);
    let mut agent = between.agent().start();
    between.push((0..100).map(|number| numbered(number).into_bytes()));
    let said = agent.wait_condition("publisher").to_string();
    assert!(said.contains("404 bucket") && said.contains("influx bucket create --host") && !said.contains(TOKEN), "{said}");
    server.create_bucket(NAME, std::time::Duration::ZERO);
    between.wait_left(&Left::NOTHING);
    assert_eq!(between.written(), (0..100).collect());
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_token_that_is_removed_is_held_until_it_is_back_and_the_probe_creates_no_database() {
    let between = Between::v3();
    let Server::V3(server) = &between.server else { unreachable!() };
    server.remove_token(TOKEN);
    let mut agent = between.agent().start();
    between.push((0..100).map(|number| numbered(number).into_bytes()));
    let said = agent.wait_condition("publisher").to_string();
    assert!(said.contains("does not accept the token: 401") && said.contains("token_file") && !said.contains(TOKEN), "{said}");
    assert_eq!(server.databases(), Vec::<String>::new());
    server.token(TOKEN, super::support::influxdb3::Right::Everything);
    between.wait_left(&Left::NOTHING);
    assert_eq!(between.written(), (0..100).collect());
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn what_a_limit_of_influxdb_3_keeps_out_is_held_until_it_is_raised_and_the_rest_is_written() {
    let between = Between::v3();
    let Server::V3(server) = &between.server else { unreachable!() };
    let mut agent = between.agent().start();
    between.push([numbered(0).into_bytes()]);
    between.wait_left(&Left::NOTHING);
    let limits = |columns| Limits { databases: 5, tables: 2000, columns, tags: 256 };
    // The tables have columns for a host, a path or a unit, a value and the time.
    server.limits(limits(4));
    let new = |number: u64| numbered(number).replace("\"path\"", "\"other\"").into_bytes();
    between.push((1..200).map(|number| if number % 50 == 0 { new(number) } else { numbered(number).into_bytes() }));
    let said = agent.wait_condition("publisher").to_string();
    assert!(said.contains("Update to schema would exceed number of columns") && said.contains("500 columns a table"), "{said}");
    wait_for("what is within the limit", PATIENCE, || (between.written().len() == 197).then_some(()));
    assert_eq!(between.redis.left().dead, 0);
    server.limits(limits(500));
    between.wait_left(&Left::NOTHING);
    assert_eq!(between.written(), (0..200).collect());
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// Has every message of a real client written. Returns the points that Kadabra's Python agent stored of them.
fn write_the_corpus(between: &Between, gzip: bool) -> Vec<Value> {
    let unique = ("KADABRA_PUBLISHER__INFLUXDB__UNIQUE_TIMESTAMPS", "false");
    let agent = between.agent().env(unique.0, unique.1).env("KADABRA_PUBLISHER__INFLUXDB__GZIP", gzip.to_string());
    let mut agent = agent.start();
    between.push(data("valid.jsonl").into_iter().map(String::into_bytes));
    wait_for("everything to be settled", PATIENCE, || {
        let left = between.redis.left();
        (left == Left { dead: left.dead, ..Left::NOTHING }).then_some(())
    });
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    data("valid.points.jsonl").iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_message_of_a_real_client_gives_the_same_points_in_influxdb_2() {
    let between = Between::v2();
    let wanted = write_the_corpus(&between, false);
    assert_same(&sorted(&between.points()), &sorted(&wanted));
    assert_eq!(between.redis.left().dead, 0);
}

#[test]
fn every_message_of_a_real_client_gives_the_same_points_in_influxdb_3_but_for_names_of_tags_and_fields() {
    let between = Between::v3();
    // 3.6 reads the first member of gzip only.
    let wanted = write_the_corpus(&between, true);
    let written: BTreeSet<String> = sorted(&between.points()).into_iter().collect();
    let names = |point: &Value, of: &str| -> BTreeSet<String> { point[of].as_object().unwrap().keys().cloned().collect() };
    // Of a measurement a column cannot be both.
    let in_measurement = |measurement: &Value, of: &str| -> BTreeSet<String> {
        wanted.iter().filter(|point| point["measurement"] == *measurement).flat_map(|point| names(point, of)).collect()
    };
    let mut refused = 0;
    for point in &wanted {
        let (tags, fields) = (in_measurement(&point["measurement"], "tags"), in_measurement(&point["measurement"], "fields"));
        let both: BTreeSet<&String> = tags.intersection(&fields).collect();
        let is_clear = !names(point, "tags").union(&names(point, "fields")).any(|name| both.contains(name));
        let is_written = written.contains(&comparable(point));
        assert!(is_written || !is_clear, "{point}");
        refused += usize::from(!is_written);
    }
    assert_eq!(written.len() + refused, wanted.len(), "there are points that nobody sent");
    assert_eq!(refused > 0, between.redis.left().dead > 0);
}

/// What `check --online` says with these keys of InfluxDB, and its exit code.
fn check(redis: &RedisServer, keys: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut check = super::support::agent::kadabra();
    check.args(["check", "--online"]).env("KADABRA_CHANNEL__TYPE", "redis").env("KADABRA_CHANNEL__REDIS__URL", redis.url());
    for (name, value) in keys {
        check.env(format!("KADABRA_PUBLISHER__INFLUXDB__{name}"), value);
    }
    let output = check.env("KADABRA_PUBLISHER__TYPE", "influxdb").output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn check_tells_the_version_of_a_2_and_takes_a_server_that_tells_none_or_nonsense() {
    let between = Between::v2();
    let Server::V2(server) = &between.server else { unreachable!() };
    let of =
        |url: &str| check(&between.redis, &[("API", "v2"), ("URL", url), ("ORG", "o1"), ("TOKEN", TOKEN), ("TIMEOUT", "1s")]);
    let (code, said) = of(&server.url());
    assert!(code == Some(0) && said.contains("; it says version v2.9.1; times are written with precision ns\n"), "{said}");

    let untold = "it does not tell its version";
    let ok = |headers: &str, body: &str| answer("200 OK", headers, body);
    for (reply, wanted) in [
        (answer("404 Not Found", "", "nothing here"), untold),
        (ok("", "{\"version\": 3}"), untold),
        (ok("X-Influxdb-Version:  \r\n", ""), untold),
        (ok("", "{\"version\": \"3.6\\n0\"}"), "it says version 3.6"),
        (ok(&format!("X-Influxdb-Version: {}{TOKEN}\r\n", "7".repeat(9)), ""), "it says version 777777777***"),
        (ok(&format!("X-Influxdb-Version: {}{TOKEN}{}\r\n", "7".repeat(195), "7".repeat(300)), ""), "it says version 777777777"),
        (ok(&format!("X-Influxdb-Version: {}\r\n", "7".repeat(9000)), ""), "it says version 777777777"),
        (Reply::Hang, untold),
        (Reply::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), untold),
        (Reply::Trickle(b"HTTP/1.1 200 OK\r\nX-Influxdb-".to_vec()), untold),
    ] {
        let to = format!("{reply:?}");
        let server =
            StandIn::answering(
                move |request| {
                    if request.starts_with("GET /ping ") { reply.clone() } else { answer("204 No Content", "", "") }
                },
            );
        let (code, said) = of(&server.url());
        assert!(
            code == Some(0) && said.contains(wanted) && !said.contains(TOKEN) && !said.contains("7the") && said.len() < 1500,
            "{to:.99}: {code:?} {said}"
        );
        assert_eq!(said.lines().count(), 3, "{said}");
    }
}

#[test]
fn check_tells_what_is_wrong_with_a_token_and_creates_no_database() {
    for token in [TOKEN, "wrong-token"] {
        let between = Between::v3();
        let Server::V3(server) = &between.server else { unreachable!() };
        let (code, said) = check(&between.redis, &[("API", "v3"), ("URL", &server.url()), ("TOKEN", token)]);
        let expected = if token == TOKEN { "ok: publisher: influxdb 3" } else { "does not accept the token: 401" };
        assert!(said.contains(expected) && !said.contains(token), "{said}");
        assert_eq!((code == Some(0), server.databases()), (token == TOKEN, Vec::new()));
        assert_eq!(said.contains("; it says version 3.6.0; times are written with precision ns"), token == TOKEN, "{said}");
    }
}
