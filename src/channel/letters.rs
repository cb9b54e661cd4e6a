//! The dead letters of a queue, wherever it keeps them: looked at one after the other, each queued anew or deleted by its id, beside all
//! else that an agent does with the queue.
//!
//! An id is the number in a queue's file; in a Redis it is that of the stream, behind the names of the queue and of the publisher whose
//! stream that is, where there are several: `name/1700000000000-0`, `queue/1700000000000-0` or `queue/name/1700000000000-0`.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::join_all;

use super::{
    ChannelError,
    embedded::{Backend, BackendError},
    redis::{LetterStream, RedisChannel, StoredLetter},
};
use crate::config;

/// See the module.
pub(crate) enum Letters {
    /// Those of each queue.
    Redis(Vec<OfQueue>),
    /// An agent that has the file, as its clients reach it.
    Agent(Box<RedisChannel>),
    /// A file that this process has open.
    Queue(Arc<dyn Backend>),
}

/// Those of one queue in a Redis.
pub(crate) struct OfQueue {
    queue: String,
    /// Of the queue itself, and of each publisher that it has had; none where it cannot be asked which these are.
    pub(crate) streams: Vec<LetterStream>,
    /// Why it was left out, if it was.
    unread: Mutex<Option<ChannelError>>,
}

impl OfQueue {
    async fn open(redis: &config::Redis, queue: &str) -> Self {
        let streams = RedisChannel::letter_streams(redis, queue, redis.queue_key.are_several()).await;
        let (streams, unread) = streams.map_or_else(|error| (Vec::new(), Some(error)), |streams| (streams, None));
        Self { queue: queue.to_owned(), streams, unread: Mutex::new(unread) }
    }

    fn unread(&self) -> MutexGuard<'_, Option<ChannelError>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a stream of that name would be one of this queue's.
    fn has(&self, stream: &str) -> bool {
        stream.strip_prefix(&self.queue).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// What is to be done with a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LetterAct {
    /// To queue it anew for the publisher that set it aside.
    Replay,
    /// To delete it.
    Discard,
}

impl Letters {
    /// Those in a Redis, of every queue and of every publisher that it has had; on connections of their own.
    ///
    /// # Errors
    /// When it cannot be reached or refuses it, and that is so of every queue.
    pub(crate) async fn of_redis(redis: &config::Redis) -> Result<Self, ChannelError> {
        // A letter may have been set aside since it is larger than is allowed now.
        let redis = config::Redis { max_message_bytes: config::LARGEST_MESSAGE, ..redis.clone() };
        let queues = join_all(redis.queue_key.all().map(|queue| OfQueue::open(&redis, queue))).await;
        match queues.first().and_then(|first| first.unread().clone()) {
            Some(error) if queues.iter().all(|queue| queue.unread().is_some()) => Err(error),
            _ => Ok(Self::Redis(queues)),
        }
    }

    /// The queues, of several, whose dead letters were not all found since they could not be used, and why not.
    pub(crate) fn left_out(&self) -> Vec<(String, ChannelError)> {
        let Self::Redis(queues) = self else { return Vec::new() };
        queues.iter().filter_map(|queue| Some((queue.queue.clone(), queue.unread().clone()?))).collect()
    }

    /// The first dead letter behind the one with that id, or the very first. Of several queues, one that cannot be used is left out.
    ///
    /// # Errors
    /// When what has them cannot be reached or refuses it.
    pub(crate) async fn after(&self, id: Option<&str>) -> Result<Option<StoredLetter>, ChannelError> {
        let Self::Redis(queues) = self else {
            let number = id.map_or(Some(i64::MIN), |id| id.parse().ok());
            return match number {
                Some(number) => self.after_number(number).await,
                None => Ok(None),
            };
        };
        let streams: Vec<_> = queues.iter().flat_map(|queue| queue.streams.iter().map(move |stream| (queue, stream))).collect();
        let (mut after, first) = match id {
            Some(id) => {
                let (name, id) = split(id);
                let first = streams.iter().position(|(_, stream)| stream.name.as_deref() == name);
                (Some(id), first.filter(|_| is_of_stream(id)).unwrap_or(streams.len()))
            }
            None => (None, 0),
        };
        for (queue, stream) in streams.into_iter().skip(first) {
            let after = after.take();
            if queue.unread().is_some() {
                continue;
            }
            match stream.channel.letter_after(after).await {
                Ok(Some(letter)) => return Ok(Some(of_stream(letter, stream))),
                Ok(None) => {}
                Err(error) if queues.len() > 1 => *queue.unread() = Some(error),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The dead letter with that id.
    ///
    /// # Errors
    /// As [`Letters::after`].
    pub(crate) async fn get(&self, id: &str) -> Result<Option<StoredLetter>, ChannelError> {
        let found = if let Self::Redis(_) = self {
            let Some((stream, id)) = self.stream_of(id)? else { return Ok(None) };
            stream.channel.letter_from(id).await?.map(|letter| of_stream(letter, stream))
        } else {
            let Some(before) = id.parse::<i64>().ok().and_then(|number| number.checked_sub(1)) else { return Ok(None) };
            self.after_number(before).await?
        };
        Ok(found.filter(|letter| letter.id == id))
    }

    /// Queues the dead letter anew for whom it was set aside, or deletes it, if it is still the one of that time: one step, done whole
    /// or not at all. Returns whether it was there.
    ///
    /// # Errors
    /// As [`Letters::after`], and when there is no room for it in the queue.
    pub(crate) async fn act(&self, act: LetterAct, id: &str, time: &str) -> Result<bool, ChannelError> {
        let replay = act == LetterAct::Replay;
        if let Some((LetterStream { channel, .. }, id)) = self.stream_of(id)? {
            return if replay { channel.replay_letter(id).await } else { channel.forget_letter(id).await };
        }
        let Ok(number) = id.parse() else { return Ok(false) };
        match self {
            Self::Redis(_) => Ok(false),
            Self::Agent(agent) => agent.agent_takes_out(number, time, replay).await,
            Self::Queue(queue) => queue.take_out_letter(number, time.to_owned(), replay).await.map_err(refused),
        }
    }

    async fn after_number(&self, number: i64) -> Result<Option<StoredLetter>, ChannelError> {
        match self {
            Self::Redis(_) => Ok(None),
            Self::Agent(agent) => agent.agents_letter_after(number).await,
            Self::Queue(queue) => {
                let letter = queue.letter_after(number).await.map_err(refused)?;
                Ok(letter.and_then(StoredLetter::of_fields))
            }
        }
    }

    fn stream_of<'a>(&self, id: &'a str) -> Result<Option<(&LetterStream, &'a str)>, ChannelError> {
        let Self::Redis(queues) = self else { return Ok(None) };
        let (name, id) = split(id);
        if let Some(stream) = queues.iter().flat_map(|queue| &queue.streams).find(|stream| stream.name.as_deref() == name) {
            return Ok(is_of_stream(id).then_some((stream, id)));
        }
        let queue = queues.iter().find(|queue| name.is_some_and(|name| queue.has(name)));
        queue.and_then(|queue| queue.unread().clone()).map_or(Ok(None), Err)
    }
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letters").finish_non_exhaustive()
    }
}

fn refused(BackendError(what): BackendError) -> ChannelError {
    ChannelError::Refused { what, mend: "nothing was done with this dead letter".to_owned() }
}

/// A stream's name and an identifier in it.
fn split(id: &str) -> (Option<&str>, &str) {
    id.rsplit_once('/').map_or((None, id), |(name, id)| (Some(name), id))
}

fn is_of_stream(id: &str) -> bool {
    id.split_once('-').is_some_and(|(ms, number)| ms.parse::<u64>().is_ok() && number.parse::<u64>().is_ok())
}

fn of_stream(letter: StoredLetter, stream: &LetterStream) -> StoredLetter {
    let id = stream.name.as_ref().map_or_else(|| letter.id.clone(), |name| format!("{name}/{}", letter.id));
    StoredLetter { id, publisher: stream.publisher.clone(), ..letter }
}
