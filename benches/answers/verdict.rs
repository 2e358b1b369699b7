//! From the probe that fails to the first new answer on its way, in the daemon as it runs: its own probes over
//! HTTP, its event loop, its swap, its UDP threads, on all cores.
//!
//! The pages that are probed are served here. The clock starts before the write of the response that makes the
//! verdict (`fall` is 1: nobody else is asked). It ends when the system puts the first answer with the new address
//! into a client's socket (SO_TIMESTAMP), which on the loopback is while the daemon sends it. Both are read from
//! the same clock. That the client must wait for a core before it can look is not in it, and neither is how long
//! it takes to ask: under full load hundreds of queries are on their way whenever the daemon swaps, since the load
//! and who measures are one client.
//!
//! Beside it, after each move, a bare thread that sends a datagram back: what of the time is the wait for a core
//! that any thread has under this load.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Holds;
use super::client::{Client, Reflex, now_us};
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
    println!("{:>10} {:>10} {:>12} {:>10} {:>10} {:>10} {:>10}", "load", "answers/s", "", "p50", "p90", "p99", "max");
    for (what, sockets, queries_each) in LOADS {
        let (client, reflex) = (Client::start(daemon.address, sockets, queries_each), Reflex::start());
        wait_until("the daemon answers", || primary(&client).is_some());
        let first = primary(&client).expect("it has answered");
        let began = Instant::now();
        let nodes = [first, 1 - first].into_iter().cycle();
        let moves = nodes.take(MOVES).map(|failing| (one(&client, &pages, failing), reflex.ms()));
        let (mut seen_ms, mut bare_ms): (Vec<f64>, Vec<f64>) = moves.unzip();
        let answers_per_s = client.answers() as f64 / began.elapsed().as_secs_f64();
        let [.., p99, _] = row(&format!("{what:>10} {answers_per_s:>10.0} {:>12}", "verdict"), &mut seen_ms);
        row(&format!("{what:>10} {answers_per_s:>10.0} {:>12}", "bare thread"), &mut bare_ms);
        holds.at_most(&format!("verdict to first new answer, {what}, ms at p99"), p99, SEEN_MAX_MS);
    }
}

/// Prints the median, the 90th and 99th percentile and the worst, and gives them.
fn row(head: &str, ms: &mut [f64]) -> [f64; 4] {
    ms.sort_by(f64::total_cmp);
    let at = [50, 90, 99, 100].map(|part| ms[(ms.len() - 1) * part / 100]);
    let [p50, p90, p99, max] = at;
    println!("{head} {p50:>7.2} ms {p90:>7.2} ms {p99:>7.2} ms {max:>7.2} ms");
    at
}

/// Lets the node fail that is primary; milliseconds until the other one's address was on its way.
fn one(client: &Client, pages: &[Arc<Pages>; 2], primary: usize) -> f64 {
    let (failing, other) = (&pages[primary], &pages[1 - primary]);
    // The other one is up: it has been asked twice, and the daemon has had the time to look at the second answer.
    other.become_good(true);
    wait_until("the daemon probes", || other.answered_us().len() >= 2);
    client.forget(1 - primary);
    failing.become_good(false);
    wait_until("the other node is promoted", || client.first_us(1 - primary).is_some());
    std::thread::sleep(READ);
    let seen_us = client.first_us(1 - primary).expect("it was there");
    let failed_us = failing.answered_us().first().copied();
    (seen_us - failed_us.expect("it failed by its answer, not by its silence")) as f64 / 1e3
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
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_good: bool,
    /// When responses were about to be written since it became so, in microseconds since 1970.
    answered_us: Vec<i64>,
}

impl Pages {
    /// Those of 127.0.0.11 and 127.0.0.12, on one port.
    fn start() -> [Arc<Pages>; 2] {
        let first = TcpListener::bind("127.0.0.11:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let second = TcpListener::bind(("127.0.0.12", port)).expect("nobody else uses that address");
        [first, second].map(|listener| {
            let pages = Arc::new(Pages { port, state: Mutex::new(State { is_good: true, answered_us: Vec::new() }) });
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
            let mut state = self.state.lock().unwrap();
            let status = if state.is_good { "200 OK" } else { "500 No" };
            let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            state.answered_us.push(now_us());
            let _ = stream.write_all(response.as_bytes());
        }
    }

    fn become_good(&self, is_good: bool) {
        *self.state.lock().unwrap() = State { is_good, answered_us: Vec::new() };
    }

    fn answered_us(&self) -> Vec<i64> {
        self.state.lock().unwrap().answered_us.clone()
    }
}
