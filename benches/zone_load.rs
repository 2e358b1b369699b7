//! Loading a zone of 500,000 failover records, ours beside nsd-checkzone's in one run.
//! `cargo bench --bench zone_load`; the figures to hold are in ARCHITECTURE.md.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nsd_failover::dns::name::Name;
use nsd_failover::export::serial;
use nsd_failover::failover::binding::Binding;
use nsd_failover::failover::pool::{Node, Pool};
use nsd_failover::table::compile::Compiler;
use nsd_failover::table::zone_table::{Mode, ZoneTable};
use nsd_failover::zone::Zone;
use nsd_failover::zone::document::Document;
use nsd_failover::zone::edit::{Edit, apply};

const RECORDS: usize = 500_000;
const ROUNDS: usize = 5;

fn main() {
    let folder = std::env::temp_dir().join(format!("nsd-failover-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a scratch folder");
    let file = folder.join("big.zone");
    let text = text();
    fs::write(&file, &text).expect("the zone file is written");
    println!("{RECORDS} tagged records, {:.1} MB; best of {ROUNDS}", text.len() as f64 / 1e6);

    let origin: Name = "big.example".parse().expect("a name");
    let (mut parse, mut rules, mut compile, mut edit) = (vec![], vec![], vec![], vec![]);
    let mut memory = 0;
    for _ in 0..ROUNDS {
        let bytes = fs::read(&file).expect("the zone file");
        let document = timed(&mut parse, || Document::parse("big.zone", &origin, bytes));
        memory = document.memory();
        let zone = timed(&mut rules, || Zone::from_document(document)).expect("a valid zone");
        timed(&mut compile, || compiled(&zone));
        timed(&mut edit, || apply(&zone, &[Edit::Serial(serial::next(Default::default(), zone.serial(), 0))]))
            .expect("an edit");
    }
    let mut nsd = Vec::new();
    for _ in 0..ROUNDS {
        let run = || Command::new("nsd-checkzone").arg("big.example").arg(&file).output();
        match timed(&mut nsd, run) {
            Ok(output) => assert!(output.status.success(), "nsd-checkzone refuses the zone"),
            Err(error) => return println!("nsd-checkzone: {error} (Debian package nsd)"),
        }
    }
    fs::remove_dir_all(&folder).expect("the scratch folder goes");

    let best = |list: &[Duration]| list.iter().min().expect("rounds").as_secs_f64();
    let ours = best(&parse) + best(&rules) + best(&compile);
    for (what, seconds) in [
        ("parse", best(&parse)),
        ("rules", best(&rules)),
        ("bind and compile", best(&compile)),
        ("ready to serve", ours),
        ("nsd-checkzone", best(&nsd)),
        ("edit and verify", best(&edit)),
    ] {
        println!("{what:>18} {:>8.1} ms", seconds * 1e3);
    }
    println!("{:>18} {:>8.2} of nsd-checkzone's time (hold: 1)", "loading takes", ours / best(&nsd));
    println!("{:>18} {:>8.2} x the file (hold: 2)", "the document", memory as f64 / text.len() as f64);
}

fn timed<T>(times: &mut Vec<Duration>, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = work();
    times.push(began.elapsed());
    result
}

fn compiled(zone: &Zone) -> ZoneTable {
    let pools = [pool()];
    let (binding, _) = Binding::new(zone, Some(0), &pools);
    let mut compiler = Compiler::new(zone.origin(), &pools, Mode::Overlay);
    let mut cursor = zone.cursor();
    while let Some(seen) = cursor.next_record() {
        let slot = seen.tag.as_ref().and_then(|tag| binding.slot(tag));
        compiler.add(seen.record, slot).expect("it compiles");
    }
    compiler.finish().expect("it compiles")
}

fn text() -> String {
    let mut text =
        "$TTL 1h\n@ IN SOA ns.example.net. h.example.net. 1 1h 30m 7d 1h\n@ IN NS ns.example.net.\n".to_owned();
    for number in 0..RECORDS {
        let _ = writeln!(text, "host{number}\t300 IN A 192.0.2.1 ; Enable failover");
    }
    text
}

fn pool() -> Pool {
    let node = |name: &str, ipv4: &str| Node { name: name.to_owned(), ipv4: ipv4.parse().ok(), ipv6: None };
    Pool { name: "web".to_owned(), nodes: vec![node("a", "192.0.2.1"), node("b", "192.0.2.2")], ..Pool::default() }
}
