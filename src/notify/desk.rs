//! Makes incidents of what happens. Pure.
//!
//! ```text
//! moved ──▶ pending ──(its exports have ended, or 15 s are over)──▶ incident
//!              ▲ the same generation and kind: one incident for all its pools
//! exported ────┘ or, for none that waits: an incident of its own, once, until it is well again
//! rehearsed ──▶ an incident for all zones of a round whose next export would be refused, once
//! look ──────▶ certificates: an incident for each threshold that is passed, and when it is renewed
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::director::alarm::{self, cert_words, certificates, days_left};
use crate::director::effect::Transition;
use crate::director::event::{ExportReport, ExportResult};
use crate::director::incident::Kind;
use crate::director::status::{CertDays, Status, ZoneStatus};
use crate::health::time::Now;

use super::incident::{Certificate, Change, Incident, MOVES_MAX, Move, Severity, ZONES_MAX, rfc3339, severity_of};
use super::memory::{Memory, Near};

/// So long an incident waits for others of its generation, in milliseconds.
const GATHER_MS: u64 = 300;
/// So long it waits for its exports; then it goes without them.
const EXPORT_PATIENCE_MS: u64 = 15_000;
/// So long a refused rehearsal waits for the next one: they come one after the other.
const REHEARSAL_GATHER_MS: u64 = 5_000;
/// So long at the most.
const REHEARSAL_PATIENCE_MS: u64 = 300_000;
/// What is said of zones whose rehearsal was refused.
const REFUSED: &str = "the next failover would be refused";
/// Exports that one incident tells of; those that failed before the others.
const EXPORTS_MAX: usize = 50;

/// A transition with what the daemon knows of its zones.
#[derive(Clone, Debug)]
pub struct Moved {
    pub transition: Arc<Transition>,
    pub zones: Vec<ZoneMoved>,
    /// Names that follow the pool's primary, and the answers of some of them.
    pub names: usize,
    pub answers: Vec<Change>,
}

#[derive(Clone, Debug)]
pub struct ZoneMoved {
    /// With the final dot.
    pub origin: String,
    /// Largest TTL of the failover records that follow the pool, in seconds.
    pub ttl_max_s: u32,
    /// An export brings the decision to nsd.
    pub exported: bool,
    /// Only nsd answers for it: the old answer goes on leaving until the export is served.
    pub answered_by_nsd: bool,
}

#[derive(Debug)]
pub struct Desk {
    host: String,
    pending: Vec<Pending>,
    /// What people know.
    memory: Memory,
    /// What they knew before the last restart, as long as nothing else was heard of it.
    restored: BTreeSet<(Kind, String)>,
    count: u64,
}

#[derive(Debug)]
struct Pending {
    incident: Incident,
    zones: Vec<ZoneMoved>,
    /// Zones whose export has not ended, by origin.
    waiting: BTreeSet<String>,
    /// When nsd was seen to serve a zone, in Unix milliseconds.
    served: BTreeMap<String, i64>,
    /// Not all of its zones would be refused for one reason.
    differ: bool,
    gathered_ms: u64,
    deadline_ms: u64,
}

impl Pending {
    /// One more zone whose next export would be refused, or (`None`) no longer.
    fn refused(&mut self, zone: String, reason: Option<&str>) {
        let Incident { zones, zones_left_out, reasons, .. } = &mut self.incident;
        self.differ |= reasons.first().map(String::as_str).is_some_and(|first| Some(first) != reason);
        match zones.len() < ZONES_MAX {
            true => {
                zones.push(zone);
                reasons.extend(reason.map(str::to_owned));
            }
            false => *zones_left_out += 1,
        }
    }

    fn due_ms(&self) -> u64 {
        if self.waiting.is_empty() { self.gathered_ms.min(self.deadline_ms) } else { self.deadline_ms }
    }
}

impl Desk {
    /// `host` is this host's name, `memory` what people were told of by an earlier run.
    pub fn new(host: &str, memory: Memory) -> Desk {
        Desk { host: host.to_owned(), pending: Vec::new(), restored: memory.open.clone(), memory, count: 0 }
    }

    /// What people know; `None` while an incident waits that they have not been told of.
    pub fn memory(&self) -> Option<&Memory> {
        self.pending.is_empty().then_some(&self.memory)
    }

    pub fn moved(&mut self, moved: Moved, now: Now) {
        let Moved { transition, zones, names, answers } = moved;
        let Some((kinds, severity)) = self.classify(&transition) else { return };
        let told = Move {
            pool: transition.pool.clone(),
            families: transition.families.clone(),
            from: transition.from.clone(),
            to: transition.to.clone(),
            rule: transition.rule.clone(),
            reason: transition.reason.clone(),
            probes: transition.probes.clone(),
            zones: transition.zones.clone(),
            names,
            answers,
        };
        let moves = !transition.families.is_empty();
        let same = self.pending.iter_mut().find(|pending| {
            let incident = &pending.incident;
            incident.generation == Some(transition.generation)
                && incident.kinds[0] == kinds[0]
                && now.monotonic_ms <= pending.gathered_ms
        });
        let pending = match same {
            Some(pending) => pending,
            None => {
                let mut incident = self.incident(kinds.clone(), severity, transition.unix_ms);
                incident.generation = Some(transition.generation);
                self.pending.push(Pending {
                    incident,
                    zones: Vec::new(),
                    waiting: BTreeSet::new(),
                    served: BTreeMap::new(),
                    differ: false,
                    gathered_ms: now.monotonic_ms.saturating_add(GATHER_MS),
                    deadline_ms: now.monotonic_ms.saturating_add(EXPORT_PATIENCE_MS),
                });
                self.pending.last_mut().expect("just pushed")
            }
        };
        for kind in kinds {
            add_kind(&mut pending.incident, kind);
        }
        pending.incident.severity = pending.incident.severity.max(severity);
        match pending.incident.moves.len() < MOVES_MAX {
            true => pending.incident.moves.push(told),
            false => pending.incident.moves_left_out += 1,
        }
        if moves {
            pending.waiting.extend(zones.iter().filter(|zone| zone.exported).map(|zone| zone.origin.clone()));
            pending.zones.extend(zones);
        }
    }

    pub fn exported(&mut self, report: &ExportReport, now: Now) {
        let bad = severity_of(report.result);
        let key = (Kind::ExportFailed, report.zone.clone());
        let news = match bad {
            Some(_) => self.memory.open.insert(key),
            None => self.memory.open.remove(&key),
        };
        // What is served was not refused, whatever the last rehearsal had said.
        let rehearsed = (Kind::NextExport, report.zone.clone());
        let news = news | (report.result == ExportResult::Served && self.memory.open.remove(&rehearsed));
        let mut told = false;
        for pending in &mut self.pending {
            let is_its = pending.incident.generation.is_some_and(|generation| report.generation >= generation);
            if !is_its || !pending.waiting.remove(&report.zone) {
                continue;
            }
            match bad {
                None => drop(pending.served.insert(report.zone.clone(), report.unix_ms)),
                Some(severity) => {
                    told = true;
                    add_kind(&mut pending.incident, Kind::ExportFailed);
                    pending.incident.severity = pending.incident.severity.max(severity);
                }
            }
            let exports = &mut pending.incident.exports;
            match exports.len() < EXPORTS_MAX {
                true => exports.push(report.clone()),
                false if bad.is_some() => exports[EXPORTS_MAX - 1] = report.clone(),
                false => {}
            }
        }
        if !news || told {
            return;
        }
        let (kind, severity, words) = match bad {
            Some(severity) => (Kind::ExportFailed, severity, "export failed"),
            None => (Kind::Recovery, Severity::Good, "nsd has the decision again"),
        };
        let mut incident = self.incident(vec![kind], severity, report.unix_ms);
        incident.summary = format!("{} {words}: {}", report.zone, report.detail);
        incident.generation = Some(report.generation);
        incident.exports = vec![report.clone()];
        self.ready(incident, now);
    }

    /// The next export of some zones was tried beforehand.
    pub fn rehearsed(&mut self, zones: Vec<String>, refused: Option<&str>, now: Now) {
        let mut news = |zone: &String| match (Kind::NextExport, zone.clone()) {
            key if refused.is_some() => self.memory.open.insert(key),
            key => self.memory.open.remove(&key),
        };
        let zones: Vec<String> = zones.into_iter().filter(|zone| news(zone)).collect();
        if zones.is_empty() {
            return;
        }
        let (kind, severity, words) = match refused {
            Some(_) => (Kind::NextExport, Severity::Critical, REFUSED),
            None => (Kind::Recovery, Severity::Good, "the next failover would be exported again"),
        };
        let gathers = |pending: &&mut Pending| pending.incident.kinds == [kind] && !pending.incident.zones.is_empty();
        let pending = match self.pending.iter_mut().find(gathers) {
            Some(pending) => pending,
            None => {
                let mut incident = self.incident(vec![kind], severity, now.unix_ms);
                incident.summary = words.to_owned();
                self.ready(incident, now);
                let pending = self.pending.last_mut().expect("just pushed");
                pending.deadline_ms = now.monotonic_ms.saturating_add(REHEARSAL_PATIENCE_MS);
                pending
            }
        };
        pending.gathered_ms = now.monotonic_ms.saturating_add(REHEARSAL_GATHER_MS);
        for zone in zones {
            pending.refused(zone, refused);
        }
    }

    /// Looks at the certificates, and after a restart whether what people know is over.
    pub fn look(&mut self, status: &Status, now: Now) {
        if status.ready {
            self.settle(status, now);
            self.memory.forget_others(status);
        }
        for node in &status.nodes {
            for (check, expires_unix_s) in certificates(node) {
                let near = near(expires_unix_s, status.cert_days, now.unix_ms);
                let before = self.memory.certificate(&node.name, check, near);
                if near == before {
                    continue;
                }
                // A step back that is still too near (a clock that was set) is no news.
                let (kind, severity) = match near {
                    None => (Kind::Recovery, Severity::Good),
                    Some(_) if near < before => continue,
                    Some(Near::Warning) => (Kind::Certificate, Severity::Warning),
                    Some(Near::Critical | Near::Ended) => (Kind::Certificate, Severity::Critical),
                };
                let words = cert_words(expires_unix_s, now.unix_ms);
                let mut incident = self.incident(vec![kind], severity, now.unix_ms);
                incident.summary = format!("{}: the certificate that {check} sees {words}", node.name);
                incident.certificate = Some(Certificate {
                    node: node.name.clone(),
                    check: check.to_owned(),
                    expires_unix_s,
                    expires: rfc3339(expires_unix_s.saturating_mul(1_000)),
                    days_left: days_left(expires_unix_s, now.unix_ms),
                });
                self.ready(incident, now);
            }
        }
    }

    /// When [`Desk::take_due`] has something to give, in monotonic milliseconds.
    pub fn next_ms(&self) -> Option<u64> {
        self.pending.iter().map(Pending::due_ms).min()
    }

    /// The incidents that are complete, or have waited long enough.
    pub fn take_due(&mut self, now: Now) -> Vec<Incident> {
        let (due, rest) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending: &Pending| pending.due_ms() <= now.monotonic_ms);
        self.pending = rest;
        due.into_iter().map(complete).collect()
    }

    /// All of them, as they are: nothing more will happen.
    pub fn take_all(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.pending).into_iter().map(complete).collect()
    }

    /// What a transition is to people; `None`: they know already.
    fn classify(&mut self, transition: &Transition) -> Option<(Vec<Kind>, Severity)> {
        let key = (Kind::AllDown, transition.pool.clone());
        let moved = !transition.families.is_empty();
        if alarm::is_all_down(&transition.rule) {
            let news = self.memory.open.insert(key);
            return (news || moved).then(|| (with_move(Kind::AllDown, moved), Severity::Critical));
        }
        if self.memory.open.remove(&key) {
            return Some((with_move(Kind::Recovery, moved), Severity::Good));
        }
        let unplanned = moved && matches!(transition.rule.as_str(), "failover" | "family");
        Some((vec![Kind::Transition], if unplanned { Severity::Warning } else { Severity::Notice }))
    }

    /// What an earlier run has told of and what is over by now without an event that says so.
    fn settle(&mut self, status: &Status, now: Now) {
        for key in std::mem::take(&mut self.restored) {
            let (kind, subject) = &key;
            let zone = || status.zones.iter().find(|zone| zone.name == *subject);
            let words = match kind {
                Kind::AllDown => {
                    let pool = status.pools.iter().find(|pool| pool.name == *subject);
                    pool.filter(|pool| !alarm::is_all_down(&pool.rule)).map(|pool| pool.reason.clone())
                }
                Kind::ExportFailed => {
                    let failed = |zone: &&ZoneStatus| {
                        zone.last_export.as_ref().is_some_and(|last| alarm::has_failed(last.result))
                    };
                    let is_well = |zone: &&ZoneStatus| zone.export && !zone.is_behind() && !failed(zone);
                    zone().filter(is_well).map(|_| "nsd has the decision again".to_owned())
                }
                // The first rehearsal says it.
                _ => continue,
            };
            if !self.memory.open.contains(&key) {
                continue;
            }
            let Some(words) = words else {
                // An export is perhaps still under way.
                if *kind == Kind::ExportFailed {
                    self.restored.insert(key);
                }
                continue;
            };
            self.memory.open.remove(&key);
            let mut incident = self.incident(vec![Kind::Recovery], Severity::Good, now.unix_ms);
            incident.summary = format!("{subject}: {words}");
            self.ready(incident, now);
        }
    }

    fn incident(&mut self, kinds: Vec<Kind>, severity: Severity, unix_ms: i64) -> Incident {
        self.count += 1;
        Incident {
            id: format!("{}-{unix_ms}-{}", self.host, self.count),
            kinds,
            severity,
            host: self.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: rfc3339(unix_ms),
            unix_ms,
            summary: String::new(),
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

    fn ready(&mut self, incident: Incident, now: Now) {
        self.pending.push(Pending {
            incident,
            zones: Vec::new(),
            waiting: BTreeSet::new(),
            served: BTreeMap::new(),
            differ: false,
            gathered_ms: now.monotonic_ms,
            deadline_ms: now.monotonic_ms,
        });
    }
}

fn with_move(kind: Kind, moved: bool) -> Vec<Kind> {
    if moved { vec![kind, Kind::Transition] } else { vec![kind] }
}

fn add_kind(incident: &mut Incident, kind: Kind) {
    if !incident.kinds.contains(&kind) {
        incident.kinds.push(kind);
    }
}

fn near(expires_unix_s: i64, limits: CertDays, now_unix_ms: i64) -> Option<Near> {
    let severity = alarm::cert_severity(expires_unix_s, limits, now_unix_ms)?;
    Some(match severity {
        _ if days_left(expires_unix_s, now_unix_ms) < 0 => Near::Ended,
        alarm::Severity::Critical => Near::Critical,
        _ => Near::Warning,
    })
}

/// The last words: what can be said only when the exports have ended.
fn complete(pending: Pending) -> Incident {
    let Pending { mut incident, zones, waiting, served, differ, .. } = pending;
    if !incident.moves.is_empty() {
        incident.summary = summary(&incident);
        incident.caches_until_unix_ms = caches_until(&zones, &served, incident.unix_ms);
    }
    if let Some(first) = incident.zones.first() {
        let more = incident.zones.len() + incident.zones_left_out - 1;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let why = match (incident.reasons.first(), differ) {
            (None, _) => String::new(),
            (Some(reason), false) => format!(": {reason}"),
            (Some(reason), true) => format!(", for more than one reason; {first}: {reason}"),
        };
        incident.summary = format!("{first}{more}: {}{why}", incident.summary);
        if !differ {
            incident.reasons.clear();
        }
    }
    incident.exports_pending = waiting.into_iter().collect();
    incident
}

/// The last moment at which an old answer left, and its TTL. Not known while nsd, and only nsd,
/// still gives old answers.
fn caches_until(zones: &[ZoneMoved], served: &BTreeMap<String, i64>, moved_unix_ms: i64) -> Option<i64> {
    let mut until = None;
    for zone in zones {
        let left_unix_ms = match (zone.answered_by_nsd, served.get(&zone.origin)) {
            (false, _) => moved_unix_ms,
            (true, Some(served_unix_ms)) => moved_unix_ms.max(*served_unix_ms),
            (true, None) => return None,
        };
        let held_until = left_unix_ms.saturating_add(i64::from(zone.ttl_max_s).saturating_mul(1_000));
        until = until.max(Some(held_until));
    }
    until
}

fn summary(incident: &Incident) -> String {
    let first = &incident.moves[0];
    let name = |node: &Option<String>| node.clone().unwrap_or_else(|| "nobody".to_owned());
    let all = incident.moves.len() + incident.moves_left_out;
    let pools = match all {
        1 => first.pool.clone(),
        _ => format!("{} and {} more", first.pool, all - 1),
    };
    match first.families.as_slice() {
        [] => format!("{pools}: {}", first.reason),
        _ => format!("{pools}: {} -> {}: {}", name(&first.from), name(&first.to), first.reason),
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
