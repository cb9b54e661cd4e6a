//! How much is tried at once: everything while the destination works, little after an outage, and twice as much with each
//! success. A destination that comes back finds many agents with long backlogs; they must not all begin with all they have,
//! and what all of them ask for must not outgrow it: where answers take long it is twice as much only now and then.
//! Pure; who waits is somebody else.

use std::time::Duration;

use super::batching::Limits;

/// How often what is tried is halved at the most: a request or a batch has a 64th of its size, and of up to 64 workers one
/// writes.
const HALVINGS: u32 = 6;

/// How many attempts in a row must fail, with no success of any worker between them, to be an outage: one may be a
/// connection that was closed, or a batch that the destination cannot bear, and nobody else is slowed down by that.
const OUTAGE: u32 = 2;

/// A destination that takes longer to answer has enough to do. That is long for one that is well, whatever is asked of it,
/// and a fifth of the time for which an answer is waited by default: twice as much still comes in time.
const PROMPT: Duration = Duration::from_secs(1);

/// How many answers that are not prompt count as one that is: a destination that is far away is slow with little, too, and
/// must get everything in the end.
const SLOW: u32 = 16;

/// How much may be tried at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ramp {
    /// How often what is tried is halved; 0 is everything.
    halvings: u32,
    /// Attempts that failed since the last success.
    failed: u32,
    /// Successes that were not prompt since something else happened.
    slow: u32,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may work later.
    Retry,
    /// The destination is not to be used before somebody has mended something, so it is not about one batch.
    Hold,
}

impl Ramp {
    /// An attempt failed.
    pub fn failed(&mut self, failure: Failure) {
        self.failed = self.failed.saturating_add(1);
        self.slow = 0;
        if failure == Failure::Hold || self.failed >= OUTAGE {
            self.halvings = HALVINGS;
        }
    }

    /// The destination took something, and so long for it.
    pub fn succeeded(&mut self, took: Duration) {
        self.failed = 0;
        self.slow = if took > PROMPT { self.slow.saturating_add(1) } else { SLOW };
        if self.slow >= SLOW {
            self.slow = 0;
            self.halvings = self.halvings.saturating_sub(1);
        }
    }

    /// How many workers may write at once.
    pub fn workers(&self) -> usize {
        if self.halvings == 0 { usize::MAX } else { 1 << HALVINGS.saturating_sub(self.halvings) }
    }

    /// By how much requests and batches are divided; 1 while the destination works.
    pub fn divisor(&self) -> usize {
        1 << self.halvings
    }

    /// What a batch may have.
    pub fn limits(&self, limits: Limits) -> Limits {
        Limits {
            max_messages: (limits.max_messages / self.divisor()).max(1),
            max_bytes: (limits.max_bytes / self.divisor()).max(1),
            ..limits
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { interval: Duration::ZERO, max_messages: 10_000, max_bytes: 4 << 20 };

    fn share(ramp: &Ramp) -> (usize, usize, usize) {
        let limits = ramp.limits(LIMITS);
        (ramp.workers(), limits.max_messages, limits.max_bytes)
    }

    fn everything(ramp: &Ramp) -> bool {
        share(ramp) == (usize::MAX, LIMITS.max_messages, LIMITS.max_bytes)
    }

    #[test]
    fn after_an_outage_one_worker_probes_and_each_success_doubles() {
        let mut ramp = Ramp::default();
        ramp.failed(Failure::Retry);
        ramp.failed(Failure::Retry);
        let mut seen = Vec::new();
        while !everything(&ramp) {
            seen.push((share(&ramp).0, share(&ramp).1));
            ramp.succeeded(PROMPT);
        }
        assert_eq!(seen, [(1, 156), (2, 312), (4, 625), (8, 1250), (16, 2500), (32, 5000)]);
    }

    #[test]
    fn a_hold_is_an_outage_at_once_and_a_single_failure_is_none() {
        let mut ramp = Ramp::default();
        ramp.failed(Failure::Retry);
        assert!(everything(&ramp));
        ramp.failed(Failure::Hold);
        assert_eq!(ramp.workers(), 1);
    }

    #[test]
    fn a_batch_that_fails_for_ever_slows_nobody_down_who_succeeds_between() {
        let mut ramp = Ramp::default();
        for _ in 0..100 {
            ramp.failed(Failure::Retry);
            assert!(everything(&ramp));
            ramp.succeeded(PROMPT);
        }
    }

    #[test]
    fn a_destination_that_answers_late_gets_more_only_now_and_then_but_everything_in_the_end() {
        let late = PROMPT + Duration::from_millis(1);
        let mut ramp = Ramp::default();
        ramp.failed(Failure::Hold);
        for halvings in (1..=HALVINGS).rev() {
            for _ in 0..SLOW {
                assert_eq!(ramp.divisor(), 1 << halvings);
                ramp.succeeded(late);
            }
        }
        assert!(everything(&ramp));
        // While the destination works, it may be as slow as it likes.
        ramp.succeeded(late);
        assert!(everything(&ramp));
    }

    #[test]
    fn answers_that_were_late_before_a_failure_or_a_prompt_one_do_not_count() {
        let late = PROMPT + Duration::from_millis(1);
        let mut ramp = Ramp::default();
        ramp.failed(Failure::Hold);
        (1..SLOW).for_each(|_| ramp.succeeded(late));
        ramp.failed(Failure::Retry);
        (1..SLOW).for_each(|_| ramp.succeeded(late));
        assert_eq!(ramp.divisor(), 64);
        ramp.succeeded(PROMPT);
        ramp.succeeded(late);
        assert_eq!(ramp.divisor(), 32);
    }

    fn event() -> impl Strategy<Value = Result<Duration, Failure>> {
        prop_oneof![Just(Ok(PROMPT)), Just(Ok(2 * PROMPT)), Just(Err(Failure::Retry)), Just(Err(Failure::Hold))]
    }

    fn after(events: &[Result<Duration, Failure>]) -> Ramp {
        let mut ramp = Ramp::default();
        for event in events {
            match event {
                Ok(took) => ramp.succeeded(*took),
                Err(failure) => ramp.failed(*failure),
            }
        }
        ramp
    }

    proptest! {
        #[test]
        fn somebody_may_always_try_something_and_never_more_than_was_configured(
            events in proptest::collection::vec(event(), 0..50), max_messages in 1usize..1_000_000, max_bytes in 1usize..(256 << 20)
        ) {
            let ramp = after(&events);
            let limits = ramp.limits(Limits { interval: Duration::ZERO, max_messages, max_bytes });
            prop_assert!(ramp.workers() >= 1);
            prop_assert!((1..=max_messages).contains(&limits.max_messages) && (1..=max_bytes).contains(&limits.max_bytes));
        }

        #[test]
        fn six_prompt_successes_in_a_row_bring_everything_back_whatever_was_before(events in proptest::collection::vec(event(), 0..50)) {
            let mut ramp = after(&events);
            (0..HALVINGS).for_each(|_| ramp.succeeded(PROMPT));
            prop_assert!(everything(&ramp));
        }

        #[test]
        fn a_success_at_most_doubles_and_never_takes_away(events in proptest::collection::vec(event(), 0..50)) {
            let before = after(&events);
            let mut next = before;
            next.succeeded(PROMPT);
            let (one, two) = (share(&before), share(&next));
            prop_assert!(two.0 >= one.0 && two.1 >= one.1 && two.2 >= one.2);
            prop_assert!(two.1 <= 2 * one.1 + 1 && two.2 <= 2 * one.2 + 1);
        }

        #[test]
        fn two_failures_in_a_row_are_an_outage_whatever_was_before(events in proptest::collection::vec(event(), 0..50)) {
            let mut ramp = after(&events);
            ramp.failed(Failure::Retry);
            ramp.failed(Failure::Retry);
            prop_assert_eq!(ramp.workers(), 1);
            prop_assert_eq!(ramp.limits(LIMITS).max_messages, LIMITS.max_messages >> HALVINGS);
        }
    }
}
