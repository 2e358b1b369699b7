//! The targets of all pools: their counters, their last outcomes, and when each is due. A target
//! that many pools look at is probed once.

use std::collections::HashMap;

use crate::health::check::{Check, Outcome};
use crate::health::family::Family;
use crate::health::history::History;
use crate::health::schedule::{Schedule, Slot};
use crate::health::time::Now;
use crate::health::verdict::{Counter, Thresholds, Verdict};

use super::event::Target;
use super::settings::{ANCHOR_CALM_MS, Settings, anchor};
use super::state::{SavedTarget, State, monotonic, to_monotonic, to_unix};

/// So many probes in a row that could not say anything are worth an alarm.
const BLIND_PROBES: u32 = 3;

#[derive(Debug)]
pub(super) struct Targets {
    pub(super) list: Vec<TargetState>,
    index: HashMap<Target, usize>,
    schedule: Schedule,
}

#[derive(Debug)]
pub(super) struct TargetState {
    pub(super) target: Target,
    pub(super) thresholds: Thresholds,
    interval_ms: u64,
    fast_interval_ms: u64,
    timeout_ms: u64,
    pub(super) counter: Counter,
    /// When the verdict was reached, in monotonic milliseconds; `None`: there is none.
    pub(super) since_ms: Option<i64>,
    pub(super) last: Option<LastProbe>,
    /// When the last good probe ended in this run, in monotonic milliseconds.
    pub(super) last_good_ms: Option<i64>,
    /// When the last probe ended in this run, in monotonic milliseconds.
    pub(super) last_ended_ms: Option<i64>,
    /// What the last probe said that could say anything.
    last_said: Option<bool>,
    pub(super) history: History,
    /// Probes that have ended in this run.
    ended: u32,
    /// Those in a row, up to the last, that could not say anything.
    unsaid: u32,
    /// Enough has been seen in this run to act upon: a verdict stands and a probe has ended since
    /// the start, or as many probes as a verdict needs have ended without one.
    pub(super) settled: bool,
    /// Pools and nodes in them, by index, that this target speaks about.
    pub(super) users: Vec<(usize, usize)>,
    /// Pools that this target is an anchor of.
    pub(super) anchored: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct LastProbe {
    pub(super) outcome: Outcome,
    pub(super) unix_ms: i64,
}

/// What an outcome has changed.
pub(super) struct Observed {
    pub(super) target: usize,
    pub(super) flipped: bool,
    /// The target has settled with this outcome.
    pub(super) settled: bool,
    /// The last outcome now speaks against the verdict, or does no longer.
    pub(super) doubted: bool,
    /// The counters have changed: the verdict is further from its change, or nearer to it.
    pub(super) counted: bool,
}

impl Targets {
    /// The targets of these settings. What `old` knows of them (on a reload) is kept whole; what
    /// `saved` knows (after a restart), as far as it is fresh.
    pub(super) fn new(settings: &Settings, saved: &State, old: Option<&Targets>, now: Now) -> Targets {
        let checks: HashMap<&str, &Check> = settings.checks.iter().map(|check| (check.name.as_str(), check)).collect();
        let mut targets = Targets { list: Vec::new(), index: HashMap::new(), schedule: Schedule::new(seed(now)) };
        for (pool_index, pool) in settings.pools.iter().enumerate() {
            for (node_index, node) in pool.nodes.iter().enumerate() {
                let checks = pool.checks.iter().filter_map(|name| checks.get(name.as_str()));
                for check in checks {
                    for family in check.families.iter().filter(|family| node.has(**family)) {
                        let target = Target { check: check.name.clone(), node: node.name.clone(), family: *family };
                        let index = targets.find_or_add(target, check);
                        let user = (pool_index, node_index);
                        if !targets.list[index].users.contains(&user) {
                            targets.list[index].users.push(user);
                        }
                    }
                }
            }
        }
        for (pool_index, pool) in settings.pools.iter().enumerate() {
            for address in &pool.anchors {
                let (target, check, _) = anchor(*address);
                let index = targets.find_or_add(target, &check);
                targets.list[index].anchored.push(pool_index);
            }
        }
        targets.restore(saved, now);
        targets.plan(old, now);
        targets
    }

    fn find_or_add(&mut self, target: Target, check: &Check) -> usize {
        if let Some(index) = self.index.get(&target) {
            return *index;
        }
        let index = self.list.len();
        self.index.insert(target.clone(), index);
        self.list.push(TargetState {
            target,
            thresholds: Thresholds { rise: check.rise, fall: check.fall },
            interval_ms: check.interval_ms.max(1),
            fast_interval_ms: check.fast_interval_ms.clamp(1, check.interval_ms.max(1)),
            timeout_ms: check.timeout_ms,
            counter: Counter::default(),
            since_ms: None,
            last: None,
            ended: 0,
            unsaid: 0,
            settled: false,
            users: Vec::new(),
            anchored: Vec::new(),
            last_good_ms: None,
            last_ended_ms: None,
            last_said: None,
            history: History::default(),
        });
        index
    }

    fn restore(&mut self, saved: &State, now: Now) {
        for SavedTarget { target, counter, since_unix_ms } in &saved.targets {
            let Some(index) = self.index.get(target) else { continue };
            let state = &mut self.list[*index];
            if saved.is_fresh(state.interval_ms, now) {
                state.counter = *counter;
                state.since_ms = since_unix_ms.map(|unix_ms| to_monotonic(unix_ms, now));
            }
        }
    }

    /// Plans the first probe of each target; those that `old` knows keep their place in its plan.
    fn plan(&mut self, old: Option<&Targets>, now: Now) {
        let slots = old.map(|old| old.schedule.slots()).unwrap_or_default();
        let count = self.list.len();
        for state in &mut self.list {
            let known = old.and_then(|old| Some((old, *old.index.get(&state.target)?)));
            let Some((old, index)) = known else {
                self.schedule.add(now.monotonic_ms, state.interval_ms, count);
                continue;
            };
            let before = &old.list[index];
            state.counter = before.counter;
            state.since_ms = before.since_ms;
            state.last = before.last.clone();
            state.last_good_ms = before.last_good_ms;
            state.last_ended_ms = before.last_ended_ms;
            state.last_said = before.last_said;
            state.history = before.history.clone();
            state.ended = before.ended;
            state.unsaid = before.unsaid;
            state.settled = before.settled;
            match slots[index] {
                Slot::Due(due_ms) => {
                    self.schedule.add_at(due_ms.min(now.monotonic_ms.saturating_add(state.interval_ms)));
                }
                Slot::InFlight(started_ms) => self.schedule.add_in_flight(started_ms),
            }
        }
    }

    /// Counts the outcome of a probe. `None` if no probe of such a target is under way.
    pub(super) fn observe(&mut self, target: &Target, outcome: Outcome, now: Now) -> Option<Observed> {
        let index = *self.index.get(target)?;
        if !self.schedule.is_in_flight(index) {
            return None;
        }
        let state = &mut self.list[index];
        let said = outcome.success;
        let (counter, doubt) = (state.counter, state.is_doubted());
        let flipped = state.counter.observe(said, state.thresholds);
        state.last_ended_ms = Some(monotonic(now));
        if said == Some(true) {
            state.last_good_ms = Some(monotonic(now));
        }
        state.history.push(&outcome, now.unix_ms);
        // What could not be judged is no reason to hurry.
        let soon = said.is_some() && state.counter.is_contested();
        let interval_ms = if soon { state.fast_interval_ms } else { state.calm_interval_ms() };
        self.schedule.ended(index, now.monotonic_ms, interval_ms);
        if flipped {
            state.since_ms = Some(monotonic(now));
        }
        match said {
            Some(_) => (state.last_said, state.unsaid) = (said, 0),
            None => state.unsaid = state.unsaid.saturating_add(1),
        }
        let counted = counter != state.counter;
        state.last = Some(LastProbe { outcome, unix_ms: now.unix_ms });
        state.ended = state.ended.saturating_add(1);
        let needed = state.thresholds.rise.max(state.thresholds.fall).max(1);
        let settled = !state.settled && (state.counter.verdict() != Verdict::Unknown || state.ended >= needed);
        state.settled |= settled;
        let doubted = doubt != state.is_doubted();
        Some(Observed { target: index, flipped, settled, doubted, counted })
    }

    /// Looks at a target soon, unless a probe is under way: now, but not sooner after the last probe
    /// than `fast-interval`, so that one short mishap does not count twice.
    pub(super) fn hurry(&mut self, target: usize, now: Now) {
        let state = &self.list[target];
        let last_ms = state.last_ended_ms.and_then(|ended_ms| u64::try_from(ended_ms).ok());
        let rested_ms = last_ms.map_or(0, |ended_ms| ended_ms.saturating_add(state.fast_interval_ms));
        self.schedule.hurry(target, now.monotonic_ms.max(rested_ms));
    }

    /// The next target that is due, as under way from now on.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<&Target> {
        self.schedule.take_due(now_ms).map(|index| &self.list[index].target)
    }

    pub(super) fn next_ms(&self) -> Option<u64> {
        self.schedule.next_ms()
    }

    pub(super) fn saved(&self, now: Now) -> Vec<SavedTarget> {
        let saved = |state: &TargetState| SavedTarget {
            target: state.target.clone(),
            counter: state.counter,
            since_unix_ms: state.since_ms.map(|since_ms| to_unix(since_ms, now)),
        };
        self.list.iter().map(saved).collect()
    }
}

impl TargetState {
    /// Whether the last probe spoke against the verdict.
    pub(super) fn is_doubted(&self) -> bool {
        match self.counter.verdict() {
            Verdict::Up => self.last_said == Some(false),
            Verdict::Down => self.last_said == Some(true),
            Verdict::Unknown => false,
        }
    }

    /// Time between two probes while nothing speaks against the verdict.
    fn calm_interval_ms(&self) -> u64 {
        match self.counter.verdict() {
            Verdict::Up if !self.anchored.is_empty() => self.interval_ms.max(ANCHOR_CALM_MS),
            _ => self.interval_ms,
        }
    }

    /// Whether its probes have not been able to say anything for a while: whatever verdict stands, they
    /// would not notice its end.
    pub(super) fn is_blind(&self) -> bool {
        self.unsaid >= BLIND_PROBES
    }

    /// The time in which a verdict is reached at the latest, if the probes can say anything.
    pub(super) fn patience_ms(&self) -> u64 {
        let needed = u64::from(self.thresholds.rise.max(self.thresholds.fall).max(1));
        let each_ms = self.fast_interval_ms.saturating_add(self.timeout_ms);
        self.interval_ms.saturating_add(needed.saturating_mul(each_ms))
    }

    /// In how many milliseconds the verdict can have changed, at the earliest.
    pub(super) fn change_ms(&self) -> u64 {
        let (against, needed) = self.counter.against(self.thresholds);
        let first_ms = if self.counter.is_contested() { self.fast_interval_ms } else { self.interval_ms };
        let more = u64::from(needed.saturating_sub(against).saturating_sub(1));
        first_ms.saturating_add(more.saturating_mul(self.fast_interval_ms))
    }

    pub(super) fn family(&self) -> Family {
        self.target.family
    }

    /// "L4CON refused", or that nothing was seen yet.
    pub(super) fn found(&self) -> String {
        match &self.last {
            None => "not probed yet".to_owned(),
            Some(LastProbe { outcome, .. }) if outcome.detail.is_empty() => outcome.word.clone(),
            Some(LastProbe { outcome, .. }) => format!("{} {}", outcome.word, outcome.detail),
        }
    }
}

/// Each run has its own jitter, and the same start gives the same run.
fn seed(now: Now) -> u64 {
    now.unix_ms.cast_unsigned() ^ now.monotonic_ms.rotate_left(32)
}
