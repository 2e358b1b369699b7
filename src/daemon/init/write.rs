//! The configuration and the next steps as text. Pure.

use std::fmt::Write;
use std::path::Path;

use crate::config::nsd_conf::NsdConf;

use super::super::cli::{Init, Placement};
use super::propose::Proposal;
use super::{Check, nsd_address};

/// Where nsd answers once it stands behind us.
pub const BEHIND: &str = "127.0.0.1:5300";

pub fn config(proposal: &Proposal, check: &Check, nsd: &NsdConf, nsd_conf: &Path, args: &Init) -> String {
    let mut text =
        String::from("# Written by `nsd-failover init`. `nsd-failover check` says whether it is right.\nversion = 1\n");
    if args.placement == Placement::Front {
        text += "\n# We answer on port 53; what is not a failover name is relayed to nsd (see [nsd]).\n";
        let _ = writeln!(text, "listen = [{}]", listen(nsd));
    }
    text += "\n# Status page, JSON and metrics: read-only. Without this line: off.\nhttp = \"127.0.0.1:8053\"\n";
    text += "\n[nsd]\n";
    let _ = writeln!(text, "address = {:?}   # where nsd is asked what it serves", nsd_address(nsd, args.placement));
    if args.placement == Placement::Front {
        text += "relay   = true\n";
    }
    let _ = writeln!(text, "control = [\"nsd-control\", \"-c\", {:?}]", nsd_conf.display().to_string());
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
    let names: Vec<String> = proposal.nodes.iter().map(|node| format!("{:?}", node.name)).collect();
    let _ =
        writeln!(text, "\n[pool.web]\nnodes = [{}]   # in order of preference\nchecks = [\"web\"]", names.join(", "));
    match args.rotate {
        true => {
            text += "rotate = \"weekly\"   # each node is primary in turn, so that each can renew its certificates\n"
        }
        false => {
            text += "# rotate = \"weekly\"   # each node is primary in turn, so that each can renew its certificates\n"
        }
    }
    for (origin, file) in &proposal.zones {
        let origin = origin.to_string();
        let bare = origin.strip_suffix('.').filter(|bare| !bare.is_empty()).unwrap_or(&origin);
        let _ = writeln!(text, "\n[zone.{bare:?}]\nfile = {:?}\npool = \"web\"", file.display().to_string());
    }
    text
}

/// What remains to be done, with the lines for nsd.conf where it must change.
pub fn next_steps(nsd: &NsdConf, nsd_conf: &Path, args: &Init) -> String {
    let config = args.out.display();
    let mut text = String::new();
    if args.placement == Placement::Front {
        let _ = writeln!(text, "\nnsd moves behind us. In {}, in place of its ip-address lines:\n", nsd_conf.display());
        text +=
            "server:\n    ip-address: 127.0.0.1@5300\n    rrl-ratelimit: 0    # behind a relay nsd sees one client\n";
        let _ = writeln!(text, "\nThen restart nsd. Until now it listens on {}.", listen(nsd));
    }
    let _ = writeln!(
        text,
        "\nNext:\n  nsd-failover check --config {config}\n  nsd-failover run --shadow --config {config}   \
         # for a while: decides and tells, changes nothing\n  nsd-failover run --config {config}"
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
