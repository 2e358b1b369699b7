//! One message of a transfer in the making: header, question, records until it is full.

use crate::dns::message::{HEADER_LEN, MESSAGE_MAX};

use super::super::blob::Rrset;
use super::super::reply::POINTER_MAX;
use super::super::zone_table::{SOA_NUMBERS_LEN, ZoneTable};
use super::change::record_at;

/// A message is closed once it has so many octets: every owner in it can be pointed to
/// ([`POINTER_MAX`]), and a secondary has something to do early.
const MESSAGE_FULL: usize = 16_384;
/// Kept free for OPT and TSIG behind the largest record.
const TAIL: usize = 1_024;
/// The question's name is the apex.
const POINTER_TO_APEX: [u8; 2] = [0xc0, HEADER_LEN as u8];
/// An OPT record without options.
const OPT_LEN: usize = 11;

pub(super) struct Packer<'o> {
    out: &'o mut Vec<u8>,
    zone: &'o ZoneTable,
    records: u16,
    /// Where the owner written last stands.
    owner_at: Option<usize>,
}

impl<'o> Packer<'o> {
    /// `question`, in wire form, has the zone's apex for a name: every name in the zone ends in a
    /// pointer to it.
    pub fn begin(id: u16, flags: u16, question: &[u8], zone: &'o ZoneTable, out: &'o mut Vec<u8>) -> Packer<'o> {
        out.clear();
        out.extend_from_slice([id, flags, 1, 0, 0, 0].map(u16::to_be_bytes).as_flattened());
        out.extend_from_slice(question);
        Packer { out, zone, records: 0, owner_at: None }
    }

    /// Adds the zone's SOA record with this serial. False: the message is full.
    pub fn soa(&mut self, serial: u32) -> bool {
        let rrset = self.zone.blobs.rrset(self.zone.soa.blob);
        if let Put::Full = self.record(&[], &rrset, 0) {
            return false;
        }
        let at = self.out.len() - SOA_NUMBERS_LEN;
        self.out[at..at + 4].copy_from_slice(&serial.to_be_bytes());
        true
    }

    /// Adds the record of an RRset that starts there. `relative` is its owner without the apex.
    pub fn record(&mut self, relative: &[u8], rrset: &Rrset<'_>, start: usize) -> Put {
        let Some(record) = record_at(rrset.bytes, start) else { return Put::End };
        let known = self.known(relative);
        let owner_len = if known.is_some() { 2 } else { relative.len() + 2 };
        // A first record always fits: an RRset is far smaller than a message.
        let limit = if self.records == 0 { MESSAGE_MAX - TAIL } else { MESSAGE_FULL };
        if self.out.len() + owner_len + record.len() - 2 > limit || self.records == u16::MAX {
            return Put::Full;
        }
        match known {
            Some(at) => self.pointer(at),
            None => {
                self.owner_at = Some(self.out.len());
                self.out.extend_from_slice(relative);
                self.pointer(HEADER_LEN);
            }
        }
        let shift = self.out.len();
        self.out.extend_from_slice(&record[2..]);
        let first = rrset.apex_pointers.partition_point(|at| usize::from(*at) < start);
        for at in rrset.apex_pointers[first..].iter().map(|at| usize::from(*at)) {
            if at >= start + record.len() {
                break;
            }
            let at = at - start - 2 + shift;
            self.out[at..at + 2].copy_from_slice(&POINTER_TO_APEX);
        }
        self.records += 1;
        Put::Done(record.len())
    }

    /// Writes the count, and OPT if it is asked for (RFC 6891 section 6.1.1). Gives the number of
    /// records.
    pub fn finish(self, opt: Option<Opt>) -> u16 {
        self.out[6..8].copy_from_slice(&self.records.to_be_bytes());
        if let Some(opt) = opt {
            let [p0, p1] = opt.payload.to_be_bytes();
            let dnssec_ok = if opt.dnssec_ok { 0x80 } else { 0 };
            let octets: [u8; OPT_LEN] = [0, 0, 41, p0, p1, 0, 0, dnssec_ok, 0, 0, 0];
            self.out.extend_from_slice(&octets);
            self.out[10..12].copy_from_slice(&1u16.to_be_bytes());
        }
        self.records
    }

    /// Where this owner stands already, if it was the last.
    fn known(&self, relative: &[u8]) -> Option<usize> {
        if relative.is_empty() {
            return Some(HEADER_LEN);
        }
        let at = self.owner_at.filter(|at| *at <= POINTER_MAX)?;
        let rest = self.out[at..].strip_prefix(relative)?;
        // A pointer in place of a further label: the name ends there.
        rest.starts_with(&POINTER_TO_APEX).then_some(at)
    }

    fn pointer(&mut self, to: usize) {
        // At most 14 bits, see POINTER_MAX.
        self.out.extend_from_slice(&(0xc000 | to as u16).to_be_bytes());
    }
}

/// What became of a record.
pub(super) enum Put {
    /// It is in the message, and took so many octets of its RRset.
    Done(usize),
    /// It goes into the next message.
    Full,
    /// There is none.
    End,
}

/// Our OPT record.
#[derive(Clone, Copy)]
pub(super) struct Opt {
    pub payload: u16,
    pub dnssec_ok: bool,
}
