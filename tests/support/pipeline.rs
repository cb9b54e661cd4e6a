//! A Redis, an InfluxDB and the configuration of an agent between them; numbered messages that can be counted one by one.

use std::{collections::HashMap, ops::Range, time::Duration};

use super::{
    agent::{Agent, Builder},
    influxd::Influxd,
    process::wait_for,
    redis_server::RedisServer,
};

/// The database that the agent writes to.
pub(crate) const DATABASE: &str = "kadabra";

/// How long a pipeline may take to do what it shall do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Redis and InfluxDB, each a process of its own.
pub(crate) struct Pipeline {
    pub(crate) redis: RedisServer,
    pub(crate) influxd: Influxd,
}

/// What Redis holds of Kadabra's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) queued: u64,
    pub(crate) inprogress: u64,
    pub(crate) adopted: u64,
    pub(crate) leases: u64,
    pub(crate) lease_lists: usize,
    pub(crate) dead: u64,
}

impl Left {
    /// Nothing at all.
    pub(crate) const NOTHING: Self = Self { queued: 0, inprogress: 0, adopted: 0, leases: 0, lease_lists: 0, dead: 0 };
}

impl RedisServer {
    /// What Redis holds, at one instant: between two questions messages may move from what was asked later to what was
    /// asked before, and be seen nowhere.
    pub(crate) fn left(&self) -> Left {
        self.left_of("kadabra_queue", "{kadabra_queue}", "kadabra_inprogress")
    }

    /// The same of a list, whose other keys begin like this, with the list that a Python agent has in progress.
    pub(crate) fn left_of(&self, list: &str, prefix: &str, inprogress: &str) -> Left {
        let mut questions = redis::pipe();
        questions.atomic().cmd("LLEN").arg(list).cmd("LLEN").arg(inprogress);
        questions.cmd("LLEN").arg(format!("{prefix}:adopted")).cmd("ZCARD").arg(format!("{prefix}:leases"));
        questions.cmd("XLEN").arg(format!("{prefix}:dead")).cmd("KEYS").arg(format!("{prefix}:lease:*"));
        let answers: (u64, u64, u64, u64, u64, Vec<String>) = questions.query(&mut self.connection()).unwrap();
        let (queued, inprogress, adopted, leases, dead, lists) = answers;
        Left { queued, inprogress, adopted, leases, lease_lists: lists.len(), dead }
    }

    /// The dead letters, oldest first: payload, reason, refused, agent, time.
    pub(crate) fn dead_letters(&self) -> Vec<HashMap<String, Vec<u8>>> {
        self.dead_letters_in("{kadabra_queue}:dead")
    }

    /// The same of a stream.
    pub(crate) fn dead_letters_in(&self, stream: &str) -> Vec<HashMap<String, Vec<u8>>> {
        let mut connection = self.connection();
        let stream = redis::cmd("XRANGE").arg(stream).arg("-").arg("+").query(&mut connection);
        let letters: Vec<(String, HashMap<String, Vec<u8>>)> = stream.unwrap();
        letters.into_iter().map(|(_, letter)| letter).collect()
    }
}

impl Pipeline {
    /// Both servers, and the database.
    pub(crate) fn start() -> Self {
        Self::with(RedisServer::for_agents())
    }

    /// The same where Redis allows everything, as the Python agent needs it.
    pub(crate) fn with_any_rights() -> Self {
        Self::with(RedisServer::start())
    }

    fn with(redis: RedisServer) -> Self {
        let pipeline = Self { redis, influxd: Influxd::start() };
        pipeline.influxd.create_database(DATABASE);
        pipeline
    }

    /// An agent between the two, with short times; environment variables change what a test wants otherwise.
    pub(crate) fn agent(&self) -> Builder {
        Agent::with(&config(&self.redis.url(), &self.influxd.url()))
    }

    /// Queues a message as a client does.
    pub(crate) fn push(&self, message: &[u8]) {
        self.push_all([message.to_vec()]);
    }

    /// Queues numbered messages.
    pub(crate) fn push_numbers(&self, numbers: Range<u64>) {
        self.push_all(numbers.map(|number| numbered(number).into_bytes()));
    }

    /// Queues messages in this order.
    pub(crate) fn push_all(&self, messages: impl IntoIterator<Item = Vec<u8>>) {
        let mut connection = self.redis.connection();
        let messages: Vec<_> = messages.into_iter().collect();
        for chunk in messages.chunks(1000) {
            let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(chunk).query(&mut connection).unwrap();
        }
    }

    /// What Redis holds, at one instant.
    pub(crate) fn left(&self) -> Left {
        self.redis.left()
    }

    /// The dead letters, oldest first: payload, reason, refused, agent, time.
    pub(crate) fn dead_letters(&self) -> Vec<HashMap<String, Vec<u8>>> {
        self.redis.dead_letters()
    }

    /// Waits until Redis holds exactly this.
    pub(crate) fn wait_left(&self, wanted: &Left) {
        let mut last = None;
        let what = format!("{wanted:?} left in Redis");
        wait_for(&what, PATIENCE, || {
            let left = self.left();
            let reached = (left == *wanted).then_some(());
            if reached.is_none() && last.as_ref() != Some(&left) {
                eprintln!("{left:?}");
                last = Some(left);
            }
            reached
        });
    }

    /// Waits until nothing is left, and checks that every number is in InfluxDB once, with its own value.
    pub(crate) fn assert_all_written(&self, numbers: Range<u64>) {
        self.wait_left(&Left::NOTHING);
        self.assert_written(numbers);
    }

    /// Checks that every number is in InfluxDB once, with its own value.
    pub(crate) fn assert_written(&self, numbers: Range<u64>) {
        self.influxd.assert_written(numbers);
    }

    /// How many numbers are in InfluxDB.
    pub(crate) fn written(&self) -> usize {
        self.influxd.values("numbered").len()
    }

    /// How many points a measurement has.
    pub(crate) fn count(&self, measurement: &str) -> usize {
        self.influxd.values(measurement).len()
    }
}

impl Influxd {
    /// Checks that every number is in it once, with its own value.
    pub(crate) fn assert_written(&self, numbers: Range<u64>) {
        assert_once_each(|measurement| self.values(measurement), numbers);
    }

    /// The values of a measurement.
    pub(crate) fn values(&self, measurement: &str) -> Vec<u64> {
        let answer = self.query(DATABASE, &format!("SELECT value FROM {measurement}"));
        let rows = answer["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default();
        // A point that is being written may be shown without its value.
        rows.iter().filter_map(|row| row[1].as_f64()).map(|value| value as u64).collect()
    }
}

/// Checks that every number is once among the values of each measurement.
pub(crate) fn assert_once_each(values: impl Fn(&str) -> Vec<u64>, numbers: Range<u64>) {
    for measurement in ["numbered", "took"] {
        let mut seen: HashMap<u64, usize> = HashMap::new();
        for value in values(measurement) {
            *seen.entry(value).or_default() += 1;
        }
        let missing: Vec<u64> = numbers.clone().filter(|number| !seen.contains_key(number)).collect();
        assert!(missing.is_empty(), "{measurement} lost {}: {:?} …", missing.len(), &missing[..missing.len().min(10)]);
        let doubled: Vec<u64> = seen.iter().filter(|(_, times)| **times > 1).map(|(number, _)| *number).take(10).collect();
        assert!(doubled.is_empty(), "{measurement} doubled {doubled:?} …");
        assert_eq!(seen.len() as u64, numbers.end - numbers.start, "{measurement} has points that nobody sent");
    }
}

/// A configuration with short times.
pub(crate) fn config(redis: &str, influxdb: &str) -> String {
    config_of(
        &format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{redis}\"\nlease = \"2s\"\ntimeout = \"1s\""),
        influxdb,
    )
}

/// The same, with this as what concerns the channel.
pub(crate) fn config_of(channel: &str, influxdb: &str) -> String {
    format!(
        r#"
[agent]
shutdown_timeout = "20s"
{channel}
[publisher]
type = "influxdb"
backoff_min = "50ms"
backoff_max = "500ms"
[publisher.influxdb]
url = "{influxdb}"
timeout = "5s"
[nanny]
frequency = "500ms"
threshold = "1s"
[supervisor]
backoff_min = "20ms"
backoff_max = "200ms"
[log]
level = "debug"
format = "json"
"#
    )
}

/// A message that carries a number: one counter and one timer with it as their value, at a time of its own.
pub(crate) fn numbered(number: u64) -> String {
    let time = format!("2026-03-01T12:{:02}:{:02}.{:06}Z", number / 6_000_000 % 60, number / 100_000 % 60, number % 100_000);
    format!(
        r#"{{"dimensions": [{{"name": "host", "value": "web{}"}}], "counters": [{{"name": "numbered", "metadata": {{"path": "/index"}}, "timestamp": "{time}", "value": {number}.0}}], "timers": [{{"name": "took", "unit": {{"name": "milliseconds", "seconds_offset": 1000.0}}, "metadata": {{}}, "timestamp": "{time}", "value": {number}.0}}], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ", "serialized_at": "{time}"}}"#,
        number % 7
    )
}
