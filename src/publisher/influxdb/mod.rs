//! InfluxDB, a folder for each version of its interface: what its answers mean, what an operator is told, and the parameters of its
//! requests.
//!
//! | interface | of | its table of answers |
//! |---|---|---|
//! | `v1` | InfluxDB 1.x | `v1/answers` |
//! | `v2` | InfluxDB 2 and Cloud | `v2/answers` |
//! | `v3` | InfluxDB 3 Core and Enterprise | `v3/answers` |

mod columns;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod newest;
mod questions;
#[cfg(test)]
mod recorded;
mod v1;
mod v2;
mod v3;

use url::{Url, form_urlencoded::byte_serialize};

use self::{v1::V1, v2::V2, v3::V3};
use super::{
    Caution, Inspection, LinePublisher, Mark, Publishers,
    http::{Answer, Login, To},
    isolate::Evidence,
    line::Hide,
};
use crate::{
    config::{Influxdb, InfluxdbApi},
    connect::Service,
    quote::quote,
};

/// InfluxDB in the sentences about a connection.
static SERVICE: Service = Service {
    name: "InfluxDB",
    key: "publisher.influxdb.url",
    place: "the host and port in publisher.influxdb.url",
    section: "publisher.influxdb",
    plain: Some("http"),
};

/// Publishers to one InfluxDB, which share what they have seen it take.
pub(super) fn publishers(config: &Influxdb) -> Publishers {
    let (evidence, to) = (Evidence::default(), config.clone());
    let make = move || publisher(&to, evidence.clone());
    Publishers { receipt: receipt(config), ..Publishers::new(move || Box::new(make())) }
}

fn publisher(config: &Influxdb, evidence: Evidence) -> LinePublisher {
    match &config.api {
        InfluxdbApi::V1(v1) => LinePublisher::new(V1::new(config, v1), evidence),
        InfluxdbApi::V2(v2) => LinePublisher::new(V2::new(config, v2), evidence),
        InfluxdbApi::V3(v3) => LinePublisher::new(V3::new(config, v3), evidence),
    }
}

impl LinePublisher {
    /// Publishes to InfluxDB. Connects with the first write or probe; must be called, and used, inside a runtime.
    #[must_use]
    pub fn influxdb(config: &Influxdb) -> Self {
        publisher(config, Evidence::default())
    }
}

/// What the server's word that a point is written is not worth.
fn receipt(config: &Influxdb) -> Option<Caution> {
    let host = Url::parse(&config.url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let (what, mend) = match &config.api {
        InfluxdbApi::V3(v3) if v3.no_sync => (
            "InfluxDB answers before points are in its log, and loses up to a second of them when it crashes",
            "set publisher.influxdb.no_sync = false, with which it answers once they are there",
        ),
        // https://docs.influxdata.com/influxdb/cloud/write-data/troubleshoot/
        InfluxdbApi::V2(_) if host.ends_with(".influxdata.com") => (
            "InfluxDB Cloud may answer before it has written points, and refuse some of them later without telling",
            "look for rejected_points in the bucket _monitoring now and then",
        ),
        _ => return None,
    };
    Some(Caution { what: what.to_owned(), mend: mend.to_owned() })
}

/// Where each version tells which it is, to anybody or to the login that writes.
const PING: &str = "/ping";

/// What is known of a server from its answer to [`PING`], and that the times of points are written in nanoseconds. All versions name
/// themselves in a header, and 3 also in its body.
fn inspected(answer: &Answer, hide: Hide<'_>) -> Inspection {
    let in_body = || Some(serde_json::from_str::<serde_json::Value>(&answer.body).ok()?.get("version")?.as_str()?.to_owned());
    let version = answer.version.clone().or_else(in_body).map(|version| quote(&hide(version.trim().to_owned())));
    let version = version.filter(|told| !told.is_empty());
    let told = version.map_or_else(|| "it does not tell its version".to_owned(), |version| format!("it says version {version}"));
    Inspection { facts: Some([&told, "; times are written with precision ns"].concat()), cautions: Vec::new() }
}

/// Where requests go, and how.
fn to(config: &Influxdb, login: Login) -> To {
    To {
        service: &SERVICE,
        url: config.url.clone(),
        login,
        tls: config.tls.clone(),
        proxy: config.proxy.clone(),
        timeout: config.timeout,
        gzip: config.gzip,
    }
}

/// A text as the value of a parameter.
fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// The beginning of a string of JSON whose end is missing: only the beginning of a long answer is read.
fn cut_text(text: &str) -> Option<String> {
    /// The longest escape of JSON, a pair of surrogates.
    const LONGEST_ESCAPE: usize = 12;
    let ends = (0..=LONGEST_ESCAPE).filter_map(|missing| text.get(..text.len().checked_sub(missing)?));
    ends.filter_map(|text| serde_json::from_str(&["\"", text, "\""].concat()).ok()).next()
}
