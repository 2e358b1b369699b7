//! The DNS check: one question to the node, over UDP, and over TCP when the answer is cut.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::health::check::Dns;

use super::stream::{failed, shown};
use super::trace::{Step, note, reach};
use super::{Aim, Finding};

/// Largest UDP answer that we offer to take, in octets.
const UDP_MAX: u16 = 1232;

/// A lost datagram is sent again after this time: what is looked at is the server, not the path.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn look(check: &Dns, aim: &Aim<'_>) -> Result<Finding, Finding> {
    // Over UDP there is no connection to wait for.
    reach(Step::Exchange);
    let text = aim.fill(&check.query);
    let question = Question::parse(&text).map_err(Finding::cannot_say)?;
    let answer = question.ask(SocketAddr::new(aim.address, check.port)).await?;
    note("answer");
    let rcode = rcode_name(answer.metadata.response_code);
    if !rcode.eq_ignore_ascii_case(&check.rcode) {
        return Err(Finding::bad("L7STS", format!("{rcode}, wanted {}", check.rcode)));
    }
    if let Some(expect) = check.expect.as_ref().map(|text| aim.fill_bare(text)) {
        let found = rdata(&answer, &question);
        if !found.iter().any(|text| is_same(text, &expect)) {
            let found = if found.is_empty() { "nothing".to_owned() } else { found.join(" | ") };
            return Err(Finding::bad("L7RSP", format!("{text} is {}, wanted {expect}", shown(&found))));
        }
    }
    let Some(server) = check.serial_of else {
        return Ok(Finding::good("L7OK", format!("{rcode}, {} answers", answer.answers.len())));
    };
    let here = serial(&answer).ok_or_else(|| Finding::bad("L7RSP", format!("no SOA in the answer to {text}")))?;
    let say = |finding: Finding| Finding::cannot_say(format!("serial-of {server}: {}", finding.detail));
    let there = serial(&question.ask(server).await.map_err(say)?);
    let there = there.ok_or_else(|| Finding::cannot_say(format!("serial-of {server}: no SOA there")))?;
    note(format!("serial {there} at {server}"));
    // RFC 1982: the difference, as a signed number, tells which is newer.
    if (here.wrapping_sub(there) as i32) < 0 {
        return Err(Finding::bad("L7RSP", format!("serial {here}, but {there} at {server}")));
    }
    Ok(Finding::good("L7OK", format!("{rcode}, serial {here}")))
}

/// The name of RFC 6895: "NXDOMAIN".
fn rcode_name(code: ResponseCode) -> String {
    domain::base::iana::OptRcode::masked_from_int(u16::from(code)).to_string()
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

    async fn ask(&self, server: SocketAddr) -> Result<Message, Finding> {
        let answer = self.ask_udp(server).await?;
        match answer.metadata.truncation {
            true => self.ask_tcp(server).await,
            false => Ok(answer),
        }
    }

    async fn ask_udp(&self, server: SocketAddr) -> Result<Message, Finding> {
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
                if let Some(answer) = self.accept(id, &buffer[..received]) {
                    return Ok(answer);
                }
            }
        }
    }

    async fn ask_tcp(&self, server: SocketAddr) -> Result<Message, Finding> {
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
    fn accept(&self, id: u16, wire: &[u8]) -> Option<Message> {
        let message = Message::from_vec(wire).ok()?;
        let header = &message.metadata;
        let ours = header.id == id && header.message_type == MessageType::Response && header.op_code == OpCode::Query;
        // A refusal may come without the question.
        let asked = match message.queries.as_slice() {
            [asked] => asked.name == self.name && asked.query_type == self.rtype,
            [] => header.response_code != ResponseCode::NoError,
            _ => false,
        };
        (ours && asked).then_some(message)
    }
}

/// The answers of the wanted type, as text.
fn rdata(answer: &Message, question: &Question) -> Vec<String> {
    let records = answer.answers.iter().filter(|record| record.record_type() == question.rtype);
    records.map(|record| record.data.to_string()).collect()
}

/// Names match in any case, and with or without the final dot.
fn is_same(found: &str, wanted: &str) -> bool {
    let plain = |text: &str| {
        text.split_whitespace().map(|word| word.trim_end_matches('.').to_ascii_lowercase()).collect::<Vec<_>>()
    };
    plain(found) == plain(wanted)
}

fn serial(answer: &Message) -> Option<u32> {
    answer.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    })
}
