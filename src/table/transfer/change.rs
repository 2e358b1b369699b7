//! What differs between two versions of a zone: records of failover RRsets, and nothing else.

use hashbrown::HashSet;

use super::super::Table;
use super::super::blob::{BlobId, RDATA_AT, Rrset};
use super::super::choice::WITHDRAWN;
use super::super::tree::NodeId;
use super::super::zone_table::ZoneTable;
use super::journal::Past;

/// For each choice of a zone, the names whose RRset it is; worked out when it is first asked for.
pub(super) struct Followers {
    /// Where each choice's names start; one more for the end.
    starts: Box<[u32]>,
    nodes: Box<[NodeId]>,
    /// Records of the zone when this was made.
    pub records: u64,
}

/// An RRset that is another than it was, and the records that make the difference.
pub(super) struct Change {
    pub choice: usize,
    pub removed: Records,
    pub added: Records,
}

/// Some records of an RRset, by where each starts.
pub(super) struct Records {
    pub blob: BlobId,
    pub starts: Box<[u16]>,
}

impl Followers {
    pub fn new(table: &Table, zone: &ZoneTable) -> Followers {
        let mut pairs: Vec<(u32, NodeId)> = Vec::with_capacity(zone.failover_rrsets());
        let mut records = 0;
        for id in 0..zone.names() as NodeId {
            for set in zone.sets(zone.tree.node(id)) {
                let (outcome, _) = zone.outcome(*set, &table.picks);
                if outcome.blob != WITHDRAWN {
                    records += u64::from(zone.blobs.rrset(outcome.blob).records);
                }
                if let Some(choice) = zone.choice_of(*set) {
                    // A choice's index fits in 31 bits, see Set.
                    pairs.push((choice as u32, id));
                }
            }
        }
        pairs.sort_unstable();
        let mut starts = vec![0; zone.choices.len() + 1];
        for (choice, _) in &pairs {
            starts[*choice as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        Followers { starts: starts.into(), nodes: pairs.iter().map(|(_, node)| *node).collect(), records }
    }

    pub fn of(&self, choice: usize) -> &[NodeId] {
        &self.nodes[self.starts[choice] as usize..self.starts[choice + 1] as usize]
    }
}

/// What has to be removed from, and added to, the past version to make it that of the table.
pub(super) fn changes(table: &Table, past: &Past) -> Box<[Change]> {
    let zone = &past.zone;
    let mut changes = Vec::new();
    for (index, choice) in zone.choices.iter().enumerate() {
        let (old, new) = (choice.blob(|pick| past.holder(pick)), choice.outcome(&table.picks).blob);
        if old != new {
            changes.push(Change {
                choice: index,
                removed: difference(zone, old, new),
                added: difference(zone, new, old),
            });
        }
    }
    changes.into()
}

/// The records of one RRset that another has not.
fn difference(zone: &ZoneTable, blob: BlobId, other: BlobId) -> Records {
    if blob == WITHDRAWN {
        return Records { blob, starts: Box::default() };
    }
    let rrset = zone.blobs.rrset(blob);
    let other = (other != WITHDRAWN).then(|| zone.blobs.rrset(other));
    let others: HashSet<&[u8], foldhash::fast::RandomState> =
        other.iter().flat_map(|other| records(other)).map(|(_, record)| record).collect();
    let own = records(&rrset).filter(|(_, record)| !others.contains(record));
    Records { blob, starts: own.map(|(start, _)| start).collect() }
}

/// The records of an RRset, each with where it starts. Those of failover RRsets hold no pointer but
/// that of the owner, and so can be compared as they are.
fn records<'a>(rrset: &Rrset<'a>) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
    let bytes = rrset.bytes;
    let mut at = 0;
    std::iter::from_fn(move || {
        let record = record_at(bytes, at)?;
        let start = at;
        at += record.len();
        // RRSET_MAX bounds it.
        Some((start as u16, record))
    })
}

/// The record of an RRset that starts there; `None` at its end.
pub(super) fn record_at(rrset: &[u8], at: usize) -> Option<&[u8]> {
    let rest = rrset.get(at..).filter(|rest| !rest.is_empty())?;
    let rdata_len = u16::from_be_bytes([rest[RDATA_AT - 2], rest[RDATA_AT - 1]]);
    Some(&rest[..RDATA_AT + usize::from(rdata_len)])
}
