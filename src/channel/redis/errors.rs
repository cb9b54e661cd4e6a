//! What Redis, an agent that is one to its clients, or the way to either says, as a sentence for the person who must act, with what to do.
//!
//! Sentences name the URL without its secrets, never the passwords or arguments that were sent. The server's own words are
//! judged as they came and quoted as one printable line, since whatever answers may say anything, at any length.

use std::fmt;

use bytesize::ByteSize;
use redis::RedisError;

use super::{resp::Excess, rights};
use crate::{channel::ChannelError, connect::Service, listener::WRONG_QUEUE, quote::quote};

/// What is at the other end of a connection, for sentences about it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// The URL without its secrets.
    pub(super) url: String,
    /// The key pattern that a Redis ACL must allow.
    pub(super) pattern: String,
    /// What an operator calls what can be set of it.
    pub(super) names: &'static Names,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Server {
    /// The name of what says where it is.
    pub(super) fn key(&self) -> &'static str {
        self.names.service.key
    }

    /// What to check when nothing answers there.
    pub(super) fn check_that_it_runs(&self) -> String {
        let Service { key, place, .. } = &self.names.service;
        if self.names.is_agent() {
            format!(
                "check that the agent is running there (start it with kadabra run, or systemctl start kadabra), and the address in {key}"
            )
        } else {
            format!("check that Redis is running there, and {place}")
        }
    }
}

/// What an operator sets for a Redis, by name: keys of the configuration, or options of a command. Sentences about errors are made
/// with these names.
#[derive(Debug)]
pub(crate) struct Names {
    /// The server, and where it is.
    pub(crate) service: Service,
    /// The file with its password.
    pub(crate) password_file: &'static str,
    /// What names the lists that it has.
    pub(crate) lists: &'static str,
    /// What a Redis ACL must allow, with these keys' pattern.
    pub(crate) rights: fn(&str) -> String,
    /// What it is.
    pub(crate) kind: Kind,
}

impl Names {
    fn is_agent(&self) -> bool {
        self.kind == Kind::Agent
    }

    /// Whether another server can take the place of the one that answers.
    fn is_of_several(&self) -> bool {
        matches!(self.kind, Kind::Sentinel | Kind::Cluster)
    }
}

/// What answers as a Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One server.
    Single,
    /// The primary that Sentinels name.
    Sentinel,
    /// A node of a cluster.
    Cluster,
    /// An agent that listens itself, and so is a Redis to its clients.
    Agent,
}

/// The keys of `[channel.redis]`, where it is one server.
pub(super) const KEYS: &Names = &Names {
    service: Service {
        name: "Redis",
        key: "channel.redis.url",
        place: "the address in channel.redis.url",
        section: "channel.redis",
        plain: Some("redis"),
    },
    password_file: "channel.redis.password_file",
    lists: "channel.redis.queue_key, or queue_keys, or inprogress_key",
    rights: rights::of_agent,
    kind: Kind::Single,
};

/// Those of the primary that Sentinels name.
pub(super) const SENTINEL_KEYS: &Names =
    &Names { service: Service { key: SENTINELS, place: SENTINELS, ..CLUSTER_KEYS.service }, kind: Kind::Sentinel, ..*KEYS };

/// Those of a cluster.
pub(super) const CLUSTER_KEYS: &Names = &Names {
    service: Service { key: "channel.redis.nodes", place: NODES, plain: None, ..KEYS.service },
    kind: Kind::Cluster,
    ..*KEYS
};

const SENTINELS: &str = "what the Sentinels in channel.redis.nodes say";

const NODES: &str = "the addresses in channel.redis.nodes";

/// Why Redis did not do what it was asked, while it may still be found out more precisely.
#[derive(Debug)]
pub(super) enum Error {
    /// Its answer is a refusal.
    Refused(Refusal),
    /// Anything else.
    Other(ChannelError),
}

/// A refusal by Redis, taken apart.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What was asked for: a verb without an object.
    pub(super) doing: String,
    /// What is wrong, with Redis's own words.
    pub(super) what: String,
    pub(super) mend: String,
    /// What Redis does not say of it.
    pub(super) omitted: Option<Omission>,
}

/// What a Redis leaves out of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omission {
    /// Which key has the wrong type.
    Key,
    /// Which command in a script the user may not run.
    Command,
}

impl From<ChannelError> for Error {
    fn from(error: ChannelError) -> Self {
        Self::Other(error)
    }
}

impl From<Error> for ChannelError {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(Refusal { doing, what, mend, .. }) => Self::Refused { what: format!("cannot {doing}: {what}"), mend },
            Error::Other(error) => error,
        }
    }
}

/// An error of the crate or of the server. `doing` is a verb without an object: "connect", "take messages".
pub(super) fn explain(doing: &str, server: &Server, error: &RedisError) -> Error {
    let words = own_words(error);
    if let Some((what, mend)) = answered(&words, server) {
        let omitted = if has_code(&words, "WRONGTYPE") {
            Some(Omission::Key)
        } else {
            words.contains("can't run this command or subcommand").then_some(Omission::Command)
        };
        return Error::Refused(Refusal { doing: doing.to_owned(), what: format!("{what} ({})", quote(&words)), mend, omitted });
    }
    Error::Other(unanswered(doing, server, &words, error))
}

/// What is no refusal that is known.
fn unanswered(doing: &str, server: &Server, words: &str, error: &RedisError) -> ChannelError {
    let what = format!("cannot {doing}{}", place(doing, &server.url));
    let hint = passing(words, server, error);
    let words = quote(words);
    match hint {
        Some(hint) => ChannelError::Unreachable { what, why: format!("{words}: {hint}") },
        None if error.is_io_error() => ChannelError::Unreachable { what, why: words },
        None => ChannelError::Refused {
            what: format!("{what}: {words}"),
            mend: format!("look into the log of that {}", if server.names.is_agent() { "agent" } else { "Redis" }),
        },
    }
}

/// An answer of the wrong shape.
pub(super) fn garbled(doing: &str, server: &Server) -> ChannelError {
    no_redis(doing, server, "gave an answer that no Redis gives")
}

/// What nothing that was asked for can be answered with. The connection is closed by then.
pub(super) fn excess(doing: &str, server: &Server, excess: Excess) -> ChannelError {
    let size = |bytes: usize| ByteSize(u64::try_from(bytes).unwrap_or(u64::MAX)).display().iec().to_string();
    let what = match excess {
        Excess::Large(limit) => {
            format!(
                "began an answer that takes more than {} of memory, and nothing that was asked for is that large",
                size(limit)
            )
        }
        Excess::Deep(levels) => format!("began an answer of lists in lists, more than {levels} deep, as no Redis does"),
        Excess::Unasked => "sent an answer to nothing that was asked, as no Redis does".to_owned(),
        Excess::Garbage => "does not speak Redis's protocol".to_owned(),
    };
    no_redis(doing, server, &what)
}

fn no_redis(doing: &str, server: &Server, what: &str) -> ChannelError {
    let program = if server.names.is_agent() { "the agent and not of" } else { "a Redis and not of a proxy or" };
    ChannelError::Refused {
        what: format!("cannot {doing}: {server} {what}"),
        mend: format!("check that {} is the address of {program} another service", server.key()),
    }
}

/// Whether the server will give the same answer on this connection for as long as it lasts.
pub(super) fn wants_new_connection(error: &RedisError) -> bool {
    // A new connection may reach the new primary, or authenticate with a user that has been mended. A node of a cluster that was cut off
    // from the others says CLUSTERDOWN for as long as it is, while another one has its slots.
    let words = own_words(error);
    ["READONLY", "NOAUTH", "MASTERDOWN", "MOVED", "CLUSTERDOWN"].iter().any(|code| has_code(&words, code))
}

/// Whether a node of a cluster cannot say anything of the queue, though it answers: it is another's, or the node has just started.
pub(super) fn is_elsewhere(error: &RedisError) -> bool {
    let words = own_words(error);
    ["MOVED", "CLUSTERDOWN", "LOADING", "MASTERDOWN"].iter().any(|code| has_code(&words, code))
}

/// Whether a command was refused for nothing but its time-out: "timeout is negative" to every Redis and Valkey since 2.2,
/// and others that speak the protocol name the time-out too.
pub(super) fn is_of_the_time_out(error: &RedisError) -> bool {
    error.code() == Some("ERR") && own_words(error).to_ascii_lowercase().contains("timeout")
}

/// The command that Redis does not know, in small letters. Up to 6.2 it is in other quotes.
fn unknown_command(words: &str) -> Option<String> {
    let name = words.split_once("unknown command ")?.1.trim_start_matches(['\'', '`']);
    name.split(|c: char| !c.is_ascii_alphanumeric()).next().map(str::to_ascii_lowercase)
}

fn place(doing: &str, target: &str) -> String {
    if doing == "connect" { format!(" to {target}") } else { format!(" on {target}") }
}

fn own_words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some("ERR"), Some(detail)) => detail.to_owned(),
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        _ => error.to_string(),
    }
}

/// A code as Redis writes it: a word of its own, in front or, when a script failed, inside.
fn has_code(words: &str, code: &str) -> bool {
    words.split(|c: char| !c.is_ascii_uppercase()).any(|word| word == code)
}

/// What the server answered, and an operator must mend.
fn answered(words: &str, server: &Server) -> Option<(String, String)> {
    if server.names.is_agent()
        && let Some(answer) = answered_by_an_agent(words, server)
    {
        return Some(answer);
    }
    let Server { url: target, pattern, names } = server;
    let Names { service: Service { key: url, .. }, password_file, lists, rights, .. } = names;
    let code = |code: &str| has_code(words, code);
    let passes: &[&str] = match names.kind {
        // The next connection is made to where it is by then.
        Kind::Sentinel => &["READONLY"],
        // It is spoken to as one already.
        Kind::Cluster => &["READONLY", "MOVED", "ASK", "CROSSSLOT"],
        Kind::Single | Kind::Agent => &[],
    };
    if passes.iter().any(|it| code(it)) {
        return None;
    }
    let (what, mend) = if words.contains("Password authentication failed") || code("WRONGPASS") {
        (
            format!("{target} does not accept the user and password (WRONGPASS)"),
            if names.is_of_several() {
                format!("correct {password_file}, or the user beside it")
            } else {
                format!("correct {password_file}, or the user and password in {url}")
            },
        )
    } else if code("NOAUTH") || words.contains("Authentication required") {
        (format!("{target} wants a password"), format!("write it to a file and name the file in {password_file}"))
    } else if code("NOPERM")
        || ["ACL failure", "user executing the script can't", "No permissions", "no permissions"]
            .iter()
            .any(|it| words.contains(it))
    {
        (format!("the user at {target} lacks a permission"), format!("give it these: ACL SETUSER <user> {}", rights(pattern)))
    } else if code("WRONGTYPE") {
        (
            format!("a key at {target} holds another type than a channel needs"),
            format!("rename or delete that key, or choose another {lists}"),
        )
    } else if code("READONLY") {
        (
            format!("{target} is a read-only replica"),
            format!("set {url} to the primary, since taking a message off a channel is a write"),
        )
    } else if code("OOM") {
        (
            format!("{target} has reached its maxmemory"),
            "raise maxmemory, or delete what fills it; what is queued is still taken".to_owned(),
        )
    } else if code("MISCONF") || code("NOREPLICAS") {
        (
            format!("{target} does not accept writes"),
            "mend what it says: it cannot save to its disk, or has too few replicas".to_owned(),
        )
    } else if code("BUSY") {
        (format!("{target} is busy with somebody's slow script"), "wait for it, or end it with SCRIPT KILL".to_owned())
    } else if code("MOVED") || code("ASK") || code("CROSSSLOT") {
        (
            format!("{target} is a node of a cluster"),
            "set channel.redis.mode to \"cluster\", and channel.redis.nodes to some of its nodes".to_owned(),
        )
    } else if words.contains("refused to switch database") || words.contains("DB index is out of range") {
        let number =
            if names.kind == Kind::Sentinel { "channel.redis.database" } else { &format!("the number at the end of {url}") };
        (format!("{target} has no database of that number"), format!("correct {number}"))
    } else if words.contains("max number of clients") {
        (format!("{target} has as many clients as it allows"), "raise its maxclients, or end some clients".to_owned())
    } else if unknown_command(words).is_some_and(|command| ["evalsha", "script"].contains(&command.as_str())) {
        (
            format!("{target} runs no scripts, without which no message can be moved safely"),
            "use a Redis or Valkey that allows EVALSHA and SCRIPT LOAD; some services have no scripts where they spread keys over \
             several servers"
                .to_owned(),
        )
    } else if words.contains("unknown command") || words.contains("Unknown Redis command") {
        (
            format!("{target} does not know a command"),
            "use Redis 6.2 or later, or Valkey, with no command renamed or disabled".to_owned(),
        )
    } else {
        return None;
    };
    Some((what, mend))
}

/// What an agent that listens itself answers otherwise than a Redis, or an operator mends elsewhere.
fn answered_by_an_agent(words: &str, server: &Server) -> Option<(String, String)> {
    let Server { url: target, names: Names { password_file, lists, .. }, .. } = server;
    let code = |code: &str| has_code(words, code);
    let (what, mend) = if words.contains("Password authentication failed") || code("WRONGPASS") {
        ("does not accept the user and password (WRONGPASS)", format!("correct {password_file}"))
    } else if code("NOAUTH") || words.contains("Authentication required") {
        ("wants a password", format!("write it to a file and name the file in {password_file}"))
    } else if code(WRONG_QUEUE) {
        ("has another queue", format!("set {lists} to that agent's"))
    } else if code("OOM") {
        (
            "has no room left: its file is as large as channel.embedded.max_bytes allows",
            "see in its log, or by kadabra check --online, why messages are not published if many wait, delete dead letters, or \
             raise channel.embedded.max_bytes"
                .to_owned(),
        )
    } else if code("MISCONF") {
        ("does not accept writes", "mend what it says: it cannot write to its disk".to_owned())
    } else if words.contains("max number of clients") {
        ("has as many clients as it allows", "raise channel.embedded.max_connections, or end some clients".to_owned())
    } else {
        return None;
    };
    Some((format!("{target} {what}"), mend))
}

/// What passes by itself or is on the way there, and what to look at when it does not.
fn passing(words: &str, server: &Server, error: &RedisError) -> Option<String> {
    let code = |code: &str| has_code(words, code);
    let hint = if code("LOADING") {
        "it has just started, wait until it has read its data"
    } else if ["MASTERDOWN", "CLUSTERDOWN", "READONLY"].into_iter().any(code) {
        "wait for the failover to end"
    } else if code("MOVED") {
        "the queue is on another node by now, which the next attempt finds"
    } else if code("TRYAGAIN") || code("ASK") {
        "wait until the cluster has moved the slot that the queue is in"
    } else if words.contains("received fatal alert: ") {
        return Some(server.names.service.remedy_of_an_alert("set tls-auth-clients to no or optional there"));
    } else if error.is_timeout() && server.url.starts_with("rediss:") {
        "check that it is not stalled, that no firewall is in between, and that this port speaks TLS"
    } else if error.is_timeout() {
        "check that it is not stalled, and that no firewall is in between"
    } else if server.url.starts_with("unix:") && words.to_ascii_lowercase().contains("permission denied") {
        "have the user of this agent be in the group of that socket, and that group may write to it (unixsocketperm 770 in redis.conf), \
         or may enter its folder"
    } else if error.is_connection_refusal() {
        return Some(server.check_that_it_runs());
    } else if error.is_connection_dropped() {
        "the connection was closed, it is made anew with the next attempt"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server { url: "redis://host:6379/0".to_owned(), pattern: "~q ~{q}:* ~p".to_owned(), names: KEYS }
    }

    fn said(text: &str) -> ChannelError {
        let value = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap();
        explain("take messages", &server(), &value.extract_error().unwrap_err()).into()
    }

    #[test]
    fn what_a_server_says_is_one_printable_bounded_line() {
        let long = format!("ERR \u{1b}]0;owned\u{7}{}", "x".repeat(1 << 20));
        let not_redis = redis::parse_redis_value(b"HTTP/1.1 400 Bad Request\r\n").unwrap_err();
        let not_redis = ChannelError::from(explain("connect", &server(), &not_redis));
        for said in [said(&long), said(&format!("OOM {long}")), said(&format!("LOADING {long}")), not_redis] {
            let said = said.to_string();
            assert!(!said.contains(char::is_control) && said.len() < 1500, "{} bytes: {said:.300}", said.len());
        }
    }

    #[test]
    fn a_sentence_for_every_answer() {
        for (answer, what, mend) in [
            ("NOAUTH Authentication required.", "wants a password", "password_file"),
            ("WRONGPASS invalid username-password pair or user is disabled.", "does not accept", "password_file"),
            ("NOPERM this user has no permissions to run the 'evalsha' command", "lacks a permission", "~q ~{q}:* ~p"),
            ("ERR ACL failure in script: No permissions to access a key", "lacks a permission", "ACL SETUSER"),
            ("ERR The user executing the script can't run this command or subcommand", "lacks a permission", "ACL SETUSER"),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", "another type", "rename"),
            ("ERR Error running script (call to f_ab): @user_script:1: WRONGTYPE Operation against", "another type", "rename"),
            ("READONLY You can't write against a read only replica.", "read-only replica", "primary"),
            ("OOM command not allowed when used memory > 'maxmemory'.", "maxmemory", "raise"),
            ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist", "writes", "disk"),
            ("BUSY Redis is busy running a script. You can only call SCRIPT KILL", "slow script", "SCRIPT KILL"),
            ("MOVED 3999 127.0.0.1:6381", "cluster", "channel.redis.mode"),
            ("CROSSSLOT Keys in request don't hash to the same slot", "cluster", "channel.redis.nodes"),
            ("ERR max number of clients reached", "clients", "maxclients"),
            ("ERR unknown command 'EVALSHA', with args beginning with: 'ab'", "runs no scripts", "SCRIPT LOAD"),
            ("ERR unknown command 'blmove'", "does not know", "6.2"),
            ("ERR something nobody foresaw", "something nobody foresaw", "log of that Redis"),
        ] {
            let ChannelError::Refused { what: w, mend: m } = said(answer) else { panic!("{answer}") };
            assert!(w.contains(what) && w.contains("redis://host:6379/0") && m.contains(mend), "{w}; {m}");
        }
        for (answer, why) in [
            ("LOADING Redis is loading the dataset in memory", "just started"),
            ("CLUSTERDOWN The cluster is down", "failover"),
            ("MASTERDOWN Link with MASTER is down", "failover"),
        ] {
            let ChannelError::Unreachable { what, why: said } = said(answer) else { panic!("{answer}") };
            assert!(what.contains("redis://host:6379/0") && said.contains(why), "{what}: {said}");
        }
    }
}
