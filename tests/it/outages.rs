//! The whole program when the ground gives way: killed at any moment, no room on the disk, no
//! right to write, a clock that was set back, more changes than nsd can take.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use super::support::daemon::{Daemon, address, program, wait_for};
use super::support::nsd::{Nsd, addresses, free_address};

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";

fn zone(serial: u32, records: usize) -> String {
    let head = format!("$TTL 300\n@ SOA ns h {serial} 3600 600 604800 60\n@ NS ns\nns A 192.0.2.53\n");
    let rest: String = (0..records).map(|n| format!("h{n} A 192.0.2.99\n")).collect();
    format!("{head}www A {A} ; Enable failover\nstandby A {B} ; Enable failover\n{rest}")
}

fn config(nsd: &Nsd, origins: &[&str]) -> String {
    let mut text = format!(
        "[nsd]\naddress = \"{}\"\ncontrol-socket = \"{}\"\n[node.a]\nipv4 = \"{A}\"\n[node.b]\nipv4 = \"{B}\"\n\
         [pool.web]\nnodes = [\"a\", \"b\"]\n",
        nsd.address(),
        nsd.folder().join("nsd.sock").display()
    );
    for origin in origins {
        text.push_str(&format!("[zone.\"{origin}\"]\nfile = {:?}\npool = \"web\"\n", nsd.zone_path(origin)));
    }
    text
}

/// What lies in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn is_ready(daemon: &Daemon) {
    wait_for("first decision", || (daemon.status()["ready"] == true).then_some(()));
}

/// SIGKILL at twenty-four moments from before the export to after its end: whatever it was, after
/// the next start nsd serves what was decided, and nothing lies about.
#[test]
fn killed_at_any_moment() {
    let nsd = Nsd::start(&[("foo.zone", zone(1_000, 500).as_bytes())]);
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path(), &config(&nsd, &["foo.zone"]));
    is_ready(&daemon);
    let mut serial = 1_000;
    for round in 0..24_u64 {
        let node = if round % 2 == 0 { "b" } else { "a" };
        let _reply = daemon.order(node);
        thread::sleep(Duration::from_millis(round * 5));
        daemon.kill();
        // nsd serves a complete zone in between, too.
        assert!(address(nsd.address(), "www.foo.zone", "A").is_some(), "round {round}");
        assert_eq!(address(nsd.address(), "h499.foo.zone", "A").as_deref(), Some("192.0.2.99"), "round {round}");
        daemon.start_again();
        is_ready(&daemon);
        let primary = daemon.status()["pools"][0]["families"][0]["primary"].as_str().unwrap().to_owned();
        let wanted = if primary == "a" { A } else { B };
        wait_for("the decision at nsd", || {
            (address(nsd.address(), "www.foo.zone", "A").as_deref() == Some(wanted)).then_some(())
        });
        let tidy = || (names(&nsd.folder().join("zones")) == ["foo.zone.zone"]).then_some(());
        wait_for("a tidy folder", tidy);
        let journals = || names(&folder.path().join("state/journal")).is_empty().then_some(());
        wait_for("an empty journal", journals);
        let now = nsd.serial("foo.zone").unwrap();
        assert!(now >= serial, "round {round}: serial {now} after {serial}");
        serial = now;
        // Nobody can say when the kill came: the order may have been lost, and is given again.
        let again = daemon.verb(&["switch", "web", node]);
        assert!(again.status.success(), "round {round}: {}", String::from_utf8_lossy(&again.stderr));
        assert!(nsd.serial("foo.zone").unwrap() >= serial, "round {round}");
    }
    let text = fs::read_to_string(nsd.zone_path("foo.zone")).unwrap();
    assert_eq!(text.lines().count(), zone(1, 500).lines().count());
}

/// A daemon of another user or under a limit; ended when it is dropped.
struct Limited {
    child: Child,
    config: PathBuf,
}

impl Limited {
    /// `wrapper` runs what comes behind it, as `setpriv ... --` does.
    fn start(folder: &Path, config: &str, wrapper: &[&str]) -> Limited {
        let file = folder.join("nsd-failover.toml");
        fs::write(&file, format!("control = \"control.sock\"\nstate-dir = \"state\"\n{config}")).unwrap();
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(env!("CARGO_BIN_EXE_nsd-failover")).arg("--config").arg(&file).arg("run");
        let log = fs::File::create(folder.join("daemon.log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let limited = Limited { child, config: file };
        wait_for("the control socket", || limited.verb(&["status"]).0.then_some(()));
        limited
    }

    /// Whether it went well, and all that it said.
    fn verb(&self, arguments: &[&str]) -> (bool, String) {
        let output = program(&self.config).args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.config.with_file_name("daemon.log");
            eprintln!("{}", fs::read_to_string(log).unwrap_or_default());
        }
    }
}

/// The system takes no more octets for the new file: the limit of a process's file size has the
/// same way through the program as a full disk, and needs no disk.
#[test]
fn no_room_for_the_new_file() {
    let nsd = Nsd::start(&[("foo.zone", zone(1_000, 20_000).as_bytes())]);
    let before = fs::read(nsd.zone_path("foo.zone")).unwrap();
    assert!(before.len() > 256 * 1024);
    let folder = tempfile::tempdir().unwrap();
    let limit = "trap '' XFSZ; ulimit -f 128; exec \"$@\"";
    let daemon = Limited::start(folder.path(), &config(&nsd, &["foo.zone"]), &["bash", "-c", limit, "bash"]);
    let (good, said) = daemon.verb(&["switch", "web", "b"]);
    assert!(
        !good && said.contains("foo.zone. export refused: cannot write ") && said.contains("File too large"),
        "{said}"
    );
    assert_eq!(fs::read(nsd.zone_path("foo.zone")).unwrap(), before);
    assert_eq!(names(&nsd.folder().join("zones")), ["foo.zone.zone"]);
    assert_eq!(names(&folder.path().join("state/journal")), Vec::<String>::new());
    assert_eq!(address(nsd.address(), "www.foo.zone", "A").as_deref(), Some(A));
}

/// How to run something as a user who owns nothing: root becomes nobody, everybody else stays.
fn unprivileged() -> &'static [&'static str] {
    match rustix::process::geteuid().is_root() {
        true => &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"],
        false => &["env"],
    }
}

/// A folder for the daemon of [`unprivileged`].
fn folder_for_all() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

#[test]
fn a_folder_that_is_read_only_and_a_file_of_somebody_else() {
    let nsd = Nsd::start(&[("foo.zone", zone(1_000, 3).as_bytes())]);
    let zones = nsd.folder().join("zones");
    fs::set_permissions(nsd.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&zones, fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(nsd.folder().join("nsd.sock"), fs::Permissions::from_mode(0o777)).unwrap();
    let folder = folder_for_all();
    let daemon = Limited::start(folder.path(), &config(&nsd, &["foo.zone"]), unprivileged());
    let refused = |why: &str| {
        let (good, said) = daemon.verb(&["export", "--all"]);
        assert!(!good && said.contains("foo.zone. export refused: ") && said.contains(why), "{said}");
        assert_eq!(fs::read_to_string(nsd.zone_path("foo.zone")).unwrap(), zone(1_000, 3));
        assert_eq!(address(nsd.address(), "www.foo.zone", "A").as_deref(), Some(A));
    };
    let (good, said) = daemon.verb(&["switch", "web", "b"]);
    assert!(!good && said.contains("Permission denied"), "{said}");
    refused("Permission denied");
    // In a folder that it may write to, root's file is not made its own behind root's back.
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(&zones, fs::Permissions::from_mode(0o777)).unwrap();
        refused("to owner 0:0 of the zone file");
        assert_eq!(names(&zones), ["foo.zone.zone"]);
        std::os::unix::fs::chown(nsd.zone_path("foo.zone"), Some(65534), Some(65534)).unwrap();
    }
    fs::set_permissions(&zones, fs::Permissions::from_mode(0o777)).unwrap();
    let (good, said) = daemon.verb(&["export", "--all"]);
    assert!(good, "{said}");
    assert_eq!(address(nsd.address(), "www.foo.zone", "A").as_deref(), Some(B));
}

/// Everything was written by a clock that was a year ahead: serials and times of files are in the
/// future, and go on from there.
#[test]
fn a_clock_set_back_a_year() {
    let year = Duration::from_secs(365 * 86_400);
    let ahead = SystemTime::now() + year;
    let serial = u32::try_from(ahead.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let nsd = Nsd::start(&[("foo.zone", zone(serial, 3).as_bytes())]);
    let age = |path: PathBuf| fs::File::options().append(true).open(path).unwrap().set_modified(ahead).unwrap();
    age(nsd.zone_path("foo.zone"));
    nsd.control(&["reload", "foo.zone"]);
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path(), &config(&nsd, &["foo.zone"]));
    is_ready(&daemon);
    for (round, (node, wanted)) in (1..).zip([("b", B), ("a", A)]) {
        assert!(daemon.verb(&["switch", "web", node]).status.success(), "{}", daemon.log());
        assert_eq!(address(nsd.address(), "www.foo.zone", "A").as_deref(), Some(wanted));
        assert_eq!(nsd.serial("foo.zone"), Some(serial + round));
    }
    // The state is from the future, too; and it is lost together with the file: nsd still knows.
    daemon.kill();
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    fs::write(nsd.zone_path("foo.zone"), zone(7, 3)).unwrap();
    age(nsd.zone_path("foo.zone"));
    daemon.start_again();
    is_ready(&daemon);
    assert!(daemon.verb(&["switch", "web", "b"]).status.success(), "{}", daemon.log());
    assert_eq!(address(nsd.address(), "www.foo.zone", "A").as_deref(), Some(B));
    let now = nsd.serial("foo.zone").unwrap();
    assert!(now > serial + 2, "{now} is not newer than {}", serial + 2);
}

/// A file that is edited by hand while nobody looks, with a serial of its own, and a zone that is
/// broken by hand beside it: the edit goes along, the broken one is told, the others are served.
#[test]
fn edits_by_hand_go_along_and_a_broken_zone_stops_no_other() {
    let origins: Vec<String> = (0..5).map(|n| format!("z{n}.zone")).collect();
    let text = zone(1_000, 3);
    let zones: Vec<(&str, &[u8])> = origins.iter().map(|origin| (origin.as_str(), text.as_bytes())).collect();
    let nsd = Nsd::start(&zones);
    let folder = tempfile::tempdir().unwrap();
    let named: Vec<&str> = origins.iter().map(String::as_str).collect();
    let daemon = Daemon::start(folder.path(), &config(&nsd, &named));
    is_ready(&daemon);
    // Newer than any clock of today; and so high that by RFC 1982 it is lower than what nsd has.
    let edited = zone(2_100_000_000, 3) + "new A 192.0.2.7\n";
    fs::write(nsd.zone_path("z3.zone"), zone(3_000_000_000, 3)).unwrap();
    fs::write(nsd.zone_path("z1.zone"), edited).unwrap();
    fs::write(nsd.zone_path("z2.zone"), text.clone() + "bad A 1.2.3\n").unwrap();
    let moved = daemon.verb(&["switch", "web", "b"]);
    assert_eq!(moved.status.code(), Some(1));
    let said = String::from_utf8_lossy(&moved.stderr).into_owned();
    assert!(said.contains("1 of 5 exports failed") && said.contains("z2.zone.zone:10:7: error: "), "{said}");
    for origin in ["z0.zone", "z1.zone", "z3.zone", "z4.zone"] {
        assert_eq!(address(nsd.address(), &format!("www.{origin}"), "A").as_deref(), Some(B), "{origin}");
    }
    assert_eq!(nsd.serial("z1.zone"), Some(2_100_000_001));
    assert_eq!(nsd.serial("z3.zone"), Some(1_001));
    assert_eq!(address(nsd.address(), "new.z1.zone", "A").as_deref(), Some("192.0.2.7"));
    assert_eq!(address(nsd.address(), "www.z2.zone", "A").as_deref(), Some(A), "nsd keeps what it had");
    assert!(fs::read_to_string(nsd.zone_path("z2.zone")).unwrap().ends_with("bad A 1.2.3\n"), "the edit is kept");
}

/// One decision, a thousand zones: memory answers at once; all of them are at nsd when the verb
/// returns, none is forgotten, and never are more under way than the limit says.
#[test]
fn a_thousand_zones_move_in_one_decision() {
    let origins: Vec<String> = (0..1_000).map(|n| format!("z{n}.zone")).collect();
    let text = zone(1_000, 3);
    let zones: Vec<(&str, &[u8])> = origins.iter().map(|origin| (origin.as_str(), text.as_bytes())).collect();
    let nsd = Nsd::start(&zones);
    let folder = tempfile::tempdir().unwrap();
    let named: Vec<&str> = origins.iter().map(String::as_str).collect();
    let front = free_address();
    let daemon = Daemon::start(folder.path(), &format!("listen = [\"{front}\"]\n{}", config(&nsd, &named)));
    is_ready(&daemon);
    let moved: [std::net::Ipv4Addr; 1] = [B.parse().unwrap()];
    let answers =
        |server, origin: &str| addresses(server, &format!("www.{origin}")).is_some_and(|found| found == moved);
    let zone_folder = nsd.folder().join("zones");
    let said = thread::scope(|scope| {
        let verb = scope.spawn(|| daemon.verb(&["switch", "web", "b"]));
        wait_for("the answer from memory", || answers(front, "z999.zone").then_some(()));
        assert!(origins.iter().all(|origin| answers(front, origin)), "all of them in one swap");
        assert!(!verb.is_finished(), "memory does not wait for nsd");
        while !verb.is_finished() {
            let temps = names(&zone_folder).iter().filter(|name| name.starts_with('.')).count();
            assert!(temps <= 64, "{temps} exports at a time");
        }
        let moved = verb.join().unwrap();
        assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
        String::from_utf8_lossy(&moved.stdout).into_owned()
    });
    assert_eq!(said.lines().filter(|line| line.contains(" export served: ")).count(), 1_000, "{said}");
    assert!(origins.iter().all(|origin| answers(nsd.address(), origin)));
    assert_eq!(names(&zone_folder).len(), 1_000);
    assert_eq!(names(&folder.path().join("state/journal")), Vec::<String>::new());
}

/// There and back again while an export is under way: nothing but the serial is left to be exported,
/// and that is, so that who compares serials finds the same everywhere. Left alone from then on.
#[test]
fn moves_that_cancel_each_other_leave_no_serial_behind() {
    let nsd = Nsd::start(&[("foo.zone", zone(1_000, 3).as_bytes())]);
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &config(&nsd, &["foo.zone"]));
    is_ready(&daemon);
    let orders: Vec<_> = ["b", "a", "b"].map(|node| daemon.order(node)).into();
    assert!(daemon.verb(&["switch", "web", "b"]).status.success(), "{}", daemon.log());
    drop(orders);
    let served = nsd.serial("foo.zone").unwrap();
    assert_eq!(daemon.status()["zones"][0]["serial"], served, "{}", daemon.log());
    let written = || fs::metadata(nsd.zone_path("foo.zone")).unwrap().modified().unwrap();
    let before = written();
    assert!(daemon.verb(&["export", "foo.zone"]).status.success(), "{}", daemon.log());
    assert_eq!((nsd.serial("foo.zone"), written()), (Some(served), before));
}

/// Ten thousand moves, as fast as they can be ordered: what comes while an export runs goes with
/// the next one, all agree in the end, and nothing has grown.
#[test]
fn ten_thousand_moves_in_a_row() {
    let nsd = Nsd::start(&[("foo.zone", zone(1_000, 3).as_bytes())]);
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &config(&nsd, &["foo.zone"]));
    is_ready(&daemon);
    daemon.swap_often(["a", "b"], 1_000);
    let before_kib = daemon.resident_kib();
    daemon.swap_often(["a", "b"], 9_000);
    let grown_kib = daemon.resident_kib().saturating_sub(before_kib);
    assert!(grown_kib < 24 * 1024, "{grown_kib} KiB more after 9,000 swaps");
    assert!(daemon.verb(&["switch", "web", "b"]).status.success());
    let status = daemon.status();
    assert_eq!(address(nsd.address(), "www.foo.zone", "A").as_deref(), Some(B));
    assert_eq!(status["pools"][0]["families"][0]["primary"], "b");
    let serial = nsd.serial("foo.zone").unwrap();
    assert!(fs::read_to_string(nsd.zone_path("foo.zone")).unwrap().contains(&format!("SOA ns h {serial} ")));
    assert_eq!(status["zones"][0]["serial"], serial);
    assert_eq!(names(&nsd.folder().join("zones")), ["foo.zone.zone"]);
    let state = folder.path().join("state");
    assert_eq!(names(&state.join("journal")), Vec::<String>::new());
    assert!(names(&state.join("generations/foo.zone")).len() <= 9, "eight generations and their index");
    let octets: u64 = names(&state).iter().map(|name| fs::metadata(state.join(name)).unwrap().len()).sum();
    assert!(octets < 16 << 20, "{octets} octets");
}
