//! `eject`, the way back to plain nsd: the current roles go into the zone files, nsd loads them,
//! and what is left to do by hand is printed. With the daemon running it does the exporting; else
//! its saved state tells the roles.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, Config, Serve};
use crate::control::Exit;
use crate::control::client::{Client, ClientError, SILENT};
use crate::control::text;
use crate::director::Director;
use crate::director::effect::Decision;
use crate::director::event::{Event, ExportResult};
use crate::director::state::State;
use crate::director::status::Status;
use crate::export::serial;
use crate::failover::pool::{Pool, PoolRoles, Roles};
use crate::health::family::PerFamily;

use super::cli::Form;
use super::clock::Clock;
use super::failure::Failure;
use super::persist::StateDir;
use super::{client, exports, load, run};

/// What is to be handed over.
struct Found {
    decision: Decision,
    /// The newest serial of each zone that was decided, or seen anywhere; by [`Config::zones`].
    serials: Vec<Option<u32>>,
}

/// Writes, reloads, verifies; then says what to remove. `folder` takes the zones that nsd does not
/// have yet, or has from us.
pub async fn run(file: &Path, folder: &Path) -> Result<(), Failure> {
    let config = Config::load(file)?;
    let daemon = Client::new(&config.control);
    let found = match daemon.status().await {
        Ok(_) => {
            client::answered(daemon.export(None, SILENT).await, Form { json: false })?;
            // What the exports have changed is in it.
            found_in(&config, &daemon.status().await?)
        }
        Err(ClientError::Unreachable(..)) => {
            println!("the daemon does not run: its saved state tells the roles");
            export_all(&config).await?
        }
        Err(error) => return Err(error.into()),
    };
    let mut written = Vec::new();
    for (zone, seen) in config.zones.iter().zip(&found.serials) {
        if zone.export_file.is_some() || zone.serve == Serve::Off {
            continue;
        }
        let bytes = exports::handed_over(zone, &config.pools, &found.decision, *seen).map_err(Failure::failed)?;
        let path = folder.join(file_name(zone));
        write(&path, &bytes)?;
        println!("{}: written to {}", zone.origin, path.display());
        written.push((zone, fs::canonicalize(&path)?));
    }
    print!("{}", remains(&config, &written));
    Ok(())
}

/// Exports every zone as of the last decision that was saved.
async fn export_all(config: &Config) -> Result<Found, Failure> {
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
    for (index, zone) in loaded.zones.into_iter().enumerate() {
        let (Some(publisher), Some(loaded)) = (&publisher, zone.exported) else { continue };
        let (pools, decision, serial) = (Arc::clone(&pools), Arc::clone(&decision), decision.serials[index]);
        let order = exports::Order { zone: zone.config, loaded, pools, decision, serial };
        let report = exports::run(publisher, order).await.report;
        let line = text::export_line(&report);
        match report.result {
            ExportResult::Served | ExportResult::Unchanged => println!("{line}"),
            _ => failed.push(line),
        }
    }
    if !failed.is_empty() {
        return Err(Failure::new(Exit::Failed, failed));
    }
    // Its serials go beyond those that may be in service without having been written down.
    Ok(Found { serials: decision.serials.iter().copied().map(Some).collect(), decision: Decision::clone(&decision) })
}

/// The roles and serials that a status tells of.
fn found_in(config: &Config, status: &Status) -> Found {
    let roles = |pool: &Pool| -> PoolRoles {
        let told = status.pools.iter().find(|told| told.name == pool.name);
        let place = |name: &Option<String>| pool.nodes.iter().position(|node| Some(&node.name) == name.as_ref());
        PerFamily::from_fn(|family| {
            let told = told.and_then(|told| told.families.iter().find(|told| told.family == family));
            told.map_or(Roles::default(), |told| Roles { primary: place(&told.primary), standby: place(&told.standby) })
        })
    };
    let newest = |zone: &config::Zone| {
        let told = status.zones.iter().find(|told| told.name == zone.origin.to_string())?;
        let at_secondaries = told.secondaries.iter().filter_map(|secondary| secondary.serial);
        Some(told.serial_at_nsd.into_iter().chain(at_secondaries).fold(told.serial, serial::newest))
    };
    Found {
        decision: Decision { pools: config.pools.iter().map(roles).collect(), ..Decision::default() },
        serials: config.zones.iter().map(newest).collect(),
    }
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

/// What was done, and what is left to do by hand, in order.
fn remains(config: &Config, written: &[(&config::Zone, PathBuf)]) -> String {
    let steps = written_steps(written).into_iter().chain(last_steps(config));
    let exports = config.zones.iter().any(|zone| zone.export_file.is_some());
    let done = match (exports, written.is_empty()) {
        (true, true) => "nsd has the current roles.",
        (true, false) => {
            "nsd has the current roles of the zones that are exported to it; those written here are still ours."
        }
        (false, false) => "The files written here have the current roles; nsd was told nothing yet.",
        (false, true) => "There is no zone to hand over.",
    };
    let mut text = format!("{done} What is left to do:\n");
    for (number, step) in (1..).zip(steps) {
        let _ = writeln!(text, "  {number}. {step}");
    }
    text
}

/// What nsd.conf has to say of the zones that were written.
fn written_steps(written: &[(&config::Zone, PathBuf)]) -> Vec<String> {
    let (fetched, ours): (Vec<_>, Vec<_>) = written.iter().partition(|(zone, _)| zone.transfer.is_some());
    let mut steps = Vec::new();
    if !ours.is_empty() {
        let mut step = "add to nsd.conf, and run `nsd-control reconfig`:".to_owned();
        for (zone, path) in ours {
            let (origin, path) = (bare(zone), path.display());
            let _ = write!(step, "\n     zone:\n       name: \"{origin}\"\n       zonefile: \"{path}\"");
        }
        steps.push(step);
        let parents = "where a parent delegates one of these zones to nsd-failover: name nsd's own server there";
        steps.push(parents.to_owned());
    }
    let Some((first, _)) = fetched.first() else { return steps };
    let mut step = "choose the server that becomes primary. In its nsd.conf each of these zones has an entry \
                    already: put the line shown here in the place of its `request-xfr`, `allow-notify` and \
                    `zonefile` lines, and restart nsd (`nsd-control reconfig` does not read another file):"
        .to_owned();
    for (zone, path) in &fetched {
        let _ = write!(step, "\n     zone \"{}\":\n       zonefile: \"{}\"", bare(zone), path.display());
    }
    steps.push(step);
    let told = fetched.iter().flat_map(|(zone, _)| &zone.transfer).flat_map(|transfer| &transfer.notify);
    let servers: BTreeSet<IpAddr> = told.map(|notify| notify.address.ip()).collect();
    if servers.len() > 1 {
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        steps.push(format!(
            "the others of {} fetch from that one now: `request-xfr` and `allow-notify` there, `provide-xfr` and \
             `notify` in the entry of {} and the like",
            servers.join(", "),
            first.origin
        ));
    }
    steps
}

/// From the port to the last file.
fn last_steps(config: &Config) -> Vec<String> {
    let mut steps = Vec::new();
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
    if let Some(catalog) = &config.catalog {
        steps.push(format!("secondaries that found their zones in the catalog {} need them by name", catalog.origin));
    }
    let (file, state) = (config.file.display(), config.state_dir.display());
    steps.push(format!("remove {file} and {state}; the tags in the zone files are comments and may stay"));
    steps
}

/// The origin as nsd.conf has it.
fn bare(zone: &config::Zone) -> String {
    match zone.origin.is_root() {
        true => ".".to_owned(),
        false => zone.origin.to_string().trim_end_matches('.').to_owned(),
    }
}
