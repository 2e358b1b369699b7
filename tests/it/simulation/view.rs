//! What can be known from the probes that have ended: rise and fall once more, in another way than
//! the program does it, from the trail of answers.

use nsd_failover::director::event::Target;
use nsd_failover::director::settings::{ANCHOR, Settings, anchor};
use nsd_failover::director::state::State;
use nsd_failover::failover::pool::Pool;
use nsd_failover::health::check::Check;
use nsd_failover::health::family::Family;

use super::SECOND_MS;

/// A probe that gets no answer takes so long.
pub const LOST_MS: u64 = 15 * SECOND_MS;

#[derive(Debug, Default)]
pub struct View(Vec<Seen>);

/// What is known of one target.
#[derive(Debug)]
pub struct Seen {
    pub target: Target,
    rise: usize,
    fall: usize,
    interval_ms: u64,
    fast_interval_ms: u64,
    timeout_ms: u64,
    pub up: Option<bool>,
    /// The answers since the last good streak.
    trail: Vec<bool>,
    /// The last one that said anything.
    pub last: Option<bool>,
    pub last_good_ms: Option<u64>,
    /// When the verdict was reached; `None`: not in this run.
    pub since_ms: Option<u64>,
    /// When there was last anything new: a verdict, a doubt, other settings.
    pub news_ms: u64,
    /// Probes in a row that could not say anything.
    unsaid: u32,
}

/// What all checks together say of a node over a family: it is up when all say so, down when one
/// does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Said {
    Up,
    Down,
    Unknown,
}

impl View {
    pub fn new(settings: &Settings, now_ms: u64) -> View {
        let mut view = View::default();
        view.reloaded(settings, now_ms);
        view
    }

    /// Other settings: what is known of a target stays known, what nobody looks at is forgotten.
    pub fn reloaded(&mut self, settings: &Settings, now_ms: u64) {
        let mut old = std::mem::take(&mut self.0);
        let mut add = |target: Target, check: &Check| {
            if self.0.iter().any(|seen| seen.target == target) {
                return;
            }
            let known = old.iter().position(|seen| seen.target == target).map(|place| old.swap_remove(place));
            let new = || Seen {
                target,
                rise: 0,
                fall: 0,
                interval_ms: 0,
                fast_interval_ms: 0,
                timeout_ms: 0,
                up: None,
                trail: Vec::new(),
                last: None,
                last_good_ms: None,
                since_ms: None,
                news_ms: 0,
                unsaid: 0,
            };
            self.0.push(Seen {
                rise: check.rise as usize,
                fall: check.fall as usize,
                interval_ms: check.interval_ms,
                fast_interval_ms: check.fast_interval_ms,
                timeout_ms: check.timeout_ms,
                news_ms: now_ms,
                ..known.unwrap_or_else(new)
            });
        };
        for pool in &settings.pools {
            for (node, name) in pool.nodes.iter().flat_map(|node| pool.checks.iter().map(move |check| (node, check))) {
                let check = settings.checks.iter().find(|check| check.name == *name).unwrap();
                for family in check.families.iter().filter(|family| node.has(**family)) {
                    add(Target { check: name.clone(), node: node.name.clone(), family: *family }, check);
                }
            }
            for address in &pool.anchors {
                let (target, check, _) = anchor(*address);
                add(target, &check);
            }
        }
    }

    pub fn observe(&mut self, target: &Target, success: Option<bool>, now_ms: u64) {
        let seen = self.0.iter_mut().find(|seen| seen.target == *target).unwrap();
        let Some(good) = success else {
            seen.unsaid += 1;
            return;
        };
        let (was_up, doubt) = (seen.up, seen.is_doubted());
        seen.unsaid = 0;
        seen.last = Some(good);
        seen.trail.push(good);
        // A good answer makes nobody down, whatever the thresholds were before.
        if good {
            seen.last_good_ms = Some(now_ms);
            if seen.trail.ends_with(&vec![true; seen.rise]) {
                seen.trail.clear();
                seen.up = Some(true);
            }
        } else if seen.trail.iter().filter(|good| !**good).count() >= seen.fall {
            seen.up = Some(false);
        }
        if seen.up == Some(false) {
            let old = seen.trail.len().saturating_sub(8);
            seen.trail.drain(..old);
        }
        if seen.up != was_up {
            seen.since_ms = Some(now_ms);
        }
        if seen.up != was_up || seen.is_doubted() != doubt {
            seen.news_ms = now_ms;
        }
    }

    /// What was written down is known, unless it is old.
    pub fn restarted(&mut self, saved: Option<&State>, settings: &Settings, now_ms: u64, unix_ms: i64) {
        *self = View::new(settings, now_ms);
        let Some(saved) = saved else { return };
        for target in serde_json::to_value(saved).unwrap()["targets"].as_array().unwrap() {
            let is_it = |seen: &&mut Seen| {
                let (family, place) = (seen.target.family.as_str(), &seen.target);
                target["check"] == *place.check && target["node"] == *place.node && target["family"] == family
            };
            let Some(seen) = self.0.iter_mut().find(is_it) else { continue };
            if !(0..=seen.interval_ms as i64 * 10).contains(&(unix_ms - saved.saved_unix_ms)) {
                continue;
            }
            seen.up = match target["verdict"].as_str().unwrap() {
                "up" => Some(true),
                "down" => Some(false),
                _ => None,
            };
            let count = |key: &str| target[key].as_u64().unwrap().min(8) as usize;
            let (failures, successes) = (count("failures"), count("successes"));
            if failures > 0 || seen.up != Some(true) {
                seen.trail = [vec![false; failures], vec![true; successes]].concat();
            }
        }
    }

    pub fn find(&self, node: &str, check: &str, family: Family) -> Option<&Seen> {
        let is_it =
            |seen: &&Seen| (&*seen.target.node, &*seen.target.check, seen.target.family) == (node, check, family);
        self.0.iter().find(is_it)
    }

    /// What is known of a node by the checks of a pool over a family.
    pub fn of<'a>(&'a self, pool: &'a Pool, node: &'a str, family: Family) -> impl Iterator<Item = &'a Seen> + Clone {
        let is_it = move |seen: &&Seen| seen.target.node == node && seen.target.family == family;
        self.0.iter().filter(is_it).filter(|seen| pool.checks.contains(&seen.target.check))
    }

    /// `None`: it is not probed.
    pub fn said(&self, pool: &Pool, node: &str, family: Family) -> Option<Said> {
        let mut seen = self.of(pool, node, family).peekable();
        seen.peek()?;
        let of = |seen: &Seen| match seen.up {
            Some(true) => Said::Up,
            Some(false) => Said::Down,
            None => Said::Unknown,
        };
        seen.map(of).reduce(|one, other| match (one, other) {
            (Said::Down, _) | (_, Said::Down) => Said::Down,
            (Said::Unknown, _) | (_, Said::Unknown) => Said::Unknown,
            (Said::Up, Said::Up) => Said::Up,
        })
    }

    /// The targets that have to do with a pool, its anchors too.
    pub fn around(&self, pool: &Pool) -> impl Iterator<Item = &Seen> {
        let is_member = |target: &Target| {
            pool.checks.contains(&target.check) && pool.nodes.iter().any(|node| node.name == target.node)
        };
        let is_anchor = |target: &Target| {
            target.check == ANCHOR && pool.anchors.iter().any(|anchor| anchor.to_string() == target.node)
        };
        self.0.iter().filter(move |seen| is_member(&seen.target) || is_anchor(&seen.target))
    }
}

impl Seen {
    /// The last answer speaks against the verdict.
    pub fn is_doubted(&self) -> bool {
        self.up.is_some() && self.last.is_some() && self.up != self.last
    }

    /// Three probes in a row could not say anything.
    pub fn is_blind(&self) -> bool {
        self.unsaid >= 3
    }

    pub fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// In which time it is known whether there is a verdict to be had: as many probes as it needs, at
    /// the calm pace of those that get no answer, and then once more as many at the pace of docs/decision.md.
    pub fn patience_ms(&self) -> u64 {
        let needed = self.rise.max(self.fall) as u64;
        let round_ms = needed * (self.interval_ms + LOST_MS);
        round_ms + self.interval_ms + needed * (self.fast_interval_ms + self.timeout_ms)
    }
}
