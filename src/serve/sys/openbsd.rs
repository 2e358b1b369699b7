//! pledge(2) and unveil(2).

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// Promises to make no other calls than these, from now on. Programs that are run promise nothing.
pub fn pledge(promises: &str) -> io::Result<()> {
    let promises = CString::new(promises)?;
    // SAFETY: the string ends in NUL and outlives the call; NULL leaves the promises of programs alone.
    match unsafe { libc::pledge(promises.as_ptr(), ptr::null()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets `path`, and all below it, be seen with these rights ("rwxc"); the first call hides all else.
pub fn unveil(path: &Path, rights: &str) -> io::Result<()> {
    let (path, rights) = (CString::new(path.as_os_str().as_bytes())?, CString::new(rights)?);
    // SAFETY: both strings end in NUL and outlive the call.
    match unsafe { libc::unveil(path.as_ptr(), rights.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
