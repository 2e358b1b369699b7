//! The names of a zone: which exist, and what stands above them. Names are kept in lower case and
//! relative to the apex, in one arena; a node is named by its index, and the apex is node 0.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use foldhash::fast::RandomState;

use super::index::Index;
use super::zone_table::addresses;

/// Index of a node in its [`Tree`].
pub(super) type NodeId = u32;
/// The apex: the node with the empty relative name.
pub(super) const APEX: NodeId = 0;
/// No node: in [`Node::shadow`] and [`Node::wildcard`].
pub(super) const NO_NODE: NodeId = NodeId::MAX;

/// The nodes of one zone, empty non-terminals included (RFC 4592 section 2.2.2).
pub(super) struct Tree {
    names: Vec<u8>,
    nodes: Vec<Node>,
    index: Index,
    hasher: RandomState,
    /// Labels of the deepest node: no suffix with more of them needs to be looked up.
    depth_max: usize,
}

/// One name of the zone.
#[derive(Clone, Copy)]
pub(super) struct Node {
    name_at: u32,
    /// First of its RRsets in the zone's list.
    pub sets_at: u32,
    /// The topmost node that takes this one out of the zone's authority: a delegation cut at or
    /// above it, or a DNAME strictly above it (RFC 6672 section 2.4).
    pub shadow: NodeId,
    /// The child `*` of this node.
    pub wildcard: NodeId,
    pub sets_len: u16,
    name_len: u8,
    /// Has an NS RRset and is not the apex.
    pub is_cut: bool,
    pub has_dname: bool,
}

/// Where a name stands: at a node, or below one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// The node itself, else its closest encloser (RFC 4592 section 3.3.1).
    pub node: NodeId,
    pub exact: bool,
}

impl Tree {
    /// A tree with nothing but its apex.
    pub fn new() -> Tree {
        let mut tree = Tree {
            names: Vec::new(),
            nodes: Vec::new(),
            index: Index::new(),
            hasher: RandomState::default(),
            depth_max: 0,
        };
        tree.push(0, 0, &[]);
        tree
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    /// The node's name relative to the apex, in lower case.
    pub fn name(&self, id: NodeId) -> &[u8] {
        let node = self.node(id);
        &self.names[node.name_at as usize..][..usize::from(node.name_len)]
    }

    pub fn find(&self, name: &[u8]) -> Option<NodeId> {
        self.index.find(self.hash(name), |id| self.name(id) == name)
    }

    /// Has the index at hand for this name, and returns the name's hash.
    pub fn touch(&self, name: &[u8]) -> u64 {
        let hash = self.hash(name);
        std::hint::black_box(self.index.touch(hash));
        hash
    }

    /// A node that may have the name with this hash: nothing else was looked at.
    pub fn candidate(&self, hash: u64) -> Option<NodeId> {
        self.index.find(hash, |_| true)
    }

    /// Where it lies in memory.
    pub fn memory(&self) -> [Range<usize>; 3] {
        [addresses(&self.names), addresses(&self.nodes), self.index.memory()]
    }

    /// An octet of the arena, to have it at hand.
    pub fn name_octet(&self, at: u32) -> Option<u8> {
        self.names.get(at as usize).copied()
    }

    /// The node of a name of this zone, or the closest encloser. `labels` counts those of `name`.
    pub fn locate(&self, name: &[u8], labels: usize) -> Place {
        let mut rest = name;
        for _ in self.depth_max..labels {
            rest = without_first_label(rest);
        }
        loop {
            if let Some(node) = self.find(rest) {
                return Place { node, exact: rest.len() == name.len() };
            }
            // The apex always exists, so that an empty name never gets here.
            rest = without_first_label(rest);
        }
    }

    /// The node of this name; it and the names above it are made where they are missing.
    /// `None`: the tree is full.
    pub fn insert(&mut self, name: &[u8]) -> Option<NodeId> {
        if let Some(node) = self.find(name) {
            return Some(node);
        }
        let mut name_at = u32::try_from(self.names.len()).ok()?;
        u32::try_from(self.names.len() + name.len()).ok()?;
        self.names.extend_from_slice(name);
        self.depth_max = self.depth_max.max(labels(name).count());
        let node = NodeId::try_from(self.nodes.len()).ok().filter(|id| *id != NO_NODE)?;
        let mut rest = name;
        // An ancestor's name is the tail of this one and needs no room of its own.
        while self.find(rest).is_none() {
            self.push(name_at, rest.len() as u8, rest);
            let above = without_first_label(rest);
            name_at += (rest.len() - above.len()) as u32;
            rest = above;
        }
        Some(node)
    }

    fn push(&mut self, name_at: u32, name_len: u8, name: &[u8]) {
        let id = self.nodes.len() as NodeId;
        self.nodes.push(Node {
            name_at,
            name_len,
            sets_at: 0,
            sets_len: 0,
            shadow: NO_NODE,
            wildcard: NO_NODE,
            is_cut: false,
            has_dname: false,
        });
        self.index.insert(self.hash(name), id);
    }

    /// Works out [`Node::shadow`] and [`Node::wildcard`], once all nodes and their cuts are known.
    pub fn settle(&mut self) {
        let mut settled = vec![false; self.nodes.len()];
        settled[APEX as usize] = true;
        let mut path = Vec::new();
        for start in 0..self.nodes.len() as NodeId {
            let mut at = start;
            while !settled[at as usize] {
                path.push(at);
                at = self.parent(at);
            }
            while let Some(below) = path.pop() {
                self.settle_below(at, below);
                settled[below as usize] = true;
                at = below;
            }
        }
        self.names.shrink_to_fit();
        self.nodes.shrink_to_fit();
    }

    fn settle_below(&mut self, parent: NodeId, id: NodeId) {
        if self.name(id).starts_with(b"\x01*") {
            self.node_mut(parent).wildcard = id;
        }
        let above = *self.node(parent);
        let node = self.node_mut(id);
        node.shadow = match above.shadow {
            NO_NODE if above.has_dname => parent,
            NO_NODE if node.is_cut => id,
            inherited => inherited,
        };
    }

    fn parent(&self, id: NodeId) -> NodeId {
        self.find(without_first_label(self.name(id))).expect("insert makes every ancestor")
    }

    fn hash(&self, name: &[u8]) -> u64 {
        hash(&self.hasher, name)
    }
}

impl Node {
    pub fn name_len(&self) -> usize {
        usize::from(self.name_len)
    }

    /// Where its name and its sets start.
    pub fn starts(&self) -> (u32, u32) {
        (self.name_at, self.sets_at)
    }
}

pub(super) fn hash(hasher: &RandomState, name: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(name);
    state.finish()
}

/// A name, or the relative part of one, without its first label; it must have one.
pub(super) fn without_first_label(name: &[u8]) -> &[u8] {
    &name[1 + usize::from(name[0])..]
}

/// The labels of a relative name.
pub(super) fn labels(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first()?;
        let (label, behind) = behind.split_at(usize::from(*length));
        rest = behind;
        Some(label)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relative(text: &str) -> Vec<u8> {
        let mut wire = Vec::new();
        for label in text.split('.').filter(|label| !label.is_empty()) {
            wire.push(label.len() as u8);
            wire.extend(label.as_bytes());
        }
        wire
    }

    fn tree(names: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for name in names {
            tree.insert(&relative(name)).unwrap();
        }
        tree
    }

    fn locate(tree: &Tree, name: &str) -> (Vec<u8>, bool) {
        let wire = relative(name);
        let place = tree.locate(&wire, labels(&wire).count());
        (tree.name(place.node).to_vec(), place.exact)
    }

    #[test]
    fn names_above_exist_too() {
        let tree = tree(&["a.b.c", "x.b.c"]);
        assert_eq!(tree.len(), 5, "apex, c, b.c, a.b.c, x.b.c");
        for name in ["", "c", "b.c", "a.b.c", "x.b.c"] {
            assert_eq!(locate(&tree, name), (relative(name), true), "{name}");
        }
    }

    #[test]
    fn the_closest_encloser_is_found_from_any_depth() {
        let tree = tree(&["a.b.c"]);
        for (name, encloser) in [("z", ""), ("z.c", "c"), ("z.a.b.c", "a.b.c"), ("1.2.3.4.5.6.b.c", "b.c")] {
            assert_eq!(locate(&tree, name), (relative(encloser), false), "{name}");
        }
    }

    #[test]
    fn shadows_fall_from_the_topmost_cut_or_dname() {
        let mut tree = tree(&["below.inner.cut", "below.dname", "dname", "*.free"]);
        let id = |tree: &Tree, name: &str| tree.find(&relative(name)).unwrap();
        for name in ["cut", "inner.cut"] {
            let node = id(&tree, name);
            tree.node_mut(node).is_cut = true;
        }
        let dname = id(&tree, "dname");
        tree.node_mut(dname).has_dname = true;
        tree.settle();
        let shadow = |name: &str| tree.node(id(&tree, name)).shadow;
        let cut = id(&tree, "cut");
        assert_eq!([shadow("cut"), shadow("inner.cut"), shadow("below.inner.cut")], [cut; 3]);
        assert_eq!([shadow("dname"), shadow("below.dname")], [NO_NODE, dname]);
        assert_eq!(shadow("free"), NO_NODE);
        assert_eq!(tree.node(id(&tree, "free")).wildcard, id(&tree, "*.free"));
        assert_eq!(tree.node(APEX).wildcard, NO_NODE);
    }
}
