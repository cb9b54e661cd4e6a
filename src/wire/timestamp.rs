//! Timestamps as Python's `datetime.strptime` reads them: a [`Format`] is compiled once and then reads many texts.
//!
//! A small parser of our own and not `jiff::fmt::strtime`, because a client's timestamps must mean what they meant to the
//! Python agent. Python turns the format into a regular expression that backtracks (`%H%M` reads `123` as 12:03, `%d%m`
//! reads `11` as 1 January), lets every number drop its leading zero, takes missing fields from 1900-01-01 and refuses a
//! directive that comes twice; jiff takes digits greedily, has no such defaults and knows directives that Python refuses.
//!
//! The locale is C, as in the Python agent, and the zone names are `UTC` and `GMT`. The one difference: only ASCII digits are
//! digits here, where Python also takes those of other scripts.

mod assemble;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod pattern;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use self::pattern::{Pattern, Values};
use super::{civil, message::DEFAULT_FORMAT};
use crate::panics;

/// The longest format that is compiled, in bytes; Python has no such bound, and nobody comes near it.
const LONGEST: usize = 10_000;

/// Why a format cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormatError {
    /// A directive that Python does not know.
    #[error("has the unknown directive %{}", .0.escape_debug())]
    Unknown(char),
    /// A `%` with nothing behind it.
    #[error("ends in a lone %")]
    Stray,
    /// A directive that comes twice, perhaps as a part of `%c`, `%x` or `%X`.
    #[error("has the directive %{0} more than once")]
    Repeated(char),
    /// Taken apart it would take many times its size.
    #[error("is longer than {LONGEST} bytes")]
    TooLong,
}

/// Why a text is not a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimestampError {
    /// It does not look like the format.
    Mismatch,
    /// It looks like the format but names a day or time that does not exist.
    Impossible,
}

/// A compiled format.
#[derive(Debug)]
pub(super) struct Format {
    pattern: Pattern,
    /// Of the default format.
    default: Option<Cell<Second>>,
}

/// The second that was read last: what a client sends at once was mostly measured within one.
#[derive(Clone, Copy, Debug)]
struct Second {
    /// As it was written, up to the point before its fraction.
    text: [u8; 20],
    micros: i64,
}

impl Second {
    const FIRST: Self = Self { text: *b"1970-01-01T00:00:00.", micros: 0 };
}

impl Format {
    /// Compiles a Python strptime format.
    pub(super) fn compile(format: &str) -> Result<Self, FormatError> {
        if format.len() > LONGEST {
            return Err(FormatError::TooLong);
        }
        Ok(Self { pattern: Pattern::compile(format)?, default: (format == DEFAULT_FORMAT).then_some(Cell::new(Second::FIRST)) })
    }

    /// Microseconds since 1970 in UTC; a time without an offset is UTC.
    pub(super) fn parse(&self, text: &str) -> Result<i64, TimestampError> {
        if let Some(last) = &self.default
            && let Some(micros) = parse_default(text.as_bytes(), last)
        {
            return Ok(micros);
        }
        let mut values = Values::default();
        if !self.pattern.matches(text, &mut values) {
            return Err(TimestampError::Mismatch);
        }
        assemble::micros(&values).ok_or(TimestampError::Impossible)
    }
}

/// When a message was queued by its client's clock, in s since 1970, from its `serialized_at` and its timestamp format.
/// `None` when they do not go together.
#[must_use]
pub fn queued_at(serialized_at: &str, format: &str) -> Option<i64> {
    let micros = panics::catch("reading its time", || Format::compile(format).ok()?.parse(serialized_at).ok());
    Some(micros.ok()??.div_euclid(1_000_000))
}

/// The default format in its usual shape, `2026-03-01T12:00:00.000001Z`, at a tenth of the general way's cost.
/// `None` leaves the judgement to the general way.
fn parse_default(text: &[u8], last: &Cell<Second>) -> Option<i64> {
    let (second, fraction) = text.split_first_chunk()?;
    let &[f1, f2, f3, f4, f5, f6, b'Z'] = fraction else { return None };
    let fraction = number(&[f1, f2, f3, f4, f5, f6])?;
    let known = last.get();
    if known.text == *second {
        return Some(known.micros + fraction);
    }
    let micros = parse_second(second)?;
    last.set(Second { text: *second, micros });
    Some(micros + fraction)
}

/// `2026-03-01T12:00:00.` in microseconds since 1970.
fn parse_second(text: &[u8; 20]) -> Option<i64> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', i1, i2, b':', s1, s2, b'.'] = text else {
        return None;
    };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[i1, i2])?, number(&[s1, s2])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = civil::days_since_1970(year, month, day)?;
    Some(((days * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000)
}

/// `None` when one of them is not a digit.
fn number<const N: usize>(digits: &[u8; N]) -> Option<i64> {
    let mut wrong = false;
    let number = digits.iter().fold(0, |sum, byte| {
        let digit = byte.wrapping_sub(b'0');
        wrong |= digit > 9;
        sum * 10 + i64::from(digit)
    });
    (!wrong).then_some(number)
}

/// The formats used last, so that messages of a few programs in one queue do not compile theirs again and again.
#[derive(Debug, Default)]
pub(super) struct FormatCache {
    entries: Vec<(String, Result<Format, FormatError>)>,
    /// The last one that is too long to keep.
    long: Option<Result<Format, FormatError>>,
}

/// As many formats as one queue plausibly mixes; a search through them is still a few comparisons.
const REMEMBERED: usize = 8;

/// Longer than any sensible format, in bytes; formats of megabytes must not pile up.
const LONGEST_REMEMBERED: usize = 256;

impl FormatCache {
    /// The compiled format, the one asked for last being found first.
    pub(super) fn get(&mut self, format: &str) -> Result<&Format, &FormatError> {
        self.long = None;
        if format.len() > LONGEST_REMEMBERED {
            return self.long.insert(Format::compile(format)).as_ref();
        }
        let found = self.entries.iter().position(|(known, _)| known == format).unwrap_or_else(|| {
            self.entries.truncate(REMEMBERED - 1);
            self.entries.push((format.to_owned(), Format::compile(format)));
            self.entries.len() - 1
        });
        if let Some(newest) = self.entries.get_mut(..=found) {
            newest.rotate_right(1);
        }
        match self.entries.first() {
            Some((_, Ok(compiled))) => Ok(compiled),
            Some((_, Err(error))) => Err(error),
            None => Err(&FormatError::Stray),
        }
    }
}
