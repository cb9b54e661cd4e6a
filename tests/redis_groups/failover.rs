//! A primary that is cut off from its Sentinels and its replica, or from the agent, while messages wait and are written; and how much of
//! what clients were answered a failover loses.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use redis::{Commands as _, Connection};

use super::{Q, assert_stored, influxd, sentinel_channel, waits_at};
use crate::support::{
    agent::Agent,
    pipeline::{PATIENCE, config_of, numbered},
    process::wait_for,
    redis_groups::{MASTER_NAME, SentinelGroup, push_until_answered, push_until_replicated},
};

/// How long it may take from when Sentinels name another primary until what is pushed there is stored: a second until the agent hears of
/// it, one for a call that is under way, and what a busy machine takes.
const FOUND_WITHIN: Duration = Duration::from_secs(8);

#[test]
fn a_primary_that_is_cut_off_in_the_middle_of_a_drain_is_left_for_the_promoted_one_and_loses_and_doubles_nothing() {
    // Whether the agent reaches it still, which so goes on to take and settle what all others forget.
    for agent_reaches_it in [true, false] {
        let group = SentinelGroup::with_a_way_to_the_primary(&[]);
        let influxd = influxd();
        let config = config_of(&sentinel_channel(&group.nodes(), ""), &influxd.url()) + "[batch]\nmax_messages = 50\n";
        let mut agent = Agent::start(&config);
        agent.wait_log("receiving");
        influxd.pause();
        push_until_replicated(Q, 0..1000, || group.connect_to_primary());
        influxd.resume();
        wait_for("the drain to begin", PATIENCE, || (!influxd.values("numbered").is_empty()).then_some(()));
        group.way().cut(true, !agent_reaches_it);
        wait_for("another primary", PATIENCE, || (group.primary() == 1).then_some(()));
        let begun = Instant::now();
        push_until_answered(Q, 1000..1100, || group.connect_to_primary());
        assert_stored(&influxd, 1100);
        let took = begun.elapsed();
        eprintln!("found {took:?} after the failover");
        assert!(took < FOUND_WITHIN, "found only {took:?} after the failover");
        // It is there again, with what it thinks, and becomes a replica.
        group.way().cut(false, false);
        push_until_replicated(Q, 1100..1200, || group.connect_to_primary());
        assert_stored(&influxd, 1200);
        influxd.assert_written(0..1200);
        assert_eq!(agent.terminate(PATIENCE), Some(0));
    }
}

#[test]
fn an_agent_that_is_cut_off_from_the_primary_alone_waits_and_goes_on_where_it_was() {
    let group = SentinelGroup::with_a_way_to_the_primary(&[]);
    let influxd = influxd();
    let mut agent = Agent::start(&config_of(&sentinel_channel(&group.nodes(), ""), &influxd.url()));
    agent.wait_log("receiving");
    push_until_answered(Q, 0..100, || group.connect_to_primary());
    assert_stored(&influxd, 100);
    group.way().cut(false, true);
    push_until_answered(Q, 100..200, || Some(group.servers[0].connection()));
    let said = agent.wait_condition("channel").to_string();
    assert!(said.contains("no answer within") || said.contains("cannot connect"), "{said}");
    assert_eq!(group.primary(), 0, "the Sentinels reach it");
    group.way().cut(false, false);
    let begun = Instant::now();
    assert_stored(&influxd, 200);
    assert!(begun.elapsed() < FOUND_WITHIN, "{:?}", begun.elapsed());
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_failover_that_is_asked_for_in_the_middle_of_a_drain_loses_and_doubles_nothing() {
    let group = SentinelGroup::start();
    let influxd = influxd();
    let mut agent = Agent::start(&config_of(&sentinel_channel(&group.nodes(), ""), &influxd.url()));
    agent.wait_log("receiving");
    for round in 0..2 {
        // The old primary answers on, as a replica to which nothing can be written (READONLY).
        let old = group.primary();
        influxd.pause();
        push_until_replicated(Q, round * 1000..round * 1000 + 1000, || group.connect_to_primary());
        influxd.resume();
        // NOGOODSLAVE until that Sentinel has heard of the replica.
        wait_for("a failover to begin", PATIENCE, || {
            redis::cmd("SENTINEL").arg(&["FAILOVER", MASTER_NAME]).query::<()>(&mut group.connect_to_sentinel(0)).ok()
        });
        wait_for("another primary", PATIENCE, || (group.primary() != old).then_some(()));
        assert_stored(&influxd, round * 1000 + 1000);
        group.wait_until_all_is_well();
    }
    influxd.assert_written(0..2000);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_failover_that_undoes_that_messages_were_leased_is_said_and_they_are_leased_again() {
    let mut group = SentinelGroup::start();
    let influxd = influxd();
    let mut agent = Agent::start(&config_of(&sentinel_channel(&group.nodes(), ""), &influxd.url()));
    agent.wait_log("receiving");
    // The replica has the messages, and not that they are leased.
    agent.signal("STOP");
    push_until_replicated(Q, 0..100, || group.connect_to_primary());
    group.servers[1].pause();
    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "replica"]).query::<u64>(&mut group.servers[0].connection()).unwrap();
    influxd.pause();
    agent.signal("CONT");
    wait_for("all to be leased", PATIENCE, || (waits_at(&group.servers[0], Q) == (0, 1)).then_some(()));
    group.servers[0].wait_until_renewed(&format!("{{{Q}}}:leases"));
    group.servers[0].kill9();
    group.servers[1].resume();
    // Only then, since a completion that was tried before and not answered may have been done.
    agent.wait_log("channel works again, after ");
    influxd.resume();
    let said = agent.wait_log("leases had expired, or a failover had undone them, before they were completed");
    assert_eq!(said["code"], "K304", "{said}");
    assert_stored(&influxd, 100);
    influxd.assert_written(0..100);
    wait_for("the queue to be empty", PATIENCE, || (waits_at(&group.servers[1], Q) == (0, 0)).then_some(()));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let lines = agent.log_lines();
    let ledger = lines.iter().rfind(|line| line.get("leased").is_some()).unwrap();
    let counts = ["leased", "published", "given_back", "lost"].map(|name| ledger[name].as_u64().unwrap());
    let all = said["messages"].as_u64().unwrap();
    assert_eq!(counts, [2 * all, all, all, all], "{ledger}");
}

/// What a failover did to pushes that were answered.
#[derive(Debug, Default)]
struct Loss {
    answered: usize,
    refused: usize,
    /// Answered, and never stored.
    lost: usize,
}

/// Pushes about a thousand a second, from a second before a failover until a second after it, as a client that asks Sentinels for the primary
/// again all the time. `cut`: the primary is cut off from Sentinels and replica and not killed. `writes`: the agent can write
/// meanwhile, and so saves some of what it took from the old primary.
fn fail_over(arguments: &[&str], cut: bool, writes: bool) -> Loss {
    let mut group = SentinelGroup::with_a_way_to_the_primary(arguments);
    let influxd = influxd();
    let mut agent = Agent::start(&config_of(&sentinel_channel(&group.nodes(), ""), &influxd.url()));
    agent.wait_log("receiving");
    if !writes {
        influxd.pause();
    }
    let (over, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let urls = group.urls();
    let (answered, refused) = thread::scope(|scope| {
        let pushes = scope.spawn({
            let (over, is_over) = (&over, &is_over);
            move || {
                let (mut answered, mut refused, mut number) = (HashSet::new(), 0, 0);
                let mut connections: [Option<Connection>; 2] = [None, None];
                while !over.load(Ordering::SeqCst) {
                    let server = usize::from(is_over.load(Ordering::SeqCst));
                    let connection = match &mut connections[server] {
                        Some(connection) => connection,
                        none => match connect(&urls[server]) {
                            Some(new) => none.insert(new),
                            None => {
                                thread::sleep(Duration::from_millis(1));
                                continue;
                            }
                        },
                    };
                    let message = numbered(number);
                    match connection.lpush::<_, _, usize>(Q, &message) {
                        Ok(_) => drop(answered.insert(number)),
                        Err(error) => {
                            refused += 1;
                            if error.is_io_error() {
                                connections[server] = None;
                            }
                        }
                    }
                    number += 1;
                    thread::sleep(Duration::from_millis(1));
                }
                (answered, refused)
            }
        });
        thread::sleep(Duration::from_secs(1));
        if cut {
            group.way().cut(true, false);
        } else {
            group.servers[0].kill9();
        }
        wait_for("another primary", PATIENCE, || (group.primary() == 1).then_some(()));
        is_over.store(true, Ordering::SeqCst);
        thread::sleep(Duration::from_secs(1));
        over.store(true, Ordering::SeqCst);
        pushes.join().unwrap()
    });
    // It comes back, and in the end is a replica: with `min-replicas-to-write` the new primary takes nothing before.
    if cut {
        group.way().cut(false, false);
    } else {
        group.servers[0].restart();
    }
    if !writes {
        influxd.resume();
    }
    wait_for("the queue to be empty", PATIENCE, || (waits_at(&group.servers[1], Q) == (0, 0)).then_some(()));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let stored = influxd.values("numbered");
    let distinct: HashSet<u64> = stored.iter().copied().collect();
    assert_eq!(stored.len(), distinct.len(), "doubled");
    Loss { answered: answered.len(), refused, lost: answered.difference(&distinct).count() }
}

fn connect(url: &str) -> Option<Connection> {
    let connection = redis::Client::open(url).ok()?.get_connection_with_timeout(Duration::from_millis(100)).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    Some(connection)
}

/// With the number of failovers of each kind in `KADABRA_TEST_ROUNDS` this is the table in `docs/redis.md`: by `cargo test`, which ends no
/// test for its time, with `--nocapture`.
#[test]
fn what_a_failover_loses_is_what_the_replica_had_not_and_min_replicas_bounds_it() {
    const MIN_REPLICAS: &[&str] = &["--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"];
    let rounds = std::env::var("KADABRA_TEST_ROUNDS").ok().map(|rounds| rounds.parse::<u32>().unwrap());
    let of_a_suite = [(&[][..], false, true), (MIN_REPLICAS, true, false)];
    let others = [(MIN_REPLICAS, false, true), (&[], true, false), (&[], true, true), (MIN_REPLICAS, true, true)];
    for (arguments, cut, writes) in of_a_suite.into_iter().chain(others.into_iter().filter(|_| rounds.is_some())) {
        for _ in 0..rounds.unwrap_or(1) {
            let begun = Instant::now();
            let loss = fail_over(arguments, cut, writes);
            let what = if cut { "cut off" } else { "killed" };
            println!("{what}, writes: {writes}, {arguments:?}: {loss:?} in {:?}", begun.elapsed());
            assert!(loss.lost < loss.answered, "{loss:?}");
            // Refused once the replica has not been heard of for two seconds: its lag is counted in whole ones.
            assert!(!cut || arguments.is_empty() || loss.refused > 0, "{loss:?}");
        }
    }
}
