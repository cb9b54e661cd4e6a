//! The channel that Kadabra's clients push to: a Redis list.
//!
//! Every step is one atomic script, so a message is at any instant in exactly one list: the queue, a lease, or
//! (as a dead letter) the stream. The lists of leases are registered in a sorted set by expiry on Redis's clock;
//! whatever is done with a lease is done only if it is still registered, so an agent that slept past an expiry can
//! neither settle nor give back what another agent has by now.

mod adoption;
mod answers;
mod attempts;
mod backlog;
mod check;
mod client;
mod cluster;
mod connection;
mod consumers;
mod errors;
mod export;
mod failure;
mod fan_out;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
mod keys;
mod letters;
mod namesakes;
mod peek;
mod pressure;
mod questions;
mod queue;
mod queues;
mod receive;
mod recover;
mod replicas;
mod resp;
pub mod rights;
mod route;
mod scripts;
mod sentinel;
mod settle;
mod slice;
mod stream;
mod sweep;
mod target;
mod trouble;
mod turns;
mod wakeups;
mod wishes;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzzing::redis as fuzz_redis;

pub(crate) use errors::{Kind, Names};
pub use export::PortionName;
pub(crate) use letters::LetterStream;
pub use letters::StoredLetter;
pub use queues::open;
pub use wakeups::Wakeups;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use self::errors::{Error, Omission, Refusal};
use super::{
    Backlog, Channel, ChannelError, ChannelStatus, Completed, DeadLetter, Demand, Depth, Lease, LeaseId, LeaseRegistry, Patience,
    Pressure, Recovered,
};
use crate::{config, listener::Report};

/// A Redis list as a channel. See the module for what it keeps where.
#[derive(Debug)]
pub struct RedisChannel {
    link: connection::Link,
    keys: Arc<keys::Keys>,
    scripts: scripts::Scripts,
    registry: Arc<LeaseRegistry>,
    lease: Duration,
    timeout: Duration,
    max_dead_letters: usize,
    max_message_bytes: usize,
    replicas: replicas::Replicas,
    attempts: attempts::Attempts,
    slice: slice::Slice,
    wakeups: Wakeups,
    adoption: Mutex<adoption::Stillness>,
    swept: sweep::Progress,
    namesakes: namesakes::Seen,
    /// Whether it is emptied into another channel, which takes more rights.
    exporting: bool,
    counted: Mutex<Option<backlog::Counted>>,
    looked: Mutex<pressure::Looked>,
    /// Wakes receives that wait, since some messages do not come by the list that they wait at.
    adopted: Arc<Notify>,
    /// Which one of several consumers it is.
    membership: Option<consumers::Membership>,
}

impl RedisChannel {
    /// A channel that is not connected yet. `agent` goes into the leases' names; an in-progress list that no
    /// Python agent has touched for `threshold` is adopted.
    ///
    /// # Errors
    /// [`ChannelError::Unusable`] when the URL is not one of a Redis.
    pub fn new(settings: &config::Redis, agent: &str, threshold: Duration) -> Result<Self, ChannelError> {
        let keys = keys::Keys::new(settings.queue_key.first(), &settings.inprogress_key, agent);
        Ok(Self {
            link: connection::Link::new(settings, keys.pattern())?,
            keys: Arc::new(keys),
            scripts: scripts::Scripts::new(),
            registry: Arc::default(),
            lease: settings.lease,
            timeout: settings.timeout,
            max_dead_letters: settings.max_dead_letters,
            max_message_bytes: settings.max_message_bytes,
            replicas: replicas::Replicas::new(settings.wait_replicas),
            attempts: attempts::Attempts::default(),
            slice: slice::Slice::new(),
            wakeups: Wakeups::default(),
            adoption: Mutex::new(adoption::Stillness::new(threshold)),
            swept: sweep::Progress::default(),
            namesakes: namesakes::Seen::default(),
            exporting: false,
            counted: Mutex::default(),
            looked: Mutex::default(),
            adopted: Arc::default(),
            membership: None,
        })
    }

    /// The same, with its leases in a registry that holds those of other queues as well.
    fn counted_in(mut self, registry: &Arc<LeaseRegistry>) -> Self {
        self.registry = Arc::clone(registry);
        self
    }

    /// The open leases on this queue that have messages and are still ours.
    fn live_leases(&self) -> Vec<LeaseId> {
        self.own(self.registry.live())
    }

    /// The leases on this queue that were dropped unsettled.
    fn dropped_leases(&self) -> Vec<LeaseId> {
        self.own(self.registry.dropped())
    }

    fn own(&self, mut leases: Vec<LeaseId>) -> Vec<LeaseId> {
        leases.retain(|lease| self.keys.has_named(lease));
        leases
    }

    /// The same, with errors that speak of what an operator sets by other names than the keys of `[channel.redis]`.
    pub(crate) fn calling(mut self, names: &'static Names) -> Self {
        self.link.call(names);
        self
    }

    /// Queues a message, as a client does, and waits until as many replicas have it as are configured.
    ///
    /// # Errors
    /// When Redis refuses it; or it is not known whether it is queued, or on enough replicas.
    pub async fn push(&self, message: &[u8]) -> Result<(), ChannelError> {
        self.queue("queue a message", &[message]).await
    }

    /// The same with messages in this order, all or none of them.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn push_all(&self, messages: &[&[u8]]) -> Result<(), ChannelError> {
        self.queue("queue messages", messages).await
    }

    async fn queue(&self, doing: &str, messages: &[&[u8]]) -> Result<(), ChannelError> {
        let pushed = if self.replicas.wanted > 0 {
            replicas::push(self, doing, messages).await
        } else {
            let mut command = redis::cmd("LPUSH");
            self.link.command(doing, command.arg(&self.keys.queue).arg(messages)).await.map(drop)
        };
        self.named(pushed).await
    }

    /// Connects, unless there is a connection that is not known to be broken.
    ///
    /// # Errors
    /// When Redis cannot be reached, or refuses the login.
    pub(crate) async fn connect(&self) -> Result<(), ChannelError> {
        Ok(self.link.connected().await?)
    }

    /// How many messages wait in the queue.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it.
    pub async fn waiting(&self) -> Result<u64, ChannelError> {
        const COUNT: &str = "count messages";
        let mut command = redis::cmd("LLEN");
        let counted = self.named(self.link.command(COUNT, command.arg(&self.keys.queue)).await).await?;
        Ok(answers::count(&counted).ok_or_else(|| self.link.garbled(COUNT))?)
    }

    /// What an agent that listens itself tells of itself.
    pub(crate) async fn report(&self) -> Result<Report, ChannelError> {
        const ASK: &str = "ask how it stands";
        let answer = answers::bytes(self.link.command(ASK, &redis::cmd("KADABRA")).await?);
        let report = answer.and_then(|json| serde_json::from_slice(&json).ok());
        Ok(report.ok_or_else(|| self.link.garbled(ASK))?)
    }

    /// See [`Channel::complete`]. What becomes of the leases is noted in the registry.
    async fn settle(&self, leases: &mut Vec<Lease>, parked: &[DeadLetter]) -> Result<(), ChannelError> {
        self.named(settle::complete(self, leases, parked).await).await
    }

    /// What waited when it was counted last.
    fn counted(&self) -> MutexGuard<'_, Option<backlog::Counted>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what a Python agent has left can be adopted: where there is such a list, and not from another slot of a cluster, where
    /// no Python agent could put it.
    fn adopts(&self) -> bool {
        !self.keys.inprogress.is_empty() && (self.link.server.names.kind != Kind::Cluster || self.keys.inprogress_is_beside())
    }

    /// The lease's duration in ms, for Redis.
    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    /// Names the key when Redis only said that some key has the wrong type, and the command when an older one only said that
    /// some command is not allowed.
    async fn named<T>(&self, outcome: Result<T, Error>) -> Result<T, ChannelError> {
        let Err(Error::Refused(refusal)) = outcome else { return outcome.map_err(ChannelError::from) };
        match refusal.omitted {
            Some(Omission::Key) => check::types(self).await?,
            Some(Omission::Command) => {
                if let Err(Error::Refused(tried)) = check::permissions(self).await {
                    return Err(Error::Refused(Refusal { what: tried.what, ..refusal }).into());
                }
            }
            None => {}
        }
        Err(Error::Refused(refusal).into())
    }
}

#[async_trait]
impl Channel for RedisChannel {
    fn look_at_dead_letters(&self) -> String {
        format!("{}, in the Redis at {}", pressure::look_at_dead_letters(&self.keys.dead), self.link.server)
    }

    fn registry(&self) -> &Arc<LeaseRegistry> {
        &self.registry
    }

    fn lease(&self) -> Duration {
        self.lease
    }

    async fn open(&self) -> Result<String, ChannelError> {
        if let Some(membership) = self.membership.as_ref().filter(|it| it.is_first()) {
            // What older agents have left there is taken back.
            check::open(&membership.group.base).await?;
        }
        let reached = check::open(self).await?;
        self.named(self.agrees().await).await?;
        Ok(reached)
    }

    async fn receive(&self, demand: Demand, wait: Duration) -> Result<Option<Lease>, ChannelError> {
        self.named(receive::receive(self, demand, wait).await).await
    }

    fn reconnect(&self) {
        self.link.reconnect();
    }

    async fn may_wait(&self) -> Result<(), ChannelError> {
        Ok(receive::may_wait(self).await?)
    }

    async fn push(&self, messages: Vec<Bytes>) -> Result<(), ChannelError> {
        // Where clients push to, from where they are given to every consumer.
        let base = self.membership.as_ref().map_or(self, |membership| &membership.group.base);
        base.push_all(&messages.iter().map(|message| &message[..]).collect::<Vec<_>>()).await
    }

    async fn complete(&self, leases: &mut Vec<Lease>, parked: &[DeadLetter]) -> Result<Completed, ChannelError> {
        self.settle(leases, parked).await?;
        Ok(self.registry.take_completed())
    }

    async fn release(&self, leases: &mut Vec<Lease>) -> Result<(), ChannelError> {
        self.named(settle::release(self, leases).await).await
    }

    async fn renew(&self) -> Result<bool, ChannelError> {
        if let Some(known) = self.membership.as_ref().and_then(consumers::Membership::known) {
            known.wishes.give_up();
        }
        if let Some(membership) = self.membership.as_ref().filter(|it| it.is_first()) {
            self.named(membership.group.join(true).await).await?;
        }
        self.named(settle::renew(self).await).await
    }

    async fn recover(&self) -> Result<Recovered, ChannelError> {
        self.named(recover::recover(self).await).await
    }

    async fn give_back(&self) -> Result<usize, ChannelError> {
        self.named(recover::dropped(self).await).await
    }

    async fn rest(&self) -> Result<(), ChannelError> {
        match self.membership.as_ref().filter(|it| it.is_first()) {
            Some(membership) => Ok(membership.group.leave().await?),
            None => Ok(()),
        }
    }

    async fn depth(&self) -> Result<Depth, ChannelError> {
        Ok(backlog::depth(self).await?)
    }

    fn backlog(&self) -> Option<Backlog> {
        self.counted().map(backlog::Counted::now)
    }

    fn channel_status(&self) -> ChannelStatus {
        pressure::channel_status(self)
    }

    async fn peek(&self, most: Demand) -> Result<Vec<Vec<u8>>, ChannelError> {
        self.named(peek::peek(self, most).await).await
    }

    async fn copies(&self) -> Option<u64> {
        self.memory_of_copies().await.ok().filter(|bytes| *bytes > 0)
    }

    async fn pressure(&self, patience: &Patience) -> Result<Pressure, ChannelError> {
        pressure::pressure(self, patience).await
    }
}
