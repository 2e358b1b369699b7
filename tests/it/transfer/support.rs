//! A daemon that hands its zones out, and real secondaries that take them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::daemon::{Daemon, wait_for};
use crate::support::nsd::{dig, free_address, wait_until_free};

pub const SECRET: &str = "c2Vuc2VsZXNzIHNlY3JldCBmb3IgdGVzdHMgb25seQ==";
pub const OTHER_SECRET: &str = "YW5vdGhlciBzZWNyZXQgdGhhdCBub2JvZHkga25vd3M=";

/// A small zone: two tagged names, some others.
pub const ZONE: &str = "\
$TTL 300
@ IN SOA ns1 hostmaster 100 3600 2 604800 300
@ IN NS ns1
@ IN NS ns2.example.net.
ns1 IN A 192.0.2.53
www 60 IN A 192.0.2.10 ; Enable failover
www 60 IN A 203.0.113.77
standby IN A 198.51.100.20 ; Enable failover
mail IN MX 10 www
txt IN TXT \"hello\"
a.b.c IN CNAME www
";

/// A running daemon with one zone, `example.org`, whose pool `web` only moves when it is told to.
pub struct Primary {
    pub daemon: Daemon,
    pub address: SocketAddr,
    pub folder: tempfile::TempDir,
}

impl Primary {
    /// `lines` go into the zone's table.
    pub fn start(zone: &str, lines: &str) -> Primary {
        Primary::start_with(zone, lines, "")
    }

    /// `more` goes to the end of the configuration.
    pub fn start_with(zone: &str, lines: &str, more: &str) -> Primary {
        Primary::start_at(free_address(), zone, lines, more)
    }

    pub fn start_at(address: SocketAddr, zone: &str, lines: &str, more: &str) -> Primary {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("example.org.zone"), zone).unwrap();
        let key = folder.path().join("sidecar.key");
        fs::write(&key, SECRET).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let config = format!(
            r#"
            listen = ["{address}"]
            [node.fishfinger]
            ipv4 = "192.0.2.10"
            [node.blowfish]
            ipv4 = "198.51.100.20"
            [pool.web]
            nodes = ["fishfinger", "blowfish"]
            [key.sidecar]
            secret-file = "sidecar.key"
            [zone."example.org"]
            file = "example.org.zone"
            pool = "web"
            serial = "increment"
            {lines}
            {more}
            "#
        );
        let daemon = Daemon::start(folder.path(), &config);
        let primary = Primary { daemon, address, folder };
        wait_for("the zone", || primary.serial());
        primary
    }

    pub fn serial(&self) -> Option<u32> {
        serial(self.address, "example.org")
    }

    pub fn switch(&self, node: &str) {
        let done = self.daemon.verb(&["switch", "web", node]);
        assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// What the status says of a secondary.
    pub fn secondary(&self, server: SocketAddr) -> serde_json::Value {
        let status = self.daemon.status();
        let zone = &status["zones"][0];
        let all = zone["secondaries"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["server"] == server.to_string()).unwrap_or_default()
    }

    pub fn metrics(&self) -> String {
        self.daemon.metrics()
    }
}

/// The serial that a server has.
pub fn serial(server: SocketAddr, origin: &str) -> Option<u32> {
    dig(server, &[origin, "SOA"]).first()?.split(' ').nth(2)?.parse().ok()
}

/// `dig` with these arguments: all of its output.
pub fn dig_all(server: SocketAddr, arguments: &[&str]) -> String {
    let at = format!("@{}", server.ip());
    let port = server.port().to_string();
    let output = Command::new("dig").args([&at, "-p", &port, "+time=5", "+tries=1"]).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The records of a transfer in their order, as `dig` prints them with single blanks; empty: none.
pub fn transfer(server: SocketAddr, arguments: &[&str]) -> Vec<String> {
    let text = dig_all(server, &[&["+noall", "+answer"], arguments].concat());
    let records = text.lines().filter(|line| !line.starts_with(';') && !line.trim().is_empty());
    let records = records.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    records.filter(|line| !line.contains(" ANY TSIG ")).collect()
}

/// The same without order and without the second SOA: the zone as a set.
pub fn zone_at(server: SocketAddr, arguments: &[&str]) -> Vec<String> {
    let mut records = transfer(server, arguments);
    records.sort();
    records.dedup();
    records
}

/// A process group of our own, killed when it is dropped.
pub struct Group {
    command: Command,
    child: Child,
    pub address: SocketAddr,
    pub folder: tempfile::TempDir,
}

impl Group {
    pub fn start(address: SocketAddr, folder: tempfile::TempDir, mut command: Command) -> Group {
        let log = fs::File::create(folder.path().join("stderr")).unwrap();
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().expect("the program is installed");
        Group { command, child, address, folder }
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let _ = self.child.wait();
    }

    /// Starts it again after [`Group::stop`].
    pub fn start_again(&mut self) {
        wait_until_free(self.address);
        self.child = self.command.spawn().expect("the program is installed");
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        // It leads a group of its own, where all its children are.
        let _ = kill_process_group(Pid::from_raw(id).unwrap(), signal);
    }

    pub fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("nsd.log") + &read("stderr")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the secondary's log:\n{}", self.log());
        }
    }
}

/// A program with its configuration.
pub fn command(program: &str, arguments: &[&str], conf: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg(conf);
    command
}

/// nsd as a secondary of `example.org`. `key`: signs, and wants NOTIFY signed.
pub fn nsd(at: SocketAddr, primary: SocketAddr, key: bool) -> Group {
    nsd_with(at, primary, key, "xfrd-reload-timeout: 0")
}

/// The same with another line in the `server:` section.
pub fn nsd_with(at: SocketAddr, primary: SocketAddr, key: bool, line: &str) -> Group {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display();
    let (ip, port, name) = (at.ip(), at.port(), if key { "sidecar" } else { "NOKEY" });
    let text = format!(
        "server:\n ip-address: {ip}@{port}\n server-count: 1\n username: \"\"\n chroot: \"\"\n database: \"\"\n \
         zonesdir: {dir}\n pidfile: {dir}/nsd.pid\n xfrdfile: {dir}/xfrd.state\n zonelistfile: {dir}/zone.list\n \
         xfrdir: {dir}\n rrl-ratelimit: 0\n verbosity: 3\n logfile: {dir}/nsd.log\n {line}\n\
         remote-control:\n control-enable: no\n\
         key:\n name: sidecar\n algorithm: hmac-sha256\n secret: \"{SECRET}\"\n\
         zone:\n name: example.org\n zonefile: {dir}/secondary.zone\n \
         request-xfr: {}@{} {name}\n allow-notify: {ip} {name}\n provide-xfr: {ip} NOKEY\n",
        primary.ip(),
        primary.port(),
    );
    let conf = folder.path().join("nsd.conf");
    fs::write(&conf, text).unwrap();
    Group::start(at, folder, command("nsd", &["-d", "-c"], &conf))
}

/// Knot as a secondary, of `example.org` or of the members of a catalog.
pub fn knot(at: SocketAddr, primary: SocketAddr, key: bool, catalog: bool) -> Group {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display();
    let at_port = |address: SocketAddr| format!("{}@{}", address.ip(), address.port());
    let key_line = if key { "    key: sidecar\n" } else { "" };
    let zones = match catalog {
        false => "  - domain: example.org\n    master: primary\n    acl: notify\n    acl: anybody\n".to_owned(),
        true => "  - domain: catalog.example\n    master: primary\n    acl: notify\n    catalog-role: interpret\n    catalog-template: member\n"
            .to_owned(),
    };
    let text = format!(
        "server:\n    rundir: {dir}\n    listen: {}\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n\
         log:\n  - target: stdout\n    any: debug\n\
         database:\n    storage: {dir}\n\
         key:\n  - id: sidecar\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
         remote:\n  - id: primary\n    address: {}\n{key_line}\
         acl:\n  - id: notify\n    address: 127.0.0.1\n{key_line}    action: notify\n  - id: anybody\n    address: 127.0.0.1\n    action: transfer\n\
         template:\n  - id: member\n    storage: {dir}\n    master: primary\n    acl: [notify, anybody]\n  - id: default\n    storage: {dir}\n\
         zone:\n{}",
        at_port(at),
        at_port(primary),
        zones.replace("    acl: notify\n    acl: anybody\n", "    acl: [notify, anybody]\n"),
    );
    let conf = folder.path().join("knot.conf");
    fs::write(&conf, text).unwrap();
    Group::start(at, folder, command("knotd", &["-c"], &conf))
}
