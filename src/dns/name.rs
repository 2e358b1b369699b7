//! Domain names in uncompressed wire form (RFC 1035 section 3.1), case kept, compared without case
//! (RFC 4343).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Longest name in wire form, the root label included (RFC 1035 section 2.3.4), in octets.
pub const NAME_MAX: usize = 255;
/// Longest label, in octets (RFC 1035 section 2.3.4).
pub const LABEL_MAX: usize = 63;

/// An absolute domain name: length-prefixed labels and the root label, at most [`NAME_MAX`] octets.
///
/// `Eq`, `Hash` and `Ord` ignore ASCII case; `Ord` is the canonical order of RFC 4034 section 6.1.
#[derive(Clone)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The root of the tree.
    pub fn root() -> Name {
        Name(Box::new([0]))
    }

    /// Takes a name from exactly these octets: no compression pointer, nothing behind the root label.
    pub fn from_wire(wire: &[u8]) -> Result<Name, NameError> {
        if wire_len(wire)? != wire.len() {
            return Err(NameError::Trailing);
        }
        Ok(Name(wire.into()))
    }

    /// Reads master file text (RFC 1035 section 5.1): `\X` and `\DDD` escapes, a relative name is
    /// completed with `origin`, `@` alone is the origin.
    pub fn from_text(text: &[u8], origin: Option<&Name>) -> Result<Name, NameError> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        wire_from_text(text, origin, &mut wire)?;
        Ok(Name(wire.into()))
    }

    /// The name in wire form, root label included.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels from the left, without the root label.
    pub fn labels(&self) -> Labels<'_> {
        Labels(&self.0)
    }

    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether this name is `ancestor` or lies below it.
    pub fn is_within(&self, ancestor: &Name) -> bool {
        let Some(start) = self.0.len().checked_sub(ancestor.0.len()) else {
            return false;
        };
        self.0[start..].eq_ignore_ascii_case(&ancestor.0) && self.suffix_starts_at(start)
    }

    /// The name without its first label; `None` for the root.
    pub fn parent(&self) -> Option<Name> {
        let first = usize::from(self.0[0]);
        (first != 0).then(|| Name(self.0[1 + first..].into()))
    }

    /// This name with ASCII letters in lower case.
    pub fn to_lowercase(&self) -> Name {
        Name(self.0.to_ascii_lowercase().into())
    }

    /// Whether a label starts at this offset (or the root label lies there).
    fn suffix_starts_at(&self, offset: usize) -> bool {
        let mut at = 0;
        while at < offset {
            at += 1 + usize::from(self.0[at]);
        }
        at == offset
    }
}

/// The length of the uncompressed name at the start of `bytes`, root label included.
pub fn wire_len(bytes: &[u8]) -> Result<usize, NameError> {
    let mut at = 0;
    loop {
        let label = usize::from(*bytes.get(at).ok_or(NameError::Short)?);
        if label > LABEL_MAX {
            return Err(NameError::LabelTooLong);
        }
        at += 1 + label;
        if at > NAME_MAX {
            return Err(NameError::TooLong);
        }
        if label == 0 {
            return Ok(at);
        }
    }
}

/// Appends the wire form of a name in master file text to `wire`, as [`Name::from_text`] reads it.
/// On an error `wire` may hold a part of the name.
pub fn wire_from_text(text: &[u8], origin: Option<&Name>, wire: &mut Vec<u8>) -> Result<(), NameError> {
    if text == b"@" {
        wire.extend_from_slice(origin.ok_or(NameError::NoOrigin)?.wire());
        return Ok(());
    }
    if text == b"." {
        wire.push(0);
        return Ok(());
    }
    let start = wire.len();
    let absolute = labels_from_text(text, wire)?;
    if absolute {
        wire.push(0);
    } else {
        wire.extend_from_slice(origin.ok_or(NameError::NoOrigin)?.wire());
    }
    if wire.len() - start > NAME_MAX { Err(NameError::TooLong) } else { Ok(()) }
}

/// Appends the labels of `text` to `wire`, without a root label. True if the text ended in a dot.
fn labels_from_text(text: &[u8], wire: &mut Vec<u8>) -> Result<bool, NameError> {
    let start = wire.len();
    let mut at = 0;
    while at < text.len() {
        let length_at = wire.len();
        wire.push(0);
        while at < text.len() && text[at] != b'.' {
            wire.push(octet_from_text(text, &mut at)?);
        }
        let label = wire.len() - length_at - 1;
        if label == 0 {
            return Err(NameError::EmptyLabel);
        }
        if label > LABEL_MAX {
            return Err(NameError::LabelTooLong);
        }
        if wire.len() - start > NAME_MAX {
            return Err(NameError::TooLong);
        }
        wire[length_at] = label as u8;
        if at == text.len() {
            return Ok(false);
        }
        at += 1;
    }
    if wire.len() == start { Err(NameError::EmptyLabel) } else { Ok(true) }
}

/// One octet of master file text at `at`, which is inside `text`; escapes are resolved (RFC 1035
/// section 5.1) and `at` moves behind what was read.
pub fn octet_from_text(text: &[u8], at: &mut usize) -> Result<u8, NameError> {
    let octet = text[*at];
    *at += 1;
    if octet != b'\\' {
        return Ok(octet);
    }
    let first = *text.get(*at).ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        *at += 1;
        return Ok(first);
    }
    let digits = text.get(*at..*at + 3).ok_or(NameError::BadEscape)?;
    let mut value: u16 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(NameError::BadEscape);
        }
        value = value * 10 + u16::from(digit - b'0');
    }
    *at += 3;
    u8::try_from(value).map_err(|_| NameError::BadEscape)
}

/// The labels of a name from the left, without the root label.
#[derive(Clone)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.0[0]);
        if length == 0 {
            return None;
        }
        let label = &self.0[1..=length];
        self.0 = &self.0[1 + length..];
        Some(label)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for octet in &self.0 {
            state.write_u8(octet.to_ascii_lowercase());
        }
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        let mine: Vec<&[u8]> = self.labels().collect();
        let theirs: Vec<&[u8]> = other.labels().collect();
        for (a, b) in mine.iter().rev().zip(theirs.iter().rev()) {
            let fold = |label: &[u8]| label.to_ascii_lowercase();
            match fold(a).cmp(&fold(b)) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        mine.len().cmp(&theirs.len())
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Master file text with a final dot; octets that are special or not printable are escaped.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                        write!(f, "\\{}", char::from(octet))?;
                    }
                    0x21..=0x7e => write!(f, "{}", char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// An absolute name, with or without the final dot, as people write it in a configuration.
impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::from_text(text.as_bytes(), Some(&Name::root()))
    }
}

/// Why octets or text are no domain name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    #[error("name is longer than 255 octets")]
    TooLong,
    #[error("label is longer than 63 octets")]
    LabelTooLong,
    #[error("empty label")]
    EmptyLabel,
    #[error("bad escape: use \\X or \\DDD with DDD at most 255")]
    BadEscape,
    #[error("relative name without an origin")]
    NoOrigin,
    #[error("name ends too early")]
    Short,
    #[error("octets behind the name")]
    Trailing,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_back() {
        for text in [".", "a.", "www.example.org.", "a\\.b.c.", "\\000\\255.x.", "\\@.\\$.x."] {
            assert_eq!(name(text).to_string(), text);
        }
        assert_eq!(name("example.org").to_string(), "example.org.");
    }

    #[test]
    fn relative_names_need_an_origin() {
        let origin = name("example.org.");
        let www = Name::from_text(b"www", Some(&origin)).unwrap();
        assert_eq!(www, name("WWW.Example.ORG"));
        assert_eq!(Name::from_text(b"@", Some(&origin)).unwrap(), origin);
        assert_eq!(Name::from_text(b"www", None), Err(NameError::NoOrigin));
    }

    #[test]
    fn what_is_no_name() {
        let origin = Name::root();
        let long_label = "a".repeat(64);
        let long_name = "a.".repeat(128);
        for (text, error) in [
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("", NameError::EmptyLabel),
            ("\\", NameError::BadEscape),
            ("\\25", NameError::BadEscape),
            ("\\256", NameError::BadEscape),
            ("\\2x5", NameError::BadEscape),
            (long_label.as_str(), NameError::LabelTooLong),
            (long_name.as_str(), NameError::TooLong),
        ] {
            let got = Name::from_text(text.as_bytes(), Some(&origin));
            assert_eq!(got, Err(error), "{text:?}");
        }
        // An empty text is not the origin.
        assert!(Name::from_text(b"", Some(&name("x."))).is_err());
    }

    #[test]
    fn within_respects_label_boundaries() {
        assert!(name("a.example.org").is_within(&name("EXAMPLE.org")));
        assert!(name("example.org").is_within(&name("example.org")));
        assert!(!name("badexample.org").is_within(&name("example.org")));
        assert!(!name("org").is_within(&name("example.org")));
        assert!(name("org").is_within(&Name::root()));
    }

    #[test]
    fn canonical_order_of_rfc4034() {
        let sorted = ["example.", "a.example.", "yljkjljk.a.example.", "Z.a.example.", "zABC.a.EXAMPLE.", "z.example."];
        for pair in sorted.windows(2) {
            assert!(name(pair[0]) < name(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn wire_is_checked() {
        assert_eq!(Name::from_wire(b"\x03www\x00").unwrap(), name("www"));
        assert_eq!(Name::from_wire(b"\x03www"), Err(NameError::Short));
        assert_eq!(Name::from_wire(b"\xc0\x0c"), Err(NameError::LabelTooLong));
        assert_eq!(Name::from_wire(b"\x00\x00"), Err(NameError::Trailing));
        assert_eq!(Name::from_wire(b""), Err(NameError::Short));
    }
}
