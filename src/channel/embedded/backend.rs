//! The queue as the listener serves it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::errors::remedy;
use crate::{
    listener::{Backend, BackendError, ConsumerStatus, End, PushError, QueueStatus},
    plural::{count, either},
    queue::{self, ConsumerSettings, ConsumerStats, Letter, Origin, Pending, Problem, Region, Stalled, Stats, Store, StoreError},
};

/// For how long numbers hold that the file was asked for: clients that ask for them over and over must not keep its reader
/// from its work.
const RECENT: Duration = Duration::from_secs(1);

/// A queue, and what it said of itself lately.
#[derive(Debug)]
pub(super) struct QueueBackend {
    store: Arc<Store>,
    recent: Mutex<Option<(Instant, Stats)>>,
}

impl QueueBackend {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store, recent: Mutex::default() }
    }
}

#[async_trait]
impl Backend for QueueBackend {
    async fn push(&self, end: End, messages: Vec<Bytes>) -> Result<u64, PushError> {
        let region = match end {
            End::Newest => Region::Newest,
            End::Oldest => Region::Oldest,
        };
        Ok(self.store.push(region, messages).await?)
    }

    fn when_stalled(&self, hook: Arc<dyn Fn(Stalled) + Send + Sync>) -> bool {
        self.store.when_stalled(hook)
    }

    fn drop_newest(&self, messages: u64) {
        self.store.drop_newest(messages);
    }

    fn take_answered_early(&self) -> u64 {
        self.store.take_answered_early()
    }

    fn answered_early(&self) -> (u64, u64) {
        self.store.answered_early()
    }

    fn take_dropped_oldest(&self) -> u64 {
        self.store.take_dropped_oldest()
    }

    async fn length(&self) -> Result<u64, BackendError> {
        Ok(self.store.length()?)
    }

    async fn range(&self, start: i64, stop: i64) -> Result<Vec<Bytes>, BackendError> {
        Ok(self.store.range(start, stop).await?)
    }

    async fn status(&self) -> Result<QueueStatus, BackendError> {
        // Which opens it, if it is not.
        self.store.length()?;
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stats = match recent.filter(|(when, _)| when.elapsed() < RECENT) {
            Some((_, stats)) => Stats { pending: self.store.pending().unwrap_or_default(), ..stats },
            None => {
                let stats = self.store.stats().await?;
                *self.recent.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), stats.clone()));
                stats
            }
        };
        Ok(status(stats, &self.store))
    }

    async fn clear(&self) -> Result<bool, BackendError> {
        Ok(self.store.clear().await?)
    }

    async fn letter_after(&self, id: i64) -> Result<Option<Vec<Vec<u8>>>, BackendError> {
        Ok(self.store.letter_after(id).await?.map(|(id, letter)| fields(id, letter)))
    }

    async fn take_out_letter(&self, id: i64, time: String, replay: bool) -> Result<bool, BackendError> {
        self.store.take_out_letter(id, time, replay).await.map_err(|why| match why.into() {
            PushError::Full => BackendError("the queue is full: the message would have no room in it".to_owned()),
            PushError::Failed { why, .. } => BackendError(why),
        })
    }
}

/// A dead letter as an entry of a Redis stream has it.
fn fields(id: i64, letter: Letter) -> Vec<Vec<u8>> {
    let Letter { payload, reason, refused, origin, consumer } = letter;
    let (time, agent) = origin.map(|Origin { time, agent }| (time, agent)).unwrap_or_default();
    let mut fields = vec![id.to_string().into_bytes(), b"payload".to_vec(), payload];
    let consumer = consumer.map(|consumer| ("publisher", consumer));
    for (name, value) in [("reason", reason), ("refused", refused), ("agent", agent), ("time", time)].into_iter().chain(consumer)
    {
        fields.extend([name.into(), value.into_bytes()]);
    }
    fields
}

/// How a queue is now.
pub(super) fn status(stats: Stats, store: &Store) -> QueueStatus {
    let Pending { messages, leased, oldest } = stats.pending;
    QueueStatus {
        waiting: messages,
        in_hand: leased,
        age: oldest,
        used: stats.used_bytes,
        max_bytes: store.settings().max_bytes,
        outlook: stats.outlook,
        dead: stats.dead_letters,
        max_dead_letters: store.settings().max_dead_letters,
        damaged: stats.unreadable,
        unsafe_because: unsafe_because(&stats),
        broken: is_damaged(&stats),
        consumers: consumers(store),
    }
}

/// How it stands with each consumer now, where there are several.
fn consumers(store: &Store) -> Vec<ConsumerStatus> {
    let status = |ConsumerStats { name, settings, pending, dropped }| ConsumerStatus {
        name,
        removed: settings.is_none(),
        waiting: pending.messages,
        in_hand: pending.leased,
        age: pending.oldest,
        dropped,
        max_backlog: settings.as_ref().and_then(|settings: &ConsumerSettings| settings.max_backlog),
        required: settings.is_some_and(|settings| settings.required) && !store.settings().drops_oldest,
    };
    store.consumers().into_iter().map(status).collect()
}

fn is_damaged(stats: &Stats) -> bool {
    matches!(&stats.refusing, Some(queue::PushError::Failed(StoreError { problem: Problem::Damaged { .. }, .. })))
}

/// Why nothing more is queued, and what to do about it.
fn unsafe_because(stats: &Stats) -> Option<(String, String)> {
    let (queue::PushError::Failed(error) | queue::PushError::Unsynced(error)) = stats.refusing.as_ref()? else { return None };
    let mut what = error.to_string();
    if is_damaged(stats) && stats.unreadable > 0 {
        what += &format!("; {} cannot be read", count(stats.unreadable, "message"));
    }
    if is_damaged(stats) && stats.unmarked > 0 {
        what += &format!(
            "; the next start publishes {} again, since the file did not take the mark that {} done",
            count(stats.unmarked, "message"),
            either(stats.unmarked, "it is", "they are")
        );
    }
    Some((what, remedy(error)))
}
