//! The table of what InfluxDB 1.x answers to a write, and what that means. Pure: bytes in, [`Verdict`] out.

use std::time::SystemTime;

use crate::publisher::{
    http::Answer,
    influxdb::cut_text,
    line::{Cause, Fault, Hide, Verdict},
};

/// Reads an answer to a write of `body`. `now` is for a `Retry-After` that is a date; `hide` takes secrets out of what is
/// quoted.
pub(in crate::publisher::influxdb) fn verdict(answer: &Answer, body: &[u8], now: SystemTime, hide: Hide<'_>) -> Verdict {
    let words = words(answer, hide);
    let said = error(&answer.body);
    let mentions = |what: &[&str]| said.as_deref().is_some_and(|said| what.iter().any(|what| said.contains(what)));
    let hold = |cause, fault| Verdict::Hold { cause, words: words.clone(), fault };
    let retry = |fault| Verdict::Retry { after: answer.pause(now), words: words.clone(), fault };
    match answer.status {
        204 => Verdict::Complete,
        400 => match said.as_deref() {
            Some(said) if is_about_the_request(said) => retry(Fault::Unknown),
            Some(said) if is_a_limit(said) => Verdict::Limited { refused: dropped(said), words, named: Vec::new() },
            Some(said) if is_about_points(said, body) => Verdict::Isolate { refused: trusted_count(said), words },
            // Of something in between. Isolating on its word would park everything.
            _ => hold(Cause::Foreign, Fault::Unknown),
        },
        401 => hold(Cause::Unauthenticated, Fault::Server),
        403 if mentions(&["authorized to write", "user is required"]) => hold(Cause::Forbidden, Fault::Server),
        403 => hold(Cause::Forbidden, Fault::Unknown),
        404 | 500 if mentions(&["database not found"]) => hold(Cause::NoDatabase, Fault::Server),
        500 if mentions(&["retention policy not found"]) => hold(Cause::NoRetentionPolicy, Fault::Server),
        413 => Verdict::Split { words },
        _ if answer.is_throttled() => retry(Fault::Busy),
        500 if mentions(&OWN_FAULTS) => retry(Fault::Server),
        // Of a server that waited too long for the request, or fears that it was replayed.
        408 | 425 | 499 | 500..=599 => retry(Fault::Unknown),
        _ => hold(Cause::Foreign, Fault::Unknown),
    }
}

/// What InfluxDB 1.x says in a 500 of itself and of its disk.
const OWN_FAULTS: [&str; 12] = [
    "timeout",
    "write failed",
    "engine",
    "shard",
    "hinted handoff",
    "cache-max-memory-size",
    "no space left",
    "too many open files",
    "input/output error",
    "read-only file system",
    "permission denied",
    "cannot allocate memory",
];

/// What InfluxDB says in its JSON, if it is InfluxDB's JSON; of a statement's results the first error.
fn error(body: &str) -> Option<String> {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(body) else {
        return beginning_of_error(body);
    };
    let of_result = || json.get("results")?.as_array()?.iter().find_map(|result| result.get("error"));
    Some(json.get("error").or_else(of_result)?.as_str()?.to_owned())
}

/// The same of a text whose end is missing: InfluxDB repeats lines that it could not parse, however long, and only the beginning of an
/// answer is read.
fn beginning_of_error(body: &str) -> Option<String> {
    cut_text(body.strip_prefix("{\"error\":\"")?)
}

/// What an answer to `CREATE DATABASE` means: InfluxDB answers 200 and puts an error of the statement among its results.
pub(in crate::publisher::influxdb) fn creation_verdict(answer: &Answer, hide: Hide<'_>) -> Verdict {
    let json = serde_json::from_str::<serde_json::Value>(&answer.body).unwrap_or_default();
    let words = words(answer, hide);
    match answer.status {
        200 if json.get("results").is_some() && error(&answer.body).is_none() => Verdict::Complete,
        429 | 500..=599 => Verdict::Retry { after: None, words, fault: Fault::Unknown },
        _ => Verdict::Hold { cause: Cause::NotCreated, words, fault: Fault::Unknown },
    }
}

/// The status and what InfluxDB says, as one printable line.
pub(in crate::publisher::influxdb) fn words(answer: &Answer, hide: Hide<'_>) -> String {
    answer.words(error(&answer.body).as_deref(), hide)
}

/// A 400 that is not about any line: the body did not arrive whole. The whole of the error or its beginning is
/// looked at, since InfluxDB repeats the client's own names further on.
fn is_about_the_request(error: &str) -> bool {
    matches!(error, "EOF" | "unexpected EOF")
        || error.starts_with("gzip:")
        || error.starts_with("flate:")
        || error.starts_with("http:")
}

/// A 400 that is about points, in the words of InfluxDB 1.6 to 1.12, as a whole or of a `partial write`. Where it repeats a
/// line, that line must have been sent: a gateway also is "unable to parse" things.
fn is_about_points(error: &str, body: &[u8]) -> bool {
    let reason = error.strip_prefix(PARTIAL).unwrap_or(error);
    if let Some(quoted) = reason.strip_prefix("unable to parse '") {
        // Where the quote ends is not known, since a line may have such quotes itself.
        let begin = quoted.split(['\'', char::REPLACEMENT_CHARACTER]).next().unwrap_or_default();
        return !begin.is_empty() && String::from_utf8_lossy(body).contains(begin);
    }
    let of_points = [
        "field type conflict",
        "points beyond retention policy",
        "invalid field name: ",
        "invalid tag key: ",
        "key contains invalid unicode",
    ];
    let is_too_long = || reason.starts_with("input field \"") && reason.contains("is too long");
    let is_too_old = || reason.starts_with("dropped ") && reason.contains("outside retention policy");
    of_points.iter().any(|of| reason.starts_with(of)) || is_too_long() || is_too_old()
}

const PARTIAL: &str = "partial write: ";

/// A limit that an operator has set in InfluxDB's configuration. (1.6.7 then says that it dropped what is beyond it, and drops as many
/// of the other points, too.)
fn is_a_limit(error: &str) -> bool {
    let reason = error.strip_prefix(PARTIAL).unwrap_or(error);
    ["max-series-per-database limit exceeded", "max-values-per-tag limit exceeded"].iter().any(|limit| reason.starts_with(limit))
}

/// The number after `dropped=`, for the refusals in which 1.6.7 was seen to count each refused point once. It says
/// 0 for lines that it could not parse, and counts one shard only where several refuse, so it is a lower bound.
fn trusted_count(error: &str) -> Option<usize> {
    let rest = error.strip_prefix("partial write: ")?;
    let counted = ["points beyond retention policy", "field type conflict", "invalid tag key", "invalid field name"];
    if !counted.iter().any(|reason| rest.starts_with(reason)) || rest.contains("unable to parse") {
        return None;
    }
    dropped(rest)
}

/// The number after `dropped=`, behind which 1.12 names the database.
fn dropped(error: &str) -> Option<usize> {
    let (_, count) = error.rsplit_once(" dropped=")?;
    count.split(' ').next()?.parse().ok().filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::quote::MAX_QUOTE;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.to_owned(), ..Answer::default() }
    }

    fn json(error: &str) -> String {
        serde_json::json!({ "error": error }).to_string()
    }

    /// What was sent: InfluxDB repeats some of it.
    const SENT: &[u8] = b"good value=1 1\nbad\nxxx\nit's\n";

    fn of(status: u16, body: &str) -> Verdict {
        verdict(&answer(status, body), SENT, SystemTime::UNIX_EPOCH, &|text| text)
    }

    fn hold(cause: Cause, words: &str) -> Verdict {
        Verdict::Hold { cause, words: words.to_owned(), fault: Fault::Server }
    }

    /// Of whoever it is.
    fn doubtful(cause: Cause, words: &str) -> Verdict {
        Verdict::Hold { cause, words: words.to_owned(), fault: Fault::Unknown }
    }

    fn retry(words: &str, fault: Fault) -> Verdict {
        Verdict::Retry { after: None, words: words.to_owned(), fault }
    }

    fn limited(words: &str, refused: Option<usize>) -> Verdict {
        Verdict::Limited { words: words.to_owned(), refused, named: Vec::new() }
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
                403 => assert_eq!(verdict, doubtful(Cause::Forbidden, "403")),
                413 => assert_eq!(verdict, Verdict::Split { words: "413".to_owned() }),
                429 => assert_eq!(verdict, retry("429", Fault::Busy)),
                408 | 425 | 499 | 500..=599 => assert_eq!(verdict, retry(&status.to_string(), Fault::Unknown)),
                _ => assert_eq!(verdict, doubtful(Cause::Foreign, &status.to_string())),
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
            (500, "timeout", retry("500 timeout", Fault::Server)),
            (
                400,
                "partial write: max-series-per-database limit exceeded: (8) dropped=2",
                limited("400 partial write: max-series-per-database limit exceeded: (8) dropped=2", Some(2)),
            ),
            (
                400,
                "partial write: max-values-per-tag limit exceeded (3/3): measurement=\"m\" tag=\"h\" value=\"d\" dropped=1",
                limited(
                    "400 partial write: max-values-per-tag limit exceeded (3/3): measurement=\"m\" tag=\"h\" value=\"d\" dropped=1",
                    Some(1),
                ),
            ),
        ] {
            assert_eq!(of(status, &json(error)), expected);
        }
        assert_eq!(of(404, "404 page not found\n"), doubtful(Cause::Foreign, "404 404 page not found"));
    }

    #[test]
    fn what_influxdb_1_12_4_says_besides_is_understood() {
        let behind = "for database: k for retention policy: r";
        for (error, refused) in [
            ("partial write: dropped 2 points outside retention policy of duration 1h0m0s - oldest point m at T dropped=2", None),
            (
                "partial write: field type conflict: input field \"v\" on measurement \"m\" is type string, already exists as type float dropped=3",
                Some(3),
            ),
            ("partial write: input field \"v\" on measurement \"m\" is too long, 1048577 > 1048576 dropped=1", None),
            (
                "partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid. Field \"time\" has been stripped from point. dropped=0",
                None,
            ),
        ] {
            let error = [error, behind].join(" ");
            let words = ["400 ", &error].concat();
            assert_eq!(of(400, &json(&error)), isolate(&words, refused));
        }
    }

    #[test]
    fn what_influxdb_cannot_have_said_condemns_no_line() {
        for body in [
            json("invalid API key format"),
            json("unable to parse request"),
            json("unable to parse 'Authorization'"),
            json("unable to parse ''"),
            json("partial write: unable to parse 'other value=1': missing fields dropped=0"),
            json("you may not cause a field type conflict"),
            json("database is required"),
            r#"{"message":"field type conflict"}"#.to_owned(),
            r#"{"error":{"code":"unable to parse 'bad'"}}"#.to_owned(),
            "unable to parse 'bad': missing fields".to_owned(),
            String::new(),
        ] {
            let verdict = of(400, &body);
            assert!(matches!(verdict, Verdict::Hold { cause: Cause::Foreign, fault: Fault::Unknown, .. }), "{body}: {verdict:?}");
        }
        for said in ["unable to parse 'bad': missing fields", "unable to parse 'it's': missing fields"] {
            assert!(matches!(of(400, &json(said)), Verdict::Isolate { .. }), "{said}");
        }
    }

    #[test]
    fn where_a_redirect_points_to_is_said() {
        let moved = Answer { location: Some("https://db/\nwrite".to_owned()), ..answer(301, "<html>") };
        assert_eq!(words(&moved, &|text| text), "301 to https://db/ write <html>");
    }

    #[test]
    fn a_count_that_cannot_be_trusted_is_not() {
        for error in [
            "partial write: unable to parse 'x': missing fields dropped=0",
            "partial write: unable to parse 'x dropped=7': missing fields",
            "partial write: field type conflict dropped=0",
            "partial write: field type conflict dropped=many",
            "points beyond retention policy dropped=4",
        ] {
            assert_eq!(trusted_count(error), None, "{error}");
        }
    }

    #[test]
    fn a_body_that_arrived_broken_condemns_no_line() {
        assert_eq!(of(400, &json("unexpected EOF")), retry("400 unexpected EOF", Fault::Unknown));
        assert_eq!(of(400, &json("gzip: invalid header")), retry("400 gzip: invalid header", Fault::Unknown));
        let conflict = "partial write: field type conflict: input field \"EOF\" on measurement \"unexpected EOF\" is type string";
        assert!(matches!(of(400, &json(conflict)), Verdict::Isolate { .. }));
    }

    #[test]
    fn an_answer_that_was_too_long_to_read_is_still_influxdbs() {
        for end in ["", "\\", "\\u", "\\u00", "\\ud83d\\ude0"] {
            let cut = ["{\"error\":\"unable to parse 'xxx", end].concat();
            assert_eq!(of(400, &cut), isolate("400 unable to parse 'xxx", None));
        }
    }

    #[test]
    fn a_proxys_bad_request_condemns_no_line() {
        let page = "<html>\r\n<head><title>400 Bad Request</title></head>\r\n</html>";
        assert_eq!(of(400, page), doubtful(Cause::Foreign, "400 <html> <head><title>400 Bad Request</title></head> </html>"));
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
            let verdict = creation_verdict(&answer(status, body), &|text| text);
            assert_eq!(verdict == Verdict::Complete, executed, "{body}");
        }
        assert_eq!(words(&answer(200, r#"{"results":[{"error":"invalid name"}]}"#), &|text| text), "200 invalid name");
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
            for (status, fault) in [(429, Fault::Busy), (500, Fault::Unknown), (503, Fault::Busy)] {
                let answer = Answer { status, retry_after: Some(header.to_owned()), ..Answer::default() };
                let expected = Verdict::Retry { after: expected.map(Duration::from_secs), words: status.to_string(), fault };
                assert_eq!(verdict(&answer, SENT, now, &|text| text), expected);
            }
        }
    }

    #[test]
    fn secrets_are_hidden_before_a_quote_is_cut_and_after_the_verdict() {
        let said = answer(404, &json(&format!("database not found: {}\"se cret\"", "x".repeat(MAX_QUOTE))));
        let verdict =
            verdict(&said, SENT, SystemTime::UNIX_EPOCH, &|text| text.replace("\"se cret\"", "***").replace("database", "***"));
        let Verdict::Hold { cause: Cause::NoDatabase, words, .. } = verdict else { panic!("{verdict:?}") };
        assert!(words.starts_with("404 *** not found: xxx") && words.ends_with("xxx***"), "{words}");
    }
}
