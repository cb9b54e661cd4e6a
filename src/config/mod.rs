//! Sources -> merged -> validated [`Settings`]. Nobody else reads files or the environment.
//!
//! [`schema`] knows every key once. `source` reads a file and the environment and checks each by itself, `path` knows the one rule
//! for paths, `values` merges them over the defaults, `contradictions` judges what only shows when all is known, `settings` makes the [`Settings`]. All that is wrong comes
//! back at once, as [`ConfigErrors`]; all that is right can be printed, as [`Effective`].

mod contradictions;
mod documented;
mod effective;
mod error;
mod kind;
mod load;
mod nearest;
mod password_file;
pub(crate) mod path;
mod place;
mod python_agent;
pub mod schema;
mod secret;
mod service_links;
mod settings;
mod source;
mod syntax;
mod url;
mod values;

pub use documented::documented;
pub use effective::Effective;
pub use error::{ConfigErrors, Problem};
pub use load::{DEFAULT_FILE, Loaded, load, load_or};
pub use password_file::password_in;
pub use secret::Secret;

/// Whether a Redis client can use a URL, as `channel.redis.url` must be; the error is a sentence.
pub(crate) fn check_redis_url(text: &str) -> Result<(), String> {
    url::redis(text)
}

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// A configuration that is known to be valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `[agent]`
    pub agent: Agent,
    /// `[channel]`
    pub channel: Channel,
    /// `[batch]`
    pub batch: Batch,
    /// `[publisher]`
    pub publisher: Publisher,
    /// `[nanny]`
    pub nanny: Nanny,
    /// `[supervisor]`
    pub supervisor: Supervisor,
    /// `[log]`
    pub log: Log,
}

/// `[agent]`
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// `name`: who leases; the host's name unless told otherwise.
    pub name: String,
    /// `shutdown_timeout`: how long a stop may take before leases still open are given back.
    pub shutdown_timeout: Duration,
}

/// `[channel]`, by `type`.
#[derive(Clone, Debug, PartialEq)]
pub enum Channel {
    /// `type = "redis"`
    Redis(Redis),
    /// `type = "embedded"`
    Embedded(Embedded),
}

/// `[channel.redis]`
#[derive(Clone, Debug, PartialEq)]
pub struct Redis {
    /// `url`: `redis://`, `rediss://` or `unix://`; may hold a user, a password and a db, so it does not print.
    pub url: Secret,
    /// `password_file`: the password that was read from it; wins over one in the URL.
    pub password: Option<Secret>,
    /// `queue_key`: the list that clients push to.
    pub queue_key: String,
    /// `inprogress_key`: the list in which a Python agent keeps what it is working on.
    pub inprogress_key: String,
    /// `lease`: how long a lease lasts without being renewed.
    pub lease: Duration,
    /// `timeout`: how long to wait for a connection or an answer.
    pub timeout: Duration,
    /// `max_dead_letters`: with each further one the oldest is dropped.
    pub max_dead_letters: usize,
    /// `max_message_bytes`: a larger message is set aside as a dead letter without being read.
    pub max_message_bytes: usize,
}

/// `[channel.embedded]`
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// `path`: the file that the queue is kept in.
    pub path: PathBuf,
    /// `durability`: when a push is answered.
    pub durability: Durability,
    /// `max_bytes`: how large the file may grow by messages that wait.
    pub max_bytes: u64,
    /// `lease`: how long a lease lasts without being renewed.
    pub lease: Duration,
    /// `max_dead_letters`: with each further one the oldest is dropped.
    pub max_dead_letters: usize,
    /// `max_message_bytes`: the push of a larger message is refused.
    pub max_message_bytes: usize,
    /// `listen`: where clients push to; none when only by the socket.
    pub listen: Vec<SocketAddr>,
    /// `unix_socket`
    pub unix_socket: Option<PathBuf>,
    /// `unix_socket_mode`: at most 0o777.
    pub unix_socket_mode: u32,
    /// `queue_key`: the list that clients push to.
    pub queue_key: String,
    /// `password` or `password_file`: what clients must say.
    pub password: Option<Secret>,
    /// `allow_remote`: whether other machines may push without a password.
    pub allow_remote: bool,
    /// `allow_delete`: whether clients may delete what waits.
    pub allow_delete: bool,
    /// `max_connections`
    pub max_connections: usize,
    /// `idle_timeout`: how long a client may be silent; for ever when absent.
    pub idle_timeout: Option<Duration>,
    /// `tcp_keepalive`: how long a client may be silent before it is asked whether it is there; for ever when absent.
    pub tcp_keepalive: Option<Duration>,
    /// `max_waiting_bytes`: of messages that were read from clients and are not stored yet.
    pub max_waiting_bytes: usize,
}

/// The first of these addresses that other machines can reach: the listener asks whoever comes by it for a password.
pub(crate) fn open_to_others(addresses: &[SocketAddr]) -> Option<&SocketAddr> {
    addresses.iter().find(|address| !address.ip().to_canonical().is_loopback())
}

/// `channel.embedded.durability`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A push that was answered outlives the process; a power cut may lose the last second.
    Process,
    /// A push that was answered is on the disk.
    Fsync,
}

/// `[batch]`
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `interval`: how old a batch may get; zero publishes at once.
    pub interval: Duration,
    /// `max_messages`
    pub max_messages: usize,
    /// `max_bytes`, of payload
    pub max_bytes: usize,
}

/// `[publisher]`
#[derive(Clone, Debug, PartialEq)]
pub struct Publisher {
    /// `type`
    pub kind: PublisherKind,
    /// `workers`: how many batches may be written at once.
    pub workers: usize,
    /// `backoff_min`: the first pause after a failed write.
    pub backoff_min: Duration,
    /// `backoff_max`: the longest pause after failed writes.
    pub backoff_max: Duration,
}

/// `[publisher]`, by `type`.
#[derive(Clone, Debug, PartialEq)]
pub enum PublisherKind {
    /// `type = "debug"`: logs what it would publish.
    Debug(Debug),
    /// `type = "influxdb"`
    Influxdb(Influxdb),
}

/// `[publisher.debug]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debug {
    /// `format`
    pub format: DebugFormat,
}

/// `publisher.debug.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugFormat {
    /// Text where the log is written for people, JSON otherwise.
    Auto,
    /// A short block a message.
    Text,
    /// A JSON list a batch.
    Json,
}

/// `[publisher.influxdb]`
#[derive(Clone, Debug, PartialEq)]
pub struct Influxdb {
    /// `url`: `http://` or `https://`, without user, query or fragment; no slash at the end.
    pub url: String,
    /// `database`
    pub database: String,
    /// `username`
    pub username: Option<String>,
    /// `password` or `password_file`
    pub password: Option<Secret>,
    /// `retention_policy`: the database's default one when absent.
    pub retention_policy: Option<String>,
    /// `create_database`: whether to create the database when it is missing.
    pub create_database: bool,
    /// `timeout`: for connecting, and for one request with its answer.
    pub timeout: Duration,
    /// `gzip`: whether request bodies are compressed.
    pub gzip: bool,
    /// `unique_timestamps`: whether each message's points get an offset below a microsecond, made from the
    /// message's bytes, so that two messages of the same series and microsecond stay two points.
    pub unique_timestamps: bool,
}

/// `[nanny]`
#[derive(Clone, Debug, PartialEq)]
pub struct Nanny {
    /// `frequency`: how often to look for leases that nobody holds.
    pub frequency: Duration,
    /// `threshold`: how long a Python agent's in-progress list must lie untouched before it is adopted.
    pub threshold: Duration,
    /// `warn_age`: how long the oldest message may wait before that is a warning.
    pub warn_age: Duration,
    /// `warn_messages`: how many messages may wait before that is a warning.
    pub warn_messages: usize,
}

/// `[supervisor]`
#[derive(Clone, Debug, PartialEq)]
pub struct Supervisor {
    /// `max_restarts`: how many restarts of one child in one window are too many.
    pub max_restarts: u32,
    /// `window`: the time in which restarts are counted; a child that works that long has its budget back.
    pub window: Duration,
    /// `backoff_min`: the pause before the first restart.
    pub backoff_min: Duration,
    /// `backoff_max`: the longest pause before a restart.
    pub backoff_max: Duration,
    /// `hang_timeout`: how long a child may be at one piece of work, back-off and waiting apart, before it counts as hung.
    pub hang_timeout: Duration,
}

/// `[log]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// `level`
    pub level: slog::Level,
    /// `format`
    pub format: LogFormat,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// The terminal's when standard error is a terminal, JSON otherwise.
    Auto,
    /// A line for people, in colour where there is a terminal.
    Terminal,
    /// A JSON object a line.
    Json,
}
