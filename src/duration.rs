//! Durations in sentences.

use std::time::Duration;

/// Below this, milliseconds are worth saying.
const SHORT: Duration = Duration::from_secs(10);

/// A duration as one says it: to the millisecond while it is short, and in whole seconds from ten on.
pub(crate) fn for_people(duration: Duration) -> String {
    let whole = Duration::from_secs(duration.as_secs());
    let told = if duration < SHORT { whole + Duration::from_millis(duration.subsec_millis().into()) } else { whole };
    humantime::format_duration(told).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_said_as_people_do() {
        assert_eq!(for_people(Duration::from_micros(123_456_789)), "2m 3s");
        assert_eq!(for_people(Duration::from_micros(1_234_567)), "1s 234ms");
        assert_eq!(for_people(Duration::from_micros(12_345)), "12ms");
        assert_eq!(for_people(Duration::ZERO), "0s");
        for_people(Duration::MAX);
    }
}
