//! MULTI, EXEC and DISCARD, since clients send pipelines that way. Pushes to one end that follow each other in a transaction,
//! and most hold nothing else, are one push: all of them are queued or none, also when the agent is killed. Another command
//! between them parts them, and no more than each part is one step.

use tokio::time::Instant;

use crate::listener::{
    cause::Cause,
    pending::{Transaction, TransactionState},
    request::Request,
    session::Session,
};

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
    if transaction.state == TransactionState::Refused {
        // It will not run, and needs no memory for that.
        session.replies.simple("QUEUED");
        return;
    }
    let too_large = transaction.state == TransactionState::TooLarge || {
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
        Some(Transaction { state: TransactionState::Refused | TransactionState::TooLarge, .. }) => {
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
