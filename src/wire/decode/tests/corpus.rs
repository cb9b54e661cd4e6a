use base64::Engine as _;

use super::*;

const VALID_POINTS: &str = include_str!("../../../../tests/data/valid.points.jsonl");
const INVALID: &str = include_str!("../../../../tests/data/invalid.jsonl");

#[test]
fn what_real_clients_queued_becomes_what_the_python_agent_stored() {
    let mut decoder = Decoder::new();
    let mut set = MessageSet::new();
    for message in VALID.lines() {
        assert_eq!(decoder.decode(message.as_bytes(), &mut set), [], "{message}");
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
            assert!(!refusal.reason.is_empty() && !refusal.reason.ends_with('.'), "{refusal:?}");
        }
    }
}
