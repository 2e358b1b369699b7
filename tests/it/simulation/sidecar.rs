//! One host with its director: carries out what the director wants, with a disk, probes and exports
//! that take their time, and a clock that may be wrong. Its laws are looked after at each step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nsd_failover::director::Director;
use nsd_failover::director::effect::Effect;
use nsd_failover::director::event::{Action, Event, ExportReport, ExportResult, Order, Target};
use nsd_failover::director::settings::Settings;
use nsd_failover::director::state::State;
use nsd_failover::director::status::Status;
use nsd_failover::failover::pool::{Node, PoolToldRoles, Told, ToldRoles};
use nsd_failover::health::check::Outcome;
use nsd_failover::health::family::PerFamily;
use nsd_failover::health::time::Now;

use super::START_UNIX_MS;
use super::laws::Laws;
use super::truth::{Random, Truth};
use super::view::LOST_MS;

/// Events that a trace holds.
const TRACE_MAX: usize = 200;

pub struct Sidecar {
    /// Which of the two it is.
    index: usize,
    random: Random,
    settings: Settings,
    director: Director,
    pub laws: Laws,
    /// When its process started, and how wrong its clock is.
    started_ms: u64,
    clock_error_ms: i64,
    /// When its process is back; `None`: it runs.
    pub away_until_ms: Option<u64>,
    /// What was written last.
    disk: Option<State>,
    /// The zone files, and what the exports under way would make of them.
    files: Vec<ZoneFile>,
    drafts: Vec<ZoneFile>,
    /// Ends of probes and exports under way.
    coming: BTreeMap<(u64, u64), Event>,
    probing: BTreeSet<Target>,
    pub exporting: BTreeSet<usize>,
    sequence: u64,
    /// The last events, if SIMULATION_TRACE is set: told when a law is broken.
    trace: Option<VecDeque<String>>,
}

/// What a zone file says: its serial, and who holds the roles of each of its pools, by name.
#[derive(Clone)]
struct ZoneFile {
    serial: u32,
    /// `None`: as the settings of the start have it.
    roles: Option<Vec<PerFamily<[Option<String>; 2]>>>,
}

impl Sidecar {
    pub fn new(index: usize, seed: u64, settings: Settings) -> Sidecar {
        // They are not started in the same moment: their jitter differs.
        let started_ms = 7_000 * index as u64;
        let now = Now { monotonic_ms: 0, unix_ms: START_UNIX_MS + started_ms as i64 };
        let new = |serial| ZoneFile { serial, roles: None };
        let files: Vec<ZoneFile> = settings.zones.iter().map(|zone| new(zone.serial_in_file)).collect();
        Sidecar {
            index,
            random: Random(seed ^ (index as u64 + 1).rotate_left(32)),
            director: Director::new(settings.clone(), None, now),
            laws: Laws::new(settings.clone()),
            settings,
            started_ms,
            clock_error_ms: 0,
            away_until_ms: None,
            disk: None,
            drafts: files.clone(),
            files,
            coming: BTreeMap::new(),
            probing: BTreeSet::new(),
            exporting: BTreeSet::new(),
            sequence: 0,
            trace: std::env::var_os("SIMULATION_TRACE").map(|_| VecDeque::new()),
        }
    }

    /// When something happens here by itself.
    pub fn next_ms(&self) -> u64 {
        if let Some(back_ms) = self.away_until_ms {
            return back_ms;
        }
        let coming_ms = self.coming.keys().next().map(|(at_ms, _)| *at_ms);
        let wakeup_ms = self.director.next_wakeup_ms().map(|at_ms| at_ms + self.started_ms);
        [coming_ms, wakeup_ms].into_iter().flatten().min().unwrap_or(u64::MAX).max(self.started_ms)
    }

    /// Lets that happen.
    pub fn step(&mut self, now_ms: u64, truth: &Truth) {
        if self.away_until_ms.take().is_some() {
            return self.come_back(now_ms, truth);
        }
        let event = match self.coming.first_entry() {
            Some(first) if first.key().0 <= now_ms => first.remove(),
            _ => Event::Tick,
        };
        self.tell(event, now_ms, truth);
    }

    fn tell(&mut self, event: Event, now_ms: u64, truth: &Truth) {
        let now = self.now(now_ms);
        match &event {
            // A reload may have taken it out meanwhile: then nobody waits for it.
            Event::Probed { target, outcome } if self.probing.remove(target) => {
                self.laws.probed(target, outcome.success, now_ms);
            }
            Event::Exported(report) => {
                let zone = self.settings.zones.iter().position(|zone| zone.origin.to_string() == report.zone);
                self.exporting.remove(&zone.unwrap());
                if report.result == ExportResult::Served {
                    self.files[zone.unwrap()] = self.drafts[zone.unwrap()].clone();
                }
            }
            _ => {}
        }
        let shown = self.trace.is_some().then(|| shown(&event));
        let effects = self.director.handle(event, now);
        if let Some(shown) = shown {
            let news = effects.iter().filter(|effect| matches!(effect, Effect::Swap(_) | Effect::Notify(_)));
            let news: Vec<_> = news.collect();
            if !news.is_empty() || shown != "Tick" {
                self.note(now_ms, &format!("{shown} {news:?}"));
            }
        }
        let has_moved = effects.iter().any(|effect| matches!(effect, Effect::Swap(_) | Effect::Notify(_)));
        for effect in effects {
            match effect {
                Effect::Swap(decision) => self.laws.swapped(&decision, now_ms, now.unix_ms),
                Effect::Persist => self.disk = Some(self.director.state()),
                Effect::Probe(target) => self.probe(target, now_ms, truth),
                Effect::Export { zone, generation, serial } => self.export(zone, generation, serial, now_ms),
                Effect::Notify(transition) => self.laws.told(&transition, now_ms, now.unix_ms),
            }
        }
        if has_moved {
            self.laws.settle(now_ms, now.unix_ms);
        }
    }

    fn note(&mut self, now_ms: u64, text: &str) {
        let Some(trace) = &mut self.trace else { return };
        trace.push_back(format!("{:.3} {text}", now_ms as f64 / 1e3));
        trace.drain(..trace.len().saturating_sub(TRACE_MAX));
    }

    fn now(&self, now_ms: u64) -> Now {
        Now { monotonic_ms: now_ms - self.started_ms, unix_ms: START_UNIX_MS + now_ms as i64 + self.clock_error_ms }
    }

    fn later(&mut self, at_ms: u64, event: Event) {
        self.sequence += 1;
        self.coming.insert((at_ms, self.sequence), event);
    }

    fn probe(&mut self, target: Target, now_ms: u64, truth: &Truth) {
        assert!(self.probing.insert(target.clone()), "two probes of {target:?} at a time");
        let success = truth.answers(self.index, &target, now_ms, &mut self.random);
        let success = success.filter(|_| self.random.below(200) > 0);
        let duration_ms = if success == Some(true) { 5 + self.random.below(200) } else { LOST_MS };
        let word = match success {
            Some(true) => "L7OK",
            Some(false) => "L4TOUT",
            None => "UNK",
        };
        let word = word.to_owned();
        let outcome = Outcome { success, word, duration_ms, ..Outcome::default() };
        self.later(now_ms + duration_ms, Event::Probed { target, outcome });
    }

    fn export(&mut self, zone: usize, generation: u64, serial: u32, now_ms: u64) {
        self.laws.exported(zone, generation, serial);
        let written = self.disk.as_ref().map_or(0, |state| state.generation);
        assert!(generation <= written, "exported before it was written down");
        assert!(self.exporting.insert(zone), "one export of a zone at a time");
        self.drafts[zone] = self.draft(zone, serial);
        let result = if self.random.chance(10) { ExportResult::RolledBack } else { ExportResult::Served };
        let duration_ms = 100 + self.random.below(20_000);
        let report = ExportReport {
            zone: self.settings.zones[zone].origin.to_string(),
            generation,
            serial,
            result,
            detail: String::new(),
            unix_ms: self.now(now_ms).unix_ms,
            duration_ms,
        };
        self.later(now_ms + duration_ms, Event::Exported(report));
    }

    /// What the files will say: what is in force.
    fn draft(&self, zone: usize, serial: u32) -> ZoneFile {
        let in_force = self.laws.in_force.as_ref().unwrap();
        let roles = |pool: &usize| {
            let name = |node: Option<usize>| node.map(|node| self.settings.pools[*pool].nodes[node].name.clone());
            let roles = &in_force.pools[*pool];
            PerFamily::from_fn(|family| [name(roles[family].primary), name(roles[family].standby)])
        };
        ZoneFile { serial, roles: Some(self.settings.zones[zone].pools.iter().map(roles).collect()) }
    }

    /// The settings as they are loaded, with what the zone files say now.
    fn load(&mut self, settings: &Settings) {
        self.settings = settings.clone();
        for (zone, file) in self.settings.zones.iter_mut().zip(&self.files) {
            zone.serial_in_file = file.serial;
            let Some(roles) = &file.roles else { continue };
            let pools = zone.pools.iter().map(|pool| &self.settings.pools[*pool].nodes);
            zone.roles_in_file = pools.zip(roles).map(|(nodes, roles)| told(nodes, roles)).collect();
        }
    }

    /// An order is obeyed if it names what there is; else it is refused, and changes nothing.
    pub fn order(&mut self, action: Action, for_s: Option<u64>, now_ms: u64, truth: &Truth) {
        let order = Order { action, reason: Some("simulated".to_owned()), for_s };
        let is_obeyed = self.director.order(&order).is_ok();
        assert_eq!(is_obeyed, self.laws.can_obey(&order.action), "{order:?}");
        if is_obeyed {
            self.laws.ordered(&order, now_ms, self.now(now_ms).unix_ms);
        }
        self.tell(Event::Ordered(order), now_ms, truth);
        let written = self.disk.as_ref().unwrap();
        assert_eq!(written.orders, self.director.state().orders, "an order is written down at once");
    }

    /// The process ends, in good order or by a crash, and comes back after a while.
    pub fn leave(&mut self, is_clean: bool, back_ms: u64) {
        if is_clean {
            self.disk = Some(self.director.final_state());
        }
        self.away_until_ms = Some(back_ms);
    }

    fn come_back(&mut self, now_ms: u64, truth: &Truth) {
        // Through the file: what is not in it is lost.
        let saved = self.disk.take().map(|state| {
            let text = serde_json::to_string(&state).unwrap();
            let read: State = serde_json::from_str(&text).unwrap();
            assert_eq!(read, state);
            read
        });
        self.note(now_ms, "back");
        self.disk = saved.clone();
        self.coming.clear();
        self.probing.clear();
        // The end of the process has interrupted them before or after the new file was in place.
        for zone in std::mem::take(&mut self.exporting) {
            if self.random.chance(50) {
                self.files[zone] = self.drafts[zone].clone();
            }
        }
        self.started_ms = now_ms;
        let now = self.now(now_ms);
        let settings = self.settings.clone();
        self.load(&settings);
        self.laws.restarted(self.settings.clone(), saved.as_ref(), now_ms, now.unix_ms);
        self.director = Director::new(self.settings.clone(), saved, now);
        self.tell(Event::Tick, now_ms, truth);
    }

    /// The clock is set to be wrong by so much.
    pub fn set_clock(&mut self, error_ms: i64, now_ms: u64, truth: &Truth) {
        let by_ms = error_ms - self.clock_error_ms;
        self.clock_error_ms = error_ms;
        self.note(now_ms, &format!("clock set by {by_ms} ms"));
        self.laws.clock_jumped(by_ms, now_ms);
        if self.away_until_ms.is_none() {
            self.tell(Event::Tick, now_ms, truth);
        }
    }

    /// A process that is away finds the settings when it is back.
    pub fn reload(&mut self, settings: &Settings, now_ms: u64, truth: &Truth) {
        let is_known = (&self.settings.pools, &self.settings.checks) == (&settings.pools, &settings.checks);
        self.load(settings);
        if self.away_until_ms.is_some() {
            return;
        }
        let before = (is_known && !self.laws.is_pending).then(|| self.laws.in_force.as_ref().unwrap().pools.clone());
        self.note(now_ms, &format!("other settings: {:?} {:?}", self.settings.pools, self.settings.checks));
        self.laws.reloaded(self.settings.clone(), now_ms);
        // Nobody waits any more for what nobody wants to know.
        self.probing.retain(|target| self.laws.looks_at(target));
        self.tell(Event::Reloaded(Box::new(self.settings.clone())), now_ms, truth);
        if let Some(before) = before {
            assert_eq!(self.laws.in_force.as_ref().unwrap().pools, before, "a second look without any news");
        }
    }

    pub fn clock_error_ms(&self) -> i64 {
        self.clock_error_ms
    }

    /// What the director says of itself agrees with what was seen from outside.
    pub fn agrees_with_its_status(&mut self, now_ms: u64) {
        let status = self.status(now_ms);
        self.laws.agree(&status, now_ms, status.unix_ms);
    }

    pub fn status(&self, now_ms: u64) -> Status {
        self.director.status(self.now(now_ms))
    }
}

/// Who holds the roles by the addresses in a file; `None` if one is nobody's.
fn told(nodes: &[Node], roles: &PerFamily<[Option<String>; 2]>) -> Option<PoolToldRoles> {
    let mut is_known = true;
    let mut told = |name: &Option<String>| match name {
        None => Told::Withdrawn,
        Some(name) => match nodes.iter().position(|node| node.name == *name) {
            Some(node) => Told::Node(node),
            None => {
                is_known = false;
                Told::Nothing
            }
        },
    };
    let roles = PerFamily::from_fn(|family| {
        let [primary, standby] = &roles[family];
        ToldRoles { primary: told(primary), standby: told(standby) }
    });
    is_known.then_some(roles)
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let index = self.index;
            self.trace.iter().flatten().for_each(|line| eprintln!("sidecar {index}: {line}"));
        }
    }
}

fn shown(event: &Event) -> String {
    match event {
        Event::Probed { target, outcome } => format!("{} {} {:?}", target.node, target.family, outcome.success),
        Event::Reloaded(_) => "reloaded".to_owned(),
        event => format!("{event:?}"),
    }
}
