//! Which generation a rollback goes back to, and the job that brings it: the zone's own file and
//! the included files that exports change.

use std::path::PathBuf;
use std::sync::Arc;

use super::generations::Generation;
use super::moves::hash_at;
use super::{IncludedFile, Job, Publisher, Renewed, Texts, files};

/// A kept generation, and the files that it would change as they are now.
pub struct Found {
    pub kept: Generation,
    texts: Texts,
    files: Vec<IncludedFile>,
}

/// The newest kept generation with other texts than the files have, or the one with this serial.
pub async fn previous(publisher: &Publisher, current: &Job, to: Option<u32>) -> Result<Found, String> {
    let (store, origin, target) = (publisher.generations.clone(), current.origin.clone(), current.target.clone());
    let find = move || {
        let mut chosen = None;
        for kept in store.list(&origin)? {
            let in_place = is_in_place(&kept, &target)?;
            match to {
                Some(serial) if kept.serial != serial => continue,
                Some(serial) if in_place => return Err(format!("{} holds serial {serial} already", target.display())),
                None if in_place => continue,
                _ => {}
            }
            chosen = Some(kept);
            break;
        }
        let kept = chosen.ok_or_else(|| match to {
            Some(serial) => format!("no generation of {origin} with serial {serial} is kept"),
            None => format!("no earlier generation of {origin} is kept"),
        })?;
        let mut texts = Texts { zone: store.load(&origin, &kept.hash)?, included: Vec::new() };
        let mut files = Vec::new();
        for file in &kept.included {
            let now = files::read(&file.path)?.ok_or_else(|| {
                format!(
                    "{}, which the generation with serial {} includes, is gone: put it back first",
                    file.path.display(),
                    kept.serial
                )
            })?;
            let old = Arc::new(now.bytes);
            files.push(IncludedFile { path: file.path.clone(), old, new: None, kept: true });
            texts.included.push((file.path.clone(), store.load(&origin, &file.hash)?));
        }
        Ok(Found { kept, texts, files })
    };
    publisher.blocking("the last good generation", find).await
}

/// Whether the files hold what a generation holds.
fn is_in_place(kept: &Generation, target: &std::path::Path) -> Result<bool, String> {
    if hash_at(target)?.as_ref() != Some(&kept.hash) {
        return Ok(false);
    }
    for file in &kept.included {
        if hash_at(&file.path)?.as_ref() != Some(&file.hash) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The job that publishes a generation, made new by `renew`.
pub fn job(current: &Job, found: Found, renew: impl FnOnce(Texts) -> Result<Renewed, String>) -> Result<Job, String> {
    let Found { texts, mut files, .. } = found;
    let Renewed { texts, serial } = renew(texts)?;
    let known = |files: &[IncludedFile], path: &PathBuf| files.iter().any(|file| file.path == *path);
    // What is included now and was not then may be included by the old text too.
    let others = current.included.iter().filter(|file| !known(&files, &file.path)).cloned().collect::<Vec<_>>();
    files.extend(others);
    for (path, text) in texts.included {
        let file = files.iter_mut().find(|file| file.path == path);
        let file = file.ok_or_else(|| format!("{} is included by none of the zone's files", path.display()))?;
        file.new = (*file.old != text).then(|| Arc::new(text));
    }
    Ok(Job { bytes: texts.zone.into(), serial, included: files.into(), ..current.clone() })
}
