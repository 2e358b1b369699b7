//! Law 5: `respond()` makes no allocation, whatever the question.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use nsd_failover::table::respond::{Limits, Transport, respond};
use nsd_failover::table::zone_table::Mode;

use super::support::*;

struct Counting;

thread_local! {
    /// Allocations of this thread: the other tests have theirs.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
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
