//! What an answer costs, in CPU time of the server, side by side in one run on one machine: a bare
//! recvmmsg/sendmmsg echo, this program, nsd, gdnsd, Knot, and hickory-server with its own catalog;
//! and this program's relay against dnsdist. The servers are those of `PATH`, the load is dnsperf's.
//!
//! ```text
//! cargo bench --bench answers [-- [--rounds N] [--seconds N] [--names N,N] [--only NAME,NAME] [PART...]]
//! PART: udp, relay, tcp, swap, verdict; without any, all
//! ```
//!
//! Below each table stands what is to hold, and whether it does; exit status 1 if anything does not.
//!
//! The server is bound to the first core and the client to the second, where `taskset` is there.
//! CPU time is what the scheduler has counted for all threads and children of the server, over the
//! queries that dnsperf saw answered. Each round goes through all servers in turn; the median of the
//! rounds is printed. A machine with other work on it shows in the spread, which is printed too.
// A bench that cannot go on says why by its panic.
#![allow(clippy::unwrap_used)]

use std::process::ExitCode;

mod client;
mod echo;
mod hickory;
mod load;
mod peers;
mod streams;
mod swap;
mod verdict;
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
    let mut holds = Holds::default();
    if options.wants("udp") {
        for names in options.names.clone() {
            udp(&options, &scratch, names, &mut holds);
        }
    }
    if options.wants("relay") {
        relay(&options, &scratch, &mut holds);
    }
    if options.wants("tcp") {
        streams::run(&options, &scratch, &mut holds);
    }
    if options.wants("swap") {
        swap::run(&scratch, &mut holds);
    }
    if options.wants("verdict") {
        verdict::run(&scratch, &mut holds);
    }
    if holds.broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What is to hold, and whether all of it has.
#[derive(Default)]
struct Holds {
    broken: bool,
}

impl Holds {
    /// `value` is to be at most `limit`.
    fn at_most(&mut self, what: &str, value: f64, limit: f64) {
        let held = value <= limit;
        self.broken |= !held;
        println!("{:>10}: {what}: {value:.2}, at most {limit:.2}", if held { "held" } else { "NOT held" });
    }
}

/// Medians of one server.
struct Cost {
    name: &'static str,
    cpu_us: f64,
    answers_per_s: f64,
    resident_mib: u64,
}

/// The ratio of two servers by what `of` takes from each, if both were measured.
fn ratio(costs: &[Cost], ours: &str, theirs: &str, of: impl Fn(&Cost) -> f64) -> Option<f64> {
    let find = |name: &str| costs.iter().find(|cost| cost.name == name).map(&of);
    Some(find(ours)? / find(theirs)?)
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
fn udp(options: &Options, scratch: &Scratch, names: usize, holds: &mut Holds) {
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
    let costs = measure(options, &load, &peers, "echo");
    for (theirs, limit) in [("echo", 1.15), ("nsd", 1.0), ("gdnsd", 1.0), ("knot", 1.0)] {
        if let Some(ratio) = ratio(&costs, "ours", theirs, |cost| cost.cpu_us) {
            holds.at_most(&format!("CPU of an answer by that of {theirs}"), ratio, limit);
        }
    }
    if let Some(ratio) = ratio(&costs, "ours", "nsd", |cost| cost.resident_mib as f64).filter(|_| names >= 1_000_000) {
        holds.at_most("memory by that of nsd", ratio, 1.0);
    }
}

/// CPU of a relayed query, the relay's own share.
fn relay(options: &Options, scratch: &Scratch, holds: &mut Holds) {
    let folder = scratch.folder("zone-relay");
    let zone = zone::write(&folder, 1_000);
    let queries = zone::queries(&folder, 1_000);
    let nsd = peers::nsd_on_client_core(scratch, &zone);
    let peers = [peers::relay(scratch, &zone, nsd.address), peers::dnsdist(scratch, nsd.address)];
    let load = Load { queries: &queries, seconds: options.seconds, mode: "udp" };
    println!("\nRelay to nsd over UDP, 1000 names");
    let costs = measure(options, &load, &peers, "dnsdist");
    if let Some(ratio) = ratio(&costs, "relay", "dnsdist", |cost| cost.cpu_us) {
        holds.at_most("CPU of a relayed query by that of dnsdist", ratio, 0.6);
    }
}

/// Rounds over all peers, and the table; ratios are against `base`.
fn measure(options: &Options, load: &Load<'_>, peers: &[Peer], base: &str) -> Vec<Cost> {
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
    let row = |(at, peer): (usize, &Peer)| {
        let (cpu_us, answers_per_s) = (median(&mut costs[at]), median(&mut rates[at]));
        let ratio = base_us.map_or(String::new(), |base_us| format!("{:.2} x {base}", cpu_us / base_us));
        let (min, max) = (costs[at][0], costs[at][costs[at].len() - 1]);
        let (name, resident_mib) = (peer.name, peer.resident_mib());
        println!(
            "{name:>14} {cpu_us:>12.2} {min:>8.2} {max:>8.2} {ratio:>14} {answers_per_s:>10.0} {resident_mib:>5} MiB"
        );
        Cost { name, cpu_us, answers_per_s, resident_mib }
    };
    peers.iter().enumerate().map(row).collect()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
