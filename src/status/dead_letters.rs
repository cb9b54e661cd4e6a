//! Messages that were set aside: said at once, and then at growing intervals with how many there were.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use slog::{Logger, debug, warn};
use tokio::time::Instant;

use super::snapshot::{DeadLetterReason, DeadLetters};
use crate::{
    channel::{DeadLetter, Tally},
    codes::Code,
    quote::cut_name,
    rate_limit::RateLimit,
};

/// How many reasons are kept, and how much of one, in characters.
const REASONS: usize = 50;
const REASON_LENGTH: usize = 300;

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
    reasons: VecDeque<DeadLetterReason>,
    /// Those whose reason is not among them any more.
    other: u64,
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

impl Sayings {
    /// Counts them by their reasons, of which the newest are kept.
    fn count(&mut self, count: usize, because: &str) {
        let reason = generalized(because);
        let known = self.reasons.iter().position(|known| known.reason == reason).and_then(|place| self.reasons.remove(place));
        let before = known.map_or(0, |known| known.count);
        let newest = Timestamp::now();
        self.reasons.push_front(DeadLetterReason { reason, example: cut_name(because), count: before + count as u64, newest });
        if self.reasons.len() > REASONS {
            self.other += self.reasons.pop_back().map_or(0, |last| last.count);
        }
    }
}

/// A reason without the numbers in it, which differ from message to message.
pub(crate) fn generalized(because: &str) -> String {
    let mut reason = String::new();
    for letter in because.chars().take(REASON_LENGTH) {
        match letter {
            '0'..='9' if reason.ends_with('#') => {}
            '0'..='9' => reason.push('#'),
            letter => reason.push(letter),
        }
    }
    reason
}

impl DeadLetterSayings {
    /// `look` is how somebody who has nothing but this agent and its channel sees them.
    #[must_use]
    pub fn new(look: String) -> Self {
        Self { look, sayings: Mutex::default() }
    }

    /// So many were set aside within the channel, since they are too large.
    pub fn note_too_large(&self, count: usize, log: &Logger) {
        const REASON: &str = "it is larger than channel.redis.max_message_bytes";
        if count > 0 {
            self.sayings.lock().unwrap_or_else(PoisonError::into_inner).count(count, REASON);
        }
        self.say(count, REASON, log);
    }

    /// What is told of them: how many there are and may be, as far as the channel knows, and why they were set aside.
    #[must_use]
    pub fn told(&self, count: Option<u64>, max: Option<u64>, tally: &Tally) -> DeadLetters {
        let sayings = self.sayings.lock().unwrap_or_else(PoisonError::into_inner);
        DeadLetters {
            count,
            max,
            parked: tally.parked,
            dropped: tally.letters_dropped,
            by_reason: sayings.reasons.iter().cloned().collect(),
            other: sayings.other,
        }
    }

    /// One of this reason is not kept any more.
    pub fn gone(&self, because: &str) {
        let reason = generalized(because);
        let mut sayings = self.sayings.lock().unwrap_or_else(PoisonError::into_inner);
        sayings.reasons.retain_mut(|known| {
            known.count -= u64::from(known.reason == reason && known.count > 0);
            known.count > 0
        });
    }

    /// These were set aside just now.
    pub fn note(&self, letters: &[DeadLetter], log: &Logger) {
        let Some(newest) = letters.last() else { return };
        let mut sayings = self.sayings.lock().unwrap_or_else(PoisonError::into_inner);
        letters.iter().for_each(|letter| sayings.count(1, &letter.reason));
        drop(sayings);
        for letter in letters {
            debug!(log, "a message was set aside as a dead letter"; "reason" => &letter.reason);
        }
        self.say(letters.len(), &newest.reason, log);
    }

    fn say(&self, count: usize, because: &str, log: &Logger) {
        let mut sayings = self.sayings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((count, because)) = sayings.note(count, because, Instant::now()) {
            warn!(log, "messages were set aside as dead letters"; "code" => Code::DeadLetter.name(), "messages" => count, "the_newest_because" => because,
                "mend" => format!("look at them ({}); what else was in them is published", self.look));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::FIRST_INTERVAL;

    #[test]
    fn reasons_that_differ_in_numbers_are_one_and_few_are_kept_whatever_comes() {
        let mut sayings = Sayings::default();
        sayings.count(2, "message 12: no list");
        sayings.count(1, "message 7: no list");
        let [only] = sayings.reasons.make_contiguous() else { panic!("{sayings:?}") };
        assert_eq!((only.reason.as_str(), only.count, only.example.as_str()), ("message #: no list", 3, "message 7: no list"));
        for letters in 0..200 {
            sayings.count(1, &"x".repeat(letters));
        }
        assert_eq!((sayings.reasons.len(), sayings.other), (REASONS, 3 + 200 - REASONS as u64));
    }

    /// The Receiver looks after every answer whether anything was too large.
    #[test]
    fn what_is_said_later_is_said_with_its_own_reason() {
        let (start, mut sayings) = (Instant::now(), Sayings::default());
        assert_eq!(sayings.note(1, "not JSON", start), Some((1, "not JSON")));
        assert_eq!(sayings.note(1, "no list", start), None);
        assert_eq!(sayings.note(0, "too large", start + FIRST_INTERVAL), Some((1, "no list")));
    }
}
