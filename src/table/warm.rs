//! Cache misses, many at a time. In a zone of a million names each answer waits for memory several
//! times over: for the index, the node, its name, its sets. One query's waits depend on each other,
//! but those of different queries do not: walked side by side, step by step, the processor waits for
//! all of them at once.

use std::hint::black_box;

use crate::dns::message::HEADER_LEN;
use crate::dns::name::wire_len;

use super::Table;
use super::tree::NodeId;
use super::walk::LowerName;

/// Most queries of a batch that are looked at.
pub const WARM_MAX: usize = 64;
/// Smaller zones stay in the caches by themselves, and the walk would cost more than it saves.
pub(super) const LARGE_ZONE: usize = 20_000;

impl Table {
    /// Brings what the answers to these queries need into the caches. Changes nothing and promises
    /// nothing: what cannot be read is passed over.
    pub fn warm<'q>(&self, queries: impl ExactSizeIterator<Item = &'q [u8]>) {
        // One alone has nobody to wait beside.
        if !self.catalog.has_large_zone || queries.len() < 2 {
            return;
        }
        let mut hashes: [(u32, u64); WARM_MAX] = [(0, 0); WARM_MAX];
        let mut count = 0;
        for query in queries.take(WARM_MAX) {
            if let Some(hash) = self.touch(query) {
                hashes[count] = hash;
                count += 1;
            }
        }
        // Zone and candidate node: equal hashes, whose names nobody has compared yet.
        let mut found: [(u32, NodeId); WARM_MAX] = [(0, 0); WARM_MAX];
        let hashes = &hashes[..count];
        count = 0;
        for (zone, hash) in hashes {
            if let Some(node) = self.catalog.zones[*zone as usize].tree.candidate(*hash) {
                found[count] = (*zone, node);
                count += 1;
            }
        }
        let mut starts = [(0, 0); WARM_MAX];
        for (start, (zone, node)) in starts.iter_mut().zip(&found[..count]) {
            *start = self.catalog.zones[*zone as usize].tree.node(*node).starts();
        }
        for ((zone, _), (name_at, sets_at)) in found[..count].iter().zip(starts) {
            let zone = &self.catalog.zones[*zone as usize];
            black_box(zone.tree.name_octet(name_at));
            black_box(zone.sets.get(sets_at as usize).map(|set| set.rtype));
        }
    }

    /// The zone of the question, and the hash of its name there.
    fn touch(&self, query: &[u8]) -> Option<(u32, u64)> {
        let question = query.get(HEADER_LEN..)?;
        let name = LowerName::new(&question[..wire_len(question).ok()?]);
        let zone = self.catalog.find(name.wire(), name.labels(), false)?;
        let table = &self.catalog.zones[zone];
        let relative = &name.wire()[..name.wire().len() - table.origin.wire().len()];
        Some((zone as u32, table.tree.touch(relative)))
    }
}
