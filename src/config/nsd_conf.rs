//! The zones of an nsd.conf: `zone:`, `pattern:` and `include-pattern:`, `include:`, `zonesdir:`,
//! and `zonefile:` with its `%` letters (nsd.conf(5)). Everything else in the file is passed over.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::zones::read_file;
use crate::dns::name::Name;

/// Largest configuration file, in octets.
const FILE_MAX: usize = 64 << 20;
/// How deep files may include each other, as in nsd.
const INCLUDE_DEPTH_MAX: usize = 10;
/// Most files in all.
const FILES_MAX: usize = 10_000;
const DNS_PORT: u16 = 53;
/// Where nsd looks for zone files when nothing is said.
const ZONES_DIR: &str = if cfg!(target_os = "openbsd") { "/var/nsd/zones" } else { "/etc/nsd" };

/// What an nsd.conf says of its zones.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NsdConf {
    /// Relative zone files and `$INCLUDE` names count from here: `zonesdir:`, `/` where that is
    /// empty.
    pub zones_dir: PathBuf,
    /// What nsd listens on (`ip-address:` with `@PORT`, else with `port:`), as written; empty: every
    /// address. Interface names are passed over.
    pub listen: Vec<SocketAddr>,
    /// `port:`, else 53.
    pub port: u16,
    /// In the order of the file.
    pub zones: Vec<NsdZone>,
}

/// One zone of an nsd.conf.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NsdZone {
    pub origin: Name,
    /// Absolute, `%` letters filled in; absent: the zone has no file.
    pub file: Option<PathBuf>,
    /// nsd transfers it from elsewhere (`request-xfr`): the file is not the operator's.
    pub secondary: bool,
}

impl NsdConf {
    /// Reads an nsd.conf and what it includes. Includes that are relative count from its folder.
    pub fn load(path: &Path) -> Result<NsdConf, Vec<Problem>> {
        let mut reader = Reader {
            folder: path.parent().unwrap_or(Path::new(".")).to_owned(),
            files: 0,
            zones_dir: None,
            listen: Vec::new(),
            port: None,
            patterns: BTreeMap::new(),
            zones: Vec::new(),
            section: Section::Other,
            problems: Vec::new(),
        };
        reader.file(path, 0);
        reader.end_section();
        if !reader.problems.is_empty() {
            return Err(reader.problems);
        }
        let zones_dir = reader.zones_dir.unwrap_or_else(|| PathBuf::from(ZONES_DIR));
        let zones = reader
            .zones
            .into_iter()
            .map(|(origin, settings)| NsdZone {
                file: settings.file.map(|file| zones_dir.join(filled(&file, &origin))),
                origin,
                secondary: settings.secondary,
            })
            .collect();
        let port = reader.port.unwrap_or(DNS_PORT);
        let listen = reader.listen.into_iter().map(|(ip, own)| SocketAddr::new(ip, own.unwrap_or(port))).collect();
        Ok(NsdConf { zones_dir, listen, port, zones })
    }
}

/// What a zone or a pattern sets.
#[derive(Clone, Debug, Default)]
struct Settings {
    file: Option<String>,
    secondary: bool,
}

/// What the reader stands in.
enum Section {
    Zone(Named),
    Pattern(Named),
    Server,
    Other,
}

/// A zone or a pattern under construction.
#[derive(Default)]
struct Named {
    name: Option<String>,
    settings: Settings,
    /// Where it starts, for complaints.
    place: (PathBuf, usize),
}

struct Reader {
    folder: PathBuf,
    files: usize,
    zones_dir: Option<PathBuf>,
    listen: Vec<(IpAddr, Option<u16>)>,
    port: Option<u16>,
    patterns: BTreeMap<String, Settings>,
    zones: Vec<(Name, Settings)>,
    section: Section,
    problems: Vec<Problem>,
}

/// The keywords that matter here; others are passed over with their values.
const KEYWORDS: &[&str] = &[
    "server:",
    "zone:",
    "pattern:",
    "key:",
    "tls-auth:",
    "remote-control:",
    "verify:",
    "dnstap:",
    "metrics:",
    "xdp:",
    "include:",
    "name:",
    "zonefile:",
    "zonesdir:",
    "ip-address:",
    "interface:",
    "port:",
    "include-pattern:",
    "request-xfr:",
];

impl Reader {
    fn file(&mut self, path: &Path, depth: usize) {
        self.files += 1;
        let fail = |message: String| Problem::of_file(path, message);
        if depth > INCLUDE_DEPTH_MAX || self.files > FILES_MAX {
            return self.problems.push(fail(format!(
                "files include each other more than {INCLUDE_DEPTH_MAX} deep, or there are more than {FILES_MAX}"
            )));
        }
        let bytes = match read_file(path, FILE_MAX) {
            Ok(bytes) => bytes,
            Err(error) => return self.problems.push(fail(format!("cannot read the nsd.conf: {error}"))),
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut words = Words { text: &text, at: 0 };
        while let Some(word) = words.next() {
            let Some(keyword) = word.keyword() else { continue };
            let section = matches!(
                keyword,
                "server:"
                    | "zone:"
                    | "pattern:"
                    | "key:"
                    | "tls-auth:"
                    | "remote-control:"
                    | "verify:"
                    | "dnstap:"
                    | "metrics:"
                    | "xdp:"
            );
            if section {
                self.end_section();
                let named = Named { place: (path.to_owned(), word.span.start), ..Named::default() };
                self.section = match keyword {
                    "zone:" => Section::Zone(named),
                    "pattern:" => Section::Pattern(named),
                    "server:" => Section::Server,
                    _ => Section::Other,
                };
                words.at = word.span.start + keyword.len();
                continue;
            }
            // `name:x` is one word, `name: x` are two.
            words.at = word.span.start + keyword.len();
            let Some(value) = words.next().filter(|value| value.quoted || value.keyword().is_none()) else {
                let message = format!("{keyword} without a value");
                self.problems.push(Problem::at(path, &text, word.span, message).hint("write it behind the colon"));
                continue;
            };
            if keyword == "include:" {
                self.include(path, &text, &value, depth);
            } else if let Err((message, hint)) = self.set(keyword, &value.text) {
                self.problems.push(Problem::at(path, &text, value.span, message).hint(hint));
            }
        }
    }

    fn include(&mut self, path: &Path, text: &str, value: &Word, depth: usize) {
        let pattern = self.folder.join(&value.text);
        let pattern = pattern.to_string_lossy();
        if !pattern.contains(['*', '?', '[']) {
            return self.file(Path::new(&*pattern), depth + 1);
        }
        match glob::glob(&pattern) {
            // As in nsd, a pattern that matches nothing is fine.
            Ok(paths) => {
                for found in paths.flatten() {
                    self.file(&found, depth + 1);
                }
            }
            Err(error) => {
                let message = format!("bad pattern: {error}");
                self.problems.push(Problem::at(path, text, value.span.clone(), message));
            }
        }
    }

    /// A keyword with its value, in the section that it stands in.
    fn set(&mut self, keyword: &str, value: &str) -> Result<(), (String, &'static str)> {
        let named = match &mut self.section {
            Section::Server => {
                match keyword {
                    // Empty: nsd stays where it was started, and a service is started in the root.
                    "zonesdir:" if value.is_empty() => self.zones_dir = Some(PathBuf::from("/")),
                    "zonesdir:" => self.zones_dir = Some(self.folder.join(value)),
                    "port:" => self.port = value.parse().ok(),
                    "ip-address:" | "interface:" => {
                        let (ip, port) =
                            value.split_once('@').map_or((value, None), |(ip, port)| (ip, port.parse().ok()));
                        self.listen.extend(ip.parse().ok().map(|ip| (ip, port)));
                    }
                    _ => {}
                }
                return Ok(());
            }
            Section::Other => return Ok(()),
            Section::Zone(named) | Section::Pattern(named) => named,
        };
        match keyword {
            "name:" => named.name = Some(value.to_owned()),
            "zonefile:" => named.settings.file = Some(value.to_owned()).filter(|file| !file.is_empty()),
            "request-xfr:" => named.settings.secondary = true,
            "include-pattern:" => {
                let Some(pattern) = self.patterns.get(value) else {
                    return Err((format!("pattern `{value}` is not defined before this"), "nsd refuses it too"));
                };
                named.settings.secondary |= pattern.secondary;
                if pattern.file.is_some() {
                    named.settings.file.clone_from(&pattern.file);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end_section(&mut self) {
        let (named, zone) = match std::mem::replace(&mut self.section, Section::Other) {
            Section::Zone(named) => (named, true),
            Section::Pattern(named) => (named, false),
            Section::Server | Section::Other => return,
        };
        let (file, _) = &named.place;
        let what = if zone { "zone" } else { "pattern" };
        let Some(name) = named.name else {
            return self.problems.push(Problem::of_file(file, format!("{what} without a name")));
        };
        if !zone {
            self.patterns.insert(name, named.settings);
            return;
        }
        match Name::from_text(name.as_bytes(), Some(&Name::root())) {
            Ok(origin) => self.zones.push((origin, named.settings)),
            Err(error) => self.problems.push(Problem::of_file(file, format!("`{name}` is no zone name: {error}"))),
        }
    }
}

/// A `zonefile:` with its letters filled in: `%s` is the zone, `%1` to `%3` its first letters, `%z`,
/// `%y` and `%x` its last three labels; a dot for what the name does not have.
fn filled(pattern: &str, origin: &Name) -> String {
    let text = origin.to_string();
    let zone = text.strip_suffix('.').filter(|bare| !bare.is_empty()).unwrap_or(".");
    let labels: Vec<&str> = zone.split('.').rev().collect();
    let label = |index: usize| labels.get(index).copied().filter(|label| !label.is_empty()).unwrap_or(".").to_owned();
    let letter = |index: usize| zone.chars().nth(index).map_or(".".to_owned(), String::from);
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let with = match (c, chars.peek()) {
            ('%', Some('s')) => zone.to_owned(),
            ('%', Some('1')) => letter(0),
            ('%', Some('2')) => letter(1),
            ('%', Some('3')) => letter(2),
            ('%', Some('z')) => label(0),
            ('%', Some('y')) => label(1),
            ('%', Some('x')) => label(2),
            ('%', Some('%')) => "%".to_owned(),
            _ => {
                out.push(c);
                continue;
            }
        };
        out.push_str(&with);
        chars.next();
    }
    out
}

/// A word of an nsd.conf, quotes left out.
struct Word {
    text: String,
    span: Range<usize>,
    quoted: bool,
}

impl Word {
    fn keyword(&self) -> Option<&'static str> {
        KEYWORDS.iter().copied().find(|keyword| !self.quoted && self.text.starts_with(keyword))
    }
}

/// Cuts the text into words: blanks and newlines separate, `#` starts a comment.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at)? {
                b'#' => self.at += self.text[self.at..].find('\n').unwrap_or(self.text.len() - self.at),
                octet if octet.is_ascii_whitespace() => self.at += 1,
                _ => break,
            }
        }
        let start = self.at;
        let quote = Some(bytes[start]).filter(|octet| matches!(octet, b'"' | b'\''));
        let ends = |octet: &u8| match quote {
            Some(quote) => *octet == quote || *octet == b'\n',
            None => octet.is_ascii_whitespace() || *octet == b'#',
        };
        let from = start + usize::from(quote.is_some());
        let end = bytes[from..].iter().position(ends).map_or(bytes.len(), |length| from + length);
        self.at = (end + usize::from(quote.is_some())).min(bytes.len());
        // Neither quotes nor blanks are a part of a longer character.
        Some(Word { text: self.text[from..end].to_owned(), span: start..self.at, quoted: quote.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn load(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<NsdConf, Vec<Problem>>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let conf = NsdConf::load(&folder.path().join("nsd.conf"));
        (folder, conf)
    }

    /// "zone file" of each, `-` for none, secondaries with a `<`.
    fn zones(files: &[(&str, &str)]) -> Vec<String> {
        let (_folder, conf) = load(files);
        let conf = conf.unwrap_or_else(|list| panic!("{list:?}"));
        conf.zones
            .iter()
            .map(|zone| {
                let file = zone.file.as_ref().map_or("-".to_owned(), |file| file.display().to_string());
                format!("{}{} {file}", if zone.secondary { "<" } else { "" }, zone.origin)
            })
            .collect()
    }

    #[test]
    fn zones_patterns_and_includes() {
        let main = "
# a comment with zone: in it
server:
    zonesdir: \"/var/nsd/zones\"   # trailing
    ip-address: 127.0.0.1@5300
    ip-address: ::1
pattern:
    name: \"master\"
    zonefile: \"master/%s.zone\"
pattern:
\tname: slave
\tzonefile: slave/%1/%z/%s
\trequest-xfr: AXFR 192.0.2.1@53 NOKEY
key: name: k algorithm: hmac-sha256 secret: \"zone:aa==\"
zone:
    name: \"foo.zone\"
    include-pattern: \"master\"
zone: name:buetow.org zonefile: /abs/x
zone:
    name: s.example
    include-pattern: slave
    provide-xfr: 192.0.2.1 NOKEY
include: \"more*.conf\"
remote-control:
    control-enable: yes
    control-interface: /var/run/nsd.sock
zone:
    name: last
";
        let more = "zone:\n\tname: 'more.example.'\n\tinclude-pattern: master\n\tzonefile: own-%y%%\n";
        assert_eq!(
            zones(&[("nsd.conf", main), ("more1.conf", more)]),
            [
                "foo.zone. /var/nsd/zones/master/foo.zone.zone",
                "buetow.org. /abs/x",
                "<s.example. /var/nsd/zones/slave/s/example/s.example",
                "more.example. /var/nsd/zones/own-more%",
                "last. -",
            ]
        );
    }

    /// nsd.conf(5): "the empty string to disable the change of working directory".
    #[test]
    fn an_empty_zonesdir_is_the_folder_that_nsd_was_started_in() {
        let (_folder, conf) = load(&[("nsd.conf", "server:\n zonesdir: \"\"\nzone:\n name: a\n zonefile: z/%s\n")]);
        let conf = conf.unwrap();
        assert_eq!((conf.zones_dir, conf.zones[0].file.clone()), ("/".into(), Some("/z/a".into())));
    }

    #[test]
    fn letters_of_a_short_name() {
        let filled = |pattern: &str, origin: &str| filled(pattern, &origin.parse().unwrap());
        assert_eq!(filled("%s %1%2%3 %z %y %x", "ab.example.org"), "ab.example.org ab. org example ab");
        assert_eq!(filled("%s/%z/%y/%q%", "org"), "org/org/./%q%");
        assert_eq!(filled("%s", "."), ".");
    }

    #[test]
    fn what_cannot_be_read() {
        let (folder, none) = load(&[]);
        assert!(none.unwrap_err()[0].to_string().contains("nsd.conf: error: cannot read"));
        let place = folder.path().display().to_string();
        drop(place);
        for (text, part) in [
            ("zone:\n zonefile: x\n", "zone without a name"),
            ("zone:\n name: a\n include-pattern: nope\n", "nsd.conf:3:19: error: pattern `nope` is not defined"),
            ("zone:\n name:\nserver:\n", "nsd.conf:2:2: error: name: without a value"),
            ("zone:\n name: a..b\n", "`a..b` is no zone name"),
            ("include: nsd.conf\n", "more than 10 deep"),
            ("include: nope.conf\n", "nope.conf: error: cannot read"),
        ] {
            let (_folder, conf) = load(&[("nsd.conf", text)]);
            let problems: Vec<String> = conf.unwrap_err().iter().map(ToString::to_string).collect();
            assert!(problems.iter().any(|problem| problem.contains(part)), "{text}: {problems:?}");
        }
    }
}
