//! CLIENT: what clients say of themselves when they connect, and who is connected.

use super::SYNTAX;
use crate::listener::{request::Request, session::Session, words};

pub(super) const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Whether something can be a name: printable, without spaces, and no longer than anybody reads.
pub(super) fn is_name(name: &[u8]) -> bool {
    name.len() <= 256 && name.iter().all(u8::is_ascii_graphic)
}

/// The subcommands, with how many words each has at least and at most.
const SUBCOMMANDS: [(&str, usize, usize); 11] = [
    ("id", 2, 2),
    ("info", 2, 2),
    ("list", 2, usize::MAX),
    ("getname", 2, 2),
    ("setname", 3, 3),
    ("setinfo", 4, 4),
    ("reply", 3, 3),
    ("no-evict", 3, 3),
    ("no-touch", 3, 3),
    ("tracking", 3, usize::MAX),
    ("caching", 3, 3),
];

/// What is wrong with its words, if it cannot even be queued in a transaction.
pub(super) fn check(request: &Request) -> Result<(), Vec<u8>> {
    let word = request.get(1).unwrap_or_default();
    let Some((name, least, most)) = SUBCOMMANDS.iter().find(|(name, ..)| word.eq_ignore_ascii_case(name.as_bytes())) else {
        let known = "'. Try ID, INFO, LIST, GETNAME, SETNAME, SETINFO, REPLY, TRACKING.";
        return Err([b"ERR unknown subcommand '", words::cut(word, 128), known.as_bytes()].concat());
    };
    if request.len() < *least || request.len() > *most {
        return Err(super::wrong_number(&format!("client|{name}")).into_bytes());
    }
    Ok(())
}

pub(super) fn client(session: &mut Session, request: &Request) {
    let word = request.get(1).unwrap_or_default().to_ascii_lowercase();
    let argument = request.get(2).unwrap_or_default();
    let replies = &mut session.replies;
    match word.as_slice() {
        b"id" => replies.integer(session.client.id),
        b"info" => replies.text(&format!("{}\n", session.client.line())),
        b"list" => list(session, request),
        b"getname" => match session.client.name() {
            name if name.is_empty() => replies.null(),
            name => replies.bulk(name.as_bytes()),
        },
        b"setname" if is_name(argument) => {
            session.client.rename(argument);
            replies.simple("OK");
        }
        b"setname" => replies.error(BAD_NAME),
        b"setinfo" => set_info(session, argument, request.get(3).unwrap_or_default()),
        b"reply" => reply(session, argument),
        b"tracking" => tracking(session, request),
        b"caching" => session.replies.error(NOT_CACHED),
        _ if argument.eq_ignore_ascii_case(b"on") || argument.eq_ignore_ascii_case(b"off") => replies.simple("OK"),
        _ => replies.error(SYNTAX),
    }
}

const NOT_CACHED: &str = "ERR this is a Kadabra agent, which tells no client that a key has changed; have the client cache nothing, by \
                          CLIENT TRACKING OFF, or ON with OPTIN and without CLIENT CACHING YES";

/// Some clients ask for it when they connect. With OPTIN nothing is tracked before CLIENT CACHING YES, so that costs nothing.
fn tracking(session: &mut Session, request: &Request) {
    let says = |index: usize, word: &str| request.get(index).is_some_and(|said| said.eq_ignore_ascii_case(word.as_bytes()));
    if says(2, "off") || (says(2, "on") && (3..request.len()).any(|index| says(index, "optin")) && request.from(3).all(is_opt_in))
    {
        session.replies.simple("OK");
    } else if says(2, "on") {
        session.replies.error(NOT_CACHED);
    } else {
        session.replies.error(SYNTAX);
    }
}

/// Whether an option of CLIENT TRACKING asks for nothing as long as nothing is tracked.
fn is_opt_in(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"optin") || option.eq_ignore_ascii_case(b"noloop")
}

fn list(session: &mut Session, request: &Request) {
    let shows = match (request.len(), request.get(2), request.get(3)) {
        (2, ..) => true,
        (4, Some(option), Some(kind)) if option.eq_ignore_ascii_case(b"type") => kind.eq_ignore_ascii_case(b"normal"),
        _ => {
            session.replies.error(SYNTAX);
            return;
        }
    };
    let lines = if shows { session.shared.clients.lines() } else { String::new() };
    session.replies.text(&lines);
}

fn set_info(session: &mut Session, attribute: &[u8], value: &[u8]) {
    let library = attribute.eq_ignore_ascii_case(b"lib-name");
    if !library && !attribute.eq_ignore_ascii_case(b"lib-ver") {
        let error = [b"ERR Unrecognized option '", words::cut(attribute, 128), b"'"].concat();
        session.replies.error(error);
    } else if !is_name(value) {
        let name = if library { "lib-name" } else { "lib-ver" };
        session.replies.error(format!("ERR {name} cannot contain spaces, newlines or special characters."));
    } else {
        session.client.uses(library, value);
        session.replies.simple("OK");
    }
}

fn reply(session: &mut Session, mode: &[u8]) {
    if mode.eq_ignore_ascii_case(b"on") {
        session.answers = true;
        session.silent = false;
        session.replies.simple("OK");
    } else if mode.eq_ignore_ascii_case(b"off") {
        session.answers = false;
        session.silent = true;
    } else if mode.eq_ignore_ascii_case(b"skip") {
        session.skip_next = session.answers;
        session.silent = true;
    } else {
        session.replies.error(SYNTAX);
    }
}
