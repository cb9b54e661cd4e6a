//! The wire format: what a Kadabra client queues, decoded and written. Knows nothing of channels or actors.
//!
//! A [`MessageSet`] holds every message of one batch in a few flat vectors, so that decoding allocates per
//! batch and not per message, point or string. [`Decoder`] fills it; a publisher reads it. [`OutgoingMessage`] is the
//! other direction, for a client.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod build;
mod decode;
mod message;
mod python_json;
mod python_text;
mod room;
mod set;
mod timestamp;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use decode::fuzzing::decode as fuzz_decode;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use timestamp::fuzzing::timestamp as fuzz_timestamp;

pub use decode::Decoder;
pub(crate) use decode::MOST_REFUSALS;
pub use message::{MessageError, Metadata, OutgoingMessage, Unit};
pub use set::{Dimension, Field, Kind, Message, MessageSet, Point, Refusal, Scalar, Text};
pub use timestamp::{DEFAULT_FORMAT as DEFAULT_TIMESTAMP_FORMAT, queued_at};
