//! Only the culprits are refused, with InfluxDB's own words.

use std::{sync::Arc, time::SystemTime};

use kadabra::publisher::{LinePublisher, Outcome, Publisher, Refused};
use serde_json::{Value, json};

use super::{config, counter, message, publish, ready, refused, set_of, write_on};
use crate::support::influxd::{Influxd, Options};

#[actix_rt::test]
async fn only_points_of_a_conflicting_type_are_refused_and_in_influxdbs_words() {
    let (influxd, mut publisher) = ready();
    let metadata = |n: u32| if [3, 700, 1999].contains(&n) { json!({ "f": "text" }) } else { json!({ "f": 1.5 }) };
    let messages: Vec<Vec<u8>> =
        (0..2000).map(|n| message(&[], vec![counter("c", n, metadata(n)), counter("other", n, json!({}))])).collect();
    let refused = refused(publish(&mut publisher, &set_of(&messages)).await);
    assert_eq!(
        refused.iter().map(|refused| (refused.message, refused.metric.as_deref().unwrap())).collect::<Vec<_>>(),
        [(3, "c"), (700, "c"), (1999, "c")]
    );
    for refused in refused {
        assert_eq!(
            refused.reason,
            "InfluxDB refused it: 400 partial write: field type conflict: input field \"f\" on measurement \"c\" is type string, \
             already exists as type float dropped=1"
        );
    }
    assert_eq!(influxd.count("kadabra", "c"), 1997);
    assert_eq!(influxd.count("kadabra", "other"), 2000);
}

#[actix_rt::test]
async fn points_beyond_retention_are_refused_and_the_others_are_not() {
    let (influxd, mut publisher) = ready();
    influxd.execute("CREATE RETENTION POLICY short ON kadabra DURATION 1h REPLICATION 1 DEFAULT");
    let now = jiff_now();
    let fresh = json!({ "name": "fresh", "metadata": {}, "timestamp": now, "value": 2.0 });
    let mut counters: Vec<Value> = (0..2500).map(|n| counter("old", n, json!({}))).collect();
    counters.insert(1000, fresh);
    let refused = refused(publish(&mut publisher, &set_of(&[message(&[], counters)])).await);
    assert_eq!(refused.len(), 2500);
    assert!(
        refused
            .iter()
            .all(|refused| refused.metric.as_deref() == Some("old") && refused.reason.contains("points beyond retention policy"))
    );
    assert_eq!(influxd.count("kadabra", "fresh"), 1);
}

/// Now, as a Kadabra client writes it.
fn jiff_now() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    jiff::Timestamp::from_microsecond(i64::try_from(now.as_micros()).unwrap())
        .unwrap()
        .strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
        .to_string()
}

#[actix_rt::test]
async fn a_tag_called_time_is_refused_in_influxdbs_words() {
    let (influxd, mut publisher) = ready();
    let set = set_of(&[
        message(&[("time", "x")], vec![counter("bad", 1, json!({}))]),
        message(&[], vec![counter("good", 1, json!({}))]),
    ]);
    let refused = refused(publish(&mut publisher, &set).await);
    let [Refused { message: 0, metric, reason }] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!(metric.as_deref(), Some("bad"));
    assert!(reason.contains("invalid tag key: input tag \"time\" on measurement \"bad\" is invalid"), "{reason}");
    assert_eq!(influxd.points("kadabra").len(), 1);
}

#[actix_rt::test]
async fn a_field_called_time_is_not_lost_in_silence() {
    let (influxd, mut publisher) = ready();
    let set = set_of(&[message(&[], vec![counter("c", 1, json!({ "time": 3, "x": 4 }))])]);
    let refused = refused(publish(&mut publisher, &set).await);
    assert!(refused[0].reason.contains("no field called time"), "{refused:?}");
    assert_eq!(influxd.points("kadabra")[0]["fields"], json!({ "value": 1, "x": 4 }));
}

#[actix_rt::test]
async fn what_no_query_would_find_is_not_written() {
    let (influxd, mut publisher) = ready();
    let counters = ["a\\ b", "a\\,b", "a\\", "a\\\"b"].map(|name| counter(name, 1, json!({}))).to_vec();
    let set =
        set_of(&[message(&[], counters), message(&[("a\\ b", "c\"")], vec![counter("c", 1, json!({ "s": "x\nrogue v=2 2" }))])]);
    assert_eq!(refused(publish(&mut publisher, &set).await).len(), 5);
    assert_eq!(influxd.points("kadabra"), Vec::<Value>::new());
}

#[actix_rt::test]
async fn what_is_too_long_costs_only_its_point() {
    let (influxd, mut publisher) = ready();
    // The longest name that is written, one that is not, and a line of which InfluxDB repeats 300 KB before it says why not.
    let text = "x".repeat(60_000);
    let mut late = counter("late", 1, json!({ "a": text, "b": text, "c": text, "d": text, "e": text }));
    late["timestamp"] = "2262-04-11T23:47:16.854775Z".into();
    let tags = [("time", "x")];
    let set = set_of(&[
        message(&[], vec![counter(&"x".repeat(65_526), 1, json!({})), counter(&"x".repeat(65_527), 1, json!({}))]),
        message(&tags, vec![late]),
        message(&[], vec![counter("c", 1, json!({}))]),
    ]);
    let refused = refused(publish(&mut publisher, &set).await);
    assert_eq!(refused.iter().map(|refused| refused.message).collect::<Vec<_>>(), [0, 1], "{refused:?}");
    assert!(refused[0].reason.contains("65535 bytes"), "{refused:?}");
    assert_eq!(influxd.points("kadabra").len(), 2);
}

#[actix_rt::test]
async fn a_body_that_is_too_large_is_split_and_a_point_that_is_too_large_refused() {
    let influxd = Influxd::start_with(Options { max_body_size: Some(100_000), ..Options::default() });
    influxd.create_database("kadabra");
    let mut publisher = LinePublisher::influxdb(&config(&influxd.url()));
    let text = "x".repeat(60_000);
    let mut messages: Vec<Vec<u8>> =
        (0..8000).map(|n| message(&[], vec![counter("c", n, json!({ "text": "y".repeat(200) }))])).collect();
    messages.insert(4000, message(&[], vec![counter("c", 9000, json!({ "a": text, "b": text }))]));
    publisher.load(Arc::new(set_of(&messages)));
    // A server that refuses a large body closes while we still send: each time it may take an answer, or be a retry.
    let outcome = loop {
        match write_on(&mut publisher).await {
            Outcome::Retry { why, .. } => assert!(why.contains("connection"), "{why}"),
            outcome => break outcome,
        }
    };
    let refused = refused(outcome);
    assert!(refused.len() == 1 && refused[0].message == 4000 && refused[0].reason.contains("413"), "{refused:?}");
    assert_eq!(influxd.count("kadabra", "c"), 8000);
}
