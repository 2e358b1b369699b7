//! The last things that happened, and how often what happened since the start.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::director::effect::Transition;
use crate::director::event::{ExportReport, ExportResult};

/// Entries kept; the oldest go first.
pub const LOG_MAX: usize = 1_000;

/// Written by the daemon, read by everybody else in this room.
#[derive(Debug, Default)]
pub struct Log(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    totals: Totals,
}

/// One thing that happened.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    Transition(Transition),
    Export(ExportReport),
    /// Anything else worth a line: orders, reloads, start and stop.
    Note {
        unix_ms: i64,
        text: String,
    },
}

/// Counters since the start of the process.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// By pool and rule.
    pub transitions: BTreeMap<(String, String), u64>,
    /// By zone and result.
    pub exports: BTreeMap<(String, &'static str), u64>,
    /// When each zone was last known to be served as decided, in Unix milliseconds.
    pub last_good_export: BTreeMap<String, i64>,
}

impl Entry {
    pub fn unix_ms(&self) -> i64 {
        match self {
            Entry::Transition(transition) => transition.unix_ms,
            Entry::Export(report) => report.unix_ms,
            Entry::Note { unix_ms, .. } => *unix_ms,
        }
    }
}

impl Log {
    /// Takes up what happened now.
    pub fn push(&self, entry: Entry) {
        self.lock().totals.count(&entry);
        self.restore(entry);
    }

    /// Takes up what happened before the start: it is shown, but not counted.
    pub fn restore(&self, entry: Entry) {
        let mut kept = self.lock();
        if kept.entries.len() == LOG_MAX {
            kept.entries.pop_front();
        }
        kept.entries.push_back(entry);
    }

    /// The newest `n`, oldest first.
    pub fn last(&self, n: usize) -> Vec<Entry> {
        let kept = self.lock();
        let skip = kept.entries.len().saturating_sub(n);
        kept.entries.iter().skip(skip).cloned().collect()
    }

    pub fn totals(&self) -> Totals {
        self.lock().totals.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        // A reader that panicked has changed nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn count(&mut self, entry: &Entry) {
        let more = |count: &mut u64| *count = count.saturating_add(1);
        match entry {
            // What is told although no primary moved is no transition.
            Entry::Transition(transition) if transition.families.is_empty() => {}
            Entry::Transition(transition) => {
                let key = (transition.pool.clone(), transition.rule.clone());
                more(self.transitions.entry(key).or_default());
            }
            Entry::Export(report) => {
                more(self.exports.entry((report.zone.clone(), result_word(report.result))).or_default());
                if matches!(report.result, ExportResult::Served | ExportResult::Unchanged) {
                    self.last_good_export.insert(report.zone.clone(), report.unix_ms);
                }
            }
            Entry::Note { .. } => {}
        }
    }
}

/// The word for a result in metrics and texts.
pub fn result_word(result: ExportResult) -> &'static str {
    match result {
        ExportResult::Served => "served",
        ExportResult::Unchanged => "unchanged",
        ExportResult::RolledBack => "rolled-back",
        ExportResult::Refused => "refused",
        ExportResult::Broken => "broken",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entries_stay_and_all_are_counted() {
        let log = Log::default();
        for n in 0..LOG_MAX + 5 {
            log.push(Entry::Note { unix_ms: n as i64, text: String::new() });
        }
        assert_eq!(log.last(usize::MAX).len(), LOG_MAX);
        assert_eq!(log.last(2).iter().map(Entry::unix_ms).collect::<Vec<_>>(), [1003, 1004]);
        for (result, unix_ms) in [(ExportResult::Served, 1), (ExportResult::Refused, 2)] {
            let report = ExportReport {
                zone: "a.".into(),
                generation: 1,
                serial: 1,
                result,
                detail: String::new(),
                unix_ms,
                duration_ms: 1,
            };
            log.push(Entry::Export(report));
        }
        let totals = log.totals();
        assert_eq!(totals.exports[&("a.".to_owned(), "served")], 1);
        assert_eq!(totals.last_good_export["a."], 1);
    }
}
