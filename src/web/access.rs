//! Who may ask for what.
//!
//! | who | what keeps them out |
//! |---|---|
//! | another machine, another user | the password where there is one; the permissions of the socket's file |
//! | a page elsewhere, that has a browser on this machine ask | the name by which it asks (`Host`): a name that its owner lets point to this machine is none of ours |
//! | a page elsewhere, that has a browser send a form | that it says where it comes from (`Origin`, `Sec-Fetch-Site`); and the token, for which see `actions` |

use std::net::IpAddr;

use actix_http::{header, uri::Authority};
use actix_web::dev::ServiceRequest;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use subtle::ConstantTimeEq as _;

use crate::config::{self, Secret};

/// What holds for those who come by one socket.
pub(super) struct Access {
    /// The permissions of a file say who may come, and no browser can by itself.
    by_file: bool,
    password: Option<Secret>,
    hosts: Vec<String>,
}

/// What a request says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    path: &'a str,
    /// Whether it may change anything.
    acts: bool,
    host: Option<&'a str>,
    origin: Option<&'a str>,
    site: Option<&'a str>,
    authorization: Option<&'a str>,
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoPassword,
    WrongPassword,
    /// It asks for this name.
    Host(String),
    Elsewhere,
}

impl<'a> Asked<'a> {
    pub(super) fn of(request: &'a ServiceRequest) -> Self {
        let text = |name| {
            let mut values = request.headers().get_all(name);
            // One that is there twice may mean either.
            let value = values.next().filter(|_| values.next().is_none())?;
            value.to_str().ok()
        };
        Self {
            path: request.path(),
            acts: !request.method().is_safe(),
            // A whole URL in the first line is what counts, whatever `Host` says (RFC 9112, 3.2.2).
            host: request.uri().authority().map(Authority::as_str).or_else(|| text(header::HOST)),
            origin: if request.headers().contains_key(header::ORIGIN) { text(header::ORIGIN).or(Some("")) } else { None },
            site: text(header::HeaderName::from_static("sec-fetch-site")),
            authorization: text(header::AUTHORIZATION),
        }
    }
}

impl Access {
    pub(super) fn new(settings: &config::Status, by_file: bool) -> Self {
        Self { by_file, password: settings.password.clone(), hosts: settings.allowed_hosts.clone() }
    }

    /// Who may look, in a sentence.
    pub(super) fn said(&self) -> &'static str {
        match (self.by_file, &self.password) {
            (true, _) => "Who may use the file of this socket may see this page",
            (false, Some(_)) => "Who knows the password may see this page",
            (false, None) => "Whoever is on this machine may see this page",
        }
    }

    pub(super) fn judge(&self, asked: Asked<'_>) -> Result<(), Refusal> {
        // By the file, too: a proxy may use it for browsers.
        if asked.acts && is_from_elsewhere(asked) {
            return Err(Refusal::Elsewhere);
        }
        if self.by_file {
            return Ok(());
        }
        match &self.password {
            Some(password) if !asked.path.starts_with("/health/") => match asked.authorization {
                // A browser keeps the password for the name that it was typed in for: no other page can have it sent.
                Some(said) if says(said, &password.now()) => Ok(()),
                Some(_) => Err(Refusal::WrongPassword),
                None => Err(Refusal::NoPassword),
            },
            _ => self.judge_host(asked.host),
        }
    }

    /// An address is never that of a page elsewhere.
    fn judge_host(&self, host: Option<&str>) -> Result<(), Refusal> {
        let named = host.and_then(|host| host.parse::<Authority>().ok());
        let name = named.as_ref().map(|named| named.host().trim_end_matches('.'));
        let is_ours = |name: &str| {
            let address = name.trim_start_matches('[').trim_end_matches(']');
            address.parse::<IpAddr>().is_ok()
                || name.eq_ignore_ascii_case("localhost")
                || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
        };
        if name.is_some_and(is_ours) { Ok(()) } else { Err(Refusal::Host(host.unwrap_or_default().to_owned())) }
    }
}

/// Whether a browser says that another page has it send this.
fn is_from_elsewhere(asked: Asked<'_>) -> bool {
    let same = |origin: &str| {
        let from = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        from.is_some_and(|from| asked.host.is_some_and(|host| from.eq_ignore_ascii_case(host)))
    };
    asked.origin.is_some_and(|origin| !same(origin)) || asked.site.is_some_and(|site| !["same-origin", "none"].contains(&site))
}

/// Whether a header says the password: as that of any user, or as a bearer token.
fn says(authorization: &str, password: &str) -> bool {
    let (scheme, said) = authorization.split_once(' ').unwrap_or_default();
    let said = if scheme.eq_ignore_ascii_case("basic") {
        let decoded = BASE64_STANDARD.decode(said.trim()).unwrap_or_default();
        decoded.splitn(2, |byte| *byte == b':').nth(1).map(<[u8]>::to_vec)
    } else {
        scheme.eq_ignore_ascii_case("bearer").then(|| said.trim().as_bytes().to_vec())
    };
    said.is_some_and(|said| said.ct_eq(password.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Asked<'_> =
        Asked { path: "/metrics", acts: false, host: Some("127.0.0.1:9636"), origin: None, site: None, authorization: None };
    const ACT: Asked<'_> = Asked { path: "/api/actions/replay", acts: true, ..LOOK };

    fn access(password: Option<&str>) -> Access {
        Access { by_file: false, password: password.map(Secret::new), hosts: vec!["metrics.example.com".to_owned()] }
    }

    #[test]
    fn a_name_that_is_not_ours_is_that_of_a_page_elsewhere() {
        let open = access(None);
        for ours in
            ["localhost", "LOCALHOST:9636", "localhost.:9636", "127.0.0.1", "192.0.2.7:80", "[::1]:9636", "Metrics.Example.com"]
        {
            assert_eq!(open.judge(Asked { host: Some(ours), ..LOOK }), Ok(()), "{ours}");
        }
        for theirs in [
            "evil.example.com",
            "localhost.evil.com:9636",
            "127.0.0.1.nip.io",
            "",
            " ",
            "x@localhost:1@",
            "metrics.example.com.evil",
        ] {
            let refused = open.judge(Asked { host: Some(theirs), ..LOOK });
            assert_eq!(refused, Err(Refusal::Host(theirs.to_owned())));
        }
        assert_eq!(open.judge(Asked { host: None, ..LOOK }), Err(Refusal::Host(String::new())));
        let by_file = Access { by_file: true, ..access(Some("right")) };
        assert_eq!(by_file.judge(Asked { host: Some("evil.example.com"), ..ACT }), Ok(()));
    }

    #[test]
    fn the_password_is_that_of_any_user_or_a_bearer_token() {
        let closed = access(Some("pa:ss"));
        let basic = |said: &str| format!("Basic {}", BASE64_STANDARD.encode(said));
        for (said, judged) in [
            (Some(basic("anna:pa:ss")), Ok(())),
            (Some(basic(":pa:ss")), Ok(())),
            (Some("bearer pa:ss".to_owned()), Ok(())),
            (Some("Bearer pa:s".to_owned()), Err(Refusal::WrongPassword)),
            (Some(basic("pa:ss")), Err(Refusal::WrongPassword)),
            (Some("Basic !".to_owned()), Err(Refusal::WrongPassword)),
            (Some("pa:ss".to_owned()), Err(Refusal::WrongPassword)),
            (Some(String::new()), Err(Refusal::WrongPassword)),
            (None, Err(Refusal::NoPassword)),
        ] {
            // By whichever name: no other page can have a browser say it.
            let asked = Asked { authorization: said.as_deref(), host: Some("kadabra.internal"), ..LOOK };
            assert_eq!(closed.judge(asked), judged, "{said:?}");
        }
        assert_eq!(closed.judge(Asked { path: "/health/ready", ..LOOK }), Ok(()));
        let elsewhere = Asked { path: "/health/ready", host: Some("evil.example.com"), ..LOOK };
        assert!(closed.judge(elsewhere).is_err());
    }

    #[test]
    fn nothing_is_done_that_a_page_elsewhere_asks_for() {
        let open = access(None);
        for (origin, site, judged) in [
            (None, None, Ok(())),
            (Some("http://127.0.0.1:9636"), Some("same-origin"), Ok(())),
            (Some("https://127.0.0.1:9636"), None, Ok(())),
            (Some("http://127.0.0.1:8000"), None, Err(Refusal::Elsewhere)),
            (Some("http://evil.example.com"), None, Err(Refusal::Elsewhere)),
            (Some("null"), None, Err(Refusal::Elsewhere)),
            (Some(""), None, Err(Refusal::Elsewhere)),
            (None, Some("cross-site"), Err(Refusal::Elsewhere)),
            (None, Some("same-site"), Err(Refusal::Elsewhere)),
        ] {
            assert_eq!(open.judge(Asked { origin, site, ..ACT }), judged, "{origin:?} {site:?}");
        }
        let with_password = Asked { authorization: Some("Bearer right"), origin: Some("http://evil.example.com"), ..ACT };
        assert_eq!(access(Some("right")).judge(with_password), Err(Refusal::Elsewhere));
        let by_file = Access { by_file: true, ..access(None) };
        assert_eq!(by_file.judge(Asked { origin: Some("http://evil.example.com"), ..ACT }), Err(Refusal::Elsewhere));
        let without = Asked { authorization: None, ..ACT };
        assert_eq!(access(Some("right")).judge(without), Err(Refusal::NoPassword));
    }
}
