//! Kadabra for Rust programs: make a message and queue it where an agent takes it.
//!
//! With `default-features = false, features = ["client"]` nothing of the agent is compiled for it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::SystemTime;
//! use kadabra::{client::{Client, Options}, wire::OutgoingMessage};
//!
//! let client = Client::new("redis://127.0.0.1:6379/0", Options::default())?;
//! let mut message = OutgoingMessage::new();
//! message.dimension("method", "index").counter("userSignup", 1.0, SystemTime::now(), vec![])?;
//! client.send(&message).await?;
//! # Ok(())
//! # }
//! ```

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use redis::{AsyncConnectionConfig, RedisError, aio::MultiplexedConnection};
use tokio::time::timeout;

use crate::wire::{MessageError, OutgoingMessage};

/// What a [`Client`] may be told besides where to push to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The list that the agent takes messages from: its `queue_key`. `kadabra_queue` by default, as with every client of
    /// Kadabra.
    pub queue_key: String,
    /// How long one call may take, connecting included. 1 s by default.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { queue_key: "kadabra_queue".to_owned(), timeout: Duration::from_secs(1) }
    }
}

/// Queues messages in a Redis list, or with an agent that listens itself and is a Redis to its clients. Connects with the
/// first message, and again with the next one after a failure.
pub struct Client {
    redis: redis::Client,
    options: Options,
    connection: Mutex<Option<MultiplexedConnection>>,
    connecting: tokio::sync::Mutex<()>,
}

/// Why a message was not queued, or why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none of a Redis. It is not quoted, since it may hold a password.
    #[error("the URL is not one of a Redis; write it as redis://host:6379/0, rediss://host:6379/0 for TLS, or unix:///path")]
    Url,
    /// The message cannot be written down.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// There was no connection, or none any more. If it broke between the push and its answer the message may be queued.
    #[error("the queue cannot be reached: {0}; check that the agent or the Redis runs there")]
    Unreachable(RedisError),
    /// The server answered that it does not take the message: no room, no right, another queue.
    #[error("the message was refused: {0}")]
    Refused(RedisError),
    /// No answer came in time. The message may be queued.
    #[error("no answer within {} ms; check that the agent or the Redis is not stalled", .0.as_millis())]
    TimedOut(Duration),
}

impl From<RedisError> for ClientError {
    fn from(error: RedisError) -> Self {
        if error.is_io_error() || error.is_unrecoverable_error() { Self::Unreachable(error) } else { Self::Refused(error) }
    }
}

impl Client {
    /// A client of the server at a `redis://`, `rediss://` or `unix://` URL, not connected yet.
    ///
    /// # Errors
    /// [`ClientError::Url`] when it is no such URL.
    pub fn new(url: &str, options: Options) -> Result<Self, ClientError> {
        let redis = redis::Client::open(url).map_err(|_| ClientError::Url)?;
        Ok(Self { redis, options, connection: Mutex::default(), connecting: tokio::sync::Mutex::default() })
    }

    /// Queues one message, with one `LPUSH`, and returns when it is as safe as the queue makes it. Must be called inside a
    /// tokio runtime; when that has ended, the next call connects anew. Takes no longer than [`Options::timeout`].
    ///
    /// # Errors
    /// When the message cannot be written down, or the server cannot be reached or refuses it. Nothing is tried again here:
    /// a message that may have been queued would count twice.
    pub async fn send(&self, message: &OutgoingMessage) -> Result<(), ClientError> {
        let text = message.to_json(SystemTime::now())?;
        let pushed = timeout(self.options.timeout, self.push(&text)).await;
        let pushed = pushed.unwrap_or(Err(ClientError::TimedOut(self.options.timeout)));
        if matches!(pushed, Err(ClientError::Unreachable(_) | ClientError::TimedOut(_))) {
            *self.kept() = None;
        }
        pushed
    }

    async fn push(&self, text: &str) -> Result<(), ClientError> {
        let mut connection = self.connection().await?;
        let mut push = redis::cmd("LPUSH");
        push.arg(&self.options.queue_key).arg(text);
        Ok(push.query_async::<()>(&mut connection).await?)
    }

    async fn connection(&self) -> Result<MultiplexedConnection, ClientError> {
        // Callers that come at once share one connection.
        let _turn = self.connecting.lock().await;
        if let Some(connection) = &*self.kept() {
            return Ok(connection.clone());
        }
        // The time-out of a call is around all that it does.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connected = self.redis.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connected?;
        *self.kept() = Some(connection.clone());
        Ok(connection)
    }

    fn kept(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The connection's parameters hold the password.
        f.debug_struct("Client").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The example for Rust programs compiles.
#[cfg(doctest)]
#[doc = include_str!("../docs/applications.md")]
mod documentation {}
