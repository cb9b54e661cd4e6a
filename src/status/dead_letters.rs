//! Messages that were set aside: said at once, and then at growing intervals with how many there were.

use std::sync::{Mutex, PoisonError};

use slog::{Logger, debug, warn};
use tokio::time::Instant;

use crate::{channel::DeadLetter, rate_limit::RateLimit};

/// Says that messages were set aside, however many there are, in few lines.
#[derive(Debug)]
pub struct DeadLetterSayings {
    /// The command that shows them.
    look: String,
    sayings: Mutex<Sayings>,
}

#[derive(Debug, Default)]
struct Sayings {
    log_rate: RateLimit,
    /// Why the newest one was set aside: what is said now may have happened before.
    because: String,
}

impl Sayings {
    /// So many more, the newest for this reason: how many to say now and why, if it is time.
    fn note(&mut self, count: usize, because: &str, now: Instant) -> Option<(usize, &str)> {
        if count > 0 {
            because.clone_into(&mut self.because);
        }
        Some((self.log_rate.note(count, now)?, &self.because))
    }
}

impl DeadLetterSayings {
    /// `look` is how somebody who has nothing but this agent and its channel sees them.
    #[must_use]
    pub fn new(look: String) -> Self {
        Self { look, sayings: Mutex::default() }
    }

    /// So many were set aside within the channel, since they are too large.
    pub fn note_too_large(&self, count: usize, log: &Logger) {
        self.say(count, "it is larger than channel.redis.max_message_bytes", log);
    }

    /// These were set aside just now.
    pub fn note(&self, letters: &[DeadLetter], log: &Logger) {
        let Some(newest) = letters.last() else { return };
        for letter in letters {
            debug!(log, "a message was set aside as a dead letter"; "reason" => &letter.reason);
        }
        self.say(letters.len(), &newest.reason, log);
    }

    fn say(&self, count: usize, because: &str, log: &Logger) {
        let mut sayings = self.sayings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((count, because)) = sayings.note(count, because, Instant::now()) {
            warn!(log, "messages were set aside as dead letters"; "messages" => count, "the_newest_because" => because,
                "mend" => format!("look at them ({}); what else was in them is published", self.look));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::FIRST_INTERVAL;

    /// The Receiver looks after every answer whether anything was too large.
    #[test]
    fn what_is_said_later_is_said_with_its_own_reason() {
        let (start, mut sayings) = (Instant::now(), Sayings::default());
        assert_eq!(sayings.note(1, "not JSON", start), Some((1, "not JSON")));
        assert_eq!(sayings.note(1, "no list", start), None);
        assert_eq!(sayings.note(0, "too large", start + FIRST_INTERVAL), Some((1, "no list")));
    }
}
