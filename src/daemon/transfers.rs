//! What the configuration and the zones mean for transfers, and what transfers mean for the status.

use domain::base::iana::Class;
use ring::digest::{SHA256, digest};

use crate::config::{self, Config};
use crate::control::metrics::{Family, Value};
use crate::director::status::{SecondaryStatus, Status};
use crate::dns::access::Key;
use crate::dns::name::Name;
use crate::serve::transfer::{Notified, Notify, Outcome, Pace, Settings, Transfers, ZoneSettings};

use super::load::{Loaded, LoadedZone};

/// Changes of secondaries that may wait to be shown.
pub const SEEN_MAX: usize = 256;
/// The catalog's records live so long in a cache, in seconds: no resolver asks for them.
const CATALOG_TTL_S: u32 = 0;
/// Refresh, retry, expire and minimum of the catalog's SOA.
const CATALOG_TIMES: &str = "3600 600 2147483646 0";

/// Who takes which zone, and is told of it.
pub fn settings(config: &Config, loaded: &Loaded) -> Settings {
    let zone = |zone: &LoadedZone| {
        let transfer = zone.config.transfer.as_ref()?;
        Some(ZoneSettings {
            origin: zone.config.origin.clone(),
            is_catalog: config.catalog.as_ref().is_some_and(|catalog| catalog.origin == zone.config.origin),
            allow: transfer.allow.clone(),
            notify: transfer.notify.iter().map(notify).collect(),
        })
    };
    Settings {
        keys: loaded.keys.clone(),
        zones: loaded.zones.iter().filter_map(zone).collect(),
        sources: config.listen.iter().map(|at| at.ip()).filter(|ip| !ip.is_unspecified()).collect(),
        pace: Pace::default(),
    }
}

fn notify(notify: &config::Notify) -> Notify {
    Notify { address: notify.address, key: notify.key.clone() }
}

/// Reads the secrets of all keys. The error has a line for each that is wrong.
pub fn read_keys(config: &Config) -> Result<Vec<Key>, Vec<String>> {
    let mut lines = Vec::new();
    let mut keys = Vec::new();
    for key in &config.keys {
        match key.read_secret() {
            Ok(secret) => keys.push(Key { name: key.name.clone(), algorithm: key.algorithm, secret }),
            Err(line) => lines.push(line),
        }
    }
    if lines.is_empty() { Ok(keys) } else { Err(lines) }
}

/// The catalog zone as text (RFC 9432 section 4): a member's label is made from its name, so that it
/// stays the same as long as the member does.
pub fn catalog_text<'a>(members: impl Iterator<Item = &'a Name>) -> String {
    let class = Class::IN;
    let mut text = format!(
        "$TTL {CATALOG_TTL_S}\n\
         @ {class} SOA invalid. hostmaster.invalid. 1 {CATALOG_TIMES}\n\
         @ {class} NS invalid.\n\
         version {class} TXT \"2\"\n"
    );
    for member in members {
        let digest = digest(&SHA256, member.to_lowercase().wire());
        let label: String = digest.as_ref()[..16].iter().map(|octet| format!("{octet:02x}")).collect();
        text.push_str(&format!("{label}.zones {class} PTR {member}\n"));
    }
    text
}

/// Writes what is known of the secondaries into a status.
pub fn show(transfers: &Transfers, status: &mut Status) {
    for ((origin, server), view) in transfers.secondaries() {
        let Some(zone) = status.zones.iter_mut().find(|zone| zone.name == origin) else { continue };
        zone.secondaries.push(SecondaryStatus {
            server: server.to_string(),
            serial: view.serial,
            acknowledged: view.acknowledged,
            problem: view.problem,
        });
    }
}

/// What is counted, as metrics.
pub fn families(transfers: &Transfers) -> Vec<Family> {
    let totals = transfers.totals();
    let mut requests = Family::counter("transfers", "Requests for a zone transfer by what became of them");
    for (outcome, count) in Outcome::ALL.iter().zip(totals.outcomes) {
        requests.add(&[("result", outcome.as_str())], Value::Count(count));
    }
    let mut notified = Family::counter("notify", "NOTIFY messages by what became of them");
    for (result, count) in Notified::ALL.iter().zip(totals.notified) {
        notified.add(&[("result", result.as_str())], Value::Count(count));
    }
    let mut records = Family::counter("transfer_records", "Records sent in zone transfers");
    records.add(&[], Value::Count(totals.records));
    let mut octets = Family::counter("transfer_bytes", "Octets sent in zone transfers");
    octets.add(&[], Value::Count(totals.octets));
    vec![requests, notified, records, octets]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::Zone;

    #[test]
    fn the_catalog_is_a_zone_with_a_lasting_label_for_each_member() {
        let names: Vec<Name> =
            ["example.org", "Example.COM", "a\\.b.example"].map(|name| name.parse().unwrap()).to_vec();
        let text = catalog_text(names.iter());
        let origin: Name = "catalog.example".parse().unwrap();
        let zone = Zone::parse(&origin, "catalog", text.into_bytes()).expect("a zone");
        assert_eq!(zone.records().len(), 6);
        let one = catalog_text(["EXAMPLE.com".parse().unwrap()].iter());
        let label = one.lines().last().unwrap().split('.').next().unwrap().to_owned();
        assert!(catalog_text(names.iter()).contains(&label), "whatever the case and the company");
    }
}
