//! A metadata value: a scalar, or a list or object that is written out again as JSON, since a field holds no structure.

use std::{fmt, io};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::raw::Raw;
use super::shape::{Reader, Shape, piece};
use crate::wire::python_text::float;

/// Deeper than anybody nests metadata, and well before serde's own limit, beyond which the whole message would be lost.
const MAX_DEPTH: u8 = 64;

/// A place for a metadata value.
pub(super) struct MetadataValue<'a>(pub(super) &'a mut Reader);

impl<'de> Shape<'de> for MetadataValue<'_> {
    type Out = Raw;

    fn reader(&mut self) -> &mut Reader {
        self.0
    }

    fn note(self, raw: Raw) -> Raw {
        raw
    }

    fn list<A: SeqAccess<'de>>(self, list: A) -> Result<Raw, A::Error> {
        written(self.0, |json| json.visit_seq(list))
    }

    fn object<A: MapAccess<'de>>(self, object: A) -> Result<Raw, A::Error> {
        written(self.0, |json| json.visit_map(object))
    }
}

fn written<E: Error>(reader: &mut Reader, write: impl FnOnce(Json<'_>) -> Result<(), E>) -> Result<Raw, E> {
    let (start, mut defect) = (reader.raw.scratch.len(), None);
    write(Json { reader, defect: &mut defect, depth: 1 })?;
    match defect {
        Some(defect) => Ok(defect),
        None => Ok(Raw::Json(piece(start, reader.raw.scratch.len() - start, true)?)),
    }
}

/// Writes a value into the scratch text as JSON spaced as Python spaces it, characters beyond ASCII as themselves.
struct Json<'a> {
    reader: &'a mut Reader,
    /// The first thing in it that would be refused as a metadata value, too.
    defect: &'a mut Option<Raw>,
    depth: u8,
}

impl Json<'_> {
    fn inner(&mut self) -> Json<'_> {
        Json { reader: self.reader, defect: self.defect, depth: self.depth + 1 }
    }

    fn push<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.reader.write(text)
    }

    fn push_string<E: Error>(&mut self, text: &str) -> Result<(), E> {
        serde_json::to_writer(Scratch(self.reader), text).map_err(E::custom)
    }

    /// How much is written.
    fn written(&self) -> usize {
        self.reader.raw.scratch.len()
    }

    /// Takes a comma back that nothing came behind.
    fn truncate(&mut self, length: usize) {
        self.reader.raw.scratch.truncate(length);
    }
}

/// The scratch text, for serde_json to write a string into; it never cuts a character in two.
struct Scratch<'a>(&'a mut Reader);

impl io::Write for Scratch<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.write::<serde_json::Error>(text)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Json<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_unit<E: Error>(mut self) -> Result<(), E> {
        self.push("null")
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<(), E> {
        self.push(if value { "true" } else { "false" })
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<(), E> {
        self.push(itoa::Buffer::new().format(value))
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<(), E> {
        match self.reader.integer(value)? {
            Raw::Int(value) => self.push(itoa::Buffer::new().format(value))?,
            defect => {
                self.defect.get_or_insert(defect);
            }
        }
        Ok(())
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        self.reader.doubt(value);
        self.push(&float(&mut ryu::Buffer::new(), value))
    }

    fn visit_borrowed_str<E: Error>(mut self, text: &'de str) -> Result<(), E> {
        match self.reader.borrowed(text)? {
            Raw::Text(_) => self.push_string(text)?,
            defect => {
                self.defect.get_or_insert(defect);
            }
        }
        Ok(())
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        self.push_string(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        if self.depth > MAX_DEPTH {
            self.defect.get_or_insert(Raw::TooDeep);
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        self.push("[")?;
        let first = self.written();
        loop {
            let end = self.written();
            if end > first {
                self.push(", ")?;
            }
            if list.next_element_seed(self.inner())?.is_none() {
                self.truncate(end);
                break;
            }
        }
        self.push("]")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<(), A::Error> {
        if self.depth > MAX_DEPTH {
            self.defect.get_or_insert(Raw::TooDeep);
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        self.push("{")?;
        let first = self.written();
        loop {
            let end = self.written();
            if end > first {
                self.push(", ")?;
            }
            if object.next_key_seed(self.inner())?.is_none() {
                self.truncate(end);
                break;
            }
            self.push(": ")?;
            object.next_value_seed(self.inner())?;
        }
        self.push("}")
    }
}
