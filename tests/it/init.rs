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

/// What would not be read back is never written: the next try finds nothing in its way.
#[test]
fn a_mistake_leaves_nothing_behind() {
    let nsd = Nsd::start(&[("foo.zone", FOO), ("buetow.org", BUETOW)]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("c.toml");
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    for url in ["htps:/{nod}/", "ftp://{node}/"] {
        let mistaken = init(&nsd, &out, &["--http", url]);
        assert_eq!(mistaken.status.code(), Some(2), "{url}");
        assert!(
            said(&mistaken).contains("c.toml:") && said(&mistaken).contains("nothing was written"),
            "{url}: {}",
            said(&mistaken)
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{url}");
    }
    let old = "# mine\nhttp = \"127.0.0.1:8053\"\n";
    fs::write(&out, old).unwrap();
    assert_eq!(init(&nsd, &out, &["--force", "--http", "ftp://{node}/"]).status.code(), Some(2));
    assert_eq!(fs::read_to_string(&out).unwrap(), old, "what was there is still there");
    let done = init(&nsd, &out, &["--force"]);
    assert_eq!((done.status.code(), said(&done).as_str()), (Some(0), ""));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// nsd runs and answers, and would take no order: `init` says so, and what to do.
#[test]
fn an_nsd_that_takes_no_orders_is_told() {
    let nsd = Nsd::start(&[("foo.zone", FOO), ("buetow.org", BUETOW)]);
    let folder = tempfile::tempdir().unwrap();
    let conf = nsd.folder().join("nsd.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, text.replace("control-enable: yes", "control-enable: no").replace("nsd.sock", "none.sock"))
        .unwrap();
    let done = init(&nsd, &folder.path().join("c.toml"), &[]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(0), "{said}");
    let words = format!("{}: warning: nsd takes no order: nsd-control: exit status: 1: ", conf.display());
    assert!(said.starts_with(&words) && said.contains("set control-enable: yes in nsd.conf"), "{said}");
}

/// Pools by the tags, and a relative path of nsd.conf, which the configuration's own folder does not
/// change.
#[test]
fn the_example_of_the_manual_and_relative_paths() {
    let folder = tempfile::tempdir().unwrap();
    let zone = "$TTL 300\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.53\nfishfinger A 192.0.2.10\nblowfish A 198.51.100.20\n\
                www      300 IN A    192.0.2.10      ; Enable failover\n\
                standby  300 IN A    198.51.100.20   ; Enable failover\n\
                www.eu   300 IN A    192.0.2.10      ; Enable failover pool=eu role=primary\n";
    fs::create_dir_all(folder.path().join("nsd/zones")).unwrap();
    fs::write(folder.path().join("nsd/zones/example.org.zone"), zone).unwrap();
    let conf = "server:\n  zonesdir: zones\nzone:\n  name: example.org\n  zonefile: example.org.zone\n";
    fs::write(folder.path().join("nsd/nsd.conf"), conf).unwrap();
    let mut command = program(Path::new("/nonexistent"));
    command.args(["init", "--nsd-conf", "nsd/nsd.conf", "--out", "own/c.toml"]).current_dir(folder.path());
    let done = command.stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stdout).unwrap();
    let hosts = "  primary  fishfinger.example.org\n  standby  blowfish.example.org\n";
    assert!(said.contains(&format!("pool web\n{hosts}pool eu\n{hosts}")), "{said}");
    let config = Config::load(&folder.path().join("own/c.toml")).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(config.pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>(), ["eu", "web"]);
    assert!(config.zones[0].file.is_file());
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
