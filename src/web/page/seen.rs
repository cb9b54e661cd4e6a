//! What came through, as far as a filter lets it.

use crate::status::snapshot::{SeenSeries, Snapshot};

/// How many series are shown; a filter finds the others.
const SHOWN: usize = 60;

/// The series that a filter has left.
#[derive(Debug)]
pub(super) struct Series<'a> {
    pub(super) shown: Vec<&'a SeenSeries>,
    /// How many more there are.
    pub(super) more: usize,
    /// How many there are without the filter.
    pub(super) all: usize,
}

impl<'a> Series<'a> {
    /// Series of which each word of the filter is part of the metric's name or of `dimension=value`, whatever the case.
    pub(super) fn of(snapshot: &'a Snapshot, filter: &str) -> Self {
        let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
        let fits = |series: &&SeenSeries| words.iter().all(|word| has(series, word));
        let all = &snapshot.seen.series;
        let mut shown: Vec<_> = all.iter().filter(fits).collect();
        // By name rather than by age, so that a line stays where it is.
        shown.sort_by(|a, b| (&a.metric, &a.dimensions).cmp(&(&b.metric, &b.dimensions)));
        let more = shown.len().saturating_sub(SHOWN);
        shown.truncate(SHOWN);
        Self { shown, more, all: all.len() }
    }
}

/// Whether its name and dimensions take more lines than a row has, unless they are opened.
pub(super) fn is_long(series: &SeenSeries) -> bool {
    const MOST: usize = 100;
    let dimensions = series.dimensions.iter().map(|(name, value)| name.chars().count() + value.chars().count() + 2);
    series.metric.chars().count() + dimensions.sum::<usize>() > MOST
}

fn has(series: &SeenSeries, word: &str) -> bool {
    series.metric.to_lowercase().contains(word)
        || series.dimensions.iter().any(|(name, value)| format!("{name}={value}").to_lowercase().contains(word))
}
