//! The zones: those that have a table, and those that `zone-files` and `nsd-conf` find.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;

use super::{Checker, Entry};
use crate::config::load::{Source, beside};
use crate::config::nsd_conf::NsdConf;
use crate::config::{Nsd, Serve, Zone, file, zones};
use crate::dns::name::Name;
use crate::export::serial::SerialScheme;
use crate::failover::pool::Pool;
use crate::zone::origin::OriginFrom;

impl Checker {
    pub(super) fn zones(
        &mut self,
        sources: &[Source],
        pools: &[Pool],
        listen: &[SocketAddr],
        nsd: Option<&Nsd>,
    ) -> Vec<Zone> {
        let defaults = self.zone_defaults(sources);
        let (found, zones_dir) = self.found_zones(sources);
        // What is written counts more than what is found.
        let zones_dir = nsd.and_then(|nsd| nsd.zonesdir.clone()).or(zones_dir);
        let context = Context { pools, listen, nsd, defaults, zones_dir };
        let mut zones: Vec<Zone> = Vec::new();
        for entry in self.entries(sources, "zone", |tables| &tables.zone) {
            let Some(zone) = self.one_zone(&entry, &context, &found) else { continue };
            match zones.iter().find(|other| other.origin == zone.origin) {
                Some(other) => {
                    let message = format!("zone {} is configured twice", other.origin);
                    self.at(
                        entry.source,
                        entry.name.span(),
                        message,
                        "remove one (a final dot or upper case makes no other zone)",
                    );
                }
                None => zones.push(zone),
            }
        }
        let named: HashSet<Name> = zones.iter().map(|zone| zone.origin.clone()).collect();
        for FoundZone { source, origin, file, how, .. } in found {
            if !named.contains(&origin) {
                let empty = file::Zone::default();
                let pool = self.pool(source, &empty, &context);
                let by_file_name = how == How::File(OriginFrom::FileName);
                let begun = Begun { origin, file, text: None, pool, by_file_name };
                zones.push(self.settled(source, &empty, begun, &context));
            }
        }
        zones
    }

    /// A zone that has a table of its own.
    fn one_zone(
        &mut self,
        entry: &Entry<'_, file::Zone>,
        context: &Context<'_>,
        found: &[FoundZone<'_>],
    ) -> Option<Zone> {
        let (source, table) = (entry.source, entry.table);
        let origin: Name = match entry.name.get_ref().parse() {
            Ok(origin) => origin,
            Err(error) => {
                self.at(
                    source,
                    entry.name.span(),
                    format!("`{}` is no zone name: {error}", entry.name.get_ref()),
                    "write [zone.\"example.org\"]",
                );
                return None;
            }
        };
        let pool = self.pool(source, table, context);
        let found = found.iter().find(|found| found.origin == origin);
        let (file, text) = match (&table.file, &table.names, found) {
            (Some(file), None, _) => (beside(&source.file, file.get_ref()), None),
            (None, None, Some(found)) => (found.file.clone(), None),
            (None, Some(names), None) => {
                if context.defaults.or(source, |table| table.pool.as_ref(), table).1.is_none() {
                    self.at(source, names.span(), "a declared zone needs a pool", "write pool = \"NAME\"");
                }
                let members = pool.map_or(&[][..], |pool| &context.pools[pool].nodes);
                let text = self.declared(source, table, names, &origin, members, context.listen)?;
                (source.file.clone(), Some(text.into()))
            }
            (given, names, found) => {
                let what = match (given, names, found) {
                    (None, Some(_), Some(found)) => format!("names, and a file ({})", found.file.display()),
                    (Some(_), ..) => "a file and names".to_owned(),
                    (None, ..) => "no file".to_owned(),
                };
                let hint = "write file = \"/path/to/zone\", or names = [\"www\", \"@\"] for a zone without a file";
                self.at(source, entry.name.span(), format!("zone {origin} has {what}"), hint);
                return None;
            }
        };
        Some(self.settled(source, table, Begun { origin, file, text, pool, by_file_name: false }, context))
    }

    /// The pool of a zone's tags, from its table or the defaults.
    fn pool(&mut self, source: &Source, table: &file::Zone, context: &Context<'_>) -> Option<usize> {
        let (source, text) = context.defaults.or(source, |table| table.pool.as_ref(), table);
        let text = text?;
        let found = context.pools.iter().position(|pool| pool.name == *text.get_ref());
        if found.is_none() {
            self.unknown(source, text, "pool", context.pools.iter().map(|pool| pool.name.as_str()));
        }
        found
    }

    /// A zone with what its table says, else the defaults.
    fn settled(&mut self, source: &Source, table: &file::Zone, begun: Begun, context: &Context<'_>) -> Zone {
        let Context { listen, nsd, defaults, zones_dir, .. } = context;
        let Begun { origin, file: path, text: declared, pool, by_file_name } = begun;
        let (allow_source, allow) = defaults.or(source, |table| table.allow_transfer.as_ref(), table);
        let (_, notify) = defaults.or(source, |table| table.notify.as_ref(), table);
        let (_, key) = defaults.or(source, |table| table.key.as_ref(), table);
        let transfer = self.transfer(allow_source, allow, notify, key);
        let listed = allow.map(Spanned::span).or(notify.map(Spanned::span));
        if let Some(span) = listed.filter(|_| transfer.is_some() && listen.is_empty()) {
            let hint = "add listen = [\"ADDRESS:PORT\"], where the secondaries fetch the zone";
            self.at(allow_source, span, "nothing can be transferred without an address", hint);
        }
        let (serve_source, serve) = defaults.or(source, |table| table.serve.as_ref(), table);
        let serve = self.serve(serve_source, serve, listen, *nsd, transfer.is_some());
        let (export_source, export_text) = defaults.or(source, |table| table.export.as_ref(), table);
        // A secondary writes its own file; a declared zone has none that an export could replace,
        // unless it is named.
        let has_file = declared.is_none() || table.export_file.is_some();
        let usual = nsd.is_some() && transfer.is_none() && has_file;
        let export = self.choice(export_source, export_text, &[("file", true), ("off", false)]).unwrap_or(usual);
        if let Some(text) = table.export.as_ref().filter(|_| export && !has_file) {
            self.at(source, text.span(), "a declared zone has no file to export to", "write export-file = \"/path\"");
        }
        if let Some(text) = export_text.filter(|_| export && nsd.is_none()) {
            self.at(export_source, text.span(), "there is no nsd to export to", "add an [nsd] table");
        }
        let export_file =
            table.export_file.as_ref().map_or_else(|| path.clone(), |text| beside(&source.file, text.get_ref()));
        let schemes = [
            ("unixtime", SerialScheme::Unixtime),
            ("increment", SerialScheme::Increment),
            ("date", SerialScheme::Date),
        ];
        let (serial_source, serial) = defaults.or(source, |table| table.serial.as_ref(), table);
        let serial = self.choice(serial_source, serial, &schemes).unwrap_or_default();
        let own = || path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let include_dir = zones_dir.clone().unwrap_or_else(own);
        Zone {
            origin,
            by_file_name,
            file: path,
            text: declared,
            include_dir,
            pool,
            serve,
            // A default `export = "file"` means the zones that have one.
            export_file: (export && has_file).then_some(export_file),
            serial,
            transfer,
        }
    }

    /// The one table of defaults, without what only a single zone can have.
    fn zone_defaults<'a>(&mut self, sources: &'a [Source]) -> Defaults<'a> {
        let found = self.single(sources, |tables| tables.zone_defaults.as_ref());
        if let Some((source, table)) = &found {
            for text in [&table.get_ref().file, &table.get_ref().export_file].into_iter().flatten() {
                self.at(source, text.span(), "a default cannot name one file", "write it in [zone.\"NAME\"]");
            }
            let file::Zone { names, ns, hostmaster, ttl, .. } = table.get_ref();
            let servers = ns.iter().flat_map(|servers| servers.keys());
            let texts = servers.chain(hostmaster).chain(ttl).map(Spanned::span);
            for span in names.iter().map(Spanned::span).chain(texts) {
                self.at(source, span, "only a zone that is declared has this", "write it in [zone.\"NAME\"]");
            }
        }
        Defaults(found.map(|(source, table)| (source, table.get_ref())))
    }

    /// The zones of `zone-files` and `nsd-conf`, and the folder that nsd's own names count from.
    fn found_zones<'a>(&mut self, sources: &'a [Source]) -> (Vec<FoundZone<'a>>, Option<PathBuf>) {
        let mut all: Vec<FoundZone<'a>> = Vec::new();
        let mut zones_dir = None;
        if let Some((source, text)) = self.single(sources, |tables| tables.nsd_conf.as_ref()) {
            match NsdConf::load(&beside(&source.file, text.get_ref())) {
                Ok(conf) => {
                    zones_dir = Some(conf.zones_dir);
                    let primary = conf.zones.into_iter().filter(|zone| !zone.secondary);
                    all.extend(primary.filter_map(|zone| {
                        let (origin, file) = (zone.origin, zone.file?);
                        Some(FoundZone { source, span: text.span(), origin, file, how: How::NsdConf })
                    }));
                }
                Err(problems) => self.problems.extend(problems),
            }
        }
        if let Some((source, text)) = self.single(sources, |tables| tables.zone_files.as_ref()) {
            match zones::find(&beside(&source.file, text.get_ref())) {
                Ok(found) => {
                    if found.is_empty() {
                        self.at(source, text.span(), "no file matches", "write a pattern as \"/var/nsd/zones/*.zone\"");
                    }
                    for one in found {
                        match one {
                            Ok(zones::Found { origin, from, file }) => {
                                let how = How::File(from);
                                all.push(FoundZone { source, span: text.span(), origin, file, how });
                            }
                            Err(zones::Unfit { reason, hint }) => self.at(source, text.span(), reason, hint),
                        }
                    }
                }
                Err(reason) => self.at(source, text.span(), reason, "write a pattern as \"/var/nsd/zones/*.zone\""),
            }
        }
        self.unique(all, zones_dir)
    }

    /// Each origin once: the same file found twice is one, two files are a problem.
    fn unique<'a>(
        &mut self,
        mut all: Vec<FoundZone<'a>>,
        zones_dir: Option<PathBuf>,
    ) -> (Vec<FoundZone<'a>>, Option<PathBuf>) {
        all.sort_by(|a, b| a.origin.cmp(&b.origin));
        let mut kept: Vec<FoundZone<'a>> = Vec::new();
        for zone in all {
            match kept.last().filter(|last| last.origin == zone.origin) {
                Some(last) if last.file != zone.file => {
                    let message = format!(
                        "{} and {} are both zone {} (the first {}, the second {})",
                        last.file.display(),
                        zone.file.display(),
                        zone.origin,
                        last.how,
                        zone.how
                    );
                    let hint = match (last.how, zone.how) {
                        (How::NsdConf, How::NsdConf) => "remove one of the two zone: clauses",
                        (How::NsdConf, _) | (_, How::NsdConf) => {
                            "write [zone.\"NAME\"] with the file that counts, or a pattern without the other"
                        }
                        _ => "tell them apart with $ORIGIN, or move one away",
                    };
                    self.at(zone.source, zone.span, message, hint);
                }
                Some(_) => {}
                None => kept.push(zone),
            }
        }
        (kept, zones_dir)
    }

    fn serve(
        &mut self,
        source: &Source,
        text: Option<&file::Text>,
        listen: &[SocketAddr],
        nsd: Option<&Nsd>,
        transfer: bool,
    ) -> Serve {
        let relay = nsd.is_some_and(|nsd| nsd.relay);
        let usual = match (listen.is_empty(), relay && !transfer) {
            (true, _) => Serve::Off,
            (false, true) => Serve::Overlay,
            (false, false) => Serve::Zone,
        };
        let words = [("overlay", Serve::Overlay), ("zone", Serve::Zone), ("off", Serve::Off)];
        let Some(serve) = self.choice(source, text, &words) else { return usual };
        let span = text.map_or(0..0, Spanned::span);
        if serve != Serve::Off && listen.is_empty() {
            self.at(
                source,
                span,
                "nothing is served without an address",
                "add listen = [\"ADDRESS:53\"], or write serve = \"off\"",
            );
        } else if serve != Serve::Zone && transfer {
            self.at(
                source,
                span,
                "a transfer hands out the whole zone, and this serves less",
                "write serve = \"zone\", or remove allow-transfer and notify",
            );
        } else if serve == Serve::Overlay && !relay {
            self.at(
                source,
                span,
                "an overlay leaves the rest of the zone to nsd, but nothing is relayed there",
                "set relay = true in [nsd]",
            );
        }
        serve
    }
}

/// A zone as far as it is known before the rest of its table is read.
struct Begun {
    origin: Name,
    file: PathBuf,
    /// Where the table declares the zone.
    text: Option<Arc<str>>,
    pool: Option<usize>,
    by_file_name: bool,
}

/// What every zone is held against.
struct Context<'a> {
    pools: &'a [Pool],
    listen: &'a [SocketAddr],
    nsd: Option<&'a Nsd>,
    defaults: Defaults<'a>,
    zones_dir: Option<PathBuf>,
}

/// `[zone-defaults]`, with the file that it stands in.
struct Defaults<'a>(Option<(&'a Source, &'a file::Zone)>);

impl<'a> Defaults<'a> {
    /// A key of the zone's own table, else of this one, with the file that it stands in.
    fn or<'b, T>(
        &'b self,
        source: &'b Source,
        key: impl Fn(&'b file::Zone) -> Option<&'b T>,
        table: &'b file::Zone,
    ) -> (&'b Source, Option<&'b T>) {
        match (key(table), self.0) {
            (None, Some((source, table))) => (source, key(table)),
            (own, _) => (source, own),
        }
    }
}

/// A zone that nobody has written a table for (or one without `file`).
struct FoundZone<'a> {
    source: &'a Source,
    /// The key that found it.
    span: Range<usize>,
    origin: Name,
    file: PathBuf,
    how: How,
}

/// What told the origin of a zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum How {
    NsdConf,
    File(OriginFrom),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::NsdConf => f.write_str("from nsd.conf"),
            How::File(from) => from.fmt(f),
        }
    }
}
