//! Why a pool is as it is, and what would change it. The second is not described but tried: the
//! decision is made again with one thing changed.

use serde::{Deserialize, Serialize};

use crate::failover::decide::{NodeView, PoolDecision, View, decide};
use crate::failover::pool::{Node, Pool, PoolRoles, Preempt, Rotate};
use crate::failover::reason::duration;
use crate::failover::rotation;
use crate::health::family::{Family, PerFamily};
use crate::health::history::Run;
use crate::health::time::Now;
use crate::health::verdict::Verdict;

use super::Director;
use super::pools::{PoolState, leading};
use super::state::{monotonic, to_unix};
use super::status::{OverrideStatus, PoolStatus};
use super::targets::TargetState;

/// Everything about one pool: `GET /api/v1/explain?pool=NAME`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Explanation {
    pub unix_ms: i64,
    pub generation: u64,
    pub pool: PoolStatus,
    /// The probes that led to the last move, as they were then.
    pub probes: Vec<String>,
    pub targets: Vec<TargetExplanation>,
    pub anchors: Vec<TargetExplanation>,
    /// Upper bound of the answers' TTL, in seconds (`ttl-min`).
    pub ttl_max_s: Option<u32>,
    /// Its nodes that are not eligible, and by which order.
    #[serde(default)]
    pub drained: Vec<DrainedNode>,
    /// When it is decided again by itself (`preempt`, `min-hold`).
    #[serde(default)]
    pub review_unix_ms: Option<i64>,
    /// "if blowfish goes down: ...", a line each.
    pub what_if: Vec<String>,
}

/// A node that is drained.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DrainedNode {
    pub node: String,
    pub order: OverrideStatus,
}

/// One check of one node over one family.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TargetExplanation {
    pub node: String,
    pub check: String,
    pub family: Family,
    pub verdict: Verdict,
    /// "2/3 failures".
    pub tally: String,
    /// The last probes, oldest first.
    pub runs: Vec<Run>,
}

impl Director {
    /// `None`: no such pool.
    pub fn explain(&self, pool: &str, now: Now) -> Option<Explanation> {
        let index = self.settings.pools.iter().position(|known| known.name == pool)?;
        let (pool, state) = (&self.settings.pools[index], &self.pools[index]);
        let target = |index: usize| explain_target(&self.targets.list[index]);
        Some(Explanation {
            unix_ms: now.unix_ms,
            generation: self.decision.generation,
            pool: self.pool_status(pool, state, now),
            probes: state.why().probes.clone(),
            targets: state.members().map(|(_, _, index)| target(index)).collect(),
            anchors: state.anchors.iter().map(|index| target(*index)).collect(),
            ttl_max_s: self.ttl_max_s[index],
            drained: pool.nodes.iter().filter_map(|node| self.drained(node)).collect(),
            review_unix_ms: state.review_ms.map(|at_ms| to_unix(i64::try_from(at_ms).unwrap_or(i64::MAX), now)),
            what_if: self.what_if(pool, state, now),
        })
    }

    fn drained(&self, node: &Node) -> Option<DrainedNode> {
        let order = self.orders.drain_status(&node.name)?;
        Some(DrainedNode { node: node.name.clone(), order })
    }

    fn what_if(&self, pool: &Pool, state: &PoolState, now: Now) -> Vec<String> {
        let hold = self.orders.hold(pool);
        // As they would say when they are asked.
        let anchors = PerFamily::from_fn(|family| state.anchors_say(family, &self.targets));
        let think_at = |nodes: &[NodeView], hold, now_ms: i64, unix_ms: i64| {
            let confirmed = state.unsettled == 0;
            let patience_ms = state.patience_ms(&self.targets);
            let view = View { nodes, hold, confirmed, anchors, patience_ms, now_ms, unix_ms };
            outcome(pool, state, &decide(pool, &state.memory, &view))
        };
        let now_ms = monotonic(now);
        let think = |nodes: &[NodeView], hold| think_at(nodes, hold, now_ms, now.unix_ms);
        let mut lines = Vec::new();
        if let (Some(at_ms), None) = (state.review_ms, hold) {
            let at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
            let wait_ms = u64::try_from(at_ms.saturating_sub(now_ms)).unwrap_or(0);
            let will = think_at(state.view(), None, at_ms, now.unix_ms);
            lines.push(format!("in {}, if nothing changes: {will}", duration(wait_ms.div_ceil(1_000) * 1_000)));
        }
        for (index, node) in pool.nodes.iter().enumerate() {
            lines.extend(if_it_turns(pool, state, index, now, &|nodes| think(nodes, hold)));
            if state.view()[index].drained {
                let mut nodes = state.view().to_vec();
                nodes[index].drained = false;
                lines.push(format!("if {} is ready again: {}", node.name, think(&nodes, hold)));
            }
        }
        if hold.is_some() {
            lines.push(format!("if the hold is released: {}", think(state.view(), None)));
        } else if pool.rotate == Rotate::Weekly {
            let will = think_at(state.view(), None, now_ms, rotation::next_ms(now.unix_ms));
            lines.push(format!("at the next rotation: {will}"));
        }
        lines
    }
}

/// What another verdict on one node would bring; nothing, if it is not probed.
fn if_it_turns(
    pool: &Pool,
    state: &PoolState,
    index: usize,
    now: Now,
    think: &dyn Fn(&[NodeView]) -> String,
) -> Option<String> {
    let (name, seen) = (&pool.nodes[index].name, state.view()[index].seen);
    let mut said = [seen.ipv4, seen.ipv6].into_iter().flatten().map(|seen| seen.verdict).peekable();
    said.peek()?;
    if said.all(|verdict| verdict == Verdict::Up) {
        let will = think(&state.imagine(index, Verdict::Down, monotonic(now)));
        return Some(format!("if {name} goes down: {will}"));
    }
    let at_once = think(&state.imagine(index, Verdict::Up, monotonic(now)));
    let later = think(&state.imagine(index, Verdict::Up, i64::MIN));
    Some(match pool.preempt {
        Preempt::After(delay_ms) if at_once != later => {
            format!("if {name} is up again: after preempt = {}, {later}", duration(delay_ms))
        }
        _ => format!("if {name} is up again: {at_once}"),
    })
}

/// "blowfish becomes primary [failover]", "nothing moves [steady]".
fn outcome(pool: &Pool, state: &PoolState, decision: &PoolDecision) -> String {
    let name = |node: Option<usize>| node.map_or("nobody", |node| pool.nodes[node].name.as_str());
    let primaries = |roles: Option<PoolRoles>| {
        let roles = roles.unwrap_or_default();
        PerFamily::from_fn(|family| roles[family].primary)
    };
    let (before, after) = (primaries(state.memory.roles), primaries(decision.memory.roles));
    let mut moved = Family::ALL.into_iter().filter(|family| before[*family] != after[*family]);
    let is_single = Family::ALL.into_iter().any(|family| pool.nodes.iter().all(|node| !node.has(family)));
    match (moved.next(), moved.next()) {
        (None, _) => format!("nothing moves [{}]", leading(pool, decision).as_str()),
        (Some(family), None) if is_single => {
            format!("{} becomes primary [{}]", name(after[family]), decision.rule[family].as_str())
        }
        (Some(family), Some(_)) if after.ipv4 == after.ipv6 => {
            format!("{} becomes primary [{}]", name(after[family]), decision.rule[family].as_str())
        }
        (Some(family), None) => {
            format!("{} becomes primary over {family} [{}]", name(after[family]), decision.rule[family].as_str())
        }
        (Some(_), Some(_)) => format!("{} becomes primary over ipv4, {} over ipv6", name(after.ipv4), name(after.ipv6)),
    }
}

fn explain_target(target: &TargetState) -> TargetExplanation {
    TargetExplanation {
        node: target.target.node.clone(),
        check: target.target.check.clone(),
        family: target.family(),
        verdict: target.counter.verdict(),
        tally: target.counter.tally(target.thresholds),
        runs: target.history.runs().cloned().collect(),
    }
}
