//! What is kept of the values of a timer or a distribution: count, sum, least, largest, and how many lie in each of the intervals
//! whose bounds grow by two per cent. So a percentile is right to one per cent, whatever the values are, in memory that does not grow
//! with their number.
//!
//! The crates for such sketches count whole values; a value that was sampled at `|@0.3` stands for three and a third.

use std::{collections::BTreeMap, mem};

/// By how much the bounds of the intervals grow.
const GROWTH: f64 = 1.02;

/// Below this, a value counts as 0 in percentiles.
const SMALLEST: f64 = 1e-9;

/// A sketch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sketch {
    /// How many values there were, each as often as its sampling says.
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
    /// How many lie in each interval: 0 is that of 0, and what is less than 0 is below it.
    intervals: BTreeMap<i32, f64>,
}

impl Sketch {
    /// How much memory an interval takes, about.
    pub(super) const INTERVAL_BYTES: usize = 2 * (mem::size_of::<i32>() + mem::size_of::<f64>());

    /// Adds values, each of which stands for `weight`. Returns whether the sum and the count are numbers still; if not, it is as it was.
    pub(super) fn add(&mut self, values: impl Iterator<Item = f64> + Clone, weight: f64) -> bool {
        let count = values.clone().fold(self.count, |count, _| count + weight);
        let sum = values.clone().fold(self.sum, |sum, value| sum + value * weight);
        if !count.is_finite() || !sum.is_finite() {
            return false;
        }
        for value in values {
            let first = self.intervals.is_empty();
            self.min = if first { value } else { self.min.min(value) };
            self.max = if first { value } else { self.max.max(value) };
            *self.intervals.entry(interval(value)).or_default() += weight;
        }
        (self.count, self.sum) = (count, sum);
        true
    }

    /// How many intervals have values.
    pub(super) fn intervals(&self) -> usize {
        self.intervals.len()
    }

    /// What is told of it, under these names: `value` is the mean.
    pub(super) fn summary(&self) -> (f64, [(&'static str, f64); 7]) {
        let percentile = |percent: f64| self.percentile(percent / 100.0);
        (
            (self.sum / self.count).clamp(self.min, self.max),
            [
                ("count", self.count),
                ("sum", self.sum),
                ("min", self.min),
                ("max", self.max),
                ("p50", percentile(50.0)),
                ("p95", percentile(95.0)),
                ("p99", percentile(99.0)),
            ],
        )
    }

    /// The value that this part of all does not exceed, to one per cent.
    fn percentile(&self, part: f64) -> f64 {
        let rank = self.count * part;
        let mut below = 0.0;
        let found = self.intervals.iter().find(|(_, count)| {
            below += **count;
            below >= rank
        });
        found.map_or(self.max, |(interval, _)| middle(*interval)).clamp(self.min, self.max)
    }
}

fn interval(value: f64) -> i32 {
    let size = value.abs();
    if size < SMALLEST {
        return 0;
    }
    // From 1 on: at most some 37,000 for the largest number there is.
    let index = ((size.ln() - SMALLEST.ln()) / GROWTH.ln()).ceil().max(0.0) as i32 + 1;
    if value < 0.0 { -index } else { index }
}

/// The value that is nearest to all of an interval, in parts of themselves.
fn middle(interval: i32) -> f64 {
    if interval == 0 {
        return 0.0;
    }
    let size = SMALLEST * GROWTH.powi(interval.abs() - 1) * 2.0 / (GROWTH + 1.0);
    if interval < 0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64], weight: f64) -> Sketch {
        let mut sketch = Sketch::default();
        assert!(sketch.add(values.iter().copied(), weight));
        sketch
    }

    #[test]
    fn a_thousand_values_have_their_percentiles() {
        let values: Vec<_> = (1..=1000).map(f64::from).collect();
        let (mean, told) = of(&values, 1.0).summary();
        assert_eq!(mean, 500.5);
        assert_eq!(told[..4], [("count", 1000.0), ("sum", 500_500.0), ("min", 1.0), ("max", 1000.0)]);
        for ((_, told), wanted) in told[4..].iter().zip([500.0, 950.0, 990.0]) {
            assert!((told / wanted - 1.0_f64).abs() < 0.011, "{told} for {wanted}");
        }
    }

    #[test]
    fn what_was_sampled_counts_as_often_as_it_stands_for() {
        let (mean, told) = of(&[10.0, 20.0], 10.0).summary();
        assert_eq!((mean, told[0], told[1]), (15.0, ("count", 20.0), ("sum", 300.0)));
    }

    #[test]
    fn what_no_number_holds_changes_nothing() {
        let mut sketch = of(&[f64::MAX], 1.0);
        let before = sketch.clone();
        assert!(!sketch.add([1.0, f64::MAX].into_iter(), 1.0));
        assert!(!sketch.add([1.0].into_iter(), f64::INFINITY));
        assert_eq!(sketch, before);
        assert!(sketch.summary().1.iter().all(|(_, number)| number.is_finite()));
    }

    proptest! {
        #[test]
        fn a_percentile_is_within_one_per_cent(mut values in proptest::collection::vec(-1e9..1e9_f64, 1..300)) {
            let (_, told) = of(&values, 1.0).summary();
            values.sort_by(f64::total_cmp);
            for ((_, told), part) in told[4..].iter().zip([0.5, 0.95, 0.99]) {
                let rank = (values.len() as f64 * part).ceil().max(1.0) as usize - 1;
                let wanted = values[rank];
                prop_assert!((told - wanted).abs() <= wanted.abs() * 0.0101 + SMALLEST, "{} for {}", told, wanted);
            }
        }
    }
}
