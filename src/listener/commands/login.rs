//! Who may do something, and which protocol is spoken: AUTH, HELLO and RESET.

use subtle::ConstantTimeEq as _;
use tokio::time::sleep_until;

use super::{SYNTAX, table::REDIS_VERSION};
use crate::listener::{
    cause::Cause,
    replies::Protocol,
    request::{Request, integer},
    session::{Flow, Session},
    unauthenticated::Look,
    words,
};

const WRONG: &str = "WRONGPASS invalid username-password pair or user is disabled.";

const NOT_LOOKED_AT: &str =
    "WRONGPASS many wrong passwords come from your address, so this one was not looked at; try again in a few seconds";

pub(super) async fn auth(session: &mut Session, request: &Request) -> Flow {
    let (user, password) = match (request.len(), request.get(1), request.get(2)) {
        (2, Some(password), _) => {
            if session.shared.settings.password.is_none() {
                session.replies.error(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                     configuration is correct?",
                );
                return Flow::Continue;
            }
            (b"default".as_slice(), password)
        }
        (3, Some(user), Some(password)) => (user, password),
        _ => {
            session.replies.error(SYNTAX);
            return Flow::Continue;
        }
    };
    match authenticate(session, user, password).await {
        Ok(()) => session.replies.simple("OK"),
        Err(refusal) => session.replies.error(refusal),
    }
    Flow::Continue
}

/// Lets a client in, or says why not. A password that comes soon after a wrong one is looked at later, or never, which does not
/// depend on whether it is right.
async fn authenticate(session: &mut Session, user: &[u8], password: &[u8]) -> Result<(), &'static str> {
    let shared = &session.shared;
    let (origin, login) = (session.client.origin, (user, password));
    let (looked_at, refusal) = match shared.unauthenticated.says(origin, login) {
        Look::Now => (true, WRONG),
        Look::At(due) => {
            sleep_until(due).await;
            (true, WRONG)
        }
        Look::RefusedAt(due) => {
            sleep_until(due).await;
            (false, NOT_LOOKED_AT)
        }
    };
    if looked_at {
        // Compared without telling by the time it takes how much of it was right.
        let right = match &shared.settings.password {
            Some(expected) => bool::from(expected.now().as_bytes().ct_eq(password)),
            None => true,
        };
        if right && user == b"default" {
            session.authenticated = true;
            shared.unauthenticated.forget(session.client.id);
            return Ok(());
        }
        shared.unauthenticated.was_wrong(origin, login);
    }
    shared.refusals.note(Cause::WrongPassword, &session.client.peer);
    Err(refusal)
}

pub(super) async fn hello(session: &mut Session, request: &Request) -> Flow {
    let mut protocol = session.replies.protocol;
    if let Some(version) = request.get(1) {
        protocol = match integer(version) {
            None => {
                session.replies.error("ERR Protocol version is not an integer or out of range");
                return Flow::Continue;
            }
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => {
                session.replies.error("NOPROTO unsupported protocol version");
                return Flow::Continue;
            }
        };
    }
    let mut login = None;
    let mut name = None;
    let mut next = 2;
    while let Some(option) = request.get(next) {
        if option.eq_ignore_ascii_case(b"auth") && request.len() > next + 2 {
            login = Some((request.get(next + 1).unwrap_or_default(), request.get(next + 2).unwrap_or_default()));
            next += 3;
        } else if option.eq_ignore_ascii_case(b"setname") && request.len() > next + 1 {
            name = request.get(next + 1);
            if !name.is_some_and(super::client::is_name) {
                session.replies.error(super::client::BAD_NAME);
                return Flow::Continue;
            }
            next += 2;
        } else {
            let error = [b"ERR Syntax error in HELLO option '", words::cut(option, 128), b"'"].concat();
            session.replies.error(error);
            return Flow::Continue;
        }
    }
    if let Some((user, password)) = login
        && let Err(refusal) = authenticate(session, user, password).await
    {
        session.replies.error(refusal);
        return Flow::Continue;
    }
    if !session.authenticated {
        session.replies.error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> \
             option can be used to authenticate the client and select the RESP protocol version at the same time",
        );
        return Flow::Continue;
    }
    if let Some(name) = name {
        session.client.rename(name);
    }
    session.replies.protocol = protocol;
    session.client.speaks(protocol);
    let replies = &mut session.replies;
    replies.map(7);
    for (field, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        replies.bulk(field.as_bytes());
        replies.bulk(value.as_bytes());
    }
    replies.bulk(b"proto");
    replies.signed(protocol.number());
    replies.bulk(b"id");
    replies.integer(session.client.id);
    for (field, value) in [("mode", "standalone"), ("role", "master")] {
        replies.bulk(field.as_bytes());
        replies.bulk(value.as_bytes());
    }
    replies.bulk(b"modules");
    replies.array(0);
    Flow::Continue
}

pub(super) fn reset(session: &mut Session) {
    session.reset();
    session.replies.simple("RESET");
}
