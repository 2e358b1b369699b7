//! A reply in the making: header, the question as it was asked, whole RRsets, OPT.

use domain::base::iana::{ExtendedErrorCode, OptRcode, OptionCode, Rtype};

use crate::dns::message::{HEADER_LEN, Query, flags, split_rcode};

use super::blob::{RDATA_AT, Rrset, TTL_AT};

/// Where the question's name stands in every reply.
pub(super) const QUESTION_AT: usize = HEADER_LEN;
/// A compression pointer has 14 bits (RFC 1035 section 4.1.4): nothing behind this can be named.
pub(super) const POINTER_MAX: usize = 0x3fff;
/// An OPT record without options.
const OPT_LEN: usize = 11;
/// An extended error without text (RFC 8914 section 2).
const EXTENDED_ERROR_LEN: usize = 6;

#[derive(Clone, Copy)]
pub(super) enum Section {
    Answer,
    Authority,
    Additional,
}

pub(super) struct Reply<'o> {
    out: &'o mut [u8],
    /// End of what is written.
    at: usize,
    /// Where RRsets must end; room for OPT is left behind it.
    end: usize,
    counts: [u16; 3],
    pub flags: u16,
    pub extended_error: Option<ExtendedErrorCode>,
}

/// How the names of an RRset are completed.
#[derive(Clone, Copy)]
pub(super) struct Names {
    /// Where the owner's name stands in the reply, at most [`POINTER_MAX`].
    pub owner_at: usize,
    /// Where the apex's name stands.
    pub apex_at: usize,
}

impl<'o> Reply<'o> {
    /// Begins a reply of at most `limit` octets. `None`: not even the question fits.
    pub fn begin(query: &Query<'_>, limit: usize, out: &'o mut [u8]) -> Option<Reply<'o>> {
        let question = query.question.wire;
        let at = HEADER_LEN + question.len();
        let opt = if query.edns.is_some() { OPT_LEN + EXTENDED_ERROR_LEN } else { 0 };
        let end = limit.min(out.len()).checked_sub(opt).filter(|end| *end >= at)?;
        out[HEADER_LEN..at].copy_from_slice(question);
        // RFC 1035 section 4.1.1: RD is copied; RFC 4035 section 3.1.6: so is CD. Nothing else is.
        let flags = flags::QR | (query.flags & (flags::OPCODE | flags::RD | flags::CD));
        Some(Reply { out, at, end, counts: [0; 3], flags, extended_error: None })
    }

    /// Adds a whole RRset with TTLs of at most `ttl_max_s`, and returns where it starts. `None`: it
    /// does not fit, and the reply is as it was.
    pub fn rrset(&mut self, section: Section, rrset: Rrset<'_>, names: Names, ttl_max_s: u32) -> Option<usize> {
        let start = self.at;
        let stop = start.checked_add(rrset.bytes.len()).filter(|stop| *stop <= self.end)?;
        let copy = &mut self.out[start..stop];
        copy.copy_from_slice(rrset.bytes);
        for pointer_at in rrset.apex_pointers {
            put_pointer(copy, usize::from(*pointer_at), names.apex_at);
        }
        // As it was compiled, the owner is the question's name.
        if names.owner_at != QUESTION_AT || rrset.ttl_s > ttl_max_s {
            let ttl_s = rrset.ttl_s.min(ttl_max_s);
            let mut record_at = 0;
            while record_at < copy.len() {
                put_pointer(copy, record_at, names.owner_at);
                put(copy, record_at + TTL_AT, &ttl_s.to_be_bytes());
                let rdata_len = u16::from_be_bytes([copy[record_at + RDATA_AT - 2], copy[record_at + RDATA_AT - 1]]);
                record_at += RDATA_AT + usize::from(rdata_len);
            }
        }
        self.at = stop;
        // All records of a message fit in 65,535 octets, so that their number fits as well.
        self.counts[section as usize] += rrset.records;
        Some(start)
    }

    /// Adds one record made on the spot. False: it does not fit.
    pub fn record(&mut self, section: Section, owner_at: usize, rtype: Rtype, ttl_s: u32, rdata: &[u8]) -> bool {
        let start = self.at;
        let Some(stop) = start.checked_add(RDATA_AT + rdata.len()).filter(|stop| *stop <= self.end) else {
            return false;
        };
        let copy = &mut self.out[start..stop];
        put_pointer(copy, 0, owner_at);
        put(copy, 2, &rtype.to_int().to_be_bytes());
        put(copy, 4, &[0, 1]);
        put(copy, TTL_AT, &ttl_s.to_be_bytes());
        put(copy, RDATA_AT - 2, &(rdata.len() as u16).to_be_bytes());
        put(copy, RDATA_AT, rdata);
        self.at = stop;
        self.counts[section as usize] += 1;
        true
    }

    /// Where the next record starts.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What stands at `at`.
    pub fn octets(&self, at: usize, len: usize) -> &[u8] {
        &self.out[at..at + len]
    }

    /// Writes over what stands at `at`.
    pub fn patch(&mut self, at: usize, octets: &[u8]) {
        put(self.out, at, octets);
    }

    /// Writes header and OPT; returns the length of the whole.
    pub fn finish(mut self, query: &Query<'_>, rcode: OptRcode, payload_max: u16) -> usize {
        let (low, high) = split_rcode(rcode);
        let mut opts = 0;
        if let Some(edns) = query.edns {
            self.opt(edns.dnssec_ok, high, payload_max);
            opts = 1;
        }
        let words = [query.id, self.flags | low, 1, self.counts[0], self.counts[1], self.counts[2] + opts]
            .map(u16::to_be_bytes);
        put(self.out, 0, words.as_flattened());
        self.at
    }

    /// RFC 6891 section 6.1.2: our own payload size, version 0, DO as it was asked.
    fn opt(&mut self, dnssec_ok: bool, rcode_high: u8, payload_max: u16) {
        let [p0, p1] = payload_max.to_be_bytes();
        let dnssec_ok = if dnssec_ok { 0x80 } else { 0 };
        let options_len = if self.extended_error.is_some() { EXTENDED_ERROR_LEN as u8 } else { 0 };
        let opt: [u8; OPT_LEN] = [0, 0, 41, p0, p1, rcode_high, 0, dnssec_ok, 0, 0, options_len];
        put(self.out, self.at, &opt);
        self.at += OPT_LEN;
        if let Some(code) = self.extended_error {
            let words = [OptionCode::EXTENDED_ERROR.to_int(), 2, code.to_int()].map(u16::to_be_bytes);
            put(self.out, self.at, words.as_flattened());
            self.at += EXTENDED_ERROR_LEN;
        }
    }
}

fn put(out: &mut [u8], at: usize, octets: &[u8]) {
    out[at..at + octets.len()].copy_from_slice(octets);
}

fn put_pointer(out: &mut [u8], at: usize, to: usize) {
    debug_assert!(to <= POINTER_MAX);
    // At most 14 bits, see Names.
    put(out, at, &(0xc000 | to as u16).to_be_bytes());
}
