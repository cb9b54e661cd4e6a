//! CLIENT: what clients say of themselves when they connect, and who is connected.

use super::SYNTAX;
use crate::channel::embedded::server::{request::Request, session::Session, words};

pub(super) const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Whether something can be a name: printable, without spaces, and no longer than anybody reads.
pub(super) fn is_name(name: &[u8]) -> bool {
    name.len() <= 256 && name.iter().all(u8::is_ascii_graphic)
}

pub(super) fn client(session: &mut Session, request: &Request) {
    let word = request.get(1).unwrap_or_default().to_ascii_lowercase();
    let count = request.len();
    // How many words each has at least and at most.
    let (least, most) = match word.as_slice() {
        b"id" | b"info" | b"getname" => (2, 2),
        b"setname" | b"reply" | b"no-evict" | b"no-touch" => (3, 3),
        b"setinfo" => (4, 4),
        b"list" => (2, usize::MAX),
        _ => {
            let error = [
                b"ERR unknown subcommand '",
                words::cut(&word, 128),
                b"'. Try ID, INFO, LIST, GETNAME, SETNAME, SETINFO, REPLY.",
            ];
            session.replies.error(error.concat());
            return;
        }
    };
    if count < least || count > most {
        session.replies.error(super::wrong_number(&format!("client|{}", words::shown(&word))));
        return;
    }
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
        _ if argument.eq_ignore_ascii_case(b"on") || argument.eq_ignore_ascii_case(b"off") => replies.simple("OK"),
        _ => replies.error(SYNTAX),
    }
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
