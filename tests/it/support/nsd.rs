//! A real nsd on loopback in a temp folder. It and its children are killed when it is dropped.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{RData, Record, RecordType};
use rustix::process::{Pid, Signal, kill_process_group};

/// How long nsd may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// One nsd, with its zones as primary in `FOLDER/zones/ORIGIN.zone`.
pub struct Nsd {
    folder: tempfile::TempDir,
    address: SocketAddr,
    origins: Vec<String>,
    child: Option<Child>,
}

impl Nsd {
    /// Starts nsd with these zones (origin without the final dot, bytes of the file) and waits
    /// until it answers for each of them.
    pub fn start(zones: &[(&str, &[u8])]) -> Nsd {
        Nsd::start_with(zones, "")
    }

    /// The same, with more lines for the `server:` section.
    pub fn start_with(zones: &[(&str, &[u8])], server_lines: &str) -> Nsd {
        let folder = tempfile::tempdir().expect("a temp folder");
        fs::create_dir(folder.path().join("zones")).expect("a folder for zones");
        let origins = zones.iter().map(|(origin, _)| (*origin).to_owned()).collect();
        let mut nsd = Nsd { folder, address: (Ipv4Addr::LOCALHOST, 0).into(), origins, child: None };
        for (origin, bytes) in zones {
            fs::write(nsd.zone_path(origin), bytes).expect("a zone file");
        }
        // Between the look for a free port and nsd's bind somebody may take it.
        for _ in 0..5 {
            nsd.address = free_address();
            fs::write(nsd.conf(), nsd.conf_text(server_lines)).expect("nsd.conf");
            if nsd.run() {
                return nsd;
            }
        }
        panic!("nsd does not start:\n{}", nsd.log());
    }

    /// Where it answers, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `nsd-control` for this nsd.
    pub fn control_argv(&self) -> Vec<String> {
        ["nsd-control".to_owned(), "-c".to_owned(), self.conf().display().to_string()].to_vec()
    }

    /// `nsd-checkzone`, which needs no configuration.
    pub fn checkzone_argv(&self) -> Vec<String> {
        vec!["nsd-checkzone".to_owned()]
    }

    /// The file of a zone.
    pub fn zone_path(&self, origin: &str) -> PathBuf {
        self.folder.path().join("zones").join(format!("{origin}.zone"))
    }

    /// The temp folder, free for the test's own files too.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `nsd-control` and returns what it prints.
    pub fn control(&self, arguments: &[&str]) -> String {
        let argv = self.control_argv();
        output(Command::new(&argv[0]).args(&argv[1..]).args(arguments))
    }

    /// Runs `dig +short` and returns its lines, sorted.
    pub fn dig(&self, arguments: &[&str]) -> Vec<String> {
        dig(self.address, arguments)
    }

    /// The serial that it serves; `None`: no answer, or not this zone.
    pub fn serial(&self, origin: &str) -> Option<u32> {
        self.dig(&[origin, "SOA"]).first()?.split(' ').nth(2)?.parse().ok()
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("nsd.log")).unwrap_or_default()
    }

    /// Freezes all its processes: it keeps its sockets and answers nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a [`Nsd::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it; its files stay.
    pub fn stop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// Starts it again after [`Nsd::stop`], at the same address.
    pub fn start_again(&mut self) {
        let patience = Instant::now() + PATIENCE;
        // The children of the one before may still hold the port for a moment.
        while !self.run() {
            assert!(Instant::now() < patience, "nsd does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn conf(&self) -> PathBuf {
        self.folder.path().join("nsd.conf")
    }

    fn conf_text(&self, server_lines: &str) -> String {
        let folder = self.folder.path().display();
        let mut text = format!(
            "server:
  ip-address: 127.0.0.1@{port}
  server-count: 1
  username: \"\"
  chroot: \"\"
  database: \"\"
  zonesdir: {folder}/zones
  pidfile: {folder}/nsd.pid
  xfrdfile: {folder}/xfrd.state
  zonelistfile: {folder}/zone.list
  xfrdir: {folder}
  logfile: {folder}/nsd.log
  rrl-ratelimit: 0
{server_lines}
remote-control:
  control-enable: yes
  control-interface: {folder}/nsd.sock
",
            port = self.address.port()
        );
        for origin in &self.origins {
            text.push_str(&format!("zone:\n  name: {origin}\n  zonefile: {origin}.zone\n"));
        }
        text
    }

    /// False if it ended, which is what it does when its port is taken.
    fn run(&mut self) -> bool {
        let mut command = Command::new("nsd");
        command.args(["-d", "-c"]).arg(self.conf()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("nsd is installed"));
        let patience = Instant::now() + PATIENCE;
        while !self.ready() {
            let child = self.child.as_mut().expect("just started");
            if child.try_wait().expect("it is our child").is_some() {
                self.child = None;
                return false;
            }
            assert!(Instant::now() < patience, "nsd does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// Whether the control socket is there and every zone is answered for (SERVFAIL is an answer:
    /// tests start with broken zones, too).
    fn ready(&self) -> bool {
        let answers = |origin: &String| addresses(self.address, origin).is_some();
        self.folder.path().join("nsd.sock").exists() && self.origins.iter().all(answers)
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            let id = i32::try_from(child.id()).expect("a process id");
            // It leads a group of its own, where all its children are.
            let _ = kill_process_group(Pid::from_raw(id).expect("not 0"), signal);
        }
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `dig +short` at any server: its lines, sorted.
pub fn dig(server: SocketAddr, arguments: &[&str]) -> Vec<String> {
    let text = dig_raw(server, &[&["+short", "+time=2", "+tries=2"], arguments].concat());
    let mut lines: Vec<String> = text.lines().filter(|line| !line.starts_with(';')).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The A records that a server answers, without the start of a process: for those who ask for a
/// thousand names. `None`: it does not answer.
pub fn addresses(server: SocketAddr, name: &str) -> Option<Vec<Ipv4Addr>> {
    let name = name.parse().expect("a name");
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(name, RecordType::A));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.connect(server).expect("loopback");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("not zero");
    socket.send(&query.to_vec().expect("a small message")).ok()?;
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer).ok()?;
    let answer = Message::from_vec(&answer[..length]).ok()?;
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some(address.0),
        _ => None,
    };
    Some(answer.answers.iter().filter_map(address).collect())
}

fn dig_raw(server: SocketAddr, arguments: &[&str]) -> String {
    let at = format!("@{}", server.ip());
    let port = server.port().to_string();
    output(Command::new("dig").args([at.as_str(), "-p", &port]).args(arguments))
}

fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the program is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An address on loopback whose port is free for UDP and TCP, and stays so until somebody of us takes
/// it: the system gives ports from 32,768 on to those who ask for any, this gives others, each once.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test runs side by side begin at different ports.
    let start = std::process::id().wrapping_mul(127);
    for _ in 0..PORTS.len() {
        let step = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(step % PORTS.len() as u32).expect("it is one of the ports");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}

/// Waits for the last of the processes that had this port: they die one after the other.
pub fn wait_until_free(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while UdpSocket::bind(address).is_err() || TcpListener::bind(address).is_err() {
        assert!(Instant::now() < deadline, "{address} is still taken");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// [`free_address`] over IPv6.
pub fn free_ipv6_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, free_address().port()));
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Ports of [`free_address`].
const PORTS: std::ops::Range<u16> = 12_000..32_000;
