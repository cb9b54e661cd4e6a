//! Turns a file and the environment into valid [`Settings`], or into everything that is wrong with them at once ([`ConfigErrors`]).
//! No other room reads a file of configuration, or the variables of the environment that override it.
//!
//! | to find | read |
//! |---|---|
//! | a key: its type, range, default and text, and what is checked between it and others | its section's file in `sections` |
//! | what a declaration is made into | `declare`; [`schema`] is what the other files see of it |
//! | how a duration, a size, a path, a URL is written, and the words for one that is wrong | `value_type`, `path`, `url` |
//! | the files of the folder beside the file, and their order | `folder` |
//! | a file's lines, the environment, names that do not exist | `source`, `syntax`, `nearest`, `python_agent`, `service_links` |
//! | which value holds: defaults < file < folder < environment | `values`, `origin` |
//! | values that are each right and together wrong | `cross_checks`, and the sections' files |
//! | several publishers: a key declared once, and found by two paths | `Key::path_of` and `declared` in [`schema`], `Values::merge` |
//! | what of a configuration can hold without a restart, and what differs | `on reload` in `sections`; `reload` |
//! | passwords and tokens, which never print and may be kept in files | `secret`, `secret_file` |
//! | certificates, keys and servers' names | `tls` |
//! | proxies, and the variables by which the environment names them | `proxy` |
//! | files that are read again when they have changed | `reread` |
//! | `conf/kadabra.toml`, and what `check --show` prints | `documented`, `effective` |
//!
//! A destination whose versions take different keys is a `choice!` of sections, as [`PublisherKind`] is, and cannot hold a wrong
//! mix. Each file is a source to `Values::merge`, and each value has its `Origin`.
//!
//! `load` does all of that in order. A key is `Embedded::max_bytes` in code and displays as its path, so that a renamed key takes
//! the sentences with it; a test holds every path that is written out in a sentence to the declared keys.

#[macro_use]
mod declare;

mod cross_checks;
mod documented;
mod effective;
mod error;
mod folder;
mod load;
mod nearest;
mod origin;
pub(crate) mod path;
mod proxy;
mod python_agent;
mod queues;
mod reload;
mod reread;
pub mod schema;
mod secret;
mod secret_file;
mod sections;
mod service_links;
mod setting;
mod source;
mod syntax;
mod tls;
mod url;
mod value_type;
mod values;

pub(crate) use documented::INTRODUCTION;
pub use documented::documented;
pub use effective::Effective;
pub use error::{ConfigErrors, Problem};
pub(crate) use load::load_status;
pub use load::{DEFAULT_FILE, Loaded, load, load_channel, load_or};
pub use proxy::Proxy;
pub use queues::Queues;
pub(crate) use queues::{hash_tag, prefix};
pub use reload::{Change, Changes};
pub use secret::Secret;
pub use secret_file::password_in;
pub(crate) use sections::LARGEST_MESSAGE;
pub use sections::{
    Agent, AnswerWithin, Batch, Channel, Consumer, Debug, DebugFormat, Durability, Embedded, Guards, HostAndPort, Influxdb,
    InfluxdbApi, InfluxdbV1, InfluxdbV2, InfluxdbV3, Log, LogFormat, Nanny, OnGuard, Publisher, PublisherKind, Redis, RedisMode,
    Sentinel, SignedGauges, Statsd, Status, Supervisor, TextMetadata, Victoriametrics, WhenFull,
};
pub(crate) use tls::ClientCertificate;
pub use tls::Tls;

use sections::ChannelSection;
use values::Values;

/// Whether a Redis client can use a URL, as `channel.redis.url` must be; the error is a sentence.
pub(crate) fn check_redis_url(text: &str) -> Result<(), String> {
    url::redis(text)
}

/// A configuration that is known to be valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `[agent]`
    pub agent: Agent,
    /// `[channel]`
    pub channel: Channel,
    /// `[listener.statsd]`
    pub statsd: Statsd,
    /// `[batch]`
    pub batch: Batch,
    /// `[guards]`
    pub guards: Guards,
    /// `[publisher]`
    pub publisher: Publisher,
    /// `[nanny]`
    pub nanny: Nanny,
    /// `[supervisor]`
    pub supervisor: Supervisor,
    /// `[status]`
    pub status: Status,
    /// `[log]`
    pub log: Log,
    /// `[publishers.<name>]`; empty where there is only one publisher.
    pub several: Vec<Pipeline>,
}

/// One publisher of the configuration, and all that is its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Its name where there are several, unique among them.
    pub name: Option<String>,
    /// Where it publishes to, and how.
    pub publisher: Publisher,
    /// How much it publishes together.
    pub batch: Batch,
    /// What it is beside the others.
    pub consumer: Consumer,
}

impl Settings {
    /// `None` only if a key's value type is not that of its field.
    fn build(values: &Values) -> Option<Self> {
        Some(Self {
            agent: Agent::build(values)?,
            channel: ChannelSection::build(values)?.kind,
            statsd: Statsd::build(values)?,
            batch: Batch::build(values)?,
            guards: Guards::build(values)?,
            publisher: Publisher::build(values)?,
            nanny: Nanny::build(values)?,
            supervisor: Supervisor::build(values)?,
            status: Status::build(values)?,
            log: Log::build(values)?,
            several: values.of_publishers().map(Pipeline::build).collect::<Option<_>>()?,
        })
    }

    /// Every publisher: the one, or the several in the order of their names.
    #[must_use]
    pub fn pipelines(&self) -> Vec<Pipeline> {
        if !self.several.is_empty() {
            return self.several.clone();
        }
        let (publisher, batch) = (self.publisher.clone(), self.batch.clone());
        vec![Pipeline { name: None, publisher, batch, consumer: Consumer::of_the_only_one() }]
    }
}

impl Pipeline {
    /// A sentence that names keys of the one publisher, said of this one.
    pub(crate) fn said(&self, sentence: &str) -> String {
        self.name.as_ref().map_or_else(|| sentence.to_owned(), |name| schema::said_of(name, sentence))
    }

    fn build(values: &Values) -> Option<Self> {
        Some(Self {
            name: values.publisher().map(ToOwned::to_owned),
            publisher: Publisher::build(values)?,
            batch: Batch::build(values)?,
            consumer: Consumer::build(values)?,
        })
    }
}
