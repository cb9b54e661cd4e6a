//! Pushes that count only once replicas have them (`channel.redis.wait_replicas`): a failover forgets what no replica has.
//!
//! Only a push through a door of this agent's own waits. Every other step moves messages between lists within one script, and the
//! replica that takes over has done a first part of all steps: what a failover undoes of them is a message back where it was, which is
//! then written once more with the same times. A push that is undone is gone.

use std::{collections::HashSet, fmt, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use super::{RedisChannel, answers, check::field, client::Connection, connection::Link, errors::Error};
use crate::{
    channel::{ChannelError, Threat, Warning},
    duration::for_people,
    plural::{count, either},
};

const WAIT: &str = "wait for replicas";

/// For how long a replica that follows is not heard of at most, in seconds; Redis hears of each once a second.
const LAG: u64 = 10;

/// What waits for replicas, if anything does.
pub(super) struct Replicas {
    /// How many.
    pub(super) wanted: usize,
    /// On a connection of its own, since a client that waits is answered nothing else.
    line: Mutex<Option<Line>>,
}

/// A connection, with what was pushed on it and is still to be pushed again by a caller that was told to.
struct Line {
    connection: Connection,
    /// Queued, and on too few replicas as far as is known. WAIT tells of what was written on its own connection.
    unconfirmed: Vec<Vec<u8>>,
    /// On enough replicas by now.
    confirmed: HashSet<Vec<u8>>,
}

impl Replicas {
    pub(super) fn new(wanted: usize) -> Self {
        Self { wanted, line: Mutex::default() }
    }
}

/// Queues messages in this order, all or none of them, and waits until enough replicas have them. After an error they may be queued; when
/// they are pushed again, those that are queued on this primary are not queued once more.
pub(super) async fn push(channel: &RedisChannel, doing: &str, messages: &[&[u8]]) -> Result<(), Error> {
    let (link, replicas) = (&channel.link, &channel.replicas);
    let within = link.timeout();
    let pushed = async {
        let mut line = replicas.line.lock().await;
        // What is cut short leaves no connection behind: what was asked on it is not known to be done.
        let mut open = match line.take() {
            Some(open) => open,
            None => {
                Line { connection: link.open(Instant::now() + within).await?, unconfirmed: Vec::new(), confirmed: HashSet::new() }
            }
        };
        let pushed = open.push(channel, doing, messages).await;
        if !matches!(pushed, Err(Missing::Answer(_))) {
            *line = Some(open);
        }
        pushed.map_err(|missing| match missing {
            Missing::Answer(error) => error,
            Missing::Replicas(have) => Error::Other(too_few(channel, have)),
        })
    };
    match tokio::time::timeout(within, pushed).await {
        Ok(pushed) => pushed,
        Err(_) => Err(link.late(doing)),
    }
}

/// Why it is not known that enough replicas have what was pushed.
enum Missing {
    Answer(Error),
    /// So many have it.
    Replicas(u64),
}

impl Line {
    async fn push(&mut self, channel: &RedisChannel, doing: &str, messages: &[&[u8]]) -> Result<(), Missing> {
        let (link, wanted) = (&channel.link, channel.replicas.wanted);
        // Nothing more is queued while it is not: a replica that is away for long would have messages that are tried again pile up.
        if !self.unconfirmed.is_empty() {
            self.wait(link, wanted).await?;
            self.confirmed = self.unconfirmed.drain(..).collect();
        }
        let new: Vec<&[u8]> = messages.iter().copied().filter(|message| !self.confirmed.remove(*message)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut command = redis::cmd("LPUSH");
        command.arg(&channel.keys.queue).arg(&new);
        link.ask(&self.connection, doing, &command).await.map_err(Missing::Answer)?;
        self.unconfirmed = new.into_iter().map(<[u8]>::to_vec).collect();
        self.wait(link, wanted).await?;
        self.unconfirmed.clear();
        Ok(())
    }

    async fn wait(&self, link: &Link, wanted: usize) -> Result<(), Missing> {
        let mut command = redis::cmd("WAIT");
        let answer = link.ask(&self.connection, WAIT, command.arg(wanted).arg(milliseconds(link.timeout()))).await;
        let have = answers::count(&answer.map_err(Missing::Answer)?).ok_or_else(|| Missing::Answer(link.garbled(WAIT)))?;
        if have < wanted as u64 { Err(Missing::Replicas(have)) } else { Ok(()) }
    }
}

/// How long Redis waits: half of what a call has, and never for ever.
fn milliseconds(timeout: Duration) -> u64 {
    u64::try_from((timeout / 2).as_millis()).unwrap_or(u64::MAX).max(1)
}

fn too_few(channel: &RedisChannel, have: u64) -> ChannelError {
    let (server, wanted) = (&channel.link.server, channel.replicas.wanted);
    ChannelError::Unreachable {
        what: format!("messages are queued on {server}, and a failover may lose them"),
        why: format!(
            "only {have} of {} confirmed them within {}: see that replicas run and follow it (INFO replication), or lower \
             channel.redis.wait_replicas",
            count(wanted, "replica"),
            for_people(Duration::from_millis(milliseconds(channel.link.timeout())))
        ),
    }
}

/// Tries whether Redis lets this agent wait for replicas.
pub(super) async fn may_wait(channel: &RedisChannel) -> Result<(), Error> {
    let mut command = redis::cmd("WAIT");
    match channel.link.command(WAIT, command.arg(0).arg(1)).await {
        Err(Error::Refused(mut refusal)) => {
            // None of the rights that every channel needs.
            if refusal.mend.contains("ACL SETUSER") {
                refusal.mend += " +wait";
            }
            Err(Error::Refused(refusal))
        }
        other => other.map(drop),
    }
}

/// A warning where fewer replicas follow than are waited for. `info`: what INFO replication answers.
pub(super) fn warning(info: &str, wanted: usize, target: &str) -> Option<Warning> {
    let follow = info.lines().filter(|line| line.starts_with("slave") && follows(line)).count();
    // A replica that was asked by mistake has no replicas to tell of, and says READONLY to all else.
    let is_primary = field(info, "role") == Some("master");
    (is_primary && follow < wanted).then(|| Warning {
        threat: Threat::Replicas,
        what: format!("fewer replicas follow {target} than are waited for: what this agent queues itself waits in memory"),
        now: format!(
            "{} {}, channel.redis.wait_replicas is {wanted}",
            count(follow, "replica"),
            either(follow as u64, "follows", "follow")
        ),
        mend: "see that replicas run and reach it (INFO replication), or lower channel.redis.wait_replicas".to_owned(),
    })
}

/// Whether a line such as `slave0:ip=127.0.0.1,port=6380,state=online,offset=1,lag=0` is of a replica that keeps up.
fn follows(line: &str) -> bool {
    let value = |name: &str| line.split([':', ',']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value("state") == Some("online") && value("lag").and_then(|lag| lag.parse::<u64>().ok()).is_some_and(|lag| lag <= LAG)
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_count_that_are_there_and_keep_up() {
        let info = "role:master\r\nconnected_slaves:3\r\n\
                    slave0:ip=127.0.0.1,port=6380,state=online,offset=14,lag=0\r\n\
                    slave1:ip=::1,port=6381,state=online,offset=14,lag=11\r\n\
                    slave2:ip=127.0.0.1,port=6382,state=wait_bgsave,offset=0,lag=0\r\nmaster_failover_state:no-failover\r\n";
        assert_eq!(warning(info, 1, "redis://host/0"), None);
        let said = warning(info, 2, "redis://host/0").unwrap();
        assert_eq!((said.threat, said.now.as_str()), (Threat::Replicas, "1 replica follows, channel.redis.wait_replicas is 2"));
        assert_eq!(warning(&info.replace("master\r", "slave\r"), 2, "redis://host/0"), None);
    }
}
