//! Zone files on disk: reading one within bounds, what it includes, and finding those of a folder.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dns::name::Name;
use crate::zone::document::DOCUMENT_MAX;
use crate::zone::origin::{OriginFrom, origin_of};
use crate::zone::source::{Included, Source};

/// Longest name of a file, in octets (PATH_MAX of Linux): what is longer is shown to nobody.
const PATH_MAX: usize = 4_096;
/// Most zone files that one pattern may find.
const FOUND_MAX: usize = 100_000;

/// Reads a regular file of at most `limit` octets. The error is a sentence without the path.
///
/// Nothing else is opened for long: a FIFO would block and a device would never end. A file that
/// changes its size while it is read is refused, since half of an edit is no zone.
pub fn read_file(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let expected = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if expected > limit {
        return Err(io::Error::other(format!("it is larger than {} MiB", DOCUMENT_MAX >> 20)));
    }
    let mut bytes = Vec::with_capacity(expected + 1);
    Read::by_ref(&mut file).take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() != expected {
        return Err(io::Error::other("it changed while it was read; try again"));
    }
    Ok(bytes)
}

/// A remark on a path whose links lead out of the folder that it names.
pub fn link_remark(path: &Path) -> Option<String> {
    let folder = fs::canonicalize(path.parent().filter(|parent| !parent.as_os_str().is_empty())?).ok()?;
    let real = fs::canonicalize(path).ok()?;
    (!real.starts_with(folder)).then(|| format!("`{}` is a link to {}", path.display(), real.display()))
}

/// What `$INCLUDE` names, from the disk. Relative names count from one folder, as in nsd, whose
/// working directory is its `zonesdir`.
#[derive(Debug)]
pub struct FileSource {
    base: PathBuf,
    /// The zone's own file: links resolved, and its name for messages.
    own: Option<(PathBuf, String)>,
}

impl FileSource {
    /// `file` is the zone's own file, as messages name it.
    pub fn new(base: &Path, file: &Path) -> FileSource {
        let own = fs::canonicalize(file).ok().map(|real| (real, file.display().to_string()));
        FileSource { base: base.to_owned(), own }
    }
}

impl Source for FileSource {
    fn read(&mut self, name: &str, limit: usize) -> Result<Included, String> {
        if name.len() > PATH_MAX {
            return Err(format!("no file has a name of more than {PATH_MAX} octets"));
        }
        let path = self.base.join(name);
        // The reason first: a path may be so long that a message shows only its start.
        let failed = |error: io::Error| format!("{error} ({})", path.display());
        let bytes = read_file(&path, limit).map_err(failed)?;
        let real = fs::canonicalize(&path).map_err(failed)?;
        let file = match &self.own {
            Some((own, name)) if *own == real => name.clone(),
            _ => real.display().to_string(),
        };
        Ok(Included { file, bytes: Arc::new(bytes), remark: link_remark(&path) })
    }
}

/// A zone file that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    pub origin: Name,
    pub from: OriginFrom,
    pub file: PathBuf,
}

/// The zone files that a pattern matches, in order of their names, or why one of them is none.
/// Hidden files are left out.
pub fn find(pattern: &Path) -> Result<Vec<Result<Found, Unfit>>, String> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let text = pattern.to_str().ok_or("the pattern is not UTF-8 text")?;
    let paths = glob::glob_with(text, options).map_err(|error| format!("bad pattern: {error}"))?;
    let mut found = Vec::new();
    for path in paths {
        let path = path.map_err(|error| error.to_string())?;
        if path.is_dir() {
            continue;
        }
        if found.len() == FOUND_MAX {
            return Err(format!("it matches more than {FOUND_MAX} files"));
        }
        found.push(look_at(path));
    }
    Ok(found)
}

/// Why a file that was found is no zone file, and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unfit {
    pub reason: String,
    pub hint: &'static str,
}

fn look_at(path: PathBuf) -> Result<Found, Unfit> {
    let unfit = |reason: String, hint| Unfit { reason: format!("{}: {reason}", path.display()), hint };
    let bytes = read_file(&path, DOCUMENT_MAX)
        .map_err(|error| unfit(error.to_string(), "mend it or its permissions, or write a pattern without it"))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match origin_of(name, &bytes) {
        Some((origin, from)) => Ok(Found { origin, from, file: path }),
        None => Err(unfit("no $ORIGIN, SOA or file name tells its origin".to_owned(), "start the file with $ORIGIN")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, "12345").unwrap();
        assert_eq!(read_file(&file, 5).unwrap(), b"12345");
        assert!(read_file(&file, 4).unwrap_err().to_string().contains("larger"));
        for path in [folder.path(), Path::new("/dev/zero"), Path::new("/dev/null")] {
            assert!(read_file(path, 9).unwrap_err().to_string().contains("not a regular file"), "{}", path.display());
        }
    }

    #[test]
    fn a_link_is_followed_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let (zones, other) = (folder.path().join("zones"), folder.path().join("other"));
        fs::create_dir(&zones).unwrap();
        fs::write(&other, "a").unwrap();
        symlink("../other", zones.join("out")).unwrap();
        symlink("in", zones.join("near")).unwrap();
        fs::write(zones.join("in"), "b").unwrap();
        let mut source = FileSource::new(&zones, &zones.join("zone"));
        let out = source.read("out", 9).unwrap();
        assert_eq!(*out.bytes, b"a");
        assert!(out.remark.unwrap().contains("is a link to"));
        assert_eq!(source.read("near", 9).unwrap().remark, None);
        assert_eq!(source.read("near", 9).unwrap().file, source.read("in", 9).unwrap().file);
        assert_eq!(source.read("../other", 9).unwrap().remark, None, "said in the name");
        assert!(source.read("none", 9).unwrap_err().contains("zones/none"));
        assert!(source.read(&"x/".repeat(1 << 20), 9).unwrap_err().len() < 100);
    }

    #[test]
    fn the_zones_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("foo.zone.zone", "@ SOA a b 1 2 3 4 5\n"),
            (".hidden.zone", "x"),
            ("b.zone", "$ORIGIN c.\n@ SOA a b 1 2 3 4 5\n"),
            ("a..b.zone", ""),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        fs::create_dir(folder.path().join("d.zone")).unwrap();
        let found = find(&folder.path().join("*.zone")).unwrap();
        let told: Vec<String> = found
            .into_iter()
            .map(|found| match found {
                Ok(found) => format!("{} {}", found.origin, found.from),
                Err(unfit) => unfit.reason.rsplit('/').next().unwrap_or_default().to_owned(),
            })
            .collect();
        assert_eq!(
            told,
            [
                "a..b.zone: no $ORIGIN, SOA or file name tells its origin",
                "c. from its $ORIGIN",
                "foo.zone. from its name"
            ]
        );
        assert!(find(Path::new("[")).is_err());
    }
}
