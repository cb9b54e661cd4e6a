//! A millisecond of its own for each point of a series.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

/// How many points are remembered at least; at most twice as many.
const REMEMBERED: usize = 100_000;

/// Among how many milliseconds after its own a point finds one at most, as a power of two: some 16 s.
const WIDEST: u32 = 14;

/// How many milliseconds are tried for one point.
const TRIES: u32 = 48;

/// Which milliseconds are taken, and by which points, shared by all publishers to one destination.
///
/// A point has its own millisecond when that is free, or already its own: written again, it has the same as before. Otherwise it
/// tries others soon after, in an order that depends on nothing but the point. So what is remembered decides only between points
/// that share a series and a millisecond, of which the last 100,000 are.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(Arc<Mutex<Remembered>>);

/// The point that has a series and millisecond, in two generations; the older one is forgotten when the newer is full.
#[derive(Debug, Default)]
struct Remembered {
    newer: HashMap<u64, u64>,
    older: HashMap<u64, u64>,
}

impl Times {
    /// The millisecond for a point of a series: `point` tells it from all others. `None` where all that are tried are taken.
    pub(super) fn give(&self, series: &[u8], millisecond: i64, point: (u32, usize)) -> Option<i64> {
        // Every change is whole before anything that could panic.
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (series, point) = (hash(series), hash(point));
        (0..TRIES)
            .map(|attempt| millisecond.saturating_add(distance(point, attempt)))
            .find(|at| remembered.take(hash((series, *at)), point))
    }
}

/// How far from its own the millisecond is that a point tries next.
fn distance(point: u64, attempt: u32) -> i64 {
    if attempt == 0 {
        return 0;
    }
    1 + (hash((point, attempt)) % (1 << attempt.min(WIDEST))).cast_signed()
}

impl Remembered {
    /// Takes a place for a point. Says whether it is the point's now.
    fn take(&mut self, place: u64, point: u64) -> bool {
        if let Some(owner) = self.newer.get(&place).or_else(|| self.older.get(&place)) {
            return *owner == point;
        }
        if self.newer.len() >= REMEMBERED {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(place, point);
        true
    }
}

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn points_of_one_millisecond_get_one_each_soon_after_and_the_same_when_they_come_again() {
        let times = Times::default();
        let given = || (0..1000).map(|point| times.give(b"m", 5, (point, 0)).unwrap()).collect::<Vec<_>>();
        let first = given();
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 1000, "none twice");
        assert_eq!(first.first(), Some(&5), "the first has its own");
        assert!(first.iter().all(|at| (5..5 + 20_000).contains(at)));
        assert_eq!(given(), first);
    }

    #[test]
    fn another_series_and_another_point_of_the_message_are_told_apart() {
        let times = Times::default();
        assert_eq!(times.give(b"m", 5, (1, 0)), Some(5));
        assert_eq!(times.give(b"n", 5, (1, 0)), Some(5));
        assert_ne!(times.give(b"m", 5, (1, 1)), Some(5));
        assert_eq!(times.give(b"m", 5, (1, 0)), Some(5));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_latest() {
        let times = Times::default();
        for at in 0..450_000_i64 {
            assert_eq!(times.give(b"m", at, (at as u32, 0)), Some(at));
            let remembered = times.0.lock().unwrap();
            assert!(remembered.newer.len() + remembered.older.len() <= 2 * REMEMBERED);
        }
        assert_ne!(times.give(b"m", 449_999 - 100_000, (0, 1)), Some(449_999 - 100_000), "it is taken");
    }

    #[test]
    fn a_crowd_beyond_all_measure_is_told_and_does_not_take_for_ever() {
        let times = Times::default();
        let given = (0..30_000).filter_map(|point| times.give(b"m", 5, (point, 0))).collect::<BTreeSet<_>>();
        assert!((10_000..=16_386).contains(&given.len()), "{}", given.len());
    }
}
