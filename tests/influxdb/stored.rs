//! What is stored is what was meant.

use std::collections::BTreeSet;

use kadabra::{
    config::Influxdb,
    publisher::{LinePublisher, Publisher},
    wire::Message,
};
use serde_json::{Value, json};

use super::{all_written, config, counter, lines_of, many, message, publish, ready, refused, set_of, write_on};
use crate::support::stand_in::{Reply, StandIn};

#[actix_rt::test]
async fn what_the_python_agent_stored_is_stored() {
    let (influxd, mut publisher) = ready();
    let messages: Vec<Vec<u8>> = lines_of("valid.jsonl").into_iter().map(String::into_bytes).collect();
    assert_eq!(publish(&mut publisher, &set_of(&messages)).await, all_written());
    let mut expected: Vec<Value> =
        lines_of("valid.points.jsonl").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    expected.sort_by_cached_key(Value::to_string);
    let stored = influxd.points("kadabra");
    for (stored, expected) in stored.iter().zip(&expected) {
        assert_eq!(stored, expected);
    }
    assert_eq!(stored.len(), expected.len());
}

#[actix_rt::test]
async fn nasty_strings_are_stored_in_their_documented_form() {
    let (influxd, mut publisher) = ready();
    let tags = [
        ("plain", "C:\\x"),
        ("ends", "C:\\"),
        ("new line", "a\nb=1 c=2 3"),
        ("cr", "a\rb"),
        ("k=v", "a,b=c d"),
        ("s\\ t", "\\,\\ \\="),
    ];
    let metadata = json!({ "q": "a\nb \"c\" \\d", "i": 7, "f": 1.5, "b": true, "#": "#", "a\nb": "\r\n\t\\" });
    let counters = vec![counter("#hash", 1, metadata), counter("a\nb", 2, json!({})), counter("\tm,x=\"y\" z\\w", 3, json!({}))];
    assert_eq!(publish(&mut publisher, &set_of(&[message(&tags, counters)])).await, all_written());
    let tags = json!({
        "plain": "C:\\x", "ends": "C:\\ ", "new line": "a\\nb=1 c=2 3", "cr": "a\rb", "k=v": "a,b=c d", "s\\ t": "\\,\\ \\=",
    });
    let at = |micros: i64| 1_772_366_400_000_000_000 + micros * 1000;
    let fields = json!({ "value": 1, "q": "a\nb \"c\" \\d", "i": 7, "f": 1.5, "b": true, "#": "#", "a\\nb": "\r\n\t\\" });
    let mut expected = vec![
        json!({ "measurement": "\\#hash", "tags": tags, "time": at(1), "fields": fields }),
        json!({ "measurement": "a\\nb", "tags": tags, "time": at(2), "fields": { "value": 1 } }),
        json!({ "measurement": "\\\tm,x=\"y\" z\\w", "tags": tags, "time": at(3), "fields": { "value": 1 } }),
    ];
    expected.sort_by_cached_key(Value::to_string);
    assert_eq!(influxd.points("kadabra"), expected);
}

#[actix_rt::test]
async fn whatever_a_name_is_made_of_it_is_stored_as_it_was_meant_or_refused() {
    let (influxd, mut publisher) = ready();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut nasty = move || -> String {
        (0..rng.usize(1..7)).map(|_| *rng.choice(&['a', '"', '\\', ',', ' ', '=', '\n', '#']).unwrap()).collect()
    };
    let messages: Vec<Vec<u8>> = (0..400)
        .map(|n| {
            let tags = [("n", n.to_string()), ("t", nasty()), (&nasty(), nasty())].map(|(key, value)| (key.to_owned(), value));
            let tags: Vec<(&str, &str)> = tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            message(&tags, vec![counter(&nasty(), n, json!({ nasty(): nasty(), "s": nasty() }))])
        })
        .collect();
    let refused = refused(publish(&mut publisher, &set_of(&messages)).await);
    let refused: BTreeSet<usize> = refused.into_iter().map(|refused| refused.message).collect();
    let stored_name = |text: &str| if text.starts_with('#') { format!("\\{text}") } else { text.to_owned() }.replace('\n', "\\n");
    let stored_tag = |text: &str| text.replace('\n', "\\n") + if text.ends_with('\\') { " " } else { "" };
    let mut expected: Vec<Value> = Vec::new();
    for (_, message) in messages.iter().enumerate().filter(|(n, _)| !refused.contains(n)) {
        let message: Value = serde_json::from_slice(message).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let tags = message["dimensions"].as_array().unwrap().iter();
        let tags: Value =
            tags.map(|tag| (stored_tag(&text(&tag["name"])), Value::from(stored_tag(&text(&tag["value"]))))).collect();
        let counter = &message["counters"][0];
        let mut fields: serde_json::Map<String, Value> = counter["metadata"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.replace('\n', "\\n"), value.clone()))
            .collect();
        fields.insert("value".to_owned(), 1.into());
        let micros: i64 = tags["n"].as_str().unwrap().parse().unwrap();
        let time = 1_772_366_400_000_000_000 + micros * 1000;
        expected
            .push(json!({ "measurement": stored_name(&text(&counter["name"])), "tags": tags, "fields": fields, "time": time }));
    }
    expected.sort_by_cached_key(Value::to_string);
    let stored = influxd.points("kadabra");
    for (stored, expected) in stored.iter().zip(&expected) {
        assert_eq!(stored, expected);
    }
    assert_eq!(stored.len(), expected.len());
    assert!(refused.len() < 250, "{} of 400 refused", refused.len());
}

#[actix_rt::test]
async fn names_that_are_stored_as_the_same_name_are_one_and_the_last_wins() {
    let (influxd, mut publisher) = ready();
    let tags = [("a\nb", "first"), ("a\\nb", "last"), ("ends\\", "first"), ("ends\\ ", "last")];
    let set = set_of(&[message(&tags, vec![counter("c", 1, json!({ "k\nl": 1, "k\\nl": 2 }))])]);
    assert_eq!(publish(&mut publisher, &set).await, all_written());
    let stored = influxd.points("kadabra");
    assert_eq!(stored[0]["tags"], json!({ "a\\nb": "last", "ends\\ ": "last" }));
    assert_eq!(stored[0]["fields"], json!({ "value": 1, "k\\nl": 2 }));
}

#[actix_rt::test]
async fn times_below_a_microsecond_are_exact() {
    let (influxd, _) = ready();
    let mut publisher = LinePublisher::influxdb(&Influxdb { unique_timestamps: true, ..config(&influxd.url()) });
    let messages: Vec<_> = (0..20).map(|n| message(&[("d", "v")], vec![counter("c", 1, json!({ "n": n }))])).collect();
    let set = set_of(&messages);
    let time_of = |message: Message<'_>| message.points()[0].time + i64::from(message.digest() % 1000);
    let times: BTreeSet<i64> = set.messages().map(time_of).collect();
    assert!(times.len() > 10);
    assert_eq!(publish(&mut publisher, &set).await, all_written());
    let stored: BTreeSet<i64> = influxd.points("kadabra").iter().map(|point| point["time"].as_i64().unwrap()).collect();
    assert_eq!(stored, times);
}

#[actix_rt::test]
async fn a_string_longer_than_influxdb_documents_is_stored_as_the_python_agent_stored_it() {
    let (influxd, mut publisher) = ready();
    let text = "x".repeat(1_000_000);
    let set = set_of(&[message(&[], vec![counter("c", 1, json!({ "text": text }))])]);
    assert_eq!(publish(&mut publisher, &set).await, all_written());
    assert_eq!(influxd.points("kadabra")[0]["fields"]["text"], text);
}

#[actix_rt::test]
async fn nothing_to_write_sends_nothing() {
    let server = StandIn::start(vec![Reply::Hang]);
    let mut publisher = LinePublisher::influxdb(&config(&server.url()));
    assert_eq!(write_on(&mut publisher).await, all_written());
    assert_eq!(publish(&mut publisher, &set_of(&[message(&[], vec![])])).await, all_written());
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[actix_rt::test]
async fn gzip_is_understood() {
    let (influxd, _) = ready();
    let mut publisher = LinePublisher::influxdb(&Influxdb { gzip: true, ..config(&influxd.url()) });
    assert_eq!(publisher.probe().await, all_written());
    assert_eq!(publish(&mut publisher, &many(3000)).await, all_written());
    assert_eq!(influxd.count("kadabra", "c"), 3000);
}
