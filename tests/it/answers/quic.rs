//! DNS over QUIC (RFC 9250) against clients of all kinds: those that begin a handshake and say nothing
//! more, those that break the rules, and those that keep them.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::encrypted::{self, certificate, trusting};
use super::support::{eventually, query};
use crate::support::daemon::Daemon;
use crate::support::nsd::{dig, free_address};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the next client may wait behind handshakes that do not end: each of them may take 5 s.
const SOON: Duration = Duration::from_secs(3);

/// The program with DNS over QUIC.
struct Program {
    folder: tempfile::TempDir,
    quic: SocketAddr,
    _daemon: Daemon,
    runtime: Runtime,
}

impl Program {
    fn start() -> Program {
        let folder = tempfile::tempdir().unwrap();
        certificate(folder.path());
        let zone = "@ 300 SOA ns h 1 2 3 400000 5\n@ 300 NS ns\nns 300 A 192.0.2.53\nwww 300 A 192.0.2.10\n";
        fs::write(folder.path().join("zone"), zone).unwrap();
        let [plain, quic] = [(); 2].map(|()| free_address());
        let config = format!(
            "listen = [\"{plain}\"]\n[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\nlisten-quic = [\"{quic}\"]\n\
             [zone.\"example.org\"]\nfile = \"zone\"\n"
        );
        let daemon = Daemon::start(folder.path(), &config);
        eventually("it serves", || dig(plain, &["www.example.org", "A"]) == ["192.0.2.10"]);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Program { folder, quic, _daemon: daemon, runtime }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Asks on a connection of its own; how long it took.
    fn ask(&self) -> Duration {
        let began = Instant::now();
        let answered = async {
            let connection = encrypted::quic(self.quic, &self.ca()).await.unwrap();
            exchange(&connection, &framed(&www())).await.unwrap()
        };
        let reply = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, answered).await });
        assert_eq!(reply.expect("an answer")[2 + 6..2 + 8], [0, 1]);
        began.elapsed()
    }

    /// The first datagrams of so many clients.
    fn initials(&self, number: usize) -> Vec<Vec<u8>> {
        self.runtime.block_on(async {
            let mut all = Vec::new();
            for _ in 0..number {
                all.push(initial(&self.ca()).await);
            }
            all
        })
    }
}

/// A query for an address that there is, with the ID 0.
fn www() -> Vec<u8> {
    let mut octets = query("www", 1).to_vec().unwrap();
    octets[..2].fill(0);
    octets
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// Sends octets on a stream of their own; what comes back.
async fn exchange(connection: &quinn::Connection, octets: &[u8]) -> Result<Vec<u8>, quinn::ReadToEndError> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(octets).await.unwrap();
    send.finish().unwrap();
    receive.read_to_end(65_537).await
}

/// The first datagram of a client's handshake.
async fn initial(ca: &Path) -> Vec<u8> {
    let nobody = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(client(ca), nobody.local_addr().unwrap(), "ns.test").unwrap();
    let mut datagram = [0; 2_048];
    let received = tokio::time::timeout(PATIENCE, nobody.recv(&mut datagram)).await.unwrap().unwrap();
    drop(connecting);
    datagram[..received].to_vec()
}

fn client(ca: &Path) -> quinn::ClientConfig {
    let mut tls = trusting(ca);
    tls.alpn_protocols = vec![b"doq".to_vec()];
    quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap()))
}

/// Sends each datagram from an address and port of its own, and says nothing more.
fn send_from_everywhere(datagrams: &[Vec<u8>], to: SocketAddr) -> Vec<UdpSocket> {
    let send = |(number, datagram): (usize, &Vec<u8>)| {
        let socket = UdpSocket::bind((std::net::Ipv4Addr::new(127, 0, 1, number as u8), 0)).unwrap();
        socket.send_to(datagram, to).unwrap();
        socket
    };
    datagrams.iter().enumerate().map(send).collect()
}

/// Anybody can send the first datagram of a handshake, in anybody's name.
#[test]
fn handshakes_that_do_not_end_hold_up_nobody() {
    let program = Program::start();
    program.ask();
    let _silent = send_from_everywhere(&program.initials(50), program.quic);
    let took = program.ask();
    assert!(took < SOON, "{took:?}");
}
