//! The regions of the queue: which numbers the chunks of each have, from those that are leased first to those that are leased last.

use std::ops::RangeInclusive;

/// Chunks below this hold adopted messages: older than all others, and leased apart from them.
pub(super) const ADOPTED_BELOW: i64 = -(1 << 62);
/// The first of them.
pub(super) const FIRST_ADOPTED: i64 = i64::MIN + 1;

/// Where pushed messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Region {
    /// Behind all others.
    Newest,
    /// Before all others, each before the one that was pushed before it.
    Oldest,
    /// Before all others and to be leased apart from them: another agent has worked on them. The oldest comes first.
    Adopted,
}

impl Region {
    /// The region of a chunk.
    pub(super) fn of(chunk: i64) -> Self {
        let has = |region: &Self| region.chunks().contains(&chunk);
        [Self::Newest, Self::Oldest].into_iter().find(has).unwrap_or(Self::Adopted)
    }

    /// The numbers that chunks of the region may have.
    pub(super) fn chunks(self) -> RangeInclusive<i64> {
        match self {
            Self::Newest => 1..=i64::MAX,
            Self::Oldest => ADOPTED_BELOW..=0,
            Self::Adopted => i64::MIN..=ADOPTED_BELOW - 1,
        }
    }
}
