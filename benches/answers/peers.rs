//! The servers: how each is configured, started, waited for, measured and ended.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::zone::{Files, ORIGIN};

pub const SERVER_CORE: usize = 0;
pub const CLIENT_CORE: usize = 1;
/// How long a server may take to load a million names.
const PATIENCE: Duration = Duration::from_secs(300);

/// A folder that removes itself.
pub struct Scratch(tempfile::TempDir);

/// A server that runs, in a process group of its own.
pub struct Peer {
    pub name: &'static str,
    pub address: SocketAddr,
    child: Child,
}

impl Scratch {
    pub fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    /// A folder of this name, made if it is not there.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// A folder that nobody has used yet.
    fn fresh(&self, name: &str) -> PathBuf {
        (0..).map(|number| self.0.path().join(format!("{name}-{number}"))).find(|path| !path.exists()).map_or_else(
            || unreachable!("there is always another number"),
            |path| {
                fs::create_dir_all(&path).unwrap();
                path
            },
        )
    }
}

/// A command bound to one core, where that can be done.
pub fn bound(core: usize, program: &str) -> Command {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 || Command::new("taskset").arg("-V").output().is_err() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string(), program]);
    command
}

pub fn echo(_: &Scratch, _: &Files) -> Peer {
    let address = free_address();
    let own = std::env::current_exe().unwrap();
    let mut command = bound(SERVER_CORE, own.to_str().unwrap());
    command.args(["echo", &address.to_string()]);
    Peer::start("echo", address, command)
}

pub fn hickory(_: &Scratch, zone: &Files) -> Peer {
    let address = free_address();
    let own = std::env::current_exe().unwrap();
    let mut command = bound(SERVER_CORE, own.to_str().unwrap());
    command.args(["hickory", &address.to_string(), ORIGIN]).arg(&zone.zone);
    Peer::start("hickory", address, command)
}

/// This program, with every address a failover record of one pool.
pub fn ours(scratch: &Scratch, zone: &Files) -> Peer {
    ours_with(scratch, &zone.tagged, "serve = \"zone\"", "", "ours")
}

/// This program with nothing of its own to answer.
pub fn relay(scratch: &Scratch, zone: &Files, nsd: SocketAddr) -> Peer {
    let nsd = format!("[nsd]\naddress = \"{nsd}\"\nrelay = true\n");
    ours_with(scratch, &zone.zone, "serve = \"overlay\"\nexport = \"off\"", &nsd, "relay")
}

/// This program on all cores, with a check of nodes at 127.0.0.11 and 127.0.0.12: a page at this port.
pub fn checking(scratch: &Scratch, zone: &Files, port: u16) -> Peer {
    let folder = scratch.fresh("checking");
    let address = free_address();
    let (folder_text, zone) = (folder.display(), zone.tagged.display());
    let config = format!(
        "version = 1\nlisten = [\"{address}\"]\ncontrol = \"{folder_text}/control.sock\"\nstate-dir = \"{folder_text}\"\n\
         [node.one]\nipv4 = \"127.0.0.11\"\n[node.two]\nipv4 = \"127.0.0.12\"\n\
         [check.page]\nhttp = \"http://{{node}}:{port}/\"\nfamilies = [\"ipv4\"]\ninterval = \"50ms\"\n\
         fast-interval = \"50ms\"\ntimeout = \"200ms\"\nrise = 1\nfall = 1\n\
         [pool.web]\nnodes = [\"one\", \"two\"]\nchecks = [\"page\"]\npreempt = \"never\"\n\
         [zone.\"{ORIGIN}\"]\nfile = \"{zone}\"\npool = \"web\"\nserve = \"zone\"\n"
    );
    let path = folder.join("config.toml");
    fs::write(&path, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nsd-failover"));
    command.args(["run", "--config"]).arg(path);
    Peer::start("checking", address, command)
}

fn ours_with(scratch: &Scratch, zone: &Path, serve: &str, nsd: &str, name: &'static str) -> Peer {
    let folder = scratch.fresh(name);
    let address = free_address();
    let (folder_text, zone) = (folder.display(), zone.display());
    let config = format!(
        "version = 1\nlisten = [\"{address}\"]\ncontrol = \"{folder_text}/control.sock\"\nstate-dir = \"{folder_text}\"\n{nsd}\
         [node.one]\nipv4 = \"192.0.2.10\"\nipv6 = \"2001:db8::10\"\n[node.two]\nipv4 = \"192.0.2.20\"\nipv6 = \"2001:db8::20\"\n\
         [pool.web]\nnodes = [\"one\", \"two\"]\n[zone.\"{ORIGIN}\"]\nfile = \"{zone}\"\npool = \"web\"\n{serve}\n"
    );
    let path = folder.join("config.toml");
    fs::write(&path, config).unwrap();
    let mut command = bound(SERVER_CORE, env!("CARGO_BIN_EXE_nsd-failover"));
    command.args(["run", "--config"]).arg(path);
    Peer::start(name, address, command)
}

pub fn nsd(scratch: &Scratch, zone: &Files) -> Peer {
    nsd_on(scratch, zone, SERVER_CORE)
}

/// For the relays, whose own share is measured.
pub fn nsd_on_client_core(scratch: &Scratch, zone: &Files) -> Peer {
    nsd_on(scratch, zone, CLIENT_CORE)
}

fn nsd_on(scratch: &Scratch, zone: &Files, core: usize) -> Peer {
    let folder = scratch.fresh("nsd");
    let address = free_address();
    let (own, port, zones) = (folder.display(), address.port(), zone.folder.display());
    let config = format!(
        "server:\n ip-address: 127.0.0.1@{port}\n server-count: 1\n username: \"\"\n chroot: \"\"\n database: \"\"\n \
         zonesdir: {zones}\n pidfile: {own}/nsd.pid\n xfrdfile: {own}/xfrd.state\n zonelistfile: {own}/zone.list\n \
         xfrdir: {own}\n rrl-ratelimit: 0\n tcp-count: 1000\nremote-control:\n control-enable: no\n\
         zone:\n name: {ORIGIN}\n zonefile: {ORIGIN}\n"
    );
    let path = folder.join("nsd.conf");
    fs::write(&path, config).unwrap();
    let mut command = bound(core, "nsd");
    command.args(["-d", "-c"]).arg(path);
    Peer::start("nsd", address, command)
}

pub fn gdnsd(scratch: &Scratch, zone: &Files) -> Peer {
    let folder = scratch.fresh("gdnsd");
    let address = free_address();
    for sub in ["etc/zones", "run", "lib"] {
        fs::create_dir_all(folder.join(sub)).unwrap();
    }
    std::os::unix::fs::symlink(&zone.zone, folder.join("etc/zones").join(ORIGIN)).unwrap();
    let (own, port) = (folder.display(), address.port());
    let config = format!(
        "options => {{ listen => {{ 127.0.0.1:{port} => {{ udp_threads = 1, tcp_threads = 1 }} }} run_dir = {own}/run \
         state_dir = {own}/lib }}\n"
    );
    fs::write(folder.join("etc/config"), config).unwrap();
    let mut command = bound(SERVER_CORE, "gdnsd");
    command.arg("-c").arg(folder.join("etc")).arg("start");
    Peer::start("gdnsd", address, command)
}

pub fn knot(scratch: &Scratch, zone: &Files) -> Peer {
    let folder = scratch.fresh("knot");
    let address = free_address();
    let (own, port, zone) = (folder.display(), address.port(), zone.zone.display());
    let config = format!(
        "server:\n    listen: 127.0.0.1@{port}\n    rundir: {own}\n    udp-workers: 1\n    tcp-workers: 1\n    \
         background-workers: 1\ndatabase:\n    storage: {own}\nzone:\n  - domain: {ORIGIN}\n    file: {zone}\n    \
         zonefile-sync: -1\n    journal-content: none\n"
    );
    let path = folder.join("knot.conf");
    fs::write(&path, config).unwrap();
    let mut command = bound(SERVER_CORE, "knotd");
    command.arg("-c").arg(path);
    Peer::start("knot", address, command)
}

pub fn dnsdist(scratch: &Scratch, nsd: SocketAddr) -> Peer {
    let folder = scratch.fresh("dnsdist");
    let address = free_address();
    let config = format!(
        "setLocal(\"{address}\",{{reusePort=false}})\nnewServer({{address=\"{nsd}\"}})\nsetACL({{\"127.0.0.0/8\"}})\n"
    );
    let path = folder.join("dnsdist.conf");
    fs::write(&path, config).unwrap();
    let mut command = bound(SERVER_CORE, "dnsdist");
    command.arg("-C").arg(path).arg("--supervised");
    Peer::start("dnsdist", address, command)
}

impl Peer {
    fn start(name: &'static str, address: SocketAddr, mut command: Command) -> Peer {
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}; install it"));
        let mut peer = Peer { name, address, child };
        let began = Instant::now();
        while !peer.answers() {
            let ended = peer.child.try_wait().unwrap();
            assert!(ended.is_none(), "{name} has ended: {ended:?}");
            assert!(began.elapsed() < PATIENCE, "{name} does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        peer
    }

    /// Whether it answers for the zone.
    fn answers(&self) -> bool {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0".to_vec();
        for label in ORIGIN.split('.') {
            query.push(label.len() as u8);
            query.extend(label.as_bytes());
        }
        query.extend(b"\0\0\x06\0\x01");
        let mut reply = [0; 512];
        socket.send_to(&query, self.address).is_ok()
            && socket.recv(&mut reply).is_ok_and(|len| len >= 12 && reply[2] & 0x80 != 0 && reply[3] & 0x0f == 0)
    }

    /// CPU time of all its processes so far, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.processes().iter().map(|process| cpu_ns(process)).sum()
    }

    /// Resident memory of the largest of its processes: the others share most of it.
    pub fn resident_mib(&self) -> u64 {
        let pages = |process: &PathBuf| -> u64 {
            let text = fs::read_to_string(process.join("statm")).unwrap_or_default();
            text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
        };
        self.processes().iter().map(pages).max().unwrap_or(0) * 4096 / (1 << 20)
    }

    /// `/proc/ID` of every process of its group.
    fn processes(&self) -> Vec<PathBuf> {
        let group = self.child.id();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let path = entry.path();
            // The name in the second field may hold blanks: what follows the last parenthesis does not.
            let Ok(stat) = fs::read_to_string(path.join("stat")) else { continue };
            let Some((_, rest)) = stat.rsplit_once(')') else { continue };
            if rest.split_whitespace().nth(2).is_some_and(|text| text == group.to_string()) {
                found.push(path);
            }
        }
        found
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        // It leads a group of its own, where all its children are.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The scheduler's count over all threads; utime and stime are the same number in ticks.
fn cpu_ns(process: &Path) -> u64 {
    let Ok(threads) = fs::read_dir(process.join("task")) else { return 0 };
    let of_thread = |path: PathBuf| -> u64 {
        let text = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    threads.flatten().map(|thread| of_thread(thread.path())).sum()
}

/// An address on loopback whose port is free for UDP and TCP, at least for now.
fn free_address() -> SocketAddr {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = udp.local_addr().unwrap();
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
