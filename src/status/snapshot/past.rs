//! The last hour, and what came through.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The last hour, a point each so many seconds; what was kept over a restart, too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// How far the points are apart. Where the agent did not run there is none.
    pub every_seconds: u64,
    /// The oldest first.
    pub points: Vec<HistoryPoint>,
    /// What has happened meanwhile, the oldest first.
    pub marks: Vec<Mark>,
}

/// What was measured in one interval that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryPoint {
    /// The end of the interval.
    pub at: Timestamp,
    /// Messages that were accepted a second; those that were leased where clients push to a Redis.
    pub accepted_per_second: f64,
    /// Messages that were done a second, by the publisher that did the fewest.
    pub stored_per_second: f64,
    /// For how long the oldest waiting message had waited at its end.
    pub oldest_age_seconds: Option<f64>,
    /// How long writing a batch took: half of them at most this. None where none was written.
    pub publish_p50_seconds: Option<f64>,
    /// 99 % of them at most this.
    pub publish_p99_seconds: Option<f64>,
    /// Messages that waited at its end, for the publisher for which the most did.
    pub messages: Option<u64>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub at: Timestamp,
    /// What kind.
    pub kind: MarkKind,
    /// What: a sentence.
    pub what: String,
}

/// What is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// The agent started.
    Started,
    /// An actor was restarted.
    Restart,
    /// A publisher or the channel is held.
    Hold,
    /// That is over.
    Released,
    /// Secrets or certificates were read anew.
    Reload,
}

/// What came through since the process started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Whether it is counted at all.
    pub counted: bool,
    /// Of each metric with its dimensions, those that were seen last; at most so many as are kept.
    pub series: Vec<SeenSeries>,
    /// Points of series that are not among them any more, or for which there was no room.
    pub other: u64,
}

/// A metric with its dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenSeries {
    /// The metric's name, cut where it is long. It comes from outside: escape it.
    pub metric: String,
    /// Its dimensions, each cut where it is long. They come from outside: escape them.
    pub dimensions: BTreeMap<String, String>,
    /// What it is.
    pub kind: SeenKind,
    /// The unit of a timer, as its client names it, cut where it is long. It comes from outside: escape it.
    pub unit: Option<String>,
    /// How many points.
    pub count: u64,
    /// Points a second, of late.
    pub per_second: f64,
    /// The mean of their values; of those that are numbers.
    pub mean: Option<f64>,
    /// 95 % of the values of late are at most this.
    pub p95: Option<f64>,
    /// The newest value, where it is a number.
    pub last: Option<f64>,
    /// When it was seen last.
    pub last_seen: Timestamp,
    /// Points in each of the last intervals of ten seconds, the oldest first.
    pub spark: Vec<u32>,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenKind {
    /// It counts.
    Counter,
    /// It measures a time.
    Timer,
}
