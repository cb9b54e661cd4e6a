//! The contract that every channel keeps: what is asked of it, what it answers, and what clients push to. `tests/channel_contract.rs`
//! holds each channel to it.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::{
    lease_registry::{Lease, LeaseId, LeaseRegistry, Tally},
    pressure::{ChannelStatus, Patience, Pressure},
};
use crate::{
    duration::for_people,
    listener::{Backend, OtherCounts, Refused},
    plural::messages_wait,
};

/// The pauses between attempts while a channel cannot be used.
pub(crate) const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long one wait for a first message lasts before it is begun anew: only a bound on how late a broken connection, or what came by
/// another way than the wait is for, is noticed, since waiting costs nothing.
pub(crate) const WAIT: Duration = Duration::from_secs(5);

/// How many more messages the batcher has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// At most this many messages; at least 1.
    pub messages: usize,
    /// At most this many bytes of payload, except that one message larger than that is given alone.
    pub bytes: usize,
    /// Nothing is given before, so that what comes until then is taken at once; except that a channel that learns without asking that
    /// as many messages wait as are demanded gives them then.
    pub not_before: Option<Instant>,
}

/// A message to be set aside. Its bytes are not in here: the channel still has them, and a message that is large is not
/// held a second time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The lease that the message is part of.
    pub lease: LeaseId,
    /// Which of the lease's messages, from 0, the oldest first.
    pub message: usize,
    /// Why it was set aside: a sentence.
    pub reason: String,
    /// The points that were refused; empty when the whole message was. The others were written.
    pub refused: Vec<RefusedPoint>,
}

/// One refused point of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RefusedPoint {
    /// The metric's name.
    pub metric: String,
    /// Why: a sentence, with the database's own words where it was the database that refused.
    pub reason: String,
}

/// What became of leases that were to be completed, of all since that was told last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    /// Messages that are done: off the channel, or among its dead letters.
    pub messages: usize,
    /// Messages of leases that are not ours any more: they had expired, and another agent has them now, or a failover had undone that they
    /// were leased, and they wait again.
    pub lost: usize,
    /// Dead letters, the oldest, that were dropped since there were as many as may be kept.
    pub letters_dropped: u64,
}

impl Completed {
    /// Adds what became of others.
    pub(crate) fn add(&mut self, others: Self) {
        self.messages += others.messages;
        self.lost += others.lost;
        self.letters_dropped += others.letters_dropped;
    }
}

/// What [`Channel::recover`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Messages of leases that this process dropped unsettled, now waiting again.
    pub dropped: usize,
    /// Messages of expired leases, here or of dead agents, now waiting again.
    pub expired: usize,
    /// Messages adopted from the Python agent's in-progress list.
    pub adopted: usize,
    /// Messages in lists that belonged to no lease, now under one that is not renewed.
    pub orphaned: usize,
}

/// What a channel holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages under no lease.
    pub queued: u64,
    /// Messages under a lease, of all agents.
    pub leased: u64,
    /// Open leases, of all agents.
    pub leases: u64,
    /// Dead letters.
    pub dead: u64,
    /// Messages in the Python agent's in-progress list.
    pub inprogress: u64,
    /// For how long the oldest of all those has been there, as far as that is known: see [`Backlog::age`].
    pub age: Option<Duration>,
}

impl Depth {
    /// What waits.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let waiting = self.queued.saturating_add(self.leased).saturating_add(self.inprogress);
        Backlog { waiting, in_hand: self.leased, age: self.age }
    }
}

/// What waits in a channel: everything that was accepted and is not done, leased or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Backlog {
    /// Messages.
    pub waiting: u64,
    /// Of those: under a lease, in some agent's hands.
    pub in_hand: u64,
    /// For how long the oldest waits. Where messages are pushed to this process, since it was accepted. In a Redis, which does not
    /// tell that, since it was queued by the clock of its client, if it says so; and at least since this process has it in hand.
    pub age: Option<Duration>,
}

/// One of several queues of a channel.
pub struct OneOfSeveral {
    /// Its name.
    pub name: String,
    /// It as a channel of its own.
    pub channel: Arc<dyn Channel>,
    /// Why it cannot be used, as far as that is known without asking it.
    pub trouble: Option<ChannelError>,
}

impl fmt::Display for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waiting, in_hand, age } = self;
        f.write_str(&messages_wait(*waiting))?;
        if *in_hand > 0 {
            write!(f, ", {in_hand} of them in hand")?;
        }
        match age {
            Some(age) if *waiting > 0 => write!(f, ", the oldest for {}", for_people(Duration::from_secs(age.as_secs()))),
            _ => Ok(()),
        }
    }
}

/// Why a channel did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChannelError {
    /// It could not be reached or did not answer in time: worth trying again.
    #[error("{what}: {why}")]
    Unreachable {
        /// What was tried, on what: `cannot connect to redis://localhost:6379/0`.
        what: String,
        /// The cause, in its own words.
        why: String,
    },
    /// It answered, and an operator must mend something; worth trying again later.
    #[error("{what}; {mend}")]
    Refused {
        /// What is wrong, with the channel's own words.
        what: String,
        /// What to do about it.
        mend: String,
    },
    /// It can never work with this agent (too old): do not start.
    #[error("{what}; {mend}")]
    Unusable {
        /// What is wrong.
        what: String,
        /// What to do about it.
        mend: String,
    },
}

/// A channel: messages wait in it, are leased, and are settled.
///
/// All methods may be called from any thread, at once, and may be dropped before they end: what was begun
/// and not settled is given back by [`Channel::recover`], at the latest when its lease expires.
#[async_trait]
pub trait Channel: Send + Sync {
    /// The registry in which this channel keeps its open leases and its tally.
    fn registry(&self) -> &Arc<LeaseRegistry>;

    /// Connects, checks version and key types. Returns a sentence that says what was reached.
    async fn open(&self) -> Result<String, ChannelError>;

    /// Leases the oldest waiting messages, at most as many as were demanded and not before they are; waits up to `wait` for the first
    /// one, without polling. `None` when none came. A message that is larger than the channel allows is set aside as a
    /// dead letter without being read.
    async fn receive(&self, demand: Demand, wait: Duration) -> Result<Option<Lease>, ChannelError>;

    /// Whether there are several queues in it, which [`Channel::receive`] gives messages of in turn.
    fn is_of_several_queues(&self) -> bool {
        false
    }

    /// Leases what else is known to wait in other queues than the one that the last lease came from, at most as much as is left of a
    /// demand, and does not wait for more.
    async fn receive_beside(&self, rest: Demand) -> Vec<Lease> {
        let _ = rest;
        Vec::new()
    }

    /// The queues in it; none where there is only one.
    fn queues(&self) -> Vec<OneOfSeveral> {
        Vec::new()
    }

    /// Forgets what is open: the thread that serves it may hang, and the next call opens its own.
    fn reconnect(&self) {}

    /// Whether this channel lets anybody wait for messages, which one may refuse that still gives them.
    async fn may_wait(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    /// Queues messages, the first one first, all or none, for every consumer; for what comes into this process by another way than the
    /// [`Channel::intake`]. Older messages may be dropped for them, where the configuration has it so; these never are. After an error it
    /// is not known whether they were queued, unless it is [`ChannelError::Refused`]; the very same bytes may be queued again.
    async fn push(&self, messages: Vec<Bytes>) -> Result<(), ChannelError>;

    /// Settles leases, in as few steps as each queue takes: the messages in `parked` become dead letters, all others are done.
    /// A letter goes with its lease: it is not parked when that lease is lost or not among `leases`.
    /// There are only so many dead letters: the oldest are dropped, and counted.
    /// On success `leases` is empty; on an error those that are not settled are still there, but for those that the channel goes on to settle
    /// by itself, and it can be called again. What became of the others is told by the next success, or by
    /// [`LeaseRegistry::take_completed`].
    async fn complete(&self, leases: &mut Vec<Lease>, parked: &[DeadLetter]) -> Result<Completed, ChannelError>;

    /// Gives leases back: their messages wait again, oldest first. On an error `leases` are still there.
    async fn release(&self, leases: &mut Vec<Lease>) -> Result<(), ChannelError>;

    /// Renews every open lease of this process; those that are no longer ours are marked lost in the registry, and
    /// count as lost when their holders settle or drop them. Returns whether there is any: without one the channel need not be asked, and
    /// nothing shows that it works.
    async fn renew(&self) -> Result<bool, ChannelError>;

    /// Gives back what was dropped, takes back what has expired, adopts what a Python agent left behind, and looks for messages
    /// that an older version has left under no lease, a part of the channel each time.
    async fn recover(&self) -> Result<Recovered, ChannelError>;

    /// How long a lease lasts without being renewed.
    fn lease(&self) -> Duration;

    /// Gives back what was dropped unsettled: the first part of [`Channel::recover`], for the end of the process.
    /// Returns how many messages wait again.
    async fn give_back(&self) -> Result<usize, ChannelError>;

    /// Leaves everything where it can stay for long, for the end of a process that may go without dropping the channel.
    async fn rest(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    /// Counts what the channel holds.
    async fn depth(&self) -> Result<Depth, ChannelError>;

    /// What has happened to messages since the process started.
    fn tally(&self) -> Tally {
        self.registry().tally()
    }

    /// Messages that wait under no lease, the oldest first, left where they are: at most as many as were demanded, and the one that
    /// passes the bytes is the last. Those that cannot be read, or are larger than the channel allows, are left out.
    /// A channel that cannot be looked at shows none.
    async fn peek(&self, most: Demand) -> Result<Vec<Vec<u8>>, ChannelError> {
        let _ = most;
        Ok(Vec::new())
    }

    /// How many bytes of a server's memory the messages take, about, that this consumer alone has copies of and has not leased. `None`
    /// where it has none, or where the server does not tell.
    async fn copies(&self) -> Option<u64> {
        None
    }

    /// What waits, without asking a server: as it is now, or was when it was last counted. `None` while unknown.
    fn backlog(&self) -> Option<Backlog> {
        None
    }

    /// How it stands in numbers, without asking a server or a file.
    fn channel_status(&self) -> ChannelStatus {
        ChannelStatus::default()
    }

    /// How an operator sees the newest dead letters: a command, whole.
    fn look_at_dead_letters(&self) -> String;

    /// The queue itself with its dead letters, where this process has it, and no server.
    fn queue(&self) -> Option<Arc<dyn Backend>> {
        None
    }

    /// What clients push to, where that is part of this process, which must serve them then.
    fn intake(&self) -> Option<Arc<dyn Intake>> {
        None
    }

    /// What threatens the messages that wait. A channel whose messages nothing can threaten has nothing to say.
    async fn pressure(&self, patience: &Patience) -> Result<Pressure, ChannelError> {
        let _ = patience;
        Ok(Pressure::default())
    }
}

/// What clients push to, where the channel is part of this process. What it has taken is the channel's.
#[async_trait(?Send)]
pub trait Intake: Send + Sync {
    /// Takes the addresses, unless it has them. A client that connects waits for [`Intake::serve`].
    ///
    /// # Errors
    /// When an address cannot be had, with who has it.
    fn bind(&self) -> Result<(), ChannelError>;

    /// What was refused since the process started: every reason there is, though it has not come to it.
    fn refused(&self) -> Vec<Refused>;

    /// How many clients are connected, and may be.
    fn clients(&self) -> (u64, u64) {
        (0, 0)
    }

    /// Has clients that ask how the agent is told of these, too, from the next [`Intake::bind`] on.
    fn tell_of(&self, counts: OtherCounts) {
        drop(counts);
    }

    /// Serves those who come by the addresses that [`Intake::bind`] has taken, on this thread, until `closing` completes; then
    /// answers what has arrived, and closes. At once done when there are none: they are to be taken again after each time.
    ///
    /// # Errors
    /// When no client can be served, for the time being.
    async fn serve(&self, closing: Pin<Box<dyn Future<Output = ()>>>) -> Result<(), ChannelError>;
}

#[cfg(feature = "failpoints")]
impl<T> crate::failpoint::Failing for Result<T, ChannelError> {
    fn failed(what: String, refused: bool) -> Self {
        let mend = "this is a test".to_owned();
        Err(if refused { ChannelError::Refused { what, mend } } else { ChannelError::Unreachable { what, why: mend } })
    }
}
