//! The origin of a zone file that nobody has named: from its text, else from its file's name.

use std::fmt;

use domain::base::iana::Rtype;

use super::lexer::Lexer;
use super::parser::{Attribute, attribute};
use crate::dns::name::Name;

/// What told the origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OriginFrom {
    /// A `$ORIGIN` before the SOA, with the SOA's owner; where the file has no SOA of its own, its
    /// first `$ORIGIN`.
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
    from_text(bytes).or_else(|| {
        let bare = file_name.strip_suffix(".zone").unwrap_or(file_name);
        let name = Name::from_text(bare.as_bytes(), Some(&Name::root())).ok()?;
        Some((name, OriginFrom::FileName))
    })
}

fn from_text(bytes: &[u8]) -> Option<(Name, OriginFrom)> {
    let mut lexer = Lexer::new(bytes, 0..bytes.len());
    let mut fields = Vec::new();
    let (mut first, mut origin): (Option<Name>, Option<Name>) = (None, None);
    let mut is_behind_records = false;
    while let Some(outline) = lexer.entry(&mut fields) {
        let Some(word) = fields.first().filter(|_| outline.fault.is_none()) else { continue };
        if !outline.indented && word.text.eq_ignore_ascii_case(b"$ORIGIN") {
            if let Some(absolute) = fields.get(1).and_then(|name| Name::from_text(name.text, None).ok()) {
                first.get_or_insert_with(|| absolute.clone());
                origin = Some(absolute);
            }
            continue;
        }
        if !outline.indented && word.text.starts_with(b"$") {
            // What an included file ends with may be the last owner.
            is_behind_records |= word.text.eq_ignore_ascii_case(b"$INCLUDE");
            continue;
        }
        let behind = if outline.indented { &fields[..] } else { &fields[1..] };
        let rtype = behind.iter().find_map(|field| match attribute(field) {
            Some(Attribute::Type(rtype)) => Some(rtype),
            _ => None,
        });
        if rtype != Some(Rtype::SOA) {
            is_behind_records = true;
            continue;
        }
        // An owner that is not written is the origin itself, if nobody stands before it.
        let owner: &[u8] = match outline.indented {
            true if is_behind_records => break,
            true => b"@",
            false => word.text,
        };
        return match (Name::from_text(owner, None), origin) {
            (Ok(owner), None) => Some((owner, OriginFrom::Soa)),
            (_, Some(origin)) => Some((Name::from_text(owner, Some(&origin)).ok()?, OriginFrom::Directive)),
            (Err(_), None) => None,
        };
    }
    first.map(|origin| (origin, OriginFrom::Directive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_much_stands_before_it() {
        let text = "; x\n".repeat(100_000) + "a.example. SOA n h 1 2 3 4 5\n";
        assert_eq!(origin_of("one", text.as_bytes()).unwrap().1, OriginFrom::Soa);
    }

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
            ("one", "$ORIGIN a.example.\n$INCLUDE soa\nx A 192.0.2.1\n", Some(("a.example.", "from its $ORIGIN"))),
            (
                "one",
                "$ORIGIN a.example.\nx A 192.0.2.1\n@ SOA n h 1 2 3 4 5\n$ORIGIN sub.a.example.\n",
                Some(("a.example.", "from its $ORIGIN")),
            ),
            ("one", "x A 192.0.2.1\na.example. SOA n h 1 2 3 4 5\n", Some(("a.example.", "from the owner of its SOA"))),
            ("one", "x A 192.0.2.1\n SOA n h 1 2 3 4 5\n", Some(("one.", "from its name"))),
            ("a..b", "", None),
        ] {
            let found = origin_of(file, text.as_bytes()).map(|(name, from)| (name.to_string(), from.to_string()));
            assert_eq!(found, expected.map(|(name, from)| (name.to_owned(), from.to_owned())), "{file} {text}");
        }
    }
}
