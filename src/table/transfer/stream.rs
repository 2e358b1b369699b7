//! A transfer from its first message to its last. It holds one table, so that the zone is that of one
//! generation however long the secondary takes.
//!
//! ```text
//! whole zone   SOA(new)  all but the SOA                                    SOA(new)   RFC 5936 section 2.2
//! changes      SOA(new)  SOA(old) removed records  SOA(new) added records   SOA(new)   RFC 1995 section 4
//! up to date   SOA(new)                                                                RFC 1995 section 2
//! ```
//!
//! However many versions lie between, there is one sequence of changes (RFC 1995 section 5): they
//! are those between the two ends.

use std::sync::Arc;

use domain::base::Serial;
use domain::base::iana::{Class, Opcode, Rtype};

use crate::dns::message::{Query, flags};
use crate::dns::transfer::Wanted;

use super::super::Table;
use super::super::blob::BlobId;
use super::super::choice::WITHDRAWN;
use super::super::denial::hash_label;
use super::super::respond::PAYLOAD_MAX;
use super::super::tree::NodeId;
use super::super::zone_table::{Mode, ZoneTable};
use super::change::{Change, Followers, Records, changes};
use super::edit::Edit;
use super::journal::Past;
use super::pack::{Opt, Packer, Put};

/// A transfer under way.
pub struct Stream {
    table: Arc<Table>,
    zone: Arc<ZoneTable>,
    serial: u32,
    kind: Kind,
    steps: Vec<Step>,
    step: usize,
    cursor: Cursor,
    past: Option<Past>,
    changes: Box<[Change]>,
    /// In place of the changes: the past version is of another content.
    edit: Option<Edit>,
    /// Records sent so far.
    records: u64,
    messages: u64,
}

/// What kind of answer a request gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Whole,
    Changes,
    /// The secondary has this version, or a newer one.
    Current,
}

/// A stretch of the stream.
#[derive(Clone, Copy)]
enum Step {
    Soa(u32),
    /// That of the past version, which an edit may have changed beyond its serial.
    PastSoa(u32),
    All,
    Removed,
    Added,
}

#[derive(Clone, Copy)]
enum Side {
    Removed,
    Added,
}

/// Where the next record of a step is: a node and a part of it, or a change and one of its names; and
/// a record of that RRset. Behind the last node come the NSEC3 records.
#[derive(Clone, Copy, Default)]
struct Cursor {
    outer: usize,
    inner: usize,
    record: usize,
}

impl Stream {
    /// Begins a transfer of a zone (index into the table's catalog), which must be served whole.
    /// `past` is the version that the secondary has, if the journal knows it.
    pub fn new(table: Arc<Table>, zone: usize, wanted: Wanted, past: Option<Past>) -> Option<Stream> {
        let serial = table.serial(zone);
        let zone = table.catalog.zones[zone].clone();
        if zone.mode() != Mode::Whole {
            return None;
        }
        let mut stream = Stream {
            table,
            zone,
            serial,
            kind: Kind::Whole,
            steps: vec![Step::Soa(serial), Step::All, Step::Soa(serial)],
            step: 0,
            cursor: Cursor::default(),
            past: None,
            changes: Box::default(),
            edit: None,
            records: 0,
            messages: 0,
        };
        match wanted {
            Wanted::Since(since) if is_current(since, serial) => {
                stream.kind = Kind::Current;
                stream.steps = vec![Step::Soa(serial)];
            }
            Wanted::Since(_) => stream.take_changes(past, serial),
            Wanted::Whole => {}
        }
        Some(stream)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The serial of the version that is sent.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Records in the messages so far, SOA records included.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Writes the next message, without a TSIG, for which there is room. False: there is none.
    pub fn next(&mut self, query: &Query<'_>, out: &mut Vec<u8>) -> bool {
        if self.step == self.steps.len() {
            return false;
        }
        let zone = self.zone.clone();
        let flags = flags::QR | flags::AA | (query.flags & flags::RD);
        let mut packer = Packer::begin(query.id, flags, query.question.wire, out);
        while let Some(step) = self.steps.get(self.step).copied() {
            let full = match step {
                Step::Soa(serial) => !packer.soa(&zone, serial),
                Step::PastSoa(serial) => !packer.soa(self.past.as_ref().map_or(&zone, |past| &past.zone), serial),
                Step::All => self.all(&mut packer),
                Step::Removed if self.edit.is_some() => self.edited(&mut packer, Side::Removed),
                Step::Added if self.edit.is_some() => self.edited(&mut packer, Side::Added),
                Step::Removed => self.some(&mut packer, |change| &change.removed),
                Step::Added => self.some(&mut packer, |change| &change.added),
            };
            if full {
                break;
            }
            self.step += 1;
            self.cursor = Cursor::default();
        }
        let opt = query.edns.filter(|_| self.messages == 0);
        let opt = opt.map(|edns| Opt { payload: PAYLOAD_MAX, dnssec_ok: edns.dnssec_ok });
        self.records += u64::from(packer.finish(opt));
        self.messages += 1;
        true
    }

    /// Sends the changes since a former version, if they are fewer than the zone has records.
    fn take_changes(&mut self, past: Option<Past>, serial: u32) {
        let Some(past) = past else { return };
        // Of another content; or, after a reload, the journal is ahead of the table that we hold.
        if !Arc::ptr_eq(&past.zone, &self.zone) {
            self.edit = Edit::since(&past, &self.table, &self.zone);
            if self.edit.is_some() {
                self.take_past(past, serial);
            }
            return;
        }
        let changes = changes(&self.table, &past);
        let followers = past.followers.get_or_init(|| Followers::new(&self.table, &self.zone));
        let records = |change: &Change| {
            let each = change.removed.starts.len() + change.added.starts.len();
            each as u64 * followers.of(change.choice).len() as u64
        };
        if changes.iter().map(records).sum::<u64>() > followers.records {
            return;
        }
        self.changes = changes;
        self.take_past(past, serial);
    }

    fn take_past(&mut self, past: Past, serial: u32) {
        self.kind = Kind::Changes;
        self.steps = vec![
            Step::Soa(serial),
            Step::PastSoa(past.serial),
            Step::Removed,
            Step::Soa(serial),
            Step::Added,
            Step::Soa(serial),
        ];
        self.past = Some(past);
    }

    /// True: the message is full. The same for [`Stream::some`].
    fn all(&mut self, packer: &mut Packer<'_>) -> bool {
        let names = self.zone.names();
        loop {
            let Cursor { outer, inner, .. } = self.cursor;
            let (label, relative, part);
            if outer < names {
                (relative, part) = (self.zone.tree.name(outer as NodeId), self.part(outer as NodeId, inner));
            } else {
                // NSEC3 records stand at names that are none of the zone's.
                let Some(owner) = self.zone.nsec3(outer - names) else { return false };
                label = hash_label(&owner.hash);
                (relative, part) = (&label[..], [Some(owner.record), owner.signatures].get(inner).copied());
            }
            let Some(blob) = part else {
                self.cursor = Cursor { outer: outer + 1, ..Cursor::default() };
                continue;
            };
            if let Some(rrset) = blob.map(|blob| self.zone.blobs.rrset(blob)) {
                loop {
                    match packer.record(relative, &rrset, self.cursor.record) {
                        Put::Done(len) => self.cursor.record += len,
                        Put::Full => return true,
                        Put::End => break,
                    }
                }
            }
            self.cursor = Cursor { outer, inner: inner + 1, record: 0 };
        }
    }

    /// What stands at a node by place: each RRset, and behind it the signatures over it. `None`: that
    /// was all. Within, `None`: nothing of the kind, or nothing under this decision.
    fn part(&self, node: NodeId, place: usize) -> Option<Option<BlobId>> {
        let zone = &self.zone;
        let node = zone.tree.node(node);
        let set = zone.sets(node).get(place / 2)?;
        if place % 2 == 1 {
            return Some(zone.signatures(node, Rtype::from_int(set.rtype)));
        }
        let (outcome, _) = zone.outcome(*set, &self.table.picks);
        // The SOA frames the zone, see `steps`.
        Some(Some(outcome.blob).filter(|blob| *blob != WITHDRAWN && *blob != zone.soa.blob))
    }

    /// One side of an edit: RRsets of the past zone, or of the current one.
    fn edited(&mut self, packer: &mut Packer<'_>, side: Side) -> bool {
        let (Some(edit), Some(past)) = (&self.edit, &self.past) else { return false };
        let (zone, parts) = match side {
            Side::Removed => (&past.zone, &edit.removed),
            Side::Added => (&self.zone, &edit.added),
        };
        let Cursor { outer, record, .. } = &mut self.cursor;
        while let Some(part) = parts.get(*outer) {
            let rrset = zone.blobs.rrset(part.blob);
            loop {
                match packer.record(&part.owner, &rrset, *record) {
                    Put::Done(len) => *record += len,
                    Put::Full => return true,
                    Put::End => break,
                }
            }
            (*outer, *record) = (*outer + 1, 0);
        }
        false
    }

    fn some(&mut self, packer: &mut Packer<'_>, side: fn(&Change) -> &Records) -> bool {
        let Cursor { outer, inner, record } = &mut self.cursor;
        let Some(followers) = self.past.as_ref().and_then(|past| past.followers.get()) else { return false };
        while let Some(change) = self.changes.get(*outer) {
            let records = side(change);
            if records.blob != WITHDRAWN {
                let rrset = self.zone.blobs.rrset(records.blob);
                while let Some(node) = followers.of(change.choice).get(*inner) {
                    while let Some(start) = records.starts.get(*record) {
                        if let Put::Full = packer.record(self.zone.tree.name(*node), &rrset, usize::from(*start)) {
                            return true;
                        }
                        *record += 1;
                    }
                    (*inner, *record) = (*inner + 1, 0);
                }
            }
            (*outer, *inner) = (*outer + 1, 0);
        }
        false
    }
}

/// RFC 1995 section 2: who has this version or a newer one (RFC 1982) is told our own.
fn is_current(theirs: u32, ours: u32) -> bool {
    Serial(theirs) >= Serial(ours)
}

/// A NOTIFY for a zone (index into the table's catalog) with the new SOA in its answer section (RFC
/// 1996 section 3.7), without a TSIG.
pub fn notify(table: &Table, zone: usize, id: u16) -> Vec<u8> {
    let serial = table.serial(zone);
    let zone = &table.catalog.zones[zone];
    let mut question = zone.origin().wire().to_vec();
    question.extend_from_slice([Rtype::SOA.to_int(), Class::IN.to_int()].map(u16::to_be_bytes).as_flattened());
    let mut message = Vec::new();
    let flags = flags::AA | u16::from(Opcode::NOTIFY.to_int()) << 11;
    let mut packer = Packer::begin(id, flags, &question, &mut message);
    packer.soa(zone, serial);
    packer.finish(None);
    message
}
