//! The export transaction against a real nsd: it is served, or the old file is back; whatever
//! others do meanwhile, and wherever it is cut off.
// Helpers of tests, where a panic is the message.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::base::iana::Rtype;
use nsd_failover::director::event::{ExportReport, ExportResult};
use nsd_failover::dns::name::Name;
use nsd_failover::export::skeleton::Skeleton;
use nsd_failover::publish::{
    Control, Cut, Expected, Job, Limits, NsdSettings, Publisher, ReadBack, Rehearsal, Renewed, Step, Texts,
};
use nsd_failover::zone::Zone;

use crate::support::nsd::Nsd;

const ORIGIN: &str = "foo.zone";
const REFERENCE: &[u8] = include_bytes!("../data/reference/foo.zone.zone");
const OLD_SERIAL: u32 = 1_711_829_573;
const PRIMARY: &str = "46.23.94.99";
const STANDBY: &str = "23.88.35.144";

/// nsd with the reference zone, and a publisher beside it.
struct Bench {
    nsd: Nsd,
    settings: NsdSettings,
}

impl Bench {
    fn new() -> Bench {
        let nsd = Nsd::start(&[(ORIGIN, REFERENCE)]);
        let limits =
            Limits { served_ms: 3_000, query_ms: 1_000, control_ms: 1_500, check_ms: 5_000, ..Limits::default() };
        let settings = NsdSettings {
            address: nsd.address(),
            verify: Vec::new(),
            control: nsd.control_argv().into(),
            checkzone: nsd.checkzone_argv(),
            state_dir: nsd.folder().join("state"),
            limits,
        };
        Bench { nsd, settings }
    }

    fn publisher(&self) -> Publisher {
        Publisher::new(self.settings.clone())
    }

    fn zone(&self) -> PathBuf {
        self.nsd.zone_path(ORIGIN)
    }

    /// The failover of the reference zone: roles exchanged, a new serial.
    fn job(&self, serial: u32) -> Job {
        let old = fs::read(self.zone()).unwrap();
        let bytes = failed_over(serial);
        let old_serial = serial_in(&old).unwrap_or(0);
        Job {
            origin: name(ORIGIN),
            source: Some(self.zone()),
            source_bytes: old.into(),
            source_serial: old_serial,
            target: self.zone(),
            bytes: bytes.into(),
            serial,
            generation: 7,
            included: Arc::new([]),
            include_dir: None,
        }
    }

    async fn export(&self, job: Job) -> ExportReport {
        self.publisher().export(job, reads).await
    }

    /// The same, where nsd must answer something else.
    async fn export_expecting(&self, job: Job, expect: Expected) -> ExportReport {
        self.publisher().export(job, move |_| Ok(meaning(vec![expect.clone()]))).await
    }

    /// The old file is there and served, and nothing else lies about.
    fn assert_old(&self) {
        assert_eq!(fs::read(self.zone()).unwrap(), REFERENCE, "the old file");
        assert_eq!(self.nsd.serial(ORIGIN), Some(OLD_SERIAL));
        assert_eq!(self.nsd.dig(&["www.foo.zone", "A"]), [PRIMARY]);
        self.assert_tidy();
    }

    fn assert_new(&self, serial: u32) {
        assert_eq!(fs::read(self.zone()).unwrap(), failed_over(serial), "the new file");
        assert_eq!(self.nsd.serial(ORIGIN), Some(serial));
        assert_eq!(self.nsd.dig(&["www.foo.zone", "A"]), [STANDBY]);
        self.assert_tidy();
    }

    /// No temp file beside the zone, no journal, no half state file.
    fn assert_tidy(&self) {
        assert_eq!(names(&self.nsd.folder().join("zones")), [format!("{ORIGIN}.zone")]);
        assert_eq!(names(&self.settings.state_dir.join("journal")), Vec::<String>::new());
        for name in names(&self.settings.state_dir.join("generations").join(ORIGIN)) {
            assert!(name.ends_with(".zone") || name == "index.json", "{name}");
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn a(owner: &str, addresses: &[&str]) -> Expected {
    let addresses = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect();
    Expected { owner: name(owner), rtype: Rtype::A, addresses }
}

fn meaning(expect: Vec<Expected>) -> ReadBack {
    ReadBack { expect: Box::new(|| Ok(expect)), skeleton: None }
}

/// The second look finds something.
fn doubted() -> ReadBack {
    ReadBack { expect: Box::new(|| Err("more has changed".to_owned())), skeleton: None }
}

/// What the failover of the reference zone means.
fn reads(_: &[u8]) -> Result<ReadBack, String> {
    Ok(meaning(vec![a("www.foo.zone", &[STANDBY]), a("foo.zone", &[STANDBY]), a("standby.foo.zone", &[PRIMARY])]))
}

fn failed_over(serial: u32) -> Vec<u8> {
    let text = std::str::from_utf8(REFERENCE).unwrap();
    let text = text.replace(PRIMARY, "@1").replace(STANDBY, PRIMARY).replace("@1", STANDBY);
    text.replace(&OLD_SERIAL.to_string(), &serial.to_string()).into_bytes()
}

fn serial_in(zone: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(zone).ok()?;
    text.lines().find(|line| line.contains("; serial"))?.split_whitespace().next()?.parse().ok()
}

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

/// Returns once nsd serves this serial.
async fn until_served(nsd: &Nsd, serial: u32) {
    let patience = Instant::now() + Duration::from_secs(10);
    while nsd.serial(ORIGIN) != Some(serial) {
        assert!(Instant::now() < patience, "nsd serves {:?}, not {serial}", nsd.serial(ORIGIN));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_good_export_is_served_and_keeps_mode_and_owner() {
    let bench = Bench::new();
    fs::set_permissions(bench.zone(), fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(bench.zone()).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let verified = seen.clone();
    let verify = move |bytes: &[u8]| {
        verified.lock().unwrap().extend_from_slice(bytes);
        reads(bytes)
    };
    let report = bench.publisher().export(bench.job(OLD_SERIAL + 1), verify).await;
    assert_eq!(report.result, ExportResult::Served, "{}", report.detail);
    assert_eq!((report.zone.as_str(), report.serial, report.generation), ("foo.zone.", OLD_SERIAL + 1, 7));
    assert!(report.detail.contains("3 failover RRsets"), "{}", report.detail);
    bench.assert_new(OLD_SERIAL + 1);
    assert_eq!(*seen.lock().unwrap(), failed_over(OLD_SERIAL + 1), "our parser saw what lies on disk");
    let after = fs::metadata(bench.zone()).unwrap();
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    // Another right behind it: the time of the file must not be the same.
    let report = bench.export(bench.job(OLD_SERIAL + 2)).await;
    assert_eq!(report.result, ExportResult::Served, "{}", report.detail);
    let kept = bench.publisher().kept(&name(ORIGIN)).await.unwrap();
    let serials: Vec<u32> = kept.iter().map(|kept| kept.serial).collect();
    assert_eq!(serials, [OLD_SERIAL + 2, OLD_SERIAL + 1, OLD_SERIAL]);
}

#[tokio::test]
async fn a_withdrawn_rrset_is_looked_for_too() {
    let bench = Bench::new();
    let report = bench.export_expecting(bench.job(OLD_SERIAL + 1), a("nothing.foo.zone", &[])).await;
    assert_eq!(report.result, ExportResult::Served);
    let report = bench.export_expecting(bench.job(OLD_SERIAL + 2), a("www.foo.zone", &[])).await;
    assert_eq!(report.result, ExportResult::RolledBack);
    assert!(report.detail.contains("www.foo.zone. A is 23.88.35.144 at nsd, not nothing"), "{}", report.detail);
    bench.assert_new(OLD_SERIAL + 1);
}

#[tokio::test]
async fn nsd_checkzone_says_no() {
    let bench = Bench::new();
    let modified = fs::metadata(bench.zone()).unwrap().modified().unwrap();
    let mut job = bench.job(OLD_SERIAL + 1);
    job.bytes = [failed_over(OLD_SERIAL + 1), b"bad IN A 1.2.3\n".to_vec()].concat().into();
    let report = bench.export(job).await;
    assert_eq!(report.result, ExportResult::Refused);
    let place = format!("{}:{}: invalid IPv4 address", bench.zone().display(), lines(REFERENCE) + 1);
    assert!(report.detail.contains(&place), "{} should say {place}", report.detail);
    bench.assert_old();
    assert_eq!(fs::metadata(bench.zone()).unwrap().modified().unwrap(), modified);
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|octet| **octet == b'\n').count()
}

#[tokio::test]
async fn our_own_parser_says_no() {
    let bench = Bench::new();
    let refuse = |_: &[u8]| Err("www A differs".to_owned());
    let report = bench.publisher().export(bench.job(OLD_SERIAL + 1), refuse).await;
    assert_eq!(report.result, ExportResult::Refused);
    assert!(report.detail.contains("www A differs"), "{}", report.detail);
    bench.assert_old();
    // A verifier that panics takes nothing with it.
    let panics = |_: &[u8]| -> Result<ReadBack, String> { panic!("boom") };
    let report = bench.publisher().export(bench.job(OLD_SERIAL + 1), panics).await;
    assert_eq!(report.result, ExportResult::Refused);
    bench.assert_old();
}

/// It looks while nsd loads; whatever becomes of it, nothing stays in service that it has not liked.
#[tokio::test]
async fn the_second_look_says_no_panics_or_hangs() {
    let mut bench = Bench::new();
    let report = bench.publisher().export(bench.job(OLD_SERIAL + 1), |_: &[u8]| Ok(doubted())).await;
    assert_eq!(report.result, ExportResult::RolledBack, "{}", report.detail);
    assert!(report.detail.starts_with("more has changed; the old file is back"), "{}", report.detail);
    bench.assert_old();
    let panics = |_: &[u8]| Ok(ReadBack { expect: Box::new(|| panic!("boom")), skeleton: None });
    let report = bench.publisher().export(bench.job(OLD_SERIAL + 1), panics).await;
    assert_eq!(report.result, ExportResult::RolledBack, "{}", report.detail);
    bench.assert_old();
    bench.settings.limits.check_ms = 300;
    // Until the report is there.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let ended = Arc::new(Mutex::new(ended));
    let hangs = move |_: &[u8]| {
        let ended = Arc::clone(&ended);
        let wait = move || {
            let _ = ended.lock().unwrap().recv();
            Ok(Vec::new())
        };
        Ok(ReadBack { expect: Box::new(wait), skeleton: None })
    };
    bench.settings.checkzone = Vec::new();
    let report = bench.publisher().export(bench.job(OLD_SERIAL + 1), hangs).await;
    drop(end);
    assert_eq!(report.result, ExportResult::RolledBack, "{}", report.detail);
    assert!(report.detail.contains("failover RRsets: not done within 300 ms"), "{}", report.detail);
    bench.assert_old();
}

#[tokio::test]
async fn nsd_says_ok_and_does_nothing() {
    let mut bench = Bench::new();
    bench.settings.control = shell("echo ok").into();
    let report = bench.export(bench.job(OLD_SERIAL + 1)).await;
    assert_eq!(report.result, ExportResult::RolledBack, "{}", report.detail);
    let why = format!("did not come to serve serial {}: it serves {OLD_SERIAL}", OLD_SERIAL + 1);
    assert!(report.detail.contains(&why), "{}", report.detail);
    bench.assert_old();
}

#[tokio::test]
async fn nsd_control_fails_or_hangs() {
    let mut bench = Bench::new();
    for (script, why) in [
        ("echo 'error: could not parse'", "error: could not parse"),
        ("echo no such socket >&2; exit 1", "no such socket"),
        ("sleep 600", "was not done within 1500 ms"),
    ] {
        bench.settings.control = shell(script).into();
        let report = bench.export(bench.job(OLD_SERIAL + 1)).await;
        assert_eq!(report.result, ExportResult::RolledBack, "{}", report.detail);
        assert!(report.detail.contains(why), "{}", report.detail);
        bench.assert_old();
    }
    bench.settings.control = vec!["/no/such/nsd-control".to_owned()].into();
    let report = bench.export(bench.job(OLD_SERIAL + 1)).await;
    assert_eq!(report.result, ExportResult::RolledBack, "{}", report.detail);
    bench.assert_old();
    bench.settings.checkzone = vec!["/no/such/nsd-checkzone".to_owned()];
    let report = bench.export(bench.job(OLD_SERIAL + 1)).await;
    assert_eq!(report.result, ExportResult::Refused, "{}", report.detail);
    assert!(report.detail.contains("cannot run /no/such/nsd-checkzone"), "{}", report.detail);
    bench.assert_old();
}

#[tokio::test]
async fn nsd_has_loaded_the_new_file_and_loads_the_old_one_again() {
    let bench = Bench::new();
    let report = bench.export_expecting(bench.job(OLD_SERIAL + 1), a("www.foo.zone", &["192.0.2.1"])).await;
    assert_eq!(report.result, ExportResult::RolledBack, "{}", report.detail);
    bench.assert_old();
}

/// An `nsd-checkzone` of another version may like what nsd does not: then nsd drops the zone, and
/// reads no file again that is not newer than the broken one.
#[tokio::test]
async fn nsd_has_wiped_the_zone_and_gets_the_old_one_back() {
    let mut bench = Bench::new();
    bench.settings.checkzone = shell("true");
    // Nobody waits for a zone that is gone.
    bench.settings.limits.served_ms = 60_000;
    let started = Instant::now();
    let mut job = bench.job(OLD_SERIAL + 1);
    job.bytes = b"rubbish\n".to_vec().into();
    let report = bench.export(job).await;
    assert_eq!(report.result, ExportResult::RolledBack, "{}", report.detail);
    assert!(report.detail.contains("answers Server Failure"), "{}", report.detail);
    assert!(started.elapsed() < Duration::from_secs(20));
    bench.assert_old();
}

#[tokio::test]
async fn an_operators_edit_is_never_overwritten() {
    let edit = [REFERENCE, b"new IN A 192.0.2.7\n"].concat();
    // Before the transaction reads, while it runs, and (the rename kind) just before the swap.
    for step in [None, Some(Step::Asked), Some(Step::Journaled), Some(Step::Written), Some(Step::Checked)] {
        let bench = Bench::new();
        let job = bench.job(OLD_SERIAL + 1);
        if step.is_none() {
            fs::write(bench.zone(), &edit).unwrap();
        }
        let act = |done: Step| {
            if Some(done) == step {
                let aside = bench.nsd.folder().join("aside");
                fs::write(&aside, &edit).unwrap();
                fs::rename(aside, bench.zone()).unwrap();
            }
            ControlFlow::Continue(())
        };
        let report = bench.publisher().export_stepwise(job, reads, &act).await.unwrap();
        assert_eq!(report.result, ExportResult::Refused, "{step:?}: {}", report.detail);
        assert!(report.detail.contains("edited meanwhile; the edit is kept"), "{}", report.detail);
        assert_eq!(fs::read(bench.zone()).unwrap(), edit);
        assert_eq!(bench.nsd.serial(ORIGIN), Some(OLD_SERIAL));
        bench.assert_tidy();
    }
}

#[tokio::test]
async fn an_edit_after_the_swap_is_kept_when_the_rest_fails() {
    let mut bench = Bench::new();
    bench.settings.control = shell("echo ok").into();
    let edit = [REFERENCE, b"new IN A 192.0.2.7\n"].concat();
    let act = |done: Step| {
        if done == Step::Reloaded {
            fs::write(bench.zone(), &edit).unwrap();
        }
        ControlFlow::Continue(())
    };
    let report = bench.publisher().export_stepwise(bench.job(OLD_SERIAL + 1), reads, &act).await.unwrap();
    assert_eq!(report.result, ExportResult::Broken, "{}", report.detail);
    assert!(report.detail.contains("the edit is kept"), "{}", report.detail);
    assert_eq!(fs::read(bench.zone()).unwrap(), edit);
    bench.assert_tidy();
}

#[tokio::test]
async fn a_hung_nsd_costs_a_deadline_and_nothing_else() {
    let bench = Bench::new();
    bench.nsd.pause();
    let started = Instant::now();
    let report = bench.export(bench.job(OLD_SERIAL + 1)).await;
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(report.result, ExportResult::Refused, "{}", report.detail);
    assert!(report.detail.contains("no answer in time"), "{}", report.detail);
    bench.nsd.resume();
    bench.assert_old();
}

#[tokio::test]
async fn nsd_hangs_in_the_middle() {
    let bench = Bench::new();
    let act = |done: Step| {
        if done == Step::Swapped {
            bench.nsd.pause();
        }
        ControlFlow::Continue(())
    };
    let started = Instant::now();
    let report = bench.publisher().export_stepwise(bench.job(OLD_SERIAL + 1), reads, &act).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(report.result, ExportResult::Broken, "{}", report.detail);
    assert!(report.detail.contains("the old file is back"), "{}", report.detail);
    bench.nsd.resume();
    until_served(&bench.nsd, OLD_SERIAL).await;
    bench.assert_old();
}

#[tokio::test]
async fn nsd_is_gone_or_has_another_zone() {
    let mut bench = Bench::new();
    let mut job = bench.job(OLD_SERIAL + 1);
    job.origin = name("bar.zone");
    let report = bench.export(job).await;
    assert_eq!(report.result, ExportResult::Refused);
    assert!(report.detail.contains("does not have zone bar.zone.: is it in its nsd.conf?"), "{}", report.detail);
    bench.nsd.stop();
    let report = bench.export(bench.job(OLD_SERIAL + 1)).await;
    assert_eq!(report.result, ExportResult::Refused);
    assert!(report.detail.contains("no connection"), "{}", report.detail);
    assert_eq!(fs::read(bench.zone()).unwrap(), REFERENCE);
    bench.nsd.start_again();
    bench.assert_old();
}

#[tokio::test]
async fn a_serial_never_goes_back() {
    let bench = Bench::new();
    for serial in [OLD_SERIAL, OLD_SERIAL - 1, OLD_SERIAL.wrapping_add(0x8000_0000)] {
        let report = bench.export(bench.job(serial)).await;
        assert_eq!(report.result, ExportResult::Refused);
        assert!(report.detail.contains("is not greater than"), "{}", report.detail);
    }
    bench.assert_old();
}

#[tokio::test]
async fn a_zone_that_nsd_could_not_load_is_healed() {
    let bench = Bench::new();
    fs::write(bench.zone(), "rubbish\n").unwrap();
    bench.nsd.control(&["reload", ORIGIN]);
    let patience = Instant::now() + Duration::from_secs(10);
    while bench.nsd.serial(ORIGIN).is_some() {
        assert!(Instant::now() < patience, "nsd keeps the zone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let report = bench.export(bench.job(OLD_SERIAL + 1)).await;
    assert_eq!(report.result, ExportResult::Served, "{}", report.detail);
    bench.assert_new(OLD_SERIAL + 1);
}

#[tokio::test]
async fn a_link_is_written_through_and_stays_a_link() {
    let bench = Bench::new();
    let real = bench.nsd.folder().join("real.zone");
    fs::rename(bench.zone(), &real).unwrap();
    std::os::unix::fs::symlink(&real, bench.zone()).unwrap();
    let report = bench.export(bench.job(OLD_SERIAL + 1)).await;
    assert_eq!(report.result, ExportResult::Served, "{}", report.detail);
    assert!(report.detail.contains("through the link"), "{}", report.detail);
    assert!(fs::symlink_metadata(bench.zone()).unwrap().is_symlink());
    assert_eq!(fs::read(&real).unwrap(), failed_over(OLD_SERIAL + 1));
    bench.assert_new(OLD_SERIAL + 1);
}

#[tokio::test]
async fn the_target_may_be_another_file_than_the_source() {
    let bench = Bench::new();
    let source = bench.nsd.folder().join("source.zone");
    fs::write(&source, REFERENCE).unwrap();
    let separate =
        |serial| Job { source: Some(source.clone()), source_bytes: REFERENCE.to_vec().into(), ..bench.job(serial) };
    let report = bench.export(separate(OLD_SERIAL + 1)).await;
    assert_eq!(report.result, ExportResult::Served, "{}", report.detail);
    bench.assert_new(OLD_SERIAL + 1);
    assert_eq!(fs::read(&source).unwrap(), REFERENCE, "the operator's file is left alone");
    // It fails: back to the last target, not to the source.
    let report = bench.export_expecting(separate(OLD_SERIAL + 2), a("www.foo.zone", &["192.0.2.1"])).await;
    assert_eq!(report.result, ExportResult::RolledBack, "{}", report.detail);
    bench.assert_new(OLD_SERIAL + 1);
    // Edited just before the swap.
    let act = |done: Step| {
        if done == Step::Checked {
            fs::write(&source, "; edited\n").unwrap();
        }
        ControlFlow::Continue(())
    };
    let report = bench.publisher().export_stepwise(separate(OLD_SERIAL + 2), reads, &act).await.unwrap();
    assert_eq!(report.result, ExportResult::Refused, "{}", report.detail);
    bench.assert_new(OLD_SERIAL + 1);
    // Not there yet.
    fs::write(&source, REFERENCE).unwrap();
    fs::remove_file(bench.zone()).unwrap();
    let mut job = Job { bytes: failed_over(OLD_SERIAL + 2).into(), ..bench_job_without_file(&bench, OLD_SERIAL + 2) };
    (job.source, job.source_bytes) = (Some(source.clone()), REFERENCE.to_vec().into());
    let report = bench.export(job).await;
    assert_eq!(report.result, ExportResult::Served, "{}", report.detail);
    bench.assert_new(OLD_SERIAL + 2);
}

fn bench_job_without_file(bench: &Bench, serial: u32) -> Job {
    fs::write(bench.zone(), REFERENCE).unwrap();
    let job = bench.job(serial);
    fs::remove_file(bench.zone()).unwrap();
    job
}

#[tokio::test]
async fn a_rollback_publishes_the_last_good_generation_with_a_new_serial() {
    let bench = Bench::new();
    let publisher = bench.publisher();
    let none = publisher.rollback(bench.job(OLD_SERIAL + 1), None, |_| Err("never".to_owned()), reads).await;
    assert_eq!(none.result, ExportResult::Refused);
    assert!(none.detail.contains("no earlier generation"), "{}", none.detail);
    bench.export(bench.job(OLD_SERIAL + 1)).await;
    let renew = |kept: Texts| {
        assert_eq!((kept.zone.as_slice(), kept.included.len()), (REFERENCE, 0));
        let text =
            String::from_utf8(kept.zone).unwrap().replace(&OLD_SERIAL.to_string(), &(OLD_SERIAL + 2).to_string());
        let texts = Texts { zone: text.into_bytes(), included: Vec::new() };
        Ok(Renewed { texts, serial: OLD_SERIAL + 2 })
    };
    let verify = |_: &[u8]| Ok(meaning(vec![a("www.foo.zone", &[PRIMARY])]));
    let report = publisher.rollback(bench.job(0), None, renew, verify).await;
    assert_eq!(report.result, ExportResult::Served, "{}", report.detail);
    assert_eq!(report.serial, OLD_SERIAL + 2);
    assert_eq!(bench.nsd.dig(&["www.foo.zone", "A"]), [PRIMARY]);
    bench.assert_tidy();
}

/// How an export may end, beside those that end before they write anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    Served,
    RolledBack,
    /// Our own parser says no.
    Refused,
    /// It says so only while nsd loads, at the second look.
    Doubted,
    /// Somebody edits the file while nsd reloads; the export fails, and the edit stays.
    Edited,
}

/// Every step of an export, however it ends: cut off right after it, then recovered as at a start.
#[tokio::test]
async fn a_crash_after_any_step_is_cleaned_up() {
    let bench = Bench::new();
    let mut serial = OLD_SERIAL;
    for ending in [Ending::Served, Ending::RolledBack, Ending::Refused, Ending::Doubted, Ending::Edited] {
        for step in steps(&bench, ending, &mut serial).await {
            let before = fs::read(bench.zone()).unwrap();
            serial += 1;
            let job = bench.job(serial);
            let (new, edit) = (job.bytes.clone(), edited(serial));
            let cut = |done: Step| {
                interfere(&bench, ending, done, &edit);
                if done == step { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let context = format!("{ending:?} {step:?}");
            let ended = bench.publisher().export_stepwise(job, crash_reads(ending), &cut).await;
            assert_eq!(ended, Err(Cut), "{context}");
            let reports = bench.publisher().recover().await;
            for report in &reports {
                assert_ne!(report.result, ExportResult::Broken, "{context}: {}", report.detail);
            }
            let after = fs::read(bench.zone()).unwrap();
            assert!([&before, &*new, &edit].contains(&&after), "{context}: neither the old nor the new zone");
            let is_edited = ending == Ending::Edited && !is_before_the_edit(step);
            assert_eq!(after == edit, is_edited, "{context}");
            until_served(&bench.nsd, serial_in(&after).unwrap()).await;
            bench.assert_tidy();
            assert!(bench.publisher().recover().await.is_empty(), "{context}: recovered twice");
        }
    }
}

/// The temp files are gone, and the journal not yet: a crash in the middle of tidying up.
#[tokio::test]
async fn a_crash_between_the_temp_file_and_the_journal() {
    for (ending, step) in
        [(Ending::Served, Step::Recorded), (Ending::Refused, Step::Restored), (Ending::RolledBack, Step::Restored)]
    {
        let bench = Bench::new();
        let cut = |done: Step| if done == step { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let job = bench.job(OLD_SERIAL + 1);
        assert_eq!(bench.publisher().export_stepwise(job, crash_reads(ending), &cut).await, Err(Cut), "{ending:?}");
        let temp = |name: &String| name.ends_with(".tmp");
        for name in names(&bench.nsd.folder().join("zones")).iter().filter(|name| temp(name)) {
            fs::remove_file(bench.nsd.folder().join("zones").join(name)).unwrap();
        }
        assert_eq!(names(&bench.settings.state_dir.join("journal")).len(), 1, "{ending:?}");
        bench.publisher().recover().await;
        match ending {
            Ending::Served => bench.assert_new(OLD_SERIAL + 1),
            _ => bench.assert_old(),
        }
    }
}

/// All the steps that such an export goes through.
async fn steps(bench: &Bench, ending: Ending, serial: &mut u32) -> Vec<Step> {
    *serial += 1;
    let seen = Mutex::new(Vec::new());
    let edit = edited(*serial);
    let note = |done: Step| {
        interfere(bench, ending, done, &edit);
        seen.lock().unwrap().push(done);
        ControlFlow::Continue(())
    };
    let report = bench.publisher().export_stepwise(bench.job(*serial), crash_reads(ending), &note).await.unwrap();
    let expected = match ending {
        Ending::Served => ExportResult::Served,
        Ending::RolledBack | Ending::Doubted => ExportResult::RolledBack,
        Ending::Refused => ExportResult::Refused,
        Ending::Edited => ExportResult::Broken,
    };
    assert_eq!(report.result, expected, "{}", report.detail);
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), seen.iter().collect::<HashSet<_>>().len());
    assert_eq!(seen.contains(&Step::Restored), ending != Ending::Served, "{seen:?}");
    assert!(seen.len() >= if ending == Ending::Refused { 5 } else { 8 }, "{seen:?}");
    seen
}

fn is_before_the_edit(step: Step) -> bool {
    use Step::{Asked, Checked, Included, Journaled, Read, Swapped, Written};
    matches!(step, Asked | Read | Journaled | Written | Included | Checked | Swapped)
}

fn interfere(bench: &Bench, ending: Ending, done: Step, edit: &[u8]) {
    if ending == Ending::Edited && done == Step::Reloaded {
        // In one step: nsd may be reading it.
        let beside = bench.nsd.folder().join("edited");
        fs::write(&beside, edit).unwrap();
        fs::rename(&beside, bench.zone()).unwrap();
    }
}

/// Somebody's edit of the new zone.
fn edited(serial: u32) -> Vec<u8> {
    [&failed_over(serial), &b"edited IN TXT \"by hand\"\n"[..]].concat()
}

fn crash_reads(ending: Ending) -> impl Fn(&[u8]) -> Result<ReadBack, String> + Send + 'static {
    move |bytes| match ending {
        Ending::Served => reads(bytes),
        Ending::Refused => Err("not this one".to_owned()),
        Ending::Doubted => Ok(doubted()),
        Ending::RolledBack | Ending::Edited => Ok(meaning(vec![a("www.foo.zone", &["192.0.2.1"])])),
    }
}

#[tokio::test]
async fn an_edit_made_while_we_were_dead_is_kept() {
    let edit = [REFERENCE, b"new IN A 192.0.2.7\n"].concat();
    for step in [Step::Written, Step::Swapped, Step::Reloaded] {
        let bench = Bench::new();
        let cut = |done: Step| if done == step { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let cut_off = bench.publisher().export_stepwise(bench.job(OLD_SERIAL + 1), reads, &cut).await;
        assert_eq!(cut_off, Err(Cut));
        fs::write(bench.zone(), &edit).unwrap();
        let reports = bench.publisher().recover().await;
        assert_eq!(reports.len(), 1);
        assert!(reports[0].detail.contains("the edit is kept"), "{}", reports[0].detail);
        assert_eq!(fs::read(bench.zone()).unwrap(), edit);
        bench.assert_tidy();
    }
}

#[tokio::test]
async fn without_a_recovery_the_next_export_cleans_up_first() {
    let bench = Bench::new();
    let cut = |done: Step| if done == Step::Swapped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let cut_off = bench.publisher().export_stepwise(bench.job(OLD_SERIAL + 1), reads, &cut).await;
    assert_eq!(cut_off, Err(Cut));
    let report = bench.export(bench.job(OLD_SERIAL + 2)).await;
    assert_eq!(report.result, ExportResult::Served, "{}", report.detail);
    bench.assert_new(OLD_SERIAL + 2);
}

#[tokio::test]
async fn a_journal_that_makes_no_sense_is_reported() {
    let bench = Bench::new();
    let folder = bench.settings.state_dir.join("journal");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("foo.zone.json"), "{\"zone\":").unwrap();
    let reports = bench.publisher().recover().await;
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].result, ExportResult::Broken);
    let report = bench.export(bench.job(OLD_SERIAL + 1)).await;
    assert_eq!(report.result, ExportResult::Refused, "{}", report.detail);
    assert_eq!(fs::read(bench.zone()).unwrap(), REFERENCE);
}

/// Recovery and sweep run beside exports, and an export begins with half a journal.
#[tokio::test]
async fn half_a_journal_goes_before_the_first_export_and_never_beside_one() {
    let bench = Bench::new();
    let folder = bench.settings.state_dir.join("journal");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("other.zone.json.tmp"), "{\"zone\":").unwrap();
    let publisher = bench.publisher();
    assert!(publisher.recover().await.is_empty());
    assert_eq!(publisher.sweep(vec![bench.zone()]).await, Vec::<PathBuf>::new());
    assert_eq!(names(&folder), ["other.zone.json.tmp"]);
    assert_eq!(publisher.unfinished().await, Vec::<PathBuf>::new());
    assert_eq!(names(&folder), Vec::<String>::new());
}

/// More than fits one batch of the comparison, and more than nsd's rate limit lets through by UDP.
#[tokio::test]
async fn ten_thousand_failover_rrsets_are_compared() {
    let lines: String = (0..10_000).map(|n| format!("h{n} A 192.0.2.1\n")).collect();
    let zone = |serial: u32| format!("$TTL 300\n@ SOA a. b. {serial} 2 3 4 5\n@ NS a.\n{lines}").into_bytes();
    let nsd = Nsd::start_with(&[("big.zone", &zone(1))], "  rrl-ratelimit: 20");
    let publisher = Publisher::new(NsdSettings {
        address: nsd.address(),
        verify: Vec::new(),
        control: nsd.control_argv().into(),
        checkzone: nsd.checkzone_argv(),
        state_dir: nsd.folder().join("state"),
        limits: Limits::default(),
    });
    let job = Job {
        origin: name("big.zone"),
        source: Some(nsd.zone_path("big.zone")),
        source_bytes: zone(1).into(),
        source_serial: 1,
        target: nsd.zone_path("big.zone"),
        bytes: zone(2).into(),
        serial: 2,
        generation: 1,
        included: Arc::new([]),
        include_dir: None,
    };
    let expect = || (0..10_000).map(|n| a(&format!("h{n}.big.zone"), &["192.0.2.1"])).collect();
    let report = publisher.export(job, move |_| Ok(meaning(expect()))).await;
    assert_eq!(report.result, ExportResult::Served, "{}", report.detail);
}

/// The same order over nsd's own socket, verified at each address that nsd has.
#[tokio::test]
async fn by_the_control_socket_and_at_every_address() {
    let second = crate::support::nsd::free_address();
    let lines = format!("  ip-address: {}@{}", second.ip(), second.port());
    let nsd = Nsd::start_with(&[(ORIGIN, REFERENCE)], &lines);
    let limits = Limits { served_ms: 3_000, settle_ms: 300, query_ms: 300, ..Limits::default() };
    let settings = NsdSettings {
        address: nsd.address(),
        verify: vec![second, nsd.address()],
        control: Control::Socket(nsd.folder().join("nsd.sock")),
        checkzone: nsd.checkzone_argv(),
        state_dir: nsd.folder().join("state"),
        limits,
    };
    let mut bench = Bench { nsd, settings };
    let report = bench.export(bench.job(OLD_SERIAL + 1)).await;
    assert_eq!(report.result, ExportResult::Served, "{}", report.detail);
    bench.assert_new(OLD_SERIAL + 1);

    // An address at which another server answers, or nobody, is found out before anything is touched.
    let stranger = Nsd::start(&[("bar.zone", b"$TTL 5\n@ SOA a. b. 1 2 3 4 5\n@ NS a.\n")]);
    for (address, why) in
        [(stranger.address(), "does not have zone foo.zone."), (crate::support::nsd::free_address(), "no connection")]
    {
        bench.settings.verify = vec![address];
        let report = bench.export(bench.job(OLD_SERIAL + 2)).await;
        assert_eq!(report.result, ExportResult::Refused, "{}", report.detail);
        assert!(
            report.detail.contains(&format!("nsd at {address}")) && report.detail.contains(why),
            "{}",
            report.detail
        );
    }
    // One that stays behind: the old file comes back at all of them, and soon.
    let behind = Nsd::start(&[(ORIGIN, REFERENCE)]);
    bench.settings.verify = vec![behind.address()];
    bench.settings.limits.served_ms = 800;
    let report = bench.export(bench.job(OLD_SERIAL + 2)).await;
    assert_eq!(report.result, ExportResult::Broken, "{}", report.detail);
    let why = format!("nsd at {} did not come to serve serial {}", behind.address(), OLD_SERIAL + 2);
    assert!(report.detail.contains(&why), "{}", report.detail);
    bench.assert_new(OLD_SERIAL + 1);
}

/// What will not change is not waited for as long as a zone that takes long to load.
#[tokio::test]
async fn what_is_wrong_with_the_new_serial_stays_wrong() {
    let mut bench = Bench::new();
    bench.settings.limits = Limits { served_ms: 60_000, settle_ms: 300, ..bench.settings.limits };
    let started = Instant::now();
    let report = bench.export_expecting(bench.job(OLD_SERIAL + 1), a("www.foo.zone", &["192.0.2.1"])).await;
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(report.result, ExportResult::RolledBack, "{}", report.detail);
    bench.assert_old();
}

/// Without nsd-checkzone nothing is published, unless that was asked for; what nsd-control prints
/// is no proof of anything.
#[tokio::test]
async fn without_checkzone_and_with_garbage_from_nsd_control() {
    let mut bench = Bench::new();
    bench.settings.checkzone = vec!["/no/such/nsd-checkzone".to_owned()];
    let report = bench.export(bench.job(OLD_SERIAL + 1)).await;
    assert_eq!(report.result, ExportResult::Refused, "{}", report.detail);
    assert!(report.detail.contains("name it in [nsd] checkzone ([] goes without)"), "{}", report.detail);
    bench.assert_old();

    bench.settings.checkzone = Vec::new();
    let real = bench.nsd.control_argv().join(" ");
    bench.settings.control = shell(&format!("head -c 200000 /dev/urandom; {real} reload {ORIGIN}")).into();
    let report = bench.export(bench.job(OLD_SERIAL + 1)).await;
    assert_eq!(report.result, ExportResult::Served, "{}", report.detail);
    bench.assert_new(OLD_SERIAL + 1);
}

/// A power cut may leave a temp file and no journal: it is removed at the start, and nothing else.
#[tokio::test]
async fn a_temp_file_that_nobody_remembers_is_swept_away() {
    let bench = Bench::new();
    let zones = bench.nsd.folder().join("zones");
    let cut = |done: Step| if done == Step::Written { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert_eq!(bench.publisher().export_stepwise(bench.job(OLD_SERIAL + 1), reads, &cut).await, Err(Cut));
    let left: Vec<String> = names(&zones).into_iter().filter(|name| name.starts_with('.')).collect();
    let [left] = &left[..] else { panic!("one temp file: {left:?}") };
    // Somebody else's, and what only looks like ours.
    let others = [
        ".nsd-failover-00000000-0123456789abcdef.tmp".to_owned(),
        left.replace(".tmp", ".tmp~"),
        left.replace(".nsd-failover-", ".nsd-failovers-"),
    ];
    others.iter().for_each(|name| fs::write(zones.join(name), "precious").unwrap());
    fs::create_dir(zones.join(left.replace(".tmp", ".tmp.aside"))).unwrap();
    let sweep = async || bench.publisher().sweep(vec![bench.zone(), "/no/such/folder/z".into()]).await;
    assert_eq!(sweep().await, Vec::<PathBuf>::new(), "the journal names it");
    fs::remove_file(bench.settings.state_dir.join("journal").join(format!("{ORIGIN}.json"))).unwrap();
    assert_eq!(sweep().await, [zones.join(left)]);
    assert_eq!(names(&zones).len(), 1 + others.len() + 1);
    assert_eq!(fs::read(bench.zone()).unwrap(), REFERENCE);
}

/// Many at once: each is reloaded and verified on its own, and one that fails stops no other.
#[tokio::test]
async fn zones_side_by_side() {
    let origins: Vec<String> = (0..30).map(|n| format!("z{n}.zone")).collect();
    let zone = |serial: u32| format!("$TTL 300\n@ SOA a. b. {serial} 2 3 4 5\n@ NS a.\nwww A 192.0.2.1\n").into_bytes();
    let old = zone(1);
    let zones: Vec<(&str, &[u8])> = origins.iter().map(|origin| (origin.as_str(), old.as_slice())).collect();
    let nsd = Nsd::start(&zones);
    let settings = NsdSettings {
        address: nsd.address(),
        verify: Vec::new(),
        control: Control::Socket(nsd.folder().join("nsd.sock")),
        checkzone: nsd.checkzone_argv(),
        state_dir: nsd.folder().join("state"),
        limits: Limits::default(),
    };
    let publisher = Arc::new(Publisher::new(settings));
    let mut exports = tokio::task::JoinSet::new();
    for (index, origin) in origins.iter().enumerate() {
        let bytes = if index == 7 { b"rubbish\n".to_vec() } else { zone(2) };
        let job = Job {
            origin: name(origin),
            source: Some(nsd.zone_path(origin)),
            source_bytes: old.clone().into(),
            source_serial: 1,
            target: nsd.zone_path(origin),
            bytes: bytes.into(),
            serial: 2,
            generation: 1,
            included: Arc::new([]),
            include_dir: None,
        };
        let expect = a(&format!("www.{origin}"), &["192.0.2.1"]);
        let publisher = Arc::clone(&publisher);
        exports.spawn(async move { publisher.export(job, move |_| Ok(meaning(vec![expect.clone()]))).await });
    }
    while let Some(report) = exports.join_next().await {
        let report = report.unwrap();
        let wanted = if report.zone == "z7.zone." { ExportResult::Refused } else { ExportResult::Served };
        assert_eq!(report.result, wanted, "{}: {}", report.zone, report.detail);
    }
    for (index, origin) in origins.iter().enumerate() {
        assert_eq!(nsd.serial(origin), Some(if index == 7 { 1 } else { 2 }), "{origin}");
    }
    assert_eq!(names(&nsd.folder().join("zones")).len(), 30, "nothing is left beside the zones");
}

/// nsd-checkzone, and a note of each call.
fn counted_checkzone(bench: &mut Bench) -> PathBuf {
    let (program, calls) = (bench.nsd.folder().join("nsd-checkzone"), bench.nsd.folder().join("calls"));
    let script = format!(
        "#!/bin/sh\necho >> {}\nexec $(PATH=$PATH:/usr/sbin command -v nsd-checkzone) \"$@\"\n",
        calls.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    bench.settings.checkzone = vec![program.display().to_string()];
    calls
}

fn rehearsal(bench: &Bench, bytes: Vec<u8>) -> Rehearsal {
    let zone = Zone::parse(&name(ORIGIN), "z", bytes.clone()).unwrap();
    Rehearsal {
        origin: name(ORIGIN),
        target: bench.zone(),
        replaced: vec![bench.zone()],
        bytes: bytes.into(),
        skeleton: Skeleton::of(&zone),
        include_dir: None,
    }
}

/// What nsd-checkzone has said yes to beforehand is not judged again for other addresses and another
/// serial; anything else is.
#[tokio::test]
async fn a_rehearsed_zone_is_published_without_a_second_verdict() {
    let mut bench = Bench::new();
    let calls = counted_checkzone(&mut bench);
    let count = || fs::read(&calls).map_or(0, |calls| calls.len());
    let publisher = bench.publisher();
    for _ in 0..2 {
        publisher.rehearse(&rehearsal(&bench, REFERENCE.to_vec())).await.unwrap();
        assert_eq!(count(), 1, "once is enough");
    }
    bench.assert_old();
    assert_eq!(names(&bench.settings.state_dir.join("rehearsal")), Vec::<String>::new());
    let parsed = |bytes: &[u8]| {
        let zone = Zone::parse(&name(ORIGIN), "z", bytes.to_vec()).map_err(|found| found[0].to_string())?;
        Ok(ReadBack { skeleton: Skeleton::of(&zone), ..reads(bytes)? })
    };
    let report = publisher.export(bench.job(OLD_SERIAL + 1), parsed).await;
    assert_eq!((report.result, count()), (ExportResult::Served, 1), "{}", report.detail);
    bench.assert_new(OLD_SERIAL + 1);

    let mut job = bench.job(OLD_SERIAL + 2);
    job.bytes = [failed_over(OLD_SERIAL + 2), b"more IN A 192.0.2.3\n".to_vec()].concat().into();
    let report = publisher.export(job, parsed).await;
    assert_eq!((report.result, count()), (ExportResult::Served, 2), "{}", report.detail);
}

/// What would be refused is told beforehand, and nothing is touched.
#[tokio::test]
async fn a_rehearsal_tells_what_would_be_refused() {
    let mut bench = Bench::new();
    let publisher = bench.publisher();
    // It is fine by our own parser.
    let text = [REFERENCE, b"odd IN TYPE1 \\# 3 C00002\n"].concat();
    let zone = Rehearsal { bytes: text.into(), skeleton: None, ..rehearsal(&bench, REFERENCE.to_vec()) };
    let refused = publisher.rehearse(&zone).await.unwrap_err();
    assert!(refused.contains(&format!("{}:{}: ", bench.zone().display(), lines(REFERENCE) + 1)), "{refused}");
    // A file of the zone, or one that it includes.
    let replaced = vec![bench.zone(), "/no/such/folder/z".into()];
    let zone = Rehearsal { replaced, ..rehearsal(&bench, REFERENCE.to_vec()) };
    let refused = publisher.rehearse(&zone).await.unwrap_err();
    assert!(refused.contains("cannot resolve /no/such/folder/z"), "{refused}");
    bench.settings.checkzone = vec!["/no/such/nsd-checkzone".to_owned()];
    let refused = bench.publisher().rehearse(&rehearsal(&bench, REFERENCE.to_vec())).await.unwrap_err();
    assert!(refused.contains("cannot run /no/such/nsd-checkzone"), "{refused}");
    bench.assert_old();
}
