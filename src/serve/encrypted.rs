//! What the encrypted transports share: the certificate that is shown, the handshake over TCP, and
//! the sockets that the daemon binds.

use std::net::UdpSocket;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// The certificate that is shown; replaced at a reload, for the handshakes that follow.
#[derive(Debug)]
pub struct Certificate(RwLock<Arc<CertifiedKey>>);

impl Certificate {
    pub fn new(certified: Arc<CertifiedKey>) -> Certificate {
        Certificate(RwLock::new(certified))
    }

    pub fn replace(&self, certified: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Makes TLS of TCP.
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// For DNS messages as over TCP (RFC 7858).
    pub fn for_dns(certificate: &Arc<Certificate>) -> Acceptor {
        Acceptor::new(certificate, &["dot"])
    }

    /// For HTTP of both versions.
    pub fn for_http(certificate: &Arc<Certificate>) -> Acceptor {
        Acceptor::new(certificate, &["h2", "http/1.1"])
    }

    /// `protocols`: what a client that asks may choose from (ALPN). Nothing is chosen for one that does not ask:
    /// what it speaks shows in what it sends.
    fn new(certificate: &Arc<Certificate>, protocols: &[&str]) -> Acceptor {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("ring knows the default versions");
        let mut config = builder.with_no_client_auth().with_cert_resolver(certificate.clone());
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Acceptor(TlsAcceptor::from(Arc::new(config)))
    }

    /// `None`: the client cannot, or not in time.
    pub async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        // A handshake is a conversation: nothing of it may wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        timeout(HANDSHAKE_MAX, self.0.accept(stream)).await.ok()?.ok()
    }
}

/// Bound sockets, by what is spoken on them.
#[derive(Default)]
pub struct Sockets {
    pub tls: Vec<std::net::TcpListener>,
    pub https: Vec<std::net::TcpListener>,
    pub quic: Vec<UdpSocket>,
}
