//! What people were told of and is not over yet. Kept over a restart, so that nobody is told twice,
//! and everybody of the end. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::director::incident::Kind;
use crate::director::status::Status;

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Memory {
    /// Pools where nobody is up, zones whose export failed or would be refused.
    pub open: BTreeSet<(Kind, String)>,
    /// How near its end each certificate was, by node and check.
    certificates: BTreeMap<String, BTreeMap<String, Near>>,
}

/// How near a certificate is to its end.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Near {
    Warning,
    Critical,
    Ended,
}

impl Memory {
    /// Notes how near a certificate is now (`None`: far enough); what was known before.
    pub fn certificate(&mut self, node: &str, check: &str, near: Option<Near>) -> Option<Near> {
        match near {
            Some(near) => self.certificates.entry(node.to_owned()).or_default().insert(check.to_owned(), near),
            None => {
                let checks = self.certificates.get_mut(node)?;
                let before = checks.remove(check);
                if checks.is_empty() {
                    self.certificates.remove(node);
                }
                before
            }
        }
    }

    /// Forgets what is no longer configured: nobody will ever hear of its end.
    pub fn forget_others(&mut self, status: &Status) {
        self.open.retain(|(kind, subject)| match kind {
            Kind::AllDown => status.pools.iter().any(|pool| pool.name == *subject),
            _ => status.zones.iter().any(|zone| zone.name == *subject && zone.export),
        });
        self.certificates.retain(|name, _| status.nodes.iter().any(|node| node.name == *name));
    }
}
