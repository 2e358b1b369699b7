//! The record of what the probes found, `probes.jsonl` in the state directory: with the orders, the
//! moves, and how everything stood at its start it is all that `replay` needs. A line for each.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::director::effect::Transition;
use crate::director::event::{Order, Target};
use crate::director::state::State;
use crate::health::check::Outcome;
use crate::health::history::Run;

/// Further from any recorded probe than this, nothing is known, in milliseconds.
const GAP_MAX_MS: i64 = 10 * 60_000;
/// Times in a record, in Unix milliseconds: of this century.
const TIMES: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;
/// Longest probe, in milliseconds: a day.
const DURATION_MAX_MS: u64 = 86_400_000;
/// Longest time that is lived through again, in milliseconds: two years.
const SPAN_MAX_MS: u64 = 2 * 366 * 86_400_000;

/// One line of the record.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// How everything stood: at the start of the daemon, after a reload, in a new file.
    Start {
        start: Box<State>,
    },
    Ordered {
        unix_ms: i64,
        order: Order,
    },
    /// A primary was moved.
    Moved {
        moved: Box<Transition>,
    },
    /// Equal results of a target in a row.
    Probed {
        #[serde(flatten)]
        target: Target,
        #[serde(flatten)]
        run: Run,
    },
}

/// What was recorded, in the order of time.
#[derive(Debug, Default)]
pub struct Record {
    /// How everything stood at the start; `None`: the record does not say.
    pub start: Option<Box<State>>,
    pub orders: Vec<(i64, Order)>,
    pub moves: Vec<Transition>,
    pub series: HashMap<Target, Vec<Run>>,
    /// Lines that are none: a crash cuts the last one short.
    pub passed_over: usize,
}

impl Record {
    /// Takes in the lines of one file; of several the oldest comes first. The error names the line that
    /// no daemon has written.
    pub fn add(&mut self, file: &str, bytes: &[u8]) -> Result<(), String> {
        for (number, text) in (1..).zip(bytes.split(|octet| *octet == b'\n')).filter(|(_, text)| !text.is_empty()) {
            let Ok(line) = serde_json::from_slice(text) else {
                self.passed_over += 1;
                continue;
            };
            self.take(line).map_err(|what| format!("{file}:{number}: {what}: this is no record of the daemon's"))?;
        }
        self.series.values_mut().for_each(|runs| runs.sort_by_key(|run| run.first_unix_ms));
        Ok(())
    }

    fn take(&mut self, line: Line) -> Result<(), String> {
        let sane = |unix_ms: i64| match TIMES.contains(&unix_ms) {
            true => Ok(unix_ms),
            false => Err(format!("the time {unix_ms} ms is not of this century")),
        };
        match line {
            Line::Start { start } => {
                sane(start.saved_unix_ms)?;
                self.start.get_or_insert(start);
            }
            Line::Ordered { unix_ms, order } => self.orders.push((sane(unix_ms)?, order)),
            Line::Moved { moved } => {
                sane(moved.unix_ms)?;
                self.moves.push(*moved);
            }
            Line::Probed { target, run } => {
                if sane(run.first_unix_ms)? > sane(run.last_unix_ms)? || run.count == 0 {
                    return Err("a run that ends before it begins".to_owned());
                }
                if run.duration_ms > DURATION_MAX_MS {
                    return Err(format!("a probe of {} ms", run.duration_ms));
                }
                self.series.entry(target).or_default().push(run);
            }
        }
        Ok(())
    }

    /// From when to when something is known, in Unix milliseconds. `None`: of no time. The error: it is
    /// more than can be lived through again.
    pub fn span(&self) -> Result<Option<(i64, i64)>, String> {
        let runs = || self.series.values().flatten();
        let Some(end) = runs().map(|run| run.last_unix_ms).max() else { return Ok(None) };
        let first = runs().map(|run| run.first_unix_ms).min().unwrap_or(end);
        let start = self.start.as_ref().map_or(first, |start| start.saved_unix_ms).min(end);
        let end = self.moves.iter().map(|moved| moved.unix_ms).fold(end, i64::max);
        match end.abs_diff(start) > SPAN_MAX_MS {
            true => Err("the record spans more than two years".to_owned()),
            false => Ok(Some((start, end))),
        }
    }

    /// What a probe of this target would have found at this moment: the run that covers it, else the
    /// nearest.
    pub fn answer(&self, target: &Target, unix_ms: i64) -> Outcome {
        let runs = self.series.get(target).map(Vec::as_slice).unwrap_or_default();
        let after = runs.partition_point(|run| run.first_unix_ms <= unix_ms);
        let candidates = [after.checked_sub(1), Some(after)].into_iter().flatten().filter_map(|index| runs.get(index));
        let distance =
            |run: &&Run| run.first_unix_ms.saturating_sub(unix_ms).max(unix_ms.saturating_sub(run.last_unix_ms)).max(0);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::family::Family;

    const T: i64 = 1_700_000_000_000;

    fn target() -> Target {
        Target { check: "web".into(), node: "a".into(), family: Family::Ipv4 }
    }

    fn run(first: i64, last: i64, success: bool) -> Run {
        let outcome = Outcome { success: Some(success), ..Outcome::default() };
        Run { last_unix_ms: T + last, ..Run::new(&outcome, T + first) }
    }

    #[test]
    fn the_nearest_run_answers() {
        let runs = vec![run(0, 100_000, true), run(110_000, 120_000, false), run(130_000, 200_000, true)];
        let record = Record { series: [(target(), runs)].into(), ..Record::default() };
        let says = |after_ms: i64| record.answer(&target(), T + after_ms).success;
        assert_eq!(
            (says(50_000), says(102_000), says(108_000), says(115_000)),
            (Some(true), Some(true), Some(false), Some(false))
        );
        assert_eq!((says(129_000), says(250_000), says(10_000_000)), (Some(true), Some(true), None));
        assert_eq!(Record::default().answer(&target(), T).success, None);
    }

    #[test]
    fn what_no_daemon_has_written_is_refused_with_its_place() {
        let read = |run: Run| {
            let line = serde_json::to_string(&Line::Probed { target: target(), run }).unwrap();
            let mut record = Record::default();
            record.add("p", format!("{{\"half\n\n{line}\n").as_bytes()).map(|()| (record.passed_over, record.span()))
        };
        assert_eq!(read(run(0, 7, true)), Ok((1, Ok(Some((T, T + 7))))));
        let good = run(0, 7, true);
        for (bad, what) in [
            (Run { duration_ms: u64::MAX, ..good.clone() }, "a probe of 18446744073709551615 ms"),
            (Run { first_unix_ms: i64::MIN, ..good.clone() }, "the time -9223372036854775808 ms is not of"),
            (Run { last_unix_ms: i64::MAX, ..good.clone() }, "the time 9223372036854775807 ms is not of"),
            (Run { last_unix_ms: T - 1, ..good.clone() }, "a run that ends before it begins"),
            (Run { count: 0, ..good.clone() }, "a run that ends before it begins"),
        ] {
            let told = read(bad).unwrap_err();
            assert!(told.starts_with(&format!("p:3: {what}")), "{told}");
        }
        let long = read(Run { last_unix_ms: T + 3 * 366 * 86_400_000, ..good }).unwrap();
        assert_eq!(long.1, Err("the record spans more than two years".to_owned()));
    }
}
