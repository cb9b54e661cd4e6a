//! What is read quickly is read as the general reader reads it, and what clients usually write is read quickly.

use base64::Engine as _;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::decode::fuzzing::quick_is_as_general;

#[path = "../../../../tests/support/flask.rs"]
mod flask;

const CLIENT: &str = include_str!("../../../../tests/data/client.jsonl");
const INVALID: &str = include_str!("../../../../tests/data/invalid.jsonl");

/// Numbers, and things that look like some, as they are not usually written.
const ODD: [&str; 56] = [
    "1E5",
    "1e5",
    "1e+5",
    "1.5e-7",
    "1e-400",
    "-1e-400",
    "1e400",
    "-1e400",
    "1e308",
    "1e309",
    "0e999999999999",
    "1e-999999999999",
    "1e",
    "1e+",
    "1.e5",
    "0",
    "-0",
    "0.0",
    "-0.0",
    "-0e5",
    "-0.0000000000000000000000",
    "00",
    "00.5",
    "-01",
    "0.00",
    "1.",
    ".5",
    "-",
    "+1",
    "--1",
    "0x10",
    "1_000",
    "9007199254740991.0",
    "9007199254740992.0",
    "9007199254740993.0",
    "900719925474099.3",
    "9007199254740993",
    "-9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775807",
    "-9223372036854775808",
    "-9223372036854775809",
    "9223372036854775807.0",
    "9223372036854774784.5",
    "-9223372036854775808.0",
    "9999999999999999999",
    "18446744073709551615",
    "18446744073709551616",
    "12345678901234567890.5",
    "0.12345678901234567890",
    "0.1000000000000000055511151231257827021181583404541015625",
    "4.9406564584124654e-324",
    "2.4703282292062327e-324",
    "2.2250738585072011e-308",
    "123456789012345678901234567890",
];

/// Pieces to be put behind a bracket, a comma or a colon.
const PIECES: [&str; 34] = [
    " ",
    "  ",
    "\n",
    "\t",
    "\u{0}",
    ",",
    "{",
    "}",
    "[",
    "]",
    "[[[[",
    "\"",
    "\"\\u0041\": 1, ",
    "\"n\\u0061me\": \"escaped\", ",
    "\"other\": null, ",
    "\"other\": [1, {}], ",
    "\"other\": -0, ",
    "\"name\": \"again\", ",
    "\"name\":1,",
    "\"value\": 7, ",
    "\"value\" : 7, ",
    "\"timestamp\": \"1970\", ",
    "\"unit\": {}, ",
    "\"unit\": {\"name\": \"s\", \"name\": \"m\"}, ",
    "\"unit\": \"s\", ",
    "\"metadata\": {}, ",
    "\"metadata\": {\"a\": 1, \"a\": true}, ",
    "\"metadata\": {\"a\": [1.0, {\"b\": -0}]}, ",
    "\"metadata\": null, ",
    "\"dimensions\": [], ",
    "\"counters\": [], ",
    "\"timers\": [null], ",
    "\"timestamp_format\": \"%Y\", ",
    "{}, ",
];

/// Messages that clients really wrote.
fn genuine() -> Vec<String> {
    let client = CLIENT.lines().map(|line| {
        let case: Value = serde_json::from_str(line).unwrap();
        case["text"].as_str().unwrap().to_owned()
    });
    VALID.lines().map(str::to_owned).chain(client).collect()
}

/// A change to a message; a place is a share of all those that there are.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(prop::sample::Index, u8),
    Delete(prop::sample::Index),
    Truncate(prop::sample::Index),
    Repeat(prop::sample::Index, usize),
    Insert(prop::sample::Index, &'static str),
    Number(prop::sample::Index, &'static str),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>;
    let odd = prop::sample::select(&ODD[..]);
    prop_oneof![
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Flip(at, byte)),
        1 => at().prop_map(Mutation::Delete),
        1 => at().prop_map(Mutation::Truncate),
        1 => (at(), 1_usize..80).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        6 => (at(), prop::sample::select(&PIECES[..])).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        4 => (at(), odd).prop_map(|(at, number)| Mutation::Number(at, number)),
    ]
}

/// The places behind each of these bytes.
fn behind(message: &[u8], bytes: &[u8]) -> Vec<usize> {
    message.iter().zip(1..).filter(|(byte, _)| bytes.contains(byte)).map(|(_, at)| at).collect()
}

fn mutate(message: &mut Vec<u8>, mutation: &Mutation) {
    if message.is_empty() {
        return;
    }
    match mutation {
        Mutation::Flip(at, byte) => *at.get_mut(message) ^= byte,
        Mutation::Delete(at) => _ = message.remove(at.index(message.len())),
        Mutation::Truncate(at) => message.truncate(at.index(message.len())),
        Mutation::Repeat(at, length) => {
            let start = at.index(message.len());
            let end = message.len().min(start + length);
            message.splice(end..end, message[start..end].to_vec());
        }
        Mutation::Insert(at, piece) => {
            let places = behind(message, b"{[,: ");
            if !places.is_empty() {
                let at = *at.get(&places);
                message.splice(at..at, piece.bytes());
            }
        }
        Mutation::Number(at, number) => {
            // A value, which may be no number yet.
            let places: Vec<_> = behind(message, b":").into_iter().filter(|at| message.get(*at) == Some(&b' ')).collect();
            if !places.is_empty() {
                let start = *at.get(&places) + 1;
                let end = message.iter().skip(start).position(|byte| matches!(byte, b',' | b'}' | b']'));
                message.splice(start..end.map_or(message.len(), |end| start + end), number.bytes());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_genuine_message_that_was_changed_is_read_quickly_as_it_is_read_generally(
        at in any::<prop::sample::Index>(),
        mutations in vec(mutation(), 1..4),
    ) {
        let mut genuine = genuine();
        genuine.push(flask::message(1));
        let mut message = at.get(&genuine).clone().into_bytes();
        for mutation in &mutations {
            mutate(&mut message, mutation);
        }
        if let Ok(text) = str::from_utf8(&message) {
            quick_is_as_general(text);
        }
    }

    #[test]
    fn a_number_that_is_read_quickly_is_what_it_is_read_generally(
        number in r"-?[0-9]{1,22}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?|-?0\.0{0,20}[0-9]{1,25}|-?[0-9]{15,17}\.[0-9]{1,4}",
    ) {
        quick_is_as_general(&with_numbers(&number));
    }

    #[test]
    fn a_float_as_python_writes_it_is_read_quickly_unless_it_could_be_an_integer_beyond_64_bits(value in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL) {
        let mut buffer = ryu::Buffer::new();
        let number = crate::wire::python_text::float(&mut buffer, value);
        prop_assert_eq!(quick_is_as_general(&with_numbers(&number)), value.abs() < 2.0_f64.powi(63), "{}", number);
    }

    #[test]
    fn a_string_that_is_read_quickly_is_what_it_is_read_generally(
        text in r#"[a-z]{0,17}([\x00-\x7f]|é|東|🎉|["\\]|\PC){0,2}[a-zé🎉]{0,17}"#,
    ) {
        let message = plain().replace("text", &text);
        let is_plain = text.chars().all(|c| c >= ' ' && c != '"' && c != '\\');
        prop_assert!(quick_is_as_general(&message) || !is_plain, "{:?}", text);
    }
}

/// Everything that can be in a message, in the order of the Python client.
fn plain() -> String {
    r#"{"dimensions": [{"name": "dtext", "value": "text"}], "counters": [{"name": "ctext", "metadata": {"a": 1.5, "b": "text", "text": true}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1.0}], "timers": [{"name": "t", "unit": {"name": "text", "seconds_offset": 1000.0}, "metadata": {"a": false, "b": null}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1}], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ", "serialized_at": "2026-03-01T12:00:00.000001Z"}"#.to_owned()
}

/// A message with this number wherever there can be one.
fn with_numbers(number: &str) -> String {
    let counter = |value: &str, field: &str, other: &str| {
        format!(r#"{{"name": "c", "metadata": {{"a": {field}}}, "timestamp": "1970", "other": {other}, "value": {value}}}"#)
    };
    format!(
        r#"{{"dimensions": [{{"name": "d", "value": {number}}}], "counters": [{}, {}, {}], "timers": [], "timestamp_format": "%Y"}}"#,
        counter(number, "1", "1"),
        counter("1", number, "1"),
        counter("1", "1", number),
    )
}

#[test]
fn what_clients_usually_write_is_read_quickly() {
    assert!(quick_is_as_general(&flask::message(1)));
    assert!(quick_is_as_general(&flask::message(999_999)));
    assert!(quick_is_as_general(&plain()));
    let (mut usual, mut others) = (0, 0);
    for message in genuine() {
        let is_quick = quick_is_as_general(&message);
        let parsed: Result<Value, _> = serde_json::from_str(&message);
        let is_nested = |list: &str| {
            parsed.as_ref().is_ok_and(|message| {
                let metrics = message[list].as_array().unwrap().iter();
                metrics
                    .clone()
                    .any(|metric| metric["metadata"].as_object().unwrap().values().any(|v| v.is_array() || v.is_object()))
            })
        };
        // -0.0 and what is beyond 64 bits may be other numbers to Python, which the general reader finds out.
        let is_escaped = message.contains(['\\']);
        let is_odd = message.contains("-0.0") || message.contains("e+");
        let is_usual = parsed.is_ok() && !is_escaped && !is_odd && !is_nested("counters") && !is_nested("timers");
        if is_usual {
            assert!(is_quick, "{message}");
            usual += 1;
        } else {
            others += 1;
        }
    }
    assert!(usual >= 20, "{usual} of {}", usual + others);
}

#[test]
fn keys_are_known_in_any_order_and_with_or_without_spaces() {
    let message = r#"{"timestamp_format": "%Y", "timers": [{"value": 1, "metadata": {"a": 1}, "unit": {"seconds_offset": 1, "name": "s"}, "timestamp": "1970", "name": "t"}], "serialized_at": "1970", "dimensions": [{"value": "v", "name": "n"}], "counters": []}"#;
    assert!(quick_is_as_general(message));
    assert!(quick_is_as_general(&message.replace(' ', "")));
    assert!(quick_is_as_general("{}"));
    assert!(quick_is_as_general(r#"{"dimensions": [], "counters": [{}], "timers": [{"unit": {}}]}"#));
}

#[test]
fn what_is_hostile_is_read_quickly_as_it_is_read_generally() {
    for line in INVALID.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let payload = base64::engine::general_purpose::STANDARD.decode(case["payload_base64"].as_str().unwrap()).unwrap();
        if let Ok(text) = str::from_utf8(&payload) {
            quick_is_as_general(text);
        }
    }
}

#[test]
fn odd_numbers_are_read_quickly_as_they_are_read_generally() {
    let quick: Vec<_> = ODD.into_iter().filter(|number| quick_is_as_general(&with_numbers(number))).collect();
    for number in ["-0", "-0.0", "-1e-400", "00", "1.", ".5", "1e400", "9223372036854775808", "-9223372036854775808", "+1", "-"] {
        assert!(ODD.contains(&number) && !quick.contains(&number), "{number}");
    }
    for number in ["0", "0.0", "1E5", "1e-400", "9007199254740993.0", "9223372036854775807", "12345678901234567890.5"] {
        assert!(!ODD.contains(&number) || number == "12345678901234567890.5" || quick.contains(&number), "{number}");
    }
}

#[test]
fn the_quick_reader_gives_up_at_whatever_is_unusual() {
    for unusual in [
        // A key that comes twice.
        r#"{"dimensions": [], "dimensions": []}"#,
        r#"{"counters": [], "counters": []}"#,
        r#"{"timers": [], "timers": []}"#,
        r#"{"timestamp_format": "%Y", "timestamp_format": null}"#,
        r#"{"dimensions": [{"name": "a", "name": "b"}]}"#,
        r#"{"dimensions": [{"value": null, "value": "b"}]}"#,
        r#"{"counters": [{"name": "a", "name": "b"}]}"#,
        r#"{"counters": [{"metadata": {}, "metadata": {}}]}"#,
        r#"{"counters": [{"timestamp": "a", "timestamp": "b"}]}"#,
        r#"{"counters": [{"value": 1, "value": 1}]}"#,
        r#"{"timers": [{"unit": {}, "unit": {}}]}"#,
        r#"{"timers": [{"unit": {"name": "s", "name": "s"}}]}"#,
        // Something of another kind than usual, where the rest would have to be understood to be passed over.
        r#"[]"#,
        r#""text""#,
        r#"{"dimensions": {}}"#,
        r#"{"counters": [1]}"#,
        r#"{"timers": null}"#,
        r#"{"counters": [{"metadata": []}]}"#,
        r#"{"counters": [{"metadata": {"a": [1]}}]}"#,
        r#"{"counters": [{"metadata": {"a": {}}}]}"#,
        r#"{"counters": [{"name": []}]}"#,
        r#"{"timers": [{"unit": "s"}]}"#,
        r#"{"other": []}"#,
        // White space, and what is missing or too much.
        r#" {}"#,
        r#"{} "#,
        r#"{ }"#,
        r#"{"a" : 1}"#,
        r#"{"a":  1}"#,
        "{\"a\":\t1}",
        r#"{"a": 1 }"#,
        r#"{"a": 1,}"#,
        r#"{"a": 1"#,
        r#"{"a": 1]"#,
        r#"{"a"}"#,
        r#"{"a": nul}"#,
        r#"{"a": truefalse}"#,
        r#"{"a": NaN}"#,
        r#"{"a": "b}"#,
        "{\"a\": \"\u{1f}\"}",
        r#"{"\u0061": 1}"#,
        "",
    ] {
        assert!(!quick_is_as_general(unusual), "{unusual}");
    }
}
