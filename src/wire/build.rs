//! Sets built by hand and taken apart again, for the tests of those who read them.

use super::{
    Dimension, Field, Kind, MessageSet, Point, Scalar,
    set::{Entry, Text},
};

/// A metadata value before it is in a set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

/// A metric before it is in a set; a timer when it has a unit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) unit: Option<String>,
    pub(crate) value: f64,
    pub(crate) time: i64,
    pub(crate) metadata: Vec<(String, Value)>,
}

/// A message's dimensions and metrics.
pub(crate) type Contents = (Vec<(String, String)>, Vec<Metric>);

impl MessageSet {
    /// Appends a message.
    pub(crate) fn push_message(&mut self, dimensions: &[(String, String)], metrics: &[Metric]) {
        let dimensions_start = self.dimensions.len();
        for (name, value) in dimensions {
            let dimension = Dimension { name: self.push(name), value: self.push(value) };
            self.dimensions.push(dimension);
        }
        let points_start = self.points.len();
        for metric in metrics {
            let fields_start = self.fields.len();
            for (name, value) in &metric.metadata {
                let value = match value {
                    Value::Text(text) => Scalar::Text(self.push(text)),
                    Value::Int(int) => Scalar::Int(*int),
                    Value::Float(float) => Scalar::Float(*float),
                    Value::Bool(bool) => Scalar::Bool(*bool),
                };
                let field = Field { name: self.push(name), value };
                self.fields.push(field);
            }
            let kind = metric.unit.as_ref().map_or(Kind::Counter, |unit| Kind::Timer { unit: self.push(unit) });
            let name = self.push(&metric.name);
            let fields = fields_start as u32..self.fields.len() as u32;
            self.points.push(Point { kind, name, value: metric.value, time: metric.time, fields });
        }
        self.entries.push(Entry {
            dimensions: dimensions_start as u32..self.dimensions.len() as u32,
            points: points_start as u32..self.points.len() as u32,
            digest: 0,
            adopted: false,
        });
    }

    /// What every message holds, in the order of the set.
    pub(crate) fn contents(&self) -> Vec<Contents> {
        let owned = |text: Text| self.text(text).to_owned();
        let metric = |point: &Point| Metric {
            name: owned(point.name),
            unit: match point.kind {
                Kind::Counter => None,
                Kind::Timer { unit } => Some(owned(unit)),
            },
            value: point.value,
            time: point.time,
            metadata: self.fields(point).iter().map(|field| (owned(field.name), self.owned(field.value))).collect(),
        };
        let dimension = |dimension: &Dimension| (owned(dimension.name), owned(dimension.value));
        self.messages()
            .map(|message| (message.dimensions().iter().map(dimension).collect(), message.points().iter().map(metric).collect()))
            .collect()
    }

    fn owned(&self, value: Scalar) -> Value {
        match value {
            Scalar::Text(text) => Value::Text(self.text(text).to_owned()),
            Scalar::Int(int) => Value::Int(int),
            Scalar::Float(float) => Value::Float(float),
            Scalar::Bool(bool) => Value::Bool(bool),
        }
    }

    fn push(&mut self, text: &str) -> Text {
        // A set that is built by hand has no 4 GiB.
        self.push_text(text).unwrap_or_default()
    }
}
