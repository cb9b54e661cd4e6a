//! The dead letters of a queue, wherever it keeps them: looked at one after the other, each queued anew or deleted by its id, beside all
//! else that an agent does with the queue.
//!
//! An id is the number in a queue's file; in a Redis it is that of the stream, behind the names of the queue and of the publisher whose
//! stream that is, where there are several: `name/1700000000000-0`, `queue/1700000000000-0` or `queue/name/1700000000000-0`.

use std::{fmt, sync::Arc};

use super::{
    ChannelError,
    embedded::{Backend, BackendError},
    redis::{LetterStream, RedisChannel, StoredLetter},
};
use crate::config;

/// See the module.
pub(crate) enum Letters {
    /// A stream for each publisher of each queue, and one of each queue itself.
    Redis(Vec<LetterStream>),
    /// An agent that has the file, as its clients reach it.
    Agent(Box<RedisChannel>),
    /// A file that this process has open.
    Queue(Arc<dyn Backend>),
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
    /// When it cannot be reached or refuses it.
    pub(crate) async fn of_redis(redis: &config::Redis) -> Result<Self, ChannelError> {
        // A letter may have been set aside since it is larger than is allowed now.
        let redis = config::Redis { max_message_bytes: config::LARGEST_MESSAGE, ..redis.clone() };
        RedisChannel::letter_streams(&redis).await.map(Self::Redis)
    }

    /// The first dead letter behind the one with that id, or the very first.
    ///
    /// # Errors
    /// When what has them cannot be reached or refuses it.
    pub(crate) async fn after(&self, id: Option<&str>) -> Result<Option<StoredLetter>, ChannelError> {
        let Self::Redis(streams) = self else {
            let number = id.map_or(Some(i64::MIN), |id| id.parse().ok());
            return match number {
                Some(number) => self.after_number(number).await,
                None => Ok(None),
            };
        };
        let (mut after, first) = match id {
            Some(id) => {
                let (name, id) = split(id);
                let first = streams.iter().position(|stream| stream.name.as_deref() == name);
                (Some(id), first.filter(|_| is_of_stream(id)).unwrap_or(streams.len()))
            }
            None => (None, 0),
        };
        for stream in streams.iter().skip(first) {
            if let Some(letter) = stream.channel.letter_after(after.take()).await? {
                return Ok(Some(of_stream(letter, stream)));
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
            let Some((stream, id)) = self.stream_of(id) else { return Ok(None) };
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
        if let Some((LetterStream { channel, .. }, id)) = self.stream_of(id) {
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

    fn stream_of<'a>(&self, id: &'a str) -> Option<(&LetterStream, &'a str)> {
        let Self::Redis(streams) = self else { return None };
        let (name, id) = split(id);
        let stream = streams.iter().find(|stream| stream.name.as_deref() == name)?;
        is_of_stream(id).then_some((stream, id))
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
