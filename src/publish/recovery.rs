//! After a crash: what the journal names is brought to an end, forward where nsd shows the new
//! zone, back where it does not.

use std::future;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt, stream};

use crate::director::event::{ExportReport, ExportResult};
use crate::dns::name::Name;

use super::generations::{Generation, KeptFile, hash};
use super::journal::Journal;
use super::moves::{self, Progress};
use super::query::QueryError;
use super::transaction::unix_ms;
use super::{Publisher, files};

/// Zones that are brought to an end side by side: an nsd that hangs costs each of them its deadlines.
const ZONES_MAX: usize = 64;

/// Every zone that the journal names.
pub(super) async fn run(publisher: &Publisher) -> Vec<ExportReport> {
    let folder = publisher.journal_dir();
    let found = publisher.blocking("journal", move || Journal::all(&folder)).await;
    let found = stream::iter(found.unwrap_or_else(|problem| vec![Err(problem)]));
    let recovered = found.map(|journal| async {
        match journal.map(|journal| (journal.zone.parse::<Name>(), journal)) {
            Ok((Ok(origin), _)) => of_zone(publisher, &origin).await,
            Ok((Err(error), journal)) => Some(unreadable(format!("journal of zone {:?}: {error}", journal.zone))),
            Err(problem) => Some(unreadable(problem)),
        }
    });
    recovered.buffer_unordered(ZONES_MAX).filter_map(future::ready).collect().await
}

/// One zone; `None`: its last transaction has ended.
pub(super) async fn of_zone(publisher: &Publisher, origin: &Name) -> Option<ExportReport> {
    let lock = publisher.zone_lock(origin);
    let _alone = lock.lock().await;
    // Not before: whoever had the lock may have ended it, and begun another.
    let (folder, zone) = (publisher.journal_dir(), origin.clone());
    match publisher.blocking("journal", move || Journal::of_zone(&folder, &zone)).await {
        Ok(journal) => Some(recover(publisher, origin, &journal?).await),
        Err(problem) => Some(unreadable(problem)),
    }
}

fn unreadable(problem: String) -> ExportReport {
    ExportReport {
        zone: String::new(),
        generation: 0,
        serial: 0,
        result: ExportResult::Broken,
        detail: format!("{problem}; look at the zone files, then remove the journal"),
        unix_ms: unix_ms(),
        duration_ms: 0,
    }
}

/// Brings an earlier transaction of this zone to an end before a new one starts.
pub(super) async fn before_export(publisher: &Publisher, origin: &Name) -> Result<(), String> {
    let (folder, zone) = (publisher.journal_dir(), origin.clone());
    let Some(journal) = publisher.blocking("journal", move || Journal::of_zone(&folder, &zone)).await? else {
        return Ok(());
    };
    let report = recover(publisher, origin, &journal).await;
    match report.result {
        ExportResult::Broken => Err(format!("an earlier export is not cleaned up: {}", report.detail)),
        // The files may be others now than those the caller has parsed; the next step finds out.
        _ => Ok(()),
    }
}

async fn recover(publisher: &Publisher, origin: &Name, journal: &Journal) -> ExportReport {
    let started = Instant::now();
    let (result, detail) = match outcome(publisher, origin, journal).await {
        Ok((result, words)) => (result, format!("after a crash: {words}")),
        Err(problem) => (ExportResult::Broken, format!("after a crash: {problem}; tried again at the next export")),
    };
    ExportReport {
        zone: journal.zone.clone(),
        generation: journal.generation,
        serial: journal.new.serial.unwrap_or_default(),
        result,
        detail,
        unix_ms: unix_ms(),
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// `Err`: the journal is still there.
async fn outcome(publisher: &Publisher, origin: &Name, journal: &Journal) -> Result<(ExportResult, String), String> {
    let copy = journal.clone();
    match publisher.blocking("target", move || moves::examine(&copy)).await? {
        Progress::Edited => {
            back_included(publisher, journal).await?;
            tidy(publisher, journal).await?;
            let or_included = if journal.included.is_empty() { "" } else { ", or a file that it includes," };
            let words = format!("{}{or_included} was edited since; the edit is kept", journal.target.display());
            Ok((ExportResult::Refused, words))
        }
        Progress::Old => stay(publisher, origin, journal).await,
        Progress::New => complete(publisher, origin, journal).await,
    }
}

/// The old bytes are in place: nsd has seen nothing, or has yet to hear that they are back.
async fn stay(publisher: &Publisher, origin: &Name, journal: &Journal) -> Result<(ExportResult, String), String> {
    back_included(publisher, journal).await?;
    let old = journal.old.as_ref().and_then(|old| old.serial);
    let words = match publisher.serial_at(origin).await {
        Ok(served) if old.is_some_and(|old| old != served) => {
            let reloaded = publisher.reload(origin).await;
            let words = old_is_served(publisher, origin, journal, reloaded).await?;
            tidy(publisher, journal).await?;
            return Ok((ExportResult::RolledBack, words));
        }
        Ok(served) => format!("the old file is in place, nsd serves serial {served}"),
        // It reads the old file when it starts.
        Err(error) => format!("the old file is in place; nsd: {error}"),
    };
    tidy(publisher, journal).await?;
    Ok((ExportResult::Refused, words))
}

/// The new bytes are in place. They were checked before they came there, so they may stay if nsd
/// serves them; else the old ones come back.
async fn complete(publisher: &Publisher, origin: &Name, journal: &Journal) -> Result<(ExportResult, String), String> {
    let serial = journal.new.serial.ok_or("the journal names no serial")?;
    if let Err(error @ (QueryError::Timeout | QueryError::Io(_))) = publisher.serial_at(origin).await {
        // Neither way could be proved. When nsd starts, it loads a complete, checked file.
        return Err(format!("the new file is in place, but nsd: {error}"));
    }
    let served = match publisher.reload(origin).await {
        Ok(()) => publisher.await_serial(origin, serial, publisher.served_deadline(), false).await,
        Err(reason) => Err(reason),
    };
    let Err(reason) = served else {
        let target = journal.target.clone();
        let bytes = move || files::read(&target)?.map(|found| found.bytes).ok_or_else(|| "the file is gone".to_owned());
        let bytes = publisher.blocking("zone file", bytes).await?;
        // An edit of an included file, made since, is no reason to stay unfinished.
        let recorded = record(publisher, origin, journal, bytes.into()).await;
        let but = recorded.err().map(|problem| format!("; but {problem}")).unwrap_or_default();
        tidy(publisher, journal).await?;
        let words = format!("nsd serves serial {serial} of {}{but}", journal.target.display());
        return Ok((ExportResult::Served, words));
    };
    let (copy, store) = (journal.clone(), publisher.generations.clone());
    let back = move || moves::back(&copy, &store).map_err(|error| error.of(&copy.target));
    publisher.blocking("putting the old file back", back).await.map_err(|problem| format!("{reason}; {problem}"))?;
    back_included(publisher, journal).await.map_err(|problem| format!("{reason}; {problem}"))?;
    let reloaded = publisher.reload(origin).await;
    let words = old_is_served(publisher, origin, journal, reloaded).await;
    let words = words.map_err(|problem| format!("{reason}; the old file is back, but {problem}"))?;
    tidy(publisher, journal).await?;
    Ok((ExportResult::RolledBack, format!("{reason}; {words}")))
}

/// Waits until nsd serves the old file, which is in place again. What counts is what it serves: a
/// reload that failed is only mentioned.
pub(super) async fn old_is_served(
    publisher: &Publisher,
    origin: &Name,
    journal: &Journal,
    reloaded: Result<(), String>,
) -> Result<String, String> {
    let reload = reloaded.err().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let Some(old) = &journal.old else {
        return Ok(format!("there was no file before, and there is none now{reload}"));
    };
    let Some(serial) = old.serial else {
        return Ok(format!("the old file is back; the serial in it is not known{reload}"));
    };
    match publisher.await_serial(origin, serial, publisher.served_deadline(), false).await {
        Ok(()) => Ok(format!("the old file is back, nsd serves serial {serial}{reload}")),
        Err(reason) => Err(format!("{reason}{reload}")),
    }
}

/// Keeps what is served now as the newest good generation.
pub(super) async fn record(
    publisher: &Publisher,
    origin: &Name,
    journal: &Journal,
    bytes: Arc<Vec<u8>>,
) -> Result<(), String> {
    let (store, origin) = (publisher.generations.clone(), origin.clone());
    let generation = Generation {
        hash: journal.new.hash.clone(),
        included: journal.kept(),
        serial: journal.new.serial.unwrap_or_default(),
        generation: Some(journal.generation),
        unix_ms: unix_ms(),
    };
    let keep = move || {
        let included = generation.included.iter().map(read_kept).collect::<Result<Vec<_>, String>>()?;
        store.keep(&origin, &bytes, &included, generation)
    };
    publisher.blocking("last good generation", keep).await
}

/// What an included file of a generation holds, which must be that.
fn read_kept(file: &KeptFile) -> Result<Arc<Vec<u8>>, String> {
    let found = files::read(&file.path)?.filter(|found| hash(&found.bytes) == file.hash);
    let found =
        found.ok_or_else(|| format!("{} was edited since: this generation is not kept", file.path.display()))?;
    Ok(Arc::new(found.bytes))
}

/// Puts the included files back where the new bytes are in place.
pub(super) async fn back_included(publisher: &Publisher, journal: &Journal) -> Result<(), String> {
    let (copy, store) = (journal.clone(), publisher.generations.clone());
    let back = move || moves::back_included(&copy, &store).map_err(|(error, path)| error.of(&path));
    publisher.blocking("putting the included files back", back).await
}

/// Removes the temp file and the journal.
pub(super) async fn tidy(publisher: &Publisher, journal: &Journal) -> Result<(), String> {
    let (copy, folder) = (journal.clone(), publisher.journal_dir());
    publisher.blocking("tidying", move || moves::tidy(&copy, &folder)).await
}
