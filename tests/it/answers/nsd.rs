//! A real nsd on loopback, with the zone of these tests.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hickory_proto::op::Message;
use tempfile::TempDir;

use super::support::*;

pub struct Nsd {
    pub address: SocketAddr,
    folder: TempDir,
    child: Option<Child>,
}

impl Nsd {
    pub fn start() -> Nsd {
        let mut nsd = Nsd { address: ([127, 0, 0, 1], 0).into(), folder: tempfile::tempdir().unwrap(), child: None };
        // Nobody can reserve a port for another program: try again if somebody was faster.
        for _ in 0..10 {
            nsd.address.set_port(UdpSocket::bind(nsd.address).unwrap().local_addr().unwrap().port());
            nsd.run();
            if nsd.is_serving() {
                return nsd;
            }
            nsd.stop();
            nsd.address.set_port(0);
        }
        panic!("nsd does not start: {}", fs::read_to_string(nsd.folder.path().join("nsd.log")).unwrap_or_default());
    }

    /// Starts it (again), on the address that it has.
    pub fn run(&mut self) {
        let folder = self.folder.path().display();
        let port = self.address.port();
        let conf = format!(
            "server:\n ip-address: 127.0.0.1@{port}\n server-count: 1\n username: \"\"\n chroot: \"\"\n database: \"\"\n \
             zonesdir: {folder}\n pidfile: {folder}/nsd.pid\n xfrdfile: {folder}/xfrd.state\n \
             zonelistfile: {folder}/zone.list\n xfrdir: {folder}\n logfile: {folder}/nsd.log\n rrl-ratelimit: 0\n\
             remote-control:\n control-enable: no\nzone:\n name: example.org\n zonefile: example.org.zone\n"
        );
        let path = self.folder.path().join("nsd.conf");
        fs::write(&path, conf).unwrap();
        fs::write(self.folder.path().join("example.org.zone"), zone_text()).unwrap();
        let mut command = Command::new("nsd");
        command.arg("-d").arg("-c").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("nsd is installed"));
    }

    fn is_serving(&mut self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let query = query("@", 6).to_vec().unwrap();
        for _ in 0..100 {
            let mut reply = [0; 4096];
            let _ = socket.send(&query);
            if let Ok(len) = socket.recv(&mut reply) {
                return Message::from_vec(&reply[..len]).unwrap().answers.len() == 1;
            }
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            // A refused socket returns at once.
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Ends it and its children.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            child.wait().unwrap();
        }
    }

    pub fn wait_until_it_serves(&mut self) {
        eventually("nsd serves", || self.is_serving());
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// [`ZONE`] as nsd reads it.
pub fn zone_text() -> String {
    let mut text = String::from("$ORIGIN example.org.\n");
    for line in ZONE.lines().filter(|line| !line.is_empty() && !line.contains("occluded")) {
        let line = line.strip_suffix("primary").unwrap_or(line);
        let line = if line.contains(" A ") { line.strip_suffix("standby").unwrap_or(line) } else { line };
        let line = line.replace("8 2 00", &format!("8 2 {}", "00".repeat(32)));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for number in 0..20 {
        text.push_str(&format!("big 3600 TXT {number:->100}\n"));
    }
    text
}
