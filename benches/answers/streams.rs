//! TCP: many queries on a connection, and one query a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::load::Load;
use super::peers::{self, Peer, Scratch};
use super::zone::{self, ORIGIN};
use super::{Cost, Holds, Options, measure, median, ratio};

/// At least nsd's rate, and so nsd's by ours at most 1; the two are alike where the client is the limit, and
/// differ by so much from run to run.
const NOISE: f64 = 0.05;

pub fn run(options: &Options, scratch: &Scratch, holds: &mut Holds) {
    let folder = scratch.folder("zone-tcp");
    let files = zone::write(&folder, 1_000);
    let queries = zone::queries(&folder, 1_000);
    let peers = [peers::ours(scratch, &files), peers::nsd(scratch, &files)];
    println!("\nTCP, 8 connections, pipelined, 1000 names");
    let costs = measure(options, &Load { queries: &queries, seconds: options.seconds, mode: "tcp" }, &peers, "nsd");
    hold(&costs, "pipelined", holds);
    println!("\nTCP, one query a connection");
    let mut rates = vec![Vec::new(); peers.len()];
    let mut costs = vec![Vec::new(); peers.len()];
    for _ in 0..options.rounds {
        for (at, peer) in peers.iter().enumerate() {
            let before = peer.cpu_ns();
            let (done, took) = one_each(peer, Duration::from_secs(options.seconds.into()));
            costs[at].push((peer.cpu_ns() - before) as f64 / 1e3 / done as f64);
            rates[at].push(done as f64 / took.as_secs_f64());
        }
    }
    println!("{:>14} {:>12} {:>10} {:>14}", "server", "CPU us/answer", "answers/s", "ratio of rates");
    let row = |(at, peer): (usize, &Peer)| Cost {
        name: peer.name,
        cpu_us: median(&mut costs[at]),
        answers_per_s: median(&mut rates[at]),
        resident_mib: peer.resident_mib(),
    };
    let costs: Vec<Cost> = peers.iter().enumerate().map(row).collect();
    for Cost { name, cpu_us, answers_per_s, .. } in &costs {
        let ratio = ratio(&costs, name, "nsd", |cost| cost.answers_per_s).unwrap_or(1.0);
        println!("{name:>14} {cpu_us:>12.2} {answers_per_s:>10.0} {ratio:>8.2} x nsd");
    }
    hold(&costs, "one query a connection", holds);
}

fn hold(costs: &[Cost], what: &str, holds: &mut Holds) {
    if let Some(ratio) = ratio(costs, "nsd", "ours", |cost| cost.answers_per_s) {
        holds.at_most(&format!("answers/s of nsd by ours, {what}"), ratio, 1.0 + NOISE);
    }
}

/// Four clients that connect, ask, read and close, over and over.
fn one_each(peer: &Peer, for_how_long: Duration) -> (u64, Duration) {
    let (address, began) = (peer.address, Instant::now());
    let client = move || {
        let mut done = 0;
        while began.elapsed() < for_how_long {
            done += u64::from(exchange(address).is_ok());
        }
        done
    };
    let clients: Vec<_> = (0..4).map(|_| std::thread::spawn(client)).collect();
    let done = clients.into_iter().map(|client| client.join().unwrap()).sum();
    (done, began.elapsed())
}

fn exchange(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let mut query = b"\0\0\x12\x34\0\0\0\x01\0\0\0\0\0\0\x07host-10".to_vec();
    for label in ORIGIN.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend(b"\0\0\x01\0\x01");
    query[1] = (query.len() - 2) as u8;
    stream.write_all(&query)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    stream.read_exact(&mut vec![0; u16::from_be_bytes(length).into()])
}
