//! The PROXY protocol in front (from 127.0.0.77, which the servers of these tests take for a load
//! balancer) and towards nsd. nsd has it since 4.8, Debian 12 has 4.6.1: its side is a small listener
//! here that looks at the octets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::Message;
use socket2::{Domain, Socket, Type};

use nsd_failover::serve::proxy::{self, Header, Transport};
use nsd_failover::serve::relay;
use nsd_failover::serve::sys::Calls;
use nsd_failover::table::Table;
use nsd_failover::table::zone_table::Mode;

use super::support::*;

const BALANCER: &str = "127.0.0.77:0";

fn header(client: &str, transport: Transport) -> Vec<u8> {
    let mut out = [0; proxy::WRITTEN_MAX];
    let len = proxy::write(client.parse().unwrap(), transport, &mut out);
    out[..len].to_vec()
}

fn udp(from: &str, to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(from).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn tcp(from: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&from.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

#[test]
fn a_load_balancer_in_front_over_udp() {
    for calls in [Calls::Native, Calls::Plain] {
        let servers = Servers::start(table(Mode::Whole), None, calls);
        let query = query("www", 1).to_vec().unwrap();
        let balancer = udp(BALANCER, servers.address);
        let mut reply = [0; 512];
        for client in ["198.51.100.9:4711", "[2001:db8::9]:4711"] {
            balancer.send(&[header(client, Transport::Datagram), query.clone()].concat()).unwrap();
            let len = balancer.recv(&mut reply).unwrap();
            assert_eq!(Message::from_vec(&reply[..len]).unwrap().answers.len(), 1, "the reply has no header");
        }
        // Whoever is let through must say who asks.
        balancer.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        balancer.send(&query).unwrap();
        assert!(balancer.recv(&mut reply).is_err());
        // And nobody else may.
        let stranger = udp("127.0.0.1:0", servers.address);
        stranger.send(&[header("198.51.100.9:4711", Transport::Datagram), query].concat()).unwrap();
        let len = stranger.recv(&mut reply).unwrap();
        assert_ne!(reply[3] & 0x0f, 0, "no answer of {len} octets to what is no query");
        servers.stop();
    }
}

#[test]
fn a_load_balancer_in_front_over_tcp() {
    let servers = Servers::start_with(table(Mode::Whole), None, Calls::Native, |settings| settings.read_ms = 500);
    let query = framed(&query("www", 1).to_vec().unwrap());
    let mut balancer = tcp(BALANCER, servers.address);
    for octet in [header("198.51.100.9:4711", Transport::Stream), query.clone(), query.clone()].concat() {
        balancer.write_all(&[octet]).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(Message::from_vec(&read_frame(&mut balancer)).unwrap().answers.len(), 1);
    }
    let mut without = tcp(BALANCER, servers.address);
    without.write_all(&query).unwrap();
    assert!(!matches!(without.read(&mut [0; 1]), Ok(1)), "closed");
    let mut silent = tcp(BALANCER, servers.address);
    silent.write_all(&header("198.51.100.9:4711", Transport::Stream)[..20]).unwrap();
    assert!(!matches!(silent.read(&mut [0; 1]), Ok(1)), "closed");
    servers.stop();
}

#[test]
fn a_load_balancer_that_breaks_off_in_its_header() {
    let servers = Servers::start_with(table(Mode::Whole), None, Calls::Native, |settings| settings.connections_max = 1);
    let query = framed(&query("www", 1).to_vec().unwrap());
    let header = header("198.51.100.9:4711", Transport::Stream);
    for len in 0..=header.len() {
        let mut balancer = tcp(BALANCER, servers.address);
        let _ = balancer.write_all(&header[..len]);
        // RST in place of FIN.
        socket2::SockRef::from(&balancer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(balancer);
        eventually("its place is free", || {
            let mut balancer = tcp(BALANCER, servers.address);
            let _ = balancer.write_all(&[header.clone(), query.clone()].concat());
            matches!(balancer.read(&mut [0; 1]), Ok(1))
        });
    }
    servers.stop();
}

/// A load balancer has as many connections as it has clients; each client has its share.
#[test]
fn connections_are_counted_by_whom_they_come_for() {
    let servers =
        Servers::start_with(table(Mode::Whole), None, Calls::Native, |settings| settings.connections_per_client = 1);
    let query = framed(&query("www", 1).to_vec().unwrap());
    let connect = |client: &str| {
        let mut balancer = tcp(BALANCER, servers.address);
        balancer.write_all(&[header(client, Transport::Stream), query.clone()].concat()).unwrap();
        balancer
    };
    let mut inside: Vec<TcpStream> = (1..9).map(|client| connect(&format!("198.51.100.{client}:53"))).collect();
    for stream in &mut inside {
        assert_eq!(read_frame(stream)[6..8], [0, 1]);
    }
    assert!(!matches!(connect("198.51.100.1:54").read(&mut [0; 1]), Ok(1)), "that one is there already");
    let counts = servers.door.counts()[0].1;
    assert_eq!((counts.open >= 8, counts.refused), (true, 1));
    servers.stop();
}

#[test]
fn nsd_is_told_who_asks() {
    let (datagrams, listener) = loop {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(listener) = TcpListener::bind(datagrams.local_addr().unwrap()) {
            break (datagrams, listener);
        }
    };
    let settings = relay::Settings { proxy: true, ..relay::Settings::new(listener.local_addr().unwrap()) };
    let overlay = Table::new(catalog(Mode::Overlay), 1, &[held(Some(0), None)], &[None], &[1000]);
    let servers = Servers::start(overlay, Some(settings), Calls::Native);
    let query = query("mail", 15).to_vec().unwrap();

    let client = udp("127.0.0.1:0", servers.address);
    client.send(&query).unwrap();
    let mut datagram = [0; 600];
    let (len, from) = datagrams.recv_from(&mut datagram).unwrap();
    let Header::Whole { len: head, client: named } = proxy::read(&datagram[..len]) else { panic!("no header") };
    assert_eq!(named, Some(client.local_addr().unwrap()));
    assert_eq!(datagram[head + 2..len], query[2..], "the query behind it, under another ID");
    // nsd replies without a header.
    datagram[head + 2] |= 0x80;
    datagrams.send_to(&datagram[head..len], from).unwrap();
    let mut reply = [0; 512];
    let len = client.recv(&mut reply).unwrap();
    assert_eq!((reply[..2].to_vec(), len), (query[..2].to_vec(), query.len()));

    let mut client = tcp("127.0.0.1:0", servers.address);
    client.write_all(&[framed(&query), framed(&query)].concat()).unwrap();
    for _ in 0..2 {
        let (mut nsd, _) = listener.accept().unwrap();
        let mut head = [0; 28];
        nsd.read_exact(&mut head).unwrap();
        assert_eq!(proxy::read(&head), Header::Whole { len: 28, client: Some(client.local_addr().unwrap()) });
        let mut asked = read_frame(&mut nsd);
        asked[2] |= 0x80;
        nsd.write_all(&framed(&asked)).unwrap();
        assert_eq!(read_frame(&mut client)[..2], query[..2]);
    }
    servers.stop();
}
