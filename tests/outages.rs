//! Servers that go away and come back.

use std::time::Duration;

use super::support::{
    pipeline::{DATABASE, Left, PATIENCE, Pipeline},
    process::wait_for,
};

#[test]
fn influxdb_down_for_a_while_costs_nothing_and_is_said_once() {
    let mut pipeline = Pipeline::start();
    let mut agent = pipeline.agent().start();
    pipeline.push_numbers(0..100);
    pipeline.assert_all_written(0..100);

    pipeline.influxd.stop();
    pipeline.push_numbers(100..2000);
    let said = agent.wait_condition("publisher");
    assert_eq!(said["level"], "WARNING", "waiting may help: {said}");
    pipeline.push_numbers(2000..3000);
    pipeline.influxd.start_again();
    pipeline.assert_all_written(0..3000);

    agent.wait_log("works again");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// One such batch is no success: the destination was not asked.
#[test]
fn what_cannot_be_decoded_is_parked_while_influxdb_hangs_and_nobody_says_that_it_is_back() {
    let pipeline = Pipeline::start();
    let agent = pipeline.agent().env("KADABRA_PUBLISHER__WORKERS", "2");
    let mut agent = agent.env("KADABRA_PUBLISHER__INFLUXDB__TIMEOUT", "15s").start();
    pipeline.influxd.pause();
    pipeline.push_numbers(0..1);
    wait_for("a batch to be in hand", PATIENCE, || (pipeline.left().leases == 1).then_some(()));
    for dead in 1..=20 {
        pipeline.push(b"no JSON");
        wait_for("the message to be parked", PATIENCE, || (pipeline.left().dead == dead).then_some(()));
    }
    agent.wait_condition("publisher");
    assert_eq!(agent.logged("works again"), [""; 0]);
    pipeline.influxd.resume();
    agent.wait_log("works again");
    pipeline.wait_left(&Left { dead: 20, ..Left::NOTHING });
    pipeline.assert_written(0..1);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn influxdb_that_hangs_is_waited_for() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().env("KADABRA_PUBLISHER__INFLUXDB__TIMEOUT", "300ms").start();
    pipeline.influxd.pause();
    pipeline.push_numbers(0..1000);
    agent.wait_condition("publisher");
    pipeline.influxd.resume();
    pipeline.assert_all_written(0..1000);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_missing_database_is_held_and_goes_on_by_itself_once_it_is_there() {
    let pipeline = Pipeline::start();
    pipeline.influxd.drop_database(DATABASE);
    let mut agent = pipeline.agent().start();
    pipeline.push_numbers(0..500);
    let said = agent.wait_condition("publisher");
    assert_eq!(said["level"], "ERROR", "an operator must mend it: {said}");
    let text = said.to_string();
    assert!(text.contains("database not found") && text.contains("CREATE DATABASE"), "{text}");
    assert_eq!(pipeline.left().dead, 0, "held, not dropped");

    pipeline.influxd.create_database(DATABASE);
    pipeline.assert_all_written(0..500);
    agent.wait_log("works again");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_missing_database_is_created_when_the_configuration_says_so() {
    let pipeline = Pipeline::start();
    pipeline.influxd.drop_database(DATABASE);
    let mut agent = pipeline.agent().env("KADABRA_PUBLISHER__INFLUXDB__CREATE_DATABASE", "true").start();
    pipeline.push_numbers(0..500);
    pipeline.assert_all_written(0..500);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn leases_are_renewed_while_a_write_takes_longer_than_they_last() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().env("KADABRA_PUBLISHER__INFLUXDB__TIMEOUT", "20s").start();
    pipeline.influxd.pause();
    pipeline.push_numbers(0..100);
    let mut connection = pipeline.redis.connection();
    let mut expiries = || -> Vec<(String, u64)> {
        redis::cmd("ZRANGE").arg("{kadabra_queue}:leases").arg(0).arg(-1).arg("WITHSCORES").query(&mut connection).unwrap()
    };
    let first = wait_for("messages to be in hand", PATIENCE, || Some(expiries()).filter(|leases| !leases.is_empty()));
    // Each renewal moves the expiry; after three of them a lease of two seconds would have run out.
    wait_for("the same leases, renewed past their first expiry", Duration::from_secs(30), || {
        let now = expiries();
        let renewed = first.iter().all(|(id, expiry)| now.iter().any(|(other, later)| other == id && *later > expiry + 2000));
        renewed.then_some(())
    });
    pipeline.influxd.resume();
    pipeline.assert_all_written(0..100);
    assert!(agent.logged("expired").is_empty());
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn redis_restarted_is_found_again() {
    let mut pipeline = Pipeline::start();
    let mut agent = pipeline.agent().start();
    pipeline.push_numbers(0..500);
    pipeline.assert_all_written(0..500);
    pipeline.redis.kill9();
    agent.wait_condition("channel");
    pipeline.redis.restart();
    agent.wait_log("works again");
    pipeline.push_numbers(500..1000);
    pipeline.assert_all_written(0..1000);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn an_agent_that_is_started_before_redis_waits_for_it() {
    let mut pipeline = Pipeline::start();
    pipeline.push_numbers(0..10);
    pipeline.redis.kill9();
    let mut agent = pipeline.agent().start();
    agent.wait_condition("channel");
    assert!(agent.runs());
    pipeline.redis.restart();
    pipeline.assert_all_written(0..10);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_hostile_message_delays_no_other_and_is_kept_with_its_reason() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().start();
    pipeline.push_numbers(0..50);
    pipeline.push(b"{not json");
    pipeline.push_numbers(50..100);
    pipeline.wait_left(&Left { dead: 1, ..Left::NOTHING });
    pipeline.assert_written(0..100);
    let dead = pipeline.dead_letters();
    assert_eq!(dead[0]["payload"], b"{not json");
    assert!(!dead[0]["reason"].is_empty());
    let said = agent.wait_log("set aside as dead letters");
    assert_eq!((&said["level"], &said["messages"]), (&"WARNING".into(), &1.into()), "{said}");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// While InfluxDB is away nobody asks the Receiver for anything, so that it cannot be the only one to notice.
#[test]
fn a_channel_that_is_back_is_said_to_be_though_nobody_receives() {
    let mut pipeline = Pipeline::start();
    pipeline.influxd.stop();
    let agent = pipeline.agent().env("KADABRA_PUBLISHER__WORKERS", "1").start();
    pipeline.push_numbers(0..100);
    agent.wait_condition("publisher");
    pipeline.redis.pause();
    agent.wait_condition("channel");
    pipeline.redis.resume();
    agent.wait_log("channel works again");
}

/// A counter named `EOF` with one metadata entry, at a second of its own.
fn eof(second: u32, metadata: &str) -> Vec<u8> {
    let time = format!("2026-03-01T12:00:{second:02}.000000Z");
    format!(
        r#"{{"dimensions": [], "counters": [{{"name": "EOF", "metadata": {metadata}, "timestamp": "{time}", "value": 1.0}}], "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ", "serialized_at": "{time}"}}"#
    )
    .into_bytes()
}

/// InfluxDB repeats names of the refused point in its error; what a client chose must not decide what the error means.
#[test]
fn a_refused_metric_whose_name_reads_like_a_broken_request_is_parked() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().start();
    pipeline.push(&eof(1, r#"{"k": 1}"#));
    pipeline.wait_left(&Left::NOTHING);
    pipeline.push(&eof(2, r#"{"k": "text"}"#));
    pipeline.wait_left(&Left { dead: 1, ..Left::NOTHING });
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_message_that_is_too_large_is_set_aside_and_that_is_said() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().env("KADABRA_CHANNEL__REDIS__MAX_MESSAGE_BYTES", "100KiB").start();
    pipeline.push_numbers(0..10);
    pipeline.push(&vec![b'x'; 200 << 10]);
    pipeline.push_numbers(10..20);
    pipeline.wait_left(&Left { dead: 1, ..Left::NOTHING });
    pipeline.assert_written(0..20);
    let said = agent.wait_log("set aside as dead letters");
    assert!(said["the_newest_because"].as_str().unwrap().contains("max_message_bytes"), "{said}");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}
