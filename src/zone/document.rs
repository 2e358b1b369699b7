//! A zone's text as a lossless document: the bytes as they are, of its file and of those that it
//! includes, and beside them one compact entry for each record. Records are made from the entries
//! when somebody asks.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use domain::base::iana::Rtype;

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::lexer::Lexer;
use super::parser::{self, Attribute};
use super::source::{Included, NoSource, Source};
use super::tag::{self, Comment, Tag};
use crate::dns::name::{Name, NameError, wire_from_text};
use crate::dns::rdata::{CLASS, Field, RdataError, from_text, quoted};
use crate::dns::record::Record;

/// Largest zone, in octets, included files and generated text counted in: offsets are 32 bits wide.
pub const DOCUMENT_MAX: usize = 1 << 30;

/// Most records of one zone: each takes 40 octets here, and more in what is made of it.
pub const ENTRIES_MAX: usize = 1 << 24;

/// Most octets of text that no file has room for: what `$GENERATE` makes, and files that are included
/// again. A line may stand for very many.
pub const REPEATED_MAX: usize = 64 << 20;

/// What an export puts before a failover record's line to withdraw it. To every other reader the
/// line is a comment; here it is a record that is not published now.
pub const WITHDRAWN: &[u8] = b";nsd-failover:withdrawn ";

/// The text of a zone: its file, and the files that `$INCLUDE` brings. `parse(x).to_bytes() == x`
/// for every x.
#[derive(Clone, Debug)]
pub struct Document {
    /// The zone's own first, then the others as they were met.
    pub(super) texts: Vec<Text>,
    /// The zone's origin, those of `$ORIGIN` and `$INCLUDE` lines, and owners that were carried from
    /// one text into another.
    pub(super) origins: Vec<Name>,
    pub(super) entries: Vec<Entry>,
    /// Which text the entries stand in: from this one on, until the next run.
    pub(super) runs: Vec<Run>,
    /// The first entry behind a `$TTL`: those before it that state no TTL inherit that of a record.
    pub(super) ttl_from: usize,
    pub(super) diagnostics: Diagnostics,
}

/// A text that entries stand in.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// The file, for messages, and to tell files apart.
    pub file: String,
    pub bytes: Arc<Vec<u8>>,
    pub from: Provenance,
}

/// Where a text comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Provenance {
    /// It is the zone's own file.
    Zone,
    /// An `$INCLUDE` in another text names it.
    Include(Inclusion),
    /// A `$GENERATE` in another text, there at this span, made it: it is in no file.
    Generate { text: usize, span: Range<usize> },
}

/// The line that includes a text. Origins are indexes into [`Document::origins`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Inclusion {
    /// The file, as the line names it.
    pub name: String,
    /// The text that the line stands in, and where; its comment and newline are left out.
    pub text: usize,
    pub line: Range<usize>,
    /// The origin before the line, which comes back behind it.
    pub around: u32,
    /// The origins that the included text starts and ends with.
    pub first: u32,
    pub last: u32,
}

/// The entries from `first` on stand in text number `text`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub first: usize,
    pub text: usize,
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
    /// The owner's text, here or in an earlier entry of the same text. No text: the origin itself.
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

    /// Where the owner's text lies; empty where the owner is the origin of that number.
    pub(super) fn owner_span(&self) -> Range<usize> {
        let start = self.owner as usize;
        start..start + usize::from(self.owner_len)
    }

    /// Appends the owner in wire form to `wire`. `bytes` is the text that the entry stands in, `origins`
    /// are those of its document.
    pub(super) fn owner_wire(&self, bytes: &[u8], origins: &[Name], wire: &mut Vec<u8>) -> Result<(), NameError> {
        let origin = &origins[self.owner_origin as usize];
        if self.owner_len == 0 {
            wire.extend_from_slice(origin.wire());
            return Ok(());
        }
        wire_from_text(&bytes[self.owner_span()], Some(origin), wire)
    }

    /// Appends the RDATA in wire form to `wire`. Its fields replace those in `fields`.
    pub(super) fn rdata_wire<'a>(
        &self,
        bytes: &'a [u8],
        origins: &[Name],
        fields: &mut Vec<Field<'a>>,
        wire: &mut Vec<u8>,
    ) -> Result<(), RdataError> {
        Lexer::fields_within(bytes, self.rdata as usize..self.end as usize, fields);
        from_text(self.rtype(), fields, &origins[self.origin as usize], wire)
    }

    pub(super) fn comment(&self) -> Range<usize> {
        self.comment as usize..self.comment_end as usize
    }

    /// From the start of the record to the end of its comment.
    pub(super) fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Document {
    /// Reads the text of a zone that includes no other file. Never fails: what cannot be read is in
    /// [`Document::diagnostics`], and the bytes are kept as they are. `file` is for messages.
    pub fn parse(file: &str, origin: &Name, bytes: Vec<u8>) -> Document {
        Document::load(file, origin, bytes, &mut NoSource)
    }

    /// The same; what `$INCLUDE` names is asked of `source`.
    pub fn load(file: &str, origin: &Name, bytes: Vec<u8>, source: &mut dyn Source) -> Document {
        parser::parse(file, origin, bytes, source)
    }

    /// The text of the zone's own file, as it came in.
    pub fn to_bytes(&self) -> &[u8] {
        &self.texts[0].bytes
    }

    /// The same, for those who keep it.
    pub fn text(&self) -> &Arc<Vec<u8>> {
        &self.texts[0].bytes
    }

    /// The zone's own file, for messages.
    pub fn file(&self) -> &str {
        &self.texts[0].file
    }

    /// The included files and what they held, each once, in the order in which they were met.
    pub fn included(&self) -> Vec<Included> {
        let mut files: Vec<Included> = Vec::new();
        let mut seen = HashSet::new();
        for text in self.texts.iter().filter(|text| matches!(text.from, Provenance::Include(_))) {
            if seen.insert(&text.file) {
                files.push(Included { file: text.file.clone(), bytes: Arc::clone(&text.bytes), remark: None });
            }
        }
        files
    }

    /// Whether other files are part of the zone.
    pub fn includes(&self) -> bool {
        self.texts.iter().any(|text| matches!(text.from, Provenance::Include(_)))
    }

    /// The origin that the text was read with.
    pub fn origin(&self) -> &Name {
        &self.origins[0]
    }

    /// What is wrong with the syntax. RDATA and the rules of a zone are not looked at here.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        self.diagnostics.as_slice()
    }

    /// One for each record, the withdrawn ones too, in the order of the text.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The octets of memory that the document holds, its texts included.
    pub fn memory(&self) -> usize {
        let texts: usize = self.texts.iter().map(|text| text.bytes.capacity()).sum();
        texts + self.entries.capacity() * size_of::<Entry>()
    }

    /// The entry of this number with the text that it stands in. Panics like an index.
    pub fn at(&self, index: usize) -> Line<'_> {
        Line { document: self, text: self.text_of(index), entry: &self.entries[index] }
    }

    /// Every entry with its text, in order.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = Line<'_>> + '_ {
        let mut next = 0;
        let mut text = 0;
        self.entries.iter().enumerate().map(move |(index, entry)| {
            while let Some(run) = self.runs.get(next).filter(|run| run.first <= index) {
                text = run.text;
                next += 1;
            }
            Line { document: self, text, entry }
        })
    }

    /// The number of the text that an entry stands in.
    pub(super) fn text_of(&self, index: usize) -> usize {
        let behind = self.runs.partition_point(|run| run.first <= index);
        behind.checked_sub(1).map_or(0, |run| self.runs[run].text)
    }

    /// A diagnostic about a span of one of the texts.
    pub(super) fn diagnostic(
        &self,
        severity: Severity,
        (text, span): (usize, Range<usize>),
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Diagnostic {
        diagnostic(&self.texts, severity, (text, span), message.into(), hint.into())
    }
}

/// See [`Document::diagnostic`]. What is wrong in generated text is said of the line that made it.
pub(super) fn diagnostic(
    texts: &[Text],
    severity: Severity,
    (number, span): (usize, Range<usize>),
    message: String,
    hint: String,
) -> Diagnostic {
    let text = &texts[number];
    match &text.from {
        Provenance::Generate { text: by, span: directive } => {
            let made = line_around(&text.bytes, span.start);
            let made = format!("it makes `{}`", quoted(made));
            let hint = if hint.is_empty() { made } else { format!("{made}; {hint}") };
            diagnostic(texts, severity, (*by, directive.clone()), message, hint)
        }
        _ => Diagnostic::new(severity, &text.file, &text.bytes, span, message).hint(hint),
    }
}

/// The line that an offset lies in.
fn line_around(bytes: &[u8], at: usize) -> &[u8] {
    let at = at.min(bytes.len());
    let start = bytes[..at].iter().rposition(|&octet| octet == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[at..].iter().position(|&octet| octet == b'\n').map_or(bytes.len(), |newline| at + newline);
    &bytes[start..end]
}

/// An entry together with the text that it stands in.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    document: &'a Document,
    pub(super) text: usize,
    pub(super) entry: &'a Entry,
}

impl<'a> Line<'a> {
    pub fn entry(&self) -> &'a Entry {
        self.entry
    }

    /// The file that it stands in, for messages.
    pub fn file(&self) -> &'a str {
        &self.document.texts[self.text].file
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        &self.document.texts[self.text].bytes
    }

    /// Whether it stands in another file than the zone's own. What is generated is in no file.
    pub fn is_included(&self) -> bool {
        matches!(self.document.texts[self.text].from, Provenance::Include(_))
    }

    /// Whether it can be edited: a generated record is in no file.
    pub(super) fn is_written(&self) -> bool {
        !matches!(self.document.texts[self.text].from, Provenance::Generate { .. })
    }

    /// Whether another line stands for the same record with the same comment, told without making
    /// the records: what is written in other words does not count.
    pub(super) fn reads_like(&self, other: &Line<'_>) -> bool {
        self.parts() == other.parts()
    }

    /// The same, where the other line has this text for its RDATA.
    pub(super) fn reads_like_with_rdata(&self, other: &Line<'_>, text: &[u8]) -> bool {
        let (numbers, [owner, owner_origin, _, origin, comment]) = other.parts();
        self.parts() == (numbers, [owner, owner_origin, text, origin, comment])
    }

    /// Everything that the record and its tag are made from.
    fn parts(&self) -> ((u16, u32, bool), [&'a [u8]; 5]) {
        let (entry, bytes, origins) = (self.entry, self.bytes(), &self.document.origins);
        let origin = |index: u32| origins[index as usize].wire();
        let (owner, comment) = (&bytes[entry.owner_span()], &bytes[entry.comment()]);
        let rdata = &bytes[entry.rdata as usize..entry.end as usize];
        let numbers = (entry.rtype, entry.ttl_and_tag, self.is_withdrawn());
        (numbers, [owner, origin(entry.owner_origin), rdata, origin(entry.origin), comment])
    }

    /// Whether the record's line is commented out by an export.
    pub fn is_withdrawn(&self) -> bool {
        self.bytes()[..self.entry.start as usize].ends_with(WITHDRAWN)
    }

    /// Appends the owner in wire form to `wire`.
    pub fn owner(&self, wire: &mut Vec<u8>) -> Result<(), NameError> {
        self.entry.owner_wire(self.bytes(), &self.document.origins, wire)
    }

    /// The fields of the RDATA; they replace those in `fields`.
    pub(super) fn rdata_fields(&self, fields: &mut Vec<Field<'a>>) {
        Lexer::fields_within(self.bytes(), self.entry.rdata as usize..self.entry.end as usize, fields);
    }

    /// Appends the RDATA in wire form to `wire`. `fields` is scratch space.
    pub(super) fn rdata(&self, fields: &mut Vec<Field<'a>>, wire: &mut Vec<u8>) -> Result<(), RdataError> {
        self.entry.rdata_wire(self.bytes(), &self.document.origins, fields, wire)
    }

    /// The tag of a failover record whose owner in wire form is `owner`.
    pub(super) fn tag(&self, owner: &[u8]) -> Option<Tag> {
        if !self.entry.is_tagged() {
            return None;
        }
        match tag::read(&self.bytes()[self.entry.comment()]) {
            Comment::Tag(text) => Some(text.for_owner(owner)),
            _ => None,
        }
    }

    /// The record that the entry stands for; `None` if its owner or RDATA is not valid.
    pub fn record(&self) -> Option<Record> {
        let (mut owner, mut rdata) = (Vec::new(), Vec::new());
        self.owner(&mut owner).ok()?;
        self.rdata(&mut Vec::new(), &mut rdata).ok()?;
        Some(Record {
            owner: Name::from_wire(&owner).ok()?,
            rtype: self.entry.rtype(),
            class: CLASS,
            ttl: self.entry.ttl(),
            rdata: rdata.into(),
        })
    }

    /// Whether the owner is written in this record, not inherited.
    pub(super) fn states_owner(&self) -> bool {
        self.entry.owner_len > 0 && self.entry.owner >= self.entry.start
    }

    /// Whether the TTL is written in this record, not inherited.
    pub(super) fn states_ttl(&self) -> bool {
        let mut fields = Vec::new();
        Lexer::fields_within(self.bytes(), self.entry.start as usize..self.entry.rdata as usize, &mut fields);
        let behind_owner = fields.iter().skip(usize::from(self.states_owner()));
        behind_owner.into_iter().any(|field| matches!(parser::attribute(field), Some(Attribute::Ttl)))
    }
}
