//! 10,000 HTTP checks every 10 s, by the program itself.
//!
//! A server in this process answers for 10,000 addresses of 127.0.0.0/8 and notes when each was
//! asked; the program's own CPU time and memory are read from /proc, so this needs Linux.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::verdict::Verdict;

/// What is to hold.
const CORE_MOST: f64 = 25.0;
const MEMORY_MOST_MB: f64 = 300.0;
const LATE_MOST: f64 = 1.1;

const NODES: usize = 10_000;
const POOL_SIZE: usize = 5;
const INTERVAL: Duration = Duration::from_secs(10);
/// The start, which is not measured, and what is.
const WARM_UP: Duration = Duration::from_secs(15);
const MEASURED: Duration = Duration::from_secs(40);

/// When each node was asked last, and the gaps between.
#[derive(Default)]
struct Seen {
    last: Vec<Option<Instant>>,
    gaps: Vec<Duration>,
}

pub fn run(verdict: &mut Verdict) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(bench(verdict));
}

async fn bench(verdict: &mut Verdict) {
    let folder = std::env::temp_dir().join(format!("nsd-failover-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a scratch folder");
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let seen = Arc::new(Mutex::new(Seen { last: vec![None; NODES], gaps: Vec::new() }));
    tokio::spawn(serve(listener, Arc::clone(&seen)));
    fs::write(folder.join("c.toml"), config(port)).expect("the scratch folder takes files");
    let log = fs::File::create(folder.join("log")).expect("the scratch folder takes files");
    let mut child = Command::new(env!("CARGO_BIN_EXE_nsd-failover"))
        .args(["run", "--config"])
        .arg(folder.join("c.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the program starts");
    tokio::time::sleep(WARM_UP).await;
    seen.lock().expect("nobody panics").gaps.clear();
    let (cpu, started) = (cpu_s(&child), Instant::now());
    tokio::time::sleep(MEASURED).await;
    let share = (cpu_s(&child) - cpu) / started.elapsed().as_secs_f64();
    let memory = status_kb(&child, "VmHWM:") / 1_024;
    let mut gaps = std::mem::take(&mut seen.lock().expect("nobody panics").gaps);
    child.kill().expect("it runs");
    child.wait().expect("it has ended");
    gaps.sort();
    let late = gaps.iter().filter(|gap| **gap > INTERVAL.mul_f64(LATE_MOST)).count();
    let probes = gaps.len() as f64 / MEASURED.as_secs_f64();
    println!(
        "{NODES} HTTP checks every {INTERVAL:?}: {probes:.0} probes/s, {:.1} % of one core ({:.0} us a probe), {memory} MB at the most",
        share * 100.0,
        share / probes * 1e6
    );
    println!(
        "gap between two probes of a node: median {:?}, largest {:?}; more than 10 % late: {late} of {}",
        gaps.get(gaps.len() / 2),
        gaps.last(),
        gaps.len()
    );
    drop(fs::remove_dir_all(folder));
    let largest = gaps.last().map_or(f64::INFINITY, |gap| gap.as_secs_f64() / INTERVAL.as_secs_f64());
    verdict.at_most("CPU", share * 100.0, CORE_MOST, " % of one core");
    verdict.at_most("memory", memory as f64, MEMORY_MOST_MB, " MB");
    verdict.at_most("largest gap", largest, LATE_MOST, " intervals");
}

async fn serve(listener: TcpListener, seen: Arc<Mutex<Seen>>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        if let Some(index) = stream.local_addr().ok().and_then(index) {
            let mut seen = seen.lock().expect("nobody panics");
            let now = Instant::now();
            if let Some(last) = seen.last[index].replace(now) {
                seen.gaps.push(now - last);
            }
        }
        tokio::spawn(async move {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nWelcome\n").await;
        });
    }
}

/// 127.1.x.y to the number of the node.
fn index(address: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let [127, 1, high, low] = ip.octets() else { return None };
    Some(usize::from(high) * 200 + usize::from(low) - 1).filter(|index| *index < NODES)
}

fn config(port: u16) -> String {
    let mut text = String::from("control = \"control.sock\"\nstate-dir = \"state\"\n");
    for node in 0..NODES {
        let (high, low) = (node / 200, node % 200 + 1);
        let _ = writeln!(text, "[node.n{node}]\nipv4 = \"127.1.{high}.{low}\"");
    }
    let _ = writeln!(text, "[check.web]\nhttp = \"http://{{ip}}:{port}/\"\nexpect = \"Welcome\"\ninterval = \"10s\"");
    for pool in 0..NODES / POOL_SIZE {
        let nodes = (0..POOL_SIZE).map(|at| format!("\"n{}\"", pool * POOL_SIZE + at)).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "[pool.p{pool}]\nnodes = [{nodes}]\nchecks = [\"web\"]");
    }
    text
}

/// User and system time so far, in seconds (100 ticks a second on Linux).
fn cpu_s(child: &Child) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("it runs");
    let (_, rest) = stat.rsplit_once(')').expect("the name stands in parentheses");
    let ticks = rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number"));
    ticks.sum::<f64>() / 100.0
}

fn status_kb(child: &Child, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(key)).expect("the key is there");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}
