//! A client that asks for failover names without a pause, so many queries on their way at any time, and notes
//! when the system got the first answer with each node's address: not when the client had a core to read it.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use nsd_failover::serve::sys::{WAIT_MAX, wait};

use super::swap::query;

/// Without an answer for so long, queries are lost.
const SILENCE_MAX_MS: u16 = 5_000;
/// Names that are asked for in turn.
const ASKED: usize = 256;

/// Asks from a thread of its own until it is dropped.
pub struct Client {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answers: AtomicU64,
    /// For the addresses that end with 11 and 12: arrival of the first answer, microseconds since 1970; 0: none yet.
    first_us: [AtomicI64; 2],
}

impl Client {
    /// At most [`WAIT_MAX`] sockets, so that the server's threads all get their share, and so many queries from each.
    pub fn start(server: SocketAddr, sockets: usize, queries_each: usize) -> Client {
        assert!(sockets <= WAIT_MAX, "more cannot be waited for");
        let shared = Arc::new(Shared::default());
        let sockets: Vec<UdpSocket> = (0..sockets).map(|_| connect(server)).collect();
        let own = shared.clone();
        let thread = std::thread::spawn(move || own.ask(&sockets, queries_each));
        Client { shared, thread: Some(thread) }
    }

    /// Answers so far.
    pub fn answers(&self) -> u64 {
        self.shared.answers.load(Ordering::Relaxed)
    }

    /// Waits for a new first answer with the address of this node.
    pub fn forget(&self, node: usize) {
        self.shared.first_us[node].store(0, Ordering::SeqCst);
    }

    /// When the first answer with the address of this node arrived, in microseconds since 1970.
    pub fn first_us(&self, node: usize) -> Option<i64> {
        Some(self.shared.first_us[node].load(Ordering::SeqCst)).filter(|at_us| *at_us > 0)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking(), "the client has lost queries");
    }
}

fn connect(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    setsockopt(&socket, sockopt::ReceiveTimestamp, &true).expect("the system notes when datagrams arrive");
    socket
}

impl Shared {
    fn ask(&self, sockets: &[UdpSocket], queries_each: usize) {
        let mut asked = (0..ASKED).map(query).collect::<Vec<_>>().into_iter().cycle();
        let mut ask = |socket: &UdpSocket| socket.send(&asked.next().expect("a circle")).expect("the server is there");
        sockets.iter().for_each(|socket| {
            (0..queries_each).for_each(|_| {
                ask(socket);
            })
        });
        while !self.stop.load(Ordering::Relaxed) {
            let ready = wait(sockets, SILENCE_MAX_MS).unwrap();
            let mut count = 0;
            for (_, socket) in sockets.iter().enumerate().filter(|(at, _)| ready.has(*at)) {
                // As many as were on their way: the others get their turn.
                for _ in 0..queries_each {
                    let Some((node, at_us)) = receive(socket) else { break };
                    self.note(node, at_us);
                    ask(socket);
                    count += 1;
                }
            }
            assert!(count > 0, "no query is lost");
            self.answers.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Sockets are read in turn, and what was read first need not have come first.
    fn note(&self, node: usize, at_us: i64) {
        let first_us = &self.first_us[node];
        let known_us = first_us.load(Ordering::Relaxed);
        if known_us == 0 || at_us < known_us {
            first_us.store(at_us, Ordering::SeqCst);
        }
    }
}

/// An answer, if one has come: whose address it has, and when it arrived, in microseconds since 1970.
fn receive(socket: &UdpSocket) -> Option<(usize, i64)> {
    let (mut reply, mut control) = ([0; 512], nix::cmsg_space!(TimeVal));
    let mut place = [IoSliceMut::new(&mut reply)];
    let got = match recvmsg::<()>(socket.as_raw_fd(), &mut place, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
        Ok(got) => got,
        Err(Errno::EAGAIN) => return None,
        Err(error) => panic!("{error}"),
    };
    let mut notes = got.cmsgs().expect("room for the one");
    let Some(ControlMessageOwned::ScmTimestamp(at)) = notes.next() else { panic!("no time of arrival") };
    let (len, at_us) = (got.bytes, at.num_microseconds());
    Some((usize::from(reply[len - 1]) - 11, at_us))
}
