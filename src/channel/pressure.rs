//! What threatens the messages that wait in a channel, said while an operator can still do something about it.

use std::{fmt, time::Duration};

use super::Backlog;
use crate::{codes::Code, config};

/// In which way waiting messages are in danger, or waiting too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Threat {
    /// Some of several queues cannot be used.
    Queue,
    /// The channel may delete messages that wait.
    Eviction,
    /// The channel forgets what waits when it ends.
    Persistence,
    /// Fewer replicas follow the channel than what is queued by this process waits for.
    Replicas,
    /// The channel has little memory left.
    Memory,
    /// The file that the channel is has little room left, or none, or as many wait for a publisher as may.
    Capacity,
    /// Too many messages wait, or the oldest waits for too long.
    Backlog,
    /// As many messages wait for one of several publishers as may, or nearly.
    MaxBacklog,
    /// Messages wait for a publisher that is not configured any more.
    RemovedPublisher,
    /// There are as many dead letters as may be kept.
    DeadLetters,
    /// Another agent on the queue has the same name.
    SharedName,
    /// Clients are refused something, turned away or cut off.
    Refusals,
}

impl Threat {
    /// The name in log values and on the status page.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Eviction => "eviction",
            Self::Persistence => "persistence",
            Self::Replicas => "replicas",
            Self::Memory => "memory",
            Self::Capacity => "capacity",
            Self::Backlog => "backlog",
            Self::MaxBacklog => "max backlog",
            Self::RemovedPublisher => "removed publisher",
            Self::DeadLetters => "dead letters",
            Self::SharedName => "shared name",
            Self::Refusals => "refusals",
        }
    }

    /// Its code.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::Queue => Code::QueueUnusable,
            Self::Eviction => Code::Eviction,
            Self::Persistence => Code::Persistence,
            Self::Replicas => Code::Replicas,
            Self::Memory => Code::Memory,
            Self::Capacity => Code::Capacity,
            Self::Backlog => Code::Backlog,
            Self::MaxBacklog => Code::MaxBacklog,
            Self::RemovedPublisher => Code::RemovedPublisher,
            Self::DeadLetters => Code::DeadLettersFull,
            Self::SharedName => Code::SharedName,
            Self::Refusals => Code::Refusals,
        }
    }

    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Queue,
        Self::Eviction,
        Self::Persistence,
        Self::Replicas,
        Self::Memory,
        Self::Capacity,
        Self::Backlog,
        Self::MaxBacklog,
        Self::RemovedPublisher,
        Self::DeadLetters,
        Self::SharedName,
        Self::Refusals,
    ];
}

impl fmt::Display for Threat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A threat as a person should hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which one.
    pub threat: Threat,
    /// What is wrong, in words that stay the same while it lasts.
    pub what: String,
    /// How it stands now, in numbers.
    pub now: String,
    /// What to do about it.
    pub mend: String,
}

/// How a channel stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// What is wrong; at most one warning a threat, but for [`Threat::Refusals`].
    pub warnings: Vec<Warning>,
    /// What the channel would not tell, as for want of a permission: sentences.
    pub unknown: Vec<String>,
    /// Whether the channel is known to refuse what clients push now.
    pub refuses: bool,
}

/// What the channel is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// A file of this process, to which clients push.
    Embedded,
    /// A Redis.
    Redis,
    /// Another implementation, as in a test.
    #[default]
    Other,
}

/// How a channel stands in numbers, as far as that is known without asking anybody: as of the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelStatus {
    /// What it is.
    pub kind: ChannelKind,
    /// Where it is: a path, or a URL without its password.
    pub place: String,
    /// Bytes in use.
    pub used: Option<u64>,
    /// How many may be.
    pub max_bytes: Option<u64>,
    /// In how long it is full at the present rate.
    pub full_in: Option<Duration>,
    /// Messages that cannot be read.
    pub damaged: u64,
    /// Dead letters.
    pub dead: Option<u64>,
    /// How many are kept.
    pub max_dead: Option<u64>,
    /// How many messages may wait for this consumer.
    pub max_backlog: Option<u64>,
    /// What becomes of a push when it is full.
    pub when_full: Option<&'static str>,
}

/// From when on a backlog is worth a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The oldest message has waited for longer than this.
    pub age: Duration,
    /// More messages than this wait.
    pub messages: u64,
}

impl Backlog {
    /// Whether so much waits, or for so long, that it is worth a warning.
    #[must_use]
    pub fn is_long(&self, patience: &Patience) -> bool {
        self.waiting > patience.messages || self.age.is_some_and(|age| age > patience.age)
    }
}

impl From<&config::Nanny> for Patience {
    fn from(nanny: &config::Nanny) -> Self {
        Self { age: nanny.warn_age, messages: nanny.warn_messages as u64 }
    }
}
