//! Whom TLS trusts: what the system trusts, and a server whose very certificate is among that.

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

/// How long the system's certificates are used before they are read again: it takes some ms, and they change while the
/// agent runs.
const READ_AFTER: Duration = Duration::from_secs(60);

/// The system's certificates as they were read last, and when.
static READ: Mutex<Option<(Instant, Arc<ClientConfig>)>> = Mutex::new(None);

/// Has the next connection read the system's certificates again.
pub(crate) fn read_anew() {
    *read() = None;
}

/// TLS 1.2 and 1.3 that trust what the system trusts.
///
/// # Errors
/// A sentence, when the system trusts nobody, so that every server would be refused.
pub(super) fn config() -> Result<Arc<ClientConfig>, String> {
    let mut read = read();
    if let Some((at, config)) = &*read
        && at.elapsed() < READ_AFTER
    {
        return Ok(Arc::clone(config));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Of a hundred certificates one may be of a kind that is not understood, and is not trusted then.
    roots.add_parsable_certificates(found.certs.iter().cloned());
    if roots.is_empty() {
        let why = found.errors.first().map(|why| format!(" ({why})")).unwrap_or_default();
        return Err(format!(
            "this system has no certificates of authorities that it trusts{why}; install them (Debian: apt-get install \
             ca-certificates), or name a file of them in the environment variable SSL_CERT_FILE"
        ));
    }
    let provider = Arc::new(ring::default_provider());
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let verifier = Verifier { chain: chain.map_err(|why| why.to_string())?, trusted: found.certs };
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|why| why.to_string())?;
    let config = Arc::new(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth());
    *read = Some((Instant::now(), Arc::clone(&config)));
    Ok(config)
}

fn read() -> MutexGuard<'static, Option<(Instant, Arc<ClientConfig>)>> {
    READ.lock().unwrap_or_else(PoisonError::into_inner)
}

/// rustls's own verifier, which also accepts a server's certificate that is itself, byte for byte, one that the system
/// trusts: `openssl req -x509` makes certificates of authorities (CA:TRUE), which webpki takes for no server's. Its name
/// and dates must be right all the same.
#[derive(Debug)]
struct Verifier {
    chain: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
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
