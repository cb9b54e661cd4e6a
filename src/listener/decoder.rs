//! Requests on the wire, read as Redis reads them: an array of bulk strings, or a line of words.
//!
//! The decoder reads each byte once, however the bytes arrive, never recurses, and holds no more than it was given. A
//! request that is larger than allowed is read to its end without being kept, so that its sender gets an answer and
//! the connection goes on. A general codec for RESP values does none of that: its grammar is of answers, and nests.

use std::ops::Range;

use bytes::{Buf, BytesMut};

use super::{
    inline,
    memory::OWN,
    request::{ARGUMENT_BYTES, Arrived, Malformed, Oversized, Request, integer},
};

/// The longest line, as in Redis.
const MAX_LINE: usize = 64 << 10;
/// The longest array, as in Redis before 7.
const MAX_ARRAY: i64 = 1 << 20;
/// The longest bulk string, as in Redis.
const MAX_BULK: i64 = 512 << 20;
/// The longest head of an argument that makes sense, and then some.
const MAX_HEADER: usize = 64;

/// What is kept of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) argument_bytes: usize,
    pub(super) arguments: usize,
    pub(super) request_bytes: usize,
}

/// How large a request is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) bytes: usize,
    /// Whether that is all of it.
    pub(super) is_known: bool,
}

/// Bytes that arrived, and how far they have been read.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
    /// Up to where the request at the start of the buffer has been read.
    position: usize,
    /// Up to where the end of a line was looked for.
    searched: usize,
    /// Arguments that the request still lacks; 0 between requests.
    missing: usize,
    /// The length of the argument that begins at `position`.
    length: Option<usize>,
    arguments: Vec<Range<usize>>,
    /// Why the request is being skipped.
    oversized: Option<Oversized>,
    /// What is still to be skipped of the argument that begins at `position`.
    skip: usize,
}

impl Decoder {
    /// Where to put what arrives, at the end.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether a part of a request is there.
    pub(super) fn is_partial(&self) -> bool {
        !self.buffer.is_empty() || self.missing > 0
    }

    /// How large the buffer must be for the request of which a part is there: all of it, when only the last argument is
    /// missing; otherwise, since nobody knows how much there will be, in proportion to what is there, and all of an argument
    /// that is announced.
    pub(super) fn size(&self, limits: &Limits) -> Size {
        let argument = self.length.map(|length| self.position + length + 2);
        match argument {
            Some(bytes) if self.missing == 1 => Size { bytes, is_known: true },
            _ => {
                let here = self.buffer.len();
                let overhead = (self.arguments.len() + self.missing) * ARGUMENT_BYTES;
                // No more than a request may have, but room for what says that it has more.
                let most = limits.request_bytes.saturating_sub(overhead).max(here) + MAX_HEADER;
                Size { bytes: argument.unwrap_or(0).max(most.min(here * 3 / 2 + 1)), is_known: false }
            }
        }
    }

    /// How much memory the request takes besides its bytes.
    pub(super) fn overhead(&self) -> usize {
        (self.arguments.len() + usize::from(self.length.is_some())) * ARGUMENT_BYTES
    }

    /// A request's memory besides its bytes, for the next one.
    pub(super) fn reuse(&mut self, request: Request) {
        if self.arguments.capacity() == 0 && request.arguments.capacity() <= 64 {
            self.arguments = request.arguments;
            self.arguments.clear();
        }
    }

    /// Takes the next request, if it is there as a whole.
    pub(super) fn next(&mut self, limits: &Limits, authenticated: bool) -> Result<Option<Arrived>, Malformed> {
        loop {
            if self.missing == 0 {
                let begun = match self.buffer.first() {
                    None => return Ok(None),
                    Some(b'*') => self.array(limits, authenticated)?,
                    Some(_) => match self.line(authenticated)? {
                        Line::Incomplete => return Ok(None),
                        Line::Empty => continue,
                        Line::Request(request) => return Ok(Some(Arrived::Request(request))),
                    },
                };
                if !begun {
                    return Ok(None);
                }
            }
            while self.missing > 0 {
                if !self.argument(limits, authenticated)? {
                    return Ok(None);
                }
            }
            if let Some(oversized) = self.oversized.take() {
                return Ok(Some(Arrived::Oversized(oversized)));
            }
            let frame = self.consume();
            if self.arguments.is_empty() {
                continue;
            }
            return Ok(Some(Arrived::Request(Request { frame: frame.freeze(), arguments: std::mem::take(&mut self.arguments) })));
        }
    }

    /// What has been read of the buffer.
    fn consume(&mut self) -> BytesMut {
        let read = self.buffer.split_to(self.position.min(self.buffer.len()));
        (self.position, self.searched) = (0, 0);
        read
    }

    /// Reads `*<count>`; whether it was there.
    fn array(&mut self, limits: &Limits, authenticated: bool) -> Result<bool, Malformed> {
        let Some(count) = self.number(Malformed::ArrayLine, authenticated)? else {
            return Ok(false);
        };
        let count = count.filter(|count| *count <= MAX_ARRAY).ok_or(Malformed::ArrayLength)?;
        if count > 10 && !authenticated {
            return Err(Malformed::UnauthenticatedArray);
        }
        // Fewer than one is nothing, and answered by nothing.
        self.missing = usize::try_from(count).unwrap_or(0);
        if self.missing > limits.arguments {
            self.skip_request(Oversized::Arguments(self.missing));
        }
        Ok(true)
    }

    /// Reads an argument; whether it was there as a whole.
    fn argument(&mut self, limits: &Limits, authenticated: bool) -> Result<bool, Malformed> {
        // A client that has not said the password gets no memory that others could want.
        let request_bytes = if authenticated { limits.request_bytes } else { limits.request_bytes.min(OWN - 2 * MAX_HEADER) };
        if self.skip > 0 {
            let skipped = self.skip.min(self.buffer.len());
            self.buffer.advance(skipped);
            self.skip -= skipped;
            if self.skip > 0 {
                return Ok(false);
            }
            self.missing -= 1;
            return Ok(true);
        }
        let length = match self.length {
            Some(length) => length,
            None => match self.bulk_length(authenticated)? {
                Some(length) => length,
                None => return Ok(false),
            },
        };
        if self.oversized.is_none() {
            let overhead = (self.arguments.len() + self.missing) * ARGUMENT_BYTES;
            if length > limits.argument_bytes {
                self.skip_request(Oversized::Argument(length));
            } else if self.position + length + overhead > request_bytes {
                self.skip_request(Oversized::Request);
            }
        }
        if self.oversized.is_some() {
            self.skip_request(Oversized::Request);
            (self.length, self.skip) = (None, length + 2);
            return Ok(true);
        }
        let end = self.position + length;
        if self.buffer.len() < end + 2 {
            self.length = Some(length);
            return Ok(false);
        }
        self.arguments.push(self.position..end);
        self.position = end + 2;
        self.length = None;
        self.missing -= 1;
        Ok(true)
    }

    /// Reads `$<length>`, if it is there.
    fn bulk_length(&mut self, authenticated: bool) -> Result<Option<usize>, Malformed> {
        let start = self.position;
        let Some(line) = self.header(Malformed::BulkLine, authenticated)? else {
            return Ok(None);
        };
        match self.buffer.get(start) {
            Some(b'$') => {}
            other => return Err(Malformed::Expected(other.copied().unwrap_or_default())),
        }
        let length = self.buffer.get(line).and_then(integer).filter(|length| *length <= MAX_BULK);
        let length = length.and_then(|length| usize::try_from(length).ok()).ok_or(Malformed::BulkLength)?;
        if length > 16 << 10 && !authenticated {
            return Err(Malformed::UnauthenticatedBulk);
        }
        Ok(Some(length))
    }

    /// Forgets what there is of the request, and keeps no more of it.
    fn skip_request(&mut self, why: Oversized) {
        self.oversized.get_or_insert(why);
        drop(self.consume());
        self.arguments.clear();
    }

    /// The number in a header, if the header is there; `None` inside when it is not a number.
    fn number(&mut self, too_long: Malformed, authenticated: bool) -> Result<Option<Option<i64>>, Malformed> {
        let line = self.header(too_long, authenticated)?;
        Ok(line.map(|line| self.buffer.get(line).and_then(integer)))
    }

    /// Reads a line that ends with CR LF, if it is there; what it says after its first byte. Redis does not look whether
    /// the second byte of the end is an LF.
    fn header(&mut self, too_long: Malformed, authenticated: bool) -> Result<Option<Range<usize>>, Malformed> {
        let start = self.position;
        let from = self.searched.max(start);
        let found = self.buffer.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b'\r'));
        match found {
            Some(found) if from + found + 1 < self.buffer.len() => {
                self.position = from + found + 2;
                self.searched = self.position;
                Ok(Some(start + 1..from + found))
            }
            Some(found) => {
                self.searched = from + found;
                Ok(None)
            }
            None => {
                self.searched = self.buffer.len();
                let line = if authenticated { self.searched - start } else { self.searched };
                if line > max_line(authenticated) { Err(too_long) } else { Ok(None) }
            }
        }
    }

    /// Reads a line of words that ends with LF, if it is there.
    fn line(&mut self, authenticated: bool) -> Result<Line, Malformed> {
        let max_line = max_line(authenticated);
        let found = self.buffer.get(self.searched..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n'));
        self.position = match found {
            Some(found) => self.searched + found + 1,
            None => {
                self.searched = self.buffer.len();
                return if self.searched > max_line { Err(Malformed::Line) } else { Ok(Line::Incomplete) };
            }
        };
        if self.position > max_line + 1 {
            return Err(Malformed::Line);
        }
        let line = self.consume();
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let words = inline::split(line).ok_or(Malformed::Quotes)?;
        if words.is_empty() { Ok(Line::Empty) } else { Ok(Line::Request(Request::of_words(&words))) }
    }
}

/// A client that has not said the password gets no memory that others could want.
fn max_line(authenticated: bool) -> usize {
    if authenticated { MAX_LINE } else { OWN - MAX_HEADER }
}

enum Line {
    Incomplete,
    Empty,
    Request(Request),
}
