//! The serial of each zone, and its exports: at most one at a time; what changes meanwhile goes
//! with the next one; what failed is tried again, ever more patiently.

use std::collections::BTreeSet;

use crate::export::serial::{self, SerialScheme};
use crate::failover::pool::{PoolRoles, PoolToldRoles, Told};
use crate::health::family::Family;
use crate::health::time::Now;

use super::UNWRITTEN_MAX;
use super::event::{ExportReport, ExportResult};
use super::settings::{Settings, ZoneSettings};
use super::state::{SavedZone, State, find_roles};
use super::timers::Timers;

/// A failed export is tried again after this time, doubled with each failure in a row.
const RETRY_FIRST_MS: u64 = 30_000;
const RETRY_LAST_MS: u64 = 15 * 60_000;
/// A zone whose secondaries stay behind gets no second serial for that within this time, doubled with
/// each one that did not help, and forgotten when nobody has stayed behind for as long again.
const NUDGE_FIRST_MS: u64 = 60_000;
const NUDGE_LAST_MS: u64 = 6 * 3_600_000;
/// Who stays behind says so every minute or two.
const NUDGE_CALM_MS: u64 = 10 * 60_000;

#[derive(Debug, Default)]
pub(super) struct Zones {
    pub(super) list: Vec<ZoneState>,
    /// Zones with something to export and nothing in their way.
    waiting: BTreeSet<usize>,
    /// Zones whose secondaries would never take our serial: one serves a newer one, or believes to have
    /// ours already.
    outdated: BTreeSet<usize>,
    retries: Timers,
    /// How many serials may be in service that nobody has written down: after a crash.
    leap: u32,
}

#[derive(Debug)]
pub(super) struct ZoneState {
    pub(super) name: String,
    scheme: SerialScheme,
    pub(super) export: bool,
    content: Option<u64>,
    is_signed: bool,
    pub(super) serial: u32,
    pub(super) serial_at_nsd: Option<u32>,
    /// A serial newer than ours that a secondary was seen to serve.
    serial_elsewhere: Option<u32>,
    nudges: Nudges,
    /// nsd does not have the current decision.
    dirty: bool,
    /// The generation that an export under way carries.
    running: Option<u64>,
    /// Exports wait for the operator: a rollback has put other bytes in service.
    pub(super) held: bool,
    /// Failures in a row.
    failures: u32,
    pub(super) last_export: Option<ExportReport>,
    /// Why the next export would be refused.
    pub(super) refused: Option<String>,
}

/// When secondaries that stay behind may be given a new serial.
#[derive(Clone, Copy, Debug, Default)]
struct Nudges {
    /// Not before, in monotonic milliseconds.
    after_ms: u64,
    wait_ms: u64,
}

impl Nudges {
    /// Whether it is time.
    fn take(&mut self, now: Now) -> bool {
        let Some(late_ms) = now.monotonic_ms.checked_sub(self.after_ms) else { return false };
        self.wait_ms = match self.wait_ms {
            0 => NUDGE_FIRST_MS,
            wait_ms if late_ms > wait_ms.max(NUDGE_CALM_MS) => NUDGE_FIRST_MS,
            wait_ms => wait_ms.saturating_mul(2).min(NUDGE_LAST_MS),
        };
        self.after_ms = now.monotonic_ms.saturating_add(self.wait_ms);
        true
    }
}

impl ZoneState {
    /// nsd does not have the current decision, as far as we know.
    pub(super) fn is_unpublished(&self) -> bool {
        !self.held && (self.dirty || self.running.is_some())
    }

    pub(super) fn is_exporting(&self) -> bool {
        self.running.is_some()
    }

    /// Secondaries take it from us, with serials of ours.
    fn is_transferred(&self) -> bool {
        self.content.is_some() && !self.is_signed
    }
}

impl Zones {
    pub(super) fn new(settings: &Settings, saved: &State, old: Option<Zones>) -> Zones {
        let is_crash = old.is_none() && saved.version != 0 && !saved.is_final;
        let leap = if is_crash { UNWRITTEN_MAX } else { 0 };
        let mut old = old.map(|old| old.list).unwrap_or_default();
        let mut zones = Zones { leap, ..Zones::default() };
        for zone in &settings.zones {
            let name = zone.origin.to_string();
            let before = saved.zones.get(&name);
            let running = old.iter_mut().find(|old| old.name == name);
            let nudges = running.as_ref().map(|old| old.nudges).unwrap_or_default();
            let (running, last_export, refused) =
                running.map(|old| (old.running, old.last_export.take(), old.refused.take())).unwrap_or_default();
            zones.list.push(ZoneState {
                scheme: zone.scheme,
                export: zone.export,
                content: zone.content,
                is_signed: zone.is_signed,
                serial: match before {
                    Some(before) if !zone.is_signed => serial::newest(before.serial, zone.serial_in_file),
                    _ => zone.serial_in_file,
                },
                serial_at_nsd: before.and_then(|before| before.serial_at_nsd),
                serial_elsewhere: None,
                nudges,
                dirty: false,
                running,
                held: zone.export && before.is_some_and(|before| before.export_held),
                failures: 0,
                last_export,
                refused,
                name,
            });
        }
        zones
    }

    /// Compares a zone file with the first decision made for it, after a start or a reload: where
    /// they differ, or the file fell behind, a new serial and an export are due.
    pub(super) fn reconcile(&mut self, settings: &Settings, saved: &State, roles: &[PoolRoles], now: Now) {
        for (index, zone) in settings.zones.iter().enumerate().filter(|(_, zone)| !zone.is_signed) {
            let state = &mut self.list[index];
            let before = saved.zones.get(&state.name);
            let pending = before.is_some_and(|saved| saved.export_pending);
            // Without an export the file never hears of our serials.
            let behind = zone.export && serial::is_newer(state.serial, zone.serial_in_file);
            let differs = match before.filter(|_| zone.content.is_some()) {
                None => !state.held && !says(zone, roles),
                // Secondaries have what was served last, whatever the file says.
                Some(before) => {
                    state.serial = state.serial.wrapping_add(self.leap);
                    let edited = before.content != zone.content;
                    let told = serial::is_newer(zone.serial_in_file, before.serial);
                    self.leap > 0 || (edited && !told) || moved(zone, settings, saved, roles)
                }
            };
            // What is held waits for the operator, also where the file falls ever further behind.
            if differs || (!state.held && (pending || behind)) {
                self.renew(index, now);
            }
        }
    }

    /// A pool of the zone has moved: the next serial, and an export.
    pub(super) fn renew(&mut self, zone: usize, now: Now) {
        let state = &mut self.list[zone];
        if state.is_signed {
            return;
        }
        let elsewhere = [state.serial_at_nsd, state.serial_elsewhere].into_iter().flatten();
        let last = elsewhere.fold(state.serial, serial::newest);
        state.serial = serial::next(state.scheme, last, now.unix_ms.div_euclid(1_000));
        state.dirty = state.export;
        if state.dirty && !state.held && state.running.is_none() {
            self.retries.set(zone, None);
            self.waiting.insert(zone);
        }
    }

    /// nsd was seen to serve this serial.
    pub(super) fn seen(&mut self, zone: usize, serial: u32) {
        if let Some(state) = self.list.get_mut(zone) {
            state.serial_at_nsd = Some(serial);
            self.seen_elsewhere(zone, serial);
        }
    }

    /// A secondary was seen to serve this serial. It would never take what is older: the state was
    /// lost, or the zone had another primary.
    pub(super) fn seen_elsewhere(&mut self, zone: usize, serial: u32) {
        let Some(state) = self.list.get_mut(zone) else { return };
        if state.is_transferred() && serial::is_newer(serial, state.serial) {
            state.serial_elsewhere = Some(serial);
            self.outdated.insert(zone);
        }
    }

    /// A secondary has acknowledged our serial and does not come for it. It may believe to have it
    /// already (nsd, restarted with an xfrd.state that is newer than its zone file): then it takes the
    /// next one only.
    pub(super) fn stays_behind(&mut self, zone: usize, now: Now) {
        let Some(state) = self.list.get_mut(zone) else { return };
        if state.is_transferred() && state.nudges.take(now) {
            self.outdated.insert(zone);
        }
    }

    /// The next export was tried beforehand.
    pub(super) fn rehearsed(&mut self, zone: usize, refused: Option<String>) {
        if let Some(state) = self.list.get_mut(zone) {
            state.refused = refused;
        }
    }

    /// The operator's rollback holds the exports of a zone, `export` lets them go on.
    pub(super) fn hold(&mut self, zone: usize, held: bool) {
        let Some(state) = self.list.get_mut(zone) else { return };
        state.held = held;
        self.waiting.remove(&zone);
        self.retries.set(zone, None);
        if state.dirty && !held && state.running.is_none() {
            self.waiting.insert(zone);
        }
    }

    /// What is due to be tried again; and exports whose serial nsd has overtaken meanwhile, and zones
    /// whose secondaries would not take ours, get a newer one. True if a serial has changed: a new decision is needed.
    pub(super) fn refresh(&mut self, now: Now) -> bool {
        while let Some(zone) = self.retries.take_due(now.monotonic_ms) {
            self.waiting.insert(zone);
        }
        let overtaken = |zone: &&usize| {
            let state = &self.list[**zone];
            state.serial_at_nsd.is_some_and(|at_nsd| !serial::is_newer(state.serial, at_nsd))
        };
        let mut due: BTreeSet<usize> = self.waiting.iter().filter(overtaken).copied().collect();
        due.append(&mut self.outdated);
        for zone in &due {
            self.renew(*zone, now);
        }
        !due.is_empty()
    }

    /// The exports that can start now, as (zone, serial).
    pub(super) fn start(&mut self, generation: u64) -> Vec<(usize, u32)> {
        let start = |zone: usize| {
            let state = &mut self.list[zone];
            state.dirty = false;
            state.running = Some(generation);
            (zone, state.serial)
        };
        std::mem::take(&mut self.waiting).into_iter().map(start).collect()
    }

    /// An export has ended, or one that somebody else asked for. False: no such zone.
    pub(super) fn ended(&mut self, report: ExportReport, now: Now) -> bool {
        let Some(index) = self.list.iter().position(|state| state.name == report.zone) else { return false };
        let state = &mut self.list[index];
        let (generation, serial, result) = (report.generation, report.serial, report.result);
        state.last_export = Some(report);
        if result == ExportResult::Served {
            state.refused = None;
            state.serial_at_nsd = Some(serial);
            // Where the operator's own edit had passed the decided serial by, the export took the next.
            state.serial = serial::newest(state.serial, serial);
        }
        if state.running != Some(generation) {
            return true;
        }
        state.running = None;
        match result {
            ExportResult::Served | ExportResult::Unchanged => state.failures = 0,
            ExportResult::RolledBack | ExportResult::Refused | ExportResult::Broken => {
                let wait_ms = RETRY_FIRST_MS.saturating_mul(1 << state.failures.min(16)).min(RETRY_LAST_MS);
                state.failures = state.failures.saturating_add(1);
                if !state.dirty && state.export {
                    state.dirty = true;
                    let retry_ms = now.monotonic_ms.saturating_add(wait_ms);
                    self.retries.set(index, (!state.held).then_some(retry_ms));
                }
            }
        }
        if state.dirty && !state.held && !self.retries.is_set(index) {
            self.waiting.insert(index);
        }
        true
    }

    pub(super) fn next_ms(&self) -> Option<u64> {
        self.retries.next_ms()
    }

    pub(super) fn saved(&self) -> impl Iterator<Item = (String, SavedZone)> {
        self.list.iter().map(|state| {
            let saved = SavedZone {
                serial: state.serial,
                serial_at_nsd: state.serial_at_nsd,
                export_pending: state.dirty || state.running.is_some(),
                content: state.content,
                export_held: state.held,
            };
            (state.name.clone(), saved)
        })
    }
}

/// Whether a pool of the zone has other roles than were saved.
fn moved(zone: &ZoneSettings, settings: &Settings, saved: &State, roles: &[PoolRoles]) -> bool {
    zone.pools.iter().any(|pool| {
        let known = saved.pools.get(&settings.pools[*pool].name).and_then(|saved| saved.roles.as_ref());
        known.and_then(|known| find_roles(known, &settings.pools[*pool].nodes)) != Some(roles[*pool])
    })
}

/// Whether the addresses in a zone file agree with the roles (by pool). A role that no record of
/// the file carries agrees with everybody, withdrawn records only with nobody.
fn says(zone: &ZoneSettings, roles: &[PoolRoles]) -> bool {
    let same = |found: Told, decided: Option<usize>| found == Told::Nothing || found.node() == decided;
    let agrees = |found: &PoolToldRoles, decided: &PoolRoles| {
        Family::ALL.into_iter().all(|family| {
            same(found[family].primary, decided[family].primary) && same(found[family].standby, decided[family].standby)
        })
    };
    let mut found = zone.pools.iter().zip(&zone.roles_in_file);
    found.all(|(pool, found)| found.is_some_and(|found| agrees(&found, &roles[*pool])))
}
