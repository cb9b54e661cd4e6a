//! A Rust program with Kadabra's client, before a Redis, before an agent that listens itself, and before neither.

use std::{
    net::TcpListener,
    time::{Duration, Instant, SystemTime},
};

use kadabra::{
    client::{Client, ClientError, Options},
    wire::OutgoingMessage,
};
use serde_json::Value;

use crate::support::{process::free_port, redis_server::RedisServer};

/// Runs one future as a program with tokio does.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn message(value: f64) -> OutgoingMessage {
    let mut message = OutgoingMessage::new();
    message.dimension("method", "index").counter("userSignup", value, SystemTime::now(), vec![]).unwrap();
    message
}

/// A server that answers is heard also on a busy machine.
fn patient() -> Options {
    Options { timeout: Duration::from_secs(20), ..Options::default() }
}

#[test]
fn a_message_that_was_sent_is_in_the_queue_also_by_a_client_that_outlived_its_runtime_or_its_server() {
    let mut redis = RedisServer::start();
    let client = Client::new(&redis.url(), patient()).unwrap();
    run(client.send(&message(1.0))).unwrap();
    // The connection ended with its runtime, or with the server: one call may find that out, the next one connects anew.
    let sent_again = |client: &Client| (0..2).any(|_| run(client.send(&message(2.0))).is_ok());
    assert!(sent_again(&client));
    redis.restart();
    assert!(sent_again(&client));
    let queued: Vec<String> = redis::cmd("LRANGE").arg("kadabra_queue").arg(0).arg(-1).query(&mut redis.connection()).unwrap();
    let values: Vec<f64> = queued
        .iter()
        .rev()
        .map(|text| serde_json::from_str::<Value>(text).unwrap()["counters"][0]["value"].as_f64().unwrap())
        .collect();
    assert_eq!(values, [1.0, 2.0, 2.0]);
}

#[test]
fn many_messages_at_once_share_one_connection() {
    let redis = RedisServer::start();
    let client = Client::new(&redis.url(), Options { queue_key: "mine".to_owned(), ..Options::default() }).unwrap();
    let sent = run(futures_util::future::join_all((0..100).map(|_| async { client.send(&message(1.0)).await })));
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    let queued: u64 = redis::cmd("LLEN").arg("mine").query(&mut redis.connection()).unwrap();
    let connections: String = redis::cmd("INFO").arg("stats").query(&mut redis.connection()).unwrap();
    let connections = connections.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap().to_owned();
    assert_eq!(queued, 100);
    // The client's one, the questions' two, and those of the test's own start.
    assert!(connections.trim().parse::<u64>().unwrap() < 10, "{connections}");
}

#[test]
fn a_refusal_says_why_and_a_wrong_password_is_not_shown() {
    let redis = RedisServer::with_password("right");
    let wrong = redis.url().replace("redis://", "redis://:hunter2@");
    let client = Client::new(&wrong, patient()).unwrap();
    let error = run(client.send(&message(1.0))).unwrap_err();
    assert!(error.to_string().contains("WRONGPASS") || error.to_string().contains("authentication failed"), "{error}");
    assert!(!format!("{error} {error:?} {client:?}").contains("hunter2"));

    let full = RedisServer::with(&["--maxmemory", "1"]);
    let error = run(Client::new(&full.url(), patient()).unwrap().send(&message(1.0))).unwrap_err();
    assert!(matches!(error, ClientError::Refused(_)) && error.to_string().contains("maxmemory"), "{error}");

    for url in ["http://:hunter2@host/", "hunter2", "redis://:hunter2@host:99999999/"] {
        let error = Client::new(url, patient()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn a_server_that_is_away_or_silent_costs_no_more_than_the_time_out() {
    let away = Client::new(&format!("redis://127.0.0.1:{}/", free_port()), patient()).unwrap();
    let error = run(away.send(&message(1.0))).unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error}");

    let impatient = Options { timeout: Duration::from_millis(300), ..Options::default() };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = Client::new(&format!("redis://{}/", silent.local_addr().unwrap()), impatient).unwrap();
    let begun = Instant::now();
    let error = run(silent.send(&message(1.0))).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}
