//! Entries to a document: owner, TTL, class and type, and what each inherits (RFC 1035 section 5.1,
//! RFC 2308 section 4). RDATA is left as text; directives are next door.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use domain::base::iana::{Class, Rtype};

use super::diagnostic::{Diagnostics, Severity};
use super::document::{self, DOCUMENT_MAX, Document, ENTRIES_MAX, Entry, Provenance, Run, Text, WITHDRAWN};
use super::lexer::{Lexer, Outline};
use super::rules::is_within;
use super::source::Source;
use super::tag::{self, Comment};
use crate::dns::name::Name;
use crate::dns::rdata::{CLASS, Field, TTL_MAX_S, is_meta, quoted, seconds_from_text};

/// The TTL of a record that neither states nor inherits one, in seconds: nsd's default.
pub const TTL_DEFAULT_S: u32 = 3_600;
/// Longest text of an owner: 255 octets, each of them escaped.
const OWNER_TEXT_MAX: usize = 4 * 255;

/// Reads a zone's file and all that it includes.
pub(super) fn parse(file: &str, origin: &Name, bytes: Vec<u8>, source: &mut dyn Source) -> Document {
    parse_at_most(ENTRIES_MAX, file, origin, bytes, source)
}

/// The same with another limit on records.
pub(super) fn parse_at_most(
    entries_max: usize,
    file: &str,
    origin: &Name,
    mut bytes: Vec<u8>,
    source: &mut dyn Source,
) -> Document {
    bytes.shrink_to_fit();
    // A record takes a line, and hardly ever less than eight octets.
    let lines = bytes.iter().filter(|&&octet| octet == b'\n').count();
    let mut reading = Reading {
        entries: Vec::with_capacity(lines.min(bytes.len() / 8).min(entries_max) + 1),
        entries_max,
        origins: vec![origin.clone()],
        runs: Vec::new(),
        diagnostics: Diagnostics::default(),
        inherited: Inherited::default(),
        ttl_from: None,
        octets: bytes.len(),
        generated: 0,
        repeated: 0,
        inclusions: 0,
        is_full: false,
        by_file: HashMap::new(),
        open: Vec::new(),
        texts: vec![Text { file: file.to_owned(), bytes: Arc::new(bytes), from: Provenance::Zone }],
        source,
    };
    if reading.octets > DOCUMENT_MAX {
        let message = "zone file is larger than 1 GiB".to_owned();
        reading.note(Severity::Error, (0, 0..0), message, "split the zone".to_owned());
    } else {
        reading.text(0);
    }
    let Reading { texts, origins, mut entries, runs, diagnostics, ttl_from, .. } = reading;
    entries.shrink_to_fit();
    let ttl_from = ttl_from.unwrap_or(entries.len());
    Document { texts, origins, entries, runs, ttl_from, diagnostics }
}

/// What some editors put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A document in the making, and what goes from one text to the next.
pub(super) struct Reading<'s> {
    pub texts: Vec<Text>,
    pub origins: Vec<Name>,
    pub entries: Vec<Entry>,
    pub entries_max: usize,
    pub runs: Vec<Run>,
    pub diagnostics: Diagnostics,
    /// What the next record inherits.
    pub inherited: Inherited,
    /// See [`Document::ttl_from`].
    pub ttl_from: Option<usize>,
    /// Octets of all texts.
    pub octets: usize,
    /// Records that `$GENERATE` has made.
    pub generated: usize,
    /// Octets of text that was made, or included again.
    pub repeated: usize,
    /// How often a file was asked for, whatever became of it.
    pub inclusions: usize,
    /// Something was refused for its size: no more is read or made, so that what is refused costs nothing.
    pub is_full: bool,
    /// The first text of each included file.
    pub by_file: HashMap<String, usize>,
    /// The numbers of the texts that are being read, outermost first.
    pub open: Vec<usize>,
    pub source: &'s mut dyn Source,
}

impl Reading<'_> {
    /// Reads one of the texts to its end.
    pub(super) fn text(&mut self, text: usize) {
        let bytes = Arc::clone(&self.texts[text].bytes);
        self.open.push(text);
        self.runs.push(Run { first: self.entries.len(), text });
        Parser { bytes: &bytes, text, reading: self }.run();
        self.open.pop();
    }

    pub(super) fn note(&mut self, severity: Severity, place: (usize, Range<usize>), message: String, hint: String) {
        let texts = &self.texts;
        self.diagnostics.push(severity, || document::diagnostic(texts, severity, place, message, hint));
    }
}

/// Reads one text.
pub(super) struct Parser<'a, 's> {
    pub bytes: &'a [u8],
    pub text: usize,
    pub reading: &'a mut Reading<'s>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inherited {
    /// The last owner's text in the current text, and the origin (index) that it was written under.
    pub owner: u32,
    pub owner_len: u16,
    pub owner_origin: u32,
    /// The last owner is another one to BIND, and nothing was said about that yet.
    pub owner_differs: bool,
    /// The current `$ORIGIN` (index).
    pub origin: u32,
    /// `$TTL`, in seconds.
    pub default_ttl: Option<u32>,
    /// The `$TTL` is that of an included file, which nsd from 4.10 on forgets at its end.
    pub ttl_differs: bool,
    /// The last TTL that a record stated, in seconds.
    pub last_ttl: Option<u32>,
    /// Readers disagree about a TTL in this file, and that has been said.
    pub ttl_warned: bool,
}

impl<'a> Parser<'a, '_> {
    fn run(&mut self) {
        if self.bytes.starts_with(BYTE_ORDER_MARK) {
            let mark = 0..BYTE_ORDER_MARK.len();
            return self.error(mark, "file starts with a byte order mark", "save it as plain text without one");
        }
        let mut lexer = Lexer::new(self.bytes, 0..self.bytes.len());
        let mut fields = Vec::new();
        let generated = matches!(self.reading.texts[self.text].from, Provenance::Generate { .. });
        while let Some(outline) = lexer.entry(&mut fields) {
            match fields.first() {
                _ if outline.fault.is_some() => self.fault(&outline),
                None => self.comment_line(&outline),
                Some(_) if self.reading.entries.len() >= self.reading.entries_max => {
                    let message = format!("the zone has more than {} records", self.reading.entries_max);
                    return self.error(outline.start..outline.end, message, "split the zone");
                }
                Some(first) if !outline.indented && !first.quoted && first.text.starts_with(b"$") && !generated => {
                    self.directive(&outline, &fields);
                }
                Some(_) => {
                    if let Some(entry) = self.record(&outline, &fields, true) {
                        self.reading.entries.push(entry);
                        self.look_for_hidden_tag(&entry, lexer.grouped());
                    }
                }
            }
        }
    }

    /// A line without fields: blank, a comment, or a withdrawn record.
    fn comment_line(&mut self, outline: &Outline) {
        let Some(comment) = outline.comment.clone() else { return };
        if comment.start != outline.start || !self.bytes[comment.clone()].starts_with(WITHDRAWN) {
            return;
        }
        let line = comment.start + WITHDRAWN.len()..comment.end;
        let mut fields = Vec::new();
        let withdrawn = Lexer::new(self.bytes, line.clone()).entry(&mut fields);
        // To others the line is a comment, so nothing may be inherited from it, and whatever is wrong
        // with it is no error.
        let diagnostics = std::mem::take(&mut self.reading.diagnostics);
        let entry = withdrawn
            .filter(|outline| outline.fault.is_none() && !fields.is_empty())
            .and_then(|outline| self.record(&outline, &fields, false))
            .filter(Entry::is_tagged)
            .filter(|entry| self.can_come_back(entry));
        let inside = std::mem::replace(&mut self.reading.diagnostics, diagnostics);
        let wrong = inside.as_slice().iter().find(|found| found.is_error());
        match (entry, wrong) {
            (Some(entry), None) => self.reading.entries.push(entry),
            (_, wrong) => {
                let why = wrong.map_or_else(String::new, |found| format!(": {}", found.message));
                let message = format!("withdrawn line that holds no failover record{why}");
                self.warning(line, message, "it stays a comment; mend it, or remove the line");
            }
        }
    }

    /// Whether a withdrawn record would be one of the zone without its marker; what speaks against that
    /// is noted.
    fn can_come_back(&mut self, entry: &Entry) -> bool {
        let origins = &self.reading.origins;
        let mut owner = Vec::new();
        let wrong = match entry.owner_wire(self.bytes, origins, &mut owner) {
            Err(error) => Some(format!("its owner is no domain name: {error}")),
            Ok(()) if !is_within(&owner, &origins[0]) => Some(format!("it lies outside the zone {}", origins[0])),
            Ok(()) => {
                let read = entry.rdata_wire(self.bytes, origins, &mut Vec::new(), &mut Vec::new());
                read.err().map(|error| error.to_string())
            }
        };
        let is_fine = wrong.is_none();
        if let Some(message) = wrong {
            self.error(entry.span(), message, "");
        }
        is_fine
    }

    /// A tag inside parentheses is none, though it may be meant as one.
    fn look_for_hidden_tag(&mut self, entry: &Entry, comments: &[Range<usize>]) {
        if comments.is_empty() || entry.is_tagged() || !matches!(entry.rtype(), Rtype::A | Rtype::AAAA) {
            return;
        }
        let is_tag = |comment: &&Range<usize>| !matches!(tag::read(&self.bytes[(*comment).clone()]), Comment::Plain);
        if let Some(comment) = comments.iter().find(is_tag) {
            let message = "a failover tag inside parentheses is none";
            self.warning(comment.clone(), message, "write it behind the closing parenthesis");
        }
    }

    /// Owner, TTL, class, type: `None` after an error. What the record states is inherited by those
    /// that follow if `inheritable`, even where another part of it is wrong.
    fn record(&mut self, outline: &Outline, fields: &[Field<'a>], inheritable: bool) -> Option<Entry> {
        let before = self.reading.inherited;
        let fields = if outline.indented { fields } else { self.take_owner(fields)? };
        if std::mem::take(&mut self.reading.inherited.owner_differs) {
            let message = "record without an owner behind an $INCLUDE: nsd takes the last owner of the included file, BIND the one before it";
            self.warning(outline.start..outline.end, message, "write the owner");
        }
        let stated = self.attributes(outline, fields);
        let (owner, owner_len) = (self.reading.inherited.owner, self.reading.inherited.owner_len);
        let owner_origin = self.reading.inherited.owner_origin;
        if let Some(ttl) = stated.as_ref().and_then(|stated| stated.ttl) {
            self.reading.inherited.last_ttl = Some(ttl);
        }
        let warned = self.reading.inherited.ttl_warned;
        if !inheritable {
            self.reading.inherited = Inherited { ttl_warned: warned, ..before };
        }
        let stated = stated?;
        let comment = outline.comment.clone().unwrap_or(0..0);
        let ttl = stated.ttl.unwrap_or_else(|| self.inherited_ttl(outline));
        Some(Entry {
            start: outline.start as u32,
            end: outline.end as u32,
            rdata: stated.rdata as u32,
            comment: comment.start as u32,
            comment_end: comment.end as u32,
            owner,
            owner_len,
            rtype: stated.rtype.to_int(),
            owner_origin,
            origin: self.reading.inherited.origin,
            ttl_and_tag: Entry::with_ttl(ttl, self.tagged(comment, stated.rtype)),
        })
    }

    /// Takes the first field as the owner; the others are left.
    fn take_owner<'f>(&mut self, fields: &'f [Field<'a>]) -> Option<&'f [Field<'a>]> {
        let (first, rest) = fields.split_first()?;
        if first.text.is_empty() || first.text.len() > OWNER_TEXT_MAX {
            self.error(
                span(first),
                format!("`{}` is no domain name", quoted(first.text)),
                "a name has 1 to 255 octets",
            );
            return None;
        }
        self.reading.inherited.owner = first.at as u32;
        self.reading.inherited.owner_len = first.text.len() as u16;
        self.reading.inherited.owner_origin = self.reading.inherited.origin;
        self.reading.inherited.owner_differs = false;
        Some(rest)
    }

    /// TTL and class in either order, each at most once, then the type.
    fn attributes(&mut self, outline: &Outline, fields: &[Field<'a>]) -> Option<Stated> {
        let mut ttl = None;
        let mut class = None;
        for (index, field) in fields.iter().enumerate() {
            match attribute(field) {
                Some(Attribute::Type(rtype)) if is_meta(rtype) => {
                    let message = format!("type {rtype} cannot stand in a zone");
                    self.error(span(field), message, "it is for questions and transactions");
                    return None;
                }
                Some(Attribute::Type(rtype)) => {
                    let rdata = fields.get(index + 1).map_or(outline.end, |field| field.at - usize::from(field.quoted));
                    return Some(Stated { ttl, rtype, rdata });
                }
                Some(Attribute::Class(CLASS)) if class.is_none() => class = Some(CLASS),
                Some(Attribute::Class(other)) if other != CLASS => {
                    self.error(span(field), format!("class {other} in a zone of class IN"), "nsd serves class IN only");
                    return None;
                }
                Some(Attribute::Ttl) if ttl.is_none() => ttl = Some(self.ttl(field)?),
                _ => {
                    let directive = field.text.starts_with(b"$");
                    let hint = if directive {
                        "a directive starts in the first column"
                    } else {
                        "a record is [owner] [TTL] [IN] TYPE RDATA; a line that starts with a blank has no owner"
                    };
                    let message = format!("`{}` is no record type", quoted(field.text));
                    self.error(span(field), message, hint);
                    return None;
                }
            }
        }
        self.error(outline.start..outline.end, "record without a type", "a record is [owner] [TTL] [IN] TYPE RDATA");
        None
    }

    pub(super) fn ttl(&mut self, field: &Field<'a>) -> Option<u32> {
        let ttl = seconds_from_text(field.text).filter(|&ttl| ttl <= TTL_MAX_S);
        if ttl.is_none() {
            let message = format!("`{}` is no time to live", quoted(field.text));
            self.error(span(field), message, "seconds, or units as in 1h30m; at most 2147483647 (RFC 2181 section 8)");
        }
        ttl
    }

    /// `$TTL`, else the last TTL that a record stated (RFC 1035, BIND, nsd from 4.10 on), else nsd's
    /// default. Where there is no `$TTL`, readers disagree: nsd before 4.10 always takes the default,
    /// BIND the SOA's minimum for the first records. Whoever relies on that is told once.
    fn inherited_ttl(&mut self, outline: &Outline) -> u32 {
        if let Some(ttl) = self.reading.inherited.default_ttl {
            if std::mem::take(&mut self.reading.inherited.ttl_differs) {
                let message =
                    format!("the $TTL of an included file counts here too ({ttl}), but nsd from 4.10 on forgets it");
                self.warning(outline.start..outline.end, message, "write $TTL behind the $INCLUDE");
            }
            return ttl;
        }
        let ttl = self.reading.inherited.last_ttl.unwrap_or(TTL_DEFAULT_S);
        if !self.reading.inherited.ttl_warned && self.reading.inherited.last_ttl != Some(TTL_DEFAULT_S) {
            self.reading.inherited.ttl_warned = true;
            let message = format!("no TTL and no $TTL: {ttl} here, but nsd before 4.10 takes {TTL_DEFAULT_S}");
            self.warning(outline.start..outline.end, message, "start the file with $TTL");
        }
        ttl
    }

    /// Whether the trailing comment makes this a failover record; what is wrong with the tag is noted.
    fn tagged(&mut self, comment: Range<usize>, rtype: Rtype) -> bool {
        if comment.is_empty() || matches!(self.reading.texts[self.text].from, Provenance::Generate { .. }) {
            return false;
        }
        let place = |part: &Range<usize>| comment.start + part.start..comment.start + part.end;
        let address = matches!(rtype, Rtype::A | Rtype::AAAA);
        match tag::read(&self.bytes[comment.clone()]) {
            Comment::Plain => false,
            Comment::NearMiss(part) => {
                if address {
                    let hint = "write `; Enable failover` to make this a failover record";
                    self.warning(place(&part), "this looks like a mistyped failover tag", hint);
                }
                false
            }
            Comment::Tag(_) if !address => {
                let message = format!("failover tag on a record of type {rtype}");
                self.error(comment, message, "only A and AAAA records can follow a pool; remove the tag");
                false
            }
            Comment::Tag(text) => {
                for problem in text.problems {
                    match problem.severity {
                        Severity::Error => self.error(place(&problem.span), problem.message, problem.hint),
                        Severity::Warning => self.warning(place(&problem.span), problem.message, problem.hint),
                    }
                }
                true
            }
        }
    }

    fn fault(&mut self, outline: &Outline) {
        if let Some((fault, span)) = &outline.fault {
            self.error(span.clone(), fault.to_string(), fault.hint());
        }
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        self.note(Severity::Error, span, message.into(), hint.into());
    }

    pub(super) fn warning(&mut self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        self.note(Severity::Warning, span, message.into(), hint.into());
    }

    fn note(&mut self, severity: Severity, span: Range<usize>, message: String, hint: String) {
        self.reading.note(severity, (self.text, span), message, hint);
    }
}

/// What a record states before its RDATA.
struct Stated {
    ttl: Option<u32>,
    rtype: Rtype,
    /// Offset of the RDATA.
    rdata: usize,
}

pub(super) enum Attribute {
    Ttl,
    Class(Class),
    Type(Rtype),
}

/// What a field between owner and RDATA is. The common ones are compared first: `domain` goes
/// through its registry from the top.
pub(super) fn attribute(field: &Field<'_>) -> Option<Attribute> {
    if field.quoted {
        return None;
    }
    match field.text {
        b"IN" => return Some(Attribute::Class(CLASS)),
        b"A" => return Some(Attribute::Type(Rtype::A)),
        b"AAAA" => return Some(Attribute::Type(Rtype::AAAA)),
        [b'0'..=b'9', ..] => return Some(Attribute::Ttl),
        _ => {}
    }
    let text = std::str::from_utf8(field.text).ok()?;
    let rtype = text.parse().ok().map(Attribute::Type);
    rtype.or_else(|| text.parse().ok().map(Attribute::Class))
}

/// The span of a field, its quotes included.
pub(super) fn span(field: &Field<'_>) -> Range<usize> {
    let quote = usize::from(field.quoted);
    field.at - quote..field.at + field.text.len() + quote
}
