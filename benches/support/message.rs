//! The message that all benches carry, as Flask-Kadabra makes one for a request: 5 points in 909 bytes.

/// How many bytes a message has.
pub(crate) const BYTES: usize = 909;

/// How many points a message has.
pub(crate) const POINTS: usize = 5;

/// A measurement of which every message has one point.
pub(crate) const MEASUREMENT: &str = "RequestTime";

/// How many different messages there are: each has a millisecond of its own, all on one day.
pub(crate) const MOST: u64 = 40_000_000;

/// 2026-03-01T12:00:00Z, in ms.
const FIRST_MS: u64 = 1_772_366_400_000;

/// Message `number`. Python's agent must make the same text of it when it reads and writes it again, for it never
/// completes any other; a timer's value goes through whole microseconds there, which not every number survives.
pub(crate) fn message(number: u64) -> String {
    assert!(number < MOST);
    let (seconds, ms) = (number / 1000, number % 1000);
    let (hour, minute, second) = (12 + seconds / 3600, seconds / 60 % 60, seconds % 60);
    let at = format!(r#""timestamp": "2026-03-01T{hour:02}:{minute:02}:{second:02}.{ms:03}000Z""#);
    let counter = |name: &str| format!(r#"{{"name": "{name}", "metadata": {{"path": "/api/v1/items"}}, {at}, "value": 1.0}}"#);
    let message = format!(
        r#"{{"dimensions": [{{"name": "method", "value": "index"}}, {{"name": "host", "value": "web-{}.example.org"}}, {{"name": "environment", "value": "production"}}], "counters": [{}, {}, {}, {}], "timers": [{{"name": "RequestTime", "unit": {{"name": "milliseconds", "seconds_offset": 1000.0}}, "metadata": {{}}, {at}, "value": {}.5}}], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ", "serialized_at": "2026-03-01T{hour:02}:{minute:02}:{second:02}.{ms:03}000Z"}}"#,
        number % 4,
        counter("userSignup"),
        counter("Success"),
        counter("ClientErr"),
        counter("ServerErr"),
        100 + number % 400,
    );
    assert_eq!(message.len(), BYTES);
    message
}

/// The numbers of the messages whose lines are in a body of line protocol, by the times of one measurement.
pub(crate) fn numbers_in(body: &[u8]) -> impl Iterator<Item = u64> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| line.starts_with(MEASUREMENT.as_bytes()));
    lines.filter_map(|line| {
        let time = line.rsplit(|byte| *byte == b' ').next()?;
        let ns: u64 = std::str::from_utf8(time).ok()?.parse().ok()?;
        (ns / 1_000_000).checked_sub(FIRST_MS)
    })
}

/// When message `number` was made, as InfluxQL writes it, to the microsecond.
pub(crate) fn time_us(number: u64) -> u64 {
    (FIRST_MS + number) * 1000
}
