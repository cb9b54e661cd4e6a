//! The book of open leases: who must be renewed, who was dropped, and the tally that must balance.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// A lease's name, unique for all time: the agent's name, the process's own random part, and a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub String);

/// What has happened to messages since the process started, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Leased from the channel.
    pub received: u64,
    /// Completed, in full or in part, and not parked.
    pub published: u64,
    /// Completed by becoming a dead letter.
    pub parked: u64,
    /// Given back, or dropped and so to be given back, or lost to another agent after expiry.
    pub given_back: u64,
    /// Of those given back: found to have expired and been taken by another agent.
    pub lost: u64,
    /// Leased and open.
    pub in_flight: u64,
}

impl Tally {
    /// Whether every received message is accounted for.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.received == self.published + self.parked + self.given_back + self.in_flight
    }
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Completed; so many of its messages were parked.
    Completed {
        /// Messages that became dead letters.
        parked: usize,
    },
    /// Given back.
    Released,
    /// It had expired: not ours any more.
    Lost,
}

/// The open leases of one process and its [`Tally`]. Shared by a channel, its leases and whoever shows the ledger.
#[derive(Debug, Default)]
pub struct LeaseBook {
    pages: Mutex<Pages>,
    dropped: Notify,
}

#[derive(Debug, Default)]
struct Pages {
    live: HashMap<LeaseId, usize>,
    dropped: Vec<LeaseId>,
    tally: Tally,
}

/// Messages taken from a channel and not yet settled. Dropping it unsettled gives the messages back:
/// the book remembers it and wakes whoever recovers.
#[derive(Debug)]
pub struct Lease {
    id: LeaseId,
    /// The messages' bytes, oldest first.
    pub messages: Vec<Vec<u8>>,
    /// Whether these messages come from a Python agent's in-progress list, so that it may have written them already.
    pub adopted: bool,
    book: Arc<LeaseBook>,
    settled: bool,
}

impl LeaseBook {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        // Nothing in here can panic half-way, so a poisoned book is a whole one.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a lease that is about to be asked for. If the answer never comes, dropping it gives back what
    /// the channel may have leased under that name.
    #[must_use]
    pub fn enter(self: &Arc<Self>, id: LeaseId) -> Lease {
        self.pages().live.insert(id.clone(), 0);
        Lease { id, messages: Vec::new(), adopted: false, book: Arc::clone(self), settled: false }
    }

    /// The open leases, to be renewed.
    #[must_use]
    pub fn live(&self) -> Vec<LeaseId> {
        self.pages().live.keys().cloned().collect()
    }

    /// Leases that were dropped unsettled and must be given back. They stay on the list until [`LeaseBook::given_back`].
    #[must_use]
    pub fn dropped(&self) -> Vec<LeaseId> {
        self.pages().dropped.clone()
    }

    /// Strikes dropped leases that the channel has given back.
    pub fn given_back(&self, ids: &[LeaseId]) {
        self.pages().dropped.retain(|id| !ids.contains(id));
    }

    /// Gives up every open lease, whoever holds it, at the end of the process. Returns how many messages they had.
    pub fn abandon(&self) -> u64 {
        let mut pages = self.pages();
        let pages = &mut *pages;
        let open = pages.tally.in_flight;
        pages.tally.given_back += open;
        pages.tally.in_flight = 0;
        pages.dropped.extend(pages.live.drain().map(|(id, _)| id));
        open
    }

    /// Completes when a lease was dropped unsettled since the last call.
    pub async fn wait_dropped(&self) {
        self.dropped.notified().await;
    }

    /// The tally now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.pages().tally
    }
}

impl Lease {
    /// The lease's name.
    #[must_use]
    pub fn id(&self) -> &LeaseId {
        &self.id
    }

    /// The sum of its messages' sizes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.messages.iter().map(Vec::len).sum()
    }

    /// Puts the messages in that the channel answered with, and counts them as received.
    pub fn fill(&mut self, messages: Vec<Vec<u8>>, adopted: bool) {
        let count = messages.len();
        self.messages = messages;
        self.adopted = adopted;
        let mut pages = self.book.pages();
        pages.live.insert(self.id.clone(), count);
        pages.tally.received += count as u64;
        pages.tally.in_flight += count as u64;
    }

    /// Says how the lease ended, after the channel did it.
    pub fn settle(mut self, how: Settlement) {
        self.settled = true;
        let mut pages = self.book.pages();
        let Some(count) = pages.live.remove(&self.id) else { return };
        let count = count as u64;
        let tally = &mut pages.tally;
        tally.in_flight -= count;
        match how {
            Settlement::Completed { parked } => {
                let parked = (parked as u64).min(count);
                tally.parked += parked;
                tally.published += count - parked;
            }
            Settlement::Released => tally.given_back += count,
            Settlement::Lost => {
                tally.given_back += count;
                tally.lost += count;
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        {
            let mut pages = self.book.pages();
            let Some(count) = pages.live.remove(&self.id) else { return };
            let count = count as u64;
            pages.tally.in_flight -= count;
            pages.tally.given_back += count;
            let id = self.id.clone();
            pages.dropped.push(id);
        }
        self.book.dropped.notify_one();
    }
}
