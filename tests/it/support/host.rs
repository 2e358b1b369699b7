//! A little HTTP or HTTPS host on loopback that can be broken in every way that a check must see.
//!
//! ```no_run
//! let authority = Authority::new();
//! let mut host = Host::https("127.0.0.1:0", "fishfinger.example.org", &authority);
//! // http(s)://127.0.0.1:{host.port()}/index.txt says "Welcome to fishfinger.example.org"
//! host.behave(Behaviour::Status(500));
//! host.stop();   // connections are refused
//! host.start();  // at the same port
//! ```

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::authority::Authority;

/// How a host answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Behaviour {
    /// 200 and "Welcome to NODE" at /index.txt, 404 elsewhere.
    Good,
    /// 200 and another text.
    WrongBody,
    /// This status, with the right body.
    Status(u16),
    /// 302 to this place.
    Redirect(String),
    /// The header arrives an octet at a time, forever.
    SlowHeader,
    /// Header lines without end.
    EndlessHeader,
    /// 200 and a wrong body without end.
    EndlessBody,
    /// The right text, but after 70 KiB of others.
    LateText,
    /// The body ends before its announced length.
    CutBody,
    /// No HTTP at all.
    Garbage,
    /// The request is read, then the connection is reset.
    Reset,
    /// The connection is accepted, and that is all.
    Silent,
}

pub struct Host {
    addr: SocketAddr,
    shared: Arc<Shared>,
    tls: Option<Arc<ServerConfig>>,
    running: Option<Running>,
}

struct Shared {
    node: String,
    behaviour: Mutex<Behaviour>,
    connections: AtomicUsize,
}

struct Running {
    stop: Arc<AtomicBool>,
    acceptor: JoinHandle<()>,
}

impl Host {
    /// Starts an HTTP host. Port 0 picks one, which is kept over `stop` and `start`.
    pub fn http(addr: &str, node: &str) -> Host {
        Host::new(addr, node, None).unwrap()
    }

    /// Starts an HTTPS host with a certificate for its name.
    pub fn https(addr: &str, node: &str, authority: &Authority) -> Host {
        Host::with_tls(addr, node, authority.server(&[node]))
    }

    /// Starts an HTTPS host with any certificate.
    pub fn with_tls(addr: &str, node: &str, tls: Arc<ServerConfig>) -> Host {
        Host::new(addr, node, Some(tls)).unwrap()
    }

    /// The error is that of binding the address: no IPv6 here, or a port in use.
    pub fn new(addr: &str, node: &str, tls: Option<Arc<ServerConfig>>) -> io::Result<Host> {
        let shared =
            Shared { node: node.to_owned(), behaviour: Mutex::new(Behaviour::Good), connections: AtomicUsize::new(0) };
        let addr = addr.parse().expect("an address and a port");
        let mut host = Host { addr, shared: Arc::new(shared), tls, running: None };
        host.listen()?;
        Ok(host)
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    /// Closes the port: connections are refused.
    pub fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        drop(TcpStream::connect(self.addr));
        running.acceptor.join().unwrap();
    }

    /// Listens again after `stop`.
    pub fn start(&mut self) {
        if self.running.is_none() {
            self.listen().unwrap();
        }
    }

    fn listen(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind(self.addr)?;
        self.addr = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, tls, stopping) = (Arc::clone(&self.shared), self.tls.clone(), Arc::clone(&stop));
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, tls, stopping) = (Arc::clone(&shared), tls.clone(), Arc::clone(&stopping));
                // A client that goes away is no concern of ours.
                thread::spawn(move || drop(serve(stream, &shared, tls, &stopping)));
            }
        });
        self.running = Some(Running { stop, acceptor });
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(stream: TcpStream, shared: &Shared, tls: Option<Arc<ServerConfig>>, stop: &AtomicBool) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let behaviour = shared.behaviour.lock().unwrap().clone();
    if behaviour == Behaviour::Silent {
        while !stop.load(Ordering::SeqCst) && (&stream).read(&mut [0; 512])? > 0 {}
        return Ok(());
    }
    let raw = stream.try_clone()?;
    match tls {
        None => answer(stream, &raw, shared, behaviour, stop),
        Some(tls) => {
            let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
            answer(StreamOwned::new(connection, stream), &raw, shared, behaviour, stop)
        }
    }
}

fn answer(
    mut stream: impl Read + Write,
    raw: &TcpStream,
    shared: &Shared,
    behaviour: Behaviour,
    stop: &AtomicBool,
) -> io::Result<()> {
    let path = request_path(&mut stream)?;
    let welcome = format!("Welcome to {}\n", shared.node);
    let is_going_on = || !stop.load(Ordering::SeqCst);
    match behaviour {
        Behaviour::Good if path == "/index.txt" => reply(&mut stream, 200, "", &welcome)?,
        Behaviour::Good => reply(&mut stream, 404, "", "not found\n")?,
        Behaviour::WrongBody => reply(&mut stream, 200, "", "It works!\n")?,
        Behaviour::Status(status) => reply(&mut stream, status, "", &welcome)?,
        Behaviour::Redirect(to) => reply(&mut stream, 302, &format!("Location: {to}\r\n"), &welcome)?,
        Behaviour::SlowHeader => {
            let header = format!("HTTP/1.1 200 OK\r\nX-Slow: {}", "z".repeat(10_000));
            for octet in header.bytes().take_while(|_| is_going_on()) {
                stream.write_all(&[octet])?;
                stream.flush()?;
                thread::sleep(Duration::from_millis(20));
            }
        }
        Behaviour::EndlessHeader => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            while is_going_on() {
                stream.write_all(b"X-More: and more and more and more\r\n")?;
            }
        }
        Behaviour::EndlessBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            while is_going_on() {
                stream.write_all(&[b'z'; 4096])?;
            }
        }
        Behaviour::LateText => reply(&mut stream, 200, "", &("z".repeat(70 * 1024) + &welcome))?,
        Behaviour::CutBody => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nWelcome")?,
        Behaviour::Garbage => stream.write_all(b"SSH-2.0-OpenSSH_9.7\r\n")?,
        Behaviour::Reset => {
            socket2::SockRef::from(raw).set_linger(Some(Duration::ZERO))?;
            return Ok(());
        }
        Behaviour::Silent => {}
    }
    stream.flush()
}

fn reply(stream: &mut impl Write, status: u16, header: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\nConnection: close\r\n{header}\r\n{body}")
}

/// Reads the header of a request; the path is in its first line.
fn request_path(stream: &mut impl Read) -> io::Result<String> {
    let mut header = Vec::new();
    let mut octet = [0];
    while !header.ends_with(b"\r\n\r\n") && header.len() < 8192 {
        if stream.read(&mut octet)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        header.push(octet[0]);
        if !header[0].is_ascii_alphabetic() {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let header = String::from_utf8_lossy(&header);
    Ok(header.split(' ').nth(1).unwrap_or_default().to_owned())
}
