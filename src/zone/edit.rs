//! Edits of a zone's text by span: an address, the serial, a failover record's line out and in
//! again. Nothing else changes, not a blank. What comes out is parsed again and compared, record by
//! record, with what was intended.

use std::net::IpAddr;
use std::ops::Range;

use domain::base::iana::Rtype;

use super::document::{Document, Entry, WITHDRAWN};
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

/// The text of the zone with these edits made. Each record and part of it is edited at most once.
pub fn apply(zone: &Zone, edits: &[Edit]) -> Result<Vec<u8>, EditError> {
    let mut splices = edits.iter().map(|edit| splice(zone, edit)).collect::<Result<Vec<Splice>, EditError>>()?;
    splices.sort_by_key(|splice| (splice.span.start, splice.span.end));
    let bytes = zone.document().to_bytes();
    let mut out = Vec::with_capacity(bytes.len() + splices.len() * 8);
    let mut at = 0;
    for Splice { span, text } in &splices {
        if span.start < at {
            return Err(EditError::Twice { line: line(bytes, span.start) });
        }
        out.extend_from_slice(&bytes[at..span.start]);
        out.extend_from_slice(text);
        at = span.end;
    }
    out.extend_from_slice(&bytes[at..]);
    verify(zone, edits, &out)?;
    Ok(out)
}

/// The octets of a span, and those that take their place.
struct Splice {
    span: Range<usize>,
    text: Vec<u8>,
}

fn splice(zone: &Zone, edit: &Edit) -> Result<Splice, EditError> {
    let document = zone.document();
    match *edit {
        Edit::Address { entry, address } => {
            let found = entry_of(document, entry)?;
            let fits = match address {
                IpAddr::V4(_) => found.rtype() == Rtype::A,
                IpAddr::V6(_) => found.rtype() == Rtype::AAAA,
            };
            if !fits {
                return Err(EditError::Family { line: line(&document.bytes, found.start as usize), address });
            }
            Ok(Splice { span: field_span(document, found, 0)?, text: address.to_string().into_bytes() })
        }
        Edit::Serial(serial) => {
            let soa = entry_of(document, zone.soa_entry())?;
            Ok(Splice { span: field_span(document, soa, 2)?, text: serial.to_string().into_bytes() })
        }
        Edit::Withdraw { entry } => {
            let found = entry_of(document, entry)?;
            let line = line(&document.bytes, found.start as usize);
            if !found.is_tagged() || document.is_withdrawn(found) {
                return Err(EditError::NotPublished { line });
            }
            if document.bytes[found.span()].contains(&b'\n') {
                return Err(EditError::SpansLines { line });
            }
            let start = found.start as usize;
            Ok(Splice { span: start..start, text: WITHDRAWN.to_vec() })
        }
        Edit::Restore { entry } => {
            let found = entry_of(document, entry)?;
            let start = found.start as usize;
            if !document.is_withdrawn(found) {
                return Err(EditError::NotWithdrawn { line: line(&document.bytes, start) });
            }
            Ok(Splice { span: start - WITHDRAWN.len()..start, text: Vec::new() })
        }
    }
}

fn entry_of(document: &Document, entry: usize) -> Result<&Entry, EditError> {
    document.entries.get(entry).ok_or(EditError::NoEntry)
}

/// Where a field of the RDATA lies; RFC 3597 RDATA has no fields to edit.
fn field_span(document: &Document, entry: &Entry, index: usize) -> Result<Range<usize>, EditError> {
    let mut fields = Vec::new();
    document.rdata_fields(entry, &mut fields);
    let generic = fields.first().is_some_and(|first| !first.quoted && first.text == br"\#");
    match fields.get(index) {
        Some(field) if !generic => Ok(field.at..field.at + field.text.len()),
        _ => Err(EditError::Generic { line: line(&document.bytes, entry.start as usize) }),
    }
}

/// Parses what was written and compares it with the records as they were, the edits applied to them.
fn verify(zone: &Zone, edits: &[Edit], out: &[u8]) -> Result<(), EditError> {
    let written = Document::parse(zone.file(), zone.origin(), out.to_vec());
    if let Some(error) = written.diagnostics().iter().find(|diagnostic| diagnostic.is_error()) {
        return Err(EditError::Unreadable(error.to_string()));
    }
    let mut by_entry: Vec<(usize, Edit)> = edits
        .iter()
        .map(|edit| match *edit {
            Edit::Address { entry, .. } | Edit::Withdraw { entry } | Edit::Restore { entry } => (entry, *edit),
            Edit::Serial(_) => (zone.soa_entry(), *edit),
        })
        .collect();
    by_entry.sort_by_key(|(entry, _)| *entry);
    let mut todo = by_entry.iter().peekable();
    for before in zone.records() {
        let entry = before.entry;
        let mut intended = before;
        while let Some((_, edit)) = todo.next_if(|(of, _)| *of == entry) {
            intend(&mut intended, edit);
        }
        let found = written.entries.get(entry);
        if found.and_then(|found| reread(&written, found, entry)).as_ref() != Some(&intended) {
            let start = zone.document().entries[entry].start as usize;
            return Err(EditError::Changed {
                line: line(zone.document().to_bytes(), start),
                owner: intended.record.owner.to_string(),
                rtype: intended.record.rtype,
            });
        }
    }
    if written.entries.len() == zone.document().entries.len() {
        Ok(())
    } else {
        Err(EditError::Unreadable("the number of records changed".to_owned()))
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

fn reread(document: &Document, entry: &Entry, index: usize) -> Option<ZoneRecord> {
    let record = document.record(entry)?;
    let tag = document.tag(entry, record.owner.wire());
    Some(ZoneRecord { record, tag, withdrawn: document.is_withdrawn(entry), entry: index })
}

fn line(bytes: &[u8], at: usize) -> usize {
    1 + bytes[..at.min(bytes.len())].iter().filter(|&&octet| octet == b'\n').count()
}

/// Why an edit was not made. The text is as it was.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EditError {
    #[error("there is no such record")]
    NoEntry,
    #[error("line {line}: {address} is of the other address family")]
    Family { line: usize, address: IpAddr },
    #[error("line {line}: RFC 3597 RDATA (`\\#`) is not edited; write the record in its own format")]
    Generic { line: usize },
    #[error("line {line}: only a published failover record can be withdrawn")]
    NotPublished { line: usize },
    #[error("line {line}: a record that spans lines cannot be withdrawn; write it on one line")]
    SpansLines { line: usize },
    #[error("line {line}: the record is not withdrawn")]
    NotWithdrawn { line: usize },
    #[error("line {line}: edited twice")]
    Twice { line: usize },
    #[error(
        "line {line}: the {rtype} record of {owner} would change with the edit; if the line before it is to be withdrawn, write owner and TTL on this line too"
    )]
    Changed { line: usize, owner: String, rtype: Rtype },
    #[error("the edited text is not a zone: {0}")]
    Unreadable(String),
}
