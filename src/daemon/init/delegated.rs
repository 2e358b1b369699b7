//! `--placement delegated`: nsd keeps the zone, and delegates a small subzone of ours. Pure.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::dns::name::Name;

use super::super::load::Loaded;
use super::propose::{Node, Pool, Proposal, propose};
use super::write::bare;
use super::{Setting, TaggedZone};

/// An NS record has no port.
const PORT: u16 = 53;

/// Who the hosts are: those that the operator names, else those of the tags. The zones stay nsd's.
pub fn proposal(zones: &[TaggedZone], given: &[Node]) -> Result<Proposal, String> {
    let mut proposal = match given {
        [_, _, ..] => {
            let pool = Pool { name: "web".to_owned(), nodes: (0..given.len()).collect() };
            Proposal { nodes: given.to_vec(), pools: vec![pool], zones: Vec::new() }
        }
        _ => propose(zones, given).map_err(|error| format!("{error}; or name two hosts with --node"))?,
    };
    proposal.zones.clear();
    proposal.pools.truncate(1);
    Ok(proposal)
}

/// The part of the configuration before the nodes.
pub fn head(setting: &Setting) -> String {
    let at = |ip: &IpAddr| format!("\"{}\"", SocketAddr::new(*ip, PORT));
    let all: Vec<String> = setting.args.address.iter().map(at).collect();
    format!(
        "\n# Addresses of our own, which nsd leaves alone: an NS record has no port.\nlisten = [{}]\n",
        all.join(", ")
    )
}

/// The subzone; its names are examples.
pub fn zone_table(setting: &Setting, proposal: &Proposal) -> String {
    let Some(subzone) = &setting.args.subzone else { return String::new() };
    format!(
        "\n# `standby` follows the standby node, every other name the primary; \"@\" is the subzone itself.\n\
         [zone.{:?}]\nnames = [\"www\", \"@\", \"standby\"]\npool = {:?}\n",
        bare(subzone),
        proposal.pools[0].name
    )
}

/// What the parent must hold, and what to do to nsd.
pub fn steps(setting: &Setting, loaded: &Loaded) -> String {
    let Some(subzone) = &setting.args.subzone else { return String::new() };
    let (nsd, conf) = (setting.nsd, setting.nsd_conf.display());
    let is_above = |origin: &Name| subzone.is_within(origin) && subzone != origin;
    let parent = nsd.zones.iter().filter(|zone| is_above(&zone.origin)).max_by_key(|zone| zone.origin.wire().len());
    let place = parent.and_then(|zone| Some((&zone.origin, zone.file.as_ref()?)));
    let mut text = match place {
        Some((origin, file)) => {
            format!("\nAdd to zone {origin}, in {}, and raise its serial:\n", file.display())
        }
        None => format!("\nThe parent of {subzone} is not in {conf}; it must hold:\n"),
    };
    for line in loaded.zones.iter().flat_map(|zone| &zone.delegation) {
        let _ = writeln!(text, "  {line}");
    }
    let clashes = |at: &SocketAddr| at.ip().is_unspecified() || setting.args.address.contains(&at.ip());
    if nsd.listen.is_empty() || nsd.listen.iter().any(clashes) {
        let ours: Vec<String> = setting.args.address.iter().map(ToString::to_string).collect();
        let _ = write!(
            text,
            "\nnsd must leave {} to us. In {conf} name its own addresses, and restart it:\n\
             \nserver:\n    ip-address: ADDRESS    # a line for each of nsd's\n",
            ours.join(" and ")
        );
    }
    let _ = writeln!(text, "\nThen `nsd-control reload`. Other names move by a CNAME: `www IN CNAME www.{subzone}`");
    text
}
