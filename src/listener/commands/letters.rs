//! Dead letters, for `kadabra dead-letters` while the agent runs:
//!
//! - `KADABRA LETTER after from`: the first one with a larger number, piece by piece, since a letter may be larger than all memory for
//!   answers: its number, how many bytes its names and values have together, and of them [`PIECE`] from byte `from` on; nothing when
//!   there is none;
//! - `KADABRA REPLAY number time`, `KADABRA DISCARD number time`: queues one anew, or deletes it; answers whether it was there.

use super::{NOT_AN_INTEGER, SYNTAX};
use crate::listener::{
    backend::BackendError,
    request::{Request, integer},
    session::Session,
};

/// How many bytes of a letter an answer has.
const PIECE: usize = 256 << 10;

pub(super) async fn letters(session: &mut Session, request: &Request) {
    let is = |word: &str| request.get(1).is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()));
    let time = request.get(3).and_then(|time| std::str::from_utf8(time).ok());
    let Some(number) = request.get(2).and_then(integer) else {
        session.replies.error(if request.len() > 2 { NOT_AN_INTEGER } else { SYNTAX });
        return;
    };
    match (request.len(), time) {
        (4, _) if is("letter") => match request.get(3).and_then(integer).and_then(|from| usize::try_from(from).ok()) {
            Some(from) => letter_after(session, number, from).await,
            None => session.replies.error(NOT_AN_INTEGER),
        },
        (4, Some(time)) if is("replay") || is("discard") => {
            match session.shared.backend.take_out_letter(number, time.to_owned(), is("replay")).await {
                Ok(was_there) => session.replies.integer(u64::from(was_there)),
                Err(BackendError(why)) => session.replies.error(format!("ERR {why}")),
            }
        }
        _ => session.replies.error(SYNTAX),
    }
}

async fn letter_after(session: &mut Session, number: i64, from: usize) {
    match session.shared.backend.letter_after(number).await {
        Ok(None) => session.replies.array(0),
        Ok(Some(letter)) => {
            let (id, fields) = letter.split_first().map_or((&[][..], &[][..]), |(id, fields)| (id.as_slice(), fields));
            let total: usize = fields.iter().map(Vec::len).sum();
            // Twice: the queue's answer is here, too.
            if !session.afford(2 * (PIECE.min(total) + 64 * letter.len())) {
                session.lacks_memory();
                session.replies.error("ERR the agent has no memory for an answer now");
                return;
            }
            session.replies.array(letter.len() + 1);
            session.replies.bulk(id);
            session.replies.bulk(total.to_string().as_bytes());
            let (mut skip, mut room) = (from, PIECE);
            for field in fields {
                let rest = field.get(skip.min(field.len())..).unwrap_or_default();
                let piece = rest.get(..room.min(rest.len())).unwrap_or_default();
                session.replies.bulk(piece);
                skip = skip.saturating_sub(field.len());
                room -= piece.len();
            }
        }
        Err(BackendError(why)) => session.replies.error(format!("ERR {why}")),
    }
}
