//! What the process is: whom it becomes, what it gives up, where its log goes; and which files must
//! be nobody else's.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::director::status::CertDays;

use super::checked::Checker;
use super::file;
use super::load::{Source, beside};

/// What to do about a secret that is open to everybody.
pub const SECRET_HINT: &str = "chmod 640, and give it to the user who runs this";
/// Nobody renews ten years ahead.
const CERT_DAYS_MAX: u32 = 3_650;

/// The process as an operator wants it; fixed at its start.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Process {
    /// The user that a daemon started by root becomes; absent: it stays who it is.
    pub user: Option<String>,
    /// The group; absent: the user's own.
    pub group: Option<String>,
    pub confine: Confine,
    pub log: LogTo,
    pub log_format: LogFormat,
}

/// `[confine]`: what the system keeps the daemon from, beside the rights of its user.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Confine {
    /// Absent: unless the configuration runs programs of the operator's own, which inherit it.
    pub enabled: Option<bool>,
    /// More that may be read.
    pub read: Vec<PathBuf>,
    /// More that may be written to.
    pub write: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogTo {
    #[default]
    Stderr,
    Syslog,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Checker {
    pub(super) fn process(&mut self, sources: &[Source]) -> Process {
        let user = self.account(sources, |tables| tables.user.as_ref());
        let group = self.account(sources, |tables| tables.group.as_ref());
        if let (None, Some((source, text))) = (&user, self.single(sources, |tables| tables.group.as_ref())) {
            self.at(source, text.span(), "a group without a user", "add user = \"nsd-failover\"");
        }
        let to = [("stderr", LogTo::Stderr), ("syslog", LogTo::Syslog)];
        let log = self.single(sources, |tables| tables.log.as_ref());
        let log = log.and_then(|(source, text)| self.choice(source, Some(text), &to));
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let log_format = self.single(sources, |tables| tables.log_format.as_ref());
        let log_format = log_format.and_then(|(source, text)| self.choice(source, Some(text), &formats));
        Process {
            user,
            group,
            confine: self.confine(sources),
            log: log.unwrap_or_default(),
            log_format: log_format.unwrap_or_default(),
        }
    }

    /// A name for the user database. Whether it is there is looked up when it is needed: whoever runs
    /// `check` may be on another host.
    fn account(
        &mut self,
        sources: &[Source],
        key: impl Fn(&file::File) -> Option<&file::Text> + Copy,
    ) -> Option<String> {
        let (source, text) = self.single(sources, key)?;
        let name = text.get_ref();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':') {
            self.at(source, text.span(), format!("`{name}` is no name"), "write for example \"nsd-failover\"");
            return None;
        }
        Some(name.clone())
    }

    fn confine(&mut self, sources: &[Source]) -> Confine {
        let Some((source, table)) = self.single(sources, |tables| tables.confine.as_ref()) else {
            return Confine::default();
        };
        let table = table.get_ref();
        let paths = |list: &Option<Vec<file::Text>>| {
            list.iter().flatten().map(|text| beside(&source.file, text.get_ref())).collect()
        };
        Confine { enabled: table.enabled, read: paths(&table.read), write: paths(&table.write) }
    }

    pub(super) fn cert_days(&mut self, sources: &[Source]) -> CertDays {
        let usual = CertDays::default();
        let warning = self.days(sources, |tables| tables.cert_warning_days.as_ref()).unwrap_or(usual.warning);
        let critical = self.days(sources, |tables| tables.cert_critical_days.as_ref());
        // With only the one given, the other gives way.
        let days = CertDays { warning, critical: critical.unwrap_or(usual.critical.min(warning)) };
        if days.critical > days.warning {
            let late = self.single(sources, |tables| tables.cert_critical_days.as_ref());
            if let Some((source, text)) = late {
                let message = format!("a warning {} days before the end would come too late", days.warning);
                self.at(source, text.span(), message, "make cert-warning-days the larger one");
            }
        }
        days
    }

    fn days(
        &mut self,
        sources: &[Source],
        key: impl Fn(&file::File) -> Option<&toml::Spanned<u32>> + Copy,
    ) -> Option<i64> {
        let (source, days) = self.single(sources, key)?;
        if *days.get_ref() > CERT_DAYS_MAX {
            let message = format!("{} days are more than {CERT_DAYS_MAX}", days.get_ref());
            self.at(source, days.span(), message, "write for example 14");
        }
        Some(i64::from(*days.get_ref()))
    }
}

/// Whether a file with a secret is closed to everybody but its owner and group. The error says that
/// it is not; a file that cannot be looked at is somebody else's error.
pub fn not_open_to_all(path: &Path) -> Result<(), String> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
    is_private(metadata.mode()).map_err(|what| format!("{}: {what}", path.display()))
}

/// The same by the mode of a file.
pub(super) fn is_private(mode: u32) -> Result<(), String> {
    match mode & 0o007 {
        0 => Ok(()),
        _ => Err(format!("the secret is open to everybody (mode {:o})", mode & 0o777)),
    }
}
