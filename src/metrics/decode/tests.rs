use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Value, json};

use super::*;
use crate::metrics::{Kind, Message, Point, Scalar};

const VALID: &str = include_str!("../../../tests/data/valid.jsonl");
const VALID_POINTS: &str = include_str!("../../../tests/data/valid.points.jsonl");
const INVALID: &str = include_str!("../../../tests/data/invalid.jsonl");

/// Decodes one message into a set of its own.
fn decode(payload: impl AsRef<[u8]>) -> (MessageSet, Vec<Refusal>) {
    let mut set = MessageSet::new();
    let refusals = Decoder::new().decode(payload.as_ref(), false, &mut set);
    assert_eq!(set.len(), 1);
    (set, refusals)
}

/// Why nothing of a message was accepted.
fn refused_whole(payload: impl AsRef<[u8]>) -> String {
    let (set, refusals) = decode(payload);
    assert!(set.text.is_empty() && set.dimensions.is_empty() && set.fields.is_empty() && set.points.is_empty());
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(refusals[0].metric, None);
    refusals[0].reason.clone()
}

/// A message of these counters and of one good counter behind them.
fn with_counters(counters: &str) -> String {
    format!(
        r#"{{"dimensions": [], "counters": [{counters}, {{"name": "good", "metadata": {{}}, "timestamp": "1970", "value": 1}}],
        "timers": [], "timestamp_format": "%Y"}}"#
    )
}

/// Why the one counter was refused, while the good one beside it was not.
fn refused(counter: &str) -> String {
    let (set, refusals) = decode(with_counters(counter));
    assert_eq!(refusals.len(), 1, "{counter}: {refusals:?}");
    assert!(refusals[0].metric.is_some());
    assert_eq!(names(&set), ["good"]);
    assert_eq!(set.text, "good", "something of a refused metric stayed");
    assert!(set.fields.is_empty());
    refusals[0].reason.clone()
}

fn counter(metadata: &str) -> String {
    format!(r#"{{"name": "c", "metadata": {metadata}, "timestamp": "1970", "value": 1.0}}"#)
}

/// The fields of a counter with this metadata.
fn fields_of(metadata: &str) -> Value {
    let (set, refusals) = decode(with_counters(&counter(metadata)));
    assert_eq!(refusals, []);
    let message = set.messages().next().unwrap();
    point_json(&set, message, &message.points()[0])["fields"].clone()
}

/// The tags of a message with these dimensions.
fn tags_of(dimensions: &str) -> Value {
    let payload = with_counters(&counter("{}")).replace(r#""dimensions": []"#, &format!(r#""dimensions": {dimensions}"#));
    let (set, refusals) = decode(payload);
    assert_eq!(refusals, []);
    let message = set.messages().next().unwrap();
    point_json(&set, message, &message.points()[0])["tags"].clone()
}

fn names(set: &MessageSet) -> Vec<&str> {
    set.messages().flat_map(|message| message.points().iter().map(|point| set.text(point.name))).collect()
}

/// A point as the reference's points are written down: dimensions of which the last counts, empty ones left out.
fn point_json(set: &MessageSet, message: Message<'_>, point: &Point) -> Value {
    let mut tags = BTreeMap::new();
    for dimension in message.dimensions() {
        tags.insert(set.text(dimension.name), set.text(dimension.value));
    }
    tags.retain(|_, value| !value.is_empty());
    let mut fields = BTreeMap::from([("value", json!(point.value))]);
    for field in set.fields(point) {
        let value = match field.value {
            Scalar::Text(text) => json!(set.text(text)),
            Scalar::Int(value) => json!(value),
            Scalar::Float(value) => json!(value),
            Scalar::Bool(value) => json!(value),
        };
        assert_eq!(fields.insert(set.text(field.name), value), None, "a field came twice");
    }
    if let Kind::Timer { unit } = point.kind {
        assert_eq!(fields.insert("unit", json!(set.text(unit))), None);
    }
    json!({"measurement": set.text(point.name), "tags": tags, "time": point.time, "fields": fields})
}

#[test]
fn what_real_clients_queued_becomes_what_the_python_agent_stored() {
    let mut decoder = Decoder::new();
    let mut set = MessageSet::new();
    for message in VALID.lines() {
        assert_eq!(decoder.decode(message.as_bytes(), false, &mut set), [], "{message}");
    }
    // Numbers as bits: 1 and 1.0 are the same value, 0.1 and the float after it are not.
    let key = |point: &Value| {
        let mut point = point.clone();
        let value = &mut point["fields"]["value"];
        *value = json!(value.as_f64().unwrap().to_bits());
        point.to_string()
    };
    let mut expected: Vec<_> = VALID_POINTS.lines().map(|line| key(&serde_json::from_str(line).unwrap())).collect();
    let mut decoded: Vec<_> = set
        .messages()
        .flat_map(|message| message.points().iter().map(|point| key(&point_json(&set, message, point))).collect::<Vec<_>>())
        .collect();
    expected.sort();
    decoded.sort();
    assert_eq!(decoded.len(), 606);
    assert_eq!(decoded, expected);
}

#[test]
fn what_is_hostile_is_refused_and_nothing_beside_it() {
    for line in INVALID.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let name = case["case"].as_str().unwrap();
        let payload = base64::engine::general_purpose::STANDARD.decode(case["payload_base64"].as_str().unwrap()).unwrap();
        let (set, refusals) = decode(&payload);
        let points = match name {
            // A matter between the publisher and InfluxDB.
            "dimension called time" => 1,
            _ => case["points_written"].as_u64().unwrap() as usize,
        };
        assert_eq!(set.point_count(), points, "{name}");
        let expect = case["expect"].as_str().unwrap();
        if expect.starts_with("whole message parked") {
            assert_eq!(refusals.len(), 1, "{name}");
            assert_eq!(refusals[0].metric, None, "{name}");
        } else {
            let parked = match name {
                "python Infinity literal" => 2,
                _ => usize::from(expect.starts_with("good written;")),
            };
            assert_eq!(refusals.len(), parked, "{name}: {refusals:?}");
            assert!(refusals.iter().all(|refusal| refusal.metric.is_some()), "{name}");
        }
        for refusal in refusals {
            println!("{name}: {:?}: {}", refusal.metric, refusal.reason);
            assert!(!refusal.reason.is_empty() && !refusal.reason.ends_with('.'), "{refusal:?}");
        }
    }
}
