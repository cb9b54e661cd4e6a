//! The registry of open leases: which must be renewed, which were dropped unsettled, and the tally that must balance.

use std::{
    collections::HashMap,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::Completed;
use crate::wire::Payloads;

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
    /// Given back, or dropped and so to be given back, or lost.
    pub given_back: u64,
    /// Of those given back: found to have expired and been taken by another agent, or to have been undone by a failover, so that they
    /// wait again.
    pub lost: u64,
    /// Leased and open.
    pub in_flight: u64,
    /// Dead letters, of whichever agent, that this process dropped to make room for newer ones. They were parked
    /// before, so they are no part of the balance; a drop whose answer was lost is not in it.
    pub letters_dropped: u64,
    /// Messages that waited for this one of several publishers and that this process dropped, the oldest first, since more waited than
    /// may. They were never leased, so they are no part of the balance; a drop whose answer was lost is not in it.
    pub backlog_dropped: u64,
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
    /// Deleted, as by `DEL`, before they were published.
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

    /// How many messages have come: what was accepted, where this process accepts messages, and otherwise what was leased for good.
    #[must_use]
    pub fn came(&self) -> u64 {
        self.accepted.map_or(self.leased.saturating_sub(self.given_back), |accepted| accepted.all)
    }

    /// How many messages this process has dropped, or had to delete, before they were published.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.accepted.map_or(0, |accepted| accepted.dropped).saturating_add(self.backlog_dropped)
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
    /// Not ours any more: it had expired, or a failover had undone it.
    Lost,
}

/// The open leases of one process and its [`Tally`]. Shared by a channel, its leases and the ledger.
#[derive(Debug, Default)]
pub struct LeaseRegistry {
    entries: Mutex<Entries>,
    dropped: Notify,
}

/// An open lease: held by an actor, neither settled nor dropped.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    messages: usize,
    /// It has its messages, so the channel knows it and it must be renewed.
    filled: bool,
    /// It was found not to be ours any more; its holder does not know yet.
    lost: bool,
    /// When it got its messages.
    since: Option<Instant>,
}

#[derive(Debug, Default)]
struct Entries {
    open: HashMap<LeaseId, Entry>,
    /// With how many messages.
    dropped: Vec<(LeaseId, usize)>,
    tally: Tally,
    /// Messages that the channel has set aside by itself and no line of the log has told of yet.
    unreported: u64,
    /// What became of completed leases and nobody was told yet.
    completed: Completed,
}

/// The entries, to be changed. Once that is done the tally must balance: in test builds whoever leaves them otherwise
/// panics, on the spot rather than with a sum at the end that nobody can take apart.
struct Changing<'a>(MutexGuard<'a, Entries>);

impl Deref for Changing<'_> {
    type Target = Entries;

    fn deref(&self) -> &Entries {
        &self.0
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut Entries {
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
/// the registry remembers it and wakes the recovery.
#[derive(Debug)]
pub struct Lease {
    id: LeaseId,
    /// The messages' bytes, oldest first; leases of other consumers may have the same ones.
    pub messages: Arc<Payloads>,
    /// Whether these messages come from a Python agent's in-progress list, so that it may have written them already.
    pub adopted: bool,
    /// How long the oldest of its messages had waited when they were leased, as far as the channel knows.
    pub age: Duration,
    /// Whether it was ended before it had as much as was demanded though more is likely to wait.
    pub more: bool,
    /// When it was asked for, or when it got its messages.
    since: Instant,
    registry: Arc<LeaseRegistry>,
    settled: bool,
}

impl LeaseRegistry {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Nothing in here can panic half-way, so a poisoned one is whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> Changing<'_> {
        Changing(self.entries())
    }

    /// Enters a lease that is about to be asked for. If the answer never comes, dropping it gives back what
    /// the channel may have leased under that name.
    #[must_use]
    pub fn enter(self: &Arc<Self>, id: LeaseId) -> Lease {
        self.entries().open.insert(id.clone(), Entry::default());
        Lease {
            id,
            messages: Arc::default(),
            adopted: false,
            age: Duration::ZERO,
            more: false,
            since: Instant::now(),
            registry: Arc::clone(self),
            settled: false,
        }
    }

    /// The open leases that have messages and are still ours, to be renewed.
    #[must_use]
    pub fn live(&self) -> Vec<LeaseId> {
        let entries = self.entries();
        entries.open.iter().filter(|(_, entry)| entry.filled && !entry.lost).map(|(id, _)| id.clone()).collect()
    }

    /// For how long the open lease has been open that has been so longest, of those that are meant.
    #[must_use]
    pub fn longest_open(&self, is_meant: impl Fn(&LeaseId) -> bool) -> Option<Duration> {
        let entries = self.entries();
        entries
            .open
            .iter()
            .filter(|(id, entry)| entry.messages > 0 && is_meant(id))
            .filter_map(|(_, entry)| entry.since)
            .min()
            .map(|since| since.elapsed())
    }

    /// Marks open leases as lost that are not ours any more, so that they are not renewed. They are counted, as lost,
    /// when their holders come to settle or drop them.
    pub fn mark_lost(&self, ids: &[LeaseId]) {
        let mut entries = self.change();
        for id in ids {
            if let Some(entry) = entries.open.get_mut(id) {
                entry.lost = true;
            }
        }
    }

    /// Leases that were dropped unsettled and must be given back. They stay on the list until [`LeaseRegistry::ended`].
    #[must_use]
    pub fn dropped(&self) -> Vec<LeaseId> {
        self.entries().dropped.iter().map(|(id, _)| id.clone()).collect()
    }

    /// Takes a dropped lease off that list, counted by how it has really ended: given back, or done before by a settlement whose
    /// answer was lost, or taken by another agent. Returns how many messages it had, none where it is not on that list.
    pub fn ended(&self, id: &LeaseId, how: Settlement) -> usize {
        let mut entries = self.change();
        // The newest are given back first.
        let Some(place) = entries.dropped.iter().rposition(|(dropped, _)| dropped == id) else { return 0 };
        let (_, count) = entries.dropped.remove(place);
        // It was counted as given back when it was dropped.
        entries.tally.given_back -= count as u64;
        entries.tally.count(count as u64, how);
        count
    }

    /// Gives up every open lease, whoever holds it, at the end of the process. Returns how many messages they had.
    pub fn abandon(&self) -> u64 {
        let mut entries = self.change();
        let entries = &mut *entries;
        let open = std::mem::take(&mut entries.tally.in_flight);
        entries.tally.given_back += open;
        for (id, entry) in entries.open.drain() {
            if entry.lost {
                entries.tally.lost += entry.messages as u64;
            } else {
                entries.dropped.push((id, entry.messages));
            }
        }
        open
    }

    /// Counts messages that the channel set aside by itself.
    pub fn set_aside(&self, messages: u64) {
        let mut entries = self.entries();
        entries.tally.leased += messages;
        entries.tally.parked += messages;
        entries.unreported += messages;
    }

    /// How many messages the channel has set aside by itself since this was asked last.
    pub fn take_unreported(&self) -> u64 {
        std::mem::take(&mut self.entries().unreported)
    }

    /// Notes what became of some leases for whoever is told of it.
    pub(super) fn completed(&self, some: Completed) {
        self.entries().completed.add(some);
    }

    /// What became of completed leases since this was asked last.
    pub fn take_completed(&self) -> Completed {
        std::mem::take(&mut self.entries().completed)
    }

    /// Counts dead letters that were dropped to make room.
    pub fn letters_dropped(&self, letters: u64) {
        self.entries().tally.letters_dropped += letters;
    }

    /// Counts messages that were dropped from what waits, since more did than may.
    pub fn backlog_dropped(&self, messages: u64) {
        self.entries().tally.backlog_dropped += messages;
    }

    /// Completes when a lease was dropped unsettled since the last call.
    pub async fn wait_dropped(&self) {
        self.dropped.notified().await;
    }

    /// The tally now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.entries().tally
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
        self.messages.bytes()
    }

    /// Puts the messages in that the channel answered with, and counts them as leased.
    pub fn fill(&mut self, messages: Arc<Payloads>, adopted: bool) {
        let count = messages.len();
        self.messages = messages;
        self.adopted = adopted;
        self.since = Instant::now();
        let since = Some(self.since);
        let mut entries = self.registry.change();
        entries.open.insert(self.id.clone(), Entry { messages: count, filled: true, lost: false, since });
        entries.tally.leased += count as u64;
        entries.tally.in_flight += count as u64;
    }

    /// When it got its messages.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Says how the lease ended, after the channel did it. Returns how many messages it had, none where it was given up before.
    pub fn settle(mut self, how: Settlement) -> usize {
        self.settled = true;
        let mut entries = self.registry.change();
        let Some(entry) = entries.open.remove(&self.id) else { return 0 };
        let count = entry.messages as u64;
        entries.tally.in_flight -= count;
        entries.tally.count(count, how);
        entry.messages
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        {
            let mut entries = self.registry.change();
            let Some(entry) = entries.open.remove(&self.id) else { return };
            let count = entry.messages as u64;
            entries.tally.in_flight -= count;
            entries.tally.given_back += count;
            if entry.lost {
                entries.tally.lost += count;
                return;
            }
            let id = self.id.clone();
            entries.dropped.push((id, entry.messages));
        }
        self.registry.dropped.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(registry: &Arc<LeaseRegistry>, id: &str, messages: usize) -> Lease {
        let mut lease = registry.enter(LeaseId(id.to_owned()));
        lease.fill(Payloads::of(vec![Vec::new(); messages]), false);
        lease
    }

    #[test]
    fn every_end_is_counted_once() {
        let registry = Arc::new(LeaseRegistry::default());
        filled(&registry, "a", 3).settle(Settlement::Completed { parked: 1 });
        filled(&registry, "b", 4).settle(Settlement::Released);
        filled(&registry, "c", 5).settle(Settlement::Lost);
        drop(filled(&registry, "d", 6));
        let _held = filled(&registry, "e", 7);
        let tally = registry.tally();
        assert!(tally.balances());
        assert_eq!(
            tally,
            Tally { leased: 25, published: 2, parked: 1, given_back: 15, lost: 5, in_flight: 7, ..Tally::default() }
        );
        assert_eq!(registry.dropped(), [LeaseId("d".into())]);
    }

    #[test]
    fn whoever_leaves_the_tally_wrong_is_stopped_on_the_spot() {
        let panics = |change: fn(&mut Entries)| {
            let registry = LeaseRegistry::default();
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| change(&mut registry.change()))).is_err()
        };
        assert!(!panics(|_| {}));
        assert!(panics(|entries| entries.tally.published = 1));
        assert!(panics(|entries| entries.tally = Tally { leased: 1, in_flight: 1, ..Tally::default() }));
    }

    #[test]
    fn what_is_abandoned_is_given_back_and_its_holder_can_do_nothing_more_with_it() {
        let registry = Arc::new(LeaseRegistry::default());
        let (held, lost) = (filled(&registry, "a", 3), filled(&registry, "b", 4));
        registry.mark_lost(&[LeaseId("b".into())]);
        assert_eq!(registry.abandon(), 7);
        assert_eq!(registry.dropped(), [LeaseId("a".into())]);
        held.settle(Settlement::Completed { parked: 0 });
        drop(lost);
        assert_eq!(registry.tally(), Tally { leased: 7, given_back: 7, lost: 4, ..Tally::default() });
        assert_eq!(registry.dropped(), [LeaseId("a".into())]);
    }

    #[test]
    fn an_unanswered_lease_is_not_renewed_but_given_back() {
        let registry = Arc::new(LeaseRegistry::default());
        let lease = registry.enter(LeaseId("a".into()));
        assert!(registry.live().is_empty());
        drop(lease);
        assert_eq!(registry.dropped(), [LeaseId("a".into())]);
        registry.ended(&LeaseId("a".into()), Settlement::Released);
        assert!(registry.dropped().is_empty());
    }

    #[test]
    fn a_dropped_lease_that_had_ended_before_is_counted_as_it_ended() {
        let registry = Arc::new(LeaseRegistry::default());
        drop((filled(&registry, "a", 3), filled(&registry, "b", 4)));
        registry.ended(&LeaseId("a".into()), Settlement::Completed { parked: 1 });
        registry.ended(&LeaseId("b".into()), Settlement::Lost);
        registry.ended(&LeaseId("b".into()), Settlement::Lost);
        assert!(registry.dropped().is_empty() && registry.tally().balances());
        assert_eq!(registry.tally(), Tally { leased: 7, published: 2, parked: 1, given_back: 4, lost: 4, ..Tally::default() });
    }

    #[test]
    fn a_lost_lease_is_counted_once_however_it_ends() {
        let registry = Arc::new(LeaseRegistry::default());
        let (settled, dropped) = (filled(&registry, "a", 2), filled(&registry, "b", 3));
        registry.mark_lost(&[settled.id().clone(), dropped.id().clone(), LeaseId("unknown".into())]);
        assert!(registry.live().is_empty());
        assert_eq!(registry.tally().in_flight, 5);
        settled.settle(Settlement::Lost);
        drop(dropped);
        assert_eq!(registry.tally(), Tally { leased: 5, given_back: 5, lost: 5, ..Tally::default() });
        assert!(registry.dropped().is_empty());
    }
}
