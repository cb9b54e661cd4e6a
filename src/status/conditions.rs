//! States that last, such as a Redis that is gone or a hold: said when they begin, at growing intervals, and when they end.

mod history;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use slog::{Logger, OwnedKV, SendSyncRefUnwindSafeKV, error, info, o, warn};
use tokio::time::Instant;

use history::{Begun, Ended, History};

use crate::{
    channel::{Threat, Warning},
    codes::Code,
    duration::for_people,
};

/// Who cannot go on, or what is a warning. Several workers may report the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// The channel: nothing can be leased or settled.
    Channel,
    /// The publisher: nothing can be written.
    Publisher,
    /// Points whose time is beyond what the guards allow: the agent goes on.
    Times,
    /// A metric with too many new series: the agent goes on.
    NewSeries,
    /// The actors of one of several publishers, which the others go on without.
    Pipeline,
    /// Datagrams of statsd cannot be taken: the agent goes on.
    Statsd,
    /// What came over statsd cannot be queued: it is aggregated on.
    StatsdQueue,
    /// Where the status is to be served: the agent goes on without.
    StatusPage,
    /// A point that was to come back from the database: the agent goes on.
    Canary,
    /// The configuration, which is not what the agent works with: the agent goes on with what it has.
    Configuration,
    /// A threat to messages that wait: the agent goes on.
    Threat(Threat),
}

impl Condition {
    /// The name in log values and on the status page.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Publisher => "publisher",
            Self::Times => "times",
            Self::NewSeries => "new series",
            Self::Pipeline => "pipeline",
            Self::Statsd => "statsd",
            Self::StatsdQueue => "statsd queue",
            Self::StatusPage => "status page",
            Self::Canary => "canary",
            Self::Configuration => "configuration",
            Self::Threat(threat) => threat.name(),
        }
    }

    /// The code of what has begun, where who has found it knows no better: with a remedy, or without.
    fn code(self, mend: Option<&str>) -> Code {
        match (self, mend) {
            (Self::Channel, None) => Code::ChannelUnreachable,
            (Self::Channel, Some(_)) => Code::ChannelRefuses,
            (Self::Publisher, None) => Code::PublisherAway,
            (Self::Publisher, Some(_)) => Code::HeldOtherwise,
            (Self::Times, _) => Code::Times,
            (Self::NewSeries, _) => Code::NewSeries,
            (Self::Pipeline, _) => Code::PipelineHeld,
            (Self::Statsd, _) => Code::StatsdDoor,
            (Self::StatsdQueue, _) => Code::StatsdQueue,
            (Self::StatusPage, _) => Code::StatusPage,
            (Self::Canary, _) => Code::Canary,
            (Self::Configuration, _) => Code::NotReloaded,
            (Self::Threat(threat), _) => threat.code(),
        }
    }

    /// Whether it only warns.
    #[must_use]
    pub fn is_warning(self) -> bool {
        matches!(
            self,
            Self::Times
                | Self::NewSeries
                | Self::Statsd
                | Self::StatsdQueue
                | Self::StatusPage
                | Self::Canary
                | Self::Configuration
                | Self::Threat(_)
        )
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A condition that has begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveCondition {
    /// Who cannot go on.
    pub who: Condition,
    /// What kind of trouble it is.
    pub code: Code,
    /// What is wrong, as last reported.
    pub what: String,
    /// What an operator can do about it, when waiting does not help.
    pub mend: Option<String>,
    /// How it stands, in numbers.
    pub now: Option<String>,
    /// How long already.
    pub lasted: Duration,
    /// How many attempts have failed.
    pub attempts: u64,
}

impl fmt::Display for ActiveCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, for {}", self.who, self.what, for_people(self.lasted))?;
        match &self.mend {
            Some(mend) => write!(f, "; {mend}"),
            None => Ok(()),
        }
    }
}

/// That something keeps a channel or a publisher from going on, where nothing did before; or that nothing does any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultChange {
    /// When.
    pub at: Timestamp,
    /// What; none where it is over.
    pub began: Option<String>,
}

/// How many changes are kept until somebody takes them.
const CHANGES: usize = 100;

/// The conditions of one process, shared by everyone who can fail or look.
#[derive(Debug)]
pub struct Conditions {
    log: Logger,
    conditions: Mutex<BTreeMap<Condition, History>>,
    /// The newest last.
    changes: Mutex<VecDeque<FaultChange>>,
}

impl Conditions {
    /// No condition; what begins and ends will be said to `log`.
    #[must_use]
    pub fn new(log: &Logger) -> Self {
        Self { log: log.new(o!()), conditions: Mutex::default(), changes: Mutex::default() }
    }

    /// An attempt has failed. Said at once when that is new or worded anew, otherwise only now and then: as a warning while
    /// waiting may help, as an error when an operator must `mend` something.
    pub fn begin(&self, who: Condition, what: &str, mend: Option<&str>) {
        self.begin_with(who, who.code(mend), what, mend);
    }

    /// The same, of a kind that is known.
    pub fn begin_with(&self, who: Condition, code: Code, what: &str, mend: Option<&str>) {
        let mut conditions = self.lock();
        if !who.is_warning() && !any_fault(&conditions) {
            self.note(Some(what));
        }
        // Said under the lock, so that a line "again" is never found after the line of the next beginning.
        match conditions.entry(who).or_default().begin(Instant::now(), code, what, mend) {
            Begun::Silent => {}
            Begun::New => self.say(who, code, what, mend, o!()),
            Begun::Still { lasted, attempts } => {
                self.say(who, code, what, mend, o!("for" => for_people(lasted), "attempts" => attempts));
            }
        }
    }

    /// Something threatens messages that wait. Said like an attempt that has failed, always as a warning.
    pub fn warn(&self, warning: &Warning) {
        let Warning { threat, what, now, mend } = warning;
        let (who, code) = (Condition::Threat(*threat), threat.code());
        let mut conditions = self.lock();
        let history = conditions.entry(who).or_default();
        let begun = history.begin(Instant::now(), code, what, Some(mend));
        history.stands(now);
        let log = self.log.new(o!("condition" => who.name(), "code" => code.name()));
        match begun {
            Begun::Silent => {}
            Begun::New => warn!(log, "{}", what; "now" => now, "mend" => mend),
            Begun::Still { lasted, .. } => warn!(log, "{}", what; "now" => now, "mend" => mend, "for" => for_people(lasted)),
        }
    }

    fn say<T: SendSyncRefUnwindSafeKV + 'static>(
        &self,
        who: Condition,
        code: Code,
        what: &str,
        mend: Option<&str>,
        more: OwnedKV<T>,
    ) {
        let log = self.log.new(o!("condition" => who.name(), "code" => code.name())).new(more);
        match mend {
            Some(mend) if who.is_warning() => warn!(log, "{}", what; "mend" => mend),
            Some(mend) => error!(log, "{}", what; "mend" => mend),
            None => warn!(log, "{}", what),
        }
    }

    /// An attempt has succeeded. Said once, if the condition was said.
    pub fn end(&self, who: Condition) {
        let mut conditions = self.lock();
        let Some(history) = conditions.get_mut(&who).filter(|history| history.is_active()) else { return };
        let ended = history.end(Instant::now());
        if !who.is_warning() && !any_fault(&conditions) {
            self.note(None);
        }
        if let Some(Ended { lasted, attempts }) = ended {
            if who.is_warning() {
                info!(self.log, "{}: the warning is over, after {}", who, for_people(lasted); "condition" => who.name());
                return;
            }
            info!(self.log, "{} works again, after {}", who, for_people(lasted); "condition" => who.name(), "attempts" => attempts);
        }
    }

    /// Whether that is so now.
    #[must_use]
    pub fn is_active(&self, who: Condition) -> bool {
        self.lock().get(&who).is_some_and(History::is_active)
    }

    /// What it was about is not there any more, so that nothing is known of it, and nothing is said.
    pub fn forget(&self, who: Condition) {
        let mut conditions = self.lock();
        let was_active = conditions.remove(&who).is_some_and(|history| history.is_active());
        if was_active && !who.is_warning() && !any_fault(&conditions) {
            self.note(None);
        }
    }

    fn note(&self, began: Option<&str>) {
        let mut changes = self.changes();
        if changes.len() == CHANGES {
            changes.pop_front();
        }
        changes.push_back(FaultChange { at: Timestamp::now(), began: began.map(str::to_owned) });
    }

    /// When it began, or ceased, that something is wrong which is no mere warning: what was not taken yet, the oldest first.
    #[must_use]
    pub fn take_changes(&self) -> VecDeque<FaultChange> {
        std::mem::take(&mut self.changes())
    }

    fn changes(&self) -> MutexGuard<'_, VecDeque<FaultChange>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong now.
    #[must_use]
    pub fn active(&self) -> Vec<ActiveCondition> {
        let now = Instant::now();
        self.lock().iter().filter_map(|(who, history)| history.active(*who, now)).collect()
    }

    /// What is wrong now and no mere warning: the first of it.
    #[must_use]
    pub fn fault(&self) -> Option<ActiveCondition> {
        self.active().into_iter().find(|active| !active.who.is_warning())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Condition, History>> {
        // Every change is whole before anything that could panic.
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn any_fault(conditions: &BTreeMap<Condition, History>) -> bool {
    conditions.iter().any(|(who, history)| !who.is_warning() && history.is_active())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use slog::{Drain, Level, OwnedKVList, Record};

    use super::*;

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
    fn a_threat_is_a_warning_and_its_numbers_may_change() {
        let heard = Heard::default();
        let conditions = Conditions::new(&Logger::root(heard.clone(), o!()));
        let warning = |now: &str| Warning {
            threat: Threat::Backlog,
            what: "messages wait long".to_owned(),
            now: now.to_owned(),
            mend: "see why".to_owned(),
        };
        conditions.warn(&warning("5 wait"));
        conditions.warn(&warning("6 wait"));
        assert!(conditions.active()[0].who.is_warning());
        conditions.end(Condition::Threat(Threat::Backlog));
        let heard = heard.0.lock().unwrap();
        assert_eq!(heard[0], (Level::Warning, "messages wait long".to_owned()));
        assert_eq!(heard[1].0, Level::Info);
        assert!(heard[1].1.starts_with("backlog: the warning is over, after "), "{heard:?}");
        assert_eq!(heard.len(), 2);
    }

    #[test]
    fn each_beginning_and_end_of_what_is_wrong_can_be_taken_once_however_short_it_was() {
        let conditions = Conditions::new(&Logger::root(slog::Discard, o!()));
        let taken = || conditions.take_changes().into_iter().map(|change| change.began).collect::<Vec<_>>();
        conditions.begin(Condition::Times, "a warning", None);
        conditions.end(Condition::Times);
        conditions.begin(Condition::Publisher, "401", None);
        conditions.begin(Condition::Publisher, "403", None);
        conditions.begin(Condition::Channel, "gone", None);
        conditions.end(Condition::Publisher);
        assert_eq!(taken(), [Some("401".to_owned())]);
        conditions.end(Condition::Channel);
        conditions.end(Condition::Channel);
        assert_eq!(taken(), [None]);
        for _ in 0..CHANGES {
            conditions.begin(Condition::Publisher, "401", None);
            conditions.end(Condition::Publisher);
        }
        assert_eq!(taken().len(), CHANGES);
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

        assert_eq!(
            active[1].to_string(),
            format!("publisher: 401, for {}; set publisher.influxdb.password", for_people(active[1].lasted))
        );

        conditions.end(Condition::Publisher);
        conditions.end(Condition::Publisher);
        assert_eq!(conditions.active().len(), 1);
        let heard = heard.0.lock().unwrap();
        let levels: Vec<_> = heard.iter().map(|(level, _)| *level).collect();
        assert_eq!(levels, [Level::Warning, Level::Error, Level::Info]);
        assert!(heard[2].1.starts_with("publisher works again, after "), "{heard:?}");
    }
}
