//! `[batch]`

use std::time::Duration;

use super::{HOUR, MESSAGE_BYTES, secs};
use crate::config::{cross_checks::CrossChecks, schema::Fallback::Is, value_type::ValueType};

section! {
    /// How many messages are published together. Whichever of interval, max_messages and max_bytes is reached first makes a batch due.
    "batch" pub struct Batch {
        /// How old a batch may get. With 0s it is published as soon as it is taken from the channel, which linger and
        /// max_linger put off. "60s" is Kadabra's batched agent: fewer, larger writes, for a database that many agents
        /// share; linger and max_linger are no longer than this then.
        interval: Duration = Is("0s"), ValueType::Duration { min: Duration::ZERO, max: secs(HOUR) };
        /// How soon after a batch began to be taken from the channel the next one may. What comes meanwhile is published
        /// together, so a busy second makes 20 requests; a message after a quiet second is published at once, and so is
        /// what is more than half a full batch. With 0s each batch is taken as soon as a publisher is free: quickest under
        /// load by those milliseconds, for a request and its CPU a message.
        linger: Duration = Is("50ms"), ValueType::Duration { min: Duration::ZERO, max: secs(10) };
        /// As long as a batch has fewer than 20 messages, the next one lingers longer, up to this: many hosts with
        /// little each then make a request a second each. No message waits longer than this for others.
        max_linger: Duration = Is("1s"), ValueType::Duration { min: Duration::ZERO, max: secs(60) };
        /// How many messages a batch may have.
        max_messages: usize = Is("10000"), ValueType::Number { min: 1, max: 1_000_000 };
        /// How many bytes of messages a batch may have. The agent's memory grows with it: a few times this for each
        /// of publisher.workers, of each publisher. Lower it when the database answers that a write is too large.
        max_bytes: usize = Is("1MiB"), MESSAGE_BYTES;
    }
    checks cross_check;
    on reload Rebuilds;
}

fn cross_check(checks: &mut CrossChecks<'_>) {
    checks.no_longer(Batch::linger, Batch::max_linger);
}
