//! Every message a real client queued gives the points the Python agent stored; every hostile one what it deserves.

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::support::pipeline::{DATABASE, Left, PATIENCE, Pipeline};

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

#[test]
fn every_hostile_message_gets_what_it_deserves() {
    let pipeline = Pipeline::start();
    for (number, line) in data("invalid.jsonl").iter().enumerate() {
        let case: Value = serde_json::from_str(line).unwrap();
        let name = case["case"].as_str().unwrap();
        let expect = case["expect"].as_str().unwrap();
        let payload = BASE64_STANDARD.decode(case["payload_base64"].as_str().unwrap()).unwrap();
        let database = format!("case{number}");
        pipeline.influxd.create_database(&database);
        let mut agent = pipeline.agent().env("KADABRA_PUBLISHER__INFLUXDB__DATABASE", &database).start();

        pipeline.push(&payload);
        let parked = expect.contains("parked") && !expect.contains("not parked") && !expect.contains("or parked");
        pipeline.wait_left(&Left { dead: u64::from(parked), ..Left::NOTHING });

        let points = pipeline.influxd.points(&database);
        let wanted = case["points_written"].as_u64().unwrap();
        assert_eq!(points.len() as u64, wanted, "{name}: {points:#?}");
        check(name, &points);
        if parked {
            let letter = pipeline.dead_letters().remove(0);
            assert_eq!(letter["payload"], payload, "{name}: the original bytes");
            let reason = String::from_utf8_lossy(&letter["reason"]).into_owned();
            assert!(!reason.is_empty(), "{name}");
            let refused: Vec<Value> = serde_json::from_slice(&letter["refused"]).unwrap();
            assert_eq!(refused.is_empty(), expect.starts_with("whole message"), "{name}: {refused:?}");
            if name == "dimension called time" {
                assert!(reason.contains("InfluxDB refused it"), "{reason}");
            }
        }
        assert_eq!(agent.terminate(PATIENCE), Some(0), "{name}");
        let _: () = redis::cmd("FLUSHALL").query(&mut pipeline.redis.connection()).unwrap();
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
