//! The command line: verbs, their arguments and their help. What a verb does stands elsewhere.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{DEFAULT_FILE, FILE_VARIABLE};
use crate::dns::name::Name;

/// DNS failover beside nsd: health checks move the answers from memory, nsd keeps a checked copy.
#[derive(Debug, Parser)]
#[command(name = "nsd-failover", version, about, max_term_width = 100)]
#[command(after_help = "Exit status: 0 ok, 1 failed, 2 usage or configuration, 3 the daemon cannot be reached.")]
pub struct Cli {
    /// The configuration file; a client finds the control socket there
    #[arg(long, global = true, value_name = "FILE", env = FILE_VARIABLE, default_value = DEFAULT_FILE)]
    pub config: PathBuf,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Two fake hosts, a zone and a server on loopback, to watch a failover
    #[command(
        after_help = "Example:\n  nsd-failover demo\n  nsd-failover demo break fishfinger    (from another terminal)"
    )]
    Demo(Demo),

    /// Run the daemon in the foreground
    #[command(after_help = "Example:\n  nsd-failover run --config /etc/nsd-failover/nsd-failover.toml")]
    Run,

    /// Check the configuration and every zone; exit 0 or 2
    #[command(after_help = "Example:\n  nsd-failover check --config nsd-failover.toml")]
    Check,

    /// Check one zone file; exit 0 or 1
    #[command(after_help = "Example:\n  nsd-failover check-zone example.org example.org.zone")]
    CheckZone {
        /// The zone's name
        origin: Name,
        /// The zone file
        file: PathBuf,
        /// Write the file back to stdout, byte for byte as it was read
        #[arg(long)]
        print: bool,
    },

    /// Print a zone file as it would be exported
    #[command(after_help = "Example:\n  nsd-failover render --zone example.org --primary blowfish")]
    Render {
        /// The zone's name
        #[arg(long, value_name = "ORIGIN")]
        zone: Name,
        /// The node that is to be primary in its pools
        #[arg(long, value_name = "NODE")]
        primary: String,
        /// The serial to write; by default the next one of the zone's scheme
        #[arg(long)]
        serial: Option<u32>,
    },

    /// Who is primary, since when, and why
    #[command(after_help = "Example:\n  nsd-failover status --json | jq .pools")]
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// As a Nagios plugin: one line with perfdata; exit 0 ok, 1 warning, 2 critical, 3 unknown
        #[arg(long, conflicts_with = "json")]
        nagios: bool,
    },

    /// Make NODE primary and hold it there; returns when it is served
    #[command(after_help = "Example:\n  nsd-failover switch web blowfish --for 2h --reason \"kernel update\"")]
    Switch {
        pool: String,
        node: String,
        #[command(flatten)]
        order: OrderArgs,
    },

    /// Hold a pool as it is
    #[command(after_help = "Example:\n  nsd-failover hold web --for 30m")]
    Hold {
        pool: String,
        #[command(flatten)]
        order: OrderArgs,
    },

    /// Take a switch or hold back
    #[command(after_help = "Example:\n  nsd-failover release web")]
    Release {
        pool: String,
        #[command(flatten)]
        order: ReasonArgs,
    },

    /// Make a node not eligible in any pool
    #[command(after_help = "Example:\n  nsd-failover drain fishfinger --reason \"disk swap\"")]
    Drain {
        node: String,
        #[command(flatten)]
        order: OrderArgs,
    },

    /// Take a drain back
    #[command(after_help = "Example:\n  nsd-failover ready fishfinger")]
    Ready {
        node: String,
        #[command(flatten)]
        order: ReasonArgs,
    },

    /// Bring the zones to nsd now; returns when it serves them
    #[command(after_help = "Example:\n  nsd-failover export example.org")]
    Export {
        /// One zone; by default all that have an export
        zone: Option<String>,
    },

    /// Put the last good generation of a zone back, with a new serial
    #[command(after_help = "Example:\n  nsd-failover rollback example.org")]
    Rollback { zone: String },

    /// The last transitions and exports
    #[command(after_help = "Example:\n  nsd-failover log -n 5")]
    Log {
        /// How many, the newest last
        #[arg(short = 'n', default_value_t = 20)]
        count: usize,
        /// As JSON, one entry a line
        #[arg(long)]
        json: bool,
    },

    /// Load the configuration and the zones again; the running daemon keeps the old on any error
    #[command(after_help = "Example:\n  nsd-failover reload")]
    Reload,
}

#[derive(Args, Debug)]
pub struct OrderArgs {
    /// The order ends by itself after this time ("30m", "2h", "1d")
    #[arg(long = "for", value_name = "TIME", value_parser = crate::config::value::duration_ms)]
    pub for_ms: Option<u64>,
    #[command(flatten)]
    pub reason: ReasonArgs,
}

#[derive(Args, Debug)]
pub struct ReasonArgs {
    /// Why: it stands in the status, the log and the notifications
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Args, Debug)]
pub struct Demo {
    /// Where to answer DNS
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5353")]
    pub dns: SocketAddr,
    /// Where to show the status page
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8053")]
    pub http: SocketAddr,
    #[command(subcommand)]
    pub action: Option<DemoAction>,
}

#[derive(Debug, Subcommand)]
pub enum DemoAction {
    /// Take one of the demo's hosts down
    Break { node: String },
    /// Bring it back
    Mend { node: String },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_an_example() {
        for verb in Cli::command().get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("nsd-failover {}", verb.get_name())), "{}", verb.get_name());
        }
    }

    #[test]
    fn times_are_read_like_the_configuration_s() {
        let cli = Cli::parse_from(["nsd-failover", "switch", "web", "blowfish", "--for", "2h"]);
        let Verb::Switch { order, .. } = cli.verb else { panic!("{cli:?}") };
        assert_eq!(order.for_ms, Some(7_200_000));
        assert!(Cli::try_parse_from(["nsd-failover", "hold", "web", "--for", "2 parsecs"]).is_err());
    }
}
