//! One export from beginning to end: plan, stage, publish, and the way back.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use domain::base::Serial;
use hickory_proto::op::ResponseCode;

use crate::director::event::{ExportReport, ExportResult};

use super::files::{self, Found};
use super::generations::{Generation, KeptFile, hash};
use super::journal::{Journal, Version};
use super::moves::{self, Holds, MoveError, Progress};
use super::query::{Client, QueryError};
use super::{Cut, Expect, Hook, IncludedFile, Job, Publisher, ReadBack, Step, blocking, recovery};

/// What judges the bytes that were read back.
pub(super) type Verify = Box<dyn Fn(&[u8]) -> Result<ReadBack, String> + Send>;

/// Runs the transaction; the caller holds the zone's lock.
pub(super) async fn run(publisher: &Publisher, job: Job, verify: Verify, after: Hook<'_>) -> Result<ExportReport, Cut> {
    let started = Instant::now();
    let transaction = Transaction { publisher, job: &job, after };
    let (result, detail) = transaction.run(verify).await?;
    Ok(report(&job, result, detail, started.elapsed()))
}

/// The report on a job that ends now.
pub(super) fn report(job: &Job, result: ExportResult, detail: String, took: Duration) -> ExportReport {
    ExportReport {
        zone: job.origin.to_string(),
        generation: job.generation,
        serial: job.serial,
        result,
        detail,
        unix_ms: unix_ms(),
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }
}

pub(super) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

struct Transaction<'a> {
    publisher: &'a Publisher,
    job: &'a Job,
    after: Hook<'a>,
}

/// Why a phase ended early.
enum End {
    Cut,
    Failed(String),
}

impl From<String> for End {
    fn from(reason: String) -> End {
        End::Failed(reason)
    }
}

/// What the transaction found, and wrote into its journal.
struct Plan {
    journal: Journal,
    old: Option<Arc<Old>>,
    /// Whether nsd served the zone before.
    served: bool,
}

/// The target as it was.
struct Old {
    found: Found,
    /// Of its bytes.
    hash: String,
}

impl Transaction<'_> {
    async fn run(&self, verify: Verify) -> Result<(ExportResult, String), Cut> {
        let plan = match self.plan().await {
            Ok(plan) => plan,
            Err(End::Cut) => return Err(Cut),
            Err(End::Failed(reason)) => return Ok((ExportResult::Refused, reason)),
        };
        let (journal, old, served) = (plan.journal.clone(), plan.old.clone(), plan.served);
        let expect = match self.stage(plan, verify).await {
            Ok(found) => found.expect,
            Err(End::Cut) => return Err(Cut),
            Err(End::Failed(reason)) => return Ok((ExportResult::Refused, self.clean_up(&journal, reason).await?)),
        };
        match self.swap(&journal, old).await {
            Ok(()) => {}
            Err(End::Cut) => return Err(Cut),
            Err(End::Failed(reason)) => return self.swap_failed(&journal, reason).await,
        }
        match self.serve(&journal, served, expect).await {
            Ok(compared) => self.finish(&journal, compared).await,
            Err(End::Cut) => Err(Cut),
            Err(End::Failed(reason)) => self.undo(&journal, reason).await,
        }
    }

    /// Tells the hook; the only place where a transaction may be cut off.
    fn done(&self, step: Step) -> Result<(), End> {
        match (self.after)(step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(End::Cut),
        }
    }

    /// Looks at everything and writes the journal. Leaves nothing behind that a failure would have
    /// to clean up.
    async fn plan(&self) -> Result<Plan, End> {
        recovery::before_export(self.publisher, &self.job.origin).await?;
        let hash_of = |bytes: &Arc<Vec<u8>>| {
            let bytes = Arc::clone(bytes);
            self.publisher.blocking("hash", move || Ok(hash(&bytes)))
        };
        let (new_hash, source_hash) = (hash_of(&self.job.bytes), hash_of(&self.job.source_bytes));
        let (served, new_hash, source_hash) = tokio::join!(self.ask(), new_hash, source_hash);
        let (served, new_hash, source_hash) = (served?, new_hash?, source_hash?);
        self.done(Step::Asked)?;
        let (target, old) = self.read(source_hash).await?;
        self.done(Step::Read)?;
        let old_serial = self.serial_of(old.as_ref(), served).await?;
        let temp = self.publisher.temp_beside(&target);
        let version = |old: &Old| Version { hash: old.hash.clone(), serial: old_serial };
        let journal = Journal {
            zone: self.job.origin.to_string(),
            generation: self.job.generation,
            target,
            temp,
            old: old.as_ref().map(version),
            new: Version { hash: new_hash, serial: Some(self.job.serial) },
            included: self.included()?,
            staying: self.kept_files(|file| file.new.is_none())?,
        };
        let (copy, folder) = (journal.clone(), self.publisher.journal_dir());
        self.publisher.blocking("journal", move || copy.write(&folder)).await?;
        self.done(Step::Journaled)?;
        Ok(Plan { journal, old: old.map(Arc::new), served: served.is_some() })
    }

    /// The included files that change, links resolved.
    fn included(&self) -> Result<Vec<Journal>, String> {
        let mut journals = Vec::new();
        for file in self.job.included.iter() {
            let Some(new) = &file.new else { continue };
            let target = files::resolve(&file.path)?;
            journals.push(Journal {
                zone: self.job.origin.to_string(),
                generation: self.job.generation,
                temp: self.publisher.temp_beside(&target),
                target,
                old: Some(Version { hash: hash(&file.old), serial: None }),
                new: Version { hash: hash(new), serial: None },
                included: Vec::new(),
                staying: Vec::new(),
            });
        }
        Ok(journals)
    }

    /// The included files that a generation holds, as they are now.
    fn kept_files(&self, which: impl Fn(&IncludedFile) -> bool) -> Result<Vec<KeptFile>, String> {
        let files = self.job.included.iter().filter(|file| file.kept && which(file));
        files.map(|file| Ok(KeptFile { path: files::resolve(&file.path)?, hash: hash(&file.old) })).collect()
    }

    /// The serial that nsd serves now; `None` where it has the zone but no data. An nsd that does
    /// not answer could neither be asked for the result; so all its addresses have to.
    async fn ask(&self) -> Result<Option<u32>, String> {
        let mut newest = None;
        for client in &self.publisher.clients {
            let Some(served) = self.ask_at(client).await? else { continue };
            newest = Some(newest.filter(|newest| Serial(*newest) > Serial(served)).unwrap_or(served));
        }
        Ok(newest)
    }

    async fn ask_at(&self, client: &Client) -> Result<Option<u32>, String> {
        let (origin, server) = (&self.job.origin, client.server());
        let served = match client.serial(origin).await {
            Ok(served) => served,
            Err(QueryError::Rcode(ResponseCode::ServFail)) => return Ok(None),
            Err(QueryError::Rcode(ResponseCode::Refused) | QueryError::NotAuthoritative | QueryError::NoSoa) => {
                return Err(format!("nsd at {server} does not have zone {origin}: is it in its nsd.conf?"));
            }
            Err(error) => return Err(format!("nsd at {server}: {error}")),
        };
        // RFC 1982; also keeps the wait for the serial from seeing what is there already.
        if Serial(self.job.serial) > Serial(served) {
            Ok(Some(served))
        } else {
            Err(format!(
                "serial {} is not greater than {served}, which nsd at {server} serves already",
                self.job.serial
            ))
        }
    }

    /// Reads both files. The source must hold what was parsed, which has this hash.
    async fn read(&self, source_hash: String) -> Result<(PathBuf, Option<Old>), String> {
        let (source, source_bytes) = (self.job.source.clone(), self.job.source_bytes.clone());
        let (path, included) = (self.job.target.clone(), self.job.included.clone());
        let read = move || {
            check_included(&included)?;
            let target = files::resolve(&path)?;
            let old = files::read(&target)?;
            let is_source = old.as_ref().is_some_and(|old| old.bytes == *source_bytes);
            match source {
                Some(source) if source == path => check_source(&source, old.as_ref(), &source_bytes)?,
                Some(source) => check_source(&source, files::read(&source)?.as_ref(), &source_bytes)?,
                None => {}
            }
            let hash_of = |found: &Found| if is_source { source_hash } else { hash(&found.bytes) };
            let old = old.map(|found| Old { hash: hash_of(&found), found });
            Ok((target, old))
        };
        self.publisher.blocking("zone file", read).await
    }

    /// The serial in the old bytes, as far as it is known.
    async fn serial_of(&self, old: Option<&Old>, served: Option<u32>) -> Result<Option<u32>, String> {
        let Some(Old { found, hash }) = old else { return Ok(None) };
        if *found.bytes == *self.job.source_bytes {
            return Ok(Some(self.job.source_serial));
        }
        let (store, origin, hash) = (self.publisher.generations.clone(), self.job.origin.clone(), hash.clone());
        let find = move || Ok(store.list(&origin)?.into_iter().find(|kept| kept.hash == hash));
        let known = self.publisher.blocking("last good generation", find).await?;
        // An export-file that is not of our making: nsd serves it, or so it should.
        Ok(known.map(|known| known.serial).or(served))
    }

    /// Keeps the old bytes as the last good generation, before anything may replace them.
    async fn keep(&self, old: Option<Arc<Old>>, version: Option<Version>) -> Result<(), String> {
        let Some((old, Version { hash, serial: Some(serial) })) = old.zip(version) else { return Ok(()) };
        let (store, origin) = (self.publisher.generations.clone(), self.job.origin.clone());
        let included = self.kept_files(|_| true)?;
        let texts: Vec<_> =
            self.job.included.iter().filter(|file| file.kept).map(|file| Arc::clone(&file.old)).collect();
        let keep = move || {
            let known = store.list(&origin)?.into_iter().find(|kept| kept.hash == hash && kept.included == included);
            let generation = known.and_then(|known| known.generation);
            store.keep(
                &origin,
                &old.found.bytes,
                &texts,
                Generation { hash, included, serial, generation, unix_ms: unix_ms() },
            )
        };
        self.publisher.blocking("last good generation", keep).await
    }

    /// Writes the new bytes beside the target and has them checked, while everything goes to disk
    /// that a crash of the machine must not lose. Included files have to be in place for the check,
    /// so there the one comes after the other.
    async fn stage(&self, plan: Plan, verify: Verify) -> Result<ReadBack, End> {
        let Plan { journal, old, .. } = plan;
        let judging = self.publisher.judges.acquire().await;
        let _judging = judging.expect("the semaphore is never closed");
        self.write(&journal, old.clone()).await?;
        self.done(Step::Written)?;
        let secured = self.secure(&journal, old);
        let found = if journal.included.is_empty() {
            // Both are waited for: nobody may still read the temp file when it is moved or removed.
            let (judged, secured) = tokio::join!(self.verdict(&journal, verify), secured);
            let found = judged?;
            secured?;
            found
        } else {
            secured.await?;
            self.include(&journal).await?;
            self.done(Step::Included)?;
            self.verdict(&journal, verify).await?
        };
        self.done(Step::Checked)?;
        Ok(found)
    }

    /// The temp files: beside the target, and beside each included file that changes.
    async fn write(&self, journal: &Journal, old: Option<Arc<Old>>) -> Result<(), String> {
        let (bytes, included, journal) = (self.job.bytes.clone(), self.job.included.clone(), journal.clone());
        let write = move || {
            files::write_new(&journal.temp, &bytes, old.as_ref().map(|old| &old.found.metadata))?;
            for (journal, bytes) in journal.included.iter().zip(included.iter().filter_map(|file| file.new.as_ref())) {
                let old = files::read(&journal.target)?;
                files::write_new(&journal.temp, bytes, old.as_ref().map(|old| &old.metadata))?;
            }
            Ok(())
        };
        self.publisher.blocking("temp file", write).await
    }

    /// Has on disk what must be there before anything is moved: the new bytes, the journal, and the
    /// old bytes as a kept generation.
    async fn secure(&self, journal: &Journal, old: Option<Arc<Old>>) -> Result<(), String> {
        let temps: Vec<PathBuf> = journal.included.iter().chain([journal]).map(|one| one.temp.clone()).collect();
        let synced = self.publisher.blocking("temp file", move || temps.iter().try_for_each(|temp| files::sync(temp)));
        let (copy, folder) = (journal.clone(), self.publisher.journal_dir());
        let journaled = self.publisher.blocking("journal", move || copy.sync(&folder));
        let kept = self.keep(old, journal.old.clone());
        let (synced, journaled, kept) = tokio::join!(synced, journaled, kept);
        synced.and(journaled).and(kept)
    }

    /// Puts the included files in place, where they stay whatever happens to the machine: the
    /// target must never be newer than they are.
    async fn include(&self, journal: &Journal) -> Result<(), String> {
        let (journal, store) = (journal.clone(), self.publisher.generations.clone());
        let forward = move || {
            moves::forward_included(&journal, &store).map_err(|(error, path)| error.of(&path))?;
            journal.included.iter().try_for_each(|included| files::sync_folder(files::folder(&included.target)))
        };
        self.publisher.blocking("included files", forward).await
    }

    /// Our own verdict, and nsd's, where it is not known.
    async fn verdict(&self, journal: &Journal, verify: Verify) -> Result<ReadBack, String> {
        let found = self.parse(journal, verify).await?;
        let Job { origin, include_dir, .. } = self.job;
        let judged = self.publisher.judge(origin, &journal.temp, include_dir.as_deref(), found.skeleton).await;
        // People know the file by its own name.
        let [temp, target] = [&journal.temp, &journal.target].map(|path| path.display().to_string());
        judged.map_err(|reason| reason.replace(&temp, &target))?;
        Ok(found)
    }

    /// Reads back what was written; it must be what was meant.
    async fn parse(&self, journal: &Journal, verify: Verify) -> Result<ReadBack, String> {
        let (temp, bytes) = (journal.temp.clone(), self.job.bytes.clone());
        let parse = move || {
            let found = files::read(&temp)?.ok_or_else(|| format!("{} is gone", temp.display()))?;
            if *found.bytes != *bytes {
                return Err(format!("{} does not hold what was written", temp.display()));
            }
            verify(&found.bytes).map_err(|reason| format!("the new zone does not read back as intended: {reason}"))
        };
        blocking("parse", self.publisher.settings.limits.check_ms, parse).await
    }

    /// Puts the new bytes in place. From here on nsd can see them.
    async fn swap(&self, journal: &Journal, old: Option<Arc<Old>>) -> Result<(), End> {
        let (copy, source_bytes) = (journal.clone(), self.job.source_bytes.clone());
        // Where the source is the target, the move looks at it.
        let source = self.job.source.clone().filter(|source| *source != self.job.target);
        let swap = move || {
            if let Some(source) = source {
                check_source(&source, files::read(&source)?.as_ref(), &source_bytes)?;
            }
            let old = old.as_ref().map(|old| Holds::Bytes(&old.found.bytes));
            moves::forward(&copy, old).map_err(|error| error.of(&copy.target))
        };
        self.publisher.blocking("swap", swap).await?;
        self.done(Step::Swapped)
    }

    /// Whatever it was, the journal and the files tell whether it has happened.
    async fn swap_failed(&self, journal: &Journal, reason: String) -> Result<(ExportResult, String), Cut> {
        let copy = journal.clone();
        match self.publisher.blocking("target", move || moves::examine(&copy)).await {
            Ok(Progress::New) => self.undo(journal, reason).await,
            Ok(Progress::Old | Progress::Edited) => Ok((ExportResult::Refused, self.clean_up(journal, reason).await?)),
            // The journal stays: the next export or start tries again.
            Err(problem) => Ok((ExportResult::Broken, format!("{reason}; and {problem}"))),
        }
    }

    /// Has nsd load the new bytes and waits until it serves them; how many RRsets it was asked for.
    async fn serve(&self, journal: &Journal, served: bool, expect: Expect) -> Result<usize, End> {
        let folder = files::folder(&journal.target).to_owned();
        let sync = self.publisher.blocking("folder", move || files::sync_folder(&folder));
        let (synced, reloaded) = tokio::join!(sync, self.publisher.reload(&self.job.origin));
        synced?;
        reloaded?;
        self.done(Step::Reloaded)?;
        let until = self.publisher.served_deadline();
        // nsd loads meanwhile.
        let expect = blocking("failover RRsets", self.publisher.settings.limits.check_ms, expect);
        let serial = self.publisher.await_serial(&self.job.origin, self.job.serial, until, served);
        let (serial, expect) = tokio::join!(serial, expect);
        serial?;
        self.done(Step::SerialSeen)?;
        let expect = expect?;
        self.publisher.await_rrsets(&expect, until).await?;
        self.done(Step::Compared)?;
        Ok(expect.len())
    }

    /// It is served; what fails now is worth a word, but takes nothing back.
    async fn finish(&self, journal: &Journal, compared: usize) -> Result<(ExportResult, String), Cut> {
        let mut detail = format!("nsd serves serial {} of {}", self.job.serial, journal.target.display());
        if files::is_elsewhere(&self.job.target, &journal.target) {
            detail.push_str(&format!(" (through the link {})", self.job.target.display()));
        }
        if compared > 0 {
            detail.push_str(&format!(", {compared} failover RRsets compared"));
        }
        let recorded = recovery::record(self.publisher, &self.job.origin, journal, self.job.bytes.clone()).await;
        self.cut(Step::Recorded)?;
        let tidied = recovery::tidy(self.publisher, journal).await;
        self.cut(Step::Finished)?;
        for problem in [recorded, tidied].into_iter().filter_map(Result::err) {
            detail.push_str(&format!("; but {problem}"));
        }
        Ok((ExportResult::Served, detail))
    }

    fn cut(&self, step: Step) -> Result<(), Cut> {
        self.done(step).map_err(|_| Cut)
    }

    /// The way back after a failure that nsd may have seen.
    async fn undo(&self, journal: &Journal, reason: String) -> Result<(ExportResult, String), Cut> {
        let (copy, store) = (journal.clone(), self.publisher.generations.clone());
        let back = move || match moves::examine(&copy)? {
            Progress::New => {
                moves::back(&copy, &store)?;
                moves::back_included(&copy, &store).map_err(|(error, path)| MoveError::Failed(error.of(&path)))
            }
            // Somebody was faster.
            Progress::Old => Ok(()),
            Progress::Edited => Err(MoveError::Edited),
        };
        let copy = journal.clone();
        let back = move || match back() {
            Err(MoveError::Edited) => Ok(Some(MoveError::Edited.of(&copy.target))),
            Err(MoveError::Failed(reason)) => Err(reason),
            Ok(()) => Ok(None),
        };
        match self.publisher.blocking("putting the old file back", back).await {
            Ok(None) => {}
            Ok(Some(edited)) => {
                let detail = format!("{reason}; not rolled back: {edited}");
                return Ok((ExportResult::Broken, self.clean_up(journal, detail).await?));
            }
            // The journal stays: the next export or start tries again.
            Err(problem) => {
                return Ok((ExportResult::Broken, format!("{reason}; the old file is NOT back: {problem}")));
            }
        }
        self.cut(Step::PutBack)?;
        let reloaded = self.publisher.reload(&self.job.origin).await;
        self.cut(Step::ReloadedOld)?;
        let outcome = recovery::old_is_served(self.publisher, &self.job.origin, journal, reloaded).await;
        self.cut(Step::OldSerialSeen)?;
        let reason = self.clean_up(journal, reason).await?;
        Ok(match outcome {
            Ok(words) => (ExportResult::RolledBack, format!("{reason}; {words}")),
            Err(problem) => (ExportResult::Broken, format!("{reason}; the old file is back, but {problem}")),
        })
    }

    /// Puts the included files back if they have moved, removes the temp files and the journal; the
    /// reason, with what went wrong on top.
    async fn clean_up(&self, journal: &Journal, reason: String) -> Result<String, Cut> {
        if let Err(problem) = recovery::back_included(self.publisher, journal).await {
            // The journal stays: the next export or start tries again.
            return Ok(format!("{reason}; and {problem}"));
        }
        self.cut(Step::Restored)?;
        match recovery::tidy(self.publisher, journal).await {
            Ok(()) => Ok(reason),
            Err(problem) => Ok(format!("{reason}; and {problem}")),
        }
    }
}

/// The included files must still hold what was parsed.
fn check_included(included: &[IncludedFile]) -> Result<(), String> {
    for file in included {
        check_source(&file.path, files::read(&file.path)?.as_ref(), &file.old)?;
    }
    Ok(())
}

/// The source must still hold what was parsed.
fn check_source(source: &Path, found: Option<&Found>, parsed: &[u8]) -> Result<(), String> {
    match found {
        None => Err(format!("{} is gone", source.display())),
        Some(found) if *found.bytes == *parsed => Ok(()),
        Some(_) => Err(MoveError::Edited.of(source)),
    }
}
