//! The open file and the threads that work on it.

use std::{
    fs::File,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::OpenFlags;
use tokio::sync::Notify;

use super::{
    checkpointer::{Checkpointer, Files},
    consumers,
    damage::Damage,
    early_answers::EarlyAnswers,
    errors::StoreError,
    file::{self, Opened},
    found::Found,
    group_commit::GroupCommit,
    letters::Letters,
    preallocation::Preallocation,
    reader::{Question, Reader},
    settings::Settings,
    sibling::sibling,
    space::SpaceAccounting,
    stall::Stall,
    state::QueueState,
    work_queue::WorkQueue,
    writer::{Job, Writer},
};

/// What the threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: PathBuf,
    /// The file's own name for those who move messages into it.
    pub(super) identity: String,
    pub(super) agent: String,
    pub(super) lease: Duration,
    pub(super) max_bytes: u64,
    pub(super) drops_oldest: bool,
    /// How many messages were dropped to make room that nobody has been told of yet.
    pub(super) dropped_oldest: AtomicU64,
    pub(super) max_dead_letters: u64,
    pub(super) max_dead_bytes: u64,
    /// Whether consumers have names.
    pub(super) several: bool,
    /// Whether the backlog of any consumer is bounded.
    pub(super) bounded: bool,
    pub(super) state: Mutex<QueueState>,
    /// Wakes takers that wait for messages.
    pub(super) arrived: Notify,
    /// Pages in the log.
    pub(super) log: Arc<AtomicU64>,
    /// How many bytes the log may have.
    pub(super) log_room: u64,
    pub(super) checkpointer: Checkpointer,
    pub(super) preallocation: Mutex<Preallocation>,
    pub(super) damage: Damage,
    pub(super) writer: WorkQueue<Job>,
    pub(super) group_commit: GroupCommit,
    pub(super) early_answers: EarlyAnswers,
    pub(super) stall: Arc<Stall>,
    pub(super) reader: WorkQueue<Question>,
}

impl Shared {
    fn new(
        settings: &Settings,
        agent: &str,
        path: PathBuf,
        file: Arc<File>,
        found: &Found,
        log: Arc<AtomicU64>,
        stall: &Arc<Stall>,
    ) -> Self {
        Self {
            path,
            identity: found.identity.clone(),
            agent: agent.to_owned(),
            lease: settings.lease,
            max_bytes: settings.max_bytes,
            drops_oldest: settings.drops_oldest,
            dropped_oldest: AtomicU64::new(0),
            max_dead_letters: settings.max_dead_letters,
            max_dead_bytes: settings.max_bytes / 4,
            several: !found.consumers.is_empty(),
            bounded: found
                .consumers
                .iter()
                .any(|consumer| consumer.configured.as_ref().is_some_and(|of| of.max_backlog.is_some())),
            state: Mutex::new(QueueState::new(found)),
            arrived: Notify::new(),
            log,
            log_room: file::log_room(),
            checkpointer: Checkpointer::new(file::log_room()),
            preallocation: Mutex::new(Preallocation::new(file)),
            damage: Damage::default(),
            writer: WorkQueue::new(),
            group_commit: GroupCommit::default(),
            early_answers: EarlyAnswers::default(),
            stall: Arc::clone(stall),
            reader: WorkQueue::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, QueueState> {
        // Nothing in there can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn preallocation(&self) -> MutexGuard<'_, Preallocation> {
        self.preallocation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.log.load(Ordering::Relaxed).saturating_mul(file::PAGE)
    }
}

/// The threads. They end with this, once they have done what they were asked.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    // The last to go.
    _owned: file::Owned,
}

impl Running {
    /// Opens the file and starts the threads.
    pub(super) fn start(settings: &Settings, agent: &str, stall: &Arc<Stall>) -> Result<Self, StoreError> {
        let owned = file::Owned::take(&settings.path)?;
        let path = owned.path.clone();
        let (mut connection, mut found) = file::open(&owned, settings.durability)?;
        consumers::open(&mut connection, &path, &mut found, &settings.consumers)?;
        let joined = |flags| file::join(&path, flags).map_err(|why| StoreError::sqlite("open the queue", &path, &why));
        let reading = joined(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let keeping = joined(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let log_path = sibling(&path, "-wal");
        let log_file = File::options().read(true).append(true).create(true).mode(0o600).open(&log_path);
        let log_file = log_file.map_err(|why| StoreError::io("open", &log_path, &why))?;
        let opened = Opened::new([(path.as_path(), &*owned.file), (log_path.as_path(), &log_file)]);
        let opened = opened.map_err(|why| StoreError::io("look at", &path, &why))?;
        let log = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&log);
        let count = move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            counted.store(u64::from(pages.unsigned_abs()), Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(count)).map_err(|why| StoreError::sqlite("open the queue", &path, &why))?;
        let queue = Arc::clone(&owned.file);
        let shared = Arc::new(Shared::new(settings, agent, path, Arc::clone(&queue), &found, log, stall));
        if let Some(words) = &found.damage {
            shared.remember_damage(StoreError::damaged(&shared.path, words));
        }
        let mut running = Running { shared: Arc::clone(&shared), threads: Vec::new(), _owned: owned };
        let write = Writer {
            shared: Arc::clone(&shared),
            connection,
            letters: Letters::default(),
            space: SpaceAccounting::default(),
            no_checkpoint_before: Instant::now(),
            freed: true,
        };
        let read = Reader::new(Arc::clone(&shared), reading, found.consumers.len().max(1));
        let files = Files { connection: keeping, queue, log: log_file, opened };
        let mut spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
            running.threads.push(thread.map_err(|why| StoreError::io("start a thread for", &shared.path, &why))?);
            Ok(())
        };
        let (writing, kept, watched) = (Arc::clone(&shared), Arc::clone(&shared), Arc::clone(&shared));
        spawn("queue-writer", Box::new(move || writing.group_commit.run(&writing, write)))?;
        spawn("queue-reader", Box::new(move || read.run()))?;
        spawn("queue-keeper", Box::new(move || kept.checkpointer.run(&kept, files)))?;
        if shared.stall.is_watched() {
            spawn("queue-watch", Box::new(move || watched.stall.run(&watched)))?;
        }
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.reader.close();
        self.shared.checkpointer.close();
        self.shared.stall.close();
        // The writer is the first of them: who closes the file last empties the log, which two at once would leave.
        let others = self.threads.split_off(self.threads.len().min(1));
        others.into_iter().for_each(|thread| drop(thread.join()));
        self.shared.writer.close();
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}
