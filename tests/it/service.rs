//! The process as a service manager sees it: whom it becomes, what it is handed, what it tells, and
//! where its log goes. DNS never waits for any of that.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::support::authority::Authority;
use super::support::daemon::{address, program, wait_for};
use super::support::nsd::free_address;

const ZONE: &str = "$TTL 300\n@ SOA ns h 1000 3600 600 604800 60\n@ NS ns\nns A 192.0.2.53\n\
                    www A 192.0.2.1 ; Enable failover\nstandby A 192.0.2.2 ; Enable failover\n";
/// A user who is on every system and owns nothing.
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder with a configuration and a zone that it serves at `dns`.
struct Site {
    folder: tempfile::TempDir,
    dns: SocketAddr,
}

impl Site {
    /// `more` stands before the first table, `tables` behind the last.
    fn new(dns: SocketAddr, more: &str, tables: &str) -> Site {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("zone"), ZONE).unwrap();
        let text = format!(
            "listen = [\"{dns}\"]\ncontrol = \"run/control.sock\"\nstate-dir = \"state\"\n{more}\n\
             [node.a]\nipv4 = \"192.0.2.1\"\n[node.b]\nipv4 = \"192.0.2.2\"\n[pool.web]\nnodes = [\"a\", \"b\"]\n\
             [zone.\"foo.zone\"]\nfile = \"zone\"\npool = \"web\"\n{tables}"
        );
        fs::write(folder.path().join("c.toml"), text).unwrap();
        Site { folder, dns }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = program(&self.path("c.toml"));
        command.arg("run").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// `run` with its log in a file, until it answers.
    fn start(&self) -> Running {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        self.answers(self.command().stderr(log))
    }

    fn answers(&self, command: &mut Command) -> Running {
        let mut running = Running(Some(command.spawn().unwrap()));
        wait_for("an answer", || {
            let ended = running.0.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "it has ended: {}", self.log());
            (self.address().as_deref() == Some("192.0.2.1")).then_some(())
        });
        running
    }

    fn address(&self) -> Option<String> {
        address(self.dns, "www.foo.zone", "A").filter(|line| !line.starts_with(';'))
    }

    fn verb(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = program(&self.path("c.toml")).args(words).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// `run`, which must end by itself: exit status and what it says.
    fn refused(&self) -> (Option<i32>, String) {
        let output = self.command().stderr(Stdio::piped()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Killed when it is dropped.
struct Running(Option<Child>);

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_child(self.0.as_ref().unwrap())
    }

    fn stop(mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::TERM).unwrap();
        let mut child = self.0.take().unwrap();
        wait_for("its end", || child.try_wait().unwrap())
    }

    /// A line of /proc/PID/status.
    fn status(&self, key: &str) -> String {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Port 53 of an address on loopback that is nobody else's: from the number of this process.
fn port_53(number: u32) -> SocketAddr {
    let id = std::process::id().wrapping_mul(7).wrapping_add(number);
    let [_, a, b, c] = id.to_be_bytes();
    SocketAddr::from(([127, a | 1, b, c.clamp(1, 254)], 53))
}

/// Started by root: the port is bound as root, everything else is done as somebody who owns nothing
/// but what is theirs; killed and started again too.
#[test]
fn root_binds_and_somebody_else_serves() {
    if !is_root() {
        let site = Site::new(free_address(), "user = \"root\"", "");
        let (code, said) = site.refused();
        assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.starts_with("user = \"root\": only root can become somebody else"), "{said}");
        return;
    }
    let site = Site::new(port_53(0), "user = \"nobody\"", "");
    for round in 0..2 {
        let running = site.start();
        assert_eq!(running.status("Uid"), "65534 65534 65534 65534");
        assert_eq!(running.status("Gid"), "65534 65534 65534 65534");
        assert_eq!(running.status("Groups"), "65534", "root's own groups are gone");
        for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(running.status(set), "0000000000000000", "{set}");
        }
        for (name, mode) in [("state", 0o750), ("run", 0o755), ("run/control.sock", 0o660), ("state/lock", 0o640)] {
            let metadata = fs::metadata(site.path(name)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (NOBODY, NOBODY), "{name}");
            assert_eq!(metadata.mode() & 0o777 & !0o022, mode & !0o022, "{name}");
        }
        let (code, said) = site.verb(&["switch", "web", if round == 0 { "a" } else { "b" }]);
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = site.verb(&["reload"]);
        assert_eq!(code, Some(0), "{said}");
        if round == 0 {
            // SIGKILL: the socket stays behind, and belongs to who we will be.
            drop(running);
            assert!(site.path("run/control.sock").exists());
        } else {
            assert_eq!(running.stop().code(), Some(0));
            assert!(!site.path("run/control.sock").exists(), "it went with us");
        }
    }
}

/// A key that only root may read is read in time; that the next reload will fail is told at once.
#[test]
fn a_key_of_root_s_is_read_before_root_is_gone() {
    let site = Site::new(free_address(), if is_root() { "user = \"nobody\"" } else { "" }, "");
    let tls = free_address();
    let (cert, key) = Authority::new().pair(&["localhost"]);
    fs::write(site.path("cert.pem"), cert).unwrap();
    fs::write(site.path("key.pem"), key).unwrap();
    fs::set_permissions(site.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let text = fs::read_to_string(site.path("c.toml")).unwrap();
    let text = format!("{text}[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\nlisten-tls = [\"{tls}\"]\n");
    fs::write(site.path("c.toml"), text).unwrap();
    let running = site.start();
    let over_tls = || {
        let words =
            ["+tls", "+short", "-p", &tls.port().to_string(), "@127.0.0.1", "www.foo.zone", "A"].map(str::to_owned);
        let output = Command::new("kdig").args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(over_tls(), "192.0.2.1");
    if is_root() {
        let log = site.log();
        assert!(
            log.contains("key.pem: user nobody cannot read it") && log.contains("a reload would be refused"),
            "{log}"
        );
        let (code, said) = site.verb(&["reload"]);
        assert!(code == Some(2) && said.contains("key.pem: error: ") && said.contains("stay in service"), "{said}");
        assert_eq!(over_tls(), "192.0.2.1");
        chown(site.path("key.pem"), None, Some(NOBODY)).unwrap();
        fs::set_permissions(site.path("key.pem"), fs::Permissions::from_mode(0o640)).unwrap();
    }
    let (code, said) = site.verb(&["reload"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(running.stop().code(), Some(0));
}

/// Root may read nsd's keys and open its socket; what counts is whether the daemon's user may.
#[test]
fn check_looks_at_whether_the_user_may_give_nsd_orders() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let control = folder.path().join("nsd-control");
    fs::write(&control, "#!/bin/sh\n[ $(id -un) != nobody ] || { echo no right to read the keys; exit 1; }\n").unwrap();
    fs::set_permissions(&control, fs::Permissions::from_mode(0o755)).unwrap();
    let nsd = format!("[nsd]\ncontrol = [{control:?}]\n");
    let site = Site::new(free_address(), "", &nsd);
    let (code, said) = site.verb(&["check"]);
    assert!(code == Some(0) && said.contains("; 0 warnings"), "{said}");
    if is_root() {
        let site = Site::new(free_address(), "user = \"nobody\"", &nsd);
        for path in [site.folder.path(), &site.path("zone")] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let (code, said) = site.verb(&["check"]);
        let place = format!("{}: warning: nsd takes no order: ", site.path("c.toml").display());
        assert!(code == Some(0) && said.contains(&place) && said.contains("no right to read the keys"), "{said}");
        // Where nothing is exported nobody is to be told anything.
        let text = fs::read_to_string(site.path("c.toml")).unwrap();
        fs::write(site.path("c.toml"), text.replace("pool = \"web\"", "pool = \"web\"\nexport = \"off\"")).unwrap();
        assert!(site.verb(&["check"]).1.contains("; 0 warnings"));
    }
}

/// The right to replace the zone files is looked at as the user that the daemon will be, before a
/// failover needs it, and what is said helps.
#[test]
fn check_looks_at_what_the_user_may_replace() {
    let nsd = "[nsd]\ncontrol = [\"true\"]\n";
    if !is_root() {
        let (code, said) = Site::new(free_address(), "user = \"root\"", nsd).verb(&["check"]);
        assert_eq!((code, said.contains("0 warnings")), (Some(0), true), "who is not root cannot look: {said}");
        return;
    }
    let site = Site::new(free_address(), "user = \"nobody\"", nsd);
    let folder = site.folder.path();
    let warnings = |wanted: &str| {
        let (code, said) = site.verb(&["check"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(wanted), "{wanted} is not in {said}");
        said
    };
    let place = folder.display();
    let help =
        format!("user nobody cannot write to folder {place}: Permission denied (os error 13); chown nobody {place}\n");
    warnings(&format!("zone foo.zone.: warning: an export would be refused: {help}"));
    chown(folder, Some(NOBODY), None).unwrap();
    let (file, group) = (site.path("zone"), "nogroup");
    let help = format!("and user nobody cannot give a new file to them; chown nobody:{group} {}\n", file.display());
    warnings(&format!("{} belongs to root:root, {help}", file.display()));
    chown(&file, Some(NOBODY), None).unwrap();
    warnings(&format!("{} belongs to nobody:root, {help}", file.display()));
    chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
    warnings("; 0 warnings\n");
}

/// The same for an included file that an export would change, by the daemon too: before a failover
/// needs it.
#[test]
fn an_included_file_that_cannot_be_replaced_is_an_alarm() {
    let more = if is_root() { "user = \"nobody\"" } else { "" };
    let site = Site::new(free_address(), more, "[nsd]\ncontrol = [\"true\"]\ncheckzone = []\n");
    let (zone, names) = (site.path("zone"), site.path("names"));
    let (own, included) = ZONE.split_at(ZONE.find("www").unwrap());
    fs::write(&zone, format!("{own}$INCLUDE {}/www\n", names.display())).unwrap();
    fs::create_dir(&names).unwrap();
    fs::write(names.join("www"), included).unwrap();
    fs::set_permissions(&names, fs::Permissions::from_mode(0o555)).unwrap();
    if is_root() {
        [site.folder.path(), &zone].into_iter().for_each(|path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap());
    }
    let refused = format!("cannot write to folder {}: Permission denied", names.display());
    let (code, said) = site.verb(&["check"]);
    assert!(code == Some(0) && said.contains(&refused), "{said}");

    let running = site.start();
    let reason = || {
        let status: serde_json::Value = serde_json::from_str(&site.verb(&["status", "--json"]).1).unwrap();
        status["zones"][0]["next_refused"].as_str().map(str::to_owned)
    };
    let told = wait_for("the alarm", reason);
    assert!(told.contains(&refused), "{told}");
    fs::set_permissions(&names, fs::Permissions::from_mode(0o755)).unwrap();
    if is_root() {
        [&names, &names.join("www")].into_iter().for_each(|path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap());
    }
    assert_eq!(site.verb(&["reload"]).0, Some(0));
    wait_for("its end", || reason().is_none().then_some(()));
    assert_eq!(running.stop().code(), Some(0));
}

/// Each is one line and exit 2, before anything is touched; the daemon that runs goes on.
#[test]
fn what_cannot_be_served_is_one_line() {
    let refused = |site: &Site, wanted: &str| {
        let (code, said) = site.refused();
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(code, Some(2), "{said}");
        assert!(last.contains(wanted), "`{wanted}` is not in: {said}");
    };
    let unknown = Site::new(free_address(), "user = \"nsd-failovr\"", "");
    refused(&unknown, "user = \"nsd-failovr\": this host has no such user; make it (systemd-sysusers, useradd)");
    assert!(!unknown.path("state").exists() && !unknown.path("run").exists());
    let group = Site::new(free_address(), "user = \"nobody\"\ngroup = \"nsd-failovr\"", "");
    refused(&group, "group = \"nsd-failovr\": this host has no such group");

    let site = Site::new(free_address(), "", "");
    let running = site.start();
    let text = fs::read_to_string(site.path("c.toml")).unwrap();
    let other = free_address();
    let second = |from: &str, to: &str| {
        fs::write(site.path("second.toml"), text.replace(&site.dns.to_string(), &other.to_string()).replace(from, to))
            .unwrap();
        let output = program(&site.path("second.toml")).arg("run").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = second("run/control.sock", "run/second.sock");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("another daemon uses state-dir ") && said.contains("a state-dir of its own"), "{said}");
    let (code, said) = second("state-dir = \"state\"", "state-dir = \"state2\"");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("run/control.sock: a daemon answers there already; stop it"), "{said}");
    assert_eq!(site.verb(&["switch", "web", "b"]).0, Some(0), "nothing has happened to the first");
    assert_eq!(site.address().as_deref(), Some("192.0.2.2"));
    assert_eq!(running.stop().code(), Some(0));
}

/// A state directory that root has made, by a run before the user was named or by hand: the line says
/// whose it must be.
#[test]
fn a_state_directory_of_somebody_else() {
    if !is_root() {
        return;
    }
    let site = Site::new(free_address(), "user = \"nobody\"", "");
    fs::create_dir(site.path("state")).unwrap();
    fs::set_permissions(site.path("state"), fs::Permissions::from_mode(0o750)).unwrap();
    let state = site.path("state").display().to_string();
    let (code, said) = site.refused();
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    assert!(
        said.ends_with(&format!(
            "cannot use state-dir {state}: Permission denied (os error 13); chown -R nobody {state}\n"
        )),
        "{said}"
    );
    let output = site.command().arg("--shadow").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.ends_with(&format!("; user nobody cannot make it in {state}, which is root's\n")), "{said}");
}

/// A control socket of somebody else is never removed, alive or dead; and nothing was bound for long.
#[test]
fn a_control_socket_of_somebody_else() {
    let site = Site::new(free_address(), "", "");
    fs::create_dir(site.path("run")).unwrap();
    let socket = site.path("run/control.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    if is_root() {
        chown(&socket, Some(NOBODY), None).unwrap();
        let (code, said) = site.refused();
        assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.contains("belongs to user 65534, not to us; remove it, or start as that user"), "{said}");
        assert!(socket.exists());
        // As that user it is our own.
        chown(&socket, Some(0), None).unwrap();
    }
    let running = site.start();
    assert_eq!(running.stop().code(), Some(0));
}

/// Sockets that were bound by somebody who may, and handed to a daemon that may not.
const HAND_OVER: &str = r#"
import os, socket, sys
host, port, spare = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind((host, port))
tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); tcp.bind((host, port)); tcp.listen(16)
other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); other.bind(("127.0.0.1", spare))
kept = [os.dup(s.fileno()) for s in (udp, tcp, other)]
for at, fd in enumerate(kept): os.dup2(fd, 100 + at)
for at in range(3): os.dup2(100 + at, 3 + at)
if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.environ.update(LISTEN_FDS="3", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[4], sys.argv[4:])
"#;

#[test]
fn sockets_of_the_service_manager_are_taken_over() {
    let dns = if is_root() { port_53(1) } else { free_address() };
    let site = Site::new(dns, "", "");
    fs::set_permissions(site.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let spare = free_address();
    let mut command = Command::new("python3");
    command.args(["-c", HAND_OVER, &dns.ip().to_string(), &dns.port().to_string(), &spare.port().to_string()]);
    let daemon = site.command();
    command.arg(daemon.get_program()).args(daemon.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
    let running = site.answers(command.stderr(fs::File::create(site.path("log")).unwrap()));
    if is_root() {
        assert_eq!(running.status("Uid"), "65534 65534 65534 65534", "nobody, on port 53");
    }
    let over_tcp = super::support::nsd::dig(dns, &["+tcp", "www.foo.zone", "A"]);
    assert_eq!(over_tcp, ["192.0.2.1"]);
    let log = wait_for("the log", || Some(site.log()).filter(|log| log.contains("started")));
    assert!(log.contains(&format!("a socket that nothing listens on, {spare} (UDP): it is closed")), "{log}");
    assert_eq!(running.stop().code(), Some(0));
}

/// A service manager that holds the sockets: at each line it ends the daemon that runs, if there is
/// one, and starts the next one, on the same sockets.
const HOLD: &str = r#"
import os, signal, socket, sys
sockets = []
for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
    one = socket.socket(socket.AF_INET, kind)
    one.bind((sys.argv[1], int(sys.argv[2])))
    sockets.append(one)
sockets[1].listen(64)
child = 0
def end():
    if child:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
for line in sys.stdin:
    end()
    child = 0
    if line == "stop\n":
        print("stopped", flush=True)
        continue
    child = os.fork()
    if child == 0:
        kept = [os.dup(one.fileno()) for one in sockets]
        for at, fd in enumerate(kept): os.dup2(fd, 100 + at)
        for at in range(2): os.dup2(100 + at, 3 + at)
        os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
        os.execv(sys.argv[3], sys.argv[3:])
end()
"#;

/// An upgrade with sockets that the service manager holds: every query that is sent meanwhile is
/// answered, over UDP and TCP, by the old daemon or by the new one.
#[test]
fn no_query_is_lost_over_a_restart_with_sockets_of_the_service_manager() {
    let site = Site::new(free_address(), "", "");
    let mut command = Command::new("python3");
    command.args(["-c", HOLD, &site.dns.ip().to_string(), &site.dns.port().to_string()]);
    let daemon = site.command();
    command.arg(daemon.get_program()).args(daemon.get_args()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut manager = command.stderr(fs::File::create(site.path("log")).unwrap()).spawn().unwrap();
    let mut orders = manager.stdin.take().unwrap();
    let mut replies = BufReader::new(manager.stdout.take().unwrap()).lines();
    let running = Running(Some(manager));
    orders.write_all(b"start\n").unwrap();
    wait_for("an answer", || (site.address().as_deref() == Some("192.0.2.1")).then_some(()));

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(site.dns).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let query = |id: u16| {
        let mut query = id.to_be_bytes().to_vec();
        query.extend(b"\x00\x00\x00\x01\0\0\0\0\0\0\x03www\x03foo\x04zone\0\0\x01\0\x01");
        query
    };
    let (sent, is_over) = (AtomicU16::new(0), AtomicBool::new(false));
    let over_tcp = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                socket.send(&query(sent.load(Ordering::Relaxed))).unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let more = |count: u16| {
            let from = sent.load(Ordering::Relaxed);
            wait_for("more queries", || (sent.load(Ordering::Relaxed) > from + count).then_some(()));
        };
        more(20);
        orders.write_all(b"stop\n").unwrap();
        assert_eq!(replies.next().unwrap().unwrap(), "stopped");
        // Nobody is there; the queries wait in the sockets.
        let mut connection = TcpStream::connect(site.dns).unwrap();
        connection.write_all(&[&[0, 30][..], &query(7)].concat()).unwrap();
        more(50);
        orders.write_all(b"start\n").unwrap();
        let mut answer = [0; 64];
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = connection.read(&mut answer).unwrap();
        more(20);
        is_over.store(true, Ordering::Relaxed);
        (length, answer[2..4].to_vec())
    });
    assert_eq!(over_tcp, (48, vec![0, 7]), "one address over TCP");
    let mut missing: BTreeSet<u16> = (0..sent.load(Ordering::Relaxed)).collect();
    let mut answer = [0; 512];
    while !missing.is_empty() {
        let Ok(_) = socket.recv(&mut answer) else { panic!("{} queries are lost: {missing:?}", missing.len()) };
        assert_eq!((answer[3] & 0x0f, answer[7]), (0, 1), "NOERROR and the address, from both of them");
        missing.remove(&u16::from_be_bytes([answer[0], answer[1]]));
    }
    drop(orders);
    let mut manager = running;
    let mut child = manager.0.take().unwrap();
    wait_for("its end", || child.try_wait().unwrap());
}

/// READY=1, then WATCHDOG=1 from the loop itself over and over, STOPPING=1 at the end; a daemon whose
/// loop stands still is silent.
#[test]
fn the_service_manager_hears_of_the_loop() {
    let site = Site::new(free_address(), "", "");
    let manager = UnixDatagram::bind(site.path("notify")).unwrap();
    let mut command = site.command();
    command.env("NOTIFY_SOCKET", site.path("notify")).env("WATCHDOG_USEC", "600000");
    let running = site.answers(command.stderr(fs::File::create(site.path("log")).unwrap()));
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hear = || {
        let mut buffer = [0; 512];
        let read = manager.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..read]).trim().to_owned())
    };
    assert_eq!(hear().as_deref(), Some("READY=1"));
    for _ in 0..4 {
        assert_eq!(hear().as_deref(), Some("WATCHDOG=1"));
    }
    kill_process(running.pid(), Signal::STOP).unwrap();
    manager.set_read_timeout(Some(Duration::from_millis(1_200))).unwrap();
    while hear().is_some() {}
    kill_process(running.pid(), Signal::CONT).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(hear().as_deref(), Some("WATCHDOG=1"));
    assert_eq!(running.stop().code(), Some(0));
    let last = std::iter::from_fn(hear).find(|word| word != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}

/// The log goes to a full disk, or into a pipe that nobody reads: DNS, orders and the end go on.
#[test]
fn a_log_that_takes_nothing_holds_up_nothing() {
    let full = || Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    // Nobody ever reads from it, and it holds 64 KiB.
    let pipe = Stdio::piped;
    for (stderr, what) in [(full(), "a full disk"), (pipe(), "a full pipe")] {
        // What is kept in the state directory is on the full disk, too.
        let site = Site::new(free_address(), "", "[confine]\nenabled = false\n");
        fs::create_dir(site.path("state")).unwrap();
        std::os::unix::fs::symlink("/dev/full", site.path("state/log.jsonl")).unwrap();
        let mut command = site.command();
        let running = site.answers(command.stderr(stderr).env("RUST_LOG", "trace"));
        let started = Instant::now();
        for round in 0..40 {
            let (node, wanted) = if round % 2 == 0 { ("b", "192.0.2.2") } else { ("a", "192.0.2.1") };
            assert_eq!(site.verb(&["switch", "web", node]).0, Some(0), "{what}");
            assert_eq!(site.address().as_deref(), Some(wanted), "{what}");
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        assert_eq!(running.stop().code(), Some(0), "{what}");
    }
}

/// Each line is one JSON object.
#[test]
fn the_log_as_json() {
    let site = Site::new(free_address(), "log-format = \"json\"", "");
    let running = site.start();
    assert_eq!(site.verb(&["switch", "web", "b", "--reason", "a \"quoted\"\nword"]).0, Some(0));
    assert_eq!(running.stop().code(), Some(0));
    let lines: Vec<serde_json::Value> =
        site.log().lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let moved =
        lines.iter().find(|line| line["message"].as_str().is_some_and(|text| text.starts_with("web ipv4: a -> b")));
    let moved = moved.unwrap_or_else(|| panic!("{lines:?}"));
    assert!(moved["level"] == "WARN" && moved["timestamp"].is_string(), "{moved}");
}

/// From the configuration and an order to page, API, metrics and terminal: text stays text.
#[test]
fn html_in_node_names_and_reasons_stays_text() {
    const REASON: &str = "<script>alert(1)</script>\u{1b}[2J";
    let http = free_address();
    let site = Site::new(free_address(), &format!("http = \"{http}\""), "");
    let text = fs::read_to_string(site.path("c.toml")).unwrap();
    let text = text.replace("[node.a]", "[node.\"<b>a</b>\"]").replace("[\"a\", \"b\"]", "[\"<b>a</b>\", \"b\"]");
    fs::write(site.path("c.toml"), text).unwrap();
    let running = site.start();
    let (code, said) = site.verb(&["switch", "web", "<b>a</b>", "--reason", REASON]);
    assert!(code == Some(0) && !said.contains('\u{1b}'), "{said}");
    let get = |path: &str| {
        let url = format!("http://{http}{path}");
        let output = Command::new("curl").args(["-sS", "--noproxy", "*", &url]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let page = get("/");
    assert!(page.contains("&lt;b&gt;a&lt;/b&gt;") && page.contains("&lt;script&gt;alert(1)"), "{page}");
    assert!(!page.contains("<b>a") && !page.contains("<script>alert") && !page.contains('\u{1b}'), "{page}");
    let status: serde_json::Value = serde_json::from_str(&get("/api/v1/status")).unwrap();
    assert_eq!(
        (&status["pools"][0]["hold"]["node"], &status["pools"][0]["hold"]["reason"]),
        (&"<b>a</b>".into(), &REASON.into())
    );
    assert!(get("/metrics").contains("node=\"<b>a</b>\""), "a label is no HTML");
    let (code, said) = site.verb(&["status"]);
    assert!(code == Some(0) && said.contains("<b>a</b>") && !said.contains('\u{1b}'), "{said}");
    assert_eq!(running.stop().code(), Some(0));
}

/// Everything relative: a confined daemon still finds what it needs at a reload.
#[test]
fn a_configuration_named_by_a_relative_path() {
    let site = Site::new(free_address(), "", "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nsd-failover"));
    command.current_dir(site.folder.path()).args(["--config", "c.toml", "run"]).stdin(Stdio::null());
    let running = site.answers(command.stderr(fs::File::create(site.path("log")).unwrap()));
    let (code, said) = site.verb(&["reload"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(running.stop().code(), Some(0));
    assert!(!site.path("run/control.sock").exists(), "it went with us");
}

/// The keys of the process: every mistake one line with its place.
#[test]
fn mistakes_in_the_keys_of_the_process() {
    for (text, wanted) in [
        ("user = \"\"", "c.toml:2:8: error: `` is no name"),
        ("user = \"a b\"", "`a b` is no name"),
        ("group = \"nsd\"", "c.toml:2:9: error: a group without a user; add user = \"nsd-failover\""),
        ("log = \"sylog\"", "did you mean `syslog`?"),
        ("log-format = \"xml\"", "error: `xml` "),
        ("cert-warning-days = 99999", "99999 days are more than 3650"),
        ("cert-warning-days = 5\ncert-critical-days = 6", "a warning 5 days before the end would come too late"),
        ("confine = { enable = true }", "did you mean `enabled`?"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("c.toml"), format!("version = 1\n{text}\n")).unwrap();
        let output = program(&folder.path().join("c.toml")).arg("check").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{text}: {said}");
        assert!(said.contains(wanted), "{text}: {said}");
    }
}

/// The unit and the script as they are shipped.
#[test]
fn the_units_are_sound() {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let analyze = |words: &[&str]| {
        let output = Command::new("systemd-analyze").args(words).output().expect("systemd is installed");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let unit = conf.join("nsd-failover.service").display().to_string();
    // Tenths: 2.0 at the most.
    let (good, said) = analyze(&["security", "--offline=true", "--threshold=20", "--no-pager", &unit]);
    assert!(good, "{said}");
    let output = Command::new("sh").arg("-n").arg(conf.join("nsd_failover.rc")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
