//! From the end of a probe to the first new answer on its way, in the daemon as it runs: its own probes over
//! HTTP, its event loop, its swap, its UDP threads, on all cores.
//!
//! The pages that are probed are served here. The clock starts before the write of a response: that of the probe
//! that failed, and, should the daemon have asked the other node before it promotes it, that of the last probe
//! before the answer. It ends when the system puts the first answer with the new address into a client's socket
//! (SO_TIMESTAMP), which on the loopback is while the daemon sends it. Both are read from the same clock. That the
//! client must wait for a core before it can look is not in it, and neither is how long it takes to ask: under full
//! load hundreds of queries wait at the server whenever it swaps, as the load and who measures are one client.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Holds;
use super::client::Client;
use super::peers::{self, Scratch};
use super::zone;

const NAMES: usize = 1_000;
const MOVES: usize = 300;
/// What is said of it, sockets, queries on their way from each.
const LOADS: [(&str, usize, usize); 2] = [("one query", 1, 1), ("full load", 16, 16)];
/// From verdict to first new answer at the 99th percentile, in milliseconds.
const SEEN_MAX_MS: f64 = 1.0;
/// How long a move may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);
/// By then the client has read what had arrived when the first new answer did.
const READ: Duration = Duration::from_millis(10);

pub fn run(scratch: &Scratch, holds: &mut Holds) {
    let files = zone::write(&scratch.folder("zone-verdict"), NAMES);
    let pages = Pages::start();
    let daemon = peers::checking(scratch, &files, pages[0].port);
    println!("\nVerdict to first new answer, in the running daemon: {MOVES} moves each");
    println!(
        "{:>10} {:>10} {:>22} {:>10} {:>10} {:>10}",
        "on its way", "answers/s", "clock starts with", "p50", "p99", "max"
    );
    for (what, sockets, queries_each) in LOADS {
        let client = Client::start(daemon.address, sockets, queries_each);
        wait_until("the daemon answers", || primary(&client).is_some());
        let first = primary(&client).expect("it has answered");
        let began = Instant::now();
        let nodes = [first, 1 - first].into_iter().cycle();
        let (mut by_failure, mut by_verdict): (Vec<f64>, Vec<f64>) =
            nodes.take(MOVES).map(|failing| one(&client, &pages, failing)).unzip();
        let answers_per_s = client.answers() as f64 / began.elapsed().as_secs_f64();
        for (clock, seen_ms) in [("the failed probe", &mut by_failure), ("the last probe", &mut by_verdict)] {
            seen_ms.sort_by(f64::total_cmp);
            let at = |part: usize| seen_ms[(MOVES - 1) * part / 100];
            println!(
                "{what:>10} {answers_per_s:>10.0} {clock:>22} {:>7.2} ms {:>7.2} ms {:>7.2} ms",
                at(50),
                at(99),
                at(100)
            );
        }
        // The stricter of the two.
        let p99 = by_failure[(MOVES - 1) * 99 / 100];
        holds.at_most(&format!("verdict to first new answer, {what}, ms at p99"), p99, SEEN_MAX_MS);
    }
}

/// Lets the node fail that is primary; milliseconds until a client had the other one's address, by the failed probe
/// and by the last one before it was seen.
fn one(client: &Client, pages: &[Arc<Pages>; 2], primary: usize) -> (f64, f64) {
    let (failing, other) = (&pages[primary], &pages[1 - primary]);
    // The other one is up: it has been asked twice, and the daemon has had the time to look at the second answer.
    other.is_good.store(true, Ordering::SeqCst);
    other.wait_for_probes(2);
    client.forget(1 - primary);
    failing.answered_us.lock().unwrap().clear();
    failing.is_good.store(false, Ordering::SeqCst);
    wait_until("the other node is promoted", || client.first_us(1 - primary).is_some());
    std::thread::sleep(READ);
    let seen_us = client.first_us(1 - primary).expect("it was there");
    let failed_us = failing.answered_us.lock().unwrap()[0];
    let before = |pages: &Pages| pages.answered_us.lock().unwrap().iter().rev().copied().find(|at_us| *at_us < seen_us);
    let decided_us = before(failing).max(before(other)).expect("not before the failure");
    let ms = |since_us: i64| (seen_us - since_us) as f64 / 1e3;
    (ms(failed_us), ms(decided_us))
}

/// Whose address is given out.
fn primary(client: &Client) -> Option<usize> {
    (0..2).find(|node| client.first_us(*node).is_some())
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited for too long until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The page of one node.
struct Pages {
    port: u16,
    is_good: AtomicBool,
    /// When responses were about to be written, in microseconds since 1970.
    answered_us: Mutex<Vec<i64>>,
}

impl Pages {
    /// Those of 127.0.0.11 and 127.0.0.12, on one port.
    fn start() -> [Arc<Pages>; 2] {
        let first = TcpListener::bind("127.0.0.11:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let second = TcpListener::bind(("127.0.0.12", port)).expect("nobody else uses that address");
        [first, second].map(|listener| {
            let pages = Arc::new(Pages { port, is_good: AtomicBool::new(true), answered_us: Mutex::default() });
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
            // Locked first: nothing stands between the clock and the write.
            let mut answered_us = self.answered_us.lock().unwrap();
            answered_us.push(now_us());
            let _ = stream.write_all(response.as_bytes());
            drop(answered_us);
        }
    }

    fn wait_for_probes(&self, more: usize) {
        let answered = || self.answered_us.lock().unwrap().len();
        let before = answered();
        wait_until("the daemon probes", || answered() >= before + more);
    }
}

/// By the clock that SO_TIMESTAMP is of.
fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_micros()).expect("for 290,000 years")
}
