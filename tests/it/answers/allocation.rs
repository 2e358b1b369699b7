//! Law 5: `respond()` makes no allocation, whatever the question, and neither does the path around it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nsd_failover::dns::cookie::Secrets;
use nsd_failover::serve::counters::{Relayed, Request};
use nsd_failover::serve::relay::{self, UNANSWERED};
use nsd_failover::serve::rrl::{self, Limiter};
use nsd_failover::serve::sys::Calls;
use nsd_failover::table::policy::Policy;
use nsd_failover::table::respond::{Limits, Transport, failure, respond, slip};
use nsd_failover::table::zone_table::{Mode, ZoneTable};
use nsd_failover::table::{Catalog, Table};
use nsd_failover::zone::Zone;

use super::nsd::zone_text;
use super::support::*;
use crate::support::signed::signed;

struct Counting;

thread_local! {
    /// Allocations of this thread: the other tests have theirs.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Allocations of the process.
static ALL: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands everything on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        ALL.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

#[test]
fn respond_makes_none() {
    let before = allocations();
    drop(Box::new(before));
    assert!(allocations() > before, "the counter counts");
    let talkative = || table(Mode::Whole).with_policy(policy());
    let mut tables = vec![table(Mode::Whole), table(Mode::Overlay), talkative()];
    for options in [&[][..], &["-3", "aabbccdd", "-H", "5"]] {
        tables.push(signed_table(options).with_policy(policy()));
    }
    let mut out = vec![0; 65_535];
    for (number, table) in tables.iter().enumerate() {
        for (record, _) in records() {
            for rtype in ["A", "AAAA", "TXT", "NS", "SOA", "MX", "ANY", "DS", "AXFR", "RRSIG"] {
                for owner in [record.owner.to_string(), format!("x.{}", record.owner)] {
                    let octets = asking_for_everything(&owner, type_of(rtype));
                    let before = allocations();
                    for transport in [Transport::Udp, Transport::Stream] {
                        let limits = Limits { idle_ds: Some(100), encrypted: true, ..Limits::new(transport, false) };
                        respond(table, &octets, &limits, &CLIENT, &mut out);
                        slip(table, &octets, &limits, &CLIENT, &mut out);
                        failure(table, &octets, UNANSWERED, &limits, &CLIENT, &mut out);
                        respond(
                            table,
                            &octets[..octets.len() - 1],
                            &Limits { relay: true, ..limits },
                            &CLIENT,
                            &mut out,
                        );
                    }
                    assert_eq!(allocations(), before, "{owner} {rtype} of table {number}");
                }
            }
        }
    }
    // The signed zones have had something to prove, and every option was answered.
    let limits = Limits::new(Transport::Stream, false);
    let reply = reply_octets(&tables[4], &asking_for_everything("nothere", 1), &limits);
    assert!(reply[9] > 4, "{} records in the authority section", reply[9]);
    let plain = reply_octets(&tables[0], &asking_for_everything("www", 1), &limits);
    let reply = reply_octets(&tables[2], &asking_for_everything("www", 1), &limits);
    assert_eq!(reply.len(), plain.len() + 4 + 24 + 4 + 4, "a cookie and an identifier");
}

/// NSID, cookies, rotation.
fn policy() -> Arc<Policy> {
    let cookies = Secrets::from_text("e5e973e5a6b2a43f48e7dc849e37bfcf").ok();
    Arc::new(Policy { nsid: b"ns-a"[..].into(), cookies, rotate_addresses: true, ..Policy::default() })
}

/// The zone of these tests, signed; without failover records, which no signed zone may have.
fn signed_table(options: &[&str]) -> Table {
    let origin = "example.org".parse().unwrap();
    let zone = Zone::parse(&origin, "zone", signed("example.org", zone_text().as_bytes(), options)).unwrap();
    let records = zone.records().map(|found| (found.record, None));
    let zone = ZoneTable::compile(&origin, records, &[], Mode::Whole).unwrap();
    Table::new(Arc::new(Catalog::new(vec![Arc::new(zone)]).unwrap()), 1, &[], &[], &[])
}

/// A query with DO, and with the options that a client can ask for: NSID, a cookie, keepalive, padding.
fn asking_for_everything(owner: &str, rtype: u16) -> Vec<u8> {
    let mut octets = plain_query(owner, rtype).to_vec().unwrap();
    octets[11] = 1;
    octets.extend(b"\0\0\x29\x04\xd0\0\0\x80\0\0\x18\0\x03\0\0\0\x0a\0\x08abcdefgh\0\x0b\0\0\0\x0c\0\0");
    octets
}

/// From the arrival of a datagram to the departure of the reply: in a process of its own, where
/// nobody else allocates.
#[test]
fn the_udp_threads_make_none() {
    if std::env::var_os(ALONE).is_none() {
        let mut alone = Command::new(std::env::current_exe().unwrap());
        alone.args(["--exact", "answers::allocation::the_udp_threads_make_none", "--nocapture"]).env(ALONE, "1");
        let output = alone.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let nsd = echo();
    let limited = || {
        let settings =
            rrl::Settings { rate: 1, slip: 1, ipv4_prefix: 24, ipv6_prefix: 64, buckets: 1_000, exempt: Vec::new() };
        Beside { limiter: Some(Arc::new(Limiter::new(settings))), transfers: None }
    };
    for (number, calls) in [Calls::Native, Calls::Plain].into_iter().cycle().take(6).enumerate() {
        let servers = match number {
            0 | 1 => Servers::start(table(Mode::Whole), None, calls),
            // What leaves: one answer a second, and else the empty ones with TC.
            2 | 3 => Servers::start_beside(table(Mode::Whole).with_policy(policy()), None, calls, limited()),
            // All but the failover names by way of nsd.
            _ => Servers::start_beside(table(Mode::Overlay), Some(relay::Settings::new(nsd)), calls, limited()),
        };
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(servers.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let questions = [("www", "A"), ("nothere", "A"), ("alias2", "AAAA"), ("x.sub", "A"), ("any.wild", "TXT")];
        let questions = questions.map(|(owner, rtype)| asking_for_everything(owner, type_of(rtype)));
        let mut reply = [0; 4_096];
        let mut ask = |times: usize| {
            for question in questions.iter().cycle().take(times) {
                // What is no query, too: nobody waits for an answer to it.
                client.send(&question[..5]).unwrap();
                client.send(question).unwrap();
                assert!(client.recv(&mut reply).unwrap() > 12);
            }
        };
        // The first batches find nothing warm; and whoever has been let in, finds the TCP server started.
        ask(100);
        drop(TcpStream::connect(servers.address).unwrap());
        eventually("the TCP server has nothing more to do", || {
            let counts = servers.door.counts()[0].1;
            (counts.accepted, counts.open) == (1, 0)
        });
        let before = ALL.load(Ordering::Relaxed);
        ask(2_000);
        let made = ALL.load(Ordering::Relaxed) - before;
        assert_eq!(made, 0, "{calls:?}, round {number}");
        let counters = servers.counters.snapshot();
        assert_eq!(counters.requests(Request::Slipped) > 1_000, number > 1, "{number}");
        assert_eq!(counters.relayed(Relayed::Answered) > 1_000, number > 3, "{number}");
        servers.stop();
    }
}

/// Somebody in nsd's place who sends each query back as a reply, and allocates nothing.
fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut octets = [0; 4_096];
        while let Ok((len, from)) = socket.recv_from(&mut octets) {
            octets[2] |= 0x80;
            let _ = socket.send_to(&octets[..len], from);
        }
    });
    address
}
