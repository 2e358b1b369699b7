//! The one function that answers, for every transport: a query in, a reply out. No lock, no
//! allocation, no I/O.

use domain::base::iana::{Class, ExtendedErrorCode, OptRcode, Rcode, Rtype};

use crate::dns::message::{HEADER_LEN, MESSAGE_MAX, Malformed, PLAIN_UDP_MAX, Query, flags, opcode};

use super::Table;
use super::reply::Reply;
use super::walk::{self, LowerName};

/// The UDP payload size that we advertise and never exceed, in octets: what every path carries in
/// one piece (the DNS flag day of 2020).
pub const PAYLOAD_MAX: u16 = 1232;

/// What the transport allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub transport: Transport,
    /// Largest UDP reply, and the size advertised in OPT, in octets; at least 512.
    pub payload_max: u16,
    /// Whether questions that are not ours can be relayed; else they are refused.
    pub relay: bool,
    /// Whether there are TSIG keys, so that a signed query about ours must be verified first.
    pub keys: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    Udp,
    /// TCP, and what is built on it: the buffer is the only limit.
    Stream,
}

impl Limits {
    /// The default limits of a transport.
    pub fn new(transport: Transport, relay: bool) -> Limits {
        Limits { transport, payload_max: PAYLOAD_MAX, relay, keys: false }
    }

    /// Largest reply to this query.
    fn reply_max(&self, query: &Query<'_>) -> usize {
        match (self.transport, query.edns) {
            (Transport::Stream, _) => MESSAGE_MAX,
            (Transport::Udp, None) => PLAIN_UDP_MAX,
            // RFC 6891 section 6.2.3: less than 512 counts as 512.
            (Transport::Udp, Some(edns)) => usize::from(edns.payload.min(self.payload_max)).max(PLAIN_UDP_MAX),
        }
    }
}

/// What is to be done with a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Response {
    /// Nothing: it was no query.
    Drop,
    /// Send the first so many octets of the buffer.
    Reply(usize),
    /// Ask nsd. Only with [`Limits::relay`], only for a well-formed query.
    Relay,
    /// It is signed (RFC 8945): verify it, ask again without its TSIG, and sign the reply, which may
    /// have so many octets. Only with [`Limits::keys`].
    Verify(usize),
}

/// Answers `message` from `table` into `out`. `out` should hold 512 octets at least, and for a stream
/// what one is willing to send: a reply that does not fit is truncated (TC).
pub fn respond(table: &Table, message: &[u8], limits: &Limits, out: &mut [u8]) -> Response {
    let query = match Query::read(message) {
        Ok(query) => query,
        Err(Malformed::Drop) => return Response::Drop,
        Err(Malformed::Reply(rcode)) => return bare(message, rcode, out),
    };
    if query.edns.is_some_and(|edns| edns.version > 0) {
        return refuse(&query, OptRcode::BADVERS, None, limits, out);
    }
    let (mut query, mut limits) = (query, *limits);
    match query.question.qtype {
        // Over UDP the secondary is told the current serial, and comes back over TCP if it lacks
        // something (RFC 1995 section 2).
        // Never relayed: behind a relay nsd would take anybody for the local host and give the zone
        // away.
        Rtype::IXFR if limits.transport == Transport::Udp => {
            query.question.qtype = Rtype::SOA;
            limits.relay = false;
        }
        // Over TCP `serve::transfer` has seen those that are allowed.
        Rtype::AXFR | Rtype::IXFR => return refuse(&query, OptRcode::REFUSED, None, &limits, out),
        _ => {}
    }
    let (query, limits) = (query, &limits);
    if !matches!(query.question.qclass, Class::IN | Class::ANY) {
        return elsewhere(&query, limits, out);
    }
    let name = LowerName::new(query.question.name);
    // The DS RRset lives in the zone above (RFC 4035 section 3.1.4.1).
    let above = query.question.qtype == Rtype::DS;
    let Some(zone) = table.catalog.find(name.wire(), name.labels(), above) else {
        return elsewhere(&query, limits, out);
    };
    if query.is_signed && limits.keys {
        return Response::Verify(limits.reply_max(&query));
    }
    let Some(reply) = Reply::begin(&query, limits.reply_max(&query), out) else { return Response::Drop };
    match walk::answer(table, zone, &query, name, limits, reply) {
        Some(length) => Response::Reply(length),
        None => elsewhere(&query, limits, out),
    }
}

/// The reply to a query that was relayed in vain: SERVFAIL with an extended error (RFC 8914).
pub fn failure(message: &[u8], why: ExtendedErrorCode, limits: &Limits, out: &mut [u8]) -> Response {
    match Query::read(message) {
        Ok(query) => refuse(&query, OptRcode::SERVFAIL, Some(why), limits, out),
        Err(_) => Response::Drop,
    }
}

/// The question is not about anything of ours.
fn elsewhere(query: &Query<'_>, limits: &Limits, out: &mut [u8]) -> Response {
    if limits.relay {
        return Response::Relay;
    }
    refuse(query, OptRcode::REFUSED, None, limits, out)
}

fn refuse(
    query: &Query<'_>,
    rcode: OptRcode,
    extended_error: Option<ExtendedErrorCode>,
    limits: &Limits,
    out: &mut [u8],
) -> Response {
    error(query, rcode, extended_error, limits, out).map_or(Response::Drop, Response::Reply)
}

/// Writes a reply of nothing but question, code and OPT, and gives its length. `None`: it does not
/// fit.
pub fn error(
    query: &Query<'_>,
    rcode: OptRcode,
    extended_error: Option<ExtendedErrorCode>,
    limits: &Limits,
    out: &mut [u8],
) -> Option<usize> {
    let mut reply = Reply::begin(query, limits.reply_max(query), out)?;
    reply.extended_error = extended_error;
    Some(reply.finish(query, rcode, limits.payload_max))
}

/// A reply of nothing but a header, to what could not be read (RFC 8906 section 3.1.4).
fn bare(message: &[u8], rcode: Rcode, out: &mut [u8]) -> Response {
    let (Some(header), Some(out)) = (message.first_chunk::<HEADER_LEN>(), out.first_chunk_mut::<HEADER_LEN>()) else {
        return Response::Drop;
    };
    let sent = u16::from_be_bytes([header[2], header[3]]);
    // What RD means under another opcode is not known.
    let keep = if opcode(sent).to_int() == 0 { flags::OPCODE | flags::RD } else { flags::OPCODE };
    let word = flags::QR | (sent & keep) | u16::from(rcode.to_int());
    *out = [0; HEADER_LEN];
    out[..2].copy_from_slice(&header[..2]);
    out[2..4].copy_from_slice(&word.to_be_bytes());
    Response::Reply(HEADER_LEN)
}
