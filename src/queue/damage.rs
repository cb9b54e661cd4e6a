//! What is known of damage to the file, and what follows from it.
//!
//! A chunk that cannot be read is set aside: its bytes, as far as they can be read, become a dead letter, and it is marked as
//! done. It is not deleted: the pages that it names as its own may be another's, which would lose them. So nothing
//! touches it again, what is behind it is published, and pushes go on. That is so where its row is in place and only its bytes
//! are not. Everything else that fails shows damage that nobody can fence off, such as of a page with many rows: then pushes
//! are refused, and no chunk is deleted until the agent starts anew, since deleting from a damaged page ruins its other rows and
//! those of the pages beside it. So before chunks are deleted it is looked whether there is such damage, see [`super::vicinity`].

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use super::{
    Shared,
    errors::{PushError, StoreError, is_damage, words},
    spans::Part,
    writer::Job,
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// What failed first that could not be stepped over.
    broken: OnceLock<StoreError>,
    /// Messages that were set aside since their chunk is damaged, and those of them that are not counted yet.
    set_aside: AtomicU64,
    uncounted: AtomicU64,
    /// Messages that are done, and could not be written down as such.
    unwritten: AtomicU64,
}

impl Damage {
    /// Whether there is any.
    pub(super) fn is_known(&self) -> bool {
        self.broken.get().is_some() || self.set_aside.load(Ordering::Relaxed) > 0
    }

    /// How many messages were set aside since this was asked last.
    pub(super) fn take_set_aside(&self) -> u64 {
        self.uncounted.swap(0, Ordering::Relaxed)
    }

    pub(super) fn unwritten(&self, messages: u64) {
        self.unwritten.fetch_add(messages, Ordering::Relaxed);
    }

    /// Messages that were set aside, and those that are done and could not be written down as such.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.set_aside.load(Ordering::Relaxed), self.unwritten.load(Ordering::Relaxed))
    }
}

impl Shared {
    /// Why nothing more may be queued.
    pub(super) fn refusing(&self) -> Option<PushError> {
        let broken = self.broken().map(PushError::Failed);
        broken.or_else(|| self.keeper.failed().map(PushError::Unsynced))
    }

    /// Why pushes are refused since the file is damaged.
    pub(super) fn broken(&self) -> Option<StoreError> {
        self.damage.broken.get().cloned()
    }

    /// What SQLite said, as a sentence. When that shows damage, pushes are refused from here on.
    pub(super) fn error(&self, doing: &str, why: &rusqlite::Error) -> StoreError {
        if !is_damage(why) {
            return StoreError::sqlite(doing, &self.path, why);
        }
        self.breaks(doing, &words(why))
    }

    /// The file shows damage that cannot be fenced off: pushes are refused from here on.
    pub(super) fn breaks(&self, doing: &str, words: &str) -> StoreError {
        let error = StoreError::damage(doing, &self.path, words);
        if self.damage.broken.set(error.clone()).is_ok() {
            self.shelf().keep_all();
        }
        error
    }

    /// Parts of chunks are not as they were written: they are set aside, and what is behind them goes on.
    pub(super) fn set_aside(&self, parts: Vec<Part>) {
        if parts.is_empty() {
            return;
        }
        let mut shelf = self.shelf();
        let messages = shelf.set_aside(&parts);
        parts.iter().for_each(|part| shelf.keep(part.chunk));
        drop(shelf);
        self.damage.set_aside.fetch_add(messages, Ordering::Relaxed);
        self.damage.uncounted.fetch_add(messages, Ordering::Relaxed);
        self.writer.put(Job::SetAside(parts));
    }
}
