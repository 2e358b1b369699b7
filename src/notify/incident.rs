//! One incident: everything that somebody needs who reads of it at night, in one record.

use serde::{Deserialize, Serialize};

use crate::director::event::{ExportReport, ExportResult};
use crate::director::incident::Kind;
use crate::health::family::Family;

/// Pools that one incident tells of; of more it gives the number.
pub const MOVES_MAX: usize = 20;
/// Names of a pool whose answers are shown; of more it gives the number.
pub const ANSWERS_MAX: usize = 10;

/// Zones that one incident names; of more it gives the number.
pub const ZONES_MAX: usize = 50;

/// The JSON that webhooks and programs get. Fields are added, never changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Incident {
    /// Unique to this host and moment: the same incident always carries the same.
    pub id: String,
    /// What it is, the most telling first.
    pub kinds: Vec<Kind>,
    pub severity: Severity,
    pub host: String,
    /// Of the program.
    pub version: String,
    /// When it happened, as text (RFC 3339) and in milliseconds.
    pub time: String,
    pub unix_ms: i64,
    /// One line for people: what, and why.
    pub summary: String,
    /// The decision it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Pools that moved, at most [`MOVES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Move>,
    pub moves_left_out: usize,
    /// The exports that belong to it, as far as they have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<ExportReport>,
    /// Zones whose export had not ended when this was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports_pending: Vec<String>,
    /// Zones whose next export would be refused, or no longer; at most [`ZONES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub zones_left_out: usize,
    /// Why, for each of `zones` in turn, where it is not the same for all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Until when a cache may hold an old answer: the moment the last one left, and its TTL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caches_until_unix_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

/// One pool of an incident.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Move {
    pub pool: String,
    /// Empty: no primary has moved.
    pub families: Vec<Family>,
    pub from: Option<String>,
    pub to: Option<String>,
    pub rule: String,
    pub reason: String,
    /// What each target said last.
    pub probes: Vec<String>,
    pub zones: Vec<String>,
    /// Names that follow the pool's primary.
    pub names: usize,
    /// Their answers before and after, of at most [`ANSWERS_MAX`].
    pub answers: Vec<Change>,
}

/// The answer of one name and type.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Change {
    pub name: String,
    /// "A" or "AAAA".
    #[serde(rename = "type")]
    pub rtype: String,
    pub ttl_s: u32,
    /// Absent: no data.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// A certificate that a check has seen.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Certificate {
    pub node: String,
    pub check: String,
    pub expires_unix_s: i64,
    /// The same as text (RFC 3339).
    pub expires: String,
    /// Whole days; negative: it has ended.
    pub days_left: i64,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is over.
    Good,
    /// As planned or ordered.
    Notice,
    Warning,
    Critical,
}

impl Severity {
    /// In capitals, for a subject.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Good => "OK",
            Severity::Notice => "NOTICE",
            Severity::Warning => "WARNING",
            Severity::Critical => "CRITICAL",
        }
    }
}

impl Incident {
    /// What `notify test` sends.
    pub fn test(host: &str, unix_ms: i64) -> Incident {
        Incident {
            id: format!("{host}-{unix_ms}-test"),
            kinds: vec![Kind::Test],
            severity: Severity::Notice,
            host: host.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: rfc3339(unix_ms),
            unix_ms,
            summary: "this is a test: what it tells of has not happened".to_owned(),
            generation: None,
            moves: Vec::new(),
            moves_left_out: 0,
            exports: Vec::new(),
            exports_pending: Vec::new(),
            zones: Vec::new(),
            zones_left_out: 0,
            reasons: Vec::new(),
            caches_until_unix_ms: None,
            certificate: None,
        }
    }
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// How bad the end of an export is; `None`: nsd has the decision.
pub fn severity_of(result: ExportResult) -> Option<Severity> {
    match result {
        ExportResult::Served | ExportResult::Unchanged => None,
        ExportResult::RolledBack | ExportResult::Refused => Some(Severity::Warning),
        ExportResult::Broken => Some(Severity::Critical),
    }
}

/// A moment as RFC 3339; what no calendar has is told in milliseconds.
pub fn rfc3339(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(moment) => moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => format!("{unix_ms} ms"),
    }
}
