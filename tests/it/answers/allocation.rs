//! Law 5: `respond()` makes no allocation, whatever the question, and neither does the path around it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nsd_failover::serve::sys::Calls;
use nsd_failover::table::respond::{Limits, Transport, respond};
use nsd_failover::table::zone_table::Mode;

use super::support::*;

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
    for mode in [Mode::Whole, Mode::Overlay] {
        let table = table(mode);
        let mut out = vec![0; 65_535];
        for (record, _) in records() {
            for rtype in ["A", "AAAA", "TXT", "NS", "SOA", "MX", "ANY", "DS", "AXFR"] {
                for owner in [record.owner.to_string(), format!("x.{}", record.owner)] {
                    let octets = query(&owner, type_of(rtype)).to_vec().unwrap();
                    let before = allocations();
                    for transport in [Transport::Udp, Transport::Stream] {
                        respond(&table, &octets, &Limits::new(transport, false), &CLIENT, &mut out);
                        respond(&table, &octets[..octets.len() - 1], &Limits::new(transport, true), &CLIENT, &mut out);
                    }
                    assert_eq!(allocations(), before, "{owner} {rtype}");
                }
            }
        }
    }
}

/// Says that this process runs one test and nothing else.
const ALONE: &str = "NSD_FAILOVER_TEST_ALONE";

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
    for calls in [Calls::Native, Calls::Plain] {
        let servers = Servers::start(table(Mode::Whole), None, calls);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(servers.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let questions = [("www", "A"), ("nothere", "A"), ("alias2", "AAAA"), ("x.sub", "A"), ("any.wild", "TXT")];
        let questions = questions.map(|(owner, rtype)| query(owner, type_of(rtype)).to_vec().unwrap());
        let mut reply = [0; 4_096];
        let mut ask = |times: usize| {
            for question in questions.iter().cycle().take(times) {
                // What is no query, too: nobody waits for an answer to it.
                client.send(&question[..5]).unwrap();
                client.send(question).unwrap();
                assert!(client.recv(&mut reply).unwrap() > 12);
            }
        };
        // The first batches find nothing warm.
        ask(100);
        let before = ALL.load(Ordering::Relaxed);
        ask(2_000);
        assert_eq!(ALL.load(Ordering::Relaxed) - before, 0, "{calls:?}");
        servers.stop();
    }
}
