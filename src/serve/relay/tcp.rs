//! The relay over TCP: one connection to nsd beside each client connection that needs it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::dns::message::{HEADER_LEN, Query, answers};

use super::super::counters::Relayed;
use super::super::proxy;
use super::super::sys::random::Random;
use super::Settings;

/// What all client connections share: where nsd is, and how many may ask it at the same time.
pub struct Relay {
    address: SocketAddr,
    timeout: Duration,
    places: Semaphore,
    proxy: bool,
}

/// One client connection's way to nsd.
#[derive(Default)]
pub struct Upstream {
    connection: Option<TcpStream>,
    random: Option<Random>,
}

impl Relay {
    pub fn new(settings: &Settings) -> Relay {
        Relay {
            address: settings.address,
            timeout: Duration::from_millis(settings.timeout_ms.into()),
            places: Semaphore::new(settings.pending_max.min(Semaphore::MAX_PERMITS)),
            proxy: settings.proxy,
        }
    }

    /// Asks nsd for a client. The answer carries the ID of `query`. An error says what to count; the client is to
    /// get SERVFAIL.
    pub async fn ask(&self, upstream: &mut Upstream, query: &[u8], client: SocketAddr) -> Result<Vec<u8>, Relayed> {
        let _place: SemaphorePermit<'_> = self.places.try_acquire().map_err(|_| Relayed::Full)?;
        let outcome = timeout(self.timeout, self.exchange(upstream, query, client)).await;
        if !matches!(outcome, Ok(Ok(_))) {
            // Whatever arrives on it from now on would be the answer to another question.
            upstream.connection = None;
        }
        match outcome {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => Err(Relayed::Stray),
            Ok(Err(_)) => Err(Relayed::Unreachable),
            Err(_) => Err(Relayed::Timeout),
        }
    }

    async fn exchange(&self, upstream: &mut Upstream, query: &[u8], client: SocketAddr) -> io::Result<Vec<u8>> {
        let random = match &mut upstream.random {
            Some(random) => random,
            none => none.insert(Random::new()?),
        };
        let id = random.next_u16()?;
        let mut framed = Vec::with_capacity(2 + query.len());
        framed.extend_from_slice(&u16::try_from(query.len()).map_err(io::Error::other)?.to_be_bytes());
        framed.extend_from_slice(query);
        framed[2..4].copy_from_slice(&id.to_be_bytes());
        if let Some(connection) = &mut upstream.connection {
            // nsd closes what has been idle; that is known only after the attempt.
            match converse(connection, &framed).await {
                Ok(reply) => return checked(reply, id, query),
                Err(_) => upstream.connection = None,
            }
        }
        let connection = upstream.connection.insert(TcpStream::connect(self.address).await?);
        connection.set_nodelay(true)?;
        if self.proxy {
            // Once for the connection, which is this client's alone.
            let mut header = [0; proxy::WRITTEN_MAX];
            let len = proxy::write(client, proxy::Transport::Stream, &mut header);
            connection.write_all(&header[..len]).await?;
        }
        let reply = converse(connection, &framed).await?;
        checked(reply, id, query)
    }
}

/// One query, one answer (RFC 7766 section 8: two octets of length in front).
async fn converse(connection: &mut TcpStream, framed: &[u8]) -> io::Result<Vec<u8>> {
    connection.write_all(framed).await?;
    let len = connection.read_u16().await?;
    let mut reply = vec![0; len.into()];
    connection.read_exact(&mut reply).await?;
    Ok(reply)
}

/// The reply with the client's ID, if it is one to this query.
fn checked(mut reply: Vec<u8>, id: u16, query: &[u8]) -> io::Result<Vec<u8>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let question = Query::read(query).map_err(|_| invalid())?.question.wire;
    debug_assert!(query[HEADER_LEN..].starts_with(question));
    if !answers(&reply, id, question) {
        return Err(invalid());
    }
    reply[..2].copy_from_slice(&query[..2]);
    Ok(reply)
}
