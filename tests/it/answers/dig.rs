//! A real dig against the servers, over both transports and both ways to move datagrams.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use nsd_failover::serve::counters::Request;
use nsd_failover::serve::sys::Calls;
use nsd_failover::table::zone_table::{Mode, ZoneTable};
use nsd_failover::table::{Catalog, Table};
use nsd_failover::zone::Zone;

use super::support::*;

/// What dig prints; it must not have complained.
pub fn dig(server: SocketAddr, arguments: &str) -> String {
    let output = Command::new("dig")
        .args([&format!("@{}", server.ip()), "-p", &server.port().to_string(), "+norec", "+tries=1", "+time=5"])
        .args(arguments.split_whitespace())
        .output()
        .expect("dig is installed (bind9-dnsutils)");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("WARNING") && !text.contains("malformed"), "{text}");
    text
}

#[test]
fn dig_over_udp_and_tcp() {
    for calls in [Calls::Native, Calls::Plain] {
        let servers = Servers::start(table(Mode::Whole), None, calls);
        for transport in ["+notcp +ignore", "+tcp"] {
            let ask =
                |question: &str| dig(servers.address, &format!("{question} {transport} +noall +answer +comments"));
            assert!(ask("wWw.example.org A").contains("wWw.example.org.\t300\tIN\tA\t192.0.2.10\n"));
            assert!(ask("nothere.example.org A").contains("status: NXDOMAIN"));
            assert!(ask("www.elsewhere.test A").contains("status: REFUSED"));
            assert!(ask("example.org A +edns=1 +noednsneg").contains("status: BADVERS"));
            assert!(ask("example.org A +header-only +noedns").contains("status: FORMERR"));
            assert!(ask("example.org A +opcode=UPDATE +noedns").contains("status: NOTIMP"));
            assert!(ask("example.org SOA +dnssec +nsid +subnet=192.0.2.0/24").contains("flags: do; udp: 1232"));
        }
        let truncated = dig(servers.address, "big.example.org TXT +notcp +ignore");
        assert!(truncated.contains("flags: qr aa tc"), "{truncated}");
        // On its own dig asks again over TCP.
        let whole = dig(servers.address, "big.example.org TXT");
        assert!(whole.contains("(TCP)") && whole.contains("ANSWER: 21"), "{whole}");
        let counters = servers.counters.clone();
        servers.stop();
        assert_eq!(counters.snapshot().requests(Request::Answered), 17);
    }
}

/// More than 50 types, each asked for by itself: what BIND's tools read from the file is what they hear.
#[test]
fn the_rdata_of_every_type_is_the_same_over_udp_and_tcp() {
    let text = include_str!("../../data/every-type.zone");
    let folder = tempfile::tempdir().unwrap();
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let file = folder.path().join("zone");
    fs::write(&file, text).unwrap();
    let mut compile = Command::new("named-compilezone");
    compile.args(["-i", "none", "-k", "ignore", "-n", "ignore", "-s", "full", "-q", "-o", "-", "example.org"]);
    let output = compile.arg(&file).output().expect("named-compilezone is installed (bind9-utils)");
    let mut expected: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(line).collect();
    // Of a delegation there is nothing but a referral.
    expected.retain(|line| !line.is_empty() && !line.starts_with(';') && !line.starts_with("ns.sub."));
    expected.retain(|line| !line.starts_with("sub.example.org. 300 in ns "));
    let word = |line: &str, at: usize| line.split(' ').nth(at).unwrap().to_owned();
    let types: BTreeSet<String> = expected.iter().map(|line| word(line, 3)).collect();
    assert!(types.len() > 50, "{} types", types.len());
    let questions: BTreeSet<String> =
        expected.iter().map(|line| format!("-q {} -t {}\n", word(line, 0), word(line, 3))).collect();
    let batch = folder.path().join("questions");
    fs::write(&batch, String::from_iter(questions)).unwrap();

    let origin = "example.org".parse().unwrap();
    let zone = Zone::parse(&origin, "zone", text.as_bytes().to_vec()).unwrap();
    let records = zone.records().map(|found| (found.record, None));
    let zone = ZoneTable::compile(&origin, records, &[], Mode::Whole).unwrap();
    let table = Table::new(Arc::new(Catalog::new(vec![Arc::new(zone)]).unwrap()), 1, &[], &[], &[]);
    let servers = Servers::start(table, None, Calls::Native);
    for transport in ["+notcp", "+tcp"] {
        let said = dig(servers.address, &format!("{transport} +noall +answer -f {}", batch.display()));
        let said: BTreeSet<String> = said.lines().map(line).filter(|line| !line.is_empty()).collect();
        assert_eq!(said, expected.iter().cloned().collect(), "{transport}");
    }
    servers.stop();
}
