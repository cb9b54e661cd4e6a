//! Where metrics go: the [`Publisher`] contract.

mod debug;
mod influxdb;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use influxdb::fuzzing::{answer as fuzz_answer, line as fuzz_line};

pub use debug::{DebugPublisher, Form, MAX_BATCH as MAX_SHOWN_BATCH};
use influxdb::Evidence;
pub use influxdb::InfluxdbPublisher;

use std::{sync::Arc, time::Duration};

use crate::{
    config::{DebugFormat, PublisherKind, Settings},
    connect,
    observe::log::{KeptLog, is_for_people},
    wire::MessageSet,
};
use async_trait::async_trait;

/// A point that the destination refused, or of which it cannot hold a part; the reason says which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedAt {
    /// The message's index in the set.
    pub message: usize,
    /// The metric's name; `None` when the whole message is meant.
    pub metric: Option<String>,
    /// Why, with the destination's own words.
    pub reason: String,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was written, except for the points that were refused for good.
    Written {
        /// The refused points, in the order of the set; of more than 100 of one message that are no lines, 101.
        refused: Vec<RefusedAt>,
    },
    /// One request is done and more are to come: call again at once. A long isolation is many short steps, so that
    /// whoever watches sees the progress.
    Progressed,
    /// Try again later; what has been settled of the batch so far is remembered.
    Retry {
        /// Not before this, when the destination said so.
        after: Option<Duration>,
        /// What happened: a sentence.
        why: String,
    },
    /// An operator must mend something: stop asking for more and [`Publisher::probe`] until it is mended.
    Hold {
        /// What is wrong, with the destination's own words.
        what: String,
        /// What to do about it.
        mend: String,
    },
}

/// A destination for metrics. Lives on one actor's thread; one batch at a time.
#[async_trait(?Send)]
pub trait Publisher {
    /// Where this writes to, for people: `influxdb http://localhost:8086 database kadabra`.
    fn destination(&self) -> String;

    /// Takes a batch in, and forgets the one before. The set is kept no longer than it takes to encode it.
    fn load(&mut self, set: MessageSet);

    /// From now on a request has at most one in `divisor` of what it could have; 1 is everything. What was loaded before an
    /// outage is written in small requests at first, too. Where nothing is sent, nothing is to be done.
    fn divide(&mut self, _divisor: usize) {}

    /// Writes the next part of what is left of the loaded batch, with one request. Goes on where it was after
    /// `Progressed`, `Retry` and `Hold`; writing the same point again changes nothing at the destination.
    async fn write(&mut self) -> Outcome;

    /// Whether a write could work now, without writing anything: `Written` with nothing refused when it could.
    async fn probe(&mut self) -> Outcome;

    /// Whether it would take other messages beside those that are loaded to find out what is wrong with them: then they are
    /// better off in the channel, from where they come back together with what waits there.
    fn needs_others(&self) -> bool {
        false
    }

    /// Forgets the batch that was written and gives back the memory that is kept for the next one, since none has come for
    /// a while. Where nothing is kept, nothing is to be done.
    fn shrink(&mut self) {}
}

/// Makes a publisher on the thread that will use it.
pub type PublisherFactory = Arc<dyn Fn() -> Box<dyn Publisher> + Send + Sync>;

/// Makes the publishers that the configuration asks for. Each debug publisher logs to a `log` of its own.
#[must_use]
pub fn factory(settings: &Settings, log: impl Fn() -> KeptLog + Send + Sync + 'static) -> PublisherFactory {
    match settings.publisher.kind.clone() {
        PublisherKind::Debug(debug) => {
            let form = match debug.format {
                DebugFormat::Auto if !is_for_people(settings.log) => Form::Json,
                DebugFormat::Json => Form::Json,
                DebugFormat::Auto | DebugFormat::Text => Form::Text,
            };
            Arc::new(move || Box::new(DebugPublisher::new(log(), form)))
        }
        PublisherKind::Influxdb(influxdb) => {
            let evidence = Evidence::default();
            Arc::new(move || Box::new(InfluxdbPublisher::new(&influxdb).sharing(&evidence)))
        }
    }
}

/// The variable of the environment by which other programs would go to the destination through a proxy, which the agent does
/// not.
pub(crate) fn ignored_proxy(settings: &Settings) -> Option<&'static str> {
    match &settings.publisher.kind {
        PublisherKind::Debug(_) => None,
        PublisherKind::Influxdb(influxdb) => {
            connect::ignored_proxy(&influxdb.url, |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
        }
    }
}

#[cfg(feature = "failpoints")]
impl crate::failpoint::Failing for Outcome {
    fn failed(what: String, refused: bool) -> Self {
        if refused { Self::Hold { what, mend: "this is a test".to_owned() } } else { Self::Retry { after: None, why: what } }
    }
}
