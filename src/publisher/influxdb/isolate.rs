//! What is left of a batch to write, and which of its lines were refused. Pure: it never sends anything.
//!
//! Writing a line twice changes nothing, so a request of which InfluxDB refused something is halved until every
//! refused line stands alone. A refused line costs at most two requests for each halving.

use std::ops::Range;

/// How many lines go in one request at most.
pub(super) const MAX_LINES: usize = 10_000;

/// How large the body of a request is at most, unless it is one line.
const MAX_BYTES: usize = 8 << 20;

/// What is never split just because an answer was late or a request was too large: below it, it is not the size.
const SMALL: usize = 64 << 10;

/// A line that was refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusedLine {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// The work list: ranges of lines, the next one last.
#[derive(Debug)]
pub(super) struct Work {
    pending: Vec<Range<usize>>,
    refused: Vec<RefusedLine>,
    max_bytes: usize,
    /// One in so many of the lines and bytes that a request could have goes in one.
    divisor: usize,
}

impl Default for Work {
    fn default() -> Self {
        Self { pending: Vec::new(), refused: Vec::new(), max_bytes: MAX_BYTES, divisor: 1 }
    }
}

impl Work {
    /// Starts over with `lines` lines. What a server refused as too large before is not tried again.
    pub(super) fn load(&mut self, lines: usize) {
        self.pending.clear();
        self.refused.clear();
        if lines > 0 {
            self.pending.push(0..lines);
        }
    }

    /// From now on a request has one in `divisor` of the lines and bytes that it could have.
    pub(super) fn divide(&mut self, divisor: usize) {
        self.divisor = divisor.max(1);
    }

    /// The lines of the next request; the same ones until they are settled. `size` tells how large a range is in bytes.
    pub(super) fn next(&mut self, size: impl Fn(&Range<usize>) -> usize) -> Option<Range<usize>> {
        loop {
            let range = self.pending.last()?.clone();
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

    /// Whether every line is settled.
    pub(super) fn is_done(&self) -> bool {
        self.pending.is_empty()
    }

    /// All of it was written.
    pub(super) fn accepted(&mut self) {
        self.pending.pop();
    }

    /// Some of it was refused: all of it where that many were `refused`, else the culprits are looked for.
    pub(super) fn isolate(&mut self, words: &str, refused: Option<usize>) {
        let Some(range) = self.pending.last() else { return };
        if range.len() == 1 || refused == Some(range.len()) {
            self.refuse(words);
        } else {
            self.halve();
        }
    }

    /// It was too large for the server, `size` bytes: halves it, and keeps to that size from now on.
    pub(super) fn split(&mut self, words: &str, size: usize) {
        if self.pending.last().is_none_or(|range| range.len() == 1) {
            self.refuse(words);
        } else {
            self.max_bytes = self.max_bytes.min((size / 2).max(SMALL));
            self.halve();
        }
    }

    /// No answer came in time for `size` bytes: less at once has a better chance.
    pub(super) fn shrink(&mut self, size: usize) {
        if size > SMALL && self.pending.last().is_some_and(|range| range.len() > 1) {
            self.halve();
        }
    }

    /// The lines that were refused, in order. Given once.
    pub(super) fn take_refused(&mut self) -> Vec<RefusedLine> {
        std::mem::take(&mut self.refused)
    }

    // Ranges are settled from the front, so this keeps the order.
    fn refuse(&mut self, words: &str) {
        let Some(range) = self.pending.pop() else { return };
        self.refused.extend(range.map(|line| RefusedLine { line, reason: words.to_owned() }));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const LINE: usize = 100;

    fn size(range: &Range<usize>) -> usize {
        range.len() * LINE
    }

    /// A server with lines that it refuses, that takes only so much, and fails now and then.
    struct Server {
        bad: BTreeSet<usize>,
        counts: bool,
        max_bytes: usize,
        written: BTreeSet<usize>,
        requests: usize,
        failures: usize,
    }

    impl Server {
        fn take(&mut self, range: &Range<usize>, work: &mut Work, rng: &mut fastrand::Rng) {
            if self.failures > 0 && rng.bool() {
                self.failures -= 1;
                // Whether it was written or not: nobody knows.
                if rng.bool() {
                    self.written.extend(range.clone().filter(|line| !self.bad.contains(line)));
                }
                return work.shrink(size(range));
            }
            self.requests += 1;
            if size(range) > self.max_bytes {
                return work.split("413", size(range));
            }
            self.written.extend(range.clone().filter(|line| !self.bad.contains(line)));
            match self.bad.range(range.clone()).count() {
                0 => work.accepted(),
                bad => work.isolate("400", self.counts.then_some(bad)),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn exactly_the_bad_lines_are_refused_in_bounded_requests(
            lines in 0usize..25_000, bad in prop::collection::btree_set(0usize..25_000, 0..60),
            counts: bool, failures in 0usize..20, seed: u64, max_kib in 70usize..2_000,
        ) {
            let bad: BTreeSet<usize> = bad.into_iter().filter(|line| *line < lines).collect();
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut server = Server {
                bad: bad.clone(), counts, max_bytes: max_kib << 10, written: BTreeSet::new(), requests: 0, failures,
            };
            let mut work = Work::default();
            work.load(lines);
            while let Some(range) = work.next(size) {
                prop_assert!(range.len() <= MAX_LINES && !range.is_empty());
                server.take(&range, &mut work, &mut rng);
            }
            let refused: Vec<usize> = work.refused.iter().map(|refused| refused.line).collect();
            prop_assert_eq!(refused, bad.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(server.written, (0..lines).filter(|line| !bad.contains(line)).collect::<BTreeSet<_>>());
            // Whole requests, those that were too large, a halving for each failure, and two for each halving of a refusal.
            let whole = lines * LINE / (32 << 10) + 2;
            let bound = whole + 16 + failures + bad.len() * 2 * 15;
            prop_assert!(server.requests <= bound, "{} requests, at most {bound}", server.requests);
        }
    }

    #[test]
    fn a_backlog_that_is_refused_whole_costs_one_request() {
        let mut work = Work::default();
        work.load(9_000);
        assert_eq!(work.next(size), Some(0..9_000));
        work.isolate("beyond retention", Some(9_000));
        assert_eq!(work.next(size), None);
        assert_eq!(work.refused.len(), 9_000);
    }

    #[test]
    fn a_count_of_fewer_condemns_nothing_by_itself() {
        let mut work = Work::default();
        work.load(4);
        work.isolate("conflict", Some(3));
        assert_eq!(work.next(size), Some(0..2));
        assert!(work.refused.is_empty());
    }

    #[test]
    fn a_single_line_that_is_too_large_is_refused() {
        let mut work = Work::default();
        work.load(1);
        work.split("413 Request Entity Too Large", 30_000_000);
        assert_eq!(work.next(size), None);
        assert_eq!(work.refused, [RefusedLine { line: 0, reason: "413 Request Entity Too Large".to_owned() }]);
    }

    #[test]
    fn what_a_server_took_too_large_is_not_tried_again_with_the_next_batch() {
        let mut work = Work::default();
        work.load(8_000);
        work.split("413", 800_000);
        work.load(8_000);
        assert_eq!(work.next(size), Some(0..4_000));
    }

    #[test]
    fn a_late_answer_does_not_split_what_is_small() {
        let mut work = Work::default();
        work.load(8_000);
        for _ in 0..100 {
            let range = work.next(size).unwrap();
            work.shrink(size(&range));
        }
        assert_eq!(work.next(size), Some(0..500));
    }

    #[test]
    fn what_is_divided_goes_in_small_requests_that_grow_with_the_next_divisor_and_nothing_is_left_out() {
        let mut work = Work::default();
        work.load(25_000);
        let mut lines = 0;
        let mut sent = Vec::new();
        for divisor in [64, 64, 32, 1, 1, 1, 1] {
            work.divide(divisor);
            let Some(range) = work.next(size) else { break };
            assert_eq!(range.start, lines);
            (lines, _) = (range.end, sent.push(range.len()));
            work.accepted();
        }
        assert_eq!(sent, [156, 156, 312, 10_000, 10_000, 4_376]);
        assert!(work.is_done());
    }

    #[test]
    fn large_lines_are_divided_by_their_bytes() {
        let mut work = Work::default();
        work.load(100);
        work.divide(64);
        assert_eq!(work.next(|range| range.len() * (64 << 10)), Some(0..1));
    }

    #[test]
    fn nothing_to_do_asks_for_nothing() {
        let mut work = Work::default();
        work.load(0);
        assert_eq!(work.next(size), None);
    }
}
