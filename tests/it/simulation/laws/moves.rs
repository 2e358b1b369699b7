//! Who may become primary, when, and when nobody is: the truth table of DESIGN.md and docs/decision.md
//! row by row, from what was seen.

use nsd_failover::director::status::Status;
use nsd_failover::failover::pool::{Families, Preempt, WhenAllDown};
use nsd_failover::health::family::Family;

use super::super::view::Said;
use super::Laws;
use super::standing::{Silence, Standing};

/// A primary became another one, in one pool and family.
pub struct Move {
    pub pool: usize,
    pub family: Family,
    pub from: Option<usize>,
    pub to: Option<usize>,
    /// A reload has taken the primary of before out of the pool.
    pub is_gone: bool,
}

impl Laws {
    pub fn judge(&mut self, moved: &Move, rule: &str, is_late: bool, now_ms: u64, unix_ms: i64) {
        match moved.to {
            Some(node) => self.may_promote(moved, node, rule, is_late, unix_ms),
            None => self.may_withdraw(moved, rule, is_late, now_ms),
        }
        if let (Some(node), "preempt", false) = (moved.to, rule, is_late) {
            self.has_been_up(moved, node, now_ms);
        }
        if moved.is_gone {
            self.count("primary gone");
        }
    }

    /// Nobody is promoted who is not up, but on order or where the policy says so.
    fn may_promote(&self, moved: &Move, node: usize, rule: &str, is_late: bool, unix_ms: i64) {
        let standing = self.standing(moved.pool);
        let (pool, family) = (standing.pool, moved.family);
        let name = &pool.nodes[node].name;
        let context = || format!("{name} became primary of {} over {family} by {rule}: {:?}", pool.name, self.view);
        if rule == "hold" {
            assert!(is_late || self.held(moved.pool).is_some(), "{}: nobody ordered it", context());
            return;
        }
        assert!(self.held(moved.pool).is_none(), "{}, which is held", context());
        if rule == "untold" {
            // Who was primary is gone, and the files know who was before.
            let zones = self.settings.zones.iter();
            let mut files =
                zones.filter_map(|zone| zone.roles_in_file[zone.pools.iter().position(|at| *at == moved.pool)?]);
            assert!(moved.is_gone && files.all(|told| told[family].primary.node() == Some(node)), "{}", context());
            return;
        }
        // Where nobody else is up it may stay, and come back over a family.
        let may_be_drained = match rule {
            "family" => true,
            "start" => (0..pool.nodes.len()).all(|node| !standing.is_eligible(node, family)),
            _ => false,
        };
        assert!(may_be_drained || !self.is_drained(name), "{}, but it is drained", context());
        let is_up = standing.is_candidate(node, family, Silence::LeftOut);
        match rule {
            "failover" | "drain" | "rotation" | "preempt" => {
                assert!(is_up, "{}, but it is not up", context());
                if !is_late {
                    self.is_the_one(standing, moved, node, rule, unix_ms);
                }
            }
            "family" => {
                let is_down = standing.said(node, family) == Some(Said::Down);
                assert!(!is_down || standing.is_silent(family), "{}", context());
            }
            "all-down-first" | "start" => {
                assert!(rule == "start" || pool.when_all_down == WhenAllDown::First, "{}", context());
                let another = (0..pool.nodes.len()).find(|node| standing.is_sure(*node, family));
                assert!(another.is_none() || is_up, "{}, but another is up", context());
                let order = standing.order(unix_ms);
                let first = order.iter().find(|node| standing.is_eligible(**node, family)).or(order.first());
                assert!(is_up || first == Some(&node), "{}, not the first", context());
                assert!(rule == "start" || is_late || self.all_are_down(standing, family), "{}", context());
            }
            _ => panic!("{}: a rule that moves nothing", context()),
        }
    }

    /// A move is due, and this is who is next.
    fn is_the_one(&self, standing: Standing<'_>, moved: &Move, node: usize, rule: &str, unix_ms: i64) {
        let (pool, family) = (standing.pool, moved.family);
        let name = &pool.nodes[node].name;
        let context = || format!("{name} became primary of {} over {family} by {rule}: {:?}", pool.name, self.view);
        if let Some(from) = moved.from {
            let is_better = || standing.is_preferred(node, from, unix_ms);
            match rule {
                "failover" => {
                    let is_down = standing.is_surely_down(from, family);
                    // An anchor may give a silent family its say back.
                    let counts = standing.all_in_all(from, family, Silence::Counts) == Some(Said::Down);
                    assert!(is_down || (!pool.anchors.is_empty() && counts), "{}, but who was is not down", context());
                }
                "drain" => assert!(self.is_drained(&pool.nodes[from].name), "{}, nobody is drained", context()),
                _ => assert!(is_better(), "{}: not preferred", context()),
            }
        }
        if pool.families != Families::Withdraw {
            let mut spoken = standing.seen(node, family).filter(|seen| !standing.is_silent(seen.target.family));
            assert!(spoken.all(|seen| seen.last != Some(false)), "{}: on an old answer", context());
        }
        // Who comes back waits for `preempt`; everybody else is there for whoever fails.
        if ["failover", "drain"].contains(&rule) {
            let order = standing.order(unix_ms);
            let mut earlier = order.into_iter().take_while(|known| *known != node);
            let is_passed_over =
                |known: usize| standing.is_sure(known, family) && standing.has_spoken_well(known, family);
            assert_eq!(earlier.find(|known| is_passed_over(*known)), None, "{}: another is preferred", context());
        }
    }

    /// Nobody comes back before `preempt`.
    fn has_been_up(&mut self, moved: &Move, node: usize, now_ms: u64) {
        let standing = self.standing(moved.pool);
        let Preempt::After(delay_ms) = standing.pool.preempt else { panic!("preempt = \"never\", but it did") };
        assert!(!standing.is_unwatched(moved.family), "nobody is probed, but somebody is up again");
        let name = &standing.pool.nodes[node].name;
        let up = standing.line(moved.family).filter(|family| standing.said(node, *family) == Some(Said::Up));
        // The check that was up last; what was so before this run has been so for long.
        let since_ms = |family| self.view.of(standing.pool, name, family).map(|seen| seen.since_ms).max().flatten();
        let since_ms = up.map(since_ms);
        let since_ms = match standing.pool.families {
            Families::Withdraw => since_ms.min(),
            Families::Together | Families::Independent => since_ms.max(),
        };
        let due_ms = since_ms.flatten().map_or(0, |since_ms| since_ms + delay_ms);
        assert!(due_ms <= now_ms, "{name} came back {} ms early", due_ms - now_ms);
        self.count("preempt");
    }

    /// Nothing is withdrawn unless somebody said so.
    fn may_withdraw(&self, moved: &Move, rule: &str, is_late: bool, now_ms: u64) {
        let standing = self.standing(moved.pool);
        let (pool, family) = (standing.pool, moved.family);
        let context = || format!("{} was withdrawn over {family} by {rule}: {:?}", pool.name, self.view);
        let roles = self.in_force.as_ref().unwrap().pools[moved.pool];
        let sister = Family::ALL.into_iter().find_map(|family| roles[family].primary);
        match rule {
            // Held as it was, or the node has no such address.
            "hold" => assert!(self.held(moved.pool).is_some_and(|held| held[family].is_none())),
            _ if sister.is_some_and(|node| !pool.nodes[node].has(family)) && pool.families != Families::Independent => {
            }
            _ if pool.nodes.iter().all(|node| !node.has(family)) => {}
            "all-down-withdraw" => {
                assert_eq!(pool.when_all_down, WhenAllDown::Withdraw, "{}", context());
                let another = (0..pool.nodes.len()).find(|node| standing.is_sure(*node, family));
                assert_eq!(another, None, "{}", context());
                assert!(is_late || self.all_are_down(standing, family), "{}: of somebody nothing is known", context());
                self.was_confirmed_by_an_anchor(standing, now_ms);
            }
            "family" | "failover" | "preempt" | "rotation" | "drain" | "start" => {
                assert_eq!(pool.families, Families::Withdraw, "{}", context());
                let said = standing.said(sister.or(moved.from).unwrap(), family);
                assert_ne!(said, Some(Said::Up), "{}", context());
            }
            _ => panic!("{}", context()),
        }
    }

    /// Of everybody who might be chosen it is known that he is down.
    fn all_are_down(&self, standing: Standing<'_>, family: Family) -> bool {
        let mut eligible = (0..standing.pool.nodes.len()).filter(|node| standing.is_eligible(*node, family));
        let is_down = |node, silence| standing.all_in_all(node, family, silence) == Some(Said::Down);
        eligible.all(|node| is_down(node, Silence::LeftOut) || is_down(node, Silence::Counts))
    }

    /// With anchors, nobody says "they are all dead" before one has answered since the last died.
    fn was_confirmed_by_an_anchor(&self, standing: Standing<'_>, now_ms: u64) {
        let (pool, view) = (standing.pool, standing.view);
        if pool.anchors.is_empty() {
            return;
        }
        // A node is down since the first of its checks is; one that was before this run says nothing.
        let down_ms = |node: &str, family| {
            view.of(pool, node, family).filter(|seen| seen.up == Some(false)).map(|seen| seen.since_ms).min().flatten()
        };
        let of = |node: &String| Family::ALL.map(|family| down_ms(node, family));
        let last_ms = pool.nodes.iter().flat_map(|node| of(&node.name)).flatten().max();
        let anchors =
            view.around(pool).filter(|seen| pool.anchors.iter().any(|known| known.to_string() == seen.target.node));
        let answered_ms = anchors.filter_map(|anchor| anchor.last_good_ms).max();
        assert!(answered_ms >= last_ms, "withdrawn at {now_ms} without an anchor: {:?}", self.view);
    }

    /// Between events nobody is left who is known to be down while another is known to be up; but for
    /// the operator and for `min-hold`.
    pub fn has_failed_over(&mut self, status: &Status, now_ms: u64) {
        let Some(in_force) = self.in_force.clone() else { return };
        for index in 0..self.settings.pools.len() {
            if !status.ready || self.held(index).is_some() {
                continue;
            }
            let standing = self.standing(index);
            let min_hold_ms = standing.pool.min_hold_ms;
            let mut found = 0;
            for first in standing.lines() {
                let last_ms = standing.line(first).filter_map(|family| self.moved_ms.get(&(index, family))).max();
                let last_ms = last_ms.map_or(self.known_ms, |last_ms| self.known_ms.max(*last_ms));
                let primary = standing.line(first).find_map(|family| in_force.pools[index][family].primary);
                let is_down = primary.is_none_or(|node| standing.is_surely_down(node, first));
                if !is_down || (now_ms - last_ms < min_hold_ms && min_hold_ms > 0) {
                    continue;
                }
                found += 1;
                let is_better = |node: usize| standing.is_sure(node, first) && standing.has_spoken_well(node, first);
                let better = (0..standing.pool.nodes.len()).find(|node| is_better(*node));
                assert_eq!(better, None, "{} stays with {primary:?} over {first}: {:?}", standing.pool.name, self.view);
            }
            (0..found).for_each(|_| self.count("nobody to fail over to"));
        }
    }
}
