//! The records of a zone, one after the other, in room that is used again: nothing is allocated for
//! a record unless its tag names a pool.

use super::Zone;
use super::document::Line;
use super::tag::Tag;
use crate::dns::rdata::{CLASS, Field};
use crate::dns::record::RecordRef;

/// Goes through the records of a zone in the order of the file.
pub struct Cursor<'a> {
    lines: Box<dyn Iterator<Item = (usize, Line<'a>)> + 'a>,
    owner: Vec<u8>,
    rdata: Vec<u8>,
    fields: Vec<Field<'a>>,
}

/// A record until the next one is asked for; as [`super::ZoneRecord`].
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    pub record: RecordRef<'a>,
    pub tag: Option<Tag>,
    pub withdrawn: bool,
    pub entry: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(zone: &'a Zone) -> Cursor<'a> {
        let lines = Box::new(zone.document().lines().enumerate());
        Cursor { lines, owner: Vec::new(), rdata: Vec::new(), fields: Vec::new() }
    }

    /// The next record, the withdrawn ones too.
    pub fn next_record(&mut self) -> Option<Seen<'_>> {
        let (entry, line) = self.lines.next()?;
        Some(self.see(entry, line))
    }

    /// The next failover record; the others cost nothing.
    pub fn next_failover(&mut self) -> Option<Seen<'_>> {
        let (entry, line) = self.lines.find(|(_, line)| line.entry().is_tagged())?;
        Some(self.see(entry, line))
    }

    fn see(&mut self, entry: usize, line: Line<'a>) -> Seen<'_> {
        self.owner.clear();
        self.rdata.clear();
        line.owner(&mut self.owner).expect("owners were checked by `rules`");
        line.rdata(&mut self.fields, &mut self.rdata).expect("RDATA was checked by `rules`");
        let (rtype, ttl) = (line.entry().rtype(), line.entry().ttl());
        let record = RecordRef { owner: &self.owner, rtype, class: CLASS, ttl, rdata: &self.rdata };
        Seen { record, tag: line.tag(&self.owner), withdrawn: line.is_withdrawn(), entry }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sees_what_the_records_are() {
        let text = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n NS ns.example.net.\nw A 192.0.2.1 ; Enable failover pool=p\n\
                    ;nsd-failover:withdrawn w 5 AAAA ::1 ; Enable failover\nw TXT \"a b\" c\n";
        let zone = Zone::parse(&"example.org".parse().unwrap(), "z", text.as_bytes().to_vec()).unwrap();
        let mut cursor = zone.cursor();
        for found in zone.records() {
            let seen = cursor.next_record().unwrap();
            assert_eq!((seen.record, seen.tag), (found.record.as_ref(), found.tag));
            assert_eq!((seen.withdrawn, seen.entry), (found.withdrawn, found.entry));
        }
        assert!(cursor.next_record().is_none());
        let mut cursor = zone.cursor();
        let entries = std::iter::from_fn(|| cursor.next_failover().map(|seen| seen.entry));
        assert_eq!(entries.collect::<Vec<_>>(), [2, 3]);
        assert_eq!(zone.failover_count(), 2);
    }
}
