//! What the agent had to drop is a metric in the database, whatever dropped it, and telling of it drops nothing more.

use std::{collections::BTreeMap, net::UdpSocket, ops::Range};

use redis::{Commands as _, Connection};

use super::support::{
    agent::{Agent, Builder},
    influxd::Influxd,
    pipeline::{DATABASE, PATIENCE, config_of, numbered},
    process::{free_port, wait_for},
    redis_server::RedisServer,
};

/// An InfluxDB, and the place of an agent with a queue of its own.
struct House {
    folder: tempfile::TempDir,
    port: u16,
    influxd: Influxd,
}

impl House {
    fn new() -> Self {
        let influxd = Influxd::start();
        influxd.create_database(DATABASE);
        Self { folder: tempfile::tempdir().unwrap(), port: free_port(), influxd }
    }

    /// An agent with more of `[channel.embedded]`, and more sections.
    fn agent(&self, embedded: &str, more: &str) -> Builder {
        let queue = self.folder.path().join("queue.db");
        let channel = format!("[channel.embedded]\nlisten = \"127.0.0.1:{}\"\npath = {queue:?}\n{embedded}", self.port);
        let config = config_of(&format!("name = \"here\"\ndrops_interval = \"100ms\"\n{channel}"), &self.influxd.url());
        Agent::with(&(config + more))
    }

    fn connection(&self) -> Connection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port)).unwrap();
        wait_for("the agent to take clients", PATIENCE, || client.get_connection().ok())
    }

    /// Pushes numbered messages of 100 kB each, and an answer to each.
    fn push_large(&self, numbers: Range<u64>) {
        let (mut connection, text) = (self.connection(), "x".repeat(100_000));
        for number in numbers {
            let _: usize = connection.lpush("kadabra_queue", numbered(number).replace("/index", &text)).unwrap();
        }
    }

    /// A number of the agent's own that INFO has.
    fn info(&self, field: &str) -> u64 {
        let info: String = redis::cmd("INFO").query(&mut self.connection()).unwrap();
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {field} in {info}")).parse().unwrap()
    }

    /// Waits until the agent is so many seconds older.
    fn wait_seconds(&self, seconds: u64) {
        let until = self.info("uptime_in_seconds") + seconds;
        wait_for("time to pass", PATIENCE, || (self.info("uptime_in_seconds") >= until).then_some(()));
    }

    /// What the database was told, by `reason unit publisher`: how often, and the sum.
    fn told(&self) -> BTreeMap<String, (usize, u64)> {
        let mut told: BTreeMap<String, (usize, u64)> = BTreeMap::new();
        for point in self.influxd.points(DATABASE) {
            if point["measurement"] != "KadabraAgentDropped" {
                continue;
            }
            let Some(value) = point["fields"]["value"].as_f64() else { continue };
            let tag = |name: &str| point["tags"][name].as_str().unwrap_or("-").to_owned();
            assert_eq!(tag("agent"), "here");
            let (times, sum) = told.entry([tag("reason"), tag("unit"), tag("publisher")].join(" ")).or_default();
            (*times, *sum) = (*times + 1, *sum + value as u64);
        }
        told
    }

    /// Waits until the database was told that sum.
    fn wait_told(&self, of: &str, sum: u64) {
        let mut last = None;
        wait_for(&format!("{of} to be {sum}"), PATIENCE, || {
            let told = self.told();
            let reached = told.get(of).is_some_and(|(_, told)| *told == sum).then_some(());
            if last.as_ref() != Some(&told) {
                eprintln!("{told:?}");
                last = Some(told);
            }
            reached
        });
    }
}

fn end(agent: &mut Agent) {
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn what_a_full_queue_has_dropped_is_told_exactly_once_there_is_room_and_nothing_more_is_dropped_by_telling() {
    for when_full in ["drop_newest", "drop_oldest"] {
        let mut house = House::new();
        house.influxd.stop();
        let embedded = format!("max_bytes = \"4MiB\"\nwhen_full = \"{when_full}\"");
        let mut agent = house.agent(&embedded, "").start();
        house.push_large(0..100);
        let dropped = || house.info("dropped_newest") + house.info("dropped_oldest");
        wait_for("drops", PATIENCE, || (dropped() >= 50).then_some(()));
        house.wait_seconds(1);
        let before = dropped();
        // Some twenty intervals in which no client pushes.
        house.wait_seconds(2);
        assert_eq!(dropped(), before, "{when_full}: telling of drops drops");
        house.influxd.start_again();
        house.wait_told("queue messages -", before);
        let numbers: usize = wait_for("all others to be stored", PATIENCE, || {
            Some(house.influxd.values("numbered").len()).filter(|n| *n as u64 + before >= 100)
        });
        // A message of the agent's own that the queue dropped for another one is no client's.
        assert_eq!(numbers as u64 + before, 100, "{when_full}");
        end(&mut agent);
        // And never again.
        let told = house.told();
        assert_eq!(told.len(), 1, "{told:?}");
    }
}

#[test]
fn what_one_of_several_publishers_has_dropped_is_told_by_the_others_under_its_name_and_telling_goes_not_on() {
    let redis = RedisServer::start();
    let mut house = House::new();
    let queue = house.folder.path().join("queue.db");
    let embedded = format!("[channel.embedded]\nlisten = \"127.0.0.1:{}\"\npath = {queue:?}", house.port);
    one_of_several(&house, &embedded);
    house = House { port: redis.port(), ..House::new() };
    one_of_several(&house, &format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{}\"", redis.url()));
}

fn one_of_several(house: &House, channel: &str) {
    let publishers = |config: String| {
        let (before, rest) = config.split_once("[publisher]").unwrap();
        let (_, after) = rest.split_once("[nanny]").unwrap();
        let one = format!("[publishers.one.influxdb]\nurl = \"{}\"", house.influxd.url());
        let other = "[publishers.other]\ntype = \"influxdb\"\nrequired = false\nmax_backlog = 10\n[publishers.other.influxdb]\nurl = \"http://127.0.0.1:9\"";
        format!("{before}[publishers.one]\ntype = \"influxdb\"\n{one}\n{other}\n[nanny]{after}")
    };
    let config = config_of(&format!("name = \"here\"\ndrops_interval = \"100ms\"\n{channel}"), &house.influxd.url());
    let mut agent = Agent::with(&publishers(config)).start();
    let mut connection = house.connection();
    let of = "queue messages other";
    // What is in the other's hands is not dropped: pushed is what they hold, and then more until that is told.
    let mut pushed = 0;
    wait_for("drops to be told", PATIENCE, || {
        let messages: Vec<_> = (pushed..pushed + 200).map(numbered).collect();
        pushed += 200;
        let _: usize = connection.lpush("kadabra_queue", messages).unwrap();
        house.told().contains_key(of).then_some(())
    });
    let all = usize::try_from(pushed).unwrap();
    wait_for("all to be stored", PATIENCE, || (house.influxd.values("numbered").len() == all).then_some(()));
    // Or each message about drops would drop one, of which the next one tells.
    wait_for("no further messages about drops", PATIENCE, || {
        let (times, _) = house.told()[of];
        house.wait_seconds(2);
        (house.told()[of].0 == times).then_some(())
    });
    agent.signal("TERM");
    assert_ne!(agent.wait(PATIENCE), Some(78));
    assert_eq!(house.told().len(), 1);
}

#[test]
fn what_statsd_refused_and_the_kernel_dropped_is_told_and_so_is_the_last_interval() {
    let house = House::new();
    let (address, status) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let statsd = |interval: &str| {
        let section = format!(
            "[listener.statsd]\nlisten = \"{address}\"\nmax_series = 2\nreceive_buffer = \"4KiB\"\ninterval = \"100ms\"\n\
             [status]\nlisten = \"{status}\"\n"
        );
        house.agent("", &section).env("KADABRA_AGENT__DROPS_INTERVAL", interval)
    };
    let mut agent = statsd("100ms").start();
    agent.wait_log("taking datagrams");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(&address).unwrap();
    client.send(b"a:1|c\nb:1|c\nc:1|c\nd:1|c\nno\nneither:1|x").unwrap();
    for of in ["series metrics -", "value metrics -", "type metrics -"] {
        house.wait_told(of, if of.starts_with("series") { 2 } else { 1 });
    }
    assert_eq!(house.told().len(), 3);
    let shown = |path: &str| ureq::get(format!("http://{status}{path}")).call().unwrap().body_mut().read_to_string().unwrap();
    let metrics = shown("/metrics");
    for line in [
        "kadabra_statsd_aggregated_total 2",
        "kadabra_statsd_refused_total{reason=\"series\"} 2",
        "kadabra_statsd_datagrams_dropped_total 0",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line}: {metrics}");
    }
    assert!(shown("/").contains("statsd: 2 metrics aggregated from 1 datagram, 4 refused"));
    end(&mut agent);
    // The kernel has room for a few of these, since the agent reads none.
    let mut agent = statsd("1h").start();
    agent.wait_log("taking datagrams");
    agent.signal("STOP");
    for _ in 0..1000 {
        client.send(b"a:1|c").unwrap();
    }
    agent.signal("CONT");
    wait_for("a datagram that tells what the kernel dropped", PATIENCE, || {
        client.send(b"last:1|c").unwrap();
        (!agent.logged("the kernel dropped datagrams").is_empty()).then_some(())
    });
    end(&mut agent);
    let line = agent.wait_log("aggregated from");
    let dropped = line["dropped_by_kernel"].as_u64().unwrap();
    assert!(dropped > 900, "{line}");
    let mut agent = statsd("0s").start();
    house.wait_told("kernel datagrams -", dropped);
    client.send(b"no").unwrap();
    end(&mut agent);
    assert_eq!(house.told()["value metrics -"], (1, 1), "0s is never");
}
