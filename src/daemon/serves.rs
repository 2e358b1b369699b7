//! `is-primary NODE NAME`: whether a node serves a name now. For cron jobs and certificate clients.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use crate::config::problem::did_you_mean;
use crate::config::{self, Config, Serve};
use crate::control::Exit;
use crate::control::client::Client;
use crate::director::event::{ExportReport, ExportResult};
use crate::director::status::Status;
use crate::dns::name::Name;
use crate::failover::binding::family_of;
use crate::health::family::Family;
use crate::zone::tag::Role;

use super::cli::Form;
use super::failure::Failure;
use super::{load, output, shadow};

/// Nodes that a message names.
const NODES_SHOWN: usize = 10;

/// A failover RRset of a name: whom it follows.
#[derive(Debug, Eq, PartialEq)]
struct Follows {
    pool: String,
    role: Role,
    family: Family,
}

/// Succeeds if `node` holds the role that `name` follows, in every family in which the name is
/// served at all. The failure says who does. A node that nobody knows is no "not now": a script that
/// takes it for one would wait for its turn for ever.
pub async fn run(file: &Path, node: &str, name: &Name, form: Form) -> Result<(), Failure> {
    let config = Config::load(file)?;
    known_node(&config, node)?;
    let (zone, follows) = follows(&config, name)?;
    let status = Client::new(&config.control).status().await?;
    if status.shadow {
        // Whoever publishes instead of it was not asked.
        return Err(Failure::unreachable(shadow::REFUSAL));
    }
    if let Some(why) = astray(zone, &status) {
        return Err(Failure::unreachable(format!("{name}: nsd does not have the decision: {why}")));
    }
    let held = follows.iter().filter_map(|follows| Some((follows.family, holder(&status, follows)?)));
    let holders: Vec<Holder<'_>> = held.map(|(family, node)| Holder { family, node }).collect();
    let other = holders.iter().find(|holder| holder.node != node);
    let serves = !holders.is_empty() && other.is_none();
    if form.json {
        output::json(&Served { name: name.to_string(), node, serves, holders: &holders })?;
    }
    match other {
        _ if serves => Ok(()),
        _ if form.json => Err(Failure::new(Exit::Failed, Vec::new())),
        None => Err(Failure::failed(format!("{name} is served by nobody"))),
        Some(Holder { family, node: holder }) => {
            Err(Failure::failed(format!("{name} is served by {holder} over {family}, not by {node}")))
        }
    }
}

/// `is-primary --json`.
#[derive(Serialize)]
struct Served<'a> {
    name: String,
    node: &'a str,
    serves: bool,
    /// Who serves it, over each family in which it is served.
    holders: &'a [Holder<'a>],
}

#[derive(Serialize)]
struct Holder<'a> {
    family: Family,
    node: &'a str,
}

/// That a node is in a pool; the failure names the one that is meant, or all.
pub fn known_node(config: &Config, node: &str) -> Result<(), Failure> {
    let known: BTreeSet<&str> =
        config.pools.iter().flat_map(|pool| &pool.nodes).map(|node| node.name.as_str()).collect();
    match known.contains(node) {
        true => Ok(()),
        false => Err(Failure::usage(format!("no pool has a node `{node}`; {}", meant(node, &known)))),
    }
}

fn meant(node: &str, known: &BTreeSet<&str>) -> String {
    // `hostname` gives the short name or the long one, in small letters or others.
    let host = |name: &str| name.split('.').next().map(str::to_lowercase);
    let mut same = known.iter().filter(|known| host(known) == host(node));
    let hint = match (same.next(), same.next()) {
        (Some(one), None) => Some(format!("did you mean `{one}`?")),
        _ => did_you_mean(node, known.iter().copied()),
    };
    hint.unwrap_or_else(|| {
        let some: Vec<&str> = known.iter().copied().take(NODES_SHOWN).collect();
        let more = if known.len() > NODES_SHOWN { ", ..." } else { "" };
        format!("nodes: {}{more}", some.join(", "))
    })
}

/// Why nsd is known not to serve what was decided, where it alone answers for the zone.
fn astray(zone: &config::Zone, status: &Status) -> Option<String> {
    if zone.serve != Serve::Off {
        return None;
    }
    let told = status.zones.iter().find(|told| told.export && told.name == zone.origin.to_string())?;
    if told.export_held {
        return Some(format!("held since a rollback, `export {}` ends that", told.name));
    }
    let failed = |report: &&ExportReport| !matches!(report.result, ExportResult::Served | ExportResult::Unchanged);
    told.last_export.as_ref().filter(failed).map(|report| format!("the export failed: {}", report.detail))
}

/// What the failover records of a name follow, and the zone that it lies in.
fn follows<'a>(config: &'a Config, name: &Name) -> Result<(&'a config::Zone, Vec<Follows>), Failure> {
    let inside = config.zones.iter().filter(|zone| name.is_within(&zone.origin));
    let zone: &config::Zone = inside
        .max_by_key(|zone| zone.origin.labels().count())
        .ok_or_else(|| Failure::usage(format!("{name} lies in no zone of the configuration")))?;
    let parsed = load::parse(zone, &config.pools).map_err(|lines| Failure::new(Exit::Usage, lines))?;
    let mut follows: Vec<Follows> = Vec::new();
    for found in parsed.zone.failover_records().filter(|found| found.record.owner == *name) {
        let slot = found.tag.as_ref().and_then(|tag| parsed.binding.slot(tag));
        let (Some(slot), Some(family)) = (slot, family_of(found.record.rtype)) else { continue };
        let one = Follows { pool: config.pools[slot.pool].name.clone(), role: slot.role, family };
        if !follows.contains(&one) {
            follows.push(one);
        }
    }
    match follows.is_empty() {
        true => Err(Failure::usage(format!("{name} is no failover name of zone {}", zone.origin))),
        false => Ok((zone, follows)),
    }
}

fn holder<'a>(status: &'a Status, follows: &Follows) -> Option<&'a str> {
    let pool = status.pools.iter().find(|pool| pool.name == follows.pool)?;
    let family = pool.families.iter().find(|known| known.family == follows.family)?;
    match follows.role {
        Role::Primary => family.primary.as_deref(),
        Role::Standby => family.standby.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_nobody_knows_is_told_who_is_meant() {
        let known = ["fishfinger.example.org", "blowfish.example.org", "blowfish.example.net"].into();
        let all = "nodes: blowfish.example.net, blowfish.example.org, fishfinger.example.org";
        let fishfinger = "did you mean `fishfinger.example.org`?";
        for (name, hint) in [
            ("fishfinger", fishfinger),
            ("Fishfinger.example.org", fishfinger),
            ("fishfinger.local", fishfinger),
            ("fihsfinger.example.org", fishfinger),
            ("blowfish", all),
            ("vm", all),
            ("", all),
        ] {
            assert_eq!(meant(name, &known), hint, "{name}");
        }
    }
}
