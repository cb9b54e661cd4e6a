//! The wire format: what a Kadabra client queues, decoded and written. Knows no channel, no destination and no option of one.
//!
//! A [`MessageSet`] holds every message of one batch in a few flat vectors, so that decoding allocates per
//! batch and not per message, point or string. [`Decoder`] fills it; publishers read it. [`OutgoingMessage`] is the
//! other direction, for a client.
//!
//! | promise | kept by |
//! |---|---|
//! | a message means what it meant to the Python agent | `decode` (its table), `timestamp`, `python_json`, `python_text` |
//! | a bad metric costs no other, and its reason is a sentence | `decode/validate`, `decode/fields`, `decode/sentence` |
//! | no message takes more than a bounded amount of memory | `memory_budget` |
//! | what several pipelines have in hand at the same time is decoded once | `payloads` |
//! | a message has one digest for ever | [`Message::digest`] |
//! | what a client writes is what the Python client writes | `message` |

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod build;
#[cfg_attr(not(feature = "agent"), expect(dead_code, reason = "the agent reads dates, a client only writes them"))]
mod civil;
#[cfg(feature = "agent")]
mod decode;
#[cfg(feature = "agent")]
mod memory_budget;
mod message;
#[cfg(feature = "agent")]
mod metric_pattern;
#[cfg(feature = "agent")]
mod payloads;
#[cfg(feature = "agent")]
mod python_json;
mod python_text;
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
pub(crate) use metric_pattern::MetricPattern;
#[cfg(feature = "agent")]
pub use payloads::Payloads;
#[cfg(feature = "agent")]
pub use set::{Dimension, Field, Kind, Message, MessageSet, Point, Refusal, Scalar, Text};
#[cfg(feature = "agent")]
pub use timestamp::queued_at;
