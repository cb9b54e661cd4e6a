//! A listener over a queue in memory, for the tests that push to it with real clients: no settings of an agent, no file.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use async_trait::async_trait;
use bytes::Bytes;
use slog::{Drain as _, Logger, o};
use tokio::sync::{Notify, oneshot};

use super::{
    Refusals, Server,
    backend::{Backend, BackendError, End, PushError, QueueStatus},
    cause::Cause,
    error::BindError,
};

pub use super::Settings;

/// In which way the queue of a test server fails, or that it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FaultMode {
    /// It takes what comes.
    #[default]
    None,
    /// It has no room.
    Full,
    /// It fails, with this sentence.
    Failing(String),
    /// It does not answer until it feels otherwise.
    Stuck,
    /// It takes what comes and forgets it, as a fast consumer makes it seem.
    Emptied,
}

/// A listener on a thread of its own, which ends with it.
#[derive(Debug)]
pub struct TestServer {
    addresses: Vec<SocketAddr>,
    queue: Arc<Queue>,
    log: Lines,
    closing: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl TestServer {
    /// Starts one.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(settings: Settings) -> Result<Self, BindError> {
        let queue = Arc::new(Queue::default());
        let log = Lines::default();
        let drain = Mutex::new(slog_json::Json::default(log.clone())).fuse();
        let log_drain = Logger::root(drain, o!());
        let refusals = Arc::new(Refusals::new(&settings, &log_drain));
        let server = Server::bind(settings, Arc::clone(&queue) as Arc<dyn Backend>, refusals, log_drain)?;
        let addresses = server.addresses();
        let (closing, closed) = oneshot::channel();
        let thread = thread::spawn(move || {
            // As the agent's actors live.
            actix_rt::System::new().block_on(server.serve(async {
                // Closes as well when the sender is gone.
                let _ = closed.await;
            }))
        });
        Ok(Self { addresses, queue, log, closing: Some(closing), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Changes how the queue behaves from now on.
    pub fn set(&self, mode: FaultMode) {
        lock(&self.queue.inside).mode = mode;
        self.queue.changed.notify_waiters();
    }

    /// What waits, the newest first.
    #[must_use]
    pub fn messages(&self) -> Vec<Bytes> {
        self.queue.waiting()
    }

    /// How many messages came with each push to the queue.
    #[must_use]
    pub fn groups(&self) -> Vec<usize> {
        self.queue.groups()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&lock(&self.log.0)).into_owned()
    }

    /// Begins to close.
    pub fn close(&mut self) {
        if let Some(closing) = self.closing.take() {
            let _ = closing.send(());
        }
    }

    /// Closes, and waits until it is closed. True when the server ended well.
    pub fn end(&mut self) -> bool {
        self.close();
        self.thread.take().is_none_or(|thread| thread.join().is_ok_and(|ended| ended.is_ok()))
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// A queue in memory.
#[derive(Debug, Default)]
pub(super) struct Queue {
    inside: Mutex<Inside>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    messages: VecDeque<Bytes>,
    groups: Vec<usize>,
    mode: FaultMode,
}

impl Queue {
    /// What waits, the newest first.
    pub(super) fn waiting(&self) -> Vec<Bytes> {
        lock(&self.inside).messages.iter().cloned().collect()
    }

    /// How many messages came with each push.
    pub(super) fn groups(&self) -> Vec<usize> {
        lock(&self.inside).groups.clone()
    }

    /// The mode, once it is not stuck.
    async fn mode(&self) -> FaultMode {
        loop {
            let changed = self.changed.notified();
            match lock(&self.inside).mode.clone() {
                FaultMode::Stuck => {}
                mode => return mode,
            }
            changed.await;
        }
    }

    async fn works(&self) -> Result<(), BackendError> {
        match self.mode().await {
            FaultMode::Failing(why) => Err(BackendError(why)),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Backend for Queue {
    async fn push(&self, end: End, messages: Vec<Bytes>) -> Result<u64, PushError> {
        let mode = self.mode().await;
        let mut inside = lock(&self.inside);
        match mode {
            FaultMode::Full => return Err(PushError::Full),
            FaultMode::Failing(why) => return Err(PushError::Failed { cause: Cause::Unwritable, why }),
            FaultMode::Emptied => return Ok(messages.len() as u64),
            FaultMode::None | FaultMode::Stuck => {}
        }
        inside.groups.push(messages.len());
        for message in messages {
            let message = Bytes::copy_from_slice(&message);
            match end {
                End::Newest => inside.messages.push_front(message),
                End::Oldest => inside.messages.push_back(message),
            }
        }
        Ok(inside.messages.len() as u64)
    }

    async fn length(&self) -> Result<u64, BackendError> {
        self.works().await?;
        Ok(lock(&self.inside).messages.len() as u64)
    }

    async fn range(&self, start: i64, stop: i64) -> Result<Vec<Bytes>, BackendError> {
        self.works().await?;
        let start = usize::try_from(start).unwrap_or(0);
        let count = usize::try_from(stop).map_or(0, |stop| (stop + 1).saturating_sub(start));
        Ok(lock(&self.inside).messages.iter().skip(start).take(count).cloned().collect())
    }

    async fn status(&self) -> Result<QueueStatus, BackendError> {
        self.works().await?;
        let inside = lock(&self.inside);
        let used = inside.messages.iter().map(|message| message.len() as u64).sum();
        Ok(QueueStatus { waiting: inside.messages.len() as u64, used, max_bytes: 1 << 30, ..QueueStatus::default() })
    }

    async fn clear(&self) -> Result<bool, BackendError> {
        self.works().await?;
        let mut inside = lock(&self.inside);
        let existed = !inside.messages.is_empty();
        inside.messages.clear();
        Ok(existed)
    }

    async fn letter_after(&self, _: i64) -> Result<Option<Vec<Vec<u8>>>, BackendError> {
        self.works().await.map(|()| None)
    }

    async fn take_out_letter(&self, _: i64, _: String, _: bool) -> Result<bool, BackendError> {
        Ok(false)
    }
}

#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
