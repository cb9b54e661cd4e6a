//! Why a question to Redis has no answer.

use redis::{ErrorKind, RedisError};

use super::{errors, guard::Traffic, resp::Excess};
use crate::connect;

/// Why there is no answer.
pub(super) enum Failure {
    /// In the words of the client or of Redis.
    Redis(RedisError),
    /// There was no connection.
    Unreached(Box<connect::Failure>),
    /// More came than was asked for.
    Cut(Excess),
}

impl Failure {
    pub(super) fn new(error: RedisError, traffic: &Traffic) -> Self {
        // Of a connection that was cut the client only knows that it is closed.
        traffic.cut().map_or(Self::Redis(error), Self::Cut)
    }

    /// Whether the connection is of no use any more.
    pub(super) fn is_for_good(&self) -> bool {
        match self {
            Self::Redis(error) => matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse) || errors::wants_new_connection(error),
            Self::Unreached(_) | Self::Cut(_) => true,
        }
    }
}
