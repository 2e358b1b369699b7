//! What happened: one line each to the log, an entry in memory for the API, and one in
//! `log.jsonl` in the state directory, so that a restart does not forget.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;

use crate::control::log::{Entry, LOG_MAX, Log};
use crate::control::text;
use crate::director::alarm;
use crate::director::event::ExportResult;

use super::clock::unix_ms;

/// At this size, in octets, the file is set aside as `log.jsonl.1` and a new one begun.
const FILE_MAX: u64 = 4 << 20;

pub struct Journal {
    pub log: Arc<Log>,
    path: PathBuf,
    /// Absent where it cannot be written: then the log in memory goes on alone.
    file: Mutex<Option<File>>,
}

impl Journal {
    /// Opens the file and takes up its newest entries. What cannot be read or written is told, and
    /// stops nothing.
    pub fn open(folder: &Path) -> Journal {
        let path = folder.join("log.jsonl");
        let log = Arc::new(Log::default());
        for entry in newest(&path) {
            log.restore(entry);
        }
        let file = append_to(&path);
        if let Err(error) = &file {
            tracing::error!("cannot write {}: {error}", path.display());
        }
        Journal { log, path, file: Mutex::new(file.ok()) }
    }

    /// Tells people, and keeps it.
    pub fn record(&self, entry: Entry) {
        let line = text::entry_words(&entry);
        match &entry {
            Entry::Export(report) if !matches!(report.result, ExportResult::Served | ExportResult::Unchanged) => {
                tracing::error!("{line}");
            }
            Entry::Transition(transition) if alarm::is_all_down(&transition.rule) => {
                tracing::error!("{line}");
            }
            Entry::Transition(_) => tracing::warn!("{line}"),
            _ => tracing::info!("{line}"),
        }
        self.keep(entry);
    }

    pub fn note(&self, text: String) {
        self.record(Entry::Note { unix_ms: unix_ms(), text });
    }

    /// A note of something that has to be mended.
    pub fn alarm(&self, text: String) {
        tracing::error!("{text}");
        self.keep(Entry::Note { unix_ms: unix_ms(), text });
    }

    fn keep(&self, entry: Entry) {
        if let Err(error) = self.write(&entry) {
            tracing::error!("cannot write {}: {error}", self.path.display());
        }
        self.log.push(entry);
    }

    fn write(&self, entry: &Entry) -> io::Result<()> {
        let mut guard = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(file) = guard.as_mut() else { return Ok(()) };
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        file.write_all(&line)?;
        if file.metadata()?.len() > FILE_MAX {
            fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
            *guard = Some(append_to(&self.path)?);
        }
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// The newest entries of a file, oldest first. A line that is none (a crash in the middle of it) is
/// passed over.
fn newest(path: &Path) -> Vec<Entry> {
    let read = || -> io::Result<Vec<Entry>> {
        let mut file = File::open(path)?;
        // More than enough for the entries that are kept.
        let start = file.metadata()?.len().saturating_sub(FILE_MAX);
        file.seek(SeekFrom::Start(start))?;
        let mut entries = Vec::new();
        for line in BufReader::new(file.take(FILE_MAX)).split(b'\n') {
            entries.extend(serde_json::from_slice::<Entry>(&line?).ok());
        }
        let surplus = entries.len().saturating_sub(LOG_MAX);
        entries.drain(..surplus);
        Ok(entries)
    };
    match read() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!("cannot read {}: {error}", path.display());
            Vec::new()
        }
    }
}
