//! dnsperf, and what it says.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::peers::{CLIENT_CORE, bound};

/// One run of dnsperf.
pub struct Load<'a> {
    pub queries: &'a Path,
    pub seconds: u32,
    /// `udp` or `tcp`.
    pub mode: &'a str,
}

pub struct Done {
    pub completed: u64,
    pub seconds: f64,
}

impl Load<'_> {
    pub fn run(&self, server: SocketAddr) -> Done {
        let output = self.command(server).stderr(Stdio::null()).output().expect("dnsperf is installed");
        let text = String::from_utf8_lossy(&output.stdout);
        let number = |label: &str| -> f64 {
            let line = text.lines().find(|line| line.trim_start().starts_with(label));
            let line = line.unwrap_or_else(|| panic!("no `{label}` in\n{text}"));
            let value = line.split(':').nth(1).and_then(|rest| rest.split_whitespace().next());
            value.and_then(|value| value.parse().ok()).expect("a number")
        };
        let (completed, lost) = (number("Queries completed"), number("Queries lost"));
        assert!(completed > 0.0, "{text}");
        if lost > completed / 100.0 {
            eprintln!("{lost} of {completed} queries were lost at {server}");
        }
        Done { completed: completed as u64, seconds: number("Run time (s)") }
    }

    /// Several clients, many queries on their way, EDNS.
    pub fn command(&self, server: SocketAddr) -> Command {
        let mut command = bound(CLIENT_CORE, "dnsperf");
        command.args(["-s", &server.ip().to_string(), "-p", &server.port().to_string(), "-d"]).arg(self.queries);
        command.args(["-m", self.mode, "-e", "-c", "8", "-q", "200", "-T", "1", "-l", &self.seconds.to_string()]);
        command
    }
}
