use serde_json::Value;

use super::*;
use crate::wire::{Decoder, MessageSet};

/// What went into messages, and the texts that Kadabra 0.5.0's own classes made of it.
const CLIENT: &str = include_str!("../../../tests/data/client.jsonl");

fn at(micros: &Value) -> SystemTime {
    let micros = micros.as_i64().unwrap();
    let distance = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn metadata(value: &Value) -> Metadata {
    value.as_array().unwrap().iter().map(|entry| (text(&entry[0]).to_owned(), text(&entry[1]).to_owned())).collect()
}

#[test]
fn the_text_is_the_python_clients_character_for_character() {
    for line in CLIENT.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let mut message = OutgoingMessage::new();
        for dimension in case["dimensions"].as_array().unwrap() {
            message.dimension(text(&dimension[0]), text(&dimension[1]));
        }
        for counter in case["counters"].as_array().unwrap() {
            message.counter(text(&counter[0]), counter[1].as_f64().unwrap(), at(&counter[2]), metadata(&counter[3])).unwrap();
        }
        for timer in case["timers"].as_array().unwrap() {
            let took = Duration::from_micros(timer[1].as_u64().unwrap());
            let unit = Unit::new(text(&timer[2]).to_owned(), timer[3].as_f64().unwrap());
            message.timer(text(&timer[0]), took, unit, at(&timer[4]), metadata(&timer[5])).unwrap();
        }
        let written = message.to_json(at(&case["serialized_at"])).unwrap();
        assert_eq!(written, text(&case["text"]));

        let mut set = MessageSet::new();
        assert_eq!(Decoder::new().decode(written.as_bytes(), &mut set), []);
        assert_eq!(set.point_count(), case["counters"].as_array().unwrap().len() + case["timers"].as_array().unwrap().len());
    }
}

#[test]
fn what_the_agent_would_refuse_is_refused_at_once() {
    let mut message = OutgoingMessage::new();
    let sentence = |result: Result<&mut OutgoingMessage, MessageError>| result.unwrap_err().to_string();
    let now = UNIX_EPOCH;
    assert_eq!(sentence(message.counter("", 1.0, now, vec![])), "a metric needs a name");
    assert_eq!(sentence(message.counter("c", f64::NAN, now, vec![])), "the value of \"c\" is NaN, which is not a finite number");
    let endless = Unit::new("endless", f64::MAX);
    assert!(message.timer("t", Duration::from_secs(1000), endless, now, vec![]).is_err());
    for seconds in [9_223_372_037, 300_000_000_000] {
        assert!(message.counter("c", 1.0, now + Duration::from_secs(seconds), vec![]).is_err());
        assert!(message.counter("c", 1.0, now - Duration::from_secs(seconds), vec![]).is_err());
    }
    assert!(message.is_empty());
}

#[test]
fn a_name_set_twice_keeps_its_place_and_takes_the_new_value() {
    let mut message = OutgoingMessage::new();
    message.dimension("a", "1").dimension("b", "2").dimension("a", "3");
    let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    message.counter("c", 1.0, UNIX_EPOCH, vec![entry("k", "1"), entry("l", "2"), entry("k", "3")]).unwrap();
    let text = message.to_json(UNIX_EPOCH).unwrap();
    assert!(text.contains(r#"[{"name": "a", "value": "3"}, {"name": "b", "value": "2"}]"#), "{text}");
    assert!(text.contains(r#""metadata": {"k": "3", "l": "2"}"#), "{text}");
}

#[test]
fn units_have_kadabras_names_and_offsets() {
    for (name, seconds_offset) in [("seconds", 1.0), ("milliseconds", 1000.0), ("microseconds", 1e6)] {
        let unit = Unit::named(name).unwrap();
        assert_eq!((unit.name(), unit.seconds_offset()), (name, seconds_offset));
    }
    assert_eq!(Unit::named("fortnights"), None);
}

#[test]
fn a_duration_is_rounded_to_microseconds() {
    let mut message = OutgoingMessage::new();
    message.timer("t", Duration::from_nanos(1500), Unit::MICROSECONDS, UNIX_EPOCH, vec![]).unwrap();
    assert!(message.to_json(UNIX_EPOCH).unwrap().contains("\"value\": 2.0"));
}
