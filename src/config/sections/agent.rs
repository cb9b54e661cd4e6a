//! `[agent]`

use std::time::Duration;

use super::{HOUR, secs};
use crate::config::{
    schema::Fallback::{HostName, Is},
    value_type::ValueType,
};

section! {
    /// The agent as a whole.
    "agent" pub struct Agent {
        /// Who takes messages, as Redis and the dead letters name it. Give each agent on a host a name of its own,
        /// and in a container one that a restart keeps.
        name: String = HostName, ValueType::Text {
            expected: "a name of 1 to 100 characters without spaces, control characters, braces or colons",
            fits: |text| (1..=100).contains(&text.chars().count()) && !text.contains(is_no_part_of_a_name),
        };
        /// How long a stop may take. What is not published by then is given back to the channel, so nothing is lost,
        /// but another agent has to do it. Keep it below what systemd, supervisord or the container engine waits
        /// before it kills.
        shutdown_timeout: Duration = Is("30s"), ValueType::Duration { min: secs(1), max: secs(600) };
        /// How often what the agent itself had to drop goes into the database, as the counter KadabraAgentDropped: what a full
        /// queue or a max_backlog has dropped, and of statsd what was refused, or dropped by the kernel. Nothing is written
        /// where nothing was dropped. 0s is never.
        drops_interval: Option<Duration> = Is("10s"), ValueType::Duration { min: Duration::ZERO, max: secs(HOUR) };
    }
    on reload Restart;
}

/// In Redis the name is between the braces and the colons of other keys' names.
fn is_no_part_of_a_name(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "{}:".contains(c)
}
