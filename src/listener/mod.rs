//! The Redis-compatible server that clients push to: as much of a Redis as they need, over the small [`Backend`] of a queue.
//!
//! It knows no channel, no file and no lease. From the outside in:
//!
//! - [`server`] accepts clients on the sockets of [`listen`], or on [`passed`] ones, which outlive the agent; [`port_probe`] says which
//!   program has a port that is taken.
//! - [`connection`] moves a client's bytes and keeps its deadlines: no other client waits for a slow or a silent one.
//! - [`conversation`] is the same without a socket: the [`decoder`] reads [`request`]s, [`commands`] run them (its `table` says which
//!   there are and which client sends each), [`replies`] are the answers.
//! - [`session`] is what is known of a client between two commands, with the pushes and transactions that are [`pending`].
//!
//! What clients may take is bounded: memory by [`memory`], places by [`crate::descriptors`], and both, for clients that have not said
//! the password, by [`unauthenticated`]. Each refusal and each disconnect has a [`cause`], and [`refusals`] counts and logs them;
//! [`report`] is all of that in one value. While the disk stalls, [`stalled`] ends connections that cannot be answered.

mod backend;
mod cause;
mod clients;
mod commands;
mod connection;
mod conversation;
mod decoder;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
mod inline;
mod listen;
mod memory;
mod passed;
mod pending;
mod port_probe;
mod refusals;
mod replies;
mod report;
mod request;
#[cfg(test)]
mod request_tests;
mod server;
mod session;
mod settings;
mod shared;
mod stalled;
#[cfg(any(test, feature = "failpoints", feature = "fuzzing"))]
#[doc(hidden)]
pub mod test_server;
mod unauthenticated;
mod words;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzzing::resp as fuzz_resp;

pub use backend::{Backend, BackendError, ConsumerStatus, End, PushError, QueueStatus};
pub use cause::Cause;
pub(crate) use cause::Limits;
pub use error::BindError;
pub(crate) use listen::{UnixSocket, bound as bound_socket, socket_file, unix as listen_on_unix};
pub use passed::PassedSockets;
pub(crate) use refusals::Refusals;
pub use refusals::Refused;
pub(crate) use report::{OtherCounts, Report, Times};
pub(crate) use server::Server;
#[cfg_attr(
    not(any(test, feature = "failpoints", feature = "fuzzing")),
    expect(unreachable_pub, reason = "tests make them from outside")
)]
pub use settings::Settings;
pub(crate) use words::WRONG_QUEUE;
