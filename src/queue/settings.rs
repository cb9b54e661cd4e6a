//! What a queue is told when it is made.

use std::{path::PathBuf, time::Duration};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The file; made when it is missing, as is its folder.
    pub(crate) path: PathBuf,
    /// When a push is answered.
    pub(crate) durability: Durability,
    /// How large the file may become. Dead letters take a quarter of it at most.
    pub(crate) max_bytes: u64,
    /// Whether the oldest messages give way to those that come, where there is no room for both.
    pub(crate) drops_oldest: bool,
    /// What becomes of a push that a disk keeps waiting, with [`Durability::Process`].
    pub(crate) when_stalled: WhenStalled,
    /// How long a lease lasts without being renewed.
    pub(crate) lease: Duration,
    /// How many dead letters are kept.
    pub(crate) max_dead_letters: u64,
    /// How large a message may be.
    pub(crate) max_message_bytes: usize,
    /// Who gets every message.
    pub(crate) consumers: Consumers,
}

/// Who gets every message. What is done is kept for each; a message is deleted when all have done it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Consumers {
    /// One, which needs no name.
    TheOnly,
    /// These, the first of which is consumer 0. What waits in a file that has no names yet waits for each of them; one that is new to
    /// a file with names gets what is accepted from then on.
    Named(Vec<ConsumerSettings>),
    /// Those that got them the last time.
    AsFound,
}

/// One of several consumers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// By which the file knows it.
    pub name: String,
    /// What happens when `max_backlog` is reached: pushes are refused for one that is required, and its own oldest messages are
    /// dropped for another.
    pub required: bool,
    /// How many messages may wait for it, leased or not.
    pub max_backlog: Option<u64>,
}

/// What becomes of a push that a disk keeps waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenStalled {
    /// It waits.
    Wait,
    /// It is answered within this time as if it were stored, and is stored when the disk goes on.
    AnswerWithin(Duration),
    /// It is refused within this time and never stored, or, where it is a part of what the disk was given, has its connection ended.
    RefuseWithin(Duration),
}

/// What a push that was answered outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The end of the process; what is lost to a power cut was pushed within its last second.
    Process,
    /// A power cut.
    Fsync,
}
