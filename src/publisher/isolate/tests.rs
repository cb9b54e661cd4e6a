use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const LINE: usize = 100;

fn size(range: &Range<usize>) -> usize {
    range.len() * LINE
}

/// The lines of the next request.
fn lines(work: &mut Work) -> Option<Range<usize>> {
    match work.next(size, &Evidence::default())? {
        Next::Lines(range) => Some(range),
        next => panic!("{next:?}"),
    }
}

fn failure(words: &str, condemns: bool) -> Failure {
    Failure { words: words.to_owned(), outcome: Outcome::Retry { after: None, why: words.to_owned() }, condemns }
}

/// A server with lines that it refuses, lines on which it closes the connection, lines for which a limit must be raised first,
/// and that takes only so much and fails now and then.
struct Server {
    bad: BTreeSet<usize>,
    deadly: BTreeSet<usize>,
    limited: BTreeSet<usize>,
    counts: bool,
    /// Whether it names lines that it refuses, and then whether it writes the others.
    names: Option<bool>,
    max_bytes: usize,
    written: BTreeSet<usize>,
    requests: usize,
    failures: usize,
    evidence: Evidence,
}

impl Server {
    fn fails(&mut self, rng: &mut fastrand::Rng) -> bool {
        let fails = self.failures > 0 && rng.bool();
        self.failures -= usize::from(fails);
        fails
    }

    /// Takes a request. Returns whether the agent would pause now.
    fn take(&mut self, next: &Next, work: &mut Work, rng: &mut fastrand::Rng) -> bool {
        self.requests += 1;
        let fails = self.fails(rng);
        let range = match next {
            Next::Lines(range) => range,
            Next::Blank if fails => return [work.disproved()].len() == 1,
            Next::Sample if fails => return [work.sample_failed()].len() == 1,
            Next::Blank => return [work.proved()].is_empty(),
            Next::Sample => return [work.sample_taken()].is_empty(),
        };
        let is_good = |line: &usize| ![&self.bad, &self.deadly, &self.limited].iter().any(|lines| lines.contains(line));
        let sent: Vec<usize> = work.left(range).collect();
        let count = |lines: &BTreeSet<usize>| sent.iter().filter(|line| lines.contains(line)).count();
        // Whether it was written or not: nobody knows.
        let good: Vec<usize> = sent.iter().copied().filter(is_good).collect();
        let (bad, deadly, limited) = (count(&self.bad), count(&self.deadly), count(&self.limited));
        if fails || deadly > 0 {
            if rng.bool() {
                self.written.extend(good);
            }
            return !work.shrink(size(range)) && work.failed(failure("closed", true)).is_some();
        }
        if size(range) > self.max_bytes {
            return work.split(failure("413", true), size(range)).is_some();
        }
        if limited > 0 {
            return {
                let named = sent.iter().enumerate().filter(|(_, line)| self.limited.contains(line) && self.names == Some(true));
                let named: Vec<usize> = named.map(|(at, _)| at).collect();
                if !named.is_empty() && bad == 0 {
                    self.written.extend(good);
                }
                let named = if bad == 0 { named } else { Vec::new() };
                work.limited(failure("limit", false), self.counts.then_some(limited), &named).is_some()
            };
        }
        if let (Some(others_are_written), 1..) = (self.names, bad) {
            // One answer is only so long, where it must be sent again anyway.
            let most = if others_are_written { usize::MAX } else { 20 };
            let named = sent.iter().enumerate().filter(|(_, line)| self.bad.contains(line)).take(most);
            work.named(named.map(|(at, _)| (at, "400".to_owned())).collect(), others_are_written);
            if others_are_written {
                self.written.extend(good);
            }
            return false;
        }
        self.written.extend(good);
        match bad {
            0 => {
                work.accepted();
                self.evidence.taken(range.len(), b"c value=1 1");
            }
            bad => work.isolate("400", self.counts.then_some(bad)),
        }
        false
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn exactly_the_bad_lines_are_refused_in_bounded_requests(
        lines in 0usize..25_000, bad in prop::collection::btree_set(0usize..25_000, 0..60),
        deadly in prop::collection::btree_set(0usize..25_000, 0..8), limited in prop::collection::btree_set(0usize..25_000, 0..8),
        counts: bool, names: Option<bool>, failures in 0usize..20, seed: u64, max_kib in 70usize..2_000,
    ) {
        let deadly: BTreeSet<usize> = deadly.into_iter().filter(|line| *line < lines / 4).collect();
        let limited: BTreeSet<usize> = limited.into_iter().filter(|line| *line < lines && !deadly.contains(line)).collect();
        let bad: BTreeSet<usize> =
            bad.into_iter().filter(|line| *line < lines && !deadly.contains(line) && !limited.contains(line)).collect();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut server = Server {
            bad: bad.clone(), deadly: deadly.clone(), limited, counts, names, max_bytes: max_kib << 10, written: BTreeSet::new(),
            requests: 0, failures, evidence: Evidence::default(),
        };
        let mut work = Work::default();
        work.load(lines);
        let mut pauses = 0;
        while let Some(next) = work.next(size, &server.evidence.clone()) {
            if let Next::Lines(range) = &next {
                prop_assert!(range.len() <= MAX_LINES && !range.is_empty());
            }
            pauses += usize::from(server.take(&next, &mut work, &mut rng));
            if pauses > 2_000 {
                // Somebody raises the limit.
                server.limited.clear();
            }
            prop_assert!(pauses < 4_000, "it has no end");
        }
        let refused: BTreeSet<usize> = work.refused.iter().map(|refused| refused.line).collect();
        prop_assert_eq!(refused.len(), work.refused.len());
        prop_assert_eq!(refused, bad.union(&deadly).copied().collect::<BTreeSet<_>>());
        let written: BTreeSet<usize> = (0..lines).filter(|line| !bad.contains(line) && !deadly.contains(line)).collect();
        prop_assert_eq!(server.written, written);
        if deadly.is_empty() && pauses < 2_000 {
            // Whole requests, those that were too large, a halving for each failure, two for each halving of a refusal, and
            // the blank ones. What a blank line did not prove is looked for again.
            let whole = lines * LINE / (32 << 10) + 2;
            let bound = whole + 16 + 2 * failures + 16 + (1 + failures) * bad.len() * 2 * 15;
            prop_assert!(server.requests <= bound, "{} requests, at most {bound}", server.requests);
        }
    }
}

/// A line that was named waits in the range that it was named in, and not a second time by itself.
#[test]
fn a_line_that_was_named_in_vain_is_sent_again_where_it_was() {
    let (mut work, evidence) = (Work::default(), Evidence::default());
    work.load(4);
    assert_eq!(work.next(size, &evidence), Some(Next::Lines(0..4)));
    work.named(vec![(1, "400".to_owned())], false);
    assert_eq!(work.next(size, &evidence), Some(Next::Blank));
    work.disproved();
    assert_eq!(work.next(size, &evidence), Some(Next::Lines(0..4)));
    assert_eq!(work.left(&(0..4)).count(), 4);
    work.accepted();
    assert!(work.is_done() && work.refused.is_empty());
}

/// What becomes of lines of which a server fails on some, and how many requests it took; `None` if that has no end.
fn settle(lines: usize, evidence: &Evidence, mut fails: impl FnMut(&Next) -> bool) -> Option<(Vec<usize>, usize)> {
    let mut work = Work::default();
    work.load(lines);
    let mut requests = 0;
    while let Some(next) = work.next(size, evidence) {
        requests += 1;
        if requests > 10_000 {
            return None;
        }
        let failed = fails(&next);
        match (next, failed) {
            (Next::Lines(_), true) => _ = work.failed(failure("closed", true)),
            (Next::Blank, true) => work.disproved(),
            (Next::Sample, true) => work.sample_failed(),
            (Next::Blank, false) => work.proved(),
            (Next::Sample, false) => work.sample_taken(),
            (Next::Lines(range), false) => {
                work.accepted();
                evidence.taken(range.len(), b"c value=1 1");
            }
        }
    }
    Some((work.take_refused().into_iter().map(|refused| refused.line).collect(), requests))
}

fn has(next: &Next, bad: &[usize]) -> bool {
    matches!(next, Next::Lines(range) if bad.iter().any(|line| range.contains(line)))
}

#[test]
fn lines_on_which_a_server_fails_each_time_are_refused_and_the_others_are_not() {
    let bad = [3, 4, 40];
    let (mut refused, requests) = settle(42, &Evidence::default(), |next| has(next, &bad)).unwrap();
    refused.sort_unstable();
    assert_eq!(refused, bad);
    assert!(requests < 150, "{requests}");
}

#[test]
fn a_server_that_fails_on_everything_but_blank_lines_condemns_none() {
    let before = Evidence::default();
    before.taken(1_000, b"c value=1 1");
    for evidence in [Evidence::default(), before] {
        for lines in [1, 2, 42, 1_000] {
            assert_eq!(settle(lines, &evidence, |next| *next != Next::Blank), None);
        }
    }
}

#[test]
fn a_server_that_fails_on_many_lines_condemns_none() {
    assert_eq!(
        settle(1_000, &Evidence::default(), |next| matches!(next, Next::Lines(range) if range.clone().any(|line| line % 2 == 0))),
        None
    );
}

#[test]
fn a_server_that_fails_now_and_then_or_by_turns_condemns_none() {
    for seed in 0..100 {
        let mut rng = fastrand::Rng::with_seed(seed);
        assert_eq!(settle(200, &Evidence::default(), |_| rng.bool()).unwrap().0, [0; 0], "{seed}");
        let mut turn = 0;
        let every = 2 + (seed as usize) % 3;
        let by_turns = settle(200, &Evidence::default(), |_| {
            turn += 1;
            turn % every == 0
        });
        assert_eq!(by_turns.unwrap().0, [0; 0], "{every}");
    }
}

#[test]
fn a_line_that_is_alone_with_its_failure_waits_for_others_to_be_taken() {
    let evidence = Evidence::default();
    assert_eq!(settle(1, &evidence, |next| has(next, &[0])), None);
    evidence.taken(2, b"c value=1 1");
    assert_eq!(settle(1, &evidence, |next| has(next, &[0])), None, "too few");
    evidence.taken(10, b"c value=1 1");
    assert_eq!(settle(1, &evidence, |next| has(next, &[0])).unwrap().0, [0]);
}

/// What becomes of a line that `fails` as it says, each time that it is sent alone, while a sample is taken: whether it is refused.
fn try_one(evidence: &Evidence, mut fails: impl FnMut(&mut Work, usize) -> bool) -> bool {
    let mut work = Work::default();
    work.load(1);
    let mut sent = 0;
    for _ in 0..1_000 {
        match work.next(size, evidence) {
            Some(Next::Lines(_)) => {
                sent += 1;
                if !fails(&mut work, sent) {
                    work.accepted();
                }
            }
            Some(Next::Blank) => work.proved(),
            Some(Next::Sample) => work.sample_taken(),
            None => return !work.take_refused().is_empty(),
        }
    }
    panic!("it has no end");
}

#[test]
fn a_line_that_waited_for_an_operator_is_not_condemned_by_what_failed_meanwhile() {
    let evidence = Evidence::default();
    evidence.taken(1_000, b"c value=1 1");
    let is_refused = try_one(&evidence, |work, sent| {
        // A limit that is raised in the end, and then one connection that is lost.
        match sent {
            ..100 => _ = work.limited(failure("limit", false), None, &[]),
            100 => _ = work.failed(failure("closed", true)),
            _ => return false,
        }
        true
    });
    assert!(!is_refused);
}

#[test]
fn a_line_that_failed_while_nothing_was_taken_is_tried_again_once_something_is() {
    let evidence = Evidence::default();
    let is_refused = try_one(&evidence, |work, sent| {
        if sent == 100 {
            // It is as before for this line and for all others.
            evidence.taken(1_000, b"c value=1 1");
        }
        let fails = sent <= 100;
        if fails {
            work.failed(failure("closed", true));
        }
        fails
    });
    assert!(!is_refused);
}

#[test]
fn what_was_refused_before_a_blank_line_was_refused_too_is_written_after_all() {
    let mut work = Work::default();
    work.load(100);
    work.isolate("400", Some(100));
    assert_eq!(work.next(size, &Evidence::default()), Some(Next::Blank));
    assert!(!work.is_done());
    work.disproved();
    assert_eq!(lines(&mut work), Some(0..100));
    work.accepted();
    assert!(work.is_done());
    assert_eq!(work.take_refused(), []);
}

#[test]
fn a_backlog_that_is_refused_whole_costs_one_request() {
    let mut work = Work::default();
    work.load(9_000);
    assert_eq!(lines(&mut work), Some(0..9_000));
    work.isolate("beyond retention", Some(9_000));
    work.proved();
    assert_eq!(lines(&mut work), None);
    assert_eq!(work.refused.len(), 9_000);
}

#[test]
fn lines_that_are_named_cost_no_halving() {
    for others_are_written in [true, false] {
        let mut work = Work::default();
        work.load(9_000);
        assert_eq!(lines(&mut work), Some(0..9_000));
        work.named(vec![(3, "three".to_owned()), (8_999, "last".to_owned())], others_are_written);
        assert_eq!(work.next(size, &Evidence::default()), Some(Next::Blank));
        work.proved();
        if !others_are_written {
            assert_eq!(lines(&mut work), Some(0..9_000));
            assert_eq!(work.left(&(0..9_000)).count(), 8_998);
            // The place of a line is that among those that were sent.
            work.named(vec![(3, "four".to_owned())], others_are_written);
            assert_eq!(work.left(&(0..6)).collect::<Vec<_>>(), [0, 1, 2, 5]);
            assert_eq!(lines(&mut work), Some(0..9_000));
            work.accepted();
        }
        let refused: Vec<(usize, String)> = work.refused.iter().map(|refused| (refused.line, refused.reason.clone())).collect();
        let four = (!others_are_written).then(|| (4, "four".to_owned()));
        assert_eq!(
            refused,
            [Some((3, "three".to_owned())), Some((8_999, "last".to_owned())), four].into_iter().flatten().collect::<Vec<_>>()
        );
    }
}

#[test]
fn lines_that_were_named_by_what_refuses_a_blank_line_too_are_written_after_all() {
    let mut work = Work::default();
    work.load(10);
    work.named(vec![(3, "bad".to_owned())], false);
    assert_eq!(work.next(size, &Evidence::default()), Some(Next::Blank));
    work.disproved();
    let mut written = BTreeSet::new();
    while let Some(range) = lines(&mut work) {
        written.extend(work.left(&range));
        work.accepted();
    }
    assert_eq!((written, work.take_refused()), ((0..10).collect(), vec![]));
}

#[test]
fn a_line_alone_of_which_none_was_refused_is_written() {
    let mut work = Work::default();
    work.load(2);
    work.isolate("stripped", Some(0));
    for line in 0..2 {
        assert_eq!(lines(&mut work), Some(line..line + 1));
        work.isolate("stripped", Some(0));
    }
    assert!(work.is_done());
    assert_eq!(work.take_refused(), []);
}

#[test]
fn a_count_of_fewer_condemns_nothing_by_itself() {
    let mut work = Work::default();
    work.load(4);
    work.isolate("conflict", Some(3));
    assert_eq!(lines(&mut work), Some(0..2));
    assert!(work.refused.is_empty());
}

#[test]
fn what_a_server_took_too_large_is_not_tried_again_with_the_next_batch() {
    let mut work = Work::default();
    work.load(8_000);
    work.split(failure("413", true), 800_000);
    work.load(8_000);
    assert_eq!(lines(&mut work), Some(0..4_000));
}

#[test]
fn a_late_answer_does_not_split_what_is_small() {
    let mut work = Work::default();
    work.load(8_000);
    for _ in 0..100 {
        let range = lines(&mut work).unwrap();
        work.shrink(size(&range));
    }
    assert_eq!(lines(&mut work), Some(0..500));
}

#[test]
fn what_is_divided_goes_in_small_requests_that_grow_with_the_next_divisor_and_nothing_is_left_out() {
    let mut work = Work::default();
    work.load(25_000);
    let mut end = 0;
    let mut sent = Vec::new();
    for divisor in [64, 64, 32, 1, 1, 1, 1] {
        work.divide(divisor);
        let Some(range) = lines(&mut work) else { break };
        assert_eq!(range.start, end);
        (end, _) = (range.end, sent.push(range.len()));
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
    assert_eq!(work.next(|range| range.len() * (64 << 10), &Evidence::default()), Some(Next::Lines(0..1)));
}

#[test]
fn nothing_to_do_asks_for_nothing() {
    let mut work = Work::default();
    work.load(0);
    assert_eq!(lines(&mut work), None);
}
