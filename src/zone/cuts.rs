//! Delegations and DNAMEs: what lies below them is not answered, and the name servers behind them
//! need addresses (RFC 1034 section 4.2.1, RFC 6672 section 2.4).

use std::collections::HashMap;

use domain::base::iana::Rtype;

use super::diagnostic::{Diagnostics, Severity};
use super::document::{Document, Line};
use super::rules::{Key, NameHasher, is_within, name, place};
use crate::dns::name::wire_len;

/// Looks at the published records, `keys` in order of their owners.
pub(super) fn apply(document: &Document, keys: &[Key], hasher: &NameHasher, diagnostics: &mut Diagnostics) {
    let apex = hasher.hash(&document.origin().wire().to_ascii_lowercase());
    let mut below = HashMap::new();
    for key in keys {
        let rtype = Rtype::from_int(key.rtype);
        if rtype == Rtype::DNAME || (rtype == Rtype::NS && key.owner != apex) {
            // A name that has both: the DNAME forbids more.
            let cut = below.entry(key.owner).or_insert(Cut { rtype, entry: key.entry });
            if rtype == Rtype::DNAME {
                *cut = Cut { rtype, entry: key.entry };
            }
        }
    }
    let mut cuts = Cuts { document, keys, hasher, diagnostics, below };
    if !cuts.below.is_empty() {
        cuts.look_below();
    }
    cuts.look_for_addresses();
}

/// A name that the zone's answers end at.
#[derive(Clone, Copy)]
struct Cut {
    rtype: Rtype,
    entry: u32,
}

struct Cuts<'a> {
    document: &'a Document,
    keys: &'a [Key],
    hasher: &'a NameHasher,
    diagnostics: &'a mut Diagnostics,
    /// By the hash of the owner.
    below: HashMap<u64, Cut>,
}

impl Cuts<'_> {
    fn look_below(&mut self) {
        let document = self.document;
        let mut owner = Vec::new();
        for line in document.lines() {
            owner.clear();
            if line.is_withdrawn() || line.owner(&mut owner).is_err() {
                continue;
            }
            owner.make_ascii_lowercase();
            if let Some((cut, above)) = self.cut_of(&owner) {
                self.judge(line, &owner, cut, above);
            }
        }
    }

    /// The highest cut that a name (lower case) is at or below, and whether it is below.
    fn cut_of(&self, owner: &[u8]) -> Option<(Cut, bool)> {
        let mut at = 0;
        let mut found = None;
        while owner.len() - at >= self.document.origin().wire().len() {
            if let Some(&cut) = self.below.get(&self.hasher.hash(&owner[at..])) {
                found = Some((cut, at > 0));
            }
            match owner[at] {
                0 => break,
                label => at += 1 + usize::from(label),
            }
        }
        found
    }

    fn judge(&mut self, line: Line<'_>, owner: &[u8], cut: Cut, below: bool) {
        let rtype = line.entry.rtype();
        let of = self.owner_of(cut.entry);
        match (cut.rtype, below) {
            (Rtype::DNAME, true) if !matches!(rtype, Rtype::NSEC3 | Rtype::RRSIG) => {
                let message = format!("`{}` lies below the DNAME at `{of}`", name(owner));
                let hint = "a DNAME redirects all names below it; nsd refuses such a zone (RFC 6672 section 2.4)";
                self.note(Severity::Error, line, message, hint);
            }
            (Rtype::NS, _) if line.entry.is_tagged() => {
                let message = format!("failover record behind the delegation of `{of}`: it is at most glue");
                self.note(Severity::Warning, line, message, "the servers of the delegation answer for this name");
            }
            (Rtype::NS, _) if !is_seen(rtype, below) => {
                let message = format!("this {rtype} record is hidden behind the delegation of `{of}`");
                self.note(Severity::Warning, line, message, "the servers of the delegation answer for this name");
            }
            _ => {}
        }
    }

    /// Name servers inside the zone without an address, or that are aliases.
    fn look_for_addresses(&mut self) {
        let document = self.document;
        let (mut fields, mut target) = (Vec::new(), Vec::new());
        for key in self.keys.iter().filter(|key| key.rtype == Rtype::NS.to_int()) {
            let line = document.at(key.entry as usize);
            target.clear();
            if line.rdata(&mut fields, &mut target).is_err() || wire_len(&target).is_err() {
                continue;
            }
            target.make_ascii_lowercase();
            if !is_within(&target, document.origin()) || self.is_elsewhere(&target, key) {
                continue;
            }
            let hash = self.hasher.hash(&target);
            let host = name(&target);
            if self.has(hash, &[Rtype::CNAME]) {
                let message = format!("name server `{host}` is an alias");
                self.note(Severity::Warning, line, message, "name the host itself (RFC 2181 section 10.3)");
            } else if !self.has(hash, &[Rtype::A, Rtype::AAAA]) && !self.is_synthesised(&target) {
                let message = format!("name server `{host}` has no address in the zone");
                self.note(Severity::Warning, line, message, "add its A or AAAA record");
            }
        }
    }

    /// Whether a name lies behind another delegation than the one that names it.
    fn is_elsewhere(&self, target: &[u8], ns: &Key) -> bool {
        self.cut_of(target).is_some_and(|(cut, _)| self.key_of(cut.entry) != Some(ns.owner))
    }

    /// Whether a wildcard makes records of this name.
    fn is_synthesised(&self, target: &[u8]) -> bool {
        let mut at = 0;
        while target[at] != 0 {
            at += 1 + usize::from(target[at]);
            let wildcard = [b"\x01*", &target[at..]].concat();
            if self.has(self.hasher.hash(&wildcard), &[Rtype::A, Rtype::AAAA, Rtype::CNAME]) {
                return true;
            }
        }
        false
    }

    /// Whether an owner has records of one of these types. An owner may have very many of others.
    fn has(&self, owner: u64, types: &[Rtype]) -> bool {
        let found = |rtype: u16| {
            let from = self.keys.partition_point(|key| (key.owner, key.rtype) < (owner, rtype));
            self.keys.get(from).is_some_and(|key| (key.owner, key.rtype) == (owner, rtype))
        };
        types.iter().any(|rtype| found(rtype.to_int()))
    }

    fn key_of(&self, entry: u32) -> Option<u64> {
        let mut owner = Vec::new();
        self.document.at(entry as usize).owner(&mut owner).ok()?;
        owner.make_ascii_lowercase();
        Some(self.hasher.hash(&owner))
    }

    fn owner_of(&self, entry: u32) -> String {
        let mut owner = Vec::new();
        self.document.at(entry as usize).owner(&mut owner).map_or_else(|_| String::new(), |()| name(&owner))
    }

    fn note(&mut self, severity: Severity, line: Line<'_>, message: String, hint: &str) {
        let document = self.document;
        self.diagnostics.push(severity, || document.diagnostic(severity, place(line), message, hint));
    }
}

/// Whether a record at a delegation, or below it, is ever seen: what belongs to the parent's side,
/// and addresses as glue.
fn is_seen(rtype: Rtype, below: bool) -> bool {
    match rtype {
        Rtype::A | Rtype::AAAA => true,
        Rtype::NS | Rtype::DS | Rtype::NSEC | Rtype::RRSIG => !below,
        _ => false,
    }
}
