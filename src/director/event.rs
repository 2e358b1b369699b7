//! What the director is told.

use crate::health::check::Outcome;
use crate::health::family::Family;

use super::settings::Settings;

/// Something happened. See [`super::effect::Effect`] for the other direction.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed: [`super::Director::next_wakeup_ms`] is reached.
    Tick,
    /// A probe that [`super::effect::Effect::Probe`] asked for has ended.
    Probed { target: Target, outcome: Outcome },
    /// The operator ordered something; checked against the settings by the director.
    Ordered(Order),
    /// An export asked for by [`super::effect::Effect::Export`] has ended.
    Exported(ExportReport),
    /// The operator has rolled a zone back (index into [`Settings::zones`]): its exports are held;
    /// or asks for an export again.
    ExportHeld { zone: usize, held: bool },
    /// A zone's next export (index into [`Settings::zones`]) was tried as far as it leaves no trace;
    /// why it would be refused.
    Rehearsed { zone: usize, refused: Option<String> },
    /// nsd was seen to serve this serial for this zone (index into [`Settings::zones`]).
    SerialSeen { zone: usize, serial: u32 },
    /// A secondary of this zone was seen to serve this serial, which is not the current one.
    SecondarySeen { zone: usize, serial: u32 },
    /// A secondary of this zone has acknowledged the current serial long ago, and serves an older one.
    SecondaryBehind { zone: usize },
    /// A new configuration was loaded and is complete.
    Reloaded(Box<Settings>),
}

/// What one probe looks at: a check of one node over one family, named so that it survives a
/// reload and a restart.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
pub struct Target {
    pub check: String,
    pub node: String,
    pub family: Family,
}

/// An operator's order, as it comes over the control socket.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Order {
    pub action: Action,
    /// Why, in the operator's words.
    #[serde(default)]
    pub reason: Option<String>,
    /// The order ends after this many seconds; absent: when it is taken back.
    #[serde(default)]
    pub for_s: Option<u64>,
}

#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Make this node primary and hold it there.
    Switch { pool: String, node: String },
    /// Hold the pool as it is.
    Hold { pool: String },
    /// Take `switch` or `hold` back.
    Release { pool: String },
    /// The node is not eligible in any pool.
    Drain { node: String },
    /// Take `drain` back.
    Ready { node: String },
}

/// How an export ended.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct ExportReport {
    /// The zone's origin as text with the final dot.
    pub zone: String,
    pub generation: u64,
    /// The serial that was to be published.
    pub serial: u32,
    pub result: ExportResult,
    /// One line for people: what was done, or which step failed and why.
    pub detail: String,
    pub unix_ms: i64,
    pub duration_ms: u64,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportResult {
    /// nsd serves the new serial and the failover RRsets of the decision.
    Served,
    /// Nothing but the serial would have changed; the file was left alone.
    Unchanged,
    /// The old file is back and served.
    RolledBack,
    /// It failed before nsd could see anything; the old file was never touched.
    Refused,
    /// It failed, and nsd does not (or may not) serve the old file again: needs a person.
    Broken,
}
