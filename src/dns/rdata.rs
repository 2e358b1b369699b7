//! RDATA between master file text and wire form (RFC 1035 section 3.3 and 5.1, RFC 3597).
//!
//! The types that fill zones are read by hand: they are most of every load. Those that nsd knows
//! and `domain` does not are in `more`. All others go through `domain`, and each of those is parsed
//! back from the wire before it counts.

mod examples;
mod location;
mod more;
mod names;
mod print;
mod scanner;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use domain::base::iana::{Class, Rtype};
use domain::base::name::ParsedName;
use domain::base::rdata::{ComposeRecordData, ParseRecordData};
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
use domain::dep::octseq::Parser;
use domain::rdata::ZoneRecordData;

use super::name::{Name, NameError, octet_from_text, wire_from_text};
use scanner::FieldScanner;

pub use examples::example;
pub use names::{NameAt, canonical, name_offsets};

/// Longest RDATA in wire form: RDLENGTH is 16 bits (RFC 1035 section 3.2.1), in octets.
pub const RDATA_MAX: usize = 65_535;
/// Longest character-string, in octets (RFC 1035 section 3.3).
pub const STRING_MAX: usize = 255;
/// Largest time to live, in seconds (RFC 2181 section 8).
pub const TTL_MAX_S: u32 = 0x7fff_ffff;

/// One field of a record's text, as the lexer cut it out.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// The text, escapes still in it, quotes left out.
    pub text: &'a [u8],
    /// Offset of `text` in its document, for messages.
    pub at: usize,
    pub quoted: bool,
    /// No blank stands before it: `key="value"` is two fields, the second one glued.
    pub glued: bool,
}

/// Appends the wire form of the RDATA that `fields` spell to `out`.
///
/// Names are completed with `origin`. On an error `out` may hold a part of the RDATA.
pub fn from_text(rtype: Rtype, fields: &[Field<'_>], origin: &Name, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let start = out.len();
    if fields.first().is_some_and(|first| !first.quoted && first.text == br"\#") {
        return by_domain(rtype, fields, origin, out);
    }
    let mut fields = Fields { all: fields, next: 0 };
    match rtype {
        Rtype::A => {
            let address = fields.parsed::<Ipv4Addr>("an IPv4 address")?;
            out.extend_from_slice(&address.octets());
        }
        Rtype::AAAA => {
            let address = fields.parsed::<Ipv6Addr>("an IPv6 address")?;
            out.extend_from_slice(&address.octets());
        }
        Rtype::NS | Rtype::CNAME | Rtype::PTR => fields.name("a domain name", origin, out)?,
        Rtype::MX | Rtype::AFSDB | Rtype::RT | Rtype::KX | Rtype::LP => {
            fields.number_u16("a preference (0 to 65535)", out)?;
            fields.name("the host's name", origin, out)?;
        }
        Rtype::SRV => {
            for what in ["a priority (0 to 65535)", "a weight (0 to 65535)", "a port (0 to 65535)"] {
                fields.number_u16(what, out)?;
            }
            fields.name("the target's name", origin, out)?;
        }
        Rtype::SOA => soa(&mut fields, origin, out)?,
        Rtype::TXT | Rtype::SPF => {
            fields.string(out)?;
            while fields.next < fields.all.len() {
                fields.string(out)?;
                if out.len() - start > RDATA_MAX {
                    return Err(fields.bad(fields.next - 1, "RDATA is longer than 65,535 octets"));
                }
            }
        }
        _ => {
            let read = more::from_text(rtype, &mut fields, origin, out);
            return read.unwrap_or_else(|| by_domain(rtype, fields.all, origin, out));
        }
    }
    fields.done()
}

/// The RDATA as master file text on one line, names absolute: [`from_text`] reads the same octets
/// from it. What does not fit the type, types that nobody here knows, and what `domain` prints so
/// that it means something else (a gateway that is none) are written as RFC 3597
/// `\# LENGTH HEX`.
pub fn to_text(rtype: Rtype, rdata: &[u8]) -> String {
    let by_domain = || match parse(rtype, rdata)? {
        ZoneRecordData::Unknown(_) => None,
        data => Some(data.display_zonefile(DisplayKind::Simple).to_string()),
    };
    let text = print::to_text(rtype, rdata).or_else(by_domain);
    let reads_back = |text: &String| {
        let mut again = Vec::with_capacity(rdata.len());
        let read = print::fields(text).map(|fields| from_text(rtype, &fields, &Name::root(), &mut again));
        read.is_some_and(|read| read.is_ok()) && again == rdata
    };
    text.filter(reads_back).unwrap_or_else(|| generic(rdata))
}

/// The wire form of RDATA written on one line, names absolute with or without their final dot.
pub fn from_line(rtype: Rtype, text: &str) -> Result<Vec<u8>, RdataError> {
    let unreadable = || RdataError { field: 0, message: "a quote has no end".into() };
    let mut wire = Vec::new();
    from_text(rtype, &print::fields(text).ok_or_else(unreadable)?, &Name::root(), &mut wire)?;
    Ok(wire)
}

/// The RDATA of this type among the answers of a message in wire form, each without compression.
/// What cannot be read is left out.
pub fn in_answers(message: &[u8], rtype: Rtype) -> Vec<Vec<u8>> {
    let Ok(message) = domain::base::Message::from_octets(message) else { return Vec::new() };
    let Ok(answers) = message.answer() else { return Vec::new() };
    let records = answers.flatten().filter(|record| record.rtype() == rtype);
    let wire = |record: domain::base::ParsedRecord<'_, &[u8]>| {
        let record = record.into_record::<ZoneRecordData<_, ParsedName<_>>>().ok()??;
        let mut wire = Vec::new();
        match record.data().compose_rdata(&mut wire) {
            Ok(()) => Some(wire),
            Err(impossible) => match impossible {},
        }
    };
    records.filter_map(wire).collect()
}

/// Whether two RDATA in wire form say the same: names match in any case.
pub fn is_same(rtype: Rtype, one: &[u8], other: &[u8]) -> bool {
    one == other || parse(rtype, one).zip(parse(rtype, other)).is_some_and(|(one, other)| one == other)
}

fn generic(rdata: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = format!(r"\# {} ", rdata.len());
    for octet in rdata {
        let _ = write!(text, "{octet:02X}");
    }
    text.trim_end().to_owned()
}

/// Types that ask or carry a transaction and cannot stand in a zone (RFC 6895 section 3.1: OPT and
/// 128 to 255), and the reserved type 0.
pub fn is_meta(rtype: Rtype) -> bool {
    matches!(rtype.to_int(), 0 | 41 | 128..=255)
}

/// The seven fields of RFC 1035 section 3.3.13. The times may carry units, the serial may not.
fn soa(fields: &mut Fields<'_>, origin: &Name, out: &mut Vec<u8>) -> Result<(), RdataError> {
    fields.name("the primary server's name", origin, out)?;
    fields.name("the mailbox of the person in charge", origin, out)?;
    let serial = fields.parsed::<u32>("a serial (0 to 4294967295)")?;
    out.extend_from_slice(&serial.to_be_bytes());
    for what in ["a refresh time", "a retry time", "an expire time", "a negative TTL (minimum)"] {
        let field = fields.take(what)?;
        let Some(seconds) = seconds_from_text(field.text) else {
            return Err(fields.bad(fields.next - 1, format!("`{}` is not {what}", quoted(field.text))));
        };
        out.extend_from_slice(&seconds.to_be_bytes());
    }
    Ok(())
}

/// Seconds with BIND's units, in any order and case: `3600`, `1h30m`, `2d`. `None` for anything else
/// and for more than 32 bits. A number without a unit counts seconds, as in nsd.
pub fn seconds_from_text(text: &[u8]) -> Option<u32> {
    if !text.first()?.is_ascii_digit() {
        return None;
    }
    let mut total: u32 = 0;
    let mut number: u32 = 0;
    for octet in text {
        let unit_s = match octet.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => {
                number = number.checked_mul(10)?.checked_add(u32::from(digit - b'0'))?;
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit_s)?)?;
        number = 0;
    }
    total.checked_add(number)
}

/// Every type that is not read by hand, and `\#` for all types: scanned by `domain`, then parsed
/// back from the wire, so that nothing is taken that could not be sent.
fn by_domain(rtype: Rtype, fields: &[Field<'_>], origin: &Name, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let mut scanner = FieldScanner::new(fields, origin);
    let scanned = ZoneRecordData::scan(rtype, &mut scanner);
    let next = scanner.position();
    let data = scanned.map_err(|error| RdataError { field: next.saturating_sub(1), message: error.message() })?;
    if next < fields.len() {
        return Err(RdataError { field: next, message: "nothing more is expected here".into() });
    }
    let start = out.len();
    match data.compose_rdata(out) {
        Ok(()) => {}
        Err(impossible) => match impossible {},
    }
    let wire = &out[start..];
    if wire.len() > RDATA_MAX {
        return Err(RdataError { field: 0, message: "RDATA is longer than 65,535 octets".into() });
    }
    if !survives_the_wire(rtype, wire) {
        return Err(RdataError {
            field: 0,
            message: format!("these octets are no valid RDATA of type {rtype}").into(),
        });
    }
    Ok(())
}

type ParsedData<'a> = ZoneRecordData<&'a [u8], ParsedName<&'a [u8]>>;

/// RDATA read by type from the wire; `None` if it does not fit the type to its last octet.
fn parse(rtype: Rtype, wire: &[u8]) -> Option<ParsedData<'_>> {
    let mut parser = Parser::from_ref(wire);
    let data = ParsedData::parse_rdata(rtype, &mut parser).ok()??;
    (parser.remaining() == 0).then_some(data)
}

/// Whether RDATA can be parsed by type and composed again to the same octets. (A compression
/// pointer smuggled in by `\#` would not come out the same.)
fn survives_the_wire(rtype: Rtype, wire: &[u8]) -> bool {
    let Some(data) = parse(rtype, wire) else { return false };
    let mut again = Vec::with_capacity(wire.len());
    match data.compose_rdata(&mut again) {
        Ok(()) => again == wire,
        Err(impossible) => match impossible {},
    }
}

/// The fields of one RDATA, taken from the left.
struct Fields<'a> {
    all: &'a [Field<'a>],
    next: usize,
}

impl<'a> Fields<'a> {
    fn take(&mut self, what: &str) -> Result<Field<'a>, RdataError> {
        let field = self.all.get(self.next).copied();
        self.next += 1;
        field.ok_or_else(|| RdataError { field: self.all.len(), message: format!("{what} is missing").into() })
    }

    fn parsed<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, RdataError> {
        let field = self.take(what)?;
        // `u32::from_str` takes a plus sign, a zone file does not.
        let text = std::str::from_utf8(field.text).ok().filter(|text| !text.starts_with('+'));
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| self.bad(self.next - 1, format!("`{}` is not {what}", quoted(field.text))))
    }

    fn number_u16(&mut self, what: &str, out: &mut Vec<u8>) -> Result<(), RdataError> {
        let number = self.parsed::<u16>(what)?;
        out.extend_from_slice(&number.to_be_bytes());
        Ok(())
    }

    fn name(&mut self, what: &str, origin: &Name, out: &mut Vec<u8>) -> Result<(), RdataError> {
        let field = self.take(what)?;
        wire_from_text(field.text, Some(origin), out).map_err(|error: NameError| {
            self.bad(self.next - 1, format!("`{}` is no domain name: {error}", quoted(field.text)))
        })
    }

    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), RdataError> {
        let field = self.take("a text")?;
        let length_at = out.len();
        out.push(0);
        let mut at = 0;
        while at < field.text.len() {
            let octet =
                octet_from_text(field.text, &mut at).map_err(|error| self.bad(self.next - 1, error.to_string()))?;
            out.push(octet);
            if out.len() - length_at > 1 + STRING_MAX {
                return Err(self.bad(self.next - 1, "a single text is longer than 255 octets; split it into several"));
            }
        }
        out[length_at] = (out.len() - length_at - 1) as u8;
        Ok(())
    }

    fn done(&self) -> Result<(), RdataError> {
        if self.next < self.all.len() { Err(self.bad(self.next, "nothing more is expected here")) } else { Ok(()) }
    }

    fn bad(&self, field: usize, message: impl Into<Cow<'static, str>>) -> RdataError {
        RdataError { field, message: message.into() }
    }
}

/// Text from a zone file for use in a message: control and non-ASCII octets escaped, cut short.
pub fn quoted(text: &[u8]) -> String {
    const SHOWN: usize = 60;
    let mut shown = text[..text.len().min(SHOWN)].escape_ascii().to_string();
    if text.len() > SHOWN {
        shown.push_str("...");
    }
    shown
}

/// The class that every zone here has.
pub const CLASS: Class = Class::IN;

/// Why fields are no RDATA of a type.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct RdataError {
    /// Index of the field at fault; the number of fields, where one is missing.
    pub field: usize,
    pub message: Cow<'static, str>,
}
