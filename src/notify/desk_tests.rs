//! What is told of, when, and how often.

use crate::director::event::ExportResult;
use crate::director::status::{CheckStatus, NodeStatus, PoolStatus, ServerStatus};
use crate::health::family::Family;
use crate::notify::template;

use super::*;

const UNIX_MS: i64 = 1_700_000_000_000;

fn at(ms: u64) -> Now {
    Now { monotonic_ms: ms, unix_ms: UNIX_MS + i64::try_from(ms).unwrap() }
}

/// A transition of a pool at generation 7, with one zone that is exported.
fn moved(pool: &str, rule: &str, families: &[Family]) -> Moved {
    let transition = Transition {
        generation: 7,
        unix_ms: UNIX_MS,
        pool: pool.into(),
        families: families.to_vec(),
        from: Some("fishfinger".into()),
        to: Some("blowfish".into()),
        rule: rule.into(),
        reason: "fishfinger is down".into(),
        zones: vec!["foo.zone.".into()],
        probes: vec!["fishfinger ipv4 web: L4CON refused".into()],
        shadow: false,
    };
    let zone = ZoneMoved { origin: "foo.zone.".into(), ttl_max_s: 300, exported: true, answered_by_nsd: false };
    Moved { transition: Arc::new(transition), zones: vec![zone], names: 3, answers: Vec::new() }
}

fn report(result: ExportResult, generation: u64, ms: i64) -> ExportReport {
    ExportReport {
        zone: "foo.zone.".into(),
        generation,
        serial: 42,
        result,
        detail: "as it went".into(),
        unix_ms: UNIX_MS + ms,
        duration_ms: 80,
    }
}

fn kinds(incidents: &[Incident]) -> Vec<Vec<Kind>> {
    incidents.iter().map(|incident| incident.kinds.clone()).collect()
}

#[test]
fn a_transition_waits_for_its_export_and_tells_of_both() {
    let mut desk = Desk::new("here", Memory::default());
    desk.moved(moved("web", "failover", &Family::ALL), at(0));
    assert!(desk.take_due(at(5_000)).is_empty());
    desk.exported(&report(ExportResult::Served, 7, 900), at(5_000));
    let told = desk.take_due(at(5_000));
    assert_eq!(kinds(&told), [[Kind::Transition]]);
    let incident = &told[0];
    assert_eq!((incident.severity, incident.generation), (Severity::Warning, Some(7)));
    assert_eq!(incident.summary, "web: fishfinger -> blowfish: fishfinger is down");
    assert_eq!((incident.exports.len(), incident.exports_pending.len()), (1, 0));
    assert_eq!(incident.moves[0].probes.len(), 1);
    // We answer ourselves: the last old answer left with the swap.
    assert_eq!(incident.caches_until_unix_ms, Some(UNIX_MS + 300_000));
    assert_eq!(desk.next_ms(), None);
}

#[test]
fn where_nsd_answers_the_old_answer_leaves_until_the_export_is_served() {
    let mut by_nsd = moved("web", "failover", &Family::ALL);
    by_nsd.zones[0].answered_by_nsd = true;
    let mut desk = Desk::new("here", Memory::default());
    desk.moved(by_nsd.clone(), at(0));
    desk.exported(&report(ExportResult::Served, 7, 900), at(900));
    assert_eq!(desk.take_due(at(900))[0].caches_until_unix_ms, Some(UNIX_MS + 900 + 300_000));
    // It fails: nobody knows.
    desk.moved(by_nsd, at(1_000));
    desk.exported(&report(ExportResult::RolledBack, 7, 1_500), at(1_500));
    let told = desk.take_due(at(1_500));
    assert_eq!(kinds(&told), [[Kind::Transition, Kind::ExportFailed]]);
    assert_eq!(told[0].caches_until_unix_ms, None);
}

#[test]
fn an_export_that_does_not_end_is_not_waited_for_for_ever() {
    let mut desk = Desk::new("here", Memory::default());
    desk.moved(moved("web", "failover", &Family::ALL), at(0));
    assert_eq!(desk.next_ms(), Some(EXPORT_PATIENCE_MS));
    let told = desk.take_due(at(EXPORT_PATIENCE_MS));
    assert_eq!(told[0].exports_pending, ["foo.zone."]);
}

#[test]
fn pools_that_move_together_are_one_incident() {
    let mut desk = Desk::new("here", Memory::default());
    for pool in 0..1_000 {
        desk.moved(moved(&format!("pool{pool}"), "failover", &Family::ALL), at(1));
    }
    desk.exported(&report(ExportResult::Served, 8, 2), at(100));
    let told = desk.take_due(at(10_000));
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].moves.len(), told[0].moves_left_out), (MOVES_MAX, 1_000 - MOVES_MAX));
    assert!(told[0].summary.starts_with("pool0 and 999 more: fishfinger -> blowfish"), "{}", told[0].summary);
    // The same pool at another generation is another incident.
    desk.moved(moved("pool0", "failover", &Family::ALL), at(20_000));
    assert_eq!(desk.take_all().len(), 1);
}

#[test]
fn a_failing_export_is_told_of_once_and_when_it_is_well_again() {
    let mut desk = Desk::new("here", Memory::default());
    for ms in 0..3 {
        desk.exported(&report(ExportResult::Refused, 7, ms), at(0));
    }
    let told = desk.take_due(at(0));
    assert_eq!(kinds(&told), [[Kind::ExportFailed]]);
    assert_eq!(told[0].summary, "foo.zone. export failed: as it went");
    desk.exported(&report(ExportResult::Served, 7, 3), at(0));
    desk.exported(&report(ExportResult::Served, 7, 4), at(0));
    assert_eq!(kinds(&desk.take_due(at(0))), [[Kind::Recovery]]);
}

#[test]
fn all_down_is_told_of_once_and_when_it_is_over() {
    let mut desk = Desk::new("here", Memory::default());
    desk.moved(moved("web", "all-down-keep", &[]), at(0));
    desk.moved(moved("web", "cut-off", &[]), at(1));
    let told = desk.take_due(at(1_000));
    assert_eq!((kinds(&told), told[0].severity), (vec![vec![Kind::AllDown]], Severity::Critical));
    // No primary has moved: there is nothing to wait for, and no cache holds anything old.
    assert_eq!(told[0].caches_until_unix_ms, None);
    desk.moved(moved("web", "steady", &[]), at(2_000));
    assert_eq!(kinds(&desk.take_due(at(3_000))), [[Kind::Recovery]]);
    desk.moved(moved("web", "all-down-withdraw", &Family::ALL), at(4_000));
    desk.moved(moved("web", "failover", &Family::ALL), at(30_000));
    assert_eq!(
        kinds(&desk.take_due(at(60_000))),
        [[Kind::AllDown, Kind::Transition], [Kind::Recovery, Kind::Transition]]
    );
}

#[test]
fn what_was_ordered_or_planned_is_no_warning() {
    for (rule, severity) in
        [("hold", Severity::Notice), ("rotation", Severity::Notice), ("failover", Severity::Warning)]
    {
        let mut desk = Desk::new("here", Memory::default());
        desk.moved(moved("web", rule, &Family::ALL), at(0));
        assert_eq!(desk.take_all()[0].severity, severity, "{rule}");
    }
}

/// A status in which the certificate of a node ends in so many days.
fn certificate(days: i64) -> Status {
    let check = |family| CheckStatus {
        check: "web".into(),
        family,
        verdict: "up".into(),
        against: 0,
        needed: 3,
        word: "L7OK".into(),
        detail: String::new(),
        duration_ms: None,
        last_probe_unix_ms: None,
        since_unix_ms: None,
        cert_expiry_unix_s: Some(UNIX_MS / 1_000 + days * 86_400 + 60),
        measures: Vec::new(),
        history: String::new(),
        blind: false,
    };
    let checks = Family::ALL.map(check).to_vec();
    Status {
        nodes: vec![NodeStatus { name: "fishfinger".into(), checks, ..NodeStatus::default() }],
        ..Status::default()
    }
}

#[test]
fn a_certificate_is_told_of_at_each_threshold_and_when_it_is_renewed() {
    let mut desk = Desk::new("here", Memory::default());
    let mut told = |days| {
        desk.look(&certificate(days), at(0));
        let told = desk.take_due(at(0));
        assert!(told.len() < 2, "one for both families: {told:?}");
        told.first().map(|incident| (incident.kinds[0], incident.severity))
    };
    assert_eq!(told(60), None);
    assert_eq!(told(13), Some((Kind::Certificate, Severity::Warning)));
    assert_eq!(told(12), None);
    assert_eq!(told(2), Some((Kind::Certificate, Severity::Critical)));
    assert_eq!(told(-1), Some((Kind::Certificate, Severity::Critical)));
    assert_eq!(told(-2), None);
    assert_eq!(told(5), None, "a step back that is no renewal");
    assert_eq!(told(89), Some((Kind::Recovery, Severity::Good)));
}

#[test]
fn a_refused_rehearsal_is_told_of_once_for_all_zones_of_a_round() {
    let mut desk = Desk::new("here", Memory::default());
    let zones = |range: std::ops::Range<usize>| range.map(|zone| format!("z{zone}.")).collect::<Vec<_>>();
    desk.rehearsed(zones(0..2), None, at(0));
    assert_eq!(desk.next_ms(), None, "all is well");
    for (second, zone) in (0..ZONES_MAX + 2).enumerate() {
        desk.rehearsed(zones(zone..zone + 1), Some("no right to write"), at(second as u64 * 1_000));
    }
    assert!(desk.memory().is_none(), "nobody knows yet");
    let told = desk.take_due(at(desk.next_ms().unwrap()));
    assert_eq!((kinds(&told), told[0].severity), (vec![vec![Kind::NextExport]], Severity::Critical));
    assert_eq!((told[0].zones.len(), told[0].zones_left_out), (ZONES_MAX, 2));
    let summary = "z0. and 51 more: the next failover would be refused: no right to write";
    assert_eq!(told[0].summary, summary);
    desk.rehearsed(zones(0..9), Some("another reason"), at(100_000));
    assert_eq!(desk.next_ms(), None, "they know");
    desk.rehearsed(zones(0..1), None, at(100_000));
    let told = desk.take_due(at(200_000));
    assert_eq!((kinds(&told), &told[0].zones), (vec![vec![Kind::Recovery]], &zones(0..1)));
    // What is served was not refused.
    desk.rehearsed(vec!["foo.zone.".into()], Some("x"), at(200_000));
    desk.take_all();
    desk.exported(&report(ExportResult::Served, 7, 0), at(200_000));
    assert_eq!(kinds(&desk.take_all()), [[Kind::Recovery]]);
}

/// One record for all, or a broken disk of a thousand zones would be a thousand mails; none of them is
/// told of with somebody else's reason.
#[test]
fn zones_that_are_refused_for_different_reasons_are_told_of_with_their_own() {
    let mut desk = Desk::new("here", Memory::default());
    let refuse = |desk: &mut Desk, zone: &str, reason| desk.rehearsed(vec![zone.to_owned()], Some(reason), at(0));
    refuse(&mut desk, "a.", "a:9: syntax error");
    refuse(&mut desk, "b.", "b belongs to root:root");
    let told = desk.take_all();
    assert_eq!(
        (told.len(), &told[0].reasons[..]),
        (1, &["a:9: syntax error", "b belongs to root:root"].map(str::to_owned)[..])
    );
    let summary = "a. and 1 more: the next failover would be refused, for more than one reason; a.: a:9: syntax error";
    assert_eq!(told[0].summary, summary);
    let text = template::text(&told[0]);
    assert!(text.contains("b.: b belongs to root:root"), "{text}");
    // One for each line that there is room for, and one more.
    let mut desk = Desk::new("here", Memory::default());
    (0..ZONES_MAX).for_each(|zone| refuse(&mut desk, &format!("z{zone}."), "no right to write"));
    refuse(&mut desk, "other.", "another reason");
    let told = desk.take_all();
    assert!(told[0].summary.contains("for more than one reason; z0.: no right to write"), "{}", told[0].summary);
    assert_eq!((told[0].reasons.len(), told[0].zones_left_out), (ZONES_MAX, 1));
}

/// A desk that goes on with what another one has told, over JSON as it is kept.
fn restarted(desk: &Desk) -> Desk {
    let kept = serde_json::to_vec(desk.memory().expect("all is told")).unwrap();
    Desk::new("here", serde_json::from_slice(&kept).unwrap())
}

#[test]
fn a_restart_tells_nobody_twice_and_everybody_of_the_end() {
    let mut desk = Desk::new("here", Memory::default());
    desk.look(&certificate(13), at(0));
    desk.moved(moved("web", "all-down-keep", &[]), at(0));
    desk.moved(moved("gone", "all-down-keep", &[]), at(0));
    desk.exported(&report(ExportResult::Refused, 7, 0), at(0));
    desk.rehearsed(vec!["foo.zone.".into()], Some("x"), at(0));
    assert_eq!(desk.take_all().len(), 4);

    let mut desk = restarted(&desk);
    let pool = |rule: &str| PoolStatus { name: "web".into(), rule: rule.into(), ..PoolStatus::default() };
    let zone = ZoneStatus { name: "foo.zone.".into(), serial: 42, export: true, ..ZoneStatus::default() };
    let status = |rule: &str, at_nsd: u32| {
        let zones = vec![ZoneStatus { serial_at_nsd: Some(at_nsd), ..zone.clone() }];
        Status { ready: true, pools: vec![pool(rule)], zones, ..certificate(12) }
    };
    desk.look(&Status { ready: false, ..status("steady", 42) }, at(0));
    desk.look(&status("all-down-keep", 41), at(0));
    desk.moved(moved("web", "all-down-keep", &[]), at(0));
    desk.exported(&report(ExportResult::Refused, 7, 0), at(0));
    desk.rehearsed(vec!["foo.zone.".into()], Some("x"), at(0));
    assert_eq!(desk.take_all(), [], "they know all of that");

    // At one of two addresses nsd does not have it yet.
    let mut second_is_behind = status("all-down-keep", 42);
    let server = |serial| ServerStatus { server: "192.0.2.1:53".into(), serial: Some(serial) };
    second_is_behind.zones[0].servers = vec![server(42), server(41)];
    let mut waiting = restarted(&desk);
    waiting.look(&second_is_behind, at(0));
    assert_eq!(waiting.take_all(), []);

    // While we were away somebody came up again, and nsd got the decision.
    let mut desk = restarted(&desk);
    desk.look(&status("steady", 42), at(0));
    let told = desk.take_all();
    assert_eq!(kinds(&told), [[Kind::Recovery], [Kind::Recovery]]);
    assert_eq!(told[1].summary, "foo.zone.: nsd has the decision again");
    desk.look(&certificate(89), at(0));
    desk.rehearsed(vec!["foo.zone.".into()], None, at(0));
    assert_eq!(kinds(&desk.take_all()), [[Kind::Recovery], [Kind::Recovery]]);
    assert_eq!(desk.memory(), Some(&Memory::default()));
}
