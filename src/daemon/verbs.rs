//! The verbs that need no daemon: `check`, `check-zone`, `render`.

use std::io::{self, Write};
use std::path::Path;

use crate::config::zones::{FileSource, read_file};
use crate::config::{self, Config};
use crate::director::effect::Decision;
use crate::dns::name::Name;
use crate::failover::pool::{Pool, PoolRoles, Roles};
use crate::health::family::PerFamily;
use crate::probe::Prober;
use crate::zone::check;
use crate::zone::document::DOCUMENT_MAX;

use crate::control::Exit;

use super::failure::Failure;
use super::{exports, load, persist};

/// `check`: the configuration and every zone. Warnings are printed and do not fail.
pub fn check(file: &Path) -> Result<(), Failure> {
    let config = Config::load(file)?;
    let mut loaded = load::load(&config)?;
    // What the checks need is looked at as at a start.
    Prober::new(&loaded.settings.checks)
        .map_err(|error| Failure::usage(format!("{}: error: {error}", file.display())))?;
    loaded.warnings.extend(persist::remark(&config.state_dir));
    for line in &loaded.warnings {
        eprintln!("{line}");
    }
    let failover: usize = loaded.zones.iter().map(|zone| zone.failover_records).sum();
    let records: usize = loaded.zones.iter().map(|zone| zone.records).sum();
    println!(
        "{}: ok: {} zones with {records} records, {failover} of them failover; {} pools, {} checks; {} warnings",
        file.display(),
        loaded.zones.len(),
        config.pools.len(),
        config.checks.len(),
        loaded.warnings.len()
    );
    for zone in loaded.zones.iter().filter(|zone| !zone.delegation.is_empty()) {
        println!("the parent of {} must hold:", zone.config.origin);
        zone.delegation.iter().for_each(|line| println!("  {line}"));
    }
    Ok(())
}

/// `check-zone`: one file. With `print`, the file goes to stdout as it was read, and what there is
/// to say to stderr.
pub fn check_zone(origin: &Name, file: &Path, print: bool) -> Result<(), Failure> {
    let bytes = read_file(file, DOCUMENT_MAX)
        .map_err(|error| Failure::failed(format!("{}: error: cannot read: {error}", file.display())))?;
    // As for a zone of the configuration, names in $INCLUDE lines count from the file's folder.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut source = FileSource::new(folder, file);
    let checked = check::check(origin, &file.display().to_string(), bytes, &mut source);
    match (&checked.zone, print) {
        (Some(zone), true) => {
            eprint!("{}", checked.text);
            write_out(zone.document().to_bytes())?;
        }
        _ if checked.ok => write_out(checked.text.as_bytes())?,
        _ => {}
    }
    match checked.ok {
        true => Ok(()),
        false => Err(Failure::new(Exit::Failed, vec![checked.text.trim_end().to_owned()])),
    }
}

/// `render`: the zone file with `primary` as the primary of every pool it belongs to.
pub fn render(file: &Path, origin: &Name, primary: &str, serial: Option<u32>) -> Result<(), Failure> {
    let config = Config::load(file)?;
    let zone = named(&config.zones, origin)?;
    if !config.pools.iter().any(|pool| pool.nodes.iter().any(|node| node.name == primary)) {
        return Err(Failure::usage(format!("no pool has a node `{primary}`; `check` shows the configuration")));
    }
    let decision = Decision {
        pools: config.pools.iter().map(|pool| with_primary(pool, primary)).collect(),
        ..Decision::default()
    };
    let bytes = exports::render(zone, &config.pools, &decision, serial).map_err(Failure::usage)?;
    write_out(&bytes)
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

/// A reader that goes away (`| head`) is no failure.
pub fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    match io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
