//! Datagrams, many at a time: received with one system call, sent with one.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr;

use super::Calls;
use super::source::Source;

/// Datagrams of one batch: what amortises the system call without letting the first one wait.
pub const BATCH_LEN: usize = 64;
/// Fewest buffers that are offered for receiving.
const OFFER_MIN: usize = 8;
/// A sockaddr_in6, the larger of the two, in octets.
const PEER_MAX: usize = 28;

/// Up to [`BATCH_LEN`] datagrams with their addresses. One for each direction; not shared.
pub struct Batch {
    /// `BATCH_LEN` buffers of `size` octets.
    pub(super) octets: Box<[u8]>,
    pub(super) size: usize,
    pub(super) entries: Box<[Entry]>,
    /// Entries in use.
    pub(super) len: usize,
    /// Filled anew for each system call, so that no pointer outlives its borrow.
    pub(super) vectors: Box<[libc::iovec]>,
    pub(super) headers: Box<[Header]>,
}

// SAFETY: the pointers in `vectors` and `headers` are made and used within one call, by whoever has
// the batch to itself at that time; between calls they mean nothing.
unsafe impl Send for Batch {}

#[cfg(target_os = "linux")]
pub(super) type Header = libc::mmsghdr;
#[cfg(not(target_os = "linux"))]
pub(super) type Header = libc::msghdr;

#[derive(Clone, Copy)]
enum Direction {
    Receive,
    Send,
}

#[derive(Clone, Copy)]
pub(super) struct Entry {
    envelope: Envelope,
    pub(super) len: usize,
    truncated: bool,
}

/// Who sent a datagram and to which of our addresses; a reply takes it back as it is.
#[derive(Clone, Copy)]
pub struct Envelope {
    peer: Peer,
    source: Source,
    /// Whom the sender has asked for, if it is a load balancer that says so.
    client: Option<SocketAddr>,
}

/// A socket address in the system's own form.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Peer {
    octets: [u8; PEER_MAX],
    len: u32,
}

/// How a batch was sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sent {
    pub sent: usize,
    /// Not sent: no buffers, no route, or the system said no.
    pub failed: usize,
    /// A connected socket was told that nobody listens at the other end.
    pub refused: bool,
}

impl Envelope {
    /// For connected sockets, and as a start.
    pub const NONE: Envelope =
        Envelope { peer: Peer { octets: [0; PEER_MAX], len: 0 }, source: Source::NONE, client: None };

    /// The same, on behalf of a client of the sender.
    pub fn on_behalf_of(self, client: Option<SocketAddr>) -> Envelope {
        Envelope { client, ..self }
    }

    /// Who asks; unspecified if nobody is known.
    pub fn client(&self) -> SocketAddr {
        self.client.unwrap_or_else(|| self.sender())
    }

    /// Who has sent the datagram.
    pub fn sender(&self) -> SocketAddr {
        let octets = &self.peer.octets;
        let port = u16::from_be_bytes([octets[2], octets[3]]);
        // sockaddr_in is 16 octets with the address at 4, sockaddr_in6 is 28 with it at 8, everywhere.
        let address = match self.peer.len {
            16 => IpAddr::from([octets[4], octets[5], octets[6], octets[7]]),
            28 => {
                let address: [u8; 16] = octets[8..24].try_into().expect("16 octets");
                IpAddr::from(address)
            }
            _ => IpAddr::from([0; 4]),
        };
        SocketAddr::new(address, port)
    }
}

impl Batch {
    /// Buffers of `size` octets each; longer datagrams are cut and marked.
    pub fn new(size: usize) -> Batch {
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        // SAFETY: all-zero is a valid header: null pointers with length 0.
        let header = || unsafe { std::mem::zeroed::<Header>() };
        Batch {
            octets: vec![0; BATCH_LEN * size].into(),
            size,
            entries: vec![Entry { envelope: Envelope::NONE, len: 0, truncated: false }; BATCH_LEN].into(),
            len: 0,
            vectors: vec![vector; BATCH_LEN].into(),
            headers: (0..BATCH_LEN).map(|_| header()).collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn is_full(&self) -> bool {
        self.len == BATCH_LEN
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// A datagram and its envelope.
    pub fn get(&self, at: usize) -> (&[u8], &Envelope) {
        let entry = &self.entries[..self.len][at];
        (&self.octets[at * self.size..][..entry.len], &entry.envelope)
    }

    /// Whether a received datagram was longer than its buffer.
    pub fn is_truncated(&self, at: usize) -> bool {
        self.entries[at].truncated
    }

    /// The buffer that [`Batch::push`] takes next. The batch must not be full.
    pub fn spare(&mut self) -> &mut [u8] {
        &mut self.octets[self.len * self.size..][..self.size]
    }

    /// Adds the first `len` octets of [`Batch::spare`].
    pub fn push(&mut self, len: usize, envelope: &Envelope) {
        assert!(len <= self.size, "more than spare() has room for");
        self.entries[self.len] = Entry { envelope: *envelope, len, truncated: false };
        self.len += 1;
    }

    /// Replaces what the batch holds by what the socket has. With `wait`, until there is something or
    /// the socket's timeout has passed; an empty batch is no error.
    pub fn receive(&mut self, socket: &UdpSocket, wait: bool, calls: Calls) -> io::Result<()> {
        // As many buffers as are likely to be filled: preparing one costs something.
        let offer = (2 * self.len).clamp(OFFER_MIN, BATCH_LEN);
        self.len = 0;
        let received = match calls {
            #[cfg(target_os = "linux")]
            Calls::Native => self.receive_many(socket, wait, offer),
            _ => self.receive_each(socket, wait, offer),
        };
        match received {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
            received => received,
        }
    }

    /// Sends all and leaves the batch empty. What cannot be sent is left out: it is a datagram.
    pub fn send(&mut self, socket: &UdpSocket, calls: Calls) -> Sent {
        let sent = match calls {
            #[cfg(target_os = "linux")]
            Calls::Native => self.send_many(socket),
            _ => self.send_each(socket),
        };
        self.len = 0;
        sent
    }

    #[cfg(target_os = "linux")]
    fn receive_many(&mut self, socket: &UdpSocket, wait: bool, offer: usize) -> io::Result<()> {
        self.prepare(0..offer, Direction::Receive);
        let flags = if wait { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        // SAFETY: the first `offer` headers point into `octets` and `entries`, which live and are not
        // touched otherwise until the call returns; no timeout is given.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                offer as libc::c_uint,
                flags as _,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for at in 0..received.min(offer) {
            let len = self.headers[at].msg_len as usize;
            self.take_received(at, len);
        }
        self.len = received.min(offer);
        Ok(())
    }

    /// One datagram a call; the first may wait.
    fn receive_each(&mut self, socket: &UdpSocket, wait: bool, offer: usize) -> io::Result<()> {
        while self.len < offer {
            let at = self.len;
            self.prepare(at..at + 1, Direction::Receive);
            let flags = if wait && at == 0 { 0 } else { libc::MSG_DONTWAIT };
            // SAFETY: the header points into `octets` and `entries`, which live and are not touched
            // otherwise until the call returns.
            let received = unsafe { libc::recvmsg(socket.as_raw_fd(), message(&mut self.headers[at]), flags) };
            match usize::try_from(received) {
                Ok(len) => self.take_received(at, len),
                Err(_) if at > 0 => break,
                Err(_) => return Err(io::Error::last_os_error()),
            }
            self.len += 1;
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn send_many(&mut self, socket: &UdpSocket) -> Sent {
        self.prepare(0..self.len, Direction::Send);
        let mut result = Sent::default();
        let mut at = 0;
        let mut retried = false;
        while at < self.len {
            let rest = &mut self.headers[at..self.len];
            // SAFETY: the headers point into `octets` and `entries`, which live and are not touched
            // otherwise until the call returns.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0) };
            match usize::try_from(sent) {
                Ok(sent) => {
                    result.sent += sent;
                    at += sent;
                    retried = false;
                }
                // The call ends at the first failure: step over it.
                Err(_) => at += usize::from(!self.excuse(&mut result, &mut retried)),
            }
        }
        result
    }

    fn send_each(&mut self, socket: &UdpSocket) -> Sent {
        let mut result = Sent::default();
        let mut at = 0;
        let mut retried = false;
        while at < self.len {
            self.prepare(at..at + 1, Direction::Send);
            // SAFETY: the header points into `octets` and `entries`, which live and are not touched
            // otherwise until the call returns.
            let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), message(&mut self.headers[at]), 0) };
            if sent >= 0 {
                result.sent += 1;
                at += 1;
                retried = false;
            } else {
                at += usize::from(!self.excuse(&mut result, &mut retried));
            }
        }
        result
    }

    /// Looks at why a datagram was not sent. True: it is worth another try.
    pub(super) fn excuse(&self, result: &mut Sent, retried: &mut bool) -> bool {
        let error = io::Error::last_os_error().kind();
        let refused = error == io::ErrorKind::ConnectionRefused;
        result.refused |= refused;
        // On a connected socket that speaks of an earlier datagram; this one was not even tried.
        if error == io::ErrorKind::Interrupted || (refused && !*retried) {
            *retried = refused;
            return true;
        }
        result.failed += 1;
        *retried = false;
        false
    }

    /// Points the headers at their buffers and envelopes. One pass over each list, so that no pointer
    /// made here is invalidated by the next borrow of the same list.
    fn prepare(&mut self, range: Range<usize>, direction: Direction) {
        let buffers = self.octets.chunks_exact_mut(self.size);
        let parts = self.entries.iter_mut().zip(&mut self.vectors).zip(&mut self.headers).zip(buffers);
        for (((entry, vector), header), buffer) in parts.skip(range.start).take(range.len()) {
            let Envelope { peer, source, .. } = &mut entry.envelope;
            let (buffer_len, name_len, (control, control_len)) = match direction {
                Direction::Receive => (buffer.len(), PEER_MAX as libc::socklen_t, source.room()),
                Direction::Send => (entry.len, peer.len, source.control()),
            };
            *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer_len };
            let header = message(header);
            header.msg_name = if name_len == 0 { ptr::null_mut() } else { peer.octets.as_mut_ptr().cast() };
            header.msg_namelen = name_len;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = control;
            header.msg_controllen = control_len as _;
            header.msg_flags = 0;
        }
    }

    fn take_received(&mut self, at: usize, len: usize) {
        let header = message(&mut self.headers[at]);
        #[allow(clippy::unnecessary_cast, reason = "it is not usize on every system")]
        let (name_len, control_len) = (header.msg_namelen, header.msg_controllen as usize);
        let truncated = header.msg_flags & libc::MSG_TRUNC != 0;
        let entry = &mut self.entries[at];
        entry.len = len.min(self.size);
        entry.truncated = truncated;
        entry.envelope.client = None;
        entry.envelope.peer.len = name_len.min(PEER_MAX as libc::socklen_t);
        entry.envelope.source.settle(control_len);
    }
}

#[cfg(target_os = "linux")]
fn message(header: &mut Header) -> &mut libc::msghdr {
    &mut header.msg_hdr
}

#[cfg(not(target_os = "linux"))]
fn message(header: &mut Header) -> &mut libc::msghdr {
    header
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::source;
    use super::*;

    fn each_way(test: impl Fn(Calls)) {
        test(Calls::Native);
        test(Calls::Plain);
    }

    fn client(server: SocketAddr) -> UdpSocket {
        let any: IpAddr = if server.is_ipv6() { "::1".parse().unwrap() } else { "127.0.0.1".parse().unwrap() };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    #[test]
    fn many_come_and_go() {
        each_way(|calls| {
            let server = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = server.local_addr().unwrap();
            let client = client(address);
            for number in 0..150u8 {
                client.send_to(&[number; 20], address).unwrap();
            }
            let (mut inbox, mut outbox) = (Batch::new(512), Batch::new(512));
            let mut seen = 0;
            while seen < 150 {
                inbox.receive(&server, true, calls).unwrap();
                for at in 0..inbox.len() {
                    let (datagram, envelope) = inbox.get(at);
                    assert_eq!(datagram, [seen; 20]);
                    assert_eq!(envelope.client(), client.local_addr().unwrap());
                    outbox.spare()[..2].copy_from_slice(&[seen, 7]);
                    outbox.push(2, envelope);
                    seen += 1;
                }
                let count = outbox.len();
                assert_eq!(outbox.send(&server, calls), Sent { sent: count, failed: 0, refused: false });
            }
            for number in 0..150u8 {
                let mut reply = [0; 10];
                assert_eq!(client.recv_from(&mut reply).unwrap(), (2, address));
                assert_eq!(reply[..2], [number, 7]);
            }
            inbox.receive(&server, false, calls).unwrap();
            assert!(inbox.is_empty(), "nothing is left, and nobody waits for it");
        });
    }

    #[test]
    fn a_long_datagram_is_cut_and_marked() {
        each_way(|calls| {
            let server = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = server.local_addr().unwrap();
            client(address).send_to(&[1; 600], address).unwrap();
            let mut inbox = Batch::new(512);
            inbox.receive(&server, true, calls).unwrap();
            assert!(inbox.is_truncated(0));
            assert_eq!(inbox.get(0).0.len(), 512);
        });
    }

    #[test]
    fn replies_leave_from_the_address_that_was_asked() {
        // IPv6 takes a host with two addresses: tests/it/answers/musts.rs, must_48, makes one.
        for asked in ["127.0.0.1", "127.0.0.23"] {
            each_way(|calls| {
                let server = UdpSocket::bind("0.0.0.0:0").unwrap();
                source::enable(&server).unwrap();
                let asked = SocketAddr::new(asked.parse().unwrap(), server.local_addr().unwrap().port());
                let client = client(asked);
                client.send_to(b"who", asked).unwrap();
                let (mut inbox, mut outbox) = (Batch::new(512), Batch::new(512));
                inbox.receive(&server, true, calls).unwrap();
                let (datagram, envelope) = inbox.get(0);
                outbox.spare()[..3].copy_from_slice(datagram);
                outbox.push(3, envelope);
                assert_eq!(outbox.send(&server, calls).sent, 1);
                let mut reply = [0; 10];
                assert_eq!(client.recv_from(&mut reply).unwrap(), (3, asked));
            });
        }
    }

    #[test]
    fn nobody_listens() {
        each_way(|calls| {
            let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let socket = client(closed);
            socket.connect(closed).unwrap();
            let mut outbox = Batch::new(512);
            for _ in 0..3 {
                outbox.push(1, &Envelope::NONE);
                outbox.send(&socket, calls);
            }
            outbox.push(1, &Envelope::NONE);
            let sent = outbox.send(&socket, calls);
            assert!(sent.refused, "{sent:?}");
        });
    }
}
