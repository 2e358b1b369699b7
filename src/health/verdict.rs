//! Rise and fall: from single outcomes to a verdict that can be acted upon.

use serde::{Deserialize, Serialize};

/// What the probes say of one target.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Up,
    Down,
    /// Not enough probes have ended yet. Speaks neither for nor against a node.
    #[default]
    Unknown,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Up => "up",
            Verdict::Down => "down",
            Verdict::Unknown => "unknown",
        }
    }
}

/// The thresholds of a check. Zero counts as one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Thresholds {
    /// Successes in a row that make a target up.
    pub rise: u32,
    /// Failures that make it down.
    pub fall: u32,
}

/// The verdict on one target and the outcomes that speak for and against it.
///
/// ```text
///              rise successes in a row
///          +-----------------------------+
///          v                             |
///   +----> Up -----fall failures-----> Down <---+
///   |                                           |
///   +--- rise in a row -- Unknown -- fall ------+
/// ```
///
/// Unless the target is down, every failure counts even when successes lie between, so that one
/// lost probe in two is noticed; `rise` successes in a row clear the count. While it is down, any
/// failure starts the successes anew. Outcomes that could not say anything count for nothing.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counter {
    verdict: Verdict,
    /// Successes in a row.
    successes: u32,
    /// Failures that are not cleared yet.
    failures: u32,
}

impl Counter {
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Counts one outcome (see [`super::check::Outcome::success`]). True if the verdict has changed.
    pub fn observe(&mut self, success: Option<bool>, thresholds: Thresholds) -> bool {
        let before = self.verdict;
        match success {
            None => {}
            Some(true) => {
                self.successes = self.successes.saturating_add(1);
                if self.successes >= thresholds.rise.max(1) {
                    self.failures = 0;
                    self.verdict = Verdict::Up;
                }
            }
            Some(false) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                if self.failures >= thresholds.fall.max(1) {
                    self.verdict = Verdict::Down;
                }
            }
        }
        self.verdict != before
    }

    /// Whether the last outcomes speak against the verdict, or there is none yet: the next probe
    /// is wanted soon.
    pub fn is_contested(&self) -> bool {
        match self.verdict {
            Verdict::Up => self.failures > 0,
            Verdict::Down => self.successes > 0,
            Verdict::Unknown => true,
        }
    }

    /// How many outcomes speak against the verdict, and how many turn it. Without a verdict:
    /// successes of those that make it up, unless the last outcome was a failure.
    pub fn against(&self, thresholds: Thresholds) -> (u32, u32) {
        match self.verdict {
            Verdict::Up => (self.failures, thresholds.fall.max(1)),
            Verdict::Down => (self.successes, thresholds.rise.max(1)),
            Verdict::Unknown if self.failures > 0 && self.successes == 0 => (self.failures, thresholds.fall.max(1)),
            Verdict::Unknown => (self.successes, thresholds.rise.max(1)),
        }
    }

    /// The count that led to the verdict, or leads away from it, for people: "3/3 failures".
    pub fn tally(&self, thresholds: Thresholds) -> String {
        let (count, needed, what) = match self.verdict {
            Verdict::Down if self.successes == 0 => {
                (self.failures.min(thresholds.fall.max(1)), thresholds.fall, "failures")
            }
            Verdict::Up if self.failures > 0 => (self.failures, thresholds.fall, "failures"),
            Verdict::Unknown if self.failures > 0 && self.successes == 0 => {
                (self.failures, thresholds.fall, "failures")
            }
            _ => (self.successes.min(thresholds.rise.max(1)), thresholds.rise, "successes"),
        };
        format!("{count}/{} {what}", needed.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { rise: 2, fall: 3 };

    /// Feeds `s`uccess, `f`ailure and `?` and writes the verdict after each as U, D or -.
    fn run(counter: &mut Counter, outcomes: &str) -> String {
        let mut trail = String::new();
        for outcome in outcomes.chars() {
            let success = match outcome {
                's' => Some(true),
                'f' => Some(false),
                _ => None,
            };
            counter.observe(success, THRESHOLDS);
            trail.push(match counter.verdict() {
                Verdict::Up => 'U',
                Verdict::Down => 'D',
                Verdict::Unknown => '-',
            });
        }
        trail
    }

    #[track_caller]
    fn check(outcomes: &str, trail: &str) {
        assert_eq!(run(&mut Counter::default(), outcomes), trail, "{outcomes}");
    }

    #[test]
    fn rise_and_fall() {
        check("ss", "-U");
        check("fff", "--D");
        check("ssfff", "-UUUD");
        check("fffss", "--DDU");
    }

    #[test]
    fn failures_count_though_successes_lie_between() {
        check("ssfsfsf", "-UUUUUD");
        // Two successes in a row clear the count.
        check("ssffssff", "-UUUUUUU");
        check("fsfsf", "----D");
    }

    #[test]
    fn a_failure_starts_the_successes_anew() {
        check("fffsfsfss", "--DDDDDDU");
    }

    #[test]
    fn unknown_counts_for_nothing() {
        check("s?s", "--U");
        check("ssf?f?f", "-UUUUUD");
        check("????", "----");
    }

    #[test]
    fn contested_and_tally() {
        let mut counter = Counter::default();
        assert!(counter.is_contested());
        run(&mut counter, "ss");
        assert!(!counter.is_contested());
        run(&mut counter, "ff");
        assert!(counter.is_contested());
        assert_eq!(counter.against(THRESHOLDS), (2, 3));
        assert_eq!(counter.tally(THRESHOLDS), "2/3 failures");
        run(&mut counter, "f");
        assert_eq!((counter.tally(THRESHOLDS), counter.against(THRESHOLDS)), ("3/3 failures".to_owned(), (0, 2)));
        run(&mut counter, "s");
        assert!(counter.is_contested());
        assert_eq!(counter.tally(THRESHOLDS), "1/2 successes");
    }

    #[test]
    fn streaks_survive_being_written_down() {
        let mut counter = Counter::default();
        run(&mut counter, "ssff");
        let text = serde_json::to_string(&counter).unwrap();
        let mut again: Counter = serde_json::from_str(&text).unwrap();
        assert_eq!(run(&mut again, "f"), "D");
    }
}
