//! InfluxDB 3 Core and Enterprise: the parameters of a request to `/api/v3/write_lp`.

pub(super) mod answers;
mod remedies;

use std::time::SystemTime;

use bytes::Bytes;

use super::{
    super::{
        http::{Answer, Login, To},
        line::{Backslashes, Cause, Columns, Dialect, Encode, Encoder, Hide, Rules, Sent, Verdict},
    },
    Caution, Inspection, Mark, PING,
    columns::{of_sql, sql},
    encoded, inspected, newest, to,
};
use crate::config::{Influxdb, InfluxdbV3};

/// The longest name with its tags and one field's key: InfluxDB 3 limits each of them alone, at 64 KiB or 1 MiB, and says so.
const MAX_KEY: usize = 1 << 20;

/// No line protocol. A request with it that must be written whole or not at all ends before anything is committed, so that no database
/// is created as it is for a blank line (`validator.rs` and `mod.rs` in `influxdb3_write/src/write_buffer`).
const PROBE: &[u8] = b"kadabra\n";

/// An InfluxDB 3.
pub(super) struct V3 {
    server: Influxdb,
    config: InfluxdbV3,
    /// `/api/v3/write_lp?...`
    write_path: String,
    /// The same for a request that must be written whole.
    probe_path: String,
}

impl V3 {
    pub(super) fn new(server: &Influxdb, config: &InfluxdbV3) -> Self {
        let path = |accept_partial: bool| {
            let (database, no_sync) = (encoded(&config.database), config.no_sync);
            format!("/api/v3/write_lp?db={database}&precision=nanosecond&accept_partial={accept_partial}&no_sync={no_sync}")
        };
        let (write_path, probe_path) = (path(config.accept_partial), path(false));
        Self { server: server.clone(), config: config.clone(), write_path, probe_path }
    }
}

impl Dialect for V3 {
    fn name(&self) -> &'static str {
        "InfluxDB"
    }

    fn place(&self) -> String {
        ["influxdb at ", &self.server.url].concat()
    }

    fn destination(&self) -> String {
        ["influxdb 3 ", &self.server.url, " database ", &self.config.database].concat()
    }

    fn to(&self) -> To {
        to(&self.server, Login::token("Bearer", self.config.token.as_ref()))
    }

    fn encoder(&self) -> Box<dyn Encode> {
        Box::new(Encoder::new(Rules {
            name: "InfluxDB 3",
            max_key: MAX_KEY,
            unique_timestamps: self.server.unique_timestamps,
            backslashes: self.backslashes(),
        }))
    }

    fn backslashes(&self) -> Backslashes {
        Backslashes::Doubled
    }

    fn write_path(&self) -> &str {
        &self.write_path
    }

    fn verdict(&self, answer: &Answer, sent: Sent<'_>, now: SystemTime, hide: Hide<'_>) -> Verdict {
        answers::verdict(answer, sent, now, hide)
    }

    fn probe(&self) -> (&str, Bytes) {
        (&self.probe_path, Bytes::from_static(PROBE))
    }

    fn probe_verdict(&self, answer: &Answer, now: SystemTime, hide: Hide<'_>) -> Verdict {
        answers::probe_verdict(answer, now, hide)
    }

    fn inspection(&self) -> Option<&str> {
        Some(PING)
    }

    fn inspected(&self, answer: &Answer, hide: Hide<'_>) -> Inspection {
        inspected(answer, hide)
    }

    fn columns_path(&self, measurements: &[&str]) -> Option<String> {
        Some(sql(&self.config.database, measurements))
    }

    fn columns(&self, answer: &Answer, hide: Hide<'_>) -> Result<Columns, String> {
        of_sql(answer, "a token that may also read the database", hide)
    }

    fn columns_last(&self) -> bool {
        true
    }

    fn newest_path(&self, mark: &Mark) -> Option<String> {
        Some(newest::sql(&self.config.database, mark))
    }

    fn newest(&self, answer: &Answer, hide: Hide<'_>) -> Result<Option<f64>, String> {
        newest::of_sql(answer, "a token that may also read the database", hide)
    }

    fn remedy(&self, cause: Cause, words: &str) -> Caution {
        remedies::remedy(&self.server.url, &self.config, cause, words)
    }
}
