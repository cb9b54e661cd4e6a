//! How long does a message take from decoded to line protocol?

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use kadabra::{
    config::Influxdb,
    metrics::{Decoder, MessageSet},
    publisher::{InfluxdbPublisher, Publisher},
};

const MESSAGES: usize = 2_000;

/// What a Flask request makes: 5 points in about 900 bytes.
fn message(n: usize) -> String {
    let dimensions: Vec<String> =
        [("host", "web-1.example.com"), ("environment", "production"), ("method", "GET"), ("path", "/api/v1/users")]
            .iter()
            .map(|(name, value)| format!(r#"{{"name": "{name}", "value": "{value}"}}"#))
            .collect();
    let at = format!(r#""timestamp": "2026-03-01T12:00:{:02}.{:06}Z""#, n % 60, n);
    let counter = |name: &str| format!(r#"{{"name": "{name}", "metadata": {{"user id": "{n}"}}, {at}, "value": 1.0}}"#);
    let unit = r#""unit": {"name": "milliseconds", "seconds_offset": 1000.0}"#;
    let timer = |name: &str| format!(r#"{{"name": "{name}", {unit}, "metadata": {{}}, {at}, "value": 12.345{n}}}"#);
    format!(
        r#"{{"dimensions": [{}], "counters": [{}, {}, {}], "timers": [{}, {}], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}}"#,
        dimensions.join(", "),
        counter("requests"),
        counter("responses"),
        counter("bytes sent"),
        timer("RequestTime"),
        timer("DatabaseTime"),
    )
}

fn encode(criterion: &mut Criterion) {
    let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
    for n in 0..MESSAGES {
        decoder.decode(message(n).as_bytes(), true, &mut set);
    }
    assert_eq!(set.point_count(), 5 * MESSAGES);
    let mut publisher = InfluxdbPublisher::new(&Influxdb {
        url: "http://localhost:8086".to_owned(),
        database: "kadabra".to_owned(),
        username: None,
        password: None,
        retention_policy: None,
        create_database: false,
        timeout: Duration::from_secs(5),
        gzip: false,
        unique_timestamps: true,
    });
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("messages of 5 points", |bencher| {
        bencher.iter_batched(|| set.clone(), |set| publisher.load(black_box(set)), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
