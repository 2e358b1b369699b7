//! Temp files that nobody remembers: after a power cut a file may be on the disk and the journal that
//! names it not.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::generations::{hash, hex};
use super::journal::Journal;
use super::{Publisher, files};

/// How the names of our temp files begin.
const BEGIN: &str = ".nsd-failover-";
/// Digits that tell one state folder's temp files from another's.
const OWNER_DIGITS: usize = 8;

impl Publisher {
    /// A name beside a file, for its next or last contents.
    pub(super) fn temp_beside(&self, target: &Path) -> PathBuf {
        let random = hex(&super::random::<8>());
        target.with_file_name(format!("{}{random}{}", self.temp_begin(), files::TEMP_ENDING))
    }

    /// Removes the temp files beside these zone files, included ones among them, that are ours and that
    /// no journal names. To be called after [`Publisher::recover`]. Says what it has removed; what cannot
    /// be looked at stays.
    pub async fn sweep(&self, targets: Vec<PathBuf>) -> Vec<PathBuf> {
        let (begin, journals) = (self.temp_begin(), self.journal_dir());
        let sweep = move || {
            let folder = |target: PathBuf| Some(files::folder(&files::resolve(&target).ok()?).to_owned());
            let folders: BTreeSet<PathBuf> = targets.into_iter().filter_map(folder).collect();
            // Before the journals: an export writes its journal before its temp files, and removes it after them.
            let found: Vec<PathBuf> = folders.iter().flat_map(|folder| leftovers(folder, &begin)).collect();
            // Where a journal cannot be read, nobody knows what it names.
            let journals = Journal::all(&journals)?.into_iter().collect::<Result<Vec<Journal>, String>>()?;
            let named = |path: &Path| {
                let of = |journal: &Journal| journal.temp == path || files::aside(&journal.temp) == path;
                journals.iter().any(|journal| of(journal) || journal.included.iter().any(of))
            };
            Ok(found.into_iter().filter(|path| !named(path) && is_removed(path)).collect())
        };
        self.blocking("sweep", sweep).await.unwrap_or_default()
    }

    /// The state folder is ours alone, so that what carries its mark is, too.
    fn temp_begin(&self) -> String {
        let owner = hash(self.settings.state_dir.as_os_str().as_encoded_bytes());
        format!("{BEGIN}{}-", &owner[..OWNER_DIGITS])
    }
}

/// Not one that an export has taken away meanwhile, at its end.
fn is_removed(path: &Path) -> bool {
    std::fs::remove_file(path).is_ok()
}

/// The regular files in a folder whose names are those of our temp files.
fn leftovers(folder: &Path, begin: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let ours = |name: &OsStr| {
        let name = name.to_string_lossy();
        let name = name.strip_suffix(files::ASIDE_ENDING).unwrap_or(&name);
        let middle = name.strip_prefix(begin).and_then(|rest| rest.strip_suffix(files::TEMP_ENDING));
        middle.is_some_and(|random| random.len() == 16 && random.bytes().all(|octet| octet.is_ascii_hexdigit()))
    };
    let entries = entries.flatten().filter(|entry| ours(&entry.file_name()));
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_export_took_away_itself_is_none_that_was_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".nsd-failover-00000000-0123456789abcdef.tmp");
        assert!(!is_removed(&path));
        std::fs::write(&path, "").unwrap();
        assert!(is_removed(&path) && !path.exists());
    }
}
