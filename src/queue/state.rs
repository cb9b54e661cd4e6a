//! What waits and what is leased, for each consumer: kept in memory, since only this process has the file. Pure; the clock is the
//! caller's.
//!
//! [`consumer`] is what one of them has; [`done`] is what is to be written down of what is done. Where there is one publisher, there
//! is one consumer, without a name.

mod consumer;
mod done;

use std::{
    collections::BTreeMap,
    iter,
    time::{Duration, Instant},
};

use super::{
    accepted::{Accepted, Mark},
    errors::Problem,
    found::{Found, Next},
    intervals::{IntervalSet, Offset, Part},
    region::Region,
    stats::{ConsumerStats, Pending},
};
use consumer::ConsumerState;
pub(crate) use consumer::LeaseEnd;
pub(super) use consumer::{GivenBack, Settling};
use done::rest;
pub(super) use done::{Change, Changes, ConsumerChange, Rest, done_by_all};

/// See the module.
#[derive(Debug)]
pub(super) struct QueueState {
    first: ConsumerState,
    others: Vec<ConsumerState>,
    accepted: Accepted,
    /// Ranges that the only consumer has done, of chunks that are not done as a whole.
    done: BTreeMap<i64, Vec<(u32, u32)>>,
    /// The file is damaged: no chunk is deleted.
    keeps_all: bool,
    newest: i64,
    oldest: i64,
    adopted: i64,
}

impl QueueState {
    pub(super) fn new(found: &Found) -> Self {
        let mut done = BTreeMap::<i64, Vec<(u32, u32)>>::new();
        for part in &found.done {
            done.entry(part.chunk).or_default().push((part.from, part.to));
        }
        let mut consumers = found.consumers.iter().map(ConsumerState::named);
        let first = consumers.next().unwrap_or_else(|| ConsumerState::the_only(found));
        let next = Next::of(found);
        Self {
            first,
            others: consumers.collect(),
            accepted: Accepted::new(Instant::now(), &found.accepted),
            done,
            keeps_all: false,
            newest: next.newest,
            oldest: next.oldest,
            adopted: next.adopted,
        }
    }

    /// A consumer by its place in [`Found::consumers`].
    pub(super) fn of(&self, consumer: usize) -> &ConsumerState {
        consumer.checked_sub(1).and_then(|other| self.others.get(other)).unwrap_or(&self.first)
    }

    pub(super) fn of_mut(&mut self, consumer: usize) -> &mut ConsumerState {
        consumer.checked_sub(1).and_then(|other| self.others.get_mut(other)).unwrap_or(&mut self.first)
    }

    fn all(&self) -> impl Iterator<Item = &ConsumerState> {
        iter::once(&self.first).chain(&self.others)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut ConsumerState> {
        iter::once(&mut self.first).chain(&mut self.others)
    }

    /// How many messages wait for a lease of the consumer for which the most do.
    pub(super) fn messages(&self) -> u64 {
        self.others
            .iter()
            .filter(|other| other.is_configured())
            .map(ConsumerState::messages)
            .fold(self.first.messages(), u64::max)
    }

    /// Where messages wait, from the newest on, for the consumer for which the most do.
    pub(super) fn newest(&self) -> Vec<(Offset, Offset)> {
        let most = self.messages();
        let longest = self.all().find(|consumer| consumer.is_configured() && consumer.messages() == most);
        longest.unwrap_or(&self.first).newest()
    }

    /// What waits for a consumer, leased or not.
    pub(super) fn pending(&self, consumer: usize, now: Instant) -> Pending {
        self.pending_of(self.of(consumer), now)
    }

    /// For how long the oldest message has waited that waits for a lease of a consumer; it is in this chunk.
    pub(super) fn age_of_oldest(&self, consumer: usize, chunk: i64) -> Duration {
        let now = Instant::now();
        let exact = self.of(consumer).first_came().map(|came| now.saturating_duration_since(came));
        exact.unwrap_or_else(|| self.accepted.age(chunk, now))
    }

    /// What waits for the consumer for which the most does.
    pub(super) fn most_pending(&self, now: Instant) -> Pending {
        let configured = self.all().filter(|consumer| consumer.is_configured());
        let most = configured.max_by_key(|consumer| consumer.pending().messages);
        self.pending_of(most.unwrap_or(&self.first), now)
    }

    fn pending_of(&self, consumer: &ConsumerState, now: Instant) -> Pending {
        let regions = [Region::Newest, Region::Oldest, Region::Adopted];
        let ages = regions.into_iter().filter_map(|region| consumer.longest_here(region));
        let oldest = ages.map(|chunk| self.accepted.age(chunk, now)).max();
        let Pending { messages, leased, .. } = consumer.pending();
        Pending { messages, leased, oldest: oldest.filter(|_| messages > 0) }
    }

    /// Each of several consumers.
    pub(super) fn consumers(&self, now: Instant) -> Vec<ConsumerStats> {
        let stats = |consumer: &ConsumerState| {
            Some(ConsumerStats {
                name: consumer.name()?.to_owned(),
                settings: consumer.settings().cloned(),
                pending: self.pending_of(consumer, now),
                dropped: consumer.tally().dropped,
            })
        };
        self.all().filter_map(stats).collect()
    }

    /// The chunk of a region that has been here longest, of those of which something waits or is leased for any consumer.
    fn longest_here(&self, region: Region) -> Option<i64> {
        let all = self.all().filter_map(|consumer| consumer.longest_here(region));
        if region == Region::Oldest { all.max() } else { all.min() }
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

    /// The place of the consumer of that name.
    pub(super) fn place_of(&self, name: &str) -> Result<usize, Problem> {
        let configured = || self.all().enumerate().filter(|(_, consumer)| consumer.is_configured());
        let place = configured().find(|(_, consumer)| consumer.name() == Some(name)).map(|(place, _)| place);
        let known = || configured().filter_map(|(_, consumer)| consumer.name().map(ToOwned::to_owned)).collect();
        place.ok_or_else(|| Problem::NoConsumer { name: name.to_owned(), known: known() })
    }

    /// The places of all consumers but the one that something is for alone.
    pub(super) fn others(&self, only: Option<usize>) -> Vec<usize> {
        let other =
            |(place, consumer): (usize, &ConsumerState)| (consumer.is_configured() && only != Some(place)).then_some(place);
        if only.is_some() { self.all().enumerate().filter_map(other).collect() } else { Vec::new() }
    }

    /// Chunks were stored under the numbers that were asked for, and their mark. Returns whether as many messages wait now as are
    /// awaited by any consumer.
    pub(super) fn stored(&mut self, region: Region, chunks: i64, messages: u64, mark: Option<Mark>) -> bool {
        self.stored_for(None, region, chunks, messages, mark)
    }

    /// The same, for one consumer alone if it is said for which.
    pub(super) fn stored_for(
        &mut self,
        only: Option<usize>,
        region: Region,
        chunks: i64,
        messages: u64,
        mark: Option<Mark>,
    ) -> bool {
        if let Some(mark) = mark {
            self.accepted.set(mark);
        }
        let first = self.numbers(region, chunks);
        match region {
            Region::Newest => self.newest += chunks,
            Region::Oldest => self.oldest -= chunks,
            Region::Adopted => self.adopted += chunks,
        }
        let (from, to) = (Offset::start(first), Offset::start(first + chunks));
        let all = self.all_mut().enumerate().filter(|(place, it)| it.is_configured() && only.is_none_or(|only| only == *place));
        all.fold(false, |awaited, (_, consumer)| consumer.stored(from, to, messages) | awaited)
    }

    /// The required consumer for which too many messages would wait with so many more, and how many may.
    pub(super) fn no_backlog_for(&self, more: u64) -> Option<(String, u64)> {
        let full = |consumer: &ConsumerState| {
            let most = consumer.bound(true).filter(|most| consumer.pending().messages.saturating_add(more) > *most)?;
            Some((consumer.name()?.to_owned(), most))
        };
        self.all().find_map(full)
    }

    /// The consumers for which too many messages wait, with how many too many, and how many may: those that are not required, or all
    /// of them.
    pub(super) fn too_long(&self, all: bool) -> Vec<(usize, u64, u64)> {
        let over = |(place, consumer): (usize, &ConsumerState)| {
            let most = consumer.bound(false).or_else(|| consumer.bound(true).filter(|_| all))?;
            let over = consumer.pending().messages.saturating_sub(most);
            (over > 0).then_some((place, over, most))
        };
        self.all().enumerate().filter_map(over).collect()
    }

    /// Chunks, from the oldest on, of which something waits for any consumer and nothing is leased, in so many intervals at most for
    /// each consumer.
    pub(super) fn droppable(&self, intervals: usize) -> IntervalSet {
        let mut droppable = IntervalSet::default();
        for (from, to) in self.all().flat_map(|consumer| consumer.oldest(intervals).0) {
            droppable.insert(Offset::start(from.chunk), Offset::start(to.next_chunk()));
        }
        self.without_leased(droppable)
    }

    /// These chunks, but for those of which something is leased.
    fn without_leased(&self, mut chunks: IntervalSet) -> IntervalSet {
        for chunk in self.all().flat_map(ConsumerState::leased_chunks) {
            chunks.remove(Offset::start(chunk), Offset::start(chunk.saturating_add(1)));
        }
        chunks
    }

    /// Takes off for each consumer what waits in these chunks, but for those of which something is leased by now. It comes back by
    /// [`ConsumerState::uncleared`].
    pub(super) fn begin_dropping(&mut self, chunks: &IntervalSet) -> Vec<(usize, Vec<(Offset, Offset)>)> {
        let chunks = self.without_leased(chunks.clone());
        let taken_off = self.all_mut().enumerate().map(|(place, consumer)| (place, consumer.take_off(&chunks)));
        taken_off.filter(|(_, intervals)| !intervals.is_empty()).collect()
    }

    /// The file is damaged: nothing of it is to be deleted any more.
    pub(super) fn keep_all(&mut self) {
        self.keeps_all = true;
        self.all_mut().for_each(ConsumerState::keep_all);
    }

    /// What is to be written down when these parts are done, each by a consumer.
    pub(super) fn change(&self, parts: impl IntoIterator<Item = (usize, Part)>) -> Change {
        if self.first.name().is_none() {
            return Change::OfTheOnly(self.rests(parts.into_iter().map(|(_, part)| part)));
        }
        Change::OfSeveral(self.changes(parts.into_iter().map(|(consumer, part)| (consumer, part.start(), part.end()))))
    }

    /// What is to be written down when these parts are done by the only consumer, chunk by chunk.
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

    /// What is to be written down when these intervals are done, each by one of several consumers.
    pub(super) fn changes(&self, done: impl IntoIterator<Item = (usize, Offset, Offset)>) -> Changes {
        let (mut added, mut touched) = (BTreeMap::<usize, IntervalSet>::new(), IntervalSet::default());
        for (consumer, from, to) in done {
            added.entry(consumer).or_default().insert(from, to);
            touched.insert(Offset::start(from.chunk), Offset::start(to.next_chunk()));
        }
        let change = |(consumer, added)| {
            let (id, done) = self.of(consumer).done()?;
            let (gone, now) = done.merged_into(&added);
            Some(ConsumerChange { consumer, id, gone, now })
        };
        let consumers: Vec<_> = added.into_iter().filter_map(change).collect();
        if self.keeps_all {
            return Changes { consumers, deleted: Vec::new() };
        }
        let done_then = self.all().enumerate().map(|(place, consumer)| {
            let now = consumers.iter().filter(|change| change.consumer == place).map(|change| &change.now);
            consumer.done().map(|(_, done)| done).into_iter().chain(now).collect()
        });
        let deleted = done_by_all(touched, done_then);
        Changes { consumers, deleted }
    }

    /// It was written down.
    pub(super) fn written(&mut self, change: Change) {
        match change {
            Change::OfTheOnly(rests) => {
                for (chunk, rest) in rests {
                    match rest {
                        Rest::Nothing | Rest::Kept(_) => self.done.remove(&chunk),
                        Rest::Done(ranges) => self.done.insert(chunk, ranges),
                    };
                }
            }
            Change::OfSeveral(Changes { consumers, .. }) => {
                for ConsumerChange { consumer, now, .. } in consumers {
                    self.of_mut(consumer).add_done(&now);
                }
            }
        }
    }

    /// What waits for each consumer apart from what was adopted, taken off. It comes back by [`ConsumerState::uncleared`].
    pub(super) fn clear(&mut self) -> Vec<(usize, Vec<(Offset, Offset)>)> {
        let configured = self.all_mut().enumerate().filter(|(_, consumer)| consumer.is_configured());
        configured.map(|(place, consumer)| (place, consumer.clear())).filter(|(_, intervals)| !intervals.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests;
