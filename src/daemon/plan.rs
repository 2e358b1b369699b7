//! `plan`: what would this configuration do now? A director of our own is told what real probes
//! find until it is sure; what it wants exported is shown as a difference, and nothing is changed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::config::zones::read_file;
use crate::control::text;
use crate::director::Director;
use crate::director::effect::Effect;
use crate::director::event::Event;
use crate::director::state::State;
use crate::director::status::{PoolStatus, Status};
use crate::probe::Prober;
use crate::zone::document::DOCUMENT_MAX;

use super::cli::Form;
use super::clock::Clock;
use super::exports::{self, Text};
use super::failure::Failure;
use super::progress::Waiting;
use super::{load, output};

/// So long it may take until every target has a verdict.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lines of one zone's difference that are shown.
const LINES_MAX: usize = 200;

/// What would move and what would be written: `plan --json`.
#[derive(Serialize)]
struct Plan {
    /// Whether every target has a verdict.
    sure: bool,
    pools: Vec<PlannedPool>,
    zones: Vec<PlannedZone>,
}

#[derive(Serialize)]
struct PlannedPool {
    name: String,
    /// The primaries of now and then, in words where the families differ.
    from: String,
    to: String,
    rule: String,
    reason: String,
    alarms: Vec<String>,
}

#[derive(Serialize)]
struct PlannedZone {
    zone: String,
    file: String,
    /// Lines that would be another.
    lines: Vec<PlannedLine>,
}

#[derive(Serialize)]
struct PlannedLine {
    /// From 1.
    line: usize,
    now: String,
    planned: String,
}

pub async fn plan(config: &Config, form: Form) -> Result<(), Failure> {
    let loaded = load::load(config)?;
    let prober = Prober::new(&loaded.settings.checks).map_err(|error| Failure::usage(error.to_string()))?;
    let clock = Clock::start();
    // The operator's orders, and who was primary; the daemon may be running, so it is only read.
    let saved = std::fs::read(config.state_dir.join("state.json")).ok();
    let saved: Option<State> = saved.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut director = Director::new(loaded.settings.clone(), saved, clock.now());
    let before = director.status(clock.now());
    let waiting = Waiting::start(format!("probing {} targets", loaded.targets.len()));
    let sure = decide(&mut director, &loaded, &Arc::new(prober), clock).await;
    drop(waiting);
    let mut plan = Plan { sure, pools: moves(&before, &director.status(clock.now())), zones: Vec::new() };
    let is_decided = director.decision().pools.len() == loaded.settings.pools.len();
    // A zone that the configuration declares has no file that could differ.
    let in_files = config.zones.iter().filter(|zone| zone.text.is_none());
    let zones = in_files.filter(|zone| is_decided && (zone.pool.is_some() || zone.export_file.is_some()));
    for zone in zones {
        for text in exports::texts(zone, &config.pools, director.decision(), None).map_err(Failure::usage)? {
            let Text { file, then } = text;
            let now = read_file(Path::new(&file), DOCUMENT_MAX);
            let now = now.map_err(|error| Failure::failed(format!("{file}: {error}")))?;
            plan.zones.push(PlannedZone { zone: zone.origin.to_string(), file, lines: difference(&now, &then) });
        }
    }
    match form.json {
        true => output::json(&plan)?,
        false => output::text(&plan.words())?,
    }
    match (is_decided, sure) {
        (true, true) => Ok(()),
        (true, false) => Err(Failure::failed(format!("not sure of every target after {} s", PATIENCE.as_secs()))),
        (false, _) => Err(Failure::failed(format!("no decision after {} s", PATIENCE.as_secs()))),
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

fn moves(before: &Status, after: &Status) -> Vec<PlannedPool> {
    let planned = |pool: &PoolStatus| PlannedPool {
        name: pool.name.clone(),
        from: before.pools.iter().find(|old| old.name == pool.name).map(primaries).unwrap_or_default(),
        to: primaries(pool),
        rule: pool.rule.clone(),
        reason: pool.reason.clone(),
        alarms: pool.alarms.clone(),
    };
    after.pools.iter().map(planned).collect()
}

fn primaries(pool: &PoolStatus) -> String {
    let holders = text::holders(pool).into_iter().filter(|(role, _)| role.starts_with("primary"));
    holders.map(|(_, node)| node).collect::<Vec<_>>().join(" and ")
}

/// Lines that differ, with their numbers; nothing where only the serial would.
fn difference(now: &[u8], planned: &[u8]) -> Vec<PlannedLine> {
    let (now, planned) = (String::from_utf8_lossy(now), String::from_utf8_lossy(planned));
    let differ = now.lines().zip(planned.lines()).enumerate().filter(|(_, (now, planned))| now != planned);
    let line = |(index, (now, planned)): (usize, (&str, &str))| PlannedLine {
        line: index + 1,
        now: now.to_owned(),
        planned: planned.to_owned(),
    };
    differ.map(line).collect()
}

impl Plan {
    fn words(&self) -> String {
        let mut lines = Vec::new();
        for PlannedPool { name, from, to, rule, reason, alarms } in &self.pools {
            let mark = if from == to && !alarms.contains(reason) { ' ' } else { '!' };
            let moved = if from == to { format!("stays {to}") } else { format!("{from} -> {to}") };
            lines.push(format!("{mark} pool {name}: {moved}: {reason} [{rule}]"));
            let more = alarms.iter().filter(|alarm| *alarm != reason);
            lines.extend(more.map(|alarm| format!("! pool {name}: {alarm}")));
        }
        for zone in self.zones.iter().filter(|zone| !zone.lines.is_empty()) {
            lines.push(format!("--- {}", zone.file));
            lines.push(format!("+++ {} (planned)", zone.file));
            for PlannedLine { line, now, planned } in zone.lines.iter().take(LINES_MAX) {
                lines.extend([format!("@@ line {line} @@"), format!("-{now}"), format!("+{planned}")]);
            }
            if zone.lines.len() > LINES_MAX {
                lines.push(format!("... and {} more", zone.lines.len() - LINES_MAX));
            }
        }
        // A zone file's tabs stay what they are.
        let shown = |line: &String| line.split('\t').map(text::clean).collect::<Vec<_>>().join("\t") + "\n";
        lines.iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zone files have tabs; what a terminal would obey is shown as nothing that it knows.
    #[test]
    fn the_lines_of_a_zone_file_are_shown_as_they_are() {
        let lines = difference(b"www\tA 192.0.2.1 ; \x1b[2J\n", b"www\tA 192.0.2.2 ; \x1b[2J\n");
        let zone = PlannedZone { zone: "a.".to_owned(), file: "a.zone".to_owned(), lines };
        let plan = Plan { sure: true, pools: Vec::new(), zones: vec![zone] };
        let wanted = "--- a.zone\n+++ a.zone (planned)\n@@ line 1 @@\n\
                      -www\tA 192.0.2.1 ; \u{fffd}[2J\n+www\tA 192.0.2.2 ; \u{fffd}[2J\n";
        assert_eq!(plan.words(), wanted);
    }
}
