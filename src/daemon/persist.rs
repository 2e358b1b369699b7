//! The state directory: one daemon at a time, and the director's state in `state.json`, replaced
//! atomically.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::Failure;

const STATE: &str = "state.json";
const LOCK: &str = "lock";

/// A state directory that this process alone writes to.
pub struct StateDir {
    path: PathBuf,
    /// Held for as long as we run; the system lets go of it however we end.
    _lock: File,
}

impl StateDir {
    /// Makes the directory if it is missing, and takes its lock.
    pub fn open(path: &Path) -> Result<StateDir, Failure> {
        let failed = |error: io::Error| {
            Failure::usage(format!(
                "cannot use state-dir {}: {error}; make it and give it to the user who runs this",
                path.display()
            ))
        };
        fs::DirBuilder::new().recursive(true).mode(0o750).create(path).map_err(failed)?;
        let open = OpenOptions::new().create(true).append(true).mode(0o640).open(path.join(LOCK));
        let lock = open.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(StateDir { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(Failure::usage(format!(
                "another daemon uses state-dir {}; stop it, or give this one a state-dir of its own",
                path.display()
            ))),
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Makes the directory for a user that we are about to become, if it is missing.
    pub fn prepare(path: &Path, (user, group): (u32, u32)) -> Result<(), Failure> {
        if path.exists() {
            return Ok(());
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o750).create(path);
        made.and_then(|()| chown(path, Some(user), Some(group)))
            .map_err(|error| Failure::usage(format!("cannot make state-dir {}: {error}", path.display())))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The saved state; absent at the first start. A file that cannot be read as state is kept aside
    /// and told: the roles in the zone files are the way back then.
    pub fn load<T: DeserializeOwned>(&self) -> Option<T> {
        let path = self.path.join(STATE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!("cannot read {}: {error}; going on with the roles in the zone files", path.display());
                return None;
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(state) => Some(state),
            Err(error) => {
                let aside = self.path.join("state.json.bad");
                tracing::warn!(
                    "{}: {error}; kept as {}, going on with the roles in the zone files",
                    path.display(),
                    aside.display()
                );
                if let Err(error) = fs::rename(&path, &aside) {
                    tracing::warn!("cannot rename {}: {error}", path.display());
                }
                None
            }
        }
    }

    /// Replaces the saved state: after a crash at any point the old or the new one is there.
    pub fn save(&self, state: &impl Serialize) -> io::Result<()> {
        let bytes = serde_json::to_vec(state).map_err(io::Error::other)?;
        let temporary = self.path.join("state.json.new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o640).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.path.join(STATE))?;
        File::open(&self.path)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_is_loaded_and_a_broken_file_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&folder.path().join("a/b")).unwrap();
        assert_eq!(dir.load::<Vec<u32>>(), None);
        dir.save(&vec![1, 2, 3]).unwrap();
        assert_eq!(dir.load::<Vec<u32>>(), Some(vec![1, 2, 3]));

        fs::write(dir.path().join(STATE), b"[1, 2").unwrap();
        assert_eq!(dir.load::<Vec<u32>>(), None);
        assert_eq!(fs::read(dir.path().join("state.json.bad")).unwrap(), b"[1, 2");
        assert_eq!(dir.load::<Vec<u32>>(), None, "and it is gone from its place");
    }

    #[test]
    fn one_daemon_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateDir::open(folder.path()).unwrap();
        let Err(failure) = StateDir::open(folder.path()) else { panic!("two daemons") };
        assert!(failure.to_string().starts_with("another daemon uses state-dir"), "{failure}");
        drop(first);
        assert!(StateDir::open(folder.path()).is_ok());
    }
}
