//! Values that may take each other's place: the address of a failover record and the serial, each in
//! the one form in which exports write them.
//!
//! Such a text holds no blank, quote, parenthesis, semicolon or backslash, so every reader cuts the
//! text around it into the same lines and fields, whichever value stands there. Where two texts are the
//! same octet by octet but for such values, they are the same zone with other values: that much is
//! proved by comparing octets, and nothing has to be read again for it.

use std::net::IpAddr;
use std::ops::Range;

use super::Zone;
use super::document::DOCUMENT_MAX;
use super::edit::Edit;
use super::splice::{ADDRESS, SERIAL, Scratch, Short, field_span, is_of_family};

/// Where [`Edit::Address`] and [`Edit::Serial`] would write in the zone's own text, in order; only
/// what stands there in the form in which they write it. `None`: a failover record cannot be edited.
pub fn holes(zone: &Zone) -> Option<Vec<Range<usize>>> {
    let (mut holes, mut fields, mut addresses) = (Vec::new(), Vec::new(), Addresses::default());
    for (entry, line) in zone.document().lines().enumerate().filter(|(_, line)| line.text == 0) {
        let is_soa = entry == zone.soa_entry();
        let span = match is_soa {
            true => field_span(line, SERIAL, &mut fields).ok()?,
            false if line.entry.is_tagged() && !line.is_withdrawn() => field_span(line, ADDRESS, &mut fields).ok()?,
            false => continue,
        };
        let text = &line.bytes()[span.clone()];
        let is_value = if is_soa { serial(text).is_some() } else { addresses.read(text).is_some() };
        if is_value {
            holes.push(span);
        }
    }
    holes.sort_unstable_by_key(|span| span.start);
    Some(holes)
}

/// Whether `written` is the zone's own text, octet by octet, but for the values of these edits, each in
/// the place of another. `false` says nothing: an edit may be of another kind, a value of another form.
pub fn alone_differ(zone: &Zone, edits: &[Edit], written: &[u8]) -> bool {
    proof(zone, edits, written).is_some()
}

fn proof(zone: &Zone, edits: &[Edit], written: &[u8]) -> Option<()> {
    if zone.document().includes() || written.len() > DOCUMENT_MAX {
        return None;
    }
    let (mut scratch, mut addresses) = (Scratch::default(), Addresses::default());
    let spans = edits.iter().map(|edit| Some((span(zone, edit, &mut scratch, &mut addresses)?, edit)));
    let mut spans = spans.collect::<Option<Vec<_>>>()?;
    spans.sort_unstable_by_key(|(span, _)| span.start);
    let (old, mut new, mut at) = (zone.document().to_bytes(), written, 0);
    for (span, edit) in spans {
        // `None`, too, where two edits are of one place.
        new = new.strip_prefix(old.get(at..span.start)?)?;
        let value = match edit {
            Edit::Address { address, .. } => scratch.written(*address),
            Edit::Serial(serial) => Short::written(serial),
            Edit::Withdraw { .. } | Edit::Restore { .. } => return None,
        };
        new = new.strip_prefix(value.octets())?;
        at = span.end;
    }
    (new == &old[at..]).then_some(())
}

/// Where the value stands that an edit replaces; `None`: it is no such edit, or no such value.
fn span<'a>(
    zone: &'a Zone,
    edit: &Edit,
    scratch: &mut Scratch<'a>,
    addresses: &mut Addresses<'a>,
) -> Option<Range<usize>> {
    let index = edit.entry(zone);
    zone.document().entries().get(index)?;
    let line = zone.document().at(index);
    if line.text != 0 || line.is_withdrawn() {
        return None;
    }
    match edit {
        Edit::Address { address: new, .. } => {
            let span = field_span(line, ADDRESS, &mut scratch.fields).ok().filter(|_| is_of_family(line, *new))?;
            addresses.read(&line.bytes()[span.clone()]).filter(|old| old.is_ipv4() == new.is_ipv4())?;
            Some(span)
        }
        Edit::Serial(_) => {
            let span = field_span(line, SERIAL, &mut scratch.fields).ok()?;
            serial(&line.bytes()[span.clone()])?;
            Some(span)
        }
        Edit::Withdraw { .. } | Edit::Restore { .. } => None,
    }
}

/// Reads addresses, the same again at the price of a comparison: most are.
#[derive(Default)]
struct Addresses<'a> {
    text: &'a [u8],
    address: Option<IpAddr>,
}

impl<'a> Addresses<'a> {
    fn read(&mut self, text: &'a [u8]) -> Option<IpAddr> {
        if text != self.text {
            *self = Addresses { text, address: address(text) };
        }
        self.address
    }
}

/// An address in the form in which an edit writes it.
fn address(text: &[u8]) -> Option<IpAddr> {
    let address: IpAddr = std::str::from_utf8(text).ok()?.parse().ok()?;
    // An IPv4 address has only one form.
    (address.is_ipv4() || Short::written(address).octets() == text).then_some(address)
}

/// A serial in the form in which an edit writes it.
fn serial(text: &[u8]) -> Option<u32> {
    let serial: u32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (Short::written(serial).octets() == text).then_some(serial)
}

#[cfg(test)]
mod tests {
    use super::super::edit;
    use super::*;

    const TEXT: &str = "$TTL 60\n@ SOA ns h (\n 1000 ; serial\n 2 3 4 5 )\n NS ns\nns A 192.0.2.1\n\
        www 5 A 192.0.2.10 ; Enable failover\n AAAA 2001:db8::1 ; Enable failover\nftp A \"192.0.2.10\";Enable failover";

    fn zone(text: &str) -> Zone {
        Zone::parse(&"example.org".parse().unwrap(), "z", text.as_bytes().to_vec()).unwrap()
    }

    fn edits() -> [Edit; 4] {
        let to = |entry, address: &str| Edit::Address { entry, address: address.parse().unwrap() };
        [to(5, "198.51.100.200"), to(3, "192.0.2.9"), to(4, "2001:db8:1::20"), Edit::Serial(1001)]
    }

    fn written() -> String {
        TEXT.replace("192.0.2.10 ;", "192.0.2.9 ;")
            .replace("\"192.0.2.10\"", "\"198.51.100.200\"")
            .replace("db8::1", "db8:1::20")
            .replace("1000", "1001")
    }

    #[test]
    fn what_an_edit_writes_is_proved() {
        let zone = zone(TEXT);
        let edited = edit::apply(&zone, &edits()).unwrap().zone.unwrap();
        assert_eq!(String::from_utf8_lossy(&edited), written());
        assert!(alone_differ(&zone, &edits(), &edited));
        assert!(alone_differ(&zone, &[], TEXT.as_bytes()));
    }

    /// Each octet of the text, changed, left out or doubled, is missed.
    #[test]
    fn one_octet_is_enough_to_refute() {
        let (zone, written) = (zone(TEXT), written().into_bytes());
        for at in 0..written.len() {
            let with = |piece: &[u8]| [&written[..at], piece, &written[at + 1..]].concat();
            for other in [&b""[..], &[written[at], written[at]], &[written[at] ^ 1], b" ", b"1", b"\n"] {
                let other = with(other);
                // Two like neighbours: the one left out is as good as the other, and no change.
                assert!(other == written || !alone_differ(&zone, &edits(), &other), "{at}: {other:?}");
            }
        }
        for cut in 0..written.len() {
            assert!(!alone_differ(&zone, &edits(), &written[..cut]), "{cut}");
        }
        assert!(!alone_differ(&zone, &edits(), &[&written[..], b"\n"].concat()));
    }

    #[test]
    fn the_values_are_those_of_the_edits() {
        let (zone, written) = (zone(TEXT), written());
        let mut other = edits();
        other[3] = Edit::Serial(1002);
        assert!(!alone_differ(&zone, &other, written.as_bytes()));
        other = edits();
        other[1] = other[0];
        assert!(!alone_differ(&zone, &other, written.as_bytes()), "one place twice");
        assert!(!alone_differ(&zone, &edits()[1..], written.as_bytes()), "one edit less");
        let none = [Edit::Address { entry: 99, address: "192.0.2.9".parse().unwrap() }];
        assert!(!alone_differ(&zone, &none, TEXT.as_bytes()));
        // The octets are as meant, but for the name server's address, which is not asked for.
        let moved = written.replace("ns A 192.0.2.1\n", "ns A 192.0.2.2\n");
        assert!(!alone_differ(&zone, &edits(), moved.as_bytes()));
    }

    /// Then the text has to be read again: another reader may not see what we see.
    #[test]
    fn what_is_not_in_the_usual_form_is_not_proved() {
        for (from, to) in [
            ("2001:db8::1", "2001:DB8::1"),
            ("2001:db8::1", "2001:db8:0::1"),
            ("2001:db8::1", "2001:db8::0.0.0.1"),
            (" 1000", " 01000"),
            (" 1000", " +1000"),
            ("192.0.2.10 ;", "( 192.0.2.10 ) ;"),
        ] {
            let text = TEXT.replacen(from, to, 1);
            let Ok(zone) = Zone::parse(&"example.org".parse().unwrap(), "z", text.clone().into_bytes()) else {
                continue;
            };
            let edited = edit::apply(&zone, &edits()).unwrap().zone.unwrap();
            // Parentheses are around a value, not in it.
            assert_eq!(alone_differ(&zone, &edits(), &edited), to.contains('('), "{to}");
        }
    }

    #[test]
    fn lines_that_go_and_come_are_not_proved() {
        let zone_with = zone(TEXT);
        let out = [Edit::Withdraw { entry: 5 }];
        let text = edit::apply(&zone_with, &out).unwrap().zone.unwrap();
        assert!(!alone_differ(&zone_with, &out, &text));
        let zone_without = zone(std::str::from_utf8(&text).unwrap());
        let back = [Edit::Restore { entry: 5 }];
        let text = edit::apply(&zone_without, &back).unwrap().zone.unwrap();
        assert!(!alone_differ(&zone_without, &back, &text));
        let address = [Edit::Address { entry: 5, address: "192.0.2.9".parse().unwrap() }];
        let text = edit::apply(&zone_without, &address).unwrap().zone.unwrap();
        assert!(!alone_differ(&zone_without, &address, &text));
    }
}
