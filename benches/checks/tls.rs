//! 10,000 TLS checks, and as many HTTPS checks, beside 10,000 bare handshakes of a rustls client that
//! verifies the same certificate, in turn against the same server. The CPU time of the client's
//! thread counts, which is read from /proc, so this needs Linux.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nsd_failover::failover::pool::Node;
use nsd_failover::health::check::{Certificates, Check, Http, Kind, Names, Tls};
use nsd_failover::health::family::Family;
use nsd_failover::probe::Prober;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::authority::Authority;
use super::verdict::Verdict;

/// What is to hold: a TLS check takes at most so many times the CPU time of a bare handshake.
const MOST: f64 = 1.1;
const NODE: &str = "fishfinger.example.org";
const CHECKS: usize = 10_000;
/// The kinds take turns, so that what else the machine does falls on all of them alike.
const ROUNDS: usize = 10;
/// So many are under way at a time.
const LANES: usize = 32;

pub fn run(verdict: &mut Verdict) {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let ca_file = authority.write_ca(folder.path());
    let address = serve(authority.server(&[NODE]));
    let certificates = Certificates { ca_file: Some(ca_file.clone()), ..Certificates::default() };
    let names = Names::List(vec!["{node}".to_owned()]);
    let tls = check(Kind::Tls(Tls { port: address.port(), names, certificates: certificates.clone() }));
    let url = format!("https://{{node}}:{}/", address.port());
    let http = Http { url, expect: Some("Welcome".to_owned()), status: vec![200], certificates, ..Http::default() };
    let http = check(Kind::Http(http));
    let prober = Prober::new([&tls, &http]).expect("the certificates are good");
    let bare = TlsConnector::from(Arc::new(client(&ca_file)));
    // One thread, so that its CPU time is that of the client.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut cpu = [Duration::ZERO; 3];
    let mut wall = [Duration::ZERO; 3];
    for _ in 0..ROUNDS {
        for kind in 0..cpu.len() {
            let (before, started) = (cpu_time(), Instant::now());
            runtime.block_on(many(|| {
                let (bare, prober) = (bare.clone(), prober.clone());
                let check = if kind == 1 { tls.clone() } else { http.clone() };
                async move {
                    match kind {
                        0 => handshake(&bare, address).await,
                        _ => {
                            let node = Node { name: NODE.to_owned(), ipv4: Some(Ipv4Addr::LOCALHOST), ipv6: None };
                            let outcome = prober.probe(&check, &node, Family::Ipv4).await;
                            assert_eq!(outcome.success, Some(true), "{outcome:?}");
                        }
                    }
                }
            }));
            cpu[kind] += cpu_time() - before;
            wall[kind] += started.elapsed();
        }
    }
    for (kind, name) in ["bare handshakes", "TLS checks", "HTTPS checks"].into_iter().enumerate() {
        let each = cpu[kind] / CHECKS as u32;
        let ratio = cpu[kind].as_secs_f64() / cpu[0].as_secs_f64();
        println!("{CHECKS} {name:<16} {each:>9.1?} of CPU each, {ratio:.2} x; {:.1?} in all", wall[kind]);
    }
    let ratio = cpu[1].as_secs_f64() / cpu[0].as_secs_f64();
    verdict.at_most("TLS checks", ratio, MOST, " times the bare handshakes' CPU");
}

/// A part of all, [`LANES`] at a time.
async fn many<F: Future<Output = ()> + 'static>(one: impl Fn() -> F) {
    let local = tokio::task::LocalSet::new();
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let works: Vec<F> = (0..CHECKS / ROUNDS / LANES + 1).map(|_| one()).collect();
        lanes.spawn_local_on(
            async move {
                for work in works {
                    work.await;
                }
            },
            &local,
        );
    }
    local.run_until(async move { while lanes.join_next().await.is_some() {} }).await;
}

fn check(kind: Kind) -> Check {
    Check {
        name: "bench".to_owned(),
        kind,
        interval_ms: 10_000,
        fast_interval_ms: 1_000,
        timeout_ms: 5_000,
        rise: 2,
        fall: 3,
        families: vec![Family::Ipv4],
    }
}

/// What a client does that wants nothing but the handshake, with the certificate verified.
fn client(ca_file: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).expect("it was written") {
        roots.add(certificate.expect("it was written")).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.expect("ring knows them").with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

async fn handshake(connector: &TlsConnector, address: SocketAddr) {
    let stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let name = ServerName::try_from(NODE).expect("a name");
    drop(connector.connect(name, stream).await.expect("a good certificate"));
}

/// A server in threads of its own.
fn serve(config: Arc<ServerConfig>) -> SocketAddr {
    let (told, tell) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            told.send(listener.local_addr().expect("it is bound")).expect("somebody waits");
            let acceptor = TlsAcceptor::from(config);
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut request = [0; 1024];
                    if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nWelcome\n";
                        let _ = stream.write_all(answer).await;
                        let _ = stream.shutdown().await;
                    }
                });
            }
        });
    });
    tell.recv().expect("the server starts")
}

/// CPU time of this thread so far.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(stat.split_whitespace().next().and_then(|ns| ns.parse().ok()).expect("a number"))
}
