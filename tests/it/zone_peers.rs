//! Zone text against nsd and BIND: the same files accepted and refused, and record for record the
//! same octets, in written cases and in odd but valid zones of a seeded generator.
//!
//! `tests/data/zones/*.zone` are the cases (origin `example.org`, run in that folder);
//! `tests/data/zones/DIFFERENCES` lists where we differ on purpose, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nsd_failover::config::zones::FileSource;
use nsd_failover::dns::rdata::to_text;
use nsd_failover::zone::Zone;
use nsd_failover::zone::contained::self_contained;

use super::support::odd_zones::{OddZone, RDATA, generates};

const ORIGIN: &str = "example.org";

/// How many odd zones are made; `ODD_ZONES` in the environment asks for more.
const ODD_ZONES: u64 = 40;

/// A record as octets: owner in lower case, type, TTL, RDATA.
type Octets = (Vec<u8>, u16, u32, Vec<u8>);

#[test]
fn written_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/zones");
    let listed = differences(&fs::read_to_string(folder.join("DIFFERENCES")).unwrap());
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut cases: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    for path in cases.iter().filter(|path| path.extension().is_some_and(|ending| ending == "zone")) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        for (kind, detail) in compare(&folder, path.file_name().unwrap().to_str().unwrap()) {
            let key = format!("{name} {kind}");
            if !listed.contains_key(&key) {
                wrong.push(format!("{key}: {detail}"));
            }
            seen.insert(key);
        }
    }
    wrong.extend(listed.keys().filter(|key| !seen.contains(*key)).map(|key| format!("{key}: listed, but not so")));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(cases.len() > 30, "{} cases", cases.len());
}

#[test]
fn odd_zones() {
    let count = std::env::var("ODD_ZONES").ok().and_then(|count| count.parse().ok()).unwrap_or(ODD_ZONES);
    for seed in 0..count {
        let folder = tempfile::tempdir().unwrap();
        let zone = OddZone::new(seed);
        for (file, text) in &zone.files {
            fs::write(folder.path().join(file), text).unwrap();
        }
        let differences = compare(folder.path(), "zone");
        let text = String::from_utf8_lossy(&zone.files[0].1);
        assert!(differences.is_empty(), "seed {seed}: {differences:#?}\n{text}");
        let read = ours(folder.path(), "zone");
        let read = read.unwrap_or_else(|reason| panic!("seed {seed} makes no valid zone: {reason}\n{text}"));
        // As an export-file would have it: one text, the same records to all of them.
        let own = fs::read(folder.path().join("zone")).unwrap();
        let mut source = FileSource::new(folder.path(), &folder.path().join("zone"));
        let loaded = Zone::load(&ORIGIN.parse().unwrap(), "zone", own, &mut source).unwrap();
        fs::write(folder.path().join("whole"), self_contained(&loaded).unwrap()).unwrap();
        assert_eq!(unequal(&read, &ours(folder.path(), "whole").unwrap()), None, "seed {seed}");
        let differences = compare(folder.path(), "whole");
        assert!(differences.is_empty(), "seed {seed}, in one text: {differences:#?}\n{text}");
    }
}

/// nsd does not know `$GENERATE`: BIND is the judge.
#[test]
fn generated_records() {
    for seed in 0..ODD_ZONES {
        let folder = tempfile::tempdir().unwrap();
        let text = generates(seed);
        fs::write(folder.path().join("zone"), &text).unwrap();
        let shown = || format!("seed {seed}:\n{}", String::from_utf8_lossy(&text));
        let ours = ours(folder.path(), "zone").unwrap_or_else(|reason| panic!("{reason}\n{}", shown()));
        let bind = bind(folder.path(), "zone").unwrap_or_else(|reason| panic!("{reason}\n{}", shown()));
        assert_eq!(unequal(&ours, &bind), None, "{}", shown());
        assert!(ours.len() > 10, "{}", shown());
    }
}

/// Every type as we print it: nsd, BIND and we ourselves read the octets that it was printed from.
#[test]
fn what_we_print_is_read_alike() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns.example.net.\n".to_owned();
    for (number, rdata) in RDATA.iter().enumerate() {
        text += &format!("r{number} {rdata}\n");
    }
    let zone = Zone::parse(&ORIGIN.parse().unwrap(), "z", text.clone().into_bytes()).unwrap();
    let print = |found: nsd_failover::zone::ZoneRecord| {
        let record = found.record;
        format!("{} {} IN {} {}\n", record.owner, record.ttl, record.rtype, to_text(record.rtype, &record.rdata))
    };
    let printed: String = zone.records().map(print).collect();
    fs::write(folder.path().join("written"), &text).unwrap();
    fs::write(folder.path().join("printed"), &printed).unwrap();
    assert_eq!(unequal(&ours(folder.path(), "written").unwrap(), &ours(folder.path(), "printed").unwrap()), None);
    let differences = compare(folder.path(), "printed");
    assert!(differences.is_empty(), "{differences:#?}\n{printed}");
    // Types that nobody has a text for; `domain` leaves out a gateway that is none.
    let generic = printed.lines().filter(|line| line.contains(r"\#"));
    let known: Vec<&str> = generic.filter(|line| !line.contains(" IN TYPE")).collect();
    assert!(known.len() <= 1 && known.iter().all(|line| line.contains(" IN IPSECKEY ")), "{known:#?}");
}

/// "case kind" -> why; a line starting with `#` is a comment.
fn differences(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (key, why) = line.split_once(": ").unwrap_or_else(|| panic!("no reason: {line}"));
        assert!(why.len() > 10, "{line}");
        (key.to_owned(), why.to_owned())
    };
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(line).collect()
}

/// Every way in which we differ from nsd and BIND over a file, with what shows it.
fn compare(folder: &Path, file: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let ours = ours(folder, file);
    let verdicts = |theirs: &Result<String, String>| match (&ours, theirs) {
        (Ok(_), Err(reason)) => Some(format!("we accept, they say: {reason}")),
        (Err(reason), Ok(_)) => Some(format!("they accept, we say: {reason}")),
        _ => None,
    };
    let nsd = nsd(folder, file);
    let bind = bind(folder, file);
    found.extend(verdicts(&nsd).map(|detail| ("nsd", detail)));
    found.extend(verdicts(&bind.as_ref().map(|_| String::new()).map_err(Clone::clone)).map(|detail| ("bind", detail)));
    let Ok(ours) = ours else { return found };
    if let Ok(bind) = bind {
        found.extend(unequal(&ours, &bind).map(|detail| ("bind-records", detail)));
    }
    if let Ok(text) = nsd {
        // BIND puts on the wire what nsd prints. nsd writes names in lower case.
        let printed = tempfile::tempdir().unwrap();
        fs::write(printed.path().join("printed"), text).unwrap();
        match self::bind(printed.path(), "printed") {
            Ok(nsd) => found.extend(unequal(&lower(&ours), &lower(&nsd)).map(|detail| ("nsd-records", detail))),
            Err(reason) => found.push(("nsd-records", format!("BIND does not read what nsd prints: {reason}"))),
        }
    }
    found
}

fn lower(records: &BTreeSet<Octets>) -> BTreeSet<Octets> {
    let lower = |(owner, rtype, ttl, rdata): &Octets| (owner.clone(), *rtype, *ttl, rdata.to_ascii_lowercase());
    records.iter().map(lower).collect()
}

fn unequal(ours: &BTreeSet<Octets>, theirs: &BTreeSet<Octets>) -> Option<String> {
    let shown = |(owner, rtype, ttl, rdata): &Octets| {
        format!("{} TTL {ttl} TYPE{rtype} {}", owner.escape_ascii(), rdata.escape_ascii())
    };
    let only = |one: &BTreeSet<Octets>, other: &BTreeSet<Octets>| {
        one.difference(other).take(5).map(shown).collect::<Vec<_>>().join(", ")
    };
    (ours != theirs).then(|| format!("only ours: [{}]; only theirs: [{}]", only(ours, theirs), only(theirs, ours)))
}

fn ours(folder: &Path, file: &str) -> Result<BTreeSet<Octets>, String> {
    let bytes = fs::read(folder.join(file)).unwrap();
    let mut source = FileSource::new(folder, &folder.join(file));
    let zone = Zone::load(&ORIGIN.parse().unwrap(), file, bytes, &mut source).map_err(|list| {
        list.iter().find(|found| found.is_error()).expect("a zone is refused for an error").to_string()
    })?;
    let octets = |found: nsd_failover::zone::ZoneRecord| {
        let record = found.record;
        (record.owner.wire().to_ascii_lowercase(), record.rtype.to_int(), record.ttl, record.rdata.into_vec())
    };
    Ok(zone.records().filter(|found| !found.withdrawn).map(octets).collect())
}

fn run(command: &mut Command, package: &str) -> Output {
    let program = command.get_program().to_string_lossy().into_owned();
    command.output().unwrap_or_else(|error| panic!("{program} is needed (Debian package {package}): {error}"))
}

/// What nsd prints of a zone that it takes.
fn nsd(folder: &Path, file: &str) -> Result<String, String> {
    let output = run(Command::new("nsd-checkzone").current_dir(folder).args(["-p", ORIGIN, file]), "nsd");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(text) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// The records as BIND puts them on the wire.
fn bind(folder: &Path, file: &str) -> Result<BTreeSet<Octets>, String> {
    let scratch = tempfile::tempdir().unwrap();
    let raw = scratch.path().join("raw");
    let lenient = ["-i", "none", "-k", "ignore", "-n", "ignore", "-m", "ignore", "-r", "ignore", "-S", "ignore"];
    let mut command = Command::new("named-compilezone");
    command.current_dir(folder).args(lenient).args(["-T", "ignore", "-W", "ignore", "-F", "raw", "-o"]);
    let output = run(command.arg(&raw).args([ORIGIN, file]), "bind9-utils");
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        return Err(String::from_utf8_lossy(&said).into_owned());
    }
    Ok(read_raw(&fs::read(&raw).unwrap()))
}

/// BIND's raw format (lib/dns/include/dns/masterdump.h): a header, then RRsets in wire form.
fn read_raw(bytes: &[u8]) -> BTreeSet<Octets> {
    let mut rest = bytes;
    let mut take = |length: usize| {
        let (taken, behind) = rest.split_at_checked(length)?;
        rest = behind;
        Some(taken)
    };
    let number = |octets: &[u8]| octets.iter().fold(0_usize, |number, octet| number << 8 | usize::from(*octet));
    let header = take(24).expect("a header");
    assert_eq!(&header[..8], [0, 0, 0, 2, 0, 0, 0, 1], "raw format, version 1");
    let mut records = BTreeSet::new();
    // Total length, class, type, covered type, TTL, number of records, length of the owner.
    while let Some(head) = take(4 + 2 + 2 + 2 + 4 + 4 + 2) {
        let (rtype, ttl) = (number(&head[6..8]) as u16, number(&head[10..14]) as u32);
        let owner = take(number(&head[18..20])).unwrap().to_ascii_lowercase();
        for _ in 0..number(&head[14..18]) {
            let length = number(take(2).unwrap());
            records.insert((owner.clone(), rtype, ttl, take(length).unwrap().to_vec()));
        }
    }
    records
}
