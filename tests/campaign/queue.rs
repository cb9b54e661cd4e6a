//! Where messages wait, and what is left there in the end.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{
    arguments::{Channel, Settled, UPGRADED},
    group::Group,
    publishers::Publisher,
    whereabouts::{OTHER_QUEUE, QUEUE},
};
use crate::support::{
    pipeline::Left,
    redis_server::{KEYS, RedisServer},
};

/// A channel's home, and the names of several publishers.
pub(crate) struct Queue {
    pub(crate) home: Home,
    names: Vec<&'static str>,
    /// The lists that clients push to.
    queues: &'static [&'static str],
    /// Whether any publisher drops its oldest messages, which an agent may do without being pushed any.
    backlogs_drop: bool,
    when_full: &'static str,
    seconds: u64,
    /// How often a Redis was started as another version.
    upgrades: usize,
}

/// The versions that one Redis is in turn; the one without a name is Debian's, 7.0. None reads the files of a later one.
const VERSIONS: [Option<&str>; 3] = [Some("redis-6.2.5"), None, Some("redis-8.2.3")];

pub(crate) enum Home {
    Redis(Box<RedisServer>),
    /// Several servers.
    Group(Box<Group>),
    /// The agent's own.
    Embedded {
        file: PathBuf,
        socket: PathBuf,
        address: SocketAddr,
    },
}

/// How large a queue that drops is, and how much larger the longer the run takes.
const MIN_KIB: u64 = 4 << 10;
const KIB_A_SECOND: u64 = 128;

/// How long an agent may take to say what it has dropped.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// What an agent says of what it has dropped.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Of each publisher.
    pub(crate) dropped: Vec<u64>,
    /// What it has answered and not stored yet, so that it is stored later or never.
    pub(crate) answered_early: u64,
}

/// One or two lists.
const QUEUES: [&str; 2] = [QUEUE, OTHER_QUEUE];

/// More than there ever are: of the oldest, which are dropped, nobody could say whether they were there once.
const LETTERS: &str = "max_dead_letters = 1000000";

impl Queue {
    pub(crate) fn start(settled: &Settled, folder: &Path) -> Self {
        let names = settled.publishers.iter().filter_map(|publisher| publisher.name).collect();
        let backlogs_drop = settled.publishers.iter().any(Publisher::drops);
        let (when_full, seconds) = (settled.when_full, settled.seconds);
        let queues = &QUEUES[..settled.queues];
        Self { home: Home::start(settled, folder), names, queues, backlogs_drop, when_full, seconds, upgrades: 0 }
    }

    /// Whether what finds no room is dropped and counted.
    pub(crate) fn drops(&self) -> bool {
        self.when_full != "refuse"
    }

    /// Asks the agent what it has dropped, if it can be asked. One that does not listen yet was pushed nothing.
    pub(crate) fn ask(&self) -> Option<Asked> {
        let client = redis::Client::open(format!("redis://{}/0", self.address())).unwrap();
        let mut connection = match client.get_connection_with_timeout(ASK_TIMEOUT) {
            Err(error) if error.is_connection_refusal() && !self.backlogs_drop => {
                return Some(Asked { dropped: vec![0; self.names.len().max(1)], answered_early: 0 });
            }
            connection => connection.ok()?,
        };
        connection.set_read_timeout(Some(ASK_TIMEOUT)).ok()?;
        let report: String = redis::cmd("KADABRA").query(&mut connection).ok()?;
        let report: serde_json::Value = serde_json::from_str(&report).ok()?;
        let dropped = if self.names.is_empty() {
            vec![report["dropped"].as_u64()? + report["refusals"]["dropped_oldest"]["times"].as_u64()?]
        } else {
            let consumers = report["status"]["consumers"].as_array()?;
            let of = |name: &&str| consumers.iter().find(|consumer| consumer["name"] == *name)?["dropped"].as_u64();
            self.names.iter().map(of).collect::<Option<_>>()?
        };
        Some(Asked { dropped, answered_early: report["answered_early"].as_u64()? })
    }

    /// The part of an agent's configuration that is about it. To a Redis the agents go on the way that has faults.
    pub(crate) fn config(&self, way: u16) -> String {
        match &self.home {
            Home::Redis(_) | Home::Group(_) => {
                let server = match &self.home {
                    Home::Group(group) => group.config(way),
                    _ => format!("url = \"redis://127.0.0.1:{way}\""),
                };
                let queues = if self.queues.len() > 1 { format!("queue_keys = {:?}\n", self.queues) } else { String::new() };
                format!(
                    "[channel]\ntype = \"redis\"\n[channel.redis]\n{server}\nlease = \"2s\"\ntimeout = \"1s\"\n{queues}{LETTERS}"
                )
            }
            Home::Embedded { file, socket, address } => {
                let when_full = self.when_full;
                // Which is full when nothing is published for some seconds. A quarter of it must do for all dead letters.
                let full = if self.drops() {
                    format!("max_bytes = \"{}KiB\"\n", MIN_KIB + KIB_A_SECOND * self.seconds)
                } else {
                    String::new()
                };
                format!(
                    "[channel]\ntype = \"embedded\"\n[channel.embedded]\npath = {file:?}\nunix_socket = {socket:?}\nlisten = \"{address}\"\nlease = \"2s\"\nwhen_full = \"{when_full}\"\n{full}{LETTERS}"
                )
            }
        }
    }

    /// Where clients push to; of several servers, the one that agents ask first.
    pub(crate) fn address(&self) -> SocketAddr {
        match &self.home {
            Home::Redis(redis) => (Ipv4Addr::LOCALHOST, redis.port()).into(),
            Home::Group(group) => (Ipv4Addr::LOCALHOST, group.asked_first()).into(),
            Home::Embedded { address, .. } => *address,
        }
    }

    pub(crate) fn redis(&mut self) -> &mut RedisServer {
        match &mut self.home {
            Home::Redis(redis) => redis,
            Home::Group(_) | Home::Embedded { .. } => panic!("there is no only Redis"),
        }
    }

    /// Starts the only Redis as its next version, or as it was where there is none.
    pub(crate) fn upgrade(&mut self) {
        self.upgrades += 1;
        let next = VERSIONS[self.upgrades.min(VERSIONS.len() - 1)];
        eprintln!("           it is {} now", next.unwrap_or("Debian's"));
        self.redis().restart_as(next);
    }

    pub(crate) fn group(&mut self) -> Option<&mut Group> {
        match &mut self.home {
            Home::Group(group) => Some(group),
            _ => None,
        }
    }

    /// The only list that clients push to, twice, or the first and the second one.
    pub(crate) fn first_and_last(&self) -> (&'static str, &'static str) {
        (self.queues[0], self.queues[self.queues.len() - 1])
    }

    /// The Redis that has the first queue now, if any has.
    pub(crate) fn server(&self) -> Option<&RedisServer> {
        match &self.home {
            Home::Redis(redis) => Some(redis),
            Home::Group(group) => Some(group.primary()),
            Home::Embedded { .. } => None,
        }
    }

    /// The Redis that has this queue now, if any has.
    fn server_of(&self, queue: &str) -> Option<&RedisServer> {
        if let Home::Group(group) = &self.home { Some(group.primary_of(queue)) } else { self.server() }
    }

    /// How many settlements a failover may have undone at most, so that their messages were done once more.
    pub(crate) fn undone(&self) -> u64 {
        if let Home::Group(group) = &self.home { group.undone } else { 0 }
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_drained(&self) -> bool {
        match &self.home {
            Home::Redis(_) | Home::Group(_) => {
                self.left_in().iter().all(|(_, left)| *left == Left { dead: left.dead, ..Left::NOTHING })
            }
            // While its agent starts, it may not be readable.
            Home::Embedded { file, .. } => counts(file).is_ok_and(|(chunks, done, _)| chunks + done == 0),
        }
    }

    /// How much waits, of messages in Redis and of chunks in the agent's own queue; the most there can be where nobody can tell.
    pub(crate) fn backlog(&self) -> u64 {
        match &self.home {
            Home::Redis(_) | Home::Group(_) => {
                let all = self.left_in();
                all.iter().map(|(_, left)| left.queued + left.inprogress + left.adopted).sum()
            }
            Home::Embedded { file, .. } => counts(file).map_or(u64::MAX, |(chunks, _, _)| chunks),
        }
    }

    /// What is in each queue and then in its list of each of several publishers, in the order in which messages move.
    fn left_in(&self) -> Vec<(String, Left)> {
        let mut all = Vec::new();
        for queue in self.queues {
            let Some(redis) = self.server_of(queue) else { continue };
            let prefix = prefix(queue);
            // Only to the first is anything adopted.
            let inprogress = match &self.home {
                Home::Group(group) if *queue == QUEUE => group.inprogress().to_owned(),
                Home::Redis(_) if *queue == QUEUE => "kadabra_inprogress".to_owned(),
                _ => format!("{prefix}:inprogress"),
            };
            all.push(((*queue).to_owned(), redis.left_of(queue, &prefix, &inprogress)));
            all.extend(self.names.iter().map(|name| {
                let list = list_for(queue, name);
                let left = redis.left_of(&list, &list, &inprogress);
                // Which is told with the queue.
                (list, Left { inprogress: 0, ..left })
            }));
        }
        all
    }

    /// What is there, for people.
    pub(crate) fn left(&self) -> String {
        match &self.home {
            Home::Redis(_) | Home::Group(_) => format!("{:?}", self.left_in()),
            Home::Embedded { file, .. } => format!("(chunks, ranges that are done, dead letters): {:?}", counts(file)),
        }
    }

    /// Copies to that folder what it takes to understand what is left: of Redis its log and its append-only file, which
    /// has every change since the beginning, and what the Sentinels have logged. The agent's own queue is in the run's folder anyway.
    pub(crate) fn keep(&self, folder: &Path) {
        let servers = match &self.home {
            Home::Redis(redis) => std::slice::from_ref(&**redis),
            Home::Group(group) => group.servers(),
            Home::Embedded { .. } => &[],
        };
        let name =
            |redis: &RedisServer| if servers.len() == 1 { "server".to_owned() } else { format!("server-{}", redis.port()) };
        let sentinels = if let Home::Group(group) = &self.home { group.sentinels() } else { None };
        let folders = servers.iter().map(|redis| (redis.dir(), name(redis)));
        for (from, name) in folders.chain(sentinels.map(|folder| (folder, "sentinels".to_owned()))) {
            let copied = Command::new("cp").arg("-r").arg(from).arg(folder.join(name)).status();
            assert!(copied.is_ok_and(|status| status.success()), "cannot copy {} to {}", from.display(), folder.display());
        }
    }

    /// The dead letters, of the only publisher or of one of several, oldest first: at least payload and reason.
    pub(crate) fn dead_letters(&self, of: Option<&str>) -> Vec<HashMap<String, Vec<u8>>> {
        match &self.home {
            Home::Redis(_) | Home::Group(_) => {
                let stream = |queue: &str| format!("{}:dead", of.map_or_else(|| prefix(queue), |name| list_for(queue, name)));
                let of = |queue: &&str| Some(self.server_of(queue)?.dead_letters_in(&stream(queue)));
                self.queues.iter().filter_map(of).flatten().collect()
            }
            Home::Embedded { file, .. } => {
                let file = open(file).unwrap();
                let of = of.map(|name| format!("WHERE consumer = '{name}'")).unwrap_or_default();
                let select = format!("SELECT payload, CAST(reason AS BLOB) FROM dead {of} ORDER BY id");
                let mut letters = file.prepare(&select).unwrap();
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
        match &self.home {
            Home::Redis(_) | Home::Group(_) => {
                let all = self.left_in();
                if !self.is_drained() || all.iter().map(|(_, left)| left.dead).sum::<u64>() != dead {
                    wrong.push(format!("Redis still holds {all:?}"));
                }
                let servers = self.queues.iter().filter_map(|queue| self.server_of(queue));
                let servers: BTreeMap<_, _> = servers.map(|redis| (redis.port(), redis)).collect();
                servers.values().for_each(|redis| self.other_keys(redis, &mut wrong));
            }
            Home::Embedded { file, .. } => {
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

    /// Nothing else may stay in Redis, but for marks that expire by themselves, what is known of several publishers, and agents of
    /// them that were killed.
    fn other_keys(&self, redis: &RedisServer, wrong: &mut Vec<String>) {
        let mut connection = redis.connection();
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
        let of_one = |queue: &&'static str| {
            let queue = *queue;
            self.names.iter().map(move |name| list_for(queue, name)).chain([prefix(queue)])
        };
        let lists: Vec<String> = self.queues.iter().flat_map(of_one).collect();
        for key in &keys {
            let expires: i64 = redis::cmd("PTTL").arg(key).query(&mut connection).unwrap();
            let passes = |of: &str| lists.iter().any(|list| key.starts_with(&format!("{list}:{of}")));
            let is_a_mark = expires >= 0 && ["lost:", "name:", "sweeper"].into_iter().any(passes);
            let is_of_several = !self.names.is_empty()
                && self
                    .queues
                    .iter()
                    .any(|queue| ["consumers", "agents"].iter().any(|what| *key == format!("{}:{what}", prefix(queue))));
            if !is_a_mark && !is_of_several && !lists.iter().any(|list| *key == format!("{list}:dead")) {
                wrong.push(format!("Redis still has the key {key}: {}", held(key, &mut connection)));
            }
        }
        if !wrong.is_empty() {
            let log = fs::read_to_string(redis.dir().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            wrong.push(format!("the end of the log of Redis:\n{}", lines[lines.len().saturating_sub(40)..].join("\n")));
        }
    }
}

impl Home {
    fn start(settled: &Settled, folder: &Path) -> Self {
        match settled.channel {
            Channel::Redis => {
                let version = if settled.redis == Some(UPGRADED) { VERSIONS[0] } else { settled.redis };
                let keys = format!("{KEYS} ~{OTHER_QUEUE} ~{}:*", prefix(OTHER_QUEUE));
                return Self::Redis(Box::new(RedisServer::for_agents_with_keys(version, &keys, &[])));
            }
            Channel::Sentinel => return Self::Group(Box::new(Group::of_sentinels())),
            Channel::Cluster => return Self::Group(Box::new(Group::cluster())),
            Channel::Embedded => {}
        }
        // While the agent is down nobody may get its port: at an address that nobody connects from, nobody does.
        let host = Ipv4Addr::new(127, fastrand::u8(1..250), fastrand::u8(1..250), fastrand::u8(1..250));
        let address = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap();
        Self::Embedded { file: folder.join("queue.db"), socket: folder.join("socket"), address }
    }
}

/// How all other keys of a queue begin.
fn prefix(queue: &str) -> String {
    format!("{{{queue}}}")
}

/// The list of one of several publishers, which is also how its other keys begin.
fn list_for(queue: &str, name: &str) -> String {
    format!("{}:for:{name}", prefix(queue))
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
