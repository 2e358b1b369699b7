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
    /// Whom the daemon becomes once it has bound its addresses.
    pub user: Option<Text>,
    pub group: Option<Text>,
    pub confine: Option<Spanned<Confine>>,
    pub log: Option<Text>,
    pub log_format: Option<Text>,
    pub cert_warning_days: Option<Spanned<u32>>,
    pub cert_critical_days: Option<Spanned<u32>>,
    pub nsd: Option<Spanned<Nsd>>,
    pub dns: Option<Spanned<Dns>>,
    pub rrl: Option<Spanned<Rrl>>,
    pub tls: Option<Spanned<Tls>>,
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
pub struct Confine {
    pub enabled: Option<bool>,
    pub read: Option<Vec<Text>>,
    pub write: Option<Vec<Text>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Nsd {
    pub address: Option<Text>,
    pub relay: Option<Spanned<bool>>,
    pub verify: Option<Spanned<Vec<Text>>>,
    pub proxy_protocol: Option<bool>,
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
    pub tls: Option<Text>,
    pub tcp: Option<Text>,
    pub gemini: Option<Text>,
    pub smtp: Option<Text>,
    pub dns: Option<Text>,
    pub exec: Option<Spanned<Vec<String>>>,
    pub file: Option<Text>,
    pub method: Option<Text>,
    pub headers: Option<Spanned<BTreeMap<Text, Text>>>,
    pub expect: Option<Text>,
    pub expect_regex: Option<Text>,
    pub status: Option<Spanned<Vec<Spanned<u16>>>>,
    pub redirects: Option<Spanned<u8>>,
    pub port: Option<Spanned<u16>>,
    pub ca_file: Option<Text>,
    pub insecure: Option<Spanned<bool>>,
    pub cert_min_days: Option<Spanned<u32>>,
    /// "pool", or a list of names.
    pub names: Option<Spanned<toml::Value>>,
    pub send: Option<Text>,
    pub starttls: Option<Spanned<bool>>,
    pub query: Option<Text>,
    pub rcode: Option<Text>,
    pub serial_of: Option<Text>,
    pub max_age: Option<Text>,
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
    pub anchors: Option<Spanned<Vec<Text>>>,
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dns {
    pub nsid: Option<Text>,
    pub identity: Option<Text>,
    pub version: Option<Text>,
    pub hide_version: Option<Spanned<bool>>,
    pub proxy_from: Option<Spanned<Vec<Text>>>,
    pub cookies: Option<Spanned<bool>>,
    pub cookie_secret_file: Option<Text>,
    pub edns_size: Option<Spanned<u16>>,
    pub tcp_connections: Option<Spanned<u32>>,
    pub tcp_per_client: Option<Spanned<u32>>,
    pub tcp_queries: Option<Spanned<u32>>,
    pub tcp_timeout: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rrl {
    pub rate: Option<Spanned<u32>>,
    pub slip: Option<Spanned<u32>>,
    pub ipv4_prefix: Option<Spanned<u8>>,
    pub ipv6_prefix: Option<Spanned<u8>>,
    pub size: Option<Spanned<u32>>,
    pub exempt: Option<Spanned<Vec<Text>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tls {
    pub cert: Option<Text>,
    pub key: Option<Text>,
    pub listen_tls: Option<Spanned<Vec<Text>>>,
    pub listen_quic: Option<Spanned<Vec<Text>>>,
    pub listen_https: Option<Spanned<Vec<Text>>>,
}
