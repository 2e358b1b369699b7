//! What a check is: data only. `config` makes it, `probe` carries it out.

use std::path::PathBuf;

use super::family::Family;

/// How one node is tested over one address family.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    pub name: String,
    pub kind: Kind,
    /// Time between two probes of one target, in milliseconds.
    pub interval_ms: u64,
    /// The same after a first failure (or success, when down), until the verdict is reached.
    pub fast_interval_ms: u64,
    /// Total deadline of one probe, in milliseconds.
    pub timeout_ms: u64,
    /// Successes in a row that make a node up.
    pub rise: u32,
    /// Failures that make a node down.
    pub fall: u32,
    /// The families that are probed; a node without an address of a family is not probed over it.
    pub families: Vec<Family>,
}

/// The protocol of a check and what it expects. In texts `{node}` is the node's name, `{ip}` its
/// address of the probed family (IPv6 in brackets where a port or path follows).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    Http(Http),
}

/// HTTP or HTTPS. The connection always goes to the node's configured address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Http {
    /// `http://` or `https://`, with `{node}` or `{ip}` as the host.
    pub url: String,
    /// Text that the body must contain; `{node}` is replaced.
    pub expect: Option<String>,
    /// Status codes that count as good; default 200.
    pub status: Vec<u16>,
    /// Another port than the URL's.
    pub port: Option<u16>,
    /// PEM file of the only certificate authorities to trust; default: the system's.
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate.
    pub insecure: bool,
}

/// What one probe found.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Outcome {
    /// `Some(true)` good, `Some(false)` bad, `None`: the probe could not say (counts for nothing).
    pub success: Option<bool>,
    /// A result word as HAProxy's: L4TOUT, L4CON, L6RSP, L6TOUT, L7OK, L7STS, L7RSP, L7TOUT, ...
    pub word: String,
    /// One line for people: what was seen.
    pub detail: String,
    /// How long the probe took, in milliseconds.
    pub duration_ms: u64,
    /// End of validity of the certificate that was shown, in Unix seconds.
    pub cert_expiry_unix_s: Option<i64>,
}
