//! What the publisher to VictoriaMetrics has to live with, shown on Debian's 1.79.5: which answers are no receipt, and what a retry does.
//! <https://docs.victoriametrics.com/victoriametrics/integrations/influxdb/>

use std::{io::Write as _, net::TcpStream, time::Duration};

use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{
    http_server::ask,
    pipeline::PATIENCE,
    process::wait_for,
    victoriametrics::{VictoriaMetrics, basic},
};

const WRITE: &str = "/write?db=d&precision=ns";

/// A second of the last minute, so that every default range of time has it.
fn seconds() -> i64 {
    Timestamp::now().as_second() - 60
}

/// The time of a line, so many nanoseconds after such a second.
fn at(second: i64, nanos: i64) -> i64 {
    second * 1_000_000_000 + nanos
}

/// Names, values and times in milliseconds.
fn brief(samples: &[Value]) -> Vec<(String, f64, i64)> {
    samples
        .iter()
        .map(|sample| {
            let name = sample["metric"]["__name__"].as_str().unwrap().to_owned();
            (name, sample["value"].as_f64().unwrap(), sample["time"].as_i64().unwrap())
        })
        .collect()
}

#[test]
fn a_field_is_a_metric_of_measurement_and_field_with_the_database_and_the_tags_as_labels() {
    let (server, second) = (VictoriaMetrics::start(), seconds());
    let line = format!("m,host=a value=1,n=2i,b=true,s=\"text\" {}", at(second, 123_456_789));
    assert_eq!(server.write(WRITE, &line).status, 204);
    let sample = |name: &str, value: f64| json!({ "metric": { "__name__": name, "db": "d", "host": "a" }, "value": value, "time": second * 1000 + 123 });
    let samples = server.samples(r#"{__name__=~"m_.*"}"#);
    let brief: Vec<_> = brief(&samples).into_iter().map(|(name, value, _)| sample(&name, value)).collect();
    // A string is stored as 0, and a time keeps its milliseconds only.
    assert_eq!(brief, [sample("m_b", 1.0), sample("m_n", 2.0), sample("m_s", 0.0), sample("m_value", 1.0)]);
    for (brief, sample) in brief.iter().zip(&samples) {
        assert_eq!((&brief["metric"], &brief["time"]), (&sample["metric"], &sample["time"]));
    }
    assert_eq!(server.query("sum(m_value)", second + 1)[0]["value"][1], "1");
}

#[test]
fn a_line_that_a_reset_has_cut_is_taken_for_a_whole_one_and_not_one_that_an_end_in_order_has_cut() {
    let server = VictoriaMetrics::start();
    let cuts = [("value", "value=123"), ("time", "value=12345 177236640")];
    for end in ["reset", "ended"] {
        for (cut, rest) in cuts {
            let mut client = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
            let lines = format!("whole,end={end},cut={cut} value=1 1772366400000\ncut,end={end},cut={cut} {rest}");
            let head = "POST /write?precision=ms HTTP/1.1\r\nHost: v\r\nContent-Length: 1000\r\n\r\n";
            client.write_all([head, &lines].concat().as_bytes()).unwrap();
            if end == "reset" {
                socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
    }
    let samples = |name: &str, end: &str, cut: &str| {
        let samples = server.samples(&format!("{{__name__=\"{name}_value\",end=\"{end}\",cut=\"{cut}\"}}"));
        brief(&samples).into_iter().map(|(_, value, time)| (value, time)).collect::<Vec<_>>()
    };
    let all = [("cut", "reset", "value"), ("cut", "reset", "time"), ("whole", "ended", "value"), ("whole", "ended", "time")];
    wait_for("lines", PATIENCE, || all.iter().all(|(name, end, cut)| !samples(name, end, cut).is_empty()).then_some(()));
    let [value, time] = ["value", "time"].map(|cut| samples("cut", "reset", cut));
    assert!(value.len() == 1 && value[0].0 == 123.0 && value[0].1 > 1_772_366_400_000, "{value:?}");
    assert_eq!(time, [(12345.0, 177_236_640)]);
    assert_eq!(["value", "time"].map(|cut| samples("cut", "ended", cut)), [vec![], vec![]]);
}

#[test]
fn both_write_paths_take_lines_and_only_the_parameter_db_becomes_a_label() {
    let (server, time) = (VictoriaMetrics::start(), at(seconds(), 0));
    for (target, database) in [
        ("/write?db=d&precision=ns", Some("d")),
        ("/influx/write?db=d&precision=ns", Some("d")),
        ("/api/v2/write?org=o&bucket=b&precision=ns", None),
        ("/influx/api/v2/write?org=o&db=d&precision=ns", Some("d")),
    ] {
        let name = target.split('?').next().unwrap().replace('/', "");
        assert_eq!(server.write(target, &format!("{name} value=1 {time}")).status, 204, "{target}");
        let samples = server.samples(&format!("{name}_value"));
        assert_eq!((samples.len(), samples[0]["metric"]["db"].as_str()), (1, database), "{target}");
    }
    let unknown = server.write("/api/v3/write_lp?db=d", "m value=1");
    assert_eq!(unknown.status, 400);
    assert!(unknown.body.contains("unsupported path requested: \"/api/v3/write_lp\""), "{}", unknown.body);
}

#[test]
fn what_is_sent_again_is_stored_again_and_all_samples_of_a_millisecond_are_kept() {
    let (server, second) = (VictoriaMetrics::start(), seconds());
    let lines: String = (0..400).map(|n| format!("c value=1 {}\n", at(second, n * 250_000))).collect();
    for stored in [400, 800] {
        assert_eq!(server.write(WRITE, &lines).status, 204);
        assert_eq!(server.samples("c_value").len(), stored);
    }
}

#[test]
fn with_deduplication_one_sample_of_a_millisecond_is_left_and_a_resend_changes_nothing() {
    let server = VictoriaMetrics::with(&["-retentionPeriod=100y", "-dedup.minScrapeInterval=1ms"]);
    let second = seconds();
    let lines: String = (0..400).map(|n| format!("c value=1 {}\n", at(second, n * 250_000))).collect();
    for _ in 0..2 {
        assert_eq!(server.write(WRITE, &lines).status, 204);
        assert_eq!(server.samples("c_value").len(), 100);
    }
}

#[test]
fn what_cannot_be_stored_is_dropped_or_changed_without_a_word() {
    let (server, second) = (VictoriaMetrics::with(&["-retentionPeriod=1d"]), seconds());
    let time = at(second, 0);
    let (old, ahead) = (at(second - 3 * 86_400, 0), at(second + 3 * 86_400, 0));
    for (name, line, stored) in [
        ("a line that is none", "this is not a line".to_owned(), None),
        ("no fields", format!("m,a=b {time}"), None),
        ("NaN", format!("m value=NaN {time}"), None),
        ("before the retention", format!("m value=1 {old}"), None),
        ("three days ahead", format!("m value=1 {ahead}"), None),
        ("a newline in a string", format!("m s=\"a\nb\" {time}"), None),
        ("what is no number", format!("m value=abc {time}"), Some(0.0)),
        ("a string", format!("m value=\"7\" {time}"), Some(7.0)),
    ] {
        let name_of_metric = name.replace(' ', "_");
        let line = line.replacen('m', &name_of_metric, 1);
        assert_eq!(server.write(WRITE, &line).status, 204, "{name}");
        let samples = server.samples(&format!("{{__name__=~\"{name_of_metric}_.*\"}}"));
        assert_eq!(brief(&samples).first().map(|(_, value, _)| *value), stored, "{name}: {samples:?}");
    }
    let tags: String = (0..31).map(|n| format!(",t{n:02}=v")).collect();
    assert_eq!(server.write(WRITE, &format!("many{tags} value=1 {time}")).status, 204);
    let labels = server.samples("many_value")[0]["metric"].clone();
    // The name is one of 31 labels; what is cut off begins with the database.
    assert_eq!((labels.as_object().unwrap().len(), labels["db"].is_null()), (31, true), "{labels}");
}

#[test]
fn a_time_is_read_in_the_unit_that_is_sent_for_all_units_that_influxdb_knows() {
    let (server, second) = (VictoriaMetrics::start(), seconds());
    for (unit, per_second) in [("ns", 1_000_000_000), ("us", 1_000_000), ("u", 1_000_000), ("ms", 1000), ("s", 1)] {
        let target = format!("/write?precision={unit}");
        assert_eq!(server.write(&target, &format!("{unit} value=1 {}", second * per_second)).status, 204);
        let stored = brief(&server.samples(&format!("{unit}_value")));
        assert_eq!(stored, [(format!("{unit}_value"), 1.0, second * 1000)], "{unit}");
    }
}

#[test]
fn a_blank_body_is_answered_as_a_write_is_and_so_is_a_wrong_login() {
    let server = VictoriaMetrics::with_login("me", "secret");
    let login = basic("me", "secret");
    let asked = |method: &str, target: &str, login: Option<&str>| {
        let headers: Vec<_> = login.iter().map(|login| ("Authorization", *login)).collect();
        let answer = ask(&server.url(), method, target, &headers, b"\n").unwrap();
        (answer.status, answer.body)
    };
    assert_eq!(asked("POST", WRITE, Some(&login)), (204, String::new()));
    for wrong in [None, Some(basic("me", "wrong")), Some("Token secret".to_owned()), Some("Bearer secret".to_owned())] {
        assert_eq!(asked("POST", WRITE, wrong.as_deref()), (401, "\n".to_owned()), "{wrong:?}");
    }
    assert_eq!(asked("POST", "/write?db=d&u=me&p=secret", None), (401, "\n".to_owned()));
    // What tells that it lives wants no login, but for /ready.
    assert_eq!(asked("GET", "/health", None), (200, "OK".to_owned()));
    assert_eq!(asked("GET", "/-/ready", None).0, 200);
    assert_eq!(asked("GET", "/ping", None).0, 204);
    assert_eq!(asked("GET", "/ready", None).0, 401);
}

#[test]
fn gzip_is_read_and_what_is_no_gzip_is_refused() {
    let (server, time) = (VictoriaMetrics::start(), at(seconds(), 0));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(format!("z value=1 {time}").as_bytes()).unwrap();
    let headers = [("Content-Encoding", "gzip")];
    assert_eq!(ask(&server.url(), "POST", WRITE, &headers, &gzip.finish().unwrap()).unwrap().status, 204);
    assert_eq!(server.samples("z_value").len(), 1);
    let refused = ask(&server.url(), "POST", WRITE, &headers, b"not gzip at all").unwrap();
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("cannot read gzipped influx line protocol data: gzip: invalid header"), "{}", refused.body);
}

#[test]
fn a_204_is_no_receipt_what_was_written_a_moment_ago_is_gone_after_kill_9_and_not_after_sigterm() {
    let (mut server, time) = (VictoriaMetrics::start(), at(seconds(), 0));
    assert_eq!(server.write(WRITE, &format!("killed value=1 {time}")).status, 204);
    server.kill();
    server.start_again();
    assert_eq!(server.samples("killed_value"), Vec::<Value>::new());
    assert_eq!(server.write(WRITE, &format!("ended value=1 {time}")).status, 204);
    server.terminate();
    server.start_again();
    assert_eq!(server.samples("ended_value").len(), 1);
}
