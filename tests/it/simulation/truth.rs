//! What is true in the simulated world, whatever anybody believes: which hosts answer, and which
//! ways there are cut or lossy. One truth for both sidecars.

use std::collections::BTreeSet;

use nsd_failover::director::event::Target;
use nsd_failover::director::settings::ANCHOR;
use nsd_failover::health::family::{Family, PerFamily};

/// The hosts and the checks, as they are called in the settings.
pub const NODES: [&str; 3] = ["a", "b", "c"];
pub const CHECKS: [&str; 2] = ["web", "tls"];

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// All times are milliseconds since the world began.
#[derive(Default)]
pub struct Truth {
    /// When each host answers each check again over each family.
    broken_until: [[PerFamily<u64>; 3]; 2],
    /// For each sidecar: when its own uplink works again, when it no longer loses packets, and when
    /// its way to each host is whole again.
    cut_until: [u64; 2],
    lossy_until: [u64; 2],
    parted_until: [[u64; 3]; 2],
    /// For each sidecar and check: when it can say something again of each host.
    blind_until: [[[u64; 3]; 2]; 2],
    /// Every moment at which something changes.
    changes: BTreeSet<u64>,
}

impl Truth {
    /// All checks of it fail.
    pub fn break_host(&mut self, host: usize, family: Family, now_ms: u64, for_ms: u64) {
        (0..CHECKS.len()).for_each(|check| self.break_service(check, host, family, now_ms, for_ms));
    }

    /// One check of it fails.
    pub fn break_service(&mut self, check: usize, host: usize, family: Family, now_ms: u64, for_ms: u64) {
        self.change(now_ms, for_ms);
        let until_ms = &mut self.broken_until[check][host][family];
        *until_ms = (*until_ms).max(now_ms + for_ms);
    }

    pub fn cut_off(&mut self, sidecar: usize, now_ms: u64, for_ms: u64) {
        self.change(now_ms, for_ms);
        self.cut_until[sidecar] = now_ms + for_ms;
    }

    pub fn lose_packets(&mut self, sidecar: usize, now_ms: u64, for_ms: u64) {
        self.change(now_ms, for_ms);
        self.lossy_until[sidecar] = now_ms + for_ms;
    }

    pub fn part(&mut self, sidecar: usize, host: usize, now_ms: u64, for_ms: u64) {
        self.change(now_ms, for_ms);
        self.parted_until[sidecar][host] = now_ms + for_ms;
    }

    /// The check can say nothing of the host: its plugin is not there, its file is not written.
    pub fn blind(&mut self, sidecar: usize, check: usize, host: usize, now_ms: u64, for_ms: u64) {
        self.change(now_ms, for_ms);
        self.blind_until[sidecar][check][host] = now_ms + for_ms;
    }

    /// Everything works again from now on.
    pub fn mend(&mut self, now_ms: u64) {
        let changes = std::mem::take(&mut self.changes);
        *self = Truth { changes, ..Truth::default() };
        self.changes.insert(now_ms);
    }

    /// Notes that something else has happened that takes its time.
    pub fn change(&mut self, now_ms: u64, for_ms: u64) {
        self.changes.extend([now_ms, now_ms + for_ms]);
        // Nobody looks further back.
        while self.changes.first().is_some_and(|at_ms| at_ms + 30 * 86_400_000 < now_ms) {
            self.changes.pop_first();
        }
    }

    /// Whether nothing has changed for so long.
    pub fn is_settled(&self, now_ms: u64, for_ms: u64) -> bool {
        self.changes.range(now_ms.saturating_sub(for_ms)..=now_ms).next().is_none()
    }

    /// Whether every sidecar sees what is.
    pub fn is_clear(&self, now_ms: u64) -> bool {
        let (parted, blind) = (self.parted_until.iter().flatten(), self.blind_until.iter().flatten().flatten());
        parted.chain(blind).chain(&self.cut_until).chain(&self.lossy_until).all(|until_ms| *until_ms <= now_ms)
    }

    pub fn is_up(&self, check: usize, host: usize, family: Family, now_ms: u64) -> bool {
        self.broken_until[check][host][family] <= now_ms
    }

    /// What a probe of this sidecar finds; `None`: nothing can be said. Anchors always answer, if
    /// they are reached.
    pub fn answers(&self, sidecar: usize, target: &Target, now_ms: u64, random: &mut Random) -> Option<bool> {
        let place = |among: &[&str], name: &str| among.iter().position(|known| *known == name).unwrap();
        let is_reached =
            self.cut_until[sidecar] <= now_ms && (self.lossy_until[sidecar] <= now_ms || !random.chance(20));
        if target.check == ANCHOR {
            return Some(is_reached);
        }
        let (check, host) = (place(&CHECKS, &target.check), place(&NODES, &target.node));
        if self.blind_until[sidecar][check][host] > now_ms {
            return None;
        }
        let is_whole = self.parted_until[sidecar][host] <= now_ms;
        Some(is_reached && is_whole && self.is_up(check, host, target.family, now_ms))
    }
}
