//! JSON laid out as Python's `json.dumps` lays it out: a space behind each comma and colon, ASCII only, Python's floats.

use std::io::{self, Write};

use serde_json::ser::Formatter;

use crate::wire::python_text::float;

pub(super) struct PythonFormatter;

fn separate<W: ?Sized + Write>(writer: &mut W, first: bool) -> io::Result<()> {
    if first { Ok(()) } else { writer.write_all(b", ") }
}

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        separate(writer, first)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        separate(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float(&mut ryu::Buffer::new(), value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        // Python escapes everything but the printable ASCII characters; what JSON itself wants escaped never gets here.
        while let Some((at, char)) = rest.char_indices().find(|(_, char)| !matches!(char, ' '..='~')) {
            let (plain, others) = rest.split_at_checked(at).unwrap_or((rest, ""));
            writer.write_all(plain.as_bytes())?;
            for unit in char.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = others.strip_prefix(char).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}
