//! A secondary that is stopped and started again, at last without us.

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

/// What `eject` prints, followed to the letter: the secondary is the primary now, with the current roles
/// and a serial that no other secondary refuses.
#[test]
fn eject_hands_the_zone_over_to_nsd() {
    let at = free_address();
    let mut primary = Primary::start(ZONE, &format!("notify = [\"{at}\"]\nallow-transfer = [\"127.0.0.1\"]"));
    let mut secondary = nsd_with(at, primary.address, false, &section("server:"));
    for node in ["blowfish", "fishfinger", "blowfish"] {
        primary.switch(node);
    }
    let served = primary.serial();
    wait_for("the last move", || (serial(at, "example.org") == served).then_some(()));

    let eject = |primary: &Primary, folder: &str| {
        let folder = primary.folder.path().join(folder);
        fs::create_dir(&folder).unwrap();
        let done = primary.daemon.verb(&["eject", "--to", folder.to_str().unwrap()]);
        let words = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{words}{}", String::from_utf8_lossy(&done.stderr));
        let text = fs::read_to_string(folder.join("example.org.zone")).unwrap();
        (words, text)
    };
    let serial_of = |text: &str| text.split("hostmaster ").nth(1).unwrap().split(' ').next().unwrap().parse::<u32>();
    let (words, text) = eject(&primary, "running");
    assert!(words.contains("have the current roles; nsd was told nothing yet. What is left to do:\n  1. "), "{words}");
    assert!(text.contains("www 60 IN A 198.51.100.20 ; Enable failover\n"), "{text}");
    assert!(serial_of(&text).unwrap() > served.unwrap(), "{text}");
    // Without the daemon, whose last serials may not have been written down.
    primary.daemon.kill();
    let (words, text) = eject(&primary, "dead");
    assert!(serial_of(&text).unwrap() > served.unwrap(), "{text}");

    let line = words.lines().map(str::trim).find(|line| line.starts_with("zonefile: ")).expect(&words);
    let path = secondary.folder.path().join("nsd.conf");
    let conf = fs::read_to_string(&path).unwrap();
    let replaced = ["request-xfr:", "allow-notify:", "zonefile:"];
    let kept = conf.lines().filter(|line| !replaced.iter().any(|word| line.trim().starts_with(word)));
    let conf: String = kept.map(|line| format!("{line}\n")).collect();
    fs::write(&path, format!("{conf} {line}\n")).unwrap();
    let checked = std::process::Command::new("nsd-checkconf").arg(&path).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    secondary.stop();
    secondary.start_again();
    wait_for("the zone", || (serial(at, "example.org") == serial_of(&text).ok()).then_some(()));
    assert_eq!(address(at, "standby.example.org", "A").as_deref(), Some("192.0.2.10"));
}
