//! The tag that makes a record a failover record: a trailing comment with `Enable failover`.

use std::fmt;

/// Which role a failover record follows.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Primary,
    Standby,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Primary => "primary",
            Role::Standby => "standby",
        })
    }
}

/// What a tag says. The role that the owner's name implies is already filled in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tag {
    /// `pool=`; absent: the zone's pool.
    pub pool: Option<String>,
    /// `role=`, else `Standby` where the owner's first label is `standby`, else `Primary`.
    pub role: Role,
}
