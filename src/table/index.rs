//! Names to nodes: one array, so that looking for a name waits for memory once. Each slot holds the
//! hash beside the node, and nobody else is asked unless it is the right one.

use super::tree::{NO_NODE, NodeId};

/// Slots of the smallest index.
const SLOTS_MIN: usize = 16;

/// An open-addressing table with linear probing, at most three quarters full.
pub(super) struct Index {
    slots: Vec<Slot>,
    len: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    hash: u32,
    /// [`NO_NODE`]: the slot is free.
    node: NodeId,
}

const FREE: Slot = Slot { hash: 0, node: NO_NODE };

impl Index {
    pub fn new() -> Index {
        Index { slots: vec![FREE; SLOTS_MIN], len: 0 }
    }

    /// The node with this hash that `is_same` takes for the right one.
    pub fn find(&self, hash: u64, is_same: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let hash = short(hash);
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot.node == NO_NODE || (slot.hash == hash && is_same(slot.node)) {
                return Some(slot.node).filter(|node| *node != NO_NODE);
            }
            at = self.after(at);
        }
    }

    /// What the slot says in which the search for this hash begins: to have it at hand.
    pub fn touch(&self, hash: u64) -> NodeId {
        self.slots[self.home(short(hash))].node
    }

    /// Adds a node, which must not be there yet and not be [`NO_NODE`].
    pub fn insert(&mut self, hash: u64, node: NodeId) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            let larger = vec![FREE; self.slots.len() * 2];
            let old = std::mem::replace(&mut self.slots, larger);
            old.into_iter().filter(|slot| slot.node != NO_NODE).for_each(|slot| self.put(slot));
        }
        self.put(Slot { hash: short(hash), node });
        self.len += 1;
    }

    /// Where it lies in memory, for whoever chooses the size of pages.
    pub fn memory(&self) -> std::ops::Range<usize> {
        super::zone_table::addresses(&self.slots)
    }

    fn put(&mut self, slot: Slot) {
        let mut at = self.home(slot.hash);
        while self.slots[at].node != NO_NODE {
            at = self.after(at);
        }
        self.slots[at] = slot;
    }

    /// The number of slots is a power of two.
    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }
}

/// The half of a hash that is kept: enough for as many names as there can be nodes.
fn short(hash: u64) -> u32 {
    (hash ^ hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let mut index = Index::new();
        // Few different hashes: long runs of slots, over the end and around.
        let hash = |node: NodeId| u64::from(node % 7) * 0x1_0000_0003;
        for node in 0..1_000 {
            assert_eq!(index.find(hash(node), |other| other == node), None);
            index.insert(hash(node), node);
        }
        for node in 0..1_000 {
            assert_eq!(index.find(hash(node), |other| other == node), Some(node));
        }
        assert_eq!(index.find(hash(3), |_| false), None);
        assert_eq!(index.find(u64::MAX - 5, |_| true), None);
    }
}
