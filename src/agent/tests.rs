//! The whole supervision tree over a channel in memory and a destination that does what the test says.

mod several;
mod start_stop;
mod virtual_time;

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};

use super::{Exit, Order, Parts, Pipeline, run};
use crate::{
    channel::{
        Channel, ChannelError, Completed, DeadLetter, Demand, Depth, Intake, Lease, LeaseId, LeaseRegistry, Recovered, Settlement,
    },
    config::{self, Settings},
    observe::systemd::Notifier,
    publisher::{Outcome, Publisher, Publishers},
    supervision::Error,
    wire::{MessageSet, Payloads},
};

const SOON: Duration = Duration::from_secs(20);

/// A channel in memory, with the contract of the real ones.
#[derive(Default)]
struct Memory {
    registry: Arc<LeaseRegistry>,
    number: AtomicU64,
    pushed: Notify,
    intake: Option<Arc<dyn Intake>>,
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    queue: VecDeque<Vec<u8>>,
    leased: HashMap<LeaseId, Vec<Vec<u8>>>,
    /// When each lease was taken or renewed last.
    renewed: HashMap<LeaseId, tokio::time::Instant>,
    done: Vec<Vec<u8>>,
    /// Each with its reason.
    dead: Vec<(Vec<u8>, String)>,
    completes_nothing: bool,
}

impl Memory {
    fn push(&self, name: &str) {
        let message = format!(
            r#"{{"dimensions": [], "counters": [{{"name": "{name}", "metadata": {{}}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1.0}}], "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}}"#
        );
        self.push_raw(message.into_bytes());
    }

    fn push_raw(&self, message: Vec<u8>) {
        self.lists.lock().unwrap().queue.push_back(message);
        self.pushed.notify_one();
    }

    fn done(&self) -> usize {
        self.lists.lock().unwrap().done.len()
    }

    fn waiting(&self) -> usize {
        self.lists.lock().unwrap().queue.len()
    }

    fn leased(&self) -> usize {
        self.lists.lock().unwrap().leased.len()
    }

    fn put_back(&self, id: &LeaseId) -> usize {
        let mut lists = self.lists.lock().unwrap();
        let messages = lists.leased.remove(id).unwrap_or_default();
        lists.renewed.remove(id);
        for message in messages.iter().rev() {
            lists.queue.push_front(message.clone());
        }
        drop(lists);
        self.pushed.notify_one();
        messages.len()
    }
}

#[async_trait]
impl Channel for Memory {
    fn registry(&self) -> &Arc<LeaseRegistry> {
        &self.registry
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn look_at_dead_letters(&self) -> String {
        "in memory".to_owned()
    }

    fn intake(&self) -> Option<Arc<dyn Intake>> {
        self.intake.clone()
    }

    async fn open(&self) -> Result<String, ChannelError> {
        Ok("memory".to_owned())
    }

    async fn push(&self, messages: Vec<bytes::Bytes>) -> Result<(), ChannelError> {
        messages.into_iter().for_each(|message| self.push_raw(message.to_vec()));
        Ok(())
    }

    async fn receive(&self, demand: Demand, wait: Duration) -> Result<Option<Lease>, ChannelError> {
        let end = tokio::time::Instant::now() + wait;
        if let Some(begins) = demand.not_before {
            tokio::time::sleep_until(begins).await;
        }
        loop {
            {
                let mut lists = self.lists.lock().unwrap();
                let count = demand.messages.min(lists.queue.len());
                if count > 0 {
                    let messages: Vec<_> = lists.queue.drain(..count).collect();
                    let id = LeaseId(self.number.fetch_add(1, Ordering::SeqCst).to_string());
                    lists.leased.insert(id.clone(), messages.clone());
                    lists.renewed.insert(id.clone(), tokio::time::Instant::now());
                    let mut lease = self.registry.enter(id);
                    lease.fill(Payloads::of(messages), false);
                    return Ok(Some(lease));
                }
            }
            if tokio::time::timeout_at(end, self.pushed.notified()).await.is_err() {
                return Ok(None);
            }
        }
    }

    async fn complete(&self, leases: &mut Vec<Lease>, parked: &[DeadLetter]) -> Result<Completed, ChannelError> {
        if self.lists.lock().unwrap().completes_nothing {
            return Err(ChannelError::Unreachable { what: "cannot complete".to_owned(), why: "this is a test".to_owned() });
        }
        let mut completed = Completed::default();
        for lease in leases.drain(..) {
            let mut lists = self.lists.lock().unwrap();
            let messages = lists.leased.remove(lease.id()).expect("a lease is settled once");
            let renewed = lists.renewed.remove(lease.id()).expect("it was leased");
            assert!(renewed.elapsed() < self.lease(), "it had expired before it was completed");
            completed.messages += messages.len();
            let letters = parked.iter().filter(|letter| letter.lease == *lease.id());
            let letters: Vec<_> = letters.map(|letter| (messages[letter.message].clone(), letter.reason.clone())).collect();
            lists.done.extend(messages);
            lease.settle(Settlement::Completed { parked: letters.len() });
            lists.dead.extend(letters);
        }
        Ok(completed)
    }

    async fn release(&self, leases: &mut Vec<Lease>) -> Result<(), ChannelError> {
        for lease in leases.drain(..) {
            self.put_back(lease.id());
            lease.settle(Settlement::Released);
        }
        Ok(())
    }

    async fn renew(&self) -> Result<bool, ChannelError> {
        let mut lists = self.lists.lock().unwrap();
        let live = self.registry.live();
        let is_asked = !live.is_empty();
        for id in live {
            let before = lists.renewed.insert(id, tokio::time::Instant::now()).expect("it was leased");
            assert!(before.elapsed() < self.lease(), "it had expired before it was renewed");
        }
        Ok(is_asked)
    }

    async fn recover(&self) -> Result<Recovered, ChannelError> {
        Ok(Recovered { dropped: self.give_back().await?, ..Recovered::default() })
    }

    async fn give_back(&self) -> Result<usize, ChannelError> {
        let dropped = self.registry.dropped();
        let messages = dropped.iter().map(|id| self.put_back(id)).sum();
        for id in &dropped {
            self.registry.ended(id, Settlement::Released);
        }
        Ok(messages)
    }

    async fn depth(&self) -> Result<Depth, ChannelError> {
        Ok(Depth::default())
    }
}

/// What a write does.
#[derive(Clone, Copy)]
enum Act {
    Write,
    Retry,
    Hold,
    Panic,
    /// Never ends, but lets the thread go on.
    Stall,
    /// Blocks the thread.
    Block(Duration),
}

type Script = Arc<dyn Fn(usize) -> Act + Send + Sync>;

/// A destination that follows a script; the argument is the number of the attempt, from 0, over all workers.
struct Scripted {
    script: Script,
    attempts: Arc<AtomicUsize>,
    batches: Arc<Mutex<Vec<usize>>>,
    loaded: usize,
}

#[async_trait(?Send)]
impl Publisher for Scripted {
    fn destination(&self) -> String {
        "a script".to_owned()
    }

    fn load(&mut self, set: Arc<MessageSet>) {
        self.loaded = set.len();
    }

    async fn write(&mut self) -> Outcome {
        match (self.script)(self.attempts.fetch_add(1, Ordering::SeqCst)) {
            Act::Write => {
                self.batches.lock().unwrap().push(self.loaded);
                Outcome::Written { refused: Vec::new() }
            }
            Act::Retry => Outcome::Retry { after: None, why: "not now".to_owned() },
            Act::Hold => Outcome::Hold {
                code: crate::codes::Code::NoDatabase,
                what: "it is missing".to_owned(),
                mend: "create it".to_owned(),
            },
            Act::Panic => panic!("a panic that the test asked for"),
            Act::Stall => std::future::pending().await,
            Act::Block(time) => {
                thread::sleep(time);
                Outcome::Retry { after: None, why: "the thread was blocked".to_owned() }
            }
        }
    }

    async fn probe(&mut self) -> Outcome {
        match (self.script)(self.attempts.fetch_add(1, Ordering::SeqCst)) {
            Act::Write => Outcome::Written { refused: Vec::new() },
            _ => Outcome::Hold {
                code: crate::codes::Code::NoDatabase,
                what: "it is missing".to_owned(),
                mend: "create it".to_owned(),
            },
        }
    }
}

struct Running {
    memory: Arc<Memory>,
    batches: Arc<Mutex<Vec<usize>>>,
    stop: mpsc::UnboundedSender<Order>,
    end: Option<JoinHandle<Exit>>,
}

/// An environment in which no port is taken for the status.
const QUIET: [(&str, &str); 2] = [("HOME", "/"), ("KADABRA_STATUS__LISTEN", "")];

fn start(change: impl FnOnce(&mut Settings), script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Running {
    let mut settings = config::load_or(Path::new("/nonexistent"), None, QUIET).unwrap().settings;
    settings.publisher.workers = 1;
    settings.publisher.backoff_min = Duration::from_millis(2);
    settings.publisher.backoff_max = Duration::from_millis(20);
    settings.supervisor.backoff_min = Duration::from_millis(2);
    settings.supervisor.backoff_max = Duration::from_millis(20);
    change(&mut settings);
    let memory = Arc::new(Memory::default());
    let batches = Arc::new(Mutex::new(Vec::new()));
    let attempts = Arc::new(AtomicUsize::new(0));
    let script: Script = Arc::new(script);
    let (stop, stopped) = mpsc::unbounded_channel();
    let parts_memory = Arc::clone(&memory);
    let made = Arc::clone(&batches);
    let end = thread::spawn(move || {
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let parts = Parts {
            statsd: None,
            pipelines: vec![Pipeline {
                channel: parts_memory,
                publishers: Publishers::new(move || {
                    Box::new(Scripted {
                        script: Arc::clone(&script),
                        attempts: Arc::clone(&attempts),
                        batches: Arc::clone(&made),
                        loaded: 0,
                    })
                }),
            }],
            notifier: Notifier::new(None, None, &log),
            log,
            output: None,
            configuration: String::new(),
            reloading: None,
            orders: stopped,
        };
        run(&settings, parts)
    });
    Running { memory, batches, stop, end: Some(end) }
}

impl Running {
    fn wait(&self, what: &str, mut condition: impl FnMut(&Memory) -> bool) {
        let end = Instant::now() + SOON;
        while !condition(&self.memory) {
            assert!(Instant::now() < end, "waited in vain until {what}; {:?}", self.memory.registry.tally());
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn end(&mut self) -> Exit {
        let exit = self.end.take().unwrap().join().unwrap();
        let tally = self.memory.registry.tally();
        assert!(tally.balances(), "{tally:?}");
        assert_eq!(tally.in_flight, 0, "{tally:?}");
        assert_eq!(self.memory.leased(), 0, "every lease was settled or given back");
        exit
    }

    fn stop(&mut self) -> Exit {
        self.stop.send(Order::Stop { by: "SIGTERM" }).unwrap();
        self.end()
    }
}

#[test]
fn what_is_pushed_is_published_at_once_and_the_end_is_clean() {
    let mut agent = start(|_| {}, |_| Act::Write);
    for number in 0..100 {
        agent.memory.push(&format!("m{number}"));
    }
    agent.wait("all are done", |memory| memory.done() == 100);
    assert_eq!(agent.stop(), Exit::Clean);
    assert_eq!(agent.batches.lock().unwrap().iter().sum::<usize>(), 100);
}

#[test]
fn a_part_batch_is_flushed_at_the_end() {
    let mut agent = start(|settings| settings.batch.interval = Duration::from_secs(3600), |_| Act::Write);
    for _ in 0..10 {
        agent.memory.push("m");
    }
    agent.wait("they are leased", |memory| memory.registry.tally().in_flight == 10);
    assert_eq!(agent.stop(), Exit::Clean);
    assert_eq!((agent.memory.done(), agent.memory.waiting()), (10, 0));
    assert_eq!(*agent.batches.lock().unwrap(), [10], "as one batch");
}

#[test]
fn a_full_batch_does_not_wait_for_its_interval() {
    let change = |settings: &mut Settings| {
        settings.batch.interval = Duration::from_secs(3600);
        settings.batch.max_messages = 4;
    };
    let mut agent = start(change, |_| Act::Write);
    for _ in 0..9 {
        agent.memory.push("m");
    }
    agent.wait("two batches are done and the rest is leased", |memory| memory.done() == 8 && memory.leased() == 1);
    assert_eq!(agent.stop(), Exit::Clean);
    assert_eq!(*agent.batches.lock().unwrap(), [4, 4, 1]);
}

#[test]
fn a_publisher_that_panics_is_restarted_and_loses_nothing() {
    let mut agent = start(|_| {}, |attempt| if attempt % 3 == 0 && attempt < 9 { Act::Panic } else { Act::Write });
    for _ in 0..20 {
        agent.memory.push("m");
    }
    agent.wait("all are done", |memory| memory.done() == 20);
    assert_eq!(agent.stop(), Exit::Clean);
}

#[test]
fn failing_too_often_ends_the_process_and_gives_everything_back() {
    let mut agent = start(|settings| settings.supervisor.max_restarts = 3, |_| Act::Panic);
    agent.memory.push("m");
    let exit = agent.end();
    assert!(
        matches!(&exit, Exit::GivenUp(Error::OutOfBudget { child, cause }) if child == "publisher 1" && cause.contains("asked for")),
        "{exit}"
    );
    assert_eq!(exit.code(), 70);
    assert_eq!((agent.memory.waiting(), agent.memory.done()), (1, 0));
}

#[test]
fn a_hold_goes_on_by_itself_when_it_is_mended() {
    let mut agent = start(|_| {}, |attempt| if attempt < 5 { Act::Hold } else { Act::Write });
    agent.memory.push("m");
    agent.wait("it is done", |memory| memory.done() == 1);
    assert_eq!(agent.stop(), Exit::Clean);
}

#[test]
fn stopping_while_the_destination_is_away_gives_everything_back_without_waiting_for_it() {
    for act in [Act::Retry, Act::Hold] {
        let long = Duration::from_secs(3600);
        let change = move |settings: &mut Settings| {
            settings.publisher.backoff_min = long;
            settings.publisher.backoff_max = long;
            settings.agent.shutdown_timeout = long;
        };
        let mut agent = start(change, move |_| act);
        for _ in 0..5 {
            agent.memory.push("m");
        }
        agent.wait("some are in flight", |memory| memory.registry.tally().in_flight > 0);
        assert_eq!(agent.stop(), Exit::Clean);
        assert_eq!(agent.memory.waiting(), 5);
    }
}

#[test]
fn a_stop_that_takes_too_long_names_the_stragglers_and_gives_their_messages_back() {
    let mut agent = start(|settings| settings.agent.shutdown_timeout = Duration::from_millis(200), |_| Act::Stall);
    agent.memory.push("m");
    agent.wait("it is in flight", |memory| memory.registry.tally().in_flight == 1);
    let exit = agent.stop();
    assert!(
        matches!(&exit, Exit::GivenUp(Error::Deadline { stragglers }) if stragglers.contains(&"publisher 1".to_owned())),
        "{exit}"
    );
    assert_eq!(exit.code(), 75);
    assert_eq!(agent.memory.waiting(), 1);
}

#[test]
fn a_future_that_never_ends_is_noticed_and_its_child_restarted() {
    let change = |settings: &mut Settings| settings.supervisor.hang_timeout = Duration::from_millis(300);
    let mut agent = start(change, |attempt| if attempt == 0 { Act::Stall } else { Act::Write });
    agent.memory.push("m");
    agent.wait("it is done", |memory| memory.done() == 1);
    assert_eq!(agent.stop(), Exit::Clean);
}

#[test]
fn a_blocked_thread_ends_the_process() {
    let change = |settings: &mut Settings| settings.supervisor.hang_timeout = Duration::from_millis(300);
    let mut agent = start(change, |_| Act::Block(Duration::from_secs(15)));
    agent.memory.push("m");
    let exit = agent.end();
    assert_eq!(exit, Exit::GivenUp(Error::ThreadHung { child: "publisher 1".to_owned() }));
    assert_eq!(exit.code(), 71);
    assert_eq!(agent.memory.waiting(), 1);
}

#[test]
fn what_cannot_be_decoded_is_set_aside_and_delays_nobody() {
    let mut agent = start(|_| {}, |_| Act::Write);
    for _ in 0..5 {
        agent.memory.push("m");
        agent.memory.push_raw(b"{not json".to_vec());
    }
    agent.wait("all are settled", |memory| memory.done() == 10);
    assert_eq!(agent.stop(), Exit::Clean);
    let tally = agent.memory.registry.tally();
    assert_eq!((tally.published, tally.parked), (5, 5));
    let dead = &agent.memory.lists.lock().unwrap().dead;
    assert!(dead.iter().all(|(payload, reason)| payload == b"{not json" && !reason.is_empty()), "{dead:?}");
}
