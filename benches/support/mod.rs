//! What the benches of whole processes share: messages, servers to write to, what processes used, and the report.
#![allow(dead_code)]

pub(crate) mod bare_loop;
pub(crate) mod calls;
pub(crate) mod http;
pub(crate) mod lines;
pub(crate) mod load;
pub(crate) mod message;
pub(crate) mod options;
pub(crate) mod plot;
pub(crate) mod queue;
pub(crate) mod report;
pub(crate) mod results;
pub(crate) mod sink;
pub(crate) mod statistics;
pub(crate) mod turns;
pub(crate) mod usage;
pub(crate) mod world;
