//! The TLS check: a handshake for each name, in which the node must show a good certificate.

use std::sync::Arc;

use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::health::check::{Names, Tls};

use super::stream::{connect, shake_hands};
use super::trace::{self, Trace};
use super::{Aim, Finding};

/// Handshakes with one node at a time.
const LANES: usize = 8;

/// So many of the names that fail are told.
const TOLD_MAX: usize = 3;

pub(super) async fn look(config: &Arc<ClientConfig>, check: &Tls, aim: &Aim<'_>) -> Finding {
    let names = match &check.names {
        Names::List(names) => names.iter().map(|name| server_name(&aim.fill(name))).collect(),
        // No zone is loaded that would tell of others.
        Names::Pool => vec![aim.node.name.clone()],
    };
    let names: Arc<[String]> = names.into();
    let Some(trace) = trace::current() else { return Finding::cannot_say("outside a probe") };
    let mut lanes = JoinSet::new();
    for lane in 0..LANES.min(names.len()) {
        let (names, config, address, port) = (Arc::clone(&names), Arc::clone(config), aim.address, check.port);
        let trace: Arc<Trace> = Arc::clone(&trace);
        lanes.spawn(trace::within(trace, async move {
            let mut failed = Vec::new();
            for (index, name) in names.iter().enumerate().skip(lane).step_by(LANES) {
                let tried = async {
                    let stream = connect(address, port).await?;
                    shake_hands(&config, name, stream).await.map(drop)
                };
                if let Err(finding) = tried.await {
                    let is_final = finding.word.starts_with("L4") || finding.success.is_none();
                    failed.push((index, finding));
                    // The port is closed to all names alike.
                    if is_final {
                        break;
                    }
                }
            }
            failed
        }));
    }
    let mut failed: Vec<(usize, Finding)> = lanes.join_all().await.into_iter().flatten().collect();
    failed.sort_by_key(|(index, _)| *index);
    judge(&names, failed)
}

fn judge(names: &[String], mut failed: Vec<(usize, Finding)>) -> Finding {
    if failed.is_empty() {
        let detail = match names {
            [name] => format!("good certificate for {name}"),
            _ => format!("good certificates for {} names", names.len()),
        };
        return Finding::good("L6OK", detail);
    }
    // What says something of the node counts before what does not.
    let first = failed.iter().position(|(_, finding)| finding.success == Some(false)).unwrap_or(0);
    if names.len() == 1 || failed[first].1.word.starts_with("L4") {
        return failed.swap_remove(first).1;
    }
    let told = failed.iter().take(TOLD_MAX).map(|(index, finding)| format!("{}: {}", names[*index], finding.detail));
    let told = told.collect::<Vec<_>>().join("; ");
    let count = format!("{} of {} names fail: {told}", failed.len(), names.len());
    Finding { detail: count, ..failed.swap_remove(first).1 }
}

/// A wildcard is asked for by a name that it covers.
fn server_name(name: &str) -> String {
    let name = name.trim_end_matches('.');
    match name.strip_prefix("*.") {
        Some(rest) => format!("any-name.{rest}"),
        None => name.to_owned(),
    }
}
