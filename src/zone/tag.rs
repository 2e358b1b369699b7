//! The tag that makes a record a failover record: a trailing comment with `Enable failover`.

use std::fmt;
use std::ops::Range;

use super::diagnostic::Severity;
use crate::dns::rdata::quoted;

/// Which role a failover record follows.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Primary,
    Standby,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Primary => "primary",
            Role::Standby => "standby",
        })
    }
}

/// What a tag says. The role that the owner's name implies is already filled in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tag {
    /// `pool=`; absent: the zone's pool.
    pub pool: Option<String>,
    /// `role=`, else `Standby` where the owner's first label is `standby`, else `Primary`.
    pub role: Role,
}

/// What a record's trailing comment says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Comment<'a> {
    /// Nothing for us.
    Plain,
    /// Something that looks like a mistyped tag, at these octets of the comment.
    NearMiss(Range<usize>),
    Tag(TagText<'a>),
}

/// A tag as it is written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct TagText<'a> {
    pub pool: Option<&'a str>,
    pub role: Option<Role>,
    pub problems: Vec<Problem>,
}

/// Something wrong inside a tag: a span of the comment, what, and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Problem {
    pub severity: Severity,
    pub span: Range<usize>,
    pub message: String,
    pub hint: String,
}

impl TagText<'_> {
    /// The tag for a record with this owner (wire form): without `role=` the first label decides.
    pub(super) fn for_owner(&self, owner: &[u8]) -> Tag {
        let implied = if is_standby(owner) { Role::Standby } else { Role::Primary };
        Tag { pool: self.pool.map(str::to_owned), role: self.role.unwrap_or(implied) }
    }
}

/// Whether the first label of a name in wire form is `standby`, in any case.
fn is_standby(owner: &[u8]) -> bool {
    owner.get(..STANDBY.len()).is_some_and(|start| start.eq_ignore_ascii_case(STANDBY))
}

/// The label `standby` in wire form.
const STANDBY: &[u8] = b"\x07standby";

/// Reads a trailing comment, from its semicolon. Text around the tag is fine; behind it, words with
/// `=` are settings.
pub(super) fn read(comment: &[u8]) -> Comment<'_> {
    match find(comment) {
        Some(span) => Comment::Tag(settings(comment, span.end)),
        None => near_miss(comment).map_or(Comment::Plain, Comment::NearMiss),
    }
}

/// The span of `Enable failover`, in any case, with any blanks between the two words.
fn find(comment: &[u8]) -> Option<Range<usize>> {
    const FIRST: &[u8] = b"enable";
    const SECOND: &[u8] = b"failover";
    let starts_with =
        |at: usize, word: &[u8]| comment.get(at..at + word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word));
    let mut at = 0;
    while at + FIRST.len() + SECOND.len() < comment.len() {
        if starts_with(at, FIRST) {
            let blanks = comment[at + FIRST.len()..].iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
            let second = at + FIRST.len() + blanks;
            if blanks > 0 && starts_with(second, SECOND) {
                return Some(at..second + SECOND.len());
            }
        }
        at += 1;
    }
    None
}

/// The words of a comment with their offsets; commas and semicolons separate too.
fn words(comment: &[u8], from: usize) -> impl Iterator<Item = (usize, &[u8])> {
    let separates = |octet: &u8| matches!(octet, b' ' | b'\t' | b',' | b';');
    let mut at = from;
    std::iter::from_fn(move || {
        at += comment.get(at..)?.iter().take_while(|octet| separates(octet)).count();
        let length = comment.get(at..)?.iter().take_while(|octet| !separates(octet)).count();
        let start = at;
        at += length;
        (length > 0).then(|| (start, &comment[start..start + length]))
    })
}

/// The `key=value` words behind the tag.
fn settings(comment: &[u8], from: usize) -> TagText<'_> {
    let mut tag = TagText::default();
    let mut words = words(comment, from).take(WORDS_MAX).peekable();
    while let Some((start, word)) = words.next() {
        let span = start..start + word.len();
        match word.iter().position(|&octet| octet == b'=') {
            Some(equals) => tag.set(span, &word[..equals], &word[equals + 1..]),
            // `role = standby` is three words.
            None if is_key(word) && words.peek().is_some_and(|(_, next)| next.starts_with(b"=")) => {
                words.next();
                tag.set(span, word, b"");
            }
            None => tag.look_at_plain_word(span, word),
        }
    }
    tag
}

fn is_key(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"pool") || word.eq_ignore_ascii_case(b"role")
}

impl<'a> TagText<'a> {
    fn problem(&mut self, severity: Severity, span: Range<usize>, message: String, hint: &str) {
        self.problems.push(Problem { severity, span, message, hint: hint.to_owned() });
    }

    /// A word with `=` in it.
    fn set(&mut self, span: Range<usize>, key: &[u8], value: &'a [u8]) {
        let shown = quoted(value);
        match key.to_ascii_lowercase().as_slice() {
            [] => {}
            b"pool" | b"role" if value.is_empty() => {
                let message = format!("`{}=` of the failover tag has no value", quoted(&key.to_ascii_lowercase()));
                self.problem(Severity::Error, span, message, "write it without blanks around the `=`");
            }
            b"pool" if self.pool.is_some() => {
                self.problem(Severity::Error, span, "second `pool=` in one failover tag".into(), "remove one");
            }
            b"role" if self.role.is_some() => {
                self.problem(Severity::Error, span, "second `role=` in one failover tag".into(), "remove one");
            }
            b"pool" => match std::str::from_utf8(value) {
                Ok(pool) => self.pool = Some(pool),
                Err(_) => {
                    let message = format!("the pool `{shown}` of the failover tag is not UTF-8 text");
                    self.problem(Severity::Error, span, message, "write the name as in the configuration");
                }
            },
            b"role" => match value.to_ascii_lowercase().as_slice() {
                b"primary" => self.role = Some(Role::Primary),
                b"standby" => self.role = Some(Role::Standby),
                _ => {
                    let message = format!("unknown role `{shown}` in the failover tag");
                    self.problem(Severity::Error, span, message, "use role=primary or role=standby");
                }
            },
            other => {
                let meant = ["pool", "role"].into_iter().find(|known| distance(other, known.as_bytes()) <= 2);
                let message = format!("unknown key `{}` in the failover tag", quoted(other));
                match meant {
                    Some(meant) => self.problem(Severity::Error, span, message, &format!("did you mean `{meant}=`?")),
                    None => {
                        self.problem(Severity::Warning, span, message, "it is ignored: the keys are pool= and role=");
                    }
                }
            }
        }
    }

    /// A word without `=` that may be meant as a setting: `standby`, `role:standby`. Said
    /// where nothing else was.
    fn look_at_plain_word(&mut self, span: Range<usize>, word: &[u8]) {
        let bare = word.split(|&octet| octet == b':').next().unwrap_or_default();
        let is_value = bare.eq_ignore_ascii_case(b"standby") || bare.eq_ignore_ascii_case(b"primary");
        if (is_key(bare) || is_value) && self.problems.is_empty() {
            let message = format!("`{}` is no setting of the failover tag, only a comment", quoted(word));
            self.problem(Severity::Warning, span, message, "write role=standby, role=primary or pool=NAME");
        }
    }
}

/// Words that are within two slips of `enable failover`, however they are divided: "Enabel
/// failover", "enable fail-over", "EnableFailover", "failover enabled".
fn near_miss(comment: &[u8]) -> Option<Range<usize>> {
    const MEANT: [&[u8]; 2] = [b"enablefailover", b"failoverenable"];
    const LENGTH: usize = MEANT[0].len();
    const SLIPS: usize = 2;
    let list: Vec<(usize, &[u8])> = words(comment, 0).take(WORDS_MAX).collect();
    let mut best: Option<(usize, Range<usize>)> = None;
    for first in 0..list.len() {
        let mut joined = Vec::with_capacity(LENGTH + SLIPS);
        for &(start, word) in list[first..].iter().take(3) {
            joined.extend(word.iter().filter(|octet| octet.is_ascii_alphabetic()).map(u8::to_ascii_lowercase));
            if joined.len() > LENGTH + SLIPS {
                break;
            }
            if joined.len() + SLIPS < LENGTH {
                continue;
            }
            let slips = MEANT.map(|meant| distance(&joined, meant)).into_iter().min().unwrap_or(LENGTH);
            if slips <= SLIPS && best.as_ref().is_none_or(|(least, _)| slips < *least) {
                best = Some((slips, list[first].0..start + word.len()));
            }
        }
    }
    best.map(|(_, span)| span)
}

/// How many words of a comment are looked at, for settings or for a mistyped tag.
const WORDS_MAX: usize = 64;

/// Slips of the pen between two short words: an octet too many, too few, or another one, or two
/// neighbours exchanged (optimal string alignment).
fn distance(a: &[u8], b: &[u8]) -> usize {
    const LONGEST: usize = 24;
    if a.len() > LONGEST || b.len() > LONGEST {
        return LONGEST;
    }
    let mut rows = [[0_usize; LONGEST + 1]; LONGEST + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let other = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + other);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(comment: &str) -> Option<TagText<'_>> {
        match read(comment.as_bytes()) {
            Comment::Tag(tag) => Some(tag),
            _ => None,
        }
    }

    #[test]
    fn spellings_of_the_tag() {
        for comment in [
            "; Enable failover",
            ";Enable failover",
            ";; ENABLE\tFAILOVER",
            "; see ticket 7: enable failover, please",
            "; Enable failover since 2023",
        ] {
            assert_eq!(tag(comment), Some(TagText::default()), "{comment}");
        }
        let full = tag("; Enable failover pool=eu, Role=STANDBY;").unwrap();
        assert_eq!((full.pool, full.role, full.problems), (Some("eu"), Some(Role::Standby), vec![]));
    }

    #[test]
    fn what_is_no_tag() {
        for comment in
            ["", ";", "; failover", "; disable failover", "; enable", "; the failover is enabled", "; serial"]
        {
            assert_eq!(read(comment.as_bytes()), Comment::Plain, "{comment}");
        }
    }

    #[test]
    fn near_misses() {
        for comment in [
            "; Enabel failover",
            "; enable failver",
            "; Enable fail-over",
            "; enable fail over",
            "; Enablefailover",
            "; Enabled failover",
            "; x, Enalbe failovre pool=a",
            "; Enable: failover",
            "; Failover enabled",
            "; failover: enable",
        ] {
            assert!(matches!(read(comment.as_bytes()), Comment::NearMiss(_)), "{comment}");
        }
        assert_eq!(read(b"; x Enabel failover y"), Comment::NearMiss(4..19));
    }

    #[test]
    fn settings_that_cannot_work() {
        for (comment, severity, part) in [
            ("; Enable failover poool=eu", Severity::Error, "unknown key `poool`"),
            ("; Enable failover ticket=7", Severity::Warning, "unknown key `ticket`"),
            ("; Enable failover role=master", Severity::Error, "unknown role `master`"),
            ("; Enable failover pool= eu", Severity::Error, "no value"),
            ("; Enable failover pool=a pool=b", Severity::Error, "second `pool=`"),
            ("; Enable failover role = standby", Severity::Error, "`role=` of the failover tag has no value"),
            ("; Enable failover pool =eu", Severity::Error, "`pool=` of the failover tag has no value"),
            ("; Enable failover role:standby pool:eu", Severity::Warning, "`role:standby` is no setting"),
            ("; Enable failover standby", Severity::Warning, "`standby` is no setting"),
            ("; Enable failover, Primary: web", Severity::Warning, "`Primary:` is no setting"),
        ] {
            let problems = tag(comment).unwrap().problems;
            assert_eq!(problems.len(), 1, "{comment}");
            assert_eq!(problems[0].severity, severity, "{comment}");
            assert!(problems[0].message.contains(part), "{comment}: {}", problems[0].message);
        }
    }

    #[test]
    fn values_that_are_no_text_or_very_long() {
        let problems = |comment: &[u8]| match read(comment) {
            Comment::Tag(tag) => tag.problems,
            other => panic!("{other:?}"),
        };
        let start = b"; Enable failover ";
        let umlaut = problems(&[start, "role=\u{e9}".as_bytes()].concat());
        assert!(umlaut[0].message.contains(r"unknown role `\xc3\xa9`"), "{umlaut:?}");
        assert_eq!(problems(&[start, &b"= x"[..]].concat()), []);
        assert!(
            problems(&[start, &b"pool=\xff"[..]].concat())[0]
                .message
                .contains(r"`\xff` of the failover tag is not UTF-8")
        );
        let long = "x".repeat(2 << 20);
        for setting in ["role=LONG", "LONG=1"] {
            let found = problems(&[start, setting.replace("LONG", &long).as_bytes()].concat());
            assert!(found.len() == 1 && found[0].message.len() < 200, "{}", found[0].message.len());
        }
    }

    #[test]
    fn the_owner_implies_the_role() {
        let role = |owner: &[u8]| TagText::default().for_owner(owner).role;
        assert_eq!(role(b"\x07Standby\x03www\x00"), Role::Standby);
        assert_eq!(role(b"\x08standby2\x00"), Role::Primary);
        assert_eq!(role(b"\x03www\x07standby\x00"), Role::Primary);
        assert_eq!(role(b"\x00"), Role::Primary);
        let ordered = TagText { role: Some(Role::Primary), ..TagText::default() };
        assert_eq!(ordered.for_owner(b"\x07standby\x00").role, Role::Primary);
    }

    #[test]
    fn slips() {
        assert_eq!(distance(b"enabel", b"enable"), 1);
        assert_eq!(distance(b"pol", b"pool"), 1);
        assert_eq!(distance(b"disable", b"enable"), 3);
        assert_eq!(distance(b"", b"ab"), 2);
        assert!(distance(&[b'x'; 100], b"pool") > 2);
    }
}
