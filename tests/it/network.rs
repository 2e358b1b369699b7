//! Our own network, thresholds and TTLs: the director in a small world where each host answers as a
//! function of the time says.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use nsd_failover::director::Director;
use nsd_failover::director::effect::{Decision, Effect, Transition};
use nsd_failover::director::event::{Action, Event, Order, Target};
use nsd_failover::director::settings::{ANCHOR, Settings};
use nsd_failover::failover::pool::{Families, Node, Pool, Preempt, Rotate, WhenAllDown};
use nsd_failover::health::check::{Check, Http, Kind, Outcome};
use nsd_failover::health::family::Family;
use nsd_failover::health::time::Now;

const SECOND_MS: u64 = 1_000;
const DAY_MS: u64 = 86_400 * SECOND_MS;

/// 2026-01-06 12:00:00 UTC, a Tuesday.
const START_UNIX_MS: i64 = 1_767_700_800_000;

fn settings(nodes: &[&str], bend: impl FnOnce(&mut Pool, &mut Check)) -> Settings {
    let node = |(name, last): (&&str, u8)| Node {
        name: (*name).to_owned(),
        ipv4: Some([192, 0, 2, last].into()),
        ipv6: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)].into()),
    };
    let mut pool = Pool {
        name: "web".to_owned(),
        nodes: nodes.iter().zip(1..).map(node).collect(),
        checks: vec!["web".to_owned()],
        rotate: Rotate::Never,
        preempt: Preempt::Never,
        when_all_down: WhenAllDown::Keep,
        families: Families::Together,
        min_hold_ms: 0,
        ttl_min_s: None,
        anchors: Vec::new(),
    };
    let mut check = Check {
        name: "web".to_owned(),
        kind: Kind::Http(Http { url: "http://{node}/".to_owned(), ..Http::default() }),
        interval_ms: 10 * SECOND_MS,
        fast_interval_ms: SECOND_MS,
        timeout_ms: 5 * SECOND_MS,
        rise: 2,
        fall: 3,
        families: Family::ALL.to_vec(),
    };
    bend(&mut pool, &mut check);
    Settings { pools: vec![pool], checks: vec![check], zones: Vec::new(), ..Settings::default() }
}

/// Whether a target answers at this monotonic time.
type Answers<'a> = Box<dyn Fn(&Target, u64) -> bool + 'a>;

struct World<'a> {
    director: Director,
    now: Now,
    coming: BTreeMap<(u64, u64), Target>,
    sequence: u64,
    answers: Answers<'a>,
    swaps: Vec<(u64, Decision)>,
    told: Vec<(u64, Transition)>,
}

impl<'a> World<'a> {
    fn new(settings: Settings, unix_ms: i64, answers: impl Fn(&Target, u64) -> bool + 'a) -> World<'a> {
        let now = Now { monotonic_ms: 0, unix_ms };
        World {
            director: Director::new(settings, None, now),
            now,
            coming: BTreeMap::new(),
            sequence: 0,
            answers: Box::new(answers),
            swaps: Vec::new(),
            told: Vec::new(),
        }
    }

    fn run(&mut self, until_ms: u64) {
        self.handle(Event::Tick);
        loop {
            let coming_ms = self.coming.keys().next().map(|(at_ms, _)| *at_ms);
            let next_ms = [coming_ms, self.director.next_wakeup_ms()].into_iter().flatten().min().unwrap_or(u64::MAX);
            if next_ms > until_ms {
                return self.pass_to(until_ms);
            }
            self.pass_to(next_ms.max(self.now.monotonic_ms));
            let event = match self.coming.first_entry() {
                Some(first) if first.key().0 <= self.now.monotonic_ms => {
                    let ((_, _), target) = first.remove_entry();
                    let good = (self.answers)(&target, self.now.monotonic_ms);
                    let word = if good { "L7OK" } else { "L4TOUT" }.to_owned();
                    let outcome = Outcome { success: Some(good), word, duration_ms: 10, ..Outcome::default() };
                    Event::Probed { target, outcome }
                }
                _ => Event::Tick,
            };
            self.handle(event);
        }
    }

    fn pass_to(&mut self, monotonic_ms: u64) {
        self.now.unix_ms += (monotonic_ms - self.now.monotonic_ms) as i64;
        self.now.monotonic_ms = monotonic_ms;
    }

    fn handle(&mut self, event: Event) {
        for effect in self.director.handle(event, self.now) {
            match effect {
                Effect::Probe(target) => {
                    self.sequence += 1;
                    self.coming.insert((self.now.monotonic_ms + 10, self.sequence), target);
                }
                Effect::Swap(decision) => self.swaps.push((self.now.monotonic_ms, (*decision).clone())),
                Effect::Notify(transition) => self.told.push((self.now.monotonic_ms, (*transition).clone())),
                Effect::Export { .. } | Effect::Persist => {}
            }
        }
    }

    fn primary(&self) -> Option<usize> {
        self.swaps.last().unwrap().1.pools[0].ipv4.primary
    }

    /// Moves of a primary after the start, as "web: a -> b failover".
    fn moves(&self) -> Vec<String> {
        let moved = self.told.iter().filter(|(_, told)| !told.families.is_empty() && told.rule != "start");
        let name = |node: &Option<String>| node.clone().unwrap_or_else(|| "nobody".to_owned());
        moved.map(|(_, told)| format!("{} -> {} {}", name(&told.from), name(&told.to), told.rule)).collect()
    }
}

/// Our own uplink dies for ten minutes, a hundred times at any moment of the probes' round, and
/// comes back: whatever happens when nobody is up, nothing moves.
#[test]
fn our_own_uplink_dies() {
    for policy in [WhenAllDown::Keep, WhenAllDown::First, WhenAllDown::Withdraw] {
        let settings = settings(&["a", "b", "c"], |pool, _| {
            pool.when_all_down = policy;
            pool.anchors = vec!["9.9.9.9:53".parse().unwrap(), "[2620:fe::fe]:53".parse().unwrap()];
        });
        let is_cut_off = |at_ms: u64| at_ms % 1_800_137 > 1_200_000;
        let mut world = World::new(settings, START_UNIX_MS, |_, at_ms| !is_cut_off(at_ms));
        world.run(100 * 1_800_000);
        assert_eq!(world.moves(), [""; 0], "{policy:?}");
        let cut_off = world.told.iter().filter(|(_, told)| told.rule == "cut-off").count();
        assert!(cut_off > 50, "{policy:?}: cut off {cut_off} times");
    }
}

/// All nodes die, and the anchors say that it is they and not we: the policy is carried out.
#[test]
fn all_nodes_die_and_the_anchors_live() {
    for (policy, moved) in [
        (WhenAllDown::Keep, &[][..]),
        (WhenAllDown::Withdraw, &["a -> nobody all-down-withdraw", "nobody -> a failover"]),
    ] {
        let settings = settings(&["a", "b"], |pool, _| {
            pool.when_all_down = policy;
            pool.anchors = vec!["9.9.9.9:53".parse().unwrap()];
        });
        let dead = 600 * SECOND_MS..1_200 * SECOND_MS;
        let mut world =
            World::new(settings, START_UNIX_MS, |target, at_ms| target.check == ANCHOR || !dead.contains(&at_ms));
        world.run(599 * SECOND_MS);
        assert_eq!(world.primary(), Some(0));
        world.run(1_800 * SECOND_MS);
        // Who is up first again is a matter of milliseconds.
        let seen: Vec<String> = world.moves().iter().map(|moved| moved.replace("-> b", "-> a")).collect();
        assert_eq!(seen, moved, "{policy:?}");
    }
}

/// Without IPv6 of our own the site still fails over, and the alarm is raised once.
#[test]
fn a_host_without_ipv6() {
    for families in [Families::Together, Families::Withdraw] {
        let settings = settings(&["a", "b"], |pool, _| pool.families = families);
        let mut world = World::new(settings, START_UNIX_MS, |target, at_ms| {
            target.family == Family::Ipv4 && (target.node == "b" || at_ms < 600 * SECOND_MS)
        });
        world.run(1_200 * SECOND_MS);
        assert_eq!(world.moves(), ["a -> b failover"], "{families:?}");
        let alarms = world.told.iter().filter(|(_, told)| told.rule == "family-down").count();
        assert_eq!(alarms, 1, "{families:?}");
        assert!(world.director.status(world.now).pools[0].alarms[0].contains("no node is up over ipv6"));
        assert!(world.swaps.last().unwrap().1.pools[0].ipv6.primary == Some(1), "AAAA is not withdrawn");
    }
}

/// What users of gdnsd know: up_thresh, ok_thresh and down_thresh. A failure here and there never
/// adds up as long as `rise` successes in a row lie between; one in two does.
#[test]
fn thresholds_as_in_gdnsd() {
    let says = |pattern: &'static str| {
        let settings = settings(&["a", "b"], |_, check| {
            (check.interval_ms, check.fast_interval_ms) = (SECOND_MS, SECOND_MS);
            (check.rise, check.fall) = (3, 4);
        });
        // After ten good probes a letter for each, over each family: `.` good, `x` bad; then good again.
        let count = RefCell::new(HashMap::new());
        let mut world = World::new(settings, START_UNIX_MS, move |target, _| {
            let mut count = count.borrow_mut();
            let probe: &mut usize = count.entry(target.clone()).or_default();
            *probe += 1;
            target.node == "b" || *probe <= 10 || pattern.as_bytes().get(*probe - 11) != Some(&b'x')
        });
        world.run(200 * SECOND_MS);
        world.moves()
    };
    assert_eq!(says("xxx...xxx...xxx...xxx"), [""; 0], "three of four, and cleared each time");
    assert_eq!(says("xxxxxxx"), ["a -> b failover"]);
    assert_eq!(says("x.x.x.x.x.x.x.x.x.x."), ["a -> b failover"], "one in two is too many");
}

/// All down at the start: the first in order, loudly; and the first answer is no guess.
#[test]
fn all_down_at_the_start() {
    let mut world = World::new(settings(&["a", "b"], |_, _| {}), START_UNIX_MS, |_, _| false);
    world.run(60 * SECOND_MS);
    let (at_ms, first) = &world.swaps[0];
    assert!(*at_ms > 2 * SECOND_MS, "after a full round: {at_ms}");
    assert_eq!(first.pools[0].ipv4.primary, Some(0));
    assert!(world.told.iter().any(|(_, told)| told.rule == "all-down-keep"), "{:?}", world.told);
}

/// A failover takes as long as its probes: the candidate's own turn is not waited for.
#[test]
fn a_failover_does_not_wait_for_the_candidate_s_turn() {
    for offset_ms in (0..10_000).step_by(500) {
        let dies_ms = 600 * SECOND_MS + offset_ms;
        let mut world = World::new(settings(&["a", "b"], |_, _| {}), START_UNIX_MS, move |target, at_ms| {
            target.node == "b" || at_ms < dies_ms
        });
        world.run(700 * SECOND_MS);
        let took_ms = world.told.last().unwrap().0 - dies_ms;
        assert_eq!(world.moves(), ["a -> b failover"]);
        assert!(took_ms <= 12_100, "interval and two fast ones: {took_ms}");
    }
}

#[test]
fn the_ttl_ends_before_the_next_change() {
    let bound = |world: &World<'_>| world.swaps.last().unwrap().1.ttl_max_s[0];
    let settings = |rotate| {
        settings(&["a", "b"], move |pool, _| {
            pool.rotate = rotate;
            pool.ttl_min_s = Some(5);
        })
    };
    let mut world = World::new(settings(Rotate::Never), START_UNIX_MS, |target, at_ms| {
        target.node == "b" || at_ms < 600 * SECOND_MS
    });
    world.run(599 * SECOND_MS);
    // Ten seconds until the next probe, two fast ones more.
    assert_eq!((bound(&world), world.swaps.last().unwrap().1.generation), (Some(12), 1));
    world.run(610 * SECOND_MS);
    let near: Vec<Option<u32>> = world.swaps.iter().map(|(_, decision)| decision.ttl_max_s[0]).collect();
    assert!(near.contains(&Some(5)), "{near:?}: never below ttl-min");
    let order = Order { action: Action::Hold { pool: "web".to_owned() }, reason: None, for_s: Some(3_600) };
    world.handle(Event::Ordered(order));
    world.run(620 * SECOND_MS);
    assert!(
        bound(&world).is_some_and(|ttl_s| (2_000..3_600).contains(&ttl_s)),
        "{:?}: until the hold ends",
        bound(&world)
    );
}

/// A week before a planned rotation: no answer outlives it, and it costs few swaps.
#[test]
fn the_ttl_goes_down_before_a_rotation() {
    let settings = settings(&["a", "b"], |pool, check| {
        pool.rotate = Rotate::Weekly;
        pool.ttl_min_s = Some(30);
        // Nothing is probed: only the calendar moves it.
        check.families = Vec::new();
    });
    let mut world = World::new(settings, START_UNIX_MS, |_, _| true);
    world.run(8 * DAY_MS);
    // Monday 2026-01-12 00:00 UTC, in five and a half days.
    let monday_ms = (5 * DAY_MS) + DAY_MS / 2;
    let before: Vec<&(u64, Decision)> = world.swaps.iter().filter(|(at_ms, _)| *at_ms < monday_ms).collect();
    assert!(before.len() < 100, "{} swaps", before.len());
    assert!(before.len() > 20, "{} swaps", before.len());
    for pair in before.windows(2) {
        let (ttl_s, until_ms) = (pair[0].1.ttl_max_s[0].unwrap(), pair[1].0);
        let left_s = (monday_ms - until_ms) / SECOND_MS;
        assert!(u64::from(ttl_s) <= left_s.max(30) + 1, "{ttl_s} s while {left_s} s are left");
        assert!(u64::from(ttl_s) >= 30);
    }
    assert_eq!(before.last().unwrap().1.ttl_max_s[0], Some(30));
    assert!(world.swaps.iter().any(|(at_ms, _)| *at_ms == monday_ms), "and then it turns");
}

/// Twenty Mondays around the New Year of 2027, which week 53 precedes: one turn each, at midnight.
#[test]
fn rotation_after_week_53() {
    let settings = settings(&["a", "b", "c"], |pool, check| {
        pool.rotate = Rotate::Weekly;
        check.families = Vec::new();
    });
    // Monday 2026-11-30 00:00 UTC.
    let monday_unix_ms = 1_795_996_800_000;
    let mut world = World::new(settings, monday_unix_ms - 1_000, |_, _| true);
    world.run(20 * 7 * DAY_MS);
    let turns: Vec<i64> =
        world.told.iter().filter(|(_, told)| told.rule == "rotation").map(|(_, told)| told.unix_ms).collect();
    let planned: Vec<i64> = (0..20).map(|week| monday_unix_ms + week * 7 * DAY_MS as i64).collect();
    assert!(turns.ends_with(&planned), "{turns:?}");
}
