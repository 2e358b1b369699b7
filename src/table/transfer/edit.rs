//! What an edit of the zone has changed: the RRsets, signatures among them, that one of two contents
//! has and the other has not. Nothing is known of how the one became the other, so that all of both is
//! looked at; larger zones are sent whole.

use std::borrow::Cow;

use domain::base::iana::Rtype;
use hashbrown::HashSet;

use super::super::Table;
use super::super::blob::BlobId;
use super::super::choice::WITHDRAWN;
use super::super::denial::hash_label;
use super::super::tree::NodeId;
use super::super::zone_table::{Content, Set, ZoneTable};
use super::journal::Past;

/// Names that a zone may have for an edit of it to be sent as a difference.
pub const EDIT_NAMES_MAX: usize = 100_000;

/// The difference between two contents.
pub(super) struct Edit {
    pub removed: Box<[Part]>,
    pub added: Box<[Part]>,
}

/// An RRset, or the signatures over one.
pub(super) struct Part {
    /// Without the apex.
    pub owner: Box<[u8]>,
    pub blob: BlobId,
}

impl Edit {
    /// What makes the past version that of the table. `None`: too much, the whole zone is less.
    pub fn since(past: &Past, table: &Table, zone: &ZoneTable) -> Option<Edit> {
        if past.zone.names().max(zone.names()) > EDIT_NAMES_MAX {
            return None;
        }
        let before = parts(&past.zone, |set| match past.zone.content(set) {
            Content::Fixed(blob) => blob,
            Content::Failover(choice) => choice.blob(|pick| past.holder(pick)),
        });
        let after = parts(zone, |set| zone.outcome(set, &table.picks).0.blob);
        let removed = difference((&past.zone, &before), (zone, &after));
        let added = difference((zone, &after), (&past.zone, &before));
        let records = |zone: &ZoneTable, parts: &mut dyn Iterator<Item = BlobId>| {
            parts.map(|blob| u64::from(zone.blobs.rrset(blob).records)).sum::<u64>()
        };
        let changed = records(&past.zone, &mut removed.iter().map(|part| part.blob))
            + records(zone, &mut added.iter().map(|part| part.blob));
        let whole = records(zone, &mut after.iter().map(|(_, blob)| *blob));
        (changed <= whole).then_some(Edit { removed, added })
    }
}

type Found<'z> = (Cow<'z, [u8]>, BlobId);

/// Everything that a zone has but its SOA, which frames each transfer.
fn parts(zone: &ZoneTable, blob_of: impl Fn(Set) -> BlobId) -> Vec<Found<'_>> {
    let mut found = Vec::new();
    for id in 0..zone.names() as NodeId {
        let (owner, node) = (zone.tree.name(id), zone.tree.node(id));
        for set in zone.sets(node) {
            let blob = Some(blob_of(*set)).filter(|blob| *blob != WITHDRAWN && *blob != zone.soa.blob);
            let signatures = zone.signatures(node, Rtype::from_int(set.rtype));
            found.extend([blob, signatures].into_iter().flatten().map(|blob| (Cow::Borrowed(owner), blob)));
        }
    }
    let nsec3 = (0..).map_while(|number| zone.nsec3(number));
    for owner in nsec3 {
        let label = hash_label(&owner.hash).to_vec();
        let blobs = [Some(owner.record), owner.signatures].into_iter().flatten();
        found.extend(blobs.map(|blob| (Cow::Owned(label.clone()), blob)));
    }
    found
}

/// The parts of one zone that the other has not.
fn difference((zone, parts): (&ZoneTable, &[Found<'_>]), (other, others): (&ZoneTable, &[Found<'_>])) -> Box<[Part]> {
    // In wire form but for the pointers to the apex, which say the same in both.
    fn text<'a>(zone: &'a ZoneTable, (owner, blob): &'a Found<'_>) -> (&'a [u8], &'a [u8], &'a [u16]) {
        let rrset = zone.blobs.rrset(*blob);
        (owner, rrset.bytes, rrset.apex_pointers)
    }
    let others: HashSet<_, foldhash::fast::RandomState> = others.iter().map(|part| text(other, part)).collect();
    let own = parts.iter().filter(|part| !others.contains(&text(zone, part)));
    own.map(|(owner, blob)| Part { owner: owner.as_ref().into(), blob: *blob }).collect()
}
