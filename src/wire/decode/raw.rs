//! A message as it was read, before any verdict: where its strings are and of what types its parts were.

use std::ops::Range;

use crate::wire::memory_budget::MemoryBudget;

/// A stretch of the payload, or of the scratch text when it had to be unescaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u32,
    pub(super) len: u32,
    pub(super) in_scratch: bool,
}

/// A JSON value as far as decoding cares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Raw {
    /// The key was not there.
    #[default]
    Absent,
    Null,
    Bool(bool),
    Int(i64),
    /// The digits of an integer that does not fit an `i64`.
    BigInt(Piece),
    Float(f64),
    /// A number as it was written that is none, such as `NaN`, or is beyond an `f64`.
    NotFinite(Piece),
    Text(Piece),
    /// A string as it was written, with half of a surrogate pair in it.
    Surrogate(Piece),
    List,
    Object,
    /// A list or object in metadata, as JSON.
    Json(Piece),
    /// A list or object in metadata that is nested too deep.
    TooDeep,
}

/// A dimension; `this` is [`Raw::Object`] when it is an object at all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RawDimension {
    pub(super) this: Raw,
    pub(super) name: Raw,
    pub(super) value: Raw,
}

/// A metadata entry; the name is a [`Raw::Text`] or a [`Raw::Surrogate`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RawField {
    pub(super) name: Raw,
    pub(super) value: Raw,
}

/// A counter or timer; `this`, `unit` and `metadata` are [`Raw::Object`] when they are objects at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RawMetric {
    pub(super) this: Raw,
    pub(super) name: Raw,
    pub(super) value: Raw,
    pub(super) timestamp: Raw,
    pub(super) unit: Raw,
    pub(super) unit_name: Raw,
    pub(super) metadata: Raw,
    pub(super) fields: Range<usize>,
}

/// A list of the message; `this` is [`Raw::List`] when it is a list at all.
#[derive(Debug, PartialEq)]
pub(super) struct Section<T> {
    pub(super) this: Raw,
    pub(super) items: Vec<T>,
}

impl<T> Default for Section<T> {
    fn default() -> Self {
        Self { this: Raw::Absent, items: Vec::new() }
    }
}

impl<T> Section<T> {
    pub(super) fn begin(&mut self, this: Raw) {
        self.this = this;
        self.items.clear();
    }
}

/// Memory for more than this is given back after the message that needed it.
const KEPT: usize = 1024;

/// One message; kept from message to message for its memory.
#[derive(Debug, Default, PartialEq)]
pub(super) struct RawMessage {
    pub(super) this: Raw,
    /// What is left for the rest of the message.
    pub(super) budget: MemoryBudget,
    pub(super) dimensions: Section<RawDimension>,
    pub(super) counters: Section<RawMetric>,
    pub(super) timers: Section<RawMetric>,
    pub(super) timestamp_format: Raw,
    pub(super) fields: Vec<RawField>,
    pub(super) scratch: String,
}

impl RawMessage {
    /// Makes ready for the next message.
    pub(super) fn begin(&mut self, budget: MemoryBudget) {
        self.this = Raw::Absent;
        self.budget = budget;
        self.dimensions.begin(Raw::Absent);
        self.counters.begin(Raw::Absent);
        self.timers.begin(Raw::Absent);
        self.timestamp_format = Raw::Absent;
        self.fields.clear();
        self.scratch.clear();
    }

    /// Gives back what a usual message does not need.
    pub(super) fn shrink(&mut self) {
        if self.dimensions.items.capacity() > KEPT {
            self.dimensions.items = Vec::new();
        }
        for metrics in [&mut self.counters.items, &mut self.timers.items] {
            if metrics.capacity() > KEPT {
                *metrics = Vec::new();
            }
        }
        if self.fields.capacity() > KEPT {
            self.fields = Vec::new();
        }
        if self.scratch.capacity() > 16 * KEPT {
            self.scratch = String::new();
        }
    }
}
