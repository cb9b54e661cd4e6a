//! The lines of a window: one text, where each line of it ends, and which point it is of.

use std::ops::Range;

use bytes::Bytes;

use super::escape::{self, Backslashes};
use crate::{panics, publisher::Refused, quote::cut_name};

/// How large the body of a window grows before the next point waits for the next one, which it does as well when there are as
/// many lines as one request takes. More than the lines of a usual batch.
pub(super) const WINDOW: usize = 2 << 20;
/// What is done where a panic over a line is caught.
pub(super) const ENCODING: &str = "writing it as line protocol";
/// A body with more memory than this had a line that was large, and is not kept for the next window.
const LARGEST_KEPT: usize = 2 * WINDOW;

/// Which point a line is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::publisher) struct Place {
    /// The message's index in the set.
    pub(in crate::publisher) message: usize,
    /// The point's index in the message.
    pub(in crate::publisher) point: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Where the line ends in the body, its newline included; it begins where the one before ends.
    pub(super) end: usize,
    pub(super) place: Place,
}

/// The lines of a window, and what could not become one.
#[derive(Debug, Default)]
pub(in crate::publisher) struct Lines {
    pub(in crate::publisher) body: Bytes,
    pub(super) lines: Vec<Line>,
    pub(super) refused: Vec<(Place, Refused)>,
}

impl Lines {
    /// How many lines there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// How many bytes a range of lines has.
    pub(super) fn size(&self, range: &Range<usize>) -> usize {
        self.bytes(range).len()
    }

    /// The text of a range of lines, which is part of the body and not a copy.
    pub(super) fn slice(&self, range: &Range<usize>) -> Bytes {
        self.body.slice(self.bytes(range))
    }

    /// The text of some lines, copied.
    pub(super) fn gather(&self, lines: &[usize]) -> Bytes {
        let lines: Vec<Bytes> = lines.iter().map(|line| self.slice(&(*line..line + 1))).collect();
        lines.concat().into()
    }

    /// Where each of some lines ends in a text of nothing but them.
    pub(super) fn ends(&self, lines: impl Iterator<Item = usize>) -> Vec<usize> {
        let sizes = lines.map(|line| self.size(&(line..line + 1)));
        sizes
            .scan(0, |end, size| {
                *end += size;
                Some(*end)
            })
            .collect()
    }

    /// What could not become a line, or not all of it, in the order of the set. Given once.
    pub(in crate::publisher) fn take_refused(&mut self) -> Vec<(Place, Refused)> {
        std::mem::take(&mut self.refused)
    }

    /// The refusal of a line that the server did not take.
    pub(super) fn refusal(&self, line: usize, reason: &str, backslashes: Backslashes) -> Option<(Place, Refused)> {
        let place = self.lines.get(line)?.place;
        // What that panics over loses its name, not its refusal.
        let metric =
            panics::catch(ENCODING, || escape::read_measurement(&self.slice(&(line..line + 1)), backslashes)).unwrap_or_default();
        let metric = Some(cut_name(&metric));
        Some((place, Refused { message: place.message, metric, reason: reason.to_owned() }))
    }

    fn bytes(&self, range: &Range<usize>) -> Range<usize> {
        let start = range.start.checked_sub(1).and_then(|before| self.lines.get(before)).map_or(0, |line| line.end);
        let end = range.end.checked_sub(1).and_then(|last| self.lines.get(last)).map_or(start, |line| line.end);
        start..end.max(start)
    }

    /// Gives the memory back to be filled again; a request that still reads the body keeps it, and new memory is taken.
    pub(super) fn recycle(&mut self) -> Vec<u8> {
        self.lines.clear();
        self.refused.clear();
        let mut body = std::mem::take(&mut self.body).try_into_mut().map(Vec::from).unwrap_or_default();
        body.clear();
        if body.capacity() > LARGEST_KEPT { Vec::new() } else { body }
    }
}
