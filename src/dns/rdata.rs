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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rtype: Rtype, text: &str) -> Result<Vec<u8>, RdataError> {
        let fields: Vec<Field<'_>> = text
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(|word| match word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
                Some(inner) => Field { text: inner.as_bytes(), at: 0, quoted: true, glued: false },
                None => Field { text: word.as_bytes(), at: 0, quoted: false, glued: false },
            })
            .collect();
        let mut out = Vec::new();
        from_text(rtype, &fields, &"example.org".parse().unwrap(), &mut out).map(|()| out)
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for (rtype, text, back) in [
            (Rtype::A, "192.0.2.1", "192.0.2.1"),
            (Rtype::AAAA, "2001:DB8::1", "2001:db8::1"),
            (Rtype::NS, "ns1", "ns1.example.org."),
            (Rtype::CNAME, "@", "example.org."),
            (Rtype::MX, "10 mail.example.net.", "10 mail.example.net."),
            (Rtype::SRV, "1 2 443 www", "1 2 443 www.example.org."),
            (Rtype::TXT, r#"a "b\"\065""#, r#""a" "b\"A""#),
            (Rtype::SOA, "ns h 7 1h 30m 1w2d 5", "ns.example.org. h.example.org. 7 3600 1800 777600 5"),
            (Rtype::CAA, r#"0 issue "ca.example""#, r#"0 issue "ca.example""#),
            (Rtype::DS, "1 13 2 AABB CCDD", "1 13 2 AABBCCDD"),
            (Rtype::DNAME, "x", "x.example.org."),
            (Rtype::A, r"\# 4 C0000201", "192.0.2.1"),
            (Rtype::from_int(65_280), r"\# 2 AB CD", r"\# 2 ABCD"),
            (Rtype::from_int(65_280), r"\# 0", r"\# 0"),
        ] {
            let wire = read(rtype, text).unwrap_or_else(|error| panic!("{rtype} {text}: {error}"));
            let written = to_text(rtype, &wire);
            assert_eq!(written.replace(' ', ""), back.replace(' ', ""), "{rtype} {text}");
        }
    }

    /// Wire form as nsd 4.6 and BIND 9.18 have it, and the text of it.
    #[test]
    fn types_that_domain_does_not_know() {
        for (rtype, text, octets, back) in [
            (
                Rtype::LOC,
                "60 9 0.000 N 24 39 0.000 E 10.00m 20m 2000m 20m",
                r"\# 16 002325238CE82360854A10A000989A68",
                "60 9 0.000 N 24 39 0.000 E 10.00m 20.00m 2000.00m 20.00m",
            ),
            (
                Rtype::LOC,
                "52 22 23 N 4 53 32 E -2m 0m",
                r"\# 16 000016138B3CF018810CBCE0009895B8",
                "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000.00m 10.00m",
            ),
            (
                Rtype::LOC,
                "52 N 4 E 1 1 1 1",
                r"\# 16 001212128B28720080DBBA00009896E4",
                "52 0 0.000 N 4 0 0.000 E 1.00m 1.00m 1.00m 1.00m",
            ),
            (
                Rtype::LOC,
                "90 N 180 W 42849672.95m 90000000m",
                r"\# 16 00991613934FD90059604E00FFFFFFFF",
                "90 0 0.000 N 180 0 0.000 W 42849672.95m 90000000.00m 10000.00m 10.00m",
            ),
            (Rtype::APL, "1:192.0.2.0/24 !2:ff00::/8", r"\# 12 00011803C0000200020881FF", "1:192.0.2.0/24 !2:ff00::/8"),
            (Rtype::APL, "", r"\# 0", ""),
            (Rtype::CERT, "PKIX 1 RSASHA1 AAAA", r"\# 8 0001000105000000", "1 1 5 AAAA"),
            (Rtype::CSYNC, "66 3 A NS AAAA", r"\# 12 000000420003000460000008", "66 3 A NS AAAA"),
            (Rtype::NID, "10 14:4fff:ff20:ee64", r"\# 10 000A00144FFFFF20EE64", "10 0014:4fff:ff20:ee64"),
            (Rtype::L32, "10 10.1.2.0", r"\# 6 000A0A010200", "10 10.1.2.0"),
            (Rtype::EUI48, "0-00-5e-00-53-2a", r"\# 6 00005E00532A", "00-00-5e-00-53-2a"),
            (Rtype::EUI64, "00-00-5e-ef-10-00-00-2a", r"\# 8 00005EEF1000002A", "00-00-5e-ef-10-00-00-2a"),
            (Rtype::URI, r#"1 2 "a:b""#, r"\# 7 00010002613A62", r#"1 2 "a:b""#),
            (Rtype::WKS, "10.0.0.1 TCP 25 http", r"\# 16 0A000001060000004000000000000080", "10.0.0.1 6 25 80"),
            (Rtype::NSAP, "0x47.0005.80", r"\# 4 47000580", "0x47000580"),
            (Rtype::NXT, "a. A NS SOA", r"\# 4 01610062", "a. A NS SOA"),
            (Rtype::SMIMEA, "3 1 1 d2ab de", r"\# 6 030101D2ABDE", "3 1 1 D2ABDE"),
            (Rtype::X25, "311061700956", r"\# 13 0C333131303631373030393536", r#""311061700956""#),
            (
                Rtype::SIG,
                "A 5 1 60 2147483647 0 7 . AAAA",
                r"\# 22 000105010000003C7FFFFFFF00000000000700000000",
                "A 5 1 60 20380119031407 19700101000000 7 . AAAA",
            ),
            (Rtype::KX, "1 a", r"\# 17 00010161076578616D706C65036F726700", "1 a.example.org."),
            (Rtype::NS, r#"a\"b."#, r"\# 5 0361226200", r#"a\"b."#),
        ] {
            let wire = read(rtype, text).unwrap_or_else(|error| panic!("{rtype} {text}: {error}"));
            assert_eq!((generic(&wire), to_text(rtype, &wire)), (octets.to_owned(), back.to_owned()), "{rtype} {text}");
        }
        // What `domain` would print so that it means something else.
        for (rtype, octets) in [(Rtype::MINFO, r"\# 7 04612262610000"), (Rtype::IPSECKEY, r"\# 6 0A0002010203")] {
            let wire = read(rtype, octets).unwrap();
            assert_eq!(to_text(rtype, &wire), octets, "{rtype}");
        }
        // What does not fit its type to the last octet.
        for (rtype, octets) in [
            (Rtype::LOC, r"\# 16 01000000800000008000000000989680"),
            (Rtype::LOC, r"\# 16 00A0000080000000800000000098968000"),
            (Rtype::APL, r"\# 5 0001180100"),
            (Rtype::APL, r"\# 4 00032000"),
            (Rtype::CSYNC, r"\# 8 0000004200030000"),
            (Rtype::EUI48, r"\# 5 0000000000"),
            (Rtype::X25, r"\# 2 0241"),
            (Rtype::SMIMEA, r"\# 3 030101"),
        ] {
            let digits = octets.rsplit(' ').next().unwrap();
            let wire: Vec<u8> =
                (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
            assert!(to_text(rtype, &wire).starts_with(r"\# "), "{rtype} {octets}");
        }
    }

    #[test]
    fn what_is_no_rdata_names_the_field() {
        for (rtype, text, field, part) in [
            (Rtype::A, "", 0, "an IPv4 address is missing"),
            (Rtype::A, "192.0.2", 0, "`192.0.2` is not an IPv4 address"),
            (Rtype::A, "01.2.3.4", 0, "not an IPv4 address"),
            (Rtype::A, "192.0.2.1 x", 1, "nothing more"),
            (Rtype::AAAA, "192.0.2.1", 0, "not an IPv6 address"),
            (Rtype::MX, "65536 x", 0, "a preference (0 to 65535)"),
            (Rtype::MX, "+1 x", 0, "a preference (0 to 65535)"),
            (Rtype::MX, "1", 1, "missing"),
            (Rtype::NS, "a..b", 0, "empty label"),
            (Rtype::SOA, "a b 4294967296 1 1 1 1", 2, "a serial"),
            (Rtype::SOA, "a b 1h 1 1 1 1", 2, "a serial"),
            (Rtype::SOA, "a b 1 1 1 x 1", 5, "an expire time"),
            (Rtype::A, r"\# 4 C00002", 2, "length"),
            (Rtype::A, r"\# 3 C00002", 0, "no valid RDATA of type A"),
            (Rtype::NS, r"\# 2 C000", 0, "no valid RDATA of type NS"),
            (Rtype::TXT, r"\25", 0, "bad escape"),
            (Rtype::CAA, "0 issue", 2, "more fields are expected"),
            (Rtype::LOC, "91 N 4 E 0", 0, "is not a latitude"),
            (Rtype::LOC, "90 0 1 N 4 E 0", 3, "more than 90 degrees"),
            (Rtype::LOC, "52 22 23.1234 N 4 E 0", 2, "is not a latitude"),
            (Rtype::LOC, "52 N 4 E", 4, "missing"),
            (Rtype::APL, "1:10.0.0.0/33", 0, "is not a prefix"),
            (Rtype::EUI48, "00-00-5e-00-53", 0, "6 octets"),
            (Rtype::L64, "1 ::1", 1, "four groups"),
            (Rtype::NXT, "a. CAA", 1, "below 128"),
            (Rtype::KEY, "0 3 3", 3, "missing"),
            (Rtype::DLV, "1 1 1 A", 3, "hexadecimal"),
            (Rtype::DHCID, "A", 0, "Base64"),
            (Rtype::CERT, "1 1 300 AAAA", 2, "an algorithm"),
            (Rtype::ISDN, "a b c", 2, "nothing more"),
        ] {
            let error = read(rtype, text).expect_err(text);
            assert!(error.message.contains(part), "{rtype} {text}: {error}");
            assert_eq!(error.field, field, "{rtype} {text}: {error}");
        }
        let long = format!("\"{}\"", "x".repeat(256));
        assert!(read(Rtype::TXT, &long).unwrap_err().message.contains("255"));
    }

    #[test]
    fn units_in_any_order() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("1h30m", Some(5_400)),
            ("30M1H", Some(5_400)),
            ("1w1d1h1m1s", Some(694_861)),
            ("1h30", Some(3_630)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("99999999w", None),
            ("", None),
            ("h", None),
            ("1x", None),
            ("-1", None),
        ] {
            assert_eq!(seconds_from_text(text.as_bytes()), seconds, "{text}");
        }
    }
}
