//! A Redis and an InfluxDB for one bench, and the agent between them.

use std::{thread, time::Duration};

use redis::Commands;

use super::{bare_loop, message, usage::Usage};
use crate::servers::{agent::Agent, influxd::Influxd, process::wait_for, redis_server::RedisServer};

/// The database that everybody writes to.
pub(crate) const DATABASE: &str = "kadabra";

/// The list that clients push to.
pub(crate) const QUEUE: &str = "kadabra_queue";

/// Where messages are made ready, out of everybody's sight.
const PREPARED: &str = "bench:prepared";

/// How many messages one command queues.
const AT_ONCE: u64 = 1000;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Redis, which keeps an append-only file as the README advises, and InfluxDB.
pub(crate) struct World {
    pub(crate) redis: RedisServer,
    pub(crate) influxd: Influxd,
    connection: redis::Connection,
}

/// How an agent differs from the default one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    /// `publisher.workers`
    pub(crate) workers: usize,
    /// `batch.interval` and `batch.max_messages`, if not eager.
    pub(crate) batched: Option<(&'static str, usize)>,
    /// `publisher.influxdb.gzip`
    pub(crate) gzip: bool,
}

impl Variant {
    /// The agent as it is when nothing is configured.
    pub(crate) const DEFAULT: Self = Self { workers: 6, batched: None, gzip: false };
}

impl World {
    pub(crate) fn start() -> Self {
        // The file is rewritten between runs, never within one: a rewrite would fall into some runs and not into others.
        let redis = RedisServer::with(&["--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"]);
        let connection = redis.connection();
        let influxd = Influxd::start();
        influxd.create_database(DATABASE);
        Self { redis, influxd, connection }
    }

    /// Forgets everything, and waits until both servers have nothing to do any more.
    pub(crate) fn reset(&mut self, append_only: bool) {
        let append_only = if append_only { "yes" } else { "no" };
        let connection = &mut self.connection;
        let _: () = redis::cmd("FLUSHALL").arg("SYNC").query(connection).unwrap();
        let _: () = redis::cmd("CONFIG").arg("SET").arg("appendonly").arg(append_only).query(connection).unwrap();
        wait_for("Redis to rewrite its append-only file", PATIENCE, || {
            // It refuses while one runs.
            redis::cmd("BGREWRITEAOF").query::<String>(connection).ok()
        });
        self.influxd.drop_database(DATABASE);
        self.influxd.create_database(DATABASE);
        self.wait_until_quiet();
    }

    /// Waits until neither server uses more than a few percent of a core.
    pub(crate) fn wait_until_quiet(&self) {
        let (window, quiet) = (Duration::from_millis(200), Duration::from_millis(10));
        let used = || Usage::of(self.redis.id()).cpu + Usage::of(self.influxd.id()).cpu;
        let mut before = used();
        wait_for("Redis and InfluxDB to come to rest", PATIENCE, || {
            thread::sleep(window);
            let now = used();
            let is_quiet = now - before < quiet;
            before = now;
            is_quiet.then_some(())
        });
    }

    /// Makes messages ready that nobody sees before [`Self::release`].
    pub(crate) fn prepare(&mut self, count: u64) {
        let mut first = 0;
        while first < count {
            let next = count.min(first + AT_ONCE);
            let messages: Vec<String> = (first..next).map(message::message).collect();
            let _: () = self.connection.lpush(PREPARED, messages).unwrap();
            first = next;
        }
    }

    /// Makes the messages that are ready the queue, in one step.
    pub(crate) fn release(&mut self) {
        let _: () = self.connection.rename(PREPARED, QUEUE).unwrap();
    }

    /// Whether no message waits or is worked on, by whichever program.
    pub(crate) fn is_drained(&mut self) -> bool {
        let mut questions = redis::pipe();
        questions.atomic().llen(QUEUE).zcard(format!("{{{QUEUE}}}:leases")).llen("kadabra_inprogress");
        for lease in bare_loop::LEASES {
            questions.llen(lease);
        }
        let answers: Vec<u64> = questions.query(&mut self.connection).unwrap();
        answers.iter().all(|count| *count == 0)
    }

    /// Checks that InfluxDB has one point of each measurement for each message: speed that loses some is none.
    pub(crate) fn assert_stored(&self, count: u64) {
        assert_eq!(self.influxd.count(DATABASE, message::MEASUREMENT), count, "InfluxDB has not got all messages");
    }

    /// An agent that writes to `to`, once it waits for messages.
    pub(crate) fn agent(&self, to: &str, variant: &Variant) -> Agent {
        let Variant { workers, batched, gzip } = variant;
        let batch = batched.map(|(interval, messages)| format!("interval = \"{interval}\"\nmax_messages = {messages}"));
        let agent = Agent::start(&format!(
            "[agent]\nname = \"bench\"\n[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{}\"\n[batch]\n{}\n[publisher]\ntype = \"influxdb\"\n\
             workers = {workers}\n[publisher.influxdb]\nurl = \"{to}\"\ndatabase = \"{DATABASE}\"\ngzip = {gzip}\n",
            self.redis.url(),
            batch.unwrap_or_default(),
        ));
        agent.wait_log("publishing");
        wait_for_rest(agent.id());
        agent
    }
}

/// Waits until a process has come up and does nothing any more.
pub(crate) fn wait_for_rest(id: u32) {
    let mut before = Usage::of(id).cpu;
    wait_for("a process to come to rest", PATIENCE, || {
        thread::sleep(Duration::from_millis(100));
        let now = Usage::of(id).cpu;
        let rests = now - before < Duration::from_millis(1);
        before = now;
        rests.then_some(())
    });
}
