//! What every destination of line protocol over HTTP shares.
//!
//! [`LinePublisher`] is the publisher: [`Encoder`] makes lines of messages a window at a time, [`http`](super::http) sends them, and
//! [`isolate`](super::isolate) finds the lines that were refused. A destination is a [`Dialect`]: a table of its answers and its
//! parameters. How text is escaped is in `escape`, and `reader` reads lines back in tests.

mod dialect;
mod encoder;
mod escape;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod lines;
mod publisher;
#[cfg(any(test, feature = "fuzzing"))]
mod reader;
mod verdict;

pub use self::publisher::LinePublisher;
pub(super) use self::{
    dialect::{Dialect, Hide, Sent},
    encoder::Rules,
    verdict::{Cause, Fault, Verdict},
};
use self::{
    encoder::Encoder,
    lines::{Lines, Place},
};
