//! The state of everything, for people and programs: `GET /api/v1/status`, `status --json`.

use serde::{Deserialize, Serialize};

use crate::health::check::Measure;
use crate::health::family::Family;

use super::event::ExportReport;

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    pub generation: u64,
    /// When this snapshot was made.
    pub unix_ms: i64,
    pub started_unix_ms: i64,
    /// True once the first decision has been confirmed by a full round of probes.
    pub ready: bool,
    /// Nothing is published (`run --shadow`): the roles and serials are what would be. Filled in by
    /// the daemon.
    #[serde(default)]
    pub shadow: bool,
    pub pools: Vec<PoolStatus>,
    pub nodes: Vec<NodeStatus>,
    pub zones: Vec<ZoneStatus>,
    #[serde(default)]
    pub cert_days: CertDays,
}

/// How near its end a certificate is worth an alarm, in days: below the first a warning, below the
/// second it is urgent. Part of the status, so that all who show it mean the same.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CertDays {
    pub warning: i64,
    pub critical: i64,
}

impl Default for CertDays {
    fn default() -> CertDays {
        CertDays { warning: 14, critical: 3 }
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct PoolStatus {
    pub name: String,
    /// For each family that the pool's nodes have.
    pub families: Vec<PoolFamilyStatus>,
    /// When the primary last changed; absent: not since the state began.
    pub since_unix_ms: Option<i64>,
    /// The rule and the sentence of the last decision.
    pub rule: String,
    pub reason: String,
    /// The planned rotation, if any.
    pub next_rotation_unix_ms: Option<i64>,
    pub hold: Option<OverrideStatus>,
    /// Nodes in today's order of preference.
    pub order: Vec<String>,
    /// What is wrong although there is a primary, a sentence each.
    #[serde(default)]
    pub alarms: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PoolFamilyStatus {
    pub family: Family,
    pub primary: Option<String>,
    pub standby: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct OverrideStatus {
    /// The node that is held; absent for a drain.
    pub node: Option<String>,
    pub reason: Option<String>,
    pub since_unix_ms: i64,
    pub until_unix_ms: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct NodeStatus {
    pub name: String,
    pub ipv4: Option<String>,
    pub ipv6: Option<String>,
    pub drain: Option<OverrideStatus>,
    pub checks: Vec<CheckStatus>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CheckStatus {
    pub check: String,
    pub family: Family,
    /// "up", "down" or "unknown".
    pub verdict: String,
    /// Probes that speak against the verdict in a row, and how many turn it: 2 of 3.
    pub against: u32,
    pub needed: u32,
    /// The last outcome.
    pub word: String,
    pub detail: String,
    pub duration_ms: Option<u64>,
    pub last_probe_unix_ms: Option<i64>,
    pub since_unix_ms: Option<i64>,
    pub cert_expiry_unix_s: Option<i64>,
    /// What the plugin measured with the last probe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measures: Vec<Measure>,
    /// The last probes, oldest first, a character each: `+` good, `-` bad, `?` could not say.
    #[serde(default)]
    pub history: String,
    /// The last probes could not say anything: whatever the verdict is, its end would not be noticed.
    #[serde(default)]
    pub blind: bool,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ZoneStatus {
    /// The origin with its final dot.
    pub name: String,
    pub pools: Vec<String>,
    /// The serial of the current decision.
    pub serial: u32,
    /// The serial last seen at nsd's first address.
    pub serial_at_nsd: Option<u32>,
    /// Each address of nsd, where there are several (`verify`); filled in by the daemon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerStatus>,
    pub export: bool,
    /// A rollback holds the exports until the operator asks for one.
    #[serde(default)]
    pub export_held: bool,
    pub last_export: Option<ExportReport>,
    /// Why the next export would be refused, as far as that can be told beforehand; absent: it is
    /// not known to be.
    #[serde(default)]
    pub next_refused: Option<String>,
    /// Those that are told of changes; filled in by the daemon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secondaries: Vec<SecondaryStatus>,
}

impl ZoneStatus {
    /// Whether nsd serves another serial than decided, at any of its addresses.
    pub fn is_behind(&self) -> bool {
        let differs = |serial: Option<u32>| serial != Some(self.serial);
        self.export && (differs(self.serial_at_nsd) || self.servers.iter().any(|server| differs(server.serial)))
    }
}

/// One address of nsd.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ServerStatus {
    /// Address and port.
    pub server: String,
    /// The serial that it served when it was asked last; absent: it did not answer, or not for this
    /// zone.
    pub serial: Option<u32>,
}

/// A secondary that takes a zone from us.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SecondaryStatus {
    /// Address and port.
    pub server: String,
    /// The serial that it served when it was asked last; absent: it was never seen, or does not answer.
    pub serial: Option<u32>,
    /// The serial of the last NOTIFY that it acknowledged.
    pub acknowledged: Option<u32>,
    /// What was wrong with the last exchange; empty: nothing.
    pub problem: String,
}
