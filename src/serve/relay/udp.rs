//! The relay over UDP: a part of each server thread, so that nothing is shared between threads.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use crate::dns::message::{Query, answers};

use super::super::counters::{Relayed, Tally};
use super::super::proxy;
use super::super::sys::Calls;
use super::super::sys::batch::{Batch, Envelope};
use super::super::sys::random::Random;
use super::super::sys::segments::Segments;
use super::super::udp::Outgoing;
use super::pending::{Key, Pending, Waiting};
use super::{Settings, cookie};

/// Sockets towards nsd. Queries leave by one of them; the others are there for what was asked
/// before. Each turn opens a new one, with another port: a forger has to guess it within that time.
pub const SOCKETS: usize = 4;
/// Largest datagram in either direction, in octets: more than nsd's own default of 1232.
const DATAGRAM_MAX: usize = 4_096;
/// Tries for an ID that is not in use; with a table far smaller than 65,536 the first one does.
const ID_TRIES: usize = 16;
/// Shortest turn of a socket, in milliseconds.
const TURN_MIN_MS: u64 = 250;
/// Batches received from one socket before the clients' side gets its turn again.
const COLLECT_MAX: usize = 4;

pub struct Relay {
    address: SocketAddr,
    sockets: Vec<UdpSocket>,
    /// The one whose turn it is, and until when.
    socket: usize,
    turn_ends_ms: u64,
    pending: Pending,
    random: Random,
    /// Queries on their way to nsd, all by the same socket.
    queries: Batch,
    segments: Segments,
    replies: Batch,
    timeout_ms: u32,
    proxy: bool,
    calls: Calls,
}

impl Relay {
    /// Opens the sockets; nothing is sent yet.
    pub fn new(settings: &Settings, calls: Calls) -> io::Result<Relay> {
        Ok(Relay {
            address: settings.address,
            sockets: (0..SOCKETS).map(|_| open(settings.address)).collect::<io::Result<_>>()?,
            socket: 0,
            turn_ends_ms: 0,
            pending: Pending::new(settings.pending_max),
            random: Random::new()?,
            queries: Batch::new(DATAGRAM_MAX),
            segments: Segments::default(),
            replies: Batch::new(DATAGRAM_MAX),
            timeout_ms: settings.timeout_ms,
            proxy: settings.proxy,
            calls,
        })
    }

    /// Nobody waits.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// The sockets to wait for, besides the clients'.
    pub fn sockets(&self) -> &[UdpSocket] {
        &self.sockets
    }

    /// How long until the next request ends, in milliseconds.
    pub fn next_timeout_ms(&self, now_ms: u64) -> Option<u64> {
        Some(self.pending.next_deadline_ms()?.saturating_sub(now_ms))
    }

    /// Takes a well-formed query for nsd; it leaves with the next [`Relay::flush`].
    pub fn take(
        &mut self,
        query: &[u8],
        client: &Envelope,
        now_ms: u64,
        outgoing: &mut Outgoing<'_>,
        tally: &mut Tally,
    ) {
        if self.queries.is_full() {
            self.flush(outgoing, tally);
        }
        if now_ms >= self.turn_ends_ms {
            self.turn(now_ms, outgoing, tally);
        }
        let key = if self.pending.is_full() { None } else { self.new_key() };
        let read = Query::read(query).ok().filter(|_| query.len() <= DATAGRAM_MAX - proxy::WRITTEN_MAX);
        let (Some(key), Some(read)) = (key, read) else {
            outgoing.fail(query, client, tally);
            return tally.relayed(Relayed::Full);
        };
        self.pending.insert(
            key,
            query,
            read.question.wire.len(),
            client,
            now_ms.saturating_add(u64::from(self.timeout_ms)),
        );
        let copy = self.queries.spare();
        let head = match self.proxy {
            true => proxy::write(client.client(), proxy::Transport::Datagram, copy),
            false => 0,
        };
        let mut len = query.len();
        let copy = &mut copy[head..];
        copy[..len].copy_from_slice(query);
        copy[..2].copy_from_slice(&key.id.to_be_bytes());
        // What would be too long for us nsd shortens better than we could; but not where a signature
        // says what was asked.
        if let Some(edns) = read.edns.filter(|_| !read.is_signed) {
            let keeps_cookie = outgoing.keeps_cookie(&read);
            let own = if keeps_cookie { cookie::OPTION_LEN as u16 } else { 0 };
            let payload = edns.payload.min(outgoing.payload_max()).saturating_sub(own);
            if payload != edns.payload {
                copy[edns.payload_at..][..2].copy_from_slice(&payload.to_be_bytes());
            }
            if keeps_cookie {
                len = cookie::take_out(&mut copy[..len], &edns);
            }
        }
        self.queries.push(head + len, &Envelope::NONE);
    }

    /// Sends what has been taken.
    pub fn flush(&mut self, outgoing: &mut Outgoing<'_>, tally: &mut Tally) {
        if self.queries.is_empty() {
            return;
        }
        let socket = &self.sockets[self.socket];
        if self.queries.send_together(socket, self.calls, &mut self.segments).refused {
            self.refused(self.socket, outgoing, tally);
        }
    }

    /// From now on queries leave by a new socket. It takes the place of the oldest, whose requests
    /// have all ended: three turns last longer than one may wait.
    fn turn(&mut self, now_ms: u64, outgoing: &mut Outgoing<'_>, tally: &mut Tally) {
        self.flush(outgoing, tally);
        self.turn_ends_ms = now_ms.saturating_add(u64::from(self.timeout_ms / 2).max(TURN_MIN_MS));
        // Without descriptors to spare, the old port has to do for another turn.
        let Ok(socket) = open(self.address) else { return };
        let next = (self.socket + 1) % self.sockets.len();
        self.refused(next, outgoing, tally);
        self.sockets[next] = socket;
        self.socket = next;
    }

    /// Hands on what has arrived at the sockets that are ready, and answers without nsd who has waited
    /// too long.
    pub fn collect(
        &mut self,
        is_ready: impl Fn(usize) -> bool,
        now_ms: u64,
        outgoing: &mut Outgoing<'_>,
        tally: &mut Tally,
    ) {
        for socket in (0..self.sockets.len()).filter(|socket| is_ready(*socket)) {
            for _ in 0..COLLECT_MAX {
                match self.replies.receive(&self.sockets[socket], false, self.calls) {
                    Ok(()) if self.replies.is_empty() => break,
                    Ok(()) => {
                        self.hand_on(socket, outgoing, tally);
                        // What is left in the socket is announced again.
                        if !self.replies.is_full() {
                            break;
                        }
                    }
                    Err(error) => {
                        if error.kind() == io::ErrorKind::ConnectionRefused {
                            self.refused(socket, outgoing, tally);
                        }
                        break;
                    }
                }
            }
        }
        while let Some(waiting) = self.pending.take_expired(now_ms) {
            outgoing.fail(&waiting.query, &waiting.envelope, tally);
            tally.relayed(Relayed::Timeout);
        }
    }

    /// The replies just received: each to whom it belongs.
    fn hand_on(&mut self, socket: usize, outgoing: &mut Outgoing<'_>, tally: &mut Tally) {
        for at in 0..self.replies.len() {
            let (reply, _) = self.replies.get(at);
            let cut = self.replies.is_truncated(at);
            let Some(id) = reply.first_chunk().map(|id| u16::from_be_bytes(*id)) else {
                tally.relayed(Relayed::Stray);
                continue;
            };
            let is_answer = |waiting: &Waiting| answers(reply, id, waiting.question());
            let Some(waiting) = self.pending.take(Key { socket, id }, is_answer) else {
                tally.relayed(Relayed::Stray);
                continue;
            };
            tally.relayed(Relayed::Answered);
            outgoing.hand_on(reply, cut, &waiting.query, &waiting.envelope, tally);
        }
    }

    /// Nobody listens at nsd's address: who waits for it need not wait any longer.
    fn refused(&mut self, socket: usize, outgoing: &mut Outgoing<'_>, tally: &mut Tally) {
        while let Some(waiting) = self.pending.take_any_of(socket) {
            outgoing.fail(&waiting.query, &waiting.envelope, tally);
            tally.relayed(Relayed::Unreachable);
        }
    }

    /// A key that is not in use and cannot be foreseen.
    fn new_key(&mut self) -> Option<Key> {
        for _ in 0..ID_TRIES {
            let key = Key { socket: self.socket, id: self.random.next_u16().ok()? };
            if !self.pending.contains(key) {
                return Some(key);
            }
        }
        None
    }
}

/// A socket with a port of the system's choice, connected: datagrams from anywhere else never arrive,
/// and that nobody is there is told at once.
fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    Ok(socket)
}
