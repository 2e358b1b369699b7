//! What dig gets.

use std::collections::BTreeSet;
use std::process::Command;

use nsd_failover::dns::access::{Algorithm, Key, Secret};
use nsd_failover::dns::transfer::Request;
use nsd_failover::serve::transfer::tsig::Keys;
use proptest::prelude::*;

use super::support::*;

const KEY: &str = "hmac-sha256:sidecar:";

#[test]
fn the_whole_zone_begins_and_ends_with_its_soa() {
    let primary = Primary::start(ZONE, "allow-transfer = [\"127.0.0.1\"]");
    let records = transfer(primary.address, &["example.org", "AXFR"]);
    let soa = "example.org. 300 IN SOA ns1.example.org. hostmaster.example.org. 100 3600 2 604800 300";
    assert_eq!((records.first().unwrap().as_str(), records.last().unwrap().as_str()), (soa, soa));
    let mut expected: Vec<String> = vec![
        soa.into(),
        "example.org. 300 IN NS ns1.example.org.".into(),
        "example.org. 300 IN NS ns2.example.net.".into(),
        "ns1.example.org. 300 IN A 192.0.2.53".into(),
        "www.example.org. 60 IN A 192.0.2.10".into(),
        "www.example.org. 60 IN A 203.0.113.77".into(),
        "standby.example.org. 300 IN A 198.51.100.20".into(),
        "mail.example.org. 300 IN MX 10 www.example.org.".into(),
        "txt.example.org. 300 IN TXT \"hello\"".into(),
        "a.b.c.example.org. 300 IN CNAME www.example.org.".into(),
    ];
    expected.sort();
    assert_eq!(zone_at(primary.address, &["example.org", "AXFR"]), expected);
    assert_eq!(zone_at(primary.address, &["EXAMPLE.org", "AXFR"]).len(), expected.len(), "in any case");
}

#[test]
fn a_difference_holds_what_has_changed_and_no_more() {
    let primary = Primary::start(ZONE, "allow-transfer = [\"127.0.0.1\"]");
    let soa = |serial: u32| {
        format!("example.org. 300 IN SOA ns1.example.org. hostmaster.example.org. {serial} 3600 2 604800 300")
    };
    let ixfr = |serial: u32| transfer(primary.address, &["example.org", &format!("IXFR={serial}")]);
    assert_eq!(ixfr(100), [soa(100)], "up to date");
    primary.switch("blowfish");
    assert_eq!(primary.serial(), Some(101));
    let (www, standby) = ("www.example.org. 60 IN A", "standby.example.org. 300 IN A");
    let (fishfinger, blowfish) = ("192.0.2.10", "198.51.100.20");
    let line = |name: &str, ip: &str| format!("{name} {ip}");
    let moved = |from: u32, to: u32, old: &str, new: &str| {
        vec![
            soa(to),
            soa(from),
            line(www, old),
            line(standby, new),
            soa(to),
            line(www, new),
            line(standby, old),
            soa(to),
        ]
    };
    assert_eq!(ixfr(100), moved(100, 101, fishfinger, blowfish), "the fixed address of www stays");
    primary.switch("fishfinger");
    assert_eq!(ixfr(101), moved(101, 102, blowfish, fishfinger));
    assert_eq!(ixfr(100), [soa(102), soa(100), soa(102), soa(102)], "there and back is nothing");
    assert_eq!(ixfr(102), [soa(102)]);
    assert_eq!(ixfr(103), [soa(102)], "a serial from the future");
    let whole = transfer(primary.address, &["example.org", "AXFR"]);
    assert_eq!(ixfr(99), whole, "older than the journal");
    assert_eq!(ixfr(102u32.wrapping_add(1 << 31)), whole, "neither older nor newer");
    assert_eq!(transfer(primary.address, &["example.org", "IXFR=99", "+notcp"]), [soa(102)], "over UDP: come by TCP");
}

#[test]
fn strangers_get_nothing() {
    let primary = Primary::start(ZONE, "allow-transfer = [\"192.0.2.0/24\", \"127.0.0.1 sidecar\"]");
    let refused = |arguments: &[&str]| {
        assert_eq!(transfer(primary.address, arguments), [] as [&str; 0], "{arguments:?}");
        dig_all(primary.address, arguments)
    };
    let good = format!("{KEY}{SECRET}");
    for kind in ["AXFR", "IXFR=1"] {
        refused(&["example.org", kind]);
        refused(&["example.net", kind]);
        refused(&["www.example.org", kind]);
        let text = refused(&["-y", &format!("{KEY}{OTHER_SECRET}"), "example.org", kind]);
        assert!(text.contains("; Transfer failed"), "{text}");
        refused(&["-y", &format!("hmac-sha256:sidekick:{SECRET}"), "example.org", kind]);
        refused(&["-y", &format!("hmac-sha512:sidecar:{SECRET}"), "example.org", kind]);
        refused(&["-y", &good, "+fuzztime=1000000000", "example.org", kind]);
        refused(&["-y", &good, "example.net", kind]);
    }
    refused(&["example.org", "AXFR", "+notcp"]);
    assert!(transfer(primary.address, &["-y", &good, "example.org", "AXFR"]).len() > 5);
    let log = primary.daemon.log();
    assert!(log.contains("transfer refused to 127.0.0.1: "), "{log}");
    assert!(primary.metrics().contains("nsd_failover_transfers_total{result=\"refused\"}"));
}

/// RFC 8945 section 5.2: what is wrong, in the words that dig has for it.
#[test]
fn every_query_may_be_signed() {
    let primary = Primary::start(ZONE, "key = \"sidecar\"\nallow-transfer = [\"127.0.0.1\"]");
    for transport in ["+notcp", "+tcp"] {
        let ask =
            |key: &str, more: &str| dig_all(primary.address, &["-y", key, "www.example.org", "A", transport, more]);
        let good = format!("{KEY}{SECRET}");
        let text = ask(&good, "+edns");
        assert!(text.contains("192.0.2.10") && text.contains("NOERROR 0"), "{text}");
        assert!(!text.contains("WARNING -- Some TSIG"), "dig accepts the signature:\n{text}");
        for (key, more, words) in [
            (format!("{KEY}{OTHER_SECRET}"), "+edns", "BADSIG"),
            (format!("hmac-sha256:sidekick:{SECRET}"), "+edns", "BADKEY"),
            (good, "+fuzztime=1000000000", "BADTIME"),
        ] {
            let text = ask(&key, more);
            assert!(text.contains(words) && text.contains("NOTAUTH") && !text.contains("192.0.2.10"), "{text}");
        }
    }
    // A wrong signature where nothing has to be signed: no zone either.
    let text = dig_all(primary.address, &["-y", &format!("{KEY}{OTHER_SECRET}"), "example.org", "AXFR"]);
    assert!(!text.contains("192.0.2.10"), "{text}");
}

/// Another reader of both kinds of answer, and of the signatures in them.
#[test]
fn kdig_reads_them_too() {
    let primary = Primary::start(ZONE, "allow-transfer = [\"sidecar\"]");
    primary.switch("blowfish");
    let kdig = |kind: &str| {
        let at = format!("@{}", primary.address.ip());
        let port = primary.address.port().to_string();
        let key = format!("{KEY}{SECRET}");
        let arguments = [at.as_str(), "-p", &port, "-y", &key, "example.org", "-t", kind];
        let output = Command::new("kdig").args(arguments).output().expect("kdig is installed");
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let whole = kdig("AXFR");
    assert!(whole.contains("standby.example.org.") && whole.contains("11 records"), "{whole}");
    let difference = kdig("IXFR=100");
    assert!(difference.contains("8 records"), "{difference}");
    for text in [whole, difference] {
        assert!(!text.contains(";; WARNING") && !text.contains(";; ERROR"), "{text}");
    }
}

/// We are nobody's secondary, and say so.
#[test]
fn a_notify_from_outside_is_not_implemented() {
    let primary = Primary::start(ZONE, "allow-transfer = [\"127.0.0.1\"]");
    for transport in ["+notcp", "+tcp"] {
        let text = dig_all(primary.address, &["example.org", "SOA", "+opcode=NOTIFY", transport]);
        assert!(text.contains("opcode: NOTIFY, status: NOTIMP"), "{text}");
    }
    assert_eq!(primary.serial(), Some(100));
}

#[test]
fn the_example_for_nsd_is_read_by_nsd() {
    let conf = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/nsd-transfer.conf");
    let output = Command::new("nsd-checkconf").arg(conf).output().expect("nsd-checkconf is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Every type that BIND's tools can write, as they read it from the same file.
const EVERY_TYPE: &str = include_str!("../../data/every-type.zone");

#[test]
fn every_type_arrives_as_it_was_written() {
    let primary = Primary::start(EVERY_TYPE, "allow-transfer = [\"127.0.0.1\"]");
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let file = primary.folder.path().join("example.org.zone");
    let output = Command::new("named-compilezone")
        .args(["-i", "none", "-k", "ignore", "-n", "ignore", "-s", "full", "-q", "-o", "-", "example.org"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let expected: BTreeSet<String> =
        text.lines().map(line).filter(|line| !line.is_empty() && !line.starts_with(';')).collect();
    assert!(expected.len() > 60, "{}", expected.len());
    let found = transfer(primary.address, &["example.org", "AXFR"]);
    assert_eq!(found.len(), expected.len() + 1, "each once, and the SOA twice");
    assert_eq!(found.iter().map(|found| line(found)).collect::<BTreeSet<_>>(), expected);
}

proptest! {
    /// Whatever comes in place of a request: an answer or none, and no panic.
    #[test]
    fn any_bytes_are_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..120), tsig in any::<bool>()) {
        let key = Key { name: "k.".parse().unwrap(), algorithm: Algorithm::Sha256, secret: Secret::new(&[7; 32]) };
        let keys = Keys::new(&[key]);
        let _ = Request::read(&bytes);
        let _ = keys.verify(&bytes);
        if tsig && bytes.len() >= 12 {
            // A plausible header in front of anything.
            bytes[..12].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
            let message = [&bytes[..12], b"\x01z\0\0\xfc\0\x01\x01k\0\0\xfa\0\xff\0\0\0\0", &bytes[12..]].concat();
            let _ = Request::read(&message);
            let _ = keys.verify(&message);
        }
    }
}
