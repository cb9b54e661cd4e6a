use proptest::prelude::*;

use super::*;

/// Points of a full batch.
const BATCH: usize = 5_000;

/// A destination: points a second, of so many batches at once with so many points each.
type Destination<'a> = dyn Fn(f64, f64) -> f64 + 'a;

struct World {
    pace: Pace,
    now: Instant,
    written: usize,
    random: fastrand::Rng,
    /// By how much a measurement may be off, as a share.
    noise: f64,
}

impl World {
    fn new(most: usize, noise: f64) -> Self {
        let now = Instant::now();
        Self { pace: Pace::new(most, now), now, written: 0, random: fastrand::Rng::with_seed(7), noise }
    }

    fn batch(&self) -> usize {
        self.pace.limits(LIMITS).max_messages
    }

    /// Writes with a backlog for so many seconds; returns points a second.
    fn run(&mut self, seconds: u64, destination: &Destination<'_>) -> f64 {
        let (start, before) = (self.now, self.written);
        while self.now - start < Duration::from_secs(seconds) {
            let (workers, batch) = (self.pace.setting.workers, self.batch());
            let noise = 1.0 + self.noise * (self.random.f64() * 2.0 - 1.0);
            let rate = destination(workers as f64, batch as f64) * noise;
            // One after the other, each begun when its worker was done with the one before.
            let each = Duration::from_secs_f64(batch as f64 / rate);
            self.now += each;
            self.written += batch;
            let begun = self.now - each * u32::try_from(workers).unwrap();
            self.pace.wrote(Wrote { points: batch, full: true, begun, done: self.now, slowest: self.now - begun });
        }
        (self.written - before) as f64 / (self.now - start).as_secs_f64()
    }

    /// The best that any setting could do.
    fn best(&self, destination: &Destination<'_>) -> f64 {
        let rates = (1..=self.pace.most).flat_map(|workers| (0..=HALVINGS).map(move |halvings| (workers, BATCH >> halvings)));
        rates.map(|(workers, batch)| destination(workers as f64, batch as f64)).fold(0.0, f64::max)
    }
}

const LIMITS: Limits = Limits { interval: Duration::ZERO, max_messages: BATCH, max_bytes: 1 << 20 };

/// Two cores beside the agent: three requests keep them busy.
fn near(workers: f64, batch: f64) -> f64 {
    500_000.0 * (workers / 3.0).min(1.0) * batch / (batch + 200.0)
}

/// One core that is slower the more it is asked at once.
fn thrashing(workers: f64, _: f64) -> f64 {
    200_000.0 / (1.0 + 0.2 * (workers - 1.0))
}

/// A fifth of a second away: the more is under way, the better.
fn far(workers: f64, batch: f64) -> f64 {
    workers * batch / (0.2 + batch / 400_000.0)
}

/// A disk that syncs each request for itself, 20 ms each.
fn syncing(_: f64, batch: f64) -> f64 {
    batch / (0.02 + batch / 500_000.0)
}

#[test]
fn the_best_point_of_each_destination_is_found_and_kept() {
    for destination in [&near as &Destination<'_>, &thrashing, &far, &syncing] {
        for noise in [0.0, 0.03, 0.1] {
            let mut world = World::new(8, noise);
            world.run(120, destination);
            let (rate, best) = (world.run(120, destination), world.best(destination));
            assert!(rate > 0.9 * best, "{rate:.0} of {best:.0} with {:?}, noise {noise}", world.pace.setting);
        }
    }
}

#[test]
fn no_more_at_once_than_helps() {
    let mut world = World::new(8, 0.0);
    world.run(120, &near);
    assert!(world.pace.setting.workers <= 4, "{:?}", world.pace.setting);
    let mut world = World::new(8, 0.0);
    world.run(120, &thrashing);
    assert_eq!(world.pace.setting.workers, 1);
}

#[test]
fn a_destination_that_changes_is_followed() {
    let mut world = World::new(8, 0.03);
    world.run(300, &thrashing);
    world.run(600, &far);
    let rate = world.run(60, &far);
    assert!(rate > 0.9 * world.best(&far), "{rate:.0} of {:.0} with {:?}", world.best(&far), world.pace.setting);
}

#[test]
fn late_answers_halve_what_is_written_at_once_down_to_one_small_batch() {
    let mut world = World::new(8, 0.0);
    (world.pace.setting.workers, world.pace.climb) = (8, None);
    let mut seen = vec![world.pace.setting];
    // Thirty seconds for whatever is asked.
    for _ in 0..20 {
        let begun = world.now;
        world.now += Duration::from_secs(30);
        // All that were under way together are one reason, not eight.
        for _ in 0..8 {
            world.pace.wrote(Wrote { points: 1, full: true, begun, done: world.now, slowest: world.now - begun });
        }
        if seen.last() != Some(&world.pace.setting) {
            seen.push(world.pace.setting);
        }
    }
    let settings: Vec<_> = seen.iter().map(|setting| (setting.workers, setting.halvings)).collect();
    assert_eq!(settings, [(8, 0), (4, 0), (2, 0), (1, 0), (1, 1), (1, 2), (1, 3)]);
    // It is well again: everything comes back.
    world.run(600, &far);
    assert!(world.run(60, &far) > 0.9 * world.best(&far), "{:?}", world.pace.setting);
}

#[test]
fn who_has_no_backlog_tries_nothing() {
    let mut world = World::new(4, 0.0);
    let all = world.pace.setting;
    for _ in 0..10_000 {
        let begun = world.now;
        world.now += Duration::from_millis(10);
        world.pace.wrote(Wrote { points: 5, full: false, begun, done: world.now, slowest: Duration::ZERO });
        assert_eq!(world.pace.setting, all);
    }
}

#[test]
fn a_trial_ends_with_the_backlog() {
    let mut world = World::new(4, 0.0);
    while world.pace.trial.is_none() {
        world.run(1, &far);
    }
    let home = world.pace.trial.unwrap().home;
    world.now += Duration::from_millis(10);
    world.pace.wrote(Wrote { points: 5, full: false, begun: world.now, done: world.now, slowest: Duration::ZERO });
    assert!(world.pace.trial.is_none());
    assert_eq!(world.pace.setting, home);
}

#[test]
fn a_batch_that_waits_for_its_time_is_not_made_smaller() {
    let mut pace = Pace::new(4, Instant::now());
    pace.setting.halvings = 2;
    assert_eq!(pace.limits(LIMITS).max_messages, BATCH / 4);
    let batched = Limits { interval: Duration::from_secs(60), ..LIMITS };
    assert_eq!(pace.limits(batched).max_messages, BATCH);
}

#[test]
fn a_place_is_free_again_when_its_batch_is_done_with_or_lost() {
    let places = Arc::new(Places::new(2, 100));
    let (one, two) = (places.take(100), places.take(100));
    assert!(!places.is_one_free());
    drop(one);
    assert!(places.is_one_free());
    let three = places.take(100);
    let panicked = std::thread::spawn(move || {
        let _place = three;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(panicked.join().is_err());
    assert!(places.is_one_free());
    drop(two);
}

#[test]
fn large_messages_take_the_places_of_several_batches_but_two_always_go() {
    let places = Arc::new(Places::new(6, 100));
    places.state().pace.setting.workers = 6;
    let _one = places.take(400);
    assert!(places.is_one_free());
    let two = places.take(400);
    assert!(!places.is_one_free(), "more than six batches should have");
    drop(two);
    let _small: Vec<_> = (0..2).map(|_| places.take(100)).collect();
    assert!(!places.is_one_free());
}

#[test]
fn after_an_outage_it_begins_as_at_the_start_and_what_waits_beyond_that_is_given_back() {
    let places = Arc::new(Places::new(6, 100));
    places.state().pace.setting = Setting { workers: 6, halvings: 1 };
    let mut held: Vec<_> = (0..6).map(|_| places.take(100)).collect();
    for left in (WORKERS_AT_FIRST + 1..=6).rev() {
        assert_eq!(held.len(), left);
        assert!(places.outage());
        held.pop();
    }
    assert!(!places.outage());
    assert!(!places.is_one_free());
    assert_eq!(places.state().pace.setting, Setting { workers: WORKERS_AT_FIRST, halvings: 1 });
}

#[test]
fn a_backlog_is_met_with_more_at_once_within_a_second() {
    let mut world = World::new(6, 0.0);
    assert_eq!(world.pace.setting.workers, WORKERS_AT_FIRST);
    world.run(1, &near);
    // By then it may already be trying whether fewer are as quick.
    let found = world.pace.trial.map_or(world.pace.setting, |trial| trial.home);
    assert_eq!((found.workers, world.pace.climb), (6, None));
}

proptest! {
    #[test]
    fn somebody_may_always_write_something_and_never_more_than_was_configured(
        most in 1usize..64, max_messages in 1usize..1_000_000,
        events in proptest::collection::vec((0u64..3_000, 0u64..2_000, any::<bool>(), 0usize..100_000), 0..300),
    ) {
        let mut now = Instant::now();
        let mut pace = Pace::new(most, now);
        for (pause, took, full, points) in events {
            let begun = now + Duration::from_millis(pause);
            now = begun + Duration::from_millis(took);
            pace.wrote(Wrote { points, full, begun, done: now, slowest: now - begun });
            prop_assert!((1..=most).contains(&pace.setting.workers) && pace.setting.halvings <= HALVINGS);
            let limits = pace.limits(Limits { interval: Duration::ZERO, max_messages, max_bytes: max_messages });
            prop_assert!((1..=max_messages).contains(&limits.max_messages) && (1..=max_messages).contains(&limits.max_bytes));
        }
    }
}
