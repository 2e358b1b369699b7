//! The screen as text; the snapshots beside this file are what a person sees.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use crate::director::effect::Transition;
use crate::director::event::{ExportReport, ExportResult};
use crate::director::status::{
    CheckStatus, NodeStatus, OverrideStatus, PoolFamilyStatus, PoolStatus, Status, ZoneStatus,
};
use crate::health::family::Family;

use super::*;

const NOW: i64 = 1_790_000_000_000;
const NODES: [&str; 2] = ["fishfinger.example.org", "blowfish.example.org"];

fn check(family: Family, up: bool, against: u32) -> CheckStatus {
    CheckStatus {
        check: "web".into(),
        family,
        verdict: if up { "up" } else { "down" }.into(),
        against,
        needed: if up { 3 } else { 2 },
        word: if up { "L7OK" } else { "L4CON" }.into(),
        detail: if up { "HTTP 200" } else { "refused" }.into(),
        duration_ms: Some(23),
        last_probe_unix_ms: Some(NOW - 2_000),
        since_unix_ms: Some(NOW - 60_000),
        cert_expiry_unix_s: Some(NOW / 1_000 + 86_400 * if up { 61 } else { 5 }),
        measures: Vec::new(),
        history: if up { "+".repeat(30) } else { format!("{}---", "+".repeat(20)) },
        blind: false,
    }
}

/// Two nodes of which the first is primary, or has failed.
fn status(good: bool) -> Status {
    let [first, second] = if good { NODES } else { [NODES[1], NODES[0]] };
    let holds = |family| PoolFamilyStatus { family, primary: Some(first.to_owned()), standby: Some(second.to_owned()) };
    let reason = match good {
        true => "weekly rotation: fishfinger.example.org is up; blowfish.example.org is up".to_owned(),
        false => {
            "fishfinger.example.org is down over ipv4 (web: L4CON refused, 3/3 failures); blowfish.example.org is up"
                .to_owned()
        }
    };
    let pool = PoolStatus {
        name: "web".into(),
        families: Family::ALL.map(holds).to_vec(),
        since_unix_ms: Some(NOW - 11_000_000),
        rule: if good { "rotation" } else { "failover" }.into(),
        reason,
        next_rotation_unix_ms: Some(NOW + 200_000_000),
        hold: (!good).then(|| OverrideStatus { node: Some(first.into()), ..OverrideStatus::default() }),
        order: NODES.map(str::to_owned).to_vec(),
        alarms: Vec::new(),
    };
    let node = |name: &str, up| NodeStatus {
        name: name.to_owned(),
        checks: vec![check(Family::Ipv4, up, 0), check(Family::Ipv6, true, u32::from(!up))],
        ..NodeStatus::default()
    };
    let zone = ZoneStatus {
        name: "example.org.".into(),
        pools: vec!["web".into()],
        serial: 1_790_000_001,
        serial_at_nsd: Some(if good { 1_790_000_001 } else { 1_790_000_000 }),
        export: true,
        last_export: Some(report(if good { ExportResult::Served } else { ExportResult::Refused })),
        ..ZoneStatus::default()
    };
    Status {
        version: "0.1.0".into(),
        generation: 7,
        unix_ms: NOW - 1_000,
        started_unix_ms: NOW - 90_000_000,
        ready: true,
        pools: vec![pool],
        nodes: vec![node(NODES[0], good), node(NODES[1], true)],
        zones: vec![zone],
        ..Status::default()
    }
}

fn report(result: ExportResult) -> ExportReport {
    let detail = match result {
        ExportResult::Served => "nsd serves serial 1790000001",
        _ => "nsd-checkzone: example.org.zone:7: syntax error",
    };
    ExportReport {
        zone: "example.org.".into(),
        generation: 7,
        serial: 1_790_000_001,
        result,
        detail: detail.into(),
        unix_ms: NOW - 5_000,
        duration_ms: 41,
    }
}

fn log(good: bool) -> Vec<Entry> {
    let pool = &status(good).pools[0];
    let transition = Transition {
        generation: 7,
        unix_ms: NOW - 11_000_000,
        pool: "web".into(),
        families: Family::ALL.to_vec(),
        from: Some(NODES[usize::from(good)].into()),
        to: Some(NODES[usize::from(!good)].into()),
        rule: pool.rule.clone(),
        reason: pool.reason.clone(),
        zones: vec!["example.org.".into()],
        probes: Vec::new(),
        shadow: false,
    };
    let result = if good { ExportResult::Served } else { ExportResult::Refused };
    let note = Entry::Note { unix_ms: NOW - 90_000_000, text: "started: 1 zones, 1 pools".into() };
    vec![note, Entry::Transition(transition), Entry::Export(report(result))]
}

fn terminal(width: u16, height: u16) -> Terminal<TestBackend> {
    Terminal::new(TestBackend::new(width, height)).unwrap()
}

fn drawn(screen: &mut Screen, width: u16, height: u16, now_unix_ms: i64) -> String {
    let mut terminal = terminal(width, height);
    terminal.draw(|frame| screen.draw(frame, now_unix_ms)).unwrap();
    terminal.backend().to_string()
}

fn heard(good: bool) -> Screen {
    let mut screen = Screen::new("fishfinger", true);
    screen.hear(status(good), log(good), NOW);
    screen
}

fn gone() -> ClientError {
    ClientError::Unreachable("/run/nsd-failover/control.sock".into(), "Connection refused (os error 111)".into())
}

#[test]
fn all_is_well() {
    insta::assert_snapshot!("well", drawn(&mut heard(true), 120, 26, NOW));
}

#[test]
fn after_a_failover() {
    insta::assert_snapshot!("failover", drawn(&mut heard(false), 120, 34, NOW));
}

/// The zone's row has no tick below an alarm that is about it.
#[test]
fn a_zone_whose_next_export_would_be_refused_is_marked() {
    let mut refused = status(true);
    refused.zones[0].next_refused = Some("z:9: nsd does not like it".into());
    let mut screen = Screen::new("fishfinger", true);
    screen.hear(refused, log(true), NOW);
    let shown = drawn(&mut screen, 120, 40, NOW);
    assert!(shown.contains("Critical example.org.") && shown.contains("! example.org.   serial"), "{shown}");
}

#[test]
fn on_a_narrow_terminal() {
    insta::assert_snapshot!("narrow", drawn(&mut heard(false), 44, 60, NOW));
}

#[test]
fn the_daemon_is_gone_and_comes_back() {
    let mut screen = heard(true);
    screen.miss(&gone());
    let old = |shown: &str| shown.contains("what you see is old");
    assert!(!old(&drawn(&mut screen, 80, 24, NOW + 2_000)), "one answer that is late is no news");
    screen.miss(&gone());
    let shown = drawn(&mut screen, 80, 24, NOW + 9_000);
    assert!(old(&shown) && shown.contains("No word from the daemon for 9 s"), "{shown}");
    insta::assert_snapshot!("gone", shown);
    screen.hear(status(true), log(true), NOW + 9_500);
    assert!(!old(&drawn(&mut screen, 80, 24, NOW + 10_000)));
}

/// It takes the question, and says nothing: the screen knows before the question is given up.
#[test]
fn the_daemon_hangs() {
    let mut screen = heard(true);
    assert!(!drawn(&mut screen, 80, 24, NOW + 2_900).contains("No word"));
    let shown = drawn(&mut screen, 80, 24, NOW + 3_000);
    assert!(shown.contains("No word from the daemon for 3 s: what you see is old. "), "{shown}");
    screen.miss(&gone());
    let shown = drawn(&mut screen, 80, 24, NOW + 6_000);
    assert!(shown.contains("No word from the daemon for 6 s: what you see is old. Trying again: "), "{shown}");
}

#[test]
fn nobody_was_ever_there() {
    let mut screen = Screen::new("fishfinger", true);
    assert!(drawn(&mut screen, 80, 5, NOW).contains("asking the daemon"));
    screen.miss(&gone());
    insta::assert_snapshot!("nobody", drawn(&mut screen, 60, 8, NOW));
}

#[test]
fn it_scrolls_to_the_end_and_no_further() {
    let mut screen = heard(false);
    let top = drawn(&mut screen, 80, 12, NOW);
    assert!(top.contains("Who is primary") && top.contains("more lines below"), "{top}");
    screen.scroll(1_000);
    let end = drawn(&mut screen, 80, 12, NOW);
    assert!(end.contains("started: 1 zones") && !end.contains("more lines below"), "{end}");
    screen.scroll(-screen.page());
    assert!(!drawn(&mut screen, 80, 12, NOW).contains("started: 1 zones"));
    screen.to_top();
    assert_eq!(drawn(&mut screen, 80, 12, NOW), top);
}

/// Every size that a window can have for a moment.
#[test]
fn no_size_is_too_small() {
    for (width, height) in (1..40).flat_map(|width| [1, 2, 3, 7].map(|height| (width, height))) {
        drawn(&mut heard(false), width, height, NOW);
    }
}

#[test]
fn without_colours_the_words_are_the_same() {
    let draw = |colours| {
        let mut screen = Screen { colours, ..heard(false) };
        let mut terminal = terminal(100, 40);
        terminal.draw(|frame| screen.draw(frame, NOW)).unwrap();
        terminal.backend().buffer().clone()
    };
    let (with, without) = (draw(true), draw(false));
    let symbols = |buffer: &ratatui::buffer::Buffer| {
        buffer.content().iter().map(|cell| cell.symbol().to_owned()).collect::<String>()
    };
    assert_eq!(symbols(&with), symbols(&without));
    assert!(with.content().iter().any(|cell| cell.fg == Color::Red));
    assert!(without.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
}

/// What a probe saw cannot move the cursor.
#[test]
fn nothing_from_outside_reaches_the_terminal() {
    let mut bad = status(false);
    bad.pools[0].reason = "a\u{1b}[2Jb\r\nc".into();
    bad.nodes[0].name = "\u{1b}]0;owned\u{7}".into();
    let mut screen = Screen::new("fishfinger", true);
    screen.hear(bad, log(false), NOW);
    let shown = drawn(&mut screen, 100, 40, NOW);
    assert!(!shown.replace('\n', "").contains(char::is_control), "{shown:?}");
}
