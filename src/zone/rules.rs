//! The rules that make a list of records a zone (RFC 1034 section 4.2, RFC 1035 section 5.2,
//! RFC 2181 sections 5 and 10). What nsd refuses is an error, what merely looks wrong a warning.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use domain::base::iana::Rtype;

use super::cuts;
use super::diagnostic::{Diagnostics, Severity};
use super::document::{Document, Line};
use super::may_join_cname;
use crate::dns::name::{Name, wire_len};
use crate::dns::rdata::{Field, canonical, example, quoted};

/// The SOA that was found at the apex.
pub(super) struct Soa {
    pub entry: usize,
    pub serial: u32,
}

/// Looks at every record by itself, then at those that share an owner.
pub(super) fn apply(document: &Document, diagnostics: &mut Diagnostics) -> Option<Soa> {
    let mut rules = Rules { document, diagnostics, soa: None, apex_ns: false };
    let hasher = NameHasher::default();
    let mut keys = rules.each_record(&hasher);
    keys.sort_unstable();
    for owner in keys.chunk_by(|a, b| a.owner == b.owner) {
        if owner.len() > 1 {
            rules.owner(owner);
        }
    }
    rules.apex();
    let soa = rules.soa;
    cuts::apply(document, &keys, &hasher, diagnostics);
    soa
}

/// Hashes names and RDATA with a random seed: the text may be an attacker's.
#[derive(Default)]
pub(super) struct NameHasher(foldhash::fast::RandomState);

impl NameHasher {
    /// `octets`: a name in lower case, or RDATA with its names in lower case.
    pub(super) fn hash(&self, octets: &[u8]) -> u64 {
        let mut state = self.0.build_hasher();
        state.write(octets);
        state.finish()
    }
}

/// A record, reduced to what tells RRsets and duplicates apart. Before an error is said, the real
/// names and RDATA are compared.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    pub owner: u64,
    pub rtype: u16,
    pub entry: u32,
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
    fn each_record(&mut self, hasher: &NameHasher) -> Vec<Key> {
        let document = self.document;
        let mut keys = Vec::with_capacity(document.entries.len());
        let mut fields = Vec::new();
        let (mut owner, mut rdata) = (Vec::new(), Vec::new());
        for (index, line) in document.lines().enumerate() {
            owner.clear();
            rdata.clear();
            let known = self.owner_is_in_zone(line, &mut owner);
            let valid = self.rdata_is_valid(line, &mut fields, &mut rdata);
            if !known || !valid || line.is_withdrawn() {
                continue;
            }
            self.note_apex(index, line, &owner, &rdata);
            owner.make_ascii_lowercase();
            let rtype = line.entry.rtype;
            keys.push(Key {
                owner: hasher.hash(&owner),
                rtype,
                rdata: hasher.hash(&canonical(line.entry.rtype(), &rdata)) as u32,
                entry: index as u32,
            });
        }
        keys
    }

    fn owner_is_in_zone(&mut self, line: Line<'a>, wire: &mut Vec<u8>) -> bool {
        let document = self.document;
        let entry = line.entry;
        let mut span = entry.owner_span();
        // An inherited owner is reported where it was written, once.
        let own = span.start >= entry.start as usize;
        if span.is_empty() {
            span = entry.span();
        }
        let message = match line.owner(wire) {
            Err(error) => format!("`{}` is no domain name: {error}", quoted(&line.bytes()[span.clone()])),
            Ok(()) if is_within(wire, document.origin()) => return true,
            Ok(()) => format!("`{}` lies outside the zone {}", name(wire), document.origin()),
        };
        if own {
            let hint = "a name without a final dot is completed with the origin";
            let place = (line.text, span);
            self.diagnostics.push(Severity::Error, || document.diagnostic(Severity::Error, place, message, hint));
        }
        false
    }

    fn rdata_is_valid(&mut self, line: Line<'a>, fields: &mut Vec<Field<'a>>, wire: &mut Vec<u8>) -> bool {
        let document = self.document;
        let Err(error) = line.rdata(fields, wire) else { return true };
        let end = line.entry.end as usize;
        let span = match fields.get(error.field) {
            Some(field) => field.at..field.at + field.text.len(),
            None => end..end,
        };
        let message = format!("bad {} record: {error}", line.entry.rtype());
        let place = (line.text, span);
        let hint = example(line.entry.rtype()).map_or_else(String::new, |example| format!("write it as `{example}`"));
        self.diagnostics.push(Severity::Error, || document.diagnostic(Severity::Error, place, message, hint));
        false
    }

    /// Remembers the apex's SOA and NS; any other SOA is an error.
    fn note_apex(&mut self, index: usize, line: Line<'a>, owner: &[u8], rdata: &[u8]) {
        let document = self.document;
        let apex = owner.eq_ignore_ascii_case(document.origin().wire());
        match line.entry.rtype() {
            Rtype::NS => self.apex_ns |= apex,
            Rtype::SOA if !apex => {
                let message = format!("SOA record below the apex, at `{}`", name(owner));
                self.error(line, message, "a zone has one SOA, at its origin");
            }
            Rtype::SOA => match &self.soa {
                Some(_) => self.error(line, "second SOA record", "a zone has exactly one; remove this or the first"),
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
            self.diagnostics.push(Severity::Error, || document.diagnostic(Severity::Error, (0, 0..0), message, hint));
        } else if !self.apex_ns && self.diagnostics.errors() == 0 {
            let message = format!("zone {} has no NS record at its apex", document.origin());
            let place = self.soa.as_ref().map_or((0, 0..0), |soa| place(document.at(soa.entry)));
            let hint = "nsd serves it, but resolvers and secondaries need one";
            self.diagnostics.push(Severity::Warning, || document.diagnostic(Severity::Warning, place, message, hint));
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
            let dname = rrset[0].rtype == Rtype::DNAME.to_int();
            if let Some(second) = rrset.iter().find(|key| dname && key.rdata != rrset[0].rdata) {
                let line = self.line(second);
                let message = format!("second DNAME at `{}`", self.owner_text(line));
                self.error(line, message, "a name is redirected to one other name (RFC 6672 section 2.4)");
            }
            self.rrset(rrset);
        }
    }

    fn cname_and_other(&mut self, cname: &Key, other: &Key) {
        let later = self.line(if cname.entry > other.entry { cname } else { other });
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
                self.warning(self.line(&pair[1]), "the same record again", "remove one of them");
            }
        }
        let ttl = self.line(first).entry.ttl();
        let differs = others.iter().find(|key| self.line(key).entry.ttl() != ttl);
        if let Some(key) = differs.filter(|key| key.rtype != Rtype::RRSIG.to_int() && self.same_owner(first, key)) {
            let (rtype, owner) = (Rtype::from_int(key.rtype), self.owner_text(self.line(key)));
            let message = format!("the {rtype} records of `{owner}` have different TTLs");
            self.warning(
                self.line(key),
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
            let line = self.line(key);
            let mut owner = Vec::new();
            let Some(tag) = line.owner(&mut owner).ok().and_then(|()| line.tag(&owner)) else { continue };
            if !seen.insert((tag.pool, tag.role)) {
                let message = format!("second failover record of `{}` for the {}", name(&owner), tag.role);
                self.warning(line, message, "both get the same address; tag one of them, or say role=standby");
            }
        }
    }

    fn line(&self, key: &Key) -> Line<'a> {
        self.document.at(key.entry as usize)
    }

    fn same_owner(&self, a: &Key, b: &Key) -> bool {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        let read = |key: &Key, wire| self.line(key).owner(wire).is_ok();
        read(a, &mut one) && read(b, &mut two) && one.eq_ignore_ascii_case(&two)
    }

    fn same_record(&self, a: &Key, b: &Key) -> bool {
        let records = self.line(a).record().zip(self.line(b).record());
        records.is_some_and(|(a, b)| a.owner == b.owner && canonical(a.rtype, &a.rdata) == canonical(b.rtype, &b.rdata))
    }

    fn owner_text(&self, line: Line<'_>) -> String {
        let mut wire = Vec::new();
        line.owner(&mut wire).map_or_else(|_| String::new(), |()| name(&wire))
    }

    fn error(&mut self, line: Line<'_>, message: impl Into<String>, hint: &str) {
        let document = self.document;
        self.diagnostics.push(Severity::Error, || document.diagnostic(Severity::Error, place(line), message, hint));
    }

    fn warning(&mut self, line: Line<'_>, message: impl Into<String>, hint: &str) {
        let document = self.document;
        self.diagnostics.push(Severity::Warning, || document.diagnostic(Severity::Warning, place(line), message, hint));
    }
}

/// The text and span of a record.
pub(super) fn place(line: Line<'_>) -> (usize, Range<usize>) {
    (line.text, line.entry.span())
}

/// Whether a name in wire form is `origin` or lies below it.
pub(super) fn is_within(wire: &[u8], origin: &Name) -> bool {
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

pub(super) fn name(wire: &[u8]) -> String {
    Name::from_wire(wire).map_or_else(|_| quoted(wire), |name| name.to_string())
}
