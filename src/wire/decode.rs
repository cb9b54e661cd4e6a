//! From a message's bytes to its points, with a verdict per metric.
//!
//! A message is read whole before anything is judged (`read`), since its timestamp format comes behind its timestamps and a
//! key that comes twice counts the second time. What is sound then goes into the set (`validate`), each string copied once.

mod fields;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod nested;
mod quick;
mod raw;
mod read;
mod sentence;
mod shape;
#[cfg(test)]
mod tests;
mod validate;

use self::read::Unread;
use self::shape::Reader;
pub(crate) use self::validate::MOST_REFUSALS;
use super::memory_budget::MemoryBudget;
use super::python_json::repair;
use super::set::{Entry, Lengths};
use super::timestamp::FormatCache;
use super::{MessageSet, Refusal};
use crate::failpoint::fail_point;
use crate::panics;

/// Decodes messages into a [`MessageSet`]. Keep one: it remembers the last timestamp formats and its buffers.
///
/// Where the Python agent has an answer, this gives the same one:
///
/// | in the message | becomes |
/// |---|---|
/// | metadata: string, even an empty one; integer, float, boolean | a field of that type |
/// | metadata: null, or with an empty key, or `value`, or a timer's `unit` | nothing |
/// | metadata: list or object, where the Python agent breaks | a string field of its JSON |
/// | no metadata at all | a point without further fields |
/// | dimension: number or boolean | a tag as `str()` writes it: `True`, `1e+16` |
/// | dimension: null or an empty string | no tag, even if a dimension of that name came before |
/// | dimension with an empty name | nothing |
/// | value: integer | a float |
/// | a timer's `seconds_offset` | nothing: its value is already multiplied by it |
///
/// A message whose parts would take more than three times its own bytes and 256 KiB while it is read is refused whole:
/// lists of nothing but zeros and commas, and of what a client of Kadabra writes only more than 256 KiB of little but metadata
/// with names of up to three letters and values of one. So reading any message and what is decoded of
/// it take no more than eight times its bytes and 1 MiB, whatever is in it.
#[derive(Debug, Default)]
pub struct Decoder {
    reader: Reader,
    formats: FormatCache,
}

impl Decoder {
    /// A decoder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one message to `set`, always as one entry.
    ///
    /// Returns what could not be decoded: nothing for a sound message, a refusal per bad metric, or one
    /// without a metric's name when the whole message is unusable (its entry then has no points). Of more than 100 bad
    /// metrics the last refusal, under an empty name, says only how many more there are.
    pub fn decode(&mut self, payload: &[u8], set: &mut MessageSet) -> Vec<Refusal> {
        let before = Lengths::of(set);
        let decoded = panics::catch("reading it", || self.try_decode(payload, set));
        let refused = match decoded {
            Ok(Ok(refusals)) => {
                self.reader.end();
                return refusals;
            }
            Ok(Err(reason)) => {
                self.reader.end();
                reason
            }
            Err(panic) => {
                // Nobody knows what it left behind.
                *self = Self::default();
                before.restore(set);
                panic
            }
        };
        set.entries.push(Entry { digest: digest(payload), ..Entry::default() });
        vec![Refusal { metric: None, reason: refused }]
    }

    fn try_decode(&mut self, payload: &[u8], set: &mut MessageSet) -> Result<Vec<Refusal>, String> {
        let text = std::str::from_utf8(payload)
            .map_err(|error| format!("the message is not UTF-8: the byte at {} begins no character", error.valid_up_to()))?;
        if text.is_empty() {
            return Err("the message is empty".to_owned());
        }
        self.read(text)?;
        fail_point!("decoder.read", text);
        validate::validate(text, &self.reader.raw, &mut self.formats, digest(payload), set)
    }

    fn read(&mut self, text: &str) -> Result<(), String> {
        self.read_or_repair(text).map_err(|unread| match unread {
            Unread::NotJson(error) => format!("the message is not JSON: {error}"),
            Unread::TooLarge => {
                "the message has far too many dimensions, counters, timers or metadata entries for its size".to_owned()
            }
        })
    }

    fn read_or_repair(&mut self, text: &str) -> Result<(), Unread> {
        if quick::read(text, MemoryBudget::of(text.len()), &mut self.reader) {
            return Ok(());
        }
        let strictly = read::read(text, Vec::new(), MemoryBudget::of(text.len()), &mut self.reader);
        let is_done = match strictly {
            Ok(()) => !self.reader.doubtful,
            Err(Unread::TooLarge) => true,
            Err(Unread::NotJson(_)) => false,
        };
        if is_done {
            return strictly;
        }
        let mut budget = MemoryBudget::of(text.len());
        match repair(text, &mut budget).map_err(|_exceeded| Unread::TooLarge)? {
            Some((repaired, repairs)) => read::read(&repaired, repairs, budget, &mut self.reader),
            None => strictly,
        }
    }
}

/// What [`Message::digest`](super::Message::digest) says of a message.
pub(super) fn digest(payload: &[u8]) -> u32 {
    crc32fast::hash(payload)
}
