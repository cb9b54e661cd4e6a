//! The channel that needs no server: the agent keeps the queue itself, in a file, and clients push to the agent.
//!
//! It keeps the contract of [`super::redis`]. A message is on disk from the answer to its push until it is completed or a
//! dead letter. A lease is a note in memory, so that taking and giving back cost nothing; the file belongs to this process
//! alone, and when that dies everything that it had not completed waits again for the next. `store` is the queue; whoever
//! speaks with clients does it through [`Backend`].

mod gate;
pub(crate) mod pressure;
#[cfg(any(test, feature = "failpoints", feature = "fuzzing"))]
#[doc(hidden)]
pub use crate::listener::test_server;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use crate::listener::fuzz_resp;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use slog::Logger;

use self::gate::Gate;
use super::{
    Backlog, Channel, ChannelError, Completed, DeadLetter, Demand, Depth, Front, Lease, LeaseBook, LeaseId, Patience, Pressure,
    Recovered, Settlement, Tally, redis::StoredLetter,
};
pub use crate::listener::{Backend, BackendError, BindError, Cause, End, PushError, Standing};
use crate::{
    config,
    plural::messages_wait,
    queue::{self, Letter, Store},
};

/// A queue in a file as a channel.
#[derive(Debug)]
pub struct EmbeddedChannel {
    store: Arc<Store>,
    gate: Option<Arc<Gate>>,
    book: Arc<LeaseBook>,
    agent: String,
    /// What makes the names of its leases unique.
    random: u64,
    next: AtomicU64,
}

impl EmbeddedChannel {
    /// A channel whose file is not open yet, and which nobody can push to but by [`EmbeddedChannel::backend`]. `agent` goes
    /// into the leases' names and the dead letters.
    #[must_use]
    pub fn new(settings: &config::Embedded, agent: &str) -> Self {
        Self::of(Arc::new(Store::new(settings, agent)), agent)
    }

    /// The channel with its [`Channel::front`], where its settings name an address. What clients do is logged to `log`.
    #[must_use]
    pub fn with_front(self, log: &Logger) -> Self {
        let gate = Gate::new(self.store.settings(), self.backend(), log).map(Arc::new);
        Self { gate, ..self }
    }

    /// Another channel to the same queue, with a book of its own. Neither can do anything with the other's leases before
    /// they have expired.
    #[must_use]
    pub fn beside(&self, agent: &str) -> Self {
        Self::of(Arc::clone(&self.store), agent)
    }

    fn of(store: Arc<Store>, agent: &str) -> Self {
        Self {
            store,
            gate: None,
            book: Arc::default(),
            agent: agent.to_owned(),
            random: fastrand::u64(..),
            next: AtomicU64::new(0),
        }
    }

    /// Whether another process has the file now. Changes nothing.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        queue::is_in_use(&self.store.settings().path)
    }

    /// The queue, for whoever speaks with clients.
    #[must_use]
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::<Store>::clone(&self.store)
    }

    /// Queues messages that another agent has worked on before, to be leased before all others and as adopted ones. The
    /// oldest comes first.
    ///
    /// # Errors
    /// As [`Backend::push`].
    pub async fn adopt(&self, messages: Vec<Bytes>) -> Result<u64, PushError> {
        self.store.adopt(messages).await
    }

    /// What this queue is called by those who move messages into it, once it is open; no other has that name.
    ///
    /// # Errors
    /// When it is not open.
    pub fn identity(&self) -> Result<&str, ChannelError> {
        self.store.identity()
    }

    /// Queues messages that are known elsewhere under a name, once, however often they come: until
    /// [`EmbeddedChannel::forget_imports`]. Returns whether they are new.
    ///
    /// # Errors
    /// As [`Backend::push`].
    pub async fn import(&self, name: &str, adopted: bool, messages: Vec<Bytes>) -> Result<bool, PushError> {
        self.store.import(name, adopted, messages, Vec::new()).await
    }

    /// Keeps a dead letter that is known elsewhere under a name, once. Returns whether it is new.
    ///
    /// # Errors
    /// As [`Backend::push`]; [`PushError::Full`] also when others would be dropped for it.
    pub async fn import_letter(&self, name: &str, letter: StoredLetter) -> Result<bool, PushError> {
        self.store.import(name, false, Vec::new(), vec![letter.into()]).await
    }

    /// Forgets such names, once nothing is left elsewhere of what they mean. All others stay: an import from elsewhere, which
    /// was cut off, will ask for its own.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn forget_imports(&self, names: Vec<String>) -> Result<(), ChannelError> {
        self.store.forget_imports(names).await
    }

    fn new_lease(&self) -> LeaseId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        LeaseId(format!("{}:{:016x}-{number}", self.agent, self.random))
    }
}

#[async_trait]
impl Channel for EmbeddedChannel {
    fn book(&self) -> &Arc<LeaseBook> {
        &self.book
    }

    fn lease(&self) -> Duration {
        self.store.settings().lease
    }

    fn look_at_dead_letters(&self) -> String {
        pressure::look_at_dead_letters(&self.store.settings().path)
    }

    async fn open(&self) -> Result<String, ChannelError> {
        let (path, messages) = self.store.open()?;
        let path = path.display();
        let queue = match messages {
            Some(messages) => format!("the queue in {path}, where {}", messages_wait(messages)),
            None => format!("the queue in {path}, once its disk has room to open it"),
        };
        let Some(gate) = &self.gate else { return Ok(queue) };
        gate.bind()?;
        Ok(format!("clients at {} and {queue}", gate.addresses()))
    }

    async fn receive(&self, demand: Demand, wait: Duration) -> Result<Option<Lease>, ChannelError> {
        let mut lease = self.book.enter(self.new_lease());
        let id = lease.id().clone();
        let taken = self.store.take(&id, demand, wait).await;
        let damaged = self.store.take_set_aside();
        if damaged > 0 {
            self.book.set_aside(damaged);
            // They are not too large, as a Redis would have set aside; `pressure` tells of them.
            self.book.take_unsaid();
        }
        Ok(if let Some(taken) = taken? {
            lease.fill(taken.messages, taken.adopted);
            Some(lease)
        } else {
            lease.settle(Settlement::Released);
            None
        })
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
            (lease.id().clone(), letters.iter().map(|letter| Letter::new(letter, &lease.messages)).collect())
        };
        let settlements = leases.iter().map(settlement).collect();
        let letters_dropped = self.store.settle(settlements).await?;
        self.book.letters_dropped(letters_dropped);
        let mut completed = Completed { letters_dropped, ..Completed::default() };
        for lease in leases.drain(..) {
            let how = self.store.hear(lease.id()).unwrap_or(Settlement::Lost);
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
            let how = self.store.give_back(lease.id()).await?.0.unwrap_or(Settlement::Lost);
            if let Some(lease) = leases.pop() {
                lease.settle(how);
            }
        }
        Ok(())
    }

    async fn renew(&self) -> Result<(), ChannelError> {
        let live = self.book.live();
        if !live.is_empty() {
            self.book.strike(&self.store.renew(live)?);
        }
        Ok(())
    }

    async fn recover(&self) -> Result<Recovered, ChannelError> {
        let dropped = self.give_back().await?;
        // Late is not dead: what is in our hands is kept rather than published a second time.
        self.renew().await?;
        let expired = self.store.expire(&self.book.live())?;
        Ok(Recovered { dropped, expired: usize::try_from(expired).unwrap_or(usize::MAX), ..Recovered::default() })
    }

    async fn give_back(&self) -> Result<usize, ChannelError> {
        let mut messages = 0;
        // From the newest to the oldest, as the book finds them quickest.
        for id in self.book.dropped().into_iter().rev() {
            let (how, count) = self.store.give_back(&id).await?;
            messages += usize::try_from(count).unwrap_or(usize::MAX);
            // What was never leased is as good as given back.
            self.book.ended(&id, how.unwrap_or(Settlement::Released));
        }
        Ok(messages)
    }

    async fn depth(&self) -> Result<Depth, ChannelError> {
        let stand = self.store.stand().await?;
        let (queued, leases) = self.store.counts()?;
        let Backlog { in_hand: leased, age, .. } = self.store.backlog().unwrap_or_default();
        Ok(Depth { queued, leased, leases, dead: stand.dead, inprogress: 0, age })
    }

    fn tally(&self) -> Tally {
        let (accepted, published, parked) = self.store.tally();
        Tally { published, parked, accepted: Some(accepted), ..self.book.tally() }
    }

    fn backlog(&self) -> Option<Backlog> {
        self.store.backlog()
    }

    async fn rest(&self) -> Result<(), ChannelError> {
        self.store.rest().await
    }

    fn front(&self) -> Option<Arc<dyn Front>> {
        Some(Arc::<Gate>::clone(self.gate.as_ref()?))
    }

    async fn pressure(&self, patience: &Patience) -> Result<Pressure, ChannelError> {
        pressure::pressure(self, patience).await
    }
}
