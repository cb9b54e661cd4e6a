//! The stand-in for InfluxDB 3 answers as a real Core 3.6.0 did, and where that was not asked, as its documentation and source say.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::recorded::{Case, Characters, found_at, gzip, line_with, read, write};
use crate::support::{
    http_server::{Fault, Response, ask},
    influxdb3::{Influxdb3, Limits, Release, Right},
};

const WRITE: &str = "/api/v3/write_lp?db=d&precision=nanosecond";
const WHOLE: &str = "/api/v3/write_lp?db=d&precision=nanosecond&accept_partial=false";

fn start() -> Influxdb3 {
    Influxdb3::start("right")
}

fn asked(server: &Influxdb3, target: &str) -> Response {
    ask(&server.url(), "GET", target, &[("Authorization", "Bearer right")], b"").unwrap()
}

fn post(server: &Influxdb3, lines: impl AsRef<[u8]>) -> Response {
    post_to(server, WRITE, lines).unwrap()
}

fn post_to(server: &Influxdb3, target: &str, lines: impl AsRef<[u8]>) -> Option<Response> {
    write(&server.url(), target, "Bearer right", None, lines)
}

/// The numbers and messages of the lines that an answer refuses.
fn refused(answer: &Response) -> Vec<(u64, String)> {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    assert_eq!(body["error"], "partial write of line protocol occurred");
    let lines = body["data"].as_array().unwrap().iter();
    lines.map(|line| (line["line_number"].as_u64().unwrap(), line["error_message"].as_str().unwrap().to_owned())).collect()
}

/// How many points a measurement has.
fn count(server: &Influxdb3, measurement: &str) -> usize {
    server.points("d").iter().filter(|point| point["measurement"] == measurement).count()
}

#[test]
fn it_answers_and_stores_as_a_real_one_did_case_by_case() {
    let cases: Vec<Case> = read("influxdb3.jsonl");
    for part in ["C1-v3", "C2-v3", "C3", "C5g", "C9", "C11"] {
        let server = start();
        server.token("expired", Right::Expired);
        let cases: Vec<_> = cases.iter().filter(|case| case.part == part).collect();
        assert!(cases.len() > 4, "{part}");
        for case in cases {
            case.play(&server.url(), &[], || {
                if server.deadly_lines().is_empty() { server.points("d") } else { server.damaged_points("d") }
            });
            if let Some(databases) = &case.databases {
                let mut found = server.databases();
                found.push("_internal".to_owned());
                found.sort();
                assert_eq!(&found, databases, "{case:?}");
            }
        }
    }
}

#[test]
fn it_stores_or_refuses_each_character_at_each_place_as_a_real_one_did() {
    for case in read::<Characters>("characters.jsonl") {
        let server = start();
        let (line, name) = (line_with(&case.place, &case.text), format!("{} {:?}", case.place, case.text));
        let answer = post(&server, &line);
        match (&case.stored_3, &case.refused_3) {
            (Some(stored), None) => {
                assert_eq!(answer.status, 204, "{name}: {answer:?}");
                assert_eq!(found_at(&case.place, &server.points("d")), stored, "{name}");
            }
            (None, Some(message)) => {
                assert_eq!((answer.status, refused(&answer)), (400, vec![(1, message.clone())]), "{name}");
                assert_eq!(server.points("d"), Vec::<Value>::new(), "{name}");
            }
            _ => panic!("{name}"),
        }
    }
}

/// `influxdb_line_protocol/src/lib.rs`: `STRING_LENGTH_LIMIT_IN_BYTES`.
#[test]
fn it_refuses_what_is_too_long_and_stores_the_rest() {
    let server = start();
    for (length, bad) in [(65_535, false), (65_536, false), (65_537, true), (1_100_000, true)] {
        let (measurement, text) = (format!("str{length}"), "x".repeat(length));
        let lines = format!("{measurement},i=1 v=1 1\n{measurement},i=2 v=2,s=\"{text}\" 1\n{measurement},i=3 v=3 1");
        let answer = post(&server, lines);
        if bad {
            assert_eq!((answer.status, refused(&answer)), (400, vec![(2, "String is greater than 64KB".to_owned())]));
        }
        assert_eq!(count(&server, &measurement), if bad { 2 } else { 3 }, "{length}");
    }
    let (tag, measurement) = ("y".repeat(70_000), "m".repeat(70_000));
    for line in [format!("long,t={tag} v=1 1"), format!("{measurement} v=1 1")] {
        let answer = post(&server, format!("{line}\nlong,t=good v=1 1"));
        assert_eq!(refused(&answer), [(1, "String is greater than 64KB".to_owned())]);
    }
    server.release(Release::V3_10);
    assert_eq!(post(&server, format!("new s=\"{}\" 1", "x".repeat(1_048_576))).status, 204);
    assert_eq!(refused(&post(&server, format!("new s=\"{}\" 1", "x".repeat(1_048_577))))[0].1, "String is greater than 1MB");
}

/// `influxdb3_catalog/src/error.rs`; <https://docs.influxdata.com/influxdb3/core/admin/databases/>: Core's limits.
#[test]
fn it_refuses_with_422_what_is_over_a_limit_and_stores_the_rest() {
    const COLUMNS: &str = "Update to schema would exceed number of columns per table limit of 500 columns";
    let server = start();
    let fields = |name: char, count: u32| (0..count).map(|n| format!("{name}{n}=1")).collect::<Vec<_>>().join(",");
    let answer = post(&server, format!("col,i=1 v=1 1\ncol,i=2 {} 1\ncol,i=3 v=3 1", fields('f', 600)));
    assert_eq!((answer.status, refused(&answer)), (422, vec![(2, COLUMNS.to_owned())]));
    assert_eq!(count(&server, "col"), 2);

    let mut lines = format!("cox,i=1 {} 0\n", fields('f', 450));
    lines.extend((0..100).map(|n| format!("cox,i=1 g{n}=1 {}\n", n + 1)));
    let answer = post(&server, lines);
    assert_eq!((answer.status, refused(&answer)), (422, (50..=101).map(|line| (line, COLUMNS.to_owned())).collect()));
    assert_eq!(count(&server, "cox"), 49);
    let answer = post(&server, "cox,i=1 z1=1 500\ncox,i=1 f1=1 501");
    assert_eq!((answer.status, refused(&answer)), (422, vec![(1, COLUMNS.to_owned())]));

    let tags = |count: u32| (0..count).map(|n| format!(",t{n}=v")).collect::<String>();
    let answer = post(&server, format!("tags{} v=1 1", tags(300)));
    let message = "Update to schema would exceed number of tag columns per table limit of 256 columns";
    assert_eq!((answer.status, refused(&answer)), (422, vec![(1, message.to_owned())]));
    assert_eq!(post(&server, format!("tags256{} v=1 1", tags(256))).status, 204);

    // All kinds of refusals in one request.
    assert_eq!(post(&server, "x,t=a f=1 1").status, 204);
    let answer = post(&server, format!("x,t=b f=\"s\" 1\nx,t=c f=\nx,t=d {} 1\nx,t=e f=2 1\nx t=\"q\" 1", fields('g', 600)));
    assert_eq!(answer.status, 422);
    assert_eq!(refused(&answer).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3, 5]);
    assert_eq!(count(&server, "x"), 2);
}

#[test]
fn it_refuses_tables_over_its_limit_in_all_databases_together() {
    let server = start();
    server.limits(Limits { databases: 2, tables: 3, columns: 500, tags: 256 });
    assert_eq!(post_to(&server, "/api/v3/write_lp?db=other", "a v=1 1\nb v=1 1").unwrap().status, 204);
    let answer = post(&server, "t1 v=1 1\nx1 v=1 1\nt1 v=2 2");
    let message = "Update to schema would exceed number of tables limit of 3 tables";
    assert_eq!((answer.status, refused(&answer)), (422, vec![(2, message.to_owned())]));
    assert_eq!(count(&server, "t1"), 2);
    let answer = post_to(&server, "/api/v3/write_lp?db=third", "t v=1 1").unwrap();
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (422, r#"{"error":"Adding a new database would exceed limit of 2 databases"}"#)
    );
}

#[test]
fn it_lists_every_bad_line_without_a_limit() {
    let server = start();
    let mut lines: String = (0..2000).map(|n| format!("manybad,i={n} v=abc 1795700318000000000\n")).collect();
    lines.push_str("manybad,i=good v=1 1795700318000000000");
    let answer = post(&server, lines);
    assert_eq!((answer.status, answer.body.len(), refused(&answer).len()), (400, 202_953, 2000));
    assert_eq!(count(&server, "manybad"), 1);
    // A message can hold what stands after the line, however long.
    let answer = post(&server, format!("y v=1 1795701215000000000 {}\ny v=2 1", "z".repeat(1_000_000)));
    assert!(answer.body.len() > 1_000_000);
    assert_eq!(count(&server, "y"), 1);
}

/// `influxdb3_server/src/http.rs`, `read_body`: 3.6.0 has `GzDecoder`, 3.10.1 `MultiGzDecoder`.
#[test]
fn it_reads_the_first_member_of_gzip_only_before_3_10() {
    let server = start();
    let post = |body: &[u8]| write(&server.url(), WRITE, "Bearer right", Some("gzip"), body).unwrap();
    let two = [gzip("z,i=1 v=1 1\n"), gzip("z,i=2 v=1 1\n")].concat();
    assert_eq!(post(&two).status, 204);
    assert_eq!(count(&server, "z"), 1);
    let lines: String = (0..5000).map(|n| format!("gzc,i={n} v={n} 1\n")).collect();
    let whole = gzip(&lines);
    for status in [500, 400] {
        for cut in [&whole[..whole.len() - 2000], &whole[..whole.len() - 8], b"not gzip"] {
            let answer = post(cut);
            assert_eq!((answer.status, answer.body.as_str()), (status, "error decoding gzip stream: unexpected end of file"));
        }
        server.release(Release::V3_10);
    }
    assert_eq!(post(&two).status, 204);
    assert_eq!((count(&server, "z"), count(&server, "gzc")), (2, 0));
}

/// `--max-http-request-size`; 3.0 to 3.9 have no case for it and say 500, `influxdb3_server/src/http.rs`.
#[test]
fn a_body_that_is_too_large_plain_or_inflated_is_500_before_3_10_and_then_413() {
    let server = start();
    let lines = |size: usize| format!("big s=\"{}\" 1\n", "x".repeat(60_000)).repeat(size / 60_000);
    let (large, fits) = (lines(10_600_000), lines(10_400_000));
    for status in [500, 413] {
        for answer in [Some(post(&server, &large)), write(&server.url(), WRITE, "Bearer right", Some("gzip"), gzip(&large))] {
            let answer = answer.unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (status, "max request size (10485760 bytes) exceeded"));
        }
        server.release(Release::V3_10);
    }
    assert_eq!(post(&server, &fits).status, 204);
}

/// `influxdb3_write/src/lib.rs:150` of v3.6.0 cuts the line at byte 20.
#[test]
fn it_closes_the_connection_when_byte_20_of_a_bad_line_is_within_a_character_and_keeps_the_good_ones() {
    let server = start();
    assert_eq!(post(&server, "x,t=a f=1 1").status, 204);
    let lines = "x,t=p1 f=1 1\nx,t=€€€€€€€€€€ f=\"s\" 1\nx,t=p2 f=2 1";
    assert!(post_to(&server, WRITE, lines).is_none());
    assert_eq!(count(&server, "x"), 3);
    assert!(post_to(&server, WHOLE, lines.replace("t=p", "t=q")).is_none());
    assert_eq!(count(&server, "x"), 3);
    server.release(Release::V3_10);
    assert_eq!(refused(&post(&server, lines)).len(), 1);
}

/// Recorded from 3.6.0: such a table cannot be queried any more, later writes hang, and a restart fails.
#[test]
#[should_panic(expected = "the same tag twice in a line has damaged the table for good")]
fn a_line_with_the_same_tag_twice_is_taken_and_shown_to_be_deadly() {
    let server = start();
    assert_eq!(post(&server, "dt,i=1,i=2 a=1 1\ndt,i=3 a=3 1").status, 204);
    assert_eq!(server.deadly_lines(), ["dt,i=1,i=2 a=1 1"]);
    assert_eq!(server.damaged_points("d").len(), 2);
    server.points("d");
}

#[test]
fn the_probe_commits_nothing_and_creates_no_database_and_a_blank_body_does() {
    let server = start();
    let target = |db: &str| format!("/api/v3/write_lp?db={db}&accept_partial=false");
    assert_eq!(post_to(&server, &target("probe"), "not a line").unwrap().status, 400);
    assert_eq!(server.databases(), Vec::<String>::new());
    assert_eq!(post_to(&server, &target("blank"), "\n").unwrap().body, "incoming write was empty");
    assert_eq!(server.databases(), ["blank"]);
    // A good line before the bad one changes nothing either, and neither does a new column.
    assert_eq!(post_to(&server, &target("probe"), "m v=1 1\nnot a line").unwrap().status, 400);
    assert_eq!(server.databases(), ["blank"]);
}

#[test]
fn a_resend_changes_nothing_and_fields_of_one_series_and_time_become_one_point() {
    let server = start();
    for lines in ["m,i=1 a=1,b=2 1", "m,i=1 a=1,b=2 1", "m,i=1 a=9,c=3 1"] {
        assert_eq!(post(&server, lines).status, 204);
    }
    let fields = json!({ "a": 9.0, "b": 2.0, "c": 3.0 });
    assert_eq!(server.points("d"), [json!({ "measurement": "m", "tags": { "i": "1" }, "fields": fields, "time": 1 })]);
}

/// `influxdb3_types/src/write.rs`: `guess_precision`.
#[test]
fn without_a_precision_it_guesses_the_unit_of_each_time_by_its_size() {
    let server = start();
    for time in ["1795700318", "1795700318000", "1795700318000000", "1795700318000000000"] {
        assert_eq!(post_to(&server, "/api/v3/write_lp?db=d", format!("m,t={time} v=1 {time}")).unwrap().status, 204);
    }
    assert!(server.points("d").iter().all(|point| point["time"] == 1_795_700_318_000_000_000_i64));
}

/// <https://docs.influxdata.com/influxdb3/core/query-data/execute-queries/influxdb-v3-api/>; the columns are those of
/// `influxdb3/tests/server/write.rs` of v3.6.0.
#[test]
fn the_types_of_columns_can_be_asked_for() {
    let server = start();
    assert_eq!(post(&server, "m,t=a f=1,n=2i,u=3u,s=\"x\",b=true 1").status, 204);
    let question = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'm'";
    let ask = |db: &str| {
        let body = json!({ "db": db, "q": question, "format": "json" }).to_string();
        ask(&server.url(), "POST", "/api/v3/query_sql", &[("Authorization", "Bearer right")], body.as_bytes()).unwrap()
    };
    let rows: Vec<Value> = serde_json::from_str(&ask("d").body).unwrap();
    let rows: Vec<_> =
        rows.iter().map(|row| (row["column_name"].as_str().unwrap(), row["data_type"].as_str().unwrap())).collect();
    let wanted = [
        ("b", "Boolean"),
        ("f", "Float64"),
        ("n", "Int64"),
        ("s", "Utf8"),
        ("t", "Dictionary(Int32, Utf8)"),
        ("time", "Timestamp(Nanosecond, None)"),
        ("u", "UInt64"),
    ];
    assert_eq!(rows, wanted);
    assert_eq!(ask("nope").status, 404);
    assert_eq!(post(&server, "it's v=1 1\nother v=1 1").status, 204);
    let some = "/api/v3/query_sql?db=d&format=json&q=SELECT%20table_name%2C%20column_name%20FROM%20information_schema.columns%20WHERE%20table_schema%20%3D%20'iox'%20AND%20table_name%20IN%20('it''s'%2C%20'none')";
    let rows: Vec<Value> = serde_json::from_str(&asked(&server, some).body).unwrap();
    let row = |column: &str| json!({ "table_name": "it's", "column_name": column });
    assert_eq!(rows, [row("time"), row("v")]);
    assert_eq!(asked(&server, "/api/v3/query_sql?db=nope&q=SELECT%201").status, 404);
    assert_eq!(server.databases(), ["d"], "a question creates none");
}

#[test]
fn it_creates_lists_and_deletes_databases_and_shows_no_point_before_the_retention() {
    let server = start();
    let ask = |method: &str, target: &str, body: &str| {
        ask(&server.url(), method, target, &[("Authorization", "Bearer right")], body.as_bytes()).unwrap()
    };
    let path = "/api/v3/configure/database";
    assert_eq!(ask("POST", path, r#"{"db": "d", "retention_period": "1h"}"#).status, 200);
    assert_eq!(ask("GET", &format!("{path}?format=json"), "").body, r#"[{"iox::database":"_internal"},{"iox::database":"d"}]"#);
    let now = jiff::Timestamp::now().as_second();
    let lines = format!("m,i=1 v=1 {}\nm,i=2 v=1 {now}", now - 7200);
    assert_eq!(post_to(&server, "/api/v3/write_lp?db=d&precision=s", lines).unwrap().status, 204);
    assert_eq!(count(&server, "m"), 1);
    assert_eq!(ask("DELETE", &format!("{path}?db=d"), "").status, 200);
    assert_eq!(server.databases(), Vec::<String>::new());
    assert_eq!(ask("DELETE", "/health", "").status, 404);
    let ping = ask("GET", "/ping", "");
    assert_eq!((ping.status, ping.header("x-influxdb-version")), (200, Some("3.6.0")));
}

/// 403: `influxdb3_server/src/http.rs` of v3.10.1, `ResourceAuthorization`.
#[test]
fn a_token_can_be_taken_away_or_be_for_reading_only() {
    let server = start();
    server.token("right", Right::Read);
    assert_eq!((post(&server, "m v=1 1").status, post(&server, "m v=1 1").body.as_str()), (403, ""));
    server.remove_token("right");
    assert_eq!((post(&server, "m v=1 1").status, post(&server, "m v=1 1").body.as_str()), (401, ""));
    server.release(Release::V3_10);
    assert_eq!(post(&server, "m v=1 1").body, r#"{"error": "the request was not authenticated"}"#);
    server.token("right", Right::Everything);
    assert_eq!(post(&server, "m v=1 1").status, 204);
}

#[test]
fn its_faults_and_outages_store_what_they_say_and_end() {
    let mut server = start();
    for (fault, status, words) in [
        (Fault::v3_log_fails(), 500, "write buffer error: error from wal: "),
        (Fault::v3_log_is_full(), 500, "wal buffer full"),
        (Fault::v3_is_overloaded(), 429, "this service is overloaded, please try again later"),
    ] {
        server.fault(Some(fault));
        let answer = post(&server, "m,i=1 v=1 1");
        assert_eq!((answer.status, answer.header("retry-after")), (status, None));
        assert!(answer.body.contains(words), "{answer:?}");
    }
    for (fault, stored) in [(Fault::Close, 0), (Fault::CloseAfterwards, 1)] {
        server.fault(Some(fault));
        assert!(post_to(&server, WRITE, "m,i=1 v=1 1").is_none());
        assert_eq!(count(&server, "m"), stored);
    }
    server.fault(None);
    server.flush_takes(Duration::from_millis(200));
    let begin = Instant::now();
    assert_eq!(post(&server, "m,i=2 v=1 1").status, 204);
    assert!(begin.elapsed() >= Duration::from_millis(200));
    server.stop();
    assert!(std::net::TcpStream::connect(server.url().strip_prefix("http://").unwrap()).is_err());
    server.start_again();
    assert_eq!(post_to(&server, &format!("{WRITE}&no_sync=true"), "m,i=3 v=1 1").unwrap().status, 204);
    server.flush_log();
    assert_eq!((count(&server, "m"), server.writes()), (3, 7));
}

#[test]
fn a_full_log_refuses_points_and_neither_a_blank_body_nor_the_probe() {
    let server = start();
    server.fault(Some(Fault::v3_log_is_full()));
    assert_eq!(post(&server, "m v=1 1\nnot a line").status, 500);
    assert_eq!(post(&server, "\n").body, "incoming write was empty");
    assert_eq!(post_to(&server, WHOLE, "not a line").unwrap().status, 400);
    assert_eq!(server.points("d"), Vec::<Value>::new());
}

/// Recorded from 3.6.0: of 5 points with `no_sync` none was there after kill -9, of 15 without it all.
#[test]
fn what_is_written_with_no_sync_is_lost_by_a_kill_and_by_no_orderly_end() {
    let mut server = start();
    assert_eq!(post(&server, "m,i=1 v=1 1").status, 204);
    let no_sync = format!("{WRITE}&no_sync=true");
    assert_eq!(post_to(&server, &no_sync, "m,i=2 v=1 1").unwrap().status, 204);
    server.kill();
    server.start_again();
    assert_eq!(count(&server, "m"), 1);
    assert_eq!(post_to(&server, &no_sync, "m,i=3 v=1 1").unwrap().status, 204);
    server.stop();
    server.start_again();
    assert_eq!(count(&server, "m"), 2);
}
