//! Dead letters, for `kadabra dead-letters` while the agent runs:
//!
//! - `KADABRA LETTER after`: the first one with a larger number, as an entry of a stream; nothing when there is none;
//! - `KADABRA REPLAY number time`, `KADABRA DISCARD number time`: queues one anew, or deletes it; answers whether it was there.

use super::{NOT_AN_INTEGER, SYNTAX};
use crate::listener::{
    backend::{BackendError, PushError},
    request::{Request, integer},
    session::Session,
};

pub(super) async fn letters(session: &mut Session, request: &Request) {
    let is = |word: &str| request.get(1).is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()));
    let time = request.get(3).and_then(|time| std::str::from_utf8(time).ok());
    let Some(number) = request.get(2).and_then(integer) else {
        session.replies.error(if request.len() > 2 { NOT_AN_INTEGER } else { SYNTAX });
        return;
    };
    match (request.len(), time) {
        (3, _) if is("letter") => letter_after(session, number).await,
        (4, Some(time)) if is("replay") || is("discard") => {
            match session.shared.backend.take_out_letter(number, time.to_owned(), is("replay")).await {
                Ok(was_there) => session.replies.integer(u64::from(was_there)),
                Err(PushError::Full) => session.replies.error("ERR the queue is full: the message would have no room in it"),
                Err(PushError::Failed { why, .. }) => session.replies.error(format!("ERR {why}")),
            }
        }
        _ => session.replies.error(SYNTAX),
    }
}

async fn letter_after(session: &mut Session, number: i64) {
    match session.shared.backend.letter_after(number).await {
        Ok(letter) => {
            let fields = letter.unwrap_or_default();
            // Twice: until they are in the answer, they are also here.
            if !session.afford(2 * fields.iter().map(|field| field.len() + 64).sum::<usize>()) {
                session.lacks_memory();
                session.replies.error("ERR the agent has no memory for such a large answer now");
                return;
            }
            session.replies.array(fields.len());
            fields.iter().for_each(|field| session.replies.bulk(field));
        }
        Err(BackendError(why)) => session.replies.error(format!("ERR {why}")),
    }
}
