//! What the system keeps the daemon from once it has started, beside the rights of its user: landlock
//! on Linux, pledge and unveil on OpenBSD. What it may still reach follows from the configuration and
//! from what was loaded.
//!
//! Programs that we start inherit it on Linux, and with it no_new_privs: a set-uid `ping` or
//! `sendmail` does not work any more. What programs of the operator's own need cannot be known;
//! where the configuration runs some, nothing is confined unless it says `enabled = true`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::notify::{Url, Via, Way};
use crate::control::Exit;
use crate::health::check::{Header, Kind};

use super::failure::Failure;
use super::load::Loaded;

#[cfg(target_os = "linux")]
#[path = "landlock.rs"]
mod system;
#[cfg(target_os = "openbsd")]
#[path = "openbsd.rs"]
mod system;
#[cfg(not(any(target_os = "linux", target_os = "openbsd")))]
#[path = "none.rs"]
mod system;

/// What programs and libraries are made of, and what name resolution and TLS look at. What is not
/// there is left out.
const SYSTEM: [&str; 16] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc",
    "/opt",
    "/nix",
    "/proc",
    "/sys",
    "/dev",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/nscd",
    "/var/nsd/etc",
];
/// Where OpenSSL, and with it rustls-platform-verifier, is told to look for authorities.
const TRUST_VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The way out of a reload that needs more than the start did.
const AGAIN: &str = "the running daemon is confined to what its configuration needed when it started: restart it";

/// The paths that the daemon needs; everything below a folder is meant.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reach {
    /// `None`: whatever the user may read, since programs of the operator's own are run.
    pub read: Option<BTreeSet<PathBuf>>,
    pub write: BTreeSet<PathBuf>,
    /// The folder of the control socket, which goes when we end.
    pub unlink: PathBuf,
    /// Programs that are run, as they are found in `PATH`.
    pub programs: BTreeSet<PathBuf>,
}

/// What became of it.
pub enum Confined {
    /// Nothing is given up, and why.
    No(String),
    /// Only this may be reached, for as long as the process lives; the words are for the log.
    To(Reach, String),
}

/// Gives up everything that neither the configuration nor what was loaded needs. Must be called
/// before there are other threads: only the calling one and its children are confined. `unfinished`:
/// files that have to be put right after a crash.
pub fn apply(config: &Config, loaded: &Loaded, unfinished: &[PathBuf]) -> Result<Confined, Failure> {
    let own = own_programs(config);
    match config.process.confine.enabled {
        Some(false) => return Ok(Confined::No("[confine] says so".to_owned())),
        None if !own.is_empty() && system::IS_INHERITED => {
            let advice = "they would inherit it; `[confine] enabled = true` does it all the same";
            return Ok(Confined::No(format!("the configuration runs {}: {advice}", own.join(", "))));
        }
        _ => {}
    }
    let mut reach = Reach::new(config, loaded);
    reach.write.extend(unfinished.iter().flat_map(|file| homes(file)));
    system::apply(&reach).map(|words| match words {
        Ok(words) => {
            let words = format!("{words}: may write to {}; {}", list(&reach.write), reading(&reach));
            Confined::To(reach, words)
        }
        Err(why) => Confined::No(why),
    })
}

impl Confined {
    /// Whether what a reload has read can be worked with; the failure says what cannot be reached.
    pub fn suffices(&self, config: &Config, loaded: &Loaded) -> Result<(), Failure> {
        let Confined::To(reach, _) = self else { return Ok(()) };
        let mut lines = reach.lacks(&Reach::new(config, loaded));
        if lines.is_empty() {
            return Ok(());
        }
        lines.push(AGAIN.to_owned());
        Err(Failure::new(Exit::Usage, lines))
    }

    /// A failure to read is perhaps no question of the file's own permissions.
    pub fn explain(&self, failure: Failure) -> Failure {
        let denied = failure.lines().iter().any(|line| line.contains("Permission denied"));
        if !denied || matches!(self, Confined::No(_)) {
            return failure;
        }
        let lines = failure.lines().iter().cloned().chain([AGAIN.to_owned()]).collect();
        Failure::new(failure.exit, lines)
    }
}

impl Reach {
    /// What a configuration and the zones that it led to need.
    pub fn new(config: &Config, loaded: &Loaded) -> Reach {
        let confine = &config.process.confine;
        let mut write: BTreeSet<PathBuf> = confine.write.iter().cloned().collect();
        write.insert(config.state_dir.clone());
        let exported = loaded.zones.iter().filter(|zone| zone.config.export_file.is_some());
        for zone in exported {
            // Another file than the operator's holds what is included.
            let in_place = zone.config.export_file.as_ref() == Some(&zone.config.file);
            let included = zone.included.iter().filter(|_| in_place).map(PathBuf::as_path);
            let files = zone.config.export_file.iter().map(PathBuf::as_path).chain(included);
            files.for_each(|file| write.extend(homes(file)));
        }
        let unlink = Path::new(".").join(config.control.parent().unwrap_or(Path::new("/")));
        let limited = own_programs(config).is_empty() || !system::IS_INHERITED;
        let read = limited.then(|| files_read(config, loaded).iter().flat_map(|file| homes(file)).collect());
        let read = read.map(|mut read: BTreeSet<PathBuf>| {
            read.extend(SYSTEM.iter().map(PathBuf::from).chain(config.folders.iter().cloned()));
            read.extend(confine.read.iter().cloned());
            read
        });
        Reach { read, write, unlink, programs: argvs(config).filter_map(|argv| in_path(argv.first()?)).collect() }
    }

    /// What `wanted` needs beyond this, a line each.
    pub fn lacks(&self, wanted: &Reach) -> Vec<String> {
        let inside = |path: &Path, reach: &BTreeSet<PathBuf>| {
            let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            reach.iter().any(|folder| {
                let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.clone());
                real.starts_with(folder)
            })
        };
        let mut lines = Vec::new();
        for path in wanted.write.iter().filter(|path| !inside(path, &self.write)) {
            lines.push(format!("{}: the running daemon has given up writing there", path.display()));
        }
        match (&self.read, &wanted.read) {
            (None, _) => {}
            (Some(_), None) => {
                lines.push("programs of your own would run confined to what the old configuration needs".to_owned());
            }
            (Some(mine), Some(theirs)) => {
                for path in theirs.iter().filter(|path| path.exists() && !inside(path, mine)) {
                    lines.push(format!("{}: the running daemon has given up reading there", path.display()));
                }
            }
        }
        lines
    }
}

/// The folder of a file, and that of the file it is a link to.
fn homes(file: &Path) -> Vec<PathBuf> {
    let real = std::fs::canonicalize(file).ok();
    // A relative one counts from where we were started.
    let folder = |file: &Path| file.parent().map(|folder| Path::new(".").join(folder));
    [folder(file), real.as_deref().and_then(folder)].into_iter().flatten().collect()
}

/// Files that are read again and again, each possibly another one under the same name by then.
fn files_read(config: &Config, loaded: &Loaded) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = vec![config.file.clone()];
    for zone in &loaded.zones {
        files.push(zone.config.file.clone());
        files.push(zone.config.include_dir.join("any"));
        files.extend(zone.included.iter().cloned());
    }
    files.extend(config.keys.iter().map(|key| key.secret_file.clone()));
    files.extend(config.tls.iter().flat_map(|tls| [tls.cert.clone(), tls.key.clone()]));
    if let crate::config::dns::Cookies::File(path) = &config.dns.cookies {
        files.push(path.clone());
    }
    for check in &config.checks {
        files.extend(check.kind.certificates().and_then(|certificates| certificates.ca_file.clone()));
        if let Kind::Http(http) = &check.kind {
            files.extend(http.headers.iter().filter_map(|(_, value)| match value {
                Header::File(file) => Some(file.clone()),
                Header::Text(_) => None,
            }));
        }
        if let Kind::File(file) = &check.kind {
            // `{node}` and the like may stand for a folder, too.
            let plain = file.path.iter().take_while(|part| !part.to_string_lossy().contains('{'));
            files.push(plain.collect::<PathBuf>().join("any"));
        }
    }
    for notify in &config.notify {
        match &notify.way {
            Way::Mail { via: Via::Smtp { ca_file, login, .. }, .. } => {
                files.extend(ca_file.iter().chain(login.iter().map(|(_, file)| file)).cloned());
            }
            Way::Webhook { url, token_file, ca_file, .. } => {
                files.extend(token_file.iter().chain(ca_file).cloned());
                if let Url::File(file) = url {
                    files.push(file.clone());
                }
            }
            Way::Mail { via: Via::Sendmail(_), .. } | Way::Exec(_) => {}
        }
    }
    // `nsd-control -c FILE`, and keys beside it.
    files.extend(argvs(config).flatten().filter(|word| word.starts_with('/')).map(PathBuf::from));
    files.extend(TRUST_VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from));
    files
}

/// Programs whose needs we do not know, as people call them.
fn own_programs(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for check in &config.checks {
        if let Kind::Exec(_) = &check.kind {
            found.push(format!("check `{}`", check.name));
        }
    }
    for notify in &config.notify {
        if let Way::Exec(_) | Way::Mail { via: Via::Sendmail(_), .. } = &notify.way {
            found.push(format!("notify `{}`", notify.name));
        }
    }
    for (argv, usual) in nsd_tools(config) {
        let name = argv.first().map(Path::new).and_then(Path::file_name);
        if name.is_some_and(|name| name != usual) {
            found.push(argv[0].clone());
        }
    }
    found
}

/// What we run of nsd's, and the name that it usually has.
fn nsd_tools(config: &Config) -> impl Iterator<Item = (&Vec<String>, &'static str)> {
    config.nsd.iter().flat_map(|nsd| {
        let control = nsd.control_socket.is_none().then_some((&nsd.control, "nsd-control"));
        control.into_iter().chain([(&nsd.checkzone, "nsd-checkzone")])
    })
}

fn argvs(config: &Config) -> impl Iterator<Item = &Vec<String>> {
    let checks = config.checks.iter().filter_map(|check| match &check.kind {
        Kind::Exec(exec) => Some(&exec.argv),
        _ => None,
    });
    let told = config.notify.iter().filter_map(|notify| match &notify.way {
        Way::Exec(argv) | Way::Mail { via: Via::Sendmail(argv), .. } => Some(argv),
        _ => None,
    });
    checks.chain(told).chain(nsd_tools(config).map(|(argv, _)| argv))
}

/// Where a program lies.
fn in_path(program: &String) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn list(paths: &BTreeSet<PathBuf>) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn reading(reach: &Reach) -> &'static str {
    match reach.read {
        Some(_) => "reads only the system, and what the configuration names",
        None => "reads what its user may, since it runs programs of yours",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(read: Option<&[&str]>, write: &[&str]) -> Reach {
        let set = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        Reach { read: read.map(set), write: set(write), ..Reach::default() }
    }

    #[test]
    fn what_lies_outside_is_named() {
        let now = reach(Some(&["/usr"]), &["/usr/share"]);
        assert_eq!(now.lacks(&now), Vec::<String>::new());
        assert_eq!(now.lacks(&reach(Some(&["/usr/bin"]), &["/usr/share/doc"])), Vec::<String>::new());
        let told = now.lacks(&reach(Some(&["/usr", "/etc"]), &["/usr/lib"]));
        assert_eq!(
            told,
            [
                "/usr/lib: the running daemon has given up writing there",
                "/etc: the running daemon has given up reading there"
            ]
        );
        assert_eq!(now.lacks(&reach(None, &[])).len(), 1, "programs cannot read what we cannot");
        assert!(reach(None, &[]).lacks(&reach(Some(&["/etc"]), &[])).is_empty());
    }

    #[test]
    fn only_nsd_s_own_tools_are_known() {
        let config = |text: &str| Config::parse(Path::new("/x/c.toml"), text).unwrap();
        let own = |text: &str| own_programs(&config(text));
        assert_eq!(own("[nsd]\ncontrol = [\"/opt/sbin/nsd-control\", \"-c\", \"/x/nsd.conf\"]"), Vec::<String>::new());
        assert_eq!(own("[nsd]\ncheckzone = [\"sudo\", \"nsd-checkzone\"]"), ["sudo"]);
        assert_eq!(own("[notify.a]\nmail = \"a@b\""), ["notify `a`"]);
        assert_eq!(own("[notify.a]\nmail = \"a@b\"\nsmtp = \"localhost\""), Vec::<String>::new());
        assert_eq!(own("[check.c]\nexec = [\"check_x\", \"{ip}\"]"), ["check `c`"]);
    }
}
