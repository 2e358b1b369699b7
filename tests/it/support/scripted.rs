//! A server on loopback that plays a part: a closure for each connection, over TCP or TLS. It is there
//! over IPv4 and IPv6, under one port.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a part is played on.
pub trait Line: Read + Write {}
impl<T: Read + Write> Line for T {}

pub struct Scripted {
    port: u16,
    stop: Arc<AtomicBool>,
    acceptors: Vec<(SocketAddr, JoinHandle<()>)>,
}

impl Scripted {
    /// A part over plain TCP; it also gets the raw connection, to go on with TLS.
    pub fn tcp(part: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Scripted {
        let (stop, part) = (Arc::new(AtomicBool::new(false)), Arc::new(part));
        let listeners = on_both_loopbacks();
        let port = listeners[0].local_addr().unwrap().port();
        let accept = |listener: TcpListener| {
            let (stopping, part) = (Arc::clone(&stop), Arc::clone(&part));
            let address = listener.local_addr().unwrap();
            (
                address,
                thread::spawn(move || {
                    for stream in listener.incoming() {
                        if stopping.load(Ordering::SeqCst) {
                            break;
                        }
                        let Ok(stream) = stream else { continue };
                        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                        let part = Arc::clone(&part);
                        // A client that goes away is no concern of ours.
                        thread::spawn(move || drop(part(stream)));
                    }
                }),
            )
        };
        let acceptors = listeners.map(accept).into();
        Scripted { port, stop, acceptors }
    }

    /// A part over TLS.
    pub fn tls(
        config: Arc<ServerConfig>,
        part: impl Fn(&mut dyn Line) -> io::Result<()> + Send + Sync + 'static,
    ) -> Scripted {
        Scripted::tcp(move |stream| part(&mut secured(stream, &config)?))
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for (address, acceptor) in self.acceptors.drain(..) {
            drop(TcpStream::connect(address));
            acceptor.join().unwrap();
        }
    }
}

/// Listeners over IPv4 and IPv6 on the same port, which must be free over both.
pub fn on_both_loopbacks() -> [TcpListener; 2] {
    loop {
        let ipv4 = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(ipv6) = TcpListener::bind(("::1", ipv4.local_addr().unwrap().port())) {
            return [ipv4, ipv6];
        }
    }
}

/// The server's side of a TLS connection.
pub fn secured(stream: TcpStream, config: &Arc<ServerConfig>) -> io::Result<StreamOwned<ServerConnection, TcpStream>> {
    let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}

/// Reads a line, its end included.
pub fn line(stream: &mut (impl Read + ?Sized)) -> io::Result<String> {
    let mut line = Vec::new();
    let mut octet = [0];
    while line.last() != Some(&b'\n') && stream.read(&mut octet)? == 1 {
        line.push(octet[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
