//! A secondary that is stopped and started again.

use std::fs;
use std::path::Path;

use super::support::*;
use crate::support::daemon::{address, wait_for};
use crate::support::nsd::free_address;

/// What a section of conf/nsd-transfer.conf says, without its comments.
fn section(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/nsd-transfer.conf");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().skip_while(|line| *line != name).skip(1);
    let lines = lines.take_while(|line| line.starts_with(' ')).filter(|line| !line.trim().starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// nsd with these lines, whose zone file lags behind what it serves when it is stopped, and started.
fn restarted(lines: &str) -> (Primary, Group) {
    let at = free_address();
    let primary = Primary::start(ZONE, &format!("notify = [\"{at}\"]\nallow-transfer = [\"127.0.0.1\"]"));
    let mut secondary = nsd_with(at, primary.address, false, lines);
    let caught_up = || wait_for("the serial", || (serial(at, "example.org") == primary.serial()).then_some(()));
    caught_up();
    // As `zonefiles-write` would leave it, now.
    let written = transfer(at, &["example.org", "AXFR"]).join("\n") + "\n";
    primary.switch("blowfish");
    caught_up();
    secondary.stop();
    fs::write(secondary.folder.path().join("secondary.zone"), written).unwrap();
    secondary.start_again();
    wait_for("its start", || serial(at, "example.org"));
    (primary, secondary)
}

/// With the example's lines it has the current roles right away, also those of a move that it missed.
#[test]
fn nsd_started_again_has_the_current_roles() {
    let (primary, mut secondary) = restarted(&section("server:"));
    let at = secondary.address;
    let follows = |ip: &str| {
        wait_for(ip, || (address(at, "standby.example.org", "A").as_deref() == Some(ip)).then_some(()));
        assert_eq!(serial(at, "example.org"), primary.serial());
    };
    follows("192.0.2.10");
    secondary.stop();
    primary.switch("fishfinger");
    secondary.start_again();
    follows("198.51.100.20");
}

/// What those lines are for: with an `xfrd.state` newer than its zone file, nsd believes to have what
/// it does not serve. The next serial heals it.
#[test]
fn nsd_that_believes_to_have_the_serial_takes_the_next_one() {
    let (primary, secondary) = restarted("xfrd-reload-timeout: 0");
    let at = secondary.address;
    wait_for("its question", || primary.daemon.log().contains(": current, ").then_some(()));
    assert_eq!(serial(at, "example.org"), Some(100), "and not {:?}", primary.serial());
    primary.switch("fishfinger");
    wait_for("the next one", || (serial(at, "example.org") == primary.serial()).then_some(()));
    let here = zone_at(primary.address, &["example.org", "AXFR"]);
    assert_eq!(zone_at(at, &["example.org", "AXFR"]), here);
}
