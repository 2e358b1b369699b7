//! What stands in the way of an export, told before one is due: edits that an outcome of a pool would
//! ask for and that cannot be made. Where there are none, any of the failover records can get another
//! address, be withdrawn as far as its pool does that, and come back, each without the others.

use std::collections::HashMap;
use std::ops::Range;

use domain::base::iana::Rtype;

use super::Zone;
use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::document::{Document, Line, Provenance};
use super::edit::Refusal;
use super::parser::TTL_DEFAULT_S;
use super::splice::{ADDRESS, SERIAL, can_be_withdrawn, field_span};
use super::tag::{Role, Tag};

/// What may become of a failover record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fate {
    /// A number for the pool that it follows.
    pub pool: usize,
    /// Whether an outcome of the pool withdraws it.
    pub may_be_withdrawn: bool,
}

/// What stands in the way, in the order of the text. `fate` is asked for each failover record by its
/// tag and type.
pub fn obstacles(zone: &Zone, fate: &dyn Fn(&Tag, Rtype) -> Fate) -> Vec<Diagnostic> {
    let document = zone.document();
    let mut search = Search {
        document,
        found: Diagnostics::default(),
        owners: Chain { base: None, mixed: false },
        ttls: Chain { base: None, mixed: false },
        shared: Shared::new(document),
    };
    let mut owner = Vec::new();
    for (index, line) in document.lines().enumerate() {
        if index == zone.soa_entry() {
            search.refuse(line, field_span(line, SERIAL, &mut Vec::new()));
        }
        let mut comes_and_goes = false;
        if line.entry.is_tagged() {
            owner.clear();
            line.owner(&mut owner).expect("owners were checked by `rules`");
            let tag = line.tag(&owner).expect("the entry says that there is one");
            let fate = fate(&tag, line.entry.rtype());
            search.failover_record(line, fate, tag.role);
            comes_and_goes = fate.may_be_withdrawn || line.is_withdrawn();
        }
        search.owner(index, line, comes_and_goes);
        if index < document.ttl_from {
            search.ttl(index, line, comes_and_goes);
        }
    }
    search.found.into_sorted()
}

struct Search<'a> {
    document: &'a Document,
    found: Diagnostics,
    /// From whom the next record may inherit its owner, and its TTL.
    owners: Chain,
    ttls: Chain,
    shared: Shared<'a>,
}

impl<'a> Search<'a> {
    /// Whether the record itself can be edited.
    fn failover_record(&mut self, line: Line<'a>, fate: Fate, role: Role) {
        self.refuse(line, field_span(line, ADDRESS, &mut Vec::new()));
        if fate.may_be_withdrawn && !line.is_withdrawn() {
            self.refuse(line, can_be_withdrawn(line));
        }
        if self.shared.is_torn(line, (fate.pool, role)) {
            let message =
                "failover record in a file that is included more than once, and it follows another role there";
            self.error(line, message, "write it in a file of its own, or with pool= and role=");
        }
    }

    /// Whether the record would inherit another owner if failover records before it went or came.
    fn owner(&mut self, index: usize, line: Line<'a>, comes_and_goes: bool) {
        if !line.states_owner() {
            if self.owners.mixed {
                let message = "record without an owner behind a failover record that is withdrawn at times";
                self.error(line, message, "write the owner on this line too");
            }
            return;
        }
        let document = self.document;
        let owner_of = |line: Line<'_>| {
            let mut owner = Vec::new();
            line.owner(&mut owner).expect("owners were checked by `rules`");
            owner.to_ascii_lowercase()
        };
        let base = |base: Option<usize>| match base {
            Some(base) => owner_of(document.at(base)),
            None => document.origin().wire().to_ascii_lowercase(),
        };
        // What is generated leaves nothing to those that follow.
        if line.is_written() {
            self.owners.link(index, comes_and_goes, |from| base(from) == owner_of(line));
        }
    }

    /// The same for the TTL, where there is no `$TTL`.
    fn ttl(&mut self, index: usize, line: Line<'a>, comes_and_goes: bool) {
        if !line.states_ttl() {
            if self.ttls.mixed {
                let message = "record without a TTL behind a failover record that is withdrawn at times";
                self.error(line, message, "start the file with $TTL, or write the TTL on this line too");
            }
            return;
        }
        let base = |base: Option<usize>| base.map_or(TTL_DEFAULT_S, |base| self.document.entries[base].ttl());
        if line.is_written() {
            self.ttls.link(index, comes_and_goes, |from| base(from) == line.entry.ttl());
        }
    }

    fn refuse(&mut self, line: Line<'a>, tried: Result<impl Sized, Refusal>) {
        if let Err(refusal) = tried {
            let document = self.document;
            self.found.push(Severity::Error, || refusal.at(document, line.text, line.entry.span()));
        }
    }

    fn error(&mut self, line: Line<'a>, message: &str, hint: &str) {
        let (document, place) = (self.document, (line.text, line.entry.span()));
        self.found.push(Severity::Error, || document.diagnostic(Severity::Error, place, message, hint));
    }
}

/// From whom a record inherits: the last one that always stands there, or one behind it that comes
/// and goes.
struct Chain {
    /// The former, by its entry; absent: there is none yet.
    base: Option<usize>,
    /// One of the latter states something else.
    mixed: bool,
}

impl Chain {
    fn link(&mut self, entry: usize, comes_and_goes: bool, states_the_same: impl FnOnce(Option<usize>) -> bool) {
        match comes_and_goes {
            false => *self = Chain { base: Some(entry), mixed: false },
            true => self.mixed = self.mixed || !states_the_same(self.base),
        }
    }
}

/// The failover records of files that are included more than once: an edit of the file is one of all
/// of them.
struct Shared<'a> {
    /// How often each of these files is included.
    files: HashMap<&'a str, usize>,
    /// What the record at a place of such a file follows.
    follows: HashMap<(&'a str, usize), (usize, Role)>,
}

impl<'a> Shared<'a> {
    fn new(document: &'a Document) -> Shared<'a> {
        let mut files = HashMap::new();
        for text in document.texts.iter().filter(|text| matches!(text.from, Provenance::Include(_))) {
            *files.entry(text.file.as_str()).or_insert(0) += 1;
        }
        files.retain(|_, times| *times > 1);
        Shared { files, follows: HashMap::new() }
    }

    /// Whether the line stands for records that get different addresses.
    fn is_torn(&mut self, line: Line<'a>, follows: (usize, Role)) -> bool {
        let Range { start, .. } = line.entry.span();
        self.files.contains_key(line.file()) && *self.follows.entry((line.file(), start)).or_insert(follows) != follows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::edit::{Edit, EditError, apply};

    const HEAD: &str = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns.example.net.\n";

    fn zone(text: &str) -> Zone {
        let parsed = Zone::parse(&"example.org".parse().unwrap(), "z", text.as_bytes().to_vec());
        parsed.unwrap_or_else(|list| panic!("{text}: {list:?}"))
    }

    /// IPv6 is withdrawn at times.
    fn fate(_: &Tag, rtype: Rtype) -> Fate {
        Fate { pool: 0, may_be_withdrawn: rtype == Rtype::AAAA }
    }

    fn said(text: &str) -> Vec<String> {
        obstacles(&zone(text), &fate).iter().map(ToString::to_string).collect()
    }

    /// Every choice of IPv6 records that go, or come back: what [`obstacles`] promises.
    fn outcomes(text: &str) -> Result<(), EditError> {
        let zone = zone(text);
        let found: Vec<_> = zone.failover_records().filter(|found| found.record.rtype == Rtype::AAAA).collect();
        assert!(found.len() < 8);
        for choice in 0..1_u32 << found.len() {
            let chosen = found.iter().enumerate().filter(|(bit, _)| choice >> bit & 1 == 1);
            let edits: Vec<Edit> = chosen
                .map(|(_, found)| match found.withdrawn {
                    true => Edit::Restore { entry: found.entry },
                    false => Edit::Withdraw { entry: found.entry },
                })
                .collect();
            apply(&zone, &edits)?;
        }
        Ok(())
    }

    #[test]
    fn what_leans_on_a_record_that_comes_and_goes() {
        for (rest, expected) in [
            ("w A 192.0.2.1 ; Enable failover\n AAAA ::1 ; Enable failover\n TXT x\n", None),
            ("w AAAA ::1 ; Enable failover\nw A 192.0.2.1 ; Enable failover\n", None),
            ("w TXT x\nW AAAA ::1 ; Enable failover\n A 192.0.2.1\n", None),
            ("@ AAAA ::1 ; Enable failover\n A 192.0.2.1\n", None),
            ("w AAAA ( ::1\n)\n", None),
            ("$GENERATE 1-1 g A 192.0.2.1\nw AAAA ::1 ; Enable failover\nx TXT a\n TXT y\n", None),
            ("w AAAA ::1 ; Enable failover\n A 192.0.2.1\n", Some("5:1: error: record without an owner behind")),
            (
                "w AAAA ::1 ; Enable failover\n$ORIGIN w.example.org.\n A 192.0.2.1\n",
                Some("6:1: error: record without an owner"),
            ),
            (
                "w AAAA ::1 ; Enable failover\n$GENERATE 1-1 g A 192.0.2.1\n TXT y\n",
                Some("6:1: error: record without an owner"),
            ),
            (
                "w AAAA ::1 ; Enable failover\n AAAA ::2 ; Enable failover role=standby\n",
                Some("5:1: error: record without an owner"),
            ),
            // Where only one of the two goes, a third one becomes the last owner.
            (
                "w TXT x\nv AAAA ::1 ; Enable failover\nw AAAA ::2 ; Enable failover\n TXT y\n",
                Some("7:1: error: record without an owner"),
            ),
            (
                "w TXT x\n;nsd-failover:withdrawn v AAAA ::1 ; Enable failover\n TXT y\n",
                Some("6:1: error: record without an owner"),
            ),
            ("w AAAA ( ::1\n) ; Enable failover\n", Some("4:1: error: a record that spans lines cannot be withdrawn")),
        ] {
            let text = format!("{HEAD}{rest}");
            let found = said(&text);
            let as_expected = match (found.as_slice(), expected) {
                ([], None) => true,
                ([one], Some(expected)) => one.starts_with(&format!("z:{expected}")),
                _ => false,
            };
            assert!(as_expected, "{rest:?}: {found:#?}");
            let drafted = outcomes(&text);
            assert_eq!(drafted.is_ok(), expected.is_none(), "{rest:?}: {drafted:?}");
        }
    }

    #[test]
    fn what_leans_on_its_ttl() {
        let soa = "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns.example.net.\n";
        for (rest, is_fine) in [
            ("w 60 AAAA ::1 ; Enable failover\nx A 192.0.2.1\n", true),
            ("w 7 AAAA ::1 ; Enable failover\nx 7 A 192.0.2.1\nx TXT x\n", true),
            ("w AAAA ::1 ; Enable failover\nx A 192.0.2.1\n", true),
            ("w 7 AAAA ::1 ; Enable failover\n$TTL 5\nx A 192.0.2.1\n", true),
            ("w 7 AAAA ::1 ; Enable failover\nx A 192.0.2.1\n", false),
            (";nsd-failover:withdrawn w 7 AAAA ::1 ; Enable failover\nx A 192.0.2.1\n", false),
        ] {
            let text = format!("{soa}{rest}");
            let found = said(&text);
            assert_eq!(found.is_empty(), is_fine, "{rest:?}: {found:?}");
            assert!(
                found.iter().all(|found| found.starts_with("z:4:1: error: record without a TTL behind")),
                "{found:?}"
            );
            assert_eq!(outcomes(&text).is_ok(), is_fine, "{rest:?}");
        }
    }

    #[test]
    fn what_is_written_so_that_nothing_can_edit_it() {
        let soa = r"@ SOA \# 27 026E7300 016800 00000001 00000002 00000003 00000004 00000005";
        let generic = HEAD.replace("@ SOA ns h 1 2 3 4 5", soa);
        let generated = "$TTL 60\n$GENERATE 1-1 @ SOA \"ns h $ 2 3 4 5\"\n@ NS ns.example.net.\n";
        for (text, expected) in [
            (format!("{HEAD}w A \\# 4 C0000201 ; Enable failover\n"), "z:4:1: error: RFC 3597 RDATA"),
            (generic, "z:2:1: error: RFC 3597 RDATA"),
            (generated.to_owned(), "z:2:1: error: a record that $GENERATE makes is in no file"),
        ] {
            let found = said(&text);
            assert!(matches!(found.as_slice(), [one] if one.starts_with(expected)), "{text}: {found:?}");
        }
    }

    /// The same line stands for two records, which get different addresses.
    #[test]
    fn a_file_that_is_included_twice() {
        struct Same;
        impl crate::zone::source::Source for Same {
            fn read(&mut self, name: &str, _: usize) -> Result<crate::zone::source::Included, String> {
                let bytes = b"@ A 192.0.2.1 ; Enable failover\n".to_vec().into();
                Ok(crate::zone::source::Included { file: name.to_owned(), bytes, remark: None })
            }
        }
        for (rest, expected) in [
            ("$INCLUDE f a.example.org.\n$INCLUDE f b.example.org.\n", 0),
            ("$INCLUDE f a.example.org.\n$INCLUDE f standby.example.org.\n", 1),
            ("$INCLUDE f a.example.org.\n$INCLUDE g standby.example.org.\n", 0),
        ] {
            let text = format!("{HEAD}{rest}").into_bytes();
            let zone = Zone::load(&"example.org".parse().unwrap(), "z", text, &mut Same).unwrap();
            let found = obstacles(&zone, &fate);
            assert_eq!(found.len(), expected, "{rest}: {found:?}");
            assert!(found.iter().all(|found| found.file == "f" && found.message.contains("included more than once")));
        }
    }
}
