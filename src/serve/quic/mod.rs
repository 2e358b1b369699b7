//! DNS over QUIC (RFC 9250): who is let in, and how all of it ends. quinn does QUIC; what is said on a
//! connection is in `connection`.
//!
//! A handshake costs us a signature, and its first datagram can be sent by anybody in anybody's name:
//!
//! | the address                                     | what becomes of the handshake |
//! |---|---|
//! | has been shown to be the client's, by a token   | begins if there is a place at the [`Door`], else refused |
//! | has not, and few handshakes are of this kind    | begins; there has to be a place at its end |
//! | has not, and `UNPROVEN_MAX`   are               | Retry: the client comes again, with a token |

mod config;
mod connection;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, EndpointConfig, Incoming, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::table::respond::Limits;

use super::counters::Transport;
use super::door::{Door, Place};
use super::encrypted::Certificate;
use super::service::{Service, Settings};
use connection::Code;

/// Handshakes at a time with clients that have not shown yet that they are where they say. One that
/// fails counts until its deadline, so that forged ones cannot be had any faster than so.
const UNPROVEN_MAX: usize = 100;
/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How long we stay after the last connection has ended, to say so once more to who has not heard it.
const FAREWELL_MAX: Duration = Duration::from_millis(500);

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

/// A socket on which QUIC is spoken. What the system says about a datagram that cannot be sent or
/// received ends neither this nor a connection: quinn takes it for a datagram that is lost.
pub struct Listener(Endpoint);

impl Listener {
    /// Must be called within the runtime that will serve it. Fails where the system lacks what quinn
    /// asks of a socket.
    pub fn new(socket: UdpSocket, certificate: &Arc<Certificate>, settings: &Settings) -> io::Result<Listener> {
        let server = config::server(certificate, settings);
        Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime)).map(Listener)
    }

    /// Serves until `shutdown` is ready; then nobody is let in any more, and connections end after what
    /// they are owed.
    pub async fn run(self, door: Arc<Door>, service: Service, shutdown: impl Future<Output = ()>) {
        let (stop, stopping) = watch::channel(());
        let unproven = Arc::new(Semaphore::new(UNPROVEN_MAX));
        let service = Arc::new(service.with(|limits| Limits { encrypted: true, idle_ds: None, ..limits }));
        let hall = Arc::new(Hall { door, service, unproven, stopping });
        let mut guests = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let incoming = tokio::select! {
                () = &mut shutdown => break,
                Some(_) = guests.join_next(), if !guests.is_empty() => continue,
                incoming = self.0.accept() => incoming,
            };
            match incoming {
                Some(incoming) => hall.admit(incoming, &mut guests),
                // It ends together with the runtime, or by a fault of its own.
                None => {
                    tracing::error!("DNS over QUIC has ended");
                    break;
                }
            }
        }
        drop((stop, hall));
        let last = async { while guests.join_next().await.is_some() {} };
        let refusing = async {
            while let Some(incoming) = self.0.accept().await {
                incoming.refuse()
            }
        };
        tokio::select! {
            () = last => {}
            () = refusing => {}
        }
        self.0.close(Code::NO_ERROR.into(), b"");
        let _ = timeout(FAREWELL_MAX, self.0.wait_idle()).await;
    }
}

/// Where clients come in.
struct Hall {
    door: Arc<Door>,
    service: Arc<Service>,
    unproven: Arc<Semaphore>,
    /// Closed when the server stops.
    stopping: watch::Receiver<()>,
}

/// What a handshake needs in order to begin.
enum Ticket {
    /// The address is the client's own: nobody takes somebody else's places.
    Proven(Place),
    Unproven(OwnedSemaphorePermit),
}

impl Hall {
    fn admit(self: &Arc<Hall>, incoming: Incoming, guests: &mut JoinSet<()>) {
        let ticket = if incoming.remote_address_validated() {
            match self.door.enter(incoming.remote_address().ip(), Transport::Quic) {
                Some(place) => Ticket::Proven(place),
                None => return incoming.refuse(),
            }
        } else {
            match self.unproven.clone().try_acquire_owned() {
                Ok(permit) => Ticket::Unproven(permit),
                // Fails only for who comes with a token of ours, and so is proven.
                Err(_) => return drop(incoming.retry()),
            }
        };
        guests.spawn(self.clone().host(incoming, ticket));
    }

    /// From the handshake to the end.
    async fn host(self: Arc<Hall>, incoming: Incoming, ticket: Ticket) {
        let mut stopping = self.stopping.clone();
        let met = tokio::select! {
            met = self.handshake(incoming, ticket) => met,
            _ = stopping.changed() => None,
        };
        if let Some((connection, place)) = met {
            connection::serve(connection, place, self.service.clone(), stopping).await;
        }
    }

    /// quinn closes what is dropped here.
    async fn handshake(&self, incoming: Incoming, ticket: Ticket) -> Option<(Connection, Place)> {
        let deadline = Instant::now() + HANDSHAKE_MAX;
        let handshake = timeout_at(deadline, incoming);
        match ticket {
            Ticket::Proven(place) => {
                let evicted = place.evicted();
                tokio::select! {
                    connection = handshake => Some((connection.ok()?.ok()?, place)),
                    () = evicted => None,
                }
            }
            Ticket::Unproven(permit) => {
                let Ok(Ok(connection)) = handshake.await else {
                    sleep_until(deadline).await;
                    return None;
                };
                drop(permit);
                let place = self.door.enter(connection.remote_address().ip(), Transport::Quic);
                if place.is_none() {
                    connection.close(Code::EXCESSIVE_LOAD.into(), b"too many connections");
                }
                Some((connection, place?))
            }
        }
    }
}
