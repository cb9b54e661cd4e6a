//! When to speak of one condition: the decision, without a clock or a log.

use std::time::Duration;

use tokio::time::Instant;

use super::{ActiveCondition, Condition};
use crate::codes::Code;

/// The pause before a condition is said again the first time; then it doubles.
const FIRST_INTERVAL: Duration = Duration::from_secs(10);
/// The longest pause before a condition is said again.
const LAST_INTERVAL: Duration = Duration::from_secs(600);
/// How many wordings of one condition are told apart. With more, as of an error that names another port each time, a new
/// one waits for its interval like an old one.
const WORDINGS: usize = 8;

/// What is remembered of one condition.
#[derive(Debug, Default)]
pub(super) struct History {
    state: Option<State>,
    /// When it was last said that it began, so that a state that comes and goes does not fill the log.
    began: Option<Instant>,
    /// What was said since then or since the last interval.
    wordings: Vec<String>,
}

#[derive(Debug)]
struct State {
    since: Instant,
    attempts: u64,
    code: Code,
    what: String,
    mend: Option<String>,
    now: Option<String>,
    said: Option<Said>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    interval: Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    Silent,
    New,
    Still { lasted: Duration, attempts: u64 },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) lasted: Duration,
    pub(super) attempts: u64,
}

impl History {
    pub(super) fn begin(&mut self, now: Instant, code: Code, what: &str, mend: Option<&str>) -> Begun {
        let begun = || State { since: now, attempts: 0, code, what: String::new(), mend: None, now: None, said: None };
        let state = self.state.get_or_insert_with(begun);
        state.attempts += 1;
        state.code = code;
        what.clone_into(&mut state.what);
        state.mend = mend.map(str::to_owned);
        let lasted = now.saturating_duration_since(state.since);

        let new_wording = !self.wordings.iter().any(|wording| wording == what) && self.wordings.len() < WORDINGS;
        match &mut state.said {
            None => {
                let just_before = self.began.is_some_and(|began| now.saturating_duration_since(began) < FIRST_INTERVAL);
                if just_before && !new_wording {
                    return Begun::Silent;
                }
                if !just_before {
                    self.began = Some(now);
                    self.wordings.clear();
                }
                self.wordings.push(what.to_owned());
                state.said = Some(Said { at: now, interval: FIRST_INTERVAL });
            }
            Some(_) if new_wording => self.wordings.push(what.to_owned()),
            Some(said) if now.saturating_duration_since(said.at) < said.interval => return Begun::Silent,
            Some(said) => {
                said.at = now;
                said.interval = said.interval.saturating_mul(2).min(LAST_INTERVAL);
                self.wordings = vec![what.to_owned()];
            }
        }
        if state.attempts == 1 { Begun::New } else { Begun::Still { lasted, attempts: state.attempts } }
    }

    /// How it stands, in numbers.
    pub(super) fn stands(&mut self, now: &str) {
        if let Some(state) = &mut self.state {
            state.now = Some(now.to_owned());
        }
    }

    pub(super) fn end(&mut self, now: Instant) -> Option<Ended> {
        let state = self.state.take()?;
        let ended = Ended { lasted: now.saturating_duration_since(state.since), attempts: state.attempts };
        state.said.map(|_| ended)
    }

    pub(super) fn is_active(&self) -> bool {
        self.state.is_some()
    }

    pub(super) fn active(&self, who: Condition, now: Instant) -> Option<ActiveCondition> {
        self.state.as_ref().map(|state| ActiveCondition {
            who,
            code: state.code,
            now: state.now.clone(),
            what: state.what.clone(),
            mend: state.mend.clone(),
            lasted: now.saturating_duration_since(state.since),
            attempts: state.attempts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// The seconds at which a condition that fails every second is said.
    fn said_at(seconds: u64) -> Vec<u64> {
        let (start, mut history) = (Instant::now(), History::default());
        (0..seconds)
            .filter(|&second| history.begin(after(start, second), Code::PublisherAway, "gone", None) != Begun::Silent)
            .collect()
    }

    #[test]
    fn a_lasting_condition_is_said_at_growing_intervals_up_to_ten_minutes() {
        assert_eq!(said_at(2600), [0, 10, 30, 70, 150, 310, 630, 1230, 1830, 2430]);
    }

    #[test]
    fn each_saying_tells_how_long_and_how_often() {
        let (start, mut history) = (Instant::now(), History::default());
        assert_eq!(history.begin(start, Code::PublisherAway, "gone", None), Begun::New);
        assert_eq!(history.begin(after(start, 9), Code::PublisherAway, "gone", None), Begun::Silent);
        assert_eq!(
            history.begin(after(start, 11), Code::PublisherAway, "gone", None),
            Begun::Still { lasted: Duration::from_secs(11), attempts: 3 }
        );
        assert_eq!(history.end(after(start, 12)), Some(Ended { lasted: Duration::from_secs(12), attempts: 3 }));
    }

    #[test]
    fn the_end_is_said_once_and_only_of_what_was_said() {
        let (start, mut history) = (Instant::now(), History::default());
        assert_eq!(history.end(start), None);
        history.begin(start, Code::PublisherAway, "gone", None);
        assert!(history.end(start).is_some());
        assert_eq!(history.end(start), None);
    }

    #[test]
    fn a_new_wording_is_said_at_once_and_two_workers_wordings_do_not_alternate() {
        let (start, mut history) = (Instant::now(), History::default());
        history.begin(start, Code::PublisherAway, "refused", None);
        assert!(matches!(history.begin(after(start, 1), Code::PublisherAway, "401", None), Begun::Still { attempts: 2, .. }));
        assert_eq!(history.begin(after(start, 2), Code::PublisherAway, "refused", None), Begun::Silent);
        assert_eq!(history.begin(after(start, 3), Code::PublisherAway, "401", None), Begun::Silent);
    }

    #[test]
    fn a_wording_that_never_repeats_does_not_fill_the_log() {
        let (start, mut history) = (Instant::now(), History::default());
        let said = (0..1000)
            .filter(|port| history.begin(start, Code::PublisherAway, &format!("port {port}"), None) != Begun::Silent)
            .count();
        assert_eq!(said, WORDINGS);
    }

    #[test]
    fn a_condition_that_comes_and_goes_does_not_fill_the_log() {
        let (start, mut history) = (Instant::now(), History::default());
        let (mut begun, mut ended) = (0, 0);
        for second in 0..100 {
            begun += usize::from(history.begin(after(start, second), Code::PublisherAway, "gone", None) != Begun::Silent);
            ended += usize::from(history.end(after(start, second)).is_some());
        }
        assert_eq!((begun, ended), (10, 10));
    }

    #[test]
    fn a_condition_that_comes_back_at_once_and_stays_is_said_within_the_first_interval() {
        let (start, mut history) = (Instant::now(), History::default());
        history.begin(start, Code::PublisherAway, "gone", None);
        history.end(after(start, 1));
        let said =
            (2..100).find(|&second| history.begin(after(start, second), Code::PublisherAway, "gone", None) != Begun::Silent);
        assert_eq!(said, Some(10));
    }

    #[test]
    fn another_fault_just_after_the_end_is_said_at_once() {
        let (start, mut history) = (Instant::now(), History::default());
        history.begin(start, Code::PublisherAway, "refused", None);
        history.end(after(start, 1));
        assert_eq!(history.begin(after(start, 2), Code::PublisherAway, "401", Some("set the password")), Begun::New);
        assert!(history.end(after(start, 3)).is_some());
    }
}
