//! How long something took, in buckets that never change, so that those of two agents or two moments can be added and compared.

use serde::{Deserialize, Serialize};

/// The upper bounds of the buckets, in seconds; what is above the last one is in none of them and counts in the whole.
pub const BOUNDS: [f64; 18] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0];

/// How long something took, how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// How often.
    pub count: u64,
    /// All of it together, in seconds.
    pub sum: f64,
    /// One for each of [`BOUNDS`].
    pub buckets: Vec<Bucket>,
}

/// How often it took at most so long.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Seconds.
    pub le: f64,
    /// How often at most that: what is in the buckets before is in here, too.
    pub count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { count: 0, sum: 0.0, buckets: BOUNDS.iter().map(|le| Bucket { le: *le, count: 0 }).collect() }
    }
}

impl Histogram {
    /// How long it took at most in this part of all cases, from 0.0 to 1.0: between the bounds of a bucket as if they were spread
    /// evenly, and the last bound for what is above it. `None` where there was no case.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = part.clamp(0.0, 1.0) * self.count as f64;
        let (mut below, mut from) = (0, 0.0);
        for Bucket { le, count } in &self.buckets {
            if *count as f64 >= rank && *count > below {
                let into = (rank - below as f64) / (*count - below) as f64;
                return Some(from + (le - from) * into.clamp(0.0, 1.0));
            }
            (below, from) = (*count, *le);
        }
        Some(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_between_the_bounds_of_its_bucket() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        let buckets = BOUNDS.iter().map(|le| Bucket { le: *le, count: if *le < 0.002 { 0 } else { 10 } }).collect();
        let histogram = Histogram { count: 11, sum: 1.0, buckets };
        let median = histogram.quantile(0.5).unwrap();
        assert!(median > 0.001 && median <= 0.002, "{median}");
        assert_eq!(histogram.quantile(1.0), Some(3600.0), "beyond the last bound");
    }
}
