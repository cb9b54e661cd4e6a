//! What waits to be written and what became of it, as a state machine without a thread, a lock or a clock.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::observe::log::refusal::Refusal;

/// How many bytes of lines may wait.
pub(super) const CAPACITY: usize = 1 << 20;

#[derive(Default)]
pub(super) struct State {
    pub(super) waiting: VecDeque<Entry>,
    /// The size of the lines that wait and could have been dropped.
    pub(super) bytes: usize,
    /// How many lines were dropped since the last line that was taken in.
    pub(super) dropped: u64,
    /// How many entries were taken in and how many of them are done with.
    pub(super) pushed: u64,
    pub(super) written: u64,
    /// Whether somebody waited in vain since the last entry was written.
    pub(super) stuck: bool,
    /// Why the line that the thread has in its hands was refused, and when the first one was.
    pub(super) refused: Option<(Refusal, Instant)>,
    /// How often a line was refused.
    pub(super) refusals: u64,
    /// Whether the thread rests before it tries the refused line again.
    pub(super) resting: bool,
    /// Whether to try again at once.
    pub(super) hurry: bool,
    /// Whether the refused line is not to be written any more.
    pub(super) withdrawn: bool,
    /// Why kept lines were withdrawn, until others are written.
    pub(super) withheld: Option<Refusal>,
    /// A refusal that is over, until that is said.
    pub(super) over: Option<(Refusal, Duration)>,
}

pub(super) enum Entry {
    /// A line that could have been dropped.
    Line(Vec<u8>),
    /// Lines of which each must be written.
    Kept(Vec<u8>),
    Gap(Gap),
}

/// Whether somebody waits for what is written, or may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Kept,
    Other,
}

/// What is to be said where lines are missing, or were late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::observe::log) struct Gap {
    /// How many are missing.
    pub(in crate::observe::log) lines: u64,
    /// Why they could not be written and for how long; if not, nobody read them.
    pub(in crate::observe::log) refused: Option<(Refusal, Duration)>,
}

/// What to do with a line that was refused, after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoOn {
    Try,
    Withdrawn,
}

impl State {
    /// Once a line was dropped, so are the next ones until there is room for many: few gaps rather than many.
    pub(super) fn has_room(&self, size: usize) -> bool {
        self.dropped == 0 && (self.bytes == 0 || self.bytes + size <= CAPACITY)
    }

    pub(super) fn push(&mut self, line: Vec<u8>) {
        if !self.has_room(line.len()) {
            self.dropped += 1;
            return;
        }
        self.bytes += line.len();
        self.enter(Entry::Line(line));
    }

    pub(super) fn enter(&mut self, entry: Entry) {
        self.waiting.push_back(entry);
        self.pushed += 1;
    }

    pub(super) fn take(&mut self) -> Entry {
        // It is waited for until there is one.
        let entry = self.waiting.pop_front().unwrap_or(Entry::Line(Vec::new()));
        if let Entry::Line(line) = &entry {
            self.bytes -= line.len();
        }
        self.say_gap();
        entry
    }

    /// Enters what is missing, once there is room for lines behind it.
    pub(super) fn say_gap(&mut self) {
        if (self.dropped > 0 || self.over.is_some()) && self.bytes <= CAPACITY / 2 && self.refused.is_none() {
            let gap = Gap { lines: std::mem::take(&mut self.dropped), refused: self.over.take() };
            self.enter(Entry::Gap(gap));
        }
    }

    /// The entry that was taken is written.
    pub(super) fn done(&mut self, kind: Kind, now: Instant) {
        self.written += 1;
        if kind == Kind::Kept {
            self.withheld = None;
        }
        self.stuck = false;
        if let Some((refusal, since)) = self.refused.take() {
            self.over = Some((refusal, now.duration_since(since)));
            self.say_gap();
        }
    }

    /// The entry that was taken is refused.
    pub(super) fn refuse(&mut self, refusal: Refusal, now: Instant) {
        self.refusals += 1;
        self.resting = true;
        let since = self.refused.take().map_or(now, |(_, since)| since);
        self.refused = Some((refusal, since));
    }

    /// The rest after a refusal is over.
    pub(super) fn go_on(&mut self) -> GoOn {
        (self.resting, self.hurry) = (false, false);
        if !std::mem::take(&mut self.withdrawn) {
            return GoOn::Try;
        }
        // Nobody knows what the next one meets with.
        self.refused = None;
        self.written += 1;
        self.say_gap();
        GoOn::Withdrawn
    }
}
