use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Pieces of messages, so that a random text gets further than to its first byte.
fn almost_a_message() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"dimensions\":",
        "\"counters\":",
        "\"timers\":",
        "\"timestamp_format\":",
        "\"name\":",
        "\"value\":",
        "\"metadata\":",
        "\"unit\":",
        "\"timestamp\":",
        "\"%Y\"",
        "\"1970\"",
        "NaN",
        "-Infinity",
        "1e999",
        "-0",
        "1.5",
        "null",
        "true",
        "\"\\ud800\"",
        "\"\\udc00",
        "\\",
        "é",
        "18446744073709551616",
        "[{",
        "}]",
        "{}",
        "[]",
        " ",
    ]);
    vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        (prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

prop_compose! {
    fn metric(timer: bool)(
        name in "\\PC{1,12}",
        value in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
        metadata in prop::collection::btree_map("\\PC{1,6}", scalar(), 0..20),
        micros in -9_223_372_036_854_775_i64..9_223_372_036_854_775,
        unit in any::<String>(),
    ) -> (Value, Value) {
        let days = micros.div_euclid(86_400_000_000);
        let rest = micros.rem_euclid(86_400_000_000);
        let (year, month, day) = crate::wire::civil::date_of(days).unwrap();
        let (second, fraction) = (rest / 1_000_000, rest % 1_000_000);
        let timestamp = format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{fraction:06}Z", second / 3600, second / 60 % 60, second % 60);
        let mut sent = json!({"name": name, "metadata": metadata, "timestamp": timestamp, "value": value});
        let mut fields = json!(metadata);
        fields["value"] = json!(value);
        if timer {
            sent["unit"] = json!({"name": unit, "seconds_offset": 1.0});
            fields["unit"] = json!(unit);
        }
        (sent, json!({"measurement": name, "tags": {}, "time": micros * 1000, "fields": fields}))
    }
}

/// Values compared by their bits and their types.
fn exact(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => json!(["float", number.as_f64().unwrap().to_bits()]),
        Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), exact(value))).collect(),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200), text in almost_a_message()) {
        let mut set = MessageSet::new();
        let mut decoder = Decoder::new();
        for payload in [bytes.as_slice(), text.as_bytes()] {
            let refusals = decoder.decode(payload, &mut set);
            let points = set.messages().last().map_or(0, |message| message.points().len());
            prop_assert!(points == 0 || refusals.iter().all(|refusal| refusal.metric.is_some()));
        }
        prop_assert_eq!(set.len(), 2);
    }

    #[test]
    fn what_is_sent_is_what_is_decoded(
        counters in vec(metric(false), 0..4),
        timers in vec(metric(true), 0..4),
        dimensions in prop::collection::btree_map("\\PC{1,6}", "\\PC{1,6}", 0..4),
    ) {
        let sent = |metrics: &[(Value, Value)]| metrics.iter().map(|(sent, _)| sent.clone()).collect::<Vec<_>>();
        let tags: Vec<_> = dimensions.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let payload = json!({
            "dimensions": tags, "counters": sent(&counters), "timers": sent(&timers), "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ",
        });
        let (set, refusals) = decode(payload.to_string());
        prop_assert_eq!(refusals, []);
        let message = set.messages().next().unwrap();
        let decoded: Vec<_> = message.points().iter().map(|point| exact(&point_json(&set, message, point))).collect();
        let expected: Vec<_> = counters.iter().chain(&timers).map(|(_, expected)| {
            let mut expected = expected.clone();
            expected["tags"] = json!(dimensions);
            exact(&expected)
        }).collect();
        prop_assert_eq!(decoded, expected);
    }
}
