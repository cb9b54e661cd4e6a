//! A rate limit for lines of the log: the first of a kind is due at once, later ones at growing intervals, each with how many it stands for.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after the first line; it doubles with each further one.
pub(crate) const FIRST_INTERVAL: Duration = Duration::from_secs(10);
/// The longest pause between two lines.
pub(crate) const LAST_INTERVAL: Duration = Duration::from_secs(600);

/// When a line of one kind is due again, however often its cause occurs. Has neither a clock nor a log.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    /// How many occurrences no line has told of yet.
    unlogged: usize,
    /// No line is due before this.
    next: Option<Instant>,
    interval: Duration,
}

impl RateLimit {
    /// Counts occurrences. Returns how many a line is to tell of, if one is due.
    pub(crate) fn note(&mut self, count: usize, now: Instant) -> Option<usize> {
        self.unlogged += count;
        if self.unlogged == 0 || self.next.is_some_and(|next| now < next) {
            return None;
        }
        // Quiet for as long as the longest pause, and it begins anew.
        let quiet = self.next.is_none_or(|next| now.saturating_duration_since(next) > LAST_INTERVAL);
        self.interval = if quiet { FIRST_INTERVAL } else { (self.interval * 2).min(LAST_INTERVAL) };
        self.next = Some(now + self.interval);
        Some(std::mem::take(&mut self.unlogged))
    }

    /// When the next line is due, if nothing more occurs.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.next.filter(|_| self.unlogged > 0)
    }

    /// Takes out how many no line has told of, such as at the end.
    pub(crate) fn rest(&mut self) -> Option<usize> {
        Some(std::mem::take(&mut self.unlogged)).filter(|unlogged| *unlogged > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_a_flood_at_growing_intervals_with_none_uncounted() {
        let (start, mut limit) = (Instant::now(), RateLimit::default());
        let mut said = Vec::new();
        for second in 0..3600 {
            said.extend(limit.note(5, start + Duration::from_secs(second)).map(|count| (second, count)));
        }
        assert_eq!(said[..4], [(0, 5), (10, 50), (30, 100), (70, 200)]);
        assert!(said.len() < 15, "{said:?}");
        let total: usize = said.iter().map(|(_, count)| count).sum();
        assert_eq!(total + limit.rest().unwrap(), 5 * 3600);
    }

    #[test]
    fn after_a_long_quiet_the_next_one_is_said_at_once_again() {
        let (start, mut limit) = (Instant::now(), RateLimit::default());
        assert_eq!(limit.note(1, start), Some(1));
        assert_eq!(limit.note(1, start + LAST_INTERVAL * 3), Some(1));
        assert_eq!(limit.interval, FIRST_INTERVAL);
    }

    #[test]
    fn what_was_not_said_is_due_and_what_was_is_not() {
        let (start, mut limit) = (Instant::now(), RateLimit::default());
        assert_eq!((limit.note(1, start), limit.due(), limit.rest()), (Some(1), None, None));
        assert_eq!((limit.note(2, start), limit.due()), (None, Some(start + FIRST_INTERVAL)));
        assert_eq!((limit.note(0, start + FIRST_INTERVAL), limit.due()), (Some(2), None));
    }
}
