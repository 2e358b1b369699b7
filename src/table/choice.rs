//! A failover RRset: all the RRsets that a decision can make of it, and how to pick one.

use crate::failover::pool::{PoolRoles, Roles, Slot};
use crate::health::family::Family;
use crate::zone::tag::Role;

use super::blob::BlobId;

/// Instead of an RRset: nothing is answered for this outcome (NODATA).
pub(super) const WITHDRAWN: BlobId = BlobId::MAX;
/// Most outcomes of one RRset: the product of (nodes + 1) over the slots that it follows.
pub const OUTCOMES_MAX: usize = 4_096;

/// Nobody holds the role.
pub(super) const NOBODY: u16 = u16::MAX;

/// The outcomes of a failover RRset, numbered like an odometer over its slots: for each slot, 0 if
/// nobody holds the role, else the holder's index plus one.
pub(super) struct Choice {
    parts: Box<[Part]>,
    outcomes: Box<[BlobId]>,
}

/// One slot that a failover RRset follows.
pub(super) struct Part {
    pool: u32,
    pick: u32,
    nodes: u16,
    /// By how much the number of the outcome grows when this slot's holder moves on by one.
    stride: u16,
}

/// Who holds each role of each pool in each family: a decision as the query path sees it.
pub(super) struct Picks {
    holders: Box<[u16]>,
    ttl_max_s: Box<[u32]>,
}

/// What a decision makes of a failover RRset.
#[derive(Clone, Copy)]
pub(super) struct Outcome {
    /// An RRset or [`WITHDRAWN`].
    pub blob: BlobId,
    /// Upper bound for the TTL of an answer that depends on it, in seconds.
    pub ttl_max_s: u32,
}

impl Choice {
    /// `make` is called once for each outcome with the holder of each slot, in the order of `slots`.
    /// `None`: more than [`OUTCOMES_MAX`] outcomes. An error of `make` ends it.
    pub fn new<E>(
        slots: &[(Slot, usize)],
        family: Family,
        mut make: impl FnMut(&[Option<usize>]) -> Result<BlobId, E>,
    ) -> Option<Result<Choice, E>> {
        let mut parts = Vec::with_capacity(slots.len());
        let mut total = 1usize;
        for (slot, nodes) in slots {
            parts.push(Part {
                pool: u32::try_from(slot.pool).ok()?,
                pick: u32::try_from(holder_at(slot.pool, slot.role, family)).ok()?,
                nodes: u16::try_from(*nodes).ok()?,
                stride: u16::try_from(total).ok()?,
            });
            total = total.checked_mul(nodes.checked_add(1)?).filter(|total| *total <= OUTCOMES_MAX)?;
        }
        let mut outcomes = Vec::with_capacity(total);
        let mut holders = vec![None; slots.len()];
        for number in 0..total {
            for (holder, part) in holders.iter_mut().zip(&parts) {
                let digit = number / usize::from(part.stride) % (usize::from(part.nodes) + 1);
                *holder = digit.checked_sub(1);
            }
            match make(&holders) {
                Ok(blob) => outcomes.push(blob),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(Choice { parts: parts.into(), outcomes: outcomes.into() }))
    }

    /// The outcome of this decision. A role held by a node that the pool did not have when the zone
    /// was compiled counts as held by nobody.
    pub fn outcome(&self, picks: &Picks) -> Outcome {
        let caps = self.parts.iter().map(|part| picks.ttl_max_s.get(part.pool as usize).copied().unwrap_or(u32::MAX));
        let ttl_max_s = caps.min().unwrap_or(u32::MAX);
        Outcome { blob: self.blob(|pick| picks.holder(pick)), ttl_max_s }
    }

    /// The outcome where these are the holders of the roles, by [`Choice::picks`].
    pub fn blob(&self, holder: impl Fn(u32) -> u16) -> BlobId {
        let mut number = 0;
        for part in &self.parts {
            let holder = holder(part.pick);
            if holder < part.nodes {
                number += usize::from(part.stride) * (usize::from(holder) + 1);
            }
        }
        self.outcomes[number]
    }

    /// The roles that it depends on, as places in [`Picks`].
    pub fn picks(&self) -> impl Iterator<Item = u32> {
        self.parts.iter().map(|part| part.pick)
    }
}

impl Picks {
    pub fn new(roles: &[PoolRoles], ttl_max_s: &[Option<u32>]) -> Picks {
        let number = |node: Option<usize>| node.and_then(|node| u16::try_from(node).ok()).unwrap_or(NOBODY);
        let both = |roles: Roles| [number(roles.primary), number(roles.standby)];
        let holders = roles.iter().flat_map(|pool| [both(pool.ipv4), both(pool.ipv6)]).flatten();
        Picks { holders: holders.collect(), ttl_max_s: ttl_max_s.iter().map(|cap| cap.unwrap_or(u32::MAX)).collect() }
    }

    /// Who holds the role at this place.
    pub fn holder(&self, pick: u32) -> u16 {
        self.holders.get(pick as usize).copied().unwrap_or(NOBODY)
    }
}

/// Where [`Picks`] has the holder of a role.
fn holder_at(pool: usize, role: Role, family: Family) -> usize {
    let family = match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 2,
    };
    let role = match role {
        Role::Primary => 0,
        Role::Standby => 1,
    };
    pool.saturating_mul(4).saturating_add(family + role)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::family::PerFamily;

    const PRIMARY: Slot = Slot { pool: 0, role: Role::Primary };
    const STANDBY: Slot = Slot { pool: 1, role: Role::Standby };

    fn digits(slots: &[(Slot, usize)], family: Family) -> Choice {
        let make = |holders: &[Option<usize>]| -> Result<BlobId, ()> {
            Ok(holders.iter().fold(0, |all, holder| all * 10 + holder.map_or(9, |node| node as u32)))
        };
        Choice::new(slots, family, make).unwrap().unwrap()
    }

    fn roles(ipv4: Roles, ipv6: Roles) -> PoolRoles {
        PerFamily { ipv4, ipv6 }
    }

    fn held(primary: Option<usize>, standby: Option<usize>) -> Roles {
        Roles { primary, standby }
    }

    #[test]
    fn one_slot_follows_its_role_and_family() {
        let pool = roles(held(Some(1), Some(0)), held(None, Some(2)));
        let picks = Picks::new(&[pool, pool], &[None, Some(30)]);
        let outcome = |slot: Slot, family| digits(&[(slot, 3)], family).outcome(&picks);
        assert_eq!(outcome(PRIMARY, Family::Ipv4).blob, 1);
        assert_eq!(outcome(PRIMARY, Family::Ipv6).blob, 9);
        assert_eq!(outcome(STANDBY, Family::Ipv4).blob, 0);
        assert_eq!(outcome(STANDBY, Family::Ipv6).blob, 2);
        assert_eq!(outcome(PRIMARY, Family::Ipv4).ttl_max_s, u32::MAX);
        assert_eq!(outcome(STANDBY, Family::Ipv4).ttl_max_s, 30);
    }

    #[test]
    fn two_slots_are_independent() {
        let choice = digits(&[(PRIMARY, 2), (STANDBY, 3)], Family::Ipv4);
        for first in [None, Some(0), Some(1)] {
            for second in [None, Some(0), Some(1), Some(2)] {
                let pools = [roles(held(first, None), Roles::default()), roles(held(None, second), Roles::default())];
                let picks = Picks::new(&pools, &[Some(60), Some(20)]);
                let digit = |holder: Option<usize>| holder.map_or(9, |node| node as u32);
                let outcome = choice.outcome(&picks);
                assert_eq!(outcome.blob, digit(first) * 10 + digit(second));
                assert_eq!(outcome.ttl_max_s, 20);
            }
        }
    }

    #[test]
    fn what_the_decision_does_not_know_is_held_by_nobody() {
        let choice = digits(&[(PRIMARY, 2)], Family::Ipv4);
        assert_eq!(choice.outcome(&Picks::new(&[], &[])).blob, 9);
        let later = roles(held(Some(2), None), Roles::default());
        assert_eq!(choice.outcome(&Picks::new(&[later], &[])).blob, 9);
    }

    #[test]
    fn outcomes_are_bounded() {
        let slots = [(PRIMARY, 99), (STANDBY, 99)];
        assert!(Choice::new(&slots, Family::Ipv4, |_| Ok::<_, ()>(0)).is_none());
    }
}
