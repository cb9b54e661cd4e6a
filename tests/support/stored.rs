//! What a stand-in has stored: a point is a series, a time and a field, and the last write to one wins.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FieldValue {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Text(String),
    Boolean(bool),
}

/// A line, parsed: a time in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) measurement: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) fields: Vec<(String, FieldValue)>,
    pub(crate) time: i64,
}

/// A series and a time.
type Row = (String, BTreeMap<String, String>, i64);

/// All points of a database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored(BTreeMap<Row, BTreeMap<String, FieldValue>>);

impl FieldValue {
    fn json(&self) -> Value {
        match self {
            Self::Float(value) => json!(value),
            Self::Integer(value) => json!(value),
            Self::Unsigned(value) => json!(value),
            Self::Text(value) => json!(value),
            Self::Boolean(value) => json!(value),
        }
    }
}

impl Stored {
    pub(crate) fn write(&mut self, line: Line) {
        self.0.entry((line.measurement, line.tags, line.time)).or_default().extend(line.fields);
    }

    pub(crate) fn remove_measurement(&mut self, name: &str) {
        self.0.retain(|(measurement, ..), _| measurement != name);
    }

    /// The value of a field in the last hour before `now`, at its newest time, of the series with this tag.
    pub(crate) fn newest(&self, measurement: &str, tag: (&str, &str), field: &str, now: i64) -> Option<Value> {
        const HOUR: i64 = 3_600_000_000_000;
        let has_tag = |tags: &BTreeMap<String, String>| tags.get(tag.0).is_some_and(|value| value == tag.1);
        let rows = self.0.iter().filter(|((of, tags, time), _)| of == measurement && has_tag(tags) && *time > now - HOUR);
        let values = rows.filter_map(|((.., time), fields)| Some((time, fields.get(field)?)));
        values.max_by_key(|(time, _)| **time).map(|(_, value)| value.json())
    }

    /// Every point from a time on as `{"measurement", "tags", "fields", "time"}`, sorted by its text, as `Influxd::points` has them.
    pub(crate) fn points(&self, from: i64) -> Vec<Value> {
        let rows = self.0.iter().filter(|((.., time), _)| *time >= from);
        let mut points: Vec<Value> = rows
            .map(|((measurement, tags, time), fields)| {
                let fields: Map<String, Value> = fields.iter().map(|(name, value)| (name.clone(), value.json())).collect();
                json!({ "measurement": measurement, "tags": tags, "fields": fields, "time": time })
            })
            .collect();
        points.sort_by_cached_key(Value::to_string);
        points
    }
}
