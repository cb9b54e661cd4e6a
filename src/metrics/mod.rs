//! The wire format: what a Kadabra client queues, decoded. Knows nothing of channels or actors.
//!
//! A [`MessageSet`] holds every message of one batch in a few flat vectors, so that decoding allocates per
//! batch and not per message, point or string. [`Decoder`] fills it; a publisher reads it.

#[cfg(test)]
pub(crate) mod build;
mod decode;
mod python_json;
mod python_text;
mod set;
mod timestamp;

pub use decode::Decoder;
pub use set::{Dimension, Field, Kind, Message, MessageSet, Point, Refusal, Scalar, Text};
