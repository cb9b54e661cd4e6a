//! Which commands there are, and what is said of all others.

use crate::listener::{request::Request, words};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Lpush,
    Rpush,
    Llen,
    Lrange,
    Exists,
    Type,
    Del,
    Unlink,
    Ping,
    Echo,
    Time,
    Info,
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

/// A command, as COMMAND tells of it.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: Name,
    /// In lower case.
    pub(super) word: &'static str,
    /// How many words it has, its name being one; negative when there may be more.
    pub(super) arity: i64,
    pub(super) flags: &'static [&'static str],
    /// Where its keys are: first, last, step.
    pub(super) keys: [i64; 3],
    pub(super) group: &'static str,
    pub(super) summary: &'static str,
}

impl Command {
    pub(super) fn takes(&self, words: usize) -> bool {
        let words = i64::try_from(words).unwrap_or(i64::MAX);
        if self.arity < 0 { words >= -self.arity } else { words == self.arity }
    }
}

const WRITE: &[&str] = &["write", "denyoom", "fast"];
const DELETE: &[&str] = &["write"];
const READ: &[&str] = &["readonly"];
const FREE: &[&str] = &["fast", "loading", "stale"];
const LOGIN: &[&str] = &["fast", "loading", "no_auth", "noscript", "stale"];

const fn command(
    name: Name,
    word: &'static str,
    arity: i64,
    flags: &'static [&'static str],
    keys: [i64; 3],
    group: &'static str,
    summary: &'static str,
) -> Command {
    Command { name, word, arity, flags, keys, group, summary }
}

/// Every command, the most frequent one first.
pub(super) static COMMANDS: &[Command] = &[
    command(Name::Lpush, "lpush", -3, WRITE, [1, 1, 1], "list", "Queues messages, the newest last to be taken."),
    command(Name::Rpush, "rpush", -3, WRITE, [1, 1, 1], "list", "Queues messages where the oldest are taken."),
    command(Name::Llen, "llen", 2, READ, [1, 1, 1], "list", "How many messages wait."),
    command(Name::Lrange, "lrange", 4, READ, [1, 1, 1], "list", "Shows messages that wait."),
    command(Name::Exists, "exists", -2, READ, [1, -1, 1], "generic", "Whether messages wait."),
    command(Name::Type, "type", 2, READ, [1, 1, 1], "generic", "The kind of a key: the queue is a list."),
    command(Name::Del, "del", -2, DELETE, [1, -1, 1], "generic", "Deletes all messages that wait, where that is allowed."),
    command(Name::Unlink, "unlink", -2, DELETE, [1, -1, 1], "generic", "The same as DEL."),
    command(Name::Ping, "ping", -1, FREE, [0, 0, 0], "connection", "Answers."),
    command(Name::Echo, "echo", 2, FREE, [0, 0, 0], "connection", "Answers what it was given."),
    command(Name::Time, "time", 1, FREE, [0, 0, 0], "server", "The time on this machine."),
    command(Name::Info, "info", -1, FREE, [0, 0, 0], "server", "What the agent says of itself and of its queue."),
    command(Name::Command, "command", -1, FREE, [0, 0, 0], "server", "What commands there are."),
    command(Name::Select, "select", 2, FREE, [0, 0, 0], "connection", "Chooses database 0."),
    command(Name::Auth, "auth", -2, LOGIN, [0, 0, 0], "connection", "Says the password."),
    command(Name::Hello, "hello", -1, LOGIN, [0, 0, 0], "connection", "Chooses the protocol."),
    command(Name::Reset, "reset", 1, LOGIN, [0, 0, 0], "connection", "Begins again, as if just connected."),
    command(Name::Quit, "quit", -1, LOGIN, [0, 0, 0], "connection", "Closes the connection."),
    command(Name::Client, "client", -2, FREE, [0, 0, 0], "connection", "What is known of this client and of others."),
    command(Name::Multi, "multi", 1, FREE, [0, 0, 0], "transactions", "Begins a transaction."),
    command(Name::Exec, "exec", 1, FREE, [0, 0, 0], "transactions", "Runs a transaction."),
    command(Name::Discard, "discard", 1, FREE, [0, 0, 0], "transactions", "Gives a transaction up."),
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
