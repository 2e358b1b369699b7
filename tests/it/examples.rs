//! The examples in conf/, as they stand but for addresses, ports and folders: each pair of
//! configurations is started and does what docs/placements.md says.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::support::daemon::{Daemon, address, program, wait_for};
use super::support::nsd::{dig, free_address};
use super::transfer::support::{Group, SECRET, command};

const A: &str = "127.0.0.11";
const B: &str = "127.0.0.12";
const ZONE: &str = "\
$TTL 300
@        IN SOA ns hostmaster 1000 3600 600 604800 60
         IN NS  ns
ns       IN A   127.0.0.1
www      IN A   127.0.0.11 ; Enable failover
standby  IN A   127.0.0.12 ; Enable failover
plain    IN TXT \"from nsd\"
";
/// The hosts of the examples are here: nobody is asked outside.
const NODES: [(&str, &str); 4] = [
    ("ipv4 = \"192.0.2.10\"", "ipv4 = \"127.0.0.11\""),
    ("ipv4 = \"198.51.100.20\"", "ipv4 = \"127.0.0.12\""),
    ("\nipv6 = \"2001:db8::10\"", ""),
    ("\nipv6 = \"2001:db8:1::20\"", ""),
];

/// An example with something else in some places, all of which it must have.
fn example(name: &str, replaced: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name);
    let mut text = fs::read_to_string(path).unwrap();
    for (from, to) in replaced {
        assert!(text.contains(from), "{name} has no {from:?}");
        text = text.replace(from, to);
    }
    NODES.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

/// nsd with an example, and what it needs to run in a folder as whoever we are.
fn nsd(example: &str, at: SocketAddr, more: &str) -> Group {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display();
    let text = format!(
        "{}\nserver:\n username: \"\"\n chroot: \"\"\n database: \"\"\n server-count: 1\n zonesdir: {dir}\n \
         pidfile: {dir}/nsd.pid\n xfrdfile: {dir}/xfrd.state\n zonelistfile: {dir}/zone.list\n xfrdir: {dir}\n \
         rrl-ratelimit: 0\n logfile: {dir}/nsd.log\n{more}",
        example.replace("DIR", &dir.to_string())
    );
    let conf = folder.path().join("nsd.conf");
    fs::write(&conf, text).unwrap();
    fs::write(folder.path().join("example.org.zone"), ZONE).unwrap();
    Group::start(at, folder, command("nsd", &["-d", "-c"], &conf))
}

fn port_line(at: SocketAddr) -> String {
    format!(" ip-address: {}@{}\n", at.ip(), at.port())
}

/// Starts the sidecar with an example; its own control socket and state come on top.
fn daemon(folder: &Path, config: &str) -> Daemon {
    let daemon = Daemon::start(folder, config);
    wait_for("first decision", || (daemon.status()["ready"] == true).then_some(()));
    daemon
}

fn switch(daemon: &Daemon) {
    let moved = daemon.verb(&["switch", "web", "blowfish.example.org"]);
    assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
}

fn answers(server: SocketAddr, name: &str, wanted: &str) {
    wait_for(wanted, || (address(server, name, "A").as_deref() == Some(wanted)).then_some(()));
}

/// The places of nsd in the configurations of `file` and `front`.
fn places(nsd: &Group) -> [(&'static str, String); 2] {
    [
        ("/run/nsd/nsd.sock", nsd.folder.path().join("nsd.sock").display().to_string()),
        ("/var/nsd/zones/master/example.org.zone", nsd.folder.path().join("example.org.zone").display().to_string()),
    ]
}

#[test]
fn file() {
    let at = free_address();
    let conf = example(
        "nsd-file.conf",
        &[
            ("/run/nsd/nsd.sock", "DIR/nsd.sock".into()),
            ("/var/nsd/zones/master/example.org.zone", "DIR/example.org.zone".into()),
        ],
    );
    let nsd = nsd(&conf, at, &port_line(at));
    answers(at, "www.example.org", A);
    let mut replaced = vec![("127.0.0.1:53", at.to_string())];
    replaced.extend(places(&nsd));
    let folder = tempfile::tempdir().unwrap();
    let daemon = daemon(folder.path(), &example("file.toml", &replaced));
    switch(&daemon);
    assert_eq!(address(at, "www.example.org", "A").as_deref(), Some(B));
    assert_eq!(address(at, "standby.example.org", "A").as_deref(), Some(A));
    let file = fs::read_to_string(nsd.folder.path().join("example.org.zone")).unwrap();
    assert!(file.contains("www      IN A   127.0.0.12 ; Enable failover\n"), "{file}");
}

#[test]
fn front() {
    let (behind, at) = (free_address(), free_address());
    let conf = example(
        "nsd-front.conf",
        &[("127.0.0.1@5300", format!("127.0.0.1@{}", behind.port())), ("/run/nsd/nsd.sock", "DIR/nsd.sock".into())],
    );
    let nsd = nsd(&conf, behind, "zone:\n name: example.org\n zonefile: example.org.zone\n");
    answers(behind, "www.example.org", A);
    let mut replaced = vec![
        ("\"0.0.0.0:53\", \"[::]:53\"", format!("\"{at}\"")),
        ("127.0.0.1:8053", free_address().to_string()),
        ("127.0.0.1:5300", behind.to_string()),
    ];
    replaced.extend(places(&nsd));
    let folder = tempfile::tempdir().unwrap();
    let daemon = daemon(folder.path(), &example("front.toml", &replaced));
    assert_eq!(dig(at, &["plain.example.org", "TXT"]), ["\"from nsd\""]);
    switch(&daemon);
    for server in [at, behind] {
        assert_eq!(address(server, "www.example.org", "A").as_deref(), Some(B), "{server}");
    }
}

#[test]
fn delegated() {
    let (parent, at) = (free_address(), free_address());
    let config = example("delegated.toml", &[("\"192.0.2.53:53\", \"[2001:db8::53]:53\"", format!("\"{at}\""))]);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("check.toml"), &config).unwrap();
    let checked = program(&folder.path().join("check.toml")).arg("check").output().unwrap();
    let checked = String::from_utf8(checked.stdout).unwrap();
    let (_, records) = checked.split_once("must hold:\n").expect(&checked);
    let conf = example(
        "nsd-delegated.conf",
        &[
            ("    ip-address: 192.0.2.1\n", port_line(parent)),
            ("    ip-address: 2001:db8::1\n", String::new()),
            ("/var/nsd/zones/master/example.org.zone", "DIR/parent.zone".into()),
        ],
    );
    let records: String = records.lines().map(|line| format!("{}\n", line.trim())).collect();
    // Named by the example, so that it must be there before nsd starts.
    let zones = tempfile::tempdir().unwrap();
    fs::write(zones.path().join("parent.zone"), format!("{ZONE}{records}")).unwrap();
    let nsd =
        nsd(&conf.replace("DIR/parent.zone", &zones.path().join("parent.zone").display().to_string()), parent, "");
    answers(parent, "www.example.org", A);
    let daemon = daemon(folder.path(), &config);
    answers(at, "www.fo.example.org", A);
    switch(&daemon);
    answers(at, "www.fo.example.org", B);
    let referral = dig(nsd.address, &["fo.example.org", "NS", "+norecurse", "+noshort", "+noall", "+authority"]);
    assert!(referral.iter().any(|line| line.ends_with("ns.fo.example.org.")), "{referral:?}");
}

#[test]
fn transfer() {
    use std::os::unix::fs::PermissionsExt;
    let (at, primary) = (free_address(), free_address());
    let folder = tempfile::tempdir().unwrap();
    let (key, zone) = (folder.path().join("sidecar.key"), folder.path().join("example.org.zone"));
    fs::write(&key, SECRET).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(&zone, ZONE).unwrap();
    let config = example(
        "transfer.toml",
        &[
            ("127.0.0.1:5353", primary.to_string()),
            ("127.0.0.1:8053", free_address().to_string()),
            ("/etc/nsd-failover/sidecar.key", key.display().to_string()),
            ("/var/lib/nsd-failover/zones/example.org.zone", zone.display().to_string()),
            ("\"127.0.0.1:53\"", format!("\"{at}\"")),
        ],
    );
    let daemon = daemon(folder.path(), &config);
    let conf = example(
        "nsd-transfer.conf",
        &[
            ("127.0.0.1@5353", format!("127.0.0.1@{}", primary.port())),
            ("secondary/example.org.zone", "DIR/secondary.zone".into()),
            ("c2Vuc2VsZXNzIHNlY3JldCBmb3IgdGVzdHMgb25seQ==", SECRET.into()),
        ],
    );
    let _nsd = nsd(&conf, at, &port_line(at));
    answers(at, "www.example.org", A);
    switch(&daemon);
    answers(at, "www.example.org", B);
    assert_eq!(fs::read_to_string(&zone).unwrap(), ZONE, "the file is only read");
}
