//! The configuration: two types, what the file says ([`file::File`]) and what was checked
//! ([`Config`]). Everything behind this room trusts the second.

mod checked;
mod declared;
pub mod dns;
pub mod file;
pub mod keys;
mod load;
pub mod notify;
pub mod nsd_conf;
pub mod problem;
pub mod process;
pub mod reference;
mod transfer;
pub mod value;
pub mod zones;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::director::status::CertDays;
use crate::dns::access::{Algorithm, Allow};
use crate::dns::name::Name;
use crate::export::serial::SerialScheme;
use crate::failover::pool::Pool;
use crate::health::check::Check;

use problem::Problem;

/// Where the configuration is looked for without `--config` and `NSD_FAILOVER_CONFIG`.
pub const DEFAULT_FILE: &str = "/etc/nsd-failover/nsd-failover.toml";
/// Names the configuration file.
pub const FILE_VARIABLE: &str = "NSD_FAILOVER_CONFIG";
pub const DEFAULT_CONTROL: &str =
    if cfg!(target_os = "openbsd") { "/var/run/nsd-failover/control.sock" } else { "/run/nsd-failover/control.sock" };
pub const DEFAULT_STATE_DIR: &str =
    if cfg!(target_os = "openbsd") { "/var/db/nsd-failover" } else { "/var/lib/nsd-failover" };

/// A configuration in which every name resolves and every value is in range.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Folders in which a reload looks for what belongs to the configuration.
    pub folders: Vec<PathBuf>,
    /// Addresses for DNS over UDP and TCP; empty: do not serve.
    pub listen: Vec<SocketAddr>,
    /// The read-only HTTP listener; absent: off.
    pub http: Option<SocketAddr>,
    /// The control socket.
    pub control: PathBuf,
    pub state_dir: PathBuf,
    /// Whom the daemon becomes, what it gives up, and where its log goes.
    pub process: process::Process,
    /// How near the end of a certificate is worth an alarm.
    pub cert_days: CertDays,
    pub nsd: Option<Nsd>,
    pub dns: dns::Dns,
    /// Absent: answers are not limited.
    pub rrl: Option<dns::Rrl>,
    /// Absent: no encrypted transport.
    pub tls: Option<dns::Tls>,
    pub pools: Vec<Pool>,
    pub checks: Vec<Check>,
    pub zones: Vec<Zone>,
    /// TSIG keys, by name.
    pub keys: Vec<Key>,
    pub catalog: Option<Catalog>,
    pub notify: Vec<notify::Notify>,
}

/// The nsd beside us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nsd {
    /// Where it answers: to verify, and to relay.
    pub address: SocketAddr,
    /// Whether questions that are not ours go there.
    pub relay: bool,
    /// More addresses at which each export is verified.
    pub verify: Vec<SocketAddr>,
    /// Whether it is told who asks, by the PROXY protocol (nsd 4.8 and later).
    pub proxy_protocol: bool,
    /// `nsd-control` with its arguments.
    pub control: Vec<String>,
    /// nsd's control socket, used in place of `nsd-control`.
    pub control_socket: Option<PathBuf>,
    /// `nsd-checkzone` with its arguments; empty: do without.
    pub checkzone: Vec<String>,
    /// nsd's `zonesdir`: where it looks for relative file names. See [`Zone::include_dir`].
    pub zonesdir: Option<PathBuf>,
}

/// A zone that we look after.
#[derive(Clone, Debug)]
pub struct Zone {
    pub origin: Name,
    /// Nothing but the name of the file tells the origin.
    pub by_file_name: bool,
    /// The zone file; the configuration file where that declares the zone.
    pub file: PathBuf,
    /// The zone as text where the configuration itself declares it (`names`).
    pub text: Option<Arc<str>>,
    /// Relative `$INCLUDE` names count from here: nsd's `zonesdir` where it is known (`zonesdir` in
    /// `[nsd]`, else that of `nsd-conf`), else the folder of `file`.
    pub include_dir: PathBuf,
    /// The pool of tags without `pool=`: an index into [`Config::pools`].
    pub pool: Option<usize>,
    pub serve: Serve,
    /// The file that nsd loads and that an export replaces; absent: no export.
    pub export_file: Option<PathBuf>,
    pub serial: SerialScheme,
    /// Who may take the zone and who is told of changes; absent: no transfers.
    pub transfer: Option<Transfer>,
}

/// A TSIG key. Its secret is read when it is needed, see [`Key::read_secret`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    pub name: Name,
    pub algorithm: Algorithm,
    pub secret_file: PathBuf,
}

/// Secondaries of a zone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Transfer {
    pub allow: Vec<Allow>,
    pub notify: Vec<Notify>,
}

/// A secondary to be told of changes, with the name of the key that signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notify {
    pub address: SocketAddr,
    pub key: Option<Name>,
}

/// The catalog zone (RFC 9432) of all zones with transfers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Catalog {
    pub origin: Name,
    pub transfer: Transfer,
}

/// What is answered of a zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Serve {
    /// Only the failover RRsets; the rest is nsd's.
    Overlay,
    /// The whole zone, authoritatively.
    Zone,
    Off,
}

impl Config {
    /// Reads and checks a configuration file and what it includes. The error holds at least one
    /// problem.
    pub fn load(file: &Path) -> Result<Config, Vec<Problem>> {
        let sources = load::sources(file)?;
        checked::check(file, &sources)
    }

    /// The same for a text that is no file yet; `include` finds nothing.
    pub fn parse(file: &Path, text: &str) -> Result<Config, Vec<Problem>> {
        let source = load::parse(file, text.to_owned()).map_err(|problem| vec![problem])?;
        checked::check(file, &[source])
    }
}
