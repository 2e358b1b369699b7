//! The origin of a zone file that nobody has named: from its text, else from its file's name.

use std::fmt;

use domain::base::iana::Rtype;

use super::lexer::Lexer;
use super::parser::{Attribute, attribute};
use crate::dns::name::Name;

/// How much of a file is looked at, in octets: the SOA comes first.
const HEAD_MAX: usize = 64 << 10;

/// What told the origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OriginFrom {
    /// A `$ORIGIN` before the SOA, with the SOA's owner.
    Directive,
    /// The SOA's owner, an absolute name.
    Soa,
    /// The file's name without its ending.
    FileName,
}

impl fmt::Display for OriginFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OriginFrom::Directive => "from its $ORIGIN",
            OriginFrom::Soa => "from the owner of its SOA",
            OriginFrom::FileName => "from its name",
        })
    }
}

/// The origin of a zone file with this name (no folders) and this text. `None`: nothing tells it.
pub fn origin_of(file_name: &str, bytes: &[u8]) -> Option<(Name, OriginFrom)> {
    from_text(&bytes[..bytes.len().min(HEAD_MAX)]).or_else(|| {
        let bare = file_name.strip_suffix(".zone").unwrap_or(file_name);
        let name = Name::from_text(bare.as_bytes(), Some(&Name::root())).ok()?;
        Some((name, OriginFrom::FileName))
    })
}

fn from_text(head: &[u8]) -> Option<(Name, OriginFrom)> {
    let mut lexer = Lexer::new(head, 0..head.len());
    let mut fields = Vec::new();
    let mut origin: Option<Name> = None;
    while let Some(outline) = lexer.entry(&mut fields) {
        let Some(first) = fields.first().filter(|_| outline.fault.is_none()) else { continue };
        if !outline.indented && first.text.eq_ignore_ascii_case(b"$ORIGIN") {
            origin = Name::from_text(fields.get(1)?.text, None).ok();
            continue;
        }
        if !outline.indented && first.text.starts_with(b"$") {
            continue;
        }
        let behind = if outline.indented { &fields[..] } else { &fields[1..] };
        let rtype = behind.iter().find_map(|field| match attribute(field) {
            Some(Attribute::Type(rtype)) => Some(rtype),
            _ => None,
        });
        if rtype != Some(Rtype::SOA) {
            return None;
        }
        // An owner that is not written is the origin itself.
        let owner: &[u8] = if outline.indented { b"@" } else { first.text };
        return match (Name::from_text(owner, None), origin) {
            (Ok(owner), None) => Some((owner, OriginFrom::Soa)),
            (_, Some(origin)) => Some((Name::from_text(owner, Some(&origin)).ok()?, OriginFrom::Directive)),
            (Err(_), None) => None,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_the_origin() {
        for (file, text, expected) in [
            (
                "a.zone",
                "$TTL 4h\n$ORIGIN example.org.\n@ SOA n h 1 2 3 4 5\n",
                Some(("example.org.", "from its $ORIGIN")),
            ),
            ("a.zone", "$ORIGIN org.\nexample IN SOA n h 1 2 3 4 5\n", Some(("example.org.", "from its $ORIGIN"))),
            ("a.zone", "example.org. 60 IN SOA n h ( 1\n", Some(("a.", "from its name"))),
            (
                "a.zone",
                "; x\n\nexample.org. 60 IN SOA n h 1 2 3 4 5",
                Some(("example.org.", "from the owner of its SOA")),
            ),
            ("foo.zone.zone", "$TTL 4h\n@ IN SOA n h 1 2 3 4 5\n", Some(("foo.zone.", "from its name"))),
            ("foo.zone.zone", " IN SOA n h 1 2 3 4 5\n", Some(("foo.zone.", "from its name"))),
            ("example.org", "x A 192.0.2.1\n", Some(("example.org.", "from its name"))),
            ("a..b", "", None),
        ] {
            let found = origin_of(file, text.as_bytes()).map(|(name, from)| (name.to_string(), from.to_string()));
            assert_eq!(found, expected.map(|(name, from)| (name.to_owned(), from.to_owned())), "{file} {text}");
        }
    }
}
