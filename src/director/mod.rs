//! The control plane as one pure state machine: an event goes in, effects come out. Knows no
//! socket, no file, no clock: the daemon reads the clock, carries the effects out, and sends what
//! became of them back as events.
//!
//! ```text
//!            Event                                                   Effect
//!   probe ended ----> targets (counters, schedule) --flip--+  +----> Swap     the table, at once
//!   order ----------> orders ---------------------touched--+  +----> Persist  state
//!   time passed ----> timers, rotation, expiry ---touched--+--+----> Export   zones that follow
//!   export ended ---> zones (serials, exports)             |  +----> Notify   people
//!   reloaded -------> everything anew, by name ---all------+  +----> Probe    what is due
//!                                              pools (decide)
//! ```

pub mod alarm;
pub mod effect;
pub mod event;
pub mod explain;
pub mod incident;
pub mod orders;
pub mod settings;
pub mod state;
pub mod status;

mod bounds;
mod pools;
mod report;
mod targets;
mod timers;
mod zones;

use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::sync::Arc;

use crate::failover::pool::{PoolRoles, Rotate};
use crate::failover::rotation;
use crate::health::time::Now;

use bounds::Bound;
use effect::{Decision, Effect, Transition};
use event::{Action, Event, Order};
use orders::{OrderError, Orders};
use pools::PoolState;
use settings::Settings;
use state::State;
use targets::{Observed, Targets};
use timers::Timers;
use zones::Zones;

/// Streaks and verdicts are written down this long after they changed, at the latest.
const PERSIST_DELAY_MS: u64 = 10_000;

/// Decisions are written down at once, but not more often than this: when a whole site dies, many
/// pools move within a moment. Exports wait for it.
const PERSIST_GAP_MS: u64 = 200;

/// So many decisions may be in service unwritten; after a crash the generation leaps over them.
const UNWRITTEN_MAX: u32 = 64;

/// With deadlines that follow the calendar, it is looked at this often at least, so that a clock
/// that jumps is noticed.
const CALENDAR_MS: u64 = 60_000;

/// A clock that has gone further than this from where it should be was set, in milliseconds.
const JUMP_MS: u64 = 1_000;

/// The one writer of verdicts, orders, roles and serials.
#[derive(Debug)]
pub struct Director {
    settings: Settings,
    targets: Targets,
    pools: Vec<PoolState>,
    /// Where each node stands: pool and node in it, by index.
    nodes: HashMap<String, Vec<(usize, usize)>>,
    zones: Zones,
    orders: Orders,
    /// Pools to decide about before [`Director::handle`] returns.
    touched: BTreeSet<usize>,
    /// When a pool is to be decided again by itself: `preempt`, `min-hold`.
    reviews: Timers,
    /// Upper bound of the TTL for each pool, as of the last look.
    ttl_max_s: Vec<Option<u32>>,
    /// Pools whose bound is to be looked at before [`Director::handle`] returns.
    unbounded: BTreeSet<usize>,
    /// When a bound changes by itself.
    steps: Timers,
    /// The week whose rotation was looked at.
    week: i64,
    /// Pools without roles; until there is none, nothing is put in service.
    undecided: usize,
    /// What was in force before: the zone files are compared with it when the first decision is
    /// made for these settings. `None` once that is done.
    unreconciled: Option<Box<State>>,
    decision: Arc<Decision>,
    /// Transitions that wait for their generation.
    untold: Vec<Transition>,
    persist_ms: Option<u64>,
    persisted_ms: Option<u64>,
    /// Decisions in service that are not written down yet.
    unwritten: u64,
    calendar_ms: Option<u64>,
    started: Now,
    now: Now,
}

impl Director {
    /// Starts from what was saved. A state that this program cannot read counts as none.
    ///
    /// The first `Swap` comes with the first event (a `Tick` will do) if the roles of every pool
    /// are known, from the saved state or else from the zone files. A guess is never served: with
    /// any pool unknown it comes after that pool's first full round of probes. Nothing moves before
    /// that round has ended, but on order.
    pub fn new(settings: Settings, saved: Option<State>, started: Now) -> Director {
        let saved = saved.filter(State::is_readable).unwrap_or_default();
        let targets = Targets::new(&settings, &saved, None, started);
        let zones = Zones::new(&settings, &saved, None);
        let leap = if saved.is_final { 0 } else { u64::from(UNWRITTEN_MAX) };
        let generation = if saved.version == 0 { 0 } else { saved.generation.saturating_add(leap) };
        let decision = Decision { generation, ..Decision::default() };
        Director::build(settings, saved, targets, zones, Arc::new(decision), started, started)
    }

    fn build(
        settings: Settings,
        saved: State,
        targets: Targets,
        zones: Zones,
        decision: Arc<Decision>,
        started: Now,
        now: Now,
    ) -> Director {
        let mut director = Director {
            pools: (0..settings.pools.len()).map(|pool| PoolState::new(pool, &settings, &saved, now)).collect(),
            nodes: HashMap::new(),
            orders: saved.orders.clone(),
            touched: (0..settings.pools.len()).collect(),
            reviews: Timers::default(),
            ttl_max_s: vec![None; settings.pools.len()],
            unbounded: BTreeSet::new(),
            steps: Timers::default(),
            week: rotation::week(now.unix_ms),
            undecided: 0,
            unreconciled: Some(Box::new(saved)),
            untold: Vec::new(),
            persist_ms: None,
            persisted_ms: None,
            unwritten: 0,
            calendar_ms: Some(now.monotonic_ms),
            settings,
            targets,
            zones,
            decision,
            started,
            now,
        };
        director.wire();
        director
    }

    /// Who speaks about whom.
    fn wire(&mut self) {
        for (index, target) in self.targets.list.iter().enumerate() {
            for (pool, node) in &target.users {
                self.pools[*pool].add_member(*node, index, &self.targets);
            }
            for pool in &target.anchored {
                self.pools[*pool].anchors.push(index);
            }
        }
        for (index, zone) in self.settings.zones.iter().enumerate() {
            for pool in &zone.pools {
                self.pools[*pool].zones.push(index);
            }
        }
        for (index, pool) in self.settings.pools.iter().enumerate() {
            for (place, node) in pool.nodes.iter().enumerate() {
                self.nodes.entry(node.name.clone()).or_default().push((index, place));
                self.pools[index].drain(place, self.orders.is_drained(&node.name));
            }
        }
        self.undecided = self.pools.iter().filter(|pool| pool.memory.roles.is_none()).count();
    }

    /// Takes an event; gives what is to be done, in this order. Any event will do to let time pass.
    ///
    /// The state is written before an export, so that a crash between them cannot bring up roles
    /// or serials that are older than those of the zone files.
    ///
    /// After [`Event::Reloaded`] the first `Swap` is the first decision that fits the new settings;
    /// it may come later, if a pool is new and nothing is known of it. Until then the table of
    /// before stays in service.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let before = mem::replace(&mut self.now, now);
        self.take(event, now);
        self.pass(before, now);
        let mut effects = Vec::new();
        let told = self.decide(now, &mut effects);
        if self.persist_ms.is_some_and(|due_ms| due_ms <= now.monotonic_ms) {
            self.persist_ms = None;
            self.persisted_ms = Some(now.monotonic_ms);
            self.unwritten = 0;
            effects.push(Effect::Persist);
        }
        if self.is_deciding() && self.unwritten == 0 {
            let generation = self.decision.generation;
            let started = self.zones.start(generation).into_iter();
            effects.extend(started.map(|(zone, serial)| Effect::Export { zone, generation, serial }));
        }
        effects.extend(told.into_iter().map(|transition| Effect::Notify(Arc::new(transition))));
        while let Some(target) = self.targets.take_due(now.monotonic_ms) {
            effects.push(Effect::Probe(target.clone()));
        }
        self.calendar_ms = self.next_calendar_ms(now);
        effects
    }

    /// When the next [`Event::Tick`] is wanted, in monotonic milliseconds.
    pub fn next_wakeup_ms(&self) -> Option<u64> {
        let (reviews_ms, steps_ms) = (self.reviews.next_ms(), self.steps.next_ms());
        let (zones_ms, targets_ms) = (self.zones.next_ms(), self.targets.next_ms());
        let deadlines = [targets_ms, reviews_ms, steps_ms, zones_ms, self.persist_ms, self.calendar_ms];
        deadlines.into_iter().flatten().min()
    }

    /// Whether [`Event::Ordered`] with this order would be obeyed; an order that would not is
    /// ignored there.
    pub fn order(&self, order: &Order) -> Result<(), OrderError> {
        Orders::validate(order, &self.settings, |pool| self.pools[pool].memory.roles)
    }

    /// The last decision that was put in service; before the first one it is empty and carries the
    /// generation of the last run.
    pub fn decision(&self) -> &Arc<Decision> {
        &self.decision
    }

    /// Origins (with the final dot) of the zones whose decision nsd does not have yet.
    pub fn unpublished(&self) -> impl Iterator<Item = &str> {
        self.zones.list.iter().filter(|zone| zone.is_unpublished()).map(|zone| zone.name.as_str())
    }

    /// What the process leaves behind when it ends in good order: nothing can happen any more that
    /// is not written in it.
    pub fn final_state(&self) -> State {
        State { is_final: true, ..self.state() }
    }

    /// Whether an export of this zone (index into the settings) is under way.
    pub fn is_exporting(&self, zone: usize) -> bool {
        self.zones.list.get(zone).is_some_and(zones::ZoneState::is_exporting)
    }

    /// Whether a rollback holds the exports of this zone (index into the settings).
    pub fn is_held(&self, zone: usize) -> bool {
        self.zones.list.get(zone).is_some_and(|state| state.held)
    }

    /// What shall outlive the process, as of the last event; for [`Effect::Persist`].
    pub fn state(&self) -> State {
        let pools = self.settings.pools.iter().zip(&self.pools);
        State {
            version: state::VERSION,
            is_final: false,
            saved_unix_ms: self.now.unix_ms,
            generation: self.decision.generation,
            pools: pools.map(|(pool, state)| (pool.name.clone(), state.saved(pool, self.now))).collect(),
            zones: self.zones.saved().collect(),
            targets: self.targets.saved(self.now),
            orders: self.orders.clone(),
        }
    }

    fn take(&mut self, event: Event, now: Now) {
        match event {
            Event::Tick => {}
            Event::Probed { target, outcome } => {
                let Some(seen) = self.targets.observe(&target, outcome, now) else { return };
                self.look(&seen, now);
                if seen.flipped || seen.settled {
                    self.persist_by(now.monotonic_ms.saturating_add(PERSIST_DELAY_MS));
                }
            }
            Event::Ordered(order) => self.obey(order, now),
            Event::Exported(report) => {
                if self.zones.ended(report, now) {
                    self.persist_by(now.monotonic_ms);
                }
            }
            Event::ExportHeld { zone, held } => {
                self.zones.hold(zone, held);
                self.persist_by(now.monotonic_ms);
            }
            Event::Rehearsed { zone, refused } => self.zones.rehearsed(zone, refused),
            Event::SerialSeen { zone, serial } => self.zones.seen(zone, serial),
            Event::SecondarySeen { zone, serial } => self.zones.seen_elsewhere(zone, serial),
            Event::SecondaryBehind { zone } => self.zones.stays_behind(zone, now),
            Event::Reloaded(settings) => self.reload(*settings, now),
        }
    }

    /// A probe has ended: tell the pools that look at the target, as far as it concerns them.
    fn look(&mut self, seen: &Observed, now: Now) {
        let state = &self.targets.list[seen.target];
        let family = state.family();
        let mut mates: Vec<usize> = Vec::new();
        for (pool, node) in &state.users {
            let pool_state = &mut self.pools[*pool];
            if pool_state.needs_anchors() {
                self.touched.insert(*pool);
            }
            if seen.flipped || seen.doubted {
                pool_state.look(*node, family, &self.targets);
                self.touched.insert(*pool);
            }
            if seen.settled {
                pool_state.unsettled -= 1;
                self.touched.insert(*pool);
            }
            if seen.counted && self.settings.pools[*pool].ttl_min_s.is_some() {
                self.unbounded.insert(*pool);
            }
            // Is it this node, or our own network? The others are asked at once, so that nobody is
            // promoted on an old answer.
            if seen.doubted && state.is_doubted() {
                mates.extend(pool_state.members().map(|(_, _, target)| target));
            }
            if (seen.doubted && state.is_doubted()) || (seen.flipped && pool_state.needs_anchors()) {
                mates.extend(&pool_state.anchors);
            }
        }
        for pool in state.anchored.iter().filter(|pool| self.pools[**pool].needs_anchors()) {
            self.touched.insert(*pool);
            // We were cut off and are back: are they?
            if seen.flipped {
                mates.extend(self.pools[*pool].members().map(|(_, _, target)| target));
            }
        }
        mates.sort_unstable();
        mates.dedup();
        mates.retain(|mate| *mate != seen.target);
        mates.into_iter().for_each(|mate| self.targets.hurry(mate, now));
    }

    fn obey(&mut self, order: Order, now: Now) {
        if self.order(&order).is_err() {
            return;
        }
        let action = order.action.clone();
        self.orders.take(order, &self.settings, |pool| self.pools[pool].memory.roles, now);
        match action {
            Action::Switch { pool, .. } | Action::Hold { pool } | Action::Release { pool } => self.touch_pool(&pool),
            Action::Drain { node } | Action::Ready { node } => self.touch_node(&node),
        }
        self.persist_by(now.monotonic_ms);
    }

    fn touch_pool(&mut self, name: &str) {
        self.touched.extend(self.settings.pools.iter().position(|pool| pool.name == name));
    }

    fn touch_node(&mut self, name: &str) {
        let drained = self.orders.is_drained(name);
        for (pool, node) in self.nodes.get(name).into_iter().flatten() {
            self.pools[*pool].drain(*node, drained);
            self.touched.insert(*pool);
        }
    }

    /// Everything anew, with what is known by name. A probe or an export that is under way stays so.
    fn reload(&mut self, settings: Settings, now: Now) {
        let saved = self.state();
        let targets = Targets::new(&settings, &saved, Some(&self.targets), now);
        let zones = Zones::new(&settings, &saved, Some(mem::take(&mut self.zones)));
        let decision = Arc::clone(&self.decision);
        let unwritten = self.unwritten;
        *self = Director::build(settings, saved, targets, zones, decision, self.started, now);
        self.unwritten = unwritten;
        self.persist_by(now.monotonic_ms);
    }

    /// What the passing of time brings.
    fn pass(&mut self, before: Now, now: Now) {
        let passed_ms = now.monotonic_ms.saturating_sub(before.monotonic_ms);
        let expected_ms = before.unix_ms.saturating_add_unsigned(passed_ms);
        // What is planned has come nearer, or moved away.
        if now.unix_ms.abs_diff(expected_ms) > JUMP_MS {
            self.unbounded.extend(0..self.pools.len());
        }
        while let Some(pool) = self.reviews.take_due(now.monotonic_ms) {
            self.touched.insert(pool);
        }
        if self.orders.next_end_unix_ms().is_some_and(|end_ms| end_ms <= now.unix_ms) {
            let (pools, nodes) = self.orders.expire(now.unix_ms);
            pools.iter().for_each(|pool| self.touch_pool(pool));
            nodes.iter().for_each(|node| self.touch_node(node));
            self.persist_by(now.monotonic_ms);
        }
        while let Some(pool) = self.steps.take_due(now.monotonic_ms) {
            self.unbounded.insert(pool);
        }
        let week = rotation::week(now.unix_ms);
        if week != self.week {
            self.week = week;
            let pools = self.settings.pools.iter().enumerate();
            self.touched.extend(pools.filter(|(_, pool)| pool.rotate == Rotate::Weekly).map(|(index, _)| index));
        }
    }

    /// Decides about the pools that were touched, and puts the decision in service if there is
    /// anything new in it. Gives the transitions to tell of.
    fn decide(&mut self, now: Now, effects: &mut Vec<Effect>) -> Vec<Transition> {
        let mut moved = BTreeSet::new();
        for index in mem::take(&mut self.touched) {
            let state = &mut self.pools[index];
            let before = state.memory;
            let (told, review_ms) = state.decide(&self.settings.pools[index], &self.orders, &self.targets, now);
            let after = state.memory;
            self.undecided -= usize::from(before.roles.is_none() && after.roles.is_some());
            self.reviews.set(index, review_ms);
            self.unbounded.insert(index);
            self.untold.extend(told);
            if before.roles != after.roles {
                moved.insert(index);
            }
            if before != after {
                self.persist_by(now.monotonic_ms.saturating_add(PERSIST_DELAY_MS));
            }
        }
        let overtaken = self.zones.refresh(now);
        let rebounded = self.bound(now);
        if self.undecided > 0 {
            return Vec::new();
        }
        if self.unreconciled.is_some() || !moved.is_empty() || overtaken {
            self.put_in_service(&moved, now);
            effects.push(Effect::Swap(Arc::clone(&self.decision)));
            self.unwritten += 1;
            let gap_ms = if self.unwritten < u64::from(UNWRITTEN_MAX) { PERSIST_GAP_MS } else { 0 };
            let free_ms = self.persisted_ms.map_or(0, |at_ms| at_ms.saturating_add(gap_ms));
            self.persist_by(free_ms.max(now.monotonic_ms));
        } else if rebounded {
            let ttl_max_s = self.ttl_max_s.clone();
            self.decision = Arc::new(Decision { ttl_max_s, ..(*self.decision).clone() });
            effects.push(Effect::Swap(Arc::clone(&self.decision)));
        }
        let mut told = mem::take(&mut self.untold);
        for transition in &mut told {
            transition.generation = self.decision.generation;
            transition.zones = self.zones_of(&transition.pool);
        }
        told
    }

    /// Looks at the bounds that may have changed. True if one has.
    fn bound(&mut self, now: Now) -> bool {
        let mut changed = false;
        for pool in mem::take(&mut self.unbounded) {
            let (settings, state) = (&self.settings.pools[pool], &self.pools[pool]);
            let bound = Bound::new(settings, state, &self.orders, &self.targets, now);
            self.steps.set(pool, bound.again_ms);
            changed |= self.ttl_max_s[pool] != bound.ttl_max_s;
            self.ttl_max_s[pool] = bound.ttl_max_s;
        }
        changed
    }

    fn put_in_service(&mut self, moved: &BTreeSet<usize>, now: Now) {
        let roles: Vec<PoolRoles> = self.pools.iter().map(|pool| pool.memory.roles.unwrap_or_default()).collect();
        match self.unreconciled.take() {
            Some(saved) => self.zones.reconcile(&self.settings, &saved, &roles, now),
            None => {
                let zones: BTreeSet<usize> = moved.iter().flat_map(|pool| &self.pools[*pool].zones).copied().collect();
                zones.into_iter().for_each(|zone| self.zones.renew(zone, now));
            }
        }
        self.decision = Arc::new(Decision {
            generation: self.decision.generation.saturating_add(1),
            pools: roles,
            ttl_max_s: self.ttl_max_s.clone(),
            serials: self.zones.list.iter().map(|zone| zone.serial).collect(),
        });
    }

    /// Whether the decision in service fits the settings.
    fn is_deciding(&self) -> bool {
        self.unreconciled.is_none()
    }

    fn zones_of(&self, pool: &str) -> Vec<String> {
        let Some(index) = self.settings.pools.iter().position(|known| known.name == pool) else { return Vec::new() };
        self.pools[index].zones.iter().map(|zone| self.zones.list[*zone].name.clone()).collect()
    }

    fn persist_by(&mut self, due_ms: u64) {
        self.persist_ms = Some(self.persist_ms.map_or(due_ms, |known_ms| known_ms.min(due_ms)));
    }

    /// When the calendar must be looked at again.
    fn next_calendar_ms(&self, now: Now) -> Option<u64> {
        let rotates = self.settings.pools.iter().any(|pool| pool.rotate == Rotate::Weekly);
        let rotation = rotates.then(|| rotation::next_ms(now.unix_ms));
        let next_unix_ms = [rotation, self.orders.next_end_unix_ms()].into_iter().flatten().min()?;
        let wait_ms = u64::try_from(next_unix_ms.saturating_sub(now.unix_ms)).unwrap_or(0);
        Some(now.monotonic_ms.saturating_add(wait_ms.min(CALENDAR_MS)))
    }
}
