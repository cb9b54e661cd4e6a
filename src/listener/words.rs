//! Words of clients in the sentences that are answered or logged, and words of those sentences that clients know.

use crate::quote::quote;

/// What is answered of a list that is not the queue: `kadabra send` says by this what to do about it.
pub(crate) const OTHER_QUEUE: &str = "is not the queue of this Kadabra agent";

/// The beginning of a word, up to a NUL, as Redis repeats it.
pub(super) fn cut(word: &[u8], most: usize) -> &[u8] {
    let end = word.iter().take(most).position(|byte| *byte == 0).unwrap_or(most.min(word.len()));
    word.get(..end).unwrap_or(word)
}

/// A word as one printable line.
pub(super) fn shown(word: &[u8]) -> String {
    quote(&String::from_utf8_lossy(cut(word, 128)))
}
