//! A clean end, flushed or given back, inside its deadline.

use std::time::Duration;

use super::support::{
    pipeline::{Left, PATIENCE, Pipeline},
    process::wait_for,
};

const HOUR: &str = "1h";

#[test]
fn a_part_batch_is_flushed_on_sigterm_and_on_sigint() {
    for signal in ["TERM", "INT"] {
        let pipeline = Pipeline::start();
        let mut agent = pipeline.agent().env("KADABRA_BATCH__INTERVAL", HOUR).start();
        pipeline.push_numbers(0..100);
        // Leased and waiting for their interval: the agent has had the answer, since it waits for more.
        wait_for("the messages to be leased", PATIENCE, || {
            let left = pipeline.left();
            (left.queued == 0 && left.leases > 0 && pipeline.redis.blocked() == 1).then_some(())
        });
        assert_eq!(pipeline.written(), 0);
        agent.signal(signal);
        assert_eq!(agent.wait(PATIENCE), Some(0), "{signal}");
        assert_eq!(agent.wait_log("stopping")["by"], format!("SIG{signal}"));
        assert_eq!(pipeline.left(), Left::NOTHING, "{signal}");
        pipeline.assert_written(0..100);
    }
}

#[test]
fn with_influxdb_stalled_past_the_deadline_everything_is_given_back_and_the_exit_code_says_so() {
    let pipeline = Pipeline::start();
    let mut agent =
        pipeline.agent().env("KADABRA_AGENT__SHUTDOWN_TIMEOUT", "1s").env("KADABRA_PUBLISHER__INFLUXDB__TIMEOUT", "20s").start();
    agent.wait_log("publishing");
    pipeline.influxd.pause();
    pipeline.push_numbers(0..100);
    wait_for("the messages to be leased", PATIENCE, || (pipeline.left().queued == 0).then_some(()));
    assert_eq!(agent.terminate(PATIENCE), Some(75));
    let said = agent.wait_log("stopped").to_string();
    assert!(said.contains("finished: publisher ") && !said.contains("nanny"), "the stragglers are named: {said}");
    assert_eq!(pipeline.left(), Left { queued: 100, ..Left::NOTHING }, "given back at once");

    // Another agent has them at once, and what the stalled request may have written is not there twice.
    pipeline.influxd.resume();
    let mut agent = pipeline.agent().start();
    pipeline.assert_all_written(0..100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn with_influxdb_down_everything_is_given_back_and_the_end_is_clean() {
    let mut pipeline = Pipeline::start();
    pipeline.influxd.stop();
    let mut agent = pipeline.agent().start();
    pipeline.push_numbers(0..100);
    agent.wait_condition("publisher");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    assert_eq!(pipeline.left(), Left { queued: 100, ..Left::NOTHING });
}

#[test]
fn a_second_signal_ends_at_once_and_loses_nothing() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().env("KADABRA_PUBLISHER__INFLUXDB__TIMEOUT", "20s").start();
    agent.wait_log("publishing");
    pipeline.influxd.pause();
    pipeline.push_numbers(0..100);
    wait_for("the messages to be leased", PATIENCE, || (pipeline.left().queued == 0).then_some(()));
    agent.signal("TERM");
    agent.wait_log("stopping");
    agent.signal("TERM");
    assert_eq!(agent.wait(Duration::from_secs(10)), Some(130));
    agent.wait_log("ended at once by a second signal");
    pipeline.influxd.resume();
    let mut agent = pipeline.agent().start();
    pipeline.assert_all_written(0..100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn with_redis_gone_at_the_end_the_exit_code_says_that_leases_were_not_given_back() {
    let mut pipeline = Pipeline::start();
    let mut agent = pipeline.agent().env("KADABRA_BATCH__INTERVAL", HOUR).start();
    pipeline.push_numbers(0..100);
    wait_for("the messages to be leased", PATIENCE, || (pipeline.left().leases > 0).then_some(()));
    pipeline.influxd.stop();
    pipeline.redis.kill9();
    assert_eq!(agent.terminate(PATIENCE), Some(75));
    pipeline.redis.restart();
    pipeline.influxd.start_again();
    let mut agent = pipeline.agent().start();
    pipeline.assert_all_written(0..100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// The connection that all share may have been made by a thread that has ended by then.
#[test]
fn what_is_left_is_given_back_over_a_connection_that_another_thread_had_made() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline
        .agent()
        // The nanny is out of the way, so that it is the receiver's thread that connects again.
        .env("FAILPOINTS", "nanny.recovering=return")
        .env("KADABRA_CHANNEL__REDIS__LEASE", "3s")
        .env("KADABRA_AGENT__SHUTDOWN_TIMEOUT", "1s")
        .env("KADABRA_PUBLISHER__INFLUXDB__TIMEOUT", "20s")
        .start();
    agent.wait_log("publishing");
    let mut connection = pipeline.redis.connection();
    let _: u64 = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).query(&mut connection).unwrap();
    agent.wait_log("channel works again");
    pipeline.influxd.pause();
    pipeline.push_numbers(0..100);
    wait_for("the messages to be leased", PATIENCE, || (pipeline.left().queued == 0).then_some(()));
    assert_eq!(agent.terminate(PATIENCE), Some(75));
    assert_eq!(pipeline.left(), Left { queued: 100, ..Left::NOTHING });
}

#[test]
fn what_lingers_is_written_before_the_end() {
    let pipeline = Pipeline::start();
    let lingers = [("KADABRA_BATCH__LINGER", "10s"), ("KADABRA_BATCH__MAX_LINGER", "60s")];
    let mut agent = lingers.iter().fold(pipeline.agent(), |agent, (name, value)| agent.env(name, *value)).start();
    pipeline.push_numbers(0..1);
    pipeline.assert_all_written(0..1);
    pipeline.push_numbers(1..20);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    pipeline.assert_written(0..20);
    assert_eq!(pipeline.left(), Left::NOTHING);
}

/// In batched mode each message that comes alone is a lease of its own. On a network, a round trip for each is too slow
/// for the end and for recovery.
#[test]
fn many_small_leases_are_given_back_in_few_round_trips() {
    const LEASES: u64 = 300;
    let mut pipeline = Pipeline::start();
    pipeline.influxd.stop();
    let mut agent = pipeline
        .agent()
        .env("KADABRA_BATCH__INTERVAL", "1h")
        .env("KADABRA_BATCH__LINGER", "0s")
        .env("KADABRA_NANNY__FREQUENCY", "1h")
        .start();
    agent.wait_log("publishing");
    for number in 0..LEASES {
        pipeline.push_numbers(number..number + 1);
        wait_for("the message to be leased", PATIENCE, || (pipeline.left().queued == 0).then_some(()));
    }
    let reads = || {
        let stats: String = redis::cmd("INFO").arg("stats").query(&mut pipeline.redis.connection()).unwrap();
        let count = stats.lines().find_map(|line| line.trim().strip_prefix("total_reads_processed:")?.parse::<u64>().ok());
        count.unwrap()
    };
    let before = reads();
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    assert_eq!(pipeline.left(), Left { queued: LEASES, ..Left::NOTHING });
    let round_trips = reads() - before;
    // One after the other they are at least as many as the leases.
    assert!(round_trips < LEASES * 9 / 10, "{round_trips} round trips");
}
