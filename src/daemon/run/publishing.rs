//! From a decision to the zone files: exports, rehearsals, and the serials that nsd serves.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use crate::config::Config;
use crate::control::log::Entry;
use crate::director::event::{Event, ExportReport, ExportResult};
use crate::dns::name::Name;
use crate::publish::{Control, Limits, NsdSettings, Publisher};

use super::super::exports;
use super::super::load::Loaded;
use super::{Back, Daemon, EXPORTS_MAX};

/// Rehearsals that may wait; more are left out.
const REHEARSALS_MAX: usize = 4_096;
/// How often a rehearsal looks whether the exports are through, which come first.
const REHEARSAL_PAUSE: Duration = Duration::from_millis(200);
/// Questions for serials under way at a time.
const SERIALS_MAX: usize = 64;
/// How long the start may wait for the serials that nsd serves.
const SERIALS_PATIENCE: Duration = Duration::from_secs(3);
/// How often nsd is asked which serials it serves.
const SERIALS_INTERVAL: Duration = Duration::from_secs(30);

impl Daemon {
    pub(super) fn export(&self, zone: usize, serial: u32) {
        let order = self.export_order(zone, serial);
        let origin = order.zone.origin.clone();
        let (permits, back) = (Arc::clone(&self.exports), self.back.clone());
        let publisher = self.publisher.clone().expect("the configuration refuses an export without [nsd]");
        tokio::spawn(async move {
            let _permit = permits.acquire_owned().await.expect("the semaphore is never closed");
            let done = exports::run(&publisher, order).await;
            let _ = back.send(Back::Exported { origin, done }).await;
        });
    }

    pub(super) fn export_order(&self, zone: usize, serial: u32) -> exports::Order {
        let (zone, pools) = (self.loaded.zones[zone].config.clone(), Arc::clone(&self.pools));
        exports::Order { zone, pools, decision: Arc::clone(self.director.decision()), serial }
    }

    /// Tries the next move of a zone's pools beforehand.
    pub(super) fn rehearse(&self, zone: usize) {
        let decided = self.director.decision().serials.get(zone);
        if let Some(serial) = decided.filter(|_| self.loaded.zones[zone].config.export_file.is_some()) {
            // Full: the export will find out itself.
            let _ = self.rehearsals.try_send(self.export_order(zone, *serial));
        }
    }

    pub(super) fn exported(&mut self, origin: &Name, done: exports::Done) {
        let mut edited = false;
        if let Some(zone) = self.zone(origin) {
            self.rehearse(zone);
            let known = &mut self.loaded.zones[zone].held;
            edited = done.read.as_ref().is_some_and(|read| read != known);
            if let Some(written) = done.written {
                *known = written;
            }
        }
        self.report(done.report);
        if edited {
            self.journal.note(format!("{origin}: the zone file was edited; loading it"));
            self.reload(None);
        }
    }

    pub(super) fn report(&mut self, report: ExportReport) {
        if report.result != ExportResult::Unchanged {
            self.journal.record(Entry::Export(report.clone()));
        }
        if self.notifier.is_wanted() {
            self.notifier.exported(report.clone());
        }
        self.handle(Event::Exported(report.clone()));
        self.waiters.exported(&report);
    }

    /// What was put back must not be overwritten by the next move of a pool: the operator says when.
    pub(super) fn rolled_back(&mut self, origin: &Name, done: exports::Done) {
        if done.report.result == ExportResult::Served
            && let Some(zone) = self.zone(origin)
        {
            self.handle(Event::ExportHeld { zone, held: true });
            self.journal.note(format!("{origin}: exports are held; `export {origin}` ends that"));
        }
        self.report(done.report);
        // The file is another one now.
        self.reload(None);
    }
    /// Asks nsd for the serial of each zone, over and over.
    pub(super) fn poll_serials(&self) -> tokio::task::JoinHandle<()> {
        let (publisher, back) = (self.publisher.clone(), self.back.clone());
        let mut names = self.status.subscribe();
        tokio::spawn(async move {
            let Some(publisher) = publisher else { return };
            loop {
                let zones: Vec<String> = names.borrow_and_update().zones.iter().map(|zone| zone.name.clone()).collect();
                for zone in zones {
                    let Ok(origin) = zone.parse::<Name>() else { continue };
                    // A zone that nsd does not serve, or an nsd that is gone: the status shows no serial.
                    let Ok(serial) = publisher.serial_at(&origin).await else { continue };
                    if back.send(Back::SerialSeen { origin, serial }).await.is_err() {
                        return;
                    }
                }
                tokio::time::sleep(SERIALS_INTERVAL).await;
            }
        })
    }
}

/// Carries out rehearsals, one after the other, while no export is under way. What is refused comes
/// back as a line for people.
pub(super) fn rehearsals(
    publisher: Option<Arc<Publisher>>,
    exports: Arc<Semaphore>,
    back: mpsc::Sender<Back>,
) -> mpsc::Sender<exports::Order> {
    let (sender, mut orders) = mpsc::channel::<exports::Order>(REHEARSALS_MAX);
    tokio::spawn(async move {
        while let Some(order) = orders.recv().await {
            while exports.available_permits() < EXPORTS_MAX {
                tokio::time::sleep(REHEARSAL_PAUSE).await;
            }
            let Some(publisher) = &publisher else { continue };
            if let Err(refused) = exports::rehearse(publisher, &order).await {
                let _ = back.send(Back::Rehearsed(refused)).await;
            }
        }
    });
    sender
}

/// The serials that nsd serves now, as far as it answers in time: what was published by others
/// while we were away counts too (RFC 1982).
pub(super) async fn serials_at(publisher: &Arc<Publisher>, loaded: &Loaded) -> Vec<(Name, u32)> {
    let permits = Arc::new(Semaphore::new(SERIALS_MAX));
    let mut asked = tokio::task::JoinSet::new();
    for zone in loaded.zones.iter().filter(|zone| zone.config.export_file.is_some()) {
        let (publisher, permits, origin) = (Arc::clone(publisher), Arc::clone(&permits), zone.config.origin.clone());
        asked.spawn(async move {
            let _permit = permits.acquire_owned().await.expect("the semaphore is never closed");
            let serial = publisher.serial_at(&origin).await.ok()?;
            Some((origin, serial))
        });
    }
    let mut seen = Vec::new();
    let all = async {
        while let Some(answer) = asked.join_next().await {
            seen.extend(answer.ok().flatten());
        }
    };
    if tokio::time::timeout(SERIALS_PATIENCE, all).await.is_err() {
        tracing::warn!("nsd does not answer for all zones; their serials are asked for again before each export");
    }
    seen
}
pub fn publisher(config: &Config) -> Option<Publisher> {
    let nsd = config.nsd.as_ref()?;
    Some(Publisher::new(NsdSettings {
        address: nsd.address,
        verify: nsd.verify.clone(),
        control: match &nsd.control_socket {
            Some(path) => Control::Socket(path.clone()),
            None => Control::Program(nsd.control.clone()),
        },
        checkzone: nsd.checkzone.clone(),
        state_dir: config.state_dir.clone(),
        limits: Limits::default(),
    }))
}
