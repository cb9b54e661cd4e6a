//! `[channel]`

use super::{Embedded, Redis};
use crate::config::schema::Fallback::Is;

section! {
    /// Where messages come from.
    "channel" pub(in crate::config) struct ChannelSection {
        /// Where messages wait. embedded: in a file of the agent's own, and clients push to the agent as they would
        /// to Redis; nothing else is needed. redis: in a Redis list; choose it where there is a Redis already that
        /// keeps what it has on disk, or where several agents share a queue.
        kind as "type": Channel = Is("embedded"), Channel::WORDS;
    }
    on reload Restart;
}

choice! {
    /// `channel.type`, with the section that it chooses.
    #[derive(Clone, Debug, PartialEq)]
    pub enum Channel {
        /// `embedded`
        Embedded(Embedded) = "embedded",
        /// `redis`
        Redis(Redis) = "redis",
    }
}

impl Channel {
    /// The channel with this queue alone.
    ///
    /// # Errors
    /// A sentence that names the queues, when there is none of that name.
    pub(crate) fn of_queue(self, name: &str) -> Result<Self, String> {
        let names: Vec<&str> = match &self {
            Self::Embedded(embedded) => vec![&embedded.queue_key],
            Self::Redis(redis) => redis.queue_key.all().collect(),
        };
        if !names.contains(&name) {
            return Err(format!("there is no queue {name:?} in this configuration, which has {}", names.join(", ")));
        }
        Ok(match self {
            Self::Redis(redis) => Self::Redis(Redis { queue_key: name.into(), ..redis }),
            embedded => embedded,
        })
    }

    /// How many bytes a message may have.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        match self {
            Self::Embedded(Embedded { max_message_bytes, .. }) | Self::Redis(Redis { max_message_bytes, .. }) => {
                *max_message_bytes
            }
        }
    }
}
