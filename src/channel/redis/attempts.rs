//! Settlements that were sent and not answered: a connection can be cut between doing and answering.
//!
//! When the retry finds the lease gone and no mark of loss, it was the first attempt that settled it. What is given back
//! after a completion without an answer leaves such a mark, too.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::channel::{LeaseId, Settlement};

/// The first settlement tried for each lease, until it is known how the lease ended.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<LeaseId, Settlement>>);

impl Attempts {
    fn tried(&self) -> MutexGuard<'_, HashMap<LeaseId, Settlement>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an attempt that is about to be sent. Returns the one that was sent before.
    pub(super) fn note(&self, id: &LeaseId, how: Settlement) -> Option<Settlement> {
        let mut tried = self.tried();
        let before = tried.get(id).copied();
        tried.entry(id.clone()).or_insert(how);
        before
    }

    /// The settlement of this lease that was tried first, which may have succeeded.
    pub(super) fn tried_first(&self, id: &LeaseId) -> Option<Settlement> {
        self.tried().get(id).copied()
    }

    /// Forgets a lease whose end is known.
    pub(super) fn forget(&self, id: &LeaseId) {
        self.tried().remove(id);
    }
}
