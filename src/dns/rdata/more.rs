//! RDATA text of the types that nsd knows and `domain` does not, and of keys, their digests and
//! signatures, where `domain` wants algorithms as numbers; each as the list of its fields.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::base::iana::{Rtype, SecurityAlgorithm};
use domain::rdata::dnssec::{RtypeBitmapBuilder, Timestamp};
use domain::utils::base64;

use super::{Fields, RDATA_MAX, RdataError, location, quoted, seconds_from_text};
use crate::dns::name::{Name, octet_from_text};

/// One part of RDATA, from one field or from all that are left.
#[derive(Clone, Copy)]
pub(super) enum Part {
    U8(&'static str),
    U16(&'static str),
    U32(&'static str),
    Name(&'static str),
    Ipv4,
    /// A character-string.
    Text,
    /// A character-string that may be missing.
    MoreText,
    /// Character-strings to the end, at least one.
    Texts,
    /// One field, without a length.
    Octets(&'static str),
    /// A number or a mnemonic of the registry of DNSSEC algorithms.
    Algorithm,
    /// A record type.
    Type,
    /// A time to live.
    Seconds,
    /// A point in time (RFC 4034 section 3.2).
    Time,
    /// A number or a mnemonic of RFC 4398 section 2.1.
    CertType,
    /// Hexadecimal digits to the end, at least one octet.
    Hex,
    /// The same, or a lone `0` for an octet of zeros, as RFC 8078 section 4 and nsd have it.
    HexOrZero,
    /// Base64 to the end, at least one octet.
    Base64,
    /// The same, or a lone `0` for an octet of zeros.
    Base64OrZero,
    /// Types to the end, as in NSEC (RFC 4034 section 4.1.2).
    Types,
    /// Types below 128 to the end, one bit each (RFC 2535 section 5.2).
    OldTypes,
    /// Octets in hexadecimal with hyphens between them (RFC 7043).
    Eui(usize),
    /// Four groups of hexadecimal digits with colons between them (RFC 6742).
    Locator,
    /// `0x` and hexadecimal digits, dots anywhere (RFC 1706).
    Nsap,
    /// Protocol and ports (RFC 1035 section 3.4.2).
    Services,
    /// Address prefixes to the end, none is fine (RFC 3123).
    Prefixes,
    /// RFC 1876.
    Location,
}

/// The fields of a type; `None`: the type is not one of these.
pub(super) fn layout(rtype: Rtype) -> Option<&'static [Part]> {
    use Part::{
        Algorithm, Base64, Base64OrZero, CertType, Eui, Hex, HexOrZero, Ipv4, Location, Locator, MoreText, Name, Nsap,
        Octets, OldTypes, Prefixes, Seconds, Services, Text, Texts, Time, Type, Types, U8, U16, U32,
    };
    Some(match rtype {
        Rtype::WKS => &[Ipv4, Services],
        Rtype::X25 => &[Text],
        Rtype::ISDN => &[Text, MoreText],
        Rtype::NSAP => &[Nsap],
        Rtype::PX => &[U16("a preference"), Name("a name for RFC 822"), Name("a name for X.400")],
        Rtype::SIG | Rtype::RRSIG => &[
            Type,
            Algorithm,
            U8("a number of labels"),
            Seconds,
            Time,
            Time,
            U16("a key tag"),
            Name("the signer's name"),
            Base64,
        ],
        Rtype::KEY | Rtype::DNSKEY => &[U16("flags"), U8("a protocol"), Algorithm, Base64],
        Rtype::CDNSKEY => &[U16("flags"), U8("a protocol"), Algorithm, Base64OrZero],
        Rtype::NXT => &[Name("the next name"), OldTypes],
        Rtype::LOC => &[Location],
        Rtype::CERT => &[CertType, U16("a key tag"), Algorithm, Base64],
        Rtype::APL => &[Prefixes],
        Rtype::DS | Rtype::DLV => &[U16("a key tag"), Algorithm, U8("a digest type"), Hex],
        Rtype::CDS => &[U16("a key tag"), Algorithm, U8("a digest type"), HexOrZero],
        Rtype::DHCID => &[Base64],
        Rtype::SMIMEA => &[U8("a usage"), U8("a selector"), U8("a matching type"), Hex],
        Rtype::CSYNC => &[U32("a serial"), U16("flags"), Types],
        Rtype::NID | Rtype::L64 => &[U16("a preference"), Locator],
        Rtype::L32 => &[U16("a preference"), Ipv4],
        Rtype::EUI48 => &[Eui(6)],
        Rtype::EUI64 => &[Eui(8)],
        Rtype::URI => &[U16("a priority"), U16("a weight"), Octets("a URI")],
        Rtype::AVC => &[Texts],
        _ => return None,
    })
}

/// Appends the wire form of one of these types; `None`: it is none of them.
pub(super) fn from_text(
    rtype: Rtype,
    fields: &mut Fields<'_>,
    origin: &Name,
    out: &mut Vec<u8>,
) -> Option<Result<(), RdataError>> {
    let parts = layout(rtype)?;
    let start = out.len();
    let read = parts.iter().try_for_each(|&part| fields.part(part, origin, out)).and_then(|()| {
        if out.len() - start > RDATA_MAX {
            return Err(fields.bad(0, "RDATA is longer than 65,535 octets"));
        }
        fields.done()
    });
    Some(read)
}

impl<'a> Fields<'a> {
    fn part(&mut self, part: Part, origin: &Name, out: &mut Vec<u8>) -> Result<(), RdataError> {
        match part {
            Part::U8(what) => out.push(self.parsed::<u8>(&format!("{what} (0 to 255)"))?),
            Part::U16(what) => self.number_u16(&format!("{what} (0 to 65535)"), out)?,
            Part::U32(what) => {
                out.extend_from_slice(&self.parsed::<u32>(&format!("{what} (0 to 4294967295)"))?.to_be_bytes());
            }
            Part::Name(what) => self.name(what, origin, out)?,
            Part::Ipv4 => out.extend_from_slice(&self.parsed::<Ipv4Addr>("an IPv4 address")?.octets()),
            Part::Text => self.string(out)?,
            Part::MoreText if self.rest().is_empty() => {}
            Part::MoreText => self.string(out)?,
            Part::Texts => {
                self.string(out)?;
                while !self.rest().is_empty() {
                    self.string(out)?;
                }
            }
            Part::Octets(what) => {
                let octets = self.unescaped(what)?;
                out.extend_from_slice(&octets);
            }
            Part::Algorithm => {
                let what = "an algorithm (0 to 255, or its name)";
                let algorithm = self.read(what, |text| match text.parse::<u8>() {
                    Ok(number) => Some(number),
                    Err(_) => SecurityAlgorithm::from_mnemonic(text.to_ascii_uppercase().as_bytes())
                        .map(SecurityAlgorithm::to_int),
                })?;
                out.push(algorithm);
            }
            Part::Type => {
                let rtype = self.read("a record type", |text| text.parse::<Rtype>().ok())?;
                out.extend_from_slice(&rtype.to_int().to_be_bytes());
            }
            Part::Seconds => {
                let seconds = self.read("a time to live", |text| seconds_from_text(text.as_bytes()))?;
                out.extend_from_slice(&seconds.to_be_bytes());
            }
            Part::Time => {
                let time = self.read("a time as YYYYMMDDHHmmSS", |text| text.parse::<Timestamp>().ok())?;
                out.extend_from_slice(&time.into_int().to_be_bytes());
            }
            Part::CertType => {
                let what = "a certificate type (0 to 65535, or its name)";
                out.extend_from_slice(&self.read(what, cert_type)?.to_be_bytes());
            }
            Part::HexOrZero | Part::Base64OrZero if self.is_lone_zero() => {
                self.next += 1;
                out.push(0);
            }
            Part::Hex | Part::HexOrZero => {
                let text = self.joined("hexadecimal digits")?;
                let octets = hex(&text).filter(|octets| !octets.is_empty());
                out.extend(octets.ok_or_else(|| self.last_bad("this is no sequence of hexadecimal octets"))?);
            }
            Part::Base64 | Part::Base64OrZero => {
                let text = self.joined("Base64 text")?;
                let octets = base64::decode::<Vec<u8>>(&text).ok().filter(|octets| !octets.is_empty());
                out.extend(octets.ok_or_else(|| self.last_bad("this is no Base64 text"))?);
            }
            Part::Types => {
                let mut types = RtypeBitmapBuilder::<Vec<u8>>::new_vec();
                while !self.rest().is_empty() {
                    let rtype = self.read("a record type", |text| text.parse::<Rtype>().ok())?;
                    let added = types.add(rtype);
                    added.map_err(|_| self.last_bad("too many types"))?;
                }
                out.extend_from_slice(types.finalize().as_slice());
            }
            Part::OldTypes => {
                let mut bits = [0_u8; 16];
                while !self.rest().is_empty() {
                    let below = |text: &str| text.parse::<Rtype>().ok().map(Rtype::to_int).filter(|&bit| bit < 128);
                    let bit = self.read("a record type below 128", below)?;
                    bits[usize::from(bit / 8)] |= 0x80 >> (bit % 8);
                }
                let length = bits.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
                out.extend_from_slice(&bits[..length]);
            }
            Part::Eui(length) => {
                let what = format!("{length} octets in hexadecimal with hyphens between them");
                out.extend(self.read(&what, |text| eui(text, length))?);
            }
            Part::Locator => {
                out.extend(self.read("four groups of hexadecimal digits with colons between them", locator)?);
            }
            Part::Nsap => out.extend(self.read("an address: 0x and hexadecimal digits", |text| {
                hex(&text.strip_prefix("0x").or(text.strip_prefix("0X"))?.replace('.', ""))
                    .filter(|nsap| !nsap.is_empty())
            })?),
            Part::Services => self.services(out)?,
            Part::Prefixes => {
                while !self.rest().is_empty() {
                    out.extend(self.read("a prefix as 1:192.0.2.0/24 or !2:2001:db8::/32", prefix)?);
                }
            }
            Part::Location => location::read(self, out)?,
        }
        Ok(())
    }

    /// The fields that are left.
    pub(super) fn rest(&self) -> &'a [super::Field<'a>] {
        self.all.get(self.next..).unwrap_or_default()
    }

    /// One field, read by a function.
    pub(super) fn read<T>(&mut self, what: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, RdataError> {
        let field = self.take(what)?;
        let value = std::str::from_utf8(field.text).ok().filter(|text| !text.starts_with('+')).and_then(read);
        value.ok_or_else(|| self.bad(self.next - 1, format!("`{}` is not {what}", quoted(field.text))))
    }

    /// The octets of one field, escapes resolved.
    fn unescaped(&mut self, what: &str) -> Result<Vec<u8>, RdataError> {
        let field = self.take(what)?;
        let mut octets = Vec::with_capacity(field.text.len());
        let mut at = 0;
        while at < field.text.len() {
            let octet = octet_from_text(field.text, &mut at);
            octets.push(octet.map_err(|error| self.bad(self.next - 1, error.to_string()))?);
        }
        Ok(octets)
    }

    /// Whether a `0` is all that is left.
    fn is_lone_zero(&self) -> bool {
        matches!(self.rest(), [only] if only.text == b"0")
    }

    /// All fields that are left as one text, at least one.
    fn joined(&mut self, what: &str) -> Result<String, RdataError> {
        let mut text = String::new();
        loop {
            let field = self.take(what)?;
            match std::str::from_utf8(field.text) {
                Ok(more) => text.push_str(more),
                Err(_) => return Err(self.last_bad("only ASCII is allowed here")),
            }
            if self.rest().is_empty() {
                return Ok(text);
            }
        }
    }

    /// A complaint about the field that was taken last.
    fn last_bad(&self, message: &'static str) -> RdataError {
        self.bad(self.next - 1, message)
    }

    /// Protocol and ports of WKS: numbers, or the few names that are still met.
    fn services(&mut self, out: &mut Vec<u8>) -> Result<(), RdataError> {
        let protocol =
            self.read("a protocol (tcp, udp, or 0 to 255)", |text| match text.to_ascii_lowercase().as_str() {
                "tcp" => Some(6),
                "udp" => Some(17),
                number => number.parse::<u8>().ok(),
            })?;
        out.push(protocol);
        let mut bits = vec![0_u8; 8_192];
        while !self.rest().is_empty() {
            let port = self.read("a port (0 to 65535, or the name of an old service)", port)?;
            bits[usize::from(port / 8)] |= 0x80 >> (port % 8);
        }
        let length = bits.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
        out.extend_from_slice(&bits[..length]);
        Ok(())
    }
}

fn port(text: &str) -> Option<u16> {
    Some(match text.to_ascii_lowercase().as_str() {
        "ftp-data" => 20,
        "ftp" => 21,
        "ssh" => 22,
        "telnet" => 23,
        "smtp" => 25,
        "time" => 37,
        "domain" => 53,
        "tftp" => 69,
        "finger" => 79,
        "http" | "www" => 80,
        "pop3" => 110,
        "nntp" => 119,
        "ntp" => 123,
        "imap2" | "imap" => 143,
        "https" => 443,
        number => return number.parse().ok(),
    })
}

fn cert_type(text: &str) -> Option<u16> {
    Some(match text.to_ascii_uppercase().as_str() {
        "PKIX" => 1,
        "SPKI" => 2,
        "PGP" => 3,
        "IPKIX" => 4,
        "ISPKI" => 5,
        "IPGP" => 6,
        "ACPKIX" => 7,
        "IACPKIX" => 8,
        "URI" => 253,
        "OID" => 254,
        number => return number.parse().ok(),
    })
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Digits of one group, at most `most` of them.
fn group(text: &str, most: usize) -> Option<u16> {
    let digits = (1..=most).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    u16::from_str_radix(text, 16).ok().filter(|_| digits)
}

fn eui(text: &str, length: usize) -> Option<Vec<u8>> {
    let octets: Option<Vec<u8>> = text.split('-').map(|text| group(text, 2).map(|octet| octet as u8)).collect();
    octets.filter(|octets| octets.len() == length)
}

fn locator(text: &str) -> Option<Vec<u8>> {
    let groups: Option<Vec<u16>> = text.split(':').map(|text| group(text, 4)).collect();
    groups.filter(|groups| groups.len() == 4).map(|groups| groups.into_iter().flat_map(u16::to_be_bytes).collect())
}

/// `[!]family:address/length`; trailing zero octets of the address are left out.
fn prefix(text: &str) -> Option<Vec<u8>> {
    let (negated, text) = text.strip_prefix('!').map_or((0, text), |text| (0x80, text));
    let (family, rest) = text.split_once(':')?;
    let (address, length) = rest.split_once('/')?;
    let length: u8 = length.parse().ok()?;
    let (family, octets) = match family {
        "1" if length <= 32 => (1_u16, address.parse::<Ipv4Addr>().ok()?.octets().to_vec()),
        "2" if length <= 128 => (2, address.parse::<Ipv6Addr>().ok()?.octets().to_vec()),
        _ => return None,
    };
    let kept = octets.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
    let mut wire = family.to_be_bytes().to_vec();
    wire.extend_from_slice(&[length, negated | kept as u8]);
    wire.extend_from_slice(&octets[..kept]);
    Some(wire)
}
