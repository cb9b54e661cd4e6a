//! From decoded messages to line protocol.

mod encoder;
mod escape;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod reader;

pub(super) use self::encoder::{Encoder, Lines, Place};
