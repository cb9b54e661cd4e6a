//! Which servers TLS trusts, and which certificate it shows them: by the files that a section of the configuration names, or else
//! by what the system trusts. A server whose very certificate is among what is trusted is trusted, too.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use crate::config::{self, ClientCertificate};

/// How long the system's certificates are used before they are read again: it takes some ms, and they change while the
/// agent runs.
const READ_AFTER: Duration = Duration::from_secs(60);

/// Certificates that are trusted.
type Authorities = Arc<Vec<CertificateDer<'static>>>;

/// The system's certificates as they were read last, and until when they are used.
static SYSTEM: Mutex<Option<(Instant, Authorities)>> = Mutex::new(None);

/// Has the next connection read the system's certificates again.
pub(crate) fn read_anew() {
    if let Some((until, _)) = &mut *lock(&SYSTEM) {
        *until = Instant::now();
    }
}

/// How connections to one server are encrypted. Sessions are resumed for as long as no file has changed.
#[derive(Debug)]
pub(super) struct Encryption {
    files: config::Tls,
    /// What is spoken inside (ALPN), if that is to be named.
    protocol: Option<&'static str>,
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    authorities: Authorities,
    certificate: Option<Arc<ClientCertificate>>,
    config: Arc<ClientConfig>,
}

impl Encryption {
    pub(super) fn new(files: config::Tls, protocol: Option<&'static str>) -> Self {
        Self { files, protocol, made: Mutex::new(None) }
    }

    pub(super) fn files(&self) -> &config::Tls {
        &self.files
    }

    /// TLS 1.2 and 1.3 with the files as they are now.
    ///
    /// # Errors
    /// A sentence, when the system trusts no authority, so that every server would be refused.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let authorities = self.files.authorities().map_or_else(system, Ok)?;
        let certificate = self.files.client();
        let mut made = lock(&self.made);
        if let Some(made) = &*made
            && Arc::ptr_eq(&made.authorities, &authorities)
            && made.certificate.as_ref().map(Arc::as_ptr) == certificate.as_ref().map(Arc::as_ptr)
        {
            return Ok(Arc::clone(&made.config));
        }
        let config = client_config(&authorities, certificate.as_deref(), self.protocol).map_err(|why| why.to_string())?;
        let config = Arc::new(config);
        *made = Some(Made { authorities, certificate, config: Arc::clone(&config) });
        Ok(config)
    }
}

fn client_config(
    authorities: &Authorities,
    certificate: Option<&ClientCertificate>,
    protocol: Option<&'static str>,
) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    // Of a hundred certificates one may be of a kind that is not understood, and is not trusted then.
    roots.add_parsable_certificates(authorities.iter().cloned());
    let provider = Arc::new(ring::default_provider());
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let chain = chain.map_err(|why| Error::General(why.to_string()))?;
    let verifier = Arc::new(Verifier { chain, trusted: Arc::clone(authorities) });
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match certificate {
        Some(ClientCertificate { chain, key }) => config.with_client_auth_cert(chain.clone(), key.clone_key())?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = protocol.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(config)
}

/// What the system trusts.
fn system() -> Result<Authorities, String> {
    let mut system = lock(&SYSTEM);
    if let Some((until, authorities)) = &*system
        && Instant::now() < *until
    {
        return Ok(Arc::clone(authorities));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs.iter().cloned());
    if roots.is_empty() {
        let why = found.errors.first().map(|why| format!(" ({why})")).unwrap_or_default();
        return Err(format!(
            "this system has no certificates of authorities that it trusts{why}; install them (Debian: apt-get install \
             ca-certificates), or name a file of them in ca_file"
        ));
    }
    let authorities = match system.take() {
        // The same as before, so that sessions are still resumed.
        Some((_, before)) if *before == found.certs => before,
        _ => Arc::new(found.certs),
    };
    *system = Some((Instant::now() + READ_AFTER, Arc::clone(&authorities)));
    Ok(authorities)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// rustls's own verifier, which also accepts a server's certificate that is itself, byte for byte, one of those that are
/// trusted: `openssl req -x509` makes certificates of authorities (CA:TRUE), which webpki takes for no server's. Its name
/// and dates must be right all the same.
#[derive(Debug)]
struct Verifier {
    chain: Arc<WebPkiServerVerifier>,
    trusted: Authorities,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(Error::InvalidCertificate(why)) if is_about_the_issuer_alone(&why) && self.trusted.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Whether nothing is wrong but who issued it, or that it is an authority's. webpki looks at the dates before either.
fn is_about_the_issuer_alone(why: &CertificateError) -> bool {
    *why == CertificateError::UnknownIssuer || is_an_authority(why)
}

/// Whether a certificate was refused since it is an authority's.
pub(super) fn is_an_authority(why: &CertificateError) -> bool {
    webpki_error(why) == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// What webpki said, where rustls has no error of its own for that.
pub(super) fn webpki_error(why: &CertificateError) -> Option<&webpki::Error> {
    match why {
        CertificateError::Other(other) => other.0.downcast_ref(),
        _ => None,
    }
}
