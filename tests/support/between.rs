//! A Redis and a destination of any kind, and numbered messages between them.

use std::{collections::BTreeSet, ops::Range};

use serde_json::Value;

use super::{
    agent::{Agent, Builder},
    influxd::Influxd,
    influxdb2::Influxdb2,
    influxdb3::Influxdb3,
    pipeline::{DATABASE, Left, PATIENCE, assert_once_each, config, numbered},
    process::wait_for,
    redis_server::RedisServer,
    victoriametrics::VictoriaMetrics,
};

pub(crate) const TOKEN: &str = "the-token-of-the-agent";
pub(crate) const ORGANIZATION: &str = "o1";

/// A destination: real ones of InfluxDB 1.x and VictoriaMetrics, stand-ins of InfluxDB 2 and 3.
pub(crate) enum Server {
    V1(Influxd),
    V2(Influxdb2),
    V3(Influxdb3),
    VictoriaMetrics(VictoriaMetrics),
}

/// A Redis, a destination, and messages between them.
pub(crate) struct Between {
    pub(crate) redis: RedisServer,
    pub(crate) server: Server,
}

impl Between {
    pub(crate) fn v1() -> Self {
        let influxd = Influxd::start();
        influxd.create_database(DATABASE);
        Self::with(Server::V1(influxd))
    }

    pub(crate) fn v2() -> Self {
        Self::with(Server::V2(Influxdb2::start(ORGANIZATION, DATABASE, TOKEN)))
    }

    pub(crate) fn v3() -> Self {
        Self::with(Server::V3(Influxdb3::start(TOKEN)))
    }

    /// One that keeps once what is written twice.
    pub(crate) fn victoriametrics() -> Self {
        Self::with(Server::VictoriaMetrics(VictoriaMetrics::with(&["-retentionPeriod=100y", "-dedup.minScrapeInterval=1ms"])))
    }

    fn with(server: Server) -> Self {
        Self { redis: RedisServer::for_agents(), server }
    }

    pub(crate) fn url(&self) -> String {
        match &self.server {
            Server::V1(server) => server.url(),
            Server::V2(server) => server.url(),
            Server::V3(server) => server.url(),
            Server::VictoriaMetrics(server) => server.url(),
        }
    }

    /// An agent between the two, with short times; environment variables change what a test wants otherwise.
    pub(crate) fn agent(&self) -> Builder {
        self.agent_at(&self.url())
    }

    /// The same, which is told that the destination is at this URL.
    pub(crate) fn agent_at(&self, url: &str) -> Builder {
        let config = config(&self.redis.url(), url);
        let config = if self.is_victoriametrics() { config.replace("influxdb", "victoriametrics") } else { config };
        let agent = Agent::with(&config);
        let v2_or_v3 = |api: &str| Agent::with(&config).env(&self.key("API"), api).env(&self.key("TOKEN"), TOKEN);
        match &self.server {
            Server::V1(_) => agent,
            Server::V2(_) => v2_or_v3("v2").env(&self.key("ORG"), ORGANIZATION),
            Server::V3(_) => v2_or_v3("v3"),
            Server::VictoriaMetrics(_) => agent.env(&self.key("TEXT_METADATA"), "drop"),
        }
    }

    /// The variable of the environment for a key of the destination.
    pub(crate) fn key(&self, name: &str) -> String {
        let kind = if self.is_victoriametrics() { "VICTORIAMETRICS" } else { "INFLUXDB" };
        format!("KADABRA_PUBLISHER__{kind}__{name}")
    }

    pub(crate) fn is_victoriametrics(&self) -> bool {
        matches!(self.server, Server::VictoriaMetrics(_))
    }

    /// Queues messages in this order.
    pub(crate) fn push(&self, messages: impl IntoIterator<Item = Vec<u8>>) {
        let messages: Vec<_> = messages.into_iter().collect();
        let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(messages).query(&mut self.redis.connection()).unwrap();
    }

    /// Queues numbered messages.
    pub(crate) fn push_numbers(&self, numbers: Range<u64>) {
        self.push(numbers.map(|number| numbered(number).into_bytes()));
    }

    /// What is in the database of the agent, where the destination tells points.
    pub(crate) fn points(&self) -> Vec<Value> {
        match &self.server {
            Server::V1(server) => server.points(DATABASE),
            Server::V2(server) => server.points(DATABASE),
            Server::V3(server) => server.points(DATABASE),
            Server::VictoriaMetrics(server) => server.samples(r#"{__name__!=""}"#),
        }
    }

    /// The values of a measurement.
    fn values(&self, measurement: &str) -> Vec<u64> {
        match &self.server {
            Server::V1(server) => server.values(measurement),
            Server::V2(_) | Server::V3(_) => {
                let points = self.points();
                let of_it = points.iter().filter(|point| point["measurement"] == measurement);
                of_it.map(|point| point["fields"]["value"].as_f64().unwrap() as u64).collect()
            }
            Server::VictoriaMetrics(server) => {
                let samples = server.samples(&format!("{measurement}_value"));
                samples.iter().map(|sample| sample["value"].as_f64().unwrap() as u64).collect()
            }
        }
    }

    /// The numbers of the messages whose counters are written.
    pub(crate) fn written(&self) -> BTreeSet<u64> {
        self.values("numbered").into_iter().collect()
    }

    /// Waits until Redis holds exactly this.
    pub(crate) fn wait_left(&self, wanted: &Left) {
        wait_for(&format!("{wanted:?} left in Redis"), PATIENCE, || (self.redis.left() == *wanted).then_some(()));
    }

    /// Checks that every number is there once, with its own value.
    pub(crate) fn assert_written(&self, numbers: Range<u64>) {
        assert_once_each(|measurement| self.values(measurement), numbers);
    }

    /// Waits until nothing is left, and checks that every number is there once, with its own value.
    pub(crate) fn assert_all_written(&self, numbers: Range<u64>) {
        self.wait_left(&Left::NOTHING);
        self.assert_written(numbers);
    }
}
