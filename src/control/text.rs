//! The same as text for people: status, log lines, answers. What comes from outside (a probe saw
//! it, a file said it) cannot move the cursor: control characters are replaced.

use std::fmt::Write;

use crate::director::alarm;
use crate::director::effect::Transition;
use crate::director::event::{Action, ExportReport, Order};
use crate::director::explain::Explanation;
use crate::director::status::{
    CheckStatus, NodeStatus, OverrideStatus, PoolFamilyStatus, PoolStatus, Status, ZoneStatus,
};

use super::api::Answer;
use super::log::{Entry, result_word};

/// Runs of probes that `explain` shows for each target.
const RUNS_SHOWN: usize = 5;

/// The whole status, problems marked with `!`.
pub fn status(status: &Status, now_unix_ms: i64) -> String {
    let mut text = Text(String::new());
    text.line(format_args!(
        "nsd-failover {}, generation {}, up {}{}",
        status.version,
        status.generation,
        span(now_unix_ms.saturating_sub(status.started_unix_ms)),
        if status.ready { "" } else { ", first round of probes not done yet" }
    ));
    if status.shadow {
        text.line(format_args!("! {}", alarm::SHADOW));
    }
    for pool in &status.pools {
        text.pool(pool, now_unix_ms);
    }
    if !status.nodes.is_empty() {
        text.nodes(&status.nodes, now_unix_ms);
    }
    if !status.zones.is_empty() {
        text.zones(&status.zones, now_unix_ms);
    }
    text.0
}

/// One line for one entry of the log, with its time.
pub fn log_line(entry: &Entry) -> String {
    format!("{}  {}", utc(entry.unix_ms()), entry_words(entry))
}

/// One line for one entry of the log, for where its time stands already.
pub fn entry_words(entry: &Entry) -> String {
    match entry {
        Entry::Transition(transition) => transition_line(transition),
        Entry::Export(report) => export_line(report),
        Entry::Note { text, .. } => clean(text),
    }
}

/// An order in words: `switch web blowfish for 2 h 0 min (kernel update)`.
pub fn order_words(order: &Order) -> String {
    let mut words = match &order.action {
        Action::Switch { pool, node } => format!("switch {pool} {node}"),
        Action::Hold { pool } => format!("hold {pool}"),
        Action::Release { pool } => format!("release {pool}"),
        Action::Drain { node } => format!("drain {node}"),
        Action::Ready { node } => format!("ready {node}"),
    };
    if let Some(for_s) = order.for_s {
        let ms = i64::try_from(for_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
        words.push_str(&format!(" for {}", span(ms)));
    }
    if let Some(reason) = &order.reason {
        words.push_str(&format!(" ({reason})"));
    }
    clean(&words)
}

/// A transition in one line: what moved, and why.
pub fn transition_line(transition: &Transition) -> String {
    if transition.shadow {
        return format!("shadow: {}", transition_line(&Transition { shadow: false, ..transition.clone() }));
    }
    let families: Vec<&str> = transition.families.iter().map(|family| family.as_str()).collect();
    if families.is_empty() {
        let (pool, reason, rule) = (&transition.pool, &transition.reason, &transition.rule);
        return clean(&format!("{pool}: {reason} [{rule}, generation {}]", transition.generation));
    }
    clean(&format!(
        "{} {}: {} -> {}: {} [{}, generation {}]",
        transition.pool,
        families.join("+"),
        transition.from.as_deref().unwrap_or("nobody"),
        transition.to.as_deref().unwrap_or("nobody"),
        transition.reason,
        transition.rule,
        transition.generation
    ))
}

/// An export in one line.
pub fn export_line(report: &ExportReport) -> String {
    let word = result_word(report.result);
    clean(&format!("{} export {word}: {} [{} ms]", report.zone, report.detail, report.duration_ms))
}

/// What became of an order, line by line.
pub fn answer(answer: &Answer) -> String {
    let exports = answer.exports.iter().map(export_line);
    let lines = std::iter::once(answer.message.clone()).chain(answer.details.iter().cloned()).chain(exports);
    lines.map(|line| clean(&line) + "\n").collect()
}

/// A moment, as `2026-11-22 10:20:00 UTC`.
pub fn utc(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(moment) => moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("{unix_ms} ms"),
    }
}

/// A length of time in its two largest units: `3 s`, `2 min 10 s`, `4 h 5 min`, `9 d 3 h`.
pub fn span(ms: i64) -> String {
    let s = ms.max(0) / 1_000;
    let (d, h, min) = (s / 86_400, s / 3_600 % 24, s / 60 % 60);
    match (d, h, min) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, _) => format!("{min} min {} s", s % 60),
        (0, _, _) => format!("{h} h {min} min"),
        _ => format!("{d} d {h} h"),
    }
}

/// "1 pool", "2 pools".
pub fn count_of(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Text without anything that a terminal would obey.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `since 2026-... (3 s ago)`.
pub fn since(unix_ms: i64, now_unix_ms: i64) -> String {
    format!("since {} ({} ago)", utc(unix_ms), span(now_unix_ms.saturating_sub(unix_ms)))
}

/// An override's end and reason.
pub fn override_words(held: &OverrideStatus) -> String {
    let mut words = match held.until_unix_ms {
        Some(until) => format!("until {}", utc(until)),
        None => "until released".to_owned(),
    };
    if let Some(reason) = &held.reason {
        words.push_str(": ");
        words.push_str(reason);
    }
    words
}

/// Who holds a role, over which families: one entry if all agree.
pub fn holders(pool: &PoolStatus) -> Vec<(String, String)> {
    let of = |holder: &Option<String>| holder.clone().unwrap_or_else(|| "nobody".to_owned());
    let (Some(first), rest) = (pool.families.first(), pool.families.get(1..).unwrap_or_default()) else {
        return Vec::new();
    };
    let agree = rest.iter().all(|family| (&family.primary, &family.standby) == (&first.primary, &first.standby));
    if agree {
        return vec![("primary".to_owned(), of(&first.primary)), ("standby".to_owned(), of(&first.standby))];
    }
    let each = |family: &PoolFamilyStatus| {
        [
            (format!("primary {}", family.family), of(&family.primary)),
            (format!("standby {}", family.family), of(&family.standby)),
        ]
    };
    pool.families.iter().flat_map(each).collect()
}

/// `2/3 to down`, or nothing.
pub fn progress(check: &CheckStatus) -> String {
    if check.against == 0 {
        return String::new();
    }
    let other = if check.verdict == "down" { "up" } else { "down" };
    format!("{}/{} to {other}", check.against, check.needed)
}

/// Why a pool is as it is: the decision, the probes that led to it, those of now, and what would
/// change it.
pub fn explanation(told: &Explanation, now_unix_ms: i64) -> String {
    let mut text = Text(String::new());
    text.pool(&told.pool, now_unix_ms);
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

    fn pool(&mut self, pool: &PoolStatus, now_unix_ms: i64) {
        self.0.push('\n');
        self.line(format_args!("pool {}", pool.name));
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
            self.line(format_args!("! {:<14} {node} {}", "held on", override_words(held)));
        }
        if let Some(unix_ms) = pool.next_rotation_unix_ms {
            let left = span(unix_ms.saturating_sub(now_unix_ms));
            self.line(format_args!("  {:<14} {} (in {left})", "next rotation", utc(unix_ms)));
        }
    }

    fn nodes(&mut self, nodes: &[NodeStatus], now_unix_ms: i64) {
        self.0.push('\n');
        let width = nodes.iter().map(|node| node.name.chars().count()).max().unwrap_or(0);
        let names = nodes.iter().flat_map(|node| &node.checks).map(|check| check.check.chars().count());
        let names = names.max().unwrap_or(0);
        for node in nodes {
            if let Some(drain) = &node.drain {
                self.line(format_args!("! node {:<width$}  drained {}", node.name, override_words(drain)));
            }
            if node.checks.is_empty() {
                self.line(format_args!("  node {:<width$}  no checks", node.name));
            }
            for check in &node.checks {
                let mark = if check.verdict == "up" { ' ' } else { '!' };
                let ago = match check.last_probe_unix_ms {
                    Some(unix_ms) => format!("{} ago", span(now_unix_ms.saturating_sub(unix_ms))),
                    None => "not probed yet".to_owned(),
                };
                let took = check.duration_ms.map(|ms| format!("{ms} ms, ")).unwrap_or_default();
                self.line(format_args!(
                    "{mark} node {:<width$}  {:<names$} {}  {:<7} {:<6} {} ({took}{ago}) {}",
                    node.name,
                    check.check,
                    check.family,
                    check.verdict,
                    check.word,
                    check.detail,
                    progress(check)
                ));
            }
        }
    }

    fn zones(&mut self, zones: &[ZoneStatus], now_unix_ms: i64) {
        self.0.push('\n');
        let width = zones.iter().map(|zone| zone.name.chars().count()).max().unwrap_or(0);
        for zone in zones {
            let at_nsd = match (zone.serial_at_nsd, zone.secondaries.is_empty()) {
                (Some(serial), true) => format!(", {serial} at nsd"),
                (None, true) => ", not seen at nsd".to_owned(),
                (_, false) => String::new(),
            };
            let behind = zone.export && zone.serial_at_nsd != Some(zone.serial);
            let export = zone.last_export.as_ref().map_or(String::new(), |report| {
                let ago = span(now_unix_ms.saturating_sub(report.unix_ms));
                format!("; export {} {ago} ago: {}", result_word(report.result), report.detail)
            });
            let held = match zone.export_held {
                true => format!("; held since a rollback, `export {}` ends that", zone.name),
                false => String::new(),
            };
            let mark = if behind || zone.export_held { '!' } else { ' ' };
            self.line(format_args!(
                "{mark} zone {:<width$}  serial {} here{at_nsd}{held}{export}",
                zone.name, zone.serial
            ));
            if let Some(reason) = zone.next_refused.as_ref().filter(|_| zone.export) {
                self.line(format_args!("!      {:<width$}  the next failover would be refused: {reason}", ""));
            }
            for secondary in &zone.secondaries {
                let mark = if secondary.serial == Some(zone.serial) { ' ' } else { '!' };
                let serial = secondary.serial.map_or("not seen".to_owned(), |serial| serial.to_string());
                let problem = if secondary.problem.is_empty() { "" } else { ": " };
                self.line(format_args!(
                    "{mark}      {:<width$}  serial {serial} at {}{problem}{}",
                    "", secondary.server, secondary.problem
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (s, text) in [(0, "0 s"), (-5, "0 s"), (59, "59 s"), (130, "2 min 10 s"), (14_700, "4 h 5 min")] {
            assert_eq!(span(s * 1_000), text);
        }
        assert_eq!(span(9 * 86_400_000 + 3 * 3_600_000), "9 d 3 h");
    }

    #[test]
    fn moments_beyond_the_calendar_are_shown_all_the_same() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(i64::MAX), format!("{} ms", i64::MAX));
    }

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        let line = log_line(&Entry::Note { unix_ms: 0, text: "a\u{1b}[2Jb\r\nc".into() });
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
