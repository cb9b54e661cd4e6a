//! What is said at once, and then at growing intervals with how often it was, so that few lines of the log tell of much.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after the first saying; then it doubles.
pub(crate) const FIRST_INTERVAL: Duration = Duration::from_secs(10);
/// The longest pause between two sayings.
pub(crate) const LAST_INTERVAL: Duration = Duration::from_secs(600);

/// When to say something again, however often it happens. It has neither a clock nor a log.
#[derive(Debug, Default)]
pub(crate) struct Sparingly {
    /// Has happened and was not said yet.
    unsaid: usize,
    /// Not before this.
    next: Option<Instant>,
    interval: Duration,
}

impl Sparingly {
    /// So many more: how many to say now, if it is time.
    pub(crate) fn note(&mut self, count: usize, now: Instant) -> Option<usize> {
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

    /// When there is something to say, if nothing more happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.next.filter(|_| self.unsaid > 0)
    }

    /// What is left to say at the end, or is said otherwise.
    pub(crate) fn rest(&mut self) -> Option<usize> {
        Some(std::mem::take(&mut self.unsaid)).filter(|unsaid| *unsaid > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_a_flood_at_growing_intervals_with_none_uncounted() {
        let (start, mut sparingly) = (Instant::now(), Sparingly::default());
        let mut said = Vec::new();
        for second in 0..3600 {
            said.extend(sparingly.note(5, start + Duration::from_secs(second)).map(|count| (second, count)));
        }
        assert_eq!(said[..4], [(0, 5), (10, 50), (30, 100), (70, 200)]);
        assert!(said.len() < 15, "{said:?}");
        let total: usize = said.iter().map(|(_, count)| count).sum();
        assert_eq!(total + sparingly.rest().unwrap(), 5 * 3600);
    }

    #[test]
    fn after_a_long_quiet_the_next_one_is_said_at_once_again() {
        let (start, mut sparingly) = (Instant::now(), Sparingly::default());
        assert_eq!(sparingly.note(1, start), Some(1));
        assert_eq!(sparingly.note(1, start + LAST_INTERVAL * 3), Some(1));
        assert_eq!(sparingly.interval, FIRST_INTERVAL);
    }

    #[test]
    fn what_was_not_said_is_due_and_what_was_is_not() {
        let (start, mut sparingly) = (Instant::now(), Sparingly::default());
        assert_eq!((sparingly.note(1, start), sparingly.due(), sparingly.rest()), (Some(1), None, None));
        assert_eq!((sparingly.note(2, start), sparingly.due()), (None, Some(start + FIRST_INTERVAL)));
        assert_eq!((sparingly.note(0, start + FIRST_INTERVAL), sparingly.due()), (Some(2), None));
    }
}
