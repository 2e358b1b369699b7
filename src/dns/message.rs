//! A query as it arrives: header, one question, EDNS. Reads in place, allocates nothing, follows no
//! compression pointer, and looks at the counts before it looks at any record.

use domain::base::iana::{Class, Opcode, OptRcode, OptionCode, Rcode, Rtype};

use super::name::wire_len;

/// Length of the header (RFC 1035 section 4.1.1), in octets.
pub const HEADER_LEN: usize = 12;
/// Longest message over TCP (RFC 1035 section 4.2.2), in octets.
pub const MESSAGE_MAX: usize = 65_535;
/// Longest UDP message without EDNS (RFC 1035 section 4.2.1), in octets.
pub const PLAIN_UDP_MAX: usize = 512;
/// Most records that a query may carry behind its question: OPT, TSIG or SIG(0), and some slack.
pub const ADDITIONAL_MAX: u16 = 4;

/// Header flags (RFC 1035 section 4.1.1, RFC 4035 section 3.2), as bits of the second 16-bit word.
pub mod flags {
    pub const QR: u16 = 0x8000;
    pub const OPCODE: u16 = 0x7800;
    pub const AA: u16 = 0x0400;
    pub const TC: u16 = 0x0200;
    pub const RD: u16 = 0x0100;
    pub const RA: u16 = 0x0080;
    pub const AD: u16 = 0x0020;
    pub const CD: u16 = 0x0010;
    pub const RCODE: u16 = 0x000f;
}

/// A well-formed query with opcode QUERY, borrowed from the datagram.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub id: u16,
    /// The second word of the header as sent; see [`flags`].
    pub flags: u16,
    pub question: Question<'a>,
    pub edns: Option<Edns<'a>>,
    /// It carries a TSIG record (RFC 8945), which is for whoever holds the keys to judge.
    pub is_signed: bool,
}

/// The question. `wire` is all of it as sent, for the reply to repeat.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub wire: &'a [u8],
    /// Uncompressed, case as sent.
    pub name: &'a [u8],
    pub qtype: Rtype,
    pub qclass: Class,
}

/// What the OPT record says (RFC 6891 section 6.1).
#[derive(Clone, Copy, Debug)]
pub struct Edns<'a> {
    /// Where the payload size stands in the message.
    pub payload_at: usize,
    /// The sender's UDP payload size as sent, in octets.
    pub payload: u16,
    pub version: u8,
    pub dnssec_ok: bool,
    /// The options; well-formed if `version` is 0.
    pub options: &'a [u8],
}

/// What becomes of a message that is no query for us to answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Malformed {
    /// No reply at all: too short for a header, or itself a reply. Answering those makes loops.
    Drop,
    /// A reply that is nothing but a header with this code.
    Reply(Rcode),
    /// No question, but an OPT with a COOKIE option: its sender asks for a server cookie (RFC 7873
    /// section 5.4). See [`CookieQuery`].
    CookieOnly,
}

pub(super) const FORMERR: Malformed = Malformed::Reply(Rcode::FORMERR);

impl<'a> Query<'a> {
    /// Reads a whole message.
    pub fn read(message: &'a [u8]) -> Result<Query<'a>, Malformed> {
        let header = message.first_chunk::<HEADER_LEN>().ok_or(Malformed::Drop)?;
        let word = |index: usize| u16::from_be_bytes([header[2 * index], header[2 * index + 1]]);
        let (id, flags) = (word(0), word(1));
        if flags & flags::QR != 0 {
            return Err(Malformed::Drop);
        }
        if opcode(flags) != Opcode::QUERY {
            return Err(Malformed::Reply(Rcode::NOTIMP));
        }
        let [questions, answers, authorities, additionals] = [word(2), word(3), word(4), word(5)];
        if questions == 0 && CookieQuery::read(message).is_some() {
            return Err(Malformed::CookieOnly);
        }
        if questions != 1 || answers != 0 || authorities > 1 || additionals > ADDITIONAL_MAX {
            return Err(FORMERR);
        }
        let question = Question::read(&message[HEADER_LEN..])?;
        let mut rest = &message[HEADER_LEN + question.wire.len()..];
        if authorities == 1 {
            // Only IXFR has something to say there (RFC 1995 section 3).
            if question.qtype != Rtype::IXFR {
                return Err(FORMERR);
            }
            rest = Additional::read(rest)?.1;
        }
        let (mut edns, mut is_signed) = (None, false);
        for _ in 0..additionals {
            let (record, behind) = Additional::read(rest)?;
            let at = message.len() - rest.len();
            rest = behind;
            if record.rtype == Rtype::OPT && edns.replace(Edns::read(&record, at)?).is_some() {
                return Err(FORMERR);
            }
            is_signed |= record.rtype == Rtype::TSIG;
        }
        if !rest.is_empty() {
            return Err(FORMERR);
        }
        Ok(Query { id, flags, question, edns, is_signed })
    }
}

/// A query without a question, from somebody who wants a server cookie (RFC 7873 section 5.4).
#[derive(Clone, Copy, Debug)]
pub struct CookieQuery<'a> {
    pub id: u16,
    pub flags: u16,
    pub edns: Edns<'a>,
}

impl<'a> CookieQuery<'a> {
    /// A header, and an OPT with a COOKIE option; nothing else.
    pub fn read(message: &'a [u8]) -> Option<CookieQuery<'a>> {
        let (header, rest) = message.split_first_chunk::<HEADER_LEN>()?;
        let [id0, id1, f0, f1, counts @ ..] = *header;
        if counts != [0, 0, 0, 0, 0, 0, 0, 1] {
            return None;
        }
        let (record, rest) = Additional::read(rest).ok()?;
        let edns = (record.rtype == Rtype::OPT && rest.is_empty()).then(|| Edns::read(&record, HEADER_LEN).ok())??;
        let cookie = edns.version == 0 && edns.options().any(|(code, _)| code == OptionCode::COOKIE.to_int());
        cookie.then_some(CookieQuery { id: u16::from_be_bytes([id0, id1]), flags: u16::from_be_bytes([f0, f1]), edns })
    }
}

impl<'a> Question<'a> {
    /// Reads the question at the start of `bytes`.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Question<'a>, Malformed> {
        let name_len = wire_len(bytes).map_err(|_| FORMERR)?;
        let wire = bytes.get(..name_len + 4).ok_or(FORMERR)?;
        let word = |at: usize| u16::from_be_bytes([wire[at], wire[at + 1]]);
        Ok(Question {
            wire,
            name: &wire[..name_len],
            qtype: Rtype::from_int(word(name_len)),
            qclass: Class::from_int(word(name_len + 2)),
        })
    }
}

impl<'a> Edns<'a> {
    /// Takes an OPT record apart (RFC 6891 section 6.1.2) that begins at `at` in its message: its owner
    /// must be the root.
    pub(super) fn read(record: &Additional<'a>, at: usize) -> Result<Edns<'a>, Malformed> {
        if !record.at_root {
            return Err(FORMERR);
        }
        let [_, version, flags, _] = record.ttl;
        // Of another version nothing but the number can be trusted: it gets BADVERS.
        if version == 0 && EdnsOptions(record.rdata).any(|option| option.is_err()) {
            return Err(FORMERR);
        }
        let dnssec_ok = flags & 0x80 != 0;
        // Behind the root label and the type.
        let payload_at = at + 3;
        Ok(Edns { payload_at, payload: record.class, version, dnssec_ok, options: record.rdata })
    }

    /// The options as (code, data).
    pub fn options(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        EdnsOptions(self.options).map_while(Result::ok)
    }
}

/// The options in the RDATA of an OPT record; one error, then the end, where the lengths do not add up.
struct EdnsOptions<'a>(&'a [u8]);

impl<'a> Iterator for EdnsOptions<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let option = self.0.split_first_chunk::<4>().and_then(|([a, b, c, d], rest)| {
            let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*c, *d])))?;
            Some((u16::from_be_bytes([*a, *b]), data, rest))
        });
        self.0 = option.map_or(&[], |(_, _, rest)| rest);
        Some(option.map(|(code, data, _)| (code, data)).ok_or(FORMERR))
    }
}

/// A record of the additional section of a query.
pub(super) struct Additional<'a> {
    at_root: bool,
    pub(super) rtype: Rtype,
    class: u16,
    ttl: [u8; 4],
    pub(super) rdata: &'a [u8],
}

impl<'a> Additional<'a> {
    /// Reads the record at the start of `bytes`; also returns what lies behind it.
    pub(super) fn read(bytes: &'a [u8]) -> Result<(Additional<'a>, &'a [u8]), Malformed> {
        let owner_len = owner_len(bytes).ok_or(FORMERR)?;
        let (fixed, rest) = bytes[owner_len..].split_first_chunk::<10>().ok_or(FORMERR)?;
        let [t0, t1, c0, c1, ttl0, ttl1, ttl2, ttl3, l0, l1] = *fixed;
        let rdata_len = usize::from(u16::from_be_bytes([l0, l1]));
        let (rdata, rest) = rest.split_at_checked(rdata_len).ok_or(FORMERR)?;
        let record = Additional {
            at_root: bytes[0] == 0,
            rtype: Rtype::from_int(u16::from_be_bytes([t0, t1])),
            class: u16::from_be_bytes([c0, c1]),
            ttl: [ttl0, ttl1, ttl2, ttl3],
            rdata,
        };
        Ok((record, rest))
    }
}

/// The length of a possibly compressed name at the start of `bytes`; the pointer is not followed.
pub fn owner_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            label @ 1..=63 => at += 1 + usize::from(label),
            // The second octet of the pointer has to be there as well.
            0xc0.. => return bytes.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

/// The opcode in the flags word.
pub fn opcode(flags: u16) -> Opcode {
    // Four bits always fit.
    Opcode::from_int(((flags & flags::OPCODE) >> 11) as u8)
}

/// The header bits and the extended bits of a response code (RFC 6891 section 6.1.3).
pub fn split_rcode(rcode: OptRcode) -> (u16, u8) {
    let code = rcode.to_int();
    (code & flags::RCODE, (code >> 4) as u8)
}

/// Whether `reply` may be the answer to `query`: it is a reply with this ID that repeats the
/// question bit for bit. A header-only reply is believed only if it reports an error.
pub fn answers(reply: &[u8], id: u16, question: &[u8]) -> bool {
    let Some(header) = reply.first_chunk::<HEADER_LEN>() else { return false };
    let flags = u16::from_be_bytes([header[2], header[3]]);
    if flags & flags::QR == 0 || opcode(flags) != Opcode::QUERY || header[..2] != id.to_be_bytes() {
        return false;
    }
    match u16::from_be_bytes([header[4], header[5]]) {
        0 => flags & flags::RCODE != 0 && reply.len() == HEADER_LEN,
        1 => reply[HEADER_LEN..].starts_with(question),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0";

    fn message(flags: u16, counts: [u16; 4], body: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd];
        message.extend(flags.to_be_bytes());
        for count in counts {
            message.extend(count.to_be_bytes());
        }
        message.extend(body.concat());
        message
    }

    fn refused(flags: u16, counts: [u16; 4], body: &[&[u8]]) -> Malformed {
        Query::read(&message(flags, counts, body)).map(|query| query.id).expect_err("must be malformed")
    }

    const WWW: &[u8] = b"\x03wWw\x03org\0\0\x01\0\x01";

    #[test]
    fn a_plain_question() {
        let bytes = message(flags::RD, [1, 0, 0, 0], &[WWW]);
        let query = Query::read(&bytes).unwrap();
        assert_eq!((query.id, query.flags), (0xabcd, flags::RD));
        assert_eq!(query.question.name, b"\x03wWw\x03org\0");
        assert_eq!((query.question.qtype, query.question.qclass), (Rtype::A, Class::IN));
        assert!(query.edns.is_none());
    }

    #[test]
    fn edns_is_taken_apart() {
        let bytes = message(0, [1, 0, 0, 1], &[WWW, b"\0\0\x29\x10\0\0\0\x80\0\0\x06\0\x03\0\x02hi"]);
        let edns = Query::read(&bytes).unwrap().edns.unwrap();
        assert_eq!((edns.payload, edns.version, edns.dnssec_ok), (4096, 0, true));
        assert_eq!(bytes[edns.payload_at..][..2], 4096u16.to_be_bytes());
        assert_eq!(edns.options().collect::<Vec<_>>(), [(3, &b"hi"[..])]);
    }

    #[test]
    fn what_is_dropped() {
        for length in 0..HEADER_LEN {
            assert_eq!(Query::read(&vec![0; length]).map(|_| ()), Err(Malformed::Drop));
        }
        assert_eq!(refused(flags::QR, [1, 0, 0, 0], &[WWW]), Malformed::Drop);
        assert_eq!(refused(flags::QR | 0x2800, [9, 9, 9, 9], &[]), Malformed::Drop);
    }

    #[test]
    fn other_opcodes_are_not_implemented() {
        for opcode in 1..16u16 {
            assert_eq!(refused(opcode << 11, [1, 0, 0, 0], &[WWW]), Malformed::Reply(Rcode::NOTIMP), "{opcode}");
        }
    }

    #[test]
    fn format_errors() {
        type Case<'a> = (&'a str, [u16; 4], &'a [&'a [u8]]);
        let cases: &[Case<'_>] = &[
            ("no question", [0, 0, 0, 0], &[]),
            ("two questions", [2, 0, 0, 0], &[WWW, WWW]),
            ("an answer", [1, 1, 0, 0], &[WWW, OPT]),
            ("an authority", [1, 0, 1, 0], &[WWW, OPT]),
            ("more records than any client sends", [1, 0, 0, 5], &[WWW, OPT]),
            ("question cut short", [1, 0, 0, 0], &[b"\x03www\x00\0\x01\0"]),
            ("name cut short", [1, 0, 0, 0], &[b"\x03ww"]),
            ("compressed question", [1, 0, 0, 0], &[b"\xc0\x0c\0\x01\0\x01"]),
            ("trailing junk", [1, 0, 0, 0], &[WWW, b"x"]),
            ("OPT missing", [1, 0, 0, 1], &[WWW]),
            ("OPT cut short", [1, 0, 0, 1], &[WWW, &OPT[..10]]),
            ("two OPTs", [1, 0, 0, 2], &[WWW, OPT, OPT]),
            ("OPT below the root", [1, 0, 0, 1], &[WWW, b"\x01a\0\0\x29\x04\xd0\0\0\0\0\0\0"]),
            ("option longer than OPT", [1, 0, 0, 1], &[WWW, b"\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x03\0\x01"]),
            ("option header cut short", [1, 0, 0, 1], &[WWW, b"\0\0\x29\x04\xd0\0\0\0\0\0\x02\0\x03"]),
            ("reserved label type", [1, 0, 0, 1], &[WWW, b"\x40a\0\0\x29\x04\xd0\0\0\0\0\0\0"]),
        ];
        for (what, counts, body) in cases {
            assert_eq!(refused(0, *counts, body), FORMERR, "{what}");
        }
    }

    #[test]
    fn a_cookie_may_come_without_a_question() {
        let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x08abcdefgh";
        assert_eq!(refused(0, [0, 0, 0, 1], &[opt]), Malformed::CookieOnly);
        assert_eq!(refused(0, [0, 0, 0, 1], &[OPT]), FORMERR, "no cookie");
        assert_eq!(refused(0, [0, 0, 0, 1], &[opt, b"x"]), FORMERR, "something behind it");
        assert_eq!(refused(0, [0, 0, 0, 2], &[opt, OPT]), FORMERR, "two OPTs");
        assert_eq!(refused(flags::QR, [0, 0, 0, 1], &[opt]), Malformed::Drop);
    }

    #[test]
    fn other_versions_are_read_without_looking_at_their_options() {
        let bytes = message(0, [1, 0, 0, 1], &[WWW, b"\0\0\x29\x04\xd0\0\x01\0\0\0\x01x"]);
        assert_eq!(Query::read(&bytes).unwrap().edns.unwrap().version, 1);
    }

    #[test]
    fn a_compressed_owner_behind_the_question_is_stepped_over() {
        let bytes = message(0, [1, 0, 0, 2], &[WWW, b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x01x", OPT]);
        assert!(Query::read(&bytes).unwrap().edns.is_some());
    }

    #[test]
    fn replies_are_checked() {
        let reply = message(flags::QR, [1, 0, 0, 0], &[WWW]);
        assert!(answers(&reply, 0xabcd, WWW));
        assert!(!answers(&reply, 0xabce, WWW), "another ID");
        assert!(!answers(&reply, 0xabcd, b"\x03www\x03org\0\0\x01\0\x01"), "another case");
        assert!(!answers(&message(0, [1, 0, 0, 0], &[WWW]), 0xabcd, WWW), "a query");
        assert!(!answers(&message(flags::QR, [0, 0, 0, 0], &[]), 0xabcd, WWW), "no question, no error");
        assert!(answers(&message(flags::QR | 5, [0, 0, 0, 0], &[]), 0xabcd, WWW));
        assert!(!answers(&reply[..11], 0xabcd, WWW));
    }
}
