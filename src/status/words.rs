//! A snapshot in sentences: the verdict, and the line for systemd.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::figures;
use super::snapshot::{AgentState, Channel, Level, Publisher, RefusedToClients, Snapshot, Trouble, Verdict};
use crate::{channel::Backlog, codes::Code, duration::for_people, plural::count};

/// How bad a trouble is, the worst first.
pub(crate) fn rank(trouble: &Trouble) -> u8 {
    match trouble {
        trouble if trouble.code == Code::Unbalanced.name() => 0,
        Trouble { warning: false, remedy: Some(_), .. } => 1,
        Trouble { warning: false, .. } => 2,
        trouble if trouble.code == Code::LogUnwritable.name() => 3,
        _ => 4,
    }
}

/// The moment so long before this one.
pub(crate) fn ago(at: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| at.checked_sub(time).ok()).unwrap_or(at)
}

/// That the log cannot be written, which the log cannot say.
pub(crate) fn log_trouble(what: &str, mend: &str, at: Timestamp) -> Trouble {
    Trouble {
        code: Code::LogUnwritable.name().to_owned(),
        what: what.to_owned(),
        now: None,
        remedy: Some(mend.to_owned()),
        since: at,
        lasted_seconds: 0.0,
        attempts: 0,
        warning: true,
        publisher: None,
    }
}

/// What is refused to clients, as long as it lasts.
pub(crate) fn refusal_trouble(refused: &RefusedToClients, at: Timestamp) -> Option<Trouble> {
    let lasted_seconds = refused.lasting_seconds?;
    let remedy = Code::named(&refused.code).map(|code| code.remedy().to_owned());
    Some(Trouble {
        code: refused.code.clone(),
        what: refused.what.clone(),
        now: Some(format!("{} since the start: {}", refused.unit, refused.count)),
        remedy: refused.why.clone().or(remedy),
        since: ago(at, Duration::try_from_secs_f64(lasted_seconds).unwrap_or_default()),
        lasted_seconds,
        attempts: refused.count,
        warning: true,
        publisher: None,
    })
}

/// A tally that does not balance.
pub(crate) fn unbalanced(publisher: &Publisher, at: Timestamp) -> Option<Trouble> {
    let difference = publisher.tally.difference;
    (difference != 0).then(|| Trouble {
        code: Code::Unbalanced.name().to_owned(),
        what: format!("the tally does not balance: {difference} messages are not accounted for"),
        now: None,
        remedy: Some(Code::Unbalanced.remedy().to_owned()),
        since: at,
        lasted_seconds: 0.0,
        attempts: 0,
        warning: false,
        publisher: publisher.name.clone(),
    })
}

/// Whether all is well. The troubles are sorted.
pub(crate) fn verdict(state: AgentState, troubles: &[Trouble], publishers: &[Publisher], channel: &Channel) -> Verdict {
    if state == AgentState::Stopping {
        return Verdict { level: Level::Stopping, code: None, sentence: format!("stopping; {}", waits(channel)), remedy: None };
    }
    let required = |trouble: &Trouble| {
        publishers.len() == 1
            || publishers.iter().any(|it| it.required && (trouble.publisher.is_none() || it.name == trouble.publisher))
    };
    let worst = troubles.iter().find(|trouble| !trouble.warning && required(trouble)).or_else(|| troubles.first());
    let Some(worst) = worst else {
        let rate: f64 = publishers.iter().map(|publisher| publisher.messages_per_second).reduce(f64::min).unwrap_or_default();
        let sentence = if state == AgentState::Starting {
            format!("started; not every publisher has shown yet that it can write, {}", waits(channel))
        } else {
            format!("well: {}{}", stored(rate), waits(channel))
        };
        return Verdict { level: Level::Well, code: None, sentence, remedy: None };
    };
    let of = worst.publisher.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let held = !worst.warning && required(worst);
    let sentence = if held {
        format!(
            "held for {}: {of}{}",
            for_people(Duration::try_from_secs_f64(worst.lasted_seconds).unwrap_or_default()),
            worst.what
        )
    } else {
        format!("{of}{}", worst.what)
    };
    Verdict {
        level: if held { Level::Held } else { Level::Attention },
        code: Some(worst.code.clone()),
        sentence,
        remedy: worst.remedy.clone(),
    }
}

/// "1,240 messages a second stored, ", and nothing where there are none, or where that is not known yet.
fn stored(per_second: f64) -> String {
    let rounded = if per_second < 10.0 { (per_second * 10.0).round() / 10.0 } else { per_second };
    if rounded > 0.0 { format!("{} messages a second stored, ", figures::number(rounded)) } else { String::new() }
}

/// "nothing waits", "the oldest of 12 messages waits for 3s".
fn waits(channel: &Channel) -> String {
    match (channel.messages, channel.oldest_age_seconds) {
        (None, _) => "what waits is not known yet".to_owned(),
        (Some(0), _) => "nothing waits".to_owned(),
        (Some(messages), Some(age)) => {
            let age = Duration::try_from_secs_f64(age).unwrap_or_default();
            format!("the oldest of {} waits for {}", count(messages, "message"), for_people(age))
        }
        (Some(messages), None) => format!("{} in the queue", count(messages, "message")),
    }
}

/// What waits for a publisher, as the line and the ledger say it.
pub(crate) fn backlog(publisher: &Publisher) -> Option<Backlog> {
    let age = publisher.oldest_age_seconds.and_then(|age| Duration::try_from_secs_f64(age).ok());
    Some(Backlog { waiting: publisher.waiting?, in_hand: publisher.in_hand.unwrap_or(0), age })
}

/// All of it in a line, for systemd.
#[must_use]
pub fn line(snapshot: &Snapshot) -> String {
    let told = |(place, publisher): (usize, &Publisher)| {
        let name = publisher.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        name + &line_of(snapshot, publisher, place == 0)
    };
    let statsd = snapshot.statsd.iter().map(|statsd| format!("statsd: {statsd}"));
    snapshot.publishers.iter().enumerate().map(told).chain(statsd).collect::<Vec<_>>().join("; ")
}

/// Clients push to all publishers at once, and the agent is that of all, so that the `first` speaks of them.
fn line_of(snapshot: &Snapshot, publisher: &Publisher, first: bool) -> String {
    let tally = publisher.tally;
    let accepted = tally.accepted.map(|accepted| format!("{accepted} accepted, ")).unwrap_or_default();
    let waiting = backlog(publisher).map(|backlog| format!(", {backlog}")).unwrap_or_default();
    let full_in = snapshot.channel.full_in.as_ref().map(|full_in| format!(", {full_in}")).unwrap_or_default();
    let counts = format!(
        "{accepted}{} published, {} parked, {} in flight{waiting}{full_in}",
        tally.published, tally.parked, tally.in_flight
    );
    if snapshot.agent.state == AgentState::Stopping {
        return format!("stopping; {counts}");
    }
    let refusals = &snapshot.channel.refusals;
    let mut own = snapshot.troubles.iter().filter(|trouble| {
        (trouble.publisher == publisher.name || first && trouble.publisher.is_none())
            && refusals.iter().all(|refused| refused.code != trouble.code)
    });
    let warning = own.clone().find(|trouble| trouble.warning);
    let mut more = warning.map(|trouble| format!("; warning: {}", trouble.what)).unwrap_or_default();
    for RefusedToClients { reason, what, unit, count, .. } in refusals.iter().filter(|it| first && it.lasting_seconds.is_some()) {
        more += &format!("; {what} ({reason}, {unit} since the start: {count})");
    }
    match own.find(|trouble| !trouble.warning) {
        Some(fault) => format!("waiting: {}; {counts}{more}", fault.what),
        None => format!("publishing to {}; {counts}{more}", publisher.destination),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_each_publisher_with_its_counts_and_what_clients_are_refused_once() {
        let line = line(&Snapshot::example());
        let begin = "influx: publishing to influxdb http://localhost:8086 database kadabra; 1000017 accepted, 999993 published, 12 \
                     parked, 4 in flight, 12 messages wait, 4 of them in hand, the oldest for 0s, full in 9h; clients spoke HTTP";
        assert!(line.starts_with(begin), "{line}");
        assert!(line.contains("; metrics: publishing to victoriametrics"), "{line}");
        assert!(line.contains("; warning: messages wait long in /var/lib/kadabra/queue.db"), "{line}");
        assert_eq!(line.matches("(http, clients since the start: 3)").count(), 1, "{line}");
    }

    #[test]
    fn a_held_publisher_waits_and_the_verdict_says_for_what() {
        let held = Snapshot::example_held();
        assert!(line(&held).starts_with("influx: waiting: influxdb http://localhost:8086 refuses the login (401)"));
        let told = verdict(held.agent.state, &held.troubles, &held.publishers, &held.channel);
        assert_eq!(told, held.verdict);
        let mut stopping = held;
        stopping.agent.state = AgentState::Stopping;
        assert!(line(&stopping).starts_with("influx: stopping; 1000017 accepted"));
    }

    #[test]
    fn a_publisher_that_others_can_do_without_holds_nothing_but_itself() {
        let mut snapshot = Snapshot::example_held();
        snapshot.publishers.iter_mut().for_each(|publisher| publisher.required = publisher.name.as_deref() == Some("metrics"));
        let told =
            |snapshot: &Snapshot| verdict(AgentState::Running, &snapshot.troubles, &snapshot.publishers, &snapshot.channel);
        assert_eq!(told(&snapshot).level, Level::Attention);
        snapshot.troubles.clear();
        let well = told(&snapshot);
        assert_eq!(well.level, Level::Well);
        assert_eq!(well.sentence, "well: 1,240 messages a second stored, the oldest of 12 messages waits for 6m 10s");
        for (rate, said) in
            [(0.04, "well: the oldest of 12"), (0.3, "well: 0.3 messages a second stored, the"), (12.34, "well: 12.3 messages")]
        {
            snapshot.publishers.iter_mut().for_each(|publisher| publisher.messages_per_second = rate);
            assert!(told(&snapshot).sentence.starts_with(said), "{rate}: {}", told(&snapshot).sentence);
        }
    }
}
