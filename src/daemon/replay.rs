//! `replay`: recorded probes through another configuration. A director of our own lives through
//! the recorded time again; what it would have done is held against what was done.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::Config;
use crate::control::text;
use crate::director::Director;
use crate::director::effect::{Effect, Transition};
use crate::director::event::{Event, ExportReport, ExportResult};
use crate::director::settings::Settings;
use crate::health::time::Now;

use super::cli::Form;
use super::failure::Failure;
use super::progress::Waiting;
use super::record::Record;
use super::{load, output};

/// Two moves to the same node by the same rule this close to each other are the same move, in
/// milliseconds.
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
    /// What the record does not tell, a sentence each.
    remarks: Vec<String>,
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

pub fn replay(config: &Config, file: &Path, form: Form) -> Result<(), Failure> {
    let settings = load::load(config)?.settings;
    let record = read(file)?;
    let failed = |error: String| Failure::failed(format!("{}: {error}", file.display()));
    let (start, end) = record.span().map_err(failed)?.ok_or_else(|| failed("no probes in it".to_owned()))?;
    let waiting = Waiting::steps("replaying, in seconds", until(&settings, end).abs_diff(start) / 1_000);
    let moves = live(&settings, &record, start, end, &|lived_s| waiting.at(lived_s));
    drop(waiting);
    let runs = record.series.values().flatten();
    let replayed = Replayed {
        probes: runs.map(|run| run.count).fold(0_u64, u64::saturating_add),
        targets: record.series.len(),
        start_unix_ms: start,
        end_unix_ms: end,
        remarks: remarks(&record),
        moves: compare(since(&record, start), moves),
    };
    match form.json {
        true => output::json(&replayed),
        false => output::text(&replayed.words()),
    }
}

fn remarks(record: &Record) -> Vec<String> {
    let unsaid = "it does not say how everything stood at its start: who was primary, what was ordered; nor what moved";
    let lines = |count: usize| format!("{count} lines are none of a record and were passed over");
    let unsaid = record.start.is_none().then(|| unsaid.to_owned());
    unsaid.into_iter().chain((record.passed_over > 0).then(|| lines(record.passed_over))).collect()
}

impl Replayed {
    fn words(&self) -> String {
        let (start, end) = (text::utc(self.start_unix_ms), text::utc(self.end_unix_ms));
        let mut words = format!("{} probes of {} targets, {start} to {end}\n", self.probes, self.targets);
        self.remarks.iter().for_each(|remark| words += &format!("! {remark}\n"));
        for Moved { which, transition } in &self.moves {
            let mark = match which {
                Which::Both => '=',
                Which::Replayed => '+',
                Which::Recorded => '-',
            };
            let line = match which {
                Which::Both | Which::Recorded => text::transition_line(transition),
                Which::Replayed => text::unmade_transition_line(transition),
            };
            words += &format!("{mark} {}  {line}\n", text::utc(transition.unix_ms));
        }
        words
            + match self.moves.is_empty() {
                true => "nothing moved, and nothing moves with this configuration\n",
                false => "= as it was; + only with this configuration; - only as it was\n",
            }
    }
}

/// The record, and the file that was set aside before it.
fn read(path: &Path) -> Result<Record, Failure> {
    let mut record = Record::default();
    let aside = path.with_extension("jsonl.1");
    let files: [Option<PathBuf>; 2] =
        [Some(aside).filter(|aside| aside != path && aside.exists()), Some(path.to_owned())];
    for path in files.into_iter().flatten() {
        let failed =
            |error: String| Failure::usage(format!("{}: {error}; name the daemon's probes.jsonl", path.display()));
        let size = fs::metadata(&path).map_err(|error| failed(error.to_string()))?.len();
        if size > FILE_MAX {
            return Err(failed(format!("larger than {} MiB", FILE_MAX >> 20)));
        }
        let bytes = fs::read(&path).map_err(|error| failed(error.to_string()))?;
        record.add(&path.display().to_string(), &bytes).map_err(Failure::usage)?;
    }
    Ok(record)
}

/// What was moved in the time that is lived through.
fn since(record: &Record, start: i64) -> Vec<Transition> {
    record.moves.iter().filter(|moved| moved.unix_ms > start).cloned().collect()
}

/// Our probes do not fall on the recorded moments: the last move may need a little longer than the
/// record goes on. What was found last stands in for it.
fn until(settings: &Settings, end: i64) -> i64 {
    let slack_ms = settings.checks.iter().map(|check| check.interval_ms.saturating_mul(2)).max().unwrap_or(0);
    end.saturating_add_unsigned(slack_ms)
}

/// Lives through the time again: from the state at the start, with the recorded probes and orders; what would have moved.
/// `tell` hears how many seconds are lived through.
pub fn live(settings: &Settings, record: &Record, start: i64, end: i64, tell: &dyn Fn(u64)) -> Vec<Transition> {
    let mut now = Now { monotonic_ms: 0, unix_ms: start };
    let mut director = Director::new(settings.clone(), record.start.as_deref().cloned(), now);
    let mut coming: BTreeMap<(u64, u64), Event> = BTreeMap::new();
    let (mut event, mut sequence, mut told) = (Event::Tick, 0, Vec::new());
    for (unix_ms, order) in record.orders.iter().filter(|(unix_ms, _)| *unix_ms > start) {
        sequence += 1;
        coming.insert((unix_ms.abs_diff(start), sequence), Event::Ordered(order.clone()));
    }
    let end = until(settings, end);
    while now.unix_ms <= end {
        tell(now.monotonic_ms / 1_000);
        for effect in director.handle(event, now) {
            sequence += 1;
            match effect {
                Effect::Probe(target) => {
                    let outcome = record.answer(&target, now.unix_ms);
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
                    // A generation that never was.
                    told.push(Transition { generation: 0, ..(*moved).clone() });
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

/// Both lists in the order of time.
fn compare(actual: Vec<Transition>, replayed: Vec<Transition>) -> Vec<Moved> {
    let is_same = |a: &Transition, b: &Transition| {
        (&a.pool, &a.to, &a.rule) == (&b.pool, &b.to, &b.rule)
            && a.unix_ms.abs_diff(b.unix_ms) <= SAME_MS.unsigned_abs()
    };
    let is_in = |list: &[Transition], moved: &Transition| list.iter().any(|other| is_same(moved, other));
    let unmade = replayed.iter().filter(|moved| !is_in(&actual, moved)).cloned();
    let mut moves: Vec<Moved> = unmade.map(|transition| Moved { which: Which::Replayed, transition }).collect();
    moves.extend(actual.into_iter().map(|transition| {
        let which = if is_in(&replayed, &transition) { Which::Both } else { Which::Recorded };
        Moved { which, transition }
    }));
    moves.sort_by_key(|moved| moved.transition.unix_ms);
    moves
}
