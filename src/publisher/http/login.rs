//! Authentication: which login goes with a request, and how it stays out of sentences.

use awc::{Client, http::header};

use crate::config::Secret;

/// With which login a server is spoken to.
#[derive(Clone, Debug)]
pub(in crate::publisher) enum Login {
    /// None.
    Anonymous,
    /// A user and a password, by HTTP's Basic authentication.
    Basic { username: String, password: Option<Secret> },
    /// A token (RFC 6750).
    Bearer { token: Secret },
}

impl Login {
    /// That of a user, if there is one.
    pub(in crate::publisher) fn basic(username: Option<&String>, password: Option<&Secret>) -> Self {
        username.map_or(Self::Anonymous, |username| Self::Basic { username: username.clone(), password: password.cloned() })
    }
}

/// The `Authorization` header, made once for each secret.
#[derive(Debug)]
pub(super) struct Authorization {
    login: Login,
    /// The secret that was sent last, and the header's value with it.
    sent: Option<(String, String)>,
}

impl Authorization {
    pub(super) fn new(login: Login) -> Self {
        Self { login, sent: None }
    }

    /// The header's value with the secret as it is now: it may have been mended since it was refused, or changed.
    pub(super) fn header(&mut self, client: &Client) -> Option<&str> {
        let secret = match &self.login {
            Login::Anonymous => return None,
            Login::Basic { password, .. } => password.as_ref().map(Secret::now).unwrap_or_default(),
            Login::Bearer { token } => token.now(),
        };
        if self.sent.as_ref().is_none_or(|(sent, _)| *sent != secret) {
            let request = match &self.login {
                Login::Basic { username, .. } => client.post("").basic_auth(username, secret.as_ref()),
                _ => client.post("").bearer_auth(secret.as_ref()),
            };
            let value = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            self.sent = value.map(|value| (secret.into_owned(), value.to_owned()));
        }
        self.sent.as_ref().map(|(_, header)| header.as_str())
    }

    /// Takes the secret out of a text: a server may send back what it was sent.
    pub(super) fn hide(&self, mut text: String) -> String {
        let Some((secret, header)) = &self.sent else { return text };
        for secret in [header.trim_start_matches("Basic ").trim_start_matches("Bearer "), secret.as_str()] {
            if !secret.is_empty() && text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        text
    }
}
