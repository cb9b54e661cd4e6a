//! Snapshots for tests: of an agent with something of everything, and of one that is held.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::*;

/// A name as only somebody who means harm would give it.
pub(super) const HOSTILE: &str = "<script>alert(\"1\")</script>&'`${x}\u{202e}\n";

fn ago(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(at)
}

fn counted(counts: &[(&str, u64)]) -> Vec<Counted> {
    counts.iter().map(|(name, count)| Counted { name: (*name).to_owned(), count: *count }).collect()
}

fn histogram(seconds: f64, count: u64) -> Histogram {
    let below = |le: f64| {
        if le < seconds {
            0
        } else if le < seconds * 3.0 {
            count * 9 / 10
        } else {
            count
        }
    };
    let buckets = BOUNDS.iter().map(|le| Bucket { le: *le, count: below(*le) }).collect();
    Histogram { count, sum: seconds * count as f64, buckets }
}

impl Snapshot {
    /// An agent with two publishers that works, and of which an operator should look at some things.
    #[must_use]
    pub fn example() -> Self {
        let at = Timestamp::from_second(1_795_752_000).unwrap_or(Timestamp::UNIX_EPOCH);
        let warning = |code: &str, what: &str, publisher: Option<&str>| Trouble {
            code: code.to_owned(),
            what: what.to_owned(),
            now: Some("12 messages wait, 4 of them in hand, the oldest for 6m 10s".to_owned()),
            remedy: Some("see why they are not published sooner".to_owned()),
            since: ago(at, 70),
            lasted_seconds: 70.0,
            attempts: 14,
            warning: true,
            publisher: publisher.map(str::to_owned),
        };
        let troubles = vec![
            warning("K315", "messages wait long in /var/lib/kadabra/queue.db", Some("metrics")),
            warning("K425", "clients spoke HTTP to the channel and were cut off", None),
        ];
        let publishers = vec![publisher(at, "influx", "influxdb", 12), publisher(at, "metrics", "victoriametrics", 0)];
        Self {
            version: VERSION,
            at,
            agent: Agent {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                host: "app-1".to_owned(),
                pid: 4711,
                started: ago(at, 93_784),
                uptime_seconds: 93_784.25,
                state: AgentState::Running,
                systemd: Some("publishing to influxdb http://localhost:8086 database kadabra".to_owned()),
                memory_bytes: Some(12_345_678),
                cpu_seconds: Some(321.5),
            },
            verdict: Verdict {
                level: Level::Attention,
                code: Some("K315".to_owned()),
                sentence: "messages wait long in /var/lib/kadabra/queue.db".to_owned(),
                remedy: Some("see why they are not published sooner".to_owned()),
            },
            troubles,
            channel: Channel {
                kind: ChannelKind::Embedded,
                place: "/var/lib/kadabra/queue.db".to_owned(),
                accepted: Some(1_000_000),
                found: Some(17),
                messages: Some(12),
                in_hand: Some(4),
                bytes: Some(734_003_200),
                max_bytes: Some(1_073_741_824),
                max_messages: None,
                oldest_age_seconds: Some(370.5),
                warn_age_seconds: Some(150.0),
                full_in_seconds: Some(32_400.0),
                full_in: Some("full in 9h".to_owned()),
                damaged: 0,
                clients: Some(8),
                max_clients: Some(1024),
                when_full: Some("refuse".to_owned()),
                refusals: vec![
                    refused("queue_full", "K401", "what clients push is refused", 0, "pushes", None),
                    refused("http", "K425", "clients spoke HTTP to the channel and were cut off", 3, "clients", Some(12.0)),
                ],
                queues: Vec::new(),
            },
            publishers,
            statsd: Some(Statsd {
                datagrams: 5000,
                aggregated: 4990,
                ignored: 6,
                refused: vec![Counted { name: "type".to_owned(), count: 4 }],
                dropped_by_kernel: 3,
                queued: 12,
            }),
            actors: actors(at),
            history: history(at),
            seen: seen(at),
            configuration: "# from /etc/kadabra/kadabra.toml\n\n[publisher]\ntype = \"influxdb\"\npassword = \"***\"\n"
                .to_owned(),
        }
    }

    /// An agent whose database refuses the login.
    #[must_use]
    pub fn example_held() -> Self {
        let mut held = Self::example();
        let what = "influxdb http://localhost:8086 refuses the login (401): \"authorization failed\"";
        let remedy = "set the right password in [publisher.influxdb]; it goes on by itself";
        let since = ago(held.at, 240);
        let hold = Trouble {
            code: "K205".to_owned(),
            what: what.to_owned(),
            now: None,
            remedy: Some(remedy.to_owned()),
            since,
            lasted_seconds: 240.0,
            attempts: 33,
            warning: false,
            publisher: Some("influx".to_owned()),
        };
        held.troubles.insert(0, hold);
        held.agent.state = AgentState::Held;
        held.verdict = Verdict {
            level: Level::Held,
            code: Some("K205".to_owned()),
            sentence: format!("held for 4m: influx: {what}"),
            remedy: Some(remedy.to_owned()),
        };
        if let Some(publisher) = held.publishers.first_mut() {
            publisher.hold = Some(Hold {
                code: "K205".to_owned(),
                what: what.to_owned(),
                remedy: Some(remedy.to_owned()),
                since,
                lasted_seconds: 240.0,
            });
        }
        held.history.marks.push(Mark { at: since, kind: MarkKind::Hold, what: what.to_owned() });
        held
    }
}

fn refused(reason: &str, code: &str, what: &str, count: u64, unit: &str, lasting_seconds: Option<f64>) -> RefusedToClients {
    RefusedToClients {
        reason: reason.to_owned(),
        code: code.to_owned(),
        what: what.to_owned(),
        why: None,
        count,
        unit: unit.to_owned(),
        lasting_seconds,
    }
}

fn publisher(at: Timestamp, name: &str, kind: &str, dead: u64) -> Publisher {
    let (waiting, accepted) = (12, 1_000_017);
    Publisher {
        name: Some(name.to_owned()),
        kind: kind.to_owned(),
        destination: format!("{kind} http://localhost:8086 database kadabra"),
        required: name == "influx",
        proven: true,
        tally: Tally {
            accepted: Some(accepted),
            found: 17,
            leased: accepted - 8,
            published: accepted - waiting - dead,
            parked: dead,
            given_back: 0,
            lost: 0,
            dropped: 0,
            waiting: Some(waiting),
            in_flight: 4,
            letters_dropped: 0,
            backlog_dropped: 0,
            difference: 0,
        },
        waiting: Some(waiting),
        in_hand: Some(4),
        max_backlog: Some(100_000),
        oldest_age_seconds: Some(0.3),
        points_written: 5 * accepted,
        points_refused: counted(&[("unreadable", 0), ("guard", 0), ("destination", dead)]),
        retries: counted(&[("away", 7), ("hold", 0)]),
        batches: 20_000,
        requests: 20_007,
        requests_per_second: 19.6,
        messages_per_second: 1_240.0,
        linger_seconds: 0.05,
        batches_in_flight: 1,
        max_batches_in_flight: 4,
        publish_seconds: histogram(0.004, 20_000),
        push_to_stored_seconds: histogram(0.04, 20_000),
        last_success: Some(ago(at, 1)),
        last_error: Some(LastError { at: ago(at, 3_600), what: "cannot connect to http://localhost:8086: refused".to_owned() }),
        hold: None,
        dead_letters: DeadLetters {
            count: Some(dead),
            max: Some(100_000),
            parked: dead,
            dropped: 0,
            by_reason: if dead == 0 {
                Vec::new()
            } else {
                vec![DeadLetterReason {
                    reason: "userSignup: InfluxDB refused it: field type conflict".to_owned(),
                    example: format!("{HOSTILE}: InfluxDB refused it: partial write: field type conflict: input field \"value\""),
                    count: dead,
                    newest: ago(at, 180),
                }]
            },
            other: 0,
        },
        canary: (dead == 0).then(|| Canary {
            rounds: 311,
            failures: 2,
            last_seconds: Some(1.25),
            last_success: Some(ago(at, 12)),
            works: true,
        }),
    }
}

fn actors(at: Timestamp) -> Vec<Actor> {
    let event = |seconds, kind, what: &str| ActorEvent { at: ago(at, seconds), kind, what: what.to_owned() };
    let actor = |role: &str, number: &str, publisher: Option<&str>, restarted: u64| Actor {
        name: format!("{role}{number}{}", publisher.map(|of| format!(" of {of}")).unwrap_or_default()),
        role: role.to_owned(),
        publisher: publisher.map(str::to_owned),
        thread: "intake".to_owned(),
        state: ActorState::Up,
        life: 1 + restarted,
        state_seconds: 300.0,
        restarts: counted(&[("panicked", restarted), ("stopped", 0), ("hung", 0), ("thread-gone", 0), ("no-thread", 0)]),
        budget: Budget { used: restarted, max: 10 },
        last_progress_seconds: 0.4,
        at: (role == "publisher").then(|| "writing to the destination".to_owned()),
        at_seconds: (role == "publisher").then_some(0.002),
        events: if restarted > 0 {
            vec![
                event(300, EventKind::Up, "life 2"),
                event(301, EventKind::Failed, "panicked: index out of bounds"),
                event(93_784, EventKind::Up, "life 1"),
            ]
        } else {
            vec![event(93_784, EventKind::Up, "life 1")]
        },
    };
    let mut actors = Vec::new();
    for of in [Some("influx"), Some("metrics")] {
        actors.push(actor("receiver", "", of, 0));
        actors.push(actor("batcher", "", of, u64::from(of == Some("influx"))));
        actors.push(actor("publisher", " 1", of, 0));
        actors.push(actor("nanny", "", of, 0));
    }
    actors.push(actor("listener", "", None, 0));
    actors
}

fn history(at: Timestamp) -> History {
    let point = |back: i64| {
        let wave = (back as f64 / 20.0).sin();
        HistoryPoint {
            at: ago(at, back * 10),
            accepted_per_second: 1_000.0 + 300.0 * wave,
            stored_per_second: if (40..60).contains(&back) { 0.0 } else { 1_000.0 + 290.0 * wave },
            oldest_age_seconds: Some(if (40..60).contains(&back) { (60 - back) as f64 * 10.0 } else { 0.1 }),
            publish_p50_seconds: (!(40..60).contains(&back)).then_some(0.004),
            publish_p99_seconds: (!(40..60).contains(&back)).then_some(0.02 + 0.01 * wave),
            messages: Some(if (40..60).contains(&back) { 10_000 } else { 12 }),
        }
    };
    History {
        every_seconds: 10,
        // A restart of the agent took two minutes.
        points: (0..360).rev().filter(|back| !(200..212).contains(back)).map(point).collect(),
        marks: vec![
            Mark { at: ago(at, 2_000), kind: MarkKind::Started, what: "the agent started".to_owned() },
            Mark { at: ago(at, 600), kind: MarkKind::Hold, what: "influxdb refuses the login".to_owned() },
            Mark { at: ago(at, 400), kind: MarkKind::Released, what: "publisher works again".to_owned() },
            Mark { at: ago(at, 301), kind: MarkKind::Restart, what: "batcher of influx panicked".to_owned() },
        ],
    }
}

fn seen(at: Timestamp) -> Seen {
    let series = |metric: &str, host: &str, kind, back: i64| SeenSeries {
        metric: metric.to_owned(),
        dimensions: BTreeMap::from([("host".to_owned(), host.to_owned()), ("method".to_owned(), "GET".to_owned())]),
        kind,
        unit: (kind == SeenKind::Timer).then(|| "milliseconds".to_owned()),
        count: 12_000,
        per_second: 4.2,
        mean: Some(12.5),
        p95: Some(48.0),
        last: Some(9.0),
        last_seen: ago(at, back),
        spark: (0..30).map(|place| place * 7 % 20).collect(),
    };
    Seen {
        counted: true,
        series: vec![
            series("requests", "app-1", SeenKind::Counter, 0),
            series("duration", "app-1", SeenKind::Timer, 1),
            series(HOSTILE, HOSTILE, SeenKind::Counter, 30),
        ],
        other: 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_as_it_was() {
        for snapshot in [Snapshot::example(), Snapshot::example_held()] {
            let json = serde_json::to_string_pretty(&snapshot).unwrap();
            assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
        }
    }

    #[test]
    fn the_words_of_the_document_do_not_change() {
        let json = serde_json::to_value(Snapshot::example()).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = [
            "actors",
            "agent",
            "at",
            "channel",
            "configuration",
            "history",
            "publishers",
            "seen",
            "statsd",
            "troubles",
            "verdict",
            "version",
        ];
        assert_eq!(keys, expected);
        assert_eq!((&json["version"], &json["at"]), (&1.into(), &"2026-11-27T04:00:00Z".into()));
        assert_eq!((&json["verdict"]["level"], &json["actors"][0]["state"]), (&"attention".into(), &"up".into()));
    }
}
