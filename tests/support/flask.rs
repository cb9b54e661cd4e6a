//! Messages as a Flask request makes them: 5 points in about 900 bytes, which differ in their numbers.

/// A counter of the `number`-th message.
pub(crate) fn counter(name: &str, number: usize) -> String {
    format!(r#"{{"name": "{name}", "metadata": {{"user id": "{number:06}"}}, {}, "value": 1.0}}"#, timestamp(number))
}

fn timer(name: &str, number: usize) -> String {
    let unit = r#""unit": {"name": "milliseconds", "seconds_offset": 1000.0}"#;
    let value = format!("12.345{number:06}1");
    format!(r#"{{"name": "{name}", {unit}, "metadata": {{}}, {}, "value": {value}}}"#, timestamp(number))
}

fn timestamp(number: usize) -> String {
    format!(r#""timestamp": "2026-03-01T12:00:{:02}.{number:06}Z""#, number % 60)
}

/// The `number`-th message; below a million they all have the same size.
pub(crate) fn message(number: usize) -> String {
    let dimensions: Vec<String> =
        [("host", "web-1.example.com"), ("environment", "production"), ("method", "GET"), ("path", "/api/v1/users")]
            .iter()
            .map(|(name, value)| format!(r#"{{"name": "{name}", "value": "{value}"}}"#))
            .collect();
    format!(
        r#"{{"dimensions": [{}], "counters": [{}, {}, {}], "timers": [{}, {}], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}}"#,
        dimensions.join(", "),
        counter("requests", number),
        counter("responses", number),
        counter("bytes sent", number),
        timer("RequestTime", number),
        timer("DatabaseTime", number),
    )
}
