use serde_json::{Value, json};

use super::*;
use crate::{
    config::Secret,
    publisher::{Refused, line::Encode},
    wire::Decoder,
};

fn config() -> Config {
    Config {
        url: "http://localhost:8428".to_owned(),
        tenant: None,
        username: None,
        password: None,
        token: None::<Secret>,
        tls: crate::config::Tls::default(),
        proxy: None,
        extra_labels: None,
        text_metadata: TextMetadata::Park,
        max_labels: 5,
        unique_timestamps: true,
        timeout: Duration::from_secs(5),
        gzip: false,
    }
}

fn counter(name: &str, time: &str, metadata: Value) -> Value {
    json!({ "name": name, "metadata": metadata, "timestamp": time, "value": 2.0 })
}

const TIME: &str = "2026-03-01T12:00:00.000999Z";

fn message(dimensions: &[(&str, &str)], counters: Vec<Value>) -> Value {
    let dimensions: Vec<Value> = dimensions.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    json!({ "dimensions": dimensions, "counters": counters, "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ" })
}

/// The lines of messages, and what was refused.
fn encode(config: &Config, messages: &[Value]) -> (String, Vec<Refused>) {
    let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
    for message in messages {
        assert_eq!(decoder.decode(message.to_string().as_bytes(), &mut set), []);
    }
    let mut lines = crate::publisher::line::Lines::default();
    assert_eq!(Samples::new(config, Times::default()).encode(&set, Place::default(), &mut lines), None);
    let refused = lines.take_refused().into_iter().map(|(_, refused)| refused).collect();
    (String::from_utf8(lines.body.to_vec()).unwrap(), refused)
}

fn line_of(config: &Config, dimensions: &[(&str, &str)], counter: Value) -> (String, Option<String>) {
    let (lines, refused) = encode(config, &[message(dimensions, vec![counter])]);
    (lines, refused.first().map(|refused| refused.reason.clone()))
}

#[test]
fn numbers_become_fields_dimensions_and_a_unit_labels_and_a_time_milliseconds() {
    let metadata = json!({ "i": -5, "f": 1.5, "b": true, "value": 9 });
    let (line, reason) = line_of(&config(), &[("z", "2"), ("a", "1"), ("e", ""), ("z", "3")], counter("c", TIME, metadata));
    let begins = "c,a=1,z=3 value=2.0,";
    let Some(fields) = line.strip_prefix(begins) else { panic!("{line}") };
    let (fields, time) = fields.trim_end().split_once(' ').unwrap();
    let mut fields: Vec<_> = fields.split(',').collect();
    fields.sort_unstable();
    assert_eq!((fields, time, reason), (vec!["b=true", "f=1.5", "i=-5i"], "1772366400000", None));
    let timer = json!({ "name": "t", "unit": { "name": "milliseconds", "seconds_offset": 1000.0 }, "metadata": {}, "timestamp": TIME, "value": 0.25 });
    let mut with_timer = message(&[("a", "1")], Vec::new());
    with_timer["timers"] = json!([timer]);
    let (lines, _) = encode(&config(), std::slice::from_ref(&with_timer));
    assert!(lines.starts_with("t,a=1,unit=milliseconds value="), "{lines}");
    with_timer["dimensions"] = json!([{ "name": "unit", "value": "u" }]);
    let (lines, refused) = encode(&config(), &[with_timer]);
    assert!(lines.starts_with("t,unit=u value="), "{lines}");
    assert_eq!(refused[0].reason, UNIT_IS_TAKEN);
}

#[test]
fn every_text_stays_in_its_place() {
    let (line, _) = line_of(&config(), &[("a,b", "c=d e"), ("q\"", "C:\\"), ("n", "x\ny")], counter("#m\\ \"", TIME, json!({})));
    let expected = "\\#m\\\\\\ \",a\\,b=c\\=d\\ e,n=x\\\\ny,q\"=C:\\\\ value=2.0 1772366400000\n";
    assert_eq!(line, expected);
}

#[test]
fn text_in_metadata_is_parked_or_a_label_or_dropped_as_configured() {
    let of = |text_metadata| {
        let config = Config { text_metadata, ..config() };
        line_of(&config, &[("d", "1")], counter("c", TIME, json!({ "path": "/a b" })))
    };
    let without = "c,d=1 value=2.0 1772366400000\n".to_owned();
    assert_eq!(of(TextMetadata::Park), (without.clone(), Some([NUMBERS_ONLY, "path"].concat())));
    assert_eq!(of(TextMetadata::Drop), (without, None));
    assert_eq!(of(TextMetadata::Label), ("c,d=1,path=/a\\ b value=2.0 1772366400000\n".to_owned(), None));
    let label = Config { text_metadata: TextMetadata::Label, ..config() };
    let (line, reason) = line_of(&label, &[("path", "1")], counter("c", TIME, json!({ "path": "/" })));
    assert_eq!((line.as_str(), reason), ("c,path=1 value=2.0 1772366400000\n", Some([NAME_IS_TAKEN, "path"].concat())));
}

#[test]
fn what_would_be_dropped_without_a_word_is_refused() {
    let long = "x".repeat(LONGEST_VALUE + 1);
    let many: Vec<(String, String)> = (0..6).map(|n| (n.to_string(), "v".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for (dimensions, name, time) in [
        (&[("a", long.as_str())][..], "c", TIME),
        (&[(&long[..257], "v")], "c", TIME),
        (&[("__name__", "v")], "c", TIME),
        (&many, "c", TIME),
        (&[], &long, TIME),
        (&[], "c", "1969-12-31T23:59:59.000000Z"),
        (&[], "c", "1970-01-01T00:00:00.000000Z"),
        (&[], "c", "2150-01-01T00:00:00.000000Z"),
    ] {
        let (line, reason) = line_of(&config(), dimensions, counter(name, time, json!({})));
        assert_eq!(line, "", "{reason:?}");
        assert!(!reason.unwrap().is_empty());
    }
    let few = &many[..5];
    assert_eq!(line_of(&config(), few, counter("c", TIME, json!({}))).1, None);
    let extra = Config { extra_labels: Some("i=1".to_owned()), ..config() };
    assert!(line_of(&extra, few, counter("c", TIME, json!({}))).1.is_some_and(|reason| reason.contains("6 labels")));
}

#[test]
fn what_of_the_metadata_cannot_be_kept_as_it_is_is_told_and_the_point_is_written() {
    for (metadata, wanted, line) in [
        (json!({ "a\"b": 1 }), UNREADABLE_KEY, "c value=2.0 1772366400000\n"),
        (json!({ "k": 9_007_199_254_740_993_i64 }), ROUNDED, "c value=2.0,k=9007199254740993i 1772366400000\n"),
    ] {
        let (written, reason) = line_of(&config(), &[], counter("c", TIME, metadata));
        assert_eq!(written, line);
        assert!(reason.unwrap().starts_with(wanted));
    }
}

#[test]
fn points_of_one_series_and_millisecond_get_one_each_and_the_same_when_they_are_written_again() {
    let points =
        |number: usize| message(&[("d", "1")], vec![counter("c", TIME, json!({ "n": number })), counter("c", TIME, json!({}))]);
    let messages: Vec<Value> = (0..50).map(points).collect();
    let times = Times::default();
    let written = |config: &Config| {
        let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
        for message in &messages {
            decoder.decode(message.to_string().as_bytes(), &mut set);
        }
        let mut lines = crate::publisher::line::Lines::default();
        Samples::new(config, times.clone()).encode(&set, Place::default(), &mut lines);
        String::from_utf8(lines.body.to_vec()).unwrap()
    };
    let time = |line: &str| line.rsplit(' ').next().unwrap().to_owned();
    let first = written(&config());
    let mut given: Vec<_> = first.lines().map(time).collect();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 100);
    assert_eq!(written(&config()), first);
    let as_they_are = written(&Config { unique_timestamps: false, ..config() });
    assert!(as_they_are.lines().all(|line| time(line) == "1772366400000"), "{as_they_are}");
}
