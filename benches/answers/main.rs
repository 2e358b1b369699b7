//! What an answer costs, in CPU time of the server, side by side in one run on one machine: a bare
//! recvmmsg/sendmmsg echo, this program, nsd, gdnsd, Knot, and hickory-server with its own catalog;
//! and this program's relay against dnsdist. The servers are those of `PATH`, the load is dnsperf's.
//!
//! ```text
//! cargo bench --bench answers [-- [--rounds N] [--seconds N] [--names N,N] [--only NAME,NAME] [PART...]]
//! PART: udp, relay, tcp, swap; without any, all
//! ```
//!
//! The server is bound to the first core and the client to the second, where `taskset` is there.
//! CPU time is what the scheduler has counted for all threads and children of the server, over the
//! queries that dnsperf saw answered. Each round goes through all servers in turn; the median of the
//! rounds is printed. A machine with other work on it shows in the spread, which is printed too.
// A bench that cannot go on says why by its panic.
#![allow(clippy::unwrap_used)]

use std::process::ExitCode;

mod echo;
mod hickory;
mod load;
mod peers;
mod streams;
mod swap;
mod zone;

use load::Load;
use peers::{Peer, Scratch};

/// hickory-server looks at every name of a zone for each NXDOMAIN.
const HICKORY_NAMES_MAX: usize = 10_000;

/// What is asked for on the command line.
struct Options {
    rounds: usize,
    seconds: u32,
    names: Vec<usize>,
    only: Vec<String>,
    parts: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mode, address] = &arguments[..]
        && mode == "echo"
    {
        echo::run(address);
    }
    if let [mode, address, origin, path] = &arguments[..]
        && mode == "hickory"
    {
        hickory::run(address, origin, path);
    }
    let options = Options::read(&arguments);
    let scratch = Scratch::new();
    if options.wants("udp") {
        for names in options.names.clone() {
            udp(&options, &scratch, names);
        }
    }
    if options.wants("relay") {
        relay(&options, &scratch);
    }
    if options.wants("tcp") {
        streams::run(&options, &scratch);
    }
    if options.wants("swap") {
        swap::run(&scratch);
    }
    ExitCode::SUCCESS
}

impl Options {
    fn read(arguments: &[String]) -> Options {
        let mut options =
            Options { rounds: 5, seconds: 3, names: vec![1_000, 1_000_000], only: Vec::new(), parts: Vec::new() };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut list = || -> Vec<String> {
                words.next().expect("a value behind the option").split(',').map(str::to_owned).collect()
            };
            match word.as_str() {
                "--rounds" => options.rounds = list()[0].parse().unwrap(),
                "--seconds" => options.seconds = list()[0].parse().unwrap(),
                "--names" => options.names = list().iter().map(|names| names.parse().unwrap()).collect(),
                "--only" => options.only = list(),
                part => options.parts.push(part.to_owned()),
            }
        }
        options
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    fn wants_peer(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }
}

/// Starts a server with this zone.
type Maker = fn(&Scratch, &zone::Files) -> Peer;

/// CPU per answer over UDP.
fn udp(options: &Options, scratch: &Scratch, names: usize) {
    let zone = zone::write(&scratch.folder(&format!("zone-{names}")), names);
    let queries = zone::queries(&scratch.folder(&format!("zone-{names}")), names);
    let makers: &[(&str, Maker)] = &[
        ("echo", peers::echo),
        ("ours", peers::ours),
        ("nsd", peers::nsd),
        ("gdnsd", peers::gdnsd),
        ("knot", peers::knot),
        ("hickory", peers::hickory),
    ];
    let feasible = |name: &str| name != "hickory" || names <= HICKORY_NAMES_MAX;
    let wanted = makers.iter().filter(|(name, _)| options.wants_peer(name) && feasible(name));
    let peers: Vec<Peer> = wanted.map(|(_, make)| make(scratch, &zone)).collect();
    let load = Load { queries: &queries, seconds: options.seconds, mode: "udp" };
    println!("\nUDP, {names} names: A, AAAA, NODATA, NXDOMAIN, apex, with EDNS");
    measure(options, &load, &peers, "echo");
}

/// CPU of a relayed query, the relay's own share.
fn relay(options: &Options, scratch: &Scratch) {
    let folder = scratch.folder("zone-relay");
    let zone = zone::write(&folder, 1_000);
    let queries = zone::queries(&folder, 1_000);
    let nsd = peers::nsd_on_client_core(scratch, &zone);
    let peers = [peers::relay(scratch, &zone, nsd.address), peers::dnsdist(scratch, nsd.address)];
    let load = Load { queries: &queries, seconds: options.seconds, mode: "udp" };
    println!("\nRelay to nsd over UDP, 1000 names");
    measure(options, &load, &peers, "dnsdist");
}

/// Rounds over all peers, and the table; ratios are against `base`.
fn measure(options: &Options, load: &Load<'_>, peers: &[Peer], base: &str) {
    let mut costs = vec![Vec::new(); peers.len()];
    let mut rates = vec![Vec::new(); peers.len()];
    // The first round warms caches and is not counted.
    for round in 0..=options.rounds {
        for (at, peer) in peers.iter().enumerate() {
            let before = peer.cpu_ns();
            let done = load.run(peer.address);
            let cpu_ns = peer.cpu_ns() - before;
            if round > 0 {
                costs[at].push(cpu_ns as f64 / 1e3 / done.completed as f64);
                rates[at].push(done.completed as f64 / done.seconds);
            }
        }
    }
    let base_us = peers.iter().position(|peer| peer.name == base).map(|at| median(&mut costs[at]));
    println!(
        "{:>14} {:>12} {:>8} {:>8} {:>12} {:>10} {:>8}",
        "server", "CPU us/answer", "min", "max", "ratio", "answers/s", "memory"
    );
    for (at, peer) in peers.iter().enumerate() {
        let cost_us = median(&mut costs[at]);
        let ratio = base_us.map_or(String::new(), |base_us| format!("{:.2} x {base}", cost_us / base_us));
        let (min, max) = (costs[at][0], costs[at][costs[at].len() - 1]);
        println!(
            "{:>14} {cost_us:>12.2} {min:>8.2} {max:>8.2} {ratio:>14} {:>10.0} {:>5} MiB",
            peer.name,
            median(&mut rates[at]),
            peer.resident_mib(),
        );
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
