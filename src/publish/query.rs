//! What nsd serves, asked over DNS: the only proof that an export has arrived.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::base::iana::Rtype;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{self, RData, RecordType};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

use crate::dns::name::Name;

use super::Expected;

/// Largest UDP answer that we offer to take, in octets: fits every path without fragments.
const UDP_MAX_OCTETS: u16 = 1232;
/// A lost datagram is sent again after this time.
const RETRY: Duration = Duration::from_millis(250);
/// Questions under way on one TCP connection; fewer than there are ids.
const PIPELINE: usize = 8_192;

/// Asks one server. Each question over UDP has a socket, a port and an id of its own.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    server: SocketAddr,
    limit: Duration,
}

impl Client {
    /// `limit` is the deadline of one question, TCP included.
    pub fn new(server: SocketAddr, limit: Duration) -> Client {
        Client { server, limit }
    }

    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// The serial of the SOA at this name.
    pub async fn serial(&self, origin: &Name) -> Result<u32, QueryError> {
        let answer = self.ask(&Question::new(origin, Rtype::SOA)).await?;
        // NXDOMAIN too means that the server has some zone above, but not this one.
        let serial = answer.answers.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(soa.serial),
            _ => None,
        });
        serial.ok_or(QueryError::NoSoa)
    }

    /// The addresses of an RRset, sorted; empty: NODATA or NXDOMAIN.
    pub async fn addresses(&self, owner: &Name, rtype: Rtype) -> Result<Vec<IpAddr>, QueryError> {
        let question = Question::new(owner, rtype);
        Ok(addresses(&self.ask(&question).await?, &question))
    }

    /// Whether the server serves exactly these RRsets; else which one differs first, and how.
    ///
    /// All over one TCP connection, pipelined: nsd's rate limit would drop a burst over UDP.
    pub async fn compare(&self, expected: &[Expected], until: Instant) -> Result<(), Mismatch> {
        if expected.is_empty() {
            return Ok(());
        }
        let compare = async {
            let mut stream = TcpStream::connect(self.server).await.map_err(QueryError::from)?;
            stream.set_nodelay(true).map_err(QueryError::from)?;
            for batch in expected.chunks(PIPELINE) {
                compare_batch(&mut stream, batch, self.limit).await?;
            }
            Ok(())
        };
        timeout_at(until, compare).await.unwrap_or(Err(Mismatch::Query(QueryError::Timeout)))
    }

    async fn ask(&self, question: &Question) -> Result<Message, QueryError> {
        let until = Instant::now() + self.limit;
        let answer = timeout_at(until, self.ask_udp(question)).await.map_err(|_| QueryError::Timeout)??;
        let answer = if answer.metadata.truncation {
            timeout_at(until, self.ask_tcp(question)).await.map_err(|_| QueryError::Timeout)??
        } else {
            answer
        };
        question.judge(answer)
    }

    async fn ask_udp(&self, question: &Question) -> Result<Message, QueryError> {
        let here: IpAddr = match self.server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((here, 0)).await?;
        // Connected: the system drops what comes from elsewhere, and tells us of a closed port.
        socket.connect(self.server).await?;
        let id = random_id();
        let query = question.to_wire(id)?;
        let mut buffer = [0; 4096];
        loop {
            socket.send(&query).await?;
            let again = Instant::now() + RETRY;
            while let Ok(received) = timeout_at(again, socket.recv(&mut buffer)).await {
                let received = received?;
                // What is not the answer to our question is noise: wait on.
                if let Some(answer) = question.accept(id, &buffer[..received]) {
                    return Ok(answer);
                }
            }
        }
    }

    async fn ask_tcp(&self, question: &Question) -> Result<Message, QueryError> {
        let mut stream = TcpStream::connect(self.server).await?;
        let id = random_id();
        stream.write_all(&framed(&question.to_wire(id)?)).await?;
        let answer = read_frame(&mut stream).await?;
        question.accept(id, &answer).ok_or(QueryError::Mismatched)
    }
}

/// Asks for a batch and compares the answers, which may come in any order (RFC 7766 section 7).
///
/// Questions are written while answers are read: with each acknowledged by the next, nsd's small
/// answers do not wait in Nagle's algorithm for our delayed acknowledgements (40 ms each time).
async fn compare_batch(stream: &mut TcpStream, batch: &[Expected], limit: Duration) -> Result<(), Mismatch> {
    let (input, output) = stream.split();
    let mut output = BufWriter::new(output);
    // Ids count from a random start, so that an id tells which question it belongs to.
    let first = random_id();
    let write = async {
        for (index, expected) in batch.iter().enumerate() {
            let id = first.wrapping_add(u16::try_from(index).expect("a batch is shorter than 65,536"));
            let query = Question::new(&expected.owner, expected.rtype).to_wire(id)?;
            output.write_all(&framed(&query)).await.map_err(QueryError::from)?;
        }
        Ok(output.flush().await.map_err(QueryError::from)?)
    };
    let read = async {
        let mut input = BufReader::new(input);
        let mut answered = vec![false; batch.len()];
        for _ in batch {
            // A process of nsd that a reload has replaced may take a connection and not serve it.
            let wire = timeout(limit, read_frame(&mut input)).await.map_err(|_| QueryError::Timeout)??;
            let id = wire.first_chunk().map(|id| u16::from_be_bytes(*id)).ok_or(QueryError::Mismatched)?;
            let index = usize::from(id.wrapping_sub(first));
            match answered.get_mut(index) {
                Some(seen @ false) => *seen = true,
                _ => return Err(QueryError::Mismatched.into()),
            }
            compare_one(&batch[index], id, &wire)?;
        }
        Ok(())
    };
    tokio::try_join!(write, read).map(|_| ())
}

fn compare_one(expected: &Expected, id: u16, wire: &[u8]) -> Result<(), Mismatch> {
    let question = Question::new(&expected.owner, expected.rtype);
    let answer = question.accept(id, wire).ok_or(QueryError::Mismatched)?;
    let served = addresses(&question.judge(answer)?, &question);
    let mut wanted = expected.addresses.clone();
    wanted.sort();
    wanted.dedup();
    if served == wanted {
        return Ok(());
    }
    let (served, wanted) = (list(&served), list(&wanted));
    Err(Mismatch::Differs(format!("{} {} is {served} at nsd, not {wanted}", expected.owner, expected.rtype)))
}

fn list(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "nothing".to_owned();
    }
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
}

/// Why a comparison did not come out well.
#[derive(Debug)]
pub enum Mismatch {
    /// There was no answer to compare.
    Query(QueryError),
    /// The first RRset that differs: what is served, and what was expected.
    Differs(String),
}

impl From<QueryError> for Mismatch {
    fn from(error: QueryError) -> Mismatch {
        Mismatch::Query(error)
    }
}

/// One question of class IN.
struct Question {
    name: rr::Name,
    rtype: RecordType,
}

impl Question {
    fn new(name: &Name, rtype: Rtype) -> Question {
        let mut labels = rr::Name::from_labels(name.labels()).expect("a checked name has valid labels");
        labels.set_fqdn(true);
        Question { name: labels, rtype: RecordType::from(rtype.to_int()) }
    }

    fn to_wire(&self, id: u16) -> Result<Vec<u8>, QueryError> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(self.name.clone(), self.rtype));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_MAX_OCTETS);
        message.set_edns(edns);
        message.to_vec().map_err(|_| QueryError::Mismatched)
    }

    /// The message, if it is a reply to this question with this id.
    fn accept(&self, id: u16, wire: &[u8]) -> Option<Message> {
        let message = Message::from_vec(wire).ok()?;
        let header = &message.metadata;
        let ours = header.id == id && header.message_type == MessageType::Response && header.op_code == OpCode::Query;
        let asked = match message.queries.as_slice() {
            [asked] => asked.name == self.name && asked.query_type == self.rtype,
            _ => false,
        };
        (ours && asked).then_some(message)
    }

    /// Only an authoritative answer counts.
    fn judge(&self, answer: Message) -> Result<Message, QueryError> {
        match answer.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain if answer.metadata.authoritative => Ok(answer),
            ResponseCode::NoError | ResponseCode::NXDomain => Err(QueryError::NotAuthoritative),
            other => Err(QueryError::Rcode(other)),
        }
    }
}

/// The addresses at the question's name, sorted, each once.
fn addresses(answer: &Message, question: &Question) -> Vec<IpAddr> {
    let at_name = answer.answers.iter().filter(|record| record.name == question.name);
    let mut found: Vec<IpAddr> = at_name
        .filter(|record| record.record_type() == question.rtype)
        .filter_map(|record| record.data.ip_addr())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// With the two octets of length that TCP wants (RFC 1035 section 4.2.2).
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a query is shorter than 64 KiB");
    [&length.to_be_bytes(), message].concat()
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, QueryError> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

fn random_id() -> u16 {
    u16::from_be_bytes(super::random())
}

/// Why a question has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("no answer in time")]
    Timeout,
    #[error("no connection: {0}")]
    Io(#[from] io::Error),
    #[error("answers {0}")]
    Rcode(ResponseCode),
    #[error("answers without authority: the zone is not its own")]
    NotAuthoritative,
    #[error("has no SOA there: not the name of a zone")]
    NoSoa,
    #[error("the reply is to another question")]
    Mismatched,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question::new(&"Foo.zone.".parse().unwrap(), Rtype::SOA)
    }

    fn reply(change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::from_vec(&question().to_wire(7).unwrap()).unwrap().into_response();
        message.metadata.message_type = MessageType::Response;
        change(&mut message);
        message.to_vec().unwrap()
    }

    #[test]
    fn only_the_reply_to_our_question_is_accepted() {
        assert!(question().accept(7, &reply(|_| {})).is_some());
        assert!(question().accept(8, &reply(|_| {})).is_none(), "another id");
        assert!(question().accept(7, &reply(|m| m.metadata.message_type = MessageType::Query)).is_none());
        assert!(question().accept(7, &reply(|m| m.queries.clear())).is_none(), "no question");
        assert!(question().accept(7, &reply(|m| m.queries[0].query_type = RecordType::A)).is_none());
        assert!(question().accept(7, b"").is_none());
        assert!(question().accept(7, &[0xff; 40]).is_none());
    }

    #[test]
    fn names_travel_octet_by_octet() {
        for text in [".", "a\\.b.\\000\\255.example.", "*.foo.zone."] {
            let name: Name = text.parse().unwrap();
            let wire = Question::new(&name, Rtype::A).to_wire(0).unwrap();
            assert_eq!(&wire[12..12 + name.wire().len()], name.wire(), "{text}");
        }
    }
}
