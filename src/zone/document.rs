//! A zone file as a lossless document: the bytes as they are, and beside them one compact entry for
//! each record. Records are made from the entries when somebody asks.

use std::ops::Range;

use domain::base::iana::Rtype;

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::lexer::Lexer;
use super::parser;
use super::tag::{self, Comment, Tag};
use crate::dns::name::{Name, NameError, wire_from_text};
use crate::dns::rdata::{CLASS, Field, RdataError, from_text};
use crate::dns::record::Record;

/// Largest zone file, in octets: offsets are 32 bits wide.
pub const DOCUMENT_MAX: usize = 1 << 30;

/// What an export puts before a failover record's line to withdraw it. To every other reader the
/// line is a comment; here it is a record that is not published now.
pub const WITHDRAWN: &[u8] = b";nsd-failover:withdrawn ";

/// One zone file. `parse(x).to_bytes() == x` for every x.
#[derive(Clone, Debug)]
pub struct Document {
    pub(super) file: String,
    pub(super) bytes: Vec<u8>,
    /// The zone's origin and those of the `$ORIGIN` lines, in order.
    pub(super) origins: Vec<Name>,
    pub(super) entries: Vec<Entry>,
    pub(super) diagnostics: Diagnostics,
}

/// One record in the text: where its parts lie, and what they inherit. 40 octets, since a zone may
/// have millions.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Where the record starts: the line, behind the marker of a withdrawn one.
    pub(super) start: u32,
    /// Behind the last field or the closing parenthesis.
    pub(super) end: u32,
    /// Where the RDATA starts.
    pub(super) rdata: u32,
    /// Where the comment that ends the last line starts and ends; equal: none.
    pub(super) comment: u32,
    pub(super) comment_end: u32,
    /// The owner's text, here or in an earlier entry. No text: the origin itself.
    pub(super) owner: u32,
    pub(super) owner_len: u16,
    pub(super) rtype: u16,
    /// Indexes into the origins: where the owner was written, and where the RDATA is.
    pub(super) owner_origin: u32,
    pub(super) origin: u32,
    /// In seconds; the top bits are [`TAGGED`] and nothing else, since a TTL has 31 bits.
    pub(super) ttl_and_tag: u32,
}

/// The record carries a failover tag.
const TAGGED: u32 = 1 << 31;

impl Entry {
    pub fn rtype(&self) -> Rtype {
        Rtype::from_int(self.rtype)
    }

    /// In seconds.
    pub fn ttl(&self) -> u32 {
        self.ttl_and_tag & !TAGGED
    }

    /// Whether this is a failover record.
    pub fn is_tagged(&self) -> bool {
        self.ttl_and_tag & TAGGED != 0
    }

    pub(super) fn with_ttl(ttl: u32, tagged: bool) -> u32 {
        (ttl & !TAGGED) | if tagged { TAGGED } else { 0 }
    }

    fn comment(&self) -> Range<usize> {
        self.comment as usize..self.comment_end as usize
    }

    /// From the start of the record to the end of its comment.
    pub(super) fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Document {
    /// Reads the text of a zone. Never fails: what cannot be read is in [`Document::diagnostics`],
    /// and the bytes are kept as they are. `file` is for messages.
    pub fn parse(file: &str, origin: &Name, bytes: Vec<u8>) -> Document {
        parser::parse(file, origin, bytes)
    }

    /// The text as it came in.
    pub fn to_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    /// The origin that the text was read with.
    pub fn origin(&self) -> &Name {
        &self.origins[0]
    }

    /// What is wrong with the syntax. RDATA and the rules of a zone are not looked at here.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        self.diagnostics.as_slice()
    }

    /// One for each record, the withdrawn ones too, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The octets of memory that the document holds, its text included.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Whether the record's line is commented out by an export.
    pub fn is_withdrawn(&self, entry: &Entry) -> bool {
        self.bytes[..entry.start as usize].ends_with(WITHDRAWN)
    }

    /// Appends the owner in wire form to `wire`.
    pub fn owner(&self, entry: &Entry, wire: &mut Vec<u8>) -> Result<(), NameError> {
        let origin = &self.origins[entry.owner_origin as usize];
        match entry.owner_len {
            0 => {
                wire.extend_from_slice(origin.wire());
                Ok(())
            }
            _ => wire_from_text(&self.bytes[self.owner_span(entry)], Some(origin), wire),
        }
    }

    /// Where the owner's text lies; empty for a first record without one.
    pub(super) fn owner_span(&self, entry: &Entry) -> Range<usize> {
        let start = entry.owner as usize;
        start..start + usize::from(entry.owner_len)
    }

    /// The fields of the RDATA; they replace those in `fields`.
    pub(super) fn rdata_fields<'a>(&'a self, entry: &Entry, fields: &mut Vec<Field<'a>>) {
        Lexer::fields_within(&self.bytes, entry.rdata as usize..entry.end as usize, fields);
    }

    /// Appends the RDATA in wire form to `wire`. `fields` is scratch space.
    pub(super) fn rdata<'a>(
        &'a self,
        entry: &Entry,
        fields: &mut Vec<Field<'a>>,
        wire: &mut Vec<u8>,
    ) -> Result<(), RdataError> {
        self.rdata_fields(entry, fields);
        from_text(entry.rtype(), fields, &self.origins[entry.origin as usize], wire)
    }

    /// The tag of a failover record whose owner in wire form is `owner`.
    pub(super) fn tag(&self, entry: &Entry, owner: &[u8]) -> Option<Tag> {
        if !entry.is_tagged() {
            return None;
        }
        match tag::read(&self.bytes[entry.comment()]) {
            Comment::Tag(text) => Some(text.for_owner(owner)),
            _ => None,
        }
    }

    /// The record that an entry stands for; `None` if its owner or RDATA is not valid.
    pub fn record(&self, entry: &Entry) -> Option<Record> {
        let (mut owner, mut rdata) = (Vec::new(), Vec::new());
        self.owner(entry, &mut owner).ok()?;
        self.rdata(entry, &mut Vec::new(), &mut rdata).ok()?;
        Some(Record {
            owner: Name::from_wire(&owner).ok()?,
            rtype: entry.rtype(),
            class: CLASS,
            ttl: entry.ttl(),
            rdata: rdata.into(),
        })
    }

    /// A diagnostic about a span of this document.
    pub(super) fn diagnostic(
        &self,
        severity: Severity,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic::new(severity, &self.file, &self.bytes, span, message).hint(hint)
    }
}
