//! Signed zones, and the answers to questions about them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use hickory_proto::op::{Edns, Message, OpCode, Query};
use hickory_proto::rr::{Name as HickoryName, RecordType};

use nsd_failover::dns::name::Name;

/// Signs a zone's text with BIND's tools, as an operator would. `options` are dnssec-signzone's.
pub fn signed(origin: &str, text: &[u8], options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(folder.path()).output();
        let output = output.unwrap_or_else(|error| panic!("{program} is not installed: {error}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    fs::write(folder.path().join("zone"), text).unwrap();
    run("dnssec-keygen", &["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", origin]);
    run("dnssec-keygen", &["-q", "-a", "ECDSAP256SHA256", origin]);
    let always = ["-q", "-S", "-z", "-o", origin, "-f", "signed", "-e", "now+86400"];
    run("dnssec-signzone", &[&always[..], options, &["zone"]].concat());
    fs::read(folder.path().join("signed")).unwrap()
}

/// A query with EDNS in wire form; empty if the name is too long.
pub fn query(name: &str, rtype: u16, dnssec_ok: bool) -> Vec<u8> {
    let name: Name = name.parse().unwrap();
    if name.wire().len() > 255 {
        return Vec::new();
    }
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.metadata.op_code = OpCode::Query;
    let owner = HickoryName::from_labels(name.labels()).unwrap();
    message.add_query(Query::query(owner, RecordType::from(rtype)));
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    edns.set_dnssec_ok(dnssec_ok);
    message.edns = Some(edns);
    message.to_vec().unwrap()
}

/// Asks over TCP and reads the reply.
pub fn exchange(stream: &mut TcpStream, query: &[u8]) -> Message {
    stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], query].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply).unwrap();
    Message::from_vec(&reply).unwrap()
}

/// Records without order, a line each, TTLs and all of the RDATA in it.
pub fn lines(records: &[hickory_proto::rr::Record]) -> BTreeSet<String> {
    let line = |record: &hickory_proto::rr::Record| {
        let owner = record.name.to_ascii().to_lowercase();
        format!("{owner} {} {} {:?}", record.ttl, record.record_type(), record.data).to_lowercase()
    };
    records.iter().map(line).collect()
}
