//! A panic in any actor on any message: restarted, nothing lost.

use super::support::pipeline::{Left, PATIENCE, Pipeline, numbered};

/// Every place where a handler begins or a step ends, with how often it is passed before the panic.
const PLACES: [(&str, u32); 14] = [
    ("receiver.wanted", 2),
    ("receiver.leased", 1),
    ("batcher.receiver_is", 0),
    ("batcher.free", 3),
    ("batcher.leased", 2),
    ("publisher.batcher_is", 0),
    ("publisher.publish", 1),
    ("publisher.written", 1),
    ("publisher.completed", 1),
    ("nanny.renew", 0),
    ("nanny.recover", 1),
    ("nanny.recovered", 1),
    ("publisher.write", 1),
    ("publisher.complete", 1),
];

#[test]
fn a_panic_in_any_handler_is_survived_and_loses_nothing() {
    const MESSAGES: u64 = 2_000;
    let pipeline = Pipeline::start();
    let mut first = 0;
    for (place, after) in PLACES {
        let failpoints = if after == 0 { format!("{place}=1*panic") } else { format!("{place}={after}*off->1*panic") };
        let mut agent = pipeline.agent().env("FAILPOINTS", failpoints).env("KADABRA_BATCH__MAX_MESSAGES", "200").start();
        pipeline.push_numbers(first..first + MESSAGES);
        first += MESSAGES;
        let said = agent.wait_log("a child failed and is restarted");
        assert_eq!(said["cause"], "panicked", "{place}: {said}");
        assert_eq!(said["child"].as_str().unwrap().split(' ').next(), place.split('.').next(), "{said}");
        agent.wait_log("a child is back");
        pipeline.assert_all_written(0..first);
        assert_eq!(agent.terminate(PATIENCE), Some(0), "{place}");
    }
}

/// A message that the places in the decoder and the encoder know, with a good metric before the bad one.
const POISON: &str = r#"{"dimensions": [{"name": "failpoint!", "value": "x"}], "counters": [
    {"name": "beside", "metadata": {"a": "b"}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1},
    {"name": "failpoint!", "metadata": {"a": "b"}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1}
], "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}"#;

#[test]
fn a_message_that_the_agent_panics_over_is_set_aside_and_nobody_is_restarted() {
    for (place, doing, beside) in [
        ("decoder.read", "reading it", 0),
        ("decoder.push", "reading it", 0),
        ("encoder.tags", "writing it as line protocol", 0),
        ("encoder.line", "writing it as line protocol", 1),
    ] {
        let pipeline = Pipeline::start();
        let messages = (0..500).map(numbered).chain([POISON.to_owned()]).chain((500..999).map(numbered));
        pipeline.push_all(messages.map(String::into_bytes));
        // It panics as often as it is looked at.
        let mut agent = pipeline.agent().env("FAILPOINTS", format!("{place}=panic(out of cheese)")).start();
        pipeline.wait_left(&Left { dead: 1, ..Left::NOTHING });
        pipeline.assert_written(0..999);
        assert_eq!(pipeline.count("beside"), beside, "{place}");

        let [letter] = pipeline.dead_letters().try_into().unwrap();
        assert_eq!(letter["payload"], POISON.as_bytes());
        let reason = String::from_utf8_lossy(&letter["reason"]).into_owned();
        let blame = format!("the agent panicked while {doing}, a fault of the agent: please report it with this message");
        assert!(reason.contains(&blame) && reason.ends_with("the panic said: out of cheese"), "{place}: {reason}");

        assert_eq!(agent.terminate(PATIENCE), Some(0), "{place}");
        let said = agent.logged("a panic");
        assert_eq!(said.len(), 1, "{place}: {said:?}");
        assert_eq!((&said[0]["level"], &said[0]["message"]), (&"ERROR".into(), &"out of cheese".into()), "{said:?}");
        assert_eq!(agent.logged("a child"), [""; 0], "{place}");
    }
}

#[test]
fn many_messages_that_the_agent_panics_over_are_few_lines_of_the_log() {
    let pipeline = Pipeline::start();
    let poison = (0..2000).map(|n| POISON.replace("000001Z", &format!("{n:06}Z")));
    pipeline.push_all(poison.chain((0..1000).map(numbered)).map(String::into_bytes));
    let mut agent = pipeline.agent().env("FAILPOINTS", "decoder.push=panic").start();
    pipeline.wait_left(&Left { dead: 2000, ..Left::NOTHING });
    pipeline.assert_written(0..1000);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let said = agent.logged("a panic over a message").len();
    assert!((1..10).contains(&said), "{said} lines");
}

#[test]
fn a_panic_at_a_ping_is_survived_like_any_other() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().env("FAILPOINTS", "child.ping=4*panic").start();
    agent.wait_log_count("a child is back", 4);
    pipeline.push_numbers(0..100);
    pipeline.assert_all_written(0..100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_panic_in_the_supervisor_ends_the_process_with_its_own_code_and_gives_everything_back() {
    for place in ["supervisor.up", "supervisor.down", "supervisor.stop", "supervisor.drained"] {
        let pipeline = Pipeline::start();
        // Held back, so that there is something to give back.
        let mut agent = pipeline
            .agent()
            .env("FAILPOINTS", format!("{place}=1*panic;publisher.publish=1*panic"))
            .env("KADABRA_BATCH__INTERVAL", "1s")
            .start();
        pipeline.push_numbers(0..100);
        if place == "supervisor.stop" || place == "supervisor.drained" {
            agent.wait_log("a child is back");
            agent.signal("TERM");
        }
        assert_eq!(agent.wait(PATIENCE), Some(70), "{place}");
        let left = pipeline.left();
        assert_eq!((left.leases, left.lease_lists, left.dead), (0, 0, 0), "{place}: {left:?}");
        let mut agent = pipeline.agent().start();
        pipeline.assert_all_written(0..100);
        assert_eq!(agent.terminate(PATIENCE), Some(0));
    }
}

#[test]
fn a_panic_while_draining_gives_back_what_was_held() {
    for place in ["receiver.drain", "batcher.drain", "publisher.drain", "nanny.drain"] {
        let pipeline = Pipeline::start();
        let mut agent = pipeline
            .agent()
            .env("FAILPOINTS", format!("{place}=1*panic"))
            .env("KADABRA_BATCH__INTERVAL", "1h")
            .env("KADABRA_PUBLISHER__WORKERS", "1")
            .start();
        pipeline.push_numbers(0..500);
        super::support::process::wait_for("the messages to be leased", PATIENCE, || (pipeline.left().leases > 0).then_some(()));
        assert_eq!(agent.terminate(PATIENCE), Some(0), "{place}");
        agent.wait_log("a child failed while the agent was stopping");
        let left = pipeline.left();
        assert_eq!((left.leases, left.lease_lists, left.dead), (0, 0, 0), "{place}: {left:?}");
        // What was written may have been given back besides; written again it changes nothing.
        let mut agent = pipeline.agent().start();
        agent.wait_log("publishing");
        pipeline.assert_all_written(0..500);
        assert_eq!(agent.terminate(PATIENCE), Some(0));
    }
}

#[test]
fn a_child_that_keeps_failing_ends_the_process_with_its_own_code() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().env("FAILPOINTS", "publisher.publish=panic").start();
    pipeline.push_numbers(0..100);
    assert_eq!(agent.wait(PATIENCE), Some(70));
    let said = agent.wait_log("stopped").to_string();
    assert!(said.contains("supervisor.max_restarts"), "{said}");
    let left = pipeline.left();
    assert_eq!((left.queued, left.leases), (100, 0), "{left:?}");
}

#[test]
fn a_future_that_never_ends_is_noticed_named_and_restarted() {
    for (place, at) in [("publisher.write", "writing"), ("publisher.complete", "completing"), ("receiver.receive", "receiving")] {
        let pipeline = Pipeline::start();
        let mut agent = pipeline
            .agent()
            .env("FAILPOINTS", format!("{place}=1*return"))
            .env("KADABRA_SUPERVISOR__HANG_TIMEOUT", "3s")
            .env("KADABRA_CHANNEL__REDIS__TIMEOUT", "500ms")
            .env("KADABRA_PUBLISHER__INFLUXDB__TIMEOUT", "500ms")
            .start();
        pipeline.push_numbers(0..100);
        let said = agent.wait_log("makes no progress");
        assert!(said["at"].as_str().unwrap().contains(at), "{place}: {said}");
        pipeline.assert_all_written(0..100);
        assert_eq!(agent.terminate(PATIENCE), Some(0), "{place}");
    }
}

#[test]
fn a_thread_that_hangs_ends_the_process_and_gives_its_messages_back() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline
        .agent()
        .env("FAILPOINTS", "batcher.leased=1*sleep(60000)")
        .env("KADABRA_SUPERVISOR__HANG_TIMEOUT", "600ms")
        .env("KADABRA_CHANNEL__REDIS__TIMEOUT", "500ms")
        .env("KADABRA_PUBLISHER__INFLUXDB__TIMEOUT", "500ms")
        .start();
    pipeline.push_numbers(0..100);
    assert_eq!(agent.wait(PATIENCE), Some(71));
    assert_eq!(pipeline.left().queued, 100);
}

/// The supervisor cannot notice that its own thread hangs, and the Nanny lives there, too.
#[test]
fn the_supervisors_thread_that_hangs_ends_the_process_and_gives_its_messages_back() {
    for place in ["nanny.renew", "supervisor.down"] {
        let pipeline = Pipeline::start();
        let mut agent = pipeline
            .agent()
            .env("FAILPOINTS", format!("{place}=1*sleep(60000);batcher.free=1*panic"))
            .env("KADABRA_BATCH__INTERVAL", "1h")
            .env("KADABRA_SUPERVISOR__HANG_TIMEOUT", "600ms")
            .env("KADABRA_CHANNEL__REDIS__TIMEOUT", "500ms")
            .env("KADABRA_PUBLISHER__INFLUXDB__TIMEOUT", "500ms")
            .start();
        pipeline.push_numbers(0..100);
        assert_eq!(agent.wait(PATIENCE), Some(71), "{place}");
        let said = agent.wait_log("stopped");
        assert!(said["why"].as_str().unwrap().contains("the supervisor made no progress"), "{place}: {said}");
        assert_eq!(pipeline.left(), Left { queued: 100, ..Left::NOTHING }, "{place}");
    }
}

/// The thread that hangs serves the connection, and while the database is away nobody else has found out: a call on it
/// takes the whole time-out, which by default is as long as there is to give everything back.
#[test]
fn what_a_hung_agent_holds_is_given_back_over_a_connection_that_its_thread_does_not_serve() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline
        .agent()
        .env("FAILPOINTS", "nanny.renew=1*sleep(120000);publisher.write.error=return")
        .env("KADABRA_CHANNEL__REDIS__TIMEOUT", "5s")
        .env("KADABRA_CHANNEL__REDIS__LEASE", "15s")
        .env("KADABRA_BATCH__MAX_MESSAGES", "10")
        .env("KADABRA_SUPERVISOR__HANG_TIMEOUT", "5100ms")
        .start();
    pipeline.push_numbers(0..100);
    assert_eq!(agent.wait(PATIENCE), Some(71));
    assert_eq!(pipeline.left(), Left { queued: 100, ..Left::NOTHING }, "{}", agent.log_text());
}

/// With the proportions of the defaults, where a hang lasts half a window: hanging is no sustained work.
#[test]
fn a_child_that_hangs_in_every_life_ends_the_process() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline
        .agent()
        .env("FAILPOINTS", "publisher.write=return")
        .env("KADABRA_PUBLISHER__WORKERS", "1")
        .env("KADABRA_SUPERVISOR__HANG_TIMEOUT", "3s")
        .env("KADABRA_SUPERVISOR__WINDOW", "6s")
        .env("KADABRA_CHANNEL__REDIS__TIMEOUT", "500ms")
        .env("KADABRA_PUBLISHER__INFLUXDB__TIMEOUT", "500ms")
        .start();
    pipeline.push_numbers(0..100);
    assert_eq!(agent.wait(PATIENCE), Some(70));
    assert_eq!(pipeline.left(), Left { queued: 100, ..Left::NOTHING });
}
