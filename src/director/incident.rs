//! What people are told of, in the words of the configuration (`events = [...]`).

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A pool has moved, or its standby is another.
    Transition,
    /// Nobody is up in a pool, or nobody can know.
    AllDown,
    /// nsd does not have a decision.
    ExportFailed,
    /// The next export of a zone would be refused: nothing has happened yet.
    NextExport,
    /// A certificate ends soon, or has ended.
    Certificate,
    /// What one of the others told of is over.
    Recovery,
    /// Somebody tries whether it arrives (`notify test`); nobody can ask for it.
    Test,
}

impl Kind {
    /// What `events` may name.
    pub const ALL: [Kind; 6] =
        [Kind::Transition, Kind::AllDown, Kind::ExportFailed, Kind::NextExport, Kind::Certificate, Kind::Recovery];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Transition => "transition",
            Kind::AllDown => "all-down",
            Kind::ExportFailed => "export-failed",
            Kind::NextExport => "next-export",
            Kind::Certificate => "certificate",
            Kind::Recovery => "recovery",
            Kind::Test => "test",
        }
    }
}
