//! Line protocol as InfluxDB 3 reads it: <https://docs.influxdata.com/influxdb3/core/reference/line-protocol/>, and where that says nothing
//! `influxdb_line_protocol/src/lib.rs` of influxdata/influxdb3_core as 3.6.0 uses it. What is wrong is said in that server's words.

use std::fmt;

use super::super::stored::FieldValue;

/// A line that is well formed.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) measurement: String,
    pub(super) tags: Vec<(String, String)>,
    pub(super) fields: Vec<(String, FieldValue)>,
    pub(super) time: Option<i64>,
}

/// What is left of a line, and what was read of it; or why the whole line is wrong.
type Read<'a, T> = Result<(&'a str, T), String>;

const NO_FIELDS: &str = "No fields were provided";

/// What is not followed by the blank that must follow.
const NO_BLANK: &str = "A generic parsing error occurred: TakeWhile1";

/// The longest text, in bytes, and what is said of a longer one.
pub(super) type Limit = (usize, &'static str);

/// Every line that is neither blank nor a comment.
pub(super) fn parse(body: &str, limit: Limit) -> Vec<Result<Parsed, String>> {
    split(body).into_iter().map(without_comments).filter(|line| !line.is_empty()).map(|line| parse_line(line, limit)).collect()
}

/// The lines. A newline between the quotes of a field's value is part of its line, and so is one after a backslash.
fn split(body: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let (mut in_fields, mut quoted, mut equals, mut commas, mut escaped, mut start) = (false, false, 0, 0, false, 0);
    for (at, letter) in body.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ' ' => in_fields = true,
            '=' if in_fields && !quoted => equals += 1,
            ',' if in_fields && !quoted => commas += 1,
            '"' if in_fields && equals > commas => quoted = !quoted,
            '\n' if !quoted => {
                lines.push(&body[start..at]);
                (in_fields, equals, commas, start) = (false, 0, 0, at + 1);
            }
            _ => {}
        }
    }
    lines.push(&body[start..]);
    lines
}

fn without_comments(mut line: &str) -> &str {
    loop {
        line = line.trim_start_matches([' ', '\t', '\n']);
        if !line.starts_with('#') {
            return line;
        }
        line = line.find('\n').map_or("", |end| &line[end..]);
    }
}

fn parse_line(line: &str, limit: Limit) -> Result<Parsed, String> {
    // Anything but a comma, a blank or a NUL, which nothing escapes.
    let (rest, measurement) =
        text(line, &[' ', '\t', '\n', '\0', ','], &[',', ' ', '\\'], limit, "Invalid measurement was provided")?;
    let (rest, tags) = tags(rest, limit)?;
    let rest = blanks(rest).ok_or(NO_BLANK)?;
    let (rest, fields) = fields(rest, limit)?;
    let (rest, time) = time(rest)?;
    if rest.is_empty() {
        Ok(Parsed { measurement, tags, fields, time })
    } else {
        Err(format!("Could not parse entire line. Found trailing content: '{rest}'"))
    }
}

/// The text after at least one blank.
fn blanks(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(' ');
    (rest.len() < text.len()).then_some(rest)
}

/// Reads up to a delimiter. A backslash goes before any of `escapable`, and is kept before anything else.
fn text<'a>(line: &'a str, delimiters: &[char], escapable: &[char], limit: Limit, empty: &str) -> Read<'a, String> {
    let mut read = String::new();
    let mut letters = line.char_indices().peekable();
    let mut end = line.len();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            match letters.next_if(|_| true) {
                Some((_, next)) if escapable.contains(&next) => read.push(next),
                Some((_, next)) => read.extend(['\\', next]),
                None => read.push('\\'),
            }
        } else if delimiters.contains(&letter) {
            end = at;
            break;
        } else {
            read.push(letter);
        }
    }
    if end == 0 {
        Err(empty.to_owned())
    } else if read.ends_with('\\') {
        Err("Measurements, tag keys and values, and field keys may not end with a backslash".to_owned())
    } else if read.len() > limit.0 {
        Err(limit.1.to_owned())
    } else {
        Ok((&line[end..], read))
    }
}

const KEY_ENDS: [char; 4] = [' ', '\t', '\n', '='];
const VALUE_ENDS: [char; 4] = [' ', '\t', '\n', ','];
const ESCAPABLE: [char; 4] = ['\\', ',', '=', ' '];

/// Ends with what is malformed: a message that stands for it says so. The first must be right, and a later one ends the list.
const MALFORMED: &str = "Tag Set Malformed";

fn tags(line: &str, limit: Limit) -> Read<'_, Vec<(String, String)>> {
    let mut tags = Vec::new();
    let mut rest = line;
    while let Some(tag) = rest.strip_prefix(',') {
        match one_tag(tag, limit) {
            Ok((after, tag)) => {
                tags.push(tag);
                rest = after;
            }
            // What stands there is then found to be no blank.
            Err(why) if why == MALFORMED && !tags.is_empty() => break,
            Err(why) => return Err(why),
        }
    }
    Ok((rest, tags))
}

fn one_tag(tag: &str, limit: Limit) -> Read<'_, (String, String)> {
    let (rest, key) = text(tag, &KEY_ENDS, &ESCAPABLE, limit, MALFORMED)?;
    let value = rest.strip_prefix('=').ok_or(MALFORMED)?;
    let (rest, value) = text(value, &VALUE_ENDS, &ESCAPABLE, limit, MALFORMED)?;
    Ok((rest, (key, value)))
}

fn fields(line: &str, limit: Limit) -> Read<'_, Vec<(String, FieldValue)>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let field = if fields.is_empty() { Some(rest) } else { rest.strip_prefix(',') };
        let Some(field) = field else { return Ok((rest, fields)) };
        match one_field(field, limit) {
            Ok((after, field)) => {
                fields.push(field);
                rest = after;
            }
            // What stands there is then found to be trailing content.
            Err(why) if why == NO_FIELDS && !fields.is_empty() => return Ok((rest, fields)),
            Err(why) => return Err(why),
        }
    }
}

fn one_field(field: &str, limit: Limit) -> Read<'_, (String, FieldValue)> {
    let (rest, key) = text(field, &KEY_ENDS, &ESCAPABLE, limit, NO_FIELDS)?;
    let value = rest.strip_prefix('=').ok_or(NO_FIELDS)?;
    let (rest, value) = field_value(value, limit)?;
    Ok((rest, (key, value)))
}

fn field_value(value: &str, limit: Limit) -> Read<'_, FieldValue> {
    if let Some(string) = value.strip_prefix('"') {
        return string_value(string, limit);
    }
    for (spelling, truth) in [
        ("true", true),
        ("True", true),
        ("TRUE", true),
        ("t", true),
        ("T", true),
        ("false", false),
        ("False", false),
        ("FALSE", false),
    ]
    .into_iter()
    .chain([("f", false), ("F", false)])
    {
        if let Some(rest) = value.strip_prefix(spelling) {
            return Ok((rest, FieldValue::Boolean(truth)));
        }
    }
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let sign = usize::from(value.starts_with('-'));
    let mut end = sign + digits(&value[sign..]);
    if end == sign {
        return Err(NO_FIELDS.to_owned());
    }
    let integer = &value[..end];
    if let Some(rest) = value[end..].strip_prefix('i') {
        let wrong = |_| format!("Unable to parse integer value '{integer}'");
        return Ok((rest, FieldValue::Integer(integer.parse().map_err(wrong)?)));
    }
    if let Some(rest) = value[end..].strip_prefix('u').filter(|_| sign == 0) {
        let wrong = |_| format!("Unable to parse unsigned integer value '{integer}'");
        return Ok((rest, FieldValue::Unsigned(integer.parse().map_err(wrong)?)));
    }
    if let Some(decimals) = value[end..].strip_prefix('.').map(digits).filter(|count| *count > 0) {
        end += 1 + decimals;
    }
    if let Some(exponent) = value[end..].strip_prefix(['e', 'E']) {
        let sign = usize::from(exponent.starts_with(['-', '+']));
        let count = digits(&exponent[sign..]);
        if count > 0 {
            end += 1 + sign + count;
        }
    }
    // One that is too large becomes an infinity.
    Ok((&value[end..], FieldValue::Float(value[..end].parse().unwrap())))
}

/// The value after its first quote.
fn string_value(value: &str, limit: Limit) -> Read<'_, FieldValue> {
    let mut read = String::new();
    let mut letters = value.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' if read.len() > limit.0 => return Err(limit.1.to_owned()),
            '"' => return Ok((&value[at + 1..], FieldValue::Text(read))),
            '\\' => read.push(letters.next_if(|(_, next)| ['"', '\\'].contains(next)).map_or('\\', |(_, next)| next)),
            _ => read.push(letter),
        }
    }
    Err(NO_FIELDS.to_owned())
}

/// The time, if a blank and a number stand there, and the text after it and the blanks that follow it.
fn time(line: &str) -> Read<'_, Option<i64>> {
    let Some(number) = blanks(line) else { return Ok((line, None)) };
    let sign = usize::from(number.starts_with('-'));
    let digits = number[sign..].bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Ok((line, None));
    }
    let (number, rest) = number.split_at(sign + digits);
    let time = number.parse().map_err(|_| format!("Unable to parse timestamp value '{number}'"))?;
    Ok((rest.trim_start_matches(' '), Some(time)))
}

/// As a line that does not fit the schema is quoted.
impl fmt::Display for Parsed {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |text: &str, special: &[char]| {
            let mut escaped = String::new();
            for letter in text.chars() {
                if special.contains(&letter) {
                    escaped.push('\\');
                }
                escaped.push(letter);
            }
            escaped
        };
        let key = [',', '=', ' '];
        write!(to, "{}", escaped(&self.measurement, &[',', ' ']))?;
        for (name, value) in &self.tags {
            write!(to, ",{}={}", escaped(name, &key), escaped(value, &key))?;
        }
        for (at, (name, value)) in self.fields.iter().enumerate() {
            write!(to, "{}{}=", if at == 0 { ' ' } else { ',' }, escaped(name, &key))?;
            match value {
                FieldValue::Float(value) => write!(to, "{value}"),
                FieldValue::Integer(value) => write!(to, "{value}i"),
                FieldValue::Unsigned(value) => write!(to, "{value}u"),
                FieldValue::Text(value) => write!(to, "{}", escaped(value, &['"'])),
                FieldValue::Boolean(value) => write!(to, "{value}"),
            }?;
        }
        self.time.map_or(Ok(()), |time| write!(to, " {time}"))
    }
}
