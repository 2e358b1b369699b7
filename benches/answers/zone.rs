//! The zone that every server loads, and the questions about it. The same each time.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

pub const ORIGIN: &str = "bench.example";

pub struct Files {
    /// The folder with the zone file in it, for servers that want a folder.
    pub folder: PathBuf,
    /// The zone file, whose name is the origin.
    pub zone: PathBuf,
    /// Its origin and a tag on each address.
    pub tagged: PathBuf,
}

/// So many names with an A record each, every second one with an AAAA record too.
pub fn write(folder: &Path, names: usize) -> Files {
    let zones = folder.join("zones");
    fs::create_dir_all(&zones).unwrap();
    let files = Files { zone: zones.join(ORIGIN), tagged: folder.join("tagged.zone"), folder: zones };
    let mut text = format!(
        "$ORIGIN {ORIGIN}.\n$TTL 300\n@ 3600 IN SOA ns1 hostmaster 1 3600 600 864000 300\n@ 3600 IN NS ns1\n\
         @ 3600 IN NS ns2\n@ 300 IN A 192.0.2.10\n@ 3600 IN MX 10 mail\nns1 3600 IN A 192.0.2.53\n\
         ns2 3600 IN A 192.0.2.54\nmail 3600 IN A 192.0.2.25\n"
    );
    let mut tagged = text.clone();
    for name in 0..names {
        writeln!(text, "host-{name} 300 IN A 192.0.2.10").unwrap();
        writeln!(tagged, "host-{name} 300 IN A 192.0.2.10 ; Enable failover").unwrap();
        if name % 2 == 0 {
            writeln!(text, "host-{name} 300 IN AAAA 2001:db8::10").unwrap();
            writeln!(tagged, "host-{name} 300 IN AAAA 2001:db8::10 ; Enable failover").unwrap();
        }
    }
    fs::write(&files.zone, text).unwrap();
    fs::write(&files.tagged, tagged).unwrap();
    files
}

/// 200,000 questions in no order: 50 % A, 15 % AAAA, 10 % AAAA that is not there, 15 % names that
/// are not there, 10 % apex.
pub fn queries(folder: &Path, names: usize) -> PathBuf {
    let path = folder.join("queries");
    let mut text = String::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..200_000 {
        // xorshift64: the same questions in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let name = (state >> 16) as usize % names;
        let line = match state % 100 {
            0..50 => format!("host-{name}.{ORIGIN} A"),
            50..65 => format!("host-{}.{ORIGIN} AAAA", name & !1),
            65..75 => format!("host-{}.{ORIGIN} AAAA", name | 1),
            75..90 => format!("nohost-{name}.{ORIGIN} A"),
            90..94 => format!("{ORIGIN} A"),
            94..97 => format!("{ORIGIN} MX"),
            _ => format!("{ORIGIN} SOA"),
        };
        text.push_str(&line);
        text.push('\n');
    }
    fs::write(&path, text).unwrap();
    path
}
