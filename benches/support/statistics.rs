//! Medians and percentiles.

use std::time::Duration;

/// The middle value; of an even number, the mean of the two in the middle. NaN of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// The smallest and the largest value.
pub(crate) fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    values.into_iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// Durations in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distribution(Vec<Duration>);

impl FromIterator<Duration> for Distribution {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut sorted: Vec<Duration> = durations.into_iter().collect();
        sorted.sort_unstable();
        Self(sorted)
    }
}

impl Distribution {
    /// The smallest duration that so many percent are not above, in ms (nearest rank).
    pub(crate) fn percentile_ms(&self, percent: f64) -> f64 {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).map_or(f64::NAN, |duration| duration.as_secs_f64() * 1e3)
    }

    pub(crate) fn max_ms(&self) -> f64 {
        self.percentile_ms(100.0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
