//! A number that tells whether a zone says something else than it did, whatever its serial claims.

use std::net::IpAddr;

use domain::base::iana::Rtype;
use ring::digest::{Context, SHA256};

use crate::dns::record::RecordRef;
use crate::failover::pool::{Pool, Slot};
use crate::zone::tag::Role;

use super::super::zone_table::SOA_NUMBERS_LEN;

/// Takes a zone's records in the order of the file. The serial, and the addresses that failover
/// records happen to carry, do not count: a decision gives them.
pub struct Fingerprint(Context);

impl Fingerprint {
    /// `pools` are those that the slots of the records name, in their order.
    pub fn new<'a>(pools: impl IntoIterator<Item = &'a Pool>) -> Fingerprint {
        let mut fingerprint = Fingerprint(Context::new(&SHA256));
        for pool in pools {
            fingerprint.number(pool.nodes.len());
            for node in &pool.nodes {
                fingerprint.address(node.ipv4.map(IpAddr::from));
                fingerprint.address(node.ipv6.map(IpAddr::from));
            }
        }
        fingerprint
    }

    pub fn add(&mut self, record: RecordRef<'_>, slot: Option<Slot>) {
        self.0.update(record.owner);
        self.0.update(&record.rtype.to_int().to_be_bytes());
        self.0.update(&record.ttl.to_be_bytes());
        match slot {
            Some(Slot { pool, role }) => {
                self.0.update(&[if role == Role::Primary { 1 } else { 2 }]);
                self.number(pool);
            }
            None => {
                let rdata = record.rdata;
                self.0.update(&[0]);
                self.number(rdata.len());
                match rdata.len().checked_sub(SOA_NUMBERS_LEN).filter(|_| record.rtype == Rtype::SOA) {
                    Some(serial_at) => {
                        self.0.update(&rdata[..serial_at]);
                        self.0.update(&rdata[serial_at + 4..]);
                    }
                    None => self.0.update(rdata),
                }
            }
        }
    }

    pub fn finish(self) -> u64 {
        let digest = self.0.finish();
        u64::from_be_bytes(*digest.as_ref().first_chunk().expect("SHA-256 gives 32 octets"))
    }

    fn address(&mut self, address: Option<IpAddr>) {
        match address {
            None => self.0.update(&[0]),
            Some(IpAddr::V4(address)) => self.0.update(&[&[4][..], &address.octets()].concat()),
            Some(IpAddr::V6(address)) => self.0.update(&[&[6][..], &address.octets()].concat()),
        }
    }

    fn number(&mut self, number: usize) {
        self.0.update(&(number as u64).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::record::Record;
    use domain::base::iana::Class;

    fn record(rtype: Rtype, ttl: u32, rdata: &[u8]) -> Record {
        Record { owner: "a.example".parse().unwrap(), rtype, class: Class::IN, ttl, rdata: rdata.into() }
    }

    fn of(records: &[(Record, Option<Slot>)]) -> u64 {
        let mut fingerprint = Fingerprint::new([]);
        records.iter().for_each(|(record, slot)| fingerprint.add(record.as_ref(), *slot));
        fingerprint.finish()
    }

    #[test]
    fn it_sees_what_is_served_and_nothing_else() {
        let slot = Slot { pool: 0, role: Role::Primary };
        let plain = |rdata: &[u8]| of(&[(record(Rtype::A, 60, rdata), None)]);
        assert_ne!(plain(&[1; 4]), plain(&[2; 4]));
        assert_ne!(plain(&[1; 4]), of(&[(record(Rtype::A, 61, &[1; 4]), None)]), "another TTL");
        assert_ne!(plain(&[1; 4]), of(&[(record(Rtype::TXT, 60, &[1; 4]), None)]), "another type");
        let tagged = |rdata: &[u8]| of(&[(record(Rtype::A, 60, rdata), Some(slot))]);
        assert_eq!(tagged(&[1; 4]), tagged(&[2; 4]), "the address of a failover record");
        assert_ne!(tagged(&[1; 4]), plain(&[1; 4]), "a tag more");
        let soa = |serial: u8, expire: u8| {
            let numbers = [serial, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, expire, 0, 0, 0, 0, 0, 0, 0];
            of(&[(record(Rtype::SOA, 60, &[&[0, 0][..], &numbers].concat()), None)])
        };
        assert_eq!(soa(1, 0), soa(2, 0));
        assert_ne!(soa(1, 0), soa(1, 1));
    }
}
