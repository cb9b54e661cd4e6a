//! Plays what was recorded from a real server to its stand-in: each request must be answered with the same status, code and body, and what
//! is stored must be the same. The field `at` of a case says where the behaviour is documented, or the source that it comes from.

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::Value;

use crate::support::http_server::{Response, ask};

/// One request and what was answered to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) part: String,
    case: String,
    #[serde(default = "post")]
    method: String,
    target: String,
    authorization: Option<String>,
    encoding: Option<String>,
    #[serde(default)]
    body: String,
    body_base64: Option<String>,
    /// `None`: the connection was closed without an answer.
    status: Option<u16>,
    /// Of the header `X-Platform-Error-Code`.
    code: Option<String>,
    #[serde(default)]
    answer: String,
    /// The rows of measurements after this, as a query shows them.
    #[serde(default)]
    stored: BTreeMap<String, Vec<Value>>,
    pub(super) databases: Option<Vec<String>>,
    at: String,
}

/// What becomes of a text at a place in a line: what is stored, or why it is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Characters {
    pub(super) place: String,
    pub(super) text: String,
    pub(super) stored_2: Option<String>,
    pub(super) refused_2: Option<String>,
    pub(super) stored_3: Option<String>,
    pub(super) refused_3: Option<String>,
}

fn post() -> String {
    "POST".to_owned()
}

/// The cases of a file in `tests/data`.
pub(super) fn read<T: for<'de> Deserialize<'de>>(file: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Case {
    /// Sends it to the server at `url`, with these in place of what was a name made there, and checks the answer.
    pub(super) fn play(&self, url: &str, names: &[(&str, &str)], points: impl Fn() -> Vec<Value>) {
        let named = |text: &str| names.iter().fold(text.to_owned(), |text, (name, is)| text.replace(name, is));
        let mut headers = Vec::new();
        headers.extend(self.authorization.iter().map(|value| ("Authorization", value.as_str())));
        headers.extend(self.encoding.iter().map(|value| ("Content-Encoding", value.as_str())));
        let body = self.body_base64.as_ref().map(|body| BASE64_STANDARD.decode(body).unwrap());
        let body = body.unwrap_or_else(|| self.body.clone().into_bytes());
        let answered = ask(url, &self.method, &named(&self.target), &headers, &body);
        let name = format!("{}: {} ({})", self.part, self.case, self.at);
        assert_eq!(answered.as_ref().map(|answer| answer.status), self.status, "{name}: {answered:?}");
        if let Some(answer) = answered {
            assert_eq!(answer.body, named(&self.answer), "{name}");
            assert_eq!(answer.header("x-platform-error-code"), self.code.as_deref(), "{name}");
        }
        for (measurement, rows) in &self.stored {
            let wanted: Vec<String> = sorted(rows.iter().map(comparable));
            let points = points();
            let found = points.iter().filter(|point| point["measurement"] == **measurement).map(|point| {
                let mut row = point["fields"].as_object().unwrap().clone();
                row.extend(point["tags"].as_object().unwrap().clone());
                row.insert("time".to_owned(), point["time"].clone());
                comparable(&Value::Object(row))
            });
            assert_eq!(sorted(found), wanted, "{name}");
        }
    }
}

fn sorted(rows: impl Iterator<Item = String>) -> Vec<String> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    rows
}

/// A row so that two are equal when they show the same: one server writes the float 1 as `1`.
fn comparable(row: &Value) -> String {
    let columns = row.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
    let columns: BTreeMap<_, _> = columns
        .map(|(name, value)| {
            (
                name,
                if let Some(number) = value.as_f64().filter(|_| value.is_f64()) { exact(number) } else { number_or_text(value) },
            )
        })
        .collect();
    format!("{columns:?}")
}

/// A number as text, minus zero as zero.
fn exact(number: f64) -> String {
    format!("{:?}", number + 0.0)
}

fn number_or_text(value: &Value) -> String {
    match (value.as_i64(), value.as_u64()) {
        // Beyond this a float is not exact.
        (Some(number), _) if number.unsigned_abs() < 1 << 53 => exact(number as f64),
        _ => value.to_string(),
    }
}

/// A line with a text at a place, as the characters were tried.
pub(super) fn line_with(place: &str, text: &str) -> String {
    match place {
        "tag value" => format!("m,k={text} v=1 1795701167000000000"),
        "tag key" => format!("m,{text}=x v=1 1795701167000000000"),
        "field key" => format!("m,k=x {text}=1 1795701167000000000"),
        // With a letter before it, since a line that begins with # is a comment.
        "measurement" => format!("p{text},k=x v=1 1795701167000000000"),
        "string" => format!("m,k=x s=\"{text}\" 1795701167000000000"),
        _ => unreachable!("{place}"),
    }
}

/// What stands at a place of the only point.
pub(super) fn found_at<'a>(place: &str, points: &'a [Value]) -> &'a str {
    let [point] = points else { panic!("{points:?}") };
    let first_key = |of: &'a Value| of.as_object().unwrap().keys().next().unwrap().as_str();
    match place {
        "tag value" => point["tags"]["k"].as_str().unwrap(),
        "tag key" => first_key(&point["tags"]),
        "field key" => first_key(&point["fields"]),
        "measurement" => point["measurement"].as_str().unwrap().strip_prefix('p').unwrap(),
        "string" => point["fields"]["s"].as_str().unwrap(),
        _ => unreachable!("{place}"),
    }
}

/// Posts lines with a token.
pub(super) fn write(
    url: &str,
    target: &str,
    authorization: &str,
    encoding: Option<&str>,
    lines: impl AsRef<[u8]>,
) -> Option<Response> {
    let mut headers = vec![("Authorization", authorization)];
    headers.extend(encoding.map(|encoding| ("Content-Encoding", encoding)));
    ask(url, "POST", target, &headers, lines.as_ref())
}

/// A text as one member of gzip.
pub(super) fn gzip(text: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}
