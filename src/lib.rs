//! Kadabra carries application metrics from a program to a time-series database without the program ever waiting for the database.
//!
//! A client in the program pushes a message onto a *channel* (a file of the agent's own, or a Redis list); the *agent*, a
//! process of its own beside the program, leases messages from the channel, *publishes* them (to InfluxDB, or to a log),
//! and settles the lease.
//! This crate is the agent; its binary, `kadabra`, is [`cli::main`] and nothing else.
//!
//! # A tour of the house
//!
//! Begin with [`agent`]: its first page draws the actors and what moves between them, and one function wires them.
//! From there, the way of a message:
//!
//! 1. [`channel`] is where messages wait. A message is taken off under a [`channel::Lease`] and stays in the channel,
//!    leased, until it is settled; the [`channel::LeaseRegistry`] knows every open lease and keeps the tally that must
//!    balance. [`channel::redis`] keeps that contract in Redis, each step one atomic script; [`channel::embedded`] keeps
//!    it in a file, and is as much of a Redis to clients as they need.
//! 2. [`wire`] is the wire format. A [`wire::Decoder`] reads a whole batch into one flat [`wire::MessageSet`],
//!    with a verdict per metric and not only per message.
//! 3. [`publisher`] is where metrics go. A [`publisher::Publisher`] turns the set into a request, reads the answer as
//!    a verdict, and isolates the points that were refused.
//! 4. [`agent`] moves batches between the two, and ends in order; [`supervision`] keeps its actors at work.
//!
//! Around them: [`config`] turns files and the environment into valid [`config::Settings`], or says everything that is
//! wrong at once; [`observe`] is what the agent says of itself; [`client`] queues messages from Rust; [`backoff`] is
//! how long everybody pauses before trying again; `connect` makes every connection to a server; [`cli`] is the command line.
//!
//! Dependencies point one way: `wire` <- `channel`, `publisher` <- `agent` <- `cli`. Decisions (when is a batch
//! due, what does this answer mean, may this child restart) are pure functions, tested without actors, servers or clocks.

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
pub mod status;
#[cfg(feature = "agent")]
pub mod supervision;
pub mod wire;
