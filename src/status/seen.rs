//! What comes through: a line for each metric with its dimensions, in a fixed amount of memory. Points are counted once, while their batch
//! is decoded anyway.
//!
//! A line is found by a hash of 64 bits with a random seed. Should two metrics ever share one, they share a line; nothing else depends on
//! it.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foldhash::fast::RandomState;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::snapshot::{self, SeenKind, SeenSeries};
use crate::{
    quote::cut,
    wire::{Dimension, Kind, Message, MessageSet, Point},
};

/// How many lines there are at most.
const LINES: usize = 500;
/// Of how many values of a line, the newest, the quantile is.
const VALUES: usize = 64;
/// How long an interval is, in seconds, and how many that have ended are shown.
const INTERVAL: u64 = 10;
const INTERVALS: usize = 30;
/// The intervals that have ended, and the one that has not.
const RING: usize = INTERVALS + 1;
/// When no line is free, one that was not seen for so long makes room for another.
const STALE: Duration = Duration::from_secs(INTERVAL * INTERVALS as u64);
/// How long a name or a value may be, in characters, and all texts of a line together, in bytes; what comes after that is left out.
const LONGEST: usize = 100;
const TEXTS: usize = 800;

/// See the module.
#[derive(Debug)]
pub(crate) struct Seen {
    began: (Timestamp, Instant),
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    seed: RandomState,
    by_key: HashMap<u64, Box<Line>, RandomState>,
    /// Points that no line has.
    other: u64,
    /// Before that no line makes room.
    full_until: Duration,
}

#[derive(Clone, Debug)]
struct Line {
    name: Arc<Name>,
    numbers: Numbers,
}

/// As small as it can be, for it stays.
#[derive(Debug)]
struct Name {
    metric: Box<str>,
    dimensions: Box<[(Box<str>, Box<str>)]>,
    kind: SeenKind,
    unit: Option<Box<str>>,
}

/// Times are since the start.
#[derive(Clone, Debug)]
struct Numbers {
    count: u64,
    sum: f64,
    last: Duration,
    /// The number of the interval of the newest point, which is at `interval % RING`.
    interval: u64,
    counts: [u32; RING],
    /// The newest is at `(count - 1) % VALUES`.
    values: [f64; VALUES],
}

impl Default for Seen {
    fn default() -> Self {
        Self { began: (Timestamp::now(), Instant::now()), lines: Mutex::default() }
    }
}

impl Seen {
    /// Counts the points of the messages from the index `first` on.
    pub(crate) fn count(&self, set: &MessageSet, first: usize) {
        let at = self.began.1.elapsed();
        self.lines().count(set, first, at);
    }

    /// All lines, by name.
    pub(crate) fn snapshot(&self) -> snapshot::Seen {
        let (lines, other) = {
            let lines = self.lines();
            // No more than a copy, for the batcher waits meanwhile.
            (lines.by_key.values().map(|line| Line::clone(line)).collect::<Vec<_>>(), lines.other)
        };
        let at = self.began.1.elapsed();
        let mut series: Vec<_> = lines.into_iter().map(|line| line.series(self.began.0, at)).collect();
        series.sort_unstable_by(|a, b| (&a.metric, &a.dimensions).cmp(&(&b.metric, &b.dimensions)));
        snapshot::Seen { counted: true, series, other }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // What panics in between has changed counts only.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn count(&mut self, set: &MessageSet, first: usize, at: Duration) {
        let interval = at.as_secs() / INTERVAL;
        for message in set.messages().skip(first) {
            let (points, mut dimensions) = (message.points(), 0_u64);
            if points.is_empty() {
                continue;
            }
            for (name, value) in named(set, &message) {
                let mut hasher = self.seed.build_hasher();
                hasher.write(name.as_bytes());
                hasher.write(value.as_bytes());
                // A sum, so that their order does not matter.
                dimensions = dimensions.wrapping_add(hasher.finish());
            }
            for point in points {
                let mut hasher = self.seed.build_hasher();
                hasher.write(set.text(point.name).as_bytes());
                hasher.write_u64(dimensions);
                hasher.write_u8(u8::from(matches!(point.kind, Kind::Counter)));
                let key = hasher.finish();
                match self.by_key.get_mut(&key) {
                    Some(line) => line.numbers.add(point.value, at, interval),
                    None => self.begin(key, set, &message, point, at),
                }
            }
        }
    }

    #[cold]
    fn begin(&mut self, key: u64, set: &MessageSet, message: &Message<'_>, point: &Point, at: Duration) {
        if self.by_key.len() >= LINES && !self.make_room(at) {
            self.other = self.other.saturating_add(1);
            return;
        }
        let mut numbers = Numbers::new(at);
        numbers.add(point.value, at, numbers.interval);
        self.by_key.insert(key, Box::new(Line { name: Arc::new(Name::of(set, message, point)), numbers }));
    }

    /// Gives up the line that was seen longest ago, if that is long.
    fn make_room(&mut self, at: Duration) -> bool {
        if at < self.full_until {
            return false;
        }
        let oldest = self.by_key.iter().min_by_key(|(_, line)| line.numbers.last);
        let Some((key, last)) = oldest.map(|(key, line)| (*key, line.numbers.last)) else { return true };
        // No line is stale before this one could be.
        self.full_until = last + STALE;
        if at < self.full_until {
            return false;
        }
        let count = self.by_key.remove(&key).map_or(0, |line| line.numbers.count);
        self.other = self.other.saturating_add(count);
        true
    }
}

/// The dimensions that points have: not those without a value.
fn named<'a>(set: &'a MessageSet, message: &Message<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let texts = move |of: &Dimension| (set.text(of.name), set.text(of.value));
    message.dimensions().iter().map(texts).filter(|(_, value)| !value.is_empty())
}

impl Name {
    fn of(set: &MessageSet, message: &Message<'_>, point: &Point) -> Self {
        let mut left = TEXTS;
        let mut text = |text: &str| {
            let text: Box<str> = cut(text, LONGEST).into();
            left = left.saturating_sub(text.len());
            (left > 0).then_some(text)
        };
        let metric = text(set.text(point.name)).unwrap_or_default();
        let (kind, unit) = match point.kind {
            Kind::Counter => (SeenKind::Counter, None),
            Kind::Timer { unit } => (SeenKind::Timer, text(set.text(unit))),
        };
        let dimensions = named(set, message).map_while(|(name, value)| Some((text(name)?, text(value)?))).collect();
        Self { metric, dimensions, kind, unit }
    }
}

impl Numbers {
    fn new(at: Duration) -> Self {
        let interval = at.as_secs() / INTERVAL;
        Self { count: 0, sum: 0.0, last: at, interval, counts: [0; RING], values: [0.0; VALUES] }
    }

    #[inline]
    fn add(&mut self, value: f64, at: Duration, interval: u64) {
        if interval > self.interval {
            self.turn(interval);
        }
        if let Some(count) = self.counts.get_mut((self.interval % RING as u64) as usize) {
            *count = count.saturating_add(1);
        }
        if let Some(place) = self.values.get_mut((self.count % VALUES as u64) as usize) {
            *place = value;
        }
        self.count += 1;
        self.sum += value;
        self.last = at;
    }

    #[cold]
    fn turn(&mut self, interval: u64) {
        for number in (self.interval + 1..=interval).rev().take(RING) {
            if let Some(count) = self.counts.get_mut((number % RING as u64) as usize) {
                *count = 0;
            }
        }
        self.interval = interval;
    }

    /// How many points there were in an interval.
    fn in_interval(&self, number: u64) -> u32 {
        let kept = number <= self.interval && self.interval - number < RING as u64;
        self.counts.get((number % RING as u64) as usize).copied().filter(|_| kept).unwrap_or(0)
    }

    fn newest(&self) -> Option<f64> {
        self.values.get((self.count.checked_sub(1)? % VALUES as u64) as usize).copied()
    }

    /// 95 % of the newest values are at most this.
    fn p95(&self) -> Option<f64> {
        let mut values = self.values;
        let values = values.get_mut(..usize::try_from(self.count).unwrap_or(VALUES).min(VALUES))?;
        let rank = (values.len() * 95).div_ceil(100).checked_sub(1)?;
        Some(*values.select_nth_unstable_by(rank, f64::total_cmp).1)
    }
}

impl Line {
    fn series(self, began: Timestamp, at: Duration) -> SeenSeries {
        let Self { name, numbers } = self;
        let interval = at.as_secs() / INTERVAL;
        let before = |intervals: u64| interval.checked_sub(intervals).map_or(0, |number| numbers.in_interval(number));
        let since = at.as_secs_f64() - interval.saturating_sub(1) as f64 * INTERVAL as f64;
        let of_late = u64::from(before(0)) + u64::from(before(1));
        let last_seen = SignedDuration::try_from(numbers.last).ok().and_then(|time| began.checked_add(time).ok());
        SeenSeries {
            metric: name.metric.to_string(),
            dimensions: name.dimensions.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            kind: name.kind,
            unit: name.unit.as_ref().map(ToString::to_string),
            count: numbers.count,
            per_second: of_late as f64 / since.max(1.0),
            mean: Some(numbers.sum / numbers.count as f64).filter(|mean| mean.is_finite()),
            p95: numbers.p95(),
            last: numbers.newest(),
            last_seen: last_seen.unwrap_or(began),
            spark: (1..=INTERVALS as u64).rev().map(before).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Decoder;

    /// Adds a message with one counter and, where it has a value, a timer.
    fn add(set: &mut MessageSet, metric: &str, dimensions: &[(&str, &str)], counter: f64, timer: Option<f64>) {
        let point = |more: &str, value: f64| {
            serde_json::from_str::<serde_json::Value>(&format!(
                r#"{{"name": "{metric}", "metadata": {{}}, "timestamp": "2026", "value": {value:?}{more}}}"#
            ))
            .unwrap()
        };
        let unit = r#", "unit": {"name": "milliseconds", "seconds_offset": 1000}"#;
        let dimensions = dimensions.iter().map(|(name, value)| serde_json::json!({"name": name, "value": value}));
        let message = serde_json::json!({
            "dimensions": dimensions.collect::<Vec<_>>(),
            "counters": [point("", counter)],
            "timers": timer.map(|value| point(unit, value)).into_iter().collect::<Vec<_>>(),
            "timestamp_format": "%Y",
        });
        let refused = Decoder::new().decode(message.to_string().as_bytes(), set);
        assert!(refused.is_empty(), "{refused:?}");
    }

    fn series(lines: &Lines, at: u64) -> Vec<SeenSeries> {
        let at = Duration::from_secs(at);
        let mut series: Vec<_> = lines.by_key.values().map(|line| Line::clone(line).series(Timestamp::UNIX_EPOCH, at)).collect();
        series.sort_by(|a, b| a.metric.cmp(&b.metric).then(b.count.cmp(&a.count)));
        series
    }

    #[test]
    fn a_metric_with_its_dimensions_in_any_order_is_a_line_and_so_is_a_timer_of_its_name() {
        let (mut set, mut lines) = (MessageSet::new(), Lines::default());
        add(&mut set, "left out", &[], 1.0, Some(1.0));
        add(&mut set, "hits", &[("host", "a"), ("path", "/")], 1.0, Some(20.0));
        add(&mut set, "hits", &[("path", "/"), ("empty", ""), ("host", "a")], 3.0, None);
        add(&mut set, "hits", &[("path", "a"), ("host", "/")], 5.0, None);
        lines.count(&set, 1, Duration::from_secs(5));
        let series = series(&lines, 5);
        let told: Vec<_> = series.iter().map(|one| (one.kind, one.count, one.mean, one.last, one.unit.as_deref())).collect();
        let counter = SeenKind::Counter;
        assert_eq!(told[0], (counter, 2, Some(2.0), Some(3.0), None));
        assert!(told.contains(&(counter, 1, Some(5.0), Some(5.0), None)), "{told:?}");
        assert!(told.contains(&(SeenKind::Timer, 1, Some(20.0), Some(20.0), Some("milliseconds"))), "{told:?}");
        assert_eq!(told.len(), 3);
        assert_eq!(series[0].dimensions["host"], "a");
        assert_eq!((series[0].per_second, series[0].last_seen.as_second()), (0.4, 5));
        lines.count(&set, 0, Duration::from_secs(5));
        assert_eq!(lines.by_key.len(), 5, "a counter and a timer of one name without dimensions are two");
    }

    #[test]
    fn rates_and_the_spark_are_of_the_intervals_and_the_quantile_of_the_newest_values() {
        let (mut set, mut lines) = (MessageSet::new(), Lines::default());
        for value in 1..=100 {
            add(&mut set, "hits", &[], f64::from(value), None);
        }
        lines.count(&set, 0, Duration::from_secs(12));
        lines.count(&set, 50, Duration::from_secs(25));
        let [one] = &series(&lines, 30)[..] else { panic!("one line") };
        assert_eq!(one.spark[27..], [0, 100, 50]);
        assert_eq!((one.per_second, one.p95, one.last), (5.0, Some(99.0), Some(100.0)));
        let [one] = &series(&lines, 25 + 60)[..] else { panic!("one line") };
        assert_eq!((one.spark[23..25].to_vec(), one.per_second), (vec![100, 50], 0.0));
        // Nothing of a round before is left in the ring.
        lines.count(&set, 99, Duration::from_secs(10 * RING as u64 + 25));
        let [one] = &series(&lines, 10 * RING as u64 + 30)[..] else { panic!("one line") };
        assert_eq!(one.spark.iter().sum::<u32>(), 1, "{:?}", one.spark);
        assert_eq!(one.count, 151);
    }

    #[test]
    fn what_has_no_room_is_counted_and_a_line_that_is_stale_makes_room() {
        let (mut set, mut lines) = (MessageSet::new(), Lines::default());
        for number in 0..LINES + 7 {
            add(&mut set, &format!("m{number:04}"), &[], 1.0, None);
        }
        lines.count(&set, 0, Duration::ZERO);
        assert_eq!((lines.by_key.len(), lines.other), (LINES, 7));
        // All but the first are seen again, and then it alone is stale.
        lines.count(&set, 1, Duration::from_secs(200));
        assert_eq!(lines.other, 14);
        lines.count(&set, LINES + 5, STALE + Duration::from_secs(1));
        assert_eq!((lines.by_key.len(), lines.other), (LINES, 16));
        let names: Vec<_> = series(&lines, 400).into_iter().map(|one| one.metric).collect();
        assert!(names[0] == "m0001" && names[LINES - 1] == format!("m{:04}", LINES + 5), "{names:?}");
        let all: u64 = series(&lines, 400).iter().map(|one| one.count).sum();
        assert_eq!(all + lines.other, set.len() as u64 * 2 + 1, "each point is in a line or among the others");
    }

    #[test]
    fn no_text_makes_a_line_large() {
        let (mut set, mut lines, long) = (MessageSet::new(), Lines::default(), "ä".repeat(10_000));
        let names: Vec<String> = (0..50).map(|number| format!("{number}{long}")).collect();
        add(&mut set, &long, &names.iter().map(|name| (name.as_str(), long.as_str())).collect::<Vec<_>>(), 1e308, Some(1e308));
        lines.count(&set, 0, Duration::ZERO);
        lines.count(&set, 0, Duration::ZERO);
        for one in series(&lines, 0) {
            let texts: usize = one.dimensions.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(texts + one.metric.len() <= TEXTS && !one.dimensions.is_empty(), "{texts}");
            assert_eq!(one.mean, None, "their sum is beyond all numbers");
        }
    }

    #[test]
    fn the_memory_is_fixed() {
        assert!(LINES * (size_of::<Line>() + TEXTS) < 1 << 20, "{}", size_of::<Line>());
    }
}
