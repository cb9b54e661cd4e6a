//! An answer as far as it matters, and what HTTP itself says in it.

use std::time::{Duration, SystemTime};

use awc::http::header::HttpDate;

use crate::quote::quote;

/// The longest pause that a server can ask for.
pub(in crate::publisher) const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// What servers say of themselves in a 503: InfluxDB's `services/httpd`, VictoriaMetrics' `lib/writeconcurrencylimiter` and
/// `app/vminsert/netstorage`.
const OF_LOAD: [&str; 3] = ["request throttled", "concurrent insert requests", "storageNode"];

/// An answer as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::publisher) struct Answer {
    pub(in crate::publisher) status: u16,
    /// The `Retry-After` header, as it was sent.
    pub(in crate::publisher) retry_after: Option<String>,
    /// The `Location` header, as it was sent.
    pub(in crate::publisher) location: Option<String>,
    /// The `X-Influxdb-Version` header of an answer to a GET, as it was sent.
    pub(in crate::publisher) version: Option<String>,
    /// The body, or its beginning.
    pub(in crate::publisher) body: String,
}

impl Answer {
    /// The pause that the server asks for, at most [`MAX_RETRY_AFTER`]; `now` is for a `Retry-After` that is a date.
    pub(in crate::publisher) fn pause(&self, now: SystemTime) -> Option<Duration> {
        let header = self.retry_after.as_deref()?.trim();
        let pause = if !header.is_empty() && header.bytes().all(|b| b.is_ascii_digit()) {
            header.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
        } else {
            let date: HttpDate = header.parse().ok()?;
            SystemTime::from(date).duration_since(now).unwrap_or_default()
        };
        Some(pause.min(MAX_RETRY_AFTER))
    }

    /// Whether the server is throttled, so that it would answer the same whatever had been sent. A 503 alone does not tell: a gateway
    /// answers it, too, where a server has closed the connection over a line (Envoy: `upstream connect error or disconnect/reset`).
    pub(in crate::publisher) fn is_throttled(&self) -> bool {
        let says_so = || self.retry_after.is_some() || OF_LOAD.iter().any(|of| self.body.contains(of));
        self.status == 429 || self.status == 503 && says_so()
    }

    /// The status and what the server says, as one printable line that is bounded: its `error`, as the dialect has found it, or else
    /// the body. `hide` takes secrets out.
    pub(in crate::publisher) fn words(&self, error: Option<&str>, hide: &dyn Fn(String) -> String) -> String {
        let said = quote(&hide(error.unwrap_or(&self.body).to_owned()));
        let mut words = self.status.to_string();
        if let Some(location) = self.location.as_ref().filter(|_| (300..400).contains(&self.status)) {
            words = [&words, " to ", &quote(&hide(location.clone()))].concat();
        }
        if said.is_empty() { words } else { [&words, " ", &said].concat() }
    }
}
