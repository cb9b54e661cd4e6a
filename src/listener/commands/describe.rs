//! What the agent says of itself: INFO and COMMAND DOCS.

use std::fmt::Write as _;

use super::table::{self, COMMANDS, Command, REDIS_VERSION};
use crate::{
    listener::{backend::Standing, cause::Cause, refusals::Refused, request::Request, session::Session, words},
    quote::quote,
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
    let standing = if sections.iter().any(|section| matches!(*section, "memory" | "keyspace" | "kadabra")) {
        session.shared.backend.standing().await.ok()
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
        for (field, value) in fields(session, section, standing.as_ref()) {
            let _ = write!(text, "{field}:{value}\r\n");
        }
        if section == "kadabra" {
            describe_refusals(&session.shared.refusals.all(), &mut text);
        }
    }
    session.replies.text(&text);
}

fn fields(session: &Session, section: &str, standing: Option<&Standing>) -> Vec<(&'static str, String)> {
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
            if let Some(standing) = standing {
                fields.push(("used_memory", standing.used.to_string()));
                fields.push(("maxmemory", standing.max_bytes.to_string()));
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
        "keyspace" => match standing {
            Some(standing) if standing.waiting > standing.in_hand => {
                vec![("db0", "keys=1,expires=0,avg_ttl=0".to_owned())]
            }
            _ => Vec::new(),
        },
        _ => {
            let mut fields = vec![("queue", shared.settings.queue_key.clone())];
            fields.extend(standing.into_iter().flat_map(of_the_queue));
            fields.extend(shared.stats.of_kadabra());
            fields.push(("wrong_passwords", shared.refusals.times(Cause::WrongPassword).to_string()));
            fields.extend(shared.refusals.why().map(|why| ("refused_because", why)));
            fields
        }
    }
}

/// How often each was refused since the start, and what is being refused; `pressure` reads it.
fn describe_refusals(all: &[Refused], text: &mut String) {
    for Refused { reason, times, .. } in all {
        let _ = write!(text, "refused_{reason}:{times}\r\n");
    }
    let lasting: Vec<_> = all.iter().filter(|refused| refused.lasts.is_some()).map(|refused| refused.reason).collect();
    let _ = write!(text, "refusing:{}\r\n", lasting.join(","));
}

/// By names of our own; `pressure` reads them.
fn of_the_queue(standing: &Standing) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        // LLEN, as of a Redis, counts only what nobody has taken.
        ("queue_length", standing.waiting.to_string()),
        ("queue_in_hand", standing.in_hand.to_string()),
        ("used_bytes", standing.used.to_string()),
        ("max_bytes", standing.max_bytes.to_string()),
        ("dead_letters", standing.dead.to_string()),
        ("max_dead_letters", standing.max_dead_letters.to_string()),
        ("damaged_messages", standing.damaged.to_string()),
    ];
    fields.extend(standing.age.map(|age| ("oldest_message_seconds", age.as_secs().to_string())));
    if let Some((what, mend)) = &standing.unsafe_because {
        fields.push(("unsafe_because", quote(what)));
        fields.push(("unsafe_mend", quote(mend)));
        fields.extend(standing.broken.then(|| ("broken", "1".to_owned())));
    }
    fields
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
