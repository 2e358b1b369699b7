//! Edits of a zone's text by span: an address, the serial, a failover record's line out and in
//! again. Nothing else changes, not a blank. What comes out is parsed again and compared, record by
//! record, with what was intended.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use domain::base::iana::Rtype;

use super::diagnostic::{Diagnostic, Severity};
use super::document::{Document, Line, Provenance, Text};
use super::source::{Included, Source};
use super::splice::{self, Scratch, Splice};
use super::{Zone, ZoneRecord};
use crate::dns::name::wire_len;

/// One change. `entry` is an index into [`Document::entries`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Edit {
    /// Writes another address into an A or AAAA record.
    Address { entry: usize, address: IpAddr },
    /// Writes another serial into the SOA.
    Serial(u32),
    /// Comments a failover record out, in a way that the next parse understands.
    Withdraw { entry: usize },
    /// Takes [`Edit::Withdraw`] back.
    Restore { entry: usize },
}

impl Edit {
    /// The record that changes.
    pub(super) fn entry(&self, zone: &Zone) -> usize {
        match *self {
            Edit::Address { entry, .. } | Edit::Withdraw { entry } | Edit::Restore { entry } => entry,
            Edit::Serial(_) => zone.soa_entry(),
        }
    }
}

/// The texts of a zone after its edits.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Edited {
    /// What the zone's own file shall hold; absent: what it holds now.
    pub zone: Option<Vec<u8>>,
    /// The included files that change.
    pub included: Vec<EditedFile>,
}

/// An included file after an edit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EditedFile {
    /// As in [`super::source::Included::file`].
    pub file: String,
    pub bytes: Vec<u8>,
}

/// The texts of the zone with these edits made, read again and compared. Each record and part of it
/// is edited at most once. A file that is included more than once changes once; its edits must agree.
pub fn apply(zone: &Zone, edits: &[Edit]) -> Result<Edited, EditError> {
    let edited = write(zone, edits)?;
    reread(zone, edits, &edited)?;
    Ok(edited)
}

/// The same, to be read again and compared ([`verify`]) by the caller before it counts.
pub fn write(zone: &Zone, edits: &[Edit]) -> Result<Edited, EditError> {
    let mut scratch = Scratch::default();
    let splices = edits.iter().map(|edit| Splice::new(zone, edit, &mut scratch));
    let mut splices = splices.collect::<Result<Vec<Splice>, EditError>>()?;
    splices.sort_by(|a, b| (a.file, a.span.start, a.span.end).cmp(&(b.file, b.span.start, b.span.end)));
    let mut edited = Edited::default();
    for of_file in splices.chunk_by(|a, b| a.file == b.file) {
        let bytes = splice::text(zone.document(), of_file)?;
        match of_file[0].file {
            None => edited.zone = Some(bytes),
            Some(file) => edited.included.push(EditedFile { file: file.to_owned(), bytes }),
        }
    }
    Ok(edited)
}

/// What the included files hold after the edits, by the names in the `$INCLUDE` lines.
struct EditedSource<'a> {
    /// By the name in the line.
    texts: HashMap<&'a str, &'a Text>,
    edited: &'a Edited,
}

impl<'a> EditedSource<'a> {
    fn new(zone: &'a Zone, edited: &'a Edited) -> EditedSource<'a> {
        let named = |text: &'a Text| match &text.from {
            Provenance::Include(inclusion) => Some((inclusion.name.as_str(), text)),
            _ => None,
        };
        EditedSource { texts: zone.document().texts.iter().filter_map(named).collect(), edited }
    }
}

impl Source for EditedSource<'_> {
    fn read(&mut self, name: &str, _: usize) -> Result<Included, String> {
        let text = self.texts.get(name).ok_or("it was not there before the edit")?;
        let bytes = match self.edited.included.iter().find(|edited| edited.file == text.file) {
            Some(edited) => Arc::new(edited.bytes.clone()),
            None => Arc::clone(&text.bytes),
        };
        Ok(Included { file: text.file.clone(), bytes, remark: None })
    }
}

/// Parses what is to be written, and verifies it.
pub fn reread(zone: &Zone, edits: &[Edit], edited: &Edited) -> Result<(), EditError> {
    let bytes = edited.zone.clone().unwrap_or_else(|| zone.document().to_bytes().to_vec());
    let mut source = EditedSource::new(zone, edited);
    verify(zone, edits, &Document::load(zone.file(), zone.origin(), bytes, &mut source))
}

/// Compares what was written with the records as they were, the edits applied to them.
pub fn verify(zone: &Zone, edits: &[Edit], written: &Document) -> Result<(), EditError> {
    if let Some(error) = written.diagnostics().iter().find(|diagnostic| diagnostic.is_error()) {
        return Err(EditError::Unreadable(error.to_string()));
    }
    let mut by_entry: Vec<(usize, Edit)> = edits.iter().map(|edit| (edit.entry(zone), *edit)).collect();
    by_entry.sort_by_key(|(entry, _)| *entry);
    let mut todo = &by_entry[..];
    let mut found = written.lines();
    for (entry, before) in zone.document().lines().enumerate() {
        let after = found.next();
        let these;
        (these, todo) = todo.split_at(todo.iter().take_while(|(of, _)| *of == entry).count());
        let is_as_meant = |after: Line<'_>| match these {
            [] => after.reads_like(&before),
            // Most edits are of one address that is all the RDATA.
            [(_, Edit::Address { address, .. })] => {
                after.reads_like_with_rdata(&before, address.to_string().as_bytes())
            }
            _ => false,
        };
        if after.is_some_and(is_as_meant) {
            continue;
        }
        let mut intended = zone.record(entry);
        these.iter().for_each(|(_, edit)| intend(&mut intended, edit));
        if after.and_then(|after| record(after, entry)).as_ref() != Some(&intended) {
            return Err(EditError::changed(zone, &intended));
        }
    }
    match found.next() {
        None => Ok(()),
        Some(_) => Err(EditError::Unreadable("the number of records changed".to_owned())),
    }
}

/// A record as it is to be after an edit.
fn intend(record: &mut ZoneRecord, edit: &Edit) {
    match *edit {
        Edit::Address { address: IpAddr::V4(address), .. } => record.record.rdata = address.octets().into(),
        Edit::Address { address: IpAddr::V6(address), .. } => record.record.rdata = address.octets().into(),
        Edit::Serial(serial) => {
            let rdata = &mut record.record.rdata;
            let mname = wire_len(rdata).unwrap_or(0);
            let at = mname + rdata.get(mname..).and_then(|rest| wire_len(rest).ok()).unwrap_or(0);
            if let Some(octets) = rdata.get_mut(at..at + 4) {
                octets.copy_from_slice(&serial.to_be_bytes());
            }
        }
        Edit::Withdraw { .. } => record.withdrawn = true,
        Edit::Restore { .. } => record.withdrawn = false,
    }
}

fn record(line: Line<'_>, entry: usize) -> Option<ZoneRecord> {
    let record = line.record()?;
    let tag = line.tag(record.owner.wire());
    Some(ZoneRecord { record, tag, withdrawn: line.is_withdrawn(), entry })
}

/// Why an edit was not made. The text is as it was.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EditError {
    #[error("there is no such record")]
    NoEntry,
    /// At this place of the zone's text.
    #[error("{1}")]
    Refused(Refusal, Box<Diagnostic>),
    #[error("the edited text is not a zone: {0}")]
    Unreadable(String),
}

impl EditError {
    pub(super) fn refused(document: &Document, text: usize, span: Range<usize>, refusal: Refusal) -> EditError {
        let diagnostic = refusal.at(document, text, span);
        EditError::Refused(refusal, Box::new(diagnostic))
    }

    /// A record that is another one after the edit than was meant.
    fn changed(zone: &Zone, intended: &ZoneRecord) -> EditError {
        let line = zone.document().at(intended.entry);
        let (owner, rtype) = (intended.record.owner.to_string(), intended.record.rtype);
        EditError::refused(zone.document(), line.text, line.entry.span(), Refusal::Changed { owner, rtype })
    }
}

/// What speaks against an edit.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("{address} is of the other address family")]
    Family { address: IpAddr },
    #[error("RFC 3597 RDATA (`\\#`) is not edited")]
    Generic,
    #[error("a record that $GENERATE makes is in no file")]
    Generated,
    #[error("only a published failover record can be withdrawn")]
    NotPublished,
    #[error("a record that spans lines cannot be withdrawn")]
    SpansLines,
    #[error("the record is not withdrawn")]
    NotWithdrawn,
    #[error("edited twice")]
    Twice,
    #[error("the {rtype} record of {owner} would change with the edit")]
    Changed { owner: String, rtype: Rtype },
}

impl Refusal {
    /// The same with its place.
    pub(super) fn at(&self, document: &Document, text: usize, span: Range<usize>) -> Diagnostic {
        document.diagnostic(Severity::Error, (text, span), self.to_string(), self.hint())
    }

    /// What to do about it.
    fn hint(&self) -> &'static str {
        match self {
            Refusal::Generic => "write the record in its own format",
            Refusal::Generated => "write the record itself",
            Refusal::SpansLines => "write it on one line",
            Refusal::Changed { .. } => "if a line before it is to be withdrawn, write owner and TTL on this line too",
            Refusal::Family { .. } | Refusal::NotPublished | Refusal::NotWithdrawn | Refusal::Twice => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(text: &str) -> Zone {
        Zone::parse(&"example.org".parse().unwrap(), "z", text.as_bytes().to_vec()).unwrap()
    }

    fn edited(text: &str, edits: &[Edit]) -> Result<String, EditError> {
        apply(&zone(text), edits).map(|edited| String::from_utf8(edited.zone.unwrap()).unwrap())
    }

    #[test]
    fn the_serial_in_any_layout() {
        for soa in [
            "@ 5 SOA ns h 41 2 3 4 5",
            "@ 5 SOA ns h ( 41 2 3 4 5 )",
            "@ 5 ( SOA ns\n h\n 41 ; serial\r\n 2 3 4 5 )",
            "@ 5 SOA ns h (41;serial 41\n2 3 4 5)",
            "@ 5 SOA 41 41. \"41\" 41 41 41 41",
            "   5 IN SOA\t( ; 41\n\tns\th\t41 41m 41 41 41\t)\t; 41",
        ] {
            let text = format!("{soa}\n@ 41 NS ns41\n");
            let written = edited(&text, &[Edit::Serial(4_000_000_000)]).unwrap();
            assert_eq!(zone(&written).serial(), 4_000_000_000, "{soa}");
            assert_eq!(written.replacen("4000000000", "41", 1), text, "{soa}");
        }
    }

    const TEXT: &str =
        "$TTL 60\r\n@ SOA ns h 1 2 3 4 5\r\n NS ns\r\nwww\t300 A\t192.0.2.10   ; Enable failover\r\nftp A 192.0.2.1";

    #[test]
    fn an_address_and_nothing_else() {
        let address = "198.51.100.200".parse().unwrap();
        let written = edited(TEXT, &[Edit::Address { entry: 2, address }, Edit::Serial(12)]).unwrap();
        assert_eq!(written, TEXT.replace("192.0.2.10", "198.51.100.200").replace("h 1", "h 12"));
    }

    #[test]
    fn out_and_in_again() {
        let out = edited(TEXT, &[Edit::Withdraw { entry: 2 }]).unwrap();
        assert_eq!(out, TEXT.replace("www", ";nsd-failover:withdrawn www"));
        let address = "198.51.100.20".parse().unwrap();
        let back = edited(&out, &[Edit::Restore { entry: 2 }, Edit::Address { entry: 2, address }]).unwrap();
        assert_eq!(back, TEXT.replace("192.0.2.10", "198.51.100.20"));
        assert_eq!(edited(&out, &[Edit::Restore { entry: 2 }]).unwrap(), TEXT);
    }

    #[test]
    fn a_line_that_others_lean_on_stays() {
        let text = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n NS ns\nwww A 192.0.2.10 ; Enable failover\n AAAA ::1\n";
        let error = edited(text, &[Edit::Withdraw { entry: 2 }]).unwrap_err().to_string();
        assert!(error.starts_with("z:5:1: error: the AAAA record of www.example.org. would change"), "{error}");
        let apex = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n NS ns\n@ A 192.0.2.10 ; Enable failover\n AAAA ::1\n";
        assert!(edited(apex, &[Edit::Withdraw { entry: 2 }]).is_ok(), "the owner before is the same");
        let ttl = "@ 60 SOA ns h 1 2 3 4 5\n 60 NS ns\nwww 5 A 192.0.2.10 ; Enable failover\nftp A 192.0.2.1\n";
        let error = edited(ttl, &[Edit::Withdraw { entry: 2 }]).unwrap_err().to_string();
        assert!(error.starts_with("z:4:1: error: the A record of ftp.example.org. would change"), "{error}");
    }

    #[test]
    fn what_is_refused() {
        let v4 = "198.51.100.20".parse().unwrap();
        let v6 = "2001:db8::1".parse().unwrap();
        let spans = format!("{TEXT}\nx A ( 192.0.2.7\n) ; Enable failover");
        let generic = TEXT.replace("192.0.2.10 ", "\\# 4 C0000201 ");
        assert_eq!(edited(TEXT, &[Edit::Address { entry: 9, address: v4 }]), Err(EditError::NoEntry));
        for (text, edits, expected) in [
            (
                TEXT,
                vec![Edit::Address { entry: 2, address: v6 }],
                "4:1: error: 2001:db8::1 is of the other address family",
            ),
            (TEXT, vec![Edit::Address { entry: 1, address: v4 }], "3:1: error: 198.51.100.20 is of the other"),
            (TEXT, vec![Edit::Withdraw { entry: 3 }], "5:1: error: only a published failover record"),
            (TEXT, vec![Edit::Restore { entry: 2 }], "4:1: error: the record is not withdrawn"),
            (
                &spans,
                vec![Edit::Withdraw { entry: 4 }],
                "6:1: error: a record that spans lines cannot be withdrawn; write it",
            ),
            (
                &generic,
                vec![Edit::Address { entry: 2, address: v4 }],
                "4:1: error: RFC 3597 RDATA (`\\#`) is not edited; write",
            ),
            (TEXT, vec![Edit::Serial(2), Edit::Serial(3)], "2:12: error: edited twice"),
        ] {
            let error = edited(text, &edits).unwrap_err().to_string();
            assert!(error.starts_with(&format!("z:{expected}")), "{edits:?}: {error}");
        }
    }
}
