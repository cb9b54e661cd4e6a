//! The door with all that must not be lost with the actor that serves it: sockets, the interval so far, and messages that are not queued
//! yet.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use slog::{Logger, info};
use tokio::{task::JoinSet, time::Instant};

use super::{
    Counts, Reason,
    aggregate::{Aggregate, Bounds},
    counts::Counter,
    messages,
    parser::{self, Line},
    socket::DatagramSocket,
};
use crate::{
    config::{self, SignedGauges},
    failpoint::fail_point,
    listener::{BindError, PassedSockets},
};

/// How many datagrams are read before others have their turn.
const BURST: usize = 64;

/// How many messages, and about how many bytes, are queued at once.
const BATCH: (usize, usize) = (500, 1 << 20);

/// How long what the kernel still has may take to be read at the end.
const LAST_READ: Duration = Duration::from_secs(1);

/// Takes datagrams, and makes messages of them.
#[derive(Debug)]
pub struct Door {
    settings: config::Statsd,
    max_message_bytes: usize,
    passed: PassedSockets,
    log: Logger,
    counter: Counter,
    sockets: Mutex<Vec<Arc<DatagramSocket>>>,
    aggregate: Mutex<Aggregate>,
    waiting: Mutex<Waiting>,
}

/// Messages that are not queued yet, the oldest first.
#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Door {
    /// The door that the configuration asks for, closed; `None` where it asks for none. `passed` may have its sockets.
    #[must_use]
    pub fn new(settings: &config::Settings, passed: &PassedSockets, log: &Logger) -> Option<Self> {
        let (statsd, max_message_bytes) = (&settings.statsd, settings.channel.max_message_bytes());
        statsd.is_on().then(|| Self {
            settings: statsd.clone(),
            max_message_bytes,
            passed: passed.clone(),
            log: log.clone(),
            counter: Counter::new(log),
            sockets: Mutex::default(),
            aggregate: Mutex::new(Aggregate::new(Bounds {
                series: statsd.max_series,
                bytes: statsd.max_bytes,
                tags: statsd.max_tags,
                message: max_message_bytes,
                signs_add: statsd.signed_gauges == SignedGauges::Add,
            })),
            waiting: Mutex::default(),
        })
    }

    /// How long is aggregated.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.settings.interval
    }

    /// What came since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counter.now()
    }

    /// Opens, unless it is open. What comes waits in the kernel until [`Door::serve`] reads it.
    ///
    /// # Errors
    /// When an address cannot be had.
    pub(crate) fn open(&self) -> Result<(), BindError> {
        let mut sockets = lock(&self.sockets);
        if !sockets.is_empty() {
            return Ok(());
        }
        let config::Statsd { listen, unix_socket, unix_socket_mode, receive_buffer, .. } = &self.settings;
        let udp = listen.iter().map(|address| DatagramSocket::udp(*address, *receive_buffer, &self.passed));
        let unix = unix_socket.iter().map(|path| DatagramSocket::unix(path, *unix_socket_mode, *receive_buffer, &self.passed));
        let opened = udp.chain(unix).map(|socket| socket.map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        for socket in &opened {
            info!(self.log, "statsd: taking datagrams"; "at" => &socket.at);
            if let Some(given) = socket.small_buffer {
                info!(self.log, "statsd: the kernel keeps fewer bytes of what is not read yet than listener.statsd.receive_buffer says";
                    "at" => &socket.at, "bytes" => given, "mend" => "raise net.core.rmem_max with sysctl, if datagrams are dropped");
            }
        }
        *sockets = opened;
        Ok(())
    }

    /// Reads and aggregates what comes, until this is dropped or a socket fails.
    pub(crate) async fn serve(self: &Arc<Self>) -> io::Error {
        // What was begun ends with this future.
        let mut readers = JoinSet::new();
        for socket in lock(&self.sockets).clone() {
            let door = Arc::clone(self);
            readers.spawn_local(async move { door.read(&socket).await });
        }
        match readers.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(panicked)) if panicked.is_panic() => std::panic::resume_unwind(panicked.into_panic()),
            _ => io::Error::other("it ended"),
        }
    }

    async fn read(&self, socket: &DatagramSocket) -> io::Result<()> {
        let readiness = socket.readiness()?;
        let mut buffer = vec![0; self.settings.max_datagram_bytes];
        loop {
            readiness.readable().await?;
            fail_point!("statsd.read");
            let read = readiness.try_read(|| match self.take(socket, &mut buffer, BURST)? {
                BURST => Ok(()),
                _ => Err(ErrorKind::WouldBlock.into()),
            });
            match read {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => tokio::task::yield_now().await,
            }
        }
    }

    /// Reads so many datagrams at most. Returns how many there were.
    fn take(&self, socket: &DatagramSocket, buffer: &mut [u8], most: usize) -> io::Result<usize> {
        let mut aggregate = lock(&self.aggregate);
        for read in 0..most {
            let Some(received) = socket.receive(buffer)? else { return Ok(read) };
            if received.dropped > 0 {
                self.counter.dropped_by_kernel(received.dropped);
            }
            self.counter.datagram();
            let datagram = buffer.get(..received.length).unwrap_or_default();
            if received.cut_off {
                self.counter.refused(Reason::Datagram, datagram);
            } else {
                add(&mut aggregate, datagram, &self.counter);
            }
        }
        Ok(most)
    }

    /// Ends the interval, and makes messages of it. Unless `at_last`, it goes on where too many messages wait already.
    pub(crate) fn end_interval(&self, at_last: bool) {
        let mut waiting = lock(&self.waiting);
        let mut aggregate = lock(&self.aggregate);
        self.counter.say();
        if aggregate.is_empty() || (!at_last && waiting.bytes > self.settings.max_waiting_bytes) {
            return;
        }
        let made = messages::made_of(&aggregate, SystemTime::now(), self.max_message_bytes);
        aggregate.begin_anew();
        self.counter.forgotten(aggregate.take_forgotten());
        made.unmade.iter().for_each(|name| self.counter.refused(Reason::Message, name.as_bytes()));
        waiting.bytes += made.messages.iter().map(Bytes::len).sum::<usize>();
        waiting.messages.extend(made.messages);
    }

    /// The oldest messages that are not queued yet, as many as are queued at once.
    pub(crate) fn waiting(&self) -> Vec<Bytes> {
        let mut bytes = 0;
        let few_enough = |message: &&Bytes| {
            bytes += message.len();
            bytes <= BATCH.1 || bytes == message.len()
        };
        lock(&self.waiting).messages.iter().take(BATCH.0).take_while(few_enough).cloned().collect()
    }

    /// So many of the oldest messages are queued.
    pub(crate) fn queued(&self, messages: usize) {
        let mut waiting = lock(&self.waiting);
        let gone: usize = waiting.messages.drain(..messages).map(|message| message.len()).sum();
        waiting.bytes -= gone;
        self.counter.queued(messages);
    }

    /// How many messages are not queued yet.
    pub(crate) fn waiting_messages(&self) -> usize {
        self.waiting.try_lock().map_or(0, |waiting| waiting.messages.len())
    }

    /// Reads what the kernel still has, and ends the last interval. Returns `false` when another thread has it all in hand, and hangs.
    pub(crate) fn close(&self) -> bool {
        if self.aggregate.try_lock().is_err() || self.waiting.try_lock().is_err() {
            return false;
        }
        let mut buffer = vec![0; self.settings.max_datagram_bytes];
        let end = Instant::now() + LAST_READ;
        for socket in lock(&self.sockets).drain(..) {
            while self.take(&socket, &mut buffer, BURST).is_ok_and(|read| read == BURST) && Instant::now() < end {}
        }
        self.end_interval(true);
        true
    }
}

/// Adds each metric of a datagram.
pub(super) fn add(aggregate: &mut Aggregate, datagram: &[u8], counter: &Counter) {
    for (bytes, line) in parser::lines(datagram) {
        let outcome = match line {
            Line::Metric(metric) => aggregate.add(&metric),
            Line::Ignored => {
                counter.ignored();
                continue;
            }
            Line::Refused(reason) => Err(reason),
        };
        match outcome {
            Ok(()) => counter.aggregated(),
            Err(reason) => counter.refused(reason, bytes),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic between the two halves of a change may miscount what it was about, and nothing else.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
