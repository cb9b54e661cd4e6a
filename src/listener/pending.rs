//! What a client has sent and is not answered yet: pushes that are gathered for one push to the queue, and the commands of a
//! transaction that wait for EXEC.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

use super::{backend::End, request::Request};

/// Pushes that follow each other in a pipeline, for the backend to take at once.
#[derive(Debug)]
pub(super) struct Pushes {
    pub(super) end: End,
    pub(super) messages: Vec<Bytes>,
    /// How many messages each command had.
    pub(super) commands: Vec<usize>,
}

impl Default for Pushes {
    fn default() -> Self {
        Self { end: End::Newest, messages: Vec::new(), commands: Vec::new() }
    }
}

/// Commands that wait for EXEC.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) commands: VecDeque<Request>,
    pub(super) bytes: usize,
    /// Since when there is one.
    pub(super) since: Option<Instant>,
    pub(super) state: TransactionState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TransactionState {
    #[default]
    Good,
    /// With the command that comes it takes more memory than there is, which its client is to be told.
    TooLarge,
    /// It must not run.
    Refused,
}

impl Transaction {
    /// How much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when it takes memory.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// One of its commands could not be queued, so that it must not run.
    pub(super) fn refuse(&mut self) {
        *self = Self { state: TransactionState::Refused, ..Self::default() };
    }

    /// The command that comes does not fit into memory together with it. Does nothing to one that must not run anyway.
    pub(super) fn outgrow(&mut self) {
        if self.state == TransactionState::Good {
            *self = Self { state: TransactionState::TooLarge, ..Self::default() };
        }
    }
}
