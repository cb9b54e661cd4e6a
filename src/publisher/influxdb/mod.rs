//! InfluxDB, a folder for each version of its interface: what its answers mean, what an operator is told, and the parameters of its
//! requests.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod v1;

use self::v1::InfluxdbV1;
use super::{Caution, LinePublisher, Publishers, isolate::Evidence};
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
