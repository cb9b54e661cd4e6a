//! The snapshot as Prometheus reads it.
//!
//! All of a scrape is of one snapshot, so that what balances in it balances in each scrape. No label has a value that comes from a
//! message or from a secret, and each has few.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text},
    metrics::{MetricType, exemplar::Exemplar},
    registry::Registry,
};

use crate::status::snapshot::{Canary, Counted, Histogram, Publisher, Queue, Snapshot, Statsd};

/// The type of a text in the form of OpenMetrics 1.0.
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The type of a text in the older form.
pub(super) const PROMETHEUS: &str = prometheus_text::CONTENT_TYPE;

/// All metrics of a snapshot, in one of the two forms.
///
/// # Errors
/// None that is known: a text takes whatever is written to it.
pub(super) fn text(snapshot: Arc<Snapshot>, open_metrics: bool) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics(snapshot)));
    let mut text = String::new();
    if open_metrics {
        text::encode(&mut text, &registry)?;
    } else {
        prometheus_text::encode(&mut text, &registry)?;
    }
    Ok(text)
}

#[derive(Debug)]
struct Metrics(Arc<Snapshot>);

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Writes one family after the other.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counters<'s>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'s>, u64)>,
    ) -> Result<(), fmt::Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_counter(&value, None::<&Exemplar<NoLabelSet, f64>>)?;
        }
        Ok(())
    }

    fn gauges<'s>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'s>, f64)>,
    ) -> Result<(), fmt::Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn histograms<'s>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'s>, &'s Histogram)>,
    ) -> Result<(), fmt::Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, Histogram { count, sum, buckets }) in samples {
            // Here each bucket has what the ones before it do not have, and the last one the rest.
            let mut before = 0;
            let mut own: Vec<_> = buckets
                .iter()
                .map(|bucket| (bucket.le, bucket.count.saturating_sub(std::mem::replace(&mut before, bucket.count))))
                .collect();
            own.push((f64::INFINITY, count.saturating_sub(before)));
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(*sum, *count, &own, None)?;
        }
        Ok(())
    }
}

impl Families<'_> {
    fn statsd(&mut self, statsd: &Statsd) -> Result<(), fmt::Error> {
        let one = |value| [(Vec::new(), value)];
        self.counters("kadabra_statsd_datagrams", "Datagrams of clients of statsd that were read", one(statsd.datagrams))?;
        self.counters(
            "kadabra_statsd_datagrams_dropped",
            "Datagrams that the kernel dropped since they were not read soon enough",
            one(statsd.dropped_by_kernel),
        )?;
        self.counters("kadabra_statsd_aggregated", "Metrics that are part of a message", one(statsd.aggregated))?;
        self.counters("kadabra_statsd_ignored", "Events and service checks", one(statsd.ignored))?;
        let refused = statsd.refused.iter().map(|it| (vec![("reason", it.name.as_str())], it.count));
        self.counters(
            "kadabra_statsd_refused",
            "Metrics, and datagrams that were too long, that were not taken, by reason",
            refused,
        )?;
        self.counters("kadabra_statsd_messages", "Messages made of it that the channel has", one(statsd.queued))
    }
}

fn of(publisher: &Publisher) -> Labels<'_> {
    vec![("publisher", publisher.name.as_deref().unwrap_or_default())]
}

fn and<'a>(mut labels: Labels<'a>, name: &'static str, value: &'a str) -> Labels<'a> {
    labels.push((name, value));
    labels
}

fn by<'a>(publisher: &'a Publisher, name: &'static str, counted: &'a [Counted]) -> impl Iterator<Item = (Labels<'a>, u64)> {
    counted.iter().map(move |counted| (and(of(publisher), name, &counted.name), counted.count))
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Snapshot { agent, channel, publishers, statsd, actors, .. } = self.0.as_ref();
        let mut families = Families(encoder);
        let tally = |value: fn(&Publisher) -> Option<u64>| publishers.iter().filter_map(move |it| Some((of(it), value(it)?)));
        families.counters(
            "kadabra_messages_accepted",
            "Messages whose push was answered, with those found at the start",
            tally(|it| it.tally.accepted),
        )?;
        families.counters(
            "kadabra_messages_leased",
            "Messages taken off the channel under a lease, each time anew",
            tally(|it| Some(it.tally.leased)),
        )?;
        families.counters(
            "kadabra_messages_published",
            "Messages done and not set aside",
            tally(|it| Some(it.tally.published)),
        )?;
        families.counters("kadabra_messages_parked", "Messages set aside as dead letters", tally(|it| Some(it.tally.parked)))?;
        families.counters(
            "kadabra_messages_given_back",
            "Messages given back to the channel, to be leased again",
            tally(|it| Some(it.tally.given_back)),
        )?;
        families.counters(
            "kadabra_messages_dropped",
            "Messages dropped for want of room, or deleted, before they were published",
            tally(|it| Some(it.tally.dropped.saturating_add(it.tally.backlog_dropped))),
        )?;
        let gauge = |value: fn(&Publisher) -> Option<f64>| publishers.iter().filter_map(move |it| Some((of(it), value(it)?)));
        families.gauges(
            "kadabra_messages_waiting",
            "Messages accepted and not done, in hand or not",
            gauge(|it| it.tally.waiting.or(it.waiting).map(|n| n as f64)),
        )?;
        families.gauges(
            "kadabra_messages_in_flight",
            "Messages leased and not settled",
            gauge(|it| Some(it.tally.in_flight as f64)),
        )?;
        families.gauges(
            "kadabra_messages_unaccounted",
            "Messages that the tally does not account for; anything but 0 is a fault of the agent",
            gauge(|it| Some(it.tally.difference as f64)),
        )?;
        families.counters("kadabra_points_written", "Points written", tally(|it| Some(it.points_written)))?;
        families.counters(
            "kadabra_points_refused",
            "Points not written, by reason",
            publishers.iter().flat_map(|it| by(it, "reason", &it.points_refused)),
        )?;
        families.counters(
            "kadabra_retries",
            "Attempts to write that failed and are repeated, by cause",
            publishers.iter().flat_map(|it| by(it, "cause", &it.retries)),
        )?;
        families.histograms(
            "kadabra_publish_seconds",
            "Time to write a batch, all attempts together",
            publishers.iter().map(|it| (of(it), &it.publish_seconds)),
        )?;
        families.histograms(
            "kadabra_push_to_stored_seconds",
            "Time from the push of a batch's oldest message until it was stored",
            publishers.iter().map(|it| (of(it), &it.push_to_stored_seconds)),
        )?;
        let holds = publishers.iter().map(|it| {
            let code = it.hold.as_ref().map(|hold| hold.code.as_str());
            (and(of(it), "code", code.unwrap_or_default()), if code.is_some() { 1.0 } else { 0.0 })
        });
        families.gauges(
            "kadabra_hold",
            "Whether the publisher waits for something to be mended, by the code of what that is",
            holds,
        )?;
        families.gauges("kadabra_dead_letters", "Dead letters kept", gauge(|it| Some(it.dead_letters.kept() as f64)))?;
        families.counters(
            "kadabra_dead_letters_dropped",
            "Dead letters dropped for newer ones",
            tally(|it| Some(it.dead_letters.dropped)),
        )?;
        families.gauges(
            "kadabra_queue_oldest_age_seconds",
            "Age of the oldest message that waits",
            gauge(|it| it.oldest_age_seconds),
        )?;

        let canary = |value: fn(&Canary) -> Option<f64>| {
            publishers.iter().filter_map(move |it| Some((of(it), value(it.canary.as_ref()?)?)))
        };
        families.gauges(
            "kadabra_canary_up",
            "Whether the last point that was to come back from the database did",
            canary(|it| Some(if it.works { 1.0 } else { 0.0 })),
        )?;
        families.gauges(
            "kadabra_canary_seconds",
            "From the push of the last point that came back until it could be read",
            canary(|it| it.last_seconds),
        )?;
        families.counters(
            "kadabra_canary_failures",
            "Points that could not be pushed, or did not come back in time",
            publishers.iter().filter_map(|it| Some((of(it), it.canary.as_ref()?.failures))),
        )?;

        let one = |value: Option<f64>| value.map(|value| (Vec::new(), value));
        let count = |value: Option<u64>| one(value.map(|value| value as f64));
        families.gauges(
            "kadabra_queue_messages",
            "Messages that wait, for the publisher with the most",
            count(channel.messages),
        )?;
        let queues = |value: fn(&Queue) -> Option<f64>| {
            channel.queues.iter().filter_map(move |it| Some((vec![("queue", it.name.as_str())], value(it)?)))
        };
        families.gauges(
            "kadabra_each_queue_messages",
            "Messages that wait in each of several queues",
            queues(|it| it.messages.map(|n| n as f64)),
        )?;
        families.gauges(
            "kadabra_each_queue_oldest_age_seconds",
            "Age of the oldest message that waits in each of several queues",
            queues(|it| it.oldest_age_seconds),
        )?;
        families.gauges(
            "kadabra_each_queue_up",
            "Whether each of several queues can be used",
            queues(|it| Some(if it.trouble.is_none() { 1.0 } else { 0.0 })),
        )?;
        families.gauges("kadabra_queue_bytes", "Bytes used of kadabra_queue_max_bytes", count(channel.bytes))?;
        families.gauges("kadabra_queue_max_bytes", "How large the queue may be", count(channel.max_bytes))?;
        families.gauges("kadabra_clients_connected", "Clients connected to the agent", count(channel.clients))?;
        let refused =
            channel.refusals.iter().map(|it| (vec![("reason", it.reason.as_str()), ("unit", it.unit.as_str())], it.count));
        families.counters("kadabra_pushes_refused", "What was refused to clients, by reason", refused)?;
        if let Some(statsd) = statsd {
            families.statsd(statsd)?;
        }

        let restarts = actors.iter().flat_map(|actor| {
            actor.restarts.iter().map(|it| (vec![("actor", actor.name.as_str()), ("cause", it.name.as_str())], it.count))
        });
        families.counters("kadabra_actor_restarts", "Restarts of an actor, by cause", restarts)?;
        let progress = actors.iter().map(|actor| (vec![("actor", actor.name.as_str())], actor.last_progress_seconds));
        families.gauges("kadabra_actor_last_progress_seconds", "Time since an actor gave a sign of life", progress)?;

        families.gauges(
            "process_start_time_seconds",
            "When the process started, since the epoch",
            one(Some(agent.started.as_millisecond() as f64 / 1e3)),
        )?;
        families.gauges("process_resident_memory_bytes", "Memory that is resident", count(agent.memory_bytes))?;
        if let Some(seconds) = agent.cpu_seconds {
            let mut family = families.0.encode_descriptor("process_cpu_seconds", "CPU time", None, MetricType::Counter)?;
            family.encode_counter(&seconds, None::<&Exemplar<NoLabelSet, f64>>)?;
        }
        let mut build = families.0.encode_descriptor("kadabra_build", "The version", None, MetricType::Info)?;
        build.encode_info(&vec![("version", agent.version.as_str())])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use super::*;

    /// With several queues, of which one cannot be used.
    fn example() -> Arc<Snapshot> {
        let mut example = Snapshot::example();
        let queue = |name: &str, trouble: Option<&str>| Queue {
            name: name.to_owned(),
            messages: Some(3),
            in_hand: Some(1),
            oldest_age_seconds: Some(0.5),
            trouble: trouble.map(str::to_owned),
        };
        example.channel.queues = vec![queue("web", None), queue("jobs", Some("it is full"))];
        Arc::new(example)
    }

    #[test]
    fn promtool_has_nothing_to_say() {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool is missing; install Debian's prometheus");
        promtool.stdin.take().unwrap().write_all(text(example(), false).unwrap().as_bytes()).unwrap();
        let said = promtool.wait_with_output().unwrap();
        assert!(said.status.success() && said.stderr.is_empty() && said.stdout.is_empty(), "{said:?}");
    }

    #[test]
    fn each_scrape_balances_and_is_whole_in_both_forms() {
        let text_of = text(example(), false).unwrap();
        let mut values: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for line in text_of.lines().filter(|line| line.starts_with("kadabra_messages")) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap();
            values.insert((labels, name), value.parse().unwrap());
        }
        let publishers: BTreeSet<_> = values.keys().map(|(labels, _)| *labels).collect();
        assert!(!publishers.is_empty());
        for of in publishers {
            let value = |name: &str| values[&(of, name)];
            let done = value("kadabra_messages_published_total") + value("kadabra_messages_parked_total");
            let all = done + value("kadabra_messages_dropped_total") + value("kadabra_messages_waiting");
            assert_eq!(value("kadabra_messages_accepted_total"), all, "{of}");
            assert_eq!(value("kadabra_messages_unaccounted"), 0.0);
        }
        let open = text(example(), true).unwrap();
        assert!(open.ends_with("# EOF\n") && open.contains("kadabra_build_info{version="), "{open}");
        assert!(text_of.contains("kadabra_publish_seconds_bucket{le=\"+Inf\",publisher=\"") || text_of.contains("le=\"+Inf\""));
    }

    #[test]
    fn the_documentation_has_every_metric() {
        let page = include_str!("../../docs/status.md");
        let text = text(example(), false).unwrap();
        let named: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let documented: BTreeSet<_> =
            page.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next()).collect();
        for name in &named {
            assert!(documented.contains(name), "docs/status.md has no line for {name}");
        }
        for name in documented.iter().filter(|name| name.starts_with("kadabra_") || name.starts_with("process_")) {
            assert!(named.contains(name), "there is no {name}");
        }
    }

    /// What the dashboard and the alerts ask for.
    #[test]
    fn every_metric_that_comes_with_the_agent_is_there() {
        let text = text(example(), false).unwrap();
        for asking in [include_str!("../../conf/prometheus/kadabra.rules.yml"), include_str!("../../conf/grafana/kadabra.json")] {
            let words = asking.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            for name in words.filter(|word| word.starts_with("kadabra_") || word.starts_with("process_")) {
                let is_there = text.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
                assert!(is_there, "{name}");
            }
        }
    }
}
