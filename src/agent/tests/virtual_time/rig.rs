//! An agent on a clock that jumps to the next timer: the whole tree and the real InfluxDB publisher on one thread. The clock
//! stands still while a request is under way, so that its real socket has the time it takes.

use std::future::Future;

use slog::{Drain, KV, Level, Never, OwnedKVList, Record};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    super::{super::live, *},
    influxd::Influxd,
};
use crate::{publisher::LinePublisher, supervision::Children};

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
pub(super) struct Attempt {
    pub(super) at: Instant,
    pub(super) worker: usize,
    pub(super) worked: bool,
    /// By how much its requests were divided.
    pub(super) divisor: usize,
}

/// The real publisher, watched.
pub(super) struct Watched {
    inner: LinePublisher,
    worker: usize,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    /// The size of each batch, and how many successes there were by then.
    loaded: Arc<Mutex<Vec<(usize, usize)>>>,
    shrunk: Arc<Mutex<Vec<Instant>>>,
    divisor: usize,
}

impl Watched {
    fn note(&self, outcome: Outcome) -> Outcome {
        let worked = matches!(outcome, Outcome::Written { .. } | Outcome::Progressed);
        let attempt = Attempt { at: Instant::now(), worker: self.worker, worked, divisor: self.divisor };
        self.attempts.lock().unwrap().push(attempt);
        outcome
    }
}

#[async_trait(?Send)]
impl Publisher for Watched {
    fn destination(&self) -> String {
        self.inner.destination()
    }

    fn load(&mut self, set: Arc<MessageSet>) {
        let successes = self.attempts.lock().unwrap().iter().filter(|attempt| attempt.worked).count();
        self.loaded.lock().unwrap().push((set.len(), successes));
        self.inner.load(set);
    }

    fn divide(&mut self, divisor: usize) {
        self.divisor = divisor;
        self.inner.divide(divisor);
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

    fn shrink(&mut self) {
        self.shrunk.lock().unwrap().push(Instant::now());
        self.inner.shrink();
    }
}

/// The lines of the log.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<Said>>>);

struct Said {
    at: Instant,
    level: Level,
    values: String,
}

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
        self.0.lock().unwrap().push(Said { at: Instant::now(), level: record.level(), values: said.0 });
        Ok(())
    }
}

/// An agent under way, on a clock of its own.
pub(super) struct Virtual {
    pub(super) memory: Arc<Memory>,
    pub(super) influxd: Influxd,
    pub(super) attempts: Arc<Mutex<Vec<Attempt>>>,
    pub(super) loaded: Arc<Mutex<Vec<(usize, usize)>>>,
    /// When publishers gave their memory back.
    pub(super) shrunk: Arc<Mutex<Vec<Instant>>>,
    pub(super) log: Log,
    pub(super) begun: Instant,
    pub(super) pushed: usize,
}

impl Virtual {
    pub(super) fn push(&mut self, count: usize) {
        for number in self.pushed..self.pushed + count {
            self.memory.push(&format!("m{number}"));
        }
        self.pushed += count;
    }

    pub(super) async fn until(&self, after: Duration) {
        sleep_until(self.begun + after).await;
    }

    /// Lets time pass until it is so.
    pub(super) async fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        for _ in 0..100_000 {
            if condition() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("waited in vain until {what}; {:?}", self.memory.registry.tally());
    }

    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().unwrap().clone()
    }

    /// The pauses between the failed attempts of each worker, until the destination is away, and then between those that ask whether
    /// it is back.
    pub(super) fn pauses(&self, after: Instant) -> Vec<Vec<Duration>> {
        let mut attempts = self.attempts();
        attempts.retain(|attempt| !attempt.worked && attempt.at >= after);
        attempts.iter_mut().for_each(|attempt| attempt.worker = attempt.worker.min(ASKS));
        let away = attempts.iter().find(|attempt| attempt.worker == ASKS).map(|attempt| attempt.at);
        attempts.retain(|attempt| attempt.worker == ASKS || away.is_none_or(|away| attempt.at < away));
        let workers: std::collections::BTreeSet<usize> = attempts.iter().map(|attempt| attempt.worker).collect();
        let of = |worker| attempts.iter().filter(move |attempt| attempt.worker == worker).map(|attempt| attempt.at);
        workers.into_iter().map(|worker| of(worker).zip(of(worker).skip(1)).map(|(one, next)| next - one).collect()).collect()
    }

    /// What was said of the publisher: when it was said, as what, and with which values.
    pub(super) fn said(&self) -> Vec<(Duration, Level, String)> {
        let log = self.log.0.lock().unwrap();
        let lines = log.iter().filter(|said| said.values.contains("condition=publisher"));
        lines.map(|said| (said.at - self.begun, said.level, said.values.clone())).collect()
    }

    /// Waits until all that was pushed is stored, once.
    pub(super) async fn wait_until_all_is_stored(&self) {
        self.wait("everything is written", || self.memory.done() == self.pushed).await;
        self.assert_all_stored_once();
    }

    pub(super) fn assert_all_stored_once(&self) {
        let stored = self.influxd.stored();
        let names: std::collections::BTreeSet<&str> = stored.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!((names.len(), stored.len()), (self.pushed, self.pushed), "none lost, none doubled");
        let tally = self.memory.registry.tally();
        assert_eq!((tally.published, tally.parked), (self.pushed as u64, 0), "{tally:?}");
        let all_worked = self.attempts().iter().all(|attempt| attempt.worked);
        assert!(tally.given_back == 0 || !all_worked, "only what fails goes back: {tally:?}");
    }
}

const WORKERS: usize = 2;

/// The first publisher that only asks: one was made to be named, and one for each worker.
const ASKS: usize = 1 + WORKERS;

/// Runs an agent with two workers and batches of ten on a paused clock while `test` lets time pass. Always with the same
/// random numbers.
pub(super) fn on_a_clock_of_its_own<T: Future<Output = Virtual>>(
    change: impl FnOnce(&mut Settings),
    test: impl FnOnce(Virtual) -> T,
) {
    fastrand::seed(7);
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
    });
    system.block_on(async {
        let influxd = Influxd::start();
        let variables = [
            ("HOME", "/"),
            ("KADABRA_STATUS__LISTEN", ""),
            ("KADABRA_PUBLISHER__TYPE", "influxdb"),
            ("KADABRA_PUBLISHER__INFLUXDB__URL", influxd.url()),
        ];
        let mut settings = config::load_or(Path::new("/nonexistent"), None, variables).unwrap().settings;
        settings.batch.max_messages = 10;
        settings.publisher.workers = WORKERS;
        change(&mut settings);
        let config::PublisherKind::Influxdb(to) = settings.publisher.kind.clone() else { panic!("{settings:?}") };

        let (memory, attempts, log) = (Arc::new(Memory::default()), Arc::new(Mutex::new(Vec::new())), Log::default());
        let (loaded, shrunk) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (noted, sizes, made) = (Arc::clone(&attempts), Arc::clone(&loaded), AtomicUsize::new(0));
        let given_back = Arc::clone(&shrunk);
        let (stop, stopped) = mpsc::unbounded_channel();
        let logger = slog::Logger::root(log.clone(), slog::o!());
        let parts = Parts {
            statsd: None,
            pipelines: vec![Pipeline {
                channel: Arc::clone(&memory) as Arc<dyn Channel>,
                publishers: Publishers::new(move || {
                    let worker = made.fetch_add(1, Ordering::SeqCst);
                    Box::new(Watched {
                        inner: LinePublisher::influxdb(&to),
                        worker,
                        attempts: Arc::clone(&noted),
                        loaded: Arc::clone(&sizes),
                        shrunk: Arc::clone(&given_back),
                        divisor: 1,
                    })
                }),
            }],
            notifier: Notifier::new(None, None, &logger),
            log: logger,
            output: None,
            configuration: String::new(),
            reloading: None,
            orders: stopped,
        };
        let agent = actix_rt::spawn(async move { live(&settings, parts, Children::on_one_thread).await });

        let begun = Instant::now();
        let agent_side = test(Virtual { memory, influxd, attempts, loaded, shrunk, log, begun, pushed: 0 }).await;
        stop.send(Order::Stop { by: "SIGTERM" }).unwrap();
        assert_eq!(agent.await.unwrap(), Exit::Clean);
        let tally = agent_side.memory.registry.tally();
        assert!(tally.balances() && tally.in_flight == 0, "{tally:?}");
    });
}
