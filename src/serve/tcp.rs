//! DNS over TCP (RFC 7766): many queries on a connection, answers in their order, limits and
//! deadlines for all that a client can hold on to.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::dns::message::MESSAGE_MAX;
use crate::dns::transfer;
use crate::table::Live;
use crate::table::respond::{Limits, Response, failure, respond};

use super::counters::{Block, Relayed, Request, Tally};
use super::relay::{
    UNANSWERED,
    tcp::{Relay, Upstream},
};
use super::transfer::Transfers;

/// Connections that the system keeps for us until we accept them.
const BACKLOG: i32 = 511;
/// Pause when the process is out of descriptors or memory: connections end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Room for one answer; the rare larger one is made again in a larger buffer.
const REPLY_ROOM: usize = 4_096;
/// Answers are written once so many octets of them have been made.
const WRITE_AT: usize = 16_384;
/// Octets read at once while the length of a query is not known.
const READ_ROOM: usize = 1_024;

/// What clients may do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub limits: Limits,
    /// Connections in all.
    pub connections_max: usize,
    /// Connections of one IPv4 address, or of one IPv6 /64.
    pub connections_per_client: usize,
    /// Longest silence between two queries, in milliseconds.
    pub idle_ms: u32,
    /// Longest time from the first octet of a query to its last, in milliseconds.
    pub read_ms: u32,
    /// Longest time until the client has taken what is written, in milliseconds.
    pub write_ms: u32,
}

impl Settings {
    /// The defaults. `limits` should be those of a stream.
    pub fn new(limits: Limits) -> Settings {
        Settings {
            limits,
            connections_max: 1_000,
            connections_per_client: 50,
            idle_ms: 10_000,
            read_ms: 5_000,
            write_ms: 5_000,
        }
    }
}

/// Binds a listener; must be called within the runtime that will serve it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
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
    TcpListener::from_std(socket.into())
}

/// Serves until `shutdown` is ready; then no connection is accepted any more, and each ends after
/// the answers that it is owed, or its write deadline.
pub async fn run(
    listener: TcpListener,
    live: Arc<Live>,
    relay: Option<Arc<Relay>>,
    transfers: Option<Arc<Transfers>>,
    settings: Settings,
    block: Arc<Block>,
    shutdown: impl Future<Output = ()>,
) {
    let settings = Settings { limits: Limits { relay: relay.is_some(), ..settings.limits }, ..settings };
    let (stop, stopping) = watch::channel(());
    let door = Arc::new(Door::default());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Full: closed at once, which the client sees, and which costs us nothing more.
                let Some(place) = door.enter(peer.ip(), &settings) else { continue };
                let connection = Connection {
                    stream,
                    live: live.clone(),
                    relay: relay.clone(),
                    transfers: transfers.clone(),
                    peer: peer.ip(),
                    settings,
                    block: block.clone(),
                    upstream: Upstream::default(),
                    room: Vec::new(),
                    tally: Tally::default(),
                    _place: place,
                };
                connections.spawn(connection.run(stopping.clone()));
            }
            // The client gave up before we got to it: that says nothing about the next one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => tokio::select! {
                () = &mut shutdown => break,
                () = sleep(ACCEPT_PAUSE) => {}
            },
        }
    }
    drop(listener);
    drop(stop);
    while connections.join_next().await.is_some() {}
}

/// Who is inside.
#[derive(Default)]
struct Door(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    total: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// A connection's place; given back when it is dropped.
struct Place {
    door: Arc<Door>,
    client: IpAddr,
}

impl Door {
    /// `None`: all places, or all of this client's, are taken.
    fn enter(self: &Arc<Door>, address: IpAddr, settings: &Settings) -> Option<Place> {
        let client = client_of(address);
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = inside.by_client.get(&client).copied().unwrap_or(0);
        if inside.total >= settings.connections_max || own >= settings.connections_per_client {
            return None;
        }
        inside.total += 1;
        inside.by_client.insert(client, own + 1);
        Some(Place { door: self.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.door.0.lock().unwrap_or_else(PoisonError::into_inner);
        inside.total -= 1;
        match inside.by_client.get_mut(&self.client) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(inside.by_client.remove(&self.client)),
        }
    }
}

/// One client has one IPv4 address, but a whole IPv6 /64.
fn client_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

struct Connection {
    stream: TcpStream,
    live: Arc<Live>,
    relay: Option<Arc<Relay>>,
    transfers: Option<Arc<Transfers>>,
    peer: IpAddr,
    settings: Settings,
    block: Arc<Block>,
    upstream: Upstream,
    /// Where `respond` writes; empty until the first query.
    room: Vec<u8>,
    tally: Tally,
    _place: Place,
}

impl Connection {
    /// Until the client leaves, a deadline passes, or the server stops (`stopping` is closed).
    async fn run(mut self, mut stopping: watch::Receiver<()>) {
        let mut inbox = Vec::new();
        let mut replies = Vec::new();
        let _ = self.stream.set_nodelay(true);
        // A client that breaks off is no event.
        let _ = self.serve(&mut inbox, &mut replies, &mut stopping).await;
        self.block.add(&mut self.tally);
    }

    async fn serve(
        &mut self,
        inbox: &mut Vec<u8>,
        replies: &mut Vec<u8>,
        stopping: &mut watch::Receiver<()>,
    ) -> io::Result<()> {
        let mut frame_began = Instant::now();
        loop {
            let done = self.answer(inbox, replies).await?;
            self.write(replies).await?;
            self.block.add(&mut self.tally);
            if done > 0 {
                inbox.drain(..done);
                frame_began = Instant::now();
            }
            let deadline = match inbox.is_empty() {
                true => Instant::now() + Duration::from_millis(self.settings.idle_ms.into()),
                false => frame_began + Duration::from_millis(self.settings.read_ms.into()),
            };
            let was_empty = inbox.is_empty();
            inbox.reserve(missing(inbox));
            let read = tokio::select! {
                _ = stopping.changed() => return Ok(()),
                read = timeout_at(deadline, self.stream.read_buf(inbox)) => read,
            };
            match read {
                Ok(Ok(0)) | Err(_) => return Ok(()),
                Ok(Ok(_)) if was_empty => frame_began = Instant::now(),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Answers the whole queries in `inbox` and returns how many octets they took.
    async fn answer(&mut self, inbox: &[u8], replies: &mut Vec<u8>) -> io::Result<usize> {
        let mut done = 0;
        while let Some(query) = first_frame(&inbox[done..]) {
            done += 2 + query.len();
            if let (Some(transfers), Ok(Some(_))) = (&self.transfers, transfer::Request::read(query)) {
                let transfers = transfers.clone();
                self.tally.request(Request::Answered);
                self.write(replies).await?;
                transfers.serve(&mut self.stream, self.peer, query).await?;
                continue;
            }
            match self.respond(query, replies) {
                Response::Reply(_) | Response::Verify(_) => self.tally.request(Request::Answered),
                Response::Relay => {
                    self.tally.request(Request::Relayed);
                    // nsd may take its time; what is ready goes out first.
                    self.write(replies).await?;
                    self.relay(query, replies).await;
                }
                Response::Drop => self.tally.request(Request::Dropped),
            }
            if replies.len() >= WRITE_AT {
                self.write(replies).await?;
            }
        }
        Ok(done)
    }

    /// Our own answer, behind its length, at the end of `replies`.
    fn respond(&mut self, query: &[u8], replies: &mut Vec<u8>) -> Response {
        let table = self.live.load();
        let keys = self.transfers.as_ref().is_some_and(|transfers| transfers.has_keys());
        let limits = Limits { keys, ..self.settings.limits };
        self.room.resize(REPLY_ROOM, 0);
        let mut response = respond(&table, query, &limits, &mut self.room);
        if let (Response::Verify(max), Some(transfers)) = (response, &self.transfers) {
            let mut reply = Vec::new();
            if !transfers.answer_signed(&table, query, &limits, max, &mut reply) {
                return Response::Drop;
            }
            put_frame(replies, &reply, &mut self.tally);
            return Response::Reply(reply.len());
        }
        let truncated = |response, room: &[u8]| matches!(response, Response::Reply(_)) && room[2] & 0x02 != 0;
        if truncated(response, &self.room) {
            self.room.resize(MESSAGE_MAX, 0);
            response = respond(&table, query, &limits, &mut self.room);
        }
        if let Response::Reply(len) = response {
            put_frame(replies, &self.room[..len], &mut self.tally);
        }
        if self.room.len() > REPLY_ROOM {
            self.room = Vec::new();
        }
        response
    }

    async fn relay(&mut self, query: &[u8], replies: &mut Vec<u8>) {
        let Some(relay) = &self.relay else { return };
        match relay.ask(&mut self.upstream, query).await {
            Ok(reply) => {
                put_frame(replies, &reply, &mut self.tally);
                self.tally.relayed(Relayed::Answered);
            }
            Err(why) => {
                self.tally.relayed(why);
                if let Response::Reply(len) = failure(query, UNANSWERED, &self.settings.limits, &mut self.room) {
                    put_frame(replies, &self.room[..len], &mut self.tally);
                }
            }
        }
    }

    async fn write(&mut self, replies: &mut Vec<u8>) -> io::Result<()> {
        if replies.is_empty() {
            return Ok(());
        }
        timeout(Duration::from_millis(self.settings.write_ms.into()), self.stream.write_all(replies)).await??;
        replies.clear();
        replies.shrink_to(WRITE_AT);
        Ok(())
    }
}

/// The first whole message in `octets`, without its length.
fn first_frame(octets: &[u8]) -> Option<&[u8]> {
    let (len, rest) = octets.split_first_chunk()?;
    rest.get(..u16::from_be_bytes(*len).into())
}

/// How much more room the next read should have.
fn missing(inbox: &[u8]) -> usize {
    match inbox.first_chunk() {
        Some(len) => (2 + usize::from(u16::from_be_bytes(*len))).saturating_sub(inbox.len()).max(1),
        None => READ_ROOM,
    }
}

fn put_frame(replies: &mut Vec<u8>, message: &[u8], tally: &mut Tally) {
    // respond() and relay() make no message longer than MESSAGE_MAX.
    replies.extend_from_slice(&(message.len() as u16).to_be_bytes());
    replies.extend_from_slice(message);
    tally.reply(message);
}
