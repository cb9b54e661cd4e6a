//! What is known of a client between its commands, and what every command does with that: answers, memory, gathered pushes.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::{
    backend::{End, PushError},
    cause::Cause,
    clients::Client,
    memory::Claim,
    pending::{Pushes, Transaction},
    replies::{Protocol, Replies},
    request::Request,
    shared::Shared,
};
use crate::config::WhenFull;

const FULL: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// Enough messages for a push to the backend, since the smallest take more memory than their bytes; where they have claimed it
/// already, for a transaction, it is no reason to part them.
const MOST_GATHERED: usize = 1000;
/// What the connection has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Go on with what is there.
    Continue,
    /// Send the answers: there are many.
    Send,
    /// Send the answers and read more.
    Read,
    /// Send the answers and close.
    Close,
    /// Send the answers, let the client read them although it is still sending, and close.
    Linger,
    /// Close at once.
    Cut,
}

/// What is known of a client between its commands.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Arc<Client>,
    pub(super) replies: Replies,
    pub(super) authenticated: bool,
    pub(super) pushes: Pushes,
    pub(super) transaction: Option<Transaction>,
    /// What EXEC runs.
    pub(super) replay: VecDeque<Request>,
    pub(super) replay_bytes: usize,
    pub(super) claim: Claim,
    /// What has arrived takes so much memory.
    pub(super) incoming: usize,
    /// Whether that is hardly more than this command, whose bytes may then be kept where they are.
    pub(super) alone: bool,
    /// Where the answer to this command begins.
    pub(super) begun: usize,
    /// Whether a push was answered.
    pub(super) has_pushed: bool,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, client: Arc<Client>) -> Self {
        Self {
            replies: Replies::default(),
            authenticated: shared.settings.password.is_none(),
            pushes: Pushes::default(),
            transaction: None,
            replay: VecDeque::new(),
            replay_bytes: 0,
            claim: shared.memory.claim(),
            incoming: 0,
            alone: false,
            begun: 0,
            has_pushed: false,
            shared,
            client,
        }
    }

    /// As if just connected.
    pub(super) fn reset(&mut self) {
        self.authenticated = self.shared.settings.password.is_none();
        self.transaction = None;
        self.replies.protocol = Protocol::default();
        self.client.speaks(Protocol::default());
        self.client.rename(b"");
    }

    /// Gathers a push, to be handed over with those that follow it.
    pub(super) async fn gather(&mut self, end: End, messages: impl ExactSizeIterator<Item = Bytes>) {
        let enough = !self.is_replaying() && self.pushes.messages.len() >= MOST_GATHERED;
        if self.pushes.end != end || enough {
            self.flush().await;
            self.pushes.end = end;
        }
        self.pushes.commands.push(messages.len());
        self.pushes.messages.extend(messages);
    }

    /// Hands the gathered pushes over to the queue and answers each as if it had come alone.
    pub(super) async fn flush(&mut self) {
        if !self.pushes.commands.is_empty() {
            self.hand_over().await;
        }
        self.begun = self.replies.len();
    }

    async fn hand_over(&mut self) {
        let Self { shared, pushes, replies, client, has_pushed, .. } = self;
        let messages = std::mem::take(&mut pushes.messages);
        let count = messages.len();
        *has_pushed = true;
        client.begins_or_ends_to_wait();
        let mut outcome = shared.backend.push(pushes.end, messages).await;
        client.begins_or_ends_to_wait();
        match &outcome {
            Ok(_) => {
                shared.stats.queued(count as u64);
                shared.refusals.taken();
                if shared.settings.when_full != WhenFull::Refuse {
                    shared.refusals.dropped_oldest(shared.backend.take_dropped_oldest(), &client.peer);
                    shared.refusals.answered_early(shared.backend.take_answered_early(), &client.peer);
                }
            }
            Err(error) => {
                shared.refusals.refused(error, pushes.commands.len() as u64, &client.peer);
                if shared.settings.when_full != WhenFull::Refuse && error.cause().is_of_the_queue() {
                    shared.stats.dropped(count as u64);
                    shared.backend.drop_newest(count as u64);
                    // As if they had come and gone.
                    outcome = Ok(shared.backend.length().await.unwrap_or_default().saturating_add(count as u64));
                } else {
                    shared.stats.refused(count as u64);
                }
            }
        }
        let mut length = outcome.as_ref().map_or(0, |length| length.saturating_sub(count as u64));
        for messages in pushes.commands.drain(..) {
            length += messages as u64;
            match &outcome {
                Ok(_) => replies.integer(length),
                Err(PushError::Full) => replies.error(FULL),
                // As a Redis that cannot save what it takes.
                Err(PushError::Failed { why, .. }) => replies.error(format!("MISCONF {why}")),
            }
        }
    }

    /// Refuses a command, and the transaction that it was to be a part of.
    pub(super) async fn refuse(&mut self, error: impl AsRef<[u8]>) -> Flow {
        self.flush().await;
        if let Some(transaction) = &mut self.transaction {
            transaction.refuse();
        }
        self.replies.error(error);
        Flow::Continue
    }

    /// Whether there is memory for so many bytes more, for an answer.
    pub(super) fn afford(&mut self, more: usize) -> bool {
        let held = self.held();
        self.claim.cover(held + more)
    }

    /// Whether there is memory for so many bytes more in a transaction, once it is its turn.
    pub(super) async fn grow(&mut self, more: usize) -> bool {
        let held = self.held();
        let patience = self.shared.settings.timeout;
        self.claim.in_turn(held + more, patience).await
    }

    /// Gives back what it needs no more.
    pub(super) fn give_back(&mut self) {
        let held = self.held();
        self.claim.suffices(held);
    }

    /// Has a transaction keep a command as it came, with all the memory that this takes.
    pub(super) fn keep(&mut self, request: &Request) -> (Request, usize) {
        (request.clone(), std::mem::take(&mut self.incoming))
    }

    /// Something was refused since there is no memory for it.
    pub(super) fn lacks_memory(&self) {
        self.note(Cause::NoMemory);
    }

    /// Something was refused to this client.
    pub(super) fn note(&self, cause: Cause) {
        self.shared.refusals.note(cause, &self.client.peer);
    }

    /// Whether this command is one of those that EXEC runs.
    pub(super) fn is_replaying(&self) -> bool {
        self.replay_bytes > 0
    }

    pub(super) fn held(&self) -> usize {
        let transaction = self.transaction.as_ref().map_or(0, Transaction::bytes);
        self.incoming + self.replies.capacity() + transaction + self.replay_bytes
    }
}
