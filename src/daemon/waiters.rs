//! Operators who wait until what they ordered is served.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use crate::control::api::{Answer, Outcome};
use crate::director::event::{ExportReport, ExportResult};

#[derive(Default)]
pub struct Waiters(Vec<Waiter>);

struct Waiter {
    generation: u64,
    /// Origins whose export is still to end.
    pending: BTreeSet<String>,
    message: String,
    exports: Vec<ExportReport>,
    reply: oneshot::Sender<Answer>,
}

impl Waiters {
    /// Replies when each of `pending` (origins with the final dot) has been exported as of this
    /// generation or a later one; at once if there is none.
    pub fn wait(
        &mut self,
        generation: u64,
        pending: BTreeSet<String>,
        message: String,
        reply: oneshot::Sender<Answer>,
    ) {
        self.0.push(Waiter { generation, pending, message, exports: Vec::new(), reply });
        self.settle();
    }

    pub fn exported(&mut self, report: &ExportReport) {
        for waiter in self.0.iter_mut().filter(|waiter| report.generation >= waiter.generation) {
            if waiter.pending.remove(&report.zone) {
                waiter.exports.push(report.clone());
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        for waiter in self.0.extract_if(.., |waiter| waiter.pending.is_empty() || waiter.reply.is_closed()) {
            // Whoever asked may be gone.
            let _ = waiter.reply.send(answer(waiter.message, waiter.exports));
        }
    }
}

/// "ok" means that it is served: one export that failed, and it is not.
fn answer(message: String, exports: Vec<ExportReport>) -> Answer {
    let good = |report: &&ExportReport| matches!(report.result, ExportResult::Served | ExportResult::Unchanged);
    let failed = exports.iter().filter(|report| !good(report)).count();
    match failed {
        0 => Answer { exports, ..Answer::done(message) },
        _ => {
            let message = format!("{message}; but {failed} of {} exports failed", exports.len());
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

    #[test]
    fn waits_for_every_zone_of_its_generation() {
        let mut waiters = Waiters::default();
        let (reply, mut answer) = oneshot::channel();
        waiters.wait(7, ["a.".to_owned(), "b.".to_owned()].into(), "moved".to_owned(), reply);
        waiters.exported(&report("a.", 6, ExportResult::Served));
        waiters.exported(&report("a.", 7, ExportResult::Served));
        assert!(answer.try_recv().is_err(), "an older generation does not count, and b. is missing");
        waiters.exported(&report("b.", 8, ExportResult::RolledBack));
        let answer = answer.try_recv().unwrap();
        assert_eq!(answer.outcome, Outcome::Failed);
        assert_eq!(answer.message, "moved; but 1 of 2 exports failed");
        assert!(waiters.0.is_empty());
    }

    #[test]
    fn nothing_to_wait_for_is_answered_at_once() {
        let mut waiters = Waiters::default();
        let (reply, mut answer) = oneshot::channel();
        waiters.wait(1, BTreeSet::new(), "held".to_owned(), reply);
        assert_eq!(answer.try_recv().unwrap(), Answer::done("held"));
    }

    #[test]
    fn who_went_away_is_forgotten() {
        let mut waiters = Waiters::default();
        let (reply, answer) = oneshot::channel();
        waiters.wait(1, ["a.".to_owned()].into(), String::new(), reply);
        drop(answer);
        waiters.exported(&report("b.", 1, ExportResult::Served));
        assert!(waiters.0.is_empty());
    }
}
