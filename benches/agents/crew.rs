//! So many agents at one Redis, each with a server of its own to write to.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use crate::{
    servers::agent::Agent,
    support::{
        message,
        sink::{Answered, Sink},
        usage::Usage,
        world::{DATABASE, World, wait_for_rest},
    },
};

/// How long messages may be on their way.
const PATIENCE: Duration = Duration::from_secs(120);

/// Agents that wait for messages.
pub(crate) struct Crew {
    agents: Vec<Agent>,
    answered: Vec<Receiver<Answered>>,
}

impl Crew {
    /// So many, once they have come up and do nothing.
    pub(crate) fn start(world: &World, agents: usize) -> Self {
        let mut crew = Self { agents: Vec::new(), answered: Vec::new() };
        for number in 0..agents {
            let (sink, answered) = Sink::that_tells(None);
            crew.agents.push(Agent::start(&format!(
                "[agent]\nname = \"agent{number}\"\n[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{}\"\n[publisher]\n\
                 type = \"influxdb\"\n[publisher.influxdb]\nurl = \"{}\"\ndatabase = \"{DATABASE}\"\n",
                world.redis.url(),
                sink.url(),
            )));
            crew.answered.push(answered);
        }
        for agent in &crew.agents {
            agent.wait_log("publishing");
        }
        for agent in &crew.agents {
            wait_for_rest(agent.id());
        }
        crew
    }

    /// CPU time of all of them.
    pub(crate) fn cpu(&self) -> Duration {
        self.agents.iter().map(|agent| Usage::of(agent.id()).cpu).sum()
    }

    /// Waits until so many messages are published by all of them together: how many by each, and when the last was.
    pub(crate) fn published(&self, count: u64) -> (Vec<u64>, Instant) {
        let (mut published, mut end) = (vec![0; self.agents.len()], Instant::now());
        let until = Instant::now() + PATIENCE;
        while published.iter().sum::<u64>() < count {
            assert!(Instant::now() < until, "published: {published:?} of {count}");
            for (published, answered) in published.iter_mut().zip(&self.answered) {
                match answered.recv_timeout(Duration::from_millis(1)) {
                    Ok(Answered { at, body }) => {
                        *published += message::numbers_in(&body).count() as u64;
                        end = end.max(at);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => panic!("a server has ended"),
                }
            }
        }
        assert_eq!(published.iter().sum::<u64>(), count, "some were published twice");
        (published, end)
    }
}
