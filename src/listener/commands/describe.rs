//! What the agent says of itself: INFO and COMMAND DOCS.

use std::fmt::Write as _;

use super::table::{self, COMMANDS, Command, REDIS_VERSION};
use crate::listener::{
    backend::QueueStatus,
    refusals::Refused,
    report::{Report, Times},
    request::Request,
    session::Session,
    shared::Shared,
    words,
};

const SECTIONS: [&str; 9] =
    ["server", "clients", "memory", "persistence", "stats", "replication", "cluster", "keyspace", "kadabra"];

pub(super) async fn info(session: &mut Session, request: &Request) {
    let wanted = |section: &str| {
        request.len() == 1
            || request.from(1).any(|word| {
                [section, "all", "default", "everything"].iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
            })
    };
    let sections: Vec<_> = SECTIONS.into_iter().filter(|section| wanted(section)).collect();
    let status = if sections.iter().any(|section| matches!(*section, "memory" | "keyspace" | "kadabra")) {
        session.shared.backend.status().await.ok()
    } else {
        None
    };
    let mut text = String::new();
    for section in sections {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let mut title = section.to_owned();
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let _ = write!(text, "# {title}\r\n");
        for (field, value) in fields(session, section, status.as_ref()) {
            let _ = write!(text, "{field}:{value}\r\n");
        }
        if section == "kadabra" {
            let _ = write!(text, "{}", report(session, status.clone()));
        }
    }
    session.replies.text(&text);
}

fn fields(session: &Session, section: &str, status: Option<&QueueStatus>) -> Vec<(&'static str, String)> {
    let shared = &session.shared;
    let uptime = shared.started.elapsed().as_secs();
    match section {
        "server" => vec![
            ("redis_version", REDIS_VERSION.to_owned()),
            ("redis_mode", "standalone".to_owned()),
            ("os", std::env::consts::OS.to_owned()),
            ("arch_bits", usize::BITS.to_string()),
            ("process_id", std::process::id().to_string()),
            ("tcp_port", session.client.port().to_string()),
            ("uptime_in_seconds", uptime.to_string()),
            ("uptime_in_days", (uptime / 86_400).to_string()),
            ("kadabra_version", env!("CARGO_PKG_VERSION").to_owned()),
        ],
        "clients" => vec![
            ("connected_clients", shared.clients.len().to_string()),
            ("maxclients", shared.settings.max_connections.to_string()),
            ("blocked_clients", "0".to_owned()),
        ],
        // What a push is refused for is the file's room: a Redis calls that its memory.
        "memory" => {
            let mut fields = Vec::new();
            if let Some(status) = status {
                fields.push(("used_memory", status.used.to_string()));
                fields.push(("maxmemory", status.max_bytes.to_string()));
            }
            fields.push(("maxmemory_policy", "noeviction".to_owned()));
            fields.push(("listener_used_bytes", shared.memory.used().to_string()));
            fields.push(("listener_max_bytes", shared.settings.max_waiting_bytes.to_string()));
            fields
        }
        "persistence" => vec![("loading", "0".to_owned())],
        "stats" => shared.stats.fields(),
        "replication" => vec![("role", "master".to_owned()), ("connected_slaves", "0".to_owned())],
        "cluster" => vec![("cluster_enabled", "0".to_owned())],
        "keyspace" => match status {
            Some(status) if status.waiting > status.in_hand => {
                vec![("db0", "keys=1,expires=0,avg_ttl=0".to_owned())]
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn report(session: &Session, status: Option<QueueStatus>) -> Report {
    let Shared { settings, stats, refusals, backend, others, .. } = &*session.shared;
    // Room may have been made since the last push was answered.
    refusals.dropped_oldest(backend.take_dropped_oldest(), &session.client.peer);
    refusals.answered_early(backend.take_answered_early(), &session.client.peer);
    let (queued, refused, dropped) = stats.messages();
    let (answered_early, not_stored) = backend.answered_early();
    let times = |it: Refused| (it.reason.to_owned(), Times { times: it.times, lasts: it.lasts.is_some() });
    Report {
        queue: settings.queue_key.clone(),
        status,
        queued,
        refused,
        dropped: dropped + not_stored,
        answered_early,
        refused_because: refusals.why(),
        refusals: refusals.all().into_iter().map(times).collect(),
        others: others.get().map(|counts| counts()).unwrap_or_default(),
    }
}

/// KADABRA: what INFO says of it, for programs.
pub(super) async fn kadabra(session: &mut Session) {
    let status = session.shared.backend.status().await.ok();
    match serde_json::to_string(&report(session, status)) {
        Ok(json) => session.replies.bulk(json.as_bytes()),
        Err(error) => session.replies.error(format!("ERR {error}")),
    }
}

/// COMMAND DOCS: what redis-cli shows while a command is typed.
pub(super) fn command(session: &mut Session, request: &Request) {
    let known: Vec<&Command> =
        if request.len() == 2 { COMMANDS.iter().collect() } else { request.from(2).filter_map(table::find).collect() };
    let replies = &mut session.replies;
    replies.map(known.len());
    for command in known {
        replies.bulk(command.word.as_bytes());
        replies.map(2);
        for (field, value) in [("summary", command.summary), ("group", command.group)] {
            replies.bulk(field.as_bytes());
            replies.bulk(value.as_bytes());
        }
    }
}

/// What is wrong with the words of COMMAND, if it cannot even be queued in a transaction.
pub(super) fn check(request: &Request) -> Result<(), Vec<u8>> {
    match request.get(1).unwrap_or_default() {
        word if word.eq_ignore_ascii_case(b"docs") => Ok(()),
        word => Err([b"ERR unknown subcommand '", words::cut(word, 128), b"'. Try DOCS."].concat()),
    }
}
