//! What an authoritative server must do, line by line: a test for each numbered line of the list that
//! the project was begun with, named after it. RFC numbers stand where a rule comes from one.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::DNSClass;

use nsd_failover::dns::cookie::Secrets;
use nsd_failover::serve::counters::{Counters, Request};
use nsd_failover::serve::sys::Calls;
use nsd_failover::serve::{relay, udp};
use nsd_failover::table::policy::Policy;
use nsd_failover::table::respond::{Answer, Client, Limits, Response, Transport, respond};
use nsd_failover::table::zone_table::{Mode, ZoneTable};
use nsd_failover::table::{Catalog, Live, Table};

use super::nsd;
use super::support::*;
use crate::support::nsd::free_address;

const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const PADDING: u16 = 12;
const NSID: u16 = 3;

/// The zone of these tests, with everything that the server can say of itself.
fn whole() -> Table {
    let text = |text: &str| text.as_bytes().to_vec().into_boxed_slice();
    let cookies = Secrets::from_text("e5e973e5a6b2a43f48e7dc849e37bfcf").ok();
    let (version, identity) = (Some(text("a version")), Some(text("fishfinger")));
    let policy = Policy { nsid: text("ns-a"), version, identity, cookies, rotate_addresses: false };
    table(Mode::Whole).with_policy(Arc::new(policy))
}

fn www() -> Vec<u8> {
    query("www", 1).to_vec().unwrap()
}

/// The first two words of a reply: flags with the code, as `QR AA RD ...`.
fn flags(reply: &[u8]) -> u16 {
    u16::from_be_bytes([reply[2], reply[3]])
}

fn rcode(reply: &[u8]) -> u16 {
    flags(reply) & 15
}

/// The reply over UDP: what `respond()` makes, and what arrives from sockets of both families.
fn udp_reply(query: &[u8]) -> Vec<u8> {
    let reply = reply_octets(&whole(), query, &limits());
    // A server cookie is made for an address and a time; nothing else differs.
    let has_cookie = reply.windows(4).any(|octets| octets == [0, COOKIE as u8, 0, 24]);
    for server in &*BOTH_FAMILIES {
        let arrived = server.ask(query);
        assert_eq!(arrived.len(), reply.len(), "{}", server.address);
        assert!(has_cookie || arrived == reply, "{}: {arrived:?}", server.address);
    }
    reply
}

/// Nothing comes back: neither from `respond()` nor over a socket, where the next query is answered.
fn assert_silence(message: &[u8], limits: &Limits) {
    assert_eq!(respond(&whole(), message, limits, &CLIENT, &mut [0; 512]), Response::Drop);
    for server in &*BOTH_FAMILIES {
        let client = server.client();
        client.send(message).unwrap();
        let mut next = www();
        next[1] ^= 0xff;
        client.send(&next).unwrap();
        let mut reply = [0; 512];
        client.recv(&mut reply).unwrap();
        assert_eq!(reply[..2], next[..2], "{}", server.address);
    }
}

/// A UDP server with [`whole`], on 127.0.0.1 and on ::1.
static BOTH_FAMILIES: LazyLock<Vec<UdpServer>> = LazyLock::new(|| {
    let start = |address: &str| {
        let sockets = udp::bind(address.parse().unwrap(), 1).unwrap();
        let address = sockets[0].local_addr().unwrap();
        UdpServer { address, _server: serve_udp(sockets, Calls::Native) }
    };
    vec![start("127.0.0.1:0"), start("[::1]:0")]
});

struct UdpServer {
    address: SocketAddr,
    _server: udp::Server,
}

impl UdpServer {
    fn client(&self) -> UdpSocket {
        let client = UdpSocket::bind((self.address.ip(), 0)).unwrap();
        client.connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client
    }

    fn ask(&self, query: &[u8]) -> Vec<u8> {
        let client = self.client();
        client.send(query).unwrap();
        let mut reply = vec![0; 4_096];
        let len = client.recv(&mut reply).unwrap();
        reply.truncate(len);
        reply
    }
}

fn serve_udp(sockets: Vec<UdpSocket>, calls: Calls) -> udp::Server {
    let live = Arc::new(Live::new(whole()));
    let settings = udp::Settings { limits: limits(), relay: None, limiter: None, proxies: [].into(), calls };
    udp::Server::start(sockets, &live, &settings, None, &Counters::default()).unwrap()
}

fn first_line(owner: &str, rtype: &str) -> String {
    show(&ask(&whole(), &query(owner, type_of(rtype)), &limits())).lines().next().unwrap().to_owned()
}

/// A query for www A with an OPT record of these octets behind its owner and type.
fn with_opt(payload: u16, ttl: [u8; 4], options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut query = plain_query("www", 1).to_vec().unwrap();
    query[11] = 1;
    let mut rdata = Vec::new();
    for (code, data) in options {
        rdata.extend(code.to_be_bytes());
        rdata.extend((data.len() as u16).to_be_bytes());
        rdata.extend(*data);
    }
    query.extend([0, 0, 41]);
    query.extend(payload.to_be_bytes());
    query.extend(ttl);
    query.extend((rdata.len() as u16).to_be_bytes());
    query.extend(rdata);
    query
}

/// The options of the OPT record that a reply ends in.
fn options(reply: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let message = Message::from_vec(reply).unwrap();
    let edns = message.edns.expect("an OPT record");
    let mut found = Vec::new();
    for (code, option) in edns.options().as_ref() {
        let data: Vec<u8> = option.try_into().unwrap();
        found.push((u16::from(*code), data));
    }
    found
}

fn option(reply: &[u8], code: u16) -> Option<Vec<u8>> {
    options(reply).into_iter().find(|(other, _)| *other == code).map(|(_, data)| data)
}

#[test]
fn must_01_fewer_than_12_octets_are_dropped() {
    for length in 0..12 {
        assert_silence(&www()[..length], &limits());
    }
}

#[test]
fn must_02_a_reply_is_never_answered_nor_relayed() {
    let mut reply = www();
    reply[2] |= 0x80;
    for relay in [false, true] {
        for transport in [Transport::Udp, Transport::Stream] {
            assert_silence(&reply, &Limits::new(transport, relay));
        }
    }
}

#[test]
fn must_03_an_unknown_opcode_is_not_implemented() {
    for opcode in [1u8, 2, 3, 6, 7, 14, 15] {
        let mut message = www();
        (message[2], message[3]) = (opcode << 3 | 7, 0xff);
        assert_eq!(flags(&udp_reply(&message)), 0x8004 | u16::from(opcode) << 11, "no AA, TC, RD, RA, Z, AD, CD");
    }
}

#[test]
fn must_04_update_is_not_implemented() {
    let mut message = www();
    message[2] = 5 << 3;
    assert_eq!(rcode(&udp_reply(&message)), 4);
}

#[test]
fn must_05_notify_has_a_defined_answer() {
    let mut message = query("@", 6).to_vec().unwrap();
    message[2] = 4 << 3 | 4;
    let reply = udp_reply(&message);
    assert_eq!((reply[..2].to_vec(), flags(&reply) & 0xf800), (message[..2].to_vec(), 0x8000 | 4 << 11));
    assert_eq!(
        (rcode(&reply), &reply[4..]),
        (4, &[0; 8][..]),
        "NOTIMP and nothing else: no zone is fetched from anywhere"
    );
}

#[test]
fn must_06_no_question_is_a_format_error_unless_a_cookie_is_asked_for() {
    let mut message = www()[..12].to_vec();
    message[4..].copy_from_slice(&[0; 8]);
    assert_eq!(rcode(&udp_reply(&message)), 1);
    // RFC 7873 section 5.4.
    message[11] = 1;
    message.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x08abcdefgh");
    let reply = udp_reply(&message);
    assert_eq!((rcode(&reply), &reply[4..12]), (0, &[0, 0, 0, 0, 0, 0, 0, 1][..]));
    let cookie = option(&reply, COOKIE).expect("a cookie");
    assert_eq!((&cookie[..8], cookie.len()), (&b"abcdefgh"[..], 24));
}

#[test]
fn must_07_two_questions_are_a_format_error() {
    // RFC 9619.
    let mut message = plain_query("www", 1).to_vec().unwrap();
    let question = message[12..].to_vec();
    message.extend(question);
    message[5] = 2;
    assert_eq!(rcode(&udp_reply(&message)), 1);
}

#[test]
fn must_08_records_in_the_answer_or_authority_of_a_query_are_a_format_error() {
    for count_at in [7, 9] {
        let mut message = www();
        message[11] = 0;
        message[count_at] = 1;
        assert_eq!(rcode(&udp_reply(&message)), 1);
    }
}

#[test]
fn must_09_trailing_junk_and_bad_pointers_are_format_errors() {
    let junk = [www(), vec![0]].concat();
    assert_eq!(rcode(&udp_reply(&junk)), 1);
    for name in [&b"\xc0\x0c"[..], b"\xc0\xff", b"\x03www\xc0\x0c", b"\x40", b"\x3f"] {
        let message = [&www()[..12], name, b"\0\x01\0\x01"].concat();
        assert_eq!(rcode(&udp_reply(&message)), 1, "{name:?}");
    }
}

#[test]
fn must_10_two_opt_records_are_a_format_error() {
    let mut message = www();
    message.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
    message[11] = 2;
    assert_eq!(rcode(&udp_reply(&message)), 1);
}

#[test]
fn must_11_aa_tc_and_ra_of_a_query_are_ignored() {
    let mut message = www();
    message[2] |= 0x06;
    message[3] |= 0x80;
    assert_eq!(udp_reply(&message), udp_reply(&www()));
}

#[test]
fn must_12_rd_is_copied_and_ra_is_not_set() {
    let mut message = www();
    message[2] |= 0x01;
    assert_eq!(flags(&udp_reply(&message)), 0x8500);
    assert_eq!(flags(&udp_reply(&www())), 0x8400);
}

#[test]
fn must_13_ad_is_not_echoed_and_cd_only_if_sent() {
    for (sent, expected) in [(0x20, 0x8400), (0x10, 0x8410), (0x30, 0x8410)] {
        let mut message = www();
        message[3] |= sent;
        assert_eq!(flags(&udp_reply(&message)), expected);
    }
}

#[test]
fn must_14_z_is_never_echoed() {
    let mut message = www();
    message[3] |= 0x40;
    assert_eq!(flags(&udp_reply(&message)), 0x8400);
}

#[test]
fn must_15_an_unknown_type_is_nodata_with_the_soa() {
    let reply = ask(&whole(), &query("www", 666), &limits());
    assert_eq!(show(&reply), "NOERROR aa\nauthority @ 300 SOA ns1 hostmaster 1000 3600 600 86400 300");
}

#[test]
fn must_16_every_type_gets_a_sensible_answer() {
    let table = whole();
    for rtype in 0..=u16::MAX {
        let query = query("www", rtype).to_vec().unwrap();
        let reply = reply_octets(&table, &query, &limits());
        // What is there, and for ANY one of both (RFC 8482); a transfer is refused; for all else, the types
        // that no record can have included, the SOA that says that it is not there.
        let (code, answers, authorities) = match rtype {
            1 | 28 | 255 => (0x8400, 1, 0),
            252 => (0x8005, 0, 0),
            _ => (0x8400, 0, 1),
        };
        assert_eq!((flags(&reply), &reply[6..10]), (code, &[0, answers, 0, authorities][..]), "type {rtype}");
        assert_eq!(reply[12..query.len() - 11], query[12..query.len() - 11], "type {rtype}");
    }
}

#[test]
fn must_17_no_edns_in_no_opt_out() {
    let reply = udp_reply(&plain_query("www", 1).to_vec().unwrap());
    assert_eq!((rcode(&reply), reply[11]), (0, 0));
}

#[test]
fn must_18_edns_in_opt_out_with_version_0() {
    let reply = udp_reply(&with_opt(1232, [0; 4], &[]));
    assert!(reply.ends_with(b"\0\0\x29\x04\xd0\0\0\0\0\0\0"), "{reply:?}");
}

#[test]
fn must_19_another_edns_version_is_badvers_with_the_question_and_nothing_else() {
    let reply = udp_reply(&with_opt(1232, [0, 1, 0, 0], &[]));
    let question_end = reply.len() - 11;
    assert_eq!(reply[4..12], [0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!((rcode(&reply), &reply[question_end..]), (0, &b"\0\0\x29\x04\xd0\x01\0\0\0\0\0"[..]));
}

#[test]
fn must_20_an_unknown_option_is_ignored_and_not_echoed() {
    for code in [100, 65_001, 8] {
        assert_eq!(options(&udp_reply(&with_opt(1232, [0; 4], &[(code, b"\0\x01\0\0")]))), [], "option {code}");
    }
}

#[test]
fn must_21_unknown_edns_flags_are_zero() {
    let reply = udp_reply(&with_opt(1232, [0, 0, 0x7f, 0xff], &[]));
    assert!(reply.ends_with(b"\0\0\x29\x04\xd0\0\0\0\0\0\0"), "{reply:?}");
}

#[test]
fn must_22_badvers_comes_without_options() {
    let reply = udp_reply(&with_opt(1232, [0, 1, 0, 0], &[(NSID, b""), (COOKIE, b"12345678"), (100, b"x")]));
    assert!(reply.ends_with(b"\0\0\x29\x04\xd0\x01\0\0\0\0\0"), "{reply:?}");
}

#[test]
fn must_23_do_is_echoed() {
    let reply = udp_reply(&with_opt(1232, [0, 0, 0x80, 0], &[]));
    assert!(reply.ends_with(b"\0\0\x29\x04\xd0\0\0\x80\0\0\0"), "{reply:?}");
}

/// Length and TC of the reply to a question with a large answer.
fn large(payload: Option<u16>) -> (usize, bool) {
    let plain = || plain_query("big", 16).to_vec().unwrap();
    let reply = udp_reply(&payload.map_or_else(plain, |payload| with_payload("big", 16, payload)));
    (reply.len(), flags(&reply) & 0x0200 != 0)
}

/// A query with an OPT record of this payload size; hickory by itself writes at least 512.
fn with_payload(owner: &str, rtype: u16, payload: u16) -> Vec<u8> {
    let mut octets = query(owner, rtype).to_vec().unwrap();
    let at = octets.len() - 8;
    octets[at..at + 2].copy_from_slice(&payload.to_be_bytes());
    octets
}

/// The same musts for what nsd answers through the relay.
#[test]
fn must_02_18_25_27_for_questions_that_nsd_answers() {
    let nsd = nsd::start();
    let servers = Servers::start(table(Mode::Overlay), Some(relay::Settings::new(nsd.address())), Calls::Native);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(servers.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let ask = |query: &[u8]| {
        client.send(query).unwrap();
        let mut reply = vec![0; 4_096];
        let len = client.recv(&mut reply).unwrap();
        assert_eq!(reply[..2], query[..2]);
        reply.truncate(len);
        reply
    };
    let mut no_query = query("mail", 15).to_vec().unwrap();
    no_query[2] |= 0x80;
    no_query[0] ^= 0xff;
    client.send(&no_query).unwrap();
    let reply = ask(&query("@", 15).to_vec().unwrap());
    let opt = &reply[reply.len() - 11..];
    assert_eq!((reply[7], &opt[..3], &opt[5..7]), (3, &[0, 0, 41][..], &[0, 0][..]), "OPT of version 0");
    for (query, limit) in [(plain_query("big", 16).to_vec().unwrap(), 512), (with_payload("big", 16, 65_535), 1_232)] {
        let reply = ask(&query);
        assert!(flags(&reply) & 0x0200 != 0 && reply.len() <= limit, "{} octets", reply.len());
    }
    eventually("three were passed on, and one was no query", || {
        let counters = servers.counters.snapshot();
        (counters.requests(Request::Relayed), counters.requests(Request::Dropped)) == (3, 1)
    });
    servers.stop();
}

#[test]
fn must_24_payload_512_and_a_large_answer_is_truncated() {
    let (length, truncated) = large(Some(512));
    assert!(truncated && length <= 512);
}

#[test]
fn must_25_no_edns_and_a_large_answer_is_truncated() {
    let (length, truncated) = large(None);
    assert!(truncated && length <= 512);
}

#[test]
fn must_26_a_payload_below_512_counts_as_512() {
    for payload in [0, 1, 100, 511] {
        // What fits in 512 is sent whole.
        let reply = udp_reply(&with_opt(payload, [0; 4], &[]));
        assert_eq!((rcode(&reply), reply[7], flags(&reply) & 0x0200), (0, 1, 0), "{payload}");
        let (length, truncated) = large(Some(payload));
        assert!(truncated && length <= 512, "{payload}: {length} octets");
    }
    // More than 100 octets, and all of it.
    let reply = udp_reply(&with_payload("@", 15, 100));
    assert!(reply.len() > 100 && reply[7] == 3 && flags(&reply) & 0x0200 == 0, "{} octets", reply.len());
}

#[test]
fn must_27_a_payload_of_65535_gets_1232_at_most() {
    let (length, truncated) = large(Some(65_535));
    assert!(truncated && length <= 1232);
    // What fits in that leaves whole, and only for who can take it.
    let mut records = records();
    records.extend((0..9).map(|number| record(&format!("medium 300 TXT {number:->100}"))));
    let zone = ZoneTable::compile(&"example.org".parse().unwrap(), records.into_iter(), &[pool()], Mode::Whole);
    let catalog = Arc::new(Catalog::new(vec![Arc::new(zone.unwrap())]).unwrap());
    let servers = Servers::start(Table::new(catalog, 1, &[], &[], &[]), None, Calls::Native);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(servers.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for (payload, is_whole) in [(65_535, true), (1_232, true), (1_000, false), (512, false)] {
        client.send(&with_payload("medium", 16, payload)).unwrap();
        let mut reply = [0; 4_096];
        let len = client.recv(&mut reply).unwrap();
        assert_eq!((reply[7] == 9, flags(&reply) & 0x0200 == 0), (is_whole, is_whole), "{payload}: {len} octets");
        assert_eq!(len > 1_000, is_whole);
    }
    servers.stop();
}

#[test]
fn must_28_tcp_carries_the_whole_answer() {
    let reply = reply_octets(&whole(), &query("big", 16).to_vec().unwrap(), &Limits::new(Transport::Stream, false));
    assert_eq!((flags(&reply) & 0x0200, reply[7]), (0, 21));
    let servers = Servers::start(whole(), None, Calls::Native);
    let mut stream = TcpStream::connect(servers.address).unwrap();
    let query = framed(0xbeef, "big", 16);
    stream.write_all(&query).unwrap();
    assert_eq!(read_frame(&mut stream), reply);
    // Each limit of UDP is none here.
    stream.write_all(&[&(query.len() as u16 - 2).to_be_bytes()[..], &with_payload("big", 16, 512)].concat()).unwrap();
    assert_eq!(read_frame(&mut stream), reply);
    servers.stop();
}

fn framed(id: u16, owner: &str, rtype: u16) -> Vec<u8> {
    let mut octets = query(owner, rtype).to_vec().unwrap();
    octets[..2].copy_from_slice(&id.to_be_bytes());
    super::support::framed(&octets)
}

#[test]
fn must_29_pipelined_queries_are_all_answered_and_the_quick_do_not_wait_for_the_slow() {
    // RFC 7766 section 6.2.1.1: an nsd that never answers holds up nobody.
    let address = free_address();
    let (_silent, listener) = (UdpSocket::bind(address).unwrap(), std::net::TcpListener::bind(address).unwrap());
    let settings = relay::Settings { timeout_ms: 1_000, ..relay::Settings::new(listener.local_addr().unwrap()) };
    let servers = Servers::start(
        Table::new(catalog(Mode::Overlay), 1, &[held(Some(0), Some(1))], &[None], &[1000]),
        Some(settings),
        Calls::Native,
    );
    let mut stream = TcpStream::connect(servers.address).unwrap();
    let mut queries = framed(1, "mail", 15);
    (2..50).for_each(|id| queries.extend(framed(id, "www", 1)));
    let began = Instant::now();
    stream.write_all(&queries).unwrap();
    let replies: Vec<Vec<u8>> = (1..50).map(|_| read_frame(&mut stream)).collect();
    let ids: Vec<u16> = replies.iter().map(|reply| u16::from_be_bytes([reply[0], reply[1]])).collect();
    assert_eq!(ids[..48], (2..50).collect::<Vec<u16>>(), "ours come first");
    let last = &replies[48];
    assert_eq!((ids[48], rcode(last), &last[6..10]), (1, 0, &[0, 0, 0, 1][..]), "nsd's from our own copy: NODATA");
    assert!(began.elapsed() >= Duration::from_millis(900));
    servers.stop();
}

#[test]
fn must_30_an_octet_at_a_time_is_closed_at_a_deadline() {
    let servers = Servers::start_with(whole(), None, Calls::Native, |settings| settings.read_ms = 500);
    let mut stream = TcpStream::connect(servers.address).unwrap();
    let began = Instant::now();
    while stream.write_all(&[0x7f]).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10), "still open");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(began.elapsed() >= Duration::from_millis(500), "not before: {:?}", began.elapsed());
    servers.stop();
}

#[test]
fn must_31_keepalive_over_tcp() {
    // RFC 7828.
    let stream = Limits { idle_ds: Some(100), ..Limits::new(Transport::Stream, false) };
    let reply =
        |limits: &Limits, data: &[u8]| reply_octets(&whole(), &with_opt(1232, [0; 4], &[(KEEPALIVE, data)]), limits);
    assert_eq!(option(&reply(&stream, b""), KEEPALIVE), Some(vec![0, 100]));
    assert_eq!(rcode(&reply(&stream, b"\0\x01")), 1, "a client sends no timeout");
    assert_eq!(options(&reply(&limits(), b"")), [], "over UDP it means nothing");
    assert_eq!(rcode(&reply(&limits(), b"\0\x01")), 0);
    assert_eq!(option(&reply_octets(&whole(), &www(), &stream), KEEPALIVE), None, "nobody has asked");
    // Over a socket: what it is told is what holds.
    let servers = Servers::start_with(whole(), None, Calls::Native, |settings| settings.idle_ms = 1_200);
    let mut stream = TcpStream::connect(servers.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut ask = |data: &[u8]| {
        let query = with_opt(1232, [0; 4], &[(KEEPALIVE, data)]);
        stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).unwrap();
        read_frame(&mut stream)
    };
    assert_eq!(rcode(&ask(b"\0\x01")), 1);
    let asked = Instant::now();
    assert_eq!(option(&ask(b""), KEEPALIVE), Some(vec![0, 12]));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the server has closed");
    assert!(asked.elapsed() >= Duration::from_millis(1_200), "{:?}", asked.elapsed());
    servers.stop();
}

#[test]
fn must_32_cookies() {
    // RFC 7873, RFC 9018.
    let reply = |cookie: &[u8]| udp_reply(&with_opt(1232, [0; 4], &[(COOKIE, cookie)]));
    let cookie = option(&reply(b"12345678"), COOKIE).expect("a cookie");
    assert_eq!((&cookie[..8], cookie.len()), (&b"12345678"[..], 24));
    assert_eq!(option(&reply(&cookie), COOKIE), Some(cookie.clone()));
    for length in (0..8).chain(9..16).chain([41, 100]) {
        assert_eq!(rcode(&reply(&vec![1; length])), 1, "{length} octets");
    }
    // A server cookie of somebody else is not ours, and not an error.
    assert_eq!(option(&reply(&[&cookie[..8], &[7; 32]].concat()), COOKIE), Some(cookie.clone()));
    // Whose cookie is valid is known; nobody else is.
    let known = |cookie: &[u8], address: &str| {
        let (message, address) = (with_opt(1232, [0; 4], &[(COOKIE, cookie)]), address.parse::<IpAddr>().unwrap());
        match respond(&whole(), &message, &limits(), &Client { address, ..CLIENT }, &mut [0; 512]) {
            Response::Reply(Answer { known_client, .. }) => known_client,
            other => panic!("{other:?}"),
        }
    };
    assert!(known(&cookie, "198.51.100.100"));
    assert!(!known(&cookie, "198.51.100.101"));
    assert!(!known(&cookie[..8], "198.51.100.100"));
    // A rollover: the old secret is still accepted, the new one makes the cookies.
    let both = Secrets::from_text("00112233445566778899aabbccddeeff\ne5e973e5a6b2a43f48e7dc849e37bfcf").unwrap();
    let rolled = table(Mode::Whole).with_policy(Arc::new(Policy { cookies: Some(both), ..Policy::default() }));
    let message = with_opt(1232, [0; 4], &[(COOKIE, &cookie)]);
    match respond(&rolled, &message, &limits(), &CLIENT, &mut [0; 512]) {
        Response::Reply(answer) => assert!(answer.known_client),
        other => panic!("{other:?}"),
    }
    assert_ne!(option(&reply_octets(&rolled, &message, &limits()), COOKIE), Some(cookie));
    // Without secrets the option is one that we do not know.
    assert_eq!(options(&reply_octets(&table(Mode::Whole), &message, &limits())), []);
}

#[test]
fn must_33_nsid_only_on_request() {
    // RFC 5001.
    assert_eq!(options(&udp_reply(&with_opt(1232, [0; 4], &[]))), []);
    assert_eq!(options(&udp_reply(&with_opt(1232, [0; 4], &[(NSID, b"")]))), [(NSID, b"ns-a".to_vec())]);
}

#[test]
fn must_34_a_foreign_zone_is_refused_without_a_referral() {
    for owner in ["www.elsewhere.test.", "org.", ".", "badexample.org."] {
        let reply = udp_reply(&query(owner, 1).to_vec().unwrap());
        assert_eq!((flags(&reply), &reply[6..10]), (0x8005, &[0; 4][..]), "{owner}");
        // RFC 8914 section 4.21: not authoritative.
        assert_eq!(option(&reply, 15), Some(vec![0, 20]), "{owner}");
    }
}

#[test]
fn must_35_version_bind_and_id_server() {
    let chaos = |table: &Table, owner: &str, rtype: u16| {
        let mut message = query(owner, rtype);
        message.queries[0].set_query_class(DNSClass::CH);
        show(&ask(table, &message, &limits()))
    };
    for (owner, text) in [
        ("version.bind.", "a version"),
        ("VERSION.server.", "a version"),
        ("id.server.", "fishfinger"),
        ("hostname.bind.", "fishfinger"),
    ] {
        assert_eq!(chaos(&whole(), owner, 16), format!("NOERROR aa\n{owner} 0 TXT {text}"));
        assert_eq!(chaos(&whole(), owner, 1), "REFUSED", "{owner} A");
        assert_eq!(chaos(&table(Mode::Whole), owner, 16), "REFUSED", "{owner}, hidden");
    }
    assert_eq!(chaos(&whole(), "authors.bind.", 16), "REFUSED");
    assert_eq!(chaos(&whole(), "www", 16), "REFUSED");
}

#[test]
fn must_36_the_ttl_of_a_negative_answer_is_the_lower_of_soa_ttl_and_minimum() {
    // RFC 2308 section 3: 3600 and 300 here.
    for owner in ["nothere", "mail"] {
        let reply = ask(&whole(), &query(owner, 99), &limits());
        assert_eq!(reply.authorities[0].ttl, 300);
    }
    assert_eq!(ask(&whole(), &query("@", 6), &limits()).answers[0].ttl, 3600);
    // And the other way round: 60 and 300.
    let records = ["@ 60 SOA a b 1 2 3 4 300", "@ 300 NS a", "a 300 A 192.0.2.1"].map(record);
    let zone = ZoneTable::compile(&"example.org".parse().unwrap(), records.into_iter(), &[], Mode::Whole);
    let catalog = Arc::new(Catalog::new(vec![Arc::new(zone.unwrap())]).unwrap());
    let short = Table::new(catalog, 1, &[], &[], &[]);
    for owner in ["nothere", "a"] {
        assert_eq!(ask(&short, &query(owner, 99), &limits()).authorities[0].ttl, 60);
    }
}

#[test]
fn must_37_an_empty_non_terminal_is_nodata() {
    // RFC 8020, RFC 4592 section 2.2.2.
    let nodata = |owner: &str, rtype: &str| {
        let reply = ask(&whole(), &query(owner, type_of(rtype)), &limits());
        let codes = (reply.metadata.response_code, reply.answers.len(), reply.authorities.len());
        assert_eq!(codes, (ResponseCode::NoError, 0, 1), "{owner} {rtype}");
    };
    for owner in ["ent", "b.ent", "wild", "y.wild", "double"] {
        nodata(owner, "A");
    }
    // `*.double` is a wildcard, and there is nothing at it but a name below: it is what matches, and has no data.
    for owner in ["*.double", "x.double", "y.x.double"] {
        for rtype in ["TXT", "A"] {
            nodata(owner, rtype);
        }
    }
    assert_eq!(ask(&whole(), &query("x.*.double", 16), &limits()).answers.len(), 1);
    assert_eq!(first_line("c.ent", "A"), "NXDOMAIN aa");
}

#[test]
fn must_38_wildcards() {
    // RFC 4592: many labels; blocked by what is there; no data for another type.
    for (owner, rtype, expected) in [
        ("one.wild", "TXT", 1),
        ("three.two.one.wild", "TXT", 1),
        ("one.wild", "AAAA", 0),
        ("y.wild", "TXT", 0),
        ("x.y.wild", "TXT", 1),
        ("*.wild", "TXT", 1),
    ] {
        let reply = ask(&whole(), &query(owner, type_of(rtype)), &limits());
        let codes = (reply.metadata.response_code, reply.answers.len());
        assert_eq!(codes, (ResponseCode::NoError, expected), "{owner} {rtype}");
    }
    assert_eq!(first_line("z.y.wild", "TXT"), "NXDOMAIN aa", "the closest encloser has no wildcard");
}

#[test]
fn must_39_the_case_of_the_question_is_kept() {
    // RFC 4343.
    let reply = ask(&whole(), &query("wWw", 1), &limits());
    assert_eq!(show(&reply), "NOERROR aa\nwWw 300 A 192.0.2.10");
}

#[test]
fn must_40_cname_chains_are_followed_in_the_zone_and_loops_end() {
    let chain = show(&ask(&whole(), &query("alias2", 1), &limits()));
    assert_eq!(chain, "NOERROR aa\nalias2 3600 CNAME Alias\nAlias 3600 CNAME www\nwww 300 A 192.0.2.10");
    assert_eq!(ask(&whole(), &query("loop1", 1), &limits()).answers.len(), 2);
    assert_eq!(ask(&whole(), &query("self", 1), &limits()).answers.len(), 1);
}

#[test]
fn must_41_dname() {
    // RFC 6672.
    let reply = show(&ask(&whole(), &query("a.moved", 16), &limits()));
    let made = "a.moved 3600 CNAME a.target.ent\na.target.ent 3600 TXT found";
    assert_eq!(reply, format!("NOERROR aa\nmoved 3600 DNAME target.ent\n{made}"));
    let label = "x".repeat(63);
    let owner = format!("{label}.{label}.{label}.{}.moved", &label[..43]);
    let reply = ask(&whole(), &query(&owner, 1), &limits());
    assert_eq!(reply.metadata.response_code, ResponseCode::YXDomain);
    assert_eq!(show(&reply).lines().nth(1), Some("moved 3600 DNAME target.ent"));
}

#[test]
fn must_42_referrals() {
    let reply = ask(&whole(), &query("x.sub", 1), &limits());
    let text = show(&reply);
    assert!(text.starts_with("NOERROR\nauthority sub 3600 NS "), "{text}");
    assert!(text.contains("additional ns.sub 3600 A 192.0.2.77"), "{text}");
    assert!(reply.answers.is_empty() && !reply.metadata.authoritative);
    // Occluded data is not answered; DS is of this side.
    assert!(ask(&whole(), &query("hidden.sub", 16), &limits()).answers.is_empty());
    let ds = show(&ask(&whole(), &query("sub", type_of("DS")), &limits()));
    assert_eq!(ds, "NOERROR aa\nsub 3600 DS 36 octets");
}

#[test]
fn must_43_any_is_one_rrset() {
    // RFC 8482.
    for (owner, records) in [
        ("@", 1),
        ("www", 1),
        ("both", 3),
        ("mail", 1),
        ("alias", 1),
        ("x.wild", 1),
        ("x.walias", 1),
        ("big", 21),
        ("srv", 1),
    ] {
        for limits in [limits(), Limits::new(Transport::Stream, false)] {
            let reply = ask(&whole(), &query(owner, 255), &limits);
            let (code, answers) = (reply.metadata.response_code, &reply.answers);
            let types: BTreeSet<_> = answers.iter().map(hickory_proto::rr::Record::record_type).collect();
            let (types_max, expected) = if reply.metadata.truncation { (0, 0) } else { (1, records) };
            assert_eq!((code, types.len(), answers.len()), (ResponseCode::NoError, types_max, expected), "{owner}");
        }
    }
    // Where there is none, ANY is a question like others.
    assert_eq!(first_line("ent", "ANY"), "NOERROR aa");
    assert_eq!(first_line("nothere", "ANY"), "NXDOMAIN aa");
    assert_eq!(first_line("x.sub", "ANY"), "NOERROR");
}

#[test]
fn must_44_no_zone_data_by_axfr_over_udp() {
    let reply = udp_reply(&query("@", 252).to_vec().unwrap());
    assert_eq!((rcode(&reply), &reply[6..10]), (5, &[0; 4][..]));
    // For an incremental one there is the SOA, which anybody may ask for (RFC 1995 section 2).
    let reply = udp_reply(&query("@", 251).to_vec().unwrap());
    assert_eq!((rcode(&reply), &reply[6..10]), (0, &[0, 1, 0, 0][..]));
}

#[test]
fn must_45_a_swap_makes_no_name_appear_or_vanish() {
    let catalog = catalog(Mode::Whole);
    let tables: Vec<Table> = [held(Some(0), Some(1)), held(Some(1), Some(0)), held(Some(2), None), held(None, None)]
        .map(|roles| Table::new(catalog.clone(), 1, &[roles], &[None], &[1000]))
        .into();
    let owners: BTreeSet<String> = records().iter().map(|(record, _)| record.owner.to_string()).collect();
    let mut seen = BTreeSet::new();
    for owner in &owners {
        // The name, a child, a sibling before and one behind it, and what is above it.
        let above = owner.split_once('.').map_or("", |(_, above)| above);
        for name in [owner.clone(), format!("x.{owner}"), format!("0.{above}"), format!("zz.{above}"), above.to_owned()]
        {
            for rtype in ["A", "AAAA", "TXT", "ANY"] {
                let message = query(&name, type_of(rtype));
                let code = |table| ask(table, &message, &limits()).metadata.response_code;
                let codes: Vec<ResponseCode> = tables.iter().map(code).collect();
                assert!(codes.iter().all(|code| *code == codes[0]), "{name} {rtype}: {codes:?}");
                seen.insert(format!("{:?}", codes[0]));
            }
        }
    }
    assert_eq!(Vec::from_iter(seen), ["NXDomain", "NoError", "Refused"], "there are names of every kind");
}

#[test]
fn must_46_the_root_and_the_longest_names() {
    assert_eq!(rcode(&udp_reply(&query(".", 2).to_vec().unwrap())), 5);
    // 255 octets in all.
    let owner = format!("{}example.org.", "x.".repeat(121));
    assert_eq!(first_line(&owner, "A"), "NXDOMAIN aa");
    assert_eq!(name(&owner).wire().len(), 255);
    let mut too_long = www()[..12].to_vec();
    too_long[11] = 0;
    too_long.extend(b"\x01x".repeat(128));
    too_long.extend([0, 0, 1, 0, 1]);
    assert_eq!(rcode(&udp_reply(&too_long)), 1, "257 octets");
}

#[test]
fn must_47_an_answer_is_of_one_generation() {
    // Two names of one pool in one answer: a chain, and an additional section.
    let zone_text = "@ 300 SOA a b 1 2 3 4 5\n@ 300 NS www\n@ 300 MX 10 www\nwww 300 A 192.0.2.10 primary\n\
                     alias 300 CNAME www\nboth 300 A 192.0.2.10 primary\nboth 300 A 198.51.100.20 standby";
    let records: Vec<_> = zone_text.lines().map(record).collect();
    let zone = ZoneTable::compile(&"example.org".parse().unwrap(), records.into_iter(), &[pool()], Mode::Whole);
    let catalog = Arc::new(Catalog::new(vec![Arc::new(zone.unwrap())]).unwrap());
    for (roles, address) in [(held(Some(0), Some(1)), "192.0.2.10"), (held(Some(1), Some(2)), "198.51.100.20")] {
        let table = Table::new(catalog.clone(), 1, &[roles], &[None], &[1]);
        for (owner, rtype) in [("alias", 1), ("@", 15), ("www", 1)] {
            let reply = ask(&table, &query(owner, rtype), &limits());
            let text = show(&reply);
            assert!(text.contains(&format!("www 300 A {address}")), "{text}");
            assert_eq!(text.matches(" A ").count(), 1, "{text}");
        }
    }
}

/// With `rrset-order = "rotate"`: the same records, each first in its turn, and the others behind it.
#[test]
fn must_47_rotation_moves_the_records_of_one_generation_around() {
    let policy = Arc::new(Policy { rotate_addresses: true, ..Policy::default() });
    for (roles, primary) in [(held(Some(0), Some(1)), "192.0.2.10"), (held(Some(2), Some(1)), "203.0.113.30")] {
        let fixed = Table::new(catalog(Mode::Whole), 1, &[roles], &[None], &[1]);
        let rotated = Table::new(catalog(Mode::Whole), 1, &[roles], &[None], &[1]).with_policy(policy.clone());
        let addresses = |table: &Table, owner: &str, id: u16| -> Vec<String> {
            let mut message = query(owner, 1);
            message.metadata.id = id;
            ask(table, &message, &limits()).answers.iter().map(|record| record.to_string()).collect()
        };
        // Behind an alias too, where owners and TTLs have been written over.
        for (owner, links) in [("both", 0), ("toboth", 1)] {
            let order = addresses(&fixed, owner, 7);
            assert_eq!((order.len(), order[links].contains(primary)), (links + 3, true), "{order:?}");
            let mut firsts = BTreeSet::new();
            for id in 0..9 {
                let mut moved = addresses(&rotated, owner, id);
                assert_eq!(addresses(&fixed, owner, id), order);
                firsts.insert(moved[links].clone());
                moved[links..].rotate_right(usize::from(id) % 3);
                assert_eq!(moved, order);
            }
            assert_eq!(firsts.len(), 3);
        }
    }
}

/// In a network of its own, where the host has two addresses of each family: with one the system cannot choose
/// the wrong one.
#[test]
fn must_48_answers_leave_from_the_address_that_was_asked() {
    const NAME: &str = "answers::musts::must_48_answers_leave_from_the_address_that_was_asked";
    if std::env::var_os(ALONE).is_none() {
        let script = "ip link set lo up; ip address add 2001:db8::48/128 dev lo nodad; exec \"$0\" \"$@\"";
        let mut alone = Command::new("unshare");
        alone.args(["--map-root-user", "--net", "sh", "-ec", script]).arg(std::env::current_exe().unwrap());
        let output = alone.args(["--exact", NAME, "--nocapture"]).env(ALONE, "1").output();
        let output = output.expect("unshare is installed (util-linux)");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "needs user namespaces and `ip`: {said}");
        return;
    }
    for (wildcard, own, others) in
        [("0.0.0.0:0", "127.0.0.1", ["127.0.0.1", "127.0.0.99"]), ("[::]:0", "::1", ["::1", "2001:db8::48"])]
    {
        for calls in [Calls::Native, Calls::Plain] {
            let sockets = udp::bind(wildcard.parse().unwrap(), 2).unwrap();
            let port = sockets[0].local_addr().unwrap().port();
            // What nsd says, too: nobody is there, so that each gets SERVFAIL by way of the relay.
            let relay = Some(relay::Settings::new("127.0.0.1:9".parse().unwrap()));
            let live = Arc::new(Live::new(whole()));
            let settings = udp::Settings { limits: limits(), relay, limiter: None, proxies: [].into(), calls };
            let server = udp::Server::start(sockets, &live, &settings, None, &Counters::default()).unwrap();
            for asked in others {
                let client = UdpSocket::bind((own.parse::<IpAddr>().unwrap(), 0)).unwrap();
                client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let asked = SocketAddr::new(asked.parse().unwrap(), port);
                for (question, code) in [(www(), 0), (query("www.elsewhere.test.", 1).to_vec().unwrap(), 2)] {
                    client.send_to(&question, asked).unwrap();
                    let mut reply = [0; 512];
                    assert_eq!(client.recv_from(&mut reply).unwrap().1, asked);
                    assert_eq!(rcode(&reply), code);
                }
            }
            server.stop();
        }
    }
}

/// Not numbered: padding is for those who cannot be read along with (RFC 7830, RFC 8467).
#[test]
fn padding_only_on_encrypted_transports() {
    let padded = with_opt(1232, [0; 4], &[(PADDING, b"")]);
    assert_eq!(options(&udp_reply(&padded)), []);
    let encrypted = Limits { encrypted: true, ..Limits::new(Transport::Stream, false) };
    assert_eq!(reply_octets(&whole(), &padded, &encrypted).len(), 468);
    assert!(reply_octets(&whole(), &with_opt(1232, [0; 4], &[]), &encrypted).len() < 100, "nobody has asked");
}

/// Not numbered: a flood of one question from one network is limited, and a cookie is the way out.
#[test]
fn response_rate_limits() {
    use nsd_failover::serve::rrl::{Limiter, Settings};
    let settings = Settings { rate: 20, slip: 2, ipv4_prefix: 24, ipv6_prefix: 64, buckets: 1_000, exempt: Vec::new() };
    let servers = Servers::start_limited(whole(), Arc::new(Limiter::new(settings)));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(servers.address).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let flood = |query: &[u8], count: usize| {
        let (mut whole, mut cut) = (0, 0);
        for _ in 0..count {
            client.send(query).unwrap();
        }
        let mut reply = [0; 512];
        while let Ok(len) = client.recv(&mut reply) {
            if flags(&reply[..len]) & 0x0200 == 0 { whole += 1 } else { cut += 1 }
        }
        (whole, cut)
    };
    let (whole, cut) = flood(&www(), 100);
    // A second may turn on the way.
    assert!((20..=60).contains(&whole), "{whole} whole");
    assert!(cut >= 15, "{cut} with TC");
    let counters = servers.counters.snapshot();
    assert_eq!(counters.requests(Request::Slipped), cut);
    assert!(counters.requests(Request::Limited) >= 15);
    let stranger = with_opt(1232, [0; 4], &[(COOKIE, b"12345678")]);
    let mut cookie = Vec::new();
    // Each question waits for its answer: so seldom does one come that the limit forgets what was.
    eventually("a whole answer again, and a cookie in it", || {
        client.send(&stranger).unwrap();
        let mut reply = [0; 512];
        let len = client.recv(&mut reply).unwrap_or(0);
        let is_whole = len > 0 && flags(&reply[..len]) & 0x0200 == 0;
        cookie = is_whole.then(|| option(&reply[..len], COOKIE)).flatten().unwrap_or_default();
        !cookie.is_empty()
    });
    assert_eq!(flood(&with_opt(1232, [0; 4], &[(COOKIE, &cookie)]), 100), (100, 0), "a cookie is not limited");
    servers.stop();
}
