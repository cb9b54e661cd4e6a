//! The table of what InfluxDB 2 and Cloud answer to a write, and what that means. Pure: bytes in, [`Verdict`] out.
//!
//! | status | means | documented in |
//! |---|---|---|
//! | 204 | written (Cloud: perhaps later) | <https://docs.influxdata.com/influxdb/v2/api/>, `PostWrites` |
//! | 400 `unable to parse '…'` | nothing is written, and every line that cannot be parsed is quoted whole | `models/points.go`, `http/write_handler.go` |
//! | 400 `… line 2 (1-based) …` | Cloud Serverless and Dedicated: lines by number | <https://docs.influxdata.com/influxdb3/cloud-serverless/write-data/troubleshoot/> |
//! | 401, 403, 404 | token, right, organization or bucket | `http/errors.go`, `http/write_handler.go`, `tenant` |
//! | 413 | too much at once | `http/points/points_parser.go`; the proxy of Cloud |
//! | 422 `partial write: …` | good points are written; one reason is told, others may be hidden behind it | `tsdb/shard.go`, `tsdb/field_validator.go`, `v1/coordinator/points_writer.go` |
//! | 422 `… stripped from point. dropped=0` | written, without a field called time | `tsdb/field_validator.go` of 2.9 |
//! | 429, 503 with `Retry-After` | later, whatever is sent; Cloud says when | <https://docs.influxdata.com/influxdb/cloud/write-data/troubleshoot/> |
//! | 500 `unexpected error writing points to database: …` | the storage; written or not | `http/write_handler.go` |
//! | 408, 499, other 5xx | later; written or not | `kit/transport/http/error_handler.go` |

use std::{collections::HashMap, time::SystemTime};

use crate::{
    publisher::{
        http::Answer,
        influxdb::cut_text,
        line::{Cause, Fault, Hide, Sent, Verdict},
    },
    quote::quote,
};

/// What InfluxDB says in its JSON.
#[derive(Debug, Default)]
struct Said {
    code: String,
    message: String,
}

impl Said {
    /// Of an answer, if it is InfluxDB's; of one whose end is missing as much as there is.
    fn of(body: &str) -> Option<Self> {
        let Ok(json) = serde_json::from_str::<serde_json::Value>(body) else {
            let message = cut_text(body.strip_prefix("{\"code\":\"invalid\",\"message\":\"")?)?;
            return Some(Self { code: "invalid".to_owned(), message });
        };
        let text = |key| Some(json.get(key)?.as_str()?.to_owned());
        Some(Self { code: text("code")?, message: text("message")? })
    }
}

/// Reads an answer to a write of lines. `now` is for a `Retry-After` that is a date; `hide` takes secrets out of what is quoted.
pub(in crate::publisher::influxdb) fn verdict(answer: &Answer, sent: Sent<'_>, now: SystemTime, hide: Hide<'_>) -> Verdict {
    let words = words(answer, hide);
    let said = Said::of(&answer.body);
    let Said { code, message } = said.unwrap_or_default();
    let hold = |cause, fault| Verdict::Hold { cause, words: words.clone(), fault };
    let retry = |fault| Verdict::Retry { after: answer.pause(now), words: words.clone(), fault };
    match answer.status {
        204 => Verdict::Complete,
        400 if code == "invalid" => bad_request(&message, words.clone(), sent, hide).unwrap_or(Verdict::Hold {
            cause: Cause::Foreign,
            words,
            fault: Fault::Unknown,
        }),
        401 => hold(Cause::Unauthenticated, Fault::Server),
        403 if code == "forbidden" => hold(Cause::Forbidden, Fault::Server),
        403 => hold(Cause::Forbidden, Fault::Unknown),
        404 if code == "not found" && (message.contains("bucket") || message.contains("organization")) => {
            hold(Cause::NoDatabase, Fault::Server)
        }
        413 => Verdict::Split { words },
        422 if code == "unprocessable entity" || code == "invalid" => match refused(&message) {
            Some(refused) => Verdict::Isolate { words, refused },
            None => hold(Cause::Foreign, Fault::Unknown),
        },
        _ if answer.is_throttled() => retry(Fault::Busy),
        500 if STORAGE.iter().any(|of| message.starts_with(of)) && ON_DISK.iter().any(|of| message.contains(of)) => {
            hold(Cause::Disk, Fault::Server)
        }
        500 if STORAGE.iter().any(|of| message.starts_with(of)) => retry(Fault::Server),
        408 | 425 | 499 | 500..=599 => retry(Fault::Unknown),
        _ => hold(Cause::Foreign, Fault::Unknown),
    }
}

/// What InfluxDB says of its storage.
const STORAGE: [&str; 1] = ["unexpected error writing points to database: "];

/// What it says when an operator must mend that.
const ON_DISK: [&str; 5] = [
    "no space left on device",
    "opening shard previously failed",
    "read-only file system",
    "permission denied",
    "input/output error",
];

/// The status and what InfluxDB says, as one printable line.
fn words(answer: &Answer, hide: Hide<'_>) -> String {
    answer.words(Said::of(&answer.body).map(|said| said.message).as_deref(), hide)
}

/// A 400 in InfluxDB's words; `None` where it is about nothing that was sent.
fn bad_request(message: &str, words: String, sent: Sent<'_>, hide: Hide<'_>) -> Option<Verdict> {
    if message.starts_with("unable to read data: ") {
        // The body did not arrive whole.
        return Some(Verdict::Retry { after: None, words, fault: Fault::Unknown });
    }
    if message.starts_with("Please provide either orgID or org") || message.starts_with("id must have a length of 16 bytes") {
        return Some(Verdict::Hold { cause: Cause::NoDatabase, words, fault: Fault::Server });
    }
    let of_limit = ["couldn't create columns in table", "couldn't create new table", "service limit reached"];
    if of_limit.iter().any(|limit| message.contains(limit)) {
        return Some(Verdict::Limited { words, refused: None, named: Vec::new() });
    }
    let lines = sent.lines();
    if let Some(refused) = quoted(message, &lines, hide) {
        let refused = refused.into_iter().map(|(at, reason)| (at, ["400 ", &reason].concat())).collect();
        return Some(Verdict::Named { refused, others_are_written: false });
    }
    let numbered = numbered(message, lines.len(), hide);
    if !numbered.is_empty() {
        // The others may be written; written again they are the same.
        let refused = numbered.into_iter().map(|(at, reason)| (at, ["400 ", &reason].concat())).collect();
        return Some(Verdict::Named { refused, others_are_written: false });
    }
    // Of Cloud, with an explicit schema: `partial write error (2 written): unable to parse '…': schema: …`.
    let quote = message.strip_prefix("partial write error (")?.split_once(PARSE)?.1;
    let is_ours = lines.iter().any(|line| !line.is_empty() && quote.as_bytes().starts_with(line));
    is_ours.then_some(Verdict::Isolate { words, refused: None })
}

/// What stands before a line that could not be parsed, and what after it.
const PARSE: &str = "unable to parse '";
const PARSED: &str = "': ";

/// The lines that InfluxDB quotes, each whole and with a reason, in their order. `None` where one was not sent. Of an answer whose end
/// is missing those that are whole, or the one that is not.
fn quoted(message: &str, lines: &[&[u8]], hide: Hide<'_>) -> Option<Vec<(usize, String)>> {
    let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        places.entry(line).or_default().push(at);
    }
    let longest = lines.iter().map(|line| line.len()).max().unwrap_or(0);
    let mut named: Vec<(usize, String)> = Vec::new();
    let mut rest = Some(message.strip_prefix(PARSE)?);
    while let Some(quote) = rest {
        let first = named.last().map_or(0, |(at, _)| at + 1);
        // A line may have such quotes itself: it is the longest that fits.
        let ends = quote.match_indices(PARSED).map(|(end, _)| end).take_while(|end| *end <= longest);
        let found = ends.filter_map(|end| {
            let at = places.get(quote.get(..end)?.as_bytes())?.iter().find(|at| **at >= first)?;
            Some((*at, end))
        });
        let Some((at, end)) = found.last() else {
            let cut = quote.trim_end_matches(char::REPLACEMENT_CHARACTER).as_bytes();
            let is_cut = |line: &&[u8]| !cut.is_empty() && line.len() > cut.len() && line.starts_with(cut);
            let mut begin_like_it = lines.iter().enumerate().skip(first).filter(|(_, line)| is_cut(line));
            return match (named.is_empty(), begin_like_it.next(), begin_like_it.next()) {
                (false, Some(_), _) => Some(named),
                (true, Some((at, _)), None) => Some(vec![(at, "unable to parse it".to_owned())]),
                _ => None,
            };
        };
        let reason = quote.get(end + PARSED.len()..)?;
        let next = reason.find(&["\n", PARSE].concat());
        let (reason, after) = next.map_or((reason, None), |next| (&reason[..next], reason.get(next + 1 + PARSE.len()..)));
        named.push((at, ["unable to parse it: ", &quote_of(reason, hide)].concat()));
        rest = after;
    }
    Some(named)
}

fn quote_of(reason: &str, hide: Hide<'_>) -> String {
    quote(&hide(reason.to_owned()))
}

/// The lines that Cloud Serverless and Dedicated name by their number, and QuestDB: `error parsing line 2 (1-based): …`,
/// `error in line 2: …`.
fn numbered(message: &str, lines: usize, hide: Hide<'_>) -> Vec<(usize, String)> {
    if !message.contains("errors encountered on line(s)") {
        return Vec::new();
    }
    let of_line = |text: &str| {
        let text = text.trim().strip_prefix("error parsing line ").or_else(|| text.trim().strip_prefix("error in line "))?;
        let (number, reason) = text.split_once(": ")?;
        let number: usize = number.trim_end_matches(" (1-based)").parse().ok()?;
        (1..=lines).contains(&number).then(|| (number - 1, quote_of(reason, hide)))
    };
    let mut named: Vec<_> = message.lines().filter_map(of_line).collect();
    named.sort();
    named.dedup_by_key(|(at, _)| *at);
    named
}

/// How many points a 422 says were refused, if it is about points. Its count is that of one kind of reasons and of one shard, so that
/// more may be refused than it says, but no fewer.
fn refused(message: &str) -> Option<Option<usize>> {
    let reason = message.strip_prefix("failure writing points to database: partial write: ").unwrap_or(message);
    let is_about_points = reason.starts_with("field type conflict")
        || reason.starts_with("invalid field name: ")
        || reason.starts_with("invalid tag key: ")
        || reason.starts_with("key contains invalid unicode")
        || reason.starts_with("input field \"") && reason.contains("is too long")
        || reason.starts_with("dropped ") && reason.contains("outside retention policy")
        // Of Cloud Serverless and Dedicated, which refuse a request whole.
        || reason.contains("outside") && reason.contains("retention");
    if !is_about_points {
        return None;
    }
    let is_stripped = reason.starts_with("invalid field name: ") && reason.contains("has been stripped from point");
    let (_, count) = reason.rsplit_once(" dropped=").unwrap_or_default();
    let count: Option<usize> = count.split(' ').next().and_then(|count| count.parse().ok());
    Some(count.filter(|count| *count > 0 || is_stripped))
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
