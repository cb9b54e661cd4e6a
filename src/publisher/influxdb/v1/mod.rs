//! InfluxDB 1.x: what its answers mean, what an operator is told, and the parameters of its requests.

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
    encoded, inspected, newest,
    questions::quoted,
    to,
};
use crate::config::{Influxdb, InfluxdbV1};

/// The longest name with its tags and one field's key, in bytes as they are written. InfluxDB refuses more, but
/// repeats all of the line before it says why.
const MAX_KEY: usize = 65_535;

/// An InfluxDB 1.x.
pub(super) struct V1 {
    server: Influxdb,
    config: InfluxdbV1,
    /// `/write?...`
    write_path: String,
}

impl V1 {
    pub(super) fn new(server: &Influxdb, config: &InfluxdbV1) -> Self {
        Self { server: server.clone(), config: config.clone(), write_path: write_path(config) }
    }
}

impl Dialect for V1 {
    fn name(&self) -> &'static str {
        "InfluxDB"
    }

    fn place(&self) -> String {
        ["influxdb at ", &self.server.url].concat()
    }

    fn destination(&self) -> String {
        ["influxdb ", &self.server.url, " database ", &self.config.database].concat()
    }

    fn to(&self) -> To {
        to(&self.server, Login::basic(self.config.username.as_ref(), self.config.password.as_ref()))
    }

    fn encoder(&self) -> Box<dyn Encode> {
        Box::new(Encoder::new(Rules {
            name: "InfluxDB 1.x",
            max_key: MAX_KEY,
            unique_timestamps: self.server.unique_timestamps,
            backslashes: Backslashes::Kept,
        }))
    }

    fn write_path(&self) -> &str {
        &self.write_path
    }

    fn verdict(&self, answer: &Answer, sent: Sent<'_>, now: SystemTime, hide: Hide<'_>) -> Verdict {
        answers::verdict(answer, sent.body, now, hide)
    }

    fn creation(&self) -> Option<String> {
        let statement = ["CREATE DATABASE ", &quoted(&self.config.database)].concat();
        self.config.create_database.then(|| ["/query?q=", &encoded(&statement)].concat())
    }

    fn creation_verdict(&self, answer: &Answer, hide: Hide<'_>) -> Verdict {
        answers::creation_verdict(answer, hide)
    }

    fn inspection(&self) -> Option<&str> {
        Some(PING)
    }

    fn inspected(&self, answer: &Answer, hide: Hide<'_>) -> Inspection {
        inspected(answer, hide)
    }

    fn columns_path(&self, measurements: &[&str]) -> Option<String> {
        Some(influxql(&self.config.database, self.config.retention_policy.as_deref(), measurements))
    }

    fn columns(&self, answer: &Answer, hide: Hide<'_>) -> Result<Columns, String> {
        of_influxql(answer, "a user who may also read the database", hide)
    }

    fn newest_path(&self, mark: &Mark) -> Option<String> {
        Some(newest::influxql(&self.config.database, self.config.retention_policy.as_deref(), mark))
    }

    fn newest(&self, answer: &Answer, hide: Hide<'_>) -> Result<Option<f64>, String> {
        newest::of_influxql(answer, "a user who may also read the database", hide)
    }

    fn remedy(&self, cause: Cause, words: &str) -> Caution {
        remedies::remedy(&self.server.url, &self.config, cause, words)
    }
}

fn write_path(config: &InfluxdbV1) -> String {
    let mut path = ["/write?db=", &encoded(&config.database)].concat();
    if let Some(policy) = &config.retention_policy {
        path.push_str("&rp=");
        path.push_str(&encoded(policy));
    }
    if let Some(consistency) = &config.consistency {
        path.push_str("&consistency=");
        path.push_str(consistency);
    }
    path.push_str("&precision=ns");
    path
}
