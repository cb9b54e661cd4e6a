//! MULTI, EXEC and DISCARD, since clients send pipelines that way. Pushes to one end that follow each other in a transaction,
//! and most hold nothing else, are one push: all of them are queued or none, also when the agent is killed. Another command
//! between them parts them, and no more than each part is one step.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::channel::embedded::{
    cause::Cause,
    server::{request::Request, session::Session},
};

/// Commands that wait for EXEC.
#[derive(Debug, Default)]
pub(in super::super) struct Transaction {
    commands: VecDeque<Request>,
    bytes: usize,
    /// Since when there is one.
    since: Option<Instant>,
    refused: bool,
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
        *self = Self { refused: true, ..Self::default() };
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

pub(super) fn queue(session: &mut Session, request: &Request) {
    let bytes = request.bytes() + COMMAND_BYTES;
    let affordable = session.afford(bytes);
    let Some(transaction) = &mut session.transaction else {
        return;
    };
    if transaction.refused {
        // It will not run, and needs no memory for that.
        session.replies.simple("QUEUED");
    } else if affordable {
        // What arrived with it does not stay in memory because of it.
        transaction.commands.push_back(request.copied());
        transaction.bytes += bytes;
        transaction.since.get_or_insert_with(Instant::now);
        session.replies.simple("QUEUED");
    } else {
        transaction.refuse();
        session.lacks_memory();
        session.replies.error("ERR the agent has no memory for such a large transaction; send fewer commands in one");
    }
}

pub(super) fn exec(session: &mut Session) {
    match session.transaction.take() {
        None => session.replies.error("ERR EXEC without MULTI"),
        Some(Transaction { refused: true, .. }) => {
            session.note(Cause::Aborted);
            session.replies.error("EXECABORT Transaction discarded because of previous errors.");
        }
        Some(transaction) => {
            session.replies.array(transaction.commands.len());
            session.replay = transaction.commands;
            session.replay_bytes = transaction.bytes;
            session.replay_silent = session.silent;
        }
    }
}

pub(super) fn discard(session: &mut Session) {
    match session.transaction.take() {
        None => session.replies.error("ERR DISCARD without MULTI"),
        Some(_) => session.replies.simple("OK"),
    }
}
