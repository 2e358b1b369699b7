//! The program itself, run as people run it: a configuration file, a process, its verbs.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::nsd::dig;

/// How long anything may take that the configuration of a test makes quick.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A running daemon; ended when it is dropped.
pub struct Daemon {
    config: PathBuf,
    log: PathBuf,
    /// More arguments of `run`.
    arguments: Vec<&'static str>,
    child: Option<Child>,
}

impl Daemon {
    /// Writes the configuration (control socket and state-dir come on top), starts the daemon, and
    /// waits until its control socket answers.
    pub fn start(folder: &Path, config: &str) -> Daemon {
        Daemon::start_with(folder, config, &[])
    }

    /// The same, with more arguments for `run`.
    pub fn start_with(folder: &Path, config: &str, arguments: &[&'static str]) -> Daemon {
        let file = folder.join("nsd-failover.toml");
        let text = format!("control = \"control.sock\"\nstate-dir = \"state\"\n{config}");
        fs::write(&file, text).unwrap();
        let log = folder.join("daemon.log");
        let mut daemon = Daemon { config: file, log, arguments: arguments.to_vec(), child: None };
        daemon.start_again();
        daemon
    }

    /// Starts it after [`Daemon::stop`] or [`Daemon::kill`].
    pub fn start_again(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = program(&self.config);
        command.arg("run").args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        wait_for("the control socket", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the daemon has ended:\n{}", self.log());
            self.verb(&["status"]).status.success().then_some(())
        });
    }

    /// The same, with other arguments for `run` than before.
    pub fn start_again_with(&mut self, arguments: &[&'static str]) {
        self.arguments = arguments.to_vec();
        self.start_again();
    }

    /// Runs a verb against this daemon.
    pub fn verb(&self, arguments: &[&str]) -> Output {
        program(&self.config).args(arguments).output().unwrap()
    }

    /// `status --json`.
    pub fn status(&self) -> serde_json::Value {
        let output = self.verb(&["status", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What Prometheus would get, over the control socket.
    pub fn metrics(&self) -> String {
        let socket = self.config.with_file_name("control.sock");
        let output = Command::new("curl").args(["-s", "--unix-socket"]).arg(socket).arg("http://x/metrics").output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// Orders the pool `web` to a node, and does not wait for what becomes of it: it is obeyed at once,
    /// and who hangs up before that is served loses only the answer.
    pub fn order(&self, node: &str) -> UnixStream {
        let body = format!("{{\"action\":{{\"switch\":{{\"pool\":\"web\",\"node\":\"{node}\"}}}}}}");
        let mut stream = UnixStream::connect(self.config.with_file_name("control.sock")).unwrap();
        let length = body.len();
        let request = format!(
            "POST /api/v1/order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Has the pool `web` swapped so many times, as fast as it can be ordered.
    pub fn swap_often(&self, nodes: [&str; 2], swaps: u64) {
        let generation = || self.status()["generation"].as_u64().unwrap();
        let until = generation() + swaps;
        let deadline = Instant::now() + PATIENCE * 10;
        while generation() < until {
            assert!(Instant::now() < deadline, "{} of {swaps} swaps", swaps - (until - generation()));
            std::thread::scope(|scope| {
                for client in 0..20 {
                    scope.spawn(move || {
                        for round in 0..50 {
                            let mut reply = self.order(nodes[(client + round) % 2]);
                            reply.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                            let _ = reply.read(&mut [0; 16]);
                        }
                    });
                }
            });
        }
    }

    /// The memory that it holds, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let id = self.child.as_ref().expect("it runs").id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// What the daemon has written to stderr.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGTERM; [`Daemon::stop`] waits for the end.
    pub fn terminate(&self) {
        signal(self.child.as_ref().expect("it runs"), rustix::process::Signal::TERM);
    }

    /// SIGTERM, and its exit status.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("it runs");
        signal(&child, rustix::process::Signal::TERM);
        wait_for("the daemon's end", || child.try_wait().unwrap())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Stops it as a debugger would, or lets it go on.
    pub fn suspend(&self) {
        signal(self.child.as_ref().expect("it runs"), rustix::process::Signal::STOP);
    }

    pub fn resume(&self) {
        signal(self.child.as_ref().expect("it runs"), rustix::process::Signal::CONT);
    }

    pub fn hangup(&self) {
        signal(self.child.as_ref().expect("it runs"), rustix::process::Signal::HUP);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// The program with a configuration.
pub fn program(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nsd-failover"));
    command.arg("--config").arg(config).env_remove("RUST_LOG").env_remove("NSD_FAILOVER_CONFIG");
    command
}

/// Polls until `look` finds something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The one address that a server answers, as `dig +short` prints it; absent for NODATA.
pub fn address(server: SocketAddr, name: &str, rtype: &str) -> Option<String> {
    let lines = dig(server, &[name, rtype, "+short"]);
    assert!(lines.len() < 2, "{name} {rtype}: {lines:?}");
    lines.into_iter().next()
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}
