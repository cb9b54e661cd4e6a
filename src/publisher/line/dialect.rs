//! What one destination of line protocol has of its own: a table of its answers, and its parameters.

use std::time::SystemTime;

use bytes::Bytes;

use super::{Backslashes, Cause, Columns, Encode, Verdict};
use crate::publisher::{
    Caution, Inspection, Mark,
    http::{Answer, To},
};

/// The lines of a request.
#[derive(Clone, Copy)]
pub(in crate::publisher) struct Sent<'a> {
    /// The text, each line of it with its newline.
    pub(in crate::publisher) body: &'a [u8],
    /// Where each line ends in it, its newline included: one in a string ends none.
    ends: &'a dyn Fn() -> Vec<usize>,
}

impl<'a> Sent<'a> {
    pub(in crate::publisher) fn new(body: &'a [u8], ends: &'a dyn Fn() -> Vec<usize>) -> Self {
        Self { body, ends }
    }

    /// One line.
    pub(in crate::publisher) fn one(line: &'a [u8]) -> Self {
        Self { body: line, ends: &Vec::new }
    }

    /// Each line without its newline.
    pub(in crate::publisher) fn lines(&self) -> Vec<&'a [u8]> {
        let (mut ends, body) = ((self.ends)(), self.body);
        if ends.is_empty() {
            ends.push(body.len());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let lines = starts.zip(&ends).map(|(start, end)| body.get(start..*end).unwrap_or_default());
        lines.map(|line| line.strip_suffix(b"\n").unwrap_or(line)).collect()
    }
}

/// Takes secrets out of a text.
pub(in crate::publisher) type Hide<'a> = &'a dyn Fn(String) -> String;

/// A blank line: most destinations write nothing for it, and answer as they would a real write.
const BLANK: &[u8] = b"\n";

/// A destination that takes line protocol over HTTP.
pub(in crate::publisher) trait Dialect {
    /// The destination in a sentence about what it said: `InfluxDB`.
    fn name(&self) -> &'static str;

    /// Where it is, for people: `influxdb at http://localhost:8086`.
    fn place(&self) -> String;

    /// What is written to, for people: `influxdb http://localhost:8086 database kadabra`.
    fn destination(&self) -> String;

    /// Where and how requests are sent.
    fn to(&self) -> To;

    /// What makes lines of messages for it.
    fn encoder(&self) -> Box<dyn Encode>;

    /// What it stores of backslashes in names.
    fn backslashes(&self) -> Backslashes {
        Backslashes::Kept
    }

    /// The path of a write, with its query.
    fn write_path(&self) -> &str;

    /// What an answer to a write of these lines means. `now` is for a `Retry-After` that is a date; `hide` is for what is quoted.
    fn verdict(&self, answer: &Answer, sent: Sent<'_>, now: SystemTime, hide: Hide<'_>) -> Verdict;

    /// The path and the body of a request that writes nothing, and is answered as a write would be.
    fn probe(&self) -> (&str, Bytes) {
        (self.write_path(), Bytes::from_static(BLANK))
    }

    /// What an answer to the probe means: [`Verdict::Complete`] where a write could work.
    fn probe_verdict(&self, answer: &Answer, now: SystemTime, hide: Hide<'_>) -> Verdict {
        self.verdict(answer, Sent::one(BLANK), now, hide)
    }

    /// The path of the request that creates the database when it is missing, where that is wanted.
    fn creation(&self) -> Option<String> {
        None
    }

    /// What an answer to that means: created, later, or that an operator must do it.
    fn creation_verdict(&self, _answer: &Answer, _hide: Hide<'_>) -> Verdict {
        Verdict::Complete
    }

    /// The path of a question about the server itself, where there is one that tells more than a write.
    fn inspection(&self) -> Option<&str> {
        None
    }

    /// What to know of the server, from its answer to that; from an empty one where it gave none. `hide` is for what is quoted.
    fn inspected(&self, _answer: &Answer, _hide: Hide<'_>) -> Inspection {
        Inspection::default()
    }

    /// The path of a question for the types of these measurements' columns, where it can be asked for them.
    fn columns_path(&self, _measurements: &[&str]) -> Option<String> {
        None
    }

    /// The columns that an answer to that tells; else why they are not known: words. `hide` is for what is quoted.
    fn columns(&self, _answer: &Answer, _hide: Hide<'_>) -> Result<Columns, String> {
        Ok(Columns::default())
    }

    /// Whether a column has one type for ever, and is a tag or a field. Otherwise a field has a type for some time, and tags are no
    /// columns.
    fn columns_last(&self) -> bool {
        false
    }

    /// The path of a question whether it has this measurement, where it can be asked for that and not for columns.
    fn metric_path(&self, _measurement: &str) -> Option<String> {
        None
    }

    /// Whether it has it, by an answer to that; else why that is not known: words. `hide` is for what is quoted.
    fn has_metric(&self, _answer: &Answer, _hide: Hide<'_>) -> Result<bool, String> {
        Ok(false)
    }

    /// The path of a question for the newest value of a canary's point, where it can be asked for that.
    fn newest_path(&self, _mark: &Mark) -> Option<String> {
        None
    }

    /// The value that an answer to that has; else why it is not known: words. `hide` is for what is quoted.
    fn newest(&self, _answer: &Answer, _hide: Hide<'_>) -> Result<Option<f64>, String> {
        Ok(None)
    }

    /// What an operator is told, in the destination's own `words`, and what to do about it.
    fn remedy(&self, cause: Cause, words: &str) -> Caution;
}
