//! Points with a time that cannot be right, and a dimension that makes series without end: parked or published, counted and said.

use serde_json::json;

use super::support::{
    agent::{Agent, cli},
    pipeline::{Left, PATIENCE, Pipeline, numbered},
};

fn guard(name: &str) -> String {
    format!("KADABRA_GUARDS__{name}")
}

/// A message with a user of its own.
fn of_user(user: usize) -> Vec<u8> {
    let time = "2026-03-01T12:00:00.000001Z";
    json!({
        "dimensions": [{ "name": "host", "value": "web" }, { "name": "user", "value": user.to_string() }],
        "counters": [{ "name": "clicks", "metadata": {}, "timestamp": time, "value": 1.0 }],
        "timers": [],
        "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ",
    })
    .to_string()
    .into_bytes()
}

/// How many dead letters have a code, by the command that would delete them.
fn of_code(agent: &Agent, code: &str) -> String {
    let config = agent.folder().join("kadabra.toml");
    let said = cli(["dead-letters", "discard", "--reason", code, "--dry-run", "--config", config.to_str().unwrap()]);
    String::from_utf8(said.stdout).unwrap().split_inclusive('\n').next_back().unwrap_or_default().to_owned()
}

#[test]
fn points_that_are_too_old_or_too_far_ahead_become_dead_letters_and_the_others_are_written() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().env(&guard("MAX_AGE"), "3650 days").env(&guard("MAX_FUTURE"), "3650 days").start();
    let (right, old, ahead) = (numbered(1), numbered(2).replace("2026-", "1999-"), numbered(3).replace("2026-", "2150-"));
    // One of the two points of the last message is right.
    let half = numbered(4).replacen("2026-", "1999-", 1);
    pipeline.push_all([right, old, ahead, half].map(String::into_bytes));
    pipeline.wait_left(&Left { dead: 3, ..Left::NOTHING });
    assert_eq!((pipeline.count("numbered"), pipeline.count("took")), (1, 2));
    let letters = pipeline.dead_letters();
    let reasons = letters.iter().map(|letter| String::from_utf8_lossy(&letter["reason"]).into_owned());
    for (reason, wanted) in reasons.zip(["guards.max_age", "guards.max_future", "guards.max_age"]) {
        assert!(reason.contains(wanted), "{reason}");
    }
    agent.wait_condition("times");
    assert_eq!(of_code(&agent, "K301"), "3 dead letters would be gone\n");
    assert_eq!(of_code(&agent, "k302"), "0 dead letters would be gone\n");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn points_beyond_the_bounds_are_written_and_said_where_that_is_configured() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().env(&guard("MAX_AGE"), "1 day").env(&guard("ON_TIME"), "write").start();
    pipeline.push_numbers(0..10);
    pipeline.assert_all_written(0..10);
    agent.wait_condition("times");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_dimension_that_makes_more_and_more_series_is_named_and_its_further_points_are_parked_or_written() {
    for (action, written) in [("park", 50), ("write", 200)] {
        let pipeline = Pipeline::start();
        let agent = pipeline.agent().env(&guard("MAX_NEW_SERIES"), "50").env(&guard("ON_NEW_SERIES"), action);
        let mut agent = agent.env("KADABRA_BATCH__MAX_MESSAGES", "30").start();
        pipeline.push_all((0..200).map(of_user));
        pipeline.wait_left(&Left { dead: 200 - written, ..Left::NOTHING });
        assert_eq!(pipeline.count("clicks") as u64, written, "{action}");
        let said = agent.wait_condition("new series");
        let said = said["msg"].as_str().unwrap();
        assert!(said.contains("clicks has had 50 new series in an hour") && said.ends_with("is user"), "{said}");
        // Another metric has an hour of its own.
        pipeline.push_numbers(0..10);
        pipeline.wait_left(&Left { dead: 200 - written, ..Left::NOTHING });
        pipeline.assert_written(0..10);
        assert_eq!(of_code(&agent, "K302"), format!("{} dead letters would be gone\n", 200 - written));
        assert_eq!(agent.terminate(PATIENCE), Some(0));
    }
}
