//! The algorithm of RFC 1034 section 4.3.2 over one compiled zone:
//!
//! ```text
//! name -> node, or closest encloser
//!    in the shadow of a cut ........ referral
//!    below a DNAME ................. DNAME, synthesised CNAME, again with the new name
//!    no node, no wildcard .......... NXDOMAIN
//!    RRset of the type ............. answer (withdrawn: NODATA)
//!    CNAME ......................... CNAME, again with its target
//!    neither ....................... NODATA
//! ```
//!
//! In an overlay only what ends at a failover RRset is ours, unless nsd is not there. In a signed zone each RRset takes its
//! signatures along if DO is set, and what is not there is proven not to be (`proof.rs`).

use domain::base::iana::{Class, OptRcode, Rtype};

use crate::dns::message::{Query, flags};
use crate::dns::name::NAME_MAX;

use super::Table;
use super::blob::{Link, RDATA_AT, relative_to};
use super::choice::WITHDRAWN;
use super::proof::Proofs;
use super::reply::{Names, POINTER_MAX, QUESTION_AT, Reply, Section};
use super::respond::{Kind, Limits, Subject};
use super::tree::{APEX, NO_NODE, Node, NodeId};
use super::zone_table::{Mode, SOA_NUMBERS_LEN, Set, ZoneTable};

/// Most CNAMEs and DNAMEs in one answer.
const CHAIN_MAX: usize = 16;
/// Most names of one RRset whose addresses are added to a referral, and to any other answer.
const GLUE_NAMES_MAX: usize = 32;
const ADDITIONAL_NAMES_MAX: usize = 16;

/// Answers from one zone of the table as if it were of this mode; returns the length, and what it is
/// about. `None`: it is an overlay and the question is nsd's.
pub(super) fn answer(
    table: &Table,
    (zone, mode): (usize, Mode),
    query: &Query<'_>,
    name: &mut LowerName,
    limits: &Limits,
    reply: &mut Reply<'_>,
) -> Option<(usize, Subject)> {
    let serial = table.serials[zone];
    let zone = &*table.catalog.zones[zone];
    if query.question.qclass == Class::IN {
        reply.flags |= flags::AA;
    }
    let apex_at = QUESTION_AT + name.wire().len() - zone.origin.wire().len();
    let mut walk = Walk {
        table,
        zone,
        mode,
        serial,
        qtype: query.question.qtype,
        reply,
        apex_at,
        name,
        owner_at: QUESTION_AT,
        seen: [NO_NODE; CHAIN_MAX],
        steps: 0,
        subject: Subject::QUESTION,
        expanded: None,
        proofs: Proofs::default(),
    };
    let rcode = loop {
        match walk.step() {
            Step::Done(rcode) => break rcode,
            Step::Again => walk.steps += 1,
            Step::NotOurs => return None,
        }
    };
    if !walk.put_proofs() {
        walk.reply.flags |= flags::TC;
    }
    Some((walk.reply.finish(rcode, limits.payload_max), walk.subject))
}

/// Where in a reply to this query the name stands that answers for the one in question, if that one is not
/// there itself: the closest encloser, which has the wildcard or the DNAME. `None`: it is there, or in no zone.
pub(super) fn encloser_at(table: &Table, query: &Query<'_>) -> Option<usize> {
    let name = LowerName::new(query.question.name);
    let zone = table.catalog.find(name.wire(), name.labels(), query.question.qtype == Rtype::DS)?;
    let zone = &*table.catalog.zones[zone];
    let relative = &name.wire()[..name.wire().len() - zone.origin.wire().len()];
    let place = zone.tree.locate(relative, name.labels() - zone.origin_labels);
    (!place.exact).then(|| QUESTION_AT + relative.len() - zone.tree.node(place.node).name_len())
}

/// What is large is the caller's: to move it would cost as much as to use it.
pub(super) struct Walk<'t, 'r, 'o> {
    table: &'t Table,
    pub(super) zone: &'t ZoneTable,
    mode: Mode,
    serial: u32,
    qtype: Rtype,
    pub(super) reply: &'r mut Reply<'o>,
    /// Where the apex's name stands in the reply: it is the end of the question's.
    pub(super) apex_at: usize,
    /// The name that is looked for now, always one of this zone.
    pub(super) name: &'r mut LowerName,
    /// Where that name stands in the reply, written out in front of the apex; see `is_nameable`.
    owner_at: usize,
    /// The nodes whose CNAME or DNAME was followed, and how many.
    seen: [NodeId; CHAIN_MAX],
    steps: usize,
    /// What the first step was about.
    subject: Subject,
    /// The closest encloser, if this step answers from a wildcard.
    expanded: Option<NodeId>,
    /// What the authority section has to prove in the end.
    pub(super) proofs: Proofs,
}

/// What one step came to.
enum Step {
    Done(OptRcode),
    /// Go on with the new name.
    Again,
    /// An overlay knows nothing about it.
    NotOurs,
}

impl<'t> Walk<'t, '_, '_> {
    /// Looks for one name.
    fn step(&mut self) -> Step {
        let tree = &self.zone.tree;
        let relative = &self.name.wire()[..self.relative_len()];
        let place = tree.locate(relative, self.name.labels() - self.zone.origin_labels);
        let node = tree.node(place.node);
        if node.shadow != NO_NODE {
            // Of what stands at a cut, the DS RRset alone belongs to this side (RFC 4035 section 3.1.4.1).
            let this_side = place.exact && node.shadow == place.node && self.qtype == Rtype::DS;
            if !this_side {
                return self.shadowed(node.shadow);
            }
        }
        if !place.exact && node.has_dname {
            return self.dname(place.node);
        }
        let source = if place.exact { place.node } else { node.wildcard };
        if source == NO_NODE {
            self.about(Kind::Nxdomain, self.apex_at);
            self.prove_no_name(place.node);
            return self.fixed(|walk| walk.negative(OptRcode::NXDOMAIN, u32::MAX));
        }
        self.expanded = (!place.exact).then_some(place.node);
        if !place.exact {
            self.about(Kind::Wildcard, self.ancestor_at(node));
        }
        self.at_node(source)
    }

    /// The first step says what the answer is about.
    fn about(&mut self, kind: Kind, name_at: usize) {
        if self.steps == 0 {
            self.subject = Subject { kind, name_at };
        }
    }

    /// Answers from the RRsets of a node: that of the name itself, or the wildcard (RFC 4592) for it.
    fn at_node(&mut self, id: NodeId) -> Step {
        let (zone, node) = (self.zone, self.zone.tree.node(id));
        match self.qtype {
            Rtype::ANY => return self.any(id),
            Rtype::RRSIG if zone.is_signed_at(node) => return self.fixed(|walk| walk.signatures(id)),
            _ => {}
        }
        if let Some(set) = zone.set(node, self.qtype) {
            return self.positive(id, set);
        }
        match zone.set(node, Rtype::CNAME) {
            Some(set) => self.cname(id, set),
            None => self.fixed(|walk| walk.nodata(id)),
        }
    }

    fn nodata(&mut self, id: NodeId) -> Step {
        if self.expanded.is_none() {
            self.about(Kind::Nodata, QUESTION_AT);
        }
        self.prove_no_type(id, self.expanded);
        self.negative(OptRcode::NOERROR, u32::MAX)
    }

    /// All signatures of a node: they are kept with what they sign.
    fn signatures(&mut self, id: NodeId) -> Step {
        let (zone, node) = (self.zone, self.zone.tree.node(id));
        for set in zone.sets(node) {
            let Some(signatures) = zone.signatures(node, Rtype::from_int(set.rtype)) else { continue };
            let rrset = zone.blobs.rrset(signatures);
            if self.reply.rrset(Section::Answer, rrset, self.names(self.owner_at), u32::MAX).is_none() {
                return self.truncated(OptRcode::NOERROR);
            }
        }
        self.expansion_done()
    }

    /// One RRset stands for all of them (RFC 8482 section 4.1).
    fn any(&mut self, id: NodeId) -> Step {
        for set in self.zone.sets(self.zone.tree.node(id)) {
            let (outcome, failover) = self.zone.outcome(*set, &self.table.picks);
            let ours = failover || self.mode == Mode::Whole;
            if ours && outcome.blob != WITHDRAWN {
                return self.positive(id, *set);
            }
        }
        self.fixed(|walk| walk.nodata(id))
    }

    fn positive(&mut self, id: NodeId, set: Set) -> Step {
        let (outcome, failover) = self.zone.outcome(set, &self.table.picks);
        if !failover && self.mode == Mode::Overlay {
            return Step::NotOurs;
        }
        if outcome.blob == WITHDRAWN {
            self.about(Kind::Nodata, QUESTION_AT);
            return self.negative(OptRcode::NOERROR, outcome.ttl_max_s);
        }
        let rrset = self.zone.blobs.rrset(outcome.blob);
        let Some(start) = self.reply.rrset(Section::Answer, rrset, self.names(self.owner_at), outcome.ttl_max_s) else {
            return self.truncated(OptRcode::NOERROR);
        };
        if set.rtype == Rtype::SOA.to_int() {
            self.put_serial();
        }
        if self.table.policy.rotate_addresses && [Rtype::A.to_int(), Rtype::AAAA.to_int()].contains(&set.rtype) {
            self.reply.rotate(start, usize::from(rrset.records));
        }
        if !self.sign(Section::Answer, id, Rtype::from_int(set.rtype), self.owner_at, u32::MAX) {
            return self.truncated(OptRcode::NOERROR);
        }
        let done = self.expansion_done();
        if !rrset.links.is_empty() {
            if !self.put_proofs() {
                return self.truncated(OptRcode::NOERROR);
            }
            self.addresses(start, rrset.links, ADDITIONAL_NAMES_MAX, None);
        }
        done
    }

    /// An answer from a wildcard shows that nothing closer is there (RFC 4035 section 3.1.3.3).
    fn expansion_done(&mut self) -> Step {
        if let Some(encloser) = self.expanded {
            self.prove_expansion(encloser);
        }
        Step::Done(OptRcode::NOERROR)
    }

    /// Adds the signatures over a set of a node, if there are any and they are wanted. False: they
    /// do not fit.
    fn sign(&mut self, section: Section, id: NodeId, rtype: Rtype, owner_at: usize, ttl_max_s: u32) -> bool {
        if self.zone.signed.is_none() || !self.reply.dnssec_ok() {
            return true;
        }
        let Some(blob) = self.zone.signatures(self.zone.tree.node(id), rtype) else { return true };
        let rrset = self.zone.blobs.rrset(blob);
        self.reply.rrset(section, rrset, self.names(owner_at), ttl_max_s).is_some()
    }

    /// NXDOMAIN or NODATA: with the SOA, its TTL lowered (RFC 2308 section 3).
    fn negative(&mut self, rcode: OptRcode, ttl_max_s: u32) -> Step {
        let soa = &self.zone.soa;
        let (rrset, names) = (self.zone.blobs.rrset(soa.blob), self.names(self.apex_at));
        let ttl_max_s = ttl_max_s.min(soa.minimum_s);
        if self.reply.rrset(Section::Authority, rrset, names, ttl_max_s).is_none() {
            return self.truncated(rcode);
        }
        self.put_serial();
        if !self.sign(Section::Authority, APEX, Rtype::SOA, self.apex_at, ttl_max_s) || !self.put_proofs() {
            return self.truncated(rcode);
        }
        Step::Done(rcode)
    }

    /// The serial of the SOA record just written is that of the decision.
    fn put_serial(&mut self) {
        self.reply.patch(self.reply.at() - SOA_NUMBERS_LEN, &self.serial.to_be_bytes());
    }

    fn shadowed(&mut self, by: NodeId) -> Step {
        if self.zone.tree.node(by).is_cut { self.fixed(|walk| walk.referral(by)) } else { self.dname(by) }
    }

    /// Not our authority: the NS RRset of the cut, and glue (RFC 1034 section 4.3.2 step 3b).
    fn referral(&mut self, cut: NodeId) -> Step {
        // AA speaks of the first owner in the answer: after a CNAME that is ours.
        if self.steps == 0 {
            self.reply.flags &= !flags::AA;
        }
        let (zone, node) = (self.zone, self.zone.tree.node(cut));
        let set = zone.set(node, Rtype::NS).expect("a cut is a node with NS");
        let (outcome, _) = zone.outcome(set, &self.table.picks);
        let rrset = zone.blobs.rrset(outcome.blob);
        let names = self.names(self.ancestor_at(node));
        self.about(Kind::Referral, names.owner_at);
        let Some(start) = self.reply.rrset(Section::Authority, rrset, names, u32::MAX) else {
            return self.truncated(OptRcode::NOERROR);
        };
        if !self.delegation_signer(cut, names) {
            return self.truncated(OptRcode::NOERROR);
        }
        self.addresses(start, rrset.links, GLUE_NAMES_MAX, Some(cut));
        Step::Done(OptRcode::NOERROR)
    }

    /// RFC 4035 section 3.1.4: the DS RRset of the cut, or the proof that it has none. False: it does
    /// not fit.
    fn delegation_signer(&mut self, cut: NodeId, names: Names) -> bool {
        let (zone, node) = (self.zone, self.zone.tree.node(cut));
        if zone.signed.is_none() || !self.reply.dnssec_ok() {
            return true;
        }
        let Some(set) = zone.set(node, Rtype::DS) else {
            self.prove_no_type(cut, None);
            return self.put_proofs();
        };
        let (outcome, _) = zone.outcome(set, &self.table.picks);
        let rrset = zone.blobs.rrset(outcome.blob);
        self.reply.rrset(Section::Authority, rrset, names, u32::MAX).is_some()
            && self.sign(Section::Authority, cut, Rtype::DS, names.owner_at, u32::MAX)
            && self.put_proofs()
    }

    /// Adds the addresses of names in the RRset at `start`. In a referral, glue below the cut that
    /// does not fit truncates (RFC 9471 section 3.1); anything else is left out silently.
    fn addresses(&mut self, start: usize, links: &[Link], names_max: usize, cut: Option<NodeId>) {
        for (at, link) in links.iter().enumerate().take(names_max) {
            let node = self.zone.tree.node(link.node);
            let authoritative = node.shadow == NO_NODE;
            let repeated = links[..at].iter().any(|earlier| earlier.node == link.node);
            if repeated || (cut.is_none() && !authoritative) {
                continue;
            }
            let owner_at = if link.name_at == 0 { self.apex_at } else { start + usize::from(link.name_at) };
            if owner_at > POINTER_MAX {
                return;
            }
            for rtype in [Rtype::A, Rtype::AAAA] {
                let Some(set) = self.zone.set(node, rtype) else { continue };
                let (outcome, _) = self.zone.outcome(set, &self.table.picks);
                if outcome.blob == WITHDRAWN {
                    continue;
                }
                let rrset = self.zone.blobs.rrset(outcome.blob);
                let added = self.reply.rrset(Section::Additional, rrset, self.names(owner_at), outcome.ttl_max_s);
                if added.is_some() && authoritative {
                    // What does not fit is left out, as the addresses are.
                    self.sign(Section::Additional, link.node, rtype, owner_at, u32::MAX);
                }
                if added.is_none() && cut.is_some() && cut == Some(node.shadow) {
                    self.reply.flags |= flags::TC;
                }
            }
        }
    }

    fn cname(&mut self, id: NodeId, set: Set) -> Step {
        if self.seen[..self.steps].contains(&id) || self.steps == CHAIN_MAX {
            return self.fixed(|_| Step::Done(OptRcode::NOERROR));
        }
        self.seen[self.steps] = id;
        let (outcome, _) = self.zone.outcome(set, &self.table.picks);
        let rrset = self.zone.blobs.rrset(outcome.blob);
        let Some(start) = self.reply.rrset(Section::Answer, rrset, self.names(self.owner_at), u32::MAX) else {
            return self.fixed(|walk| walk.truncated(OptRcode::NOERROR));
        };
        if !self.sign(Section::Answer, id, Rtype::CNAME, self.owner_at, u32::MAX) {
            return self.fixed(|walk| walk.truncated(OptRcode::NOERROR));
        }
        self.expansion_done();
        let target = &rrset.bytes[RDATA_AT..];
        let in_zone = match rrset.apex_pointers.first() {
            Some(pointer_at) => {
                let relative = &target[..usize::from(*pointer_at) - RDATA_AT];
                self.owner_at = if relative.is_empty() { self.apex_at } else { start + RDATA_AT };
                self.name.set(&[relative, self.zone.origin.wire()])
            }
            // Below the root nothing is compressed.
            None => {
                self.owner_at = start + RDATA_AT;
                relative_to(target, self.zone.origin.wire()).is_some() && self.name.set(&[target])
            }
        };
        if in_zone && self.is_nameable() { Step::Again } else { self.fixed(|_| Step::Done(OptRcode::NOERROR)) }
    }

    /// RFC 6672 section 3.2: the DNAME, and a CNAME made from it for the name in question.
    fn dname(&mut self, id: NodeId) -> Step {
        if self.mode == Mode::Overlay {
            return Step::NotOurs;
        }
        if self.steps == CHAIN_MAX {
            return Step::Done(OptRcode::NOERROR);
        }
        let (zone, node) = (self.zone, self.zone.tree.node(id));
        let set = zone.set(node, Rtype::DNAME).expect("the node has one");
        let (outcome, _) = zone.outcome(set, &self.table.picks);
        let rrset = zone.blobs.rrset(outcome.blob);
        let names = self.names(self.ancestor_at(node));
        self.about(Kind::Wildcard, names.owner_at);
        // Each RRset once, however often the chain comes by.
        if !self.seen[..self.steps].contains(&id) {
            let fits = self.reply.rrset(Section::Answer, rrset, names, u32::MAX).is_some()
                && self.sign(Section::Answer, id, Rtype::DNAME, names.owner_at, u32::MAX);
            if !fits {
                return self.truncated(OptRcode::NOERROR);
            }
        }
        self.seen[self.steps] = id;
        let prefix_len = self.relative_len() - node.name_len();
        let mut made = [0; NAME_MAX];
        let target = &rrset.bytes[RDATA_AT..];
        let Some(name) = made.get_mut(..prefix_len + target.len()) else {
            return Step::Done(OptRcode::YXDOMAIN);
        };
        let (prefix, rest) = name.split_at_mut(prefix_len);
        // As it stands in the reply: in the case of the question.
        prefix.copy_from_slice(self.reply.octets(self.owner_at, prefix_len));
        rest.copy_from_slice(target);
        let start = self.reply.at();
        if !self.reply.record(Section::Answer, self.owner_at, (Rtype::CNAME, Class::IN), rrset.ttl_s, name) {
            return self.truncated(OptRcode::NOERROR);
        }
        self.owner_at = start + RDATA_AT;
        let in_zone = relative_to(name, zone.origin.wire()).is_some() && self.name.set(&[name]);
        if in_zone && self.is_nameable() && self.qtype != Rtype::CNAME {
            Step::Again
        } else {
            Step::Done(OptRcode::NOERROR)
        }
    }

    /// Pointers reach the current name and those above it. Long signatures can push it out of reach:
    /// then the chain ends, and the client asks for the rest of it.
    fn is_nameable(&self) -> bool {
        self.owner_at + NAME_MAX <= POINTER_MAX
    }

    /// An end that no decision can move: in an overlay it is nsd's.
    fn fixed(&mut self, end: impl FnOnce(&mut Self) -> Step) -> Step {
        match self.mode {
            Mode::Overlay => Step::NotOurs,
            Mode::Whole => end(self),
        }
    }

    fn truncated(&mut self, rcode: OptRcode) -> Step {
        self.reply.flags |= flags::TC;
        Step::Done(rcode)
    }

    fn names(&self, owner_at: usize) -> Names {
        Names { owner_at, apex_at: self.apex_at }
    }

    /// Length of the current name without the apex.
    pub(super) fn relative_len(&self) -> usize {
        self.name.wire().len() - self.zone.origin.wire().len()
    }

    /// Where an ancestor of the current name stands in the reply.
    fn ancestor_at(&self, ancestor: &Node) -> usize {
        match ancestor.name_len() {
            0 => self.apex_at,
            len => self.owner_at + self.relative_len() - len,
        }
    }
}

/// A name in lower case, with its labels counted.
#[derive(Clone, Copy)]
pub(super) struct LowerName {
    octets: [u8; NAME_MAX],
    len: u8,
    labels: u8,
}

impl LowerName {
    /// `wire` must be a name.
    pub fn new(wire: &[u8]) -> LowerName {
        let mut name = LowerName { octets: [0; NAME_MAX], len: 0, labels: 0 };
        name.set(&[wire]);
        name
    }

    /// The name that `parts` make up together. `None`: it would be too long.
    pub fn of(parts: &[&[u8]]) -> Option<LowerName> {
        let mut name = LowerName { octets: [0; NAME_MAX], len: 0, labels: 0 };
        name.set(parts).then_some(name)
    }

    /// Becomes the name that `parts` make up together. False: that would be too long.
    fn set(&mut self, parts: &[&[u8]]) -> bool {
        let len = parts.iter().map(|part| part.len()).sum();
        let Some(octets) = self.octets.get_mut(..len) else { return false };
        let mut rest = &mut *octets;
        for part in parts {
            let (into, behind) = rest.split_at_mut(part.len());
            into.copy_from_slice(part);
            rest = behind;
        }
        // Lengths of labels are below the letters and stay as they are.
        octets.make_ascii_lowercase();
        self.len = len as u8;
        let mut at = 0;
        self.labels = 0;
        while octets[at] != 0 {
            at += 1 + usize::from(octets[at]);
            self.labels += 1;
        }
        true
    }

    pub fn wire(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }

    /// How many, the root label not counted.
    pub fn labels(&self) -> usize {
        usize::from(self.labels)
    }
}
