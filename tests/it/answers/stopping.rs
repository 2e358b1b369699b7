//! The end of the servers: what nsd has been asked for is still answered.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nsd_failover::serve::relay;
use nsd_failover::serve::sys::Calls;
use nsd_failover::table::Table;
use nsd_failover::table::zone_table::Mode;

use super::support::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// Sockets for UDP and TCP that nsd could have.
fn nsd() -> (UdpSocket, TcpListener) {
    loop {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        datagrams.set_read_timeout(Some(PATIENCE)).unwrap();
        if let Ok(listener) = TcpListener::bind(datagrams.local_addr().unwrap()) {
            return (datagrams, listener);
        }
    }
}

fn servers(nsd: &TcpListener, timeout_ms: u32) -> Servers {
    let settings = relay::Settings { timeout_ms, ..relay::Settings::new(nsd.local_addr().unwrap()) };
    let overlay = Table::new(catalog(Mode::Overlay), 1, &[held(Some(0), None)], &[None], &[1000]);
    Servers::start(overlay, Some(settings), Calls::Native)
}

#[test]
fn relayed_queries_under_way_are_answered_before_the_end() {
    let (datagrams, listener) = nsd();
    let servers = servers(&listener, 10_000);
    let query = query("mail", 15).to_vec().unwrap();
    let over_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    over_udp.set_read_timeout(Some(PATIENCE)).unwrap();
    over_udp.connect(servers.address).unwrap();
    over_udp.send(&query).unwrap();
    let mut over_tcp = TcpStream::connect(servers.address).unwrap();
    over_tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    over_tcp.write_all(&framed(&query)).unwrap();
    // Nsd has both, and thinks.
    let mut datagram = [0; 600];
    let (len, from) = datagrams.recv_from(&mut datagram).unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    let mut asked = read_frame(&mut connection);
    let address = servers.address;
    let end = std::thread::spawn(move || servers.stop());
    eventually("it takes no connection any more", || TcpStream::connect(address).is_err());
    assert!(!end.is_finished(), "it waits for nsd");
    datagram[2] |= 0x80;
    datagrams.send_to(&datagram[..len], from).unwrap();
    asked[2] |= 0x80;
    connection.write_all(&framed(&asked)).unwrap();
    let len = over_udp.recv(&mut datagram).unwrap();
    assert_eq!((datagram[..2].to_vec(), len), (query[..2].to_vec(), query.len()));
    assert_eq!(read_frame(&mut over_tcp)[..2], query[..2]);
    assert_eq!(over_tcp.read(&mut [0; 1]).unwrap(), 0, "and that is the end");
    end.join().unwrap();
}

#[test]
fn an_nsd_that_never_answers_holds_up_the_end_for_so_long_and_no_longer() {
    let (datagrams, listener) = nsd();
    let servers = servers(&listener, 1_000);
    let query = query("mail", 15).to_vec().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(servers.address).unwrap();
    client.send(&query).unwrap();
    datagrams.recv_from(&mut [0; 600]).unwrap();
    let began = Instant::now();
    servers.stop();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let mut reply = [0; 600];
    client.recv(&mut reply).unwrap();
    assert_eq!(reply[..2], query[..2], "what we can say without it");
}
