//! What an export costs beside the same change made by hand, in one run, against a real nsd:
//! `cargo bench --bench export`, or `-- few all large many` for parts of it. Needs nsd and its tools.
//!
//! By hand: the file rewritten (one pass over its text, a new file, a rename) and `nsd-control
//! reload ZONE`; nothing is checked and nothing synced. With care: the same with `nsd-checkzone`
//! before the rename, as a cron job does it. Ours: the order `switch` at the daemon's socket, with
//! everything that an export does. Each has its own nsd with the same zone, and they take turns. All
//! clocks stop when nsd answers the new address, asked over UDP the whole time; "reported" is when the
//! order's answer has come, after everything was verified.
//! Ends with 1 where an export of 10,000 records takes more than 1.2 x the time by hand, or a zone is
//! forgotten.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

#[allow(dead_code)]
#[path = "../tests/it/support/nsd.rs"]
mod nsd;
#[path = "shared/verdict.rs"]
mod verdict;

use nsd::Nsd;
use verdict::Verdict;

const A: &str = "192.0.2.10";
const B: &str = "198.51.100.20";
const SERIAL: u32 = 1_000;
const ROUNDS: usize = 31;
/// Rounds before those that count: afterwards each file has been written, and each verdict is known.
const WARM_UP: usize = 2;
/// Between two measurements: processes of nsd that a reload has replaced end, the daemon saves its state.
const SETTLE: Duration = Duration::from_millis(60);
const PATIENCE: Duration = Duration::from_secs(120);

/// An export of so many records is compared with the same by hand.
const HELD_RECORDS: usize = 10_000;
const HELD_RATIO: f64 = 1.2;

fn main() -> ExitCode {
    let mut verdict = Verdict::default();
    println!(
        "{:>8} {:>9} {:>8} {:>12} {:>13} {:>12} {:>12} {:>7}",
        "records", "failover", "control", "by hand p50", "with care p50", "ours p50", "reported p50", "ratio"
    );
    for (part, records, failover) in [("few", 10_000, 100), ("all", 10_000, 10_000), ("large", 100_000, 100)] {
        for socket in [true, false].into_iter().filter(|_| is_wanted(part)) {
            let ratio = one_zone(records, failover, socket);
            if records == HELD_RECORDS {
                let what = format!("export of {records} records, {failover} of them failover, by {}", control(socket));
                verdict.at_most(&what, ratio, HELD_RATIO, " x by hand");
            }
        }
    }
    if is_wanted("many") {
        println!();
        let forgotten = many_zones(1_000);
        verdict.at_most("zones forgotten of 1,000 in one decision", forgotten as f64, 0.0, "");
    }
    verdict.exit_code()
}

/// Whether a part was asked for: all, unless some are named.
fn is_wanted(part: &str) -> bool {
    let named: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    named.is_empty() || named.iter().any(|name| name == part)
}

fn control(socket: bool) -> &'static str {
    if socket { "socket" } else { "program" }
}

/// One zone of so many records at two servers, changed by us at one and by hand at the other, in turn;
/// how many times the time by hand ours takes.
fn one_zone(records: usize, failover: usize, socket: bool) -> f64 {
    let text = zone(records, failover);
    let [nsd, by_hands] = [(); 2].map(|()| Nsd::start(&[("big.zone", text.as_bytes())]));
    let folder = tempfile::tempdir().expect("a temp folder");
    let daemon = Daemon::start(folder.path(), &nsd, &["big.zone".to_owned()], socket);
    let (mut hand, mut care, mut ours, mut reported) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // Each file of each kind is written before it counts.
    for round in 0..ROUNDS + WARM_UP {
        // Who comes first, and what lies in caches, is the same for all three on the whole.
        for turn in 0..3 {
            thread::sleep(SETTLE);
            match (round + turn) % 3 {
                0 => {
                    let (node, address) = if round % 2 == 0 { ("b", B) } else { ("a", A) };
                    let seen = served(nsd.address(), "h0.big.zone", address);
                    let began = Instant::now();
                    daemon.post(
                        "order",
                        &format!("{{\"action\":{{\"switch\":{{\"pool\":\"web\",\"node\":\"{node}\"}}}}}}"),
                    );
                    reported.push(began.elapsed());
                    ours.push(seen.recv().expect("it is served") - began);
                }
                kind => {
                    let (from, to) = if (hand.len() + care.len()) % 2 == 0 { (A, B) } else { (B, A) };
                    let seen = served(by_hands.address(), "h0.big.zone", to);
                    let began = Instant::now();
                    by_hand(&by_hands, &by_hands.zone_path("big.zone"), from, to, kind == 2);
                    let took = seen.recv().expect("it is served") - began;
                    if kind == 2 { care.push(took) } else { hand.push(took) }
                }
            }
        }
    }
    let [hand, care, ours, reported] = [hand, care, ours, reported].map(|took| median_ms(&took[WARM_UP..]));
    let (control, ratio) = (control(socket), ours / hand);
    println!(
        "{records:>8} {failover:>9} {control:>8} {hand:>9.1} ms {care:>10.1} ms {ours:>9.1} ms {reported:>9.1} ms {ratio:>6.2}x"
    );
    ratio
}

/// Every zone moves in one decision: the answer from memory, and the last of them at nsd. How many never
/// came there.
fn many_zones(count: usize) -> usize {
    let origins: Vec<String> = (0..count).map(|n| format!("z{n}.example")).collect();
    let text = zone(10, 2);
    let zones: Vec<(&str, &[u8])> = origins.iter().map(|origin| (origin.as_str(), text.as_bytes())).collect();
    let nsd = Nsd::start(&zones);
    let folder = tempfile::tempdir().expect("a temp folder");
    let daemon = Daemon::start(folder.path(), &nsd, &origins, true);
    let last = format!("h0.{}", origins[count - 1]);
    let memory = served(daemon.dns, &last, B);
    let began = Instant::now();
    daemon.post("order", "{\"action\":{\"switch\":{\"pool\":\"web\",\"node\":\"b\"}}}");
    let all = began.elapsed();
    let memory = memory.recv().expect("it is served") - began;
    let forgotten = origins.iter().filter(|origin| nsd.dig(&[&format!("h0.{origin}"), "A"]) != [B]).count();
    let memory_ms = memory.as_secs_f64() * 1e3;
    println!(
        "{count} zones in one decision: from memory after {memory_ms:.2} ms, all verified at nsd after {:.2} s, {forgotten} forgotten",
        all.as_secs_f64()
    );
    let began = Instant::now();
    for origin in &origins {
        let path = nsd.zone_path(origin);
        fs::rename(rewritten(&path, B, A), &path).expect("renamed");
        nsd.control(&["reload", origin]);
    }
    let last = served(nsd.address(), &last, A);
    last.recv().expect("it is served");
    println!("the same by hand, one after the other: {:.2} s", began.elapsed().as_secs_f64());
    forgotten
}

fn median_ms(took: &[Duration]) -> f64 {
    let mut took = took.to_vec();
    took.sort();
    took[took.len() / 2].as_secs_f64() * 1e3
}

/// A zone of so many address records, the first ones of them failover records on A.
fn zone(records: usize, failover: usize) -> String {
    let mut text = format!("$TTL 300\n@ SOA ns hostmaster {SERIAL} 3600 600 604800 300\n@ NS ns\nns A 192.0.2.53\n");
    for n in 0..records {
        let tag = if n < failover { " ; Enable failover" } else { "" };
        text.push_str(&format!("h{n} IN A {A}{tag}\n"));
    }
    text
}

/// What a script does: read, replace, write a new file, rename it, tell nsd; a careful one has the new
/// file checked.
fn by_hand(nsd: &Nsd, path: &Path, from: &str, to: &str, is_careful: bool) {
    let new = rewritten(path, from, to);
    if is_careful {
        let checked = Command::new("nsd-checkzone").arg("big.zone").arg(&new).stdout(Stdio::null()).status();
        assert!(checked.expect("nsd-checkzone is installed").success());
    }
    fs::rename(&new, path).expect("renamed");
    nsd.control(&["reload", "big.zone"]);
}

/// A file beside a zone file, with another address in it and the next serial.
fn rewritten(path: &Path, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(path).expect("the zone file");
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if line.contains("Enable failover") {
            out.push_str(&line.replace(from, to));
        } else if line.contains(" SOA ") {
            let serial = line.split(' ').nth(4).expect("a serial");
            let next: u32 = serial.parse::<u32>().expect("a number") + 1;
            out.push_str(&line.replace(serial, &next.to_string()));
        } else {
            out.push_str(line);
        }
    }
    let new = path.with_extension("new");
    fs::write(&new, out).expect("a new file");
    new
}

/// The moment at which a server first answers `address`, asked from now on without a pause.
fn served(server: SocketAddr, name: &str, address: &str) -> mpsc::Receiver<Instant> {
    let (tell, seen) = mpsc::channel();
    let name: nsd_failover::dns::name::Name = name.parse().expect("a name");
    let wanted: std::net::Ipv4Addr = address.parse().expect("an address");
    thread::spawn(move || {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
        socket.connect(server).expect("loopback");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time");
        let query = [&[7, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], name.wire(), &[0, 1, 0, 1]].concat();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            // Asked every 500 us: fine enough to see it, little enough to leave nsd its core.
            thread::sleep(Duration::from_micros(500));
            let mut answer = [0; 512];
            let _ = socket.send(&query);
            let Ok(length) = socket.recv(&mut answer) else { continue };
            if answer[..length].windows(4).any(|octets| octets == wanted.octets()) {
                let _ = tell.send(Instant::now());
                return;
            }
        }
    });
    seen
}

struct Daemon {
    child: Child,
    socket: std::path::PathBuf,
    dns: SocketAddr,
}

impl Daemon {
    fn start(folder: &Path, nsd: &Nsd, zones: &[String], socket: bool) -> Daemon {
        let dns = nsd::free_address();
        let control = match socket {
            true => format!("control-socket = \"{}\"", nsd.folder().join("nsd.sock").display()),
            false => format!("control = {:?}", nsd.control_argv()),
        };
        let mut config = format!(
            "control = \"control.sock\"\nstate-dir = \"state\"\nlisten = [\"{dns}\"]\n\
             [nsd]\naddress = \"{}\"\nrelay = true\n{control}\n\
             [node.a]\nipv4 = \"{A}\"\n[node.b]\nipv4 = \"{B}\"\n[pool.web]\nnodes = [\"a\", \"b\"]\n",
            nsd.address()
        );
        for zone in zones {
            config.push_str(&format!("[zone.\"{zone}\"]\nfile = {:?}\npool = \"web\"\n", nsd.zone_path(zone)));
        }
        let file = folder.join("nsd-failover.toml");
        fs::write(&file, config).expect("a configuration");
        let child = Command::new(env!("CARGO_BIN_EXE_nsd-failover"))
            .args(["run", "--config"])
            .arg(&file)
            .env("RUST_LOG", "off")
            .stdin(Stdio::null())
            .spawn()
            .expect("the daemon starts");
        let daemon = Daemon { child, socket: folder.join("control.sock"), dns };
        let began = Instant::now();
        while !daemon.get("readyz").starts_with("HTTP/1.1 200") {
            assert!(began.elapsed() < PATIENCE, "the daemon is not ready");
            thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    fn get(&self, path: &str) -> String {
        self.exchange(&format!("GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }

    /// Returns when it is done and served.
    fn post(&self, path: &str, body: &str) {
        let length = body.len();
        let answer = self.exchange(&format!(
            "POST /api/v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn exchange(&self, request: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = UnixStream::connect(&self.socket) {
            stream.write_all(request.as_bytes()).expect("it listens");
            let _ = stream.read_to_string(&mut answer);
        }
        answer
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
