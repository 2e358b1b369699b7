//! `status` and `explain` as text for people.

use std::fmt::Write;

use crate::director::alarm::{self, Alarm, Severity};
use crate::director::explain::Explanation;
use crate::director::status::{CertDays, CheckStatus, NodeStatus, OverrideStatus, PoolStatus, Status, ZoneStatus};

use super::log::result_word;
use super::text::{alarm_words, clean, counted, holders, override_words, progress, since, span, tally, utc};
use super::view::{ALARMS, Urgency};

/// Runs of probes that `explain` shows for each target.
const RUNS_SHOWN: usize = 5;

/// The whole status: what is wrong first, and marked with `!` wherever it stands.
pub fn status(status: &Status, now_unix_ms: i64) -> String {
    let alarms = alarm::alarms(status, now_unix_ms);
    let urgency = Urgency::new(&alarms);
    let mut text = Text(String::new());
    text.line(format_args!(
        "nsd-failover {}, generation {}, up {}",
        status.version,
        status.generation,
        span(now_unix_ms.saturating_sub(status.started_unix_ms)),
    ));
    let is_well = alarm::worst(&alarms).is_none_or(|worst| worst == Severity::Notice);
    let mark = if is_well { "" } else { "! " };
    text.line(format_args!("{mark}{}: {}", tally(&alarms), counted(status)));
    text.alarms(&alarms);
    let mut pools: Vec<&PoolStatus> = status.pools.iter().collect();
    pools.sort_by_key(|pool| urgency.of_pool(pool, now_unix_ms));
    for pool in pools {
        text.pool(pool, urgency.is_wrong(&pool.name), now_unix_ms);
    }
    let mut nodes: Vec<&NodeStatus> = status.nodes.iter().collect();
    nodes.sort_by_key(|node| urgency.of(&node.name));
    if !nodes.is_empty() {
        text.nodes(&nodes, status.cert_days, now_unix_ms);
    }
    let mut zones: Vec<&ZoneStatus> = status.zones.iter().collect();
    zones.sort_by_key(|zone| urgency.of(&zone.name));
    if !zones.is_empty() {
        text.zones(&zones, &urgency, now_unix_ms);
    }
    text.0
}

/// Why a pool is as it is: the decision, the probes that led to it, those of now, and what would
/// change it.
pub fn explanation(told: &Explanation, now_unix_ms: i64) -> String {
    let mut text = Text(String::new());
    text.pool(&told.pool, false, now_unix_ms);
    text.line(format_args!("  {:<14} {}", "order", told.pool.order.join(", ")));
    for drained in &told.drained {
        text.line(format_args!("! {:<14} {} {}", "drained", drained.node, override_words(&drained.order)));
    }
    if let Some(ttl_max_s) = told.ttl_max_s {
        text.line(format_args!("  {:<14} at most {ttl_max_s} s", "TTL"));
    }
    if !told.probes.is_empty() {
        text.heading("probes that led to it");
        told.probes.iter().for_each(|line| text.line(format_args!("  {line}")));
    }
    text.heading("probes of now");
    for target in told.targets.iter().chain(&told.anchors) {
        let (node, check, family) = (&target.node, &target.check, target.family);
        text.line(format_args!("  {node} {family} {check}: {} ({})", target.verdict.as_str(), target.tally));
        for run in target.runs.iter().rev().take(RUNS_SHOWN) {
            let ago = span(now_unix_ms.saturating_sub(run.last_unix_ms));
            let lasted = span(run.last_unix_ms.saturating_sub(run.first_unix_ms));
            let count = if run.count == 1 { "once".to_owned() } else { format!("{} times in {lasted}", run.count) };
            text.line(format_args!(
                "    {ago:>11} ago  {:<8} {count}, {} ms: {}",
                run.word, run.duration_ms, run.detail
            ));
        }
    }
    if !told.what_if.is_empty() {
        text.heading("what would change it");
        told.what_if.iter().for_each(|line| text.line(format_args!("  {line}")));
    }
    text.0
}

struct Text(String);

impl Text {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let line = clean(&line.to_string());
        writeln!(self.0, "{}", line.trim_end()).expect("a String takes every write");
    }

    fn heading(&mut self, words: &str) {
        self.0.push('\n');
        self.line(format_args!("{words}"));
    }

    fn alarms(&mut self, alarms: &[Alarm]) {
        for alarm in alarms.iter().take(ALARMS) {
            let mark = if alarm.severity == Severity::Notice { ' ' } else { '!' };
            self.line(format_args!("{mark} {:<8}  {}", alarm.severity.as_str(), alarm_words(alarm)));
        }
        if alarms.len() > ALARMS {
            self.line(format_args!("! and {} more: see what is marked below", alarms.len() - ALARMS));
        }
    }

    fn pool(&mut self, pool: &PoolStatus, is_wrong: bool, now_unix_ms: i64) {
        self.0.push('\n');
        self.line(format_args!("{}pool {}", if is_wrong { "! " } else { "" }, pool.name));
        for (role, node) in holders(pool) {
            self.line(format_args!("  {role:<14} {node}"));
        }
        if let Some(unix_ms) = pool.since_unix_ms {
            self.line(format_args!("  {:<14} {}", "changed", since(unix_ms, now_unix_ms)));
        }
        self.line(format_args!("  {:<14} {} [{}]", "why", pool.reason, pool.rule));
        for alarm in pool.alarms.iter().filter(|alarm| **alarm != pool.reason) {
            self.line(format_args!("! {:<14} {alarm}", "alarm"));
        }
        if let Some(held) = &pool.hold {
            let node = held.node.as_deref().unwrap_or("?");
            self.line(format_args!("{} {:<14} {node} {}", order_mark(held), "held on", override_words(held)));
        }
        if let Some(unix_ms) = pool.next_rotation_unix_ms {
            let left = span(unix_ms.saturating_sub(now_unix_ms));
            self.line(format_args!("  {:<14} {} (in {left})", "next rotation", utc(unix_ms)));
        }
    }

    fn nodes(&mut self, nodes: &[&NodeStatus], cert_days: CertDays, now_unix_ms: i64) {
        self.0.push('\n');
        let width = nodes.iter().map(|node| node.name.chars().count()).max().unwrap_or(0);
        let names = nodes.iter().flat_map(|node| &node.checks).map(|check| check.check.chars().count());
        let names = names.max().unwrap_or(0);
        for node in nodes {
            if let Some(drain) = &node.drain {
                let mark = order_mark(drain);
                self.line(format_args!("{mark} node {:<width$}  drained {}", node.name, override_words(drain)));
            }
            if node.checks.is_empty() {
                self.line(format_args!("  node {:<width$}  no checks", node.name));
            }
            for check in &node.checks {
                let line = check_line(check, names, cert_days, now_unix_ms);
                self.line(format_args!("{} node {:<width$}  {}", line.0, node.name, line.1));
            }
        }
    }

    fn zones(&mut self, zones: &[&ZoneStatus], urgency: &Urgency<'_>, now_unix_ms: i64) {
        self.0.push('\n');
        let width = zones.iter().map(|zone| zone.name.chars().count()).max().unwrap_or(0);
        for zone in zones {
            let at_nsd = match (zone.serial_at_nsd, zone.secondaries.is_empty()) {
                _ if !zone.servers.is_empty() => String::new(),
                (Some(serial), true) => format!(", {serial} at nsd"),
                (None, true) if zone.export => ", not seen at nsd".to_owned(),
                (None, true) => String::new(),
                (_, false) => String::new(),
            };
            let export = zone.last_export.as_ref().map_or(String::new(), |report| {
                let ago = span(now_unix_ms.saturating_sub(report.unix_ms));
                format!("; export {} {ago} ago: {}", result_word(report.result), report.detail)
            });
            let held = match zone.export_held {
                true => format!("; held since a rollback, `export {}` ends that", zone.name),
                false => String::new(),
            };
            let mark = if urgency.is_wrong(&zone.name) { '!' } else { ' ' };
            self.line(format_args!(
                "{mark} zone {:<width$}  serial {} here{at_nsd}{held}{export}",
                zone.name, zone.serial
            ));
            if let Some(reason) = zone.next_refused.as_ref().filter(|_| zone.export) {
                self.line(format_args!("!      {:<width$}  the next failover would be refused: {reason}", ""));
            }
            let nsd = zone.servers.iter().map(|nsd| (format!("nsd {}", nsd.server), nsd.serial, ""));
            let others = zone.secondaries.iter().map(|other| (other.server.clone(), other.serial, &*other.problem));
            for (server, serial, problem) in nsd.chain(others) {
                let mark = if serial == Some(zone.serial) { ' ' } else { '!' };
                let serial = serial.map_or("not seen".to_owned(), |serial| format!("serial {serial}"));
                let colon = if problem.is_empty() { "" } else { ": " };
                self.line(format_args!("{mark}      {:<width$}  {serial} at {server}{colon}{problem}", ""));
            }
        }
    }
}

/// An order without an end is easily forgotten.
fn order_mark(order: &OverrideStatus) -> char {
    if order.until_unix_ms.is_some() { ' ' } else { '!' }
}

/// What a check says, and whether it needs a mark.
fn check_line(check: &CheckStatus, names: usize, cert_days: CertDays, now_unix_ms: i64) -> (char, String) {
    let ago = match check.last_probe_unix_ms {
        Some(unix_ms) => format!("{} ago", span(now_unix_ms.saturating_sub(unix_ms))),
        None => "not probed yet".to_owned(),
    };
    let took = check.duration_ms.map(|ms| format!("{ms} ms, ")).unwrap_or_default();
    let end = check.cert_expiry_unix_s;
    let ends_soon = end.and_then(|unix_s| alarm::cert_severity(unix_s, cert_days, now_unix_ms)).is_some();
    let certificate = end.map(|unix_s| format!("certificate {}", alarm::cert_words(unix_s, now_unix_ms)));
    let more = [progress(check)].into_iter().filter(|words| !words.is_empty()).chain(certificate);
    let line = format!(
        "{:<names$} {}  {:<7} {:<6} {} ({took}{ago}) {}",
        check.check,
        check.family,
        check.verdict,
        check.word,
        check.detail,
        more.collect::<Vec<_>>().join(", ")
    );
    (if check.verdict == "up" && !ends_soon { ' ' } else { '!' }, line)
}
