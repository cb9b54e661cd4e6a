//! How a Redis stands, and what of that an operator should know before a message is lost.
//!
//! Facts are asked for with commands that cost Redis nothing to speak of; what they mean is a pure decision. What the
//! user may not ask, or what the Redis does not know (a managed one has no CONFIG), is left out.

use std::sync::PoisonError;

use bytesize::ByteSize;
use redis::{Cmd, Value};

use super::{RedisChannel, answers, check::field, consumers::Membership, errors::Error, namesakes, replicas};
use crate::{
    channel::{Channel, ChannelError, ChannelKind, ChannelStatus, Depth, Patience, Pressure, Threat, Warning},
    plural::either,
};

/// The share of the memory in use from which on it is short, in per cent.
const SHORT_OF_MEMORY: u64 = 80;

const LOOK: &str = "ask how Redis stands";

/// See [`crate::channel::Channel::pressure`].
pub(super) async fn pressure(channel: &RedisChannel, patience: &Patience) -> Result<Pressure, ChannelError> {
    let mut unknown = Vec::new();
    let info = |section: &str| redis::cmd("INFO").arg(section).take();
    let (mut memory, mut disk, mut points, mut replicas, mut namesake) = (None, None, None, None, None);
    // What is the server's is asked for, and told, once.
    if channel.membership.as_ref().is_none_or(Membership::is_first) {
        memory = known(text(channel, &info("memory")).await, &mut unknown)?;
        disk = known(text(channel, &info("persistence")).await, &mut unknown)?;
        points = known(save_points(channel).await, &mut unknown)?.flatten();
        let base = channel.membership.as_ref().map_or(channel, |membership| &membership.group.base);
        // What keeps the agent from that is said of what it needs.
        namesake = namesakes::look(base).await.unwrap_or_default();
        if channel.replicas.wanted > 0 {
            replicas = known(text(channel, &info("replication")).await, &mut unknown)?;
        }
    }
    let facts = Facts {
        memory: memory.as_deref().and_then(MemoryUse::read),
        disk: disk.as_deref().and_then(|info| Disk::read(info, points)),
        depth: channel.depth().await?,
        max_dead_letters: channel.max_dead_letters as u64,
        letters_dropped: channel.registry.tally().letters_dropped,
    };
    *channel.looked.lock().unwrap_or_else(PoisonError::into_inner) = Looked {
        used: facts.memory.as_ref().map(|memory| memory.used),
        max_bytes: facts.memory.as_ref().map(|memory| memory.limit),
        dead: Some(facts.depth.dead),
    };
    let names = Names { target: &channel.link.server.url, queue: &channel.keys.queue, dead: &channel.keys.dead };
    let mut warnings = facts.warnings(&names, patience);
    warnings.extend(replicas.and_then(|info| replicas::warning(&info, channel.replicas.wanted, names.target)));
    warnings.extend(namesake);
    warnings.extend(known(channel.consumer_warnings().await, &mut unknown)?.unwrap_or_default());
    Ok(Pressure { warnings, unknown, refuses: false })
}

/// What was found at the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looked {
    used: Option<u64>,
    max_bytes: Option<u64>,
    dead: Option<u64>,
}

/// See [`Channel::channel_status`].
pub(super) fn channel_status(channel: &RedisChannel) -> ChannelStatus {
    let Looked { used, max_bytes, dead } = *channel.looked.lock().unwrap_or_else(PoisonError::into_inner);
    ChannelStatus {
        kind: ChannelKind::Redis,
        place: channel.link.server.url.clone(),
        used,
        max_bytes,
        dead,
        max_dead: Some(channel.max_dead_letters as u64),
        ..ChannelStatus::default()
    }
}

/// What was answered, unless Redis would not tell.
fn known<T>(answer: Result<T, Error>, unknown: &mut Vec<String>) -> Result<Option<T>, ChannelError> {
    match answer.map_err(ChannelError::from) {
        Ok(answer) => Ok(Some(answer)),
        Err(ChannelError::Refused { what, .. }) => {
            unknown.push(what);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn text(channel: &RedisChannel, command: &Cmd) -> Result<String, Error> {
    answers::text(channel.link.command(LOOK, command).await?).ok_or_else(|| channel.link.garbled(LOOK))
}

/// Whether Redis saves now and then; INFO does not say.
async fn save_points(channel: &RedisChannel) -> Result<Option<bool>, Error> {
    let mut get = redis::cmd("CONFIG");
    let answer = channel.link.command(LOOK, get.arg("GET").arg("save")).await?;
    // A map in a later version of the protocol.
    let points = match answer {
        Value::Array(items) => items.into_iter().nth(1),
        Value::Map(pairs) => pairs.into_iter().next().map(|(_, value)| value),
        _ => None,
    };
    Ok(points.and_then(answers::text).map(|points| !points.is_empty()))
}

/// What of it is known.
struct Facts {
    memory: Option<MemoryUse>,
    disk: Option<Disk>,
    depth: Depth,
    max_dead_letters: u64,
    letters_dropped: u64,
}

struct MemoryUse {
    used: u64,
    limit: u64,
    /// Whether the limit is its maxmemory and not its machine's memory.
    configured: bool,
    policy: String,
}

#[derive(Clone, Copy)]
struct Disk {
    append_only: bool,
    save_points: Option<bool>,
    /// Whether the last attempt to write what is kept on disk failed.
    failed: bool,
}

/// What things are called, for people.
struct Names<'a> {
    target: &'a str,
    queue: &'a str,
    dead: &'a str,
}

impl MemoryUse {
    fn read(info: &str) -> Option<Self> {
        let number = |name| field(info, name)?.parse::<u64>().ok();
        let configured = number("maxmemory").filter(|bytes| *bytes > 0);
        Some(Self {
            used: number("used_memory")?,
            limit: configured.or_else(|| number("total_system_memory"))?,
            configured: configured.is_some(),
            policy: field(info, "maxmemory_policy").unwrap_or_default().to_owned(),
        })
    }

    /// Whether messages may be deleted: this channel's keys have no time to live, so a volatile policy spares them.
    fn evicts(&self) -> bool {
        self.configured && self.policy.starts_with("allkeys")
    }

    fn is_short(&self) -> bool {
        self.used >= self.limit / 100 * SHORT_OF_MEMORY
    }
}

impl Disk {
    fn read(info: &str, save_points: Option<bool>) -> Option<Self> {
        let append_only = field(info, "aof_enabled")? == "1";
        let failed = if append_only { "aof_last_write_status" } else { "rdb_last_bgsave_status" };
        Some(Self { append_only, save_points, failed: field(info, failed).is_some_and(|status| status == "err") })
    }
}

impl Facts {
    fn warnings(&self, names: &Names<'_>, patience: &Patience) -> Vec<Warning> {
        let memory = self.memory.as_ref();
        [
            memory.filter(|memory| memory.evicts()).map(|memory| eviction(memory, names)),
            self.disk.and_then(|disk| persistence(disk, names)),
            memory.filter(|memory| memory.is_short()).map(|memory| short_of_memory(memory, names)),
            self.backlog(names, patience),
            self.dead_letters(names),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn backlog(&self, names: &Names<'_>, patience: &Patience) -> Option<Warning> {
        let backlog = self.depth.backlog();
        backlog.is_long(patience).then(|| Warning {
            threat: Threat::Backlog,
            what: format!("messages wait long in {} at {}", names.queue, names.target),
            now: backlog.to_string(),
            mend: "see why they are not published sooner: a database that is away or slow is said apart; otherwise raise \
                   publisher.workers or run another agent. nanny.warn_age and nanny.warn_messages say what is long"
                .to_owned(),
        })
    }

    fn dead_letters(&self, names: &Names<'_>) -> Option<Warning> {
        let dead = self.depth.dead;
        (dead >= self.max_dead_letters).then(|| Warning {
            threat: Threat::DeadLetters,
            what: format!("{} has all the dead letters that are kept: with each further one the oldest is dropped", names.dead),
            now: format!("{dead} {} kept, this agent has dropped {}", either(dead, "is", "are"), self.letters_dropped),
            mend: format!(
                "look at them ({}), mend what they complain of, then delete them (redis-cli DEL '{}'), or raise \
                 channel.redis.max_dead_letters",
                look_at_dead_letters(names.dead),
                names.dead
            ),
        })
    }
}

/// The command that shows the newest.
pub(super) fn look_at_dead_letters(dead: &str) -> String {
    format!("redis-cli XREVRANGE '{dead}' + - COUNT 10")
}

fn eviction(memory: &MemoryUse, names: &Names<'_>) -> Warning {
    Warning {
        threat: Threat::Eviction,
        what: format!("{} may delete queued messages when its memory is short", names.target),
        now: format!("its maxmemory-policy is {}, its maxmemory {}", memory.policy, size(memory.limit)),
        mend: "set maxmemory-policy noeviction, or a volatile one: no message has a time to live".to_owned(),
    }
}

fn persistence(disk: Disk, names: &Names<'_>) -> Option<Warning> {
    let warning = |what: &str, now: &str, mend: &str| {
        let what = [names.target, what].concat();
        Some(Warning { threat: Threat::Persistence, what, now: now.to_owned(), mend: mend.to_owned() })
    };
    if disk.failed {
        return warning(
            " cannot write to its disk: what is queued now is lost when it ends",
            if disk.append_only { "aof_last_write_status is err" } else { "rdb_last_bgsave_status is err" },
            "look into the log of that Redis, and make room on its disk",
        );
    }
    if disk.append_only || disk.save_points != Some(false) {
        return None;
    }
    warning(
        " keeps nothing on disk: what is queued is lost when it ends",
        "appendonly is no, and it has no save points",
        "set appendonly yes, in its configuration and by CONFIG SET",
    )
}

fn short_of_memory(memory: &MemoryUse, names: &Names<'_>) -> Warning {
    let whose = if memory.configured { "its maxmemory" } else { "its machine's memory" };
    let then = if memory.evicts() {
        "it deletes queued messages"
    } else if memory.configured {
        "it refuses what clients send"
    } else {
        "the system ends it"
    };
    let percent = memory.used.saturating_mul(100) / memory.limit.max(1);
    Warning {
        threat: Threat::Memory,
        what: format!("{} has little memory left, and when there is none {then}", names.target),
        now: format!("it uses {} of {whose} of {}, {percent} %", size(memory.used), size(memory.limit)),
        mend:
            "see why messages are not published if many wait, delete dead letters and what else fills it, or give it more memory"
                .to_owned(),
    }
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PATIENCE: Patience = Patience { age: Duration::from_secs(300), messages: 1000 };
    const NAMES: Names<'_> = Names { target: "redis://host/0", queue: "q", dead: "{q}:dead" };

    fn depth(queued: u64, age: Option<u64>, dead: u64) -> Depth {
        Depth { queued, dead, age: age.map(Duration::from_secs), ..Depth::default() }
    }

    fn well() -> Facts {
        let memory = "used_memory:1000\r\ntotal_system_memory:100000\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n";
        let disk = "aof_enabled:1\r\naof_last_write_status:ok\r\nrdb_last_bgsave_status:err\r\n";
        Facts {
            memory: MemoryUse::read(memory),
            disk: Disk::read(disk, Some(false)),
            depth: depth(1000, Some(300), 9),
            max_dead_letters: 10,
            letters_dropped: 0,
        }
    }

    fn threats(facts: &Facts) -> Vec<Threat> {
        facts.warnings(&NAMES, &PATIENCE).iter().map(|warning| warning.threat).collect()
    }

    #[test]
    fn a_redis_that_is_well_gets_no_warning() {
        assert_eq!(threats(&well()), []);
        let unknown = Facts { memory: None, disk: None, depth: depth(1000, None, 9), ..well() };
        assert_eq!(threats(&unknown), []);
    }

    #[test]
    fn each_threat_is_told_of() {
        let memory =
            |used, configured, policy: &str| Some(MemoryUse { used, limit: 1000, configured, policy: policy.to_owned() });
        assert_eq!(threats(&Facts { memory: memory(799, true, "allkeys-lfu"), ..well() }), [Threat::Eviction]);
        assert_eq!(threats(&Facts { memory: memory(799, true, "volatile-lru"), ..well() }), []);
        assert_eq!(threats(&Facts { memory: memory(800, true, "noeviction"), ..well() }), [Threat::Memory]);
        assert_eq!(threats(&Facts { memory: memory(800, false, "allkeys-lru"), ..well() }), [Threat::Memory]);
        assert_eq!(threats(&Facts { memory: memory(900, true, "allkeys-lru"), ..well() }), [Threat::Eviction, Threat::Memory]);
        let disk = |append_only, save_points, failed| Some(Disk { append_only, save_points, failed });
        assert_eq!(threats(&Facts { disk: disk(false, Some(false), false), ..well() }), [Threat::Persistence]);
        assert_eq!(threats(&Facts { disk: disk(false, Some(true), false), ..well() }), []);
        assert_eq!(threats(&Facts { disk: disk(false, None, false), ..well() }), [], "nobody said so");
        assert_eq!(threats(&Facts { disk: disk(true, None, true), ..well() }), [Threat::Persistence]);
        assert_eq!(threats(&Facts { depth: depth(1000, Some(301), 9), ..well() }), [Threat::Backlog]);
        let leased = Depth { queued: 500, leased: 400, inprogress: 101, ..Depth::default() };
        assert_eq!(threats(&Facts { depth: leased, ..well() }), [Threat::Backlog], "what is in hand waits too");
        assert_eq!(threats(&Facts { depth: depth(1001, None, 0), ..well() }), [Threat::Backlog]);
        assert_eq!(threats(&Facts { depth: depth(0, None, 10), ..well() }), [Threat::DeadLetters]);
    }

    #[test]
    fn the_numbers_are_apart_from_the_words_that_last() {
        let some = Facts { depth: depth(1000, Some(400), 9), ..well() }.warnings(&NAMES, &PATIENCE);
        let more = Facts { depth: depth(1000, Some(500), 9), ..well() }.warnings(&NAMES, &PATIENCE);
        assert_eq!(some[0].what, more[0].what);
        assert_eq!(some[0].now, "1000 messages wait, the oldest for 6m 40s");
        assert_ne!(some[0].now, more[0].now);
    }
}
