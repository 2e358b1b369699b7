//! Writes the record (see [`super::record`]), beside the loop; at most two files' worth.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::director::effect::Transition;
use crate::director::event::{Order, Target};
use crate::director::state::State;
use crate::failover::pool::Pool;
use crate::health::check::Outcome;
use crate::health::history::Run;

use super::record::Line;

/// At this size, in octets, the file is set aside as `probes.jsonl.1` and a new one begun.
const FILE_MAX: u64 = 16 << 20;
/// A run is written after this time at the latest, so that a crash forgets no more.
const RUN_MAX_MS: i64 = 10 * 60_000;
/// Lines that may wait for the disk; what comes beyond is dropped: a slow disk stops nothing.
const LINES_MAX: usize = 65_536;

pub struct Recorder {
    runs: HashMap<Target, Run>,
    /// What this turn of the loop has brought.
    unsent: Vec<Line>,
    lines: Option<SyncSender<Line>>,
    writer: Option<thread::JoinHandle<()>>,
    /// A file has begun that does not say how everything stands.
    is_new: Arc<AtomicBool>,
    /// That was said, and did not get through.
    owed: AtomicBool,
}

impl Recorder {
    pub fn start(folder: &Path) -> Recorder {
        let (lines, waiting) = sync_channel(LINES_MAX);
        let path = folder.join("probes.jsonl");
        let is_new = Arc::new(AtomicBool::new(true));
        let rotated = Arc::clone(&is_new);
        let writer = thread::spawn(move || write(&path, &waiting, &rotated));
        Recorder {
            runs: HashMap::new(),
            unsent: Vec::new(),
            lines: Some(lines),
            writer: Some(writer),
            is_new,
            owed: AtomicBool::new(false),
        }
    }

    /// Whether [`Recorder::begin`] is wanted.
    pub fn is_new(&self) -> bool {
        self.is_new.load(Ordering::Relaxed)
    }

    /// Notes how everything stands.
    pub fn begin(&mut self, state: State) {
        self.is_new.store(false, Ordering::Relaxed);
        self.unsent.push(Line::Start { start: Box::new(state) });
    }

    pub fn observe(&mut self, target: &Target, outcome: &Outcome, unix_ms: i64) {
        let Some(run) = self.runs.get_mut(target) else {
            self.runs.insert(target.clone(), Run::new(outcome, unix_ms));
            return;
        };
        let is_long = unix_ms.saturating_sub(run.first_unix_ms) > RUN_MAX_MS;
        if is_long || !run.take(outcome, unix_ms) {
            let run = std::mem::replace(run, Run::new(outcome, unix_ms));
            self.unsent.push(Line::Probed { target: target.clone(), run });
        }
    }

    pub fn ordered(&mut self, order: &Order, unix_ms: i64) {
        self.unsent.push(Line::Ordered { unix_ms, order: order.clone() });
    }

    /// Where a primary has moved, the runs of its pool are written at once: whoever wants to know why,
    /// wants to know it now.
    pub fn told(&mut self, transition: &Transition, pools: &[Pool]) {
        if transition.families.is_empty() || transition.from == transition.to {
            return;
        }
        let pool = pools.iter().find(|pool| pool.name == transition.pool);
        let has_led = |target: &Target| {
            pool.is_some_and(|pool| {
                pool.checks.contains(&target.check) && pool.nodes.iter().any(|node| node.name == target.node)
            })
        };
        let led: Vec<(Target, Run)> = self.runs.extract_if(|target, _| has_led(target)).collect();
        led.into_iter().for_each(|(target, run)| self.unsent.push(Line::Probed { target, run }));
        self.unsent.push(Line::Moved { moved: Box::new(transition.clone()) });
    }

    /// Has what was noted since the last time written. It wakes another thread, which may cost more than a decision:
    /// it comes after the swap.
    pub fn send(&mut self) {
        for line in self.unsent.drain(..) {
            let Some(lines) = &self.lines else { continue };
            let is_start = matches!(line, Line::Start { .. });
            match lines.try_send(line) {
                // When there is room again, and not before: how everything stands is much to write down in vain.
                Err(_) if is_start => self.owed.store(true, Ordering::Relaxed),
                Ok(()) if !is_start && self.owed.swap(false, Ordering::Relaxed) => {
                    self.is_new.store(true, Ordering::Relaxed)
                }
                // Full, or the disk is: the probes go on without a record.
                _ => {}
            }
        }
    }
}

impl Drop for Recorder {
    /// Writes what is under way.
    fn drop(&mut self) {
        for (target, run) in std::mem::take(&mut self.runs) {
            self.unsent.push(Line::Probed { target, run });
        }
        self.send();
        self.lines = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has told so.
            let _ = writer.join();
        }
    }
}

fn write(path: &PathBuf, lines: &Receiver<Line>, rotated: &AtomicBool) {
    let mut file = None;
    while let Ok(first) = lines.recv() {
        let mut done = || -> std::io::Result<()> {
            let mut out = BufWriter::new(match file.take() {
                Some(file) => file,
                None => append_to(path)?,
            });
            for line in std::iter::once(first.clone()).chain(lines.try_iter().take(1_000)) {
                serde_json::to_writer(&mut out, &line)?;
                out.write_all(b"\n")?;
            }
            let written = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            if written.metadata()?.len() > FILE_MAX {
                rotated.store(true, Ordering::Relaxed);
                return fs::rename(path, path.with_extension("jsonl.1"));
            }
            file = Some(written);
            Ok(())
        };
        if let Err(error) = done() {
            tracing::error!("cannot record probes in {}: {error}; make room in state-dir", path.display());
        }
    }
}

fn append_to(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::director::event::Action;
    use crate::health::family::Family;

    /// A disk that is slow for a while, just when a file begins.
    #[test]
    fn how_everything_stands_is_said_again_where_it_did_not_get_through() {
        let (lines, waiting) = sync_channel(1);
        let is_new = Arc::new(AtomicBool::new(true));
        let mut recorder = Recorder {
            runs: HashMap::new(),
            unsent: Vec::new(),
            lines: Some(lines),
            writer: None,
            is_new,
            owed: AtomicBool::new(false),
        };
        let order = Order { action: Action::Release { pool: "web".into() }, reason: None, for_s: None };
        let ordered = |recorder: &mut Recorder, unix_ms| {
            recorder.ordered(&order, unix_ms);
            recorder.send();
        };
        let begin = |recorder: &mut Recorder| {
            recorder.begin(State::default());
            recorder.send();
        };
        ordered(&mut recorder, 1);
        begin(&mut recorder);
        ordered(&mut recorder, 2);
        assert!(!recorder.is_new(), "there is no room for it yet");
        assert!(matches!(waiting.try_recv(), Ok(Line::Ordered { unix_ms: 1, .. })));
        ordered(&mut recorder, 3);
        assert!(recorder.is_new());
        assert!(matches!(waiting.try_recv(), Ok(Line::Ordered { unix_ms: 3, .. })));
        begin(&mut recorder);
        assert!(matches!(waiting.try_recv(), Ok(Line::Start { .. })));
        ordered(&mut recorder, 4);
        assert!(!recorder.is_new());
    }

    #[test]
    fn runs_are_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target { check: "web".into(), node: "a".into(), family: Family::Ipv4 };
        let outcome = |good| Outcome { success: Some(good), word: "L7".into(), ..Outcome::default() };
        let mut recorder = Recorder::start(folder.path());
        assert!(recorder.is_new());
        recorder.begin(State { version: 1, generation: 7, ..State::default() });
        assert!(!recorder.is_new());
        for (at, good) in [true, true, true, false, true].into_iter().enumerate() {
            recorder.observe(&target, &outcome(good), at as i64 * 1_000);
        }
        // Nobody is woken before it is said.
        assert_eq!(recorder.unsent.len(), 3);
        recorder.send();
        assert!(recorder.unsent.is_empty());
        drop(recorder);
        let text = fs::read_to_string(folder.path().join("probes.jsonl")).unwrap();
        let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(matches!(&lines[0], Line::Start { start } if start.generation == 7), "{text}");
        let runs = lines.iter().filter_map(|line| match line {
            Line::Probed { run, .. } => Some((run.success, run.count, run.last_unix_ms)),
            _ => None,
        });
        assert_eq!(runs.collect::<Vec<_>>(), [(Some(true), 3, 2_000), (Some(false), 1, 3_000), (Some(true), 1, 4_000)]);
    }
}
