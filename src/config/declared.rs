//! A small zone that the configuration itself declares: `names` in place of a file. What comes out
//! is the text of a zone like any other, with failover tags, so that nothing behind this knows the
//! difference.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use toml::Spanned;

use crate::dns::name::Name;
use crate::failover::pool::Node;
use crate::health::family::Family;

use super::checked::Checker;
use super::file;
use super::load::Source;

/// How long an answer may be kept, unless `ttl` says otherwise, in seconds.
const TTL_S: u64 = 60;
/// The same for the zone's own records: SOA, NS and their addresses.
const APEX_TTL_S: u64 = 3_600;
/// REFRESH, RETRY, EXPIRE and MINIMUM of the SOA, in seconds (RFC 1912 section 2.2); the last is
/// how long "no such name" may be kept.
const SOA_TIMES_S: [u64; 4] = [3_600, 600, 1_209_600, 60];

impl Checker {
    /// The text of a declared zone; `None` where something is wrong with it.
    pub(super) fn declared(
        &mut self,
        source: &Source,
        table: &file::Zone,
        names: &Spanned<Vec<file::Text>>,
        origin: &Name,
        nodes: &[Node],
        listen: &[SocketAddr],
    ) -> Option<String> {
        let problems = self.problems.len();
        let owners = self.owners(source, names, origin);
        let servers = self.servers(source, table, names, origin, listen);
        let ttl_s = table.ttl.as_ref().map_or(TTL_S, |text| self.duration(source, Some(text), 0).div_ceil(1_000));
        let hostmaster = match &table.hostmaster {
            Some(text) => self.name(source, text, origin)?,
            None => Name::from_text(b"hostmaster", Some(origin)).ok()?,
        };
        if self.problems.len() > problems {
            return None;
        }
        let serial = serial_of(source);
        let [refresh, retry, expire, minimum] = SOA_TIMES_S;
        let first = &servers.first()?.0;
        let mut text = format!("; Made from {}\n$ORIGIN {origin}\n", source.file.display());
        let times = format!("{refresh} {retry} {expire} {minimum}");
        put(&mut text, origin, APEX_TTL_S, format_args!("SOA {first} {hostmaster} {serial} {times}"));
        for (server, addresses) in &servers {
            put(&mut text, origin, APEX_TTL_S, format_args!("NS {server}"));
            for address in addresses {
                put(&mut text, server, APEX_TTL_S, format_args!("{} {address}", type_of(*address)));
            }
        }
        for owner in &owners {
            for family in Family::ALL {
                // Only the decision says which node it is; these keep standby and primary apart.
                let mut addresses = nodes.iter().filter_map(|node| match family {
                    Family::Ipv4 => node.ipv4.map(IpAddr::from),
                    Family::Ipv6 => node.ipv6.map(IpAddr::from),
                });
                let first = addresses.next();
                let address = if is_standby(owner) { addresses.next().or(first) } else { first };
                if let Some(address) = address {
                    let rdata = format!("{} {address} ; Enable failover", type_of(address));
                    put(&mut text, owner, ttl_s, format_args!("{rdata}"));
                }
            }
        }
        Some(text)
    }

    fn owners(&mut self, source: &Source, names: &Spanned<Vec<file::Text>>, origin: &Name) -> BTreeSet<Name> {
        let mut owners = BTreeSet::new();
        for text in names.get_ref() {
            let Some(owner) = self.name(source, text, origin) else { continue };
            if !owner.is_within(origin) {
                self.at(
                    source,
                    text.span(),
                    format!("{owner} lies outside the zone {origin}"),
                    "leave out the final dot",
                );
            } else if !owners.insert(owner) {
                self.at(source, text.span(), format!("`{}` is listed twice", text.get_ref()), "remove one");
            }
        }
        if names.get_ref().is_empty() {
            self.at(source, names.span(), "no name is listed", "write names = [\"www\", \"@\"]");
        }
        owners
    }

    /// The name servers with their addresses: `ns`, or the one name `ns` at the addresses on which
    /// we listen.
    fn servers(
        &mut self,
        source: &Source,
        table: &file::Zone,
        names: &Spanned<Vec<file::Text>>,
        origin: &Name,
        listen: &[SocketAddr],
    ) -> Vec<(Name, Vec<IpAddr>)> {
        let Some(given) = &table.ns else {
            let addresses: Vec<IpAddr> = listen.iter().map(SocketAddr::ip).collect();
            if addresses.is_empty() || addresses.iter().any(IpAddr::is_unspecified) {
                let message = format!("it is not known at which address the name servers of {origin} answer");
                self.at(source, names.span(), message, "write ns = { ns1 = [\"ADDRESS\"] }");
            }
            return Name::from_text(b"ns", Some(origin)).map(|ns| vec![(ns, addresses)]).unwrap_or_default();
        };
        let mut servers = Vec::new();
        for (text, list) in given {
            let Some(server) = self.name(source, text, origin) else { continue };
            let parsed = list.iter().filter_map(|text| self.parsed(source, text, "an IP address"));
            let addresses: Vec<IpAddr> = parsed.collect();
            match (server.is_within(origin), list.is_empty()) {
                (true, true) => {
                    self.at(
                        source,
                        text.span(),
                        format!("{server} has no address"),
                        "list at least one: it becomes glue",
                    );
                }
                (false, false) => {
                    let hint = "write [] behind it: its addresses stand in its own zone";
                    self.at(source, text.span(), format!("{server} lies outside the zone {origin}"), hint);
                }
                _ => servers.push((server, addresses)),
            }
        }
        if given.is_empty() {
            self.at(source, names.span(), "no name server is listed", "write ns = { ns1 = [\"ADDRESS\"] }");
        }
        servers
    }

    /// A name, relative to the origin unless it ends with a dot.
    fn name(&mut self, source: &Source, text: &file::Text, origin: &Name) -> Option<Name> {
        let wrong = |error| format!("`{}` is no domain name: {error}", text.get_ref());
        let name = match text.get_ref().as_str() {
            "@" => Ok(origin.clone()),
            text => Name::from_text(text.as_bytes(), Some(origin)),
        };
        name.map_err(|error| self.wrong(source, text, wrong(error))).ok()
    }
}

/// Grows with each edit of the configuration: seconds of its last change. What was published since
/// is newer and counts.
fn serial_of(source: &Source) -> u32 {
    let changed = std::fs::metadata(&source.file).and_then(|metadata| metadata.modified());
    let since = changed.ok().and_then(|changed| changed.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.and_then(|since| u32::try_from(since.as_secs()).ok()).unwrap_or(1)
}

/// Whether a name without `role=` follows the standby: by its first label.
fn is_standby(owner: &Name) -> bool {
    owner.labels().next().is_some_and(|label| label.eq_ignore_ascii_case(b"standby"))
}

fn type_of(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "A" } else { "AAAA" }
}

fn put(text: &mut String, owner: &Name, ttl_s: u64, rest: std::fmt::Arguments<'_>) {
    writeln!(text, "{owner} {ttl_s} IN {rest}").expect("a String takes every write");
}
