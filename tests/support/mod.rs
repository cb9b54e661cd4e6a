//! What the tests share: servers and agents that each test starts itself, and that end with it.
#![cfg(test)]
#![allow(dead_code)]

pub(crate) mod agent;
pub(crate) mod between;
pub(crate) mod browser;
pub(crate) mod certificates;
pub(crate) mod forward_proxy;
pub(crate) mod http_server;
pub(crate) mod influxd;
pub(crate) mod influxdb2;
pub(crate) mod influxdb3;
pub(crate) mod machine;
pub(crate) mod names;
pub(crate) mod package;
pub(crate) mod partition;
pub(crate) mod pipeline;
pub(crate) mod process;
pub(crate) mod python;
pub(crate) mod redis_groups;
pub(crate) mod redis_server;
pub(crate) mod served;
pub(crate) mod squid;
pub(crate) mod stand_in;
pub(crate) mod stored;
pub(crate) mod terminal;
pub(crate) mod victoriametrics;
