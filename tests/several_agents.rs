//! Several agents that share one queue.

use super::support::{
    agent::Agent,
    partition::Partition,
    pipeline::{DATABASE, Left, PATIENCE, Pipeline, config},
    process::wait_for,
};

/// An agent of this name that takes small batches.
fn agent(pipeline: &Pipeline, name: &str) -> Agent {
    pipeline.agent().env("KADABRA_AGENT__NAME", name).env("KADABRA_BATCH__MAX_MESSAGES", "50").start()
}

/// How many messages it says at its end that it has published.
fn published(agent: &mut Agent) -> u64 {
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let lines = agent.log_lines();
    let ledger = lines.iter().rfind(|line| line.get("leased").is_some()).expect("the agent says its ledger at the end");
    assert_eq!(ledger["balances"], true, "{ledger}");
    ledger["published"].as_u64().unwrap()
}

#[test]
fn each_of_several_agents_has_its_share_of_a_queue() {
    const AGENTS: u64 = 4;
    const MESSAGES: u64 = 12_000;
    let pipeline = Pipeline::start();
    // Nobody is ahead of the others.
    pipeline.influxd.pause();
    let mut agents: Vec<_> = (0..AGENTS).map(|number| agent(&pipeline, &format!("agent{number}"))).collect();
    agents.iter().for_each(|agent| drop(agent.wait_log("receiving")));
    pipeline.push_numbers(0..MESSAGES);
    pipeline.influxd.resume();
    pipeline.assert_all_written(0..MESSAGES);
    let shares: Vec<u64> = agents.iter_mut().map(published).collect();
    assert_eq!(shares.iter().sum::<u64>(), MESSAGES, "{shares:?}");
    assert!(shares.iter().all(|share| *share >= MESSAGES / AGENTS / 3), "{shares:?}");
}

#[test]
fn agents_come_and_go_while_a_queue_is_drained() {
    const MESSAGES: u64 = 20_000;
    const CHANGES: u64 = 6;
    let pipeline = Pipeline::start();
    let mut agents = vec![agent(&pipeline, "agent0"), agent(&pipeline, "agent1")];
    for change in 0..CHANGES {
        let first = change * MESSAGES / CHANGES;
        pipeline.push_numbers(first..(change + 1) * MESSAGES / CHANGES);
        let goal = usize::try_from(first).unwrap() + 200;
        wait_for("the drain to go on", PATIENCE, || (pipeline.written() >= goal).then_some(()));
        let mut leaves = agents.remove(0);
        if change % 2 == 0 {
            leaves.kill9();
        } else {
            assert_eq!(leaves.terminate(PATIENCE), Some(0));
        }
        agents.push(agent(&pipeline, &format!("agent{}", change + 2)));
    }
    pipeline.assert_all_written(0..MESSAGES);
    agents.iter_mut().for_each(|agent| assert_eq!(agent.terminate(PATIENCE), Some(0)));
}

#[test]
fn agents_of_one_name_say_so_and_lose_and_double_nothing() {
    const MESSAGES: u64 = 3000;
    let pipeline = Pipeline::start();
    let (mut one, mut other) = (agent(&pipeline, "twin"), agent(&pipeline, "twin"));
    for agent in [&one, &other] {
        let said = agent.wait_condition("shared name");
        assert_eq!(said["code"], "K321", "{said}");
    }
    pipeline.push_numbers(0..MESSAGES);
    pipeline.assert_all_written(0..MESSAGES);
    assert_eq!(published(&mut one) + published(&mut other), MESSAGES);
}

/// How an agent alone cannot write to the database that others write to.
enum Obstacle {
    /// Nothing passes on its way.
    CutOff,
    /// Nobody listens where it is told that the database is.
    WrongPort,
    /// The database refuses all that it sends, until an operator has mended something.
    Refused,
}

/// One agent takes what it cannot write; another that comes writes all of it, long before a lease of the first expires. When the first
/// can write, it goes on.
fn what_one_cannot_publish_another_does(obstacle: Obstacle, batch_interval: &str) {
    const MESSAGES: u64 = 2000;
    let pipeline = Pipeline::start();
    let way = Partition::start();
    let database = if matches!(obstacle, Obstacle::Refused) { "later" } else { DATABASE };
    let lead = || way.lead_to(pipeline.influxd.port());
    if !matches!(obstacle, Obstacle::WrongPort) {
        lead();
    }
    way.cut(false, matches!(obstacle, Obstacle::CutOff));
    let at = |url: &str, name: &str| {
        let builder = Agent::with(&config(&pipeline.redis.url(), url)).env("KADABRA_AGENT__NAME", name);
        let builder = builder.env("KADABRA_CHANNEL__REDIS__LEASE", "10m").env("KADABRA_BATCH__INTERVAL", batch_interval);
        builder.env("KADABRA_BATCH__MAX_MESSAGES", "50").env("KADABRA_PUBLISHER__INFLUXDB__TIMEOUT", "500ms")
    };
    let cut = at(&format!("http://127.0.0.1:{}", way.port()), "cut")
        .env("KADABRA_PUBLISHER__INFLUXDB__DATABASE", database)
        .env("KADABRA_PUBLISHER__INFLUXDB__CREATE_DATABASE", "false")
        .start();
    pipeline.push_numbers(0..MESSAGES);
    cut.wait_condition("publisher");
    wait_for("the agent to hold nothing", PATIENCE, || (pipeline.left().leases == 0).then_some(()));
    let other = at(&pipeline.influxd.url(), "other").start();
    pipeline.assert_all_written(0..MESSAGES);
    drop(other);

    lead();
    way.cut(false, false);
    if database != DATABASE {
        pipeline.influxd.create_database(database);
    }
    cut.wait_log("works again");
    pipeline.push_numbers(MESSAGES..MESSAGES + 100);
    if database == DATABASE {
        pipeline.assert_all_written(0..MESSAGES + 100);
    } else {
        pipeline.wait_left(&Left::NOTHING);
    }
}

#[test]
fn what_an_agent_that_is_cut_off_from_the_database_has_taken_another_one_writes() {
    what_one_cannot_publish_another_does(Obstacle::CutOff, "0s");
}

#[test]
fn what_an_agent_that_is_told_a_wrong_address_has_taken_another_one_writes() {
    what_one_cannot_publish_another_does(Obstacle::WrongPort, "0s");
}

#[test]
fn what_an_agent_that_is_refused_has_taken_another_one_writes() {
    what_one_cannot_publish_another_does(Obstacle::Refused, "0s");
}

#[test]
fn what_an_agent_that_is_cut_off_gathers_for_an_interval_another_one_writes() {
    what_one_cannot_publish_another_does(Obstacle::CutOff, "2s");
}
