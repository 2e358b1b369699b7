//! `run --shadow`: decide and tell, publish nothing. For trying us beside what runs today.
//!
//! Nothing listens for DNS and nothing is exported; instead each zone file is held against our own
//! decision, and where somebody else (a cron job) wrote another one, the log says so. What it decides
//! is its own: it lies in a state directory apart, moves nobody, is no incident, and takes no orders.
//! The next `run` starts as if the shadow had never been.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::zones::read_file;
use crate::config::{self, Config};
use crate::director::effect::Decision;
use crate::failover::pool::Pool;
use crate::zone::document::DOCUMENT_MAX;

use super::exports;
use super::journal::Journal;

/// How often the files are looked at, decision or not.
const INTERVAL: Duration = Duration::from_secs(10);
/// To whoever orders something, or asks who serves.
pub const REFUSAL: &str = "the daemon is in shadow (`run --shadow`): it decides and tells, and publishes nothing, so that there \
                           is nothing to order or to ask it for; stop it and start `run`";

/// What there is to compare.
#[derive(Clone)]
pub struct Seen {
    pub zones: Vec<config::Zone>,
    pub pools: Arc<[Pool]>,
    pub decision: Arc<Decision>,
}

/// Where the shadow of a daemon keeps what it has decided.
pub fn state_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("shadow")
}

/// The same configuration, but nothing of it is published: no listener for DNS, no export, no
/// transfer, no notification of what has not happened.
pub fn mute(config: Config) -> Config {
    let mute = |zone| config::Zone { serve: config::Serve::Off, export_file: None, transfer: None, ..zone };
    let zones = config.zones.into_iter().map(mute).collect();
    Config { listen: Vec::new(), tls: None, catalog: None, notify: Vec::new(), zones, ..config }
}

/// Tells of each zone whose file begins or ceases to differ, until nobody sends any more.
pub async fn watch(mut seen: watch::Receiver<Option<Seen>>, journal: Arc<Journal>) {
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let now = seen.borrow_and_update().clone();
        if let Some(now) = now {
            let compared = tokio::task::spawn_blocking(move || compare(&now)).await.unwrap_or_default();
            for (zone, difference) in compared {
                tell(&mut told, zone, difference, &journal);
            }
        }
        // A timeout is as good as a change; an error says that the daemon has ended.
        if let Ok(Err(_)) = tokio::time::timeout(INTERVAL, seen.changed()).await {
            return;
        }
    }
}

fn tell(told: &mut BTreeMap<String, String>, zone: String, difference: Option<String>, journal: &Journal) {
    match difference {
        None if told.remove(&zone).is_some() => {
            journal.note(format!("shadow: {zone} the file and our decision agree again"))
        }
        None => {}
        Some(words) if told.get(&zone) == Some(&words) => {}
        Some(words) => {
            journal.note(format!("shadow: {zone} {words}"));
            told.insert(zone, words);
        }
    }
}

/// Each zone with what differs, if anything does.
fn compare(seen: &Seen) -> Vec<(String, Option<String>)> {
    let compare_one = |zone: &config::Zone| match exports::texts(zone, &seen.pools, &seen.decision, None) {
        Err(reason) => Some(reason),
        Ok(texts) => texts.iter().find_map(|text| match read_file(Path::new(&text.file), DOCUMENT_MAX) {
            Err(error) => Some(format!("cannot read {}: {error}", text.file)),
            Ok(theirs) => difference(&theirs, &text.then),
        }),
    };
    // Nobody else writes a zone that the configuration declares.
    let zones = seen.zones.iter().filter(|zone| zone.text.is_none());
    zones.map(|zone| (zone.origin.to_string(), compare_one(zone))).collect()
}

/// The first tagged line that differs, and how many more do.
fn difference(theirs: &[u8], ours: &[u8]) -> Option<String> {
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(squeeze).collect::<Vec<_>>();
    let (theirs, ours) = (lines(theirs), lines(ours));
    let differs = |pair: &(usize, (&String, &String))| pair.1.0 != pair.1.1 && is_tagged(pair.1.0);
    let mut pairs = theirs.iter().zip(&ours).enumerate().filter(differs);
    let (index, (theirs, ours)) = pairs.next()?;
    let more = match pairs.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!("line {}: the file says `{theirs}`, we would say `{ours}`{more}", index + 1))
}

fn is_tagged(line: &str) -> bool {
    line.to_ascii_lowercase().contains("enable failover")
}

fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tagged_lines_count() {
        let ours = b"@ SOA ns h 2\nwww A 192.0.2.2 ; Enable failover\nx A 192.0.2.2 ; enable failover\n";
        let theirs = b"@ SOA ns h 1\nwww  A 192.0.2.1 ; Enable failover\nx A 192.0.2.1 ; enable failover\n";
        assert_eq!(
            difference(theirs, ours).unwrap(),
            "line 2: the file says `www A 192.0.2.1 ; Enable failover`, we would say `www A 192.0.2.2 ; Enable failover` (and 1 more)"
        );
        assert_eq!(difference(b"@ SOA ns h 1\n", b"@ SOA ns h 2\n"), None);
        assert_eq!(difference(ours, ours), None);
    }
}
