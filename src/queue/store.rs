//! The queue as its callers know it: every method asks the threads or the memory, and none waits for the disk on the caller's
//! thread but for a push that is quick to commit.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    answers::Push,
    errors::{Problem, PushError, StoreError},
    group_commit,
    letters::Letter,
    outlook::{Growth, Outlook},
    reader::Question,
    region::Region,
    running::{Running, Shared},
    settings::{Durability, Settings, WhenStalled},
    stall::{Stall, Stalled, stalled},
    stats::{ConsumerStats, Pending, Stats},
    writer::{Import, Job, LetterOrder},
};

/// How soon opening is tried again at most, of a file that could not be opened for want of room.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// A queue in a file, which is opened by [`Store::open`] and not before. Where its disk has no room for that, it is opened by
/// the next call when there is some.
#[derive(Debug)]
pub(crate) struct Store {
    settings: Settings,
    agent: String,
    pub(super) running: OnceLock<Running>,
    opening: Mutex<Option<Held>>,
    pub(super) stall: Arc<Stall>,
    growth: Mutex<Growth>,
    /// The newest that was found out.
    outlook: Mutex<Option<Outlook>>,
    /// Messages that were dropped in place of being stored.
    dropped: Arc<AtomicU64>,
}

/// Why the file could not be opened.
#[derive(Debug)]
struct Held {
    error: StoreError,
    /// When to try it again.
    again: Instant,
}

impl Held {
    fn new(error: StoreError) -> Self {
        Self { error, again: Instant::now() + OPEN_AGAIN }
    }
}

impl Store {
    /// `agent` is whom dead letters name.
    pub(crate) fn new(settings: Settings, agent: &str) -> Self {
        let refuse_within = match settings.when_stalled {
            WhenStalled::RefuseWithin(within) if settings.durability == Durability::Process => Some(within),
            _ => None,
        };
        Self {
            stall: Arc::new(Stall::new(refuse_within)),
            settings,
            agent: agent.to_owned(),
            running: OnceLock::new(),
            opening: Mutex::default(),
            growth: Mutex::default(),
            outlook: Mutex::default(),
            dropped: Arc::default(),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Opens the file, once. Returns where it is and how many messages wait; `None` when there is no room to open it, so that
    /// everything is refused until there is.
    pub(crate) fn open(&self) -> Result<(PathBuf, Option<u64>), StoreError> {
        let mut held = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if self.running.get().is_none() {
            match Running::start(&self.settings, &self.agent, &self.stall) {
                // It was empty, and only this process fills it.
                Ok(running) => drop(self.running.set(running)),
                Err(error) => *held = Some(Held::new(error.for_want_of_room(&self.settings.path)?)),
            }
        }
        Ok(match self.running.get() {
            Some(Running { shared, .. }) => (shared.path.clone(), Some(shared.state().messages())),
            None => (self.settings.path.clone(), None),
        })
    }

    /// Tries again to open a file for which there was no room.
    fn open_again(&self) -> Result<(), StoreError> {
        let mut held = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if self.running.get().is_some() {
            return Ok(());
        }
        match &*held {
            None => Err(self.problem(Problem::NotOpen)),
            Some(Held { error, again }) if Instant::now() < *again => Err(error.clone()),
            Some(_) => match Running::start(&self.settings, &self.agent, &self.stall) {
                Ok(running) => {
                    drop(self.running.set(running));
                    Ok(())
                }
                Err(error) => {
                    let error = error.for_want_of_room(&self.settings.path).unwrap_or_else(|other| other);
                    *held = Some(Held::new(error.clone()));
                    Err(error)
                }
            },
        }
    }

    fn problem(&self, problem: Problem) -> StoreError {
        StoreError::new(&self.settings.path, problem)
    }

    pub(super) fn running(&self) -> Result<&Running, StoreError> {
        if let Some(running) = self.running.get() {
            return Ok(running);
        }
        self.open_again()?;
        self.running.get().ok_or_else(|| self.problem(Problem::Interrupted))
    }

    pub(super) fn shared(&self) -> Result<&Shared, StoreError> {
        Ok(&self.running()?.shared)
    }

    /// The answer of a thread. A fault in it has taken the question with it.
    async fn answer<T, E: From<StoreError>>(&self, answered: oneshot::Receiver<Result<T, E>>) -> Result<T, E> {
        answered.await.unwrap_or_else(|_| Err(self.problem(Problem::Interrupted).into()))
    }

    pub(super) async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Question,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.running()?.shared.reader.put(question(answer));
        self.answer(answered).await
    }

    pub(super) async fn order<T, E: From<StoreError>>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Job,
    ) -> Result<T, E> {
        let (answer, answered) = oneshot::channel();
        self.running()?.shared.writer.put(job(answer));
        self.answer(answered).await
    }

    /// Queues messages, all or none. Each may be a part of a larger buffer: what is kept is copied. Returns how many wait
    /// afterwards, once they are as safe as [`Settings::durability`] says.
    ///
    /// Once begun it is to be polled to its end or to be dropped: the answers of pushes from one thread may come with the
    /// first of them, so one that is kept without being polled may hold up the others.
    pub(crate) async fn push(&self, region: Region, messages: Vec<Bytes>) -> Result<u64, PushError> {
        let running = self.running()?;
        let limit = self.settings.max_message_bytes;
        if messages.iter().any(|message| message.len() > limit) {
            return Err(PushError::TooLarge { limit });
        }
        if messages.is_empty() {
            return Ok(running.shared.state().messages());
        }
        let (answer, answered) = oneshot::channel();
        let push = Push { region, messages, from: thread::current().id(), answer };
        let shared = &running.shared;
        match (self.settings.durability, self.settings.when_stalled) {
            (Durability::Fsync, _) => shared.writer.put(Job::Push(push)),
            (Durability::Process, WhenStalled::AnswerWithin(within)) => {
                return shared.early_answers.push(shared, push, answered, within, &self.dropped).await;
            }
            (Durability::Process, _) if self.stall.is_now() => return Err(stalled(shared)),
            (Durability::Process, _) => group_commit::push(shared, push).await,
        }
        self.answer(answered).await.map(|stored| stored.length)
    }

    /// Has this called from another thread, again and again while a write stalls, so that pushes that are part of it can be told so.
    /// Returns whether it ever will be.
    pub(crate) fn when_stalled(&self, hook: Arc<dyn Fn(Stalled) + Send + Sync>) -> bool {
        self.stall.when_stalled(hook)
    }

    /// Messages that could not be stored are dropped, though who pushed them is told that they were: they count as accepted and dropped.
    pub(crate) fn drop_newest(&self, messages: u64) {
        self.dropped.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn dropped_newest(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many messages were answered before they were stored, since this was asked last.
    pub(crate) fn take_answered_early(&self) -> u64 {
        self.running.get().map_or(0, |running| running.shared.early_answers.take_unreported())
    }

    /// How many messages that were answered so wait for the disk now, and how many could not be stored.
    pub(crate) fn answered_early(&self) -> (u64, u64) {
        self.running.get().map_or((0, 0), |running| running.shared.early_answers.messages())
    }

    /// How many of the oldest messages were dropped to make room since this was asked last.
    pub(crate) fn take_dropped_oldest(&self) -> u64 {
        self.running.get().map_or(0, |running| running.shared.dropped_oldest.swap(0, Ordering::Relaxed))
    }

    /// The file's own name, for those who move messages into it.
    pub(crate) fn identity(&self) -> Result<&str, StoreError> {
        Ok(&self.shared()?.identity)
    }

    /// Stores what is known elsewhere under a name, unless it is here. Returns whether it was new.
    pub(crate) async fn import(
        &self,
        name: &str,
        region: Region,
        messages: Vec<Bytes>,
        letters: Vec<Letter>,
    ) -> Result<bool, PushError> {
        self.order(|answer| Job::Import(Import { name: name.to_owned(), region, messages, letters, answer })).await
    }

    /// Forgets names under which something was imported, once it is gone where it came from.
    pub(crate) async fn forget_imports(&self, names: Vec<String>) -> Result<(), StoreError> {
        self.order(|answer| Job::ForgetImports(names, answer)).await
    }

    /// The first dead letter with a larger number than this, with its own.
    pub(crate) async fn letter_after(&self, id: i64) -> Result<Option<(i64, Letter)>, StoreError> {
        self.ask(|answer| Question::Letter { after: id, answer }).await
    }

    /// Takes a dead letter out, if it is still the one that was set aside at that time: to be queued anew, for the consumer that set
    /// it aside alone, or to be gone. Returns whether it was there.
    pub(crate) async fn take_out_letter(&self, id: i64, time: String, replay: bool) -> Result<bool, PushError> {
        self.order(|answer| Job::TakeOutLetter(LetterOrder { id, time, replay, answer })).await
    }

    /// Moves all that was committed into the file itself, on the disk.
    pub(crate) async fn rest(&self) -> Result<(), StoreError> {
        if self.running.get().is_some() { self.order(Job::Rest).await } else { Ok(()) }
    }

    /// How many messages wait for a lease, of the consumer for which the most do.
    pub(crate) fn length(&self) -> Result<u64, StoreError> {
        Ok(self.shared()?.state().messages())
    }

    /// That consumer's waiting messages between two places, both included: 0 is the newest, -1 the oldest.
    pub(crate) async fn range(&self, start: i64, stop: i64) -> Result<Vec<Bytes>, StoreError> {
        self.ask(|answer| Question::Range { start, stop, answer }).await
    }

    /// Deletes what waits for any consumer; what is leased and what was adopted stays. Returns whether there was anything.
    pub(crate) async fn clear(&self) -> Result<bool, StoreError> {
        self.order(Job::Clear).await
    }

    /// Waits for all that the writer was asked before.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        self.order(Job::Flush).await
    }

    /// How it stands with each consumer, where there are several.
    pub(crate) fn consumers(&self) -> Vec<ConsumerStats> {
        let mut consumers =
            self.running.get().map(|running| running.shared.state().consumers(Instant::now())).unwrap_or_default();
        consumers.iter_mut().for_each(|consumer| consumer.dropped += self.dropped_newest());
        consumers
    }

    /// What waits, leased or not, for the consumer for which the most does; `None` while the file is not open.
    pub(crate) fn pending(&self) -> Option<Pending> {
        Some(self.running.get()?.shared.state().most_pending(Instant::now()))
    }

    /// How the queue is for that consumer, with the dead letters of all. This asks the file, unlike the other numbers.
    pub(crate) async fn stats(&self) -> Result<Stats, StoreError> {
        let (dead_letters, used_bytes) = self.ask(|answer| Question::Stats { of: None, answer }).await?;
        let (unreadable, unmarked) = self.shared()?.damage.most_counts();
        let pending = self.pending().unwrap_or_default();
        let outlook = self.find_outlook(used_bytes);
        Ok(Stats { pending, used_bytes, outlook, dead_letters, unreadable, unmarked, refusing: self.refusing() })
    }

    /// How long the room lasts when so many bytes are in use now.
    pub(super) fn find_outlook(&self, used_bytes: u64) -> Option<Outlook> {
        let mut growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let outlook = growth.outlook(used_bytes, self.settings.max_bytes, Instant::now());
        *self.outlook.lock().unwrap_or_else(PoisonError::into_inner) = outlook;
        outlook
    }

    /// How long the room lasts, as it was found out last: this asks no file.
    pub(crate) fn outlook(&self) -> Option<Outlook> {
        *self.outlook.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why pushes are refused, unless it is for want of room.
    pub(crate) fn refusing(&self) -> Option<PushError> {
        self.running.get()?.shared.refusing()
    }
}

#[cfg(test)]
impl Store {
    /// One in a file of this folder.
    pub(super) fn open_in(folder: &std::path::Path) -> Self {
        Self::open_with(folder, |_| ())
    }

    pub(super) fn open_with(folder: &std::path::Path, set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            path: folder.join("q.db"),
            durability: Durability::Process,
            max_bytes: 1 << 30,
            drops_oldest: false,
            when_stalled: WhenStalled::Wait,
            lease: Duration::from_secs(60),
            max_dead_letters: 10_000,
            max_message_bytes: 4 << 20,
            consumers: super::Consumers::TheOnly,
        };
        set(&mut settings);
        let store = Self::new(settings, "here");
        store.open().unwrap();
        store
    }
}
