//! Kadabra carries application metrics from a program to a time-series database without the program ever waiting for the database.
#![doc = ""]

pub mod backoff;
pub mod channel;
pub mod config;
pub mod metrics;
pub mod observe;
pub mod publisher;
