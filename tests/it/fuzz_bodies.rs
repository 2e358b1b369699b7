//! Each fuzz target for a moment, on mutations of real files from a fixed seed: what a fuzzer would
//! find in its first seconds is found here. `FUZZ_SECONDS` asks for more.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::fuzz;

/// How long each target is tried.
const SECONDS: u64 = 2;

/// Pieces that zones and configurations are made of, and that break them.
const PIECES: &[&str] = &[
    "\n",
    " ",
    "\t",
    "\"",
    "\\",
    "(",
    ")",
    ";",
    "\0",
    "\r",
    "$INCLUDE f\n",
    "$INCLUDE x\n",
    "$GENERATE 1-9 a$ A 192.0.2.$\n",
    "$GENERATE 0-99/7 ${3,4,n} TXT \"${-1,2,X} $$\"\n",
    "$ORIGIN a.\n",
    "$TTL 1w\n",
    "@ SOA a b 1 2 3 4 5\n",
    "@ NS a\n",
    "a 5 A 192.0.2.1 ; Enable failover\n",
    " AAAA 2001:db8::1 ; enable failover role=standby pool=web\n",
    "4294967296",
    ";nsd-failover:withdrawn a A 192.0.2.1 ; Enable failover\n",
    "LOC 52 22 23.1 N 4 53 32 E -2m 0m",
    "\\# 3 abcdef",
    "TXT \\255\\\"",
    "APL 1:0.0.0.0/0 !2:::/0",
    "[zone.\"a\"]\n",
    "file = \"x\"\n",
    "= [1, 2]\n",
    "\u{fc}",
    "\u{feff}",
    "*.",
    "d DNAME e\n",
    "sub NS ns.sub\n",
    "SVCB 1 . alpn=h2 port=1",
    "NSEC3 1 0 0 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr A",
];

#[test]
fn document() {
    tried(&seeds(&["tests/data/zones", "tests/data/reference", "zones"]), fuzz::document);
}

#[test]
fn edit() {
    tried(&seeds(&["tests/data/zones", "tests/data/reference", "zones"]), fuzz::edit);
}

#[test]
fn records() {
    let lines: Vec<Vec<u8>> = crate::support::odd_zones::RDATA.iter().map(|rdata| rdata.as_bytes().to_vec()).collect();
    tried(&lines, fuzz::records);
}

#[test]
fn config() {
    tried(&seeds(&["conf"]), fuzz::config);
}

#[test]
fn record() {
    let run = |first: i64, last: i64, success: &str| {
        format!(
            "{{\"check\":\"web\",\"node\":\"a\",\"family\":\"ipv4\",\"first_unix_ms\":{first},\"last_unix_ms\":{last},\"count\":3,\"success\":{success},\"word\":\"L7OK\",\"detail\":\"\",\"duration_ms\":7}}\n"
        )
    };
    let order = "{\"unix_ms\":1700000030000,\"order\":{\"action\":{\"switch\":{\"pool\":\"web\",\"node\":\"b\"}},\"for_s\":20}}\n";
    let start = "{\"start\":{\"version\":1,\"saved_unix_ms\":1700000000000,\"generation\":18446744073709551615}}\n";
    let text = run(1_700_000_000_000, 1_700_000_020_000, "true") + &run(1_700_000_021_000, 1_700_000_060_000, "false");
    tried(&[format!("{start}{text}{order}").into_bytes(), text.into_bytes()], fuzz::record);
}

#[test]
fn respond() {
    // With EDNS and a cookie; signed, though by nobody; and what is below, beside and outside of it.
    let question = |flags: &[u8], name: &[u8], rtype: u8, behind: &[u8]| {
        let head = [&[7, 7][..], flags, &[0, 1, 0, 0, 0, 0, 0, u8::from(!behind.is_empty())]].concat();
        [&head[..], name, &[0, rtype, 0, 1], behind].concat()
    };
    let edns = b"\0\0\x29\x04\xd0\0\0\x80\0\0\x0c\0\x0a\0\x0812345678";
    let tsig = b"\x01k\0\0\xfa\0\xff\0\0\0\0\0\x1d\x0bhmac-sha256\0\0\0\0\0\0\x01\0\x01\0\0\x07\x07\0\0\0\0";
    let messages = [
        question(&[1, 0], b"\x01n\x01a\0", 1, b""),
        question(&[0, 0x20], b"\x01c\x01A\0", 5, edns),
        question(&[0, 0], b"\x01y\x01d\x01a\0", 28, edns),
        question(&[0, 0], b"\x01n\x01s\x01a\0", 255, b""),
        question(&[0, 0], b"\x01a\0", 252, tsig),
        question(&[0x28, 0], b"\x01a\0", 6, b""),
        question(&[0, 0], b"\x01b\0", 16, edns),
    ];
    tried(&messages, fuzz::answers::respond);
}

fn seeds(folders: &[&str]) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = folders.iter().flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let mut paths: Vec<_> = files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Runs a target on the seeds, then on mutations of them until the time is over.
fn tried(seeds: &[Vec<u8>], target: fn(&[u8])) {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for seed in seeds {
        target(seed);
    }
    while Instant::now() < end {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..1 + random.below(5) {
            let at = random.below(bytes.len() + 1);
            let end = (at + random.below(8)).min(bytes.len());
            let piece = match random.below(4) {
                0 => vec![random.below(256) as u8],
                1 => {
                    let other = &seeds[random.below(seeds.len())];
                    let from = random.below(other.len() + 1);
                    other[from..(from + random.below(40)).min(other.len())].to_vec()
                }
                _ => PIECES[random.below(PIECES.len())].as_bytes().to_vec(),
            };
            bytes.splice(at..end, piece);
        }
        if std::panic::catch_unwind(|| target(&bytes)).is_err() {
            panic!("found: \"{}\"", bytes.escape_ascii());
        }
    }
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most
    }
}
