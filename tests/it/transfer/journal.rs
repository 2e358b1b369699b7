//! Serial, journal, differences and the whole zone agree, however often and however wildly the roles
//! move; plain calls on tables, no sockets.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use domain::base::{Message, ParsedRecord};
use domain::rdata::{AllRecordData, Soa};
use nsd_failover::dns::message::Query;
use nsd_failover::dns::name::Name;
use nsd_failover::dns::transfer::Wanted;
use nsd_failover::failover::binding::Binding;
use nsd_failover::failover::pool::{Families, Node, Pool, PoolRoles, Preempt, Roles, Rotate, WhenAllDown};
use nsd_failover::health::family::PerFamily;
use nsd_failover::table::respond::{Client, Limits, Response, Transport, respond};
use nsd_failover::table::transfer::journal::{Journal, VERSIONS_MAX};
use nsd_failover::table::transfer::stream::{Kind, Stream};
use nsd_failover::table::zone_table::{Mode, ZoneTable};
use nsd_failover::table::{Catalog, Table};
use nsd_failover::zone::Zone;
use proptest::prelude::*;

/// A query for the whole of example.org.
const AXFR: &[u8] = b"\0\x01\0\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\xfc\0\x01";

fn pool(name: &str) -> Pool {
    let node = |name: &str, last, ipv6: Option<u16>| Node {
        name: name.to_owned(),
        ipv4: Some([192, 0, 2, last].into()),
        ipv6: ipv6.map(|last| [0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into()),
    };
    Pool {
        name: name.to_owned(),
        nodes: vec![node("a", 1, Some(1)), node("b", 2, None), node("c", 3, Some(3))],
        checks: Vec::new(),
        rotate: Rotate::Never,
        preempt: Preempt::Never,
        when_all_down: WhenAllDown::Keep,
        families: Families::Independent,
        min_hold_ms: 0,
        ttl_min_s: None,
        anchors: Vec::new(),
    }
}

/// Names that follow one pool, the other, both; with a fixed address, with two families.
const ZONE: &str = "\
$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 604800 300
@ IN NS ns1
ns1 IN A 203.0.113.1
@ IN A 192.0.2.1 ; Enable failover pool=web role=primary
@ IN AAAA 2001:db8::1 ; Enable failover pool=web role=primary
www IN A 192.0.2.1 ; Enable failover pool=web role=primary
www IN A 192.0.2.2 ; Enable failover pool=web role=standby
www IN A 203.0.113.9
both IN A 192.0.2.1 ; Enable failover pool=web role=primary
both IN A 192.0.2.2 ; Enable failover pool=mail role=standby
mail IN A 192.0.2.1 ; Enable failover pool=mail role=primary
mail IN AAAA 2001:db8::1 ; Enable failover pool=mail role=primary
mail IN MX 10 mail
";

fn compile(text: &str) -> Arc<ZoneTable> {
    compile_as(text, Mode::Whole)
}

fn compile_as(text: &str, mode: Mode) -> Arc<ZoneTable> {
    let pools = [pool("web"), pool("mail")];
    let origin: Name = "example.org".parse().unwrap();
    let zone = Zone::parse(&origin, "z", text.as_bytes().to_vec()).unwrap();
    let (binding, _) = Binding::new(&zone, None, &pools);
    let records = zone.records().map(|found| {
        let slot = found.tag.as_ref().and_then(|tag| binding.slot(tag));
        (found.record, slot)
    });
    Arc::new(ZoneTable::compile(&origin, records, &pools, mode).unwrap().with_content(Some(7)))
}

/// Holders of primary and standby of both families of both pools: eight numbers; 3 is nobody.
type Held = [u8; 8];

fn table(zone: &Arc<ZoneTable>, serial: u32, held: Held) -> Arc<Table> {
    let holder = |at: usize| (held[at] < 3).then_some(usize::from(held[at]));
    let roles = |at: usize| Roles { primary: holder(at), standby: holder(at + 1) };
    let pool = |at: usize| -> PoolRoles { PerFamily { ipv4: roles(at), ipv6: roles(at + 2) } };
    let catalog = Arc::new(Catalog::new(vec![zone.clone()]).unwrap());
    Arc::new(Table::new(catalog, u64::from(serial), &[pool(0), pool(4)], &[None, None], &[serial]))
}

/// All records of a transfer in their order, SOA records by their serial.
fn records(table: &Arc<Table>, wanted: Wanted, journal: &Journal) -> (Kind, Vec<String>) {
    let query = Query::read(AXFR).unwrap();
    let past = match wanted {
        Wanted::Since(serial) => journal.since(serial),
        Wanted::Whole => None,
    };
    let mut stream = Stream::new(table.clone(), 0, wanted, past).unwrap();
    let (mut message, mut all) = (Vec::new(), Vec::new());
    while stream.next(&query, &mut message) {
        let message = Message::from_octets(message.as_slice()).unwrap();
        for record in message.answer().unwrap() {
            let record: ParsedRecord<_> = record.unwrap();
            let text = match record.to_record::<Soa<_>>().unwrap() {
                Some(soa) => soa.data().serial().to_string(),
                None => record.to_any_record::<AllRecordData<_, _>>().unwrap().to_string(),
            };
            all.push(text);
        }
    }
    assert_eq!(all.len() as u64, stream.records());
    (stream.kind(), all)
}

fn zone_of(table: &Arc<Table>, journal: &Journal) -> BTreeSet<String> {
    let (kind, all) = records(table, Wanted::Whole, journal);
    assert_eq!(kind, Kind::Whole);
    let serial = table.serial(0).to_string();
    assert!(all.first() == Some(&serial) && all.last() == Some(&serial) && all.len() > 3);
    let zone: BTreeSet<String> = all[1..all.len() - 1].iter().cloned().collect();
    assert_eq!(zone.len(), all.len() - 2, "no record twice");
    zone
}

/// What a secondary makes of an incremental answer (RFC 1995 section 4). It has `before`.
fn apply(before: &BTreeSet<String>, answer: &[String], from: u32, to: u32) -> BTreeSet<String> {
    let (from, to) = (from.to_string(), to.to_string());
    assert_eq!((&answer[0], &answer[1]), (&to, &from));
    let middle = 2 + answer[2..].iter().position(|text| *text == to).unwrap();
    assert_eq!(answer.last(), Some(&to));
    let mut zone = before.clone();
    for text in &answer[2..middle] {
        assert!(zone.remove(text), "{text} is not there to be removed");
    }
    for text in &answer[middle + 1..answer.len() - 1] {
        assert!(zone.insert(text.clone()), "{text} is there already");
    }
    zone
}

#[test]
fn ten_thousand_swaps_and_no_growth() {
    let zone = compile(ZONE);
    let held =
        |serial: u32| -> Held { std::array::from_fn(|at| (serial.wrapping_mul(2_654_435_761) >> (2 * at) & 3) as u8) };
    let mut journal = Journal::new(&table(&zone, 1, held(1)), 0);
    for serial in 2..=10_000 {
        let table = table(&zone, serial, held(serial));
        assert!(journal.record(&table, 0));
        assert!(!journal.record(&table, 0), "once is enough");
        assert!(journal.versions() <= VERSIONS_MAX);
    }
    let now = table(&zone, 10_000, held(10_000));
    let whole = zone_of(&now, &journal);
    for behind in [1, 2, 10, VERSIONS_MAX as u32 - 1] {
        let from = 10_000 - behind;
        let before = zone_of(&table(&zone, from, held(from)), &journal);
        let (kind, answer) = records(&now, Wanted::Since(from), &journal);
        match kind {
            Kind::Changes => assert_eq!(apply(&before, &answer, from, 10_000), whole, "{behind} behind"),
            // Nearly everything in this zone has changed.
            Kind::Whole => assert!(answer.len() > 10),
            Kind::Current => panic!("it is behind"),
        }
    }
    assert_eq!(records(&now, Wanted::Since(10_000 - VERSIONS_MAX as u32), &journal).0, Kind::Whole, "too old");
}

#[test]
fn another_content_begins_a_new_journal_and_the_same_one_does_not() {
    let zone = compile(ZONE);
    let mut journal = Journal::new(&table(&zone, 1, [0; 8]), 0);
    journal.record(&table(&zone, 2, [1; 8]), 0);
    // Loaded again, unchanged.
    let again = compile(ZONE);
    journal.record(&table(&again, 3, [0; 8]), 0);
    assert_eq!(journal.versions(), 3);
    let (kind, answer) = records(&table(&again, 3, [0; 8]), Wanted::Since(1), &journal);
    assert_eq!((kind, answer.len()), (Kind::Changes, 4), "there and back");
    // A transfer that holds the table of before the reload does not mix the two.
    assert_eq!(records(&table(&zone, 2, [1; 8]), Wanted::Since(1), &journal).0, Kind::Whole);
}

/// The same zone, edited.
fn compile_edited(text: &str, content: u64) -> Arc<ZoneTable> {
    match Arc::try_unwrap(compile(text)) {
        Ok(zone) => Arc::new(zone.with_content(Some(content))),
        Err(_) => unreachable!("nobody else has it"),
    }
}

/// An edit goes out as its difference, from any version before it, whatever else has moved.
#[test]
fn an_edit_is_a_difference_too() {
    // Names that stay, so that the difference is less than the zone.
    let fixed: String = (0..20).map(|n| format!("fixed{n} IN A 203.0.113.{n}\n")).collect();
    let whole = format!("{ZONE}{fixed}");
    let zone = compile(&whole);
    let mut journal = Journal::new(&table(&zone, 1, [0; 8]), 0);
    let before = [(1, table(&zone, 1, [0; 8])), (2, table(&zone, 2, [1; 8]))];
    journal.record(&before[1].1, 0);
    let text = whole
        .replace("ns1 hostmaster", "ns1 postmaster")
        .replace("mail IN MX 10 mail\n", "mail IN MX 20 mail\nnew IN CNAME mail.new\n")
        + "mail.new IN TXT \"x\"\n";
    let edited = compile_edited(&text, 8);
    for (serial, held) in [(3, [0; 8]), (4, [2; 8])] {
        let now = table(&edited, serial, held);
        journal.record(&now, 0);
        for (from, past) in &before {
            let (kind, answer) = records(&now, Wanted::Since(*from), &journal);
            assert_eq!(kind, Kind::Changes, "{from} to {serial}");
            let found = apply(&zone_of(past, &journal), &answer, *from, serial);
            assert_eq!(found, zone_of(&now, &journal), "{from} to {serial}");
        }
    }
    assert_eq!(journal.versions(), 2, "of this content");
    // Nothing has moved since the first version: what was edited, and no more.
    let (_, answer) = records(&table(&edited, 3, [0; 8]), Wanted::Since(1), &journal);
    assert_eq!(answer.len(), 4 + 4, "{answer:?}");
    // Hardly a record is left as it was: the whole zone is less.
    let other = compile_edited("$TTL 60\n@ IN SOA ns1 h 1 3600 600 604800 300\n@ IN NS ns2\n", 9);
    let now = table(&other, 5, [0; 8]);
    assert_eq!(records(&now, Wanted::Since(1), &journal).0, Kind::Whole);
}

/// A signed query is verified where we are the authority; behind a relay the key may be nsd's.
#[test]
fn who_judges_a_signature() {
    let tsig = b"\x01k\0\0\xfa\0\xff\0\0\0\0\0\x1a\x08hmac-md5\0\0\0\0\0\0\0\x01\x2c\0\0\0\x01\0\0\0\0";
    let rdata_len = tsig.len() - 13;
    let mut tsig = tsig.to_vec();
    tsig[12] = rdata_len as u8;
    let query = |name: &[u8]| {
        let header = b"\0\x01\0\0\0\x01\0\0\0\0\0\x01";
        [&header[..], name, b"\x07example\x03org\0\0\x10\0\x01", &tsig].concat()
    };
    let ask = |mode: Mode, keys: bool| {
        let table = table(&compile_as(ZONE, mode), 1, [0; 8]);
        let limits = Limits { keys, ..Limits::new(Transport::Udp, true) };
        let client = Client { address: Ipv4Addr::LOCALHOST.into(), now_s: 0 };
        respond(&table, &query(b"\x04mail"), &limits, &client, &mut [0; 512])
    };
    assert_eq!(ask(Mode::Whole, true), Response::Verify(512));
    assert!(matches!(ask(Mode::Whole, false), Response::Reply(_)), "without keys nobody can");
    assert_eq!(ask(Mode::Overlay, true), Response::Relay);
    assert_eq!(ask(Mode::Overlay, false), Response::Relay);
}

/// Records larger than a message's usual size, and more names than fit into one.
#[test]
fn messages_are_closed_in_time() {
    let mut text = ZONE.to_owned();
    for number in 0..3_000 {
        text.push_str(&format!("host-{number} IN CNAME www.host-{number}\n"));
    }
    for number in 0..5 {
        let strings: String = (0..200).map(|_| format!(" \"{}\"", "x".repeat(250 + number))).collect();
        text.push_str(&format!("txt{number} IN TXT{strings}\n"));
    }
    let zone = compile(&text);
    let now = table(&zone, 1, [0; 8]);
    let journal = Journal::new(&now, 0);
    let found = zone_of(&now, &journal);
    assert_eq!(found.len(), text.lines().count() - 2 - 2, "but $TTL, SOA, and two addresses that are there twice");
    let mut stream = Stream::new(now, 0, Wanted::Whole, None).unwrap();
    let (mut message, mut count) = (Vec::new(), 0);
    while stream.next(&Query::read(AXFR).unwrap(), &mut message) {
        let records = u16::from_be_bytes([message[6], message[7]]);
        assert!(message.len() <= 16_384 || records == 1, "{} octets", message.len());
        assert!(message.len() < 65_535 - 512, "room for a signature");
        count += 1;
    }
    assert!(count > 5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever applies the difference has the zone, from any version to any.
    #[test]
    fn the_difference_makes_one_version_the_other(before in prop::array::uniform8(0u8..4), after in prop::array::uniform8(0u8..4), steps in 1u32..5) {
        let zone = compile(ZONE);
        let first = table(&zone, 1, before);
        let mut journal = Journal::new(&first, 0);
        for step in 1..steps {
            journal.record(&table(&zone, 1 + step, std::array::from_fn(|at| (before[at] + step as u8) % 4)), 0);
        }
        let last = table(&zone, 1 + steps, after);
        journal.record(&last, 0);
        let (kind, answer) = records(&last, Wanted::Since(1), &journal);
        if kind == Kind::Changes {
            prop_assert_eq!(apply(&zone_of(&first, &journal), &answer, 1, 1 + steps), zone_of(&last, &journal));
        } else {
            prop_assert_eq!(answer, records(&last, Wanted::Whole, &journal).1);
        }
    }
}
