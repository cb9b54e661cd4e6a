//! What is remembered of the last hour, in a ring of fixed size: a point each ten seconds, and what happened meanwhile. Pure; the clocks
//! are the caller's.

use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::conditions::FaultChange;
use super::snapshot::{Bucket, Histogram, History, HistoryPoint, Mark, MarkKind};

/// How far points are apart.
pub(crate) const EVERY: Duration = Duration::from_secs(10);
/// How many points are kept: an hour.
pub(crate) const POINTS: usize = 360;
/// How many marks are kept, and how long one may be, in characters.
pub(crate) const MARKS: usize = 100;
const MARK_LENGTH: usize = 200;
/// How old may be what an earlier process has kept.
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What one publisher had counted at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Messages that had come for it.
    pub(crate) came: u64,
    /// Messages that were done.
    pub(crate) done: u64,
    pub(crate) requests: u64,
    /// How long writing took, of all batches so far.
    pub(crate) publish: Histogram,
    pub(crate) oldest_age: Option<Duration>,
    pub(crate) waiting: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Past {
    points: VecDeque<HistoryPoint>,
    marks: VecDeque<Mark>,
    /// The last samples, and when they were taken.
    last: Option<(Instant, Vec<Sample>)>,
    /// Messages and requests a second in the last interval, of each publisher.
    rates: Vec<(f64, f64)>,
    /// Until when restarts were noted.
    noted: Timestamp,
}

impl Past {
    /// What was kept of the hour before the start of this process, and a mark at that.
    pub(crate) fn new(kept: History, started: Timestamp) -> Self {
        let mut past = Self::default();
        let is_of_it = |at: Timestamp| at <= started && started.duration_since(at) <= HOUR;
        for point in kept.points.into_iter().filter(|point| is_of_it(point.at)) {
            push(&mut past.points, point, POINTS);
        }
        for Mark { at, kind, what } in kept.marks.into_iter().filter(|mark| is_of_it(mark.at)) {
            past.mark(at, kind, &what);
        }
        past.noted = started;
        past.mark(started, MarkKind::Started, "the agent started");
        past
    }

    /// Whether it is time to measure.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.last.as_ref().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= EVERY)
    }

    /// Takes samples, one a publisher.
    pub(crate) fn measure(&mut self, now: Instant, at: Timestamp, samples: Vec<Sample>) {
        let Some((then, before)) = self.last.replace((now, samples)) else { return };
        let Some((_, samples)) = &self.last else { return };
        let seconds = now.saturating_duration_since(then).as_secs_f64().max(0.001);
        let pairs = || before.iter().zip(samples);
        let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        self.rates = pairs().map(|(a, b)| (rate(a.done, b.done), rate(a.requests, b.requests))).collect();
        let publish = pairs().map(|(a, b)| difference(&a.publish, &b.publish)).reduce(sum).unwrap_or_default();
        let point = HistoryPoint {
            at,
            accepted_per_second: pairs().map(|(a, b)| rate(a.came, b.came)).reduce(f64::max).unwrap_or_default(),
            stored_per_second: self.rates.iter().map(|(done, _)| *done).reduce(f64::min).unwrap_or_default(),
            oldest_age_seconds: samples.iter().filter_map(|sample| sample.oldest_age).max().map(|age| age.as_secs_f64()),
            publish_p50_seconds: publish.quantile(0.5),
            publish_p99_seconds: publish.quantile(0.99),
            messages: samples.iter().filter_map(|sample| sample.waiting).max(),
        };
        push(&mut self.points, point, POINTS);
    }

    /// Until when restarts were noted.
    pub(crate) fn noted(&self) -> Timestamp {
        self.noted
    }

    /// Actors were restarted since then.
    pub(crate) fn note_restarts(&mut self, restarts: &[(Timestamp, String)]) {
        for (at, what) in restarts {
            self.noted = self.noted.max(*at);
            self.mark(*at, MarkKind::Restart, what);
        }
    }

    /// Publishers, or the channel, were held, or go on.
    pub(crate) fn note_faults(&mut self, changes: impl IntoIterator<Item = FaultChange>) {
        for FaultChange { at, began } in changes {
            match began {
                Some(what) => self.mark(at, MarkKind::Hold, &what),
                None => self.mark(at, MarkKind::Released, "it works again"),
            }
        }
    }

    /// Something happened.
    pub(crate) fn mark(&mut self, at: Timestamp, kind: MarkKind, what: &str) {
        push(&mut self.marks, Mark { at, kind, what: what.chars().take(MARK_LENGTH).collect() }, MARKS);
    }

    /// Messages and requests a second, of each publisher, once they are known.
    pub(crate) fn rates(&self) -> Vec<(f64, f64)> {
        self.rates.clone()
    }

    /// All of it.
    pub(crate) fn history(&self) -> History {
        History {
            every_seconds: EVERY.as_secs(),
            points: self.points.iter().copied().collect(),
            marks: self.marks.iter().cloned().collect(),
        }
    }
}

fn push<T>(ring: &mut VecDeque<T>, one: T, most: usize) {
    ring.push_back(one);
    while ring.len() > most {
        ring.pop_front();
    }
}

/// What came to a histogram between two looks at it.
fn difference(before: &Histogram, after: &Histogram) -> Histogram {
    combine(before, after, |before, after| after.saturating_sub(before))
}

fn sum(one: Histogram, other: Histogram) -> Histogram {
    combine(&one, &other, u64::saturating_add)
}

fn combine(one: &Histogram, other: &Histogram, count: impl Fn(u64, u64) -> u64) -> Histogram {
    let bucket = |(one, other): (&Bucket, &Bucket)| Bucket { le: other.le, count: count(one.count, other.count) };
    Histogram {
        count: count(one.count, other.count),
        sum: 0.0,
        buckets: one.buckets.iter().zip(&other.buckets).map(bucket).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::snapshot::BOUNDS;

    fn nothing() -> History {
        History { every_seconds: 10, points: Vec::new(), marks: Vec::new() }
    }

    #[test]
    fn an_hour_is_kept_and_no_more_whatever_happens() {
        let (start, at) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let mut past = Past::new(nothing(), at);
        for step in 0..1000_u32 {
            let now = start + EVERY * step;
            assert!(past.is_due(now));
            past.note_faults([FaultChange { at, began: (step % 2 == 0).then(|| "x".repeat(10_000)) }]);
            past.measure(now, at, vec![Sample { came: u64::from(step) * 100, ..Sample::default() }]);
            assert!(!past.is_due(now + EVERY / 2));
        }
        let history = past.history();
        assert_eq!((history.points.len(), history.marks.len()), (POINTS, MARKS));
        assert_eq!(history.points[0].accepted_per_second, 10.0);
        assert!(serde_json::to_vec(&history).unwrap().len() < 150_000);
    }

    #[test]
    fn of_what_was_kept_the_hour_before_the_start_is_left_and_no_more_of_it_than_there_is_room_for() {
        let start = Timestamp::from_second(1_000_000).unwrap();
        let second = |ago: i64| start.checked_sub(SignedDuration::from_secs(ago)).unwrap();
        let point = |ago: i64| HistoryPoint {
            at: second(ago),
            accepted_per_second: 1.0,
            stored_per_second: 1.0,
            oldest_age_seconds: None,
            publish_p50_seconds: None,
            publish_p99_seconds: None,
            messages: None,
        };
        let mark = |ago: i64| Mark { at: second(ago), kind: MarkKind::Restart, what: "x".repeat(10_000) };
        let kept = History {
            every_seconds: 10,
            points: [3601, 3600].into_iter().chain((0..2_000).rev()).chain([-1]).map(point).collect(),
            marks: [3601].into_iter().chain((0..500).rev()).chain([-1]).map(mark).collect(),
        };
        let History { points, marks, .. } = Past::new(kept, start).history();
        assert_eq!((points.len(), points[0].at, points[POINTS - 1].at), (POINTS, second(POINTS as i64 - 1), start));
        assert_eq!((marks.len(), marks[0].at), (MARKS, second(MARKS as i64 - 2)));
        assert_eq!((marks[MARKS - 1].kind, marks[0].what.len()), (MarkKind::Started, MARK_LENGTH));
        let old = History { points: vec![point(3601), point(3600)], marks: vec![mark(3601)], ..nothing() };
        let History { points, marks, .. } = Past::new(old, start).history();
        assert_eq!((points.len(), marks.len()), (1, 1));
    }

    #[test]
    fn rates_quantiles_and_marks_are_those_of_the_interval() {
        let (start, at) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let mut past = Past::new(nothing(), at);
        let publish = |count: u64| Histogram {
            count,
            sum: 0.0,
            buckets: BOUNDS.iter().map(|le| Bucket { le: *le, count: if *le < 0.005 { 0 } else { count } }).collect(),
        };
        let one = Sample { came: 100, done: 50, requests: 5, publish: publish(10), ..Sample::default() };
        past.measure(start, at, vec![one.clone(), one.clone()]);
        let later = Sample { came: 300, done: 250, requests: 25, publish: publish(30), waiting: Some(7), ..one };
        let held = Sample { came: 300, oldest_age: Some(EVERY), waiting: Some(250), ..one };
        past.measure(start + EVERY, at, vec![later, held]);
        past.note_faults([FaultChange { at, began: Some("401".to_owned()) }]);
        past.note_restarts(&[(Timestamp::from_second(5).unwrap(), "batcher panicked".to_owned())]);
        assert_eq!(past.noted(), Timestamp::from_second(5).unwrap());
        assert_eq!(past.rates(), [(20.0, 2.0), (0.0, 0.0)]);
        let history = past.history();
        let [point] = history.points[..] else { panic!("{history:?}") };
        assert_eq!((point.accepted_per_second, point.stored_per_second, point.messages), (20.0, 0.0, Some(250)));
        assert!(point.publish_p50_seconds.is_some_and(|p50| p50 > 0.002 && p50 <= 0.005));
        let kinds: Vec<_> = history.marks.iter().map(|mark| mark.kind).collect();
        assert_eq!(kinds, [MarkKind::Started, MarkKind::Hold, MarkKind::Restart]);
        past.note_faults([FaultChange { at, began: None }]);
        assert_eq!(past.history().marks.last().unwrap().kind, MarkKind::Released);
    }
}
