//! The rules that make a list of records a zone (RFC 1034 section 4.2, RFC 1035 section 5.2,
//! RFC 2181 sections 5 and 10). What nsd refuses is an error, what merely looks wrong a warning.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};

use domain::base::iana::Rtype;

use super::diagnostic::{Diagnostics, Severity};
use super::document::{Document, Entry};
use super::{is_published, may_join_cname};
use crate::dns::name::{Name, wire_len};
use crate::dns::rdata::{Field, quoted};

/// The SOA that was found at the apex.
pub(super) struct Soa {
    pub entry: usize,
    pub serial: u32,
}

/// Looks at every record by itself, then at those that share an owner.
pub(super) fn apply(document: &Document, diagnostics: &mut Diagnostics) -> Option<Soa> {
    let mut rules = Rules { document, diagnostics, soa: None, apex_ns: false };
    let mut keys = rules.each_record();
    keys.sort_unstable();
    for owner in keys.chunk_by(|a, b| a.owner == b.owner) {
        if owner.len() > 1 {
            rules.owner(owner);
        }
    }
    rules.apex();
    rules.soa
}

/// A record, reduced to what tells RRsets and duplicates apart. Names and RDATA are hashed with a
/// random seed; before anything is said, the real ones are compared.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    owner: u64,
    rtype: u16,
    entry: u32,
    rdata: u32,
}

struct Rules<'a> {
    document: &'a Document,
    diagnostics: &'a mut Diagnostics,
    soa: Option<Soa>,
    apex_ns: bool,
}

impl<'a> Rules<'a> {
    /// Owner and RDATA of each record; the keys of those that are published.
    fn each_record(&mut self) -> Vec<Key> {
        let document = self.document;
        let hasher = foldhash::fast::RandomState::default();
        let hash = |octets: &[u8]| {
            let mut state = hasher.build_hasher();
            state.write(octets);
            state.finish()
        };
        let mut keys = Vec::with_capacity(document.entries.len());
        let mut fields = Vec::new();
        let (mut owner, mut rdata) = (Vec::new(), Vec::new());
        for (index, entry) in document.entries.iter().enumerate() {
            owner.clear();
            rdata.clear();
            let known = self.owner_is_in_zone(entry, &mut owner);
            let valid = self.rdata_is_valid(entry, &mut fields, &mut rdata);
            if !known || !valid || !is_published(document, entry) {
                continue;
            }
            self.note_apex(index, entry, &owner, &rdata);
            owner.make_ascii_lowercase();
            keys.push(Key { owner: hash(&owner), rtype: entry.rtype, rdata: hash(&rdata) as u32, entry: index as u32 });
        }
        keys
    }

    fn owner_is_in_zone(&mut self, entry: &Entry, wire: &mut Vec<u8>) -> bool {
        let document = self.document;
        let mut span = document.owner_span(entry);
        // An inherited owner is reported where it was written, once.
        let own = span.start >= entry.start as usize;
        if span.is_empty() {
            span = entry.span();
        }
        let message = match document.owner(entry, wire) {
            Err(error) => format!("`{}` is no domain name: {error}", quoted(&document.bytes[span.clone()])),
            Ok(()) if is_within(wire, document.origin()) => return true,
            Ok(()) => format!("`{}` lies outside the zone {}", name(wire), document.origin()),
        };
        if own {
            let hint = "a name without a final dot is completed with the origin";
            self.diagnostics.push(Severity::Error, || document.diagnostic(Severity::Error, span, message, hint));
        }
        false
    }

    fn rdata_is_valid(&mut self, entry: &Entry, fields: &mut Vec<Field<'a>>, wire: &mut Vec<u8>) -> bool {
        let document = self.document;
        let Err(error) = document.rdata(entry, fields, wire) else { return true };
        let end = entry.end as usize;
        let span = match fields.get(error.field) {
            Some(field) => field.at..field.at + field.text.len(),
            None => end..end,
        };
        let message = format!("bad {} record: {error}", entry.rtype());
        self.diagnostics.push(Severity::Error, || document.diagnostic(Severity::Error, span, message, ""));
        false
    }

    /// Remembers the apex's SOA and NS; any other SOA is an error.
    fn note_apex(&mut self, index: usize, entry: &Entry, owner: &[u8], rdata: &[u8]) {
        let document = self.document;
        let apex = owner.eq_ignore_ascii_case(document.origin().wire());
        match entry.rtype() {
            Rtype::NS => self.apex_ns |= apex,
            Rtype::SOA if !apex => {
                let message = format!("SOA record below the apex, at `{}`", name(owner));
                self.error(entry, message, "a zone has one SOA, at its origin");
            }
            Rtype::SOA => match &self.soa {
                Some(_) => self.error(entry, "second SOA record", "a zone has exactly one; remove this or the first"),
                None => self.soa = serial(rdata).map(|serial| Soa { entry: index, serial }),
            },
            _ => {}
        }
    }

    fn apex(&mut self) {
        let document = self.document;
        if self.soa.is_none() && self.diagnostics.errors() == 0 {
            let message = format!("zone {} has no SOA record at its apex", document.origin());
            let hint = "is this the right file and origin?";
            self.diagnostics.push(Severity::Error, || document.diagnostic(Severity::Error, 0..0, message, hint));
        } else if !self.apex_ns && self.diagnostics.errors() == 0 {
            let message = format!("zone {} has no NS record at its apex", document.origin());
            let span = self.soa.as_ref().map_or(0..0, |soa| document.entries[soa.entry].span());
            let hint = "nsd serves it, but resolvers and secondaries need one";
            self.diagnostics.push(Severity::Warning, || document.diagnostic(Severity::Warning, span, message, hint));
        }
    }

    /// The records of one owner, sorted by type and place in the file.
    fn owner(&mut self, keys: &[Key]) {
        if let Some(cname) = keys.iter().find(|key| key.rtype == Rtype::CNAME.to_int()) {
            let other = keys.iter().find(|key| {
                let rtype = Rtype::from_int(key.rtype);
                !may_join_cname(rtype) || (rtype == Rtype::CNAME && key.rdata != cname.rdata)
            });
            if let Some(other) = other.filter(|other| self.same_owner(cname, other)) {
                self.cname_and_other(cname, other);
            }
        }
        for rrset in keys.chunk_by(|a, b| a.rtype == b.rtype) {
            self.rrset(rrset);
        }
    }

    fn cname_and_other(&mut self, cname: &Key, other: &Key) {
        let later = self.entry(if cname.entry > other.entry { cname } else { other });
        let owner = self.owner_text(later);
        let other = Rtype::from_int(other.rtype);
        let (message, hint) = match other {
            Rtype::CNAME => (format!("second CNAME at `{owner}`"), "a name is an alias of one other name"),
            _ => (
                format!("CNAME and {other} at `{owner}`"),
                "nothing else may stand beside a CNAME (RFC 1034 section 3.6.2)",
            ),
        };
        self.error(later, message, hint);
    }

    /// Records of one owner and type: duplicates, TTLs, failover records that follow the same role.
    fn rrset(&mut self, keys: &[Key]) {
        let Some((first, others)) = keys.split_first() else { return };
        if others.is_empty() {
            return;
        }
        let mut by_rdata = keys.to_vec();
        by_rdata.sort_unstable_by_key(|key| (key.rdata, key.entry));
        for pair in by_rdata.windows(2) {
            let soa = pair[0].rtype == Rtype::SOA.to_int();
            if !soa && pair[0].rdata == pair[1].rdata && self.same_record(&pair[0], &pair[1]) {
                self.warning(self.entry(&pair[1]), "the same record again", "remove one of them");
            }
        }
        let ttl = self.entry(first).ttl();
        let differs = others.iter().find(|key| self.entry(key).ttl() != ttl);
        if let Some(key) = differs.filter(|key| key.rtype != Rtype::RRSIG.to_int() && self.same_owner(first, key)) {
            let (rtype, owner) = (Rtype::from_int(key.rtype), self.owner_text(self.entry(key)));
            let message = format!("the {rtype} records of `{owner}` have different TTLs");
            self.warning(
                self.entry(key),
                message,
                "give them one; nsd from 4.10 on refuses this (RFC 2181 section 5.2)",
            );
        }
        self.failover(keys);
    }

    /// Two failover records of one RRset in the same slot: both would get the same address.
    fn failover(&mut self, keys: &[Key]) {
        let mut seen = BTreeSet::new();
        for key in keys {
            let entry = self.entry(key);
            let mut owner = Vec::new();
            let Some(tag) = self.document.owner(entry, &mut owner).ok().and_then(|()| self.document.tag(entry, &owner))
            else {
                continue;
            };
            if !seen.insert((tag.pool, tag.role)) {
                let message = format!("second failover record of `{}` for the {}", name(&owner), tag.role);
                self.warning(entry, message, "both get the same address; tag one of them, or say role=standby");
            }
        }
    }

    fn entry(&self, key: &Key) -> &'a Entry {
        &self.document.entries[key.entry as usize]
    }

    fn same_owner(&self, a: &Key, b: &Key) -> bool {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        let read = |key: &Key, wire| self.document.owner(self.entry(key), wire).is_ok();
        read(a, &mut one) && read(b, &mut two) && one.eq_ignore_ascii_case(&two)
    }

    fn same_record(&self, a: &Key, b: &Key) -> bool {
        let rdata = |key: &Key| self.document.record(self.entry(key)).map(|record| record.rdata);
        self.same_owner(a, b) && rdata(a) == rdata(b)
    }

    fn owner_text(&self, entry: &Entry) -> String {
        let mut wire = Vec::new();
        self.document.owner(entry, &mut wire).map_or_else(|_| String::new(), |()| name(&wire))
    }

    fn error(&mut self, entry: &Entry, message: impl Into<String>, hint: &str) {
        let document = self.document;
        self.diagnostics.push(Severity::Error, || document.diagnostic(Severity::Error, entry.span(), message, hint));
    }

    fn warning(&mut self, entry: &Entry, message: impl Into<String>, hint: &str) {
        let document = self.document;
        self.diagnostics
            .push(Severity::Warning, || document.diagnostic(Severity::Warning, entry.span(), message, hint));
    }
}

/// Whether a name in wire form is `origin` or lies below it.
fn is_within(wire: &[u8], origin: &Name) -> bool {
    let origin = origin.wire();
    let Some(start) = wire.len().checked_sub(origin.len()) else { return false };
    if !wire[start..].eq_ignore_ascii_case(origin) {
        return false;
    }
    let mut at = 0;
    while at < start {
        at += 1 + usize::from(wire[at]);
    }
    at == start
}

/// The serial in the RDATA of a SOA.
fn serial(rdata: &[u8]) -> Option<u32> {
    let mname = wire_len(rdata).ok()?;
    let rname = wire_len(&rdata[mname..]).ok()?;
    let octets = rdata.get(mname + rname..mname + rname + 4)?;
    octets.try_into().ok().map(u32::from_be_bytes)
}

fn name(wire: &[u8]) -> String {
    Name::from_wire(wire).map_or_else(|_| quoted(wire), |name| name.to_string())
}
