//! What a swap and an answer cost, and what a zone takes, at 10 and at 1,000,000 failover RRsets.
//! `cargo bench --bench table`. The figures to hold are in ARCHITECTURE.md.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use domain::base::iana::{Class, Rtype};
use nsd_failover::dns::name::Name;
use nsd_failover::dns::record::Record;
use nsd_failover::failover::pool::{Node, Pool, PoolRoles, Roles, Slot};
use nsd_failover::health::family::PerFamily;
use nsd_failover::table::respond::{Client, Limits, Response, Transport, respond};
use nsd_failover::table::zone_table::{Mode, ZoneTable};
use nsd_failover::table::{Catalog, Live, Table};
use nsd_failover::zone::tag::Role;

const SWAPS: usize = 20_000;
const ANSWERS: usize = 2_000_000;

fn main() {
    println!(
        "{:>9} {:>11} {:>10} {:>10} {:>10} {:>12}",
        "RRsets", "compile", "memory", "swap p50", "swap p99", "swap max"
    );
    let mut live = Vec::new();
    for names in [10, 1_000_000] {
        let before = resident_mib();
        let began = Instant::now();
        let catalog = catalog(names);
        let compile_ms = began.elapsed().as_millis();
        let memory = resident_mib().saturating_sub(before);
        let table = Arc::new(Live::new(table(&catalog, 0)));
        let mut took_ns = swaps(&catalog, &table);
        took_ns.sort_unstable();
        let at = |part: usize| took_ns[(took_ns.len() - 1) * part / 100];
        println!("{names:>9} {compile_ms:>8} ms {memory:>6} MiB {:>7} ns {:>7} ns {:>9} ns", at(50), at(99), at(100));
        live.push((names, table));
    }
    println!("\n{:>9} {:>20} {:>10}", "RRsets", "question", "answer");
    for (names, live) in live {
        for (what, rtype, exists) in [("A", 1, true), ("AAAA (NODATA)", 28, true), ("NXDOMAIN", 1, false)] {
            println!("{names:>9} {what:>20} {:>7} ns", answers(&live, names, rtype, exists));
        }
    }
}

/// Nanoseconds of each swap, the making of the table included.
fn swaps(catalog: &Arc<Catalog>, live: &Live) -> Vec<u64> {
    let swap = |generation| {
        let began = Instant::now();
        drop(live.swap(table(catalog, generation)));
        began.elapsed().as_nanos() as u64
    };
    (1..=SWAPS as u64).map(swap).collect()
}

/// Nanoseconds of an answer, over names in no order.
fn answers(live: &Live, names: usize, rtype: u16, exists: bool) -> u64 {
    let queries: Vec<Vec<u8>> = (0..100_000usize)
        .map(|number| {
            let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % names;
            let owner = if exists { owner(number) } else { format!("x{number}.example.org").parse().expect("a name") };
            let mut query = b"\xab\xcd\0\0\0\x01\0\0\0\0\0\x01".to_vec();
            query.extend_from_slice(owner.wire());
            query.extend_from_slice(&rtype.to_be_bytes());
            query.extend_from_slice(b"\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0");
            query
        })
        .collect();
    let limits = Limits::new(Transport::Udp, false);
    let client = Client { address: [192, 0, 2, 9].into(), now_s: 1 };
    let table = live.load();
    let mut out = [0; 1232];
    let began = Instant::now();
    for query in queries.iter().cycle().take(ANSWERS) {
        let response = respond(&table, black_box(query), &limits, &client, &mut out);
        assert!(matches!(response, Response::Reply(_)));
        black_box(&out);
    }
    began.elapsed().as_nanos() as u64 / ANSWERS as u64
}

fn table(catalog: &Arc<Catalog>, generation: u64) -> Table {
    let (primary, standby) = if generation.is_multiple_of(2) { (Some(0), Some(1)) } else { (Some(1), Some(0)) };
    let roles = Roles { primary, standby };
    let pool: PoolRoles = PerFamily { ipv4: roles, ipv6: roles };
    Table::new(catalog.clone(), generation, &[pool], &[None], &[generation as u32])
}

fn owner(number: usize) -> Name {
    format!("host-{number}.example.org").parse().expect("a name")
}

fn catalog(names: usize) -> Arc<Catalog> {
    let origin: Name = "example.org".parse().expect("a name");
    let record =
        |owner: Name, rtype, rdata: Vec<u8>| Record { owner, rtype, class: Class::IN, ttl: 300, rdata: rdata.into() };
    let soa = [&b"\0\0"[..], &[1; 20]].concat();
    let head = [(record(origin.clone(), Rtype::SOA, soa), None), (record(origin.clone(), Rtype::NS, vec![0]), None)];
    let slot = Slot { pool: 0, role: Role::Primary };
    let body = (0..names).map(|number| (record(owner(number), Rtype::A, vec![192, 0, 2, 1]), Some(slot)));
    let zone = ZoneTable::compile(&origin, head.into_iter().chain(body), &[pool()], Mode::Whole).expect("sound");
    assert_eq!(zone.failover_rrsets(), names);
    Arc::new(Catalog::new(vec![Arc::new(zone)]).expect("one zone"))
}

fn pool() -> Pool {
    let node = |name: &str, last| Node { name: name.to_owned(), ipv4: Some([192, 0, 2, last].into()), ipv6: None };
    Pool { name: "web".to_owned(), nodes: vec![node("fishfinger", 1), node("blowfish", 2)], ..Pool::default() }
}

/// Memory of this process now, in MiB; 0 where the system does not say.
fn resident_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<u64> = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4096 / (1 << 20)
}
