//! An interval as messages of Kadabra: one for all series with the same tags, which become its dimensions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::{
    aggregate::{Aggregate, Key, Value},
    parser::{Kind, Metric},
};
use crate::wire::{MessageError, OutgoingMessage, Unit};

/// A message is not made longer than this where it can be two.
const LONGEST: usize = 64 << 10;

/// What a byte of a name can take in a message: `\u00e9` for two.
const ESCAPED: usize = 3;
/// What a message takes besides its dimensions and metrics.
const FRAME: usize = 200;
/// What a dimension takes besides its name and value.
const DIMENSION: usize = 30;
/// What a metric takes besides its name, with the longest numbers.
const METRIC: usize = 180;
/// What the numbers of a timer take.
const SUMMARY: usize = 350;

/// What became of an interval.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// As they are to be queued; they never change, so that one that is queued twice is the same message.
    pub(super) messages: Vec<Bytes>,
    /// Names of metrics of which no message could be made.
    pub(super) unmade: Vec<String>,
}

/// An interval that ends `now`, of metrics that [`fits`] has let in. No message is longer than `max_message_bytes`.
pub(super) fn made_of(aggregate: &Aggregate, now: SystemTime, max_message_bytes: usize) -> Messages {
    let longest = LONGEST.min(max_message_bytes);
    let mut made = Messages::default();
    for alike in aggregate.recent().chunk_by(|(one, _), (other, _)| one.is_beside(other)) {
        let Some((first, _)) = alike.first() else { continue };
        let tags = bound_of_tags(first.tags());
        let mut rest = alike;
        while !rest.is_empty() {
            let mut length = FRAME + tags;
            let fitting = rest.iter().take_while(|(key, value)| {
                length += bound_of(key.name, matches!(value, Value::Timer(_) | Value::Distribution(_)));
                length <= longest
            });
            let (these, others) = rest.split_at(fitting.count().clamp(1, rest.len()));
            match text(these, now) {
                Ok(text) => made.messages.push(text.into()),
                // The clock is of another age.
                Err(_) => made.unmade.extend(these.iter().map(|(key, _)| key.name.to_owned())),
            }
            rest = others;
        }
    }
    made
}

fn text(series: &[(Key<'_>, &Value)], now: SystemTime) -> Result<String, MessageError> {
    let mut message = OutgoingMessage::new();
    for (name, value) in series.iter().take(1).flat_map(|(key, _)| key.tags()) {
        message.dimension(name, value);
    }
    for (key, value) in series {
        add(&mut message, key, value, now)?;
    }
    message.to_json(now)
}

/// Whether a message of this metric alone is surely no longer than that.
pub(super) fn fits(metric: &Metric<'_>, max_message_bytes: usize) -> bool {
    let summary = matches!(metric.kind, Kind::Timer | Kind::Distribution);
    FRAME + bound_of_tags(metric.tags()) + bound_of(metric.name, summary) <= max_message_bytes
}

fn bound_of_tags<'a>(tags: impl Iterator<Item = (&'a str, &'a str)>) -> usize {
    tags.map(|(name, value)| DIMENSION + ESCAPED * (name.len() + value.len())).sum()
}

/// No metric of that name is longer.
fn bound_of(name: &str, summary: bool) -> usize {
    METRIC + ESCAPED * name.len() + if summary { SUMMARY } else { 0 }
}

fn add(message: &mut OutgoingMessage, key: &Key<'_>, value: &Value, now: SystemTime) -> Result<(), MessageError> {
    let time = key.time.map_or(now, |seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    match value {
        Value::Counter(number) | Value::Gauge(number) => message.counter(key.name, *number, time, Vec::new()),
        Value::Set(members) => message.counter(key.name, members.len() as f64, time, Vec::new()),
        Value::Timer(sketch) => {
            let (mean, numbers) = sketch.summary();
            message.summary(key.name, Some(Unit::MILLISECONDS), mean, time, &numbers)
        }
        Value::Distribution(sketch) => {
            let (mean, numbers) = sketch.summary();
            message.summary(key.name, None, mean, time, &numbers)
        }
    }
    .map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        statsd::{
            aggregate::Bounds,
            parser::{self, Line},
        },
        wire::{Decoder, Kind as Wire, MessageSet, Scalar},
    };

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn of(lines: &str, max_message_bytes: usize) -> Messages {
        let bounds = Bounds { series: 10_000, bytes: 1 << 30, tags: 20, message: max_message_bytes, signs_add: true };
        let mut aggregate = Aggregate::new(bounds);
        for (_, line) in parser::lines(lines.as_bytes()) {
            if let Line::Metric(metric) = line {
                aggregate.add(&metric).unwrap();
            }
        }
        made_of(&aggregate, UNIX_EPOCH + NOW, max_message_bytes)
    }

    #[test]
    fn series_with_the_same_tags_share_a_message_as_a_client_would_write_it() {
        let made = of("b:1|c|#x:1\na:2|c|#x:1\nt:4:6|ms|#x:1\nlone:5|g\nold:1|c|#x:1|T7", 4096);
        let texts: Vec<_> = made.messages.iter().map(|message| str::from_utf8(message).unwrap()).collect();
        assert_eq!(texts.len(), 3, "{texts:#?}");
        let shared = texts.iter().find(|text| text.contains("\"t\"")).unwrap();
        let time = "2027-01-15T08:00:00.000000Z";
        let counter = |name: &str, value: f64| {
            format!(r#"{{"name": "{name}", "metadata": {{}}, "timestamp": "{time}", "value": {value:?}}}"#)
        };
        assert!(
            shared.starts_with(&format!(
                r#"{{"dimensions": [{{"name": "x", "value": "1"}}], "counters": [{}, {}], "timers": [{{"name": "t", "#,
                counter("a", 2.0),
                counter("b", 1.0)
            )),
            "{shared}"
        );
        assert!(shared.contains(r#""metadata": {"count": 2.0, "sum": 10.0, "min": 4.0, "max": 6.0, "p50": "#), "{shared}");
        assert!(shared.contains(&format!(r#""timestamp": "{time}", "value": 5.0}}"#)), "{shared}");
        let mut set = MessageSet::new();
        for text in &texts {
            assert_eq!(Decoder::new().decode(text.as_bytes(), &mut set), []);
        }
        let points: Vec<_> = set.messages().flat_map(|message| message.points().to_vec()).collect();
        let timer = points.iter().find(|point| set.text(point.name) == "t").unwrap();
        assert!(matches!(timer.kind, Wire::Timer { unit } if set.text(unit) == "milliseconds"));
        assert!(set.fields(timer).iter().all(|field| matches!(field.value, Scalar::Float(_))));
        let old = points.iter().find(|point| set.text(point.name) == "old").unwrap();
        assert_eq!(old.time, 7_000_000_000);
    }

    #[test]
    fn many_series_of_the_same_tags_are_several_messages() {
        let lines: String = (0..5000).map(|number| format!("series.{number}:1|h\n")).collect();
        let made = of(&lines, 20_000);
        assert!(made.messages.len() > 100 && made.messages.iter().all(|message| message.len() <= 20_000));
        let counted: usize = made.messages.iter().map(|message| str::from_utf8(message).unwrap().matches("p99").count()).sum();
        assert_eq!((counted, made.unmade.len()), (5000, 0));
    }

    proptest! {
        #[test]
        fn no_message_is_longer_than_was_reckoned(
            name in "[^\\x00-\\x1f\\x7f:|]{1,40}",
            tags in proptest::collection::vec("[^\\x00-\\x1f\\x7f,|]{0,20}", 0..5),
            value in proptest::num::f64::NORMAL,
            kind in prop_oneof![Just("c"), Just("g"), Just("ms"), Just("h")],
        ) {
            let line = format!("{name}:{value:e}|{kind}|#{}", tags.join(","));
            let Some((_, Line::Metric(metric))) = parser::lines(line.as_bytes()).next() else {
                return Err(TestCaseError::fail(line));
            };
            let longest = (0..10_000).find(|longest| fits(&metric, *longest)).unwrap();
            let made = of(&line, longest);
            prop_assert_eq!(made.messages.len(), 1);
            prop_assert!(made.messages[0].len() <= longest, "{} of {}", made.messages[0].len(), longest);
        }
    }
}
