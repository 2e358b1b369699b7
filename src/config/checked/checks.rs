//! The `[check.*]` tables: exactly one kind each, its own keys and nobody else's, and every value
//! such that the probe has nothing left to refuse.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use reqwest::header::{HeaderName, HeaderValue};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use toml::Spanned;

use crate::director::settings::ANCHOR;
use crate::failover::pool::Node;
use crate::health::check::{
    Certificates, Check, Dns, Exec, Gemini, Header, Http, Kind, Names, PATTERN_MAX, Smtp, StateFile, Tcp, Tls,
};
use crate::health::family::Family;

use crate::config::file;
use crate::config::load::{Source, beside};
use crate::config::problem::did_you_mean;

use super::aim::{SOME_NODE, fill, fits, fits_handshake, fits_question, fits_rdata, fits_url, over_any};
use super::{Checker, Entry};

const INTERVAL_MS: u64 = 10_000;
const FAST_INTERVAL_MS: u64 = 1_000;
const TIMEOUT_MS: u64 = 5_000;
const RISE: u32 = 2;
const FALL: u32 = 3;
/// Most probes that `rise` and `fall` may ask for.
const STREAK_MAX: u32 = 1_000;
/// A state file may be this many intervals old.
const MAX_AGE_INTERVALS: u64 = 3;
/// Most redirects that a check may follow.
const REDIRECTS_MAX: u8 = 10;
/// Most names for one TLS check.
const NAMES_MAX: usize = 500;

/// The kinds, and the keys that belong to some of them only.
const KINDS: [&str; 8] = ["http", "tls", "tcp", "gemini", "smtp", "dns", "exec", "file"];
const KEYS: [(&str, &[&str]); 17] = [
    ("method", &["http"]),
    ("headers", &["http"]),
    ("redirects", &["http"]),
    ("port", &["http"]),
    ("status", &["http", "gemini"]),
    ("expect", &["http", "tcp", "gemini", "dns"]),
    ("expect-regex", &["http", "tcp", "gemini"]),
    ("ca-file", &["http", "tls", "gemini", "smtp"]),
    ("insecure", &["http", "tls", "gemini", "smtp"]),
    ("cert-min-days", &["http", "tls", "gemini", "smtp"]),
    ("names", &["tls"]),
    ("send", &["tcp"]),
    ("starttls", &["smtp"]),
    ("query", &["dns"]),
    ("rcode", &["dns"]),
    ("serial-of", &["dns"]),
    ("max-age", &["file"]),
];

impl Checker {
    /// `nodes` are all that there are: a check is tried over the families that they have.
    pub(super) fn checks(&mut self, sources: &[Source], nodes: &BTreeMap<String, Node>) -> Vec<Check> {
        let entries = self.entries(sources, "check", |tables| &tables.check);
        entries.into_iter().filter_map(|entry| self.one_check(&entry, nodes)).collect()
    }

    fn one_check(&mut self, entry: &Entry<'_, file::Check>, nodes: &BTreeMap<String, Node>) -> Option<Check> {
        let (source, table) = (entry.source, entry.table);
        let interval_ms = self.duration(source, table.interval.as_ref(), INTERVAL_MS);
        let fast_interval_ms = self.duration(source, table.fast_interval.as_ref(), FAST_INTERVAL_MS.min(interval_ms));
        let timeout_ms = self.duration(source, table.timeout.as_ref(), TIMEOUT_MS.min(interval_ms));
        if let Some(timeout) = table.timeout.as_ref().filter(|_| timeout_ms > interval_ms) {
            let message = format!("timeout is longer than the interval of {interval_ms} ms");
            self.at(source, timeout.span(), message, "a probe must end before the next begins");
        }
        if let Some(fast) = table.fast_interval.as_ref().filter(|_| fast_interval_ms > interval_ms) {
            let message = format!("fast-interval is longer than the interval of {interval_ms} ms");
            self.at(source, fast.span(), message, "make it shorter");
        }
        let rise = self.streak(source, table.rise.as_ref(), RISE);
        let fall = self.streak(source, table.fall.as_ref(), FALL);
        let families = self.check_families(source, table.families.as_ref());
        let had = families.iter().copied().filter(|family| nodes.values().any(|node| node.has(*family)));
        let tried = Some(had.collect::<Vec<_>>()).filter(|had| !had.is_empty()).unwrap_or_else(|| families.clone());
        let kind = self.kind(entry, interval_ms, &tried)?;
        let name = entry.name.get_ref().clone();
        if name == ANCHOR {
            self.at(source, entry.name.span(), "`anchor` is the name of our own check", "choose another name");
        }
        let check = Check { name, kind, interval_ms, fast_interval_ms, timeout_ms, rise, fall, families };
        self.fits_each(source, entry.name, &check, &tried);
        Some(check)
    }

    /// What is right over one family need not be over the other: an IPv6 address is no RDATA of type A.
    fn fits_each(&mut self, source: &Source, name: &file::Text, check: &Check, families: &[Family]) {
        let tried = |family: &Family| fits(check, SOME_NODE, *family);
        let (right, wrong): (Vec<Family>, Vec<Family>) = families.iter().partition(|family| tried(family).is_ok());
        // What is wrong over all of them was told where it stands.
        if let ([right, ..], [wrong, ..]) = (right.as_slice(), wrong.as_slice())
            && let Err(message) = tried(wrong)
        {
            let message = format!("check `{}` cannot be made over {wrong}: {message}", check.name);
            let hint = format!("write families = [\"{right}\"], and for {wrong} a check of its own");
            self.at(source, name.span(), message, hint);
        }
    }

    /// `families` are those that its texts are tried over.
    fn kind(&mut self, entry: &Entry<'_, file::Check>, interval_ms: u64, families: &[Family]) -> Option<Kind> {
        let (source, table) = (entry.source, entry.table);
        let spans = spans(table);
        let given: Vec<&str> = KINDS.into_iter().filter(|kind| spans.contains_key(kind)).collect();
        let [kind] = given.as_slice() else {
            let name = entry.name.get_ref();
            match given.get(1) {
                None => {
                    let message = format!("check `{name}` does not say what to test");
                    let hint = format!("give it http = \"https://{{node}}/\", or one of {}", KINDS[1..].join(", "));
                    self.at(source, entry.name.span(), message, hint);
                }
                Some(second) => {
                    let message = format!("check `{name}` has both {} and {second}", given[0]);
                    self.at(source, spans[second].clone(), message, "make two checks of it: a pool can use many");
                }
            }
            return None;
        };
        if let Some(expect) = table.expect.as_ref().filter(|expect| expect.get_ref().is_empty()) {
            self.at(
                source,
                expect.span(),
                "an empty text is in every answer",
                "write what must be there, or leave it out",
            );
        }
        for (key, kinds) in KEYS {
            if let Some(span) = spans.get(key).filter(|_| !kinds.contains(kind)) {
                let message = format!("`{key}` means nothing to a check with {kind}");
                self.at(source, span.clone(), message, format!("it belongs to {}", kinds.join(", ")));
            }
        }
        Some(match *kind {
            "http" => Kind::Http(self.http_check(source, table, table.http.as_ref()?, families)),
            "gemini" => Kind::Gemini(self.gemini_check(source, table, table.gemini.as_ref()?, families)),
            "tls" => {
                let (host, port) = self.place(source, table.tls.as_ref()?, 443);
                let certificates = self.certificates(source, table);
                Kind::Tls(Tls { port, names: self.names(source, table, host, families), certificates })
            }
            "tcp" => Kind::Tcp(Tcp {
                port: self.place(source, table.tcp.as_ref()?, 25).1,
                send: text(table.send.as_ref()),
                expect: text(table.expect.as_ref()),
                expect_regex: self.pattern(source, table),
            }),
            "smtp" => {
                let (_, port) = self.place(source, table.smtp.as_ref()?, 25);
                let starttls = table.starttls.as_ref().is_some_and(|starttls| *starttls.get_ref());
                Kind::Smtp(Smtp { port, starttls, certificates: self.certificates(source, table) })
            }
            "dns" => Kind::Dns(self.dns_check(entry, table.dns.as_ref()?, families)),
            "exec" => Kind::Exec(self.exec_check(source, table.exec.as_ref()?)),
            _ => {
                let path = table.file.as_ref()?;
                let usual_ms = interval_ms.saturating_mul(MAX_AGE_INTERVALS);
                let max_age_ms = self.duration(source, table.max_age.as_ref(), usual_ms);
                Kind::File(StateFile { path: beside(&source.file, path.get_ref()), max_age_ms })
            }
        })
    }

    fn http_check(&mut self, source: &Source, table: &file::Check, url: &file::Text, families: &[Family]) -> Http {
        self.url(source, url, &["http", "https"], families);
        self.statuses(source, table, 100..=599, "HTTP");
        if let Some(port) = table.port.as_ref().filter(|port| *port.get_ref() == 0) {
            self.at(source, port.span(), "port 0 cannot be asked", "write 1 to 65535");
        }
        if let Some(redirects) = table.redirects.as_ref().filter(|redirects| *redirects.get_ref() > REDIRECTS_MAX) {
            let message = format!("{} redirects are too many", redirects.get_ref());
            self.at(source, redirects.span(), message, format!("write 0 to {REDIRECTS_MAX}"));
        }
        let methods = [("GET", "GET"), ("HEAD", "HEAD"), ("OPTIONS", "OPTIONS")];
        let method = self.choice(source, table.method.as_ref(), &methods).unwrap_or("GET");
        for (key, value) in [("expect", &table.expect), ("expect-regex", &table.expect_regex)] {
            if let Some(value) = value.as_ref().filter(|_| method == "HEAD") {
                self.at(source, value.span(), format!("`{key}` needs a body, HEAD has none"), "use GET");
            }
        }
        Http {
            url: url.get_ref().clone(),
            method: method.to_owned(),
            headers: self.headers(source, table),
            expect: text(table.expect.as_ref()),
            expect_regex: self.pattern(source, table),
            status: match &table.status {
                Some(list) => list.get_ref().iter().map(|status| *status.get_ref()).collect(),
                None => vec![200],
            },
            redirects: table.redirects.as_ref().map_or(0, |redirects| *redirects.get_ref()),
            port: table.port.as_ref().map(|port| *port.get_ref()),
            certificates: self.certificates(source, table),
        }
    }

    fn gemini_check(&mut self, source: &Source, table: &file::Check, url: &file::Text, families: &[Family]) -> Gemini {
        self.url(source, url, &["gemini"], families);
        self.statuses(source, table, 10..=69, "Gemini");
        Gemini {
            url: url.get_ref().clone(),
            status: match &table.status {
                Some(list) => list.get_ref().iter().map(|status| *status.get_ref()).collect(),
                None => vec![20],
            },
            expect: text(table.expect.as_ref()),
            expect_regex: self.pattern(source, table),
            certificates: self.certificates(source, table),
        }
    }

    fn dns_check(&mut self, entry: &Entry<'_, file::Check>, server: &file::Text, families: &[Family]) -> Dns {
        let (source, table) = (entry.source, entry.table);
        let (_, port) = self.place(source, server, 53);
        match &table.query {
            None => {
                let message = format!("check `{}` does not say what to ask", entry.name.get_ref());
                self.at(source, entry.name.span(), message, "give it query = \"example.org SOA\"");
            }
            Some(query) => {
                let asked = over_any(families, |family| fits_question(query.get_ref(), SOME_NODE, family));
                if let Err(message) = asked {
                    self.wrong(source, query, message);
                }
            }
        }
        let serial_of = table.serial_of.as_ref().and_then(|text| self.address(source, text, Some(53)));
        let is_soa =
            |query: &str| query.split_whitespace().nth(1).is_none_or(|rtype| rtype.eq_ignore_ascii_case("SOA"));
        let asks_otherwise = table.query.as_ref().is_some_and(|query| !is_soa(query.get_ref()));
        if let Some(text) = table.serial_of.as_ref().filter(|_| asks_otherwise) {
            self.at(source, text.span(), "serial-of needs the SOA", "write query = \"ZONE SOA\"");
        }
        let rcode = table.rcode.as_ref().map_or("NOERROR".to_owned(), |text| text.get_ref().to_ascii_uppercase());
        if let Some(text) = table.rcode.as_ref().filter(|_| !Dns::is_rcode(&rcode)) {
            self.at(source, text.span(), format!("`{rcode}` is no rcode"), "write NOERROR, NXDOMAIN, REFUSED, ...");
        }
        let query = text(table.query.as_ref()).unwrap_or_default();
        let expected = text(table.expect.as_ref());
        let fits = over_any(families, |family| fits_rdata(&query, expected.as_deref(), SOME_NODE, family));
        if let (Some(expect), Err(message)) = (&table.expect, fits) {
            self.at(source, expect.span(), message, "write it as in a zone file, TXT in quotes");
        }
        Dns { port, query, rcode, expect: expected, serial_of }
    }

    fn exec_check(&mut self, source: &Source, argv: &Spanned<Vec<String>>) -> Exec {
        let words = argv.get_ref();
        if words.first().is_none_or(|program| program.trim().is_empty()) {
            self.at(source, argv.span(), "no program is named", "write [\"/path/to/check_x\", \"-H\", \"{ip}\"]");
        } else if words.iter().any(|word| word.contains('\0')) {
            self.at(source, argv.span(), "an argument cannot contain NUL", "remove it");
        } else if !words.iter().any(|word| word.contains("{ip}") || word.contains("{node}")) {
            let hint = "write {ip} or {node} where the plugin takes the host";
            self.at(source, argv.span(), "the command names no node: all nodes would look alike", hint);
        }
        Exec { argv: words.clone(), places: 0 }
    }

    /// `{ip}:25`, `{node}:443`: what stands for the host, and the port.
    fn place(&mut self, source: &Source, place: &file::Text, usual: u16) -> (String, u16) {
        let written = place.get_ref();
        let (host, port) = written.rsplit_once(':').unwrap_or((written, ""));
        if !matches!(host, "{ip}" | "{node}") {
            let hint = "write {ip} or {node} as the host: the connection goes to the node";
            self.at(source, place.span(), format!("`{written}` does not name the node"), hint);
        } else if port.parse::<u16>().is_ok_and(|port| port > 0) {
            return (host.to_owned(), port.parse().unwrap_or(usual));
        } else {
            let hint = format!("write for example \"{host}:{usual}\"");
            self.at(source, place.span(), format!("`{written}` has no port"), hint);
        }
        ("{node}".to_owned(), usual)
    }

    fn url(&mut self, source: &Source, url: &file::Text, schemes: &[&str], families: &[Family]) {
        let tried = |family| fits_url(url.get_ref(), SOME_NODE, family, schemes);
        if let Err((message, hint)) = over_any(families, tried) {
            self.at(source, url.span(), message, hint);
        }
    }

    /// What a check is aimed at must make sense for each node: a name that looks like an address is no
    /// name of a server. `text` is where the pool names the check.
    pub(in crate::config) fn fits(&mut self, source: &Source, text: &file::Text, check: &Check, node: &Node) {
        let families = check.families.iter().copied().filter(|family| node.has(*family));
        // What is wrong with the check itself was told.
        let mut sound = families.filter(|family| fits(check, SOME_NODE, *family).is_ok());
        if let Some(message) = sound.find_map(|family| fits(check, &node.name, family).err()) {
            let message = format!("check `{}` cannot be aimed at node `{}`: {message}", check.name, node.name);
            self.at(source, text.span(), message, "name the node by its host name, or write a fixed name in the check");
        }
    }

    fn statuses(&mut self, source: &Source, table: &file::Check, good: std::ops::RangeInclusive<u16>, what: &str) {
        let Some(list) = &table.status else { return };
        for status in list.get_ref().iter().filter(|status| !good.contains(status.get_ref())) {
            let message = format!("{} is no {what} status", status.get_ref());
            self.at(source, status.span(), message, format!("write {} to {}", good.start(), good.end()));
        }
        if list.get_ref().is_empty() {
            self.at(source, list.span(), "no status is good", "leave the key out for the usual one");
        }
    }

    fn headers(&mut self, source: &Source, table: &file::Check) -> Vec<(String, Header)> {
        let mut headers = Vec::new();
        for (name, value) in table.headers.iter().flat_map(|headers| headers.get_ref()) {
            let name_text = name.get_ref();
            let Some(value_read) = self.header(source, value) else { continue };
            if HeaderName::from_bytes(name_text.as_bytes()).is_err() {
                self.at(source, name.span(), format!("{name_text:?} is no header name"), "letters, digits and `-`");
            } else if ["connection", "content-length", "transfer-encoding", "upgrade", "expect"]
                .contains(&name_text.to_ascii_lowercase().as_str())
            {
                self.at(source, name.span(), format!("the header {name_text} is not yours to set"), "remove it");
            } else if matches!(&value_read, Header::Text(text) if HeaderValue::from_str(&fill(text, SOME_NODE, Family::Ipv4)).is_err())
            {
                let message = format!("the value of {name_text} cannot be sent: it has a line break or worse");
                self.at(source, value.span(), message, "write one line of plain text");
            } else {
                headers.push((name_text.clone(), value_read));
            }
        }
        headers
    }

    /// A text, or `{ file = "..." }`.
    fn header(&mut self, source: &Source, value: &Spanned<toml::Value>) -> Option<Header> {
        let file = match value.get_ref() {
            toml::Value::String(text) => return Some(Header::Text(text.clone())),
            toml::Value::Table(table) if table.len() == 1 => table.get("file").and_then(toml::Value::as_str),
            _ => None,
        };
        let Some(file) = file else {
            let hint = "write NAME = \"text\" or NAME = { file = \"/path/to/secret\" }";
            self.at(source, value.span(), "this is neither a text nor a file", hint);
            return None;
        };
        self.secret(source, &Spanned::new(value.span(), file.to_owned())).map(Header::File)
    }

    fn pattern(&mut self, source: &Source, table: &file::Check) -> Option<String> {
        let written = table.expect_regex.as_ref()?;
        if let Some(expect) = &table.expect {
            self.at(source, expect.span(), "there is an expect-regex, too", "keep one of them");
        }
        let is_template = ["{node}", "{ip}"].iter().any(|word| written.get_ref().contains(word));
        match regex::bytes::RegexBuilder::new(written.get_ref()).size_limit(PATTERN_MAX).build() {
            _ if is_template => {
                self.at(source, written.span(), "expect-regex knows no {node} and {ip}", "use expect for them");
            }
            Ok(_) => {}
            Err(error) => {
                let message = error.to_string();
                let message = message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.wrong(source, written, format!("`{}` is no pattern: {message}", written.get_ref()));
            }
        }
        Some(written.get_ref().clone())
    }

    fn certificates(&mut self, source: &Source, table: &file::Check) -> Certificates {
        let insecure = table.insecure.as_ref().is_some_and(|insecure| *insecure.get_ref());
        if let Some(ca_file) = table.ca_file.as_ref().filter(|_| insecure) {
            self.at(source, ca_file.span(), "insecure accepts any certificate", "remove ca-file or insecure");
        }
        Certificates {
            ca_file: table.ca_file.as_ref().and_then(|text| self.certificate_file(source, text)),
            insecure,
            min_days: table.cert_min_days.as_ref().map(|days| *days.get_ref()),
        }
    }

    /// A PEM file with certificates in it, and nothing that only looks like one.
    fn certificate_file(&mut self, source: &Source, text: &file::Text) -> Option<PathBuf> {
        let path = self.readable(source, text)?;
        let read = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let wrong = match read {
            Ok(found) if found.is_empty() => "there is no certificate in it".to_owned(),
            Ok(found) => {
                let mut roots = RootCertStore::empty();
                let Some(error) = found.into_iter().find_map(|found| roots.add(found).err()) else { return Some(path) };
                format!("what is in it is no certificate: {error}")
            }
            Err(error) => error.to_string(),
        };
        let message = format!("{}: no PEM file with certificates: {wrong}", path.display());
        self.at(source, text.span(), message, "name a file with BEGIN CERTIFICATE lines");
        None
    }

    fn names(&mut self, source: &Source, table: &file::Check, host: String, families: &[Family]) -> Names {
        let Some(names) = &table.names else { return Names::List(vec![host]) };
        let hint = "write names = \"pool\" or names = [\"foo.zone\", \"www.foo.zone\"]";
        let list = match names.get_ref() {
            toml::Value::String(word) if word == "pool" => return Names::Pool,
            toml::Value::String(word) => {
                let hint = did_you_mean(word, ["pool"]).unwrap_or_else(|| hint.to_owned());
                self.at(source, names.span(), format!("`{word}` is no list of names"), hint);
                return Names::default();
            }
            toml::Value::Array(list) => list.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        let Some(list): Option<Vec<String>> = list else {
            self.at(source, names.span(), "this is no list of names", hint);
            return Names::default();
        };
        if list.is_empty() || list.len() > NAMES_MAX {
            self.at(source, names.span(), format!("{} names are out of range", list.len()), hint);
        }
        let is_bad = |name: &&String| over_any(families, |family| fits_handshake(name, SOME_NODE, family)).is_err();
        if let Some(bad) = list.iter().find(is_bad) {
            self.at(source, names.span(), format!("`{bad}` is no server name"), hint);
        }
        Names::List(list)
    }

    fn check_families(&mut self, source: &Source, list: Option<&Spanned<Vec<file::Text>>>) -> Vec<Family> {
        let Some(list) = list else { return Family::ALL.to_vec() };
        if list.get_ref().is_empty() {
            self.at(source, list.span(), "no family is left", "leave the key out for both");
        }
        let words = [("ipv4", Family::Ipv4), ("ipv6", Family::Ipv6)];
        let mut families: Vec<Family> =
            list.get_ref().iter().filter_map(|text| self.choice(source, Some(text), &words)).collect();
        families.sort();
        families.dedup();
        families
    }

    fn streak(&mut self, source: &Source, number: Option<&Spanned<u32>>, default: u32) -> u32 {
        let Some(number) = number else { return default };
        if !(1..=STREAK_MAX).contains(number.get_ref()) {
            let message = format!("{} is out of range", number.get_ref());
            self.at(source, number.span(), message, format!("write 1 to {STREAK_MAX}"));
        }
        *number.get_ref()
    }
}

fn text(text: Option<&file::Text>) -> Option<String> {
    text.map(|text| text.get_ref().clone())
}

/// Where each key of a kind's own stands, as far as it is given.
fn spans(table: &file::Check) -> BTreeMap<&'static str, Range<usize>> {
    fn of<T>(value: &Option<Spanned<T>>) -> Option<Range<usize>> {
        value.as_ref().map(Spanned::span)
    }
    let all = [
        ("http", of(&table.http)),
        ("tls", of(&table.tls)),
        ("tcp", of(&table.tcp)),
        ("gemini", of(&table.gemini)),
        ("smtp", of(&table.smtp)),
        ("dns", of(&table.dns)),
        ("exec", of(&table.exec)),
        ("file", of(&table.file)),
        ("method", of(&table.method)),
        ("headers", of(&table.headers)),
        ("redirects", of(&table.redirects)),
        ("port", of(&table.port)),
        ("status", of(&table.status)),
        ("expect", of(&table.expect)),
        ("expect-regex", of(&table.expect_regex)),
        ("ca-file", of(&table.ca_file)),
        ("insecure", of(&table.insecure)),
        ("cert-min-days", of(&table.cert_min_days)),
        ("names", of(&table.names)),
        ("send", of(&table.send)),
        ("starttls", of(&table.starttls)),
        ("query", of(&table.query)),
        ("rcode", of(&table.rcode)),
        ("serial-of", of(&table.serial_of)),
        ("max-age", of(&table.max_age)),
    ];
    all.into_iter().filter_map(|(key, span)| Some((key, span?))).collect()
}
