//! When is a batch due, and how much more is there room for: pure decisions.

use std::time::Duration;

use tokio::time::Instant;

use super::linger::Linger;
use crate::channel::Demand;

/// The limits of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How old a batch may get; zero publishes at once.
    pub interval: Duration,
    /// How soon one batch is taken after the other; zero as soon as a publisher is free.
    pub linger: Duration,
    /// The same while batches have few messages.
    pub max_linger: Duration,
    /// At most this many messages.
    pub max_messages: usize,
    /// At most this many bytes of payload, except that one larger message is a batch of its own.
    pub max_bytes: usize,
}

/// How full the batch is that is being filled.
#[derive(Debug)]
pub(super) struct Batching {
    limits: Limits,
    /// The beat on which batches are due: `origin` plus a whole number of intervals.
    origin: Instant,
    messages: usize,
    bytes: usize,
    due: Option<Instant>,
    linger: Linger,
    /// What was demanded last.
    demanded: Demand,
}

impl Batching {
    /// An empty batch. `phase` in 0.0..1.0 shifts the beat, so that a thousand agents that start together do not
    /// write in the same second.
    pub(super) fn new(limits: Limits, now: Instant, phase: f64) -> Self {
        let origin = now + limits.interval.mul_f64(phase.clamp(0.0, 1.0));
        // Where a batch has an age, messages wait for it once more after they were taken.
        let bound = |pause: Duration| if limits.interval.is_zero() { pause } else { pause.min(limits.interval) };
        let linger = Linger::new(bound(limits.linger), bound(limits.max_linger));
        let demanded = Demand { messages: limits.max_messages, bytes: limits.max_bytes, not_before: None };
        Self { limits, origin, messages: 0, bytes: 0, due: None, linger, demanded }
    }

    /// From now on a batch may have this much. One that has more already is full.
    pub(super) fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// So many messages with so many bytes have come in; `more` are known to wait.
    pub(super) fn add(&mut self, messages: usize, bytes: usize, more: bool, now: Instant) {
        self.messages += messages;
        self.bytes += bytes;
        let more = more || messages > self.demanded.messages / 2 || bytes > self.demanded.bytes / 2;
        self.linger.taken(messages, more, now);
        if self.due.is_none() {
            self.due = Some(self.next_beat(now));
        }
    }

    /// The batch was handed on; the next one is empty.
    pub(super) fn take(&mut self) {
        self.messages = 0;
        self.bytes = 0;
        self.due = None;
    }

    /// Whether the batch may be handed on now. An empty one never is.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.messages > 0 && (self.is_full() || self.due.is_some_and(|due| now >= due))
    }

    /// When it will be due by age, if it is not empty.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due
    }

    /// How far apart batches are taken now.
    pub(super) fn linger(&self) -> Duration {
        self.linger.pause()
    }

    /// How many bytes of messages are in it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no message is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// How many more messages to ask for, given whether a publisher is free to take them.
    ///
    /// With an interval the batch fills up meanwhile. Without one, only what a free publisher can take at once is
    /// asked for: what no publisher can write yet is better off in the channel, where another agent can have it.
    pub(super) fn demand(&mut self, publisher_free: bool) -> Option<Demand> {
        let wanted = if self.limits.interval.is_zero() { publisher_free && self.is_empty() } else { !self.is_full() };
        wanted.then(|| {
            self.demanded = Demand {
                messages: self.limits.max_messages - self.messages,
                bytes: self.limits.max_bytes - self.bytes,
                not_before: self.linger.not_before(),
            };
            self.demanded
        })
    }

    /// Whether so much was there that more is likely to wait: the last message may not fit.
    pub(super) fn is_half_full(&self) -> bool {
        self.messages > self.limits.max_messages / 2 || self.bytes > self.limits.max_bytes / 2
    }

    fn is_full(&self) -> bool {
        self.messages >= self.limits.max_messages || self.bytes >= self.limits.max_bytes
    }

    fn next_beat(&self, now: Instant) -> Instant {
        let interval = self.limits.interval;
        if interval.is_zero() {
            return now;
        }
        if now < self.origin {
            return self.origin;
        }
        let into = now.duration_since(self.origin).as_nanos() % interval.as_nanos();
        now + (interval - Duration::from_nanos(u64::try_from(into).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn limits(interval: Duration) -> Limits {
        Limits { interval, linger: Duration::ZERO, max_linger: Duration::ZERO, max_messages: 100, max_bytes: 1000 }
    }

    #[test]
    fn eager_asks_only_when_a_publisher_is_free_and_is_due_with_the_first_message() {
        let now = Instant::now();
        let mut batching = Batching::new(limits(Duration::ZERO), now, 0.5);
        assert_eq!(batching.demand(false), None);
        assert_eq!(batching.demand(true), Some(Demand { messages: 100, bytes: 1000, not_before: None }));
        assert!(!batching.is_due(now));
        batching.add(1, 10, false, now);
        assert!(batching.is_due(now));
        assert_eq!(batching.demand(true), None);
    }

    #[test]
    fn batched_fills_up_until_the_beat_whoever_is_free() {
        let now = Instant::now();
        let mut batching = Batching::new(limits(MINUTE), now, 0.5);
        batching.add(10, 100, false, now);
        assert_eq!(batching.demand(false), Some(Demand { messages: 90, bytes: 900, not_before: None }));
        assert!(!batching.is_due(now + MINUTE / 2 - Duration::from_millis(1)));
        assert!(batching.is_due(now + MINUTE / 2));
        batching.take();
        assert!(!batching.is_due(now + MINUTE * 5));
        batching.add(1, 1, false, now + MINUTE * 5);
        assert_eq!(batching.due_at(), Some(now + MINUTE * 5 + MINUTE / 2));
    }

    #[test]
    fn a_full_batch_is_due_before_its_age_and_asks_for_nothing() {
        let now = Instant::now();
        let mut batching = Batching::new(limits(MINUTE), now, 0.9);
        batching.add(100, 100, false, now);
        assert!(batching.is_due(now));
        assert_eq!(batching.demand(true), None);
        batching.take();
        batching.add(1, 5000, false, now);
        assert!(batching.is_due(now), "one message larger than a batch goes alone");
        assert_eq!(batching.demand(true), None);
    }

    #[test]
    fn a_lower_limit_makes_what_is_there_full_and_a_higher_one_leaves_room() {
        let now = Instant::now();
        let mut batching = Batching::new(limits(MINUTE), now, 0.9);
        batching.add(50, 500, false, now);
        batching.limit(Limits { max_messages: 10, max_bytes: 100, ..limits(MINUTE) });
        assert!(batching.is_due(now));
        assert_eq!(batching.demand(true), None);
        batching.limit(limits(MINUTE));
        assert!(!batching.is_due(now));
        assert_eq!(batching.demand(true), Some(Demand { messages: 50, bytes: 500, not_before: None }));
    }

    #[test]
    fn what_is_followed_by_more_is_followed_at_once() {
        let now = Instant::now();
        let lingering = Limits { linger: Duration::from_millis(50), max_linger: MINUTE, ..limits(Duration::ZERO) };
        let mut batching = Batching::new(lingering, now, 0.5);
        for (more, not_before) in [(false, Some(now + Duration::from_millis(50))), (true, None)] {
            batching.add(1, 1, more, now);
            batching.take();
            assert_eq!(batching.demand(true).unwrap().not_before, not_before);
        }
    }

    proptest::proptest! {
        #[test]
        fn never_over_count_or_bytes_and_never_older_than_the_interval(
            interval in 0u64..100_000, phase in 0.0f64..1.0, steps in proptest::collection::vec((1usize..50, 1usize..400, 0u64..50_000), 1..100)
        ) {
            let start = Instant::now();
            let mut now = start;
            let limits = limits(Duration::from_millis(interval));
            let mut batching = Batching::new(limits, start, phase);
            for (messages, bytes, pause) in steps {
                now += Duration::from_millis(pause);
                let Some(demand) = batching.demand(true) else {
                    proptest::prop_assert!(batching.is_due(now) || !batching.is_empty());
                    batching.take();
                    continue;
                };
                proptest::prop_assert!(demand.messages >= 1 && demand.bytes >= 1);
                batching.add(messages.min(demand.messages), bytes.min(demand.bytes), false, now);
                proptest::prop_assert!(batching.messages <= limits.max_messages && batching.bytes <= limits.max_bytes);
                let due = batching.due_at().unwrap();
                proptest::prop_assert!(due <= now.max(start + limits.interval) + limits.interval);
                proptest::prop_assert!(batching.is_due(now.max(due)));
            }
        }
    }
}
