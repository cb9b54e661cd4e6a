//! Agents of one name on one queue: leases keep them apart, but no log, status or dead letter does.
//!
//! Each time it looks how Redis stands, an agent writes which process it is to a key of its name, and learns what was there. Another
//! process that was there once may have ended since, as before a restart; one that comes again is at work.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{RedisChannel, answers, errors::Error};
use crate::channel::{Threat, Warning};

/// How long the key lasts after the last look.
const LASTS_MS: u64 = 60_000;

/// How long another process is remembered. All look more often than this.
const REMEMBERED: Duration = Duration::from_secs(15);

const LOOK: &str = "look for another agent of this name";

/// What was seen of another process.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    /// Whether this is not the first look.
    looked: bool,
    /// How often another one was seen, and when last.
    seen: u32,
    last: Option<Instant>,
}

/// Looks whether another process has this agent's name.
pub(super) async fn look(channel: &RedisChannel) -> Result<Option<Warning>, Error> {
    // A command like `check` looks once, and is no agent.
    if !channel.namesakes.times(Times::looks_again) {
        return Ok(None);
    }
    let own = channel.keys.process();
    let mut command = redis::cmd("SET");
    let before = channel.link.command(LOOK, command.arg(channel.keys.of_name()).arg(&own).arg("PX").arg(LASTS_MS).arg("GET"));
    let another = answers::text(before.await?).is_some_and(|before| before != own);
    if !channel.namesakes.times(|times| times.saw(another, Instant::now())) {
        return Ok(None);
    }
    let (name, queue) = (&channel.keys.agent, &channel.keys.queue);
    Ok(Some(Warning {
        threat: Threat::SharedName,
        what: format!("another agent works on {queue} at {} under the name {name} too", channel.link.server),
        now: "nothing is lost or doubled by it".to_owned(),
        mend: "give each agent a name of its own in agent.name: its log, its status, what it sets aside and what it counts as dropped \
               cannot be told from the other's"
            .to_owned(),
    }))
}

impl Seen {
    fn times<T>(&self, what: impl FnOnce(&mut Times) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Times {
    fn looks_again(&mut self) -> bool {
        std::mem::replace(&mut self.looked, true)
    }

    /// Whether another process is at work, now that one was seen or not.
    fn saw(&mut self, another: bool, now: Instant) -> bool {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > REMEMBERED) {
            (self.seen, self.last) = (0, None);
        }
        if another {
            self.seen += 1;
            self.last = Some(now);
        }
        self.seen > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_is_at_work_when_it_is_seen_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut times = Times::default();
        assert!(!times.looks_again() && times.looks_again());
        assert!(!times.saw(true, at(0)), "it may have ended since");
        assert!(!times.saw(false, at(5)));
        assert!(!times.saw(true, at(16)), "the one before is forgotten");
        assert!(times.saw(true, at(20)));
        assert!(times.saw(false, at(35)), "that one looks as seldom as every five seconds");
        assert!(!times.saw(false, at(36)));
    }
}
