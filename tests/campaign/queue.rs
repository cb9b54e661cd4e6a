//! Where messages wait, and what is left there in the end.

use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use rusqlite::{Connection, OpenFlags};

use super::arguments::Channel;
use crate::support::{pipeline::Left, redis_server::RedisServer};

/// A channel's home.
pub(crate) enum Queue {
    Redis(Box<RedisServer>),
    /// The agent's own.
    Embedded {
        file: PathBuf,
        socket: PathBuf,
        address: SocketAddr,
    },
}

/// More than there ever are: of the oldest, which are dropped, nobody could say whether they were there once.
const LETTERS: &str = "max_dead_letters = 1000000";

impl Queue {
    pub(crate) fn start(channel: Channel, folder: &Path) -> Self {
        if channel == Channel::Redis {
            // What Redis has accepted it must keep through a kill.
            return Self::Redis(Box::new(RedisServer::with(&["--appendfsync", "always"])));
        }
        // While the agent is down nobody may get its port: at an address that nobody connects from, nobody does.
        let host = Ipv4Addr::new(127, fastrand::u8(1..250), fastrand::u8(1..250), fastrand::u8(1..250));
        let address = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap();
        Self::Embedded { file: folder.join("queue.db"), socket: folder.join("socket"), address }
    }

    /// The part of an agent's configuration that is about it. To a Redis the agents go on the way that has faults.
    pub(crate) fn config(&self, way: u16) -> String {
        match self {
            Self::Redis(_) => {
                format!(
                    "[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"redis://127.0.0.1:{way}\"\nlease = \"2s\"\ntimeout = \"1s\"\n{LETTERS}"
                )
            }
            Self::Embedded { file, socket, address } => format!(
                "[channel]\ntype = \"embedded\"\n[channel.embedded]\npath = {file:?}\nunix_socket = {socket:?}\nlisten = \"{address}\"\nlease = \"2s\"\n{LETTERS}"
            ),
        }
    }

    /// Where clients push to.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Redis(redis) => (Ipv4Addr::LOCALHOST, redis.port()).into(),
            Self::Embedded { address, .. } => *address,
        }
    }

    pub(crate) fn redis(&mut self) -> &mut RedisServer {
        match self {
            Self::Redis(redis) => redis,
            Self::Embedded { .. } => panic!("there is no Redis"),
        }
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_drained(&self) -> bool {
        match self {
            Self::Redis(redis) => {
                let left = redis.left();
                left.queued + left.inprogress + left.adopted + left.leases == 0 && left.lease_lists == 0
            }
            // While its agent starts, it may not be readable.
            Self::Embedded { file, .. } => counts(file).is_ok_and(|(chunks, done, _)| chunks + done == 0),
        }
    }

    /// How much waits, of messages in Redis and of chunks in the agent's own queue; the most there can be where nobody can tell.
    pub(crate) fn backlog(&self) -> u64 {
        match self {
            Self::Redis(redis) => {
                let left = redis.left();
                left.queued + left.inprogress + left.adopted
            }
            Self::Embedded { file, .. } => counts(file).map_or(u64::MAX, |(chunks, _, _)| chunks),
        }
    }

    /// What is there, for people.
    pub(crate) fn left(&self) -> String {
        match self {
            Self::Redis(redis) => format!("{:?}", redis.left()),
            Self::Embedded { file, .. } => format!("(chunks, ranges that are done, dead letters): {:?}", counts(file)),
        }
    }

    /// Copies to that folder what it takes to understand what is left: of Redis its log and its append-only file, which
    /// has every change since the beginning. The agent's own queue is in the run's folder anyway.
    pub(crate) fn keep(&self, folder: &Path) {
        if let Self::Redis(redis) = self {
            let copied = Command::new("cp").arg("-r").arg(redis.dir()).arg(folder.join("server")).status();
            assert!(copied.is_ok_and(|status| status.success()), "cannot copy {} to {}", redis.dir().display(), folder.display());
        }
    }

    /// The dead letters, oldest first: at least payload and reason.
    pub(crate) fn dead_letters(&self) -> Vec<HashMap<String, Vec<u8>>> {
        match self {
            Self::Redis(redis) => redis.dead_letters(),
            Self::Embedded { file, .. } => {
                let file = open(file).unwrap();
                let mut letters = file.prepare("SELECT payload, CAST(reason AS BLOB) FROM dead ORDER BY id").unwrap();
                let letter = |row: &rusqlite::Row<'_>| {
                    Ok(HashMap::from([("payload".to_owned(), row.get(0)?), ("reason".to_owned(), row.get(1)?)]))
                };
                letters.query_map([], letter).unwrap().map(Result::unwrap).collect()
            }
        }
    }

    /// What should not be there once all is done and so many dead letters are.
    pub(crate) fn wrong(&self, dead: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        match self {
            Self::Redis(redis) => {
                let left = redis.left();
                if left != (Left { dead, ..Left::NOTHING }) {
                    wrong.push(format!("Redis still holds {left:?}"));
                }
                other_keys(redis, &mut wrong);
            }
            Self::Embedded { file, .. } => {
                if counts(file) != Ok((0, 0, dead)) {
                    wrong.push(format!("the queue still holds {}", self.left()));
                }
                let sound: String = open(file).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
                if sound != "ok" {
                    wrong.push(format!("the queue's file is damaged: {sound}"));
                }
            }
        }
        wrong
    }
}

/// Nothing else may stay in Redis, but for marks that expire by themselves.
fn other_keys(redis: &RedisServer, wrong: &mut Vec<String>) {
    let mut connection = redis.connection();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    for key in keys.iter().filter(|key| *key != "{kadabra_queue}:dead") {
        let expires: i64 = redis::cmd("PTTL").arg(key).query(&mut connection).unwrap();
        if !key.starts_with("{kadabra_queue}:lost:") || expires < 0 {
            wrong.push(format!("Redis still has the key {key}: {}", held(key, &mut connection)));
        }
    }
    if !wrong.is_empty() {
        let log = fs::read_to_string(redis.dir().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        wrong.push(format!("the end of the log of Redis:\n{}", lines[lines.len().saturating_sub(40)..].join("\n")));
    }
}

/// What a key holds, for people.
fn held(key: &str, connection: &mut redis::Connection) -> String {
    let mut ask =
        |command: &[&str]| -> redis::RedisResult<redis::Value> { redis::cmd(command[0]).arg(&command[1..]).query(connection) };
    let kind = ask(&["TYPE", key]);
    let what = match &kind {
        Ok(redis::Value::SimpleString(kind)) if kind == "list" => [ask(&["LLEN", key]), ask(&["LRANGE", key, "0", "4"])],
        Ok(redis::Value::SimpleString(kind)) if kind == "zset" => {
            [ask(&["ZCARD", key]), ask(&["ZRANGE", key, "0", "4", "WITHSCORES"])]
        }
        _ => [ask(&["OBJECT", "ENCODING", key]), ask(&["MEMORY", "USAGE", key])],
    };
    let what = format!("{what:?}");
    format!("{kind:?}, {what:.2000}")
}

/// How many chunks of messages, ranges of them that are done, and dead letters there are.
fn counts(file: &Path) -> Result<(u64, u64, u64), String> {
    let count = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let select = "SELECT (SELECT count(*) FROM chunks), (SELECT count(*) FROM done), (SELECT count(*) FROM dead)";
    let counts = open(file).and_then(|file| file.query_row(select, [], count));
    let (chunks, done, dead) = counts.map_err(|why| why.to_string())?;
    Ok((chunks.unsigned_abs(), done.unsigned_abs(), dead.unsigned_abs()))
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
}
