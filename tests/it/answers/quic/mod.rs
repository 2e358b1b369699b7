//! DNS over QUIC (RFC 9250) against clients of all kinds: those that begin a handshake and say nothing
//! more, those that break the rules, and those that keep them.

mod handshakes;
mod streams;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nsd_failover::health::family::Family;
use nsd_failover::serve::answerer::Answerer;
use nsd_failover::serve::counters::{self, Counters};
use nsd_failover::serve::door::Door;
use nsd_failover::serve::encrypted::Certificate;
use nsd_failover::serve::quic::{self, Listener};
use nsd_failover::serve::relay;
use nsd_failover::serve::service::{Service, Settings};
use nsd_failover::table::respond::{Limits, Transport};
use nsd_failover::table::zone_table::Mode;
use nsd_failover::table::{Live, Table};
use quinn::{ConnectionError, ReadToEndError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::encrypted::{self, trusting};
use super::support::{catalog, held, query};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The codes of RFC 9250 section 4.3.
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 2;
const REQUEST_CANCELLED: u32 = 3;
const EXCESSIVE_LOAD: u32 = 4;
const UNSPECIFIED_ERROR: u32 = 5;

/// The listener of the program, in this process.
struct Server {
    folder: tempfile::TempDir,
    address: SocketAddr,
    counters: Arc<Counters>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
    runtime: Runtime,
}

impl Server {
    fn start() -> Server {
        Server::start_with(None, |_| {})
    }

    /// `adjust` changes what clients may do.
    fn start_with(relay: Option<relay::Settings>, adjust: impl Fn(&mut Settings)) -> Server {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        encrypted::certificate(folder.path());
        let chain = vec![CertificateDer::from_pem_file(folder.path().join("cert.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(folder.path().join("key.pem")).unwrap();
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        let certificate = Arc::new(Certificate::new(Arc::new(rustls::sign::CertifiedKey::new(chain, key))));
        let mut settings = Settings::default();
        adjust(&mut settings);
        let overlay = Table::new(catalog(Mode::Overlay), 1, &[held(Some(0), None)], &[None], &[1000]);
        let (live, counters) = (Arc::new(Live::new(overlay)), Arc::new(Counters::default()));
        let relay = relay.map(|relay| Arc::new(relay::tcp::Relay::new(&relay)));
        let service = Service {
            answerer: Answerer::new(live, relay, None, Limits::new(Transport::Stream, false)),
            settings,
            block: counters.block(counters::Transport::Quic, Family::Ipv4),
        };
        let door = Door::new(settings.connections_max, settings.connections_per_client);
        let socket = quic::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = runtime.block_on(async { Listener::new(socket, &certificate, &settings).unwrap() });
        let task = runtime.spawn(listener.run(door, service, async { drop(stopped.await) }));
        Server { folder, address, counters, stop: Some(stop), task: Some(task), runtime }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    async fn connect(&self) -> quinn::Connection {
        within(encrypted::quic(self.address, &self.ca())).await.unwrap()
    }

    /// Begins the end.
    fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for it.
    async fn stopped(&mut self) {
        within(self.task.take().unwrap()).await.unwrap();
    }
}

async fn within<T>(what: impl IntoFuture<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("in time")
}

/// A query for an address of ours, with the ID 0.
fn www() -> Vec<u8> {
    ours(&query("www", 1).to_vec().unwrap())
}

fn ours(message: &[u8]) -> Vec<u8> {
    [&[0, 0][..], &message[2..]].concat()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// Sends octets on a stream of their own; what comes back.
async fn exchange(connection: &quinn::Connection, octets: &[u8]) -> Result<Vec<u8>, ReadToEndError> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(octets).await.unwrap();
    send.finish().unwrap();
    within(receive.read_to_end(65_537)).await
}

/// Asks, and must be answered.
async fn ask(connection: &quinn::Connection) {
    let reply = exchange(connection, &framed(&www())).await.unwrap();
    assert_eq!(reply[2 + 6..2 + 8], [0, 1], "one answer");
}

/// The code with which the server has closed the connection.
async fn closed(connection: &quinn::Connection) -> u32 {
    match within(connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => u32::try_from(close.error_code.into_inner()).unwrap(),
        other => panic!("{other}"),
    }
}

fn client(ca: &Path) -> quinn::ClientConfig {
    let mut tls = trusting(ca);
    tls.alpn_protocols = vec![b"doq".to_vec()];
    tls.enable_early_data = true;
    quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap()))
}

fn endpoint() -> quinn::Endpoint {
    quinn::Endpoint::client((IpAddr::from([127, 0, 0, 1]), 0).into()).unwrap()
}
