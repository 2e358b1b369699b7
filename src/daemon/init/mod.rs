//! `init`: from an nsd.conf and tagged zones to a configuration that needs no edit.

mod delegated;
mod propose;
mod transfer;
mod write;

use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::nsd_conf::NsdConf;
use crate::config::zones::{FileSource, read_file};
use crate::control::Exit;
use crate::control::text::count_of;
use crate::probe::Prober;
use crate::zone::Zone;
use crate::zone::diagnostic::Diagnostic;
use crate::zone::document::DOCUMENT_MAX;

use super::cli::{Init, Placement};
use super::failure::Failure;
use super::load::{self, Loaded};
use super::rights;

/// Writes the configuration, and says what to do next.
pub fn run(args: &Init) -> Result<(), Failure> {
    refuse_to_replace(args)?;
    // Relative paths count from here now, and from the configuration's folder later.
    let nsd_conf = std::path::absolute(&args.nsd_conf)?;
    let nsd = NsdConf::load(&nsd_conf).map_err(Failure::from)?;
    let zones = primary_zones(&nsd)?;
    let mut given = Vec::new();
    for node in &args.node {
        given.push(propose::Node::new(node.name.clone(), &node.addresses));
    }
    let proposal = match args.placement {
        Placement::Delegated => delegated::proposal(&zones, &given),
        _ => propose::propose(&zones, &given),
    };
    let proposal = proposal.map_err(Failure::usage)?;
    let check = Check::ask(args)?;
    let setting = Setting { nsd: &nsd, nsd_conf: &nsd_conf, user: service_user(), args };
    let text = write::config(&proposal, &check, &setting);
    let key = match args.placement {
        Placement::Transfer => Some(transfer::KeyFile::provide(&args.out, setting.user)?),
        _ => None,
    };
    // The daemon's own reader has the last word, before anything is written.
    let written = tried(&args.out, &text).and_then(|read| write_whole(args, &text).map(|()| read));
    let (config, loaded) = written.inspect_err(|_| key.iter().for_each(transfer::KeyFile::take_back))?;
    let failover: usize = loaded.zones.iter().map(|zone| zone.failover_records).sum();
    let (zones, failover) = (count_of(loaded.zones.len(), "zone"), count_of(failover, "failover record"));
    println!("written: {}: {zones} with {failover}", args.out.display());
    print!("{}", write::hosts(&proposal));
    print!("{}", write::next_steps(&setting, &proposal, &loaded));
    let mut warnings = loaded.warnings.clone();
    // The last: whoever looks is the daemon's user from then on.
    warnings.extend(rights::remarks(&config, &loaded, &nsd_conf)?);
    warnings.iter().for_each(|warning| eprintln!("{warning}"));
    Ok(())
}

/// What a configuration is written for.
pub struct Setting<'a> {
    nsd: &'a NsdConf,
    nsd_conf: &'a Path,
    /// Whom the daemon shall become.
    user: Option<&'static str>,
    args: &'a Init,
}

/// The user that the package, or who followed the README, has made for the daemon. Only root can
/// become it.
fn service_user() -> Option<&'static str> {
    const NAMES: [&str; 2] = ["nsd-failover", "_nsdfailover"];
    let is_there = |name: &&str| nix::unistd::User::from_name(name).is_ok_and(|user| user.is_some());
    NAMES.into_iter().filter(|_| rustix::process::geteuid().is_root()).find(is_there)
}

/// Reads a text as `run` would read the file.
fn tried(out: &Path, text: &str) -> Result<(Config, Loaded), Failure> {
    let read = || {
        let config = Config::parse(out, text)?;
        let loaded = load::load(&config)?;
        Prober::new(&loaded.settings.checks).map_err(|error| Failure::usage(error.to_string()))?;
        Ok((config, loaded))
    };
    read().map_err(|failure: Failure| {
        let mut lines = failure.lines().to_vec();
        lines.push("nothing was written: the lines above are about what would have been; change --http, --expect or --node, or mend the zones".to_owned());
        Failure::new(failure.exit, lines)
    })
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

/// A zone and its file.
type TaggedZone = (Zone, PathBuf);

/// The zones that nsd serves from files of the operator's.
fn primary_zones(nsd: &NsdConf) -> Result<Vec<TaggedZone>, Failure> {
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
fn refuse_to_replace(args: &Init) -> Result<(), Failure> {
    match args.force || is_blank(&args.out) || std::fs::symlink_metadata(&args.out).is_err() {
        true => Ok(()),
        false => Err(is_there(&args.out)),
    }
}

fn is_there(path: &Path) -> Failure {
    Failure::usage(format!("{} is there already; choose another --out, or --force to replace it", path.display()))
}

/// All of it or nothing: beside the file first, which nobody else may have made meanwhile.
fn write_whole(args: &Init, text: &str) -> Result<(), Failure> {
    let path = &args.out;
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => is_there(path),
        _ => Failure::usage(format!("cannot write {}: {error}", path.display())),
    };
    // Through a link, as an editor would write.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::usage(format!("cannot make {}: {error}", folder.display())))?;
    let temp = folder.join(format!(".nsd-failover-init-{}", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temp)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match args.force || is_blank(&target) {
            true => std::fs::rename(&temp, &target),
            false => std::fs::hard_link(&temp, &target),
        }
    };
    let written = write();
    // It is gone already where it was renamed.
    let _ = std::fs::remove_file(&temp);
    written.map_err(failed)
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
