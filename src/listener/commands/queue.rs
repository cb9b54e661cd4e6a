//! The queue: pushes, and looks at what waits.

use super::{NOT_AN_INTEGER, table::Name};
use crate::listener::{
    backend::{BackendError, End},
    cause::Cause,
    request::{Request, integer},
    session::Session,
    words::{self, WRONG_QUEUE},
};

/// At most so many messages are shown at once.
const MOST_SHOWN: i64 = 10_000;
/// At most so many messages are asked for at once, since each may be as large as a message may be.
const MOST_ASKED: i64 = 16;

/// Gathers a push.
pub(super) async fn push(session: &mut Session, request: &Request, name: Name) {
    let key = request.get(1).unwrap_or_default();
    if !is_queue(session, key) {
        session.flush().await;
        session.note(Cause::WrongQueue);
        refuse_other(session, key);
        return;
    }
    let end = if name == Name::Rpush { End::Oldest } else { End::Newest };
    session.gather(end, request.shared_from(2)).await;
}

pub(super) async fn length(session: &mut Session, request: &Request) {
    if refuses_others(session, request.get(1)) {
        return;
    }
    match session.shared.backend.length().await {
        Ok(length) => session.replies.integer(length),
        Err(BackendError(why)) => session.replies.error(format!("ERR {why}")),
    }
}

pub(super) async fn delete(session: &mut Session, request: &Request) {
    if refuses_others(session, request.from(1)) {
        return;
    }
    if !session.shared.settings.allow_delete {
        session.replies.error(
            "ERR DEL would delete all messages that wait, which this Kadabra agent does not allow; see allow_delete in \
             [channel.embedded]",
        );
    } else {
        match session.shared.backend.clear().await {
            Ok(existed) => session.replies.integer(u64::from(existed)),
            Err(BackendError(why)) => session.replies.error(format!("ERR {why}")),
        }
    }
}

/// Shows messages, asked for a few at a time: what is added or taken meanwhile shows.
pub(super) async fn range(session: &mut Session, request: &Request) {
    let (Some(start), Some(stop)) = (request.get(2).and_then(integer), request.get(3).and_then(integer)) else {
        session.replies.error(NOT_AN_INTEGER);
        return;
    };
    if refuses_others(session, request.get(1)) {
        return;
    }
    let begin = session.replies.len();
    if let Err(BackendError(why)) = show(session, start, stop).await {
        session.replies.truncate(begin);
        session.replies.error(format!("ERR {why}"));
    }
}

async fn show(session: &mut Session, start: i64, stop: i64) -> Result<(), BackendError> {
    let length = i64::try_from(session.shared.backend.length().await?).unwrap_or(i64::MAX);
    let from_end = |index: i64| if index < 0 { index.saturating_add(length).max(-1) } else { index };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(length - 1));
    let wanted = stop.saturating_sub(start).saturating_add(1).max(0);
    if wanted > MOST_SHOWN {
        return Err(BackendError(format!("{wanted} messages are too many to be shown at once; ask for up to {MOST_SHOWN}")));
    }
    let mut messages = Vec::new();
    let mut bytes = 0;
    let mut asked = 1;
    let mut next = start;
    while next <= stop {
        let last = stop.min(next + asked - 1);
        let found = session.shared.backend.range(next, last).await?;
        if found.is_empty() {
            break;
        }
        bytes += found.iter().map(|message| message.len() + 64).sum::<usize>();
        // Twice: until they are in the answer, they are also here.
        if !session.afford(2 * bytes) {
            session.lacks_memory();
            return Err(BackendError("the agent has no memory for such a large answer now; ask for fewer messages".to_owned()));
        }
        messages.extend(found);
        (next, asked) = (last + 1, (asked * 2).min(MOST_ASKED));
    }
    session.replies.array(messages.len());
    for message in messages {
        session.replies.bulk(&message);
    }
    Ok(())
}

fn is_queue(session: &Session, key: &[u8]) -> bool {
    key == session.shared.settings.queue_key.as_bytes()
}

/// Refuses a command with another key than the queue's, so that a typo is noticed. Returns whether it has one.
fn refuses_others<'a>(session: &mut Session, keys: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let other = keys.into_iter().find(|key| !is_queue(session, key));
    if let Some(key) = other {
        refuse_other(session, key);
    }
    other.is_some()
}

fn refuse_other(session: &mut Session, key: &[u8]) {
    let refused = format!(
        "{WRONG_QUEUE} '{}' is not the queue of this Kadabra agent, which is '{}'; configure the client or the agent, so that both \
         say the same",
        words::shown(key),
        session.shared.settings.queue_key
    );
    session.replies.error(refused);
}
