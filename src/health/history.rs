//! The last probes of one target, equal ones in a row as one run: a year of good answers takes no
//! more room than one.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::check::Outcome;

/// Runs that are kept of each target.
pub const RUNS_MAX: usize = 16;
/// Probes that [`History::marks`] shows.
pub const MARKS_MAX: usize = 30;

/// Probes in a row with the same result.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Run {
    /// When the first and the last of them ended.
    pub first_unix_ms: i64,
    pub last_unix_ms: i64,
    pub count: u64,
    pub success: Option<bool>,
    pub word: String,
    /// Of the last one.
    pub detail: String,
    pub duration_ms: u64,
}

impl Run {
    pub fn new(outcome: &Outcome, unix_ms: i64) -> Run {
        Run {
            first_unix_ms: unix_ms,
            last_unix_ms: unix_ms,
            count: 1,
            success: outcome.success,
            word: outcome.word.clone(),
            detail: outcome.detail.clone(),
            duration_ms: outcome.duration_ms,
        }
    }

    /// Takes an outcome in if it is like the others. The detail may differ (it names bodies, times),
    /// but not what it means.
    pub fn take(&mut self, outcome: &Outcome, unix_ms: i64) -> bool {
        if (self.success, self.word.as_str()) != (outcome.success, outcome.word.as_str()) {
            return false;
        }
        self.count = self.count.saturating_add(1);
        self.last_unix_ms = unix_ms;
        self.duration_ms = outcome.duration_ms;
        if self.detail != outcome.detail {
            self.detail.clone_from(&outcome.detail);
        }
        true
    }
}

/// The newest runs of one target, oldest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct History(VecDeque<Run>);

impl History {
    pub fn push(&mut self, outcome: &Outcome, unix_ms: i64) {
        if self.0.back_mut().is_some_and(|run| run.take(outcome, unix_ms)) {
            return;
        }
        if self.0.len() == RUNS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Run::new(outcome, unix_ms));
    }

    pub fn runs(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.0.iter()
    }

    /// The newest probes, oldest first, at most [`MARKS_MAX`], a character each: `+` good, `-` bad,
    /// `?` could not say.
    pub fn marks(&self) -> String {
        let newest_first = self.0.iter().rev().flat_map(|run| {
            let mark = match run.success {
                Some(true) => '+',
                Some(false) => '-',
                None => '?',
            };
            std::iter::repeat_n(mark, usize::try_from(run.count).unwrap_or(MARKS_MAX).min(MARKS_MAX))
        });
        let marks: Vec<char> = newest_first.take(MARKS_MAX).collect();
        marks.into_iter().rev().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ones_are_one_run_and_old_ones_go() {
        let outcome =
            |word: &str| Outcome { success: Some(word == "L7OK"), word: word.to_owned(), ..Outcome::default() };
        let mut history = History::default();
        (0..1_000).for_each(|at| history.push(&outcome("L7OK"), at));
        history.push(&outcome("L4CON"), 1_000);
        let runs: Vec<_> = history.runs().map(|run| (run.word.as_str(), run.count, run.last_unix_ms)).collect();
        assert_eq!(runs, [("L7OK", 1_000, 999), ("L4CON", 1, 1_000)]);
        (0..100).for_each(|at| history.push(&outcome(if at % 2 == 0 { "L7OK" } else { "L4CON" }), at));
        assert_eq!(history.runs().count(), RUNS_MAX);
    }

    #[test]
    fn the_newest_probes_as_marks() {
        let outcome = |success| Outcome { success, word: format!("{success:?}"), ..Outcome::default() };
        let mut history = History::default();
        assert_eq!(history.marks(), "");
        [None, Some(false), Some(false), Some(true)].iter().for_each(|success| history.push(&outcome(*success), 0));
        assert_eq!(history.marks(), "?--+");
        (0..MARKS_MAX as i64 - 2).for_each(|at| history.push(&outcome(Some(true)), at));
        assert_eq!(history.marks(), format!("-{}", "+".repeat(MARKS_MAX - 1)));
    }
}
