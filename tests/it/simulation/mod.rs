//! The control plane in a simulated world: two sidecars side by side live through years of lost
//! packets, outages, partitions, cut uplinks, orders, restarts, wrong clocks and rotations over New
//! Year and over years of 53 weeks, from a seed. The world jumps from event to event. After each
//! event the laws ([`laws`]) are checked that must hold whatever happens.
//!
//! A seed that fails names itself. To repeat it, or to try others for longer:
//!
//! ```text
//! SIMULATION_SEED=7 SIMULATION_POLICY=min-hold SIMULATION_TRACE=1 cargo test --test it simulation::years
//! SIMULATION_SEED=7 SIMULATION_DAYS=3650 cargo test --release --test it simulation::years
//! ```

mod laws;
mod sidecar;
mod truth;
mod view;

use std::collections::BTreeMap;
use std::env;
use std::time::Instant;

use nsd_failover::director::Director;
use nsd_failover::director::effect::Effect;
use nsd_failover::director::event::{Action, Event, Target};
use nsd_failover::director::settings::{Settings, ZoneSettings};
use nsd_failover::export::serial::SerialScheme;
use nsd_failover::failover::decide::preference;
use nsd_failover::failover::pool::{
    Families, Node, Pool, PoolToldRoles, Preempt, Rotate, Told, ToldRoles, WhenAllDown,
};
use nsd_failover::health::check::{Check, Http, Kind, Outcome};
use nsd_failover::health::family::{Family, PerFamily};
use nsd_failover::health::time::Now;

use sidecar::Sidecar;
use truth::{NODES, Random, Truth};

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// 2026-12-01 00:00:00 UTC, a Tuesday: week 53 of 2026 and New Year come within the first months.
const START_UNIX_MS: i64 = 1_796_083_200_000;

const INTERVAL_MS: u64 = HOUR_MS;
/// After so long without a change everybody has noticed, and done what was due.
const SETTLED_MS: u64 = 16 * HOUR_MS;
/// How long each policy lives, two sidecars each: some seven years in all.
const DAYS: u64 = 120;

fn node(name: &str, last: u8) -> Node {
    let ipv6 = [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)];
    Node { name: name.to_owned(), ipv4: Some([192, 0, 2, last].into()), ipv6: Some(ipv6.into()) }
}

fn pool(name: &str, nodes: &[Node]) -> Pool {
    Pool {
        name: name.to_owned(),
        nodes: nodes.to_vec(),
        checks: vec!["web".to_owned()],
        rotate: Rotate::Weekly,
        preempt: Preempt::After(30 * MINUTE_MS),
        when_all_down: WhenAllDown::Keep,
        families: Families::Together,
        min_hold_ms: 0,
        ttl_min_s: Some(300),
        anchors: Vec::new(),
    }
}

fn check(interval_ms: u64) -> Check {
    let http = Http { url: "https://{node}/".to_owned(), ..Http::default() };
    Check {
        name: "web".to_owned(),
        kind: Kind::Http(http),
        interval_ms,
        fast_interval_ms: interval_ms / 10,
        timeout_ms: interval_ms / 40,
        rise: 2,
        fall: 3,
        families: Family::ALL.to_vec(),
    }
}

fn zone(name: &str, indexes: &[usize], pools: &[Pool]) -> ZoneSettings {
    // The first node is primary; where it has no address there is no record.
    let told =
        |pool: &Pool, node: usize, family| if pool.nodes[node].has(family) { Told::Node(node) } else { Told::Nothing };
    let roles = |index: &usize| {
        let pool = &pools[*index];
        let of = |family| ToldRoles { primary: told(pool, 0, family), standby: told(pool, 1, family) };
        Some(PoolToldRoles::from_fn(of))
    };
    ZoneSettings {
        origin: name.parse().unwrap(),
        pools: indexes.to_vec(),
        scheme: SerialScheme::Unixtime,
        serial_in_file: 1_700_000_000,
        roles_in_file: indexes.iter().map(roles).collect(),
        export: true,
        content: None,
        is_signed: false,
    }
}

/// Two pools that share nodes, two zones; `bend` makes the policies.
fn settings(bend: impl Fn(&mut Pool)) -> Settings {
    let [a, b, c] = [1, 2, 3].map(|last| node(NODES[usize::from(last) - 1], last));
    let mut pools = vec![pool("web", &[a.clone(), b.clone()]), pool("mail", &[b, c, a])];
    pools.iter_mut().for_each(bend);
    let zones = vec![zone("one.example", &[0], &pools), zone("all.example", &[0, 1], &pools)];
    Settings { pools, checks: vec![check(INTERVAL_MS)], zones, ..Settings::default() }
}

fn policies() -> Vec<(&'static str, Settings)> {
    let anchored = |policy| {
        settings(move |pool| {
            pool.when_all_down = policy;
            pool.anchors = vec!["9.9.9.9:53".parse().unwrap(), "[2620:fe::fe]:53".parse().unwrap()];
        })
    };
    vec![
        ("default", settings(|_| {})),
        ("one-way", settings(|pool| pool.preempt = Preempt::Never)),
        ("min-hold", settings(|pool| pool.min_hold_ms = 8 * HOUR_MS)),
        ("withdraw", settings(|pool| pool.when_all_down = WhenAllDown::Withdraw)),
        ("first", settings(|pool| pool.when_all_down = WhenAllDown::First)),
        ("independent", settings(|pool| pool.families = Families::Independent)),
        ("families-withdraw", settings(|pool| pool.families = Families::Withdraw)),
        ("no-rotation", settings(|pool| pool.rotate = Rotate::Never)),
        ("no-ipv6", settings(|pool| pool.nodes.iter_mut().filter(|node| node.name == "c").for_each(|c| c.ipv6 = None))),
        ("anchors-withdraw", anchored(WhenAllDown::Withdraw)),
        ("anchors-first", anchored(WhenAllDown::First)),
    ]
}

/// Two sidecars in one truth.
struct World {
    random: Random,
    truth: Truth,
    sidecars: [Sidecar; 2],
    settings: Settings,
    now_ms: u64,
    /// How often both were compared.
    compared: u64,
}

impl World {
    fn new(seed: u64, settings: Settings) -> World {
        let mut truth = Truth::default();
        truth.change(0, 0);
        World {
            random: Random(seed),
            truth,
            sidecars: [0, 1].map(|index| Sidecar::new(index, seed, settings.clone())),
            settings,
            now_ms: 0,
            compared: 0,
        }
    }

    /// Jumps from event to event for a time.
    fn run(&mut self, for_ms: u64) {
        let end_ms = self.now_ms + for_ms;
        loop {
            let [first_ms, second_ms] = self.sidecars.each_ref().map(Sidecar::next_ms);
            let (index, next_ms) = if first_ms <= second_ms { (0, first_ms) } else { (1, second_ms) };
            if next_ms > end_ms {
                break;
            }
            self.now_ms = next_ms.max(self.now_ms);
            self.sidecars[index].step(self.now_ms, &self.truth);
        }
        self.now_ms = end_ms;
    }

    fn present(&self) -> bool {
        self.sidecars.iter().all(|sidecar| sidecar.away_until_ms.is_none() && sidecar.laws.in_force.is_some())
    }

    /// Both operators give the same order; nobody orders anything of a process that is away.
    fn order(&mut self, action: &Action, for_s: Option<u64>) {
        if self.present() {
            self.truth.change(self.now_ms, for_s.unwrap_or(0) * SECOND_MS);
            for sidecar in &mut self.sidecars {
                sidecar.order(action.clone(), for_s, self.now_ms, &self.truth);
            }
        }
    }

    /// Something happens.
    fn mishap(&mut self) {
        let (now_ms, for_ms) = (self.now_ms, MINUTE_MS + self.random.below(18 * HOUR_MS));
        let for_s = self.random.chance(50).then_some(for_ms / 1_000);
        let host = self.random.below(3) as usize;
        let one = self.random.below(2) as usize;
        let node = NODES[host].to_owned();
        let pool = (*self.random.pick(&["web", "mail"])).to_owned();
        match self.random.below(24) {
            0..6 => {
                for family in Family::ALL {
                    if self.random.chance(70) {
                        self.truth.break_host(host, family, now_ms, for_ms);
                    }
                }
            }
            6 => (0..3).for_each(|host| self.truth.break_host(host, Family::Ipv6, now_ms, for_ms)),
            7 => {
                (0..3).for_each(|host| {
                    Family::ALL.into_iter().for_each(|family| self.truth.break_host(host, family, now_ms, for_ms))
                });
            }
            8 | 9 => self.truth.lose_packets(one, now_ms, for_ms),
            10 | 11 => self.truth.part(one, host, now_ms, for_ms),
            12 => self.truth.cut_off(one, now_ms, for_ms),
            13 => {
                let node = if pool == "web" && node == "c" { "a".to_owned() } else { node };
                self.order(&Action::Switch { pool, node }, for_s);
            }
            14 => self.order(&Action::Hold { pool }, for_s),
            15 | 16 => self.order(&Action::Release { pool }, None),
            17 => self.order(&Action::Drain { node }, for_s),
            18 => self.order(&Action::Ready { node }, None),
            19..22 => {
                let back_ms = now_ms + for_ms / 60;
                self.truth.change(now_ms, for_ms / 60);
                let is_clean = self.random.chance(50);
                self.sidecars[one].leave(is_clean, back_ms);
            }
            22 => {
                // The clock goes wrong by up to a day, either way, or is right again.
                let error_ms = self.random.below(2 * DAY_MS) as i64 - DAY_MS as i64;
                let error_ms = if self.sidecars[one].clock_error_ms() == 0 { error_ms } else { 0 };
                self.truth.change(now_ms, 0);
                self.sidecars[one].set_clock(error_ms, now_ms, &self.truth);
            }
            _ => {
                if self.present() {
                    self.truth.change(now_ms, 0);
                    self.sidecars[one].reload(now_ms, &self.truth);
                }
            }
        }
    }

    fn live(&mut self, days: u64) {
        while self.now_ms < days * DAY_MS {
            // Mishaps like company.
            let calm_ms = if self.random.chance(70) { 2 * HOUR_MS } else { 60 * HOUR_MS };
            let calm_ms = MINUTE_MS + self.random.below(calm_ms);
            self.run(calm_ms);
            self.look();
            self.mishap();
        }
    }

    /// What can be said between events.
    fn look(&mut self) {
        if !self.present() {
            return;
        }
        self.sidecars.iter_mut().for_each(|sidecar| sidecar.agrees_with_its_status(self.now_ms));
        let [first, second] = &self.sidecars;
        let same_view = self.truth.is_settled(self.now_ms, SETTLED_MS)
            && self.truth.is_clear(self.now_ms)
            && self.sidecars.iter().all(|sidecar| sidecar.clock_error_ms() == 0)
            && first.laws.has_orders_of(&second.laws);
        if same_view {
            self.compare();
        }
    }

    /// Two hosts with the same view decide the same, without talking: where somebody is up, whatever
    /// each of them has seen before. A pool that does not come back by itself keeps its history.
    fn compare(&mut self) {
        let unix_ms = START_UNIX_MS + self.now_ms as i64;
        let [first, second] = &self.sidecars;
        let roles = [first, second].map(|sidecar| &sidecar.laws.in_force.as_ref().unwrap().pools);
        for (index, pool) in self.settings.pools.iter().enumerate() {
            let is_up = |node: &Node| {
                let host = NODES.iter().position(|name| *name == node.name).unwrap();
                let answers = |family: Family| !node.has(family) || self.truth.is_up(host, family, self.now_ms);
                Family::ALL.into_iter().all(answers) && !first.laws.is_drained(&node.name)
            };
            if pool.preempt == Preempt::Never || first.laws.is_held(&pool.name) || !pool.nodes.iter().any(is_up) {
                continue;
            }
            let primaries = roles.map(|roles| PerFamily::from_fn(|family| roles[index][family].primary));
            assert_eq!(primaries[0], primaries[1], "the two disagree about {}", pool.name);
            self.compared += 1;
            // Where all are well, it is the preferred one.
            if pool.nodes.iter().all(is_up) {
                let preferred = preference(pool, unix_ms).next();
                let has = |family| preferred.filter(|node| pool.nodes[*node].has(family));
                assert_eq!(primaries[0], PerFamily::from_fn(has), "{}", pool.name);
            }
        }
    }

    /// Everything is mended, and every order taken back.
    fn mend(&mut self) {
        for index in 0..2 {
            self.sidecars[index].set_clock(0, self.now_ms, &self.truth);
        }
        self.truth.mend(self.now_ms);
        self.run(4 * HOUR_MS);
        for pool in ["web", "mail"] {
            self.order(&Action::Release { pool: pool.to_owned() }, None);
        }
        for node in NODES {
            self.order(&Action::Ready { node: node.to_owned() }, None);
        }
        self.run(SETTLED_MS + MINUTE_MS);
    }
}

/// Says how to repeat what has failed.
struct Repeat<'a> {
    seed: u64,
    policy: &'a str,
}

impl Drop for Repeat<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (seed, policy) = (self.seed, self.policy);
            eprintln!(
                "repeat it: SIMULATION_SEED={seed} SIMULATION_POLICY={policy} SIMULATION_TRACE=1 cargo test --test it simulation::years"
            );
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
fn years() {
    let (seed, days) = (number("SIMULATION_SEED").unwrap_or(1), number("SIMULATION_DAYS").unwrap_or(DAYS));
    let only = env::var("SIMULATION_POLICY").ok();
    let policies: Vec<_> =
        policies().into_iter().filter(|(policy, _)| only.as_deref().is_none_or(|only| only == *policy)).collect();
    assert!(!policies.is_empty(), "SIMULATION_POLICY: no such policy");
    std::thread::scope(|scope| {
        for (policy, settings) in policies {
            scope.spawn(move || live_under(policy, settings, seed, days));
        }
    });
}

fn live_under(policy: &str, settings: Settings, seed: u64, days: u64) {
    let _repeat = Repeat { seed, policy };
    let started = Instant::now();
    let mut world = World::new(seed, settings);
    world.live(days);
    world.mend();
    world.look();
    for sidecar in &world.sidecars {
        assert!(sidecar.exporting.is_empty());
        let (status, swaps) = (sidecar.status(world.now_ms), sidecar.laws.swaps);
        assert!(status.ready);
        assert!(status.nodes.iter().flat_map(|node| &node.checks).all(|check| check.verdict == "up"));
        for zone in &status.zones {
            assert_eq!(zone.serial_at_nsd, Some(zone.serial), "nsd did not follow");
        }
        assert!(swaps > days, "{swaps} swaps in {days} days are no test");
    }
    let told = &world.sidecars[0].laws.told;
    eprintln!("{policy}: {days} days twice in {:?}, compared {} times; {told:?}", started.elapsed(), world.compared);
    let has_history = policy == "one-way";
    assert!(has_history || world.compared > days / 16, "compared only {} times", world.compared);
}

/// The rotation turns at each Monday 00:00 UTC, before and after New Year and week 53, and nothing
/// else moves; every answer that was given out before has ended by then.
#[test]
fn rotation_over_new_year() {
    let mut world = World::new(4, settings(|_| {}));
    world.run(100 * DAY_MS);
    let turns = world.sidecars[0].laws.transitions.iter().filter(|told| told.pool == "web");
    // The first is that of the running week, as soon as it is confirmed; the files may say otherwise.
    let turns: Vec<_> = turns.skip_while(|told| told.unix_ms < START_UNIX_MS + DAY_MS as i64).collect();
    // 2026-12-07 is a Monday.
    let mut monday = START_UNIX_MS + 6 * DAY_MS as i64;
    assert_eq!(turns.len(), 14, "{turns:#?}");
    for turn in turns {
        assert_eq!((turn.rule.as_str(), turn.unix_ms), ("rotation", monday));
        monday += 7 * DAY_MS as i64;
    }
}

/// A thousand probes a second of ten thousand targets: an event costs what it touches.
#[test]
fn ten_thousand_targets() {
    let nodes: Vec<Node> = (0..5_000).map(|index| node(&format!("node{index}"), (index % 250) as u8)).collect();
    let pools: Vec<Pool> = nodes.chunks(5).enumerate().map(|(at, nodes)| pool(&format!("pool{at}"), nodes)).collect();
    let now = |monotonic_ms: u64| Now { monotonic_ms, unix_ms: START_UNIX_MS + monotonic_ms as i64 };
    let settings = Settings { pools, checks: vec![check(10 * SECOND_MS)], zones: Vec::new(), ..Settings::default() };
    let mut director = Director::new(settings, None, now(0));
    let mut coming: BTreeMap<(u64, u64), Target> = BTreeMap::new();
    let mut random = Random(5);
    let mut probes = 0;
    let started = std::time::Instant::now();
    let mut now_ms = 0;
    while now_ms < 20 * SECOND_MS {
        let event = match coming.first_entry() {
            Some(first) if first.key().0 <= now_ms => {
                let success = Some(random.chance(95));
                let (word, detail) = ("L7OK".to_owned(), String::new());
                let outcome = Outcome { success, word, detail, duration_ms: 50, ..Outcome::default() };
                Event::Probed { target: first.remove(), outcome }
            }
            _ => Event::Tick,
        };
        for effect in director.handle(event, now(now_ms)) {
            if let Effect::Probe(target) = effect {
                probes += 1;
                coming.insert((now_ms + 50, probes), target);
            }
        }
        let coming_ms = coming.keys().next().map_or(u64::MAX, |(at_ms, _)| *at_ms);
        now_ms = director.next_wakeup_ms().unwrap_or(u64::MAX).min(coming_ms).max(now_ms);
    }
    let took = started.elapsed();
    assert!(probes > 20_000, "{probes}");
    assert!(took.as_secs() < 10, "{probes} probes took {took:?}");
    eprintln!("{probes} probes, {} decisions in {took:?}", director.decision().generation);
}
