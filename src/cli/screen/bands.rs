//! The bands: the verdict and what troubles the agent, the tally, the flow, what came through, and what was set aside.

use jiff::Timestamp;

use super::row::{
    Column::{Left, Rest, Right},
    Part, Row, Tone, clipped, part, plain, table, wrapped,
};
use crate::{
    plural::{count as so_many, either},
    status::{
        Snapshot,
        figures::{bytes, count, number, percent, rate, seconds},
        snapshot::{ActorState, AgentState, Channel, Level, Publisher, Queue, SeenKind, SeenSeries, Trouble},
    },
};

/// How often something was, in eighths of the most.
const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// So many of the newest intervals of a series are drawn.
const SPARKS_SHOWN: usize = 12;

/// Whether all is well, in a sentence, and what to do.
pub(in crate::cli) fn verdict(snapshot: &Snapshot, width: usize) -> Vec<Row> {
    let verdict = &snapshot.verdict;
    let (word, tone) = match verdict.level {
        _ if snapshot.agent.state == AgentState::Starting => ("STARTING", Tone::Attention),
        Level::Well => ("WELL", Tone::Good),
        Level::Attention => ("ATTENTION", Tone::Attention),
        Level::Held => ("HELD", Tone::Bad),
        Level::Stopping => ("STOPPING", Tone::Attention),
    };
    let mut rows = wrapped(&[part(word, tone), plain("  "), part(&verdict.sentence, Tone::Strong)], width, 2);
    rows.extend(verdict.remedy.iter().flat_map(|remedy| to_mend(remedy, width)));
    rows
}

fn to_mend(remedy: &str, width: usize) -> Vec<Row> {
    wrapped(&[part("  to mend it: ", Tone::Faint), plain(remedy)], width, 4)
}

/// The process.
pub(in crate::cli) fn agent(snapshot: &Snapshot, width: usize) -> Vec<Row> {
    let agent = &snapshot.agent;
    let mut said =
        format!("kadabra {} on {}, process {}, up {}", agent.version, agent.host, agent.pid, seconds(agent.uptime_seconds));
    if let Some(memory) = agent.memory_bytes {
        said += &format!(", {}", bytes(memory));
    }
    if let Some(systemd) = &agent.systemd {
        said += &format!("; systemd has: {systemd}");
    }
    wrapped(&[part(said, Tone::Faint)], width, 2)
}

/// What troubles it. Of what the verdict says already only how it stands.
pub(in crate::cli) fn troubles(snapshot: &Snapshot, width: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, trouble) in snapshot.troubles.iter().enumerate() {
        let Trouble { code, what, now, remedy, lasted_seconds, attempts, warning, publisher, .. } = trouble;
        let tone = if *warning { Tone::Attention } else { Tone::Bad };
        let is_the_verdict = at == 0 && snapshot.verdict.code.as_ref() == Some(code);
        let mut said = String::new();
        if let Some(publisher) = publisher {
            said += &format!("{publisher}: ");
        }
        if !is_the_verdict {
            said += &format!("{what}, ");
        }
        said += &format!("for {}", seconds(*lasted_seconds));
        if !warning && *attempts > 0 {
            said += &format!(", {}", so_many(*attempts, "attempt"));
        }
        if let Some(now) = now {
            said += &format!("; {now}");
        }
        rows.extend(wrapped(&[part(code, tone), plain(" "), plain(said)], width, 2));
        rows.extend(remedy.iter().filter(|_| !is_the_verdict).flat_map(|remedy| to_mend(remedy, width)));
    }
    rows
}

/// What has become of every message, a row a publisher.
pub(in crate::cli) fn tally(snapshot: &Snapshot, width: usize) -> Vec<Row> {
    let from_push = snapshot.publishers.iter().any(|publisher| publisher.tally.accepted.is_some());
    let heads = if from_push {
        ["accepted", "= published", "+ set aside", "+ dropped", "+ waiting", "in hand"]
    } else {
        ["leased", "= published", "+ set aside", "+ given back", "+ in hand", "waiting"]
    };
    let mut rows =
        vec![[part("Tally", Tone::Strong)].into_iter().chain(heads.map(|head| part(head, Tone::Faint))).collect::<Row>()];
    for publisher in &snapshot.publishers {
        let tally = &publisher.tally;
        let unknown = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), count);
        let numbers = if from_push {
            [
                unknown(tally.accepted),
                count(tally.published),
                count(tally.parked),
                count(tally.dropped),
                unknown(tally.waiting),
                count(tally.in_flight),
            ]
        } else {
            [
                count(tally.leased),
                count(tally.published),
                count(tally.parked),
                count(tally.given_back),
                count(tally.in_flight),
                unknown(publisher.waiting),
            ]
        };
        let mut row = vec![plain(called(publisher))];
        row.extend(numbers.map(plain));
        if tally.difference != 0 {
            row.push(part(format!("DIFFERENCE {}: a fault of the agent", tally.difference), Tone::Bad));
        }
        rows.push(row);
    }
    table(&[Left, Right, Right, Right, Right, Right, Right, Rest], rows, width)
}

fn called(publisher: &Publisher) -> &str {
    publisher.name.as_deref().unwrap_or(&publisher.kind)
}

/// The way of messages: clients, the queue, the publishers, and the actors that do it.
pub(in crate::cli) fn flow(snapshot: &Snapshot, width: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(clients) = clients(&snapshot.channel) {
        rows.push(vec![part("clients", Tone::Strong), clients]);
    }
    if let Some(statsd) = &snapshot.statsd {
        rows.push(vec![part("statsd", Tone::Strong), plain(statsd.to_string())]);
    }
    rows.push(vec![part("queue", Tone::Strong), plain(queue(&snapshot.channel))]);
    rows.extend(snapshot.channel.queues.iter().map(|queue| vec![plain(format!(" {}", queue.name)), one_of_several(queue)]));
    for publisher in &snapshot.publishers {
        rows.push(vec![part(called(publisher), Tone::Strong), written(publisher, snapshot.at)]);
    }
    rows.push(vec![part("actors", Tone::Strong), actors(snapshot)]);
    let widest = rows.iter().filter_map(|row| row.first()).map(|name| name.text.chars().count()).max().unwrap_or(0);
    let named = rows.into_iter().flat_map(|mut row| {
        if let Some(name) = row.first_mut() {
            name.text = format!("{:widest$}  ", name.text);
        }
        wrapped(&row, width, widest + 2)
    });
    named.collect()
}

fn clients(channel: &Channel) -> Option<Part> {
    let clients = channel.clients?;
    let mut said = match channel.max_clients {
        Some(most) => format!("{} of {} connected", count(clients), count(most)),
        None => format!("{} connected", count(clients)),
    };
    let refused: Vec<_> = channel.refusals.iter().filter(|refusal| refusal.count > 0).collect();
    let tone = if refused.iter().any(|refusal| refusal.lasting_seconds.is_some()) { Tone::Bad } else { Tone::Plain };
    if !refused.is_empty() {
        let each = refused.iter().map(|refusal| format!("{} {} ({})", count(refusal.count), refusal.unit, refusal.reason));
        said += &format!("; refused: {}", each.collect::<Vec<_>>().join(", "));
    }
    Some(part(said, tone))
}

fn waits(messages: Option<u64>, oldest_age_seconds: Option<f64>) -> String {
    let mut said = match messages {
        Some(messages) => format!("{} {}", so_many_messages(messages), either(messages, "waits", "wait")),
        None => "how many messages wait is not known yet".to_owned(),
    };
    if let Some(age) = oldest_age_seconds.filter(|_| messages != Some(0)) {
        said += &format!(", the oldest for {}", seconds(age));
    }
    said
}

fn one_of_several(queue: &Queue) -> Part {
    let said = waits(queue.messages, queue.oldest_age_seconds);
    match &queue.trouble {
        Some(trouble) => part(format!("cannot be used: {trouble}; {said}"), Tone::Bad),
        None => plain(said),
    }
}

fn queue(channel: &Channel) -> String {
    let mut said = waits(channel.messages, channel.oldest_age_seconds);
    if let (Some(used), Some(most)) = (channel.bytes, channel.max_bytes) {
        said += &format!("; {} of {}, {}", bytes(used), bytes(most), percent(used, most));
    }
    if let Some(full) = &channel.full_in {
        said += &format!("; {full}");
    }
    if channel.damaged > 0 {
        said += &format!("; {} cannot be read", so_many_messages(channel.damaged));
    }
    format!("{said}; {}", channel.place)
}

fn so_many_messages(messages: u64) -> String {
    format!("{} {}", count(messages), either(messages, "message", "messages"))
}

fn written(publisher: &Publisher, at: Timestamp) -> Part {
    let (word, tone) = if publisher.hold.is_some() {
        ("held", Tone::Bad)
    } else if !publisher.proven {
        ("not proven yet", Tone::Attention)
    } else if publisher.batches_in_flight > 0 {
        ("writing", Tone::Plain)
    } else {
        ("idle", Tone::Plain)
    };
    let mut said = format!("{word}, {}", rate(publisher.messages_per_second));
    if let Some(p99) = publisher.publish_seconds.quantile(0.99) {
        said += &format!(", p99 {}", seconds(p99));
    }
    match publisher.last_success {
        Some(last) => said += &format!(", written {} ago", ago(at, last)),
        None => said += ", nothing written yet",
    }
    let retries: u64 = publisher.retries.iter().map(|retry| retry.count).sum();
    if retries > 0 {
        said += &format!(", {} {}", count(retries), either(retries, "retry", "retries"));
    }
    if publisher.tally.backlog_dropped > 0 {
        said += &format!(", {} dropped at max_backlog", so_many_messages(publisher.tally.backlog_dropped));
    }
    if let Some(letters) = publisher.dead_letters.count.filter(|letters| *letters > 0) {
        said += &format!(", {} dead {}", count(letters), either(letters, "letter", "letters"));
    }
    part(format!("{said}; {}", publisher.destination), tone)
}

fn ago(at: Timestamp, then: Timestamp) -> String {
    seconds(at.duration_since(then).as_secs_f64().max(0.0))
}

fn actors(snapshot: &Snapshot) -> Part {
    let restarts = |actor: &crate::status::snapshot::Actor| actor.restarts.iter().map(|cause| cause.count).sum::<u64>();
    let remarkable = snapshot.actors.iter().filter(|actor| actor.state != ActorState::Up || restarts(actor) > 0);
    let said: Vec<String> = remarkable
        .map(|actor| {
            let state = match actor.state {
                ActorState::Waiting => "waits for its restart",
                ActorState::Starting => "is being started",
                ActorState::Up => "is up",
                ActorState::Hung => "hangs",
                ActorState::Finished => "has drained",
            };
            let causes = actor.restarts.iter().filter(|cause| cause.count > 0);
            let causes: Vec<_> = causes.map(|cause| format!("{} {}", count(cause.count), cause.name)).collect();
            let restarted = if causes.is_empty() { String::new() } else { format!(", restarted: {}", causes.join(", ")) };
            format!("{} {state}{restarted} ({} of {} used)", actor.name, actor.budget.used, actor.budget.max)
        })
        .collect();
    if said.is_empty() {
        return plain(format!("all {} are up, none was restarted", snapshot.actors.len()));
    }
    let bad = snapshot.actors.iter().any(|actor| matches!(actor.state, ActorState::Hung | ActorState::Waiting));
    part(said.join("; "), if bad { Tone::Bad } else { Tone::Attention })
}

/// What came through, a row a series, below a head.
pub(in crate::cli) fn seen(snapshot: &Snapshot, width: usize) -> Vec<Row> {
    let seen = &snapshot.seen;
    if !seen.counted {
        return vec![clipped(vec![part("What came through", Tone::Strong), plain(" is not counted")], width)];
    }
    let head = ["What came through", "/s", "mean", "p95", "seen", ""].map(|head| part(head, Tone::Faint));
    let mut rows = vec![head.to_vec()];
    // A name takes what the numbers leave.
    let longest = width.saturating_sub(48).max(16);
    for series in &seen.series {
        let number = |value: Option<f64>| plain(value.map_or_else(|| "-".to_owned(), |value| in_unit(value, series)));
        rows.push(vec![
            plain(crate::quote::cut(&named(series), longest)),
            plain(rate(series.per_second).trim_end_matches("/s")),
            number(series.mean),
            number(series.p95),
            plain(ago(snapshot.at, series.last_seen)),
            plain(spark(&series.spark)),
        ]);
    }
    let mut rows = table(&[Left, Right, Right, Right, Right, Rest], rows, width);
    if let Some(head) = rows.first_mut().and_then(|row| row.iter_mut().find(|part| part.text == "What came through")) {
        head.tone = Tone::Strong;
    }
    if seen.series.is_empty() {
        rows.push(vec![plain("nothing yet")]);
    }
    if seen.other > 0 {
        rows.push(clipped(
            vec![part(format!("and {} of series that are not kept", so_many(seen.other, "point")), Tone::Faint)],
            width,
        ));
    }
    rows
}

fn named(series: &SeenSeries) -> String {
    let dimensions = series.dimensions.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>();
    // Before it is cut, so that no escape is.
    crate::quote::printable(&format!("{}{dimensions}", series.metric))
}

fn in_unit(value: f64, series: &SeenSeries) -> String {
    match (series.kind, series.unit.as_deref()) {
        (SeenKind::Timer, Some("milliseconds")) => seconds(value / 1e3),
        (SeenKind::Timer, Some("microseconds")) => seconds(value / 1e6),
        (SeenKind::Timer, Some("seconds")) => seconds(value),
        (SeenKind::Timer, Some(unit)) => format!("{} {}", number(value), crate::quote::cut(unit, 12)),
        _ => number(value),
    }
}

fn spark(intervals: &[u32]) -> String {
    let shown = intervals.get(intervals.len().saturating_sub(SPARKS_SHOWN)..).unwrap_or_default();
    let most = shown.iter().copied().max().unwrap_or(0);
    let spark = |interval: &u32| {
        let height = (u64::from(*interval) * 8).div_ceil(u64::from(most.max(1)));
        let at = usize::try_from(height).unwrap_or(0).checked_sub(1);
        at.and_then(|at| SPARKS.get(at)).copied().unwrap_or(' ')
    };
    shown.iter().map(spark).collect()
}

/// What was set aside, a row a reason, below a head; nothing where nothing was.
pub(in crate::cli) fn dead_letters(snapshot: &Snapshot, width: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for publisher in &snapshot.publishers {
        let letters = &publisher.dead_letters;
        for reason in &letters.by_reason {
            rows.push(vec![
                part(count(reason.count), Tone::Attention),
                plain(format!("newest {} ago", ago(snapshot.at, reason.newest))),
                plain(called(publisher)),
                plain(&reason.reason),
            ]);
        }
        if letters.other > 0 {
            rows.push(vec![
                part(count(letters.other), Tone::Attention),
                plain(""),
                plain(called(publisher)),
                plain("other reasons"),
            ]);
        }
    }
    if rows.is_empty() {
        return rows;
    }
    let head = vec![part("Dead letters", Tone::Strong), part(" of this process; kadabra dead-letters list", Tone::Faint)];
    let mut all = vec![clipped(head, width)];
    all.extend(table(&[Right, Right, Left, Rest], rows, width));
    all
}
