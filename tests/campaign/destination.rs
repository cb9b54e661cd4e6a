//! A publisher's server, the way to it, and what each fault does to both.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    ops::Range,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    proxy::{Mode, Proxy},
    publishers::{Kind, ORGANIZATION, Publisher, TOKEN},
    schedule::Fault,
};
use crate::support::{
    http_server,
    influxd::Influxd,
    influxdb2::{self, Influxdb2},
    influxdb3::{self, Influxdb3},
    pipeline::DATABASE,
    victoriametrics::VictoriaMetrics,
};

/// Whom InfluxDB asks for while it wants a login.
pub(crate) const USER: &str = "kadabra";
pub(crate) const PASSWORD: &str = "the right one";

/// When messages were, in milliseconds, but for those of the Python client, which are from now.
const TIMES: Range<i64> = 1_772_366_400_000..1_773_000_000_000;

/// How long a stand-in takes for an answer while it crawls.
const CRAWL: Duration = Duration::from_millis(700);

enum Server {
    Influxdb(Influxd),
    Influxdb2(Influxdb2),
    Influxdb3(Influxdb3),
    Victoriametrics(VictoriaMetrics),
}

/// See the module.
pub(crate) struct Destination {
    pub(crate) publisher: Publisher,
    server: Server,
    way: Proxy,
    /// The points that were in the database each time it was dropped, by their text.
    dropped: HashMap<String, Value>,
}

impl Destination {
    pub(crate) fn start(publisher: Publisher) -> Self {
        let server = match publisher.kind {
            Kind::Influxdb => {
                let influxd = Influxd::start();
                influxd.create_admin(USER, PASSWORD);
                Server::Influxdb(influxd)
            }
            Kind::Influxdb2 => Server::Influxdb2(Influxdb2::start(ORGANIZATION, DATABASE, TOKEN)),
            Kind::Influxdb3 => Server::Influxdb3(Influxdb3::start(TOKEN)),
            Kind::Victoriametrics => {
                Server::Victoriametrics(VictoriaMetrics::with(&["-retentionPeriod=100y", "-dedup.minScrapeInterval=1ms"]))
            }
        };
        let url = match &server {
            Server::Influxdb(server) => server.url(),
            Server::Influxdb2(server) => server.url(),
            Server::Influxdb3(server) => server.url(),
            Server::Victoriametrics(server) => server.url(),
        };
        let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
        let way = Proxy::to((Ipv4Addr::LOCALHOST, port).into());
        Self { publisher, server, way, dropped: HashMap::new() }
    }

    /// The publisher's section of an agent's configuration.
    pub(crate) fn config(&self) -> String {
        self.publisher.config(&format!("http://127.0.0.1:{}", self.way.port()))
    }

    pub(crate) fn set_way(&self, mode: Mode) {
        self.way.set(mode);
    }

    /// Where an operator has to create one.
    pub(crate) fn create_database(&self) {
        if let Server::Influxdb(influxd) = &self.server {
            influxd.create_database(DATABASE);
        }
    }

    pub(crate) fn begin(&mut self, fault: &Fault) {
        match (&mut self.server, fault) {
            (Server::Influxdb(server), Fault::Kill) => server.kill(),
            (Server::Influxdb(server), Fault::Stop) => server.stop(),
            (Server::Influxdb(server), Fault::Freeze) => server.pause(),
            (Server::Influxdb(_), Fault::DropDatabase) => self.drop_database(),
            (Server::Influxdb(server), Fault::Login) => ask_for(server, Some((USER, PASSWORD))),
            (Server::Influxdb2(server), Fault::Stop) => server.stop(),
            (Server::Influxdb2(server), Fault::Login) => server.remove_token(TOKEN),
            (Server::Influxdb2(server), fault) => server.fault(Some(of_a_stand_in(fault))),
            (Server::Influxdb3(server), Fault::Kill) => server.kill(),
            (Server::Influxdb3(server), Fault::Stop) => server.stop(),
            (Server::Influxdb3(server), Fault::Login) => server.remove_token(TOKEN),
            (Server::Influxdb3(server), fault) => server.fault(Some(of_a_stand_in(fault))),
            (Server::Victoriametrics(server), Fault::Stop) => server.terminate(),
            (Server::Victoriametrics(server), Fault::Freeze) => server.pause(),
            (_, fault) => panic!("{fault} is no fault of {:?}", self.publisher),
        }
    }

    pub(crate) fn end(&mut self, fault: &Fault) {
        match (&mut self.server, fault) {
            (Server::Influxdb(server), Fault::Kill | Fault::Stop) => server.start_again(),
            (Server::Influxdb(server), Fault::Freeze) => server.resume(),
            (Server::Influxdb(server), Fault::DropDatabase) => server.create_database(DATABASE),
            (Server::Influxdb(server), Fault::Login) => ask_for(server, None),
            (Server::Influxdb2(server), Fault::Stop) => server.start_again(),
            (Server::Influxdb2(server), Fault::Login) => server.token(TOKEN, influxdb2::Right::Everything),
            (Server::Influxdb2(server), _) => server.fault(None),
            (Server::Influxdb3(server), Fault::Kill | Fault::Stop) => server.start_again(),
            (Server::Influxdb3(server), Fault::Login) => server.token(TOKEN, influxdb3::Right::Everything),
            (Server::Influxdb3(server), _) => server.fault(None),
            (Server::Victoriametrics(server), Fault::Stop) => server.start_again(),
            (Server::Victoriametrics(server), Fault::Freeze) => server.resume(),
            _ => {}
        }
    }

    /// Drops the database and notes what was in it. Whatever an agent was told is stored is noted, since nothing is
    /// written meanwhile; what an agent was not told it writes again, and then it is the same point.
    fn drop_database(&mut self) {
        let Server::Influxdb(influxd) = &mut self.server else { return };
        self.way.fence(true);
        influxd.stop();
        influxd.start_again();
        self.dropped.extend(influxd.points(DATABASE).into_iter().map(|point| (point.to_string(), point)));
        influxd.drop_database(DATABASE);
        self.way.fence(false);
    }

    /// Every point that was stored, as `Influxd::points` has them, in the database that is there and in those that were dropped.
    pub(crate) fn points(&self) -> Vec<Value> {
        match &self.server {
            Server::Influxdb(server) => {
                let mut points = self.dropped.clone();
                points.extend(server.points(DATABASE).into_iter().map(|point| (point.to_string(), point)));
                points.into_values().collect()
            }
            Server::Influxdb2(server) => server.points(DATABASE),
            // It makes the database with the first write.
            Server::Influxdb3(server) if server.databases().is_empty() => Vec::new(),
            Server::Influxdb3(server) => server.points(DATABASE),
            Server::Victoriametrics(server) => {
                let samples = server.samples(r#"{__name__=~"(numbered|took|sent)_value"}"#);
                // What was cut may be there beside the whole, of a client's own time a moment later.
                let mut sent = HashSet::new();
                let is_first = |sample: &&Value| {
                    sample["metric"]["__name__"] != "sent_value" || sent.insert(sample["metric"]["number"].to_string())
                };
                samples.iter().filter(|sample| !is_cut(sample)).filter(is_first).map(as_a_point).collect()
            }
        }
    }
}

fn ask_for(influxd: &mut Influxd, admin: Option<(&'static str, &'static str)>) {
    influxd.stop();
    influxd.ask_for(admin);
    influxd.start_again();
}

fn of_a_stand_in(fault: &Fault) -> http_server::Fault {
    match fault {
        Fault::Mute => http_server::Fault::CloseAfterwards,
        Fault::Crawl => http_server::Fault::Slow(CRAWL),
        other => panic!("{other} is no fault of a stand-in"),
    }
}

/// Whether a sample is what VictoriaMetrics makes of the beginning of a line, where a connection is reset in the middle of a request:
/// a part of the value at the time of the server, or the value at a part of its time.
fn is_cut(sample: &Value) -> bool {
    let (metric, time) = (&sample["metric"], sample["time"].as_i64().unwrap());
    if metric["__name__"] == "sent_value" {
        return time < TIMES.start || metric["number"] != sample["value"].to_string().trim_end_matches(".0");
    }
    !TIMES.contains(&time)
}

/// A sample of VictoriaMetrics.
fn as_a_point(sample: &Value) -> Value {
    let mut tags = sample["metric"].as_object().unwrap().clone();
    let name = tags.remove("__name__").unwrap();
    let measurement = name.as_str().unwrap().trim_end_matches("_value");
    json!({
        "measurement": measurement,
        "tags": tags,
        "fields": { "value": sample["value"] },
        "time": sample["time"].as_i64().unwrap() * 1_000_000,
    })
}
