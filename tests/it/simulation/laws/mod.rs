//! What must hold whatever happens, judged from outside: from the probes that a director was told
//! of, the settings and the orders that it was given, never from what it says of itself.

mod alarms;
mod moves;
mod promise;
mod standing;

use std::collections::{BTreeMap, HashMap, HashSet};

use nsd_failover::director::effect::{Decision, Transition};
use nsd_failover::director::event::{Action, Order, Target};
use nsd_failover::director::settings::Settings;
use nsd_failover::director::state::State;
use nsd_failover::director::status::Status;
use nsd_failover::export::serial::is_newer;
use nsd_failover::failover::pool::{Node, Pool, Roles};
use nsd_failover::health::family::{Family, PerFamily};

use super::DAY_MS;
use super::view::View;
use moves::Move;
use promise::Promise;
use standing::week;

const WEEK_MS: i64 = 7 * DAY_MS as i64;
/// Rules of moves that were ordered or planned.
const PLANNED: [&str; 5] = ["hold", "drain", "rotation", "start", "standby"];

pub struct Laws {
    settings: Settings,
    view: View,
    /// The orders that stand, by pool and by node, with their end in Unix time.
    holds: BTreeMap<String, (PerFamily<Option<String>>, Option<i64>)>,
    drains: BTreeMap<String, Option<i64>>,
    pub in_force: Option<Decision>,
    /// Other settings are known, and what is in force is still that of before: a pool of which nothing is
    /// known is waited for.
    pub is_pending: bool,
    /// Pools and families whose primary a reload has taken away: nobody is, until the next decision.
    gone: HashSet<(usize, Family)>,
    generation_max: u64,
    /// Moves of this event, not judged yet.
    moves: Vec<Move>,
    /// Pools with another primary or standby, in this event.
    changed: Vec<usize>,
    /// The rule that each pool and family is said to have moved by, in this event; and whether that
    /// was decided earlier.
    rules: HashMap<(usize, Family), (String, bool)>,
    /// When each pool and family last moved by itself, and since when that is known of all.
    moved_ms: HashMap<(usize, Family), u64>,
    known_ms: u64,
    /// The week in which each pool and family last rotated.
    rotated: HashMap<(usize, Family), i64>,
    has_jumped: bool,
    /// For each pool.
    promises: Vec<Promise>,
    /// When something was last ordered of each pool, or something of it changed.
    news_ms: Vec<u64>,
    pub swaps: u64,
    pub transitions: Vec<Transition>,
    /// How often each rule has led to a move, or was told of; and each law had something to say that
    /// does not speak at each event.
    heard: BTreeMap<String, u64>,
}

impl Laws {
    pub fn new(settings: Settings) -> Laws {
        Laws {
            view: View::new(&settings, 0),
            promises: vec![Promise::default(); settings.pools.len()],
            news_ms: vec![0; settings.pools.len()],
            settings,
            holds: BTreeMap::new(),
            drains: BTreeMap::new(),
            in_force: None,
            is_pending: true,
            gone: HashSet::new(),
            generation_max: 0,
            moves: Vec::new(),
            changed: Vec::new(),
            rules: HashMap::new(),
            moved_ms: HashMap::new(),
            known_ms: 0,
            rotated: HashMap::new(),
            has_jumped: false,
            swaps: 0,
            transitions: Vec::new(),
            heard: BTreeMap::new(),
        }
    }

    pub fn probed(&mut self, target: &Target, success: Option<bool>, now_ms: u64) {
        self.view.observe(target, success, now_ms);
    }

    /// Whether anybody wants to know of this target.
    pub fn looks_at(&self, target: &Target) -> bool {
        self.view.find(&target.node, &target.check, target.family).is_some()
    }

    /// Whether an order names what there is.
    pub fn can_obey(&self, action: &Action) -> bool {
        let has = |pool: &Pool, node: &str| pool.nodes.iter().any(|known| known.name == *node);
        match action {
            Action::Switch { pool, node } => {
                self.settings.pools.iter().any(|known| known.name == *pool && has(known, node))
            }
            Action::Hold { pool } | Action::Release { pool } => {
                self.settings.pools.iter().any(|known| known.name == *pool)
            }
            Action::Drain { node } | Action::Ready { node } => self.settings.pools.iter().any(|pool| has(pool, node)),
        }
    }

    pub fn ordered(&mut self, order: &Order, now_ms: u64, unix_ms: i64) {
        self.expire(now_ms, unix_ms);
        self.surprised(now_ms);
        let until_ms = order.for_s.map(|for_s| unix_ms + for_s as i64 * 1_000);
        match &order.action {
            Action::Switch { pool, node } => {
                let held = PerFamily::from_fn(|_| Some(node.clone()));
                self.holds.insert(pool.clone(), (held, until_ms));
            }
            Action::Hold { pool } => {
                let index = self.index(pool);
                let roles = self.in_force.as_ref().unwrap().pools[index];
                let name = |node: usize| self.settings.pools[index].nodes[node].name.clone();
                let held = PerFamily::from_fn(|family| roles[family].primary.map(name));
                self.holds.insert(pool.clone(), (held, until_ms));
            }
            Action::Release { pool } => drop(self.holds.remove(pool)),
            Action::Drain { node } => drop(self.drains.insert(node.clone(), until_ms)),
            Action::Ready { node } => drop(self.drains.remove(node)),
        }
    }

    fn expire(&mut self, now_ms: u64, unix_ms: i64) {
        let is_on = |until_ms: &Option<i64>| until_ms.is_none_or(|until_ms| until_ms > unix_ms);
        let before = self.holds.len() + self.drains.len();
        self.holds.retain(|_, (_, until_ms)| is_on(until_ms));
        self.drains.retain(|_, until_ms| is_on(until_ms));
        if self.holds.len() + self.drains.len() < before {
            self.news_ms.fill(now_ms);
        }
    }

    /// Both have the same orders.
    pub fn has_orders_of(&self, other: &Laws) -> bool {
        self.holds.keys().eq(other.holds.keys())
            && self.holds.values().map(|hold| &hold.0).eq(other.holds.values().map(|hold| &hold.0))
            && self.drains.keys().eq(other.drains.keys())
    }

    pub fn is_held(&self, pool: &str) -> bool {
        self.held(self.index(pool)).is_some()
    }

    /// Who is held, if the pool has that node: an order for a node that was taken out of it sleeps
    /// until it is back. A node without an address of a family is held to no answer.
    fn held(&self, pool: usize) -> Option<PerFamily<Option<usize>>> {
        let nodes = &self.settings.pools[pool].nodes;
        let (names, _) = self.holds.get(&self.settings.pools[pool].name)?;
        let mut names_there = [&names.ipv4, &names.ipv6].into_iter().flatten();
        names_there.all(|name| find(nodes, name).is_some()).then(|| {
            PerFamily::from_fn(|family| {
                let node = names[family].as_deref().and_then(|name| find(nodes, name));
                node.filter(|node| nodes[*node].has(family))
            })
        })
    }

    pub fn is_drained(&self, node: &str) -> bool {
        self.drains.contains_key(node)
    }

    /// The process is about to come back with what was written; what was not is lost, and an answer
    /// may be older than the last one for a moment.
    pub fn restarted(&mut self, settings: Settings, saved: Option<&State>, now_ms: u64, unix_ms: i64) {
        self.settle_down(&settings, now_ms);
        self.view.restarted(saved, &settings, now_ms, unix_ms);
        self.known_ms = now_ms;
        let pools_before = std::mem::replace(&mut self.settings, settings).pools;
        let lost = self.in_force.as_ref().zip(saved).filter(|(in_force, saved)| saved.generation < in_force.generation);
        if let Some((_, saved)) = lost {
            let in_force = self.in_force.as_mut().unwrap();
            for (pool, roles) in pools_before.iter().zip(&mut in_force.pools) {
                let Some(names) = &saved.pools[&pool.name].roles else { continue };
                for family in Family::ALL {
                    let find = |name: &Option<String>| name.as_ref().and_then(|name| find(&pool.nodes, name));
                    roles[family].primary = find(&names[family].primary);
                    roles[family].standby = find(&names[family].standby);
                }
            }
            for (zone, serial) in self.settings.zones.iter().zip(&mut in_force.serials) {
                *serial = saved.zones[&zone.origin.to_string()].serial;
            }
            self.moved_ms.clear();
            self.rotated.clear();
        }
        // What is written down is written in the time of the calendar.
        if std::mem::take(&mut self.has_jumped) {
            self.moved_ms.clear();
        }
        self.rename(&pools_before);
    }

    pub fn reloaded(&mut self, settings: Settings, now_ms: u64) {
        self.settle_down(&settings, now_ms);
        self.view.reloaded(&settings, now_ms);
        let pools_before = std::mem::replace(&mut self.settings, settings).pools;
        self.rename(&pools_before);
    }

    fn settle_down(&mut self, settings: &Settings, now_ms: u64) {
        assert!(self.moves.is_empty());
        assert!(self.settings.pools.iter().map(|pool| &pool.name).eq(settings.pools.iter().map(|pool| &pool.name)));
        self.surprised(now_ms);
        self.is_pending = true;
    }

    /// What is in force is the same nodes by name, at other places.
    fn rename(&mut self, before: &[Pool]) {
        let Some(in_force) = &mut self.in_force else { return };
        for (index, (pool, old)) in self.settings.pools.iter().zip(before).enumerate() {
            for family in Family::ALL {
                let Roles { primary, standby } = &mut in_force.pools[index][family];
                let is_gone = primary.is_some_and(|node| find(&pool.nodes, &old.nodes[node].name).is_none());
                is_gone.then(|| self.gone.insert((index, family)));
                for role in [primary, standby] {
                    let node = role.and_then(|node| find(&pool.nodes, &old.nodes.get(node)?.name));
                    *role = node.filter(|node| pool.nodes[*node].has(family));
                }
            }
        }
    }

    pub fn clock_jumped(&mut self, by_ms: i64, now_ms: u64) {
        self.has_jumped |= by_ms > 0;
        self.rotated.clear();
        self.surprised(now_ms);
    }

    /// Nobody could know of this: what was given out before may outlive it.
    fn surprised(&mut self, now_ms: u64) {
        self.promises.iter_mut().for_each(|promise| promise.void(now_ms));
        self.news_ms.fill(now_ms);
    }

    pub fn exported(&self, zone: usize, generation: u64, serial: u32) {
        let in_force = self.in_force.as_ref().unwrap();
        assert!(!self.is_pending, "exported with settings of which nothing is decided yet");
        assert_eq!(serial, in_force.serials[zone], "memory and export carry the same serial");
        assert_eq!(generation, in_force.generation);
    }

    pub fn swapped(&mut self, decision: &Decision, now_ms: u64, unix_ms: i64) {
        self.swaps += 1;
        self.expire(now_ms, unix_ms);
        if self.is_pending {
            self.surprised(now_ms);
        }
        assert_eq!(decision.serials.len(), self.settings.zones.len());
        assert_eq!(decision.pools.len(), self.settings.pools.len());
        assert!(decision.generation >= self.generation_max, "the generation only grows, over restarts too");
        if let Some(before) = &self.in_force {
            if decision.generation == self.generation_max {
                let ttl_max_s = decision.ttl_max_s.clone();
                assert_eq!(*decision, Decision { ttl_max_s, ..before.clone() }, "nothing but bounds is new");
            }
            for (new, old) in decision.serials.iter().zip(&before.serials) {
                assert!(new == old || is_newer(*new, *old), "serial went from {old} to {new}");
            }
        }
        for (index, pool) in self.settings.pools.iter().enumerate() {
            let (after, before) = (decision.pools[index], self.in_force.as_ref().map(|before| before.pools[index]));
            let has_moved = before.is_some_and(|before| before != after);
            if self.in_force.is_none() {
                self.promises[index].void(now_ms);
            }
            self.promises[index].renew(decision.ttl_max_s[index], pool.ttl_min_s, now_ms, has_moved);
            for family in Family::ALL {
                let (after, before) = (after[family], before.map(|before| before[family]));
                assert!(after.standby.is_none() || after.standby != after.primary);
                for node in [after.primary, after.standby].into_iter().flatten() {
                    assert!(pool.nodes[node].has(family), "{} has no {family} address", pool.nodes[node].name);
                }
                let is_gone = self.gone.contains(&(index, family));
                let Some(before) = before.filter(|before| is_gone || before.primary != after.primary) else { continue };
                self.moves.push(Move { pool: index, family, from: before.primary, to: after.primary, is_gone });
            }
            if has_moved {
                self.changed.push(index);
                self.news_ms[index] = now_ms;
            }
        }
        self.gone.clear();
        self.is_pending = false;
        self.generation_max = decision.generation;
        self.in_force = Some(decision.clone());
    }

    pub fn told(&mut self, transition: &Transition, now_ms: u64, unix_ms: i64) {
        assert!(!transition.reason.is_empty());
        assert_eq!(transition.generation, self.generation_max);
        self.count(&transition.rule);
        self.transitions.push(transition.clone());
        let index = self.index(&transition.pool);
        let is_late = transition.unix_ms != unix_ms;
        for family in &transition.families {
            let place = (index, *family);
            self.rules.insert(place, (transition.rule.clone(), is_late));
            if transition.rule == "rotation" {
                let week = week(transition.unix_ms);
                assert_ne!(self.rotated.insert(place, week), Some(week), "rotated twice in a week: {transition:?}");
            }
            if PLANNED.contains(&transition.rule.as_str()) {
                continue;
            }
            if is_late {
                // It was decided while other settings were waited for.
                self.moved_ms.remove(&place);
                self.known_ms = now_ms;
            } else if let Some(last_ms) = self.moved_ms.insert(place, now_ms) {
                let min_hold_ms = self.settings.pools[index].min_hold_ms;
                assert!(now_ms - last_ms >= min_hold_ms, "two moves within min-hold: {transition:?}");
            }
        }
    }

    /// The event is over: all moves are judged by what they were said to be.
    pub fn settle(&mut self, now_ms: u64, unix_ms: i64) {
        self.expire(now_ms, unix_ms);
        let rules = std::mem::take(&mut self.rules);
        for moved in std::mem::take(&mut self.moves) {
            // A family without an address moves with the other.
            let sister = || Family::ALL.into_iter().find_map(|family| rules.get(&(moved.pool, family)));
            let told = rules.get(&(moved.pool, moved.family)).or_else(sister);
            let (rule, is_late) = told.map_or(("untold", false), |(rule, is_late)| (rule.as_str(), *is_late));
            self.judge(&moved, rule, is_late, now_ms, unix_ms);
        }
        for index in std::mem::take(&mut self.changed) {
            let rules = Family::ALL.into_iter().filter_map(|family| rules.get(&(index, family)));
            self.outlives_nothing(index, rules.map(|(rule, _)| rule.as_str()), now_ms);
        }
        if self.is_pending {
            return;
        }
        let Some(in_force) = &self.in_force else { return };
        for (index, pool) in self.settings.pools.iter().enumerate() {
            if let Some(held) = self.held(index) {
                let primaries = PerFamily::from_fn(|family| in_force.pools[index][family].primary);
                assert_eq!(primaries, held, "the hold on {} was lost", pool.name);
            }
        }
    }

    /// No answer was given out that outlives this change: where the calendar has brought it not at
    /// all, where probes have by no more than one interval, for answers are given until the next look.
    fn outlives_nothing<'a>(&mut self, index: usize, rules: impl Iterator<Item = &'a str>, now_ms: u64) {
        let mut rules = rules.peekable();
        let is_planned = rules.peek().is_some() && rules.all(|rule| rule == "rotation");
        let pool = &self.settings.pools[index];
        let interval_ms = self.view.around(pool).map(|seen| seen.interval_ms()).max().unwrap_or(0);
        // A probe comes up to one part in twenty early.
        let grace_ms = if is_planned { 0 } else { interval_ms + interval_ms / 20 } + super::SECOND_MS;
        let end_ms = self.promises[index].take_end_ms();
        assert!(
            end_ms <= now_ms + grace_ms,
            "{} has changed, but an answer lives {} s longer (planned: {is_planned}): {:?} {:?}",
            pool.name,
            (end_ms - now_ms) / super::SECOND_MS,
            self.in_force,
            self.view
        );
    }

    /// What the director says of itself is what was seen and ordered.
    pub fn agree(&mut self, status: &Status, now_ms: u64, unix_ms: i64) {
        self.settle(now_ms, unix_ms);
        for node in &status.nodes {
            for check in &node.checks {
                let context = || format!("{} over {}: {:?}", node.name, check.family, self.view);
                let seen = self.view.find(&node.name, &check.check, check.family).unwrap();
                let word = seen.up.map_or("unknown", |up| if up { "up" } else { "down" });
                assert_eq!(check.verdict, word, "{}", context());
                assert_eq!(check.blind, seen.is_blind(), "{}", context());
            }
        }
        let is_there = |node: &&String| self.settings.pools.iter().any(|pool| find(&pool.nodes, node).is_some());
        let drained = status.nodes.iter().filter(|node| node.drain.is_some()).map(|node| &node.name);
        let drained: HashSet<&String> = drained.collect();
        let known = self.drains.keys().filter(is_there).collect();
        assert_eq!(drained, known, "a drain was lost, or one too many");
        let held = status.pools.iter().filter(|pool| pool.hold.is_some()).map(|pool| &pool.name);
        assert_eq!(held.collect::<HashSet<_>>(), self.holds.keys().collect(), "a hold was lost, or one too many");
        if !self.is_pending {
            self.is_as_loud_as_it_should(status, now_ms, unix_ms);
            self.has_failed_over(status, now_ms);
        }
    }

    fn index(&self, pool: &str) -> usize {
        self.settings.pools.iter().position(|known| known.name == pool).unwrap()
    }

    fn count(&mut self, word: &str) {
        *self.heard.entry(word.to_owned()).or_default() += 1;
    }

    pub fn heard(&self) -> BTreeMap<String, u64> {
        self.heard.clone()
    }
}

fn find(nodes: &[Node], name: &str) -> Option<usize> {
    nodes.iter().position(|node| node.name == *name)
}
