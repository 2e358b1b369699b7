//! Records to a [`ZoneTable`]: collect, group by name and type, check, put into wire form.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::base::iana::Rtype;
use hashbrown::{HashMap, HashSet};

use crate::dns::name::Name;
use crate::dns::rdata::canonical;
use crate::dns::record::{Record, RecordRef};
use crate::failover::pool::{Node, Pool, Slot};
use crate::health::family::Family;

use super::blob::{self, BlobId, RRSET_MAX};
use super::choice::{Choice, OUTCOMES_MAX, WITHDRAWN};
use super::collect::{Collected, Raw, RawNsec3, family};
use super::denial::{Denial, ITERATIONS_MAX, Owner};
use super::tree::{APEX, NodeId, Tree};
use super::zone_table::{Mode, NO_BLOB, SOA_NUMBERS_LEN, Set, Signed, Soa, ZoneTable};

impl ZoneTable {
    /// Compiles a zone from its records, each with the slot that it follows if it is a failover
    /// record. A failover record's own address does not matter: `pools` has those of the nodes.
    pub fn compile(
        origin: &Name,
        records: impl Iterator<Item = (Record, Option<Slot>)>,
        pools: &[Pool],
        mode: Mode,
    ) -> Result<ZoneTable, CompileError> {
        let mut compiler = Compiler::new(origin, pools, mode);
        for (record, slot) in records {
            compiler.add(record.as_ref(), slot)?;
        }
        compiler.finish()
    }
}

/// Takes the records of a zone one at a time, for zones with very many.
pub struct Compiler<'a> {
    /// In lower case.
    origin: Name,
    pools: &'a [Pool],
    mode: Mode,
    collected: Collected,
}

impl<'a> Compiler<'a> {
    /// See [`ZoneTable::compile`].
    pub fn new(origin: &Name, pools: &'a [Pool], mode: Mode) -> Compiler<'a> {
        Compiler { origin: origin.to_lowercase(), pools, mode, collected: Collected::new() }
    }

    pub fn add(&mut self, record: RecordRef<'_>, slot: Option<Slot>) -> Result<(), CompileError> {
        self.collected.take(&self.origin, record, slot, self.pools)
    }

    pub fn finish(self) -> Result<ZoneTable, CompileError> {
        let Compiler { origin, pools, mode, collected } = self;
        let Collected { mut tree, mut raws, rdata, nsec3, is_signed, .. } = collected;
        // The order of the records of one RRset stays that of the file.
        raws.sort_by_key(Raw::key);
        let groups = || raws.chunk_by(|a, b| a.key() == b.key());
        for group in groups() {
            let node = tree.node_mut(group[0].node);
            match Rtype::from_int(group[0].rtype) {
                Rtype::NS => node.is_cut = group[0].node != APEX,
                Rtype::DNAME => node.has_dname = true,
                _ => {}
            }
        }
        tree.settle();
        let mut assembly = Assembly::new(&origin, &tree, &rdata, pools);
        for group in groups() {
            assembly.rrset(group)?;
        }
        let at_apex = |problem| CompileError { owner: origin.clone(), rtype: Rtype::SOA, problem };
        if is_signed && assembly.failover_rrsets > 0 {
            // Neither a moved RRset nor the serial that says so has a signature.
            return Err(at_apex(Problem::SignedFailover));
        }
        let (denial, idle) = assembly.denial(nsec3)?;
        let Assembly { blobs, sets, spans, choices, soa, failover_rrsets, signatures, .. } = assembly;
        let soa = soa.ok_or_else(|| at_apex(Problem::NoSoa))?;
        let has_nsec3 = matches!(denial, Some(Denial::Nsec3(_))) || !idle.is_empty();
        let signed = (has_nsec3 || !signatures.is_empty()).then(|| {
            let over = |node, set: &Set| signatures.get(&(node, set.rtype)).copied().unwrap_or(NO_BLOB);
            let of_span = |(node, at, len): &(NodeId, u32, u16)| {
                let node = *node;
                sets[*at as usize..][..usize::from(*len)].iter().map(move |set| over(node, set)).collect::<Vec<_>>()
            };
            Signed { signatures: spans.iter().flat_map(of_span).collect(), denial, idle: idle.into() }
        });
        let (sets, choices, blobs) = (sets.into(), choices.into(), blobs.finish());
        for (node, at, len) in spans {
            let node = tree.node_mut(node);
            (node.sets_at, node.sets_len) = (at, len);
        }
        let origin_labels = origin.labels().count();
        Ok(ZoneTable {
            origin,
            origin_labels,
            mode,
            tree,
            sets,
            choices,
            blobs,
            soa,
            failover_rrsets,
            content: None,
            signed,
        })
    }
}

/// The second pass: RRsets into wire form.
struct Assembly<'a> {
    tree: &'a Tree,
    rdata: &'a [u8],
    pools: &'a [Pool],
    origin: &'a Name,
    blobs: blob::Builder,
    sets: Vec<Set>,
    /// First set and number of sets of each node that has any, in the order of the nodes.
    spans: Vec<(NodeId, u32, u16)>,
    choices: Vec<Choice>,
    /// Failover RRsets that are made of the same things share one choice.
    known: HashMap<Ingredients, usize, foldhash::fast::RandomState>,
    soa: Option<Soa>,
    /// The RRSIG records by node and the type that they cover.
    signatures: HashMap<(NodeId, u16), BlobId, foldhash::fast::RandomState>,
    nsec_nodes: Vec<NodeId>,
    /// Iterations and salt of the chain in force.
    nsec3_parameters: Option<(u16, &'a [u8])>,
    /// The node of the last group has a CNAME.
    alias: bool,
    failover_rrsets: usize,
}

#[derive(Eq, Hash, PartialEq)]
struct Ingredients {
    family: Family,
    ttl_s: u32,
    parts: Vec<Part>,
}

/// A record of a failover RRset.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Part {
    Ipv4(Ipv4Addr),
    Ipv6(Ipv6Addr),
    Follows(Slot),
}

impl<'a> Assembly<'a> {
    fn new(origin: &'a Name, tree: &'a Tree, rdata: &'a [u8], pools: &'a [Pool]) -> Assembly<'a> {
        Assembly {
            tree,
            rdata,
            pools,
            origin,
            blobs: blob::Builder::new(origin.wire()),
            sets: Vec::new(),
            spans: Vec::new(),
            choices: Vec::new(),
            known: HashMap::default(),
            soa: None,
            signatures: HashMap::default(),
            nsec_nodes: Vec::new(),
            nsec3_parameters: None,
            alias: false,
            failover_rrsets: 0,
        }
    }

    /// Takes the records of one RRset.
    fn rrset(&mut self, group: &[Raw]) -> Result<(), CompileError> {
        let (node, rtype) = (group[0].node, Rtype::from_int(group[0].rtype));
        let rdatas = distinct(rtype, group.iter().map(|raw| rdata_of(self.rdata, raw)).collect());
        // All TTLs of an RRset are the same (RFC 2181 section 5.2): the lowest.
        let ttl_s = group.iter().map(|raw| raw.ttl_s).min().unwrap_or_default();
        if rtype == Rtype::RRSIG {
            let added = self.blobs.add(rtype, ttl_s, &rdatas, self.tree);
            let id = added.ok_or_else(|| self.fail(node, rtype, Problem::RrsetTooLarge))?;
            self.signatures.insert((node, group[0].covers), id);
            return Ok(());
        }
        self.check(node, rtype, rdatas.len())?;
        match rtype {
            Rtype::NSEC => self.nsec_nodes.push(node),
            Rtype::NSEC3PARAM if node == APEX => self.nsec3_parameters = parameters(&rdatas),
            _ => {}
        }
        let set = if group.iter().any(|raw| raw.slot.is_some()) {
            self.failover_rrsets += 1;
            let choice = self.choice(group, rtype, ttl_s)?;
            Set::failover(rtype, choice)
        } else {
            let added = self.blobs.add(rtype, ttl_s, &rdatas, self.tree);
            let id = added.ok_or_else(|| self.fail(node, rtype, Problem::RrsetTooLarge))?;
            if rtype == Rtype::SOA {
                self.soa = Some(soa(id, rdatas[0]));
            }
            Set::fixed(rtype, id)
        };
        let pushed = set.and_then(|set| self.push(node, set));
        pushed.ok_or_else(|| self.fail(node, rtype, Problem::ZoneTooLarge))
    }

    /// The chain of NSEC3 records that NSEC3PARAM names, else that of NSEC records; and the NSEC3
    /// records of other chains, which are being built or taken down.
    fn denial(&mut self, mut raws: Vec<RawNsec3>) -> Result<(Option<Denial>, Vec<Owner>), CompileError> {
        let in_use = self.nsec3_parameters;
        if in_use.is_some_and(|(iterations, _)| iterations > ITERATIONS_MAX) {
            return Err(self.fail(APEX, Rtype::NSEC3, Problem::Nsec3Iterations));
        }
        raws.sort_by_key(|raw| raw.hash);
        let (mut chain, mut idle) = (Vec::new(), Vec::new());
        for group in raws.chunk_by(|a, b| a.hash == b.hash) {
            let (signatures, records): (Vec<_>, Vec<_>) = group.iter().partition(|raw| raw.is_signature);
            let (used, unused): (Vec<_>, Vec<_>) =
                records.into_iter().partition(|raw| in_use.is_some() && chain_of(&raw.rdata) == in_use);
            let signatures = self.nsec3_rrset(Rtype::RRSIG, &signatures)?;
            for (records, owners) in [(used, &mut chain), (unused, &mut idle)] {
                if let Some(record) = self.nsec3_rrset(Rtype::NSEC3, &records)? {
                    owners.push(Owner { hash: group[0].hash, record, signatures });
                }
            }
        }
        let denial = match in_use {
            Some((iterations, salt)) => Denial::nsec3(iterations, salt, chain),
            None => Denial::nsec(std::mem::take(&mut self.nsec_nodes), self.tree),
        };
        Ok((denial, idle))
    }

    /// `None`: there are no records.
    fn nsec3_rrset(&mut self, rtype: Rtype, raws: &[&RawNsec3]) -> Result<Option<BlobId>, CompileError> {
        let Some(ttl_s) = raws.iter().map(|raw| raw.ttl_s).min() else { return Ok(None) };
        let rdatas = distinct(rtype, raws.iter().map(|raw| &*raw.rdata).collect());
        let added = self.blobs.add(rtype, ttl_s, &rdatas, self.tree);
        added.map(Some).ok_or_else(|| self.fail(APEX, rtype, Problem::RrsetTooLarge))
    }

    /// What may not stand together at one name.
    fn check(&mut self, node: NodeId, rtype: Rtype, records: usize) -> Result<(), CompileError> {
        if self.spans.last().is_none_or(|(last, ..)| *last != node) {
            self.alias = false;
        }
        let others = self.spans.last().is_some_and(|(last, ..)| *last == node);
        // Signatures and denial records stand beside a CNAME (RFC 4035 section 2.5).
        let may_join = |rtype: Rtype| matches!(rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::KEY);
        let problem = match rtype {
            Rtype::SOA if node != APEX || records > 1 => Problem::Soa,
            Rtype::CNAME if records > 1 => Problem::ManyCnames,
            Rtype::DNAME if records > 1 => Problem::ManyDnames,
            Rtype::CNAME if others => Problem::CnameAndOther,
            other if self.alias && !may_join(other) => Problem::CnameAndOther,
            _ => {
                self.alias |= rtype == Rtype::CNAME;
                return Ok(());
            }
        };
        Err(self.fail(node, rtype, problem))
    }

    /// The choice for a failover RRset, made if there is none of the same ingredients yet.
    fn choice(&mut self, group: &[Raw], rtype: Rtype, ttl_s: u32) -> Result<usize, CompileError> {
        let family = family(rtype).expect("Collected::take lets no other type follow a slot");
        let parts: Vec<Part> = group.iter().map(|raw| part(raw, rdata_of(self.rdata, raw))).collect();
        let ingredients = Ingredients { family, ttl_s, parts };
        if let Some(known) = self.known.get(&ingredients) {
            return Ok(*known);
        }
        let mut slots: Vec<(Slot, usize)> = Vec::new();
        for part in &ingredients.parts {
            if let Part::Follows(slot) = part
                && !slots.iter().any(|(known, _)| known == slot)
            {
                slots.push((*slot, self.pools[slot.pool].nodes.len()));
            }
        }
        let (pools, tree, blobs) = (self.pools, self.tree, &mut self.blobs);
        let make = |holders: &[Option<usize>]| {
            let mut rdatas: Vec<Vec<u8>> = Vec::new();
            for part in &ingredients.parts {
                let rdata = match part {
                    Part::Ipv4(address) => Some(address.octets().to_vec()),
                    Part::Ipv6(address) => Some(address.octets().to_vec()),
                    Part::Follows(slot) => {
                        let at = slots.iter().position(|(known, _)| known == slot).expect("collected above");
                        holders[at].and_then(|node| address(&pools[slot.pool].nodes[node], family))
                    }
                };
                // A node without an address of this family adds nothing; two slots may name one node.
                rdatas.extend(rdata.filter(|rdata| !rdatas.contains(rdata)));
            }
            let rdatas: Vec<&[u8]> = rdatas.iter().map(Vec::as_slice).collect();
            if rdatas.is_empty() { Ok(WITHDRAWN) } else { blobs.add(rtype, ttl_s, &rdatas, tree).ok_or(()) }
        };
        let node = group[0].node;
        let choice = Choice::new(&slots, family, make)
            .ok_or_else(|| self.fail(node, rtype, Problem::TooManyOutcomes))?
            .map_err(|()| self.fail(node, rtype, Problem::RrsetTooLarge))?;
        self.choices.push(choice);
        self.known.insert(ingredients, self.choices.len() - 1);
        Ok(self.choices.len() - 1)
    }

    fn push(&mut self, node: NodeId, set: Set) -> Option<()> {
        let at = u32::try_from(self.sets.len()).ok()?;
        self.sets.push(set);
        match self.spans.last_mut().filter(|(last, ..)| *last == node) {
            Some((.., len)) => *len = len.checked_add(1)?,
            None => self.spans.push((node, at, 1)),
        }
        Some(())
    }

    fn fail(&self, node: NodeId, rtype: Rtype, problem: Problem) -> CompileError {
        let mut wire = self.tree.name(node).to_vec();
        wire.extend_from_slice(self.origin.wire());
        let owner = Name::from_wire(&wire).expect("it was taken from a name");
        CompileError { owner, rtype, problem }
    }
}

/// Equal records are one (RFC 2181 section 5), names in any case (RFC 4034 section 6.2). The first of
/// them keeps its place.
fn distinct(rtype: Rtype, mut rdatas: Vec<&[u8]>) -> Vec<&[u8]> {
    if rdatas.len() > 1 {
        let mut seen = HashSet::<_, foldhash::fast::RandomState>::default();
        rdatas.retain(|rdata| seen.insert(canonical(rtype, rdata)));
    }
    rdatas
}

fn rdata_of<'a>(arena: &'a [u8], raw: &Raw) -> &'a [u8] {
    &arena[raw.rdata_at as usize..][..usize::from(raw.rdata_len)]
}

fn part(raw: &Raw, rdata: &[u8]) -> Part {
    if let Some(slot) = raw.slot {
        return Part::Follows(slot);
    }
    match (<[u8; 4]>::try_from(rdata), <[u8; 16]>::try_from(rdata)) {
        (Ok(octets), _) => Part::Ipv4(octets.into()),
        (_, Ok(octets)) => Part::Ipv6(octets.into()),
        _ => unreachable!("check_rdata lets no other length pass for an address"),
    }
}

fn address(node: &Node, family: Family) -> Option<Vec<u8>> {
    match family {
        Family::Ipv4 => node.ipv4.map(|address| address.octets().to_vec()),
        Family::Ipv6 => node.ipv6.map(|address| address.octets().to_vec()),
    }
}

/// Iterations and salt of the first NSEC3PARAM record without flags (RFC 5155 section 4.1.2).
fn parameters<'a>(rdatas: &[&'a [u8]]) -> Option<(u16, &'a [u8])> {
    rdatas.iter().filter(|rdata| rdata.get(1) == Some(&0)).find_map(|rdata| chain_of(rdata))
}

/// Iterations and salt: where they stand, NSEC3 and NSEC3PARAM are the same (RFC 5155 section 3.2).
fn chain_of(rdata: &[u8]) -> Option<(u16, &[u8])> {
    let [1, _, i0, i1, salt_len, rest @ ..] = rdata else { return None };
    Some((u16::from_be_bytes([*i0, *i1]), rest.get(..usize::from(*salt_len))?))
}

fn soa(blob: BlobId, rdata: &[u8]) -> Soa {
    let numbers: &[u8; SOA_NUMBERS_LEN] = rdata.last_chunk().expect("check_rdata has seen it");
    let number = |at: usize| u32::from_be_bytes([numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]]);
    Soa { blob, serial: number(0), minimum_s: number(16) }
}

/// Why a zone cannot be served.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{owner} {rtype}: {problem}")]
pub struct CompileError {
    pub owner: Name,
    pub rtype: Rtype,
    pub problem: Problem,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("the zone has no SOA record at its apex")]
    NoSoa,
    #[error("there must be one SOA record, at the apex")]
    Soa,
    #[error("only class IN is served")]
    Class,
    #[error("the owner is not in the zone")]
    OutOfZone,
    #[error("the RDATA has not the form that the type asks for")]
    Rdata,
    #[error("more than one CNAME record at a name")]
    ManyCnames,
    #[error("more than one DNAME record at a name")]
    ManyDnames,
    #[error("a CNAME record and other data at one name")]
    CnameAndOther,
    #[error("only A and AAAA records can be failover records")]
    FailoverType,
    #[error("the failover record follows a pool that is not configured")]
    NoSuchPool,
    #[error("the RRset has more than {OUTCOMES_MAX} possible outcomes: let it follow fewer pools")]
    TooManyOutcomes,
    #[error(
        "the zone is signed, and a moved failover record would have no valid signature: \
         keep the tags in the unsigned zone (serve = \"off\") and sign what is exported"
    )]
    SignedFailover,
    #[error("the owner of an NSEC3 record must be a hash right below the apex")]
    Nsec3,
    #[error("more than {ITERATIONS_MAX} iterations of NSEC3: RFC 9276 asks for 0")]
    Nsec3Iterations,
    #[error("the RRset is larger than {RRSET_MAX} octets and fits no message")]
    RrsetTooLarge,
    #[error("the zone is too large")]
    ZoneTooLarge,
}
