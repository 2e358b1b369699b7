//! Sockets that the service manager has bound and hands over (systemd's socket activation,
//! sd_listen_fds(3)): who listens on port 53 then needs no right to bind it.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use listenfd::ListenFd;

/// What was handed over and not yet taken.
#[derive(Default)]
pub struct Inherited {
    udp: Vec<(SocketAddr, UdpSocket)>,
    tcp: Vec<(SocketAddr, TcpListener)>,
    /// What is neither, a word each.
    strange: Vec<String>,
}

impl Inherited {
    /// To be called once, before anything else opens files.
    pub fn from_env() -> Inherited {
        let mut handed = ListenFd::from_env();
        let mut inherited = Inherited::default();
        for index in 0..handed.len() {
            if let Err(error) = inherited.take_in(&mut handed, index) {
                inherited.strange.push(format!("number {index}: {error}"));
            }
        }
        inherited
    }

    /// One that is not of a kind stays where it is.
    fn take_in(&mut self, handed: &mut ListenFd, index: usize) -> io::Result<()> {
        if let Ok(Some(socket)) = handed.take_udp_socket(index) {
            self.udp.push((socket.local_addr()?, socket));
        } else if let Some(listener) = handed.take_tcp_listener(index)? {
            listener.set_nonblocking(true)?;
            self.tcp.push((listener.local_addr()?, listener));
        }
        Ok(())
    }

    /// The UDP sockets for an address. Several are several queues (`ReusePort=`).
    pub fn udp(&mut self, address: SocketAddr) -> Vec<UdpSocket> {
        let (taken, rest) = std::mem::take(&mut self.udp).into_iter().partition(|(bound, _)| *bound == address);
        self.udp = rest;
        let taken: Vec<(SocketAddr, UdpSocket)> = taken;
        taken.into_iter().map(|(_, socket)| socket).collect()
    }

    pub fn tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.tcp.iter().position(|(bound, _)| *bound == address)?;
        Some(self.tcp.swap_remove(at).1)
    }

    /// What nobody has taken, a line each: the unit and the configuration do not agree.
    pub fn left_over(&self) -> Vec<String> {
        let advice = "it is closed; let ListenStream= and ListenDatagram= say what the configuration says";
        let udp = self.udp.iter().map(|(address, _)| format!("{address} (UDP)"));
        let tcp = self.tcp.iter().map(|(address, _)| format!("{address} (TCP)"));
        let all = udp.chain(tcp).chain(self.strange.iter().cloned());
        all.map(|what| format!("the service manager handed over a socket that nothing listens on, {what}: {advice}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_by_address_and_the_rest_is_told() {
        let udp = || UdpSocket::bind("127.0.0.1:0").map(|socket| (socket.local_addr().unwrap(), socket)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mine, other, tcp) = (udp(), udp(), listener.local_addr().unwrap());
        let (address, left) = (mine.0, other.0);
        let mut inherited = Inherited { udp: vec![other, mine], tcp: vec![(tcp, listener)], strange: Vec::new() };
        assert!(inherited.udp(tcp).is_empty() && inherited.tcp(address).is_none());
        assert_eq!(inherited.udp(address).len(), 1);
        assert!(inherited.udp(address).is_empty(), "it was taken");
        assert!(inherited.tcp(tcp).is_some());
        let told = inherited.left_over();
        assert!(told.len() == 1 && told[0].contains(&format!("{left} (UDP)")), "{told:?}");
    }
}
