//! One request for a transfer: may they, whose turn is it, and the stream of messages.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use domain::base::iana::{ExtendedErrorCode, OptRcode};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::dns::message::MESSAGE_MAX;
use crate::dns::name::Name;
use crate::dns::transfer::{Request, Wanted};
use crate::table::respond::{Limits, Transport, refusal};
use crate::table::transfer::stream::Stream;

use super::tsig::Signer;
use super::{Outcome, Transfers, lock};

/// Octets that are written at once.
const CHUNK: usize = 64 * 1024;
/// A secondary takes a chunk in this time, or the connection is closed: nobody can hold a place by
/// reading nothing, or next to nothing.
const CHUNK_WAIT: Duration = Duration::from_secs(10);

impl Transfers {
    /// Answers a request for a transfer that [`Request::read`] has understood. An error: the
    /// connection is to be closed.
    pub async fn serve<W: AsyncWrite + Unpin>(&self, stream: &mut W, peer: IpAddr, message: &[u8]) -> io::Result<()> {
        let (message, key, mut signer) = match self.rules.load().keys.verify(message) {
            Ok(None) => (message.to_vec(), None, None),
            Ok(Some(verified)) => {
                let (message, key, signer) = verified.split();
                (message, Some(key), Some(signer))
            }
            Err(refusal) => {
                self.refused(peer, "its TSIG is wrong");
                return write(stream, &framed(&refusal)).await;
            }
        };
        let Ok(Some(request)) = Request::read(&message) else { return Err(io::ErrorKind::InvalidData.into()) };
        let no = match self.admit(&request, peer, key.as_ref()) {
            Err(no) => no,
            Ok(origin) => {
                let patience = self.rules.load().pace.turn;
                match self.places.enter(peer, patience).await {
                    None => {
                        self.totals.ended(Outcome::Failed, 0, 0);
                        No::servfail("too many transfers")
                    }
                    Some(_place) => match self.begin(&origin, request.wanted).await {
                        Ok(begun) => return self.send(stream, peer, &request, begun, signer).await,
                        Err(no) => no,
                    },
                }
            }
        };
        if no.rcode == OptRcode::REFUSED {
            self.refused(peer, no.why);
        }
        say_no(stream, &request, no, signer.as_mut()).await
    }

    /// Whether it may have the zone that it asks for.
    fn admit(&self, request: &Request<'_>, peer: IpAddr, key: Option<&Name>) -> Result<Name, No> {
        let origin = Name::from_wire(request.query.question.name).map_err(|_| No::refused("no name"))?;
        let rules = self.rules.load();
        let zone = rules.zones.get(&origin).ok_or(No::refused("the zone is not handed out"))?;
        match zone.allow.iter().any(|allow| allow.lets(peer, key)) {
            true => Ok(origin),
            false => Err(No::refused("allow-transfer does not let it")),
        }
    }

    /// What is to be sent. For who has a place: the difference that an edit has made is looked for
    /// through the whole zone, on a thread for that.
    async fn begin(&self, origin: &Name, wanted: Wanted) -> Result<Stream, No> {
        // The past first: if a swap comes between, the table knows the past's future.
        let past = match wanted {
            Wanted::Since(serial) => lock(&self.journals).get(origin).and_then(|journal| journal.since(serial)),
            Wanted::Whole => None,
        };
        let table = std::sync::Arc::clone(&self.live.load());
        let index = table.catalog().zone_at(origin).ok_or(No::servfail("nothing is decided yet"))?;
        let stream = tokio::task::spawn_blocking(move || Stream::new(table, index, wanted, past));
        let stream = stream.await.map_err(|_| No::servfail("the difference cannot be told"))?;
        stream.ok_or(No::refused("the zone is not served whole"))
    }

    async fn send<W: AsyncWrite + Unpin>(
        &self,
        stream: &mut W,
        peer: IpAddr,
        request: &Request<'_>,
        mut transfer: Stream,
        mut signer: Option<Signer>,
    ) -> io::Result<()> {
        let (mut message, mut chunk, mut octets) = (Vec::new(), Vec::with_capacity(CHUNK + MESSAGE_MAX), 0);
        let ended = loop {
            let any = transfer.next(&request.query, &mut message);
            if any {
                if let Some(signer) = &mut signer
                    && !signer.sign(&mut message)
                {
                    break Err(io::Error::other("a signed message is too long"));
                }
                put_frame(&mut chunk, &message);
            }
            if chunk.len() >= CHUNK || (!any && !chunk.is_empty()) {
                octets += chunk.len() as u64;
                if let Err(error) = write(stream, &chunk).await {
                    break Err(error);
                }
                chunk.clear();
            }
            if !any {
                break Ok(());
            }
        };
        let outcome = if ended.is_ok() { Outcome::Sent(transfer.kind()) } else { Outcome::Failed };
        self.totals.ended(outcome, transfer.records(), octets);
        let words = outcome.as_str();
        let zone = Name::from_wire(request.query.question.name).unwrap_or_else(|_| Name::root());
        match &ended {
            Ok(()) => {
                self.fetched(&zone, peer, transfer.serial());
                tracing::info!("{zone} transfer to {peer}: {words}, {} records, {octets} octets", transfer.records())
            }
            Err(error) => tracing::warn!("{zone} transfer to {peer} broke off after {octets} octets: {error}"),
        }
        ended
    }

    /// A secondary has all of this version: those who are told of changes there.
    fn fetched(&self, origin: &Name, peer: IpAddr, serial: u32) {
        let at_peer = |place: &super::Place| place.0 == *origin && place.1.ip().to_canonical() == peer.to_canonical();
        for (_, secondary) in lock(&self.secondaries).iter_mut().filter(|(place, _)| at_peer(place)) {
            secondary.view.fetched = Some(serial);
        }
    }

    /// Strangers may ask as often as they like: the log hears of the first in a second.
    fn refused(&self, peer: IpAddr, why: &str) {
        self.totals.ended(Outcome::Refused, 0, 0);
        if self.quiet.pass() {
            tracing::warn!("transfer refused to {peer}: {why}");
        }
    }
}

/// An answer without a zone.
#[derive(Clone, Copy)]
struct No {
    rcode: OptRcode,
    extended_error: ExtendedErrorCode,
    why: &'static str,
}

impl No {
    fn refused(why: &'static str) -> No {
        No { rcode: OptRcode::REFUSED, extended_error: ExtendedErrorCode::PROHIBITED, why }
    }

    fn servfail(why: &'static str) -> No {
        No { rcode: OptRcode::SERVFAIL, extended_error: ExtendedErrorCode::NOT_READY, why }
    }
}

async fn say_no<W: AsyncWrite + Unpin>(
    stream: &mut W,
    request: &Request<'_>,
    no: No,
    signer: Option<&mut Signer>,
) -> io::Result<()> {
    let limits = Limits::new(Transport::Stream, false);
    let mut reply = vec![0; 1024];
    let Some(len) = refusal(&request.query, no.rcode, no.extended_error, &limits, &mut reply) else {
        return Ok(());
    };
    reply.truncate(len);
    if let Some(signer) = signer {
        signer.sign(&mut reply);
    }
    write(stream, &framed(&reply)).await
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(message.len() + 2);
    put_frame(&mut frame, message);
    frame
}

fn put_frame(chunk: &mut Vec<u8>, message: &[u8]) {
    // Neither a stream nor a signer makes a message longer than MESSAGE_MAX.
    chunk.extend_from_slice(&(message.len() as u16).to_be_bytes());
    chunk.extend_from_slice(message);
}

async fn write<W: AsyncWrite + Unpin>(stream: &mut W, octets: &[u8]) -> io::Result<()> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not read");
    timeout(CHUNK_WAIT, stream.write_all(octets)).await.map_err(late)?
}
