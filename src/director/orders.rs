//! What the operator ordered. Kept apart from what was observed, by name, so that nothing that
//! happens to a host, a pool or the process can lose an order: only its end or its opposite do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::failover::pool::{Pool, PoolRoles};
use crate::health::family::PerFamily;
use crate::health::time::Now;

use super::event::{Action, Order};
use super::settings::Settings;
use super::state::{SavedRoles, name_roles};
use super::status::OverrideStatus;

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Orders {
    /// By pool.
    holds: BTreeMap<String, Hold>,
    /// By node.
    drains: BTreeMap<String, Term>,
}

/// The primary of a pool is held, in each family: a node by name, or the withdrawn answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Hold {
    primary: PerFamily<Option<String>>,
    #[serde(flatten)]
    term: Term,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Term {
    reason: Option<String>,
    since_unix_ms: i64,
    until_unix_ms: Option<i64>,
}

/// Why an order cannot be obeyed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OrderError {
    #[error("there is no pool `{pool}`; pools: {known}")]
    UnknownPool { pool: String, known: String },
    #[error("pool `{pool}` has no node `{node}`; nodes: {known}")]
    NotInPool { pool: String, node: String, known: String },
    #[error("no pool has a node `{node}`; nodes: {known}")]
    UnknownNode { node: String, known: String },
    #[error("pool `{pool}` has no primary yet that could be held; order `switch {pool} NODE`")]
    Undecided { pool: String },
    #[error("an order for zero seconds ends before it begins")]
    NoTime,
}

impl Orders {
    /// Whether an order names what exists. `roles` finds the current roles of a pool by index.
    pub(super) fn validate(
        order: &Order,
        settings: &Settings,
        roles: impl Fn(usize) -> Option<PoolRoles>,
    ) -> Result<(), OrderError> {
        let pool = |name: &str| {
            let found = settings.pools.iter().position(|pool| pool.name == name);
            found.ok_or_else(|| OrderError::UnknownPool {
                pool: name.to_owned(),
                known: names(settings.pools.iter().map(|pool| pool.name.as_str())),
            })
        };
        if order.for_s == Some(0) {
            return Err(OrderError::NoTime);
        }
        match &order.action {
            Action::Switch { pool: name, node } => {
                let pool = &settings.pools[pool(name)?];
                let known = pool.nodes.iter().map(|node| node.name.as_str());
                if !known.clone().any(|known| known == node) {
                    let (pool, node, known) = (name.clone(), node.clone(), names(known));
                    return Err(OrderError::NotInPool { pool, node, known });
                }
            }
            Action::Hold { pool: name } => {
                if roles(pool(name)?).is_none() {
                    return Err(OrderError::Undecided { pool: name.clone() });
                }
            }
            Action::Release { pool: name } => {
                pool(name)?;
            }
            Action::Drain { node } | Action::Ready { node } => {
                let known = settings.pools.iter().flat_map(|pool| &pool.nodes).map(|node| node.name.as_str());
                if !known.clone().any(|known| known == node) {
                    return Err(OrderError::UnknownNode { node: node.clone(), known: names(known) });
                }
            }
        }
        Ok(())
    }

    /// Takes an order that was found valid.
    pub(super) fn take(
        &mut self,
        order: Order,
        settings: &Settings,
        roles: impl Fn(usize) -> Option<PoolRoles>,
        now: Now,
    ) {
        let until_unix_ms = order.for_s.map(|for_s| {
            let for_ms = i64::try_from(for_s).unwrap_or(i64::MAX).saturating_mul(1_000);
            now.unix_ms.saturating_add(for_ms)
        });
        let term = Term { reason: order.reason, since_unix_ms: now.unix_ms, until_unix_ms };
        match order.action {
            Action::Switch { pool, node } => {
                let primary = PerFamily::from_fn(|_| Some(node.clone()));
                self.holds.insert(pool, Hold { primary, term });
            }
            Action::Hold { pool } => {
                let Some(index) = settings.pools.iter().position(|known| known.name == pool) else { return };
                let Some(roles) = roles(index) else { return };
                let PerFamily { ipv4, ipv6 } = name_roles(&roles, &settings.pools[index].nodes);
                let primary = |roles: SavedRoles| roles.primary;
                let primary = PerFamily { ipv4: primary(ipv4), ipv6: primary(ipv6) };
                self.holds.insert(pool, Hold { primary, term });
            }
            Action::Release { pool } => {
                self.holds.remove(&pool);
            }
            Action::Drain { node } => {
                self.drains.insert(node, term);
            }
            Action::Ready { node } => {
                self.drains.remove(&node);
            }
        }
    }

    /// Removes what has ended; gives the pools and nodes that it was about.
    pub(super) fn expire(&mut self, unix_ms: i64) -> (Vec<String>, Vec<String>) {
        let is_over = |term: &Term| term.until_unix_ms.is_some_and(|until_ms| until_ms <= unix_ms);
        let mut ended = (Vec::new(), Vec::new());
        self.holds.retain(|pool, hold| {
            let is_over = is_over(&hold.term);
            is_over.then(|| ended.0.push(pool.clone()));
            !is_over
        });
        self.drains.retain(|node, term| {
            let is_over = is_over(term);
            is_over.then(|| ended.1.push(node.clone()));
            !is_over
        });
        ended
    }

    /// When the next order ends, in Unix milliseconds.
    pub(super) fn next_end_unix_ms(&self) -> Option<i64> {
        let terms = self.holds.values().map(|hold| &hold.term).chain(self.drains.values());
        terms.filter_map(|term| term.until_unix_ms).min()
    }

    /// Who is held in a pool, by index. A held node that a reload has taken out of the pool
    /// cannot be obeyed; the order sleeps until the node is back.
    pub(super) fn hold(&self, pool: &Pool) -> Option<PerFamily<Option<usize>>> {
        let hold = self.holds.get(&pool.name)?;
        let mut gone = false;
        let primary = PerFamily::from_fn(|family| {
            let name = hold.primary[family].as_ref()?;
            let node = pool.nodes.iter().position(|node| node.name == *name);
            gone |= node.is_none();
            node
        });
        (!gone).then_some(primary)
    }

    pub(super) fn hold_reason(&self, pool: &str) -> Option<&str> {
        self.holds.get(pool)?.term.reason.as_deref()
    }

    pub(super) fn is_drained(&self, node: &str) -> bool {
        self.drains.contains_key(node)
    }

    pub(super) fn hold_status(&self, pool: &str) -> Option<OverrideStatus> {
        let hold = self.holds.get(pool)?;
        let node = hold.primary.ipv4.clone().or_else(|| hold.primary.ipv6.clone());
        Some(OverrideStatus { node, ..hold.term.status() })
    }

    pub(super) fn drain_status(&self, node: &str) -> Option<OverrideStatus> {
        self.drains.get(node).map(Term::status)
    }
}

impl Term {
    fn status(&self) -> OverrideStatus {
        OverrideStatus {
            node: None,
            reason: self.reason.clone(),
            since_unix_ms: self.since_unix_ms,
            until_unix_ms: self.until_unix_ms,
        }
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}
