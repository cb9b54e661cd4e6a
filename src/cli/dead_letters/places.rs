//! Where the dead letters of this configuration's queue are, and how they are got at: in a Redis, in the file of an agent that does not
//! run, or with the agent that runs and has the file.

use std::sync::Arc;

use super::super::pusher::Pusher;
use crate::{
    channel::{
        Channel as _, ChannelError,
        embedded::{Backend, BackendError, EmbeddedChannel},
        redis::{RedisChannel, StoredLetter},
    },
    config, queue,
};

/// See the module.
pub(super) enum Places {
    /// A stream for each publisher, with its name, and one of the queue itself.
    Redis(Vec<(Option<String>, RedisChannel)>),
    Agent(Box<RedisChannel>),
    /// The channel keeps the file open.
    File(Box<EmbeddedChannel>, Arc<dyn Backend>),
}

/// What is to be done with a dead letter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Replay,
    Discard,
}

impl Places {
    pub(super) async fn open(channel: &config::Channel) -> Result<Self, ChannelError> {
        match channel {
            config::Channel::Redis(redis) => {
                // A letter may have been set aside since it is larger than is allowed now.
                let redis = config::Redis { max_message_bytes: config::LARGEST_MESSAGE, ..redis.clone() };
                RedisChannel::of_all_consumers(&redis).await.map(Self::Redis)
            }
            config::Channel::Embedded(embedded) => {
                let is_there = embedded.path.exists();
                if !is_there || queue::is_in_use(&embedded.path) {
                    let pusher = Pusher::new(channel)?;
                    // What it is asked first names the queue, and so notices that it has another.
                    return match pusher.waiting().await {
                        Ok(_) => Ok(Self::Agent(Box::new(pusher.channel))),
                        Err(error) if is_there => Err(error),
                        Err(error) => Err(ChannelError::Refused {
                            what: format!("there is no queue in {}, nor an agent to be asked: {error}", embedded.path.display()),
                            mend: "run this as the agent's user, and with its configuration".to_owned(),
                        }),
                    };
                }
                let channel = EmbeddedChannel::to_bring_in(embedded, "kadabra dead-letters");
                channel.open().await?;
                let backend = channel.backend();
                Ok(Self::File(Box::new(channel), backend))
            }
        }
    }

    /// The first dead letter behind the one with that id, or the very first.
    pub(super) async fn after(&self, id: Option<&str>) -> Result<Option<StoredLetter>, ChannelError> {
        let Self::Redis(places) = self else {
            let number = id.map_or(Some(i64::MIN), |id| id.parse().ok());
            return match number {
                Some(number) => self.after_number(number).await,
                None => Ok(None),
            };
        };
        let (mut after, first) = match id {
            Some(id) => {
                let (name, id) = split(id);
                let first = places.iter().position(|(other, _)| other.as_deref() == name);
                (Some(id), first.filter(|_| is_of_stream(id)).unwrap_or(places.len()))
            }
            None => (None, 0),
        };
        for (name, channel) in places.iter().skip(first) {
            if let Some(letter) = channel.letter_after(after.take()).await? {
                return Ok(Some(of_publisher(letter, name.as_deref())));
            }
        }
        Ok(None)
    }

    /// The dead letter with that id.
    pub(super) async fn get(&self, id: &str) -> Result<Option<StoredLetter>, ChannelError> {
        let found = if let Self::Redis(_) = self {
            let Some((name, channel, id)) = self.stream_of(id) else { return Ok(None) };
            channel.letter_from(id).await?.map(|letter| of_publisher(letter, name))
        } else {
            let Some(before) = id.parse::<i64>().ok().and_then(|number| number.checked_sub(1)) else { return Ok(None) };
            self.after_number(before).await?
        };
        Ok(found.filter(|letter| letter.id == id))
    }

    /// Queues the dead letter anew for whom it was set aside, or deletes it, if it is still the one of that time. Returns whether it was
    /// there.
    pub(super) async fn act(&self, act: Act, id: &str, time: &str) -> Result<bool, ChannelError> {
        let replay = act == Act::Replay;
        if let Some((_, channel, id)) = self.stream_of(id) {
            return if replay { channel.replay_letter(id).await } else { channel.forget_letter(id).await };
        }
        let Ok(number) = id.parse() else { return Ok(false) };
        match self {
            Self::Redis(_) => Ok(false),
            Self::Agent(agent) => agent.agent_takes_out(number, time, replay).await,
            Self::File(_, backend) => backend.take_out_letter(number, time.to_owned(), replay).await.map_err(refused),
        }
    }

    /// Leaves everything as it can stay.
    pub(super) async fn close(self) -> Result<(), ChannelError> {
        if let Self::File(channel, _) = self { channel.rest().await } else { Ok(()) }
    }

    async fn after_number(&self, number: i64) -> Result<Option<StoredLetter>, ChannelError> {
        match self {
            Self::Redis(_) => Ok(None),
            Self::Agent(agent) => agent.agents_letter_after(number).await,
            Self::File(_, backend) => {
                let letter = backend.letter_after(number).await.map_err(refused)?;
                Ok(letter.and_then(StoredLetter::of_fields))
            }
        }
    }

    fn stream_of<'a>(&self, id: &'a str) -> Option<(Option<&'a str>, &RedisChannel, &'a str)> {
        let Self::Redis(places) = self else { return None };
        let (name, id) = split(id);
        let (_, channel) = places.iter().find(|(other, _)| other.as_deref() == name)?;
        is_of_stream(id).then_some((name, channel, id))
    }
}

fn refused(BackendError(what): BackendError) -> ChannelError {
    ChannelError::Refused { what, mend: "nothing was done with this dead letter".to_owned() }
}

/// A publisher's name and an identifier in its stream.
fn split(id: &str) -> (Option<&str>, &str) {
    id.rsplit_once('/').map_or((None, id), |(name, id)| (Some(name), id))
}

fn is_of_stream(id: &str) -> bool {
    id.split_once('-').is_some_and(|(ms, number)| ms.parse::<u64>().is_ok() && number.parse::<u64>().is_ok())
}

fn of_publisher(letter: StoredLetter, name: Option<&str>) -> StoredLetter {
    let id = name.map_or_else(|| letter.id.clone(), |name| format!("{name}/{}", letter.id));
    StoredLetter { id, publisher: name.map(ToOwned::to_owned), ..letter }
}
