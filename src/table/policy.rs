//! What the server says of itself and of its clients' cookies: the same for every zone and transport.

use crate::dns::cookie::Secrets;

/// Longest NSID, version and identity, in octets: each fits a reply of 512 octets beside the rest.
pub const TEXT_MAX: usize = 128;

/// Part of a [`super::Table`], so that a reload changes it in one step with everything else.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The name server's identifier (RFC 5001), at most [`TEXT_MAX`] octets; empty: none.
    pub nsid: Box<[u8]>,
    /// What `version.bind` and `version.server` of class CH say; absent: REFUSED.
    pub version: Option<Box<[u8]>>,
    /// What `id.server` and `hostname.bind` of class CH say (RFC 4892); absent: REFUSED.
    pub identity: Option<Box<[u8]>>,
    /// Absent: COOKIE options are ignored.
    pub cookies: Option<Secrets>,
    /// A and AAAA RRsets begin with another record each time, whichever the query's ID says; else as
    /// in the zone file.
    pub rotate_addresses: bool,
}
