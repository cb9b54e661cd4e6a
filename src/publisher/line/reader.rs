//! Line protocol as InfluxDB 1.x reads it, for tests: its parser's own scans, quirks included, and nothing shared with the
//! encoder. A line that it would refuse is an error.

use crate::wire::build::Value;

type Tags = Vec<(String, String)>;

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::publisher) struct Read {
    pub(in crate::publisher) measurement: String,
    pub(in crate::publisher) tags: Tags,
    pub(in crate::publisher) fields: Vec<(String, Value)>,
    pub(in crate::publisher) time: i64,
}

/// Every point of a body.
pub(in crate::publisher) fn read(body: &[u8]) -> Result<Vec<Read>, String> {
    let mut points = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let end = line_end(body, at);
        let line = part(body, at, end);
        let start = line.iter().position(|byte| !matches!(byte, b' ' | b'\t' | 0)).unwrap_or(line.len());
        let line = part(line, start, line.len());
        if !line.is_empty() && line.first() != Some(&b'#') {
            points.push(point(line).map_err(|why| format!("{why}: {}", String::from_utf8_lossy(line)))?);
        }
        at = end + 1;
    }
    Ok(points)
}

/// Where the line ends that begins at `at`: looked for before anything in it is understood.
fn line_end(body: &[u8], mut at: usize) -> usize {
    let (mut fields, mut quoted) = (false, false);
    let (mut equals, mut commas) = (0, 0);
    while let Some(&byte) = body.get(at) {
        if byte == b'\\' && at + 2 < body.len() {
            at += 2;
            continue;
        }
        fields |= byte == b' ';
        match byte {
            b'=' if fields && !quoted => equals += 1,
            b',' if fields && !quoted => commas += 1,
            b'"' if fields && equals > commas => quoted = !quoted,
            b'\n' if !quoted => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

fn point(line: &[u8]) -> Result<Read, &'static str> {
    let key_end = key_end(line)?;
    let key = part(line, 0, key_end);
    let fields_start = key_end + spaces(part(line, key_end, line.len()));
    let fields_end = fields_end(line, fields_start)?;
    let time_start = fields_end + spaces(part(line, fields_end, line.len()));
    let time = std::str::from_utf8(part(line, time_start, line.len())).map_err(|_| "time is no text")?;
    let (measurement, tags) = names(key)?;
    Ok(Read {
        measurement,
        tags,
        fields: fields(part(line, fields_start, fields_end))?,
        time: time.parse().map_err(|_| "bad timestamp")?,
    })
}

/// The end of measurement and tags. A backslash before a character escapes it, even if that backslash is itself escaped.
fn key_end(line: &[u8]) -> Result<usize, &'static str> {
    enum In {
        Measurement,
        TagKey,
        TagValue,
    }
    if line.first() == Some(&b',') {
        return Err("missing measurement");
    }
    let (mut state, mut began) = (In::Measurement, 0);
    for at in 1..line.len() {
        if before(line, at) == Some(b'\\') {
            continue;
        }
        let empty = at == began;
        match (&state, line.get(at)) {
            (In::TagKey, Some(b'=')) if empty => return Err("missing tag key"),
            (In::TagKey, Some(b'=')) => (state, began) = (In::TagValue, at + 1),
            (In::TagKey, Some(b' ' | b',')) => return Err("missing tag value"),
            (In::TagValue, Some(b' ' | b',')) if empty => return Err("missing tag value"),
            (In::TagValue, Some(b'=')) => return Err("invalid tag format"),
            (In::Measurement | In::TagValue, Some(b',')) => (state, began) = (In::TagKey, at + 1),
            (In::Measurement | In::TagValue, Some(b' ')) => return Ok(at),
            _ => {}
        }
    }
    Err("missing fields")
}

fn fields_end(line: &[u8], start: usize) -> Result<usize, &'static str> {
    let (mut at, mut quoted) = (start, false);
    let (mut equals, mut commas) = (0, 0);
    while let Some(&byte) = line.get(at) {
        match byte {
            b'\\' if at + 1 < line.len() => at += 1,
            b'"' if equals > commas => quoted = !quoted,
            b'=' if !quoted => {
                equals += 1;
                let is_escaped = at >= 2 && before(line, at - 1) == Some(b'\\');
                if at == start || (matches!(before(line, at), Some(b' ' | b',')) && !is_escaped) {
                    return Err("missing field key");
                }
                if line.get(at + 1).is_none_or(|next| matches!(next, b',' | b' ')) {
                    return Err("missing field value");
                }
            }
            b',' if !quoted => commas += 1,
            b' ' if !quoted => break,
            _ => {}
        }
        at += 1;
    }
    if quoted {
        return Err("unbalanced quotes");
    }
    if equals == 0 || commas + 1 != equals {
        return Err("invalid field format");
    }
    Ok(at)
}

fn names(key: &[u8]) -> Result<(String, Tags), &'static str> {
    let mut at = until(key, 0, b',');
    let measurement = unescaped(part(key, 0, at), ", ")?;
    let mut tags: Tags = Vec::new();
    while at < key.len() {
        let equals = until(key, at + 1, b'=');
        let end = until(key, equals + 1, b',');
        let tag = (unescaped(part(key, at + 1, equals), ",= ")?, unescaped(part(key, equals + 1, end), ",= ")?);
        if tags.iter().any(|(known, _)| *known == tag.0) {
            return Err("duplicate tags");
        }
        tags.push(tag);
        at = end;
    }
    Ok((measurement, tags))
}

fn fields(text: &[u8]) -> Result<Vec<(String, Value)>, &'static str> {
    let mut fields: Vec<(String, Value)> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let equals = until(text, at, b'=');
        let name = pairs(part(text, at, equals), b",\" =")?;
        let end = value_end(text, equals + 1);
        // InfluxDB takes the last; InfluxDB 3 refuses the line.
        if fields.iter().any(|(known, _)| *known == name) {
            return Err("one field twice");
        }
        fields.push((name, value(part(text, equals + 1, end))?));
        at = end + 1;
    }
    Ok(fields)
}

fn value_end(text: &[u8], mut at: usize) -> usize {
    let mut quoted = false;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' if matches!(text.get(at + 1), Some(b'"' | b'\\')) => at += 1,
            b'"' => quoted = !quoted,
            b',' if !quoted => break,
            _ => {}
        }
        at += 1;
    }
    at
}

fn value(text: &[u8]) -> Result<Value, &'static str> {
    if let [b'"', inner @ .., b'"'] = text {
        return Ok(Value::Text(pairs(inner, b"\"\\")?));
    }
    let word = std::str::from_utf8(text).map_err(|_| "value is no text")?;
    match (word, word.strip_suffix('i')) {
        ("t" | "T" | "true" | "True" | "TRUE", _) => Ok(Value::Bool(true)),
        ("f" | "F" | "false" | "False" | "FALSE", _) => Ok(Value::Bool(false)),
        (_, Some(int)) => int.parse().map(Value::Int).map_err(|_| "invalid number"),
        // Its numbers are digits, a point and an exponent; Rust also parses words.
        _ if !word.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => Err("invalid number"),
        _ => word.parse().map(Value::Float).map_err(|_| "invalid number"),
    }
}

/// The next `stop` without a backslash right before it.
fn until(text: &[u8], start: usize, stop: u8) -> usize {
    (start..text.len()).find(|at| text.get(*at) == Some(&stop) && before(text, *at) != Some(b'\\')).unwrap_or(text.len())
}

/// One escape after the other, over all of the text, as names and tags are unescaped.
fn unescaped(text: &[u8], special: &str) -> Result<String, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "name is no text")?;
    Ok(special.chars().fold(text.to_owned(), |text, special| text.replace(&format!("\\{special}"), &special.to_string())))
}

/// From left to right, as keys of fields and strings are unescaped.
fn pairs(text: &[u8], special: &[u8]) -> Result<String, &'static str> {
    let mut bytes = text.iter().copied().peekable();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let escaped = if byte == b'\\' { bytes.next_if(|next| special.contains(next)) } else { None };
        out.push(escaped.unwrap_or(byte));
    }
    String::from_utf8(out).map_err(|_| "text is no text")
}

fn spaces(text: &[u8]) -> usize {
    text.iter().take_while(|byte| **byte == b' ').count()
}

fn before(text: &[u8], at: usize) -> Option<u8> {
    text.get(at.checked_sub(1)?).copied()
}

fn part(text: &[u8], start: usize, end: usize) -> &[u8] {
    text.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value as Json;

    use super::*;

    /// Lines that the fuzzer made, and the one point that InfluxDB 1.6.7 answered to a query after each was written.
    const STORED: &str = include_str!("../../../tests/data/influxd.jsonl");

    /// A float that is whole is answered as an integer.
    fn is_same(read: &Value, stored: &Json) -> bool {
        match read {
            Value::Text(text) => stored.as_str() == Some(text),
            Value::Int(int) => stored.as_i64() == Some(*int),
            Value::Float(float) => stored.as_f64() == Some(*float),
            Value::Bool(bool) => stored.as_bool() == Some(*bool),
        }
    }

    #[test]
    fn this_reader_reads_what_a_real_influxdb_stored() {
        assert!(STORED.lines().count() > 50);
        for case in STORED.lines() {
            let stored: Json = serde_json::from_str(case).unwrap();
            let points = read(stored["line"].as_str().unwrap().as_bytes()).unwrap();
            let [point] = points.as_slice() else { panic!("{points:?} of {case}") };
            assert_eq!(stored["measurement"].as_str(), Some(point.measurement.as_str()), "{case}");
            assert_eq!(stored["time"].as_i64(), Some(point.time), "{case}");
            let tags: BTreeMap<_, _> = point.tags.iter().cloned().collect();
            assert_eq!(stored["tags"], serde_json::json!(tags), "{case}");
            let fields = stored["fields"].as_object().unwrap();
            assert_eq!(fields.len(), point.fields.len(), "{case}");
            for (name, value) in &point.fields {
                assert!(fields.get(name).is_some_and(|stored| is_same(value, stored)), "{name} of {case}");
            }
        }
    }

    #[test]
    fn what_influxdb_refuses_is_an_error() {
        for line in [
            "m",
            "m value=",
            "m,a= value=1 1",
            "m value=\"x 1",
            "m value=1 soon",
            ",a=b value=1 1",
            "m,a=1,a=2 value=1 1",
            "m value=NaN 1",
        ] {
            assert!(read(line.as_bytes()).is_err(), "{line}");
        }
        assert_eq!(read(b"#a comment\n\n"), Ok(vec![]));
    }
}
