//! What is remembered for those who look at the status: the last hour, and what came through. There is none of it where the status is
//! served nowhere.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use jiff::Timestamp;
use slog::{Logger, info, o};

use crate::status::{
    history_file::HistoryFile,
    past::Past,
    seen::Seen,
    snapshot::{History, MarkKind},
};

/// After how many measurements the last hour is written down: each minute, and after the first.
const WRITTEN_AFTER: u64 = 6;

/// How long writing it may take at the end.
const WITHIN: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Remembered {
    past: Mutex<Past>,
    seen: Arc<Seen>,
    /// Where the last hour outlives the process, if anywhere.
    file: Option<HistoryFile>,
    started: Timestamp,
    measured: AtomicU64,
    /// Whether a thread writes the file.
    writing: AtomicBool,
    failed: AtomicBool,
    log: Logger,
}

impl Remembered {
    pub(super) fn new(file: Option<HistoryFile>, started: Timestamp, log: &Logger) -> Self {
        Self {
            past: Mutex::new(Past::new(History::default(), started)),
            seen: Arc::default(),
            file,
            started,
            measured: AtomicU64::new(0),
            writing: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            log: log.new(o!()),
        }
    }

    pub(super) fn past(&self) -> MutexGuard<'_, Past> {
        // Every change is whole before anything that could panic.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seen(&self) -> &Arc<Seen> {
        &self.seen
    }

    /// Goes on with what an earlier process has written down.
    pub(super) fn recall(&self) {
        let Some(file) = &self.file else { return };
        match file.read() {
            Ok(history) => *self.past() = Past::new(history, self.started),
            Err(why) => info!(self.log, "the history of the last hour cannot be read, and starts anew";
                "file" => %file.path().display(), "why" => why),
        }
    }

    /// Something happened.
    pub(super) fn mark(&self, kind: MarkKind, what: &str) {
        self.past().mark(Timestamp::now(), kind, what);
    }

    /// Writes the last hour down if it is time, on a thread where nothing else waits for the disk.
    pub(super) fn measured(self: &Arc<Self>) {
        let is_due = self.measured.fetch_add(1, Relaxed).is_multiple_of(WRITTEN_AFTER);
        if self.file.is_some() && is_due && !self.writing.swap(true, Relaxed) {
            let remembered = Arc::clone(self);
            drop(actix_rt::task::spawn_blocking(move || {
                remembered.write();
                remembered.writing.store(false, Relaxed);
            }));
        }
    }

    /// Writes the last hour down, at the end. A disk that stalls does not hold it up.
    pub(super) async fn keep(self: &Arc<Self>) {
        if self.file.is_some() {
            let remembered = Arc::clone(self);
            drop(tokio::time::timeout(WITHIN, actix_rt::task::spawn_blocking(move || remembered.write())).await);
        }
    }

    fn write(&self) {
        let Some(file) = &self.file else { return };
        let history = self.past().history();
        if let Err(error) = file.write(&history)
            && !self.failed.swap(true, Relaxed)
        {
            info!(self.log, "the history of the last hour cannot be written, and will not be there after a restart";
                "file" => %file.path().display(), "why" => %error);
        }
    }
}
