//! `eject`, the way back to plain nsd: the current roles go into the zone files, nsd loads them,
//! and what is left to do by hand is printed. With the daemon running it does the exporting; else
//! its saved state tells the roles.

use std::fmt::Write;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, Config, Serve};
use crate::control::Exit;
use crate::control::client::{Client, ClientError};
use crate::control::text;
use crate::director::Director;
use crate::director::effect::Decision;
use crate::director::event::{Event, ExportResult};
use crate::director::state::State;
use crate::director::status::Status;
use crate::failover::pool::{Pool, PoolRoles, Roles};
use crate::health::family::PerFamily;

use super::cli::Form;
use super::clock::Clock;
use super::failure::Failure;
use super::persist::StateDir;
use super::{client, exports, load, run};

/// Writes, reloads, verifies; then says what to remove. `folder` takes the zones that nsd does not
/// have yet.
pub async fn run(file: &Path, folder: &Path) -> Result<(), Failure> {
    let config = Config::load(file)?;
    let daemon = Client::new(&config.control);
    let decision = match daemon.status().await {
        Ok(status) => {
            client::answered(daemon.export(None).await, Form { json: false })?;
            decision_of(&config.pools, &status)
        }
        Err(ClientError::Unreachable(..)) => {
            println!("the daemon does not run: its saved state tells the roles");
            export_all(&config).await?
        }
        Err(error) => return Err(error.into()),
    };
    let mut written = Vec::new();
    for zone in config.zones.iter().filter(|zone| zone.export_file.is_none() && zone.serve != Serve::Off) {
        let bytes = exports::complete(zone, &config.pools, &decision, None).map_err(Failure::failed)?;
        let path = folder.join(file_name(zone));
        write(&path, &bytes)?;
        println!("{}: written to {}", zone.origin, path.display());
        written.push((zone, fs::canonicalize(&path)?));
    }
    print!("{}", remains(&config, &written));
    Ok(())
}

/// Exports every zone as of the last decision that was saved.
async fn export_all(config: &Config) -> Result<Decision, Failure> {
    let state_dir = StateDir::open(&config.state_dir)?;
    let publisher = run::publisher(config);
    if let Some(publisher) = &publisher {
        for report in publisher.recover().await {
            println!("{}", text::export_line(&report));
        }
    }
    let loaded = load::load(config)?;
    let saved: Option<State> = state_dir.load();
    let clock = Clock::start();
    let mut director = Director::new(loaded.settings.clone(), saved, clock.now());
    // The effects are nobody's: nothing is probed or served here.
    director.handle(Event::Tick, clock.now());
    let decision = Arc::clone(director.decision());
    if decision.pools.len() != config.pools.len() {
        let words =
            "nothing was ever decided, and the zone files do not agree on who is primary: they stay as they are";
        return Err(Failure::failed(words));
    }
    let mut failed = Vec::new();
    let pools: Arc<[Pool]> = config.pools.clone().into();
    for (index, zone) in config.zones.iter().enumerate().filter(|(_, zone)| zone.export_file.is_some()) {
        let Some(publisher) = &publisher else { continue };
        let serial = decision.serials[index];
        let order =
            exports::Order { zone: zone.clone(), pools: Arc::clone(&pools), decision: Arc::clone(&decision), serial };
        let report = exports::run(publisher, order).await.report;
        let line = text::export_line(&report);
        match report.result {
            ExportResult::Served | ExportResult::Unchanged => println!("{line}"),
            _ => failed.push(line),
        }
    }
    match failed.is_empty() {
        true => Ok(Decision::clone(&decision)),
        false => Err(Failure::new(Exit::Failed, failed)),
    }
}

/// The roles that a status tells of.
fn decision_of(pools: &[Pool], status: &Status) -> Decision {
    let roles = |pool: &Pool| -> PoolRoles {
        let told = status.pools.iter().find(|told| told.name == pool.name);
        let place = |name: &Option<String>| pool.nodes.iter().position(|node| Some(&node.name) == name.as_ref());
        PerFamily::from_fn(|family| {
            let told = told.and_then(|told| told.families.iter().find(|told| told.family == family));
            told.map_or(Roles::default(), |told| Roles { primary: place(&told.primary), standby: place(&told.standby) })
        })
    };
    Decision { pools: pools.iter().map(roles).collect(), ..Decision::default() }
}

fn file_name(zone: &config::Zone) -> PathBuf {
    let name = zone.origin.to_lowercase().to_string();
    match name.trim_end_matches('.').replace('/', "_").as_str() {
        "" => PathBuf::from("root.zone"),
        name => PathBuf::from(format!("{name}.zone")),
    }
}

/// A new file, all of it or nothing; one that is there already is somebody's.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let say = |error: std::io::Error| {
        Failure::failed(format!("cannot write {}: {error}; name another folder with --to", path.display()))
    };
    let mut file: File = OpenOptions::new().write(true).create_new(true).open(path).map_err(say)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(path);
        say(error)
    })
}

/// What is left to do by hand, in order.
fn remains(config: &Config, written: &[(&config::Zone, PathBuf)]) -> String {
    let mut steps = Vec::new();
    if !written.is_empty() {
        let mut step = "add to nsd.conf, and run `nsd-control reconfig`:".to_owned();
        for (zone, path) in written {
            let origin = zone.origin.to_string();
            let origin = if zone.origin.is_root() { "." } else { origin.trim_end_matches('.') };
            let _ = write!(step, "\n     zone:\n       name: \"{origin}\"\n       zonefile: \"{}\"", path.display());
        }
        steps.push(step);
        steps.push(
            "where a parent delegates one of these zones to nsd-failover: name nsd's own server there".to_owned(),
        );
    }
    match &config.nsd {
        Some(nsd) if nsd.relay => {
            let mut step =
                format!("in nsd.conf, in place of `ip-address: {}@{}`:", nsd.address.ip(), nsd.address.port());
            for address in &config.listen {
                let port = if address.port() == 53 { String::new() } else { format!("@{}", address.port()) };
                let _ = write!(step, "\n       ip-address: {}{port}", address.ip());
            }
            step.push_str("\n     and remove `rrl-ratelimit: 0` if it came with nsd-failover");
            steps.push(step);
            steps.push("stop nsd-failover and restart nsd, in one go: the port changes hands".to_owned());
        }
        _ => steps.push("stop nsd-failover".to_owned()),
    }
    let (file, state) = (config.file.display(), config.state_dir.display());
    steps.push(format!("remove {file} and {state}; the tags in the zone files are comments and may stay"));
    let mut text = "nsd has the current roles. What is left to do:\n".to_owned();
    for (number, step) in (1..).zip(steps) {
        let _ = writeln!(text, "  {number}. {step}");
    }
    text
}
