//! Where an edit writes in the text, and what: spans of octets, and those that take their place.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::ops::Range;

use domain::base::iana::Rtype;

use super::Zone;
use super::document::{Document, Line, WITHDRAWN};
use super::edit::{Edit, EditError, Refusal};
use crate::dns::rdata::Field;

/// The octets of a span of a text, and those that take their place.
pub(super) struct Splice<'a> {
    /// The included file; absent: the zone's own.
    pub file: Option<&'a str>,
    text: usize,
    pub span: Range<usize>,
    replacement: Short,
}

impl<'a> Splice<'a> {
    pub fn new(zone: &'a Zone, edit: &Edit, scratch: &mut Scratch<'a>) -> Result<Splice<'a>, EditError> {
        let document = zone.document();
        let index = edit.entry(zone);
        if index >= document.entries.len() {
            return Err(EditError::NoEntry);
        }
        let found = document.at(index);
        let refused = |refusal| EditError::refused(document, found.text, found.entry.span(), refusal);
        let (span, replacement) = place(found, edit, scratch).map_err(refused)?;
        let file = (found.text != 0).then(|| found.file());
        Ok(Splice { file, text: found.text, span, replacement })
    }

    fn is_like(&self, other: &Splice<'_>) -> bool {
        self.span == other.span && self.replacement == other.replacement
    }
}

/// One text with its splices, which are in order.
pub(super) fn text(document: &Document, splices: &[Splice<'_>]) -> Result<Vec<u8>, EditError> {
    let bytes = &document.texts[splices[0].text].bytes;
    let mut out = Vec::with_capacity(bytes.len() + splices.len() * 8);
    let mut at = 0;
    let mut before: Option<&Splice<'_>> = None;
    for splice in splices {
        // The same line, read twice because its file is included twice.
        if before.is_some_and(|before| before.text != splice.text && before.is_like(splice)) {
            continue;
        }
        if splice.span.start < at {
            return Err(EditError::refused(document, splice.text, splice.span.clone(), Refusal::Twice));
        }
        out.extend_from_slice(&bytes[at..splice.span.start]);
        out.extend_from_slice(splice.replacement.octets());
        at = splice.span.end;
        before = Some(splice);
    }
    out.extend_from_slice(&bytes[at..]);
    Ok(out)
}

/// What an edit replaces, and by what.
fn place<'a>(found: Line<'a>, edit: &Edit, scratch: &mut Scratch<'a>) -> Result<(Range<usize>, Short), Refusal> {
    let start = found.entry.start as usize;
    match *edit {
        Edit::Address { address, .. } => {
            if !is_of_family(found, address) {
                return Err(Refusal::Family { address });
            }
            Ok((field_span(found, ADDRESS, &mut scratch.fields)?, scratch.written(address)))
        }
        Edit::Serial(serial) => Ok((field_span(found, SERIAL, &mut scratch.fields)?, Short::written(serial))),
        Edit::Withdraw { .. } => {
            if !found.entry.is_tagged() || found.is_withdrawn() {
                return Err(Refusal::NotPublished);
            }
            can_be_withdrawn(found).map(|()| (start..start, Short::copied(WITHDRAWN)))
        }
        Edit::Restore { .. } => {
            if !found.is_withdrawn() {
                return Err(Refusal::NotWithdrawn);
            }
            Ok((start - WITHDRAWN.len()..start, Short::copied(b"")))
        }
    }
}

/// The field of an A or AAAA record's RDATA that holds the address.
pub(super) const ADDRESS: usize = 0;
/// The field of the SOA's RDATA that holds the serial.
pub(super) const SERIAL: usize = 2;

/// Whether a record's type is that of an address.
pub(super) fn is_of_family(found: Line<'_>, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => found.entry.rtype() == Rtype::A,
        IpAddr::V6(_) => found.entry.rtype() == Rtype::AAAA,
    }
}

/// Whether a record can be commented out by a marker at its start.
pub(super) fn can_be_withdrawn(found: Line<'_>) -> Result<(), Refusal> {
    match found.bytes()[found.entry.span()].contains(&b'\n') {
        true => Err(Refusal::SpansLines),
        false => Ok(()),
    }
}

/// Where a field of the RDATA lies; RFC 3597 RDATA has no fields to edit. `fields` is scratch space.
pub(super) fn field_span<'a>(
    found: Line<'a>,
    index: usize,
    fields: &mut Vec<Field<'a>>,
) -> Result<Range<usize>, Refusal> {
    if !found.is_written() {
        return Err(Refusal::Generated);
    }
    found.rdata_fields(fields);
    let generic = fields.first().is_some_and(|first| !first.quoted && first.text == br"\#");
    match fields.get(index) {
        Some(field) if !generic => Ok(field.at..field.at + field.text.len()),
        _ => Err(Refusal::Generic),
    }
}

/// Room that is used again, and the address that was written last: most edits of an export are alike.
#[derive(Default)]
pub(super) struct Scratch<'a> {
    pub fields: Vec<Field<'a>>,
    last: Option<(IpAddr, Short)>,
}

impl Scratch<'_> {
    /// An address as text.
    pub fn written(&mut self, address: IpAddr) -> Short {
        match self.last {
            Some((last, text)) if last == address => text,
            _ => self.last.insert((address, Short::written(address))).1,
        }
    }
}

/// An address, a serial or a marker as text. Not on the heap: an export may write very many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Short {
    octets: [u8; SHORT_MAX],
    length: usize,
}

/// An address has at most 39 octets as text, the marker 24.
const SHORT_MAX: usize = 40;

impl Short {
    /// Panics where the text is longer than any address.
    pub fn written(what: impl fmt::Display) -> Short {
        let mut octets = [0; SHORT_MAX];
        let mut room = &mut octets[..];
        write!(room, "{what}").expect("addresses and serials are shorter");
        let length = SHORT_MAX - room.len();
        Short { octets, length }
    }

    fn copied(what: &[u8]) -> Short {
        let mut octets = [0; SHORT_MAX];
        octets[..what.len()].copy_from_slice(what);
        Short { octets, length: what.len() }
    }

    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}
