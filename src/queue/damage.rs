//! One rule at damage. At its first sign pushes are refused, everything that can be read is delivered, no message is deleted any
//! more, and what cannot be read is counted. The file remembers that, so that the next start with it does the same.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use super::{
    Shared,
    errors::{PushError, StoreError, is_damage, words},
    intervals::Part,
    writer::Job,
};

/// What is known of damage to the file.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Its first sign.
    found: OnceLock<StoreError>,
    /// Messages that cannot be read, and those of them that the channel has not counted yet.
    unreadable: AtomicU64,
    uncounted: AtomicU64,
    /// Messages that are done, and could not be marked as such.
    unmarked: AtomicU64,
}

impl Damage {
    pub(super) fn is_known(&self) -> bool {
        self.found.get().is_some()
    }

    /// How many messages turned out to be unreadable since this was asked last.
    pub(super) fn take_unreadable(&self) -> u64 {
        self.uncounted.swap(0, Ordering::Relaxed)
    }

    pub(super) fn unmarked(&self, messages: u64) {
        self.unmarked.fetch_add(messages, Ordering::Relaxed);
    }

    /// How many messages cannot be read, and how many are done and could not be marked as such.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.unreadable.load(Ordering::Relaxed), self.unmarked.load(Ordering::Relaxed))
    }
}

impl Shared {
    /// Why nothing more may be queued.
    pub(super) fn refusing(&self) -> Option<PushError> {
        let damaged = self.damaged().map(PushError::Failed);
        damaged.or_else(|| self.checkpointer.failed().map(PushError::Unsynced))
    }

    /// The first sign of damage, if there was one.
    pub(super) fn damaged(&self) -> Option<StoreError> {
        self.damage.found.get().cloned()
    }

    /// What SQLite said. When that shows damage, the rule for it holds from here on.
    pub(super) fn error(&self, doing: &str, why: &rusqlite::Error) -> StoreError {
        let error = StoreError::sqlite(doing, &self.path, why);
        if is_damage(why) {
            self.note_damage(&error, &format!("cannot {doing}: {}", words(why)));
        }
        error
    }

    /// The file shows damage, in these words.
    pub(super) fn note_damage(&self, error: &StoreError, found: &str) {
        if self.remember_damage(error.clone()) {
            self.writer.put(Job::MarkDamaged(found.to_owned()));
        }
    }

    /// The file shows damage, or did so to an earlier process. Returns whether that is new to this one.
    pub(super) fn remember_damage(&self, error: StoreError) -> bool {
        let new = self.damage.found.set(error).is_ok();
        if new {
            self.state().keep_all();
        }
        new
    }

    /// These messages cannot be read.
    pub(super) fn unreadable(&self, part: Part) {
        let messages = self.state().unreadable(part);
        self.count_unreadable(messages);
    }

    pub(super) fn count_unreadable(&self, messages: u64) {
        self.damage.unreadable.fetch_add(messages, Ordering::Relaxed);
        self.damage.uncounted.fetch_add(messages, Ordering::Relaxed);
    }
}
