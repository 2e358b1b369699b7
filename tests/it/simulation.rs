//! The control plane in a simulated world: a year of lost packets, outages, partitions, orders,
//! restarts, clock jumps and rotations over New Year, from a seed. After each event the laws are
//! checked that must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nsd_failover::director::Director;
use nsd_failover::director::effect::{Decision, Effect, Transition};
use nsd_failover::director::event::{Action, Event, ExportReport, ExportResult, Order, Target};
use nsd_failover::director::settings::{Settings, ZoneSettings};
use nsd_failover::director::state::State;
use nsd_failover::export::serial::{SerialScheme, is_newer};
use nsd_failover::failover::decide::preference;
use nsd_failover::failover::pool::{Families, Node, Pool, PoolRoles, Preempt, Roles, Rotate, WhenAllDown};
use nsd_failover::health::check::{Check, Http, Kind, Outcome};
use nsd_failover::health::family::{Family, PerFamily};
use nsd_failover::health::time::Now;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// 2025-12-20 00:00:00 UTC.
const START_UNIX_MS: i64 = 1_766_188_800_000;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

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
        preempt: Preempt::After(5 * MINUTE_MS),
        when_all_down: WhenAllDown::Keep,
        families: Families::Together,
        min_hold_ms: 0,
        ttl_min_s: None,
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

fn zone(name: &str, pools: &[usize]) -> ZoneSettings {
    let roles = Roles { primary: Some(0), standby: Some(1) };
    ZoneSettings {
        origin: name.parse().unwrap(),
        pools: pools.to_vec(),
        scheme: SerialScheme::Unixtime,
        serial_in_file: 1_700_000_000,
        roles_in_file: vec![Some(PoolRoles { ipv4: roles, ipv6: roles }); pools.len()],
        export: true,
        content: None,
        is_signed: false,
    }
}

/// Two pools that share a node, two zones; `bend` makes the policies.
fn settings(bend: impl Fn(&mut Pool)) -> Settings {
    let (a, b, c) = (node("a", 1), node("b", 2), node("c", 3));
    let mut pools = vec![pool("web", &[a.clone(), b.clone()]), pool("mail", &[b, c, a])];
    pools.iter_mut().for_each(bend);
    Settings {
        pools,
        checks: vec![check(20 * MINUTE_MS)],
        zones: vec![zone("one.example", &[0]), zone("all.example", &[0, 1])],
        ..Settings::default()
    }
}

/// Everything outside the director: what is true, what is on its way, what must not be forgotten.
struct World {
    random: Random,
    director: Director,
    settings: Settings,
    now: Now,
    /// What was last written to disk.
    disk: Option<State>,
    /// When each node and family is up again.
    broken_until_ms: HashMap<(String, Family), u64>,
    cut_off_until_ms: u64,
    lossy_until_ms: u64,
    /// Ends of probes and exports under way.
    coming: BTreeMap<(u64, u64), Event>,
    probing: BTreeSet<Target>,
    exporting: BTreeSet<usize>,
    sequence: u64,
    /// The orders that stand: pool to node and end in Unix time; drained nodes.
    holds: BTreeMap<String, (Option<String>, Option<i64>)>,
    drains: BTreeMap<String, Option<i64>>,
    in_force: Decision,
    /// When each pool and family last moved by itself, in this run.
    moved_ms: HashMap<(String, Family), u64>,
    swaps: u64,
    transitions: Vec<Transition>,
}

impl World {
    fn new(seed: u64, settings: Settings) -> World {
        let now = Now { monotonic_ms: 0, unix_ms: START_UNIX_MS };
        World {
            random: Random(seed),
            director: Director::new(settings.clone(), None, now),
            settings,
            now,
            disk: None,
            broken_until_ms: HashMap::new(),
            cut_off_until_ms: 0,
            lossy_until_ms: 0,
            coming: BTreeMap::new(),
            probing: BTreeSet::new(),
            exporting: BTreeSet::new(),
            sequence: 0,
            holds: BTreeMap::new(),
            drains: BTreeMap::new(),
            in_force: Decision::default(),
            moved_ms: HashMap::new(),
            swaps: 0,
            transitions: Vec::new(),
        }
    }

    fn pass_to(&mut self, monotonic_ms: u64) {
        let passed_ms = monotonic_ms - self.now.monotonic_ms;
        self.now = Now { monotonic_ms, unix_ms: self.now.unix_ms + passed_ms as i64 };
    }

    /// Runs without mishaps for a time.
    fn run(&mut self, for_ms: u64) {
        let end_ms = self.now.monotonic_ms + for_ms;
        loop {
            let coming_ms = self.coming.keys().next().map(|(at_ms, _)| *at_ms);
            let wakeup_ms = self.director.next_wakeup_ms();
            let next_ms = [coming_ms, wakeup_ms].into_iter().flatten().min().unwrap_or(u64::MAX);
            if next_ms > end_ms {
                break;
            }
            self.pass_to(next_ms.max(self.now.monotonic_ms));
            let event =
                if coming_ms == Some(next_ms) { self.coming.pop_first().expect("it is there").1 } else { Event::Tick };
            self.tell(event);
        }
        self.pass_to(end_ms);
    }

    fn tell(&mut self, event: Event) {
        match &event {
            Event::Probed { target, .. } => assert!(self.probing.remove(target)),
            Event::Exported(report) => {
                let zone = self.settings.zones.iter().position(|zone| zone.origin.to_string() == report.zone);
                self.exporting.remove(&zone.unwrap());
            }
            _ => {}
        }
        let effects = self.director.handle(event, self.now);
        self.carry_out(effects);
        self.orders_are_obeyed();
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Swap(decision) => self.swapped(&decision),
                Effect::Persist => {
                    let state = self.director.state();
                    if self.random.chance(2) {
                        let text = serde_json::to_string(&state).unwrap();
                        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
                    }
                    self.disk = Some(state);
                }
                Effect::Probe(target) => self.probe(target),
                Effect::Export { zone, generation, serial } => self.export(zone, generation, serial),
                Effect::Notify(transition) => self.told(&transition),
            }
        }
    }

    fn later(&mut self, after_ms: u64, event: Event) {
        self.sequence += 1;
        self.coming.insert((self.now.monotonic_ms + after_ms, self.sequence), event);
    }

    fn is_true(&self, node: &str, family: Family) -> bool {
        let now_ms = self.now.monotonic_ms;
        let until_ms = self.broken_until_ms.get(&(node.to_owned(), family)).copied().unwrap_or(0);
        until_ms <= now_ms && self.cut_off_until_ms <= now_ms
    }

    fn probe(&mut self, target: Target) {
        assert!(self.probing.insert(target.clone()), "two probes of {target:?} at a time");
        let is_lost = self.lossy_until_ms > self.now.monotonic_ms && self.random.chance(20);
        let success = match self.is_true(&target.node, target.family) && !is_lost {
            _ if self.random.chance(1) => None,
            good => Some(good),
        };
        let duration_ms = if success == Some(true) { 5 + self.random.below(200) } else { 15 * SECOND_MS };
        let word = if success == Some(true) { "L7OK" } else { "L4TOUT" }.to_owned();
        let outcome = Outcome { success, word, detail: String::new(), duration_ms, ..Outcome::default() };
        self.later(duration_ms, Event::Probed { target, outcome });
    }

    fn export(&mut self, zone: usize, generation: u64, serial: u32) {
        assert_eq!(serial, self.in_force.serials[zone], "memory and export carry the same serial");
        assert_eq!(generation, self.in_force.generation);
        assert!(self.exporting.insert(zone), "one export of a zone at a time");
        let result = if self.random.chance(10) { ExportResult::RolledBack } else { ExportResult::Served };
        let took_ms = 100 + self.random.below(20_000);
        let report = ExportReport {
            zone: self.settings.zones[zone].origin.to_string(),
            generation,
            serial,
            result,
            detail: String::new(),
            unix_ms: self.now.unix_ms,
            duration_ms: took_ms,
        };
        self.later(took_ms, Event::Exported(report));
    }

    fn told(&mut self, transition: &Transition) {
        assert!(!transition.reason.is_empty());
        assert_eq!(transition.generation, self.in_force.generation);
        self.transitions.push(transition.clone());
        if ["hold", "drain", "rotation", "start", "standby"].contains(&transition.rule.as_str()) {
            return;
        }
        let pool = self.settings.pools.iter().find(|pool| pool.name == transition.pool).unwrap();
        for family in &transition.families {
            let now_ms = self.now.monotonic_ms;
            if let Some(last_ms) = self.moved_ms.insert((pool.name.clone(), *family), now_ms) {
                assert!(now_ms - last_ms >= pool.min_hold_ms, "two moves within min-hold: {transition:?}");
            }
        }
    }

    fn swapped(&mut self, decision: &Decision) {
        self.swaps += 1;
        if decision.generation == self.in_force.generation {
            let Decision { ttl_max_s, .. } = decision.clone();
            assert_eq!(*decision, Decision { ttl_max_s, ..self.in_force.clone() }, "nothing but bounds is new");
        } else {
            assert!(decision.generation > self.in_force.generation, "the generation only grows");
        }
        assert_eq!(decision.serials.len(), self.settings.zones.len());
        for (new, old) in decision.serials.iter().zip(&self.in_force.serials) {
            assert!(new == old || is_newer(*new, *old), "serial went from {old} to {new}");
        }
        for (index, pool) in self.settings.pools.iter().enumerate() {
            let before = self.in_force.pools.get(index);
            for family in Family::ALL {
                let roles = decision.pools[index][family];
                match roles.primary {
                    Some(node) if before.is_some_and(|before| before[family].primary != Some(node)) => {
                        self.promoted(pool, node, family);
                    }
                    Some(_) => {}
                    None => {
                        let told = pool.when_all_down == WhenAllDown::Withdraw || pool.families == Families::Withdraw;
                        assert!(told, "an empty RRset was published");
                    }
                }
                assert!(roles.standby.is_none() || roles.standby != roles.primary);
            }
        }
        self.in_force = decision.clone();
    }

    /// Nobody is promoted who is not up, but on order or where the policy says so.
    fn promoted(&self, pool: &Pool, node: usize, family: Family) {
        let status = self.director.status(self.now);
        let rule = &status.pools.iter().find(|status| status.name == pool.name).unwrap().rule;
        if self.holds.contains_key(&pool.name) || pool.when_all_down == WhenAllDown::First || rule == "hold" {
            return;
        }
        let name = &pool.nodes[node].name;
        // A family over which nobody is up has no say, unless it is decided on its own.
        let members = status.nodes.iter().filter(|status| pool.nodes.iter().any(|node| node.name == status.name));
        let up = members.flat_map(|status| &status.checks).filter(|check| check.verdict == "up");
        let heard: BTreeSet<Family> = up.map(|check| check.family).collect();
        let has_say = |family| pool.families == Families::Independent || heard.contains(&family);
        let status = status.nodes.iter().find(|status| status.name == *name).unwrap();
        let counts = |checked: Family| match pool.families {
            Families::Together => true,
            Families::Independent | Families::Withdraw => checked == family,
        };
        for check in status.checks.iter().filter(|check| counts(check.family) && has_say(check.family)) {
            assert_eq!(check.verdict, "up", "{name} was promoted in {} by {rule}: {status:?}", pool.name);
        }
    }

    fn orders_are_obeyed(&mut self) {
        let now_ms = self.now.unix_ms;
        self.holds.retain(|_, (_, until_ms)| until_ms.is_none_or(|until_ms| until_ms > now_ms));
        self.drains.retain(|_, until_ms| until_ms.is_none_or(|until_ms| until_ms > now_ms));
        if self.in_force.pools.is_empty() {
            return;
        }
        let primary = |pool: &str| {
            let index = self.settings.pools.iter().position(|known| known.name == pool).unwrap();
            self.in_force.pools[index].ipv4.primary.map(|node| self.settings.pools[index].nodes[node].name.clone())
        };
        for (pool, (node, _)) in &self.holds {
            assert_eq!(primary(pool), *node, "the hold on {pool} was lost");
        }
    }

    fn drains_are_known(&self) {
        let status = self.director.status(self.now);
        let drained = status.nodes.iter().filter(|node| node.drain.is_some()).map(|node| &node.name);
        assert!(drained.eq(self.drains.keys()), "{:?} against {:?}", status.nodes, self.drains);
    }

    fn order(&mut self, action: Action, for_s: Option<u64>) {
        let order = Order { action: action.clone(), reason: Some("simulated".to_owned()), for_s };
        assert_eq!(self.director.order(&order), Ok(()));
        let until_ms = for_s.map(|for_s| self.now.unix_ms + for_s as i64 * 1_000);
        match action {
            Action::Switch { pool, node } => drop(self.holds.insert(pool, (Some(node), until_ms))),
            Action::Hold { pool } => {
                let index = self.settings.pools.iter().position(|known| known.name == pool).unwrap();
                let node = self.in_force.pools[index].ipv4.primary;
                let node = node.map(|node| self.settings.pools[index].nodes[node].name.clone());
                self.holds.insert(pool, (node, until_ms));
            }
            Action::Release { pool } => drop(self.holds.remove(&pool)),
            Action::Drain { node } => drop(self.drains.insert(node, until_ms)),
            Action::Ready { node } => drop(self.drains.remove(&node)),
        }
        self.tell(Event::Ordered(order));
    }

    /// The process ends, by order or by a crash, and comes back after a while.
    fn restart(&mut self, is_clean: bool, away_ms: u64) {
        let state = if is_clean { Some(self.director.final_state()) } else { self.disk.clone() };
        self.coming.clear();
        self.probing.clear();
        self.exporting.clear();
        self.moved_ms.clear();
        self.pass_to(self.now.monotonic_ms + away_ms);
        let aged = |until_ms: &mut u64| *until_ms = until_ms.saturating_sub(self.now.monotonic_ms);
        self.broken_until_ms.values_mut().for_each(aged);
        aged(&mut self.cut_off_until_ms);
        aged(&mut self.lossy_until_ms);
        self.now.monotonic_ms = 0;
        self.director = Director::new(self.settings.clone(), state, self.now);
        self.tell(Event::Tick);
    }

    /// Something happens.
    fn mishap(&mut self) {
        let nodes = ["a", "b", "c"];
        let pools = ["web", "mail"];
        let now_ms = self.now.monotonic_ms;
        let for_ms = MINUTE_MS + self.random.below(6 * HOUR_MS);
        let for_s = self.random.chance(50).then_some(for_ms / 1_000);
        let node = (*self.random.pick(&nodes)).to_owned();
        let pool = (*self.random.pick(&pools)).to_owned();
        match self.random.below(20) {
            0..6 => {
                for family in Family::ALL {
                    if self.random.chance(70) {
                        self.broken_until_ms.insert((node.clone(), family), now_ms + for_ms);
                    }
                }
            }
            6..9 => self.lossy_until_ms = now_ms + for_ms,
            9 => self.cut_off_until_ms = now_ms + for_ms,
            10 => {
                let node = if pool == "web" && node == "c" { "a".to_owned() } else { node };
                self.order(Action::Switch { pool, node }, for_s);
            }
            11 => self.order(Action::Hold { pool }, for_s),
            12 | 13 => self.order(Action::Release { pool }, None),
            14 => self.order(Action::Drain { node }, for_s),
            15 => self.order(Action::Ready { node }, None),
            16 => self.restart(true, for_ms / 60),
            17 => self.restart(false, for_ms / 60),
            18 => {
                // The clock jumps by up to a day, either way.
                self.now.unix_ms += self.random.below(2 * DAY_MS) as i64 - DAY_MS as i64;
                self.tell(Event::Tick);
            }
            _ => self.tell(Event::Reloaded(Box::new(self.settings.clone()))),
        }
    }

    fn live(&mut self, days: u64) {
        let end_ms = days * DAY_MS;
        let mut lived_ms = 0;
        while lived_ms < end_ms {
            // Mishaps like company.
            let calm_ms = if self.random.chance(40) { 20 * MINUTE_MS } else { 8 * HOUR_MS };
            let calm_ms = MINUTE_MS + self.random.below(calm_ms);
            self.run(calm_ms);
            lived_ms += calm_ms;
            self.mishap();
            self.drains_are_known();
        }
    }

    /// Everything is mended, and every order taken back.
    fn mend(&mut self) {
        self.broken_until_ms.clear();
        self.cut_off_until_ms = 0;
        self.lossy_until_ms = 0;
        for pool in ["web", "mail"] {
            self.order(Action::Release { pool: pool.to_owned() }, None);
        }
        for node in ["a", "b", "c"] {
            self.order(Action::Ready { node: node.to_owned() }, None);
        }
    }
}

fn policies() -> Vec<(&'static str, Settings)> {
    vec![
        ("default", settings(|_| {})),
        ("one way", settings(|pool| pool.preempt = Preempt::Never)),
        ("min-hold", settings(|pool| pool.min_hold_ms = 2 * HOUR_MS)),
        ("withdraw when all down", settings(|pool| pool.when_all_down = WhenAllDown::Withdraw)),
        ("first when all down", settings(|pool| pool.when_all_down = WhenAllDown::First)),
        ("families independent", settings(|pool| pool.families = Families::Independent)),
        ("families withdraw", settings(|pool| pool.families = Families::Withdraw)),
        ("no rotation", settings(|pool| pool.rotate = Rotate::Never)),
    ]
}

#[test]
fn a_year_of_mishaps() {
    std::thread::scope(|scope| {
        for (index, (policy, settings)) in policies().into_iter().enumerate() {
            scope.spawn(move || mishaps_under(policy, settings, index as u64));
        }
    });
}

fn mishaps_under(policy: &str, settings: Settings, seed: u64) {
    let mut world = World::new(seed, settings);
    world.live(46);
    assert!(world.swaps > 100, "{policy}: {} swaps are no test", world.swaps);
    // In the end everything is well again, and with it every answer.
    world.mend();
    world.run(3 * HOUR_MS);
    let status = world.director.status(world.now);
    assert!(status.ready);
    assert!(status.nodes.iter().flat_map(|node| &node.checks).all(|check| check.verdict == "up"), "{policy}");
    for (pool, roles) in world.settings.pools.iter().zip(&world.in_force.pools) {
        let preferred = preference(pool, world.now.unix_ms).next();
        if pool.preempt != Preempt::Never {
            let primaries = PerFamily::from_fn(|family| roles[family].primary);
            assert_eq!(primaries, PerFamily { ipv4: preferred, ipv6: preferred }, "{policy}: {}", pool.name);
        }
    }
    assert!(world.exporting.is_empty());
    for zone in &status.zones {
        assert_eq!(zone.serial_at_nsd, Some(zone.serial), "{policy}: nsd did not follow");
    }
}

/// Two hosts that see the same decide the same, without talking: over New Year, too.
#[test]
fn two_hosts_agree() {
    let settings = settings(|_| {});
    let mut hosts = [World::new(1, settings.clone()), World::new(2, settings)];
    let mut mishaps = Random(3);
    for _ in 0..30 {
        let broken = *mishaps.pick(&["a", "b", "c"]);
        for host in &mut hosts {
            for family in Family::ALL {
                let until_ms = host.now.monotonic_ms + 12 * HOUR_MS;
                host.broken_until_ms.insert((broken.to_owned(), family), until_ms);
            }
            host.run(6 * HOUR_MS);
        }
        assert_eq!(hosts[0].in_force.pools, hosts[1].in_force.pools, "while {broken} is down");
        hosts.iter_mut().for_each(|host| host.run(18 * HOUR_MS));
        assert_eq!(hosts[0].in_force.pools, hosts[1].in_force.pools, "after {broken} was down");
    }
}

/// The rotation turns at each Monday 00:00 UTC, New Year or not, and nothing else moves.
#[test]
fn rotation_over_new_year() {
    let mut world = World::new(4, settings(|_| {}));
    world.run(60 * DAY_MS);
    let turns: Vec<&Transition> = world.transitions.iter().filter(|told| told.pool == "web").collect();
    // The first is that of the running week, as soon as it is confirmed; the files may say otherwise.
    let planned: Vec<&&Transition> =
        turns.iter().skip_while(|told| told.unix_ms < START_UNIX_MS + DAY_MS as i64).collect();
    let mut monday = START_UNIX_MS + 2 * DAY_MS as i64;
    assert_eq!(planned.len(), 9, "{turns:#?}");
    for turn in planned {
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
