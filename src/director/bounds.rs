//! How long an answer may live (`ttl-min`): not beyond the next moment at which it can change.

use crate::failover::pool::{Families, Pool, Preempt, Rotate};
use crate::failover::rotation;
use crate::failover::rule::Rule;
use crate::health::family::Family;
use crate::health::time::Now;
use crate::health::verdict::Verdict;

use super::orders::Orders;
use super::pools::PoolState;
use super::targets::Targets;

/// While a planned change comes nearer, the bound falls in steps of this part of what is left, so
/// that a week takes some seventy swaps, and the bound is never above what is left.
const STEP: (u64, u64) = (7, 8);

/// The bound of a pool.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Bound {
    /// In seconds; `None`: nothing can change by itself.
    pub(super) ttl_max_s: Option<u32>,
    /// When it must be looked at again although nothing happens, in monotonic milliseconds.
    pub(super) again_ms: Option<u64>,
}

impl Bound {
    /// The bound as of now; none without `ttl-min`.
    pub(super) fn new(pool: &Pool, state: &PoolState, orders: &Orders, targets: &Targets, now: Now) -> Bound {
        let Some(min_s) = pool.ttl_min_s else { return Bound::default() };
        let min_ms = u64::from(min_s).saturating_mul(1_000);
        // Probes bring a change so long after they have begun to say otherwise.
        let held = orders.hold(pool).is_some();
        let verdict_ms = by_verdict(pool, state, targets, held);
        // The calendar and the clock bring one at a moment that is known.
        let left_ms = planned_ms(pool, state, orders, held, now).map(|at_ms| at_ms.saturating_sub(now.monotonic_ms));
        let (bound_ms, step_ms) = match (verdict_ms, left_ms) {
            (None, None) => return Bound::default(),
            (Some(verdict_ms), None) => (verdict_ms, None),
            (Some(verdict_ms), Some(left_ms)) if verdict_ms <= left_ms => {
                (verdict_ms, Some(left_ms.saturating_sub(verdict_ms.max(min_ms))))
            }
            (_, Some(left_ms)) => {
                let bound_ms = (left_ms / STEP.1).saturating_mul(STEP.0);
                (bound_ms, (bound_ms > min_ms).then(|| left_ms.saturating_sub(bound_ms)))
            }
        };
        let ttl_max_s = u32::try_from(bound_ms.max(min_ms) / 1_000).unwrap_or(u32::MAX);
        // A moment of its own, so that rounding cannot bring it here over and over.
        let again_ms = step_ms.map(|step_ms| now.monotonic_ms.saturating_add(step_ms.max(1_000)));
        Bound { ttl_max_s: Some(ttl_max_s), again_ms }
    }
}

/// In how many milliseconds probes can have changed an answer, at the earliest and counted from the
/// last of them: those of who is answered; and those of the others, where they may take over as soon
/// as they are up.
fn by_verdict(pool: &Pool, state: &PoolState, targets: &Targets, held: bool) -> Option<u64> {
    // Of two nodes the standby is the other one, whatever becomes of it; unless what is down in one
    // family is withdrawn there.
    let standby_moves = pool.nodes.len() > 2 || pool.families == Families::Withdraw;
    if held && !standby_moves {
        return None;
    }
    let is_any = |of: fn(Rule) -> bool| Family::ALL.into_iter().any(|family| of(state.rules[family]));
    // Nobody is sure: whatever is heard next, also from an anchor, may move it.
    if state.waits || is_any(|rule| matches!(rule, Rule::Unconfirmed | Rule::Unknown | Rule::Blind)) {
        return Some(0);
    }
    let roles = state.memory.roles.unwrap_or_default();
    let primaries = [roles.ipv4.primary, roles.ipv6.primary];
    let is_answered = |node: usize| {
        let holds = |held: Option<usize>| held == Some(node);
        let is_primary = holds(roles.ipv4.primary) || holds(roles.ipv6.primary);
        is_primary || (standby_moves && (holds(roles.ipv4.standby) || holds(roles.ipv6.standby)))
    };
    // A family without a say gets it back with the first node that is up over it.
    // And where families are withdrawn one by one, the last node that is up over one is its say.
    // And while anchors give a family its say over which nobody is up, it loses that with them.
    let is_open = is_any(Rule::is_alarm)
        || state.needs_anchors()
        || pool.families == Families::Withdraw
        || primaries == [None, None]
        || Family::ALL.into_iter().any(|family| state.silent[family])
        || primaries.into_iter().flatten().any(|node| state.view()[node].drained);
    let changes = state.members().filter_map(|(node, _, target)| {
        let target = &targets.list[target];
        match (target.counter.verdict(), pool.preempt) {
            _ if is_answered(node) || is_open => Some(target.change_ms()),
            (Verdict::Up, _) => None,
            // It becomes standby as soon as it is up.
            _ if standby_moves => Some(target.change_ms()),
            (_, Preempt::Never) => None,
            (_, Preempt::After(delay_ms)) => Some(target.change_ms().saturating_add(delay_ms)),
        }
    });
    let anchors = state.anchors.iter().filter(|_| is_open).map(|anchor| targets.list[*anchor].change_ms());
    changes.chain(anchors).min()
}

/// The next planned change, in monotonic milliseconds: a review, the rotation, the end of an order.
fn planned_ms(pool: &Pool, state: &PoolState, orders: &Orders, held: bool, now: Now) -> Option<u64> {
    let on_clock = |unix_ms: i64| {
        let left_ms = u64::try_from(unix_ms.saturating_sub(now.unix_ms)).unwrap_or(0);
        now.monotonic_ms.saturating_add(left_ms)
    };
    // Of three nodes the standby turns too, also while the primary is held.
    let turning = if held { 2 } else { 1 };
    let rotates = pool.rotate == Rotate::Weekly && pool.nodes.len() > turning;
    let rotation = rotates.then(|| on_clock(rotation::next_ms(now.unix_ms)));
    let hold = orders.hold_status(&pool.name).and_then(|hold| hold.until_unix_ms).map(on_clock);
    let drains = pool.nodes.iter().filter_map(|node| orders.drain_status(&node.name)?.until_unix_ms).map(on_clock);
    let review = state.review_ms.filter(|_| !held);
    [rotation, hold, review].into_iter().flatten().chain(drains).min()
}
