//! The first pass over a zone's records: names into the tree, RDATA into one arena.

use domain::base::iana::{Class, Rtype};

use crate::dns::name::Name;
use crate::dns::record::RecordRef;
use crate::failover::pool::{Pool, Slot};
use crate::health::family::Family;

use super::blob::{check_rdata, relative_to};
use super::compile::{CompileError, Problem};
use super::denial::{HASH_LEN, label_hash};
use super::tree::{NodeId, Tree};

/// A record with its owner and RDATA put away.
pub(super) struct Raw {
    pub node: NodeId,
    pub ttl_s: u32,
    pub rdata_at: u32,
    pub rdata_len: u16,
    pub rtype: u16,
    /// The type that an RRSIG record covers; 0 for all others.
    pub covers: u16,
    pub slot: Option<Slot>,
}

impl Raw {
    /// Records with the same key are an RRset; the signatures over each RRset are one, too.
    pub fn key(&self) -> (NodeId, u16, u16) {
        (self.node, self.rtype, self.covers)
    }
}

/// An NSEC3 record, or a signature over one, by the hash that is its owner's first label.
pub(super) struct RawNsec3 {
    pub hash: [u8; HASH_LEN],
    pub is_signature: bool,
    pub ttl_s: u32,
    pub rdata: Box<[u8]>,
}

/// The first pass: names into the tree, RDATA into one arena.
pub(super) struct Collected {
    pub tree: Tree,
    pub raws: Vec<Raw>,
    pub rdata: Vec<u8>,
    relative: Vec<u8>,
    pub nsec3: Vec<RawNsec3>,
    pub is_signed: bool,
}

impl Collected {
    pub fn new() -> Collected {
        Collected {
            tree: Tree::new(),
            raws: Vec::new(),
            rdata: Vec::new(),
            relative: Vec::new(),
            nsec3: Vec::new(),
            is_signed: false,
        }
    }

    /// Takes one record. `origin` is in lower case.
    pub fn take(
        &mut self,
        origin: &Name,
        record: RecordRef<'_>,
        slot: Option<Slot>,
        pools: &[Pool],
    ) -> Result<(), CompileError> {
        let fail = |problem| {
            let owner = Name::from_wire(record.owner).unwrap_or_else(|_| origin.clone());
            CompileError { owner, rtype: record.rtype, problem }
        };
        if record.class != Class::IN {
            return Err(fail(Problem::Class));
        }
        let relative = relative_to(record.owner, origin.wire()).ok_or_else(|| fail(Problem::OutOfZone))?;
        if !check_rdata(record.rtype, record.rdata) {
            return Err(fail(Problem::Rdata));
        }
        if let Some(slot) = slot {
            if family(record.rtype).is_none() {
                return Err(fail(Problem::FailoverType));
            }
            if slot.pool >= pools.len() {
                return Err(fail(Problem::NoSuchPool));
            }
        }
        let covers = covered(record.rtype, record.rdata);
        self.is_signed |= record.rtype == Rtype::RRSIG;
        if record.rtype == Rtype::NSEC3 || covers == Rtype::NSEC3.to_int() {
            return self.take_nsec3(relative, record).ok_or_else(|| fail(Problem::Nsec3));
        }
        self.relative.clear();
        self.relative.extend(relative.iter().map(u8::to_ascii_lowercase));
        let full = || fail(Problem::ZoneTooLarge);
        let node = self.tree.insert(&self.relative).ok_or_else(full)?;
        let rdata_at = u32::try_from(self.rdata.len()).map_err(|_| full())?;
        let rdata_len = u16::try_from(record.rdata.len()).map_err(|_| fail(Problem::Rdata))?;
        self.rdata.extend_from_slice(record.rdata);
        let (ttl_s, rtype) = (record.ttl, record.rtype.to_int());
        self.raws.push(Raw { node, ttl_s, rdata_at, rdata_len, rtype, covers, slot });
        Ok(())
    }

    /// `None`: its owner is no hash, right below the apex.
    fn take_nsec3(&mut self, relative: &[u8], record: RecordRef<'_>) -> Option<()> {
        let (length, label) = relative.split_first()?;
        let hash = label_hash(label).filter(|_| usize::from(*length) == label.len())?;
        let is_signature = record.rtype == Rtype::RRSIG;
        self.nsec3.push(RawNsec3 { hash, is_signature, ttl_s: record.ttl, rdata: record.rdata.into() });
        Some(())
    }
}

/// The type that an RRSIG record covers; 0 for records of other types.
fn covered(rtype: Rtype, rdata: &[u8]) -> u16 {
    match (rtype, rdata.first_chunk()) {
        (Rtype::RRSIG, Some(covers)) => u16::from_be_bytes(*covers),
        _ => 0,
    }
}

/// The family whose addresses a type holds.
pub(super) fn family(rtype: Rtype) -> Option<Family> {
    match rtype {
        Rtype::A => Some(Family::Ipv4),
        Rtype::AAAA => Some(Family::Ipv6),
        _ => None,
    }
}
