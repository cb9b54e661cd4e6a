//! InfluxDB 1.x: what its answers mean, what an operator is told, and the parameters of its requests.

mod answers;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod remedies;

use std::time::SystemTime;

use url::form_urlencoded::byte_serialize;

use super::{
    Caution, LinePublisher, Publishers,
    http::{Answer, Login, To},
    isolate::Evidence,
    line::{Cause, Dialect, Hide, Rules, Verdict},
};
use crate::{
    config::Influxdb,
    connect::{self, Service},
};

/// InfluxDB in the sentences about a connection.
const SERVICE: Service = Service {
    name: "InfluxDB",
    key: "publisher.influxdb.url",
    place: "the host and port in publisher.influxdb.url",
    plain: "http",
};

/// The longest name with its tags and one field's key, in bytes as they are written. InfluxDB refuses more, but
/// repeats all of the line before it says why.
const MAX_KEY: usize = 65_535;

/// Publishers to one InfluxDB, which share what they have seen it take.
pub(super) fn publishers(config: &Influxdb) -> Publishers {
    let (evidence, to) = (Evidence::default(), config.clone());
    let ignored =
        connect::ignored_proxy(&config.url, |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()));
    let on_the_way = ignored.map(|variable| Caution {
        what: format!(
            "{variable} is set, and the agent makes no use of it: it connects to publisher.influxdb.url without a proxy"
        ),
        mend: "let this machine reach it directly, and put its host into no_proxy".to_owned(),
    });
    let make = move || LinePublisher::new(InfluxdbV1::new(&to), evidence.clone());
    Publishers { on_the_way, ..Publishers::new(move || Box::new(make())) }
}

impl LinePublisher {
    /// Publishes to InfluxDB 1.x. Connects with the first write or probe; must be called, and used, inside a runtime.
    #[must_use]
    pub fn influxdb(config: &Influxdb) -> Self {
        Self::new(InfluxdbV1::new(config), Evidence::default())
    }
}

/// An InfluxDB 1.x.
struct InfluxdbV1 {
    config: Influxdb,
    /// `/write?...`
    write_path: String,
}

impl InfluxdbV1 {
    fn new(config: &Influxdb) -> Self {
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
        let Influxdb { url, username, password, timeout, gzip, .. } = &self.config;
        let login = Login::basic(username.as_ref(), password.as_ref());
        To { service: &SERVICE, url: url.clone(), login, timeout: *timeout, gzip: *gzip }
    }

    fn rules(&self) -> Rules {
        Rules { name: "InfluxDB 1.x", max_key: MAX_KEY, unique_timestamps: self.config.unique_timestamps }
    }

    fn write_path(&self) -> &str {
        &self.write_path
    }

    fn verdict(&self, answer: &Answer, body: &[u8], now: SystemTime, hide: Hide<'_>) -> Verdict {
        answers::verdict(answer, body, now, hide)
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
