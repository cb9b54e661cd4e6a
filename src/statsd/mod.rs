//! The door for clients of statsd and DogStatsD: datagrams become messages of Kadabra, interval by interval. Knows no channel; an actor
//! ([`crate::agent`]) serves it and queues what it makes.
//!
//! | promise | kept by |
//! |---|---|
//! | any bytes are read, and a bad line costs no other | `parser`, a pure function |
//! | memory is bounded, by a number of series and by bytes | `aggregate` |
//! | a percentile is right to one per cent, in bounded memory | `sketch` |
//! | a message is a client's message, and never longer than the channel allows | `messages`, [`crate::wire::OutgoingMessage`] |
//! | what was received is aggregated, ignored or refused for a reason, and counted; so is what the kernel dropped | `counts`, [`Reason`], `socket` |
//! | an actor that fails loses nothing that was aggregated | [`Door`] |

mod aggregate;
mod counts;
mod door;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
mod messages;
mod parser;
mod reason;
mod sketch;
mod socket;

pub use counts::Counts;
pub use door::Door;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzzing::statsd as fuzz_statsd;
pub use reason::Reason;
