//! An overlay in front of nsd: ours from memory, the rest from nsd, over both transports; and what
//! happens when nsd is slow, gone, or somebody pretends to be it.

use crate::support::daemon::wait_for;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};

use nsd_failover::serve::counters::{Relayed, Request};
use nsd_failover::serve::relay::Settings;
use nsd_failover::serve::sys::Calls;
use nsd_failover::table::Table;
use nsd_failover::table::zone_table::Mode;

use super::dig::dig;
use super::nsd::Nsd;
use super::support::*;

/// Blowfish is primary here; the zone that nsd has says fishfinger.
fn overlay() -> Table {
    Table::new(catalog(Mode::Overlay), 2, &[held(Some(1), None)], &[None], &[2000])
}

fn settings(address: SocketAddr, timeout_ms: u32) -> Settings {
    Settings { timeout_ms, ..Settings::new(address) }
}

fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Message {
    let mut octets = [0; 4096];
    let length = socket.recv(&mut octets).unwrap();
    Message::from_vec(&octets[..length]).unwrap()
}

#[test]
fn what_is_not_ours_is_what_nsd_says() {
    let nsd = Nsd::start();
    for calls in [Calls::Native, Calls::Plain] {
        let servers = Servers::start(overlay(), Some(settings(nsd.address, 5_000)), calls);
        for transport in ["+notcp", "+tcp"] {
            let ask = |server, question: &str| {
                dig(server, &format!("{question} {transport} +qid=4711 +nostats +nocmd +noclass"))
            };
            for question in [
                "example.org MX",
                "eXample.org SOA",
                "nothere.example.org A",
                "mail.example.org A +noedns",
                "x.sub.example.org A",
                "out.example.org A",
                "alias.example.org CNAME",
                "any.wild.example.org TXT +dnssec",
                "www.elsewhere.test A",
            ] {
                let (ours, nsds) = (ask(servers.address, question), ask(nsd.address, question));
                assert_eq!(ours.replace("\\t", " "), nsds.replace("\\t", " "), "{question} {transport}");
            }
            let www = ask(servers.address, "alias.example.org A");
            assert!(www.contains("198.51.100.20") && !www.contains("192.0.2.10"), "{www}");
            // A withdrawn family: NODATA, with the serial of the decision.
            let standby = ask(servers.address, "standby.example.org A");
            assert!(standby.contains("ANSWER: 0, AUTHORITY: 1") && standby.contains(" 2000 3600"), "{standby}");
            // nsd would give the zone to the local host.
            let transfer = ask(servers.address, "example.org AXFR");
            assert!(transfer.contains("Transfer failed") || transfer.contains("REFUSED"), "{transfer}");
        }
        let counters = servers.counters.snapshot();
        assert_eq!((counters.requests(Request::Relayed), counters.relayed(Relayed::Answered)), (18, 18));
        servers.stop();
    }
}

#[test]
fn nsd_stopped_and_back() {
    let mut nsd = Nsd::start();
    let servers = Servers::start(overlay(), Some(settings(nsd.address, 500)), Calls::Native);
    nsd.stop();
    for transport in ["+notcp", "+tcp"] {
        let began = Instant::now();
        let reply = dig(servers.address, &format!("example.org MX {transport}"));
        assert!(reply.contains("status: SERVFAIL") && reply.contains("EDE: 22"), "{reply}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        // Ours does not depend on it.
        assert!(dig(servers.address, &format!("www.example.org A {transport}")).contains("198.51.100.20"));
    }
    nsd.run();
    nsd.wait_until_it_serves();
    for transport in ["+notcp", "+tcp"] {
        assert!(dig(servers.address, &format!("example.org MX {transport}")).contains("status: NOERROR"));
    }
    servers.stop();
}

/// An nsd that takes everything and says nothing.
#[test]
fn nsd_hangs() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let listener = TcpListener::bind(address);
    let servers = Servers::start(overlay(), Some(settings(address, 300)), Calls::Native);
    let socket = client(servers.address);
    let began = Instant::now();
    for id in 0..100 {
        let mut message = query("@", 15);
        message.metadata.id = id;
        socket.send(&message.to_vec().unwrap()).unwrap();
    }
    for _ in 0..100 {
        assert_eq!(receive(&socket).metadata.response_code, ResponseCode::ServFail);
    }
    let took = began.elapsed();
    assert!((300..2_000).contains(&took.as_millis()), "{took:?}");
    if listener.is_ok() {
        assert!(dig(servers.address, "example.org MX +tcp").contains("status: SERVFAIL"));
        assert_eq!(servers.counters.snapshot().relayed(Relayed::Timeout), 101);
    }
    servers.stop();
}

#[test]
fn the_table_of_waiting_requests_is_bounded() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let relay = Settings { pending_max: 5, ..settings(silent.local_addr().unwrap(), 60_000) };
    let servers = Servers::start(overlay(), Some(relay), Calls::Native);
    let socket = client(servers.address);
    for id in 0..8 {
        let mut message = query("@", 15);
        message.metadata.id = id;
        socket.send(&message.to_vec().unwrap()).unwrap();
    }
    let mut refused: Vec<u16> = (0..3).map(|_| receive(&socket).metadata.id).collect();
    refused.sort();
    assert_eq!(refused, [5, 6, 7], "who came when it was full hears so at once");
    // A thread counts a batch after it has answered it.
    wait_for("the count", || (servers.counters.snapshot().relayed(Relayed::Full) == 3).then_some(()));
    // Not stopped but dropped: who stops it waits for those who wait for nsd.
    drop(servers);
}

#[test]
fn forged_replies_are_thrown_away() {
    let nsd = UdpSocket::bind("127.0.0.1:0").unwrap();
    nsd.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let servers = Servers::start(overlay(), Some(settings(nsd.local_addr().unwrap(), 5_000)), Calls::Native);
    let socket = client(servers.address);
    let asked = query("eXaMple.org.", 15).to_vec().unwrap();
    let mut ports = std::collections::HashSet::new();
    for round in 0..32 {
        socket.send(&asked).unwrap();
        let mut relayed = [0; 4096];
        let (length, from) = nsd.recv_from(&mut relayed).unwrap();
        ports.insert(from.port());
        let relayed = &relayed[..length];
        assert_eq!(relayed[2..], asked[2..], "all but the ID is as the client sent it");
        let forge = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut reply = relayed.to_vec();
            reply[2] |= 0x80;
            change(&mut reply);
            reply
        };
        let forgeries = [
            forge(&|reply| reply[1] ^= 1),
            forge(&|reply| reply[2] ^= 0x80),
            forge(&|reply| reply[13] ^= 0x20),
            forge(&|reply| reply[26] ^= 1),
            forge(&|reply| reply.truncate(12)),
            forge(&|reply| reply.truncate(1)),
            forge(&|reply| reply.clear()),
        ];
        for forgery in &forgeries {
            nsd.send_to(forgery, from).unwrap();
        }
        // From another port, and so not from nsd.
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&forge(&|reply| reply[3] = 3), from).unwrap();
        nsd.send_to(&forge(&|reply| reply[3] = 5), from).unwrap();
        let reply = receive(&socket);
        assert_eq!(reply.metadata.response_code, ResponseCode::Refused, "round {round}");
        assert_eq!(reply.metadata.id, 0xbeef);
        // A second copy of the true one is too late.
        nsd.send_to(&forge(&|reply| reply[3] = 5), from).unwrap();
    }
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(socket.recv(&mut [0; 512]).is_err(), "one answer to each");
    // Whoever has found out the port has not got it for long.
    wait_for("another port", || {
        socket.send(&asked).unwrap();
        let (_, from) = nsd.recv_from(&mut [0; 4096]).unwrap();
        ports.insert(from.port());
        (ports.len() > 1).then_some(())
    });
    eventually("all forgeries are counted", || {
        // An empty datagram has no ID at all, but is counted like the rest.
        let counters = servers.counters.snapshot();
        counters.relayed(Relayed::Stray) + 7 >= 32 * 8 && counters.relayed(Relayed::Answered) == 32
    });
    servers.stop();
}
