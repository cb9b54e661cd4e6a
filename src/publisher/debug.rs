//! Logs what it would publish, as Kadabra's debug publisher does.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use slog::info;

use super::{Outcome, Publisher, RefusedAt};
use crate::{
    metrics::{Field, Kind, Message, MessageSet, Point, Scalar},
    observe::log::KeptLog,
    panics,
};

/// How much JSON goes in one log line, in bytes: journald cuts at 48 KiB, and a line that is cut is no JSON.
const MAX_LINE: usize = 40 << 10;

/// How long one attempt waits for the log to be read.
const PATIENCE: Duration = Duration::from_millis(500);

/// Logs each batch at INFO: one line with the JSON list of its messages.
///
/// Unlike Kadabra's, the line is bounded: messages that do not fit in 40 KiB are left out, and `left_out` counts them.
///
/// The log is the destination here, so a batch is done when its line is written; while nobody reads the log the
/// others wait in the channel. What is given back then may be shown twice.
pub struct DebugPublisher {
    log: KeptLog,
    line: String,
    left_out: usize,
    /// Up to where the log must be written, once the batch is logged.
    logged: Option<u64>,
    refused: Vec<RefusedAt>,
}

impl DebugPublisher {
    /// Logs to `log`.
    #[must_use]
    pub fn new(log: KeptLog) -> Self {
        Self { log, line: String::new(), left_out: 0, logged: None, refused: Vec::new() }
    }

    fn say(&mut self) {
        match (self.line.as_str(), self.left_out) {
            ("", 0) => {}
            (line, 0) => info!(self.log.log(), "{}", line),
            ("", left_out) => info!(self.log.log(), "[]"; "left_out" => left_out),
            (line, left_out) => info!(self.log.log(), "{}", line; "left_out" => left_out),
        }
        self.line.clear();
        self.left_out = 0;
    }
}

#[async_trait(?Send)]
impl Publisher for DebugPublisher {
    fn destination(&self) -> String {
        "debug: the log".to_owned()
    }

    fn load(&mut self, set: MessageSet) {
        self.line.clear();
        self.left_out = 0;
        self.logged = None;
        self.refused.clear();
        for (index, message) in set.messages().enumerate().filter(|(_, message)| !message.points().is_empty()) {
            let json = match panics::catch("showing it", || to_json(&set, &message).to_string()) {
                Ok(json) => json,
                Err(reason) => {
                    self.refused.push(RefusedAt { message: index, metric: None, reason });
                    continue;
                }
            };
            if self.line.len() + json.len() + ", []".len() > MAX_LINE {
                self.left_out += 1;
            } else {
                self.line.push_str(if self.line.is_empty() { "[" } else { ", " });
                self.line.push_str(&json);
            }
        }
        if !self.line.is_empty() {
            self.line.push(']');
        }
    }

    async fn write(&mut self) -> Outcome {
        if self.logged.is_none() {
            self.say();
            self.logged = Some(self.log.position());
        }
        let written = self.log.written(self.logged.unwrap_or_default());
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(()) => Outcome::Written { refused: std::mem::take(&mut self.refused) },
            Err(_) => Outcome::Retry {
                after: None,
                why: "nobody reads the log, which publisher.type = \"debug\" shows metrics in".to_owned(),
            },
        }
    }

    async fn probe(&mut self) -> Outcome {
        Outcome::Written { refused: Vec::new() }
    }
}

fn to_json(set: &MessageSet, message: &Message<'_>) -> Value {
    let dimensions = message.dimensions().iter();
    let dimensions: Vec<Value> =
        dimensions.map(|dimension| json!({ "name": set.text(dimension.name), "value": set.text(dimension.value) })).collect();
    let points = |timers: bool| -> Vec<Value> {
        let points = message.points().iter().filter(|point| matches!(point.kind, Kind::Timer { .. }) == timers);
        points.map(|point| point_to_json(set, point)).collect()
    };
    json!({ "dimensions": dimensions, "counters": points(false), "timers": points(true) })
}

fn point_to_json(set: &MessageSet, point: &Point) -> Value {
    let metadata: Map<String, Value> =
        set.fields(point).iter().map(|field| (set.text(field.name).to_owned(), field_to_json(set, field))).collect();
    let timestamp = jiff::Timestamp::from_nanosecond(i128::from(point.time)).map(|time| time.to_string()).unwrap_or_default();
    let mut json = json!({ "name": set.text(point.name), "metadata": metadata, "timestamp": timestamp, "value": point.value });
    if let (Kind::Timer { unit }, Some(json)) = (point.kind, json.as_object_mut()) {
        json.insert("unit".to_owned(), json!({ "name": set.text(unit) }));
    }
    json
}

fn field_to_json(set: &MessageSet, field: &Field) -> Value {
    match field.value {
        Scalar::Text(text) => set.text(text).into(),
        Scalar::Int(int) => int.into(),
        Scalar::Float(float) => float.into(),
        Scalar::Bool(bool) => bool.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use slog::{Drain, KV, Level, Logger, OwnedKVList, Record};

    use super::*;
    use crate::metrics::build::Metric;

    /// Level, message and whether anything was left out, of each record.
    #[derive(Clone, Default)]
    struct Records(Arc<Mutex<Vec<(Level, String, String)>>>);

    struct Keys(String);

    impl slog::Serializer for Keys {
        fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
            self.0 += &format!("{key}={value}");
            Ok(())
        }
    }

    impl Drain for Records {
        type Ok = ();
        type Err = slog::Never;

        fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), slog::Never> {
            let mut keys = Keys(String::new());
            record.kv().serialize(record, &mut keys).unwrap();
            self.0.lock().unwrap().push((record.level(), record.msg().to_string(), keys.0));
            Ok(())
        }
    }

    async fn logged(set: &MessageSet) -> Vec<(Level, String, String)> {
        let records = Records::default();
        let mut publisher = DebugPublisher::new(KeptLog::at_once(Logger::root(records.clone().fuse(), slog::o!())));
        publisher.load(set.clone());
        assert_eq!(publisher.write().await, Outcome::Written { refused: Vec::new() });
        let records = records.0.lock().unwrap();
        records.clone()
    }

    fn push(set: &mut MessageSet, value: &str) {
        let metric = |name: &str, unit: Option<&str>| Metric {
            name: name.to_owned(),
            unit: unit.map(str::to_owned),
            value: 1.5,
            time: 1_772_464_229_986_705_000,
            metadata: vec![("k".to_owned(), crate::metrics::build::Value::Int(7))],
        };
        set.push_message(&[("d".to_owned(), value.to_owned())], &[metric("c", None), metric("t", Some("seconds"))]);
    }

    #[actix_rt::test]
    async fn a_batch_is_one_line_at_info() {
        let mut set = MessageSet::new();
        push(&mut set, "v");
        push(&mut set, "w");
        let logged = logged(&set).await;
        let [(Level::Info, line, keys)] = logged.as_slice() else { panic!("{logged:?}") };
        assert_eq!(keys, "");
        let list: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            list[1],
            json!({
                "dimensions": [{"name": "d", "value": "w"}],
                "counters": [{"name": "c", "metadata": {"k": 7}, "timestamp": "2026-03-02T15:10:29.986705Z", "value": 1.5}],
                "timers": [{
                    "name": "t", "unit": {"name": "seconds"}, "metadata": {"k": 7}, "timestamp": "2026-03-02T15:10:29.986705Z",
                    "value": 1.5,
                }],
            })
        );
    }

    #[actix_rt::test]
    async fn nothing_to_publish_logs_nothing() {
        let mut set = MessageSet::new();
        assert!(logged(&set).await.is_empty());
        set.push_message(&[], &[]);
        assert!(logged(&set).await.is_empty());
    }

    #[actix_rt::test]
    async fn a_line_is_bounded_and_says_what_it_left_out() {
        let mut set = MessageSet::new();
        for _ in 0..500 {
            push(&mut set, "v");
        }
        let logged = logged(&set).await;
        let [(_, line, keys)] = logged.as_slice() else { panic!("{logged:?}") };
        let shown = serde_json::from_str::<Vec<Value>>(line).unwrap().len();
        assert!(line.len() <= MAX_LINE && shown > 100, "{} bytes, {shown} messages", line.len());
        assert_eq!(*keys, format!("left_out={}", 500 - shown));
    }

    #[actix_rt::test]
    async fn a_message_larger_than_a_line_is_counted() {
        let mut set = MessageSet::new();
        push(&mut set, &"x".repeat(MAX_LINE));
        assert_eq!(logged(&set).await, [(Level::Info, "[]".to_owned(), "left_out=1".to_owned())]);
    }
}
