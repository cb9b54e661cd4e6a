//! What is left of a batch to write, and which of its lines were refused. Pure: it never sends anything.
//!
//! Writing a line twice changes nothing, so a request of which InfluxDB refused something is halved until every
//! refused line stands alone. A refused line costs at most two requests for each halving. Where the answer names the lines, those are
//! left out, and it takes one request or none for all that are left. Nothing is refused for good before
//! a blank line was taken after it: whoever refuses that, too, does not refuse because of a line.
//!
//! A request that fails again and again without InfluxDB's words, while a blank line is taken, is halved as well, and what
//! still fails alone becomes a [suspect](suspects).

mod evidence;
mod suspects;
#[cfg(test)]
mod tests;

pub(super) use self::{evidence::Evidence, suspects::Failure};

use std::{collections::BTreeSet, ops::Range};

use self::suspects::{Suspects, Trial};
use super::Outcome;

/// How many lines go in one request at most.
pub(super) const MAX_LINES: usize = 10_000;

/// How large the body of a request is at most, unless it is one line.
const MAX_BYTES: usize = 8 << 20;

/// What is never split just because an answer was late or a request was too large: below it, it is not the size.
const SMALL: usize = 64 << 10;

/// How often the same request may fail, without InfluxDB's words, before it is looked for a line that is to blame.
const TRIES: u32 = 3;

/// How many suspects there may be before anything was taken.
const MOST_SUSPECTS: usize = 8;

/// Of how many lines one at most is a suspect: when it is more, the server is what is wrong.
const SHARE: usize = 4;

/// A line that was refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusedLine {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// What is to be sent next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Lines(Range<usize>),
    /// A blank line, to be answered with [`Work::proved`] or [`Work::disproved`].
    Blank,
    /// A line that was taken before, to be answered with [`Work::sample_taken`] or [`Work::sample_failed`].
    Sample,
}

/// The work list: ranges of lines, the next one last.
#[derive(Debug)]
pub(super) struct Work {
    pending: Vec<Range<usize>>,
    /// Lines of those ranges that were refused by their number: they are not sent again with the others.
    named: BTreeSet<usize>,
    /// Lines that fail alone. They wait for everything else.
    suspects: Suspects,
    refused: Vec<RefusedLine>,
    /// How many of those were refused before a blank line was taken.
    proved: usize,
    /// How often the next range has failed without InfluxDB's words.
    tries: u32,
    /// Whether what fails like that is halved.
    searching: bool,
    /// How many lines were written.
    written: usize,
    max_bytes: usize,
    /// One in so many of the lines and bytes that a request could have goes in one.
    divisor: usize,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            pending: Vec::new(),
            named: BTreeSet::new(),
            suspects: Suspects::default(),
            refused: Vec::new(),
            proved: 0,
            tries: 0,
            searching: false,
            written: 0,
            max_bytes: MAX_BYTES,
            divisor: 1,
        }
    }
}

impl Work {
    /// Starts over with `lines` lines. What a server refused as too large before is not tried again.
    pub(super) fn load(&mut self, lines: usize) {
        *self = Self { max_bytes: self.max_bytes, divisor: self.divisor, ..Self::default() };
        if lines > 0 {
            self.pending.push(0..lines);
        }
    }

    /// From now on a request has one in `divisor` of the lines and bytes that it could have.
    pub(super) fn divide(&mut self, divisor: usize) {
        self.divisor = divisor.max(1);
    }

    /// What is to be sent next; the same until it is answered. `size` tells how large a range is in bytes.
    pub(super) fn next(&mut self, size: impl Fn(&Range<usize>) -> usize, evidence: &Evidence) -> Option<Next> {
        // With the first that is refused, and whenever there are twice as many.
        if self.tries >= TRIES || self.refused.len() > 2 * self.proved {
            return Some(Next::Blank);
        }
        if let Some(range) = self.next_range(size) {
            return Some(Next::Lines(range));
        }
        loop {
            match self.suspects.next(evidence) {
                Some(Trial::Line(line)) => return Some(Next::Lines(line..line + 1)),
                Some(Trial::Sample) => return Some(Next::Sample),
                Some(Trial::Condemned) => {
                    let condemned = self.suspects.pop();
                    self.refused.extend(condemned.map(|(line, failure)| RefusedLine { line, reason: failure.words }));
                }
                None => return (self.refused.len() > self.proved).then_some(Next::Blank),
            }
        }
    }

    fn next_range(&mut self, size: impl Fn(&Range<usize>) -> usize) -> Option<Range<usize>> {
        loop {
            let range = self.pending.last()?.clone();
            if self.left(&range).next().is_none() {
                self.pending.pop();
                continue;
            }
            let max_lines = (MAX_LINES / self.divisor).max(1);
            if range.len() > max_lines {
                self.cut(range.start + max_lines);
            } else if range.len() > 1 && size(&range) > (self.max_bytes / self.divisor).max(SMALL) {
                self.halve();
            } else {
                return Some(range);
            }
        }
    }

    /// The lines of a range that are to be sent.
    pub(super) fn left(&self, range: &Range<usize>) -> impl Iterator<Item = usize> {
        range.clone().filter(|line| !self.named.contains(line))
    }

    /// Whether all lines of a range are to be sent.
    pub(super) fn is_whole(&self, range: &Range<usize>) -> bool {
        self.named.range(range.clone()).next().is_none()
    }

    /// How many lines are in the next request.
    fn sent(&self) -> Option<usize> {
        self.pending.last().map(|range| range.len() - self.named.range(range.clone()).count())
    }

    /// Whether every line is settled.
    pub(super) fn is_done(&self) -> bool {
        self.pending.iter().all(|range| self.left(range).next().is_none())
            && self.suspects.is_empty()
            && self.proved == self.refused.len()
    }

    /// Whether it takes other lines than these to find out what is wrong with them.
    pub(super) fn is_stuck(&self) -> bool {
        self.suspects.is_stuck()
    }

    /// All of it was written.
    pub(super) fn accepted(&mut self) {
        self.tries = 0;
        if let Some(lines) = self.sent() {
            self.pending.pop();
            self.written += lines;
        } else {
            self.written += 1;
            if self.suspects.pop().is_some_and(|(_, failure)| !failure.condemns) {
                // What an operator had to mend is mended.
                self.acquit();
            }
        }
    }

    /// InfluxDB refused some of it: all of it where that many were `refused`, else the culprits are looked for. Where none was, a line
    /// alone is written.
    pub(super) fn isolate(&mut self, words: &str, refused: Option<usize>) {
        if refused == Some(0) && self.sent().is_none_or(|lines| lines == 1) {
            return self.accepted();
        }
        self.tries = 0;
        let refuse = |line| RefusedLine { line, reason: words.to_owned() };
        match self.sent() {
            None => self.refused.extend(self.suspects.pop().map(|(line, _)| refuse(line))),
            Some(lines) if lines == 1 || refused == Some(lines) => {
                let range = self.pending.pop().unwrap_or_default();
                let lines: Vec<usize> = self.left(&range).collect();
                self.refused.extend(lines.into_iter().map(refuse));
            }
            Some(_) => self.halve(),
        }
    }

    /// Some lines of it were refused, each with its place in the request and the reason; the others were written, or nothing was.
    pub(super) fn named(&mut self, refused: Vec<(usize, String)>, others_are_written: bool) {
        let first = refused.first().map(|(_, reason)| reason.clone()).unwrap_or_default();
        let Some(range) = self.pending.last().cloned() else { return self.isolate(&first, None) };
        let sent: Vec<usize> = self.left(&range).collect();
        let before = self.refused.len();
        for (at, reason) in refused {
            if let Some(line) = sent.get(at).copied().filter(|line| self.named.insert(*line)) {
                self.refused.push(RefusedLine { line, reason });
            }
        }
        let named = self.refused.len() - before;
        if named == 0 {
            return self.isolate(&first, None);
        }
        self.tries = 0;
        if others_are_written {
            self.pending.pop();
            self.written += sent.len() - named;
        }
    }

    /// InfluxDB takes some of it only when an operator has mended something: all of it where that many were `refused`; where the places
    /// of lines in the request are `named`, those, and the others were written.
    pub(super) fn limited(&mut self, failure: Failure, refused: Option<usize>, named: &[usize]) -> Option<Outcome> {
        if !named.is_empty()
            && let Some(range) = self.pending.pop_if(|range| range.len() > 1)
        {
            self.tries = 0;
            let sent: Vec<usize> = self.left(&range).collect();
            let named: Vec<usize> = named.iter().filter_map(|at| sent.get(*at).copied()).collect();
            self.written += sent.len() - named.len();
            named.into_iter().for_each(|line| self.suspects.push(line, failure.clone()));
            return None;
        }
        if self.sent().is_some_and(|lines| lines == 1 || refused == Some(lines)) {
            self.tries = 0;
            let range = self.pending.pop().unwrap_or_default();
            let lines: Vec<usize> = self.left(&range).collect();
            lines.into_iter().for_each(|line| self.suspects.push(line, failure.clone()));
            return None;
        }
        self.alone(failure)
    }

    /// It was too large for the server, `size` bytes: halves it, and keeps to that size from now on.
    pub(super) fn split(&mut self, failure: Failure, size: usize) -> Option<Outcome> {
        if self.sent().is_some_and(|lines| lines > 1) {
            self.max_bytes = self.max_bytes.min((size / 2).max(SMALL));
        }
        self.alone(failure)
    }

    /// No answer came in time for `size` bytes: less at once has a better chance. Whether there was more than one line.
    pub(super) fn shrink(&mut self, size: usize) -> bool {
        let can = size > SMALL && self.sent().is_some_and(|lines| lines > 1);
        if can {
            self.tries = 0;
            self.halve();
        }
        can
    }

    /// It failed, and nobody knows whose fault that is. What is to be done, if it cannot go on.
    pub(super) fn failed(&mut self, failure: Failure) -> Option<Outcome> {
        if self.searching || self.pending.is_empty() {
            return self.alone(failure);
        }
        self.tries += 1;
        Some(failure.outcome)
    }

    /// Halves it, or puts it aside where it is one line.
    fn alone(&mut self, failure: Failure) -> Option<Outcome> {
        self.tries = 0;
        match self.sent() {
            None => self.suspects.failed(failure),
            Some(lines) if lines > 1 => {
                self.halve();
                None
            }
            Some(_) => {
                let range = self.pending.pop().unwrap_or_default();
                let outcome = failure.outcome.clone();
                let line = self.left(&range).next();
                if let Some(line) = line {
                    self.suspects.push(line, failure);
                }
                let too_many = self.suspects.len() > MOST_SUSPECTS.max(self.written / SHARE);
                too_many.then(|| {
                    self.acquit();
                    outcome
                })
            }
        }
    }

    /// A blank line was taken.
    pub(super) fn proved(&mut self) {
        self.proved = self.refused.len();
        if self.tries >= TRIES {
            self.tries = 0;
            self.searching = true;
        }
    }

    /// A blank line was not taken either, so that what was refused since the last one may not have been the lines' fault.
    pub(super) fn disproved(&mut self) {
        self.tries = 0;
        let refused = self.refused.split_off(self.proved);
        self.again(refused.into_iter().map(|refused| refused.line).collect());
    }

    /// The sample was taken.
    pub(super) fn sample_taken(&mut self) {
        self.suspects.sample_taken();
    }

    /// It was not: the suspects are not to blame.
    pub(super) fn sample_failed(&mut self) {
        self.acquit();
    }

    /// The lines that were refused. Given once.
    pub(super) fn take_refused(&mut self) -> Vec<RefusedLine> {
        self.proved = 0;
        std::mem::take(&mut self.refused)
    }

    /// All suspects wait to be written like all other lines.
    fn acquit(&mut self) {
        self.searching = false;
        self.tries = 0;
        self.max_bytes = MAX_BYTES;
        let lines = self.suspects.acquit();
        self.again(lines);
    }

    /// Puts lines back: one that was named into the range that it is in, if that still waits, and others that are neighbours as one
    /// range.
    fn again(&mut self, mut lines: Vec<usize>) {
        lines.sort_unstable();
        lines.retain(|line| {
            self.named.remove(line);
            !self.pending.iter().any(|range| range.contains(line))
        });
        for range in lines.chunk_by(|one, next| one + 1 == *next) {
            if let (Some(first), Some(last)) = (range.first(), range.last()) {
                self.pending.push(*first..last + 1);
            }
        }
    }

    fn halve(&mut self) {
        if let Some(range) = self.pending.last() {
            self.cut(range.start + range.len() / 2);
        }
    }

    fn cut(&mut self, at: usize) {
        let Some(range) = self.pending.pop() else { return };
        self.pending.extend([at..range.end, range.start..at]);
    }
}
