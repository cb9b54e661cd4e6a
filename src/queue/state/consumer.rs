//! What waits for one consumer and what it has leased. Pure; the clock is the caller's.

use std::{collections::HashMap, time::Instant};

use crate::queue::{
    found::{Found, FoundConsumer},
    intervals::{IntervalSet, Offset, Part},
    region::{ADOPTED_BELOW, Region},
    settings::ConsumerSettings,
    stats::{Pending, Tally},
};

/// A lease.
#[derive(Debug)]
struct Held {
    parts: Vec<Part>,
    messages: u64,
    expires: Instant,
    /// The writer is at it: how it ends is not known yet.
    settling: bool,
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseEnd {
    /// Its messages are done; so many of them are dead letters.
    Settled { parked: usize },
    /// Its holder gave it back.
    Released,
    /// It expired.
    Expired,
}

/// What became of a lease that was to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum GivenBack {
    /// So many messages wait again.
    Released(u64),
    /// It had ended before, like this.
    Ended(LeaseEnd),
    /// The writer is at it.
    Settling,
    /// There is no such lease.
    Unknown,
}

/// How a settlement finds a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Settling {
    /// It is held, and now being settled: these are its messages.
    Begun(Vec<Part>),
    /// It has ended before, like this.
    Ended(LeaseEnd),
    /// Another settlement of it has begun.
    Busy,
    /// It is not ours any more.
    Lost,
}

/// See the module.
#[derive(Debug)]
pub(in super::super) struct ConsumerState {
    waiting: IntervalSet,
    /// How many messages wait for a lease.
    messages: u64,
    /// When the oldest of them came, where it came while none waited.
    first_came: Option<Instant>,
    leases: HashMap<String, Held>,
    /// How many messages those have.
    leased: u64,
    tally: Tally,
    /// The file is damaged: what cannot be found is unreadable.
    keeps_all: bool,
    /// How leases ended, until their holders have heard of it.
    ended: HashMap<String, LeaseEnd>,
    /// How often what waits was deleted: what was read before is not to be leased after.
    clears: u64,
    /// With how many waiting messages whoever takes them is to be woken.
    awaited: Option<u64>,
    /// What it is among several.
    named: Option<Named>,
}

#[derive(Debug)]
struct Named {
    /// Its number in the file.
    id: i64,
    name: String,
    configured: Option<ConsumerSettings>,
    done: IntervalSet,
}

impl ConsumerState {
    /// The only one, which has no name.
    pub(super) fn the_only(found: &Found) -> Self {
        let mut waiting = IntervalSet::default();
        for (first, last) in [found.adopted, found.regular].into_iter().flatten() {
            waiting.insert(Offset::start(first), Offset::start(last.saturating_add(1)));
        }
        let mut messages = found.messages;
        for part in &found.done {
            waiting.remove(part.start(), part.end());
            messages = messages.saturating_sub(part.count());
        }
        Self::new(waiting, messages, None)
    }

    /// One of several.
    pub(super) fn named(found: &FoundConsumer) -> Self {
        let FoundConsumer { id, name, configured, waiting, messages, done } = found.clone();
        Self::new(waiting, messages, Some(Named { id, name, configured, done }))
    }

    fn new(waiting: IntervalSet, messages: u64, named: Option<Named>) -> Self {
        Self {
            first_came: None,
            waiting,
            messages,
            leases: HashMap::new(),
            leased: 0,
            tally: Tally { found: messages, ..Tally::default() },
            keeps_all: false,
            ended: HashMap::new(),
            clears: 0,
            awaited: None,
            named,
        }
    }

    pub(in super::super) fn name(&self) -> Option<&str> {
        self.named.as_ref().map(|named| named.name.as_str())
    }

    /// Whether it gets what comes in: one that was removed from the configuration does not.
    pub(super) fn is_configured(&self) -> bool {
        self.named.as_ref().is_none_or(|named| named.configured.is_some())
    }

    /// What it is among several, as it is configured.
    pub(super) fn settings(&self) -> Option<&ConsumerSettings> {
        self.named.as_ref()?.configured.as_ref()
    }

    /// How many messages may wait for it, if it is as `required` as that.
    pub(super) fn bound(&self, required: bool) -> Option<u64> {
        let configured = self.settings()?;
        configured.max_backlog.filter(|_| configured.required == required)
    }

    /// Its number in the file, and what it has done.
    pub(super) fn done(&self) -> Option<(i64, &IntervalSet)> {
        self.named.as_ref().map(|named| (named.id, &named.done))
    }

    pub(super) fn add_done(&mut self, done: &IntervalSet) {
        if let Some(named) = &mut self.named {
            done.iter().for_each(|(from, to)| named.done.insert(from, to));
        }
    }

    /// How many messages wait for a lease.
    pub(in super::super) fn messages(&self) -> u64 {
        self.messages
    }

    /// How many messages wait, leased or not; for how long is not known here.
    pub(super) fn pending(&self) -> Pending {
        Pending { messages: self.messages + self.leased, leased: self.leased, oldest: None }
    }

    /// The chunk of a region that has been here longest, of those of which something waits or is leased.
    pub(super) fn longest_here(&self, region: Region) -> Option<i64> {
        let leased = self.leases.values().flat_map(|held| &held.parts).map(|part| part.chunk);
        let leased = leased.filter(|chunk| Region::of(*chunk) == region);
        match region {
            Region::Newest => self.waiting.first_from(1).into_iter().chain(leased).min(),
            Region::Oldest => self.waiting.last_before(1).filter(|chunk| *chunk >= ADOPTED_BELOW).into_iter().chain(leased).max(),
            Region::Adopted => {
                self.waiting.first_from(i64::MIN).filter(|chunk| *chunk < ADOPTED_BELOW).into_iter().chain(leased).min()
            }
        }
    }

    /// What has become of all that was accepted.
    pub(in super::super) fn tally(&self) -> Tally {
        Tally { pending: self.messages + self.leased, ..self.tally }
    }

    /// In test builds, whether every message is accounted for, on the spot rather than with a sum at the end that nobody can take
    /// apart.
    fn audit(&self) {
        let Tally { found, stored, published, parked, dropped, pending } = self.tally();
        debug_assert_eq!(
            found + stored,
            published + parked + dropped + pending,
            "the queue's tally does not balance: {:?}, {} are leased",
            self.tally(),
            self.leased
        );
        debug_assert_eq!(self.leased, self.leases.values().map(|held| held.messages).sum::<u64>(), "what leases hold");
    }

    /// Whether anything may wait. A damaged file may have counted wrong.
    pub(in super::super) fn is_waiting(&self) -> bool {
        self.waiting.iter().next().is_some()
    }

    /// Whether so many messages wait, or any where one is enough; else that many are awaited from now on.
    pub(in super::super) fn has_or_awaits(&mut self, enough: u64) -> bool {
        let has = if enough > 1 { self.messages >= enough } else { self.is_waiting() };
        if !has {
            self.awaited = Some(self.awaited.map_or(enough, |awaited| awaited.min(enough)));
        }
        has
    }

    /// How many leases there are.
    pub(in super::super) fn leases(&self) -> usize {
        self.leases.len()
    }

    /// Messages were stored in chunks from the one offset to the other.
    /// Returns whether as many wait now as are awaited.
    pub(super) fn stored(&mut self, from: Offset, to: Offset, messages: u64) -> bool {
        if self.messages == 0 {
            self.first_came = Some(Instant::now());
        }
        self.waiting.insert(from, to);
        self.messages += messages;
        self.tally.stored += messages;
        self.audit();
        self.awaited.take_if(|awaited| *awaited <= self.messages).is_some()
    }

    /// Where the oldest messages wait, in at most so many intervals, and a mark that [`ConsumerState::lease`] wants to see again.
    pub(in super::super) fn oldest(&self, intervals: usize) -> (Vec<(Offset, Offset)>, u64) {
        (self.waiting.iter().take(intervals).collect(), self.clears)
    }

    /// When the oldest message came that waits for a lease, where that is known to more than a mark.
    pub(super) fn first_came(&self) -> Option<Instant> {
        self.first_came
    }

    /// Where messages wait, from the newest on.
    pub(in super::super) fn newest(&self) -> Vec<(Offset, Offset)> {
        self.waiting.iter().rev().collect()
    }

    /// Leases what was found at [`ConsumerState::oldest`]. Returns whether it still waits.
    pub(in super::super) fn lease(&mut self, id: String, parts: Vec<Part>, expires: Instant, mark: u64) -> bool {
        if mark != self.clears {
            return false;
        }
        let messages = self.take(&parts);
        self.first_came = None;
        self.leased += messages;
        self.leases.insert(id, Held { parts, messages, expires, settling: false });
        self.audit();
        true
    }

    /// A part cannot be read. Returns how many messages it has.
    pub(in super::super) fn unreadable(&mut self, part: Part) -> u64 {
        let messages = self.take(&[part]);
        self.tally.parked += messages;
        self.audit();
        messages
    }

    /// Takes parts off what waits.
    fn take(&mut self, parts: &[Part]) -> u64 {
        parts.iter().for_each(|part| self.waiting.remove(part.start(), part.end()));
        let messages: u64 = parts.iter().map(Part::count).sum();
        // A damaged file may have counted wrong when it was opened.
        self.tally.found += messages.saturating_sub(self.messages);
        self.messages = self.messages.saturating_sub(messages);
        messages
    }

    /// Nothing can be found where messages were thought to wait.
    pub(in super::super) fn vanished(&mut self, from: Offset, to: Offset, mark: u64) {
        if mark == self.clears {
            self.waiting.remove(from, to);
            if !self.keeps_all && !self.is_waiting() {
                // Another program has deleted them.
                self.tally.dropped += std::mem::take(&mut self.messages);
            }
            self.audit();
        }
    }

    /// How many messages of a damaged file have turned out to be unreadable by not being found anywhere.
    pub(in super::super) fn missing(&mut self) -> u64 {
        let missing = if self.keeps_all && !self.is_waiting() { std::mem::take(&mut self.messages) } else { 0 };
        self.tally.parked += missing;
        missing
    }

    /// What is between these places cannot be found.
    pub(in super::super) fn skip(&mut self, from: Offset, to: Offset) {
        self.waiting.remove(from, to);
    }

    /// The file is damaged.
    pub(super) fn keep_all(&mut self) {
        self.keeps_all = true;
    }

    /// Renews leases. Returns those that are not there any more.
    pub(in super::super) fn renew(&mut self, ids: Vec<String>, expires: Instant) -> Vec<String> {
        let mut gone = Vec::new();
        for id in ids {
            match self.leases.get_mut(&id) {
                Some(held) => held.expires = expires,
                // How it ends is known when its settlement ends.
                None if matches!(self.ended.get(&id), Some(LeaseEnd::Settled { .. })) => {}
                None => gone.push(id),
            }
        }
        gone
    }

    /// Gives a lease back: its messages wait again, where they were.
    pub(in super::super) fn give_back(&mut self, id: &str) -> GivenBack {
        if let Some(how) = self.ended.remove(id) {
            return GivenBack::Ended(how);
        }
        match self.leases.get(id) {
            Some(held) if held.settling => GivenBack::Settling,
            Some(_) => GivenBack::Released(self.put_back(id)),
            None => GivenBack::Unknown,
        }
    }

    /// Takes back the leases that have expired, are not being settled, and are not `live`. Their holders will hear that
    /// they are lost.
    pub(in super::super) fn expire(&mut self, live: &[String], now: Instant) -> u64 {
        let late =
            |(id, held): (&String, &Held)| (held.expires <= now && !held.settling && !live.contains(id)).then(|| id.clone());
        let late: Vec<String> = self.leases.iter().filter_map(late).collect();
        let messages = late.iter().map(|id| self.put_back(id)).sum();
        self.ended.extend(late.into_iter().map(|id| (id, LeaseEnd::Expired)));
        messages
    }

    fn put_back(&mut self, id: &str) -> u64 {
        let Some(held) = self.leases.remove(id) else { return 0 };
        self.first_came = None;
        held.parts.iter().for_each(|part| self.waiting.insert(part.start(), part.end()));
        self.messages += held.messages;
        self.leased -= held.messages;
        self.audit();
        held.messages
    }

    /// Begins to settle a lease, so that nothing else ends it meanwhile.
    pub(in super::super) fn begin_settling(&mut self, id: &str) -> Settling {
        if let Some(how) = self.ended.get(id) {
            return Settling::Ended(*how);
        }
        match self.leases.get_mut(id) {
            Some(held) if held.settling => Settling::Busy,
            Some(held) => {
                held.settling = true;
                Settling::Begun(held.parts.clone())
            }
            None => Settling::Lost,
        }
    }

    /// It could not be settled: it is held as before.
    pub(in super::super) fn not_settled(&mut self, id: &str) {
        if let Some(held) = self.leases.get_mut(id) {
            held.settling = false;
        }
    }

    /// It was completed.
    pub(in super::super) fn settled(&mut self, id: &str, parked: usize) {
        if let Some(Held { messages, .. }) = self.leases.remove(id) {
            let parked = (parked as u64).min(messages);
            self.leased -= messages;
            self.tally.parked += parked;
            self.tally.published += messages - parked;
        }
        self.ended.insert(id.to_owned(), LeaseEnd::Settled { parked });
        self.audit();
    }

    /// How a lease ended, for its holder; it is forgotten by that.
    pub(in super::super) fn hear(&mut self, id: &str) -> Option<LeaseEnd> {
        self.ended.remove(id)
    }

    /// What waits apart from what was adopted, taken off. It comes back by [`ConsumerState::uncleared`].
    pub(super) fn clear(&mut self) -> Vec<(Offset, Offset)> {
        let (from, to) = (Offset::start(ADOPTED_BELOW), Offset::start(i64::MAX));
        let intervals: Vec<_> = self.waiting.iter().filter(|(start, _)| *start >= from).collect();
        self.clears += 1;
        self.waiting.remove(from, to);
        intervals
    }

    /// Takes off what was found at [`ConsumerState::oldest`], as clearing does. Returns whether it still waits.
    pub(in super::super) fn begin_dropping(&mut self, intervals: &[(Offset, Offset)], mark: u64) -> bool {
        if mark != self.clears || !intervals.iter().all(|&(from, to)| self.waiting.contains(from, to)) {
            return false;
        }
        self.clears += 1;
        intervals.iter().for_each(|&(from, to)| self.waiting.remove(from, to));
        true
    }

    /// The chunks of which something is leased.
    pub(super) fn leased_chunks(&self) -> impl Iterator<Item = i64> + '_ {
        self.leases.values().flat_map(|held| &held.parts).map(|part| part.chunk)
    }

    /// Takes off what waits of this, as clearing does.
    pub(super) fn take_off(&mut self, of: &IntervalSet) -> Vec<(Offset, Offset)> {
        let intervals: Vec<_> = self.waiting.intersection(of).iter().collect();
        if !intervals.is_empty() {
            self.clears += 1;
            intervals.iter().for_each(|&(from, to)| self.waiting.remove(from, to));
        }
        intervals
    }

    /// So many messages were deleted that were taken off.
    pub(in super::super) fn cleared(&mut self, messages: u64) {
        let messages = messages.min(self.messages);
        self.messages -= messages;
        self.tally.dropped += messages;
        self.audit();
    }

    /// They could not be deleted.
    pub(in super::super) fn uncleared(&mut self, intervals: &[(Offset, Offset)]) {
        intervals.iter().for_each(|&(from, to)| self.waiting.insert(from, to));
    }
}
