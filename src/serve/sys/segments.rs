//! Datagrams of one length to one peer, handed to the system as one (UDP_SEGMENT, udp(7)): they go
//! through its layers together and are taken apart in front of the receiver.

#[cfg(target_os = "linux")]
pub use linux::Segments;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::ptr;

    use super::super::Calls;
    use super::super::batch::{BATCH_LEN, Batch, Sent};

    /// Octets of all datagrams of a group: what an IPv4 packet can carry.
    const GROUP_OCTETS_MAX: usize = 65_000;
    /// A control message with a u16 in it: CMSG_SPACE(2) on every system with 64 bits.
    const CONTROL_LEN: usize = 24;

    /// What [`Batch::send_together`] works with.
    pub struct Segments {
        /// The system knows how; taken back when it says no.
        works: bool,
        /// The datagrams of the batch by length, the longest first.
        order: Vec<usize>,
        /// Datagrams of each group, in that order.
        groups: Vec<usize>,
        controls: Box<[Control]>,
    }

    #[derive(Clone, Copy)]
    #[repr(C, align(8))]
    struct Control([u8; CONTROL_LEN]);

    impl Default for Segments {
        fn default() -> Segments {
            Segments {
                // SAFETY: arithmetic on a number.
                works: unsafe { libc::CMSG_SPACE(2) as usize } == CONTROL_LEN,
                order: Vec::with_capacity(BATCH_LEN),
                groups: Vec::with_capacity(BATCH_LEN),
                controls: vec![Control([0; CONTROL_LEN]); BATCH_LEN].into(),
            }
        }
    }

    impl Control {
        /// Says that the segments have so many octets each.
        fn set(&mut self, segment_len: u16) {
            // SAFETY: arithmetic on numbers.
            let (len, data_at) = unsafe { (libc::CMSG_LEN(2), libc::CMSG_LEN(0) as usize) };
            // SAFETY: all-zero is a valid cmsghdr.
            let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
            header.cmsg_len = len as _;
            header.cmsg_level = libc::SOL_UDP;
            header.cmsg_type = libc::UDP_SEGMENT;
            // SAFETY: the array is aligned for and longer than a cmsghdr.
            unsafe { self.0.as_mut_ptr().cast::<libc::cmsghdr>().write(header) };
            self.0[data_at..data_at + 2].copy_from_slice(&segment_len.to_ne_bytes());
        }
    }

    impl Batch {
        /// As [`Batch::send`] on a connected socket; the order of the datagrams may change.
        pub fn send_together(&mut self, socket: &UdpSocket, calls: Calls, segments: &mut Segments) -> Sent {
            if !segments.works || calls == Calls::Plain || self.len < 2 {
                return self.send(socket, calls);
            }
            self.group(segments);
            let mut result = Sent::default();
            let (mut group, mut retried) = (0, false);
            while group < segments.groups.len() {
                let rest = &mut self.headers[group..segments.groups.len()];
                // SAFETY: the headers point into `octets`, `vectors` and `controls`, which live and are
                // not touched otherwise until the call returns.
                let sent =
                    unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0) };
                if let Ok(sent) = usize::try_from(sent) {
                    result.sent += segments.groups[group..group + sent].iter().sum::<usize>();
                    (group, retried) = (group + sent, false);
                    continue;
                }
                let error = io::Error::last_os_error().raw_os_error();
                if matches!(error, Some(libc::EINVAL | libc::EIO | libc::EOPNOTSUPP | libc::EMSGSIZE)) {
                    // Too old, or the way there cannot do it: from now on each by itself.
                    segments.works = false;
                    let done = segments.groups[..group].iter().sum::<usize>();
                    segments.order[done..].iter().for_each(|at| self.send_one(*at, socket, &mut result));
                    break;
                }
                if !self.excuse(&mut result, &mut retried) {
                    result.failed += segments.groups[group] - 1;
                    group += 1;
                }
            }
            self.len = 0;
            result
        }

        /// Fills headers and vectors: a group is of one length, but for its last, which may be shorter.
        fn group(&mut self, segments: &mut Segments) {
            let Segments { order, groups, controls, .. } = segments;
            let entries = &self.entries;
            order.clear();
            order.extend(0..self.len);
            order.sort_unstable_by_key(|at| std::cmp::Reverse(entries[*at].len));
            groups.clear();
            let base = self.octets.as_mut_ptr();
            for (at, vector) in order.iter().zip(&mut self.vectors) {
                // SAFETY: each entry has its `size` octets of `octets`.
                let start = unsafe { base.add(at * self.size) };
                *vector = libc::iovec { iov_base: start.cast(), iov_len: entries[*at].len };
            }
            let mut rest = &mut self.vectors[..self.len];
            let mut headers = self.headers.iter_mut().zip(controls);
            while let Some(longest) = rest.first().map(|vector| vector.iov_len) {
                let (header, control) = headers.next().expect("there are no more groups than datagrams");
                let same = rest.iter().take_while(|vector| vector.iov_len == longest).count();
                let fit = (GROUP_OCTETS_MAX / longest.max(1)).saturating_sub(1).max(1);
                let len = if same > fit { fit } else { (same + 1).min(rest.len()).min(fit) };
                let (group, behind) = rest.split_at_mut(len);
                rest = behind;
                groups.push(len);
                // A datagram fits a batch's buffer, which is far below 65,536.
                control.set(longest as u16);
                let header = &mut header.msg_hdr;
                header.msg_name = ptr::null_mut();
                header.msg_namelen = 0;
                header.msg_iov = group.as_mut_ptr();
                header.msg_iovlen = group.len() as _;
                (header.msg_control, header.msg_controllen) = match group.len() {
                    1 => (ptr::null_mut(), 0),
                    _ => (control.0.as_mut_ptr().cast(), CONTROL_LEN as _),
                };
                header.msg_flags = 0;
            }
        }

        fn send_one(&self, at: usize, socket: &UdpSocket, result: &mut Sent) {
            match socket.send(self.get(at).0) {
                Ok(_) => result.sent += 1,
                Err(error) => {
                    result.refused |= error.kind() == io::ErrorKind::ConnectionRefused;
                    result.failed += 1;
                }
            }
        }
    }
}

/// Where the system knows no such thing.
#[cfg(not(target_os = "linux"))]
#[derive(Default)]
pub struct Segments;

#[cfg(not(target_os = "linux"))]
impl super::batch::Batch {
    /// As [`super::batch::Batch::send`].
    pub fn send_together(
        &mut self,
        socket: &std::net::UdpSocket,
        calls: super::Calls,
        _: &mut Segments,
    ) -> super::batch::Sent {
        self.send(socket, calls)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::super::Calls;
    use super::super::batch::{BATCH_LEN, Batch, Envelope};
    use super::*;

    /// Datagrams of these lengths all arrive as they were.
    fn arrive(lengths: &[usize], segments: &mut Segments) {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let mut batch = Batch::new(4_096);
        let mut expected = Vec::new();
        for (number, len) in (0u8..).zip(lengths) {
            batch.spare()[..*len].fill(number);
            batch.push(*len, &Envelope::NONE);
            expected.push(vec![number; *len]);
        }
        let sent = batch.send_together(&sender, Calls::Native, segments);
        assert_eq!((sent.sent, sent.failed, batch.len()), (lengths.len(), 0, 0), "{sent:?}");
        let mut received: Vec<Vec<u8>> = Vec::new();
        for _ in lengths {
            let mut octets = [0; 4_096];
            let len = receiver.recv(&mut octets).unwrap();
            received.push(octets[..len].to_vec());
        }
        expected.sort();
        received.sort();
        assert_eq!(received, expected);
    }

    #[test]
    fn datagrams_of_all_lengths_arrive_one_by_one() {
        let segments = &mut Segments::default();
        arrive(&[40; BATCH_LEN], segments);
        arrive(&[40], segments);
        arrive(&[40, 41], segments);
        arrive(&[50, 40, 50, 40, 30, 50, 12], segments);
        arrive(&[1_400; 40], segments);
        // Longer than what a path carries in one piece, and still whole.
        arrive(&[4_000, 4_000, 4_000, 100], segments);
    }
}
