//! `[nanny]`

use std::time::Duration;

use super::{COUNT, HOUR, millis, secs};
use crate::config::{schema::Fallback::Is, value_type::ValueType};

section! {
    /// The care for messages that wait, and for those that their agent cannot finish: of an agent that died, or that
    /// Kadabra's Python agent left.
    "nanny" pub struct Nanny {
        /// How often to look for messages that no living agent works on, and how the channel stands (that every
        /// second at most, and at least every 5 seconds and twice in warn_age).
        frequency: Duration = Is("30s"), ValueType::Duration { min: millis(100), max: secs(HOUR) };
        /// How long a Python agent's in-progress list must lie untouched before it is adopted. Longer than that
        /// agent's batch interval while one still runs, or its messages are published twice.
        threshold: Duration = Is("60s"), ValueType::Duration { min: secs(1), max: secs(24 * HOUR) };
        /// How long the oldest message may wait before the log and check --online warn, in an agent's hands or not:
        /// since it was accepted or, in a Redis, was queued by the clock of its client.
        warn_age: Duration = Is("5m"), ValueType::Duration { min: secs(1), max: secs(24 * HOUR) };
        /// How many messages may wait before the log and check --online warn.
        warn_messages: usize = Is("100000"), COUNT;
    }
    on reload Restart;
}
