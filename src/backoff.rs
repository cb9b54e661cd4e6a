//! How long to pause before trying again: capped, exponential, with jitter. Pure; who pauses is somebody else.

use std::time::Duration;

/// The shortest pause whatever was configured, so that a failure that comes at once cannot spin.
const FLOOR: Duration = Duration::from_millis(1);

/// Pauses that grow.
///
/// The n-th pause is uniform between half of `min` and `min * 2^n`, the latter never above `max`: full jitter, so
/// that many agents do not come back in the same instant, but with a lower bound, so that none comes back at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Pauses from `min`, doubling up to `max`. A `min` below a millisecond counts as one, a `max` below `min` as `min`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        let min = min.max(FLOOR);
        Self { min, max: max.max(min), ceiling: min }
    }

    /// The next pause, by the thread's own random numbers.
    pub fn next_pause(&mut self) -> Duration {
        self.next(&mut fastrand::Rng::new())
    }

    /// The next pause, by these random numbers.
    pub fn next(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let low = self.min / 2;
        let span = self.ceiling.saturating_sub(low);
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        low + span.mul_f64(rng.f64())
    }

    /// Starts from `min` again, after a success.
    pub fn reset(&mut self) {
        self.ceiling = self.min;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pauses_stay_between_half_the_minimum_and_a_doubling_ceiling(min in 0u64..10_000, max in 0u64..100_000, seed: u64) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut backoff = Backoff::new(min, max);
            let low = min.max(FLOOR);
            let high = max.max(low);
            let mut ceiling = low;
            for _ in 0..40 {
                let pause = backoff.next(&mut rng);
                prop_assert!(pause >= low / 2, "{pause:?} is below half of {low:?}");
                prop_assert!(pause <= ceiling, "{pause:?} is above {ceiling:?}");
                ceiling = (ceiling * 2).min(high);
            }
        }
    }

    #[test]
    fn a_pause_is_never_zero() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert!((0..100).all(|_| backoff.next(&mut rng) > Duration::ZERO));
    }

    #[test]
    fn the_longest_time_there_is_does_not_overflow() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::MAX / 4);
        for _ in 0..200 {
            backoff.next(&mut rng);
        }
    }

    #[test]
    fn a_success_starts_over() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(60));
        for _ in 0..20 {
            backoff.next(&mut rng);
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= Duration::from_millis(100));
    }

    #[test]
    fn two_agents_do_not_pause_alike() {
        let pauses = |seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(60));
            (0..5).map(|_| backoff.next(&mut rng)).collect::<Vec<_>>()
        };
        assert_ne!(pauses(1), pauses(2));
    }

    /// All of them lose the same server at the same instant; ten minutes later it is back.
    #[test]
    fn a_thousand_agents_do_not_come_back_in_the_same_second() {
        let outage = Duration::from_secs(600);
        let mut seconds = [0; 31];
        for seed in 0..1000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
            let mut now = Duration::ZERO;
            while now < outage {
                now += backoff.next(&mut rng);
            }
            seconds[usize::try_from((now - outage).as_secs()).unwrap()] += 1;
        }
        // With pauses of 15 s on average, 67 in the first second.
        assert!(seconds.iter().all(|agents| *agents <= 100), "{seconds:?}");
    }
}
