//! Rate limits over a socket: no reply leaves by a way around them, whoever made it and why, and what
//! leaves instead is nothing but what the client itself has sent, with TC.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use nsd_failover::dns::access::{Algorithm, Key, Secret};
use nsd_failover::dns::cookie::Secrets;
use nsd_failover::serve::counters::Request;
use nsd_failover::serve::relay;
use nsd_failover::serve::rrl::{Limiter, Settings};
use nsd_failover::serve::sys::Calls;
use nsd_failover::serve::transfer::tsig::Keys;
use nsd_failover::serve::transfer::{self, Transfers};
use nsd_failover::table::policy::Policy;
use nsd_failover::table::zone_table::Mode;
use nsd_failover::table::{Live, Table};

use super::support::*;

const RATE: u32 = 10;
const FLOOD: usize = 60;
/// A second or two may turn during a flood.
const WHOLE_MAX: usize = 3 * RATE as usize;

fn limiter(slip: u32) -> Option<Arc<Limiter>> {
    let settings = Settings { rate: RATE, slip, ipv4_prefix: 24, ipv6_prefix: 64, buckets: 1_000, exempt: Vec::new() };
    Some(Arc::new(Limiter::new(settings)))
}

fn overlay() -> Table {
    table(Mode::Overlay)
}

fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// Asks so many times at once, waits until each is answered or counted as limited, and returns the replies.
fn flood(servers: &Servers, socket: &UdpSocket, query: &[u8]) -> Vec<Vec<u8>> {
    flood_of(servers, socket, |_| query.to_vec())
}

/// The same with a query for each number.
fn flood_of(servers: &Servers, socket: &UdpSocket, query: impl Fn(usize) -> Vec<u8>) -> Vec<Vec<u8>> {
    for number in 0..FLOOD {
        socket.send(&query(number)).unwrap();
    }
    let mut replies = Vec::new();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    eventually("all is answered or limited", || {
        let mut reply = [0; 4_096];
        while let Ok(len) = socket.recv(&mut reply) {
            replies.push(reply[..len].to_vec());
        }
        replies.len() + usize::try_from(servers.counters.snapshot().requests(Request::Limited)).unwrap() == FLOOD
    });
    replies
}

/// TC and nothing but the question.
fn is_slip(reply: &[u8]) -> bool {
    reply[2] & 0x02 != 0 && reply[6..10] == [0; 4]
}

#[test]
fn failures_of_the_relay() {
    // Nobody listens there.
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let beside = Beside { limiter: limiter(0), transfers: None };
    let servers = Servers::start_beside(overlay(), Some(relay::Settings::new(closed)), Calls::Native, beside);
    let replies = flood(&servers, &client(servers.address), &query("www.elsewhere.test.", 1).to_vec().unwrap());
    assert!(replies.iter().all(|reply| reply[3] & 15 == 2), "SERVFAIL");
    assert!((RATE as usize..=WHOLE_MAX).contains(&replies.len()), "{} of {FLOOD}", replies.len());
    servers.stop();
}

/// What cannot be read cannot be asked again over TCP: none slips, and all that do not leave are counted.
#[test]
fn what_is_no_query() {
    let servers = Servers::start_limited(table(Mode::Whole), limiter(2).unwrap());
    let mut two_questions = plain_query("www", 1).to_vec().unwrap();
    two_questions[5] = 2;
    let replies = flood(&servers, &client(servers.address), &two_questions);
    assert!(replies.iter().all(|reply| reply[3] & 15 == 1), "FORMERR");
    assert!((RATE as usize..=WHOLE_MAX).contains(&replies.len()), "{} of {FLOOD}", replies.len());
    servers.stop();
}

/// Random names that a wildcard or a DNAME answers for are one thing, whoever gives the answer.
#[test]
fn random_names_below_a_wildcard() {
    let nsd = FakeNsd::start(|query| {
        let mut reply = query.to_vec();
        (reply[2], reply[7]) = (0x84, u8::from(query[query.len() - 3] == 1));
        reply
    });
    let relay = Some(relay::Settings::new(nsd.address));
    for (mode, relay) in [(Mode::Whole, None), (Mode::Overlay, relay)] {
        // The last two: NODATA of a wildcard, and a name that is there.
        for (below, rtype) in [("wild", 1), ("moved", 1), ("x.wild", 28), ("www", 99)] {
            let beside = Beside { limiter: limiter(0), transfers: None };
            let servers = Servers::start_beside(table(mode), relay, Calls::Native, beside);
            let query = |number: usize| match below {
                "www" => plain_query("mail", 99).to_vec().unwrap(),
                _ => plain_query(&format!("r{number}.{below}"), rtype).to_vec().unwrap(),
            };
            let replies = flood_of(&servers, &client(servers.address), query).len();
            assert!((RATE as usize..=WHOLE_MAX).contains(&replies), "{mode:?} {below}: {replies} of {FLOOD}");
            servers.stop();
        }
    }
}

/// A signature that nobody can have made gets NOTAUTH, which is limited; who has the key is known.
#[test]
fn refusals_of_signatures() {
    let key = |secret: u8| Key { name: name("k."), algorithm: Algorithm::Sha256, secret: Secret::new(&[secret; 32]) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (seen, _) = tokio::sync::mpsc::channel(1);
    let transfers = Transfers::new(Arc::new(Live::new(table(Mode::Whole))), seen);
    let settings =
        transfer::Settings { keys: vec![key(7)], zones: Vec::new(), sources: Vec::new(), pace: Default::default() };
    runtime.block_on(async { transfers.configure(settings) });
    let beside = Beside { limiter: limiter(2), transfers: Some(transfers) };
    let servers = Servers::start_beside(table(Mode::Whole), None, Calls::Native, beside);
    let signed = |secret: u8| {
        let keys = Keys::new(&[key(secret)]);
        keys.sign_request(&name("k."), plain_query("www", 1).to_vec().unwrap()).unwrap().0
    };
    let replies = flood(&servers, &client(servers.address), &signed(8));
    let (slips, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| is_slip(reply));
    assert!(refused.iter().all(|reply| reply[3] & 15 == 9), "NOTAUTH");
    assert!((RATE as usize..=WHOLE_MAX).contains(&refused.len()) && !slips.is_empty(), "{} whole", refused.len());
    // As the question came, without what was behind it.
    let question = plain_query("www", 1).to_vec().unwrap();
    assert!(slips.iter().all(|slip| slip[12..] == question[12..]));
    let good = signed(7);
    let socket = client(servers.address);
    for _ in 0..FLOOD {
        socket.send(&good).unwrap();
        let mut reply = [0; 512];
        let len = socket.recv(&mut reply).unwrap();
        assert_eq!((reply[3] & 15, reply[7], reply[..len].len() > question.len() + 16), (0, 1, true), "signed");
    }
    servers.stop();
}

/// nsd may answer with nothing but a header, and others have been answered out of the same buffer.
#[test]
fn what_leaves_instead_of_a_reply_of_nsd() {
    for calls in [Calls::Native, Calls::Plain] {
        let nsd = FakeNsd::start(|query| {
            let mut reply = query[..12].to_vec();
            (reply[2], reply[3]) = (0x80, 5);
            reply[4..].fill(0);
            reply
        });
        let beside = Beside { limiter: limiter(1), transfers: None };
        let servers = Servers::start_beside(overlay(), Some(relay::Settings::new(nsd.address)), calls, beside);
        // Fills the buffers with what is another client's.
        let other = client(servers.address);
        for id in 0..64u16 {
            let mut octets = query("a.very.long.name.of.somebody.else", 1).to_vec().unwrap();
            octets[..2].copy_from_slice(&id.to_be_bytes());
            other.send(&octets).unwrap();
        }
        let asked = query("MX.elsewhere.test.", 15).to_vec().unwrap();
        let replies = flood(&servers, &client(servers.address), &asked);
        let slips: Vec<_> = replies.iter().filter(|reply| is_slip(reply)).collect();
        assert!(!slips.is_empty());
        for slip in slips {
            assert_eq!((slip[2] & 0x06, slip[3], &slip[4..12]), (0x02, 0, &[0, 1, 0, 0, 0, 0, 0, 1][..]), "no AA");
            // Question and OPT as they were asked, and not an octet more.
            assert_eq!(slip[12..], asked[12..], "{calls:?}");
        }
        servers.stop();
    }
}

/// A valid cookie is the way out, for what nsd answers as well.
#[test]
fn a_known_client_of_the_relay() {
    // Which sees no cookie, and knows of none.
    let nsd = FakeNsd::start(|query| {
        let mut reply = query.to_vec();
        assert!(reply.ends_with(b"\0\0\x29\x04\xb4\0\0\0\0\0\0"), "room for ours, and no option");
        reply[2] |= 0x80;
        reply
    });
    let cookies = Secrets::from_text("e5e973e5a6b2a43f48e7dc849e37bfcf").ok();
    let table = overlay().with_policy(Arc::new(Policy { cookies, ..Policy::default() }));
    let beside = Beside { limiter: limiter(0), transfers: None };
    let servers = Servers::start_beside(table, Some(relay::Settings::new(nsd.address)), Calls::Native, beside);
    let socket = client(servers.address);
    let with_cookie = |owner: &str, rtype: u16, cookie: &[u8]| {
        let mut octets = plain_query(owner, rtype).to_vec().unwrap();
        octets[11] = 1;
        octets.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4 + cookie.len() as u8, 0, 10, 0, cookie.len() as u8]);
        octets.extend(cookie);
        octets
    };
    // Each answer ends in it, ours and nsd's.
    socket.send(&with_cookie("@", 15, b"12345678")).unwrap();
    let mut reply = [0; 512];
    let len = socket.recv(&mut reply).unwrap();
    let cookie = reply[len - 24..len].to_vec();
    assert_eq!(flood(&servers, &socket, &with_cookie("@", 15, &cookie)).len(), FLOOD);
    servers.stop();
}

/// Somebody in nsd's place, over UDP.
struct FakeNsd {
    address: SocketAddr,
    /// So that nobody else has the port.
    _tcp: Option<TcpListener>,
}

impl FakeNsd {
    /// Answers until nobody has asked for a long time.
    fn start(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> FakeNsd {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut query = [0; 4_096];
            while let Ok((len, from)) = socket.recv_from(&mut query) {
                let _ = socket.send_to(&answer(&query[..len]), from);
            }
        });
        FakeNsd { address, _tcp: TcpListener::bind(address).ok() }
    }
}
