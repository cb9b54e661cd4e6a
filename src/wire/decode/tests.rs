mod corpus;
mod properties;
mod quick;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::wire::{Kind, Message, Point, Scalar};

const VALID: &str = include_str!("../../../tests/data/valid.jsonl");

/// Decodes one message into a set of its own.
fn decode(payload: impl AsRef<[u8]>) -> (MessageSet, Vec<Refusal>) {
    let mut set = MessageSet::new();
    let refusals = Decoder::new().decode(payload.as_ref(), &mut set);
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
fn a_sentence_says_what_is_wrong_with_a_metric() {
    let cases = [
        (r#"{"metadata": {}, "timestamp": "1970", "value": 1}"#, "counter 1 has no name"),
        (
            r#"{"name": 5, "metadata": {}, "timestamp": "1970", "value": 1}"#,
            "counter 1 has as name the number 5 instead of a string",
        ),
        (r#"{"name": "", "metadata": {}, "timestamp": "1970", "value": 1}"#, "counter 1 has an empty name"),
        (r#"{"name": "c", "metadata": {}, "timestamp": "1970"}"#, "the counter has no value"),
        (
            r#"{"name": "c", "metadata": {}, "timestamp": "1970", "value": "12\n"}"#,
            r#"the value is the string "12\n" instead of a number"#,
        ),
        (
            r#"{"name": "c", "metadata": {}, "timestamp": "1970", "value": true}"#,
            "the value is the boolean true instead of a number",
        ),
        (r#"{"name": "c", "metadata": {}, "timestamp": "1970", "value": 1e999}"#, "the value 1e999 is not a finite number"),
        (r#"{"name": "c", "metadata": {}, "value": 1}"#, "the counter has no timestamp"),
        (
            r#"{"name": "c", "metadata": {}, "timestamp": 1970.0, "value": 1}"#,
            "the counter has as timestamp the number 1970.0 instead of a string",
        ),
        (
            r#"{"name": "c", "metadata": {}, "timestamp": "2263", "value": 1}"#,
            r#"the timestamp "2263" is outside the years 1677 to 2262 that a 64-bit count of nanoseconds holds"#,
        ),
        (r#"{"name": "c", "metadata": null, "timestamp": "1970", "value": 1}"#, "the metadata is null instead of an object"),
        ("[[1]]", "counter 1 is a list instead of an object"),
        ("NaN", "counter 1 is the number NaN instead of an object"),
        (&counter(r#"{"a": NaN}"#), r#"the metadata "a" is NaN, which is not a finite number"#),
        (&counter(r#"{"a": [{"b": -Infinity}]}"#), r#"the metadata "a" is -Infinity, which is not a finite number"#),
        (
            &counter(r#"{"a": 9223372036854775808}"#),
            r#"the metadata "a" holds the integer 9223372036854775808, which does not fit 64 bits"#,
        ),
        (
            &counter(r#"{"a": [-123456789012345678901234567890]}"#),
            r#"the metadata "a" holds the integer -123456789012345678901234567890, which does not fit 64 bits"#,
        ),
        (
            &counter(r#"{"a": "x\ud800"}"#),
            r#"the metadata "a" holds the string "x\ud800" with half of a surrogate pair, which is no character"#,
        ),
        (
            &counter(r#"{"\udc00": 1}"#),
            r#"the metadata has as a key the string "\udc00" with half of a surrogate pair, which is no character"#,
        ),
    ];
    for (counter, reason) in cases {
        assert_eq!(refused(counter), reason, "{counter}");
    }
}

#[test]
fn a_sentence_says_what_is_wrong_with_a_timer() {
    let cases = [
        ("", "the timer has no unit"),
        (r#", "unit": "seconds""#, r#"the unit is the string "seconds" instead of an object"#),
        (r#", "unit": {"seconds_offset": 1.0}"#, "the timer's unit has no name"),
        (r#", "unit": {"name": null}"#, "the timer's unit has as name null instead of a string"),
    ];
    for (unit, reason) in cases {
        let (set, refusals) = decode(format!(
            r#"{{"dimensions": [], "counters": [], "timers": [{{"name": "t", "metadata": {{"a": 1}}, "timestamp": "1970", "value": 1{unit}}}], "timestamp_format": "%Y"}}"#
        ));
        assert_eq!(refusals, [Refusal { metric: Some("t".to_owned()), reason: reason.to_owned() }]);
        assert!(set.text.is_empty() && set.fields.is_empty() && set.point_count() == 0);
    }
}

#[test]
fn a_sentence_says_what_is_wrong_with_a_message() {
    let with = |dimensions: &str| {
        with_counters(&counter("{}")).replace(r#""dimensions": []"#, &format!(r#""dimensions": {dimensions}"#))
    };
    let format = |format: &str| with_counters(&counter("{}")).replace(r#""%Y""#, format);
    let cases = [
        (with("null"), "the message's \"dimensions\" is null instead of a list"),
        (with("[5]"), "dimension 1 is the number 5 instead of an object"),
        (with(r#"[{"name": "a", "value": "b"}, {"value": "x"}]"#), "dimension 2 has no \"name\""),
        (with(r#"[{"name": 1, "value": "x"}]"#), "the name of dimension 1 is the number 1 instead of a string"),
        (with(r#"[{"name": "d", "value": []}]"#), "the value of dimension \"d\" is a list instead of a string"),
        (
            with(r#"[{"name": "d", "value": "\ud800"}]"#),
            "the value of dimension \"d\" is the string \"\\ud800\" with half of a surrogate pair, which is no character",
        ),
        (format("5"), "the message's \"timestamp_format\" is the number 5 instead of a string"),
        (format(r#""%Y %""#), "the timestamp_format \"%Y %\" ends in a lone %"),
        (format(r#""%c %Y""#), "the timestamp_format \"%c %Y\" has the directive %Y more than once"),
        ("[{NaN: 1}]".to_owned(), "the message is not JSON: key must be a string at line 1 column 3"),
    ];
    for (payload, reason) in cases {
        assert_eq!(refused_whole(&payload), reason, "{payload}");
    }
}

#[test]
fn a_dead_letter_does_not_quote_a_message_of_megabytes() {
    let long = "é".repeat(1_000_000);
    let reason = refused(&format!(r#"{{"name": "c", "metadata": {{}}, "timestamp": "{long}", "value": 1}}"#));
    assert!(reason.len() < 400, "{}", reason.len());
    let digits = "9".repeat(1_000_000);
    assert!(refused(&counter(&format!(r#"{{"a": {digits}}}"#))).len() < 400);
}

#[test]
fn half_a_surrogate_pair_costs_no_more_than_its_metric() {
    let reason = refused(r#"{"name": "caf\ud800\n", "metadata": {}, "timestamp": "1970", "value": 1}"#);
    assert_eq!(reason, r#"counter 1 has as name the string "caf\ud800\n" with half of a surrogate pair, which is no character"#);
    refused(r#"{"name": "c", "metadata": {}, "timestamp": "19\ude0070", "value": 1}"#);
    // A string of question marks beside it is not taken for it, nor is one in what nobody reads.
    let (set, refusals) = decode(with_counters(
        r#"{"name": "??????", "extra": ["\ud800", NaN, {"\ud800": 1e999}], "timestamp": "1970", "value": 1}"#,
    ));
    assert_eq!(refusals, []);
    assert_eq!(names(&set), ["??????", "good"]);
}

#[test]
fn half_a_surrogate_pair_excuses_nothing_else_in_its_string() {
    for string in ["\\ud800\n", "\\ud800\0", "\\q\\udc00"] {
        let reason = refused_whole(with_counters(&counter(&format!("{{\"a\": \"{string}\"}}"))));
        assert!(reason.starts_with("the message is not JSON: "), "{reason}");
    }
    // JSON allows these as they are.
    let reason = refused(&counter("{\"a\": \"\u{7f}\u{85}\u{202e}'\\ud800\"}"));
    assert_eq!(
        reason,
        r#"the metadata "a" holds the string "\u{7f}\u{85}\u{202e}'\ud800" with half of a surrogate pair, which is no character"#
    );
}

#[test]
fn a_message_of_nothing_but_refused_metrics_takes_no_more_memory_for_each() {
    let (set, refusals) = decode(with_counters(&vec!["0"; 2000].join(",")));
    assert_eq!(names(&set), ["good"]);
    assert_eq!(refusals.len(), MOST_REFUSALS + 1);
    assert_eq!(refusals[MOST_REFUSALS - 1].reason, "counter 100 is the number 0 instead of an object");
    assert_eq!(refusals[MOST_REFUSALS].reason, "1900 more metrics cannot be used");
    let (_, refusals) = decode(with_counters(&vec!["0"; MOST_REFUSALS].join(",")));
    assert_eq!(refusals.len(), MOST_REFUSALS);
}

#[test]
fn metadata_becomes_fields_of_the_types_that_were_sent() {
    let cases = [
        (
            r#"{"a": 7, "b": -9223372036854775808, "c": true, "d": 1.5, "e": "x"}"#,
            json!({"value": 1.0, "a": 7, "b": i64::MIN, "c": true, "d": 1.5, "e": "x"}),
        ),
        (r#"{"null": null, "empty": "", "": "no key"}"#, json!({"value": 1.0, "empty": ""})),
        (r#"{"value": NaN, "unit": "kept for a counter"}"#, json!({"value": 1.0, "unit": "kept for a counter"})),
        (r#"{"a": 1, "b": 2, "a": 3, "b": null}"#, json!({"value": 1.0, "a": 3})),
        (r#"{"a": NaN, "a": 3}"#, json!({"value": 1.0, "a": 3})),
        (r#"{"\u0061": 1, "a": 2}"#, json!({"value": 1.0, "a": 2})),
        (
            r#"{"a":{"z":[1,2.50,"\u00e9\n",null,true,{}],"b":[]}}"#,
            json!({"value": 1.0, "a": r#"{"z": [1, 2.5, "é\n", null, true, {}], "b": []}"#}),
        ),
        (r#"{"a": -0, "b": 100000000000000000000.0, "c": -0.0}"#, json!({"value": 1.0, "a": 0, "b": 1e20, "c": -0.0})),
    ];
    for (metadata, fields) in cases {
        assert_eq!(fields_of(metadata), fields, "{metadata}");
    }
    let many: String = (0..40).map(|index| format!(r#""k{}": {index}, "#, index % 20)).collect();
    let fields = fields_of(&format!("{{{many}\"k0\": null}}"));
    assert_eq!(fields.as_object().unwrap().len(), 20);
    assert_eq!((&fields["k1"], &fields["k19"], fields.get("k0")), (&json!(21), &json!(39), None));
}

#[test]
fn a_timer_overwrites_value_and_unit_of_its_metadata() {
    let (set, refusals) = decode(
        r#"{"dimensions": [], "counters": [], "timers": [{"name": "t", "unit": {"name": "ms", "seconds_offset": 0},
        "metadata": {"value": 3, "unit": "mine", "x": 1}, "timestamp": "1970", "value": 2}], "timestamp_format": "%Y"}"#,
    );
    assert_eq!(refusals, []);
    let message = set.messages().next().unwrap();
    assert_eq!(point_json(&set, message, &message.points()[0])["fields"], json!({"value": 2.0, "unit": "ms", "x": 1}));
}

#[test]
fn dimensions_become_tags_as_python_would_write_them() {
    let cases = [
        (r#"[{"name": "d", "value": true}, {"name": "e", "value": false}]"#, json!({"d": "True", "e": "False"})),
        (r#"[{"name": "d", "value": 1e16}, {"name": "e", "value": -0}]"#, json!({"d": "1e+16", "e": "0"})),
        (r#"[{"name": "d", "value": 123456789012345678901}]"#, json!({"d": "123456789012345678901"})),
        (r#"[{"name": "d", "value": NaN}, {"name": "e", "value": -Infinity}]"#, json!({"d": "nan", "e": "-inf"})),
        (r#"[{"name": "d", "value": "1"}, {"name": "d", "value": null}, {"name": "", "value": "x"}]"#, json!({})),
    ];
    for (dimensions, tags) in cases {
        assert_eq!(tags_of(dimensions), tags, "{dimensions}");
    }
}

#[test]
fn counters_come_before_timers_and_the_last_of_two_keys_counts() {
    let timer = r#"{"name": "t", "unit": {"name": "s"}, "timestamp": "1970", "value": 1}"#;
    let (set, refusals) = decode(format!(
        r#"{{"timestamp_format": "%Q", "timers": [{timer}], "counters": 5, "dimensions": null, "counters": [{}, {}],
        "timers": [{timer}], "dimensions": [], "timestamp_format": "%Y"}}"#,
        counter(r#"{"a": 1}"#),
        r#"{"name": "x", "name": "d", "metadata": {"a": 1}, "metadata": {"b": 2}, "timestamp": "x", "timestamp": "1970", "value": null, "value": 4}"#
    ));
    assert_eq!(refusals, []);
    assert_eq!(names(&set), ["c", "d", "t"]);
    let message = set.messages().next().unwrap();
    assert_eq!(point_json(&set, message, &message.points()[1])["fields"], json!({"value": 4.0, "b": 2}));
}

#[test]
fn nesting_is_no_danger() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let extra = with_counters(&counter("{}")).replacen('{', &format!(r#"{{"extra": {}, "#, deep(100_000)), 1);
    assert_eq!(decode(extra).1, []);
    assert_eq!(fields_of(&format!(r#"{{"a": {}}}"#, deep(64)))["a"], json!(deep(64)));
    assert_eq!(
        refused(&counter(&format!(r#"{{"a": {}}}"#, deep(100_000)))),
        r#"the metadata "a" is nested deeper than 64 levels"#
    );
    for place in ["name", "value", "timestamp", "metadata", "extra"] {
        let metric =
            format!(r#"{{"{place}": {}, "name": "c", "value": 1, "timestamp": "1970", "metadata": {{}}}}"#, deep(100_000));
        assert_eq!(decode(with_counters(&metric)).1, [], "{place}");
    }
    refused_whole("{\"a\":".repeat(100_000));
}

#[test]
fn a_message_of_nothing_but_commas_is_refused_before_it_takes_memory() {
    let sentence = "the message has far too many dimensions, counters, timers or metadata entries for its size";
    let zeros = format!("[{}0]", "0,".repeat(1_000_000));
    let entries = format!("{{{}\"\":0}}", "\"\":0,".repeat(200_000));
    for payload in [
        format!(r#"{{"dimensions": [], "counters": {zeros}, "timers": [], "timestamp_format": "%Y"}}"#),
        format!(r#"{{"dimensions": {zeros}, "counters": [], "timers": [], "timestamp_format": "%Y"}}"#),
        with_counters(&counter(&entries)),
        with_counters(&counter(&format!(r#"{{"a": [{}0]}}"#, "1e15,".repeat(200_000)))),
        format!(r#"{{"dimensions": [], "counters": {}], "timers": [], "timestamp_format": "%Y"}}"#, zeros.replace("0]", "NaN")),
    ] {
        let mut decoder = Decoder::new();
        let mut set = MessageSet::new();
        assert_eq!(decoder.decode(payload.as_bytes(), &mut set)[0].reason, sentence);
        let raw = &decoder.reader.raw;
        let kept = [raw.dimensions.items.capacity(), raw.counters.items.capacity(), raw.fields.capacity()];
        assert!(kept.iter().all(|&capacity| capacity <= 1024), "{kept:?}");
    }
}

#[test]
fn however_much_a_client_of_kadabra_sends_there_is_room_for_it() {
    let metadata: Vec<_> = (0..40).map(|key| format!(r#""k{key}": {}"#, key % 10)).collect();
    for metadata in ["".to_owned(), r#""a": 1"#.to_owned(), r#""a": [1.5, 2.5, {"b": null}]"#.to_owned(), metadata.join(", ")] {
        let one =
            format!(r#"{{"name": "c", "metadata": {{{metadata}}}, "timestamp": "2026-03-01T12:00:00.123456Z", "value": 1.0}}"#);
        let (count, format) = ((4 << 20) / (one.len() + 2), "%Y-%m-%dT%H:%M:%S.%fZ");
        let counters = vec![one; count].join(", ");
        let (set, refusals) =
            decode(format!(r#"{{"dimensions": [], "counters": [{counters}], "timers": [], "timestamp_format": "{format}"}}"#));
        assert_eq!((set.points.len(), refusals), (count, vec![]), "{metadata}");
    }
}

#[test]
fn a_refused_message_keeps_its_place_among_the_others() {
    let mut decoder = Decoder::new();
    let mut set = MessageSet::new();
    let good = with_counters(&counter(r#"{"a": "b"}"#));
    for payload in [good.as_str(), "{", "{\"dimensions\": [5]}", &good] {
        decoder.decode(payload.as_bytes(), &mut set);
    }
    let points: Vec<_> = set.messages().map(|message| message.points().len()).collect();
    assert_eq!(points, [2, 0, 0, 2]);
    assert_eq!(set.text, "cabgood".repeat(2));
}

#[test]
fn a_digest_is_made_of_the_bytes_of_its_message_and_of_nothing_else() {
    let payload = VALID.lines().next().unwrap();
    let mut set = MessageSet::new();
    let mut decoder = Decoder::new();
    for payload in [payload, "{", &payload.replacen('{', "{ ", 1), payload] {
        decoder.decode(payload.as_bytes(), &mut set);
    }
    let digests: Vec<_> = set.messages().map(|message| message.digest()).collect();
    // Databases hold what was made from them: another algorithm would double what is written again.
    assert_eq!([digests[0], digests[1], digests[3]], [0x49c2_bc26, 0x15d5_4739, 0x49c2_bc26]);
    assert_ne!(digests[2], digests[0]);
    assert!(set.points.iter().all(|point| point.time % 1000 == 0));
}

#[test]
fn a_message_cut_off_anywhere_is_refused_whole() {
    let python = with_counters(&counter(r#"{"é": NaN, "a\n": "\ud83c\udf89\ud800", "n": [1, {"b": 2}]}"#));
    for payload in [VALID.lines().next().unwrap(), VALID.lines().nth(5).unwrap(), &python] {
        for end in 0..payload.len() {
            refused_whole(&payload.as_bytes()[..end]);
        }
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn what_a_message_had_half_written_when_it_panicked_is_taken_back() {
    let scenario = fail::FailScenario::setup();
    fail::cfg("decoder.push", "panic(out of cheese)").unwrap();
    let good = with_counters(&counter(r#"{"a": "b"}"#));
    let poison = good.replace("[]", r#"[{"name": "d", "value": "x"}]"#).replace("good", "failpoint!");
    let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
    assert_eq!(decoder.decode(good.as_bytes(), &mut set), []);
    let before = set.clone();
    let refusals = decoder.decode(poison.as_bytes(), &mut set);
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].metric.is_none() && refusals[0].reason.ends_with("the panic said: out of cheese"), "{refusals:?}");
    assert_eq!(
        (&set.text, &set.dimensions, &set.fields, &set.points),
        (&before.text, &before.dimensions, &before.fields, &before.points)
    );
    assert_eq!(decoder.decode(good.as_bytes(), &mut set), []);
    assert_eq!(set.messages().map(|message| message.points().len()).collect::<Vec<_>>(), [2, 0, 2]);
    scenario.teardown();
}
