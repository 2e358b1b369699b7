//! `init` on the first user's setup: a real nsd.conf and both reference zones, and nothing to edit
//! afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nsd_failover::config::{Config, Serve};

use super::support::daemon::{program, wait_for};
use super::support::nsd::Nsd;
use super::support::terminal::Terminal;

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

/// What it prints goes into nsd.conf as it is, but for the secret, which stands in one place only.
#[test]
fn nsd_may_become_a_secondary() {
    let nsd = Nsd::start(&[("foo.zone", FOO), ("buetow.org", BUETOW)]);
    let folder = tempfile::tempdir().unwrap();
    let (out, key) = (folder.path().join("c.toml"), folder.path().join("sidecar.key"));
    let flags = ["--placement", "transfer"];
    let done = init(&nsd, &out, &flags);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stdout).unwrap();
    let secret = fs::read_to_string(&key).unwrap();
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(!said.contains(secret.trim()), "{said}");

    let config = Config::load(&out).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(config.nsd.is_none());
    assert_eq!(config.zones.len(), 2);
    for zone in &config.zones {
        let transfer = zone.transfer.as_ref().unwrap();
        assert_eq!((zone.serve, zone.export_file.is_none()), (Serve::Zone, true));
        assert_eq!(transfer.notify[0].address, nsd.address());
    }
    let check = program(&out).arg("check").output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));
    let (_, lines) = said.split_once("\nserver:\n").expect(&said);
    let (lines, _) = lines.split_once("\nThen restart nsd").expect(&said);
    let conf = folder.path().join("nsd.conf");
    fs::write(&conf, format!("server:\n{}", lines.replace("...", secret.trim()))).unwrap();
    let mut command = std::process::Command::new("nsd-checkconf");
    let checked = checked_output(command.args(["-v", "-z", "foo.zone", "-o", "request-xfr"]).arg(&conf));
    assert!(checked.contains("127.0.0.1@5353 sidecar"), "{checked}");

    // The key that is there stays: nsd may have it already.
    assert_eq!(init(&nsd, &out, &["--placement", "transfer", "--force"]).status.code(), Some(0));
    assert_eq!(fs::read_to_string(&key).unwrap(), secret);
    // What came to nothing leaves nothing.
    fs::remove_file(&key).unwrap();
    assert_eq!(
        init(&nsd, &out, &["--placement", "transfer", "--force", "--http", "gopher://x/"]).status.code(),
        Some(2)
    );
    assert!(!key.exists());
}

fn checked_output(command: &mut std::process::Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The subzone, what its parent must hold and where, and the address that nsd must leave.
#[test]
fn a_subzone_may_be_delegated() {
    let nsd = Nsd::start(&[("foo.zone", FOO), ("buetow.org", BUETOW)]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("c.toml");
    let flags = ["--placement", "delegated", "--subzone", "fo.foo.zone", "--address", "192.0.2.53"];
    let done = init(&nsd, &out, &[&flags[..], &["--address", "2001:db8::53"]].concat());
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stdout).unwrap();
    let place = nsd.zone_path("foo.zone").display().to_string();
    let records = "  fo.foo.zone. 3600 IN NS ns.fo.foo.zone.\n  ns.fo.foo.zone. 3600 IN A 192.0.2.53\n  \
                   ns.fo.foo.zone. 3600 IN AAAA 2001:db8::53\n";
    assert!(said.contains(&format!("Add to zone foo.zone., in {place}, and raise its serial:\n{records}")), "{said}");
    assert!(!said.contains("nsd must leave"), "this one listens on 127.0.0.1 only: {said}");
    let config = Config::load(&out).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(config.listen, ["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap()]);
    assert_eq!((config.zones.len(), config.zones[0].serve), (1, Serve::Zone));

    // The hosts may be named, where nothing is tagged; an nsd on all addresses must let go of ours.
    let conf = folder.path().join("nsd.conf");
    fs::write(&conf, "zone:\n name: example.org\n zonefile: none\n request-xfr: 192.0.2.1 NOKEY\n").unwrap();
    let mut command = program(Path::new("/nonexistent"));
    command.arg("init").arg("--nsd-conf").arg(&conf).arg("--out").arg(folder.path().join("d.toml")).args(flags);
    let done = command.args(["--node", "a=192.0.2.1", "--node", "b=192.0.2.2"]).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains("nsd must leave 192.0.2.53 to us") && said.contains("is not in"), "{said}");
    let missing = init(&nsd, &folder.path().join("e.toml"), &["--placement", "delegated"]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn every_address_of_nsd_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    let (conf, out) = (folder.path().join("nsd.conf"), folder.path().join("c.toml"));
    fs::write(folder.path().join("foo.zone"), FOO).unwrap();
    let text = "server:\n ip-address: 192.0.2.53\n ip-address: 127.0.0.1@5300\n ip-address: 2001:db8::53\n";
    let zone = folder.path().join("foo.zone");
    fs::write(&conf, format!("{text}zone:\n name: foo.zone\n zonefile: {:?}\n", zone)).unwrap();
    let mut command = program(Path::new("/nonexistent"));
    let done = command.arg("init").arg("--nsd-conf").arg(&conf).arg("--out").arg(&out).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let nsd = Config::load(&out).unwrap().nsd.unwrap();
    assert_eq!(nsd.address, "127.0.0.1:5300".parse().unwrap());
    assert_eq!(nsd.verify, ["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap()]);
}

/// On a terminal it asks for the one thing that it cannot know, and takes Enter for what fits most.
#[test]
fn on_a_terminal_it_asks() {
    let nsd = Nsd::start(&[("foo.zone", FOO), ("buetow.org", BUETOW)]);
    let folder = tempfile::tempdir().unwrap();
    for (name, page, text) in [("asked.toml", "https://{node}/index.txt", "Welcome to {node}"), ("usual.toml", "", "")]
    {
        let out = folder.path().join(name);
        let command = format!(
            "{} init --nsd-conf {} --out {}; echo ended with $?; sleep 100",
            env!("CARGO_BIN_EXE_nsd-failover"),
            nsd.folder().join("nsd.conf").display(),
            out.display()
        );
        let terminal = Terminal::run(&command, 200, 50);
        let shows = |words: &str| wait_for(words, || terminal.screen().contains(words).then_some(()));
        shows("Page to fetch from each host [https://{node}/]:");
        terminal.type_line(page);
        shows("Text that the page must contain ({node} is the host) [any]:");
        terminal.type_line(text);
        shows("ended with 0");
        let written = fs::read_to_string(&out).unwrap();
        let page = if page.is_empty() { "https://{node}/" } else { page };
        assert!(written.contains(&format!("\nhttp = \"{page}\"")), "{written}");
        assert_eq!(written.contains(&format!("\nexpect = \"{text}\"")), !text.is_empty(), "{written}");
    }
}
