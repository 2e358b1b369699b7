//! The serial of a zone that secondaries take from us: they see nothing else of it, so that it must
//! be a new one whenever the zone is, and never an older one.

use nsd_failover::director::Director;
use nsd_failover::director::effect::Effect;
use nsd_failover::director::event::{Action, Event, Order};
use nsd_failover::director::settings::{Settings, ZoneSettings};
use nsd_failover::director::state::State;
use nsd_failover::export::serial::SerialScheme;
use nsd_failover::failover::pool::{Node, Pool, PoolToldRoles, Told, ToldRoles};
use nsd_failover::health::time::Now;

const NOW: Now = Now { monotonic_ms: 0, unix_ms: 1_767_323_045_000 };
/// What the file says.
const IN_FILE: u32 = 100;
/// The most serials that may be in service unwritten.
const LEAP: u32 = 64;

fn settings(content: u64, serial_in_file: u32) -> Settings {
    let node = |name: &str, last| Node { name: name.to_owned(), ipv4: Some([192, 0, 2, last].into()), ipv6: None };
    let pool = Pool { name: "web".to_owned(), nodes: vec![node("a", 1), node("b", 2)], ..Pool::default() };
    let ipv4 = ToldRoles { primary: Told::Node(0), standby: Told::Node(1) };
    let zone = ZoneSettings {
        origin: "example.org".parse().unwrap(),
        pools: vec![0],
        scheme: SerialScheme::Increment,
        serial_in_file,
        roles_in_file: vec![Some(PoolToldRoles { ipv4, ipv6: ToldRoles::default() })],
        export: false,
        content: Some(content),
        is_signed: false,
    };
    Settings { pools: vec![pool], checks: Vec::new(), zones: vec![zone], ..Settings::default() }
}

/// The serials that the events put in service, one after the other.
fn serials(director: &mut Director, events: Vec<Event>) -> Vec<u32> {
    let effects = events.into_iter().flat_map(|event| director.handle(event, NOW));
    let swaps = effects.filter_map(|effect| match effect {
        Effect::Swap(decision) => Some(decision.serials[0]),
        _ => None,
    });
    swaps.collect()
}

fn switch(node: &str) -> Event {
    let action = Action::Switch { pool: "web".to_owned(), node: node.to_owned() };
    Event::Ordered(Order { action, reason: None, for_s: None })
}

/// A director that has moved once.
fn moved_once() -> Director {
    let mut director = Director::new(settings(1, IN_FILE), None, NOW);
    assert_eq!(serials(&mut director, vec![Event::Tick, switch("b")]), [IN_FILE, IN_FILE + 1]);
    director
}

/// The first serial after a restart.
fn after_restart(saved: State, settings: Settings) -> u32 {
    let mut director = Director::new(settings, Some(saved), NOW);
    serials(&mut director, vec![Event::Tick])[0]
}

#[test]
fn a_restart_in_good_order_keeps_it() {
    assert_eq!(after_restart(moved_once().final_state(), settings(1, IN_FILE)), IN_FILE + 1);
}

#[test]
fn after_a_crash_it_leaps_over_what_may_have_been_in_service() {
    assert_eq!(after_restart(moved_once().state(), settings(1, IN_FILE)), IN_FILE + 1 + LEAP + 1);
}

#[test]
fn an_edit_without_a_new_serial_gets_one() {
    let saved = || moved_once().final_state();
    assert_eq!(after_restart(saved(), settings(2, IN_FILE)), IN_FILE + 2, "edited while we were away");
    assert_eq!(after_restart(saved(), settings(2, IN_FILE + 9)), IN_FILE + 9, "with a serial of its own");
    assert_eq!(after_restart(saved(), settings(2, 7)), IN_FILE + 2, "with an older one");
    let mut director = moved_once();
    let reload = |content, serial| vec![Event::Reloaded(Box::new(settings(content, serial)))];
    assert_eq!(serials(&mut director, reload(1, IN_FILE)), [IN_FILE + 1], "nothing has changed");
    assert_eq!(serials(&mut director, reload(2, IN_FILE)), [IN_FILE + 2]);
    assert_eq!(serials(&mut director, reload(3, IN_FILE + 50)), [IN_FILE + 50]);
}

/// Its SOA record is signed as well, with the serial in it.
#[test]
fn a_signed_zone_keeps_the_serial_of_its_signer() {
    let signed = |content, serial| {
        let mut settings = settings(content, serial);
        settings.zones[0].is_signed = true;
        settings
    };
    let mut director = Director::new(signed(1, IN_FILE), Some(moved_once().state()), NOW);
    assert_eq!(serials(&mut director, vec![Event::Tick]), [IN_FILE], "after a crash, with a newer one saved");
    let reload = |content, serial| vec![Event::Reloaded(Box::new(signed(content, serial)))];
    assert_eq!(serials(&mut director, reload(2, IN_FILE)), [IN_FILE], "signed anew with the same");
    assert_eq!(serials(&mut director, reload(3, IN_FILE + 1)), [IN_FILE + 1]);
    let seen = vec![Event::SecondarySeen { zone: 0, serial: 5_000 }];
    assert_eq!(serials(&mut director, seen), [] as [u32; 0], "a secondary that is ahead stays ahead");
}

#[test]
fn a_secondary_that_is_ahead_is_overtaken() {
    let mut director = moved_once();
    let seen = |serial| vec![Event::SecondarySeen { zone: 0, serial }];
    assert_eq!(serials(&mut director, seen(IN_FILE)), [] as [u32; 0], "it is behind: it will come");
    assert_eq!(serials(&mut director, seen(5_000)), [5_001], "the state was lost");
    assert_eq!(serials(&mut director, seen(5_000)), [] as [u32; 0], "once is enough");
    assert_eq!(serials(&mut director, vec![switch("a")]), [5_002]);
}

/// It believes to have our serial and does not: the next one heals it. One that cannot be healed does
/// not drive the serial up for ever.
#[test]
fn a_secondary_that_stays_behind_gets_a_new_serial_ever_more_patiently() {
    let mut director = moved_once();
    let mut nudged_s = Vec::new();
    // It says so every 70 s.
    for second in (0..20_000).step_by(70) {
        let now = Now { monotonic_ms: second * 1_000, unix_ms: NOW.unix_ms + second as i64 * 1_000 };
        let effects = director.handle(Event::SecondaryBehind { zone: 0 }, now);
        nudged_s.extend(effects.iter().any(|effect| matches!(effect, Effect::Swap(_))).then_some(second));
    }
    assert_eq!(nudged_s, [0, 70, 210, 490, 980, 1_960, 3_920, 7_770, 15_470]);
    // Long after it was healed it is behind again.
    let later = |seconds: u64| Now { monotonic_ms: seconds * 1_000, ..NOW };
    let swaps = |director: &mut Director, now| {
        let effects = director.handle(Event::SecondaryBehind { zone: 0 }, now);
        effects.iter().filter(|effect| matches!(effect, Effect::Swap(_))).count()
    };
    assert_eq!(swaps(&mut director, later(100_000)), 1);
    assert_eq!(swaps(&mut director, later(100_059)), 0);
    assert_eq!(swaps(&mut director, later(100_061)), 1, "a minute again");
}

/// What a secondary serves says nothing of an nsd that we look at.
#[test]
fn what_a_secondary_serves_is_not_nsd_s_serial() {
    let mut director = moved_once();
    serials(&mut director, vec![Event::SecondarySeen { zone: 0, serial: 5_000 }]);
    assert_eq!(director.status(NOW).zones[0].serial_at_nsd, None);
    serials(&mut director, vec![Event::SerialSeen { zone: 0, serial: 5_001 }]);
    assert_eq!(director.status(NOW).zones[0].serial_at_nsd, Some(5_001));
}
