//! Logs what it would publish, as Kadabra's debug publisher does.

mod json;
mod text;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use slog::info;

use super::{Caution, Outcome, Publisher, Publishers, Refused};
use crate::{
    codes::Code,
    config::{Debug, DebugFormat, Log},
    observe::log::{KeptLog, Refusal, Submitted, TEXT_BLOCKS, Withdrawn, is_for_people},
    panics, plural,
    wire::MessageSet,
};

/// How much goes in one record, in bytes: journald cuts a line at 48 KiB, and JSON that is cut is none. A message that is larger
/// is a record of its own.
const MAX_RECORD: usize = 40 << 10;

/// How many bytes of messages a batch may have. The log has all of a batch or nothing of it, so it is all in memory as text.
const MAX_BATCH: usize = 256 << 10;

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

/// Publishers that show metrics in the log, each in a `log` of its own.
pub(super) fn publishers(debug: &Debug, log: Log, kept: impl Fn() -> KeptLog + Send + Sync + 'static) -> Publishers {
    let form = match debug.format {
        DebugFormat::Auto if !is_for_people(log) => Form::Json,
        DebugFormat::Json => Form::Json,
        DebugFormat::Auto | DebugFormat::Text => Form::Text,
    };
    let receipt = Caution {
        what: "metrics go to this log and are kept nowhere else".to_owned(),
        mend: "set publisher.type = \"influxdb\" to keep them".to_owned(),
    };
    Publishers {
        max_batch_bytes: MAX_BATCH,
        receipt: Some(receipt),
        ..Publishers::new(move || Box::new(DebugPublisher::new(kept(), form)))
    }
}

/// Logs each batch at INFO, as one record or, beyond 40 KiB, as several.
///
/// The log is the destination here, so a batch is done when its records are written; while nobody reads the log, or it cannot
/// be written, its messages stay in the channel. Only what a reader has a part of when the agent ends may be shown twice.
pub struct DebugPublisher {
    log: KeptLog,
    form: Form,
    records: Vec<ShownMessages>,
    /// The records, once they are logged.
    submitted: Option<Submitted>,
    refused: Vec<Refused>,
}

/// What is one record.
#[derive(Default)]
struct ShownMessages {
    text: String,
    count: usize,
}

impl DebugPublisher {
    /// Logs to `log`.
    #[must_use]
    pub fn new(log: KeptLog, form: Form) -> Self {
        Self { log, form, records: Vec::new(), submitted: None, refused: Vec::new() }
    }

    fn forget(&mut self) {
        if let Some(submitted) = self.submitted.take() {
            self.log.withdraw(submitted);
        }
        self.records.clear();
        self.refused.clear();
    }

    fn show(&mut self, shown: &str) {
        let fits = self.records.last().is_some_and(|record| record.text.len() + shown.len() + "[, ]".len() <= MAX_RECORD);
        if !fits {
            self.records.push(ShownMessages::default());
        }
        let Some(record) = self.records.last_mut() else { return };
        record.text.push_str(match (self.form, record.count) {
            (Form::Text, _) => "\n",
            (Form::Json, 0) => "[",
            (Form::Json, _) => ", ",
        });
        record.text.push_str(shown);
        record.count += 1;
    }

    fn submit(&self) -> Submitted {
        let log = self.log.log();
        for ShownMessages { text, count } in &self.records {
            match self.form {
                Form::Text => info!(log, #TEXT_BLOCKS, "{}{}", messages(*count), text),
                Form::Json => info!(log, "{}]", text),
            }
        }
        self.log.submit()
    }
}

impl Drop for DebugPublisher {
    fn drop(&mut self) {
        self.forget();
    }
}

fn messages(count: usize) -> String {
    plural::count(count, "message")
}

#[async_trait(?Send)]
impl Publisher for DebugPublisher {
    fn destination(&self) -> String {
        "debug: the log".to_owned()
    }

    fn load(&mut self, set: Arc<MessageSet>) {
        self.forget();
        for (index, message) in set.messages().enumerate().filter(|(_, message)| !message.points().is_empty()) {
            let form = self.form;
            let shown = panics::catch("showing it", || match form {
                Form::Text => text::block(&set, &message),
                Form::Json => json::value(&set, &message).to_string(),
            });
            match shown {
                Ok(shown) => self.show(&shown),
                Err(reason) => self.refused.push(Refused { message: index, metric: None, reason }),
            }
        }
    }

    async fn write(&mut self) -> Outcome {
        if let Some(missing) = self.log.missing() {
            return hold(missing);
        }
        let submitted = self.submitted.unwrap_or_else(|| self.submit());
        self.submitted = Some(submitted);
        let waited = tokio::time::timeout(PATIENCE, self.log.written(submitted)).await;
        // What is given back must not be written later.
        match self.log.withdraw(submitted) {
            Withdrawn::Written => {
                self.submitted = None;
                self.records.clear();
                return Outcome::Written { refused: self.refused.clone() };
            }
            Withdrawn::Yes => self.submitted = None,
            Withdrawn::BeingWritten => {}
        }
        match waited {
            Ok(Err(refusal)) => hold(refusal),
            _ => Outcome::Retry {
                after: None,
                why: "nobody reads the log, which publisher.type = \"debug\" shows metrics in".to_owned(),
            },
        }
    }

    async fn probe(&mut self) -> Outcome {
        self.log.missing().or_else(|| self.log.refusal()).map_or(Outcome::Written { refused: Vec::new() }, hold)
    }
}

fn hold(Refusal { what, mend }: Refusal) -> Outcome {
    Outcome::Hold {
        code: Code::HeldOtherwise,
        what: format!("{what}, and publisher.type = \"debug\" shows metrics there alone"),
        mend,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::{Value, json};
    use slog::{Drain, KV, Level, Logger, OwnedKVList, Record};

    use super::*;
    use crate::wire::build::Metric;

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
        publisher.load(Arc::new(set.clone()));
        // The second time is for an answer that was lost, and shows nothing again.
        for _ in 0..2 {
            assert_eq!(publisher.write().await, Outcome::Written { refused: Vec::new() });
        }
        let records = records.0.lock().unwrap();
        records.clone()
    }

    fn push(set: &mut MessageSet, value: &str) {
        let metric = |name: &str, unit: Option<&str>| Metric {
            name: name.to_owned(),
            unit: unit.map(str::to_owned),
            value: 1.5,
            time: 1_772_464_229_986_705_000,
            metadata: vec![("k".to_owned(), crate::wire::build::Value::Int(7))],
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
    async fn a_line_is_bounded_and_no_message_is_left_out() {
        let mut set = MessageSet::new();
        for number in 0..2000 {
            push(&mut set, &number.to_string());
        }
        let all: Vec<_> = (0..2000).map(|number| number.to_string()).collect();
        let mut shown = Vec::new();
        for (_, line, _) in logged(Form::Json, &set).await {
            assert!(line.len() <= MAX_RECORD, "{} bytes", line.len());
            let list = serde_json::from_str::<Vec<Value>>(&line).unwrap();
            shown.extend(list.iter().map(|message| message["dimensions"][0]["value"].as_str().unwrap().to_owned()));
        }
        assert_eq!(shown, all);

        let mut shown = Vec::new();
        for (_, record, _) in logged(Form::Text, &set).await {
            assert!(record.len() <= MAX_RECORD + 100, "{} bytes", record.len());
            let before = shown.len();
            shown.extend(record.lines().filter_map(|line| Some(line.split_once("d=")?.1.to_owned())));
            assert!(record.starts_with(&format!("{} messages\n", shown.len() - before)), "{record}");
        }
        assert_eq!(shown, all);
    }

    #[actix_rt::test]
    async fn a_message_larger_than_a_line_is_a_line_of_its_own() {
        let mut set = MessageSet::new();
        for value in ["a", &"x".repeat(MAX_RECORD), "b"] {
            push(&mut set, value);
        }
        for form in [Form::Json, Form::Text] {
            let records = logged(form, &set).await;
            let sizes: Vec<_> = records.iter().map(|(_, record, _)| record.len() > MAX_RECORD).collect();
            assert_eq!(sizes, [false, true, false]);
        }
    }
}
