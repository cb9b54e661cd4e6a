//! Kadabra carries application metrics from a program to a time-series database without the program ever waiting for the database.
//!
//! A client in the program pushes a message onto a *channel* (a file of the agent's own, or a Redis list); the *agent*, a
//! process of its own beside the program, leases messages from the channel, *publishes* them (to InfluxDB, or to a log),
//! and settles the lease.
//! This crate is the agent; its binary, `kadabra`, is [`cli::main`] and nothing else. With the feature `client` alone it is
//! [`client`] and the part of [`wire`] that writes.
//!
//! # The rooms
//!
//! From the ground up: a room uses those above it in this table and none below. The first page of each, its `mod.rs`, says where
//! each of its promises is kept.
//!
//! | room | responsible for |
//! |---|---|
//! | [`backoff`], [`codes`], `duration`, `quote`, `plural`, `limits`, `descriptors`, `panics`, `rate_limit` | one small thing each |
//! | `failpoint` | faults that a test injects, compiled into test builds alone |
//! | [`config`] | files and the environment become valid [`config::Settings`], or a list of all that is wrong |
//! | [`wire`] | the wire format: a [`wire::Decoder`] makes a [`wire::MessageSet`] of a batch, with a verdict per metric |
//! | [`observe`] | the log, and systemd |
//! | `connect` | connections to servers: names, addresses, TLS |
//! | `queue` | a durable queue in one file |
//! | `listener` | the Redis-compatible server that clients push to |
//! | [`statsd`] | takes datagrams of statsd, and makes messages of what they come to |
//! | [`channel`] | where messages wait: the contract ([`channel::Channel`], [`channel::Lease`]), kept in Redis by [`channel::redis`] and in `queue`, with `listener` in front, by [`channel::embedded`] |
//! | [`publisher`] | where metrics go: the contract ([`publisher::Publisher`]), and a folder a destination |
//! | [`supervision`] | keeps actors at work, restarts them, drains them in order; knows none by name |
//! | [`status`] | what an operator is told: conditions that last, dead letters, the ledger |
//! | [`web`] | how the agent is, over HTTP: for whoever starts it, for Prometheus, for a browser |
//! | [`agent`] | the actors, and the one function that wires them |
//! | [`client`] | queues messages from Rust programs |
//! | [`cli`] | the command line |
//!
//! Decisions, such as when a batch is due, what an answer means and whether a child may restart, are pure functions, tested without
//! actors, servers or clocks.
//!
//! # The way of a message
//!
//! From a push to InfluxDB, file by file, with the embedded channel:
//!
//! 1. `listener/connection.rs` reads bytes, `listener/decoder.rs` finds a request in them, `listener/commands/queue.rs` runs the `LPUSH`,
//!    and `listener/session.rs` gathers the pushes of a pipeline into one.
//! 2. `channel/embedded/backend.rs` hands them to the `queue`: `queue/group_commit.rs` commits all pushes that came together,
//!    `queue/writer/incoming.rs` writes them as chunks, `queue/state.rs` counts them as waiting. Then the client has its answer, and the
//!    message outlives the process.
//! 3. `agent/receiver.rs` asks the channel for as many as `agent/batcher.rs` wants. `queue/state.rs` puts them under a lease,
//!    `queue/reader.rs` reads them, and `channel/lease_registry.rs` has the lease from here on, whatever happens to an actor.
//! 4. `agent/batcher.rs` has `wire/decode.rs` read each message, sets aside what cannot be read, and sends a batch that is due
//!    (`agent/batching.rs`) to a publisher that is free, as far as `agent/limiter.rs` permits.
//! 5. `agent/publisher.rs` has `publisher/line/publisher.rs` write it: `publisher/line/encoder.rs` makes lines, `publisher/http/transport.rs`
//!    sends them, `publisher/influxdb/v1/answers.rs` reads the answer as a verdict, and `publisher/isolate/mod.rs` finds the points that were
//!    refused.
//! 6. `agent/publisher.rs` completes the lease in the channel: `queue/settlement.rs` and `queue/writer/outgoing.rs` delete the messages and
//!    store dead letters in one transaction, and the tally of `channel/lease_registry.rs` balances.
//!
//! With a Redis as the channel, clients push there; `channel/redis/receive.rs` takes the place of 1 to 3, and `channel/redis/settle.rs` that
//! of 6, each step one atomic script.

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "agent")]
pub mod backoff;
#[cfg(feature = "agent")]
pub mod channel;
#[cfg(feature = "agent")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "agent")]
pub mod codes;
#[cfg(feature = "agent")]
pub mod config;
#[cfg(feature = "agent")]
mod connect;
#[cfg(feature = "agent")]
mod descriptors;
#[cfg(feature = "agent")]
mod duration;
#[cfg(feature = "agent")]
mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "agent")]
mod limits;
#[cfg(feature = "agent")]
mod listener;
#[cfg(feature = "agent")]
pub mod observe;
#[cfg(feature = "agent")]
mod panics;
#[cfg(feature = "agent")]
mod plural;
#[cfg(feature = "agent")]
pub mod publisher;
#[cfg(feature = "agent")]
mod queue;
#[cfg(feature = "agent")]
mod quote;
#[cfg(feature = "agent")]
mod rate_limit;
#[cfg(feature = "agent")]
pub mod statsd;
#[cfg(feature = "agent")]
pub mod status;
#[cfg(feature = "agent")]
pub mod supervision;
#[cfg(feature = "agent")]
pub mod web;
pub mod wire;
