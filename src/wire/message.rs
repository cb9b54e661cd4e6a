//! What a client writes: one message, character for character as the Python client of Kadabra 0.5.0 writes it.

mod python_formatter;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::ser::{Serialize, SerializeMap, Serializer};

use self::python_formatter::PythonFormatter;
use super::civil;

/// The timestamp format of a client that was not told otherwise.
pub const DEFAULT_FORMAT: &str = "%Y-%m-%dT%H:%M:%S.%fZ";

/// Why a metric cannot go into a message: the agent would refuse it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// A metric without a name.
    #[error("a metric needs a name")]
    EmptyName,
    /// A value that is not a number, or infinite.
    #[error("the value of {name:?} is {value}, which is not a finite number")]
    NotFinite {
        /// The metric's name.
        name: String,
        /// Its value.
        value: f64,
    },
    /// A time outside the years 1677 to 2262.
    #[error("the time of {name:?} is outside the years 1677 to 2262 that a 64-bit count of nanoseconds holds")]
    Time {
        /// The metric's name, or `serialized_at`.
        name: String,
    },
}

/// What a timer's value is counted in.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    name: Cow<'static, str>,
    seconds_offset: f64,
}

impl Unit {
    /// Kadabra's own `Units.SECONDS`.
    pub const SECONDS: Self = Self { name: Cow::Borrowed("seconds"), seconds_offset: 1.0 };
    /// Kadabra's own `Units.MILLISECONDS`.
    pub const MILLISECONDS: Self = Self { name: Cow::Borrowed("milliseconds"), seconds_offset: 1000.0 };
    /// Not among Kadabra's own, which leave it to the program.
    pub const MICROSECONDS: Self = Self { name: Cow::Borrowed("microseconds"), seconds_offset: 1_000_000.0 };

    /// A unit of which `seconds_offset` make a second, as a program may define one.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, seconds_offset: f64) -> Self {
        Self { name: name.into(), seconds_offset }
    }

    /// `seconds`, `milliseconds` or `microseconds`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::SECONDS, Self::MILLISECONDS, Self::MICROSECONDS].into_iter().find(|unit| unit.name == name)
    }

    /// Its name, such as `milliseconds`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many of it make a second.
    #[must_use]
    pub fn seconds_offset(&self) -> f64 {
        self.seconds_offset
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(2))?;
        object.serialize_entry("name", &self.name)?;
        object.serialize_entry("seconds_offset", &self.seconds_offset)?;
        object.end()
    }
}

/// Strings beside a metric's value, in the order in which they were given.
pub type Metadata = Vec<(String, String)>;

/// One message being made: dimensions that hold for all of its counters and timers.
///
/// ```
/// use std::time::{Duration, SystemTime, UNIX_EPOCH};
/// use kadabra::wire::{OutgoingMessage, Unit};
///
/// let now = UNIX_EPOCH + Duration::from_micros(1_772_366_400_000_001);
/// let mut message = OutgoingMessage::new();
/// message.dimension("method", "GET");
/// message.counter("hits", 1.0, now, vec![])?;
/// message.timer("duration", Duration::from_micros(12_500), Unit::MILLISECONDS, now, vec![])?;
/// assert!(message.to_json(now)?.contains(r#""timestamp": "2026-03-01T12:00:00.000001Z", "value": 12.5}"#));
/// # Ok::<(), kadabra::wire::MessageError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct OutgoingMessage {
    dimensions: Vec<(String, String)>,
    counters: Vec<OutgoingMetric>,
    timers: Vec<OutgoingMetric>,
}

#[derive(Clone, Debug)]
struct OutgoingMetric {
    name: String,
    /// Only a timer has one.
    unit: Option<Unit>,
    metadata: Metadata,
    /// What is beside the value in numbers.
    numbers: Vec<(&'static str, f64)>,
    timestamp: String,
    value: f64,
}

impl OutgoingMessage {
    /// A message with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is no counter and no timer in it, so that sending it would store nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty() && self.timers.is_empty()
    }

    /// Sets a dimension; a dimension of that name that was there gets the new value.
    pub fn dimension(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        set(&mut self.dimensions, name.into(), value.into());
        self
    }

    /// Adds a counter with the time at which it was counted, in microseconds; what is finer is cut off.
    ///
    /// # Errors
    /// When the agent would refuse it: an empty name, a value that is not finite, a time outside the years 1677 to 2262.
    pub fn counter(
        &mut self,
        name: impl Into<String>,
        value: f64,
        time: SystemTime,
        metadata: Metadata,
    ) -> Result<&mut Self, MessageError> {
        let counter = metric(name.into(), None, metadata, time, value)?;
        self.counters.push(counter);
        Ok(self)
    }

    /// Adds a timer: how long something took, rounded to microseconds as Python's `timedelta` holds it, to be stored in
    /// that unit.
    ///
    /// # Errors
    /// As of [`OutgoingMessage::counter`].
    pub fn timer(
        &mut self,
        name: impl Into<String>,
        took: Duration,
        unit: Unit,
        time: SystemTime,
        metadata: Metadata,
    ) -> Result<&mut Self, MessageError> {
        // The arithmetic of Python's total_seconds(), so that the value is the same to the last bit.
        let seconds = ((took.as_nanos() + 500) / 1000) as f64 / 1e6;
        let value = seconds * unit.seconds_offset;
        let timer = metric(name.into(), Some(unit), metadata, time, value)?;
        self.timers.push(timer);
        Ok(self)
    }

    /// Adds what several values come to: a timer where there is a unit, else a counter, with further numbers as its metadata.
    ///
    /// # Errors
    /// As of [`OutgoingMessage::counter`]; of the further numbers, too.
    #[cfg(feature = "agent")]
    pub(crate) fn summary(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        value: f64,
        time: SystemTime,
        numbers: &[(&'static str, f64)],
    ) -> Result<&mut Self, MessageError> {
        if let Some((_, value)) = numbers.iter().find(|(_, number)| !number.is_finite()) {
            return Err(MessageError::NotFinite { name: name.to_owned(), value: *value });
        }
        let list = if unit.is_some() { &mut self.timers } else { &mut self.counters };
        let mut summary = metric(name.to_owned(), unit, Metadata::new(), time, value)?;
        summary.numbers = numbers.to_vec();
        list.push(summary);
        Ok(self)
    }

    /// The text to queue, `serialized_at` being the time of queueing.
    ///
    /// # Errors
    /// When `serialized_at` is outside the years 1677 to 2262.
    pub fn to_json(&self, serialized_at: SystemTime) -> Result<String, MessageError> {
        let serialized_at = timestamp(serialized_at).ok_or_else(|| MessageError::Time { name: "serialized_at".to_owned() })?;
        let mut text = Vec::with_capacity(256 * (1 + self.counters.len() + self.timers.len()));
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, PythonFormatter);
        // Neither can fail: a vector takes every byte, and the formatter writes ASCII only.
        let _ = Whole { message: self, serialized_at }.serialize(&mut serializer);
        Ok(String::from_utf8(text).unwrap_or_default())
    }
}

fn metric(
    name: String,
    unit: Option<Unit>,
    metadata: Metadata,
    time: SystemTime,
    value: f64,
) -> Result<OutgoingMetric, MessageError> {
    if name.is_empty() {
        return Err(MessageError::EmptyName);
    }
    if !value.is_finite() {
        return Err(MessageError::NotFinite { name, value });
    }
    let Some(timestamp) = timestamp(time) else { return Err(MessageError::Time { name }) };
    let mut entries = Metadata::with_capacity(metadata.len());
    for (key, value) in metadata {
        set(&mut entries, key, value);
    }
    Ok(OutgoingMetric { name, unit, metadata: entries, numbers: Vec::new(), timestamp, value })
}

fn set(entries: &mut Vec<(String, String)>, key: String, value: String) {
    match entries.iter_mut().find(|(known, _)| *known == key) {
        Some((_, old)) => *old = value,
        None => entries.push((key, value)),
    }
}

/// A time in the default format; `None` when 64 bits of nanoseconds do not hold it.
fn timestamp(time: SystemTime) -> Option<String> {
    let nanos = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).ok()?,
        Err(before) => i64::try_from(before.duration().as_nanos()).ok()?.checked_neg()?,
    };
    let micros = nanos.div_euclid(1000);
    // Cut down to microseconds it must still be one that the agent takes.
    micros.checked_mul(1000)?;
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (year, month, day) = civil::date_of(seconds.div_euclid(86_400))?;
    let second = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z"))
}

struct Whole<'a> {
    message: &'a OutgoingMessage,
    serialized_at: String,
}

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(5))?;
        let dimensions: Vec<_> = self.message.dimensions.iter().map(|(name, value)| NameAndValue { name, value }).collect();
        object.serialize_entry("dimensions", &dimensions)?;
        object.serialize_entry("counters", &self.message.counters)?;
        object.serialize_entry("timers", &self.message.timers)?;
        object.serialize_entry("timestamp_format", DEFAULT_FORMAT)?;
        object.serialize_entry("serialized_at", &self.serialized_at)?;
        object.end()
    }
}

#[derive(serde::Serialize)]
struct NameAndValue<'a> {
    name: &'a str,
    value: &'a str,
}

impl Serialize for OutgoingMetric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("name", &self.name)?;
        if let Some(unit) = &self.unit {
            object.serialize_entry("unit", unit)?;
        }
        object.serialize_entry("metadata", &Entries(&self.metadata, &self.numbers))?;
        object.serialize_entry("timestamp", &self.timestamp)?;
        object.serialize_entry("value", &self.value)?;
        object.end()
    }
}

struct Entries<'a>(&'a [(String, String)], &'a [(&'static str, f64)]);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(texts, numbers) = self;
        let mut object = serializer.serialize_map(Some(texts.len() + numbers.len()))?;
        for (key, value) in *texts {
            object.serialize_entry(key, value)?;
        }
        for (key, value) in *numbers {
            object.serialize_entry(key, value)?;
        }
        object.end()
    }
}
