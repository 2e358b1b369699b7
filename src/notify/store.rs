//! What is not delivered yet, in the state directory: `undelivered.json`, replaced in one step, and
//! gone while nothing waits. As bounded as the queues are.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Couriers;
use super::incident::Incident;

/// By name of the destination, the oldest first.
pub type Undelivered = BTreeMap<String, Vec<Arc<Incident>>>;

const FILE: &str = "undelivered.json";
/// Older ones help nobody any more, in milliseconds.
const AGE_MAX_MS: i64 = 24 * 3_600_000;
/// The file is written at most this often: a storm of incidents is written once.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the last write may take.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    pub fn new(folder: &Path) -> Store {
        Store { path: folder.join(FILE) }
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

    /// After a crash at any point the old or the new is there.
    fn save(&self, undelivered: &Undelivered) -> io::Result<()> {
        if undelivered.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let waiting: BTreeMap<&str, Vec<&Incident>> = undelivered
            .iter()
            .map(|(name, incidents)| (name.as_str(), incidents.iter().map(Arc::as_ref).collect()))
            .collect();
        let bytes = serde_json::to_vec(&waiting).map_err(io::Error::other)?;
        let new = self.path.with_extension("json.new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o640).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)
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
        if tokio::time::timeout(PATIENCE, save(&self.store, couriers.undelivered())).await.is_err() {
            tracing::error!("{}: not written in time", self.store.path.display());
        }
    }
}

async fn keep(store: Store, couriers: Arc<Couriers>) {
    let mut kept = Undelivered::new();
    loop {
        couriers.changed.notified().await;
        let now = couriers.undelivered();
        if ids(&now) != ids(&kept) && save(&store, now.clone()).await {
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
async fn save(store: &Store, undelivered: Undelivered) -> bool {
    let writing = store.clone();
    let written = tokio::task::spawn_blocking(move || writing.save(&undelivered)).await;
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
    use super::*;

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
        store.save(&all).unwrap();
        assert_eq!(store.load(now), [("mail".to_owned(), vec![incident(now - 1)])].into());
        store.save(&Undelivered::new()).unwrap();
        store.save(&Undelivered::new()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join(FILE), b"{\"mail\": [").unwrap();
        assert!(store.load(now).is_empty(), "half a file is none");
    }
}
