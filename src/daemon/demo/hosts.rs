//! The two fake hosts of the demo: each serves `Welcome to NAME` over HTTP on its own loopback
//! address, and can be broken and mended.

use std::io;
use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::routing::get;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

/// How often a port that is free on all addresses is looked for.
const PORT_TRIES: usize = 20;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 64;

pub struct Host {
    pub name: &'static str,
    address: SocketAddr,
    /// Absent while the host is broken.
    server: Option<JoinHandle<()>>,
}

impl Host {
    pub fn new(name: &'static str, ip: IpAddr, port: u16) -> Host {
        Host { name, address: SocketAddr::new(ip, port), server: None }
    }

    /// Starts to answer; does nothing if it does already.
    pub fn mend(&mut self) -> io::Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        let (name, listener) = (self.name, bind(self.address)?);
        let app = Router::new().route("/index.txt", get(move || async move { format!("Welcome to {name}\n") }));
        // The server ends only with its task.
        self.server = Some(tokio::spawn(async move { drop(axum::serve(listener, app).await) }));
        Ok(())
    }

    /// Stops to answer: connections are refused. Returns when the address is closed.
    pub async fn crash(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // An aborted task reports that it was cancelled: that is what we wait for.
            drop(server.await);
        }
    }

    pub fn is_up(&self) -> bool {
        self.server.is_some()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.server.iter().for_each(JoinHandle::abort);
    }
}

/// A port that is free on all these addresses: a check has one port for all nodes.
pub fn common_port(addresses: &[IpAddr]) -> io::Result<u16> {
    let mut last = None;
    for _ in 0..PORT_TRIES {
        let first = bind(SocketAddr::new(addresses[0], 0))?;
        let port = first.local_addr()?.port();
        match addresses[1..].iter().map(|ip| bind(SocketAddr::new(*ip, port))).collect::<io::Result<Vec<_>>>() {
            Ok(_) => return Ok(port),
            // Only a port in use is worth another try.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.expect("the loop ran and did not return"))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
