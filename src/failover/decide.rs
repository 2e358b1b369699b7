//! The decision: who is primary and standby of one pool. One pure function under its truth table.

use std::slice;

use crate::health::family::{Family, PerFamily};
use crate::health::verdict::Verdict;

use super::pool::{Families, Pool, PoolRoles, Preempt, Roles, Rotate, WhenAllDown};
use super::rotation;
use super::rule::Rule;

/// What a pool remembers from one decision to the next. Times are monotonic milliseconds, negative
/// where they lie before the start of the process.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Memory {
    /// `None`: nothing was decided yet, and nothing is known from before.
    pub roles: Option<PoolRoles>,
    /// When the primary last moved without having been ordered or planned to (`min-hold`).
    pub moved_ms: PerFamily<Option<i64>>,
    /// The last week whose rotation was looked at; see [`rotation::week`].
    pub rotated_week: PerFamily<Option<i64>>,
    /// Since when it is waited for what must be known (rule unknown), and in vain (rule blind).
    pub waiting_ms: PerFamily<Option<i64>>,
}

/// What is known of one node over one family, all its checks together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    pub verdict: Verdict,
    /// The last probe spoke against the verdict: no ground to move on.
    pub doubt: bool,
    /// Since when the verdict stands, in monotonic milliseconds.
    pub since_ms: i64,
}

/// What is known of one node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NodeView {
    /// `None`: it is not probed over this family.
    pub seen: PerFamily<Option<Seen>>,
    /// The operator does not want it to be primary.
    pub drained: bool,
}

/// Everything outside the pool and its memory that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Parallel to [`Pool::nodes`].
    pub nodes: &'a [NodeView],
    /// The primary that the operator holds in each family, if the pool is held.
    pub hold: Option<PerFamily<Option<usize>>>,
    /// Whether a full round of probes has ended since the start.
    pub confirmed: bool,
    /// What the anchors say of our own network; `None` without anchors of the family.
    pub anchors: PerFamily<Option<Verdict>>,
    /// The time in which the probes of this pool tell what can be known, in milliseconds.
    pub patience_ms: u64,
    /// Monotonic and Unix milliseconds.
    pub now_ms: i64,
    pub unix_ms: i64,
}

/// What was decided, and what to remember of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PoolDecision {
    /// With the new roles. They are `None` only as long as nothing is known and nothing confirmed.
    pub memory: Memory,
    pub rule: PerFamily<Rule>,
    /// Families over which no node is up while others have one, and not because its nodes are dead
    /// altogether: they had no say in the choice, and our own network may be broken.
    pub silent: PerFamily<bool>,
    /// A better node is due, but for its last probe, which was bad: the next one decides.
    pub waits: bool,
    /// When to decide again even if nothing else happens, in monotonic milliseconds. The rotation
    /// and the expiry of orders, which follow the calendar, come on top.
    pub review_ms: Option<i64>,
}

/// Decides about one pool. The order of preference is the configured one, turned by the rotation;
/// a node is eligible when it has an address of the family and is not drained. First match wins:
///
/// | situation                                              | primary becomes                          | rule |
/// |--------------------------------------------------------|------------------------------------------|------|
/// | the operator holds a node                              | that node, up or not                     | hold |
/// | no full round of probes has ended                      | unchanged, also if there is none yet     | unconfirmed |
/// | there is no primary yet, a candidate is up             | the first eligible node that is up       | start |
/// | there is no primary yet, nobody is up                  | the first eligible node, else the first  | start |
/// | the answer is withdrawn, a candidate is up             | the first eligible node that is up       | failover |
/// | the primary is drained, a candidate is up              | the first eligible node that is up       | drain |
/// | the primary is down, a candidate is up                 | the first eligible node that is up       | failover |
/// | the primary is down, but its last probe was good, or   | unchanged: wait for the next probes      | unknown |
/// |   the last probe of every candidate that is up was bad |                                          |      |
/// | the primary is down, nobody is known to be up,         | unchanged: wait and see                  | unknown |
/// |   of some candidate nothing is known yet               |                                          |      |
/// | nobody is up, the anchors are not asked yet            | unchanged: wait and see                  | unknown |
/// | nobody is up, and the anchors fail too                 | unchanged: we are cut off, not they      | cut-off |
/// | nobody is up                                           | unchanged                                | all-down-keep |
/// |   ... `when-all-down = "first"`                        | the first eligible node                  | all-down-first |
/// |   ... `when-all-down = "withdraw"`                     | none: NODATA                             | all-down-withdraw |
/// | a new week begins, a better node is up                 | the first of those, at once              | rotation |
/// | a better node has been up for `preempt`                | the first of those                       | preempt |
/// | nothing is known of the primary                        | unchanged                                | unknown |
/// | what `unknown` waits for has not come in the time in   | unchanged, loudly                        | blind |
/// |   which the probes tell (a plugin that is not there)   |                                          |      |
/// | the primary is up, no better node is due               | unchanged                                | steady |
///
/// Whoever is to become primary by a move must have had a good last probe; a node whose last probe was
/// bad is passed over until the next one has told.
///
/// Then: a move that was neither ordered nor planned waits for `min-hold` since the last such move
/// (rule min-hold); with `families = "withdraw"` a family in which the primary alone is down is
/// answered with NODATA (rule family). A pool without probes is moved only by orders and the
/// rotation: its nodes count as up, and nobody preempts.
///
/// A node is up when it is up over each family that it is probed over; with
/// `families = "independent"` each family is decided on its own, with `"withdraw"` a node is up
/// when one of its families is.
///
/// A family over which no node of the pool is up says nothing about the choice, as long as some
/// node is up over the other: it is left out (and an alarm is raised), so that a host without IPv6
/// of its own still fails over. With `"withdraw"` what such a family answers stays as it was. An
/// anchor that is up over the family shows that our own network is not to blame: then it counts.
pub fn decide(pool: &Pool, memory: &Memory, view: &View<'_>) -> PoolDecision {
    let mut decision = PoolDecision {
        memory: *memory,
        rule: PerFamily::from_fn(|_| Rule::Unconfirmed),
        silent: PerFamily::default(),
        waits: false,
        review_ms: None,
    };
    match pool.families {
        Families::Independent => {
            for family in &Family::ALL {
                if pool.nodes.iter().any(|node| node.has(*family)) {
                    Line::new(pool, slice::from_ref(family), memory, view).run(&mut decision);
                } else {
                    decision.rule[*family] = Rule::Steady;
                }
            }
        }
        Families::Together | Families::Withdraw => {
            Line::new(pool, &Family::ALL, memory, view).run(&mut decision);
        }
    }
    decision
}

/// The nodes of a pool in the order of preference of a moment, in Unix milliseconds.
pub fn preference(pool: &Pool, unix_ms: i64) -> impl Iterator<Item = usize> + Clone {
    let first = first(pool, rotation::week(unix_ms));
    (first..pool.nodes.len()).chain(0..first)
}

/// The index of the node that is preferred in a week; 0 in an empty pool.
fn first(pool: &Pool, week: i64) -> usize {
    match pool.rotate {
        Rotate::Never => 0,
        Rotate::Weekly => rotation::offset(week, pool.nodes.len()),
    }
}

/// The families of a line over which no node is up, unless that is true of all of them.
fn silent(families: &[Family], view: &View<'_>) -> PerFamily<bool> {
    let has_one_up = |family: Family| {
        view.nodes.iter().any(|node| node.seen[family].is_some_and(|seen| seen.verdict == Verdict::Up))
    };
    let is_probed = |family: Family| view.nodes.iter().any(|node| node.seen[family].is_some());
    if !families.iter().any(|family| has_one_up(*family)) {
        return PerFamily::default();
    }
    PerFamily::from_fn(|family| {
        let ours_works = view.anchors[family] == Some(Verdict::Up);
        families.contains(&family) && is_probed(family) && !has_one_up(family) && !ours_works
    })
}

/// The families of a pool that move together, and what their decision depends on.
struct Line<'a> {
    pool: &'a Pool,
    families: &'a [Family],
    memory: &'a Memory,
    view: &'a View<'a>,
    /// The primary so far.
    current: Option<usize>,
    /// Whether any node is probed over any of these families.
    watched: bool,
    /// The index of the node that is first in order of preference today.
    first: usize,
    week: i64,
    /// Families that are left out.
    silent: PerFamily<bool>,
}

/// What a line has decided about its primary.
struct Choice {
    primary: Option<usize>,
    rule: Rule,
    review_ms: Option<i64>,
    waits: Waits,
}

/// What is due, but for a node whose last probe was bad.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Waits {
    /// A better node.
    preempt: bool,
    /// This week's rotation.
    rotation: bool,
}

impl Choice {
    fn new(primary: Option<usize>, rule: Rule) -> Choice {
        Choice { primary, rule, review_ms: None, waits: Waits::default() }
    }
}

impl<'a> Line<'a> {
    fn new(pool: &'a Pool, families: &'a [Family], memory: &'a Memory, view: &'a View<'a>) -> Line<'a> {
        let week = rotation::week(view.unix_ms);
        let current = families.iter().find_map(|family| memory.roles?[*family].primary);
        let watched = view.nodes.iter().any(|node| families.iter().any(|family| node.seen[*family].is_some()));
        let silent = silent(families, view);
        Line { pool, families, memory, view, current, watched, first: first(pool, week), week, silent }
    }

    fn run(&self, decision: &mut PoolDecision) {
        let mut choice = match self.view.hold {
            Some(hold) => Choice::new(self.families.iter().find_map(|family| hold[*family]), Rule::Hold),
            None => self.choose(),
        };
        let mut roles = self.roles(&choice);
        let mut moved = self.moves(roles);
        if moved && choice.rule.is_unplanned() {
            if let Some(until_ms) = self.held_until_ms() {
                choice = Choice { review_ms: Some(until_ms), ..Choice::new(self.current, Rule::MinHold) };
                roles = self.memory.roles;
                moved = false;
            } else if choice.rule == Rule::Steady {
                // The node stays, what a family answers does not.
                choice.rule = Rule::Family;
            }
        }
        if let Some(roles) = roles {
            let all = decision.memory.roles.get_or_insert_default();
            for family in self.families {
                all[*family] = roles[*family];
            }
        }
        let waiting_ms = self.wait(&mut choice);
        for family in self.families {
            decision.memory.waiting_ms[*family] = waiting_ms;
            decision.rule[*family] = choice.rule;
            decision.silent[*family] = self.silent[*family] && self.view.confirmed && !self.is_explained(*family);
            if moved && choice.rule.is_unplanned() {
                decision.memory.moved_ms[*family] = Some(self.view.now_ms);
            }
            if self.pool.rotate == Rotate::Weekly && self.view.confirmed && !choice.waits.rotation {
                decision.memory.rotated_week[*family] = Some(self.week);
            }
        }
        decision.waits |= choice.waits.rotation || choice.waits.preempt;
        decision.review_ms = [decision.review_ms, choice.review_ms].into_iter().flatten().min();
    }

    /// Makes `blind` of `unknown` when that has lasted too long. Gives since when it is waited.
    fn wait(&self, choice: &mut Choice) -> Option<i64> {
        if choice.rule != Rule::Unknown {
            return None;
        }
        let waited = self.families.iter().filter_map(|family| self.memory.waiting_ms[*family]).min();
        let since_ms = waited.unwrap_or(self.view.now_ms);
        let until_ms = since_ms.saturating_add_unsigned(self.view.patience_ms);
        if until_ms <= self.view.now_ms {
            choice.rule = Rule::Blind;
        } else {
            choice.review_ms = Some(choice.review_ms.map_or(until_ms, |at_ms| at_ms.min(until_ms)));
        }
        Some(since_ms)
    }

    /// The truth table below the operator's word.
    fn choose(&self) -> Choice {
        if !self.view.confirmed {
            return Choice::new(self.current, Rule::Unconfirmed);
        }
        let candidate = self.order().find(|node| self.is_candidate(*node));
        let Some(current) = self.current else {
            return match (candidate, self.memory.roles) {
                (Some(node), None) => Choice::new(Some(node), Rule::Start),
                (Some(_), Some(_)) => self.sure_or_wait(None, Rule::Failover),
                (None, Some(_)) if self.pool.when_all_down == WhenAllDown::Withdraw => {
                    Choice::new(None, Rule::AllDownWithdraw)
                }
                // Decided again at once: that nobody is up must be told.
                (None, _) => {
                    Choice { review_ms: Some(self.view.now_ms), ..Choice::new(self.first_of_all(), Rule::Start) }
                }
            };
        };
        let (verdict, _) = self.standing(current);
        match candidate {
            Some(_) if self.view.nodes[current].drained => self.sure_or_wait(Some(current), Rule::Drain),
            Some(_) if verdict == Verdict::Down => self.fail_over(current),
            None if verdict == Verdict::Down => self.all_down(current),
            _ => self.better(current, verdict),
        }
    }

    /// Who begins where nobody is up: the first that is eligible; where all are drained, the first. To
    /// answer nothing is only for who has asked for it.
    fn first_of_all(&self) -> Option<usize> {
        let mut answered = self.order().filter(|node| self.families.iter().any(|family| self.has(*node, *family)));
        self.order().find(|node| self.is_eligible(*node)).or_else(|| answered.next())
    }

    /// The primary is down and somebody is up. When our own network dies, the nodes go down one
    /// after the other, and come back so: whoever's last probe says otherwise is waited for.
    fn fail_over(&self, current: usize) -> Choice {
        match self.is_in_doubt(current, Verdict::Down) {
            true => Choice::new(Some(current), Rule::Unknown),
            false => self.sure_or_wait(Some(current), Rule::Failover),
        }
    }

    /// Moves to the first candidate whose last probe was good; without one it waits.
    fn sure_or_wait(&self, current: Option<usize>, rule: Rule) -> Choice {
        match self.order().find(|node| self.is_candidate(*node) && !self.is_in_doubt(*node, Verdict::Up)) {
            Some(node) => Choice::new(Some(node), rule),
            None => Choice::new(current, Rule::Unknown),
        }
    }

    /// Whether the last probes speak against a node's verdict: one against up is enough, against
    /// down it takes all.
    fn is_in_doubt(&self, node: usize, verdict: Verdict) -> bool {
        let mut said = self.seen(node).filter(|seen| seen.verdict == verdict);
        match verdict {
            Verdict::Down => said.all(|seen| seen.doubt),
            Verdict::Up | Verdict::Unknown => said.any(|seen| seen.doubt),
        }
    }

    /// The primary is down and nobody is known to be up.
    fn all_down(&self, current: usize) -> Choice {
        let mut eligible = self.order().filter(|node| self.is_eligible(*node));
        if eligible.clone().any(|node| self.standing(node).0 == Verdict::Unknown) {
            return Choice::new(Some(current), Rule::Unknown);
        }
        match self.anchors() {
            Some(Verdict::Down) => return Choice::new(Some(current), Rule::CutOff),
            Some(Verdict::Unknown) => return Choice::new(Some(current), Rule::Unknown),
            Some(Verdict::Up) | None => {}
        }
        match self.pool.when_all_down {
            WhenAllDown::Keep => Choice::new(Some(current), Rule::AllDownKeep),
            WhenAllDown::First => Choice::new(eligible.next().or(Some(current)), Rule::AllDownFirst),
            WhenAllDown::Withdraw => Choice::new(None, Rule::AllDownWithdraw),
        }
    }

    /// What the anchors of this line say: one that is up is enough.
    fn anchors(&self) -> Option<Verdict> {
        let said = self.families.iter().filter_map(|family| self.view.anchors[*family]);
        said.reduce(|a, b| match (a, b) {
            (Verdict::Up, _) | (_, Verdict::Up) => Verdict::Up,
            (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
            (Verdict::Down, Verdict::Down) => Verdict::Down,
        })
    }

    /// The primary is not down: is a better one due?
    fn better(&self, current: usize, verdict: Verdict) -> Choice {
        let rotates = self.pool.rotate == Rotate::Weekly
            && self.families.iter().any(|family| self.memory.rotated_week[*family] != Some(self.week));
        let (mut review_ms, mut waits): (Option<i64>, Waits) = (None, Waits::default());
        for node in self.order().take_while(|node| *node != current).filter(|node| self.is_candidate(*node)) {
            // Its next probe will tell, and then it is decided again.
            let is_sure = !self.is_in_doubt(node, Verdict::Up);
            if rotates && !is_sure {
                waits.rotation = true;
                continue;
            }
            if rotates {
                return Choice::new(Some(node), Rule::Rotation);
            }
            let Preempt::After(delay_ms) = self.pool.preempt else { break };
            if !self.watched {
                break;
            }
            let (_, since_ms) = self.standing(node);
            let due_ms = since_ms.saturating_add_unsigned(delay_ms);
            if due_ms <= self.view.now_ms && is_sure {
                // One that is better still may be due soon.
                return Choice { review_ms, ..Choice::new(Some(node), Rule::Preempt) };
            }
            if due_ms <= self.view.now_ms {
                waits.preempt = true;
                continue;
            }
            review_ms = Some(review_ms.map_or(due_ms, |at_ms| at_ms.min(due_ms)));
        }
        let rule = if verdict == Verdict::Unknown { Rule::Unknown } else { Rule::Steady };
        Choice { primary: Some(current), rule, review_ms, waits }
    }

    /// The roles in this line's families (in the others as before); `None`: still undecided.
    fn roles(&self, choice: &Choice) -> Option<PoolRoles> {
        if choice.rule.changes_nothing() {
            return self.memory.roles;
        }
        let standby = choice.primary.and_then(|primary| self.standby(primary));
        let held = self.view.hold;
        let mut roles = self.memory.roles.unwrap_or_default();
        for family in self.families {
            let primary = match held {
                // A held family may be another node than its sister, or withdrawn.
                Some(hold) => hold[*family].filter(|node| self.has(*node, *family)),
                None => choice.primary.filter(|node| self.answers(*node, *family)),
            };
            roles[*family] = Roles { primary, standby: standby.filter(|node| self.answers(*node, *family)) };
        }
        Some(roles)
    }

    /// Of two nodes the other; of more the first in order that is up, else the first eligible one,
    /// else the first: the standby's name shall always have an answer.
    fn standby(&self, primary: usize) -> Option<usize> {
        let others = || self.order().filter(|node| *node != primary);
        if self.pool.nodes.len() == 2 {
            return others().next();
        }
        let up = others().find(|node| self.is_candidate(*node));
        up.or_else(|| others().find(|node| self.is_eligible(*node))).or_else(|| others().next())
    }

    /// Whether a node of this line is answered over a family, which it must have an address of.
    fn answers(&self, node: usize, family: Family) -> bool {
        if !self.has(node, family) {
            return false;
        }
        if self.pool.families != Families::Withdraw || self.standing(node).0 != Verdict::Up {
            return true;
        }
        match self.view.nodes[node].seen[family].map(|seen| seen.verdict) {
            Some(Verdict::Down) if !self.silent[family] => false,
            // Nothing is known: as it was.
            Some(Verdict::Unknown | Verdict::Down) => self.was_answered(node, family).unwrap_or(true),
            Some(Verdict::Up) | None => true,
        }
    }

    /// Whether a node was answered over a family in the role that it had; `None`: it had none.
    fn was_answered(&self, node: usize, family: Family) -> Option<bool> {
        let roles = self.memory.roles?;
        let role_of: [fn(Roles) -> Option<usize>; 2] = [|roles| roles.primary, |roles| roles.standby];
        let held =
            |of: &fn(Roles) -> Option<usize>| self.families.iter().any(|family| of(roles[*family]) == Some(node));
        let of = role_of.into_iter().find(held)?;
        Some(of(roles[family]) == Some(node))
    }

    /// What is known of a node over all families of this line, and since when.
    fn standing(&self, node: usize) -> (Verdict, i64) {
        let seen = self.seen(node);
        let with = |verdict| seen.clone().filter(move |seen| seen.verdict == verdict).map(|seen| seen.since_ms);
        let (up, down) = (with(Verdict::Up), with(Verdict::Down));
        let latest_ms = seen.clone().map(|seen| seen.since_ms).max();
        let Some(latest_ms) = latest_ms else {
            // In a pool without any probes nothing speaks against a node.
            return (if self.watched { Verdict::Unknown } else { Verdict::Up }, i64::MIN);
        };
        let count = seen.clone().count();
        if self.pool.families == Families::Withdraw {
            return match up.min() {
                Some(first_ms) => (Verdict::Up, first_ms),
                None if down.count() == count => (Verdict::Down, latest_ms),
                None => (Verdict::Unknown, latest_ms),
            };
        }
        match down.min() {
            Some(first_ms) => (Verdict::Down, first_ms),
            None if up.count() == count => (Verdict::Up, latest_ms),
            None => (Verdict::Unknown, latest_ms),
        }
    }

    /// What is known of a node over the families that have a say.
    fn seen(&self, node: usize) -> impl Iterator<Item = Seen> + Clone {
        let families = self.families.iter().filter(|family| !self.silent[**family]);
        families.filter_map(move |family| self.view.nodes[node].seen[*family])
    }

    /// Whether a family is silent because its nodes are dead: each that is probed over it is down, or
    /// about to be, over another one as well. That is no sign of a broken network of our own.
    fn is_explained(&self, family: Family) -> bool {
        let mut probed = self.view.nodes.iter().filter(|node| node.seen[family].is_some());
        let is_lost = |seen: Seen| seen.verdict == Verdict::Down || seen.doubt;
        let others = || Family::ALL.into_iter().filter(|other| *other != family);
        probed.all(|node| others().any(|other| node.seen[other].is_some_and(is_lost)))
    }

    /// Whether the primaries of this line differ from those before. The first roles are no move.
    fn moves(&self, roles: Option<PoolRoles>) -> bool {
        let (Some(roles), Some(before)) = (roles, self.memory.roles) else { return false };
        self.families.iter().any(|family| roles[*family].primary != before[*family].primary)
    }

    /// The end of `min-hold`, if it is still to come.
    fn held_until_ms(&self) -> Option<i64> {
        let moved_ms = self.families.iter().filter_map(|family| self.memory.moved_ms[*family]).max()?;
        let until_ms = moved_ms.saturating_add_unsigned(self.pool.min_hold_ms);
        (until_ms > self.view.now_ms).then_some(until_ms)
    }

    /// The nodes in today's order of preference.
    fn order(&self) -> impl Iterator<Item = usize> + Clone {
        (self.first..self.pool.nodes.len()).chain(0..self.first)
    }

    fn is_candidate(&self, node: usize) -> bool {
        self.is_eligible(node) && self.standing(node).0 == Verdict::Up
    }

    fn is_eligible(&self, node: usize) -> bool {
        !self.view.nodes[node].drained && self.families.iter().any(|family| self.has(node, *family))
    }

    fn has(&self, node: usize, family: Family) -> bool {
        self.pool.nodes[node].has(family)
    }
}
