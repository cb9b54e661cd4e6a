//! The publishers of a run, drawn from its seed: to which servers, and what each may leave behind.

use fastrand::Rng;

use super::arguments::Channel;

/// What a publisher writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A real InfluxDB 1.x.
    Influxdb,
    /// A strict stand-in for InfluxDB 2.
    Influxdb2,
    /// A strict stand-in for InfluxDB 3.
    Influxdb3,
    /// A real VictoriaMetrics.
    Victoriametrics,
}

/// Each kind as the command line calls it.
pub(crate) const KINDS: [(&str, Kind); 4] = [
    ("influxdb", Kind::Influxdb),
    ("influxdb2", Kind::Influxdb2),
    ("influxdb3", Kind::Influxdb3),
    ("victoriametrics", Kind::Victoriametrics),
];

/// What the stand-ins ask for.
pub(crate) const TOKEN: &str = "the-token-of-the-agents";
pub(crate) const ORGANIZATION: &str = "o1";

const NAMES: [&str; 3] = ["one", "two", "three"];

/// One publisher of every agent.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    /// `None` where it is the only one.
    pub(crate) name: Option<&'static str>,
    pub(crate) kind: Kind,
    required: bool,
    max_backlog: Option<u32>,
}

impl Publisher {
    /// The only one.
    pub(crate) fn only(kind: Kind) -> Vec<Self> {
        vec![Self { name: None, kind, required: true, max_backlog: None }]
    }

    /// So many, up to three.
    pub(crate) fn several(seed: u64, count: usize, channel: Channel) -> Vec<Self> {
        let mut rng = Rng::with_seed(seed ^ 0x7075_626c_6973_6865);
        let mut draw = |name: &&'static str| {
            let kind = KINDS[rng.usize(..KINDS.len())].1;
            let (required, backlog) = (rng.u8(0..3) > 0, rng.u32(500..6000));
            // Over a Redis that fails nobody can say exactly how many were dropped, so that it is seldom left to drop any.
            let bounded = if required || channel == Channel::Embedded { rng.bool() } else { rng.u8(0..4) == 0 };
            Self { name: Some(name), kind, required, max_backlog: bounded.then_some(backlog) }
        };
        NAMES.iter().take(count).map(&mut draw).collect()
    }

    /// Whether it drops its oldest messages when too many wait.
    pub(crate) fn drops(&self) -> bool {
        !self.required && self.max_backlog.is_some()
    }

    /// The variable that sets one of its keys, such as `INFLUXDB__GZIP`.
    pub(crate) fn variable(&self, key: &str) -> String {
        match self.name {
            None => format!("KADABRA_PUBLISHER__{key}"),
            Some(name) => format!("KADABRA_PUBLISHERS__{}__{key}", name.to_uppercase()),
        }
    }

    /// The name of its kind's section.
    pub(crate) fn section(&self) -> &'static str {
        if self.kind == Kind::Victoriametrics { "victoriametrics" } else { "influxdb" }
    }

    /// Its section of an agent's configuration, for a server at this URL.
    pub(crate) fn config(&self, url: &str) -> String {
        let section = self.section();
        let head =
            self.name.map_or("[publisher]".to_owned(), |name| format!("[publishers.{name}]\nrequired = {}", self.required));
        let bound = self.max_backlog.map(|bound| format!("max_backlog = {bound}\n")).unwrap_or_default();
        let of_kind = match self.kind {
            Kind::Influxdb => String::new(),
            Kind::Influxdb2 => {
                format!("influxdb.api = \"v2\"\ninfluxdb.org = \"{ORGANIZATION}\"\ninfluxdb.token = \"{TOKEN}\"\n")
            }
            Kind::Influxdb3 => format!("influxdb.api = \"v3\"\ninfluxdb.token = \"{TOKEN}\"\n"),
            Kind::Victoriametrics => "victoriametrics.text_metadata = \"drop\"\n".to_owned(),
        };
        format!(
            "{head}\ntype = \"{section}\"\nbackoff_min = \"50ms\"\nbackoff_max = \"500ms\"\n{bound}{section}.url = \"{url}\"\n{of_kind}"
        )
    }
}
