//! Model destinations, whose speed is a formula and noise.

use proptest::prelude::*;

use super::*;

/// Points of a full batch.
const BATCH: usize = 5_000;

const LIMITS: Limits = Limits {
    interval: Duration::ZERO,
    linger: Duration::ZERO,
    max_linger: Duration::ZERO,
    max_messages: BATCH,
    max_bytes: 1 << 20,
};
const PROMPT: Duration = LATE;
const TOO_LATE: Duration = Duration::from_millis(1001);

/// Points a second, with so many batches in flight.
type Destination = fn(f64) -> f64;

/// Two cores beside the agent: three batches keep them busy.
fn near(limit: f64) -> f64 {
    500_000.0 * (limit / 3.0).min(1.0)
}

/// Two cores that the agent shares: each doubling gains a quarter.
fn shared(limit: f64) -> f64 {
    200_000.0 * limit.powf(0.32)
}

/// One core, which one batch keeps busy.
fn busy(_: f64) -> f64 {
    200_000.0
}

/// One core that is slower the more it is asked at once.
fn thrashing(limit: f64) -> f64 {
    200_000.0 / (1.0 + 0.2 * (limit - 1.0))
}

/// A fifth of a second away: the more is in flight, the better.
fn far(limit: f64) -> f64 {
    limit * BATCH as f64 / 0.2125
}

/// As far away, and busy with forty.
fn far_and_busy(limit: f64) -> f64 {
    far(limit.min(40.0))
}

fn normal(random: &mut fastrand::Rng) -> f64 {
    (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos()
}

/// An agent with a backlog.
struct World {
    limiter: Limiter,
    /// When the backlog came.
    begun: Instant,
    now: Instant,
    random: fastrand::Rng,
    /// The standard deviation of the speed of a window of 250 ms, as a share.
    noise: f64,
    speed: f64,
    /// Points that were written, and batches in flight times seconds.
    written: f64,
    held: f64,
}

impl World {
    fn new(max: usize, noise: f64) -> Self {
        let (now, random) = (Instant::now(), fastrand::Rng::with_seed(7));
        Self { limiter: Limiter::new(max, now), begun: now, now, random, noise, speed: 1.0, written: 0.0, held: 0.0 }
    }

    fn window(&self) -> u128 {
        (self.now - self.begun).as_millis() / 250
    }

    /// Writes for so many seconds; returns points a second, and how many batches were in flight on average.
    fn run(&mut self, seconds: f64, destination: Destination) -> (f64, f64) {
        let (start, written, held) = (self.now, self.written, self.held);
        while (self.now - start).as_secs_f64() < seconds {
            let (limit, points) = (self.limiter.limit(), self.limiter.limits(LIMITS).max_messages);
            let rate = destination(limit as f64) * self.speed * (0.03 * self.noise.signum() * normal(&mut self.random)).exp();
            // One after the other, each begun when the one before it in its place was written.
            let each = Duration::from_secs_f64(points as f64 / rate);
            let window = self.window();
            self.now += each;
            if self.window() != window {
                self.speed = (self.noise * normal(&mut self.random)).exp();
            }
            self.written += points as f64;
            self.held += limit as f64 * each.as_secs_f64();
            self.batch(points, each * u32::try_from(limit).unwrap(), true);
        }
        let took = (self.now - start).as_secs_f64();
        ((self.written - written) / took, (self.held - held) / took)
    }

    /// A batch has been written, in one request that took so long.
    fn batch(&mut self, points: usize, took: Duration, full: bool) {
        let (begun, done) = ((self.now - took).max(self.begun), self.now);
        self.limiter.answered(begun, done);
        self.limiter.wrote(Wrote { points, full, begun, done });
    }

    /// The best that any limit could do.
    fn best(&self, destination: Destination) -> f64 {
        (1..=self.limiter.max).map(|limit| destination(limit as f64)).fold(0.0, f64::max)
    }
}

#[test]
fn what_each_destination_takes_is_found_and_kept_with_no_more_in_flight_than_that_needs() {
    let destinations = [(near as Destination, 3.0), (busy, 1.0), (thrashing, 1.0), (far, 64.0), (far_and_busy, 40.0)];
    for (number, (destination, needed)) in destinations.into_iter().enumerate() {
        for max in [6, 64] {
            for noise in [0.0, 0.02, 0.05, 0.1] {
                let mut world = World::new(max, noise);
                world.run(120.0, destination);
                let (rate, held) = world.run(300.0, destination);
                let (best, needed) = (world.best(destination), f64::min(needed, max as f64));
                let what = format!("{number} with up to {max} and noise {noise}: {rate:.0} of {best:.0} at {held:.1}");
                assert!(rate > 0.95 * best, "{what}");
                assert!(held < 1.5 * needed + 1.0, "{what}");
            }
        }
    }
}

#[test]
fn a_destination_that_changes_is_followed() {
    let mut world = World::new(6, 0.05);
    world.run(300.0, thrashing);
    assert_eq!(world.limiter.home, 1);
    world.run(600.0, far);
    let (rate, _) = world.run(60.0, far);
    assert!(rate > 0.9 * world.best(far), "{rate:.0} of {:.0} with {:?}", world.best(far), world.limiter);
    world.run(600.0, busy);
    assert!(world.limiter.home <= 2, "{:?}", world.limiter);
}

#[test]
fn a_backlog_is_met_with_all_that_helps_within_a_quarter_of_a_second() {
    let mut world = World::new(6, 0.0);
    world.run(0.25, near);
    assert_eq!(world.limiter.limit(), 6, "{:?}", world.limiter);
}

#[test]
fn a_backlog_is_met_with_no_more_memory_than_pays_at_once() {
    let mut world = World::new(64, 0.0);
    for _ in 0..100 {
        world.run(0.01, shared);
        assert!(world.limiter.limit() <= 2 * LIMIT_AT_FIRST, "{:?}", world.limiter);
    }
}

#[test]
fn a_cold_start_makes_twice_as_much_in_flight_look_no_better_than_it_is() {
    let mut world = World::new(6, 0.0);
    world.run(0.02, |limit| shared(limit) / 3.0);
    for _ in 0..100 {
        world.run(0.01, shared);
        assert!(world.limiter.limit() <= 2 * LIMIT_AT_FIRST, "{:?}", world.limiter);
    }
}

#[test]
fn a_backlog_after_an_idle_hour_is_not_met_with_more_than_helps() {
    let mut world = World::new(6, 0.0);
    world.begun += Duration::from_secs(3600);
    world.now = world.begun;
    for _ in 0..1_000 {
        world.run(0.001, busy);
        assert!(world.limiter.limit() <= 2 * LIMIT_AT_FIRST, "{:?}", world.limiter);
    }
}

/// How often the larger limit wins that writes so much more, as a share, when each window is off by such noise.
fn larger_wins(gain: f64, noise: f64) -> f64 {
    let mut random = fastrand::Rng::with_seed(1);
    let mut rate = |more: bool| (if more { gain } else { 0.0 } + noise * normal(&mut random)).exp();
    let wins = (0..2_000).filter(|_| {
        let (mut comparison, mut larger) = (Comparison::default(), false);
        loop {
            match comparison.add(larger, rate(larger)) {
                Verdict::OtherNext => larger = !larger,
                Verdict::SameAgain => {}
                verdict => return verdict == Verdict::Larger,
            }
        }
    });
    wins.count() as f64 / 2_000.0
}

#[test]
fn more_in_flight_without_any_effect_is_taken_for_better_in_less_than_one_comparison_of_twenty() {
    for noise in [0.01, 0.02, 0.05] {
        let wrong = larger_wins(0.0, noise);
        assert!(wrong < 0.05, "{:.1} % at {noise}", wrong * 100.0);
        let right = larger_wins(0.1, noise);
        assert!(right > 0.95, "{:.1} % at {noise}", right * 100.0);
    }
    // Were one window compared with the better of those before and after it, by 2 %, it would be 11 and 23 %: there is something to see.
    for (noise, expected) in [(0.02, 0.11), (0.05, 0.23)] {
        let mut random = fastrand::Rng::with_seed(1);
        let mut rate = || (noise * normal(&mut random)).exp();
        let wrong = (0..20_000).filter(|_| rate() >= 1.02 * rate().max(rate())).count() as f64 / 20_000.0;
        assert!((wrong - expected).abs() < 0.01, "{:.1} % at {noise}", wrong * 100.0);
    }
}

#[test]
fn without_a_backlog_nothing_is_tried() {
    let mut world = World::new(6, 0.0);
    for _ in 0..10_000 {
        world.now += Duration::from_millis(10);
        world.batch(5, Duration::ZERO, false);
        assert_eq!(world.limiter.limit(), LIMIT_AT_FIRST);
    }
}

#[test]
fn a_comparison_ends_with_the_backlog() {
    let mut world = World::new(6, 0.0);
    while world.limiter.limit() == world.limiter.home || !matches!(world.limiter.phase, Phase::Compare(..)) {
        world.now += Duration::from_millis(10);
        world.batch(BATCH, Duration::from_millis(1), true);
    }
    world.now += Duration::from_millis(10);
    world.batch(5, Duration::from_millis(1), false);
    assert_eq!(world.limiter.limit(), world.limiter.home);
}

#[test]
fn what_was_in_flight_before_a_change_tells_nothing_of_it() {
    let mut world = World::new(6, 0.0);
    while world.limiter.limit() == LIMIT_AT_FIRST {
        world.run(0.001, near);
    }
    let before = world.now - Duration::from_millis(1);
    for _ in 0..100 {
        world.now += Duration::from_millis(10);
        world.limiter.wrote(Wrote { points: 1, full: true, begun: before, done: world.now });
    }
    assert!(world.limiter.limit() == 4 && matches!(world.limiter.phase, Phase::SlowStart(_)), "{:?}", world.limiter);
}

#[test]
fn late_answers_halve_what_is_in_flight_down_to_an_eighth_of_a_batch_and_prompt_ones_bring_it_back() {
    let mut world = World::new(8, 0.0);
    world.run(10.0, far);
    let mut seen = Vec::new();
    for _ in 0..10 {
        world.now += Duration::from_secs(30);
        // All that were in flight together are one reason, not eight.
        for _ in 0..world.limiter.limit() {
            world.batch(BATCH, Duration::from_secs(30), true);
            let now = (world.limiter.limit(), world.limiter.divisor());
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }
    }
    seen.truncate(6);
    assert_eq!(seen, [(4, 1), (2, 1), (1, 1), (1, 2), (1, 4), (1, 8)]);
    world.run(60.0, far);
    assert!(world.run(60.0, far).0 > 0.9 * world.best(far), "{:?}", world.limiter);
}

/// What an attempt came to.
type Event = Result<Duration, Failure>;

fn apply(limiter: &mut Limiter, event: Event) {
    let begun = Instant::now() + Duration::from_secs(3600);
    match event {
        Ok(took) => limiter.answered(begun, begun + took),
        Err(failure) => limiter.failed(failure, begun),
    }
}

fn after(events: &[Event]) -> Limiter {
    let mut limiter = Limiter::new(6, Instant::now());
    events.iter().for_each(|event| apply(&mut limiter, *event));
    limiter
}

#[test]
fn after_an_outage_a_64th_is_tried_by_one_and_each_prompt_answer_doubles_it() {
    let mut limiter = after(&[Err(Failure::Retry); 2]);
    assert!(limiter.is_probing());
    let mut seen = Vec::new();
    while limiter.divisor() > 1 {
        seen.push(limiter.limits(LIMITS).max_messages);
        apply(&mut limiter, Ok(PROMPT));
        assert!(!limiter.is_probing());
    }
    assert_eq!(seen, [78, 156, 312, 625, 1250, 2500]);
}

#[test]
fn after_an_outage_as_little_is_in_flight_as_at_the_start() {
    let mut world = World::new(6, 0.0);
    world.run(10.0, far);
    assert_eq!(world.limiter.home, 6);
    world.limiter.failed(Failure::Hold, world.now);
    assert_eq!(world.limiter.limit(), LIMIT_AT_FIRST);
}

#[test]
fn a_hold_is_an_outage_at_once_and_a_single_failure_is_none() {
    assert_eq!(after(&[Err(Failure::Retry)]).divisor(), 1);
    assert_eq!(after(&[Err(Failure::Hold)]).divisor(), 64);
}

#[test]
fn a_batch_that_fails_for_ever_slows_nothing_down_that_succeeds_between() {
    assert_eq!(after(&[Err(Failure::Retry), Ok(PROMPT)].repeat(100)).divisor(), 1);
}

#[test]
fn a_destination_that_answers_late_gets_more_only_now_and_then_but_does() {
    let mut limiter = after(&[Err(Failure::Hold)]);
    for divisor in [64, 32, 16, 8] {
        for _ in 0..LATE_ANSWERS {
            assert_eq!(limiter.divisor(), divisor);
            apply(&mut limiter, Ok(TOO_LATE));
        }
    }
    assert_eq!(limiter.divisor(), 4);
}

#[test]
fn answers_that_were_late_before_a_failure_or_a_prompt_one_do_not_count() {
    let mut limiter = after(&[Err(Failure::Hold)]);
    (1..LATE_ANSWERS).for_each(|_| apply(&mut limiter, Ok(TOO_LATE)));
    apply(&mut limiter, Err(Failure::Retry));
    (1..LATE_ANSWERS).for_each(|_| apply(&mut limiter, Ok(TOO_LATE)));
    assert_eq!(limiter.divisor(), 64);
    apply(&mut limiter, Ok(PROMPT));
    apply(&mut limiter, Ok(TOO_LATE));
    assert_eq!(limiter.divisor(), 32);
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![Just(Ok(PROMPT)), Just(Ok(TOO_LATE)), Just(Err(Failure::Retry)), Just(Err(Failure::Hold))]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(event(), 0..50)
}

proptest! {
    #[test]
    fn something_may_always_be_in_flight_and_never_more_than_was_configured(
        max in 1usize..64, max_messages in 1usize..1_000_000,
        batches in proptest::collection::vec((0u64..3_000, 0u64..2_000, any::<bool>(), 1usize..100_000, event()), 0..300),
    ) {
        let mut now = Instant::now();
        let mut limiter = Limiter::new(max, now);
        for (pause, took, full, points, event) in batches {
            let begun = now + Duration::from_millis(pause);
            now = begun + Duration::from_millis(took);
            match event {
                Ok(_) => limiter.answered(begun, now),
                Err(failure) => limiter.failed(failure, now),
            }
            limiter.wrote(Wrote { points, full, begun, done: now });
            prop_assert!((1..=max).contains(&limiter.limit()) && (1..=max).contains(&limiter.home) && limiter.divisor() <= 64);
            let limits = limiter.limits(Limits { interval: Duration::ZERO, linger: Duration::ZERO, max_linger: Duration::ZERO, max_messages, max_bytes: max_messages });
            prop_assert!((1..=max_messages).contains(&limits.max_messages) && (1..=max_messages).contains(&limits.max_bytes));
        }
    }

    #[test]
    fn six_prompt_answers_in_a_row_bring_full_batches_back_whatever_was_before(events in events()) {
        let mut limiter = after(&events);
        (0..OUTAGE_HALVINGS).for_each(|_| apply(&mut limiter, Ok(PROMPT)));
        prop_assert_eq!(limiter.divisor(), 1);
    }

    #[test]
    fn a_prompt_answer_at_most_doubles_and_never_takes_away(events in events()) {
        let before = after(&events);
        let mut next = before;
        apply(&mut next, Ok(PROMPT));
        prop_assert!(next.divisor() <= before.divisor() && before.divisor() <= 2 * next.divisor());
        prop_assert_eq!(next.limit(), before.limit());
    }

    #[test]
    fn two_failures_in_a_row_are_an_outage_whatever_was_before(mut events in events()) {
        events.extend([Err(Failure::Retry); 2]);
        let limiter = after(&events);
        prop_assert_eq!((limiter.limit(), limiter.divisor()), (LIMIT_AT_FIRST, 64));
    }
}
