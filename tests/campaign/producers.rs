//! Who queues messages, and what became of each push.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use fastrand::Rng;

use super::messages::{PYTHON, message};
use crate::support::python;

/// How long a client waits for Redis.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long the Python client may take; it waits for as long as it is not answered.
const PYTHON_TIMEOUT: Duration = Duration::from_secs(30);

/// How many numbers each producer has for itself.
const NUMBERS: u64 = 20_000_000;

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// Redis said that it has it.
    Accepted,
    /// Nobody knows: sent, and not answered.
    Maybe,
}

/// Every message that was sent and not refused, by its number.
pub(crate) type Sent = BTreeMap<u64, Push>;

/// Threads that push until they are told to stop.
pub(crate) struct Producers {
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Sent>>,
    threads: Vec<JoinHandle<()>>,
}

/// Where somebody pushes, and from which number on.
struct Producer {
    rng: Rng,
    redis: u16,
    list: &'static str,
    numbers: Range<u64>,
    pause: Range<u64>,
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Sent>>,
}

impl Producers {
    /// Two clients of Redis itself, one on the way that has faults, a Python agent that leaves messages in progress,
    /// and the real Python client.
    pub(crate) fn start(seed: u64, redis: u16, way_to_redis: u16, log: PathBuf) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut rng = Rng::with_seed(!seed);
        let mut numbers = (0..).step_by(NUMBERS as usize).map(|first| first..first + NUMBERS);
        let mut producer = |redis, list, pause| Producer {
            rng: rng.fork(),
            redis,
            list,
            numbers: numbers.next().unwrap(),
            pause,
            stop: Arc::clone(&stop),
            sent: Arc::clone(&sent),
        };
        let native = [
            producer(redis, "kadabra_queue", 20..300),
            producer(redis, "kadabra_queue", 20..300),
            producer(way_to_redis, "kadabra_queue", 20..300),
            producer(redis, "kadabra_inprogress", 3000..8000),
        ];
        let python = producer(redis, "kadabra_queue", 1000..4000);
        let mut threads: Vec<_> = native.into_iter().map(|producer| thread::spawn(|| producer.push())).collect();
        threads.push(thread::spawn(move || producer_in_python(python, &log)));
        Self { stop, sent, threads }
    }

    /// Ends all of them and gives what they sent.
    pub(crate) fn stop(self) -> Sent {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("a producer");
        }
        std::mem::take(&mut self.sent.lock().unwrap())
    }
}

impl Producer {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn note(&self, numbers: Range<u64>, how: Push) {
        self.sent.lock().unwrap().extend(numbers.map(|number| (number, how)));
    }

    fn pause(&mut self) {
        let end = Instant::now() + Duration::from_millis(self.rng.u64(self.pause.clone()));
        while !self.stopped() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn next(&mut self, most: u64) -> Range<u64> {
        let first = self.numbers.start;
        self.numbers.start += self.rng.u64(1..=most);
        first..self.numbers.start
    }

    fn push(mut self) {
        let mut connection = None;
        while !self.stopped() {
            if connection.is_none() {
                connection = connect(self.redis);
            }
            if let Some(open) = &mut connection {
                let numbers = self.next(60);
                let messages: Vec<_> = numbers.clone().map(message).collect();
                let pushed: redis::RedisResult<u64> = redis::cmd("LPUSH").arg(self.list).arg(messages).query(open);
                match pushed {
                    Ok(_) => self.note(numbers, Push::Accepted),
                    // It has a code when Redis has said no, to all of them.
                    Err(error) if error.code().is_some_and(|code| !code.is_empty()) && !error.is_io_error() => {}
                    Err(_) => {
                        self.note(numbers, Push::Maybe);
                        connection = None;
                    }
                }
            }
            self.pause();
        }
    }
}

fn producer_in_python(mut producer: Producer, log: &std::path::Path) {
    producer.numbers = PYTHON..PYTHON + NUMBERS;
    while !producer.stopped() {
        let numbers = producer.next(200);
        let [port, first, count] =
            [producer.redis.into(), numbers.start, numbers.end - numbers.start].map(|n: u64| n.to_string());
        // By itself it sends again what was not answered, and a message that is queued twice is done twice.
        let arguments = ["--once", "--port", &port, "--first", &first, "--count", &count];
        let mut client = python::start("producer.py", &arguments, log);
        let deadline = Instant::now() + PYTHON_TIMEOUT;
        let status = loop {
            match client.ended() {
                None if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                status => break status,
            }
        };
        // One that fails has sent some of them, and does not say which.
        let all = status.is_some_and(|status| status.success());
        producer.note(numbers, if all { Push::Accepted } else { Push::Maybe });
        producer.pause();
    }
}

fn connect(port: u16) -> Option<redis::Connection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/0")).unwrap();
    let connection = client.get_connection_with_timeout(TIMEOUT).ok()?;
    connection.set_read_timeout(Some(TIMEOUT)).ok()?;
    connection.set_write_timeout(Some(TIMEOUT)).ok()?;
    Some(connection)
}
