//! What a queue says of itself, in numbers.

use std::time::Duration;

use super::{errors::PushError, outlook::Outlook, settings::ConsumerSettings};

/// What was accepted and is not done, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Leased or not.
    pub(crate) messages: u64,
    /// Of those: leased.
    pub(crate) leased: u64,
    /// For how long the oldest has been here.
    pub(crate) oldest: Option<Duration>,
}

/// What has become of messages since the file was opened, in messages: found + stored = published + parked + dropped + pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// There when the file was opened.
    pub(crate) found: u64,
    /// Pushed since then, what was dropped in place of being stored included.
    pub(crate) stored: u64,
    /// Settled, and no dead letter.
    pub(crate) published: u64,
    /// Settled as a dead letter, or unreadable.
    pub(crate) parked: u64,
    /// Deleted before they were settled, or not stored at all.
    pub(crate) dropped: u64,
    /// Neither of those yet.
    pub(crate) pending: u64,
}

/// How it stands with one of several consumers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsumerStats {
    pub(crate) name: String,
    /// As it is configured. One that is not any more gets nothing new, and what waits for it is kept.
    pub(crate) settings: Option<ConsumerSettings>,
    pub(crate) pending: Pending,
    /// Messages that were deleted before it had settled them, since the file was opened.
    pub(crate) dropped: u64,
}

/// How the queue is, for one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) pending: Pending,
    /// Bytes of the file that are in use.
    pub(crate) used_bytes: u64,
    /// How long the rest of it lasts, once that is known.
    pub(crate) outlook: Option<Outlook>,
    pub(crate) dead_letters: u64,
    /// Messages that cannot be read, since the file is damaged.
    pub(crate) unreadable: u64,
    /// Messages that are done, and could not be marked as such in a damaged file: the next start publishes them again.
    pub(crate) unmarked: u64,
    /// Why pushes are refused, unless it is for want of room.
    pub(crate) refusing: Option<PushError>,
}
