//! The queue in a file.
//!
//! All pushes that wait are one commit, and their messages one row, a *chunk*: [`body`] is its bytes. [`mod@file`] is what SQLite
//! keeps: chunks, which of their messages are done, dead letters. What waits and what is leased is in memory, on the
//! [`shelf`], as few [`spans`] of places; since only this process has the file, everything that is not done waits again
//! when it is opened anew. Three threads are [`running`], each with a connection of its own: the [`writer`]'s, the [`reader`]'s, and the
//! [`keeper`]'s of the log. A usual push wakes none of them: it is committed at the writer's [`desk`] by whoever brings it.

mod accepted;
mod answers;
mod body;
mod damage;
mod desk;
mod erasing;
mod errors;
mod extent;
mod file;
mod inbox;
mod keeper;
mod letters;
mod packing;
mod reader;
mod reserve;
mod running;
mod settlement;
mod shelf;
mod spans;
mod standing;
mod stepping;
mod transaction;
mod vicinity;
mod writer;

use std::{
    path::PathBuf,
    sync::{Mutex, OnceLock, PoisonError},
    thread::{self},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use self::{
    answers::Push,
    errors::Trouble,
    reader::{Question, Taken},
    running::{Running, Shared},
    settlement::Settlement,
    shelf::{GivenBack, Region},
    writer::{Import, Job},
};
use crate::listener::{Backend, BackendError, Cause, End, PushError, Standing};
use crate::{
    channel::{self, Accepted, Backlog, ChannelError, Demand, LeaseId},
    config::{self, Durability},
};

pub(crate) use self::{damage::KnownDamage, file::is_in_use, letters::Letter, reader::Stand};

/// How soon opening is tried again at most, of a file that could not be opened for want of room.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// A queue in a file, which is opened by [`Store::open`] and not before. Where its disk has no room for that, it is opened by
/// whoever next wants something of it when there is some.
#[derive(Debug)]
pub(crate) struct Store {
    settings: config::Embedded,
    agent: String,
    running: OnceLock<Running>,
    opening: Mutex<Option<Held>>,
    /// How it stood lately: whoever asks for that over and over must not keep the reader from its work.
    lately: Mutex<Option<(Instant, Standing)>>,
}

/// Why the file could not be opened.
#[derive(Debug)]
struct Held {
    trouble: Trouble,
    /// When to try it again.
    again: Instant,
}

impl Held {
    fn new(trouble: Trouble) -> Self {
        Self { trouble, again: Instant::now() + OPEN_AGAIN }
    }
}

impl Store {
    pub(crate) fn new(settings: &config::Embedded, agent: &str) -> Self {
        Self {
            settings: settings.clone(),
            agent: agent.to_owned(),
            running: OnceLock::new(),
            opening: Mutex::default(),
            lately: Mutex::default(),
        }
    }

    /// Opens the file, once. Returns where it is and how many messages wait; `None` when there is no room to open it, so that
    /// everything is refused until there is.
    pub(crate) fn open(&self) -> Result<(PathBuf, Option<u64>), ChannelError> {
        let mut held = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if self.running.get().is_none() {
            match Running::start(&self.settings, &self.agent) {
                // It was empty, and nobody else fills it.
                Ok(running) => drop(self.running.set(running)),
                Err(trouble) => {
                    let trouble = trouble.for_want_of_room(&self.settings.path).map_err(Trouble::unusable)?;
                    *held = Some(Held::new(trouble));
                }
            }
        }
        Ok(match self.running.get() {
            Some(Running { shared, .. }) => (shared.path.clone(), Some(shared.shelf().messages())),
            None => (self.settings.path.clone(), None),
        })
    }

    /// Tries again to open a file for which there was no room.
    fn open_again(&self) -> Result<(), Trouble> {
        let mut held = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if self.running.get().is_some() {
            return Ok(());
        }
        match &*held {
            None => {
                let what = format!("the queue in {} is not open", self.settings.path.display());
                Err(Trouble::new(what, "see what the log says of it"))
            }
            Some(Held { trouble, again }) if Instant::now() < *again => Err(trouble.clone()),
            Some(_) => match Running::start(&self.settings, &self.agent) {
                Ok(running) => {
                    drop(self.running.set(running));
                    Ok(())
                }
                Err(trouble) => {
                    let trouble = trouble.for_want_of_room(&self.settings.path).unwrap_or_else(|other| other);
                    *held = Some(Held::new(trouble.clone()));
                    Err(trouble)
                }
            },
        }
    }

    fn running(&self) -> Result<&Running, Trouble> {
        if let Some(running) = self.running.get() {
            return Ok(running);
        }
        self.open_again()?;
        self.running.get().ok_or_else(|| self.fault())
    }

    fn shared(&self) -> Result<&Shared, ChannelError> {
        Ok(&self.running().map_err(Trouble::refused)?.shared)
    }

    /// The answer of a thread. A fault in it has taken the question with it.
    fn answered<T>(&self, answer: Result<Result<T, Trouble>, oneshot::error::RecvError>) -> Result<T, Trouble> {
        answer.unwrap_or_else(|_| Err(self.fault()))
    }

    fn fault(&self) -> Trouble {
        let what = format!("a fault in the agent itself interrupted the work on {}", self.settings.path.display());
        Trouble::new(what, "report what the log says before this, as it is a bug").by(Cause::Fault)
    }

    /// The writer's answer to whoever brings messages.
    fn taken_in<T>(&self, answer: Result<Result<T, PushError>, oneshot::error::RecvError>) -> Result<T, PushError> {
        self.answered(answer.map(Ok)).map_err(Trouble::push_error)?
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<Result<T, Trouble>>) -> Question) -> Result<T, Trouble> {
        let (answer, answered) = oneshot::channel();
        self.running()?.shared.reader.put(question(answer));
        self.answered(answered.await)
    }

    pub(crate) async fn add(&self, region: End, messages: Vec<Bytes>) -> Result<u64, PushError> {
        self.queue(if region == End::Newest { Region::Newest } else { Region::Oldest }, messages).await
    }

    /// Queues messages before all others, to be leased as adopted ones. The oldest comes first.
    pub(crate) async fn adopt(&self, messages: Vec<Bytes>) -> Result<u64, PushError> {
        self.queue(Region::Adopted, messages).await
    }

    /// The file's own name, for those who move messages into it.
    pub(crate) fn identity(&self) -> Result<&str, ChannelError> {
        Ok(&self.shared()?.identity)
    }

    /// Stores what is known elsewhere under a name, unless it is here. Returns whether it was new.
    pub(crate) async fn import(
        &self,
        name: &str,
        adopted: bool,
        messages: Vec<Bytes>,
        letters: Vec<Letter>,
    ) -> Result<bool, PushError> {
        let running = self.running().map_err(Trouble::push_error)?;
        let region = if adopted { Region::Adopted } else { Region::Newest };
        let (answer, answered) = oneshot::channel();
        running.shared.writer.put(Job::Import(Import { name: name.to_owned(), region, messages, letters, answer }));
        self.taken_in(answered.await)
    }

    /// Forgets names under which something was imported, once it is gone where it came from.
    pub(crate) async fn forget_imports(&self, names: Vec<String>) -> Result<(), ChannelError> {
        let (answer, answered) = oneshot::channel();
        self.running().map_err(Trouble::refused)?.shared.writer.put(Job::ForgetImports(names, answer));
        self.answered(answered.await).map_err(Trouble::refused)
    }

    /// Moves all that was committed into the file itself, on the disk.
    pub(crate) async fn rest(&self) -> Result<(), ChannelError> {
        let (answer, answered) = oneshot::channel();
        let Some(running) = self.running.get() else { return Ok(()) };
        running.shared.writer.put(Job::Rest(answer));
        self.answered(answered.await).map_err(Trouble::refused)
    }

    async fn queue(&self, region: Region, messages: Vec<Bytes>) -> Result<u64, PushError> {
        let running = self.running().map_err(Trouble::push_error)?;
        let largest = self.settings.max_message_bytes;
        if messages.iter().any(|message| message.len() > largest) {
            let why = format!("a message is larger than channel.embedded.max_message_bytes, {largest} bytes");
            return Err(PushError::Failed { cause: Cause::TooLarge, why });
        }
        if messages.is_empty() {
            return Ok(running.shared.shelf().messages());
        }
        let (answer, answered) = oneshot::channel();
        let push = Push { region, messages, from: thread::current().id(), answer };
        match self.settings.durability {
            Durability::Process => desk::push(&running.shared, push).await,
            Durability::Fsync => running.shared.writer.put(Job::Push(push)),
        }
        self.taken_in(answered.await).map(|stored| stored.length)
    }

    /// See [`crate::channel::Channel::receive`]; the lease is known under this name afterwards.
    pub(crate) async fn take(&self, id: &LeaseId, demand: Demand, wait: Duration) -> Result<Option<Taken>, ChannelError> {
        let shared = self.shared()?;
        let until = tokio::time::Instant::now() + wait;
        loop {
            // From here on no arrival is missed, whether it comes before or after the wait has begun.
            let arrived = shared.arrived.notified();
            if shared.shelf().is_waiting() {
                let lease = self.settings.lease;
                let taken = self.ask(|answer| Question::Take { id: id.clone(), demand, lease, answer }).await;
                if let Some(taken) = taken.map_err(Trouble::refused)? {
                    return Ok(Some(taken));
                }
            }
            if tokio::time::timeout_at(until, arrived).await.is_err() {
                return Ok(None);
            }
        }
    }

    /// How many messages were set aside, since their chunk is damaged, since this was asked last.
    pub(crate) fn take_set_aside(&self) -> u64 {
        self.running.get().map_or(0, |running| running.shared.damage.take_set_aside())
    }

    /// What is known of damage to the file.
    pub(crate) fn damage(&self) -> KnownDamage {
        self.running.get().map(|running| running.shared.damage.known()).unwrap_or_default()
    }

    /// Settles leases; how each ended is to be heard with [`Store::hear`] then. Returns how many dead letters were dropped.
    pub(crate) async fn settle(&self, leases: Vec<(LeaseId, Vec<Letter>)>) -> Result<u64, ChannelError> {
        let running = self.running().map_err(Trouble::refused)?;
        let mut settlement = Settlement::new(&running.shared);
        for (id, mut letters) in leases {
            // An attempt that was given up is still under way.
            while !settlement.begin(&id, &mut letters) {
                self.flush().await?;
            }
        }
        let (answer, answered) = oneshot::channel();
        running.shared.writer.put(Job::Settle(settlement, answer));
        self.answered(answered.await).map_err(Trouble::refused)
    }

    /// Waits for all that the writer was asked before.
    async fn flush(&self) -> Result<(), ChannelError> {
        let (answer, answered) = oneshot::channel();
        self.running().map_err(Trouble::refused)?.shared.writer.put(Job::Flush(answer));
        self.answered(answered.await.map(Ok)).map_err(Trouble::refused)
    }

    pub(crate) fn hear(&self, id: &LeaseId) -> Option<channel::Settlement> {
        self.running.get()?.shared.shelf().hear(id)
    }

    /// Gives a lease back, unless it has ended. Returns how it ended, `None` when nobody knows it, and how many messages wait
    /// again.
    pub(crate) async fn give_back(&self, id: &LeaseId) -> Result<(Option<channel::Settlement>, u64), ChannelError> {
        // What could not be opened has leased nothing.
        let Some(running) = self.running.get() else { return Ok((None, 0)) };
        loop {
            let given_back = running.shared.shelf().give_back(id);
            match given_back {
                GivenBack::Released(messages) => {
                    running.shared.arrived.notify_waiters();
                    return Ok((Some(channel::Settlement::Released), messages));
                }
                GivenBack::Ended(how) => return Ok((Some(how), 0)),
                GivenBack::Unknown => return Ok((None, 0)),
                GivenBack::Settling => self.flush().await?,
            }
        }
    }

    pub(crate) fn renew(&self, ids: Vec<LeaseId>) -> Result<Vec<LeaseId>, ChannelError> {
        Ok(self.shared()?.shelf().renew(ids, Instant::now() + self.settings.lease))
    }

    /// Takes back what has expired and is not among `live`. Returns how many messages.
    pub(crate) fn expire(&self, live: &[LeaseId]) -> Result<u64, ChannelError> {
        let shared = self.shared()?;
        let messages = shared.shelf().expire(live, Instant::now());
        if messages > 0 {
            shared.arrived.notify_waiters();
        }
        Ok(messages)
    }

    /// How many messages wait for a lease, and how many leases there are.
    pub(crate) fn counts(&self) -> Result<(u64, u64), ChannelError> {
        let shelf = self.shared()?.shelf();
        Ok((shelf.messages(), shelf.leases() as u64))
    }

    /// What waits, leased or not; `None` while the file is not open.
    pub(crate) fn backlog(&self) -> Option<Backlog> {
        Some(self.running.get()?.shared.shelf().backlog(Instant::now()))
    }

    /// What has become of all that was accepted, with how many were published and parked.
    pub(crate) fn tally(&self) -> (Accepted, u64, u64) {
        self.running.get().map(|running| running.shared.shelf().tally()).unwrap_or_default()
    }

    pub(crate) fn settings(&self) -> &config::Embedded {
        &self.settings
    }
}

#[async_trait]
impl Backend for Store {
    async fn push(&self, end: End, messages: Vec<Bytes>) -> Result<u64, PushError> {
        self.add(end, messages).await
    }

    async fn length(&self) -> Result<u64, BackendError> {
        let running = self.running().map_err(|why| BackendError(why.sentence()))?;
        Ok(running.shared.shelf().messages())
    }

    async fn range(&self, start: i64, stop: i64) -> Result<Vec<Bytes>, BackendError> {
        let range = self.ask(|answer| Question::Range { start, stop, answer }).await;
        range.map_err(|why| BackendError(why.sentence()))
    }

    async fn standing(&self) -> Result<Standing, BackendError> {
        self.standing_lately().await
    }

    async fn clear(&self) -> Result<bool, BackendError> {
        let (answer, answered) = oneshot::channel();
        self.running().map_err(|why| BackendError(why.sentence()))?.shared.writer.put(Job::Clear(answer));
        self.answered(answered.await).map_err(|why| BackendError(why.sentence()))
    }
}

#[cfg(test)]
impl Store {
    /// One in a file of this folder, with the default settings.
    fn open_in(folder: &std::path::Path) -> Self {
        let path = folder.join("q.db").display().to_string();
        let variables = [("KADABRA_CHANNEL__TYPE", "embedded"), ("KADABRA_CHANNEL__EMBEDDED__PATH", path.as_str())];
        let loaded = config::load_or(std::path::Path::new("/nonexistent"), None, variables).unwrap();
        let config::Channel::Embedded(settings) = loaded.settings.channel else { panic!("another channel") };
        let store = Self::new(&settings, "here");
        store.open().unwrap();
        store
    }
}
