//! The wire format: what a Kadabra client queues, decoded and written. Knows nothing of channels or actors.
//!
//! A [`MessageSet`] holds every message of one batch in a few flat vectors, so that decoding allocates per
//! batch and not per message, point or string. [`Decoder`] fills it; a publisher reads it. [`OutgoingMessage`] is the
//! other direction, for a client.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod build;
#[cfg_attr(not(feature = "agent"), expect(dead_code, reason = "the agent reads dates, a client only writes them"))]
mod civil;
#[cfg(feature = "agent")]
mod decode;
mod message;
#[cfg(feature = "agent")]
mod python_json;
mod python_text;
#[cfg(feature = "agent")]
mod room;
#[cfg(feature = "agent")]
mod set;
#[cfg(feature = "agent")]
mod timestamp;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use decode::fuzzing::decode as fuzz_decode;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use timestamp::fuzzing::timestamp as fuzz_timestamp;

#[cfg(feature = "agent")]
pub use decode::Decoder;
#[cfg(feature = "agent")]
pub(crate) use decode::MOST_REFUSALS;
pub use message::{DEFAULT_FORMAT as DEFAULT_TIMESTAMP_FORMAT, MessageError, Metadata, OutgoingMessage, Unit};
#[cfg(feature = "agent")]
pub use set::{Dimension, Field, Kind, Message, MessageSet, Point, Refusal, Scalar, Text};
#[cfg(feature = "agent")]
pub use timestamp::queued_at;
