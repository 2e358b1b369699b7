//! TLS for the checks: whom to trust, and the marks that a handshake leaves in the probe's trace.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::health::check::Http;

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
    pub(super) fn of(check: &Http) -> Trust {
        match &check.ca_file {
            _ if !check.url.to_ascii_lowercase().starts_with("https:") => Trust::Plain,
            _ if check.insecure => Trust::Anybody,
            Some(file) => Trust::File(file.clone()),
            None => Trust::System,
        }
    }
}

/// The TLS side of a client: ring, HTTP/1.1, a full handshake each time.
pub(super) fn config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Witness {
        algorithms: provider.signature_verification_algorithms,
        inner: match trust {
            Trust::Plain | Trust::Anybody => None,
            Trust::System => Some(Arc::new(
                rustls_platform_verifier::Verifier::new(Arc::clone(&provider)).map_err(TrustError::NoSystemRoots)?,
            )),
            Trust::File(file) => Some(trust_file(file, Arc::clone(&provider))?),
        },
    };
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(TrustError::Tls)?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // What is resumed was not looked at: each probe shall see the certificate.
    config.resumption = Resumption::store(Arc::new(StartMark));
    Ok(config)
}

fn trust_file(file: &Path, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TrustError> {
    let not_pem = |reason: String| TrustError::NotPem { file: file.to_owned(), reason };
    let pem = std::fs::read(file).map_err(|error| TrustError::Unreadable { file: file.to_owned(), error })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| not_pem(error.to_string()))?;
        roots.add(certificate).map_err(|error| not_pem(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(not_pem("no certificate in it".to_owned()));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map(|verifier| verifier as _).map_err(|error| not_pem(error.to_string()))
}

/// Verifies as `inner` does (nobody: accepts everybody), and notes what it was shown.
#[derive(Debug)]
struct Witness {
    inner: Option<Arc<dyn ServerCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
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
