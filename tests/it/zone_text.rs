//! Zone text against the real programs, and its losslessness as a property.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use domain::base::iana::Rtype;
use nsd_failover::dns::name::Name;
use nsd_failover::dns::rdata::to_text;
use nsd_failover::export::{RenderError, Rendered, render};
use nsd_failover::failover::binding::Binding;
use nsd_failover::failover::pool::{Node, Pool, PoolRoles, Roles, ToldRoles};
use nsd_failover::health::family::PerFamily;
use nsd_failover::zone::Zone;
use nsd_failover::zone::document::Document;
use proptest::prelude::*;

/// Of the reference zones: both hosts, fishfinger first.
const FISHFINGER: (&str, &str) = ("46.23.94.99", "2a03:6000:6f67:624::99");
const BLOWFISH: (&str, &str) = ("23.88.35.144", "2a01:4f8:c17:20f1::42");

const REFERENCE: [&str; 2] = ["foo.zone", "buetow.org"];

fn reference(origin: &str) -> String {
    let path = format!("{}/tests/data/reference/{origin}.zone", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).unwrap()
}

fn pool(nodes: &[(&str, (&str, &str))]) -> Pool {
    let node = |&(name, (ipv4, ipv6)): &(&str, (&str, &str))| Node {
        name: name.to_owned(),
        ipv4: ipv4.parse().ok(),
        ipv6: ipv6.parse().ok(),
    };
    Pool { name: "web".to_owned(), nodes: nodes.iter().map(node).collect(), ..Pool::default() }
}

fn hosts() -> Vec<Pool> {
    vec![pool(&[("fishfinger.buetow.org", FISHFINGER), ("blowfish.buetow.org", BLOWFISH)])]
}

fn parse(origin: &str, text: &str) -> Zone {
    let parsed = Zone::parse(&origin.parse().unwrap(), &format!("{origin}.zone"), text.as_bytes().to_vec());
    parsed.unwrap_or_else(|list| panic!("{origin}: {list:#?}"))
}

fn both(primary: Option<usize>, standby: Option<usize>) -> PoolRoles {
    PerFamily::from_fn(|_| Roles { primary, standby })
}

fn rendered(zone: &Zone, pools: &[Pool], roles: PoolRoles, serial: u32) -> Result<Rendered, RenderError> {
    let (binding, diagnostics) = Binding::new(zone, Some(0), pools);
    assert!(diagnostics.iter().all(|found| !found.is_error()), "{diagnostics:?}");
    render(zone, &binding, pools, &[roles], serial)
}

/// The text with the roles changed.
fn switched(origin: &str, text: &str, roles: PoolRoles, serial: u32) -> String {
    match rendered(&parse(origin, text), &hosts(), roles, serial) {
        Ok(Rendered::Changed(edited)) => String::from_utf8(edited.zone.unwrap()).unwrap(),
        other => panic!("{origin}: {other:?}"),
    }
}

/// The same by plain replacement: the addresses of both hosts exchanged on the tagged lines.
fn exchanged(text: &str, serial: (&str, &str)) -> String {
    let exchange = |line: &str| {
        let mut line = line.to_owned();
        for (one, two) in [(FISHFINGER.0, BLOWFISH.0), (FISHFINGER.1, BLOWFISH.1)] {
            line = line.replace(one, "@@").replace(two, one).replace("@@", two);
        }
        line
    };
    text.split_inclusive('\n')
        .map(|line| if line.contains("; Enable failover") { exchange(line) } else { line.replace(serial.0, serial.1) })
        .collect()
}

#[test]
fn only_tagged_addresses_and_the_serial_change() {
    for origin in REFERENCE {
        let text = reference(origin);
        let written = switched(origin, &text, both(Some(1), Some(0)), 1_711_829_574);
        assert_eq!(written, exchanged(&text, ("1711829573", "1711829574")), "{origin}");
        let back = switched(origin, &written, both(Some(0), Some(1)), 1_711_829_575);
        assert_eq!(back, text.replace("1711829573", "1711829575"), "{origin}: and back");
    }
}

#[test]
fn what_would_not_change_is_left_alone() {
    for origin in REFERENCE {
        let zone = parse(origin, &reference(origin));
        assert_eq!(rendered(&zone, &hosts(), both(Some(0), Some(1)), 1_900_000_000), Ok(Rendered::Unchanged));
        let stale = rendered(&zone, &hosts(), both(Some(1), Some(0)), 1_711_829_573);
        assert!(matches!(stale, Err(RenderError::Serial { .. })), "{stale:?}");
    }
}

#[test]
fn the_reference_files_tell_who_is_primary() {
    for origin in REFERENCE {
        let text = reference(origin);
        let pools = hosts();
        for (text, roles) in
            [(text.clone(), both(Some(0), Some(1))), (exchanged(&text, ("", "")), both(Some(1), Some(0)))]
        {
            let zone = parse(origin, &text);
            let (binding, diagnostics) = Binding::new(&zone, Some(0), &pools);
            assert_eq!(diagnostics, []);
            let told = PerFamily::from_fn(|family| ToldRoles::from(roles[family]));
            assert_eq!(binding.roles_in_file(&pools), [Some(told)]);
        }
    }
}

/// A family is withdrawn, and comes back: the records of it leave nsd, the text stays.
#[test]
fn withdrawn_lines_out_and_in_again() {
    let text = reference("foo.zone").replace("         300 IN A ", "@        300 IN A ");
    let without_ipv6 = PoolRoles { ipv6: Roles::default(), ..both(Some(1), Some(0)) };
    let out = switched("foo.zone", &text, without_ipv6, 1_711_829_574);
    assert_eq!(out.matches("\n;nsd-failover:withdrawn ").count(), 3, "{out}");
    let served = records_of_bind("foo.zone", &out);
    assert!(served.iter().all(|record| !record.contains(" aaaa ")), "{served:?}");
    assert_eq!(served.iter().filter(|record| record.contains(" a ")).count(), 3);
    nsd_takes("foo.zone", &out);
    let back = switched("foo.zone", &out, both(Some(0), Some(1)), 1_711_829_575);
    assert_eq!(back, text.replace("1711829573", "1711829575"));
}

#[test]
fn a_node_without_the_family_withdraws_it() {
    let zone = parse("foo.zone", &reference("foo.zone"));
    let pools = vec![pool(&[("fishfinger", FISHFINGER), ("blowfish", (BLOWFISH.0, ""))])];
    let Ok(Rendered::Changed(edited)) = rendered(&zone, &pools, both(Some(1), Some(0)), 1_711_829_574) else {
        panic!("nothing was written");
    };
    let text = String::from_utf8(edited.zone.unwrap()).unwrap();
    assert!(text.contains(";nsd-failover:withdrawn www      300 IN AAAA"), "{text}");
    assert!(text.contains("\nstandby  300 IN AAAA 2a03:6000:6f67:624::99 "), "{text}");
}

#[test]
fn nsd_takes_what_is_written() {
    for origin in REFERENCE {
        let text = reference(origin);
        nsd_takes(origin, &text);
        nsd_takes(origin, &switched(origin, &text, both(Some(1), Some(0)), 1_711_829_574));
    }
}

#[test]
fn the_records_are_those_that_bind_reads() {
    for origin in REFERENCE {
        let text = reference(origin);
        let switched = switched(origin, &text, both(Some(1), Some(0)), 1_711_829_574);
        for text in [text, switched] {
            assert_eq!(our_records(&parse(origin, &text)), records_of_bind(origin, &text), "{origin}");
        }
    }
}

#[test]
fn the_examples_are_zones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones");
    let mut seen = 0;
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let origin = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let zone = parse(&origin, &text);
        assert_eq!(zone.warnings(), [], "{}", path.display());
        assert_eq!(our_records(&zone), records_of_bind(&origin, &text), "{}", path.display());
        nsd_takes(&origin, &text);
        seen += 1;
    }
    assert!(seen >= 2);
}

/// One line for each published record, in lower case, single blanks.
fn our_records(zone: &Zone) -> BTreeSet<String> {
    let line = |record: nsd_failover::dns::record::Record| {
        let rdata = to_text(record.rtype, &record.rdata);
        normalised(&format!("{} {} IN {} {rdata}", record.owner, record.ttl, record.rtype))
    };
    zone.records().filter(|found| !found.withdrawn).map(|found| line(found.record)).collect()
}

fn normalised(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn scratch(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zone");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn records_of_bind(origin: &str, text: &str) -> BTreeSet<String> {
    let (_folder, path) = scratch(text);
    let output = Command::new("named-compilezone")
        .args(["-i", "none", "-k", "ignore", "-n", "ignore", "-s", "full", "-q", "-o", "-", origin])
        .arg(&path)
        .output()
        .expect("named-compilezone is needed: Debian package bind9-utils");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(normalised).filter(|line| !line.is_empty()).collect()
}

fn nsd_takes(origin: &str, text: &str) {
    let (_folder, path) = scratch(text);
    let output = Command::new("nsd-checkzone")
        .arg(origin)
        .arg(&path)
        .output()
        .expect("nsd-checkzone is needed: Debian package nsd");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{text}");
}

/// Everything that may be done with bytes that came from somewhere.
fn exercise(bytes: &[u8]) {
    let origin: Name = "foo.zone".parse().unwrap();
    let document = Document::parse("any", &origin, bytes.to_vec());
    assert_eq!(document.to_bytes(), bytes);
    for line in document.lines() {
        line.record();
    }
    for diagnostic in document.diagnostics() {
        diagnostic.rendered();
    }
    let Ok(zone) = Zone::from_document(document) else { return };
    let pools = hosts();
    let (binding, _) = Binding::new(&zone, Some(0), &pools);
    binding.roles_in_file(&pools);
    for roles in [both(Some(1), Some(0)), both(None, None)] {
        let serial = zone.serial().wrapping_add(1);
        if let Ok(Rendered::Changed(edited)) = render(&zone, &binding, &pools, &[roles], serial) {
            let again = Document::parse("any", &origin, edited.zone.unwrap());
            assert_eq!(again.entries().len(), zone.document().entries().len());
        }
    }
    assert!(zone.records().all(|found| found.record.rtype != Rtype::from_int(0)));
}

/// Pieces that zones are made of, and that break them.
const PIECES: &[&str] = &[
    " ",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "(",
    ")",
    ";",
    "\"",
    "\\",
    "\\000",
    "\\256",
    "@",
    ".",
    "..",
    "$TTL 5\n",
    "$ORIGIN a.\n",
    "$ORIGIN foo.zone.\n",
    "$INCLUDE x\n",
    "300",
    "1h30m",
    "4294967296",
    "IN",
    "CH",
    "A",
    "AAAA",
    "SOA",
    "NS",
    "TXT",
    "CNAME",
    "HTTPS",
    "NAPTR",
    "TYPE65280",
    "\\# 2 c000",
    "\\# 4 C0000201",
    "192.0.2.1",
    "2001:db8::1",
    "www",
    "standby",
    "foo.zone.",
    "; Enable failover",
    "; Enabel failover",
    " pool=x",
    " role=standby",
    ";nsd-failover:withdrawn ",
    "\0",
    "\u{fc}",
    "alpn=\"h2\"",
];

proptest! {
    #[test]
    fn any_bytes_are_kept(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        exercise(&bytes);
    }

    #[test]
    fn any_pieces_are_kept(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..60)) {
        exercise(pieces.concat().as_bytes());
    }

    #[test]
    fn a_mutated_zone_is_kept(
        cuts in proptest::collection::vec((0..801_usize, 0..6_usize, proptest::sample::select(PIECES)), 0..4),
    ) {
        let mut bytes = reference("foo.zone").into_bytes();
        for (at, length, piece) in cuts {
            let at = at.min(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, piece.bytes());
        }
        exercise(&bytes);
    }
}
