//! What an answer of InfluxDB 1.x to a write means. Pure: bytes in, [`Verdict`] out.

use std::time::{Duration, SystemTime};

use awc::http::header::HttpDate;

use crate::quote::quote;

/// The longest pause that a server can ask for.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// An answer as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The `Retry-After` header, as it was sent.
    pub(super) retry_after: Option<String>,
    /// The body, or its beginning.
    pub(super) body: String,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of it is written.
    Complete,
    /// Some of it was refused, and the rest may be written or not.
    Isolate {
        words: String,
        /// How many points were refused, where InfluxDB's count can be trusted.
        refused: Option<usize>,
    },
    /// Too much at once.
    Split { words: String },
    /// Later.
    Retry { after: Option<Duration>, words: String },
    /// An operator must mend this first.
    Hold { cause: Cause, words: String },
}

/// What an operator must mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    NoDatabase,
    NoRetentionPolicy,
    Unauthenticated,
    Forbidden,
    /// Whatever answers is not the write API of InfluxDB 1.x.
    NotInfluxdb,
}

/// Reads an answer to a write. `now` is for a `Retry-After` that is a date; `hide` takes secrets out of what is quoted.
pub(super) fn verdict(answer: &Answer, now: SystemTime, hide: impl Fn(String) -> String) -> Verdict {
    let words = words(answer, hide);
    let hold = |cause, words| Verdict::Hold { cause, words };
    match answer.status {
        204 => Verdict::Complete,
        400 => match error(&answer.body) {
            Some(error) if is_about_the_request(&error) => Verdict::Retry { after: None, words },
            Some(error) => Verdict::Isolate { refused: trusted_count(&error), words },
            // A proxy's page. Isolating on its word would park everything.
            None => hold(Cause::NotInfluxdb, words),
        },
        401 => hold(Cause::Unauthenticated, words),
        403 => hold(Cause::Forbidden, words),
        404 if mentions(answer, "database not found") => hold(Cause::NoDatabase, words),
        413 => Verdict::Split { words },
        500 if mentions(answer, "retention policy not found") => hold(Cause::NoRetentionPolicy, words),
        500 if mentions(answer, "database not found") => hold(Cause::NoDatabase, words),
        429 | 500..=599 => {
            let after = answer.retry_after.as_deref().and_then(|header| retry_after(header, now));
            Verdict::Retry { after, words }
        }
        _ => hold(Cause::NotInfluxdb, words),
    }
}

/// What InfluxDB says in its JSON, if it is InfluxDB's JSON; of a statement's results the first error.
fn error(body: &str) -> Option<String> {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(body) else {
        // InfluxDB repeats lines that it could not parse, however long, and only the beginning of an answer is read.
        return body.strip_prefix("{\"error\":\"").map(str::to_owned);
    };
    let of_result = || json.get("results")?.as_array()?.iter().find_map(|result| result.get("error"));
    Some(json.get("error").or_else(of_result)?.as_str()?.to_owned())
}

/// Whether a statement was executed: InfluxDB answers 200 and puts an error of the statement among its results.
pub(super) fn is_executed(answer: &Answer) -> bool {
    let json = serde_json::from_str::<serde_json::Value>(&answer.body).unwrap_or_default();
    answer.status == 200 && json.get("results").is_some() && error(&answer.body).is_none()
}

/// The status and the words, one printable line, bounded.
pub(super) fn words(answer: &Answer, hide: impl Fn(String) -> String) -> String {
    let said = quote(&hide(error(&answer.body).unwrap_or_else(|| answer.body.clone())));
    let status = answer.status.to_string();
    if said.is_empty() { status } else { [status.as_str(), said.as_str()].join(" ") }
}

fn mentions(answer: &Answer, what: &str) -> bool {
    error(&answer.body).is_some_and(|error| error.contains(what))
}

/// A 400 that is not about any line: the body did not arrive whole. The whole of the error or its beginning is
/// looked at, since InfluxDB repeats the client's own names further on.
fn is_about_the_request(error: &str) -> bool {
    matches!(error, "EOF" | "unexpected EOF")
        || error.starts_with("gzip:")
        || error.starts_with("flate:")
        || error.starts_with("http:")
}

/// The number after `dropped=`, for the refusals in which 1.6.7 was seen to count each refused point once. It says
/// 0 for lines that it could not parse, and counts one shard only where several refuse, so it is a lower bound.
fn trusted_count(error: &str) -> Option<usize> {
    let rest = error.strip_prefix("partial write: ")?;
    let counted = ["points beyond retention policy", "field type conflict", "invalid tag key", "invalid field name"];
    if !counted.iter().any(|reason| rest.starts_with(reason)) || rest.contains("unable to parse") {
        return None;
    }
    let (_, count) = rest.rsplit_once(" dropped=")?;
    count.trim().parse().ok().filter(|count| *count > 0)
}

/// Seconds or a date, at most [`MAX_RETRY_AFTER`].
fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    let pause = if !header.is_empty() && header.bytes().all(|b| b.is_ascii_digit()) {
        header.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let date: HttpDate = header.parse().ok()?;
        SystemTime::from(date).duration_since(now).unwrap_or_default()
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quote::MAX_QUOTE;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, body: body.to_owned() }
    }

    fn json(error: &str) -> String {
        serde_json::json!({ "error": error }).to_string()
    }

    fn of(status: u16, body: &str) -> Verdict {
        verdict(&answer(status, body), SystemTime::UNIX_EPOCH, |text| text)
    }

    fn hold(cause: Cause, words: &str) -> Verdict {
        Verdict::Hold { cause, words: words.to_owned() }
    }

    fn retry(words: &str) -> Verdict {
        Verdict::Retry { after: None, words: words.to_owned() }
    }

    fn isolate(words: &str, refused: Option<usize>) -> Verdict {
        Verdict::Isolate { words: words.to_owned(), refused }
    }

    #[test]
    fn every_status_there_is_has_its_verdict() {
        for status in 100..1000 {
            let verdict = of(status, "");
            match status {
                204 => assert_eq!(verdict, Verdict::Complete),
                401 => assert_eq!(verdict, hold(Cause::Unauthenticated, "401")),
                403 => assert_eq!(verdict, hold(Cause::Forbidden, "403")),
                413 => assert_eq!(verdict, Verdict::Split { words: "413".to_owned() }),
                429 | 500..=599 => assert_eq!(verdict, retry(&status.to_string())),
                _ => assert_eq!(verdict, hold(Cause::NotInfluxdb, &status.to_string())),
            }
        }
    }

    #[test]
    fn what_influxdb_1_6_7_says_is_understood() {
        let conflict = "partial write: field type conflict: input field \"v\" on measurement \"m\" is type integer, already exists as type float dropped=3";
        for (status, error, expected) in [
            (400, "unable to parse 'bad': missing fields", isolate("400 unable to parse 'bad': missing fields", None)),
            (400, "field type conflict", isolate("400 field type conflict", None)),
            (400, conflict, isolate(&format!("400 {conflict}"), Some(3))),
            (
                400,
                "partial write: points beyond retention policy dropped=4",
                isolate("400 partial write: points beyond retention policy dropped=4", Some(4)),
            ),
            (401, "authorization failed", hold(Cause::Unauthenticated, "401 authorization failed")),
            (
                403,
                "\"u\" user is not authorized to write to database \"d\"",
                hold(Cause::Forbidden, "403 \"u\" user is not authorized to write to database \"d\""),
            ),
            (404, "database not found: \"d\"", hold(Cause::NoDatabase, "404 database not found: \"d\"")),
            (500, "retention policy not found: r", hold(Cause::NoRetentionPolicy, "500 retention policy not found: r")),
            (500, "database not found: d", hold(Cause::NoDatabase, "500 database not found: d")),
            (500, "timeout", retry("500 timeout")),
        ] {
            assert_eq!(of(status, &json(error)), expected);
        }
        assert_eq!(of(404, "404 page not found\n"), hold(Cause::NotInfluxdb, "404 404 page not found"));
    }

    #[test]
    fn a_count_that_cannot_be_trusted_is_not() {
        for error in [
            "partial write: unable to parse 'x': missing fields dropped=0",
            "partial write: unable to parse 'x dropped=7': missing fields",
            "partial write: max-values-per-tag limit exceeded (2/2): measurement=\"m\" tag=\"t\" value=\"3\" dropped=2",
            "partial write: field type conflict dropped=0",
            "partial write: field type conflict dropped=many",
            "points beyond retention policy dropped=4",
        ] {
            assert_eq!(trusted_count(error), None, "{error}");
        }
    }

    #[test]
    fn a_body_that_arrived_broken_condemns_no_line() {
        assert_eq!(of(400, &json("unexpected EOF")), retry("400 unexpected EOF"));
        assert_eq!(of(400, &json("gzip: invalid header")), retry("400 gzip: invalid header"));
        let conflict = "partial write: field type conflict: input field \"EOF\" on measurement \"unexpected EOF\" is type string";
        assert!(matches!(of(400, &json(conflict)), Verdict::Isolate { .. }));
    }

    #[test]
    fn an_answer_that_was_too_long_to_read_is_still_influxdbs() {
        let cut = "{\"error\":\"unable to parse 'xxx";
        assert_eq!(of(400, cut), isolate("400 unable to parse 'xxx", None));
    }

    #[test]
    fn a_proxys_bad_request_condemns_no_line() {
        let page = "<html>\r\n<head><title>400 Bad Request</title></head>\r\n</html>";
        assert_eq!(of(400, page), hold(Cause::NotInfluxdb, "400 <html> <head><title>400 Bad Request</title></head> </html>"));
    }

    #[test]
    fn a_statement_is_executed_only_when_its_result_says_so() {
        for (status, body, executed) in [
            (200, r#"{"results":[{"statement_id":0}]}"#, true),
            (200, r#"{"results":[{"statement_id":0,"error":"invalid name"}]}"#, false),
            (403, r#"{"results":[{"statement_id":0}]}"#, false),
            (200, r#"{"error":"create admin user first"}"#, false),
            (200, "Welcome to nginx!", false),
        ] {
            assert_eq!(is_executed(&answer(status, body)), executed, "{body}");
        }
        assert_eq!(words(&answer(200, r#"{"results":[{"error":"invalid name"}]}"#), |text| text), "200 invalid name");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        for (header, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("601", Some(600)),
            ("99999999999999999999999999", Some(600)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:00:00 GMT", Some(600)),
            ("-1", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(header, now), expected.map(Duration::from_secs), "{header}");
            for status in [429, 500, 503] {
                let answer = Answer { status, retry_after: Some(header.to_owned()), body: String::new() };
                let expected = Verdict::Retry { after: expected.map(Duration::from_secs), words: status.to_string() };
                assert_eq!(verdict(&answer, now, |text| text), expected);
            }
        }
    }

    #[test]
    fn secrets_are_hidden_before_a_quote_is_cut_and_after_the_verdict() {
        let said = answer(404, &json(&format!("database not found: {}\"se cret\"", "x".repeat(MAX_QUOTE))));
        let verdict =
            verdict(&said, SystemTime::UNIX_EPOCH, |text| text.replace("\"se cret\"", "***").replace("database", "***"));
        let Verdict::Hold { cause: Cause::NoDatabase, words } = verdict else { panic!("{verdict:?}") };
        assert!(words.starts_with("404 *** not found: xxx") && words.ends_with("xxx***"), "{words}");
    }
}
