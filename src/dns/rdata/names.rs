//! Where domain names sit in RDATA.

use std::borrow::Cow;

use domain::base::iana::Rtype;

use crate::dns::name::wire_len;

/// A domain name inside RDATA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NameAt {
    /// Offset of its first length octet in the RDATA.
    pub offset: usize,
    /// Its length in octets, root label included.
    pub len: usize,
    /// Whether a message may compress it: only in the types of RFC 1035 (RFC 3597 section 4).
    pub compressible: bool,
}

/// The domain names in the RDATA of a type, from the left; at most two. None for types without
/// names, and none behind octets that are no name.
pub fn name_offsets(rtype: Rtype, rdata: &[u8]) -> impl Iterator<Item = NameAt> + use<> {
    // (octets before the first name, names, may be compressed)
    let (before, count, compressible) = match rtype {
        Rtype::NS | Rtype::MD | Rtype::MF | Rtype::CNAME | Rtype::MB | Rtype::MG | Rtype::MR | Rtype::PTR => {
            (0, 1, true)
        }
        Rtype::SOA | Rtype::MINFO => (0, 2, true),
        Rtype::MX => (2, 1, true),
        Rtype::RP => (0, 2, false),
        Rtype::AFSDB | Rtype::RT | Rtype::KX | Rtype::LP | Rtype::SVCB | Rtype::HTTPS => (2, 1, false),
        Rtype::PX => (2, 2, false),
        Rtype::DNAME | Rtype::NSEC => (0, 1, false),
        Rtype::SRV => (6, 1, false),
        Rtype::RRSIG => (18, 1, false),
        Rtype::NAPTR => (after_strings(rdata, 4, 3), 1, false),
        _ => (0, 0, false),
    };
    let mut found = [None; 2];
    let mut offset = before;
    for place in found.iter_mut().take(count) {
        let Some(Ok(len)) = rdata.get(offset..).map(wire_len) else { break };
        *place = Some(NameAt { offset, len, compressible });
        offset += len;
    }
    found.into_iter().flatten()
}

/// RDATA with its names in lower case: two records whose RDATA is the same in this form are one.
/// (The canonical form of RFC 4034 section 6.2, for every type whose names are known here.)
pub fn canonical(rtype: Rtype, rdata: &[u8]) -> Cow<'_, [u8]> {
    let mut canonical = Cow::Borrowed(rdata);
    for NameAt { offset, len, .. } in name_offsets(rtype, rdata) {
        if rdata[offset..offset + len].iter().any(u8::is_ascii_uppercase) {
            canonical.to_mut()[offset..offset + len].make_ascii_lowercase();
        }
    }
    canonical
}

/// The offset behind `count` character-strings that start at `offset`; past the end if one is cut.
fn after_strings(rdata: &[u8], mut offset: usize, count: usize) -> usize {
    for _ in 0..count {
        match rdata.get(offset) {
            Some(&len) => offset += 1 + usize::from(len),
            None => return rdata.len(),
        }
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(rtype: Rtype, rdata: &[u8]) -> Vec<(usize, usize)> {
        name_offsets(rtype, rdata).map(|name| (name.offset, name.len)).collect()
    }

    #[test]
    fn names_are_found() {
        assert_eq!(offsets(Rtype::NS, b"\x01a\x00"), [(0, 3)]);
        assert_eq!(offsets(Rtype::MX, b"\x00\x0a\x01a\x00"), [(2, 3)]);
        assert_eq!(offsets(Rtype::SOA, b"\x01a\x00\x01b\x00\0\0\0\x01"), [(0, 3), (3, 3)]);
        assert_eq!(offsets(Rtype::SRV, b"\0\0\0\0\0\0\x00"), [(6, 1)]);
        assert_eq!(offsets(Rtype::NAPTR, b"\0\0\0\0\x01u\x00\x02ab\x01c\x00"), [(10, 3)]);
        assert_eq!(offsets(Rtype::A, b"\x01\x02\x03\x04"), []);
    }

    #[test]
    fn cut_rdata_has_no_names() {
        for rtype in [Rtype::NS, Rtype::MX, Rtype::SOA, Rtype::SRV, Rtype::NAPTR, Rtype::RRSIG, Rtype::PX] {
            assert_eq!(offsets(rtype, b""), []);
            assert_eq!(offsets(rtype, b"\x05ab"), [], "{rtype}");
        }
    }
}
