//! The director's state as people and programs see it.

use std::collections::HashMap;

use crate::failover::decide::preference;
use crate::failover::pool::{Node, Pool, Rotate};
use crate::failover::rotation;
use crate::health::family::Family;
use crate::health::time::Now;

use super::Director;
use super::pools::PoolState;
use super::state::to_unix;
use super::status::{CheckStatus, NodeStatus, PoolFamilyStatus, PoolStatus, Status, ZoneStatus};
use super::targets::TargetState;

impl Director {
    /// A snapshot of everything.
    pub fn status(&self, now: Now) -> Status {
        let pools = self.settings.pools.iter().zip(&self.pools);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: self.decision.generation,
            unix_ms: now.unix_ms,
            started_unix_ms: self.started.unix_ms,
            ready: self.is_deciding() && self.pools.iter().all(|pool| pool.unsettled == 0),
            shadow: false,
            pools: pools.map(|(pool, state)| self.pool_status(pool, state, now)).collect(),
            nodes: self.node_statuses(now),
            zones: self.zone_statuses(),
            cert_days: self.settings.cert_days,
        }
    }

    pub(super) fn pool_status(&self, pool: &Pool, state: &PoolState, now: Now) -> PoolStatus {
        let name = |node: Option<usize>| node.map(|node| pool.nodes[node].name.clone());
        let roles = state.memory.roles.unwrap_or_default();
        let families = Family::ALL.into_iter().filter(|family| pool.nodes.iter().any(|node| node.has(*family)));
        let why = state.why();
        PoolStatus {
            name: pool.name.clone(),
            families: families
                .map(|family| PoolFamilyStatus {
                    family,
                    primary: name(roles[family].primary),
                    standby: name(roles[family].standby),
                })
                .collect(),
            since_unix_ms: state.since_unix_ms,
            rule: why.rule.clone(),
            reason: why.reason.clone(),
            next_rotation_unix_ms: (pool.rotate == Rotate::Weekly).then(|| rotation::next_ms(now.unix_ms)),
            hold: self.orders.hold_status(&pool.name),
            order: preference(pool, now.unix_ms).map(|node| pool.nodes[node].name.clone()).collect(),
            alarms: state.alarms(),
        }
    }

    /// Each node once, in the order of the pools.
    fn node_statuses(&self, now: Now) -> Vec<NodeStatus> {
        let mut statuses: Vec<NodeStatus> = Vec::new();
        let mut places = HashMap::new();
        for node in self.settings.pools.iter().flat_map(|pool| &pool.nodes) {
            places.entry(node.name.as_str()).or_insert_with(|| {
                statuses.push(self.node_status(node));
                statuses.len() - 1
            });
        }
        for target in &self.targets.list {
            if let Some(place) = places.get(target.target.node.as_str()) {
                statuses[*place].checks.push(check_status(target, now));
            }
        }
        statuses
    }

    fn node_status(&self, node: &Node) -> NodeStatus {
        NodeStatus {
            name: node.name.clone(),
            ipv4: node.ipv4.map(|ip| ip.to_string()),
            ipv6: node.ipv6.map(|ip| ip.to_string()),
            drain: self.orders.drain_status(&node.name),
            checks: Vec::new(),
        }
    }

    fn zone_statuses(&self) -> Vec<ZoneStatus> {
        let zones = self.settings.zones.iter().zip(&self.zones.list);
        let status = |(settings, state): (&super::settings::ZoneSettings, &super::zones::ZoneState)| ZoneStatus {
            name: state.name.clone(),
            pools: settings.pools.iter().map(|pool| self.settings.pools[*pool].name.clone()).collect(),
            serial: state.serial,
            serial_at_nsd: state.serial_at_nsd,
            servers: Vec::new(),
            export: state.export,
            export_held: state.held,
            last_export: state.last_export.clone(),
            next_refused: state.refused.clone(),
            secondaries: Vec::new(),
        };
        zones.map(status).collect()
    }
}

fn check_status(target: &TargetState, now: Now) -> CheckStatus {
    let (against, needed) = target.counter.against(target.thresholds);
    let last = target.last.as_ref();
    CheckStatus {
        check: target.target.check.clone(),
        family: target.family(),
        verdict: target.counter.verdict().as_str().to_owned(),
        against,
        needed,
        word: last.map(|last| last.outcome.word.clone()).unwrap_or_default(),
        detail: last.map(|last| last.outcome.detail.clone()).unwrap_or_default(),
        duration_ms: last.map(|last| last.outcome.duration_ms),
        last_probe_unix_ms: last.map(|last| last.unix_ms),
        since_unix_ms: target.since_ms.map(|since_ms| to_unix(since_ms, now)),
        cert_expiry_unix_s: last.and_then(|last| last.outcome.cert_expiry_unix_s),
        measures: last.map(|last| last.outcome.measures.clone()).unwrap_or_default(),
        history: target.history.marks(),
        blind: target.is_blind(),
    }
}
