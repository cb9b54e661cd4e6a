//! What comes through, shown to those who watch it while they do, and never at the cost of what comes through: as much as a watch may
//! have a second, without waiting for it, and beyond that only a count of what was left out. While nobody watches it is one look at a
//! number for each lease.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

use crate::{
    quote::cut_name,
    wire::{Kind, Message, MessageSet, MetricPattern, Point, Refusal},
};

/// So many watch at once.
pub(crate) const MOST_WATCHES: usize = 4;
/// So many points a second may a watch want at most.
pub(crate) const MOST_PER_SECOND: u64 = 2000;
/// So many points may a watch be behind.
const BEHIND: usize = 1000;
/// So many points a second are compared with what a watch wants.
const LOOKED_AT: u64 = 20_000;

/// A point that came through, as one publisher has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tapped {
    /// The publisher's name, where there are several.
    pub(crate) publisher: Option<String>,
    /// The metric's name, cut where it is long; none where a whole message was refused.
    pub(crate) metric: Option<String>,
    /// The point's time.
    pub(crate) time: Option<Timestamp>,
    /// Its value.
    pub(crate) value: Option<f64>,
    /// The unit of a timer; a counter has none.
    pub(crate) unit: Option<String>,
    /// The dimensions of its message, cut where they are long.
    pub(crate) dimensions: BTreeMap<String, String>,
    /// What becomes of it.
    pub(crate) fate: Fate,
    /// Why it is set aside.
    pub(crate) why: Option<String>,
}

/// What becomes of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    /// It goes on to the publisher. A guard may set it aside before that, which is shown by itself.
    Passed,
    /// The publisher's filter leaves it out.
    Filtered,
    /// It cannot be read, or a guard parks it: a dead letter.
    SetAside,
}

/// What a watch wants.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Points that fit one of these, if there are any; what was refused as a whole fits where there are none.
    pub(crate) only: Vec<MetricPattern>,
    /// At most so many a second; never more than [`MOST_PER_SECOND`].
    pub(crate) per_second: u64,
}

/// Where everything comes by. A clone is the same one.
#[derive(Clone, Default)]
pub(crate) struct Tap(Arc<Shared>);

#[derive(Default)]
struct Shared {
    watched: AtomicUsize,
    watches: Mutex<Vec<Watched>>,
}

/// One watch, as those have it who show.
struct Watched {
    wanted: Wanted,
    show: mpsc::Sender<Tapped>,
    left_out: Arc<AtomicU64>,
    second: Instant,
    shown: u64,
    looked_at: u64,
}

/// A watch. It ends when this is dropped.
pub(crate) struct Watch {
    tap: Tap,
    shown: mpsc::Receiver<Tapped>,
    left_out: Arc<AtomicU64>,
}

impl Tap {
    /// Begins to watch. None where too many watch already.
    pub(crate) fn watch(&self, wanted: Wanted) -> Option<Watch> {
        let wanted = Wanted { per_second: wanted.per_second.min(MOST_PER_SECOND), ..wanted };
        let mut watches = self.watches();
        if watches.len() >= MOST_WATCHES {
            return None;
        }
        let (show, shown) = mpsc::channel(BEHIND);
        let left_out = Arc::<AtomicU64>::default();
        watches.push(Watched { wanted, show, left_out: Arc::clone(&left_out), second: Instant::now(), shown: 0, looked_at: 0 });
        self.count(&watches);
        Some(Watch { tap: self.clone(), shown, left_out })
    }

    /// This, while anybody watches.
    pub(crate) fn watched(&self) -> Option<&Self> {
        (self.0.watched.load(Ordering::Relaxed) > 0).then_some(self)
    }

    /// Shows the points of the messages from the index `first` on, before any is left out. `keeps` says whether the publisher's filter
    /// keeps a point.
    pub(crate) fn decoded(
        &self,
        publisher: Option<&str>,
        set: &MessageSet,
        first: usize,
        keeps: impl Fn(&Message<'_>, &Point) -> bool,
    ) {
        for watched in self.watches().iter_mut() {
            watched.begin_second();
            let mut left_out = 0;
            for message in set.messages().skip(first) {
                for point in message.points() {
                    if !watched.looks() {
                        left_out += 1;
                        continue;
                    }
                    let only = &watched.wanted.only;
                    if only.is_empty() || only.iter().any(|pattern| pattern.fits(set, &message, point)) {
                        let fate = if keeps(&message, point) { Fate::Passed } else { Fate::Filtered };
                        watched.show(|| tapped(publisher, set, &message, point, fate));
                    }
                }
            }
            watched.leave_out(left_out);
        }
    }

    /// Shows what is set aside.
    pub(crate) fn set_aside<'a>(&self, publisher: Option<&str>, refusals: impl Iterator<Item = &'a Refusal> + Clone) {
        for watched in self.watches().iter_mut() {
            watched.begin_second();
            for refusal in refusals.clone() {
                if !watched.looks() {
                    watched.leave_out(1);
                    continue;
                }
                // Its dimensions are not known here.
                let fits = |pattern: &MetricPattern| match (pattern, &refusal.metric) {
                    (MetricPattern::Name(pattern), Some(metric)) => pattern.matches(metric),
                    _ => false,
                };
                if watched.wanted.only.is_empty() || watched.wanted.only.iter().any(fits) {
                    watched.show(|| Tapped {
                        publisher: publisher.map(ToOwned::to_owned),
                        metric: refusal.metric.as_deref().map(cut_name),
                        time: None,
                        value: None,
                        unit: None,
                        dimensions: BTreeMap::new(),
                        fate: Fate::SetAside,
                        why: Some(cut_name(&refusal.reason)),
                    });
                }
            }
        }
    }

    fn watches(&self) -> MutexGuard<'_, Vec<Watched>> {
        // Every change is whole before anything that could panic.
        self.0.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, watches: &[Watched]) {
        self.0.watched.store(watches.len(), Ordering::Relaxed);
    }
}

impl Watched {
    fn begin_second(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.shown, self.looked_at) = (now, 0, 0);
        }
    }

    /// Whether one more point is compared in this second.
    fn looks(&mut self) -> bool {
        let looks = self.looked_at < LOOKED_AT && self.shown < self.wanted.per_second;
        self.looked_at += u64::from(looks);
        looks
    }

    fn show(&mut self, tapped: impl FnOnce() -> Tapped) {
        self.shown += 1;
        match self.show.try_reserve() {
            Ok(place) => place.send(tapped()),
            Err(TrySendError::Full(()) | TrySendError::Closed(())) => self.leave_out(1),
        }
    }

    fn leave_out(&self, points: u64) {
        self.left_out.fetch_add(points, Ordering::Relaxed);
    }
}

impl Watch {
    /// The next point; none yet where it takes longer than this.
    pub(crate) async fn next(&mut self, within: Duration) -> Option<Tapped> {
        tokio::time::timeout(within, self.shown.recv()).await.ok().flatten()
    }

    /// The next point, if it is there.
    pub(crate) fn ready(&mut self) -> Option<Tapped> {
        self.shown.try_recv().ok()
    }

    /// How many points were not shown since this was asked last. Beyond what may be looked at, those that were not wanted are among
    /// them.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shown.close();
        let mut watches = self.tap.watches();
        watches.retain(|watched| !watched.show.is_closed());
        self.tap.count(&watches);
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("watched", &self.0.watched).finish_non_exhaustive()
    }
}

fn tapped(publisher: Option<&str>, set: &MessageSet, message: &Message<'_>, point: &Point, fate: Fate) -> Tapped {
    let dimensions = message.dimensions().iter();
    Tapped {
        publisher: publisher.map(ToOwned::to_owned),
        metric: Some(cut_name(set.text(point.name))),
        time: Timestamp::from_nanosecond(point.time.into()).ok(),
        value: Some(point.value),
        unit: match point.kind {
            Kind::Counter => None,
            Kind::Timer { unit } => Some(cut_name(set.text(unit))),
        },
        dimensions: dimensions.map(|it| (cut_name(set.text(it.name)), cut_name(set.text(it.value)))).collect(),
        fate,
        why: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Decoder;

    fn set(messages: u64) -> MessageSet {
        let (mut set, mut decoder) = (MessageSet::new(), Decoder::new());
        for number in 0..messages {
            let message = format!(
                r#"{{"dimensions": [{{"name": "host", "value": "web-1"}}], "counters": [{{"name": "hits", "metadata": {{}}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": {number}.0}}], "timers": [{{"name": "took", "metadata": {{}}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1.0, "unit": {{"name": "seconds", "seconds_offset": 1}}}}], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}}"#
            );
            assert!(decoder.decode(message.as_bytes(), &mut set).is_empty());
        }
        set
    }

    fn wanted(only: &[&str], per_second: u64) -> Wanted {
        Wanted { only: only.iter().map(|text| MetricPattern::new(text)).collect(), per_second }
    }

    fn all(watch: &mut Watch) -> Vec<Tapped> {
        std::iter::from_fn(|| watch.ready()).collect()
    }

    #[test]
    fn a_watch_sees_what_it_wants_with_what_becomes_of_it() {
        let tap = Tap::default();
        assert!(tap.watched().is_none());
        let (mut hits, mut host) = (tap.watch(wanted(&["h?ts"], 100)).unwrap(), tap.watch(wanted(&["host=web-*"], 100)).unwrap());
        let set = set(2);
        tap.watched().unwrap().decoded(Some("eu"), &set, 1, |_, point| set.text(point.name) == "hits");
        let refusal = |metric: Option<&str>| Refusal { metric: metric.map(ToOwned::to_owned), reason: "no number".to_owned() };
        tap.set_aside(None, [refusal(Some("hits")), refusal(None), refusal(Some("x"))].iter());
        let seen = all(&mut hits);
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert_eq!((seen[0].value, seen[0].fate, seen[0].publisher.as_deref()), (Some(1.0), Fate::Passed, Some("eu")));
        assert_eq!(seen[0].dimensions["host"], "web-1");
        assert_eq!((seen[1].fate, seen[1].why.as_deref()), (Fate::SetAside, Some("no number")));
        let seen = all(&mut host);
        assert_eq!(seen.iter().map(|tapped| tapped.fate).collect::<Vec<_>>(), [Fate::Passed, Fate::Filtered]);
        assert_eq!(seen[1].unit.as_deref(), Some("seconds"));
        assert_eq!((hits.left_out(), host.left_out()), (0, 0));
        drop((hits, host));
        assert!(tap.watched().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_is_left_out_and_counted_and_waits_for_nobody() {
        let tap = Tap::default();
        let (mut slow, many) = (tap.watch(wanted(&[], 5)).unwrap(), tap.watch(wanted(&[], u64::MAX)).unwrap());
        let set = set(1000);
        tap.decoded(None, &set, 0, |_, _| true);
        assert_eq!((all(&mut slow).len(), slow.left_out(), slow.left_out()), (5, 1995, 0));
        assert_eq!(many.left_out(), 2000 - BEHIND as u64, "it does not read");
        // What is beyond what may be looked at is not even compared.
        tap.decoded(None, &set, 0, |_, _| panic!("it is compared"));
        assert_eq!((slow.left_out(), many.left_out()), (2000, 2000));
        tokio::time::advance(Duration::from_secs(1)).await;
        tap.decoded(None, &set, 999, |_, _| true);
        assert_eq!(all(&mut slow).len(), 2);
        assert!(slow.next(Duration::from_millis(1)).await.is_none());
    }

    #[test]
    fn only_so_many_watch_at_once() {
        let tap = Tap::default();
        let watches: Vec<_> = (0..MOST_WATCHES).filter_map(|_| tap.watch(wanted(&[], 1))).collect();
        assert_eq!(watches.len(), MOST_WATCHES);
        assert!(tap.watch(wanted(&[], 1)).is_none());
        drop(watches);
        assert!(tap.watch(wanted(&[], 1)).is_some());
    }
}
