//! The verbs that need no daemon: `check`, `check-zone`, `render`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::zones::{FileSource, link_remark, read_file};
use crate::config::{self, Config};
use crate::director::effect::Decision;
use crate::dns::name::Name;
use crate::failover::pool::{Pool, PoolRoles, Roles};
use crate::health::family::PerFamily;
use crate::probe::Prober;
use crate::zone::Zone;
use crate::zone::check;
use crate::zone::document::DOCUMENT_MAX;

use crate::control::Exit;
use crate::control::text::count_of;

use super::cli::Form;
use super::failure::Failure;
use super::progress::Waiting;
use super::{exports, load, output, persist, rights, serves};

/// What `check` found; with `--json` all of it, else in a few lines.
#[derive(Debug, Default, Serialize)]
struct Report {
    ok: bool,
    /// What is wrong, a line each: `FILE:LINE:COLUMN: error: ...`.
    problems: Vec<String>,
    warnings: Vec<String>,
    pools: usize,
    checks: usize,
    zones: Vec<ZoneReport>,
}

#[derive(Debug, Serialize)]
struct ZoneReport {
    origin: String,
    file: PathBuf,
    records: usize,
    failover_records: usize,
    /// What the parent must hold, as lines of its zone file, where we answer for the whole zone.
    delegation: Vec<String>,
}

/// `check`: the configuration and every zone. Warnings are printed and do not fail.
pub fn check(file: &Path, form: Form) -> Result<(), Failure> {
    match (look(file), form.json) {
        (Ok(report), true) => output::json(&report),
        (Ok(report), false) => {
            report.warnings.iter().for_each(|line| eprintln!("{line}"));
            output::text(&report.words(file))
        }
        (Err(failure), true) => {
            let report = Report { problems: failure.lines().to_vec(), ..Report::default() };
            output::json(&report).and(Err(Failure::new(failure.exit, Vec::new())))
        }
        (Err(failure), false) => Err(failure),
    }
}

fn look(file: &Path) -> Result<Report, Failure> {
    let config = Config::load(file)?;
    let waiting = Waiting::steps("reading zones", config.zones.len() as u64);
    let mut loaded = load::load_telling(&config, load::certificate(&config)?, &|done| waiting.at(done))?;
    // With the thread that shows it: becoming another user wants to be alone.
    drop(waiting);
    // What the checks need is looked at as at a start.
    Prober::new(&loaded.settings.checks)
        .map_err(|error| Failure::usage(format!("{}: error: {error}", file.display())))?;
    loaded.warnings.extend(persist::remark(&config.state_dir));
    // The last: whoever looks is the daemon's user from then on.
    loaded.warnings.extend(rights::remarks(&config, &loaded, file)?);
    let of_zone = |zone: load::LoadedZone| ZoneReport {
        origin: zone.config.origin.to_string(),
        file: zone.config.file,
        records: zone.records,
        failover_records: zone.failover_records,
        delegation: zone.delegation,
    };
    Ok(Report {
        ok: true,
        problems: Vec::new(),
        warnings: loaded.warnings,
        pools: config.pools.len(),
        checks: config.checks.len(),
        zones: loaded.zones.into_iter().map(of_zone).collect(),
    })
}

impl Report {
    fn words(&self, file: &Path) -> String {
        let records: usize = self.zones.iter().map(|zone| zone.records).sum();
        let failover: usize = self.zones.iter().map(|zone| zone.failover_records).sum();
        let mut text = format!(
            "{}: ok: {} with {}, {failover} of them failover; {}, {}; {}\n",
            file.display(),
            count_of(self.zones.len(), "zone"),
            count_of(records, "record"),
            count_of(self.pools, "pool"),
            count_of(self.checks, "check"),
            count_of(self.warnings.len(), "warning")
        );
        for zone in self.zones.iter().filter(|zone| !zone.delegation.is_empty()) {
            text += &format!("the parent of {} must hold:\n", zone.origin);
            zone.delegation.iter().for_each(|line| text += &format!("  {line}\n"));
        }
        text
    }
}

/// `check-zone --json`.
#[derive(Serialize)]
struct ZoneFileReport<'a> {
    ok: bool,
    origin: String,
    file: String,
    /// Errors and warnings, a line each.
    diagnostics: Vec<String>,
    /// Absent where the zone cannot be taken.
    serial: Option<u32>,
    /// The same for people.
    text: &'a str,
}

/// Where relative `$INCLUDE` names of a zone file count from: as the configuration has it if that names
/// this file for this zone, else from the file's folder.
pub fn include_dir(config: &Path, origin: &Name, file: &Path) -> PathBuf {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    // Whoever checks one file needs no configuration, let alone one without a mistake.
    let zones = Config::load(config).map_or_else(|_| Vec::new(), |config| config.zones);
    let named = zones.into_iter().find(|zone| zone.origin == *origin && real(&zone.file) == real(file));
    let folder = || file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    named.map_or_else(|| folder().to_owned(), |zone| zone.include_dir)
}

/// `check-zone`: one file, whose relative `$INCLUDE` names count from `base`. With `print`, the file
/// goes to stdout as it was read, and what there is to say to stderr.
pub fn check_zone(origin: &Name, file: &Path, base: &Path, print: bool, form: Form) -> Result<(), Failure> {
    let waiting = Waiting::start(format!("reading {}", file.display()));
    let bytes = read_file(file, DOCUMENT_MAX)
        .map_err(|error| Failure::failed(format!("{}: error: cannot read: {error}", file.display())))?;
    let mut source = FileSource::new(base, file);
    let mut checked = check::check(origin, &file.display().to_string(), bytes, &mut source);
    drop(waiting);
    let remark = link_remark(file).map(|remark| format!("{}: warning: {remark}", file.display()));
    if let Some(remark) = &remark {
        checked.text.insert_str(0, &format!("{remark}\n"));
    }
    let failed = |lines| if checked.ok { Ok(()) } else { Err(Failure::new(Exit::Failed, lines)) };
    if form.json {
        output::json(&ZoneFileReport {
            ok: checked.ok,
            origin: origin.to_string(),
            file: file.display().to_string(),
            diagnostics: remark.into_iter().chain(checked.diagnostics.iter().map(ToString::to_string)).collect(),
            serial: checked.zone.as_ref().map(Zone::serial),
            text: &checked.text,
        })?;
        return failed(Vec::new());
    }
    match (&checked.zone, print) {
        (Some(zone), true) => {
            eprint!("{}", checked.text);
            output::bytes(zone.document().to_bytes())?;
        }
        _ if checked.ok => output::text(&checked.text)?,
        _ => {}
    }
    failed(vec![checked.text.trim_end().to_owned()])
}

/// `render`: the zone file with `primary` as the primary of every pool it belongs to.
pub fn render(file: &Path, origin: &Name, primary: &str, serial: Option<u32>) -> Result<(), Failure> {
    let config = Config::load(file)?;
    let zone = named(&config.zones, origin)?;
    serves::known_node(&config, primary)?;
    let decision = Decision {
        pools: config.pools.iter().map(|pool| with_primary(pool, primary)).collect(),
        ..Decision::default()
    };
    let bytes = exports::render(zone, &config.pools, &decision, serial).map_err(Failure::usage)?;
    output::bytes(&bytes)
}

fn named<'a>(zones: &'a [config::Zone], origin: &Name) -> Result<&'a config::Zone, Failure> {
    zones.iter().find(|zone| zone.origin == *origin).ok_or_else(|| {
        let known: Vec<String> = zones.iter().map(|zone| zone.origin.to_string()).collect();
        Failure::usage(format!("zone {origin} is not configured; configured are {}", known.join(", ")))
    })
}

/// The roles of a pool with this node first; a pool without it keeps its order of preference.
fn with_primary(pool: &Pool, primary: &str) -> PoolRoles {
    PerFamily::from_fn(|family| {
        let has = |index: &usize| pool.nodes[*index].has(family);
        let first = pool.nodes.iter().position(|node| node.name == primary).unwrap_or(0);
        let standby = (0..pool.nodes.len()).filter(|index| *index != first).find(has);
        Roles { primary: Some(first).filter(has), standby }
    })
}
