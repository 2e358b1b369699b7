//! What outlives the process: written by the daemon on [`super::effect::Effect::Persist`], given
//! back to [`super::Director::new`]. Everything goes by name, so that it fits other settings too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dns::name::Name;
use crate::failover::pool::{Node, PoolRoles, Roles};
use crate::health::family::PerFamily;
use crate::health::time::Now;
use crate::health::verdict::Counter;

use super::event::Target;
use super::orders::Orders;

/// The version of the format that this program writes; another one is refused by
/// [`State::is_readable`].
pub const VERSION: u32 = 1;

/// Verdicts are taken over from a state that is at most this many intervals old; from an older one
/// (the process was away, the clock jumped) only roles, orders, generation and serials.
const FRESH_INTERVALS: u64 = 10;

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct State {
    pub version: u32,
    /// Nothing has happened after it: the process ended in good order.
    #[serde(default)]
    pub is_final: bool,
    pub saved_unix_ms: i64,
    /// The last generation that was put in service.
    pub generation: u64,
    /// By name.
    #[serde(default)]
    pub pools: BTreeMap<String, SavedPool>,
    /// By origin, as text with the final dot.
    #[serde(default)]
    pub zones: BTreeMap<String, SavedZone>,
    #[serde(default)]
    pub targets: Vec<SavedTarget>,
    #[serde(default)]
    pub orders: Orders,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SavedPool {
    pub roles: Option<PerFamily<SavedRoles>>,
    /// When the primary last moved without having been ordered or planned to.
    pub moved_unix_ms: PerFamily<Option<i64>>,
    pub rotated_week: PerFamily<Option<i64>>,
    /// When the primary last moved at all, and why.
    pub since_unix_ms: Option<i64>,
    pub rule: String,
    pub reason: String,
    /// What the probes had said then.
    #[serde(default)]
    pub probes: Vec<String>,
}

/// Names of the nodes that hold the roles.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SavedRoles {
    pub primary: Option<String>,
    pub standby: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SavedZone {
    pub serial: u32,
    pub serial_at_nsd: Option<u32>,
    /// nsd did not have this yet.
    pub export_pending: bool,
    /// See [`super::settings::ZoneSettings::content`].
    #[serde(default)]
    pub content: Option<u64>,
    /// A rollback holds the exports.
    #[serde(default)]
    pub export_held: bool,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SavedTarget {
    #[serde(flatten)]
    pub target: Target,
    #[serde(flatten)]
    pub counter: Counter,
    /// When the verdict was reached.
    pub since_unix_ms: Option<i64>,
}

impl State {
    /// The same, knowing that nsd serves this serial of a zone (origin with the final dot).
    pub fn with_serial_at_nsd(state: Option<State>, origin: &Name, serial: u32) -> State {
        // Nothing was saved before: nothing is in service that was not written down.
        let mut state = state.unwrap_or_else(|| State { version: VERSION, is_final: true, ..State::default() });
        let zone =
            state.zones.entry(origin.to_string()).or_insert_with(|| SavedZone { serial, ..SavedZone::default() });
        zone.serial_at_nsd = Some(serial);
        state
    }

    /// What counts of a state when a newer one is lost: the orders, and what only grows. Who was primary
    /// may have changed since.
    pub fn outdated(mut self) -> State {
        self.is_final = false;
        self.generation = self.generation.saturating_add(u64::from(super::UNWRITTEN_MAX));
        self.pools.values_mut().for_each(|pool| pool.roles = None);
        self
    }

    /// The latest time at which anything in it is said to have happened.
    pub fn latest_unix_ms(&self) -> i64 {
        let of = |pool: &SavedPool| [pool.since_unix_ms, pool.moved_unix_ms.ipv4, pool.moved_unix_ms.ipv6];
        let times = self.pools.values().flat_map(of).flatten();
        times.chain(self.targets.iter().filter_map(|target| target.since_unix_ms)).fold(self.saved_unix_ms, i64::max)
    }

    /// Whether this program understands the format.
    pub fn is_readable(&self) -> bool {
        self.version == VERSION
    }

    /// Whether verdicts of a check with this interval are still worth something.
    pub(super) fn is_fresh(&self, interval_ms: u64, now: Now) -> bool {
        let age_ms = u64::try_from(now.unix_ms.saturating_sub(self.saved_unix_ms));
        age_ms.is_ok_and(|age_ms| age_ms <= interval_ms.saturating_mul(FRESH_INTERVALS))
    }
}

/// Roles by name to roles by index. `None` if a primary is no longer there; a standby that is gone,
/// or an address, leaves its role to the next decision.
pub(super) fn find_roles(saved: &PerFamily<SavedRoles>, nodes: &[Node]) -> Option<PoolRoles> {
    let find = |name: &str| nodes.iter().position(|node| node.name == name);
    let is_gone = |roles: &SavedRoles| roles.primary.as_deref().is_some_and(|name| find(name).is_none());
    if is_gone(&saved.ipv4) || is_gone(&saved.ipv6) {
        return None;
    }
    Some(PerFamily::from_fn(|family| {
        let find = |name: &Option<String>| find(name.as_deref()?).filter(|node| nodes[*node].has(family));
        Roles { primary: find(&saved[family].primary), standby: find(&saved[family].standby) }
    }))
}

pub(super) fn name_roles(roles: &PoolRoles, nodes: &[Node]) -> PerFamily<SavedRoles> {
    let name = |node: Option<usize>| Some(nodes.get(node?)?.name.clone());
    PerFamily::from_fn(|family| SavedRoles {
        primary: name(roles[family].primary),
        standby: name(roles[family].standby),
    })
}

/// A moment of the calendar on the monotonic clock of this process; what lies in the future (the
/// clock went back) counts as now.
pub(super) fn to_monotonic(unix_ms: i64, now: Now) -> i64 {
    let age_ms = now.unix_ms.saturating_sub(unix_ms).max(0);
    monotonic(now).saturating_sub(age_ms)
}

/// The other way round.
pub(super) fn to_unix(monotonic_ms: i64, now: Now) -> i64 {
    now.unix_ms.saturating_sub(monotonic(now).saturating_sub(monotonic_ms))
}

pub(super) fn monotonic(now: Now) -> i64 {
    i64::try_from(now.monotonic_ms).unwrap_or(i64::MAX)
}
