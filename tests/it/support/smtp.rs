//! A real SMTP server (Debian's python3-aiosmtpd) that wants STARTTLS and a login.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::authority::Authority;

pub const USER: &str = "failover";
pub const PASSWORD: &str = "s3cret pass";

pub struct Smtp {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Smtp {
    /// Keeps its files in `folder`; its certificate is for `localhost`.
    pub fn start(folder: &Path, authority: &Authority) -> Smtp {
        let (cert, key) = authority.pair(&["localhost"]);
        fs::write(folder.join("cert.pem"), cert).unwrap();
        fs::write(folder.join("key.pem"), key).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/smtpd.py");
        // Debian's own Python has Debian's modules; another may come first in the path.
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .args([folder.join("cert.pem"), folder.join("key.pem")])
            .args([USER, PASSWORD])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3-aiosmtpd is installed");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("it prints its port");
        Smtp { child, port, folder: folder.to_owned() }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has accepted, in order: recipients and message.
    pub fn mails(&self) -> Vec<String> {
        let read = |number: usize| fs::read_to_string(self.folder.join(format!("{number}.eml"))).ok();
        (1..).map_while(read).collect()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
