//! What each fuzz target does with its bytes. The fuzzers and a test that tries them for a while
//! (`tests/it/fuzz_bodies.rs`) share it.

pub mod answers;

use domain::base::Rtype;
use domain::base::iana::Class;
use domain::base::rdata::ComposeRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};
use nsd_failover::config::Config;
use nsd_failover::daemon::record::Record;
use nsd_failover::daemon::replay::live;
use nsd_failover::director::settings::Settings;
use nsd_failover::dns::name::Name;
use nsd_failover::dns::rdata::to_text;
use nsd_failover::export::skeleton::Skeleton;
use nsd_failover::export::{Rendered, render};
use nsd_failover::failover::binding::Binding;
use nsd_failover::failover::pool::{Node, Pool, Preempt, Roles, Rotate, WhenAllDown};
use nsd_failover::health::check::{Check, Kind, Tcp};
use nsd_failover::health::family::{Family, PerFamily};
use nsd_failover::zone::Zone;
use nsd_failover::zone::contained::self_contained;
use nsd_failover::zone::document::Document;
use nsd_failover::zone::edit::{Edit, Edited, apply, reread, write};
use nsd_failover::zone::obstacles::{Fate, obstacles};
use nsd_failover::zone::source::{Included, Source};
use nsd_failover::zone::tag::Tag;
use nsd_failover::zone::values::alone_differ;

fn origin() -> Name {
    "example.org".parse().expect("a name")
}

/// Every file that is asked for holds the second half of the input; names with an `x` do not exist.
struct OneFile(std::sync::Arc<Vec<u8>>);

impl Source for OneFile {
    fn read(&mut self, name: &str, limit: usize) -> Result<Included, String> {
        match name.contains('x') || self.0.len() > limit {
            true => Err("no such file".to_owned()),
            false => Ok(Included { file: name.to_owned(), bytes: self.0.clone(), remark: None }),
        }
    }
}

fn load(bytes: &[u8]) -> Document {
    let half = bytes.iter().position(|&octet| octet == 0).map_or(bytes.len(), |at| at + 1);
    let mut source = OneFile(bytes[half..].to_vec().into());
    Document::load("fuzz", &origin(), bytes[..half].to_vec(), &mut source)
}

/// Any bytes as a zone with an included file: nothing panics, not one byte is lost, everything that
/// there is to say can be said, and every record of a zone that was taken can be made.
pub fn document(bytes: &[u8]) {
    let document = load(bytes);
    let own = bytes.split_inclusive(|&octet| octet == 0).next().unwrap_or_default();
    assert_eq!(document.to_bytes(), own);
    assert_eq!(document.lines().len(), document.entries().len());
    for line in document.lines() {
        let _ = line.file();
        if let Some(record) = line.record() {
            printed(record.rtype, &record.rdata);
        }
    }
    match Zone::from_document(document) {
        Ok(zone) => {
            assert_eq!(zone.records().count(), zone.document().entries().len());
            assert_eq!(zone.soa().owner, origin());
        }
        Err(list) => {
            assert!(list.iter().any(|found| found.is_error()));
            for found in list {
                assert_eq!(found.to_string().lines().count(), 1, "one line");
                let _ = found.rendered();
            }
        }
    }
}

/// What is printed reads back as the same octets.
fn printed(rtype: Rtype, rdata: &[u8]) {
    let text = format!("example.org. 60 IN {rtype} {}\n", to_text(rtype, rdata));
    let again = Document::parse("printed", &origin(), text.clone().into_bytes());
    let again = again.lines().next().and_then(|line| line.record());
    assert_eq!(again.map(|record| record.rdata).as_deref(), Some(rdata), "{text}");
}

/// Edits of any zone: what comes out differs in what was asked for and in nothing else.
pub fn edit(bytes: &[u8]) {
    let Ok(zone) = Zone::from_document(load(bytes)) else { return };
    let mut edits = vec![Edit::Serial(zone.serial().wrapping_add(1))];
    for found in zone.failover_records() {
        let entry = found.entry;
        edits.push(if found.withdrawn { Edit::Restore { entry } } else { Edit::Withdraw { entry } });
    }
    // Where nothing stands in the way, any choice of edits can be made.
    let fate = |_: &Tag, _| Fate { pool: 0, may_be_withdrawn: true };
    let is_free = obstacles(&zone, &fate).is_empty();
    let halves = [0, 1].map(|half| edits.iter().copied().skip(1 + half).step_by(2).collect::<Vec<Edit>>());
    for edits in [&edits[..1], &edits[..], &halves[0], &halves[1]] {
        match apply(&zone, edits) {
            Ok(edited) => {
                if let (Some(text), true) = (edited.zone, edited.included.is_empty()) {
                    let grown = text.len().abs_diff(zone.document().to_bytes().len());
                    assert!(grown <= 10 + edits.len() * 24, "{grown} octets for {} edits", edits.len());
                }
            }
            // A file that is included twice changes as a whole or not at all.
            Err(error) => assert!(!is_free || zone.document().includes(), "nothing stood in the way: {error}"),
        }
    }
    values_alone(&zone);
    let whole = self_contained(&zone).expect("it has the same records");
    let again = Zone::parse(&origin(), "fuzz", whole).expect("it is a zone");
    assert!(again.records().map(|found| found.record).eq(zone.records().map(|found| found.record)));
    let pools = [pool()];
    let (binding, _) = Binding::new(&zone, Some(0), &pools);
    binding.roles_in_file(&pools);
    for (primary, standby) in [(Some(1), Some(0)), (None, None)] {
        let roles = PerFamily::from_fn(|_| Roles { primary, standby });
        if let Ok(Rendered::Changed(edited)) = render(&zone, &binding, &pools, &[roles], zone.serial().wrapping_add(1))
        {
            assert!(edited.zone.is_some() || !edited.included.is_empty());
        }
    }
}

/// Other values in every place: where the octets prove that nothing else has changed, reading the text
/// again says the same, and one octet more, less or other refutes it.
fn values_alone(zone: &Zone) {
    let mut edits = vec![Edit::Serial(zone.serial().wrapping_add(1))];
    for found in zone.failover_records().filter(|found| !found.withdrawn) {
        let address = if found.record.rtype == Rtype::A { "192.0.2.77" } else { "2001:db8::77" };
        edits.push(Edit::Address { entry: found.entry, address: address.parse().expect("an address") });
    }
    let Ok(Edited { zone: Some(text), included }) = write(zone, &edits) else { return };
    if !alone_differ(zone, &edits, &text) {
        return;
    }
    assert!(included.is_empty());
    reread(zone, &edits, &Edited { zone: Some(text.clone()), included }).expect("it reads as it was meant");
    let again = Zone::parse(zone.origin(), "fuzz", text.clone()).expect("it is a zone");
    assert_eq!(Skeleton::of(&again), Skeleton::of(zone));
    for at in (0..text.len()).step_by(text.len() / 16 + 1) {
        let (before, behind) = (&text[..at], &text[at + 1..]);
        for other in [[before, behind].concat(), [before, &[text[at] ^ 1], behind].concat()] {
            assert!(!alone_differ(zone, &edits, &other), "octet {at}");
        }
    }
}

fn pool() -> Pool {
    let node = |name: &str, ipv4: &str, ipv6: &str| Node {
        name: name.to_owned(),
        ipv4: ipv4.parse().ok(),
        ipv6: ipv6.parse().ok(),
    };
    Pool {
        name: "web".to_owned(),
        nodes: vec![node("a", "192.0.2.1", "2001:db8::1"), node("b", "192.0.2.2", "")],
        ..Pool::default()
    }
}

/// One line as the type and RDATA of a record, read by us and by `domain`: where both take it, the
/// octets are the same.
pub fn records(bytes: &[u8]) {
    let line = bytes.split(|octet| matches!(octet, b'\n' | b'\r')).next().unwrap_or_default();
    // `domain` takes an origin sign in RDATA for a label.
    if line.split(|octet| b" \t();\"".contains(octet)).any(|word| word == b"@") {
        return;
    }
    let head = "example.org. 60 IN ";
    let text = [head.as_bytes(), line, b"\n"].concat();
    let ours = Document::parse("fuzz", &origin(), text.clone());
    let Some(ours) = ours.lines().next().and_then(|line| line.record()) else { return };
    printed(ours.rtype, &ours.rdata);
    let mut theirs = Zonefile::new();
    theirs.extend_from_slice(&text);
    theirs.set_origin("example.org.".parse().expect("a name"));
    theirs.set_default_class(Class::IN);
    let Ok(Some(Entry::Record(record))) = theirs.next_entry() else { return };
    if record.rtype() != ours.rtype || record.rtype() == Rtype::from_int(0) {
        return;
    }
    let mut rdata = Vec::new();
    if record.data().compose_rdata(&mut rdata).is_ok() && record.ttl().as_secs() == ours.ttl {
        assert_eq!(rdata, ours.rdata.to_vec(), "{}", text.escape_ascii());
    }
}

/// Any text as a configuration: it is taken, or every problem is one line with its file.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Nothing on disk is opened for a fuzzer.
    if ["ca-file", "nsd-conf", "zone-files", "include"].iter().any(|key| text.contains(key)) {
        return;
    }
    if let Err(problems) = Config::parse(std::path::Path::new("fuzz.toml"), text) {
        assert!(!problems.is_empty());
        for problem in problems {
            let line = problem.to_string();
            assert!(line.starts_with("fuzz.toml:") && line.lines().count() == 1, "{line}");
        }
    }
}

/// Any bytes as a record of probes: refused with its line, or its first hour lived through again.
pub fn record(bytes: &[u8]) {
    let mut record = Record::default();
    if let Err(problem) = record.add("fuzz", bytes) {
        let number = problem.strip_prefix("fuzz:").and_then(|rest| rest.split(':').next());
        assert!(number.is_some_and(|number| number.parse::<usize>().is_ok_and(|number| number > 0)), "{problem}");
        assert_eq!(problem.lines().count(), 1, "{problem}");
        return;
    }
    let Ok(Some((start, end))) = record.span() else { return };
    let node = |name: &str, last| Node { name: name.to_owned(), ipv4: Some([192, 0, 2, last].into()), ipv6: None };
    let pool = Pool {
        name: "web".to_owned(),
        nodes: vec![node("a", 1), node("b", 2)],
        checks: vec!["web".to_owned()],
        rotate: Rotate::Weekly,
        preempt: Preempt::After(1_000),
        when_all_down: WhenAllDown::Withdraw,
        ttl_min_s: Some(1),
        ..Pool::default()
    };
    let check = Check {
        name: "web".to_owned(),
        kind: Kind::Tcp(Tcp::default()),
        interval_ms: 10_000,
        fast_interval_ms: 1_000,
        timeout_ms: 1_000,
        rise: 2,
        fall: 3,
        families: Family::ALL.to_vec(),
    };
    let settings = Settings { pools: vec![pool], checks: vec![check], ..Settings::default() };
    // An hour is enough: the rest is more of the same.
    live(&settings, &record, start, end.min(start.saturating_add(3_600_000)), &|_| {});
}
