//! Which metrics a publisher publishes: by name, by dimension, and a share of the messages with timers.

use crate::{
    config::Consumer,
    wire::{Kind, Message, MessageSet, MetricPattern, Point},
};

/// What is kept of the messages that a publisher is given. What is not is done for it as if it were written.
#[derive(Debug)]
pub(crate) struct Filter {
    only: Vec<MetricPattern>,
    except: Vec<MetricPattern>,
    /// The share of messages whose timers are kept.
    share: Option<f64>,
}

impl Filter {
    /// None where everything is published.
    pub(crate) fn of(consumer: &Consumer) -> Option<Self> {
        let patterns = |texts: &[String]| texts.iter().map(|text| MetricPattern::new(text)).collect::<Vec<_>>();
        let (only, except) = (patterns(&consumer.only), patterns(&consumer.except));
        let share = consumer.sampled_share();
        let filters = !only.is_empty() || !except.is_empty() || share.is_some();
        filters.then_some(Self { only, except, share })
    }

    /// Takes out of the messages from the index `first` on what is not published.
    pub(crate) fn apply(&self, set: &mut MessageSet, first: usize) {
        set.retain_points(first, |set, message, point| self.keeps(set, message, point));
    }
}

impl Filter {
    /// Whether a point is published.
    pub(crate) fn keeps(&self, set: &MessageSet, message: &Message<'_>, point: &Point) -> bool {
        let fits = |pattern: &MetricPattern| pattern.fits(set, message, point);
        (self.only.is_empty() || self.only.iter().any(fits)) && !self.except.iter().any(fits) && self.samples(message, point)
    }

    /// By what never changes of the message, so that it is the same when the message is written again.
    fn samples(&self, message: &Message<'_>, point: &Point) -> bool {
        let drawn = || f64::from(message.digest()) / (f64::from(u32::MAX) + 1.0);
        matches!(point.kind, Kind::Counter) || self.share.is_none_or(|share| drawn() < share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Decoder;

    /// A message of each host with a counter and a timer of each name, and one that cannot be decoded in between.
    fn set() -> MessageSet {
        let (mut set, mut decoder) = (MessageSet::new(), Decoder::new());
        for host in ["web-1", "db-1"] {
            let metric = |name: &str, more: &str| {
                format!(
                    r#"{{"name": "{name}", "metadata": {{}}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1.0{more}}}"#
                )
            };
            let unit = r#", "unit": {"name": "seconds", "seconds_offset": 1}"#;
            let message = format!(
                r#"{{"dimensions": [{{"name": "host", "value": "{host}"}}], "counters": [{}, {}], "timers": [{}], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}}"#,
                metric("http_hits", ""),
                metric("jobs", ""),
                metric("http_time", unit)
            );
            assert!(decoder.decode(message.as_bytes(), &mut set).is_empty());
            assert!(!decoder.decode(b"no message", &mut set).is_empty());
        }
        set
    }

    fn kept(set: &MessageSet) -> Vec<String> {
        set.messages()
            .flat_map(|message| {
                let host = set.text(message.dimensions().first().map(|it| it.value).unwrap_or_default());
                message.points().iter().map(|point| format!("{host} {}", set.text(point.name))).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn metrics_are_chosen_by_name_and_by_dimension() {
        for (only, except, expected) in [
            (&["http_*"][..], &[][..], &["web-1 http_hits", "web-1 http_time", "db-1 http_hits", "db-1 http_time"][..]),
            (&["host=web-?"], &["http_*"], &["web-1 jobs"]),
            (&["jobs", "host=db-*"], &[], &["web-1 jobs", "db-1 http_hits", "db-1 jobs", "db-1 http_time"]),
            (&["host=x*"], &[], &[]),
            (&[], &["*"], &[]),
        ] {
            let mut set = set();
            Filter::of(&Consumer::that_keeps(only, except, None)).unwrap().apply(&mut set, 0);
            assert_eq!(kept(&set), expected, "{only:?} {except:?}");
            assert_eq!((set.len(), set.point_count()), (4, expected.len()), "messages keep their indices");
        }
        assert!(Filter::of(&Consumer::that_keeps(&[], &[], Some("100%"))).is_none());
    }

    #[test]
    fn only_the_newest_messages_of_a_set_are_looked_at() {
        for (first, expected) in [(1, "db-1"), (2, "db-1"), (3, ""), (9, "")] {
            let mut set = set();
            Filter::of(&Consumer::that_keeps(&["none"], &[], None)).unwrap().apply(&mut set, first);
            assert_eq!(set.point_count(), if expected.is_empty() { 6 } else { 3 }, "from {first}");
        }
    }

    #[test]
    fn counters_are_all_kept_and_timers_of_a_share_of_the_messages_always_the_same() {
        let filter = Filter::of(&Consumer::that_keeps(&[], &[], Some("25%"))).unwrap();
        let sample = |times: usize| {
            let mut decoder = Decoder::new();
            let mut set = MessageSet::new();
            for number in 0..4000 {
                let message = format!(
                    r#"{{"dimensions": [], "counters": [{{"name": "c", "metadata": {{}}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": {number}.0}}], "timers": [{{"name": "t{number}", "metadata": {{}}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1.0, "unit": {{"name": "seconds", "seconds_offset": 1}}}}], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}}"#
                );
                assert!(decoder.decode(message.as_bytes(), &mut set).is_empty());
            }
            (0..times).for_each(|_| filter.apply(&mut set, 0));
            kept(&set)
        };
        let kept = sample(1);
        assert_eq!(kept.iter().filter(|name| *name == " c").count(), 4000);
        assert!((800..1200).contains(&(kept.len() - 4000)), "{}", kept.len() - 4000);
        assert_eq!(kept, sample(2));
    }
}
