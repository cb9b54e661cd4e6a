//! Where metrics go: the [`Publisher`] contract, and a folder a destination.
//!
//! | promise | kept by |
//! |---|---|
//! | what is not written is tried again, or held with what to do about it | [`Outcome`] in `contract`; each answer's meaning in `answers` of a destination, as `influxdb/v2/answers`, each remedy beside it in `remedies` |
//! | only the points that the destination cannot hold are refused | `isolate`: halving, and `isolate/suspects` for lines on which a server fails |
//! | nothing is condemned on the word of a gateway | `isolate/evidence`, and the probe in `line/publisher` |
//! | a point that is written again replaces itself alone | `line/encoder`, from [`Message::digest`](crate::wire::Message::digest) |
//! | no point is lost where a destination keeps one a series and millisecond | `victoriametrics/times` |
//! | every text is stored as it was meant, or refused | `line/escape`, `victoriametrics/samples` |
//! | a request is bounded in time and size, and no secret gets into a sentence | `http/transport`, `http/login` |
//! | what the types of a database will refuse is said while it waits | `line/columns`; the questions and answers of InfluxDB in `influxdb/columns` |
//! | the log has a whole batch or nothing of it | `debug` |
//!
//! `contract` stands before `http`, `isolate` and `line`, which know no destination; the destinations stand behind them. A
//! destination of line protocol over HTTP is a folder with a `line::Dialect`, as `influxdb` is, an arm in [`configured`], a section of
//! the configuration and a line in `tests/publisher_contract.rs`.

mod contract;
mod debug;
pub(crate) mod http;
mod influxdb;
mod isolate;
mod line;
mod victoriametrics;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use {influxdb::fuzzing::answer as fuzz_answer, line::fuzzing::line as fuzz_line};

pub use contract::{Caution, Inspection, Mark, Outcome, Publisher, Publishers, Refused};
pub use debug::{DebugPublisher, Form};
pub use line::LinePublisher;

use crate::{
    config::{self, Log, PublisherKind},
    observe::log::KeptLog,
};

/// The publishers that one section of the configuration asks for. Each debug publisher logs to a `log` of its own, of which
/// `written` says how it is written.
#[must_use]
pub fn configured(settings: &config::Publisher, written: Log, log: impl Fn() -> KeptLog + Send + Sync + 'static) -> Publishers {
    match &settings.kind {
        PublisherKind::Debug(debug) => debug::publishers(debug, written, log),
        PublisherKind::Influxdb(influxdb) => influxdb::publishers(influxdb),
        PublisherKind::Victoriametrics(to) => victoriametrics::publishers(to),
    }
}
