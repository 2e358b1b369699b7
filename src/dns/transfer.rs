//! A request for a zone transfer as it arrives (RFC 5936 section 2.1, RFC 1995 section 3).

use domain::base::iana::{Class, Opcode, Rtype};

use super::message::{Additional, FORMERR, HEADER_LEN, Malformed, Query, Question, flags, opcode};

/// Serial, refresh, retry, expire and minimum at the end of an SOA record, in octets.
const SOA_NUMBERS_LEN: usize = 20;

/// A well-formed AXFR or IXFR query, borrowed from the message.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub query: Query<'a>,
    pub wanted: Wanted,
}

/// What the secondary asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// The whole zone.
    Whole,
    /// What has changed since this serial.
    Since(u32),
}

impl<'a> Request<'a> {
    /// Reads a whole message. `Ok(None)`: it asks for something else.
    pub fn read(message: &'a [u8]) -> Result<Option<Request<'a>>, Malformed> {
        if !is_transfer(message) {
            return Ok(None);
        }
        let query = Query::read(message)?;
        let wanted = match query.question.qtype {
            Rtype::AXFR => Wanted::Whole,
            _ => Wanted::Since(serial(&message[HEADER_LEN + query.question.wire.len()..], message)?),
        };
        Ok(Some(Request { query, wanted }))
    }
}

/// Whether this is a query of type AXFR or IXFR in class IN, well-formed or not.
fn is_transfer(message: &[u8]) -> bool {
    let Some(header) = message.first_chunk::<HEADER_LEN>() else { return false };
    let word = u16::from_be_bytes([header[2], header[3]]);
    if word & flags::QR != 0 || opcode(word) != Opcode::QUERY || header[4..6] != [0, 1] {
        return false;
    }
    let question = Question::read(&message[HEADER_LEN..]);
    question.is_ok_and(|question| question.qclass == Class::IN && matches!(question.qtype, Rtype::AXFR | Rtype::IXFR))
}

/// The serial in the SOA record of the authority section, which starts at `authority`.
fn serial(authority: &[u8], message: &[u8]) -> Result<u32, Malformed> {
    if message[8..10] != [0, 1] {
        return Err(FORMERR);
    }
    let (record, _) = Additional::read(authority)?;
    // Two names stand before the numbers; compressed or not, they take two octets at least.
    let numbers: &[u8; SOA_NUMBERS_LEN] = record.rdata.last_chunk().ok_or(FORMERR)?;
    if record.rtype != Rtype::SOA || record.rdata.len() < SOA_NUMBERS_LEN + 2 {
        return Err(FORMERR);
    }
    Ok(u32::from_be_bytes([numbers[0], numbers[1], numbers[2], numbers[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOA: &[u8] = b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\x16\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

    fn message(word: u16, qtype: u8, authorities: u8, body: &[u8]) -> Vec<u8> {
        let [high, low] = word.to_be_bytes();
        let header = [0, 1, high, low, 0, 1, 0, 0, 0, authorities, 0, 0];
        [&header[..], b"\x01z\0\0", &[qtype], b"\0\x01", body].concat()
    }

    fn wanted(bytes: &[u8]) -> Result<Option<Wanted>, Malformed> {
        Request::read(bytes).map(|request| request.map(|request| request.wanted))
    }

    #[test]
    fn both_kinds() {
        assert_eq!(wanted(&message(0, 252, 0, b"")), Ok(Some(Wanted::Whole)));
        assert_eq!(wanted(&message(0, 251, 1, SOA)), Ok(Some(Wanted::Since(7))));
    }

    #[test]
    fn what_is_none() {
        assert_eq!(wanted(&message(0, 6, 0, b"")), Ok(None), "a plain question");
        assert_eq!(wanted(&message(flags::QR, 252, 0, b"")), Ok(None), "a reply");
        assert_eq!(wanted(&message(0x2000, 252, 0, b"")), Ok(None), "a NOTIFY");
        assert_eq!(wanted(b""), Ok(None));
        assert_eq!(wanted(&message(0, 252, 0, b"")[..14]), Ok(None), "cut short");
    }

    #[test]
    fn what_is_malformed() {
        assert_eq!(wanted(&message(0, 252, 1, SOA)), Err(FORMERR), "AXFR with an authority");
        assert_eq!(wanted(&message(0, 251, 0, b"")), Err(FORMERR), "IXFR without a serial");
        assert_eq!(wanted(&message(0, 251, 1, &SOA[..20])), Err(FORMERR), "SOA cut short");
        let other = [b"\xc0\x0c\0\x10", &SOA[4..]].concat();
        assert_eq!(wanted(&message(0, 251, 1, &other)), Err(FORMERR), "TXT in place of SOA");
        let short = b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\x03\0\0\0";
        assert_eq!(wanted(&message(0, 251, 1, short)), Err(FORMERR), "SOA too short");
    }
}
