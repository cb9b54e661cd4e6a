//! The channel that needs no server: the agent keeps the queue itself, in a file, and clients push to the agent.
//!
//! It keeps the contract of [`Channel`] over a [`queue`]. A message is in the file from the answer to its push until it
//! is completed or a dead letter. A lease is a note in memory, so that taking and giving back cost nothing; the file belongs to this
//! process alone, and when that dies everything that it had not completed waits again for the next. The
//! [`listener`](crate::listener) serves the queue to clients, through [`Backend`]; `listener_slot` keeps its address bound.

mod backend;
mod errors;
mod listener_slot;
pub(crate) mod pressure;
#[cfg(any(test, feature = "failpoints", feature = "fuzzing"))]
#[doc(hidden)]
pub use crate::listener::test_server;

use std::{
    collections::HashMap,
    iter,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use slog::Logger;

pub(crate) use self::errors::remedy;
use self::{backend::QueueBackend, errors::unusable, listener_slot::ListenerSlot};
use super::{
    Accepted, Backlog, Channel, ChannelError, ChannelStatus, Completed, DeadLetter, Demand, Depth, Intake, Lease, LeaseId,
    LeaseRegistry, PassedSockets, Patience, Pressure, Recovered, Settlement, Tally, redis::StoredLetter,
};
pub use crate::listener::{Backend, BackendError, BindError, Cause, ConsumerStatus, End, PushError, QueueStatus};
pub use crate::queue::{ConsumerSettings, Outlook, Stalled};
use crate::{
    config,
    plural::messages_wait,
    queue::{
        self, Consumer, Consumers, Durability, Forgotten, LeaseEnd, Letter, Origin, Pending, Problem, Region, Store, TakeLimit,
        WhenStalled,
    },
};

/// A queue in a file as a channel.
#[derive(Debug)]
pub struct EmbeddedChannel {
    consumer: Consumer,
    settings: config::Embedded,
    slot: Option<Arc<ListenerSlot>>,
    registry: Arc<LeaseRegistry>,
    agent: String,
    /// What makes the names of its leases unique.
    random: u64,
    next: AtomicU64,
    /// How the queue was when it was looked at last.
    looked: Mutex<Option<QueueStatus>>,
}

impl EmbeddedChannel {
    /// A channel whose file is not open yet, and which is pushed to only by [`EmbeddedChannel::backend`]. `agent` goes
    /// into the leases' names and the dead letters.
    #[must_use]
    pub fn new(settings: &config::Embedded, agent: &str) -> Self {
        Self::of_the_first(Consumers::TheOnly, settings, agent)
    }

    /// The channel as each of several consumers uses it, in their order; all else is as in [`EmbeddedChannel::new`]. There must be
    /// one at least.
    #[must_use]
    pub fn several(settings: &config::Embedded, agent: &str, consumers: Vec<ConsumerSettings>) -> Vec<Self> {
        let others = 1..consumers.len();
        let first = Self::of_the_first(Consumers::Named(consumers), settings, agent);
        let others: Vec<_> = others.map(|place| first.of_another(place)).collect();
        iter::once(first).chain(others).collect()
    }

    /// A channel to bring messages in by, for whichever consumers the file has.
    #[must_use]
    pub fn to_bring_in(settings: &config::Embedded, agent: &str) -> Self {
        Self::of_the_first(Consumers::AsFound, settings, agent)
    }

    fn of_the_first(consumers: Consumers, settings: &config::Embedded, agent: &str) -> Self {
        let store = Arc::new(Store::new(queue_settings(settings, consumers), agent));
        Self::of(Consumer::new(&store, 0), settings, agent)
    }

    fn of_another(&self, place: usize) -> Self {
        Self::of(Consumer::new(self.consumer.store(), place), &self.settings, &self.agent)
    }

    /// The channel with its [`Channel::intake`], where its settings name an address; at those of `passed` there is a socket already.
    /// What clients do is logged to `log`.
    #[must_use]
    pub fn with_intake(self, passed: &PassedSockets, log: &Logger) -> Self {
        let slot = ListenerSlot::new(&self.settings, passed, self.backend(), log).map(Arc::new);
        Self { slot, ..self }
    }

    /// Another channel to the same queue, with a registry of its own. Neither can do anything with the other's leases before
    /// they have expired.
    #[must_use]
    pub fn beside(&self, agent: &str) -> Self {
        Self::of(self.consumer.clone(), &self.settings, agent)
    }

    fn of(consumer: Consumer, settings: &config::Embedded, agent: &str) -> Self {
        Self {
            consumer,
            settings: settings.clone(),
            slot: None,
            registry: Arc::default(),
            agent: agent.to_owned(),
            random: fastrand::u64(..),
            next: AtomicU64::new(0),
            looked: Mutex::default(),
        }
    }

    /// The queue, for a listener.
    #[must_use]
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(QueueBackend::new(Arc::clone(self.consumer.store())))
    }

    /// Queues messages that another agent has worked on before, to be leased before all others and as adopted ones. The
    /// oldest comes first.
    ///
    /// # Errors
    /// As [`Backend::push`].
    pub async fn adopt(&self, messages: Vec<Bytes>) -> Result<u64, PushError> {
        Ok(self.consumer.store().push(Region::Adopted, messages).await?)
    }

    /// What this queue is called by those who move messages into it, once it is open; no other has that name.
    ///
    /// # Errors
    /// When it is not open.
    pub fn identity(&self) -> Result<&str, ChannelError> {
        Ok(self.consumer.store().identity()?)
    }

    /// Queues messages that are known elsewhere under a name, once, however often they come: until
    /// [`EmbeddedChannel::forget_imports`]. Returns whether they are new.
    ///
    /// # Errors
    /// As [`Backend::push`].
    pub async fn import(&self, name: &str, adopted: bool, messages: Vec<Bytes>) -> Result<bool, PushError> {
        let region = if adopted { Region::Adopted } else { Region::Newest };
        Ok(self.consumer.store().import(name, region, messages, Vec::new()).await?)
    }

    /// Keeps a dead letter that is known elsewhere under a name, once. Returns whether it is new.
    ///
    /// # Errors
    /// As [`Backend::push`]; [`PushError::Full`] also when others would be dropped for it.
    pub async fn import_letter(&self, name: &str, letter: StoredLetter) -> Result<bool, PushError> {
        let StoredLetter { payload, reason, refused, agent, time, .. } = letter;
        let letter = Letter {
            payload: payload.unwrap_or_default(),
            reason,
            refused,
            origin: Some(Origin { time, agent }),
            consumer: None,
        };
        Ok(self.consumer.store().import(name, Region::Newest, Vec::new(), vec![letter]).await?)
    }

    /// Forgets such names, once nothing is left elsewhere of what they mean. All others stay: an import from elsewhere, which
    /// was cut off, will ask for its own.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn forget_imports(&self, names: Vec<String>) -> Result<(), ChannelError> {
        Ok(self.consumer.store().forget_imports(names).await?)
    }

    fn new_lease(&self) -> LeaseId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        LeaseId(format!("{}:{:016x}-{number}", self.agent, self.random))
    }
}

#[async_trait]
impl Channel for EmbeddedChannel {
    fn registry(&self) -> &Arc<LeaseRegistry> {
        &self.registry
    }

    fn lease(&self) -> Duration {
        self.settings.lease
    }

    fn look_at_dead_letters(&self) -> String {
        pressure::dead_letters_command("list", self.consumer.name())
    }

    async fn open(&self) -> Result<String, ChannelError> {
        let (path, messages) = self.consumer.store().open().map_err(|error| unusable(&error))?;
        let path = path.display();
        let queue = match messages {
            Some(_) => format!("the queue in {path}, where {}", messages_wait(self.consumer.length()?)),
            None => format!("the queue in {path}, once its disk has room to open it"),
        };
        let Some(slot) = &self.slot else { return Ok(queue) };
        slot.bind()?;
        Ok(format!("clients at {} and {queue}", slot.addresses()))
    }

    async fn receive(&self, demand: Demand, wait: Duration) -> Result<Option<Lease>, ChannelError> {
        let mut lease = self.registry.enter(self.new_lease());
        let id = lease.id().clone();
        let limit = TakeLimit { messages: demand.messages, bytes: demand.bytes };
        let taken = self.consumer.take(&id.0, limit, demand.not_before, wait).await;
        let unreadable = self.consumer.take_unreadable();
        if unreadable > 0 {
            self.registry.set_aside(unreadable);
            // They are not too large, as a Redis would have set aside; `pressure` tells of them.
            self.registry.take_unreported();
        }
        Ok(if let Some(taken) = taken? {
            (lease.age, lease.more) = (taken.age, taken.more);
            lease.fill(taken.messages, taken.adopted);
            Some(lease)
        } else {
            lease.settle(Settlement::Released);
            None
        })
    }

    async fn push(&self, messages: Vec<Bytes>) -> Result<(), ChannelError> {
        // Where a client's push is dropped instead, so that the client need not wait, the caller here keeps the messages.
        let pushed = self.consumer.store().push(Region::Newest, messages).await;
        pushed.map(drop).map_err(|error| errors::not_queued(&error.into()))
    }

    async fn complete(&self, leases: &mut Vec<Lease>, parked: &[DeadLetter]) -> Result<Completed, ChannelError> {
        if leases.is_empty() {
            return Ok(Completed::default());
        }
        let mut letters: HashMap<&LeaseId, Vec<&DeadLetter>> = HashMap::new();
        for letter in parked {
            letters.entry(&letter.lease).or_default().push(letter);
        }
        let settlement = |lease: &Lease| {
            let letters = letters.get(lease.id()).map(Vec::as_slice).unwrap_or_default();
            (lease.id().0.clone(), letters.iter().map(|letter| stored(letter, &lease.messages)).collect())
        };
        let settlements = leases.iter().map(settlement).collect();
        let letters_dropped = self.consumer.settle(settlements).await?;
        self.registry.letters_dropped(letters_dropped);
        let mut completed = Completed { letters_dropped, ..Completed::default() };
        for lease in leases.drain(..) {
            let how = self.consumer.hear(&lease.id().0).map_or(Settlement::Lost, Settlement::from);
            match how {
                Settlement::Completed { .. } => completed.messages += lease.messages.len(),
                Settlement::Lost | Settlement::Released => completed.lost += lease.messages.len(),
            }
            lease.settle(how);
        }
        Ok(completed)
    }

    async fn release(&self, leases: &mut Vec<Lease>) -> Result<(), ChannelError> {
        while let Some(lease) = leases.last() {
            let how = self.consumer.give_back(&lease.id().0).await?.0.map_or(Settlement::Lost, Settlement::from);
            if let Some(lease) = leases.pop() {
                lease.settle(how);
            }
        }
        Ok(())
    }

    async fn renew(&self) -> Result<bool, ChannelError> {
        let live = self.registry.live();
        let is_asked = !live.is_empty();
        if is_asked {
            let ended = self.consumer.renew(names(live))?;
            self.registry.mark_lost(&ended.into_iter().map(LeaseId).collect::<Vec<_>>());
        }
        Ok(is_asked)
    }

    async fn recover(&self) -> Result<Recovered, ChannelError> {
        let dropped = self.give_back().await?;
        // Late is not dead: what is in our hands is kept rather than published a second time.
        self.renew().await?;
        let expired = self.consumer.expire(&names(self.registry.live()))?;
        Ok(Recovered { dropped, expired: usize::try_from(expired).unwrap_or(usize::MAX), ..Recovered::default() })
    }

    async fn give_back(&self) -> Result<usize, ChannelError> {
        let mut messages = 0;
        // From the newest to the oldest, as the registry finds them quickest.
        for id in self.registry.dropped().into_iter().rev() {
            let (how, count) = self.consumer.give_back(&id.0).await?;
            messages += usize::try_from(count).unwrap_or(usize::MAX);
            // What was never leased is as good as given back.
            self.registry.ended(&id, how.map_or(Settlement::Released, Settlement::from));
        }
        Ok(messages)
    }

    async fn depth(&self) -> Result<Depth, ChannelError> {
        let queue::Stats { pending, dead_letters: dead, .. } = self.consumer.stats().await?;
        let Pending { messages, leased, oldest: age } = pending;
        Ok(Depth { queued: messages - leased, leased, leases: self.consumer.leases()?, dead, inprogress: 0, age })
    }

    fn tally(&self) -> Tally {
        let queue::Tally { found, stored, published, parked, dropped, pending } = self.consumer.tally();
        let accepted = Accepted { all: found + stored, found, waiting: pending, dropped };
        Tally { published, parked, accepted: Some(accepted), ..self.registry.tally() }
    }

    fn backlog(&self) -> Option<Backlog> {
        let Pending { messages, leased, oldest } = self.consumer.pending()?;
        Some(Backlog { waiting: messages, in_hand: leased, age: oldest })
    }

    fn channel_status(&self) -> ChannelStatus {
        let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        pressure::channel_status(self, looked.as_ref())
    }

    async fn rest(&self) -> Result<(), ChannelError> {
        Ok(self.consumer.store().rest().await?)
    }

    fn queue(&self) -> Option<Arc<dyn Backend>> {
        Some(self.backend())
    }

    fn intake(&self) -> Option<Arc<dyn Intake>> {
        Some(Arc::<ListenerSlot>::clone(self.slot.as_ref()?))
    }

    async fn peek(&self, most: Demand) -> Result<Vec<Vec<u8>>, ChannelError> {
        Ok(self.consumer.peek(TakeLimit { messages: most.messages, bytes: most.bytes }).await?)
    }

    async fn pressure(&self, patience: &Patience) -> Result<Pressure, ChannelError> {
        pressure::pressure(self, patience).await
    }
}

/// Lets a consumer go that is not configured any more, with all that waits for it: how many messages, and how many dead letters.
///
/// # Errors
/// When there is no such consumer, or the file is a running agent's, is damaged or cannot be written.
pub fn forget_consumer(settings: &config::Embedded, name: &str) -> Result<(u64, u64), ChannelError> {
    match queue::forget(&settings.path, name) {
        Ok(Forgotten { messages, letters }) => Ok((messages, letters)),
        Err(error) if error.problem == Problem::InUse => {
            Err(ChannelError::Refused { what: error.to_string(), mend: "stop that agent first".to_owned() })
        }
        Err(error) => Err(error.into()),
    }
}

/// What the configuration says to the queue.
fn queue_settings(settings: &config::Embedded, consumers: Consumers) -> queue::Settings {
    queue::Settings {
        path: settings.path.clone(),
        durability: match settings.durability {
            config::Durability::Process => Durability::Process,
            config::Durability::Fsync => Durability::Fsync,
        },
        max_bytes: settings.max_bytes,
        when_stalled: match (settings.answers_within(), settings.when_full) {
            (None, _) => WhenStalled::Wait,
            // A client that is told that its messages are refused would send them again.
            (Some(within), config::WhenFull::Refuse) => WhenStalled::RefuseWithin(within),
            (Some(within), _) => WhenStalled::AnswerWithin(within),
        },
        drops_oldest: settings.when_full == config::WhenFull::DropOldest,
        lease: settings.lease,
        max_dead_letters: settings.max_dead_letters as u64,
        max_message_bytes: settings.max_message_bytes,
        consumers,
    }
}

/// The names of leases, by which the queue knows them.
fn names(leases: Vec<LeaseId>) -> Vec<String> {
    leases.into_iter().map(|lease| lease.0).collect()
}

/// A dead letter about one of a lease's messages, as the queue stores it.
fn stored(about: &DeadLetter, messages: &[Vec<u8>]) -> Letter {
    // Names and reasons are text, which always has a JSON form.
    let refused = serde_json::to_string(&about.refused).unwrap_or_default();
    let payload = messages.get(about.message).cloned().unwrap_or_default();
    Letter { payload, reason: about.reason.clone(), refused, origin: None, consumer: None }
}

impl From<LeaseEnd> for Settlement {
    fn from(end: LeaseEnd) -> Self {
        match end {
            LeaseEnd::Settled { parked } => Self::Completed { parked },
            LeaseEnd::Released => Self::Released,
            LeaseEnd::Expired => Self::Lost,
        }
    }
}
