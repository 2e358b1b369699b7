//! What the checks over TCP and TLS have in common: connect, shake hands, read within bounds, and
//! say in one word what went wrong.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use regex::bytes::Regex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Finding;
use super::trace::{Step, note, reach};

/// Of an answer no more than this is read, in octets.
pub(super) const ANSWER_MAX: usize = 64 * 1024;

/// So much of a wrong answer is shown, in characters.
const SHOWN_MAX: usize = 40;

const DAY_S: i64 = 86_400;

/// A new connection to the node.
pub(super) async fn connect(address: IpAddr, port: u16) -> Result<TcpStream, Finding> {
    let stream = TcpStream::connect(SocketAddr::new(address, port)).await;
    let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    let stream = stream.map_err(|error| failed(Step::Connecting, &error))?;
    note("connected");
    Ok(stream)
}

/// A TLS handshake in which the server must show a good certificate for `name`.
pub(super) async fn shake_hands(
    config: &Arc<ClientConfig>,
    name: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Finding> {
    reach(Step::Handshake);
    let server = ServerName::try_from(name.trim_matches(['[', ']']).to_owned())
        .map_err(|_| Finding::cannot_say(format!("{name:?} is no server name")))?;
    let secure = TlsConnector::from(Arc::clone(config)).connect(server, stream).await;
    let secure = secure.map_err(|error| failed(Step::Handshake, &error))?;
    note(format!("TLS with {name}"));
    Ok(secure)
}

/// The result word and the one line for an error of a socket.
pub(super) fn failed(step: Step, error: &io::Error) -> Finding {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Finding::bad("L6RSP", format!("TLS: {tls}"));
    }
    if is_ours(error) {
        return Finding { word: "SOCKERR", ..Finding::cannot_say(plain(error)) };
    }
    match step {
        Step::Connecting => Finding::bad("L4CON", plain(error)),
        Step::Handshake => Finding::bad("L6RSP", format!("TLS: {}", plain(error))),
        Step::Exchange | Step::Plugin | Step::Reading => Finding::bad("L7RSP", plain(error)),
    }
}

/// Whether an error is about our own host, and says nothing of the node: no descriptors or memory
/// left, no such address family, our interface down, a local firewall.
fn is_ours(error: &io::Error) -> bool {
    let Some(number) = error.raw_os_error() else { return false };
    [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EACCES,
        libc::EPERM,
        libc::EADDRNOTAVAIL,
        libc::EAFNOSUPPORT,
        libc::ENETDOWN,
    ]
    .contains(&number)
}

/// An error in a few words.
pub(super) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::ConnectionReset => "reset".to_owned(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => "closed early".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        _ => error.to_string(),
    }
}

/// What an answer must contain.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'a> {
    Anything,
    Text(&'a str),
    Pattern(&'a Regex),
}

impl<'a> Wanted<'a> {
    /// A text that is wanted, else a pattern. An empty text wants nothing.
    pub(super) fn new(text: Option<&'a str>, pattern: Option<&'a Regex>) -> Wanted<'a> {
        match (text, pattern) {
            (Some(text), _) if !text.is_empty() => Wanted::Text(text),
            (_, Some(pattern)) => Wanted::Pattern(pattern),
            _ => Wanted::Anything,
        }
    }

    /// Whether it is in `text`, of which the part before `searched` was searched before.
    fn is_in(self, text: &[u8], searched: usize) -> bool {
        match self {
            Wanted::Anything => false,
            Wanted::Text(wanted) => contains(&text[searched..], wanted.as_bytes()),
            Wanted::Pattern(pattern) => pattern.is_match(text),
        }
    }

    fn name(self) -> String {
        match self {
            Wanted::Anything => String::new(),
            Wanted::Text(text) => format!("{text:?}"),
            Wanted::Pattern(pattern) => format!("/{pattern}/"),
        }
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|window| window == wanted)
}

/// An answer that arrives in pieces, searched as it comes.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    wanted: Wanted<'a>,
    read: Vec<u8>,
    searched: usize,
    /// How long the answer was when the pattern was last tried.
    tried: usize,
}

/// What is to be done after a piece of the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    Matched,
    More,
    /// No more is read.
    Full,
}

impl<'a> Answer<'a> {
    pub(super) fn new(wanted: Wanted<'a>) -> Answer<'a> {
        Answer { wanted, read: Vec::new(), searched: 0, tried: 0 }
    }

    pub(super) fn take(&mut self, piece: &[u8]) -> Progress {
        let room = ANSWER_MAX.saturating_sub(self.read.len());
        self.read.extend_from_slice(&piece[..piece.len().min(room)]);
        let is_full = self.read.len() >= ANSWER_MAX;
        // A pattern is tried again when the answer has doubled, so that many small pieces do not
        // make the work quadratic; and in the end.
        let is_due = !matches!(self.wanted, Wanted::Pattern(_)) || self.read.len() >= self.tried.saturating_mul(2);
        if is_due || is_full {
            self.tried = self.read.len();
            if self.wanted.is_in(&self.read, self.searched) {
                return Progress::Matched;
            }
        }
        if let Wanted::Text(text) = self.wanted {
            // The text may begin here and end in the next piece.
            self.searched = self.read.len().saturating_sub(text.len());
        }
        if is_full { Progress::Full } else { Progress::More }
    }

    /// The answer has ended, or is cut off: is it good? The error says what is missing.
    pub(super) fn judge(&self) -> Result<(), String> {
        if matches!(self.wanted, Wanted::Anything) || self.wanted.is_in(&self.read, self.searched) {
            return Ok(());
        }
        let start: String = String::from_utf8_lossy(&self.read).chars().take(SHOWN_MAX).collect();
        let place = if self.read.len() >= ANSWER_MAX { "the first 64 KiB of the body" } else { "the body" };
        Err(format!("{} is not in {place} {start:?}", self.wanted.name()))
    }
}

/// Reads until the answer is known to be good or bad, with the result words of level 7. `Ok` is a
/// match; without anything wanted the answer must end, or reach the cap.
pub(super) async fn read_answer(stream: &mut (impl AsyncRead + Unpin), wanted: Wanted<'_>) -> Result<(), Finding> {
    let mut answer = Answer::new(wanted);
    let mut piece = [0; 8192];
    loop {
        let read = match stream.read(&mut piece).await {
            Ok(0) => break,
            Ok(read) => read,
            // Many servers of small protocols close without TLS's farewell.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(failed(Step::Exchange, &error)),
        };
        match answer.take(&piece[..read]) {
            Progress::Matched => return Ok(()),
            Progress::Full => break,
            Progress::More => {}
        }
    }
    answer.judge().map_err(|missing| Finding::bad("L7RSP", missing))
}

/// Reads a line up to its line feed, which is cut off with a carriage return before it.
pub(super) async fn read_line(stream: &mut (impl AsyncRead + Unpin), max: usize) -> Result<String, Finding> {
    let mut line = Vec::new();
    loop {
        let octet = stream.read_u8().await.map_err(|error| failed(Step::Exchange, &error))?;
        if octet == b'\n' {
            break;
        }
        line.push(octet);
        if line.len() > max {
            let start: String = String::from_utf8_lossy(&line).chars().take(SHOWN_MAX).collect();
            return Err(Finding::bad("L7RSP", format!("a line of more than {max} octets {start:?}")));
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// The start of a text for people, quoted.
pub(super) fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(SHOWN_MAX * 2).collect::<String>())
}

/// Whole days until a moment, rounded down; negative when it is past.
pub(super) fn days_left(unix_s: i64) -> i64 {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    unix_s.saturating_sub(i64::try_from(now_s).unwrap_or(i64::MAX)).div_euclid(DAY_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search() {
        assert!(contains(b"Welcome to x\n", b"Welcome to x"));
        assert!(!contains(b"Welcome", b"Welcome to x"));
        assert!(contains(b"", b""));
    }

    #[test]
    fn a_text_across_pieces_and_a_pattern_at_the_end() {
        let mut answer = Answer::new(Wanted::Text("needle"));
        assert_eq!(answer.take(b"hay nee"), Progress::More);
        assert_eq!(answer.take(b"dle hay"), Progress::Matched);
        let pattern = Regex::new("n[e]+dle$").unwrap();
        let mut answer = Answer::new(Wanted::Pattern(&pattern));
        for piece in b"hay hay hay needle".chunks(1) {
            answer.take(piece);
        }
        assert_eq!(answer.judge(), Ok(()));
        let mut answer = Answer::new(Wanted::Text("needle"));
        assert_eq!(answer.take(&[b'x'; ANSWER_MAX + 5]), Progress::Full);
        assert!(answer.judge().unwrap_err().contains("the first 64 KiB"));
    }
}
