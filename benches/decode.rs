//! How long does a message take from bytes to points?

use std::fmt::Write;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kadabra::wire::{Decoder, MessageSet};

#[path = "../tests/support/flask.rs"]
#[allow(dead_code)]
mod flask;

const DEFAULT: &str = "%Y-%m-%dT%H:%M:%S.%fZ";

/// A message as Flask-Kadabra makes one for a request: counters, and a timer as the last.
fn message(points: usize, format: &str, timestamp: &str) -> String {
    let mut counters = String::new();
    for index in 1..points {
        let comma = if index == 1 { "" } else { ", " };
        let _ = write!(
            counters,
            r#"{comma}{{"name": "RequestCount{index}", "metadata": {{"path": "/api/v1/items/4711"}}, "timestamp": "{timestamp}", "value": 1.0}}"#
        );
    }
    format!(
        r#"{{"dimensions": [{{"name": "method", "value": "GET"}}, {{"name": "host", "value": "web-1.example.org"}}, {{"name": "environment", "value": "production"}}], "counters": [{counters}], "timers": [{{"name": "RequestTime", "unit": {{"name": "milliseconds", "seconds_offset": 1000.0}}, "metadata": {{}}, "timestamp": "{timestamp}", "value": 12.504000000000001}}], "timestamp_format": "{format}", "serialized_at": "{timestamp}"}}"#
    )
}

fn decode(criterion: &mut Criterion) {
    let default = "2026-03-01T12:00:00.123456Z";
    let mut group = criterion.benchmark_group("decode");
    let cases = [
        ("1 point", 1, message(1, DEFAULT, default)),
        ("5 points", 5, message(5, DEFAULT, default)),
        ("5 points of a Flask request", 5, flask::message(0)),
        ("50 points", 50, message(50, DEFAULT, default)),
        ("5 points, a format of their own", 5, message(5, "%b %d %Y %I:%M:%S.%f %p", "Mar 01 2026 12:00:00.123456 PM")),
        ("5 points, each with escapes", 5, message(5, DEFAULT, default).replace("items", r#"\u00e4\"\n\ud83c\udf89\\"#)),
        ("5 points, one NaN", 5, message(5, DEFAULT, default).replacen("1.0", "NaN", 1)),
    ];
    for (name, points, message) in &cases {
        let mut decoder = Decoder::new();
        let mut set = MessageSet::new();
        // The time is a message's, the elements a second are points.
        group.throughput(Throughput::Elements(*points));
        group.bench_function(format!("{name}, {} bytes", message.len()), |bencher| {
            bencher.iter(|| {
                if set.len() == 1000 {
                    set.clear();
                }
                black_box(decoder.decode(black_box(message.as_bytes()), &mut set))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
