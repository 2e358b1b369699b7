//! docs/configuration.md is what the parser's own tables say, and what they say is true: every
//! default was left out and written down with the same result, every example was taken.
//!
//! `UPDATE=1 cargo test --test it reference` writes the page anew.

use std::fs;
use std::path::Path;

use nsd_failover::config::file::TABLES;
use nsd_failover::config::keys::{Key, Table, Usual};
use nsd_failover::config::{Config, reference};
use toml::Value;

/// What stands around a key when it is tried.
const AROUND: &str = r#"
listen = ["127.0.0.1:5353"]
[node.fishfinger]
ipv4 = "192.0.2.10"
[node.blowfish]
ipv4 = "198.51.100.20"
[check.web]
http = "http://{node}/"
[key.sidecar]
secret-file = "sidecar.key"
[pool.web]
nodes = ["fishfinger", "blowfish"]
"#;

/// What stands in the table of a key when it is tried.
fn beside(table: &str, key: &str) -> &'static str {
    match (table, key) {
        ("", "group") => "user = 'nsd-failover'",
        ("[node.NAME]", _) => "ipv4 = '192.0.2.1'\nipv6 = '2001:db8::1'",
        ("[check.NAME]", "http" | "tls" | "tcp" | "gemini" | "smtp" | "exec" | "file") => "",
        ("[check.NAME]", "dns") => "query = 'example.org SOA'",
        ("[check.NAME]", "query" | "rcode" | "serial-of") => "dns = '{ip}:53'\nquery = 'example.org SOA'",
        ("[check.NAME]", "names") => "tls = '{node}:443'",
        ("[check.NAME]", "send") => "tcp = '{ip}:25'",
        ("[check.NAME]", "starttls") => "smtp = '{ip}:25'",
        ("[check.NAME]", "max-age") => "file = '/run/x'",
        ("[check.NAME]", _) => "http = 'http://{node}/'",
        ("[pool.NAME]", _) => "nodes = ['fishfinger', 'blowfish']",
        ("[zone.\"ORIGIN\"]", "names" | "ns" | "hostmaster" | "ttl") => {
            "names = ['www']\nns = { ns1 = ['192.0.2.1'] }\npool = 'web'"
        }
        ("[zone.\"ORIGIN\"]", "key") => "file = 'z'\nnotify = ['127.0.0.1:53']",
        ("[zone.\"ORIGIN\"]", _) => "file = 'z'",
        ("[key.NAME]", _) => "secret-file = 'x.key'",
        ("[catalog]", _) => "zone = 'catalog.example'\nallow-transfer = ['192.0.2.1']",
        ("[tls]", "listen-tls") => "cert = '/dev/null'\nkey = '/dev/null'\nlisten-quic = ['127.0.0.1:8853']",
        ("[tls]", _) => "cert = '/dev/null'\nkey = '/dev/null'\nlisten-tls = ['127.0.0.1:8853']",
        ("[notify.NAME]", "mail" | "webhook" | "webhook-file" | "exec") => "",
        ("[notify.NAME]", "smtp" | "tls" | "ca-file") => "mail = 'a@example.org'\nsmtp = 'mail.example.org'",
        ("[notify.NAME]", "user" | "password-file") => {
            "mail = 'a@example.org'\nsmtp = 'mail.example.org'\nuser = 'a'\npassword-file = 'p'"
        }
        ("[notify.NAME]", "template" | "token-file") => "webhook = 'https://example.org/x'",
        ("[notify.NAME]", _) => "mail = 'a@example.org'",
        _ => "",
    }
}

/// The names that stand for the placeholders of a table's place.
fn path(place: &str) -> Vec<&str> {
    let inner = place.trim_matches(['[', ']']);
    match inner.split_once('.') {
        Some((kind, "\"ORIGIN\"")) => vec![kind, "example.org"],
        Some((kind, _)) => vec![kind, "tried"],
        None if inner.is_empty() => Vec::new(),
        None => vec![inner],
    }
}

/// A configuration in which `key` has this value, or is left out.
fn configuration(table: &Table, key: &Key, value: Option<&str>) -> String {
    let mut whole: toml::Table = AROUND.parse().unwrap();
    if table.place == "[catalog]" {
        let member = "file = 'z'\nallow-transfer = ['192.0.2.1']".parse::<toml::Table>().unwrap();
        whole.insert(
            "zone".into(),
            Value::Table([("example.org".to_owned(), Value::Table(member))].into_iter().collect()),
        );
    }
    if table.place == "[zone.\"ORIGIN\"]" && key.name() == "export" {
        whole.insert("nsd".into(), Value::Table(toml::Table::new()));
    }
    let mut place = &mut whole;
    for step in path(table.place) {
        let next = place.entry(step).or_insert_with(|| Value::Table(toml::Table::new()));
        place = next.as_table_mut().unwrap();
    }
    for (name, value) in beside(table.place, &key.name()).parse::<toml::Table>().unwrap() {
        place.insert(name, value);
    }
    match value {
        Some(text) => {
            let parsed: toml::Table = format!("x = {text}").parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            place.insert(key.name(), parsed["x"].clone());
        }
        None => drop(place.remove(&key.name())),
    }
    whole.to_string()
}

/// The checked configuration as text, or what is wrong beyond a file that is not there.
fn checked(text: &str) -> Result<String, String> {
    match Config::parse(Path::new("/nowhere/c.toml"), text) {
        Ok(config) => Ok(format!("{config:#?}")),
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let missing = |line: &String| {
                ["No such file", "no file matches", "/dev/null is no file"].iter().any(|words| line.contains(words))
            };
            match lines.iter().all(missing) {
                true => Ok("files that are not here".to_owned()),
                false => Err(lines.join("\n")),
            }
        }
    }
}

fn keys() -> impl Iterator<Item = (&'static Table, &'static Key)> {
    TABLES.iter().flat_map(|table| table.keys.iter().map(move |key| (table, key)))
}

#[test]
fn the_page_is_what_the_parser_reads() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = reference::render();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &page).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(written == page, "docs/configuration.md is not up to date: UPDATE=1 cargo test --test it reference");
}

/// The parser's own word on what it knows, table by table.
#[test]
fn every_key_that_is_known_is_told() {
    for table in TABLES.iter().filter(|table| !table.keys.is_empty()) {
        let mut text = String::new();
        if !table.place.is_empty() {
            text += &table.place.replace("NAME", "x").replace("ORIGIN", "x");
            text += "\n";
        }
        let problems = Config::parse(Path::new("c.toml"), &format!("{text}qqqqqqqq = 1\n")).unwrap_err();
        let hint = problems[0].hint.clone().unwrap_or_else(|| panic!("{}: {}", table.place, problems[0]));
        let told: Vec<String> = table.keys.iter().map(Key::name).collect();
        assert_eq!(hint, format!("known here: {}", told.join(", ")), "{}", table.place);
    }
    // Every table that the top level names has a section.
    for key in TABLES[0].keys.iter().filter(|key| key.example.is_empty()) {
        let start = format!("[{}", key.name());
        let has = |table: &Table| table.place.strip_prefix(&start).is_some_and(|rest| rest.starts_with(['.', ']']));
        assert!(TABLES.iter().any(has), "{} has no section", key.name());
    }
}

#[test]
fn every_default_is_what_happens_without_the_key() {
    let mut tried = 0;
    for (table, key) in keys() {
        let name = format!("{} {}", table.place, key.name());
        let without = checked(&configuration(table, key, None));
        match key.usual {
            Usual::Is(value) => {
                let with = checked(&configuration(table, key, Some(value)));
                let with = with.unwrap_or_else(|lines| panic!("{name} = {value}: {lines}"));
                let without = without.unwrap_or_else(|lines| panic!("{name} is left out: {lines}"));
                let differs = with.lines().zip(without.lines()).find(|(with, without)| with != without);
                assert_eq!(differs, None, "{name}: the default is not {value}");
                tried += 1;
            }
            Usual::Needed => {
                assert!(without.is_err() || without.unwrap().starts_with("files"), "{name} can be left out")
            }
            Usual::Says(_) | Usual::Unset => {}
        }
    }
    assert!(tried > 40, "{tried}");
}

#[test]
fn every_example_is_taken_and_changes_something() {
    for (table, key) in keys().filter(|(_, key)| !key.example.is_empty()) {
        let name = format!("{} {} = {}", table.place, key.name(), key.example);
        let with = checked(&configuration(table, key, Some(key.example)));
        let with = with.unwrap_or_else(|lines| panic!("{name}: {lines}"));
        assert!(!with.is_empty());
        if let (Usual::Is(value), false) = (key.usual, with.starts_with("files")) {
            let same = value == key.example;
            let default = checked(&configuration(table, key, Some(value))).unwrap();
            assert_eq!(with == default, same, "{name} does nothing");
        }
    }
}

/// `[zone-defaults]` has the keys of a zone that make sense there: those that its section names.
#[test]
fn zone_defaults_are_those_that_are_told() {
    let zone = TABLES.iter().find(|table| table.place.starts_with("[zone.")).unwrap();
    let defaults = TABLES.iter().find(|table| table.place == "[zone-defaults]").unwrap();
    let told = defaults.about.concat();
    for key in zone.keys {
        let text = format!("{AROUND}\n[zone-defaults]\n{} = {}\n", key.name(), key.example);
        let text = if key.name() == "key" { format!("{text}notify = ['127.0.0.1:53']\n") } else { text };
        let taken = checked(&text);
        assert_eq!(taken.is_ok(), told.contains(&format!("`{}`", key.name())), "{}: {taken:?}", key.name());
    }
}
