//! The configuration and the next steps as text. Pure.

use std::fmt::Write;
use std::path::Path;

use crate::config::DEFAULT_FILE;
use crate::config::nsd_conf::NsdConf;
use crate::dns::name::Name;

use super::super::cli::Placement;
use super::super::load::Loaded;
use super::propose::{Pool, Proposal};
use super::{Check, Setting, delegated, nsd_address, transfer};

/// Where nsd answers once it stands behind us.
pub const BEHIND: &str = "127.0.0.1:5300";

pub fn config(proposal: &Proposal, check: &Check, setting: &Setting) -> String {
    let Setting { nsd, user, args, .. } = setting;
    let mut text =
        String::from("# Written by `nsd-failover init`. `nsd-failover check` says whether it is right.\nversion = 1\n");
    if let Some(user) = user {
        let _ = writeln!(text, "\n# Whom the daemon becomes when root starts it.\nuser = {user:?}");
    }
    if args.placement == Placement::Front {
        text += "\n# We answer on port 53; what is not a failover name is relayed to nsd (see [nsd]).\n";
        let _ = writeln!(text, "listen = [{}]", listen(nsd));
    }
    if args.placement == Placement::Delegated {
        text += &delegated::head(setting);
    }
    text += "\n# Status page, JSON and metrics: read-only. Without this line: off.\nhttp = \"127.0.0.1:8053\"\n";
    text += &match args.placement {
        Placement::File | Placement::Front => nsd_table(setting),
        Placement::Transfer => transfer::head(setting),
        Placement::Delegated => String::new(),
    };
    for node in &proposal.nodes {
        let _ = writeln!(text, "\n[node.{:?}]", node.name);
        if let Some(ipv4) = node.ipv4 {
            let _ = writeln!(text, "ipv4 = \"{ipv4}\"");
        }
        if let Some(ipv6) = node.ipv6 {
            let _ = writeln!(text, "ipv6 = \"{ipv6}\"");
        }
    }
    text += "\n# Each node is probed over each of its addresses. 3 failures (1 s apart after the first) make it\n";
    text += "# down, 2 successes up.\n[check.web]\n";
    let _ = writeln!(text, "http = {:?}", check.url);
    if let Some(expect) = &check.expect {
        let _ = writeln!(text, "expect = {expect:?}");
    }
    proposal.pools.iter().for_each(|pool| text += &pool_table(proposal, pool, args.rotate));
    for zone in &proposal.zones {
        let _ = writeln!(text, "\n[zone.{:?}]\nfile = {:?}", bare(&zone.origin), zone.file.display().to_string());
        if let Some(pool) = &zone.pool {
            let _ = writeln!(text, "pool = {pool:?}");
        }
        if args.placement == Placement::Transfer {
            text += &transfer::zone_lines(setting);
        }
    }
    if args.placement == Placement::Delegated {
        text += &delegated::zone_table(setting, proposal);
    }
    text
}

fn nsd_table(setting: &Setting) -> String {
    let Setting { nsd, nsd_conf, args, .. } = setting;
    let address = nsd_address(nsd, args.placement);
    let mut text = format!("\n[nsd]\naddress = {address:?}   # where nsd is asked what it serves\n");
    match args.placement {
        Placement::Front => text += "relay   = true\n",
        _ => {
            let others =
                nsd.listen.iter().filter(|at| !at.ip().is_unspecified()).map(|at| format!("{:?}", at.to_string()));
            let others: Vec<String> = others.filter(|other| *other != format!("{address:?}")).collect();
            if !others.is_empty() {
                let _ = writeln!(text, "verify  = [{}]   # and these must show each export, too", others.join(", "));
            }
        }
    }
    let _ = writeln!(text, "control = [\"nsd-control\", \"-c\", {:?}]", nsd_conf.display().to_string());
    text
}

/// A name as configurations have it.
pub fn bare(name: &Name) -> String {
    let text = name.to_string();
    text.strip_suffix('.').filter(|bare| !bare.is_empty()).map_or(text.clone(), str::to_owned)
}

fn pool_table(proposal: &Proposal, pool: &Pool, rotate: bool) -> String {
    let names: Vec<String> = pool.nodes.iter().map(|node| format!("{:?}", proposal.nodes[*node].name)).collect();
    let name = match pool.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        true => pool.name.clone(),
        false => format!("{:?}", pool.name),
    };
    let comment = if rotate { "" } else { "# " };
    format!(
        "\n[pool.{name}]\nnodes = [{}]   # in order of preference\nchecks = [\"web\"]\n\
         {comment}rotate = \"weekly\"   # each node is primary in turn, so that each can renew its certificates\n",
        names.join(", ")
    )
}

/// Who is who, for people.
pub fn hosts(proposal: &Proposal) -> String {
    let mut text = String::new();
    for pool in &proposal.pools {
        if proposal.pools.len() > 1 {
            let _ = writeln!(text, "pool {}", pool.name);
        }
        for (order, node) in ["primary", "standby"].iter().zip(&pool.nodes) {
            let _ = writeln!(text, "  {order}  {}", proposal.nodes[*node].name);
        }
    }
    text
}

/// What remains to be done, with the lines for nsd.conf where it must change.
pub fn next_steps(setting: &Setting, proposal: &Proposal, loaded: &Loaded) -> String {
    let Setting { nsd, nsd_conf, user: _, args } = setting;
    // Where the other verbs find it by themselves they need not be told.
    let config = match args.out == Path::new(DEFAULT_FILE) {
        true => String::new(),
        false => format!(" --config {}", args.out.display()),
    };
    let mut text = String::new();
    if args.placement == Placement::Front {
        let _ = writeln!(text, "\nnsd moves behind us. In {}, in place of its ip-address lines:\n", nsd_conf.display());
        text +=
            "server:\n    ip-address: 127.0.0.1@5300\n    rrl-ratelimit: 0    # behind a relay nsd sees one client\n";
        let _ = writeln!(text, "\nThen restart nsd. Until now it listens on {}.", listen(nsd));
    }
    text += &match args.placement {
        Placement::File | Placement::Front => String::new(),
        Placement::Transfer => transfer::steps(setting, proposal),
        Placement::Delegated => delegated::steps(setting, loaded),
    };
    let _ = writeln!(
        text,
        "\nNext:\n  nsd-failover check{config}\n  nsd-failover run --shadow{config}   \
         # for a while: decides and tells, changes nothing\n  nsd-failover run{config}"
    );
    text
}

/// The addresses that nsd has now, as TOML; all of them if it says nothing.
fn listen(nsd: &NsdConf) -> String {
    let public: Vec<String> = nsd
        .listen
        .iter()
        .filter(|address| !address.ip().is_loopback())
        .map(|address| format!("\"{address}\""))
        .collect();
    match public.is_empty() {
        true => format!("\"0.0.0.0:{0}\", \"[::]:{0}\"", nsd.port),
        false => public.join(", "),
    }
}
