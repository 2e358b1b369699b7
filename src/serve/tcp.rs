//! DNS over TCP (RFC 7766): many queries on a connection, each answered as soon as its answer is
//! there; limits and deadlines for all that a client can hold on to.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::dns::message::MESSAGE_MAX;
use crate::dns::transfer;
use crate::table::Live;
use crate::table::respond::{Client, Limits, Response, failure, respond};

use super::counters::{Block, Relayed, Request, Tally};
use super::door::{Door, Place};
use super::proxy;
use super::relay::{
    UNANSWERED,
    tcp::{Relay, Upstream},
};
use super::transfer::Transfers;
use super::udp::now_s;

/// Connections that the system keeps for us until we accept them.
const BACKLOG: i32 = 511;
/// Pause when the process is out of descriptors or memory: connections end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Room for one answer; the rare larger one is made again in a larger buffer.
const REPLY_ROOM: usize = 4_096;
/// Answers are written once so many octets of them have been made.
const WRITE_AT: usize = 16_384;
/// Queries of one connection that may wait for nsd at a time; while so many do, nothing is read.
const RELAYED_MAX: usize = 8;
/// Octets read at once while the length of a query is not known.
const READ_ROOM: usize = 1_024;

/// What clients may do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub limits: Limits,
    /// Connections in all; when a further one comes, the one that has asked nothing for the longest
    /// time has to go.
    pub connections_max: usize,
    /// Connections of one IPv4 address, or of one IPv6 /64.
    pub connections_per_client: usize,
    /// Queries on one connection, after which it is closed; 0: any number.
    pub queries_max: u32,
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
            queries_max: 0,
            idle_ms: 10_000,
            read_ms: 5_000,
            write_ms: 5_000,
        }
    }
}

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

/// What stands beside our own answers.
#[derive(Clone, Default)]
pub struct Beside {
    /// Where questions that are not ours go; absent: they are refused.
    pub relay: Option<Arc<Relay>>,
    /// Who hands out zones and judges signatures.
    pub transfers: Option<Arc<Transfers>>,
    /// Load balancers, which must speak the PROXY protocol.
    pub proxies: Arc<[IpNet]>,
}

/// Serves until `shutdown` is ready; then no connection is accepted any more, and each ends after
/// the answers that it is owed, or its write deadline.
pub async fn run(
    listener: TcpListener,
    live: Arc<Live>,
    beside: Beside,
    settings: Settings,
    block: Arc<Block>,
    shutdown: impl Future<Output = ()>,
) {
    let Beside { relay, transfers, proxies } = beside;
    // What the client is told of (RFC 7828) is what holds.
    let idle_ds = u16::try_from(settings.idle_ms / 100).unwrap_or(u16::MAX);
    let limits = Limits { relay: relay.is_some(), idle_ds: Some(idle_ds), ..settings.limits };
    let settings = Settings { limits, ..settings };
    let (stop, stopping) = watch::channel(());
    let door = Door::new(settings.connections_max, settings.connections_per_client);
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
                let Some(place) = door.enter(peer.ip()) else { continue };
                let connection = Connection {
                    stream,
                    client: peer,
                    is_proxy: proxies.iter().any(|network| network.contains(&peer.ip())),
                    live: live.clone(),
                    relay: relay.clone(),
                    transfers: transfers.clone(),
                    relayed: JoinSet::new(),
                    upstreams: Vec::new(),
                    settings,
                    block: block.clone(),
                    room: Vec::new(),
                    asked: 0,
                    writes: 0,
                    tally: Tally::default(),
                    place,
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

struct Connection {
    stream: TcpStream,
    client: SocketAddr,
    /// A load balancer, which says who the client is before anything else.
    is_proxy: bool,
    live: Arc<Live>,
    relay: Option<Arc<Relay>>,
    transfers: Option<Arc<Transfers>>,
    /// Queries that wait for nsd.
    relayed: JoinSet<FromNsd>,
    /// Connections to nsd that nobody uses at the moment.
    upstreams: Vec<Upstream>,
    settings: Settings,
    block: Arc<Block>,
    /// Where `respond` writes; empty until the first query.
    room: Vec<u8>,
    asked: u32,
    writes: u32,
    tally: Tally,
    place: Place,
}

/// A query that was relayed, what came of it, and the way it took.
struct FromNsd {
    query: Vec<u8>,
    outcome: Result<Vec<u8>, Relayed>,
    upstream: Upstream,
}

impl Connection {
    /// Until the client leaves, a deadline passes, another one needs the place, or the server stops
    /// (`stopping` is closed).
    async fn run(mut self, mut stopping: watch::Receiver<()>) {
        let evicted = self.place.evicted();
        tokio::select! {
            // A client that breaks off is no event.
            _ = self.serve(&mut stopping) => {}
            () = evicted => {}
        }
        self.block.add(&mut self.tally);
    }

    async fn serve(&mut self, stopping: &mut watch::Receiver<()>) -> io::Result<()> {
        let (mut inbox, mut replies) = (Vec::new(), Vec::new());
        if self.is_proxy {
            let patience = Duration::from_millis(self.settings.read_ms.into());
            timeout(patience, self.read_header(&mut inbox)).await??;
        }
        let mut frame_began = Instant::now();
        let mut open = true;
        loop {
            let received = if inbox.is_empty() { None } else { self.block.batch_received() };
            let done = self.answer(&inbox, &mut replies).await?;
            self.write(&mut replies).await?;
            self.block.batch_sent(received);
            self.block.add(&mut self.tally);
            if done > 0 {
                inbox.drain(..done);
                frame_began = Instant::now();
            }
            open &= self.settings.queries_max == 0 || self.asked < self.settings.queries_max;
            if !open && self.relayed.is_empty() {
                return Ok(());
            }
            let deadline = match inbox.is_empty() {
                true => Instant::now() + Duration::from_millis(self.settings.idle_ms.into()),
                false => frame_began + Duration::from_millis(self.settings.read_ms.into()),
            };
            let was_empty = inbox.is_empty();
            inbox.reserve(missing(&inbox));
            let readable = open && self.relayed.len() < RELAYED_MAX;
            let read = tokio::select! {
                _ = stopping.changed() => return Ok(()),
                Some(Ok(done)) = self.relayed.join_next(), if !self.relayed.is_empty() => {
                    self.hand_on(done, &mut replies);
                    continue;
                }
                read = timeout_at(deadline, self.stream.read_buf(&mut inbox)), if readable => read,
            };
            match read {
                // What was asked before is still answered.
                Ok(Ok(0)) => open = false,
                // Who waits for nsd is not idle: nsd has a deadline of its own.
                Err(_) if was_empty && !self.relayed.is_empty() => {}
                Err(_) => return Ok(()),
                Ok(Ok(_)) if was_empty => frame_began = Instant::now(),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Reads what a load balancer says of the client.
    async fn read_header(&mut self, inbox: &mut Vec<u8>) -> io::Result<()> {
        loop {
            match proxy::read(inbox) {
                proxy::Header::Whole { len, client } => {
                    inbox.drain(..len);
                    self.client = client.unwrap_or(self.client);
                    return Ok(());
                }
                proxy::Header::Invalid => return Err(io::ErrorKind::InvalidData.into()),
                proxy::Header::Partial if self.stream.read_buf(inbox).await? == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                proxy::Header::Partial => {}
            }
        }
    }

    /// Answers the whole queries in `inbox` and returns how many octets they took. Stops early where
    /// no more may wait for nsd.
    async fn answer(&mut self, inbox: &[u8], replies: &mut Vec<u8>) -> io::Result<usize> {
        let mut done = 0;
        while let Some(query) = first_frame(&inbox[done..]) {
            if self.relayed.len() >= RELAYED_MAX || self.has_asked_enough() {
                break;
            }
            done += 2 + query.len();
            if let (Some(transfers), Ok(Some(_))) = (&self.transfers, transfer::Request::read(query)) {
                let transfers = transfers.clone();
                self.asked = self.asked.saturating_add(1);
                self.tally.request(Request::Answered);
                self.write(replies).await?;
                self.place.asked();
                // A stream of writes.
                (0..2).for_each(|_| self.no_delay());
                transfers.serve(&mut self.stream, self.client.ip(), query).await?;
                continue;
            }
            self.asked = self.asked.saturating_add(1);
            self.place.asked();
            match self.respond(query, replies) {
                Response::Reply(_) | Response::Verify(_) => self.tally.request(Request::Answered),
                Response::Relay => {
                    self.tally.request(Request::Relayed);
                    self.relay(query);
                }
                Response::Drop => self.tally.request(Request::Dropped),
            }
            if replies.len() >= WRITE_AT {
                self.write(replies).await?;
            }
        }
        Ok(done)
    }

    fn has_asked_enough(&self) -> bool {
        self.settings.queries_max != 0 && self.asked >= self.settings.queries_max
    }

    /// Our own answer, behind its length, at the end of `replies`.
    fn respond(&mut self, query: &[u8], replies: &mut Vec<u8>) -> Response {
        let table = self.live.load();
        let keys = self.transfers.as_ref().is_some_and(|transfers| transfers.has_keys());
        let limits = Limits { keys, ..self.settings.limits };
        let client = Client { address: self.client.ip(), now_s: now_s() };
        self.room.resize(REPLY_ROOM, 0);
        let mut response = respond(&table, query, &limits, &client, &mut self.room);
        if let (Response::Verify(max), Some(transfers)) = (response, &self.transfers) {
            let mut reply = Vec::new();
            if transfers.answer_signed(&table, query, &limits, &client, max, &mut reply).is_none() {
                return Response::Drop;
            }
            put_frame(replies, &reply, &mut self.tally);
            return response;
        }
        let truncated = |response, room: &[u8]| matches!(response, Response::Reply(_)) && room[2] & 0x02 != 0;
        if truncated(response, &self.room) {
            self.room.resize(MESSAGE_MAX, 0);
            response = respond(&table, query, &limits, &client, &mut self.room);
        }
        if let Response::Reply(answer) = response {
            put_frame(replies, &self.room[..answer.len], &mut self.tally);
        }
        if self.room.len() > REPLY_ROOM {
            self.room = Vec::new();
        }
        response
    }

    /// Has nsd asked beside everything else: on a connection of its own, as nsd answers one query of
    /// a connection after the other.
    fn relay(&mut self, query: &[u8]) {
        let Some(relay) = self.relay.clone() else { return };
        let (query, client) = (query.to_vec(), self.client);
        let mut upstream = self.upstreams.pop().unwrap_or_default();
        self.relayed.spawn(async move {
            let outcome = relay.ask(&mut upstream, &query, client).await;
            FromNsd { query, outcome, upstream }
        });
    }

    fn hand_on(&mut self, done: FromNsd, replies: &mut Vec<u8>) {
        self.upstreams.push(done.upstream);
        match done.outcome {
            Ok(reply) => {
                put_frame(replies, &reply, &mut self.tally);
                self.tally.relayed(Relayed::Answered);
            }
            Err(why) => {
                self.tally.relayed(why);
                let (table, limits) = (self.live.load(), &self.settings.limits);
                let client = Client { address: self.client.ip(), now_s: now_s() };
                self.room.resize(MESSAGE_MAX, 0);
                let response = failure(&table, &done.query, UNANSWERED, limits, &client, &mut self.room);
                if let Response::Reply(answer) = response {
                    put_frame(replies, &self.room[..answer.len], &mut self.tally);
                }
                self.room = Vec::new();
            }
        }
    }

    async fn write(&mut self, replies: &mut Vec<u8>) -> io::Result<()> {
        if replies.is_empty() {
            return Ok(());
        }
        self.no_delay();
        timeout(Duration::from_millis(self.settings.write_ms.into()), self.stream.write_all(replies)).await??;
        replies.clear();
        replies.shrink_to(WRITE_AT);
        Ok(())
    }
}

impl Connection {
    /// From the second write on, nothing waits for the client's acknowledgement. Before the first it
    /// would be a system call for nothing: nothing is on its way yet.
    fn no_delay(&mut self) {
        self.writes = self.writes.saturating_add(1);
        if self.writes == 2 {
            let _ = self.stream.set_nodelay(true);
        }
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
