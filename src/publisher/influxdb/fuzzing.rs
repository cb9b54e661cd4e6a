//! What no name, no value and no answer can do; see [`crate::fuzzing`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use super::{
    InfluxdbPublisher, Outcome,
    answers::{self, Answer, Cause, MAX_RETRY_AFTER, Verdict},
};
use crate::{
    config::{Influxdb, Secret},
    publisher::{
        isolate::{Evidence, Next},
        line::{
            Encoder, Lines, Place,
            reader::{self, Read},
        },
    },
    wire::{
        MessageSet,
        build::{Contents, Metric, Value},
    },
};

/// Where a set begins.
const FIRST: Place = Place { message: 0, point: 0 };

pub(crate) fn line(bytes: &[u8]) {
    let mut source = Source(bytes);
    let messages: Vec<_> = (0..1 + source.byte() % 2).map(|_| source.message()).collect();
    let mut set = MessageSet::new();
    for (dimensions, metrics) in &messages {
        set.push_message(dimensions, metrics);
    }
    let (mut encoder, mut lines) = (Encoder::default(), Lines::default());
    // What a fuzzer writes fits into one window.
    assert_eq!(encoder.encode(&set, FIRST, &mut lines), None);

    let (mut meant, mut names) = (Vec::new(), Vec::new());
    let all_refused = lines.take_refused();
    let mut refused = all_refused.iter();
    for (message, (dimensions, metrics)) in messages.iter().enumerate() {
        for (point, metric) in metrics.iter().enumerate() {
            let said = refused.as_slice().first().filter(|(place, _)| (place.message, place.point) == (message, point));
            if let Some((_, refusal)) = said {
                refused.next();
                assert_eq!((refusal.message, refusal.metric.as_ref()), (message, Some(&metric.name)));
            }
            let note = said.is_some_and(|(_, refusal)| refusal.reason.contains("written without"));
            let written = said.is_none() || note;
            match expect(dimensions, metric) {
                Expect::Refused => assert!(!written, "{metric:?}"),
                Expect::Written => assert!(written, "{said:?}: {metric:?}"),
                // Which lines InfluxDB does not find the end of is for the reader to show.
                Expect::WrittenOrRefused => {}
            }
            if written {
                assert_eq!(note, metric.metadata.iter().any(|(name, _)| name == "time"), "{metric:?}");
                meant.push(mean(dimensions, metric));
                names.push(&metric.name);
            }
        }
    }
    assert_eq!(refused.len(), 0, "a refusal of nothing");
    let body = lines.slice(&(0..lines.len()));
    assert_eq!(reader::read(&body), Ok(meant), "{}", String::from_utf8_lossy(&body));

    // Any line by itself is that point, and its refusal names it.
    let alone: Vec<_> = (0..lines.len()).map(|line| lines.slice(&(line..line + 1))).collect();
    assert_eq!(alone.concat(), body);
    for (line, name) in names.into_iter().enumerate() {
        let refusal = lines.refusal(line, "why").and_then(|(_, refusal)| refusal.metric);
        // A name that begins as another one is stored is told as that one.
        let stored = name.replace('\n', "\\n");
        let begins_stored = ["\\#", "\\\t", "\\\0"].iter().any(|start| stored.starts_with(start));
        assert_eq!(refusal.as_deref(), stored.get(usize::from(begins_stored)..));
    }

    // Another set before it changes nothing.
    let mut again = Lines::default();
    let mut other = MessageSet::new();
    other.push_message(&[("x".to_owned(), "y".to_owned())], &[]);
    encoder.encode(&other, FIRST, &mut again);
    encoder.encode(&set, FIRST, &mut again);
    assert_eq!(again.slice(&(0..again.len())), body);
}

/// What must become of a metric.
enum Expect {
    Written,
    Refused,
    WrittenOrRefused,
}

fn expect(dimensions: &[(String, String)], metric: &Metric) -> Expect {
    let unreadable =
        |name: &str| name.ends_with('\\') || [',', ' ', '=', '"'].iter().any(|special| name.contains(&format!("\\{special}")));
    let infinite = |value: &Value| matches!(value, Value::Float(float) if !float.is_finite());
    let bad = fields(metric).any(|(name, value)| name != "time" && (unreadable(name) || infinite(value)));
    if bad || unreadable(&metric.name) || !metric.value.is_finite() {
        Expect::Refused
    } else if dimensions.iter().any(|(name, value)| name.contains('\\') || value.contains('\\')) {
        Expect::WrittenOrRefused
    } else {
        Expect::Written
    }
}

/// The metadata that does not give way to the metric's own value and unit.
fn fields(metric: &Metric) -> impl Iterator<Item = &(String, Value)> {
    metric.metadata.iter().filter(|(name, _)| name != "value" && (name != "unit" || metric.unit.is_none()))
}

/// What a metric says, in the documented form where line protocol has none for it.
fn mean(dimensions: &[(String, String)], metric: &Metric) -> Read {
    let stored = |text: &str| text.replace('\n', "\\n");
    let tag = |text: &str| stored(text) + if text.ends_with('\\') { " " } else { "" };
    // Of what is stored under one name the last, in the order of the names as they were.
    let last = |names: &mut dyn Iterator<Item = String>| -> BTreeSet<usize> {
        names.enumerate().map(|(index, name)| (name, index)).collect::<BTreeMap<_, _>>().into_values().collect()
    };
    let kept = last(&mut dimensions.iter().map(|(name, _)| tag(name)));
    let mut tags: Vec<_> = kept.into_iter().filter_map(|index| dimensions.get(index)).collect();
    tags.sort_by_key(|(name, _)| name);
    let mut measurement = stored(&metric.name);
    if metric.name.starts_with(['#', '\t', '\0']) {
        measurement.insert(0, '\\');
    }
    let mut said = vec![("value".to_owned(), Value::Float(metric.value))];
    said.extend(metric.unit.clone().map(|unit| ("unit".to_owned(), Value::Text(unit))));
    let metadata: Vec<_> = fields(metric).filter(|(name, _)| name != "time").collect();
    let kept = last(&mut metadata.iter().map(|(name, _)| stored(name)));
    said.extend(kept.into_iter().filter_map(|index| metadata.get(index)).map(|(name, value)| (stored(name), value.clone())));
    Read {
        measurement,
        tags: tags.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (tag(name), tag(value))).collect(),
        fields: said,
        time: metric.time,
    }
}

/// Takes values off bytes. A text ends with 0xFF, which is in no UTF-8, so that a change to one text leaves the others.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn text(&mut self) -> String {
        let mut parts = self.0.splitn(2, |byte| *byte == 0xff);
        let text = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        self.0 = parts.next().unwrap_or_default();
        text
    }

    /// What a set promises not to be empty.
    fn name(&mut self) -> String {
        Some(self.text()).filter(|name| !name.is_empty()).unwrap_or_else(|| "n".to_owned())
    }

    fn int(&mut self) -> i64 {
        i64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn value(&mut self) -> Value {
        match self.byte() % 5 {
            0 => Value::Text(self.text()),
            1 => Value::Int(self.int()),
            2 => Value::Float(f64::from_bits(self.int().cast_unsigned())),
            3 => Value::Bool(true),
            _ => Value::Bool(false),
        }
    }

    fn metric(&mut self) -> Metric {
        let shape = self.byte();
        let name = self.name();
        let unit = (shape & 1 != 0).then(|| self.text());
        let value = if shape & 2 != 0 { f64::from_bits(self.int().cast_unsigned()) } else { f64::from(self.byte()) / 8.0 };
        let time = if shape & 4 != 0 { self.int() } else { i64::from(self.byte()) - 128 };
        let metadata: BTreeMap<_, _> = (0..shape >> 5).map(|_| (self.name(), self.value())).collect();
        Metric { name, unit, value, time, metadata: metadata.into_iter().collect() }
    }

    fn message(&mut self) -> Contents {
        let shape = self.byte();
        let dimensions = (0..shape & 3).map(|_| (self.name(), self.text())).collect();
        (dimensions, (0..1 + (shape >> 2 & 3)).map(|_| self.metric()).collect())
    }
}

/// A password that no server may bring into a log.
const SECRET: &str = "hunter2";

/// A sentence, with a status and a quote of 400 characters of up to four bytes.
const LONGEST_WORDS: usize = 200 + 4 * 400;

pub(crate) fn answer(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let mut next = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let Ok(status) = next().trim().parse() else { return };
    let retry_after = Some(next()).filter(|header| !header.is_empty());
    let answer = Answer { status, retry_after, body: next(), location: None };
    let hide = |text: String| text.replace(SECRET, "***");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let verdict = answers::verdict(&answer, SENT, now, hide);
    assert_eq!(verdict, answers::verdict(&answer, SENT, now, hide));

    let executed = answers::is_executed(&answer);
    assert!(!executed || (status == 200 && answer.body.contains("results")));
    printable(&answers::words(&answer, hide));
    allowed(&answer, &verdict);
    settles(&verdict);
}

/// What was sent when that was the answer.
const SENT: &[u8] = b"c value=1 1\nbad\n";

/// What may follow from a status, whatever is said beside it.
fn allowed(answer: &Answer, verdict: &Verdict) {
    let body = answer.body.as_str();
    let is_json_object = body.trim_start().starts_with('{');
    match (answer.status, verdict) {
        (204, Verdict::Complete) | (401, Verdict::Hold { cause: Cause::Unauthenticated, .. }) => {}
        (403, Verdict::Hold { cause: Cause::Forbidden, .. }) | (413, Verdict::Split { .. }) => {}
        (400, Verdict::Isolate { refused, .. }) => {
            assert!(is_json_object, "points were condemned by what is not InfluxDB");
            assert!(refused.is_none_or(|count| count > 0 && body.contains("partial write")));
        }
        (400, Verdict::Limited { .. }) => assert!(is_json_object && body.contains("limit exceeded")),
        (400, Verdict::Retry { after, .. }) => {
            assert!(is_json_object && (after.is_none() || answer.retry_after.is_some()));
        }
        (400, Verdict::Hold { cause, .. }) => assert_eq!(*cause, Cause::NotInfluxdb),
        (404 | 500, Verdict::Hold { cause: Cause::NoDatabase, .. }) => assert!(is_json_object),
        (500, Verdict::Hold { cause: Cause::NoRetentionPolicy, .. }) => assert!(is_json_object),
        (408 | 425 | 429 | 499 | 500..=599, Verdict::Retry { after, .. }) => {
            assert!(after.is_none_or(|after| answer.retry_after.is_some() && after <= MAX_RETRY_AFTER));
        }
        (status, Verdict::Hold { cause: Cause::NotInfluxdb, .. }) => {
            assert!(!matches!(status, 204 | 401 | 403 | 408 | 413 | 425 | 429 | 499 | 500..=599), "{verdict:?}");
        }
        _ => unreachable!("{verdict:?} of {}", answer.status),
    }
}

/// A verdict is told in printable lines, and a batch ends by it: every line is written, refused, or still there. Only what InfluxDB says
/// of points condemns any where nothing else was taken.
fn settles(verdict: &Verdict) {
    const LINES: usize = 9;
    let evidence = Evidence::default();
    let mut publisher = InfluxdbPublisher::new(&config());
    publisher.work.load(LINES);
    let mut steps = 0;
    while let Some(next) = publisher.work.next(|range| range.len(), &evidence) {
        steps += 1;
        assert!(steps <= 4 * LINES, "{verdict:?} has no end");
        let failure = publisher.failure(verdict.clone(), LINES);
        let work = &mut publisher.work;
        let stopped = match (next, verdict) {
            (Next::Blank, _) => {
                work.proved();
                continue;
            }
            (Next::Sample, _) => unreachable!("nothing was taken"),
            (_, Verdict::Complete) => {
                work.accepted();
                continue;
            }
            (_, Verdict::Isolate { words, refused }) => {
                printable(words);
                work.isolate(words, *refused);
                continue;
            }
            (_, Verdict::Limited { refused, .. }) => work.limited(failure.clone(), *refused),
            (_, Verdict::Split { .. }) => work.split(failure.clone(), LINES),
            (_, Verdict::Retry { .. } | Verdict::Hold { .. }) => work.failed(failure.clone()),
        };
        printable(&failure.words);
        if let Some(outcome) = stopped {
            if let Outcome::Hold { what, mend } = outcome {
                printable(&what);
                assert!(!mend.is_empty());
            }
            return assert!(work.take_refused().is_empty());
        }
    }
    let refused: Vec<_> = publisher.work.take_refused().iter().map(|refused| refused.line).collect();
    assert_eq!(refused, if *verdict == Verdict::Complete { vec![] } else { (0..LINES).collect() });
}

fn config() -> Influxdb {
    Influxdb {
        url: "http://localhost:8086".to_owned(),
        database: "kadabra".to_owned(),
        username: Some("agent".to_owned()),
        password: Some(Secret::new(SECRET)),
        retention_policy: None,
        create_database: false,
        timeout: Duration::from_secs(5),
        gzip: false,
        unique_timestamps: true,
    }
}

fn printable(words: &str) {
    assert!(words.len() <= LONGEST_WORDS, "{} bytes", words.len());
    assert!(!words.contains(char::is_control), "{words:?}");
    assert!(!words.contains(SECRET), "{words:?}");
}
