//! What an export leaves alone: the text of a zone without the addresses of its failover records and
//! without its serial. Two texts with the same skeleton are the same to whoever checks the syntax and
//! the rules of a zone file.

use ring::digest::{Context, SHA256};

use crate::zone::Zone;
use crate::zone::values;

/// Stands for a text with the holes in it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Skeleton([u8; 32]);

impl Skeleton {
    /// `None` where the zone's own file is not the whole text, or holds a failover record that no
    /// export can edit.
    pub fn of(zone: &Zone) -> Option<Skeleton> {
        if zone.document().includes() {
            return None;
        }
        let text = zone.document().to_bytes();
        let mut context = Context::new(&SHA256);
        let mut at = 0;
        for hole in values::holes(zone)? {
            add(&mut context, &text[at..hole.start]);
            at = hole.end;
        }
        add(&mut context, &text[at..]);
        Some(Skeleton(context.finish().as_ref().try_into().expect("SHA-256 has 32 octets")))
    }

    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

/// With its length before it: where one piece ends and the next begins is part of the skeleton.
fn add(context: &mut Context, piece: &[u8]) {
    context.update(&(piece.len() as u64).to_be_bytes());
    context.update(piece);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Skeleton> {
        let zone = Zone::parse(&"example.org".parse().unwrap(), "z", text.as_bytes().to_vec());
        Skeleton::of(&zone.unwrap())
    }

    const TEXT: &str = "$TTL 60\n@ SOA ns h 1000 2 3 4 5\n NS ns\nns A 192.0.2.1\nwww A 192.0.2.10 ; Enable failover\n\
        www AAAA 2001:db8::1 ; Enable failover\n";

    #[test]
    fn only_tagged_addresses_and_the_serial_may_differ() {
        let whole = of(TEXT);
        assert!(whole.is_some());
        for (from, to) in [("h 1000", "h 70001"), ("192.0.2.10", "198.51.100.200"), ("2001:db8::1", "2001:db8:1::20")] {
            assert_eq!(of(&TEXT.replace(from, to)), whole, "{from} {to}");
        }
        for (from, to) in [
            ("ns A 192.0.2.1\n", "ns A 192.0.2.2\n"),
            ("www A", "web A"),
            ("1000 2 3", "1000 3 3"),
            ("; Enable", ";Enable"),
            // Another reader may not take what is not written in the usual form.
            ("h 1000", "h 01000"),
            ("2001:db8::1", "2001:DB8::1"),
            ("2001:db8::1", "2001:db8:0::1"),
            ("www A", ";nsd-failover:withdrawn www A"),
        ] {
            assert_ne!(of(&TEXT.replacen(from, to, 1)), whole, "{from} {to}");
        }
        assert_eq!(of(&TEXT.replace("192.0.2.10", "\\# 4 C000020A")), None, "not editable");
    }
}
