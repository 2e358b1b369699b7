//! The configuration file as it is written: TOML, kebab-case, unknown keys refused. Nothing here
//! is checked beyond its type; `super::checked` does that.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

pub type Text = Spanned<String>;
pub type Tables<T> = Option<BTreeMap<Text, T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    pub version: Option<Spanned<u32>>,
    pub include: Option<Vec<Text>>,
    pub listen: Option<Spanned<Vec<Text>>>,
    pub http: Option<Text>,
    pub control: Option<Text>,
    pub state_dir: Option<Text>,
    pub nsd: Option<Spanned<Nsd>>,
    pub node: Tables<Node>,
    pub check: Tables<Check>,
    pub pool: Tables<Pool>,
    pub zone: Tables<Zone>,
    /// A pattern of zone files; each is a zone, unless `zone` has it.
    pub zone_files: Option<Text>,
    /// An nsd.conf whose primary zones are looked after, unless `zone` has them.
    pub nsd_conf: Option<Text>,
    /// What zones have that do not say otherwise.
    pub zone_defaults: Option<Spanned<Zone>>,
    pub key: Tables<Key>,
    pub catalog: Option<Spanned<Catalog>>,
    pub notify: Tables<Notify>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Nsd {
    pub address: Option<Text>,
    pub relay: Option<Spanned<bool>>,
    pub verify: Option<Spanned<Vec<Text>>>,
    pub control: Option<Spanned<Vec<String>>>,
    pub control_socket: Option<Text>,
    pub checkzone: Option<Spanned<Vec<String>>>,
    pub zonesdir: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Node {
    pub ipv4: Option<Text>,
    pub ipv6: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Check {
    pub http: Option<Text>,
    pub expect: Option<Text>,
    pub status: Option<Spanned<Vec<Spanned<u16>>>>,
    pub port: Option<Spanned<u16>>,
    pub ca_file: Option<Text>,
    pub insecure: Option<bool>,
    pub interval: Option<Text>,
    pub fast_interval: Option<Text>,
    pub timeout: Option<Text>,
    pub rise: Option<Spanned<u32>>,
    pub fall: Option<Spanned<u32>>,
    pub families: Option<Spanned<Vec<Text>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pool {
    pub nodes: Option<Spanned<Vec<Text>>>,
    pub checks: Option<Vec<Text>>,
    pub rotate: Option<Text>,
    pub preempt: Option<Text>,
    pub min_hold: Option<Text>,
    pub when_all_down: Option<Text>,
    pub families: Option<Text>,
    pub ttl_min: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Zone {
    pub file: Option<Text>,
    /// In place of a file.
    pub names: Option<Spanned<Vec<Text>>>,
    pub ns: Tables<Vec<Text>>,
    pub hostmaster: Option<Text>,
    pub ttl: Option<Text>,
    pub pool: Option<Text>,
    pub serve: Option<Text>,
    pub export: Option<Text>,
    pub export_file: Option<Text>,
    pub serial: Option<Text>,
    pub allow_transfer: Option<Spanned<Vec<Text>>>,
    pub notify: Option<Spanned<Vec<Text>>>,
    pub key: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Key {
    pub algorithm: Option<Text>,
    pub secret_file: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Catalog {
    pub zone: Option<Text>,
    pub allow_transfer: Option<Spanned<Vec<Text>>>,
    pub notify: Option<Spanned<Vec<Text>>>,
    pub key: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Notify {
    pub mail: Option<Text>,
    pub from: Option<Text>,
    pub sendmail: Option<Spanned<Vec<String>>>,
    pub smtp: Option<Text>,
    pub tls: Option<Text>,
    pub user: Option<Text>,
    pub password_file: Option<Text>,
    pub webhook: Option<Text>,
    pub webhook_file: Option<Text>,
    pub template: Option<Text>,
    pub token_file: Option<Text>,
    pub ca_file: Option<Text>,
    pub exec: Option<Spanned<Vec<String>>>,
    pub events: Option<Spanned<Vec<Text>>>,
    pub timeout: Option<Text>,
}
