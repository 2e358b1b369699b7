//! Whom the checks trust, and the marks that a handshake leaves in the probe's trace.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::health::check::{Certificates, Http};

use super::TrustError;
use super::trace::{Step, note_cert_expiry, reach};

/// Whose certificates a check accepts.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Trust {
    /// No TLS at all.
    Plain,
    System,
    File(PathBuf),
    Anybody,
}

impl Trust {
    pub(super) fn of(certificates: &Certificates) -> Trust {
        match &certificates.ca_file {
            _ if certificates.insecure => Trust::Anybody,
            Some(file) => Trust::File(file.clone()),
            None => Trust::System,
        }
    }

    /// A check that stays with plain HTTP needs nobody's authorities; a redirect may lead to HTTPS.
    pub(super) fn of_http(check: &Http) -> Trust {
        let is_plain = !check.url.to_ascii_lowercase().starts_with("https:") && check.redirects == 0;
        if is_plain { Trust::Plain } else { Trust::of(&check.certificates) }
    }
}

/// The TLS side of a client: ring, a full handshake each time.
pub(super) fn config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut pinned = Vec::new();
    let inner = match trust {
        Trust::Plain | Trust::Anybody => None,
        Trust::System => Some(Arc::new(
            rustls_platform_verifier::Verifier::new(Arc::clone(&provider)).map_err(TrustError::NoSystemRoots)?,
        ) as _),
        Trust::File(file) => {
            pinned = certificates_in(file)?;
            Some(verifier(file, &pinned, Arc::clone(&provider))?)
        }
    };
    let verifier = Witness { algorithms: provider.signature_verification_algorithms, inner, pinned };
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(TrustError::Tls)?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    // What is resumed was not looked at: each probe shall see the certificate.
    config.resumption = Resumption::store(Arc::new(StartMark));
    Ok(config)
}

fn certificates_in(file: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let not_pem = |reason: String| TrustError::NotPem { file: file.to_owned(), reason };
    let pem = std::fs::read(file).map_err(|error| TrustError::Unreadable { file: file.to_owned(), error })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(not_pem("no certificate in it".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(not_pem(error.to_string())),
    }
}

fn verifier(
    file: &Path,
    certificates: &[CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TrustError> {
    let not_pem = |reason: String| TrustError::NotPem { file: file.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(|error| not_pem(error.to_string()))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map(|verifier| verifier as _).map_err(|error| not_pem(error.to_string()))
}

/// Verifies as `inner` does (nobody: accepts everybody), and notes what it was shown.
#[derive(Debug)]
struct Witness {
    inner: Option<Arc<dyn ServerCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    /// Certificates of the `ca-file`: one that the server shows itself needs no authority (a
    /// self-signed one has none), but its name and its time must be right.
    pinned: Vec<CertificateDer<'static>>,
}

impl Witness {
    fn verify_pinned(
        &self,
        end_entity: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let bad = |error: CertificateError| Error::InvalidCertificate(error);
        let (_, certificate) = X509Certificate::from_der(end_entity).map_err(|_| bad(CertificateError::BadEncoding))?;
        let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now_s < certificate.validity().not_before.timestamp() {
            return Err(bad(CertificateError::NotValidYet));
        }
        if now_s > certificate.validity().not_after.timestamp() {
            return Err(bad(CertificateError::Expired));
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // Noted before it is judged: an expired one is worth knowing, too.
        if let Ok((_, certificate)) = X509Certificate::from_der(end_entity) {
            note_cert_expiry(certificate.validity().not_after.timestamp());
        }
        match &self.inner {
            Some(_) if self.pinned.iter().any(|pinned| pinned == end_entity) => {
                self.verify_pinned(end_entity, name, now)
            }
            Some(inner) => inner.verify_server_cert(end_entity, intermediates, name, ocsp, now),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A session store that stores nothing. A handshake asks it before it sends its first message, and
/// so tells that the TCP connection stands.
#[derive(Debug)]
struct StartMark;

impl ClientSessionStore for StartMark {
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        reach(Step::Handshake);
        None
    }

    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}
