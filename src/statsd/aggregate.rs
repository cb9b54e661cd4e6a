//! What came in an interval, series by series: a name, a type and tags are a series. Bounded in number and in memory.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    mem,
};

use super::{
    Reason, messages,
    parser::{Kind, Metric, Number},
    sketch::Sketch,
};

/// What there may be of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How many series, gauges that are remembered included.
    pub(super) series: usize,
    /// How many bytes of memory, about.
    pub(super) bytes: usize,
    /// How many tags a metric may have.
    pub(super) tags: usize,
    /// How many bytes a message may have.
    pub(super) message: usize,
    /// Whether a plus or a minus of a gauge says by how much it changes.
    pub(super) signs_add: bool,
}

/// What came.
#[derive(Debug)]
pub(super) struct Aggregate {
    bounds: Bounds,
    series: HashMap<Box<str>, Series>,
    /// How much memory they take, about.
    bytes: usize,
    /// Whether gauges were forgotten in this interval, to make room.
    swept: bool,
    /// How many gauges were forgotten, and not told yet.
    forgotten: u64,
    hasher: RandomState,
    /// The series at hand.
    key: String,
}

/// What is kept of a series.
#[derive(Debug)]
struct Series {
    /// Whether something came in this interval. Only gauges are kept for longer.
    recent: bool,
    value: Value,
}

/// What came of a series.
#[derive(Debug)]
pub(super) enum Value {
    /// The sum.
    Counter(f64),
    /// How it stands.
    Gauge(f64),
    /// Hashes of the members; that two of a million are equal is one chance in thirty million.
    Set(HashSet<u64>),
    /// Times in milliseconds.
    Timer(Sketch),
    /// Values of any kind.
    Distribution(Sketch),
}

/// What a series takes besides its key, about.
const SERIES_BYTES: usize = 160;
/// What a member of a set takes, about.
const MEMBER_BYTES: usize = 2 * mem::size_of::<u64>();

/// What stands in a key: no name and no tag has a control character. `tag 1 value 2 … 3 time 3 type name`.
const VALUE: char = '\u{1}';
const TAG: char = '\u{2}';
const PART: char = '\u{3}';

impl Aggregate {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            series: HashMap::new(),
            bytes: 0,
            swept: false,
            forgotten: 0,
            hasher: RandomState::new(),
            key: String::new(),
        }
    }

    /// Adds all values of a metric, or none of them.
    pub(super) fn add(&mut self, metric: &Metric<'_>) -> Result<(), Reason> {
        self.name(metric)?;
        let room = self.bounds.bytes.saturating_sub(self.bytes);
        if let Some(series) = self.series.get_mut(self.key.as_str()) {
            self.bytes += series.value.add(metric, self.bounds, room, &self.hasher)?;
            series.recent = true;
            return Ok(());
        }
        if !messages::fits(metric, self.bounds.message) {
            return Err(Reason::Message);
        }
        let own = self.key.len() + SERIES_BYTES;
        let is_full = |this: &Self| this.series.len() >= this.bounds.series || this.bytes + own > this.bounds.bytes;
        if is_full(self) {
            self.forget_gauges();
        }
        if is_full(self) {
            return Err(if self.series.len() >= self.bounds.series { Reason::Series } else { Reason::Memory });
        }
        let room = self.bounds.bytes.saturating_sub(self.bytes + own);
        let mut value = match metric.kind {
            Kind::Counter => Value::Counter(0.0),
            Kind::Gauge => Value::Gauge(0.0),
            Kind::Set => Value::Set(HashSet::new()),
            Kind::Timer => Value::Timer(Sketch::default()),
            Kind::Distribution => Value::Distribution(Sketch::default()),
        };
        self.bytes += own + value.add(metric, self.bounds, room, &self.hasher)?;
        self.series.insert(self.key.as_str().into(), Series { recent: true, value });
        Ok(())
    }

    /// Whether nothing came in this interval.
    pub(super) fn is_empty(&self) -> bool {
        !self.series.values().any(|series| series.recent)
    }

    /// Every series of this interval, those with the same tags and the same time one behind the other.
    pub(super) fn recent(&self) -> Vec<(Key<'_>, &Value)> {
        let mut recent: Vec<_> = self.series.iter().filter(|(_, series)| series.recent).collect();
        recent.sort_unstable_by_key(|(key, _)| *key);
        recent.into_iter().map(|(key, series)| (Key::read(key), &series.value)).collect()
    }

    /// Begins a new interval, in which nothing has come. How gauges stand is remembered.
    pub(super) fn begin_anew(&mut self) {
        self.series.retain(|key, series| {
            series.recent = false;
            // One with a time of its own is not how it stands now.
            matches!(series.value, Value::Gauge(_)) && Key::read(key).time.is_none()
        });
        self.recount();
        self.swept = false;
        if self.series.is_empty() {
            self.series.shrink_to_fit();
        }
    }

    /// How many gauges were forgotten since this was asked last.
    pub(super) fn take_forgotten(&mut self) -> u64 {
        mem::take(&mut self.forgotten)
    }

    /// How much memory it takes, about.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes room of the gauges that were not set in this interval, once in each: looking through all takes long.
    fn forget_gauges(&mut self) {
        if !mem::replace(&mut self.swept, true) {
            let before = self.series.len();
            self.series.retain(|_, series| series.recent);
            let forgotten = before - self.series.len();
            self.forgotten += forgotten as u64;
            if forgotten > 0 {
                self.recount();
            }
        }
    }

    fn recount(&mut self) {
        self.bytes = self.series.iter().map(|(key, series)| key.len() + SERIES_BYTES + series.value.bytes()).sum();
    }

    /// Makes the key of its series.
    fn name(&mut self, metric: &Metric<'_>) -> Result<(), Reason> {
        self.key.clear();
        let mut tags: Vec<(&str, &str)> = metric.tags().collect();
        if tags.len() > self.bounds.tags {
            return Err(Reason::Tags);
        }
        // Stable, so that the last of a name stays the last.
        tags.sort_by_key(|(name, _)| *name);
        for (index, (name, value)) in tags.iter().enumerate() {
            if tags.get(index + 1).is_some_and(|(next, _)| next == name) {
                continue;
            }
            self.key.extend([*name, VALUE.encode_utf8(&mut [0; 4]), *value, TAG.encode_utf8(&mut [0; 4])]);
        }
        self.key.push(PART);
        if let Some(time) = metric.time {
            self.key.push_str(itoa::Buffer::new().format(time));
        }
        self.key.push(PART);
        self.key.push(match metric.kind {
            Kind::Counter => 'c',
            Kind::Gauge => 'g',
            Kind::Set => 's',
            Kind::Timer => 't',
            Kind::Distribution => 'd',
        });
        self.key.push_str(metric.name);
        Ok(())
    }
}

/// What identifies a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key<'a> {
    tags: &'a str,
    /// Seconds since 1970, where the metric said so.
    pub(super) time: Option<u64>,
    pub(super) name: &'a str,
}

impl<'a> Key<'a> {
    fn read(key: &'a str) -> Self {
        let mut parts = key.splitn(3, PART);
        let mut part = || parts.next().unwrap_or_default();
        let (tags, time, name) = (part(), part(), part());
        Self { tags, time: time.parse().ok(), name: name.get(1..).unwrap_or_default() }
    }

    /// Names and values, in the order of the names.
    pub(super) fn tags(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.tags.split_terminator(TAG).filter_map(|tag| tag.split_once(VALUE))
    }

    /// Whether two can be in one message.
    pub(super) fn is_beside(&self, other: &Key<'_>) -> bool {
        (self.tags, self.time) == (other.tags, other.time)
    }
}

impl Value {
    /// Adds all or nothing. Returns how many bytes it takes more; there is `room` for so many.
    fn add(&mut self, metric: &Metric<'_>, bounds: Bounds, room: usize, hasher: &RandomState) -> Result<usize, Reason> {
        let before = self.bytes();
        match self {
            Self::Counter(sum) => {
                let added = metric.numbers().fold(*sum, |sum, number| sum + number.value / metric.rate);
                *sum = finite(added)?;
            }
            Self::Gauge(gauge) => {
                let adds = bounds.signs_add && metric.time.is_none();
                let set = |gauge: f64, Number { value, signed }| if signed && adds { gauge + value } else { value };
                *gauge = finite(metric.numbers().fold(*gauge, set))?;
            }
            Self::Set(members) => {
                let member = hasher.hash_one(metric.member());
                if !members.contains(&member) {
                    if room < MEMBER_BYTES {
                        return Err(Reason::Memory);
                    }
                    members.insert(member);
                }
            }
            Self::Timer(sketch) | Self::Distribution(sketch) => {
                let values = metric.numbers().map(|number| number.value);
                if room < values.clone().count() * Sketch::INTERVAL_BYTES {
                    return Err(Reason::Memory);
                }
                if !sketch.add(values, metric.rate.recip()) {
                    return Err(Reason::Range);
                }
            }
        }
        Ok(self.bytes() - before)
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Counter(_) | Self::Gauge(_) => 0,
            Self::Set(members) => members.len() * MEMBER_BYTES,
            Self::Timer(sketch) | Self::Distribution(sketch) => sketch.intervals() * Sketch::INTERVAL_BYTES,
        }
    }
}

fn finite(number: f64) -> Result<f64, Reason> {
    if number.is_finite() { Ok(number) } else { Err(Reason::Range) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statsd::parser::{self, Line};

    const BOUNDS: Bounds = Bounds { series: 100, bytes: 100_000, tags: 3, message: 4096, signs_add: true };

    fn aggregate(bounds: Bounds) -> Aggregate {
        Aggregate::new(bounds)
    }

    /// Adds lines; the reasons for which some were refused.
    fn add(aggregate: &mut Aggregate, lines: &str) -> Vec<Reason> {
        let outcomes = parser::lines(lines.as_bytes()).map(|(_, line)| match line {
            Line::Metric(metric) => aggregate.add(&metric),
            other => panic!("{other:?}"),
        });
        outcomes.filter_map(Result::err).collect()
    }

    /// `name,tag=value number`, sorted.
    fn shown(aggregate: &Aggregate) -> Vec<String> {
        let show = |(key, value): &(Key<'_>, &Value)| {
            let tags: String = key.tags().map(|(name, value)| format!(",{name}={value}")).collect();
            let time = key.time.map(|time| format!(" at {time}")).unwrap_or_default();
            let value = match value {
                Value::Counter(value) | Value::Gauge(value) => *value,
                Value::Set(members) => members.len() as f64,
                Value::Timer(sketch) | Value::Distribution(sketch) => sketch.summary().1[0].1,
            };
            format!("{}{tags} {value}{time}", key.name)
        };
        let mut shown: Vec<_> = aggregate.recent().iter().map(show).collect();
        shown.sort();
        shown
    }

    #[test]
    fn each_type_comes_to_what_it_means() {
        let mut all = aggregate(BOUNDS);
        add(
            &mut all,
            "c:1|c\nc:2|c|@0.1\nc:-4:1|c\ns:a|s\ns:b|s\ns:a|s\nt:5|ms|@0.5\nt:7:8|ms\nd:1|h\nd:2|d\ng:5|g\ng:+3|g\ng:-1:-1|g",
        );
        assert_eq!(shown(&all), ["c 18", "d 2", "g 6", "s 2", "t 4"]);
    }

    #[test]
    fn tags_in_any_order_are_one_series_and_the_last_of_a_name_holds() {
        let mut all = aggregate(BOUNDS);
        add(&mut all, "c:1|c|#b:2,a:1\nc:1|c|#a:0,a:1,b:2\nc:1|c|#a:1\nc:1|c\nc:1|c|T5");
        assert_eq!(shown(&all), ["c 1", "c 1 at 5", "c,a=1 1", "c,a=1,b=2 2"]);
    }

    #[test]
    fn a_gauge_is_remembered_and_only_told_when_it_was_set() {
        let mut all = aggregate(BOUNDS);
        add(&mut all, "g:5|g\nc:1|c\nold:1|g|T9");
        all.begin_anew();
        assert!(all.is_empty());
        add(&mut all, "g:-2|g\nold:+1|g|T9");
        assert_eq!(shown(&all), ["g 3", "old 1 at 9"]);
        let mut sets = aggregate(Bounds { signs_add: false, ..BOUNDS });
        add(&mut sets, "g:5|g\ng:-2|g");
        assert_eq!(shown(&sets), ["g -2"]);
    }

    #[test]
    fn beyond_a_bound_nothing_is_taken_and_what_is_there_goes_on() {
        let mut few = aggregate(Bounds { series: 2, ..BOUNDS });
        assert_eq!(add(&mut few, "a:1|g\nb:1|c\nc:1|c\nb:1|c"), [Reason::Series]);
        few.begin_anew();
        // The gauge has to go.
        assert_eq!(add(&mut few, "b:1|c\nc:1|c\nd:1|c\nd:1|c"), [Reason::Series, Reason::Series]);
        assert_eq!((shown(&few), few.take_forgotten()), (vec!["b 1".to_owned(), "c 1".to_owned()], 1));

        let mut small = aggregate(Bounds { bytes: 1000, ..BOUNDS });
        let members: String = (0..100).map(|member| format!("s:{member}|s\n")).collect();
        let refused = add(&mut small, &members);
        assert!(refused.len() > 20 && refused.iter().all(|reason| *reason == Reason::Memory), "{refused:?}");
        assert_eq!(shown(&small), [format!("s {}", 100 - refused.len())]);
        assert_eq!(add(&mut small, "t:1|ms\ns:0|s"), [Reason::Memory]);
        assert!(small.bytes() <= 1000);

        let mut all = aggregate(BOUNDS);
        assert_eq!(
            add(&mut all, "c:1|c|#a,b,c,d\nc:1e308|c\nc:1e308|c\nh:1|h|@1e-320"),
            [Reason::Tags, Reason::Range, Reason::Range]
        );
        assert_eq!(add(&mut all, &format!("{}:1|c", "n".repeat(2000))), [Reason::Message]);
        assert_eq!(shown(&all).len(), 1);
    }
}
