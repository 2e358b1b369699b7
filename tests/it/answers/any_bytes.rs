//! Whatever arrives: no panic, and a reply only to what is a query.

use proptest::prelude::*;

use nsd_failover::dns::message::Query;
use nsd_failover::table::Table;
use nsd_failover::table::respond::{Answer, Limits, Response, Transport, respond};
use nsd_failover::table::zone_table::Mode;

use super::support::*;

fn check(table: &Table, message: &[u8], room: usize) {
    for transport in [Transport::Udp, Transport::Stream] {
        for relay in [false, true] {
            let limits = Limits::new(transport, relay);
            let mut out = vec![0; room];
            match respond(table, message, &limits, &CLIENT, &mut out) {
                Response::Drop => {}
                Response::Verify(_) => unreachable!("there are no keys"),
                Response::Relay => {
                    assert!(relay);
                    Query::read(message).expect("only what is well-formed is relayed");
                }
                Response::Reply(Answer { len: length, .. }) => {
                    assert_eq!(out[..2], message[..2], "the ID comes back");
                    assert_eq!(message[2] & 0x80, 0, "replies are never answered");
                    assert_eq!(out[2] & 0xf8, message[2] & 0x78 | 0x80, "QR and the opcode");
                    let reply = hickory_proto::op::Message::from_vec(&out[..length]).expect("hickory reads it");
                    if let Ok(query) = Query::read(message) {
                        assert_eq!(&out[12..12 + query.question.wire.len()], query.question.wire);
                        assert_eq!(reply.edns.is_some(), query.edns.is_some());
                        assert!(transport == Transport::Stream || length <= 1232);
                        assert!(query.edns.is_some() || transport == Transport::Stream || length <= 512);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise(message in proptest::collection::vec(any::<u8>(), 0..600), room in 0usize..1300) {
        check(&table(), &message, room);
    }

    /// A sound query with a few octets changed, cut off or added.
    #[test]
    fn almost_a_query(
        owner in "[a-z*.]{0,20}",
        rtype in any::<u16>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in 0usize..4,
        tail in proptest::collection::vec(any::<u8>(), 0..3),
    ) {
        let owner: Vec<&str> = owner.split('.').filter(|label| !label.is_empty()).collect();
        let owner = if owner.is_empty() { "@".to_owned() } else { owner.join(".") };
        let mut message = query(&owner, rtype).to_vec().unwrap();
        for (at, octet) in changes {
            let at = at.index(message.len());
            message[at] = octet;
        }
        message.truncate(message.len() - cut);
        message.extend(tail);
        check(&table(), &message, 65_535);
    }
}

fn table() -> std::sync::Arc<Table> {
    static TABLE: std::sync::LazyLock<std::sync::Arc<Table>> =
        std::sync::LazyLock::new(|| std::sync::Arc::new(super::support::table(Mode::Whole)));
    TABLE.clone()
}

/// Every type and every name of the zone, its case variants and its neighbours.
#[test]
fn every_type_and_every_name() {
    let table = table();
    for rtype in 0..=u16::MAX {
        check(&table, &query("www", rtype).to_vec().unwrap(), 4096);
    }
    for (record, _) in records() {
        let owner = record.owner.to_string();
        for owner in [owner.clone(), owner.to_uppercase(), format!("x.{owner}"), format!("*.{owner}")] {
            for rtype in ["A", "AAAA", "NS", "SOA", "CNAME", "MX", "TXT", "DS", "ANY", "DNAME", "RRSIG", "OPT"] {
                let mut message = query(&owner, type_of(rtype));
                check(&table, &message.to_vec().unwrap(), 65_535);
                message.edns = None;
                check(&table, &message.to_vec().unwrap(), 65_535);
            }
        }
    }
    for owner in [".", "com.", &format!("{}example.org.", "x.".repeat(121))] {
        check(&table, &query(owner, 1).to_vec().unwrap(), 65_535);
    }
}
