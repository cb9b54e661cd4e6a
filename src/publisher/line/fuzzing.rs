//! What no name and no value can do; see [`crate::fuzzing`].

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Backslashes, Encode, Encoder, Lines, Place, Rules,
    reader::{self, Read},
};
use crate::wire::{
    MessageSet,
    build::{Contents, Metric, Value},
};

/// Where a set begins.
const FIRST: Place = Place { message: 0, point: 0 };

const RULES: Rules = Rules { name: "InfluxDB 1.x", max_key: 65_535, unique_timestamps: false, backslashes: Backslashes::Kept };

pub(crate) fn line(bytes: &[u8]) {
    let mut source = Source(bytes);
    let messages: Vec<_> = (0..1 + source.byte() % 2).map(|_| source.message()).collect();
    let mut set = MessageSet::new();
    for (dimensions, metrics) in &messages {
        set.push_message(dimensions, metrics);
    }
    let (mut encoder, mut lines) = (Encoder::new(RULES), Lines::default());
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
        let refusal = lines.refusal(line, "why", Backslashes::Kept).and_then(|(_, refusal)| refusal.metric);
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
