//! Where metrics go: the [`Publisher`] contract, and a folder a destination.

mod contract;
mod debug;
mod http;
mod influxdb;
mod isolate;
mod line;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use {influxdb::fuzzing::answer as fuzz_answer, line::fuzzing::line as fuzz_line};

pub use contract::{Caution, Outcome, Publisher, Publishers, Refused};
pub use debug::{DebugPublisher, Form};
pub use line::LinePublisher;

use crate::{
    config::{PublisherKind, Settings},
    observe::log::KeptLog,
};

/// The publishers that the configuration asks for. Each debug publisher logs to a `log` of its own.
#[must_use]
pub fn configured(settings: &Settings, log: impl Fn() -> KeptLog + Send + Sync + 'static) -> Publishers {
    match &settings.publisher.kind {
        PublisherKind::Debug(debug) => debug::publishers(debug, settings.log, log),
        PublisherKind::Influxdb(influxdb) => influxdb::publishers(influxdb),
    }
}
