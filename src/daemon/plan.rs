//! `plan`: what would this configuration do now? A director of our own is told what real probes
//! find until it is sure; what it wants exported is shown as a difference, and nothing is changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::mpsc;

use crate::config::zones::read_file;
use crate::config::{self, Config};
use crate::control::text;
use crate::director::Director;
use crate::director::effect::Effect;
use crate::director::event::Event;
use crate::director::state::State;
use crate::director::status::{PoolFamilyStatus, PoolStatus, Status};
use crate::probe::Prober;
use crate::zone::document::DOCUMENT_MAX;

use super::clock::Clock;
use super::failure::Failure;
use super::{exports, load};

/// So long it may take until every target has a verdict.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lines of one zone's difference that are shown.
const LINES_MAX: usize = 200;

/// The plan for programs.
#[derive(Serialize)]
struct Plan {
    unix_ms: i64,
    /// Whether every target has a verdict.
    sure: bool,
    pools: Vec<PoolPlan>,
    zones: Vec<ZonePlan>,
}

#[derive(Serialize)]
struct PoolPlan {
    moves: bool,
    /// The families' primaries as they are; absent: nobody knows.
    before: Option<Vec<PoolFamilyStatus>>,
    /// The pool as it would be, with rule and reason.
    #[serde(flatten)]
    after: PoolStatus,
}

#[derive(Serialize)]
struct ZonePlan {
    name: String,
    file: String,
    /// Lines that would change; none where only the serial would.
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    /// Counted from 1.
    line: usize,
    now: String,
    planned: String,
}

pub async fn plan(config: &Config, json: bool) -> Result<(), Failure> {
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
    let mut plan = Plan { unix_ms: after.unix_ms, sure: is_sure, pools: pools(&before, after), zones: Vec::new() };
    let is_decided = director.decision().pools.len() == loaded.settings.pools.len();
    let exported = |zone: &&config::Zone| is_decided && (zone.pool.is_some() || zone.export_file.is_some());
    for zone in config.zones.iter().filter(exported) {
        let file = zone.file.display().to_string();
        let now = read_file(&zone.file, DOCUMENT_MAX).map_err(|error| Failure::failed(format!("{file}: {error}")))?;
        let planned = exports::render(zone, &config.pools, director.decision(), None).map_err(Failure::usage)?;
        plan.zones.push(ZonePlan { name: zone.origin.to_string(), file, lines: difference(&now, &planned) });
    }
    match json {
        true => println!("{}", serde_json::to_string_pretty(&plan).expect("plain data")),
        false => print!("{}", words(&plan)),
    }
    match is_sure {
        _ if !is_decided => Err(Failure::failed(format!("no decision after {} s", PATIENCE.as_secs()))),
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

fn pools(before: &Status, after: Status) -> Vec<PoolPlan> {
    let plan = |after: PoolStatus| {
        let old = before.pools.iter().find(|old| old.name == after.name);
        let moves = old.map(primaries) != Some(primaries(&after));
        PoolPlan { moves, before: old.map(|old| old.families.clone()), after }
    };
    after.pools.into_iter().map(plan).collect()
}

fn words(plan: &Plan) -> String {
    let mut lines = Vec::new();
    for pool in &plan.pools {
        let (name, to) = (&pool.after.name, primaries(&pool.after));
        let from = pool.before.as_ref().map_or_else(String::new, |families| {
            primaries(&PoolStatus { families: families.clone(), ..PoolStatus::default() })
        });
        let is_bad = pool.after.alarms.contains(&pool.after.reason);
        let mark = if pool.moves || is_bad { '!' } else { ' ' };
        let moved = if pool.moves { format!("{from} -> {to}") } else { format!("stays {to}") };
        lines.push(format!("{mark} pool {name}: {moved}: {} [{}]", pool.after.reason, pool.after.rule));
        let more = pool.after.alarms.iter().filter(|alarm| **alarm != pool.after.reason);
        lines.extend(more.map(|alarm| format!("! pool {name}: {alarm}")));
    }
    for zone in plan.zones.iter().filter(|zone| !zone.lines.is_empty()) {
        let file = &zone.file;
        lines.extend([format!("--- {file}"), format!("+++ {file} (planned)")]);
        for Line { line, now, planned } in zone.lines.iter().take(LINES_MAX) {
            lines.extend([format!("@@ line {line} @@"), format!("-{now}"), format!("+{planned}")]);
        }
        let more = zone.lines.len().saturating_sub(LINES_MAX);
        lines.extend((more > 0).then(|| format!("... and {more} more")));
    }
    lines.iter().map(|line| text::clean(line) + "\n").collect()
}

fn primaries(pool: &PoolStatus) -> String {
    let holders = text::holders(pool).into_iter().filter(|(role, _)| role.starts_with("primary"));
    holders.map(|(_, node)| node).collect::<Vec<_>>().join(" and ")
}

/// Lines that differ, with their numbers; nothing where only the serial would.
fn difference(now: &[u8], planned: &[u8]) -> Vec<Line> {
    let (now, planned) = (String::from_utf8_lossy(now), String::from_utf8_lossy(planned));
    let differ = now.lines().zip(planned.lines()).enumerate().filter(|(_, (now, planned))| now != planned);
    let line = |(index, (now, planned)): (usize, (&str, &str))| Line {
        line: index + 1,
        now: now.to_owned(),
        planned: planned.to_owned(),
    };
    differ.map(line).collect()
}
