//! Connections from a listening socket to those who serve them: who may come in ([`Door`]), for whom
//! a load balancer comes, and the way out when the server stops.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::counters::Transport;
use super::door::{Door, Place};
use super::proxy;

/// Connections that the system keeps for us until we accept them.
const BACKLOG: i32 = 511;
/// Pause when the process is out of descriptors or memory: connections end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The log says so this often at the most: clients can cause it.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Binds a listener; must be called within the runtime that will serve it.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // 0.0.0.0 has its own socket.
        socket.set_only_v6(true)?;
    }
    // Connections of the last run that are still closing do not keep us from starting.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Who is let in.
#[derive(Clone)]
pub struct Gate {
    pub transport: Transport,
    /// One for all listeners.
    pub door: Arc<Door>,
    /// Load balancers, which must speak the PROXY protocol.
    pub proxies: Arc<[IpNet]>,
    /// Longest time until a load balancer has said for whom it comes, in milliseconds.
    pub header_ms: u32,
}

/// A client that was let in.
pub struct Guest {
    pub stream: TcpStream,
    pub client: SocketAddr,
    pub place: Place,
    /// Closed when the server stops: what is owed is still answered.
    pub stopping: watch::Receiver<()>,
}

/// Hands every connection to `serve` until `shutdown` is ready; then none is accepted any more, and
/// this waits for those that there are. Who has to make room is dropped wherever it stands.
pub async fn run<S, F>(listener: TcpListener, gate: Gate, serve: S, shutdown: impl Future<Output = ()>)
where
    S: Fn(Guest) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut last_warned: Option<Instant> = None;
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let is_proxy = gate.proxies.iter().any(|network| network.contains(&peer.ip()));
                let place = match is_proxy {
                    true => gate.door.enter_unnamed(gate.transport),
                    false => gate.door.enter(peer.ip(), gate.transport),
                };
                // Full: closed at once, which the client sees, and which costs us nothing more.
                let Some(place) = place else { continue };
                let header = is_proxy.then(|| Duration::from_millis(gate.header_ms.into()));
                let guest = Guest { stream, client: peer, place, stopping: stopping.clone() };
                connections.spawn(host(guest, header, serve.clone()));
            }
            // The client gave up before we got to it: that says nothing about the next one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if last_warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                    last_warned = Some(Instant::now());
                    let transport = gate.transport.as_str();
                    tracing::warn!("no more connections over {transport} for the moment: {error}");
                }
                tokio::select! {
                    () = &mut shutdown => break,
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    drop(stop);
    while connections.join_next().await.is_some() {}
}

/// `header`: how long a load balancer has to say for whom it comes.
async fn host<F: Future<Output = ()>>(mut guest: Guest, header: Option<Duration>, serve: impl Fn(Guest) -> F) {
    let evicted = guest.place.evicted();
    let served = async move {
        if let Some(patience) = header {
            let Ok(Ok(client)) = timeout(patience, read_header(&mut guest.stream)).await else { return };
            if let Some(client) = client {
                guest.client = client;
                if !guest.place.name(client.ip()) {
                    return;
                }
            }
        }
        serve(guest).await;
    };
    tokio::select! {
        () = served => {}
        () = evicted => {}
    }
}

/// What a load balancer says of the client, and not an octet more. `None`: it comes for itself.
async fn read_header(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut header = Vec::with_capacity(proxy::HEADER_MAX);
    loop {
        match proxy::read(&header) {
            proxy::Header::Whole { client, .. } => return Ok(client),
            proxy::Header::Invalid => return Err(io::ErrorKind::InvalidData.into()),
            proxy::Header::Partial => {
                let missing = proxy::missing(&header) as u64;
                if (&mut *stream).take(missing).read_buf(&mut header).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}
