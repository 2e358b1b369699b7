//! What somebody should know about: found in a [`Status`], the same for the page, the metrics and
//! Nagios.

use jiff::Timestamp;

use super::event::ExportResult;
use super::status::{CertDays, NodeStatus, OverrideStatus, PoolStatus, Status, ZoneStatus};

/// A snapshot that is older was made by a daemon that no longer turns: it renews its snapshot at
/// least three times in this time.
pub const STALE_MS: i64 = 30_000;
const DAY_S: i64 = 86_400;
/// Whoever starts a shadow knows it; whoever looks a month later does not.
pub const SHADOW: &str = "in shadow: what is shown here is decided and told, but nothing of it is published";

/// The rule of a pool that waits in vain for what must be known.
const BLIND: &str = "blind";

/// One thing that somebody should know about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alarm {
    pub severity: Severity,
    pub kind: Kind,
    /// The pool, node or zone; empty where it is about the daemon.
    pub subject: String,
    /// One line for people, without the subject.
    pub text: String,
}

/// The most urgent first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Answers are wrong, or will be at the next mishap.
    Critical,
    /// Somebody has to do something, soon.
    Warning,
    /// As somebody wanted it, for a limited time.
    Notice,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    Stale,
    Shadow,
    Starting,
    AllDown,
    Blind,
    Withdrawn,
    FamilyDown,
    Down,
    ExportFailed,
    NextExport,
    ExportHeld,
    Behind,
    Certificate,
    Hold,
    Drain,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        }
    }
}

impl Kind {
    pub const ALL: [Kind; 15] = [
        Kind::Stale,
        Kind::Shadow,
        Kind::Starting,
        Kind::AllDown,
        Kind::Blind,
        Kind::Withdrawn,
        Kind::FamilyDown,
        Kind::Down,
        Kind::ExportFailed,
        Kind::NextExport,
        Kind::ExportHeld,
        Kind::Behind,
        Kind::Certificate,
        Kind::Hold,
        Kind::Drain,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Stale => "stale",
            Kind::Shadow => "shadow",
            Kind::Starting => "starting",
            Kind::AllDown => "all-down",
            Kind::Blind => "blind",
            Kind::Withdrawn => "withdrawn",
            Kind::FamilyDown => "family-down",
            Kind::Down => "down",
            Kind::ExportFailed => "export-failed",
            Kind::NextExport => "next-export",
            Kind::ExportHeld => "export-held",
            Kind::Behind => "behind",
            Kind::Certificate => "certificate",
            Kind::Hold => "hold",
            Kind::Drain => "drain",
        }
    }
}

/// Everything that is not as it should be, the most urgent first; but before all that the daemon is a
/// shadow, for then nothing of the rest is about what is served.
pub fn alarms(status: &Status, now_unix_ms: i64) -> Vec<Alarm> {
    let mut found = Vec::new();
    let age_ms = now_unix_ms.saturating_sub(status.unix_ms);
    if age_ms > STALE_MS {
        let text = format!("the daemon has not renewed its state for {} s: it hangs", age_ms / 1_000);
        found.push(alarm(Severity::Critical, Kind::Stale, "", text));
    }
    if status.shadow {
        found.push(alarm(Severity::Warning, Kind::Shadow, "", SHADOW.to_owned()));
    }
    if !status.ready {
        let text = "the first round of probes is not done yet: nothing moves by itself".to_owned();
        found.push(alarm(Severity::Warning, Kind::Starting, "", text));
    }
    status.pools.iter().for_each(|pool| of_pool(pool, now_unix_ms, &mut found));
    status.nodes.iter().for_each(|node| of_node(node, status.cert_days, now_unix_ms, &mut found));
    found.extend(status.zones.iter().filter_map(of_zone));
    // Stable: within one severity the order of the status stays.
    found.sort_by_key(|alarm| (alarm.kind != Kind::Shadow, alarm.severity, alarm.kind));
    found
}

/// How bad it is all in all.
pub fn worst(alarms: &[Alarm]) -> Option<Severity> {
    alarms.iter().map(|alarm| alarm.severity).min()
}

/// Whether a pool's rule says that nobody is up, or that nobody can know.
pub fn is_all_down(rule: &str) -> bool {
    rule.starts_with("all-down") || rule == "cut-off" || rule == BLIND
}

/// Whether an export has left nsd without the decision.
pub fn has_failed(result: ExportResult) -> bool {
    matches!(result, ExportResult::RolledBack | ExportResult::Refused | ExportResult::Broken)
}

/// Whole days until this moment; negative when it has passed.
pub fn days_left(unix_s: i64, now_unix_ms: i64) -> i64 {
    unix_s.saturating_sub(now_unix_ms.div_euclid(1_000)).div_euclid(DAY_S)
}

/// How urgent the end of a certificate is; `None`: far enough.
pub fn cert_severity(unix_s: i64, limits: CertDays, now_unix_ms: i64) -> Option<Severity> {
    match days_left(unix_s, now_unix_ms) {
        days if days < 0 || days < limits.critical => Some(Severity::Critical),
        days if days < limits.warning => Some(Severity::Warning),
        _ => None,
    }
}

/// "ends in 5 days", "ends in less than a day", "ended 2 days ago".
pub fn cert_words(unix_s: i64, now_unix_ms: i64) -> String {
    match days_left(unix_s, now_unix_ms) {
        0 => "ends in less than a day".to_owned(),
        1 => "ends in 1 day".to_owned(),
        days @ 2.. => format!("ends in {days} days"),
        -1 => "has ended".to_owned(),
        -2 => "ended 1 day ago".to_owned(),
        days => format!("ended {} days ago", -(days + 1)),
    }
}

fn alarm(severity: Severity, kind: Kind, subject: &str, text: String) -> Alarm {
    Alarm { severity, kind, subject: subject.to_owned(), text }
}

fn of_pool(pool: &PoolStatus, now_unix_ms: i64, found: &mut Vec<Alarm>) {
    if is_all_down(&pool.rule) {
        let kind = if pool.rule == BLIND { Kind::Blind } else { Kind::AllDown };
        found.push(alarm(Severity::Critical, kind, &pool.name, pool.reason.clone()));
    } else {
        let without = pool.families.iter().filter(|family| family.primary.is_none());
        let families: Vec<&str> = without.map(|family| family.family.as_str()).collect();
        if !families.is_empty() {
            let text = format!("no primary over {}: {}", families.join(" and "), pool.reason);
            found.push(alarm(Severity::Warning, Kind::Withdrawn, &pool.name, text));
        }
    }
    for text in pool.alarms.iter().filter(|text| **text != pool.reason) {
        found.push(alarm(Severity::Warning, Kind::FamilyDown, &pool.name, text.clone()));
    }
    if let Some(hold) = &pool.hold {
        let text = format!("held on {}", hold.node.as_deref().unwrap_or("the withdrawn answer"));
        found.push(override_alarm(Kind::Hold, &pool.name, text, hold, now_unix_ms));
    }
}

/// An order without an end is easily forgotten, and then there is no failover.
fn override_alarm(kind: Kind, subject: &str, mut text: String, order: &OverrideStatus, now_unix_ms: i64) -> Alarm {
    let severity = if order.until_unix_ms.is_some() { Severity::Notice } else { Severity::Warning };
    match order.until_unix_ms {
        Some(until) => text.push_str(&format!(" by order, until {}", until_words(until, now_unix_ms))),
        None => text.push_str(" by order, until somebody takes it back"),
    }
    if let Some(reason) = &order.reason {
        text.push_str(": ");
        text.push_str(reason);
    }
    alarm(severity, kind, subject, text)
}

/// "18:42 UTC (in 1 h 59 min)"; with the date where it is not today's.
fn until_words(until_unix_ms: i64, now_unix_ms: i64) -> String {
    let left_min = until_unix_ms.saturating_sub(now_unix_ms).max(0) / 60_000;
    let left = match (left_min / 1_440, left_min / 60 % 24, left_min % 60) {
        (0, 0, 0) => "less than a minute".to_owned(),
        (0, 0, min) => format!("{min} min"),
        (0, h, min) => format!("{h} h {min} min"),
        (d, h, _) => format!("{d} d {h} h"),
    };
    let is_today = until_unix_ms.div_euclid(DAY_S * 1_000) == now_unix_ms.div_euclid(DAY_S * 1_000);
    match Timestamp::from_millisecond(until_unix_ms) {
        Ok(until) => {
            format!("{} UTC (in {left})", until.strftime(if is_today { "%H:%M" } else { "%Y-%m-%d %H:%M" }))
        }
        Err(_) => format!("{until_unix_ms} ms"),
    }
}

fn of_node(node: &NodeStatus, cert_days: CertDays, now_unix_ms: i64, found: &mut Vec<Alarm>) {
    if let Some(drain) = &node.drain {
        found.push(override_alarm(Kind::Drain, &node.name, "drained".to_owned(), drain, now_unix_ms));
    }
    for check in node.checks.iter().filter(|check| check.verdict == "down") {
        let text = format!("down: {} over {}: {} {}", check.check, check.family, check.word, check.detail);
        found.push(alarm(Severity::Warning, Kind::Down, &node.name, text.trim_end().to_owned()));
    }
    for check in node.checks.iter().filter(|check| check.blind) {
        let seen = (&check.check, check.family, &check.verdict, &check.word, &check.detail);
        let text = format!("{} over {} cannot say, it stays {}: {} {}", seen.0, seen.1, seen.2, seen.3, seen.4);
        found.push(alarm(Severity::Warning, Kind::Blind, &node.name, text.trim_end().to_owned()));
    }
    for (check, unix_s) in certificates(node) {
        if let Some(severity) = cert_severity(unix_s, cert_days, now_unix_ms) {
            let text = format!("the certificate that {check} sees {}", cert_words(unix_s, now_unix_ms));
            found.push(alarm(severity, Kind::Certificate, &node.name, text));
        }
    }
}

/// Each check of a node that saw a certificate, with the earliest end over the families, in Unix
/// seconds.
pub fn certificates(node: &NodeStatus) -> Vec<(&str, i64)> {
    let mut found: Vec<(&str, i64)> = Vec::new();
    for check in &node.checks {
        let Some(unix_s) = check.cert_expiry_unix_s else { continue };
        match found.iter_mut().find(|(name, _)| *name == check.check) {
            Some((_, known)) => *known = unix_s.min(*known),
            None => found.push((&check.check, unix_s)),
        }
    }
    found
}

fn of_zone(zone: &ZoneStatus) -> Option<Alarm> {
    let last = zone.last_export.as_ref();
    if let Some(report) = last.filter(|report| has_failed(report.result)) {
        let severity = if report.result == ExportResult::Broken { Severity::Critical } else { Severity::Warning };
        return Some(alarm(severity, Kind::ExportFailed, &zone.name, format!("export failed: {}", report.detail)));
    }
    if let Some(reason) = zone.next_refused.as_ref().filter(|_| zone.export) {
        let text = format!("the next failover would be refused: {reason}");
        return Some(alarm(Severity::Critical, Kind::NextExport, &zone.name, text));
    }
    if zone.export_held {
        let text = format!("held since a rollback: nsd hears of no decision until `export {}`", zone.name);
        return Some(alarm(Severity::Warning, Kind::ExportHeld, &zone.name, text));
    }
    if !zone.is_behind() {
        return of_secondaries(zone);
    }
    let text = match (zone.serial_at_nsd, zone.servers.iter().find(|server| server.serial != Some(zone.serial))) {
        (Some(serial), Some(behind)) if serial == zone.serial => match behind.serial {
            Some(serial) => format!("nsd at {} serves serial {serial}, decided is {}", behind.server, zone.serial),
            None => format!("nsd at {} was not seen to serve it", behind.server),
        },
        (Some(serial), _) => format!("nsd serves serial {serial}, decided is {}", zone.serial),
        (None, _) => "nsd was not seen to serve it".to_owned(),
    };
    Some(alarm(Severity::Warning, Kind::Behind, &zone.name, text))
}

fn of_secondaries(zone: &ZoneStatus) -> Option<Alarm> {
    let mut behind = zone.secondaries.iter().filter(|secondary| secondary.serial != Some(zone.serial));
    let first = behind.next()?;
    let serves = match (first.serial, first.problem.as_str()) {
        (Some(serial), _) => format!("serves serial {serial}"),
        (None, "") => "was not seen to serve it".to_owned(),
        (None, problem) => format!("does not answer for it ({problem})"),
    };
    let more = match behind.count() {
        0 => String::new(),
        more => format!(", and {more} more secondaries are behind"),
    };
    let text = format!("secondary {} {serves}, decided is {}{more}", first.server, zone.serial);
    Some(alarm(Severity::Warning, Kind::Behind, &zone.name, text))
}

#[cfg(test)]
mod tests {
    use super::super::status::SecondaryStatus;
    use super::*;
    use crate::director::status::ServerStatus;

    const NOW: i64 = 1_700_000_000_000;

    #[test]
    fn certificates_are_told_in_time() {
        let now_s = NOW / 1_000;
        for (days, severity, words) in [
            (30, None, "ends in 30 days"),
            (14, None, "ends in 14 days"),
            (13, Some(Severity::Warning), "ends in 13 days"),
            (3, Some(Severity::Warning), "ends in 3 days"),
            (1, Some(Severity::Critical), "ends in 1 day"),
            (0, Some(Severity::Critical), "ends in less than a day"),
            (-1, Some(Severity::Critical), "ended 1 day ago"),
        ] {
            // An hour more: whole days are told.
            let unix_s = now_s + days * DAY_S + if days < 0 { -3_600 } else { 3_600 };
            assert_eq!(cert_severity(unix_s, CertDays::default(), NOW), severity, "{days}");
            assert_eq!(cert_words(unix_s, NOW), words, "{days}");
        }
        // Others want to know earlier, or not before the end.
        let severity =
            |days, warning, critical| cert_severity(now_s + days * DAY_S + 3_600, CertDays { warning, critical }, NOW);
        assert_eq!(severity(20, 30, 7), Some(Severity::Warning));
        assert_eq!(severity(6, 30, 7), Some(Severity::Critical));
        assert_eq!((severity(0, 0, 0), severity(-2, 0, 0)), (None, Some(Severity::Critical)));
        assert_eq!(cert_words(now_s - 10, NOW), "has ended");
        assert_eq!(cert_words(i64::MIN, i64::MAX), format!("ended {} days ago", -days_left(i64::MIN, i64::MAX) - 1));
    }

    #[test]
    fn an_order_without_an_end_is_a_warning() {
        let order = |until_unix_ms| OverrideStatus { until_unix_ms, ..OverrideStatus::default() };
        let alarm = |until_unix_ms| override_alarm(Kind::Drain, "a", "drained".into(), &order(until_unix_ms), NOW);
        assert_eq!(alarm(None).severity, Severity::Warning);
        // It is 22:13:20.
        for (min, until) in [
            (0, "22:13 UTC (in less than a minute)"),
            (59, "23:12 UTC (in 59 min)"),
            (125, "2023-11-15 00:18 UTC (in 2 h 5 min)"),
            (3 * 1_440 + 61, "2023-11-17 23:14 UTC (in 3 d 1 h)"),
            (-5, "22:08 UTC (in less than a minute)"),
        ] {
            let told = alarm(Some(NOW + min * 60_000));
            assert_eq!((told.severity, told.text), (Severity::Notice, format!("drained by order, until {until}")));
        }
        assert_eq!(until_words(i64::MAX, NOW), format!("{} ms", i64::MAX));
    }

    #[test]
    fn each_address_of_nsd_counts() {
        let server = |serial| ServerStatus { server: "192.0.2.53:53".into(), serial };
        let told = |serial_at_nsd, serials: &[Option<u32>]| {
            let servers = serials.iter().map(|serial| server(*serial)).collect();
            let zone = ZoneStatus { serial: 7, serial_at_nsd, export: true, servers, ..ZoneStatus::default() };
            of_zone(&zone).map(|alarm| alarm.text)
        };
        assert_eq!(told(Some(7), &[]), None);
        assert_eq!(told(Some(7), &[Some(7), Some(7)]), None);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(told(Some(6), &[Some(6), Some(7)]), text("nsd serves serial 6, decided is 7"));
        assert_eq!(told(Some(7), &[Some(7), Some(6)]), text("nsd at 192.0.2.53:53 serves serial 6, decided is 7"));
        assert_eq!(told(Some(7), &[Some(7), None]), text("nsd at 192.0.2.53:53 was not seen to serve it"));
        assert_eq!(told(None, &[None, Some(7)]), text("nsd was not seen to serve it"));
    }

    #[test]
    fn a_secondary_without_the_serial_is_told_of_and_why() {
        let told = |serial, problem: &str| {
            let secondary =
                SecondaryStatus { server: "s:53".into(), serial, problem: problem.into(), acknowledged: None };
            let zone = ZoneStatus { serial: 2, secondaries: vec![secondary], ..ZoneStatus::default() };
            alarms(&Status { unix_ms: NOW, ready: true, zones: vec![zone], ..Status::default() }, NOW)
                .into_iter()
                .map(|alarm| alarm.text)
                .collect::<Vec<String>>()
        };
        assert_eq!(told(Some(2), ""), [""; 0]);
        assert_eq!(told(Some(1), ""), ["secondary s:53 serves serial 1, decided is 2"]);
        assert_eq!(told(None, ""), ["secondary s:53 was not seen to serve it, decided is 2"]);
        let dead = "secondary s:53 does not answer for it (NOTIFY: no answer), decided is 2";
        assert_eq!(told(None, "NOTIFY: no answer"), [dead]);
    }

    #[test]
    fn an_export_that_would_be_refused_is_told_before_it_is_needed() {
        let zone = ZoneStatus {
            name: "example.org.".into(),
            serial: 1,
            serial_at_nsd: Some(1),
            export: true,
            next_refused: Some("z:9: nsd does not like it".into()),
            ..ZoneStatus::default()
        };
        let status = Status { unix_ms: NOW, ready: true, zones: vec![zone], ..Status::default() };
        let found = alarms(&status, NOW);
        let text = "the next failover would be refused: z:9: nsd does not like it".to_owned();
        assert_eq!(found, [alarm(Severity::Critical, Kind::NextExport, "example.org.", text)]);
    }

    #[test]
    fn the_most_urgent_comes_first_and_a_hung_daemon_before_all() {
        let down = PoolStatus { name: "web".into(), rule: "all-down-keep".into(), ..PoolStatus::default() };
        let status = Status { unix_ms: NOW - STALE_MS - 1, pools: vec![down], ..Status::default() };
        let kinds: Vec<Kind> = alarms(&status, NOW).into_iter().map(|alarm| alarm.kind).collect();
        assert_eq!(kinds, [Kind::Stale, Kind::AllDown, Kind::Starting]);
        let found = alarms(&Status { shadow: true, ..status }, NOW);
        assert_eq!((found[0].kind, worst(&found)), (Kind::Shadow, Some(Severity::Critical)));
        assert!(alarms(&Status { unix_ms: NOW, ready: true, ..Status::default() }, NOW).is_empty());
    }
}
