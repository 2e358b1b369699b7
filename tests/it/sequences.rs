//! The sequences that users of gdnsd and of PowerDNS's Lua records know, and what becomes of them
//! here. docs/decision.md says where we do otherwise, and why.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use nsd_failover::director::event::{Action, Event, Order, Target};
use nsd_failover::failover::pool::{Families, Preempt, Rotate, WhenAllDown};
use nsd_failover::health::family::Family;

use super::support::world::{SECOND_MS, START_UNIX_MS, World, settings};

/// A node answers as the letters say, a letter for each probe over each family after so many good
/// ones: `.` good, `x` bad; then good again. The others are well.
fn says(node: &'static str, good_first: usize, pattern: &'static str) -> impl Fn(&Target, u64) -> bool {
    let count = RefCell::new(HashMap::new());
    move |target, _| {
        let mut count = count.borrow_mut();
        let probe: &mut usize = count.entry(target.clone()).or_default();
        *probe += 1;
        let letter = probe.checked_sub(good_first + 1).and_then(|at| pattern.as_bytes().get(at));
        target.node != node || letter != Some(&b'x')
    }
}

/// gdnsd's `down_thresh` and `ok_thresh`: a failure here and there never adds up as long as enough
/// successes in a row lie between; one in two does.
#[test]
fn gdnsd_thresholds() {
    let moves = |pattern: &'static str| {
        let settings = settings(&["a", "b"], |_, check| {
            (check.interval_ms, check.fast_interval_ms) = (SECOND_MS, SECOND_MS);
            (check.rise, check.fall) = (3, 4);
        });
        let mut world = World::new(settings, START_UNIX_MS, says("a", 10, pattern));
        world.run(200 * SECOND_MS);
        world.moves()
    };
    assert_eq!(moves("xxx...xxx...xxx...xxx"), [""; 0], "three of four, and cleared each time");
    assert_eq!(moves("xxxxxxx"), ["a -> b failover"]);
    assert_eq!(moves("x.x.x.x.x.x.x.x.x.x."), ["a -> b failover"], "one in two is too many");
    assert_eq!(moves("x..x..x..x"), ["a -> b failover"], "two in a row clear nothing where three must");
}

/// gdnsd's defaults (`up_thresh` 20, `ok_thresh` and `down_thresh` 10, every 10 s) written down here:
/// some 100 s until it is down, some 200 s until it is back, in which any failure starts anew.
#[test]
fn gdnsd_defaults() {
    let settings = settings(&["a", "b"], |pool, check| {
        (check.interval_ms, check.fast_interval_ms) = (10 * SECOND_MS, 10 * SECOND_MS);
        (check.rise, check.fall) = (20, 10);
        pool.preempt = Preempt::After(0);
    });
    let (dies_ms, mends_ms, stumbles_ms) = (1_000 * SECOND_MS, 1_500 * SECOND_MS, 1_600 * SECOND_MS);
    let stumbled = RefCell::new(Vec::new());
    let answers = move |target: &Target, at_ms: u64| {
        let is_first = at_ms >= stumbles_ms && !stumbled.borrow().contains(&target.family);
        if target.node == "a" && is_first {
            stumbled.borrow_mut().push(target.family);
        }
        target.node != "a" || !((dies_ms..mends_ms).contains(&at_ms) || is_first)
    };
    let mut world = World::new(settings, START_UNIX_MS, answers);
    world.run(3_000 * SECOND_MS);
    assert_eq!(world.moves(), ["a -> b failover", "b -> a preempt"]);
    let moved: Vec<u64> = world.told.iter().filter(|(_, told)| told.rule != "start").map(|(at_ms, _)| *at_ms).collect();
    let (down_s, up_s) = ((moved[0] - dies_ms) / SECOND_MS, (moved[1] - stumbles_ms) / SECOND_MS);
    assert!((84..=102).contains(&down_s), "down after {down_s} s");
    assert!((190..=215).contains(&up_s), "up again {up_s} s after the stumble");
}

/// gdnsd's simplefo answers the primary when both are down. Here the answer stays what it was, and
/// `when-all-down = "first"` is gdnsd's way.
#[test]
fn gdnsd_all_down() {
    for (policy, expected) in [
        (WhenAllDown::Keep, &["a -> b failover"][..]),
        (WhenAllDown::First, &["a -> b failover", "b -> a all-down-first"]),
    ] {
        let settings = settings(&["a", "b"], |pool, _| pool.when_all_down = policy);
        let answers = |target: &Target, at_ms: u64| at_ms < if target.node == "a" { 600 } else { 900 } * SECOND_MS;
        let mut world = World::new(settings, START_UNIX_MS, answers);
        world.run(1_200 * SECOND_MS);
        assert_eq!(world.moves(), expected, "{policy:?}");
    }
}

/// All down at the start, without a state or a file that tells of anybody: the first in order,
/// loudly; and the first answer comes after a full round, it is no guess.
#[test]
fn gdnsd_all_down_at_the_start() {
    let mut world = World::new(settings(&["a", "b"], |_, _| {}), START_UNIX_MS, |_, _| false);
    world.run(60 * SECOND_MS);
    let (at_ms, first) = &world.swaps[0];
    assert!(*at_ms > 2 * SECOND_MS, "after a full round: {at_ms}");
    assert_eq!(first.pools[0].ipv4.primary, Some(0));
    assert!(world.told.iter().any(|(_, told)| told.rule == "all-down-keep"), "{:?}", world.told);
}

/// After a restart gdnsd probes everything once before it answers, and takes the first result for
/// the truth. Here the answer of before is there at once, it is confirmed with the thresholds of
/// always, and one lost packet in the first round moves nothing.
#[test]
fn gdnsd_first_answer_after_a_restart() {
    let moved = |pattern: &'static str| {
        let settings = settings(&["a", "b"], |_, _| {});
        let mut world = World::new(settings.clone(), START_UNIX_MS, says("b", 0, pattern));
        // The state of a run in which b was primary, one day ago: no verdict in it counts any more.
        world.run(0);
        let hold = Action::Switch { pool: "web".to_owned(), node: "b".to_owned() };
        world.handle(Event::Ordered(Order { action: hold, reason: None, for_s: None }));
        let release = Action::Release { pool: "web".to_owned() };
        world.handle(Event::Ordered(Order { action: release, reason: None, for_s: None }));
        let mut saved = world.director.state();
        saved.saved_unix_ms -= 86_400_000;
        let (swaps, told) = (world.swaps.len(), world.told.len());
        world.restart(settings, Some(saved));
        world.run(60 * SECOND_MS);
        let (at_ms, first) = &world.swaps[swaps];
        assert_eq!((*at_ms, first.pools[0].ipv4.primary), (0, Some(1)), "at once, and as before");
        world.told.split_off(told).into_iter().map(|(_, told)| told.rule).collect::<Vec<_>>()
    };
    assert_eq!(moved("x."), [""; 0]);
    assert_eq!(moved("xxxxxx"), ["failover"]);
}

/// gdnsd fails back as soon as the primary is up: `preempt = "0s"`. By default five minutes are
/// waited, and `"never"` leaves it to the operator.
#[test]
fn gdnsd_fail_back() {
    for (preempt, expected_s) in
        [(Preempt::After(0), Some(0..=13)), (Preempt::After(300 * SECOND_MS), Some(300..=313)), (Preempt::Never, None)]
    {
        let settings = settings(&["a", "b"], |pool, _| pool.preempt = preempt);
        let (dies_ms, mends_ms) = (600 * SECOND_MS, 900 * SECOND_MS);
        let answers = |target: &Target, at_ms: u64| target.node != "a" || !(dies_ms..mends_ms).contains(&at_ms);
        let mut world = World::new(settings, START_UNIX_MS, answers);
        world.run(1_800 * SECOND_MS);
        let back = world.told.iter().find(|(_, told)| told.rule == "preempt").map(|(at_ms, _)| at_ms - mends_ms);
        match expected_s {
            Some(expected_s) => assert!(expected_s.contains(&(back.unwrap() / SECOND_MS)), "{preempt:?}: {back:?}"),
            None => assert_eq!(back, None, "{preempt:?}"),
        }
    }
}

/// gdnsd decides about A and AAAA apart: `families = "independent"`. By default a host moves whole.
#[test]
fn gdnsd_families_apart() {
    for (families, ipv4, ipv6) in [(Families::Independent, 0, 1), (Families::Together, 1, 1)] {
        let settings = settings(&["a", "b"], |pool, _| pool.families = families);
        let answers = |target: &Target, at_ms: u64| {
            target.node != "a" || target.family == Family::Ipv4 || at_ms < 600 * SECOND_MS
        };
        let mut world = World::new(settings, START_UNIX_MS, answers);
        world.run(900 * SECOND_MS);
        let roles = world.swaps.last().unwrap().1.pools[0];
        assert_eq!((roles.ipv4.primary, roles.ipv6.primary), (Some(ipv4), Some(ipv6)), "{families:?}");
    }
}

/// gdnsd's `admin_state` stands beside what was observed and survives a restart; so do orders.
#[test]
fn gdnsd_admin_state() {
    let settings = settings(&["a", "b"], |_, _| {});
    let mut world = World::new(settings.clone(), START_UNIX_MS, |target, _| target.node == "a");
    world.run(60 * SECOND_MS);
    let force = Action::Switch { pool: "web".to_owned(), node: "b".to_owned() };
    world.handle(Event::Ordered(Order { action: force, reason: None, for_s: None }));
    assert_eq!(world.primary(), Some(1), "forced, although it is down");
    let saved = world.director.state();
    world.restart(settings, Some(saved));
    world.run(120 * SECOND_MS);
    let status = world.director.status(world.now);
    assert_eq!((world.primary(), status.nodes[1].checks[0].verdict.as_str()), (Some(1), "down"));
    world.handle(Event::Ordered(Order {
        action: Action::Release { pool: "web".to_owned() },
        reason: None,
        for_s: None,
    }));
    assert_eq!(world.primary(), Some(0), "what was observed counts again at once");
}

/// To `ifurlup` and `ifportup` every address fails before its first check, and the backup selector
/// (a random one) answers: the first client after each restart gets a guess. Here nobody does.
#[test]
fn pdns_before_the_first_check() {
    for start_ms in (0..100).map(|start| START_UNIX_MS + start * 997) {
        let mut world = World::new(settings(&["a", "b", "c"], |_, _| {}), start_ms, |target, _| target.node == "c");
        world.run(60 * SECOND_MS);
        let first = world.swaps[0].1.pools[0];
        assert_eq!((first.ipv4.primary, first.ipv6.primary), (Some(2), Some(2)), "the one that is up");
    }
}

/// With all addresses down the backup selector picks any of them, each query anew. Here the answer
/// stays, and stays the same.
#[test]
fn pdns_backup_selector() {
    let mut world =
        World::new(settings(&["a", "b", "c"], |_, _| {}), START_UNIX_MS, |_, at_ms| at_ms < 600 * SECOND_MS);
    world.run(599 * SECOND_MS);
    let before = world.swaps.len();
    world.run(86_400 * SECOND_MS);
    assert_eq!((world.swaps.len(), world.primary()), (before, Some(0)), "a day without anybody");
    assert_eq!(world.director.status(world.now).pools[0].rule, "all-down-keep");
}

/// `minimumFailures = 1`, PowerDNS's default: out with the first failure. `fall = 1` is the same,
/// and so is what it brings: one lost packet moves the site.
#[test]
fn pdns_minimum_failures() {
    for (fall, pattern, expected) in
        [(1, "x", &["a -> b failover"][..]), (3, "x", &[]), (3, "xx", &[]), (3, "xxx", &["a -> b failover"])]
    {
        let settings = settings(&["a", "b"], |_, check| check.fall = fall);
        let mut world = World::new(settings, START_UNIX_MS, says("a", 10, pattern));
        world.run(300 * SECOND_MS);
        assert_eq!(world.moves(), expected, "fall = {fall}: {pattern}");
    }
}

/// `ifurlup(url, {{a}, {b}, {c}})`: the first group with somebody up, back at once. The order of the
/// nodes with `preempt = "0s"` is the same.
#[test]
fn pdns_groups_in_order() {
    let settings = settings(&["a", "b", "c"], |pool, _| pool.preempt = Preempt::After(0));
    let up_from = BTreeMap::from([("a", 1_800), ("b", 1_200), ("c", 0)]);
    let answers = move |target: &Target, at_ms: u64| {
        at_ms < 600 * SECOND_MS || at_ms >= up_from[target.node.as_str()] * SECOND_MS
    };
    let mut world = World::new(settings, START_UNIX_MS, answers);
    world.run(2_400 * SECOND_MS);
    assert_eq!(world.moves(), ["a -> c failover", "c -> b preempt", "b -> a preempt"]);
}

/// One slow target delays PowerDNS's whole round. Here each has a schedule of its own.
#[test]
fn pdns_one_slow_target() {
    let settings = settings(&["a", "b"], |pool, check| {
        pool.rotate = Rotate::Never;
        check.families = vec![Family::Ipv4];
    });
    let mut world = World::new(settings, START_UNIX_MS, |_, _| true);
    world.slow = Some(("a".to_owned(), 9_900));
    world.run(600 * SECOND_MS);
    let started: Vec<u64> =
        world.probes.iter().filter(|(_, target)| target.node == "b").map(|(at_ms, _)| *at_ms).collect();
    let longest_ms = started.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest_ms <= 10 * SECOND_MS, "{longest_ms} ms between two probes of the other");
}
