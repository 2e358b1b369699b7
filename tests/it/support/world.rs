//! The director in a small world, where each host answers as a function of the time says.

use std::collections::BTreeMap;

use nsd_failover::director::Director;
use nsd_failover::director::effect::{Decision, Effect, Transition};
use nsd_failover::director::event::{Event, Target};
use nsd_failover::director::settings::Settings;
use nsd_failover::director::state::State;
use nsd_failover::failover::pool::{Node, Pool};
use nsd_failover::health::check::{Check, Http, Kind, Outcome};
use nsd_failover::health::family::Family;
use nsd_failover::health::time::Now;

pub const SECOND_MS: u64 = 1_000;
pub const DAY_MS: u64 = 86_400 * SECOND_MS;

/// 2026-01-06 12:00:00 UTC, a Tuesday.
pub const START_UNIX_MS: i64 = 1_767_700_800_000;

/// One pool of these nodes with one check, both bent as the test wants them.
pub fn settings(nodes: &[&str], bend: impl FnOnce(&mut Pool, &mut Check)) -> Settings {
    let node = |(name, last): (&&str, u8)| Node {
        name: (*name).to_owned(),
        ipv4: Some([192, 0, 2, last].into()),
        ipv6: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)].into()),
    };
    let mut pool = Pool {
        name: "web".to_owned(),
        nodes: nodes.iter().zip(1..).map(node).collect(),
        checks: vec!["web".to_owned()],
        ..Pool::default()
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
type Answers<'a> = Box<dyn Fn(&Target, u64) -> Option<bool> + 'a>;

pub struct World<'a> {
    pub director: Director,
    pub now: Now,
    coming: BTreeMap<(u64, u64), Target>,
    sequence: u64,
    /// A node whose probes take so many milliseconds.
    pub slow: Option<(String, u64)>,
    /// When each probe was started.
    pub probes: Vec<(u64, Target)>,
    answers: Answers<'a>,
    pub swaps: Vec<(u64, Decision)>,
    pub told: Vec<(u64, Transition)>,
}

impl<'a> World<'a> {
    /// `answers` says whether a probe is good (`None`: it could not say).
    pub fn new<A: Into<Option<bool>>>(
        settings: Settings,
        unix_ms: i64,
        answers: impl Fn(&Target, u64) -> A + 'a,
    ) -> World<'a> {
        let now = Now { monotonic_ms: 0, unix_ms };
        World {
            director: Director::new(settings, None, now),
            now,
            coming: BTreeMap::new(),
            sequence: 0,
            slow: None,
            probes: Vec::new(),
            answers: Box::new(move |target, at_ms| answers(target, at_ms).into()),
            swaps: Vec::new(),
            told: Vec::new(),
        }
    }

    pub fn run(&mut self, until_ms: u64) {
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
                    let word = good.map_or("UNK", |good| if good { "L7OK" } else { "L4TOUT" }).to_owned();
                    let outcome = Outcome { success: good, word, duration_ms: 10, ..Outcome::default() };
                    Event::Probed { target, outcome }
                }
                _ => Event::Tick,
            };
            self.handle(event);
        }
    }

    /// The process ends as after a crash, `saved` is on the disk, and it is back at once.
    pub fn restart(&mut self, settings: Settings, saved: Option<State>) {
        let text = serde_json::to_string(&saved).unwrap();
        let saved: Option<State> = serde_json::from_str(&text).unwrap();
        self.coming.clear();
        self.director = Director::new(settings, saved, self.now);
    }

    fn pass_to(&mut self, monotonic_ms: u64) {
        self.now.unix_ms += (monotonic_ms - self.now.monotonic_ms) as i64;
        self.now.monotonic_ms = monotonic_ms;
    }

    pub fn handle(&mut self, event: Event) {
        for effect in self.director.handle(event, self.now) {
            match effect {
                Effect::Probe(target) => {
                    self.sequence += 1;
                    self.probes.push((self.now.monotonic_ms, target.clone()));
                    let slow = self.slow.as_ref().filter(|(node, _)| *node == target.node);
                    let took_ms = slow.map_or(10, |(_, took_ms)| *took_ms);
                    self.coming.insert((self.now.monotonic_ms + took_ms, self.sequence), target);
                }
                Effect::Swap(decision) => self.swaps.push((self.now.monotonic_ms, (*decision).clone())),
                Effect::Notify(transition) => self.told.push((self.now.monotonic_ms, (*transition).clone())),
                Effect::Export { .. } | Effect::Persist => {}
            }
        }
    }

    pub fn primary(&self) -> Option<usize> {
        self.swaps.last().unwrap().1.pools[0].ipv4.primary
    }

    /// Moves of a primary after the start, as "web: a -> b failover".
    pub fn moves(&self) -> Vec<String> {
        let moved = self.told.iter().filter(|(_, told)| !told.families.is_empty() && told.rule != "start");
        let name = |node: &Option<String>| node.clone().unwrap_or_else(|| "nobody".to_owned());
        moved.map(|(_, told)| format!("{} -> {} {}", name(&told.from), name(&told.to), told.rule)).collect()
    }
}
