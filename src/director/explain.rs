//! Why a pool is as it is, and what would change it. The second is not described but tried: the
//! decision is made again with one thing changed.

use serde::{Deserialize, Serialize};

use crate::failover::decide::{NodeView, PoolDecision, View, decide};
use crate::failover::pool::{Pool, PoolRoles, Preempt, Rotate};
use crate::failover::reason::duration;
use crate::failover::rotation;
use crate::health::family::{Family, PerFamily};
use crate::health::history::Run;
use crate::health::time::Now;
use crate::health::verdict::Verdict;

use super::Director;
use super::pools::{PoolState, leading};
use super::state::monotonic;
use super::status::PoolStatus;
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
    /// "if blowfish goes down: ...", a line each.
    pub what_if: Vec<String>,
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
            what_if: self.what_if(pool, state, now),
        })
    }

    fn what_if(&self, pool: &Pool, state: &PoolState, now: Now) -> Vec<String> {
        let hold = self.orders.hold(pool);
        let anchors = PerFamily::from_fn(|family| state.anchored(family, &self.targets));
        let think = |nodes: &[NodeView], hold, unix_ms: i64| {
            let (now_ms, confirmed) = (monotonic(now), state.unsettled == 0);
            outcome(
                pool,
                state,
                &decide(pool, &state.memory, &View { nodes, hold, confirmed, anchors, now_ms, unix_ms }),
            )
        };
        let mut lines = Vec::new();
        for (index, node) in pool.nodes.iter().enumerate() {
            let seen = state.view()[index].seen;
            let said: Vec<Verdict> = [seen.ipv4, seen.ipv6].into_iter().flatten().map(|seen| seen.verdict).collect();
            if said.is_empty() {
                continue;
            }
            if said.iter().all(|verdict| *verdict == Verdict::Up) {
                let nodes = state.imagine(index, Verdict::Down, monotonic(now));
                lines.push(format!("if {} goes down: {}", node.name, think(&nodes, hold, now.unix_ms)));
                continue;
            }
            let at_once = think(&state.imagine(index, Verdict::Up, monotonic(now)), hold, now.unix_ms);
            let later = think(&state.imagine(index, Verdict::Up, i64::MIN), hold, now.unix_ms);
            lines.push(match pool.preempt {
                Preempt::After(delay_ms) if at_once != later => {
                    format!("if {} is up again: after preempt = {}, {later}", node.name, duration(delay_ms))
                }
                _ => format!("if {} is up again: {at_once}", node.name),
            });
        }
        if hold.is_some() {
            lines.push(format!("if the hold is released: {}", think(state.view(), None, now.unix_ms)));
        } else if pool.rotate == Rotate::Weekly {
            lines.push(format!("at the next rotation: {}", think(state.view(), None, rotation::next_ms(now.unix_ms))));
        }
        lines
    }
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
    match (moved.next(), moved.next()) {
        (None, _) => format!("nothing moves [{}]", leading(pool, decision).as_str()),
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
