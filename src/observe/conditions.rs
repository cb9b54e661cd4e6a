//! States that last, such as a Redis that is gone or a hold: said when they begin, at growing intervals, and when they end.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use slog::{Logger, error, info, o, warn};

/// The pause before a condition is said again the first time; then it doubles.
const FIRST_INTERVAL: Duration = Duration::from_secs(10);
/// The longest pause before a condition is said again.
const LAST_INTERVAL: Duration = Duration::from_secs(600);
/// How many wordings of one condition are told apart. With more, as of an error that names another port each time, a new
/// one waits for its interval like an old one.
const WORDINGS: usize = 8;

/// Who cannot go on. Several workers may report the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The channel: nothing can be leased or settled.
    Channel,
    /// The publisher: nothing can be written.
    Publisher,
}

impl Condition {
    /// The name in log values and on the status page.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Publisher => "publisher",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A condition that has begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActiveCondition {
    /// Who cannot go on.
    pub who: Condition,
    /// What is wrong, as last reported.
    pub what: String,
    /// What an operator can do about it, when waiting does not help.
    pub mend: Option<String>,
    /// How long already.
    pub lasted: Duration,
    /// How many attempts have failed.
    pub attempts: u64,
}

/// The conditions of one process, shared by everyone who can fail or look.
#[derive(Debug)]
pub struct Conditions {
    log: Logger,
    conditions: Mutex<BTreeMap<Condition, Memory>>,
}

impl Conditions {
    /// No condition; what begins and ends will be said to `log`.
    #[must_use]
    pub fn new(log: &Logger) -> Self {
        Self { log: log.new(o!()), conditions: Mutex::default() }
    }

    /// An attempt has failed. Said at once when that is new or worded anew, otherwise only now and then: as a warning while
    /// waiting may help, as an error when an operator must `mend` something.
    pub fn begin(&self, who: Condition, what: &str, mend: Option<&str>) {
        let mut conditions = self.lock();
        // Said under the lock, so that a line "again" is never found after the line of the next beginning.
        match conditions.entry(who).or_default().begin(Instant::now(), what, mend) {
            Begun::Silent => {}
            Begun::New => self.say(who, what, mend, o!()),
            Begun::Still { lasted, attempts } => {
                self.say(who, what, mend, o!("for" => for_people(lasted), "attempts" => attempts));
            }
        }
    }

    fn say<T: slog::SendSyncRefUnwindSafeKV + 'static>(
        &self,
        who: Condition,
        what: &str,
        mend: Option<&str>,
        more: slog::OwnedKV<T>,
    ) {
        let log = self.log.new(o!("who" => who.name())).new(more);
        match mend {
            Some(mend) => error!(log, "{}", what; "mend" => mend),
            None => warn!(log, "{}", what),
        }
    }

    /// An attempt has succeeded. Said once, if the condition was said.
    pub fn end(&self, who: Condition) {
        let mut conditions = self.lock();
        let ended = conditions.get_mut(&who).and_then(|memory| memory.end(Instant::now()));
        if let Some(Ended { lasted, attempts }) = ended {
            info!(self.log, "{} works again, after {}", who, for_people(lasted); "who" => who.name(), "attempts" => attempts);
        }
    }

    /// What is wrong now.
    #[must_use]
    pub fn active(&self) -> Vec<ActiveCondition> {
        let now = Instant::now();
        self.lock().iter().filter_map(|(who, memory)| memory.active(*who, now)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Condition, Memory>> {
        // Every change is whole before anything that could panic.
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A duration as one says it: whole seconds, or milliseconds below one.
fn for_people(duration: Duration) -> String {
    let whole = if duration < Duration::from_secs(1) { Duration::from_millis(1) } else { Duration::from_secs(1) };
    let units = duration.as_nanos() / whole.as_nanos();
    humantime::format_duration(whole.saturating_mul(u32::try_from(units).unwrap_or(u32::MAX))).to_string()
}

/// What is remembered of one condition: when to speak, without a clock or a log.
#[derive(Debug, Default)]
struct Memory {
    state: Option<State>,
    /// When it was last said that it began, so that a state that comes and goes does not fill the log.
    began: Option<Instant>,
}

#[derive(Debug)]
struct State {
    since: Instant,
    attempts: u64,
    what: String,
    mend: Option<String>,
    said: Option<Said>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    interval: Duration,
    wordings: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Begun {
    Silent,
    New,
    Still { lasted: Duration, attempts: u64 },
}

#[derive(Debug, PartialEq, Eq)]
struct Ended {
    lasted: Duration,
    attempts: u64,
}

impl Memory {
    fn begin(&mut self, now: Instant, what: &str, mend: Option<&str>) -> Begun {
        let state =
            self.state.get_or_insert_with(|| State { since: now, attempts: 0, what: String::new(), mend: None, said: None });
        state.attempts += 1;
        what.clone_into(&mut state.what);
        state.mend = mend.map(str::to_owned);
        let lasted = now.saturating_duration_since(state.since);

        let Some(said) = &mut state.said else {
            let just_before = self.began.is_some_and(|began| now.saturating_duration_since(began) < FIRST_INTERVAL);
            if just_before {
                return Begun::Silent;
            }
            state.said = Some(Said { at: now, interval: FIRST_INTERVAL, wordings: vec![what.to_owned()] });
            self.began = Some(now);
            return if state.attempts == 1 { Begun::New } else { Begun::Still { lasted, attempts: state.attempts } };
        };
        let new_wording = !said.wordings.iter().any(|wording| wording == what) && said.wordings.len() < WORDINGS;
        if new_wording {
            said.wordings.push(what.to_owned());
            return Begun::Still { lasted, attempts: state.attempts };
        }
        if now.saturating_duration_since(said.at) < said.interval {
            return Begun::Silent;
        }
        said.at = now;
        said.interval = said.interval.saturating_mul(2).min(LAST_INTERVAL);
        said.wordings = vec![what.to_owned()];
        Begun::Still { lasted, attempts: state.attempts }
    }

    fn end(&mut self, now: Instant) -> Option<Ended> {
        let state = self.state.take()?;
        let ended = Ended { lasted: now.saturating_duration_since(state.since), attempts: state.attempts };
        state.said.map(|_| ended)
    }

    fn active(&self, who: Condition, now: Instant) -> Option<ActiveCondition> {
        self.state.as_ref().map(|state| ActiveCondition {
            who,
            what: state.what.clone(),
            mend: state.mend.clone(),
            lasted: now.saturating_duration_since(state.since),
            attempts: state.attempts,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use slog::{Drain, Level, OwnedKVList, Record};

    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// The seconds at which a condition that fails every second is said.
    fn said_at(seconds: u64) -> Vec<u64> {
        let (start, mut memory) = (Instant::now(), Memory::default());
        (0..seconds).filter(|&second| memory.begin(after(start, second), "gone", None) != Begun::Silent).collect()
    }

    #[test]
    fn a_lasting_condition_is_said_at_growing_intervals_up_to_ten_minutes() {
        assert_eq!(said_at(2600), [0, 10, 30, 70, 150, 310, 630, 1230, 1830, 2430]);
    }

    #[test]
    fn each_saying_tells_how_long_and_how_often() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        assert_eq!(memory.begin(start, "gone", None), Begun::New);
        assert_eq!(memory.begin(after(start, 9), "gone", None), Begun::Silent);
        assert_eq!(memory.begin(after(start, 11), "gone", None), Begun::Still { lasted: Duration::from_secs(11), attempts: 3 });
        assert_eq!(memory.end(after(start, 12)), Some(Ended { lasted: Duration::from_secs(12), attempts: 3 }));
    }

    #[test]
    fn the_end_is_said_once_and_only_of_what_was_said() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        assert_eq!(memory.end(start), None);
        memory.begin(start, "gone", None);
        assert!(memory.end(start).is_some());
        assert_eq!(memory.end(start), None);
    }

    #[test]
    fn a_new_wording_is_said_at_once_and_two_workers_wordings_do_not_alternate() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        memory.begin(start, "refused", None);
        assert!(matches!(memory.begin(after(start, 1), "401", None), Begun::Still { attempts: 2, .. }));
        assert_eq!(memory.begin(after(start, 2), "refused", None), Begun::Silent);
        assert_eq!(memory.begin(after(start, 3), "401", None), Begun::Silent);
    }

    #[test]
    fn a_wording_that_never_repeats_does_not_fill_the_log() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        let said = (0..1000).filter(|port| memory.begin(start, &format!("port {port}"), None) != Begun::Silent).count();
        assert_eq!(said, WORDINGS);
    }

    #[test]
    fn a_condition_that_comes_and_goes_does_not_fill_the_log() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        let (mut begun, mut ended) = (0, 0);
        for second in 0..100 {
            begun += usize::from(memory.begin(after(start, second), "gone", None) != Begun::Silent);
            ended += usize::from(memory.end(after(start, second)).is_some());
        }
        assert_eq!((begun, ended), (10, 10));
    }

    #[test]
    fn a_condition_that_comes_back_at_once_and_stays_is_said_within_the_first_interval() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        memory.begin(start, "gone", None);
        memory.end(after(start, 1));
        let said = (2..100).find(|&second| memory.begin(after(start, second), "gone", None) != Begun::Silent);
        assert_eq!(said, Some(10));
    }

    #[test]
    fn a_duration_is_said_as_people_do() {
        assert_eq!(for_people(Duration::from_micros(123_456_789)), "2m 3s");
        assert_eq!(for_people(Duration::from_micros(12_345)), "12ms");
        assert_eq!(for_people(Duration::ZERO), "0s");
    }

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<(Level, String)>>>);

    impl Drain for Heard {
        type Ok = ();
        type Err = slog::Never;

        fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), slog::Never> {
            self.0.lock().unwrap().push((record.level(), record.msg().to_string()));
            Ok(())
        }
    }

    #[test]
    fn what_can_be_mended_is_an_error_and_what_may_pass_a_warning() {
        let heard = Heard::default();
        let conditions = Conditions::new(&Logger::root(heard.clone(), o!()));
        conditions.begin(Condition::Channel, "redis is gone", None);
        conditions.begin(Condition::Publisher, "401", Some("set publisher.influxdb.password"));
        conditions.begin(Condition::Publisher, "401", Some("set publisher.influxdb.password"));

        let active = conditions.active();
        assert_eq!(
            active.iter().map(|a| (a.who, a.attempts)).collect::<Vec<_>>(),
            [(Condition::Channel, 1), (Condition::Publisher, 2)]
        );
        assert_eq!(active[1].mend.as_deref(), Some("set publisher.influxdb.password"));

        conditions.end(Condition::Publisher);
        conditions.end(Condition::Publisher);
        assert_eq!(conditions.active().len(), 1);
        let heard = heard.0.lock().unwrap();
        let levels: Vec<_> = heard.iter().map(|(level, _)| *level).collect();
        assert_eq!(levels, [Level::Warning, Level::Error, Level::Info]);
        assert!(heard[2].1.starts_with("publisher works again, after "), "{heard:?}");
    }
}
