//! The table of what InfluxDB 3 answers to a write, and what that means. Pure: bytes in, [`Verdict`] out.
//!
//! | status | means | documented in |
//! |---|---|---|
//! | 204 | written and in the log (with `no_sync`: soon) | <https://docs.influxdata.com/influxdb3/core/write-data/http-api/v3-write-lp/> |
//! | 400 `partial write of line protocol occurred` | every bad line by its number, the others are written | the same; `influxdb3_server/src/http.rs` |
//! | 422, the same | some would exceed a limit of tables or columns | `influxdb3_catalog/src/error.rs` |
//! | 400 `parsing failed for write_lp endpoint`, from 3.10 `line protocol parsing error` | nothing is written, the first bad line by its number | `influxdb3_server/src/http.rs` |
//! | 422 `Adding a new database would exceed limit of …` | no database more | `influxdb3_catalog/src/error.rs` |
//! | 400 of the database's name or the `Authorization` header | an operator must mend it | `influxdb3_server/src/http.rs` |
//! | 401, 403 | token, right | the same |
//! | 413, up to 3.9 500 `max request size (…) exceeded` | too much at once | the same |
//! | 429, 503 with `Retry-After` | later, whatever is sent | the same |
//! | 500 `write buffer error: …` | its log or object store; written or not | `influxdb3_write/src/write_buffer/mod.rs` |
//! | other 5xx | later; written or not | |

use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    publisher::{
        http::Answer,
        line::{Cause, Fault, Hide, Sent, Verdict},
    },
    quote::quote,
};

/// What InfluxDB says of one line. `original_line` is cut, and wrong where a line has a newline in a string.
#[derive(Debug, Deserialize)]
struct LineError {
    line_number: usize,
    error_message: String,
}

impl LineError {
    /// Whether an operator's limit is in the way (`write_lp` in `influxdb3_server/src/http.rs` tells it by the same words).
    fn is_of_a_limit(&self) -> bool {
        ["Update to schema would exceed number of", "Adding a new database would exceed limit of"]
            .iter()
            .any(|limit| self.error_message.starts_with(limit))
    }
}

/// What an answer's JSON says.
#[derive(Debug)]
enum Said {
    /// Lines are wrong; whether all such are named.
    Partial(Vec<LineError>, bool),
    /// One is wrong, and nothing is written.
    Whole(LineError),
    Error(String),
    /// It is not JSON of InfluxDB.
    Other,
}

const PARTIAL: &str = "partial write of line protocol occurred";
const WHOLE: [&str; 2] = ["parsing failed for write_lp endpoint", "line protocol parsing error"];

impl Said {
    fn of(body: &str) -> Self {
        let Ok(mut json) = serde_json::from_str::<Value>(body) else {
            return cut(body).map_or(Self::Other, |errors| Self::Partial(errors, false));
        };
        let data = json.get_mut("data").map(Value::take).unwrap_or_default();
        let Some(error) = json.get("error").and_then(Value::as_str) else { return Self::Other };
        let said = if error == PARTIAL {
            serde_json::from_value(data).map(|errors| Self::Partial(errors, true)).ok()
        } else if WHOLE.contains(&error) {
            serde_json::from_value(data).map(Self::Whole).ok()
        } else {
            None
        };
        said.unwrap_or_else(|| Self::Error(error.to_owned()))
    }
}

/// What is whole of an answer about lines whose end is missing: only the beginning of a long one is read.
fn cut(body: &str) -> Option<Vec<LineError>> {
    let mut rest = body.strip_prefix("{\"error\":\"")?.strip_prefix(PARTIAL)?.strip_prefix("\",\"data\":[")?;
    let mut errors = Vec::new();
    loop {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter();
        let Some(Ok(error)) = values.next() else { return Some(errors) };
        errors.push(error);
        let Some(next) = rest.get(values.byte_offset()..).and_then(|rest| rest.strip_prefix(',')) else { return Some(errors) };
        rest = next;
    }
}

/// Reads an answer to a write of lines. `now` is for a `Retry-After` that is a date; `hide` takes secrets out of what is quoted.
pub(in crate::publisher::influxdb) fn verdict(answer: &Answer, sent: Sent<'_>, now: SystemTime, hide: Hide<'_>) -> Verdict {
    let said = Said::of(&answer.body);
    let words = words(answer, &said, hide);
    let hold = |cause, fault| Verdict::Hold { cause, words: words.clone(), fault };
    let retry = |fault| Verdict::Retry { after: answer.pause(now), words: words.clone(), fault };
    let says = |text: &str| answer.body.starts_with(text);
    match (answer.status, &said) {
        (204, _) => Verdict::Complete,
        (400 | 422, Said::Partial(errors, all)) => {
            partial(answer.status, errors, *all, sent.lines().len(), hide).unwrap_or_else(|| hold(Cause::Foreign, Fault::Unknown))
        }
        (400 | 422, Said::Whole(error)) if error.is_of_a_limit() => Verdict::Limited { words, refused: None, named: Vec::new() },
        (400, Said::Whole(error)) => match named(400, std::slice::from_ref(error), sent.lines().len(), hide) {
            Some(refused) => Verdict::Named { refused, others_are_written: false },
            None => hold(Cause::Foreign, Fault::Unknown),
        },
        (422, Said::Error(error)) if error.starts_with("Adding a new database would exceed limit of") => {
            hold(Cause::Limit, Fault::Server)
        }
        (400, Said::Error(error)) if error.starts_with("Authorization header was malformed") => {
            hold(Cause::Unauthenticated, Fault::Server)
        }
        (400, Said::Error(error)) if OF_DATABASE.iter().any(|of| error.starts_with(of)) => hold(Cause::NoDatabase, Fault::Server),
        (400 | 500, _) if OF_BODY.iter().any(|of| says(of)) => retry(Fault::Unknown),
        (401, _) => hold(Cause::Unauthenticated, Fault::Server),
        (403, Said::Error(error)) if error == "access denied" => hold(Cause::Forbidden, Fault::Server),
        (403, _) => hold(Cause::Forbidden, Fault::Unknown),
        (413, _) => Verdict::Split { words },
        (500, _) if says("max request size (") => Verdict::Split { words },
        (500, _) if says("write buffer error: ") && ON_DISK.iter().any(|of| answer.body.contains(of)) => {
            hold(Cause::Disk, Fault::Server)
        }
        (500, _) if says("write buffer error: ") => retry(Fault::Server),
        _ if answer.is_throttled() => retry(Fault::Busy),
        (408 | 425 | 499 | 500..=599, _) => retry(Fault::Unknown),
        _ => hold(Cause::Foreign, Fault::Unknown),
    }
}

/// Reads an answer to a line that cannot be parsed and must be written whole: that it cannot be is how a write would begin.
pub(in crate::publisher::influxdb) fn probe_verdict(answer: &Answer, now: SystemTime, hide: Hide<'_>) -> Verdict {
    let said = Said::of(&answer.body);
    match (answer.status, &said) {
        (400, Said::Whole(error)) if !error.is_of_a_limit() => Verdict::Complete,
        (204, _) => Verdict::Hold { cause: Cause::Foreign, words: words(answer, &said, hide), fault: Fault::Unknown },
        _ => verdict(answer, Sent::one(b""), now, hide),
    }
}

/// What it says of the database that the configuration names.
const OF_DATABASE: [&str; 3] = ["db name ", "invalid character in database", "cannot write to soft-deleted database"];

/// What it says of a body that did not arrive whole.
const OF_BODY: [&str; 2] = ["error decoding gzip stream", "body content is not valid utf8"];

/// What it says of its log when an operator must mend that.
const ON_DISK: [&str; 4] = ["No space left on device", "Read-only file system", "Permission denied", "Input/output error"];

/// The status and what InfluxDB says, as one printable line.
fn words(answer: &Answer, said: &Said, hide: Hide<'_>) -> String {
    let error = match said {
        Said::Partial(errors, _) => errors.first().map(|error| error.error_message.as_str()),
        Said::Whole(error) => Some(error.error_message.as_str()),
        Said::Error(error) => Some(error.as_str()),
        Said::Other => None,
    };
    answer.words(error, hide)
}

/// What it means that some lines are wrong: those that are for good are named first, and what is beyond a limit only where nothing else is wrong.
fn partial(status: u16, errors: &[LineError], all: bool, lines: usize, hide: Hide<'_>) -> Option<Verdict> {
    let (limited, bad): (Vec<&LineError>, Vec<&LineError>) = errors.iter().partition(|error| error.is_of_a_limit());
    let Some(first) = errors.first() else {
        // One of them alone is too long to be read.
        return (!all).then(|| Verdict::Isolate { words: format!("{status} {PARTIAL}"), refused: None });
    };
    if !bad.is_empty() {
        let others_are_written = all && limited.is_empty();
        return Some(Verdict::Named { refused: named(status, bad, lines, hide)?, others_are_written });
    }
    let named = named(status, limited, lines, hide)?.into_iter().map(|(at, _)| at);
    let words = format!("{status} {}", quote(&hide(first.error_message.clone())));
    Some(Verdict::Limited { words, refused: None, named: if all { named.collect() } else { Vec::new() } })
}

/// The places of lines and what is said of each; `None` where one was not sent.
fn named<'a>(
    status: u16,
    errors: impl IntoIterator<Item = &'a LineError>,
    lines: usize,
    hide: Hide<'_>,
) -> Option<Vec<(usize, String)>> {
    let named = errors.into_iter().map(|error| {
        let at = error.line_number.checked_sub(1).filter(|at| *at < lines)?;
        Some((at, format!("{status} {}", quote(&hide(error.error_message.clone())))))
    });
    named.collect()
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
