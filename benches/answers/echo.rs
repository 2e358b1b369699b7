//! The least that a UDP server can do: take a batch, set QR, send it back. Straight system calls, no
//! line of the project's own code.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;

const BATCH: usize = 64;
const SIZE: usize = 1_500;

/// Never returns.
pub fn run(address: &str) -> ! {
    let socket = UdpSocket::bind(address).expect("a free address");
    let fd = socket.as_raw_fd();
    let mut buffers = vec![[0u8; SIZE]; BATCH];
    // SAFETY: all-zero is a valid value of these plain structures.
    let mut names: Vec<libc::sockaddr_in> = vec![unsafe { std::mem::zeroed() }; BATCH];
    let mut vectors: Vec<libc::iovec> =
        buffers.iter_mut().map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: SIZE }).collect();
    let mut headers: Vec<libc::mmsghdr> = (0..BATCH)
        .map(|at| {
            // SAFETY: as above.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = ptr::from_mut(&mut names[at]).cast();
            header.msg_hdr.msg_iov = &raw mut vectors[at];
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();
    loop {
        for (header, vector) in headers.iter_mut().zip(&mut vectors) {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            vector.iov_len = SIZE;
        }
        // SAFETY: headers, vectors, names and buffers outlive the loop and do not move.
        let received = unsafe {
            libc::recvmmsg(fd, headers.as_mut_ptr(), BATCH as libc::c_uint, libc::MSG_WAITFORONE as _, ptr::null_mut())
        };
        let Ok(received) = usize::try_from(received) else { continue };
        for at in 0..received {
            vectors[at].iov_len = headers[at].msg_len as usize;
            // SAFETY: the vector points to a buffer of SIZE octets.
            unsafe { *vectors[at].iov_base.cast::<u8>().add(2) |= 0x80 };
        }
        // SAFETY: as above.
        unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), received as libc::c_uint, 0) };
    }
}
