//! What the director is told to look after: made by the daemon from the configuration and zones.

use crate::dns::name::Name;
use crate::export::serial::SerialScheme;
use crate::failover::pool::{Pool, PoolRoles};
use crate::health::check::Check;

/// Everything that a (re)load brings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub pools: Vec<Pool>,
    pub checks: Vec<Check>,
    pub zones: Vec<ZoneSettings>,
}

/// A zone as the director sees it: its serial, and the pools that its failover records follow.
#[derive(Clone, Debug)]
pub struct ZoneSettings {
    pub origin: Name,
    /// Indexes into [`Settings::pools`], sorted, each once.
    pub pools: Vec<usize>,
    pub scheme: SerialScheme,
    /// The serial found in the zone file.
    pub serial_in_file: u32,
    /// Who holds the roles according to the addresses in the tagged records, for each of `pools`.
    /// `None` where the addresses belong to no node or contradict each other.
    pub roles_in_file: Vec<Option<PoolRoles>>,
    /// Whether a changed decision is to be exported to nsd.
    pub export: bool,
    /// A number that changes whenever the zone says something else, for a zone that secondaries take
    /// from us: they see nothing but its serial.
    pub content: Option<u64>,
}
