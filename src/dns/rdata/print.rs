//! RDATA as text: the types that we read ourselves, which are those that fill zones, and those of
//! `more`.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use domain::base::iana::Rtype;
use domain::utils::base64;

use super::Field;
use super::location;
use super::more::{Part, layout};
use crate::dns::name::{Name, wire_len};

/// The text of RDATA; `None`: the type is none of these, or the octets do not fit it.
pub(super) fn to_text(rtype: Rtype, rdata: &[u8]) -> Option<String> {
    let mut octets = Octets(rdata);
    let mut fields = Vec::new();
    for &part in read_by_hand(rtype).or_else(|| layout(rtype))? {
        octets.part(part, &mut fields)?;
    }
    octets.0.is_empty().then(|| fields.join(" "))
}

/// The fields of the types that [`super::from_text`] reads by hand.
fn read_by_hand(rtype: Rtype) -> Option<&'static [Part]> {
    use Part::{Ipv4, Name, Texts, U16, U32};
    Some(match rtype {
        Rtype::A => &[Ipv4],
        Rtype::NS | Rtype::CNAME | Rtype::PTR => &[Name("")],
        Rtype::MX | Rtype::AFSDB | Rtype::RT | Rtype::KX | Rtype::LP => &[U16(""), Name("")],
        Rtype::SRV => &[U16(""), U16(""), U16(""), Name("")],
        Rtype::SOA => &[Name(""), Name(""), U32(""), U32(""), U32(""), U32(""), U32("")],
        Rtype::TXT | Rtype::SPF => &[Texts],
        _ => return None,
    })
}

/// The fields of RDATA that was printed on one line; `None`: there is more in it than words, quotes
/// and blanks.
pub(super) fn fields(text: &str) -> Option<Vec<Field<'_>>> {
    let bytes = text.as_bytes();
    let mut fields = Vec::new();
    let (mut at, mut glued) = (0, false);
    while let Some(&octet) = bytes.get(at) {
        if octet == b' ' {
            (at, glued) = (at + 1, false);
            continue;
        }
        let quoted = octet == b'"';
        let start = at + usize::from(quoted);
        let end = end_of(bytes, start, quoted)?;
        fields.push(Field { text: &bytes[start..end], at: start, quoted, glued });
        (at, glued) = (end + usize::from(quoted), true);
    }
    Some(fields)
}

/// Behind the last octet of a word, or at the quote that closes a text.
fn end_of(bytes: &[u8], mut at: usize, quoted: bool) -> Option<usize> {
    loop {
        match (bytes.get(at), quoted) {
            (Some(b'\\'), _) => at += 2,
            (Some(b'"'), _) | (Some(b' ') | None, false) => return Some(at).filter(|at| *at <= bytes.len()),
            (None, true) | (Some(b'(' | b')' | b';' | b'\t' | b'\r' | b'\n'), false) => return None,
            _ => at += 1,
        }
    }
}

/// RDATA that is taken from the left.
pub(super) struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many octets, at most four.
    pub(super) fn number(&mut self, octets: usize) -> Option<u32> {
        Some(self.take(octets)?.iter().fold(0, |number, octet| number << 8 | u32::from(*octet)))
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn part(&mut self, part: Part, fields: &mut Vec<String>) -> Option<()> {
        match part {
            Part::U8(_) | Part::Algorithm => fields.push(self.number(1)?.to_string()),
            Part::U16(_) | Part::CertType => fields.push(self.number(2)?.to_string()),
            Part::U32(_) | Part::Seconds => fields.push(self.number(4)?.to_string()),
            Part::Time => fields.push(time(self.number(4)?)),
            Part::Name(_) => {
                let length = wire_len(self.0).ok()?;
                fields.push(Name::from_wire(self.take(length)?).ok()?.to_string());
            }
            Part::Ipv4 => fields.push(Ipv4Addr::from_bits(self.number(4)?).to_string()),
            Part::Text => fields.push(self.string()?),
            Part::MoreText if self.0.is_empty() => {}
            Part::MoreText => fields.push(self.string()?),
            Part::Texts => {
                fields.push(self.string()?);
                while !self.0.is_empty() {
                    fields.push(self.string()?);
                }
            }
            Part::Octets(_) => fields.push(quoted(self.rest())),
            Part::Type => fields.push(Rtype::from_int(self.number(2)? as u16).to_string()),
            Part::Hex | Part::HexOrZero => fields.push(filled(hex(self.rest()))?),
            Part::Base64 | Part::Base64OrZero => fields.push(filled(base64::encode_string(self.rest()))?),
            Part::Types => {
                while !self.0.is_empty() {
                    self.window(fields)?;
                }
            }
            Part::OldTypes => {
                let bits = self.rest();
                if bits.len() > 16 || bits.last() == Some(&0) {
                    return None;
                }
                fields.extend(set_bits(bits).map(|bit| Rtype::from_int(bit).to_string()));
            }
            Part::Eui(length) => {
                let octets: Vec<String> = self.take(length)?.iter().map(|octet| format!("{octet:02x}")).collect();
                fields.push(octets.join("-"));
            }
            Part::Locator => {
                let groups: Vec<String> = self.take(8)?.chunks(2).map(hex).collect();
                fields.push(groups.join(":").to_lowercase());
            }
            Part::Nsap => fields.push(format!("0x{}", filled(hex(self.rest()))?)),
            Part::Services => {
                fields.push(self.number(1)?.to_string());
                let bits = self.rest();
                if bits.len() > 8_192 || bits.last() == Some(&0) {
                    return None;
                }
                fields.extend(set_bits(bits).map(|port| port.to_string()));
            }
            Part::Prefixes => {
                while !self.0.is_empty() {
                    fields.push(self.prefix()?);
                }
            }
            Part::Location => fields.push(location::text(self)?),
        }
        Some(())
    }

    /// A character-string.
    fn string(&mut self) -> Option<String> {
        let length = self.number(1)? as usize;
        self.take(length).map(quoted)
    }

    /// One window of a type bitmap (RFC 4034 section 4.1.2).
    fn window(&mut self, fields: &mut Vec<String>) -> Option<()> {
        let (window, length) = (self.number(1)? as u16, self.number(1)? as usize);
        let bits = self.take(length)?;
        if bits.len() > 32 || bits.last().is_none_or(|&last| last == 0) {
            return None;
        }
        fields.extend(set_bits(bits).map(|bit| Rtype::from_int(window << 8 | bit).to_string()));
        Some(())
    }

    /// `[!]family:address/length` (RFC 3123 section 4).
    fn prefix(&mut self) -> Option<String> {
        let (family, length, flags) = (self.number(2)?, self.number(1)?, self.number(1)?);
        let kept = self.take((flags & 0x7f) as usize)?;
        if kept.last() == Some(&0) {
            return None;
        }
        let address = match family {
            1 if length <= 32 => Ipv4Addr::from(padded(kept)?).to_string(),
            2 if length <= 128 => Ipv6Addr::from(padded(kept)?).to_string(),
            _ => return None,
        };
        let sign = if flags & 0x80 == 0 { "" } else { "!" };
        Some(format!("{sign}{family}:{address}/{length}"))
    }
}

/// Octets with zeros behind them.
fn padded<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(all)
}

/// The numbers of the bits that are set, the highest bit of the first octet being 0.
fn set_bits(octets: &[u8]) -> impl Iterator<Item = u16> + '_ {
    let bits = |(at, octet): (usize, &u8)| {
        let octet = *octet;
        (0..8_u16).filter(move |bit| octet & (0x80 >> bit) != 0).map(move |bit| at as u16 * 8 + bit)
    };
    octets.iter().enumerate().flat_map(bits)
}

/// Seconds since 1970 as YYYYMMDDHHmmSS (RFC 4034 section 3.2): nsd takes no plain number.
fn time(seconds: u32) -> String {
    // From the 1st of March of the year 0 to 1970: the leap day is then the last of its year, and
    // 400 years have 146,097 days (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let days = seconds / 86_400 + 719_468;
    let second = seconds % 86_400;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    let year = year + era * 400;
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", second / 3_600, second / 60 % 60, second % 60)
}

fn filled(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

/// In quotes, with the escapes of RFC 1035 section 5.1.
fn quoted(octets: &[u8]) -> String {
    let mut text = String::from('"');
    for &octet in octets {
        let written = match octet {
            b'"' | b'\\' => write!(text, "\\{}", char::from(octet)),
            0x20..=0x7e => write!(text, "{}", char::from(octet)),
            _ => write!(text, "\\{octet:03}"),
        };
        written.expect("a string takes everything");
    }
    text + "\""
}
