//! Exports of a zone that includes other files, against a real nsd: all files move or none does,
//! wherever it is cut off and whoever edits meanwhile; and all come back with a rollback.

use std::collections::HashSet;
use std::fs;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use domain::base::iana::Rtype;
use nsd_failover::director::event::{ExportReport, ExportResult};
use nsd_failover::publish::{
    Cut, Expected, IncludedFile, Job, Limits, NsdSettings, Publisher, ReadBack, Renewed, Step, Texts,
};

use crate::support::nsd::Nsd;

const ORIGIN: &str = "foo.zone";
const PRIMARY: &str = "192.0.2.1";
const STANDBY: &str = "192.0.2.2";
const NOBODY: &str = "192.0.2.99";

/// Where the SOA stands; the failover record always stands in `names`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    /// In the zone's own file, so that this changes too.
    Own,
    /// In `names`: the zone's own file never changes.
    Names,
    /// In a file of its own.
    Apart,
}

use Layout::{Apart, Names, Own};

const LAYOUTS: [Layout; 3] = [Own, Names, Apart];

struct Bench {
    layout: Layout,
    nsd: Nsd,
    settings: NsdSettings,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(layout: Layout) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let nsd = Nsd::start(&[(ORIGIN, b"$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns.example.net.\n")]);
        let limits = Limits { served_ms: 1_500, query_ms: 500, control_ms: 1_500, ..Limits::default() };
        let settings = NsdSettings {
            address: nsd.address(),
            verify: Vec::new(),
            control: nsd.control_argv().into(),
            checkzone: nsd.checkzone_argv(),
            state_dir: nsd.folder().join("state"),
            limits,
        };
        let bench = Bench { layout, nsd, settings, folder };
        for (path, text) in bench.texts(1, PRIMARY) {
            fs::write(path, text).unwrap();
        }
        // nsd reads no file again whose time it knows, and its own may be of the same moment.
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
        fs::File::options().append(true).open(bench.zone()).unwrap().set_modified(later).unwrap();
        bench.nsd.control(&["reload", ORIGIN]);
        crate::support::daemon::wait_for("the first zone", || {
            (bench.nsd.dig(&["www.foo.zone", "A"]) == [PRIMARY]).then_some(())
        });
        bench
    }

    fn zone(&self) -> PathBuf {
        self.nsd.zone_path(ORIGIN)
    }

    fn included(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    /// Every file of the zone with its text, the zone's own first.
    fn texts(&self, serial: u32, address: &str) -> Vec<(PathBuf, String)> {
        let soa = format!("$TTL 60\n@ SOA ns h {serial} 2 3 4 5\n@ NS ns.example.net.\n");
        let names = format!("www A {address} ; Enable failover\n");
        let include = |name: &str| format!("$INCLUDE {}\n", self.included(name).display());
        match self.layout {
            Own => vec![(self.zone(), soa + &include("names")), (self.included("names"), names)],
            Names => vec![(self.zone(), include("names")), (self.included("names"), soa + &names)],
            Apart => vec![
                (self.zone(), include("soa") + &include("names")),
                (self.included("soa"), soa),
                (self.included("names"), names),
            ],
        }
    }

    /// From what the files hold now to this.
    fn job(&self, serial: u32, address: &str) -> Job {
        let mut texts = self.texts(serial, address).into_iter();
        let (_, own) = texts.next().unwrap();
        let included = texts.map(|(path, new)| {
            let old = fs::read(&path).unwrap();
            let new = (old != new.as_bytes()).then(|| Arc::new(new.into_bytes()));
            IncludedFile { path, old: Arc::new(old), new, kept: true }
        });
        Job {
            origin: ORIGIN.parse().unwrap(),
            source: Some(self.zone()),
            source_bytes: fs::read(self.zone()).unwrap().into(),
            source_serial: serial - 1,
            target: self.zone(),
            bytes: own.into_bytes().into(),
            serial,
            generation: 1,
            included: included.collect(),
            include_dir: Some(self.folder.path().to_owned()),
        }
    }

    fn publisher(&self) -> Publisher {
        Publisher::new(self.settings.clone())
    }

    async fn export(&self, job: Job, expect: &str) -> ExportReport {
        self.publisher().export(job, reads(expect)).await
    }

    /// All files say so, nsd serves it, and nothing lies about.
    fn assert_is(&self, serial: u32, address: &str, context: &str) {
        for (path, text) in self.texts(serial, address) {
            assert_eq!(fs::read_to_string(&path).unwrap(), text, "{:?} {context}: {}", self.layout, path.display());
        }
        assert_eq!(self.nsd.serial(ORIGIN), Some(serial), "{:?} {context}", self.layout);
        assert_eq!(self.nsd.dig(&["www.foo.zone", "A"]), [address], "{:?} {context}", self.layout);
        self.assert_tidy();
    }

    fn assert_tidy(&self) {
        let files = self.texts(1, PRIMARY).len() - 1;
        assert_eq!(fs::read_dir(self.folder.path()).unwrap().count(), files);
        assert_eq!(fs::read_dir(self.nsd.folder().join("zones")).unwrap().count(), 1);
        // The folder is made with the first journal.
        let journals = fs::read_dir(self.settings.state_dir.join("journal"));
        assert_eq!(journals.map_or(0, Iterator::count), 0);
    }
}

/// What the new files mean.
fn reads(address: &str) -> impl Fn(&[u8]) -> Result<ReadBack, String> + Send + 'static {
    let address: IpAddr = address.parse().unwrap();
    move |_| {
        let expect = Expected { owner: "www.foo.zone".parse().unwrap(), rtype: Rtype::A, addresses: vec![address] };
        Ok(ReadBack { expect: Box::new(|| Ok(vec![expect])), skeleton: None })
    }
}

#[tokio::test]
async fn all_files_move() {
    for layout in LAYOUTS {
        let bench = Bench::new(layout);
        let report = bench.export(bench.job(2, STANDBY), STANDBY).await;
        assert_eq!(report.result, ExportResult::Served, "{layout:?} {}", report.detail);
        bench.assert_is(2, STANDBY, "");
        // Only the serial: somebody wants it published again.
        let report = bench.export(bench.job(3, STANDBY), STANDBY).await;
        assert_eq!(report.result, ExportResult::Served, "{layout:?} {}", report.detail);
        bench.assert_is(3, STANDBY, "");
    }
}

#[tokio::test]
async fn all_files_come_back() {
    for layout in LAYOUTS {
        let bench = Bench::new(layout);
        let refused = bench.export(bench.job(2, "192.0.2"), STANDBY).await;
        assert_eq!(refused.result, ExportResult::Refused, "{layout:?} {}", refused.detail);
        bench.assert_is(1, PRIMARY, "refused");
        let back = bench.export(bench.job(2, STANDBY), NOBODY).await;
        assert_eq!(back.result, ExportResult::RolledBack, "{layout:?} {}", back.detail);
        bench.assert_is(1, PRIMARY, "rolled back");
    }
}

#[tokio::test]
async fn an_edit_of_the_included_file_is_kept() {
    for layout in LAYOUTS {
        let bench = Bench::new(layout);
        let before = bench.texts(1, PRIMARY);
        let (path, text) = before.last().unwrap();
        let edit = format!("{text}new A 192.0.2.7\n");
        for at in [None, Some(Step::Read), Some(Step::Written)] {
            fs::write(path, text).unwrap();
            let job = bench.job(2, STANDBY);
            if at.is_none() {
                fs::write(path, &edit).unwrap();
            }
            let after = |done| {
                if Some(done) == at {
                    fs::write(path, &edit).unwrap();
                }
                ControlFlow::Continue(())
            };
            let report = bench.publisher().export_stepwise(job, reads(STANDBY), &after).await.unwrap();
            assert_eq!(report.result, ExportResult::Refused, "{layout:?} {at:?} {}", report.detail);
            assert!(report.detail.contains("edit"), "{}", report.detail);
            assert_eq!(fs::read_to_string(path).unwrap(), edit, "{layout:?} {at:?}");
            for (path, text) in &before[..before.len() - 1] {
                assert_eq!(fs::read_to_string(path).unwrap(), *text, "{layout:?} {at:?}");
            }
            bench.assert_tidy();
        }
    }
}

/// Every step of an export that is served and of one that comes back: after a crash there all files
/// are old or all are new, and nsd serves them. The same where the temp files, with the old bytes of
/// the included files in them, are lost as well.
#[tokio::test]
async fn cut_off_anywhere() {
    for layout in LAYOUTS {
        let bench = Bench::new(layout);
        let (mut serial, mut address) = (1, PRIMARY);
        for fails in [false, true] {
            let seen = Mutex::new(Vec::new());
            let mut cuts: Vec<Option<Step>> = vec![None];
            while let Some(at) = cuts.pop() {
                let to = if address == PRIMARY { STANDBY } else { PRIMARY };
                let job = bench.job(serial + 1, to);
                let hook = |done| {
                    seen.lock().unwrap().push(done);
                    if Some(done) == at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                };
                let ended = bench.publisher().export_stepwise(job, reads(if fails { NOBODY } else { to }), &hook).await;
                let context = format!("{fails} {at:?}");
                if at.is_none() {
                    let steps = std::mem::take(&mut *seen.lock().unwrap());
                    assert!(steps.contains(&Step::Included) && steps.contains(&Step::PutBack) == fails, "{steps:?}");
                    assert_eq!(steps.iter().collect::<HashSet<_>>().len(), steps.len());
                    cuts = steps.into_iter().map(Some).collect();
                } else {
                    assert_eq!(ended, Err(Cut), "{layout:?} {context}");
                    for report in bench.publisher().recover().await {
                        assert_ne!(report.result, ExportResult::Broken, "{layout:?} {context}: {}", report.detail);
                    }
                    assert!(bench.publisher().recover().await.is_empty(), "{layout:?} {context}: recovered twice");
                }
                if bench.nsd.serial(ORIGIN) == Some(serial + 1) {
                    (serial, address) = (serial + 1, to);
                }
                bench.assert_is(serial, address, &context);
            }
        }
    }
}

#[tokio::test]
async fn the_old_texts_survive_the_temp_files() {
    for layout in LAYOUTS {
        for step in [Step::Included, Step::Checked, Step::Swapped] {
            let mut bench = Bench::new(layout);
            let cut = |done| if done == step { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let job = bench.job(2, STANDBY);
            assert_eq!(bench.publisher().export_stepwise(job, reads(STANDBY), &cut).await, Err(Cut));
            for folder in [bench.folder.path().to_owned(), bench.nsd.folder().join("zones")] {
                let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
                files
                    .filter(|path| path.to_string_lossy().ends_with(".tmp"))
                    .for_each(|path| fs::remove_file(path).unwrap());
            }
            // nsd cannot be told, so that the old ones have to come back.
            let control = std::mem::replace(&mut bench.settings.control, vec!["/no/such/program".to_owned()].into());
            let reports = bench.publisher().recover().await;
            assert_eq!(reports.len(), 1);
            assert_ne!(reports[0].result, ExportResult::Served, "{layout:?} {step:?}: {}", reports[0].detail);
            bench.settings.control = control;
            bench.assert_is(1, PRIMARY, &format!("{step:?}: {}", reports[0].detail));
        }
    }
}

/// An included file was edited between the crash and the start: the edit stays, and the zone can be
/// exported again.
#[tokio::test]
async fn an_edit_made_while_we_were_dead_is_kept() {
    for layout in LAYOUTS {
        for step in [Step::Included, Step::Swapped] {
            let bench = Bench::new(layout);
            let cut = |done| if done == step { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let job = bench.job(2, STANDBY);
            assert_eq!(bench.publisher().export_stepwise(job, reads(STANDBY), &cut).await, Err(Cut));
            let (path, text) = bench.texts(2, STANDBY).pop().unwrap();
            let edit = format!("{text}new A 192.0.2.7\n");
            fs::write(&path, &edit).unwrap();
            let reports = bench.publisher().recover().await;
            assert_ne!(reports[0].result, ExportResult::Broken, "{layout:?} {step:?}: {}", reports[0].detail);
            assert_eq!(fs::read_to_string(&path).unwrap(), edit, "{layout:?} {step:?}");
            bench.assert_tidy();
        }
    }
}

/// With the address of one generation and the serial of today.
fn renewed(bench: &Bench, kept: &Texts, serial: u32, address: &str) -> Renewed {
    let mut texts = bench.texts(serial, address).into_iter();
    let zone = texts.next().unwrap().1.into_bytes();
    let included: Vec<_> = texts.map(|(path, text)| (path, text.into_bytes())).collect();
    assert_eq!(kept.included.len(), included.len());
    Renewed { texts: Texts { zone, included }, serial }
}

#[tokio::test]
async fn a_rollback_brings_every_file_back() {
    for layout in LAYOUTS {
        let bench = Bench::new(layout);
        for (serial, address) in [(2, STANDBY), (3, "192.0.2.3")] {
            let report = bench.export(bench.job(serial, address), address).await;
            assert_eq!(report.result, ExportResult::Served, "{}", report.detail);
        }
        // The last but one, then the first by its serial.
        for (to, then, address) in [(None, 4, STANDBY), (Some(1), 5, PRIMARY)] {
            let texts = |serial| bench.texts(serial, address).into_iter().map(|(_, text)| text.into_bytes());
            let renew = |kept: Texts| {
                let found: Vec<_> =
                    [&kept.zone].into_iter().chain(kept.included.iter().map(|(_, text)| text)).collect();
                assert!(found.into_iter().cloned().eq(texts(if to.is_some() { 1 } else { 2 })), "{layout:?} {to:?}");
                Ok(renewed(&bench, &kept, then, address))
            };
            let current = bench.job(then, address);
            let report = bench.publisher().rollback(current, to, renew, reads(address)).await;
            assert_eq!(report.result, ExportResult::Served, "{layout:?} {to:?}: {}", report.detail);
            bench.assert_is(then, address, &format!("{to:?}"));
        }
        // A file of the generation is gone: nothing is touched.
        let (path, text) = bench.texts(5, PRIMARY).pop().unwrap();
        let current = bench.job(6, STANDBY);
        fs::remove_file(&path).unwrap();
        let never = |_: Texts| panic!("there is nothing to renew");
        let report = bench.publisher().rollback(current, Some(2), never, reads(STANDBY)).await;
        assert_eq!(report.result, ExportResult::Refused, "{}", report.detail);
        assert!(report.detail.contains("is gone: put it back first"), "{}", report.detail);
        fs::write(&path, text).unwrap();
        bench.assert_is(5, PRIMARY, "nothing has changed");
    }
}

/// A crash in the middle of a rollback ends like one in the middle of an export.
#[tokio::test]
async fn a_rollback_cut_off_anywhere() {
    for layout in LAYOUTS {
        let bench = Bench::new(layout);
        assert_eq!(bench.export(bench.job(2, STANDBY), STANDBY).await.result, ExportResult::Served);
        let (mut serial, mut address) = (2, STANDBY);
        for step in [Step::Journaled, Step::Written, Step::Included, Step::Checked, Step::Swapped, Step::Recorded] {
            let to = if address == PRIMARY { STANDBY } else { PRIMARY };
            let cut = |done| if done == step { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let renew = |kept: Texts| Ok(renewed(&bench, &kept, serial + 1, to));
            let current = bench.job(serial + 1, to);
            let ended = bench.publisher().rollback_stepwise(current, None, renew, reads(to), &cut).await;
            assert_eq!(ended, Err(Cut), "{layout:?} {step:?}");
            assert_eq!(bench.publisher().recover().await.len(), 1);
            if bench.nsd.serial(ORIGIN) == Some(serial + 1) {
                (serial, address) = (serial + 1, to);
            }
            bench.assert_is(serial, address, &format!("{step:?}"));
        }
    }
}
