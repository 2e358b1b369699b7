//! Compiled zones, the answer table of one generation, and `respond()`.
//!
//! A [`zone_table::ZoneTable`] is made when a zone is loaded and holds every answer that any
//! decision can ask for. A [`Table`] is those zones plus one decision: a handful of numbers, so that
//! making one costs the same for ten names and for a million. [`Live`] is the one place that says
//! which table is in service. Knows no clock, no socket, no file.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::dns::name::Name;
use crate::failover::pool::PoolRoles;

use choice::Picks;
use policy::Policy;
use tree::hash;
use zone_table::ZoneTable;

mod blob;
mod choice;
mod collect;
pub mod compile;
mod denial;
mod index;
mod options;
pub mod policy;
mod proof;
mod reply;
pub mod respond;
pub mod transfer;
mod tree;
mod walk;
pub mod warm;
pub mod zone_table;

/// The table in service. Loading it takes no lock; a batch of queries is answered from one load.
pub struct Live(ArcSwap<Table>);

impl Live {
    pub fn new(table: Table) -> Live {
        Live(ArcSwap::from_pointee(table))
    }

    /// The table as of now. It stays whole and unchanged for as long as it is held.
    pub fn load(&self) -> Guard<Arc<Table>> {
        self.0.load()
    }

    /// Puts `table` in service and hands the old one back: if it is the last to hold a large catalog,
    /// whoever drops it pays for that, so the caller should, and not a thread that answers.
    pub fn swap(&self, table: Table) -> Arc<Table> {
        self.0.swap(Arc::new(table))
    }
}

/// The answers of one generation: the zones, and what the decision picks in them.
pub struct Table {
    generation: u64,
    catalog: Arc<Catalog>,
    picks: Picks,
    serials: Box<[u32]>,
    policy: Arc<Policy>,
}

impl Table {
    /// `roles` and `ttl_max_s` (upper bounds for TTLs) are those of each pool that the zones were
    /// compiled with, `serials` those of each zone of the catalog, in the same order. A missing role
    /// is held by nobody, a missing bound does not bind, a missing serial is that of the zone file.
    pub fn new(
        catalog: Arc<Catalog>,
        generation: u64,
        roles: &[PoolRoles],
        ttl_max_s: &[Option<u32>],
        serials: &[u32],
    ) -> Table {
        let in_file = catalog.zones.iter().map(|zone| zone.serial_in_file());
        let serials = in_file.enumerate().map(|(at, serial)| serials.get(at).copied().unwrap_or(serial)).collect();
        Table { generation, picks: Picks::new(roles, ttl_max_s), serials, catalog, policy: Arc::default() }
    }

    /// The same with what the server says of itself; without it, nothing.
    pub fn with_policy(self, policy: Arc<Policy>) -> Table {
        Table { policy, ..self }
    }

    /// Whether clients that send a cookie get one of ours.
    pub fn makes_cookies(&self) -> bool {
        self.policy.cookies.is_some()
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The serial that a zone has, by its index in the catalog.
    pub fn serial(&self, zone: usize) -> u32 {
        self.serials[zone]
    }
}

/// The zones, found by the longest origin that a name ends in.
pub struct Catalog {
    zones: Box<[Arc<ZoneTable>]>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// Labels of the longest origin, by labels.
    depth_max: usize,
    /// Some zone is larger than the caches.
    has_large_zone: bool,
}

impl Catalog {
    /// Fails with the origin that two zones share.
    pub fn new(zones: Vec<Arc<ZoneTable>>) -> Result<Catalog, DuplicateZone> {
        let hasher = RandomState::default();
        let mut index: HashTable<u32> = HashTable::with_capacity(zones.len());
        let origin = |at: &u32| zones[*at as usize].origin().wire();
        for (at, zone) in (0..).zip(&zones) {
            let wire = zone.origin().wire();
            let key = hash(&hasher, wire);
            if index.find(key, |other| origin(other) == wire).is_some() {
                return Err(DuplicateZone(zone.origin().clone()));
            }
            index.insert_unique(key, at, |at| hash(&hasher, origin(at)));
        }
        let depth_max = zones.iter().map(|zone| zone.origin().labels().count()).max().unwrap_or(0);
        let has_large_zone = zones.iter().any(|zone| zone.names() >= warm::LARGE_ZONE);
        Ok(Catalog { zones: zones.into(), index, hasher, depth_max, has_large_zone })
    }

    pub fn zones(&self) -> &[Arc<ZoneTable>] {
        &self.zones
    }

    /// The index of the zone with exactly this origin, in any case of letters.
    pub fn zone_at(&self, origin: &Name) -> Option<usize> {
        let origin = origin.to_lowercase();
        let found = self.find(origin.wire(), origin.labels().count(), false)?;
        (*self.zones[found].origin() == origin).then_some(found)
    }

    /// The zone that a name lies in, by its index. `name` is in lower case and has `labels` labels.
    /// With `above`, a zone whose apex is the name itself is passed over if there is one above it.
    fn find(&self, name: &[u8], labels: usize, above: bool) -> Option<usize> {
        let mut rest = name;
        for _ in self.depth_max..labels {
            rest = tree::without_first_label(rest);
        }
        let mut own = None;
        loop {
            let same = |at: &u32| self.zones[*at as usize].origin().wire() == rest;
            if let Some(at) = self.index.find(hash(&self.hasher, rest), same) {
                let at = *at as usize;
                if !above || rest.len() < name.len() {
                    return Some(at);
                }
                own = Some(at);
            }
            if rest.len() == 1 {
                return own;
            }
            rest = tree::without_first_label(rest);
        }
    }
}

/// Two zones have this origin.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("zone {0} is given twice")]
pub struct DuplicateZone(pub Name);
