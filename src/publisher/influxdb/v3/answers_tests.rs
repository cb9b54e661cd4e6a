use std::time::SystemTime;

use serde_json::json;

use super::*;
use crate::publisher::influxdb::recorded::{answer, with_sent, writes};

const LINES: [&str; 4] = ["good value=1 1", "bad", "it's", "bad"];

fn of_answer(answer: &Answer, lines: &[&str]) -> Verdict {
    with_sent(lines, |sent| verdict(answer, sent, SystemTime::UNIX_EPOCH, &|text| text))
}

fn of(status: u16, body: &str) -> Verdict {
    of_answer(&answer(status, body), &LINES)
}

/// A verdict without its words.
fn kind(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Complete => "complete".to_owned(),
        Verdict::Isolate { .. } => "isolate".to_owned(),
        Verdict::Named { others_are_written, .. } => format!("named, others written: {others_are_written}"),
        Verdict::Limited { named, .. } => format!("limited {named:?}"),
        Verdict::Split { .. } => "split".to_owned(),
        Verdict::Retry { fault, .. } => format!("retry {fault:?}"),
        Verdict::Hold { cause, fault, .. } => format!("hold {cause:?} {fault:?}"),
    }
}

/// Each answer of a real Core 3.6.0 to a write, and what it means.
const RECORDED: [(u16, &str, &str); 18] = [
    (204, "", "complete"),
    (400, r#"{"error":"partial write of line protocol occurred","#, "named, others written: true"),
    (400, r#"{"error":"parsing failed for write_lp endpoint","#, "named, others written: false"),
    (400, r#"{"error":"db name"#, "hold NoDatabase Server"),
    (400, r#"{"error":"invalid character in database"#, "hold NoDatabase Server"),
    (400, r#"{"error": "Authorization header was malformed"#, "hold Unauthenticated Server"),
    (400, "incoming write was empty", "hold Foreign Unknown"),
    (400, "serde error: ", "hold Foreign Unknown"),
    (400, "missing query parameter 'db'", "hold Foreign Unknown"),
    (400, "unacceptable content-encoding: ", "hold Foreign Unknown"),
    (401, "", "hold Unauthenticated Server"),
    (403, "", "hold Forbidden Unknown"),
    (422, r#"{"error":"Adding a new database would exceed limit of 5 databases"}"#, "hold Limit Server"),
    (422, r#"{"error":"partial write of line protocol occurred","#, "limited"),
    (500, "body content is not valid utf8", "retry Unknown"),
    (500, "error decoding gzip stream", "retry Unknown"),
    (500, "max request size (", "split"),
    (500, "write buffer error: error from wal", "hold Disk Server"),
];

#[test]
fn every_answer_of_a_real_core_3_6_0_is_understood() {
    let cases = writes(include_str!("../../../../tests/data/influxdb3.jsonl"), "/api/v3/write_lp");
    assert!(cases.len() > 80);
    for case in &cases {
        let (answer, lines) = (case.answer(), case.lines());
        let verdict = of_answer(&answer, &lines);
        let row = RECORDED.iter().find(|(status, begin, _)| *status == answer.status && answer.body.starts_with(begin));
        let Some((_, _, expected)) = row else { panic!("{}", case.name()) };
        assert!(kind(&verdict).starts_with(expected), "{}: {verdict:?}", case.name());
        if let Verdict::Named { refused, .. } = &verdict {
            let json: Value = serde_json::from_str(&answer.body).unwrap();
            let data = json["data"].as_array().cloned().unwrap_or_else(|| vec![json["data"].clone()]);
            let said = data.iter().map(|error| {
                let at = usize::try_from(error["line_number"].as_u64().unwrap()).unwrap() - 1;
                (at, format!("400 {}", quote(error["error_message"].as_str().unwrap())))
            });
            assert_eq!(*refused, said.collect::<Vec<_>>(), "{}", case.name());
        }
    }
}

#[test]
fn every_status_there_is_has_its_verdict() {
    for status in 100..1000 {
        let expected = match status {
            204 => "complete",
            401 => "hold Unauthenticated Server",
            403 => "hold Forbidden Unknown",
            413 => "split",
            429 => "retry Busy",
            408 | 425 | 499 | 500..=599 => "retry Unknown",
            _ => "hold Foreign Unknown",
        };
        for body in ["", "<html>", "{}", "{\"data\":[]}"] {
            assert_eq!(kind(&of(status, body)), expected, "{status} {body}");
        }
    }
}

fn partial(errors: &[(usize, &str)]) -> String {
    let data: Vec<Value> = errors
        .iter()
        .map(|(number, message)| json!({ "original_line": "x", "line_number": number, "error_message": message }))
        .collect();
    format!("{{\"error\":\"{PARTIAL}\",\"data\":{}}}", json!(data))
}

const COLUMNS: &str = "Update to schema would exceed number of columns per table limit of 500 columns";

/// `influxdb3_server/src/http.rs`: 422 where any message is of a limit, also when mixed with other faults.
#[test]
fn what_is_beyond_a_limit_is_held_and_what_is_bad_beside_it_is_refused_first() {
    let mixed = of(422, &partial(&[(2, "No fields were provided"), (3, COLUMNS)]));
    let refused = vec![(1, "422 No fields were provided".to_owned())];
    assert_eq!(mixed, Verdict::Named { refused, others_are_written: false });
    let limited = of(422, &partial(&[(1, COLUMNS), (3, COLUMNS)]));
    assert_eq!(limited, Verdict::Limited { words: ["422 ", COLUMNS].concat(), refused: None, named: vec![0, 2] });
    let whole = json!({ "error": WHOLE[0], "data": { "original_line": "x", "line_number": 2, "error_message": COLUMNS } });
    for status in [400, 422] {
        assert_eq!(kind(&of(status, &whole.to_string())), "limited []");
    }
}

/// v3.10.1: `influxdb3_server/src/http.rs`.
#[test]
fn what_3_10_says_otherwise_is_understood() {
    let whole =
        json!({ "error": WHOLE[1], "data": { "original_line": "x", "line_number": 2, "error_message": "Tag set malformed" } });
    assert_eq!(kind(&of(400, &whole.to_string())), "named, others written: false");
    assert_eq!(kind(&of(413, "max request size (10485760 bytes) exceeded")), "split");
    assert_eq!(kind(&of(400, "error decoding gzip stream: unexpected end of file")), "retry Unknown");
    assert_eq!(kind(&of(400, "body content is not valid utf8: x")), "retry Unknown");
    assert_eq!(kind(&of(401, r#"{"error": "the request was not authenticated"}"#)), "hold Unauthenticated Server");
    assert_eq!(kind(&of(403, r#"{"error": "access denied"}"#)), "hold Forbidden Server");
    // A gateway refuses a line with the like of it.
    assert_eq!(kind(&of(403, r#"{"error":"blocked by rule 7"}"#)), "hold Forbidden Unknown");
    assert_eq!(kind(&of(429, "this service is overloaded, please try again later")), "retry Busy");
    let deleted = r#"{"error":"cannot write to soft-deleted database 'k' - it is marked for deletion"}"#;
    assert_eq!(kind(&of(400, deleted)), "hold NoDatabase Server");
}

/// `influxdb3_wal/src/lib.rs`; a full disk was recorded.
#[test]
fn a_log_that_is_full_or_fails_is_tried_again_or_waits_for_an_operator() {
    for (why, expected) in [
        ("wal buffer full with 100000 ops", "retry Server"),
        ("wal is shutdown and not accepting writes", "retry Server"),
        ("object_store error: Unable to open file: No space left on device (os error 28)", "hold Disk Server"),
    ] {
        assert_eq!(kind(&of(500, &["write buffer error: error from wal: ", why].concat())), expected, "{why}");
    }
}

#[test]
fn what_influxdb_cannot_have_said_condemns_no_line() {
    for body in [
        partial(&[(0, "x")]),
        partial(&[(5, "x")]),
        partial(&[(1, "x"), (5, "x")]),
        partial(&[]),
        r#"{"error":"partial write of line protocol occurred"}"#.to_owned(),
        r#"{"error":"partial write of line protocol occurred","data":[{"line_number":"1"}]}"#.to_owned(),
        r#"{"error":"invalid API key format"}"#.to_owned(),
        r#"{"error":"line protocol parsing error"}"#.to_owned(),
    ] {
        assert_eq!(kind(&of(400, &body)), "hold Foreign Unknown", "{body}");
    }
}

#[test]
fn of_an_answer_that_was_too_long_to_read_the_lines_are_named_that_are_whole() {
    let whole = partial(&[(2, "one"), (3, "ü"), (4, "three")]);
    let begin = whole.find('[').unwrap() + 1;
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        match of(400, &whole[..end]) {
            Verdict::Named { refused, others_are_written } => {
                let places: Vec<usize> = refused.iter().map(|(at, _)| *at).collect();
                assert!([1, 2, 3].starts_with(&places) && !others_are_written, "{end}: {places:?}");
            }
            Verdict::Isolate { refused: None, .. } => assert!(end >= begin),
            verdict => assert!(end < begin && kind(&verdict) == "hold Foreign Unknown", "{end}: {verdict:?}"),
        }
    }
}

/// <https://docs.influxdata.com/influxdb3/core/write-data/http-api/v3-write-lp/>; recorded: it creates no database.
#[test]
fn a_probe_is_taken_when_only_its_line_is_refused() {
    let cases = writes(include_str!("../../../../tests/data/influxdb3.jsonl"), "/api/v3/write_lp");
    let probe = |answer: &Answer| kind(&probe_verdict(answer, SystemTime::UNIX_EPOCH, &|text| text));
    for case in cases.iter().filter(|case| case.lines().len() <= 1) {
        let answer = case.answer();
        let expected = match answer.status {
            400 if answer.body.starts_with("{\"error\":\"parsing failed") => "complete".to_owned(),
            204 => "hold Foreign Unknown".to_owned(),
            _ => kind(&of_answer(&answer, &[""])),
        };
        assert_eq!(probe(&answer), expected, "{}", case.name());
    }
}
