//! What the transaction is about to do to a zone file, on disk before it does it, so that a crash
//! at any point can be told apart and cleaned up.
//!
//! There is no phase in it: the contents of the target and the temp file, compared with the two
//! hashes, say how far it came.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::generations::{KeptFile, zone_key};
use super::{files, make_state_folder};
use crate::dns::name::Name;

/// One transaction under way. Plain blocking calls.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// The origin as text with the final dot.
    pub zone: String,
    pub generation: u64,
    /// The file that nsd reads, links resolved.
    pub target: PathBuf,
    /// Its neighbour: holds the new bytes before the swap, the old ones after it.
    pub temp: PathBuf,
    /// Absent: there was no file.
    pub old: Option<Version>,
    pub new: Version,
    /// The included files that change with it, each as if it were a transaction of its own. They
    /// are in place before the target, and leave it after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included: Vec<Journal>,
    /// The other included files that a generation holds; they stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub staying: Vec<KeptFile>,
}

/// A zone file's bytes, and the serial in it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// SHA-256 in hex.
    pub hash: String,
    /// Absent: not known (an `export-file` that somebody else wrote, while nsd did not answer).
    pub serial: Option<u32>,
}

impl Journal {
    /// The included files that a generation holds, as they are after the transaction.
    pub fn kept(&self) -> Vec<KeptFile> {
        let changed = self.included.iter().map(|one| KeptFile { path: one.target.clone(), hash: one.new.hash.clone() });
        changed.chain(self.staying.iter().cloned()).collect()
    }

    /// Outlives this process when this returns, and the machine after [`Journal::sync`].
    pub fn write(&self, folder: &Path) -> Result<(), String> {
        make_state_folder(folder)?;
        let text = serde_json::to_vec_pretty(self).expect("numbers and strings become JSON");
        files::replace_state(&path(folder, &self.zone), &text)
    }

    /// To be done before the target is touched.
    pub fn sync(&self, folder: &Path) -> Result<(), String> {
        files::sync(&path(folder, &self.zone))
    }

    /// The transaction has ended, one way or the other.
    pub fn remove(&self, folder: &Path) -> Result<(), String> {
        files::remove(&path(folder, &self.zone))?;
        files::sync_folder(folder)
    }

    /// The journal of one zone, if its last transaction did not end.
    pub fn of_zone(folder: &Path, origin: &Name) -> Result<Option<Journal>, String> {
        read(&folder.join(format!("{}.json", zone_key(origin))))
    }

    /// Every journal that is there, or why it cannot be read. Exports may be under way.
    pub fn all(folder: &Path) -> Result<Vec<Result<Journal, String>>, String> {
        let whole = list(folder)?.into_iter().filter(|path| !is_half(path));
        Ok(whole.filter_map(|path| read(&path).transpose()).collect())
    }

    /// Removes the halves of journals that a crash left: their transactions had touched nothing yet. Only
    /// while no export is under way, which writes such a half at its beginning.
    pub fn remove_halves(folder: &Path) -> Result<(), String> {
        list(folder)?.iter().filter(|path| is_half(path)).try_for_each(|path| files::remove(path))
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let say = |error: std::io::Error| format!("cannot list {}: {error}", folder.display());
    match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.map_err(say)?.map(|entry| Ok(entry.map_err(say)?.path())).collect(),
    }
}

fn is_half(path: &Path) -> bool {
    path.to_string_lossy().ends_with(files::TEMP_ENDING)
}

fn read(path: &Path) -> Result<Option<Journal>, String> {
    let Some(found) = files::read(path)? else { return Ok(None) };
    serde_json::from_slice(&found.bytes).map(Some).map_err(|error| format!("{}: {error}", path.display()))
}

fn path(folder: &Path, zone: &str) -> PathBuf {
    let key = zone.parse::<Name>().map_or_else(|_| "=".to_owned(), |origin| zone_key(&origin));
    folder.join(format!("{key}.json"))
}
