//! Real nsd and real Knot as secondaries.

use std::time::Instant;

use super::support::*;
use crate::support::daemon::{address, wait_for};
use crate::support::nsd::{free_address, free_ipv6_address};

/// From an empty secondary over swaps to a secondary that has everything.
fn follows(secondary: &Group, primary: &Primary) {
    let at = secondary.address;
    let caught_up = |what: &str| {
        wait_for(what, || (serial(at, "example.org") == primary.serial()).then_some(()));
        let signed = format!("hmac-sha256:sidecar:{SECRET}");
        let here = zone_at(primary.address, &["-y", &signed, "example.org", "AXFR"]);
        assert_eq!(zone_at(at, &["example.org", "AXFR"]), here);
    };
    caught_up("first transfer");
    for (node, ip) in [("blowfish", "198.51.100.20"), ("fishfinger", "192.0.2.10"), ("blowfish", "198.51.100.20")] {
        primary.switch(node);
        let began = Instant::now();
        caught_up(node);
        let found = crate::support::nsd::dig(at, &["www.example.org", "A"]);
        assert_eq!(found, [ip, "203.0.113.77"], "took {:?}", began.elapsed());
    }
    assert_eq!(address(at, "standby.example.org", "A").as_deref(), Some("192.0.2.10"));
    // The status and the metric say so, too.
    let current = primary.serial();
    wait_for("the status", || {
        (primary.secondary(at)["serial"].as_u64().map(|serial| serial as u32) == current).then_some(())
    });
    let line = format!("nsd_failover_zone_serial{{zone=\"example.org.\",server=\"{at}\"}}");
    let metrics = primary.metrics();
    assert!(metrics.contains(&line), "{metrics}");
    assert!(metrics.contains("nsd_failover_notify_total{result=\"acknowledged\"}"), "{metrics}");
    let log = primary.daemon.log();
    assert_eq!(log.matches(": changes, ").count(), 3, "each swap went as its difference:\n{log}");
}

#[test]
fn nsd_follows_without_a_key() {
    let at = free_address();
    let primary = Primary::start(ZONE, &format!("notify = [\"{at}\"]\nallow-transfer = [\"127.0.0.1\"]"));
    follows(&nsd(at, primary.address, false), &primary);
}

#[test]
fn nsd_follows_with_a_key() {
    let at = free_address();
    let primary = Primary::start(ZONE, &format!("notify = [\"{at}\"]\nkey = \"sidecar\""));
    follows(&nsd(at, primary.address, true), &primary);
}

#[test]
fn knot_follows_with_a_key() {
    let at = free_address();
    let lines = format!("notify = [\"{at} sidecar\"]\nallow-transfer = [\"sidecar\", \"127.0.0.1\"]");
    let primary = Primary::start(ZONE, &lines);
    follows(&knot(at, primary.address, true, false), &primary);
}

/// NOTIFY, the question for the serial, and the transfers: all over IPv6.
#[test]
fn nsd_follows_over_ipv6() {
    let (at, ours) = (free_ipv6_address(), free_ipv6_address());
    let lines = format!("notify = [\"{at}\"]\nkey = \"sidecar\"");
    let primary = Primary::start_at(ours, ZONE, &lines, "");
    follows(&nsd(at, primary.address, true), &primary);
    assert!(primary.daemon.log().contains("transfer to ::1: changes, "), "{}", primary.daemon.log());
}

/// Ten thousand swaps in a row, as fast as they can be ordered: the secondary has the newest, fetched
/// as differences; serial, journal and zone agree; and nothing has grown.
#[test]
fn ten_thousand_swaps_in_a_row() {
    let at = free_address();
    let primary = Primary::start(ZONE, &format!("notify = [\"{at}\"]\nallow-transfer = [\"127.0.0.1\"]"));
    let secondary = nsd(at, primary.address, false);
    let caught_up = || {
        wait_for("the newest serial", || (serial(at, "example.org") == primary.serial()).then_some(()));
        let here = zone_at(primary.address, &["example.org", "AXFR"]);
        assert_eq!(zone_at(at, &["example.org", "AXFR"]), here, "{}", secondary.log());
        here
    };
    caught_up();
    let nodes = ["fishfinger", "blowfish"];
    primary.daemon.swap_often(nodes, 1_000);
    let before_kib = primary.daemon.resident_kib();
    primary.daemon.swap_often(nodes, 9_000);
    let grown_kib = primary.daemon.resident_kib().saturating_sub(before_kib);
    assert!(grown_kib < 24 * 1024, "{grown_kib} KiB more after 9,000 swaps");
    // Each decision has had one serial.
    let status = primary.daemon.status();
    let (serial, generation) = (status["zones"][0]["serial"].as_u64(), status["generation"].as_u64());
    assert_eq!(primary.serial().map(u64::from), serial);
    assert_eq!(serial.unwrap() - 100, generation.unwrap() - 1);
    let before = caught_up();
    primary.switch("fishfinger");
    primary.switch("blowfish");
    let zone = caught_up();
    // What the newest version is, as a difference, and the zone say the same.
    let now = primary.serial().unwrap();
    let difference = transfer(primary.address, &["example.org", &format!("IXFR={}", now - 1)]);
    assert_eq!(difference.len(), 8, "{difference:?}");
    assert!(difference[5..7].iter().all(|added| zone.contains(added)), "{difference:?}");
    assert!(difference[2..4].iter().all(|removed| !zone.contains(removed)), "{difference:?}");
    assert_eq!(before.len(), zone.len());
    let whole = primary.daemon.log().matches(": whole, ").count();
    let changes = primary.daemon.log().matches(": changes, ").count();
    assert!(changes >= 1, "{changes} differences, {whole} times the whole zone");
}

/// nsd keeps and sends names in lower case, whatever the file says; so do we, for owners.
#[test]
fn owner_names_come_in_lower_case_as_nsd_has_them() {
    let at = free_address();
    let mixed = format!("{ZONE}FTP IN A 192.0.2.21\nTwice IN A 192.0.2.22\ntWICE IN TXT \"Case\"\nTo IN CNAME FTP\n");
    let primary = Primary::start(&mixed, &format!("notify = [\"{at}\"]\nallow-transfer = [\"127.0.0.1\"]"));
    let _secondary = nsd(at, primary.address, false);
    wait_for("the zone", || (serial(at, "example.org") == primary.serial()).then_some(()));
    let ours = zone_at(primary.address, &["example.org", "AXFR"]);
    let theirs = zone_at(at, &["example.org", "AXFR"]);
    let owners = |zone: &[String]| -> Vec<String> {
        let mut owners: Vec<String> = zone.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        owners.sort();
        owners
    };
    assert_eq!(owners(&ours), owners(&theirs));
    assert!(owners(&ours).contains(&"ftp.example.org.".to_owned()), "{ours:?}");
    let lower = |zone: &[String]| -> std::collections::BTreeSet<String> {
        zone.iter().map(|line| line.to_lowercase()).collect()
    };
    assert_eq!(lower(&ours), lower(&theirs));
    assert!(ours.iter().any(|line| line == "twice.example.org. 300 IN TXT \"Case\""), "text is not a name: {ours:?}");
    assert!(ours.iter().any(|line| line == "to.example.org. 300 IN CNAME FTP.example.org."), "{ours:?}");
}
