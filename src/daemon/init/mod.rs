//! `init`: from an nsd.conf and tagged zones to a configuration that needs no edit.

mod propose;
mod write;

use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::nsd_conf::NsdConf;
use crate::config::zones::{FileSource, read_file};
use crate::control::Exit;
use crate::zone::Zone;
use crate::zone::diagnostic::Diagnostic;
use crate::zone::document::DOCUMENT_MAX;

use super::cli::{Init, Placement};
use super::failure::Failure;
use super::load;

/// Writes the configuration, and says what to do next.
pub fn run(args: &Init) -> Result<(), Failure> {
    let nsd = NsdConf::load(&args.nsd_conf).map_err(Failure::from)?;
    let zones = primary_zones(&nsd)?;
    let mut given = Vec::new();
    for node in &args.node {
        given.push(propose::Node::new(node.name.clone(), &node.addresses));
    }
    let proposal = propose::propose(&zones, &given).map_err(Failure::usage)?;
    let check = Check::ask(args)?;
    let nsd_conf = std::fs::canonicalize(&args.nsd_conf)?;
    let text = write::config(&proposal, &check, &nsd, &nsd_conf, args);
    write_new(&args.out, &text, args.force)?;
    // What was written must be right: the same reader as the daemon's has the last word.
    let config = Config::load(&args.out)?;
    let loaded = load::load(&config)?;
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    let failover: usize = loaded.zones.iter().map(|zone| zone.failover_records).sum();
    println!("written: {}: {} zones with {failover} failover records", args.out.display(), loaded.zones.len());
    for (order, node) in ["primary", "standby"].iter().zip(&proposal.nodes) {
        println!("  {order}  {}", node.name);
    }
    print!("{}", write::next_steps(&nsd, &nsd_conf, args));
    Ok(())
}

/// What `init` cannot know: what a good answer of a host looks like.
pub struct Check {
    pub url: String,
    pub expect: Option<String>,
}

impl Check {
    /// From the flags, else by asking, else what fits most hosts.
    fn ask(args: &Init) -> Result<Check, Failure> {
        const USUAL: &str = "https://{node}/";
        let asking = args.http.is_none() && io::stdin().is_terminal();
        let url = match (&args.http, asking) {
            (Some(url), _) => url.clone(),
            (None, true) => {
                answer(&format!("Page to fetch from each host [{USUAL}]: "))?.unwrap_or_else(|| USUAL.to_owned())
            }
            (None, false) => USUAL.to_owned(),
        };
        let expect = match (&args.expect, asking) {
            (Some(text), _) => Some(text.clone()),
            (None, true) => answer("Text that the page must contain ({node} is the host) [any]: ")?,
            (None, false) => None,
        };
        Ok(Check { url, expect })
    }
}

fn answer(question: &str) -> Result<Option<String>, Failure> {
    print!("{question}");
    io::stdout().flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(Some(line.trim().to_owned()).filter(|line| !line.is_empty()))
}

/// The zones that nsd serves from files of the operator's.
fn primary_zones(nsd: &NsdConf) -> Result<Vec<(Zone, PathBuf)>, Failure> {
    let (mut zones, mut lines) = (Vec::new(), Vec::new());
    for found in nsd.zones.iter().filter(|zone| !zone.secondary) {
        let Some(path) = &found.file else { continue };
        let file = path.display().to_string();
        let bytes = match read_file(path, DOCUMENT_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                lines.push(format!("{file}: error: cannot read the file of zone {}: {error}", found.origin));
                continue;
            }
        };
        let mut source = FileSource::new(&nsd.zones_dir, path);
        match Zone::load(&found.origin, &file, bytes, &mut source) {
            Ok(zone) => zones.push((zone, path.clone())),
            Err(diagnostics) => {
                lines.extend(diagnostics.iter().filter(|one| one.is_error()).map(Diagnostic::to_string))
            }
        }
    }
    match lines.is_empty() {
        true => Ok(zones),
        false => Err(Failure::new(Exit::Usage, lines)),
    }
}

/// Never over a file that is there, unless told to, or there is nothing but comments in it: a package
/// brings such a one.
fn write_new(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::usage(format!("cannot make {}: {error}", folder.display())))?;
    }
    let mut options = OpenOptions::new();
    options.write(true).mode(0o644);
    match force || is_blank(path) {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage(format!(
            "{} is there already; choose another --out, or --force to replace it",
            path.display()
        )),
        _ => Failure::usage(format!("cannot write {}: {error}", path.display())),
    };
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
}

/// Whether a configuration says nothing but its version.
fn is_blank(path: &Path) -> bool {
    let Ok(bytes) = read_file(path, DOCUMENT_MAX) else { return false };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.all(|line| line.replace(' ', "") == "version=1")
}

/// The address of the nsd, as we reach it.
fn nsd_address(nsd: &NsdConf, placement: Placement) -> String {
    if placement == Placement::Front {
        return write::BEHIND.to_owned();
    }
    let loopback = nsd.listen.iter().find(|address| address.ip().is_loopback());
    match loopback.or(nsd.listen.iter().find(|address| !address.ip().is_unspecified())) {
        Some(address) => address.to_string(),
        None => format!("127.0.0.1:{}", nsd.port),
    }
}
