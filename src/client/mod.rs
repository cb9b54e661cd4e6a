//! Kadabra for Rust programs: make a message, queue it, and never wait for a database.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::SystemTime;
//! use kadabra::{client::Client, config, metrics::OutgoingMessage};
//!
//! let settings = config::load(None, std::env::vars_os())?.settings;
//! let client = Client::new(&settings)?;
//! let mut message = OutgoingMessage::new();
//! message.dimension("method", "index").counter("userSignup", 1.0, SystemTime::now(), vec![])?;
//! client.send(&message).await?;
//! # Ok(())
//! # }
//! ```

use std::time::SystemTime;

use crate::{
    channel::{ChannelError, redis::RedisChannel},
    config::{self, Settings},
    metrics::{MessageError, OutgoingMessage},
};

/// Queues messages in the list that an agent with the same settings works on. Connects with the first message, and
/// again by itself.
#[derive(Debug)]
pub struct Client {
    channel: RedisChannel,
}

/// Why a message was not queued.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The message cannot be written down.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The channel could not be reached, or refused it.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

impl Client {
    /// A client that is not connected yet.
    ///
    /// # Errors
    /// [`ChannelError::Unusable`] when the URL is not one of a Redis.
    pub fn new(settings: &Settings) -> Result<Self, ChannelError> {
        let config::Channel::Redis(redis) = &settings.channel;
        Ok(Self { channel: RedisChannel::new(redis, &settings.agent.name, settings.nanny.threshold)? })
    }

    /// Queues one message, with one `LPUSH`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When Redis cannot be reached within `channel.redis.timeout`, or refuses it. The message is not queued then,
    /// unless the connection broke between the command and its answer.
    pub async fn send(&self, message: &OutgoingMessage) -> Result<(), SendError> {
        let text = message.to_json(SystemTime::now())?;
        self.channel.push(text.as_bytes()).await?;
        Ok(())
    }
}
