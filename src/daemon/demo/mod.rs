//! The demo: two fake hosts, a zone and the real daemon, all on loopback and in one process.
//!
//! The folder it makes holds an ordinary configuration, so that every other verb works on it from
//! another terminal. `demo break` and `demo mend` reach the hosts by a socket in that folder.

mod hosts;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::config::Config;

use super::cli;
use super::confine::Confined;
use super::failure::Failure;
use super::ground::Ground;
use super::inherit::Inherited;
use super::serving::Serving;
use hosts::Host;

const FISHFINGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const BLOWFISH: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 12);
/// Longest request on the demo's socket, in octets.
const REQUEST_MAX: u64 = 256;

/// Runs the demo until it is interrupted.
pub async fn run(args: &cli::Demo) -> Result<(), Failure> {
    let folder = Folder::create(args.dns)?;
    let mut hosts = start_hosts()?;
    let port = hosts.port;
    fs::write(folder.zone(), zone_text()).and_then(|()| fs::write(folder.config(), config_text(args, port)))?;
    let config = Config::load(&folder.config()).map_err(Failure::from)?;
    let listener = UnixListener::bind(folder.socket())?;

    let ready = || println!("{}", instructions(args, &folder));
    let serving = Serving::bind(&config, &mut Inherited::default(), None)?;
    let ground = Ground::prepare(config, serving, None, false).await?;
    let confined = Confined::No("it is a demo".to_owned());
    tokio::select! {
        ended = super::run::run(ground, confined, super::run::interrupted(), ready) => ended,
        ended = hosts.obey(listener) => Err(ended.into()),
    }
}

/// Sends `demo break` or `demo mend` to the running demo.
pub async fn send(dns: SocketAddr, action: &cli::DemoAction) -> Result<String, Failure> {
    let folder = Folder::of(dns);
    let (verb, node) = match action {
        cli::DemoAction::Break { node } => ("break", node),
        cli::DemoAction::Mend { node } => ("mend", node),
    };
    let unreachable = |error: io::Error| {
        Failure::unreachable(format!("no demo is running on {dns} ({error}); start one with `nsd-failover demo`"))
    };
    let mut stream = UnixStream::connect(folder.socket()).await.map_err(unreachable)?;
    stream.write_all(format!("{verb} {node}\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", text)) => Ok(text.to_owned()),
        Some((_, text)) => Err(Failure::failed(text)),
        None => Err(Failure::failed("the demo did not answer")),
    }
}

/// The demo's files, removed when it ends.
struct Folder(PathBuf);

impl Folder {
    /// One for each DNS address, so that several demos can run side by side.
    fn of(dns: SocketAddr) -> Folder {
        let name = format!("nsd-failover-demo-{}", dns.to_string().replace([':', '[', ']'], "-"));
        Folder(std::env::temp_dir().join(name))
    }

    /// Makes the folder, ours alone. A leftover of a demo that was killed is taken away.
    fn create(dns: SocketAddr) -> Result<RunningFolder, Failure> {
        let folder = Folder::of(dns);
        if std::os::unix::net::UnixStream::connect(folder.socket()).is_ok() {
            return Err(Failure::usage(format!(
                "a demo is already running on {dns}; stop it, or choose another --dns and --http"
            )));
        }
        let path = &folder.0;
        let in_the_way = |error: io::Error| {
            Failure::usage(format!(
                "cannot use the folder {}: {error}; remove it, or set TMPDIR to another place",
                path.display()
            ))
        };
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(path).map_err(in_the_way)?,
            Ok(_) => fs::remove_file(path).map_err(in_the_way)?,
            Err(_) => {}
        }
        fs::DirBuilder::new().mode(0o700).create(path).map_err(in_the_way)?;
        Ok(RunningFolder(folder))
    }

    fn config(&self) -> PathBuf {
        self.0.join("nsd-failover.toml")
    }

    fn zone(&self) -> PathBuf {
        self.0.join("demo.example.zone")
    }

    fn socket(&self) -> PathBuf {
        self.0.join("demo.sock")
    }
}

/// The folder of the demo that runs in this process.
struct RunningFolder(Folder);

impl std::ops::Deref for RunningFolder {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.0
    }
}

impl Drop for RunningFolder {
    fn drop(&mut self) {
        // Nothing to do about a failure: the next demo takes the leftovers away.
        drop(fs::remove_dir_all(&self.0.0));
    }
}

struct Hosts {
    port: u16,
    hosts: Vec<Host>,
}

/// Over IPv4 alone: the loopback has one IPv6 address, and two hosts need two.
fn start_hosts() -> Result<Hosts, Failure> {
    let [fishfinger, blowfish] = [FISHFINGER, BLOWFISH].map(IpAddr::V4);
    let explain = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrNotAvailable => Failure::usage(format!(
            "{FISHFINGER} and {BLOWFISH} are not on this system's loopback; add them as root: ifconfig lo0 alias {FISHFINGER}/32; ifconfig lo0 alias {BLOWFISH}/32"
        )),
        _ => Failure::failed(format!("cannot start the demo's hosts: {error}")),
    };
    let port = hosts::common_port(&[fishfinger, blowfish]).map_err(explain)?;
    let mut hosts = vec![Host::new("fishfinger", fishfinger, port), Host::new("blowfish", blowfish, port)];
    for host in &mut hosts {
        host.mend().map_err(explain)?;
    }
    Ok(Hosts { port, hosts })
}

impl Hosts {
    /// Carries out `break NODE` and `mend NODE`, a line each; returns only when the socket fails.
    async fn obey(&mut self, listener: UnixListener) -> io::Error {
        loop {
            let (stream, _) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => return error,
            };
            let (read, mut write) = stream.into_split();
            let mut line = String::new();
            // A client that goes away in the middle is its own loss.
            let _ = BufReader::new(read.take(REQUEST_MAX)).read_line(&mut line).await;
            let answer = match self.carry_out(line.trim_end()).await {
                Ok(text) => format!("ok {text}\n"),
                Err(text) => format!("error {text}\n"),
            };
            let _ = write.write_all(answer.as_bytes()).await;
        }
    }

    async fn carry_out(&mut self, line: &str) -> Result<String, String> {
        let (verb, node) = line.split_once(' ').ok_or("say `break NODE` or `mend NODE`")?;
        let names: Vec<&str> = self.hosts.iter().map(|host| host.name).collect();
        let Some(host) = self.hosts.iter_mut().find(|host| host.name == node) else {
            return Err(format!("there is no node `{node}`; there are {}", names.join(" and ")));
        };
        match (verb, host.is_up()) {
            ("break", false) => Ok(format!("{node} was down already")),
            ("break", true) => {
                host.crash().await;
                Ok(format!("{node} refuses connections now; watch the answers move"))
            }
            ("mend", true) => Ok(format!("{node} was up already")),
            ("mend", false) => match host.mend() {
                Ok(()) => Ok(format!("{node} answers again; it takes over after 5 s (preempt)")),
                Err(error) => Err(format!("{node} cannot start: {error}")),
            },
            _ => Err("say `break NODE` or `mend NODE`".to_owned()),
        }
    }
}

fn zone_text() -> String {
    format!(
        "$ORIGIN demo.example.\n\
         $TTL 1h\n\
         @        IN SOA ns.demo.example. hostmaster.demo.example. (\n\
        \x20                1         ; serial\n\
        \x20                1h        ; refresh\n\
        \x20                30m       ; retry\n\
        \x20                7d        ; expire\n\
        \x20                5m )      ; negative\n\
        \x20        IN NS  ns.demo.example.\n\
         ns       IN A   127.0.0.1\n\
         \n\
         @        300 IN A    {FISHFINGER}  ; Enable failover\n\
         www      300 IN A    {FISHFINGER}  ; Enable failover\n\
         standby  300 IN A    {BLOWFISH}  ; Enable failover\n\
         \n\
         static   300 IN A    192.0.2.1\n"
    )
}

fn config_text(args: &cli::Demo, port: u16) -> String {
    format!(
        r#"version   = 1
listen    = ["{dns}"]
http      = "{http}"
control   = "control.sock"
state-dir = "state"

[node.fishfinger]
ipv4 = "{FISHFINGER}"

[node.blowfish]
ipv4 = "{BLOWFISH}"

[check.web]
http          = "http://{{node}}:{port}/index.txt"
expect        = "Welcome to {{node}}"
interval      = "1s"
fast-interval = "250ms"
timeout       = "1s"
rise          = 2
fall          = 3

[pool.web]
nodes   = ["fishfinger", "blowfish"]
checks  = ["web"]
preempt = "5s"

[zone."demo.example"]
file = "demo.example.zone"
pool = "web"
"#,
        dns = args.dns,
        http = args.http,
    )
}

fn instructions(args: &cli::Demo, folder: &Folder) -> String {
    let (ip, port) = (args.dns.ip(), args.dns.port());
    let dns = if args.dns == SocketAddr::from((Ipv4Addr::LOCALHOST, 5353)) {
        String::new()
    } else {
        format!(" --dns {}", args.dns)
    };
    let config = Path::display(&folder.0);
    format!(
        "
  Two hosts serve a page: fishfinger on {FISHFINGER} (primary) and blowfish on {BLOWFISH} (standby).

  Ask:    dig @{ip} -p {port} www.demo.example +noall +answer
  Break:  nsd-failover demo{dns} break fishfinger      (from another terminal)
          Three probes fail within about a second; then `www` answers {BLOWFISH},
          `standby` answers {FISHFINGER}, in one step.
  Mend:   nsd-failover demo{dns} mend fishfinger
          Five seconds after it is up again, it is primary again.
  Look:   http://{http}/
          nsd-failover status --config {config}/nsd-failover.toml
  Stop:   Ctrl-C
",
        http = args.http,
    )
}
