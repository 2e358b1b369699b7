//! OpenBSD: unveil(2) for the paths, pledge(2) for the calls.

use std::path::Path;

use super::Reach;
use crate::daemon::failure::Failure;
use crate::serve::sys::openbsd::{pledge, unveil};

/// A program starts anew: what it may is its own affair (execve(2) drops both).
pub const IS_INHERITED: bool = false;
/// Sockets and files in all ways that the paths allow, locks on the state directory, the mode and
/// owner of zone files, names, and the programs that we run and end.
const PROMISES: &str = "stdio rpath wpath cpath fattr chown flock inet unix dns proc exec";

/// Confines the process.
pub fn apply(reach: &Reach) -> Result<Result<String, String>, Failure> {
    let failed =
        |what: &str, error: std::io::Error| Failure::failed(format!("cannot confine the daemon ({what}): {error}"));
    let hide = |path: &Path, rights: &str| match unveil(path, rights) {
        // A path that is not there needs no right.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(|error| failed("unveil", error)),
    };
    let everything = [Path::new("/").to_owned()].into();
    for path in reach.read.as_ref().unwrap_or(&everything) {
        hide(path, "rx")?;
    }
    for path in &reach.programs {
        hide(path, "rx")?;
    }
    for path in reach.write.iter().chain([&reach.unlink]) {
        hide(path, "rwc")?;
    }
    hide(Path::new("/dev/null"), "rw")?;
    pledge(PROMISES).map_err(|error| failed("pledge", error))?;
    Ok(Ok("confined (unveil, pledge)".to_owned()))
}
