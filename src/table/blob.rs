//! RRsets in wire form, ready to be copied into a reply. An RRset's owner is a compression pointer,
//! and so is the end of an in-zone name in its RDATA; both are set when the place is known.
//! Equal RRsets are kept once: a million failover names share a handful.

use std::ops::Range;

use domain::base::iana::{Class, Rtype};
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::dns::rdata::{NameAt, name_offsets};

use super::tree::{NodeId, Tree, hash};
use super::zone_table::addresses;

/// Index of an RRset in its [`Blobs`].
pub(super) type BlobId = u32;

/// Largest RRset in octets: with the largest question, an OPT and a chain it still fits a message.
pub const RRSET_MAX: usize = 55_000;
/// Where a record's RDATA starts: behind pointer, type, class, TTL and length.
pub(super) const RDATA_AT: usize = 12;
/// Where a record's TTL stands.
pub(super) const TTL_AT: usize = 6;

/// The RRsets of one zone.
pub(super) struct Blobs {
    bytes: Vec<u8>,
    blobs: Vec<Blob>,
    apex_pointers: Vec<u16>,
    links: Vec<Link>,
}

#[derive(Clone, Copy)]
struct Blob {
    at: u32,
    apex_pointers_at: u32,
    links_at: u32,
    ttl_s: u32,
    len: u16,
    records: u16,
    apex_pointers_len: u16,
    links_len: u16,
}

/// A name in the RDATA whose addresses belong in the additional section.
#[derive(Clone, Copy)]
pub(super) struct Link {
    /// Where the name starts in the RRset; 0: it is the apex itself.
    pub name_at: u16,
    pub node: NodeId,
}

/// One RRset as it is copied.
#[derive(Clone, Copy)]
pub(super) struct Rrset<'a> {
    pub bytes: &'a [u8],
    pub records: u16,
    pub ttl_s: u32,
    /// Where pointers to the apex stand.
    pub apex_pointers: &'a [u16],
    pub links: &'a [Link],
}

impl Blobs {
    pub fn rrset(&self, id: BlobId) -> Rrset<'_> {
        let blob = &self.blobs[id as usize];
        Rrset {
            bytes: &self.bytes[blob.at as usize..][..usize::from(blob.len)],
            records: blob.records,
            ttl_s: blob.ttl_s,
            apex_pointers: &self.apex_pointers[blob.apex_pointers_at as usize..][..usize::from(blob.apex_pointers_len)],
            links: &self.links[blob.links_at as usize..][..usize::from(blob.links_len)],
        }
    }

    /// Where they lie in memory.
    pub fn memory(&self) -> [Range<usize>; 2] {
        [addresses(&self.bytes), addresses(&self.blobs)]
    }

    /// How many different RRsets there are.
    pub fn len(&self) -> usize {
        self.blobs.len()
    }
}

/// Makes [`Blobs`].
pub(super) struct Builder {
    blobs: Blobs,
    index: HashTable<BlobId>,
    hasher: RandomState,
    /// The zone's origin in wire form, lower case.
    apex: Box<[u8]>,
    /// The RRset in the making.
    draft: Vec<u8>,
}

impl Builder {
    pub fn new(apex: &[u8]) -> Builder {
        let blobs = Blobs { bytes: Vec::new(), blobs: Vec::new(), apex_pointers: Vec::new(), links: Vec::new() };
        Builder {
            blobs,
            index: HashTable::new(),
            hasher: RandomState::default(),
            apex: apex.to_ascii_lowercase().into(),
            draft: Vec::new(),
        }
    }

    /// Keeps an RRset. Its RDATA must have passed [`check_rdata`]. `None`: it is larger than
    /// [`RRSET_MAX`], or the zone does not fit.
    pub fn add(&mut self, rtype: Rtype, ttl_s: u32, rdatas: &[&[u8]], tree: &Tree) -> Option<BlobId> {
        self.draft.clear();
        let at = u32::try_from(self.blobs.bytes.len()).ok()?;
        let apex_pointers_at = self.blobs.apex_pointers.len();
        let links_at = self.blobs.links.len();
        for rdata in rdatas {
            self.record(rtype, ttl_s, rdata, tree);
            if self.draft.len() > RRSET_MAX {
                return None;
            }
        }
        let key = hash(&self.hasher, &self.draft);
        let same = |id: &BlobId| self.blobs.rrset(*id).bytes == self.draft;
        if let Some(known) = self.index.find(key, same) {
            // Equal bytes of one type have their names at equal places.
            self.blobs.apex_pointers.truncate(apex_pointers_at);
            self.blobs.links.truncate(links_at);
            return Some(*known);
        }
        let id = BlobId::try_from(self.blobs.len()).ok()?;
        self.blobs.bytes.extend_from_slice(&self.draft);
        self.blobs.blobs.push(Blob {
            at,
            apex_pointers_at: u32::try_from(apex_pointers_at).ok()?,
            links_at: u32::try_from(links_at).ok()?,
            ttl_s,
            // A record takes 12 octets at least, a name one: RRSET_MAX bounds all of these.
            len: self.draft.len() as u16,
            records: rdatas.len() as u16,
            apex_pointers_len: (self.blobs.apex_pointers.len() - apex_pointers_at) as u16,
            links_len: (self.blobs.links.len() - links_at) as u16,
        });
        let (blobs, hasher) = (&self.blobs, &self.hasher);
        self.index.insert_unique(key, id, |id| hash(hasher, blobs.rrset(*id).bytes));
        Some(id)
    }

    fn record(&mut self, rtype: Rtype, ttl_s: u32, rdata: &[u8], tree: &Tree) {
        self.draft.extend_from_slice(&[0xc0, 0x0c]);
        self.draft.extend_from_slice(&rtype.to_int().to_be_bytes());
        self.draft.extend_from_slice(&Class::IN.to_int().to_be_bytes());
        self.draft.extend_from_slice(&ttl_s.to_be_bytes());
        let length_at = self.draft.len();
        self.draft.extend_from_slice(&[0, 0]);
        // The name's addresses go into the additional section.
        let additional = matches!(rtype, Rtype::NS | Rtype::MX | Rtype::SRV);
        let mut done = 0;
        for name in name_offsets(rtype, rdata) {
            self.draft.extend_from_slice(&rdata[done..name.offset]);
            done = name.offset + name.len;
            self.name(&rdata[name.offset..done], name.compressible, additional, tree);
        }
        self.draft.extend_from_slice(&rdata[done..]);
        // Compression only makes it shorter than the 65,535 that it was.
        let length = (self.draft.len() - length_at - 2) as u16;
        self.draft[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }

    fn name(&mut self, name: &[u8], compress: bool, additional: bool, tree: &Tree) {
        // What lies behind RRSET_MAX is refused by `add`, so that the cast is never seen.
        let name_at = self.draft.len() as u16;
        let Some(relative) = relative_to(name, &self.apex) else {
            self.draft.extend_from_slice(name);
            return;
        };
        if additional && let Some(node) = tree.find(&relative.to_ascii_lowercase()) {
            let name_at = if relative.is_empty() && compress { 0 } else { name_at };
            self.blobs.links.push(Link { name_at, node });
        }
        // A pointer to the root label would be longer than the label.
        if compress && self.apex.len() > 1 {
            self.draft.extend_from_slice(relative);
            self.blobs.apex_pointers.push(self.draft.len() as u16);
            self.draft.extend_from_slice(&[0xc0, 0]);
        } else {
            self.draft.extend_from_slice(name);
        }
    }

    pub fn finish(mut self) -> Blobs {
        self.blobs.bytes.shrink_to_fit();
        self.blobs.blobs.shrink_to_fit();
        self.blobs.apex_pointers.shrink_to_fit();
        self.blobs.links.shrink_to_fit();
        self.blobs
    }
}

/// Whether the RDATA of a type that we look into has the form that its type asks for.
pub(super) fn check_rdata(rtype: Rtype, rdata: &[u8]) -> bool {
    let after = |(count, _), name: NameAt| (count + 1, name.offset + name.len);
    let (names, end) = name_offsets(rtype, rdata).fold((0, 0), after);
    match rtype {
        Rtype::A => rdata.len() == 4,
        Rtype::AAAA => rdata.len() == 16,
        Rtype::SOA => names == 2 && rdata.len() - end == 20,
        Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::DNAME | Rtype::MX | Rtype::SRV => {
            names == 1 && end == rdata.len()
        }
        _ => true,
    }
}

/// The part of `name` in front of `apex` (wire form, lower case) if it lies in it.
pub(super) fn relative_to<'a>(name: &'a [u8], apex: &[u8]) -> Option<&'a [u8]> {
    let (relative, tail) = name.split_at_checked(name.len().checked_sub(apex.len())?)?;
    if !tail.eq_ignore_ascii_case(apex) {
        return None;
    }
    let mut rest = relative;
    while let Some(length) = rest.first() {
        // A label that runs over the border: the tail only looked like the apex.
        rest = rest.get(1 + usize::from(*length)..)?;
    }
    Some(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    const APEX: &[u8] = b"\x07example\x00";

    #[test]
    fn equal_rrsets_are_kept_once() {
        let (mut builder, tree) = (Builder::new(APEX), Tree::new());
        let first = builder.add(Rtype::A, 300, &[&[192, 0, 2, 1]], &tree);
        assert_eq!(builder.add(Rtype::A, 300, &[&[192, 0, 2, 1]], &tree), first);
        assert_ne!(builder.add(Rtype::A, 301, &[&[192, 0, 2, 1]], &tree), first);
        assert_eq!(builder.finish().len(), 2);
    }

    #[test]
    fn names_in_the_zone_end_in_a_pointer_and_are_linked() {
        let mut tree = Tree::new();
        let mail = tree.insert(b"\x04mail").unwrap();
        let mut builder = Builder::new(APEX);
        let rdatas: [&[u8]; 3] = [b"\0\x0a\x04MAIL\x07Example\0", b"\0\x14\x07example\0", b"\0\x1e\x03out\0"];
        let id = builder.add(Rtype::MX, 60, &rdatas, &tree).unwrap();
        let blobs = builder.finish();
        let rrset = blobs.rrset(id);
        assert_eq!(
            rrset.bytes,
            b"\xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x09\0\x0a\x04MAIL\xc0\0\
              \xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x04\0\x14\xc0\0\
              \xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x07\0\x1e\x03out\0"
        );
        assert_eq!((rrset.records, rrset.ttl_s, rrset.apex_pointers), (3, 60, &[19, 35][..]));
        let links: Vec<_> = rrset.links.iter().map(|link| (link.name_at, link.node)).collect();
        assert_eq!(links, [(14, mail), (0, super::super::tree::APEX)]);
    }

    #[test]
    fn a_tail_is_not_a_suffix() {
        assert_eq!(relative_to(b"\x01a\x07EXAMPLE\0", APEX), Some(&b"\x01a"[..]));
        assert_eq!(relative_to(b"\x0aab\x07example\0", APEX), None);
        assert_eq!(relative_to(b"\x07another\0", APEX), None);
        assert_eq!(relative_to(b"\0", APEX), None);
        assert_eq!(relative_to(b"\x01a\0", b"\0"), Some(&b"\x01a"[..]));
    }

    #[test]
    fn rdata_is_checked_before_it_is_trusted() {
        for (rtype, rdata, good) in [
            (Rtype::A, &b"\x01\x02\x03\x04"[..], true),
            (Rtype::A, b"\x01\x02\x03", false),
            (Rtype::AAAA, &[0; 16], true),
            (Rtype::AAAA, &[0; 17], false),
            (Rtype::NS, b"\x01a\0", true),
            (Rtype::NS, b"\x01a", false),
            (Rtype::NS, b"\x01a\0x", false),
            (Rtype::MX, b"\0", false),
            (Rtype::MX, b"\0\x01\0", true),
            (Rtype::SOA, b"\0\0\x01", false),
            (Rtype::SRV, b"\0\0\0\0\0\x01\0", true),
            (Rtype::TXT, b"", true),
        ] {
            assert_eq!(check_rdata(rtype, rdata), good, "{rtype} {rdata:?}");
        }
    }
}
