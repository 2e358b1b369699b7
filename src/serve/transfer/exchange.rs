//! A question to a secondary over UDP, and its answer: NOTIFY (RFC 1996) and SOA.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::base::iana::{Class, Rcode, Rtype};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::dns::message::{HEADER_LEN, flags, opcode};
use crate::dns::name::{Name, wire_len};

use super::tsig::Asked;

/// A datagram that is not answered is sent again after this time.
const AGAIN: Duration = Duration::from_millis(500);
/// How often it is sent.
const TRIES: usize = 3;
/// Longest reply that is read, in octets.
const REPLY_MAX: usize = 4_096;

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("no answer")]
    Silence,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("answers {0}")]
    Rcode(Rcode),
    #[error("its answer is not signed as it should be: {0}")]
    Tsig(String),
    #[error("does not serve the zone")]
    NoZone,
}

/// Sends a message until the reply to it arrives.
pub(super) async fn exchange(
    from: &[IpAddr],
    to: SocketAddr,
    message: &[u8],
    asked: Option<Asked>,
) -> Result<Vec<u8>, ExchangeError> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let from = from.iter().find(|address| address.is_ipv4() == to.is_ipv4()).copied().unwrap_or(any);
    let socket = UdpSocket::bind((from, 0)).await?;
    // Connected: the system drops what comes from elsewhere, and tells us of a closed port.
    socket.connect(to).await?;
    let mut buffer = vec![0; REPLY_MAX];
    for _ in 0..TRIES {
        socket.send(message).await?;
        let again = Instant::now() + AGAIN;
        while let Ok(received) = timeout_at(again, socket.recv(&mut buffer)).await {
            let reply = &buffer[..received?];
            // What is not the reply to this message is noise: wait on.
            if !is_reply(message, reply) {
                continue;
            }
            // An error may come unsigned: from one who does not know the key.
            match Rcode::masked_from_int(reply[3]) {
                Rcode::NOERROR => {}
                rcode => return Err(ExchangeError::Rcode(rcode)),
            }
            if let Some(asked) = &asked {
                asked.check(reply).map_err(ExchangeError::Tsig)?;
            }
            return Ok(reply.to_vec());
        }
    }
    Err(ExchangeError::Silence)
}

/// A query for the SOA of a zone.
pub(super) fn soa_query(origin: &Name, id: u16) -> Vec<u8> {
    let mut message = [id, 0, 1, 0, 0, 0].map(u16::to_be_bytes).as_flattened().to_vec();
    message.extend_from_slice(origin.wire());
    message.extend_from_slice([Rtype::SOA.to_int(), Class::IN.to_int()].map(u16::to_be_bytes).as_flattened());
    message
}

/// The serial in the reply to [`soa_query`].
pub(super) fn serial_in(reply: &[u8]) -> Result<u32, ExchangeError> {
    let message = domain::base::Message::from_octets(reply).map_err(|_| ExchangeError::NoZone)?;
    if !message.header().aa() {
        return Err(ExchangeError::NoZone);
    }
    let mut answers = message.answer().map_err(|_| ExchangeError::NoZone)?.limit_to::<domain::rdata::Soa<_>>();
    match answers.next() {
        Some(Ok(record)) => Ok(record.data().serial().into_int()),
        _ => Err(ExchangeError::NoZone),
    }
}

/// Same id, same opcode, same question but for the case of its letters, and a reply. A reply without
/// a question is believed only if it reports an error.
fn is_reply(sent: &[u8], reply: &[u8]) -> bool {
    let (Some(ours), Some(theirs)) = (sent.first_chunk::<HEADER_LEN>(), reply.first_chunk::<HEADER_LEN>()) else {
        return false;
    };
    let word = |header: &[u8; HEADER_LEN]| u16::from_be_bytes([header[2], header[3]]);
    let same: bool = ours[..2] == theirs[..2] && opcode(word(ours)) == opcode(word(theirs));
    if !same || word(theirs) & flags::QR == 0 {
        return false;
    }
    if theirs[4..6] == [0, 0] {
        return word(theirs) & flags::RCODE != 0;
    }
    let question_len = wire_len(&sent[HEADER_LEN..]).map_or(0, |len| len + 4);
    let question = sent.get(HEADER_LEN..HEADER_LEN + question_len);
    let echoed = reply.get(HEADER_LEN..HEADER_LEN + question_len);
    // Type and class hold no letter: 6 and 1.
    matches!((question, echoed), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b))
}
