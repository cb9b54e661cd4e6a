//! Words of clients in the sentences that are answered or logged, and the code of an answer that no Redis gives.

use crate::quote::quote;

/// The code of the error that is answered of a list which is not the queue.
pub(crate) const WRONG_QUEUE: &str = "WRONGQUEUE";

/// The beginning of a word, up to a NUL, as Redis repeats it.
pub(super) fn cut(word: &[u8], most: usize) -> &[u8] {
    let end = word.iter().take(most).position(|byte| *byte == 0).unwrap_or(most.min(word.len()));
    word.get(..end).unwrap_or(word)
}

/// A word as one printable line.
pub(super) fn shown(word: &[u8]) -> String {
    quote(&String::from_utf8_lossy(cut(word, 128)))
}
