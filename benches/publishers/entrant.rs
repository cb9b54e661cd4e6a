//! An agent with one publisher or two, and one drain by it.

use std::{
    io::Read,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use flate2::read::GzDecoder;

use crate::support::{
    http::GZIP,
    message,
    queue::{NOBODY, Own, from_redis_with},
    sink::{Answered, Sink},
    usage::Usage,
    world::{DATABASE, World, wait_for_rest},
};

const PATIENCE: Duration = Duration::from_secs(600);

/// Where messages wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Own,
    Redis,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interface {
    V1,
    V2,
    V3,
    Victoriametrics,
}

/// An agent to be measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entrant {
    pub(crate) name: &'static str,
    pub(crate) from: From,
    pub(crate) interface: Interface,
    /// The names of its publishers; none is `[publisher]`.
    pub(crate) publishers: &'static [&'static str],
    pub(crate) gzip: bool,
}

impl Entrant {
    /// With `[publisher]`, to v1.
    pub(crate) const fn new(name: &'static str, from: From) -> Self {
        Self { name, from, interface: Interface::V1, publishers: &[], gzip: false }
    }
}

/// A server to write to, and what it tells.
pub(crate) type Server = (Sink, Receiver<Answered>);

/// What one drain took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Messages a second.
    pub(crate) rate: f64,
    /// CPU µs a message.
    pub(crate) cpu: f64,
    pub(crate) redis_cpu: f64,
    pub(crate) influxd_cpu: f64,
    /// Bytes a message.
    pub(crate) bytes: f64,
    /// Bytes.
    pub(crate) peak_rss: f64,
}

impl Entrant {
    /// Drains so many messages to as many of the servers as it has publishers.
    pub(crate) fn drain(&self, world: &mut World, servers: &[Server], count: u64) -> Sample {
        world.reset(true);
        let servers = &servers[..self.publishers.len().max(1)];
        let publishers = self.toml(servers.iter().map(|(sink, _)| sink.url()));
        let own = Own::new("process");
        let agent = match self.from {
            From::Own => {
                own.fill_for(&self.toml(servers.iter().map(|_| NOBODY)), count);
                own.agent_with(&publishers)
            }
            From::Redis => {
                world.prepare(count);
                world.release();
                from_redis_with(&world.redis.url(), &publishers)
            }
        };
        world.wait_until_quiet();
        let usage = |world: &World| [world.redis.id(), world.influxd.id()].map(|id| Usage::of(id).cpu);
        let before = usage(world);
        let begun = Instant::now();
        let agent = agent.start();
        let (mut end, mut bytes) = (begun, 0);
        for (_, answered) in servers {
            let mut messages = 0;
            while messages < count {
                let Answered { at, body } = answered.recv_timeout(PATIENCE).unwrap();
                messages += messages_in(&body);
                bytes += body.len();
                end = end.max(at);
            }
            assert_eq!(messages, count, "some were published twice");
        }
        wait_for_rest(agent.id());
        let (own, after) = (Usage::of(agent.id()), usage(world));
        let micros = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count as f64;
        Sample {
            rate: count as f64 / (end - begun).as_secs_f64(),
            cpu: micros(own.cpu),
            redis_cpu: micros(after[0] - before[0]),
            influxd_cpu: micros(after[1] - before[1]),
            bytes: bytes as f64 / count as f64,
            peak_rss: own.peak_rss as f64,
        }
    }

    fn toml<'a>(&self, urls: impl Iterator<Item = &'a str>) -> String {
        let (kind, keys) = match self.interface {
            Interface::V1 => ("influxdb", format!("database = \"{DATABASE}\"")),
            Interface::V2 => ("influxdb", format!("api = \"v2\"\norg = \"bench\"\nbucket = \"{DATABASE}\"\ntoken = \"token\"")),
            Interface::V3 => ("influxdb", format!("api = \"v3\"\ndatabase = \"{DATABASE}\"\ntoken = \"token\"")),
            Interface::Victoriametrics => ("victoriametrics", String::new()),
        };
        let section = |(number, url): (usize, &str)| {
            let section = self.publishers.get(number).map_or("publisher".to_owned(), |name| format!("publishers.{name}"));
            let gzip = self.gzip;
            format!("[{section}]\ntype = \"{kind}\"\n[{section}.{kind}]\nurl = \"{url}\"\ngzip = {gzip}\n{keys}\n")
        };
        urls.enumerate().map(section).collect()
    }
}

/// How many messages have a line of [`message::MEASUREMENT`] in a body, of which each has one.
fn messages_in(body: &[u8]) -> u64 {
    let mut plain = Vec::new();
    let body = if body.starts_with(&GZIP) {
        GzDecoder::new(body).read_to_end(&mut plain).unwrap();
        &plain
    } else {
        body
    };
    body.split(|byte| *byte == b'\n').filter(|line| line.starts_with(message::MEASUREMENT.as_bytes())).count() as u64
}
