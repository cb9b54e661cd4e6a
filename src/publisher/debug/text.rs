//! A message as a block of lines, for people.
//!
//! ```text
//!   2026-03-02T15:10:29.986705Z  method=index, user=7
//!     userSignup   1
//!     RequestTime  12.5 ms  path=/, status=200
//! ```

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::{
    quote::printable,
    wire::{Kind, Message, MessageSet, Point, Scalar},
};

/// The longest column that others are aligned with, in characters: one long name does not push all values out of sight.
const WIDEST: usize = 40;

/// The block, without a newline at its end. What clients put into names and values cannot add lines to it.
pub(super) fn block(set: &MessageSet, message: &Message<'_>) -> String {
    let mut block = "  ".to_owned();
    if let Some(first) = message.points().first() {
        block.push_str(&Timestamp::from_nanosecond(first.time.into()).map(|time| time.to_string()).unwrap_or_default());
    }
    let dimensions = message.dimensions().iter();
    let dimensions = dimensions.map(|dimension| (printable(set.text(dimension.name)), printable(set.text(dimension.value))));
    pairs(&mut block, dimensions);

    let points: Vec<[String; 2]> =
        message.points().iter().map(|point| [printable(set.text(point.name)), value(set, point)]).collect();
    let widest = |column: fn(&[String; 2]) -> &String| {
        let widths = points.iter().map(|point| column(point).chars().count());
        widths.max().unwrap_or_default().min(WIDEST)
    };
    let (names, values) = (widest(|[name, _]| name), widest(|[_, value]| value));
    for ([name, value], point) in points.iter().zip(message.points()) {
        let fields = set.fields(point);
        let values = if fields.is_empty() { 0 } else { values };
        let _ = write!(block, "\n    {name:names$}  {value:values$}");
        pairs(&mut block, fields.iter().map(|field| (printable(set.text(field.name)), scalar(set, field.value))));
    }
    block
}

fn pairs(block: &mut String, pairs: impl Iterator<Item = (String, String)>) {
    for (index, (name, value)) in pairs.enumerate() {
        let before = if index == 0 { "  " } else { ", " };
        let _ = write!(block, "{before}{name}={value}");
    }
}

/// With its unit; Kadabra's own ones are short.
fn value(set: &MessageSet, point: &Point) -> String {
    let Kind::Timer { unit } = point.kind else { return point.value.to_string() };
    let unit = match set.text(unit) {
        "seconds" => "s".to_owned(),
        "milliseconds" => "ms".to_owned(),
        "microseconds" => "µs".to_owned(),
        other => printable(other),
    };
    format!("{} {unit}", point.value)
}

fn scalar(set: &MessageSet, value: Scalar) -> String {
    match value {
        Scalar::Text(text) => printable(set.text(text)),
        Scalar::Int(int) => int.to_string(),
        Scalar::Float(float) => float.to_string(),
        Scalar::Bool(bool) => bool.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::build::{Metric, Value};

    fn metric(name: &str, unit: Option<&str>, value: f64, metadata: &[(&str, Value)]) -> Metric {
        Metric {
            name: name.to_owned(),
            unit: unit.map(str::to_owned),
            value,
            time: 1_772_464_229_986_705_000,
            metadata: metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        }
    }

    fn shown(dimensions: &[(&str, &str)], metrics: &[Metric]) -> String {
        let dimensions: Vec<_> = dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut set = MessageSet::new();
        set.push_message(&dimensions, metrics);
        let message = set.messages().next().unwrap();
        block(&set, &message)
    }

    #[test]
    fn a_message_is_its_dimensions_and_a_line_a_metric() {
        let metadata = [("path", Value::Text("/".to_owned())), ("status", Value::Int(200))];
        let metrics = [metric("userSignup", None, 1.0, &[]), metric("RequestTime", Some("milliseconds"), 12.5, &metadata)];
        let expected = "  2026-03-02T15:10:29.986705Z  method=index, user=7
    userSignup   1
    RequestTime  12.5 ms  path=/, status=200";
        assert_eq!(shown(&[("method", "index"), ("user", "7")], &metrics), expected);
    }

    #[test]
    fn a_unit_of_ones_own_keeps_its_name() {
        let block = shown(&[], &[metric("t", Some("fortnights"), 2.0, &[])]);
        assert_eq!(block, "  2026-03-02T15:10:29.986705Z\n    t  2 fortnights");
    }

    #[test]
    fn what_a_client_says_cannot_add_lines_or_drive_the_terminal() {
        let hostile = "a\nb\u{1b}[2J\u{202e}";
        let metadata = [(hostile, Value::Text(hostile.to_owned()))];
        let block = shown(&[(hostile, hostile)], &[metric(hostile, Some(hostile), 1.0, &metadata)]);
        assert_eq!(block.lines().count(), 2, "{block:?}");
        assert!(!block.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{block:?}");
    }

    #[test]
    fn one_long_name_does_not_push_the_others_out_of_sight() {
        let block = shown(&[], &[metric(&"x".repeat(500), None, 1.0, &[]), metric("y", None, 2.0, &[])]);
        assert!(block.lines().last().unwrap().len() < 60, "{block}");
    }
}
