//! Document and decision to the bytes that nsd shall load. Pure: who writes them where is
//! `publish`'s business.

pub mod serial;
pub mod skeleton;

use std::net::IpAddr;

use crate::failover::binding::{Binding, family_of};
use crate::failover::pool::{Families, Pool, PoolRoles, Slot, WhenAllDown};
use crate::health::family::Family;
use crate::zone::cursor::Seen;
use crate::zone::diagnostic::Diagnostic;
use crate::zone::edit::{self, Edit, EditError, Edited};
use crate::zone::obstacles::{self, Fate};
use crate::zone::tag::Role;
use crate::zone::{Zone, values};

/// What an export would write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rendered {
    /// Nothing but the serial would differ: the file is to be left alone.
    Unchanged,
    /// The texts: failover addresses and serial changed, every other octet as it was.
    Changed(Edited),
}

/// What becomes of a text in which nothing but the serial would differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnlySerial {
    /// The file is to be left alone, its time stamp included.
    Leave,
    /// The serial in the text is behind the one that was served: the roles went there and back again
    /// while an export was under way. Who compares serials shall find the same everywhere.
    Write,
}

/// An export before anybody has read it again.
#[derive(Clone, Debug)]
pub struct Draft {
    pub edited: Edited,
    edits: Vec<Edit>,
}

impl Draft {
    /// No address changes.
    pub fn is_only_serial(&self) -> bool {
        self.edits.iter().all(|edit| matches!(edit, Edit::Serial(_)))
    }

    /// Whether the octets alone prove that `written` is what was meant, and the same zone as before to
    /// every reader but for addresses and the serial: with the same [`skeleton`], and the same verdict
    /// of whoever has judged the one. Where they do not, only [`Draft::verify`] tells. `zone` is the
    /// one that the draft was made of.
    pub fn is_proved_by(&self, zone: &Zone, written: &[u8]) -> bool {
        values::alone_differ(zone, &self.edits, written)
    }

    /// Compares what was written, and read again, with what was meant, record by record.
    pub fn verify(&self, zone: &Zone, written: &Zone) -> Result<(), EditError> {
        edit::verify(zone, &self.edits, written.document())
    }

    /// The same, with the text in memory.
    pub fn reread(&self, zone: &Zone) -> Result<(), EditError> {
        edit::reread(zone, &self.edits, &self.edited)
    }
}

/// The text of a zone with the failover records as these roles have them. `roles` stand in the
/// order of `pools`; `serial` must be newer than the one in the text (RFC 1982).
pub fn render(
    zone: &Zone,
    binding: &Binding,
    pools: &[Pool],
    roles: &[PoolRoles],
    serial: u32,
) -> Result<Rendered, RenderError> {
    let Some(draft) = draft(zone, binding, pools, roles, serial, OnlySerial::Leave)? else {
        return Ok(Rendered::Unchanged);
    };
    draft.reread(zone)?;
    Ok(Rendered::Changed(draft.edited))
}

/// The same, for who verifies it where it was written to; `None`: there is nothing to write.
pub fn draft(
    zone: &Zone,
    binding: &Binding,
    pools: &[Pool],
    roles: &[PoolRoles],
    serial: u32,
    only_serial: OnlySerial,
) -> Result<Option<Draft>, RenderError> {
    let mut edits = address_edits(zone, binding, pools, roles)?;
    if edits.is_empty() && only_serial == OnlySerial::Leave {
        return Ok(None);
    }
    if !serial::is_newer(serial, zone.serial()) {
        return Err(RenderError::Serial { serial, in_file: zone.serial() });
    }
    edits.push(Edit::Serial(serial));
    let edited = edit::write(zone, &edits)?;
    Ok(Some(Draft { edited, edits }))
}

/// The texts of a copy of the zone, with the roles and the serial that it is to have; what the zone's
/// own files say now does not matter.
pub fn copy(
    zone: &Zone,
    binding: &Binding,
    pools: &[Pool],
    roles: &[PoolRoles],
    serial: u32,
) -> Result<Edited, RenderError> {
    let mut edits = address_edits(zone, binding, pools, roles)?;
    edits.push(Edit::Serial(serial));
    Ok(edit::apply(zone, &edits)?)
}

/// What it takes to bring the failover records to these roles.
fn address_edits(
    zone: &Zone,
    binding: &Binding,
    pools: &[Pool],
    roles: &[PoolRoles],
) -> Result<Vec<Edit>, RenderError> {
    let mut edits = Vec::new();
    let mut cursor = zone.cursor();
    while let Some(found) = cursor.next_failover() {
        let slot = found.tag.as_ref().and_then(|tag| binding.slot(tag));
        let bound = slot.zip(family_of(found.record.rtype));
        let (slot, family) = bound.ok_or_else(|| RenderError::NoPool { owner: owner(zone, &found) })?;
        let address = address(pools, roles, slot, family)?;
        edits.extend(edits_of(&found, address));
    }
    Ok(edits)
}

fn owner(zone: &Zone, found: &Seen<'_>) -> String {
    zone.record(found.entry).record.owner.to_string()
}

/// The address that a slot has in a family; `None`: withdrawn, or the node has none.
fn address(pools: &[Pool], roles: &[PoolRoles], slot: Slot, family: Family) -> Result<Option<IpAddr>, RenderError> {
    let (pool, roles) = pools.get(slot.pool).zip(roles.get(slot.pool)).ok_or(RenderError::NoRoles(slot.pool))?;
    let holder = match slot.role {
        Role::Primary => roles[family].primary,
        Role::Standby => roles[family].standby,
    };
    let Some(node) = holder else { return Ok(None) };
    let node = pool.nodes.get(node).ok_or(RenderError::NoRoles(slot.pool))?;
    Ok(match family {
        Family::Ipv4 => node.ipv4.map(IpAddr::V4),
        Family::Ipv6 => node.ipv6.map(IpAddr::V6),
    })
}

/// What it takes to bring one record from what the text says to this address. A withdrawn line
/// keeps the address that it had.
fn edits_of(found: &Seen<'_>, address: Option<IpAddr>) -> impl Iterator<Item = Edit> + use<> {
    let entry = found.entry;
    let Some(address) = address else {
        return [(!found.withdrawn).then_some(Edit::Withdraw { entry }), None].into_iter().flatten();
    };
    let same = match address {
        IpAddr::V4(address) => *found.record.rdata == address.octets(),
        IpAddr::V6(address) => *found.record.rdata == address.octets(),
    };
    let restore = found.withdrawn.then_some(Edit::Restore { entry });
    let rewrite = (!same).then_some(Edit::Address { entry, address });
    [restore, rewrite].into_iter().flatten()
}

/// What stands in the way of an export: errors in the text of a zone that one of the outcomes of its
/// pools would meet. [`draft`] refuses the whole zone for one of them, so they are told when the zone
/// is loaded, not when a node fails.
pub fn obstacles(zone: &Zone, binding: &Binding, pools: &[Pool]) -> Vec<Diagnostic> {
    obstacles::obstacles(zone, &|tag, rtype| {
        // What belongs to no pool is an error already.
        let known = binding.slot(tag).zip(family_of(rtype));
        let found = known.and_then(|(slot, family)| Some((slot, family, pools.get(slot.pool)?)));
        found.map_or(Fate { pool: usize::MAX, may_be_withdrawn: false }, |(slot, family, pool)| Fate {
            pool: slot.pool,
            may_be_withdrawn: may_be_withdrawn(pool, slot.role, family),
        })
    })
}

/// Whether some outcome of a pool leaves a role without an address in a family.
fn may_be_withdrawn(pool: &Pool, role: Role, family: Family) -> bool {
    let by_checks = pool.when_all_down == WhenAllDown::Withdraw || pool.families == Families::Withdraw;
    let nobody = role == Role::Standby && pool.nodes.len() < 2;
    nobody || (by_checks && !pool.checks.is_empty()) || !pool.nodes.iter().all(|node| node.has(family))
}

/// Why there is nothing to publish. The zone in nsd stays as it is.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RenderError {
    #[error("the failover records of {owner} belong to no pool")]
    NoPool { owner: String },
    #[error("no roles are known for pool number {0}")]
    NoRoles(usize),
    #[error("serial {serial} is not newer than {in_file} in the file (RFC 1982)")]
    Serial { serial: u32, in_file: u32 },
    #[error(transparent)]
    Edit(#[from] EditError),
}
