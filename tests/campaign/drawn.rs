//! What the draws can bring: every fault, and every fail point that the agent has.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    arguments::{Channel, Settled, UPGRADED},
    publishers::{Kind, Publisher},
    schedule,
};

/// How many seeds are drawn. Nothing is run, so many are soon looked through.
const SEEDS: u64 = 300;

/// What each fault says of itself, as far as it is always the same.
const FAULTS: [&str; 31] = [
    "Agent: killed",
    "Agent: told to end",
    "Agent: told to end twice",
    "Agent: frozen",
    "Clock: 5 h ahead",
    "Clock: 5 h behind",
    "Redis: killed",
    "Redis: frozen",
    "Redis: connections closed",
    "Redis: clients paused",
    "Redis: scripts flushed",
    "Redis: full",
    "Redis: read-only",
    "Destination: killed",
    "Destination: told to end",
    "Destination: frozen",
    "Destination: database dropped",
    "Destination: wants a login",
    "WayToQueue: ms longer",
    "WayToQueue: B/s",
    "WayToQueue: every request",
    "WayToQueue: every answer",
    "WayToQueue: half-open, delivered late",
    "WayToQueue: half-open, then reset",
    "WayToQueue: answers",
    "WayToQueue: answers without end",
    "WayToQueue: trickles",
    "WayToDestination: 1 GB of headers",
    "WayToDestination: answers",
    "WayToDestination: answers without end",
    "WayToDestination: trickles",
];

/// What the embedded channel has besides.
const EMBEDDED: [&str; 8] = [
    "Agent: killed",
    "Agent: told to end",
    "Agent: frozen",
    "Clock: 5 h ahead",
    "Disk: full",
    "Destination: killed",
    "WayToQueue: every request",
    "WayToDestination: trickles",
];

/// What a primary and a replica that Sentinels watch have besides.
const SENTINEL: [&str; 11] = [
    "Agent: frozen",
    "Redis: killed for",
    "Redis: frozen",
    "Redis: failed over by command",
    "Redis: without a replica",
    "Redis: replica frozen",
    "Redis: a Sentinel frozen",
    "Redis: connections closed",
    "Redis: clients paused",
    "Redis: scripts flushed",
    "Redis: full",
];

/// What a cluster has besides.
const CLUSTER: [&str; 10] = [
    "Agent: frozen",
    "Redis: killed for",
    "Redis: frozen",
    "Redis: failed over by command",
    "Redis: taken over by its replica",
    "Redis: without a replica",
    "Redis: replica frozen",
    "Redis: slot moved",
    "Redis: scripts flushed",
    "WayToQueue: half-open, delivered late",
];

/// What there is with other databases, the only one or among several.
const OTHERS: [&str; 6] = [
    "Destination(0): answers late",
    "Destination(1): stores and does not answer",
    "Destination(2): database dropped",
    "Destination(2): wants a login",
    "WayToDestination(1): half-open, delivered late",
    "WayToDestination(2): 1 GB of headers",
];

/// Fails when a fault cannot happen, or when a fail point of the agent is not drawn, or when one is drawn that is none.
pub(crate) fn check() {
    let mut points = BTreeSet::new();
    let runs = [
        (Channel::Redis, None, 1, &FAULTS[..]),
        (Channel::Redis, Some(UPGRADED), 1, &["Redis: upgraded", "Redis: killed", "Agent: killed"]),
        (Channel::Embedded, None, 1, &EMBEDDED),
        (Channel::Sentinel, None, 1, &SENTINEL),
        (Channel::Cluster, None, 1, &CLUSTER),
        (Channel::Redis, None, 3, &OTHERS),
        (Channel::Embedded, None, 3, &OTHERS),
    ];
    for (channel, redis, publishers, wanted) in runs {
        let mut faults = BTreeSet::new();
        for seed in 0..SEEDS {
            let publishers = match publishers {
                1 => Publisher::only(Kind::Influxdb),
                count => Publisher::several(seed, count, channel),
            };
            let settled = Settled { channel, redis, publishers, queues: 1, when_full: "refuse", seconds: 60, seed };
            let schedule = schedule::draw(&settled, Duration::from_secs(settled.seconds));
            faults.extend(schedule.events.iter().map(|event| event.to_string()));
            for (name, value) in (1..6).flat_map(|life| schedule::draw_life(&settled, 1, life)) {
                if name == "FAILPOINTS" {
                    points.extend(value.split(';').map(|point| point.split('=').next().unwrap().to_owned()));
                }
            }
        }
        for fault in wanted {
            let (lane, what) = fault.split_once(": ").unwrap();
            let drawn = |event: &String| event.contains(&format!(" {lane}")) && event.contains(what);
            assert!(faults.iter().any(drawn), "{fault}: this is never drawn over {channel:?}");
        }
    }
    let mut there = fail_points(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    // Those that one message sets off and another does not; tests/panics.rs has each.
    there.retain(|name| !name.starts_with("decoder.") && !name.starts_with("encoder."));
    // Nothing is replayed in a campaign; tests/several/dead_letters.rs kills an agent there.
    there.remove("queue.replay");
    // The agents of a campaign serve no status page; tests/status_http.rs has one fail, and tests/status_history.rs its file.
    there.remove("web.serve");
    there.remove("history.write");
    // They have no canary and take nothing of statsd either, and nobody replays by HTTP; tests/status_canary.rs, tests/statsd.rs and
    // tests/status_actions.rs have these fail.
    there.retain(|name| !name.starts_with("statsd.") && !name.starts_with("canary."));
    there.remove("agent.letter.error");
    // Nothing is reloaded in a campaign; tests/reload.rs does so under load, and has it fail.
    there.remove("agent.reload");
    // It is not the agent that draws; tests/status_commands.rs has it fail.
    there.remove("top.drawn");
    assert_eq!(points, there, "the fail points that are drawn, and those of the agent");
    eprintln!("all kinds of faults and all {} fail points are drawn: {there:?}", there.len());
}

/// The names of all fail points in the agent's source.
fn fail_points(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            names.append(&mut fail_points(&path));
        } else {
            names.extend(fail_points_of(&path));
        }
    }
    names
}

fn fail_points_of(file: &PathBuf) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let marks = ["fail_point!(\"", "stall_point!(\"", "failing(\""];
    let after_marks = marks.iter().flat_map(|mark| text.split(mark).skip(1));
    after_marks.map(|after| after.split('"').next().unwrap().to_owned()).collect()
}
