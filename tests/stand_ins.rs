//! The servers that the tests use besides influxd and redis-server answer as the ones that users run do.
#![cfg(test)]

#[path = "stand_ins/forward_proxy.rs"]
mod forward_proxy;
#[path = "stand_ins/victoriametrics.rs"]
mod victoriametrics;
