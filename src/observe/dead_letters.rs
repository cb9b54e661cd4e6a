//! Messages that were set aside: said at once, and then at growing intervals with how many there were.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use slog::{Logger, debug, warn};
use tokio::time::Instant;

use crate::channel::DeadLetter;

/// The pause after the first saying; then it doubles.
const FIRST_INTERVAL: Duration = Duration::from_secs(10);
/// The longest pause between two sayings.
const LAST_INTERVAL: Duration = Duration::from_secs(600);

/// Says that messages were set aside, however many there are, in few lines.
#[derive(Debug, Default)]
pub struct DeadLetterSayings(Mutex<Sayings>);

#[derive(Debug, Default)]
struct Sayings {
    memory: Memory,
    /// Why the newest one was set aside: what is said now may have happened before.
    because: String,
}

/// What is said in few lines, however often it happens.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Set aside and not said yet.
    unsaid: usize,
    /// Not before this.
    next: Option<Instant>,
    interval: Duration,
}

impl Memory {
    /// So many more: how many to say now, if it is time.
    pub(super) fn note(&mut self, count: usize, now: Instant) -> Option<usize> {
        self.unsaid += count;
        if self.unsaid == 0 || self.next.is_some_and(|next| now < next) {
            return None;
        }
        // Quiet for as long as the longest pause, and it begins anew.
        let quiet = self.next.is_none_or(|next| now.saturating_duration_since(next) > LAST_INTERVAL);
        self.interval = if quiet { FIRST_INTERVAL } else { (self.interval * 2).min(LAST_INTERVAL) };
        self.next = Some(now + self.interval);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Sayings {
    /// So many more, the newest for this reason: how many to say now and why, if it is time.
    fn note(&mut self, count: usize, because: &str, now: Instant) -> Option<(usize, &str)> {
        if count > 0 {
            because.clone_into(&mut self.because);
        }
        Some((self.memory.note(count, now)?, &self.because))
    }
}

impl DeadLetterSayings {
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
        let mut sayings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((count, because)) = sayings.note(count, because, Instant::now()) {
            warn!(log, "messages were set aside as dead letters"; "messages" => count, "the_newest_because" => because,
                "mend" => "look at them in the channel, as the README tells; the rest of each was published");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_a_flood_at_growing_intervals_with_none_uncounted() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        let mut said = Vec::new();
        for second in 0..3600 {
            said.extend(memory.note(5, start + Duration::from_secs(second)).map(|count| (second, count)));
        }
        assert_eq!(said[..4], [(0, 5), (10, 50), (30, 100), (70, 200)]);
        assert!(said.len() < 15, "{said:?}");
        let total: usize = said.iter().map(|(_, count)| count).sum();
        assert_eq!(total + memory.unsaid, 5 * 3600);
    }

    /// The Receiver looks after every answer whether anything was too large.
    #[test]
    fn what_is_said_later_is_said_with_its_own_reason() {
        let (start, mut sayings) = (Instant::now(), Sayings::default());
        assert_eq!(sayings.note(1, "not JSON", start), Some((1, "not JSON")));
        assert_eq!(sayings.note(1, "no list", start), None);
        assert_eq!(sayings.note(0, "too large", start + FIRST_INTERVAL), Some((1, "no list")));
    }

    #[test]
    fn after_a_long_quiet_the_next_one_is_said_at_once_again() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        assert_eq!(memory.note(1, start), Some(1));
        assert_eq!(memory.note(1, start + LAST_INTERVAL * 3), Some(1));
        assert_eq!(memory.interval, FIRST_INTERVAL);
    }
}
