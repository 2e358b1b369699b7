//! Each way of living beside nsd, as docs/placements.md describes it, with a real nsd and dig (and
//! unbound) as the witness: what is served, and what is still served when either side dies.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::support::daemon::{Daemon, address, program, wait_for};
use super::support::host::Host;
use super::support::nsd::{Nsd, dig, free_address, free_ipv6_address};

const A: &str = "127.0.0.11";
const B: &str = "127.0.0.12";
const ZONE: &str = "\
$TTL 300
@        IN SOA ns hostmaster (
             1000       ; serial
             3600 600 604800 60 )
         IN NS  ns
ns       IN A   127.0.0.1
@        IN A   127.0.0.11 ; Enable failover
www    5 IN A   127.0.0.11 ; Enable failover
standby  IN A   127.0.0.12 ; Enable failover
plain    IN TXT \"from nsd\"
";
const NODES: &str = "
[node.a]
ipv4 = \"127.0.0.11\"
[node.b]
ipv4 = \"127.0.0.12\"
";
/// Moved by orders only.
const POOL: &str = "
[pool.web]
nodes = [\"a\", \"b\"]
";

/// nsd with the zone example.org, and what an `[nsd]` table says of it.
fn nsd() -> (Nsd, String) {
    let nsd = Nsd::start(&[("example.org", ZONE.as_bytes())]);
    let socket = nsd.folder().join("nsd.sock");
    let table = format!("[nsd]\naddress = \"{}\"\ncontrol-socket = \"{}\"\n", nsd.address(), socket.display());
    (nsd, table)
}

fn zone_table(nsd: &Nsd) -> String {
    format!("[zone.\"example.org\"]\nfile = {:?}\npool = \"web\"\n", nsd.zone_path("example.org"))
}

fn done(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.verb(arguments);
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {words}{}", String::from_utf8_lossy(&output.stderr));
    words
}

fn is_ready(daemon: &Daemon) {
    wait_for("first round of probes", || (daemon.status()["ready"] == true).then_some(()));
}

fn waits_for(server: SocketAddr, name: &str, wanted: &str) {
    wait_for(wanted, || (address(server, name, "A").as_deref() == Some(wanted)).then_some(()));
}

/// The status word of an answer.
fn rcode(server: SocketAddr, name: &str) -> String {
    let at = format!("@{}", server.ip());
    let port = server.port().to_string();
    let output = Command::new("dig").args([&at, "-p", &port, name, "A", "+time=3", "+tries=1"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or("nothing").to_owned()
}

#[test]
fn file_nsd_answers_and_hears_of_every_move() {
    let (mut nsd, table) = nsd();
    let mut first = Host::http(&format!("{A}:0"), "a");
    let _second = Host::http(&format!("{B}:{}", first.port()), "b");
    let check = format!(
        "[check.web]\nhttp = \"http://{{node}}/index.txt\"\nport = {}\ninterval = \"300ms\"\nfast-interval = \"100ms\"\n",
        first.port()
    );
    let pool = format!("{POOL}checks = [\"web\"]\n");
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{table}{NODES}{check}{pool}{}", zone_table(&nsd));
    let mut daemon = Daemon::start(folder.path(), &config);
    is_ready(&daemon);
    assert_eq!(nsd.serial("example.org"), Some(1000), "nothing has changed, so nothing was written");

    first.stop();
    waits_for(nsd.address(), "www.example.org", B);
    assert_eq!(address(nsd.address(), "standby.example.org", "A").as_deref(), Some(A));
    // The sidecar dies: nsd answers on. nsd dies as well: it starts with what was exported.
    daemon.kill();
    assert_eq!(address(nsd.address(), "example.org", "A").as_deref(), Some(B));
    nsd.stop();
    nsd.start_again();
    assert_eq!(address(nsd.address(), "example.org", "A").as_deref(), Some(B));
    // nsd is away while the pool moves: the export is made up for.
    nsd.stop();
    first.start();
    daemon.start_again();
    is_ready(&daemon);
    let moved = daemon.verb(&["switch", "web", "a"]);
    assert_eq!(moved.status.code(), Some(1), "it is not served by nsd, and says so");
    let words = String::from_utf8_lossy(&moved.stderr).into_owned();
    assert!(words.contains("example.org. export refused: ") && words.contains("no connection"), "{words}");
    nsd.start_again();
    done(&daemon, &["export", "--all"]);
    assert_eq!(address(nsd.address(), "www.example.org", "A").as_deref(), Some(A));
}

#[test]
fn front_lives_without_nsd() {
    let (mut nsd, table) = nsd();
    let front = free_address();
    let folder = tempfile::tempdir().unwrap();
    let config = format!("listen = [\"{front}\"]\n{table}relay = true\n{NODES}{POOL}{}", zone_table(&nsd));
    let mut daemon = Daemon::start(folder.path(), &config);
    is_ready(&daemon);
    assert_eq!(dig(front, &["plain.example.org", "TXT"]), ["\"from nsd\""]);
    done(&daemon, &["switch", "web", "b"]);
    for server in [front, nsd.address()] {
        assert_eq!(address(server, "www.example.org", "A").as_deref(), Some(B));
        assert_eq!(address(server, "standby.example.org", "A").as_deref(), Some(A));
    }
    // The two do not differ in what they say of the zone.
    assert_eq!(dig(front, &["example.org", "SOA"]), dig(nsd.address(), &["example.org", "SOA"]));

    nsd.stop();
    assert_eq!(address(front, "www.example.org", "A").as_deref(), Some(B));
    assert_eq!(dig(front, &["plain.example.org", "TXT"]), ["\"from nsd\""], "from our own copy");
    assert_eq!(rcode(front, "www.elsewhere.test"), "SERVFAIL");
    nsd.start_again();
    assert_eq!(dig(front, &["plain.example.org", "TXT"]), ["\"from nsd\""]);

    // The sidecar is gone: nsd on port 53 would say the same. The way back says how.
    daemon.kill();
    assert_eq!(address(nsd.address(), "www.example.org", "A").as_deref(), Some(B));
    let words = done(&daemon, &["eject"]);
    let port = front.port();
    let behind = nsd.address().port();
    for expected in [
        "its saved state tells the roles",
        &format!("in place of `ip-address: 127.0.0.1@{behind}`:\n       ip-address: 127.0.0.1@{port}\n"),
        "stop nsd-failover and restart nsd, in one go",
    ] {
        assert!(words.contains(expected), "{expected} is missing in:\n{words}");
    }
}

/// nsd is asked, and told, over IPv6.
#[test]
fn nsd_may_be_looked_at_over_ipv6() {
    let at = free_ipv6_address();
    let nsd = Nsd::start_with(&[("example.org", ZONE.as_bytes())], &format!("  ip-address: ::1@{}\n", at.port()));
    let socket = nsd.folder().join("nsd.sock");
    let table = format!("[nsd]\naddress = \"{at}\"\ncontrol-socket = \"{}\"\n", socket.display());
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &format!("{table}{NODES}{POOL}{}", zone_table(&nsd)));
    is_ready(&daemon);
    done(&daemon, &["switch", "web", "b"]);
    assert_eq!(address(at, "www.example.org", "A").as_deref(), Some(B));
    let serial = daemon.status()["zones"][0]["serial_at_nsd"].as_u64();
    assert_eq!(serial, nsd.serial("example.org").map(u64::from));
}

/// One move is one reload, whatever happens beside it: nsd reads a large zone for seconds.
#[test]
fn a_move_is_one_reload() {
    let nsd = Nsd::start_with(&[("example.org", ZONE.as_bytes())], "  verbosity: 3\n");
    let socket = nsd.folder().join("nsd.sock");
    let table = format!("[nsd]\naddress = \"{}\"\ncontrol-socket = \"{}\"\n", nsd.address(), socket.display());
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &format!("{table}{NODES}{POOL}{}", zone_table(&nsd)));
    is_ready(&daemon);
    let reloads = || nsd.log().matches("control cmd: reload example.org").count();
    assert_eq!(reloads(), 0, "nothing has moved");
    for (moves, node) in (1..).zip(["b", "a", "b"]) {
        done(&daemon, &["switch", "web", node]);
        assert_eq!(reloads(), moves, "{}", nsd.log());
    }
    // Nothing to say: nothing to load.
    done(&daemon, &["export", "--all"]);
    assert_eq!(daemon.verb(&["reload"]).status.code(), Some(0));
    assert_eq!(reloads(), 3);
}

/// An unbound that knows one stub zone. Killed when it is dropped.
struct Unbound {
    child: Child,
    address: SocketAddr,
}

impl Unbound {
    /// `stubs` are zones and where they are asked for, as `ADDRESS@PORT`.
    fn start(folder: &Path, stubs: &[(&str, String)]) -> Unbound {
        let address = free_address();
        let (ip, port, at) = (address.ip(), address.port(), folder.display());
        let mut text = format!(
            "server:\n  interface: {ip}@{port}\n  port: {port}\n  chroot: \"\"\n  username: \"\"\n  directory: \"{at}\"\n  \
             pidfile: \"{at}/unbound.pid\"\n  use-syslog: no\n  logfile: \"{at}/unbound.log\"\n  num-threads: 1\n  \
             module-config: \"iterator\"\n  do-not-query-localhost: no\n  do-ip6: no\n  use-caps-for-id: yes\n  \
             cache-max-ttl: 1\n  cache-min-ttl: 0\n  infra-cache-min-rtt: 50\n  infra-host-ttl: 1\nremote-control:\n  control-enable: no\n"
        );
        for (zone, server) in stubs {
            text.push_str(&format!("stub-zone:\n  name: \"{zone}\"\n  stub-addr: {server}\n"));
        }
        fs::write(folder.join("unbound.conf"), text).unwrap();
        let mut command = Command::new("unbound");
        command.args(["-d", "-c"]).arg(folder.join("unbound.conf")).process_group(0);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let unbound = Unbound { child, address };
        wait_for("unbound", || (rcode(address, "version.bind") != "nothing").then_some(()));
        unbound
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the subzone's server can be found by its glue, which has no port: port 53 of an address of
/// this test's own. Without the right to bind that, some other port.
fn subzone_address() -> SocketAddr {
    let id = std::process::id();
    let wanted = SocketAddr::from(([127, 53, (id >> 8 & 0xff) as u8, (id & 0xff).clamp(1, 254) as u8], 53));
    match UdpSocket::bind(wanted) {
        Ok(_) => wanted,
        Err(_) => free_address(),
    }
}

#[test]
fn delegated_a_resolver_follows_nsd_to_the_subzone() {
    let sidecar = subzone_address();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "listen = [\"{sidecar}\"]\n{NODES}{POOL}[zone.\"fo.example.org\"]\npool = \"web\"\nnames = [\"www\", \"@\", \"standby\"]\nttl = \"1s\"\n"
    );
    // `check` says what the parent must hold; that is what it gets.
    fs::write(folder.path().join("check.toml"), &config).unwrap();
    let checked = program(&folder.path().join("check.toml")).arg("check").output().unwrap();
    let checked = String::from_utf8(checked.stdout).unwrap();
    let delegation = checked.split("the parent of fo.example.org. must hold:\n").nth(1).expect(&checked);
    let ip: IpAddr = sidecar.ip();
    assert_eq!(
        delegation,
        format!("  fo.example.org. 3600 IN NS ns.fo.example.org.\n  ns.fo.example.org. 3600 IN A {ip}\n")
    );
    let records: String = delegation.lines().map(|line| line.trim_start().to_owned() + "\n").collect();
    let nsd = Nsd::start(&[("example.org", format!("{ZONE}{records}").as_bytes())]);

    let mut daemon = Daemon::start(folder.path(), &config);
    is_ready(&daemon);
    let soa = dig(sidecar, &["fo.example.org", "SOA"]);
    assert!(soa[0].starts_with("ns.fo.example.org. hostmaster.fo.example.org. "), "{soa:?}");
    assert_eq!(address(sidecar, "fo.example.org", "A").as_deref(), Some(A));
    assert_eq!(rcode(sidecar, "nothing.fo.example.org"), "NXDOMAIN");
    assert_eq!(rcode(sidecar, "example.org"), "REFUSED", "the parent is not ours");

    let mut stubs = vec![("example.org", format!("{}@{}", nsd.address().ip(), nsd.address().port()))];
    if sidecar.port() != 53 {
        stubs.push(("fo.example.org", format!("{ip}@{}", sidecar.port())));
    }
    let unbound = Unbound::start(folder.path(), &stubs);
    assert_eq!(address(unbound.address, "www.fo.example.org", "A").as_deref(), Some(A));
    assert_eq!(dig(unbound.address, &["plain.example.org", "TXT"]), ["\"from nsd\""]);
    done(&daemon, &["switch", "web", "b"]);
    assert_eq!(address(sidecar, "www.fo.example.org", "A").as_deref(), Some(B));
    waits_for(unbound.address, "www.fo.example.org", B);

    // The sidecar dies: the subzone is gone, its parent is not. It comes back with what was decided.
    daemon.kill();
    let is_gone = |word: String| matches!(word.as_str(), "SERVFAIL" | "nothing");
    wait_for("end of the subzone", || is_gone(rcode(unbound.address, "www.fo.example.org")).then_some(()));
    assert_eq!(dig(unbound.address, &["plain.example.org", "TXT"]), ["\"from nsd\""]);
    daemon.start_again();
    is_ready(&daemon);
    waits_for(unbound.address, "www.fo.example.org", B);

    // The way back: nsd takes the subzone over, as a zone of its own.
    let words = done(&daemon, &["eject", "--to", folder.path().to_str().unwrap()]);
    let file = folder.path().join("fo.example.org.zone");
    let stanza =
        format!("name: \"fo.example.org\"\n       zonefile: \"{}\"", fs::canonicalize(&file).unwrap().display());
    assert!(words.contains(&stanza), "{words}");
    let again = Nsd::start(&[("fo.example.org", &fs::read(&file).unwrap())]);
    assert_eq!(address(again.address(), "www.fo.example.org", "A").as_deref(), Some(B));
    let twice = daemon.verb(&["eject", "--to", folder.path().to_str().unwrap()]);
    assert_eq!(twice.status.code(), Some(1), "nobody's file is overwritten");
}

/// The examples are what the documentation shows: nsd understands its side of them.
#[test]
fn nsd_understands_its_side_of_the_examples() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut seen = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".conf") {
            let output = Command::new("nsd-checkconf").arg(&path).output().unwrap();
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            seen.push(name);
        }
    }
    seen.sort();
    for placement in ["nsd-delegated.conf", "nsd-file.conf", "nsd-front.conf"] {
        assert!(seen.iter().any(|name| name == placement), "{placement} is missing in {seen:?}");
    }
}

/// Put back, and left alone until somebody says so; over a restart, too.
#[test]
fn a_rollback_holds_the_exports_until_the_next_export() {
    let (nsd, table) = nsd();
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{table}{NODES}{POOL}{}", zone_table(&nsd));
    let mut daemon = Daemon::start(folder.path(), &config);
    is_ready(&daemon);
    done(&daemon, &["switch", "web", "b"]);
    let serial = nsd.serial("example.org").unwrap();
    let words = done(&daemon, &["rollback", "example.org"]);
    assert!(words.contains("back to the generation with serial 1000"), "{words}");
    assert!(words.starts_with("rolled back; nsd hears of no decision until `export example.org.`\n"), "{words}");
    assert_eq!(address(nsd.address(), "www.example.org", "A").as_deref(), Some(A));
    let rolled = nsd.serial("example.org").unwrap();
    assert!(rolled > serial, "a serial never goes back: {rolled} after {serial}");

    // nsd says A, the decision B: a certificate client must not believe either.
    let asked = daemon.verb(&["is-primary", "b", "www.example.org"]);
    let said = String::from_utf8(asked.stderr).unwrap();
    assert!(asked.status.code() == Some(3) && said.contains("nsd does not have the decision: held since"), "{said}");

    // A move of the pool does not wait for nsd, and does not reach it.
    done(&daemon, &["switch", "web", "a"]);
    done(&daemon, &["switch", "web", "b"]);
    assert!(daemon.log().contains("nsd does not hear of this: held since a rollback"), "{}", daemon.log());
    let status = String::from_utf8(daemon.verb(&["status"]).stdout).unwrap();
    assert!(status.contains("held since a rollback, `export example.org.` ends that"), "{status}");
    wait_for("the state on disk", || {
        let state = fs::read(folder.path().join("state/state.json")).ok()?;
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        (state["orders"]["holds"]["web"]["primary"]["ipv4"] == "b").then_some(())
    });
    daemon.kill();
    daemon.start_again();
    is_ready(&daemon);
    assert_eq!(daemon.status()["zones"][0]["export_held"], true);
    assert_eq!(nsd.serial("example.org"), Some(rolled), "nothing was written meanwhile");

    done(&daemon, &["export", "example.org"]);
    assert_eq!(address(nsd.address(), "www.example.org", "A").as_deref(), Some(B));
    assert_eq!(daemon.status()["zones"][0]["export_held"], false);
    // Any kept generation can be gone back to, by its serial.
    let kept = done(&daemon, &["generations", "example.org"]);
    assert!(kept.contains("serial 1000  ") && kept.contains("found in the file"), "{kept}");
    assert!(kept.contains(&format!("serial {rolled}")), "{kept}");
    let words = done(&daemon, &["rollback", "example.org", "--to", "1000"]);
    assert!(words.contains("back to the generation with serial 1000"), "{words}");
    let unknown = daemon.verb(&["rollback", "example.org", "--to", "7"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no generation of example.org. with serial 7 is kept"));
}

/// Ordered in the midst of exports: the one under way ends, those that would follow wait, so that what
/// is put back stays.
#[test]
fn a_rollback_is_not_overwritten_by_what_came_before_it() {
    let (nsd, table) = nsd();
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &format!("{table}{NODES}{POOL}{}", zone_table(&nsd)));
    is_ready(&daemon);
    nsd.pause();
    let mut orders = Vec::new();
    for node in ["b", "a", "b"] {
        orders.push(daemon.order(node));
        let obeyed = || daemon.status()["pools"][0]["families"][0]["primary"] == node;
        wait_for("the order", || obeyed().then_some(()));
    }
    let words = std::thread::scope(|scope| {
        let verb = scope.spawn(|| done(&daemon, &["rollback", "example.org"]));
        wait_for("the hold", || (daemon.status()["zones"][0]["export_held"] == true).then_some(()));
        nsd.resume();
        verb.join().unwrap()
    });
    drop(orders);
    assert!(words.contains("back to the generation with serial 1000"), "{words}");
    let rolled = nsd.serial("example.org").unwrap();
    // It ends when all that was under way has ended.
    done(&daemon, &["reload"]);
    done(&daemon, &["switch", "web", "b"]);
    assert_eq!(address(nsd.address(), "www.example.org", "A").as_deref(), Some(A), "{}", daemon.log());
    assert_eq!(nsd.serial("example.org"), Some(rolled), "{}", daemon.log());
    assert_eq!(daemon.status()["zones"][0]["export_held"], true);

    // One that cannot be done holds nothing.
    done(&daemon, &["export", "example.org"]);
    let mistyped = daemon.verb(&["rollback", "example.org", "--to", "7"]);
    let said = String::from_utf8(mistyped.stderr).unwrap();
    assert!(mistyped.status.code() == Some(1) && said.starts_with("not rolled back: 1 of 1 export failed\n"), "{said}");
    assert_eq!(daemon.status()["zones"][0]["export_held"], false);
    // Nor is it an alarm: nsd has what it had.
    assert_eq!(daemon.status()["zones"][0]["last_export"]["result"], "served");
}

/// The daemon is stopped before the rollback's turn has come: nothing was put back, and nothing is held.
#[test]
fn a_rollback_that_still_waits_at_the_end_holds_nothing() {
    let (nsd, table) = nsd();
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path(), &format!("{table}{NODES}{POOL}{}", zone_table(&nsd)));
    is_ready(&daemon);
    nsd.pause();
    let order = daemon.order("b");
    wait_for("the order", || (daemon.status()["pools"][0]["families"][0]["primary"] == "b").then_some(()));
    let log = folder.path().join("daemon.log");
    std::thread::scope(|scope| {
        let rollback = scope.spawn(|| daemon.verb(&["rollback", "example.org"]));
        wait_for("the hold", || (daemon.status()["zones"][0]["export_held"] == true).then_some(()));
        // From then on nobody starts it when the export ends.
        daemon.terminate();
        wait_for("the end", || fs::read_to_string(&log).unwrap().contains("stopping").then_some(()));
        nsd.resume();
        assert_ne!(rollback.join().unwrap().status.code(), Some(0));
    });
    drop(order);
    daemon.stop();
    daemon.start_again();
    is_ready(&daemon);
    assert_eq!(daemon.status()["zones"][0]["export_held"], false);
    // What the stop has cut off is put right first.
    waits_for(nsd.address(), "www.example.org", B);
}

/// What nsd-checkzone will not take is told on the day, before anything has to move, wherever people
/// look; and no longer when it is mended.
#[test]
fn a_failover_that_would_be_refused_is_an_alarm() {
    let (nsd, table) = nsd();
    let folder = tempfile::tempdir().unwrap();
    let mended = folder.path().join("mended");
    let script = format!("test -e {} || {{ echo not tonight; exit 1; }}", mended.display());
    let config = format!("{table}checkzone = [\"sh\", \"-c\", \"{script}\"]\n{NODES}{POOL}{}", zone_table(&nsd));
    let daemon = Daemon::start(folder.path(), &config);
    let reason = || daemon.status()["zones"][0]["next_refused"].as_str().map(str::to_owned);
    assert_eq!(wait_for("the alarm", reason), "sh: exit status: 1: not tonight");
    let told = "the next failover would be refused: sh: exit status: 1: not tonight";
    assert!(daemon.log().contains(&format!("example.org.: {told}")), "{}", daemon.log());
    let status = String::from_utf8(daemon.verb(&["status"]).stdout).unwrap();
    assert!(status.lines().any(|line| line.starts_with('!') && line.ends_with(told)), "{status}");
    let nagios = daemon.verb(&["status", "--nagios"]);
    let line = String::from_utf8(nagios.stdout).unwrap();
    assert_eq!(nagios.status.code(), Some(2));
    assert!(line.contains("NSD-FAILOVER CRITICAL") && line.contains(told), "{line}");
    let metrics = daemon.metrics();
    assert!(metrics.contains("nsd_failover_alarms{kind=\"next-export\",severity=\"critical\"} 1"), "{metrics}");
    assert_eq!(nsd.serial("example.org"), Some(1000), "nothing was touched");

    fs::write(&mended, "").unwrap();
    assert_eq!(daemon.verb(&["reload"]).status.code(), Some(0));
    wait_for("the end of the alarm", || reason().is_none().then_some(()));
    done(&daemon, &["switch", "web", "b"]);
    assert_eq!(address(nsd.address(), "www.example.org", "A").as_deref(), Some(B));
}

/// With the daemon running, and without: the same file, checked and loaded.
#[test]
fn eject_leaves_nsd_with_the_current_roles() {
    let (nsd, table) = nsd();
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{table}{NODES}{POOL}{}", zone_table(&nsd));
    let mut daemon = Daemon::start(folder.path(), &config);
    is_ready(&daemon);
    done(&daemon, &["switch", "web", "b"]);
    done(&daemon, &["rollback", "example.org"]);
    let words = done(&daemon, &["eject"]);
    assert!(words.contains("1. stop nsd-failover\n"), "{words}");
    assert_eq!(address(nsd.address(), "www.example.org", "A").as_deref(), Some(B), "even where exports were held");

    // nsd-checkzone says no while the daemon runs: nsd falls behind; without the daemon it catches up.
    let before = fs::read_to_string(folder.path().join("nsd-failover.toml")).unwrap();
    daemon.stop();
    fs::write(folder.path().join("nsd-failover.toml"), before.replacen("[nsd]", "[nsd]\ncheckzone = [\"false\"]", 1))
        .unwrap();
    daemon.start_again();
    is_ready(&daemon);
    assert_eq!(daemon.verb(&["switch", "web", "a"]).status.code(), Some(1));
    daemon.kill();
    fs::write(folder.path().join("nsd-failover.toml"), before).unwrap();
    let words = done(&daemon, &["eject"]);
    assert!(words.contains("example.org. export served"), "{words}");
    assert_eq!(address(nsd.address(), "www.example.org", "A").as_deref(), Some(A));
}

/// What docs/placements.md shows of a file in `conf/` stands there, word for word.
#[test]
fn the_documentation_shows_the_examples_as_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/placements.md")).unwrap();
    let mut shown = 0;
    for part in text.split("\n`conf/").skip(1) {
        let name = part.split('`').next().unwrap();
        let block = part.split("```").nth(1).unwrap();
        let block = block.split_once('\n').unwrap().1;
        let file = fs::read_to_string(root.join("conf").join(name)).unwrap();
        assert!(file.contains(block), "conf/{name} does not hold:\n{block}");
        shown += 1;
    }
    assert!(shown >= 6, "two for each placement, and only {shown} were found");
}

/// And what it shows of `check` is what `check` says.
#[test]
fn the_documentation_shows_the_delegation_as_check_prints_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = root.join("conf/delegated.toml");
    let said = String::from_utf8(program(&config).arg("check").output().unwrap().stdout).unwrap();
    let (_, delegation) = said.split_once('\n').unwrap();
    let text = fs::read_to_string(root.join("docs/placements.md")).unwrap();
    assert!(text.contains(&format!("```\n{delegation}```")), "docs/placements.md does not show:\n{delegation}");
    let node = ["render", "--zone", "fo.example.org", "--primary", "blowfish.example.org"];
    let rendered = String::from_utf8(program(&config).args(node).output().unwrap().stdout).unwrap();
    assert!(rendered.contains("www.fo.example.org. 60 IN A 198.51.100.20 ; Enable failover\n"), "{rendered}");
    assert!(rendered.contains("standby.fo.example.org. 60 IN A 192.0.2.10 ; Enable failover\n"), "{rendered}");
}
