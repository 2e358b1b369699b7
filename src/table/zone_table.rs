//! One zone, compiled: a tree of names, and for each name its RRsets in wire form.

use std::ops::Range;

use domain::base::iana::Rtype;

use crate::dns::name::Name;

use super::blob::{BlobId, Blobs};
use super::choice::{Choice, Outcome, Picks};
use super::denial::{Denial, Owner};
use super::tree::{Node, Tree};

/// Which questions about a zone are ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The failover RRsets, and what leads to them by CNAME; all else is nsd's, for as long as it answers.
    Overlay,
    /// The whole zone, authoritatively.
    Whole,
}

/// A compiled zone. It holds every answer that any decision can ask for; made by
/// [`ZoneTable::compile`] in `compile.rs`.
pub struct ZoneTable {
    pub(super) origin: Name,
    pub(super) origin_labels: usize,
    pub(super) mode: Mode,
    pub(super) tree: Tree,
    pub(super) sets: Box<[Set]>,
    pub(super) choices: Box<[Choice]>,
    pub(super) blobs: Blobs,
    pub(super) soa: Soa,
    pub(super) failover_rrsets: usize,
    pub(super) content: Option<u64>,
    /// For zones that were signed elsewhere.
    pub(super) signed: Option<Signed>,
}

/// What a signed zone has besides its data.
pub(super) struct Signed {
    /// The RRSIG records over each set, parallel to [`ZoneTable::sets`]; [`NO_BLOB`]: there are none.
    pub signatures: Box<[BlobId]>,
    pub denial: Option<Denial>,
    /// NSEC3 records of chains that NSEC3PARAM does not name: no answer needs them, a transfer does.
    pub idle: Box<[Owner]>,
}

/// No RRset.
pub(super) const NO_BLOB: BlobId = BlobId::MAX;

/// Serial, refresh, retry, expire and minimum: what an SOA record ends in, uncompressed, in octets.
pub(super) const SOA_NUMBERS_LEN: usize = 20;

/// The zone's SOA RRset; only its serial changes.
pub(super) struct Soa {
    pub blob: BlobId,
    /// The serial in the zone file.
    pub serial: u32,
    /// No negative answer has a longer TTL, nor a longer one than the SOA itself (RFC 2308 section 5).
    pub minimum_s: u32,
}

/// An RRset of a node, by type.
#[derive(Clone, Copy)]
pub(super) struct Set {
    pub rtype: u16,
    content: u32,
}

/// Set in [`Set::content`] when it is the index of a choice and not of a blob.
const IS_CHOICE: u32 = 1 << 31;

pub(super) enum Content<'a> {
    Fixed(BlobId),
    Failover(&'a Choice),
}

impl ZoneTable {
    /// The zone's apex, in lower case.
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the zone was signed elsewhere (it has RRSIG or NSEC3 records).
    pub fn is_signed(&self) -> bool {
        self.signed.is_some()
    }

    /// The serial that the zone file had.
    pub fn serial_in_file(&self) -> u32 {
        self.soa.serial
    }

    /// Remembers the [`super::transfer::fingerprint::Fingerprint`] of its records: by it a journal
    /// knows that a zone that was loaded again is the same.
    pub fn with_content(self, content: Option<u64>) -> ZoneTable {
        ZoneTable { content, ..self }
    }

    /// How many RRsets a decision can move.
    pub fn failover_rrsets(&self) -> usize {
        self.failover_rrsets
    }

    /// Names that exist in the zone, empty non-terminals included.
    pub fn names(&self) -> usize {
        self.tree.len()
    }

    /// Where the parts lie that answers look at, in memory, as addresses: for whoever chooses the size
    /// of its pages.
    pub fn memory(&self) -> impl Iterator<Item = Range<usize>> {
        self.tree.memory().into_iter().chain(self.blobs.memory()).chain([addresses(&self.sets)])
    }

    /// Different RRsets in wire form; far fewer than RRsets where many are alike.
    pub fn distinct_rrsets(&self) -> usize {
        self.blobs.len()
    }

    /// The RRsets of a node, by type.
    pub(super) fn sets(&self, node: &Node) -> &[Set] {
        &self.sets[node.sets_at as usize..][..usize::from(node.sets_len)]
    }

    pub(super) fn set(&self, node: &Node, rtype: Rtype) -> Option<Set> {
        let wanted = rtype.to_int();
        self.sets(node).iter().find(|set| set.rtype == wanted).copied()
    }

    /// The RRSIG records over a set of a node.
    pub(super) fn signatures(&self, node: &Node, rtype: Rtype) -> Option<BlobId> {
        let signed = self.signed.as_ref()?;
        let wanted = rtype.to_int();
        let at = self.sets(node).iter().position(|set| set.rtype == wanted)?;
        Some(signed.signatures[node.sets_at as usize + at]).filter(|blob| *blob != NO_BLOB)
    }

    /// The NSEC3 records by number: they stand at no node. Those of the chain in use come first.
    pub(super) fn nsec3(&self, number: usize) -> Option<&Owner> {
        let signed = self.signed.as_ref()?;
        let chain = match &signed.denial {
            Some(Denial::Nsec3(chain)) => &chain.owners[..],
            _ => &[],
        };
        chain.get(number).or_else(|| signed.idle.get(number - chain.len()))
    }

    /// Whether any set of a node has signatures.
    pub(super) fn is_signed_at(&self, node: &Node) -> bool {
        self.sets(node).iter().any(|set| self.signatures(node, Rtype::from_int(set.rtype)).is_some())
    }

    pub(super) fn content(&self, set: Set) -> Content<'_> {
        match set.content & IS_CHOICE {
            0 => Content::Fixed(set.content),
            _ => Content::Failover(&self.choices[(set.content & !IS_CHOICE) as usize]),
        }
    }

    /// The index of the choice that a set is, if a decision can move it.
    pub(super) fn choice_of(&self, set: Set) -> Option<usize> {
        (set.content & IS_CHOICE != 0).then_some((set.content & !IS_CHOICE) as usize)
    }

    /// What a set is under this decision, and whether a decision can move it.
    pub(super) fn outcome(&self, set: Set, picks: &Picks) -> (Outcome, bool) {
        match self.content(set) {
            Content::Fixed(blob) => (Outcome { blob, ttl_max_s: u32::MAX }, false),
            Content::Failover(choice) => (choice.outcome(picks), true),
        }
    }
}

pub(super) fn addresses<T>(slice: &[T]) -> Range<usize> {
    let Range { start, end } = slice.as_ptr_range();
    start.addr()..end.addr()
}

impl Set {
    /// `None`: the zone has more RRsets than fit.
    pub fn fixed(rtype: Rtype, blob: BlobId) -> Option<Set> {
        (blob & IS_CHOICE == 0).then_some(Set { rtype: rtype.to_int(), content: blob })
    }

    pub fn failover(rtype: Rtype, choice: usize) -> Option<Set> {
        let choice = u32::try_from(choice).ok().filter(|choice| choice & IS_CHOICE == 0)?;
        Some(Set { rtype: rtype.to_int(), content: choice | IS_CHOICE })
    }
}
