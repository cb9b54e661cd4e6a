//! Long outages on a clock that jumps to the next timer: the whole tree and the real InfluxDB publisher on one thread. The
//! clock stands still while a request is under way, so that its real socket has the time it takes.

use std::{future::Future, ops::RangeInclusive};

use slog::{Drain, KV, Level, Never, OwnedKVList, Record};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    super::{environment::Threads, live},
    influxd::{Influxd, WORKS},
    *,
};
use crate::publisher::InfluxdbPublisher;

const MINUTE: Duration = Duration::from_secs(60);
const UNAVAILABLE: &str = "503 Service Unavailable\r\n";

/// A timer fires up to a millisecond late.
const LATE: Duration = Duration::from_millis(2);

/// Nothing on this runtime's clock happens while this lives.
struct ClockStands {
    _until_dropped: std::sync::mpsc::Sender<()>,
}

impl ClockStands {
    fn still() -> Self {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        // A paused clock does not jump while there is blocking work.
        tokio::task::spawn_blocking(move || receiver.recv().is_err());
        Self { _until_dropped: sender }
    }
}

/// One attempt: when, by which worker, and whether it went well.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: Instant,
    worker: usize,
    worked: bool,
}

/// The real publisher, watched.
struct Watched {
    inner: InfluxdbPublisher,
    worker: usize,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    /// The size of each batch, and how many successes there were by then.
    loaded: Arc<Mutex<Vec<(usize, usize)>>>,
}

impl Watched {
    fn note(&self, outcome: Outcome) -> Outcome {
        let worked = matches!(outcome, Outcome::Written { .. } | Outcome::Progressed);
        self.attempts.lock().unwrap().push(Attempt { at: Instant::now(), worker: self.worker, worked });
        outcome
    }
}

#[async_trait(?Send)]
impl Publisher for Watched {
    fn destination(&self) -> String {
        self.inner.destination()
    }

    fn load(&mut self, set: MessageSet) {
        let successes = self.attempts.lock().unwrap().iter().filter(|attempt| attempt.worked).count();
        self.loaded.lock().unwrap().push((set.len(), successes));
        self.inner.load(set);
    }

    async fn write(&mut self) -> Outcome {
        let _still = ClockStands::still();
        let outcome = self.inner.write().await;
        self.note(outcome)
    }

    async fn probe(&mut self) -> Outcome {
        let _still = ClockStands::still();
        let outcome = self.inner.probe().await;
        self.note(outcome)
    }
}

/// The lines of the log: when, how important, what, and with which values.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Instant, Level, String, String)>>>);

struct Values(String);

impl slog::Serializer for Values {
    fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        self.0 += &format!("{key}={value};");
        Ok(())
    }
}

impl Drain for Log {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let mut said = Values(String::new());
        record.kv().serialize(record, &mut said).unwrap();
        values.serialize(record, &mut said).unwrap();
        self.0.lock().unwrap().push((Instant::now(), record.level(), record.msg().to_string(), said.0));
        Ok(())
    }
}

/// An agent under way, on a clock of its own.
struct Virtual {
    memory: Arc<Memory>,
    influxd: Influxd,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    loaded: Arc<Mutex<Vec<(usize, usize)>>>,
    log: Log,
    begun: Instant,
    pushed: usize,
}

impl Virtual {
    fn push(&mut self, count: usize) {
        for number in self.pushed..self.pushed + count {
            self.memory.push(&format!("m{number}"));
        }
        self.pushed += count;
    }

    async fn until(&self, after: Duration) {
        sleep_until(self.begun + after).await;
    }

    /// Lets time pass until it is so.
    async fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        for _ in 0..100_000 {
            if condition() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("waited in vain until {what}; {:?}", self.memory.book.tally());
    }

    fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().unwrap().clone()
    }

    /// The pauses between the failed attempts of each worker.
    fn pauses(&self, after: Instant) -> Vec<Vec<Duration>> {
        let mut attempts = self.attempts();
        attempts.retain(|attempt| !attempt.worked && attempt.at >= after);
        let workers: std::collections::BTreeSet<usize> = attempts.iter().map(|attempt| attempt.worker).collect();
        let of = |worker| attempts.iter().filter(move |attempt| attempt.worker == worker).map(|attempt| attempt.at);
        workers.into_iter().map(|worker| of(worker).zip(of(worker).skip(1)).map(|(one, next)| next - one).collect()).collect()
    }

    /// What was said of the publisher: when it was said, as what, and with which values.
    fn said(&self) -> Vec<(Duration, Level, String)> {
        let log = self.log.0.lock().unwrap();
        let lines = log.iter().filter(|(_, _, _, values)| values.contains("who=publisher"));
        lines.map(|(at, level, _, values)| (*at - self.begun, *level, values.clone())).collect()
    }

    fn assert_all_stored_once(&self) {
        let stored = self.influxd.stored();
        let names: std::collections::BTreeSet<&str> = stored.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!((names.len(), stored.len()), (self.pushed, self.pushed), "none lost, none doubled");
        let tally = self.memory.book.tally();
        assert_eq!((tally.published, tally.given_back, tally.parked), (self.pushed as u64, 0, 0), "{tally:?}");
    }
}

/// Runs an agent with two workers and batches of ten on a paused clock while `test` lets time pass. Always with the same
/// random numbers.
fn on_a_clock_of_its_own<T: Future<Output = Virtual>>(change: impl FnOnce(&mut Settings), test: impl FnOnce(Virtual) -> T) {
    fastrand::seed(7);
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
    });
    system.block_on(async {
        let influxd = Influxd::start();
        let variables = [("KADABRA_PUBLISHER__TYPE", "influxdb"), ("KADABRA_PUBLISHER__INFLUXDB__URL", influxd.url())];
        let mut settings = config::load_or(Path::new("/nonexistent"), None, variables).unwrap().settings;
        settings.batch.max_messages = 10;
        change(&mut settings);
        let config::PublisherKind::Influxdb(to) = settings.publisher.kind.clone() else { panic!("{settings:?}") };

        let (memory, attempts, log) = (Arc::new(Memory::default()), Arc::new(Mutex::new(Vec::new())), Log::default());
        let loaded = Arc::new(Mutex::new(Vec::new()));
        let (noted, sizes, made) = (Arc::clone(&attempts), Arc::clone(&loaded), AtomicUsize::new(0));
        let (stop, stopped) = mpsc::unbounded_channel();
        let logger = slog::Logger::root(log.clone(), slog::o!());
        let parts = Parts {
            channel: Arc::clone(&memory) as Arc<dyn Channel>,
            publishers: Arc::new(move || {
                let worker = made.fetch_add(1, Ordering::SeqCst);
                Box::new(Watched {
                    inner: InfluxdbPublisher::new(&to),
                    worker,
                    attempts: Arc::clone(&noted),
                    loaded: Arc::clone(&sizes),
                })
            }),
            notifier: Notifier::new(None, None, &logger),
            log: logger,
            stop: stopped,
        };
        let agent = actix_rt::spawn(async move { live(&settings, parts, Threads::One).await });

        let begun = Instant::now();
        let agent_side = test(Virtual { memory, influxd, attempts, loaded, log, begun, pushed: 0 }).await;
        stop.send(()).unwrap();
        assert_eq!(agent.await.unwrap(), Exit::Clean);
        let tally = agent_side.memory.book.tally();
        assert!(tally.balances() && tally.in_flight == 0, "{tally:?}");
    });
}

/// The n-th pause lies between half of the shortest and `min * 2^n`, and no pause is longer than the longest.
fn assert_capped_exponential(pauses: &[Duration], settings: (Duration, Duration), asked: Duration) {
    let (min, max) = settings;
    for (n, pause) in pauses.iter().enumerate() {
        let ceiling = min.saturating_mul(1 << n.min(20)).min(max);
        let allowed: RangeInclusive<Duration> = asked + min / 2..=asked + ceiling + LATE;
        assert!(allowed.contains(pause), "pause {n} is {pause:?}, not in {allowed:?}");
    }
}

const DEFAULT_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

#[test]
fn ten_minutes_of_503_cost_few_attempts_few_lines_and_no_message() {
    on_a_clock_of_its_own(
        |_| {},
        |mut agent| async move {
            agent.influxd.answers(UNAVAILABLE);
            agent.push(100);
            agent.wait("both workers hold a batch", || agent.memory.book.tally().in_flight == 20).await;
            // The clients go on.
            for second in 1..600 {
                agent.until(Duration::from_secs(second)).await;
                agent.push(1);
                let tally = agent.memory.book.tally();
                assert_eq!((tally.received, tally.in_flight), (20, 20), "nothing is leased that nobody can write");
            }
            agent.until(10 * MINUTE).await;

            let pauses = agent.pauses(agent.begun);
            assert_eq!(pauses.len(), 2, "two workers");
            for pauses in &pauses {
                assert_capped_exponential(pauses, DEFAULT_PAUSES, Duration::ZERO);
                // With pauses of 15 s on average once they have grown. Fewer than 27 there cannot be.
                assert!((27..=80).contains(&pauses.len()), "{} attempts in ten minutes", pauses.len() + 1);
                let longest = pauses.iter().skip(9).max().unwrap();
                let shortest = pauses.iter().skip(9).min().unwrap();
                assert!(*longest > Duration::from_secs(20) && *shortest < Duration::from_secs(10), "jitter: {pauses:?}");
            }
            assert_ne!(pauses[0], pauses[1], "two workers do not come back in the same instants");

            // At 0, 10, 30, 70, 150 and 310 s, each at the first attempt after that.
            let said = agent.said();
            assert!(said.iter().all(|(_, level, _)| *level == Level::Warning), "{said:?}");
            assert!((5..=6).contains(&said.len()), "{said:?}");
            assert!(!said[0].2.contains("attempts="), "the first is news: {said:?}");
            for (n, pair) in said.windows(2).enumerate() {
                assert!(pair[1].0 - pair[0].0 >= Duration::from_secs(10) * (1 << n), "{said:?}");
            }

            let failed = agent.attempts().len();
            let back = Instant::now();
            agent.influxd.answers(WORKS);
            let memory = Arc::clone(&agent.memory);
            let all = agent.pushed;
            agent.wait("everything is written", || memory.done() == all).await;
            let first = agent.attempts().into_iter().find(|attempt| attempt.worked).unwrap();
            assert!(first.at - back <= DEFAULT_PAUSES.1 + LATE, "resumed after {:?}", first.at - back);
            let (_, level, values) = agent.said().pop().unwrap();
            assert_eq!(level, Level::Info);
            assert!(values.contains(&format!("attempts={failed};")), "{values}");
            agent.assert_all_stored_once();

            // The next outage begins with short pauses and a count of its own.
            let again = Instant::now();
            agent.influxd.answers(UNAVAILABLE);
            agent.push(5);
            agent.until(again - agent.begun + Duration::from_secs(11)).await;
            assert_capped_exponential(&agent.pauses(again)[0], DEFAULT_PAUSES, Duration::ZERO);
            let (_, _, values) = agent.said().into_iter().find(|(at, _, _)| *at >= again - agent.begun).unwrap();
            assert!(!values.contains("attempts="), "counted anew: {values}");
            agent.influxd.answers(WORKS);
            let memory = Arc::clone(&agent.memory);
            let all = agent.pushed;
            agent.wait("everything is written", || memory.done() == all).await;
            agent.assert_all_stored_once();
            agent
        },
    );
}

#[test]
fn leases_are_renewed_through_ten_minutes_of_503() {
    on_a_clock_of_its_own(
        |_| {},
        |mut agent| async move {
            agent.influxd.answers(UNAVAILABLE);
            agent.push(20);
            agent.wait("it is leased", || agent.memory.book.tally().in_flight == 20).await;
            // The channel panics when a lease is renewed too late; here, that it is at all.
            for second in 1..600 {
                agent.until(Duration::from_secs(second)).await;
                let lists = agent.memory.lists.lock().unwrap();
                let age = lists.renewed.values().map(Instant::elapsed).max().unwrap();
                assert!(age <= agent.memory.lease() / 3 + Duration::from_secs(1), "at {second} s not renewed for {age:?}");
                assert_eq!(lists.leased.values().map(Vec::len).sum::<usize>(), 20);
            }
            agent.influxd.answers(WORKS);
            let memory = Arc::clone(&agent.memory);
            agent.wait("everything is written", || memory.done() == 20).await;
            agent.assert_all_stored_once();
            agent
        },
    );
}

#[test]
fn retry_after_is_obeyed_and_its_end_is_no_appointment() {
    on_a_clock_of_its_own(
        |_| {},
        |mut agent| async move {
            agent.influxd.answers("503 Service Unavailable\r\nRetry-After: 60\r\n");
            agent.push(20);
            agent.until(10 * MINUTE).await;
            for pauses in agent.pauses(agent.begun) {
                assert_capped_exponential(&pauses, DEFAULT_PAUSES, MINUTE);
                assert!((6..=9).contains(&pauses.len()), "{pauses:?}");
                // Who was told the same does not come back in the same instant.
                assert!(pauses.iter().skip(3).any(|pause| *pause > MINUTE + Duration::from_millis(300)), "{pauses:?}");
            }
            agent.influxd.answers(WORKS);
            let memory = Arc::clone(&agent.memory);
            agent.wait("everything is written", || memory.done() == 20).await;
            agent.assert_all_stored_once();
            agent
        },
    );
}

#[test]
fn ten_minutes_of_a_hold_are_probed_and_write_nothing() {
    on_a_clock_of_its_own(
        |_| {},
        |mut agent| async move {
            agent.influxd.answers("401 Unauthorized\r\n");
            agent.push(100);
            agent.until(10 * MINUTE).await;
            assert_eq!(agent.memory.book.tally().in_flight, 20);
            for pauses in agent.pauses(agent.begun) {
                assert_capped_exponential(&pauses, DEFAULT_PAUSES, Duration::ZERO);
            }
            let said = agent.said();
            assert!((5..=6).contains(&said.len()) && said.iter().all(|(_, level, _)| *level == Level::Error), "{said:?}");
            agent.influxd.answers(WORKS);
            let memory = Arc::clone(&agent.memory);
            agent.wait("everything is written", || memory.done() == 100).await;
            agent.assert_all_stored_once();
            agent
        },
    );
}

/// A destination that comes back finds many agents, all of them with a backlog.
#[test]
fn after_an_outage_batches_begin_small_and_double_with_each_success() {
    const MOST: usize = 640;
    for down in [UNAVAILABLE, "401 Unauthorized\r\n"] {
        on_a_clock_of_its_own(
            |settings| settings.batch.max_messages = MOST,
            |mut agent| async move {
                agent.push(5 * MOST);
                agent.wait("everything is written", || agent.memory.done() == 5 * MOST).await;
                let before: Vec<usize> = agent.loaded.lock().unwrap().drain(..).map(|(size, _)| size).collect();
                assert_eq!(before[0], MOST, "no slow start without an outage: {before:?}");

                agent.influxd.answers(down);
                agent.push(10 * MOST);
                agent.until(2 * MINUTE).await;
                agent.loaded.lock().unwrap().clear();
                let succeeded = agent.attempts().iter().filter(|attempt| attempt.worked).count();
                agent.influxd.answers(WORKS);
                let (memory, all) = (Arc::clone(&agent.memory), agent.pushed);
                agent.wait("everything is written", || memory.done() == all).await;
                let loaded = agent.loaded.lock().unwrap().clone();
                for (size, successes) in &loaded {
                    let halvings = 6_usize.saturating_sub(successes - succeeded);
                    assert!(*size <= MOST >> halvings, "{size} of {MOST} after {} successes", successes - succeeded);
                }
                let small = loaded.iter().take_while(|(size, _)| *size < MOST).count();
                assert!((2..=6).contains(&small), "full batches again after {small}: {loaded:?}");
                agent.assert_all_stored_once();
                agent
            },
        );
    }
}
