//! When may the next batch be taken: pure decisions.
//!
//! A request costs the destination and the agent about the same whether it carries one message or twenty, so batches that follow
//! each other closely are kept apart: what comes in between is taken together.

use std::time::Duration;

use tokio::time::Instant;

/// With so many messages a request is worth making: the cost of the request is small beside theirs.
const WORTH_A_REQUEST: u32 = 20;

/// How far apart batches are.
#[derive(Debug)]
pub(super) struct Linger {
    shortest: Duration,
    longest: Duration,
    /// How long after it was taken the last batch is followed by the next.
    pause: Duration,
    /// When the last batch was taken; none when the next one may be at once.
    taken: Option<Instant>,
}

impl Linger {
    /// Batches at least `shortest` apart, and `longest` while they have few messages. Zero keeps none apart.
    pub(super) fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest: longest.max(shortest), pause: shortest, taken: None }
    }

    /// Before when no further batch is to be taken.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.taken.map(|taken| taken + self.pause)
    }

    /// How far apart they are now.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// So many messages were taken. When `more` are likely to wait, they are not kept waiting.
    pub(super) fn taken(&mut self, messages: usize, more: bool, now: Instant) {
        if more || self.shortest.is_zero() {
            (self.pause, self.taken) = (self.shortest, None);
            return;
        }
        // Longer than any pause: nothing came for a while, and what comes now says nothing about how much will.
        let was_quiet = self.taken.is_none_or(|taken| now.duration_since(taken) > self.longest + self.shortest);
        let pause = if was_quiet {
            self.shortest
        } else {
            let messages = u32::try_from(messages).unwrap_or(u32::MAX).max(WORTH_A_REQUEST / 2);
            self.pause * WORTH_A_REQUEST / messages
        };
        (self.pause, self.taken) = (pause.clamp(self.shortest, self.longest), Some(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Messages that come evenly, so many a second, for 20 s. Returns how many batches there were in the second half, and the longest
    /// wait of a message there.
    fn evenly(per_second: u32, (shortest, longest): (Duration, Duration)) -> (u32, Duration) {
        let (begin, gap) = (Instant::now(), Duration::from_secs(1) / per_second);
        let mut linger = Linger::new(shortest, longest);
        let (mut next, mut batches, mut wait) = (0, 0, Duration::ZERO);
        loop {
            // Taken with what has come by the time that it may be, but not before the first.
            let first = begin + gap * next;
            let now = first.max(linger.not_before().unwrap_or(first));
            if now > begin + millis(20_000) {
                return (batches, wait);
            }
            let come = u32::try_from(now.duration_since(begin).as_nanos() / gap.as_nanos()).unwrap() + 1;
            if now > begin + millis(10_000) {
                batches += 1;
                wait = wait.max(now - first);
            }
            linger.taken((come - next) as usize, false, now);
            next = come;
        }
    }

    #[test]
    fn after_a_quiet_time_it_is_at_once() {
        let mut linger = Linger::new(millis(50), millis(1000));
        let mut now = Instant::now();
        for _ in 0..10 {
            assert!(linger.not_before().is_none_or(|at| at <= now));
            linger.taken(1, false, now);
            assert_eq!(linger.not_before(), Some(now + millis(50)));
            now += millis(2000);
        }
    }

    #[test]
    fn a_busy_second_has_twenty_batches_and_a_slow_one_as_many_as_are_worth_it() {
        let usual = (millis(50), millis(1000));
        for (per_second, batches, wait) in [
            (10_000, 200, millis(50)),
            (1000, 200, millis(50)),
            (400, 200, millis(50)),
            (100, 50, millis(200)),
            (20, 10, millis(1000)),
        ] {
            let (had, waited) = evenly(per_second, usual);
            assert!(had <= batches + batches / 10, "{per_second}/s: {had} batches");
            assert!(waited <= wait + wait / 10, "{per_second}/s: {waited:?}");
        }
        assert!(evenly(5, usual).0 <= 10 && evenly(1, usual).0 <= 10);
    }

    #[test]
    fn a_backlog_is_taken_without_a_pause_and_none_is_made_where_there_is_to_be_none() {
        let now = Instant::now();
        let mut linger = Linger::new(millis(50), millis(1000));
        linger.taken(6000, true, now);
        assert_eq!(linger.not_before(), None);
        let mut eager = Linger::new(Duration::ZERO, millis(1000));
        eager.taken(1, false, now);
        assert_eq!(eager.not_before(), None);
    }

    proptest::proptest! {
        #[test]
        fn never_closer_than_the_shortest_nor_further_than_the_longest(
            (shortest, more) in (1_u64..200, 0_u64..5000), steps in proptest::collection::vec((1_usize..500, 0_u64..5000), 1..100)
        ) {
            let (shortest, longest) = (millis(shortest), millis(shortest + more));
            let mut linger = Linger::new(shortest, longest);
            let mut now = Instant::now();
            for (messages, later) in steps {
                linger.taken(messages, false, now);
                let next = linger.not_before().unwrap();
                proptest::prop_assert!((now + shortest..=now + longest).contains(&next));
                now = next + millis(later);
            }
        }
    }
}
