//! Zone text as a lossless document: bytes to spanned entries to records; edits by span;
//! diagnostics with line and column. Knows no file system: bytes in, bytes out.

pub mod check;
pub mod contained;
pub mod cursor;
mod cuts;
pub mod diagnostic;
mod directive;
pub mod document;
pub mod edit;
mod generate;
mod lexer;
pub mod obstacles;
pub mod origin;
mod parser;
mod rules;
pub mod source;
mod splice;
pub mod tag;
pub mod values;

use std::collections::BTreeSet;

use domain::base::iana::Rtype;

use crate::dns::name::Name;
use crate::dns::record::Record;
use cursor::Cursor;
use diagnostic::{Diagnostic, Severity};
use document::{Document, Line};
use source::Source;
use tag::Tag;

pub use directive::{GENERATED_MAX, INCLUDE_DEPTH_MAX, INCLUDES_MAX};

/// A zone that keeps the rules: every record of the document can be made and sent.
#[derive(Clone, Debug)]
pub struct Zone {
    document: Document,
    warnings: Vec<Diagnostic>,
    /// The SOA's entry.
    soa: usize,
    serial: u32,
}

/// A record of a zone, and where it comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ZoneRecord {
    pub record: Record,
    /// Set for a failover record.
    pub tag: Option<Tag>,
    /// The line is commented out by an export: the record belongs to its slot, but it is not
    /// published now, and its address means nothing.
    pub withdrawn: bool,
    /// Index into [`Document::entries`], for edits and diagnostics.
    pub entry: usize,
}

impl Zone {
    /// Reads a zone. `Err` holds everything there is to say, errors and warnings, in the order of
    /// the file. `file` is for messages.
    pub fn parse(origin: &Name, file: &str, bytes: Vec<u8>) -> Result<Zone, Vec<Diagnostic>> {
        Zone::from_document(Document::parse(file, origin, bytes))
    }

    /// The same for a zone that may include other files, which `source` finds.
    pub fn load(origin: &Name, file: &str, bytes: Vec<u8>, source: &mut dyn Source) -> Result<Zone, Vec<Diagnostic>> {
        Zone::from_document(Document::load(file, origin, bytes, source))
    }

    /// Holds a document against the rules of a zone.
    pub fn from_document(mut document: Document) -> Result<Zone, Vec<Diagnostic>> {
        let mut diagnostics = std::mem::take(&mut document.diagnostics);
        let soa = rules::apply(&document, &mut diagnostics);
        let errors = diagnostics.errors();
        let list = diagnostics.into_sorted();
        match soa {
            Some(soa) if errors == 0 => Ok(Zone { document, warnings: list, soa: soa.entry, serial: soa.serial }),
            _ => Err(list),
        }
    }

    pub fn origin(&self) -> &Name {
        self.document.origin()
    }

    /// The file's name, for messages.
    pub fn file(&self) -> &str {
        self.document.file()
    }

    pub fn document(&self) -> &Document {
        &self.document
    }

    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The serial in the text.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    pub fn soa(&self) -> Record {
        self.record(self.soa).record
    }

    /// The SOA's entry.
    pub(crate) fn soa_entry(&self) -> usize {
        self.soa
    }

    /// Every record in the order of the file, made one at a time. The withdrawn ones are among them.
    pub fn records(&self) -> impl ExactSizeIterator<Item = ZoneRecord> + '_ {
        (0..self.document.entries.len()).map(|entry| self.record(entry))
    }

    /// Only the failover records; costs nothing for the others.
    pub fn failover_records(&self) -> impl Iterator<Item = ZoneRecord> + '_ {
        let entries = self.document.entries().iter().enumerate();
        entries.filter(|(_, entry)| entry.is_tagged()).map(|(index, _)| self.record(index))
    }

    /// Only the records of these types; costs nothing for the others.
    pub fn records_of<'z>(&'z self, rtypes: &'z [Rtype]) -> impl Iterator<Item = ZoneRecord> + 'z {
        let entries = self.document.entries().iter().enumerate();
        entries.filter(|(_, entry)| rtypes.contains(&entry.rtype())).map(|(index, _)| self.record(index))
    }

    /// The same, borrowed from a cursor: for passes over very many.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor::new(self)
    }

    /// How many failover records there are.
    pub fn failover_count(&self) -> usize {
        self.document.entries.iter().filter(|entry| entry.is_tagged()).count()
    }

    /// The included files that an export may change: the SOA or failover records stand in them.
    pub fn editable_files(&self) -> BTreeSet<&str> {
        let tagged = self.document.lines().filter(|line| line.entry.is_tagged());
        let lines = tagged.chain([self.document.at(self.soa)]);
        lines.filter(Line::is_included).map(|line| line.file()).collect()
    }

    /// The record of one entry.
    pub fn record(&self, entry: usize) -> ZoneRecord {
        let line = self.document.at(entry);
        let record = line.record().expect("owners and RDATA were checked by `rules`");
        ZoneRecord { tag: line.tag(record.owner.wire()), withdrawn: line.is_withdrawn(), record, entry }
    }

    /// A diagnostic that points at a record of this zone (an index into [`Document::entries`]): at
    /// its RDATA, or at its comment.
    pub fn diagnostic(
        &self,
        severity: Severity,
        entry: usize,
        part: Part,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Diagnostic {
        let found = self.document.at(entry);
        let span = match part {
            Part::Rdata => found.entry.rdata as usize..found.entry.end as usize,
            Part::Comment => found.entry.comment(),
        };
        self.document.diagnostic(severity, (found.text, span), message, hint)
    }
}

/// The part of a record that a diagnostic is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    Rdata,
    Comment,
}

/// Whether a type may stand beside a CNAME: the signatures and proofs of RFC 4035 section 2.5, and
/// the keys of RFC 2181 section 10.1.
fn may_join_cname(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype::KEY | Rtype::SIG | Rtype::NXT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::rdata::to_text;

    const HEAD: &str = "$TTL 1h\n@ IN SOA ns h 1 2 3 4 5\n@ NS ns.example.net.\n";

    fn parse(text: &str) -> Result<Zone, Vec<Diagnostic>> {
        Zone::parse(&"example.org".parse().unwrap(), "z", text.as_bytes().to_vec())
    }

    /// The records behind [`HEAD`], one a line.
    fn records(rest: &str) -> Vec<String> {
        let zone = parse(&format!("{HEAD}{rest}")).unwrap_or_else(|list| panic!("{rest:?}: {list:?}"));
        let line = |found: ZoneRecord| {
            let Record { owner, rtype, ttl, rdata, .. } = found.record;
            let tag = found.tag.map_or(String::new(), |tag| format!(" {}", tag.role));
            let out = if found.withdrawn { " withdrawn" } else { "" };
            format!("{owner} {ttl} {rtype} {}{tag}{out}", to_text(rtype, &rdata))
        };
        zone.records().skip(2).map(line).collect()
    }

    /// What is said about the text behind [`HEAD`], without "z:", counted from its first line.
    fn said(rest: &str) -> Vec<String> {
        let list = match parse(&format!("{HEAD}{rest}")) {
            Ok(zone) => zone.warnings().to_vec(),
            Err(list) => list,
        };
        list.iter()
            .map(|found| format!("{}:{}: {}: {}", found.line - 3, found.column, found.severity, found.message))
            .collect()
    }

    #[test]
    fn the_master_file_format() {
        for (rest, expected) in [
            ("a A 192.0.2.1", vec!["a.example.org. 3600 A 192.0.2.1"]),
            ("a 5 IN A 192.0.2.1\r\n", vec!["a.example.org. 5 A 192.0.2.1"]),
            ("a IN 1h30m A 192.0.2.1\n", vec!["a.example.org. 5400 A 192.0.2.1"]),
            (
                "A a 192.0.2.1\nIn in a 192.0.2.1\n",
                vec!["A.example.org. 3600 A 192.0.2.1", "In.example.org. 3600 A 192.0.2.1"],
            ),
            ("a 5 A 192.0.2.1\n\tAAAA ::1\n", vec!["a.example.org. 5 A 192.0.2.1", "a.example.org. 3600 AAAA ::1"]),
            (
                "a A 192.0.2.1\n$ORIGIN sub.example.org.\n AAAA ::1\nb NS c\n",
                vec![
                    "a.example.org. 3600 A 192.0.2.1",
                    "a.example.org. 3600 AAAA ::1",
                    "b.sub.example.org. 3600 NS c.sub.example.org.",
                ],
            ),
            ("a TXT ( one ; no ) here\n \"two ; ( \"\n) ; out\n", vec!["a.example.org. 3600 TXT \"one\" \"two ; ( \""]),
            ("a ( MX\n 10\n b )\n", vec!["a.example.org. 3600 MX 10 b.example.org."]),
            ("a\\.b\\032c A 192.0.2.1", vec!["a\\.b\\032c.example.org. 3600 A 192.0.2.1"]),
            (
                "$ttl 9\na A 192.0.2.1\n$TTL 1w\nb A 192.0.2.1\n",
                vec!["a.example.org. 9 A 192.0.2.1", "b.example.org. 604800 A 192.0.2.1"],
            ),
            ("a CLASS1 TYPE1 \\# 4 C0000201", vec!["a.example.org. 3600 A 192.0.2.1"]),
            ("a TYPE65280 \\# 2 ( AB\n CD )", vec!["a.example.org. 3600 TYPE65280 \\# 2 ABCD"]),
            ("\"a\" A \"192.0.2.1\"", vec!["a.example.org. 3600 A 192.0.2.1"]),
            ("@ CAA 0 issue \"ca\"", vec!["example.org. 3600 CAA 0 issue \"ca\""]),
            ("a HTTPS 1 . alpn=\"h2,h3\" port=8443", vec!["a.example.org. 3600 HTTPS 1 . alpn=h2,h3 port=8443"]),
        ] {
            assert_eq!(records(rest), expected, "{rest:?}");
        }
    }

    #[test]
    fn without_a_dollar_ttl_the_last_one_stated_is_inherited() {
        let zone = parse("@ 60 SOA ns h 1 2 3 4 5\n NS ns.example.net.\na 5 A 192.0.2.1\nb A 192.0.2.1\n").unwrap();
        assert_eq!(zone.records().map(|found| found.record.ttl).collect::<Vec<_>>(), [60, 60, 5, 5]);
        assert_eq!(zone.warnings().len(), 1, "said once: {:?}", zone.warnings());
        assert!(zone.warnings()[0].message.contains("nsd before 4.10 takes 3600"));
    }

    #[test]
    fn the_first_owner_is_the_origin() {
        let zone = parse(" 60 SOA ns h 4294967295 2 3 4 5\n NS ns\n").unwrap();
        assert_eq!((zone.soa().owner.to_string(), zone.serial()), ("example.org.".to_owned(), u32::MAX));
    }

    #[test]
    fn tags_and_withdrawn_lines() {
        for (rest, expected) in [
            ("a A 192.0.2.1 ; Enable failover", vec!["a.example.org. 3600 A 192.0.2.1 primary"]),
            ("a A 192.0.2.1;enable failover\r\n", vec!["a.example.org. 3600 A 192.0.2.1 primary"]),
            ("Standby.x A 192.0.2.1 ; Enable failover", vec!["Standby.x.example.org. 3600 A 192.0.2.1 standby"]),
            (
                "standby A 192.0.2.1 ; Enable failover role=primary",
                vec!["standby.example.org. 3600 A 192.0.2.1 primary"],
            ),
            ("a A ( 192.0.2.1 ; Enable failover\n)", vec!["a.example.org. 3600 A 192.0.2.1"]),
            ("a A ( ; x\n192.0.2.1 ) ; Enable failover", vec!["a.example.org. 3600 A 192.0.2.1 primary"]),
            ("a A 192.0.2.1\n; Enable failover\n", vec!["a.example.org. 3600 A 192.0.2.1"]),
            (
                "a 5 A 192.0.2.1\n;nsd-failover:withdrawn b 7 A 192.0.2.2 ; Enable failover\n AAAA ::1\n",
                vec![
                    "a.example.org. 5 A 192.0.2.1",
                    "b.example.org. 7 A 192.0.2.2 primary withdrawn",
                    "a.example.org. 3600 AAAA ::1",
                ],
            ),
            (
                "a 5 A 192.0.2.1\n;nsd-failover:withdrawn \tAAAA ::2 ; Enable failover\n",
                vec!["a.example.org. 5 A 192.0.2.1", "a.example.org. 3600 AAAA ::2 primary withdrawn"],
            ),
        ] {
            assert_eq!(records(rest), expected, "{rest:?}");
        }
    }

    #[test]
    fn what_is_said() {
        for (rest, expected) in [
            ("a A 192.0.2\n", "1:5: error: bad A record: `192.0.2` is not an IPv4 address"),
            ("a A\n", "1:4: error: bad A record: an IPv4 address is missing"),
            ("\nb FOO x\n", "2:3: error: `FOO` is no record type"),
            ("a\n", "1:1: error: record without a type"),
            ("a 5 6 A 192.0.2.1\n", "1:5: error: `6` is no record type"),
            ("a CH A 192.0.2.1\n", "1:3: error: class CH in a zone of class IN"),
            ("a 2147483648 A 192.0.2.1\n", "1:3: error: `2147483648` is no time to live"),
            ("a ANY x\n", "1:3: error: type ANY cannot stand in a zone"),
            ("a TXT \"x\n", "1:7: error: the quote that opens here is never closed"),
            ("a TXT ( x\n", "1:7: error: the parenthesis that opens here is never closed"),
            ("a.b..c A 192.0.2.1\n", "1:1: error: `a.b..c` is no domain name: empty label"),
            ("a.example.net. A 192.0.2.1\n", "1:1: error: `a.example.net.` lies outside the zone example.org."),
            ("@ SOA ns h 1 2 3 4 5\n", "1:1: error: second SOA record"),
            ("a SOA ns h 1 2 3 4 5\n", "1:1: error: SOA record below the apex, at `a.example.org.`"),
            ("a CNAME b\nA TXT x\n", "2:1: error: CNAME and TXT at `A.example.org.`"),
            ("a CNAME b\na CNAME c\n", "2:1: error: second CNAME at `a.example.org.`"),
            ("a A 192.0.2.1\na A 192.0.2.1\n", "2:1: warning: the same record again"),
            (
                "a 1 A 192.0.2.1\na 2 A 192.0.2.2\n",
                "2:1: warning: the A records of `a.example.org.` have different TTLs",
            ),
            ("$ORIGIN sub\n", "1:9: error: `sub` is no absolute name: relative name without an origin"),
            ("$TTL\n", "1:1: error: $TTL without a value"),
            ("$TTL 5 6\n", "1:8: error: nothing more is expected here"),
            ("$FOO 5\n", "1:1: error: unknown directive `$FOO`"),
            (" $TTL 5\n", "1:2: error: `$TTL` is no record type"),
            ("$INCLUDE x\n", "1:10: error: cannot include `x`: no other file can be read here"),
            ("$INCLUDE\n", "1:1: error: $INCLUDE without a value"),
            ("$INCLUDE x y\n", "1:12: error: `y` is no absolute name: relative name without an origin"),
            ("$INCLUDE x y. z\n", "1:15: error: nothing more is expected here"),
            ("$GENERATE 1-3 a$ A 192.0.2.$\n", "1:1: warning: nsd does not know $GENERATE: it refuses this file"),
            ("$GENERATE 1-3 a$ A 192.0.2.$ ; Enable failover\n", "1:1: error: failover tag on $GENERATE"),
            ("$GENERATE 3-1 a$ A 192.0.2.$\n", "1:11: error: `3-1` is no range"),
            ("$GENERATE 1-2000000 a$ TXT x\n", "1:1: error: $GENERATE of 2000000 records makes the zone too large"),
            ("d DNAME b\nx.d A 192.0.2.1\n", "2:1: error: `x.d.example.org.` lies below the DNAME at `d.example.org.`"),
            ("d DNAME b\nd DNAME c\n", "2:1: error: second DNAME at `d.example.org.`"),
            (
                "d NS a.net.\nx.d TXT x\n",
                "2:1: warning: this TXT record is hidden behind the delegation of `d.example.org.`",
            ),
            (
                "d NS a.net.\nd MX 1 a\n",
                "2:1: warning: this MX record is hidden behind the delegation of `d.example.org.`",
            ),
            ("d NS x.d\n", "1:1: warning: name server `x.d.example.org.` has no address in the zone"),
            ("d NS al\nal CNAME x\n", "1:1: warning: name server `al.example.org.` is an alias"),
            (
                "d NS x.d\nx.d A 192.0.2.1 ; Enable failover\n",
                "2:1: warning: failover record behind the delegation of `d.example.org.`: it is at most glue",
            ),
            ("a MX 1 b ; Enable failover\n", "1:10: error: failover tag on a record of type MX"),
            ("a A 192.0.2.1 ; Enabel failover\n", "1:17: warning: this looks like a mistyped failover tag"),
            ("a A 192.0.2.1 ; Enable failover poool=x\n", "1:33: error: unknown key `poool` in the failover tag"),
            (
                "a A 192.0.2.1 ; Enable failover\na A 192.0.2.2 ; Enable failover\n",
                "2:1: warning: second failover record of `a.example.org.` for the primary",
            ),
            (
                ";nsd-failover:withdrawn what\n",
                "1:25: warning: withdrawn line that holds no failover record: record without a type",
            ),
            (
                ";nsd-failover:withdrawn x A 999 ; Enable failover\n",
                "1:25: warning: withdrawn line that holds no failover record: `999` is not an IPv4 address",
            ),
            (
                ";nsd-failover:withdrawn x.other. A 192.0.2.1 ; Enable failover\n",
                "1:25: warning: withdrawn line that holds no failover record: it lies outside the zone example.org.",
            ),
            (
                ";nsd-failover:withdrawn x A 192.0.2.1 ; Enable failover role=bogus\n",
                "1:25: warning: withdrawn line that holds no failover record: unknown role `bogus` in the failover tag",
            ),
            (";nsd-failover:withdrawn x A 192.0.2.1\n", "1:25: warning: withdrawn line that holds no failover record"),
            ("a A ( 192.0.2.1 ; Enable failover\n)\n", "1:17: warning: a failover tag inside parentheses is none"),
            ("a TXT ( x ; Enable failover\n)\na CNAME b\n", "3:1: error: CNAME and TXT at `a.example.org.`"),
            ("a CNAME b\na CNAME B\n", "2:1: warning: the same record again"),
            ("d DNAME b\nd DNAME B\n", "2:1: warning: the same record again"),
            ("a MX 1 b\na MX 1 B\n", "2:1: warning: the same record again"),
            ("a A 192.0.2.1 ; Failover enabled\n", "1:17: warning: this looks like a mistyped failover tag"),
            ("$ORIGIN \"x.example.org.\"\n", "1:9: error: the origin `x.example.org.` stands in quotes"),
        ] {
            assert_eq!(said(rest), [expected], "{rest:?}");
        }
    }

    #[test]
    fn the_apex() {
        let said = |text: &str| parse(text).map_or_else(|list| list, |zone| zone.warnings().to_vec())[0].to_string();
        assert!(said("").starts_with("z:1:1: error: zone example.org. has no SOA record at its apex"));
        assert!(said("$TTL 5\n@ SOA a b 1 1 1 1 1").contains("warning: zone example.org. has no NS record"));
        assert!(said("\u{feff}$TTL 5").contains("byte order mark"));
    }

    #[test]
    fn a_broken_line_does_not_hide_the_next() {
        let list = parse(&format!("{HEAD}a A x\nb A y ) \n c A 192.0.2.1\n")).unwrap_err();
        assert_eq!(list.iter().map(|found| found.line).collect::<Vec<_>>(), [4, 5, 6]);
    }

    #[test]
    fn many_errors_are_counted() {
        let list = parse(&"a FOO\n".repeat(1_000)).unwrap_err();
        assert_eq!(list.len(), diagnostic::DIAGNOSTICS_MAX + 1);
        assert!(list[diagnostic::DIAGNOSTICS_MAX].message.starts_with("900 more"));
    }

    #[test]
    fn a_zone_has_a_bounded_number_of_records() {
        let read = |text: &str| {
            let text = format!("{HEAD}{text}").into_bytes();
            parser::parse_at_most(4, "z", &"example.org".parse().unwrap(), text, &mut source::NoSource)
        };
        assert_eq!(read("a TXT x\nb TXT y\n; end\n").diagnostics(), []);
        let document = read(&"a TXT x\n".repeat(9));
        assert_eq!(document.entries().len(), 4);
        let said: Vec<String> = document.diagnostics().iter().map(ToString::to_string).collect();
        assert_eq!(said, ["z:6:1: error: the zone has more than 4 records; split the zone"]);
    }

    #[test]
    fn entries_are_small() {
        assert_eq!(size_of::<document::Entry>(), 40);
    }
}
