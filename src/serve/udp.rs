//! DNS over UDP: threads that block on sockets of their own, take what has arrived in one batch,
//! answer all of it from one table, and send the answers in one batch.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Notify;

use crate::dns::message::Query;
use crate::health::family::Family;
use crate::table::respond::{
    Answer, Client, Limits, PAYLOAD_MAX, Response, Subject, cookie_of, encloser_at, failure, respond, slip,
};
use crate::table::{Live, Table};

use super::counters::{Block, Counters, Request, Tally, Transport};
use super::proxy;
use super::relay::{self, cookie, udp::Relay};
use super::rrl::{Judgement, Limiter, subject_of};
use super::sys::batch::{Batch, Envelope};
use super::sys::{self, Calls, Ready, fragments, source};
use super::transfer::Transfers;

/// Receive buffer asked for, in octets: what arrives during a hiccup waits here. The system may give less.
pub const RECEIVE_BUFFER: usize = 4 << 20;
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

#[derive(Clone)]
pub struct Settings {
    pub limits: Limits,
    /// `None`: what is not ours is refused. [`Limits::relay`] follows from it.
    pub relay: Option<relay::Settings>,
    /// `None`: everybody gets every answer.
    pub limiter: Option<Arc<Limiter>>,
    /// Load balancers: what they send begins with a PROXY header.
    pub proxies: Arc<[IpNet]>,
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

/// The same for sockets that somebody else has bound, at least one: those that are missing share the
/// last one's queue.
pub fn adopt(mut sockets: Vec<UdpSocket>, count: usize) -> io::Result<Vec<UdpSocket>> {
    sockets.iter().try_for_each(prepare)?;
    while sockets.len() < count {
        let shared = sockets.last().map(UdpSocket::try_clone).transpose()?;
        sockets.extend(shared);
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
    let socket = UdpSocket::from(socket);
    prepare(&socket)?;
    Ok(socket)
}

fn prepare(socket: &UdpSocket) -> io::Result<()> {
    // A smaller buffer is no reason not to serve; see scarce_buffer().
    let _ = socket2::SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER);
    // A unit may have made it non-blocking: our threads wait on it.
    socket.set_nonblocking(false)?;
    match socket.local_addr()?.ip().is_unspecified() {
        true => source::enable(socket),
        false => Ok(()),
    }
}

/// What the system gives these sockets as receive buffer, in octets, if that is less than was asked for.
pub fn scarce_buffer(sockets: &[UdpSocket]) -> Option<usize> {
    // Linux tells twice what it was asked for: the other half is its own book-keeping.
    let own_share = if cfg!(target_os = "linux") { 2 } else { 1 };
    let given = |socket| socket2::SockRef::from(socket).recv_buffer_size().ok().map(|octets| octets / own_share);
    sockets.iter().filter_map(given).min().filter(|given| *given < RECEIVE_BUFFER)
}

/// The threads that serve a set of sockets, until it is stopped.
pub struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    ended: Arc<Notify>,
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
        let mut server = Server { stop: Arc::default(), threads: Vec::new(), ended: Arc::default() };
        let limits = Limits { relay: settings.relay.is_some(), ..settings.limits };
        for (number, socket) in sockets.into_iter().enumerate() {
            socket.set_read_timeout(Some(Duration::from_millis(TICK_MS.into())))?;
            // Larger ones, if they are wanted, could not leave at all.
            if settings.limits.payload_max <= PAYLOAD_MAX {
                // A system that does not know how serves all the same.
                let _ = fragments::forbid(&socket);
            }
            let family = if socket.local_addr()?.is_ipv6() { Family::Ipv6 } else { Family::Ipv4 };
            let relay = settings.relay.map(|relay| Relay::new(&relay, settings.calls));
            let worker = Worker {
                live: live.clone(),
                limits,
                calls: settings.calls,
                relay: relay.transpose()?,
                transfers: transfers.cloned(),
                limiter: settings.limiter.clone(),
                proxies: settings.proxies.clone(),
                block: counters.block(Transport::Udp, family),
                stop: server.stop.clone(),
                started: Instant::now(),
                inbox: Batch::new(QUERY_MAX),
                outbox: Batch::new(REPLY_MAX),
                tally: Tally::default(),
                socket,
            };
            server.spawn(format!("udp-{number}"), move || worker.run())?;
        }
        Ok(server)
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let ending = Ending(self.ended.clone());
        let thread = thread::Builder::new().name(name).spawn(move || {
            let _ending = ending;
            work();
        });
        self.threads.push(thread?);
        Ok(())
    }

    /// Ready when one of the threads has ended, in whatever way.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let ended = self.ended.clone();
        async move { ended.notified().await }
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

/// Tells that a thread ends, when it is dropped: a panic comes by here as well.
struct Ending(Arc<Notify>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.notify_one();
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
    limiter: Option<Arc<Limiter>>,
    proxies: Arc<[IpNet]>,
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
            if self.relay.as_ref().is_none_or(Relay::is_idle) {
                self.receive(true);
            } else {
                let ready = self.wait_for_any(Some(&self.socket));
                if ready.has(0) {
                    self.receive(false);
                }
                self.collect(|socket| ready.has(1 + socket));
            }
            self.block.add(&mut self.tally);
        }
        for _ in 0..DRAIN_MAX {
            if !self.receive(false) {
                break;
            }
        }
        // What nsd has been asked for is still waited for, within its deadline.
        while self.relay.as_ref().is_some_and(|relay| !relay.is_idle()) {
            let ready = self.wait_for_any(None);
            self.collect(|socket| ready.has(socket));
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
        let received = self.block.batch_received();
        let now_ms = self.now_ms();
        let Worker { socket, live, limits, calls, relay, transfers, limiter, proxies, inbox, outbox, tally, .. } = self;
        // One load: the whole batch is answered from one generation.
        let table = live.load();
        let keys = transfers.as_ref().is_some_and(|transfers| transfers.has_keys());
        let limits = &Limits { keys, ..*limits };
        let outgoing = &mut Outgoing {
            batch: outbox,
            socket,
            calls: *calls,
            table: &table,
            limits,
            limiter: limiter.as_deref(),
            now_s: now_s(),
        };
        table.warm((0..inbox.len()).map(|at| inbox.get(at).0));
        for at in 0..inbox.len() {
            let (query, envelope) = inbox.get(at);
            let unwrapped;
            let (query, envelope) = match proxies.is_empty() {
                true => (query, envelope),
                false => {
                    unwrapped = unwrap(proxies, query, envelope);
                    (unwrapped.0, &unwrapped.1)
                }
            };
            let response = match inbox.is_truncated(at) {
                true => Response::Drop,
                false => respond(&table, query, limits, &outgoing.client(envelope), outgoing.spare()),
            };
            match (response, &mut *relay) {
                (Response::Reply(answer), _) => outgoing.answer(answer, query, envelope, tally),
                (Response::Relay, Some(relay)) => {
                    relay.take(query, envelope, now_ms, outgoing, tally);
                    tally.request(Request::Relayed);
                }
                (Response::Verify(max), _) => {
                    let (mut reply, client) = (Vec::new(), outgoing.client(envelope));
                    let signed = transfers
                        .as_ref()
                        .and_then(|transfers| transfers.answer_signed(&table, query, limits, &client, max, &mut reply));
                    let room = outgoing.spare().get_mut(..reply.len());
                    let (Some(is_good), Some(room)) = (signed, room) else {
                        tally.request(Request::Dropped);
                        continue;
                    };
                    room.copy_from_slice(&reply);
                    // Who has the key is who it says it is; anybody can make up a signature.
                    let answer = Answer { len: reply.len(), subject: Subject::ERROR, known_client: is_good };
                    outgoing.answer(answer, query, envelope, tally);
                }
                (Response::Drop | Response::Relay, _) => tally.request(Request::Dropped),
            }
        }
        if let Some(relay) = relay {
            relay.flush(outgoing, tally);
        }
        outgoing.flush();
        self.block.batch_sent(received);
        true
    }

    /// Hands on what nsd has answered, at those of its sockets that are ready.
    fn collect(&mut self, is_ready: impl Fn(usize) -> bool) {
        let now_ms = self.now_ms();
        let Worker { socket, live, limits, calls, relay: Some(relay), limiter, outbox, tally, .. } = self else {
            return;
        };
        let table = live.load();
        let outgoing = &mut Outgoing {
            batch: outbox,
            socket,
            calls: *calls,
            table: &table,
            limits,
            limiter: limiter.as_deref(),
            now_s: now_s(),
        };
        relay.collect(is_ready, now_ms, outgoing, tally);
        outgoing.flush();
    }

    /// Until a client (place 0, if they are waited for) or nsd (the others) says something, or the
    /// next request has waited long enough.
    fn wait_for_any(&self, clients: Option<&UdpSocket>) -> Ready {
        let Some(relay) = &self.relay else { return Ready::default() };
        let until_ms = relay.next_timeout_ms(self.now_ms()).unwrap_or(0).min(TICK_MS.into());
        let sockets = clients.into_iter().chain(relay.sockets());
        // At most TICK_MS, which fits. One more: a deadline is reached, not almost.
        sys::wait(sockets, until_ms as u16 + 1).unwrap_or_else(|_| {
            thread::sleep(Duration::from_millis(ERROR_PAUSE_MS));
            Ready::default()
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What a load balancer sends, without its header and with the client that it names; nothing if it
/// has sent no header. What others send is as it is: a header is no query, and gets FORMERR.
fn unwrap<'q>(proxies: &[IpNet], datagram: &'q [u8], envelope: &Envelope) -> (&'q [u8], Envelope) {
    let sender = envelope.sender().ip();
    if !proxies.iter().any(|network| network.contains(&sender)) {
        return (datagram, *envelope);
    }
    match proxy::read(datagram) {
        proxy::Header::Whole { len, client } => (&datagram[len..], envelope.on_behalf_of(client)),
        proxy::Header::Partial | proxy::Header::Invalid => (&[], *envelope),
    }
}

/// Seconds since 1970 modulo 2^32.
pub(super) fn now_s() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}

/// Replies on their way to clients; sent whenever a batch is full.
pub struct Outgoing<'a> {
    batch: &'a mut Batch,
    socket: &'a UdpSocket,
    calls: Calls,
    table: &'a Table,
    limits: &'a Limits,
    limiter: Option<&'a Limiter>,
    now_s: u32,
}

impl Outgoing<'_> {
    /// The buffer for the next reply.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.batch.is_full() {
            self.flush();
        }
        self.batch.spare()
    }

    /// The largest datagram that leaves, whatever a client can take, in octets.
    pub fn payload_max(&self) -> u16 {
        self.limits.payload_max
    }

    /// Whether this query's cookie is ours to answer, and nsd is not to see it.
    pub fn keeps_cookie(&self, query: &Query<'_>) -> bool {
        let has_one = |edns| self.table.makes_cookies() && cookie::is_in(edns);
        !query.is_signed && query.edns.as_ref().is_some_and(has_one)
    }

    fn client(&self, envelope: &Envelope) -> Client {
        Client { address: envelope.client().ip(), now_s: self.now_s }
    }

    /// [`Outgoing::spare`] holds this answer of ours to that query.
    fn answer(&mut self, answer: Answer, query: &[u8], envelope: &Envelope, tally: &mut Tally) {
        if self.let_go(answer, query, envelope, tally) {
            tally.request(Request::Answered);
        }
    }

    /// What nsd has answered to that query: whole, if it is (not `cut`) and no larger than answers of ours;
    /// else the client comes back over TCP.
    pub fn hand_on(&mut self, reply: &[u8], cut: bool, query: &[u8], envelope: &Envelope, tally: &mut Tally) {
        let Ok(read) = Query::read(query) else { return };
        let (table, limits, client) = (self.table, self.limits, self.client(envelope));
        let (known_client, own_cookie) = cookie_of(table, &read, limits, &client);
        let spare = self.spare();
        let copied =
            spare.get_mut(..reply.len()).filter(|_| !cut && reply.len() <= limits.reply_max(&read)).map(|copy| {
                copy.copy_from_slice(reply);
                copy[..2].copy_from_slice(&query[..2]);
                reply.len()
            });
        let whole = match (copied, own_cookie) {
            (Some(len), Some(own)) => Some(cookie::put_in(spare, len, &own)),
            (copied, _) => copied,
        };
        let len = match whole {
            Some(len) if len <= limits.reply_max(&read) => len,
            _ => match slip(table, query, limits, &client, spare) {
                Response::Reply(short) => short.len,
                _ => return,
            },
        };
        // Nobody else wants to know.
        let subject = self.limiter.map_or(Subject::ERROR, |_| subject_of(reply, || encloser_at(table, &read)));
        self.let_go(Answer { len, subject, known_client }, query, envelope, tally);
    }

    /// The reply to a query that nsd has not answered.
    pub fn fail(&mut self, query: &[u8], envelope: &Envelope, tally: &mut Tally) {
        let (table, limits, client) = (self.table, self.limits, self.client(envelope));
        if let Response::Reply(answer) = failure(table, query, relay::UNANSWERED, limits, &client, self.spare()) {
            self.let_go(answer, query, envelope, tally);
        }
    }

    /// Every reply leaves here, unless its like have too often. True: as it is in [`Outgoing::spare`].
    fn let_go(&mut self, answer: Answer, query: &[u8], envelope: &Envelope, tally: &mut Tally) -> bool {
        let judgement = self.judge(answer, envelope);
        match judgement {
            Judgement::Send => self.push(answer.len, envelope, tally),
            Judgement::Drop => tally.request(Request::Limited),
            Judgement::Slip => {
                let client = self.client(envelope);
                match slip(self.table, query, self.limits, &client, self.batch.spare()) {
                    Response::Reply(short) => {
                        self.push(short.len, envelope, tally);
                        tally.request(Request::Slipped);
                    }
                    // What cannot be read cannot be asked again.
                    _ => tally.request(Request::Limited),
                }
            }
        }
        judgement == Judgement::Send
    }

    /// Whether the answer in [`Outgoing::spare`] may leave.
    fn judge(&mut self, answer: Answer, envelope: &Envelope) -> Judgement {
        match self.limiter {
            Some(limiter) if !answer.known_client => {
                limiter.judge(envelope.client().ip(), &self.batch.spare()[..answer.len], answer.subject, self.now_s)
            }
            _ => Judgement::Send,
        }
    }

    fn push(&mut self, len: usize, client: &Envelope, tally: &mut Tally) {
        tally.reply(&self.batch.spare()[..len]);
        self.batch.push(len, client);
    }

    pub fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.batch.send(self.socket, self.calls);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_panics_does_not_end_unnoticed() {
        let mut server = Server { stop: Arc::default(), threads: Vec::new(), ended: Arc::default() };
        let stop = server.stop.clone();
        let stays = move || {
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
        };
        server.spawn("stays".to_owned(), stays).unwrap();
        server.spawn("panics".to_owned(), || panic!("a test")).unwrap();
        tokio::time::timeout(Duration::from_secs(10), server.ended()).await.unwrap();
        server.stop();
    }

    #[test]
    fn a_scarce_receive_buffer_is_noticed() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(65_536).unwrap();
        assert_eq!(scarce_buffer(&[socket]), Some(65_536));
        assert_eq!(scarce_buffer(&[]), None, "who serves no DNS needs none");
    }
}
