//! Every message a real client queued gives the points the Python agent stored; every hostile one what it deserves.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::support::{
    between::{Between, Server},
    influxdb3::Limits,
    pipeline::{DATABASE, Left, PATIENCE, Pipeline},
    redis_server::RedisServer,
};

pub(crate) fn data(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect()
}

/// A point so that two are equal when InfluxDB stores the same: it writes the float 1 as `1`.
pub(crate) fn comparable(point: &Value) -> String {
    let fields: BTreeMap<&String, Value> = point["fields"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name, value.as_f64().map_or_else(|| value.clone(), |number| json!(number))))
        .collect();
    let tags: BTreeMap<&String, &Value> = point["tags"].as_object().unwrap().iter().collect();
    json!([point["measurement"], tags, fields, point["time"]]).to_string()
}

pub(crate) fn sorted(points: &[Value]) -> Vec<String> {
    let mut points: Vec<_> = points.iter().map(comparable).collect();
    points.sort();
    points
}

pub(crate) fn assert_same(ours: &[String], wanted: &[String]) {
    let missing: Vec<_> = wanted.iter().filter(|point| !ours.contains(point)).take(3).collect();
    let extra: Vec<_> = ours.iter().filter(|point| !wanted.contains(point)).take(3).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:#?}, but there are {extra:#?}");
    assert_eq!(ours.len(), wanted.len());
}

#[test]
fn every_message_of_a_real_client_gives_exactly_the_points_that_the_python_agent_stored() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().env("KADABRA_PUBLISHER__INFLUXDB__UNIQUE_TIMESTAMPS", "false").start();
    for message in data("valid.jsonl") {
        pipeline.push(message.as_bytes());
    }
    pipeline.wait_left(&Left::NOTHING);
    let wanted: Vec<Value> = data("valid.points.jsonl").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_same(&sorted(&pipeline.influxd.points(DATABASE)), &sorted(&wanted));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn the_offset_below_a_microsecond_changes_nothing_else_and_is_the_same_each_time() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().env("KADABRA_PUBLISHER__INFLUXDB__GZIP", "true").start();
    // Twice the same bytes: what a retry sends.
    for _ in 0..2 {
        for message in data("valid.jsonl") {
            pipeline.push(message.as_bytes());
        }
        pipeline.wait_left(&Left::NOTHING);
    }
    let mut ours = pipeline.influxd.points(DATABASE);
    assert!(ours.iter().any(|point| point["time"].as_i64().unwrap() % 1000 != 0), "there are offsets");
    for point in &mut ours {
        let time = point["time"].as_i64().unwrap();
        point["time"] = json!(time - time.rem_euclid(1000));
    }
    let wanted: Vec<Value> = data("valid.points.jsonl").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_same(&sorted(&ours), &sorted(&wanted));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// A hostile message, and what is expected of it.
struct Hostile {
    name: String,
    payload: Vec<u8>,
    /// Whether it becomes a dead letter.
    is_parked: bool,
    /// Whether nothing of it can be read.
    is_whole: bool,
    points: usize,
}

fn hostile() -> Vec<Hostile> {
    let case = |line: String| {
        let case: Value = serde_json::from_str(&line).unwrap();
        let expect = case["expect"].as_str().unwrap();
        Hostile {
            name: case["case"].as_str().unwrap().to_owned(),
            payload: BASE64_STANDARD.decode(case["payload_base64"].as_str().unwrap()).unwrap(),
            is_parked: expect.contains("parked") && !expect.contains("not parked") && !expect.contains("or parked"),
            is_whole: expect.starts_with("whole message"),
            points: usize::try_from(case["points_written"].as_u64().unwrap()).unwrap(),
        }
    };
    data("invalid.jsonl").into_iter().map(case).collect()
}

/// What a case promises of its dead letter. Returns the reason.
fn check_letter(redis: &RedisServer, case: &Hostile) -> String {
    let letter = redis.dead_letters().remove(0);
    assert_eq!(letter["payload"], case.payload, "{}: the original bytes", case.name);
    let reason = String::from_utf8_lossy(&letter["reason"]).into_owned();
    assert!(!reason.is_empty(), "{}", case.name);
    let refused: Vec<Value> = serde_json::from_slice(&letter["refused"]).unwrap();
    assert_eq!(refused.is_empty(), case.is_whole, "{}: {refused:?}", case.name);
    reason
}

#[test]
fn every_hostile_message_gets_what_it_deserves() {
    every_hostile_message_is_stored_or_set_aside(&Between::v1());
}

#[test]
fn every_hostile_message_gets_what_it_deserves_from_influxdb_2() {
    every_hostile_message_is_stored_or_set_aside(&Between::v2());
}

#[test]
fn every_hostile_message_gets_what_it_deserves_from_influxdb_3() {
    let between = Between::v3();
    let Server::V3(server) = &between.server else { unreachable!() };
    server.limits(Limits { databases: 50, tables: 2000, columns: 500, tags: 256 });
    every_hostile_message_is_stored_or_set_aside(&between);
}

/// Each in a database or bucket of its own.
fn every_hostile_message_is_stored_or_set_aside(between: &Between) {
    for (number, case) in hostile().iter().enumerate() {
        let name = &case.name;
        let place = format!("case{number}");
        let key = if matches!(between.server, Server::V2(_)) { "BUCKET" } else { "DATABASE" };
        match &between.server {
            Server::V1(server) => server.create_database(&place),
            Server::V2(server) => server.create_bucket(&place, Duration::ZERO),
            Server::V3(_) | Server::VictoriaMetrics(_) => {}
        }
        let mut agent = between.agent().env(&between.key(key), &place).start();
        between.push([case.payload.clone()]);
        between.wait_left(&Left { dead: u64::from(case.is_parked), ..Left::NOTHING });
        let points = match &between.server {
            Server::V1(server) => server.points(&place),
            Server::V2(server) => server.points(&place),
            Server::V3(server) => server.points(&place),
            Server::VictoriaMetrics(_) => unreachable!("it has no databases"),
        };
        assert_eq!(points.len(), case.points, "{name}: {points:#?}");
        check(name, &points);
        if case.is_parked {
            let reason = check_letter(&between.redis, case);
            if name == "dimension called time" {
                assert!(reason.contains("InfluxDB refused it: 400 "), "{reason}");
            }
        }
        assert_eq!(agent.terminate(PATIENCE), Some(0), "{name}");
        let _: () = redis::cmd("FLUSHALL").query(&mut between.redis.connection()).unwrap();
    }
}

/// Each with a label of its own. What differs from InfluxDB is what docs/destinations.md says.
#[test]
fn every_hostile_message_gets_what_it_deserves_from_victoriametrics() {
    let between = Between::victoriametrics();
    let Server::VictoriaMetrics(server) = &between.server else { unreachable!() };
    for (number, mut case) in hostile().into_iter().enumerate() {
        let samples = match case.name.as_str() {
            // It stores numbers only, and here says so.
            "metadata nested object" | "newline and quotes in a string field" => {
                case.is_parked = true;
                case.points
            }
            // The value, an integer, a float and a boolean.
            "metadata scalars" => {
                case.is_parked = true;
                4
            }
            "dimension called time" => {
                case.is_parked = false;
                1
            }
            _ => case.points,
        };
        let name = &case.name;
        let agent = between.agent().env(&between.key("TEXT_METADATA"), "park");
        let mut agent = agent.env(&between.key("EXTRA_LABELS"), format!("case={number}")).start();
        between.push([case.payload.clone()]);
        between.wait_left(&Left { dead: u64::from(case.is_parked), ..Left::NOTHING });
        let stored = server.samples(&format!("{{case=\"{number}\"}}"));
        assert_eq!(stored.len(), samples, "{name}: {stored:#?}");
        check_samples(name, &stored);
        if case.is_parked {
            let reason = check_letter(&between.redis, &case);
            let is_of_text = name.starts_with("metadata nested") || name.starts_with("metadata scalars");
            assert_eq!(reason.contains("numbers only"), is_of_text || name.contains("string field"), "{name}: {reason}");
        }
        assert_eq!(agent.terminate(PATIENCE), Some(0), "{name}");
        let _: () = redis::cmd("FLUSHALL").query(&mut between.redis.connection()).unwrap();
    }
}

/// What a case promises of the samples that are written.
fn check_samples(name: &str, samples: &[Value]) {
    let of = |series: &str| samples.iter().find(|sample| sample["metric"]["__name__"] == series).unwrap();
    let label = |label: &str| &samples[0]["metric"][label];
    match name {
        "value is an integer" => assert_eq!(of("int_value")["value"], 3),
        "metadata scalars" => {
            let values = ["scalars_value", "scalars_i", "scalars_f", "scalars_b"].map(|series| of(series)["value"].as_f64());
            assert_eq!(values, [Some(1.0), Some(7.0), Some(1.5), Some(1.0)]);
        }
        "newline in a tag value" => assert_eq!(label("d"), r"a\nb=1 c=2 3"),
        "trailing backslash in a tag value" => assert_eq!(label("d"), r"C:\"),
        "backslash inside a tag value" => assert_eq!(label("d"), r"C:\x"),
        "empty tag value" => assert!(label("d").is_null()),
        "duplicate dimension" => assert_eq!(label("d"), "2"),
        "dimension called time" => assert_eq!(label("time"), "x"),
        "metric name begins with #" => assert_eq!(label("__name__"), r"\#hash_value"),
        _ => {}
    }
}

/// What a case promises of the points that are written.
fn check(name: &str, points: &[Value]) {
    let field = |field: &str| &points[0]["fields"][field];
    let tag = |tag: &str| &points[0]["tags"][tag];
    match name {
        "value is an integer" => assert_eq!(field("value").as_f64(), Some(3.0)),
        "metadata nested object" => {
            let nested = points.iter().find(|point| point["measurement"] == "nested").unwrap();
            assert_eq!(nested["fields"]["a"], r#"{"b": 1}"#);
        }
        "metadata scalars" => {
            assert_eq!((field("i").as_i64(), field("f").as_f64(), field("b").as_bool()), (Some(7), Some(1.5), Some(true)));
            assert_eq!((field("s").as_str(), field("none").is_null()), (Some("x"), true));
        }
        "newline in a tag value" => assert_eq!(tag("d"), r"a\nb=1 c=2 3"),
        "backslash inside a tag value" => assert_eq!(tag("d"), r"C:\x"),
        "newline and quotes in a string field" => assert_eq!(field("q"), "a\nb \"c\" \\d"),
        "empty tag value" => assert_eq!(points[0]["tags"], json!({})),
        "duplicate dimension" => assert_eq!(tag("d"), "2"),
        "metric name begins with #" => assert_eq!(points[0]["measurement"], r"\#hash"),
        _ => {}
    }
}
