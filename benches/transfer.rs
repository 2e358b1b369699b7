//! What a secondary waits for: the whole of a large zone, from us and from nsd and Knot; a difference;
//! and a swap, from the order until nsd serves it.
//! `cargo bench --bench transfer [whole|difference|swap]`; needs nsd and Knot. Ends with 1 where the whole
//! zone comes later than from the faster of the two, or a swap takes more than nsd's own throttle and
//! 100 ms.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

#[path = "../tests/it/support/mod.rs"]
mod support;
#[path = "../tests/it/transfer/support.rs"]
mod transfer;
#[path = "shared/verdict.rs"]
mod verdict;

use support::nsd::free_address;
use transfer::{Group, Primary, ZONE, command};
use verdict::Verdict;

const RECORDS: usize = 500_000;
const ROUNDS: usize = 7;
const SWAPS: usize = 10;
/// What nsd waits between two reloads with its default `xfrd-reload-timeout: 1`.
const THROTTLE: Duration = Duration::from_secs(1);
/// What a swap may take besides that.
const SWAP_MAX: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let mut verdict = Verdict::default();
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wants = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    if wants("whole") {
        whole(&mut verdict);
    }
    if wants("difference") {
        difference();
    }
    if wants("swap") {
        swap(&mut verdict);
    }
    verdict.exit_code()
}

/// AXFR of the same zone from three servers in turn; one process of each, a client that only counts.
fn whole(verdict: &mut Verdict) {
    let text = large_zone(RECORDS);
    let ours = Primary::start(&text, "allow-transfer = [\"127.0.0.1\"]");
    let nsd = nsd_primary(&text, None);
    let knot = knot_primary(&text);
    let servers = [("nsd-failover", ours.address), ("nsd", nsd.address), ("knot", knot.address)];
    let mut took = [const { Vec::new() }; 3];
    let mut sent = [(0, 0, 0); 3];
    for _ in 0..ROUNDS {
        for (at, (_, address)) in servers.iter().enumerate() {
            let began = Instant::now();
            sent[at] = fetch(*address, &query(252), RECORDS + 4);
            took[at].push(began.elapsed());
        }
    }
    println!("AXFR of {RECORDS} records, median of {ROUNDS}, servers in turn");
    println!("{:>14} {:>9} {:>10} {:>9} {:>11}", "server", "time", "records", "messages", "octets");
    for (at, (name, _)) in servers.iter().enumerate() {
        let (records, messages, octets) = sent[at];
        println!("{name:>14} {:>6.1} ms {records:>10} {messages:>9} {octets:>11}", milliseconds(median(&mut took[at])));
    }
    let [ours, nsd, knot] = took.each_mut().map(|took| milliseconds(median(took)));
    verdict.at_most("AXFR, beside the faster of nsd and Knot", ours, nsd.min(knot), " ms");
}

/// A swap of ten names in a zone of a million: what IXFR sends, and how long it takes. The first one
/// works out which names follow which pool.
fn difference() {
    let tagged: String = (0..10).map(|number| format!("moves-{number} IN A 192.0.2.10 ; Enable failover\n")).collect();
    let primary = Primary::start(&format!("{ZONE}{tagged}{}", names(1_000_000)), "allow-transfer = [\"127.0.0.1\"]");
    println!("IXFR after a swap of 12 names in a zone of 1,000,000");
    for round in 0..5_usize {
        let before = primary.serial().unwrap();
        let node = if round.is_multiple_of(2) { "blowfish" } else { "fishfinger" };
        order(&primary, node);
        let mut query = query(251);
        query[9] = 1;
        query.extend_from_slice(b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\x16\0\0");
        query.extend_from_slice(&before.to_be_bytes());
        query.extend_from_slice(&[0; 16]);
        let began = Instant::now();
        // Four SOA records, and twelve names out and in.
        let (records, messages, octets) = fetch(primary.address, &query, 4 + 24);
        let took = milliseconds(began.elapsed());
        println!("{:>14} {took:>6.1} ms {records:>10} {messages:>9} {octets:>11}", format!("swap {}", round + 1));
    }
}

/// From an order to the answer of a secondary nsd: swaps far apart, and swaps in a hurry. Beside it an
/// nsd whose file is written anew and that notifies another nsd.
fn swap(verdict: &mut Verdict) {
    let text = format!("{ZONE}{}", names(10_000));
    let at = free_address();
    let primary = Primary::start(&text, &format!("notify = [\"{at}\"]"));
    let secondary = transfer::nsd_with(at, primary.address, false, "xfrd-reload-timeout: 1");
    wait_serial(secondary.address, || primary.serial().unwrap());
    let mut apart = Vec::new();
    for round in 0..SWAPS {
        std::thread::sleep(THROTTLE * 2);
        apart.push(one_swap(&primary, &secondary, round));
    }
    let mut hurried = Vec::new();
    for round in 0..SWAPS {
        hurried.push(one_swap(&primary, &secondary, round));
    }
    println!("from a swap to the answer of a secondary nsd (10,000 names, xfrd-reload-timeout 1), {SWAPS} each");
    row("swaps 2 s apart", &mut apart);
    row("one upon the other", &mut hurried);
    row("nsd to nsd, 2 s apart", &mut nsd_to_nsd(&text));
    let limit = milliseconds(THROTTLE + SWAP_MAX);
    for (what, took) in [("swaps 2 s apart", &mut apart), ("swaps one upon the other", &mut hurried)] {
        verdict.at_most(&format!("{what}, median until nsd serves them"), milliseconds(median(took)), limit, " ms");
    }
}

fn one_swap(primary: &Primary, secondary: &Group, round: usize) -> Duration {
    let before = primary.serial().unwrap();
    let node = if round.is_multiple_of(2) { "blowfish" } else { "fishfinger" };
    let began = Instant::now();
    order(primary, node);
    wait_serial(secondary.address, || before + 1);
    began.elapsed()
}

/// `switch web NODE` over the control socket, without the start of a process.
fn order(primary: &Primary, node: &str) {
    let body = format!("{{\"action\":{{\"switch\":{{\"pool\":\"web\",\"node\":\"{node}\"}}}}}}");
    let mut stream = std::os::unix::net::UnixStream::connect(primary.folder.path().join("control.sock")).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /api/v1/order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

fn nsd_to_nsd(text: &str) -> Vec<Duration> {
    let at = free_address();
    let first = nsd_primary(text, Some(at));
    let second = transfer::nsd_with(at, first.address, false, "xfrd-reload-timeout: 1");
    let mut took = Vec::new();
    for round in 0..=SWAPS {
        let serial = 100 + round;
        let began = Instant::now();
        let text = text.replace("hostmaster 100 ", &format!("hostmaster {serial} "));
        std::fs::write(first.folder.path().join("example.org.zone"), text).unwrap();
        let conf = first.folder.path().join("nsd.conf");
        Command::new("nsd-control").arg("-c").arg(conf).args(["reload", "example.org"]).output().unwrap();
        wait_serial(second.address, || serial as u32);
        took.push(began.elapsed());
        std::thread::sleep(THROTTLE * 2);
    }
    // The first brings the whole zone.
    took.split_off(1)
}

fn row(name: &str, took: &mut [Duration]) {
    let worst = took.iter().max().copied().unwrap_or_default();
    println!("{name:>24}: median {:>7.1} ms, worst {:>7.1} ms", milliseconds(median(took)), milliseconds(worst));
}

/// Asks until the server has this serial; the answer is parsed here, so that no process is started.
fn wait_serial(server: SocketAddr, wanted: impl Fn() -> u32) {
    let wanted = wanted();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    wait_until(|| {
        socket.send(&query(6)).ok()?;
        let mut reply = [0; 512];
        let len = socket.recv(&mut reply).ok()?;
        let message = domain::base::Message::from_octets(&reply[..len]).ok()?;
        let soa = message.answer().ok()?.limit_to::<domain::rdata::Soa<_>>().next()?.ok()?;
        (soa.data().serial().into_int() == wanted).then_some(())
    });
}

fn wait_until(mut look: impl FnMut() -> Option<()>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while look().is_none() {
        assert!(Instant::now() < deadline, "it never comes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Records, messages and octets of a transfer of so many records.
fn fetch(server: SocketAddr, query: &[u8], wanted: usize) -> (usize, usize, usize) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], query].concat()).unwrap();
    let mut stream = std::io::BufReader::with_capacity(1 << 18, stream);
    let (mut records, mut messages, mut octets) = (0, 0, 0);
    let mut message = vec![0; 65_535];
    while records < wanted {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let length = usize::from(u16::from_be_bytes(length));
        stream.read_exact(&mut message[..length]).unwrap();
        assert_eq!(message[3] & 0x0f, 0, "the server says no");
        records += usize::from(u16::from_be_bytes([message[6], message[7]]));
        messages += 1;
        octets += length + 2;
    }
    (records, messages, octets)
}

fn query(qtype: u8) -> Vec<u8> {
    [&b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0"[..], &[qtype], b"\0\x01"].concat()
}

/// SOA, two NS and an A beside the names: with the SOA at the end four more than `records`.
fn large_zone(records: usize) -> String {
    let head = "$TTL 300\n@ IN SOA ns1 hostmaster 100 3600 600 604800 300\n@ IN NS ns1\nns1 IN A 192.0.2.53\n";
    format!("{head}{}", names(records))
}

fn names(count: usize) -> String {
    (0..count)
        .map(|number| format!("host-{number} IN A 10.{}.{}.{}\n", number >> 16, number >> 8 & 255, number & 255))
        .collect()
}

fn nsd_primary(text: &str, secondary: Option<SocketAddr>) -> Group {
    let (at, folder) = (free_address(), tempfile::tempdir().unwrap());
    let dir = folder.path().display();
    std::fs::write(folder.path().join("example.org.zone"), text).unwrap();
    let notify = secondary.map(|at| format!(" notify: 127.0.0.1@{} NOKEY\n", at.port())).unwrap_or_default();
    let conf = format!(
        "server:\n ip-address: 127.0.0.1@{}\n server-count: 1\n username: \"\"\n chroot: \"\"\n database: \"\"\n \
         zonesdir: {dir}\n pidfile: {dir}/nsd.pid\n xfrdfile: {dir}/xfrd.state\n zonelistfile: {dir}/zone.list\n \
         xfrdir: {dir}\n rrl-ratelimit: 0\n\
         remote-control:\n control-enable: yes\n control-interface: {dir}/nsd.sock\n\
         zone:\n name: example.org\n zonefile: example.org.zone\n provide-xfr: 127.0.0.1 NOKEY\n{notify}",
        at.port()
    );
    let path = folder.path().join("nsd.conf");
    std::fs::write(&path, conf).unwrap();
    let group = Group::start(at, folder, command("nsd", &["-d", "-c"], &path));
    wait_serial(at, || 100);
    group
}

fn knot_primary(text: &str) -> Group {
    let (at, folder) = (free_address(), tempfile::tempdir().unwrap());
    let dir = folder.path().display();
    std::fs::write(folder.path().join("example.org.zone"), text).unwrap();
    let conf = format!(
        "server:\n    rundir: {dir}\n    listen: 127.0.0.1@{}\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n\
         database:\n    storage: {dir}\nacl:\n  - id: all\n    address: 127.0.0.1\n    action: transfer\n\
         zone:\n  - domain: example.org\n    storage: {dir}\n    file: example.org.zone\n    acl: all\n",
        at.port()
    );
    let path = folder.path().join("knot.conf");
    std::fs::write(&path, conf).unwrap();
    let group = Group::start(at, folder, command("knotd", &["-c"], &path));
    wait_serial(at, || 100);
    group
}

fn median(took: &mut [Duration]) -> Duration {
    took.sort();
    took[took.len() / 2]
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
