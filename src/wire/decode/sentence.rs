//! What is wrong with a message, in words for the person who reads the dead letter.

use std::borrow::Cow;

use super::raw::{Piece, Raw, RawMessage};
use crate::quote;
use crate::wire::python_text::float;

/// A quoted value longer than this is cut; the dead letter has the whole message beside it.
const QUOTED: usize = 100;

/// What the pieces of a message are pieces of.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) payload: &'a str,
    pub(super) scratch: &'a str,
}

impl<'a> Source<'a> {
    pub(super) fn new(payload: &'a str, raw: &'a RawMessage) -> Self {
        Self { payload, scratch: &raw.scratch }
    }

    pub(super) fn text(self, piece: Piece) -> &'a str {
        let start = piece.start as usize;
        let whole = if piece.in_scratch { self.scratch } else { self.payload };
        whole.get(start..start + piece.len as usize).unwrap_or_default()
    }

    /// What stands somewhere: `the string "12"`, `null`, `a list`.
    pub(super) fn describe(self, raw: Raw) -> Cow<'static, str> {
        match raw {
            Raw::Absent => "missing".into(),
            Raw::Null => "null".into(),
            Raw::Bool(value) => format!("the boolean {value}").into(),
            Raw::Int(value) => format!("the number {value}").into(),
            Raw::Float(value) => format!("the number {}", float(&mut ryu::Buffer::new(), value)).into(),
            Raw::BigInt(digits) | Raw::NotFinite(digits) => format!("the number {}", cut(self.text(digits))).into(),
            Raw::Text(text) => format!("the string {}", quote(self.text(text))).into(),
            Raw::Surrogate(text) => self.surrogate(text).into(),
            Raw::List => "a list".into(),
            Raw::Object | Raw::Json(_) | Raw::TooDeep => "an object".into(),
        }
    }

    /// What stands where something else is wanted: `null instead of a string`.
    pub(super) fn instead_of(self, wanted: &str, raw: Raw) -> String {
        match raw {
            // It is a string, and says itself what is wrong with it.
            Raw::Surrogate(_) => self.describe(raw).into_owned(),
            _ => format!("{} instead of {wanted}", self.describe(raw)),
        }
    }

    /// A string that is none, as it was written.
    pub(super) fn surrogate(self, text: Piece) -> String {
        // The client's own escapes stay readable, what it left unescaped and does not print gets one.
        let printable = cut(self.text(text)).chars().fold(String::new(), |mut all, char| {
            match char {
                '\\' | '"' | '\'' => all.push(char),
                _ => all.extend(char.escape_debug()),
            }
            all
        });
        format!("the string \"{printable}\" with half of a surrogate pair, which is no character")
    }
}

/// The text in quotes, on one line and not too long.
pub(super) fn quote(text: &str) -> String {
    format!("{:?}", cut(text))
}

/// The text, but not too much of it.
pub(super) fn cut(text: &str) -> Cow<'_, str> {
    quote::cut(text, QUOTED)
}
