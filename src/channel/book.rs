//! The book of open leases: who must be renewed, who was dropped, and the tally that must balance.

use std::{
    collections::HashMap,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// A lease's name, unique for all time: the agent's name, the process's own random part, and a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub String);

/// What has happened to messages since the process started, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Leased from the channel, each time anew, or set aside by it as too large to be leased.
    pub leased: u64,
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
    /// Dead letters, of whichever agent, that this process dropped to make room for newer ones. They were parked
    /// before, so they are no part of the balance; a drop whose answer was lost is not in it.
    pub letters_dropped: u64,
    /// Where messages are pushed to this process, what has become of all that it has accepted.
    pub accepted: Option<Accepted>,
}

/// What a queue that is part of this process has accepted since it was opened, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Accepted {
    /// Those whose push was answered, and those that were found: an earlier process had accepted them.
    pub all: u64,
    /// Of those: found.
    pub found: u64,
    /// Neither published nor parked nor dropped: what is in hand, too.
    pub waiting: u64,
    /// Deleted by somebody, as by `DEL`, before they were published.
    pub dropped: u64,
}

impl Tally {
    /// Whether every message is accounted for: what was accepted, where this process accepts messages, and what was leased
    /// otherwise, since others lease from there, too.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.due() == self.accounted_for()
    }

    /// How many messages there are to be accounted for.
    #[must_use]
    pub fn due(&self) -> u64 {
        self.accepted.map_or(self.leased, |accepted| accepted.all)
    }

    /// How many messages are.
    #[must_use]
    pub fn accounted_for(&self) -> u64 {
        let done = self.published.saturating_add(self.parked);
        let rest = match self.accepted {
            Some(Accepted { waiting, dropped, .. }) => waiting.saturating_add(dropped),
            None => self.given_back.saturating_add(self.in_flight),
        };
        done.saturating_add(rest)
    }

    fn count(&mut self, messages: u64, how: Settlement) {
        match how {
            Settlement::Completed { parked } => {
                let parked = (parked as u64).min(messages);
                self.parked += parked;
                self.published += messages - parked;
            }
            Settlement::Released => self.given_back += messages,
            Settlement::Lost => {
                self.given_back += messages;
                self.lost += messages;
            }
        }
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

/// An open lease: in somebody's hands, neither settled nor dropped.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    messages: usize,
    /// It has its messages, so the channel knows it and it must be renewed.
    filled: bool,
    /// It was found to have expired and to be somebody else's; its holder does not know yet.
    struck: bool,
    /// When it got its messages.
    since: Option<Instant>,
}

#[derive(Debug, Default)]
struct Pages {
    open: HashMap<LeaseId, Entry>,
    /// With how many messages.
    dropped: Vec<(LeaseId, usize)>,
    tally: Tally,
    /// Messages that the channel has set aside by itself and nobody has said yet.
    unsaid: u64,
}

/// The pages, to be changed. Once that is done the books must balance: in test builds whoever leaves them otherwise
/// panics, on the spot rather than with a sum at the end that nobody can take apart.
struct Changing<'a>(MutexGuard<'a, Pages>);

impl Deref for Changing<'_> {
    type Target = Pages;

    fn deref(&self) -> &Pages {
        &self.0
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut Pages {
        &mut self.0
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        debug_assert!(self.tally.balances(), "the ledger does not balance: {:?}", self.tally);
        debug_assert_eq!(
            self.tally.in_flight,
            self.open.values().map(|entry| entry.messages as u64).sum::<u64>(),
            "what is in flight is not what the open leases hold: {:?}",
            self.0
        );
    }
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

    fn change(&self) -> Changing<'_> {
        Changing(self.pages())
    }

    /// Enters a lease that is about to be asked for. If the answer never comes, dropping it gives back what
    /// the channel may have leased under that name.
    #[must_use]
    pub fn enter(self: &Arc<Self>, id: LeaseId) -> Lease {
        self.pages().open.insert(id.clone(), Entry::default());
        Lease { id, messages: Vec::new(), adopted: false, book: Arc::clone(self), settled: false }
    }

    /// The open leases that have messages and are still ours, to be renewed.
    #[must_use]
    pub fn live(&self) -> Vec<LeaseId> {
        let pages = self.pages();
        pages.open.iter().filter(|(_, entry)| entry.filled && !entry.struck).map(|(id, _)| id.clone()).collect()
    }

    /// For how long the open lease has been open that has been so longest.
    #[must_use]
    pub fn longest_open(&self) -> Option<Duration> {
        let pages = self.pages();
        pages.open.values().filter(|entry| entry.messages > 0).filter_map(|entry| entry.since).min().map(|since| since.elapsed())
    }

    /// Strikes open leases that are not ours any more, so that they are not renewed. They are counted, as lost,
    /// when their holders come to settle or drop them.
    pub fn strike(&self, ids: &[LeaseId]) {
        let mut pages = self.change();
        for id in ids {
            if let Some(entry) = pages.open.get_mut(id) {
                entry.struck = true;
            }
        }
    }

    /// Leases that were dropped unsettled and must be given back. They stay on the list until [`LeaseBook::ended`].
    #[must_use]
    pub fn dropped(&self) -> Vec<LeaseId> {
        self.pages().dropped.iter().map(|(id, _)| id.clone()).collect()
    }

    /// Strikes a dropped lease, counted by how it has really ended: given back, or done before by a settlement whose
    /// answer was lost, or taken by another agent.
    pub fn ended(&self, id: &LeaseId, how: Settlement) {
        let mut pages = self.change();
        // The newest are given back first.
        let Some(place) = pages.dropped.iter().rposition(|(dropped, _)| dropped == id) else { return };
        let (_, count) = pages.dropped.remove(place);
        // It was counted as given back when it was dropped.
        pages.tally.given_back -= count as u64;
        pages.tally.count(count as u64, how);
    }

    /// Gives up every open lease, whoever holds it, at the end of the process. Returns how many messages they had.
    pub fn abandon(&self) -> u64 {
        let mut pages = self.change();
        let pages = &mut *pages;
        let open = std::mem::take(&mut pages.tally.in_flight);
        pages.tally.given_back += open;
        for (id, entry) in pages.open.drain() {
            if entry.struck {
                pages.tally.lost += entry.messages as u64;
            } else {
                pages.dropped.push((id, entry.messages));
            }
        }
        open
    }

    /// Counts messages that the channel set aside by itself.
    pub fn set_aside(&self, messages: u64) {
        let mut pages = self.pages();
        pages.tally.leased += messages;
        pages.tally.parked += messages;
        pages.unsaid += messages;
    }

    /// How many messages the channel has set aside by itself since this was asked last.
    pub fn take_unsaid(&self) -> u64 {
        std::mem::take(&mut self.pages().unsaid)
    }

    /// Counts dead letters that were dropped to make room.
    pub fn letters_dropped(&self, letters: u64) {
        self.pages().tally.letters_dropped += letters;
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

    /// Puts the messages in that the channel answered with, and counts them as leased.
    pub fn fill(&mut self, messages: Vec<Vec<u8>>, adopted: bool) {
        let count = messages.len();
        self.messages = messages;
        self.adopted = adopted;
        let mut pages = self.book.change();
        pages.open.insert(self.id.clone(), Entry { messages: count, filled: true, struck: false, since: Some(Instant::now()) });
        pages.tally.leased += count as u64;
        pages.tally.in_flight += count as u64;
    }

    /// Says how the lease ended, after the channel did it.
    pub fn settle(mut self, how: Settlement) {
        self.settled = true;
        let mut pages = self.book.change();
        let Some(entry) = pages.open.remove(&self.id) else { return };
        let count = entry.messages as u64;
        pages.tally.in_flight -= count;
        pages.tally.count(count, how);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        {
            let mut pages = self.book.change();
            let Some(entry) = pages.open.remove(&self.id) else { return };
            let count = entry.messages as u64;
            pages.tally.in_flight -= count;
            pages.tally.given_back += count;
            if entry.struck {
                pages.tally.lost += count;
                return;
            }
            let id = self.id.clone();
            pages.dropped.push((id, entry.messages));
        }
        self.book.dropped.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(book: &Arc<LeaseBook>, id: &str, messages: usize) -> Lease {
        let mut lease = book.enter(LeaseId(id.to_owned()));
        lease.fill(vec![Vec::new(); messages], false);
        lease
    }

    #[test]
    fn every_end_is_counted_once() {
        let book = Arc::new(LeaseBook::default());
        filled(&book, "a", 3).settle(Settlement::Completed { parked: 1 });
        filled(&book, "b", 4).settle(Settlement::Released);
        filled(&book, "c", 5).settle(Settlement::Lost);
        drop(filled(&book, "d", 6));
        let _held = filled(&book, "e", 7);
        let tally = book.tally();
        assert!(tally.balances());
        assert_eq!(
            tally,
            Tally { leased: 25, published: 2, parked: 1, given_back: 15, lost: 5, in_flight: 7, ..Tally::default() }
        );
        assert_eq!(book.dropped(), [LeaseId("d".into())]);
    }

    #[test]
    fn whoever_leaves_the_books_wrong_is_stopped_on_the_spot() {
        let panics = |change: fn(&mut Pages)| {
            let book = LeaseBook::default();
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| change(&mut book.change()))).is_err()
        };
        assert!(!panics(|_| {}));
        assert!(panics(|pages| pages.tally.published = 1));
        assert!(panics(|pages| pages.tally = Tally { leased: 1, in_flight: 1, ..Tally::default() }));
    }

    #[test]
    fn what_is_abandoned_is_given_back_and_its_holder_can_do_nothing_more_with_it() {
        let book = Arc::new(LeaseBook::default());
        let (held, struck) = (filled(&book, "a", 3), filled(&book, "b", 4));
        book.strike(&[LeaseId("b".into())]);
        assert_eq!(book.abandon(), 7);
        assert_eq!(book.dropped(), [LeaseId("a".into())]);
        held.settle(Settlement::Completed { parked: 0 });
        drop(struck);
        assert_eq!(book.tally(), Tally { leased: 7, given_back: 7, lost: 4, ..Tally::default() });
        assert_eq!(book.dropped(), [LeaseId("a".into())]);
    }

    #[test]
    fn an_unanswered_lease_is_not_renewed_but_given_back() {
        let book = Arc::new(LeaseBook::default());
        let lease = book.enter(LeaseId("a".into()));
        assert!(book.live().is_empty());
        drop(lease);
        assert_eq!(book.dropped(), [LeaseId("a".into())]);
        book.ended(&LeaseId("a".into()), Settlement::Released);
        assert!(book.dropped().is_empty());
    }

    #[test]
    fn a_dropped_lease_that_had_ended_before_is_counted_as_it_ended() {
        let book = Arc::new(LeaseBook::default());
        drop((filled(&book, "a", 3), filled(&book, "b", 4)));
        book.ended(&LeaseId("a".into()), Settlement::Completed { parked: 1 });
        book.ended(&LeaseId("b".into()), Settlement::Lost);
        book.ended(&LeaseId("b".into()), Settlement::Lost);
        assert!(book.dropped().is_empty() && book.tally().balances());
        assert_eq!(book.tally(), Tally { leased: 7, published: 2, parked: 1, given_back: 4, lost: 4, ..Tally::default() });
    }

    #[test]
    fn a_struck_lease_is_lost_once_however_it_ends() {
        let book = Arc::new(LeaseBook::default());
        let (settled, dropped) = (filled(&book, "a", 2), filled(&book, "b", 3));
        book.strike(&[settled.id().clone(), dropped.id().clone(), LeaseId("unknown".into())]);
        assert!(book.live().is_empty());
        assert_eq!(book.tally().in_flight, 5);
        settled.settle(Settlement::Lost);
        drop(dropped);
        assert_eq!(book.tally(), Tally { leased: 5, given_back: 5, lost: 5, ..Tally::default() });
        assert!(book.dropped().is_empty());
    }
}
