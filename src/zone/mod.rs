//! Zone text as a lossless document: bytes to spanned entries to records; edits by span;
//! diagnostics with line and column. Knows no file system: bytes in, bytes out.

pub mod check;
pub mod diagnostic;
pub mod document;
pub mod edit;
mod lexer;
mod parser;
mod rules;
pub mod tag;

use domain::base::iana::Rtype;

use crate::dns::name::Name;
use crate::dns::rdata::CLASS;
use crate::dns::record::Record;
use diagnostic::{Diagnostic, Severity};
use document::{Document, Entry};
use tag::Tag;

/// A zone that keeps the rules: every record of the document can be made and sent.
#[derive(Clone, Debug)]
pub struct Zone {
    document: Document,
    warnings: Vec<Diagnostic>,
    /// The SOA's entry.
    soa: usize,
    serial: u32,
}

/// A record of a zone, and where it comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ZoneRecord {
    pub record: Record,
    /// Set for a failover record.
    pub tag: Option<Tag>,
    /// The line is commented out by an export: the record belongs to its slot, but it is not
    /// published now, and its address means nothing.
    pub withdrawn: bool,
    /// Index into [`Document::entries`], for edits and diagnostics.
    pub entry: usize,
}

impl Zone {
    /// Reads a zone. `Err` holds everything there is to say, errors and warnings, in the order of
    /// the file. `file` is for messages.
    pub fn parse(origin: &Name, file: &str, bytes: Vec<u8>) -> Result<Zone, Vec<Diagnostic>> {
        Zone::from_document(Document::parse(file, origin, bytes))
    }

    /// Holds a document against the rules of a zone.
    pub fn from_document(mut document: Document) -> Result<Zone, Vec<Diagnostic>> {
        let mut diagnostics = std::mem::take(&mut document.diagnostics);
        let soa = rules::apply(&document, &mut diagnostics);
        let errors = diagnostics.errors();
        let list = diagnostics.into_sorted();
        match soa {
            Some(soa) if errors == 0 => Ok(Zone { document, warnings: list, soa: soa.entry, serial: soa.serial }),
            _ => Err(list),
        }
    }

    pub fn origin(&self) -> &Name {
        self.document.origin()
    }

    /// The file's name, for messages.
    pub fn file(&self) -> &str {
        self.document.file()
    }

    pub fn document(&self) -> &Document {
        &self.document
    }

    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The serial in the text.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    pub fn soa(&self) -> Record {
        self.record(self.soa).record
    }

    /// The SOA's entry.
    pub(crate) fn soa_entry(&self) -> usize {
        self.soa
    }

    /// Every record in the order of the file, made one at a time. The withdrawn ones are among them.
    pub fn records(&self) -> impl ExactSizeIterator<Item = ZoneRecord> + '_ {
        (0..self.document.entries.len()).map(|entry| self.record(entry))
    }

    /// Only the failover records; costs nothing for the others.
    pub fn failover_records(&self) -> impl Iterator<Item = ZoneRecord> + '_ {
        let entries = self.document.entries.iter().enumerate();
        entries.filter(|(_, entry)| entry.is_tagged()).map(|(index, _)| self.record(index))
    }

    /// The record of one entry.
    pub fn record(&self, entry: usize) -> ZoneRecord {
        let found = &self.document.entries[entry];
        let mut wire = Vec::new();
        let mut rdata = Vec::new();
        self.document.owner(found, &mut wire).expect("owners were checked by `rules`");
        self.document.rdata(found, &mut Vec::new(), &mut rdata).expect("RDATA was checked by `rules`");
        ZoneRecord {
            tag: self.document.tag(found, &wire),
            withdrawn: self.document.is_withdrawn(found),
            record: Record {
                owner: Name::from_wire(&wire).expect("owners were checked by `rules`"),
                rtype: found.rtype(),
                class: CLASS,
                ttl: found.ttl(),
                rdata: rdata.into(),
            },
            entry,
        }
    }

    /// A diagnostic that points at a record of this zone (an index into [`Document::entries`]): at
    /// its RDATA, or at its comment.
    pub fn diagnostic(
        &self,
        severity: Severity,
        entry: usize,
        part: Part,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Diagnostic {
        let found = &self.document.entries[entry];
        let span = match part {
            Part::Rdata => found.rdata as usize..found.end as usize,
            Part::Comment => found.comment as usize..found.comment_end as usize,
        };
        self.document.diagnostic(severity, span, message, hint)
    }
}

/// The part of a record that a diagnostic is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    Rdata,
    Comment,
}

/// Whether a type may stand beside a CNAME: the signatures and proofs of RFC 4035 section 2.5, and
/// the keys of RFC 2181 section 10.1.
fn may_join_cname(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype::KEY | Rtype::SIG | Rtype::NXT)
}

/// Whether the entry is published, and so counts for the rules about RRsets.
fn is_published(document: &Document, entry: &Entry) -> bool {
    !document.is_withdrawn(entry)
}
