//! System calls that no safe wrapper offers for Linux and OpenBSD alike: batches of datagrams, the
//! address a datagram was sent to, waiting for several sockets, randomness. The only `unsafe` code
//! of the project; each block says why it is sound.
//!
//! Everything here has a plain form that is compiled on every system and tested on this one; what
//! only Linux has stands behind `cfg(target_os = "linux")`.
#![allow(unsafe_code)]

pub mod batch;
pub mod fragments;
#[cfg(target_os = "openbsd")]
pub mod openbsd;
pub mod pages;
pub mod random;
pub mod segments;
pub mod source;

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Sockets that [`wait`] can look at together.
pub const WAIT_MAX: usize = 16;

/// Which system calls move datagrams.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Calls {
    /// recvmmsg and sendmmsg where the system has them.
    #[default]
    Native,
    /// recvmsg and sendmsg, which are everywhere.
    Plain,
}

/// Which of the sockets that were waited for have something to say, by their place in the list.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ready(u16);

impl Ready {
    /// `at` must be below [`WAIT_MAX`].
    pub fn has(self, at: usize) -> bool {
        self.0 >> at & 1 != 0
    }
}

/// Sets a socket option that is a number.
fn set(socket: &UdpSocket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `socket` is borrowed; value and length belong together.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits until one of the sockets (at most [`WAIT_MAX`]) has something to say, or so many
/// milliseconds have passed.
pub fn wait<'a>(sockets: impl IntoIterator<Item = &'a UdpSocket>, timeout_ms: u16) -> io::Result<Ready> {
    let mut polled = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; WAIT_MAX];
    let mut count = 0;
    for (entry, socket) in polled.iter_mut().zip(sockets) {
        entry.fd = socket.as_raw_fd();
        count += 1;
    }
    // SAFETY: the array is ours, and as many entries as are counted lie in it.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), count as libc::nfds_t, i32::from(timeout_ms)) };
    match result {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(Ready::default()),
            error => Err(error),
        },
        // An error of a socket counts: receiving from it says which.
        _ => Ok(Ready((0..WAIT_MAX).filter(|at| polled[*at].revents != 0).fold(0, |bits, at| bits | 1 << at))),
    }
}
