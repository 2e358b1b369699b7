//! Handshakes: anybody can send their first datagram, in anybody's name.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::super::support::eventually;
use super::*;
use crate::support::daemon::Daemon;
use crate::support::nsd::{dig, free_address};

/// How long the next client may wait behind handshakes that do not end: each may take 5 s.
const SOON: Duration = Duration::from_secs(3);
/// More handshakes than may be under way with clients that have not shown where they are, and what is
/// sent at once: the system has no room for many more.
const FLOOD: usize = 200;
const WAVE: usize = 20;

/// The first datagrams of so many clients' handshakes.
async fn initials(ca: &Path, number: usize) -> Vec<Vec<u8>> {
    let nobody = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    let (config, mut all) = (client(ca), Vec::new());
    while all.len() < number {
        // Dropped with what it would send next.
        let endpoint = endpoint();
        let connecting = endpoint.connect_with(config.clone(), address, "ns.test").unwrap();
        let from = endpoint.local_addr().unwrap();
        let mut datagram = [0; 2_048];
        loop {
            let (len, sender) = within(nobody.recv_from(&mut datagram)).await.unwrap();
            if sender == from {
                all.push(datagram[..len].to_vec());
                break;
            }
        }
        drop(connecting);
    }
    all
}

/// Sends each datagram from an address and port of its own, and says nothing more.
fn send_from_everywhere(datagrams: &[Vec<u8>], to: SocketAddr) {
    for (number, datagram) in datagrams.iter().enumerate() {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 1, number as u8), 0)).unwrap();
        socket.send_to(datagram, to).unwrap();
    }
}

/// Begins handshakes until whoever comes next has to show where it is.
fn crowd(datagrams: &[Vec<u8>], to: SocketAddr) {
    for wave in datagrams.chunks(WAVE) {
        let (last, others) = wave.split_last().unwrap();
        send_from_everywhere(others, to);
        if is_retry(&first_reply(last, to)) {
            return;
        }
    }
    panic!("{} handshakes have begun", datagrams.len());
}

/// RFC 9000 section 17.2.5: long header, fixed bit, type 3, version 1.
fn is_retry(datagram: &[u8]) -> bool {
    datagram[0] & 0xf0 == 0xf0 && datagram[1..5] == [0, 0, 0, 1]
}

/// What the server says first to whoever sends this datagram.
fn first_reply(datagram: &[u8], to: SocketAddr) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(datagram, to).unwrap();
    let mut reply = [0; 2_048];
    let len = socket.recv(&mut reply).unwrap();
    reply[..len].to_vec()
}

/// A way to the server on which Retry packets are counted.
struct Wire {
    address: SocketAddr,
    retries: Arc<AtomicUsize>,
}

impl Wire {
    async fn to(server: SocketAddr) -> Wire {
        let front = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let back = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        back.connect(server).await.unwrap();
        let (address, retries) = (front.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let seen = retries.clone();
        tokio::spawn(async move {
            let (mut there, mut here, mut client) = ([0; 65_535], [0; 65_535], None);
            loop {
                tokio::select! {
                    Ok((len, from)) = front.recv_from(&mut there) => {
                        client = Some(from);
                        let _ = back.send(&there[..len]).await;
                    }
                    Ok(len) = back.recv(&mut here) => {
                        seen.fetch_add(usize::from(is_retry(&here[..len])), Ordering::Relaxed);
                        let _ = front.send_to(&here[..len], client.expect("who asks")).await;
                    }
                }
            }
        });
        Wire { address, retries }
    }

    fn retries(&self) -> usize {
        self.retries.load(Ordering::Relaxed)
    }
}

/// By the program itself, as other clients see it.
#[test]
fn handshakes_that_do_not_end_hold_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    encrypted::certificate(folder.path());
    let ca = folder.path().join("cert.pem");
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
    let next = async || {
        let began = Instant::now();
        ask(&within(encrypted::quic(quic, &ca)).await.unwrap()).await;
        began.elapsed()
    };
    runtime.block_on(async {
        next().await;
        send_from_everywhere(&initials(&ca, 50).await, quic);
        let took = next().await;
        println!("behind 50: {took:?}");
        assert!(took < SOON, "{took:?}");
        crowd(&initials(&ca, FLOOD).await, quic);
        let took = next().await;
        println!("behind a crowd, with a Retry: {took:?}");
        assert!(took < SOON, "{took:?}");
    });
    // There is time for these until the first of the crowd are given up.
    if encrypted::kdig_speaks("+quic") {
        let answer = encrypted::kdig(quic, "+quic", &ca, "www.example.org A");
        assert!(answer.contains("192.0.2.10"), "{answer}");
    }
    assert_eq!(encrypted::doq(quic, &ca, "www.example.org.").answers.len(), 1);
    assert!(!daemon.log().contains("quinn"), "nothing that a client does is worth a line: {}", daemon.log());
}

/// RFC 9000 section 8.1.2, RFC 9250 section 5.3.
#[test]
fn a_crowd_of_strangers_has_to_show_where_it_is() {
    let server = Server::start();
    let (ca, config) = (server.ca(), client(&server.ca()));
    server.runtime.block_on(async {
        let connect = async |wire: &Wire, config: &quinn::ClientConfig| {
            let connecting = endpoint().connect_with(config.clone(), wire.address, "ns.test").unwrap();
            let connection = within(connecting).await.unwrap();
            ask(&connection).await;
            connection
        };
        // Who was here before has a token.
        let known = Wire::to(server.address).await;
        connect(&known, &config).await.close(NO_ERROR.into(), b"");
        assert_eq!(known.retries(), 0);
        let datagrams = initials(&ca, FLOOD + 1).await;
        assert!(!is_retry(&first_reply(&datagrams[FLOOD], server.address)), "nobody else is there");
        let began = Instant::now();
        crowd(&datagrams[..FLOOD], server.address);
        let stranger = Wire::to(server.address).await;
        connect(&stranger, &client(&ca)).await;
        connect(&known, &config).await;
        if began.elapsed() < SOON {
            assert_eq!((stranger.retries(), known.retries()), (1, 0));
        }
        // The silent are given up, and there is room again for others.
        let mut later = initials(&ca, 40).await.into_iter();
        eventually("nobody has to show anything", || {
            std::thread::sleep(Duration::from_millis(250));
            !is_retry(&first_reply(&later.next().expect("so many tries"), server.address))
        });
        connect(&stranger, &client(&ca)).await;
        assert!(stranger.retries() <= 1);
    });
}

/// RFC 9250 section 4.5: what is sent in 0-RTT data can be sent again by others.
#[test]
fn a_session_is_resumed_without_early_data() {
    let server = Server::start();
    server.runtime.block_on(async {
        let (endpoint, config) = (endpoint(), client(&server.ca()));
        for round in 0..2 {
            let connecting = endpoint.connect_with(config.clone(), server.address, "ns.test").unwrap();
            let connecting = connecting.into_0rtt().err().unwrap_or_else(|| panic!("0-RTT in round {round}"));
            let connection = within(connecting).await.unwrap();
            ask(&connection).await;
            connection.close(NO_ERROR.into(), b"");
        }
    });
}

#[test]
fn who_does_not_speak_dns_is_told() {
    let server = Server::start();
    server.runtime.block_on(async {
        for protocol in [&b"h3"[..], b"dot", b""] {
            let mut tls = trusting(&server.ca());
            tls.alpn_protocols = vec![protocol.to_vec()].into_iter().filter(|name| !name.is_empty()).collect();
            let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
            let config = quinn::ClientConfig::new(Arc::new(tls));
            let end = within(endpoint().connect_with(config, server.address, "ns.test").unwrap()).await.unwrap_err();
            // The alert no_application_protocol (RFC 9001 section 8.1).
            assert!(matches!(&end, ConnectionError::ConnectionClosed(close) if close.error_code == quinn::TransportErrorCode::crypto(120)), "{end}");
        }
    });
}

/// RFC 9250 section 4.3: DOQ_EXCESSIVE_LOAD.
#[test]
fn who_has_to_make_room_is_told() {
    let crowded = Server::start_with(None, |settings| settings.connections_max = 1);
    crowded.runtime.block_on(async {
        let first = crowded.connect().await;
        ask(&first).await;
        let deadline = Instant::now() + PATIENCE;
        while first.close_reason().is_none() {
            assert!(Instant::now() < deadline, "somebody has the place for ever");
            ask_if_let_in(&crowded.connect().await).await;
        }
        assert_eq!(closed(&first).await, EXCESSIVE_LOAD);
    });
    let narrow = Server::start_with(None, |settings| settings.connections_per_client = 1);
    narrow.runtime.block_on(async {
        let first = narrow.connect().await;
        ask(&first).await;
        assert_eq!(closed(&narrow.connect().await).await, EXCESSIVE_LOAD);
        ask(&first).await;
    });
}

async fn ask_if_let_in(connection: &quinn::Connection) {
    if let Ok((mut send, mut receive)) = connection.open_bi().await
        && send.write_all(&framed(&www())).await.is_ok()
        && send.finish().is_ok()
    {
        let _ = within(receive.read_to_end(65_537)).await;
    }
}

/// Noise, first datagrams with something changed or cut off, other versions.
#[test]
fn datagrams_of_all_kinds_do_no_harm() {
    let server = Server::start();
    server.runtime.block_on(async {
        let initial = initials(&server.ca(), 1).await.remove(0);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let send = |datagram: &[u8]| {
            // The system may have no room for it.
            let _ = socket.send_to(datagram, server.address);
        };
        let held = server.connect().await;
        for len in (0..64).chain((64..1_600).step_by(37)).chain([9_000, 65_507]) {
            let mut datagram: Vec<u8> = (0..len).map(|_| noise()).collect();
            send(&datagram);
            // With the head of a first datagram, of version 1 and of none that there is.
            for head in [&[0xc0, 0, 0, 0, 1, 8][..], &[0xc0, 0xfa, 0xce, 0xb0, 0x0c, 20], &[0x40]] {
                let shared = head.len().min(datagram.len());
                datagram[..shared].copy_from_slice(&head[..shared]);
                send(&datagram);
            }
        }
        for at in (0..initial.len()).step_by(7).chain(0..64) {
            let mut changed = initial.clone();
            changed[at] ^= 1 << (noise() & 7);
            send(&changed);
            send(&initial[..at]);
        }
        send(&[&initial[..], &initial].concat());
        ask(&held).await;
        ask(&server.connect().await).await;
    });
}
