//! One rule at damage. At its first sign pushes are refused, everything that can be read is delivered, no message is deleted any
//! more, and what cannot be read is counted. The file remembers that, so that the next start with it does the same.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
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
    /// By consumer.
    unreadable: Mutex<BTreeMap<usize, Unreadable>>,
    /// Messages that are done, and could not be marked as such.
    unmarked: AtomicU64,
}

/// Messages that cannot be read, and those of them that the channel has not counted yet.
#[derive(Clone, Copy, Debug, Default)]
struct Unreadable {
    all: u64,
    uncounted: u64,
}

impl Damage {
    pub(super) fn is_known(&self) -> bool {
        self.found.get().is_some()
    }

    fn unreadable(&self) -> MutexGuard<'_, BTreeMap<usize, Unreadable>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many messages turned out to be unreadable for a consumer since this was asked last.
    pub(super) fn take_unreadable(&self, consumer: usize) -> u64 {
        if !self.is_known() {
            return 0;
        }
        self.unreadable().get_mut(&consumer).map(|of| std::mem::take(&mut of.uncounted)).unwrap_or_default()
    }

    pub(super) fn unmarked(&self, messages: u64) {
        self.unmarked.fetch_add(messages, Ordering::Relaxed);
    }

    /// As [`Damage::counts`], of the consumer that cannot read the most.
    pub(super) fn most_counts(&self) -> (u64, u64) {
        let unreadable = self.unreadable().values().map(|of| of.all).max().unwrap_or_default();
        (unreadable, self.unmarked.load(Ordering::Relaxed))
    }

    /// How many messages a consumer cannot read, and how many are done and could not be marked as such.
    pub(super) fn counts(&self, consumer: usize) -> (u64, u64) {
        let unreadable = self.unreadable().get(&consumer).map(|of| of.all).unwrap_or_default();
        (unreadable, self.unmarked.load(Ordering::Relaxed))
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

    /// A consumer cannot read these messages.
    pub(super) fn unreadable(&self, consumer: usize, part: Part) {
        let messages = self.state().of_mut(consumer).unreadable(part);
        self.count_unreadable(consumer, messages);
    }

    pub(super) fn count_unreadable(&self, consumer: usize, messages: u64) {
        let mut unreadable = self.damage.unreadable();
        let of = unreadable.entry(consumer).or_default();
        of.all += messages;
        of.uncounted += messages;
    }
}
