//! What can be known from the probes that have ended: rise and fall once more, in another way than
//! the program does it, from the trail of answers.

use std::collections::HashMap;

use nsd_failover::director::event::Target;
use nsd_failover::director::settings::{Settings, anchor};
use nsd_failover::director::state::State;
use nsd_failover::health::family::Family;

#[derive(Debug)]
pub struct View(HashMap<(String, Family), Seen>);

#[derive(Debug)]
struct Seen {
    target: Target,
    rise: usize,
    fall: usize,
    interval_ms: u64,
    up: Option<bool>,
    /// The answers since the last good streak.
    trail: Vec<bool>,
    last: Option<bool>,
    last_good_ms: Option<u64>,
    /// When it went down; `None`: it did not, in this run.
    down_ms: Option<u64>,
}

impl View {
    pub fn new(settings: &Settings) -> View {
        let mut seen = HashMap::new();
        let mut add = |target: Target, rise: u32, fall: u32, interval_ms: u64| {
            let (rise, fall) = (rise as usize, fall as usize);
            let place = (target.node.clone(), target.family);
            let (up, trail, last, last_good_ms, down_ms) = (None, Vec::new(), None, None, None);
            seen.entry(place).or_insert(Seen {
                target,
                rise,
                fall,
                interval_ms,
                up,
                trail,
                last,
                last_good_ms,
                down_ms,
            });
        };
        for pool in &settings.pools {
            for node in &pool.nodes {
                for check in &settings.checks {
                    for family in check.families.iter().filter(|family| node.has(**family)) {
                        let target = Target { check: check.name.clone(), node: node.name.clone(), family: *family };
                        add(target, check.rise, check.fall, check.interval_ms);
                    }
                }
            }
            for address in &pool.anchors {
                let (target, check, _) = anchor(*address);
                add(target, check.rise, check.fall, check.interval_ms);
            }
        }
        View(seen)
    }

    pub fn observe(&mut self, target: &Target, success: Option<bool>, now_ms: u64) {
        let Some(good) = success else { return };
        let seen = self.0.get_mut(&(target.node.clone(), target.family)).unwrap();
        seen.last = Some(good);
        seen.last_good_ms = if good { Some(now_ms) } else { seen.last_good_ms };
        seen.trail.push(good);
        let was_up = seen.up;
        if seen.trail.ends_with(&vec![true; seen.rise]) {
            seen.trail.clear();
            seen.up = Some(true);
        } else if seen.trail.iter().filter(|good| !**good).count() >= seen.fall {
            seen.up = Some(false);
            let old = seen.trail.len().saturating_sub(seen.rise + seen.fall);
            seen.trail.drain(..old);
        }
        // Whoever is down stays so until the good streak.
        if was_up == Some(false) && seen.up != Some(true) {
            seen.up = Some(false);
        }
        if seen.up == Some(false) && was_up != Some(false) {
            seen.down_ms = Some(now_ms);
        }
    }

    /// What was written down is known, unless it is old.
    pub fn restarted(&mut self, saved: Option<&State>, settings: &Settings, unix_ms: i64) {
        *self = View::new(settings);
        let Some(saved) = saved else { return };
        for target in serde_json::to_value(saved).unwrap()["targets"].as_array().unwrap() {
            let family = if target["family"] == "ipv4" { Family::Ipv4 } else { Family::Ipv6 };
            let place = (target["node"].as_str().unwrap().to_owned(), family);
            let seen = self.0.get_mut(&place).unwrap();
            if !(0..=seen.interval_ms as i64 * 10).contains(&(unix_ms - saved.saved_unix_ms)) {
                continue;
            }
            seen.up = match target["verdict"].as_str().unwrap() {
                "up" => Some(true),
                "down" => Some(false),
                _ => None,
            };
            let count = |key: &str| target[key].as_u64().unwrap() as usize;
            let (failures, successes) = (count("failures"), count("successes"));
            if failures > 0 {
                seen.trail = vec![false; failures.min(seen.fall)];
                seen.trail.extend(vec![true; successes]);
            } else if seen.up != Some(true) {
                seen.trail = vec![true; successes];
            }
        }
    }

    fn of(&self, node: &str, family: Family) -> Option<&Seen> {
        self.0.get(&(node.to_owned(), family))
    }

    /// `Some(true)`: up.
    pub fn verdict(&self, node: &str, family: Family) -> Option<bool> {
        self.of(node, family)?.up
    }

    /// The last answer that said anything.
    pub fn last(&self, node: &str, family: Family) -> Option<bool> {
        self.of(node, family)?.last
    }

    /// When it went down, if it did in this run and still is.
    pub fn down_ms(&self, node: &str, family: Family) -> Option<u64> {
        self.of(node, family).filter(|seen| seen.up == Some(false))?.down_ms
    }

    /// When an anchor answered last.
    pub fn last_good_ms(&self, anchor: &str) -> Option<u64> {
        self.0.values().filter(|seen| seen.target.node == anchor).filter_map(|seen| seen.last_good_ms).max()
    }
}
