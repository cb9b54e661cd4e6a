//! Line protocol as InfluxDB 2 reads it: <https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>, and where that says
//! nothing `models/points.go` of v2.9.1. It says what is wrong in that server's words, and what is wrong first when several things are.

use super::super::stored::{FieldValue, Line};

/// The longest measurement with its tags and one field, in bytes.
const MAX_KEY: usize = 65_535;

const TIMES: std::ops::RangeInclusive<i64> = i64::MIN + 2..=i64::MAX - 1;

/// Every line of a body, or a sentence for each that is wrong. `now` is the time of a line without one; `unit`: nanoseconds of a time's unit.
pub(super) fn parse(body: &[u8], now: i64, unit: i64) -> Result<Vec<Line>, String> {
    let (mut parsed, mut wrong) = (Vec::new(), Vec::new());
    for line in split(body) {
        match parse_line(line, now, unit) {
            Ok(line) => parsed.push(line),
            Err(reason) => wrong.push(format!("unable to parse '{}': {reason}", String::from_utf8_lossy(line))),
        }
    }
    if wrong.is_empty() { Ok(parsed) } else { Err(wrong.join("\n")) }
}

/// The lines that are neither blank nor a comment. A newline between the quotes of a field's value is part of its line.
fn split(body: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let end = end_of_line(rest);
        let line = &rest[..end];
        rest = &rest[(end + 1).min(rest.len())..];
        let line = &line[blanks(line)..];
        if !line.is_empty() && line[0] != b'#' {
            lines.push(line.strip_suffix(b"\n").unwrap_or(line));
        }
    }
    lines
}

fn end_of_line(text: &[u8]) -> usize {
    let (mut in_fields, mut quoted, mut equals, mut commas) = (false, false, 0, 0);
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' if at + 2 < text.len() => at += 1,
            b' ' => in_fields = true,
            b'=' if in_fields && !quoted => equals += 1,
            b',' if in_fields && !quoted => commas += 1,
            b'"' if in_fields && equals > commas => quoted = !quoted,
            b'\n' if !quoted => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// How many bytes that count as blank are at the start.
fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|byte| b" \t\0".contains(byte)).count()
}

fn parse_line(line: &[u8], now: i64, unit: i64) -> Result<Line, String> {
    let (measurement, tags, at) = series(line)?;
    if at > MAX_KEY {
        return Err(format!("max key length exceeded: {at} > {MAX_KEY}"));
    }
    let at = at + blanks(&line[at..]);
    let (raw, at) = fields(line, at)?;
    let mut fields = Vec::new();
    for (key, value, rest) in raw {
        // Only here a key ends at the first `=` without a backslash before it.
        if key.ends_with(b"\\") {
            let rest = &rest[..rest.len() - (line.len() - at)];
            return Err(format!("invalid value: field-key={}", String::from_utf8_lossy(rest)));
        }
        fields.push((key, value));
    }
    let key_size = line.len() - line[series_end(line)..].len();
    if let Some(size) = fields.iter().map(|(key, _)| key_size + 4 + key.len()).find(|size| *size > MAX_KEY) {
        return Err(format!("max key length exceeded: {size} > {MAX_KEY}"));
    }
    let time = time(&line[at..], now, unit)?;
    let fields = fields.into_iter().map(|(key, value)| (unescaped(key, b",= \""), field_value(value))).collect();
    Ok(Line { measurement: unescaped(measurement, b",= \""), tags: tags.into_iter().collect(), fields, time })
}

/// Where the measurement and its tags end in a line that has both rightly.
fn series_end(line: &[u8]) -> usize {
    (1..line.len()).find(|&at| line[at] == b' ' && line[at - 1] != b'\\').unwrap_or(line.len())
}

type Tag = (String, String);

/// The measurement as it stands there, the tags, and where they end.
fn series(line: &[u8]) -> Result<(&[u8], Vec<Tag>, usize), String> {
    if line.first() == Some(&b',') {
        return Err("missing measurement".to_owned());
    }
    // The first byte is part of the name, whatever it is.
    let end = (1..line.len()).find(|&at| b", ".contains(&line[at]) && line[at - 1] != b'\\').ok_or("missing fields")?;
    let (mut tags, mut keys): (Vec<Tag>, Vec<&[u8]>) = (Vec::new(), Vec::new());
    let mut at = end;
    while line[at] == b',' {
        let key_end = tag_key(line, at + 1)?;
        let value_end = tag_value(line, key_end + 1)?;
        let (key, value) = (&line[at + 1..key_end], &line[key_end + 1..value_end]);
        keys.push(key);
        tags.push((unescaped(key, b",= "), unescaped(value, b",= ")));
        at = value_end;
    }
    let reserved: [&[u8]; 5] = [b"\xff", b"\0", b"_field", b"_measurement", b"time"];
    if let Some(key) = keys.iter().find(|key| reserved.contains(key)) {
        return Err(format!("cannot use reserved tag key {:?}", String::from_utf8_lossy(key)));
    }
    keys.sort_unstable();
    if keys.windows(2).any(|two| two[0] == two[1]) {
        return Err("duplicate tags".to_owned());
    }
    Ok((&line[..end], tags, at))
}

fn tag_key(line: &[u8], start: usize) -> Result<usize, String> {
    if line.get(start).is_none_or(|byte| b" ,=".contains(byte)) {
        return Err("missing tag key".to_owned());
    }
    let end = (start + 1..line.len()).find(|&at| b" ,=".contains(&line[at]) && line[at - 1] != b'\\');
    end.filter(|&at| line[at] == b'=').ok_or_else(|| "missing tag value".to_owned())
}

fn tag_value(line: &[u8], start: usize) -> Result<usize, String> {
    if line.get(start).is_none_or(|byte| b" ,".contains(byte)) {
        return Err("missing tag value".to_owned());
    }
    let end = (start + 1..line.len()).find(|&at| b" ,=".contains(&line[at]) && line[at - 1] != b'\\').ok_or("missing fields")?;
    if line[end] == b'=' { Err("invalid tag format".to_owned()) } else { Ok(end) }
}

/// A field: its key and value as they stand there, and the line from its key on.
type RawField<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// The fields, and where they end.
fn fields(line: &[u8], start: usize) -> Result<(Vec<RawField<'_>>, usize), String> {
    let mut fields = Vec::new();
    let mut well_formed = true;
    let mut at = start;
    loop {
        // A key, up to its `=`. A comma on the way means that a field had no value.
        let key = at;
        while at < line.len() && !b" =".contains(&line[at]) {
            well_formed &= line[at] != b',';
            at += if line[at] == b'\\' && at + 1 < line.len() { 2 } else { 1 };
        }
        if at >= line.len() || line[at] == b' ' {
            return Err(if start == line.len() { "missing fields" } else { "invalid field format" }.to_owned());
        }
        if (line[at - 1] == b' ' || line[at - 1] == b',') && line[at - 2] != b'\\' {
            return Err("missing field key".to_owned());
        }
        let value = at + 1;
        at = field_end(line, value)?;
        fields.push((&line[key..value - 1], &line[value..at], &line[key..]));
        if line.get(at) != Some(&b',') {
            break;
        }
        at += 1;
    }
    if well_formed { Ok((fields, at)) } else { Err("invalid field format".to_owned()) }
}

/// Where the value that begins at `start` ends.
fn field_end(line: &[u8], start: usize) -> Result<usize, String> {
    let first = *line.get(start).filter(|byte| !b", ".contains(byte)).ok_or("missing field value")?;
    if first == b'"' {
        let mut quoted = false;
        let mut at = start;
        while at < line.len() && (quoted || !b", ".contains(&line[at])) {
            match line[at] {
                b'\\' if at + 1 < line.len() => at += 1,
                b'"' => quoted = !quoted,
                b'=' if !quoted => return Err("invalid field format".to_owned()),
                _ => {}
            }
            at += 1;
        }
        return if quoted { Err("unbalanced quotes".to_owned()) } else { Ok(at.min(line.len())) };
    }
    let end = (start..line.len()).find(|&at| b", ".contains(&line[at])).unwrap_or(line.len());
    let value = &line[start..end];
    if b"0123456789.-Nn".contains(&first) {
        number(&String::from_utf8_lossy(value))?;
    } else if boolean(value).is_none() {
        return Err("invalid boolean".to_owned());
    }
    Ok(end)
}

fn boolean(value: &[u8]) -> Option<bool> {
    match value {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Some(true),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Result<FieldValue, String> {
    let invalid = || "invalid number".to_owned();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(integer) = text.strip_suffix('i') {
        if !digits(integer.strip_prefix('-').unwrap_or(integer)) {
            return Err(invalid());
        }
        let range = |_| format!("unable to parse integer {integer}: strconv.ParseInt: parsing {integer:?}: value out of range");
        return integer.parse().map(FieldValue::Integer).map_err(range);
    }
    if let Some(unsigned) = text.strip_suffix('u') {
        if !digits(unsigned) {
            return Err(invalid());
        }
        let range =
            |_| format!("unable to parse unsigned {unsigned}: strconv.ParseUint: parsing {unsigned:?}: value out of range");
        return unsigned.parse().map(FieldValue::Unsigned).map_err(range);
    }
    let magnitude = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match magnitude.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (magnitude, None),
    };
    let well = mantissa.bytes().filter(|&byte| byte == b'.').count() < 2
        && mantissa.bytes().any(|byte| byte.is_ascii_digit())
        && mantissa.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !well {
        return Err(invalid());
    }
    if exponent.is_some_and(|exponent| !exponent.bytes().all(|byte| b"0123456789.eE+-".contains(&byte))) {
        return Err(invalid());
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(FieldValue::Float(value)),
        _ => Err("invalid float".to_owned()),
    }
}

/// A value that is right.
fn field_value(raw: &[u8]) -> FieldValue {
    if raw[0] == b'"' {
        return FieldValue::Text(unescaped(&raw[1..raw.len() - 1], b"\"\\"));
    }
    boolean(raw).map_or_else(|| number(&String::from_utf8_lossy(raw)).unwrap(), FieldValue::Boolean)
}

/// The time after the fields, in nanoseconds.
fn time(rest: &[u8], now: i64, unit: i64) -> Result<i64, String> {
    let rest = &rest[blanks(rest)..];
    let end = rest.iter().position(|byte| b" \n".contains(byte)).unwrap_or(rest.len());
    let (time, after) = rest.split_at(end);
    if !time.strip_prefix(b"-").unwrap_or(time).iter().all(u8::is_ascii_digit) {
        return Err("bad timestamp".to_owned());
    }
    if time.is_empty() {
        return Ok(now - now.rem_euclid(unit));
    }
    let text = String::from_utf8_lossy(time);
    let time: i64 = text.parse().map_err(|_| {
        let why = if text == "-" { "invalid syntax" } else { "value out of range" };
        format!("strconv.ParseInt: parsing {text:?}: {why}")
    })?;
    let time = time.checked_mul(unit).filter(|time| TIMES.contains(time));
    let time = time.ok_or_else(|| format!("time outside range {} - {}", TIMES.start(), TIMES.end()))?;
    if after.iter().all(|&byte| byte == b' ') { Ok(time) } else { Err("point is invalid".to_owned()) }
}

/// A text without the backslashes before these bytes.
fn unescaped(raw: &[u8], special: &[u8]) -> String {
    let mut text = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        if raw[at] == b'\\' && raw.get(at + 1).is_some_and(|next| special.contains(next)) {
            at += 1;
        }
        text.push(raw[at]);
        at += 1;
    }
    String::from_utf8_lossy(&text).into_owned()
}
