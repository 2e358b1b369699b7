//! A zone as one text that includes no other: what stands in the included files takes the place of
//! the `$INCLUDE` lines. For a copy that nsd shall read without them.

use super::Zone;
use super::document::{Document, Inclusion, Provenance};
use super::edit::{self, EditError};

/// The text of the zone with the included texts in it. Each `$INCLUDE` line stays as a comment, and
/// `$ORIGIN` lines around what it brought say what it meant; not one octet else changes. What comes
/// out is parsed again and compared with the zone, record by record.
///
/// `$GENERATE` lines stay as they are.
pub fn self_contained(zone: &Zone) -> Result<Vec<u8>, EditError> {
    let text = Joining::new(zone.document()).text(0);
    edit::verify(zone, &[], &Document::parse(zone.file(), zone.origin(), text.clone()))?;
    Ok(text)
}

struct Joining<'a> {
    document: &'a Document,
    /// The texts that each text includes, in the order of its lines.
    included: Vec<Vec<(usize, &'a Inclusion)>>,
}

impl<'a> Joining<'a> {
    fn new(document: &'a Document) -> Joining<'a> {
        let mut included = vec![Vec::new(); document.texts.len()];
        for (number, text) in document.texts.iter().enumerate() {
            if let Provenance::Include(inclusion) = &text.from {
                included[inclusion.text].push((number, inclusion));
            }
        }
        Joining { document, included }
    }

    /// One text with those that it includes. As deep as files may include each other.
    fn text(&self, number: usize) -> Vec<u8> {
        let bytes = self.document.texts[number].bytes.as_slice();
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for (included, inclusion) in &self.included[number] {
            out.extend_from_slice(&bytes[at..inclusion.line.start]);
            at = behind_line(bytes, inclusion.line.end);
            self.include(*included, inclusion, &bytes[inclusion.line.start..at], &mut out);
        }
        out.extend_from_slice(&bytes[at..]);
        out
    }

    /// Appends what stands in the place of the line (or lines) of an inclusion.
    fn include(&self, number: usize, inclusion: &Inclusion, line: &[u8], out: &mut Vec<u8>) {
        let newline: &[u8] = if line.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
        for part in line.split_inclusive(|&octet| octet == b'\n') {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(part);
        }
        end_line(out, newline);
        if inclusion.first != inclusion.around {
            self.origin(inclusion.first, newline, out);
        }
        out.extend_from_slice(&self.text(number));
        end_line(out, newline);
        if inclusion.last != inclusion.around {
            self.origin(inclusion.around, newline, out);
        }
    }

    fn origin(&self, index: u32, newline: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(format!("$ORIGIN {}", self.document.origins[index as usize]).as_bytes());
        out.extend_from_slice(newline);
    }
}

/// Behind the newline that ends the line of this offset.
fn behind_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&octet| octet == b'\n').map_or(bytes.len(), |newline| at + newline + 1)
}

fn end_line(out: &mut Vec<u8>, newline: &[u8]) {
    if out.last().is_some_and(|&last| last != b'\n') {
        out.extend_from_slice(newline);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::zone::source::{Included, Source};

    struct Files<'a>(&'a [(&'a str, &'a str)]);

    impl Source for Files<'_> {
        fn read(&mut self, name: &str, _: usize) -> Result<Included, String> {
            let (_, text) = self.0.iter().find(|(file, _)| *file == name).ok_or("no such file")?;
            Ok(Included { file: name.to_owned(), bytes: Arc::new(text.as_bytes().to_vec()), remark: None })
        }
    }

    fn joined(text: &str, files: &[(&str, &str)]) -> String {
        let origin = "example.org".parse().unwrap();
        let zone = Zone::load(&origin, "z", text.as_bytes().to_vec(), &mut Files(files)).unwrap();
        String::from_utf8(self_contained(&zone).unwrap()).unwrap()
    }

    const HEAD: &str = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns.example.net.\n";

    #[test]
    fn a_zone_that_includes_nothing_is_itself() {
        for text in ["a A 192.0.2.1", "a A 192.0.2.1 ; Enable failover\r\n", "$GENERATE 1-3 h$ A 192.0.2.$\n"] {
            let text = format!("{HEAD}{text}");
            assert_eq!(joined(&text, &[]), text);
        }
    }

    #[test]
    fn included_text_takes_the_place_of_the_line() {
        let text = format!("{HEAD}$INCLUDE f ; why\nb A 192.0.2.2\n");
        let files = [("f", "a A 192.0.2.1 ; Enable failover\n")];
        let expected = format!("{HEAD}; $INCLUDE f ; why\na A 192.0.2.1 ; Enable failover\nb A 192.0.2.2\n");
        assert_eq!(joined(&text, &files), expected);
    }

    /// Inherited owners and TTLs go in and out, origins come back.
    #[test]
    fn origins_owners_and_ttls_are_those_of_the_files() {
        let text = format!("{HEAD}$INCLUDE ( ; a\n f\n sub.example.org. ) ; why\n TXT d\nb A 192.0.2.2\n$INCLUDE g");
        let files = [
            ("f", " TXT a\n$TTL 7\nx TXT b\n$INCLUDE g\ny TXT c"),
            ("g", "$ORIGIN deep.example.org.\n9 TXT e\n;nsd-failover:withdrawn w A 192.0.2.1 ; Enable failover\n"),
        ];
        let expected = format!(
            "{HEAD}; $INCLUDE ( ; a\n;  f\n;  sub.example.org. ) ; why\n$ORIGIN sub.example.org.\n TXT a\n$TTL 7\nx TXT b\n\
             ; $INCLUDE g\n{g}$ORIGIN sub.example.org.\ny TXT c\n$ORIGIN example.org.\n TXT d\nb A 192.0.2.2\n\
             ; $INCLUDE g\n{g}$ORIGIN example.org.\n",
            g = files[1].1
        );
        assert_eq!(joined(&text, &files), expected);
    }

    #[test]
    fn line_ends_stay_what_they_are() {
        let text =
            "$TTL 60\r\n@ SOA ns h 1 2 3 4 5\r\n@ NS ns.example.net.\r\n$INCLUDE f o.example.org.\r\nb TXT x\r\n";
        let expected = text.replace(
            "$INCLUDE f o.example.org.\r\n",
            "; $INCLUDE f o.example.org.\r\n$ORIGIN o.example.org.\r\na TXT y\r\n$ORIGIN example.org.\r\n",
        );
        assert_eq!(joined(text, &[("f", "a TXT y")]), expected);
    }
}
