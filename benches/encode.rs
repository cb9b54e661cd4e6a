//! How long does a message take from decoded to line protocol?

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use kadabra::{
    config::{Influxdb, InfluxdbApi, InfluxdbV1},
    publisher::{LinePublisher, Publisher},
    wire::{Decoder, MessageSet},
};

#[path = "../tests/support/flask.rs"]
#[allow(dead_code)]
mod flask;

/// How many messages a batch has; one alone would mostly be the cost of a batch.
const MESSAGES: usize = 1_000;

/// Messages of one kind, decoded.
fn batch(points: u64, message: impl Fn(usize) -> String) -> Arc<MessageSet> {
    let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
    for number in 0..MESSAGES {
        assert!(decoder.decode(message(number).as_bytes(), &mut set).is_empty());
    }
    assert_eq!(set.point_count() as u64, points * MESSAGES as u64);
    Arc::new(set)
}

/// A message of a Flask request with so many points more, all of them counters.
fn with_more(number: usize, more: usize) -> String {
    let counters: String = (0..more).map(|_| [flask::counter("more", number).as_str(), ", "].concat()).collect();
    flask::message(number).replacen(r#""counters": ["#, &[r#""counters": ["#, &counters].concat(), 1)
}

/// A message with one counter.
fn single(number: usize) -> String {
    let counter = flask::counter("requests", number);
    format!(
        r#"{{"dimensions": [{{"name": "host", "value": "web-1.example.com"}}], "counters": [{counter}], "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}}"#
    )
}

fn encode(criterion: &mut Criterion) {
    let escaped = |number| {
        let message = flask::message(number).replace("requests", "a, b = c").replace("user id", r"k, \\e=y");
        message.replace("web-1.example.com", "a, b = c, d").replace("milliseconds", r#"m\"s\\\"s"#)
    };
    let cases = [
        ("1 point", 1, batch(1, single)),
        ("5 points of a Flask request", 5, batch(5, flask::message)),
        ("50 points", 50, batch(50, |number| with_more(number, 45))),
        ("5 points, each with much to escape", 5, batch(5, escaped)),
    ];
    let mut group = criterion.benchmark_group("encode");
    for (name, points, set) in &cases {
        let mut publisher = LinePublisher::influxdb(&Influxdb {
            url: "http://localhost:8086".to_owned(),
            api: InfluxdbApi::V1(InfluxdbV1 { database: "kadabra".to_owned(), ..InfluxdbV1::default() }),
            tls: kadabra::config::Tls::default(),
            proxy: None,
            timeout: Duration::from_secs(5),
            gzip: false,
            unique_timestamps: true,
        });
        // The time is a batch's, the elements a second are points.
        group.throughput(Throughput::Elements(points * MESSAGES as u64));
        group.bench_function(format!("{MESSAGES} messages, {name}"), |bencher| {
            bencher.iter_batched(|| Arc::clone(set), |set| publisher.load(black_box(set)), BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
