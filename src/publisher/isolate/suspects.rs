//! Lines that the server fails on when each is sent alone, without InfluxDB having said that it is their fault. Pure but for chance.
//!
//! Such a line is condemned only when it fails each of [`PROOFS`] times while a line that was taken before is taken each of as
//! many times in between, in an order that is drawn: what fails now and then, for a while or by turns fails the sample as well.

use std::collections::VecDeque;

use super::evidence::Evidence;
use crate::publisher::Outcome;

/// How often a suspect must fail, and the sample beside it be taken.
const PROOFS: u32 = 8;

/// That a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::publisher) struct Failure {
    /// What happened: the reason, where a line is to blame.
    pub(in crate::publisher) words: String,
    /// What is to be done meanwhile.
    pub(in crate::publisher) outcome: Outcome,
    /// Whether it can be a line's fault: never where an operator has to mend the server.
    pub(in crate::publisher) condemns: bool,
}

#[derive(Debug)]
struct Suspect {
    line: usize,
    failure: Failure,
    /// How often it failed, one after the other, in a way that can be its fault, while there was a sample.
    failed: u32,
}

/// What is to be sent for their sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    /// This line alone.
    Line(usize),
    /// The sample.
    Sample,
    /// This line is to blame, for this reason.
    Condemned,
}

/// The suspects of a window.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Those that may be to blame. They are tried first, one after the other.
    accused: VecDeque<Suspect>,
    /// Those that wait for an operator to mend the server.
    held: VecDeque<Suspect>,
    /// How often the sample was taken since the trial began.
    taken: u32,
    /// Whether the sample was the last that was tried.
    closed: bool,
    /// Whether there is no sample, or too many were set aside, so that a trial proves nothing.
    stuck: bool,
}

impl Suspects {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.accused.len() + self.held.len()
    }

    /// Whether a trial can prove nothing now, since too little else is taken.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck && !self.accused.is_empty()
    }

    pub(super) fn push(&mut self, line: usize, failure: Failure) {
        self.put(Suspect { line, failure, failed: 0 });
    }

    fn put(&mut self, suspect: Suspect) {
        if suspect.failure.condemns { &mut self.accused } else { &mut self.held }.push_back(suspect);
    }

    /// What is tried next.
    pub(super) fn next(&mut self, evidence: &Evidence) -> Option<Trial> {
        let Some(first) = self.accused.front_mut() else {
            self.taken = 0;
            return Some(Trial::Line(self.held.front()?.line));
        };
        self.stuck = evidence.sample().is_none();
        if self.stuck {
            // Nobody knows whether anything else would have been taken.
            (first.failed, self.taken) = (0, 0);
        }
        let failed = first.failed >= PROOFS;
        let proved = failed && self.taken >= PROOFS && self.closed;
        if proved && evidence.spend() {
            return Some(Trial::Condemned);
        }
        self.stuck |= proved;
        Some(if !self.stuck && (failed || fastrand::bool()) { Trial::Sample } else { Trial::Line(first.line) })
    }

    /// The first one is settled.
    pub(super) fn pop(&mut self) -> Option<(usize, Failure)> {
        self.closed = false;
        let first = self.accused.pop_front().or_else(|| self.held.pop_front());
        first.map(|suspect| (suspect.line, suspect.failure))
    }

    /// The first one has failed again. What is to be done, if it cannot go on.
    pub(super) fn failed(&mut self, failure: Failure) -> Option<Outcome> {
        let goes_on = failure.condemns && !self.stuck;
        let outcome = (!goes_on).then(|| failure.outcome.clone());
        self.closed = false;
        if let Some(first) = self.accused.front_mut().filter(|first| goes_on && first.failed + 1 < PROOFS) {
            first.failed += 1;
        } else if let Some(first) = self.accused.pop_front().or_else(|| self.held.pop_front()) {
            let failed = if failure.condemns { first.failed.saturating_add(u32::from(goes_on)) } else { 0 };
            self.put(Suspect { failure, failed, ..first });
        }
        outcome
    }

    /// The sample was taken again.
    pub(super) fn sample_taken(&mut self) {
        self.taken = self.taken.saturating_add(1);
        self.closed = true;
    }

    /// Nobody is suspected any more; returns who was.
    pub(super) fn acquit(&mut self) -> Vec<usize> {
        let Self { accused, held, .. } = std::mem::take(self);
        accused.into_iter().chain(held).map(|suspect| suspect.line).collect()
    }
}
