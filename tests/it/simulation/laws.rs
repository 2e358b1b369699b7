//! What must hold whatever happens, judged from outside: from the probes that a director was told
//! of and the orders that it was given, never from what it says of itself.

use std::collections::{BTreeMap, HashMap, HashSet};

use nsd_failover::director::effect::{Decision, Transition};
use nsd_failover::director::event::{Action, Order, Target};
use nsd_failover::director::settings::Settings;
use nsd_failover::director::state::State;
use nsd_failover::director::status::Status;
use nsd_failover::export::serial::is_newer;
use nsd_failover::failover::decide::preference;
use nsd_failover::failover::pool::{Families, Pool, PoolRoles, WhenAllDown};
use nsd_failover::health::family::{Family, PerFamily};

use super::SECOND_MS;
use super::view::View;

/// Rules of moves that were ordered or planned.
const PLANNED: [&str; 5] = ["hold", "drain", "rotation", "start", "standby"];

pub struct Laws {
    settings: Settings,
    view: View,
    /// The orders that stand: pool to primaries and end in Unix time; drained nodes.
    holds: BTreeMap<String, (PerFamily<Option<usize>>, Option<i64>)>,
    drains: BTreeMap<String, Option<i64>>,
    pub in_force: Option<Decision>,
    generation_max: u64,
    /// Moves of this event, not judged yet: pool, family, before and after.
    moves: Vec<Move>,
    /// Pools with another primary or standby, in this event.
    changed: Vec<usize>,
    /// The rule that each pool and family is said to have moved by, in this event.
    rules: HashMap<(usize, Family), String>,
    /// When each pool and family last moved by itself.
    moved_ms: HashMap<(usize, Family), u64>,
    has_jumped: bool,
    /// For each pool.
    promises: Vec<Promise>,
    pub swaps: u64,
    pub transitions: Vec<Transition>,
    /// How often each rule has led to a move, or was told of.
    pub told: BTreeMap<String, u64>,
}

struct Move {
    pool: usize,
    family: Family,
    from: Option<usize>,
    to: Option<usize>,
}

/// How long the answers live that were given out.
#[derive(Clone, Copy, Default)]
struct Promise {
    /// Since when answers carry the bound of now.
    from_ms: u64,
    bound_s: Option<u32>,
    /// When the last of the answers before ends; those at `ttl-min` aside.
    end_ms: u64,
}

impl Laws {
    pub fn new(settings: Settings) -> Laws {
        Laws {
            view: View::new(&settings),
            promises: vec![Promise::default(); settings.pools.len()],
            settings,
            holds: BTreeMap::new(),
            drains: BTreeMap::new(),
            in_force: None,
            generation_max: 0,
            moves: Vec::new(),
            changed: Vec::new(),
            rules: HashMap::new(),
            moved_ms: HashMap::new(),
            has_jumped: false,
            swaps: 0,
            transitions: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    pub fn probed(&mut self, target: &Target, success: Option<bool>, now_ms: u64) {
        self.view.observe(target, success, now_ms);
    }

    pub fn ordered(&mut self, order: &Order, unix_ms: i64) {
        self.expire(unix_ms);
        let until_ms = order.for_s.map(|for_s| unix_ms + for_s as i64 * 1_000);
        let index = |name: &str| self.settings.pools.iter().position(|pool| pool.name == name).unwrap();
        match &order.action {
            Action::Switch { pool, node } => {
                let nodes = &self.settings.pools[index(pool)].nodes;
                let node = nodes.iter().position(|known| known.name == *node).unwrap();
                let held = PerFamily::from_fn(|family| Some(node).filter(|node| nodes[*node].has(family)));
                self.holds.insert(pool.clone(), (held, until_ms));
            }
            Action::Hold { pool } => {
                let roles = self.in_force.as_ref().unwrap().pools[index(pool)];
                self.holds.insert(pool.clone(), (primaries(roles), until_ms));
            }
            Action::Release { pool } => drop(self.holds.remove(pool)),
            Action::Drain { node } => drop(self.drains.insert(node.clone(), until_ms)),
            Action::Ready { node } => drop(self.drains.remove(node)),
        }
    }

    fn expire(&mut self, unix_ms: i64) {
        self.holds.retain(|_, (_, until_ms)| until_ms.is_none_or(|until_ms| until_ms > unix_ms));
        self.drains.retain(|_, until_ms| until_ms.is_none_or(|until_ms| until_ms > unix_ms));
    }

    /// Both have the same orders.
    pub fn has_orders_of(&self, other: &Laws) -> bool {
        self.holds.keys().eq(other.holds.keys())
            && self.holds.values().map(|hold| hold.0).eq(other.holds.values().map(|hold| hold.0))
            && self.drains.keys().eq(other.drains.keys())
    }

    pub fn is_held(&self, pool: &str) -> bool {
        self.holds.contains_key(pool)
    }

    pub fn is_drained(&self, node: &str) -> bool {
        self.drains.contains_key(node)
    }

    /// The process is about to come back with what was written; what was not is lost, and an answer
    /// may be older than the last one for a moment.
    pub fn restarted(&mut self, saved: Option<&State>, now_ms: u64, unix_ms: i64) {
        self.surprised(now_ms);
        self.view.restarted(saved, &self.settings, unix_ms);
        let Some(saved) = saved else { return };
        let Some(in_force) = &mut self.in_force else { return };
        if saved.generation < in_force.generation {
            for (pool, roles) in self.settings.pools.iter().zip(&mut in_force.pools) {
                let names = saved.pools[&pool.name].roles.as_ref().unwrap();
                for family in Family::ALL {
                    let find =
                        |name: &Option<String>| pool.nodes.iter().position(|node| Some(&node.name) == name.as_ref());
                    roles[family].primary = find(&names[family].primary);
                    roles[family].standby = find(&names[family].standby);
                }
            }
            for (zone, serial) in self.settings.zones.iter().zip(&mut in_force.serials) {
                *serial = saved.zones[&zone.origin.to_string()].serial;
            }
            self.moved_ms.clear();
        }
        // What is written down is written in the time of the calendar.
        if std::mem::take(&mut self.has_jumped) {
            self.moved_ms.clear();
        }
    }

    pub fn reloaded(&mut self, now_ms: u64) {
        self.surprised(now_ms);
    }

    pub fn clock_jumped(&mut self, by_ms: i64, now_ms: u64) {
        self.has_jumped |= by_ms > 0;
        self.surprised(now_ms);
    }

    /// Nobody could know of this: what was given out before may outlive it.
    pub fn surprised(&mut self, now_ms: u64) {
        for promise in &mut self.promises {
            (promise.from_ms, promise.end_ms) = (now_ms, 0);
        }
    }

    pub fn exported(&self, zone: usize, generation: u64, serial: u32) {
        let in_force = self.in_force.as_ref().unwrap();
        assert_eq!(serial, in_force.serials[zone], "memory and export carry the same serial");
        assert_eq!(generation, in_force.generation);
    }

    pub fn swapped(&mut self, decision: &Decision, now_ms: u64, unix_ms: i64) {
        self.swaps += 1;
        self.expire(unix_ms);
        assert_eq!(decision.serials.len(), self.settings.zones.len());
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
                self.promises[index].from_ms = now_ms;
            }
            self.promises[index].renew(decision.ttl_max_s[index], pool.ttl_min_s, now_ms, has_moved);
            for family in Family::ALL {
                let (after, before) = (after[family], before.map(|before| before[family]));
                assert!(after.standby.is_none() || after.standby != after.primary);
                for node in [after.primary, after.standby].into_iter().flatten() {
                    assert!(pool.nodes[node].has(family), "{} has no {family} address", pool.nodes[node].name);
                }
                let Some(before) = before.filter(|before| before.primary != after.primary) else { continue };
                self.moves.push(Move { pool: index, family, from: before.primary, to: after.primary });
            }
            if has_moved {
                self.changed.push(index);
            }
        }
        self.generation_max = decision.generation;
        self.in_force = Some(decision.clone());
    }

    pub fn told(&mut self, transition: &Transition, now_ms: u64) {
        assert!(!transition.reason.is_empty());
        assert_eq!(transition.generation, self.generation_max);
        *self.told.entry(transition.rule.clone()).or_default() += 1;
        self.transitions.push(transition.clone());
        let index = self.settings.pools.iter().position(|pool| pool.name == transition.pool).unwrap();
        for family in &transition.families {
            self.rules.insert((index, *family), transition.rule.clone());
            if PLANNED.contains(&transition.rule.as_str()) {
                continue;
            }
            if let Some(last_ms) = self.moved_ms.insert((index, *family), now_ms) {
                let min_hold_ms = self.settings.pools[index].min_hold_ms;
                assert!(now_ms - last_ms >= min_hold_ms, "two moves within min-hold: {transition:?}");
            }
        }
    }

    /// The event is over: all moves are judged by what they were said to be.
    pub fn settle(&mut self, now_ms: u64, unix_ms: i64) {
        self.expire(unix_ms);
        let rules = std::mem::take(&mut self.rules);
        for moved in std::mem::take(&mut self.moves) {
            let pool = &self.settings.pools[moved.pool];
            let rule = rules.get(&(moved.pool, moved.family)).map(String::as_str);
            // A family without an address moves with the other.
            let sister = Family::ALL.into_iter().find_map(|family| rules.get(&(moved.pool, family)));
            let rule = rule.or(sister.map(String::as_str)).unwrap_or("untold");
            match moved.to {
                Some(node) => self.may_promote(pool, &moved, node, rule, unix_ms),
                None => self.may_withdraw(pool, &moved, rule, now_ms),
            }
        }
        for index in std::mem::take(&mut self.changed) {
            self.outlives_nothing(index, &rules, now_ms);
        }
        let Some(in_force) = &self.in_force else { return };
        for (index, pool) in self.settings.pools.iter().enumerate() {
            if let Some((held, _)) = self.holds.get(&pool.name) {
                assert_eq!(primaries(in_force.pools[index]), *held, "the hold on {} was lost", pool.name);
            }
        }
    }

    /// Nobody is promoted who is not up, but on order or where the policy says so.
    fn may_promote(&self, pool: &Pool, moved: &Move, node: usize, rule: &str, unix_ms: i64) {
        let name = &pool.nodes[node].name;
        let context = || format!("{name} became primary of {} over {} by {rule}", pool.name, moved.family);
        if rule == "hold" {
            assert!(self.holds.contains_key(&pool.name), "{}: nobody ordered it", context());
            return;
        }
        assert!(!self.holds.contains_key(&pool.name), "{}, which is held", context());
        // Where nobody else is up it may stay, and come back over a family.
        assert!(rule == "family" || !self.is_drained(name), "{}, but it is drained", context());
        match rule {
            "failover" | "drain" | "rotation" | "preempt" => {
                let is_up = self.is_candidate(pool, node, moved.family);
                assert!(is_up, "{}, but it is not up: {:?}", context(), self.view);
            }
            "family" => {
                let is_down = self.view.verdict(name, moved.family) == Some(false);
                assert!(!is_down || self.is_silent(pool, moved.family), "{}: {:?}", context(), self.view);
            }
            "all-down-first" | "start" => {
                assert!(rule == "start" || pool.when_all_down == WhenAllDown::First, "{}", context());
                let candidate = (0..pool.nodes.len()).find(|node| self.is_sure(pool, *node, moved.family));
                let is_up = self.is_candidate(pool, node, moved.family);
                assert!(candidate.is_none() || is_up, "{}, but another is up: {:?}", context(), self.view);
                let first = preference(pool, unix_ms).find(|node| !self.is_drained(&pool.nodes[*node].name));
                assert!(is_up || first == Some(node), "{}, not the first", context());
            }
            _ => panic!("{}: a rule that moves nothing", context()),
        }
        if rule == "rotation" {
            let place = |node: usize| preference(pool, unix_ms).position(|known| known == node);
            assert!(moved.from.is_none_or(|from| place(node) < place(from)), "{}: not preferred", context());
        }
        if rule == "drain" {
            assert!(moved.from.is_none_or(|from| self.is_drained(&pool.nodes[from].name)), "{}", context());
        }
        let is_move = ["failover", "drain", "rotation", "preempt"].contains(&rule);
        if is_move && pool.families != Families::Withdraw {
            let last = self.lines(pool, moved.family).map(|family| self.view.last(name, family));
            let silent = |family: Family| self.is_silent(pool, family);
            let spoken = self.lines(pool, moved.family).zip(last).filter(|(family, _)| !silent(*family));
            assert!(spoken.into_iter().all(|(_, last)| last != Some(false)), "{}: on an old answer", context());
        }
    }

    /// Nothing is withdrawn unless somebody said so.
    fn may_withdraw(&self, pool: &Pool, moved: &Move, rule: &str, now_ms: u64) {
        let context = || format!("{} was withdrawn over {} by {rule}: {:?}", pool.name, moved.family, self.view);
        let roles = self.in_force.as_ref().unwrap().pools[self.index(pool)];
        let sister = Family::ALL.into_iter().find_map(|family| roles[family].primary);
        let has_address = |node: usize| pool.nodes[node].has(moved.family);
        match rule {
            // Held as it was, or the node has no such address.
            "hold" => assert!(self.holds.get(&pool.name).is_some_and(|(held, _)| held[moved.family].is_none())),
            _ if sister.is_some_and(|node| !has_address(node)) && pool.families != Families::Independent => {}
            "all-down-withdraw" => {
                assert_eq!(pool.when_all_down, WhenAllDown::Withdraw, "{}", context());
                let candidate = (0..pool.nodes.len()).find(|node| self.is_sure(pool, *node, moved.family));
                assert_eq!(candidate, None, "{}", context());
                self.was_confirmed_by_an_anchor(pool, now_ms);
            }
            "family" | "failover" | "preempt" | "rotation" | "drain" => {
                assert_eq!(pool.families, Families::Withdraw, "{}", context());
                let node = &pool.nodes[sister.or(moved.from).unwrap()].name;
                let verdict = self.view.verdict(node, moved.family);
                assert_ne!(verdict, Some(true), "{}", context());
            }
            _ => panic!("{}", context()),
        }
    }

    /// With anchors, nobody says "they are all dead" before one has answered since the last died.
    fn was_confirmed_by_an_anchor(&self, pool: &Pool, now_ms: u64) {
        if pool.anchors.is_empty() {
            return;
        }
        let nodes = pool.nodes.iter().flat_map(|node| Family::ALL.map(|family| self.view.down_ms(&node.name, family)));
        let last_ms = nodes.flatten().max();
        let answered_ms = pool.anchors.iter().filter_map(|anchor| self.view.last_good_ms(&anchor.to_string())).max();
        assert!(answered_ms >= last_ms, "withdrawn at {now_ms} without an anchor: {:?}", self.view);
    }

    /// No answer was given out that outlives this change: where the calendar has brought it not at
    /// all, where probes have by no more than one interval, for answers are given until the next look.
    fn outlives_nothing(&mut self, index: usize, rules: &HashMap<(usize, Family), String>, now_ms: u64) {
        let pool = &self.settings.pools[index];
        let mut rules = Family::ALL.into_iter().filter_map(|family| rules.get(&(index, family))).peekable();
        let is_planned = rules.peek().is_some() && rules.all(|rule| rule == "rotation");
        // A probe comes up to one part in twenty early.
        let interval_ms = self.settings.checks[0].interval_ms;
        let grace_ms = if is_planned { 0 } else { interval_ms + interval_ms / 20 } + SECOND_MS;
        let end_ms = std::mem::take(&mut self.promises[index].end_ms);
        assert!(
            end_ms <= now_ms + grace_ms,
            "{} has changed, but an answer lives {} s longer (planned: {is_planned}): {:?} {:?}",
            pool.name,
            (end_ms - now_ms) / SECOND_MS,
            self.in_force,
            self.view
        );
    }

    fn index(&self, pool: &Pool) -> usize {
        self.settings.pools.iter().position(|known| known.name == pool.name).unwrap()
    }

    /// The families that are decided together with this one.
    fn lines(&self, pool: &Pool, family: Family) -> impl Iterator<Item = Family> + Clone + use<> {
        let is_alone = pool.families == Families::Independent;
        Family::ALL.into_iter().filter(move |other| !is_alone || *other == family)
    }

    /// Nobody is up over the family, but somebody over the other.
    fn is_silent(&self, pool: &Pool, family: Family) -> bool {
        let somebody = |family: Family| {
            pool.nodes.iter().any(|node| node.has(family) && self.view.verdict(&node.name, family) == Some(true))
        };
        pool.families != Families::Independent
            && !somebody(family)
            && Family::ALL.into_iter().any(|other| other != family && somebody(other))
    }

    fn is_candidate(&self, pool: &Pool, node: usize, family: Family) -> bool {
        self.is_up(pool, node, family, |silent| self.is_silent(pool, silent))
    }

    /// The same, whatever an anchor may have to say about a silent family: one that is up gives it
    /// its say back.
    fn is_sure(&self, pool: &Pool, node: usize, family: Family) -> bool {
        self.is_up(pool, node, family, |silent| pool.anchors.is_empty() && self.is_silent(pool, silent))
    }

    fn is_up(&self, pool: &Pool, node: usize, family: Family, is_silent: impl Fn(Family) -> bool) -> bool {
        let node = &pool.nodes[node];
        let has_say = |family: &Family| node.has(*family) && !is_silent(*family);
        let mut said = self.lines(pool, family).filter(has_say).map(|family| self.view.verdict(&node.name, family));
        let is_up = match pool.families {
            Families::Withdraw => said.any(|verdict| verdict == Some(true)),
            Families::Together | Families::Independent => {
                let mut said = said.peekable();
                said.peek().is_some() && said.all(|verdict| verdict == Some(true))
            }
        };
        is_up && !self.is_drained(&node.name)
    }

    /// What the director says of itself is what was seen and ordered.
    pub fn agree(&mut self, status: &Status, now_ms: u64, unix_ms: i64) {
        self.settle(now_ms, unix_ms);
        for node in &status.nodes {
            for check in &node.checks {
                let known = self.view.verdict(&node.name, check.family);
                let word = known.map_or("unknown", |up| if up { "up" } else { "down" });
                assert_eq!(check.verdict, word, "{} over {}: {:?}", node.name, check.family, self.view);
            }
        }
        let drained = status.nodes.iter().filter(|node| node.drain.is_some()).map(|node| &node.name);
        let drained: HashSet<&String> = drained.collect();
        assert_eq!(drained, self.drains.keys().collect(), "a drain was lost, or one too many");
        let held = status.pools.iter().filter(|pool| pool.hold.is_some()).map(|pool| &pool.name);
        assert_eq!(held.collect::<HashSet<_>>(), self.holds.keys().collect(), "a hold was lost, or one too many");
    }
}

impl Promise {
    fn renew(&mut self, bound_s: Option<u32>, ttl_min_s: Option<u32>, now_ms: u64, has_moved: bool) {
        let Some(min_s) = ttl_min_s else { return };
        if self.bound_s == bound_s && !has_moved {
            return;
        }
        // In no time at all no answer is given.
        if self.from_ms < now_ms {
            let end_ms = match self.bound_s {
                None => u64::MAX / 2,
                Some(bound_s) if bound_s <= min_s => 0,
                Some(bound_s) => now_ms + u64::from(bound_s) * SECOND_MS,
            };
            self.end_ms = self.end_ms.max(end_ms);
        }
        (self.from_ms, self.bound_s) = (now_ms, bound_s);
    }
}

fn primaries(roles: PoolRoles) -> PerFamily<Option<usize>> {
    PerFamily::from_fn(|family| roles[family].primary)
}
