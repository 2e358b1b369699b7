//! From a decision to a job for the export transaction: read the operator's file as it is now,
//! render the decision into it, say what nsd must answer afterwards.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use domain::base::iana::Rtype;

use crate::config;
use crate::config::zones::{FileSource, read_file};
use crate::director::effect::Decision;
use crate::director::event::{ExportReport, ExportResult};
use crate::dns::name::Name;
use crate::export::serial::{self, SerialScheme};
use crate::export::skeleton::Skeleton;
use crate::export::{self, Draft, Rendered};
use crate::failover::binding::Binding;
use crate::failover::pool::Pool;
use crate::publish::{Expected, IncludedFile, Job, Publisher, ReadBack, Renewed};
use crate::zone::document::DOCUMENT_MAX;
use crate::zone::edit::{self, Edit, Edited, EditedFile};
use crate::zone::source::Included;
use crate::zone::{Zone, ZoneRecord};

use super::clock::unix_ms;
use super::load::{self, Held, Parsed};

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
    /// loaded.
    pub read: Option<Held>,
    /// What they hold now.
    pub written: Option<Arc<Parsed>>,
}

impl Done {
    /// It ended before anything was touched.
    fn early(order: &Order, result: ExportResult, detail: String, read: Option<Held>) -> Done {
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
        Ok(Prepared::Job { job, current, draft }) => {
            let in_place = job.source.as_ref() == Some(&job.target);
            let (serial, read) = (job.serial, current.held.clone());
            let written = Arc::new(OnceLock::new());
            let found = Arc::clone(&written);
            let verify = move |bytes: &[u8]| {
                let zone = read_back(&order, bytes)?;
                if let Some(draft) = &draft {
                    draft.verify(&current.zone, &zone).map_err(|error| error.to_string())?;
                }
                if zone.serial() != serial {
                    return Err(format!("it has serial {}, not {serial}", zone.serial()));
                }
                Ok(meaning(&order, zone, Arc::clone(&found)))
            };
            let report = publisher.export(job, verify).await;
            let written = written.get().filter(|_| report.result == ExportResult::Served && in_place).cloned();
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
    let renew = move |kept: Vec<u8>| {
        let mut source = FileSource::new(&zone.include_dir, &zone.file);
        let parsed = Zone::load(&zone.origin, &load::file_name(&zone), kept, &mut source)
            .map_err(|found| found.first().map_or_else(|| "unreadable".to_owned(), ToString::to_string))?;
        let serial = next_serial(scheme, serial::newest(newest, parsed.serial()), at_nsd, None);
        let edited = edit::apply(&parsed, &[Edit::Serial(serial)]).map_err(|error| error.to_string())?;
        let bytes = edited.zone.unwrap_or_else(|| parsed.document().to_bytes().to_vec());
        Ok(Renewed { bytes: bytes.into(), serial })
    };
    let read = held(&current);
    let verify = move |bytes: &[u8]| Ok(meaning(&order, read_back(&order, bytes)?, Arc::default()));
    let report = publisher.rollback(current, to, renew, verify).await;
    // What is in the file now is not known here: the daemon loads it as it would an operator's edit.
    Done { report, read: Some(read), written: None }
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

/// A zone's own file, and the included files that an export would change.
pub fn texts(
    zone: &config::Zone,
    pools: &[Pool],
    decision: &Decision,
    serial: Option<u32>,
) -> Result<Vec<Text>, String> {
    let parsed = load::parse(zone, pools).map_err(|lines| lines.join("\n"))?;
    let serial = serial.unwrap_or_else(|| next_serial(zone.serial, parsed.zone.serial(), None, None));
    let rendered = export::render(&parsed.zone, &parsed.binding, pools, &decision.pools, serial);
    let edited = match rendered.map_err(|error| error.to_string())? {
        Rendered::Changed(edited) => edited,
        Rendered::Unchanged => Edited::default(),
    };
    let then = edited.zone.unwrap_or_else(|| parsed.held.zone.to_vec());
    let own = Text { file: zone.file.display().to_string(), then };
    let included = edited.included.into_iter().map(|EditedFile { file, bytes }| Text { file, then: bytes });
    Ok([own].into_iter().chain(included).collect())
}

/// What `nsd-failover render` prints: the zone's own file with these roles in it, and behind it the
/// included files that would change, each below its name.
pub fn render(
    zone: &config::Zone,
    pools: &[Pool],
    decision: &Decision,
    serial: Option<u32>,
) -> Result<Vec<u8>, String> {
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
    },
}

/// The zone as it is, for a job that brings its own bytes.
fn current_for_rollback(order: &Order) -> Result<Job, String> {
    let Order { zone, pools, .. } = order;
    let target = zone.export_file.clone().ok_or("the zone has export = \"off\"")?;
    let parsed = load::parse(zone, pools).map_err(|lines| lines.join("; "))?;
    if let Some(found) =
        parsed.zone.failover_records().find(|found| parsed.zone.document().at(found.entry).is_included())
    {
        let owner = found.record.owner;
        return Err(format!(
            "the failover record of {owner} stands in an included file, and only the zone's own file is kept: order the roles with `switch`"
        ));
    }
    Ok(job_of(order, &parsed, target))
}

/// What the files of a job hold before it.
fn held(job: &Job) -> Held {
    let one =
        |file: &IncludedFile| Included { file: file.path.display().to_string(), bytes: file.old.clone(), remark: None };
    Held { zone: job.source_bytes.clone(), included: job.included.iter().map(one).collect() }
}

/// A job that would leave everything as it is.
fn job_of(order: &Order, parsed: &Parsed, target: PathBuf) -> Job {
    Job {
        origin: order.zone.origin.clone(),
        source: order.zone.text.is_none().then(|| order.zone.file.clone()),
        source_bytes: Arc::clone(&parsed.held.zone),
        source_serial: parsed.zone.serial(),
        target,
        bytes: Arc::clone(&parsed.held.zone),
        serial: parsed.zone.serial(),
        generation: order.decision.generation,
        included: included_files(&parsed.held, &[]),
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
    let draft = export::draft(parsed, binding, pools, &decision.pools, serial).map_err(|error| error.to_string())?;
    let Some(draft) = draft else {
        // Another file than the source may still be missing or old.
        if target != zone.file && read_file(&target, DOCUMENT_MAX).ok().as_ref() != Some(&*held.zone) {
            let job = job_of(order, &current, target);
            return Ok(Prepared::Job { job, current, draft: None });
        }
        return Ok(Prepared::Unchanged { read: held.clone(), serial: in_file });
    };
    let Edited { zone: bytes, included } = &draft.edited;
    let Some(bytes) = bytes.clone() else {
        return Err("the SOA stands in an included file: write it in the zone's own file".to_owned());
    };
    if let Some(EditedFile { file, .. }) = included.first() {
        if target != zone.file {
            return Err(format!(
                "failover records stand in {file}, which an export-file cannot change: export in place"
            ));
        }
        // Included files are in place before the whole can be read back.
        draft.reread(parsed).map_err(|error| error.to_string())?;
    }
    let included = included_files(held, included);
    let job = Job { bytes: bytes.into(), serial, included, ..job_of(order, &current, target) };
    Ok(Prepared::Job { job, current, draft: Some(draft) })
}

/// The included files with what they hold, and what those that are edited shall hold.
fn included_files(held: &Held, edited: &[EditedFile]) -> Arc<[IncludedFile]> {
    let new =
        |file: &str| edited.iter().find(|edited| edited.file == file).map(|edited| Arc::new(edited.bytes.clone()));
    let files = held.included.iter();
    files
        .map(|one| IncludedFile { path: one.file.clone().into(), old: one.bytes.clone(), new: new(&one.file) })
        .collect()
}

/// Reads a zone's text as it lies on disk, with the files that it includes.
fn read_back(order: &Order, bytes: &[u8]) -> Result<Zone, String> {
    load::read_bytes(&order.zone, bytes.to_vec())
        .map_err(|lines| lines.into_iter().next().unwrap_or_else(|| "unreadable".to_owned()))
}

/// What a text means to nsd: whether a verdict on it is known, and, told later, what it must answer;
/// then `parsed` is set, too.
fn meaning(order: &Order, zone: Zone, parsed: Arc<OnceLock<Arc<Parsed>>>) -> ReadBack {
    let (config, pools) = (order.zone.clone(), Arc::clone(&order.pools));
    let skeleton = Skeleton::of(&zone);
    let expect = move || {
        let (bound, _) = load::bind(&config, &pools, zone);
        let expected = failover_rrsets(&bound.zone, &bound.binding);
        // The first reading is the one that counts.
        let _ = parsed.set(Arc::new(bound));
        expected
    };
    ReadBack { expect: Box::new(expect), skeleton }
}

/// The RRsets that a tag belongs to, with all their addresses, untagged ones too.
fn failover_rrsets(zone: &Zone, binding: &Binding) -> Vec<Expected> {
    let mut places: HashMap<(Name, Rtype), usize> = HashMap::new();
    let mut rrsets: Vec<Expected> = Vec::new();
    for ZoneRecord { record, tag, .. } in zone.failover_records() {
        if tag.is_some_and(|tag| binding.slot(&tag).is_some()) {
            let (owner, rtype) = (record.owner, record.rtype);
            places.entry((owner.clone(), rtype)).or_insert_with(|| {
                rrsets.push(Expected { owner, rtype, addresses: Vec::new() });
                rrsets.len() - 1
            });
        }
    }
    let addresses = zone.records_of(&[Rtype::A, Rtype::AAAA]).filter(|found| !found.withdrawn);
    for ZoneRecord { record, .. } in addresses {
        if let Some(place) = places.get(&(record.owner, record.rtype)) {
            rrsets[*place].addresses.extend(address(&record.rdata));
        }
    }
    rrsets
}

fn address(rdata: &[u8]) -> Option<IpAddr> {
    match rdata.len() {
        4 => <[u8; 4]>::try_from(rdata).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(rdata).ok().map(IpAddr::from),
    }
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
