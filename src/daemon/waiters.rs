//! Operators who wait until what they ordered is served.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use crate::control::api::{Answer, Outcome};
use crate::control::text;
use crate::director::event::{ExportReport, ExportResult};

use super::saver::Saved;

#[derive(Default)]
pub struct Waiters {
    waiting: Vec<Waiter>,
    /// The newest state that was written, or could not be.
    saved: Saved,
}

/// What must have come to pass before an order counts as done.
#[derive(Debug, Default)]
pub struct Until {
    /// Origins (with the final dot) whose export is still to end...
    pub exported: BTreeSet<String>,
    /// ...as of this generation or a later one.
    pub generation: u64,
    /// The state with this number is on the disk: what was answered with "ok" outlives a crash.
    pub saved: u64,
}

/// What an order is answered with.
#[derive(Debug, Default)]
pub struct Words {
    /// All of it has come to pass.
    pub done: String,
    /// nsd does not serve all of it.
    pub not_done: String,
}

struct Waiter {
    until: Until,
    words: Words,
    exports: Vec<ExportReport>,
    reply: oneshot::Sender<Answer>,
}

impl Waiters {
    /// Replies when all of `until` has come to pass; at once if it has.
    pub fn wait(&mut self, until: Until, words: Words, reply: oneshot::Sender<Answer>) {
        self.waiting.push(Waiter { until, words, exports: Vec::new(), reply });
        self.settle();
    }

    pub fn exported(&mut self, report: &ExportReport) {
        for waiter in self.waiting.iter_mut().filter(|waiter| report.generation >= waiter.until.generation) {
            if waiter.until.exported.remove(&report.zone) {
                waiter.exports.push(report.clone());
            }
        }
        self.settle();
    }

    pub fn saved(&mut self, saved: Saved) {
        self.saved = saved;
        self.settle();
    }

    fn settle(&mut self) {
        let saved = &self.saved;
        let done = |waiter: &mut Waiter| {
            let is_done = waiter.until.exported.is_empty() && waiter.until.saved <= saved.number;
            is_done || waiter.reply.is_closed()
        };
        for waiter in self.waiting.extract_if(.., done) {
            let mut answer = answer(waiter.words, waiter.exports);
            answer.details.extend(saved.problem.as_ref().map(|problem| format!("lost at a restart: {problem}")));
            // Whoever asked may be gone.
            let _ = waiter.reply.send(answer);
        }
    }
}

/// "ok" means that it is served: one export that failed, and it is not.
fn answer(words: Words, exports: Vec<ExportReport>) -> Answer {
    let good = |report: &&ExportReport| matches!(report.result, ExportResult::Served | ExportResult::Unchanged);
    let failed = exports.iter().filter(|report| !good(report)).count();
    match failed {
        0 => Answer { exports, ..Answer::done(words.done) },
        _ => {
            let message = format!("{}: {failed} of {} failed", words.not_done, text::count_of(exports.len(), "export"));
            Answer { exports, ..Answer::new(Outcome::Failed, message) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(zone: &str, generation: u64, result: ExportResult) -> ExportReport {
        let (zone, detail) = (zone.to_owned(), String::new());
        ExportReport { zone, generation, serial: 1, result, detail, unix_ms: 0, duration_ms: 0 }
    }

    fn until(generation: u64, exported: &[&str]) -> Until {
        Until { exported: exported.iter().map(|origin| (*origin).to_owned()).collect(), generation, saved: 0 }
    }

    fn words(done: &str) -> Words {
        Words { done: done.to_owned(), not_done: format!("not {done}") }
    }

    #[test]
    fn ok_is_said_when_the_state_is_on_the_disk() {
        let mut waiters = Waiters::default();
        let (reply, mut answer) = oneshot::channel();
        waiters.wait(Until { saved: 2, ..Until::default() }, words("held"), reply);
        waiters.saved(Saved { number: 1, problem: None });
        assert!(answer.try_recv().is_err());
        waiters.saved(Saved { number: 2, problem: None });
        assert_eq!(answer.try_recv().unwrap(), Answer::done("held"));
    }

    #[test]
    fn a_full_disk_is_told_and_the_order_holds() {
        let mut waiters = Waiters::default();
        let (reply, mut answer) = oneshot::channel();
        waiters.wait(Until { saved: 1, ..Until::default() }, words("held"), reply);
        waiters.saved(Saved { number: 1, problem: Some("no space".to_owned()) });
        let answer = answer.try_recv().unwrap();
        assert_eq!(
            (answer.outcome, &answer.details[..]),
            (Outcome::Done, &["lost at a restart: no space".to_owned()][..])
        );
    }

    #[test]
    fn waits_for_every_zone_of_its_generation() {
        let mut waiters = Waiters::default();
        let (reply, mut answer) = oneshot::channel();
        waiters.wait(until(7, &["a.", "b."]), words("moved"), reply);
        waiters.exported(&report("a.", 6, ExportResult::Served));
        waiters.exported(&report("a.", 7, ExportResult::Served));
        assert!(answer.try_recv().is_err(), "an older generation does not count, and b. is missing");
        waiters.exported(&report("b.", 8, ExportResult::RolledBack));
        let answer = answer.try_recv().unwrap();
        assert_eq!(answer.outcome, Outcome::Failed);
        assert_eq!(answer.message, "not moved: 1 of 2 exports failed");
        assert!(waiters.waiting.is_empty());
    }

    #[test]
    fn nothing_to_wait_for_is_answered_at_once() {
        let mut waiters = Waiters::default();
        let (reply, mut answer) = oneshot::channel();
        waiters.wait(until(1, &[]), words("held"), reply);
        assert_eq!(answer.try_recv().unwrap(), Answer::done("held"));
    }

    #[test]
    fn who_went_away_is_forgotten() {
        let mut waiters = Waiters::default();
        let (reply, answer) = oneshot::channel();
        waiters.wait(until(1, &["a."]), Words::default(), reply);
        drop(answer);
        waiters.exported(&report("b.", 1, ExportResult::Served));
        assert!(waiters.waiting.is_empty());
    }
}
