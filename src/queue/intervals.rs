//! Where messages are: offsets in chunks, and sets of them as few intervals. Pure.

use std::{collections::BTreeMap, ops::Range};

/// A message's chunk, and which of its messages it is. Offsets are ordered from the oldest message to the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Offset {
    pub(super) chunk: i64,
    pub(super) message: u32,
}

impl Offset {
    /// The first offset of a chunk.
    pub(super) fn start(chunk: i64) -> Self {
        Self { chunk, message: 0 }
    }

    /// The first chunk of which nothing is before this.
    pub(super) fn next_chunk(self) -> i64 {
        self.chunk.saturating_add(i64::from(self.message > 0))
    }
}

/// Which messages of a chunk, of so many, are from the one offset on and before the other.
pub(super) fn places(chunk: i64, of: u32, from: Offset, to: Offset) -> Range<u32> {
    let first = if chunk == from.chunk { from.message } else { 0 };
    first..if chunk == to.chunk { to.message } else { of }
}

/// Some messages of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) chunk: i64,
    pub(super) from: u32,
    /// Not included.
    pub(super) to: u32,
    /// How many messages the chunk has.
    pub(super) of: u32,
}

impl Part {
    pub(super) fn start(&self) -> Offset {
        Offset { chunk: self.chunk, message: self.from }
    }

    /// The offset behind it: in the next chunk when this one ends with it, so that neighbours meet.
    pub(super) fn end(&self) -> Offset {
        if self.to >= self.of {
            Offset::start(self.chunk.saturating_add(1))
        } else {
            Offset { chunk: self.chunk, message: self.to }
        }
    }

    pub(super) fn count(&self) -> u64 {
        u64::from(self.to.saturating_sub(self.from))
    }
}

/// A set of offsets: disjoint intervals, none touching another. An interval may reach over chunks that do not exist any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IntervalSet(BTreeMap<Offset, Offset>);

impl IntervalSet {
    /// Adds an interval.
    pub(super) fn insert(&mut self, mut from: Offset, mut to: Offset) {
        if from >= to {
            return;
        }
        if let Some((&before, &end)) = self.0.range(..=from).next_back()
            && end >= from
        {
            from = before;
            to = to.max(end);
        }
        while let Some((&next, &end)) = self.0.range(from..=to).next() {
            self.0.remove(&next);
            to = to.max(end);
        }
        self.0.insert(from, to);
    }

    /// Takes an interval out, of which not everything need be in.
    pub(super) fn remove(&mut self, from: Offset, to: Offset) {
        if from >= to {
            return;
        }
        let before = self.0.range(..from).next_back().map(|(&start, &end)| (start, end));
        if let Some((start, end)) = before.filter(|(_, end)| *end > from) {
            self.0.insert(start, from);
            if end > to {
                self.0.insert(to, end);
            }
        }
        while let Some((&start, &end)) = self.0.range(from..to).next() {
            self.0.remove(&start);
            if end > to {
                self.0.insert(to, end);
            }
        }
    }

    /// The first chunk from this one on of which something is in.
    pub(super) fn first_from(&self, chunk: i64) -> Option<i64> {
        let from = Offset::start(chunk);
        let over = self.0.range(..from).next_back().is_some_and(|(_, &end)| end > from);
        if over { Some(chunk) } else { self.0.range(from..).next().map(|(start, _)| start.chunk) }
    }

    /// The last chunk before this one of which something is in.
    pub(super) fn last_before(&self, chunk: i64) -> Option<i64> {
        let before = Offset::start(chunk);
        let (_, &end) = self.0.range(..before).next_back()?;
        let end = end.min(before);
        Some(if end.message > 0 { end.chunk } else { end.chunk.saturating_sub(1) })
    }

    /// Whether an interval is in as a whole.
    pub(super) fn contains(&self, from: Offset, to: Offset) -> bool {
        from >= to || self.0.range(..=from).next_back().is_some_and(|(_, &end)| end >= to)
    }

    /// What of an interval is in.
    pub(super) fn within(&self, from: Offset, to: Offset) -> impl Iterator<Item = (Offset, Offset)> + '_ {
        let over = self.0.range(..from).next_back().filter(move |(_, end)| **end > from);
        let parts = over.into_iter().chain(self.0.range(from..to.max(from)));
        parts.map(move |(&start, &end)| (start.max(from), end.min(to))).filter(|(start, end)| start < end)
    }

    /// What is in both.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::default();
        other.iter().flat_map(|(from, to)| self.within(from, to)).for_each(|(from, to)| both.insert(from, to));
        both
    }

    /// Another set with those intervals of this one that touch it, and where these begin.
    pub(super) fn merged_into(&self, other: &Self) -> (Vec<Offset>, Self) {
        let (mut begins, mut merged) = (Vec::new(), other.clone());
        for (from, to) in other.iter() {
            let before = self.0.range(..from).next_back().filter(|(_, end)| **end >= from);
            for (&start, &end) in before.into_iter().chain(self.0.range(from..=to)) {
                begins.push(start);
                merged.insert(start, end);
            }
        }
        begins.dedup();
        (begins, merged)
    }

    /// The intervals from the oldest on.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Offset, Offset)> + '_ {
        self.0.iter().map(|(&from, &to)| (from, to))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_of_spans_is_a_set(steps in prop::collection::vec((any::<bool>(), 0..30u32, 0..8u32), 0..40)) {
            let (mut intervals, mut set) = (IntervalSet::default(), BTreeSet::new());
            for (insert, from, length) in steps {
                let (a, b) = (Offset { chunk: 1, message: from }, Offset { chunk: 1, message: from + length });
                if insert {
                    intervals.insert(a, b);
                    set.extend(from..from + length);
                } else {
                    intervals.remove(a, b);
                    set.retain(|at| !(from..from + length).contains(at));
                }
                let all: Vec<u32> = intervals.iter().flat_map(|(from, to)| from.message..to.message).collect();
                prop_assert_eq!(all, set.iter().copied().collect::<Vec<_>>());
                prop_assert!(intervals.iter().zip(intervals.iter().skip(1)).all(|(one, next)| one.1 < next.0));
                prop_assert!(intervals.iter().all(|(from, to)| from < to));
                let there: BTreeSet<i64> = intervals.iter().flat_map(|(from, to)| from.chunk..to.chunk + i64::from(to.message > 0)).collect();
                for (low, high) in (0..38).flat_map(|low| [low, low + 3, 38].map(move |high| (low, high))) {
                    let (from, to) = (Offset { chunk: 1, message: low }, Offset { chunk: 1, message: high });
                    let within: Vec<u32> = intervals.within(from, to).flat_map(|(from, to)| from.message..to.message).collect();
                    prop_assert_eq!(intervals.contains(from, to), within.len() == (high - low) as usize);
                    prop_assert_eq!(within, set.range(low..high).copied().collect::<Vec<_>>());
                }
                for chunk in 0..4 {
                    prop_assert_eq!(intervals.first_from(chunk), there.range(chunk..).next().copied());
                    prop_assert_eq!(intervals.last_before(chunk), there.range(..chunk).next_back().copied());
                }
            }
        }

        #[test]
        fn what_touches_is_merged_and_nothing_else(
            (one, other) in (prop::collection::vec((0..40u32, 1..6u32), 0..9), prop::collection::vec((0..40u32, 1..6u32), 0..9)),
        ) {
            let at = |message| Offset { chunk: 1, message };
            let set = |parts: &[(u32, u32)]| {
                let mut set = IntervalSet::default();
                parts.iter().for_each(|(from, length)| set.insert(at(*from), at(from + length)));
                set
            };
            let (one, other) = (set(&one), set(&other));
            let (begins, merged) = one.merged_into(&other);
            let mut all = one.clone();
            other.iter().for_each(|(from, to)| all.insert(from, to));
            let mut written = one;
            assert!(begins.iter().all(|begin| written.0.remove(begin).is_some()));
            prop_assert!(merged.iter().all(|(from, to)| written.within(from, to).next().is_none()));
            merged.iter().for_each(|(from, to)| written.insert(from, to));
            prop_assert_eq!(written, all);
        }
    }
}
