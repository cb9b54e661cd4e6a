//! How long the room of the queue lasts at the rate at which it was taken lately: what came in less what went out, over minutes. Pure;
//! the clock is the caller's.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use crate::duration::for_people;

/// Over how long the rate is measured, and how long at least.
const LONGEST: Duration = Duration::from_secs(600);
const SHORTEST: Duration = Duration::from_secs(60);
/// The least time between two samples that are kept.
const PAUSE: Duration = Duration::from_secs(10);

/// How long the room lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Outlook {
    /// At the present rate there is none left after this.
    FullIn(Duration),
    /// As much goes out as comes in, or more.
    NeverFull,
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FullIn(time) => {
                let seconds = time.as_secs();
                let about = if seconds < 600 { seconds } else { seconds - seconds % 60 };
                write!(f, "full in {} at the present rate", for_people(Duration::from_secs(about)))
            }
            Self::NeverFull => f.write_str("never full at the present rate"),
        }
    }
}

/// How much room was in use, and when.
#[derive(Debug, Default)]
pub(super) struct Growth {
    samples: VecDeque<(Instant, u64)>,
}

impl Growth {
    /// So many bytes of `all` are in use now. Returns how long the rest lasts, once that has been looked at for a minute.
    pub(super) fn outlook(&mut self, used: u64, all: u64, now: Instant) -> Option<Outlook> {
        let age = |at: &(Instant, u64)| now.saturating_duration_since(at.0);
        while self.samples.get(1).is_some_and(|second| age(second) >= LONGEST) {
            self.samples.pop_front();
        }
        if self.samples.back().is_none_or(|last| age(last) >= PAUSE) {
            self.samples.push_back((now, used));
        }
        let &(since, before) = self.samples.front()?;
        let measured = now.saturating_duration_since(since);
        if measured < shortest() {
            return None;
        }
        let grown = used.saturating_sub(before);
        if grown == 0 {
            return Some(Outlook::NeverFull);
        }
        let seconds = measured.as_secs_f64() * all.saturating_sub(used) as f64 / grown as f64;
        // Beyond what a clock can tell, it is never.
        Some(Duration::try_from_secs_f64(seconds).map_or(Outlook::NeverFull, Outlook::FullIn))
    }
}

/// A test need not wait for as long.
fn shortest() -> Duration {
    #[cfg(feature = "failpoints")]
    if fail::eval("queue.outlook", |_| ()).is_some() {
        return Duration::ZERO;
    }
    SHORTEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_lasts_as_long_as_the_net_growth_of_the_last_minutes_says() {
        let (start, mut growth) = (Instant::now(), Growth::default());
        let mut at = |seconds: u64, used: u64| growth.outlook(used, 10_000, start + Duration::from_secs(seconds));
        let full_in = |seconds| Some(Outlook::FullIn(Duration::from_secs(seconds)));
        assert_eq!(at(0, 1000), None);
        assert_eq!(at(59, 2000), None, "after less than a minute nothing is known");
        assert_eq!(at(60, 1600), full_in(840));
        // An hour at which nothing more comes.
        for seconds in (70..3600).step_by(10) {
            at(seconds, 1600);
        }
        assert_eq!(at(3600, 1600), Some(Outlook::NeverFull));
        assert_eq!(at(3660, 1000), Some(Outlook::NeverFull));
        // The jump at the end is spread over the ten minutes before it.
        assert_eq!(at(3670, 2200), full_in(600 * 7800 / 600));
        assert_eq!(at(3680, 10_000), full_in(0));
    }

    #[test]
    fn few_samples_are_kept_however_often_it_is_asked() {
        let (start, mut growth) = (Instant::now(), Growth::default());
        for millis in (0..3_600_000).step_by(500) {
            growth.outlook(1, 2, start + Duration::from_millis(millis));
        }
        assert!(growth.samples.len() <= 62, "{}", growth.samples.len());
    }

    #[test]
    fn it_is_said_in_words() {
        let full = Outlook::FullIn(Duration::from_secs(9 * 3600 + 59));
        assert_eq!(full.to_string(), format!("full in {} at the present rate", for_people(Duration::from_secs(9 * 3600))));
        assert_eq!(Outlook::NeverFull.to_string(), "never full at the present rate");
    }
}
