//! The same zones in a real nsd and in a table: every name that exists, its children, siblings and
//! case variants, all types of interest, with and without DO. Code, AA, answer and authority must be
//! equal, TTLs included.
//!
//! Where we differ on purpose:
//!
//! * **NS RRset in the authority section of positive answers**: nsd adds it, we do not. It is no part
//!   of the answer (RFC 1034 section 4.3.2 step 3a adds nothing there), costs a third of the packet,
//!   and minimal answers are what nsd itself gives with `minimal-responses: yes`.
//! * **ANY**: one RRset with its signatures (RFC 8482 section 4.1): the first one; nsd picks another,
//!   or gives all.
//! * **Chains that end nowhere**: each CNAME once, 16 at most (RFC 1034 section 5.2.2 leaves the end to
//!   the resolver); nsd stops elsewhere.
//! * **An alias into another zone of the same server**: the alias, and a referral if that zone is a delegated
//!   one. A resolver believes nothing of what stands behind it (RFC 5452 section 6) and asks for it; nsd adds it.
//! * **NSEC3 as the question at an alias**: the alias, as for every type (RFC 1034 section 3.6.2); nsd
//!   says NODATA.
//! * **Names below the owners of NSEC3 records**: these owners are no names of the zone (RFC 5155
//!   section 7.2.8). Not compared.
//! * **NODATA at a wildcard that is asked for by its own name**: the matching NSEC3 record is the whole
//!   proof (RFC 5155 section 7.2.3); nsd adds that of the name above.
//! * **NODATA from a wildcard, and names below an opt-out span, with NSEC3**: the whole proof of the
//!   closest encloser (RFC 5155 sections 7.2.5 and 7.2.2); nsd leaves out parts of it, or all.
//! * **NXDOMAIN behind a DNAME**: both NSEC records (RFC 4035 section 3.1.3.2); nsd leaves one out.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::sync::Arc;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use domain::base::iana::Rtype;

use nsd_failover::dns::name::Name;
use nsd_failover::dns::record::Record;
use nsd_failover::failover::pool::{Node, Pool, Slot};
use nsd_failover::serve::relay;
use nsd_failover::table::respond::{Limits, Response, Transport, failure, respond};
use nsd_failover::table::zone_table::{Mode, ZoneTable};
use nsd_failover::table::{Catalog, Table};
use nsd_failover::zone::Zone;
use nsd_failover::zone::tag::Role;

use super::support::{CLIENT, held, pool, reply_octets, type_of};
use crate::support::nsd::Nsd;
use crate::support::signed::{exchange, lines, query, signed};

const TYPES: [&str; 19] = [
    "A",
    "AAAA",
    "NS",
    "SOA",
    "CNAME",
    "DNAME",
    "MX",
    "TXT",
    "SRV",
    "PTR",
    "DS",
    "ANY",
    "NSEC",
    "NSEC3",
    "NSEC3PARAM",
    "RRSIG",
    "DNSKEY",
    "TYPE666",
    "CAA",
];

/// [`WRITTEN`], and RRsets that take more than the 16 KiB that a compression pointer reaches: at a name, at a
/// wildcard, and where an alias leads.
fn written() -> Vec<u8> {
    let mut text = WRITTEN.to_owned();
    for number in 0..160 {
        text.push_str(&format!("*.big TXT \"{number:->100}\"\nlarge TXT \"{number:->101}\"\n"));
    }
    text.push_str("tobig CNAME anything.big\n");
    text.into_bytes()
}

/// Wildcards in wildcards, deep empty non-terminals, loops, delegations with all kinds of glue.
const WRITTEN: &str = r#"$TTL 3600
@               SOA   ns1 hostmaster 7 3600 600 864000 900
@               NS    ns1
@               NS    ns.sub
@               NS    ns.far.test.
@          300  A     192.0.2.10
@               MX    10 mail
@               MX    20 mail.sub
@               TXT   one two
ns1             A     192.0.2.53
ns1             AAAA  2001:db8::53
mail            A     192.0.2.25
www        300  A     192.0.2.10
www        300  A     192.0.2.11
alias           CNAME www
alias2          CNAME Alias
out             CNAME www.far.test.
dangling        CNAME nothere
self            CNAME self
tosub           CNAME host.sub
towild          CNAME anything.wild
a.b.c.d.ent     TXT   deep
b.c.d.ent       A     192.0.2.1
*.wild          TXT   star
*.wild          MX    10 mail
x.y.wild        TXT   blocks
*.walias        CNAME www
*.*.double      TXT   stars
*.went          CNAME nothere
sub             NS    ns.sub
sub             NS    ns1
sub             NS    ns.sibling
sub             DS    12345 8 2 0000000000000000000000000000000000000000000000000000000000000000
ns.sub          A     192.0.2.77
ns.sub          AAAA  2001:db8::77
mail.sub        A     192.0.2.78
sibling         NS    ns.sibling
ns.sibling      A     192.0.2.79
deep.cut.here   NS    ns.far.test.
moved           DNAME target.ent
moved2          DNAME far.test.
a.target.ent    TXT   found
srv             SRV   1 2 443 www
srv             SRV   1 2 443 mail.sub
ptr             PTR   www
caa             CAA   0 issue "ca.test"
strange         TYPE666 \# 3 010203
\052.literal    TXT   escaped
"#;

#[test]
fn a_written_zone() {
    compare(&[("example.test", written())], Zones::Unsigned);
}

/// Zones of one server that lead into each other, by alias and by delegation.
#[test]
fn zones_beside_and_below_each_other() {
    let head = "$TTL 3600\n@ SOA ns1 hostmaster 7 3600 600 864000 900\n@ NS ns1\nns1 A 192.0.2.53\n";
    let above = format!(
        "{head}here A 192.0.2.1\nto CNAME there.other.test.\nlost CNAME nothere.other.test.\nmoved DNAME other.test.\n\
         down CNAME www.sub\nsub NS ns1.sub\nns1.sub A 192.0.2.53\n\
         sub DS 12345 8 2 0000000000000000000000000000000000000000000000000000000000000000\n\
         *.wild CNAME there.other.test.\n@ MX 10 there.other.test.\n"
    );
    let below = format!("{head}www A 192.0.2.2\nup CNAME here.example.test.\nagain CNAME to.example.test.\n");
    let beside = format!("{head}there A 192.0.2.3\nthere TXT x\nback CNAME here.example.test.\n");
    let zones = [("example.test", above), ("sub.example.test", below), ("other.test", beside)];
    let zones: Vec<(&str, Vec<u8>)> = zones.iter().map(|(origin, text)| (*origin, text.clone().into_bytes())).collect();
    compare(&zones, Zones::Unsigned);
}

#[test]
fn generated_zones() {
    for seed in 1..=4 {
        let zones: Vec<(String, Vec<u8>)> =
            (0..3).map(|number| (format!("z{number}.test"), generated(seed * 100 + number))).collect();
        let zones: Vec<(&str, Vec<u8>)> = zones.iter().map(|(origin, text)| (origin.as_str(), text.clone())).collect();
        compare(&zones, Zones::Unsigned);
    }
}

#[test]
fn a_zone_signed_with_nsec() {
    compare(&[("example.test", signed("example.test", &written(), &[]))], Zones::Signed);
}

#[test]
fn a_zone_signed_with_nsec3() {
    compare(&[("example.test", signed("example.test", &written(), &["-3", "aabbccdd", "-H", "5"]))], Zones::Signed);
}

#[test]
fn a_zone_signed_with_nsec3_and_opt_out() {
    let options = ["-3", "-", "-H", "0", "-A"];
    // Below here there is nothing but an unsigned delegation, and so no NSEC3 record: we prove the
    // closest encloser that has one (RFC 5155 section 7.2.2), nsd takes one that has none.
    let text = WRITTEN.replace("deep.cut.here", "deep");
    compare(&[("example.test", signed("example.test", text.as_bytes(), &options))], Zones::OptOut);
}

#[test]
fn generated_zones_signed() {
    for (seed, options) in [(11, &[][..]), (12, &["-3", "-", "-H", "1"])] {
        compare(&[("z.test", signed("z.test", &generated(seed), options))], Zones::Signed);
    }
}

/// Names of up to four labels out of five, with whatever may stand together. The same for a seed.
fn generated(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut pick = move |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) % bound
    };
    let labels = ["a", "b", "c", "*", "dd"];
    let mut text = "$TTL 600\n@ SOA a b 1 2 3 400000 500\n@ NS a\n@ NS b.c\n".to_owned();
    let (mut used, mut dnames): (BTreeSet<String>, Vec<String>) = (BTreeSet::new(), Vec::new());
    for _ in 0..60 {
        let depth = 1 + pick(4);
        let owner: Vec<&str> = (0..depth).map(|_| labels[pick(5) as usize]).collect();
        let owner = owner.join(".");
        let below = |dname: &String| owner.ends_with(&format!(".{dname}"));
        if dnames.iter().any(below) || !used.insert(owner.clone()) {
            continue;
        }
        let target: Vec<&str> = (0..=pick(3)).map(|_| labels[pick(5) as usize]).collect();
        let target = target.join(".");
        let lines: &[String] = match pick(9) {
            0 | 1 => &[format!("{owner} A 192.0.2.{}", pick(250))],
            2 => &[format!("{owner} TXT t{}", pick(100)), format!("{owner} MX 10 {target}")],
            3 => &[format!("{owner} CNAME {target}")],
            4 => &[format!("{owner} CNAME {target}.far.test.")],
            // nsd has no opinion about a wildcard that delegates or moves (RFC 4592 section 4.2, 4.4).
            5 if !owner.contains('*') => &[format!("{owner} NS {target}"), format!("{owner} NS far.test.")],
            6 if !owner.contains('*') && !used.iter().any(|name| name.ends_with(&format!(".{owner}"))) => {
                dnames.push(owner.clone());
                &[format!("{owner} DNAME {target}")]
            }
            _ => &[format!("{owner} AAAA 2001:db8::{}", pick(99)), format!("{owner} SRV 1 2 3 {target}")],
        };
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.into_bytes()
}

/// What all zones of a comparison are.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Zones {
    Unsigned,
    Signed,
    OptOut,
}

fn compare(zones: &[(&str, Vec<u8>)], kind: Zones) {
    let dnssec = kind != Zones::Unsigned;
    let texts: Vec<(&str, &[u8])> = zones.iter().map(|(origin, text)| (*origin, text.as_slice())).collect();
    let nsd = Nsd::start(&texts);
    let mut stream = TcpStream::connect(nsd.address()).unwrap();
    let (mut texts, mut pools) = (Vec::new(), Vec::new());
    let (mut zone_tables, mut overlays, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (origin, text) in zones {
        let origin: Name = origin.parse().unwrap();
        let zone = Zone::parse(&origin, "zone", text.clone()).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let records: Vec<Record> = zone.records().map(|found| found.record).collect();
        let real = records.iter().filter(|record| record.rtype != Rtype::NSEC3 && !is_over_nsec3(record));
        real.for_each(|record| around(&record.owner, &origin, &mut names));
        for record in records.iter().filter(|_| !dnssec) {
            pools.extend(pool_of(record));
        }
        texts.push((origin, records));
    }
    for (origin, records) in &texts {
        let slot = |record: &Record| {
            let wanted = pool_of(record)?.nodes;
            let pool = pools.iter().position(|pool| pool.nodes == wanted)?;
            Some(Slot { pool, role: Role::Primary })
        };
        let compile = |mode| {
            let records = records.iter().map(|record| (record.clone(), slot(record)));
            Arc::new(ZoneTable::compile(origin, records, &pools, mode).unwrap())
        };
        zone_tables.push(compile(Mode::Whole));
        overlays.push(compile(Mode::Overlay));
    }
    let origins: Vec<Name> = texts.iter().map(|(origin, _)| origin.clone()).collect();
    let roles = vec![held(Some(0), None); pools.len()];
    let table = |zones| Table::new(Arc::new(Catalog::new(zones).unwrap()), 1, &roles, &[], &[]);
    let (table, overlay) = (table(zone_tables), table(overlays));
    let (mut asked, mut own, mut differences) = (0, 0, Vec::new());
    for name in &names {
        for rtype in TYPES {
            for dnssec_ok in [false, true].into_iter().take(if dnssec { 2 } else { 1 }) {
                let query = query(name, type_of(rtype), dnssec_ok);
                let ours = reply_octets(&table, &query, &Limits::new(Transport::Stream, false));
                let (from_overlay, is_own) = in_front(&overlay, &query);
                assert!(ours == from_overlay, "{name} {rtype}: an overlay says something else");
                let ours = Message::from_vec(&ours).unwrap();
                let theirs = exchange(&mut stream, &query);
                (asked, own) = (asked + 1, own + u32::from(is_own));
                if !same(&ours, &theirs, name, rtype, kind, &origins) {
                    let flag = if dnssec_ok { "+dnssec" } else { "" };
                    let (ours, theirs) = (show(&ours), show(&theirs));
                    let only = |these: &BTreeSet<String>, those: &BTreeSet<String>| {
                        these.difference(those).cloned().collect::<Vec<_>>().join("\n    ")
                    };
                    differences.push(format!(
                        "{name} {rtype} {flag}\n  only ours:\n    {}\n  only nsd\'s:\n    {}",
                        only(&ours, &theirs),
                        only(&theirs, &ours)
                    ));
                }
            }
        }
    }
    assert!(asked > 1_000, "only {asked} questions");
    // An overlay without failover records has nothing of its own.
    assert!(
        if dnssec { own == 0 } else { (20..asked / 4).contains(&own) },
        "{own} of {asked} answers are the overlay's"
    );
    let count = differences.len();
    // Some from everywhere: neighbours differ in the same way.
    let step = count.div_ceil(20).max(1);
    let mut number = 0;
    differences.retain(|_| {
        number += 1;
        number % step == 0
    });
    assert!(count == 0, "{count} of {asked} answers differ:\n{}", differences.join("\n"));
}

/// A pool whose one node has the address of this record: with its node as primary, an answer is as in the file.
fn pool_of(record: &Record) -> Option<Pool> {
    let ipv4 = <[u8; 4]>::try_from(&*record.rdata).ok().filter(|_| record.rtype == Rtype::A);
    let ipv6 = <[u8; 16]>::try_from(&*record.rdata).ok().filter(|_| record.rtype == Rtype::AAAA);
    if ipv4.is_none() && ipv6.is_none() {
        return None;
    }
    let node = Node { name: "node".to_owned(), ipv4: ipv4.map(Into::into), ipv6: ipv6.map(Into::into) };
    Some(Pool { nodes: vec![node], ..pool() })
}

/// What a client hears of an overlay whose nsd is gone, and whether the overlay would have answered anyway.
fn in_front(overlay: &Table, query: &[u8]) -> (Vec<u8>, bool) {
    let limits = Limits::new(Transport::Stream, true);
    let mut out = vec![0; 65_535];
    let (response, is_own) = match respond(overlay, query, &limits, &CLIENT, &mut out) {
        Response::Relay => (failure(overlay, query, relay::UNANSWERED, &limits, &CLIENT, &mut out), false),
        own => (own, true),
    };
    let Response::Reply(answer) = response else { panic!("{response:?}") };
    out.truncate(answer.len);
    (out, is_own)
}

fn is_over_nsec3(record: &Record) -> bool {
    record.rtype == Rtype::RRSIG && record.rdata.starts_with(&Rtype::NSEC3.to_int().to_be_bytes())
}

/// A name and what surrounds it.
fn around(owner: &Name, origin: &Name, names: &mut BTreeSet<String>) {
    let text = owner.to_string();
    for name in [text.clone(), format!("zz.{text}"), format!("*.{text}"), format!("q.r.{text}"), text.to_uppercase()] {
        names.insert(name);
    }
    let mut above = owner.parent();
    while let Some(name) = above.filter(|name| name.is_within(origin)) {
        names.insert(name.to_string());
        names.insert(format!("aa.{name}"));
        above = name.parent();
    }
}

fn same(ours: &Message, theirs: &Message, name: &str, rtype: &str, zones: Zones, origins: &[Name]) -> bool {
    let head = |message: &Message| (message.metadata.response_code, message.metadata.authoritative);
    let (answer, nsds_answer) = (lines(&ours.answers), lines(&theirs.answers));
    let has = |wanted: &str| answer.iter().any(|line| line.split(' ').nth(2) == Some(wanted));
    let is_at_alias = ours.answers.first().is_some_and(|first| first.record_type() == RecordType::CNAME);
    let is_at_alias = rtype == "NSEC3" && is_at_alias;
    if is_at_alias && nsds_answer.is_empty() {
        return head(theirs) == (ResponseCode::NoError, true) && ours.metadata.authoritative;
    }
    if leaves_zone(ours, origins) {
        let aa = [ours, theirs].map(|message| message.metadata.authoritative);
        return ours.metadata.response_code == ResponseCode::NoError
            && aa == [true; 2]
            && answer.is_subset(&nsds_answer);
    }
    // Whatever else is allowed to differ.
    if head(ours) != head(theirs) {
        return false;
    }
    if rtype == "ANY" && !answer.is_empty() {
        return !nsds_answer.is_empty();
    }
    let is_nodata = answer.is_empty() && ours.metadata.response_code == ResponseCode::NoError;
    let links = ours.answers.iter().filter(|record| matches!(record.record_type(), RecordType::CNAME)).count();
    if links >= 16 || loops(ours) {
        return !nsds_answer.is_empty() && (answer.is_superset(&nsds_answer) || nsds_answer.is_superset(&answer));
    }
    // What nsd says of the zone's own name servers beside an answer.
    let courtesy = |line: &String| !ours.answers.is_empty() && ours.metadata.authoritative && is_ns(line);
    let authority: BTreeSet<String> = lines(&ours.authorities);
    let mut nsds_authority: BTreeSet<String> = lines(&theirs.authorities);
    if authority.iter().all(|line| !is_ns(line)) {
        nsds_authority.retain(|line| !courtesy(line));
    }
    let only_denies = |more: &BTreeSet<String>, less: &BTreeSet<String>| {
        more.is_superset(less) && more.difference(less).all(|line| denies(line))
    };
    let nsec3 = authority.iter().any(|line| line.split(' ').nth(2) == Some("nsec3"));
    let authorities_agree = authority == nsds_authority
        || if has("dname") {
            ours.metadata.response_code == ResponseCode::NXDomain && only_denies(&authority, &nsds_authority)
        } else if nsec3 && name.starts_with("*.") && is_nodata {
            only_denies(&nsds_authority, &authority)
        } else {
            nsec3 && (is_nodata || zones == Zones::OptOut) && only_denies(&authority, &nsds_authority)
        };
    answer == nsds_answer && authorities_agree
}

/// The last alias of the answer leads from its own zone into another one of these, above, below or beside it.
fn leaves_zone(message: &Message, origins: &[Name]) -> bool {
    let zone_of = |name: &str| {
        let name: Name = name.parse().unwrap();
        origins.iter().filter(|origin| name.is_within(origin)).max_by_key(|origin| origin.labels().count())
    };
    let last = message.answers.last().filter(|last| last.record_type() == RecordType::CNAME);
    last.is_some_and(|last| {
        let target = zone_of(&last.data.to_string());
        target.is_some() && target != zone_of(&last.name.to_ascii())
    })
}

/// A record of a denial chain, or the signature over one.
fn denies(line: &str) -> bool {
    let rtype = line.split(' ').nth(2);
    matches!(rtype, Some("nsec" | "nsec3"))
        || (is_rrsig(line) && ["anything: [0, 47,", "anything: [0, 50,"].iter().any(|covered| line.contains(covered)))
}

fn is_rrsig(line: &str) -> bool {
    line.split(' ').nth(2) == Some("rrsig")
}

/// Some CNAME of the answer leads back to where another one came from.
fn loops(message: &Message) -> bool {
    let owners: BTreeSet<String> = message.answers.iter().map(|record| record.name.to_ascii().to_lowercase()).collect();
    let last = message.answers.iter().rev().find(|record| record.record_type() == RecordType::CNAME);
    last.is_some_and(|last| owners.contains(&last.data.to_string().to_lowercase()))
        && message.answers.iter().all(|record| matches!(u16::from(record.record_type()), 5 | 39 | 46))
}

/// An NS record, or the signature over one.
fn is_ns(line: &str) -> bool {
    let rtype = line.split(' ').nth(2);
    rtype == Some("ns") || (rtype == Some("rrsig") && line.contains("anything: [0, 2,"))
}

fn show(message: &Message) -> BTreeSet<String> {
    let meta = &message.metadata;
    let mut found = BTreeSet::from([format!("{:?} aa={}", meta.response_code, meta.authoritative)]);
    for (section, records) in [("answer", &message.answers), ("authority", &message.authorities)] {
        let short = |line: String| format!("{section}: {}", line.chars().take(150).collect::<String>());
        found.extend(lines(records).into_iter().map(short));
    }
    found
}
