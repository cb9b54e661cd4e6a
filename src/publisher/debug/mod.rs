//! Logs what it would publish, as Kadabra's debug publisher does.

mod json;
mod text;

use std::time::Duration;

use async_trait::async_trait;
use slog::info;

use super::{Outcome, Publisher, RefusedAt};
use crate::{
    metrics::MessageSet,
    observe::log::{KeptLog, TEXT_BLOCKS},
    panics,
};

/// How much goes in one record, in bytes: journald cuts a line at 48 KiB, and JSON that is cut is none.
const MAX_RECORD: usize = 40 << 10;

/// How long one attempt waits for the log to be read.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a batch looks like in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A short block a message, for people.
    Text,
    /// One JSON list of messages.
    Json,
}

/// Logs each batch at INFO, as one record.
///
/// Unlike Kadabra's, the record is bounded: messages that do not fit in 40 KiB are left out, and `left_out` counts them.
///
/// The log is the destination here, so a batch is done when its record is written; while nobody reads the log the
/// others wait in the channel. What is given back then may be shown twice.
pub struct DebugPublisher {
    log: KeptLog,
    form: Form,
    record: String,
    shown: usize,
    left_out: usize,
    /// Up to where the log must be written, once the batch is logged.
    logged: Option<u64>,
    refused: Vec<RefusedAt>,
}

impl DebugPublisher {
    /// Logs to `log`.
    #[must_use]
    pub fn new(log: KeptLog, form: Form) -> Self {
        Self { log, form, record: String::new(), shown: 0, left_out: 0, logged: None, refused: Vec::new() }
    }

    fn forget(&mut self) {
        self.record.clear();
        (self.shown, self.left_out) = (0, 0);
    }

    fn show(&mut self, shown: &str) {
        let between = match (self.form, self.record.is_empty()) {
            (Form::Text, _) => "\n",
            (Form::Json, true) => "[",
            (Form::Json, false) => ", ",
        };
        if self.record.len() + between.len() + shown.len() + "]".len() > MAX_RECORD {
            self.left_out += 1;
        } else {
            self.record.push_str(between);
            self.record.push_str(shown);
            self.shown += 1;
        }
    }

    fn say(&self) {
        let (log, record) = (self.log.log(), self.record.as_str());
        match (self.form, self.shown, self.left_out) {
            (_, 0, 0) => {}
            (Form::Text, shown, 0) => info!(log, #TEXT_BLOCKS, "{}{}", messages(shown), record),
            (Form::Text, shown, left_out) => {
                info!(log, #TEXT_BLOCKS, "{}, and {} that do not fit here{}", messages(shown), left_out, record);
            }
            (Form::Json, _, 0) => info!(log, "{}]", record),
            (Form::Json, 0, left_out) => info!(log, "[]"; "left_out" => left_out),
            (Form::Json, _, left_out) => info!(log, "{}]", record; "left_out" => left_out),
        }
    }
}

fn messages(count: usize) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}

#[async_trait(?Send)]
impl Publisher for DebugPublisher {
    fn destination(&self) -> String {
        "debug: the log".to_owned()
    }

    fn load(&mut self, set: MessageSet) {
        self.forget();
        self.logged = None;
        self.refused.clear();
        for (index, message) in set.messages().enumerate().filter(|(_, message)| !message.points().is_empty()) {
            let form = self.form;
            let shown = panics::catch("showing it", || match form {
                Form::Text => text::block(&set, &message),
                Form::Json => json::value(&set, &message).to_string(),
            });
            match shown {
                Ok(shown) => self.show(&shown),
                Err(reason) => self.refused.push(RefusedAt { message: index, metric: None, reason }),
            }
        }
    }

    async fn write(&mut self) -> Outcome {
        if self.logged.is_none() {
            self.say();
            self.forget();
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
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

    async fn logged(form: Form, set: &MessageSet) -> Vec<(Level, String, String)> {
        let records = Records::default();
        let mut publisher = DebugPublisher::new(KeptLog::at_once(Logger::root(records.clone().fuse(), slog::o!())), form);
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
        let logged = logged(Form::Json, &set).await;
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
        for form in [Form::Text, Form::Json] {
            assert!(logged(form, &set).await.is_empty());
        }
        set.push_message(&[], &[]);
        for form in [Form::Text, Form::Json] {
            assert!(logged(form, &set).await.is_empty());
        }
    }

    #[actix_rt::test]
    async fn a_line_is_bounded_and_says_what_it_left_out() {
        let mut set = MessageSet::new();
        for _ in 0..2000 {
            push(&mut set, "v");
        }
        let json = logged(Form::Json, &set).await;
        let [(_, line, keys)] = json.as_slice() else { panic!("{json:?}") };
        let shown = serde_json::from_str::<Vec<Value>>(line).unwrap().len();
        assert!(line.len() <= MAX_RECORD && shown > 100, "{} bytes, {shown} messages", line.len());
        assert_eq!(*keys, format!("left_out={}", 2000 - shown));

        let text = logged(Form::Text, &set).await;
        let [(_, record, _)] = text.as_slice() else { panic!("{text:?}") };
        let shown = record.matches("d=v").count();
        assert!(record.len() <= MAX_RECORD + 100 && shown > 100, "{} bytes, {shown} messages", record.len());
        assert!(record.starts_with(&format!("{shown} messages, and {} that do not fit here\n", 2000 - shown)), "{record}");
    }

    #[actix_rt::test]
    async fn a_message_larger_than_a_line_is_counted() {
        let mut set = MessageSet::new();
        push(&mut set, &"x".repeat(MAX_RECORD));
        assert_eq!(logged(Form::Json, &set).await, [(Level::Info, "[]".to_owned(), "left_out=1".to_owned())]);
        let text = "0 messages, and 1 that do not fit here".to_owned();
        assert_eq!(logged(Form::Text, &set).await, [(Level::Info, text, String::new())]);
    }
}
