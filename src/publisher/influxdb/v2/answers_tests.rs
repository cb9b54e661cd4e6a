use std::time::{Duration, SystemTime};

use serde_json::json;

use super::*;
use crate::publisher::influxdb::recorded::{answer, with_sent, writes};

fn of_answer(answer: &Answer, lines: &[&str]) -> Verdict {
    with_sent(lines, |sent| verdict(answer, sent, SystemTime::UNIX_EPOCH, &|text| text))
}

const LINES: [&str; 4] = ["good value=1 1", "bad", "it's", "bad"];

fn of(status: u16, code: &str, message: &str) -> Verdict {
    of_answer(&answer(status, &json!({ "code": code, "message": message }).to_string()), &LINES)
}

/// A verdict without its words.
fn kind(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Complete => "complete".to_owned(),
        Verdict::Isolate { refused, .. } => format!("isolate {refused:?}"),
        Verdict::Named { others_are_written, .. } => format!("named, others written: {others_are_written}"),
        Verdict::Limited { .. } => "limited".to_owned(),
        Verdict::Split { .. } => "split".to_owned(),
        Verdict::Retry { fault, .. } => format!("retry {fault:?}"),
        Verdict::Hold { cause, fault, .. } => format!("hold {cause:?} {fault:?}"),
    }
}

/// Each answer of a real 2.9.1 to a write, and what it means.
const RECORDED: [(u16, &str, &str); 14] = [
    (204, "", "complete"),
    (400, "unable to parse '", "named, others written: false"),
    (400, "unable to read data: ", "retry Unknown"),
    (400, "Please provide either orgID or org", "hold NoDatabase Server"),
    (400, "id must have a length of 16 bytes", "hold NoDatabase Server"),
    (400, "invalid precision", "hold Foreign Unknown"),
    (401, "unauthorized access", "hold Unauthenticated Server"),
    (403, "insufficient permissions for write", "hold Forbidden Server"),
    (404, "bucket", "hold NoDatabase Server"),
    (404, "organization", "hold NoDatabase Server"),
    (422, "failure writing points to database: partial write: field type conflict", "isolate"),
    (422, "failure writing points to database: partial write: invalid field name: ", "isolate"),
    (500, "An internal error has occurred - check server logs", "retry Unknown"),
    (500, "unable to read data: unexpected EOF", "retry Unknown"),
];

#[test]
fn every_answer_of_a_real_2_9_1_is_understood() {
    let cases = writes(include_str!("../../../../tests/data/influxdb2.jsonl"), "/api/v2/write");
    assert!(cases.len() > 100);
    for case in &cases {
        let (answer, lines) = (case.answer(), case.lines());
        let verdict = of_answer(&answer, &lines);
        let message = Said::of(&answer.body).map(|said| said.message).unwrap_or_default();
        let row = RECORDED.iter().find(|(status, begin, _)| *status == answer.status && message.starts_with(begin));
        let Some((_, _, expected)) = row else { panic!("{}", case.name()) };
        assert!(kind(&verdict).starts_with(expected), "{}: {verdict:?}", case.name());
        if let Verdict::Named { refused, .. } = &verdict
            && case.is_plain()
        {
            let quotes = message.matches(PARSE).count();
            let named: Vec<String> = refused
                .iter()
                .map(|(at, reason)| {
                    format!("unable to parse '{}': {}", lines[*at], reason.strip_prefix("400 unable to parse it: ").unwrap())
                })
                .collect();
            assert!(named.len() <= quotes && !named.is_empty(), "{}", case.name());
            // A sentence is one line.
            assert_eq!(named.join("\n").replace(['\r', '\n'], " "), message.replace(['\r', '\n'], " "), "{}", case.name());
        }
    }
}

#[test]
fn every_status_there_is_has_its_verdict() {
    for status in 100..1000 {
        let verdict = of_answer(&answer(status, "<html>"), &LINES);
        let expected = match status {
            204 => "complete",
            401 => "hold Unauthenticated Server",
            403 => "hold Forbidden Unknown",
            413 => "split",
            429 => "retry Busy",
            408 | 425 | 499 | 500..=599 => "retry Unknown",
            _ => "hold Foreign Unknown",
        };
        assert_eq!(kind(&verdict), expected, "{status}");
    }
}

/// `tsdb/shard.go`, `tsdb/field_validator.go`, `v1/coordinator/points_writer.go` of v2.9.1; recorded.
#[test]
fn a_422_is_about_some_points_and_its_count_is_at_least_what_was_refused() {
    let partial = "failure writing points to database: partial write: ";
    for (reason, refused) in [
        (
            "field type conflict: input field \"f\" on measurement \"con\" is type string, already exists as type float dropped=4",
            Some(4),
        ),
        ("input field \"s\" on measurement \"m\" is too long, 1048577 > 1048576 dropped=1", Some(1)),
        (
            "dropped 2 points outside retention policy of duration 1h0m0s - oldest point m at T dropped because it violates a Retention Policy Lower Bound at T dropped=2 for database: 0 for retention policy: autogen",
            Some(2),
        ),
        ("invalid field name: input field \"time\" on measurement \"m\" is invalid dropped=1", Some(1)),
        (
            "invalid field name: input field \"time\" on measurement \"m\" is invalid. Field \"time\" has been stripped from point. dropped=0 for database: 0 for retention policy: autogen",
            Some(0),
        ),
        ("field type conflict dropped=0", None),
    ] {
        let verdict = of(422, "unprocessable entity", &[partial, reason].concat());
        assert!(
            matches!(&verdict, Verdict::Isolate { refused: count, words } if *count == refused && words.starts_with("422 ")),
            "{verdict:?}"
        );
    }
    for message in ["field type conflicts are not allowed here?", ""] {
        assert_eq!(kind(&of(422, "request validation", message)), "hold Foreign Unknown", "{message}");
    }
}

/// <https://docs.influxdata.com/influxdb/cloud/write-data/troubleshoot/> and the same of Serverless and Dedicated.
#[test]
fn what_cloud_says_besides_is_understood() {
    let serverless = "failed to parse line protocol:\n  errors encountered on line(s):\n  error parsing line 2 (1-based): Invalid measurement was provided\n  error parsing line 4 (1-based): No fields were provided\n  error parsing line 9 (1-based): x";
    let verdict = of(400, "invalid", serverless);
    let named = |at, reason: &str| (at, reason.to_owned());
    let refused = vec![named(1, "400 Invalid measurement was provided"), named(3, "400 No fields were provided")];
    assert_eq!(verdict, Verdict::Named { refused, others_are_written: false });
    let schema =
        "partial write error (2 written): unable to parse 'bad': schema: field type for field \"v\" not permitted by schema";
    assert_eq!(kind(&of(400, "invalid", schema)), "isolate None");
    assert_eq!(kind(&of(400, "invalid", &schema.replace("'bad'", "'other'"))), "hold Foreign Unknown");
    let limit = "dml handler error: service limit reached: couldn't create new table; namespace limit is 500";
    assert_eq!(kind(&of(400, "invalid", limit)), "limited");
    let outside = "data in write is outside of database retention period";
    assert_eq!(kind(&of(422, "invalid", outside)), "isolate None");
    let busy = Answer {
        retry_after: Some("7".to_owned()),
        ..answer(429, "{\"code\":\"too many requests\",\"message\":\"org has exceeded limited_write plan limit\"}")
    };
    let words = "429 org has exceeded limited_write plan limit".to_owned();
    assert_eq!(of_answer(&busy, &LINES), Verdict::Retry { after: Some(Duration::from_secs(7)), words, fault: Fault::Busy });
    assert_eq!(kind(&of_answer(&answer(413, "<html>nginx</html>"), &LINES)), "split");
    assert_eq!(kind(&of(413, "request too large", "unable to read data: points batch is too large")), "split");
}

/// `http/write_handler.go` of v2.9.1; a full disk and a full cache were recorded.
#[test]
fn what_the_storage_says_is_tried_again_or_waits_for_an_operator() {
    for (message, expected) in [
        ("timeout", "retry Server"),
        ("engine: cache-max-memory-size exceeded: (1577780/1000000)", "retry Server"),
        ("write failed", "retry Server"),
        ("[shard 2] write /engine/wal/1.wal: no space left on device", "hold Disk Server"),
        ("not attempting to open shard 2; opening shard previously failed with: error", "hold Disk Server"),
    ] {
        let verdict = of(500, "internal error", &["unexpected error writing points to database: ", message].concat());
        assert_eq!(kind(&verdict), expected, "{message}");
    }
    assert_eq!(kind(&of(500, "internal error", "unable to read data: unexpected EOF")), "retry Unknown");
    assert_eq!(kind(&of(499, "", "unable to read data: i/o timeout")), "retry Unknown");
    assert_eq!(kind(&of(404, "not found", "path not found")), "hold Foreign Unknown");
}

#[test]
fn what_influxdb_cannot_have_said_condemns_no_line() {
    for (code, message) in [
        ("invalid", "unable to parse 'other value=1': missing fields"),
        ("invalid", "unable to parse ''"),
        ("invalid", "unable to parse 'ba': missing fields"),
        ("invalid", "unable to parse 'bad': missing fields\nunable to parse 'other': missing fields"),
        ("invalid", "unable to parse request"),
        ("invalid", "invalid API key format"),
        ("rule 7", "unable to parse 'bad': missing fields"),
    ] {
        assert_eq!(kind(&of(400, code, message)), "hold Foreign Unknown", "{message}");
    }
    for body in ["unable to parse 'bad': missing fields", "", "{\"error\":\"unable to parse 'bad': missing fields\"}"] {
        assert_eq!(kind(&of_answer(&answer(400, body), &LINES)), "hold Foreign Unknown", "{body}");
    }
}

#[test]
fn equal_lines_and_lines_with_quotes_in_them_are_told_from_each_other() {
    let lines = ["a", "a': b", "a", "a': b': c", "good"];
    let named = |quotes: &[&str]| {
        let message: Vec<_> = quotes.iter().map(|line| format!("unable to parse '{line}': missing fields")).collect();
        quoted(&message.join("\n"), &lines.map(str::as_bytes), &|text| text)
            .map(|named| named.into_iter().map(|(at, _)| at).collect::<Vec<_>>())
    };
    assert_eq!(named(&["a", "a': b", "a", "a': b': c"]), Some(vec![0, 1, 2, 3]));
    assert_eq!(named(&["a': b': c"]), Some(vec![3]));
    assert_eq!(named(&["a", "a"]), Some(vec![0, 2]));
    assert_eq!(named(&["a", "a", "a"]), None);
}

#[test]
fn of_an_answer_that_was_too_long_to_read_the_lines_are_named_that_are_whole() {
    let whole = json!({ "code": "invalid", "message": "unable to parse 'bad': missing fields\nunable to parse 'it's': ü\nunable to parse 'bad': x" });
    let whole = whole.to_string();
    let mut counts = std::collections::BTreeSet::new();
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        match of_answer(&answer(400, &whole[..end]), &LINES) {
            Verdict::Named { refused, .. } => {
                let places: Vec<usize> = refused.iter().map(|(at, _)| *at).collect();
                assert!([1, 2, 3].starts_with(&places) || places == [2], "{end}: {places:?}");
                counts.insert(places.len());
            }
            Verdict::Hold { cause: Cause::Foreign, .. } => {}
            verdict => panic!("{end}: {verdict:?}"),
        }
    }
    assert_eq!(counts, [1, 2, 3].into());
    // A line that is longer than what is read.
    let long = format!("m v={}", "a".repeat(100_000));
    let cut = format!("{{\"code\":\"invalid\",\"message\":\"unable to parse '{}", &long[..65_000]);
    let verdict = of_answer(&answer(400, &cut), &["m v=1", &long]);
    assert_eq!(verdict, Verdict::Named { refused: vec![(1, "400 unable to parse it".to_owned())], others_are_written: false });
}

#[test]
fn no_secret_gets_into_a_reason() {
    let said = answer(400, &json!({ "code": "invalid", "message": "unable to parse 'bad': hunter2\n" }).to_string());
    let verdict = with_sent(&LINES, |sent| verdict(&said, sent, SystemTime::UNIX_EPOCH, &|text| text.replace("hunter2", "***")));
    assert_eq!(
        verdict,
        Verdict::Named { refused: vec![(1, "400 unable to parse it: ***".to_owned())], others_are_written: false }
    );
}
