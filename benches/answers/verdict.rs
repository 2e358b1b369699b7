//! From the end of a probe to the first new answer at a client, in the daemon as it runs: its own probes over
//! HTTP, its event loop, its swap, its UDP threads, on all cores, while dnsperf asks as fast as it can.
//!
//! The pages that are probed are served here, so that it is known when the outcome was on its way: the clock
//! starts before the write of the response that makes the verdict. After a first failure the daemon asks the other
//! node before it promotes it, so that this is the response of the other node; the failure is a line of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Holds;
use super::load::Load;
use super::peers::{self, Scratch};
use super::swap::query;
use super::zone;

const NAMES: usize = 1_000;
const MOVES: usize = 100;
/// From verdict to first new answer at the 99th percentile, in milliseconds.
const SEEN_MAX_MS: f64 = 1.0;
/// How long a move may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn run(scratch: &Scratch, holds: &mut Holds) {
    let folder = scratch.folder("zone-verdict");
    let files = zone::write(&folder, NAMES);
    let queries = zone::queries(&folder, NAMES);
    let pages = Pages::start();
    let daemon = peers::checking(scratch, &files, pages[0].port);
    println!("\nVerdict to first new answer, in the running daemon: {MOVES} moves each");
    println!("{:>10} {:>22} {:>10} {:>10} {:>10}", "load", "clock starts with", "p50", "p99", "max");
    for (what, is_loaded) in [("no load", false), ("full load", true)] {
        let mut load = is_loaded.then(|| {
            let mut command = Load { queries: &queries, seconds: 600, mode: "udp" }.command(daemon.address);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("dnsperf is installed")
        });
        let (mut by_failure, mut by_verdict): (Vec<f64>, Vec<f64>) =
            (0..MOVES).map(|_| one(daemon.address, &pages)).unzip();
        if let Some(load) = &mut load {
            let _ = load.kill();
            let _ = load.wait();
        }
        for (clock, seen_ms) in [("the failed probe", &mut by_failure), ("the probe that decides", &mut by_verdict)] {
            seen_ms.sort_by(f64::total_cmp);
            let at = |part: usize| seen_ms[(MOVES - 1) * part / 100];
            println!("{what:>10} {clock:>22} {:>7.2} ms {:>7.2} ms {:>7.2} ms", at(50), at(99), at(100));
        }
        let p99 = by_verdict[(MOVES - 1) * 99 / 100];
        holds.at_most(&format!("verdict to first new answer, {what}, ms at p99"), p99, SEEN_MAX_MS);
    }
}

/// Lets the node fail that is primary; milliseconds until a client had the other one's address, by the failed probe
/// and by the last one before it was seen.
fn one(server: SocketAddr, pages: &[Arc<Pages>; 2]) -> (f64, f64) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let query = query();
    let ask = || {
        let mut reply = [0; 512];
        socket.send(&query).unwrap();
        let len = socket.recv(&mut reply).expect("no query is lost");
        usize::from(reply[len - 1]) - 11
    };
    let old = ask();
    let (failing, other) = (&pages[old], &pages[1 - old]);
    // The other one is up: it has been asked twice, and the daemon has had the time to look at the second answer.
    other.is_good.store(true, Ordering::SeqCst);
    other.wait_for_probes(2);
    failing.answered.lock().unwrap().clear();
    failing.is_good.store(false, Ordering::SeqCst);
    failing.wait_for_probes(1);
    let began = Instant::now();
    while ask() == old {
        assert!(began.elapsed() < PATIENCE, "nobody is promoted");
    }
    let seen = Instant::now();
    let failed = failing.answered.lock().unwrap()[0];
    let before = |pages: &Pages| pages.answered.lock().unwrap().iter().rev().copied().find(|at| *at < seen);
    let decided = before(failing).max(before(other)).unwrap_or(failed);
    let ms = |since: Instant| seen.duration_since(since).as_secs_f64() * 1e3;
    (ms(failed), ms(decided))
}

/// The page of one node.
struct Pages {
    port: u16,
    is_good: AtomicBool,
    /// When responses were about to be written.
    answered: Mutex<Vec<Instant>>,
}

impl Pages {
    /// Those of 127.0.0.11 and 127.0.0.12, on one port.
    fn start() -> [Arc<Pages>; 2] {
        let first = TcpListener::bind("127.0.0.11:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let second = TcpListener::bind(("127.0.0.12", port)).expect("nobody else uses that address");
        [first, second].map(|listener| {
            let pages = Arc::new(Pages { port, is_good: AtomicBool::new(true), answered: Mutex::default() });
            let own = pages.clone();
            std::thread::spawn(move || own.serve(&listener));
            pages
        })
    }

    fn serve(&self, listener: &TcpListener) {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            // One segment: the request is small.
            let _ = stream.read(&mut [0; 4_096]);
            let status = if self.is_good.load(Ordering::SeqCst) { "200 OK" } else { "500 No" };
            let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            self.answered.lock().unwrap().push(Instant::now());
            let _ = stream.write_all(response.as_bytes());
        }
    }

    fn wait_for_probes(&self, more: usize) {
        let before = self.answered.lock().unwrap().len();
        let began = Instant::now();
        while self.answered.lock().unwrap().len() < before + more {
            assert!(began.elapsed() < PATIENCE, "the daemon does not probe");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
