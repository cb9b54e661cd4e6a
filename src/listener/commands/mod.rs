//! The commands there are, a file for each kind.

mod client;
mod describe;
mod letters;
mod login;
mod queue;
mod table;
mod transaction;

use table::Name;

use super::{
    request::{Request, integer},
    session::{Flow, Session},
};
use crate::listener::cause::Cause;

/// Runs a request to the answer, which may be a part of a group that is answered later.
pub(super) async fn run(session: &mut Session, request: &Request) -> Flow {
    let word = request.get(0).unwrap_or_default();
    let Some(command) = table::find(word) else {
        if is_http(word) {
            return Flow::Cut;
        }
        if table::moves_messages(word) {
            session.note(Cause::UnknownCommand);
        }
        return session.refuse(table::unknown(request)).await;
    };
    if command.name == Name::Quit {
        session.flush().await;
        session.replies.simple("OK");
        return Flow::Close;
    }
    let pushes = matches!(command.name, Name::Lpush | Name::Rpush);
    if !command.takes(request.len()) {
        if pushes {
            session.note(Cause::NoMessage);
        }
        let error = wrong_number(command.word);
        return refuse(session, command.name, &error).await;
    }
    if !session.authenticated && !matches!(command.name, Name::Auth | Name::Hello | Name::Reset) {
        if pushes {
            session.note(Cause::NoAuth);
        }
        return refuse(session, command.name, NO_PASSWORD).await;
    }
    let words = match command.name {
        Name::Client => client::check(request),
        Name::Command => describe::check(request),
        _ => Ok(()),
    };
    if let Err(error) = words {
        return session.refuse(error).await;
    }
    if session.transaction.is_some() && !matches!(command.name, Name::Exec | Name::Discard | Name::Multi | Name::Reset) {
        transaction::queue(session, request).await;
        return Flow::Continue;
    }
    if pushes {
        queue::push(session, request, command.name).await;
        return Flow::Continue;
    }
    // What was pushed before has to be answered before.
    session.flush().await;
    match command.name {
        Name::Lpush | Name::Rpush | Name::Quit => {}
        Name::Llen => queue::length(session, request).await,
        Name::Lrange => queue::range(session, request).await,
        Name::Del => queue::delete(session, request).await,
        Name::Ping => ping(session, request),
        Name::Echo => session.replies.bulk(request.get(1).unwrap_or_default()),
        Name::Info => describe::info(session, request).await,
        Name::Kadabra if request.len() == 1 => describe::kadabra(session).await,
        Name::Kadabra => letters::letters(session, request).await,
        Name::Command => describe::command(session, request),
        Name::Select => select(session, request),
        Name::Auth => return login::auth(session, request).await,
        Name::Hello => return login::hello(session, request).await,
        Name::Reset => login::reset(session),
        Name::Client => client::client(session, request),
        Name::Multi => transaction::multi(session),
        Name::Exec => transaction::exec(session),
        Name::Discard => transaction::discard(session),
    }
    Flow::Continue
}

/// Refuses a command. An EXEC ends its transaction even so.
async fn refuse(session: &mut Session, name: Name, error: &str) -> Flow {
    if name != Name::Exec {
        return session.refuse(error).await;
    }
    session.flush().await;
    session.transaction = None;
    session.replies.error(format!("EXECABORT Transaction discarded because of: {}", error.trim_start_matches("ERR ")));
    Flow::Continue
}

fn ping(session: &mut Session, request: &Request) {
    match (request.len(), request.get(1)) {
        (1, _) => session.replies.simple("PONG"),
        (2, Some(text)) => session.replies.bulk(text),
        _ => session.replies.error(wrong_number("ping")),
    }
}

fn select(session: &mut Session, request: &Request) {
    match request.get(1).and_then(integer) {
        Some(0) => session.replies.simple("OK"),
        Some(number) if i32::try_from(number).is_err() => {
            session.replies.error(format!("ERR value is out of range, value must between {} and {}", i32::MIN, i32::MAX));
        }
        Some(_) => {
            session.note(Cause::WrongDatabase);
            session.replies.error(
                "ERR DB index is out of range: this is a Kadabra agent with its own channel, which has database 0 only; \
             set the client's db to 0",
            );
        }
        None => session.replies.error(NOT_AN_INTEGER),
    }
}

pub(super) const NO_PASSWORD: &str = "NOAUTH Authentication required.";
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const SYNTAX: &str = "ERR syntax error";

fn wrong_number(command: &str) -> String {
    format!("ERR wrong number of arguments for '{command}' command")
}

/// What no client of Redis sends, but a browser that was told to: somebody uses it to get at what listens here.
fn is_http(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:")
}
