//! Every key once: what it is called, what it takes, its default, what it is for. Validation, the documented configuration and
//! what `check` prints all come from here.

use std::time::Duration;

pub use super::kind::Kind;

/// A key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it stands, from the outermost section on: `channel.redis.url`.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is when nobody says.
    pub default: Fallback,
    /// What it does, and when to change it: one paragraph for operators.
    pub doc: &'static str,
}

/// What a key is when nobody says.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// This, as the environment would say it.
    Is(&'static str),
    /// The host's name.
    HostName,
    /// A file of that name where the host keeps a program's state; absent when the environment says nothing of where that is.
    StateFile(&'static str),
    /// Nothing; the key is optional, and a value might look like this.
    Unset(&'static str),
}

impl Key {
    /// The section it stands in: `channel.redis` for `channel.redis.url`.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its name within its section: `url` for `channel.redis.url`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The environment variable that sets it: `KADABRA_CHANNEL__REDIS__URL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path.to_uppercase().replace('.', "__"))
    }
}

/// What the name of every environment variable of the configuration starts with.
pub const PREFIX: &str = "KADABRA_";

/// The key at a path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The sections in the order in which they are documented, each with what it is for.
pub static SECTIONS: &[(&str, &str)] = &[
    ("agent", "The agent as a whole."),
    ("channel", "Where messages come from."),
    (
        "channel.embedded",
        "The agent's own queue in a file, used when channel.type is \"embedded\". The agent speaks as much of the Redis protocol as Kadabra's clients do, so they push to it as they would to Redis. A command may have 65,536 words, and has 30 s to arrive whole, as EXEC has after the first command of its transaction; a client has 30 s to read its answers, and 30 s to say the password where one is set. Whoever takes longer is cut off, which is logged.",
    ),
    (
        "channel.redis",
        "The Redis list that Kadabra's clients push to, used when channel.type is \"redis\". Redis 6.2 or later, or Valkey.",
    ),
    ("batch", "How many messages are published together. Whichever of the three is reached first makes a batch due."),
    ("publisher", "Where points go."),
    ("publisher.debug", "The log as a destination, used when publisher.type is \"debug\"."),
    ("publisher.influxdb", "InfluxDB 1.x, used when publisher.type is \"influxdb\"."),
    (
        "nanny",
        "The care for messages that wait, and for those that their agent cannot finish: of an agent that died, or that Kadabra's Python agent left.",
    ),
    ("supervisor", "What happens when a part of the agent fails: it is restarted, and when that does not help the process ends."),
    ("log", "What is written to standard error."),
];

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
const HOUR: u64 = 3600;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const TIB: u64 = 1024 * 1024 * MIB;

/// A wait for a server: shorter, and a busy server would count as dead; longer, and a dead one as busy.
const TIMEOUT: Kind = Kind::Duration { min: millis(10), max: secs(600) };
/// Below a millisecond a retry is a busy loop; above the longest a server that is back stays unused.
const PAUSE_MIN: Kind = Kind::Duration { min: millis(1), max: secs(60) };
const PAUSE_MAX: Kind = Kind::Duration { min: millis(1), max: secs(600) };
/// Braces are welcome: a hash tag of its own is kept in the derived keys' names.
const REDIS_KEY: Kind = Kind::Text {
    expected: "the name of a Redis list: 1 to 200 characters without spaces or control characters",
    fits: |text| (1..=200).contains(&text.chars().count()) && !text.contains(|c: char| c.is_whitespace() || c.is_control()),
};
/// What InfluxDB itself takes as a name.
const INFLUXDB_NAME: Kind = Kind::Text {
    expected: "a name of 1 to 255 bytes without control characters, / or \\",
    fits: |text| {
        (1..=255).contains(&text.len())
            && !text.contains(|c: char| c.is_control() || "/\\".contains(c))
            && text != "."
            && text != ".."
    },
};

/// The number that octal digits are.
pub(super) fn mode(digits: &str) -> u32 {
    u32::from_str_radix(digits, 8).unwrap_or(u32::MAX)
}

fn bad_in_key(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '{' || c == '}'
}

/// Every key, section by section in the order of [`SECTIONS`].
pub static KEYS: &[Key] = &[
    Key {
        path: "agent.name",
        kind: Kind::Text {
            expected: "a name of 1 to 100 characters without spaces, control characters, braces or colons",
            fits: |text| (1..=100).contains(&text.chars().count()) && !text.contains(|c: char| bad_in_key(c) || c == ':'),
        },
        default: Fallback::HostName,
        doc: "Who takes messages, as Redis and the dead letters name it. Give each agent on a host a name of its own, and in a container one that a restart keeps.",
    },
    Key {
        path: "agent.shutdown_timeout",
        kind: Kind::Duration { min: secs(1), max: secs(600) },
        default: Fallback::Is("30s"),
        doc: "How long a stop may take. What is not published by then is given back to the channel, so nothing is lost, but another agent has to do it. Keep it below what systemd, supervisord or the container engine waits before it kills.",
    },
    Key {
        path: "channel.type",
        kind: Kind::Choice { names: &["embedded", "redis"], aliases: &[] },
        default: Fallback::Is("embedded"),
        doc: "Where messages wait. embedded: in a file of the agent's own, and clients push to the agent as they would to Redis; nothing else is needed. redis: in a Redis list; choose it where there is a Redis already that keeps what it has on disk, or where several agents share a queue.",
    },
    Key {
        path: "channel.embedded.path",
        kind: Kind::Path,
        default: Fallback::StateFile("queue.db"),
        doc: "The file that the queue is kept in; it is made when it is missing, and its folder too. More lie beside it, with -wal, -shm and -lock at the end of their names. On a disk of this machine, not on a network's. One agent a file.",
    },
    Key {
        path: "channel.embedded.durability",
        kind: Kind::Choice { names: &["process", "fsync"], aliases: &[] },
        default: Fallback::Is("process"),
        doc: "When a push is answered. process: when the system has it, so that it outlives the agent's death in any way; a power cut may lose the last second. fsync: when it is on the disk, which takes as long as the disk does.",
    },
    Key {
        path: "channel.embedded.max_bytes",
        kind: Kind::Size { min: MIB, max: 64 * TIB },
        default: Fallback::Is("1GiB"),
        doc: "How large the file may grow by messages that wait. Then pushes are refused, as by a Redis that is full, until there is room again; nothing that waits is dropped. The log beside it takes 16MiB more, and while other programs read the file for long, as much as comes in meanwhile. Dead letters take a quarter of this at most.",
    },
    Key {
        path: "channel.embedded.lease",
        kind: Kind::Duration { min: secs(1), max: secs(HOUR) },
        default: Fallback::Is("60s"),
        doc: "How long messages stay reserved for a part of the agent that neither settles nor renews them. Those of an agent that ended, in whatever way, wait again as soon as it is started.",
    },
    Key {
        path: "channel.embedded.max_dead_letters",
        kind: Kind::Number { min: 1, max: 1_000_000_000 },
        default: Fallback::Is("10000"),
        doc: "How many dead letters are kept; with each further one the oldest is dropped for good. Each takes its message's bytes and a few more of the file. Raise it to have longer to look into them.",
    },
    Key {
        path: "channel.embedded.max_message_bytes",
        kind: Kind::Size { min: KIB, max: 256 * MIB },
        default: Fallback::Is("4MiB"),
        doc: "How large a message may be. The push of a larger one is refused. The agent's memory grows with this as with batch.max_bytes.",
    },
    Key {
        path: "channel.embedded.listen",
        kind: Kind::Addresses,
        default: Fallback::Is("127.0.0.1:6379"),
        doc: "Where clients push to: several as [\"127.0.0.1:6379\", \"[::1]:6379\"], none as []. Beyond this machine only with a password, or with allow_remote; the protocol is not encrypted.",
    },
    Key {
        path: "channel.embedded.unix_socket",
        kind: Kind::Path,
        default: Fallback::Unset("/run/kadabra/kadabra.sock"),
        doc: "A socket in the file system that clients may push to, besides listen.",
    },
    Key {
        path: "channel.embedded.unix_socket_mode",
        kind: Kind::Text {
            expected: "permissions as three or four octal digits such as \"0660\", at most 0777",
            fits: |text| (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b)) && mode(text) <= 0o777,
        },
        default: Fallback::Is("0660"),
        doc: "Who may use that socket, as chmod takes it.",
    },
    Key {
        path: "channel.embedded.queue_key",
        kind: REDIS_KEY,
        default: Fallback::Is("kadabra_queue"),
        doc: "The list that clients push to. Change it when the clients are configured to push to another.",
    },
    Key {
        path: "channel.embedded.password",
        kind: Kind::Password,
        default: Fallback::Unset("in password_file rather than here"),
        doc: "What clients must say to be let in. The wrong guesses from one address are answered one a second, however many connections they come by. Better kept in password_file.",
    },
    Key {
        path: "channel.embedded.password_file",
        kind: Kind::Path,
        default: Fallback::Unset("/etc/kadabra/channel-password"),
        doc: "A file that holds nothing but the password; one newline at its end is not part of it. Not together with password.",
    },
    Key {
        path: "channel.embedded.allow_remote",
        kind: Kind::Flag,
        default: Fallback::Is("false"),
        doc: "Whether other machines may push without a password, when listen has an address that they can reach. Only in a network where everybody may.",
    },
    Key {
        path: "channel.embedded.allow_delete",
        kind: Kind::Flag,
        default: Fallback::Is("false"),
        doc: "Whether clients may delete all that waits, with DEL, as redis-cli can. No client of Kadabra's does.",
    },
    Key {
        path: "channel.embedded.max_connections",
        kind: Kind::Number { min: 1, max: 100_000 },
        default: Fallback::Is("1000"),
        doc: "How many clients may be connected at once. Each needs a file descriptor: the agent raises its limit for them as far as it may, and takes fewer, with a warning, where that does not suffice; see LimitNOFILE of systemd or ulimit -n.",
    },
    Key {
        path: "channel.embedded.idle_timeout",
        kind: Kind::Duration { min: Duration::ZERO, max: secs(24 * HOUR) },
        default: Fallback::Is("0s"),
        doc: "How long a client may be silent before its connection is closed; 0s is for ever, since clients keep connections for their next message.",
    },
    Key {
        path: "channel.embedded.tcp_keepalive",
        kind: Kind::Duration { min: Duration::ZERO, max: secs(9 * HOUR) },
        default: Fallback::Is("300s"),
        doc: "How long a client may be silent before the system asks its machine whether it is still there; without an answer for as long again its connection is closed, so that a client that vanished does not keep its place. 0s is never. Rounded down to seconds.",
    },
    Key {
        path: "channel.embedded.max_waiting_bytes",
        kind: Kind::Size { min: KIB, max: 1024 * MIB },
        default: Fallback::Is("8MiB"),
        doc: "How many bytes of commands, answers and open transactions the agent keeps in memory, over all clients, besides the first 16 KiB each way of each. A client whose command finds no room waits until it is its turn, up to 30 s; then the command is refused, the client has to try again later, and its connection is closed. So is that of a client that has room for which others wait, and sends less than 256KiB in 3 s. At least max_message_bytes.",
    },
    Key {
        path: "channel.redis.url",
        kind: Kind::RedisUrl,
        default: Fallback::Is("redis://localhost:6379/0"),
        doc: "The server and the number of the database. Use rediss:// for TLS with the system's certificates, unix:///run/redis/redis.sock?db=0 for a socket. It may hold a user (redis://user:password@host); a password is better kept in password_file.",
    },
    Key {
        path: "channel.redis.password_file",
        kind: Kind::Path,
        default: Fallback::Unset("/etc/kadabra/redis-password"),
        doc: "A file that holds nothing but the password; one newline at its end is not part of it. It takes the place of a password in the URL.",
    },
    Key {
        path: "channel.redis.queue_key",
        kind: REDIS_KEY,
        default: Fallback::Is("kadabra_queue"),
        doc: "The list that clients push to. Change it when the clients are configured to push to another.",
    },
    Key {
        path: "channel.redis.inprogress_key",
        kind: REDIS_KEY,
        default: Fallback::Is("kadabra_inprogress"),
        doc: "The list in which Kadabra's Python agent keeps what it is working on. What is left there is adopted, see nanny.threshold. Change it when the Python agent was configured to use another.",
    },
    Key {
        path: "channel.redis.lease",
        kind: Kind::Duration { min: secs(1), max: secs(HOUR) },
        default: Fallback::Is("60s"),
        doc: "How long messages stay reserved for an agent that is not heard of any more; a living agent renews in time, however long an outage lasts. Shorter, and the messages of an agent that was killed are published sooner; longer, and an agent may be cut off from Redis for longer without another publishing the same. Longer than timeout.",
    },
    Key {
        path: "channel.redis.timeout",
        kind: TIMEOUT,
        default: Fallback::Is("5s"),
        doc: "How long to wait for a connection or an answer. Raise it for a Redis that is far away or often busy.",
    },
    Key {
        path: "channel.redis.max_dead_letters",
        kind: Kind::Number { min: 1, max: 1_000_000_000 },
        default: Fallback::Is("10000"),
        doc: "How many dead letters are kept, over all agents of this queue; with each further one the oldest is dropped for good. They take memory of Redis: each has its message's bytes and about 300 more. Raise it to have longer to look into them, lower it when Redis is short of memory.",
    },
    Key {
        path: "channel.redis.max_message_bytes",
        kind: Kind::Size { min: KIB, max: 256 * MIB },
        default: Fallback::Is("4MiB"),
        doc: "How large a message may be. A larger one becomes a dead letter within Redis and is never read by the agent, whose memory grows with this as with batch.max_bytes.",
    },
    Key {
        path: "batch.interval",
        kind: Kind::Duration { min: Duration::ZERO, max: secs(HOUR) },
        default: Fallback::Is("0s"),
        doc: "How old a batch may get. With 0s messages are published as soon as a publisher is free: quickest, and batches still grow under load. \"60s\" is Kadabra's batched agent: fewer, larger writes, for a database that many agents share.",
    },
    Key {
        path: "batch.max_messages",
        kind: Kind::Number { min: 1, max: 1_000_000 },
        default: Fallback::Is("10000"),
        doc: "How many messages a batch may have.",
    },
    Key {
        path: "batch.max_bytes",
        kind: Kind::Size { min: KIB, max: 256 * MIB },
        default: Fallback::Is("1MiB"),
        doc: "How many bytes of messages a batch may have. The agent's memory grows with it: a few times this for each of publisher.workers. Lower it when the database answers that a write is too large.",
    },
    Key {
        path: "publisher.type",
        kind: Kind::Choice { names: &["debug", "influxdb"], aliases: &[] },
        default: Fallback::Is("debug"),
        doc: "debug logs what it would publish and takes it off the channel; influxdb writes it to InfluxDB.",
    },
    Key {
        path: "publisher.workers",
        kind: Kind::Number { min: 1, max: 64 },
        default: Fallback::Is("6"),
        doc: "How many batches may be in flight at once. How many are, up to this, is found out while messages queue up: as many as help, and half of that when the database answers late. Raise it for a database that is far away or has many cores.",
    },
    Key {
        path: "publisher.backoff_min",
        kind: PAUSE_MIN,
        default: Fallback::Is("100ms"),
        doc: "The pause after the first failed write; it doubles with each further one.",
    },
    Key {
        path: "publisher.backoff_max",
        kind: PAUSE_MAX,
        default: Fallback::Is("30s"),
        doc: "The longest pause after failed writes, and so how soon a database that is back is noticed.",
    },
    Key {
        path: "publisher.debug.format",
        kind: Kind::Choice { names: &["auto", "text", "json"], aliases: &[] },
        default: Fallback::Is("auto"),
        doc: "text shows each message as a short block: its dimensions, then a line a metric with name, value, unit and metadata. json shows a batch as one list, as Kadabra's Python agent does. auto is text where the log is written for people, see log.format, and json otherwise.",
    },
    Key {
        path: "publisher.influxdb.url",
        kind: Kind::InfluxdbUrl,
        default: Fallback::Is("http://localhost:8086"),
        doc: "The server, and the path if a proxy puts it below one. Use https:// for TLS with the system's certificates. User and password have keys of their own.",
    },
    Key {
        path: "publisher.influxdb.api",
        kind: Kind::Choice { names: &["v1"], aliases: &[] },
        default: Fallback::Is("v1"),
        doc: "The version of its interface.",
    },
    Key {
        path: "publisher.influxdb.database",
        kind: INFLUXDB_NAME,
        default: Fallback::Is("kadabra"),
        doc: "The database that points are written to.",
    },
    Key {
        path: "publisher.influxdb.username",
        kind: Kind::Text {
            expected: "a user's name of 1 to 255 bytes without control characters or colons",
            fits: |text| (1..=255).contains(&text.len()) && !text.contains(|c: char| c.is_control() || c == ':'),
        },
        default: Fallback::Unset("kadabra"),
        doc: "The user that may write to the database. Needs a password too.",
    },
    Key {
        path: "publisher.influxdb.password",
        kind: Kind::Password,
        default: Fallback::Unset("in password_file rather than here"),
        doc: "The user's password. Better kept in password_file.",
    },
    Key {
        path: "publisher.influxdb.password_file",
        kind: Kind::Path,
        default: Fallback::Unset("/etc/kadabra/influxdb-password"),
        doc: "A file that holds nothing but the password; one newline at its end is not part of it. Not together with password.",
    },
    Key {
        path: "publisher.influxdb.retention_policy",
        kind: INFLUXDB_NAME,
        default: Fallback::Unset("two_weeks"),
        doc: "The retention policy to write under, if not the database's default one.",
    },
    Key {
        path: "publisher.influxdb.create_database",
        kind: Kind::Flag,
        default: Fallback::Is("false"),
        doc: "Whether to create the database when it is missing; the user must be an administrator then. Otherwise messages wait in the channel until somebody creates it.",
    },
    Key {
        path: "publisher.influxdb.timeout",
        kind: TIMEOUT,
        default: Fallback::Is("5s"),
        doc: "How long to wait for a connection, and for the answer to a write. Raise it when the log tells of writes that time out though the database is well.",
    },
    Key {
        path: "publisher.influxdb.gzip",
        kind: Kind::Flag,
        default: Fallback::Is("false"),
        doc: "Whether to compress what is written. Worth it when the way to the database is slow or paid by the byte; it costs CPU on both ends.",
    },
    Key {
        path: "publisher.influxdb.unique_timestamps",
        kind: Kind::Flag,
        default: Fallback::Is("true"),
        doc: "Whether the points of each message are moved by less than a microsecond, always by the same for the same message, so that two messages of one series and microsecond stay two points. With false the later overwrites the earlier, as with Kadabra's Python agent.",
    },
    Key {
        path: "nanny.frequency",
        kind: Kind::Duration { min: millis(100), max: secs(HOUR) },
        default: Fallback::Is("30s"),
        doc: "How often to look for messages that no living agent works on, and how the channel stands (that every second at most, and at least every 5 seconds and twice in warn_age).",
    },
    Key {
        path: "nanny.threshold",
        kind: Kind::Duration { min: secs(1), max: secs(24 * HOUR) },
        default: Fallback::Is("60s"),
        doc: "How long a Python agent's in-progress list must lie untouched before it is adopted. Longer than that agent's batch interval while one still runs, or its messages are published twice.",
    },
    Key {
        path: "nanny.warn_age",
        kind: Kind::Duration { min: secs(1), max: secs(24 * HOUR) },
        default: Fallback::Is("5m"),
        doc: "How long the oldest message may wait before the log and check --online warn, in an agent's hands or not: since it was accepted or, in a Redis, was queued by the clock of its client.",
    },
    Key {
        path: "nanny.warn_messages",
        kind: Kind::Number { min: 1, max: 1_000_000_000 },
        default: Fallback::Is("100000"),
        doc: "How many messages may wait before the log and check --online warn.",
    },
    Key {
        path: "supervisor.max_restarts",
        kind: Kind::Number { min: 0, max: 1000 },
        default: Fallback::Is("5"),
        doc: "How many restarts of one part in one window are tried before the process gives its messages back and ends, for systemd to start it afresh. With 0 the first failure ends it.",
    },
    Key {
        path: "supervisor.window",
        kind: Kind::Duration { min: secs(1), max: secs(24 * HOUR) },
        default: Fallback::Is("60s"),
        doc: "The time in which restarts are counted.",
    },
    Key {
        path: "supervisor.backoff_min",
        kind: PAUSE_MIN,
        default: Fallback::Is("100ms"),
        doc: "The pause before the first restart; it doubles with each further one.",
    },
    Key {
        path: "supervisor.backoff_max",
        kind: PAUSE_MAX,
        default: Fallback::Is("10s"),
        doc: "The longest pause before a restart.",
    },
    Key {
        path: "supervisor.hang_timeout",
        kind: Kind::Duration { min: millis(100), max: secs(HOUR) },
        default: Fallback::Is("30s"),
        doc: "How long a part may be at one piece of work before it counts as hung and is restarted; waiting for messages or for a database that is away does not count. Longer than every timeout above.",
    },
    Key {
        path: "log.level",
        kind: Kind::Choice { names: &["trace", "debug", "info", "warning", "error"], aliases: &[("warn", "warning")] },
        default: Fallback::Is("info"),
        doc: "The least important that is logged. What publisher.type = \"debug\" shows is logged at any level.",
    },
    Key {
        path: "log.format",
        kind: Kind::Choice { names: &["auto", "terminal", "json"], aliases: &[] },
        default: Fallback::Is("auto"),
        doc: "terminal writes lines for people, json one object a line for a log collector; auto writes for people on a terminal and JSON otherwise.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_in_its_section_and_takes_its_own_default() {
        let sections: Vec<_> = SECTIONS.iter().map(|(section, _)| *section).collect();
        let mut order: Vec<_> = KEYS.iter().map(Key::section).collect();
        order.dedup();
        assert_eq!(order, sections);
        for key in KEYS {
            assert_eq!(KEYS.iter().filter(|other| other.path == key.path).count(), 1, "{} twice", key.path);
            if let Fallback::Is(text) | Fallback::Unset(text) = key.default {
                assert!(key.kind.check(text).is_ok(), "{}: {text}", key.path);
            }
        }
    }
}
