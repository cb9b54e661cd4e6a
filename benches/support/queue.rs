//! The two queues that are compared: one of an agent's own, and one in a Redis that an agent drains.

use std::{path::PathBuf, time::Duration};

use redis::Commands;
use tempfile::TempDir;

use super::{
    message,
    world::{DATABASE, QUEUE},
};
use crate::servers::{
    agent::{Agent, Builder},
    process::{free_port, wait_for},
};

/// Where nobody answers: what is pushed stays.
pub(crate) const NOBODY: &str = "http://127.0.0.1:1";

const PATIENCE: Duration = Duration::from_secs(600);

/// How many clients fill a queue.
const CLIENTS: u64 = 8;

/// A queue of an agent's own, for one agent after the other.
pub(crate) struct Own {
    folder: TempDir,
    pub(crate) port: u16,
    durability: &'static str,
}

impl Own {
    pub(crate) fn new(durability: &'static str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), port: free_port(), durability }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    /// An agent with this queue, which publishes to `to`.
    pub(crate) fn agent(&self, to: &str) -> Builder {
        self.agent_with(&publisher(to))
    }

    /// An agent with this queue and these publishers, as TOML.
    pub(crate) fn agent_with(&self, publishers: &str) -> Builder {
        let (path, port, durability) = (self.path(), self.port, self.durability);
        Agent::with(&format!(
            "[channel]\ntype = \"embedded\"\n[channel.embedded]\npath = {path:?}\nlisten = \"127.0.0.1:{port}\"\n\
             durability = \"{durability}\"\nmax_bytes = \"16GiB\"\nqueue_key = \"{QUEUE}\"\n{AGENT}{publishers}"
        ))
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// A client, once the agent answers.
    pub(crate) fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).unwrap();
        wait_for("the agent to take clients", PATIENCE, || client.get_connection().ok())
    }

    /// Queues messages, and ends the agent that took them.
    pub(crate) fn fill(&self, count: u64) {
        self.fill_for(&publisher(NOBODY), count);
    }

    /// The same for these publishers, as TOML, which reach nobody.
    pub(crate) fn fill_for(&self, publishers: &str, count: u64) {
        let mut agent = self.agent_with(publishers).start();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let mut connection = self.connection();
                std::thread::spawn(move || {
                    for number in (client..count).step_by(CLIENTS as usize) {
                        let _: u64 = connection.lpush(QUEUE, message::message(number)).unwrap();
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        assert_eq!(agent.terminate(PATIENCE), Some(0));
    }
}

/// An agent that publishes to `to` what is in this Redis.
pub(crate) fn from_redis(redis: &str, to: &str) -> Builder {
    from_redis_with(redis, &publisher(to))
}

/// An agent with these publishers, as TOML, of what is in this Redis.
pub(crate) fn from_redis_with(redis: &str, publishers: &str) -> Builder {
    Agent::with(&format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{redis}\"\n{AGENT}{publishers}"))
}

const AGENT: &str = "[agent]\nname = \"bench\"\n";

fn publisher(to: &str) -> String {
    format!("[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\nurl = \"{to}\"\ndatabase = \"{DATABASE}\"\n")
}
