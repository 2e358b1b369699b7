//! What the director wants done, in this order.

use std::sync::Arc;

use crate::failover::pool::PoolRoles;

use super::event::Target;

#[derive(Clone, Debug)]
pub enum Effect {
    /// Put this decision in service at once, before anything else. With the generation of before,
    /// nothing but TTL bounds is new in it.
    Swap(Arc<Decision>),
    /// Start a probe; its end must come back as [`super::event::Event::Probed`], whatever it is:
    /// until then the target is not probed again.
    Probe(Target),
    /// Bring a zone (index into the settings) to nsd as of this generation, with this serial; its
    /// end must come back as [`super::event::Event::Exported`] with both. One at a time for a zone.
    Export { zone: usize, generation: u64, serial: u32 },
    /// Tell people: log, notifications.
    Notify(Arc<Transition>),
    /// Write [`super::Director::state`] to disk.
    Persist,
}

/// The roles of every pool, and the serial of every zone: what the table is made from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Decision {
    /// Counts decisions; never falls, not even over a restart.
    pub generation: u64,
    /// For each pool of the settings, in order.
    pub pools: Vec<PoolRoles>,
    /// Upper bound of an answer's TTL for each pool, in seconds (`ttl-min`).
    pub ttl_max_s: Vec<Option<u32>>,
    /// For each zone of the settings, in order.
    pub serials: Vec<u32>,
}

/// A pool has moved: one self-contained record.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Transition {
    pub generation: u64,
    pub unix_ms: i64,
    pub pool: String,
    /// Families that moved ("ipv4", "ipv6"). Empty: no primary moved (`from` is `to`), but people
    /// shall know: nobody is up any more, or again somebody is, or the standby is another.
    pub families: Vec<crate::health::family::Family>,
    /// Names of the primaries before and after; absent: none (withdrawn).
    pub from: Option<String>,
    pub to: Option<String>,
    /// The rule of the truth table that led to it, as a short word for metrics.
    pub rule: String,
    /// The sentence for people.
    pub reason: String,
    /// Origins of the zones that changed with it.
    pub zones: Vec<String>,
    /// The last outcome of each target that was looked at, as "node ipv4 web: L4CON refused (3/3 failures)".
    pub probes: Vec<String>,
    /// Decided in shadow: nobody was moved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}
