//! What every destination of line protocol over HTTP shares.
//!
//! [`LinePublisher`] is the publisher: [`window`] makes lines of messages, in the [`Form`] of the destination, [`http`](super::http) sends them, and
//! [`isolate`](super::isolate) finds the lines that were refused. A destination is a [`Dialect`]: a table of its answers and its
//! parameters. What a database has
//! and what waits for it are compared in `columns`. How text is escaped is in `escape`, and `reader` reads lines back in tests.

mod columns;
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
mod window;

pub(super) use self::lines::Lines;
pub use self::publisher::LinePublisher;
pub(super) use self::{
    columns::{ColumnType, Columns},
    dialect::{Dialect, Hide, Sent},
    encoder::{Encoder, Number, Rules, last_of_each},
    escape::{Backslashes, stored_key},
    lines::Place,
    verdict::{Cause, Fault, Verdict},
    window::{Encode, Form},
};
