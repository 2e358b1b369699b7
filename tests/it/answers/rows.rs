//! `respond()` row by row: the question, and the whole reply.

use hickory_proto::op::{Message, OpCode, ResponseCode};

use nsd_failover::table::Table;
use nsd_failover::table::respond::{Limits, Response, Transport, respond};
use nsd_failover::table::zone_table::Mode;

use super::support::*;

/// Asks over UDP with EDNS and compares the whole reply.
fn rows(table: &Table, rows: &[(&str, &[&str])]) {
    for (question, expected) in rows {
        let (owner, rtype) = question.split_once(' ').unwrap();
        let reply = ask(table, &query(owner, type_of(rtype)), &limits());
        assert_eq!(show(&reply).lines().collect::<Vec<_>>(), *expected, "\n{question}");
        let edns = reply.edns.as_ref().expect("EDNS in, EDNS out");
        assert_eq!((edns.version(), edns.max_payload(), edns.flags().dnssec_ok), (0, 1232, false));
    }
}

const SOA: &str = "authority @ 300 SOA ns1 hostmaster 1000 3600 600 86400 300";

#[test]
fn positive() {
    rows(
        &table(Mode::Whole),
        &[
            ("www A", &["NOERROR aa", "www 300 A 192.0.2.10"]),
            ("WwW aaaa", &["NOERROR aa", "WwW 60 AAAA 2001:db8::10"]),
            ("standby A", &["NOERROR aa", "standby 300 A 198.51.100.20"]),
            ("@ A", &["NOERROR aa", "@ 300 A 192.0.2.10"]),
            // Static and two slots in one RRset: one TTL, the lowest (RFC 2181 section 5.2).
            ("both A", &["NOERROR aa", "both 200 A 192.0.2.10", "both 200 A 198.51.100.20", "both 200 A 203.0.113.1"]),
            // The SOA has the serial of the decision, and its own TTL.
            ("@ SOA", &["NOERROR aa", "@ 3600 SOA ns1 hostmaster 1000 3600 600 86400 300"]),
            (
                "@ NS",
                &[
                    "NOERROR aa",
                    "@ 3600 NS ns1",
                    "@ 3600 NS ns2.elsewhere.test.",
                    "additional ns1 3600 A 192.0.2.53",
                    "additional ns1 3600 AAAA 2001:db8::53",
                ],
            ),
            // The same exchange twice: its address once.
            (
                "@ MX",
                &[
                    "NOERROR aa",
                    "@ 3600 MX 10 mail",
                    "@ 3600 MX 20 mail",
                    "@ 3600 MX 30 mx.elsewhere.test.",
                    "additional mail 600 A 192.0.2.25",
                ],
            ),
            (
                "srv SRV",
                &[
                    "NOERROR aa",
                    "srv 3600 SRV 1 2 443 www",
                    "additional www 300 A 192.0.2.10",
                    "additional www 60 AAAA 2001:db8::10",
                ],
            ),
        ],
    );
}

#[test]
fn negative() {
    let none: &[&str] = &["NOERROR aa", SOA];
    let no_name: &[&str] = &["NXDOMAIN aa", SOA];
    rows(
        &table(Mode::Whole),
        &[
            ("www MX", none),
            ("www TYPE666", none),
            ("v4only AAAA", none),
            ("@ TXT", none),
            // Empty non-terminals exist (RFC 4592 section 2.2.2), what is beside them does not.
            ("b.ent A", none),
            ("ent A", none),
            ("x.ent A", no_name),
            ("x.a.b.ent A", no_name),
            ("nothere A", no_name),
            ("a.very.deep.name.that.is.not.here TXT", no_name),
            ("x.www A", no_name),
        ],
    );
}

#[test]
fn wildcards_of_rfc4592() {
    rows(
        &table(Mode::Whole),
        &[
            ("any.wild TXT", &["NOERROR aa", "any.wild 3600 TXT star"]),
            ("More.Than.One.wild TXT", &["NOERROR aa", "More.Than.One.wild 3600 TXT star"]),
            ("*.wild A", &["NOERROR aa", "*.wild 3600 A 192.0.2.99"]),
            ("any.wild MX", &["NOERROR aa", SOA]),
            ("wild TXT", &["NOERROR aa", SOA]),
            // What exists is not covered, nor is what lies below it.
            ("x.y.wild TXT", &["NOERROR aa", "x.y.wild 3600 TXT blocks"]),
            ("y.wild TXT", &["NOERROR aa", SOA]),
            ("z.y.wild TXT", &["NXDOMAIN aa", SOA]),
            ("q.walias A", &["NOERROR aa", "q.walias 3600 CNAME www", "www 300 A 192.0.2.10"]),
        ],
    );
}

#[test]
fn aliases() {
    rows(
        &table(Mode::Whole),
        &[
            ("alias CNAME", &["NOERROR aa", "alias 3600 CNAME www"]),
            ("alias A", &["NOERROR aa", "alias 3600 CNAME www", "www 300 A 192.0.2.10"]),
            (
                "alias2 AAAA",
                &["NOERROR aa", "alias2 3600 CNAME Alias", "Alias 3600 CNAME www", "www 60 AAAA 2001:db8::10"],
            ),
            ("alias TXT", &["NOERROR aa", "alias 3600 CNAME www", SOA]),
            ("out A", &["NOERROR aa", "out 3600 CNAME www.elsewhere.test."]),
            ("dangling A", &["NXDOMAIN aa", "dangling 3600 CNAME nothere", SOA]),
            ("loop1 A", &["NOERROR aa", "loop1 3600 CNAME loop2", "loop2 3600 CNAME loop1"]),
            ("self A", &["NOERROR aa", "self 3600 CNAME self"]),
            (
                "a.moved TXT",
                &[
                    "NOERROR aa",
                    "moved 3600 DNAME target.ent",
                    "a.moved 3600 CNAME a.target.ent",
                    "a.target.ent 3600 TXT found",
                ],
            ),
            ("moved TXT", &["NOERROR aa", SOA]),
            // Below a DNAME nothing else exists (RFC 6672 section 2.4).
            (
                "under.moved TXT",
                &["NXDOMAIN aa", "moved 3600 DNAME target.ent", "under.moved 3600 CNAME under.target.ent", SOA],
            ),
        ],
    );
}

#[test]
fn referrals() {
    let delegation: &[&str] = &[
        "NOERROR",
        "authority sub 3600 NS ns.sub",
        "authority sub 3600 NS ns1",
        "authority sub 3600 NS ns.sibling",
        "authority sub 3600 NS ns.elsewhere.test.",
        "additional ns.sub 3600 A 192.0.2.77",
        "additional ns.sub 3600 AAAA 2001:db8::77",
        "additional ns1 3600 A 192.0.2.53",
        "additional ns1 3600 AAAA 2001:db8::53",
        "additional ns.sibling 3600 A 192.0.2.78",
    ];
    let after_alias: Vec<&str> =
        ["NOERROR aa", "tosub 3600 CNAME x.sub"].iter().chain(&delegation[1..]).copied().collect();
    rows(
        &table(Mode::Whole),
        &[
            ("sub A", delegation),
            ("sub NS", delegation),
            ("x.y.sub A", delegation),
            ("hidden.sub TXT", delegation),
            ("ns.sub A", delegation),
            ("tosub A", &after_alias),
            ("sub DS", &["NOERROR aa", "sub 3600 DS 36 octets"]),
            ("sibling DS", &["NOERROR aa", SOA]),
            ("x.sub DS", delegation),
        ],
    );
}

#[test]
fn any_gets_one_rrset() {
    rows(
        &table(Mode::Whole),
        &[
            ("www ANY", &["NOERROR aa", "www 300 A 192.0.2.10"]),
            ("alias ANY", &["NOERROR aa", "alias 3600 CNAME www"]),
            ("ent ANY", &["NOERROR aa", SOA]),
            ("nothere ANY", &["NXDOMAIN aa", SOA]),
        ],
    );
}

/// A decision moves all names at once; a name that is withdrawn does not cease to exist.
#[test]
fn decisions() {
    let catalog = catalog(Mode::Whole);
    let table = |roles, ttl_max_s| Table::new(catalog.clone(), 2, &[roles], &[ttl_max_s], &[2000]);
    let soa = SOA.replace("1000", "2000");
    rows(
        &table(held(Some(1), Some(0)), None),
        &[
            ("www A", &["NOERROR aa", "www 300 A 198.51.100.20"]),
            ("www AAAA", &["NOERROR aa", "www 60 AAAA 2001:db8:1::20"]),
            ("standby A", &["NOERROR aa", "standby 300 A 192.0.2.10"]),
        ],
    );
    rows(
        &table(held(Some(2), None), None),
        &[
            ("www A", &["NOERROR aa", "www 300 A 203.0.113.30"]),
            // A node without an address of the family, and a role that nobody holds.
            ("www AAAA", &["NOERROR aa", &soa]),
            ("standby A", &["NOERROR aa", &soa]),
            ("standby TXT", &["NOERROR aa", &soa]),
            ("both A", &["NOERROR aa", "both 200 A 203.0.113.30", "both 200 A 203.0.113.1"]),
        ],
    );
    // One node in both roles: its address once.
    rows(
        &table(held(Some(0), Some(0)), None),
        &[("both A", &["NOERROR aa", "both 200 A 192.0.2.10", "both 200 A 203.0.113.1"])],
    );
    // A bound for TTLs holds for whatever the decision can move, and for nothing else.
    let capped = soa.replace("@ 300", "@ 30");
    rows(
        &table(held(Some(0), None), Some(30)),
        &[
            ("www A", &["NOERROR aa", "www 30 A 192.0.2.10"]),
            ("alias A", &["NOERROR aa", "alias 3600 CNAME www", "www 30 A 192.0.2.10"]),
            ("standby A", &["NOERROR aa", &capped]),
            ("mail A", &["NOERROR aa", "mail 600 A 192.0.2.25"]),
        ],
    );
}

#[test]
fn overlay() {
    let table = Table::new(catalog(Mode::Overlay), 1, &[held(Some(0), None)], &[None], &[1000]);
    rows(
        &table,
        &[
            ("www A", &["NOERROR aa", "www 300 A 192.0.2.10"]),
            ("standby A", &["NOERROR aa", SOA]),
            ("www ANY", &["NOERROR aa", "www 300 A 192.0.2.10"]),
            ("alias2 A", &["NOERROR aa", "alias2 3600 CNAME Alias", "Alias 3600 CNAME www", "www 300 A 192.0.2.10"]),
            ("q.walias A", &["NOERROR aa", "q.walias 3600 CNAME www", "www 300 A 192.0.2.10"]),
        ],
    );
    let relay = Limits::new(Transport::Udp, true);
    for question in [
        "www MX",
        "v4only AAAA",
        "standby AAAA",
        "@ SOA",
        "@ NS",
        "@ MX",
        "mail A",
        "nothere A",
        "alias CNAME",
        "alias TXT",
        "out A",
        "dangling A",
        "loop1 A",
        "any.wild A",
        "x.sub A",
        "sub DS",
        "a.moved TXT",
        "b.ent A",
        "mail ANY",
        "standby ANY",
        "www.elsewhere.test. A",
    ] {
        let (owner, rtype) = question.split_once(' ').unwrap();
        let octets = query(owner, type_of(rtype)).to_vec().unwrap();
        assert_eq!(respond(&table, &octets, &relay, &CLIENT, &mut [0; 4096]), Response::Relay, "{question}");
        // Without a relay it is refused: claims about what nsd has are never made up.
        rows(&table, &[(question, &["REFUSED"])]);
    }
    // Behind a relay everybody would look like the local host to nsd's access lists.
    for rtype in ["AXFR", "IXFR"] {
        let reply = ask(&table, &query("@", type_of(rtype)), &relay);
        assert_eq!(show(&reply), "REFUSED", "{rtype}");
    }
}

#[test]
fn refused() {
    let table = table(Mode::Whole);
    for question in ["www.elsewhere.test. A", "org. SOA", ". NS", "badexample.org. A", "@ AXFR"] {
        rows(&table, &[(question, &["REFUSED"])]);
    }
    // Over UDP no difference, but the serial, which anybody may ask for (RFC 1995 section 2).
    let soa = "@ 3600 SOA ns1 hostmaster 1000 3600 600 86400 300";
    rows(&table, &[("@ IXFR", &["NOERROR aa", soa])]);
    let mut chaos = query("www", type_of("A"));
    chaos.queries[0].set_query_class(hickory_proto::rr::DNSClass::CH);
    assert_eq!(show(&ask(&table, &chaos, &limits())), "REFUSED");
    // The class ANY is answered, but nobody is an authority for it (RFC 1034 section 4.3.2, nsd).
    chaos.queries[0].set_query_class(hickory_proto::rr::DNSClass::ANY);
    assert_eq!(show(&ask(&table, &chaos, &limits())), "NOERROR\nwww 300 A 192.0.2.10");
}

#[test]
fn what_is_copied_from_the_query_and_what_is_not() {
    let table = table(Mode::Whole);
    let ask = |set: fn(&mut Message)| {
        let mut message = query("www", type_of("A"));
        set(&mut message);
        ask(&table, &message, &limits())
    };
    let first_line = |reply: &Message| show(reply).lines().next().unwrap().to_owned();
    assert_eq!(first_line(&ask(|query| query.metadata.recursion_desired = true)), "NOERROR aa rd");
    assert_eq!(first_line(&ask(|query| query.metadata.checking_disabled = true)), "NOERROR aa cd");
    let reply = ask(|query| {
        query.metadata.authoritative = true;
        query.metadata.truncation = true;
        query.metadata.recursion_available = true;
        query.metadata.authentic_data = true;
        query.metadata.response_code = ResponseCode::Refused;
    });
    assert_eq!(first_line(&reply), "NOERROR aa");
    let reply = ask(|query| {
        query.edns.as_mut().unwrap().set_dnssec_ok(true);
    });
    assert!(reply.edns.unwrap().flags().dnssec_ok);
    assert!(super::support::ask(&table, &plain_query("www", 1), &limits()).edns.is_none(), "no EDNS in, none out");
}

#[test]
fn sizes() {
    let table = table(Mode::Whole);
    let size = |payload: Option<u16>, limits: &Limits| {
        let mut message = if payload.is_some() { query("big", 16) } else { plain_query("big", 16) };
        if let (Some(edns), Some(payload)) = (&mut message.edns, payload) {
            edns.set_max_payload(payload);
        }
        let octets = reply_octets(&table, &message.to_vec().unwrap(), limits);
        let reply = Message::from_vec(&octets).unwrap();
        let whole = reply.answers.len() == 21;
        assert_eq!(reply.metadata.truncation, !whole, "TC unless it is all there");
        assert!(whole || reply.answers.is_empty(), "an RRset is never cut in two");
        (octets.len(), whole)
    };
    for payload in [None, Some(0), Some(100), Some(512), Some(1232), Some(65_535)] {
        let (octets, whole) = size(payload, &limits());
        assert!(!whole && octets <= 512, "{payload:?}");
    }
    let stream = Limits::new(Transport::Stream, false);
    for payload in [None, Some(512)] {
        assert!(size(payload, &stream).1, "{payload:?}");
    }
    // A larger setting lets it through, as far as the client agrees.
    let generous = Limits { payload_max: 4096, ..limits() };
    assert!(size(Some(4096), &generous).1);
    assert!(!size(Some(1232), &generous).1);
    // A small buffer truncates and does not panic.
    let octets = query("big", 16).to_vec().unwrap();
    for room in 0..600 {
        respond(&table, &octets, &stream, &CLIENT, &mut vec![0; room]);
    }
}

#[test]
fn what_is_no_query() {
    let table = table(Mode::Whole);
    let mut out = [0; 4096];
    let octets = query("www", 1).to_vec().unwrap();
    for length in 0..12 {
        assert_eq!(respond(&table, &octets[..length], &limits(), &CLIENT, &mut out), Response::Drop);
    }
    let mut reply = octets.clone();
    reply[2] |= 0x80;
    assert_eq!(respond(&table, &reply, &Limits::new(Transport::Udp, true), &CLIENT, &mut out), Response::Drop);
    for (opcode, name) in [(1, "IQUERY"), (2, "STATUS"), (4, "NOTIFY"), (5, "UPDATE"), (15, "unassigned")] {
        let mut message = octets.clone();
        // Every other flag is set: none comes back.
        message[2] = opcode << 3 | 0x07;
        message[3] = 0xff;
        let reply = reply_octets(&table, &message, &limits());
        assert_eq!(reply, [0xbe, 0xef, 0x80 | opcode << 3, 4, 0, 0, 0, 0, 0, 0, 0, 0], "{name}");
    }
    for length in 12..octets.len() {
        let reply = reply_octets(&table, &octets[..length], &limits());
        let message = Message::from_vec(&reply).unwrap();
        assert_eq!((message.metadata.response_code, message.metadata.id), (ResponseCode::FormErr, 0xbeef));
        assert_eq!(message.metadata.op_code, OpCode::Query);
    }
}
