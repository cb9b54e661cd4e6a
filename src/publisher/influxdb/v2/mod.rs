//! InfluxDB 2 and Cloud: the parameters of a request to `/api/v2/write`.

pub(super) mod answers;
mod remedies;

use std::time::SystemTime;

use super::{
    super::{
        http::{Answer, Login, To},
        line::{Backslashes, Cause, Columns, Dialect, Encode, Encoder, Hide, Rules, Sent, Verdict},
    },
    Caution, Inspection, Mark, PING,
    columns::{influxql, of_influxql},
    encoded, inspected, newest, to,
};
use crate::config::{Influxdb, InfluxdbV2};

/// The longest name with its tags and one field's key, in bytes as they are written (`MaxKeyLength` in `models/points.go`).
const MAX_KEY: usize = 65_535;

/// An InfluxDB 2, or what speaks its interface.
pub(super) struct V2 {
    server: Influxdb,
    config: InfluxdbV2,
    /// `/api/v2/write?...`
    write_path: String,
}

impl V2 {
    pub(super) fn new(server: &Influxdb, config: &InfluxdbV2) -> Self {
        let (org, bucket) = (encoded(&config.org), encoded(&config.bucket));
        let write_path = ["/api/v2/write?org=", &org, "&bucket=", &bucket, "&precision=ns"].concat();
        Self { server: server.clone(), config: config.clone(), write_path }
    }
}

impl Dialect for V2 {
    fn name(&self) -> &'static str {
        "InfluxDB"
    }

    fn place(&self) -> String {
        ["influxdb at ", &self.server.url].concat()
    }

    fn destination(&self) -> String {
        ["influxdb ", &self.server.url, " organization ", &self.config.org, " bucket ", &self.config.bucket].concat()
    }

    fn to(&self) -> To {
        to(&self.server, Login::token("Token", self.config.token.as_ref()))
    }

    fn encoder(&self) -> Box<dyn Encode> {
        Box::new(Encoder::new(Rules {
            name: "InfluxDB 2",
            max_key: MAX_KEY,
            unique_timestamps: self.server.unique_timestamps,
            backslashes: Backslashes::Kept,
        }))
    }

    fn write_path(&self) -> &str {
        &self.write_path
    }

    fn verdict(&self, answer: &Answer, sent: Sent<'_>, now: SystemTime, hide: Hide<'_>) -> Verdict {
        answers::verdict(answer, sent, now, hide)
    }

    fn inspection(&self) -> Option<&str> {
        Some(PING)
    }

    fn inspected(&self, answer: &Answer, hide: Hide<'_>) -> Inspection {
        inspected(answer, hide)
    }

    fn columns_path(&self, measurements: &[&str]) -> Option<String> {
        Some(influxql(&self.config.bucket, None, measurements))
    }

    fn columns(&self, answer: &Answer, hide: Hide<'_>) -> Result<Columns, String> {
        of_influxql(answer, "a token that may also read the bucket", hide)
    }

    fn newest_path(&self, mark: &Mark) -> Option<String> {
        Some(newest::influxql(&self.config.bucket, None, mark))
    }

    fn newest(&self, answer: &Answer, hide: Hide<'_>) -> Result<Option<f64>, String> {
        newest::of_influxql(answer, "a token that may also read the bucket", hide)
    }

    fn remedy(&self, cause: Cause, words: &str) -> Caution {
        remedies::remedy(&self.server.url, &self.config, cause, words)
    }
}
