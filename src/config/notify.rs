//! Who is told, as it was checked.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::director::incident::Kind;

/// One `[notify.NAME]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notify {
    pub name: String,
    pub way: Way,
    pub events: BTreeSet<Kind>,
    /// Deadline of one attempt, in milliseconds.
    pub timeout_ms: u64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Way {
    Mail {
        /// Addresses, separated by commas.
        to: String,
        from: String,
        via: Via,
    },
    Webhook {
        url: Url,
        template: Template,
        token_file: Option<PathBuf>,
        ca_file: Option<PathBuf>,
    },
    Exec(Vec<String>),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Via {
    Sendmail(Vec<String>),
    Smtp {
        host: String,
        port: u16,
        tls: Tls,
        ca_file: Option<PathBuf>,
        /// The name and the file with the password.
        login: Option<(String, PathBuf)>,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tls {
    Starttls,
    Implicit,
    Off,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Url {
    Given(String),
    /// The file that holds it.
    File(PathBuf),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Template {
    Generic,
    Ntfy,
    Slack,
}
