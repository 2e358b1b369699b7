//! Any octets as a query.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use domain::base::iana::{Class, Rtype};
use nsd_failover::dns::message::Query;
use nsd_failover::dns::name::Name;
use nsd_failover::dns::record::Record;
use nsd_failover::table::respond::{Answer, Client, Limits, PAYLOAD_MAX, Response, Transport, respond as answer};
use nsd_failover::table::zone_table::{Mode, ZoneTable};
use nsd_failover::table::{Catalog, Table};

const CLIENT: Client = Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), now_s: 1 };

/// A zone with a node of every kind that the walk tells apart.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let origin: Name = "a".parse().expect("a name");
    let record = |owner: &[u8], rtype, rdata: &[u8]| {
        let owner = Name::from_text(owner, Some(&origin)).expect("a name");
        (Record { owner, rtype, class: Class::IN, ttl: 300, rdata: rdata.into() }, None)
    };
    let soa = [&b"\x01a\0\x01a\0"[..], &[0; 20]].concat();
    let records = vec![
        record(b"@", Rtype::SOA, &soa),
        record(b"@", Rtype::NS, b"\x01n\x01a\0"),
        record(b"@", Rtype::MX, b"\0\x01\x01n\x01a\0"),
        record(b"n", Rtype::A, &[192, 0, 2, 1]),
        record(b"c", Rtype::CNAME, b"\x01C\x01w\x01A\0"),
        record(b"*.w", Rtype::CNAME, b"\x01d\x01a\0"),
        record(b"d", Rtype::DNAME, b"\x01d\x01d\x01a\0"),
        record(b"s", Rtype::NS, b"\x01n\x01s\x01a\0"),
        record(b"n.s", Rtype::AAAA, &[1; 16]),
        record(b"e.e", Rtype::TXT, b"\x01x"),
    ];
    let zone = ZoneTable::compile(&origin, records.into_iter(), &[], Mode::Whole).expect("a sound zone");
    Table::new(Arc::new(Catalog::new(vec![Arc::new(zone)]).expect("one zone")), 1, &[], &[], &[])
});

/// Over both transports, with and without a relay and keys: no panic, no reply to a reply, the ID and
/// the question come back, and UDP replies keep to their size.
pub fn respond(message: &[u8]) {
    let mut out = vec![0; 65_535];
    for transport in [Transport::Udp, Transport::Stream] {
        for (relay, keys) in [(false, false), (true, false), (false, true), (true, true)] {
            let limits = Limits { keys, ..Limits::new(transport, relay) };
            let parsed = Query::read(message);
            match answer(&TABLE, message, &limits, &CLIENT, &mut out) {
                Response::Drop => assert!(message.len() < 12 || message[2] & 0x80 != 0),
                Response::Relay => assert!(relay && parsed.is_ok()),
                Response::Verify(most) => {
                    assert!(keys && parsed.is_ok());
                    assert!(transport == Transport::Stream || most <= PAYLOAD_MAX.into());
                }
                Response::Reply(Answer { len: length, .. }) => {
                    assert_eq!(out[..2], message[..2]);
                    assert_eq!((message[2] & 0x80, out[2] & 0x80), (0, 0x80));
                    assert!(transport == Transport::Stream || length <= PAYLOAD_MAX.into());
                    if let Ok(query) = parsed {
                        assert!(out[12..length].starts_with(query.question.wire));
                    }
                }
            }
        }
    }
}
