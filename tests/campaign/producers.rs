//! Who queues messages, and what became of each push.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use fastrand::Rng;

use super::{
    messages::{PYTHON, message},
    queue::{Home, Queue},
    raw::Raw,
    whereabouts::Whereabouts,
};
use crate::support::python;

/// How long a client waits for Redis.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long a replica may take to have what was pushed.
const REPLICATED: Duration = Duration::from_millis(400);

/// How long the Python client may take; it waits for as long as it is not answered.
const PYTHON_TIMEOUT: Duration = Duration::from_secs(30);

/// How many numbers each producer has for itself.
const NUMBERS: u64 = 20_000_000;

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// It was answered.
    Accepted,
    /// It was answered by a primary that a failover may undo: no replica was known to have it.
    Unreplicated,
    /// Nobody knows: sent, and not answered.
    Maybe,
}

/// Every message that was sent and not refused, by its number.
pub(crate) type Sent = BTreeMap<u64, Push>;

/// Held for reading during each push where what finds no room is dropped, so that nobody pushes while it is held for writing.
pub(crate) type Gate = Arc<RwLock<()>>;

/// Threads that push until they are told to stop.
pub(crate) struct Producers {
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Sent>>,
    threads: Vec<JoinHandle<()>>,
}

/// How somebody pushes.
enum Form {
    /// With a client library: this command to this list.
    Library { url: String, command: &'static str, list: &'static str },
    /// Pushes to whichever of several servers has the queue, and asks whether its replica has what was pushed.
    Group { whereabouts: Whereabouts, list: &'static str },
    /// Several commands at once, perhaps as a transaction.
    Raw { address: SocketAddr, transaction: bool, faithful: bool },
    /// The real client.
    Python(SocketAddr),
}

/// How somebody pushes, and from which number on.
struct Producer {
    rng: Rng,
    form: Form,
    numbers: Range<u64>,
    pause: Range<u64>,
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Sent>>,
    /// None where nobody can tell which agent has its pushes, since they may be on their way for long: none of them is sure then.
    gate: Option<Gate>,
}

impl Producers {
    /// Clients of the queue itself and on the way that has faults, and the real Python client.
    pub(crate) fn start(seed: u64, queue: &Queue, way: u16, log: PathBuf, gate: &Gate) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut rng = Rng::with_seed(!seed);
        let mut numbers = (0..).step_by(NUMBERS as usize).map(|first| first..first + NUMBERS);
        let is_on_its_way = |form: &Form| match form {
            Form::Library { url, .. } => url.contains(&format!(":{way}/")),
            Form::Raw { faithful, .. } => !faithful,
            Form::Group { .. } | Form::Python(_) => false,
        };
        let mut producer = |(form, pause)| {
            let gate = Some(gate).filter(|_| !queue.drops() || !is_on_its_way(&form)).cloned();
            Producer {
                rng: rng.fork(),
                numbers: if matches!(form, Form::Python(_)) { PYTHON..PYTHON + NUMBERS } else { numbers.next().unwrap() },
                form,
                pause,
                stop: Arc::clone(&stop),
                sent: Arc::clone(&sent),
                gate,
            }
        };
        let forms = forms(queue, (Ipv4Addr::LOCALHOST, way).into());
        let producers: Vec<_> = forms.into_iter().map(&mut producer).collect();
        let threads = producers.into_iter().map(|producer| {
            let log = log.clone();
            thread::spawn(move || producer.work(&log))
        });
        let threads = threads.collect();
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

/// Who pushes, and how many milliseconds each pauses after a push.
fn forms(queue: &Queue, way: SocketAddr) -> Vec<(Form, Range<u64>)> {
    let there = queue.address();
    let (first, last) = queue.first_and_last();
    let tcp = |address: SocketAddr, command, list| Form::Library { url: format!("redis://{address}/0"), command, list };
    match &queue.home {
        Home::Redis(_) => vec![
            (tcp(there, "LPUSH", first), 20..300),
            (tcp(there, "LPUSH", last), 20..300),
            (tcp(way, "LPUSH", first), 20..300),
            // A Python agent that leaves messages in progress.
            (tcp(there, "LPUSH", "kadabra_inprogress"), 3000..8000),
            (Form::Python(there), 1000..4000),
        ],
        Home::Group(group) => {
            let push_to = |list| Form::Group { whereabouts: group.whereabouts(), list };
            vec![
                (push_to(first), 20..300),
                (push_to(last), 20..300),
                (push_to(first), 20..300),
                // A Python agent that leaves messages in progress.
                (push_to(group.inprogress()), 3000..8000),
            ]
        }
        Home::Embedded { socket, .. } => {
            let unix =
                Form::Library { url: format!("redis+unix://{}", socket.display()), command: "RPUSH", list: "kadabra_queue" };
            let raw = |transaction, address| Form::Raw { address, transaction, faithful: address == there };
            let mut forms = vec![
                (tcp(there, "LPUSH", "kadabra_queue"), 20..300),
                (tcp(way, "LPUSH", "kadabra_queue"), 20..300),
                (unix, 20..300),
                (raw(false, there), 1..100),
                (raw(true, there), 20..300),
                (raw(false, way), 20..300),
                (raw(true, way), 20..300),
            ];
            // It waits for longer than a kill does until nobody pushes.
            if !queue.drops() {
                forms.push((Form::Python(there), 1000..4000));
            }
            forms
        }
    }
}

impl Producer {
    fn work(self, log: &Path) {
        match self.form {
            Form::Library { ref url, command, list } => {
                let url = url.clone();
                self.push(&url, command, list);
            }
            Form::Group { ref whereabouts, list } => {
                let whereabouts = whereabouts.clone();
                self.push_to_group(&whereabouts, list);
            }
            Form::Raw { address, transaction, faithful } => self.push_raw(address, transaction, faithful),
            Form::Python(address) => producer_in_python(self, address, log),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn note(&self, numbers: Range<u64>, how: Push) {
        let how = if self.gate.is_some() { how } else { Push::Maybe };
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

    fn push(mut self, url: &str, command: &str, list: &str) {
        let mut connection = None;
        while !self.stopped() {
            if connection.is_none() {
                connection = connect(url);
            }
            if let Some(open) = &mut connection {
                let numbers = self.next(60);
                let messages: Vec<_> = numbers.clone().map(message).collect();
                let gate = self.gate.clone();
                let _open = gate.as_ref().map(|gate| gate.read().unwrap());
                let pushed: redis::RedisResult<u64> = redis::cmd(command).arg(list).arg(messages).query(open);
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

impl Producer {
    fn push_to_group(mut self, whereabouts: &Whereabouts, list: &str) {
        let mut connection = None;
        while !self.stopped() {
            if connection.is_none() {
                connection = whereabouts.connect(list);
            }
            if let Some(open) = &mut connection {
                let numbers = self.next(60);
                let messages: Vec<_> = numbers.clone().map(message).collect();
                let pushed: redis::RedisResult<u64> = redis::cmd("LPUSH").arg(list).arg(messages).query(open);
                if pushed.is_ok() {
                    let mut wait = redis::cmd("WAIT");
                    let replicas: redis::RedisResult<u64> = wait.arg(1).arg(REPLICATED.as_millis() as u64).query(open);
                    self.note(numbers, if replicas == Ok(1) { Push::Accepted } else { Push::Unreplicated });
                    if replicas != Ok(1) {
                        // It may be the primary no more.
                        connection = None;
                    }
                } else {
                    // It is elsewhere, or has said no to all of them, or nobody knows.
                    if pushed.is_err_and(|error| error.is_io_error() || error.code().is_none_or(str::is_empty)) {
                        self.note(numbers, Push::Maybe);
                    }
                    connection = None;
                }
            }
            self.pause();
        }
    }

    fn push_raw(mut self, address: SocketAddr, transaction: bool, faithful: bool) {
        let mut connection = None;
        while !self.stopped() {
            if connection.is_none() {
                connection = Raw::connect(address, faithful, TIMEOUT);
            }
            if let Some(open) = &mut connection {
                let gate = self.gate.clone();
                let _open = gate.as_ref().map(|gate| gate.read().unwrap());
                let groups: Vec<_> = (0..self.rng.usize(1..8)).map(|_| self.next(20)).collect();
                let (fates, good) = if transaction { open.transaction(&groups) } else { open.pipeline(&groups) };
                for (numbers, fate) in groups.into_iter().zip(fates) {
                    // Those that were refused must be nowhere, as if nobody had sent them.
                    if let Some(how) = fate {
                        self.note(numbers, how);
                    }
                }
                if !good {
                    connection = None;
                }
            }
            self.pause();
        }
    }
}

fn producer_in_python(mut producer: Producer, address: SocketAddr, log: &Path) {
    while !producer.stopped() {
        let numbers = producer.next(200);
        let [port, first, count] =
            [address.port().into(), numbers.start, numbers.end - numbers.start].map(|n: u64| n.to_string());
        // By itself it sends again what was not answered, and a message that is queued twice is done twice.
        let host = address.ip().to_string();
        let arguments = ["--once", "--host", &host, "--port", &port, "--first", &first, "--count", &count];
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

fn connect(url: &str) -> Option<redis::Connection> {
    let client = redis::Client::open(url).unwrap();
    let connection = client.get_connection_with_timeout(TIMEOUT).ok()?;
    connection.set_read_timeout(Some(TIMEOUT)).ok()?;
    connection.set_write_timeout(Some(TIMEOUT)).ok()?;
    Some(connection)
}
