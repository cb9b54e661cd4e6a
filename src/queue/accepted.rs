//! When what waits was accepted: marks, few of them however much waits. Pure; the clock is the caller's.
//!
//! The chunks of a region are accepted in the order of their numbers, so a mark at the first of them that came within some time
//! tells the age of all of those. That time grows with how long messages wait: an age is right to a quarter of a second, or to a
//! 512th of the longest there was when the chunk came. The marks are in the file too, by this machine's clock, so that an age
//! outlives the process; within a process it is counted by a clock that does not jump.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::region::Region;

/// The least time between two marks, in ms.
const SHORTEST: i64 = 250;
/// The part of the longest age that is between two marks.
const PART: i64 = 512;

/// See the module.
#[derive(Debug)]
pub(super) struct Accepted {
    opened: Instant,
    /// By a chunk's number, when it was accepted in ms since the file was opened: negative before that.
    marks: BTreeMap<i64, i64>,
}

/// A mark to be set, and those that it makes superfluous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) chunk: i64,
    at: i64,
    pub(super) superfluous: Vec<i64>,
}

impl Accepted {
    /// `found` is how many ms ago chunks were accepted by the marks in the file.
    pub(super) fn new(opened: Instant, found: &[(i64, u64)]) -> Self {
        let ago = |ms: u64| i64::try_from(ms).map_or(i64::MIN, |ms| -ms);
        Self { opened, marks: found.iter().map(|&(chunk, ms)| (chunk, ago(ms))).collect() }
    }

    fn now(&self, now: Instant) -> i64 {
        i64::try_from(now.saturating_duration_since(self.opened).as_millis()).unwrap_or(i64::MAX)
    }

    /// The mark that says it of a chunk.
    fn mark_of(&self, chunk: i64) -> Option<(i64, i64)> {
        let region = Region::of(chunk);
        let (first, last) = region.chunks().into_inner();
        let mark = match region {
            // Each goes before all others.
            Region::Oldest => self.marks.range(chunk..=last).next(),
            Region::Newest | Region::Adopted => self.marks.range(first..=chunk).next_back(),
        };
        mark.map(|(&chunk, &at)| (chunk, at))
    }

    /// For how long a chunk has been here; what an older version of the agent has accepted at least since the file was opened.
    pub(super) fn age(&self, chunk: i64, now: Instant) -> Duration {
        let at = self.mark_of(chunk).map_or(0, |(_, at)| at);
        Duration::from_millis(self.now(now).saturating_sub(at).max(0).unsigned_abs())
    }

    /// Whether chunks that come now may need a mark.
    pub(super) fn may_be_due(&self, region: Region, now: Instant) -> bool {
        self.newest(region).is_none_or(|at| self.now(now).saturating_sub(at) >= SHORTEST)
    }

    fn newest(&self, region: Region) -> Option<i64> {
        let mut marks = self.marks.range(region.chunks());
        let newest = if region == Region::Oldest { marks.next() } else { marks.next_back() };
        newest.map(|(_, &at)| at)
    }

    /// The mark for chunks from `first` to `last` that come now, if it is time for one; `oldest` is the chunk of their region that has
    /// been here longest.
    pub(super) fn due(&self, region: Region, (first, last): (i64, i64), oldest: Option<i64>, now: Instant) -> Option<Mark> {
        let at = self.now(now);
        let covering = oldest.map(|chunk| self.mark_of(chunk));
        let longest = covering.map_or(0, |mark| at.saturating_sub(mark.map_or(0, |(_, since)| since)));
        if self.newest(region).is_some_and(|newest| at.saturating_sub(newest) < SHORTEST.max(longest / PART)) {
            return None;
        }
        let (low, high) = region.chunks().into_inner();
        let superfluous: Vec<i64> = match (region, covering) {
            (_, None) => self.marks.range(low..=high).map(|(&chunk, _)| chunk).collect(),
            // An older version has accepted the oldest.
            (_, Some(None)) => Vec::new(),
            (Region::Oldest, Some(Some((chunk, _)))) => self.marks.range(chunk..=high).skip(1).map(|(&chunk, _)| chunk).collect(),
            (_, Some(Some((chunk, _)))) => self.marks.range(low..chunk).map(|(&chunk, _)| chunk).collect(),
        };
        Some(Mark { chunk: if region == Region::Oldest { last } else { first }, at, superfluous })
    }

    /// It is in the file.
    pub(super) fn set(&mut self, mark: Mark) {
        for chunk in &mark.superfluous {
            self.marks.remove(chunk);
        }
        self.marks.insert(mark.chunk, mark.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_age_is_that_of_the_chunk_whatever_end_it_came_in_by() {
        let start = Instant::now();
        let mut accepted = Accepted::new(start, &[]);
        for (region, chunk, at) in [
            (Region::Newest, 1, 10),
            (Region::Newest, 2, 20),
            (Region::Oldest, 0, 30),
            (Region::Oldest, -1, 40),
            (Region::Adopted, i64::MIN + 1, 50),
        ] {
            let mark =
                accepted.due(region, (chunk, chunk), Some(if region == Region::Newest { 1 } else { chunk }), start + seconds(at));
            accepted.set(mark.unwrap());
        }
        let age = |chunk| accepted.age(chunk, start + seconds(100)).as_secs();
        assert_eq!([1, 2, 3, 0, -1, -2, i64::MIN + 1, i64::MIN + 9].map(age), [90, 80, 80, 70, 60, 60, 50, 50]);
    }

    #[test]
    fn what_was_found_is_as_old_as_its_mark_says_or_has_been_here_since_the_opening() {
        let start = Instant::now();
        let accepted = Accepted::new(start, &[(5, 60_000)]);
        assert_eq!([4, 5, 9].map(|chunk| accepted.age(chunk, start + seconds(1)).as_secs()), [1, 61, 61]);
    }

    #[test]
    fn a_week_of_an_outage_needs_few_marks_and_its_ages_are_right_to_a_part_of_it() {
        let start = Instant::now();
        let mut accepted = Accepted::new(start, &[]);
        let at = |chunk: i64| start + seconds(chunk.unsigned_abs());
        const WEEK: i64 = 7 * 24 * 60 * 60;
        for chunk in 1..=WEEK {
            if let Some(mark) = accepted.due(Region::Newest, (chunk, chunk), Some(1), at(chunk)) {
                accepted.set(mark);
            }
        }
        assert!(accepted.marks.len() < 6000, "{}", accepted.marks.len());
        for chunk in (1..=WEEK).step_by(1000) {
            let (told, is) = (accepted.age(chunk, at(WEEK)).as_secs_f64(), (WEEK - chunk) as f64);
            assert!(told >= is && told - is <= WEEK as f64 / 500.0, "{chunk}: {told} and not {is}");
        }
    }

    #[test]
    fn marks_stay_while_something_waits_that_came_before_all_of_them() {
        let start = Instant::now();
        let mut accepted = Accepted::new(start, &[]);
        for (chunk, oldest) in [(101, 1), (102, 1), (103, 101)] {
            let mark = accepted.due(Region::Newest, (chunk, chunk), Some(oldest), start + seconds(chunk.unsigned_abs()));
            accepted.set(mark.unwrap());
        }
        assert_eq!([1, 101, 102, 103].map(|chunk| accepted.age(chunk, start + seconds(200)).as_secs()), [200, 99, 98, 97]);
    }

    #[test]
    fn marks_go_once_nothing_waits_that_they_tell_of() {
        let start = Instant::now();
        let mut accepted = Accepted::new(start, &[]);
        for chunk in 1..=100 {
            let mark =
                accepted.due(Region::Newest, (chunk, chunk), Some((chunk - 3).max(1)), start + seconds(chunk.unsigned_abs()));
            accepted.set(mark.unwrap());
        }
        assert!(accepted.marks.len() <= 5, "{:?}", accepted.marks);
    }
}
