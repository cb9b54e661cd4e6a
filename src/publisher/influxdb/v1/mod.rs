//! InfluxDB 1.x: what its answers mean, what an operator is told, and the parameters of its requests.

pub(super) mod answers;
mod remedies;

use std::time::SystemTime;

use url::form_urlencoded::byte_serialize;

use super::{
    super::{
        http::{Answer, Login, To},
        line::{Cause, Dialect, Encode, Encoder, Hide, Rules, Sent, Verdict},
    },
    Caution, SERVICE,
};
use crate::config::Influxdb;

/// The longest name with its tags and one field's key, in bytes as they are written. InfluxDB refuses more, but
/// repeats all of the line before it says why.
const MAX_KEY: usize = 65_535;

/// An InfluxDB 1.x.
pub(super) struct InfluxdbV1 {
    config: Influxdb,
    /// `/write?...`
    write_path: String,
}

impl InfluxdbV1 {
    pub(super) fn new(config: &Influxdb) -> Self {
        Self { config: config.clone(), write_path: write_path(config) }
    }
}

impl Dialect for InfluxdbV1 {
    fn name(&self) -> &'static str {
        "InfluxDB"
    }

    fn place(&self) -> String {
        ["influxdb at ", &self.config.url].concat()
    }

    fn destination(&self) -> String {
        ["influxdb ", &self.config.url, " database ", &self.config.database].concat()
    }

    fn to(&self) -> To {
        let Influxdb { url, username, password, tls, timeout, gzip, .. } = &self.config;
        let login = Login::basic(username.as_ref(), password.as_ref());
        To { service: &SERVICE, url: url.clone(), login, tls: tls.clone(), timeout: *timeout, gzip: *gzip }
    }

    fn encoder(&self) -> Box<dyn Encode> {
        let unique_timestamps = self.config.unique_timestamps;
        Box::new(Encoder::new(Rules { name: "InfluxDB 1.x", max_key: MAX_KEY, unique_timestamps }))
    }

    fn write_path(&self) -> &str {
        &self.write_path
    }

    fn verdict(&self, answer: &Answer, sent: Sent<'_>, now: SystemTime, hide: Hide<'_>) -> Verdict {
        answers::verdict(answer, sent.body, now, hide)
    }

    fn creation(&self) -> Option<String> {
        let statement = ["CREATE DATABASE ", &remedies::quoted(&self.config.database)].concat();
        self.config.create_database.then(|| ["/query?q=", &encoded(&statement)].concat())
    }

    fn creation_verdict(&self, answer: &Answer, hide: Hide<'_>) -> Verdict {
        answers::creation_verdict(answer, hide)
    }

    fn remedy(&self, cause: Cause, words: &str) -> Caution {
        remedies::remedy(&self.config, cause, words)
    }
}

fn write_path(config: &Influxdb) -> String {
    let mut path = ["/write?db=", &encoded(&config.database)].concat();
    if let Some(policy) = &config.retention_policy {
        path.push_str("&rp=");
        path.push_str(&encoded(policy));
    }
    path.push_str("&precision=ns");
    path
}

fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}
