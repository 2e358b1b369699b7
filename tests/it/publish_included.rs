//! Exports of a zone whose failover records stand in an included file, against a real nsd: both
//! files move or none does, wherever it is cut off and whoever edits meanwhile.

use std::fs;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use domain::base::iana::Rtype;
use nsd_failover::director::event::{ExportReport, ExportResult};
use nsd_failover::publish::{Expected, IncludedFile, Job, Limits, NsdSettings, Publisher, ReadBack, Step};

use crate::support::nsd::Nsd;

const ORIGIN: &str = "foo.zone";
const PRIMARY: &str = "192.0.2.1";
const STANDBY: &str = "192.0.2.2";

struct Bench {
    nsd: Nsd,
    settings: NsdSettings,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("names"), names(PRIMARY)).unwrap();
        let nsd = Nsd::start(&[(ORIGIN, main(&folder, 1).as_bytes())]);
        let limits = Limits { served_ms: 1_500, query_ms: 300, control_ms: 1_500, ..Limits::default() };
        let settings = NsdSettings {
            address: nsd.address(),
            verify: Vec::new(),
            control: nsd.control_argv().into(),
            checkzone: nsd.checkzone_argv(),
            state_dir: nsd.folder().join("state"),
            limits,
        };
        Bench { nsd, settings, folder }
    }

    fn included(&self) -> PathBuf {
        self.folder.path().join("names")
    }

    fn job(&self, serial: u32, text: &str) -> Job {
        Job {
            origin: ORIGIN.parse().unwrap(),
            source: Some(self.nsd.zone_path(ORIGIN)),
            source_bytes: fs::read(self.nsd.zone_path(ORIGIN)).unwrap().into(),
            source_serial: serial - 1,
            target: self.nsd.zone_path(ORIGIN),
            bytes: main(&self.folder, serial).into_bytes().into(),
            serial,
            generation: 1,
            included: [IncludedFile {
                path: self.included(),
                old: Arc::new(fs::read(self.included()).unwrap()),
                new: Some(Arc::new(text.as_bytes().to_vec())),
            }]
            .into(),
            include_dir: Some(self.folder.path().to_owned()),
        }
    }

    async fn export(&self, job: Job, expect: &str) -> ExportReport {
        Publisher::new(self.settings.clone()).export(job, reads(expect)).await
    }

    /// Both files say so, nsd serves it, and nothing lies about.
    fn assert_is(&self, serial: u32, address: &str) {
        assert_eq!(fs::read_to_string(self.nsd.zone_path(ORIGIN)).unwrap(), main(&self.folder, serial));
        assert_eq!(fs::read_to_string(self.included()).unwrap(), names(address));
        assert_eq!(self.nsd.serial(ORIGIN), Some(serial));
        assert_eq!(self.nsd.dig(&["www.foo.zone", "A"]), [address]);
        self.assert_tidy();
    }

    fn assert_tidy(&self) {
        for folder in [self.folder.path().to_owned(), self.nsd.folder().join("zones")] {
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "{}", folder.display());
        }
        assert_eq!(fs::read_dir(self.settings.state_dir.join("journal")).unwrap().count(), 0);
    }
}

/// What the new files mean.
fn reads(address: &str) -> impl Fn(&[u8]) -> Result<ReadBack, String> + Send + 'static {
    let address: IpAddr = address.parse().unwrap();
    move |_| {
        let expect = Expected { owner: "www.foo.zone".parse().unwrap(), rtype: Rtype::A, addresses: vec![address] };
        Ok(ReadBack { expect: Box::new(|| vec![expect]), skeleton: None })
    }
}

fn main(folder: &tempfile::TempDir, serial: u32) -> String {
    let names = folder.path().join("names");
    format!("$TTL 60\n@ SOA ns h {serial} 2 3 4 5\n@ NS ns.example.net.\n$INCLUDE {}\n", names.display())
}

fn names(address: &str) -> String {
    format!("www A {address} ; Enable failover\n")
}

#[tokio::test]
async fn both_files_move() {
    let bench = Bench::new();
    let report = bench.export(bench.job(2, &names(STANDBY)), STANDBY).await;
    assert_eq!(report.result, ExportResult::Served, "{}", report.detail);
    bench.assert_is(2, STANDBY);
}

#[tokio::test]
async fn both_files_come_back() {
    let bench = Bench::new();
    let refused = bench.export(bench.job(2, "www A 192.0.2\n"), STANDBY).await;
    assert_eq!(refused.result, ExportResult::Refused, "{}", refused.detail);
    bench.assert_is(1, PRIMARY);
    let back = bench.export(bench.job(2, &names(STANDBY)), "192.0.2.99").await;
    assert_eq!(back.result, ExportResult::RolledBack, "{}", back.detail);
    bench.assert_is(1, PRIMARY);
}

#[tokio::test]
async fn an_edit_of_the_included_file_is_kept() {
    let bench = Bench::new();
    let edit = names(PRIMARY) + "new A 192.0.2.7\n";
    for at in [None, Some(Step::Read), Some(Step::Written)] {
        fs::write(bench.included(), names(PRIMARY)).unwrap();
        let job = bench.job(2, &names(STANDBY));
        if at.is_none() {
            fs::write(bench.included(), &edit).unwrap();
        }
        let after = |done| {
            if Some(done) == at {
                fs::write(bench.included(), &edit).unwrap();
            }
            ControlFlow::Continue(())
        };
        let report = Publisher::new(bench.settings.clone()).export_stepwise(job, reads(STANDBY), &after).await.unwrap();
        assert_eq!(report.result, ExportResult::Refused, "{at:?} {}", report.detail);
        assert!(report.detail.contains("edit"), "{}", report.detail);
        assert_eq!(fs::read_to_string(bench.included()).unwrap(), edit, "{at:?}");
        assert_eq!(fs::read_to_string(bench.nsd.zone_path(ORIGIN)).unwrap(), main(&bench.folder, 1));
        assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 1);
    }
}

/// A crash after any step ends with both files old or both new, and nsd serving them.
#[tokio::test]
async fn cut_off_anywhere() {
    let steps =
        [Step::Journaled, Step::Written, Step::Included, Step::Checked, Step::Swapped, Step::Reloaded, Step::Recorded];
    for step in steps {
        let bench = Bench::new();
        let cut = |done| if done == step { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let job = bench.job(2, &names(STANDBY));
        let publisher = Publisher::new(bench.settings.clone());
        assert!(publisher.export_stepwise(job, reads(STANDBY), &cut).await.is_err(), "{step:?}");
        let reports = Publisher::new(bench.settings.clone()).recover().await;
        assert_eq!(reports.len(), 1, "{step:?}");
        match reports[0].result {
            ExportResult::Served => bench.assert_is(2, STANDBY),
            _ => bench.assert_is(1, PRIMARY),
        }
    }
}
