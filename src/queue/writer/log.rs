//! Keeps the log short, and the file no larger than it must be.

use std::{
    mem,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::Writer;
use crate::queue::{
    checkpointer::checkpoint,
    errors::StoreError,
    file::{PAGE, PATIENCE},
    snapshot,
    space::Pages,
};

/// A file is made smaller when it has so many pages of which nearly none is in use.
const LARGE: u64 = (64 << 20) / PAGE;
const NEARLY_NONE: u64 = (16 << 20) / PAGE;

impl Writer {
    /// A program that reads the file meanwhile keeps the log from being emptied, which does no harm.
    pub(super) fn rest(&self) -> rusqlite::Result<()> {
        self.checkpoint("TRUNCATE").map(drop)
    }

    /// Moves the whole log into the file, and waits a little for a program that reads what is in it.
    /// Returns whether the log is empty now.
    fn checkpoint(&self, mode: &str) -> rusqlite::Result<bool> {
        snapshot::end(&self.connection)?;
        let _one_at_a_time = self.shared.checkpointer.checkpointing();
        self.connection.busy_timeout(Duration::from_millis(250))?;
        let moved = checkpoint(&self.connection, mode);
        self.connection.busy_timeout(PATIENCE)?;
        self.shared.preallocation().forget();
        let empty = moved?.is_some();
        if empty {
            self.shared.log.store(0, Ordering::Relaxed);
        }
        Ok(empty)
    }

    /// Whether the log is so long that it is emptied before messages come in, however long that takes.
    fn log_is_long(&self) -> bool {
        self.shared.log_bytes() > self.shared.log_room / 4 * 3
    }

    /// Whether a push waits for nothing: neither for the disk nor for a reader of the log.
    pub(in super::super) fn is_quick(&self) -> bool {
        !self.log_is_long() && self.shared.refusing().is_none()
    }

    /// Empties a long log before more comes in, so that what is free of its room stays so for settling. That waits for the
    /// disk, and a little for a program that reads what is in the log: while a program besides the agent does, it grows.
    pub(super) fn keep_log_short(&mut self) -> Result<(), StoreError> {
        if !self.log_is_long() || self.no_checkpoint_before > Instant::now() {
            return Ok(());
        }
        self.empty_log().map_err(|why| {
            let error = self.error("move messages from the log", &why);
            self.shared.checkpointer.failing(error.clone());
            error
        })
    }

    fn empty_log(&mut self) -> rusqlite::Result<()> {
        if !self.checkpoint("RESTART")? {
            self.no_checkpoint_before = Instant::now() + Duration::from_secs(10);
        }
        Ok(())
    }

    /// Gives space back to the disk once nearly nothing is in a large file. In between it is used again.
    pub(in super::super) fn shrink(&mut self) {
        // What a damaged file still has is not to be taken for all that it had.
        if !mem::take(&mut self.freed) || self.shared.damage.is_known() {
            return;
        }
        if let Ok(pages) = Pages::of(&self.connection)
            && pages.all >= LARGE
            && pages.used <= NEARLY_NONE
        {
            // Without room for it, it stays as it is.
            drop(snapshot::end(&self.connection).and_then(|_| self.connection.execute_batch("VACUUM")));
            self.shared.preallocation().forget();
            self.shared.checkpointer.committed(u64::MAX);
        }
    }
}
