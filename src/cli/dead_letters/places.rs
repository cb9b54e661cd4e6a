//! How the dead letters of this configuration's queue are got at: in a Redis, in the file of an agent that does not run, or with the agent
//! that runs and has the file.

use std::ops::Deref;

use crate::{
    channel::{Channel as _, ChannelError, Demand, Letters, embedded::EmbeddedChannel, pusher::Pusher},
    config, queue,
};

/// See the module.
pub(in crate::cli) struct Places {
    letters: Letters,
    /// What keeps the file open, where this process has opened it.
    file: Option<EmbeddedChannel>,
}

impl Places {
    pub(in crate::cli) async fn open(channel: &config::Channel) -> Result<Self, ChannelError> {
        let embedded = match channel {
            config::Channel::Redis(redis) => return Letters::of_redis(redis).await.map(Self::from),
            config::Channel::Embedded(embedded) => embedded,
        };
        let is_there = embedded.path.exists();
        if !is_there || queue::is_in_use(&embedded.path) {
            let pusher = Pusher::new(channel)?;
            // What it is asked first names the queue, and so notices that it has another.
            return match pusher.waiting().await {
                Ok(_) => Ok(Letters::Agent(Box::new(pusher.channel)).into()),
                Err(error) if is_there => Err(error),
                Err(error) => Err(ChannelError::Refused {
                    what: format!("there is no queue in {}, nor an agent to be asked: {error}", embedded.path.display()),
                    mend: "run this as the agent's user, and with its configuration".to_owned(),
                }),
            };
        }
        let channel = EmbeddedChannel::to_bring_in(embedded, "kadabra dead-letters");
        channel.open().await?;
        Ok(Self { letters: Letters::Queue(channel.backend()), file: Some(channel) })
    }

    /// Messages that wait for any publisher, left where they are. One that waits for several in a Redis is there several times.
    pub(in crate::cli) async fn waiting(&self, most: Demand) -> Result<Vec<Vec<u8>>, ChannelError> {
        match (&self.letters, &self.file) {
            (Letters::Redis(queues), _) => {
                let mut all = Vec::new();
                for stream in queues.iter().flat_map(|queue| &queue.streams) {
                    all.extend(stream.channel.peek(most).await?);
                }
                Ok(all)
            }
            (Letters::Agent(agent), _) => agent.newest(most).await,
            (Letters::Queue(_), Some(file)) => file.peek(most).await,
            (Letters::Queue(_), None) => Ok(Vec::new()),
        }
    }

    /// Leaves everything as it can stay.
    pub(in crate::cli) async fn close(self) -> Result<(), ChannelError> {
        match self.file {
            Some(channel) => channel.rest().await,
            None => Ok(()),
        }
    }
}

impl From<Letters> for Places {
    fn from(letters: Letters) -> Self {
        Self { letters, file: None }
    }
}

impl Deref for Places {
    type Target = Letters;

    fn deref(&self) -> &Letters {
        &self.letters
    }
}
