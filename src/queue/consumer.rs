//! The queue as one of its consumers has it: messages are leased and settled by each for itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    errors::StoreError,
    letters::Letter,
    reader::{Question, TakeLimit, Taken},
    settings::{ConsumerSettings, Consumers},
    settlement::Settlement,
    state::{GivenBack, LeaseEnd},
    stats::{Pending, Stats, Tally},
    store::Store,
    writer::Job,
};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    store: Arc<Store>,
    place: usize,
}

impl Consumer {
    /// The consumer at this place in [`Consumers::Named`]; at place 0 also the only one.
    pub(crate) fn new(store: &Arc<Store>, place: usize) -> Self {
        Self { store: Arc::clone(store), place }
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    fn settings(&self) -> Option<&ConsumerSettings> {
        match &self.store.settings().consumers {
            Consumers::Named(consumers) => consumers.get(self.place),
            Consumers::TheOnly | Consumers::AsFound => None,
        }
    }

    /// Its name, where there are several.
    pub(crate) fn name(&self) -> Option<&str> {
        self.settings().map(|settings| settings.name.as_str())
    }

    /// How many messages wait for a lease.
    pub(crate) fn length(&self) -> Result<u64, StoreError> {
        Ok(self.store.shared()?.state().of(self.place).messages())
    }

    /// Leases the oldest messages, and waits up to `wait` for the first one; the lease is known under this name afterwards. Before
    /// `not_before` only if there are as many as it may have.
    pub(crate) async fn take(
        &self,
        lease: &str,
        limit: TakeLimit,
        not_before: Option<tokio::time::Instant>,
        wait: Duration,
    ) -> Result<Option<Taken>, StoreError> {
        use tokio::time::Instant;
        let shared = self.store.shared()?;
        let until = Instant::now() + wait;
        loop {
            let begins = not_before.filter(|at| *at > Instant::now());
            let enough = begins.map_or(1, |_| limit.messages as u64);
            // From here on no arrival is missed, whether it comes before or after the wait has begun.
            let arrived = shared.arrived.notified();
            if shared.state().of_mut(self.place).has_or_awaits(enough) {
                let taken = self
                    .store
                    .ask(|answer| Question::Take { consumer: self.place, lease: lease.to_owned(), limit, answer })
                    .await;
                if let Some(taken) = taken? {
                    return Ok(Some(taken));
                }
            }
            let wakes = begins.map_or(until, |begins| begins.min(until));
            if tokio::time::timeout_at(wakes, arrived).await.is_err() && wakes == until {
                return Ok(None);
            }
        }
    }

    /// The oldest messages that wait for a lease, left where they are; the one that passes the bytes is the last.
    pub(crate) async fn peek(&self, limit: TakeLimit) -> Result<Vec<Vec<u8>>, StoreError> {
        self.store.ask(|answer| Question::Peek { consumer: self.place, limit, answer }).await
    }

    /// How many messages turned out to be unreadable since this was asked last.
    pub(crate) fn take_unreadable(&self) -> u64 {
        self.store.running.get().map_or(0, |running| running.shared.damage.take_unreadable(self.place))
    }

    /// Settles leases; how each ended is to be heard with [`Consumer::hear`] then. Returns how many dead letters were dropped.
    pub(crate) async fn settle(&self, leases: Vec<(String, Vec<Letter>)>) -> Result<u64, StoreError> {
        let mut settlement = Settlement::new(&self.store.running()?.shared, self.place);
        for (id, mut letters) in leases {
            letters.iter_mut().for_each(|letter| letter.consumer = self.name().map(ToOwned::to_owned));
            // An attempt that was given up is still under way.
            while !settlement.begin(&id, &mut letters) {
                self.store.flush().await?;
            }
        }
        self.store.order(|answer| Job::Settle(settlement, answer)).await
    }

    /// How a lease ended; that is forgotten by this.
    pub(crate) fn hear(&self, lease: &str) -> Option<LeaseEnd> {
        self.store.running.get()?.shared.state().of_mut(self.place).hear(lease)
    }

    /// Gives a lease back, unless it has ended. Returns how it ended, `None` when it is unknown, and how many messages wait
    /// again.
    pub(crate) async fn give_back(&self, lease: &str) -> Result<(Option<LeaseEnd>, u64), StoreError> {
        // What could not be opened has leased nothing.
        let Some(running) = self.store.running.get() else { return Ok((None, 0)) };
        loop {
            let given_back = running.shared.state().of_mut(self.place).give_back(lease);
            match given_back {
                GivenBack::Released(messages) => {
                    running.shared.arrived.notify_waiters();
                    return Ok((Some(LeaseEnd::Released), messages));
                }
                GivenBack::Ended(how) => return Ok((Some(how), 0)),
                GivenBack::Unknown => return Ok((None, 0)),
                GivenBack::Settling => self.store.flush().await?,
            }
        }
    }

    /// Renews leases. Returns those that have ended.
    pub(crate) fn renew(&self, leases: Vec<String>) -> Result<Vec<String>, StoreError> {
        Ok(self.store.shared()?.state().of_mut(self.place).renew(leases, Instant::now() + self.store.settings().lease))
    }

    /// Takes back what has expired and is not among `live`. Returns how many messages.
    pub(crate) fn expire(&self, live: &[String]) -> Result<u64, StoreError> {
        let shared = self.store.shared()?;
        let messages = shared.state().of_mut(self.place).expire(live, Instant::now());
        if messages > 0 {
            shared.arrived.notify_waiters();
        }
        Ok(messages)
    }

    /// How many leases there are.
    pub(crate) fn leases(&self) -> Result<u64, StoreError> {
        Ok(self.store.shared()?.state().of(self.place).leases() as u64)
    }

    /// What waits, leased or not; `None` while the file is not open.
    pub(crate) fn pending(&self) -> Option<Pending> {
        Some(self.store.running.get()?.shared.state().pending(self.place, Instant::now()))
    }

    /// What has become of all that was accepted.
    pub(crate) fn tally(&self) -> Tally {
        let tally = self.store.running.get().map(|running| running.shared.state().of(self.place).tally()).unwrap_or_default();
        let dropped = self.store.dropped_newest();
        Tally { stored: tally.stored + dropped, dropped: tally.dropped + dropped, ..tally }
    }

    /// How the queue is for this one. This asks the file, unlike the other numbers.
    pub(crate) async fn stats(&self) -> Result<Stats, StoreError> {
        let name = self.name().map(ToOwned::to_owned);
        let (dead_letters, used_bytes) = self.store.ask(|answer| Question::Stats { of: name, answer }).await?;
        let shared = self.store.shared()?;
        let (unreadable, unmarked) = shared.damage.counts(self.place);
        let pending = self.pending().unwrap_or_default();
        let outlook = self.store.find_outlook(used_bytes);
        Ok(Stats { pending, used_bytes, outlook, dead_letters, unreadable, unmarked, refusing: self.store.refusing() })
    }
}
