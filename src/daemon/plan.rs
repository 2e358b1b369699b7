//! `plan`: what would this configuration do now? A director of our own is told what real probes
//! find until it is sure; what it wants exported is shown as a difference, and nothing is changed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::config::zones::read_file;
use crate::config::{self, Config};
use crate::control::Exit;
use crate::control::text;
use crate::director::Director;
use crate::director::effect::Effect;
use crate::director::event::Event;
use crate::director::state::State;
use crate::director::status::{PoolStatus, Status};
use crate::probe::Prober;
use crate::zone::document::DOCUMENT_MAX;

use super::clock::Clock;
use super::exports::{self, Text};
use super::failure::Failure;
use super::load;

/// So long it may take until every target has a verdict.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lines of one zone's difference that are shown.
const LINES_MAX: usize = 200;

pub async fn plan(config: &Config) -> Result<(), Failure> {
    let loaded = load::load(config)?;
    let prober = Prober::new(&loaded.settings.checks).map_err(|error| Failure::usage(error.to_string()))?;
    let clock = Clock::start();
    // The operator's orders, and who was primary; the daemon may be running, so it is only read.
    let saved = std::fs::read(config.state_dir.join("state.json")).ok();
    let saved: Option<State> = saved.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut director = Director::new(loaded.settings.clone(), saved, clock.now());
    let before = director.status(clock.now());
    let is_sure = decide(&mut director, &loaded, &Arc::new(prober), clock).await;
    let after = director.status(clock.now());
    print!("{}", moves(&before, &after));
    if director.decision().pools.len() != loaded.settings.pools.len() {
        return Err(Failure::new(Exit::Failed, vec![format!("no decision after {} s", PATIENCE.as_secs())]));
    }
    // A zone that the configuration declares has no file of the operator's.
    let has_file = |zone: &&config::Zone| zone.text.is_none() && (zone.pool.is_some() || zone.export_file.is_some());
    for zone in config.zones.iter().filter(has_file) {
        for text in exports::texts(zone, &config.pools, director.decision(), None).map_err(Failure::usage)? {
            let Text { file, then } = text;
            let now = read_file(Path::new(&file), DOCUMENT_MAX);
            let now = now.map_err(|error| Failure::failed(format!("{file}: {error}")))?;
            print!("{}", difference(&file, &now, &then));
        }
    }
    match is_sure {
        true => Ok(()),
        false => Err(Failure::failed(format!("not sure of every target after {} s", PATIENCE.as_secs()))),
    }
}

/// Lets the director probe until its first round is done. False: it took too long.
async fn decide(director: &mut Director, loaded: &load::Loaded, prober: &Arc<Prober>, clock: Clock) -> bool {
    let deadline = Instant::now() + PATIENCE;
    let (back, mut ends) = mpsc::channel(1_024);
    let mut event = Event::Tick;
    loop {
        for effect in director.handle(event, clock.now()) {
            let Effect::Probe(target) = effect else { continue };
            let Some(looked) = loaded.targets.get(&target).cloned() else { continue };
            let (prober, back) = (Arc::clone(prober), back.clone());
            tokio::spawn(async move {
                let outcome = prober.probe(&looked.check, &looked.node, target.family).await;
                // Nobody listens any more when the decision is made.
                let _ = back.send(Event::Probed { target, outcome }).await;
            });
        }
        if director.status(clock.now()).ready {
            return true;
        }
        let wakeup = director.next_wakeup_ms().map_or(deadline, |at_ms| clock.instant(at_ms)).min(deadline);
        event = tokio::select! {
            Some(ended) = ends.recv() => ended,
            () = tokio::time::sleep_until(wakeup.into()) => Event::Tick,
        };
        if Instant::now() >= deadline {
            return false;
        }
    }
}

fn moves(before: &Status, after: &Status) -> String {
    let mut lines = Vec::new();
    for pool in &after.pools {
        let old = before.pools.iter().find(|old| old.name == pool.name);
        let (from, to) = (old.map(primaries).unwrap_or_default(), primaries(pool));
        let mark = if from == to { ' ' } else { '!' };
        let moved = if from == to { format!("stays {to}") } else { format!("{from} -> {to}") };
        lines.push(format!("{mark} pool {}: {moved}: {} [{}]", pool.name, pool.reason, pool.rule));
        lines.extend(pool.alarms.iter().map(|alarm| format!("! pool {}: {alarm}", pool.name)));
    }
    lines.iter().map(|line| text::clean(line) + "\n").collect()
}

fn primaries(pool: &PoolStatus) -> String {
    let holders = text::holders(pool).into_iter().filter(|(role, _)| role.starts_with("primary"));
    holders.map(|(_, node)| node).collect::<Vec<_>>().join(" and ")
}

/// Lines that differ, with their numbers; nothing where only the serial would.
fn difference(file: &str, now: &[u8], planned: &[u8]) -> String {
    let (now, planned) = (String::from_utf8_lossy(now), String::from_utf8_lossy(planned));
    let differ = now.lines().zip(planned.lines()).enumerate().filter(|(_, (now, planned))| now != planned);
    let lines: Vec<String> = differ
        .map(|(index, (now, planned))| {
            format!("@@ line {} @@\n-{}\n+{}\n", index + 1, text::clean(now), text::clean(planned))
        })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let more = lines.len().saturating_sub(LINES_MAX);
    let more = if more > 0 { format!("... and {more} more\n") } else { String::new() };
    format!("--- {file}\n+++ {file} (planned)\n{}{more}", lines[..lines.len().min(LINES_MAX)].concat())
}
