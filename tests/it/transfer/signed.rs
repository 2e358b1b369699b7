//! Zones that were signed elsewhere: what a secondary has is complete, and it answers as a server
//! that has read the file.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpStream};

use hickory_proto::op::Message;

use super::support::*;
use crate::answers::support::type_of;
use crate::support::daemon::{program, wait_for};
use crate::support::nsd::{Nsd, free_address};
use crate::support::signed::{exchange, lines, query, signed};

const TEXT: &str = "\
$TTL 300
@ IN SOA ns1 hostmaster 100 3600 2 604800 300
@ IN NS ns1
@ IN MX 10 mail
ns1 IN A 192.0.2.53
mail IN A 192.0.2.25
mail IN AAAA 2001:db8::25
a.b.ent IN TXT deep
*.wild IN TXT star
x.wild IN A 192.0.2.1
alias IN CNAME mail
moved IN DNAME wild
sub IN NS ns.sub
sub IN DS 12345 8 2 0000000000000000000000000000000000000000000000000000000000000000
ns.sub IN A 192.0.2.77
plain IN NS ns.sub
";

const NAMES: [&str; 13] = [
    "",
    "ns1.",
    "mail.",
    "a.b.ent.",
    "b.ent.",
    "any.wild.",
    "x.wild.",
    "alias.",
    "a.moved.",
    "x.sub.",
    "x.plain.",
    "nothere.",
    "a.nothere.",
];
const TYPES: [&str; 12] =
    ["A", "AAAA", "NS", "SOA", "MX", "TXT", "DS", "DNSKEY", "NSEC3PARAM", "NSEC", "CNAME", "TYPE65534"];

/// Everything that a server answers, the order within a section apart.
fn answers(server: SocketAddr) -> Vec<(String, BTreeSet<String>)> {
    let mut stream = TcpStream::connect(server).unwrap();
    let mut all = Vec::new();
    for name in NAMES {
        for rtype in TYPES {
            for dnssec_ok in [true, false] {
                let query = query(&format!("{name}example.org"), type_of(rtype), dnssec_ok);
                let Message { metadata, answers, authorities, additionals, .. } = exchange(&mut stream, &query);
                let head =
                    format!("{name} {rtype} DO={dnssec_ok} {:?} aa={}", metadata.response_code, metadata.authoritative);
                all.push((head, lines(&[answers, authorities, additionals].concat())));
            }
        }
    }
    all
}

/// How many records there are of each type.
fn types(records: &[String]) -> Vec<(String, usize)> {
    let mut types: Vec<&str> = records.iter().filter_map(|line| line.split(' ').nth(3)).collect();
    types.sort_unstable();
    types.chunk_by(|a, b| a == b).map(|same| (same[0].to_owned(), same.len())).collect()
}

/// The secondary has what the file says, and answers as a server of its make that has read it.
fn complete(secondary: SocketAddr, reference: SocketAddr, primary: &Primary, text: &[u8]) {
    let serial_in_file = wait_for("the reference", || serial(reference, "example.org"));
    let serial_in_file = Some(serial_in_file);
    assert_eq!(primary.serial(), serial_in_file, "the signer's serial is kept");
    wait_for("the transfer", || (serial(secondary, "example.org") == serial_in_file).then_some(()));
    let here = zone_at(primary.address, &["example.org", "AXFR"]);
    assert_eq!(zone_at(secondary, &["example.org", "AXFR"]), here);
    // All of the file, counted by somebody else.
    let folder = tempfile::tempdir().unwrap();
    let (file, plain) = (folder.path().join("zone"), folder.path().join("plain"));
    fs::write(&file, text).unwrap();
    let mut compile = std::process::Command::new("named-compilezone");
    compile.args(["-q", "-i", "none", "-k", "ignore", "-s", "full", "-o"]).arg(&plain).arg("example.org").arg(&file);
    assert!(compile.status().expect("named-compilezone is installed").success());
    let plain = fs::read_to_string(&plain).unwrap();
    let plain: Vec<String> = plain.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(types(&here), types(&plain));
    for (ours, theirs) in answers(secondary).iter().zip(answers(reference)) {
        assert_eq!(*ours, theirs);
    }
}

/// Knot with this zone from a file.
fn knot_with_file(text: &[u8]) -> Group {
    let (folder, at) = (tempfile::tempdir().unwrap(), free_address());
    let dir = folder.path().display();
    let conf = format!(
        "server:\n    rundir: {dir}\n    listen: {}@{}\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n\
         database:\n    storage: {dir}\nzone:\n  - domain: example.org\n    file: {dir}/zone\n",
        at.ip(),
        at.port()
    );
    fs::write(folder.path().join("zone"), text).unwrap();
    let path = folder.path().join("knot.conf");
    fs::write(&path, conf).unwrap();
    Group::start(at, folder, command("knotd", &["-c"], &path))
}

fn followed(options: &[&str]) {
    let at = [free_address(), free_address()];
    let lines = format!("notify = [\"{}\", \"{}\"]\nallow-transfer = [\"127.0.0.1\"]", at[0], at[1]);
    let first = signed("example.org", TEXT.as_bytes(), options);
    let primary = Primary::start(std::str::from_utf8(&first).unwrap(), &lines);
    let (_nsd, _knot) = (nsd(at[0], primary.address, false), knot(at[1], primary.address, false, false));
    let compare = |text: &[u8]| {
        let has_read = (Nsd::start(&[("example.org", text)]), knot_with_file(text));
        complete(at[0], has_read.0.address(), &primary, text);
        complete(at[1], has_read.1.address, &primary, text);
    };
    compare(&first);
    // Signed anew, with a name more: there are other keys, and no difference to be had of it.
    let text = format!("{}more IN A 192.0.2.99\n", TEXT.replace(" 100 3600", " 101 3600"));
    let second = signed("example.org", text.as_bytes(), options);
    fs::write(primary.folder.path().join("example.org.zone"), &second).unwrap();
    assert!(primary.daemon.verb(&["reload"]).status.success());
    compare(&second);
    let whole = transfer(primary.address, &["example.org", "AXFR"]);
    assert_eq!(transfer(primary.address, &["example.org", "IXFR=100"]), whole);
    assert_eq!(transfer(primary.address, &["example.org", "IXFR=101"]).len(), 1, "up to date");
}

#[test]
fn with_nsec() {
    followed(&[]);
}

#[test]
fn with_nsec3() {
    followed(&["-3", "aabbccdd", "-H", "5"]);
}

#[test]
fn with_nsec3_and_opt_out() {
    followed(&["-3", "-", "-H", "0", "-A"]);
}

/// A moved record would have no valid signature: neither served by us nor exported to nsd.
#[test]
fn tags_in_a_signed_zone_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = signed("example.org", TEXT.as_bytes(), &[]);
    let text = String::from_utf8(text).unwrap();
    // The signer drops comments; somebody puts the tag back.
    let tagged: String = text
        .lines()
        .map(|line| match line.starts_with("ns1.example.org.") && line.contains("192.0.2.53") {
            true => format!("{line} ; Enable failover\n"),
            false => format!("{line}\n"),
        })
        .collect();
    assert_ne!(tagged, text);
    fs::write(folder.path().join("zone"), tagged).unwrap();
    let listen = "listen = [\"127.0.0.1:0\"]";
    for (listen, relay, how) in [
        (listen, "", "serve = \"zone\"\nexport = \"off\""),
        (listen, "relay = true", "serve = \"overlay\"\nexport = \"off\""),
        ("", "", "serve = \"off\"\nexport = \"file\""),
    ] {
        let config = format!(
            "{listen}\n[nsd]\naddress = \"127.0.0.1:1\"\n{relay}\n[node.a]\nipv4 = \"192.0.2.53\"\n[pool.web]\nnodes = [\"a\"]\n\
             [zone.\"example.org\"]\nfile = \"zone\"\npool = \"web\"\n{how}\n"
        );
        let file = folder.path().join("c.toml");
        fs::write(&file, config).unwrap();
        let output = program(&file).arg("check").output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(2), "{how}: {said}");
        assert!(said.contains("the zone is signed, and a moved failover record"), "{how}: {said}");
    }
}
