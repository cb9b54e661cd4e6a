//! Memory while a message is decoded: a few times its own size, whatever is in it.

// What is forbidden on data from outside is fine here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use kadabra::wire::{Decoder, MessageSet};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The most that a byte of a message takes, and what any message takes besides; `Decoder` promises it.
const PER_BYTE: usize = 8;
const BESIDES: usize = 1 << 20;

/// As large as a message may be, by default.
const LARGEST: usize = 4 << 20;

/// A message of `size` bytes: in `shape`, `@` is repeated text, and `%` the format and what else every message has.
fn message(shape: &str, again: &str, size: usize) -> String {
    let rest = r#""timers": [], "timestamp_format": "%Y""#;
    let (before, behind) = shape.split_once('@').unwrap();
    let room = size.saturating_sub(shape.len() + rest.len());
    [before, &again.repeat(room / again.len()), &behind.replace('%', rest)].concat()
}

/// How much more memory than before was held at one time while the message was decoded, and for how many points.
fn taken(payload: &str) -> (usize, usize) {
    let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let refusals = decoder.decode(payload.as_bytes(), &mut set);
    let taken = MEMORY.peak_usage() - before;
    drop(refusals);
    let points = set.point_count();
    drop(set);
    let kept = MEMORY.current_usage().saturating_sub(before);
    assert!(kept <= 512 << 10, "{kept} bytes are kept for the next message");
    (taken, points)
}

/// One test, since the allocator counts for the whole process.
#[test]
fn no_message_takes_many_times_its_size() {
    let counters = r#"{"dimensions": [], "counters": [@{}], %}"#;
    let dimensions = r#"{"dimensions": [@{}], "counters": [], %}"#;
    let metadata =
        r#"{"dimensions": [], "counters": [{"name": "c", "timestamp": "1970", "value": 1, "metadata": {@"z": 1}}], %}"#;
    let nested =
        r#"{"dimensions": [], "counters": [{"name": "c", "timestamp": "1970", "value": 1, "metadata": {"a": [@1]}}], %}"#;
    let elsewhere = r#"{"x": [@1], "dimensions": [], "counters": [], %}"#;
    let format = r#"{"dimensions": [], "counters": [], "timers": [], "timestamp_format": "@%"}"#;
    let text =
        r#"{"dimensions": [{"name": "d", "value": "@"}], "counters": [{"name": "c", "timestamp": "1970", "value": 1}], %}"#;
    let cases = [
        ("bare counters", counters, "0,"),
        ("empty counters", counters, "{},"),
        ("refused counters", counters, r#"{"name":"a"},"#),
        ("counters with half of a surrogate pair", counters, r#"{"name":"\ud800"},"#),
        ("NaN as counters", counters, "NaN,"),
        ("the shortest counters", counters, r#"{"name":"a","value":1,"timestamp":"1970"},"#),
        ("short counters", counters, r#"{"name":"a","value":1,"timestamp":"1970","m":0},"#),
        ("counters as they are", counters, r#"{"name": "a", "metadata": {}, "timestamp": "1970", "value": 1.0}, "#),
        ("bare dimensions", dimensions, "0,"),
        ("dimensions", dimensions, r#"{"name":"d","value":1e15},"#),
        ("metadata", metadata, r#""":0,"#),
        ("metadata of one name", metadata, r#""a": 1, "#),
        ("metadata that becomes fields", metadata, r#""metadata1234567": 1, "#),
        ("nested", nested, "0,"),
        ("nested floats", nested, "1e15,"),
        ("nested long floats", nested, "1e15         ,"),
        ("nested NaN", nested, "NaN, "),
        ("nested lists", nested, "[],"),
        ("nested strings", nested, r#""\n","#),
        ("nested integers of 64 bits", nested, "18446744073709551615,"),
        ("NaN elsewhere", elsewhere, "NaN,"),
        ("strings elsewhere", elsewhere, r#""\ud800","#),
        ("a format", format, "x"),
        ("a text", text, "x"),
        ("an escaped text", text, r"\u0001"),
    ];
    let mut broken = Vec::new();
    for (what, shape, again) in cases {
        for size in [1 << 10, 100 << 10, LARGEST] {
            let payload = message(shape, again, size);
            let (taken, points) = taken(&payload);
            let times = taken as f64 / payload.len() as f64;
            eprintln!("{what}, {} bytes: {taken} bytes, {times:.1} times its size, {points} points", payload.len());
            if taken > BESIDES + PER_BYTE * payload.len() {
                broken.push(format!("{what}, {} bytes: {taken} bytes", payload.len()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
