//! A reply in the making: header, the question as it was asked, whole RRsets, OPT.

use domain::base::iana::{Class, OptRcode, Rtype};

use crate::dns::message::{HEADER_LEN, Query, flags, split_rcode};

use super::blob::{RDATA_AT, Rrset, TTL_AT};
use super::options::Options;

/// Where the question's name stands in every reply.
pub(super) const QUESTION_AT: usize = HEADER_LEN;
/// A compression pointer has 14 bits (RFC 1035 section 4.1.4): nothing behind this can be named.
pub(super) const POINTER_MAX: usize = 0x3fff;
/// An OPT record without options.
const OPT_LEN: usize = 11;

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
    /// Where the whole must end.
    limit: usize,
    questions: u16,
    counts: [u16; 3],
    id: u16,
    pub flags: u16,
    /// The options of OPT, and DO; without EDNS in the query there is no OPT.
    pub edns: Option<(Options<'o>, bool)>,
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
    pub fn begin(query: &Query<'_>, options: Options<'o>, limit: usize, out: &'o mut [u8]) -> Option<Reply<'o>> {
        let edns = query.edns.map(|edns| (options, edns.dnssec_ok));
        let mut reply = Reply::without_question(query.id, query.flags, edns, limit, out)?;
        let question = query.question.wire;
        let at = HEADER_LEN + question.len();
        if at > reply.end {
            return None;
        }
        reply.out[HEADER_LEN..at].copy_from_slice(question);
        reply.at = at;
        reply.questions = 1;
        Some(reply)
    }

    /// The same where nothing was asked.
    pub fn without_question(
        id: u16,
        flags: u16,
        edns: Option<(Options<'o>, bool)>,
        limit: usize,
        out: &'o mut [u8],
    ) -> Option<Reply<'o>> {
        let limit = limit.min(out.len());
        let opt = edns.map_or(0, |(options, _)| OPT_LEN + options.len_max());
        let end = limit.checked_sub(opt).filter(|end| *end >= HEADER_LEN)?;
        // RFC 1035 section 4.1.1: RD is copied; RFC 4035 section 3.1.6: so is CD. Nothing else is.
        let flags = flags::QR | (flags & (flags::OPCODE | flags::RD | flags::CD));
        Some(Reply { out, at: HEADER_LEN, end, limit, questions: 0, counts: [0; 3], id, flags, edns })
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

    /// Lets the RRset of so many records, all of one length, that begins at `start` and was written last begin
    /// with another of them. Which one is the query's ID's to say: nothing is counted between queries.
    pub fn rotate(&mut self, start: usize, records: usize) {
        let rrset = &mut self.out[start..self.at];
        let record_len = rrset.len() / records.max(1);
        rrset.rotate_left(usize::from(self.id) % records.max(1) * record_len);
    }

    /// Adds records whose owner is nowhere in the reply yet: `relative` to the apex. Their RDATA must
    /// hold no compressed names. False: they do not fit, and the reply is as it was.
    pub fn owned(&mut self, section: Section, relative: &[u8], rrset: Rrset<'_>, apex_at: usize) -> bool {
        debug_assert!(rrset.apex_pointers.is_empty());
        let start = self.at;
        // The first record spells the owner out, and the others point there; but where no pointer
        // reaches, each spells it out.
        let spelled = if start > POINTER_MAX { rrset.records } else { 1 };
        let stop = start + usize::from(spelled) * relative.len() + rrset.bytes.len();
        if stop > self.end {
            return false;
        }
        let (mut at, mut rest) = (start, rrset.bytes);
        for number in 0..rrset.records {
            let rdata_len = u16::from_be_bytes([rest[RDATA_AT - 2], rest[RDATA_AT - 1]]);
            let (record, behind) = rest.split_at(RDATA_AT + usize::from(rdata_len));
            let mut owner_at = start;
            if number < spelled {
                put(self.out, at, relative);
                (at, owner_at) = (at + relative.len(), apex_at);
            }
            put(self.out, at, record);
            put_pointer(self.out, at, owner_at);
            (at, rest) = (at + record.len(), behind);
        }
        self.at = stop;
        self.counts[section as usize] += rrset.records;
        true
    }

    /// Adds one record made on the spot. False: it does not fit.
    pub fn record(
        &mut self,
        section: Section,
        owner_at: usize,
        (rtype, class): (Rtype, Class),
        ttl_s: u32,
        rdata: &[u8],
    ) -> bool {
        let start = self.at;
        let Some(stop) = start.checked_add(RDATA_AT + rdata.len()).filter(|stop| *stop <= self.end) else {
            return false;
        };
        let copy = &mut self.out[start..stop];
        put_pointer(copy, 0, owner_at);
        put(copy, 2, &rtype.to_int().to_be_bytes());
        put(copy, 4, &class.to_int().to_be_bytes());
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

    /// Whether DNSSEC records are wanted (RFC 3225).
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|(_, dnssec_ok)| dnssec_ok)
    }

    /// Writes header and OPT; returns the length of the whole.
    pub fn finish(&mut self, rcode: OptRcode, payload_max: u16) -> usize {
        let (low, high) = split_rcode(rcode);
        let mut opts = 0;
        if let Some((options, dnssec_ok)) = self.edns {
            self.opt(&options, dnssec_ok, high, payload_max);
            opts = 1;
        }
        let [answers, authorities, additionals] = self.counts;
        let words = [self.id, self.flags | low, self.questions, answers, authorities, additionals + opts];
        put(self.out, 0, words.map(u16::to_be_bytes).as_flattened());
        self.at
    }

    /// RFC 6891 section 6.1.2: our own payload size, version 0, DO as it was asked.
    fn opt(&mut self, options: &Options<'_>, dnssec_ok: bool, rcode_high: u8, payload_max: u16) {
        let at = self.at + OPT_LEN;
        let len = options.write(at, &mut self.out[at..self.limit]);
        let [p0, p1] = payload_max.to_be_bytes();
        let [l0, l1] = (len as u16).to_be_bytes();
        let dnssec_ok = if dnssec_ok { 0x80 } else { 0 };
        let opt: [u8; OPT_LEN] = [0, 0, 41, p0, p1, rcode_high, 0, dnssec_ok, 0, l0, l1];
        put(self.out, self.at, &opt);
        self.at = at + len;
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
