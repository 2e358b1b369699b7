//! `--placement transfer`: nsd becomes our secondary. Its lines, ours, and the key of both.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use domain::utils::base64;
use nix::unistd::User;
use ring::rand::{SecureRandom, SystemRandom};

use crate::dns::name::Name;

use super::super::failure::Failure;
use super::propose::Proposal;
use super::write::bare;
use super::{Setting, nsd_address};

/// The key's name, and that of its file; both sides say it.
const KEY: &str = "sidecar";
/// Octets of a new secret: as many as HMAC-SHA256 has use for.
const SECRET_LEN: usize = 32;
/// Where nsd fetches from us.
const PORT: u16 = 5353;

/// The file with the key's secret.
pub struct KeyFile {
    path: PathBuf,
    is_new: bool,
}

impl KeyFile {
    /// Beside the configuration; one that is there stays as it is. `user` will read it.
    pub fn provide(out: &Path, user: Option<&str>) -> Result<KeyFile, Failure> {
        let path = path_beside(out);
        let failed = |error: io::Error| Failure::usage(format!("cannot write {}: {error}", path.display()));
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o640).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(KeyFile { path, is_new: false }),
            file => file.map_err(failed)?,
        };
        let mut secret = [0; SECRET_LEN];
        SystemRandom::new().fill(&mut secret).expect("the system has random octets");
        let key = KeyFile { path: path.clone(), is_new: true };
        let written = writeln!(file, "{}", base64::encode_string(&secret)).and_then(|()| file.sync_all());
        let group = user.and_then(|user| User::from_name(user).ok().flatten()).map(|user| user.gid.as_raw());
        let given = written.and_then(|()| chown(&path, None, group));
        given.map_err(|error| {
            key.take_back();
            failed(error)
        })?;
        Ok(key)
    }

    /// Nothing came of it.
    pub fn take_back(&self) {
        if self.is_new {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn path_beside(out: &Path) -> PathBuf {
    out.with_file_name(format!("{KEY}.key"))
}

/// Where we hand the zones out: on loopback, in the family in which nsd is reached.
fn ours(setting: &Setting) -> SocketAddr {
    let nsd: SocketAddr = nsd_address(setting.nsd, setting.args.placement).parse().expect("it is written from one");
    let loopback: IpAddr = if nsd.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    SocketAddr::new(loopback, PORT)
}

/// The part of the configuration before the nodes.
pub fn head(setting: &Setting) -> String {
    format!(
        "\n# nsd fetches the zones here, and NOTIFY leaves from here.\nlisten = [\"{}\"]\n\
         \n# Signs what goes to and fro; nsd.conf has the same name and secret.\n\
         [key.{KEY}]\nsecret-file = \"{KEY}.key\"\n",
        ours(setting)
    )
}

/// What each zone says besides file and pool.
pub fn zone_lines(setting: &Setting) -> String {
    let nsd = nsd_address(setting.nsd, setting.args.placement);
    format!("key = \"{KEY}\"\nnotify = [\"{nsd}\"]\nallow-transfer = [\"{KEY}\"]\n")
}

/// What to do to nsd.
pub fn steps(setting: &Setting, proposal: &Proposal) -> String {
    let (conf, key) = (setting.nsd_conf.display(), path_beside(&setting.args.out));
    let folder = setting.nsd.zones_dir.join("secondary");
    let ours = ours(setting);
    let mut text = format!(
        "\nnsd becomes our secondary. Make a folder that nsd may write to, {}. Start nsd-failover first; then,\n\
         in {conf}, add the following. The entries of these zones replace those that are there (keep `provide-xfr`\n\
         and `notify` lines). In `secret` goes the text in {}.\n\
         \nserver:\n    xfrd-reload-timeout: 1\n    zonefiles-write: 60\n    xfrdfile: \"\"\n\
         key:\n    name: \"{KEY}\"\n    algorithm: hmac-sha256\n    secret: \"...\"\n",
        folder.display(),
        key.display()
    );
    for zone in &proposal.zones {
        let file = folder.join(file_name(&zone.origin));
        let _ = write!(
            text,
            "zone:\n    name: \"{}\"\n    zonefile: \"{}\"\n    request-xfr: {}@{} {KEY}\n    allow-notify: {} {KEY}\n",
            bare(&zone.origin),
            file.display(),
            ours.ip(),
            ours.port(),
            ours.ip()
        );
    }
    text += "\nThen restart nsd; docs/transfer.md tells the rest, and the way back.\n";
    text
}

fn file_name(origin: &Name) -> String {
    match bare(origin).as_str() {
        "." => "root.zone".to_owned(),
        bare => format!("{}.zone", bare.replace('/', "_")),
    }
}
