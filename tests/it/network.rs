//! Our own network, and TTLs: the director in a small world.

use nsd_failover::director::alarm;
use nsd_failover::director::effect::Decision;
use nsd_failover::director::event::{Action, Event, Order, Target};
use nsd_failover::director::settings::ANCHOR;
use nsd_failover::failover::pool::{Families, Rotate, WhenAllDown};
use nsd_failover::health::family::Family;

use super::support::world::{DAY_MS, SECOND_MS, START_UNIX_MS, World, settings};

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
        assert!(world.told.iter().all(|(_, told)| told.rule != "blind"), "{:?}", world.told);
    }
}

/// What cannot be known is told: checks that never say anything, and a primary that dies while the
/// standby's check says nothing. And it is over as soon as the probes tell again.
#[test]
fn what_cannot_be_known_is_told() {
    let alarms = |world: &World<'_>| -> Vec<String> {
        let found = alarm::alarms(&world.director.status(world.now), world.now.unix_ms);
        found.iter().map(|one| format!("{} {} {}", one.severity.as_str(), one.kind.as_str(), one.subject)).collect()
    };
    let told = |world: &World<'_>| -> Vec<String> { world.told.iter().map(|(_, told)| told.rule.clone()).collect() };
    let mends_ms = 600 * SECOND_MS;
    let mut world =
        World::new(settings(&["a", "b"], |_, _| {}), START_UNIX_MS, |_, at_ms| (at_ms > mends_ms).then_some(true));
    world.run(120 * SECOND_MS);
    assert_eq!(
        alarms(&world),
        ["critical blind web", "warning blind a", "warning blind a", "warning blind b", "warning blind b"]
    );
    world.run(mends_ms + 60 * SECOND_MS);
    assert_eq!(
        (alarms(&world), &told(&world)[..3]),
        (Vec::new(), &["start", "blind", "steady"].map(str::to_owned)[..])
    );

    let dies_ms = 600 * SECOND_MS;
    let says = |target: &Target, at_ms: u64| (target.node == "a").then_some(at_ms < dies_ms);
    let mut world = World::new(settings(&["a", "b"], |_, _| {}), START_UNIX_MS, says);
    world.run(dies_ms);
    assert_eq!(alarms(&world), ["warning blind b", "warning blind b"]);
    world.run(dies_ms + 120 * SECOND_MS);
    assert_eq!(alarms(&world)[..2], ["critical blind web", "warning blind b"]);
    let (at_ms, last) = world.told.last().unwrap();
    assert!((dies_ms..dies_ms + 90 * SECOND_MS).contains(at_ms), "told at {at_ms}");
    assert_eq!(
        last.reason,
        "a is down over ipv4 and ipv6 (web: L4TOUT, 3/3 failures; web: L4TOUT, 3/3 failures); it is waited in vain: nothing is known of b (web: UNK, 0/2 successes); the answer stays a"
    );
}

/// An anchor is somebody else's server: one that answers is asked every five minutes, and at once
/// when nodes fail.
#[test]
fn anchors_are_left_in_peace() {
    let settings = settings(&["a", "b"], |pool, _| pool.anchors = vec!["9.9.9.9:53".parse().unwrap()]);
    let dies_ms = 3_600 * SECOND_MS;
    let mut world = World::new(settings, START_UNIX_MS, |target, at_ms| target.check == ANCHOR || at_ms < dies_ms);
    world.run(dies_ms);
    let asked = |world: &World<'_>| world.probes.iter().filter(|(_, target)| target.check == ANCHOR).count();
    assert!((12..=14).contains(&asked(&world)), "{} times in an hour", asked(&world));
    let before = asked(&world);
    world.run(dies_ms + 30 * SECOND_MS);
    assert!(asked(&world) > before, "not asked although all nodes fail");
    assert_eq!(world.told.last().unwrap().1.rule, "all-down-keep");
}

/// While an anchor alone gives a family its say, the answer of the standby hangs on the anchor.
#[test]
fn the_ttl_ends_before_an_anchor_can_change_the_answer() {
    let settings = settings(&["a", "b", "c"], |pool, _| {
        pool.ttl_min_s = Some(5);
        pool.anchors = vec!["[2620:fe::fe]:53".parse().unwrap()];
    });
    let (dies_ms, anchor_dies_ms) = (600 * SECOND_MS, 2_000 * SECOND_MS);
    let mut world = World::new(settings, START_UNIX_MS, |target, at_ms| match target.check == ANCHOR {
        true => at_ms < anchor_dies_ms,
        // Nobody is up over IPv6, and b over nothing.
        false => at_ms < dies_ms || (target.family == Family::Ipv4 && target.node != "b"),
    });
    world.run(300 * SECOND_MS);
    let order = Order { action: Action::Hold { pool: "web".to_owned() }, reason: None, for_s: None };
    world.handle(Event::Ordered(order));
    world.run(4_000 * SECOND_MS);
    // With the anchor IPv6 counts, and b is as good as c; without it, c is up.
    let standby = |decision: &Decision| decision.pools[0].ipv4.standby;
    let last = world.swaps.iter().rposition(|(_, decision)| standby(decision) == Some(1)).unwrap();
    let ((_, before), (at_ms, after)) = (&world.swaps[last], &world.swaps[last + 1]);
    assert!(*at_ms > anchor_dies_ms && standby(after) == Some(2), "{at_ms} {after:?}");
    // An anchor is asked every half minute at the soonest, and once more after a failure.
    assert!(before.ttl_max_s[0] <= Some(31), "{:?}", before.ttl_max_s);
    let calm = world.swaps.iter().filter(|(at_ms, _)| (dies_ms + 60 * SECOND_MS..anchor_dies_ms).contains(at_ms));
    calm.for_each(|(_, decision)| assert!(decision.ttl_max_s[0] <= Some(31), "{decision:?}"));
}

/// The move to the first of the dead is no alarm any more when it lives, neither here nor after a reload
/// or a restart.
#[test]
fn an_alarm_that_has_moved_the_pool_ends() {
    let loaded = || settings(&["a", "b"], |pool, _| pool.when_all_down = WhenAllDown::First);
    // a dies, b takes over and dies too, and a comes back.
    let mut world = World::new(loaded(), START_UNIX_MS, |target, at_ms| match target.node.as_str() {
        "a" => !(600 * SECOND_MS..1_800 * SECOND_MS).contains(&at_ms),
        _ => at_ms < 1_200 * SECOND_MS,
    });
    let said = |world: &World<'_>| {
        let status = world.director.status(world.now);
        let is_loud = alarm::alarms(&status, world.now.unix_ms).iter().any(|alarm| alarm.kind == alarm::Kind::AllDown);
        (status.pools[0].rule.clone(), is_loud)
    };
    world.run(1_700 * SECOND_MS);
    assert_eq!(world.moves(), ["a -> b failover", "b -> a all-down-first"]);
    assert_eq!(said(&world), ("all-down-first".to_owned(), true));
    world.run(1_900 * SECOND_MS);
    assert_eq!(world.moves().len(), 2);
    assert_eq!(said(&world), ("steady".to_owned(), false));
    world.handle(Event::Reloaded(Box::new(loaded())));
    assert_eq!(said(&world), ("steady".to_owned(), false));
    let saved = world.director.final_state();
    world.restart(loaded(), Some(saved));
    world.run(2_000 * SECOND_MS);
    assert_eq!(said(&world), ("steady".to_owned(), false));
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
