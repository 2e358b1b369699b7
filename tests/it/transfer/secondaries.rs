//! Real nsd and real Knot as secondaries.

use std::time::Instant;

use super::support::*;
use crate::support::daemon::{address, wait_for};
use crate::support::nsd::free_address;

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
