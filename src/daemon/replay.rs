//! `replay`: recorded probes through another configuration. A director of our own lives through
//! the recorded time again; what it would have done is held against what was done.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::config::Config;
use crate::control::log::Entry;
use crate::control::text;
use crate::director::Director;
use crate::director::effect::{Effect, Transition};
use crate::director::event::{Event, ExportReport, ExportResult, Target};
use crate::director::settings::Settings;
use crate::director::state::{SavedPool, SavedRoles, State, VERSION};
use crate::health::check::Outcome;
use crate::health::family::PerFamily;
use crate::health::history::Run;
use crate::health::time::Now;

use super::cli::Form;
use super::failure::Failure;
use super::progress::Waiting;
use super::recorder::Recorded;
use super::{load, output};

/// Further from any recorded probe than this, nothing is known, in milliseconds.
const GAP_MAX_MS: i64 = 10 * 60_000;
/// Two moves to the same node this close to each other are the same move, in milliseconds.
const SAME_MS: i64 = 60_000;
/// Largest record that is read, in octets.
const FILE_MAX: u64 = 256 << 20;

/// What moved and what would have: `replay --json`.
#[derive(Serialize)]
struct Replayed {
    probes: u64,
    targets: usize,
    start_unix_ms: i64,
    end_unix_ms: i64,
    /// In the order of time.
    moves: Vec<Moved>,
}

#[derive(Serialize)]
struct Moved {
    which: Which,
    transition: Transition,
}

/// Whether a move was made, would have been made, or both.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Which {
    Both,
    Replayed,
    Recorded,
}

pub fn replay(config: &Config, record: &Path, form: Form) -> Result<(), Failure> {
    let settings = load::load(config)?.settings;
    let series = read(record)?;
    let runs = || series.values().flatten();
    let (Some(start), Some(end)) =
        (runs().map(|run| run.first_unix_ms).min(), runs().map(|run| run.last_unix_ms).max())
    else {
        return Err(Failure::failed(format!("{}: no probes in it", record.display())));
    };
    let actual = transitions(&record.with_file_name("log.jsonl"), start, end);
    let replayed = Replayed {
        probes: runs().map(|run| run.count).fold(0_u64, u64::saturating_add),
        targets: series.len(),
        start_unix_ms: start,
        end_unix_ms: end,
        moves: compare(actual.clone(), live(settings, &series, &actual, start, end)),
    };
    match form.json {
        true => output::json(&replayed),
        false => output::text(&replayed.words()),
    }
}

impl Replayed {
    fn words(&self) -> String {
        let (start, end) = (text::utc(self.start_unix_ms), text::utc(self.end_unix_ms));
        let mut words = format!("{} probes of {} targets, {start} to {end}\n", self.probes, self.targets);
        for Moved { which, transition } in &self.moves {
            let mark = match which {
                Which::Both => '=',
                Which::Replayed => '+',
                Which::Recorded => '-',
            };
            words += &format!("{mark} {}  {}\n", text::utc(transition.unix_ms), text::transition_line(transition));
        }
        words + "= as it was; + only with this configuration; - only as it was\n"
    }
}

/// The record, by target. A line that is none is passed over.
fn read(path: &Path) -> Result<HashMap<Target, Vec<Run>>, Failure> {
    let failed = |error: String| Failure::usage(format!("{}: {error}; name the daemon's probes.jsonl", path.display()));
    let size = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > FILE_MAX {
        return Err(failed(format!("larger than {} MiB", FILE_MAX >> 20)));
    }
    let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
    let mut series: HashMap<Target, Vec<Run>> = HashMap::new();
    for line in bytes.split(|octet| *octet == b'\n') {
        if let Ok(Recorded { target, run }) = serde_json::from_slice(line) {
            series.entry(target).or_default().push(run);
        }
    }
    series.values_mut().for_each(|runs| runs.sort_by_key(|run| run.first_unix_ms));
    Ok(series)
}

/// What moved by itself in that time, according to the daemon's log.
fn transitions(path: &Path, start: i64, end: i64) -> Vec<Transition> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let moved = |line| match serde_json::from_str(line) {
        Ok(Entry::Transition(moved)) if !moved.families.is_empty() && moved.from != moved.to => Some(moved),
        _ => None,
    };
    text.lines().filter_map(moved).filter(|moved| (start..=end + SAME_MS).contains(&moved.unix_ms)).collect()
}

/// Lives through the time again.
fn live(
    settings: Settings,
    series: &HashMap<Target, Vec<Run>>,
    actual: &[Transition],
    start: i64,
    end: i64,
) -> Vec<Transition> {
    let saved = who_was_primary(&settings, actual, start);
    let mut now = Now { monotonic_ms: 0, unix_ms: start };
    let mut director = Director::new(settings.clone(), Some(saved), now);
    let mut coming: BTreeMap<(u64, u64), Event> = BTreeMap::new();
    let (mut event, mut sequence, mut told) = (Event::Tick, 0, Vec::new());
    // Our probes do not fall on the recorded moments: the last move may need a little longer than the
    // record goes on. What was found last stands in for it.
    let slack_ms = settings.checks.iter().map(|check| check.interval_ms.saturating_mul(2)).max().unwrap_or(0);
    let end = end.saturating_add_unsigned(slack_ms);
    let waiting = Waiting::steps("replaying, in seconds", end.abs_diff(start) / 1_000);
    while now.unix_ms <= end {
        waiting.at(now.monotonic_ms / 1_000);
        for effect in director.handle(event, now) {
            sequence += 1;
            match effect {
                Effect::Probe(target) => {
                    let outcome = answer(series.get(&target), now.unix_ms);
                    coming
                        .insert((now.monotonic_ms + outcome.duration_ms, sequence), Event::Probed { target, outcome });
                }
                // Every export succeeds: what is looked at is the decision.
                Effect::Export { zone, generation, serial } => {
                    let zone = settings.zones[zone].origin.to_string();
                    let (result, unix_ms) = (ExportResult::Served, now.unix_ms);
                    let report = ExportReport {
                        zone,
                        generation,
                        serial,
                        result,
                        detail: String::new(),
                        unix_ms,
                        duration_ms: 0,
                    };
                    coming.insert((now.monotonic_ms, sequence), Event::Exported(report));
                }
                Effect::Notify(moved) if !moved.families.is_empty() && moved.from != moved.to => {
                    told.push((*moved).clone());
                }
                Effect::Notify(_) | Effect::Swap(_) | Effect::Persist => {}
            }
        }
        let coming_ms = coming.keys().next().map(|(at_ms, _)| *at_ms);
        let Some(next_ms) = [coming_ms, director.next_wakeup_ms()].into_iter().flatten().min() else { break };
        let next_ms = next_ms.max(now.monotonic_ms);
        now = Now { monotonic_ms: next_ms, unix_ms: start.saturating_add_unsigned(next_ms) };
        event = match coming.first_entry() {
            Some(first) if first.key().0 <= next_ms => first.remove(),
            _ => Event::Tick,
        };
    }
    told
}

/// What a probe at this moment would have found: the run that covers it, else the nearest.
fn answer(runs: Option<&Vec<Run>>, unix_ms: i64) -> Outcome {
    let runs = runs.map(Vec::as_slice).unwrap_or_default();
    let after = runs.partition_point(|run| run.first_unix_ms <= unix_ms);
    let candidates = [after.checked_sub(1), Some(after)].into_iter().flatten().filter_map(|index| runs.get(index));
    let distance = |run: &&Run| (run.first_unix_ms - unix_ms).max(unix_ms - run.last_unix_ms).max(0);
    match candidates.min_by_key(distance).filter(|run| distance(run) <= GAP_MAX_MS) {
        Some(run) => Outcome {
            success: run.success,
            word: run.word.clone(),
            detail: run.detail.clone(),
            duration_ms: run.duration_ms,
            ..Outcome::default()
        },
        None => Outcome { word: "UNK".to_owned(), detail: "nothing is recorded".to_owned(), ..Outcome::default() },
    }
}

/// The primaries at the start: the first move of each pool tells where it came from; without one
/// the first in order, which the first round of probes confirms or moves.
fn who_was_primary(settings: &Settings, actual: &[Transition], start: i64) -> State {
    let mut state = State { version: VERSION, saved_unix_ms: start, ..State::default() };
    for pool in &settings.pools {
        let Some(from) = actual.iter().find(|moved| moved.pool == pool.name).and_then(|moved| moved.from.clone())
        else {
            continue;
        };
        let standby = pool.nodes.iter().find(|node| node.name != from).map(|node| node.name.clone());
        let roles = SavedRoles { primary: Some(from), standby };
        let roles = Some(PerFamily { ipv4: roles.clone(), ipv6: roles });
        state.pools.insert(pool.name.clone(), SavedPool { roles, ..SavedPool::default() });
    }
    state
}

/// Both lists in the order of time.
fn compare(actual: Vec<Transition>, replayed: Vec<Transition>) -> Vec<Moved> {
    let is_same = |a: &Transition, b: &Transition| {
        (&a.pool, &a.to) == (&b.pool, &b.to) && a.unix_ms.abs_diff(b.unix_ms) <= SAME_MS.unsigned_abs()
    };
    let is_in = |list: &[Transition], moved: &Transition| list.iter().any(|other| is_same(moved, other));
    let missing: Vec<Transition> = actual.iter().filter(|moved| !is_in(&replayed, moved)).cloned().collect();
    let which = |moved: &Transition| if is_in(&actual, moved) { Which::Both } else { Which::Replayed };
    let mut moves: Vec<Moved> =
        replayed.into_iter().map(|transition| Moved { which: which(&transition), transition }).collect();
    moves.extend(missing.into_iter().map(|transition| Moved { which: Which::Recorded, transition }));
    moves.sort_by_key(|moved| moved.transition.unix_ms);
    moves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first_unix_ms: i64, last_unix_ms: i64, success: bool) -> Run {
        let outcome = Outcome { success: Some(success), ..Outcome::default() };
        Run { last_unix_ms, ..Run::new(&outcome, first_unix_ms) }
    }

    #[test]
    fn the_nearest_run_answers() {
        let runs = vec![run(0, 100_000, true), run(110_000, 120_000, false), run(130_000, 200_000, true)];
        let says = |unix_ms| answer(Some(&runs), unix_ms).success;
        assert_eq!(
            (says(50_000), says(102_000), says(108_000), says(115_000)),
            (Some(true), Some(true), Some(false), Some(false))
        );
        assert_eq!((says(129_000), says(250_000), says(10_000_000)), (Some(true), Some(true), None));
        assert_eq!(answer(None, 0).success, None);
    }
}
