//! What the probes have found, in `probes.jsonl` in the state directory: a line for each run of
//! equal results of a target, for `replay`. Written beside the loop; at most two files' worth.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde::{Deserialize, Serialize};

use crate::director::event::Target;
use crate::health::check::Outcome;
use crate::health::history::Run;

/// At this size, in octets, the file is set aside as `probes.jsonl.1` and a new one begun.
const FILE_MAX: u64 = 16 << 20;
/// A run is written after this time at the latest, so that a crash forgets no more.
const RUN_MAX_MS: i64 = 10 * 60_000;
/// Lines that may wait for the disk; what comes beyond is dropped: a slow disk stops nothing.
const LINES_MAX: usize = 65_536;

/// One line of the record.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Recorded {
    #[serde(flatten)]
    pub target: Target,
    #[serde(flatten)]
    pub run: Run,
}

pub struct Recorder {
    runs: HashMap<Target, Run>,
    lines: Option<SyncSender<Recorded>>,
    writer: Option<thread::JoinHandle<()>>,
}

impl Recorder {
    pub fn start(folder: &Path) -> Recorder {
        let (lines, waiting) = sync_channel(LINES_MAX);
        let path = folder.join("probes.jsonl");
        let writer = thread::spawn(move || write(&path, &waiting));
        Recorder { runs: HashMap::new(), lines: Some(lines), writer: Some(writer) }
    }

    pub fn observe(&mut self, target: &Target, outcome: &Outcome, unix_ms: i64) {
        let Some(run) = self.runs.get_mut(target) else {
            self.runs.insert(target.clone(), Run::new(outcome, unix_ms));
            return;
        };
        let is_long = unix_ms.saturating_sub(run.first_unix_ms) > RUN_MAX_MS;
        if is_long || !run.take(outcome, unix_ms) {
            let run = std::mem::replace(run, Run::new(outcome, unix_ms));
            self.put(target.clone(), run);
        }
    }

    fn put(&self, target: Target, run: Run) {
        if let Some(lines) = &self.lines {
            // Full, or the disk is: the probes go on without a record.
            let _ = lines.try_send(Recorded { target, run });
        }
    }
}

impl Drop for Recorder {
    /// Writes what is under way.
    fn drop(&mut self) {
        for (target, run) in std::mem::take(&mut self.runs) {
            self.put(target, run);
        }
        self.lines = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has told so.
            let _ = writer.join();
        }
    }
}

fn write(path: &PathBuf, lines: &Receiver<Recorded>) {
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
    use crate::health::family::Family;

    #[test]
    fn runs_are_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target { check: "web".into(), node: "a".into(), family: Family::Ipv4 };
        let outcome = |good| Outcome { success: Some(good), word: "L7".into(), ..Outcome::default() };
        let mut recorder = Recorder::start(folder.path());
        for (at, good) in [true, true, true, false, true].into_iter().enumerate() {
            recorder.observe(&target, &outcome(good), at as i64 * 1_000);
        }
        drop(recorder);
        let text = fs::read_to_string(folder.path().join("probes.jsonl")).unwrap();
        let lines: Vec<Recorded> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let runs: Vec<_> = lines.iter().map(|line| (line.run.success, line.run.count, line.run.last_unix_ms)).collect();
        assert_eq!(runs, [(Some(true), 3, 2_000), (Some(false), 1, 3_000), (Some(true), 1, 4_000)]);
    }
}
