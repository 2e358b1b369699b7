//! The export transaction: brings a zone's new bytes to nsd, or leaves everything as it was.
//!
//! ```text
//! ask nsd, read -> journal -> temp file -> nsd-checkzone | read back | keep | fsync -> swap
//!      -> reload | fsync folder -> serial at nsd | say what it means -> failover RRsets at nsd -> recorded
//!                                    any failure from the swap on:
//!                                    put back -> reload -> old serial at nsd -> reported
//! ```
//!
//! Every step has a deadline and its failure a reason. Nothing of the operator's is overwritten:
//! the file is compared by content before the swap, and what the swap took out is compared again.
//! A crash after any step is cleaned up by [`Publisher::recover`], from the journal.

mod command;
mod control;
pub mod files;
pub mod generations;
mod journal;
mod judged;
mod moves;
pub mod query;
mod recovery;
mod rollback;
mod served;
mod sweep;
mod transaction;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::base::iana::Rtype;
use tokio::sync::Semaphore;

use crate::director::event::{ExportReport, ExportResult};
use crate::dns::name::Name;
use crate::export::skeleton::Skeleton;

pub use control::Control;
use generations::{Generation, Generations};
use journal::Journal;
use judged::Judged;
use query::{Client, QueryError};

/// The one writer of zone files. Exports of different zones run side by side, those of one zone
/// one after the other.
#[derive(Debug)]
pub struct Publisher {
    settings: NsdSettings,
    /// One for each address at which nsd is looked at; the first is the one that counts where one
    /// answer is enough.
    clients: Vec<Client>,
    /// How many zones are judged at a time: nsd-checkzone and our parser take a core each.
    judges: Semaphore,
    /// What nsd-checkzone has said yes to.
    judged: Judged,
    generations: Generations,
    /// One lock for each zone that was ever exported.
    zones: Mutex<HashMap<Name, Arc<tokio::sync::Mutex<()>>>>,
}

/// Where nsd is and how it is spoken to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NsdSettings {
    /// Where nsd answers queries.
    pub address: SocketAddr,
    /// More addresses at which it answers: an export has arrived when all of them show it.
    pub verify: Vec<SocketAddr>,
    pub control: Control,
    /// Program and arguments that come before `ORIGIN FILE`: usually `nsd-checkzone`. Empty: only
    /// our own parser judges a zone file.
    pub checkzone: Vec<String>,
    /// Holds the journal and the kept generations; nobody else writes below it.
    pub state_dir: PathBuf,
    pub limits: Limits,
}

/// How long each step may take, in milliseconds, and what is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// One step that reads or writes files.
    pub file_ms: u64,
    /// `nsd-checkzone`, and the parse of our own that follows it.
    pub check_ms: u64,
    /// `nsd-control reload`, which only queues the work.
    pub control_ms: u64,
    /// From the reload until nsd serves the serial and the failover RRsets.
    pub served_ms: u64,
    /// From the new serial at nsd until its failover RRsets are the new ones: what is still wrong
    /// after that will stay so (it reads another file than we write).
    pub settle_ms: u64,
    /// One question to nsd.
    pub query_ms: u64,
    /// Good generations kept for each zone; at least 2.
    pub generations: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            file_ms: 30_000,
            check_ms: 60_000,
            control_ms: 10_000,
            served_ms: 30_000,
            settle_ms: 5_000,
            query_ms: 1_000,
            generations: 8,
        }
    }
}

/// What is to be published.
#[derive(Clone, Debug)]
pub struct Job {
    pub origin: Name,
    /// The operator's file; absent where there is none (the configuration declares the zone).
    pub source: Option<PathBuf>,
    /// What was read from `source` when the zone was parsed. If the file holds anything else by
    /// now, somebody has edited it, and the export is refused.
    pub source_bytes: Arc<Vec<u8>>,
    /// The serial in `source_bytes`.
    pub source_serial: u32,
    /// The file that nsd reads; `source`, unless `export-file` says otherwise. May not exist yet
    /// if it is another.
    pub target: PathBuf,
    /// What the target shall hold.
    pub bytes: Arc<Vec<u8>>,
    /// The serial in `bytes`; greater than what nsd serves (RFC 1982).
    pub serial: u32,
    /// The generation of the decision, for the report.
    pub generation: u64,
    /// The files that the zone includes.
    pub included: Arc<[IncludedFile]>,
    /// Where `nsd-checkzone` runs: relative `$INCLUDE` names count from there. Absent: here.
    pub include_dir: Option<PathBuf>,
}

/// A file that the zone includes.
#[derive(Clone, Debug)]
pub struct IncludedFile {
    pub path: PathBuf,
    /// What was read when the zone was parsed; compared again like the zone's own file.
    pub old: Arc<Vec<u8>>,
    /// What it shall hold; absent: it stays.
    pub new: Option<Arc<Vec<u8>>>,
    /// Exports change it (failover records or the SOA stand in it): a kept generation holds it too,
    /// and a rollback brings it back.
    pub kept: bool,
}

/// What a reader of a job's new bytes finds in them.
pub struct ReadBack {
    /// Says what nsd must answer afterwards, beside the serial; called while nsd loads. An error undoes
    /// the export: a second look, which the bytes must have stood without already.
    pub expect: Expect,
    /// Texts with the same one need no verdict of their own; absent: each is judged.
    pub skeleton: Option<Skeleton>,
}

/// See [`ReadBack::expect`].
pub type Expect = Box<dyn FnOnce() -> Result<Vec<Expected>, String> + Send>;

/// An RRset of addresses that nsd must serve.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expected {
    pub owner: Name,
    /// A or AAAA.
    pub rtype: Rtype,
    /// In any order; empty: NODATA, or NXDOMAIN where nothing else has the name.
    pub addresses: Vec<IpAddr>,
}

/// The steps, in the order in which they are done. Those of the way back come after the others.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    /// nsd was asked for the serial that it serves now.
    Asked,
    /// The files were read, and nobody had edited them.
    Read,
    /// The journal says what is about to happen.
    Journaled,
    /// The new bytes lie in a temp file beside the target.
    Written,
    /// The included files hold the new bytes, their temp files the old ones, and all of it is on
    /// disk. Only where some change: `nsd-checkzone` finds them by their own names. nsd reads them
    /// with the reload.
    Included,
    /// `nsd-checkzone` likes them, so does our own parser; the old bytes lie in the state folder,
    /// and all of it is on disk.
    Checked,
    /// The target holds the new bytes, the temp file the old ones.
    Swapped,
    /// nsd took the reload, and the folder is on disk.
    Reloaded,
    /// nsd serves the new serial.
    SerialSeen,
    /// nsd serves the failover RRsets.
    Compared,
    /// The new bytes lie in the state folder as the last good generation.
    Recorded,
    /// The temp file and the journal are gone.
    Finished,
    /// The way back: the target holds the old bytes again.
    PutBack,
    /// The way back: `nsd-control` took the reload.
    ReloadedOld,
    /// The way back: nsd serves the old serial.
    OldSerialSeen,
    /// After any failure: no file holds new bytes any more, but for the temp files, which go next, and
    /// the journal with them.
    Restored,
}

/// Called after each step with what was just done; `Break` leaves everything lie as it is, as a
/// crash would.
pub type Hook<'a> = &'a (dyn Fn(Step) -> ControlFlow<()> + Sync);

/// A [`Hook`] has stopped the transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cut;

/// A zone as it was loaded, for [`Publisher::rehearse`].
#[derive(Clone, Debug)]
pub struct Rehearsal {
    pub origin: Name,
    /// What nsd reads.
    pub target: PathBuf,
    /// The files that an export replaces: the target, and included files that it changes.
    pub replaced: Vec<PathBuf>,
    /// What the zone's own file holds.
    pub bytes: Arc<Vec<u8>>,
    pub skeleton: Option<Skeleton>,
    /// As in [`Job`].
    pub include_dir: Option<PathBuf>,
}

/// The texts of a generation.
#[derive(Clone, Debug)]
pub struct Texts {
    /// The zone's own file.
    pub zone: Vec<u8>,
    /// The included files that exports change.
    pub included: Vec<(PathBuf, Vec<u8>)>,
}

/// What [`Publisher::rollback`] shall publish: an earlier generation, made new.
#[derive(Clone, Debug)]
pub struct Renewed {
    pub texts: Texts,
    /// The serial in the texts, greater than the one that is served: a serial never goes back.
    pub serial: u32,
}

impl Publisher {
    /// Touches nothing yet.
    pub fn new(settings: NsdSettings) -> Publisher {
        let limit = Duration::from_millis(settings.limits.query_ms);
        let mut addresses = vec![settings.address];
        addresses.extend(settings.verify.iter().filter(|address| **address != settings.address));
        let clients = addresses.into_iter().map(|address| Client::new(address, limit)).collect();
        let judges = Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get));
        let generations = Generations::new(settings.state_dir.join("generations"), settings.limits.generations);
        Publisher { settings, clients, judges, judged: Judged::default(), generations, zones: Mutex::default() }
    }

    pub fn settings(&self) -> &NsdSettings {
        &self.settings
    }

    /// The serial that nsd serves for a zone, at its first address.
    pub async fn serial_at(&self, origin: &Name) -> Result<u32, QueryError> {
        self.clients[0].serial(origin).await
    }

    /// The addresses at which nsd must serve an export.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.clients.iter().map(Client::server)
    }

    /// The serial at each of [`Publisher::addresses`], where it has the zone. Those in `silent` are not
    /// asked, and those that do not answer are added to it.
    pub async fn serials_at(&self, origin: &Name, silent: &mut BTreeSet<SocketAddr>) -> Vec<Option<u32>> {
        let asked = self.clients.iter().map(|client| {
            let skip = silent.contains(&client.server());
            async move { if skip { None } else { Some(client.serial(origin).await) } }
        });
        let answers = futures_util::future::join_all(asked).await;
        for (client, answer) in self.clients.iter().zip(&answers) {
            if let Some(Err(QueryError::Timeout | QueryError::Io(_))) = answer {
                silent.insert(client.server());
            }
        }
        answers.into_iter().map(|answer| answer?.ok()).collect()
    }

    /// Runs the transaction. `verify` parses the bytes as they were read back from disk and says
    /// what they mean, or what is wrong with them; it runs on a thread of its own.
    pub async fn export(
        &self,
        job: Job,
        verify: impl Fn(&[u8]) -> Result<ReadBack, String> + Send + 'static,
    ) -> ExportReport {
        let never = |_| ControlFlow::Continue(());
        self.export_stepwise(job, verify, &never).await.expect("the hook never stops")
    }

    /// The same, with a hook after each step: for tests of a crash, or of what others do meanwhile.
    pub async fn export_stepwise(
        &self,
        job: Job,
        verify: impl Fn(&[u8]) -> Result<ReadBack, String> + Send + 'static,
        after: Hook<'_>,
    ) -> Result<ExportReport, Cut> {
        let lock = self.zone_lock(&job.origin);
        let _alone = lock.lock().await;
        transaction::run(self, job, Box::new(verify), after).await
    }

    /// Tries as much of the next export as leaves no trace: whether nsd-checkzone takes the zone as it
    /// is now, and whether its files could be replaced. The day shows what would be refused, not the
    /// night, and an export does not wait for a verdict that is known. The error is one line.
    pub async fn rehearse(&self, zone: &Rehearsal) -> Result<(), String> {
        let replaced = zone.replaced.clone();
        let look = move || replaced.iter().try_for_each(|file| files::check_replaceable(file));
        self.blocking("zone file", look).await?;
        if self.settings.checkzone.is_empty() {
            return Ok(());
        }
        let _judging = self.judges.acquire().await.expect("the semaphore is never closed");
        let folder = self.settings.state_dir.join("rehearsal");
        let path = folder.join(format!("{}.zone", generations::zone_key(&zone.origin)));
        // nsd-checkzone may run in another folder.
        let path = std::path::absolute(&path).unwrap_or(path);
        let (temp, text) = (path.clone(), Arc::clone(&zone.bytes));
        let write = move || {
            make_state_folder(&folder)?;
            files::remove(&temp)?;
            files::write_new(&temp, &text, None)
        };
        self.blocking("rehearsal", write).await?;
        let judged = self.judge(&zone.origin, &path, zone.include_dir.as_deref(), zone.skeleton).await;
        let (temp, target) = (path.display().to_string(), zone.target.display().to_string());
        self.blocking("rehearsal", move || files::remove(&path)).await?;
        judged.map_err(|reason| reason.replace(&temp, &target))
    }

    /// Whether nsd would take the order to load a zone; asked without giving one. The error is one
    /// line.
    pub async fn try_control(&self) -> Result<(), String> {
        self.settings.control.try_out(self.settings.limits.control_ms).await
    }

    /// Cleans up after a crash: each zone that the journal names ends with a complete file, old or
    /// new, no temp file beside it, and nsd serving it. Zones are brought to an end side by side, and
    /// beside exports of others; the reports tell what was found, and are empty after a clean stop.
    pub async fn recover(&self) -> Vec<ExportReport> {
        recovery::run(self).await
    }

    /// The same for one zone, before its files are read for an export; `None`: there is nothing to do.
    pub async fn recover_zone(&self, origin: &Name) -> Option<ExportReport> {
        recovery::of_zone(self, origin).await
    }

    /// The zone files and included files that [`Publisher::recover`] may have to replace. To be called
    /// before the first export: what a crash has left of journals half written goes.
    pub async fn unfinished(&self) -> Vec<PathBuf> {
        let folder = self.journal_dir();
        let look = move || {
            if let Err(reason) = Journal::remove_halves(&folder) {
                tracing::warn!("{reason}");
            }
            Journal::all(&folder)
        };
        let found = self.blocking("journal", look).await.unwrap_or_default();
        let targets = |journal: Journal| {
            let included = journal.included.into_iter().map(|included| included.target);
            included.chain([journal.target]).collect::<Vec<_>>()
        };
        found.into_iter().flatten().flat_map(targets).collect()
    }

    /// Publishes the newest kept generation that differs from what the files hold, or the one with
    /// the serial `to`. `renew` gives it a serial of today. `current` describes the zone as for an
    /// export; its `bytes` and `serial` are not looked at.
    pub async fn rollback(
        &self,
        current: Job,
        to: Option<u32>,
        renew: impl FnOnce(Texts) -> Result<Renewed, String>,
        verify: impl Fn(&[u8]) -> Result<ReadBack, String> + Send + 'static,
    ) -> ExportReport {
        let never = |_| ControlFlow::Continue(());
        self.rollback_stepwise(current, to, renew, verify, &never).await.expect("the hook never stops")
    }

    /// The same, with a hook after each step, for tests.
    pub async fn rollback_stepwise(
        &self,
        current: Job,
        to: Option<u32>,
        renew: impl FnOnce(Texts) -> Result<Renewed, String>,
        verify: impl Fn(&[u8]) -> Result<ReadBack, String> + Send + 'static,
        after: Hook<'_>,
    ) -> Result<ExportReport, Cut> {
        let kept = rollback::previous(self, &current, to).await;
        let job = kept.and_then(|found| {
            let serial = found.kept.serial;
            Ok((serial, rollback::job(&current, found, renew)?))
        });
        match job {
            Err(reason) => Ok(transaction::report(&current, ExportResult::Refused, reason, Duration::ZERO)),
            Ok((serial, job)) => {
                let mut report = self.export_stepwise(job, verify, after).await?;
                report.detail = format!("back to the generation with serial {serial}: {}", report.detail);
                Ok(report)
            }
        }
    }

    /// Forgets the generation before the newest, which differs from it in nothing but the serial. Where
    /// that fails, one generation more than necessary is kept.
    pub async fn forget_previous(&self, origin: &Name) {
        let (store, origin) = (self.generations.clone(), origin.clone());
        if let Err(reason) = self.blocking("the kept generations", move || store.forget_previous(&origin)).await {
            tracing::warn!("{reason}");
        }
    }

    /// The generations kept for a zone, newest first.
    pub async fn kept(&self, origin: &Name) -> Result<Vec<Generation>, String> {
        let (store, origin) = (self.generations.clone(), origin.clone());
        self.blocking("the kept generations", move || store.list(&origin)).await
    }

    fn zone_lock(&self, origin: &Name) -> Arc<tokio::sync::Mutex<()>> {
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        zones.entry(origin.clone()).or_default().clone()
    }

    fn journal_dir(&self) -> PathBuf {
        self.settings.state_dir.join("journal")
    }

    /// File work on a thread of its own, given up at the deadline. A thread that hangs (a dead
    /// network file system) is left behind; the journal then stays too.
    async fn blocking<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        blocking(what, self.settings.limits.file_ms, work).await
    }
}

/// See [`Publisher::blocking`].
async fn blocking<T: Send + 'static>(
    what: &str,
    limit_ms: u64,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let task = tokio::task::spawn_blocking(work);
    match tokio::time::timeout(Duration::from_millis(limit_ms), task).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(format!("{what}: {panic}")),
        Err(_) => Err(format!("{what}: not done within {limit_ms} ms")),
    }
}

/// The origin as nsd's tools want it: no final dot, except for the root.
fn zone_argument(origin: &Name) -> String {
    let text = origin.to_string();
    match text.strip_suffix('.') {
        Some("") | None => text,
        Some(bare) => bare.to_owned(),
    }
}

/// Octets from the system that nobody can guess.
fn random<const N: usize>() -> [u8; N] {
    use ring::rand::SecureRandom;
    let mut octets = [0; N];
    ring::rand::SystemRandom::new().fill(&mut octets).expect("the system has random octets");
    octets
}

/// Folders below the state folder are nobody else's business.
const STATE_FOLDER_MODE: u32 = 0o700;

/// Creates a folder of ours and its parents.
fn make_state_folder(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(STATE_FOLDER_MODE).create(path);
    made.map_err(|error| format!("cannot create folder {}: {error}", path.display()))
}
