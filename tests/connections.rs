//! How InfluxDB and Redis are connected to: every address of a name, TLS, and what is said when that does not work.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use super::support::{
    agent::{kadabra, kadabra_with_hosts},
    certificates::Certificate,
    influxd::{Influxd, Options},
    names::{Swallower, hosts},
    pipeline::{self, DATABASE, PATIENCE, Pipeline},
    process::free_port,
    redis_server::RedisServer,
};

#[path = "connections/addresses.rs"]
mod addresses;
#[path = "connections/certificates.rs"]
mod certificates;
#[path = "connections/passwords.rs"]
mod passwords;
#[path = "connections/proxies.rs"]
mod proxies;
#[path = "connections/several.rs"]
mod several;
#[path = "connections/squid.rs"]
mod squid;
#[path = "connections/stops.rs"]
mod stops;
#[path = "connections/tls.rs"]
mod tls;

/// As elsewhere, with a time-out of Redis that a busy machine does not reach: what is wrong is to be said, and not that nothing answered.
fn config(redis: &str, influxdb: &str) -> String {
    pipeline::config(redis, influxdb).replace("lease = \"2s\"\ntimeout = \"1s\"", "lease = \"30s\"\ntimeout = \"10s\"")
}

/// What a command has said, and how it ended.
fn said(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}
