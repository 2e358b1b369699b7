//! The one function that answers, for every transport: a query in, a reply out. No lock, no
//! allocation, no I/O.

use std::net::IpAddr;

use domain::base::iana::{Class, ExtendedErrorCode, OptRcode, Rcode, Rtype};

use crate::dns::cookie::COOKIE_LEN;
use crate::dns::message::{CookieQuery, HEADER_LEN, MESSAGE_MAX, Malformed, PLAIN_UDP_MAX, Query, flags, opcode};

use super::Table;
use super::options::Options;
use super::reply::{QUESTION_AT, Reply, Section};
use super::walk::{self, LowerName};
use super::zone_table::Mode;

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
    /// How long a client's connection may be idle, in units of 100 ms: told to who asks (RFC 7828).
    /// Absent over UDP, and on streams that have other means.
    pub idle_ds: Option<u16>,
    /// Nobody on the way can read along: replies are padded for who asks (RFC 7830).
    pub encrypted: bool,
    /// Octets of the TSIG record that will be added behind the reply: padding counts them in.
    pub signature_len: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    Udp,
    /// TCP, and what is built on it: the buffer is the only limit.
    Stream,
}

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub address: IpAddr,
    /// Seconds since 1970 modulo 2^32, for the age of cookies.
    pub now_s: u32,
}

impl Limits {
    /// The default limits of a transport.
    pub fn new(transport: Transport, relay: bool) -> Limits {
        Limits {
            transport,
            payload_max: PAYLOAD_MAX,
            relay,
            keys: false,
            idle_ds: None,
            encrypted: false,
            signature_len: 0,
        }
    }

    /// Largest reply to this query.
    pub fn reply_max(&self, query: &Query<'_>) -> usize {
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
    Reply(Answer),
    /// Ask nsd. Only with [`Limits::relay`], only for a well-formed query.
    Relay,
    /// It is signed (RFC 8945) and about a zone that is ours as a whole: verify it, ask again without its TSIG, and sign the reply, which may
    /// have so many octets. Only with [`Limits::keys`].
    Verify(usize),
}

/// A reply in the buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Its length, in octets.
    pub len: usize,
    pub subject: Subject,
    /// The query carried a cookie of ours: its source address is not forged.
    pub known_client: bool,
}

/// What an answer is about, for rate limits: answers that a flood would make alike are about the
/// same thing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Subject {
    pub kind: Kind,
    /// Where in the reply the name starts that the answer is about: the question's name, or an end
    /// of it. Past the end: there is none.
    pub name_at: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// About the name in question.
    Positive,
    /// About the name above the wildcard, or that of the DNAME.
    Wildcard,
    /// About the name in question.
    Nodata,
    /// About the zone.
    Nxdomain,
    /// About the delegated zone.
    Referral,
    /// About nothing in particular.
    Error,
}

impl Subject {
    pub(super) const QUESTION: Subject = Subject { kind: Kind::Positive, name_at: QUESTION_AT };
    /// An error, whatever the question.
    pub const ERROR: Subject = Subject { kind: Kind::Error, name_at: usize::MAX };
}

/// Answers `message` from `table` into `out`. `out` should hold 512 octets at least, and for a stream
/// what one is willing to send: a reply that does not fit is truncated (TC).
pub fn respond(table: &Table, message: &[u8], limits: &Limits, client: &Client, out: &mut [u8]) -> Response {
    let mut query = match Query::read(message) {
        Ok(query) => query,
        Err(Malformed::Drop) => return Response::Drop,
        Err(Malformed::Reply(rcode)) => return bare(message, rcode, out),
        Err(Malformed::CookieOnly) => return cookie_only(table, message, limits, client, out),
    };
    let options = match &query.edns {
        None => Options::NONE,
        Some(edns) if edns.version > 0 => return error(&query, Options::NONE, OptRcode::BADVERS, limits, out),
        Some(edns) => match Options::read(edns, &table.policy, limits, client) {
            Ok(options) => options,
            Err(_) => return error(&query, Options::NONE, OptRcode::FORMERR, limits, out),
        },
    };
    let mut limits = *limits;
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
        Rtype::AXFR | Rtype::IXFR => {
            return refused(&query, options, ExtendedErrorCode::PROHIBITED, &limits, out);
        }
        _ => {}
    }
    let limits = &limits;
    let question = &query.question;
    match question.qclass {
        Class::IN | Class::ANY => {}
        Class::CH => return chaos(table, &query, options, limits, out),
        _ => return elsewhere(&query, options, limits, out),
    }
    let mut name = LowerName::new(question.name);
    // The DS RRset lives in the zone above (RFC 4035 section 3.1.4.1).
    let above = question.qtype == Rtype::DS;
    let Some(zone) = table.catalog.find(name.wire(), name.labels(), above) else {
        return elsewhere(&query, options, limits, out);
    };
    // Of an overlay, most is nsd's to answer, and the key may be nsd's.
    if query.is_signed && limits.keys && table.catalog.zones()[zone].mode() == Mode::Whole {
        return Response::Verify(limits.reply_max(&query));
    }
    let Some(mut reply) = Reply::begin(&query, options, limits.reply_max(&query), out) else { return Response::Drop };
    let mode = table.catalog.zones()[zone].mode();
    match walk::answer(table, (zone, mode), &query, &mut name, limits, &mut reply) {
        Some((len, subject)) => Response::Reply(Answer { len, subject, known_client: options.known_client }),
        None => elsewhere(&query, options, limits, out),
    }
}

/// The reply to a query that was relayed in vain: what our own copy of the zone says, which is of the
/// file that nsd has loaded; without one, SERVFAIL with an extended error (RFC 8914). Who has signed
/// wants nsd's signature, and gets the error.
pub fn failure(
    table: &Table,
    message: &[u8],
    why: ExtendedErrorCode,
    limits: &Limits,
    client: &Client,
    out: &mut [u8],
) -> Response {
    let Ok(query) = Query::read(message) else { return Response::Drop };
    let options = read_again(table, &query, limits, client);
    let mut name = LowerName::new(query.question.name);
    let zone = table.catalog.find(name.wire(), name.labels(), query.question.qtype == Rtype::DS);
    let in_class = matches!(query.question.qclass, Class::IN | Class::ANY);
    if let (Some(zone), true, false) = (zone, in_class, query.is_signed) {
        let Some(mut reply) = Reply::begin(&query, options, limits.reply_max(&query), out) else {
            return Response::Drop;
        };
        let whole = walk::answer(table, (zone, Mode::Whole), &query, &mut name, limits, &mut reply);
        let (len, subject) = whole.expect("nothing of a whole zone is left to nsd");
        return Response::Reply(Answer { len, subject, known_client: options.known_client });
    }
    error(&query, options.with_error(why), OptRcode::SERVFAIL, limits, out)
}

/// Instead of an answer: nothing but the question and TC, so that an honest client comes back over
/// TCP, and a forger's victim gets no more than the forger has sent.
pub fn slip(table: &Table, message: &[u8], limits: &Limits, client: &Client, out: &mut [u8]) -> Response {
    let Ok(query) = Query::read(message) else { return Response::Drop };
    let options = read_again(table, &query, limits, client);
    let Some(mut reply) = Reply::begin(&query, options, limits.reply_max(&query), out) else { return Response::Drop };
    reply.flags |= flags::TC;
    let len = reply.finish(OptRcode::NOERROR, limits.payload_max);
    Response::Reply(Answer { len, subject: Subject::ERROR, known_client: false })
}

/// Where in a reply of nsd's to this query the name stands that such an answer is about ([`Kind::Wildcard`]), as
/// our own copy of the zone tells: nsd does not say. `None`: the name in question itself.
pub fn encloser_at(table: &Table, query: &Query<'_>) -> Option<usize> {
    walk::encloser_at(table, query)
}

/// What there is to say of a query's cookie when somebody else has answered it: whether it is one of ours, so that
/// the source address is not forged, and the one that belongs into the reply, if nobody has to sign that.
pub fn cookie_of(
    table: &Table,
    query: &Query<'_>,
    limits: &Limits,
    client: &Client,
) -> (bool, Option<[u8; COOKIE_LEN]>) {
    let options = read_again(table, query, limits, client);
    (options.known_client, options.cookie.filter(|_| !query.is_signed))
}

/// The options of a query that has been read before.
fn read_again<'t>(table: &'t Table, query: &Query<'_>, limits: &Limits, client: &Client) -> Options<'t> {
    let options = query.edns.and_then(|edns| Options::read(&edns, &table.policy, limits, client).ok());
    options.unwrap_or(Options::NONE)
}

/// The question is not about anything of ours.
fn elsewhere(query: &Query<'_>, options: Options<'_>, limits: &Limits, out: &mut [u8]) -> Response {
    if limits.relay {
        return Response::Relay;
    }
    refused(query, options, ExtendedErrorCode::NOT_AUTHORITATIVE, limits, out)
}

fn refused(
    query: &Query<'_>,
    options: Options<'_>,
    why: ExtendedErrorCode,
    limits: &Limits,
    out: &mut [u8],
) -> Response {
    error(query, options.with_error(why), OptRcode::REFUSED, limits, out)
}

/// A refusal made elsewhere (a transfer, a signature): question, code and OPT with an extended
/// error. Gives its length; absent if it does not fit.
pub fn refusal(
    query: &Query<'_>,
    rcode: OptRcode,
    why: ExtendedErrorCode,
    limits: &Limits,
    out: &mut [u8],
) -> Option<usize> {
    match error(query, Options::NONE.with_error(why), rcode, limits, out) {
        Response::Reply(answer) => Some(answer.len),
        _ => None,
    }
}

/// A reply of nothing but question, code and OPT.
fn error(query: &Query<'_>, options: Options<'_>, rcode: OptRcode, limits: &Limits, out: &mut [u8]) -> Response {
    let Some(mut reply) = Reply::begin(query, options, limits.reply_max(query), out) else { return Response::Drop };
    let len = reply.finish(rcode, limits.payload_max);
    Response::Reply(Answer { len, subject: Subject::ERROR, known_client: options.known_client })
}

/// Class CH asks about the server itself (RFC 4892), this one and not nsd: never relayed.
fn chaos(table: &Table, query: &Query<'_>, options: Options<'_>, limits: &Limits, out: &mut [u8]) -> Response {
    let name = LowerName::new(query.question.name);
    let text = match name.wire() {
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => &table.policy.version,
        b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => &table.policy.identity,
        _ => &None,
    };
    let (Some(text), Rtype::TXT | Rtype::ANY) = (text, query.question.qtype) else {
        return refused(query, options, ExtendedErrorCode::PROHIBITED, limits, out);
    };
    let Some(mut reply) = Reply::begin(query, options, limits.reply_max(query), out) else { return Response::Drop };
    let mut rdata = [0; 1 + super::policy::TEXT_MAX];
    let len = text.len().min(super::policy::TEXT_MAX);
    rdata[0] = len as u8;
    rdata[1..=len].copy_from_slice(&text[..len]);
    reply.flags |= flags::AA;
    if !reply.record(Section::Answer, QUESTION_AT, (Rtype::TXT, Class::CH), 0, &rdata[..=len]) {
        reply.flags |= flags::TC;
    }
    let len = reply.finish(OptRcode::NOERROR, limits.payload_max);
    Response::Reply(Answer { len, subject: Subject::QUESTION, known_client: options.known_client })
}

/// RFC 7873 section 5.4: no question, no answer, but a server cookie.
fn cookie_only(table: &Table, message: &[u8], limits: &Limits, client: &Client, out: &mut [u8]) -> Response {
    let Some(query) = CookieQuery::read(message) else { return Response::Drop };
    let Ok(options) = Options::read(&query.edns, &table.policy, limits, client) else {
        return bare(message, Rcode::FORMERR, out);
    };
    let edns = Some((options, query.edns.dnssec_ok));
    let Some(mut reply) = Reply::without_question(query.id, query.flags, edns, PLAIN_UDP_MAX, out) else {
        return Response::Drop;
    };
    let len = reply.finish(OptRcode::NOERROR, limits.payload_max);
    Response::Reply(Answer { len, subject: Subject::ERROR, known_client: options.known_client })
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
    Response::Reply(Answer { len: HEADER_LEN, subject: Subject::ERROR, known_client: false })
}
