//! What waits and what is leased: kept in memory, since only this process has the file. Pure; the clock is the caller's.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use super::{
    accepted::{Accepted, Mark},
    intervals::{IntervalSet, Offset, Part},
    region::{ADOPTED_BELOW, FIRST_ADOPTED, Region},
    stats::{Pending, Tally},
};

/// What a file holds when it is opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// The file's own name.
    pub(super) identity: String,
    /// The first and the last of the chunks with adopted messages, and of all others.
    pub(super) adopted: Option<(i64, i64)>,
    pub(super) regular: Option<(i64, i64)>,
    /// How many messages all chunks have.
    pub(super) messages: u64,
    /// What is done of chunks that are not done as a whole.
    pub(super) done: Vec<Part>,
    /// In which words an earlier process, or the opening, has found damage.
    pub(super) damage: Option<String>,
    /// How many ms ago chunks were accepted.
    pub(super) accepted: Vec<(i64, u64)>,
}

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
pub(super) enum GivenBack {
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
pub(super) enum Settling {
    /// It is held, and now being settled: these are its messages.
    Begun(Vec<Part>),
    /// It has ended before, like this.
    Ended(LeaseEnd),
    /// Another settlement of it has begun.
    Busy,
    /// It is not ours any more.
    Lost,
}

/// What remains to be written down of a chunk of which something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing: all of it is done.
    Nothing,
    /// Nothing either, but the chunk is not deleted: it had so many messages.
    Kept(u32),
    /// These ranges are done, the others not.
    Done(Vec<(u32, u32)>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct QueueState {
    waiting: IntervalSet,
    /// How many messages wait for a lease.
    messages: u64,
    leases: HashMap<String, Held>,
    /// How many messages those have.
    leased: u64,
    accepted: Accepted,
    tally: Tally,
    /// Ranges that are done, of chunks that are not done as a whole.
    done: BTreeMap<i64, Vec<(u32, u32)>>,
    /// The file is damaged: no chunk is deleted.
    keeps_all: bool,
    /// How leases ended, until their holders have heard of it.
    ended: HashMap<String, LeaseEnd>,
    /// How often all that waits was deleted: what was read before is not to be leased after.
    clears: u64,
    newest: i64,
    oldest: i64,
    adopted: i64,
}

impl QueueState {
    pub(super) fn new(found: &Found) -> Self {
        let mut waiting = IntervalSet::default();
        for (first, last) in [found.adopted, found.regular].into_iter().flatten() {
            waiting.insert(Offset::start(first), Offset::start(last.saturating_add(1)));
        }
        let mut done = BTreeMap::<i64, Vec<(u32, u32)>>::new();
        let mut messages = found.messages;
        for part in &found.done {
            waiting.remove(part.start(), part.end());
            messages = messages.saturating_sub(part.count());
            done.entry(part.chunk).or_default().push((part.from, part.to));
        }
        Self {
            waiting,
            messages,
            leases: HashMap::new(),
            leased: 0,
            accepted: Accepted::new(Instant::now(), &found.accepted),
            tally: Tally { found: messages, ..Tally::default() },
            done,
            keeps_all: false,
            ended: HashMap::new(),
            clears: 0,
            newest: found.regular.map_or(1, |(_, last)| last.max(0).saturating_add(1)),
            oldest: found.regular.map_or(0, |(first, _)| first.min(1).saturating_sub(1)),
            adopted: found.adopted.map_or(FIRST_ADOPTED, |(_, last)| last.saturating_add(1)),
        }
    }

    /// How many messages wait for a lease.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// What waits, leased or not.
    pub(super) fn pending(&self, now: Instant) -> Pending {
        let messages = self.messages + self.leased;
        let regions = [Region::Newest, Region::Oldest, Region::Adopted];
        let ages = regions.into_iter().filter_map(|region| self.longest_here(region)).map(|chunk| self.accepted.age(chunk, now));
        Pending { messages, leased: self.leased, oldest: ages.max().filter(|_| messages > 0) }
    }

    /// The chunk of a region that has been here longest, of those of which something waits or is leased.
    fn longest_here(&self, region: Region) -> Option<i64> {
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
    pub(super) fn tally(&self) -> Tally {
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
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.iter().next().is_some()
    }

    /// How many leases there are.
    pub(super) fn leases(&self) -> usize {
        self.leases.len()
    }

    /// The numbers that the next `chunks` chunks get, from the oldest on. They are not used up by it.
    pub(super) fn numbers(&self, region: Region, chunks: i64) -> i64 {
        match region {
            Region::Newest => self.newest,
            Region::Oldest => self.oldest + 1 - chunks,
            Region::Adopted => self.adopted,
        }
    }

    /// The mark of their time that so many chunks need which come now, if they do: to be written with them.
    pub(super) fn mark(&self, region: Region, chunks: i64, now: Instant) -> Option<Mark> {
        if !self.accepted.may_be_due(region, now) {
            return None;
        }
        let first = self.numbers(region, chunks);
        self.accepted.due(region, (first, first + chunks - 1), self.longest_here(region), now)
    }

    /// Chunks were stored under the numbers that were asked for, and their mark.
    pub(super) fn stored(&mut self, region: Region, chunks: i64, messages: u64, mark: Option<Mark>) {
        if let Some(mark) = mark {
            self.accepted.set(mark);
        }
        let first = self.numbers(region, chunks);
        match region {
            Region::Newest => self.newest += chunks,
            Region::Oldest => self.oldest -= chunks,
            Region::Adopted => self.adopted += chunks,
        }
        self.waiting.insert(Offset::start(first), Offset::start(first + chunks));
        self.messages += messages;
        self.tally.stored += messages;
        self.audit();
    }

    /// Where the oldest messages wait, in at most so many intervals, and a mark that [`QueueState::lease`] wants to see again.
    pub(super) fn oldest(&self, intervals: usize) -> (Vec<(Offset, Offset)>, u64) {
        (self.waiting.iter().take(intervals).collect(), self.clears)
    }

    /// Where messages wait, from the newest on.
    pub(super) fn newest(&self) -> Vec<(Offset, Offset)> {
        self.waiting.iter().rev().collect()
    }

    /// Leases what was found at [`QueueState::oldest`]. Returns whether it still waits.
    pub(super) fn lease(&mut self, id: String, parts: Vec<Part>, expires: Instant, mark: u64) -> bool {
        if mark != self.clears {
            return false;
        }
        let messages = self.take(&parts);
        self.leased += messages;
        self.leases.insert(id, Held { parts, messages, expires, settling: false });
        self.audit();
        true
    }

    /// A part cannot be read. Returns how many messages it has.
    pub(super) fn unreadable(&mut self, part: Part) -> u64 {
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
    pub(super) fn vanished(&mut self, from: Offset, to: Offset, mark: u64) {
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
    pub(super) fn missing(&mut self) -> u64 {
        let missing = if self.keeps_all && !self.is_waiting() { std::mem::take(&mut self.messages) } else { 0 };
        self.tally.parked += missing;
        missing
    }

    /// What is between these places cannot be found.
    pub(super) fn skip(&mut self, from: Offset, to: Offset) {
        self.waiting.remove(from, to);
    }

    /// The file is damaged: nothing of it is to be deleted any more.
    pub(super) fn keep_all(&mut self) {
        self.keeps_all = true;
    }

    /// Renews leases. Returns those that are not there any more.
    pub(super) fn renew(&mut self, ids: Vec<String>, expires: Instant) -> Vec<String> {
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
    pub(super) fn give_back(&mut self, id: &str) -> GivenBack {
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
    pub(super) fn expire(&mut self, live: &[String], now: Instant) -> u64 {
        let late =
            |(id, held): (&String, &Held)| (held.expires <= now && !held.settling && !live.contains(id)).then(|| id.clone());
        let late: Vec<String> = self.leases.iter().filter_map(late).collect();
        let messages = late.iter().map(|id| self.put_back(id)).sum();
        self.ended.extend(late.into_iter().map(|id| (id, LeaseEnd::Expired)));
        messages
    }

    fn put_back(&mut self, id: &str) -> u64 {
        let Some(held) = self.leases.remove(id) else { return 0 };
        held.parts.iter().for_each(|part| self.waiting.insert(part.start(), part.end()));
        self.messages += held.messages;
        self.leased -= held.messages;
        self.audit();
        held.messages
    }

    /// Begins to settle a lease, so that nothing else ends it meanwhile.
    pub(super) fn begin_settling(&mut self, id: &str) -> Settling {
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
    pub(super) fn not_settled(&mut self, id: &str) {
        if let Some(held) = self.leases.get_mut(id) {
            held.settling = false;
        }
    }

    /// It was completed.
    pub(super) fn settled(&mut self, id: &str, parked: usize) {
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
    pub(super) fn hear(&mut self, id: &str) -> Option<LeaseEnd> {
        self.ended.remove(id)
    }

    /// What is to be written down when these parts are done, chunk by chunk.
    pub(super) fn rests(&self, parts: impl IntoIterator<Item = Part>) -> BTreeMap<i64, Rest> {
        let mut done = BTreeMap::<i64, (u32, Vec<(u32, u32)>)>::new();
        for part in parts {
            let before = || (part.of, self.done.get(&part.chunk).cloned().unwrap_or_default());
            done.entry(part.chunk).or_insert_with(before).1.push((part.from, part.to));
        }
        let rest = |(chunk, (of, ranges))| match rest(of, ranges) {
            Rest::Nothing if self.keeps_all => (chunk, Rest::Kept(of)),
            rest => (chunk, rest),
        };
        done.into_iter().map(rest).collect()
    }

    /// It was written down.
    pub(super) fn written(&mut self, rests: BTreeMap<i64, Rest>) {
        for (chunk, rest) in rests {
            match rest {
                Rest::Nothing | Rest::Kept(_) => self.done.remove(&chunk),
                Rest::Done(ranges) => self.done.insert(chunk, ranges),
            };
        }
    }

    /// What waits apart from what was adopted, taken off. It comes back by [`QueueState::uncleared`].
    pub(super) fn clear(&mut self) -> Vec<(Offset, Offset)> {
        self.clears += 1;
        let (from, to) = (Offset::start(ADOPTED_BELOW), Offset::start(i64::MAX));
        let intervals: Vec<_> = self.waiting.iter().filter(|(start, _)| *start >= from).collect();
        self.waiting.remove(from, to);
        intervals
    }

    /// So many messages were deleted with [`QueueState::clear`].
    pub(super) fn cleared(&mut self, messages: u64) {
        let messages = messages.min(self.messages);
        self.messages -= messages;
        self.tally.dropped += messages;
        self.audit();
    }

    /// They could not be deleted.
    pub(super) fn uncleared(&mut self, intervals: &[(Offset, Offset)]) {
        intervals.iter().for_each(|&(from, to)| self.waiting.insert(from, to));
    }
}

/// Merges ranges of a chunk with so many messages.
fn rest(of: u32, mut ranges: Vec<(u32, u32)>) -> Rest {
    ranges.sort_unstable();
    ranges.dedup_by(|next, range| {
        let meets = next.0 <= range.1;
        if meets {
            range.1 = range.1.max(next.1);
        }
        meets
    });
    match ranges.as_slice() {
        [(0, to)] if *to >= of => Rest::Nothing,
        _ => Rest::Done(ranges),
    }
}

#[cfg(test)]
mod tests;
