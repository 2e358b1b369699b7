//! `status --nagios`: one line for people, perfdata for graphs, an exit status for Nagios.
//!
//! The states are those of the alarms: critical, warning; a notice (an order with an end) is ok.

use crate::director::alarm::{self, Severity};
use crate::director::status::{CertDays, Status};

use super::text;

/// Alarms that the line tells; of more it gives the number.
const ALARMS_MAX: usize = 3;
/// Pools whose primary the line tells when all is well.
const POOLS_MAX: usize = 3;

/// What Nagios gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    pub state: State,
    /// "NSD-FAILOVER OK - words | perfdata".
    pub line: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    Ok,
    Warning,
    Critical,
    Unknown,
}

/// What a status comes to.
pub fn report(status: &Status, now_unix_ms: i64) -> Report {
    let alarms = alarm::alarms(status, now_unix_ms);
    let state = match alarm::worst(&alarms) {
        Some(Severity::Critical) => State::Critical,
        Some(Severity::Warning) => State::Warning,
        Some(Severity::Notice) | None => State::Ok,
    };
    let mut words: Vec<String> = Vec::new();
    for alarm in alarms.iter().take(ALARMS_MAX) {
        words.push(text::alarm_words(alarm));
    }
    if alarms.len() > ALARMS_MAX {
        words.push(format!("and {} more", alarms.len() - ALARMS_MAX));
    }
    if state == State::Ok {
        words.extend(primaries(status));
    }
    Report {
        state,
        line: format!("{} | {}", sentence(state, &words.join("; ")), perfdata(status, &alarms, now_unix_ms)),
    }
}

/// The daemon does not answer.
pub fn unreachable(reason: &str) -> Report {
    Report { state: State::Critical, line: sentence(State::Critical, reason) }
}

/// There is nobody to ask: the plugin itself was called wrong.
pub fn unknown(reason: &str) -> Report {
    Report { state: State::Unknown, line: sentence(State::Unknown, reason) }
}

fn sentence(state: State, words: &str) -> String {
    let state = match state {
        State::Ok => "OK",
        State::Warning => "WARNING",
        State::Critical => "CRITICAL",
        State::Unknown => "UNKNOWN",
    };
    // The bar begins the perfdata.
    text::clean(&format!("NSD-FAILOVER {state} - {words}")).replace('|', "/")
}

fn primaries(status: &Status) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for pool in status.pools.iter().take(POOLS_MAX) {
        let holders = text::holders(pool).into_iter().filter(|(role, _)| role.starts_with("primary"));
        let nodes: Vec<String> = holders.map(|(_, node)| node).collect();
        words.push(format!("{}: {}", pool.name, nodes.join(", ")));
    }
    if status.pools.len() > POOLS_MAX {
        words.push(format!("and {} more", status.pools.len() - POOLS_MAX));
    }
    words
}

/// `'label'=value[unit];warn;crit;min;max`, as the plugin guidelines want it.
fn perfdata(status: &Status, alarms: &[alarm::Alarm], now_unix_ms: i64) -> String {
    let checks = || status.nodes.iter().flat_map(|node| &node.checks);
    let up = checks().filter(|check| check.verdict == "up").count();
    let all_down = status.pools.iter().filter(|pool| alarm::is_all_down(&pool.rule)).count();
    let count = |severity| alarms.iter().filter(|alarm| alarm.severity == severity).count();
    let behind = status.zones.iter().filter(|zone| zone.is_behind()).count();
    let mut words = vec![
        format!("pools={};;;0", status.pools.len()),
        format!("pools_all_down={all_down};;0;0;{}", status.pools.len()),
        format!("checks_up={up};;;0;{}", checks().count()),
        format!("zones_behind={behind};0;;0;{}", status.zones.len()),
        format!("warnings={};0;;0", count(Severity::Warning)),
        format!("criticals={};;0;0", count(Severity::Critical)),
        format!("generation={}c", status.generation),
    ];
    let ends = checks().filter_map(|check| check.cert_expiry_unix_s).min();
    if let Some(days) = ends.map(|unix_s| alarm::days_left(unix_s, now_unix_ms)) {
        let CertDays { warning, critical } = status.cert_days;
        words.push(format!("cert_days={days};{warning}:;{critical}:"));
    }
    let slowest = checks().filter_map(|check| check.duration_ms).max();
    words.extend(slowest.map(|ms| format!("slowest_probe={ms}ms;;;0")));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use crate::director::status::{OverrideStatus, PoolFamilyStatus, PoolStatus};
    use crate::health::family::Family;

    use super::*;

    fn status() -> Status {
        let holds = PoolFamilyStatus { family: Family::Ipv4, primary: Some("fishfinger".into()), standby: None };
        let pool = PoolStatus { name: "web".into(), families: vec![holds], ..PoolStatus::default() };
        Status { ready: true, unix_ms: 1_000, generation: 7, pools: vec![pool], ..Status::default() }
    }

    #[test]
    fn one_line_and_perfdata() {
        let expected = "NSD-FAILOVER OK - web: fishfinger | pools=1;;;0 pools_all_down=0;;0;0;1 checks_up=0;;;0;0 \
                        zones_behind=0;0;;0;0 warnings=0;0;;0 criticals=0;;0;0 generation=7c";
        assert_eq!(report(&status(), 1_000), Report { state: State::Ok, line: expected.to_owned() });
    }

    #[test]
    fn alarms_give_the_state_and_no_reason_begins_the_perfdata() {
        let mut held = status();
        held.pools[0].hold = Some(OverrideStatus { reason: Some("a|b\nc".into()), ..OverrideStatus::default() });
        let told = report(&held, 1_000);
        assert_eq!(told.state, State::Warning);
        assert!(told.line.matches('|').count() == 1 && told.line.lines().count() == 1, "{}", told.line);
        assert!(told.line.contains("web: held on the withdrawn answer by order, until somebody takes it back: a/b"));
        held.pools[0].rule = "all-down-keep".into();
        assert_eq!(report(&held, 1_000).state, State::Critical);
        // An order with an end is as somebody wants it.
        held = status();
        held.pools[0].hold = Some(OverrideStatus { until_unix_ms: Some(9_000), ..OverrideStatus::default() });
        assert_eq!(report(&held, 1_000).state, State::Ok);
    }

    /// Even where everything else is on fire: what burns is not what is served.
    #[test]
    fn a_shadow_says_so_first() {
        let mut shadow = Status { shadow: true, ..status() };
        assert!(report(&shadow, 1_000).line.starts_with("NSD-FAILOVER WARNING - in shadow: what is shown here"));
        shadow.pools = (0..5).map(|_| PoolStatus { rule: "all-down-keep".into(), ..PoolStatus::default() }).collect();
        let told = report(&shadow, 1_000);
        assert_eq!(told.state, State::Critical);
        assert!(told.line.starts_with("NSD-FAILOVER CRITICAL - in shadow: "), "{}", told.line);
    }
}
