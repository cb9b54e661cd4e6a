//! `[publisher]`

use std::time::Duration;

use super::{Debug, Influxdb, PAUSE_MAX, PAUSE_MIN, Victoriametrics, status::canary};
use crate::config::{cross_checks::CrossChecks, schema::Fallback::Is, value_type::ValueType};

section! {
    /// Where points go.
    "publisher" pub struct Publisher {
        /// debug logs what it would publish and takes it off the channel; influxdb writes it to InfluxDB, and
        /// victoriametrics to VictoriaMetrics.
        kind as "type": PublisherKind = Is("debug"), PublisherKind::WORDS;
        /// How many batches may be in flight at once. How many are, up to this, is found out while messages queue up: as
        /// many as help, and half of that when the database answers late. Raise it for a database that is far away or
        /// has many cores.
        workers: usize = Is("6"), ValueType::Number { min: 1, max: 64 };
        /// The pause after the first failed write; it doubles with each further one.
        backoff_min: Duration = Is("100ms"), PAUSE_MIN;
        /// The longest pause after failed writes, and so how soon a database that is back is noticed.
        backoff_max: Duration = Is("30s"), PAUSE_MAX;
    }
    checks cross_check;
    on reload Rebuilds;
}

choice! {
    /// `publisher.type`, with the section that it chooses.
    #[derive(Clone, Debug, PartialEq)]
    pub enum PublisherKind {
        /// `debug`
        Debug(Debug) = "debug",
        /// `influxdb`
        Influxdb(Influxdb) = "influxdb",
        /// `victoriametrics`
        Victoriametrics(Victoriametrics) = "victoriametrics",
    }
}

fn cross_check(checks: &mut CrossChecks<'_>) {
    canary(checks);
    checks.no_longer(Publisher::backoff_min, Publisher::backoff_max);
}
