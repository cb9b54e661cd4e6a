//! Why there is no connection, in sentences for the person who must act.

use std::{fmt, io, net::SocketAddr, time::Duration};

use rustls::{AlertDescription, CertificateError, pki_types::UnixTime};

use super::{Server, Service, proxy::Refusal, tls};
use crate::{config, duration::for_people, quote::quote};

/// Why an address was not connected to.
#[derive(Debug)]
pub(super) enum Why {
    /// There was no connection.
    Tcp(io::Error),
    /// There was one, and it could not be encrypted.
    Tls(io::Error),
    /// It said nothing in time.
    Late,
}

/// How far it came.
#[derive(Debug)]
pub(super) enum Unreached {
    /// The name was not found; in the resolver's words.
    Name(String),
    /// The resolver said nothing in time.
    NameLate,
    /// TLS cannot be spoken with anybody, or not with a host of this name.
    Unsafe(String),
    /// Of each address why.
    Addresses(Vec<(SocketAddr, Why)>),
    /// There was a connection, and no more than that.
    Behind(Why),
    /// A proxy does not lead to it.
    Refused(Refusal),
}

/// Why a server was not reached. Prints what happened; [`Failure::remedy`] says what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    service: Service,
    called: Option<String>,
    host: String,
    /// What the certificate must be for.
    name: String,
    /// What the configuration says of TLS, if that was to be spoken.
    tls: Option<config::Tls>,
    within: Duration,
    unreached: Unreached,
}

impl std::error::Error for Failure {}

impl Failure {
    /// `within`: the time that all of it had.
    pub(super) fn new(server: &Server, within: Duration, unreached: Unreached) -> Self {
        let Server { service, called, host, encryption, .. } = server;
        let tls = encryption.as_ref().map(|encryption| encryption.files().clone());
        Self {
            service: *service,
            called: called.clone(),
            host: host.clone(),
            name: server.name().to_owned(),
            tls,
            within,
            unreached,
        }
    }

    /// Whether a certificate was refused.
    pub(super) fn is_about_a_certificate(&self) -> bool {
        let is_about_one = |why: &Why| matches!(why.rustls(), Some(rustls::Error::InvalidCertificate(_)));
        match &self.unreached {
            Unreached::Addresses(attempts) => attempts.iter().any(|(_, why)| is_about_one(why)),
            Unreached::Behind(why) => is_about_one(why),
            _ => false,
        }
    }

    /// What to look at.
    pub(crate) fn remedy(&self) -> String {
        let Service { name, key, place, .. } = &self.service;
        let place = if self.called.is_some() { format!("the host and port in {key}") } else { (*place).to_owned() };
        match &self.unreached {
            Unreached::Name(_) | Unreached::NameLate => format!("check the host name in {key} and this machine's DNS"),
            // It says itself what to do.
            Unreached::Unsafe(_) => format!("{} connects without TLS", self.service.without_tls()),
            Unreached::Refused(refusal) => refusal.remedy(),
            Unreached::Behind(Why::Late) => {
                "check that neither it nor the proxy is stalled, and that this port speaks TLS".to_owned()
            }
            Unreached::Behind(why) => self.remedy_of_tls(why.rustls()),
            Unreached::Addresses(attempts) => {
                // What got furthest says most.
                let furthest = attempts.iter().map(|(_, why)| why).max_by_key(|why| why.furthest());
                match furthest {
                    Some(why @ Why::Tls(_)) => self.remedy_of_tls(why.rustls()),
                    Some(Why::Tcp(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        format!("check that {name} is running there, and {place}")
                    }
                    Some(Why::Late) if self.tls.is_some() => {
                        "check that it is not stalled, that no firewall is in between, and that this port speaks TLS".to_owned()
                    }
                    Some(Why::Late) => "check that it is not stalled, and that no firewall is in between".to_owned(),
                    _ => format!("check {place}, and this machine's network"),
                }
            }
        }
    }

    fn remedy_of_tls(&self, error: Option<&rustls::Error>) -> String {
        let named = self.tls.as_ref().and_then(config::Tls::server_name);
        match error {
            Some(rustls::Error::InvalidCertificate(why)) => match why {
                why if is_by_another(why) => self.trust_it("its issuer's, or its own"),
                why if tls::is_an_authority(why) => format!(
                    "{}, or make one that is a server's: openssl req -x509 with -addext basicConstraints=critical,CA:FALSE",
                    self.trust_it("this very one")
                ),
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "renew it there; should it be new, check this machine's clock".to_owned()
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "check this machine's clock, and that of who made it".to_owned()
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    // Without a URL, the host may be what another server says.
                    let url = self.service.plain.filter(|_| named.is_none()).map(|_| self.service.key.to_owned());
                    let keys: Vec<_> = url.into_iter().chain(self.service.sibling("server_name")).collect();
                    let verb = if named.is_some() { "correct" } else { "write a host that it is for into" };
                    format!("{verb} {}, or {}", keys.join(" or into "), make_one(&self.name))
                }
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                    "make one with extendedKeyUsage=serverAuth, or without extendedKeyUsage".to_owned()
                }
                _ => make_one(&self.name),
            },
            Some(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) | rustls::Error::PeerIncompatible(_)) => {
                "enable TLS 1.2 or 1.3 there".to_owned()
            }
            Some(rustls::Error::AlertReceived(_)) => self.remedy_of_an_alert(),
            _ => format!("check whether that port speaks TLS; {} connects without", self.service.without_tls()),
        }
    }

    /// `what`: which certificate.
    fn trust_it(&self, what: &str) -> String {
        let key = self.service.sibling("ca_file").unwrap_or_else(|| "the environment variable SSL_CERT_FILE".to_owned());
        match self.tls.as_ref().and_then(config::Tls::ca_file) {
            Some(file) => format!("put {what} into {file}, which {key} names"),
            None => format!(
                "put {what} into a file that {key} names, or among the certificates that this system trusts (Debian: copy it to \
                 /usr/local/share/ca-certificates/NAME.crt and run update-ca-certificates)"
            ),
        }
    }

    /// What is trusted, in words.
    fn trusted(&self) -> String {
        self.tls.as_ref().and_then(config::Tls::ca_file).map_or("this system".to_owned(), |file| ["the file ", file].concat())
    }

    fn remedy_of_an_alert(&self) -> String {
        match (self.tls.as_ref().and_then(config::Tls::client_certificate), self.service.sibling("client_certificate")) {
            (Some(file), Some(key)) => format!(
                "look into the log there; if it does not accept the certificate in {file}, renew that, or have the server trust \
                 its issuer ({key})"
            ),
            _ => self.service.remedy_of_an_alert("have the server ask for none"),
        }
    }
}

/// Whether no authority that is trusted has issued it: none of the name that it gives its issuer, or one with another key.
fn is_by_another(why: &CertificateError) -> bool {
    matches!(
        why,
        CertificateError::UnknownIssuer
            | CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
    )
}

fn make_one(host: &str) -> String {
    let kind = if host.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
    format!("make one that is for this host: openssl req -x509 … -addext subjectAltName={kind}:{host}")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(called) = &self.called {
            write!(f, "{called}: ")?;
        }
        match &self.unreached {
            Unreached::Name(why) => write!(f, "cannot find the host {}: {why}", self.host),
            Unreached::NameLate => {
                write!(f, "cannot find the host {}: no answer of the resolver within {}", self.host, for_people(self.within))
            }
            Unreached::Unsafe(why) => write!(f, "TLS: {why}"),
            Unreached::Behind(why) => write!(f, "{}", Said(why, self)),
            Unreached::Refused(refusal) => write!(f, "{refusal}"),
            Unreached::Addresses(attempts) => {
                let is_an_address = self.host.parse::<std::net::IpAddr>().is_ok();
                for (index, (address, why)) in attempts.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    if is_an_address {
                        write!(f, "{}", Said(why, self))?;
                    } else {
                        write!(f, "{address}: {}", Said(why, self))?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Why an address was not connected to, in words.
struct Said<'a>(&'a Why, &'a Failure);

impl Why {
    /// The later something fails, the more it says.
    fn furthest(&self) -> u8 {
        match self {
            Self::Tls(_) => 3,
            Self::Tcp(error) if error.kind() == io::ErrorKind::ConnectionRefused => 2,
            Self::Late => 1,
            Self::Tcp(_) => 0,
        }
    }

    fn rustls(&self) -> Option<&rustls::Error> {
        match self {
            Self::Tls(error) => error.get_ref()?.downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(why, failure) = self;
        match (why, why.rustls()) {
            (_, Some(rustls::Error::InvalidCertificate(why))) => failure.refused(f, why),
            (_, Some(rustls::Error::InvalidMessage(_))) => f.write_str("what answers does not speak TLS"),
            (Why::Tls(error), None) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the connection was closed before it was encrypted")
            }
            (Why::Tcp(error), _) => write!(f, "{error}"),
            (Why::Tls(error), _) => write!(f, "TLS: {error}"),
            (Why::Late, _) => write!(f, "no answer within {}", for_people(failure.within)),
        }
    }
}

impl Failure {
    /// Why a certificate was refused.
    fn refused(&self, f: &mut fmt::Formatter<'_>, why: &CertificateError) -> fmt::Result {
        let trusted = self.trusted();
        match why {
            CertificateError::UnknownIssuer => write!(f, "its certificate was issued by nobody whom {trusted} trusts"),
            why if is_by_another(why) => {
                write!(f, "its certificate was not issued by whom {trusted} trusts under the name of its issuer")
            }
            why if tls::is_an_authority(why) => write!(
                f,
                "its certificate is an authority's (CA:TRUE, as openssl req -x509 makes them), and itself not among those that \
                 {trusted} trusts"
            ),
            CertificateError::ExpiredContext { not_after, .. } => {
                write!(f, "its certificate has expired, at {}", time(*not_after))
            }
            CertificateError::NotValidYetContext { not_before, .. } => {
                write!(f, "its certificate is not valid yet, before {}", time(*not_before))
            }
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                f.write_str("its certificate names no host (it has no subjectAltName, and CN alone does not count)")
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
                write!(f, "its certificate is for {}, not for {}", quote(&names.join(", ")), self.name)
            }
            why => match tls::webpki_error(why) {
                Some(webpki::Error::UnsupportedCertVersion) => f.write_str("its certificate is not of X.509 version 3"),
                _ => write!(f, "its certificate cannot be used: {why}"),
            },
        }
    }
}

/// `DnsName("host")` as `host`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

fn time(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("second {seconds}"), |time| time.to_string())
}
