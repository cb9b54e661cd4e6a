//! `[supervisor]`

use std::time::Duration;

use super::{HOUR, PAUSE_MAX, PAUSE_MIN, millis, secs};
use crate::config::{cross_checks::CrossChecks, schema::Fallback::Is, value_type::ValueType};

section! {
    /// What happens when a part of the agent fails: it is restarted, and when that does not help the process ends.
    "supervisor" pub struct Supervisor {
        /// How many restarts of one part in one window are tried before the process gives its messages back and ends,
        /// for systemd to start it afresh. With 0 the first failure ends it.
        max_restarts: u32 = Is("5"), ValueType::Number { min: 0, max: 1000 };
        /// The time in which restarts are counted.
        window: Duration = Is("60s"), ValueType::Duration { min: secs(1), max: secs(24 * HOUR) };
        /// The pause before the first restart; it doubles with each further one.
        backoff_min: Duration = Is("100ms"), PAUSE_MIN;
        /// The longest pause before a restart.
        backoff_max: Duration = Is("10s"), PAUSE_MAX;
        /// How long a part may be at one piece of work before it counts as hung and is restarted; waiting for
        /// messages or for a database that is away does not count. Longer than every timeout above.
        hang_timeout: Duration = Is("30s"), ValueType::Duration { min: millis(100), max: secs(HOUR) };
    }
    checks cross_check;
    on reload Restart;
}

fn cross_check(checks: &mut CrossChecks<'_>) {
    checks.no_longer(Supervisor::backoff_min, Supervisor::backoff_max);
}
