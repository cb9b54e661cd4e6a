//! The InfluxDB publisher against a real influxd: every verdict.
#![cfg(test)]

#[path = "influxdb/held.rs"]
mod held;
#[path = "influxdb/refused.rs"]
mod refused;
#[path = "influxdb/retried.rs"]
mod retried;
#[path = "influxdb/stand_in.rs"]
mod stand_in;
#[path = "influxdb/stored.rs"]
mod stored;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kadabra::{
    config::{Influxdb, InfluxdbApi, InfluxdbV1},
    publisher::{LinePublisher, Outcome, Publisher, Refused},
    wire::{Decoder, MessageSet},
};
use serde_json::{Value, json};

use crate::support::influxd::Influxd;

const PASSWORD: &str = "p@ss w\"ord:1";

fn config(url: &str) -> Influxdb {
    Influxdb {
        url: url.to_owned(),
        api: InfluxdbApi::V1(InfluxdbV1 { database: "kadabra".to_owned(), ..InfluxdbV1::default() }),
        tls: kadabra::config::Tls::default(),
        proxy: None,
        timeout: Duration::from_secs(5),
        gzip: false,
        unique_timestamps: false,
    }
}

/// The same with something else of what there is for InfluxDB 1.x.
fn with(url: &str, change: impl FnOnce(&mut InfluxdbV1)) -> Influxdb {
    let mut config = config(url);
    if let InfluxdbApi::V1(v1) = &mut config.api {
        change(v1);
    }
    config
}

/// An influxd with the database, and a publisher to it.
fn ready() -> (Influxd, LinePublisher) {
    let influxd = Influxd::start();
    influxd.create_database("kadabra");
    let publisher = LinePublisher::influxdb(&config(&influxd.url()));
    (influxd, publisher)
}

/// A counter, so many microseconds after 2026-03-01T12:00:00Z.
fn counter(name: &str, micros: u32, metadata: Value) -> Value {
    let timestamp = format!("2026-03-01T12:00:{:02}.{:06}Z", micros / 1_000_000, micros % 1_000_000);
    json!({ "name": name, "metadata": metadata, "timestamp": timestamp, "value": 1.0 })
}

fn message(dimensions: &[(&str, &str)], counters: Vec<Value>) -> Vec<u8> {
    let dimensions: Vec<Value> = dimensions.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let message = json!({
        "dimensions": dimensions, "counters": counters, "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ",
        "serialized_at": "2026-03-01T12:00:00.000000Z",
    });
    message.to_string().into_bytes()
}

fn set_of(messages: &[Vec<u8>]) -> MessageSet {
    let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
    for message in messages {
        assert_eq!(decoder.decode(message, &mut set), []);
    }
    set
}

/// A batch of one message with one counter.
fn one() -> MessageSet {
    set_of(&[message(&[], vec![counter("c", 1, json!({}))])])
}

/// Messages of one counter each, distinct in time.
fn many(count: u32) -> MessageSet {
    set_of(
        &(0..count)
            .map(|n| message(&[("host", "a")], vec![counter("c", n, json!({ "text": "x".repeat(100) }))]))
            .collect::<Vec<_>>(),
    )
}

async fn publish(publisher: &mut LinePublisher, set: &MessageSet) -> Outcome {
    publisher.load(Arc::new(set.clone()));
    write_on(publisher).await
}

/// Writes until there is something else to do.
async fn write_on(publisher: &mut LinePublisher) -> Outcome {
    loop {
        match publisher.write().await {
            Outcome::Progressed => {}
            outcome => return outcome,
        }
    }
}

fn all_written() -> Outcome {
    Outcome::Written { refused: Vec::new() }
}

#[track_caller]
fn refused(outcome: Outcome) -> Vec<Refused> {
    let Outcome::Written { refused } = outcome else { panic!("{outcome:?}") };
    refused
}

#[track_caller]
fn held(outcome: Outcome) -> (String, String) {
    let Outcome::Hold { what, mend, .. } = outcome else { panic!("{outcome:?}") };
    (what, mend)
}

#[track_caller]
fn retried(outcome: Outcome) -> (Option<Duration>, String) {
    let Outcome::Retry { after, why } = outcome else { panic!("{outcome:?}") };
    (after, why)
}

fn lines_of(file: &str) -> Vec<String> {
    let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// Goes on until it is no longer `Retry`.
async fn wait_for_written(publisher: &mut LinePublisher) -> Outcome {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match write_on(publisher).await {
            Outcome::Retry { why, .. } => assert!(Instant::now() < end, "{why}"),
            outcome => return outcome,
        }
    }
}
