//! What a section says of TLS: certificates and a key in PEM files, and a server's name.

use std::fmt;
use std::fs;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use super::cross_checks::CrossChecks;
use super::error::Problem;
use super::reread::{Kind, Reread};
use super::schema::{Key, Section};
use super::setting::Setting as _;
use super::value_type::ValueType;
use super::values::Values;

/// Far above the largest bundle of certificates, so that a file of another kind is not read to its end.
const LONGEST: u64 = 16 << 20;

const AUTHORITIES: Kind = Kind {
    name: "file of certificates",
    lost: "is of no use any more, and the certificates that it had are used",
    mend: "write certificates in PEM into it, in a file that the agent may read",
};

const CLIENT: Kind = Kind {
    name: "client certificate with its key",
    lost: "is of no use any more, and the one before is used",
    mend: "write the certificate and the key that belongs to it, in PEM, into files that the agent may read",
};

/// The name of a server as a certificate has it.
pub(super) const SERVER_NAME: ValueType = ValueType::Text {
    expected: "a host's name or an IP address, as a certificate has it",
    fits: |text| ServerName::try_from(text).is_ok(),
};

/// What a section says of TLS. By default nothing: the system's certificates are trusted, the server's name is that of its URL,
/// and there is no certificate of a client.
#[derive(Clone, Default)]
pub struct Tls {
    authorities: Option<Arc<Reread<Vec<CertificateDer<'static>>>>>,
    client: Option<Arc<Reread<ClientCertificate>>>,
    server_name: Option<String>,
}

/// A certificate by which a client is known, with those that lead to its authority, and its key.
#[derive(PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Tls {
    /// The certificates in `ca_file` as they are now; `None` where the system's count.
    pub(crate) fn authorities(&self) -> Option<Arc<Vec<CertificateDer<'static>>>> {
        self.authorities.as_ref().map(|file| file.now())
    }

    /// The client's certificate as it is now.
    pub(crate) fn client(&self) -> Option<Arc<ClientCertificate>> {
        self.client.as_ref().map(|files| files.now())
    }

    /// `ca_file`
    pub(crate) fn ca_file(&self) -> Option<&str> {
        self.authorities.as_ref()?.files().first().map(String::as_str)
    }

    /// `client_certificate`
    pub(crate) fn client_certificate(&self) -> Option<&str> {
        self.client.as_ref()?.files().first().map(String::as_str)
    }

    /// `server_name`
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = |files: Option<&[String]>| files.map(<[String]>::to_vec);
        let (authorities, client) = (self.authorities.as_ref(), self.client.as_ref());
        f.debug_struct("Tls")
            .field("authorities", &files(authorities.map(|file| file.files())))
            .field("client", &files(client.map(|file| file.files())))
            .field("server_name", &self.server_name)
            .finish()
    }
}

/// Of the same files.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        let authorities = |tls: &Self| tls.authorities.as_ref().map(|file| file.files().to_vec());
        let client = |tls: &Self| tls.client.as_ref().map(|file| file.files().to_vec());
        authorities(self) == authorities(other) && client(self) == client(other) && self.server_name == other.server_name
    }
}

/// The keys of TLS, which every section that has one of them has.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub(super) ca_file: &'static Key,
    pub(super) client_certificate: &'static Key,
    pub(super) client_key: &'static Key,
    pub(super) server_name: &'static Key,
}

impl Keys {
    fn of(section: &Section) -> Option<Self> {
        let key = |name: &str| section.keys.iter().copied().find(|key| key.name() == name);
        let (ca_file, client_certificate) = (key("ca_file")?, key("client_certificate")?);
        Some(Self { ca_file, client_certificate, client_key: key("client_key")?, server_name: key("server_name")? })
    }

    /// That they are set where there is TLS alone, and a certificate with its key. `encrypted` is whether the `url` is one of TLS, which
    /// begins with `scheme`; `None` where nothing is known of it.
    pub(super) fn check(self, checks: &mut CrossChecks<'_>, encrypted: Option<bool>, url: &'static Key, scheme: &str) {
        let Self { ca_file, client_certificate, client_key, server_name } = self;
        if encrypted == Some(false) {
            for key in [ca_file, client_certificate, client_key, server_name] {
                let (found, url) = (checks.found(key), checks.found(url));
                if !found.is_unset() {
                    checks.report(&found, format!("of no use without TLS; expected {scheme} in {}", url.described_to(&found)));
                }
            }
        }
        let (certificate, key) = (checks.found(client_certificate), checks.found(client_key));
        match (certificate.is_unset(), key.is_unset()) {
            (false, true) => checks.report(&certificate, format!("a certificate without its key; expected {client_key} too")),
            (true, false) => checks.report(&key, format!("a key without its certificate; expected {client_certificate} too")),
            _ => {}
        }
    }
}

/// Nothing of the key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

/// What a section says of TLS, with its files read; `None` where it says nothing, or there is a problem.
pub(super) fn read(values: &Values, section: &Section, problems: &mut Vec<Problem>) -> Option<Tls> {
    let keys = Keys::of(section)?;
    let path = |key| String::of(values, key);
    let mut report = |key: &'static Key, sentence: String| problems.push(values.found(key).problem(sentence));
    let authorities = path(keys.ca_file).and_then(|file| {
        let path = file.clone();
        let read = Reread::new(&AUTHORITIES, vec![file], move || authorities_in(&path));
        read.map_err(|sentence| report(keys.ca_file, sentence)).ok().map(Arc::new)
    });
    let client = path(keys.client_certificate).zip(path(keys.client_key)).and_then(|(certificate, key)| {
        // Each by itself, for the problem to be where it belongs.
        if let Err(sentence) = certificates_in(&certificate) {
            report(keys.client_certificate, sentence);
            return None;
        }
        let files = vec![certificate.clone(), key.clone()];
        let read = Reread::new(&CLIENT, files, move || client_in(&certificate, &key));
        read.map_err(|sentence| report(keys.client_key, sentence)).ok().map(Arc::new)
    });
    Some(Tls { authorities, client, server_name: path(keys.server_name) })
}

/// The certificates in a file of which one, at least, can be an authority's or a server's own.
fn authorities_in(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = certificates_in(path)?;
    let mut roots = RootCertStore::empty();
    let why = found.iter().find_map(|certificate| roots.add(certificate.clone()).err());
    match why {
        Some(why) if roots.is_empty() => Err(format!("no certificate in it can be used: {why}")),
        _ => Ok(found),
    }
}

fn certificates_in(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = content(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|why| not_pem(&why))?;
    if found.is_empty() {
        return Err("there is no certificate in it; expected PEM, which has -----BEGIN CERTIFICATE-----".to_owned());
    }
    Ok(found)
}

fn client_in(certificate: &str, key: &str) -> Result<ClientCertificate, String> {
    let chain = certificates_in(certificate)?;
    let text = content(key)?;
    let found = PrivateKeyDer::from_pem_slice(&text).map_err(|why| match why {
        pem::Error::NoItemsFound if has(&text, "-----BEGIN ENCRYPTED PRIVATE KEY-----") => {
            "the key in it is encrypted; expected one without a passphrase, as openssl pkey -in FILE writes it".to_owned()
        }
        pem::Error::NoItemsFound => {
            "there is no private key in it; expected PEM, which has -----BEGIN PRIVATE KEY-----".to_owned()
        }
        why => not_pem(&why),
    })?;
    match CertifiedKey::from_der(chain.clone(), found.clone_key(), &ring::default_provider()) {
        Ok(_) => Ok(ClientCertificate { chain, key: found }),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(format!("the key does not belong to the first certificate in {certificate}"))
        }
        Err(rustls::Error::InvalidCertificate(why)) => Err(format!("the certificate in {certificate} cannot be used: {why}")),
        Err(why) => Err(format!("the key cannot be used: {why}")),
    }
}

fn has(text: &[u8], line: &str) -> bool {
    text.windows(line.len()).any(|found| found == line.as_bytes())
}

/// The words of a parser may quote the file, which may be a key's.
fn not_pem(why: &pem::Error) -> String {
    let what = match why {
        pem::Error::MissingSectionEnd { .. } => "a part of it has no end",
        pem::Error::Base64Decode(_) => "it is damaged",
        _ => "its lines are not those of PEM",
    };
    format!("{what}; expected PEM, as openssl writes it")
}

fn content(path: &str) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let unreadable = |why| format!("cannot be read: {why}");
    fs::File::open(path).map_err(unreadable)?.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("the file has more than {LONGEST} bytes; expected certificates or a key in PEM and nothing else"));
    }
    Ok(bytes)
}
