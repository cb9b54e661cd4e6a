//! May this child restart, and when: a pure decision.

use std::{collections::VecDeque, time::Duration};

use crate::backoff::Backoff;

/// What to do about a failed child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// To restart it after this pause.
    RestartAfter(Duration),
    /// It has used up its budget.
    GiveUp,
}

/// One child's budget of restarts.
///
/// The budget is counted on a clock that runs only while the child runs: time spent in back-off wins nothing
/// back, and neither does a start that goes well. Only sustained work does.
#[derive(Debug)]
pub(super) struct RestartPolicy {
    max_restarts: u32,
    window: Duration,
    backoff: Backoff,
    /// How long the child has run in all its lives.
    worked: Duration,
    /// On that clock, when it failed.
    failures: VecDeque<Duration>,
}

impl RestartPolicy {
    /// A full budget: at most `max_restarts` in `window` of running time.
    pub(super) fn new(max_restarts: u32, window: Duration, backoff: Backoff) -> Self {
        Self { max_restarts, window, backoff, worked: Duration::ZERO, failures: VecDeque::new() }
    }

    /// How many restarts count against the budget now.
    pub(super) fn used(&self) -> usize {
        self.failures.len()
    }

    /// The child failed after it had run for `uptime`.
    pub(super) fn failed(&mut self, uptime: Duration) -> Decision {
        self.worked += uptime;
        let horizon = self.worked.saturating_sub(self.window);
        if self.worked >= self.window {
            while self.failures.front().is_some_and(|at| *at <= horizon) {
                self.failures.pop_front();
            }
        }
        if self.failures.is_empty() {
            self.backoff.reset();
        }
        self.failures.push_back(self.worked);
        if self.failures.len() > self.max_restarts as usize {
            return Decision::GiveUp;
        }
        Decision::RestartAfter(self.backoff.next_pause())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(10);
    const WINDOW: Duration = Duration::from_secs(60);

    fn policy(max_restarts: u32) -> RestartPolicy {
        RestartPolicy::new(max_restarts, WINDOW, Backoff::new(MIN, MAX))
    }

    #[test]
    fn a_child_that_never_gets_going_uses_up_its_budget_however_long_the_pauses() {
        let mut policy = policy(5);
        for _ in 0..5 {
            assert!(matches!(policy.failed(Duration::ZERO), Decision::RestartAfter(pause) if pause <= MAX));
        }
        assert_eq!(policy.failed(Duration::ZERO), Decision::GiveUp);
    }

    #[test]
    fn a_good_start_wins_nothing_back() {
        let mut policy = policy(2);
        assert_ne!(policy.failed(Duration::from_secs(10)), Decision::GiveUp);
        assert_ne!(policy.failed(Duration::from_secs(10)), Decision::GiveUp);
        assert_eq!(policy.failed(Duration::from_secs(10)), Decision::GiveUp);
    }

    #[test]
    fn sustained_work_wins_the_budget_back() {
        let mut policy = policy(1);
        for _ in 0..100 {
            assert_ne!(policy.failed(WINDOW), Decision::GiveUp);
        }
    }

    #[test]
    fn a_budget_of_none_gives_up_at_once() {
        assert_eq!(policy(0).failed(WINDOW * 10), Decision::GiveUp);
    }

    proptest::proptest! {
        #[test]
        fn never_more_restarts_in_a_window_than_allowed(max in 0u32..6, uptimes in proptest::collection::vec(0u64..90_000, 1..60)) {
            let mut policy = policy(max);
            let mut clock = 0u64;
            let mut restarts: Vec<u64> = Vec::new();
            for uptime in uptimes {
                clock += uptime;
                match policy.failed(Duration::from_millis(uptime)) {
                    Decision::RestartAfter(pause) => {
                        proptest::prop_assert!(pause <= MAX);
                        restarts.push(clock);
                        let in_window = restarts.iter().filter(|at| **at + 60_000 > clock).count();
                        proptest::prop_assert!(in_window <= max as usize, "{in_window} restarts in a window of {max}");
                    }
                    Decision::GiveUp => {
                        let in_window = restarts.iter().filter(|at| **at + 60_000 > clock).count();
                        proptest::prop_assert!(in_window >= max as usize, "gave up after {in_window} of {max}");
                        break;
                    }
                }
            }
        }
    }
}
