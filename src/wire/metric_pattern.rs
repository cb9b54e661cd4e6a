//! Which metrics are meant: by name or by dimension.

use wildmatch::WildMatch;

use super::{Message, MessageSet, Point};

/// What a metric may fit.
#[derive(Debug)]
pub(crate) enum MetricPattern {
    /// Its name, with * and ?.
    Name(WildMatch),
    /// The name of a dimension, and what its value may be.
    Dimension(String, WildMatch),
}

impl MetricPattern {
    /// `http_*` is a name, `host=web-*` a dimension.
    pub(crate) fn new(text: &str) -> Self {
        match text.split_once('=') {
            Some((dimension, value)) => Self::Dimension(dimension.to_owned(), WildMatch::new(value)),
            None => Self::Name(WildMatch::new(text)),
        }
    }

    /// Whether a point of a message is meant.
    pub(crate) fn fits(&self, set: &MessageSet, message: &Message<'_>, point: &Point) -> bool {
        match self {
            Self::Name(pattern) => pattern.matches(set.text(point.name)),
            Self::Dimension(name, pattern) => {
                // Of two with one name the last wins.
                let dimension = message.dimensions().iter().rev().find(|dimension| set.text(dimension.name) == name);
                dimension.is_some_and(|dimension| pattern.matches(set.text(dimension.value)))
            }
        }
    }
}
