//! The address that a datagram was sent to, so that the reply leaves from it: on a socket bound to
//! the wildcard the system would choose one by itself, and the client would not know it.
//!
//! Linux reports it as IP_PKTINFO, the BSDs as IP_RECVDSTADDR, and both as IPV6_PKTINFO (RFC 3542);
//! each takes the same form back for sending.

use std::io;
use std::net::UdpSocket;

use super::set;

/// Room for one control message with an in6_pktinfo, the largest of them.
const CONTROL_MAX: usize = 64;

/// A control message that names the local address, ready to be sent back; empty on sockets that are
/// bound to an address.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Source {
    control: [u8; CONTROL_MAX],
    len: u32,
}

/// Has the system report the address of each datagram. For sockets bound to the wildcard.
pub fn enable(socket: &UdpSocket) -> io::Result<()> {
    if socket.local_addr()?.is_ipv6() {
        return set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1);
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
    #[cfg(any(target_os = "openbsd", target_os = "freebsd", target_os = "netbsd", target_os = "dragonfly"))]
    return set(socket, libc::IPPROTO_IP, libc::IP_RECVDSTADDR, 1);
    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "openbsd",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "dragonfly"
    )))]
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system needs listen addresses without wildcards"))
}

impl Source {
    pub const NONE: Source = Source { control: [0; CONTROL_MAX], len: 0 };

    /// Where recvmsg(2) may write the control message, and how much.
    pub(super) fn room(&mut self) -> (*mut libc::c_void, usize) {
        (self.control.as_mut_ptr().cast(), CONTROL_MAX)
    }

    /// What sendmsg(2) is given.
    pub(super) fn control(&mut self) -> (*mut libc::c_void, usize) {
        match self.len {
            0 => (std::ptr::null_mut(), 0),
            len => (self.control.as_mut_ptr().cast(), len as usize),
        }
    }

    /// Turns what recvmsg(2) has written, so many octets, into what sendmsg(2) takes.
    pub(super) fn settle(&mut self, received: usize) {
        self.len = 0;
        let data_at = data_at();
        if received < data_at || received > CONTROL_MAX {
            return;
        }
        // SAFETY: `control` is aligned for and longer than a cmsghdr, which has no invalid values.
        let header = unsafe { self.control.as_ptr().cast::<libc::cmsghdr>().read() };
        let data = &mut self.control[data_at..];
        let data_len = match (header.cmsg_level, header.cmsg_type) {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // struct in_pktinfo { ifindex, spec_dst, addr }. Without the interface the routing
                // table chooses the way out, as for any other packet.
                data[..4].fill(0);
                size_of::<libc::in_pktinfo>()
            }
            #[cfg(any(target_os = "openbsd", target_os = "freebsd", target_os = "netbsd", target_os = "dragonfly"))]
            // IP_SENDSRCADDR has the same number.
            (libc::IPPROTO_IP, libc::IP_RECVDSTADDR) => 4,
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // struct in6_pktinfo { addr, ifindex }. A link-local address means nothing without it.
                let link_local = data[0] == 0xfe && data[1] & 0xc0 == 0x80;
                if !link_local {
                    data[16..20].fill(0);
                }
                size_of::<libc::in6_pktinfo>()
            }
            _ => return,
        };
        self.len = space(data_len) as u32;
    }
}

/// Where the data of a control message begins.
fn data_at() -> usize {
    // SAFETY: arithmetic on a number.
    unsafe { libc::CMSG_LEN(0) as usize }
}

/// The room that a control message with so much data takes.
fn space(data_len: usize) -> usize {
    // SAFETY: arithmetic on a number.
    unsafe { libc::CMSG_SPACE(data_len as libc::c_uint) as usize }
}
