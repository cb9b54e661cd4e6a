//! The verdicts: which parts of a message that was read go into the set, and why the others do not.

use std::borrow::Cow;

use super::fields::Fields;
use super::raw::{Raw, RawDimension, RawMessage, RawMetric};
use super::sentence::{Source, cut, quote};
use crate::failpoint::fail_point;
use crate::quote::cut_name;
use crate::wire::python_text::float;
use crate::wire::set::{Entry, Lengths};
use crate::wire::timestamp::{Format, FormatCache, TimestampError};
use crate::wire::{Dimension, Kind, MessageSet, Point, Refusal};

/// How many refusals of one message are told one by one. A refusal with its reason is many times as large as the two bytes
/// that a hostile metric takes, and nobody reads the hundredth: the message is beside them in the dead letter.
pub(crate) const MOST_REFUSALS: usize = 100;

/// Counters or timers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Counters,
    Timers,
}

impl List {
    fn one(self) -> &'static str {
        match self {
            Self::Counters => "counter",
            Self::Timers => "timer",
        }
    }
}

/// Appends the sound parts of a message to the set; the error is why the whole message is refused, and then nothing of it
/// stays in the set. `digest` is the message's.
pub(super) fn validate(
    payload: &str,
    raw: &RawMessage,
    formats: &mut FormatCache,
    digest: u32,
    set: &mut MessageSet,
) -> Result<Vec<Refusal>, String> {
    let before = Lengths::of(set);
    let mut validation = Validation { source: Source::new(payload, raw), raw, set, refusals: Vec::new(), more: 0 };
    let validated = validation.message(formats, digest);
    let (mut refusals, more) = (validation.refusals, validation.more);
    if more > 0 {
        refusals.push(Refusal { metric: Some(String::new()), reason: format!("{more} more metrics cannot be used") });
    }
    validated.map(|()| refusals).inspect_err(|_| before.restore(set))
}

struct Validation<'a> {
    source: Source<'a>,
    raw: &'a RawMessage,
    set: &'a mut MessageSet,
    refusals: Vec<Refusal>,
    /// How many metrics were refused beyond [`MOST_REFUSALS`].
    more: usize,
}

/// A metric that can be written, as soon as its fields are known to be sound.
struct Sound<'a> {
    name: &'a str,
    value: f64,
    time: i64,
    unit: Option<&'a str>,
}

const FULL: &str = "the batch holds more than 4 GiB of text";

impl<'a> Validation<'a> {
    fn message(&mut self, formats: &mut FormatCache, digest: u32) -> Result<(), String> {
        let (raw, source) = (self.raw, self.source);
        if raw.this != Raw::Object {
            return Err(format!("the message is {}", source.instead_of("an object", raw.this)));
        }
        let lists = [("dimensions", raw.dimensions.this), ("counters", raw.counters.this), ("timers", raw.timers.this)];
        for (key, this) in lists {
            match this {
                Raw::List => {}
                Raw::Absent => return Err(format!("the message has no \"{key}\"")),
                other => return Err(format!("the message's \"{key}\" is {}", source.instead_of("a list", other))),
            }
        }
        let format_text = match raw.timestamp_format {
            Raw::Text(text) => source.text(text),
            Raw::Absent => return Err("the message has no \"timestamp_format\"".to_owned()),
            other => return Err(format!("the message's \"timestamp_format\" is {}", source.instead_of("a string", other))),
        };
        let format = formats.get(format_text).map_err(|error| format!("the timestamp_format {} {error}", quote(format_text)))?;

        let dimensions = self.set.dimensions.len();
        for (dimension, number) in raw.dimensions.items.iter().zip(1..) {
            self.dimension(dimension, number)?;
        }
        let points = self.set.points.len();
        for (list, metrics) in [(List::Counters, &raw.counters.items), (List::Timers, &raw.timers.items)] {
            for (metric, number) in metrics.iter().zip(1..) {
                let sound = self.judge(list, metric, number, format, format_text).and_then(|sound| {
                    self.judge_metadata(list, metric)?;
                    Ok(sound)
                });
                match sound {
                    Ok(sound) => self.push(list, metric, &sound).ok_or(FULL)?,
                    Err(_) if self.refusals.len() == MOST_REFUSALS => self.more += 1,
                    Err(reason) => self.refusals.push(Refusal { metric: Some(self.name_of(metric)), reason }),
                }
            }
        }
        let range = |start: usize, end: usize| Some(u32::try_from(start).ok()?..u32::try_from(end).ok()?);
        let entry = range(dimensions, self.set.dimensions.len())
            .zip(range(points, self.set.points.len()))
            .map(|(dimensions, points)| Entry { dimensions, points, digest, adopted: false })
            .ok_or(FULL)?;
        self.set.entries.push(entry);
        Ok(())
    }

    fn dimension(&mut self, dimension: &RawDimension, number: usize) -> Result<(), String> {
        let source = self.source;
        if dimension.this != Raw::Object {
            return Err(format!("dimension {number} is {}", source.instead_of("an object", dimension.this)));
        }
        let name = match dimension.name {
            Raw::Text(name) => source.text(name),
            Raw::Absent => return Err(format!("dimension {number} has no \"name\"")),
            other => return Err(format!("the name of dimension {number} is {}", source.instead_of("a string", other))),
        };
        let (mut integers, mut floats) = (itoa::Buffer::new(), ryu::Buffer::new());
        // What is no string is written as Python's str() writes it, as the Python agent did for tags.
        let value: Cow<'_, str> = match dimension.value {
            Raw::Text(text) => source.text(text).into(),
            Raw::Null => "".into(),
            Raw::Bool(true) => "True".into(),
            Raw::Bool(false) => "False".into(),
            Raw::Int(value) => integers.format(value).into(),
            Raw::BigInt(digits) => source.text(digits).into(),
            Raw::Float(value) => float(&mut floats, value),
            Raw::NotFinite(word) => match source.text(word) {
                "NaN" => "nan".into(),
                word if word.starts_with('-') => "-inf".into(),
                _ => "inf".into(),
            },
            Raw::Absent => return Err(format!("dimension {} has no \"value\"", quote(name))),
            other => return Err(format!("the value of dimension {} is {}", quote(name), source.instead_of("a string", other))),
        };
        // The Python agent left it out.
        if name.is_empty() {
            return Ok(());
        }
        let dimension = self.set.push_text(name).zip(self.set.push_text(&value)).map(|(name, value)| Dimension { name, value });
        self.set.dimensions.push(dimension.ok_or(FULL)?);
        Ok(())
    }

    fn judge(
        &self,
        list: List,
        metric: &RawMetric,
        number: usize,
        format: &Format,
        format_text: &str,
    ) -> Result<Sound<'a>, String> {
        let source = self.source;
        let one = list.one();
        if metric.this != Raw::Object {
            return Err(format!("{one} {number} is {}", source.instead_of("an object", metric.this)));
        }
        let name = self.string(metric.name, "name").map_err(|what| format!("{one} {number} {what}"))?;
        if name.is_empty() {
            return Err(format!("{one} {number} has an empty name"));
        }
        let wrong = |what: String| format!("the {one} {what}");
        let value = match metric.value {
            Raw::Float(value) => value,
            // The value is a float, so an integer beyond 2^53 is rounded as Python's float() rounds it.
            Raw::Int(value) => value as f64,
            Raw::BigInt(digits) => match source.text(digits).parse::<f64>() {
                Ok(value) if value.is_finite() => value,
                _ => return Err("the value is an integer beyond what a float holds".to_owned()),
            },
            Raw::NotFinite(word) => return Err(format!("the value {} is not a finite number", cut(source.text(word)))),
            Raw::Absent => return Err(wrong("has no value".to_owned())),
            other => return Err(format!("the value is {}", source.instead_of("a number", other))),
        };
        let timestamp = self.string(metric.timestamp, "timestamp").map_err(wrong)?;
        let micros = format.parse(timestamp).map_err(|error| match error {
            TimestampError::Mismatch => {
                format!("the timestamp {} does not match the format {}", quote(timestamp), quote(format_text))
            }
            TimestampError::Impossible => format!("the timestamp {} is no date and time that exists", quote(timestamp)),
        })?;
        let time = micros.checked_mul(1000).ok_or_else(|| {
            format!(
                "the timestamp {} is outside the years 1677 to 2262 that a 64-bit count of nanoseconds holds",
                quote(timestamp)
            )
        })?;
        let unit = match (list, metric.unit) {
            (List::Counters, _) => None,
            (List::Timers, Raw::Object) => {
                Some(self.string(metric.unit_name, "name").map_err(|what| format!("the timer's unit {what}"))?)
            }
            (List::Timers, Raw::Absent) => return Err(wrong("has no unit".to_owned())),
            (List::Timers, other) => return Err(format!("the unit is {}", source.instead_of("an object", other))),
        };
        Ok(Sound { name, value, time, unit })
    }

    fn string(&self, raw: Raw, key: &str) -> Result<&'a str, String> {
        match raw {
            Raw::Text(text) => Ok(self.source.text(text)),
            Raw::Absent => Err(format!("has no {key}")),
            other => Err(format!("has as {key} {}", self.source.instead_of("a string", other))),
        }
    }

    fn judge_metadata(&self, list: List, metric: &RawMetric) -> Result<(), String> {
        match metric.metadata {
            Raw::Object | Raw::Absent => self.fields(list, metric).judge(),
            other => Err(format!("the metadata is {}", self.source.instead_of("an object", other))),
        }
    }

    fn fields(&self, list: List, metric: &RawMetric) -> Fields<'a> {
        let fields = self.raw.fields.get(metric.fields.clone()).unwrap_or_default();
        Fields { source: self.source, fields, timer: list == List::Timers }
    }

    /// `None` when the set is full.
    fn push(&mut self, list: List, metric: &RawMetric, sound: &Sound<'_>) -> Option<()> {
        let name = self.set.push_text(sound.name)?;
        fail_point!("decoder.push", sound.name);
        let kind = match sound.unit {
            None => Kind::Counter,
            Some(unit) => Kind::Timer { unit: self.set.push_text(unit)? },
        };
        let fields = self.fields(list, metric).push_into(self.set)?;
        self.set.points.push(Point { kind, name, value: sound.value, time: sound.time, fields });
        Some(())
    }

    /// The metric's name as far as it is known.
    fn name_of(&self, metric: &RawMetric) -> String {
        match metric.name {
            Raw::Text(name) | Raw::Surrogate(name) => cut_name(self.source.text(name)),
            _ => String::new(),
        }
    }
}
