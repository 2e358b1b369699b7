//! An overlay in front of nsd: ours from memory, the rest from nsd, over both transports; and what
//! happens when nsd is slow, gone, or somebody pretends to be it.

use crate::support::daemon::wait_for;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};

use nsd_failover::dns::cookie::Secrets;
use nsd_failover::serve::counters::{Relayed, Request};
use nsd_failover::serve::relay::Settings;
use nsd_failover::serve::relay::tcp::CONNECTIONS_MAX;
use nsd_failover::serve::sys::Calls;
use nsd_failover::table::Table;
use nsd_failover::table::policy::Policy;
use nsd_failover::table::zone_table::Mode;

use super::dig::dig;
use super::nsd;
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
    let nsd = nsd::start();
    for calls in [Calls::Native, Calls::Plain] {
        let servers = Servers::start(overlay(), Some(settings(nsd.address(), 5_000)), calls);
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
                let (ours, nsds) = (ask(servers.address, question), ask(nsd.address(), question));
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

/// Without nsd our own copy of the zone answers as nsd does; what is in no zone of ours is SERVFAIL.
#[test]
fn nsd_stopped_and_back() {
    let mut nsd = nsd::start();
    let servers = Servers::start(overlay(), Some(settings(nsd.address(), 500)), Calls::Native);
    let questions = [
        "example.org MX",
        "eXample.org NS",
        "nothere.example.org A",
        "mail.example.org A +noedns",
        "x.sub.example.org A",
        "out.example.org A",
        "alias.example.org CNAME",
        "any.wild.example.org TXT +dnssec",
        "ent.example.org TXT",
        "a.moved.example.org TXT",
        "srv.example.org SRV",
    ];
    let ask = |question: &str, transport: &str| {
        let text = dig(servers.address, &format!("{question} {transport} +noall +comments +answer +authority"));
        let records = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
        let mut lines: Vec<String> =
            records.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()).collect();
        // nsd has not got this decision's serial, and adds name servers where nobody needs them.
        lines.retain(|line| {
            !line.contains(" soa ") && (question.contains(" NS") || !line.starts_with("example.org. 3600 in ns "))
        });
        lines.sort();
        let status = text.split("status: ").nth(1).unwrap().split(',').next().unwrap().to_owned();
        (status, lines)
    };
    let asked = questions.iter().flat_map(|question| ["+notcp", "+tcp"].map(|transport| (*question, transport)));
    let before: Vec<_> = asked.clone().map(|(question, transport)| ask(question, transport)).collect();
    nsd.stop();
    for ((question, transport), before) in asked.zip(before) {
        let began = Instant::now();
        assert_eq!(ask(question, transport), before, "{question} {transport}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    for transport in ["+notcp", "+tcp"] {
        let reply = dig(servers.address, &format!("example.org SOA {transport}"));
        assert!(reply.contains("flags: qr aa;") && reply.contains(" 2000 3600 "), "the decision's serial: {reply}");
        // What is large goes the way of everything large.
        assert!(dig(servers.address, "big.example.org TXT").contains("ANSWER: 21"));
        let reply = dig(servers.address, &format!("www.elsewhere.test A {transport}"));
        assert!(reply.contains("status: SERVFAIL") && reply.contains("EDE: 22"), "{reply}");
        // Ours does not depend on it.
        assert!(dig(servers.address, &format!("www.example.org A {transport}")).contains("198.51.100.20"));
    }
    nsd.start_again();
    for transport in ["+notcp", "+tcp"] {
        assert!(dig(servers.address, &format!("example.org MX {transport}")).contains("status: NOERROR"));
    }
    servers.stop();
}

/// A question whose signature only nsd could judge, and only nsd's key could answer.
#[test]
fn signed_questions_are_not_answered_in_nsds_place() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let servers = Servers::start(overlay(), Some(settings(closed, 500)), Calls::Native);
    let mut asked = plain_query("@", 15).to_vec().unwrap();
    asked[11] = 1;
    asked.extend(b"\x01k\0\0\xfa\0\xff\0\0\0\0\0\x1a\x08hmac-md5\0\0\0\0\0\0\0\x01\x2c\0\0\0\x01\0\0\0\0");
    let socket = client(servers.address);
    socket.send(&asked).unwrap();
    assert_eq!(receive(&socket).metadata.response_code, ResponseCode::ServFail);
    servers.stop();
}

/// An nsd that is set to larger answers than we send: the client gets no more of it than of us.
#[test]
fn no_reply_of_nsd_is_larger_than_ours() {
    let nsd = UdpSocket::bind("127.0.0.1:0").unwrap();
    nsd.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for calls in [Calls::Native, Calls::Plain] {
        let servers = Servers::start(overlay(), Some(settings(nsd.local_addr().unwrap(), 10_000)), calls);
        let socket = client(servers.address);
        let mut large = query("@", 15);
        large.edns.as_mut().unwrap().set_max_payload(4_096);
        let mut small = query("@", 15).to_vec().unwrap();
        let payload_at = small.len() - 8;
        small[payload_at..][..2].copy_from_slice(&100u16.to_be_bytes());
        for (asked, payload, limit) in [
            (plain_query("@", 15).to_vec().unwrap(), None, 512),
            (large.to_vec().unwrap(), Some(1_232u16), 1_232),
            (small, Some(100), 512),
        ] {
            for len in [limit, limit + 1, 2_139, 4_096, 5_000] {
                socket.send(&asked).unwrap();
                let mut relayed = [0; 4_096];
                let (relayed_len, from) = nsd.recv_from(&mut relayed).unwrap();
                let relayed = &relayed[..relayed_len];
                let told = payload.map(|_| u16::from_be_bytes([relayed[payload_at], relayed[payload_at + 1]]));
                assert_eq!((relayed_len, told), (asked.len(), payload));
                let mut reply = relayed.to_vec();
                reply[2] |= 0x84;
                reply.resize(len, 0);
                nsd.send_to(&reply, from).unwrap();
                let mut received = [0; 8_192];
                let received_len = socket.recv(&mut received).unwrap();
                let received = &received[..received_len];
                if len <= limit {
                    assert_eq!((&received[..2], &received[2..]), (&asked[..2], &reply[2..]), "{len}");
                    continue;
                }
                // TC, the question, and OPT if there was one, with what we can take.
                assert_eq!((received[2] & 0x06, &received[6..10]), (0x02, &[0; 4][..]), "{len}");
                assert_eq!((received_len, received[11]), (asked.len(), asked[11]), "{len}");
                let question_end = if payload.is_some() { payload_at - 3 } else { asked.len() };
                assert_eq!(received[12..question_end], asked[12..question_end], "{len}");
            }
        }
        servers.stop();
    }
}

/// The client's cookie is ours to answer: nsd never sees it, and its replies carry ours, over each transport.
#[test]
fn cookies_are_ours_in_nsds_answers() {
    let nsd = nsd::start();
    let cookies = Secrets::from_text("e5e973e5a6b2a43f48e7dc849e37bfcf").ok();
    let table = overlay().with_policy(Arc::new(Policy { cookies, ..Policy::default() }));
    let servers = Servers::start(table, Some(settings(nsd.address(), 5_000)), Calls::Native);
    for transport in ["+notcp", "+tcp"] {
        for question in ["example.org MX", "nothere.example.org A", "mail.example.org A +nsid"] {
            let text = dig(servers.address, &format!("{question} {transport} +cookie=0123456789abcdef"));
            let cookie =
                text.lines().find_map(|line| line.strip_prefix("; COOKIE: ")).unwrap_or_else(|| panic!("{text}"));
            assert!(cookie.starts_with("0123456789abcdef01000000") && cookie.ends_with(" (good)"), "{cookie}");
            // Who has not asked gets none.
            assert!(!dig(servers.address, &format!("{question} {transport} +nocookie")).contains("COOKIE"));
        }
    }
    let counters = servers.counters.snapshot();
    assert_eq!(counters.relayed(Relayed::Answered), 12);
    servers.stop();
}

/// With a cookie, too, no answer is larger than the client can take.
#[test]
fn a_cookie_is_counted_in() {
    let nsd = UdpSocket::bind("127.0.0.1:0").unwrap();
    nsd.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let cookies = Secrets::from_text("e5e973e5a6b2a43f48e7dc849e37bfcf").ok();
    let table = overlay().with_policy(Arc::new(Policy { cookies, ..Policy::default() }));
    let servers = Servers::start(table, Some(settings(nsd.local_addr().unwrap(), 10_000)), Calls::Native);
    let socket = client(servers.address);
    let plain = plain_query("@", 15).to_vec().unwrap();
    for payload in [1_232u16, 900, 512] {
        let mut asked = plain.clone();
        asked[11] = 1;
        asked.extend([0, 0, 41]);
        asked.extend(payload.to_be_bytes());
        asked.extend(b"\0\0\0\0\0\x0c\0\x0a\0\x0812345678");
        for len in [payload - 28, payload - 27] {
            socket.send(&asked).unwrap();
            let mut relayed = [0; 600];
            let (relayed_len, from) = nsd.recv_from(&mut relayed).unwrap();
            let opt = [&[0, 0, 41][..], &(payload - 28).to_be_bytes(), &[0; 6]].concat();
            assert_eq!(relayed[plain.len()..relayed_len], opt);
            // Padded to that length: an unknown option.
            let padding = usize::from(len) - relayed_len - 4;
            let mut reply = relayed[..relayed_len - 2].to_vec();
            reply[2] |= 0x84;
            reply.extend((padding as u16 + 4).to_be_bytes());
            reply.extend([0xff, 0xf0]);
            reply.extend((padding as u16).to_be_bytes());
            reply.resize(len.into(), 0);
            nsd.send_to(&reply, from).unwrap();
            let mut received = [0; 4_096];
            let received_len = socket.recv(&mut received).unwrap();
            let fits = len + 28 <= payload;
            assert_eq!((received_len == usize::from(payload), received[2] & 0x02), (fits, if fits { 0 } else { 2 }));
            // Whole or not, there is a cookie in it.
            assert_eq!(received[received_len - 28..][..12], *b"\0\x0a\0\x1812345678");
        }
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
        let reply = receive(&socket);
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 3), "our own copy");
    }
    let took = began.elapsed();
    assert!((300..2_000).contains(&took.as_millis()), "{took:?}");
    if listener.is_ok() {
        assert!(dig(servers.address, "example.org MX +tcp").contains("ANSWER: 3"));
        assert_eq!(servers.counters.snapshot().relayed(Relayed::Timeout), 101);
    }
    servers.stop();
}

/// However many clients ask over TCP, nsd has a few connections: it takes 100 by default, and has others to serve.
#[test]
fn nsd_has_few_connections() {
    let nsd = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers =
        Servers::start_with(overlay(), Some(settings(nsd.local_addr().unwrap(), 10_000)), Calls::Native, |settings| {
            settings.connections_per_client = 1_000
        });
    let asked = query("@", 15).to_vec().unwrap();
    let framed = [&(asked.len() as u16).to_be_bytes()[..], &asked].concat();
    // One after the other, each on a connection of its own: one is enough for all.
    let mut upstream = None;
    for _ in 0..3 {
        let mut client = TcpStream::connect(servers.address).unwrap();
        client.write_all(&framed).unwrap();
        let upstream = upstream.get_or_insert_with(|| nsd.accept().unwrap().0);
        let mut reply = read_frame(upstream);
        reply[2] |= 0x80;
        upstream.write_all(&[&(reply.len() as u16).to_be_bytes()[..], &reply].concat()).unwrap();
        assert_eq!(read_frame(&mut client)[..2], asked[..2]);
    }
    // 100 at once: each has its answer in its turn.
    nsd.set_nonblocking(true).unwrap();
    let mut clients: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut client = TcpStream::connect(servers.address).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
            client.write_all(&framed).unwrap();
            client
        })
        .collect();
    let mut upstreams: Vec<TcpStream> = upstream.into_iter().collect();
    wait_for("as many connections as it opens", || {
        upstreams.extend(nsd.accept().map(|(upstream, _)| upstream));
        (upstreams.len() == CONNECTIONS_MAX).then_some(())
    });
    std::thread::scope(|scope| {
        for mut upstream in upstreams {
            scope.spawn(move || {
                upstream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                let mut length = [0; 2];
                while upstream.read_exact(&mut length).is_ok() {
                    let mut reply = vec![0; u16::from_be_bytes(length).into()];
                    upstream.read_exact(&mut reply).unwrap();
                    reply[2] |= 0x80;
                    upstream.write_all(&[&length[..], &reply].concat()).unwrap();
                }
            });
        }
        for client in &mut clients {
            assert_eq!(read_frame(client)[..2], asked[..2]);
        }
    });
    assert!(nsd.accept().is_err(), "no further connection");
    servers.stop();
}

/// Half closed is not gone: what nsd has been asked for still comes, and then the end.
#[test]
fn who_has_said_its_last_word_hears_nsds_answer() {
    let nsd = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = Servers::start(overlay(), Some(settings(nsd.local_addr().unwrap(), 10_000)), Calls::Native);
    let asked = query("@", 15).to_vec().unwrap();
    let mut client = TcpStream::connect(servers.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.write_all(&framed(&asked)).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let (mut upstream, _) = nsd.accept().unwrap();
    let mut reply = read_frame(&mut upstream);
    reply[2] |= 0x80;
    upstream.write_all(&framed(&reply)).unwrap();
    assert_eq!(read_frame(&mut client)[..2], asked[..2]);
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    servers.stop();
}

/// When all places are taken, the silent make room, and nobody who waits for an answer.
#[test]
fn who_waits_for_nsd_keeps_its_place() {
    let nsd = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers =
        Servers::start_with(overlay(), Some(settings(nsd.local_addr().unwrap(), 10_000)), Calls::Native, |settings| {
            settings.connections_max = 1
        });
    let asked = query("@", 15).to_vec().unwrap();
    let framed = [&(asked.len() as u16).to_be_bytes()[..], &asked].concat();
    let mut waiting = TcpStream::connect(servers.address).unwrap();
    waiting.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    waiting.write_all(&framed).unwrap();
    let (mut upstream, _) = nsd.accept().unwrap();
    let mut reply = read_frame(&mut upstream);
    // Twice as long as nobody is sent away for.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        let mut other = TcpStream::connect(servers.address).unwrap();
        other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(!matches!(other.read(&mut [0; 1]), Ok(1)), "sent away at once");
    }
    reply[2] |= 0x80;
    upstream.write_all(&[&(reply.len() as u16).to_be_bytes()[..], &reply].concat()).unwrap();
    assert_eq!(read_frame(&mut waiting)[..2], asked[..2]);
    eventually("the silent one makes room", || {
        let mut other = TcpStream::connect(servers.address).unwrap();
        let www = query("www", 1).to_vec().unwrap();
        let _ = other.write_all(&[&(www.len() as u16).to_be_bytes()[..], &www].concat());
        matches!(other.read(&mut [0; 1]), Ok(1))
    });
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

/// Over TCP nobody but nsd's own host can speak; if it says what it was not asked, the client does not hear it.
#[test]
fn forged_replies_over_tcp_are_thrown_away() {
    let nsd = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = Servers::start(overlay(), Some(settings(nsd.local_addr().unwrap(), 10_000)), Calls::Native);
    let asked = query("wWw.eLsewhere.test.", 15).to_vec().unwrap();
    let question_end = asked.len() - 11;
    type Change = fn(&mut Vec<u8>);
    let changes: [(Change, bool); 8] = [
        (|reply| reply[1] ^= 1, false),
        (|reply| reply[2] ^= 0x80, false),
        (|reply| reply[2] |= 0x28, false),
        (|reply| reply[13] ^= 0x20, false),
        (|reply| reply.truncate(20), false),
        (|reply| reply.truncate(5), false),
        (Vec::clear, false),
        (|_| (), true),
    ];
    let mut stream = TcpStream::connect(servers.address).unwrap();
    for (number, (change, is_true)) in changes.into_iter().enumerate() {
        stream.write_all(&[&(asked.len() as u16).to_be_bytes()[..], &asked].concat()).unwrap();
        // After each forgery the connection is given up.
        let (mut upstream, _) = nsd.accept().unwrap();
        upstream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let relayed = read_frame(&mut upstream);
        assert_eq!(relayed[2..], asked[2..], "all but the ID is as the client sent it");
        let mut reply = relayed[..question_end].to_vec();
        (reply[2], reply[3], reply[11]) = (reply[2] | 0x80, 5, 0);
        change(&mut reply);
        upstream.write_all(&[&(reply.len() as u16).to_be_bytes()[..], &reply].concat()).unwrap();
        let received = read_frame(&mut stream);
        let expected = if is_true { ResponseCode::Refused } else { ResponseCode::ServFail };
        assert_eq!(Message::from_vec(&received).unwrap().metadata.response_code, expected, "forgery {number}");
        assert_eq!(received[..2], asked[..2]);
        if !is_true {
            assert_eq!(upstream.read(&mut [0]).unwrap(), 0, "closed after forgery {number}");
        }
    }
    eventually("all are counted", || {
        let counters = servers.counters.snapshot();
        (counters.relayed(Relayed::Stray), counters.relayed(Relayed::Answered)) == (7, 1)
    });
    servers.stop();
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
