//! The relay over TCP: a few connections to nsd, which all clients share.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// Connections to nsd, busy or not: nsd takes 100 by default (`tcp-count` in nsd.conf(5)), and has secondaries
/// and others to serve. It answers from memory; who comes when all are busy waits for its turn.
pub const CONNECTIONS_MAX: usize = 32;

/// Where nsd is, and the ways to it.
pub struct Relay {
    address: SocketAddr,
    timeout: Duration,
    /// For all who wait, be it for their turn.
    places: Semaphore,
    /// For the connections in use.
    turns: Semaphore,
    /// Connections that nobody uses at the moment, the one used last at the end.
    idle: Mutex<Vec<Connection>>,
    proxy: bool,
}

/// A connection to nsd, for one query at a time: nsd answers those of a connection one after the other.
struct Connection {
    stream: TcpStream,
    /// Whom nsd takes it for, if it is told (PROXY protocol): then it is that client's alone.
    client: Option<SocketAddr>,
    random: Random,
}

impl Relay {
    pub fn new(settings: &Settings) -> Relay {
        Relay {
            address: settings.address,
            timeout: Duration::from_millis(settings.timeout_ms.into()),
            places: Semaphore::new(settings.pending_max.min(Semaphore::MAX_PERMITS)),
            turns: Semaphore::new(CONNECTIONS_MAX),
            idle: Mutex::default(),
            proxy: settings.proxy,
        }
    }

    /// Asks nsd for a client. The answer carries the ID of `query`. An error says what to count; the client is to
    /// get SERVFAIL.
    pub async fn ask(&self, query: &[u8], client: SocketAddr) -> Result<Vec<u8>, Relayed> {
        let _place: SemaphorePermit<'_> = self.places.try_acquire().map_err(|_| Relayed::Full)?;
        match timeout(self.timeout, self.exchange(query, client)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => Err(Relayed::Stray),
            Ok(Err(_)) => Err(Relayed::Unreachable),
            Err(_) => Err(Relayed::Timeout),
        }
    }

    /// A connection comes back only with a good reply: else whatever arrives on it from now on would be the
    /// answer to another question.
    async fn exchange(&self, query: &[u8], client: SocketAddr) -> io::Result<Vec<u8>> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let client = self.proxy.then_some(client);
        let used = self.take_idle(client);
        let answered = match used {
            Some(mut connection) => connection.converse(query).await.map(|reply| (connection, reply)).ok(),
            None => None,
        };
        let (connection, reply) = match answered {
            Some(answered) => answered,
            // nsd closes what has been idle; that is known only after the attempt.
            None => {
                let mut connection = Connection::open(self.address, client).await?;
                let reply = connection.converse(query).await?;
                (connection, reply)
            }
        };
        let reply = reply?;
        self.lock().push(connection);
        Ok(reply)
    }

    /// A connection that serves for this client. Without one, there is room for a new one afterwards.
    fn take_idle(&self, client: Option<SocketAddr>) -> Option<Connection> {
        let mut idle = self.lock();
        let found = idle.iter().rposition(|connection| connection.client == client);
        if found.is_none() && idle.len() > self.turns.available_permits() {
            idle.remove(0);
        }
        found.map(|at| idle.remove(at))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    async fn open(address: SocketAddr, client: Option<SocketAddr>) -> io::Result<Connection> {
        let random = Random::new()?;
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        if let Some(client) = client {
            let mut header = [0; proxy::WRITTEN_MAX];
            let len = proxy::write(client, proxy::Transport::Stream, &mut header);
            stream.write_all(&header[..len]).await?;
        }
        Ok(Connection { stream, client, random })
    }

    /// One query, one reply (RFC 7766 section 8: two octets of length in front), if it is one to this query. The
    /// outer error: nsd has closed the connection.
    async fn converse(&mut self, query: &[u8]) -> io::Result<io::Result<Vec<u8>>> {
        let id = self.random.next_u16()?;
        let mut framed = Vec::with_capacity(2 + query.len());
        framed.extend_from_slice(&u16::try_from(query.len()).map_err(io::Error::other)?.to_be_bytes());
        framed.extend_from_slice(query);
        framed[2..4].copy_from_slice(&id.to_be_bytes());
        self.stream.write_all(&framed).await?;
        let len = self.stream.read_u16().await?;
        let mut reply = vec![0; len.into()];
        self.stream.read_exact(&mut reply).await?;
        Ok(checked(reply, id, query))
    }
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
