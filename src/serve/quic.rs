//! DNS over QUIC (RFC 9250): a stream for each query, answered as soon as its answer is there.
//! hickory does QUIC; docs/dns.md says what it does not let us limit.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_server::net::quic::{DoqErrorCode, QuicServer, QuicStream, QuicStreams};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::table::respond::Limits;

use super::counters::Transport;
use super::door::{Door, Place};
use super::encrypted::Certificate;
use super::service::Service;

/// Pause before a listener that has ended is opened again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// A connection that we end stays for so long: until the client has the answers, we must be there to
/// send them again, and hickory does not say when it has.
const LINGER: Duration = Duration::from_millis(500);

/// Binds a socket for QUIC.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // 0.0.0.0 has its own socket.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Serves until `shutdown` is ready; connections then end after what they are owed.
pub async fn run(
    socket: UdpSocket,
    door: Arc<Door>,
    certificate: Arc<Certificate>,
    service: Service,
    shutdown: impl Future<Output = ()>,
) {
    let service = Arc::new(service.with(|limits| Limits { encrypted: true, idle_ds: None, ..limits }));
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let ended = tokio::select! {
            () = &mut shutdown => break,
            ended = accept(&socket, &certificate, &door, &service, &stopping, &mut connections) => ended,
        };
        let why = ended.err().map_or_else(|| "its socket fails".to_owned(), |error| error.to_string());
        tracing::error!("DNS over QUIC has ended: {why}; opening it again");
        tokio::select! {
            () = &mut shutdown => break,
            () = sleep(RESTART_PAUSE) => {}
        }
    }
    drop(stop);
    while connections.join_next().await.is_some() {}
}

/// Accepts connections for as long as the socket works.
async fn accept(
    socket: &UdpSocket,
    certificate: &Arc<Certificate>,
    door: &Arc<Door>,
    service: &Arc<Service>,
    stopping: &watch::Receiver<()>,
    connections: &mut JoinSet<()>,
) -> io::Result<()> {
    // The socket itself stays with us: another one might not be had again, as somebody else by now.
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    let mut server = QuicServer::with_socket(socket, certificate.clone()).map_err(io::Error::other)?;
    loop {
        // Nothing else is waited for beside it: a handshake under way would be lost.
        let accepted = server.next().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok(Some((streams, client))) => {
                let Some(place) = door.enter(client.ip(), Transport::Quic) else { continue };
                connections.spawn(service.clone().host(streams, client, place, stopping.clone()));
            }
            Ok(None) => return Ok(()),
            // A handshake that has failed says nothing about the next one.
            Err(_) => {}
        }
    }
}

/// The client does not keep to the protocol (RFC 9250 section 4.3.3): its connection ends.
struct Violation;

impl Service {
    async fn host(
        self: Arc<Service>,
        streams: QuicStreams,
        client: SocketAddr,
        place: Place,
        stopping: watch::Receiver<()>,
    ) {
        let evicted = place.evicted();
        tokio::select! {
            () = self.serve(streams, client, place, stopping) => {}
            () = evicted => {}
        }
    }

    /// Until the client leaves, says nothing for too long, or the server stops.
    async fn serve(
        self: Arc<Service>,
        mut streams: QuicStreams,
        client: SocketAddr,
        place: Place,
        mut stopping: watch::Receiver<()>,
    ) {
        let (mut queries, mut asked) = (JoinSet::new(), 0_u32);
        while !self.settings.is_enough(asked) {
            tokio::select! {
                Some(done) = queries.join_next(), if !queries.is_empty() => {
                    if let Ok(Err(Violation)) = done {
                        return;
                    }
                }
                _ = stopping.changed() => break,
                next = timeout(self.settings.idle(), streams.next()) => match next {
                    Ok(Some(Ok(stream))) => {
                        asked = asked.saturating_add(1);
                        place.asked();
                        queries.spawn(self.clone().exchange(stream, client));
                    }
                    // The client has closed it.
                    Ok(Some(Err(_)) | None) => return,
                    // Who waits for nsd is not idle.
                    Err(_) if !queries.is_empty() => {}
                    Err(_) => return,
                },
            }
        }
        while queries.join_next().await.is_some() {}
        // What the client begins now is nobody's any more.
        let _ = timeout(LINGER, async { while let Some(Ok(_)) = streams.next().await {} }).await;
    }

    /// One query: a length, a message, and the same back. No answer: the stream is reset.
    async fn exchange(self: Arc<Service>, mut stream: QuicStream, client: SocketAddr) -> Result<(), Violation> {
        let Ok(Ok(query)) = timeout(self.settings.read(), stream.receive_bytes()).await else { return Ok(()) };
        // RFC 9250 section 4.2.1.
        if query.first_chunk::<2>().is_some_and(|id| *id != [0, 0]) {
            let _ = stream.reset(DoqErrorCode::ProtocolError);
            return Err(Violation);
        }
        let received = self.block.batch_received();
        let Some(reply) = self.answer(&query, client).await else {
            let _ = stream.reset(DoqErrorCode::ProtocolError);
            return Ok(());
        };
        // A client that is gone is no event.
        let sent = async { stream.send_bytes(reply.into()).await.is_ok() && stream.finish().await.is_ok() };
        let _ = timeout(self.settings.write(), sent).await;
        self.block.batch_sent(received);
        Ok(())
    }
}
