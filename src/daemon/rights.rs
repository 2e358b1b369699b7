//! Whether the daemon, as the user that it will be, could replace the zone files and give nsd orders:
//! looked at before a failover needs it.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::geteuid;

use crate::config::Config;
use crate::publish::files;

use super::account::Account;
use super::exports;
use super::failure::Failure;
use super::load::Loaded;
use super::run::publisher;

/// What `check` and `init` say, a line each. Started by root, this becomes the `user` of the
/// configuration, for good: nothing else shows what that one may do. Somebody else cannot, and
/// hears nothing of what only concerns that user. `nsd_from` is the file that says how nsd is spoken to.
pub fn remarks(config: &Config, loaded: &Loaded, nsd_from: &Path) -> Result<Vec<String>, Failure> {
    if geteuid().is_root() {
        if let Some(account) = Account::find(&config.process)? {
            account.assume()?;
        }
    } else if Account::find(&config.process).is_err() {
        return Ok(Vec::new());
    }
    let mut told = BTreeSet::new();
    let mut lines = Vec::new();
    for zone in &loaded.zones {
        let files = zone.exported.iter().flat_map(|parsed| exports::replaced_files(&zone.config, parsed));
        let refused = files.map(|file| files::check_replaceable(&file)).find_map(Result::err);
        // Zones of one folder have one answer.
        if let Some(reason) = refused.filter(|reason| told.insert(reason.clone())) {
            lines.push(format!("zone {}: warning: an export would be refused: {reason}", zone.config.origin));
        }
    }
    let is_exported = loaded.zones.iter().any(|zone| zone.exported.is_some());
    if let Some(publisher) = publisher(config).filter(|_| is_exported) {
        let control = super::runtime()?.block_on(publisher.try_control());
        lines.extend(control.err().map(|reason| format!("{}: warning: {reason}", nsd_from.display())));
    }
    Ok(lines)
}
