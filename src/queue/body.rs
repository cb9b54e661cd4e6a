//! The bytes of a chunk: a checksum, then each message behind its length.

use std::{
    io::{self, Write},
    ops::Range,
};

const CHECKSUM: usize = 4;
const LENGTH: usize = 4;

/// What each message takes besides its own bytes.
pub(super) const PER_MESSAGE: usize = LENGTH;

/// A chunk being filled.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    count: u32,
}

impl Body {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; CHECKSUM], count: 0 }
    }

    /// Makes room for messages with so many bytes, what each takes besides included.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    pub(super) fn push(&mut self, message: &[u8]) {
        // The store refuses what is larger.
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(message);
        self.count += 1;
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The finished bytes.
    pub(super) fn finish(&mut self) -> &[u8] {
        if let Some((checksum, rest)) = self.bytes.split_first_chunk_mut::<CHECKSUM>() {
            *checksum = crc32fast::hash(rest).to_le_bytes();
        }
        &self.bytes
    }

    /// Empties it for the next chunk.
    pub(super) fn clear(&mut self) {
        self.bytes.truncate(CHECKSUM);
        self.count = 0;
    }
}

/// How many bytes a chunk of one message has.
pub(super) fn alone(message: &[u8]) -> u64 {
    (CHECKSUM + PER_MESSAGE + message.len()) as u64
}

/// Writes a chunk of one message, without a copy of it.
pub(super) fn write_alone(message: &[u8], to: &mut impl Write) -> io::Result<()> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&length);
    checksum.update(message);
    to.write_all(&checksum.finalize().to_le_bytes())?;
    to.write_all(&length)?;
    to.write_all(message)
}

/// A chunk's bytes are not those that were written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// The bytes of a chunk behind their checksum, if that is right.
pub(super) fn checked(body: &[u8]) -> Result<&[u8], Damaged> {
    let (checksum, rest) = body.split_first_chunk::<CHECKSUM>().ok_or(Damaged)?;
    if crc32fast::hash(rest) == u32::from_le_bytes(*checksum) { Ok(rest) } else { Err(Damaged) }
}

/// How many messages are in the bytes that [`checked`] gave; `None` when they are no whole messages.
pub(super) fn counted(checked: &[u8]) -> Option<u32> {
    let mut messages = Messages { rest: checked, left: u32::MAX };
    while messages.next().is_some() {}
    messages.rest.is_empty().then_some(u32::MAX - messages.left)
}

/// Some of the messages in the bytes that [`checked`] gave, by their places.
pub(super) fn messages(checked: &[u8], places: Range<u32>) -> Messages<'_> {
    let mut messages = Messages { rest: checked, left: places.end };
    for _ in 0..places.start {
        messages.next();
    }
    messages
}

/// Messages one after the other.
#[derive(Debug)]
pub(super) struct Messages<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let left = self.left.checked_sub(1)?;
        let (length, rest) = self.rest.split_first_chunk::<LENGTH>()?;
        let (message, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        (self.rest, self.left) = (rest, left);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_in_comes_out_and_nothing_else_does(
            put in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20),
            (from, to) in (0..25u32, 0..25u32),
            flip in any::<prop::sample::Index>(),
        ) {
            let mut body = Body::new();
            body.push(b"of the chunk before");
            body.clear();
            put.iter().for_each(|message| body.push(message));
            prop_assert_eq!(body.count() as usize, put.len());
            let mut bytes = body.finish().to_vec();
            if let [message] = put.as_slice() {
                let mut alone_is = Vec::new();
                write_alone(message, &mut alone_is).unwrap();
                prop_assert_eq!(&alone_is, &bytes);
                prop_assert_eq!(alone(message) as usize, bytes.len());
            }
            let some: Vec<_> = messages(checked(&bytes).unwrap(), from..to).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(counted(checked(&bytes).unwrap()), Some(put.len() as u32));
            let (from, to) = (from as usize, (to as usize).min(put.len()));
            prop_assert_eq!(some, if from < to { put[from..to].to_vec() } else { Vec::new() });
            *flip.get_mut(&mut bytes) ^= 4;
            prop_assert_eq!(checked(&bytes), Err(Damaged));
        }
    }
}
