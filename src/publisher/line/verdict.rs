//! What an answer to a write of lines can mean, whichever destination gave it.

use std::time::Duration;

use crate::codes::Code;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::publisher) enum Verdict {
    /// All of it is written.
    Complete,
    /// Some of it was refused, and the rest may be written or not.
    Isolate {
        words: String,
        /// How many points were refused, where the destination's count can be trusted.
        refused: Option<usize>,
    },
    /// Some lines were refused, and the answer says which.
    Named {
        /// The place of each among those that were sent, in their order, and why it was refused. Not empty.
        refused: Vec<(usize, String)>,
        /// Whether the others are written; otherwise nothing is.
        others_are_written: bool,
    },
    /// A limit that an operator has set is reached: there are points that the destination takes no more, and others that it takes.
    Limited {
        words: String,
        /// How many points were refused, at least.
        refused: Option<usize>,
        /// The place of each among those that were sent, where the answer says so; then the others are written. Else empty.
        named: Vec<usize>,
    },
    /// Too much at once.
    Split { words: String },
    /// Later.
    Retry { after: Option<Duration>, words: String, fault: Fault },
    /// An operator must mend this first.
    Hold { cause: Cause, words: String, fault: Fault },
}

impl Verdict {
    /// What the answer said; of several lines that it named, about the first.
    pub(in crate::publisher) fn words(&self) -> &str {
        match self {
            Self::Complete => "",
            Self::Named { refused, .. } => refused.first().map_or("", |(_, reason)| reason),
            Self::Isolate { words, .. }
            | Self::Limited { words, .. }
            | Self::Split { words }
            | Self::Retry { words, .. }
            | Self::Hold { words, .. } => words,
        }
    }
}

/// Whose fault a failure is, as far as the answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::publisher) enum Fault {
    /// The server is throttled, or was not reached: whatever had been sent, the answer would be the same.
    Busy,
    /// The database names what is wrong with itself. It may concern some points only, but an operator can mend it.
    Server,
    /// Nothing tells whether it is the server, something in between, or what was sent.
    Unknown,
}

/// What an operator must mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::publisher) enum Cause {
    NoDatabase,
    /// There is no database, and creating it failed.
    NotCreated,
    NoRetentionPolicy,
    Unauthenticated,
    Forbidden,
    Limit,
    /// The destination's disk is full or fails.
    Disk,
    /// One point of `size` bytes is refused as too large.
    TooLarge {
        size: usize,
    },
    /// What answers is not the destination's write API.
    Foreign,
}

impl Cause {
    /// Its code.
    pub(in crate::publisher) fn code(self) -> Code {
        match self {
            Self::NoDatabase => Code::NoDatabase,
            Self::NotCreated => Code::NotCreated,
            Self::NoRetentionPolicy => Code::NoRetentionPolicy,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Forbidden => Code::Forbidden,
            Self::Limit => Code::Limit,
            Self::Disk => Code::DestinationDisk,
            Self::TooLarge { .. } => Code::PointTooLarge,
            Self::Foreign => Code::Foreign,
        }
    }
}
