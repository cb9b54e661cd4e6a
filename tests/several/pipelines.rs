//! Whole agents with several publishers: real databases, one of which is away, slow, refuses everything or is killed.

use std::{ops::Range, time::Duration};

use redis::{Commands as _, Connection};
use tempfile::TempDir;

use super::super::{
    bounds::{assert_bounded, large},
    support::{
        agent::{Agent, Builder, cli},
        http_server::ask,
        influxd::Influxd,
        pipeline::{self, DATABASE, PATIENCE, numbered},
        process::{free_port, wait_for},
        redis_server::RedisServer,
        stand_in::{StandIn, answer},
    },
};

/// The channel between the clients and an agent with these publishers.
pub(crate) enum World {
    Redis(RedisServer),
    /// The agent's own queue. What waits is known while an agent runs.
    Embedded {
        folder: TempDir,
        port: u16,
    },
}

impl World {
    pub(crate) fn redis() -> Self {
        Self::Redis(RedisServer::for_agents())
    }

    pub(crate) fn embedded() -> Self {
        Self::Embedded { folder: tempfile::tempdir().unwrap(), port: free_port() }
    }

    pub(crate) fn agent(&self, publishers: &str) -> Builder {
        Agent::with(&self.config(publishers))
    }

    pub(crate) fn config(&self, publishers: &str) -> String {
        let nowhere = "http://127.0.0.1:9";
        let config = match self {
            Self::Redis(redis) => pipeline::config(&redis.url(), nowhere),
            Self::Embedded { folder, port } => {
                let file = folder.path().join("queue.db");
                let embedded = format!("[channel.embedded]\npath = {file:?}\nlisten = \"127.0.0.1:{port}\"\nlease = \"2s\"");
                pipeline::config_of(&format!("[channel]\ntype = \"embedded\"\n{embedded}"), nowhere)
            }
        };
        let (before, rest) = config.split_once("[publisher]").unwrap();
        let (_, after) = rest.split_once("[nanny]").unwrap();
        format!("{before}{publishers}\n[nanny]{after}")
    }

    /// To where clients push. An agent that is the channel itself is waited for.
    pub(crate) fn connection(&self) -> Connection {
        match self {
            Self::Redis(redis) => redis.connection(),
            Self::Embedded { port, .. } => {
                let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
                wait_for("the agent to take clients", PATIENCE, || client.get_connection().ok())
            }
        }
    }

    pub(crate) fn push(&self, numbers: Range<u64>) {
        let mut connection = self.connection();
        for messages in numbers.map(numbered).collect::<Vec<_>>().chunks(1000) {
            let _: usize = connection.lpush("kadabra_queue", messages).unwrap();
        }
    }

    /// How many messages wait for a publisher, in hand or not.
    pub(crate) fn waiting_for(&self, name: &str) -> usize {
        let mut connection = self.connection();
        if let Self::Embedded { .. } = self {
            let report: String = redis::cmd("KADABRA").query(&mut connection).unwrap();
            let report: serde_json::Value = serde_json::from_str(&report).unwrap();
            let consumers = report["status"]["consumers"].as_array().unwrap_or_else(|| panic!("{report}"));
            let consumer = consumers.iter().find(|consumer| consumer["name"] == name).unwrap();
            return consumer["waiting"].as_u64().unwrap() as usize;
        }
        // At one instant: what moves from one list to another meanwhile would be seen in neither.
        let sum = "local sum = redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[2])
            for _, lease in ipairs(redis.call('KEYS', KEYS[2] .. ':lease:*')) do sum = sum + redis.call('LLEN', lease) end
            return sum";
        let script = redis::Script::new(sum);
        script.key("kadabra_queue").key(format!("{{kadabra_queue}}:for:{name}")).invoke(&mut connection).unwrap()
    }

    pub(crate) fn wait_nothing_waits_for(&self, name: &str) {
        wait_for(&format!("nothing to wait for {name}"), PATIENCE, || (self.waiting_for(name) == 0).then_some(()));
    }

    pub(crate) fn dead_letters_of(&self, name: &str) -> usize {
        match self {
            Self::Redis(redis) => redis.connection().xlen(format!("{{kadabra_queue}}:for:{name}:dead")).unwrap(),
            Self::Embedded { folder, .. } => {
                let file = rusqlite::Connection::open(folder.path().join("queue.db")).unwrap();
                file.query_row("SELECT count(*) FROM dead WHERE consumer = ?1", [name], |row| row.get::<_, i64>(0)).unwrap()
                    as usize
            }
        }
    }
}

/// Each of these over either channel.
macro_rules! over_both {
    ($($test:ident),* $(,)?) => {
        mod over_redis { $(#[test] fn $test() { super::$test(&super::World::redis()); })* }
        mod over_embedded { $(#[test] fn $test() { super::$test(&super::World::embedded()); })* }
    };
}

over_both!(
    two_databases_and_a_log_get_every_message_once_and_each_has_its_ledger,
    one_that_is_down_for_good_delays_no_other_and_gets_everything_when_it_is_back,
    one_that_is_slow_delays_no_other,
    one_that_refuses_all_points_has_dead_letters_of_its_own,
    a_publisher_that_is_renamed_between_starts_leaves_what_waits_to_be_named,
    kill_9_between_the_settles_of_two_loses_nothing_and_doubles_nothing_in_either,
    one_that_is_not_required_and_whose_thread_hangs_is_held_until_it_answers_and_delays_no_other,
    three_publishers_hold_no_more_memory_than_one_may_while_messages_are_small,
    each_further_publisher_takes_its_own_share_of_memory_however_large_messages_are,
);

pub(crate) fn database() -> Influxd {
    let influxd = Influxd::start();
    influxd.create_database(DATABASE);
    influxd
}

pub(crate) fn influxdb(name: &str, url: &str) -> String {
    format!(
        "[publishers.{name}]\ntype = \"influxdb\"\nbackoff_min = \"50ms\"\nbackoff_max = \"500ms\"\ninfluxdb.url = \"{url}\"\n"
    )
}

fn two_databases_and_a_log_get_every_message_once_and_each_has_its_ledger(world: &World) {
    let [one, two] = [database(), database()];
    let publishers =
        influxdb("one", &one.url()) + &influxdb("two", &two.url()) + "[publishers.shown]\ntype = \"debug\"\nrequired = false\n";
    let mut agent = world.agent(&publishers).start();
    world.push(0..3000);
    for name in ["one", "two", "shown"] {
        world.wait_nothing_waits_for(name);
    }
    one.assert_written(0..3000);
    two.assert_written(0..3000);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let ledgers = agent.logged("published 3000, parked 0");
    let mut of: Vec<_> = ledgers.iter().map(|line| line["publisher"].as_str().unwrap()).collect();
    of.sort_unstable();
    assert_eq!(of, ["one", "shown", "two"]);
    assert!(ledgers.iter().all(|line| line["balances"] == true));
}

fn one_that_is_down_for_good_delays_no_other_and_gets_everything_when_it_is_back(world: &World) {
    let [one, mut two] = [database(), database()];
    two.stop();
    let mut agent = world.agent(&(influxdb("one", &one.url()) + &influxdb("two", &two.url()))).start();
    world.push(0..1000);
    let down = agent.wait_condition("publisher");
    assert_eq!(down["publisher"], "two");
    for round in 1..5 {
        world.push(round * 1000..(round + 1) * 1000);
        world.wait_nothing_waits_for("one");
    }
    one.assert_written(0..5000);
    assert_eq!(world.waiting_for("two"), 5000);
    two.start_again();
    world.wait_nothing_waits_for("two");
    two.assert_written(0..5000);
    let again = agent.wait_log("publisher works again");
    assert_eq!(again["publisher"], "two");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

fn one_that_is_slow_delays_no_other(world: &World) {
    let one = database();
    let slow = StandIn::answering(|_| {
        std::thread::sleep(Duration::from_millis(300));
        answer("204 No Content", "", "")
    });
    let publishers = influxdb("one", &one.url()) + &influxdb("slow", &slow.url()) + "batch.max_messages = 10\nworkers = 1\n";
    let mut agent = world.agent(&publishers).start();
    world.push(0..2000);
    world.wait_nothing_waits_for("one");
    one.assert_written(0..2000);
    assert!(world.waiting_for("slow") > 500, "{}", world.waiting_for("slow"));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    if let World::Redis(_) = world {
        assert!(world.waiting_for("slow") > 0, "what it was not given is given back");
    }
}

fn one_that_refuses_all_points_has_dead_letters_of_its_own(world: &World) {
    let [one, refusing] = [database(), database()];
    // The type that each field has is another one there.
    let lines = "numbered value=1i 1772366400000000000\ntook value=1i 1772366400000000000";
    let written = ask(&refusing.url(), "POST", &format!("/write?db={DATABASE}"), &[], lines.as_bytes()).unwrap();
    assert_eq!(written.status, 204);
    let mut agent = world.agent(&(influxdb("one", &one.url()) + &influxdb("refusing", &refusing.url()))).start();
    world.push(0..20);
    world.wait_nothing_waits_for("one");
    world.wait_nothing_waits_for("refusing");
    one.assert_written(0..20);
    assert_eq!(["one", "refusing"].map(|name| world.dead_letters_of(name)), [0, 20]);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// Killed again and again, at whatever each is at: between the settles of two, too.
fn kill_9_between_the_settles_of_two_loses_nothing_and_doubles_nothing_in_either(world: &World) {
    let [one, two] = [database(), database()];
    let publishers =
        influxdb("one", &one.url()) + "batch.max_messages = 100\n" + &influxdb("two", &two.url()) + "batch.max_messages = 70\n";
    // The second never comes to settle what it has written.
    let mut agent = world.agent(&publishers).env("FAILPOINTS", "publisher.written=4*off->sleep(60000)").start();
    world.push(0..4000);
    wait_for("something to be written", PATIENCE, || (!one.values("numbered").is_empty()).then_some(()));
    agent.kill9();
    for round in 1..5 {
        let mut agent = world.agent(&publishers).start();
        world.push(round * 4000..(round + 1) * 4000);
        let goal = world.waiting_for("one").saturating_sub(fastrand::usize(1..2000));
        wait_for("more to be settled", PATIENCE, || (world.waiting_for("one") <= goal).then_some(()));
        agent.kill9();
    }
    let mut agent = world.agent(&publishers).start();
    world.wait_nothing_waits_for("one");
    world.wait_nothing_waits_for("two");
    one.assert_written(0..20_000);
    two.assert_written(0..20_000);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// Its thread hangs over a metric that the others leave out, once, while it makes lines of a batch.
fn one_that_is_not_required_and_whose_thread_hangs_is_held_until_it_answers_and_delays_no_other(world: &World) {
    const HANG: &str = r#"{"dimensions": [], "counters": [
        {"name": "failpoint!", "metadata": {}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1}
    ], "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}"#;
    let [one, two] = [database(), database()];
    let publishers = influxdb("one", &one.url())
        + "except = [\"failpoint!\"]\ninfluxdb.timeout = \"500ms\"\n"
        + &influxdb("two", &two.url())
        + "required = false\nworkers = 1\ninfluxdb.timeout = \"500ms\"\n";
    let agent = |failpoints: &str| {
        let agent = world.agent(&publishers).env("FAILPOINTS", failpoints).env("KADABRA_SUPERVISOR__HANG_TIMEOUT", "3s");
        agent.env("KADABRA_CHANNEL__REDIS__TIMEOUT", "500ms")
    };
    let push_hang = || {
        let _: usize = world.connection().lpush("kadabra_queue", HANG).unwrap();
    };
    let mut hangs = agent("encoder.line=1*sleep(25000)").start();
    push_hang();
    let said = hangs.wait_log("a thread hangs");
    assert!(said["why"].as_str().unwrap().starts_with("the publisher 1 of two made no progress"), "{said}");
    assert_eq!(hangs.wait_condition("pipeline")["publisher"], "two");
    world.push(0..1000);
    world.wait_nothing_waits_for("one");
    one.assert_written(0..1000);
    assert_eq!(world.waiting_for("two"), 1001, "the thread that hangs has not answered yet");
    world.wait_nothing_waits_for("two");
    two.assert_written(0..1000);
    assert_eq!(two.count(DATABASE, "failpoint!"), 1);
    hangs.wait_log("pipeline works again");
    assert_eq!(hangs.terminate(PATIENCE), Some(0));

    // What a thread holds that never answers is given back at the end of the process.
    let mut hangs = agent("encoder.line=1*sleep(120000)").start();
    push_hang();
    hangs.wait_log("a thread hangs");
    world.push(1000..1100);
    world.wait_nothing_waits_for("one");
    assert_eq!(hangs.terminate(PATIENCE), Some(0));
    let mut agent = agent("").start();
    world.wait_nothing_waits_for("two");
    two.assert_written(0..1100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// With all of them hanging, with one of them hanging for longer than the others, and when all is written.
fn three_publishers_hold_no_more_memory_than_one_may_while_messages_are_small(world: &World) {
    const MESSAGES: u64 = 50_000;
    let databases = [database(), database(), database()];
    databases.iter().for_each(Influxd::pause);
    let names = ["one", "two", "three"];
    let publishers: String = names.iter().zip(&databases).map(|(name, database)| influxdb(name, &database.url())).collect();
    let mut agent = world.agent(&publishers).start();
    world.push(0..MESSAGES);
    for name in names {
        wait_for(&format!("{name} to have tried what it holds"), PATIENCE, || {
            let tried = agent.logged("a batch is not written yet");
            (tried.iter().filter(|line| line["publisher"] == name).count() >= 2).then_some(())
        });
        wait_for("all to wait", PATIENCE, || (world.waiting_for(name) as u64 == MESSAGES).then_some(()));
    }
    assert_bounded(&agent, 1, "all three hang");
    for (name, database) in names.iter().zip(&databases) {
        database.resume();
        world.wait_nothing_waits_for(name);
        assert_bounded(&agent, 1, &format!("all is written by {name}"));
        database.assert_written(0..MESSAGES);
    }
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// Each has two batches in hand while its database hangs, and a message that is larger than a batch is one by itself.
fn each_further_publisher_takes_its_own_share_of_memory_however_large_messages_are(world: &World) {
    const MESSAGES: usize = 9;
    let databases = [database(), database(), database()];
    databases.iter().for_each(Influxd::pause);
    let names = ["one", "two", "three"];
    let publishers: String = names.iter().zip(&databases).map(|(name, database)| influxdb(name, &database.url())).collect();
    let mut agent = world.agent(&publishers);
    if let World::Redis(_) = world {
        // On a loaded machine such a message takes Redis longer than the second that tests have for it.
        agent = agent.env("KADABRA_CHANNEL__REDIS__TIMEOUT", "10s").env("KADABRA_CHANNEL__REDIS__LEASE", "30s");
    }
    let mut agent = agent.start();
    let mut connection = world.connection();
    for number in 0..MESSAGES {
        let _: usize = connection.lpush("kadabra_queue", large(number, 4 << 20)).unwrap();
    }
    for name in names {
        wait_for(&format!("{name} to have tried what it holds"), PATIENCE, || {
            let tried = agent.logged("a batch is not written yet");
            (tried.iter().filter(|line| line["publisher"] == name).count() >= 2).then_some(())
        });
    }
    assert_bounded(&agent, names.len(), "all three hang");
    for (name, database) in names.iter().zip(&databases) {
        database.resume();
        world.wait_nothing_waits_for(name);
        assert_bounded(&agent, names.len(), &format!("all is written by {name}"));
    }
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

fn a_publisher_that_is_renamed_between_starts_leaves_what_waits_to_be_named(world: &World) {
    let [one, two] = [database(), database()];
    let down = "http://127.0.0.1:9";
    let mut agent = world.agent(&(influxdb("one", &one.url()) + &influxdb("old", down))).start();
    world.push(0..50);
    world.wait_nothing_waits_for("one");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let renamed = influxdb("one", &one.url()) + &influxdb("new", &two.url());
    let mut agent = world.agent(&renamed).start();
    let said = agent.wait_condition("removed publisher");
    assert_eq!(said["now"], "50 messages wait for old");
    world.push(50..80);
    world.wait_nothing_waits_for("new");
    two.assert_written(50..80);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    std::fs::write(&file, world.config(&renamed)).unwrap();
    let check = cli(["check", "--online", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(said.contains("ok: publisher new: ") && said.contains("ok: publisher one: "), "{said}");
    assert!(said.contains("warning: removed publisher: ") && said.contains("50 messages wait for old"), "{said}");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn filtered_metrics_are_done_without_a_write_and_are_refused_by_nobody() {
    let (world, [one, two]) = (World::redis(), [database(), database()]);
    let filtered = influxdb("two", &two.url()) + "only = [\"took\"]\nexcept = [\"host=web0\"]\n";
    let mut agent = world.agent(&(influxdb("one", &one.url()) + &filtered)).start();
    world.push(0..700);
    world.wait_nothing_waits_for("one");
    world.wait_nothing_waits_for("two");
    one.assert_written(0..700);
    let mut took = two.values("took");
    took.sort_unstable();
    assert_eq!(took, (0..700).filter(|number| number % 7 != 0).collect::<Vec<_>>());
    assert!(two.values("numbered").is_empty());
    let _: usize = world.connection().lpush("kadabra_queue", numbered(7)).unwrap();
    world.wait_nothing_waits_for("two");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let ledgers = agent.logged("published 701, parked 0");
    assert_eq!(ledgers.len(), 2, "{ledgers:?}");
}

/// A remedy names the key as it is said of the publisher that is held.
#[test]
fn a_publisher_that_is_held_is_named_with_its_own_keys() {
    let (world, one) = (World::redis(), database());
    let mut agent = world.agent(&(influxdb("one", &one.url()) + "influxdb.database = \"missing\"\n[publishers.shown]\n")).start();
    world.push(0..1);
    let held = agent.wait_condition("publisher");
    let mend = held["mend"].as_str().unwrap();
    assert!(held["publisher"] == "one" && mend.contains("publishers.one.influxdb."), "{held}");
    world.wait_nothing_waits_for("shown");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}
