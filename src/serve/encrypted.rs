//! DNS over TLS (RFC 7858), QUIC (RFC 9250) and HTTPS (RFC 8484): hickory-server does the transports,
//! `respond()` the answers.
//!
//! hickory-server takes its answers as records, so ours is decoded once on its way out: little beside
//! the encryption. Its catalog is not used; ARCHITECTURE.md says why.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hickory_proto::op::{Header, HeaderCounts, Message, MessageType, Metadata, ResponseCode};
use hickory_proto::rr::rdata::TSIG;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{RData, Record};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use crate::dns::message::MESSAGE_MAX;
use crate::health::family::Family;
use crate::table::Live;
use crate::table::respond::{Client, Limits, Response, Transport, failure, respond};

use super::counters::{self, Block, Counters, Relayed, Tally};
use super::relay::UNANSWERED;
use super::relay::tcp::{Relay, Upstream};
use super::tcp::Beside;
use super::transfer::Transfers;
use super::transfer::tsig::{self, Signer};
use super::udp::now_s;

/// How long a handshake may take, and how long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where DNS over HTTPS is asked (RFC 8484 section 4.1 leaves it open; everybody uses this one).
const ENDPOINT: &str = "/dns-query";
/// Replies over encrypted transports are padded to a multiple of this (RFC 8467 section 4.1).
const PADDING_BLOCK: usize = 468;
/// Code and length in front of an option's data.
const OPTION_HEAD_LEN: usize = 4;

/// The certificate that is shown; replaced at a reload, for the handshakes that follow.
#[derive(Debug)]
pub struct Certificate(RwLock<Arc<CertifiedKey>>);

impl Certificate {
    pub fn new(certified: Arc<CertifiedKey>) -> Certificate {
        Certificate(RwLock::new(certified))
    }

    pub fn replace(&self, certified: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Bound sockets, by what is spoken on them.
#[derive(Default)]
pub struct Sockets {
    pub tls: Vec<std::net::TcpListener>,
    pub https: Vec<std::net::TcpListener>,
    pub quic: Vec<UdpSocket>,
}

/// Serves until `shutdown` is ready; connections then end after what they are owed.
pub async fn run(
    sockets: Sockets,
    certificate: Arc<Certificate>,
    live: Arc<Live>,
    beside: Beside,
    limits: Limits,
    counters: &Counters,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let Beside { relay, transfers, .. } = beside;
    let block = |transport| [Family::Ipv4, Family::Ipv6].map(|family| counters.block(transport, family));
    let limits =
        Limits { transport: Transport::Stream, relay: relay.is_some(), encrypted: true, idle_ds: None, ..limits };
    let blocks = [counters::Transport::Tls, counters::Transport::Https, counters::Transport::Quic].map(block);
    let mut server = Server::new(Handler { live, relay, transfers, limits, blocks });
    for listener in sockets.tls {
        server.register_tls_listener(TcpListener::from_std(listener)?, PATIENCE, certificate.clone())?;
    }
    for listener in sockets.https {
        server.register_https_listener(
            TcpListener::from_std(listener)?,
            PATIENCE,
            certificate.clone(),
            None,
            ENDPOINT.to_owned(),
        )?;
    }
    for socket in sockets.quic {
        socket.set_nonblocking(true)?;
        server.register_quic_listener(tokio::net::UdpSocket::from_std(socket)?, PATIENCE, certificate.clone())?;
    }
    shutdown.await;
    server.shutdown_gracefully().await.map_err(io::Error::other)
}

/// Binds a socket for QUIC.
pub fn bind_quic(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if address.is_ipv6() {
        // 0.0.0.0 has its own socket.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

struct Handler {
    live: Arc<Live>,
    relay: Option<Arc<Relay>>,
    transfers: Option<Arc<Transfers>>,
    limits: Limits,
    /// By transport and family.
    blocks: [[Arc<Block>; 2]; 3],
}

/// A reply in octets, and who signs it, if that is wanted and not done.
type Reply = (Vec<u8>, Option<Signer>);

impl Handler {
    /// The reply to a request. `None`: there is none.
    async fn answer(&self, request: &Request, tally: &mut Tally) -> Option<Reply> {
        let client = Client { address: request.src().ip(), now_s: now_s() };
        let keys = self.transfers.as_ref().is_some_and(|transfers| transfers.has_keys());
        let limits = Limits { keys, ..self.limits };
        let mut room = vec![0; MESSAGE_MAX];
        // Not held over the wait for nsd.
        let response = respond(&self.live.load(), request.as_slice(), &limits, &client, &mut room);
        match (response, &self.relay) {
            (Response::Reply(answer), _) => {
                room.truncate(answer.len);
                tally.request(counters::Request::Answered);
                Some((room, None))
            }
            (Response::Verify(max), _) => {
                room.truncate(max.saturating_sub(tsig::RECORD_MAX));
                let reply = self.verified(request.as_slice(), &client, room);
                let result = reply.as_ref().map_or(counters::Request::Dropped, |_| counters::Request::Answered);
                tally.request(result);
                reply
            }
            (Response::Relay, Some(relay)) => {
                tally.request(counters::Request::Relayed);
                match relay.ask(&mut Upstream::default(), request.as_slice(), request.src()).await {
                    Ok(reply) => {
                        tally.relayed(Relayed::Answered);
                        Some((reply, None))
                    }
                    Err(why) => {
                        tally.relayed(why);
                        let (table, query) = (self.live.load(), request.as_slice());
                        match failure(&table, query, UNANSWERED, &self.limits, &client, &mut room) {
                            Response::Reply(answer) => Some((room[..answer.len].to_vec(), None)),
                            _ => None,
                        }
                    }
                }
            }
            _ => {
                tally.request(counters::Request::Dropped);
                None
            }
        }
    }

    /// The reply to a signed query (RFC 8945 section 5.3), or what is wrong with its signature.
    fn verified(&self, query: &[u8], client: &Client, mut room: Vec<u8>) -> Option<Reply> {
        let verified = match self.transfers.as_ref()?.verify(query) {
            Ok(verified) => verified?,
            Err(refusal) => return (!refusal.is_empty()).then_some((refusal, None)),
        };
        let (query, _, signer) = verified.split();
        match respond(&self.live.load(), &query, &self.limits, client, &mut room) {
            Response::Reply(answer) => {
                room.truncate(answer.len);
                Some((room, Some(signer)))
            }
            Response::Drop | Response::Relay | Response::Verify(_) => None,
        }
    }

    fn block(&self, request: &Request) -> &Block {
        let transport = match request.protocol() {
            Protocol::Https => 1,
            Protocol::Quic => 2,
            _ => 0,
        };
        &self.blocks[transport][usize::from(request.src().is_ipv6())]
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut handle: R) -> ResponseInfo {
        let mut tally = Tally::default();
        let received = self.block(request).batch_received();
        // RFC 9250 section 4.2.1: over QUIC the ID is 0. hickory would send 0 whatever was asked.
        let is_query = request.protocol() != Protocol::Quic || request.metadata.id == 0;
        let reply = if is_query { self.answer(request, &mut tally).await } else { None };
        if !is_query {
            tally.request(counters::Request::Dropped);
        }
        if let Some((octets, _)) = &reply {
            tally.reply(octets);
        }
        self.block(request).add(&mut tally);
        let failed = || {
            let mut metadata = Metadata::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
            metadata.response_code = ResponseCode::ServFail;
            ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
        };
        let Some((octets, signer)) = reply else { return failed() };
        let Ok(mut message) = Message::from_vec(&octets) else { return failed() };
        pad(request, &mut message, signer.is_some());
        // A refusal has its TSIG already, as its last record.
        let signature = match signer.map(|signer| sign(request, &message, signer)) {
            Some(None) => return failed(),
            signature => signature.flatten(),
        };
        let mut response = response(request, &message);
        if let Some(signature) = signature {
            response.set_signature(signature);
        }
        // A client that is gone is no event.
        let sent = handle.send_response(response).await.unwrap_or_else(|_| failed());
        self.block(request).batch_sent(received);
        sent
    }
}

/// Records on their way out.
type Records<'a> = std::slice::Iter<'a, Record>;

/// Our reply in the form that hickory-server sends.
fn response<'a>(
    request: &'a Request,
    message: &'a Message,
) -> MessageResponse<'a, 'a, Records<'a>, Records<'a>, Records<'a>, Records<'a>> {
    let mut builder = MessageResponseBuilder::from_message_request(request);
    if let Some(edns) = &message.edns {
        builder.edns(edns);
    }
    builder.build(message.metadata, &message.answers, &message.authorities, &[], &message.additionals)
}

/// The TSIG record of a reply. It signs octets: those that hickory makes, which are the same each
/// time. `None`: it does not fit.
fn sign(request: &Request, message: &Message, mut signer: Signer) -> Option<Box<Record<TSIG>>> {
    let mut octets = Vec::new();
    response(request, message).destructive_emit(&mut BinEncoder::new(&mut octets)).ok()?;
    if !signer.sign(&mut octets) {
        return None;
    }
    tsig_of(&Message::from_vec(&octets).ok()?.additionals)
}

/// The TSIG record that a message ends in: one of the additional records to a hickory that was built
/// without its DNSSEC.
fn tsig_of(additionals: &[Record]) -> Option<Box<Record<TSIG>>> {
    let tsig = additionals.last()?.clone().map(|data| match data {
        RData::TSIG(tsig) => Some(tsig),
        _ => None,
    });
    tsig.map(Box::new)
}

/// hickory compresses in its own way: where `respond()` has padded, the padding is made to fit again.
fn pad(request: &Request, message: &mut Message, is_signed: bool) {
    let padded = message.edns.as_ref().is_some_and(|edns| edns.option(EdnsCode::Padding).is_some());
    if let (true, Some(edns)) = (padded, &mut message.edns) {
        edns.options_mut().remove(EdnsCode::Padding);
        let mut octets = Vec::new();
        let mut unpadded = response(request, message);
        // Ours will be as long: of the same key and algorithm.
        if let Some(signature) = tsig_of(&request.additionals).filter(|_| is_signed) {
            unpadded.set_signature(signature);
        }
        if unpadded.destructive_emit(&mut BinEncoder::new(&mut octets)).is_err() {
            return;
        }
        let len = octets.len() + OPTION_HEAD_LEN;
        let missing = len.next_multiple_of(PADDING_BLOCK) - len;
        if let (Some(edns), true) = (&mut message.edns, len + missing <= MESSAGE_MAX) {
            edns.options_mut().insert(EdnsOption::Unknown(u16::from(EdnsCode::Padding), vec![0; missing]));
        }
    }
}
