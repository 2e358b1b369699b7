//! The configuration: two types, what the file says ([`file::File`]) and what was checked
//! ([`Config`]). Everything behind this room trusts the second.

mod checked;
pub mod dns;
pub mod file;
mod load;
pub mod problem;
pub mod value;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::dns::name::Name;
use crate::export::serial::SerialScheme;
use crate::failover::pool::Pool;
use crate::health::check::Check;

use problem::Problem;

/// Where the configuration is looked for without `--config` and `NSD_FAILOVER_CONFIG`.
pub const DEFAULT_FILE: &str = "/etc/nsd-failover/nsd-failover.toml";
/// Names the configuration file.
pub const FILE_VARIABLE: &str = "NSD_FAILOVER_CONFIG";
pub const DEFAULT_CONTROL: &str = "/run/nsd-failover/control.sock";
pub const DEFAULT_STATE_DIR: &str = "/var/lib/nsd-failover";

/// A configuration in which every name resolves and every value is in range.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Addresses for DNS over UDP and TCP; empty: do not serve.
    pub listen: Vec<SocketAddr>,
    /// The read-only HTTP listener; absent: off.
    pub http: Option<SocketAddr>,
    /// The control socket.
    pub control: PathBuf,
    pub state_dir: PathBuf,
    pub nsd: Option<Nsd>,
    pub dns: dns::Dns,
    /// Absent: answers are not limited.
    pub rrl: Option<dns::Rrl>,
    /// Absent: no encrypted transport.
    pub tls: Option<dns::Tls>,
    pub pools: Vec<Pool>,
    pub checks: Vec<Check>,
    pub zones: Vec<Zone>,
}

/// The nsd beside us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nsd {
    /// Where it answers: to verify, and to relay.
    pub address: SocketAddr,
    /// Whether questions that are not ours go there.
    pub relay: bool,
    /// Whether it is told who asks, by the PROXY protocol (nsd 4.8 and later).
    pub proxy_protocol: bool,
    /// `nsd-control` with its arguments.
    pub control: Vec<String>,
    /// `nsd-checkzone` with its arguments.
    pub checkzone: Vec<String>,
}

/// A zone that we look after.
#[derive(Clone, Debug)]
pub struct Zone {
    pub origin: Name,
    pub file: PathBuf,
    /// The pool of tags without `pool=`: an index into [`Config::pools`].
    pub pool: Option<usize>,
    pub serve: Serve,
    /// The file that nsd loads and that an export replaces; absent: no export.
    pub export_file: Option<PathBuf>,
    pub serial: SerialScheme,
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

    /// The same for a text that is not a file; `include` finds nothing. For tests and fuzzing.
    pub fn parse(file: &Path, text: &str) -> Result<Config, Vec<Problem>> {
        let source = load::parse(file, text.to_owned()).map_err(|problem| vec![problem])?;
        checked::check(file, &[source])
    }
}
