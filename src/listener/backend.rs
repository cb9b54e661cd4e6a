//! What the listener needs of a queue, and nothing more: it knows neither leases nor files nor channels.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use super::cause::Cause;
use crate::queue::{Outlook, Stalled};

/// The queue as a Redis list.
///
/// All methods may be called from any thread, at once; each is done as a whole or not at all. What was asked may still
/// be done after its future was dropped.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Queues messages, the first one first, all or none. Each may be a part of a larger buffer: what is kept after the
    /// answer must be copied. Returns how many wait afterwards, once they are as safe as
    /// `channel.embedded.durability` says.
    ///
    /// Once begun it is to be polled to its end or to be dropped: the answers of pushes from one thread may come with the
    /// first of them, so one that is kept without being polled may hold up the others.
    async fn push(&self, end: End, messages: Vec<Bytes>) -> Result<u64, PushError>;

    /// Has this called from another thread, again and again while a disk that stalls holds up pushes that can neither be answered nor
    /// refused; of two calls the later counts. Returns whether it ever will be.
    fn when_stalled(&self, hook: Arc<dyn Fn(Stalled) + Send + Sync>) -> bool {
        drop(hook);
        false
    }

    /// Counts messages that were dropped since [`Backend::push`] has refused them, as accepted and dropped.
    fn drop_newest(&self, messages: u64) {
        let _ = messages;
    }

    /// How many messages were answered before they were stored, since this was asked last: the disk kept them waiting.
    fn take_answered_early(&self) -> u64 {
        0
    }

    /// How many messages that were answered so wait for the disk now, and how many could not be stored in the end.
    fn answered_early(&self) -> (u64, u64) {
        (0, 0)
    }

    /// How many messages were dropped to make room for others since this was asked last.
    fn take_dropped_oldest(&self) -> u64 {
        0
    }

    /// How many messages wait; those under a lease do not.
    async fn length(&self) -> Result<u64, BackendError>;

    /// The waiting messages between two places, both included, as `LRANGE` counts them: 0 is the newest, -1 the oldest.
    /// More than a client should be sent at once is an error.
    async fn range(&self, start: i64, stop: i64) -> Result<Vec<Bytes>, BackendError>;

    /// What the queue says of itself. May be as it was a second ago, but for what waits.
    async fn status(&self) -> Result<QueueStatus, BackendError>;

    /// Deletes what waits; what is under a lease and what was adopted stays. Returns whether there was anything.
    async fn clear(&self) -> Result<bool, BackendError>;

    /// The first dead letter with a larger number than this: its own number, then names and values of what it is made of, as in an
    /// entry of a Redis stream.
    async fn letter_after(&self, id: i64) -> Result<Option<Vec<Vec<u8>>>, BackendError>;

    /// Takes out the dead letter of that number, if it was set aside at that `time`: to queue it anew for the publisher that set it
    /// aside alone, with `replay`, or else to delete it. Returns whether it was there.
    async fn take_out_letter(&self, id: i64, time: String, replay: bool) -> Result<bool, BackendError>;
}

/// What a queue says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct QueueStatus {
    /// How many messages wait, under a lease or not.
    pub waiting: u64,
    /// Of those: under a lease.
    pub in_hand: u64,
    /// For how long the oldest waits.
    pub age: Option<Duration>,
    /// Bytes of the file that are in use.
    pub used: u64,
    /// `channel.embedded.max_bytes`.
    pub max_bytes: u64,
    /// How long the rest of them lasts, once that is known.
    #[serde(default)]
    pub outlook: Option<Outlook>,
    /// How many dead letters there are.
    pub dead: u64,
    /// `channel.embedded.max_dead_letters`.
    pub max_dead_letters: u64,
    /// How many messages cannot be read, since the file is damaged.
    pub damaged: u64,
    /// Why nothing more is queued, and what to do about it.
    pub unsafe_because: Option<(String, String)>,
    /// Whether that is since the file is damaged.
    pub broken: bool,
    /// How it stands with each publisher, where there are several; the numbers above are of the one for which the most waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<ConsumerStatus>,
}

/// How it stands with one of several publishers.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConsumerStatus {
    /// Its name.
    pub name: String,
    /// Whether it was taken out of the configuration: it gets nothing more, and what waits for it is kept.
    pub removed: bool,
    /// How many messages wait for it, under a lease or not.
    pub waiting: u64,
    /// Of those: under a lease.
    pub in_hand: u64,
    /// For how long the oldest waits.
    pub age: Option<Duration>,
    /// How many messages were dropped before it had published them.
    pub dropped: u64,
    /// How many may wait for it, where that is bounded.
    pub max_backlog: Option<u64>,
    /// Whether pushes are refused when so many wait, instead of its oldest being dropped.
    pub required: bool,
}

/// The ends of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where messages come in: `LPUSH`.
    Newest,
    /// Where they are taken from: `RPUSH`.
    Oldest,
}

/// Why messages were not queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// There is no room: what a Redis answers when it has reached its maxmemory.
    #[error("command not allowed when used memory > 'maxmemory'")]
    Full,
    /// Another reason.
    #[error("{why}")]
    Failed {
        /// Which.
        cause: Cause,
        /// A sentence.
        why: String,
    },
}

impl PushError {
    /// By which cause it is counted.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Full => Cause::Full,
            Self::Failed { cause, .. } => *cause,
        }
    }
}

/// Why a question was not answered: a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BackendError(pub String);
