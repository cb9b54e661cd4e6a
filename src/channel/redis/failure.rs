//! Why a question to Redis has no answer.

use std::{io, time::Duration};

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::{
    errors::{self, Names},
    resp::Excess,
};
use crate::{config::HostAndPort, connect, duration::for_people};

/// Why there is no answer.
pub(super) enum Failure {
    /// In the words of the client or of Redis.
    Redis(RedisError),
    /// There was no connection.
    Unreached(Box<connect::Failure>),
    /// What came is no answer to what was asked.
    Cut(Excess),
    /// None of several servers is, or tells, where to connect to.
    Nowhere(Vec<Attempt>),
    /// The Sentinel knows no primary of that name.
    NoSuchMaster,
}

/// What one of several servers is not used for.
pub(super) struct Attempt {
    /// Its address.
    pub(super) at: String,
    /// What an operator calls what can be set of it.
    pub(super) names: &'static Names,
    pub(super) failure: Failure,
}

impl Failure {
    /// There was no answer in that time.
    pub(super) fn late(within: Duration) -> Self {
        let why = format!("no answer within {}", for_people(within));
        Self::Redis(io::Error::new(io::ErrorKind::TimedOut, why).into())
    }

    /// Whether the connection is of no use any more.
    pub(super) fn is_for_good(&self) -> bool {
        match self {
            Self::Redis(error) => error.is_io_error() || errors::wants_new_connection(error),
            Self::Unreached(_) | Self::Cut(_) | Self::Nowhere(_) | Self::NoSuchMaster => true,
        }
    }

    /// Where a node of a cluster says that the queue is. `asked`: that node's host, which it leaves out where it is the same.
    pub(super) fn moved_to(&self, asked: &str) -> Option<HostAndPort> {
        let Self::Redis(error) = self else { return None };
        if error.kind() != ErrorKind::Server(ServerErrorKind::Moved) {
            return None;
        }
        let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
        Some((if host.is_empty() { asked } else { host }.to_owned(), port.parse().ok()?))
    }
}
