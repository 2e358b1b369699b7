//! From a decision to a job for the export transaction: read the operator's file as it is now, and
//! render the decision into it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use domain::base::iana::Rtype;

use crate::config;
use crate::config::zones::{FileSource, read_file};
use crate::director::effect::Decision;
use crate::director::event::{ExportReport, ExportResult};
use crate::export::serial::{self, SerialScheme};
use crate::export::{self, Draft, OnlySerial, Rendered};
use crate::failover::pool::Pool;
use crate::publish::{IncludedFile, Job, Publisher, Renewed, Texts};
use crate::zone::document::DOCUMENT_MAX;
use crate::zone::edit::{self, Edit, Edited, EditedFile};
use crate::zone::source::{Included, Source};
use crate::zone::{Zone, contained};

use super::clock::unix_ms;
use super::load::{self, Held, Parsed};
use super::looks::Looks;

/// Everything that an export needs to know, taken when the director asks for it.
#[derive(Clone)]
pub struct Order {
    pub zone: config::Zone,
    /// The zone as it was loaded, with these pools.
    pub loaded: Arc<Parsed>,
    pub pools: Arc<[Pool]>,
    pub decision: Arc<Decision>,
    /// The serial that the decision gave the zone.
    pub serial: u32,
}

/// What became of an export.
pub struct Done {
    pub report: ExportReport,
    /// What the operator's files held when they were read: the daemon compares it with what it has
    /// loaded. Absent after a rollback: it loads them anyway.
    pub read: Option<Held>,
    /// What they hold now.
    pub written: Option<Arc<Parsed>>,
}

impl Done {
    /// It ended before anything was touched.
    pub fn early(order: &Order, result: ExportResult, detail: String, read: Option<Held>) -> Done {
        let report = ExportReport {
            zone: order.zone.origin.to_string(),
            generation: order.decision.generation,
            serial: order.serial,
            result,
            detail,
            unix_ms: unix_ms(),
            duration_ms: 0,
        };
        Done { report, read, written: None }
    }
}

/// Runs one export from the file to nsd.
pub async fn run(publisher: &Publisher, order: Order) -> Done {
    // Somebody may have raised it by hand; an nsd that does not answer is told of by the transaction.
    let at_nsd = publisher.serial_at(&order.zone.origin).await.ok();
    match blocking(&order, move |order| prepare(order, at_nsd)).await {
        Err(reason) => Done::early(&order, ExportResult::Refused, reason, None),
        Ok(Prepared::Unchanged { read, serial }) => {
            let order = Order { serial, ..order };
            Done::early(&order, ExportResult::Unchanged, "the file says so already".to_owned(), Some(read))
        }
        Ok(Prepared::Job { job, current, draft, only_serial }) => {
            let in_place = job.source.as_ref() == Some(&job.target);
            let read = current.held.clone();
            let edited = draft.map(|draft| (current, draft));
            let looks = Arc::new(Looks { order, edited, serial: Some(job.serial), written: OnceLock::new() });
            let looking = Arc::clone(&looks);
            let verify = move |bytes: &[u8]| looking.judge(bytes);
            let origin = job.origin.clone();
            let report = publisher.export(job, verify).await;
            if only_serial && report.result == ExportResult::Served {
                publisher.forget_previous(&origin).await;
            }
            let written = looks.written.get().filter(|_| report.result == ExportResult::Served && in_place).cloned();
            Done { report, read: Some(read), written }
        }
    }
}

/// Puts the last good generation of a zone back in service, or the one with the serial `to`, with a
/// serial of today.
pub async fn roll_back(publisher: &Publisher, order: Order, to: Option<u32>) -> Done {
    let current = match blocking(&order, current_for_rollback).await {
        Ok(job) => job,
        Err(reason) => return Done::early(&order, ExportResult::Refused, reason, None),
    };
    let at_nsd = publisher.serial_at(&order.zone.origin).await.ok();
    let newest = serial::newest(order.serial, current.source_serial);
    let (zone, scheme) = (order.zone.clone(), order.zone.serial);
    let renew = move |kept: Texts| {
        let file = |(path, bytes): (PathBuf, Vec<u8>)| EditedFile { file: path.display().to_string(), bytes };
        let mut included: Vec<EditedFile> = kept.included.into_iter().map(file).collect();
        let parsed = load_edited(&zone, &kept.zone, &included)?;
        let serial = next_serial(scheme, serial::newest(newest, parsed.serial()), at_nsd, None);
        let edited = edit::apply(&parsed, &[Edit::Serial(serial)]).map_err(|error| error.to_string())?;
        included.retain(|file| edited.included.iter().all(|edited| edited.file != file.file));
        included.extend(edited.included);
        let bytes = edited.zone.unwrap_or(kept.zone);
        let included = included.into_iter().map(|file| (file.file.into(), file.bytes)).collect();
        Ok(Renewed { texts: Texts { zone: bytes, included }, serial })
    };
    let looks = Arc::new(Looks { order, edited: None, serial: None, written: OnceLock::new() });
    let verify = move |bytes: &[u8]| looks.judge(bytes);
    let report = publisher.rollback(current, to, renew, verify).await;
    // What is in the file now is not known here: the daemon loads it as it would an operator's edit.
    Done { report, read: None, written: None }
}

/// Work with files and large texts, on a thread for that.
async fn blocking<T: Send + 'static>(
    order: &Order,
    work: impl FnOnce(&Order) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let order = order.clone();
    tokio::task::spawn_blocking(move || work(&order)).await.unwrap_or_else(|panic| Err(panic.to_string()))
}

/// A file of a zone as an export would have it.
pub struct Text {
    pub file: String,
    pub then: Vec<u8>,
}

/// The zone as one text that includes no file, with these roles in it.
fn complete(zone: &config::Zone, pools: &[Pool], decision: &Decision, serial: Option<u32>) -> Result<Vec<u8>, String> {
    let (parsed, edited) = edited(zone, pools, decision, serial)?;
    whole(zone, &parsed, edited)
}

/// The zone as one text for whoever serves it in our place: with these roles, and a serial newer than
/// the file's and those that were `seen` in service, so that every secondary takes it. What is signed
/// stays as its signer made it.
pub fn handed_over(
    zone: &config::Zone,
    pools: &[Pool],
    decision: &Decision,
    seen: Option<u32>,
) -> Result<Vec<u8>, String> {
    let parsed = load::parse(zone, pools).map_err(|lines| lines.join("\n"))?;
    if parsed.zone.records_of(&[Rtype::RRSIG]).next().is_some() {
        return whole(zone, &parsed, Edited::default());
    }
    let serial = next_serial(zone.serial, parsed.zone.serial(), seen, None);
    let copied = export::copy(&parsed.zone, &parsed.binding, pools, &decision.pools, serial);
    whole(zone, &parsed, copied.map_err(|error| error.to_string())?)
}

/// A zone as it is, and what these roles change in it.
fn edited(
    zone: &config::Zone,
    pools: &[Pool],
    decision: &Decision,
    serial: Option<u32>,
) -> Result<(Parsed, Edited), String> {
    let parsed = load::parse(zone, pools).map_err(|lines| lines.join("\n"))?;
    let serial = serial.unwrap_or_else(|| next_serial(zone.serial, parsed.zone.serial(), None, None));
    let rendered = export::render(&parsed.zone, &parsed.binding, pools, &decision.pools, serial);
    match rendered.map_err(|error| error.to_string())? {
        Rendered::Changed(edited) => Ok((parsed, edited)),
        Rendered::Unchanged => Ok((parsed, Edited::default())),
    }
}

/// A zone's own file, and the included files that an export in place would change.
pub fn texts(
    zone: &config::Zone,
    pools: &[Pool],
    decision: &Decision,
    serial: Option<u32>,
) -> Result<Vec<Text>, String> {
    let (parsed, edited) = edited(zone, pools, decision, serial)?;
    let then = edited.zone.unwrap_or_else(|| parsed.held.zone.to_vec());
    let own = Text { file: zone.file.display().to_string(), then };
    let included = edited.included.into_iter().map(|EditedFile { file, bytes }| Text { file, then: bytes });
    Ok([own].into_iter().chain(included).collect())
}

/// What `nsd-failover render` prints: the file that an export would write; where it exports in place,
/// the zone's own file and behind it the included files that would change, each below its name.
pub fn render(
    zone: &config::Zone,
    pools: &[Pool],
    decision: &Decision,
    serial: Option<u32>,
) -> Result<Vec<u8>, String> {
    if zone.export_file.as_ref().is_some_and(|target| *target != zone.file) {
        return complete(zone, pools, decision, serial);
    }
    let mut out = Vec::new();
    for (number, text) in texts(zone, pools, decision, serial)?.into_iter().enumerate() {
        if number > 0 {
            out.extend_from_slice(format!("; {}\n", text.file).as_bytes());
        }
        out.extend_from_slice(&text.then);
    }
    Ok(out)
}

enum Prepared {
    Unchanged {
        read: Held,
        serial: u32,
    },
    Job {
        job: Job,
        /// The zone as it was read now.
        current: Arc<Parsed>,
        /// What is still to be verified.
        draft: Option<Draft>,
        /// Nothing else differs: to go back to what was there before would be no way back.
        only_serial: bool,
    },
}

/// The zone as it is, for a job that brings its own bytes.
fn current_for_rollback(order: &Order) -> Result<Job, String> {
    let Order { zone, pools, .. } = order;
    let target = zone.export_file.clone().ok_or("the zone has export = \"off\"")?;
    let parsed = load::parse(zone, pools).map_err(|lines| lines.join("; "))?;
    Ok(job_of(order, &parsed, target))
}

/// A job that would leave everything as it is.
fn job_of(order: &Order, parsed: &Parsed, target: PathBuf) -> Job {
    let in_place = target == order.zone.file;
    Job {
        origin: order.zone.origin.clone(),
        source: order.zone.text.is_none().then(|| order.zone.file.clone()),
        source_bytes: Arc::clone(&parsed.held.zone),
        source_serial: parsed.zone.serial(),
        target,
        bytes: Arc::clone(&parsed.held.zone),
        serial: parsed.zone.serial(),
        generation: order.decision.generation,
        included: included_files(parsed, in_place, &[]),
        include_dir: Some(order.zone.include_dir.clone()),
    }
}

/// The zone as its files are now: as it was loaded, if they have not changed since.
fn current(order: &Order) -> Result<Arc<Parsed>, String> {
    let Order { zone, loaded, pools, .. } = order;
    if loaded.held.included.is_empty() && zone.text.is_none() {
        let bytes = read_file(&zone.file, DOCUMENT_MAX);
        if bytes.is_ok_and(|bytes| bytes == *loaded.held.zone) {
            return Ok(Arc::clone(loaded));
        }
    }
    load::parse(zone, pools).map(Arc::new).map_err(|lines| lines.join("; "))
}

fn prepare(order: &Order, at_nsd: Option<u32>) -> Result<Prepared, String> {
    let Order { zone, pools, decision, .. } = order;
    let target: PathBuf = zone.export_file.clone().ok_or("the zone has export = \"off\"")?;
    let current = current(order)?;
    let Parsed { zone: parsed, binding, held, .. } = &*current;
    let in_file = parsed.serial();
    let serial = next_serial(zone.serial, in_file, at_nsd, Some(order.serial));
    if target != zone.file {
        let Copied { bytes, only_serial } = match copy(order, &current, &target, serial, at_nsd)? {
            None => return Ok(Prepared::Unchanged { read: held.clone(), serial: at_nsd.unwrap_or(in_file) }),
            Some(copied) => copied,
        };
        let job = Job { bytes: bytes.into(), serial, ..job_of(order, &current, target) };
        return Ok(Prepared::Job { job, current, draft: None, only_serial });
    }
    let only_serial = match serial::is_newer(order.serial, in_file) {
        true => OnlySerial::Write,
        false => OnlySerial::Leave,
    };
    let draft = export::draft(parsed, binding, pools, &decision.pools, serial, only_serial);
    let Some(draft) = draft.map_err(|error| error.to_string())? else {
        return Ok(Prepared::Unchanged { read: held.clone(), serial: in_file });
    };
    if !draft.edited.included.is_empty() {
        // Included files are in place before the whole can be read back.
        draft.reread(parsed).map_err(|error| error.to_string())?;
    }
    let bytes = draft.edited.zone.clone().unwrap_or_else(|| held.zone.to_vec());
    let included = included_files(&current, true, &draft.edited.included);
    let job = Job { bytes: bytes.into(), serial, included, ..job_of(order, &current, target) };
    let only_serial = draft.is_only_serial();
    Ok(Prepared::Job { job, current, draft: Some(draft), only_serial })
}

/// What an export-file is to hold.
struct Copied {
    bytes: Vec<u8>,
    /// It holds all of that but the serial.
    only_serial: bool,
}

/// What an export-file is to hold; `None`: it does. It is compared with what that holds now, not with
/// the operator's file: roles that the latter has had all along may be news to nsd.
fn copy(
    order: &Order,
    current: &Parsed,
    target: &Path,
    serial: u32,
    at_nsd: Option<u32>,
) -> Result<Option<Copied>, String> {
    let text = |serial| {
        let copied = export::copy(&current.zone, &current.binding, &order.pools, &order.decision.pools, serial);
        whole(&order.zone, current, copied.map_err(|error| error.to_string())?)
    };
    let only_serial = at_nsd.map(|served| Ok::<_, String>(holds(target, &text(served)?))).transpose()?.unwrap_or(false);
    let is_behind = at_nsd.is_none_or(|served| serial::is_newer(order.serial, served));
    if only_serial && !is_behind {
        return Ok(None);
    }
    Ok(Some(Copied { bytes: text(serial)?, only_serial }))
}

/// A zone's text after an edit as it stands in another file than the operator's: complete in itself,
/// what it includes in the place of the `$INCLUDE` lines.
fn whole(zone: &config::Zone, parsed: &Parsed, edited: Edited) -> Result<Vec<u8>, String> {
    let own = edited.zone.unwrap_or_else(|| parsed.held.zone.to_vec());
    if parsed.held.included.is_empty() {
        return Ok(own);
    }
    let edited = load_edited(zone, &own, &edited.included)?;
    contained::self_contained(&edited).map_err(|error| format!("without $INCLUDE: {error}"))
}

/// Whether a file holds these octets.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    read_file(path, DOCUMENT_MAX).is_ok_and(|found| found == bytes)
}

/// The files that exports of a zone replace, the one that nsd reads first; none where it is not exported.
pub fn replaced_files(zone: &config::Zone, parsed: &Parsed) -> Vec<PathBuf> {
    let Some(target) = &zone.export_file else { return Vec::new() };
    let mut files = vec![target.clone()];
    if *target == zone.file {
        files.extend(parsed.zone.editable_files().into_iter().map(PathBuf::from));
    }
    files
}

/// The included files with what they hold, and what those that are edited shall hold. Those that
/// exports in place may change are kept with each generation.
fn included_files(parsed: &Parsed, in_place: bool, edited: &[EditedFile]) -> Arc<[IncludedFile]> {
    let ours = if in_place { parsed.zone.editable_files() } else { BTreeSet::new() };
    let new =
        |file: &str| edited.iter().find(|edited| edited.file == file).map(|edited| Arc::new(edited.bytes.clone()));
    let files = parsed.held.included.iter();
    files
        .map(|one| IncludedFile {
            path: one.file.clone().into(),
            old: one.bytes.clone(),
            new: new(&one.file),
            kept: ours.contains(one.file.as_str()),
        })
        .collect()
}

/// The files on disk, but for the edited ones.
struct EditedFiles<'a> {
    files: FileSource,
    edited: &'a [EditedFile],
}

impl Source for EditedFiles<'_> {
    fn read(&mut self, name: &str, limit: usize) -> Result<Included, String> {
        let mut included = self.files.read(name, limit)?;
        if let Some(edited) = self.edited.iter().find(|edited| edited.file == included.file) {
            included.bytes = Arc::new(edited.bytes.clone());
        }
        Ok(included)
    }
}

/// Reads a zone's text, with its included files as they are on disk but for the edited ones.
fn load_edited(zone: &config::Zone, bytes: &[u8], edited: &[EditedFile]) -> Result<Zone, String> {
    let mut source = EditedFiles { files: FileSource::new(&zone.include_dir, &zone.file), edited };
    Zone::load(&zone.origin, &load::file_name(zone), bytes.to_vec(), &mut source)
        .map_err(|found| found.first().map_or_else(|| "unreadable".to_owned(), ToString::to_string))
}

/// The serial to write: the decided one, or, where the operator's own edit or nsd has passed it by,
/// the next one of the scheme. The two may be so far apart that only few serials are newer than
/// both (RFC 1982 section 3.2): then the one right after either.
fn next_serial(scheme: SerialScheme, in_file: u32, at_nsd: Option<u32>, decided: Option<u32>) -> u32 {
    let at_nsd = at_nsd.unwrap_or(in_file);
    let next = serial::next(scheme, serial::newest(in_file, at_nsd), unix_ms().div_euclid(1000));
    let wanted = [decided.unwrap_or(next), next, at_nsd.wrapping_add(1), in_file.wrapping_add(1)];
    let fits = |serial: &u32| serial::is_newer(*serial, in_file) && serial::is_newer(*serial, at_nsd);
    wanted.into_iter().find(fits).unwrap_or(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_serial_is_newer_than_the_file_s_and_nsd_s() {
        let next = |in_file, at_nsd, decided| next_serial(SerialScheme::Increment, in_file, at_nsd, decided);
        assert_eq!(next(5, None, None), 6);
        assert_eq!(next(5, Some(9), None), 10);
        assert_eq!(next(5, Some(9), Some(20)), 20);
        assert_eq!(next(30, Some(9), Some(20)), 31);
        // The file's serial went back by the rules: what follows nsd's is newer than both.
        assert_eq!(next(3_000_000_000, Some(1_000), Some(1_795_347_544)), 1_001);
        assert_eq!(next(1_000, Some(3_000_000_000), None), 1_001);
        let far = next(0, Some(1 << 31), None);
        assert!(serial::is_newer(far, 0) || serial::is_newer(far, 1 << 31));
    }
}
