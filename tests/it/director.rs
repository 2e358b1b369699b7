//! The director step by step: what it wants done after each event.

use nsd_failover::director::Director;
use nsd_failover::director::effect::{Decision, Effect, Transition};
use nsd_failover::director::event::{Action, Event, ExportReport, ExportResult, Order, Target};
use nsd_failover::director::orders::OrderError;
use nsd_failover::director::settings::{Settings, ZoneSettings};
use nsd_failover::director::state::State;
use nsd_failover::export::serial::SerialScheme;
use nsd_failover::failover::pool::{
    Families, Node, Pool, PoolToldRoles, Preempt, Rotate, Told, ToldRoles, WhenAllDown,
};
use nsd_failover::health::check::{Check, Http, Kind, Outcome};
use nsd_failover::health::family::{Family, PerFamily};
use nsd_failover::health::time::Now;

/// 2026-01-06 12:00:00 UTC, a Tuesday.
const START_UNIX_MS: i64 = 1_767_700_800_000;
const IN_FILE: u32 = 1_700_000_000;

fn settings() -> Settings {
    let node = |name: &str, last: u8| Node { name: name.to_owned(), ipv4: Some([192, 0, 2, last].into()), ipv6: None };
    let pool = Pool {
        name: "web".to_owned(),
        nodes: vec![node("fishfinger", 10), node("blowfish", 20)],
        checks: vec!["web".to_owned()],
        ..Pool::default()
    };
    let http = Http { url: "http://{node}/".to_owned(), ..Http::default() };
    let check = Check {
        name: "web".to_owned(),
        kind: Kind::Http(http),
        interval_ms: 10_000,
        fast_interval_ms: 1_000,
        timeout_ms: 5_000,
        rise: 2,
        fall: 3,
        families: Family::ALL.to_vec(),
    };
    let zone = ZoneSettings {
        origin: "foo.zone.".parse().unwrap(),
        pools: vec![0],
        scheme: SerialScheme::Unixtime,
        serial_in_file: IN_FILE,
        roles_in_file: vec![Some(roles(0, 1))],
        export: true,
        content: None,
        is_signed: false,
    };
    Settings { pools: vec![pool], checks: vec![check], zones: vec![zone], ..Settings::default() }
}

fn roles(primary: usize, standby: usize) -> PoolToldRoles {
    let roles = ToldRoles { primary: Told::Node(primary), standby: Told::Node(standby) };
    PerFamily { ipv4: roles, ipv6: ToldRoles::default() }
}

/// A director, a clock, and probes that are answered as `up` says.
struct Stage {
    director: Director,
    now: Now,
    probing: Vec<Target>,
    swaps: Vec<Decision>,
    exports: Vec<(u64, u32)>,
    told: Vec<Transition>,
    disk: Option<State>,
    persists_ms: Vec<u64>,
    /// The kinds of the effects of the last event, in order.
    kinds: String,
}

impl Stage {
    fn new(settings: Settings, saved: Option<State>) -> Stage {
        Stage::at(settings, saved, START_UNIX_MS)
    }

    fn at(settings: Settings, saved: Option<State>, unix_ms: i64) -> Stage {
        let now = Now { monotonic_ms: 7_000, unix_ms };
        Stage {
            director: Director::new(settings, saved, now),
            now,
            probing: Vec::new(),
            swaps: Vec::new(),
            exports: Vec::new(),
            told: Vec::new(),
            disk: None,
            persists_ms: Vec::new(),
            kinds: String::new(),
        }
    }

    fn handle(&mut self, event: Event) {
        self.kinds.clear();
        for effect in self.director.handle(event, self.now) {
            self.kinds.push(match effect {
                Effect::Swap(decision) => {
                    self.swaps.push((*decision).clone());
                    'S'
                }
                Effect::Persist => {
                    self.disk = Some(self.director.state());
                    self.persists_ms.push(self.now.monotonic_ms);
                    'D'
                }
                Effect::Export { zone: 0, generation, serial } => {
                    let written = self.disk.as_ref().map_or(0, |state| state.generation);
                    assert!(generation <= written, "exported before it was written down");
                    self.exports.push((generation, serial));
                    'E'
                }
                Effect::Export { .. } => panic!("an export of no zone"),
                Effect::Notify(transition) => {
                    self.told.push((*transition).clone());
                    'N'
                }
                Effect::Probe(target) => {
                    self.probing.push(target);
                    'P'
                }
            });
        }
    }

    fn pass(&mut self, for_ms: u64) {
        self.now.monotonic_ms += for_ms;
        self.now.unix_ms += for_ms as i64;
    }

    /// For a time, each probe is answered at once: good if its node is listed.
    fn run(&mut self, for_ms: u64, up: &[&str]) {
        let end_ms = self.now.monotonic_ms + for_ms;
        self.handle(Event::Tick);
        loop {
            while let Some(target) = self.probing.pop() {
                let outcome = outcome(up.contains(&target.node.as_str()));
                self.handle(Event::Probed { target, outcome });
            }
            let Some(next_ms) = self.director.next_wakeup_ms().filter(|next_ms| *next_ms <= end_ms) else { break };
            self.pass(next_ms.saturating_sub(self.now.monotonic_ms));
            self.handle(Event::Tick);
        }
        self.pass(end_ms - self.now.monotonic_ms);
    }

    fn order(&mut self, action: Action, for_s: Option<u64>) {
        self.handle(Event::Ordered(Order { action, reason: Some("maintenance".to_owned()), for_s }));
    }

    fn exported(&mut self, result: ExportResult) {
        let (generation, serial) = *self.exports.last().unwrap();
        self.handle(Event::Exported(ExportReport {
            zone: "foo.zone.".to_owned(),
            generation,
            serial,
            result,
            detail: "simulated".to_owned(),
            unix_ms: self.now.unix_ms,
            duration_ms: 1,
        }));
    }

    fn primary(&self) -> Option<usize> {
        self.swaps.last().unwrap().pools[0].ipv4.primary
    }

    fn unix_s(&self) -> u32 {
        (self.now.unix_ms / 1_000) as u32
    }
}

fn outcome(is_good: bool) -> Outcome {
    let (word, detail) = if is_good { ("L7OK", "HTTP 200") } else { ("L4CON", "refused") };
    Outcome {
        success: Some(is_good),
        word: word.to_owned(),
        detail: detail.to_owned(),
        duration_ms: 3,
        ..Outcome::default()
    }
}

const BOTH: &[&str] = &["fishfinger", "blowfish"];

#[test]
fn the_first_decision_is_what_the_files_say() {
    let mut stage = Stage::new(settings(), None);
    assert_eq!(stage.director.next_wakeup_ms(), Some(7_000), "at once");
    stage.handle(Event::Tick);
    assert!(stage.kinds.starts_with("SD"), "{}", stage.kinds);
    assert_eq!((stage.primary(), stage.swaps[0].serials[0]), (Some(0), IN_FILE));
    assert_eq!((stage.swaps[0].generation, stage.exports.len(), stage.told.len()), (1, 0, 0));
    assert!(!stage.director.status(stage.now).ready, "not confirmed yet");
    stage.run(5_000, BOTH);
    assert!(stage.director.status(stage.now).ready);
    assert_eq!((stage.swaps.len(), stage.told.len()), (1, 0), "confirmed, and nothing moved");
}

#[test]
fn a_guess_is_never_served() {
    let mut settings = settings();
    settings.zones[0].roles_in_file = vec![None];
    let mut stage = Stage::new(settings, None);
    stage.handle(Event::Tick);
    assert!(stage.swaps.is_empty());
    let hold = Order { action: Action::Hold { pool: "web".to_owned() }, reason: None, for_s: None };
    assert_eq!(stage.director.order(&hold), Err(OrderError::Undecided { pool: "web".to_owned() }));
    stage.run(10_000, &["blowfish"]);
    assert_eq!((stage.primary(), stage.told[0].rule.as_str()), (Some(1), "start"));
    assert_eq!(stage.exports.len(), 1, "the file says something else");
}

#[test]
fn a_failover() {
    let mut stage = Stage::new(settings(), None);
    stage.run(60_000, BOTH);
    stage.run(60_000, &["blowfish"]);
    assert_eq!((stage.swaps.len(), stage.primary()), (2, Some(1)));
    let told = &stage.told[0];
    assert_eq!((told.from.as_deref(), told.to.as_deref()), (Some("fishfinger"), Some("blowfish")));
    assert_eq!(told.reason, "fishfinger is down over ipv4 (web: L4CON refused, 3/3 failures); blowfish is up");
    assert_eq!((told.rule.as_str(), told.generation), ("failover", 2));
    assert_eq!((told.families.as_slice(), told.zones.as_slice()), (&[Family::Ipv4][..], &["foo.zone.".to_owned()][..]));
    assert_eq!(told.probes[0], "fishfinger ipv4 web: L4CON refused (3/3 failures)");
    assert_eq!(told.probes.len(), 2);
    // Memory and export carry the same generation and serial.
    assert_eq!(stage.exports, [(2, stage.swaps[1].serials[0])]);
    let status = stage.director.status(stage.now);
    assert_eq!((status.pools[0].rule.as_str(), status.pools[0].reason.as_str()), ("failover", told.reason.as_str()));
    assert_eq!(status.pools[0].since_unix_ms, Some(told.unix_ms));
    // Both down: nothing moves, loudly and once.
    stage.run(60_000, &[]);
    assert_eq!((stage.swaps.len(), stage.told.len()), (2, 2));
    assert!(stage.told[1].families.is_empty());
    assert_eq!(stage.told[1].rule, "all-down-keep");
    assert!(stage.told[1].reason.starts_with("nobody is up: fishfinger is down"), "{}", stage.told[1].reason);
}

#[test]
fn swap_comes_first_then_state_then_export() {
    let mut stage = Stage::new(settings(), None);
    stage.run(60_000, BOTH);
    stage.order(Action::Switch { pool: "web".to_owned(), node: "blowfish".to_owned() }, None);
    assert_eq!(stage.kinds, "SDEN");
}

/// A site dies, and with it the primaries of many pools, one probe after the other.
#[test]
fn many_decisions_in_a_moment_are_written_down_together() {
    let mut settings = settings();
    let template = settings.pools.pop().unwrap();
    for index in 0..50 {
        let mut pool = Pool { name: format!("pool{index}"), ..template.clone() };
        pool.nodes[0].name = format!("fishfinger{index}");
        settings.pools.push(pool);
    }
    settings.zones[0].pools = (0..50).collect();
    settings.zones[0].roles_in_file = vec![Some(roles(0, 1)); 50];
    let mut up: Vec<String> = (0..50).map(|index| format!("fishfinger{index}")).collect();
    up.push("blowfish".to_owned());
    let mut stage = Stage::new(settings, None);
    stage.run(60_000, &up.iter().map(String::as_str).collect::<Vec<_>>());
    stage.persists_ms.clear();
    stage.run(30_000, &["blowfish"]);
    assert!(stage.swaps.len() > 40, "each swap at once: {}", stage.swaps.len());
    assert!(stage.persists_ms.len() < 30, "{:?}", stage.persists_ms);
    assert!(stage.persists_ms.windows(2).all(|pair| pair[1] - pair[0] >= 200), "{:?}", stage.persists_ms);
    let written = stage.disk.as_ref().unwrap();
    assert_eq!(written.generation, stage.swaps.last().unwrap().generation);
}

#[test]
fn a_change_during_an_export_goes_with_the_next() {
    let mut stage = Stage::new(settings(), None);
    stage.run(60_000, BOTH);
    for node in ["blowfish", "fishfinger", "blowfish"] {
        stage.pass(1_000);
        stage.order(Action::Switch { pool: "web".to_owned(), node: node.to_owned() }, None);
    }
    assert_eq!((stage.swaps.len(), stage.exports.len()), (4, 1));
    let last = stage.swaps[3].clone();
    stage.exported(ExportResult::Served);
    assert_eq!(stage.exports[1..], [(last.generation, last.serials[0])]);
    stage.exported(ExportResult::Served);
    assert_eq!(stage.exports.len(), 2);
    assert_eq!(stage.director.status(stage.now).zones[0].serial_at_nsd, Some(last.serials[0]));
}

#[test]
fn a_failed_export_is_tried_again_patiently() {
    let mut stage = Stage::new(settings(), None);
    stage.run(60_000, BOTH);
    stage.order(Action::Switch { pool: "web".to_owned(), node: "blowfish".to_owned() }, None);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let (tries, failed_ms) = (stage.exports.len(), stage.now.monotonic_ms);
        stage.exported(ExportResult::RolledBack);
        while stage.exports.len() == tries {
            stage.run(1_000, BOTH);
        }
        waits.push((stage.now.monotonic_ms - failed_ms) / 1_000);
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, 900, 900, 900]);
    assert_eq!(stage.swaps.len(), 2, "memory is not touched by it");
    // A newer move does not wait for the retry.
    stage.exported(ExportResult::Refused);
    let tries = stage.exports.len();
    stage.order(Action::Switch { pool: "web".to_owned(), node: "fishfinger".to_owned() }, None);
    assert_eq!(stage.exports.len(), tries + 1);
}

#[test]
fn serials_never_go_back() {
    let mut stage = Stage::new(settings(), None);
    stage.run(60_000, BOTH);
    // Somebody gave nsd a date as serial, which is ahead of the clock.
    stage.handle(Event::SerialSeen { zone: 0, serial: 2_026_010_600 });
    stage.order(Action::Switch { pool: "web".to_owned(), node: "blowfish".to_owned() }, None);
    assert_eq!(stage.exports[0].1, 2_026_010_601);
    // It fails, and nsd is ahead again when it is tried again: memory follows with a new decision.
    stage.exported(ExportResult::RolledBack);
    stage.handle(Event::SerialSeen { zone: 0, serial: 2_026_010_700 });
    stage.run(31_000, BOTH);
    assert_eq!(stage.exports[1].1, 2_026_010_701);
    assert_eq!(stage.swaps.last().unwrap().serials, [2_026_010_701]);
    // The clock went back to 1970.
    stage.exported(ExportResult::Served);
    stage.now.unix_ms = 0;
    stage.order(Action::Switch { pool: "web".to_owned(), node: "fishfinger".to_owned() }, None);
    assert_eq!(stage.exports[2].1, 2_026_010_702);
}

#[test]
fn a_restart_keeps_roles_orders_generation_and_serial() {
    let mut stage = Stage::new(settings(), None);
    stage.run(60_000, BOTH);
    stage.run(60_000, &["blowfish"]);
    stage.order(Action::Drain { node: "fishfinger".to_owned() }, None);
    stage.exported(ExportResult::Served);
    let (generation, serial) = (stage.swaps[1].generation, stage.swaps[1].serials[0]);
    stage.pass(10_000);
    let mut settings = settings();
    settings.zones[0].serial_in_file = serial;
    settings.zones[0].roles_in_file = vec![Some(roles(1, 0))];

    let mut again = Stage::at(settings.clone(), Some(stage.director.final_state()), stage.now.unix_ms);
    again.handle(Event::Tick);
    assert_eq!((again.primary(), again.swaps[0].generation), (Some(1), generation + 1));
    assert_eq!((again.swaps[0].serials[0], again.exports.len()), (serial, 0));
    let status = again.director.status(again.now);
    assert!(status.nodes[0].drain.is_some());
    assert_eq!(status.nodes[0].checks[0].verdict, "down", "verdicts and streaks are kept");
    assert_eq!(status.pools[0].since_unix_ms, stage.told[0].unix_ms.into());
    again.run(10_000, &["blowfish"]);
    assert_eq!(again.director.status(again.now).pools[0].reason, stage.told[0].reason);

    // After a crash the generation leaps over what may have been in service unwritten.
    let mut crashed = Stage::at(settings.clone(), stage.disk.clone(), stage.now.unix_ms);
    crashed.handle(Event::Tick);
    assert!(crashed.swaps[0].generation > generation + 1);

    // Days later, or from the future: the roles stay, the verdicts are to be found anew.
    for later_ms in [3 * 86_400_000, -86_400_000] {
        let mut late = Stage::at(settings.clone(), stage.disk.clone(), stage.now.unix_ms + later_ms);
        late.handle(Event::Tick);
        assert_eq!(late.primary(), Some(1));
        assert_eq!(late.director.status(late.now).nodes[0].checks[0].verdict, "unknown");
        late.run(10_000, BOTH);
        assert_eq!((late.swaps.len(), late.director.status(late.now).ready), (1, true));
    }
    // A format that we do not know counts as none.
    let unreadable = State { version: 99, ..stage.director.state() };
    let mut fresh = Stage::new(settings, Some(unreadable));
    fresh.handle(Event::Tick);
    assert_eq!(fresh.swaps[0].generation, 1);
}

/// Without a state the zone file tells what was answered; lines that are commented out as withdrawn
/// tell that a family, or all of it, was not.
#[test]
fn a_start_from_a_file_with_withdrawn_lines() {
    let stage = |families: Families, told: [Told; 2], up: &[&str]| {
        let mut settings = settings();
        for (node, last) in settings.pools[0].nodes.iter_mut().zip(1..) {
            node.ipv6 = Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into());
        }
        settings.pools[0].families = families;
        settings.pools[0].when_all_down = WhenAllDown::Withdraw;
        let [ipv4, ipv6] = told.map(|primary| ToldRoles { primary, standby: Told::Node(1) });
        settings.zones[0].roles_in_file = vec![Some(PerFamily { ipv4, ipv6 })];
        let mut stage = Stage::new(settings, None);
        stage.handle(Event::Tick);
        assert_eq!((stage.swaps.len(), stage.exports.len()), (1, 0), "served at once, and nsd has it already");
        stage.run(30_000, up);
        stage
    };
    let primaries = |stage: &Stage, swap: usize| {
        let roles = stage.swaps[swap].pools[0];
        [roles.ipv4.primary, roles.ipv6.primary]
    };
    let (zero, out) = (Told::Node(0), Told::Withdrawn);
    // Both families are up: IPv6 is answered again once that is sure, and nsd hears of it.
    for families in [Families::Together, Families::Withdraw, Families::Independent] {
        let stage = stage(families, [zero, out], BOTH);
        assert_eq!(primaries(&stage, 0), [Some(0), None], "{families:?}: as in the file");
        assert_eq!(primaries(&stage, 1), [Some(0), Some(0)], "{families:?}");
        assert_eq!(stage.exports.len(), 1, "{families:?}");
    }
    // Everything was withdrawn, and nobody is up: no dead host is answered in between.
    let stage = stage(Families::Together, [out, out], &[]);
    assert!((0..stage.swaps.len()).all(|swap| primaries(&stage, swap) == [None, None]), "{:?}", stage.swaps);
    assert_eq!(stage.director.status(stage.now).pools[0].rule, "all-down-withdraw");
}

/// The same check of the same node in many pools is one probe, and what it finds moves them in one
/// step.
#[test]
fn one_probe_for_many_pools() {
    let mut settings = settings();
    let second = Pool { name: "mail".to_owned(), ..settings.pools[0].clone() };
    settings.pools.push(second);
    settings.zones[0].pools = vec![0, 1];
    settings.zones[0].roles_in_file = vec![Some(roles(0, 1)); 2];
    let mut stage = Stage::new(settings, None);
    stage.pass(10_000);
    stage.handle(Event::Tick);
    let mut probed: Vec<String> = stage.probing.iter().map(|target| target.node.clone()).collect();
    probed.sort();
    assert_eq!(probed, ["blowfish", "fishfinger"], "each once, not once for each pool");
    stage.run(60_000, BOTH);
    stage.run(60_000, &["blowfish"]);
    assert_eq!(stage.swaps.len(), 2, "both in one generation");
    assert!(stage.swaps[1].pools.iter().all(|roles| roles.ipv4.primary == Some(1)));
}

/// An export that a crash cut short is made again.
#[test]
fn a_pending_export_survives_a_restart() {
    let mut stage = Stage::new(settings(), None);
    stage.run(60_000, BOTH);
    stage.order(Action::Switch { pool: "web".to_owned(), node: "blowfish".to_owned() }, None);
    let (_, serial) = stage.exports[0];
    let mut again = Stage::at(settings(), stage.disk.clone(), stage.now.unix_ms);
    again.handle(Event::Tick);
    assert_eq!((again.primary(), again.exports.len()), (Some(1), 1));
    assert!(again.exports[0].1 > serial);
}

#[test]
fn nothing_moves_before_a_full_round_has_ended() {
    let mut stage = Stage::new(settings(), None);
    stage.handle(Event::Tick);
    stage.pass(1_000);
    stage.handle(Event::Tick);
    // fishfinger fails as often as it takes, but blowfish has not been looked at.
    for _ in 0..5 {
        let target = Target { check: "web".to_owned(), node: "fishfinger".to_owned(), family: Family::Ipv4 };
        stage.handle(Event::Probed { target, outcome: outcome(false) });
        stage.pass(1_000);
        stage.handle(Event::Tick);
    }
    assert_eq!(stage.swaps.len(), 1);
    assert_eq!(stage.director.status(stage.now).pools[0].rule, "unconfirmed");
    stage.run(5_000, &["blowfish"]);
    assert_eq!(stage.primary(), Some(1));
}

#[test]
fn orders_end_by_themselves() {
    let mut settings = settings();
    settings.pools[0].preempt = Preempt::After(0);
    let mut stage = Stage::new(settings, None);
    stage.run(60_000, BOTH);
    stage.order(Action::Switch { pool: "web".to_owned(), node: "blowfish".to_owned() }, Some(3_600));
    assert_eq!(
        (stage.primary(), stage.told[0].reason.as_str()),
        (Some(1), "the operator holds blowfish (maintenance)")
    );
    let hold = stage.director.status(stage.now).pools[0].hold.clone().unwrap();
    assert_eq!((hold.node.as_deref(), hold.until_unix_ms), (Some("blowfish"), Some(stage.now.unix_ms + 3_600_000)));
    stage.run(3_599_000, BOTH);
    assert_eq!(stage.primary(), Some(1));
    stage.run(1_000, BOTH);
    assert_eq!((stage.primary(), stage.director.status(stage.now).pools[0].hold.is_none()), (Some(0), true));
    // Held on a node that is down: obeyed, with a warning.
    stage.run(60_000, &["fishfinger"]);
    stage.order(Action::Switch { pool: "web".to_owned(), node: "blowfish".to_owned() }, None);
    let reason = &stage.told.last().unwrap().reason;
    assert!(reason.contains("although blowfish is down over ipv4 (web: L4CON refused, 3/3 failures)"), "{reason}");
    stage.order(Action::Release { pool: "web".to_owned() }, None);
    assert_eq!(stage.primary(), Some(0));
}

#[test]
fn orders_that_cannot_be_obeyed() {
    let mut stage = Stage::new(settings(), None);
    stage.run(60_000, BOTH);
    let (web, none) = ("web".to_owned(), "none".to_owned());
    let fails = |action, for_s| stage.director.order(&Order { action, reason: None, for_s }).unwrap_err().to_string();
    let switch = |pool: &str, node: &str| Action::Switch { pool: pool.to_owned(), node: node.to_owned() };
    assert_eq!(fails(switch("mail", "blowfish"), None), "there is no pool `mail`; pools: web");
    assert_eq!(fails(switch("web", "none"), None), "pool `web` has no node `none`; nodes: blowfish, fishfinger");
    assert_eq!(
        fails(Action::Drain { node: none.clone() }, None),
        "no pool has a node `none`; nodes: blowfish, fishfinger"
    );
    assert_eq!(fails(Action::Hold { pool: web }, Some(0)), "an order for zero seconds ends before it begins");
    // Sent all the same, it changes nothing.
    let before = stage.director.state().orders;
    stage.order(Action::Drain { node: none }, None);
    assert_eq!((stage.director.state().orders, stage.kinds.as_str()), (before, ""));
}

#[test]
fn a_reload_keeps_what_is_known() {
    let mut stage = Stage::new(settings(), None);
    stage.run(60_000, BOTH);
    stage.run(60_000, &["blowfish"]);
    stage.exported(ExportResult::Served);
    // The nodes change places, a third joins, the zone is a newer file of the operator's.
    let mut new = settings();
    new.pools[0].nodes.reverse();
    let third = Node { name: "catfish".to_owned(), ipv4: Some([192, 0, 2, 30].into()), ipv6: None };
    new.pools[0].nodes.insert(0, third);
    new.zones[0].serial_in_file = stage.unix_s() + 5;
    new.zones[0].roles_in_file = vec![Some(roles(1, 2))];
    stage.handle(Event::Reloaded(Box::new(new)));
    assert_eq!(stage.kinds.chars().next(), Some('S'), "the indexes have changed");
    assert_eq!((stage.primary(), stage.swaps[2].serials[0]), (Some(1), stage.unix_s() + 5));
    let status = stage.director.status(stage.now);
    let verdicts: Vec<&str> = status.nodes.iter().map(|node| node.checks[0].verdict.as_str()).collect();
    assert_eq!(verdicts, ["unknown", "up", "down"]);
    // The new node is looked at before anything moves; one way, so it does not take over.
    stage.run(60_000, &["blowfish", "catfish"]);
    let last = stage.swaps.last().unwrap().pools[0].ipv4;
    assert_eq!((last.primary, last.standby), (Some(1), Some(0)), "catfish is the standby that is up");
    assert_eq!(stage.told.last().unwrap().reason, "the standby is now catfish");
}

/// A file that fell behind what was published gets a newer serial, and is exported.
#[test]
fn a_reload_with_an_old_file() {
    let mut stage = Stage::new(settings(), None);
    stage.run(60_000, BOTH);
    stage.order(Action::Switch { pool: "web".to_owned(), node: "blowfish".to_owned() }, None);
    stage.exported(ExportResult::Served);
    stage.pass(5_000);
    let published = stage.swaps[1].serials[0];
    stage.handle(Event::Reloaded(Box::new(settings())));
    assert_eq!((stage.primary(), stage.exports.len()), (Some(1), 2));
    assert!(stage.exports[1].1 > published);
}

/// A rollback holds the exports, over a reload, too; secondaries hear of everything all the same.
#[test]
fn held_exports_do_not_hold_back_the_secondaries() {
    let with = |content: u64| {
        let mut settings = settings();
        settings.zones[0].content = Some(content);
        settings
    };
    let mut stage = Stage::new(with(1), None);
    stage.run(60_000, BOTH);
    stage.handle(Event::ExportHeld { zone: 0, held: true });
    stage.order(Action::Switch { pool: "web".to_owned(), node: "blowfish".to_owned() }, None);
    let serial = |stage: &Stage| stage.swaps.last().unwrap().serials[0];
    let moved = serial(&stage);
    assert!(moved > IN_FILE && stage.director.is_held(0));
    stage.handle(Event::Reloaded(Box::new(with(1))));
    assert_eq!(serial(&stage), moved, "what has not changed needs no serial");
    stage.handle(Event::Reloaded(Box::new(with(2))));
    assert!(serial(&stage) > moved, "an edit does");
    assert_eq!(stage.exports.len(), 0);
    stage.handle(Event::ExportHeld { zone: 0, held: false });
    assert_eq!(stage.exports.len(), 1);
}

#[test]
fn a_reload_that_brings_an_unknown_pool_waits_for_it() {
    let mut stage = Stage::new(settings(), None);
    stage.run(60_000, BOTH);
    let mut new = settings();
    let mut second = new.pools[0].clone();
    second.name = "mail".to_owned();
    second.nodes[1].name = "catfish".to_owned();
    new.pools.push(second);
    stage.handle(Event::Reloaded(Box::new(new)));
    assert_eq!(stage.swaps.len(), 1, "the old table stays");
    stage.run(10_000, &["fishfinger", "blowfish", "catfish"]);
    assert_eq!((stage.swaps.len(), stage.swaps[1].pools.len()), (2, 2));
}

#[test]
fn the_calendar_is_looked_at_every_minute() {
    let mut settings = settings();
    settings.pools[0].rotate = Rotate::Weekly;
    settings.checks.clear();
    settings.pools[0].checks.clear();
    let mut stage = Stage::new(settings, None);
    stage.handle(Event::Tick);
    let before = stage.primary();
    assert_eq!(stage.director.next_wakeup_ms(), Some(7_000 + 60_000));
    // The clock jumps into the next week: noticed within a minute.
    stage.now.unix_ms += 7 * 86_400_000;
    stage.pass(60_000);
    stage.handle(Event::Tick);
    assert_ne!(stage.primary(), before);
    assert_eq!(stage.told.last().unwrap().rule, "rotation");
}
