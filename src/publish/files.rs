//! Files under transaction: read without following surprises, write beside, swap in one step.
//! Plain blocking calls; every error is one line for people.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A zone file larger than this is refused, in bytes.
pub const FILE_MAX_BYTES: u64 = 4 << 30;

/// A regular file as it was found.
#[derive(Debug)]
pub struct Found {
    pub bytes: Vec<u8>,
    pub metadata: Metadata,
}

/// Reads a regular file; `None` if there is none. Nothing else is opened: a FIFO would block, a
/// device would never end.
pub fn read(path: &Path) -> Result<Option<Found>, String> {
    let say = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let mut file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(say(error)),
    };
    let metadata = file.metadata().map_err(say)?;
    if !metadata.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    if metadata.len() > FILE_MAX_BYTES {
        return Err(format!("{} has more than {FILE_MAX_BYTES} bytes", path.display()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1));
    Read::by_ref(&mut file).take(FILE_MAX_BYTES).read_to_end(&mut bytes).map_err(say)?;
    Ok(Some(Found { bytes, metadata }))
}

/// Whether [`write_new`] and [`swap`] could bring other bytes into a file, as far as that shows
/// without doing it: the folder, and who the file belongs to. The error says what would help.
pub fn check_replaceable(path: &Path) -> Result<(), String> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    use rustix::process::{getegid, geteuid, getgroups};
    let target = resolve(path)?;
    let folder = folder(&target);
    let user = owner_name(geteuid().as_raw());
    accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(|error| {
        let path = folder.display();
        let help = match error {
            rustix::io::Errno::ROFS => "a systemd unit names it in ReadWritePaths=".to_owned(),
            _ => format!("chown {user} {path}"),
        };
        format!("user {user} cannot write to folder {path}: {}; {help}", io::Error::from(error))
    })?;
    let Ok(metadata) = fs::metadata(&target) else { return Ok(()) };
    let own_group = getegid().as_raw();
    let groups = getgroups().unwrap_or_default();
    let is_in = |group: u32| group == own_group || groups.iter().any(|one| one.as_raw() == group);
    let inherits =
        |group: u32| fs::metadata(folder).is_ok_and(|folder| folder.mode() & 0o2000 != 0 && folder.gid() == group);
    let (owner, group) = (metadata.uid(), metadata.gid());
    let keeps_group = is_in(group) || inherits(group);
    if geteuid().is_root() || (owner == geteuid().as_raw() && keeps_group) {
        return Ok(());
    }
    let group = group_name(if keeps_group { group } else { own_group });
    let path = target.display();
    let theirs = format!("{}:{}", owner_name(owner), group_name(metadata.gid()));
    Err(format!(
        "{path} belongs to {theirs}, and user {user} cannot give a new file to them; chown {user}:{group} {path}"
    ))
}

/// A user as `chown` takes it: the name, or else the number.
pub fn owner_name(id: u32) -> String {
    let user = nix::unistd::User::from_uid(id.into()).ok().flatten();
    user.map_or_else(|| id.to_string(), |user| user.name)
}

fn group_name(id: u32) -> String {
    let group = nix::unistd::Group::from_gid(id.into()).ok().flatten();
    group.map_or_else(|| id.to_string(), |group| group.name)
}

/// Where a path ends when links are followed. A file that is not there yet keeps its name in its
/// real folder; a link that leads nowhere is an error.
pub fn resolve(path: &Path) -> Result<PathBuf, String> {
    let say = |error: io::Error| format!("cannot resolve {}: {error}", path.display());
    match fs::canonicalize(path) {
        Ok(real) => Ok(real),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(format!("{} is a symbolic link that leads nowhere", path.display()));
            }
            let name = path.file_name().ok_or_else(|| format!("{} names no file", path.display()))?;
            Ok(fs::canonicalize(folder(path)).map_err(say)?.join(name))
        }
        Err(error) => Err(say(error)),
    }
}

/// Whether a path leads through a link to the file where it was found to end: another spelling of the
/// same place does not.
pub fn is_elsewhere(path: &Path, real: &Path) -> bool {
    // With `..` the spelling does not tell.
    let is_plain = !path.components().any(|part| part == Component::ParentDir);
    is_plain && std::path::absolute(path).is_ok_and(|absolute| absolute != real)
}

/// The folder a file lies in.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Creates `temp`, which must not be there (links are not followed), with mode and owner of
/// `like`. Its mtime is later than that of `like`: nsd does not read a file again whose mtime it
/// knows. On disk only after [`sync`].
pub fn write_new(temp: &Path, bytes: &[u8], like: Option<&Metadata>) -> Result<(), String> {
    let say = |what: &str, error: io::Error| format!("cannot {what} {}: {error}", temp.display());
    let mode = like.map_or(0o644, |like| like.mode() & 0o7777);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .mode(0o600)
        .open(temp)
        .map_err(|error| say("create", error))?;
    let owned = file.metadata().map_err(|error| say("look at", error))?;
    if let Some(like) = like.filter(|like| (like.uid(), like.gid()) != (owned.uid(), owned.gid())) {
        std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid()))
            .map_err(|error| say(&format!("give to owner {}:{} of the zone file", like.uid(), like.gid()), error))?;
    }
    // After the owner: a change of owner clears the set-id bits.
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(|error| say("set the mode of", error))?;
    file.write_all(bytes).map_err(|error| say("write", error))?;
    if let Some(like) = like {
        freshen(&file, modified(like)).map_err(|error| say("set the time of", error))?;
    }
    Ok(())
}

/// Has a file's bytes, and its name in the folder, on disk.
pub fn sync(path: &Path) -> Result<(), String> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| format!("cannot sync {}: {error}", path.display()))?;
    sync_folder(folder(path))
}

/// Gives a file an mtime of now, but later than `after`.
fn freshen(file: &File, after: SystemTime) -> io::Result<()> {
    // The second try is for file systems that count whole seconds.
    for step in [Duration::from_micros(1), Duration::from_secs(1)] {
        let later = after.checked_add(step).unwrap_or(after);
        file.set_modified(SystemTime::now().max(later))?;
        if modified(&file.metadata()?) > after {
            return Ok(());
        }
    }
    Err(io::Error::other("the file system does not keep it"))
}

fn modified(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Makes `path` look newer than `than`, so that nsd reads it again.
pub fn touch_later(path: &Path, than: &Metadata) -> Result<(), String> {
    let open = OpenOptions::new().append(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path);
    let touched = open.and_then(|file| {
        freshen(&file, modified(than))?;
        file.sync_all()
    });
    touched.map_err(|error| format!("cannot set the time of {}: {error}", path.display()))
}

/// Exchanges two files in one step: afterwards `temp` holds what `target` held, to the last edit.
pub fn swap(temp: &Path, target: &Path) -> Result<(), String> {
    let say = |error: io::Error| format!("cannot move {} into place: {error}", target.display());
    match exchange(temp, target) {
        Err(error) if exchange_is_missing(&error) => swap_in_turn(temp, target).map_err(say),
        other => other.map_err(say),
    }
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Some file systems cannot exchange; some systems have no such call.
fn exchange_is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS))
}

/// The portable way: the old file gets a second name before the new one takes its place. There is
/// never a moment without a complete target.
fn swap_in_turn(temp: &Path, target: &Path) -> io::Result<()> {
    let aside = aside(temp);
    fs::hard_link(target, &aside)?;
    if let Err(error) = fs::rename(temp, target) {
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    fs::rename(&aside, temp)
}

/// The name that [`swap`] uses in between where it cannot exchange.
pub fn aside(temp: &Path) -> PathBuf {
    let mut name = temp.as_os_str().to_owned();
    name.push(ASIDE_ENDING);
    PathBuf::from(name)
}

/// Gives `temp` the name `target`, where nothing may be yet.
pub fn place(temp: &Path, target: &Path) -> Result<(), String> {
    fs::hard_link(temp, target).map_err(|error| format!("cannot create {}: {error}", target.display()))?;
    remove(temp)
}

/// Removes a file; one that is not there is fine.
pub fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Has the names in a folder on disk.
pub fn sync_folder(path: &Path) -> Result<(), String> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|error| format!("cannot sync folder {}: {error}", path.display()))
}

/// Writes a file of the state folder: all of it or nothing, on disk when this returns.
pub fn write_state(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let temp = state_temp(path, bytes)?;
    let synced = File::open(&temp).and_then(|file| file.sync_all());
    let synced = synced.map_err(|error| format!("cannot sync {}: {error}", temp.display()));
    synced.and_then(|()| take_place(&temp, path)).and_then(|()| sync_folder(folder(path)))
}

/// The same, on disk only after [`sync`].
pub fn replace_state(path: &Path, bytes: &[u8]) -> Result<(), String> {
    take_place(&state_temp(path, bytes)?, path)
}

fn state_temp(path: &Path, bytes: &[u8]) -> Result<PathBuf, String> {
    let mut temp = path.as_os_str().to_owned();
    temp.push(TEMP_ENDING);
    let temp = PathBuf::from(temp);
    // Left by a crash; only we write here.
    remove(&temp)?;
    let written = write_new(&temp, bytes, None);
    if written.is_err() {
        let _ = remove(&temp);
    }
    written.map(|()| temp)
}

fn take_place(temp: &Path, path: &Path) -> Result<(), String> {
    let renamed = fs::rename(temp, path).map_err(|error| format!("cannot replace {}: {error}", path.display()));
    if renamed.is_err() {
        let _ = remove(temp);
    }
    renamed
}

/// How the names of half-written files end.
pub const TEMP_ENDING: &str = ".tmp";
/// What comes behind that in the middle of a swap in turn.
pub const ASIDE_ENDING: &str = ".aside";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_swapping_leave_the_old_file_in_the_temp() {
        for way in [swap, |a: &Path, b: &Path| swap_in_turn(a, b).map_err(|error| error.to_string())] {
            let folder = tempfile::tempdir().unwrap();
            let (temp, target) = (folder.path().join("t"), folder.path().join("zone"));
            fs::write(&target, "old").unwrap();
            fs::write(&temp, "new").unwrap();
            way(&temp, &target).unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"new");
            assert_eq!(fs::read(&temp).unwrap(), b"old");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        }
    }

    #[test]
    fn only_a_link_leads_elsewhere() {
        let here = std::env::current_dir().unwrap();
        for path in ["z", "./z", "../z", "a/./z"] {
            let real = here.join(path.trim_start_matches("./").replace("/./", "/"));
            assert!(!is_elsewhere(Path::new(path), &real), "{path}");
        }
        assert!(is_elsewhere(Path::new("z"), &here.join("real")));
        assert!(is_elsewhere(Path::new("/a/z"), Path::new("/b/z")));
    }

    #[test]
    fn a_new_file_is_never_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, temp) = (folder.path().join("victim"), folder.path().join("t"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &temp).unwrap();
        assert!(write_new(&temp, b"new", None).is_err());
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn the_new_file_has_the_mode_of_the_old_and_a_later_time_even_if_the_clock_went_back() {
        let folder = tempfile::tempdir().unwrap();
        let (old, temp) = (folder.path().join("zone"), folder.path().join("t"));
        fs::write(&old, "old").unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).unwrap();
        let future = SystemTime::now() + Duration::from_secs(400 * 86_400);
        File::options().append(true).open(&old).unwrap().set_modified(future).unwrap();
        let old = fs::metadata(&old).unwrap();
        write_new(&temp, b"new", Some(&old)).unwrap();
        let new = fs::metadata(&temp).unwrap();
        assert_eq!(new.mode() & 0o7777, 0o640);
        assert!(new.modified().unwrap() > future);
    }

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err().contains("not a regular file"));
        assert!(read(Path::new("/dev/zero")).unwrap_err().contains("not a regular file"));
        assert!(read(&folder.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn a_link_that_leads_nowhere_is_an_error_and_a_missing_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(resolve(&link).unwrap_err().contains("leads nowhere"));
        assert!(resolve(&folder.path().join("zone")).unwrap().ends_with("zone"));
    }
}
