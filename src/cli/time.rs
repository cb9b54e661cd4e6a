//! A time in the command line.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// A time, or how long ago.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    let ago = |ago: Duration| SystemTime::now().checked_sub(ago).and_then(|time| Timestamp::try_from(time).ok());
    let time = text.parse::<Timestamp>().ok().or_else(|| humantime::parse_duration(text).ok().and_then(ago));
    time.ok_or_else(|| "expected a time such as 2026-03-01T12:00:00Z, or a duration such as 2h".to_owned())
}
