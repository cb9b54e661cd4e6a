//! How the agent is: one typed document. Everything that is told of it is made from this, and from nothing else: the status page, its
//! JSON, the metrics, the commands, systemd's status line, and the last lines of the log.
//!
//! Its JSON is read by other versions than the one that wrote it. So a field is never renamed, what is added has a default, and
//! [`VERSION`] grows when what a field means has to change. Times are RFC 3339, durations are seconds, sizes are bytes, and whatever is
//! counted is counted since the process started unless its field says otherwise. A counter is there from the start on, at zero.

mod actors;
#[cfg(any(test, feature = "failpoints", feature = "fuzzing"))]
mod example;
mod flow;
mod histogram;
mod past;

pub use self::{
    actors::{Actor, ActorEvent, ActorState, Budget, EventKind},
    flow::{
        Canary, Channel, ChannelKind, Counted, DeadLetterReason, DeadLetters, Hold, LastError, Publisher, Queue,
        RefusedToClients, Tally,
    },
    histogram::{BOUNDS, Bucket, Histogram},
    past::{History, HistoryPoint, Mark, MarkKind, Seen, SeenKind, SeenSeries},
};

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plural::count;

/// The version of the document.
pub const VERSION: u32 = 1;

/// How the agent is at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`VERSION`] of the agent that made it.
    pub version: u32,
    /// When it was made.
    pub at: Timestamp,
    /// The process.
    pub agent: Agent,
    /// Whether all is well, in a sentence.
    pub verdict: Verdict,
    /// What an operator may have to mend, the worst first.
    pub troubles: Vec<Trouble>,
    /// Where messages wait.
    pub channel: Channel,
    /// Where they go, in the order of the configuration. At least one.
    pub publishers: Vec<Publisher>,
    /// What came over statsd, where that is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statsd: Option<Statsd>,
    /// The actors, in the order in which they were started.
    pub actors: Vec<Actor>,
    /// The last hour.
    pub history: History,
    /// What came through.
    pub seen: Seen,
    /// The configuration that holds, as `kadabra check --show` prints it: with where each value comes from, and without secrets.
    #[serde(default)]
    pub configuration: String,
}

/// What came over statsd since the start, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statsd {
    /// Datagrams that were read.
    pub datagrams: u64,
    /// Metrics that are, or will be, part of a message.
    pub aggregated: u64,
    /// Events and service checks.
    pub ignored: u64,
    /// Metrics, and datagrams that were too long, that were not taken, by why.
    pub refused: Vec<Counted>,
    /// Datagrams that the kernel dropped since they were not read soon enough.
    pub dropped_by_kernel: u64,
    /// Messages that the channel has of it.
    pub queued: u64,
}

impl Statsd {
    /// Each number by its name in what Prometheus reads, without `kadabra_` and `_total`.
    #[must_use]
    pub fn by_name(&self) -> Vec<(String, u64)> {
        let mut all: Vec<_> = [
            ("datagrams", self.datagrams),
            ("datagrams_dropped", self.dropped_by_kernel),
            ("aggregated", self.aggregated),
            ("ignored", self.ignored),
            ("messages", self.queued),
        ]
        .map(|(name, number)| (format!("statsd_{name}"), number))
        .into();
        all.extend(self.refused.iter().map(|refused| (format!("statsd_refused_{}", refused.name), refused.count)));
        all
    }
}

/// A part of a sentence.
impl fmt::Display for Statsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} aggregated from {}", count(self.aggregated, "metric"), count(self.datagrams, "datagram"))?;
        let refused: u64 = self.refused.iter().map(|reason| reason.count).sum();
        if refused > 0 {
            write!(f, ", {refused} refused")?;
        }
        if self.dropped_by_kernel > 0 {
            write!(f, ", {} dropped by the kernel", count(self.dropped_by_kernel, "datagram"))?;
        }
        Ok(())
    }
}

/// The process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// The version of Kadabra.
    pub version: String,
    /// The name of the host.
    pub host: String,
    /// The process's number.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// For how long it runs.
    pub uptime_seconds: f64,
    /// What it does.
    pub state: AgentState,
    /// What systemd was told last, where it listens.
    pub systemd: Option<String>,
    /// Memory that is resident, as far as the system tells.
    pub memory_bytes: Option<u64>,
    /// CPU time, as far as the system tells.
    pub cpu_seconds: Option<f64>,
}

/// What the process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// It waits for its channel, or no publisher has shown yet that it can write.
    Starting,
    /// Every publisher that is required can write, as far as is known.
    Running,
    /// A required publisher, or the channel, cannot go on until something is mended.
    Held,
    /// It drains.
    Stopping,
}

/// Whether all is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How well.
    pub level: Level,
    /// The [code](crate::status::codes::Code) of the trouble that decides it.
    pub code: Option<String>,
    /// It in a sentence, which may have several parts and ends without a full stop.
    pub sentence: String,
    /// What to do, where an operator can do something.
    pub remedy: Option<String>,
}

/// How well the agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// All is well.
    Well,
    /// It works, and an operator should look.
    Attention,
    /// Something does not go on until it is mended, by an operator or by itself.
    Held,
    /// It is being stopped.
    Stopping,
}

/// Something that an operator may have to mend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    /// Its [code](crate::status::codes::Code): what kind of trouble it is.
    pub code: String,
    /// What is wrong: a sentence.
    pub what: String,
    /// How it stands now, in numbers.
    pub now: Option<String>,
    /// What to do about it, where waiting does not help.
    pub remedy: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// For how long.
    pub lasted_seconds: f64,
    /// How many attempts have failed meanwhile.
    pub attempts: u64,
    /// Whether the agent goes on nevertheless.
    pub warning: bool,
    /// Which publisher is concerned, where there are several.
    pub publisher: Option<String>,
}
