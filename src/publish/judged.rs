//! What nsd-checkzone has said yes to: a text with the same skeleton, which differs from such a one in
//! nothing but the addresses of failover records and the serial, need not wait for the same verdict
//! again when it matters.
//!
//! The verdict belongs to the skeleton *and* to the program that gave it: another nsd-checkzone (an
//! upgrade) judges anew. Texts that include other files have none, and are always judged anew.

use std::collections::{HashMap, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ring::digest::{Context, SHA256};

use crate::dns::name::Name;
use crate::export::skeleton::Skeleton;

use super::{NsdSettings, Publisher, command, zone_argument};

/// Verdicts kept for each zone: a withdrawn record makes another skeleton.
const KEPT_MAX: usize = 16;

#[derive(Debug, Default)]
pub struct Judged(Mutex<HashMap<Name, VecDeque<Key>>>);

/// Stands for a skeleton, and the program that judged it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Key([u8; 32]);

impl Judged {
    pub fn contains(&self, origin: &Name, key: Key) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(origin).is_some_and(|keys| keys.contains(&key))
    }

    pub fn insert(&self, origin: &Name, key: Key) {
        let mut zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = zones.entry(origin.clone()).or_default();
        keys.retain(|known| *known != key);
        keys.push_front(key);
        keys.truncate(KEPT_MAX);
    }
}

impl Publisher {
    /// Asks nsd-checkzone about a file, unless it has said yes to its skeleton before.
    pub(super) async fn judge(
        &self,
        origin: &Name,
        file: &Path,
        folder: Option<&Path>,
        skeleton: Option<Skeleton>,
    ) -> Result<(), String> {
        let NsdSettings { checkzone, limits, .. } = self.settings();
        if checkzone.is_empty() {
            return Ok(());
        }
        let key = skeleton.and_then(|skeleton| key(checkzone, folder, origin, skeleton));
        if key.is_some_and(|key| self.judged.contains(origin, key)) {
            return Ok(());
        }
        let path = file.to_str().ok_or_else(|| format!("{} is not UTF-8", file.display()))?;
        match command::run(checkzone, &[&zone_argument(origin), path], folder, limits.check_ms).await {
            Ok(_) => {
                key.into_iter().for_each(|key| self.judged.insert(origin, key));
                Ok(())
            }
            Err(reason) if reason.starts_with("cannot run") => {
                Err(format!("{reason}; install nsd's tools or name it in [nsd] checkzone ([] goes without)"))
            }
            Err(reason) => Err(reason),
        }
    }
}

/// The key of a zone's skeleton; `None` where the program is not nsd-checkzone itself: nobody knows
/// what else it looks at.
pub fn key(argv: &[String], folder: Option<&Path>, origin: &Name, skeleton: Skeleton) -> Option<Key> {
    let program = argv.first()?;
    if Path::new(program).file_name()? != "nsd-checkzone" {
        return None;
    }
    let metadata = std::fs::metadata(find(program)?).ok()?;
    let identity =
        [metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime() as u64, metadata.mtime_nsec() as u64];
    let mut context = Context::new(&SHA256);
    context.update(format!("{argv:?} {folder:?} {origin} {identity:?}").as_bytes());
    context.update(skeleton.octets());
    Some(Key(context.finish().as_ref().try_into().expect("SHA-256 has 32 octets")))
}

/// Where the system finds a program.
fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::Zone;

    #[test]
    fn another_program_judges_anew() {
        let text = b"$TTL 60\n@ SOA ns h 1000 2 3 4 5\n NS ns.example.net.\n".to_vec();
        let zone = Zone::parse(&"foo.zone.".parse().unwrap(), "z", text).unwrap();
        let skeleton = Skeleton::of(&zone).unwrap();
        let of = |program: &Path| key(&[program.display().to_string()], None, zone.origin(), skeleton);
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nsd-checkzone");
        std::fs::write(&program, "one").unwrap();
        let first = of(&program);
        assert!(first.is_some() && first == of(&program));
        std::fs::write(&program, "another").unwrap();
        assert_ne!(first, of(&program), "an upgrade");
        assert_eq!(of(Path::new("/bin/sh")), None);
        assert_eq!(of(&folder.path().join("none/nsd-checkzone")), None);
    }

    #[test]
    fn the_oldest_verdict_is_forgotten() {
        let (judged, origin) = (Judged::default(), "foo.zone.".parse().unwrap());
        for n in 0..=KEPT_MAX as u8 {
            judged.insert(&origin, Key([n; 32]));
        }
        assert!(!judged.contains(&origin, Key([0; 32])) && judged.contains(&origin, Key([1; 32])));
    }
}
