//! The status of the queue, and what of that an operator should know before pushes are refused.

use std::{path::PathBuf, sync::PoisonError, time::Duration};

use bytesize::ByteSize;

use super::{ConsumerStatus, EmbeddedChannel, QueueStatus, backend::status, listener_slot::listener_settings};
use crate::{
    channel::{Backlog, Channel, ChannelError, ChannelKind, ChannelStatus, Patience, Pressure, Threat, Warning},
    config::{self, WhenFull},
    listener::{Cause, Limits, Report, Times},
    plural::{either, messages_wait},
    queue::Outlook,
};

/// The share of the room in use from which on there is little left, in per cent.
const SHORT_OF_ROOM: u64 = 80;

/// A queue that is full within this at the present rate has little room left, too.
const SOON: Duration = Duration::from_secs(3600);

/// See [`Channel::pressure`].
pub(super) async fn pressure(channel: &EmbeddedChannel, patience: &Patience) -> Result<Pressure, ChannelError> {
    let facts = Facts {
        path: channel.settings.path.clone(),
        status: status(channel.consumer.stats().await?, channel.consumer.store()),
        when_full: channel.settings.when_full,
        consumer: channel.consumer.name().map(ToOwned::to_owned),
        letters_dropped: Some(channel.registry().tally().letters_dropped),
    };
    *channel.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(facts.status.clone());
    Ok(Pressure { warnings: facts.warnings(patience), ..Pressure::default() })
}

/// See [`Channel::channel_status`]; all but what the file was asked for is as it is now.
pub(super) fn channel_status(channel: &EmbeddedChannel, looked: Option<&QueueStatus>) -> ChannelStatus {
    let own = channel.consumer.name();
    let of = looked.and_then(|looked| looked.consumers.iter().find(|consumer| Some(consumer.name.as_str()) == own));
    let outlook = channel.consumer.store().outlook();
    ChannelStatus {
        kind: ChannelKind::Embedded,
        place: channel.settings.path.display().to_string(),
        used: looked.map(|looked| looked.used),
        max_bytes: Some(channel.consumer.store().settings().max_bytes),
        full_in: match outlook {
            Some(Outlook::FullIn(time)) => Some(time),
            _ => None,
        },
        damaged: looked.map_or(0, |looked| looked.damaged),
        dead: looked.map(|looked| looked.dead),
        max_dead: Some(channel.consumer.store().settings().max_dead_letters),
        max_backlog: of.and_then(|consumer| consumer.max_backlog),
        when_full: Some(match channel.settings.when_full {
            WhenFull::Refuse => "refuse",
            WhenFull::DropOldest => "drop_oldest",
            WhenFull::DropNewest => "drop_newest",
        }),
    }
}

/// How the queue of a running agent stands, by what that tells of itself.
pub(crate) fn of_a_running_agent(report: &Report, settings: &config::Embedded, patience: &Patience) -> (QueueStatus, Pressure) {
    // What an agent does not report is no threat.
    let unknown = || QueueStatus { max_bytes: u64::MAX, max_dead_letters: u64::MAX, ..QueueStatus::default() };
    let status = report.status.clone().unwrap_or_else(unknown);
    let facts = Facts {
        path: settings.path.clone(),
        status: status.clone(),
        when_full: settings.when_full,
        consumer: None,
        letters_dropped: None,
    };
    let mut warnings = facts.warnings(patience);
    let limits = Limits::from(&listener_settings(settings));
    for cause in Cause::ALL.into_iter().filter(|cause| !cause.is_wanted()) {
        let Times { times, lasts } = report.of(cause);
        if times > 0 {
            let why = report.refused_because.clone().filter(|_| cause.is_of_the_queue());
            warnings.push(refusal(cause, times, lasts, why, limits));
        }
    }
    let lasts = |cause: Cause| cause.is_of_the_queue() && report.of(cause).lasts;
    let refuses = status.unsafe_because.is_some() || Cause::ALL.into_iter().any(lasts);
    (status, Pressure { warnings, refuses, ..Pressure::default() })
}

/// What an agent has refused since it started, and how often.
fn refusal(cause: Cause, times: u64, lasts: bool, why: Option<String>, limits: Limits) -> Warning {
    let what = match (cause.is_of_the_queue(), lasts) {
        (true, true) if limits.drops => format!("the agent drops what clients push ({cause})"),
        (true, false) if limits.drops => format!("the agent has dropped what clients pushed ({cause})"),
        (true, true) => format!("the agent refuses what clients push ({cause})"),
        (true, false) => format!("the agent has refused what clients pushed ({cause})"),
        (false, _) => cause.sentence(limits),
    };
    let of = cause.unit();
    let count = if times == 1 { "once".to_owned() } else { format!("{times} {of}") };
    let now = format!("{count} since it started, {}", if lasts { "and it goes on" } else { "and not any more" });
    Warning {
        threat: Threat::Refusals,
        what,
        now,
        mend: why.filter(|_| lasts).unwrap_or_else(|| format!("the agent's log says when, why and to whom (reason {cause})")),
    }
}

/// The command that works on dead letters, on those of one consumer where it has a name.
pub(super) fn dead_letters_command(act: &str, consumer: Option<&str>) -> String {
    let of = consumer.map(|name| format!(" --publisher {name}")).unwrap_or_default();
    format!("kadabra dead-letters {act}{of}")
}

/// What is known of it.
#[derive(Clone)]
struct Facts {
    path: PathBuf,
    status: QueueStatus,
    when_full: WhenFull,
    /// Whose it is, where there are several.
    consumer: Option<String>,
    /// How many this agent has dropped, which only itself knows.
    letters_dropped: Option<u64>,
}

impl Facts {
    fn warnings(&self, patience: &Patience) -> Vec<Warning> {
        [
            self.persistence(),
            self.room(),
            self.backlog(patience),
            self.max_backlog(),
            self.removed_publisher(),
            self.dead_letters(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What becomes of a push that cannot be stored.
    fn refused(&self) -> &'static str {
        if self.when_full == WhenFull::Refuse { "refused" } else { "dropped" }
    }

    /// What happens when there is no room left.
    fn then(&self) -> &'static str {
        match self.when_full {
            WhenFull::Refuse => "what clients push is refused",
            WhenFull::DropOldest => "the oldest messages are dropped",
            WhenFull::DropNewest => "what clients push is dropped",
        }
    }

    fn persistence(&self) -> Option<Warning> {
        let (now, mend) = self.status.unsafe_because.clone()?;
        let what = if self.status.broken {
            format!("{} is damaged: what clients push is {}, what can be read is published", self.path.display(), self.refused())
        } else {
            format!("what clients push is {}, since what is queued in {} is not safe", self.refused(), self.path.display())
        };
        Some(Warning { threat: Threat::Persistence, what, now, mend })
    }

    fn room(&self) -> Option<Warning> {
        let QueueStatus { used, max_bytes, .. } = self.status;
        let percent = used.saturating_mul(100) / max_bytes.max(1);
        let soon = matches!(self.status.outlook, Some(Outlook::FullIn(time)) if time <= SOON);
        let outlook = self.status.outlook.map(|outlook| format!("; {outlook}")).unwrap_or_default();
        (percent >= SHORT_OF_ROOM || soon).then(|| Warning {
            threat: Threat::Capacity,
            what: format!("{} has little room left, and when there is none {}", self.path.display(), self.then()),
            now: format!(
                "{} of channel.embedded.max_bytes, {}, are in use, {percent} %{outlook}{}",
                size(used),
                size(max_bytes),
                self.most_waits_for()
            ),
            mend: "see why messages are not published if many wait, delete dead letters, or raise channel.embedded.max_bytes"
                .to_owned(),
        })
    }

    /// The one of several publishers for which the most waits.
    fn most_waits_for(&self) -> String {
        let most = self.status.consumers.iter().max_by_key(|consumer| consumer.waiting);
        most.map(|most| format!("; {} for publisher {}", messages_wait(most.waiting), most.name)).unwrap_or_default()
    }

    fn backlog(&self, patience: &Patience) -> Option<Warning> {
        let backlog = backlog(&self.status);
        backlog.is_long(patience).then(|| Warning {
            threat: Threat::Backlog,
            what: format!("messages wait long in {}", self.path.display()),
            now: backlog.to_string(),
            mend: "see why they are not published sooner: a database that is away or slow is said apart; otherwise raise \
                   publisher.workers. nanny.warn_age and nanny.warn_messages say what is long"
                .to_owned(),
        })
    }

    /// Of one of several publishers only of itself, and of a running agent of the first that is concerned.
    fn max_backlog(&self) -> Option<Warning> {
        let concerns = |consumer: &&ConsumerStatus| self.consumer.as_ref().is_none_or(|name| *name == consumer.name);
        let is_short = |consumer: &&ConsumerStatus| {
            consumer.max_backlog.is_some_and(|most| consumer.waiting.saturating_mul(100) / most.max(1) >= SHORT_OF_ROOM)
        };
        let ConsumerStatus { name, waiting, dropped, max_backlog, required, .. } =
            self.status.consumers.iter().filter(concerns).find(is_short)?;
        let what = if *required {
            format!("when as many messages wait for publisher {name} as may, {}", self.then())
        } else {
            format!("when as many messages wait for publisher {name} as may, its oldest are dropped")
        };
        let mut now = format!("{} of {}", messages_wait(*waiting), max_backlog.unwrap_or_default());
        if *dropped > 0 {
            now += &format!(", {dropped} were dropped");
        }
        let mend = format!("see why they are not published, or raise publishers.{name}.max_backlog");
        Some(Warning { threat: Threat::MaxBacklog, what, now, mend })
    }

    fn removed_publisher(&self) -> Option<Warning> {
        let removed: Vec<_> = self.status.consumers.iter().filter(|consumer| consumer.removed).collect();
        let first = removed.first()?;
        // The first publisher speaks for all.
        if self.consumer.as_ref().is_some_and(|name| self.status.consumers.first().is_some_and(|first| first.name != *name)) {
            return None;
        }
        let waiting = removed.iter().map(|consumer| format!("{} for {}", messages_wait(consumer.waiting), consumer.name));
        Some(Warning {
            threat: Threat::RemovedPublisher,
            what: format!("{} keeps what waits for publishers that are not configured any more", self.path.display()),
            now: waiting.collect::<Vec<_>>().join(", "),
            mend: format!(
                "configure [publishers.{}] again until it is published, or let go of it, with the agent stopped: kadabra queue \
                 forget {}",
                first.name, first.name
            ),
        })
    }

    fn dead_letters(&self) -> Option<Warning> {
        (self.status.dead >= self.status.max_dead_letters).then(|| Warning {
            threat: Threat::DeadLetters,
            what: format!("{} has all the dead letters that are kept: with each further one the oldest is dropped", self.path.display()),
            now: match self.letters_dropped {
                Some(dropped) => format!("{} kept, this agent has dropped {dropped}", are(self.status.dead)),
                None => format!("{} kept", are(self.status.dead)),
            },
            mend: format!(
                "look at them ({}), mend what they complain of, then delete them ({}), or raise channel.embedded.max_dead_letters",
                dead_letters_command("list", self.consumer.as_deref()),
                dead_letters_command(if self.consumer.is_some() { "discard" } else { "discard --all" }, self.consumer.as_deref())
            ),
        })
    }
}

/// What waits in such a queue.
pub(crate) fn backlog(status: &QueueStatus) -> Backlog {
    Backlog { waiting: status.waiting, in_hand: status.in_hand, age: status.age }
}

fn are(number: u64) -> String {
    format!("{number} {}", either(number, "is", "are"))
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { age: Duration::from_secs(300), messages: 1000 };

    fn well() -> QueueStatus {
        QueueStatus {
            waiting: 1000,
            in_hand: 0,
            age: Some(Duration::from_secs(300)),
            used: 799,
            max_bytes: 1000,
            outlook: None,
            dead: 9,
            max_dead_letters: 10,
            damaged: 0,
            unsafe_because: None,
            broken: false,
            consumers: Vec::new(),
        }
    }

    #[test]
    fn each_threat_is_told_of_and_nothing_else() {
        let threats = |status: QueueStatus| {
            let facts =
                Facts { path: "/q.db".into(), status, when_full: WhenFull::Refuse, consumer: None, letters_dropped: None };
            facts.warnings(&PATIENCE).iter().map(|warning| warning.threat).collect::<Vec<_>>()
        };
        assert_eq!(threats(well()), []);
        assert_eq!(threats(QueueStatus { age: None, ..well() }), []);
        assert_eq!(threats(QueueStatus { age: Some(Duration::from_secs(301)), ..well() }), [Threat::Backlog]);
        assert_eq!(threats(QueueStatus { waiting: 1001, age: None, ..well() }), [Threat::Backlog]);
        assert_eq!(threats(QueueStatus { used: 800, ..well() }), [Threat::Capacity]);
        let full_in = |seconds| Some(Outlook::FullIn(Duration::from_secs(seconds)));
        assert_eq!(threats(QueueStatus { outlook: full_in(3601), ..well() }), []);
        assert_eq!(threats(QueueStatus { outlook: full_in(3600), ..well() }), [Threat::Capacity]);
        assert_eq!(threats(QueueStatus { dead: 10, ..well() }), [Threat::DeadLetters]);
        let failed = Some(("cannot sync".to_owned(), "look".to_owned()));
        assert_eq!(threats(QueueStatus { unsafe_because: failed, ..well() }), [Threat::Persistence]);
    }

    #[test]
    fn a_publisher_near_its_bound_and_one_that_was_removed_are_told_of() {
        let consumer = |name: &str, waiting, max_backlog| ConsumerStatus {
            name: name.to_owned(),
            waiting,
            max_backlog,
            removed: name == "c",
            ..ConsumerStatus::default()
        };
        let status = QueueStatus {
            consumers: vec![consumer("a", 79, Some(100)), consumer("b", 80, Some(100)), consumer("c", 7, None)],
            ..well()
        };
        let of = |name: Option<&str>| {
            let facts = Facts {
                path: "/q.db".into(),
                status: status.clone(),
                when_full: WhenFull::Refuse,
                consumer: name.map(str::to_owned),
                letters_dropped: None,
            };
            facts.warnings(&PATIENCE).into_iter().map(|warning| (warning.threat, warning.now)).collect::<Vec<_>>()
        };
        let bound = || (Threat::MaxBacklog, "80 messages wait of 100".to_owned());
        let removed = || (Threat::RemovedPublisher, "7 messages wait for c".to_owned());
        assert_eq!(of(Some("a")), [removed()]);
        assert_eq!(of(Some("b")), [bound()]);
        assert_eq!(of(None), [bound(), removed()]);
    }

    fn settings() -> config::Embedded {
        let variables = [("KADABRA_CHANNEL__TYPE", "embedded"), ("KADABRA_CHANNEL__EMBEDDED__PATH", "/q.db")];
        let defaults = config::load_or(std::path::Path::new("/nonexistent"), None, variables).unwrap().settings;
        let config::Channel::Embedded(settings) = defaults.channel else { panic!("another default") };
        settings
    }

    fn refused(times: &[(Cause, u64, bool)]) -> std::collections::BTreeMap<String, Times> {
        times.iter().map(|(cause, times, lasts)| (cause.name().to_owned(), Times { times: *times, lasts: *lasts })).collect()
    }

    #[test]
    fn what_a_running_agent_says_is_warned_of_too() {
        let threats = |report: &Report| {
            let (_, pressure) = of_a_running_agent(report, &settings(), &PATIENCE);
            pressure.warnings.iter().map(|warning| warning.threat).collect::<Vec<_>>()
        };
        let with = |status: QueueStatus| Report { status: Some(status), ..Report::default() };
        assert_eq!(threats(&Report::default()), []);
        assert_eq!(threats(&with(well())), []);
        assert_eq!(threats(&with(QueueStatus { used: 980, ..well() })), [Threat::Capacity]);
        let report =
            Report { refusals: refused(&[(Cause::DiskFull, 3, false)]), ..with(QueueStatus { waiting: 1001, ..well() }) };
        assert_eq!(threats(&report), [Threat::Backlog, Threat::Refusals]);
        let idle = Report { refusals: refused(&[(Cause::Idle, 3, false), (Cause::Http, 0, false)]), ..Report::default() };
        assert_eq!(threats(&idle), []);
        let failed = Some(("a".to_owned(), "b".to_owned()));
        assert_eq!(threats(&with(QueueStatus { unsafe_because: failed, ..well() })), [Threat::Persistence]);
        let report = Report {
            refused_because: Some("no room".to_owned()),
            refusals: refused(&[(Cause::DiskFull, 3, true), (Cause::NoAuth, 1, false), (Cause::Http, 0, true)]),
            ..Report::default()
        };
        let (_, pressure) = of_a_running_agent(&report, &settings(), &PATIENCE);
        let [full, password] = pressure.warnings.as_slice() else { panic!("{pressure:?}") };
        assert_eq!((full.now.as_str(), full.mend.as_str()), ("3 pushes since it started, and it goes on", "no room"));
        assert_eq!(full.what, "the agent refuses what clients push (disk_full)");
        assert_eq!(password.now, "once since it started, and not any more");
        assert!(password.what.starts_with("pushes are refused, since their clients have not said the password"));
        assert!(pressure.refuses);
    }
}
