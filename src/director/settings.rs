//! What the director is told to look after: made by the daemon from the configuration and zones.

use std::net::SocketAddr;

use crate::dns::name::Name;
use crate::export::serial::SerialScheme;
use crate::failover::pool::{Node, Pool, PoolRoles};
use crate::health::check::{Check, Kind, Tcp};
use crate::health::family::Family;

use super::event::Target;
use super::status::CertDays;

/// The name of the check of anchors; no other can have it.
pub const ANCHOR: &str = "anchor";

/// Everything that a (re)load brings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub pools: Vec<Pool>,
    pub checks: Vec<Check>,
    pub zones: Vec<ZoneSettings>,
    pub cert_days: CertDays,
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
    /// Signed elsewhere: its SOA is only valid with the serial that its signer gave it.
    pub is_signed: bool,
}

/// What an anchor is to the director and to the prober: a target by name, its check and its node.
pub fn anchor(address: SocketAddr) -> (Target, Check, Node) {
    let (family, ipv4, ipv6) = match address {
        SocketAddr::V4(address) => (Family::Ipv4, Some(*address.ip()), None),
        SocketAddr::V6(address) => (Family::Ipv6, None, Some(*address.ip())),
    };
    let name = address.to_string();
    let target = Target { check: ANCHOR.to_owned(), node: name.clone(), family };
    let check = Check {
        name: ANCHOR.to_owned(),
        kind: Kind::Tcp(Tcp { port: address.port(), ..Tcp::default() }),
        interval_ms: 30_000,
        fast_interval_ms: 1_000,
        timeout_ms: 2_000,
        rise: 1,
        fall: 2,
        families: vec![family],
    };
    (target, check, Node { name, ipv4, ipv6 })
}
