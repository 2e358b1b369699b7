//! syslog over its local socket, in the form of syslog(3): `<PRI>Mmm dd hh:mm:ss TAG[PID]: words`.
//!
//! Not RFC 5424: over this socket rsyslog and OpenBSD's syslogd expect syslog(3)'s own form, and
//! systemd-journald understands no other.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use tracing::Level;

use super::Out;

/// Where every system's daemon listens.
const SOCKET: &str = "/dev/log";
/// Facility `daemon`, shifted into place.
const FACILITY: u8 = 3 << 3;
/// Longest line that is sent, in octets: what rsyslog takes.
const LINE_MAX: usize = 8_192;

/// Connects when there is something to say, and again when the daemon behind it was restarted.
pub struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Default for Syslog {
    fn default() -> Syslog {
        Syslog { path: SOCKET.into(), socket: None }
    }
}

impl Out for Syslog {
    fn write(&mut self, level: Level, line: &[u8]) -> io::Result<()> {
        let message = message(level, jiff::Zoned::now(), line);
        match self.send(&message) {
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotConnected) => {
                self.socket = None;
                self.send(&message)
            }
            sent => sent,
        }
    }
}

impl Syslog {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.path)?;
                self.socket.insert(socket)
            }
        };
        socket.send(message).map(drop)
    }
}

fn message(level: Level, now: jiff::Zoned, line: &[u8]) -> Vec<u8> {
    // RFC 3164 section 4.1.1: error, warning, informational, debug.
    let severity = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    };
    let (time, pid) = (now.strftime("%b %e %H:%M:%S"), std::process::id());
    let mut message = format!("<{}>{time} nsd-failover[{pid}]: ", FACILITY | severity).into_bytes();
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    message.extend(line.iter().take(LINE_MAX - message.len()));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_in_syslog_s_own_form_and_after_a_restart_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut syslog = Syslog { path: path.clone(), socket: None };
        assert!(syslog.write(Level::INFO, b"nobody there\n").is_err());
        for _ in 0..2 {
            let daemon = UnixDatagram::bind(&path).unwrap();
            syslog.write(Level::WARN, b"web: fishfinger -> blowfish\n").unwrap();
            let mut buffer = [0; 1_024];
            let read = daemon.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let (head, words) = text.split_once(": ").unwrap();
            assert_eq!(words, "web: fishfinger -> blowfish");
            assert!(head.starts_with("<28>") && head.ends_with(&format!(" nsd-failover[{}]", std::process::id())));
            // The restart of the daemon.
            drop(daemon);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn the_time_is_the_one_of_rfc_3164_and_a_line_has_a_bound() {
        let moment: jiff::Zoned = "2026-11-02T03:04:05+00:00[UTC]".parse().unwrap();
        let text = message(Level::ERROR, moment, &[b'x'; 2 * LINE_MAX]);
        assert!(text.starts_with(b"<27>Nov  2 03:04:05 nsd-failover["), "{}", String::from_utf8_lossy(&text[..40]));
        assert_eq!(text.len(), LINE_MAX);
    }
}
