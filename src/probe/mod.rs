//! The sockets behind the checks: one probe is one look at one node over one address family.
//!
//! A probe cannot hang and cannot fail otherwise than by its [`Outcome`]: every one ends by its
//! deadline, and what goes wrong on our own side (no descriptors left, a firewall of ours) counts
//! neither for nor against the node.

mod http;
mod tls;
mod trace;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::failover::pool::Node;
use crate::health::check::{Check, Kind, Outcome};
use crate::health::family::Family;

use tls::Trust;
use trace::Trace;

/// Carries out probes. Holds what all probes of a kind of trust share: its certificate authorities
/// and its HTTP client, which keeps no connection.
#[derive(Clone, Debug)]
pub struct Prober {
    clients: HashMap<Trust, reqwest::Client>,
}

impl Prober {
    /// Loads what these checks need. Reads the `ca-file`s, and the system's certificate
    /// authorities if a check needs them.
    pub fn new<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Result<Prober, ProberError> {
        let mut clients = HashMap::new();
        for check in checks {
            let Kind::Http(http) = &check.kind;
            let trust = Trust::of(http);
            if let Entry::Vacant(place) = clients.entry(trust) {
                let failed = |source| ProberError { check: check.name.clone(), source };
                let client = http::client(tls::config(place.key()).map_err(failed)?);
                place.insert(client.map_err(|error| failed(TrustError::Client(error)))?);
            }
        }
        Ok(Prober { clients })
    }

    /// Looks at one node over one family. `check` must be one of those given to [`Prober::new`].
    pub async fn probe(&self, check: &Check, node: &Node, family: Family) -> Outcome {
        let started = Instant::now();
        let deadline = Duration::from_millis(check.timeout_ms);
        let address = match family {
            Family::Ipv4 => node.ipv4.map(Into::into),
            Family::Ipv6 => node.ipv6.map(Into::into),
        };
        let Some(address) = address else {
            return Finding::cannot_say(format!("{} has no {family} address", node.name)).outcome(started, None);
        };
        let trace = Arc::new(Trace::new(address));
        let Kind::Http(http) = &check.kind;
        let found = match self.clients.get(&Trust::of(http)) {
            None => Ok(Finding::cannot_say("the check is not known to the prober".to_owned())),
            Some(client) => {
                let looking = trace::within(Arc::clone(&trace), http::look(client, http, node, address));
                tokio::time::timeout(deadline, looking).await
            }
        };
        let finding = found.unwrap_or_else(|_| trace.timed_out(deadline));
        finding.outcome(started, trace.cert_expiry_unix_s())
    }
}

/// A check's certificate authorities cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("check `{check}`: {source}")]
pub struct ProberError {
    pub check: String,
    pub source: TrustError,
}

/// See [`ProberError`].
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("ca-file {file}: {error}")]
    Unreadable { file: PathBuf, error: std::io::Error },
    #[error("ca-file {file}: not a PEM file with certificates: {reason}")]
    NotPem { file: PathBuf, reason: String },
    #[error("the system's certificate authorities cannot be had: {0}; set ca-file or insecure")]
    NoSystemRoots(rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
    #[error("the HTTP client cannot be set up: {0}")]
    Client(reqwest::Error),
}

/// What a probe found, without its times.
#[derive(Debug, Eq, PartialEq)]
struct Finding {
    success: Option<bool>,
    word: &'static str,
    detail: String,
}

impl Finding {
    fn good(word: &'static str, detail: String) -> Finding {
        Finding { success: Some(true), word, detail }
    }

    fn bad(word: &'static str, detail: String) -> Finding {
        Finding { success: Some(false), word, detail }
    }

    /// The fault is on our side, or in the configuration.
    fn cannot_say(detail: String) -> Finding {
        Finding { success: None, word: "UNK", detail }
    }

    fn outcome(self, started: Instant, cert_expiry_unix_s: Option<i64>) -> Outcome {
        Outcome {
            success: self.success,
            word: self.word.to_owned(),
            detail: self.detail,
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            cert_expiry_unix_s,
        }
    }
}
