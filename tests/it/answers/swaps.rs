//! Under a stream of queries, and as many datagrams that are none, during a hundred swaps: no answer
//! mixes generations, none is lost.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::RData;

use nsd_failover::serve::sys::Calls;
use nsd_failover::table::zone_table::{Mode, ZoneTable};
use nsd_failover::table::{Catalog, Table};

use super::support::*;

const SWAPS: u64 = 100;
/// Queries on their way at a time.
const WINDOW: u16 = 32;

/// Generation n: serial n; an even one has fishfinger as primary, an odd one inky, which has no IPv6.
fn generation(catalog: &Arc<Catalog>, number: u64) -> Table {
    let roles = if number.is_multiple_of(2) { held(Some(0), Some(1)) } else { held(Some(2), Some(0)) };
    Table::new(catalog.clone(), number, &[roles], &[None], &[number as u32])
}

/// Which generation an answer is of: all that is in it must agree. `None`: no RRset says.
fn generation_of(message: &Message) -> Option<Parity> {
    let records = message.answers.iter().chain(&message.authorities).chain(&message.additionals);
    let mut found: Option<Parity> = None;
    for record in records {
        let owner = record.name.to_ascii().to_lowercase();
        let here = match &record.data {
            RData::SOA(soa) => Parity(u64::from(soa.serial) % 2),
            RData::A(address) if owner.starts_with("www") || owner.starts_with("at") => {
                match address.to_string().as_str() {
                    "192.0.2.10" => Parity(0),
                    "203.0.113.30" => Parity(1),
                    other => panic!("{owner} {other}"),
                }
            }
            RData::A(address) if owner.starts_with("standby") => match address.to_string().as_str() {
                "198.51.100.20" => Parity(0),
                "192.0.2.10" => Parity(1),
                other => panic!("{owner} {other}"),
            },
            RData::AAAA(_) if owner.starts_with("www") => Parity(0),
            _ => continue,
        };
        assert!(found.is_none_or(|other| other == here), "mixed: {}", show(message));
        found = Some(here);
    }
    // No primary with IPv6: NODATA in an odd generation, and its SOA has been looked at above.
    found
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Parity(u64);

fn catalog() -> Arc<Catalog> {
    let more = "
many            300  NS    www
many            300  NS    standby
both            300  MX    1 www
both            300  MX    2 standby
";
    let more = more.lines().filter(|line| !line.is_empty()).map(record);
    let records: Vec<_> = records().into_iter().chain(more).collect();
    let origin = "example.org".parse().unwrap();
    let zone = ZoneTable::compile(&origin, records.into_iter(), &[pool()], Mode::Whole).unwrap();
    Arc::new(Catalog::new(vec![Arc::new(zone)]).unwrap())
}

#[test]
fn no_answer_mixes_generations_and_none_is_lost() {
    let catalog = catalog();
    for calls in [Calls::Native, Calls::Plain] {
        let servers = Servers::start(generation(&catalog, 1_000), None, calls);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stream = |seed: u16| {
                let (done, address) = (&done, servers.address);
                scope.spawn(move || ask_without_end(address, seed, done))
            };
            let streams = [stream(0), stream(7)];
            for number in 1_001..1_001 + SWAPS {
                servers.live.swap(generation(&catalog, number));
                std::thread::sleep(Duration::from_millis(3));
            }
            done.store(true, Ordering::Relaxed);
            for stream in streams {
                let (answers, moves) = stream.join().unwrap();
                assert!(answers > 1_000 && moves > 10, "{answers} answers, {moves} of them after a swap");
            }
        });
        servers.stop();
    }
}

/// Something that was a query: cut off, with other counts, with noise in it or behind it, or a reply.
fn malformed(mut octets: Vec<u8>, seed: u16) -> Vec<u8> {
    let at = usize::from(seed) * 7 % octets.len();
    match seed % 6 {
        0 => octets.truncate(at),
        1 => octets[4 + at % 8] ^= 0x55,
        2 => octets.extend(std::iter::repeat_n(0xc0, 1 + at)),
        3 => octets[2] |= 0x80,
        4 => octets[12] = 0xff,
        _ => octets.iter_mut().step_by(3).for_each(|octet| *octet = octet.wrapping_mul(31).wrapping_add(7)),
    }
    octets
}

/// Keeps a window of queries on their way until told to stop; each must be answered. Returns how
/// many were, and how often the generation changed from one to the next.
fn ask_without_end(address: SocketAddr, seed: u16, done: &AtomicBool) -> (u64, u64) {
    let questions = [
        ("www", "A"),
        ("www", "AAAA"),
        ("at.srv", "SRV"),
        ("srv", "SRV"),
        ("both", "MX"),
        ("x.many", "A"),
        ("alias2", "A"),
        ("alias", "TXT"),
        ("standby", "AAAA"),
        ("nothere", "A"),
        ("@", "SOA"),
    ];
    let questions: Vec<Message> = questions.iter().map(|(owner, rtype)| query(owner, type_of(rtype))).collect();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // Where nobody waits for replies.
    let noisy = UdpSocket::bind("127.0.0.1:0").unwrap();
    noisy.connect(address).unwrap();
    let mut waiting: HashMap<u16, ()> = HashMap::new();
    let (mut id, mut answers, mut moves, mut last) = (seed, 0, 0, None);
    while !done.load(Ordering::Relaxed) || !waiting.is_empty() {
        while waiting.len() < WINDOW.into() && !done.load(Ordering::Relaxed) {
            id = id.wrapping_add(1);
            let mut message = questions[usize::from(id) % questions.len()].clone();
            message.metadata.id = id;
            let octets = message.to_vec().unwrap();
            socket.send(&octets).unwrap();
            waiting.insert(id, ());
            // No reply is read there: an ICMP message about that is no event.
            let _ = noisy.send(&malformed(octets, id));
        }
        let mut octets = [0; 4096];
        let length = socket.recv(&mut octets).expect("a query was lost");
        let message = Message::from_vec(&octets[..length]).unwrap();
        waiting.remove(&message.metadata.id).expect("an answer to nothing");
        let generation = generation_of(&message).expect("every one of these tells");
        answers += 1;
        moves += u64::from(last.is_some_and(|last| last != generation));
        last = Some(generation);
    }
    (answers, moves)
}
