//! Nothing lost, nothing doubled through kill -9.

use std::time::Duration;

use super::support::{
    pipeline::{PATIENCE, Pipeline},
    process::wait_for,
};

/// The sums that the agent says at its end.
fn ledger(lines: &[serde_json::Value]) -> (u64, u64) {
    let line = lines.iter().rfind(|line| line.get("leased").is_some()).expect("the agent says its ledger at the end");
    let count = |key: &str| line[key].as_u64().unwrap_or_else(|| panic!("{key} in {line}"));
    let accounted = count("published") + count("parked") + count("given_back") + count("in_flight");
    (count("leased"), accounted)
}

#[test]
fn an_agent_killed_while_it_drains_loses_and_doubles_nothing() {
    const MESSAGES: u64 = 20_000;
    let pipeline = Pipeline::start();
    pipeline.push_numbers(0..MESSAGES);
    // Small batches, so that the kill finds several leases in several states.
    let small = ("KADABRA_BATCH__MAX_MESSAGES", "500");

    for round in 1..=3 {
        let before = pipeline.written();
        let mut agent = pipeline.agent().env(small.0, small.1).start();
        let goal = before + 1500;
        wait_for("the drain to be under way", PATIENCE, || (pipeline.written() >= goal).then_some(()));
        agent.kill9();
        assert!(pipeline.left().queued > 0, "round {round}: killed too late to show anything");
    }

    let mut agent = pipeline.agent().env(small.0, small.1).start();
    pipeline.assert_all_written(0..MESSAGES);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let (leased, accounted) = ledger(&agent.log_lines());
    assert_eq!(leased, accounted, "the ledger balances");
}

#[test]
fn redis_killed_while_the_agent_drains_loses_and_doubles_nothing() {
    const MESSAGES: u64 = 5_000;
    let mut pipeline = Pipeline::start();
    pipeline.push_numbers(0..MESSAGES);
    let mut agent = pipeline.agent().env("KADABRA_BATCH__MAX_MESSAGES", "100").start();
    wait_for("the drain to be under way", PATIENCE, || (pipeline.written() >= 500).then_some(()));
    pipeline.redis.kill9();
    pipeline.redis.restart();
    pipeline.assert_all_written(0..MESSAGES);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let (leased, accounted) = ledger(&agent.log_lines());
    assert_eq!(leased, accounted, "the ledger balances");
}

#[test]
fn several_agents_share_a_queue_and_one_of_them_is_killed() {
    const MESSAGES: u64 = 10_000;
    let pipeline = Pipeline::start();
    let agent = |name: &str| pipeline.agent().env("KADABRA_AGENT__NAME", name).env("KADABRA_BATCH__MAX_MESSAGES", "50").start();
    let (mut one, mut other) = (agent("one"), agent("other"));
    pipeline.push_numbers(0..MESSAGES);
    wait_for("the drain to be under way", PATIENCE, || (pipeline.written() >= 500).then_some(()));
    one.kill9();
    pipeline.assert_all_written(0..MESSAGES);
    assert_eq!(other.terminate(Duration::from_secs(20)), Some(0));
}

#[test]
fn an_agent_that_slept_for_longer_than_its_lease_says_that_another_has_its_messages() {
    let pipeline = Pipeline::start();
    pipeline.influxd.pause();
    let agent = |name: &str| pipeline.agent().env("KADABRA_AGENT__NAME", name).env("KADABRA_CHANNEL__REDIS__LEASE", "3s").start();
    let sleeper = agent("sleeper");
    pipeline.push_numbers(0..10);
    wait_for("the messages to be leased", PATIENCE, || (pipeline.left().leases > 0 && pipeline.left().queued == 0).then_some(()));
    pipeline.redis.wait_until_renewed("{kadabra_queue}:leases");
    sleeper.signal("STOP");
    pipeline.influxd.resume();
    let other = agent("other");
    pipeline.assert_all_written(0..10);
    sleeper.signal("CONT");
    assert_eq!(sleeper.wait_log("leases had expired")["code"], "K304");
    pipeline.assert_all_written(0..10);
    drop(other);
}
