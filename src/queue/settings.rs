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
    /// How long a lease lasts without being renewed.
    pub(crate) lease: Duration,
    /// How many dead letters are kept.
    pub(crate) max_dead_letters: u64,
    /// How large a message may be.
    pub(crate) max_message_bytes: usize,
}

/// What a push that was answered outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The end of the process; what is lost to a power cut was pushed within its last second.
    Process,
    /// A power cut.
    Fsync,
}
