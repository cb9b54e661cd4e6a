//! CLIENT: what clients say of themselves when they connect, and who is connected.

use super::SYNTAX;
use crate::listener::{request::Request, session::Session, words};

pub(super) const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Whether something can be a name: printable, without spaces, and no longer than anybody reads.
pub(super) fn is_name(name: &[u8]) -> bool {
    name.len() <= 256 && name.iter().all(u8::is_ascii_graphic)
}

/// The subcommands, with how many words each has at least and at most.
const SUBCOMMANDS: [(&str, usize, usize); 3] = [("list", 2, usize::MAX), ("setname", 3, 3), ("setinfo", 4, 4)];

/// What is wrong with its words, if it cannot even be queued in a transaction.
pub(super) fn check(request: &Request) -> Result<(), Vec<u8>> {
    let word = request.get(1).unwrap_or_default();
    let Some((name, least, most)) = SUBCOMMANDS.iter().find(|(name, ..)| word.eq_ignore_ascii_case(name.as_bytes())) else {
        return Err([b"ERR unknown subcommand '", words::cut(word, 128), b"'. Try LIST, SETNAME, SETINFO."].concat());
    };
    if request.len() < *least || request.len() > *most {
        return Err(super::wrong_number(&format!("client|{name}")).into_bytes());
    }
    Ok(())
}

pub(super) fn client(session: &mut Session, request: &Request) {
    let word = request.get(1).unwrap_or_default();
    let argument = request.get(2).unwrap_or_default();
    if word.eq_ignore_ascii_case(b"list") {
        list(session, request);
    } else if word.eq_ignore_ascii_case(b"setinfo") {
        set_info(session, argument, request.get(3).unwrap_or_default());
    } else if is_name(argument) {
        session.client.rename(argument);
        session.replies.simple("OK");
    } else {
        session.replies.error(BAD_NAME);
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
