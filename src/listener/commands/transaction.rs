//! MULTI, EXEC and DISCARD, since clients send pipelines that way. Pushes to one end that follow each other in a transaction,
//! and most hold nothing else, are one push: all of them are queued or none, also when the agent is killed. Another command
//! between them parts them, and no more than each part is one step.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::listener::{Cause, request::Request, session::Session};

/// Commands that wait for EXEC.
#[derive(Debug, Default)]
pub(in super::super) struct Transaction {
    commands: VecDeque<Request>,
    bytes: usize,
    /// Since when there is one.
    since: Option<Instant>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Good,
    /// With the command that comes it takes more memory than there is, which its client is to be told.
    TooLarge,
    /// It must not run.
    Refused,
}

impl Transaction {
    /// How much memory it takes.
    pub(in super::super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when it takes memory.
    pub(in super::super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// One of its commands could not be queued, so that it must not run.
    pub(in super::super) fn refuse(&mut self) {
        *self = Self { state: State::Refused, ..Self::default() };
    }

    /// The command that comes does not fit into memory together with it. Does nothing to one that must not run anyway.
    pub(in super::super) fn outgrow(&mut self) {
        if self.state == State::Good {
            *self = Self { state: State::TooLarge, ..Self::default() };
        }
    }
}

/// What a queued command takes besides its words, and the answer to a push of it, since those are made all at once.
const COMMAND_BYTES: usize = 64 + 24;

pub(super) fn multi(session: &mut Session) {
    if session.transaction.is_some() {
        session.replies.error("ERR MULTI calls can not be nested");
        return;
    }
    session.transaction = Some(Transaction::default());
    session.replies.simple("OK");
}

pub(super) async fn queue(session: &mut Session, request: &Request) {
    let Some(transaction) = &session.transaction else { return };
    if transaction.state == State::Refused {
        // It will not run, and needs no memory for that.
        session.replies.simple("QUEUED");
        return;
    }
    let too_large = transaction.state == State::TooLarge || {
        // What arrived with it does not stay in memory because of it.
        let (kept, bytes) = if session.alone { session.keep(request) } else { (request.copied(), request.bytes()) };
        let bytes = bytes + COMMAND_BYTES;
        let affordable = session.grow(bytes).await;
        if affordable && let Some(transaction) = &mut session.transaction {
            transaction.commands.push_back(kept);
            transaction.bytes += bytes;
            transaction.since.get_or_insert_with(Instant::now);
        }
        !affordable
    };
    if too_large {
        if let Some(transaction) = &mut session.transaction {
            transaction.refuse();
        }
        session.lacks_memory();
        session.replies.error("ERR the agent has no memory for such a large transaction; send fewer commands in one");
    } else {
        session.replies.simple("QUEUED");
    }
}

pub(super) fn exec(session: &mut Session) {
    match session.transaction.take() {
        None => session.replies.error("ERR EXEC without MULTI"),
        Some(Transaction { state: State::Refused | State::TooLarge, .. }) => {
            session.note(Cause::Aborted);
            session.replies.error("EXECABORT Transaction discarded because of previous errors.");
        }
        Some(transaction) => {
            session.replies.array(transaction.commands.len());
            session.replay = transaction.commands;
            session.replay_bytes = transaction.bytes;
        }
    }
}

pub(super) fn discard(session: &mut Session) {
    match session.transaction.take() {
        None => session.replies.error("ERR DISCARD without MULTI"),
        Some(_) => session.replies.simple("OK"),
    }
}
