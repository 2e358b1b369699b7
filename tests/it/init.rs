//! `init` on the first user's setup: a real nsd.conf and both reference zones, and nothing to edit
//! afterwards.

use std::fs;
use std::path::Path;

use nsd_failover::config::{Config, Serve};

use super::support::daemon::program;
use super::support::nsd::Nsd;

const FOO: &[u8] = include_bytes!("../data/reference/foo.zone.zone");
const BUETOW: &[u8] = include_bytes!("../data/reference/buetow.org.zone");

fn init(nsd: &Nsd, out: &Path, flags: &[&str]) -> std::process::Output {
    let conf = nsd.folder().join("nsd.conf");
    let mut command = program(Path::new("/nonexistent"));
    command.arg("init").arg("--nsd-conf").arg(conf).arg("--out").arg(out).args(flags);
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

#[test]
fn the_reference_setup_needs_no_edit() {
    let nsd = Nsd::start(&[("foo.zone", FOO), ("buetow.org", BUETOW)]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("etc/nsd-failover.toml");
    let flags = ["--http", "https://{node}/index.txt", "--expect", "Welcome to {node}", "--rotate"];
    let done = init(&nsd, &out, &flags);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains("2 zones with 18 failover records"), "{said}");
    assert!(said.contains("primary  fishfinger.buetow.org\n  standby  blowfish.buetow.org\n"), "{said}");

    let config = Config::load(&out).unwrap_or_else(|problems| panic!("{problems:?}"));
    let node = &config.pools[0].nodes[1];
    assert_eq!(node.name, "blowfish.buetow.org");
    assert_eq!(node.ipv4, Some("23.88.35.144".parse().unwrap()));
    assert_eq!(node.ipv6, Some("2a01:4f8:c17:20f1::42".parse().unwrap()));
    assert_eq!(config.nsd.as_ref().unwrap().address, nsd.address(), "where this nsd listens");
    assert_eq!(config.zones.len(), 2);
    assert!(config.zones.iter().all(|zone| zone.serve == Serve::Off && zone.export_file.is_some()));
    let check = program(&out).arg("check").output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));
    assert!(String::from_utf8(check.stdout).unwrap().contains("18 of them failover"));

    let again = init(&nsd, &out, &flags);
    assert_eq!(again.status.code(), Some(2), "what is there is never overwritten");
    assert!(String::from_utf8(again.stderr).unwrap().contains("is there already"));
}

#[test]
fn in_front_of_nsd_the_addresses_change_places() {
    let nsd = Nsd::start(&[("foo.zone", FOO), ("buetow.org", BUETOW)]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("c.toml");
    let done = init(&nsd, &out, &["--placement", "front"]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains("ip-address: 127.0.0.1@5300"), "{said}");
    let config = Config::load(&out).unwrap();
    assert_eq!(config.nsd.unwrap().address, "127.0.0.1:5300".parse().unwrap());
    assert!(config.zones.iter().all(|zone| zone.serve == Serve::Overlay));
}

#[test]
fn what_it_cannot_use_is_one_line() {
    let nsd = Nsd::start(&[("foo.zone", FOO)]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("c.toml");
    fs::write(nsd.zone_path("foo.zone"), "@ IN SAO x\n").unwrap();
    let broken = init(&nsd, &out, &[]);
    assert_eq!(broken.status.code(), Some(2));
    assert!(String::from_utf8(broken.stderr).unwrap().contains("foo.zone.zone:1:"));
    let missing =
        program(Path::new("/nonexistent")).args(["init", "--nsd-conf", "/nonexistent/nsd.conf"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(!out.exists(), "nothing was written");
}
