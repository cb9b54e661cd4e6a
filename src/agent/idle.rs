//! When memory that is kept for the next work is given back: not between two pieces of work, but once there has been none
//! for a while. Pure; the actor that works keeps the clock.
//!
//! One timer at a time: under load it is not set anew for each piece of work, and it ends with the idleness it was set for.

use std::{mem, time::Duration};

use tokio::time::Instant;

/// How long there must have been nothing to do. Long beside the pauses of a program that works, so that memory is not taken
/// anew for each of its messages.
const AFTER: Duration = Duration::from_secs(5);

/// How long an actor has had nothing to do.
#[derive(Debug, Default)]
pub(super) struct Idleness {
    /// `None` while there is work, and before the first.
    since: Option<Instant>,
    /// Whether a timer runs, at whose end [`Self::look`] is called.
    timed: bool,
}

/// What a look shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// There is work; its end sets the next timer.
    Works,
    /// There was work meanwhile: look again after this.
    Again(Duration),
    /// There has been nothing to do for long: give memory back. No timer runs any more.
    Idle,
}

impl Idleness {
    /// Work begins.
    pub(super) fn work_begins(&mut self) {
        self.since = None;
    }

    /// Work has ended. Returns after how long to look, unless a timer runs already.
    pub(super) fn work_ends(&mut self, now: Instant) -> Option<Duration> {
        self.since = Some(now);
        (!mem::replace(&mut self.timed, true)).then_some(AFTER)
    }

    /// At the end of the timer.
    pub(super) fn look(&mut self, now: Instant) -> Look {
        let look = match self.since.map(|since| AFTER.saturating_sub(now.duration_since(since))) {
            None => Look::Works,
            Some(Duration::ZERO) => Look::Idle,
            Some(left) => Look::Again(left),
        };
        self.timed = matches!(look, Look::Again(_));
        look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn memory_is_given_back_once_after_five_seconds_without_work() {
        let (now, mut idleness) = (Instant::now(), Idleness::default());
        idleness.work_begins();
        assert_eq!(idleness.work_ends(now), Some(AFTER));
        assert_eq!(idleness.look(now + AFTER), Look::Idle);
        // And then a new timer for what comes next.
        idleness.work_begins();
        assert_eq!(idleness.work_ends(now + 60 * SECOND), Some(AFTER));
    }

    #[test]
    fn one_timer_is_enough_however_much_is_done_meanwhile() {
        let (now, mut idleness) = (Instant::now(), Idleness::default());
        assert_eq!(idleness.work_ends(now), Some(AFTER));
        for second in 1..=3 {
            idleness.work_begins();
            assert_eq!(idleness.work_ends(now + second * SECOND), None);
        }
        assert_eq!(idleness.look(now + AFTER), Look::Again(3 * SECOND));
        assert_eq!(idleness.look(now + AFTER + 3 * SECOND), Look::Idle);
    }

    #[test]
    fn nothing_is_taken_from_an_actor_that_works() {
        let (now, mut idleness) = (Instant::now(), Idleness::default());
        assert_eq!(idleness.work_ends(now), Some(AFTER));
        idleness.work_begins();
        assert_eq!(idleness.look(now + 60 * SECOND), Look::Works);
        assert_eq!(idleness.work_ends(now + 61 * SECOND), Some(AFTER));
    }
}
