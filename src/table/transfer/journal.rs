//! The former versions of a zone: for each its serial, and who held which role. A version costs a
//! few octets, whatever the size of the zone.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use super::super::Table;
use super::super::zone_table::ZoneTable;
use super::change::Followers;
use super::edit::EDIT_NAMES_MAX;

/// Versions kept of each zone; a secondary that is further behind gets the whole zone.
pub const VERSIONS_MAX: usize = 256;

/// Contents kept besides the current one, for secondaries that have not yet heard of an edit.
pub const FORMER_MAX: usize = 2;

/// The versions of one zone. When the operator has edited it, another content begins.
pub struct Journal {
    current: Content,
    /// The newest last.
    former: VecDeque<Content>,
}

/// The versions of one content, the newest last.
struct Content {
    zone: Arc<ZoneTable>,
    /// The places of the roles that the zone depends on, sorted.
    picks: Arc<[u32]>,
    followers: Arc<OnceLock<Followers>>,
    versions: VecDeque<(u32, Arc<[u16]>)>,
}

/// A former version, to be compared with the current one.
pub struct Past {
    pub(super) zone: Arc<ZoneTable>,
    pub(super) serial: u32,
    pub(super) followers: Arc<OnceLock<Followers>>,
    picks: Arc<[u32]>,
    holders: Arc<[u16]>,
}

impl Journal {
    /// Begins with the current version of a zone (index into the catalog).
    pub fn new(table: &Table, zone: usize) -> Journal {
        Journal { current: Content::new(table, zone), former: VecDeque::new() }
    }

    /// Takes note of the version that a table has. False: nothing is new.
    pub fn record(&mut self, table: &Table, zone: usize) -> bool {
        let zone_table = &table.catalog.zones[zone];
        let current = &mut self.current;
        if !Arc::ptr_eq(&current.zone, zone_table) {
            if current.zone.content.is_none() || current.zone.content != zone_table.content {
                let former = std::mem::replace(current, Content::new(table, zone));
                // A zone that will not be compared is not kept.
                if former.zone.names() <= EDIT_NAMES_MAX {
                    self.former.push_back(former);
                }
                if self.former.len() > FORMER_MAX {
                    self.former.pop_front();
                }
                return true;
            }
            // Loaded again, and nothing in it has changed: the same records in the same order.
            current.zone = zone_table.clone();
            current.followers = Arc::default();
        }
        current.note(table, zone)
    }

    /// The version with this serial.
    pub fn since(&self, serial: u32) -> Option<Past> {
        let newest_first = [&self.current].into_iter().chain(self.former.iter().rev());
        newest_first.filter_map(|content| content.since(serial)).next()
    }

    /// Versions of the current content.
    pub fn versions(&self) -> usize {
        self.current.versions.len()
    }
}

impl Content {
    fn new(table: &Table, zone: usize) -> Content {
        let zone_table = table.catalog.zones[zone].clone();
        let mut picks: Vec<u32> = zone_table.choices.iter().flat_map(|choice| choice.picks()).collect();
        picks.sort_unstable();
        picks.dedup();
        let mut content =
            Content { zone: zone_table, picks: picks.into(), followers: Arc::default(), versions: VecDeque::new() };
        content.note(table, zone);
        content
    }

    fn since(&self, serial: u32) -> Option<Past> {
        let (_, holders) = self.versions.iter().rev().find(|(known, _)| *known == serial)?;
        Some(Past {
            zone: self.zone.clone(),
            serial,
            followers: self.followers.clone(),
            picks: self.picks.clone(),
            holders: holders.clone(),
        })
    }

    fn note(&mut self, table: &Table, zone: usize) -> bool {
        let serial = table.serial(zone);
        if self.versions.back().is_some_and(|(last, _)| *last == serial) {
            return false;
        }
        let holders: Arc<[u16]> = self.picks.iter().map(|pick| table.picks.holder(*pick)).collect();
        if self.versions.len() == VERSIONS_MAX {
            self.versions.pop_front();
        }
        self.versions.push_back((serial, holders));
        true
    }
}

impl Past {
    /// Who held the role at this place then.
    pub(super) fn holder(&self, pick: u32) -> u16 {
        match self.picks.binary_search(&pick) {
            Ok(at) => self.holders[at],
            Err(_) => super::super::choice::NOBODY,
        }
    }
}
