//! `probe`: the checks of one node, once, with every step. Needs no daemon and changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::config::Config;
use crate::control::Exit;
use crate::control::text;
use crate::director::event::Target;
use crate::director::settings::ANCHOR;
use crate::health::check::Outcome;
use crate::health::family::Family;
use crate::probe::{Examined, Prober};

use super::cli::Form;
use super::failure::Failure;
use super::load;
use super::output;
use super::progress::Waiting;
use super::targets::Looked;

/// One probe with its steps: `probe --json` is a list of these.
#[derive(Serialize)]
struct Probed<'a> {
    #[serde(flatten)]
    target: &'a Target,
    /// What kind of check it is: "http".
    kind: &'static str,
    address: String,
    steps: Vec<Step<'a>>,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// What was done, and how long after the start, in milliseconds.
#[derive(Serialize)]
struct Step<'a> {
    step: &'a str,
    after_ms: f64,
}

pub async fn probe(config: &Config, node: &str, check: Option<&str>, form: Form) -> Result<(), Failure> {
    let loaded = load::load(config)?;
    let prober = Prober::new(&loaded.settings.checks).map_err(|error| Failure::usage(error.to_string()))?;
    let is_meant = |(target, looked): &(&Target, &Arc<Looked>)| {
        let is_asked = target.node == node && check.is_none_or(|check| target.check == check);
        is_asked && looked.node.has(target.family)
    };
    let mut targets: Vec<&Target> = loaded.targets.iter().filter(is_meant).map(|(target, _)| target).collect();
    targets.sort();
    if targets.is_empty() {
        return Err(Failure::usage(nothing_to_probe(&loaded.targets.keys().collect::<Vec<_>>(), node, check)));
    }
    let (mut bad, count) = (0, targets.len());
    let mut found = Vec::new();
    for target in targets {
        let looked: &Arc<Looked> = &loaded.targets[target];
        let waiting =
            Waiting::start(format!("probing {} by {} over {}", target.node, target.check, target.family.as_str()));
        let examined = prober.examine(&looked.check, &looked.node, target.family).await;
        drop(waiting);
        bad += usize::from(examined.outcome.success != Some(true));
        match form.json {
            // A value that cannot be written is none of these.
            true => found.push(serde_json::to_value(probed(target, looked, &examined)).unwrap_or_default()),
            false => output::text(&words(target, looked, &examined))?,
        }
    }
    if form.json {
        output::json(&found)?;
    }
    match bad {
        0 => Ok(()),
        _ if form.json => Err(Failure::new(Exit::Failed, Vec::new())),
        bad => Err(Failure::new(Exit::Failed, vec![format!("not good: {bad} of {count} probes")])),
    }
}

fn probed<'a>(target: &'a Target, looked: &Looked, examined: &'a Examined) -> Probed<'a> {
    let step =
        |(step, after): &'a (String, std::time::Duration)| Step { step, after_ms: after.as_secs_f64() * 1_000.0 };
    Probed {
        target,
        kind: looked.check.kind.as_str(),
        address: address(target, looked),
        steps: examined.steps.iter().map(step).collect(),
        outcome: &examined.outcome,
    }
}

fn address(target: &Target, looked: &Looked) -> String {
    let address = match target.family {
        Family::Ipv4 => looked.node.ipv4.map(|ip| ip.to_string()),
        Family::Ipv6 => looked.node.ipv6.map(|ip| ip.to_string()),
    };
    address.unwrap_or_default()
}

fn words(target: &Target, looked: &Looked, examined: &Examined) -> String {
    let (address, kind) = (address(target, looked), looked.check.kind.as_str());
    let mut lines = vec![format!("{} {} {kind}, {} {address}", target.node, target.check, target.family)];
    for (step, after) in &examined.steps {
        lines.push(format!("  {:>9.1} ms  {step}", after.as_secs_f64() * 1_000.0));
    }
    let outcome = &examined.outcome;
    let verdict = match outcome.success {
        Some(true) => "good",
        Some(false) => "bad",
        None => "nothing can be said",
    };
    lines.push(format!("  {:>9} ms  {verdict}: {} {}", outcome.duration_ms, outcome.word, outcome.detail));
    if let Some(unix_s) = outcome.cert_expiry_unix_s {
        lines.push(format!("  certificate until {}", text::utc(unix_s.saturating_mul(1_000))));
    }
    lines.extend(outcome.measures.iter().map(|found| format!("  {} = {}", found.label, found.value)));
    lines.iter().map(|line| text::clean(line) + "\n").collect()
}

fn nothing_to_probe(targets: &[&Target], node: &str, check: Option<&str>) -> String {
    let known = targets.iter().filter(|target| target.check != ANCHOR);
    let nodes: BTreeSet<&str> = known.clone().map(|target| target.node.as_str()).collect();
    let checks: BTreeSet<&str> = known.filter(|target| target.node == node).map(|t| t.check.as_str()).collect();
    let list = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
    match check {
        Some(check) if nodes.contains(node) => {
            format!("no pool looks at {node} with `{check}`; it has {}", list(checks))
        }
        _ => format!("no pool with checks has a node `{node}`; there are {}", list(nodes)),
    }
}
