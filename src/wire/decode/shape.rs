//! Reading JSON without ever failing over a type: whatever stands somewhere is noted, and judged later.
//! An error of serde's therefore always means that the text is not JSON.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::raw::{Piece, Raw, RawMessage};
use crate::wire::memory_budget::{Exceeded, MemoryBudget};
use crate::wire::python_json::{Repair, What};

/// What all parts of the reading share.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Where the text being read begins in memory; tells the position of a borrowed string.
    base: usize,
    /// What was replaced in the text because it is Python's JSON only, by position.
    repairs: Vec<Repair>,
    pub(super) raw: RawMessage,
    /// A number was read that serde may have read differently from Python; reading once more, repaired, tells.
    pub(super) doubtful: bool,
    /// The memory budget was exceeded, and the rest of the message was not read.
    pub(super) full: bool,
}

impl Reader {
    /// Makes ready for a text.
    pub(super) fn begin(&mut self, text: &str, repairs: Vec<Repair>, budget: MemoryBudget) {
        self.base = text.as_ptr() as usize;
        self.repairs = repairs;
        self.raw.begin(budget);
        self.doubtful = false;
        self.full = false;
    }

    /// Gives back what a usual message does not need.
    pub(super) fn end(&mut self) {
        self.repairs = Vec::new();
        self.raw.shrink();
    }

    /// Ends the reading when something did not fit.
    pub(super) fn fits<E: Error>(&mut self, pushed: Result<(), Exceeded>) -> Result<(), E> {
        pushed.map_err(|Exceeded| {
            self.full = true;
            E::custom("too much")
        })
    }

    /// A string that was read, or what stood in its place before the text was repaired.
    pub(super) fn borrowed<E: Error>(&self, text: &str) -> Result<Raw, E> {
        let start = (text.as_ptr() as usize).wrapping_sub(self.base);
        if !self.repairs.is_empty()
            && let Ok(index) = self.repairs.binary_search_by_key(&start, Repair::content)
            && let Some(repair) = self.repairs.get(index)
        {
            let original = Piece { start: repair.start, len: repair.len, in_scratch: false };
            return Ok(match repair.what {
                What::NotFinite => Raw::NotFinite(original),
                What::BigInt => Raw::BigInt(original),
                What::Surrogate => Raw::Surrogate(original),
            });
        }
        Ok(Raw::Text(piece(start, text.len(), false)?))
    }

    /// A string that is not in the text as it is.
    pub(super) fn copied<E: Error>(&mut self, text: &str) -> Result<Piece, E> {
        let start = self.raw.scratch.len();
        self.write(text)?;
        piece(start, text.len(), true)
    }

    /// Appends to the scratch text.
    pub(super) fn write<E: Error>(&mut self, text: &str) -> Result<(), E> {
        let RawMessage { budget, scratch, .. } = &mut self.raw;
        let pushed = budget.push_str(scratch, text);
        self.fits(pushed)
    }

    /// An integer that may be beyond 64 bits with a sign.
    pub(super) fn integer<E: Error>(&mut self, value: u64) -> Result<Raw, E> {
        match i64::try_from(value) {
            Ok(value) => Ok(Raw::Int(value)),
            Err(_) => Ok(Raw::BigInt(self.copied(itoa::Buffer::new().format(value))?)),
        }
    }

    /// An integer of 20 digits arrives as a float, and so does the integer -0.
    pub(super) fn doubt(&mut self, value: f64) {
        if value.abs() >= 9_223_372_036_854_775_808.0 || (value == 0.0 && value.is_sign_negative()) {
            self.doubtful = true;
        }
    }
}

pub(super) fn piece<E: Error>(start: usize, len: usize, in_scratch: bool) -> Result<Piece, E> {
    match (u32::try_from(start), u32::try_from(len)) {
        (Ok(start), Ok(len)) => Ok(Piece { start, len, in_scratch }),
        _ => Err(E::custom("the message is larger than 4 GiB")),
    }
}

/// A place in a message that wants a certain kind of value.
pub(super) trait Shape<'de>: Sized {
    type Out;

    fn reader(&mut self) -> &mut Reader;

    /// Takes note of a scalar, or of a list or an object that is not wanted here.
    fn note(self, raw: Raw) -> Self::Out;

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Out, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.note(Raw::List))
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Out, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.note(Raw::Object))
    }
}

/// A [`Shape`] as serde wants it.
pub(super) struct Read<S>(pub(super) S);

impl<'de, S: Shape<'de>> DeserializeSeed<'de> for Read<S> {
    type Value = S::Out;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Out, D::Error> {
        deserializer.deserialize_any(Visit(self.0))
    }
}

struct Visit<S>(S);

impl<'de, S: Shape<'de>> Visitor<'de> for Visit<S> {
    type Value = S::Out;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<S::Out, E> {
        Ok(self.0.note(Raw::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<S::Out, E> {
        Ok(self.0.note(Raw::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<S::Out, E> {
        Ok(self.0.note(Raw::Int(value)))
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<S::Out, E> {
        let raw = self.0.reader().integer(value)?;
        Ok(self.0.note(raw))
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<S::Out, E> {
        self.0.reader().doubt(value);
        Ok(self.0.note(Raw::Float(value)))
    }

    fn visit_borrowed_str<E: Error>(mut self, text: &'de str) -> Result<S::Out, E> {
        let raw = self.0.reader().borrowed(text)?;
        Ok(self.0.note(raw))
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<S::Out, E> {
        let raw = Raw::Text(self.0.reader().copied(text)?);
        Ok(self.0.note(raw))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<S::Out, A::Error> {
        self.0.list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<S::Out, A::Error> {
        self.0.object(object)
    }
}

/// A place for a scalar.
pub(super) struct Scalar<'a>(pub(super) &'a mut Reader);

impl Shape<'_> for Scalar<'_> {
    type Out = Raw;

    fn reader(&mut self) -> &mut Reader {
        self.0
    }

    fn note(self, raw: Raw) -> Raw {
        raw
    }
}

/// The keys that mean something in a message, wherever they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Dimensions,
    Counters,
    Timers,
    TimestampFormat,
    Name,
    Value,
    Timestamp,
    Metadata,
    Unit,
    Other,
}

/// A place for a known key.
pub(super) struct KnownKey;

impl<'de> DeserializeSeed<'de> for KnownKey {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KnownKey {
    type Value = Key;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "name" => Key::Name,
            "value" => Key::Value,
            "timestamp" => Key::Timestamp,
            "metadata" => Key::Metadata,
            "unit" => Key::Unit,
            "dimensions" => Key::Dimensions,
            "counters" => Key::Counters,
            "timers" => Key::Timers,
            "timestamp_format" => Key::TimestampFormat,
            _ => Key::Other,
        })
    }
}
