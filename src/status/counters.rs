//! What the actors of one pipeline count, a few additions a batch: it is always counted, whether somebody looks or not.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use jiff::Timestamp;

use super::snapshot::{BOUNDS, Bucket, Counted, Histogram, LastError};

/// Why a point was not written. The names never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointRefusal {
    /// It, or its message, could not be read.
    Unreadable,
    /// A guard has parked it.
    Guard,
    /// The destination has refused it, or cannot hold it.
    Destination,
}

/// Why an attempt to write failed and is repeated. The names never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It may pass by itself.
    Away,
    /// An operator has to mend something.
    Hold,
}

/// The counters of one pipeline.
#[derive(Debug, Default)]
pub struct Counters {
    written: AtomicU64,
    refused: [AtomicU64; 3],
    retries: [AtomicU64; 2],
    batches: AtomicU64,
    requests: AtomicU64,
    /// When something was written or could have been, in ms since 1970; 0 when never.
    succeeded: AtomicU64,
    /// When something was written, likewise.
    stored: AtomicU64,
    /// In µs.
    linger: AtomicU64,
    last_error: Mutex<Option<LastError>>,
    /// How long writing a batch took.
    pub publish: Times,
    /// How long it took from the push until it was stored.
    pub push_to_stored: Times,
}

impl Counters {
    /// A batch was written, all but these points.
    pub fn wrote(&self, points: u64) {
        self.batches.fetch_add(1, Relaxed);
        self.written.fetch_add(points, Relaxed);
        let now = now_ms();
        self.stored.store(now, Relaxed);
        self.succeeded.store(now, Relaxed);
    }

    /// The destination has shown that it would take something.
    pub fn proven(&self) {
        self.succeeded.store(now_ms(), Relaxed);
    }

    /// There is another destination now, which has shown nothing yet.
    pub fn unproven(&self) {
        self.succeeded.store(0, Relaxed);
    }

    /// So many points were refused.
    pub fn refused(&self, points: u64, why: PointRefusal) {
        if let Some(count) = self.refused.get(why as usize).filter(|_| points > 0) {
            count.fetch_add(points, Relaxed);
        }
    }

    /// An attempt to write begins.
    pub fn attempt(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// An attempt to write has failed, and is repeated.
    pub fn retry(&self, why: Retry) {
        if let Some(count) = self.retries.get(why as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// An attempt, or a question whether the destination would take something, has failed.
    pub fn failed(&self, what: &str) {
        let failed = LastError { at: Timestamp::now(), what: what.to_owned() };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
    }

    /// Batches are this far apart now.
    pub fn lingers(&self, time: Duration) {
        self.linger.store(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// How far apart batches are.
    #[must_use]
    pub fn linger(&self) -> Duration {
        Duration::from_micros(self.linger.load(Relaxed))
    }

    /// Points that were written.
    #[must_use]
    pub fn points_written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Points that were not, by reason: every reason there is.
    #[must_use]
    pub fn points_refused(&self) -> Vec<Counted> {
        named(["unreadable", "guard", "destination"], &self.refused)
    }

    /// Failed attempts by cause: every cause there is.
    #[must_use]
    pub fn retries(&self) -> Vec<Counted> {
        named(["away", "hold"], &self.retries)
    }

    /// Batches that were written.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches.load(Relaxed)
    }

    /// Attempts to write.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Whether it has shown that it can write.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.succeeded.load(Relaxed) > 0
    }

    /// When something was written last.
    #[must_use]
    pub fn last_success(&self) -> Option<Timestamp> {
        let ms = i64::try_from(self.stored.load(Relaxed)).ok().filter(|ms| *ms > 0)?;
        Timestamp::from_millisecond(ms).ok()
    }

    /// What failed last.
    #[must_use]
    pub fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

fn named<const N: usize>(names: [&str; N], counts: &[AtomicU64; N]) -> Vec<Counted> {
    let counted = |(name, count): (&str, &AtomicU64)| Counted { name: name.to_owned(), count: count.load(Relaxed) };
    names.into_iter().zip(counts).map(counted).collect()
}

/// How long something took, how often: [`Histogram`] while it is counted. Not hdrhistogram: its buckets are of fixed bounds, which two
/// agents have in common, and it is counted by several threads without a lock.
#[derive(Debug, Default)]
pub struct Times {
    /// In each bucket alone; the last is for what is above all bounds.
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// In µs.
    sum: AtomicU64,
}

impl Times {
    /// It took so long.
    pub fn took(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let place = BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// All of it so far.
    #[must_use]
    pub fn histogram(&self) -> Histogram {
        let mut so_far = 0;
        let bucket = |(le, count): (&f64, &AtomicU64)| {
            so_far += count.load(Relaxed);
            Bucket { le: *le, count: so_far }
        };
        let buckets = BOUNDS.iter().zip(&self.counts).map(bucket).collect();
        let above = self.counts.last().map_or(0, |count| count.load(Relaxed));
        Histogram { count: so_far + above, sum: self.sum.load(Relaxed) as f64 / 1e6, buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_there_at_zero_and_nothing_is_proven() {
        let counters = Counters::default();
        assert!(counters.points_refused().iter().chain(&counters.retries()).all(|counted| counted.count == 0));
        assert_eq!((counters.points_refused().len(), counters.retries().len()), (3, 2));
        assert!(!counters.is_proven() && counters.last_success().is_none() && counters.last_error().is_none());
        assert_eq!(counters.publish.histogram(), Histogram::default());
        counters.proven();
        assert!(counters.is_proven() && counters.last_success().is_none());
        counters.wrote(5);
        counters.refused(2, PointRefusal::Destination);
        counters.retry(Retry::Hold);
        counters.failed("401");
        assert_eq!((counters.points_written(), counters.batches()), (5, 1));
        assert_eq!(counters.points_refused()[2], Counted { name: "destination".to_owned(), count: 2 });
        assert_eq!(counters.retries()[1].count, 1);
        assert!(counters.last_success().is_some() && counters.last_error().unwrap().what == "401");
    }

    #[test]
    fn a_time_is_in_the_first_bucket_that_is_not_below_it() {
        let times = Times::default();
        for millis in [1, 2, 3, 10_000_000] {
            times.took(Duration::from_millis(millis));
        }
        let histogram = times.histogram();
        let at_most = |bound: f64| histogram.buckets.iter().find(|bucket| bucket.le == bound).unwrap().count;
        assert_eq!((at_most(0.0005), at_most(0.001), at_most(0.002), at_most(0.005), at_most(3600.0)), (0, 1, 2, 3, 3));
        assert_eq!((histogram.count, histogram.sum), (4, 10_000.006));
    }
}
