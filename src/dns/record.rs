//! A resource record with its RDATA in wire form (RFC 1035 section 3.2).

use domain::base::iana::{Class, Rtype};

use super::name::Name;

/// One resource record. `rdata` is uncompressed wire form, at most 65,535 octets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    pub owner: Name,
    pub rtype: Rtype,
    pub class: Class,
    /// Time to live in seconds, at most 2^31 - 1 (RFC 2181 section 8).
    pub ttl: u32,
    pub rdata: Box<[u8]>,
}

impl Record {
    pub fn as_ref(&self) -> RecordRef<'_> {
        RecordRef { owner: self.owner.wire(), rtype: self.rtype, class: self.class, ttl: self.ttl, rdata: &self.rdata }
    }
}

/// A record that somebody else holds: for passes over very many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordRef<'a> {
    /// A valid name in wire form.
    pub owner: &'a [u8],
    pub rtype: Rtype,
    pub class: Class,
    /// As in [`Record`].
    pub ttl: u32,
    pub rdata: &'a [u8],
}
