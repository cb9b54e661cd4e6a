//! Which server takes the pushes.

use crate::{
    servers::agent::{Agent, Builder},
    support::{
        queue::{Own, from_redis},
        world::{DATABASE, World, wait_for_rest},
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taker {
    /// A Redis without an agent, which writes its append-only file to the disk every second, or before each answer.
    RedisAlone { always: bool },
    /// An agent with a queue of its own, of this durability.
    Embedded { durability: &'static str },
    /// The same with two publishers, of which the second writes into another database.
    EmbeddedToTwo,
    /// A Redis, and an agent that drains it.
    Redis,
}

pub(crate) const REDIS_ALONE: Taker = Taker::RedisAlone { always: false };
pub(crate) const EMBEDDED: Taker = Taker::Embedded { durability: "process" };
pub(crate) const EMBEDDED_FSYNC: Taker = Taker::Embedded { durability: "fsync" };

/// A server that takes pushes, and its agent.
pub(crate) struct Running {
    pub(crate) agent: Option<Agent>,
    /// Where clients connect.
    pub(crate) server: String,
    _own: Option<Own>,
}

impl Taker {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RedisAlone { always: false } => "Redis alone",
            Self::RedisAlone { always: true } => "Redis alone, fsync",
            Self::Embedded { durability: "fsync" } => "embedded, fsync",
            Self::Embedded { .. } => "embedded",
            Self::EmbeddedToTwo => "embedded, two publishers",
            Self::Redis => "over Redis",
        }
    }

    /// Whether what happens in Redis says anything of it.
    pub(crate) fn has_redis(self) -> bool {
        !matches!(self, Self::Embedded { .. } | Self::EmbeddedToTwo)
    }

    /// Starts it with both servers empty. The agent publishes to `to`.
    pub(crate) fn start(self, world: &mut World, to: &str) -> Running {
        let fsync = if self == (Self::RedisAlone { always: true }) { "always" } else { "everysec" };
        redis::cmd("CONFIG").arg("SET").arg("appendfsync").arg(fsync).exec(&mut world.redis.connection()).unwrap();
        world.reset(true);
        let running = match self {
            Self::RedisAlone { .. } => Running { agent: None, server: world.redis.url(), _own: None },
            Self::Embedded { durability } => {
                let own = Own::new(durability);
                let agent = own.agent(to);
                of_its_own(own, agent)
            }
            Self::EmbeddedToTwo => {
                let own = Own::new("process");
                let publisher = |name, database| {
                    format!(
                        "[publishers.{name}]\ntype = \"influxdb\"\ninfluxdb.url = \"{to}\"\ninfluxdb.database = \"{database}\"\n\
                         influxdb.create_database = true\n"
                    )
                };
                let agent = own.agent_with(&[publisher("one", DATABASE), publisher("two", "steady_too")].concat());
                of_its_own(own, agent)
            }
            Self::Redis => {
                let agent = from_redis(&world.redis.url(), to).start();
                agent.wait_log("publishing");
                Running { agent: Some(agent), server: world.redis.url(), _own: None }
            }
        };
        if let Some(agent) = &running.agent {
            wait_for_rest(agent.id());
        }
        running
    }
}

/// Starts an agent with a queue of its own.
fn of_its_own(own: Own, agent: Builder) -> Running {
    let agent = agent.start();
    drop(own.connection());
    Running { agent: Some(agent), server: own.url(), _own: Some(own) }
}
