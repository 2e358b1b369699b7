//! The sockets behind the checks: one probe is one look at one node over one address family.
//!
//! A probe cannot hang and cannot fail otherwise than by its [`Outcome`]: every one ends by its
//! deadline, and what goes wrong on our own side (no descriptors left, a firewall of ours) counts
//! neither for nor against the node.
//!
//! Result words are HAProxy's: `L4` the connection, `L6` TLS, `L7` the protocol; `OK`, `CON`
//! refused, `TOUT` deadline, `RSP` wrong or no answer, `STS` an answer that says no; `PROCOK`,
//! `PROCERR`, `PROCTOUT` for plugins; `SOCKERR` and `UNK` where nothing can be said of the node.

mod dns;
mod exec;
mod file;
mod gemini;
mod http;
mod smtp;
mod stream;
mod tcp;
mod tls;
mod trace;
mod trust;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use regex::bytes::{Regex, RegexBuilder};
use rustls::ClientConfig;
use tokio::sync::Semaphore;

use crate::failover::pool::Node;
use crate::health::check::{Certificates, Check, Kind, Measure, Outcome, PATTERN_MAX};
use crate::health::family::Family;

use file::Reads;
use trace::Trace;
use trust::Trust;

/// Plugins of one check that run at a time, where nobody has counted how many it takes; others wait,
/// and their time counts from when they start.
pub const PLUGINS_MIN: usize = 8;
/// The same, however many nodes there are.
pub const PLUGINS_MAX: usize = 64;
/// Plugins of all checks that run at a time: many times those of one, so that a check that hangs
/// holds up nobody else.
const ALL_PLUGINS_MAX: usize = 512;

/// Handshakes of one TLS check with one node at a time.
pub const NAMES_AT_A_TIME: usize = 8;

/// So much of what was found, and of a step, is told, in characters: most of it are words of the other side.
const TOLD_MAX: usize = 1_000;

/// Carries out probes. Holds what probes share: certificate authorities, an HTTP client for each
/// kind of trust (which keeps no connection), compiled patterns, the places for plugins,
/// whose turn it is to read a file.
#[derive(Clone, Debug)]
pub struct Prober {
    clients: HashMap<Trust, reqwest::Client>,
    tls: HashMap<Trust, Arc<ClientConfig>>,
    patterns: HashMap<String, Regex>,
    /// For each check that runs some.
    plugins: HashMap<String, Arc<Semaphore>>,
    all_plugins: Arc<Semaphore>,
    reads: Reads,
}

/// A probe with its steps, for people.
#[derive(Clone, Debug)]
pub struct Examined {
    pub outcome: Outcome,
    /// What was done, and how long after the start.
    pub steps: Vec<(String, Duration)>,
}

impl Prober {
    /// Loads what these checks need. Reads the `ca-file`s, and the system's certificate
    /// authorities if a check needs them.
    pub fn new<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Result<Prober, ProberError> {
        let mut prober = Prober {
            clients: HashMap::new(),
            tls: HashMap::new(),
            patterns: HashMap::new(),
            plugins: HashMap::new(),
            all_plugins: Arc::new(Semaphore::new(ALL_PLUGINS_MAX)),
            reads: Reads::default(),
        };
        for check in checks {
            prober.prepare(check).map_err(|source| ProberError { check: check.name.clone(), source })?;
        }
        Ok(prober)
    }

    /// Takes the place of another, whose probes may still wait for a file that hangs.
    #[must_use]
    pub fn instead_of(mut self, old: &Prober) -> Prober {
        old.reads.forget_idle();
        self.reads = old.reads.clone();
        self
    }

    fn prepare(&mut self, check: &Check) -> Result<(), TrustError> {
        let pattern = match &check.kind {
            Kind::Http(http) => {
                if let Entry::Vacant(place) = self.clients.entry(Trust::of_http(http)) {
                    let client = http::client(trust::config(place.key())?);
                    place.insert(client.map_err(TrustError::Client)?);
                }
                http.expect_regex.as_ref()
            }
            Kind::Tls(tls) => self.trust(&tls.certificates).map(|()| None)?,
            Kind::Smtp(smtp) if smtp.starttls => self.trust(&smtp.certificates).map(|()| None)?,
            Kind::Gemini(gemini) => self.trust(&gemini.certificates).map(|()| gemini.expect_regex.as_ref())?,
            Kind::Tcp(tcp) => tcp.expect_regex.as_ref(),
            Kind::Exec(exec) => {
                let places = exec.places.clamp(PLUGINS_MIN, PLUGINS_MAX);
                self.plugins.insert(check.name.clone(), Arc::new(Semaphore::new(places)));
                None
            }
            Kind::Smtp(_) | Kind::Dns(_) | Kind::File(_) => None,
        };
        if let Some(pattern) = pattern {
            self.patterns.insert(pattern.clone(), compile(pattern).map_err(TrustError::Pattern)?);
        }
        Ok(())
    }

    fn trust(&mut self, certificates: &Certificates) -> Result<(), TrustError> {
        if let Entry::Vacant(place) = self.tls.entry(Trust::of(certificates)) {
            let config = trust::config(place.key())?;
            place.insert(Arc::new(config));
        }
        Ok(())
    }

    /// Looks at one node over one family. `check` must be one of those given to [`Prober::new`].
    pub async fn probe(&self, check: &Check, node: &Node, family: Family) -> Outcome {
        self.examine(check, node, family).await.outcome
    }

    /// The same, with every step.
    pub async fn examine(&self, check: &Check, node: &Node, family: Family) -> Examined {
        // First a place of its own check, so that who waits for one holds up nobody else.
        let _places = match self.plugins.get(&check.name) {
            Some(own) => Some((
                own.acquire().await.expect("the semaphore is never closed"),
                self.all_plugins.acquire().await.expect("the semaphore is never closed"),
            )),
            None => None,
        };
        let started = Instant::now();
        let Some(aim) = Aim::new(node, family) else {
            let finding = Finding::cannot_say(format!("{} has no {family} address", node.name));
            return Examined { outcome: finding.outcome(started, None), steps: Vec::new() };
        };
        let deadline = Duration::from_millis(check.timeout_ms);
        let trace = Arc::new(Trace::new(aim.address));
        let looking = trace::within(Arc::clone(&trace), self.look(&check.kind, &aim, deadline));
        let found = tokio::time::timeout(deadline, looking).await;
        let mut finding = found.unwrap_or_else(|_| trace.timed_out(deadline));
        let cert_expiry_unix_s = trace.cert_expiry_unix_s();
        if let (Some(true), Some(unix_s)) = (finding.success, cert_expiry_unix_s) {
            finding = too_old(&check.kind, unix_s).unwrap_or(finding);
        }
        Examined { outcome: finding.outcome(started, cert_expiry_unix_s), steps: trace.marks() }
    }

    async fn look(&self, kind: &Kind, aim: &Aim<'_>, deadline: Duration) -> Finding {
        let pattern = |text: &Option<String>| self.patterns.get(text.as_deref()?);
        let unknown = || Finding::cannot_say("the check is not known to the prober".to_owned());
        match kind {
            Kind::Http(check) => match self.clients.get(&Trust::of_http(check)) {
                Some(client) => {
                    http::look(client, check, pattern(&check.expect_regex), aim, &self.reads, deadline).await
                }
                None => unknown(),
            },
            Kind::Tls(check) => match self.tls.get(&Trust::of(&check.certificates)) {
                Some(tls) => tls::look(tls, check, aim, deadline).await,
                None => unknown(),
            },
            Kind::Gemini(check) => match self.tls.get(&Trust::of(&check.certificates)) {
                Some(tls) => or_bad(gemini::look(tls, check, pattern(&check.expect_regex), aim).await),
                None => unknown(),
            },
            Kind::Smtp(check) => or_bad(smtp::look(self.tls.get(&Trust::of(&check.certificates)), check, aim).await),
            Kind::Tcp(check) => or_bad(tcp::look(check, pattern(&check.expect_regex), aim).await),
            Kind::Dns(check) => or_bad(dns::look(check, aim, deadline).await),
            Kind::Exec(check) => exec::look(check, aim).await,
            Kind::File(check) => file::look(&self.reads, check, aim).await,
        }
    }
}

/// Compiles an `expect-regex`. The engine's time is linear in the text, and its memory is bounded.
fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(PATTERN_MAX).dfa_size_limit(PATTERN_MAX).build()
}

fn or_bad(found: Result<Finding, Finding>) -> Finding {
    found.unwrap_or_else(|finding| finding)
}

/// A good answer with a certificate that ends too soon.
fn too_old(kind: &Kind, expiry_unix_s: i64) -> Option<Finding> {
    let certificates = match kind {
        Kind::Http(check) => &check.certificates,
        Kind::Tls(check) => &check.certificates,
        Kind::Gemini(check) => &check.certificates,
        Kind::Smtp(check) => &check.certificates,
        Kind::Tcp(_) | Kind::Dns(_) | Kind::Exec(_) | Kind::File(_) => return None,
    };
    let (wanted, left) = (certificates.min_days?, stream::days_left(expiry_unix_s));
    let is_short = left < i64::from(wanted);
    is_short.then(|| Finding::bad("L6RSP", format!("the certificate ends in {left} days, wanted are {wanted}")))
}

/// What a probe is aimed at.
#[derive(Clone, Copy, Debug)]
struct Aim<'a> {
    node: &'a Node,
    family: Family,
    /// The node's address of this family.
    address: IpAddr,
}

impl<'a> Aim<'a> {
    /// `None` if the node has no address of the family.
    fn new(node: &'a Node, family: Family) -> Option<Aim<'a>> {
        let address = match family {
            Family::Ipv4 => node.ipv4?.into(),
            Family::Ipv6 => node.ipv6?.into(),
        };
        Some(Aim { node, family, address })
    }

    /// `{node}`, `{ip}` and `{family}` replaced; an IPv6 address in brackets.
    fn fill(&self, text: &str) -> String {
        let ip = match self.address {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        self.fill_with(text, &ip)
    }

    /// The same with the address as it is.
    fn fill_bare(&self, text: &str) -> String {
        self.fill_with(text, &self.address.to_string())
    }

    fn fill_with(&self, text: &str, ip: &str) -> String {
        text.replace("{node}", &self.node.name).replace("{ip}", ip).replace("{family}", self.family.as_str())
    }
}

/// What a check needs cannot be had.
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
    #[error("expect-regex: {0}")]
    Pattern(regex::Error),
}

/// What a probe found, without its times.
#[derive(Debug, Eq, PartialEq)]
struct Finding {
    success: Option<bool>,
    word: &'static str,
    detail: String,
    measures: Vec<Measure>,
}

impl Finding {
    fn new(success: Option<bool>, word: &'static str, detail: impl Into<String>) -> Finding {
        Finding { success, word, detail: detail.into(), measures: Vec::new() }
    }

    fn good(word: &'static str, detail: impl Into<String>) -> Finding {
        Finding::new(Some(true), word, detail)
    }

    fn bad(word: &'static str, detail: impl Into<String>) -> Finding {
        Finding::new(Some(false), word, detail)
    }

    /// The fault is on our side, or in the configuration.
    fn cannot_say(detail: impl Into<String>) -> Finding {
        Finding::new(None, "UNK", detail)
    }

    fn outcome(self, started: Instant, cert_expiry_unix_s: Option<i64>) -> Outcome {
        Outcome {
            success: self.success,
            word: self.word.to_owned(),
            detail: told(self.detail),
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            cert_expiry_unix_s,
            measures: self.measures,
        }
    }
}

fn told(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TOLD_MAX) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}
