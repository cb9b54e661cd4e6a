//! Pushes that count only once replicas have them (`channel.redis.wait_replicas`): a failover forgets what no replica has.
//!
//! Only a push through a door of this agent's own waits. Every other step moves messages between lists within one script, and the
//! replica that takes over has done a first part of all steps: what a failover undoes of them is a message back where it was, which is
//! then written once more with the same times. A push that is undone is gone.

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use super::{
    RedisChannel, answers,
    check::field,
    client::{Connection, Request, by},
    errors::Error,
    resp::Budget,
};
use crate::{
    channel::{ChannelError, Threat, Warning},
    plural::{count, either},
};

const WAIT: &str = "wait for replicas";

/// For how long a replica that follows is not heard of at most, in seconds; Redis hears of each once a second.
const LAG: u64 = 10;

/// Of how many messages at most it is remembered that replicas have them by now, beside the last push: more than are tried again at a time.
/// Those are beyond it that nobody tries again.
const REMEMBERED: usize = 10_000;

/// What waits for replicas, if anything does.
pub(super) struct Replicas {
    /// How many.
    pub(super) wanted: usize,
    /// Of one push at a time, since a client that waits is answered nothing else.
    pushed: Mutex<Pushed>,
}

/// What was pushed, and will be pushed again by callers that were told to.
#[derive(Default)]
struct Pushed {
    /// A connection of its own. WAIT tells of what was written on the connection that it comes by.
    connection: Option<Connection>,
    /// Queued by that connection, and on too few replicas as far as is known.
    unconfirmed: Vec<Mark>,
    /// On enough replicas by now, and not pushed again yet.
    confirmed: HashSet<Mark>,
    marking: [RandomState; 2],
}

/// By what a message is known again: its bytes would stay in memory where nobody pushes it again. 128 bits, since a message is not queued
/// that has the mark of another one.
type Mark = [u64; 2];

impl Replicas {
    pub(super) fn new(wanted: usize) -> Self {
        Self { wanted, pushed: Mutex::default() }
    }
}

/// Queues messages in this order, all or none of them, and waits until enough replicas have them. After an error they may be queued; when
/// they are pushed again, those that are queued on this primary are not queued once more.
pub(super) async fn push(channel: &RedisChannel, doing: &str, messages: &[&[u8]]) -> Result<(), Error> {
    let deadline = Instant::now() + channel.link.timeout();
    let mut pushed = timeout_at(deadline, channel.replicas.pushed.lock()).await.map_err(|_| channel.link.late(doing))?;
    pushed.push(&Call { channel, doing, deadline }, messages).await.map_err(|missing| match missing {
        Missing::Answer { error, .. } => error,
        Missing::Replicas(have) => Error::Other(too_few(channel, have)),
    })
}

/// One push.
struct Call<'a> {
    channel: &'a RedisChannel,
    doing: &'a str,
    deadline: Instant,
}

/// Why it is not known that enough replicas have what was pushed.
enum Missing {
    Answer {
        error: Error,
        /// Whether the connection is of no use any more.
        is_for_good: bool,
    },
    /// So many have it.
    Replicas(u64),
}

impl Pushed {
    async fn push(&mut self, call: &Call<'_>, messages: &[&[u8]]) -> Result<(), Missing> {
        // What is cut short leaves no connection behind: what was asked on it is not known to be done.
        let connection = match self.connection.take() {
            Some(open) => open,
            None => {
                self.unconfirmed.clear();
                let opened = call.channel.link.open(call.deadline).await;
                opened.map_err(|error| Missing::Answer { error, is_for_good: true })?
            }
        };
        let pushed = self.push_by(&connection, call, messages).await;
        if !matches!(pushed, Err(Missing::Answer { is_for_good: true, .. })) {
            self.connection = Some(connection);
        }
        pushed
    }

    async fn push_by(&mut self, connection: &Connection, call: &Call<'_>, messages: &[&[u8]]) -> Result<(), Missing> {
        // Nothing more is queued while it is not: a replica that is away for long would have messages that are tried again pile up.
        if !self.unconfirmed.is_empty() {
            call.wait(connection).await?;
            if self.confirmed.len() > REMEMBERED {
                self.confirmed.clear();
            }
            self.confirmed.extend(self.unconfirmed.drain(..));
        }
        let marking = self.marking.clone();
        let mark = |message: &[u8]| marking.each_ref().map(|marking| marking.hash_one(message));
        let new: Vec<&[u8]> = messages.iter().copied().filter(|message| !self.confirmed.contains(&mark(message))).collect();
        if !new.is_empty() {
            let mut command = redis::cmd("LPUSH");
            call.ask(connection, call.doing, command.arg(&call.channel.keys.queue).arg(&new)).await?;
            self.unconfirmed = new.into_iter().map(mark).collect();
            call.wait(connection).await?;
            self.unconfirmed.clear();
        }
        for message in messages {
            self.confirmed.remove(&mark(message));
        }
        Ok(())
    }
}

impl Call<'_> {
    /// Waits for replicas for half of the time that is left, so that their number comes in time.
    async fn wait(&self, connection: &Connection) -> Result<(), Missing> {
        let wanted = self.channel.replicas.wanted;
        let mut command = redis::cmd("WAIT");
        let patience = milliseconds(self.left() / 2);
        let answer = self.ask(connection, WAIT, command.arg(wanted).arg(patience)).await?;
        let garbled = || Missing::Answer { error: self.channel.link.garbled(WAIT), is_for_good: true };
        let have = answers::count(&answer).ok_or_else(garbled)?;
        if have < wanted as u64 { Err(Missing::Replicas(have)) } else { Ok(()) }
    }

    async fn ask(&self, connection: &Connection, doing: &str, command: &redis::Cmd) -> Result<redis::Value, Missing> {
        let link = &self.channel.link;
        // With a question that is cut short it is lost what was queued before, which would then be queued twice.
        if self.left() < link.timeout() / 4 {
            return Err(Missing::Answer { error: link.late(doing), is_for_good: false });
        }
        let answer = by(self.deadline, link.timeout(), connection.ask(Request::Command(command), Budget::ORDINARY)).await;
        answer.map_err(|failure| Missing::Answer { error: link.explain(doing, &failure), is_for_good: failure.is_for_good() })
    }

    fn left(&self) -> Duration {
        self.deadline - Instant::now()
    }
}

/// For Redis, to which 0 is for ever.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn too_few(channel: &RedisChannel, have: u64) -> ChannelError {
    let (server, wanted) = (&channel.link.server, channel.replicas.wanted);
    ChannelError::Unreachable {
        what: format!("messages are queued on {server}, and a failover may lose them"),
        why: format!(
            "only {have} of {} confirmed them in time: see that replicas run and follow it (INFO replication), or lower \
             channel.redis.wait_replicas",
            count(wanted, "replica")
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
