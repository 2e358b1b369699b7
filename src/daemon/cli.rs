//! The command line: verbs, their arguments and their help. What a verb does stands elsewhere.

use std::net::{IpAddr, SocketAddr};
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
    Run {
        /// Decide and tell, but publish nothing; the log says where a zone file differs from our decision
        #[arg(long)]
        shadow: bool,
    },

    /// Check the configuration and every zone; exit 0 or 2
    #[command(
        after_help = "Example:\n  nsd-failover check --config nsd-failover.toml\n  nsd-failover check --json | jq -r .problems[]"
    )]
    Check {
        #[command(flatten)]
        form: Form,
    },

    /// Check one zone file; exit 0 or 1
    #[command(after_help = "Example:\n  nsd-failover check-zone example.org example.org.zone")]
    CheckZone {
        /// The zone's name
        origin: Name,
        /// The zone file
        file: PathBuf,
        /// Where relative $INCLUDE names count from; by default what the configuration says of this
        /// file, else the file's own folder
        #[arg(long, value_name = "DIR")]
        include_dir: Option<PathBuf>,
        /// Write the file back to stdout, byte for byte as it was read
        #[arg(long, conflicts_with = "json")]
        print: bool,
        #[command(flatten)]
        form: Form,
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

    /// The same as `status` as a live screen; q ends it
    #[command(after_help = "Example:\n  nsd-failover watch")]
    Watch,

    /// Who is primary, since when, and why
    #[command(after_help = "Example:\n  nsd-failover status --json | jq .pools")]
    Status {
        #[command(flatten)]
        form: Form,
        /// As a Nagios plugin: one line with perfdata; exit 0 ok, 1 warning, 2 critical, 3 unknown
        #[arg(long, conflicts_with = "json")]
        nagios: bool,
    },

    /// Why a pool is as it is, and what would change it
    #[command(after_help = "Example:\n  nsd-failover explain web")]
    Explain {
        pool: String,
        #[command(flatten)]
        form: Form,
    },

    /// Run the checks of a node once and show every step; needs no daemon. Exit 1 if one is bad
    #[command(after_help = "Example:\n  nsd-failover probe fishfinger.example.org web")]
    Probe {
        node: String,
        /// One check; by default all that its pools use
        check: Option<String>,
        #[command(flatten)]
        form: Form,
    },

    /// Probe until a decision is made, and show what it would change; changes nothing
    #[command(after_help = "Example:\n  nsd-failover plan --config new.toml")]
    Plan {
        #[command(flatten)]
        form: Form,
    },

    /// Run recorded probes through this configuration: what would have moved, and when?
    #[command(
        after_help = "Example:\n  nsd-failover replay --config other.toml --log /var/lib/nsd-failover/probes.jsonl"
    )]
    Replay {
        /// The record: `probes.jsonl` in the state directory; `log.jsonl` beside it tells what did move
        #[arg(long, value_name = "FILE")]
        log: PathBuf,
        #[command(flatten)]
        form: Form,
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
        #[arg(conflicts_with = "all")]
        zone: Option<String>,
        /// All zones that have an export
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        form: Form,
    },

    /// Put the last good generation of a zone back, with a new serial, and hold its exports
    #[command(
        after_help = "Example:\n  nsd-failover rollback example.org\n  nsd-failover export example.org    (ends the hold)"
    )]
    Rollback {
        zone: String,
        /// The serial of the generation to go back to, as `generations` shows it
        #[arg(long, value_name = "SERIAL")]
        to: Option<u32>,
        #[command(flatten)]
        form: Form,
    },

    /// The kept generations of a zone file, newest first
    #[command(after_help = "Example:\n  nsd-failover generations example.org")]
    Generations {
        zone: String,
        #[command(flatten)]
        form: Form,
    },

    /// The way back to plain nsd: write the current roles into the zone files, have nsd load them,
    /// and say what to remove
    #[command(after_help = "Example:\n  nsd-failover eject")]
    Eject {
        /// Where to write the zones that nsd does not have yet
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        to: PathBuf,
    },

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

    /// Exit 0 if NODE serves NAME now, else 1 and who does; 2 if there is no such node or failover name
    #[command(
        after_help = "Example:\n  nsd-failover is-primary fishfinger www.example.org && acme-client www.example.org\n\nScripts: conf/certificates, docs/certificates.md"
    )]
    IsPrimary {
        node: String,
        /// A failover name; `standby` names count for the node that is standby
        name: Name,
        #[command(flatten)]
        form: Form,
    },

    /// Write a configuration from an nsd.conf and the tags in its zones
    #[command(
        after_help = "Example:\n  nsd-failover init --nsd-conf /etc/nsd/nsd.conf --http 'https://{node}/index.txt' --expect 'Welcome to {node}'"
    )]
    Init(Init),

    /// Print the completion script for a shell
    #[command(after_help = "Example:\n  nsd-failover completions bash > /etc/bash_completion.d/nsd-failover")]
    Completions { shell: clap_complete::Shell },

    /// Print the manual page, or write one for each verb
    #[command(after_help = "Example:\n  nsd-failover man --folder /usr/local/share/man/man1")]
    Man {
        /// Write the pages of all verbs into this folder
        #[arg(long)]
        folder: Option<PathBuf>,
    },

    /// Try the notifications
    #[command(after_help = "Example:\n  nsd-failover notify test\n  nsd-failover notify test phone")]
    Notify {
        #[command(subcommand)]
        action: NotifyAction,
    },

    /// Load the configuration and the zones again; the running daemon keeps the old on any error
    #[command(after_help = "Example:\n  nsd-failover reload")]
    Reload {
        #[command(flatten)]
        form: Form,
    },
}

/// How the result is printed.
#[derive(Args, Clone, Copy, Debug)]
pub struct Form {
    /// Print the result as JSON (docs/json.md)
    #[arg(long)]
    pub json: bool,
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
    #[command(flatten)]
    pub form: Form,
}

#[derive(Args, Debug)]
pub struct Init {
    /// nsd's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/nsd/nsd.conf")]
    pub nsd_conf: PathBuf,
    /// Where to write ours
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub out: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
    /// Who answers on port 53: nsd ("file"), we with nsd behind us ("front"), nsd with zones that it fetches from us ("transfer"), or each on its own address, we for a subzone ("delegated")
    #[arg(long, value_enum, default_value_t = Placement::File)]
    pub placement: Placement,
    /// The zone that is delegated to us
    #[arg(long, value_name = "NAME", required_if_eq("placement", "delegated"))]
    pub subzone: Option<Name>,
    /// An address of our own for the subzone, with port 53 free; may be repeated
    #[arg(long, value_name = "ADDR", required_if_eq("placement", "delegated"))]
    pub address: Vec<IpAddr>,
    /// The page that each host must serve; `{node}` is the host
    #[arg(long, value_name = "URL")]
    pub http: Option<String>,
    /// Text that the page must contain; `{node}` is the host
    #[arg(long, value_name = "TEXT", requires = "http")]
    pub expect: Option<String>,
    /// Turn the order of preference each week
    #[arg(long)]
    pub rotate: bool,
    /// A node that the zones do not tell of, or another name for one; may be repeated
    #[arg(long, value_name = "NAME=ADDR[,ADDR]", value_parser = node_address)]
    pub node: Vec<NodeAddress>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Placement {
    File,
    Front,
    Transfer,
    Delegated,
}

/// `NAME=ADDR[,ADDR]`.
#[derive(Clone, Debug)]
pub struct NodeAddress {
    pub name: String,
    pub addresses: Vec<IpAddr>,
}

fn node_address(text: &str) -> Result<NodeAddress, String> {
    let (name, list) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=ADDR or NAME=ADDR,ADDR")?;
    let parse = |address: &str| address.parse().map_err(|_| format!("`{address}` is no IP address"));
    Ok(NodeAddress { name: name.to_owned(), addresses: list.split(',').map(parse).collect::<Result<_, _>>()? })
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
pub enum NotifyAction {
    /// Send a test record to each destination and say what became of it; needs no daemon. Exit 1 if
    /// one is not delivered
    #[command(after_help = "Example:\n  nsd-failover notify test")]
    Test {
        /// One destination; by default all
        name: Option<String>,
    },
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
