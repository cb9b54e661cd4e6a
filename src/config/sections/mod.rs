//! Every section of the configuration, each in a file with its keys and with what is checked between them.
//!
//! A new key is one entry in its section's file. A new section is one file, and its line in [`SECTIONS`] and here.

mod agent;
mod batch;
mod channel;
mod debug;
mod embedded;
mod guards;
mod influxdb;
mod log;
mod nanny;
mod publisher;
mod publishers;
mod redis;
mod sentinel;
mod statsd;
mod status;
mod supervisor;
mod victoriametrics;

use std::time::Duration;

use super::{schema::Section, value_type::ValueType};

pub(super) use self::channel::ChannelSection;
pub use self::{
    agent::Agent,
    batch::Batch,
    channel::Channel,
    debug::{Debug, DebugFormat},
    embedded::{AnswerWithin, Durability, Embedded, WhenFull},
    guards::{Guards, OnGuard},
    influxdb::{Influxdb, InfluxdbApi, InfluxdbV1, InfluxdbV2, InfluxdbV3},
    log::{Log, LogFormat},
    nanny::Nanny,
    publisher::{Publisher, PublisherKind},
    publishers::Consumer,
    redis::{HostAndPort, Redis, RedisMode},
    sentinel::Sentinel,
    statsd::{SignedGauges, Statsd},
    status::Status,
    supervisor::Supervisor,
    victoriametrics::{TextMetadata, Victoriametrics},
};

/// Every section, in the order in which they are documented.
pub static SECTIONS: &[Section] = &[
    Agent::SECTION,
    ChannelSection::SECTION,
    Embedded::SECTION,
    Redis::SECTION,
    Sentinel::SECTION,
    Statsd::SECTION,
    Batch::SECTION,
    Guards::SECTION,
    Publisher::SECTION,
    Debug::SECTION,
    Influxdb::SECTION,
    Victoriametrics::SECTION,
    Consumer::SECTION,
    Nanny::SECTION,
    Supervisor::SECTION,
    Status::SECTION,
    Log::SECTION,
];

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
const HOUR: u64 = 3600;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const TIB: u64 = 1024 * 1024 * MIB;

/// How long to wait for a server: shorter, and a busy server would count as dead; longer, and a dead one as busy.
const TIMEOUT: ValueType = ValueType::Duration { min: millis(10), max: secs(600) };
const LEASE: ValueType = ValueType::Duration { min: secs(1), max: secs(HOUR) };
/// Below a millisecond a retry is a busy loop; above the longest a server that is back stays unused.
const PAUSE_MIN: ValueType = ValueType::Duration { min: millis(1), max: secs(60) };
const PAUSE_MAX: ValueType = ValueType::Duration { min: millis(1), max: secs(600) };
/// The most that a message may be allowed to have, in bytes.
pub(crate) const LARGEST_MESSAGE: usize = 256 << 20;
const MESSAGE_BYTES: ValueType = ValueType::Size { min: KIB, max: LARGEST_MESSAGE as u64 };
const COUNT: ValueType = ValueType::Number { min: 1, max: 1_000_000_000 };
/// Braces are welcome: a hash tag of its own is kept in the derived keys' names.
const LIST: ValueType = ValueType::Text {
    expected: "the name of a Redis list: 1 to 200 characters without spaces or control characters",
    fits: is_list,
};

fn is_list(name: &str) -> bool {
    (1..=200).contains(&name.chars().count()) && !name.contains(|c: char| c.is_whitespace() || c.is_control())
}
