//! From the swap to the first new answer at a client, and that nothing is lost or mixed, while dnsperf
//! asks as fast as it can. What comes before the swap in a daemon is in `verdict`.

use std::net::{SocketAddr, UdpSocket};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nsd_failover::dns::name::Name;
use nsd_failover::dns::record::Record;
use nsd_failover::failover::pool::{Node, Pool, PoolRoles, Roles, Slot};
use nsd_failover::health::family::PerFamily;
use nsd_failover::serve::counters::Counters;
use nsd_failover::serve::{sys::Calls, udp};
use nsd_failover::table::respond::{Limits, Transport};
use nsd_failover::table::zone_table::{Mode, ZoneTable};
use nsd_failover::table::{Catalog, Live, Table};
use nsd_failover::zone::tag::Role;

use domain::base::iana::{Class, Rtype};

use super::Holds;
use super::load::Load;
use super::peers::Scratch;
use super::zone::{self, ORIGIN};

const SWAPS: u64 = 400;
/// Under full load, and at a load that leaves the server some air.
const LOADS: [(&str, Option<u32>); 3] = [("no load", None), ("20,000/s", Some(20_000)), ("full load", Some(0))];

/// A swap at the 99th percentile takes no longer, in microseconds.
const SWAP_MAX_US: f64 = 50.0;

pub fn run(scratch: &Scratch, holds: &mut Holds) {
    println!("\nSwap under load: from the swap to the first new answer, {SWAPS} swaps each");
    println!(
        "{:>9} {:>10} {:>10} {:>10} {:>10} {:>12}",
        "names", "load", "swap p99", "seen p50", "seen p99", "seen max"
    );
    for names in [10, 1_000_000] {
        let folder = scratch.folder(&format!("swap-{names}"));
        let queries = zone::queries(&folder, names);
        let catalog = catalog(names);
        let live = Arc::new(Live::new(table(&catalog, 0)));
        let sockets = udp::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let address = sockets[0].local_addr().unwrap();
        let settings = udp::Settings {
            limits: Limits::new(Transport::Udp, false),
            relay: None,
            limiter: None,
            proxies: [].into(),
            calls: Calls::default(),
        };
        let server = udp::Server::start(sockets, &live, &settings, None, &Counters::default()).unwrap();
        for (what, rate) in LOADS {
            let mut load = rate.map(|rate| {
                let load = Load { queries: &queries, seconds: 600, mode: "udp" };
                let mut command = load.command(address);
                if rate > 0 {
                    command.args(["-Q", &rate.to_string()]);
                }
                command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("dnsperf is installed")
            });
            if load.is_some() {
                std::thread::sleep(Duration::from_millis(500));
            }
            let (mut swap_ns, mut seen_us): (Vec<u64>, Vec<u64>) =
                (1..=SWAPS).map(|generation| one(&catalog, &live, address, generation)).unzip();
            if let Some(load) = &mut load {
                let _ = load.kill();
                let _ = load.wait();
            }
            swap_ns.sort_unstable();
            seen_us.sort_unstable();
            let at = |list: &[u64], part: usize| list[(list.len() - 1) * part / 100];
            println!(
                "{names:>9} {what:>10} {:>7} ns {:>7} us {:>7} us {:>9} us",
                at(&swap_ns, 99),
                at(&seen_us, 50),
                at(&seen_us, 99),
                at(&seen_us, 100)
            );
            let what = format!("swap of {names} names, {what}, us at p99");
            holds.at_most(&what, at(&swap_ns, 99) as f64 / 1e3, SWAP_MAX_US);
        }
        server.stop();
    }
}

/// Swaps while a client asks without a pause; nanoseconds of the swap, and microseconds until the
/// client had the new address. It must never see the old one again.
fn one(catalog: &Arc<Catalog>, live: &Live, address: SocketAddr, generation: u64) -> (u64, u64) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let query = query(1);
    let expected = holder(generation);
    let mut reply = [0; 512];
    let began = Instant::now();
    drop(live.swap(table(catalog, generation)));
    let swap_ns = began.elapsed().as_nanos() as u64;
    loop {
        socket.send(&query).unwrap();
        let len = socket.recv(&mut reply).expect("no query is lost");
        if reply[len - 1] == expected {
            return (swap_ns, began.elapsed().as_micros() as u64);
        }
    }
}

/// host-NUMBER A.
pub fn query(number: usize) -> Vec<u8> {
    let mut query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0".to_vec();
    let host = format!("host-{number}");
    query.push(host.len() as u8);
    query.extend(host.as_bytes());
    for label in ORIGIN.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend(b"\0\0\x01\0\x01");
    query
}

fn holder(generation: u64) -> u8 {
    if generation.is_multiple_of(2) { 1 } else { 2 }
}

fn table(catalog: &Arc<Catalog>, generation: u64) -> Table {
    let primary = usize::from(holder(generation) - 1);
    let roles = Roles { primary: Some(primary), standby: Some(1 - primary) };
    let pool: PoolRoles = PerFamily { ipv4: roles, ipv6: roles };
    Table::new(catalog.clone(), generation, &[pool], &[None], &[generation as u32])
}

fn catalog(names: usize) -> Arc<Catalog> {
    let origin: Name = ORIGIN.parse().unwrap();
    let record =
        |owner: Name, rtype, rdata: Vec<u8>| Record { owner, rtype, class: Class::IN, ttl: 300, rdata: rdata.into() };
    let soa = [&b"\0\0"[..], &[1; 20]].concat();
    let head = [(record(origin.clone(), Rtype::SOA, soa), None), (record(origin.clone(), Rtype::NS, vec![0]), None)];
    let slot = Slot { pool: 0, role: Role::Primary };
    let owner = |number| format!("host-{number}.{ORIGIN}").parse().unwrap();
    let body = (0..names).map(|number| (record(owner(number), Rtype::A, vec![192, 0, 2, 1]), Some(slot)));
    let zone = ZoneTable::compile(&origin, head.into_iter().chain(body), &[pool()], Mode::Whole).unwrap();
    Arc::new(Catalog::new(vec![Arc::new(zone)]).unwrap())
}

fn pool() -> Pool {
    let node = |name: &str, last| Node { name: name.to_owned(), ipv4: Some([192, 0, 2, last].into()), ipv6: None };
    Pool { name: "web".to_owned(), nodes: vec![node("fishfinger", 1), node("blowfish", 2)], ..Pool::default() }
}
