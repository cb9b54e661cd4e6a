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
    pipeline::{DATABASE, PATIENCE, Pipeline, config},
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

/// What a command has said, and how it ended.
fn said(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}
