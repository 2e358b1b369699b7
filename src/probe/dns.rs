//! The DNS check: one question to the node, over UDP, and over TCP when the answer is cut; and the
//! same to the server whose serial must not be ahead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::base::iana::Rtype;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::dns::rdata;
use crate::health::check::Dns;

use super::stream::{failed, shown};
use super::trace::{Step, note, reach};
use super::{Aim, Finding};

/// Largest UDP answer that we offer to take, in octets.
const UDP_MAX: u16 = 1232;

/// A lost datagram is sent again after this time: what is looked at is the server, not the path.
const AGAIN: Duration = Duration::from_secs(1);

/// The server of `serial-of` may take this part of the deadline, in percent: that it is silent must be
/// known before the deadline, which counts against the node.
const REFERENCE_PART: u32 = 75;

/// `deadline` is that of the whole probe.
pub(super) async fn look(check: &Dns, aim: &Aim<'_>, deadline: Duration) -> Result<Finding, Finding> {
    // Over UDP there is no connection to wait for.
    reach(Step::Exchange);
    let text = aim.fill(&check.query);
    let question = Question::parse(&text).map_err(Finding::cannot_say)?;
    let asked = async {
        let reply = question.ask(SocketAddr::new(aim.address, check.port)).await?;
        note("answer");
        judge(check, aim, &text, &question, &reply)?;
        Ok(reply)
    };
    let Some(server) = check.serial_of else {
        let message = asked.await?.message;
        let rcode = rcode_name(message.metadata.response_code);
        return Ok(Finding::good("L7OK", format!("{rcode}, {} answers", message.answers.len())));
    };
    // Side by side; a bad answer of the node needs no other.
    let patience = deadline * REFERENCE_PART / 100;
    let (reply, there) = tokio::try_join!(asked, async { Ok(reference(&question, server, patience).await) })?;
    let here = serial(&reply.message);
    let here = here.ok_or_else(|| Finding::bad("L7RSP", format!("no SOA in the answer to {text}")))?;
    let there = there?;
    // RFC 1982: the difference, as a signed number, tells which is newer.
    if (here.wrapping_sub(there) as i32) < 0 {
        return Err(Finding::bad("L7RSP", format!("serial {here}, but {there} at {server}")));
    }
    Ok(Finding::good("L7OK", format!("{}, serial {here}", rcode_name(reply.message.metadata.response_code))))
}

/// Code and RDATA must be those that are wanted.
fn judge(check: &Dns, aim: &Aim<'_>, text: &str, question: &Question, reply: &Reply) -> Result<(), Finding> {
    let rcode = rcode_name(reply.message.metadata.response_code);
    if !rcode.eq_ignore_ascii_case(&check.rcode) {
        return Err(Finding::bad("L7STS", format!("{rcode}, wanted {}", check.rcode)));
    }
    let Some(expect) = check.expect.as_ref().map(|text| aim.fill_bare(text)) else { return Ok(()) };
    let rtype = Rtype::from_int(question.rtype.into());
    let wanted = rdata::from_line(rtype, &expect)
        .map_err(|error| Finding::cannot_say(format!("expect = {}: {}", shown(&expect), error.message)))?;
    let found = rdata::in_answers(&reply.wire, rtype);
    if found.iter().any(|found| rdata::is_same(rtype, found, &wanted)) {
        return Ok(());
    }
    let found: Vec<String> = found.iter().map(|found| rdata::to_text(rtype, found)).collect();
    let found = if found.is_empty() { "nothing".to_owned() } else { found.join(" | ") };
    Err(Finding::bad("L7RSP", format!("{text} is {}, wanted {expect}", shown(&found))))
}

/// The serial at the server of `serial-of`. That is no node: what is wrong with it says nothing of ours.
async fn reference(question: &Question, server: SocketAddr, patience: Duration) -> Result<u32, Finding> {
    let say = |what: &str| Finding::cannot_say(format!("serial-of {server}: {what}"));
    let asked = tokio::time::timeout(patience, question.ask(server)).await;
    let reply = asked.map_err(|_| say("no answer"))?.map_err(|finding| say(&finding.detail))?;
    let there = serial(&reply.message).ok_or_else(|| say("no SOA there"))?;
    note(format!("serial {there} at {server}"));
    Ok(there)
}

/// The name of RFC 6895: "NXDOMAIN".
fn rcode_name(code: ResponseCode) -> String {
    domain::base::iana::OptRcode::masked_from_int(u16::from(code)).to_string()
}

/// A reply as it was read, and as it came.
struct Reply {
    message: Message,
    wire: Vec<u8>,
}

struct Question {
    name: Name,
    rtype: RecordType,
}

impl Question {
    fn parse(text: &str) -> Result<Question, String> {
        let (name, rtype) = Dns::question(text)?;
        let mut labels = Name::from_labels(name.labels()).map_err(|error| error.to_string())?;
        labels.set_fqdn(true);
        Ok(Question { name: labels, rtype: RecordType::from(rtype.to_int()) })
    }

    async fn ask(&self, server: SocketAddr) -> Result<Reply, Finding> {
        let reply = self.ask_udp(server).await?;
        match reply.message.metadata.truncation {
            true => self.ask_tcp(server).await,
            false => Ok(reply),
        }
    }

    async fn ask_udp(&self, server: SocketAddr) -> Result<Reply, Finding> {
        let here: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // A closed port is told to a connected socket; what comes from elsewhere is not.
        let refused = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => failed(Step::Connecting, &error),
            _ => failed(Step::Exchange, &error),
        };
        let socket = UdpSocket::bind((here, 0)).await.map_err(refused)?;
        socket.connect(server).await.map_err(refused)?;
        let (id, query) = self.to_wire()?;
        let mut buffer = [0; 4096];
        loop {
            socket.send(&query).await.map_err(refused)?;
            let wait = tokio::time::sleep(AGAIN);
            tokio::pin!(wait);
            loop {
                let received = tokio::select! {
                    received = socket.recv(&mut buffer) => received.map_err(refused)?,
                    () = &mut wait => break,
                };
                if let Some(reply) = self.accept(id, &buffer[..received]) {
                    return Ok(reply);
                }
            }
        }
    }

    async fn ask_tcp(&self, server: SocketAddr) -> Result<Reply, Finding> {
        let broken = |error: std::io::Error| failed(Step::Exchange, &error);
        let mut stream = TcpStream::connect(server).await.map_err(|error| failed(Step::Connecting, &error))?;
        let (id, query) = self.to_wire()?;
        let length = u16::try_from(query.len()).unwrap_or(0);
        stream.write_all(&[&length.to_be_bytes(), query.as_slice()].concat()).await.map_err(broken)?;
        let length = stream.read_u16().await.map_err(broken)?;
        let mut wire = vec![0; usize::from(length)];
        stream.read_exact(&mut wire).await.map_err(broken)?;
        self.accept(id, &wire).ok_or_else(|| Finding::bad("L7RSP", "over TCP, the reply is to another question"))
    }

    fn to_wire(&self) -> Result<(u16, Vec<u8>), Finding> {
        let mut id = [0; 2];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut id)
            .map_err(|_| Finding::cannot_say("the system has no random numbers"))?;
        let id = u16::from_be_bytes(id);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(self.name.clone(), self.rtype));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_MAX);
        message.set_edns(edns);
        let wire = message.to_vec().map_err(|error| Finding::cannot_say(error.to_string()))?;
        Ok((id, wire))
    }

    /// The message, if it is a reply to this question with this id.
    fn accept(&self, id: u16, wire: &[u8]) -> Option<Reply> {
        let message = Message::from_vec(wire).ok()?;
        let header = &message.metadata;
        let ours = header.id == id && header.message_type == MessageType::Response && header.op_code == OpCode::Query;
        // A refusal may come without the question.
        let asked = match message.queries.as_slice() {
            [asked] => asked.name == self.name && asked.query_type == self.rtype,
            [] => header.response_code != ResponseCode::NoError,
            _ => false,
        };
        (ours && asked).then(|| Reply { message, wire: wire.to_vec() })
    }
}

fn serial(answer: &Message) -> Option<u32> {
    answer.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    })
}
