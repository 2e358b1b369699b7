//! `[dns]` and `[rrl]`: how questions are answered, whatever the zone.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use toml::Spanned;

use super::checked::Checker;
use super::file;
use super::load::Source;
use super::process::{SECRET_HINT, not_open_to_all};

/// What `version.bind` says if nothing else is configured.
const VERSION: &str = concat!("nsd-failover ", env!("CARGO_PKG_VERSION"));
/// The DNS flag day of 2020.
const EDNS_SIZE: u16 = 1_232;
/// What every path carries without EDNS, and the largest that our buffers hold.
const EDNS_SIZE_MIN: u16 = 512;
const EDNS_SIZE_MAX: u16 = 4_096;
/// Longest NSID, identity and version, in octets; as `table::policy::TEXT_MAX`.
const TEXT_MAX: usize = 128;
const TCP_CONNECTIONS: u32 = 1_000;
const TCP_CONNECTIONS_MAX: u32 = 1_000_000;
const TCP_PER_CLIENT: u32 = 50;
const TCP_TIMEOUT_MS: u64 = 10_000;
/// What the keepalive option can say (RFC 7828): 65,535 times 100 ms.
const TCP_TIMEOUT_MAX_MS: u64 = 6_553_500;
const RATE: u32 = 200;
const RATE_MAX: u32 = 1 << 22;
const SLIP: u32 = 2;
const SIZE: u32 = 1_000_000;
const SIZE_MAX: u32 = 1 << 28;
/// Who is on this host forges no addresses.
const EXEMPT: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// How questions are answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dns {
    /// RFC 5001; empty: none.
    pub nsid: Vec<u8>,
    /// `id.server` and `hostname.bind` of class CH; absent: refused.
    pub identity: Option<Vec<u8>>,
    /// `version.bind` and `version.server` of class CH; absent: refused.
    pub version: Option<Vec<u8>>,
    pub cookies: Cookies,
    /// Load balancers that name their clients by the PROXY protocol, and must.
    pub proxy_from: Vec<IpNet>,
    /// Largest UDP answer, in octets.
    pub edns_size: u16,
    /// Several addresses of one name begin with another one each time.
    pub rotate_addresses: bool,
    pub tcp_connections: u32,
    /// Connections of one IPv4 address or IPv6 /64.
    pub tcp_per_client: u32,
    /// Queries on one connection; 0: any number.
    pub tcp_queries: u32,
    /// Longest silence on a connection, in milliseconds.
    pub tcp_timeout_ms: u32,
}

/// RFC 7873.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cookies {
    Off,
    /// With a secret of our own that nobody else knows and that is gone with us.
    Own,
    /// With the secrets of this file, which several servers of one address may share.
    File(PathBuf),
}

/// Response rate limiting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rrl {
    /// Alike answers a second to one network.
    pub rate: u32,
    pub slip: u32,
    pub ipv4_prefix: u8,
    pub ipv6_prefix: u8,
    /// How many are remembered, 8 octets each.
    pub size: u32,
    pub exempt: Vec<IpNet>,
}

/// Encrypted transports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tls {
    /// The certificate and those above it, PEM.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// DNS over TLS, QUIC and HTTPS.
    pub listen_tls: Vec<SocketAddr>,
    pub listen_quic: Vec<SocketAddr>,
    pub listen_https: Vec<SocketAddr>,
}

impl Checker {
    pub(super) fn tls(&mut self, sources: &[Source]) -> Option<Tls> {
        let (source, spanned) = self.single(sources, |tables| tables.tls.as_ref())?;
        let table = spanned.get_ref();
        let mut addresses = |list: &Option<Spanned<Vec<file::Text>>>, usual_port| match list {
            Some(list) => self.addresses(source, list.get_ref(), usual_port),
            None => Vec::new(),
        };
        let listen_tls = addresses(&table.listen_tls, 853);
        let listen_quic = addresses(&table.listen_quic, 853);
        let listen_https = addresses(&table.listen_https, 443);
        if listen_tls.is_empty() && listen_quic.is_empty() && listen_https.is_empty() {
            self.at(source, spanned.span(), "no address to listen on", "add listen-tls = [\"ADDRESS:853\"]");
        }
        let mut file = |text: &Option<file::Text>, key: &str| match text {
            Some(text) => self.readable(source, text),
            None => {
                self.at(source, spanned.span(), format!("{key} is missing"), format!("write {key} = \"/path/to.pem\""));
                None
            }
        };
        let (cert, key) = (file(&table.cert, "cert"), file(&table.key, "key"));
        if let (Some(path), Some(text)) = (&key, &table.key)
            && let Err(message) = not_open_to_all(path)
        {
            self.at(source, text.span(), message, SECRET_HINT);
        }
        Some(Tls { cert: cert?, key: key?, listen_tls, listen_quic, listen_https })
    }

    pub(super) fn dns(&mut self, sources: &[Source]) -> Dns {
        let default = file::Dns::default();
        let found = self.single(sources, |tables| tables.dns.as_ref());
        let (source, table) = found.map_or((&sources[0], &default), |(source, table)| (source, table.get_ref()));
        let hidden = table.hide_version.as_ref().is_some_and(|hidden| *hidden.get_ref());
        let version = self.text(source, table.version.as_ref());
        let seconds = TCP_TIMEOUT_MAX_MS / 1_000;
        let tcp_timeout_ms = self.duration(source, table.tcp_timeout.as_ref(), TCP_TIMEOUT_MS);
        if let Some(text) = table.tcp_timeout.as_ref().filter(|_| !(100..=TCP_TIMEOUT_MAX_MS).contains(&tcp_timeout_ms))
        {
            self.at(source, text.span(), "out of range", format!("write \"100ms\" to \"{seconds}s\""));
        }
        let proxies = table.proxy_from.iter().flat_map(|list| list.get_ref());
        let proxy_from = proxies.filter_map(|text| self.network(source, text)).collect();
        Dns {
            proxy_from,
            nsid: self.text(source, table.nsid.as_ref()).unwrap_or_default(),
            identity: self.text(source, table.identity.as_ref()),
            version: Some(version.unwrap_or_else(|| VERSION.into())).filter(|_| !hidden),
            cookies: self.cookies(source, table),
            edns_size: self.within(source, table.edns_size.as_ref(), EDNS_SIZE_MIN, EDNS_SIZE_MAX, EDNS_SIZE),
            rotate_addresses: self
                .choice(source, table.rrset_order.as_ref(), &[("fixed", false), ("rotate", true)])
                .unwrap_or(false),
            tcp_connections: self.within(
                source,
                table.tcp_connections.as_ref(),
                1,
                TCP_CONNECTIONS_MAX,
                TCP_CONNECTIONS,
            ),
            tcp_per_client: self.within(source, table.tcp_per_client.as_ref(), 1, TCP_CONNECTIONS_MAX, TCP_PER_CLIENT),
            tcp_queries: table.tcp_queries.as_ref().map_or(0, |number| *number.get_ref()),
            // At most TCP_TIMEOUT_MAX_MS, or there is a problem.
            tcp_timeout_ms: u32::try_from(tcp_timeout_ms).unwrap_or(u32::MAX),
        }
    }

    fn cookies(&mut self, source: &Source, table: &file::Dns) -> Cookies {
        let file = table.cookie_secret_file.as_ref();
        let path = file.and_then(|text| self.secret(source, text));
        match (table.cookies.as_ref().is_none_or(|on| *on.get_ref()), path) {
            (false, _) => Cookies::Off,
            (true, None) => Cookies::Own,
            (true, Some(path)) => Cookies::File(path),
        }
    }

    pub(super) fn rrl(&mut self, sources: &[Source]) -> Option<Rrl> {
        let default = file::Rrl::default();
        let found = self.single(sources, |tables| tables.rrl.as_ref());
        let (source, table) = found.map_or((&sources[0], &default), |(source, table)| (source, table.get_ref()));
        let rate = self.within(source, table.rate.as_ref(), 0, RATE_MAX, RATE);
        let exempt = match &table.exempt {
            None => EXEMPT.iter().map(|text| text.parse().expect("a network")).collect(),
            Some(list) => list.get_ref().iter().filter_map(|text| self.network(source, text)).collect(),
        };
        let rrl = Rrl {
            rate,
            slip: table.slip.as_ref().map_or(SLIP, |slip| *slip.get_ref()),
            ipv4_prefix: self.within(source, table.ipv4_prefix.as_ref(), 1, 32, 24),
            ipv6_prefix: self.within(source, table.ipv6_prefix.as_ref(), 1, 128, 64),
            size: self.within(source, table.size.as_ref(), 1, SIZE_MAX, SIZE),
            exempt,
        };
        (rate > 0).then_some(rrl)
    }

    /// `ADDRESS/LENGTH`, or an address alone.
    fn network(&mut self, source: &Source, text: &file::Text) -> Option<IpNet> {
        let written = text.get_ref();
        let network = written.parse().ok().or_else(|| written.parse::<std::net::IpAddr>().map(IpNet::from).ok());
        if network.is_none() {
            self.wrong(source, text, format!("`{written}` is no network: write \"192.0.2.0/24\" or \"2001:db8::/48\""));
        }
        network
    }

    fn text(&mut self, source: &Source, text: Option<&file::Text>) -> Option<Vec<u8>> {
        let text = text?;
        let octets = text.get_ref().as_bytes();
        if !(1..=TEXT_MAX).contains(&octets.len()) {
            self.wrong(source, text, format!("{} octets: write 1 to {TEXT_MAX}", octets.len()));
        }
        Some(octets.to_vec())
    }

    fn within<T: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        source: &Source,
        number: Option<&Spanned<T>>,
        min: T,
        max: T,
        default: T,
    ) -> T {
        let Some(number) = number else { return default };
        let value = *number.get_ref();
        if value < min || value > max {
            self.at(source, number.span(), format!("{value} is out of range"), format!("write {min} to {max}"));
        }
        value
    }
}
