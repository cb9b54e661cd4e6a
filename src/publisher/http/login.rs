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
    /// A token behind this word, such as `Bearer` (RFC 6750).
    Token { scheme: &'static str, token: Secret },
}

impl Login {
    /// That of a user, if there is one.
    pub(in crate::publisher) fn basic(username: Option<&String>, password: Option<&Secret>) -> Self {
        username.map_or(Self::Anonymous, |username| Self::Basic { username: username.clone(), password: password.cloned() })
    }

    /// That with a token, if there is one.
    pub(in crate::publisher) fn token(scheme: &'static str, token: Option<&Secret>) -> Self {
        token.map_or(Self::Anonymous, |token| Self::Token { scheme, token: token.clone() })
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
            Login::Token { token, .. } => token.now(),
        };
        if self.sent.as_ref().is_none_or(|(sent, _)| *sent != secret) {
            let value = match &self.login {
                Login::Token { scheme, .. } => Some([scheme, " ", &secret].concat()),
                Login::Basic { username, .. } => {
                    let request = client.post("").basic_auth(username, secret.as_ref());
                    let value = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                    value.map(str::to_owned)
                }
                Login::Anonymous => None,
            };
            self.sent = value.map(|value| (secret.into_owned(), value));
        }
        self.sent.as_ref().map(|(_, header)| header.as_str())
    }

    /// Takes the secret out of a text: a server may send back what it was sent.
    pub(super) fn hide(&self, mut text: String) -> String {
        let Some((secret, header)) = &self.sent else { return text };
        let encoded = header.split_once(' ').map_or("", |(_, encoded)| encoded);
        for secret in [encoded, secret.as_str()] {
            if !secret.is_empty() && text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        text
    }
}
