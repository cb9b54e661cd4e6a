//! What a client asks, once it is read, and what cannot be read.

use std::ops::Range;

use bytes::Bytes;

/// How much memory an argument takes besides its bytes: its range, and a handle when it is a message.
pub(super) const ARGUMENT_BYTES: usize = 48;

/// A command with its arguments.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) frame: Bytes,
    pub(super) arguments: Vec<Range<usize>>,
}

impl Request {
    /// How many words it has, the command's name being one.
    pub(super) fn len(&self) -> usize {
        self.arguments.len()
    }

    /// A word; 0 is the command's name.
    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        self.frame.get(self.arguments.get(index)?.clone())
    }

    /// The words from `index` on.
    pub(super) fn from(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        self.arguments.iter().skip(index).filter_map(|range| self.frame.get(range.clone()))
    }

    /// The words from `index` on, which share the request's memory.
    pub(super) fn shared_from(&self, index: usize) -> impl ExactSizeIterator<Item = Bytes> {
        self.arguments.iter().skip(index).map(|range| self.frame.slice(range.clone()))
    }

    /// The same in memory of its own, no more than it needs.
    pub(super) fn copied(&self) -> Self {
        Self { frame: Bytes::copy_from_slice(&self.frame), arguments: self.arguments.clone() }
    }

    /// How much memory that takes.
    pub(super) fn bytes(&self) -> usize {
        self.frame.len() + self.overhead()
    }

    /// How much of it is not the words themselves.
    pub(super) fn overhead(&self) -> usize {
        self.arguments.len() * ARGUMENT_BYTES
    }

    /// Of words that were typed.
    pub(super) fn of_words(words: &[Vec<u8>]) -> Self {
        let mut end = 0;
        let arguments = words.iter().map(|word| {
            let start = end;
            end += word.len();
            start..end
        });
        Self { arguments: arguments.collect(), frame: words.concat().into() }
    }
}

/// What has arrived.
#[derive(Debug)]
pub(super) enum Arrived {
    /// A request.
    Request(Request),
    /// One that was larger than allowed, and is gone.
    Oversized(Oversized),
}

/// Which limit a request was beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oversized {
    /// An argument of so many bytes.
    Argument(usize),
    /// So many arguments.
    Arguments(usize),
    /// All arguments together.
    Request,
}

/// What cannot be a request, in Redis's words; nothing after it can be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    ArrayLength,
    UnauthenticatedArray,
    ArrayLine,
    BulkLength,
    UnauthenticatedBulk,
    BulkLine,
    Expected(u8),
    Line,
    Quotes,
}

impl Malformed {
    /// The error that is answered, which may hold a byte that was sent.
    pub(super) fn error(&self) -> Vec<u8> {
        let mut error = b"ERR Protocol error: ".to_vec();
        error.extend_from_slice(match self {
            Self::ArrayLength => b"invalid multibulk length",
            Self::UnauthenticatedArray => b"unauthenticated multibulk length",
            Self::ArrayLine => b"too big mbulk count string",
            Self::BulkLength => b"invalid bulk length",
            Self::UnauthenticatedBulk => b"unauthenticated bulk length",
            Self::BulkLine => b"too big bulk count string",
            Self::Expected(byte) => return [&error, &b"expected '$', got '"[..], &[*byte], b"'"].concat(),
            Self::Line => b"too big inline request",
            Self::Quotes => b"unbalanced quotes in request",
        });
        error
    }
}

/// An integer as Redis reads it: no sign but minus, no leading zero, no space.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    digits.iter().try_fold(0_i64, |number, digit| {
        let digit = i64::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?);
        let number = number.checked_mul(10)?;
        if negative { number.checked_sub(digit) } else { number.checked_add(digit) }
    })
}
