//! DNS over UDP: threads that block on sockets of their own, take what has arrived in one batch,
//! answer all of it from one table, and send the answers in one batch.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::health::family::Family;
use crate::table::Live;
use crate::table::respond::{Limits, Response, respond};

use super::counters::{Block, Counters, Request, Tally, Transport};
use super::relay::{self, udp::Relay};
use super::sys::batch::{Batch, Envelope};
use super::sys::{self, Calls, source};
use super::transfer::Transfers;

/// Receive buffer asked for, in octets: what arrives during a hiccup waits here. The system may give less.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Longest query taken, in octets.
const QUERY_MAX: usize = 4_096;
/// Longest reply sent, in octets; relayed ones included.
const REPLY_MAX: usize = 4_096;
/// How often a thread that waits looks whether it shall stop, in milliseconds.
const TICK_MS: u16 = 250;
/// Batches answered after the order to stop, so that what had arrived by then is answered.
const DRAIN_MAX: usize = 64;
/// Pause after an error of the socket, in milliseconds: no spinning, and soon back.
const ERROR_PAUSE_MS: u64 = 10;

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub limits: Limits,
    /// `None`: what is not ours is refused. [`Limits::relay`] follows from it.
    pub relay: Option<relay::Settings>,
    pub calls: Calls,
}

/// Binds so many sockets, at least one, to one address; with port 0 all get the same one.
///
/// On Linux each has its own queue (SO_REUSEPORT), elsewhere they share one. An address that
/// somebody else has is an error, even where SO_REUSEPORT would let us share it.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let own_queues = cfg!(target_os = "linux") && count > 1;
    if own_queues && address.port() != 0 {
        // Fails where the port is taken by a socket that would share it with us.
        bind_one(address, false)?;
    }
    let first = bind_one(address, own_queues)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(if own_queues { bind_one(address, true)? } else { sockets[0].try_clone()? });
    }
    Ok(sockets)
}

fn bind_one(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // 0.0.0.0 has its own socket.
        socket.set_only_v6(true)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(shared)?;
    #[cfg(not(target_os = "linux"))]
    let _ = shared;
    socket.bind(&address.into())?;
    // A smaller buffer is no reason not to serve.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    let socket = UdpSocket::from(socket);
    if address.ip().is_unspecified() {
        source::enable(&socket)?;
    }
    Ok(socket)
}

/// The threads that serve a set of sockets, until it is stopped.
pub struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts a thread for each socket. Fails if the relay's sockets cannot be opened.
    pub fn start(
        sockets: Vec<UdpSocket>,
        live: &Arc<Live>,
        settings: &Settings,
        transfers: Option<&Arc<Transfers>>,
        counters: &Counters,
    ) -> io::Result<Server> {
        let mut server = Server { stop: Arc::default(), threads: Vec::new() };
        let limits = Limits { relay: settings.relay.is_some(), ..settings.limits };
        for (number, socket) in sockets.into_iter().enumerate() {
            socket.set_read_timeout(Some(Duration::from_millis(TICK_MS.into())))?;
            let family = if socket.local_addr()?.is_ipv6() { Family::Ipv6 } else { Family::Ipv4 };
            let relay = settings.relay.map(|relay| Relay::new(&relay, limits, settings.calls));
            let worker = Worker {
                live: live.clone(),
                limits,
                calls: settings.calls,
                relay: relay.transpose()?,
                transfers: transfers.cloned(),
                block: counters.block(Transport::Udp, family),
                stop: server.stop.clone(),
                started: Instant::now(),
                inbox: Batch::new(QUERY_MAX),
                outbox: Batch::new(REPLY_MAX),
                tally: Tally::default(),
                socket,
            };
            let thread = thread::Builder::new().name(format!("udp-{number}")).spawn(move || worker.run())?;
            server.threads.push(thread);
        }
        Ok(server)
    }

    /// Answers what has arrived, and ends the threads: within a tick.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; the others are to end all the same.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    /// Without [`Server::stop`] the threads end as well, but nobody waits for them.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One thread's own.
struct Worker {
    socket: UdpSocket,
    live: Arc<Live>,
    limits: Limits,
    calls: Calls,
    relay: Option<Relay>,
    transfers: Option<Arc<Transfers>>,
    block: Arc<Block>,
    stop: Arc<AtomicBool>,
    started: Instant,
    inbox: Batch,
    outbox: Batch,
    tally: Tally,
}

impl Worker {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            // With nobody waiting for nsd there is one thing to wait for, and so one system call.
            let wait = self.relay.as_ref().is_none_or(Relay::is_idle);
            let received = self.receive(wait);
            if !wait && !self.collect() && !received {
                self.wait_for_any();
            }
            self.block.add(&mut self.tally);
        }
        for _ in 0..DRAIN_MAX {
            if !self.receive(false) {
                break;
            }
        }
        self.block.add(&mut self.tally);
    }

    /// Answers a batch. False: there was none.
    fn receive(&mut self, wait: bool) -> bool {
        if self.inbox.receive(&self.socket, wait, self.calls).is_err() {
            thread::sleep(Duration::from_millis(ERROR_PAUSE_MS));
            return false;
        }
        if self.inbox.is_empty() {
            return false;
        }
        let now_ms = self.now_ms();
        let Worker { socket, live, limits, calls, relay, transfers, inbox, outbox, tally, .. } = self;
        let outgoing = &mut Outgoing { batch: outbox, socket, calls: *calls };
        // One load: the whole batch is answered from one generation.
        let table = live.load();
        let keys = transfers.as_ref().is_some_and(|transfers| transfers.has_keys());
        let limits = &Limits { keys, ..*limits };
        for at in 0..inbox.len() {
            let (query, client) = inbox.get(at);
            let response = match inbox.is_truncated(at) {
                true => Response::Drop,
                false => respond(&table, query, limits, outgoing.spare()),
            };
            match (response, &mut *relay) {
                (Response::Reply(len), _) => {
                    outgoing.push(len, client, tally);
                    tally.request(Request::Answered);
                }
                (Response::Relay, Some(relay)) => {
                    relay.take(query, client, now_ms, outgoing, tally);
                    tally.request(Request::Relayed);
                }
                (Response::Verify(max), _) => {
                    let mut reply = Vec::new();
                    let answered = transfers
                        .as_ref()
                        .is_some_and(|transfers| transfers.answer_signed(&table, query, limits, max, &mut reply));
                    let spare = outgoing.spare();
                    if answered && reply.len() <= spare.len() {
                        spare[..reply.len()].copy_from_slice(&reply);
                        outgoing.push(reply.len(), client, tally);
                        tally.request(Request::Answered);
                    }
                }
                (Response::Drop | Response::Relay, _) => tally.request(Request::Dropped),
            }
        }
        if let Some(relay) = relay {
            relay.flush(outgoing, tally);
        }
        outgoing.flush();
        true
    }

    /// Hands on what nsd has answered. False: nothing.
    fn collect(&mut self) -> bool {
        let now_ms = self.now_ms();
        let Worker { socket, calls, relay: Some(relay), outbox, tally, .. } = self else { return false };
        let outgoing = &mut Outgoing { batch: outbox, socket, calls: *calls };
        let any = relay.collect(now_ms, outgoing, tally);
        outgoing.flush();
        any
    }

    /// Until a client or nsd says something, or the next request has waited long enough.
    fn wait_for_any(&self) {
        let Some(relay) = &self.relay else { return };
        let until_ms = relay.next_timeout_ms(self.now_ms()).unwrap_or(0).min(TICK_MS.into());
        let sockets = std::iter::once(&self.socket).chain(relay.sockets());
        // At most TICK_MS, which fits. One more: a deadline is reached, not almost.
        if sys::wait(sockets, until_ms as u16 + 1).is_err() {
            thread::sleep(Duration::from_millis(ERROR_PAUSE_MS));
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Replies on their way to clients; sent whenever a batch is full.
pub struct Outgoing<'a> {
    batch: &'a mut Batch,
    socket: &'a UdpSocket,
    calls: Calls,
}

impl Outgoing<'_> {
    /// The buffer for the next reply.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.batch.is_full() {
            self.flush();
        }
        self.batch.spare()
    }

    /// The first `len` octets of [`Outgoing::spare`] are a reply to this client.
    pub fn push(&mut self, len: usize, client: &Envelope, tally: &mut Tally) {
        tally.reply(&self.batch.spare()[..len]);
        self.batch.push(len, client);
    }

    pub fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.batch.send(self.socket, self.calls);
        }
    }
}
