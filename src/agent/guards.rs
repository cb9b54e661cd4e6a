//! What is looked at between decoding and publishing: times that cannot be right, and series that become too many.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use crate::{
    config::{self, OnGuard},
    duration::for_people,
    quote::cut_name,
    status::conditions::{Condition, Conditions},
    wire::{MOST_REFUSALS, Message, MessageSet, Point, Refusal},
};

const HOUR: Duration = Duration::from_secs(3600);

/// How many series are remembered at most, those of the hour before included, and of how many metrics.
const MOST_SERIES: usize = 200_000;
const MOST_METRICS: usize = 10_000;

/// How many metrics are named in an hour, so that a crowd of them does not fill the log.
const MOST_NAMED: usize = 8;

/// Of how many new series the dimensions are looked at, to find the one that has the most values.
const LOOKED_AT: usize = 32;

/// How many dimensions of one series are looked at.
const MOST_DIMENSIONS: usize = 64;

/// How long a warning of times lasts when no further point is beyond them.
const CALM: Duration = Duration::from_secs(600);

/// The guards that are on.
#[derive(Debug)]
pub(super) struct Guards {
    settings: config::Guards,
    conditions: Arc<Conditions>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    series: Series,
    /// When the last point was beyond the bounds of time.
    last_beyond: Option<Instant>,
}

/// The series of this hour and of the hour before, by metric.
#[derive(Debug)]
struct Series {
    since: Instant,
    metrics: HashMap<u64, Metric>,
    /// How many are remembered.
    remembered: usize,
    /// Whether there was one too many in this hour.
    too_many: bool,
    /// The metric whose further new series are looked at.
    looking: Option<Looking>,
    /// How many metrics were named in this hour, and what was said of the last one.
    named: usize,
    said: Option<String>,
}

/// Further new series of a metric: how many were looked at, and the values of each dimension in them.
#[derive(Debug)]
struct Looking {
    metric: u64,
    looked_at: usize,
    values: BTreeMap<String, HashSet<u64>>,
}

#[derive(Debug, Default)]
struct Metric {
    now: HashSet<u64>,
    before: HashSet<u64>,
    /// How many of those of this hour are new.
    new: usize,
    /// Whether it was named in this hour.
    named: bool,
}

impl Guards {
    /// None where all of them are off.
    pub(super) fn of(settings: &config::Guards, conditions: &Arc<Conditions>) -> Option<Arc<Self>> {
        let is_on = settings.max_age.is_some() || settings.max_future.is_some() || settings.max_new_series > 0;
        let series = Series::new();
        let state = Mutex::new(State { series, last_beyond: None });
        is_on.then(|| Arc::new(Self { settings: settings.clone(), conditions: Arc::clone(conditions), state }))
    }

    /// Looks at the points of the messages from the index `first` on, takes out those that are parked, and adds why.
    pub(super) fn apply(&self, set: &mut MessageSet, first: usize, refusals: &mut Vec<(usize, Refusal)>) {
        // What panics in between has changed counts only.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.turn(&mut state);
        let mut keep = Vec::new();
        for (index, message) in set.messages().enumerate().skip(first) {
            // Only what looks at series needs it.
            let dimensions = if self.settings.max_new_series > 0 { hash_of_dimensions(set, &message) } else { 0 };
            let mut told = 0;
            for point in message.points() {
                let why = self
                    .judge_time(&mut state, point, now)
                    .or_else(|| self.judge_series(&mut state, set, &message, point, dimensions));
                keep.push(why.is_none());
                if let Some(reason) = why
                    && told <= MOST_REFUSALS
                {
                    told += 1;
                    refusals.push((index, Refusal { metric: Some(cut_name(set.text(point.name))), reason }));
                }
            }
        }
        if keep.contains(&false) {
            let mut keep = keep.into_iter();
            set.retain_points(first, |_, _, _| keep.next().unwrap_or(true));
        }
    }

    /// Why a point is parked for its time.
    fn judge_time(&self, state: &mut State, point: &Point, now: i64) -> Option<String> {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let config::Guards { max_age, max_future, on_time, .. } = &self.settings;
        let too_old = max_age.filter(|age| now.saturating_sub(point.time) > nanos(*age));
        let too_new = max_future.filter(|ahead| point.time.saturating_sub(now) > nanos(*ahead));
        let why = match (too_old, too_new) {
            (Some(age), _) => format!("its time is longer ago than guards.max_age, which is {}", for_people(age)),
            (None, Some(ahead)) => format!("its time is further ahead than guards.max_future, which is {}", for_people(ahead)),
            (None, None) => return None,
        };
        state.last_beyond = Some(Instant::now());
        let then = self.then(*on_time);
        self.conditions.begin(
            Condition::Times,
            &format!("points have a time beyond guards.max_age or max_future and are {then}"),
            None,
        );
        (*on_time == OnGuard::Park).then_some(why)
    }

    /// Why a point is parked for its series.
    fn judge_series(
        &self,
        state: &mut State,
        set: &MessageSet,
        message: &Message<'_>,
        point: &Point,
        dimensions: u64,
    ) -> Option<String> {
        let config::Guards { max_new_series, on_new_series, .. } = &self.settings;
        if *max_new_series == 0 {
            return None;
        }
        let (series, name) = (&mut state.series, set.text(point.name));
        let metric = hash(name);
        if !series.is_one_too_many(metric, dimensions, *max_new_series) {
            return None;
        }
        let had = format!("{} has had {} in an hour, which is guards.max_new_series", cut_name(name), count_of(*max_new_series));
        if let Some(dimension) = series.look_at(metric, set, message) {
            let then = self.then(*on_new_series);
            series.said = Some(format!(
                "{had}; the points of further ones are {then}, and the dimension with the most values is {dimension}"
            ));
        }
        if let Some(said) = &series.said {
            self.conditions.begin(Condition::NewSeries, said, None);
        }
        (*on_new_series == OnGuard::Park).then(|| had + ", and this point would begin another")
    }

    fn then(&self, action: OnGuard) -> &'static str {
        match action {
            OnGuard::Park => "set aside as dead letters",
            OnGuard::Write => "published",
        }
    }

    /// Ends what is over: an hour, and warnings.
    fn turn(&self, state: &mut State) {
        if state.last_beyond.is_some_and(|last| last.elapsed() > CALM) {
            state.last_beyond = None;
            self.conditions.end(Condition::Times);
        }
        if state.series.since.elapsed() > HOUR {
            if !state.series.too_many {
                self.conditions.end(Condition::NewSeries);
            }
            state.series.turn();
        }
    }
}

impl Series {
    fn new() -> Self {
        let (since, metrics) = (Instant::now(), HashMap::new());
        Self { since, metrics, remembered: 0, too_many: false, looking: None, named: 0, said: None }
    }

    /// Notes a series of a metric. Says whether it is new and one too many.
    fn is_one_too_many(&mut self, metric: u64, series: u64, most: usize) -> bool {
        let is_full = self.remembered >= MOST_SERIES;
        if (is_full || self.metrics.len() >= MOST_METRICS) && !self.metrics.contains_key(&metric) {
            return false;
        }
        let metric = self.metrics.entry(metric).or_default();
        if metric.now.contains(&series) {
            return false;
        }
        if metric.before.remove(&series) {
            metric.now.insert(series);
            return false;
        }
        if metric.new >= most {
            self.too_many = true;
            return true;
        }
        if !is_full {
            metric.new += 1;
            metric.now.insert(series);
            self.remembered += 1;
        }
        false
    }

    /// Looks at a further new series of a metric, one metric at a time. Returns the dimension that has the most values, once.
    fn look_at(&mut self, metric: u64, set: &MessageSet, message: &Message<'_>) -> Option<String> {
        let entry = self.metrics.get_mut(&metric).filter(|entry| !entry.named && self.named < MOST_NAMED)?;
        let looking = self.looking.get_or_insert_with(|| Looking { metric, looked_at: 0, values: BTreeMap::new() });
        if looking.metric != metric {
            return None;
        }
        looking.looked_at += 1;
        for dimension in message.dimensions().iter().take(MOST_DIMENSIONS) {
            looking.values.entry(cut_name(set.text(dimension.name))).or_default().insert(hash(set.text(dimension.value)));
        }
        if looking.looked_at < LOOKED_AT {
            return None;
        }
        entry.named = true;
        self.named += 1;
        let values = self.looking.take()?.values;
        values.into_iter().max_by_key(|(_, values)| values.len()).map(|(dimension, _)| dimension)
    }

    /// The next hour begins: what was seen in this one is not new in it.
    fn turn(&mut self) {
        let mut metrics = std::mem::take(&mut self.metrics);
        metrics.retain(|_, metric| {
            *metric = Metric { before: std::mem::take(&mut metric.now), ..Metric::default() };
            !metric.before.is_empty()
        });
        let remembered = metrics.values().map(|metric| metric.before.len()).sum();
        *self = Self { metrics, remembered, ..Self::new() };
    }
}

/// The same in whatever order they are.
fn hash_of_dimensions(set: &MessageSet, message: &Message<'_>) -> u64 {
    let dimensions = message.dimensions().iter();
    let hashes = dimensions.map(|dimension| hash((set.text(dimension.name), set.text(dimension.value))));
    hashes.fold(0, u64::wrapping_add)
}

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn count_of(series: usize) -> String {
    if series == 1 { "1 new series".to_owned() } else { format!("{series} new series") }
}

#[cfg(test)]
mod tests {
    use slog::{Discard, Logger, o};

    use super::*;
    use crate::wire::Decoder;

    fn guards(change: impl FnOnce(&mut config::Guards)) -> Arc<Guards> {
        let mut settings = config::Guards {
            max_age: None,
            max_future: None,
            on_time: OnGuard::Park,
            max_new_series: 0,
            on_new_series: OnGuard::Park,
        };
        change(&mut settings);
        Guards::of(&settings, &Arc::new(Conditions::new(&Logger::root(Discard, o!())))).unwrap()
    }

    /// A message with that dimension and one counter a time.
    fn message(user: usize, times: &[&str]) -> String {
        let counter = |time: &&str| format!(r#"{{"name": "c", "metadata": {{}}, "timestamp": "{time}", "value": 1.0}}"#);
        let counters: Vec<String> = times.iter().map(counter).collect();
        format!(
            r#"{{"dimensions": [{{"name": "host", "value": "a"}}, {{"name": "user", "value": "{user}"}}], "counters": [{}], "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}}"#,
            counters.join(", ")
        )
    }

    /// How many points are left of these messages, and what was refused.
    fn apply(guards: &Guards, messages: &[String]) -> (usize, Vec<(usize, Refusal)>) {
        let (mut set, mut decoder, mut refusals) = (MessageSet::new(), Decoder::new(), Vec::new());
        for message in messages {
            assert_eq!(decoder.decode(message.as_bytes(), &mut set), []);
        }
        guards.apply(&mut set, 0, &mut refusals);
        assert_eq!(set.len(), messages.len(), "messages keep their indices");
        (set.point_count(), refusals)
    }

    fn now() -> String {
        let now = jiff::Timestamp::now();
        now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    }

    const OLD: &str = "2001-01-01T00:00:00.000000Z";
    const AHEAD: &str = "2150-01-01T00:00:00.000000Z";

    #[test]
    fn what_is_off_is_not_there() {
        let off = config::Guards {
            max_age: None,
            max_future: None,
            on_time: OnGuard::Park,
            max_new_series: 0,
            on_new_series: OnGuard::Park,
        };
        assert!(Guards::of(&off, &Arc::new(Conditions::new(&Logger::root(Discard, o!())))).is_none());
    }

    #[test]
    fn points_beyond_the_bounds_of_time_are_parked_or_published_and_their_neighbours_published() {
        let now = now();
        let messages = [message(1, &[&now, OLD]), message(2, &[AHEAD, &now]), message(3, &[&now])];
        let day = Some(Duration::from_secs(86_400));
        let both = guards(|guards| (guards.max_age, guards.max_future) = (day, day));
        let (left, refused) = apply(&both, &messages);
        assert_eq!((left, refused.iter().map(|(index, _)| *index).collect::<Vec<_>>()), (3, vec![0, 1]));
        assert_eq!(refused[0].1.reason, "its time is longer ago than guards.max_age, which is 1day");
        assert_eq!(refused[1].1.reason, "its time is further ahead than guards.max_future, which is 1day");
        assert_eq!(both.conditions.active().len(), 1);
        assert_eq!(apply(&guards(|guards| guards.max_age = day), &messages).0, 4);
        let written = guards(|guards| (guards.max_age, guards.on_time) = (day, OnGuard::Write));
        assert_eq!(apply(&written, &messages), (5, Vec::new()));
        let counted: Vec<u64> = written.conditions.active().iter().map(|condition| condition.attempts).collect();
        assert_eq!(counted, [1]);
    }

    #[test]
    fn further_new_series_of_a_metric_are_parked_and_the_dimension_that_makes_them_is_named() {
        let now = now();
        let guards = guards(|guards| guards.max_new_series = 10);
        let messages: Vec<String> = (0..100).map(|user| message(user, &[&now])).collect();
        let (left, refused) = apply(&guards, &messages);
        assert_eq!((left, refused.len()), (10, 90));
        assert_eq!(apply(&guards, &messages[..10]), (10, Vec::new()), "those that are known are not new");
        let [condition] = &guards.conditions.active()[..] else { panic!() };
        let wanted = "c has had 10 new series in an hour, which is guards.max_new_series; the points of further ones are set aside as dead letters, and the dimension with the most values is user";
        assert_eq!((condition.what.as_str(), condition.attempts), (wanted, 90 - LOOKED_AT as u64 + 1));
    }

    #[actix_rt::test]
    async fn an_hour_later_others_may_be_new_and_those_of_this_hour_are_not() {
        tokio::time::pause();
        let (now, guards) = (now(), guards(|guards| guards.max_new_series = 10));
        let of = |users: std::ops::Range<usize>| users.map(|user| message(user, &[&now])).collect::<Vec<_>>();
        assert_eq!(apply(&guards, &of(0..20)).0, 10);
        tokio::time::advance(HOUR + Duration::from_secs(1)).await;
        assert_eq!(apply(&guards, &of(0..10)).0, 10);
        assert_eq!(apply(&guards, &of(10..30)).0, 10);
        tokio::time::advance(HOUR + Duration::from_secs(1)).await;
        assert_eq!(apply(&guards, &of(10..20)).0, 10);
        assert_eq!(apply(&guards, &of(20..31)).0, 10, "no message of the first hour came in the second, so one of them is new");
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut series = Series::new();
        for n in 0..2 * MOST_SERIES as u64 {
            assert!(!series.is_one_too_many(n % 1000, n, MOST_SERIES));
        }
        for n in 0..1000 {
            assert!(!series.is_one_too_many(1_000_000 + n, n, MOST_SERIES), "a further metric is not judged");
        }
        assert_eq!((series.remembered, series.metrics.len()), (MOST_SERIES, 1000));
        let mut names = Series::new();
        for n in 0..2 * MOST_METRICS as u64 {
            assert!(!names.is_one_too_many(n, n, 1));
        }
        assert_eq!(names.metrics.len(), MOST_METRICS);
        series.turn();
        assert_eq!(series.remembered, MOST_SERIES);
        series.turn();
        assert_eq!((series.remembered, series.metrics.len()), (0, 0));
    }
}
