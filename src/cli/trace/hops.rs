//! What is known of a metric becomes the hops on its way, each with what was found there. Pure.

use std::{fmt, time::Duration};

use wildmatch::WildMatch;

use crate::{
    codes::Code,
    config::Consumer,
    duration::for_people,
    plural::{count, either},
    publisher::Caution,
    quote::{cut_name, in_a_shell, printable},
    status::{
        Snapshot,
        snapshot::RefusedToClients,
        tap::{Fate, Tapped},
    },
};

/// All that is known of a metric.
pub(super) struct Evidence {
    pub(super) metric: String,
    /// Where clients push to, for people.
    pub(super) intake: String,
    /// How the agent is; else why that is not known.
    pub(super) agent: Result<Box<Snapshot>, String>,
    /// Whether an agent runs, where that is known without asking it.
    pub(super) runs: Option<bool>,
    /// What waits; else why that cannot be looked at.
    pub(super) waiting: Result<Waiting, String>,
    /// Its points that came through in so long, where that could be watched.
    pub(super) came: Option<(Duration, Vec<Tapped>)>,
    pub(super) publishers: Vec<OfPublisher>,
}

/// Messages that wait, of those that were looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    pub(super) looked_at: usize,
    pub(super) with_it: usize,
}

/// What is known of a publisher and its destination.
pub(super) struct OfPublisher {
    /// Its name, where there are several.
    pub(super) name: Option<String>,
    pub(super) destination: String,
    pub(super) kept: Kept,
    /// What its destination waits for, and what to do about it.
    pub(super) held: Option<(String, Option<String>)>,
    /// What of the points that wait the destination will refuse.
    pub(super) conflicts: Vec<Caution>,
    /// Whether the destination has the metric, where it can be asked; else why that is not known.
    pub(super) has: Option<Result<bool, String>>,
    pub(super) letters: Result<Letters, String>,
}

/// Dead letters with the metric.
#[derive(Clone, Debug, Default)]
pub(super) struct Letters {
    pub(super) count: u64,
    /// When the newest was set aside, and why.
    pub(super) newest: Option<(String, String)>,
}

/// What a publisher's filter keeps of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    All,
    /// Not all, or not known before its dimensions are: by what.
    Some(String),
    /// Nothing: by what, and what to do to have it.
    Nothing(String, String),
}

impl Kept {
    /// By the metric's name; `key` is that of the publisher in the configuration.
    pub(super) fn by_name(consumer: &Consumer, metric: &str, key: &str) -> Self {
        let fits = |pattern: &&String| !pattern.contains('=') && WildMatch::new(pattern).matches(metric);
        let is_dimension = |pattern: &&String| pattern.contains('=');
        if let Some(pattern) = consumer.except.iter().find(fits) {
            let remedy = format!("if it should go there, take that out of {key}.except and restart the agent");
            return Self::Nothing(format!("{key}.except has {pattern:?}"), remedy);
        }
        if !consumer.only.is_empty() && !consumer.only.iter().any(|pattern| fits(&pattern)) {
            if let Some(pattern) = consumer.only.iter().find(is_dimension) {
                return Self::Some(format!("that depends on its dimensions: {key}.only has {pattern:?}"));
            }
            let remedy = format!("if it should go there, add {metric:?} to {key}.only and restart the agent");
            return Self::Nothing(format!("{key}.only has nothing that fits it: {:?}", consumer.only), remedy);
        }
        match (consumer.except.iter().find(is_dimension), &consumer.sample) {
            (Some(pattern), _) => Self::Some(format!("that depends on its dimensions: {key}.except has {pattern:?}")),
            (None, Some(sample)) => Self::Some(format!("{key}.sample keeps the timers of {sample} of the messages")),
            (None, None) => Self::All,
        }
    }
}

/// A part of the way.
pub(super) struct Hop {
    pub(super) name: String,
    pub(super) found: Found,
}

/// What was found at a hop: sentences.
pub(super) enum Found {
    /// It goes on.
    Goes(String),
    /// It is not known.
    Unknown(String),
    /// It goes no further, in whole or in part.
    Stops { what: String, remedy: String },
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = printable(&self.name);
        match &self.found {
            Found::Goes(what) => write!(f, "ok: {name}: {}", printable(what)),
            Found::Unknown(what) => write!(f, "unknown: {name}: {}", printable(what)),
            Found::Stops { what, remedy } => {
                write!(f, "stops: {name}: {}\n  to mend it: {}", printable(what), printable(remedy))
            }
        }
    }
}

fn hop(name: impl Into<String>, found: Found) -> Hop {
    Hop { name: name.into(), found }
}

fn stops(what: impl Into<String>, remedy: impl Into<String>) -> Found {
    Found::Stops { what: what.into(), remedy: remedy.into() }
}

/// The hops in the direction of the data.
pub(super) fn judge(evidence: &Evidence) -> Vec<Hop> {
    let mut hops = vec![hop("agent", agent(evidence))];
    hops.extend(intake(evidence).into_iter().map(|found| hop("client port", found)));
    hops.push(hop("queue", queue(evidence)));
    for publisher in &evidence.publishers {
        let of = publisher.name.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
        hops.push(hop(format!("filter{of}"), filter(evidence, publisher)));
        hops.push(hop(format!("destination{of}"), destination(evidence, publisher)));
        hops.push(hop(format!("dead letters{of}"), letters(evidence, publisher)));
    }
    if !was_seen(evidence) && hops.iter().all(|hop| !matches!(hop.found, Found::Stops { .. })) {
        hops.insert(0, hop("application", unseen(evidence)));
    }
    hops
}

fn agent(evidence: &Evidence) -> Found {
    match (&evidence.agent, evidence.runs) {
        (Ok(snapshot), _) => {
            let agent = &snapshot.agent;
            let up = for_people(Duration::from_secs(agent.uptime_seconds.max(0.0) as u64));
            Found::Goes(format!("process {} on {}, up {up}: {}", agent.pid, agent.host, snapshot.verdict.sentence))
        }
        (Err(why), Some(false)) => {
            let what = format!("no agent runs with this queue, so that nothing is taken from clients: {why}");
            stops(what, "start it: kadabra run, or systemctl start kadabra")
        }
        (Err(why), Some(true)) => Found::Unknown(format!("one runs, and does not say how it is: {why}")),
        (Err(why), None) => Found::Unknown(format!("whether one runs is not known: {why}")),
    }
}

fn intake(evidence: &Evidence) -> Vec<Found> {
    let place = &evidence.intake;
    let Ok(snapshot) = &evidence.agent else {
        return vec![match &evidence.waiting {
            Ok(_) => Found::Goes(format!("{place} answers")),
            Err(why) => Found::Unknown(format!("{place}: {why}")),
        }];
    };
    let refused = |refusal: &&RefusedToClients| refusal.count > 0;
    let said = |refusal: &RefusedToClients| {
        let RefusedToClients { what, unit, count, .. } = refusal;
        format!("{what} ({unit} since the start: {count})")
    };
    let refusals = &snapshot.channel.refusals;
    let lasting: Vec<_> = refusals
        .iter()
        .filter(|refusal| refusal.lasting_seconds.is_some())
        .map(|refusal| {
            let remedy = Code::named(&refusal.code).map_or_else(String::new, |code| code.remedy().to_owned());
            stops(said(refusal), refusal.why.clone().unwrap_or(remedy))
        })
        .collect();
    if !lasting.is_empty() {
        return lasting;
    }
    let clients = snapshot.channel.clients.map(|clients| format!(", {} connected", count(clients, "client"))).unwrap_or_default();
    let earlier: Vec<_> = refusals.iter().filter(refused).map(said).collect();
    let earlier =
        if earlier.is_empty() { String::new() } else { format!("; since the start, and not now: {}", earlier.join(", ")) };
    vec![Found::Goes(format!("{place}{clients}{earlier}"))]
}

fn queue(evidence: &Evidence) -> Found {
    let Evidence { waiting, came, .. } = evidence;
    let came = came.as_ref().map(|(within, points)| {
        let passed = count(points.len() as u64, "point");
        format!("; {passed} came through in {}", for_people(*within))
    });
    let in_hand = evidence.agent.as_ref().ok().and_then(|agent| agent.channel.in_hand).filter(|in_hand| *in_hand > 0);
    let in_hand = in_hand.map(|in_hand| format!("; {} in hand, and cannot be looked at", count_are(in_hand)));
    match waiting {
        Ok(Waiting { looked_at, with_it }) => {
            let have = either(*with_it as u64, "has", "have");
            let of = count(*looked_at as u64, "message");
            let more = in_hand.unwrap_or_default() + &came.unwrap_or_default();
            Found::Goes(format!("{with_it} of {of} that wait and were looked at {have} it{more}"))
        }
        Err(why) => Found::Unknown(format!("what waits cannot be looked at: {why}{}", came.unwrap_or_default())),
    }
}

/// "1 is", "2 are".
fn count_are(number: u64) -> String {
    format!("{number} {}", either(number, "is", "are"))
}

fn filter(evidence: &Evidence, publisher: &OfPublisher) -> Found {
    let fates = || came_to(evidence, publisher).map(|point| point.fate);
    match &publisher.kept {
        Kept::Nothing(by, remedy) => stops(format!("it is left out: {by}"), remedy),
        Kept::All => Found::Goes("it is kept".to_owned()),
        Kept::Some(by) if fates().next().is_some() && fates().all(|fate| fate == Fate::Filtered) => stops(
            format!("all that came through was left out; {by}"),
            "change the filter and restart the agent, if it should go there",
        ),
        Kept::Some(by) => Found::Goes(format!("some of it may be left out; {by}")),
    }
}

fn destination(evidence: &Evidence, publisher: &OfPublisher) -> Found {
    let place = &publisher.destination;
    if let Some((what, remedy)) = &publisher.held {
        return stops(what, remedy.as_deref().unwrap_or("nothing, if that passes: it is tried again by itself"));
    }
    if let Some(Caution { what, mend }) = publisher.conflicts.first() {
        return stops(what, mend);
    }
    match &publisher.has {
        Some(Ok(true)) => Found::Goes(format!("{place} has it")),
        Some(Ok(false)) if came_to(evidence, publisher).any(|point| point.fate == Fate::Passed) => {
            Found::Unknown(format!("{place} does not have it yet, and it has just come through: look again"))
        }
        Some(Ok(false)) => Found::Unknown(format!("{place} does not have it")),
        Some(Err(why)) => Found::Unknown(format!("{place} does not say whether it has it: {why}")),
        None => Found::Unknown(format!("{place} cannot be asked whether it has it")),
    }
}

fn letters(evidence: &Evidence, publisher: &OfPublisher) -> Found {
    match &publisher.letters {
        Err(why) => Found::Unknown(format!("they cannot be looked at: {why}")),
        Ok(Letters { newest: None, .. }) => Found::Goes("none has it".to_owned()),
        Ok(Letters { count: letters, newest: Some((time, why)) }) => {
            let set_aside = format!("{} with it {} set aside", count(*letters, "message"), either(*letters, "was", "were"));
            let mend = if why.contains("guards.") {
                "mend the times or dimensions that the application sends, or change the guard and restart the agent"
            } else {
                "mend what that says, in the application or in the database"
            };
            let name = argument(&evidence.metric);
            let replay = format!("{mend}; then kadabra dead-letters replay --metric {name}, or discard");
            stops(format!("{set_aside}, the newest at {time}: {}", cut_name(why)), replay)
        }
    }
}

/// The points that came through to a publisher.
fn came_to<'a>(evidence: &'a Evidence, publisher: &'a OfPublisher) -> impl Iterator<Item = &'a Tapped> {
    let all = evidence.came.iter().flat_map(|(_, points)| points);
    all.filter(|point| point.publisher == publisher.name)
}

fn was_seen(evidence: &Evidence) -> bool {
    let waits = evidence.waiting.as_ref().is_ok_and(|waiting| waiting.with_it > 0);
    let came = evidence.came.as_ref().is_some_and(|(_, points)| !points.is_empty());
    let series = evidence.agent.as_ref().is_ok_and(|agent| agent.seen.series.iter().any(|it| it.metric == evidence.metric));
    waits || came || series || evidence.publishers.iter().any(|publisher| matches!(publisher.has, Some(Ok(true))))
}

fn unseen(evidence: &Evidence) -> Found {
    let Evidence { metric, intake, came, .. } = evidence;
    let watched = came.as_ref().map(|(within, _)| format!(" and did not come in {},", for_people(*within))).unwrap_or_default();
    let what =
        format!("there is no trace of it: it does not wait,{watched} was not set aside, and no destination says that it has it");
    let remedy = format!(
        "see that the application sends it, and to {intake}; kadabra send --count {}=1 sends one, and --wait watches for longer",
        argument(metric)
    );
    stops(what, remedy)
}

/// A name as an argument of a command.
fn argument(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) { name.to_owned() } else { in_a_shell(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence() -> Evidence {
        let mut snapshot = Snapshot::example();
        snapshot.channel.refusals.clear();
        snapshot.seen.series.clear();
        Evidence {
            metric: "hits".to_owned(),
            intake: "127.0.0.1:6379, list kadabra_queue".to_owned(),
            agent: Ok(Box::new(snapshot)),
            runs: Some(true),
            waiting: Ok(Waiting { looked_at: 10, with_it: 0 }),
            came: Some((Duration::from_secs(2), Vec::new())),
            publishers: vec![OfPublisher {
                name: Some("eu".to_owned()),
                destination: "influxdb http://localhost:8086 database kadabra".to_owned(),
                kept: Kept::All,
                held: None,
                conflicts: Vec::new(),
                has: Some(Ok(true)),
                letters: Ok(Letters::default()),
            }],
        }
    }

    fn point(fate: Fate) -> Tapped {
        Tapped {
            publisher: Some("eu".to_owned()),
            metric: Some("hits".to_owned()),
            time: None,
            value: Some(1.0),
            unit: None,
            dimensions: std::collections::BTreeMap::new(),
            fate,
            why: None,
        }
    }

    const NOWHERE: [&str; 0] = [];

    /// The hops at which it stops.
    fn stopped(evidence: &Evidence) -> Vec<String> {
        let hops = judge(evidence);
        let stops = hops.iter().filter(|hop| matches!(hop.found, Found::Stops { .. }));
        stops.map(|hop| hop.to_string()).collect()
    }

    fn assert_stops_alone_at(evidence: &Evidence, begins: &str) {
        let stopped = stopped(evidence);
        assert!(stopped.len() == 1 && stopped[0].starts_with(&format!("stops: {begins}")), "{begins}: {stopped:#?}");
        assert!(stopped[0].contains("\n  to mend it: "), "{stopped:?}");
    }

    #[test]
    fn it_stops_at_each_hop_with_what_to_do() {
        assert_eq!(stopped(&evidence()), NOWHERE);
        let mut gone = Evidence { agent: Err("nobody".to_owned()), runs: Some(false), ..evidence() };
        assert_stops_alone_at(&gone, "agent: no agent runs");
        gone.runs = None;
        assert_eq!(stopped(&gone), NOWHERE, "it may run elsewhere");

        let mut refused = evidence();
        refused.agent.as_mut().unwrap().channel.refusals = Snapshot::example().channel.refusals;
        refused.agent.as_mut().unwrap().channel.refusals.iter_mut().for_each(|refusal| refusal.lasting_seconds = None);
        assert_eq!(stopped(&refused), NOWHERE, "it is over");
        refused.agent.as_mut().unwrap().channel.refusals[0].lasting_seconds = Some(1.0);
        assert_stops_alone_at(&refused, "client port: ");

        let mut at = evidence();
        at.publishers[0].kept = Kept::Nothing("publishers.eu.except has \"h*\"".to_owned(), "take it out".to_owned());
        assert_stops_alone_at(&at, "filter of eu: it is left out: publishers.eu.except");
        at.publishers[0].kept = Kept::Some("that depends".to_owned());
        assert_eq!(stopped(&at), NOWHERE);
        at.came.as_mut().unwrap().1.push(point(Fate::Filtered));
        assert_stops_alone_at(&at, "filter of eu: all that came through was left out");
        at.came.as_mut().unwrap().1.push(point(Fate::Passed));
        assert_eq!(stopped(&at), NOWHERE);

        let mut at = evidence();
        at.publishers[0].held = Some(("refuses the login".to_owned(), None));
        assert_stops_alone_at(&at, "destination of eu: refuses the login");
        let mut at = evidence();
        at.publishers[0].conflicts.push(Caution { what: "value is an integer".to_owned(), mend: "another name".to_owned() });
        assert_stops_alone_at(&at, "destination of eu: value is an integer");

        let mut at = evidence();
        let why = "its time is longer ago than guards.max_age\u{1b}[2J".to_owned();
        at.publishers[0].letters = Ok(Letters { count: 3, newest: Some(("2026-03-01T12:00:00Z".to_owned(), why)) });
        assert_stops_alone_at(&at, "dead letters of eu: 3 messages with it were set aside, the newest at 2026");
        assert!(stopped(&at)[0].contains("change the guard") && !stopped(&at)[0].contains('\u{1b}'));

        let mut at = evidence();
        at.publishers[0].has = Some(Ok(false));
        assert_stops_alone_at(&at, "application: there is no trace of it");
        at.waiting = Ok(Waiting { looked_at: 10, with_it: 1 });
        assert_eq!(stopped(&at), NOWHERE, "it waits");
    }

    #[test]
    fn a_filter_tells_by_the_name_what_it_can() {
        let consumer = Consumer::that_keeps;
        let kept = |consumer: &Consumer| Kept::by_name(consumer, "hits", "publishers.eu");
        assert_eq!(kept(&consumer(&[], &["x"], None)), Kept::All);
        assert_eq!(kept(&consumer(&["x", "h*"], &[], None)), Kept::All);
        assert!(matches!(kept(&consumer(&["x", "host=a"], &[], None)), Kept::Some(by) if by.contains("only has \"host=a\"")));
        assert!(matches!(kept(&consumer(&[], &["host=a"], None)), Kept::Some(by) if by.contains("except has \"host=a\"")));
        assert!(matches!(kept(&consumer(&[], &[], Some("10%"))), Kept::Some(by) if by.contains("10%")));
        assert!(matches!(kept(&consumer(&["h*"], &["?its"], None)), Kept::Nothing(by, _) if by.contains("except has \"?its\"")));
        assert!(matches!(kept(&consumer(&["x"], &[], None)), Kept::Nothing(_, remedy) if remedy.contains("add \"hits\"")));
    }

    #[test]
    fn a_command_that_is_told_can_be_copied() {
        assert_eq!(argument("http.hits"), "http.hits");
        assert_eq!(argument("it's $a"), r"'it'\''s $a'");
    }
}
