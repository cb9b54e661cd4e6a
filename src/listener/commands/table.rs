//! Which commands there are, and the answer to all others.
//!
//! They are those that clients send which push, and those of an operator at redis-cli. Each stands here since it was seen on the
//! wire, from the clients that the tests run:
//!
//! | command | sent by |
//! |---|---|
//! | LPUSH | Kadabra 0.5 (redis-py), ioredis, redis-rs (`kadabra send`), redis-cli, redis-benchmark |
//! | RPUSH, LLEN, LRANGE | an application or an operator; LLEN by `kadabra check --online` too |
//! | DEL | an operator, where `allow_delete` in `[channel.embedded]` says so |
//! | AUTH | redis-py 3, ioredis, redis-rs and redis-cli, with a password |
//! | HELLO | redis-py 8 when it connects, redis-cli -3, redis-rs with `protocol=resp3` |
//! | CLIENT SETNAME | redis-py with `client_name`, ioredis with `connectionName`, redis-rs |
//! | CLIENT SETINFO | redis-py 8, ioredis, redis-rs, when they connect |
//! | CLIENT LIST | an operator |
//! | SELECT | redis-py, ioredis, redis-rs and redis-cli, with a database |
//! | PING | redis-py when a connection was idle (`health_check_interval`), pools of every client |
//! | INFO | ioredis before it is ready; an operator |
//! | KADABRA | `kadabra check --online` |
//! | KADABRA LETTER, KADABRA REPLAY, KADABRA DISCARD | `kadabra dead-letters` |
//! | ECHO | redis-cli --pipe at its end |
//! | COMMAND DOCS | redis-cli 7 when it is typed into |
//! | MULTI, EXEC, DISCARD | redis-py and ioredis for each pipeline that is a transaction |
//! | RESET, QUIT | pools that take a connection back; ioredis at its end |
//!
//! CLIENT MAINT_NOTIFICATIONS of redis-py 8 and CONFIG GET of redis-benchmark are sent too, and their clients go on when they are
//! told that there is no such command, as by an older Redis.

use crate::listener::{request::Request, words};

/// The Redis whose commands and words these are. Clients decide by it what they send.
pub(super) const REDIS_VERSION: &str = "7.2.0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Lpush,
    Rpush,
    Llen,
    Lrange,
    Del,
    Ping,
    Echo,
    Info,
    Kadabra,
    Command,
    Select,
    Auth,
    Hello,
    Reset,
    Quit,
    Client,
    Multi,
    Exec,
    Discard,
}

/// A command, as COMMAND DOCS tells of it.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: Name,
    /// In lower case.
    pub(super) word: &'static str,
    /// How many words it has, its name being one; negative when there may be more.
    pub(super) arity: i64,
    pub(super) group: &'static str,
    pub(super) summary: &'static str,
}

impl Command {
    pub(super) fn takes(&self, words: usize) -> bool {
        let words = i64::try_from(words).unwrap_or(i64::MAX);
        if self.arity < 0 { words >= -self.arity } else { words == self.arity }
    }
}

const fn command(name: Name, word: &'static str, arity: i64, group: &'static str, summary: &'static str) -> Command {
    Command { name, word, arity, group, summary }
}

/// Every command, the most frequent one first.
pub(super) static COMMANDS: &[Command] = &[
    command(Name::Lpush, "lpush", -3, "list", "Queues messages, the newest last to be taken."),
    command(Name::Rpush, "rpush", -3, "list", "Queues messages where the oldest are taken."),
    command(Name::Llen, "llen", 2, "list", "How many messages wait."),
    command(Name::Lrange, "lrange", 4, "list", "Shows messages that wait."),
    command(Name::Del, "del", -2, "generic", "Deletes all messages that wait, where that is allowed."),
    command(Name::Ping, "ping", -1, "connection", "Answers."),
    command(Name::Echo, "echo", 2, "connection", "Answers what it was given."),
    command(Name::Info, "info", -1, "server", "What the agent says of itself and of its queue."),
    command(
        Name::Kadabra,
        "kadabra",
        -1,
        "server",
        "What INFO says of the agent and of its queue, as JSON; and its dead letters.",
    ),
    command(Name::Command, "command", -2, "server", "What commands there are."),
    command(Name::Select, "select", 2, "connection", "Chooses database 0."),
    command(Name::Auth, "auth", -2, "connection", "Says the password."),
    command(Name::Hello, "hello", -1, "connection", "Chooses the protocol."),
    command(Name::Reset, "reset", 1, "connection", "Begins again, as if just connected."),
    command(Name::Quit, "quit", -1, "connection", "Closes the connection."),
    command(Name::Client, "client", -2, "connection", "What is known of this client and of others."),
    command(Name::Multi, "multi", 1, "transactions", "Begins a transaction."),
    command(Name::Exec, "exec", 1, "transactions", "Runs a transaction."),
    command(Name::Discard, "discard", 1, "transactions", "Gives a transaction up."),
];

/// Commands that take messages off a list, or wait for some.
const CONSUMING: &[&str] =
    &["rpop", "lpop", "brpop", "blpop", "rpoplpush", "brpoplpush", "lmove", "blmove", "lmpop", "blmpop", "lrem", "ltrim"];

/// Others that put messages into a Redis.
const PUSHING: &[&str] = &["lpushx", "rpushx", "linsert", "lset", "xadd", "publish", "spublish", "eval", "evalsha", "fcall"];

/// Whether who sends this command, which is not there, wants to push messages or to take some.
pub(super) fn moves_messages(word: &[u8]) -> bool {
    CONSUMING.iter().chain(PUSHING).any(|other| word.eq_ignore_ascii_case(other.as_bytes()))
}

pub(super) fn find(word: &[u8]) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| word.eq_ignore_ascii_case(command.word.as_bytes()))
}

/// Of how long a word is repeated, as in Redis.
const MAX_WORD: usize = 128;

/// The error for a command that is not there.
pub(super) fn unknown(request: &Request) -> Vec<u8> {
    let word = request.get(0).unwrap_or_default();
    if CONSUMING.iter().any(|taking| word.eq_ignore_ascii_case(taking.as_bytes())) {
        let word = word.to_ascii_lowercase();
        return [
            b"ERR '".as_slice(),
            &word,
            b"' takes messages off the queue, and this is a Kadabra agent, which is itself the channel and takes them \
              itself; stop the other agent, or give both a Redis by channel.type = \"redis\"",
        ]
        .concat();
    }
    let mut error = b"ERR unknown command '".to_vec();
    error.extend_from_slice(words::cut(word, MAX_WORD));
    error.extend_from_slice(b"', with args beginning with: ");
    let mut shown = 0;
    for argument in request.from(1) {
        if shown >= MAX_WORD {
            break;
        }
        let argument = words::cut(argument, MAX_WORD - shown);
        error.extend_from_slice(&[b"'", argument, b"' "].concat());
        shown += argument.len() + 3;
    }
    error.extend_from_slice(b"; this is a Kadabra agent that is its own channel, not a Redis, and knows only");
    for command in COMMANDS {
        error.push(b' ');
        error.extend_from_slice(command.word.to_ascii_uppercase().as_bytes());
    }
    error
}
