//! The lines that start with `$`: `$ORIGIN`, `$TTL`, `$INCLUDE` (RFC 1035 section 5.1, RFC 2308
//! section 4), and BIND's `$GENERATE`.

use std::ops::Range;
use std::sync::Arc;

use super::diagnostic::Severity;
use super::document::{DOCUMENT_MAX, Inclusion, Provenance, REPEATED_MAX, Run, Text};
use super::generate::Generate;
use super::lexer::Outline;
use super::parser::{Parser, span};
use super::source::Included;
use super::tag::{self, Comment};
use crate::dns::name::{Name, octet_from_text};
use crate::dns::rdata::{Field, quoted};

/// How deep files may include each other: nsd's own limit.
pub const INCLUDE_DEPTH_MAX: usize = 10;
/// How many files a zone may include, each inclusion counted.
pub const INCLUDES_MAX: usize = 10_000;
/// How many records `$GENERATE` may make in one zone.
pub const GENERATED_MAX: usize = 1 << 20;
/// See [`REPEATED_MAX`].
const TOO_MUCH_REPEATED: &str = "more than 64 MiB of text are generated or included again";

impl<'a> Parser<'a, '_> {
    pub(super) fn directive(&mut self, outline: &Outline, fields: &[Field<'a>]) {
        let (first, arguments) = fields.split_first().expect("a directive has its name");
        match first.text.to_ascii_uppercase().as_slice() {
            b"$ORIGIN" => {
                // `@` is the origin that there is, as in nsd and BIND.
                if let Some([argument]) = self.arguments::<1>(outline, arguments, "write $ORIGIN example.org.")
                    && (argument.quoted || argument.text != b"@")
                    && let Some(origin) = self.absolute(&argument)
                {
                    self.set_origin(origin);
                }
            }
            b"$TTL" => {
                if let Some([argument]) = self.arguments::<1>(outline, arguments, "write $TTL 4h")
                    && let Some(ttl) = self.ttl(&argument)
                {
                    self.reading.inherited.default_ttl = Some(ttl);
                    self.reading.inherited.ttl_differs = false;
                    self.reading.ttl_from.get_or_insert(self.reading.entries.len());
                }
            }
            b"$INCLUDE" => self.include(outline, arguments),
            b"$GENERATE" => self.generate(outline, arguments),
            _ => {
                let message = format!("unknown directive `{}`", quoted(first.text));
                let hint = r"there are $ORIGIN, $TTL, $INCLUDE and $GENERATE; for a name write `\$`";
                self.error(span(first), message, hint);
            }
        }
    }

    /// Exactly so many fields behind the directive's name.
    fn arguments<const N: usize>(
        &mut self,
        outline: &Outline,
        fields: &[Field<'a>],
        hint: &str,
    ) -> Option<[Field<'a>; N]> {
        match fields.get(N) {
            Some(extra) => self.error(span(extra), "nothing more is expected here", "a comment starts with `;`"),
            None if fields.len() < N => {
                let line = outline.start..outline.end;
                let name = self.bytes[line.clone()].split(u8::is_ascii_whitespace).next().unwrap_or_default();
                self.error(line, format!("{} without a value", quoted(&name.to_ascii_uppercase())), hint);
            }
            None => {}
        }
        fields.try_into().ok()
    }

    /// An origin: nsd takes absolute names only, and neither nsd nor BIND takes them in quotes.
    fn absolute(&mut self, field: &Field<'a>) -> Option<Name> {
        if field.quoted {
            let message = format!("the origin `{}` stands in quotes", quoted(field.text));
            self.error(span(field), message, "write it without quotes");
            return None;
        }
        Name::from_text(field.text, None)
            .map_err(|error| {
                let message = format!("`{}` is no absolute name: {error}", quoted(field.text));
                self.error(span(field), message, "end it with a dot, as nsd wants it");
            })
            .ok()
    }

    fn set_origin(&mut self, origin: Name) {
        self.reading.inherited.origin = self.push_origin(origin);
    }

    fn push_origin(&mut self, origin: Name) -> u32 {
        self.reading.origins.push(origin);
        (self.reading.origins.len() - 1) as u32
    }

    /// `$INCLUDE FILE [ORIGIN]`. The origin is restored behind it; owner and `$TTL` are those that
    /// the file ended with, as in nsd.
    fn include(&mut self, outline: &Outline, fields: &[Field<'a>]) {
        let (file, origin) = match fields {
            [file] => (file, None),
            [file, origin] => match self.absolute(origin) {
                Some(origin) => (file, Some(origin)),
                None => return,
            },
            _ => {
                let [_, _, extra, ..] = fields else {
                    self.arguments::<1>(outline, fields, "write $INCLUDE FILE, or $INCLUDE FILE ORIGIN");
                    return;
                };
                return self.error(span(extra), "nothing more is expected here", "a comment starts with `;`");
            }
        };
        let Some(text) = self.included(file, outline.start..outline.end) else { return };
        if file.quoted {
            let message = "nsd before 4.10 takes the quotes as a part of the file's name";
            self.warning(span(file), message, "write the name without quotes");
        }
        let end = self.bytes.len();
        if self.bytes.last() != Some(&b'\n') && outline.end < end {
            let message = "the file does not end with a newline: nsd 4.6 refuses that where there is an $INCLUDE";
            self.warning(end..end, message, "end the last line");
        }
        let included = &self.reading.texts[text].bytes;
        if included.last().is_some_and(|&last| last != b'\n') {
            let end = included.len();
            let message =
                "the included file does not end with a newline: nsd 4.6 completes its last name with the wrong origin";
            self.reading.note(Severity::Warning, (text, end..end), message.to_owned(), "end the last line".to_owned());
        }
        let before = (self.reading.inherited.origin, self.reading.inherited.default_ttl);
        let owner = self.carry_owner(self.text);
        if let Some(origin) = origin {
            self.set_origin(origin);
        }
        let first = self.reading.inherited.origin;
        self.reading.text(text);
        let last_owner = self.carry_owner(text);
        if let Provenance::Include(inclusion) = &mut self.reading.texts[text].from {
            (inclusion.first, inclusion.last) = (first, self.reading.inherited.origin);
        }
        self.reading.inherited.owner_differs = owner != last_owner;
        self.reading.inherited.ttl_differs |= self.reading.inherited.default_ttl != before.1;
        self.reading.inherited.origin = before.0;
        self.reading.runs.push(Run { first: self.reading.entries.len(), text: self.text });
    }

    /// Reads the file that a field of this line names; its number among the texts.
    fn included(&mut self, field: &Field<'a>, line: Range<usize>) -> Option<usize> {
        let mut name = Vec::new();
        let mut at = 0;
        while at < field.text.len() {
            name.push(octet_from_text(field.text, &mut at).unwrap_or(b'\\'));
        }
        let named = String::from_utf8(name).ok().filter(|name| !name.is_empty() && !name.contains('\0'));
        let Some(name) = named else {
            let message = format!("`{}` is no file name", quoted(field.text));
            self.error(span(field), message, "write $INCLUDE FILE, or $INCLUDE FILE ORIGIN");
            return None;
        };
        let refuse = |parser: &mut Self, reason: &str, hint: &str| {
            parser.error(span(field), format!("cannot include `{}`: {reason}", quoted(field.text)), hint);
            None
        };
        if self.reading.open.len() > INCLUDE_DEPTH_MAX {
            return refuse(self, "files include each other more than 10 deep", "nsd goes no deeper either");
        }
        self.reading.inclusions += 1;
        if self.reading.inclusions > INCLUDES_MAX {
            return refuse(self, "the zone includes more than 10,000 files", "put them together");
        }
        if self.reading.is_full {
            return None;
        }
        let limit = DOCUMENT_MAX.saturating_sub(self.reading.octets);
        let Included { file, bytes, remark } = match self.reading.source.read(&name, limit) {
            Ok(included) => included,
            Err(reason) => {
                let hint = "relative names count from nsd's zonesdir where that is known (zonesdir in [nsd], nsd-conf, check-zone --include-dir), else from the zone file's folder";
                return refuse(self, &reason, hint);
            }
        };
        if bytes.len() > limit {
            self.reading.is_full = true;
            return refuse(self, "the zone gets larger than 1 GiB with it", "split the zone");
        }
        // A file that is included twice is kept once.
        let number = *self.reading.by_file.entry(file.clone()).or_insert(self.reading.texts.len());
        let is_open = self.reading.open.iter().any(|&open| self.reading.texts[open].file == file);
        if is_open || number < self.reading.texts.len() {
            self.reading.repeated = self.reading.repeated.saturating_add(bytes.len());
            self.reading.is_full = self.reading.repeated > REPEATED_MAX;
        }
        if is_open {
            return refuse(self, "it includes itself", "remove one of the $INCLUDE lines");
        }
        if self.reading.is_full {
            return refuse(self, TOO_MUCH_REPEATED, "include each file once, and write the records");
        }
        if let Some(remark) = remark {
            self.warning(span(field), remark, "name the file itself, if others may move the link");
        }
        let known = self.reading.texts.get(number).filter(|known| known.bytes == bytes);
        let bytes = known.map_or(bytes, |known| Arc::clone(&known.bytes));
        self.reading.octets += bytes.len();
        let around = self.reading.inherited.origin;
        let inclusion = Inclusion { name, text: self.text, line, around, first: around, last: around };
        self.reading.texts.push(Text { file, bytes, from: Provenance::Include(inclusion) });
        Some(self.reading.texts.len() - 1)
    }

    /// Makes the last owner independent of the text that it was written in. Returns it.
    fn carry_owner(&mut self, text: usize) -> Name {
        let inherited = self.reading.inherited;
        let origin = &self.reading.origins[inherited.owner_origin as usize];
        if inherited.owner_len == 0 {
            return origin.clone();
        }
        let start = inherited.owner as usize;
        let written = &self.reading.texts[text].bytes[start..start + usize::from(inherited.owner_len)];
        // An owner that is no name is an error where it stands.
        let owner = Name::from_text(written, Some(origin)).unwrap_or_else(|_| origin.clone());
        self.reading.inherited.owner_origin = self.push_origin(owner.clone());
        self.reading.inherited.owner = 0;
        self.reading.inherited.owner_len = 0;
        owner
    }

    /// `$GENERATE RANGE LHS [TTL] [CLASS] TYPE RHS`: a record for each number of the range.
    fn generate(&mut self, outline: &Outline, fields: &[Field<'a>]) {
        let line = outline.start..outline.end;
        if outline.comment.clone().is_some_and(|comment| matches!(tag::read(&self.bytes[comment]), Comment::Tag(_))) {
            let message = "failover tag on $GENERATE";
            return self.error(line, message, "write the failover records themselves: an export edits each line");
        }
        let generate = match Generate::parse(fields) {
            Ok(generate) => generate,
            Err((at, message, hint)) => {
                let place = fields.get(at).map_or(line.end..line.end, span);
                return self.error(place, message, hint);
            }
        };
        if self.reading.is_full {
            return;
        }
        let count = generate.count();
        self.reading.generated = self.reading.generated.saturating_add(count);
        if self.reading.generated > GENERATED_MAX {
            let message = format!("$GENERATE of {count} records makes the zone too large");
            return self.error(line, message, "a zone may have 1,048,576 generated records");
        }
        let limit = DOCUMENT_MAX.saturating_sub(self.reading.octets);
        let limit = limit.min(REPEATED_MAX.saturating_sub(self.reading.repeated));
        let Some(text) = generate.text(limit) else {
            self.reading.is_full = true;
            let message = format!("$GENERATE of {count} records makes the zone too large: {TOO_MUCH_REPEATED}");
            return self.error(line, message, "include each file once, and write the records");
        };
        self.warning(line.clone(), "nsd does not know $GENERATE: it refuses this file", "write the records");
        let inherited = self.reading.inherited;
        self.carry_owner(self.text);
        self.reading.octets += text.len();
        self.reading.repeated += text.len();
        let file = self.reading.texts[self.text].file.clone();
        let from = Provenance::Generate { text: self.text, span: line };
        self.reading.texts.push(Text { file, bytes: Arc::new(text), from });
        self.reading.text(self.reading.texts.len() - 1);
        let ttl_warned = self.reading.inherited.ttl_warned;
        self.reading.inherited = super::parser::Inherited { ttl_warned, ..inherited };
        self.reading.runs.push(Run { first: self.reading.entries.len(), text: self.text });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::zone::diagnostic::Diagnostic;
    use crate::zone::edit::{Edit, EditError, Edited, Refusal, apply};
    use crate::zone::source::Source;
    use crate::zone::{Zone, ZoneRecord};

    /// Files by name; every name is its own file, but `same/x` is `x`.
    #[derive(Default)]
    struct Files(BTreeMap<String, String>);

    impl Source for Files {
        fn read(&mut self, name: &str, limit: usize) -> Result<Included, String> {
            let file = name.strip_prefix("same/").unwrap_or(name);
            let text = self.0.get(file).filter(|text| text.len() <= limit).ok_or("no such file")?;
            Ok(Included { file: file.to_owned(), bytes: Arc::new(text.clone().into_bytes()), remark: None })
        }
    }

    const HEAD: &str = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns.example.net.\n";

    fn files(list: &[(&str, &str)]) -> Files {
        Files(list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    fn load(rest: &str, list: &[(&str, &str)]) -> Result<Zone, Vec<Diagnostic>> {
        Zone::load(&"example.org".parse().unwrap(), "z", format!("{HEAD}{rest}").into_bytes(), &mut files(list))
    }

    /// "owner TTL type", behind SOA and NS.
    fn records(rest: &str, list: &[(&str, &str)]) -> Vec<String> {
        let zone = load(rest, list).unwrap_or_else(|list| panic!("{rest:?}: {list:?}"));
        let line = |ZoneRecord { record, .. }| {
            let owner = record.owner.to_string();
            format!("{} {} {}", owner.strip_suffix(".example.org.").unwrap_or(&owner), record.ttl, record.rtype)
        };
        zone.records().skip(2).map(line).collect()
    }

    fn said(rest: &str, list: &[(&str, &str)]) -> Vec<String> {
        match load(rest, list) {
            Ok(zone) => zone.warnings().iter().map(ToString::to_string).collect(),
            Err(list) => list.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn what_an_included_file_inherits_and_leaves() {
        let list = [("f", " TXT a\nx A 192.0.2.1\n$ORIGIN deep.example.org.\n$TTL 7\ny AAAA ::1\n")];
        assert_eq!(
            records("a TXT x\n$INCLUDE f sub.example.org. ; why\n TXT b\nb TXT b\n", &list),
            ["a 60 TXT", "a 60 TXT", "x.sub 60 A", "y.deep 7 AAAA", "y.deep 7 TXT", "b 7 TXT"]
        );
        assert_eq!(records("$include f\n$TTL 60\nb TXT b", &list)[3..], ["b 60 TXT"]);
    }

    #[test]
    fn where_readers_differ_is_said() {
        let list = [("f", "x A 192.0.2.1\n"), ("t", "$TTL 5\nx A 192.0.2.1\n")];
        let said = |rest| said(rest, &list);
        let cut = self::said("$INCLUDE f o.example.org.\n", &[("f", "x A 192.0.2.1")]);
        assert!(cut[0].starts_with("f:1:14: warning: the included file does not end with a newline"), "{cut:?}");
        assert!(said("a A 192.0.2.1\n$INCLUDE f\n TXT b\n")[0].starts_with("z:6:1: warning: record without an owner"));
        assert_eq!(said("x A 192.0.2.1\n$INCLUDE f\n TXT b\n").len(), 1, "only the duplicate");
        assert!(said("$INCLUDE t\nb TXT b\n")[0].starts_with("z:5:1: warning: the $TTL of an included file"));
        assert_eq!(said("$INCLUDE t\n$TTL 5\nb TXT b\n"), [""; 0]);
        assert!(said("$INCLUDE f\nb TXT b")[0].starts_with("z:5:8: warning: the file does not end with a newline"));
        assert!(said("$INCLUDE \"f\"\n")[0].starts_with("z:4:10: warning: nsd before 4.10"));
    }

    #[test]
    fn bounds() {
        let reason = |rest: &str, list: &[(&str, &str)]| said(rest, list).join("|");
        assert_eq!(
            reason("$INCLUDE f\n", &[("f", "$INCLUDE f\n")])
                .matches("f:1:10: error: cannot include `f`: it includes itself")
                .count(),
            1
        );
        let ring = [("a", "$INCLUDE b\n"), ("b", "$INCLUDE same/a\n")];
        assert!(
            reason("$INCLUDE a\n", &ring).starts_with("b:1:10: error: cannot include `same/a`: it includes itself")
        );
        let names: Vec<String> = (0..20).map(|number| format!("f{number}")).collect();
        let texts: Vec<String> = (1..21).map(|number| format!("$INCLUDE f{number}\n")).collect();
        let deep: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
        assert!(
            reason("$INCLUDE f0\n", &deep)
                .starts_with("f9:1:10: error: cannot include `f10`: files include each other more than 10 deep")
        );
        // Each level twice the one above: 2^10 inclusions, unless somebody stops it.
        let wide: Vec<String> = (1..12).map(|number| format!("$INCLUDE f{number}\n").repeat(3)).collect();
        let wide: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(wide.iter().map(String::as_str)).collect();
        assert!(reason("$INCLUDE f0\n", &wide).contains("more than 10 deep"));
        let many = "$INCLUDE f\n".repeat(INCLUDES_MAX + 1);
        assert!(reason(&many, &[("f", "")]).contains("includes more than 10,000 files"));
        for (name, part) in [("nope", "no such file"), ("\"\"", "is no file name"), ("a\\000", "is no file name")] {
            assert!(reason(&format!("$INCLUDE {name}\n"), &[]).contains(part), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said_of_that_file() {
        let list = [("f", "x A 192.0.2.1\nx B 1\n"), ("g", "\nh A 192.0.2\n")];
        assert_eq!(
            said("a FOO\n$INCLUDE f\n$INCLUDE g\n$GENERATE 9-9 a$ A 192.0.2\n", &list)
                .iter()
                .map(|line| line.split("; ").next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>(),
            [
                "z:4:3: error: `FOO` is no record type",
                "z:7:1: warning: nsd does not know $GENERATE: it refuses this file",
                "z:7:1: error: bad A record: `192.0.2` is not an IPv4 address",
                "f:2:3: error: `B` is no record type",
                "g:2:5: error: bad A record: `192.0.2` is not an IPv4 address",
            ]
        );
        let generated = said("$GENERATE 9-9 a$ A 192.0.2\n", &[]);
        assert!(generated[1].contains("; it makes `a9 A 192.0.2`; write it as"), "{generated:?}");
    }

    #[test]
    fn what_is_generated_leaves_no_trace() {
        assert_eq!(
            records("a TXT x\n$GENERATE 1-2 h$ 5 A 192.0.2.$\n TXT y\n$GENERATE 1-1 $$TTL CNAME \\$x$\n", &[]),
            ["a 60 TXT", "h1 5 A", "h2 5 A", "a 60 TXT", "\\$TTL 60 CNAME"]
        );
    }

    fn edited(rest: &str, list: &[(&str, &str)], edits: &[Edit]) -> Result<Edited, EditError> {
        apply(&load(rest, list).unwrap(), edits)
    }

    #[test]
    fn edits_reach_the_file() {
        let text = "w A 192.0.2.1 ; Enable failover\n";
        let address = "192.0.2.2".parse().unwrap();
        let moved = Edit::Address { entry: 2, address };
        let only = edited("$INCLUDE f\n", &[("f", text)], &[moved, Edit::Serial(2)]).unwrap();
        assert_eq!(only.zone.unwrap(), format!("{HEAD}$INCLUDE f\n").replace("h 1", "h 2").into_bytes());
        assert_eq!(only.included.len(), 1);
        assert_eq!(only.included[0].bytes, text.replace("2.1", "2.2").into_bytes());
        // Included twice: one file, and both records change or none does.
        let twice = "$INCLUDE f\n$INCLUDE same/f sub.example.org.\n";
        let both = [moved, Edit::Address { entry: 3, address }];
        let both = edited(twice, &[("f", text)], &both).unwrap();
        assert_eq!((both.zone, both.included), (None, only.included));
        let half = edited(twice, &[("f", text)], &[moved]).unwrap_err();
        assert!(matches!(half, EditError::Refused(Refusal::Changed { .. }, _)), "{half}");
        let out = [Edit::Withdraw { entry: 2 }, Edit::Withdraw { entry: 3 }];
        let out = edited(twice, &[("f", text)], &out).unwrap();
        assert_eq!(out.included[0].bytes, format!(";nsd-failover:withdrawn {text}").into_bytes());
        // The line that leans on it stands in the other file.
        let lean = edited("$INCLUDE f\n TXT x\n", &[("f", text)], &[Edit::Withdraw { entry: 2 }]).unwrap_err();
        assert!(lean.to_string().starts_with("z:5:1: error: the TXT record of w.example.org. would change"), "{lean}");
    }

    #[test]
    fn the_soa_may_be_included() {
        let soa = "$TTL 5\n@ SOA ns h 7 2 3 4 5\n@ NS ns.example.net.\n";
        let origin = "example.org".parse().unwrap();
        let zone = Zone::load(&origin, "z", b"$INCLUDE soa\n".to_vec(), &mut files(&[("soa", soa)])).unwrap();
        let edited = apply(&zone, &[Edit::Serial(8)]).unwrap();
        assert_eq!(edited.zone, None);
        assert_eq!(edited.included[0].bytes, soa.replace('7', "8").into_bytes());
    }
}
