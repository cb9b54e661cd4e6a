//! What is done, and what of that is to be written down. Pure.
//!
//! Where there is one consumer without a name, what is done is known by chunk: a chunk that is done is deleted, so only those are
//! written down of which a part is. A consumer that has others beside it cannot have a chunk deleted by itself, so what it has
//! done may be as long as the queue: it is known as few intervals, which reach over chunks that are deleted, and a chunk is deleted
//! when all have done it.

use std::collections::BTreeMap;

use crate::queue::intervals::{IntervalSet, Offset};

/// What remains to be written down of a chunk of which something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Rest {
    /// Nothing: all of it is done.
    Nothing,
    /// Nothing either, but the chunk is not deleted: it had so many messages.
    Kept(u32),
    /// These ranges are done, the others not.
    Done(Vec<(u32, u32)>),
}

/// What is to be written down when messages are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Change {
    /// By chunk, for the only consumer.
    OfTheOnly(BTreeMap<i64, Rest>),
    OfSeveral(Changes),
}

/// See [`Change`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Changes {
    pub(in super::super) consumers: Vec<ConsumerChange>,
    /// Runs of chunks that all have done, each from its first to its last.
    pub(in super::super) deleted: Vec<(i64, i64)>,
}

/// How that changes which is done for one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct ConsumerChange {
    pub(super) consumer: usize,
    /// Its number in the file.
    pub(in super::super) id: i64,
    /// Intervals that are part of others now begin here.
    pub(in super::super) gone: Vec<Offset>,
    pub(in super::super) now: IntervalSet,
}

impl Change {
    pub(in super::super) fn is_empty(&self) -> bool {
        match self {
            Self::OfTheOnly(rests) => rests.is_empty(),
            Self::OfSeveral(changes) => changes.consumers.is_empty(),
        }
    }
}

/// Merges ranges of a chunk with so many messages.
pub(super) fn rest(of: u32, mut ranges: Vec<(u32, u32)>) -> Rest {
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

/// The runs of whole chunks, of those that are `touched`, that are in all these sets, each the union of several.
pub(in super::super) fn done_by_all<'a>(
    touched: IntervalSet,
    sets: impl IntoIterator<Item = Vec<&'a IntervalSet>>,
) -> Vec<(i64, i64)> {
    let mut common = touched;
    for set in sets {
        let mut here = IntervalSet::default();
        for part in set {
            part.intersection(&common).iter().for_each(|(from, to)| here.insert(from, to));
        }
        common = here;
    }
    let run = |(from, to): (Offset, Offset)| (from.next_chunk(), to.chunk.saturating_sub(1));
    common.iter().map(run).filter(|(first, last)| first <= last).collect()
}
