//! From a decision to the zone files: exports, rehearsals, and the serials that nsd serves.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::config::{self, Config};
use crate::control::log::Entry;
use crate::director::event::{Event, ExportReport, ExportResult};
use crate::dns::name::Name;
use crate::publish::{Control, Limits, NsdSettings, Publisher, Rehearsal};

use super::super::exports;
use super::super::load::{Loaded, LoadedZone, Parsed};
use super::{Back, Daemon, EXPORTS_MAX, STATUS_AGE};

/// How often a zone whose next export would be refused is tried again, and nsd is asked whether it
/// takes orders.
const REHEARSAL_INTERVAL: Duration = Duration::from_secs(300);
/// How often nsd is asked that does not.
const CONTROL_INTERVAL: Duration = Duration::from_secs(30);
/// How long after a first try that has failed.
const CONTROL_PAUSE: Duration = Duration::from_secs(3);
/// How often a rehearsal looks whether the exports are through, which come first.
const REHEARSAL_PAUSE: Duration = Duration::from_millis(200);
/// Questions for serials under way at a time.
const SERIALS_MAX: usize = 64;
/// How long the start, and with it the first answer, may wait for the serials that nsd serves.
const SERIALS_PATIENCE: Duration = Duration::from_millis(500);
/// How often nsd is asked which serials it serves.
const SERIALS_INTERVAL: Duration = Duration::from_secs(30);

/// An exported zone, and what its files hold.
pub(super) type Exported = (config::Zone, Arc<Parsed>);

impl Daemon {
    pub(super) fn export(&self, zone: usize, serial: u32) {
        let Some(order) = self.export_order(zone, serial) else { return };
        let origin = order.zone.origin.clone();
        let (permits, back) = (Arc::clone(&self.exports), self.back.clone());
        let publisher = self.publisher.clone().expect("the configuration refuses an export without [nsd]");
        tokio::spawn(async move {
            let done = match put_right(&publisher, &origin, &back).await {
                Err(reason) => exports::Done::early(&order, ExportResult::Refused, reason, None),
                Ok(()) => {
                    let _permit = permits.acquire_owned().await.expect("the semaphore is never closed");
                    exports::run(&publisher, order).await
                }
            };
            let _ = back.send(Back::Exported { origin, done }).await;
        });
    }

    /// `None`: the zone is not exported.
    pub(super) fn export_order(&self, zone: usize, serial: u32) -> Option<exports::Order> {
        let LoadedZone { config: zone, exported, .. } = &self.loaded.zones[zone];
        let (zone, loaded, pools) = (zone.clone(), exported.clone()?, Arc::clone(&self.pools));
        Some(exports::Order { zone, loaded, pools, decision: Arc::clone(self.director.decision()), serial })
    }

    /// Brings exports that a crash has cut off to an end, and removes what else it left, beside the loop.
    /// In shadow that is somebody else's to do.
    pub(super) fn recover(&mut self) {
        let Some(publisher) = self.publisher.clone().filter(|_| self.shadow.is_none()) else { return };
        let (files, back, journal) = (written_files(&self.loaded), self.back.clone(), Arc::clone(&self.journal));
        self.recovery = tokio::spawn(async move {
            let reports = publisher.recover().await;
            let _ = back.send(Back::Recovered { reports }).await;
            for path in publisher.sweep(files).await {
                journal.note(format!("{}: removed; a power cut had left it", path.display()));
            }
        });
    }

    pub(super) fn recovered(&mut self, reports: Vec<ExportReport>) {
        // Not the files that were loaded, or not all of them: the old ones are back.
        let moved = |report: &ExportReport| matches!(report.result, ExportResult::RolledBack | ExportResult::Refused);
        let moved = reports.iter().any(moved);
        reports.into_iter().for_each(|report| self.journal.record(Entry::Export(report)));
        if moved {
            self.reload(None);
        }
    }

    /// Tries the next export of every zone as it is loaded, beside the loop.
    pub(super) fn rehearse(&mut self) {
        self.rehearsal.abort();
        let Some(publisher) = self.publisher.clone() else { return };
        let exported = self.loaded.zones.iter().filter(|zone| zone.exported.is_some());
        let zones = exported.map(|zone| zone.config.origin.clone()).collect();
        self.rehearsal = tokio::spawn(rehearsals(publisher, zones, Arc::clone(&self.exports), self.back.clone()));
    }

    /// No answer: the zone is not exported any more.
    pub(super) fn rehearsing(&self, origin: &Name, reply: oneshot::Sender<Exported>) {
        let Some(zone) = self.zone(origin).map(|zone| &self.loaded.zones[zone]) else { return };
        if let Some(exported) = &zone.exported {
            // After a reload nobody waits for it.
            let _ = reply.send((zone.config.clone(), Arc::clone(exported)));
        }
    }

    /// What has become of rehearsals, of all these zones the same.
    pub(super) fn rehearsed(&mut self, zones: &[Name], refused: Option<String>) {
        if let (Some(reason), Some(first)) = (&refused, zones.first()) {
            let more = if zones.len() > 1 { format!(" and {} more", zones.len() - 1) } else { String::new() };
            self.journal.alarm(format!("{first}{more}: the next failover would be refused: {reason}"));
        }
        if self.notifier.is_wanted() {
            self.notifier.rehearsed(zones.iter().map(ToString::to_string).collect(), refused.clone());
        }
        for origin in zones {
            if let Some(zone) = self.zone(origin) {
                self.handle(Event::Rehearsed { zone, refused: refused.clone() });
            }
        }
    }

    pub(super) fn exported(&mut self, origin: &Name, done: exports::Done) {
        let mut edited = false;
        if let Some(zone) = self.zone(origin) {
            let known = &mut self.loaded.zones[zone].exported;
            edited = done.read.as_ref().is_some_and(|read| known.as_ref().is_none_or(|known| known.held != *read));
            if let Some(written) = done.written.filter(|_| !edited) {
                *known = Some(written);
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
        self.servers.exported(&report);
        self.handle(Event::Exported(report.clone()));
        self.waiters.exported(&report);
        self.start_rollbacks();
    }

    /// What was put back must not be overwritten by the next move of a pool: the operator says when.
    pub(super) fn rolled_back(&mut self, origin: &Name, done: exports::Done) {
        let held = self.holds.ended(origin, done.report.result == ExportResult::Served);
        if let Some(zone) = self.zone(origin) {
            self.handle(Event::ExportHeld { zone, held });
            if held {
                self.journal.note(format!("{origin}: exports are held; `export {origin}` ends that"));
            }
        }
        if done.report.result == ExportResult::Refused {
            // Nothing was touched: nsd has what it had, and nobody need be alarmed by a mistyped serial.
            self.journal.record(Entry::Export(done.report.clone()));
            self.waiters.exported(&done.report);
            return;
        }
        self.report(done.report);
        // The file is another one now.
        self.reload(None);
    }

    pub(super) fn serials_seen(&mut self, origin: &Name, serials: Vec<Option<u32>>) {
        let Some(zone) = self.zone(origin) else { return };
        let first = serials.first().copied().flatten();
        self.servers.seen(origin.to_string(), serials);
        match first {
            Some(serial) => self.handle(Event::SerialSeen { zone, serial }),
            // A zone that nsd does not serve, or an nsd that is gone.
            None => drop(self.status_due.get_or_insert_with(|| Instant::now() + STATUS_AGE)),
        }
    }

    /// Asks nsd for the serial of each zone, over and over, at each of its addresses.
    pub(super) fn poll_serials(&self) -> tokio::task::JoinHandle<()> {
        let (publisher, back) = (self.publisher.clone(), self.back.clone());
        let mut names = self.status.subscribe();
        tokio::spawn(async move {
            let Some(publisher) = publisher else { return };
            loop {
                let zones: Vec<String> = names.borrow_and_update().zones.iter().map(|zone| zone.name.clone()).collect();
                // One that does not answer is left alone until the next round: zones are many.
                let mut silent = BTreeSet::new();
                for zone in zones {
                    let Ok(origin) = zone.parse::<Name>() else { continue };
                    let serials = publisher.serials_at(&origin, &mut silent).await;
                    if back.send(Back::SerialsSeen { origin, serials }).await.is_err() {
                        return;
                    }
                }
                tokio::time::sleep(SERIALS_INTERVAL).await;
            }
        })
    }
}

/// Brings to an end what a crash has cut off of a zone's exports, before its files are read; holds up
/// nobody else. The error says what is still not right, in one line.
pub(super) async fn put_right(publisher: &Publisher, origin: &Name, back: &mpsc::Sender<Back>) -> Result<(), String> {
    match publisher.recover_zone(origin).await {
        Some(report) if report.result == ExportResult::Broken => return Err(report.detail),
        Some(report) => drop(back.send(Back::Recovered { reports: vec![report] }).await),
        None => {}
    }
    Ok(())
}

/// Carries out rehearsals, one after the other, while no export is under way; those that were refused
/// again and again, and whether nsd takes orders with each round. What has become of them comes back
/// when it is another than before. A zone's text is asked for when its turn has come: each export
/// replaces it, and nobody else is to keep the old one in memory.
async fn rehearsals(publisher: Arc<Publisher>, zones: Vec<Name>, exports: Arc<Semaphore>, back: mpsc::Sender<Back>) {
    let mut told: HashMap<&Name, Option<String>> = HashMap::new();
    let all: Vec<usize> = (0..zones.len()).collect();
    let mut due = all.clone();
    while !zones.is_empty() {
        if let Err(reason) = takes_orders(&publisher).await {
            let refused = Some(reason);
            let mut news = zones.iter().collect::<Vec<_>>();
            news.retain(|origin| told.insert(origin, refused.clone()).as_ref() != Some(&refused));
            let zones: Vec<Name> = news.into_iter().cloned().collect();
            if !zones.is_empty() && back.send(Back::Rehearsed { zones, refused }).await.is_err() {
                return;
            }
            due = all.clone();
            tokio::time::sleep(CONTROL_INTERVAL).await;
            continue;
        }
        let mut again = Vec::new();
        for index in due {
            let origin = &zones[index];
            while exports.available_permits() < EXPORTS_MAX {
                tokio::time::sleep(REHEARSAL_PAUSE).await;
            }
            let (reply, loaded) = oneshot::channel();
            if back.send(Back::Rehearsing { origin: origin.clone(), reply }).await.is_err() {
                return;
            }
            let Ok((zone, parsed)) = loaded.await else { continue };
            let refused = rehearse(&publisher, &zone, &parsed).await.err();
            drop(parsed);
            if refused.is_some() {
                again.push(index);
            }
            if told.insert(origin, refused.clone()).as_ref() == Some(&refused) {
                continue;
            }
            if back.send(Back::Rehearsed { zones: vec![origin.clone()], refused }).await.is_err() {
                return;
            }
        }
        due = again;
        tokio::time::sleep(REHEARSAL_INTERVAL).await;
    }
}

/// Asks twice: an nsd that is just being started again is none to tell of.
async fn takes_orders(publisher: &Publisher) -> Result<(), String> {
    if publisher.try_control().await.is_ok() {
        return Ok(());
    }
    tokio::time::sleep(CONTROL_PAUSE).await;
    publisher.try_control().await
}

async fn rehearse(publisher: &Publisher, zone: &config::Zone, parsed: &Arc<Parsed>) -> Result<(), String> {
    let Some(target) = zone.export_file.clone() else { return Ok(()) };
    let text = Arc::clone(parsed);
    let skeleton = tokio::task::spawn_blocking(move || text.skeleton()).await.ok().flatten();
    let rehearsal = Rehearsal {
        origin: zone.origin.clone(),
        target,
        replaced: exports::replaced_files(zone, parsed),
        bytes: Arc::clone(&parsed.held.zone),
        skeleton,
        include_dir: Some(zone.include_dir.clone()),
    };
    publisher.rehearse(&rehearsal).await
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

/// Every file that an export may replace.
pub(super) fn written_files(loaded: &Loaded) -> Vec<PathBuf> {
    let exported = |zone: &&LoadedZone| zone.config.export_file.is_some();
    let of_zone = |zone: &LoadedZone| zone.config.export_file.iter().chain(&zone.included).cloned().collect::<Vec<_>>();
    loaded.zones.iter().filter(exported).flat_map(of_zone).collect()
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

#[cfg(test)]
mod tests {
    use super::super::super::load;
    use super::*;

    /// What is loaded may be as large as everything else: it is in memory once.
    #[tokio::test]
    async fn a_rehearsal_keeps_no_text() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("z"), "$TTL 300\n@ SOA a. b. 1 2 3 4 5\n@ NS a.\n").unwrap();
        let text = "version = 1\nstate-dir = \"state\"\n[nsd]\ncontrol = [\"true\"]\ncheckzone = []\n\
                    [zone.\"example.org\"]\nfile = \"z\"\n";
        let config = Config::parse(&folder.path().join("c.toml"), text).unwrap();
        let loaded = load::load(&config).unwrap();
        let LoadedZone { config: zone, exported, .. } = &loaded.zones[0];
        let exported = exported.as_ref().expect("zones are exported where there is an nsd");
        let (back, mut events) = mpsc::channel(1);
        let publisher = Arc::new(publisher(&config).unwrap());
        let exports = Arc::new(Semaphore::new(EXPORTS_MAX));
        let rehearsing = tokio::spawn(rehearsals(publisher, vec![zone.origin.clone()], exports, back));
        match events.recv().await {
            Some(Back::Rehearsing { origin, reply }) if origin == zone.origin => {
                assert!(reply.send((zone.clone(), Arc::clone(exported))).is_ok());
            }
            _ => panic!("it asks for the zone"),
        }
        let Some(Back::Rehearsed { refused: None, .. }) = events.recv().await else { panic!("nothing is wrong") };
        assert_eq!(Arc::strong_count(exported), 1);
        rehearsing.abort();
    }
}
