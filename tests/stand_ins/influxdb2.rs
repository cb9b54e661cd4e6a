//! The stand-in for InfluxDB 2 answers as a real 2.9.1 did, and where that was not asked, as its documentation and source say.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::recorded::{Case, Characters, found_at, gzip, line_with, read, write};
use crate::support::{
    http_server::{Fault, Response, ask},
    influxdb2::{Influxdb2, Release, Right},
};

const TOKEN: &str = "operator-token-1";
const WRITE: &str = "/api/v2/write?org=o1&bucket=b1&precision=ns";
const HOUR: Duration = Duration::from_secs(3600);

fn start() -> Influxdb2 {
    Influxdb2::start("o1", "b1", TOKEN)
}

fn post(server: &Influxdb2, lines: impl AsRef<[u8]>) -> Response {
    write(&server.url(), WRITE, &format!("Token {TOKEN}"), None, lines).unwrap()
}

/// The message of an answer, whose code must be this.
fn message(answer: &Response, code: &str) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    assert_eq!(body["code"], code, "{answer:?}");
    body["message"].as_str().unwrap().to_owned()
}

/// The tags `i` of all points of the bucket.
fn kept(server: &Influxdb2) -> Vec<String> {
    server.points("b1").iter().map(|point| point["tags"]["i"].as_str().unwrap().to_owned()).collect()
}

fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap()
}

#[test]
fn it_answers_and_stores_as_a_real_one_did_case_by_case() {
    let server = start();
    server.create_bucket("b2", Duration::ZERO);
    for (token, right) in [
        ("write-only", Right::Write("b1")),
        ("read-write", Right::ReadWrite("b1")),
        ("read-only", Right::Read("b1")),
        ("other", Right::Write("b2")),
        ("all", Right::Everything),
        ("inactive", Right::Inactive),
        ("write-gone", Right::Write("gone")),
        ("olduser:oldpassword", Right::ReadWrite("b1")),
    ] {
        server.token(token, right);
    }
    let (organization, bucket) = (server.organization_id(), server.bucket_id("b1"));
    let cases: Vec<Case> = read("influxdb2.jsonl");
    for case in &cases {
        case.play(&server.url(), &[("{org}", &organization), ("{bucket}", &bucket)], || server.points("b1"));
    }
    assert!(cases.len() > 200);
}

#[test]
fn it_stores_or_refuses_each_character_at_each_place_as_a_real_one_did() {
    for case in read::<Characters>("characters.jsonl") {
        let server = start();
        let (line, name) = (line_with(&case.place, &case.text), format!("{} {:?}", case.place, case.text));
        let answer = post(&server, &line);
        match (&case.stored_2, &case.refused_2) {
            (Some(stored), None) => {
                assert_eq!(answer.status, 204, "{name}: {answer:?}");
                assert_eq!(found_at(&case.place, &server.points("b1")), stored, "{name}");
            }
            (None, Some(refused)) => {
                let message = message(&answer, "invalid");
                assert!(message.starts_with("unable to parse '") && message.ends_with(refused.as_str()), "{name}: {message}");
                assert_eq!(server.points("b1"), Vec::<Value>::new(), "{name}");
            }
            _ => panic!("{name}"),
        }
    }
}

/// `tsdb/field_validator.go`: `MaxFieldValueLength`; `models/points.go`: `MaxKeyLength`.
#[test]
fn it_refuses_what_is_too_long_and_says_which() {
    let server = start();
    for (length, status) in [(65_536, 204), (1_048_576, 204), (1_048_577, 422)] {
        let text = "x".repeat(length);
        let measurement = format!("str{length}");
        let lines =
            format!("{measurement},i={length}a v=1 1\n{measurement},i={length}b s=\"{text}\" 1\n{measurement},i={length}c v=3 1");
        let answer = post(&server, lines);
        assert_eq!(answer.status, status, "{length}");
        let kept = kept(&server).iter().filter(|tag| tag.starts_with(&length.to_string())).count();
        assert_eq!(kept, if status == 204 { 3 } else { 2 }, "{length}");
        if status == 422 {
            assert_eq!(
                answer.body,
                r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: input field \"s\" on measurement \"str1048577\" is too long, 1048577 \u003e 1048576 dropped=1"}"#
            );
        }
    }
    let (tag, measurement) = ("y".repeat(70_000), "m".repeat(70_000));
    for (line, length) in [(format!("ltag,t={tag} v=1 1"), 70_007), (format!("{measurement} v=1 1"), 70_000)] {
        let answer = post(&server, format!("{line}\nltag,i=good v=1 1"));
        assert_eq!(message(&answer, "invalid"), format!("unable to parse '{line}': max key length exceeded: {length} > 65535"));
    }
    assert!(!kept(&server).contains(&"good".to_owned()));
}

#[test]
fn it_has_no_limit_of_fields_tags_or_bytes() {
    let server = start();
    let fields: Vec<String> = (0..600).map(|n| format!("f{n}=1")).collect();
    let tags: String = (0..300).map(|n| format!(",t{n}=v")).collect();
    assert_eq!(post(&server, format!("fields {} 1", fields.join(","))).status, 204);
    assert_eq!(post(&server, format!("tags{tags} v=1 1")).status, 204);
    let text = "x".repeat(1000);
    let lines: String = (0..30_000).map(|n| format!("big,host=server{} text=\"{text}\" {n}\n", n % 50)).collect();
    assert!(lines.len() > 30_000_000);
    assert_eq!(post(&server, lines).status, 204);
    assert_eq!(server.points("b1").len(), 30_002);
}

#[test]
fn it_quotes_every_bad_line_whole_and_stores_nothing() {
    let server = start();
    let mut lines: String = (0..2000).map(|n| format!("manybad,i={n} v=abc 1795703180000000000\n")).collect();
    lines.push_str("manybad,i=good v=1 1795703180000000000");
    let answer = post(&server, lines);
    assert_eq!((answer.status, answer.body.len()), (400, 152_919));
    let long = format!("longbad,i=1 v={} 1795703180000000000", "a".repeat(5000));
    assert_eq!(message(&post(&server, &long), "invalid"), format!("unable to parse '{long}': invalid boolean"));
    assert_eq!(server.points("b1"), Vec::<Value>::new());
}

/// `http/points/batch_reader.go`, `http/points/points_parser.go`.
#[test]
fn it_reads_gzip_of_several_members_and_says_what_is_wrong_with_other_bodies() {
    let server = start();
    let post = |body: &[u8]| write(&server.url(), WRITE, &format!("Token {TOKEN}"), Some("gzip"), body).unwrap();
    assert_eq!(post(&gzip("z,i=0 v=1 1")).status, 204);
    assert_eq!(post(&[gzip("z,i=1 v=1 1\n"), gzip("z,i=2 v=1 1\n")].concat()).status, 204);
    assert_eq!(post(&gzip("")).status, 204);
    assert_eq!(kept(&server), ["0", "1", "2"]);
    let lines: String = (0..5000).map(|n| format!("gzc,i={n} v={n} 1\n")).collect();
    let whole = gzip(&lines);
    for missing in [2000, 8] {
        let answer = post(&whole[..whole.len() - missing]);
        assert_eq!((answer.status, message(&answer, "internal error")), (500, "unable to read data: unexpected EOF".to_owned()));
    }
    let mut wrong = whole;
    let checksum = wrong.len() - 8;
    wrong[checksum..checksum + 4].fill(0);
    let answer = post(&wrong);
    assert_eq!((answer.status, message(&answer, "invalid")), (400, "unable to read data: gzip: invalid checksum".to_owned()));
    assert_eq!(kept(&server).len(), 3);
}

/// A bucket that keeps points for an hour, with one of now in it, now, and two hours before.
fn hour() -> (Influxdb2, i64, i64) {
    let server = start();
    server.keep("b1", HOUR);
    let now = Timestamp::now().as_second() * 1_000_000_000;
    assert_eq!(post(&server, format!("r,i=0 v=1 {now}")).status, 204);
    (server, now, now - 7200 * 1_000_000_000)
}

/// `v1/coordinator/points_writer.go`: `SummariseDropped`.
#[test]
fn it_drops_points_before_the_retention_and_names_the_oldest_and_the_newest() {
    let (server, now, old) = hour();
    let older = old - 3_600_000_000_000;
    let answer = post(&server, format!("r,i=3 v=1 {now}\nr,i=4 v=1 {old}\nr,i=5 v=1 {now}\nr,i=6 v=1 {older}"));
    assert_eq!(answer.status, 422);
    let message = message(&answer, "unprocessable entity");
    let date = |time: i64| Timestamp::from_nanosecond(i128::from(time)).unwrap().to_string();
    let begins = format!(
        "failure writing points to database: partial write: dropped 2 points outside retention policy of duration 1h0m0s - oldest point r,i=6 at {} dropped because it violates a Retention Policy Lower Bound at ",
        date(older)
    );
    assert!(message.starts_with(&begins), "{message}");
    assert!(message.contains(&format!(", newest point r,i=4 at {} dropped because", date(old))), "{message}");
    let ends = format!(" dropped=2 for database: {} for retention policy: autogen", server.bucket_id("b1"));
    assert!(message.ends_with(&ends), "{message}");
    assert_eq!(kept(&server), ["0", "3", "5"]);
    let year = nanoseconds(Timestamp::now()) + 365 * 86_400_000_000_000;
    assert_eq!(post(&server, format!("r,i=7 v=1 {year}")).status, 204);
}

#[test]
fn a_bucket_whose_retention_was_shortened_still_takes_what_its_shards_hold() {
    let server = start();
    let now = nanoseconds(Timestamp::now());
    let line = |tag: &str| format!("r,i={tag} v=1 {}", now - 7200 * 1_000_000_000);
    assert_eq!(post(&server, line("1")).status, 204);
    server.keep("b1", HOUR);
    assert_eq!(post(&server, line("2")).status, 204);
}

/// Which reason is told of several, and what `dropped` counts: recorded from 2.9.1, part J; the order of `validateSeriesAndFields`.
#[test]
fn one_422_names_one_reason_and_hides_the_others() {
    let long = "x".repeat(1_048_577);
    let cases: [(&str, String, &str, &[&str]); 9] = [
        ("too old, with a field time", "r,i=1 time=1,v=1 OLD".to_owned(), "dropped 1 points outside", &[]),
        ("too old, with a conflict", "r,i=1 v=\"s\" OLD".to_owned(), "dropped 1 points outside", &[]),
        ("conflict and field time in one point", "r,i=1 v=\"s\",time=1 NOW".to_owned(), "field type conflict: … dropped=1", &[]),
        (
            "the field time twice",
            "r,i=1 time=1,time=2,v=1 NOW".to_owned(),
            "stripped from point. dropped=0 for database: ",
            &["1"],
        ),
        (
            "too old, and a conflict",
            "r,i=1 v=1 OLD\nr,i=2 v=\"s\" NOW\nr,i=3 v=1 NOW".to_owned(),
            "field type conflict: … dropped=1",
            &["3"],
        ),
        (
            "too old, and a field time",
            "r,i=1 v=1 OLD\nr,i=2 time=1,v=1 NOW".to_owned(),
            "stripped from point. dropped=0 for database: ",
            &["2"],
        ),
        (
            "too old, and a string too long",
            format!("r,i=1 v=1 OLD\nr,i=2 s=\"{long}\" NOW"),
            "is too long, 1048577 > 1048576 dropped=1",
            &[],
        ),
        (
            "conflict, and a string too long",
            format!("r,i=1 v=\"s\" NOW\nr,i=2 s=\"{long}\" NOW\nr,i=3 v=1 NOW"),
            "field type conflict: … dropped=2",
            &["3"],
        ),
        (
            "too old, and a bad line",
            "r,i=1 v=1 OLD\nr,i=2 v=1 NOW\nbad line".to_owned(),
            "unable to parse 'bad line': invalid field format",
            &[],
        ),
    ];
    for (name, lines, words, stored) in cases {
        let (server, now, old) = hour();
        let answer = post(&server, lines.replace("NOW", &now.to_string()).replace("OLD", &old.to_string()));
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let said = body["message"].as_str().unwrap();
        assert!(words.split('…').all(|words| said.contains(words.trim())), "{name}: {said}");
        let kept = kept(&server);
        assert_eq!(kept.iter().skip(1).map(String::as_str).collect::<Vec<_>>(), stored, "{name}");
    }
}

#[test]
fn release_2_7_strips_a_field_time_without_a_word() {
    let server = start();
    server.release(Release::V2_7);
    assert_eq!(post(&server, "t,i=1 time=1,f=1 1").status, 204);
    assert_eq!(server.points("b1"), [json!({ "measurement": "t", "tags": { "i": "1" }, "fields": { "f": 1.0 }, "time": 1 })]);
}

#[test]
fn a_bucket_that_is_made_anew_knows_nothing_of_the_old_one() {
    let server = start();
    assert_eq!(post(&server, "m v=1 1").status, 204);
    server.delete_bucket("b1");
    assert_eq!(post(&server, "m v=1 1").status, 404);
    server.create_bucket("b1", Duration::ZERO);
    assert_eq!(post(&server, "m v=\"s\" 1").status, 204);
    assert_eq!(server.points("b1").len(), 1);
}

/// What a check of the types before the first write asks for.
#[test]
fn the_types_of_fields_are_shown_to_a_token_that_may_read() {
    let server = start();
    assert_eq!(post(&server, "m,t=a f=1,n=2i,u=3u,s=\"x\",b=true 1\nn v=1 1").status, 204);
    let authorization = format!("Token {TOKEN}");
    let headers = [("Authorization", authorization.as_str())];
    let answer = ask(&server.url(), "GET", "/query?db=b1&q=SHOW%20FIELD%20KEYS", &headers, b"").unwrap();
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let types = json!([["b", "boolean"], ["f", "float"], ["n", "integer"], ["s", "string"], ["u", "unsigned"]]);
    assert_eq!(answer["results"][0]["series"][0]["values"], types);
    assert_eq!(post(&server, "a\\ \"b\\c v=1i 1").status, 204);
    let some = "/query?db=b1&q=SHOW%20FIELD%20KEYS%20FROM%20%22none%22%2C%20%22a%20%5C%22b%5C%5Cc%22%2C%20%22n%22";
    let answer = ask(&server.url(), "GET", some, &headers, b"").unwrap().body;
    let series = |name: &str, kind: &str| {
        format!(r#"{{"name":{},"columns":["fieldKey","fieldType"],"values":[["v",{kind:?}]]}}"#, json!(name))
    };
    let wanted = format!("{},{}", series("a \"b\\c", "integer"), series("n", "float"));
    assert_eq!(answer, format!("{{\"results\":[{{\"statement_id\":0,\"series\":[{wanted}]}}]}}\n"));
    let found = ask(&server.url(), "GET", "/api/v2/buckets?name=b1", &headers, b"").unwrap();
    let found: Value = serde_json::from_str(&found.body).unwrap();
    assert_eq!((&found["buckets"][0]["name"], found["buckets"].as_array().unwrap().len()), (&json!("b1"), 1));
}

#[test]
fn the_types_of_fields_are_shown_as_a_real_one_did() {
    let server = start();
    assert_eq!(post(&server, "m v=1 1\nprec v=1 1\nx v=1 1").status, 204);
    let authorization = format!("Token {TOKEN}");
    let headers = [("Authorization", authorization.as_str())];
    let answer = ask(&server.url(), "GET", "/query?db=b1&q=SHOW%20FIELD%20KEYS", &headers, b"").unwrap();
    let real = r#"{"results":[{"statement_id":0,"series":[{"name":"m","columns":["fieldKey","fieldType"],"values":[["v","float"]]},{"name":"prec","columns":["fieldKey","fieldType"],"values":[["v","float"]]},{"name":"x","columns":["fieldKey","fieldType"],"values":[["v","float"]]}]}]}"#;
    assert_eq!((answer.status, answer.body), (200, format!("{real}\n")));
}

#[test]
fn a_token_can_be_taken_away_and_given_back() {
    let server = start();
    server.remove_token(TOKEN);
    assert_eq!(post(&server, "m v=1 1").status, 401);
    server.token(TOKEN, Right::Read("b1"));
    assert_eq!(post(&server, "m v=1 1").status, 403);
    server.token(TOKEN, Right::Write("b1"));
    assert_eq!(post(&server, "m v=1 1").status, 204);
}

/// Recorded from 2.9.1: a full disk.
#[test]
fn a_full_disk_refuses_points_and_neither_a_blank_body_nor_what_asks_how_it_is() {
    let server = start();
    server.fault(Some(Fault::v2_disk_is_full()));
    assert_eq!(post(&server, "m v=1 1").status, 500);
    assert_eq!(post(&server, "\n").status, 204);
    assert_eq!(post(&server, "not a line").status, 400);
    assert_eq!(ask(&server.url(), "GET", "/health", &[], b"").unwrap().status, 200);
    assert_eq!(server.points("b1"), Vec::<Value>::new());
}

#[test]
fn its_faults_and_outages_store_what_they_say_and_end() {
    let mut server = start();
    for (fault, status, header, words) in [
        (Fault::cloud_throttles(429, Some(7)), 429, Some("7"), "limited_write plan limit"),
        (Fault::cloud_throttles(503, None), 503, None, "unavailable"),
        (Fault::cloud_finds_too_large(), 413, None, "<html>"),
        (Fault::v2_finds_too_large(), 413, None, "points batch is too large"),
        (Fault::v2_cache_is_full(), 500, None, "cache-max-memory-size exceeded"),
        (Fault::v2_disk_is_full(), 500, None, "no space left on device"),
        (Fault::v2_times_out(), 500, None, "timeout"),
        (Fault::v2_is_starting(), 503, None, "starting"),
        (Fault::v2_reads_no_longer(), 499, None, "i/o timeout"),
    ] {
        server.fault(Some(fault));
        let answer = post(&server, "m,i=1 v=1 1");
        assert_eq!((answer.status, answer.header("retry-after")), (status, header));
        assert!(answer.body.contains(words), "{answer:?}");
    }
    let closed = |fault: Fault| {
        server.fault(Some(fault));
        write(&server.url(), WRITE, &format!("Token {TOKEN}"), None, "m,i=1 v=1 1").is_none()
    };
    assert!(closed(Fault::Close) && kept(&server).is_empty());
    assert!(closed(Fault::CloseAfterwards) && kept(&server) == ["1"]);
    let begin = Instant::now();
    server.fault(Some(Fault::Slow(Duration::from_millis(200))));
    assert_eq!(post(&server, "m,i=2 v=1 1").status, 204);
    assert!(begin.elapsed() >= Duration::from_millis(200));
    server.fault(None);
    assert_eq!(server.writes(), 12);
    server.stop();
    assert!(std::net::TcpStream::connect(server.url().strip_prefix("http://").unwrap()).is_err());
    server.start_again();
    assert_eq!(post(&server, "m,i=3 v=1 1").status, 204);
    assert_eq!(kept(&server), ["1", "2", "3"]);
}
