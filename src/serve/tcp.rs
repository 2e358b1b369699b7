//! DNS over TCP (RFC 7766), and over TLS on top of it (RFC 7858): many queries on a connection, each
//! answered as soon as its answer is there; limits and deadlines for all that a client can hold on to.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

use crate::dns::transfer;
use crate::table::respond::Limits;

use super::answerer::{Outcome, REPLY_ROOM};
use super::counters::{Relayed, Request, Tally};
use super::door::Place;
use super::encrypted::Acceptor;
use super::listener::{self, Gate, Guest};
use super::service::Service;

/// Answers are written once so many octets of them have been made.
const WRITE_AT: usize = 16_384;
/// Queries of one connection that may wait for nsd at a time; while so many do, nothing is read.
const RELAYED_MAX: usize = 8;
/// Octets read at once while the length of a query is not known.
const READ_ROOM: usize = 1_024;

/// Serves until `shutdown` is ready; then no connection is accepted any more, and each ends after
/// the answers that it is owed, or its write deadline.
pub async fn run(listener: TcpListener, gate: Gate, service: Service, shutdown: impl Future<Output = ()>) {
    let service = Arc::new(telling_idle(service));
    listener::run(listener, gate, move |guest| plain(service.clone(), guest), shutdown).await;
}

/// The same over TLS.
pub async fn run_tls(
    listener: TcpListener,
    gate: Gate,
    acceptor: Acceptor,
    service: Service,
    shutdown: impl Future<Output = ()>,
) {
    let service = Arc::new(telling_idle(service).with(|limits| Limits { encrypted: true, ..limits }));
    listener::run(listener, gate, move |guest| encrypted(service.clone(), guest, acceptor.clone()), shutdown).await;
}

/// What the client is told of (RFC 7828) is what holds.
fn telling_idle(service: Service) -> Service {
    let idle_ds = u16::try_from(service.settings.idle_ms / 100).unwrap_or(u16::MAX);
    service.with(|limits| Limits { idle_ds: Some(idle_ds), ..limits })
}

async fn plain(service: Arc<Service>, guest: Guest) {
    let Guest { stream, client, place, mut stopping } = guest;
    // A client that breaks off is no event.
    let _ = Connection::new(stream, client, place, service).serve(&mut stopping).await;
}

async fn encrypted(service: Arc<Service>, guest: Guest, acceptor: Acceptor) {
    let Guest { stream, client, place, mut stopping } = guest;
    let Some(stream) = acceptor.accept(stream).await else { return };
    let patience = service.settings.write();
    let mut connection = Connection::new(stream, client, place, service);
    if connection.serve(&mut stopping).await.is_ok() {
        // So that the client knows that nobody has cut it off (RFC 8446 section 6.1).
        let _ = timeout(patience, connection.stream.shutdown()).await;
    }
}

/// What messages travel on.
trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// From now on nothing that is written waits for the client's acknowledgement.
    fn no_delay(&self);
}

impl Stream for TcpStream {
    fn no_delay(&self) {
        let _ = self.set_nodelay(true);
    }
}

impl Stream for TlsStream<TcpStream> {
    /// It has been so since before the handshake.
    fn no_delay(&self) {}
}

struct Connection<S> {
    stream: S,
    client: SocketAddr,
    place: Place,
    service: Arc<Service>,
    /// Queries that wait for nsd.
    relayed: JoinSet<FromNsd>,
    /// Where answers are made; empty until the first query.
    room: Vec<u8>,
    asked: u32,
    writes: u32,
    tally: Tally,
}

/// What came of a query that was relayed.
struct FromNsd {
    reply: Option<Vec<u8>>,
    result: Relayed,
}

impl<S: Stream> Connection<S> {
    fn new(stream: S, client: SocketAddr, place: Place, service: Arc<Service>) -> Connection<S> {
        Connection {
            stream,
            client,
            place,
            service,
            relayed: JoinSet::new(),
            room: Vec::new(),
            asked: 0,
            writes: 0,
            tally: Tally::default(),
        }
    }

    /// Until the client leaves, a deadline passes, or the server stops (`stopping` is closed).
    async fn serve(&mut self, stopping: &mut watch::Receiver<()>) -> io::Result<()> {
        let (settings, block) = (self.service.settings, self.service.block.clone());
        let (mut inbox, mut replies) = (Vec::new(), Vec::new());
        let mut frame_began = Instant::now();
        let mut open = true;
        loop {
            let received = first_frame(&inbox).and_then(|_| block.batch_received());
            let done = self.answer(&inbox, &mut replies).await?;
            self.write(&mut replies).await?;
            block.batch_sent(received);
            block.add(&mut self.tally);
            if done > 0 {
                inbox.drain(..done);
                frame_began = Instant::now();
            }
            open &= !settings.is_enough(self.asked);
            if !open && self.relayed.is_empty() {
                return Ok(());
            }
            let deadline = match inbox.is_empty() {
                true => Instant::now() + settings.idle(),
                false => frame_began + settings.read(),
            };
            let was_empty = inbox.is_empty();
            inbox.reserve(missing(&inbox));
            let readable = open && self.relayed.len() < RELAYED_MAX;
            let read = tokio::select! {
                Some(done) = self.relayed.join_next(), if !self.relayed.is_empty() => {
                    // One that has panicked has said so itself.
                    done.into_iter().for_each(|done| self.hand_on(done, &mut replies));
                    continue;
                }
                // Nothing more is read; what nsd has been asked for is still waited for.
                _ = stopping.changed(), if open => {
                    open = false;
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

    /// Answers the whole queries in `inbox` and returns how many octets they took. Stops early where
    /// no more may wait for nsd.
    async fn answer(&mut self, inbox: &[u8], replies: &mut Vec<u8>) -> io::Result<usize> {
        let service = self.service.clone();
        // RFC 9103 asks more of zone transfers over TLS than to encrypt them: there they are refused.
        let transfers = service.answerer.transfers().filter(|_| !service.answerer.limits().encrypted);
        let mut done = 0;
        while let Some(query) = first_frame(&inbox[done..]) {
            if self.relayed.len() >= RELAYED_MAX || service.settings.is_enough(self.asked) {
                break;
            }
            done += 2 + query.len();
            self.asked = self.asked.saturating_add(1);
            if let (Some(transfers), Ok(Some(_))) = (transfers, transfer::Request::read(query)) {
                self.tally.request(Request::Answered);
                self.write(replies).await?;
                // A stream of writes.
                self.stream.no_delay();
                let _busy = self.place.busy();
                transfers.serve(&mut self.stream, self.client.ip(), query).await?;
                continue;
            }
            self.place.asked();
            match service.answerer.respond(query, self.client.ip(), &mut self.room, &mut self.tally) {
                Outcome::Reply(len) => put_frame(replies, &self.room[..len], &mut self.tally),
                Outcome::Relay => self.relay(query),
                Outcome::Drop => {}
            }
            if self.room.len() > REPLY_ROOM {
                self.room = Vec::new();
            }
            if replies.len() >= WRITE_AT {
                self.write(replies).await?;
            }
        }
        Ok(done)
    }

    /// Has nsd asked beside everything else.
    fn relay(&mut self, query: &[u8]) {
        let (query, client, service) = (query.to_vec(), self.client, self.service.clone());
        let busy = self.place.busy();
        self.relayed.spawn(async move {
            let (reply, result) = service.answerer.relayed(&query, client).await;
            drop(busy);
            FromNsd { reply, result }
        });
    }

    fn hand_on(&mut self, done: FromNsd, replies: &mut Vec<u8>) {
        self.tally.relayed(done.result);
        if let Some(reply) = done.reply {
            put_frame(replies, &reply, &mut self.tally);
        }
    }

    async fn write(&mut self, replies: &mut Vec<u8>) -> io::Result<()> {
        if replies.is_empty() {
            return Ok(());
        }
        self.no_delay();
        let written = async {
            self.stream.write_all(replies).await?;
            self.stream.flush().await
        };
        timeout(self.service.settings.write(), written).await??;
        replies.clear();
        replies.shrink_to(WRITE_AT);
        Ok(())
    }

    /// From the second write on, nothing waits for the client's acknowledgement. Before the first it
    /// would be a system call for nothing: nothing is on its way yet.
    fn no_delay(&mut self) {
        self.writes = self.writes.saturating_add(1);
        if self.writes == 2 {
            self.stream.no_delay();
        }
    }
}

impl<S> Drop for Connection<S> {
    /// However it ends, what it has counted counts.
    fn drop(&mut self) {
        self.service.block.add(&mut self.tally);
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
