//! Who must be told: nobody is left in the dark when a pool does not work, or when nobody can know
//! whether it does; and nobody is woken for a pool that works.

use nsd_failover::director::alarm::{Alarm, Kind, Severity, alarms};
use nsd_failover::director::status::Status;

use super::super::MINUTE_MS;
use super::super::view::Said;
use super::Laws;
use super::standing::Silence;

impl Laws {
    pub fn is_as_loud_as_it_should(&mut self, status: &Status, now_ms: u64, unix_ms: i64) {
        let alarms = alarms(status, unix_ms);
        self.tells_of_blind_checks(status, &alarms);
        for index in 0..self.settings.pools.len() {
            let name = &self.settings.pools[index].name;
            let is_urgent = |alarm: &&Alarm| alarm.severity == Severity::Critical && alarm.subject == *name;
            let loud = alarms.iter().filter(is_urgent).find(|alarm| [Kind::AllDown, Kind::Blind].contains(&alarm.kind));
            match loud {
                Some(alarm) => self.has_a_reason(index, alarm),
                None => self.may_be_silent(index, now_ms),
            }
            let kind = loud.map(|alarm| if alarm.kind == Kind::Blind { "loud: blind" } else { "loud: all down" });
            kind.into_iter().for_each(|kind| self.count(kind));
        }
    }

    /// A check that cannot say anything is told of, whatever verdict it has left behind; and no other.
    fn tells_of_blind_checks(&mut self, status: &Status, alarms: &[Alarm]) {
        for node in &status.nodes {
            let told = alarms.iter().filter(|alarm| alarm.kind == Kind::Blind && alarm.subject == node.name);
            let told: Vec<&str> = told.map(|alarm| alarm.text.as_str()).collect();
            let blind = node.checks.iter().filter(|check| {
                self.view.find(&node.name, &check.check, check.family).is_some_and(|seen| seen.is_blind())
            });
            let expected: Vec<String> = blind.map(|check| format!("{} over {} ", check.check, check.family)).collect();
            assert_eq!(told.len(), expected.len(), "{told:?}, but blind are {expected:?}");
            for expected in &expected {
                assert!(told.iter().any(|text| text.starts_with(expected)), "{told:?} say nothing of {expected}");
                self.count("blind check");
            }
        }
    }

    /// A primary of the pool is not known to be up, or nobody takes over from one that is drained.
    fn has_a_reason(&self, index: usize, alarm: &Alarm) {
        let standing = self.standing(index);
        let roles = self.in_force.as_ref().unwrap().pools[index];
        let mut lines = standing.lines();
        let is_bad = lines.any(|first| {
            let primary = standing.line(first).find_map(|family| roles[family].primary);
            primary.is_none_or(|node| {
                let is_up = |silence| standing.all_in_all(node, first, silence) == Some(Said::Up);
                self.is_drained(&standing.pool.nodes[node].name) || !is_up(Silence::Counts) || !is_up(Silence::LeftOut)
            })
        });
        assert!(is_bad, "a false alarm: {alarm:?}: {:?}", self.view);
        assert!(self.held(index).is_none(), "an alarm for what the operator wants: {alarm:?}");
    }

    /// Without an alarm the primary is known to be up; unless there was some news within the time that
    /// the probes need, or `min-hold`.
    fn may_be_silent(&mut self, index: usize, now_ms: u64) {
        let standing = self.standing(index);
        if self.held(index).is_some() {
            return;
        }
        let roles = self.in_force.as_ref().unwrap().pools[index];
        let news_ms = standing.view.around(standing.pool).map(|seen| seen.news_ms).max().unwrap_or(0);
        let patience_ms = standing.view.around(standing.pool).map(|seen| seen.patience_ms()).max().unwrap_or(0);
        let due_ms = news_ms.max(self.news_ms[index]) + patience_ms + standing.pool.min_hold_ms + 10 * MINUTE_MS;
        for first in standing.lines().filter(|first| !standing.is_unwatched(*first)) {
            let primary = standing.line(first).find_map(|family| roles[family].primary);
            let is_up = |node| standing.all_in_all(node, first, Silence::LeftOut) == Some(Said::Up);
            assert!(
                primary.is_some_and(is_up) || now_ms < due_ms,
                "{} has {primary:?} over {first}, which nobody knows to be up, and no alarm: {:?}",
                standing.pool.name,
                self.view
            );
        }
        if now_ms >= due_ms {
            self.count("silent, and well");
        }
    }
}
