//! The page that shows how the agent is: text made from a [`Snapshot`] and from what the visitor asked for, and nothing else.
//!
//! | promise | kept by |
//! |---|---|
//! | whether all is well is seen in a second | `templates/verdict.html` |
//! | each message is accounted for in the open | `templates/tally.html` |
//! | each actor stands where it works | `flow` |
//! | the last hour is seen on one axis | `charts` |
//! | what an application sends is found by name | `seen` |
//! | something is done by a form alone, with the count of what it is done to on its button | `templates/dead_letters.html`, `templates/letters.html` |
//! | whatever comes from outside is shown as text | [`askama`] escapes it, and [`filters::outside`] makes it visible |
//! | style and script come from this process, under names that change with them | `assets` |

mod assets;
mod charts;
mod filters;
mod flow;
mod seen;
#[cfg(test)]
mod tests;

use askama::Template;
use jiff::Timestamp;

use super::actions::{Chosen, Listed};
use crate::status::{
    figures,
    snapshot::{DeadLetterReason, DeadLetters, Level, Publisher, Snapshot, Trouble, Verdict},
};

pub use assets::{Asset, asset};
use charts::Alarm;

/// What the visitor asked for, and may do.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'a> {
    /// Words that a series must have to be shown, from the page's address.
    pub filter: &'a str,
    /// What the last action has done: a sentence.
    pub notice: Option<&'a str>,
    /// Who may see the page: a sentence.
    pub access: &'a str,
    /// What a form must have with it for something to be done; empty where nothing can be done.
    pub token: &'a str,
}

/// The whole page.
///
/// # Errors
///
/// None that is known: a template fails only where what it shows does.
pub fn render(snapshot: &Snapshot, view: View<'_>) -> Result<String, askama::Error> {
    Page { content: Content::of(snapshot, view), snapshot, view }.render()
}

/// The part of it that changes, with which its script keeps it up to date.
///
/// # Errors
///
/// As [`render`].
pub fn fragment(snapshot: &Snapshot, view: View<'_>) -> Result<String, askama::Error> {
    Content::of(snapshot, view).render()
}

/// The page of some dead letters, with what can be done to each.
///
/// # Errors
///
/// As [`render`].
pub(super) fn letters(snapshot: &Snapshot, listed: &Listed, chosen: &Chosen, view: View<'_>) -> Result<String, askama::Error> {
    Letters { snapshot, listed, chosen, view }.render()
}

#[derive(Template)]
#[template(path = "letters.html")]
struct Letters<'a> {
    snapshot: &'a Snapshot,
    listed: &'a Listed,
    chosen: &'a Chosen,
    view: View<'a>,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    content: Content<'a>,
    snapshot: &'a Snapshot,
    view: View<'a>,
}

#[derive(Template)]
#[template(path = "content.html")]
struct Content<'a> {
    snapshot: &'a Snapshot,
    view: View<'a>,
    flow: flow::Flow<'a>,
    charts: [charts::Chart; 3],
    happened: Vec<charts::Happened<'a>>,
    series: seen::Series<'a>,
}

impl<'a> Content<'a> {
    fn of(snapshot: &'a Snapshot, view: View<'a>) -> Self {
        Self {
            snapshot,
            view,
            flow: flow::Flow::of(snapshot),
            charts: charts::charts(snapshot),
            happened: charts::happened(snapshot),
            series: seen::Series::of(snapshot, view.filter),
        }
    }

    /// How long before the snapshot, in seconds.
    fn ago(&self, at: &Timestamp) -> f64 {
        self.snapshot.at.duration_since(*at).as_secs_f64().max(0.0)
    }

    /// The verdict's sentence, as the end of the line that begins with its level.
    fn sentence(&self) -> String {
        let Verdict { level, sentence, .. } = &self.snapshot.verdict;
        let word = self::level(level);
        match sentence.get(..word.len()).filter(|begin| begin.eq_ignore_ascii_case(word)) {
            Some(_) => sentence.get(word.len()..).unwrap_or_default().to_owned(),
            None => format!(": {sentence}"),
        }
    }

    /// The trouble that decides the verdict.
    fn decisive(&self) -> Option<&Trouble> {
        self.snapshot.troubles.first().filter(|worst| self.snapshot.verdict.code.as_ref() == Some(&worst.code))
    }

    /// All others.
    fn further(&self) -> &[Trouble] {
        let decisive = usize::from(self.decisive().is_some());
        self.snapshot.troubles.get(decisive..).unwrap_or_default()
    }

    fn percent(&self, part: &u64, whole: &u64) -> String {
        figures::percent(*part, *whole)
    }

    /// How often anything was refused to clients.
    fn refused(&self) -> u64 {
        self.snapshot.channel.refusals.iter().map(|refused| refused.count).sum()
    }

    fn retries(&self, publisher: &Publisher) -> u64 {
        publisher.retries.iter().map(|cause| cause.count).sum()
    }

    /// Why dead letters were set aside, as far as there still are some.
    fn reasons<'s>(&self, letters: &'s DeadLetters) -> &'s [DeadLetterReason] {
        if letters.kept() > 0 { &letters.by_reason } else { &[] }
    }

    /// How many dead letters there are, for all publishers together.
    fn dead_letters(&self) -> u64 {
        self.snapshot.publishers.iter().map(|publisher| publisher.dead_letters.kept()).sum()
    }
}

/// How well, as a word, which is a class of the style sheet, too.
fn level(level: &Level) -> &'static str {
    match level {
        Level::Well => "well",
        Level::Attention => "attention",
        Level::Held => "held",
        Level::Stopping => "stopping",
    }
}

/// How much of a bar 100 wide is filled.
fn filled(part: &u64, whole: &u64) -> u64 {
    part.saturating_mul(100).checked_div(*whole).unwrap_or(0).min(100)
}
