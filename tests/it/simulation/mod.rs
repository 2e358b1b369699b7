//! The control plane in a simulated world: two sidecars side by side live through years of lost
//! packets, outages, partitions, cut uplinks, checks that cannot say anything, orders, other settings,
//! restarts, wrong clocks and rotations over New Year and over years of 53 weeks, from a seed. The
//! world jumps from event to event. After each event the laws ([`laws`]) are checked that must hold
//! whatever happens.
//!
//! A seed that fails names itself. To repeat it, or to try others, more of them, for longer:
//!
//! ```text
//! SIMULATION_SEED=7 SIMULATION_POLICY=min-hold SIMULATION_TRACE=1 cargo test --test it simulation::years
//! SIMULATION_SEED=7 SIMULATION_DAYS=3650 cargo test --release --test it simulation::years
//! SIMULATION_SEEDS=100 cargo test --release --test it simulation::years
//! ```

mod laws;
mod settings;
mod sidecar;
mod truth;
mod view;

use std::collections::BTreeMap;
use std::env;
use std::sync::Mutex;
use std::time::Instant;

use nsd_failover::director::Director;
use nsd_failover::director::effect::Effect;
use nsd_failover::director::event::{Action, Event, Target};
use nsd_failover::director::settings::Settings;
use nsd_failover::failover::decide::preference;
use nsd_failover::failover::pool::{Families, Node, Pool, Preempt};
use nsd_failover::health::check::{Check, Outcome};
use nsd_failover::health::family::{Family, PerFamily};
use nsd_failover::health::time::Now;

use settings::{bent, check, node, policies, pool, settings};
use sidecar::Sidecar;
use truth::{CHECKS, NODES, Random, Truth};

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// 2026-12-01 00:00:00 UTC, a Tuesday: week 53 of 2026 and New Year come within the first months.
const START_UNIX_MS: i64 = 1_796_083_200_000;

/// After so long without a change everybody has noticed, and done what was due.
const SETTLED_MS: u64 = 16 * HOUR_MS;
/// More events than can happen in one millisecond.
const STEPS_MAX: u32 = 1_000;
/// How long each policy lives, two sidecars each: five years in all.
const DAYS: u64 = 70;

/// Two sidecars in one truth.
struct World {
    random: Random,
    truth: Truth,
    sidecars: [Sidecar; 2],
    /// Those of the policy, and those of now.
    policy: Settings,
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
            policy: settings.clone(),
            settings,
            now_ms: 0,
            compared: 0,
        }
    }

    /// Jumps from event to event for a time.
    fn run(&mut self, for_ms: u64) {
        let end_ms = self.now_ms + for_ms;
        let mut steps = 0;
        loop {
            let [first_ms, second_ms] = self.sidecars.each_ref().map(Sidecar::next_ms);
            let (index, next_ms) = if first_ms <= second_ms { (0, first_ms) } else { (1, second_ms) };
            if next_ms > end_ms {
                break;
            }
            // Whoever wants to be woken at once, again and again, would take a whole core.
            steps = if next_ms > self.now_ms { 0 } else { steps + 1 };
            assert!(steps < STEPS_MAX, "sidecar {index} is busy with nothing");
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
        // What is in force cannot be held while that of other settings is waited for.
        let is_pending = self.sidecars.iter().any(|sidecar| sidecar.laws.is_pending);
        let is_about_now = matches!(action, Action::Hold { .. });
        if self.present() && !(is_pending && is_about_now) {
            self.truth.change(self.now_ms, for_s.unwrap_or(0) * SECOND_MS);
            for sidecar in &mut self.sidecars {
                sidecar.order(action.clone(), for_s, self.now_ms, &self.truth);
            }
        }
    }

    /// Both operators load other settings.
    fn reload(&mut self, settings: Settings) {
        self.truth.change(self.now_ms, 0);
        self.settings = settings;
        self.sidecars.iter_mut().for_each(|sidecar| sidecar.reload(&self.settings, self.now_ms, &self.truth));
    }

    /// Something happens.
    fn mishap(&mut self) {
        let (now_ms, for_ms) = (self.now_ms, MINUTE_MS + self.random.below(18 * HOUR_MS));
        let for_s = self.random.chance(50).then_some(for_ms / 1_000);
        let host = self.random.below(3) as usize;
        let one = self.random.below(2) as usize;
        let node = NODES[host].to_owned();
        let pool = (*self.random.pick(&["web", "mail"])).to_owned();
        let check = self.random.below(2) as usize;
        match self.random.below(32) {
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
            13 => self.order(&Action::Switch { pool, node }, for_s),
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
            23 => self.sidecars[one].reload(&self.settings, now_ms, &self.truth),
            24 | 25 => {
                let family = *self.random.pick(&Family::ALL);
                self.truth.break_service(check, host, family, now_ms, for_ms);
            }
            26 => self.truth.blind(one, check, host, now_ms, 3 * for_ms),
            // A plugin that is not there, found out by nobody but a process that starts with it.
            27 => {
                (0..3).for_each(|host| self.truth.blind(one, check, host, now_ms, 3 * for_ms));
                if self.random.chance(50) {
                    self.sidecars[one].leave(true, now_ms + 24 * HOUR_MS);
                    self.truth.change(now_ms, 24 * HOUR_MS);
                }
            }
            28 => self.reload(self.policy.clone()),
            _ => {
                let settings = bent(&self.policy, &mut self.random);
                self.reload(settings);
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
        let mut compared = 0;
        let unix_ms = START_UNIX_MS + self.now_ms as i64;
        let [first, second] = &self.sidecars;
        let roles = [first, second].map(|sidecar| &sidecar.laws.in_force.as_ref().unwrap().pools);
        for (index, pool) in self.settings.pools.iter().enumerate() {
            let is_up = |node: &Node| {
                let answers = |family: Family| !node.has(family) || self.answers(pool, node, family);
                Family::ALL.into_iter().all(answers) && !first.laws.is_drained(&node.name)
            };
            if first.laws.is_held(&pool.name) || !pool.nodes.iter().any(is_up) {
                continue;
            }
            let primaries = roles.map(|roles| PerFamily::from_fn(|family| roles[index][family].primary));
            for (family, node) in Family::ALL.into_iter().flat_map(|family| primaries.map(|one| (family, one[family])))
            {
                let is_bad = |node: &Node| pool.families == Families::Together && !is_up(node);
                let node = node.map(|node| &pool.nodes[node]);
                let is_wrong = node.is_some_and(|node| is_bad(node) || !self.answers(pool, node, family));
                assert!(!is_wrong, "{} is answered with {node:?} over {family}, who is not up", pool.name);
            }
            // Nobody looks, and so nobody comes back by himself either.
            if pool.preempt == Preempt::Never || pool.checks.is_empty() {
                continue;
            }
            assert_eq!(primaries[0], primaries[1], "the two disagree about {}", pool.name);
            compared += 1;
            // Where all are looked at and well, it is the preferred one.
            let is_full = |check: &&Check| check.families.len() == 2 && pool.checks.contains(&check.name);
            if pool.nodes.iter().all(is_up) && self.settings.checks.iter().any(|check| is_full(&check)) {
                let is_alone = pool.families == Families::Independent;
                let has = |family: Family| {
                    let mut order = preference(pool, unix_ms).filter(|node| !is_alone || pool.nodes[*node].has(family));
                    order.next().filter(|node| pool.nodes[*node].has(family))
                };
                assert_eq!(primaries[0], PerFamily::from_fn(has), "{}", pool.name);
            }
        }
        self.compared += compared;
    }

    /// Whether a node answers all checks of a pool that are made over a family.
    fn answers(&self, pool: &Pool, node: &Node, family: Family) -> bool {
        let host = NODES.iter().position(|name| *name == node.name).unwrap();
        let made = self.settings.checks.iter().filter(|check| check.families.contains(&family));
        let mut asked = made.filter(|check| pool.checks.contains(&check.name));
        asked.all(|check| {
            let check = CHECKS.iter().position(|name| *name == check.name).unwrap();
            self.truth.is_up(check, host, family, self.now_ms)
        })
    }

    /// Everything is mended, and every order taken back.
    fn mend(&mut self) {
        for index in 0..2 {
            self.sidecars[index].set_clock(0, self.now_ms, &self.truth);
        }
        self.truth.mend(self.now_ms);
        self.run(24 * HOUR_MS);
        self.reload(self.policy.clone());
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

/// Every rule of docs/decision.md that people hear of when it moves something or is an alarm, and what
/// the laws count: a simulation without one of them has lost a corner.
const HEARD: [&str; 16] = [
    "hold",
    "start",
    "drain",
    "failover",
    "cut-off",
    "all-down-keep",
    "all-down-first",
    "all-down-withdraw",
    "rotation",
    "preempt",
    "family",
    "family-down",
    "family-up",
    "standby",
    "blind",
    "steady",
];
const JUDGED: [&str; 8] = [
    "compared",
    "blind check",
    "loud: all down",
    "loud: blind",
    "silent, and well",
    "preempt",
    "primary gone",
    "nobody to fail over to",
];

#[test]
fn years() {
    let (seed, days) = (number("SIMULATION_SEED").unwrap_or(1), number("SIMULATION_DAYS").unwrap_or(DAYS));
    let only = env::var("SIMULATION_POLICY").ok();
    let policies: Vec<_> =
        policies().into_iter().filter(|(policy, _)| only.as_deref().is_none_or(|only| only == *policy)).collect();
    assert!(!policies.is_empty(), "SIMULATION_POLICY: no such policy");
    let seeds = seed..=seed + number("SIMULATION_SEEDS").unwrap_or(1) - 1;
    let heard = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for (policy, settings) in policies {
            let (seeds, heard) = (seeds.clone(), &heard);
            scope.spawn(move || {
                for seed in seeds {
                    for (word, count) in live_under(policy, &settings, seed, days) {
                        *heard.lock().unwrap().entry(word).or_insert(0) += count;
                    }
                }
            });
        }
    });
    let heard = heard.into_inner().unwrap();
    eprintln!("{heard:?}");
    if only.is_none() && days >= DAYS {
        let missing = HEARD.iter().chain(&JUDGED).find(|word| !heard.contains_key(**word));
        assert_eq!(missing, None, "of this was heard nothing");
    }
}

fn live_under(policy: &str, settings: &Settings, seed: u64, days: u64) -> BTreeMap<String, u64> {
    let _repeat = Repeat { seed, policy };
    let started = Instant::now();
    // Each policy has a life of its own.
    let mut world =
        World::new(policy.bytes().fold(seed, |seed, byte| seed.rotate_left(8) ^ u64::from(byte)), settings.clone());
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
    eprintln!("{policy} {seed}: {days} days twice in {:?}, compared {} times", started.elapsed(), world.compared);
    let mut heard = world.sidecars[0].laws.heard();
    heard.insert("compared".to_owned(), world.compared);
    heard.retain(|_, count| *count > 0);
    heard
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
    let pools: Vec<Pool> =
        nodes.chunks(5).enumerate().map(|(at, nodes)| pool(&format!("pool{at}"), nodes, &CHECKS[..1])).collect();
    let now = |monotonic_ms: u64| Now { monotonic_ms, unix_ms: START_UNIX_MS + monotonic_ms as i64 };
    let settings = Settings {
        pools,
        checks: vec![check(CHECKS[0], 10 * SECOND_MS, 2, 3)],
        zones: Vec::new(),
        ..Settings::default()
    };
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
