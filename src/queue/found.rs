//! What a file holds when it is opened.

use super::{
    intervals::{IntervalSet, Part},
    region::FIRST_ADOPTED,
    settings::ConsumerSettings,
};

/// See the module.
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
    /// The consumers that have names: those that are configured, in their order, and then those that were. Where there are none,
    /// all that is not done waits for the only one.
    pub(super) consumers: Vec<FoundConsumer>,
}

/// What a file holds for one of several consumers.
#[derive(Clone, Debug, Default)]
pub(super) struct FoundConsumer {
    /// Its number in the file.
    pub(super) id: i64,
    pub(super) name: String,
    /// What it is now; a consumer that was removed from the configuration is none.
    pub(super) configured: Option<ConsumerSettings>,
    pub(super) waiting: IntervalSet,
    /// How many messages that has.
    pub(super) messages: u64,
    pub(super) done: IntervalSet,
}

/// The numbers of the chunks that come next: in each region behind those that are there.
pub(super) struct Next {
    pub(super) newest: i64,
    pub(super) oldest: i64,
    pub(super) adopted: i64,
}

impl Next {
    pub(super) fn of(found: &Found) -> Self {
        Self {
            newest: found.regular.map_or(1, |(_, last)| last.max(0).saturating_add(1)),
            oldest: found.regular.map_or(0, |(first, _)| first.min(1).saturating_sub(1)),
            adopted: found.adopted.map_or(FIRST_ADOPTED, |(_, last)| last.saturating_add(1)),
        }
    }
}
