//! What the agent logs, in which form, and how often.

use serde_json::Value;

use super::support::{
    agent::Agent,
    pipeline::{Left, PATIENCE, Pipeline, config},
    redis_server::RedisServer,
};

#[test]
fn at_info_there_is_no_line_per_message() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().env("KADABRA_LOG__LEVEL", "info").env("KADABRA_BATCH__MAX_MESSAGES", "10").start();
    pipeline.push_numbers(0..2000);
    pipeline.push(b"{not json");
    pipeline.wait_left(&Left { dead: 1, ..Left::NOTHING });
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let lines = agent.log_lines();
    assert!(lines.len() < 12, "{lines:#?}");
    for line in &lines {
        for key in ["ts", "level", "msg"] {
            assert!(line[key].is_string(), "{key} in {line}");
        }
    }
    let ledger = lines.iter().find(|line| line.get("received").is_some()).unwrap();
    assert_eq!((&ledger["published"], &ledger["parked"], &ledger["in_flight"]), (&2000.into(), &1.into(), &0.into()));
}

#[test]
fn the_debug_publisher_logs_what_it_would_publish() {
    let redis = RedisServer::start();
    let pushed = r#"{"dimensions": [{"name": "d", "value": "v"}], "counters": [{"name": "c", "metadata": {}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1.0}], "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}"#;
    let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(pushed).query(&mut redis.connection()).unwrap();
    let text = config(&redis.url(), "http://localhost:1");
    let mut agent = Agent::with(&text).env("KADABRA_PUBLISHER__TYPE", "debug").env("KADABRA_LOG__LEVEL", "info").start();
    let line = agent.wait_log(r#""name":"c""#);
    assert_eq!(line["level"], "INFO");
    let messages: Value = serde_json::from_str(line["msg"].as_str().unwrap()).unwrap();
    assert_eq!(messages[0]["dimensions"][0]["value"], "v");
    assert_eq!(messages[0]["counters"][0]["timestamp"], "2026-03-01T12:00:00.000001Z");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_state_that_lasts_is_said_once_at_its_beginning_and_once_at_its_end() {
    let mut pipeline = Pipeline::start();
    let mut agent = pipeline.agent().env("KADABRA_PUBLISHER__BACKOFF_MAX", "50ms").start();
    pipeline.influxd.stop();
    pipeline.push_numbers(0..100);
    let line = agent.wait_condition("publisher");
    assert_eq!(line["level"], "WARNING");
    // Many attempts later: both workers have tried again and again.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let said = agent.log_lines().into_iter().filter(|line| line["who"] == "publisher").count();
    assert!(said <= 2, "said {said} times");
    pipeline.influxd.start_again();
    let again = agent.wait_log("publisher works again, after ");
    assert!(again["attempts"].as_u64().unwrap() > 5, "{again}");
    pipeline.assert_all_written(0..100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn no_secret_is_in_any_line_whatever_goes_wrong() {
    let mut redis = RedisServer::with_password("opensesame");
    let url = redis.url();
    let with_secret = if url.contains('@') { url } else { url.replace("redis://", "redis://:opensesame@") };
    let text = config(&with_secret, "http://127.0.0.1:1")
        .replace("timeout = \"5s\"", "timeout = \"1s\"\nusername = \"user\"\npassword = \"opensesame\"");
    let mut agent = Agent::with(&text).env("KADABRA_LOG__LEVEL", "trace").start();
    let pushed = r#"{"dimensions": [], "counters": [{"name": "c", "metadata": {}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1.0}], "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}"#;
    let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(pushed).query(&mut redis.connection()).unwrap();
    agent.wait_condition("publisher");
    redis.kill9();
    agent.wait_condition("channel");
    redis.restart();
    agent.wait_log("channel works again");
    let command_line = std::fs::read_to_string(format!("/proc/{}/cmdline", agent.id())).unwrap();
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let log = agent.log_text();
    assert!(!log.contains("opensesame") && !command_line.contains("opensesame"), "{log}");
    // base64 of user:opensesame
    assert!(!log.contains("dXNlcjpvcGVuc2VzYW1l"), "{log}");
}
