//! What a destination has taken lately, shared by all publishers that write to it: what it refuses without InfluxDB's words is
//! the fault of a point only where other points are taken at the same time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Of how many points one at most is set aside on the word of something else than InfluxDB.
const SHARE: usize = 5;

/// How many points count that were taken before.
const MEMORY: usize = 10_000;

/// The longest line that is kept as a sample.
const LONGEST_SAMPLE: usize = 4 << 10;

/// What was taken.
#[derive(Clone, Debug, Default)]
pub(in crate::publisher) struct Evidence(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    /// A line that was taken; writing it again changes nothing.
    sample: Option<Bytes>,
    /// How many points were taken, less those that were set aside, each with its share.
    points: usize,
}

impl Evidence {
    /// That many points were taken, `line` among them.
    pub(in crate::publisher) fn taken(&self, points: usize, line: &[u8]) {
        let mut taken = self.lock();
        taken.points = taken.points.saturating_add(points).min(MEMORY);
        if line.len() <= LONGEST_SAMPLE {
            taken.sample = Some(Bytes::copy_from_slice(line));
        }
    }

    /// A line that was taken, if there is one.
    pub(in crate::publisher) fn sample(&self) -> Option<Bytes> {
        self.lock().sample.clone()
    }

    /// The sample is refused for a reason of its own.
    pub(in crate::publisher) fn forget_sample(&self) {
        self.lock().sample = None;
    }

    /// Whether one more point may be set aside, which is counted then.
    pub(in crate::publisher) fn spend(&self) -> bool {
        let mut taken = self.lock();
        let left = taken.points.checked_sub(SHARE - 1);
        taken.points = left.unwrap_or(taken.points);
        left.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Every change is whole before anything that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
