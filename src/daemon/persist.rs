//! The state directory: one daemon at a time, and the director's state in `state.json`, replaced
//! atomically.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::control::text;
use crate::director::state::{State, VERSION};
use crate::publish::files::owner_name;

use super::clock::unix_ms;
use super::failure::Failure;

const STATE: &str = "state.json";
/// The save before: what is left when the newest is broken.
const BEFORE: &str = "state.json.old";
const LOCK: &str = "lock";
/// Times further ahead than this are of a clock that was wrong, or is, in milliseconds.
const AHEAD_MAX_MS: i64 = 3_600_000;

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
            Failure::usage(format!("cannot use state-dir {}: {error}; {}", path.display(), help(path)))
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

    /// The saved state; absent at the first start. A file that cannot be read as state, or is of a
    /// newer version, is kept aside and told: the save before gives the orders back then, and the zone
    /// files the roles.
    pub fn load(&self) -> Option<State> {
        let path = self.path.join(STATE);
        match read(&path) {
            Ok(state) => {
                let ahead = state.as_ref().and_then(|state| ahead(state, unix_ms()));
                ahead.iter().for_each(|words| tracing::warn!("{}: {words}", path.display()));
                state
            }
            Err(Unusable::Unreadable(error)) => {
                tracing::warn!("cannot read {}: {error}; going on with the roles in the zone files", path.display());
                None
            }
            Err(Unusable::NoState(why)) => {
                let aside = self.path.join("state.json.bad");
                let before = before(&self.path);
                let left = left(before.as_ref());
                tracing::warn!("{}: {why}; kept as {}, going on with {left}", path.display(), aside.display());
                if let Err(error) = fs::rename(&path, &aside) {
                    tracing::warn!("cannot rename {}: {error}", path.display());
                }
                before.map(State::outdated)
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
        let newest = self.path.join(STATE);
        if newest.exists() {
            let before = self.path.join(BEFORE);
            // Without it nothing is wrong, as long as nothing else is.
            let _ = fs::remove_file(&before);
            let _ = fs::hard_link(&newest, &before);
        }
        fs::rename(&temporary, self.path.join(STATE))?;
        File::open(&self.path)?.sync_all()
    }
}

/// What to do where the state directory cannot be used: root may have made it, or a folder above it.
fn help(path: &Path) -> String {
    let user = owner_name(geteuid().as_raw());
    match path.ancestors().find_map(|found| Some((found, fs::metadata(found).ok()?))) {
        Some((found, _)) if found == path => format!("chown -R {user} {}", path.display()),
        Some((above, metadata)) => {
            format!("user {user} cannot make it in {}, which is {}'s", above.display(), owner_name(metadata.uid()))
        }
        None => format!("make it, and give it to user {user}"),
    }
}

/// What a start would find wrong with the saved state, one line. Changes nothing; whoever may not
/// read the state hears nothing.
pub fn remark(folder: &Path) -> Option<String> {
    let path = folder.join(STATE);
    let words = match read(&path) {
        Ok(state) => ahead(&state?, unix_ms())?,
        Err(Unusable::Unreadable(_)) => return None,
        Err(Unusable::NoState(why)) => {
            format!("{why}; a start would set it aside and go on with {}", left(before(folder).as_ref()))
        }
    };
    Some(format!("{}: warning: {words}", path.display()))
}

/// The save before the newest, if it can be read.
fn before(folder: &Path) -> Option<State> {
    read(&folder.join(BEFORE)).ok().flatten()
}

/// What there is to go on with when the newest state is broken.
fn left(before: Option<&State>) -> String {
    match before {
        Some(state) => {
            format!("the orders of {BEFORE} ({}) and the roles in the zone files", text::utc(state.saved_unix_ms))
        }
        None => "the roles in the zone files; all orders are lost".to_owned(),
    }
}

/// A state from the future.
fn ahead(state: &State, now_unix_ms: i64) -> Option<String> {
    let latest = state.latest_unix_ms();
    (latest.saturating_sub(now_unix_ms) > AHEAD_MAX_MS).then(|| {
        format!(
            "it holds times from the future ({}): the clock was wrong then, or it is now; they count as now",
            text::utc(latest)
        )
    })
}

/// Why there is no state although there is a file.
enum Unusable {
    Unreadable(io::Error),
    NoState(String),
}

/// `None`: there is no file.
fn read(path: &Path) -> Result<Option<State>, Unusable> {
    /// The part that stays the same in all versions.
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Unusable::Unreadable(error)),
    };
    let no_state = |error: serde_json::Error| Unusable::NoState(format!("not a saved state: {error}"));
    let head: Head = serde_json::from_slice(&bytes).map_err(no_state)?;
    if head.version != VERSION {
        let version = head.version;
        return Err(Unusable::NoState(format!(
            "written by another version (format {version}, this one reads {VERSION})"
        )));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(no_state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_is_loaded_and_a_broken_file_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&folder.path().join("a/b")).unwrap();
        assert_eq!((dir.load(), remark(dir.path())), (None, None));
        let state = State { version: VERSION, generation: 7, ..State::default() };
        dir.save(&state).unwrap();
        assert_eq!((dir.load(), remark(dir.path())), (Some(state.clone()), None));

        let text = serde_json::to_string(&state).unwrap();
        for (bad, why) in [
            (text[..text.len() / 2].to_owned(), "not a saved state: EOF while parsing"),
            (String::new(), "not a saved state: EOF while parsing"),
            ("[1, 2]".to_owned(), "not a saved state"),
            (text.replace("\"version\":1", "\"version\":2"), "written by another version (format 2, this one reads 1)"),
        ] {
            fs::write(dir.path().join(STATE), &bad).unwrap();
            let told = remark(dir.path()).unwrap();
            assert!(told.contains(why) && told.contains("state.json: warning: "), "{told}");
            assert!(told.contains("all orders are lost"), "{told}");
            assert_eq!(dir.load(), None);
            assert_eq!(fs::read_to_string(dir.path().join("state.json.bad")).unwrap(), bad);
            assert_eq!((dir.load(), remark(dir.path())), (None, None), "and it is gone from its place");
        }
    }

    #[test]
    fn the_save_before_gives_the_orders_back() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let hold = r#"{"holds":{"web":{"primary":{"ipv4":"a","ipv6":"a"},"reason":null,"since_unix_ms":1,"until_unix_ms":null}},"drains":{}}"#;
        let roles = r#"{"web":{"roles":null,"moved_unix_ms":{"ipv4":null,"ipv6":null},"rotated_week":{"ipv4":null,"ipv6":null},"since_unix_ms":null,"rule":"","reason":""}}"#;
        let state = State {
            version: VERSION,
            is_final: true,
            generation: 7,
            saved_unix_ms: 1_700_000_000_000,
            orders: serde_json::from_str(hold).unwrap(),
            pools: serde_json::from_str(roles).unwrap(),
            ..State::default()
        };
        dir.save(&state).unwrap();
        dir.save(&State { generation: 8, orders: Default::default(), ..state.clone() }).unwrap();
        fs::write(dir.path().join(STATE), "{\"version\":1,").unwrap();
        let told = remark(dir.path()).unwrap();
        assert!(told.contains("the orders of state.json.old (2023-11-14 22:13:20 UTC) and the roles"), "{told}");
        let loaded = dir.load().unwrap();
        assert_eq!((&loaded.orders, loaded.is_final, loaded.generation), (&state.orders, false, 7 + 64));
        // What is broken never becomes the save before.
        dir.save(&state).unwrap();
        fs::write(dir.path().join(STATE), "").unwrap();
        assert_eq!(dir.load().unwrap().orders, state.orders);
    }

    #[test]
    fn a_state_from_the_future_is_told_and_used() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let state = State { version: VERSION, saved_unix_ms: 2_871_763_200_000, ..State::default() };
        dir.save(&state).unwrap();
        let told = remark(dir.path()).unwrap();
        assert!(told.contains("state.json: warning: it holds times from the future (2061-01-01"), "{told}");
        assert_eq!(dir.load(), Some(state));
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
