//! The authority section of a signed zone: what is not there is proven not to be (RFC 4035 section
//! 3.1.3 for NSEC, RFC 5155 section 7.2 for NSEC3).

use domain::base::iana::Rtype;

use super::denial::{Denial, Nsec3, hash_label, nsec_at_or_before};
use super::reply::Section;
use super::tree::{NodeId, without_first_label};
use super::walk::{LowerName, Walk};
use super::zone_table::Content;

/// Most records in one proof: a chain of wildcards takes one or two for each link.
const PROOFS_MAX: usize = 24;

/// Records of the zone's denial chain, by their place in it, each once.
#[derive(Default)]
pub(super) struct Proofs {
    places: [u32; PROOFS_MAX],
    len: usize,
    put: usize,
}

impl Proofs {
    /// A proof that has no room is left out: the answer is then as good as a broken chain.
    fn add(&mut self, place: usize) {
        let Ok(place) = u32::try_from(place) else { return };
        if self.len < PROOFS_MAX && !self.places[..self.len].contains(&place) {
            self.places[self.len] = place;
            self.len += 1;
        }
    }
}

impl<'t> Walk<'t, '_, '_> {
    /// Nothing has the current name, and its closest encloser no wildcard.
    pub(super) fn prove_no_name(&mut self, encloser: NodeId) {
        let Some(denial) = self.denial() else { return };
        let name = *self.name;
        // A wildcard whose name would be too long is not there, and nobody can doubt it.
        let wildcard = LowerName::of(&[b"\x01*", self.zone.tree.name(encloser), self.zone.origin.wire()]);
        match denial {
            Denial::Nsec(nodes) => {
                self.prove_nsec(nodes, &name);
                wildcard.iter().for_each(|wildcard| self.prove_nsec(nodes, wildcard));
            }
            Denial::Nsec3(chain) => {
                // That of the closest encloser that can be proven: it may be further up.
                let above = self.prove_encloser(chain, encloser);
                let wildcard = above.and_then(|above| LowerName::of(&[b"\x01*", above.wire()]));
                wildcard.iter().for_each(|wildcard| self.proofs.add(chain.covering(wildcard.wire())));
            }
        }
    }

    /// The node has not the type; `expanded` says of which encloser's wildcard it is.
    pub(super) fn prove_no_type(&mut self, id: NodeId, expanded: Option<NodeId>) {
        let Some(denial) = self.denial() else { return };
        let (name, own) = (*self.name, self.full_name(id));
        match denial {
            Denial::Nsec(nodes) => {
                self.prove_nsec(nodes, &own);
                if expanded.is_some() {
                    self.prove_nsec(nodes, &name);
                }
            }
            Denial::Nsec3(chain) => {
                if let Some(encloser) = expanded {
                    self.prove_encloser(chain, encloser);
                }
                self.prove_match(chain, &own);
            }
        }
    }

    /// The answer came from a wildcard below `encloser`: nothing closer is there.
    pub(super) fn prove_expansion(&mut self, encloser: NodeId) {
        let Some(denial) = self.denial() else { return };
        let name = *self.name;
        match denial {
            Denial::Nsec(nodes) => self.prove_nsec(nodes, &name),
            Denial::Nsec3(chain) => self.proofs.add(chain.covering(self.next_closer(&name, encloser))),
        }
    }

    /// The record whose owner the name is, or that covers it.
    fn prove_nsec(&mut self, nodes: &[NodeId], name: &LowerName) {
        let relative = &name.wire()[..name.wire().len() - self.zone.origin.wire().len()];
        self.proofs.add(nsec_at_or_before(nodes, &self.zone.tree, relative));
    }

    /// RFC 5155 section 7.2.1: the closest encloser is there, the name one label longer is not. An
    /// opt-out span may have left out `encloser` and names above it; returns the one that was proven.
    fn prove_encloser(&mut self, chain: &Nsec3, encloser: NodeId) -> Option<LowerName> {
        let name = *self.name;
        let (place, next_closer) = chain.closest_encloser(self.next_closer(&name, encloser))?;
        self.proofs.add(place);
        self.proofs.add(chain.covering(next_closer));
        LowerName::of(&[without_first_label(next_closer)])
    }

    /// The record of a name that is there; where an opt-out span has left it out, what shows that.
    fn prove_match(&mut self, chain: &Nsec3, name: &LowerName) {
        if let Some(place) = chain.matching(name.wire()) {
            self.proofs.add(place);
        } else if let Some((encloser, next_closer)) = chain.closest_encloser(name.wire()) {
            self.proofs.add(encloser);
            self.proofs.add(chain.covering(next_closer));
        }
    }

    /// The end of `name` that is one label longer than the encloser.
    fn next_closer<'n>(&self, name: &'n LowerName, encloser: NodeId) -> &'n [u8] {
        let encloser_len = self.zone.tree.node(encloser).name_len() + self.zone.origin.wire().len();
        let mut rest = name.wire();
        loop {
            let above = without_first_label(rest);
            if above.len() <= encloser_len {
                return rest;
            }
            rest = above;
        }
    }

    fn full_name(&self, id: NodeId) -> LowerName {
        let parts = [self.zone.tree.name(id), self.zone.origin.wire()];
        LowerName::of(&parts).expect("a name of the zone is no longer than a name may be")
    }

    /// How the zone denies, if that is wanted.
    fn denial(&self) -> Option<&'t Denial> {
        let signed = self.zone.signed.as_ref().filter(|_| self.reply.dnssec_ok())?;
        signed.denial.as_ref()
    }

    /// Writes what has to be proven and is not written yet. False: it does not fit.
    pub(super) fn put_proofs(&mut self) -> bool {
        let zone = self.zone;
        let Some(denial) = zone.signed.as_ref().and_then(|signed| signed.denial.as_ref()) else { return true };
        while self.proofs.put < self.proofs.len {
            let place = self.proofs.places[self.proofs.put] as usize;
            self.proofs.put += 1;
            let label;
            let (relative, blobs) = match denial {
                Denial::Nsec(nodes) => {
                    let node = zone.tree.node(nodes[place]);
                    let record = zone.set(node, Rtype::NSEC).and_then(|set| match zone.content(set) {
                        Content::Fixed(blob) => Some(blob),
                        Content::Failover(_) => None,
                    });
                    (zone.tree.name(nodes[place]), [record, zone.signatures(node, Rtype::NSEC)])
                }
                Denial::Nsec3(chain) => {
                    let owner = &chain.owners[place];
                    label = hash_label(&owner.hash);
                    (&label[..], [Some(owner.record), owner.signatures])
                }
            };
            for blob in blobs.into_iter().flatten() {
                if !self.reply.owned(Section::Authority, relative, zone.blobs.rrset(blob), self.apex_at) {
                    return false;
                }
            }
        }
        true
    }
}
