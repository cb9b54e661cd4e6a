//! What the agent logs, in which form, and how often.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::Value;

use super::support::{
    agent::Agent,
    pipeline::{Left, PATIENCE, Pipeline, config, numbered},
    process::wait_for,
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
    let ledger = lines.iter().find(|line| line.get("balances").is_some()).unwrap();
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
    let warning = agent.wait_log("kept nowhere else");
    assert!(warning["mend"].as_str().unwrap().contains("influxdb"), "{warning}");
    let messages: Value = serde_json::from_str(line["msg"].as_str().unwrap()).unwrap();
    assert_eq!(messages[0]["dimensions"][0]["value"], "v");
    assert_eq!(messages[0]["counters"][0]["timestamp"], "2026-03-01T12:00:00.000001Z");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_state_that_lasts_is_said_once_however_often_it_is_tried() {
    // Takes connections and closes them, and so knows how often it was tried.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let influxdb = format!("http://{}", listener.local_addr().unwrap());
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    thread::spawn(move || {
        for connection in listener.incoming() {
            drop(connection);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let redis = RedisServer::start();
    let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(numbered(1)).query(&mut redis.connection()).unwrap();
    let mut agent = Agent::with(&config(&redis.url(), &influxdb)).env("KADABRA_PUBLISHER__BACKOFF_MAX", "50ms").start();
    wait_for("thirty tries", PATIENCE, || (tries.load(Ordering::SeqCst) >= 30).then_some(()));
    let said: Vec<_> = agent.log_lines().into_iter().filter(|line| line["condition"] == "publisher").collect();
    assert!((1..=3).contains(&said.len()), "{said:#?}");
    assert_eq!(said[0]["level"], "WARNING");
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
