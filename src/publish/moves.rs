//! The two moves of the transaction: new bytes in, old bytes back. Each looks at what it moves,
//! before and after, so that an edit made by somebody else is found out and stays.

use std::fs;
use std::path::{Path, PathBuf};

use super::files::{self, Found};
use super::generations::{Generations, hash};
use super::journal::Journal;
use crate::dns::name::Name;

/// Why a move was not made. In every case the target holds what it held before.
#[derive(Debug)]
pub enum MoveError {
    /// The target holds bytes that we did not expect: somebody's edit.
    Edited,
    /// A system call failed.
    Failed(String),
}

impl MoveError {
    /// One line for people; `path` is the file that was to be moved.
    pub fn of(self, path: &Path) -> String {
        match self {
            MoveError::Edited => format!("{} was edited meanwhile; the edit is kept", path.display()),
            MoveError::Failed(reason) => reason,
        }
    }
}

impl From<String> for MoveError {
    fn from(reason: String) -> MoveError {
        MoveError::Failed(reason)
    }
}

/// What a file must hold to be moved.
#[derive(Clone, Copy)]
pub enum Holds<'a> {
    /// These bytes: quicker where somebody has them.
    Bytes(&'a [u8]),
    /// What has this hash.
    Hash(&'a str),
}

impl Holds<'_> {
    fn is_true_of(self, path: &Path) -> Result<bool, String> {
        Ok(files::read(path)?.is_some_and(|found| match self {
            Holds::Bytes(bytes) => found.bytes == bytes,
            Holds::Hash(expected) => hash(&found.bytes) == expected,
        }))
    }
}

/// What a file holds, as a hash; `None`: no file.
pub fn hash_at(path: &Path) -> Result<Option<String>, String> {
    Ok(files::read(path)?.map(|found| hash(&found.bytes)))
}

/// Puts the temp file's new bytes in the target's place; the temp file then holds the `old` ones. `None`:
/// there was no file.
pub fn forward(journal: &Journal, old: Option<Holds<'_>>) -> Result<(), MoveError> {
    match old {
        None if files::read(&journal.target)?.is_none() => {
            // Fails if a file has appeared meanwhile.
            Ok(files::place(&journal.temp, &journal.target)?)
        }
        Some(old) if old.is_true_of(&journal.target)? => exchange(journal, old),
        None | Some(_) => Err(MoveError::Edited),
    }
}

/// Puts the old bytes back in the target's place, looking newer than what they replace: nsd reads
/// no file again whose time it knows and, after a load that failed, none that is not newer. The
/// temp file is gone afterwards.
pub fn back(journal: &Journal, generations: &Generations) -> Result<(), MoveError> {
    let Some(now) = files::read(&journal.target)?.filter(|now| hash(&now.bytes) == journal.new.hash) else {
        return Err(MoveError::Edited);
    };
    match &journal.old {
        None => {
            files::remove(&journal.target)?;
        }
        Some(old) => {
            provide_old(journal, &old.hash, &now, generations)?;
            files::touch_later(&journal.temp, &now.metadata)?;
            exchange(journal, Holds::Hash(&journal.new.hash))?;
        }
    }
    files::remove(&journal.temp)?;
    Ok(files::sync_folder(files::folder(&journal.target))?)
}

/// Puts the included files' new bytes in place; after an error none is.
pub fn forward_included(journal: &Journal, generations: &Generations) -> Result<(), (MoveError, PathBuf)> {
    for included in &journal.included {
        let old = included.old.as_ref().map(|old| Holds::Hash(&old.hash));
        if let Err(error) = forward(included, old) {
            let back = back_included(journal, generations);
            return Err(back.err().unwrap_or((error, included.target.clone())));
        }
    }
    Ok(())
}

/// Puts the old bytes of the included files back, wherever the new ones are in place. Somebody's
/// edit stays.
pub fn back_included(journal: &Journal, generations: &Generations) -> Result<(), (MoveError, PathBuf)> {
    for included in &journal.included {
        let moved = match examine_file(included) {
            Ok(Progress::New) => back(included, generations),
            Ok(Progress::Old | Progress::Edited) => Ok(()),
            Err(reason) => Err(MoveError::Failed(reason)),
        };
        moved.map_err(|error| (error, included.target.clone()))?;
    }
    Ok(())
}

/// Exchanges the two files; what comes out must be what was `expected`, or goes back in.
fn exchange(journal: &Journal, expected: Holds<'_>) -> Result<(), MoveError> {
    files::swap(&journal.temp, &journal.target)?;
    if expected.is_true_of(&journal.temp)? {
        return Ok(());
    }
    // Edited between our look and the exchange.
    files::swap(&journal.temp, &journal.target)?;
    Err(MoveError::Edited)
}

/// Sees to it that the temp file holds the old bytes: it does since the swap, unless somebody has
/// removed it; then from the kept generations.
fn provide_old(journal: &Journal, old: &str, now: &Found, generations: &Generations) -> Result<(), String> {
    if hash_at(&journal.temp)?.as_deref() == Some(old) {
        return Ok(());
    }
    let origin: Name = journal.zone.parse().map_err(|error| format!("{}: {error}", journal.zone))?;
    let bytes = generations.load(&origin, old)?;
    files::remove(&journal.temp)?;
    files::write_new(&journal.temp, &bytes, Some(&now.metadata))?;
    files::sync(&journal.temp)
}

/// How far a transaction had come when it was cut off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// The target holds the old bytes.
    Old,
    /// The target holds the new bytes.
    New,
    /// The target holds somebody's edit.
    Edited,
}

/// Tells how far it had come. What [`files::swap`] or [`exchange`] left half done is put right.
///
/// Where the zone's own file holds the same before and after (the SOA stands in an included file),
/// it is in place when all the included files are.
pub fn examine(journal: &Journal) -> Result<Progress, String> {
    let own = examine_file(journal)?;
    let same = journal.old.as_ref().is_some_and(|old| old.hash == journal.new.hash);
    if own != Progress::New || !same {
        return Ok(own);
    }
    let mut all = Progress::New;
    for included in &journal.included {
        match examine_file(included)? {
            Progress::New => {}
            Progress::Old => all = Progress::Old,
            Progress::Edited => return Ok(Progress::Edited),
        }
    }
    Ok(all)
}

/// The same for one file.
fn examine_file(journal: &Journal) -> Result<Progress, String> {
    let aside = files::aside(&journal.temp);
    if fs::symlink_metadata(&aside).is_ok() {
        if fs::symlink_metadata(&journal.temp).is_ok() {
            files::remove(&aside)?;
        } else {
            fs::rename(&aside, &journal.temp).map_err(|error| format!("cannot rename {}: {error}", aside.display()))?;
        }
    }
    let old = journal.old.as_ref().map(|old| &old.hash);
    let target = hash_at(&journal.target)?;
    if target.as_ref() == Some(&journal.new.hash) {
        let temp = hash_at(&journal.temp)?;
        if old.is_some() && temp.is_some() && temp.as_ref() != old {
            // The exchange took an edit out, and there was no time to give it back.
            files::swap(&journal.temp, &journal.target)?;
            return Ok(Progress::Edited);
        }
        return Ok(Progress::New);
    }
    Ok(if target.as_ref() == old { Progress::Old } else { Progress::Edited })
}

/// Removes what the transaction had beside the target, then its journal.
pub fn tidy(journal: &Journal, journals: &Path) -> Result<(), String> {
    for journal in journal.included.iter().chain([journal]) {
        files::remove(&journal.temp)?;
        files::sync_folder(files::folder(&journal.target))?;
    }
    journal.remove(journals)
}

#[cfg(test)]
mod tests {
    use super::super::generations::Generation;
    use super::super::journal::Version;
    use super::*;

    /// A folder with a target and a temp file, and the journal of old -> new between them.
    fn bench(target: &str, temp: Option<&str>) -> (tempfile::TempDir, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let version = |text: &str| Version { hash: hash(text.as_bytes()), serial: Some(1) };
        let journal = Journal {
            zone: "foo.zone.".into(),
            generation: 1,
            target: folder.path().join("zone"),
            temp: folder.path().join("temp"),
            old: Some(version("old")),
            new: version("new"),
            included: Vec::new(),
            staying: Vec::new(),
        };
        fs::write(&journal.target, target).unwrap();
        if let Some(temp) = temp {
            fs::write(&journal.temp, temp).unwrap();
        }
        (folder, journal)
    }

    fn target(journal: &Journal) -> String {
        fs::read_to_string(&journal.target).unwrap()
    }

    #[test]
    fn forward_and_back() {
        let (folder, journal) = bench("old", Some("new"));
        let before = fs::metadata(&journal.target).unwrap().modified().unwrap();
        forward(&journal, Some(Holds::Bytes(b"old"))).unwrap();
        assert_eq!((target(&journal), examine(&journal).unwrap()), ("new".into(), Progress::New));
        back(&journal, &Generations::new(folder.path().join("none"), 2)).unwrap();
        assert_eq!((target(&journal), examine(&journal).unwrap()), ("old".into(), Progress::Old));
        assert!(!journal.temp.exists());
        assert!(fs::metadata(&journal.target).unwrap().modified().unwrap() > before, "nsd must read it again");
    }

    /// What the look before the exchange cannot see.
    #[test]
    fn an_edit_that_the_exchange_takes_out_goes_back_in() {
        let (_folder, journal) = bench("edit", Some("new"));
        for old in [Holds::Bytes(b"old"), Holds::Hash(&hash(b"old"))] {
            assert!(matches!(exchange(&journal, old), Err(MoveError::Edited)));
            assert!(matches!(forward(&journal, Some(old)), Err(MoveError::Edited)));
            assert!(matches!(forward(&journal, None), Err(MoveError::Edited)), "there is a file now");
            assert_eq!(target(&journal), "edit");
            assert_eq!(fs::read_to_string(&journal.temp).unwrap(), "new");
        }
    }

    #[test]
    fn a_crash_before_the_edit_went_back_in() {
        let (_folder, journal) = bench("new", Some("edit"));
        assert_eq!(examine(&journal).unwrap(), Progress::Edited);
        assert_eq!(target(&journal), "edit");
    }

    #[test]
    fn the_old_bytes_come_from_the_kept_generations_if_the_temp_file_is_gone() {
        let (folder, journal) = bench("new", None);
        let store = Generations::new(folder.path().join("state"), 2);
        let Err(MoveError::Failed(reason)) = back(&journal, &store) else { panic!("nothing to put back") };
        assert!(reason.contains("is gone"), "{reason}");
        assert_eq!(target(&journal), "new");
        let kept = Generation { hash: hash(b"old"), included: Vec::new(), serial: 1, generation: None, unix_ms: 0 };
        store.keep(&"foo.zone.".parse().unwrap(), b"old", &[], kept).unwrap();
        back(&journal, &store).unwrap();
        assert_eq!(target(&journal), "old");
    }

    #[test]
    fn nothing_is_put_back_over_an_edit() {
        let (folder, journal) = bench("edit", Some("old"));
        let store = Generations::new(folder.path().join("state"), 2);
        assert!(matches!(back(&journal, &store), Err(MoveError::Edited)));
        assert_eq!(target(&journal), "edit");
    }

    #[test]
    fn where_the_zone_s_own_file_stays_the_included_ones_tell() {
        let (folder, mut journal) = bench("same", Some("same"));
        journal.new.hash = hash(b"same");
        journal.old = Some(journal.new.clone());
        for (texts, progress) in [
            (["old", "old"], Progress::Old),
            (["new", "old"], Progress::Old),
            (["new", "new"], Progress::New),
            (["new", "edit"], Progress::Edited),
        ] {
            journal.included.clear();
            for (number, text) in texts.iter().enumerate() {
                let (_, mut included) = bench(text, None);
                included.target = folder.path().join(format!("included{number}"));
                included.temp = folder.path().join(format!("temp{number}"));
                fs::write(&included.target, text).unwrap();
                journal.included.push(included);
            }
            assert_eq!(examine(&journal).unwrap(), progress, "{texts:?}");
        }
        fs::write(&journal.target, "edit").unwrap();
        assert_eq!(examine(&journal).unwrap(), Progress::Edited);
    }

    #[test]
    fn a_crash_in_the_portable_swap() {
        // The second name is made, the new file not yet in place.
        let (_folder, journal) = bench("old", Some("new"));
        fs::hard_link(&journal.target, files::aside(&journal.temp)).unwrap();
        assert_eq!(examine(&journal).unwrap(), Progress::Old);
        assert!(!files::aside(&journal.temp).exists() && target(&journal) == "old");
        // The new file is in place, the old one still aside.
        let (_folder, journal) = bench("new", None);
        fs::write(files::aside(&journal.temp), "old").unwrap();
        assert_eq!(examine(&journal).unwrap(), Progress::New);
        assert_eq!(fs::read_to_string(&journal.temp).unwrap(), "old");
    }
}
