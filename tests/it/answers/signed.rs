//! Signed queries (RFC 8945) about zones that are ours: room for the signature, and none for more.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use tokio::sync::mpsc;

use nsd_failover::dns::access::{Algorithm, Key, Secret};
use nsd_failover::serve::counters::Request;
use nsd_failover::serve::sys::Calls;
use nsd_failover::serve::transfer::tsig::Keys;
use nsd_failover::serve::transfer::{self, Transfers};
use nsd_failover::table::Live;
use nsd_failover::table::zone_table::Mode;

use super::support::*;

fn key() -> Key {
    Key { name: name("key"), algorithm: Algorithm::Sha256, secret: Secret::new(&[7; 32]) }
}

/// Servers of the whole zone that know this key.
fn servers(key: Key) -> Servers {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let transfers = Transfers::new(Arc::new(Live::new(table(Mode::Whole))), mpsc::channel(1).0);
    let settings = transfer::Settings { keys: vec![key], ..transfer::Settings::default() };
    runtime.block_on(async { transfers.configure(settings) });
    let beside = Beside { limiter: None, transfers: Some(transfers) };
    Servers::start_beside(table(Mode::Whole), None, Calls::Native, beside)
}

fn client(servers: &Servers) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(servers.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// An answer is cut off when it does not fit with its signature, and not before.
#[test]
fn an_answer_has_all_the_room_that_its_signature_leaves() {
    let (servers, keys) = (servers(key()), Keys::new(&[key()]));
    let socket = client(&servers);
    let long = "x".repeat(63);
    let long = format!("{long}.{long}.{long}.wild");
    // The last: 512 octets hold the question and the signature, and not the answer.
    for (asked, truncated) in [
        (plain_query("@", 6), false),
        (plain_query("@", 15), false),
        (query("@", 15), false),
        (plain_query(&long, 1), false),
        (plain_query(&long, 99), false),
        (plain_query("big", 16), true),
    ] {
        let (octets, request) = keys.sign_request(&name("key"), asked.to_vec().unwrap()).unwrap();
        socket.send(&octets).unwrap();
        let mut reply = [0; 4_096];
        let len = socket.recv(&mut reply).expect("an answer");
        request.check(&reply[..len]).unwrap();
        let message = Message::from_vec(&reply[..len]).unwrap();
        let question = asked.queries[0].to_string();
        assert!(len <= if asked.edns.is_some() { 1_232 } else { 512 }, "{question}: {len}");
        let got = (message.metadata.response_code, message.metadata.truncation);
        assert_eq!(got, (ResponseCode::NoError, truncated), "{question}");
        assert_eq!(message.answers.is_empty() && message.authorities.is_empty(), truncated, "{question}");
    }
    servers.stop();
}

/// Where not even the question and the signature fit, nothing is sent, and it is counted.
#[test]
fn what_gets_no_answer_is_counted() {
    let label = "x".repeat(63);
    let owner = name(&format!("{label}.{label}.{label}.{}", &label[..30]));
    let key = Key { name: owner.clone(), ..key() };
    let keys = Keys::new(std::slice::from_ref(&key));
    let servers = servers(key);
    let asked = plain_query(&owner.to_string(), 1).to_vec().unwrap();
    let (octets, _) = keys.sign_request(&owner, asked).unwrap();
    client(&servers).send(&octets).unwrap();
    eventually("it is counted", || servers.counters.snapshot().requests(Request::Dropped) == 1);
    servers.stop();
}
