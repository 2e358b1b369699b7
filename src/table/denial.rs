//! Proofs that something does not exist, for zones that were signed elsewhere: which NSEC (RFC 4034)
//! or NSEC3 (RFC 5155) records match or cover a name.

use std::cmp::Ordering;

use ring::digest;

use super::blob::BlobId;
use super::tree::{NodeId, Tree, labels, without_first_label};

/// Length of a SHA-1 hash, the one that NSEC3 knows, in octets.
pub(super) const HASH_LEN: usize = 20;
/// A hash as a label: length and 32 digits of base32hex (RFC 5155 section 1.3).
pub(super) const HASH_LABEL_LEN: usize = 33;
/// Most labels of a name: 127 of one octet each.
const LABELS_MAX: usize = 127;
/// Most extra iterations of a chain that is served (RFC 5155 section 10.3, the largest of the table).
pub const ITERATIONS_MAX: u16 = 2_500;

/// How a signed zone denies.
pub(super) enum Denial {
    /// The nodes with an NSEC record in canonical order (RFC 4034 section 6.1); never empty.
    Nsec(Box<[NodeId]>),
    Nsec3(Nsec3),
}

/// One chain of NSEC3 records.
pub(super) struct Nsec3 {
    pub iterations: u16,
    pub salt: Box<[u8]>,
    /// By hash; never empty.
    pub owners: Box<[Owner]>,
}

/// One record of an NSEC3 chain with its signatures. Their owner is no name of the zone
/// (RFC 5155 section 7.2.8), and so not in its tree.
pub(super) struct Owner {
    pub hash: [u8; HASH_LEN],
    pub record: BlobId,
    pub signatures: Option<BlobId>,
}

impl Denial {
    /// A chain of the nodes with an NSEC record. `None`: there are none.
    pub fn nsec(mut nodes: Vec<NodeId>, tree: &Tree) -> Option<Denial> {
        nodes.sort_by(|a, b| canonical(tree.name(*a), tree.name(*b)));
        (!nodes.is_empty()).then(|| Denial::Nsec(nodes.into()))
    }

    /// `None`: the chain is empty.
    pub fn nsec3(iterations: u16, salt: &[u8], mut owners: Vec<Owner>) -> Option<Denial> {
        owners.sort_by_key(|owner| owner.hash);
        owners.dedup_by_key(|owner| owner.hash);
        (!owners.is_empty()).then(|| Denial::Nsec3(Nsec3 { iterations, salt: salt.into(), owners: owners.into() }))
    }
}

/// The node of the NSEC record that covers a name, or has it as its owner.
pub(super) fn nsec_at_or_before(nodes: &[NodeId], tree: &Tree, relative: &[u8]) -> usize {
    let behind = nodes.partition_point(|node| canonical(tree.name(*node), relative) != Ordering::Greater);
    // The apex comes first and has one; without it the chain is broken, and its end as good as any.
    behind.checked_sub(1).unwrap_or(nodes.len() - 1)
}

impl Nsec3 {
    /// RFC 5155 section 5; `name` in lower case.
    pub fn hash(&self, name: &[u8]) -> [u8; HASH_LEN] {
        let once = |octets: &[u8]| -> [u8; HASH_LEN] {
            let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
            context.update(octets);
            context.update(&self.salt);
            context.finish().as_ref().try_into().expect("SHA-1 gives 20 octets")
        };
        (0..self.iterations).fold(once(name), |hash, _| once(&hash))
    }

    /// The record whose owner is the hash of this name.
    pub fn matching(&self, name: &[u8]) -> Option<usize> {
        let hash = self.hash(name);
        self.owners.binary_search_by_key(&hash, |owner| owner.hash).ok()
    }

    /// The record that covers the hash of this name; that of the last owner goes around the end.
    pub fn covering(&self, name: &[u8]) -> usize {
        let hash = self.hash(name);
        let behind = self.owners.partition_point(|owner| owner.hash < hash);
        behind.checked_sub(1).unwrap_or(self.owners.len() - 1)
    }

    /// The longest end of `name`, not the name itself, that the chain has a record for, and the name
    /// one label longer: an opt-out span may leave out what lies between (RFC 5155 section 6).
    pub fn closest_encloser<'n>(&self, name: &'n [u8]) -> Option<(usize, &'n [u8])> {
        let mut next_closer = name;
        while next_closer.len() > 1 {
            let encloser = without_first_label(next_closer);
            if let Some(record) = self.matching(encloser) {
                return Some((record, next_closer));
            }
            next_closer = encloser;
        }
        None
    }
}

/// A hash as the first label of an owner name.
pub(super) fn hash_label(hash: &[u8; HASH_LEN]) -> [u8; HASH_LABEL_LEN] {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let mut label = [0; HASH_LABEL_LEN];
    label[0] = (HASH_LABEL_LEN - 1) as u8;
    for (five, digits) in hash.chunks_exact(5).zip(label[1..].chunks_exact_mut(8)) {
        let bits = five.iter().fold(0u64, |bits, octet| bits << 8 | u64::from(*octet));
        for (at, digit) in digits.iter_mut().enumerate() {
            *digit = DIGITS[(bits >> (35 - 5 * at)) as usize & 31];
        }
    }
    label
}

/// The other way around; `label` without its length. `None`: it is no hash.
pub(super) fn label_hash(label: &[u8]) -> Option<[u8; HASH_LEN]> {
    if label.len() != HASH_LABEL_LEN - 1 {
        return None;
    }
    let mut hash = [0; HASH_LEN];
    for (digits, five) in label.chunks_exact(8).zip(hash.chunks_exact_mut(5)) {
        let mut bits = 0u64;
        for digit in digits {
            bits = bits << 5 | u64::from(char::from(*digit).to_digit(32)?);
        }
        five.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(hash)
}

/// Canonical order of relative names in lower case: label by label from the right.
fn canonical(a: &[u8], b: &[u8]) -> Ordering {
    fn split<'n>(name: &'n [u8], into: &mut [&'n [u8]; LABELS_MAX]) -> usize {
        into.iter_mut().zip(labels(name)).map(|(place, label)| *place = label).count()
    }
    let (mut of_a, mut of_b) = ([&[][..]; LABELS_MAX], [&[][..]; LABELS_MAX]);
    let (a_len, b_len) = (split(a, &mut of_a), split(b, &mut of_b));
    of_a[..a_len].iter().rev().cmp(of_b[..b_len].iter().rev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_of_rfc5155() {
        // Appendix A: salt aabbccdd, 12 iterations.
        let chain = Nsec3 { iterations: 12, salt: [0xaa, 0xbb, 0xcc, 0xdd].into(), owners: [].into() };
        for (name, hash) in [
            (&b"\x07example\0"[..], &b"0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"[..]),
            (b"\x01a\x07example\0", b"35mthgpgcu1qg68fab165klnsnk3dpvl"),
            (b"\x01*\x01w\x07example\0", b"r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
        ] {
            let label = hash_label(&chain.hash(name));
            assert_eq!(label[1..], *hash);
            assert_eq!(label_hash(&label[1..]), Some(chain.hash(name)));
            assert_eq!(label_hash(&label[1..].to_ascii_uppercase()), Some(chain.hash(name)));
        }
        assert_eq!(label_hash(b"0p9mhaveqvm6t7vbl5lop2u3t2rp3tow"), None, "w is no digit");
        assert_eq!(label_hash(b"0p9m"), None);
    }

    #[test]
    fn names_in_canonical_order() {
        let sorted: [&[u8]; 7] =
            [b"", b"\x01a", b"\x08yljkjljk\x01a", b"\x01z\x01a", b"\x04zabc\x01a", b"\x01z", b"\x01\xc8\x01z"];
        for pair in sorted.windows(2) {
            assert_eq!(canonical(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(canonical(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
    }
}
