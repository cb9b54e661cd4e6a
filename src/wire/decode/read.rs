//! From JSON to a [`RawMessage`]: which key is which part of a message. The verdicts are `validate`'s.

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess};

use super::nested::MetadataValue;
use super::raw::{Raw, RawDimension, RawField, RawMessage, RawMetric, Section};
use super::shape::{Key, KnownKey, Read, Reader, Scalar, Shape};
use crate::wire::memory_budget::MemoryBudget;
use crate::wire::python_json::Repair;

/// Reads one message into the reader's [`RawMessage`]. `repairs` are the places where `text` is not what the client sent.
pub(super) fn read(text: &str, repairs: Vec<Repair>, budget: MemoryBudget, reader: &mut Reader) -> Result<(), Unread> {
    reader.begin(text, repairs, budget);
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Read(Whole(reader)).deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| if reader.full { Unread::TooLarge } else { Unread::NotJson(error) })
}

/// Why a message was not read to its end.
pub(super) enum Unread {
    /// The text is not JSON.
    NotJson(serde_json::Error),
    /// Its parts exceed the memory budget.
    TooLarge,
}

struct Whole<'a>(&'a mut Reader);

impl<'de> Shape<'de> for Whole<'_> {
    type Out = ();

    fn reader(&mut self) -> &mut Reader {
        self.0
    }

    fn note(self, raw: Raw) {
        self.0.raw.this = raw;
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        self.0.raw.this = Raw::Object;
        while let Some(key) = object.next_key_seed(KnownKey)? {
            match key {
                Key::Dimensions => object.next_value_seed(Read(Dimensions(self.0)))?,
                Key::Counters => {
                    object
                        .next_value_seed(Read(Metrics { reader: self.0, section: |raw| (&mut raw.counters, &mut raw.budget) }))?;
                }
                Key::Timers => {
                    object
                        .next_value_seed(Read(Metrics { reader: self.0, section: |raw| (&mut raw.timers, &mut raw.budget) }))?;
                }
                Key::TimestampFormat => self.0.raw.timestamp_format = object.next_value_seed(Read(Scalar(self.0)))?,
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Dimensions<'a>(&'a mut Reader);

impl<'de> Shape<'de> for Dimensions<'_> {
    type Out = ();

    fn reader(&mut self) -> &mut Reader {
        self.0
    }

    fn note(self, raw: Raw) {
        self.0.raw.dimensions.begin(raw);
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.raw.dimensions.begin(Raw::List);
        while let Some(dimension) = list.next_element_seed(Read(Dimension(self.0)))? {
            let RawMessage { budget, dimensions, .. } = &mut self.0.raw;
            let pushed = budget.push(&mut dimensions.items, dimension);
            self.0.fits(pushed)?;
        }
        Ok(())
    }
}

struct Dimension<'a>(&'a mut Reader);

impl<'de> Shape<'de> for Dimension<'_> {
    type Out = RawDimension;

    fn reader(&mut self) -> &mut Reader {
        self.0
    }

    fn note(self, raw: Raw) -> RawDimension {
        RawDimension { this: raw, ..RawDimension::default() }
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<RawDimension, A::Error> {
        let mut dimension = RawDimension { this: Raw::Object, ..RawDimension::default() };
        while let Some(key) = object.next_key_seed(KnownKey)? {
            match key {
                Key::Name => dimension.name = object.next_value_seed(Read(Scalar(self.0)))?,
                Key::Value => dimension.value = object.next_value_seed(Read(Scalar(self.0)))?,
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(dimension)
    }
}

struct Metrics<'a> {
    reader: &'a mut Reader,
    section: fn(&mut RawMessage) -> (&mut Section<RawMetric>, &mut MemoryBudget),
}

impl<'de> Shape<'de> for Metrics<'_> {
    type Out = ();

    fn reader(&mut self) -> &mut Reader {
        self.reader
    }

    fn note(self, raw: Raw) {
        (self.section)(&mut self.reader.raw).0.begin(raw);
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        (self.section)(&mut self.reader.raw).0.begin(Raw::List);
        while let Some(metric) = list.next_element_seed(Read(Metric(self.reader)))? {
            let (section, budget) = (self.section)(&mut self.reader.raw);
            let pushed = budget.push(&mut section.items, metric);
            self.reader.fits(pushed)?;
        }
        Ok(())
    }
}

struct Metric<'a>(&'a mut Reader);

impl<'de> Shape<'de> for Metric<'_> {
    type Out = RawMetric;

    fn reader(&mut self) -> &mut Reader {
        self.0
    }

    fn note(self, raw: Raw) -> RawMetric {
        RawMetric { this: raw, ..RawMetric::default() }
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<RawMetric, A::Error> {
        let mut metric = RawMetric { this: Raw::Object, ..RawMetric::default() };
        while let Some(key) = object.next_key_seed(KnownKey)? {
            match key {
                Key::Name => metric.name = object.next_value_seed(Read(Scalar(self.0)))?,
                Key::Value => metric.value = object.next_value_seed(Read(Scalar(self.0)))?,
                Key::Timestamp => metric.timestamp = object.next_value_seed(Read(Scalar(self.0)))?,
                Key::Metadata => {
                    let first = self.0.raw.fields.len();
                    metric.metadata = object.next_value_seed(Read(Metadata(self.0)))?;
                    metric.fields = first..self.0.raw.fields.len();
                }
                Key::Unit => (metric.unit, metric.unit_name) = object.next_value_seed(Read(Unit(self.0)))?,
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(metric)
    }
}

struct Unit<'a>(&'a mut Reader);

impl<'de> Shape<'de> for Unit<'_> {
    type Out = (Raw, Raw);

    fn reader(&mut self) -> &mut Reader {
        self.0
    }

    fn note(self, raw: Raw) -> (Raw, Raw) {
        (raw, Raw::Absent)
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<(Raw, Raw), A::Error> {
        let mut name = Raw::Absent;
        while let Some(key) = object.next_key_seed(KnownKey)? {
            if key == Key::Name {
                name = object.next_value_seed(Read(Scalar(self.0)))?;
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok((Raw::Object, name))
    }
}

struct Metadata<'a>(&'a mut Reader);

impl<'de> Shape<'de> for Metadata<'_> {
    type Out = Raw;

    fn reader(&mut self) -> &mut Reader {
        self.0
    }

    fn note(self, raw: Raw) -> Raw {
        raw
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Raw, A::Error> {
        while let Some(name) = object.next_key_seed(Read(Scalar(self.0)))? {
            let value = object.next_value_seed(Read(MetadataValue(self.0)))?;
            let RawMessage { budget, fields, .. } = &mut self.0.raw;
            let pushed = budget.push(fields, RawField { name, value });
            self.0.fits(pushed)?;
        }
        Ok(Raw::Object)
    }
}
