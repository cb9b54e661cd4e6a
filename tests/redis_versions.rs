//! Every Redis there is: what the channel promises, once more over each server that Debian does not have.

use std::env;

use super::support::{
    process,
    redis_server::{CHOSEN, OTHERS},
};

/// The tests that a server can make fail, by how their names begin.
const TESTS: [&str; 13] = [
    "channel_contract::",
    "channel_redis::adopting::",
    "channel_redis::faults::",
    "channel_redis::full::",
    "channel_redis::orphans::",
    "channel_redis::outages::",
    "channel_redis::pressure::",
    "channel_redis::rights::",
    "channel_redis::services::",
    "channel_redis::settling::",
    "channel_redis::taking::",
    "channel_redis::waiting::",
    "corpus::",
];

/// Redis 6.2 cannot be given a port for the traffic of a cluster's nodes among themselves; and no Redis is in the others.
const SKIPPED: [&str; 2] =
    ["channel_redis::faults::a_node_of_a_cluster", "corpus::every_hostile_message_gets_what_it_deserves_from"];

/// Runs them all in one process more, which takes this server for Redis.
fn over(server: &str) {
    assert!(OTHERS.contains(&server), "tests/run does not install {server}");
    let mut tests = process::command(env::current_exe().unwrap());
    tests
        .args(TESTS)
        .args(SKIPPED.iter().flat_map(|name| ["--skip", name]))
        .args(["--test-threads", "4"])
        .env(CHOSEN, server)
        .env("RUST_BACKTRACE", "0");
    let output = tests.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let ran = TESTS.iter().all(|name| said.contains(&format!("test {name}")));
    assert!(output.status.success() && ran, "over {server}:\n{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_channel_keeps_its_promises_over_redis_6_2_5() {
    over("redis-6.2.5");
}

#[test]
fn the_channel_keeps_its_promises_over_redis_8_2_3() {
    over("redis-8.2.3");
}

#[test]
fn the_channel_keeps_its_promises_over_valkey_8_1_8() {
    over("valkey-8.1.8");
}
