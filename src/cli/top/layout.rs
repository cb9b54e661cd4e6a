//! How much of each band is on a screen of some size.

use std::time::Duration;

use super::super::screen::{Row, Tone, agent, clipped, dead_letters, flow, part, plain, seen, tally, troubles, verdict};
use crate::{duration::for_people, status::Snapshot};

/// Wider than whatever a band says.
const UNBROKEN: usize = 10_000;
/// From this height on there is room for blank rows, and for all of a sentence.
const TALL: usize = 40;
/// So many rows of what came through there are, with its head, before there is more of anything else.
const SEEN_AT_LEAST: usize = 5;

/// What is on the screen.
pub(super) struct Shown {
    pub(super) snapshot: Snapshot,
    /// Where it comes from.
    pub(super) place: String,
    /// The first of the series that are shown.
    pub(super) first: usize,
    /// Why there is no newer one, and how old this one is.
    pub(super) wrong: Option<(String, Duration)>,
}

impl Shown {
    pub(super) fn scroll(&mut self, by: isize) {
        self.first = self.first.saturating_add_signed(by);
    }
}

/// The rows of a screen, of which none is too wide and the last one is at the foot.
pub(super) fn rows(shown: &mut Shown, width: usize, height: usize) -> Vec<Row> {
    let snapshot = &shown.snapshot;
    let is_tall = height >= TALL;
    let few = |rows: Vec<Row>, most: usize| rows.into_iter().take(if is_tall { most * 4 } else { most }).collect::<Vec<_>>();
    let mut bands = vec![
        few(verdict(snapshot, width), 3).into_iter().chain(few(agent(snapshot, width), 1)).collect(),
        few(troubles(snapshot, if is_tall { width } else { UNBROKEN }), 2),
        few(tally(snapshot, width), 4),
        few(flow(snapshot, if is_tall { width } else { UNBROKEN }), 7),
    ];
    let letters = few(dead_letters(snapshot, width), 3);
    bands.retain(|band: &Vec<Row>| !band.is_empty());
    let gap = if is_tall { vec![Row::new()] } else { Vec::new() };
    let mut above: Vec<Row> = bands.into_iter().flat_map(|band| band.into_iter().chain(gap.clone())).collect();
    // The foot, too.
    above.truncate(height.saturating_sub(1 + SEEN_AT_LEAST));
    let left = height.saturating_sub(1 + above.len());
    let letters = if left >= letters.len() + SEEN_AT_LEAST { letters } else { Vec::new() };
    let mut series = seen(snapshot, width);
    let room = left - letters.len().min(left);
    let hidden = series.len().saturating_sub(room);
    shown.first = shown.first.min(hidden);
    // Its head stays.
    series.drain(1.min(series.len())..(1 + shown.first).min(series.len()));
    series.resize(room, Row::new());
    above.extend(series);
    above.extend(letters);
    above.push(foot(shown));
    above.into_iter().take(height).map(|row| clipped(row, width)).collect()
}

fn foot(shown: &Shown) -> Row {
    match &shown.wrong {
        Some((why, age)) => {
            vec![part(format!("this is {} old: {why}", for_people(Duration::from_secs(age.as_secs()))), Tone::Bad)]
        }
        None => vec![part("q ends, arrows scroll", Tone::Faint), plain("  "), part(&shown.place, Tone::Faint)],
    }
}
