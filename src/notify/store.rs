//! What a restart must not forget, in the state directory, each file replaced in one step and gone
//! while there is nothing in it: `undelivered.json` holds what is not delivered yet, and is as bounded
//! as the queues are; `told.json` what people know and is not over.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;

use super::Couriers;
use super::incident::Incident;
use super::memory::Memory;

/// By name of the destination, the oldest first.
pub type Undelivered = BTreeMap<String, Vec<Arc<Incident>>>;

const FILE: &str = "undelivered.json";
const TOLD_FILE: &str = "told.json";
/// Older ones help nobody any more, in milliseconds.
const AGE_MAX_MS: i64 = 24 * 3_600_000;
/// The file is written at most this often: a storm of incidents is written once.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the last write may take.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    told: PathBuf,
}

impl Store {
    pub fn new(folder: &Path) -> Store {
        Store { path: folder.join(FILE), told: folder.join(TOLD_FILE) }
    }

    /// What the last run has left. A file that cannot be read is told, and is no reason to stay silent
    /// about what happens next.
    pub fn load(&self, now_unix_ms: i64) -> Undelivered {
        let told = |error: &dyn std::fmt::Display| {
            tracing::warn!("{}: {error}; what was not delivered before the restart is lost", self.path.display());
            Undelivered::new()
        };
        let read = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Undelivered::new(),
            read => read,
        };
        let all: BTreeMap<String, Vec<Incident>> = match read.map(|bytes| serde_json::from_slice(&bytes)) {
            Err(error) => return told(&error),
            Ok(Err(error)) => return told(&error),
            Ok(Ok(all)) => all,
        };
        let is_young = |incident: &Incident| now_unix_ms.saturating_sub(incident.unix_ms) < AGE_MAX_MS;
        let young = |incidents: Vec<Incident>| incidents.into_iter().filter(is_young).map(Arc::new).collect();
        without_empty(all.into_iter().map(|(name, incidents)| (name, young(incidents))).collect())
    }

    /// What people knew when the last run ended. Where that cannot be read, they may be told once more.
    pub fn memory(&self) -> Memory {
        let read = match fs::read(&self.told) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Memory::default(),
            read => read,
        };
        let parsed = read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        parsed.unwrap_or_else(|error| {
            tracing::warn!("{}: {error}; what was told before the restart may be told again", self.told.display());
            Memory::default()
        })
    }

    /// What is to be delivered comes first: a crash in between tells twice rather than never.
    fn save(&self, kept: &Kept) -> io::Result<()> {
        self.save_undelivered(&kept.undelivered)?;
        replace(&self.told, (kept.memory != Memory::default()).then_some(&kept.memory))
    }

    fn save_undelivered(&self, undelivered: &Undelivered) -> io::Result<()> {
        let waiting: BTreeMap<&str, Vec<&Incident>> = undelivered
            .iter()
            .map(|(name, incidents)| (name.as_str(), incidents.iter().map(Arc::as_ref).collect()))
            .collect();
        replace(&self.path, (!waiting.is_empty()).then_some(&waiting))
    }
}

/// Writes a file, or removes it where there is nothing to write. After a crash at any point the old or
/// the new is there.
fn replace(path: &Path, content: Option<&impl Serialize>) -> io::Result<()> {
    let Some(content) = content else {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    let bytes = serde_json::to_vec(content).map_err(io::Error::other)?;
    let new = path.with_extension("json.new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o640).open(&new)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// What is kept at one moment. The memory is taken first: what tells of it waits by then.
#[derive(Clone, Default)]
struct Kept {
    memory: Memory,
    undelivered: Undelivered,
}

impl Kept {
    fn now(couriers: &Couriers) -> Kept {
        let memory = couriers.memory();
        Kept { memory, undelivered: couriers.undelivered() }
    }

    fn is_same(&self, other: &Kept) -> bool {
        self.memory == other.memory && ids(&self.undelivered) == ids(&other.undelivered)
    }
}

/// The same without destinations for which nothing waits.
pub fn without_empty(mut all: Undelivered) -> Undelivered {
    all.retain(|_, incidents| !incidents.is_empty());
    all
}

/// The task that writes the store whenever a queue has changed.
pub struct Keeper {
    store: Store,
    task: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn start(store: Store, couriers: Arc<Couriers>) -> Keeper {
        let task = tokio::spawn(keep(store.clone(), couriers));
        Keeper { store, task }
    }

    /// Writes what is left, once more.
    pub(super) async fn finish(self, couriers: &Couriers) {
        self.task.abort();
        let _ = self.task.await;
        if tokio::time::timeout(PATIENCE, save(&self.store, Kept::now(couriers))).await.is_err() {
            tracing::error!("{}: not written in time", self.store.path.display());
        }
    }
}

async fn keep(store: Store, couriers: Arc<Couriers>) {
    let mut kept = Kept { memory: store.memory(), undelivered: Undelivered::new() };
    loop {
        couriers.changed.notified().await;
        let now = Kept::now(&couriers);
        if !now.is_same(&kept) && save(&store, now.clone()).await {
            kept = now;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn ids(undelivered: &Undelivered) -> Vec<(&str, &str)> {
    let each = undelivered.iter();
    each.flat_map(|(name, incidents)| incidents.iter().map(|incident| (name.as_str(), incident.id.as_str()))).collect()
}

/// Whether it is written.
async fn save(store: &Store, kept: Kept) -> bool {
    let writing = store.clone();
    let written = tokio::task::spawn_blocking(move || writing.save(&kept)).await;
    match written.map_err(io::Error::other).flatten() {
        Ok(()) => true,
        Err(error) => {
            tracing::error!("cannot write {}: {error}; a restart would lose what waits", store.path.display());
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Near;
    use super::*;
    use crate::director::incident::Kind;

    #[test]
    fn what_waits_survives_what_is_old_does_not_and_an_empty_store_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        assert!(store.load(0).is_empty());
        let incident = |unix_ms| Arc::new(Incident::test("here", unix_ms));
        let now = 10 * AGE_MAX_MS;
        let all: Undelivered = [
            ("mail".to_owned(), vec![incident(now - AGE_MAX_MS), incident(now - 1)]),
            ("old".to_owned(), vec![incident(0)]),
        ]
        .into();
        store.save_undelivered(&all).unwrap();
        assert_eq!(store.load(now), [("mail".to_owned(), vec![incident(now - 1)])].into());
        store.save_undelivered(&Undelivered::new()).unwrap();
        store.save_undelivered(&Undelivered::new()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join(FILE), b"{\"mail\": [").unwrap();
        assert!(store.load(now).is_empty(), "half a file is none");
    }

    #[test]
    fn what_people_know_survives_too() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let mut memory = Memory::default();
        memory.open.insert((Kind::AllDown, "web".to_owned()));
        memory.certificate("a", "web", Some(Near::Warning));
        let kept = Kept { memory: memory.clone(), ..Kept::default() };
        store.save(&kept).unwrap();
        assert_eq!(store.memory(), memory);
        fs::write(folder.path().join(TOLD_FILE), b"{\"open\": [[\"all").unwrap();
        assert_eq!(store.memory(), Memory::default(), "half a file is none");
        store.save(&Kept::default()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing to remember is no file");
    }
}
