//! `[batch]`

use std::time::Duration;

use super::{HOUR, MESSAGE_BYTES, secs};
use crate::config::{schema::Fallback::Is, value_type::ValueType};

section! {
    /// How many messages are published together. Whichever of the three is reached first makes a batch due.
    "batch" pub struct Batch {
        /// How old a batch may get. With 0s messages are published as soon as a publisher is free: quickest, and
        /// batches still grow under load. "60s" is Kadabra's batched agent: fewer, larger writes, for a database that
        /// many agents share.
        interval: Duration = Is("0s"), ValueType::Duration { min: Duration::ZERO, max: secs(HOUR) };
        /// How many messages a batch may have.
        max_messages: usize = Is("10000"), ValueType::Number { min: 1, max: 1_000_000 };
        /// How many bytes of messages a batch may have. The agent's memory grows with it: a few times this for each
        /// of publisher.workers, of each publisher. Lower it when the database answers that a write is too large.
        max_bytes: usize = Is("1MiB"), MESSAGE_BYTES;
    }
}
