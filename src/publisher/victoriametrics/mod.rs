//! VictoriaMetrics: how points become samples, what its answers mean, what an operator is told, and the parameters of its requests.
//!
//! It keeps one number a series and millisecond, keeps a repeated sample twice unless it deduplicates, and drops much of what it
//! cannot store with a 204. So `samples` writes nothing that would be dropped, and `times` gives each point a millisecond of its own.

mod answers;
mod remedies;
mod samples;
mod times;

use std::time::SystemTime;

use url::form_urlencoded::byte_serialize;

use self::{samples::Samples, times::Times};
use super::{
    Caution, Inspection, LinePublisher, Mark, Publishers,
    http::{Answer, Login, To},
    isolate::Evidence,
    line::{Cause, Dialect, Encode, Hide, Sent, Verdict},
};
use crate::{config::Victoriametrics as Config, connect::Service};

/// VictoriaMetrics in the sentences about a connection.
static SERVICE: Service = Service {
    name: "VictoriaMetrics",
    key: "publisher.victoriametrics.url",
    place: "the host and port in publisher.victoriametrics.url",
    section: "publisher.victoriametrics",
    plain: Some("http"),
};

/// Publishers to one VictoriaMetrics, which share what they have seen it take, and which milliseconds are taken.
pub(super) fn publishers(config: &Config) -> Publishers {
    let (evidence, times, to) = (Evidence::default(), Times::default(), config.clone());
    let make = move || LinePublisher::new(Victoriametrics::new(&to, times.clone()), evidence.clone());
    Publishers { receipt: Some(remedies::receipt()), ..Publishers::new(move || Box::new(make())) }
}

impl LinePublisher {
    /// Publishes to VictoriaMetrics. Connects with the first write or probe; must be called, and used, inside a runtime.
    #[must_use]
    pub fn victoriametrics(config: &Config) -> Self {
        Self::new(Victoriametrics::new(config, Times::default()), Evidence::default())
    }
}

/// A VictoriaMetrics.
struct Victoriametrics {
    config: Config,
    /// `/write?...`
    write_path: String,
    times: Times,
}

impl Victoriametrics {
    fn new(config: &Config, times: Times) -> Self {
        Self { config: config.clone(), write_path: write_path(config), times }
    }
}

impl Dialect for Victoriametrics {
    fn name(&self) -> &'static str {
        "VictoriaMetrics"
    }

    fn place(&self) -> String {
        ["victoriametrics at ", &self.config.url].concat()
    }

    fn destination(&self) -> String {
        let of_tenant = self.config.tenant.as_ref().map(|tenant| [" tenant ", tenant].concat());
        ["victoriametrics ", &self.config.url, of_tenant.as_deref().unwrap_or_default()].concat()
    }

    fn to(&self) -> To {
        let Config { url, username, password, token, tls, proxy, timeout, gzip, .. } = &self.config;
        let login = match (username, token) {
            (None, Some(token)) => Login::token("Bearer", Some(token)),
            _ => Login::basic(username.as_ref(), password.as_ref()),
        };
        To { service: &SERVICE, url: url.clone(), login, tls: tls.clone(), proxy: proxy.clone(), timeout: *timeout, gzip: *gzip }
    }

    fn encoder(&self) -> Box<dyn Encode> {
        Box::new(Samples::new(&self.config, self.times.clone()))
    }

    fn write_path(&self) -> &str {
        &self.write_path
    }

    fn verdict(&self, answer: &Answer, sent: Sent<'_>, now: SystemTime, hide: Hide<'_>) -> Verdict {
        answers::verdict(answer, sent.body, now, hide)
    }

    fn inspection(&self) -> Option<&str> {
        // Each program of a cluster tells its own flags, and vminsert stores nothing.
        self.config.tenant.is_none().then_some("/flags")
    }

    fn inspected(&self, answer: &Answer, _hide: Hide<'_>) -> Inspection {
        Inspection { facts: None, cautions: remedies::inspected(&self.config, answer) }
    }

    /// Its series of all times, as long as it keeps them; what is named after the metric's value alone, since metadata may have any name.
    fn metric_path(&self, measurement: &str) -> Option<String> {
        let of: String = byte_serialize(format!("{{__name__=~\"{}.value\"}}", pattern(measurement)).as_bytes()).collect();
        // Without a start it tells of the last minutes, or of today.
        self.config.tenant.is_none().then(|| format!("/api/v1/series?start=1&limit=1&match[]={of}"))
    }

    fn has_metric(&self, answer: &Answer, hide: Hide<'_>) -> Result<bool, String> {
        let series = serde_json::from_str::<serde_json::Value>(&answer.body).ok();
        let series = series.as_ref().and_then(|answered| answered.get("data")?.as_array());
        series.filter(|_| answer.status == 200).map(|series| !series.is_empty()).ok_or_else(|| answer.words(None, hide))
    }

    /// What was written a second ago is exported, where a query hides the last half minute of it (`-search.latencyOffset`).
    fn newest_path(&self, mark: &Mark) -> Option<String> {
        let agent = mark.agent.replace('\\', "\\\\").replace('"', "\\\"");
        let of = format!("{{__name__=~\"{}.value\",{}=\"{agent}\"}}", Mark::METRIC, Mark::DIMENSION);
        let now = mark.value / 1000.0;
        let of: String = byte_serialize(of.as_bytes()).collect();
        // Without an end, what is of the present second is left out.
        let path = format!("/api/v1/export?start={:.0}&end={:.0}&match[]={of}", now - 300.0, now + 300.0);
        // In a cluster vminsert tells nothing, and vmselect is elsewhere.
        self.config.tenant.is_none().then_some(path)
    }

    fn newest(&self, answer: &Answer, hide: Hide<'_>) -> Result<Option<f64>, String> {
        if answer.status != 200 {
            return Err(answer.words(None, hide));
        }
        let series = answer.body.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let values = series.filter_map(|series| series.get("values")?.as_array().cloned()).flatten();
        Ok(values.filter_map(|value| value.as_f64()).reduce(f64::max))
    }

    fn remedy(&self, cause: Cause, words: &str) -> Caution {
        remedies::remedy(&self.config, cause, words)
    }
}

/// A text as a regular expression that fits it alone, within the quotes of a selector.
fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii_punctuation() && letter != '_' {
            pattern.push_str(r"\\");
        }
        if letter == '"' || letter == '\\' {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

/// <https://docs.victoriametrics.com/victoriametrics/integrations/influxdb/>; of a cluster
/// <https://docs.victoriametrics.com/victoriametrics/cluster-victoriametrics/#url-format>.
fn write_path(config: &Config) -> String {
    let mut path = match &config.tenant {
        Some(tenant) => ["/insert/", tenant, "/influx/write?precision=ms"].concat(),
        None => "/write?precision=ms".to_owned(),
    };
    for label in config.labels_of_all() {
        path.push_str("&extra_label=");
        path.extend(byte_serialize(label.as_bytes()));
    }
    path
}
