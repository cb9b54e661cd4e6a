//! The thread that keeps the file safe and its log short: it syncs what was committed within a second, and moves what is in
//! the log into the file, both without a push waiting for it.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{
    Shared,
    errors::{Problem, StoreError},
    file::{Opened, reserve_log},
    sibling::sibling,
};
use crate::failpoint::fail_point;

/// What a power cut may take.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// The log is moved into the file from this part of its room on.
const LONG_LOG: u64 = 4;
/// So many pages are moved and synced in a millisecond or two.
const FEW: u64 = 64;
/// How often it is tried to come to an end with what comes meanwhile.
const PASSES: usize = 4;

/// How much nicer its thread is than the others, of 19. Between them and the clients there may be no core left for it, and it
/// took theirs, though it has time: it works a second's pushes off in an eighth of a second. Should it come too late, the writer
/// [empties the log](super::writer::Writer::keep_log_short) itself.
const GIVES_WAY: i32 = 10;

/// What the checkpointer keeps.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) connection: Connection,
    /// The queue's file itself.
    pub(super) queue: Arc<File>,
    /// Opened for appending.
    pub(super) log: File,
    pub(super) opened: Opened,
}

/// What the writer and the checkpointer tell each other.
#[derive(Debug)]
pub(super) struct Checkpointer {
    /// The log is moved into the file from this length on.
    long: u64,
    progress: Mutex<Progress>,
    changed: Condvar,
    checkpointing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Since when something is committed that is not synced.
    since: Option<Instant>,
    /// How long the log is.
    log: u64,
    closed: bool,
    /// Why the last sync failed.
    failed: Option<StoreError>,
}

impl Checkpointer {
    pub(super) fn new(log_room: u64) -> Self {
        Self { long: log_room / LONG_LOG, progress: Mutex::default(), changed: Condvar::new(), checkpointing: Mutex::default() }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a log of this length is moved into the file.
    pub(super) fn is_long(&self, log: u64) -> bool {
        log >= self.long
    }

    /// Something was committed, and the log is so long now.
    pub(super) fn committed(&self, log: u64) {
        let mut progress = self.progress();
        let first = progress.since.is_none();
        progress.since.get_or_insert_with(Instant::now);
        let long = self.is_long(log) && progress.log < self.long;
        progress.log = progress.log.max(log);
        if first || long {
            self.changed.notify_one();
        }
    }

    /// To be kept while the log is moved into the file: only one can do it.
    pub(super) fn checkpointing(&self) -> MutexGuard<'_, ()> {
        self.checkpointing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why what was committed may not outlive a power cut, or the log cannot be moved into the file.
    pub(super) fn failed(&self) -> Option<StoreError> {
        self.progress().failed.clone()
    }

    /// That failed. It is tried again in a second, whether or not something is committed until then.
    pub(super) fn failing(&self, error: StoreError) {
        let mut progress = self.progress();
        progress.failed = Some(error);
        progress.since.get_or_insert_with(Instant::now);
        progress.log = u64::MAX;
        self.changed.notify_one();
    }

    pub(super) fn close(&self) {
        self.progress().closed = true;
        self.changed.notify_all();
    }

    /// Waits until something is to be done: a second after the first commit, or when the log is long. Returns how long it is.
    fn due(&self) -> Option<u64> {
        let mut progress = self.progress();
        loop {
            if progress.closed {
                return None;
            }
            progress = match progress.since.map(|since| SYNC_EVERY.saturating_sub(since.elapsed())) {
                Some(left) if !left.is_zero() && (progress.log < self.long || progress.failed.is_some()) => {
                    self.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => {
                    progress.since = None;
                    return Some(std::mem::take(&mut progress.log));
                }
                None => self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    pub(super) fn run(&self, shared: &Shared, mut files: Files) {
        // Where that is not allowed, it goes on as the others.
        let _ = rustix::process::nice(GIVES_WAY);
        drop(reserve_log(&mut files.log, shared.log_room));
        while let Some(length) = self.due() {
            // If this thread ended, pushes would go on without being synced.
            match catch_unwind(AssertUnwindSafe(|| files.opened.still_there().and(self.keep(shared, &files, length))))
                .unwrap_or_else(|_| Err(StoreError::new(&shared.path, Problem::NeverSynced)))
            {
                Ok(()) => self.progress().failed = None,
                Err(error) => self.failing(error),
            }
        }
    }

    fn keep(&self, shared: &Shared, files: &Files, length: u64) -> Result<(), StoreError> {
        let _syncs = shared.stall.syncs();
        fail_point!("queue.sync");
        let moved = if self.is_long(length) { self.empty(shared, files) } else { Ok(false) };
        if !matches!(moved, Ok(true)) {
            files.log.sync_data().map_err(|why| StoreError::io("sync", &sibling(&shared.path, "-wal"), &why))?;
        }
        moved.map(drop)
    }

    /// Moves what is in the log into the file, and what comes meanwhile, until little is left. That is moved while the writer waits,
    /// since the log begins anew only when nothing is left in it. Returns whether all that was in it before is synced thereby,
    /// which a program that reads the file can prevent.
    fn empty(&self, shared: &Shared, files: &Files) -> Result<bool, StoreError> {
        let before = shared.log.load(Ordering::Relaxed);
        if self.checkpoint(shared, &files.connection)? < before {
            return Ok(false);
        }
        // SQLite does it too, but not before everything is moved, while no write is possible.
        files.queue.sync_data().map_err(|why| StoreError::io("sync", &shared.path, &why))?;
        for _ in 0..PASSES {
            let moved = self.checkpoint(shared, &files.connection)?;
            let little_is_left = || shared.log.load(Ordering::Relaxed).saturating_sub(moved) <= FEW;
            if !little_is_left() {
                continue;
            }
            let Some(_nobody_writes) = shared.group_commit.keep_free() else { break };
            // The writer may just have been at much.
            if little_is_left() {
                self.checkpoint(shared, &files.connection)?;
                self.progress().log = 0;
                break;
            }
        }
        Ok(true)
    }

    /// Returns how many pages from the log's beginning are in the file now.
    fn checkpoint(&self, shared: &Shared, connection: &Connection) -> Result<u64, StoreError> {
        let _one_at_a_time = self.checkpointing();
        fail_point!("queue.checkpoint");
        let moved = checkpoint(connection, "PASSIVE")
            .map_err(|why| StoreError::sqlite("move messages from the log", &shared.path, &why))?
            .unwrap_or_default();
        shared.preallocation().forget();
        Ok(moved)
    }
}

/// Moves what is in the log into the file. Returns how many of its pages are there now; `None` when another program was in the
/// way of what `mode` asks for.
pub(super) fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Option<u64>> {
    let moved = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        let (busy, pages): (bool, i64) = (row.get(0)?, row.get(2)?);
        Ok(if busy { None } else { u64::try_from(pages).ok() })
    });
    match moved {
        Err(why) if why.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(None),
        moved => moved,
    }
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::queue::{PushError, Region, Store};

    #[test]
    fn the_keeper_gives_way_to_all_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_in(folder.path());
        store.shared().unwrap();
        // A thread gives itself its name.
        let nice = |name: &str| {
            let threads = procfs::process::Process::myself().unwrap().tasks().unwrap();
            threads.filter_map(|thread| thread.ok()?.stat().ok()).find(|thread| thread.comm == name).map(|thread| thread.nice)
        };
        let others = procfs::process::Process::myself().unwrap().stat().unwrap().nice;
        let wanted = [others, others, (others + i64::from(GIVES_WAY)).min(19)].map(Some);
        let all = || ["queue-writer", "queue-reader", "queue-keeper"].map(nice);
        let began = Instant::now();
        while all() != wanted {
            assert!(began.elapsed() < Duration::from_secs(30), "{:?} and not {wanted:?}", all());
        }
    }

    #[test]
    fn a_long_log_begins_anew_though_pushes_go_on() {
        let folder = tempfile::tempdir().unwrap();
        actix_rt::System::new().block_on(async {
            let store = Store::open_in(folder.path());
            let shared = store.shared().unwrap();
            let push = async |bytes| store.push(Region::Newest, vec![Bytes::from(vec![b'm'; bytes])]).await.unwrap();
            for _ in 0..3 {
                while shared.log_bytes() < shared.checkpointer.long {
                    push(20_000).await;
                }
                // From here on slowly, so that the writer has no reason to do it.
                let length = shared.log_bytes();
                while shared.log_bytes() >= length {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    push(1).await;
                    assert!(shared.log_bytes() < shared.log_room / 2, "the checkpointer leaves the log as it is");
                }
            }
        });
    }

    #[test]
    fn nothing_is_imported_either_while_nothing_can_be_synced() {
        let folder = tempfile::tempdir().unwrap();
        let scenario = fail::FailScenario::setup();
        fail::cfg("queue.sync", "panic").unwrap();
        actix_rt::System::new().block_on(async {
            let store = Store::open_in(folder.path());
            store.push(Region::Newest, vec![Bytes::from_static(b"m")]).await.unwrap();
            while store.refusing().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let refused = store.import("portion", Region::Newest, vec![Bytes::from_static(b"n")], Vec::new()).await;
            let Err(PushError::Unsynced(why)) = refused else { panic!("{refused:?}") };
            assert_eq!(why.problem, Problem::NeverSynced);
        });
        scenario.teardown();
    }
}
