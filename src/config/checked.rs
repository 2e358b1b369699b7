//! From what the files say to what is true: every name resolved, every value in range. All
//! problems are collected, so that one run of `check` shows them all.

mod notify;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use crate::failover::pool::{Families, Node, Pool, Preempt, Rotate, WhenAllDown};
use crate::health::check::Check;

use super::file;
use super::load::{Source, beside};
use super::problem::{Problem, did_you_mean};
use super::process::{SECRET_HINT, not_open_to_all};
use super::value::{choice, duration_ms, socket_addr};
use super::{Config, DEFAULT_CONTROL, DEFAULT_STATE_DIR, Key, Nsd};

mod aim;
mod checks;
mod zones;

const PREEMPT_MS: u64 = 300_000;

/// Checks what was read; the first source is the main file.
pub fn check(file: &Path, sources: &[Source]) -> Result<Config, Vec<Problem>> {
    let mut checker = Checker { problems: Vec::new(), keys: Vec::new() };
    let config = checker.config(file, sources);
    if checker.problems.is_empty() { Ok(config) } else { Err(checker.problems) }
}

pub(super) struct Checker {
    pub(super) problems: Vec<Problem>,
    pub(super) keys: Vec<Key>,
}

/// Where the files, and those that patterns find, lie.
fn folders(sources: &[Source]) -> Vec<PathBuf> {
    let folder = |path: &Path| path.parent().map(|folder| Path::new(".").join(folder));
    let mut found: BTreeSet<PathBuf> = sources.iter().filter_map(|source| folder(&source.file)).collect();
    for source in sources {
        let tables = &source.tables;
        let named = tables.include.iter().flatten().chain(&tables.zone_files).chain(&tables.nsd_conf);
        for text in named {
            let path = beside(&source.file, text.get_ref());
            // Of a pattern the part without one.
            let plain = path.iter().take_while(|part| !part.to_string_lossy().contains(['*', '?', '[']));
            let plain: PathBuf = plain.collect();
            found.extend(if plain == path { folder(&plain) } else { Some(plain) });
        }
    }
    found.into_iter().collect()
}

/// A table of one kind with the file it stands in.
pub(super) struct Entry<'a, T> {
    pub source: &'a Source,
    pub name: &'a file::Text,
    pub table: &'a T,
}

impl Checker {
    fn config(&mut self, file: &Path, sources: &[Source]) -> Config {
        for source in sources {
            if let Some(version) = source.tables.version.as_ref().filter(|version| *version.get_ref() != 1) {
                self.at(
                    source,
                    version.span(),
                    format!("version {} is not known", version.get_ref()),
                    "write `version = 1`",
                );
            }
        }
        let nodes = self.nodes(sources);
        let checks = self.checks(sources, &nodes);
        let pools = self.pools(sources, &nodes, &checks);
        let listen = self.listen(sources);
        let nsd = self.nsd(sources);
        self.keys = self.read_keys(sources);
        let zones = self.zones(sources, &pools, &listen, nsd.as_ref());
        let catalog = self.catalog(sources, &zones);
        let dns = self.dns(sources);
        Config {
            file: file.to_owned(),
            folders: folders(sources),
            listen,
            http: self.http(sources),
            control: self.path(sources, |tables| &tables.control, DEFAULT_CONTROL),
            state_dir: self.path(sources, |tables| &tables.state_dir, DEFAULT_STATE_DIR),
            process: self.process(sources),
            cert_days: self.cert_days(sources),
            nsd,
            dns,
            rrl: self.rrl(sources),
            tls: self.tls(sources),
            pools,
            checks,
            zones,
            keys: std::mem::take(&mut self.keys),
            catalog,
            notify: self.notify(sources),
        }
    }

    fn listen(&mut self, sources: &[Source]) -> Vec<SocketAddr> {
        let Some((source, texts)) = self.single(sources, |tables| tables.listen.as_ref()) else { return Vec::new() };
        self.addresses(source, texts.get_ref(), 53)
    }

    /// Addresses to listen on, each once.
    pub(super) fn addresses(&mut self, source: &Source, texts: &[file::Text], usual_port: u16) -> Vec<SocketAddr> {
        let mut listen: Vec<SocketAddr> = Vec::new();
        for text in texts {
            match self.address(source, text, Some(usual_port)) {
                Some(address) if listen.contains(&address) => {
                    self.at(source, text.span(), format!("{address} is listed twice"), "remove one");
                }
                Some(address) => listen.push(address),
                None => {}
            }
        }
        listen
    }

    fn http(&mut self, sources: &[Source]) -> Option<SocketAddr> {
        let (source, text) = self.single(sources, |tables| tables.http.as_ref())?;
        self.address(source, text, None)
    }

    fn path(&mut self, sources: &[Source], key: fn(&file::File) -> &Option<file::Text>, default: &str) -> PathBuf {
        match self.single(sources, |tables| key(tables).as_ref()) {
            Some((source, text)) => beside(&source.file, text.get_ref()),
            None => PathBuf::from(default),
        }
    }

    fn nsd(&mut self, sources: &[Source]) -> Option<Nsd> {
        let (source, table) = self.single(sources, |tables| tables.nsd.as_ref())?;
        let table = table.get_ref();
        let usual = SocketAddr::from(([127, 0, 0, 1], 53));
        let address = match &table.address {
            Some(text) => self.address(source, text, Some(53)).unwrap_or(usual),
            None => usual,
        };
        if let Some(socket) = table.control_socket.as_ref().filter(|_| table.control.is_some()) {
            self.at(source, socket.span(), "control is set as well", "keep one of control and control-socket");
        }
        let verify = table.verify.iter().flat_map(|list| list.get_ref());
        // No program at all is a choice that has to be made: the default is to have one.
        let without = table.checkzone.as_ref().is_some_and(|argv| argv.get_ref().is_empty());
        Some(Nsd {
            address,
            relay: table.relay.as_ref().is_some_and(|relay| *relay.get_ref()),
            verify: verify.filter_map(|text| self.address(source, text, Some(53))).collect(),
            proxy_protocol: table.proxy_protocol.unwrap_or(false),
            control: self.argv(source, table.control.as_ref(), "nsd-control"),
            control_socket: table.control_socket.as_ref().map(|text| beside(&source.file, text.get_ref())),
            checkzone: match without {
                true => Vec::new(),
                false => self.argv(source, table.checkzone.as_ref(), "nsd-checkzone"),
            },
            zonesdir: table.zonesdir.as_ref().map(|text| beside(&source.file, text.get_ref())),
        })
    }

    fn argv(&mut self, source: &Source, argv: Option<&Spanned<Vec<String>>>, default: &str) -> Vec<String> {
        let Some(argv) = argv else { return vec![default.to_owned()] };
        if argv.get_ref().first().is_none_or(String::is_empty) {
            self.at(source, argv.span(), "no program is named", format!("write [\"{default}\"]"));
        }
        argv.get_ref().clone()
    }

    fn nodes(&mut self, sources: &[Source]) -> BTreeMap<String, Node> {
        let mut nodes = BTreeMap::new();
        for entry in self.entries(sources, "node", |tables| &tables.node) {
            let ipv4 = entry
                .table
                .ipv4
                .as_ref()
                .and_then(|text| self.parsed::<Ipv4Addr>(entry.source, text, "an IPv4 address"));
            let ipv6 = entry
                .table
                .ipv6
                .as_ref()
                .and_then(|text| self.parsed::<Ipv6Addr>(entry.source, text, "an IPv6 address"));
            if entry.table.ipv4.is_none() && entry.table.ipv6.is_none() {
                let message = format!("node `{}` has no address", entry.name.get_ref());
                self.at(entry.source, entry.name.span(), message, "give it ipv4, ipv6 or both");
            }
            if entry.name.get_ref().is_empty()
                || entry.name.get_ref().contains(|c: char| c.is_whitespace() || c.is_control())
            {
                self.at(entry.source, entry.name.span(), "a node needs a name without blanks", "use its host name");
            }
            let name = entry.name.get_ref().clone();
            nodes.insert(name.clone(), Node { name, ipv4, ipv6 });
        }
        nodes
    }

    fn pools(&mut self, sources: &[Source], nodes: &BTreeMap<String, Node>, checks: &[Check]) -> Vec<Pool> {
        let entries = self.entries(sources, "pool", |tables| &tables.pool);
        entries.into_iter().map(|entry| self.one_pool(&entry, nodes, checks)).collect()
    }

    fn one_pool(&mut self, entry: &Entry<'_, file::Pool>, nodes: &BTreeMap<String, Node>, checks: &[Check]) -> Pool {
        let (source, table) = (entry.source, entry.table);
        let name = entry.name.get_ref().clone();
        let mut members: Vec<Node> = Vec::new();
        for text in table.nodes.iter().flat_map(|list| list.get_ref()) {
            match nodes.get(text.get_ref()) {
                Some(node) if members.contains(node) => {
                    self.at(source, text.span(), format!("node `{}` is listed twice", node.name), "remove one")
                }
                Some(node) => members.push(node.clone()),
                None => self.unknown(source, text, "node", nodes.keys().map(String::as_str)),
            }
        }
        if table.nodes.as_ref().is_none_or(|list| list.get_ref().is_empty()) {
            self.at(
                source,
                entry.name.span(),
                format!("pool `{name}` has no nodes"),
                "write nodes = [\"first\", \"second\"] in order of preference",
            );
        }
        for text in table.checks.iter().flatten() {
            match checks.iter().find(|check| check.name == *text.get_ref()) {
                Some(check) => self.aimed(source, text, check, &members),
                None if self.table_exists(source, text) => {}
                None => self.unknown(source, text, "check", checks.iter().map(|check| check.name.as_str())),
            }
        }
        let weekly = [("weekly", Rotate::Weekly), ("never", Rotate::Never)];
        let down = [("keep", WhenAllDown::Keep), ("first", WhenAllDown::First), ("withdraw", WhenAllDown::Withdraw)];
        let families = [
            ("together", Families::Together),
            ("independent", Families::Independent),
            ("withdraw", Families::Withdraw),
        ];
        Pool {
            name,
            nodes: members,
            checks: table.checks.iter().flatten().map(|text| text.get_ref().clone()).collect(),
            rotate: self.choice(source, table.rotate.as_ref(), &weekly).unwrap_or_default(),
            preempt: match &table.preempt {
                Some(text) if text.get_ref() == "never" => Preempt::Never,
                text => Preempt::After(self.duration(source, text.as_ref(), PREEMPT_MS)),
            },
            when_all_down: self.choice(source, table.when_all_down.as_ref(), &down).unwrap_or_default(),
            families: self.choice(source, table.families.as_ref(), &families).unwrap_or_default(),
            min_hold_ms: table.min_hold.as_ref().map_or(0, |text| self.duration(source, Some(text), 0)),
            ttl_min_s: table.ttl_min.as_ref().and_then(|text| self.whole_seconds(source, text)),
            anchors: self.anchors(source, table),
        }
    }

    /// A check that looks at nobody would leave the pool unwatched, or one of its nodes down for ever.
    fn aimed(&mut self, source: &Source, text: &file::Text, check: &Check, nodes: &[Node]) {
        if !nodes.is_empty() && !nodes.iter().any(|node| check.families.iter().any(|family| node.has(*family))) {
            let families = check.families.iter().map(|family| family.as_str()).collect::<Vec<_>>().join(" and ");
            let message =
                format!("check `{}` looks at nobody: no node of the pool has an {families} address", check.name);
            self.at(source, text.span(), message, "give the nodes one, or leave the check out");
        }
        nodes.iter().for_each(|node| self.fits(source, text, check, node));
    }

    fn anchors(&mut self, source: &Source, table: &file::Pool) -> Vec<SocketAddr> {
        let texts = table.anchors.iter().flat_map(|list| list.get_ref());
        let mut anchors: Vec<SocketAddr> = Vec::new();
        for text in texts {
            let Some(address) = self.address(source, text, Some(53)) else { continue };
            let is_host = match address.ip() {
                IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast(),
                IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
            };
            if is_host && address.port() > 0 {
                anchors.push(address);
            } else {
                let message = format!("{address} is no server that could answer");
                self.at(source, text.span(), message, "name a server beyond your own network, as \"9.9.9.9:53\"");
            }
        }
        anchors.sort();
        anchors.dedup();
        anchors
    }

    /// Whether the check is there but broken: then its own problem is enough.
    fn table_exists(&self, source: &Source, name: &file::Text) -> bool {
        source.tables.check.iter().flatten().any(|(key, _)| key.get_ref() == name.get_ref())
    }

    /// All tables of one kind, in order of their names; a name given twice is a problem.
    pub(super) fn entries<'a, T>(
        &mut self,
        sources: &'a [Source],
        kind: &str,
        key: fn(&file::File) -> &file::Tables<T>,
    ) -> Vec<Entry<'a, T>> {
        let mut entries: BTreeMap<&str, Entry<'a, T>> = BTreeMap::new();
        for source in sources {
            for (name, table) in key(&source.tables).iter().flatten() {
                match entries.get(name.get_ref().as_str()) {
                    Some(first) => {
                        let message = format!("{kind} `{}` is also in {}", name.get_ref(), first.source.file.display());
                        self.at(source, name.span(), message, "remove one");
                    }
                    None => drop(entries.insert(name.get_ref(), Entry { source, name, table })),
                }
            }
        }
        entries.into_values().collect()
    }

    /// A key that may stand in one file only.
    pub(super) fn single<'a, T>(
        &mut self,
        sources: &'a [Source],
        key: impl Fn(&'a file::File) -> Option<&'a Spanned<T>>,
    ) -> Option<(&'a Source, &'a Spanned<T>)> {
        let mut found: Option<(&Source, &Spanned<T>)> = None;
        for source in sources {
            let Some(value) = key(&source.tables) else { continue };
            match found {
                Some((first, _)) => {
                    self.at(source, value.span(), format!("this is also set in {}", first.file.display()), "remove one")
                }
                None => found = Some((source, value)),
            }
        }
        found
    }

    pub(super) fn address(
        &mut self,
        source: &Source,
        text: &file::Text,
        usual_port: Option<u16>,
    ) -> Option<SocketAddr> {
        socket_addr(text.get_ref(), usual_port).map_err(|message| self.wrong(source, text, message)).ok()
    }

    pub(super) fn parsed<T: std::str::FromStr>(&mut self, source: &Source, text: &file::Text, what: &str) -> Option<T> {
        text.get_ref().parse().map_err(|_| self.wrong(source, text, format!("`{}` is not {what}", text.get_ref()))).ok()
    }

    pub(super) fn duration(&mut self, source: &Source, text: Option<&file::Text>, default_ms: u64) -> u64 {
        let Some(text) = text else { return default_ms };
        duration_ms(text.get_ref()).map_err(|message| self.wrong(source, text, message)).unwrap_or(default_ms)
    }

    fn whole_seconds(&mut self, source: &Source, text: &file::Text) -> Option<u32> {
        let milliseconds = self.duration(source, Some(text), 1_000);
        if !milliseconds.is_multiple_of(1_000) {
            self.wrong(source, text, format!("`{}` is no whole number of seconds", text.get_ref()));
        }
        u32::try_from(milliseconds / 1_000).ok()
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        source: &Source,
        text: Option<&file::Text>,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = text?;
        choice(text.get_ref(), words).map_err(|message| self.wrong(source, text, message)).ok()
    }

    pub(super) fn readable(&mut self, source: &Source, text: &file::Text) -> Option<PathBuf> {
        let path = beside(&source.file, text.get_ref());
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => return Some(path),
            Ok(_) => self.wrong(source, text, format!("{} is no file", path.display())),
            Err(error) => self.wrong(source, text, format!("{}: {error}", path.display())),
        }
        None
    }

    /// The same for a file with a secret, which must not be open to everybody.
    pub(super) fn secret(&mut self, source: &Source, text: &file::Text) -> Option<PathBuf> {
        let path = self.readable(source, text)?;
        match not_open_to_all(&path) {
            Ok(()) => Some(path),
            Err(message) => {
                self.at(source, text.span(), message, SECRET_HINT);
                None
            }
        }
    }

    pub(super) fn unknown<'a>(
        &mut self,
        source: &Source,
        text: &file::Text,
        kind: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) {
        let message = format!("{kind} `{}` is not configured", text.get_ref());
        let hint =
            did_you_mean(text.get_ref(), known).unwrap_or_else(|| format!("add [{kind}.\"{}\"]", text.get_ref()));
        self.at(source, text.span(), message, hint);
    }

    pub(super) fn wrong(&mut self, source: &Source, text: &file::Text, message: String) {
        self.problems.push(Problem::at(&source.file, &source.text, text.span(), message));
    }

    pub(super) fn at(
        &mut self,
        source: &Source,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problems.push(Problem::at(&source.file, &source.text, span, message).hint(hint));
    }
}
