//! Where notifications go.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::director::incident::Kind;

use super::template::Template;

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// As in `[notify.NAME]`.
    pub name: String,
    pub way: Way,
    /// What it is told of.
    pub events: BTreeSet<Kind>,
    /// Deadline of one attempt, in milliseconds.
    pub timeout_ms: u64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Way {
    Mail(Mail),
    Webhook(Webhook),
    /// A program with its arguments; it gets the incident as JSON on stdin.
    Exec(Vec<String>),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mail {
    /// Addresses, separated by commas.
    pub to: String,
    pub from: String,
    pub via: Via,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Via {
    /// A program that takes a message on stdin and finds the recipients in it.
    Sendmail(Vec<String>),
    Smtp(Smtp),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    /// PEM file of the only authorities to trust; absent: the system's.
    pub ca_file: Option<PathBuf>,
    /// The name and the file with the password, read for each mail.
    pub login: Option<(String, PathBuf)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tls {
    /// After STARTTLS, which must succeed.
    Starttls,
    /// From the first octet on (RFC 8314).
    Implicit,
    Off,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Webhook {
    pub url: Url,
    pub template: Template,
    /// A file with a token that is sent as `Authorization: Bearer`, read for each delivery.
    pub token_file: Option<PathBuf>,
    /// PEM file of the only authorities to trust; absent: the system's.
    pub ca_file: Option<PathBuf>,
}

/// Where a webhook stands. Many services put a secret into it: then it comes from a file, and is
/// never shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Url {
    Given(String),
    File(PathBuf),
}
