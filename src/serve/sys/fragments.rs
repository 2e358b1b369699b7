//! Replies travel in one piece (RFC 9715 section 3.1): fragments can be forged, and get lost. Nobody on the way may
//! cut them, and forged news of a narrow path (RFC 1191) cannot make the system do it here.
//!
//! For sockets that send no more than every path carries: a longer datagram than the interface takes is an error.

use std::io;
use std::net::UdpSocket;

use super::set;

/// Forbids fragments to what this socket sends. On systems without an option for it: nothing, and no error.
pub fn forbid(socket: &UdpSocket) -> io::Result<()> {
    match socket.local_addr()?.is_ipv6() {
        // Don't Fragment, whatever path MTU the system believes in: ip(7), ipv6(7).
        #[cfg(any(target_os = "linux", target_os = "android"))]
        true => set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        false => set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        true => set(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1),
        #[cfg(target_os = "freebsd")]
        false => set(socket, libc::IPPROTO_IP, libc::IP_DONTFRAG, 1),
        // OpenBSD and NetBSD know none for IPv4.
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn datagrams_are_not_cut() {
        use std::os::fd::AsRawFd;

        for (address, level, option) in [
            ("127.0.0.1:0", libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
            ("[::1]:0", libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
        ] {
            let socket = UdpSocket::bind(address).unwrap();
            forbid(&socket).unwrap();
            let (mut value, mut len): (libc::c_int, _) = (-1, size_of::<libc::c_int>() as libc::socklen_t);
            // SAFETY: the descriptor is open; value and length belong together.
            let result =
                unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut len) };
            assert_eq!((result, value), (0, libc::IP_PMTUDISC_PROBE), "{address}");
        }
    }
}
