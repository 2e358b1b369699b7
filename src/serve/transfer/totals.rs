//! What is counted of transfers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::table::transfer::stream::Kind;

/// How a request for a transfer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    Sent(Kind),
    /// Not allowed, or signed wrongly.
    Refused,
    /// The secondary broke off, did not read, or had to wait for too long.
    Failed,
}

/// How a NOTIFY ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notified {
    Acknowledged,
    /// No answer, a refusal, or a wrong signature; it is tried again.
    Failed,
}

#[derive(Default)]
pub(super) struct Totals {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    notified: [AtomicU64; Notified::ALL.len()],
    records: AtomicU64,
    octets: AtomicU64,
}

/// All counts at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    /// In the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// In the order of [`Notified::ALL`].
    pub notified: [u64; Notified::ALL.len()],
    pub records: u64,
    pub octets: u64,
}

impl Outcome {
    pub const ALL: [Outcome; 5] = [
        Outcome::Sent(Kind::Whole),
        Outcome::Sent(Kind::Changes),
        Outcome::Sent(Kind::Current),
        Outcome::Refused,
        Outcome::Failed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Sent(Kind::Whole) => "whole",
            Outcome::Sent(Kind::Changes) => "changes",
            Outcome::Sent(Kind::Current) => "current",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        }
    }
}

impl Notified {
    pub const ALL: [Notified; 2] = [Notified::Acknowledged, Notified::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Notified::Acknowledged => "acknowledged",
            Notified::Failed => "failed",
        }
    }
}

impl Totals {
    pub fn ended(&self, outcome: Outcome, records: u64, octets: u64) {
        if let Some(at) = Outcome::ALL.iter().position(|known| *known == outcome) {
            self.outcomes[at].fetch_add(1, Ordering::Relaxed);
        }
        self.records.fetch_add(records, Ordering::Relaxed);
        self.octets.fetch_add(octets, Ordering::Relaxed);
    }

    pub fn notified(&self, notified: Notified) {
        self.notified[notified as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> Snapshot {
        let load = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Snapshot {
            outcomes: std::array::from_fn(|at| load(&self.outcomes[at])),
            notified: std::array::from_fn(|at| load(&self.notified[at])),
            records: load(&self.records),
            octets: load(&self.octets),
        }
    }
}
